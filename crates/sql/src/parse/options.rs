//! `WITH (key = 'value', ...)` lists and the values of `SET`.

use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::cursor::{Cursor, Result};
use crate::diagnostic::Diagnostic;
use crate::statement::{OptionEntry, Spanned};

/// The list behind `WITH`, parentheses included.
pub(super) fn parse_options(cursor: &mut Cursor) -> Result<Vec<OptionEntry>> {
    cursor.expect(&Token::LParen)?;
    let mut entries: Vec<OptionEntry> = Vec::new();
    loop {
        if cursor.consume(&Token::RParen) {
            return Ok(entries);
        }
        let key = cursor.parse_dotted_name("the name of an option")?;
        cursor.expect(&Token::Eq)?;
        let value = parse_value(cursor)?;
        if entries.iter().any(|entry| entry.key.value == key.value) {
            return Err(Box::new(Diagnostic::error(key.span, format!("option '{}' is given twice", key.value))));
        }
        entries.push(OptionEntry { key, value });
        if cursor.consume(&Token::RParen) {
            return Ok(entries);
        }
        if !cursor.consume(&Token::Comma) {
            return Err(cursor.unexpected(", or )"));
        }
    }
}

/// A string, number, word, or `INTERVAL '10' SECOND` as text (`10 SECOND`).
pub(super) fn parse_value(cursor: &mut Cursor) -> Result<Spanned<String>> {
    let start = cursor.span().start;
    let is_interval = cursor.consume_word("INTERVAL");
    let negative = cursor.consume(&Token::Minus);
    let token = cursor.next();
    let mut node = match token.token {
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text,
        Token::DollarQuotedString(text) => text.value,
        Token::Number(number, _) => number,
        Token::Word(word) if !is_interval && !negative => word.value,
        other => {
            let found = if other == Token::EOF { "the end of the statement".to_string() } else { other.to_string() };
            return Err(Box::new(
                Diagnostic::error(token.span, format!("expected a value, found {found}"))
                    .with_hint("write the value in single quotes"),
            ));
        }
    };
    if negative {
        node.insert(0, '-');
    }
    if is_interval && matches!(cursor.peek(), Token::Word(_)) {
        node = format!("{node} {}", cursor.next().token);
    }
    Ok(Spanned { node, span: Span { start, end: cursor.end_of_last() } })
}
