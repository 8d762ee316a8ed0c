//! A script after binding: names resolved, connectors built, options checked; what the planner starts from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::sql::sqlparser::ast;
use thalweg_engine::{OnError, Sink, Source};

/// All statements of one pipeline script.
#[derive(Debug, Clone)]
pub struct BoundPipeline {
    pub name: String,
    pub sources: BTreeMap<String, BoundSource>,
    /// Views in order of declaration: name, output column names (may be empty), query.
    pub views: Vec<(String, Vec<String>, ast::Query)>,
    pub sinks: Vec<BoundSink>,
    pub settings: Settings,
}

#[derive(Debug, Clone)]
pub struct BoundSource {
    pub name: String,
    /// `source.schema()` holds the physical columns, then the metadata columns.
    pub source: Arc<dyn Source>,
    /// In order of declaration; evaluated over physical, metadata and earlier computed columns.
    pub computed: Vec<ComputedColumn>,
    /// The order in which SQL sees the columns (physical, metadata and computed mixed, as declared).
    pub column_order: Vec<String>,
    /// Time column (may be computed) and the expression of `WATERMARK FOR c AS expr`.
    pub watermark: Option<(String, ast::Expr)>,
    pub idle_timeout: Option<Duration>,
    pub max_drift: Option<Duration>,
    pub on_error: OnError,
    /// Name of the sink that takes dead letters; set exactly if `on_error` is `DeadLetter`.
    pub dead_letter_sink: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ComputedColumn {
    pub name: String,
    /// Declared type, if any: `c TYPE GENERATED ALWAYS AS (expr) STORED`; `c AS expr` has none.
    pub data_type: Option<arrow::datatypes::DataType>,
    pub expr: ast::Expr,
}

#[derive(Debug, Clone)]
pub struct BoundSink {
    pub name: String,
    pub sink: Arc<dyn Sink>,
    /// Every query written into it (`AS SELECT`, `INSERT INTO`). Empty if it only takes dead letters.
    pub queries: Vec<ast::Query>,
    pub emit: EmitPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmitPolicy {
    #[default]
    Default,
    OnWindowClose,
}

/// `SET key = value` of a script; flags of the command line win over them.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub parallelism: Option<usize>,
    pub publish_interval: Option<Duration>,
    pub checkpoint_interval: Option<Duration>,
}
