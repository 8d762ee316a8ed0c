//! Hands out the pieces of all files, the one furthest behind in event time first.
//!
//! Why so: pieces of one stream (round-robin) advance together, and files of consecutive days are read one after the
//! other; either way the event watermark moves and state stays small. Where event time is not known, the order is that
//! of the names. At most [`OPEN_MAX`] files are open; a file is opened when no file that is open lies behind it.
//!
//! States of a file: waiting -> open -> at its end. Bounded, the end is final; with `--watch`, growth makes it wait again.
//! Invariant: pieces of a file are handed out in order, and `position` lies behind the last one.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use thalweg_engine::{
    Chunk, Claim, Decoder, EngineError, EventTime, SourceContext, SourceFeed, SplitInfo, SplitPosition,
};
use tokio::sync::mpsc::error::TryRecvError;

use super::config::FileFormat;
use super::decode::{FilesChunk, FilesDecoder, Origin};
use super::lowest::lowest_event_time;
use super::position::Position;
use super::reader::{Item, ReadAhead, Reader, ReaderContext, disappeared, replaced, shrank};
use super::schema::Reading;
use super::storage::{Entry, Listing, Storage};
use super::text::Pool;
use super::watch::{Sighting, Watcher};

/// Files open at once. Round-robin pieces beyond that are read after the others.
const OPEN_MAX: usize = 64;
/// Files that are opened whatever their event time: the one that is read and the one after it.
const OPEN_ALWAYS: usize = 2;
/// Threads that look for first rows: of files on this machine, and of objects, where most of the time is waiting.
const LOCAL_PEEKERS: usize = 4;
const OBJECT_PEEKERS: usize = 32;

pub(crate) struct FilesFeed {
    context: ReaderContext,
    splits: Vec<Split>,
    by_name: HashMap<Arc<str>, u32>,
    /// Splits that wait, by how far behind they are.
    waiting: BTreeSet<(EventTime, u32)>,
    open: Vec<u32>,
    watcher: Option<Watcher>,
    is_single: bool,
    /// Files whose event time is known to be above this wait for the others.
    ceiling: EventTime,
}

struct Split {
    entry: Entry,
    /// `None`: nothing handed out yet.
    position: Option<Position>,
    lowest: Option<EventTime>,
    progress: Option<EventTime>,
    state: State,
    sequence: u64,
    /// Bytes of the file that were handed out.
    consumed: u64,
}

enum State {
    Waiting,
    Open(Reader),
    /// Until it grows.
    AtEnd,
    Finished,
}

impl Split {
    fn new(entry: Entry, position: Option<Position>, lowest: Option<EventTime>) -> Self {
        Self { entry, position, lowest, progress: None, state: State::Waiting, sequence: 0, consumed: 0 }
    }

    fn event_time(&self) -> EventTime {
        self.progress.or(self.lowest).unwrap_or(EventTime::MIN)
    }
}

impl FilesFeed {
    /// Blocks: looks at the files.
    pub(crate) fn open(
        reading: Arc<Reading>,
        storage: Storage,
        listing: Listing,
        source: SourceContext,
        positions: &[SplitPosition],
    ) -> Result<Self, EngineError> {
        let physical = reading.physical.fields().len();
        let columns: Arc<[usize]> = match &source.projection {
            Some(projection) => projection.iter().copied().filter(|&column| column < physical).collect(),
            None => (0..physical).collect(),
        };
        let context = ReaderContext { reading, storage, source, columns, pool: Arc::new(Pool::default()) };
        let mut restored = HashMap::new();
        for split in positions {
            restored.insert(split.split.as_str(), Position::read(split)?);
        }
        let lowest = peek(&context, &listing.entries);
        let mut feed = Self {
            context,
            splits: vec![],
            by_name: HashMap::new(),
            waiting: BTreeSet::new(),
            open: vec![],
            watcher: None,
            is_single: listing.is_single,
            ceiling: EventTime::MAX,
        };
        for (entry, lowest) in listing.entries.into_iter().zip(lowest) {
            let position = restored.remove(&*entry.name);
            feed.add(entry, position, lowest)?;
        }
        for (name, position) in restored {
            if !position.at_end || feed.is_single {
                return Err(disappeared(name, position.at));
            }
            tracing::info!(file = name, "a file that was read to its end is gone");
        }
        if feed.context.source.watch {
            let known = feed.by_name.keys().cloned().collect();
            feed.watcher = Some(Watcher::start(&feed.context, known));
        }
        Ok(feed)
    }

    fn add(&mut self, entry: Entry, position: Option<Position>, lowest: Option<EventTime>) -> Result<(), EngineError> {
        let index = self.splits.len() as u32;
        self.by_name.insert(entry.name.clone(), index);
        let mut split = Split::new(entry, position, lowest);
        if let Some(position) = position {
            if split.entry.size < position.size {
                return Err(shrank(&split.entry.name, split.entry.size, position.size));
            }
            let unchanged = split.entry.size == position.size && split.entry.modified_at == position.modified_at;
            if position.at_end && unchanged {
                split.state = self.end_state();
                split.consumed = position.size;
            }
        }
        if matches!(split.state, State::Waiting) {
            self.waiting.insert((split.event_time(), index));
        }
        self.splits.push(split);
        Ok(())
    }

    /// What becomes of a file that has no more for now.
    fn end_state(&self) -> State {
        let follows = self.context.source.watch && self.context.reading.format != FileFormat::Parquet;
        if follows { State::AtEnd } else { State::Finished }
    }

    fn open_files(&mut self) {
        while let Some(&(event_time, index)) = self.waiting.first() {
            let furthest = self.open.iter().map(|&open| self.splits[open as usize].event_time()).max();
            // A file whose event time is not known (the column is computed, say) may lie behind anything that is.
            let is_known = event_time > EventTime::MIN;
            let reported = self.open.iter().any(|&open| self.splits[open as usize].progress.is_some());
            let is_behind = furthest.is_some_and(|furthest| event_time <= furthest && (is_known || reported));
            if self.open.len() >= OPEN_MAX || (self.open.len() >= OPEN_ALWAYS && !is_behind) {
                return;
            }
            self.waiting.pop_first();
            let ahead = match self.open.len() {
                0..8 => ReadAhead { block_bytes: 1 << 20, depth: 2 },
                _ => ReadAhead { block_bytes: 256 << 10, depth: 2 },
            };
            let split = &mut self.splits[index as usize];
            split.state = State::Open(self.context.start(split.entry.clone(), split.position, ahead));
            self.open.push(index);
        }
    }

    /// What a reader sent: a chunk, or nothing if the file is at its end.
    fn take(&mut self, index: u32, item: Item) -> Option<Chunk> {
        let end_state = self.end_state();
        let split = &mut self.splits[index as usize];
        let Item { piece, position, consumed } = item;
        split.position = Some(position);
        split.consumed = consumed;
        if position.at_end {
            split.entry.size = position.size;
            split.entry.modified_at = position.modified_at;
            split.state = end_state;
            self.open.retain(|&open| open != index);
        }
        let origin = Origin { name: split.entry.name.clone(), modified_at: position.modified_at };
        let payload = FilesChunk { piece: piece?, origin };
        let chunk = Chunk { split: index, sequence: split.sequence, payload: Box::new(payload) };
        split.sequence += 1;
        Some(chunk)
    }

    fn look(&mut self) -> Result<(), EngineError> {
        while let Some(sighting) = self.watcher.as_mut().and_then(|watcher| watcher.sightings.try_recv().ok()) {
            self.compare(sighting?)?;
        }
        Ok(())
    }

    /// Compares what is there now with what was there before.
    fn compare(&mut self, sighting: Sighting) -> Result<(), EngineError> {
        let now: HashMap<&str, &Entry> = sighting.entries.iter().map(|entry| (&*entry.name, entry)).collect();
        for index in 0..self.splits.len() {
            let split = &mut self.splits[index];
            let before = split.position.map_or(0, |position| position.at);
            let Some(entry) = now.get(&*split.entry.name) else {
                if matches!(split.state, State::AtEnd | State::Finished) && !self.is_single {
                    split.state = State::Finished;
                    continue;
                }
                return Err(disappeared(&split.entry.name, before));
            };
            if entry.size < split.entry.size.min(split.consumed) {
                return Err(shrank(&split.entry.name, entry.size, split.consumed));
            }
            let changed = entry.size != split.entry.size || entry.modified_at != split.entry.modified_at;
            match split.state {
                State::AtEnd if changed => {
                    split.entry = (*entry).clone();
                    split.state = State::Waiting;
                    self.waiting.insert((split.event_time(), index as u32));
                }
                State::Finished if changed && self.context.reading.format == FileFormat::Parquet => {
                    return Err(replaced(&split.entry.name, before));
                }
                State::Waiting => split.entry = (*entry).clone(),
                _ => {}
            }
        }
        for (entry, lowest) in sighting.new {
            if !self.by_name.contains_key(&entry.name) {
                self.add(entry, None, lowest)?;
            }
        }
        Ok(())
    }
}

impl SourceFeed for FilesFeed {
    fn claim(&mut self) -> Result<Claim, EngineError> {
        self.look()?;
        loop {
            self.open_files();
            let behind = |&index: &u32| (self.splits[index as usize].event_time(), index);
            let Some(index) = self.open.iter().copied().min_by_key(behind) else {
                return Ok(if self.context.source.watch { Claim::Pending } else { Claim::Finished });
            };
            if self.splits[index as usize].progress.is_some_and(|progress| progress > self.ceiling) {
                return Ok(Claim::Pending);
            }
            let State::Open(reader) = &mut self.splits[index as usize].state else {
                return Err(EngineError::bug("a file in the list of open ones is not open"));
            };
            match reader.queue.try_recv() {
                Ok(item) => {
                    if let Some(chunk) = self.take(index, item?) {
                        return Ok(Claim::Chunk(chunk));
                    }
                }
                Err(TryRecvError::Empty) => return Ok(Claim::Pending),
                Err(TryRecvError::Disconnected) => {
                    let name = &self.splits[index as usize].entry.name;
                    return Err(EngineError::bug(format!("{name}: reading stopped without a word")));
                }
            }
        }
    }

    fn positions(&self) -> Vec<SplitPosition> {
        let begun = |split: &Split| {
            let finished = matches!(split.state, State::Finished);
            split.position.map(|position| position.write(&split.entry.name, finished))
        };
        self.splits.iter().filter_map(begun).collect()
    }

    fn splits(&self) -> Vec<SplitInfo> {
        let info = |split: &Split| SplitInfo {
            name: split.entry.name.to_string(),
            lowest_event_time: split.lowest,
            finished: matches!(split.state, State::Finished),
        };
        self.splits.iter().map(info).collect()
    }

    fn split_progress(&mut self, split: u32, event_time: EventTime) {
        let Some(known) = self.splits.get_mut(split as usize) else { return };
        let before = known.event_time();
        known.progress = Some(event_time);
        if self.waiting.remove(&(before, split)) {
            self.waiting.insert((event_time, split));
        }
    }

    fn hold_above(&mut self, ceiling: EventTime) {
        self.ceiling = ceiling;
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, EngineError> {
        Ok(Box::new(FilesDecoder::new(&self.context)?))
    }

    fn progress(&self) -> (u64, Option<u64>) {
        let done = self.splits.iter().map(|split| split.consumed).sum();
        let total = self.splits.iter().map(|split| split.entry.size).sum();
        (done, (!self.context.source.watch).then_some(total))
    }
}

/// The lowest event time of each file. One file needs no order.
fn peek(context: &ReaderContext, entries: &[Entry]) -> Vec<Option<EventTime>> {
    let mut lowest = vec![None; entries.len()];
    let Some(column) = context.source.time_column.filter(|_| entries.len() > 1) else { return lowest };
    let peekers = if matches!(context.storage, Storage::Object(_)) { OBJECT_PEEKERS } else { LOCAL_PEEKERS };
    let share = entries.len().div_ceil(peekers);
    std::thread::scope(|scope| {
        for (entries, lowest) in entries.chunks(share).zip(lowest.chunks_mut(share)) {
            scope.spawn(move || {
                for (entry, lowest) in entries.iter().zip(lowest) {
                    *lowest =
                        lowest_event_time(&context.reading, &context.storage, entry, column, context.source.watch);
                }
            });
        }
    });
    lowest
}
