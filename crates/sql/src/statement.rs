//! Statements of a script as written: syntax only, every part with its place in the text.
//!
//! Names are folded as Postgres folds them (lower case unless quoted). Types, options and references are checked in
//! `bind`, so that all mistakes of a script are reported together.

use datafusion::sql::sqlparser::ast::{self, Ident};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::EmitPolicy;

/// Something with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    pub node: T,
    pub span: Span,
}

/// The statements of a script, in order; empty ones are left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    pub statements: Vec<Spanned<Statement>>,
}

/// An identifier, folded.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub value: String,
    pub span: Span,
}

impl From<&Ident> for Name {
    fn from(ident: &Ident) -> Self {
        Self { value: fold(ident), span: ident.span }
    }
}

/// An identifier as names are compared: lower case, unless it was quoted.
pub fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

#[expect(clippy::large_enum_variant, reason = "there are a handful per script")]
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    CreateSource(CreateSource),
    CreateView(CreateView),
    CreateSink(CreateSink),
    Insert(Insert),
    Set(Set),
    Query(Query),
    Explain(Explain),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateSource {
    pub name: Name,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDefinition>,
    pub watermarks: Vec<WatermarkDefinition>,
    pub options: Vec<OptionEntry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDefinition {
    pub name: Name,
    pub kind: ColumnKind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ColumnKind {
    /// `c TYPE [NOT NULL]`: read from the data.
    Physical { data_type: Spanned<ast::DataType>, not_null: bool },
    /// `c AS expr` and `c TYPE GENERATED ALWAYS AS (expr) STORED`.
    Computed { data_type: Option<Spanned<ast::DataType>>, expr: ast::Expr, span: Span },
    /// `c TYPE METADATA [FROM 'key']`; without a key the column's own name is the key.
    Metadata { data_type: Spanned<ast::DataType>, key: Name },
}

/// `WATERMARK FOR column AS expr`.
#[derive(Debug, Clone, PartialEq)]
pub struct WatermarkDefinition {
    pub column: Name,
    pub expr: ast::Expr,
    /// Of the expression.
    pub span: Span,
}

/// One `key = value` of a `WITH` list; the key in lower case.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionEntry {
    pub key: Name,
    pub value: Spanned<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    pub name: Name,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub materialized: bool,
    pub columns: Vec<Name>,
    pub query: ast::Query,
    /// The text of the query, as tokens (for listings).
    pub query_span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateSink {
    pub name: Name,
    pub if_not_exists: bool,
    pub options: Vec<OptionEntry>,
    pub query: Option<ast::Query>,
    pub emit: EmitPolicy,
}

/// `INSERT INTO sink SELECT ...`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    pub sink: Name,
    pub query: ast::Query,
    pub emit: EmitPolicy,
}

/// `SET key = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    pub key: Name,
    pub value: Spanned<String>,
}

/// A `SELECT` on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub query: ast::Query,
    pub emit: EmitPolicy,
}

/// `EXPLAIN [ANALYZE] [VERBOSE] query`.
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    pub analyze: bool,
    pub verbose: bool,
    pub query: ast::Query,
}
