//! Puts a run together: opens sources and sinks, restores state, wires one graph per worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch, UInt16Array, UInt32Array};
use arrow::compute::take_record_batch;
use thalweg_state::Manifest;

use super::RunOptions;
use super::exchange::ExchangeSender;
use super::metrics::Counters;
use super::ring::{AllBells, Bell, RingReceiver, RingSender, ring};
use super::source::SharedSource;
use super::worker::{NodeInstance, Output, Port, Role, Worker};
use crate::{
    EngineError, EventTime, OperatorContext, OperatorSpec, Plan, RestoredState, SinkContext, SourceContext,
    SplitPosition, StateRows,
};

/// Where sinks' and sources' names come from in messages and staged files.
pub(crate) fn sink_context(
    plan: &Plan,
    sink: &str,
    generation: u64,
    worker: usize,
    options: &RunOptions,
) -> SinkContext {
    SinkContext { owner: format!("{}/{sink}", plan.name), generation, worker, io: options.io.clone() }
}

pub(crate) struct Parts {
    pub(crate) workers: Vec<Worker>,
    pub(crate) sources: Vec<Arc<SharedSource>>,
    pub(crate) bells: Vec<Arc<Bell>>,
}

/// Opens every source at the manifest's positions.
fn open_sources(
    plan: &Plan,
    options: &RunOptions,
    manifest: Option<&Manifest>,
    bells: &[Arc<Bell>],
    counters: &Arc<Counters>,
) -> Result<BTreeMap<usize, Arc<SharedSource>>, EngineError> {
    let mut sources = BTreeMap::new();
    for node in &plan.nodes {
        let OperatorSpec::Source(spec) = &node.operator else { continue };
        let saved = manifest.and_then(|m| m.sources.get(&spec.name)).cloned().unwrap_or_default();
        let positions: Vec<SplitPosition> =
            saved.positions.into_iter().map(serde_json::from_value).collect::<Result<_, _>>().map_err(|error| {
                EngineError::with_source(
                    crate::ErrorKind::FixData,
                    format!(
                        "cannot read the position of source {} in the checkpoint; start again with --restart",
                        spec.name
                    ),
                    error,
                )
            })?;
        let full = spec.source.schema();
        let time_column = spec.watermark.as_ref().and_then(|w| {
            let columns = datafusion::physical_expr::utils::collect_columns(&w.time);
            let only = (columns.len() == 1).then(|| columns.iter().next().map(|c| c.index()))??;
            spec.projection.get(only).copied()
        });
        let context = SourceContext {
            watch: options.watch,
            workers: options.workers,
            batch_rows: options.batch_rows,
            io: options.io.clone(),
            wake: Arc::new(AllBells(bells.to_vec())),
            projection: (spec.projection.len() < full.fields().len()).then(|| spec.projection.clone()),
            time_column,
        };
        let feed = spec.source.open(context, positions)?;
        let follows = options.watch || spec.source.is_unbounded();
        let shared = SharedSource::new(
            spec.clone(),
            node.schema.clone(),
            feed,
            saved.split_watermarks,
            follows,
            counters.clone(),
        );
        sources.insert(node.id.0, Arc::new(shared));
    }
    Ok(sources)
}

/// Rows of state of one operator, split by the worker that owns their vnodes now.
pub(crate) fn split_state(rows: &[RecordBatch], workers: usize) -> Result<Vec<Vec<StateRows>>, EngineError> {
    let mut owned: Vec<Vec<StateRows>> = vec![Vec::new(); workers];
    for batch in rows {
        let vnodes = batch.column(0).as_any().downcast_ref::<UInt16Array>();
        let vnodes = vnodes.ok_or_else(|| EngineError::bug("state rows do not begin with __vnode"))?;
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); workers];
        for (row, &vnode) in vnodes.values().iter().enumerate() {
            places[thalweg_state::worker_of(vnode, workers)].push(row as u32);
        }
        for (worker, places) in places.into_iter().enumerate() {
            if places.len() == vnodes.len() {
                owned[worker].push(StateRows { rows: batch.clone() });
            } else if !places.is_empty() {
                let rows = take_record_batch(batch, &UInt32Array::from(places))?;
                owned[worker].push(StateRows { rows });
            }
        }
    }
    Ok(owned)
}

/// State of every stateful node, per worker.
async fn load_state(
    plan: &Plan,
    options: &RunOptions,
    manifest: Option<&Manifest>,
) -> Result<BTreeMap<usize, Vec<RestoredState>>, EngineError> {
    let mut loaded = BTreeMap::new();
    let (Some(manifest), Some(store)) = (manifest, &options.store) else { return Ok(loaded) };
    for node in &plan.nodes {
        let Some(saved) = node.state_id.as_ref().and_then(|id| manifest.operators.get(id)) else { continue };
        let mut rows = Vec::new();
        for segment in saved.segments.iter().filter(|s| s.max_expires > saved.event_watermark) {
            rows.extend(store.read_segment(segment).await?);
        }
        let event_watermark = EventTime(saved.event_watermark);
        let states = split_state(&rows, options.workers)?
            .into_iter()
            .map(|rows| RestoredState { rows, event_watermark })
            .collect();
        loaded.insert(node.id.0, states);
    }
    Ok(loaded)
}

/// Rings of one exchanged edge: `[producer][consumer]`.
fn wire(bells: &[Arc<Bell>]) -> (Vec<Vec<RingSender>>, Vec<Vec<RingReceiver>>) {
    let workers = bells.len();
    let mut senders: Vec<Vec<RingSender>> = (0..workers).map(|_| Vec::new()).collect();
    let mut receivers: Vec<Vec<RingReceiver>> = (0..workers).map(|_| Vec::new()).collect();
    for (producer, out) in senders.iter_mut().enumerate() {
        for consumer in 0..workers {
            let (sender, receiver) = ring(bells[producer].clone(), bells[consumer].clone());
            out.push(sender);
            receivers[consumer].push(receiver);
        }
    }
    (senders, receivers)
}

type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Builds all workers of a run.
pub(crate) async fn build(
    plan: &Plan,
    options: &RunOptions,
    manifest: Option<&Manifest>,
    generation: u64,
    counters: &Arc<Counters>,
    clock: &Clock,
) -> Result<Parts, EngineError> {
    let workers = options.workers;
    let bells: Vec<Arc<Bell>> = (0..workers).map(|_| Arc::default()).collect();
    let sources = open_sources(plan, options, manifest, &bells, counters)?;
    let mut states = load_state(plan, options, manifest).await?;
    let mut outputs: Vec<Vec<Vec<Output>>> =
        (0..workers).map(|_| plan.nodes.iter().map(|_| Vec::new()).collect()).collect();
    let mut ports: Vec<Vec<Vec<Port>>> =
        (0..workers).map(|_| plan.nodes.iter().map(|_| Vec::new()).collect()).collect();
    for node in &plan.nodes {
        let dead_letters = matches!(node.operator, OperatorSpec::DeadLetters);
        for (port, edge) in node.inputs.iter().enumerate() {
            match edge.exchange.as_ref().filter(|_| workers > 1) {
                None => {
                    for worker in 0..workers {
                        outputs[worker][edge.from.0].push(Output::Local { node: node.id.0, port, dead_letters });
                        ports[worker][node.id.0].push(Port::local());
                    }
                }
                Some(exchange) => {
                    let (senders, receivers) = wire(&bells);
                    for (worker, (rings, received)) in senders.into_iter().zip(receivers).enumerate() {
                        let sender = ExchangeSender::new(exchange.clone(), rings);
                        outputs[worker][edge.from.0].push(Output::Exchange(sender));
                        ports[worker][node.id.0].push(Port::exchange(received));
                    }
                }
            }
        }
    }
    let mut built = Vec::with_capacity(workers);
    for (index, (mut outputs, mut ports)) in outputs.into_iter().zip(ports).enumerate() {
        let context = OperatorContext { worker: index, workers, batch_rows: options.batch_rows };
        let mut nodes = Vec::with_capacity(plan.nodes.len());
        for node in &plan.nodes {
            let role = match &node.operator {
                OperatorSpec::Source(_) => Role::Source(Box::new(sources[&node.id.0].reader(index)?)),
                OperatorSpec::DeadLetters => Role::DeadLetters,
                OperatorSpec::Sink(spec) => {
                    let schema = plan.nodes[node.inputs[0].from.0].schema.clone();
                    Role::Sink(spec.sink.writer(sink_context(plan, &spec.name, generation, index, options), schema)?)
                }
                other => {
                    let inputs: Vec<_> = node.inputs.iter().map(|e| plan.nodes[e.from.0].schema.clone()).collect();
                    let mut operator = crate::build_operator(other, node.schema.clone(), &inputs, &context)?;
                    if let Some(states) = states.get_mut(&node.id.0) {
                        let none = RestoredState { rows: Vec::new(), event_watermark: states[index].event_watermark };
                        operator.restore(std::mem::replace(&mut states[index], none))?;
                    }
                    Role::Operator(operator)
                }
            };
            let (ports, outputs) = (std::mem::take(&mut ports[node.id.0]), std::mem::take(&mut outputs[node.id.0]));
            nodes.push(NodeInstance::new(role, ports, outputs, node.state_id.is_some()));
        }
        built.push(Worker::new(index, nodes, counters.clone(), clock.clone()));
    }
    Ok(Parts { workers: built, sources: sources.into_values().collect(), bells })
}
