//! Windows over a stream: taken note of, checked for event time, and assigned row by row where nothing aggregates them.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as LogicalColumn, DFSchema, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use thalweg_engine::{NamedExpr, OperatorSpec, WindowAssignSpec, WindowKind};

use crate::diagnostic::Diagnostic;
use crate::plan::graph::{Draft, NodeNote, column, local, unique_name};
use crate::plan::stream::{Origin, Pending, Role, Slot, Stream, StreamColumn, WindowColumn};
use crate::plan::translate::{Planned, Translator, place};
use crate::plan::window_tvf::{WINDOW_END, WINDOW_START, WINDOW_TIME, Window, WindowTvf};

impl Translator<'_> {
    pub(crate) fn window(&mut self, tvf: &WindowTvf) -> Planned<Stream> {
        let stream = self.translate(&tvf.input)?;
        let mut stream = self.materialise(stream)?;
        let schema = tvf.input.schema();
        let (time_index, time_canonical) = match &tvf.time {
            Some(Expr::Column(time)) => self.event_time(&stream, schema, time, tvf.place)?,
            Some(_) => return Err(self.error("event time must be a column".to_string(), None)),
            None => (0, "arrival".into()),
        };
        let partition_by = tvf.partition_by.iter().map(|key| self.physical(&stream, schema, key));
        let partition_by = partition_by.collect::<Planned<Vec<_>>>()?;
        // Windows of the input are plain columns from here on; its event time stays event time.
        for found in &mut stream.columns {
            let is_time = tvf.time.is_some() && found.slot == Slot::Node(time_index);
            found.role = if is_time { Role::EventTime } else { Role::Plain };
        }
        let all = [WindowColumn::Start, WindowColumn::End, WindowColumn::Time];
        let canonical: Arc<str> = format!("{}({time_canonical}; {})", tvf.window, stream.rows).into();
        for part in &all[..tvf.window_columns()] {
            stream.columns.push(StreamColumn {
                slot: Slot::Window(*part),
                role: Role::Window(*part),
                canonical: format!("{part:?} of {canonical}").into(),
            });
        }
        stream.pending = Some(Pending {
            window: tvf.window,
            time_index,
            time_canonical,
            partition_by,
            filters: vec![],
            place: tvf.place,
        });
        Ok(stream)
    }

    fn event_time(
        &self,
        stream: &Stream,
        schema: &DFSchema,
        time: &LogicalColumn,
        at: (u64, u64),
    ) -> Planned<(usize, Arc<str>)> {
        let found = self.stream_column(stream, schema, time)?;
        let refuse = |message: String, hint: String| Err(vec![Diagnostic::error(place(at), message).with_hint(hint)]);
        let Slot::Node(index) = found.slot else {
            return Err(self.error("event time must be a column of the input".to_string(), None));
        };
        let name = &time.name;
        let is_time = match found.role {
            Role::EventTime => true,
            Role::Window(part) => part != WindowColumn::Start,
            Role::Plain => false,
        };
        if !is_time {
            return Err(vec![not_event_time(stream, name, at)]);
        }
        match stream.schema.field(index).data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => Ok((index, found.canonical)),
            other => refuse(
                format!("event time '{name}' is {other}"),
                "declare it as TIMESTAMP or TIMESTAMP WITH TIME ZONE".to_string(),
            ),
        }
    }

    /// Assigns pending windows row by row, for whoever needs their columns without aggregating.
    pub(crate) fn materialise(&mut self, stream: Stream) -> Planned<Stream> {
        let Some(pending) = stream.pending.clone() else { return Ok(stream) };
        let kind = match pending.window {
            Window::Tumble { size, offset } => WindowKind::Tumble { size, offset },
            Window::Hop { size, slide, offset } => WindowKind::Hop { size, slide, offset },
            Window::Cumulate { size, step, offset } => WindowKind::Cumulate { size, step, offset },
            Window::Session { .. } | Window::Count { .. } | Window::Irregular => {
                return Err(vec![
                    Diagnostic::error(
                        place(pending.place),
                        "sessions and count windows can only be aggregated, with their columns used as they are",
                    )
                    .with_hint(
                        "GROUP BY the keys, window_start and window_end; compute on the result in an outer query",
                    ),
                ]);
            }
        };
        let stream = self.free_window_names(stream);
        let pending = stream.pending.clone().expect("still pending");
        let input = stream.schema.clone();
        let time_type = input.field(pending.time_index).data_type().clone();
        let mut fields: Vec<_> = input.fields().iter().map(|field| field.as_ref().clone()).collect();
        let width = fields.len();
        for name in [WINDOW_START, WINDOW_END] {
            fields.push(arrow::datatypes::Field::new(name, time_type.clone(), false));
        }
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let node = self.graph.add(Draft {
            name: format!("windows ({})", pending.window),
            operator: OperatorSpec::WindowAssign(WindowAssignSpec { kind, time_column: pending.time_index }),
            inputs: vec![local(stream.node)],
            schema: schema.clone(),
            time_column: Some(pending.time_index),
            state: None,
            note: NodeNote { details: vec![("window", pending.window.to_string())], ..NodeNote::default() },
        });
        let rows = format!("windows({}; {}; {})", pending.window, pending.time_canonical, stream.rows).into();
        let mut assigned = Stream { node, schema, rows, pending: None, window: Some(pending.window), ..stream };
        let needs_time = assigned.columns.iter().any(|column| column.slot == Slot::Window(WindowColumn::Time))
            || pending.filters.iter().any(|expr| expr.column_refs().iter().any(|column| column.name == WINDOW_TIME));
        if needs_time {
            assigned = self.add_window_time(assigned, width + 1);
        }
        for found in &mut assigned.columns {
            if let Slot::Window(part) = found.slot {
                found.slot = Slot::Node(width + part as usize);
            }
        }
        self.apply_window_filters(assigned, &pending.filters)
    }

    /// Renames columns of the node that are called like the window's.
    fn free_window_names(&mut self, mut stream: Stream) -> Stream {
        let reserved = [WINDOW_START, WINDOW_END, WINDOW_TIME];
        let mut names: Vec<String> = reserved.iter().map(|name| name.to_string()).collect();
        let mut exprs = vec![];
        for (index, field) in stream.schema.fields().iter().enumerate() {
            let wanted = match reserved.contains(&field.name().as_str()) {
                true => format!("inner_{}", field.name()),
                false => field.name().clone(),
            };
            let name = unique_name(&wanted, &names);
            names.push(name.clone());
            exprs.push(NamedExpr { expr: column(&stream.schema, index), name });
        }
        let time_column = self.graph.node(stream.node).time_column;
        stream.node = self.graph.project(stream.node, exprs, time_column);
        stream.schema = self.graph.node(stream.node).schema.clone();
        if let Some(pending) = stream.pending.as_mut() {
            let schema = stream.schema.clone();
            pending.move_columns(&schema, &|index| index);
        }
        stream
    }

    /// Appends `window_time`, one microsecond before `window_end`.
    pub(crate) fn add_window_time(&mut self, stream: Stream, end_index: usize) -> Stream {
        let end = column(&stream.schema, end_index);
        let microsecond = Arc::new(Literal::new(ScalarValue::DurationMicrosecond(Some(1))));
        let time: Arc<dyn PhysicalExpr> = Arc::new(BinaryExpr::new(end, Operator::Minus, microsecond));
        let width = stream.schema.fields().len();
        let mut exprs: Vec<NamedExpr> = (0..width)
            .map(|index| NamedExpr {
                expr: column(&stream.schema, index),
                name: stream.schema.field(index).name().clone(),
            })
            .collect();
        let names: Vec<String> = exprs.iter().map(|named| named.name.clone()).collect();
        exprs.push(NamedExpr { expr: time, name: unique_name(WINDOW_TIME, &names) });
        let node = self.graph.project(stream.node, exprs, Some(width));
        Stream { node, schema: self.graph.node(node).schema.clone(), ..stream }
    }

    /// Applies filters whose columns are `window_start`, `window_end`, `window_time` of the node itself.
    pub(crate) fn apply_window_filters(&mut self, stream: Stream, filters: &[Expr]) -> Planned<Stream> {
        let Some(predicate) = conjunction(filters.to_vec()) else { return Ok(stream) };
        let predicate = self.over_node(&stream, &predicate)?;
        Ok(self.add_filter(stream, predicate))
    }
}

impl Pending {
    pub fn window_has_time(&self) -> bool {
        !matches!(self.window, Window::Count { .. })
    }

    /// Follows the node's columns after a projection under the window.
    pub fn move_columns(&mut self, schema: &arrow::datatypes::Schema, moved: &dyn Fn(usize) -> usize) {
        if self.window_has_time() {
            self.time_index = moved(self.time_index);
        }
        for key in &mut self.partition_by {
            let replaced = key.clone().transform_up(|inner| match inner.downcast_ref::<Column>() {
                Some(found) => Ok(Transformed::yes(column(schema, moved(found.index())))),
                None => Ok(Transformed::no(inner)),
            });
            *key = replaced.expect("replacing columns by columns keeps an expression valid").data;
        }
    }
}

/// Why windows over a column would never close, and what to do.
fn not_event_time(stream: &Stream, name: &str, at: (u64, u64)) -> Diagnostic {
    let unmarked = stream.origins.iter().find(|origin| origin.time.is_none());
    if let Some(Origin { source, .. }) = unmarked.filter(|_| !stream.is_windowed) {
        let message = format!("a window over '{name}' would never close: source '{source}' has no watermark");
        let hint = format!("add WATERMARK FOR {name} AS {name} - INTERVAL '5' SECOND to CREATE SOURCE {source}");
        return Diagnostic::error(place(at), message).with_hint(hint);
    }
    let message = format!("'{name}' is not an event-time column, so windows over it would never close");
    let times = stream
        .origins
        .iter()
        .filter_map(|origin| origin.time.as_ref().map(|time| format!("'{time}' of source '{}'", origin.source)));
    let times: Vec<String> = times.collect();
    let hint = match stream.is_windowed {
        true => "use window_time of the inner windows: select and group by it there".to_string(),
        false => format!("event time is {}; inner queries must pass it on unchanged", times.join(", ")),
    };
    Diagnostic::error(place(at), message).with_hint(hint)
}
