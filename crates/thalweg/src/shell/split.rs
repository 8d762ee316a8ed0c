//! Finds the ends of statements in text as it is typed: a `;` that is not inside quotes or a comment.

/// The statements of `text` that are complete, without their `;`, and the rest.
pub fn statements(text: &str) -> (Vec<&str>, &str) {
    let mut found = Vec::new();
    let mut start = 0;
    while let Some(end) = statement_end(&text[start..]) {
        found.push(text[start..start + end].trim());
        start += end + 1;
    }
    found.retain(|statement| !is_blank(statement));
    (found, &text[start..])
}

/// The first statement of `text`, without its `;`, and what is behind it. The last one needs no `;`.
pub fn first(text: &str) -> (&str, &str) {
    match statement_end(text) {
        Some(end) => (text[..end].trim(), &text[end + 1..]),
        None => (text.trim(), ""),
    }
}

/// Whether nothing but white space and comments is there.
pub fn is_blank(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    scanner.all(|(_, c, plain)| !plain || c.is_whitespace())
}

/// Byte position of the first `;` that ends a statement.
fn statement_end(text: &str) -> Option<usize> {
    Scanner::new(text).find(|(_, c, plain)| *plain && *c == ';').map(|(at, _, _)| at)
}

/// Walks over characters and tells which are plain, that is: neither in a comment nor (apart from the first quote) in a
/// quoted text.
struct Scanner<'a> {
    chars: std::iter::Peekable<std::str::CharIndices<'a>>,
    inside: Inside,
}

#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Nothing,
    Quote(char),
    LineComment,
    /// Depth: block comments nest in Postgres.
    BlockComment(usize),
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { chars: text.char_indices().peekable(), inside: Inside::Nothing }
    }

    fn follows(&mut self, wanted: char) -> bool {
        self.chars.next_if(|(_, c)| *c == wanted).is_some()
    }
}

impl Iterator for Scanner<'_> {
    /// Position, character, whether it is plain.
    type Item = (usize, char, bool);

    fn next(&mut self) -> Option<Self::Item> {
        let (at, c) = self.chars.next()?;
        let plain = match (self.inside, c) {
            (Inside::Nothing, '\'' | '"') => {
                self.inside = Inside::Quote(c);
                true
            }
            (Inside::Nothing, '-') if self.follows('-') => {
                self.inside = Inside::LineComment;
                false
            }
            (Inside::Nothing, '/') if self.follows('*') => {
                self.inside = Inside::BlockComment(1);
                false
            }
            (Inside::Nothing, _) => true,
            // A doubled quote closes and opens again, which comes to the same.
            (Inside::Quote(quote), _) if c == quote => {
                self.inside = Inside::Nothing;
                true
            }
            (Inside::Quote(_), _) => false,
            (Inside::LineComment, '\n') => {
                self.inside = Inside::Nothing;
                false
            }
            (Inside::LineComment, _) => false,
            (Inside::BlockComment(depth), '*') if self.follows('/') => {
                self.inside = if depth == 1 { Inside::Nothing } else { Inside::BlockComment(depth - 1) };
                false
            }
            (Inside::BlockComment(depth), '/') if self.follows('*') => {
                self.inside = Inside::BlockComment(depth + 1);
                false
            }
            (Inside::BlockComment(_), _) => false,
        };
        Some((at, c, plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_semicolons_outside_quotes_and_comments() {
        for (text, expect, rest) in [
            ("SELECT 1; SELECT 2;", vec!["SELECT 1", "SELECT 2"], ""),
            ("SELECT ';'; x", vec!["SELECT ';'"], " x"),
            ("SELECT 'it''s;' ;", vec!["SELECT 'it''s;'"], ""),
            ("SELECT \"a;b\"; -- c;\n;", vec!["SELECT \"a;b\""], ""),
            ("/* a; /* b; */ c; */ SELECT 1;", vec!["/* a; /* b; */ c; */ SELECT 1"], ""),
            (";;", vec![], ""),
            ("SELECT 'open;", vec![], "SELECT 'open;"),
        ] {
            assert_eq!(statements(text), (expect, rest), "{text}");
        }
    }

    #[test]
    fn comments_alone_are_blank() {
        assert!(is_blank(" -- x\n /* y */ "));
        assert!(!is_blank("''"));
        assert!(!is_blank("-- x\n1"));
    }
}
