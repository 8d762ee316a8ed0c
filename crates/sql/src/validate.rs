//! Everything that is wrong with a script, at once.
//!
//! The stages usually stop at each other: a script that does not parse is not bound, one that is not bound is not planned.
//! Here each stage goes on with what the one before could make sense of, and findings that could be mere consequences
//! (an unknown name where a statement is missing) are kept back.

use crate::bind::bind_sound;
use crate::diagnostic::{Diagnostic, sorted};
use crate::parse::parse_statements;
use crate::{BindContext, plan_pipeline};
use datafusion::sql::sqlparser::tokenizer::Span;

/// All errors and warnings of a script, in the order of the text. `context.offline` decides whether sources are opened.
pub fn validate(sql: &str, context: &BindContext) -> Vec<Diagnostic> {
    let (script, mut found) = parse_statements(sql);
    let incomplete = !found.is_empty();
    let pipeline = match bind_sound(&script, context, incomplete) {
        Ok((pipeline, findings)) => {
            found.extend(findings);
            pipeline
        }
        Err(findings) => {
            found.extend(findings);
            return sorted(found);
        }
    };
    if pipeline.sinks.iter().any(|sink| !sink.queries.is_empty()) {
        match plan_pipeline(&pipeline, sql) {
            Ok(planned) => {
                let warning = |text: &String| Diagnostic::warning(Span::empty(), text);
                found.extend(planned.warnings.iter().map(warning));
            }
            Err(findings) => found.extend(findings),
        }
    }
    // A warning may be the consequence of an error.
    if found.iter().any(Diagnostic::is_error) {
        found.retain(Diagnostic::is_error);
    }
    sorted(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryRegistry;

    fn places(sql: &str) -> Vec<String> {
        let registry = MemoryRegistry::default();
        let context = BindContext { offline: true, ..BindContext::new("p", "/nowhere", &registry) };
        let found = validate(sql, &context);
        found.iter().map(|found| format!("{}:{} {}", found.line, found.column, found.message)).collect()
    }

    const SOURCE: &str =
        "CREATE SOURCE s (ts TIMESTAMP, k TEXT, n BIGINT, WATERMARK FOR ts AS ts) WITH (connector = 'memory');\n";

    #[test]
    fn stages_do_not_hide_each_other() {
        let sql = format!(
            "{SOURCE}CREATE SNK a WITH (connector = 'memory') AS SELECT 1;
CREATE SINK b WITH (connector = 'memry') AS
SELECT kk, count(*) FROM TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '1' DAY) GROUP BY kk, window_start, window_end;
SET paralelism = 3;"
        );
        let expect = [
            "2:8 expected SOURCE, VIEW, MATERIALIZED VIEW or SINK, found SNK",
            "3:21 unknown connector 'memry'",
            "4:8 unknown column 'kk'",
            "5:5 unknown setting 'paralelism'",
        ];
        let found = places(&sql);
        assert_eq!(found, expect);
    }

    #[test]
    fn consequences_are_kept_back() {
        // The source fails to parse: what reads it is not blamed.
        let sql = "CREATE SOURCE s (n BIGINT WITH (connector = 'memory');
            CREATE VIEW v AS SELECT n FROM s;
            CREATE SINK k WITH (connector = 'memory') AS SELECT n FROM v;";
        let found = places(sql);
        assert_eq!(found.len(), 1, "{found:?}");
        // The source has an unknown type: its query is not blamed either.
        let sql = "CREATE SOURCE s (n BIGNIT) WITH (connector = 'memory');
            CREATE SINK k WITH (connector = 'memory') AS SELECT n FROM s;";
        assert_eq!(places(sql), ["1:20 unknown type BIGNIT"]);
    }

    #[test]
    fn a_sound_script_has_no_findings() {
        let sql = format!(
            "{SOURCE}CREATE SINK k WITH (connector = 'memory') AS SELECT k, n * 2 AS twice FROM s WHERE n > 1;"
        );
        assert_eq!(places(&sql), Vec::<String>::new());
    }
}
