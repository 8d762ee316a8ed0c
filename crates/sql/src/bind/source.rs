//! `CREATE SOURCE`: columns, watermark and options.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::ExprSchemable;
use datafusion::sql::sqlparser::ast::{self, ExprWithAlias};
use datafusion::sql::sqlparser::tokenizer::Span;
use thalweg_connect::{Options, SourceRequest};
use thalweg_engine::{EngineError, OnError, Source, SourceContext, SourceFeed, SplitPosition};

use super::{Binder, Kind};
use crate::diagnostic::{Diagnostic, diagnostics_of};
use crate::statement::{ColumnDefinition, ColumnKind, CreateSource, OptionEntry, Spanned};
use crate::types::{arrow_type, sql_name};
use crate::{BoundSource, ComputedColumn, parse_duration, suggest};

const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Options of every source that the connector never sees.
const OWN_OPTIONS: [&str; 4] = ["on_error", "dlq", "watermark.idle_timeout", "watermark.max_drift"];

/// The connector's name, and the options without it.
pub(super) fn split_connector(options: &[OptionEntry]) -> Option<(String, Options)> {
    let connector = options.iter().find(|option| option.key.value == "connector")?.value.node.to_lowercase();
    let others = options.iter().filter(|option| option.key.value != "connector");
    Some((connector, others.map(|option| (option.key.value.clone(), option.value.node.clone())).collect()))
}

/// Columns of a source as declared, types resolved.
#[derive(Default)]
struct Columns {
    physical: Vec<Field>,
    metadata: Vec<(Field, String, Span)>,
    computed: Vec<(ComputedColumn, Span)>,
    order: Vec<String>,
}

impl Binder<'_> {
    pub(super) fn bind_source(&mut self, create: &CreateSource) {
        let errors_before = self.found.len();
        let columns = self.columns(&create.columns);
        let columns_are_sound = self.found.len() == errors_before;
        let policy = self.policy(create);
        let Some(source) = self.open_source(create, &columns, columns_are_sound) else { return };
        self.check_metadata(&columns, &source.schema(), create);
        let Some(schema) = self.check_computed(&columns, source.schema()) else { return };
        self.check_watermark(create, &schema);
        let column_order = match columns.physical.is_empty() {
            false => columns.order.clone(),
            true => schema.fields().iter().map(|field| field.name().clone()).collect(),
        };
        let has_watermark = !create.watermarks.is_empty();
        self.add_source(BoundSource {
            name: create.name.value.clone(),
            source,
            computed: columns.computed.into_iter().map(|(column, _)| column).collect(),
            column_order,
            watermark: create.watermarks.first().map(|first| (first.column.value.clone(), first.expr.clone())),
            idle_timeout: policy.idle_timeout.filter(|_| has_watermark),
            max_drift: policy.max_drift,
            on_error: policy.on_error,
            dead_letter_sink: policy.dead_letter_sink,
        });
    }

    fn columns(&mut self, definitions: &[ColumnDefinition]) -> Columns {
        let mut columns = Columns::default();
        for definition in definitions {
            let name = &definition.name;
            if columns.order.contains(&name.value) {
                self.found.push(Diagnostic::error(name.span, format!("column '{}' is declared twice", name.value)));
                continue;
            }
            if name.value.starts_with("__") {
                self.found.push(
                    Diagnostic::error(name.span, format!("column '{}' has a reserved name", name.value))
                        .with_hint("names that begin with two underscores are the engine's own"),
                );
            }
            columns.order.push(name.value.clone());
            match &definition.kind {
                ColumnKind::Physical { data_type, not_null } => {
                    if let Some(data_type) = self.data_type(data_type) {
                        columns.physical.push(Field::new(&name.value, data_type, !not_null));
                    }
                }
                ColumnKind::Metadata { data_type, key } => {
                    if let Some(data_type) = self.data_type(data_type) {
                        let field = Field::new(&name.value, data_type, true);
                        columns.metadata.push((field, key.value.clone(), definition.name.span));
                    }
                }
                ColumnKind::Computed { data_type, expr, span } => {
                    let data_type = data_type.as_ref().and_then(|data_type| self.data_type(data_type));
                    let column = ComputedColumn { name: name.value.clone(), data_type, expr: expr.clone() };
                    columns.computed.push((column, *span));
                }
            }
        }
        columns
    }

    fn data_type(&mut self, declared: &Spanned<ast::DataType>) -> Option<DataType> {
        match arrow_type(&declared.node) {
            Ok(data_type) => Some(data_type),
            Err(error) => {
                self.found.push(Diagnostic::error(declared.span, error.message).with_hint_if(error.hint));
                None
            }
        }
    }

    /// Builds the source, or only checks it. With wrong options, a source with sound declared columns is stood in for, so
    /// that its queries are checked nevertheless.
    fn open_source(
        &mut self,
        create: &CreateSource,
        columns: &Columns,
        columns_are_sound: bool,
    ) -> Option<Arc<dyn Source>> {
        let stands_in = columns_are_sound && !columns.physical.is_empty();
        let Some((connector, mut options)) = split_connector(&create.options) else {
            self.found.push(
                Diagnostic::error(create.name.span, format!("source '{}' names no connector", create.name.value))
                    .with_hint("add connector = 'files' (or another) to WITH (...)"),
            );
            return stands_in.then(|| DeclaredSource::of(&create.name.value, "", columns));
        };
        options.retain(|key, _| !OWN_OPTIONS.contains(&key.as_str()) && !key.starts_with("watermark."));
        let declared = !columns.physical.is_empty();
        let request = SourceRequest {
            name: create.name.value.clone(),
            connector,
            options,
            columns: declared.then(|| Arc::new(Schema::new(columns.physical.clone()))),
            metadata: columns.metadata.iter().map(|(field, key, _)| (field.name().clone(), key.clone())).collect(),
            working_dir: self.context.working_dir.clone(),
        };
        let stand_in = || stands_in.then(|| DeclaredSource::of(&request.name, &request.connector, columns));
        if !columns_are_sound || (self.context.offline && declared) {
            let errors = self.context.registry.check_source(&request);
            if !errors.is_empty() {
                self.option_errors(errors, &create.options, &create.columns, &create.name);
            }
            return stand_in();
        }
        match self.context.registry.open_source(&request) {
            Ok(source) => Some(source),
            Err(errors) => {
                self.option_errors(errors, &create.options, &create.columns, &create.name);
                stand_in()
            }
        }
    }

    /// Metadata columns have the type that the connector gives them.
    fn check_metadata(&mut self, columns: &Columns, schema: &SchemaRef, create: &CreateSource) {
        for (field, key, span) in &columns.metadata {
            let Ok(found) = schema.field_with_name(field.name()) else { continue };
            if found.data_type() != field.data_type() {
                let (declared, real) = (sql_name(field.data_type()), sql_name(found.data_type()));
                let message = format!("metadata '{key}' of source '{}' is {real}, not {declared}", create.name.value);
                self.found.push(Diagnostic::error(*span, message).with_hint(format!("declare the column as {real}")));
            }
        }
    }

    /// Plans every computed column over the columns before it. The schema of all columns, or `None` after an error.
    fn check_computed(&mut self, columns: &Columns, schema: SchemaRef) -> Option<SchemaRef> {
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        let errors_before = self.found.len();
        for (column, span) in &columns.computed {
            let so_far = Schema::new(fields.clone());
            let Some(found) = self.expr_type(&column.expr, *span, &so_far) else { continue };
            if fields.iter().any(|field| *field.name() == column.name) {
                self.found.push(Diagnostic::error(*span, format!("the data has a column '{}' already", column.name)));
                continue;
            }
            if let Some(declared) = &column.data_type
                && !arrow::compute::can_cast_types(&found, declared)
            {
                let message =
                    format!("the expression is {}, which cannot become {}", sql_name(&found), sql_name(declared));
                self.found.push(Diagnostic::error(*span, message));
            }
            fields.push(Arc::new(Field::new(&column.name, column.data_type.clone().unwrap_or(found), true)));
        }
        (self.found.len() == errors_before).then(|| Arc::new(Schema::new(fields)))
    }

    /// The type of an expression over a schema; errors are reported.
    fn expr_type(&mut self, expr: &ast::Expr, span: Span, schema: &Schema) -> Option<DataType> {
        let planned = DFSchema::try_from(schema.clone()).and_then(|schema| {
            let expr = ExprWithAlias { expr: expr.clone(), alias: None };
            self.state.create_logical_expr_from_sql_expr(expr, &schema)?.get_type(&schema)
        });
        match planned {
            Ok(data_type) => Some(data_type),
            Err(error) => {
                self.found.extend(diagnostics_of(&error, span));
                None
            }
        }
    }

    fn check_watermark(&mut self, create: &CreateSource, schema: &SchemaRef) {
        if let Some(second) = create.watermarks.get(1) {
            let message = format!("source '{}' has a second watermark", create.name.value);
            self.found.push(Diagnostic::error(second.column.span, message).with_hint("a source has one event time"));
        }
        let Some(watermark) = create.watermarks.first() else { return };
        let column = &watermark.column;
        let Ok(field) = schema.field_with_name(&column.value) else {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let message = format!("unknown column '{}' in WATERMARK FOR", column.value);
            let hint = suggest::hint(&column.value, known.iter().copied(), "columns of this source");
            self.found.push(Diagnostic::error(column.span, message).with_hint_if(hint));
            return;
        };
        if !matches!(field.data_type(), DataType::Timestamp(..)) {
            let message =
                format!("column '{}' is {}; event time must be a TIMESTAMP", column.value, sql_name(field.data_type()));
            self.found.push(Diagnostic::error(column.span, message).with_hint(time_hint(field)));
            return;
        }
        let Some(found) = self.expr_type(&watermark.expr, watermark.span, schema) else { return };
        if !matches!(found, DataType::Timestamp(..)) {
            let message = format!("the watermark is {}; it must be a TIMESTAMP", sql_name(&found));
            let hint = format!("write {} - INTERVAL '5' SECOND", column.value);
            self.found.push(Diagnostic::error(watermark.span, message).with_hint(hint));
        }
    }

    fn policy(&mut self, create: &CreateSource) -> Policy {
        let mut policy = Policy {
            on_error: OnError::Fail,
            dead_letter_sink: None,
            idle_timeout: Some(IDLE_TIMEOUT_DEFAULT),
            max_drift: None,
        };
        let option = |key: &str| create.options.iter().find(|option| option.key.value == key);
        if let Some(option) = option("on_error") {
            match option.value.node.to_lowercase().as_str() {
                "fail" => {}
                "drop" => policy.on_error = OnError::Drop,
                "dlq" => policy.on_error = OnError::DeadLetter,
                other => self.found.push(
                    Diagnostic::error(option.value.span, format!("on_error cannot be '{other}'"))
                        .with_hint("it is 'fail', 'drop' or 'dlq'"),
                ),
            }
        }
        self.dead_letters(create, &mut policy);
        policy.idle_timeout = match option("watermark.idle_timeout") {
            Some(option) if matches!(option.value.node.as_str(), "off" | "never") => None,
            Some(option) => self.watermark_duration(create, option),
            None => policy.idle_timeout,
        };
        policy.max_drift = option("watermark.max_drift").and_then(|option| self.watermark_duration(create, option));
        let watermark_options = create.options.iter().filter(|option| option.key.value.starts_with("watermark."));
        for option in watermark_options.filter(|option| !OWN_OPTIONS.contains(&option.key.value.as_str())) {
            let hint = suggest::hint(&option.key.value, OWN_OPTIONS, "options of every source");
            self.found.push(
                Diagnostic::error(option.key.span, format!("unknown option '{}'", option.key.value)).with_hint_if(hint),
            );
        }
        policy
    }

    fn dead_letters(&mut self, create: &CreateSource, policy: &mut Policy) {
        let dlq = create.options.iter().find(|option| option.key.value == "dlq");
        match (policy.on_error, dlq) {
            (OnError::DeadLetter, Some(option)) => {
                let sink = option.value.node.to_lowercase();
                let is_sink = self.names.get(&sink).is_some_and(|declared| declared.kind == Kind::Sink);
                if !is_sink && !self.incomplete {
                    let finding = self.unknown(Kind::Sink, &sink, option.value.span);
                    self.found.push(finding);
                }
                self.dead_letter_sinks.insert(sink.clone());
                policy.dead_letter_sink = Some(sink);
            }
            (OnError::DeadLetter, None) => self.found.push(
                Diagnostic::error(
                    create.name.span,
                    format!("source '{}' has on_error = 'dlq' but no dlq", create.name.value),
                )
                .with_hint("add dlq = 'name of a sink'"),
            ),
            (_, Some(option)) => self.found.push(
                Diagnostic::error(option.key.span, "dlq is given, but bad rows do not go there")
                    .with_hint("add on_error = 'dlq'"),
            ),
            (_, None) => {}
        }
    }

    fn watermark_duration(&mut self, create: &CreateSource, option: &OptionEntry) -> Option<Duration> {
        if create.watermarks.is_empty() {
            self.found.push(
                Diagnostic::error(option.key.span, format!("{} means nothing without a watermark", option.key.value))
                    .with_hint("add WATERMARK FOR column AS column - INTERVAL '5' SECOND"),
            );
            return None;
        }
        match parse_duration(&option.value.node) {
            Ok(duration) if !duration.is_zero() => Some(duration),
            Ok(_) => {
                let message = format!("{} must be more than zero", option.key.value);
                self.found.push(Diagnostic::error(option.value.span, message).with_hint("write 'off' for none"));
                None
            }
            Err(message) => {
                self.found.push(Diagnostic::error(option.value.span, message));
                None
            }
        }
    }
}

/// How to make a time out of what is there.
fn time_hint(field: &Field) -> String {
    let name = field.name();
    match field.data_type() {
        DataType::Int64 | DataType::UInt64 => {
            format!("add a column: {name}_time TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis({name})) STORED")
        }
        _ => format!("declare {name} as TIMESTAMP, or add a computed column that is one"),
    }
}

struct Policy {
    on_error: OnError,
    dead_letter_sink: Option<String>,
    idle_timeout: Option<Duration>,
    max_drift: Option<Duration>,
}

/// Stands for a source that was checked but not opened.
#[derive(Debug)]
struct DeclaredSource {
    name: String,
    connector: String,
    schema: SchemaRef,
}

impl DeclaredSource {
    fn of(name: &str, connector: &str, columns: &Columns) -> Arc<dyn Source> {
        let metadata = columns.metadata.iter().map(|(field, ..)| field.clone());
        let fields: Vec<Field> = columns.physical.iter().cloned().chain(metadata).collect();
        Arc::new(Self {
            name: name.to_string(),
            connector: connector.to_string(),
            schema: Arc::new(Schema::new(fields)),
        })
    }
}

impl Source for DeclaredSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        self.connector.clone()
    }

    fn open(&self, _: SourceContext, _: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        Err(EngineError::bug(format!("source {} was bound for checking only and cannot be read", self.name)))
    }
}
