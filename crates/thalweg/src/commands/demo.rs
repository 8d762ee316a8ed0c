//! `thalweg demo`: a live result at once, with nothing to set up.

use std::sync::Arc;
use std::time::Duration;

use crate::demo::{DemoRegistry, Name, demo};
use crate::duration;
use crate::engine::{cores, ephemeral, start_ephemeral};
use crate::exit::{Exit, Failure, stdout_is_terminal, talk};
use crate::front::{How, Script, plan};
use crate::live::follow::{Frame, as_lines, on_screen};
use crate::live::sink::{HELD_BYTES, LiveSink, Overflow};
use crate::live::view::Shape;
use crate::output::Format;
use crate::output::rows::Layout;
use clap::Args;

/// Show a live result: input is replayed or made up, the table on the screen stays up to date. q quits.
///
/// Nothing is read from or written to disk. Without a terminal, or with --plain, rows are printed as they come.
#[derive(Debug, Args)]
pub struct DemoArgs {
    #[arg(value_enum, default_value_t = Name::Flights)]
    name: Name,
    /// Rows per second [default: a rate that the eye can follow].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Stop after so long, e.g. 10s [default: on the screen never, otherwise 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Print rows as they come instead of drawing a screen.
    #[arg(long)]
    plain: bool,
    /// Format of printed rows [default: jsonl].
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Print the SQL of the demonstration and end.
    #[arg(long)]
    sql: bool,
}

pub fn run(args: DemoArgs) -> Result<Exit, Failure> {
    let demo = demo(args.name);
    if args.sql {
        use std::io::Write;
        write!(std::io::stdout().lock(), "{}", demo.sql)?;
        return Ok(Exit::Ok);
    }
    let plain = args.plain || args.output.is_some() || !stdout_is_terminal();
    let overflow = if plain { Overflow::Wait } else { Overflow::DropOldest };
    let sink = LiveSink::new(overflow, HELD_BYTES);
    let registry = DemoRegistry::new(f64::from(args.rate.unwrap_or(demo.rate)));
    let script = Script::text("demo", "demo", demo.sql)?;
    let how = How { registry: &registry, query_sink: Some(Arc::new(sink.clone())), offline: false };
    let front = plan(&script, &how).map_err(|found| script.refuse(&found))?;
    crate::runtime::block_on(async {
        let mut options = ephemeral(cores(), &front.planned.fingerprint, demo.sql);
        // Small batches: what is shown should flow, not come in lumps.
        options.batch_rows = 64;
        let run = start_ephemeral(&front.planned.plan, options).await?;
        if plain {
            let until = args.duration.unwrap_or(Duration::from_secs(10));
            let layout = Layout::new(args.output.unwrap_or(Format::Jsonl));
            return as_lines(run, &sink, layout, Some(until), std::io::stdout()).await;
        }
        let frame = Frame {
            title: format!("thalweg demo: {}", demo.title),
            shape: Shape::LatestPer(demo.keys.iter().map(|key| (*key).to_string()).collect()),
            sort: Some(demo.sort.into()),
        };
        let (summary, view) = on_screen(run, &sink, frame, args.duration).await?;
        talk(format!("{} rows in, {} results", summary.progress.rows_in, view.arrivals()));
        talk(format!("this demonstration's SQL: thalweg demo {} --sql", name_of(args.name)));
        Ok(Exit::Ok)
    })
}

fn name_of(name: Name) -> String {
    use clap::ValueEnum;
    name.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}
