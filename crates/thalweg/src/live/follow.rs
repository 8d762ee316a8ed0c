//! Follows a running query: on the screen until someone leaves, or line by line until it ends.

use std::io::Write;
use std::time::{Duration, Instant};

use thalweg_engine::{RunHandle, Summary};

use super::screen::{FrameLine, Pressed, Screen};
use super::sink::LiveSink;
use super::view::{Shape, View};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupts;
use crate::output::rows::{Layout, Printer};
use crate::progress::{Sample, instant};
use crate::report::grouped;

/// How often the screen is redrawn.
const FRAME: Duration = Duration::from_millis(100);
/// Over what time rates are taken.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// What is shown around the rows.
#[derive(Debug, Clone)]
pub struct Frame {
    pub title: String,
    pub shape: Shape,
    /// Column to sort by, largest first.
    pub sort: Option<String>,
}

/// Rows per second over the last second or so.
struct Rate {
    since: Instant,
    rows: u64,
    shown: f64,
}

impl Rate {
    fn start() -> Self {
        Self { since: Instant::now(), rows: 0, shown: 0.0 }
    }

    fn update(&mut self, rows: u64) -> f64 {
        let passed = self.since.elapsed();
        if passed >= RATE_WINDOW || self.shown == 0.0 {
            self.shown = rows.saturating_sub(self.rows) as f64 / passed.as_secs_f64().max(1e-3);
        }
        if passed >= RATE_WINDOW {
            self.since = Instant::now();
            self.rows = rows;
        }
        self.shown
    }
}

/// Shows the result in place until q, Esc or Ctrl-C, or until `until` has passed. A query that ends stays on the screen.
/// Returns the newest view.
pub async fn on_screen(
    mut run: RunHandle,
    sink: &LiveSink,
    frame: Frame,
    until: Option<Duration>,
) -> Result<(Summary, View), Failure> {
    let mut screen = Screen::open().map_err(|error| Failure::io("use the terminal", &error))?;
    let mut view = View::new(frame.shape.clone(), frame.sort.clone(), 10_000);
    let mut rate = Rate::start();
    let mut skipped = 0;
    let begun = Instant::now();
    loop {
        skipped += take(sink, &mut view)?;
        let sample = Sample::of(&run);
        let ended = run.is_finished();
        let lines = compose(
            &frame,
            &view,
            &Status { sample, rate: rate.update(sample.rows_in), skipped, ended },
            screen.size(),
        );
        let pressed = tokio::task::block_in_place(|| {
            screen.draw(&lines)?;
            screen.pressed(FRAME)
        });
        let pressed = pressed.map_err(|error| Failure::io("use the terminal", &error))?;
        let timed_out = until.is_some_and(|until| begun.elapsed() >= until);
        if pressed == Pressed::Quit || timed_out || (ended && until.is_some()) {
            break;
        }
    }
    sink.close();
    run.stop();
    let summary = run.wait().await;
    drop(screen);
    Ok((summary?, view))
}

/// Returns the rows that went because nobody took them in time.
fn take(sink: &LiveSink, view: &mut View) -> Result<u64, Failure> {
    let published = sink.take(Duration::ZERO);
    if let Some(schema) = sink.schema() {
        view.add(&schema, &published.batches)?;
    }
    Ok(published.skipped_rows)
}

/// What the line below the title says.
struct Status {
    sample: Sample,
    rate: f64,
    /// Results that came too fast for the screen.
    skipped: u64,
    ended: bool,
}

fn compose(frame: &Frame, view: &View, status: &Status, (columns, rows): (usize, usize)) -> Vec<FrameLine> {
    let Status { sample, rate, skipped, ended } = status;
    let mut lines = vec![FrameLine::bold(frame.title.clone())];
    let watermark = sample.watermark.and_then(instant).unwrap_or_else(|| "none yet".into());
    let skipped = if *skipped > 0 { format!(" ({} too fast to show)", grouped(*skipped)) } else { String::new() };
    let state = if *ended { "  (input ended)" } else { "" };
    lines.push(FrameLine::plain(format!(
        "{} rows in  {} rows/s  {} results{skipped}  watermark {watermark}{state}",
        grouped(sample.rows_in),
        grouped(rate.round() as u64),
        grouped(view.arrivals()),
    )));
    lines.push(FrameLine::plain(""));
    let table = view.table(rows.saturating_sub(7));
    if view.is_empty() {
        lines.push(FrameLine::plain(if *ended { "no rows" } else { "waiting for the first window to close ..." }));
    } else {
        let mut first = true;
        for line in table.lines(columns) {
            lines.push(if first { FrameLine::bold(line) } else { FrameLine::plain(line) });
            first = false;
        }
    }
    lines.push(FrameLine::plain(""));
    lines.push(FrameLine::plain("[q] quit"));
    lines
}

/// Prints rows as they become visible, until the query ends, `until` has passed, or the person interrupts.
pub async fn as_lines(
    mut run: RunHandle,
    sink: &LiveSink,
    layout: Layout,
    until: Option<Duration>,
    out: impl Write + Send,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::listen("stopping; press Ctrl-C again to end at once");
    let mut out = Some(out);
    let mut printer = None;
    let begun = Instant::now();
    let mut exit = Exit::Ok;
    let mut broken = None;
    loop {
        let ended = run.is_finished();
        let batches = tokio::task::block_in_place(|| sink.take(Duration::from_millis(20))).batches;
        if let Some(schema) = sink.schema()
            && let Some(writer) = out.take()
        {
            printer = Some(Printer::new(writer, layout, schema));
        }
        let empty = batches.is_empty();
        if let Some(printer) = printer.as_mut()
            && let Err(failure) = print(printer, &batches)
        {
            broken = Some(failure);
            break;
        }
        if ended && empty || until.is_some_and(|until| begun.elapsed() >= until) {
            break;
        }
        if interrupts.was_asked() {
            exit = Exit::Interrupted;
            break;
        }
    }
    sink.close();
    run.stop();
    run.wait().await?;
    if let Some(failure) = broken {
        return Err(failure);
    }
    if let Some(printer) = printer {
        printer.finish()?;
    }
    Ok(exit)
}

fn print<W: Write>(printer: &mut Printer<W>, batches: &[arrow::array::RecordBatch]) -> Result<(), Failure> {
    for batch in batches {
        printer.write(batch)?;
    }
    if batches.is_empty() { Ok(()) } else { printer.flush() }
}
