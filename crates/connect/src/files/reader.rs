//! Reads one file ahead of the workers, on an IO thread, through a bounded queue.
//!
//! One task per open file; it ends when the file has no more for now, when the feed drops its half of the queue, or with
//! an error. The queue holds at most `depth` pieces, so memory is `open files x depth x block`.

use std::sync::Arc;

use thalweg_engine::{EngineError, SourceContext};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::config::FileFormat;
use super::parquet::{ParquetFile, ParquetSlice};
use super::position::{HEAD_BYTES, Head, Position};
use super::schema::Reading;
use super::storage::{Entry, Storage};
use super::text::{Block, Pool, TextReader};

/// What a worker decodes.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(Block),
    Slice(Box<ParquetSlice>),
}

#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) piece: Option<Piece>,
    /// Behind the piece.
    pub(crate) position: Position,
    /// Bytes of the file behind that.
    pub(crate) consumed: u64,
}

/// The feed's half.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) queue: mpsc::Receiver<Result<Item, EngineError>>,
    task: AbortHandle,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How much may be read ahead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadAhead {
    pub(crate) block_bytes: usize,
    pub(crate) depth: usize,
}

/// What all readers of a feed share.
#[derive(Debug, Clone)]
pub(crate) struct ReaderContext {
    pub(crate) reading: Arc<Reading>,
    pub(crate) storage: Storage,
    pub(crate) source: SourceContext,
    /// Physical columns that are decoded.
    pub(crate) columns: Arc<[usize]>,
    pub(crate) pool: Arc<Pool>,
}

impl ReaderContext {
    /// Starts reading `entry` behind `position` (`None`: from its start).
    pub(crate) fn start(&self, entry: Entry, position: Option<Position>, ahead: ReadAhead) -> Reader {
        let (sender, queue) = mpsc::channel(ahead.depth);
        let context = self.clone();
        let task = self.source.io.spawn(run(context, entry, position, ahead.block_bytes, sender));
        Reader { queue, task: task.abort_handle() }
    }
}

async fn run(
    context: ReaderContext,
    entry: Entry,
    position: Option<Position>,
    block_bytes: usize,
    queue: mpsc::Sender<Result<Item, EngineError>>,
) {
    let wake = context.source.wake.clone();
    let mut state = State::Unopened { context, entry, position, block_bytes };
    loop {
        // The place in the queue first, so that no more is read than there is room for.
        let Ok(place) = queue.reserve().await else { return };
        let stepped = tokio::task::spawn_blocking(move || {
            let mut state = state;
            let item = state.step();
            (state, item)
        });
        let Ok((next, item)) = stepped.await else {
            place.send(Err(EngineError::bug("reading a file panicked")));
            wake.wake();
            return;
        };
        state = next;
        let ended = item.as_ref().map_or(true, |item| item.position.at_end);
        place.send(item);
        wake.wake();
        if ended {
            return;
        }
    }
}

enum State {
    Unopened { context: ReaderContext, entry: Entry, position: Option<Position>, block_bytes: usize },
    Open { context: ReaderContext, entry: Entry, head: Head, file: File },
}

enum File {
    Text(Box<TextReader>),
    Parquet { file: Box<ParquetFile>, next_row: u64 },
}

impl State {
    fn step(&mut self) -> Result<Item, EngineError> {
        if let Self::Unopened { context, entry, position, block_bytes } = self {
            let (entry, head, start) = check_identity(context, entry, position.as_ref())?;
            let position = position.unwrap_or_default();
            let file = open(context, &entry, &position, &start, *block_bytes)?;
            *self = Self::Open { context: context.clone(), entry, head, file };
        }
        let Self::Open { context, entry, head, file } = self else { unreachable!("opened just now") };
        let base = Position { size: entry.size, modified_at: entry.modified_at, head: *head, ..Default::default() };
        match file {
            File::Text(reader) => text_item(reader, context.source.watch, entry, base),
            File::Parquet { file, next_row } => {
                let slice = file.slice(*next_row, &context.columns, &context.reading.physical)?;
                *next_row += slice.as_ref().map_or(0, |slice| slice.rows as u64);
                let at_end = *next_row >= file.rows();
                let consumed = (u128::from(entry.size) * u128::from(*next_row) / u128::from(file.rows().max(1))) as u64;
                let consumed = if at_end { entry.size } else { consumed };
                let piece = slice.map(|slice| Piece::Slice(Box::new(slice)));
                Ok(Item { piece, position: Position { at: *next_row, at_end, ..base }, consumed })
            }
        }
    }
}

fn text_item(reader: &mut TextReader, follow: bool, entry: &Entry, base: Position) -> Result<Item, EngineError> {
    let next = reader.next()?;
    if next.at_end && !follow && next.consumed < entry.size {
        return Err(shrank(&entry.name, next.consumed, entry.size));
    }
    let position = Position {
        at: next.at,
        line: next.line,
        open_line: next.open_line,
        at_end: next.at_end,
        // What was there when its end was met; any more than that is news.
        size: if next.at_end { next.consumed } else { base.size },
        ..base
    };
    Ok(Item { piece: next.block.map(Piece::Text), position, consumed: next.consumed })
}

fn open(
    context: &ReaderContext,
    entry: &Entry,
    position: &Position,
    start: &[u8],
    block_bytes: usize,
) -> Result<File, EngineError> {
    if context.reading.format == FileFormat::Parquet {
        let file = Box::new(ParquetFile::open(&context.storage, entry)?);
        return Ok(File::Parquet { file, next_row: position.at });
    }
    let options = context.reading.text_options(&entry.name, block_bytes, context.source.watch);
    let reader = TextReader::open(&context.storage, entry, options, position, start, context.pool.clone())?;
    Ok(File::Text(Box::new(reader)))
}

/// The file must still be the one that was listed, or read before. Returns it with its first bytes.
fn check_identity(
    context: &ReaderContext,
    listed: &Entry,
    position: Option<&Position>,
) -> Result<(Entry, Head, Vec<u8>), EngineError> {
    let name = &listed.name;
    let Some(mut now) = context.storage.stat(name)? else {
        return Err(disappeared(name, position.map_or(0, |p| p.at)));
    };
    if now.size < listed.size {
        return Err(shrank(name, now.size, listed.size));
    }
    let start = context.storage.read_start(name, now.size, HEAD_BYTES)?;
    let head = match position {
        Some(position) if !position.head.fits(&start) => return Err(replaced(name, position.at)),
        // Parquet is never appended to: another size is another file.
        Some(position) if context.reading.format == FileFormat::Parquet && position.size != now.size => {
            return Err(replaced(name, position.at));
        }
        Some(position) if position.head.bytes == HEAD_BYTES as u64 => position.head,
        _ => Head::of(&start),
    };
    if !context.source.watch {
        // Bounded: the file ends where it ended when the source was opened.
        now.size = listed.size;
    }
    Ok((now, head, start))
}

pub(crate) fn shrank(name: &str, now: u64, before: u64) -> EngineError {
    EngineError::data(format!(
        "{name}: the file shrank from {before} to {now} bytes while it was read; rows may be lost: put the old file back, or \
         start with --restart"
    ))
}

pub(crate) fn replaced(name: &str, at: u64) -> EngineError {
    EngineError::data(format!(
        "{name}: another file has taken this name since it was read up to {at}; put the old file back (new data belongs into \
         a file of its own), or start with --restart"
    ))
}

pub(crate) fn disappeared(name: &str, at: u64) -> EngineError {
    EngineError::data(format!(
        "{name}: the file is gone, and was read only up to {at}; put it back, or start with --restart to go on without it"
    ))
}
