//! Column types: what sqlparser's Postgres grammar knows, and the nested types of Flink and DuckDB.

use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Ident, StructBracketKind, StructField};
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::cursor::{Cursor, Result};
use crate::diagnostic::Diagnostic;
use crate::statement::Spanned;

const DEPTH_MAX: usize = 32;

pub(super) fn parse_type(cursor: &mut Cursor) -> Result<Spanned<DataType>> {
    let start = cursor.span().start;
    let mut pending = 0;
    let node = parse_nested(cursor, &mut pending, 0)?;
    if pending > 0 {
        return Err(Box::new(Diagnostic::error(super::at(cursor.end_of_last()), "one > too many in the type")));
    }
    Ok(Spanned { node, span: Span { start, end: cursor.end_of_last() } })
}

/// `pending`: closing angle brackets that a `>>` token held in store for outer types.
fn parse_nested(cursor: &mut Cursor, pending: &mut usize, depth: usize) -> Result<DataType> {
    if depth > DEPTH_MAX {
        return Err(Box::new(Diagnostic::error(cursor.span(), format!("types nest at most {DEPTH_MAX} deep"))));
    }
    let opens = |token: &Token| matches!(token, Token::Lt | Token::LParen);
    let is_struct = cursor.peek_word("ROW") || cursor.peek_word("STRUCT");
    if is_struct && opens(cursor.peek_nth(1)) {
        cursor.next();
        return with_brackets(parse_struct(cursor, pending, depth)?, cursor, pending);
    }
    if cursor.peek_word("ARRAY") && *cursor.peek_nth(1) == Token::Lt {
        cursor.next();
        cursor.next();
        let element = parse_nested(cursor, pending, depth + 1)?;
        close(cursor, pending)?;
        return with_brackets(DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(element))), cursor, pending);
    }
    if cursor.peek_word("MAP") && opens(cursor.peek_nth(1)) {
        cursor.next();
        let angle = cursor.next().token == Token::Lt;
        let key = parse_nested(cursor, pending, depth + 1)?;
        cursor.expect(&Token::Comma)?;
        let value = parse_nested(cursor, pending, depth + 1)?;
        if angle {
            close(cursor, pending)?
        } else {
            cursor.expect(&Token::RParen)?
        }
        return with_brackets(DataType::Map(Box::new(key), Box::new(value)), cursor, pending);
    }
    if !matches!(cursor.peek(), Token::Word(_)) {
        return Err(cursor.unexpected("a type"));
    }
    cursor.sql(|parser| parser.parse_data_type())
}

fn parse_struct(cursor: &mut Cursor, pending: &mut usize, depth: usize) -> Result<DataType> {
    let angle = cursor.next().token == Token::Lt;
    let mut fields = Vec::new();
    loop {
        let name = cursor.parse_name("the name of a field")?;
        cursor.consume(&Token::Colon);
        let field_type = parse_nested(cursor, pending, depth + 1)?;
        let mut field_name = Ident::with_quote('"', name.value);
        field_name.span = name.span;
        fields.push(StructField { field_name: Some(field_name), field_type, options: None });
        if *pending > 0 || !cursor.consume(&Token::Comma) {
            break;
        }
    }
    if angle {
        close(cursor, pending)?;
        return Ok(DataType::Struct(fields, StructBracketKind::AngleBrackets));
    }
    cursor.expect(&Token::RParen)?;
    Ok(DataType::Struct(fields, StructBracketKind::Parentheses))
}

/// `T[]`, any number of times.
fn with_brackets(mut inner: DataType, cursor: &mut Cursor, pending: &usize) -> Result<DataType> {
    while *pending == 0 && *cursor.peek() == Token::LBracket {
        cursor.next();
        cursor.expect(&Token::RBracket)?;
        inner = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(inner), None));
    }
    Ok(inner)
}

fn close(cursor: &mut Cursor, pending: &mut usize) -> Result<()> {
    if *pending > 0 {
        *pending -= 1;
        return Ok(());
    }
    if cursor.consume(&Token::ShiftRight) {
        *pending = 1;
        return Ok(());
    }
    cursor.expect(&Token::Gt)
}
