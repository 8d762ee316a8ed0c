//! Aggregate calls of one operator, over DataFusion's grouped accumulators.
//!
//! Partial states are columns (`state_fields` of every call, in order): what the local stage emits, checkpoints hold and
//! closing windows merge. Accumulators drain when they are read, so each table of groups is built, read once, dropped.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, lexsort_to_indices, prep_null_mask_filter, take};
use arrow::datatypes::{Field, FieldRef};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use crate::{Aggregate, EngineError};

/// The aggregate calls, with what is needed to run them.
pub(super) struct Aggregates {
    calls: Vec<Call>,
}

struct Call {
    expr: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Arguments, then the expressions of its ORDER BY: accumulators that care about order expect them.
    args: Vec<Arc<dyn PhysicalExpr>>,
    /// The accumulator trusts its input to be sorted.
    needs_order: bool,
    state_fields: Vec<FieldRef>,
}

/// What one call reads from a batch.
pub(super) struct Input {
    values: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
    /// The rows in the call's own order, if it needs one.
    order: Option<UInt32Array>,
}

impl Aggregates {
    pub fn new(aggregates: &[Aggregate]) -> Result<Self, EngineError> {
        let calls = aggregates.iter().map(Call::new).collect::<Result<_, _>>()?;
        Ok(Self { calls })
    }

    /// Number of state columns of all calls.
    pub fn state_width(&self) -> usize {
        self.calls.iter().map(|call| call.state_fields.len()).sum()
    }

    /// State columns of all calls; nullable, since what an empty group's state is depends on the function.
    pub fn state_fields(&self) -> impl Iterator<Item = FieldRef> + '_ {
        let fields = self.calls.iter().flat_map(|call| &call.state_fields);
        fields.map(|field| Arc::new(Field::clone(field).with_nullable(true)))
    }

    /// Whether partial states may only ever take rows of one batch, since a call wants sorted input.
    pub fn needs_order(&self) -> bool {
        self.calls.iter().any(|call| call.needs_order)
    }

    /// Whether single rows can become partial states cheaply.
    pub fn converts(&self) -> bool {
        !self.needs_order() && self.calls.iter().all(|call| call.expr.groups_accumulator_supported())
    }

    pub fn evaluate_inputs(&self, rows: &RecordBatch) -> Result<Vec<Input>, EngineError> {
        self.calls.iter().map(|call| call.evaluate_input(rows)).collect()
    }

    pub fn accumulators(&self) -> Result<Accumulators, EngineError> {
        let list = self.calls.iter().map(|call| Ok((call.accumulator()?, call.state_fields.len())));
        Ok(Accumulators { list: list.collect::<Result<_, EngineError>>()? })
    }
}

impl Call {
    fn new(aggregate: &Aggregate) -> Result<Self, EngineError> {
        let expr = aggregate.expr.clone();
        let mut args = expr.expressions();
        args.extend(expr.order_bys().iter().map(|order| order.expr.clone()));
        let hard = matches!(expr.order_sensitivity(), AggregateOrderSensitivity::HardRequirement);
        // The ORDER BY of `percentile_cont(..) WITHIN GROUP (ORDER BY x)` is an argument in disguise.
        let needs_order = hard && !expr.fun().supports_within_group_clause();
        let state_fields = expr.state_fields()?;
        Ok(Self { filter: aggregate.filter.clone(), args, needs_order, state_fields, expr })
    }

    fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>, EngineError> {
        if self.expr.groups_accumulator_supported() {
            return Ok(self.expr.create_groups_accumulator()?);
        }
        let expr = self.expr.clone();
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || expr.create_accumulator())))
    }

    fn evaluate_input(&self, rows: &RecordBatch) -> Result<Input, EngineError> {
        let evaluate = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(rows)?.into_array(rows.num_rows());
        let values = self.args.iter().map(evaluate).collect::<Result<Vec<_>, _>>()?;
        let filter = match &self.filter {
            Some(filter) => Some(self.evaluate_filter(&evaluate(filter)?)?),
            None => None,
        };
        let order = if self.needs_order { Some(self.order_of(&values)?) } else { None };
        Ok(Input { values, filter, order })
    }

    fn evaluate_filter(&self, verdict: &ArrayRef) -> Result<BooleanArray, EngineError> {
        let verdict = verdict.as_boolean_opt().ok_or_else(|| {
            EngineError::request(format!(
                "the FILTER of `{}` needs a BOOLEAN, it is {}",
                self.expr.name(),
                verdict.data_type()
            ))
        })?;
        Ok(if verdict.null_count() > 0 { prep_null_mask_filter(verdict) } else { verdict.clone() })
    }

    fn order_of(&self, values: &[ArrayRef]) -> Result<UInt32Array, EngineError> {
        let orders = self.expr.order_bys();
        let columns = values[values.len() - orders.len()..].iter().zip(orders);
        let columns: Vec<_> = columns
            .map(|(values, order)| SortColumn { values: values.clone(), options: Some(order.options) })
            .collect();
        Ok(lexsort_to_indices(&columns, None)?)
    }
}

/// Accumulators of all calls, indexed by group.
pub(super) struct Accumulators {
    list: Vec<(Box<dyn GroupsAccumulator>, usize)>,
}

impl Accumulators {
    /// Adds rows: row `i` to group `groups[i]` of `total`.
    pub fn update(&mut self, inputs: &[Input], groups: &[usize], total: usize) -> Result<(), EngineError> {
        for ((accumulator, _), input) in self.list.iter_mut().zip(inputs) {
            let Some(order) = &input.order else {
                accumulator.update_batch(&input.values, groups, input.filter.as_ref(), total)?;
                continue;
            };
            let sorted = |array: &dyn Array| take(array, order, None);
            let values = input.values.iter().map(|array| sorted(array)).collect::<Result<Vec<_>, _>>()?;
            let filter = input.filter.as_ref().map(|filter| sorted(filter)).transpose()?;
            let groups: Vec<_> = order.values().iter().map(|&row| groups[row as usize]).collect();
            accumulator.update_batch(&values, &groups, filter.as_ref().map(|filter| filter.as_boolean()), total)?;
        }
        Ok(())
    }

    /// Each row as a partial state of its own.
    pub fn convert(&self, inputs: &[Input]) -> Result<Vec<ArrayRef>, EngineError> {
        let mut states = Vec::new();
        for ((accumulator, _), input) in self.list.iter().zip(inputs) {
            states.extend(accumulator.convert_to_state(&input.values, input.filter.as_ref())?);
        }
        Ok(states)
    }

    /// Adds partial states: row `i` of `states` to group `groups[i]` of `total`.
    pub fn merge(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<(), EngineError> {
        let mut rest = states;
        for (accumulator, width) in &mut self.list {
            let (own, others) = rest.split_at(*width);
            accumulator.merge_batch(own, groups, total)?;
            rest = others;
        }
        assert!(rest.is_empty(), "every state column belongs to an aggregate");
        Ok(())
    }

    /// Partial states of all groups; the accumulators are empty afterwards and must not be used again.
    pub fn take_states(&mut self) -> Result<Vec<ArrayRef>, EngineError> {
        let mut states = Vec::new();
        for (accumulator, width) in &mut self.list {
            let own = accumulator.state(EmitTo::All)?;
            assert_eq!(own.len(), *width, "an aggregate has the state it declares");
            states.extend(own);
        }
        Ok(states)
    }

    /// Results of all groups; the accumulators are empty afterwards and must not be used again.
    pub fn evaluate(&mut self) -> Result<Vec<ArrayRef>, EngineError> {
        self.list.iter_mut().map(|(accumulator, _)| Ok(accumulator.evaluate(EmitTo::All)?)).collect()
    }

    pub fn memory_bytes(&self) -> usize {
        self.list.iter().map(|(accumulator, _)| accumulator.size()).sum()
    }
}
