//! What a SQL session knows: declarations made so far, and how a statement is answered.
//!
//! Declarations are kept as text and bound anew with every query, so that a session and a script mean the same. A query
//! over endless input, with a window or with EMIT runs in the engine; every other one is answered at once, as over tables.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast;
use thalweg_sql::{Diagnostic, EmitPolicy, Statement};

/// Names of window functions: a query that calls one is a streaming query.
const WINDOWS: [&str; 5] = ["tumble", "hop", "cumulate", "session", "count_tumble"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Source,
    View,
    Sink,
    Setting,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::View => "view",
            Self::Sink => "sink",
            Self::Setting => "setting",
        }
    }
}

/// A statement that later ones build on.
#[derive(Debug, Clone)]
pub struct Declaration {
    pub kind: Kind,
    pub name: String,
    pub text: String,
}

#[derive(Debug, Default, Clone)]
pub struct Session {
    pub declarations: Vec<Declaration>,
}

/// What a statement asks for.
#[derive(Debug)]
pub enum Ask {
    Declare(Kind, String),
    /// A sink with a query, or INSERT: a pipeline to run now.
    Pipeline,
    Query(Box<ast::Query>, EmitPolicy),
    Explain(Box<ast::Query>),
}

/// Reads one statement.
pub fn understand(text: &str) -> Result<Ask, Vec<Diagnostic>> {
    let script = thalweg_sql::parse_script(text)?;
    let Some(statement) = script.statements.into_iter().next() else {
        return Ok(Ask::Declare(Kind::Setting, String::new()));
    };
    Ok(match statement.node {
        Statement::CreateSource(create) => Ask::Declare(Kind::Source, create.name.value),
        Statement::CreateView(create) => Ask::Declare(Kind::View, create.name.value),
        Statement::CreateSink(create) if create.query.is_none() => Ask::Declare(Kind::Sink, create.name.value),
        Statement::CreateSink(_) | Statement::Insert(_) => Ask::Pipeline,
        Statement::Set(set) => Ask::Declare(Kind::Setting, set.key.value),
        Statement::Query(query) => Ask::Query(Box::new(query.query), query.emit),
        Statement::Explain(explain) => Ask::Explain(Box::new(explain.query)),
    })
}

impl Session {
    /// All declarations and `statement`, as one script. `lines` is how many lines stand in front of the statement.
    pub fn script(&self, statement: &str) -> (String, usize) {
        let mut text = String::new();
        for declaration in &self.declarations {
            text.push_str(&declaration.text);
            text.push_str(";\n");
        }
        let lines = text.lines().count();
        text.push_str(statement);
        text.push_str(";\n");
        (text, lines)
    }

    /// Keeps a declaration in the place of an earlier one of the same name.
    pub fn declare(&mut self, kind: Kind, name: String, text: String) {
        let place = self.declarations.iter().position(|known| known.kind == kind && known.name == name);
        match place {
            Some(place) => self.declarations[place].text = text,
            None => self.declarations.push(Declaration { kind, name, text }),
        }
    }

    /// Findings of a script of the session, moved to where the statement's own lines begin. Findings in declarations say
    /// so.
    pub fn place(&self, mut found: Vec<Diagnostic>, lines: usize) -> Vec<Diagnostic> {
        for finding in &mut found {
            if finding.line > lines {
                finding.line -= lines;
            } else if finding.line > 0 {
                finding.message = format!("in an earlier declaration: {}", finding.message);
                finding.line = 0;
            }
        }
        found
    }
}

/// What a query reads and calls, by name in lower case.
#[derive(Debug, Default)]
pub struct Uses {
    pub tables: BTreeSet<String>,
    pub window: bool,
    /// A file is named in single quotes; only queries that end can read one.
    pub file: bool,
}

pub fn uses(query: &ast::Query) -> Uses {
    let mut uses = Uses::default();
    let _ = ast::visit_relations(query, |name| {
        uses.file |= name.0.iter().filter_map(|part| part.as_ident()).any(is_file);
        let name = last_part(name);
        uses.window |= WINDOWS.contains(&name.as_str());
        uses.tables.insert(name);
        ControlFlow::<()>::Continue(())
    });
    let _ = ast::visit_expressions(query, |expr| {
        match expr {
            ast::Expr::Function(call) if call.over.is_none() => {
                uses.window |= WINDOWS.contains(&last_part(&call.name).as_str());
            }
            // TABLE t inside a window function is a plain name there.
            ast::Expr::Identifier(ident) => {
                uses.file |= is_file(ident);
                uses.tables.insert(ident.value.to_lowercase());
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    uses
}

fn is_file(ident: &ast::Ident) -> bool {
    ident.quote_style == Some('\'')
}

fn last_part(name: &ast::ObjectName) -> String {
    name.0.last().map_or_else(String::new, |part| part.to_string().trim_matches('"').to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> ast::Query {
        match understand(text).unwrap() {
            Ask::Query(query, _) => *query,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_are_seen() {
        for text in ["SELECT * FROM 'a.csv'", "SELECT * FROM TUMBLE(TABLE 'a.csv', DESCRIPTOR(at), INTERVAL '1' DAY)"] {
            assert!(uses(&query(text)).file, "{text}");
        }
        assert!(!uses(&query("SELECT 'a.csv' FROM \"a.csv\"")).file);
    }

    #[test]
    fn window_functions_are_seen_in_both_forms() {
        for text in [
            "SELECT count(*) FROM TUMBLE(TABLE t, DESCRIPTOR(at), INTERVAL '1' DAY) GROUP BY window_start",
            "SELECT count(*) FROM t GROUP BY tumble(at, INTERVAL '1 day')",
        ] {
            let uses = uses(&query(text));
            assert!(uses.window && uses.tables.contains("t") || text.contains("FROM t "), "{text}: {uses:?}");
        }
        assert!(!uses(&query("SELECT a FROM t")).window);
    }

    #[test]
    fn statements_are_told_apart() {
        assert!(matches!(
            understand("CREATE SINK s WITH (connector = 'blackhole') AS SELECT 1").unwrap(),
            Ask::Pipeline
        ));
        assert!(
            matches!(understand("CREATE VIEW v AS SELECT 1").unwrap(), Ask::Declare(Kind::View, name) if name == "v")
        );
        assert!(understand("SELEC 1").is_err());
    }

    #[test]
    fn findings_are_moved_to_the_statement() {
        let mut session = Session::default();
        session.declare(Kind::View, "v".into(), "CREATE VIEW v AS\nSELECT 1".into());
        let (text, lines) = session.script("SELECT x");
        assert_eq!((text.lines().count(), lines), (3, 2));
        let finding = |line| Diagnostic {
            severity: thalweg_sql::Severity::Error,
            message: "m".into(),
            line,
            column: 1,
            length: 1,
            hint: None,
        };
        let placed = session.place(vec![finding(3), finding(1)], lines);
        assert_eq!(placed[0].line, 1);
        assert!(placed[1].message.contains("earlier declaration"));
    }
}
