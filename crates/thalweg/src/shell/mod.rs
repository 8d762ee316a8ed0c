//! The SQL shell: reads statements and shell commands, answers them, and keeps going after an error if a person is there.

mod answer;
pub mod complete;
pub mod editor;
pub mod meta;
pub mod session;
pub mod split;
mod terminal;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use reedline::Signal;
use thalweg_sql::{Connectors, QuerySession};

use self::answer::{Answerer, refuse};
use self::complete::SharedNames;
use self::editor::{ShellPrompt, editor, is_command_word};
use self::meta::{HELP, Meta};
use self::session::Session;
use crate::exit::{Exit, Failure, talk};
use crate::front::current_dir;
use crate::output::Format;
use crate::output::rows::Layout;
use crate::output::table::{Column, Table, terminal_width};

pub struct Shell {
    answerer: Answerer,
    names: SharedNames,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// Someone asked to leave.
    Leave,
    /// A statement was interrupted.
    Interrupted,
}

/// Files that include files that include files, at most so deep.
const INCLUDES_MAX: usize = 16;

impl Shell {
    pub fn new(layout: Layout, format_chosen: bool, timing: bool) -> Result<Self, Failure> {
        let answerer = Answerer {
            session: Session::default(),
            queries: new_queries()?,
            layout,
            format_chosen,
            timing,
            output: None,
            interactive: false,
        };
        Ok(Self { answerer, names: SharedNames::default() })
    }

    /// Runs all statements of a text; stops at the first that fails.
    pub async fn run_text(&mut self, text: &str) -> Result<Exit, Failure> {
        let flow = self.run_script(text, 0).await?;
        Ok(if flow == Flow::Interrupted { Exit::Interrupted } else { Exit::Ok })
    }

    pub async fn run_file(&mut self, path: &Path) -> Result<Exit, Failure> {
        let text = read(path)?;
        self.run_text(&text).await
    }

    /// Reads from the terminal until the person leaves.
    pub async fn interact(&mut self) -> Result<Exit, Failure> {
        self.answerer.interactive = true;
        let _keys = terminal::KeysAsTheyAre::hold();
        talk(format!("thalweg {}  statements end with ;  \\? lists commands, \\q leaves", env!("CARGO_PKG_VERSION")));
        let names = self.names.clone();
        // Collecting function names takes longer than a first keystroke should wait.
        let collected = tokio::task::spawn_blocking(move || add_functions(&names));
        let mut editor = editor(self.names.clone());
        loop {
            let signal = tokio::task::block_in_place(|| editor.read_line(&ShellPrompt));
            match signal.map_err(|error| Failure::io("use the terminal", &error))? {
                Signal::Success(line) => match self.run_script(command_of(&line), 0).await {
                    Ok(Flow::Leave) => break,
                    Ok(Flow::GoOn | Flow::Interrupted) => {}
                    Err(failure) => failure.print(),
                },
                Signal::CtrlD => break,
                _ => {}
            }
        }
        collected.abort();
        Ok(Exit::Ok)
    }

    async fn run_script(&mut self, text: &str, depth: usize) -> Result<Flow, Failure> {
        let mut rest = text;
        while !split::is_blank(rest) {
            let start = rest.trim_start();
            let flow = if meta::is_meta(start) {
                let (line, behind) = start.split_once('\n').unwrap_or((start, ""));
                rest = behind;
                self.command(line, depth).await?
            } else {
                let (statement, behind) = split::first(rest);
                rest = behind;
                self.statement(statement).await?
            };
            if flow != Flow::GoOn {
                return Ok(flow);
            }
        }
        Ok(Flow::GoOn)
    }

    async fn statement(&mut self, statement: &str) -> Result<Flow, Failure> {
        if split::is_blank(statement) {
            return Ok(Flow::GoOn);
        }
        let before = self.answerer.session.declarations.len();
        let exit = self.answerer.answer(statement).await?;
        if self.answerer.interactive && self.answerer.session.declarations.len() != before {
            self.refresh_names().await;
        }
        Ok(if exit == Exit::Interrupted { Flow::Interrupted } else { Flow::GoOn })
    }

    async fn command(&mut self, line: &str, depth: usize) -> Result<Flow, Failure> {
        let meta = meta::parse(line).map_err(|message| Failure::new(Exit::Usage, message))?;
        let answerer = &mut self.answerer;
        match meta {
            Meta::Quit => return Ok(Flow::Leave),
            Meta::Help => say(HELP)?,
            Meta::Describe(None) => list(&answerer.session)?,
            Meta::Describe(Some(name)) => describe(&answerer.queries, &name).await?,
            Meta::Connectors => {
                for connector in thalweg_connect::connectors() {
                    say(&format!("{:12} {}", connector.name, connector.summary))?;
                }
            }
            Meta::Functions(part) => self.functions(&part)?,
            Meta::Explain(query) => {
                let query = query.trim_end_matches(';');
                answerer.answer(&format!("EXPLAIN {query}")).await?;
            }
            Meta::Timing(choice) => {
                answerer.timing = choice.unwrap_or(!answerer.timing);
                talk(format!("timing is {}", on_off(answerer.timing)));
            }
            Meta::Expanded(choice) => {
                answerer.layout.expanded = choice.unwrap_or(!answerer.layout.expanded);
                talk(format!("one line per column is {}", on_off(answerer.layout.expanded)));
            }
            Meta::Output(None) => answerer.output = None,
            Meta::Output(Some(path)) => {
                let file = File::create(&path);
                let failed = |error| Failure::io(format!("write {}", path.display()), &error);
                answerer.output = Some(file.map_err(failed)?);
            }
            Meta::Format(None) => talk(format!("format is {}", name_of(answerer.layout.format))),
            Meta::Format(Some(format)) => {
                answerer.layout.format = format;
                answerer.format_chosen = true;
            }
            Meta::Include(path) => {
                if depth >= INCLUDES_MAX {
                    return Err(Failure::new(Exit::Validation, format!("files include files {INCLUDES_MAX} deep")));
                }
                let text = read(&path)?;
                return Box::pin(self.run_script(&text, depth + 1)).await;
            }
            Meta::Clear => {
                answerer.session = Session::default();
                answerer.queries = new_queries()?;
                self.refresh_names().await;
            }
        }
        Ok(Flow::GoOn)
    }

    fn functions(&self, part: &str) -> Result<(), Failure> {
        add_functions(&self.names);
        let names = self.names.read().unwrap_or_else(|poison| poison.into_inner());
        let found: Vec<&str> =
            names.functions.iter().map(String::as_str).filter(|name| name.contains(&part.to_lowercase())).collect();
        say(&wrapped(&found, terminal_width()))
    }

    /// Tables and columns that completion offers.
    async fn refresh_names(&self) {
        let session = &self.answerer.session;
        let mut tables = Vec::new();
        let mut columns = Vec::new();
        for declaration in &session.declarations {
            if matches!(declaration.kind, session::Kind::Source | session::Kind::View) {
                // A name without columns is still a name.
                if let Ok(schema) = self.answerer.queries.columns(&declaration.name).await {
                    columns.extend(schema.fields().iter().map(|field| field.name().clone()));
                }
                tables.push(declaration.name.clone());
            }
        }
        let mut names = self.names.write().unwrap_or_else(|poison| poison.into_inner());
        names.tables = tables;
        names.columns = columns;
    }
}

/// Words without a semicolon that people try, as commands.
fn command_of(line: &str) -> &str {
    if !is_command_word(line) {
        return line;
    }
    if line.trim().eq_ignore_ascii_case("help") { "\\?" } else { "\\q" }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::io(format!("read {}", path.display()), &error))
}

fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn name_of(format: Format) -> String {
    use clap::ValueEnum;
    format.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

fn list(session: &Session) -> Result<(), Failure> {
    if session.declarations.is_empty() {
        return say("nothing is declared yet; a file is a table without declaring it: SELECT * FROM 'rows.ndjson'");
    }
    let columns = ["name", "is"].map(|name| Column { name: name.into(), right: false }).to_vec();
    let rows = session.declarations.iter().map(|known| vec![known.name.clone(), known.kind.word().into()]).collect();
    say(&Table { columns, rows }.lines(terminal_width()).join("\n"))
}

fn new_queries() -> Result<QuerySession, Failure> {
    Ok(QuerySession::new(Arc::new(Connectors), current_dir()?))
}

async fn describe(queries: &QuerySession, name: &str) -> Result<(), Failure> {
    let name = name.trim_matches('\'');
    let schema = queries.columns(name).await.map_err(|found| refuse(name, &found))?;
    let columns = ["column", "type", "null"].map(|name| Column { name: name.into(), right: false }).to_vec();
    let rows = schema.fields().iter().map(|field| {
        let null = if field.is_nullable() { "" } else { "not null" };
        vec![field.name().clone(), thalweg_sql::types::sql_name(field.data_type()), null.into()]
    });
    say(&Table { columns, rows: rows.collect() }.lines(terminal_width()).join("\n"))
}

fn add_functions(names: &SharedNames) {
    let Ok(state) = thalweg_sql::functions::session_state() else { return };
    let mut functions: Vec<String> = state.scalar_functions().keys().cloned().collect();
    functions.extend(state.aggregate_functions().keys().cloned());
    functions.extend(state.window_functions().keys().cloned());
    functions.sort();
    functions.dedup();
    names.write().unwrap_or_else(|poison| poison.into_inner()).functions = functions;
}

/// Words in lines of at most `width`.
fn wrapped(words: &[&str], width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is a first line");
        if !line.is_empty() && line.len() + 2 + word.len() > width {
            lines.push((*word).to_string());
        } else {
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
