//! `thalweg run`: a script's sinks, from its sources, until the input ends or someone asks to stop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use thalweg_engine::{Progress, RunHandle, RunOptions, SinkContext, Started, Summary, start};
use thalweg_sql::Connectors;
use thalweg_state::{CheckpointStore, Manifest, StoreLocation};

use crate::data_dir::{PipelineLock, pipelines_dir};
use crate::duration;
use crate::engine::cores;
use crate::exit::{Exit, Failure, talk};
use crate::front::{Front, How, Script, plan};
use crate::interrupt::Interrupts;
use crate::live::sink::{HELD_BYTES, LiveSink, Overflow};
use crate::output::rows::{Layout, Printer};
use crate::output::{Format, Report};
use crate::progress::{Display, Sample};
use crate::report::{RunReport, SinkReport};
use crate::settings::Settings;

/// Run a pipeline until its input ends, or until it is stopped.
///
/// State and checkpoints are kept in the data folder under the name of the script (for `pipeline.sql`: of its folder). Stopped
/// or killed at any instant, the same command continues: nothing twice, nothing missing. Ctrl-C stops in order, with a
/// last checkpoint; a second Ctrl-C ends at once. Rows of a SELECT on its own go to stdout.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Script with sources and sinks.
    #[arg(value_name = "FILE.sql")]
    file: PathBuf,
    #[command(flatten)]
    how: RunHow,
    /// Follow growing files and new ones until stopped, instead of ending with what is there.
    #[arg(long)]
    watch: bool,
    /// Forget the pipeline's state and begin again from the start of the input.
    #[arg(long, conflicts_with = "from")]
    restart: bool,
    /// When the run ends or is stopped, copy its last checkpoint here: a savepoint, which no later run touches.
    #[arg(long, value_name = "DIR|URL")]
    savepoint: Option<String>,
    /// Begin from this savepoint. The pipeline must not have state of its own yet.
    #[arg(long, value_name = "DIR|URL")]
    from: Option<String>,
    /// Format of the summary: text on stderr, or JSON on stdout.
    #[arg(short, long, value_enum, default_value_t = Report::Text, value_name = "FORMAT")]
    output: Report,
}

/// What `run` and `bench` share.
#[derive(Debug, Args)]
pub struct RunHow {
    /// Worker threads [default: one per core, or `SET parallelism` of the script].
    #[arg(long, value_name = "N")]
    pub parallelism: Option<std::num::NonZeroUsize>,
    /// Folder that holds the state of pipelines [default: ./thalweg-data].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Time between checkpoints [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub checkpoint_interval: Option<Duration>,
    /// Time between visible results of sinks that show them at once [default: 200ms].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub publish_interval: Option<Duration>,
    /// Keep checkpoints in this folder or object store (s3://bucket/prefix) instead of the data folder.
    #[arg(long, value_name = "URL")]
    pub checkpoint_url: Option<String>,
}

impl RunHow {
    pub fn data_dir(&self, settings: &Settings) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| settings.text("data_dir").into())
    }

    /// Where the checkpoints of all pipelines lie.
    pub fn location(&self, settings: &Settings) -> Result<StoreLocation, Failure> {
        let url = self.checkpoint_url.as_deref().unwrap_or_else(|| settings.text("run.checkpoint_url"));
        if !url.is_empty() {
            return Ok(StoreLocation::parse(url)?);
        }
        let folder = std::path::absolute(pipelines_dir(&self.data_dir(settings)))
            .map_err(|error| Failure::io("find the data folder", &error))?;
        Ok(StoreLocation::Folder(folder))
    }

    /// Options of the engine: flags win over the script's SET, which wins over settings.
    pub fn options(&self, front: &Front, settings: &Settings, store: Option<CheckpointStore>) -> RunOptions {
        let script = &front.bound.settings;
        let interval = |flag: Option<Duration>, set: Option<Duration>, name: &str| {
            flag.or(set).unwrap_or_else(|| settings.duration(name))
        };
        let workers = self
            .parallelism
            .map(std::num::NonZeroUsize::get)
            .or(script.parallelism)
            .or_else(|| settings.count("run.parallelism"))
            .unwrap_or_else(cores);
        let mut options = RunOptions::new(workers, tokio::runtime::Handle::current());
        options.batch_rows = settings.count("run.batch_rows").unwrap_or(8192);
        options.publish_interval = interval(self.publish_interval, script.publish_interval, "run.publish_interval");
        options.checkpoint_interval =
            interval(self.checkpoint_interval, script.checkpoint_interval, "run.checkpoint_interval");
        let limit = settings.count("run.state_limit_mib").map(|mib| (mib as u64) << 20);
        options.state_bytes_max = limit.or_else(crate::engine::state_bytes_max);
        options.store = store;
        options.fingerprint.clone_from(&front.planned.fingerprint);
        options.sql.clone_from(&front.planned.sql);
        options
    }
}

pub fn run(args: RunArgs, settings: &Settings) -> Result<Exit, Failure> {
    let script = Script::read(&args.file)?;
    let rows = LiveSink::new(Overflow::Wait, HELD_BYTES);
    let how = How { registry: &Connectors, query_sink: Some(Arc::new(rows.clone())), offline: false };
    let front = plan(&script, &how).map_err(|found| script.refuse(&found))?;
    script.show(&front.warnings);
    for warning in &front.planned.warnings {
        talk(format!("warning: {warning}"));
    }
    let data_dir = args.how.data_dir(settings);
    let _lock = PipelineLock::acquire(&data_dir, &script.name)?;
    crate::runtime::block_on(async {
        let store = open_store(&args, &script, &front, settings).await?;
        let mut options = args.how.options(&front, settings, Some(store.clone()));
        options.watch = args.watch;
        let begun = Instant::now();
        let run = match start(front.planned.plan.clone(), options).await? {
            Started::Running(run) => run,
            Started::AlreadyComplete(manifest) => {
                return already_complete(&args, &script, &front, *manifest, &store).await;
            }
        };
        let summary = follow(run, &script, &rows, front.bound.sinks.len()).await?;
        let savepoint = match &args.savepoint {
            Some(place) => Some(save(&store, place).await?),
            None => None,
        };
        let report = report_of(&script, &front, &summary, begun.elapsed(), savepoint);
        tell(&report, args.output, &data_dir)?;
        // Stopped before the end of a bounded input: the work is not done, and a script must notice.
        let as_asked = summary.finished || args.watch || is_unbounded(&front);
        Ok(if as_asked { Exit::Ok } else { Exit::Interrupted })
    })
}

fn tell(report: &RunReport, output: Report, data_dir: &Path) -> Result<(), Failure> {
    match output {
        Report::Text => talk(report.text(data_dir)),
        Report::Json => writeln!(std::io::stdout().lock(), "{:#}", report.json())?,
    }
    Ok(())
}

/// The input had ended in an earlier run: nothing is read, and what is asked for besides is still done.
async fn already_complete(
    args: &RunArgs,
    script: &Script,
    front: &Front,
    manifest: Manifest,
    store: &CheckpointStore,
) -> Result<Exit, Failure> {
    let savepoint = match &args.savepoint {
        Some(place) => Some(save(store, place).await?),
        None => None,
    };
    talk(format!("{}: already complete; use --restart to run it again from the beginning", script.name));
    if args.output == Report::Json {
        let summary = Summary {
            progress: Progress::default(),
            totals: manifest.totals,
            elapsed_seconds: 0.0,
            finished: true,
            checkpoint_epoch: Some(manifest.checkpoint_epoch),
        };
        let report = report_of(script, front, &summary, Duration::ZERO, savepoint);
        writeln!(std::io::stdout().lock(), "{:#}", report.json())?;
    }
    Ok(Exit::Ok)
}

async fn open_store(
    args: &RunArgs,
    script: &Script,
    front: &Front,
    settings: &Settings,
) -> Result<CheckpointStore, Failure> {
    let location = args.how.location(settings)?;
    if args.restart {
        let mut store = CheckpointStore::open_for_reset(&location, &script.name).await?;
        let generation = store.claim().await?.0;
        // Output first: state that is gone beside output that is not would look like somebody else's output.
        for sink in &front.bound.sinks {
            let owner = format!("{}/{}", front.planned.plan.name, sink.name);
            let io = tokio::runtime::Handle::current();
            sink.sink.reset(SinkContext { owner, generation, worker: 0, io }).await?;
        }
        store.reset().await?;
        return Ok(store);
    }
    let mut store = CheckpointStore::open(&location, &script.name).await?;
    if let Some(place) = &args.from {
        let (savepoint, manifest) = CheckpointStore::open_savepoint(&StoreLocation::parse(place)?).await?;
        store.claim().await?;
        store.import(&savepoint, &manifest).await?;
    }
    Ok(store)
}

/// Waits for the end, or for someone to ask for it; shows progress and prints rows of SELECT statements meanwhile.
async fn follow(mut run: RunHandle, script: &Script, rows: &LiveSink, sinks: usize) -> Result<Summary, Failure> {
    let interrupts = Interrupts::listen("stopping with a last checkpoint; press Ctrl-C again to end at once");
    let mut display = Display::start(&script.name);
    let mut shown = Instant::now();
    let mut rows = RowPrinter::new(rows);
    let stopped = loop {
        if run.is_finished() {
            break false;
        }
        tokio::select! {
            () = interrupts.asked() => break true,
            () = tokio::time::sleep(TICK) => {}
        }
        if let Err(failure) = rows.print() {
            rows.close();
            // The reader of stdout is gone: without another sink there is nobody left to run for.
            if sinks == 1 || failure.exit != Exit::Ok {
                run.stop();
                run.wait().await?;
                return Err(failure);
            }
        }
        if shown.elapsed() >= display.interval() {
            display.show(Sample::of(&run));
            shown = Instant::now();
        }
    };
    display.finish();
    if stopped {
        run.stop();
    }
    // A worker may wait for room among the rows: take them until the end.
    while !run.is_finished() {
        rows.print()?;
        tokio::time::sleep(TICK).await;
    }
    rows.print()?;
    Ok(run.wait().await?)
}

/// How often a run is looked at.
const TICK: Duration = Duration::from_millis(10);

/// Prints rows of SELECT statements to stdout as they become visible.
struct RowPrinter<'a> {
    sink: &'a LiveSink,
    printer: Option<Printer<std::io::Stdout>>,
}

impl<'a> RowPrinter<'a> {
    fn new(sink: &'a LiveSink) -> Self {
        Self { sink, printer: None }
    }

    fn print(&mut self) -> Result<(), Failure> {
        let batches = self.sink.take(Duration::ZERO).batches;
        if batches.is_empty() {
            return Ok(());
        }
        let Some(schema) = self.sink.schema() else { return Ok(()) };
        let printer =
            self.printer.get_or_insert_with(|| Printer::new(std::io::stdout(), Layout::new(Format::Jsonl), schema));
        for batch in &batches {
            printer.write(batch)?;
        }
        printer.flush()
    }

    fn close(&self) {
        self.sink.close();
    }
}

async fn save(store: &CheckpointStore, place: &str) -> Result<String, Failure> {
    let location = StoreLocation::parse(place)?;
    let manifest = store.latest().await?.ok_or_else(|| {
        Failure::new(Exit::Failed, "there is no checkpoint to make a savepoint of")
            .hint("the run ended before its first checkpoint")
    })?;
    store.copy_savepoint(&manifest, &location).await?;
    Ok(format!("{location}"))
}

fn report_of(
    script: &Script,
    front: &Front,
    summary: &Summary,
    took: Duration,
    savepoint: Option<String>,
) -> RunReport {
    let sink = |sink: &thalweg_sql::BoundSink| SinkReport { name: sink.name.clone(), target: sink.sink.describe() };
    let counted = &summary.progress;
    RunReport {
        pipeline: script.name.clone(),
        complete: summary.finished,
        rows_in: counted.rows_in,
        rows_out: counted.rows_out,
        late: counted.late,
        dead_lettered: counted.dead_lettered,
        dropped: counted.dropped,
        input_bytes: counted.input_bytes,
        seconds: took.as_secs_f64(),
        checkpoints: counted.checkpoints,
        checkpoint_stall_ms_max: counted.checkpoint_stall_ms_max,
        totals: summary.totals.clone(),
        sinks: front.bound.sinks.iter().map(sink).collect(),
        savepoint,
    }
}

fn is_unbounded(front: &Front) -> bool {
    front.bound.sources.values().any(|source| source.source.is_unbounded())
}
