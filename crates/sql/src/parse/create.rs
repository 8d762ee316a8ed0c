//! `CREATE SOURCE`, `CREATE [MATERIALIZED] VIEW` and `CREATE SINK`.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::cursor::{Cursor, Result};
use super::data_type::parse_type;
use super::options::parse_options;
use crate::diagnostic::Diagnostic;
use crate::statement::{
    ColumnDefinition, ColumnKind, CreateSink, CreateSource, CreateView, Name, Spanned, Statement, WatermarkDefinition,
};
use crate::{EmitPolicy, suggest};

pub(super) fn parse_create(cursor: &mut Cursor, emit: Option<Spanned<EmitPolicy>>) -> Result<Statement> {
    cursor.expect_word("CREATE")?;
    let or_replace = cursor.consume_words(&["OR", "REPLACE"]);
    let temporary = cursor.consume_word("TEMPORARY") || cursor.consume_word("TEMP");
    let materialized = cursor.consume_word("MATERIALIZED");
    let what = cursor.span();
    let is_view = cursor.consume_word("VIEW");
    if let (true, Some(emit)) = (is_view || cursor.peek_word("SOURCE"), &emit) {
        return Err(Box::new(
            Diagnostic::error(emit.span, "EMIT belongs behind the query of a sink")
                .with_hint("write it in CREATE SINK or INSERT INTO"),
        ));
    }
    if is_view {
        return parse_view(cursor, or_replace, materialized).map(Statement::CreateView);
    }
    if materialized {
        return Err(cursor.unexpected("VIEW"));
    }
    if or_replace || temporary {
        let word = if or_replace { "OR REPLACE" } else { "TEMPORARY" };
        return Err(Box::new(Diagnostic::error(what, format!("{word} is for views only"))));
    }
    if cursor.consume_word("SOURCE") {
        return parse_source(cursor).map(Statement::CreateSource);
    }
    if cursor.consume_word("SINK") {
        return parse_sink(cursor, emit).map(Statement::CreateSink);
    }
    Err(Box::new(refuse(cursor)))
}

fn refuse(cursor: &Cursor) -> Diagnostic {
    let span = cursor.span();
    let word = match cursor.peek() {
        Token::Word(word) => word.value.to_uppercase(),
        _ => return *cursor.unexpected("SOURCE, VIEW, MATERIALIZED VIEW or SINK"),
    };
    let hint = match word.as_str() {
        "TABLE" => "declare where rows come from with CREATE SOURCE, and where they go with CREATE SINK",
        "CATALOG" | "SECRET" | "FUNCTION" | "PIPELINE" | "SCHEMA" | "DATABASE" | "INDEX" | "TYPE" | "EXTERNAL" => {
            "there are CREATE SOURCE, CREATE VIEW, CREATE MATERIALIZED VIEW and CREATE SINK"
        }
        _ => {
            let near = suggest::nearest(&word, ["SOURCE", "SINK", "VIEW", "MATERIALIZED"]);
            return Diagnostic::error(span, format!("expected SOURCE, VIEW, MATERIALIZED VIEW or SINK, found {word}"))
                .with_hint_if(near.map(|near| format!("did you mean {near}?")));
        }
    };
    Diagnostic::error(span, format!("CREATE {word} is not supported")).with_hint(hint)
}

fn parse_if_not_exists(cursor: &mut Cursor) -> bool {
    cursor.consume_words(&["IF", "NOT", "EXISTS"])
}

fn parse_source(cursor: &mut Cursor) -> Result<CreateSource> {
    let if_not_exists = parse_if_not_exists(cursor);
    let name = cursor.parse_name("the name of the source")?;
    let mut source = CreateSource { name, if_not_exists, columns: vec![], watermarks: vec![], options: vec![] };
    if cursor.consume(&Token::LParen) {
        parse_source_items(cursor, &mut source)?;
    }
    if !cursor.consume_word("WITH") {
        let hint = "every source names its connector, e.g. WITH (connector = 'files', path = 'in.ndjson')";
        return Err(Box::new(cursor.unexpected("WITH (...)").with_hint(hint)));
    }
    source.options = parse_options(cursor)?;
    Ok(source)
}

/// Columns and watermarks up to the closing parenthesis.
fn parse_source_items(cursor: &mut Cursor, source: &mut CreateSource) -> Result<()> {
    loop {
        if cursor.peek_word("WATERMARK") && cursor.peek_nth_word(1, "FOR") {
            source.watermarks.push(parse_watermark(cursor)?);
        } else if cursor.peek_word("PRIMARY") && cursor.peek_nth_word(1, "KEY") {
            return Err(Box::new(
                Diagnostic::error(cursor.span(), "PRIMARY KEY is not supported yet: sources only add rows")
                    .with_hint("leave it out; every row is taken as a new one"),
            ));
        } else {
            source.columns.push(parse_column(cursor)?);
        }
        if cursor.consume(&Token::RParen) {
            return Ok(());
        }
        if !cursor.consume(&Token::Comma) {
            return Err(cursor.unexpected(", or )"));
        }
        if cursor.consume(&Token::RParen) {
            return Ok(());
        }
    }
}

fn parse_watermark(cursor: &mut Cursor) -> Result<WatermarkDefinition> {
    cursor.expect_word("WATERMARK")?;
    cursor.expect_word("FOR")?;
    let column = cursor.parse_name("the column with the event time")?;
    cursor.expect_word("AS")?;
    let (expr, span) = parse_expr(cursor)?;
    Ok(WatermarkDefinition { column, expr, span })
}

fn parse_expr(cursor: &mut Cursor) -> Result<(ast::Expr, Span)> {
    let start = cursor.span().start;
    let expr = cursor.sql(|parser| parser.parse_expr())?;
    Ok((expr, Span { start, end: cursor.end_of_last() }))
}

fn parse_column(cursor: &mut Cursor) -> Result<ColumnDefinition> {
    let name = cursor.parse_name("a column, or WATERMARK FOR")?;
    if cursor.consume_word("AS") {
        let (expr, span) = parse_expr(cursor)?;
        return Ok(ColumnDefinition { name, kind: ColumnKind::Computed { data_type: None, expr, span } });
    }
    let data_type = parse_type(cursor)?;
    let mut column =
        ColumnDefinition { kind: ColumnKind::Physical { data_type: data_type.clone(), not_null: false }, name };
    loop {
        if cursor.consume_words(&["NOT", "NULL"]) {
            if let ColumnKind::Physical { not_null, .. } = &mut column.kind {
                *not_null = true;
            }
        } else if cursor.consume_word("NULL") {
            // The default, spelt out.
        } else if cursor.consume_word("METADATA") {
            let key = parse_metadata_key(cursor, &column.name)?;
            column.kind = ColumnKind::Metadata { data_type: data_type.clone(), key };
        } else if cursor.consume_words(&["GENERATED", "ALWAYS", "AS"]) {
            let (expr, span) = parse_expr(cursor)?;
            let _ = cursor.consume_word("STORED") || cursor.consume_word("VIRTUAL");
            column.kind = ColumnKind::Computed { data_type: Some(data_type.clone()), expr, span };
        } else {
            return refuse_column_option(cursor).map_or(Ok(column), Err);
        }
    }
}

/// What may follow a type elsewhere but not here.
fn refuse_column_option(cursor: &Cursor) -> Option<Box<Diagnostic>> {
    let word = ["PRIMARY", "UNIQUE", "DEFAULT", "CHECK", "REFERENCES", "COMMENT", "COLLATE"];
    let found = word.iter().find(|word| cursor.peek_word(word))?;
    Some(Box::new(
        Diagnostic::error(cursor.span(), format!("{found} is not supported on a column of a source"))
            .with_hint("a column takes NOT NULL, METADATA [FROM 'key'] or GENERATED ALWAYS AS (expr) STORED"),
    ))
}

fn parse_metadata_key(cursor: &mut Cursor, column: &Name) -> Result<Name> {
    if !cursor.consume_word("FROM") {
        let _ = cursor.consume_word("VIRTUAL");
        return Ok(column.clone());
    }
    let span = cursor.span();
    let Token::SingleQuotedString(key) = cursor.peek().clone() else {
        return Err(cursor.unexpected("the metadata key in single quotes"));
    };
    cursor.next();
    let _ = cursor.consume_word("VIRTUAL");
    Ok(Name { value: key.to_lowercase(), span })
}

fn parse_view(cursor: &mut Cursor, or_replace: bool, materialized: bool) -> Result<CreateView> {
    let if_not_exists = parse_if_not_exists(cursor);
    let name = cursor.parse_name("the name of the view")?;
    let mut columns = Vec::new();
    if cursor.consume(&Token::LParen) {
        loop {
            columns.push(cursor.parse_name("the name of a column")?);
            if !cursor.consume(&Token::Comma) {
                break;
            }
        }
        cursor.expect(&Token::RParen)?;
    }
    if cursor.peek_word("WITH") {
        return Err(Box::new(
            Diagnostic::error(cursor.span(), "views take no options yet").with_hint("leave WITH (...) out"),
        ));
    }
    cursor.expect_word("AS")?;
    let start = cursor.span().start;
    let query = super::parse_query(cursor)?;
    let query_span = Span { start, end: cursor.end_of_last() };
    Ok(CreateView { name, or_replace, if_not_exists, materialized, columns, query, query_span })
}

fn parse_sink(cursor: &mut Cursor, emit: Option<Spanned<EmitPolicy>>) -> Result<CreateSink> {
    let if_not_exists = parse_if_not_exists(cursor);
    let name = cursor.parse_name("the name of the sink")?;
    if !cursor.consume_word("WITH") {
        let hint = "write CREATE SINK name WITH (connector = '...', ...) AS SELECT ...";
        return Err(Box::new(cursor.unexpected("WITH (...)").with_hint(hint)));
    }
    let options = parse_options(cursor)?;
    let query = match cursor.consume_word("AS") {
        true => Some(super::parse_query(cursor)?),
        false => None,
    };
    if let (None, Some(emit)) = (&query, &emit) {
        return Err(Box::new(
            Diagnostic::error(emit.span, "EMIT belongs behind a query").with_hint("this sink has no AS SELECT"),
        ));
    }
    let emit = emit.map_or(EmitPolicy::Default, |emit| emit.node);
    Ok(CreateSink { name, if_not_exists, options, query, emit })
}
