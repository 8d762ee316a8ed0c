//! The SQL dialect: Postgres, and what streams need that Postgres has no words for.
//!
//! Why a dialect of our own instead of `GenericDialect`: the generic one accepts things that mean something else in
//! Postgres (`->` as lambda, backslash escapes), and neither knows `TABLE t` as an argument. Statements that no dialect
//! has (`CREATE SOURCE`, `EMIT`) are parsed in `parse`, before this one is asked for queries.
//!
//! How window table functions look in the syntax tree, whichever form was written (`parse` normalises):
//! `FROM TUMBLE(TABLE t, DESCRIPTOR(c), INTERVAL '1' DAY)`, `FROM TABLE(TUMBLE(...))`, `FROM TUMBLE(t, c, INTERVAL ...)` and named
//! arguments (`DATA => TABLE t, TIMECOL => DESCRIPTOR(c), SIZE => ...`) all become
//! `TableFactor::Table { name, args: Some([table, descriptor, interval, ...]) }` with unnamed arguments in the order
//! TUMBLE: data, timecol, size, offset · HOP: data, timecol, slide, size, offset · CUMULATE: data, timecol, step, size,
//! offset · SESSION: data, timecol, gap · COUNT_TUMBLE: data, size. There:
//! - `TABLE t` is `Expr::Identifier(t)` or `Expr::CompoundIdentifier`;
//! - `TABLE t PARTITION BY k, l` is the call `__table(t, k, l)`, an `Expr::Function` with unnamed arguments;
//! - `DESCRIPTOR(c)` stays the call `DESCRIPTOR(c)`; a bare column stays what it is.
//!
//! Function names keep the letter case they were written in; compare them without case.

use std::any::TypeId;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
};
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

/// Name of the call that stands for `TABLE t PARTITION BY k, ...` in arguments of table functions.
pub const PARTITIONED_TABLE: &str = "__table";

/// What the parser makes of `TABLE ...` before `parse` has seen that it stands where it may.
pub(crate) const TABLE_ARGUMENT: &str = "__table_argument";

const POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// Postgres with `TABLE t [PARTITION BY ...]` arguments.
#[derive(Debug, Default, Clone, Copy)]
pub struct ThalwegDialect;

macro_rules! as_in_postgres {
    ($($name:ident),* $(,)?) => { $(fn $name(&self) -> bool { POSTGRES.$name() })* };
}

impl Dialect for ThalwegDialect {
    /// The parser asks for the type in places that have no method yet; there, too, the answer is Postgres.
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        POSTGRES.is_custom_operator_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        let is_argument = matches!(parser.get_current_token().token, Token::LParen | Token::RArrow | Token::Comma);
        if !is_argument || !parser.peek_keyword(Keyword::TABLE) {
            return None;
        }
        let after = parser.peek_nth_token_ref(1);
        if !matches!(after.token, Token::Word(_) | Token::SingleQuotedString(_)) {
            return None;
        }
        parser.advance_token();
        let span = parser.get_current_token().span;
        Some(parse_table_argument(parser, span))
    }

    fn supports_named_fn_args_with_rarrow_operator(&self) -> bool {
        true
    }

    /// `SELECT FROM t` would be legal Postgres; here it is nearly always a slip.
    fn supports_empty_projections(&self) -> bool {
        false
    }

    /// `SELECT * EXCLUDE (a)` and `SELECT * EXCEPT (a)`: not Postgres, but what people reach for on wide sources.
    fn supports_select_wildcard_exclude(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_trailing_commas(&self) -> bool {
        false
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    as_in_postgres! {
        supports_unicode_string_literal,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_explain_with_utility_options,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_named_fn_args_with_colon_operator,
        supports_named_fn_args_with_expr_name,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_notnull_operator,
        supports_interval_options,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
    }
}

/// What follows `TABLE` in an argument: a name, perhaps with `PARTITION BY k, ...`.
fn parse_table_argument(parser: &mut Parser, span: Span) -> Result<Expr, ParserError> {
    let mut arguments = vec![name_expr(parser.parse_object_name(false)?)];
    if !parser.parse_keywords(&[Keyword::PARTITION, Keyword::BY]) {
        return Ok(call(Ident::with_span(span, TABLE_ARGUMENT), arguments));
    }
    if parser.consume_token(&Token::LParen) {
        arguments.extend(parser.parse_comma_separated(Parser::parse_expr)?);
        parser.expect_token(&Token::RParen)?;
    } else {
        arguments.push(parser.parse_expr()?);
        while parser.peek_token_ref().token == Token::Comma && !ends_partition_list(parser) {
            parser.advance_token();
            arguments.push(parser.parse_expr()?);
        }
    }
    Ok(call(Ident::with_span(span, TABLE_ARGUMENT), arguments))
}

/// Whether the comma ahead separates arguments of the function and not keys of `PARTITION BY`.
fn ends_partition_list(parser: &Parser) -> bool {
    let next = &parser.peek_nth_token_ref(1).token;
    let after = &parser.peek_nth_token_ref(2).token;
    match next {
        Token::Word(word) => {
            let is_descriptor = word.value.eq_ignore_ascii_case("descriptor") && *after == Token::LParen;
            is_descriptor || word.keyword == Keyword::INTERVAL || *after == Token::RArrow
        }
        _ => true,
    }
}

fn name_expr(name: ObjectName) -> Expr {
    let mut parts: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
    match parts.len() {
        1 => Expr::Identifier(parts.remove(0)),
        _ => Expr::CompoundIdentifier(parts),
    }
}

/// A checked `TABLE ...` argument in its final form; anything else as it is.
pub(crate) fn table_argument(expr: Expr) -> Expr {
    let Some(mut arguments) = raw_table_argument(&expr) else { return expr };
    match arguments.len() {
        1 => arguments.remove(0),
        _ => call(Ident::new(PARTITIONED_TABLE), arguments),
    }
}

/// Table and partition keys, if the expression is a `TABLE ...` that was not checked yet.
pub(crate) fn raw_table_argument(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), .. }) = expr else { return None };
    if !matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|ident| ident.value == TABLE_ARGUMENT)) {
        return None;
    }
    let exprs = list.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    Some(exprs.collect())
}

/// The plain call `name(arguments...)`.
fn call(name: Ident, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
