//! Text to statements.
//!
//! The text is cut into tokens once; statements end at `;`, so an error in one does not hide errors in the next. What
//! no SQL parser knows (`CREATE SOURCE`, `EMIT`, ...) is parsed here; queries, expressions and types are left to
//! sqlparser with our dialect, from the same tokens, so all places stay those of the script.

mod create;
mod cursor;
mod data_type;
mod options;
mod window_args;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::diagnostic::{Diagnostic, sorted};
use crate::dialect::ThalwegDialect;
use crate::statement::{Explain, Insert, Query, Script, Set, Spanned, Statement};
use crate::{EmitPolicy, suggest};
use cursor::{Cursor, Result};
pub(crate) use window_args::{WINDOW_FUNCTIONS, window_function, window_input};

/// Parses all statements; with errors in several, all are reported.
pub fn parse_script(sql: &str) -> std::result::Result<Script, Vec<Diagnostic>> {
    let (script, errors) = parse_statements(sql);
    if errors.is_empty() { Ok(script) } else { Err(errors) }
}

/// The statements that can be parsed, and what is wrong with the others.
pub(crate) fn parse_statements(sql: &str) -> (Script, Vec<Diagnostic>) {
    let mut errors = Vec::new();
    let mut tokens = Vec::new();
    if let Err(error) = Tokenizer::new(&ThalwegDialect, sql).tokenize_with_location_into_buf(&mut tokens) {
        let at = Span { start: error.location, end: error.location };
        errors.push(Diagnostic::error(at, lower_first_letter(&error.message)));
    }
    let complete = errors.is_empty();
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF));
    let mut script = Script::default();
    let pieces: Vec<&[TokenWithSpan]> = tokens.split(|token| token.token == Token::SemiColon).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let cut_off = !complete && index + 1 == pieces.len();
        if piece.is_empty() || cut_off {
            continue;
        }
        match parse_piece(piece) {
            Ok(statement) => script.statements.push(statement),
            Err(error) => errors.push(*error),
        }
    }
    (script, sorted(errors))
}

fn lower_first_letter(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn parse_piece(tokens: &[TokenWithSpan]) -> Result<Spanned<Statement>> {
    let (first, last) = (&tokens[0], &tokens[tokens.len() - 1]);
    let span = Span { start: first.span.start, end: last.span.end };
    let (tokens, emit) = split_emit(tokens)?;
    if tokens.is_empty() {
        return Err(Box::new(Diagnostic::error(first.span, "EMIT belongs behind a query")));
    }
    let node = parse_statement(tokens, emit)?;
    Ok(Spanned { node, span })
}

/// Takes `EMIT ...` off the end: inside the query's grammar it would be read as an alias.
fn split_emit(tokens: &[TokenWithSpan]) -> Result<(&[TokenWithSpan], Option<Spanned<EmitPolicy>>)> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(word)
                if depth == 0 && word.quote_style.is_none() && is_emit(&word.value, &tokens[index + 1..]) =>
            {
                return Ok((&tokens[..index], Some(parse_emit(&tokens[index..])?)));
            }
            _ => {}
        }
    }
    Ok((tokens, None))
}

fn is_emit(word: &str, rest: &[TokenWithSpan]) -> bool {
    let follows = |names: &[&str]| {
        word_of(rest.first()).is_some_and(|next| names.iter().any(|name| next.eq_ignore_ascii_case(name)))
    };
    word.eq_ignore_ascii_case("emit") && follows(&["on", "early", "changes", "final", "after", "every"])
}

fn word_of(token: Option<&TokenWithSpan>) -> Option<&str> {
    match &token?.token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

fn parse_emit(tokens: &[TokenWithSpan]) -> Result<Spanned<EmitPolicy>> {
    let span = Span { start: tokens[0].span.start, end: tokens[tokens.len() - 1].span.end };
    let words: Option<Vec<String>> = tokens.iter().map(|token| word_of(Some(token)).map(str::to_uppercase)).collect();
    let words = words.unwrap_or_default().join(" ");
    if words == "EMIT ON WINDOW CLOSE" {
        return Ok(Spanned { node: EmitPolicy::OnWindowClose, span });
    }
    let message = match words.as_str() {
        text if text.starts_with("EMIT ON UPDATE") || text == "EMIT CHANGES" => {
            "EMIT ON UPDATE is not supported yet: results that change later need an updating sink"
        }
        text if text.starts_with("EMIT EARLY") => "EMIT EARLY is not supported yet",
        text if text.starts_with("EMIT ON WINDOW CLOSE") => "nothing may follow EMIT ON WINDOW CLOSE",
        _ => "unknown EMIT clause",
    };
    Err(Box::new(Diagnostic::error(span, message).with_hint("write EMIT ON WINDOW CLOSE, or leave EMIT out")))
}

fn parse_statement(tokens: &[TokenWithSpan], emit: Option<Spanned<EmitPolicy>>) -> Result<Statement> {
    let mut cursor = Cursor::new(tokens);
    let word = word_of(tokens.first()).unwrap_or_default().to_uppercase();
    let takes_emit = matches!(word.as_str(), "CREATE" | "INSERT" | "SELECT" | "WITH" | "VALUES") || word.is_empty();
    if let (Some(emit), false) = (&emit, takes_emit) {
        return Err(Box::new(Diagnostic::error(emit.span, "EMIT belongs behind a query")));
    }
    let statement = match word.as_str() {
        "CREATE" => create::parse_create(&mut cursor, emit)?,
        "INSERT" => parse_insert(&mut cursor, emit)?,
        "SET" => parse_set(&mut cursor)?,
        "EXPLAIN" => parse_explain(&mut cursor)?,
        "SELECT" | "WITH" | "VALUES" | "FROM" | "TABLE" => parse_query_statement(&mut cursor, emit)?,
        "" if tokens[0].token == Token::LParen => parse_query_statement(&mut cursor, emit)?,
        _ => return Err(Box::new(refuse(&word, tokens))),
    };
    cursor.expect_end()?;
    Ok(statement)
}

/// Statements that exist elsewhere and words that are none.
fn refuse(word: &str, tokens: &[TokenWithSpan]) -> Diagnostic {
    const STATEMENTS: [&str; 6] = ["CREATE", "INSERT", "SELECT", "SET", "WITH", "EXPLAIN"];
    let span = tokens[0].span;
    let known = "statements are CREATE SOURCE, CREATE VIEW, CREATE MATERIALIZED VIEW, CREATE SINK, INSERT INTO, SET, SELECT and EXPLAIN";
    match word {
        "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => {
            Diagnostic::error(span, format!("{word} is not supported: there are no stored tables to change"))
                .with_hint("write changed rows into a sink with INSERT INTO sink SELECT ...")
        }
        "ALTER" | "DROP" | "BEGIN" | "COMMIT" | "ROLLBACK" | "COPY" | "GRANT" | "REVOKE" | "CALL" | "SUBSCRIBE"
        | "FLUSH" | "SHOW" | "DESCRIBE" | "USE" | "EXECUTE" | "PREPARE" => {
            Diagnostic::error(span, format!("{word} is not supported")).with_hint(known)
        }
        _ => {
            let found = if word.is_empty() { tokens[0].token.to_string() } else { word.to_string() };
            let near = suggest::nearest(word, STATEMENTS).map(|near| format!("did you mean {near}?"));
            Diagnostic::error(span, format!("expected a statement, found {found}"))
                .with_hint(near.unwrap_or_else(|| known.to_string()))
        }
    }
}

fn parse_query_statement(cursor: &mut Cursor, emit: Option<Spanned<EmitPolicy>>) -> Result<Statement> {
    let query = parse_query(cursor)?;
    Ok(Statement::Query(Query { query, emit: emit.map_or(EmitPolicy::Default, |emit| emit.node) }))
}

/// A query up to where its grammar ends, window calls normalised.
fn parse_query(cursor: &mut Cursor) -> Result<ast::Query> {
    let mut query = *cursor.sql(|parser| parser.parse_query())?;
    window_args::normalize(&mut query, cursor.tokens())?;
    Ok(query)
}

fn parse_insert(cursor: &mut Cursor, emit: Option<Spanned<EmitPolicy>>) -> Result<Statement> {
    cursor.expect_word("INSERT")?;
    cursor.expect_word("INTO")?;
    let sink = cursor.parse_name("the name of a sink")?;
    if cursor.peek() == &Token::LParen && !cursor.peek_nth_is_query_start(1) {
        return Err(Box::new(
            Diagnostic::error(cursor.span(), "a column list is not supported in INSERT INTO")
                .with_hint("name the columns in the SELECT, in the order they shall have"),
        ));
    }
    let query = parse_query(cursor)?;
    Ok(Statement::Insert(Insert { sink, query, emit: emit.map_or(EmitPolicy::Default, |emit| emit.node) }))
}

fn parse_set(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect_word("SET")?;
    let key = cursor.parse_dotted_name("the name of a setting")?;
    if !cursor.consume(&Token::Eq) && !cursor.consume_word("TO") {
        return Err(cursor.unexpected("= or TO"));
    }
    let value = options::parse_value(cursor)?;
    Ok(Statement::Set(Set { key, value }))
}

fn parse_explain(cursor: &mut Cursor) -> Result<Statement> {
    cursor.expect_word("EXPLAIN")?;
    let analyze = cursor.consume_word("ANALYZE");
    let verbose = cursor.consume_word("VERBOSE");
    if !cursor.peek_nth_is_query_start(0) {
        return Err(cursor.unexpected("a query"));
    }
    Ok(Statement::Explain(Explain { analyze, verbose, query: parse_query(cursor)? }))
}

/// An empty span at a place.
pub(crate) fn at(location: Location) -> Span {
    Span { start: location, end: location }
}

#[cfg(test)]
mod tests;
