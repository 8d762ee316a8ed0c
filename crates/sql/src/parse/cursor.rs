//! A statement's tokens with a place in them: sqlparser's parser, wrapped so that errors become findings.

use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::diagnostic::Diagnostic;
use crate::dialect::ThalwegDialect;
use crate::statement::{Name, fold};
use crate::suggest;

/// Boxed: a finding is large, and results are passed up through every level of the grammar.
pub(super) type Result<T> = std::result::Result<T, Box<Diagnostic>>;

const CLAUSES: [&str; 18] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "LIMIT",
    "JOIN",
    "UNION",
    "WITH",
    "AS",
    "WATERMARK",
    "FOR",
    "VALUES",
    "METADATA",
    "GENERATED",
    "INTO",
];

pub(super) struct Cursor<'a> {
    parser: Parser<'a>,
    tokens: &'a [TokenWithSpan],
}

impl<'a> Cursor<'a> {
    /// `tokens` without whitespace and not empty. The end gets a token of its own, so that errors there have a place.
    pub(super) fn new(tokens: &'a [TokenWithSpan]) -> Self {
        let end = tokens[tokens.len() - 1].span.end;
        let mut owned = tokens.to_vec();
        owned.push(TokenWithSpan { token: Token::EOF, span: Span { start: end, end } });
        Self { parser: Parser::new(&ThalwegDialect).with_tokens_with_locations(owned), tokens }
    }

    /// All tokens of the statement.
    pub(super) fn tokens(&self) -> &'a [TokenWithSpan] {
        self.tokens
    }

    /// Runs a part of sqlparser's own grammar.
    pub(super) fn sql<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'a>) -> std::result::Result<T, ParserError>,
    ) -> Result<T> {
        parse(&mut self.parser).map_err(|error| Box::new(self.finding(&error)))
    }

    pub(super) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    pub(super) fn peek_nth(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    /// Place of the token ahead.
    pub(super) fn span(&self) -> Span {
        self.parser.peek_token_ref().span
    }

    /// End of the token behind.
    pub(super) fn end_of_last(&self) -> Location {
        self.parser.get_current_token().span.end
    }

    pub(super) fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    pub(super) fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    pub(super) fn consume(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(super) fn expect(&mut self, token: &Token) -> Result<()> {
        if self.consume(token) { Ok(()) } else { Err(self.unexpected(&token.to_string())) }
    }

    /// Whether the n-th token ahead is this unquoted word.
    pub(super) fn peek_nth_word(&self, n: usize, word: &str) -> bool {
        matches!(self.peek_nth(n), Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
    }

    pub(super) fn peek_word(&self, word: &str) -> bool {
        self.peek_nth_word(0, word)
    }

    pub(super) fn consume_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        if found {
            self.parser.advance_token();
        }
        found
    }

    /// All of these words or none.
    pub(super) fn consume_words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(n, word)| self.peek_nth_word(n, word));
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.consume_word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    pub(super) fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    pub(super) fn peek_nth_is_query_start(&self, n: usize) -> bool {
        *self.peek_nth(n) == Token::LParen
            || ["SELECT", "WITH", "VALUES", "FROM", "TABLE"].iter().any(|word| self.peek_nth_word(n, word))
    }

    /// An identifier, quoted or not.
    pub(super) fn parse_name(&mut self, what: &str) -> Result<Name> {
        match self.peek() {
            Token::Word(word) => {
                let ident = word.to_ident(self.span());
                self.parser.advance_token();
                if *self.peek() == Token::Period {
                    return Err(Box::new(
                        Diagnostic::error(self.span(), "names with a schema in front are not supported here")
                            .with_hint("a pipeline has one flat space of names"),
                    ));
                }
                Ok(Name { value: fold(&ident), span: ident.span })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// `a.b.c` or `'a.b.c'` as one name in lower case.
    pub(super) fn parse_dotted_name(&mut self, what: &str) -> Result<Name> {
        let start = self.span().start;
        let mut value = String::new();
        loop {
            match self.peek() {
                Token::Word(word) => value.push_str(&word.value.to_lowercase()),
                Token::SingleQuotedString(text) => value.push_str(&text.to_lowercase()),
                _ => return Err(self.unexpected(what)),
            }
            self.parser.advance_token();
            if !self.consume(&Token::Period) {
                break;
            }
            value.push('.');
        }
        Ok(Name { value, span: Span { start, end: self.end_of_last() } })
    }

    /// The finding "expected x, found y" at the token ahead.
    pub(super) fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let found = self.parser.peek_token_ref();
        Box::new(self.expected_found(expected, &found.token.to_string(), found.span))
    }

    fn expected_found(&self, expected: &str, found: &str, span: Span) -> Diagnostic {
        let found = if found == "EOF" { "the end of the statement" } else { found };
        Diagnostic::error(span, format!("expected {expected}, found {found}")).with_hint_if(self.misspelt(span))
    }

    /// The error is often one word after a misspelt keyword, which was read as an alias.
    fn misspelt(&self, at: Span) -> Option<String> {
        let index = self.tokens.iter().position(|token| token.span.start >= at.start).unwrap_or(self.tokens.len());
        let candidates = [self.tokens.get(index), index.checked_sub(1).and_then(|before| self.tokens.get(before))];
        candidates.into_iter().flatten().find_map(|token| {
            let Token::Word(word) = &token.token else { return None };
            let upper = word.value.to_uppercase();
            if word.quote_style.is_some() || upper.len() < 4 || CLAUSES.contains(&upper.as_str()) {
                return None;
            }
            suggest::nearest(&upper, CLAUSES).map(|near| format!("did you mean {near} instead of {}?", word.value))
        })
    }

    fn finding(&self, error: &ParserError) -> Diagnostic {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
            ParserError::RecursionLimitExceeded => {
                let message = "the statement is nested too deeply";
                return Diagnostic::error(self.span(), message)
                    .with_hint("move inner parts into views or WITH queries");
            }
        };
        let (text, span) = match split_place(text) {
            Some((text, location)) => (text, self.span_at(location)),
            None => (text.as_str(), self.span()),
        };
        let expected_found = text.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "));
        match expected_found {
            Some((expected, found)) => self.expected_found(&plain(expected), found, span),
            None => Diagnostic::error(span, lower_first(text)),
        }
    }

    /// The token that starts there, or an empty place.
    fn span_at(&self, location: Location) -> Span {
        let token = self.tokens.iter().find(|token| token.span.start == location);
        token.map_or(super::at(location), |token| token.span)
    }
}

/// What sqlparser expects, in plain words.
fn plain(expected: &str) -> String {
    match expected {
        "an SQL statement" => "a statement".to_string(),
        "end of statement" => "the end of the statement".to_string(),
        "SELECT, VALUES, or a subquery in the query body" => "SELECT or VALUES".to_string(),
        other => other.to_string(),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// Splits `text at Line: 3, Column: 7`.
fn split_place(text: &str) -> Option<(&str, Location)> {
    let (message, place) = text.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some((message, Location { line: line.parse().ok()?, column: column.trim().parse().ok()? }))
}
