//! Answers one statement of a session: rows of a batch query, the live result of a streaming one, a pipeline run to its
//! end, a declaration kept.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use thalweg_engine::{OperatorSpec, Plan, RunHandle};
use thalweg_sql::{Connectors, Diagnostic, EmitPolicy, QuerySession, explain, query_batch, query_error};

use super::session::{Ask, Kind, Session, understand, uses};
use crate::duration;
use crate::engine::{cores, ephemeral, start_ephemeral};
use crate::exit::{Exit, Failure, stdout_is_terminal, talk};
use crate::front::{Front, How, Script, plan};
use crate::interrupt::signal;
use crate::live::follow::{Frame, as_lines, on_screen};
use crate::live::sink::{HELD_BYTES, LiveSink, Overflow};
use crate::live::view::Shape;
use crate::output::Format;
use crate::output::rows::{Layout, Printer};
use crate::output::table::terminal_width;

/// A session with the way its results are shown.
pub struct Answerer {
    pub session: Session,
    /// The same sources and views, for queries that run to their end.
    pub queries: QuerySession,
    pub layout: Layout,
    /// The person chose the format; otherwise endless results that are piped become JSON lines.
    pub format_chosen: bool,
    pub timing: bool,
    pub output: Option<File>,
    /// A person sits in front of it: declarations are confirmed, live results take the screen.
    pub interactive: bool,
}

impl Answerer {
    /// Answers a statement. Errors were not printed yet.
    pub async fn answer(&mut self, statement: &str) -> Result<Exit, Failure> {
        let begun = Instant::now();
        let asked = understand(statement).map_err(|found| refuse(statement, &found))?;
        let exit = match asked {
            Ask::Declare(_, name) if name.is_empty() => Exit::Ok,
            Ask::Declare(kind, name) => self.declare(kind, name, statement).await?,
            Ask::Pipeline => self.run_pipeline(statement).await?,
            Ask::Explain(query) => self.explain(&query).await?,
            Ask::Query(query, emit) if self.is_streaming(&query, emit) => self.stream(statement).await?,
            Ask::Query(..) => self.batch(statement).await?,
        };
        if self.timing {
            talk(format!("time: {}", duration::show(begun.elapsed())));
        }
        Ok(exit)
    }

    async fn declare(&mut self, kind: Kind, name: String, statement: &str) -> Result<Exit, Failure> {
        let mut next = self.session.clone();
        next.declare(kind, name.clone(), statement.to_string());
        // Checked with all others, so that a mistake shows now and not at the first query.
        let columns = match kind {
            Kind::Source | Kind::View => {
                let script = thalweg_sql::parse_script(statement).map_err(|found| refuse(statement, &found))?;
                for parsed in &script.statements {
                    self.queries.declare(parsed).await.map_err(|found| refuse(statement, &found))?;
                }
                // A streaming view is planned where it is used; batch planning may not know its functions.
                self.queries.columns(&name).await.ok()
            }
            Kind::Sink | Kind::Setting => {
                self.check(&next, statement)?;
                None
            }
        };
        self.session = next;
        if self.interactive {
            let columns = columns.map_or_else(String::new, |schema| format!(" ({} columns)", schema.fields().len()));
            talk(format!("{} {name}{columns}", kind.word()));
        }
        Ok(Exit::Ok)
    }

    /// Sinks and settings: bound beside a query that writes nothing.
    fn check(&self, next: &Session, statement: &str) -> Result<(), Failure> {
        let (text, _) = next.script("");
        let script = Script::text("sql", "sql", text)?;
        match plan(&script, &how(None)) {
            Ok(_) => Ok(()),
            Err(found) => {
                let before = next.declarations.len().saturating_sub(1);
                let lines = Session { declarations: next.declarations[..before].to_vec() }.script("").1;
                let found: Vec<Diagnostic> = found.into_iter().filter(|finding| finding.line > lines).collect();
                if found.is_empty() { Ok(()) } else { Err(refuse(statement, &next.place(found, lines))) }
            }
        }
    }

    /// Whether the engine has to run for a query.
    fn is_streaming(&self, query: &ast::Query, emit: EmitPolicy) -> bool {
        if emit != EmitPolicy::Default {
            return true;
        }
        // What is sorted or cut is asked of the rows there are now.
        let limited = query.limit_clause.is_some() || query.order_by.is_some();
        // Files end, and so does what is read from them.
        let declared = self.session.declarations.iter().any(|known| known.kind == Kind::Source);
        let uses = uses(query);
        !limited && !uses.file && (uses.window || declared && self.reads_endless_input(&query.to_string()))
    }

    fn reads_endless_input(&self, query: &str) -> bool {
        let (text, _) = self.session.script(query);
        let Ok(script) = Script::text("sql", "sql", text) else { return false };
        let sink = LiveSink::new(Overflow::Wait, 1);
        plan(&script, &how(Some(&sink))).is_ok_and(|front| is_endless(&front.planned.plan))
    }

    async fn batch(&mut self, statement: &str) -> Result<Exit, Failure> {
        let mut result = query_batch(&self.queries, statement).await.map_err(|found| refuse(statement, &found))?;
        let mut printer = Printer::new(self.writer()?, self.layout, result.schema.clone());
        loop {
            tokio::select! {
                next = result.rows.next() => match next {
                    None => break,
                    Some(Ok(batch)) => printer.write(&batch)?,
                    Some(Err(error)) => return Err(Failure::new(Exit::Failed, query_error(&error))),
                },
                () = signal() => {
                    talk("cancelled");
                    return Ok(Exit::Interrupted);
                }
            }
        }
        printer.finish()?;
        if result.skipped_rows() > 0 {
            talk(format!("{} rows could not be read and were passed over", result.skipped_rows()));
        }
        Ok(Exit::Ok)
    }

    async fn stream(&mut self, statement: &str) -> Result<Exit, Failure> {
        let on_terminal = self.output.is_none() && stdout_is_terminal() && self.layout.format == Format::Table;
        let sink = LiveSink::new(if on_terminal { Overflow::DropOldest } else { Overflow::Wait }, HELD_BYTES);
        let front = self.front(statement, &sink)?;
        let endless = is_endless(&front.planned.plan);
        let run = start(&front).await?;
        if on_terminal && (self.interactive || endless) {
            let frame = Frame { title: one_line(statement), shape: shape_of(&front.planned.plan), sort: None };
            let (_, view) = on_screen(run, &sink, frame, None).await?;
            for line in view.table(self.layout.max_rows.min(40)).lines(terminal_width()) {
                writeln!(std::io::stdout().lock(), "{line}")?;
            }
            return Ok(Exit::Ok);
        }
        let mut layout = self.layout;
        if endless && !self.format_chosen {
            layout.format = Format::Jsonl;
        }
        as_lines(run, &sink, layout, None, self.writer()?).await
    }

    async fn run_pipeline(&mut self, statement: &str) -> Result<Exit, Failure> {
        let sink = LiveSink::new(Overflow::Wait, 1);
        let front = self.front(statement, &sink)?;
        let mut run = start(&front).await?;
        let interrupts = crate::interrupt::Interrupts::listen("stopping; press Ctrl-C again to end at once");
        while !run.is_finished() && !interrupts.was_asked() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        run.stop();
        let summary = run.wait().await?;
        let counted = summary.progress;
        talk(format!("{} rows in, {} rows out, {} late", counted.rows_in, counted.rows_out, counted.late));
        Ok(if interrupts.was_asked() { Exit::Interrupted } else { Exit::Ok })
    }

    async fn explain(&mut self, query: &ast::Query) -> Result<Exit, Failure> {
        let text = query.to_string();
        if !self.is_streaming(query, EmitPolicy::Default) {
            return self.batch(&format!("EXPLAIN {text}")).await;
        }
        let sink = LiveSink::new(Overflow::Wait, 1);
        let front = self.front(&text, &sink)?;
        let mut out = self.writer()?;
        writeln!(out, "{}", explain::text(&front.planned).trim_end())?;
        Ok(Exit::Ok)
    }

    fn front(&self, statement: &str, sink: &LiveSink) -> Result<Front, Failure> {
        let (text, lines) = self.session.script(statement);
        let script = Script::text("sql", "sql", text)?;
        plan(&script, &how(Some(sink))).map_err(|found| refuse(statement, &self.session.place(found, lines)))
    }

    fn writer(&self) -> Result<Box<dyn Write + Send>, Failure> {
        Ok(match &self.output {
            Some(file) => Box::new(file.try_clone()?),
            None => Box::new(std::io::stdout()),
        })
    }
}

fn how(sink: Option<&LiveSink>) -> How<'static> {
    let query_sink = sink.map(|sink| Arc::new(sink.clone()) as Arc<dyn thalweg_engine::Sink>);
    How { registry: &Connectors, query_sink, offline: false }
}

/// A session's pipelines keep nothing: they end with the session.
async fn start(front: &Front) -> Result<RunHandle, Failure> {
    let workers = front.bound.settings.parallelism.unwrap_or_else(cores);
    let options = ephemeral(workers, &front.planned.fingerprint, &front.planned.sql);
    start_ephemeral(&front.planned.plan, options).await
}

/// Findings, rendered against the statement as it was typed.
pub fn refuse(statement: &str, found: &[Diagnostic]) -> Failure {
    for finding in found {
        talk(finding.render("sql", statement).trim_end());
    }
    Failure::silent(Exit::Validation)
}

fn is_endless(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| matches!(&node.operator, OperatorSpec::Source(source) if source.source.is_unbounded()))
}

/// The newest row of each key of the last aggregation that still shows in the result; otherwise the newest rows.
fn shape_of(plan: &Plan) -> Shape {
    let Some(result) = plan.nodes.iter().rev().find(|node| matches!(node.operator, OperatorSpec::Sink(_))) else {
        return Shape::Newest;
    };
    let keys = plan.nodes.iter().rev().find_map(|node| match &node.operator {
        OperatorSpec::WindowAggregate(spec) => Some(&spec.keys),
        OperatorSpec::Session(spec) => Some(&spec.keys),
        OperatorSpec::CountWindow(spec) => Some(&spec.keys),
        _ => None,
    });
    let shown = |name: &String| result.schema.field_with_name(name).is_ok();
    let names: Vec<String> = keys.into_iter().flatten().map(|key| key.name.clone()).filter(shown).collect();
    if names.is_empty() { Shape::Newest } else { Shape::LatestPer(names) }
}

fn one_line(statement: &str) -> String {
    statement.split_whitespace().collect::<Vec<_>>().join(" ")
}
