//! Brings the forms in which window table functions are written into one; see `dialect` for that form.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart, Query, Spanned as _,
    TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::cursor::Result;
use crate::diagnostic::Diagnostic;
use crate::{dialect, suggest};

/// Name of every window table function and of its arguments, in order.
pub(crate) const WINDOW_FUNCTIONS: [(&str, &[&str]); 5] = [
    ("tumble", &["data", "timecol", "size", "offset"]),
    ("hop", &["data", "timecol", "slide", "size", "offset"]),
    ("cumulate", &["data", "timecol", "step", "size", "offset"]),
    ("session", &["data", "timecol", "gap"]),
    ("count_tumble", &["data", "size"]),
];

/// The parameters of a window table function.
pub(crate) fn window_function(name: &ObjectName) -> Option<&'static [&'static str]> {
    let [part] = name.0.as_slice() else { return None };
    let ident = part.as_ident()?;
    let found = WINDOW_FUNCTIONS.iter().find(|(known, _)| ident.value.eq_ignore_ascii_case(known))?;
    Some(found.1)
}

/// Rewrites every window call of the query; gives names in single quotes (files) the place that the parser drops.
pub(super) fn normalize(query: &mut Query, tokens: &[TokenWithSpan]) -> Result<()> {
    match VisitMut::visit(query, &mut Normalizer { tokens }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(found) => Err(found),
    }
}

struct Normalizer<'a> {
    tokens: &'a [TokenWithSpan],
}

impl Normalizer<'_> {
    fn place_quoted(&self, name: &mut ObjectName) {
        for part in &mut name.0 {
            let ObjectNamePart::Identifier(ident) = part else { continue };
            if ident.quote_style == Some('\'') && ident.span == Span::empty() {
                let written = |token: &&TokenWithSpan| matches!(&token.token, Token::SingleQuotedString(text) if *text == ident.value);
                ident.span = self.tokens.iter().find(written).map_or(Span::empty(), |token| token.span);
            }
        }
    }
}

impl VisitorMut for Normalizer<'_> {
    type Break = Box<Diagnostic>;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        unwrap_table_call(factor);
        if let TableFactor::Table { name, .. } = factor {
            self.place_quoted(name);
        }
        let TableFactor::Table { name, args: Some(args), .. } = factor else { return ControlFlow::Continue(()) };
        let Some(parameters) = window_function(name) else { return refuse_table_argument(name, args) };
        let place = name.span();
        match positional(name, args, parameters, place) {
            Ok(()) => ControlFlow::Continue(()),
            Err(found) => ControlFlow::Break(found),
        }
    }

    /// Window calls lie behind us when their arguments are visited, so a `TABLE` still in its first form is misplaced.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if dialect::raw_table_argument(expr).is_none() {
            return ControlFlow::Continue(());
        }
        let Expr::Function(call) = expr else { return ControlFlow::Continue(()) };
        let found = Diagnostic::error(call.name.span(), "TABLE does not belong here");
        ControlFlow::Break(Box::new(
            found.with_hint("it names the input of a window function, as in TUMBLE(TABLE t, ...)"),
        ))
    }
}

/// Only window functions take `TABLE t`; another name is most likely one of them misspelt.
fn refuse_table_argument(name: &ObjectName, args: &TableFunctionArgs) -> ControlFlow<Box<Diagnostic>> {
    let takes_table = args.args.iter().any(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => dialect::raw_table_argument(expr).is_some(),
        FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => dialect::raw_table_argument(expr).is_some(),
        FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(expr), .. } => dialect::raw_table_argument(expr).is_some(),
        _ => false,
    });
    if !takes_table {
        return ControlFlow::Continue(());
    }
    let written = name.to_string();
    let hint = suggest::hint(&written, WINDOW_FUNCTIONS.iter().map(|(known, _)| *known), "window functions");
    ControlFlow::Break(Box::new(
        Diagnostic::error(name.span(), format!("unknown window function '{written}'")).with_hint_if(hint),
    ))
}

/// `TABLE(f(...))` is `f(...)`.
fn unwrap_table_call(factor: &mut TableFactor) {
    let TableFactor::TableFunction { expr: Expr::Function(function), alias } = factor else { return };
    let FunctionArguments::List(list) = &function.args else { return };
    if function.over.is_some() || function.filter.is_some() || !list.clauses.is_empty() {
        return;
    }
    *factor = TableFactor::Table {
        name: function.name.clone(),
        alias: alias.clone(),
        args: Some(TableFunctionArgs { args: list.args.clone(), settings: None }),
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    };
}

/// Puts named arguments in their places and checks how many there are.
fn positional(name: &ObjectName, args: &mut TableFunctionArgs, parameters: &[&str], place: Span) -> Result<()> {
    let mut slots: Vec<Option<Expr>> = vec![None; parameters.len()];
    for (position, arg) in args.args.iter().enumerate() {
        let (index, value) = match arg {
            FunctionArg::Unnamed(value) => (position, value),
            FunctionArg::Named { name: label, arg, .. } => (parameter(&label.value, label.span, parameters)?, arg),
            FunctionArg::ExprNamed { name: Expr::Identifier(label), arg, .. } => {
                (parameter(&label.value, label.span, parameters)?, arg)
            }
            FunctionArg::ExprNamed { name: label, .. } => {
                return Err(Box::new(Diagnostic::error(label.span(), "the name of an argument must be a plain word")));
            }
        };
        let FunctionArgExpr::Expr(value) = value else {
            return Err(Box::new(Diagnostic::error(place, format!("{name} does not take *"))));
        };
        let Some(slot) = slots.get_mut(index) else {
            return Err(Box::new(too_many(name, parameters, place)));
        };
        if slot.replace(value.clone()).is_some() {
            return Err(Box::new(Diagnostic::error(place, format!("argument '{}' is given twice", parameters[index]))));
        }
    }
    let given = slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    let required = parameters.iter().filter(|parameter| **parameter != "offset").count();
    if let Some(missing) = (0..given.max(required)).find(|index| slots[*index].is_none()) {
        return Err(Box::new(
            Diagnostic::error(place, format!("{name} lacks its argument '{}'", parameters[missing]))
                .with_hint(usage(name)),
        ));
    }
    let exprs = slots.into_iter().flatten().map(dialect::table_argument);
    args.args = exprs.map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    Ok(())
}

fn parameter(label: &str, span: Span, parameters: &[&str]) -> Result<usize> {
    parameters.iter().position(|known| label.eq_ignore_ascii_case(known)).ok_or_else(|| {
        let hint = suggest::hint(label, parameters.iter().copied(), "arguments");
        Box::new(Diagnostic::error(span, format!("unknown argument '{label}'")).with_hint_if(hint))
    })
}

fn too_many(name: &ObjectName, parameters: &[&str], place: Span) -> Diagnostic {
    Diagnostic::error(place, format!("{name} takes at most {} arguments", parameters.len())).with_hint(usage(name))
}

fn usage(name: &ObjectName) -> &'static str {
    match name.to_string().to_lowercase().as_str() {
        "hop" => "write HOP(TABLE t, DESCRIPTOR(time), slide, size)",
        "cumulate" => "write CUMULATE(TABLE t, DESCRIPTOR(time), step, size)",
        "session" => "write SESSION(TABLE t PARTITION BY key, DESCRIPTOR(time), gap)",
        "count_tumble" => "write COUNT_TUMBLE(TABLE t PARTITION BY key, size)",
        _ => "write TUMBLE(TABLE t, DESCRIPTOR(time), size)",
    }
}

/// The table that a window call reads, if its first argument names one.
pub(crate) fn window_input(args: &TableFunctionArgs) -> Option<ObjectName> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(first)) = args.args.first()? else { return None };
    table_name(first)
}

fn table_name(expr: &Expr) -> Option<ObjectName> {
    match expr {
        Expr::Identifier(ident) => Some(ObjectName::from(vec![ident.clone()])),
        Expr::CompoundIdentifier(idents) => Some(ObjectName::from(idents.clone())),
        Expr::Function(function) if function.name.to_string() == dialect::PARTITIONED_TABLE => {
            let FunctionArguments::List(list) = &function.args else { return None };
            match list.args.first()? {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(first)) => table_name(first),
                _ => None,
            }
        }
        _ => None,
    }
}
