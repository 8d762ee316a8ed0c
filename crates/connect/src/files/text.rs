//! Reads one text file front to back as blocks of whole rows.
//!
//! Bytes are read straight into the block's buffer; only the part of a row at its end is copied once more, into the next
//! block. Buffers come back when their block is dropped.
//! Invariant: blocks are contiguous; `at` and `line` of a block are those of its first byte in the decompressed text.

use std::io::Read;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use memchr::memchr_iter;
use thalweg_engine::EngineError;
use thalweg_formats::{Compression, CsvDialect, DecompressReader, ROW_BYTES_MAX, RowCutter, first_csv_row};

use super::error::{format_error, read_error};
use super::position::Position;
use super::storage::{Entry, Storage};

/// Buffers kept for use again.
const POOLED_BUFFERS: usize = 16;
const HEADER_BYTES_MAX: usize = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whole rows of one file.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) bytes: Bytes,
    pub(crate) at: u64,
    /// Line breaks before this block.
    pub(crate) line: u64,
    pub(crate) header: Option<Bytes>,
}

/// What comes next.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) block: Option<Block>,
    /// Where the file has been read up to, with the block.
    pub(crate) at: u64,
    pub(crate) line: u64,
    pub(crate) open_line: bool,
    /// Nothing more for now: the end, or (when followed) a last line without its line break.
    pub(crate) at_end: bool,
    /// Bytes of the file (compressed, if it is) behind that.
    pub(crate) consumed: u64,
}

/// How to read.
#[derive(Debug, Clone)]
pub(crate) struct TextOptions {
    pub(crate) compression: Compression,
    /// `None`: ndjson.
    pub(crate) dialect: Option<CsvDialect>,
    pub(crate) block_bytes: usize,
    /// Lines may still be under way at the end of the file.
    pub(crate) follow: bool,
}

pub(crate) struct TextReader {
    name: Arc<str>,
    input: Input,
    options: TextOptions,
    cutter: RowCutter,
    pool: Arc<Pool>,
    header: Option<Bytes>,
    carry: Vec<u8>,
    at: u64,
    line: u64,
    /// The last row handed out has no line break (yet).
    open_line: bool,
    ended: bool,
}

impl TextReader {
    /// Opens `entry` behind `position`. Without `follow`, the file ends at `entry.size`, whatever comes later. `start` are the
    /// first bytes of the file, which have been read anyway.
    pub(crate) fn open(
        storage: &Storage,
        entry: &Entry,
        options: TextOptions,
        position: &Position,
        start: &[u8],
        pool: Arc<Pool>,
    ) -> Result<Self, EngineError> {
        let end = if options.follow { u64::MAX } else { entry.size };
        let end = if matches!(storage, Storage::Object(_)) { entry.size } else { end };
        let name = entry.name.clone();
        let header = match &options.dialect {
            Some(dialect) if dialect.header => read_header(storage, entry, &options, dialect, start, end)?,
            _ => None,
        };
        let (text_start, header_lines) = match &header {
            Some(header) => (header.end, header.lines),
            None if position.at > 0 => (0, 0),
            None => (mark_length(storage, entry, &options, start, end)?, 0),
        };
        let (at, line) = if position.at == 0 { (text_start, header_lines) } else { (position.at, position.line) };
        let mut input = Input::open(storage, &name, &options, at, end)?;
        let mut carry = Vec::new();
        if position.open_line {
            check_line_end(&mut input, &name, position, &mut carry)?;
        }
        let cutter = options.dialect.clone().map_or_else(RowCutter::lines, RowCutter::csv);
        // Without a whole header yet, nothing can be read.
        let ended = header.is_none() && options.dialect.as_ref().is_some_and(|dialect| dialect.header);
        let header = header.map(|header| header.bytes);
        Ok(Self { name, input, options, cutter, pool, header, carry, at, line, open_line: position.open_line, ended })
    }

    /// The next block, or word that there is none.
    pub(crate) fn next(&mut self) -> Result<Next, EngineError> {
        if self.ended {
            return Ok(self.answer(None));
        }
        let mut buffer = self.pool.take(self.options.block_bytes.max(self.carry.len() + 1));
        let mut filled = self.carry.len();
        buffer[..filled].copy_from_slice(&self.carry);
        self.carry.clear();
        loop {
            filled = self.fill(&mut buffer, filled)?;
            let cut = self.cutter.cut(&buffer[..filled]);
            if self.ended && !self.options.follow {
                let block = self.block(buffer, filled);
                return Ok(self.answer(block));
            }
            if cut > 0 || self.ended {
                self.carry.extend_from_slice(&buffer[cut..filled]);
                let block = self.block(buffer, cut);
                return Ok(self.answer(block));
            }
            if filled > ROW_BYTES_MAX {
                // A row longer than any that is taken in: the decoder will call it bad.
                self.cutter.reset();
                let block = self.block(buffer, filled);
                return Ok(self.answer(block));
            }
            let length = buffer.len();
            buffer.resize(length * 2, 0);
        }
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8], mut filled: usize) -> Result<usize, EngineError> {
        while filled < buffer.len() {
            let read = match self.input.read(&mut buffer[filled..]) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) if self.options.follow && is_cut_off(&error) => 0,
                Err(error) => return Err(read_error(&self.name, error)),
            };
            if read == 0 {
                self.ended = true;
                break;
            }
            filled += read;
        }
        Ok(filled)
    }

    fn block(&mut self, buffer: Vec<u8>, length: usize) -> Option<Block> {
        if length == 0 {
            self.pool.give(buffer);
            return None;
        }
        let (at, line) = (self.at, self.line);
        self.open_line = buffer[length - 1] != b'\n';
        self.at += length as u64;
        self.line += memchr_iter(b'\n', &buffer[..length]).count() as u64;
        let bytes = Bytes::from_owner(Pooled { buffer, length, pool: self.pool.clone() });
        Some(Block { bytes, at, line, header: self.header.clone() })
    }

    fn answer(&self, block: Option<Block>) -> Next {
        let consumed = match self.input {
            Input::Plain(_) => self.at + self.carry.len() as u64,
            Input::Compressed(ref reader) => reader.position(),
        };
        Next {
            block,
            at: self.at,
            line: self.line,
            open_line: self.open_line && self.ended,
            at_end: self.ended,
            consumed,
        }
    }
}

enum Input {
    Plain(Box<dyn Read + Send>),
    Compressed(Box<DecompressReader<Box<dyn Read + Send>>>),
}

impl Input {
    /// Behind `at` bytes of decompressed text.
    fn open(storage: &Storage, name: &str, options: &TextOptions, at: u64, end: u64) -> Result<Self, EngineError> {
        if options.compression == Compression::None {
            return Ok(Self::Plain(storage.open(name, at, end)?));
        }
        let raw = storage.open(name, 0, end)?;
        let reader = DecompressReader::new(raw, options.compression).map_err(|error| format_error(name, error))?;
        let mut input = Self::Compressed(Box::new(reader));
        let skipped = std::io::copy(&mut (&mut input).take(at), &mut std::io::sink());
        let skipped = skipped.map_err(|error| read_error(name, error))?;
        if skipped < at {
            return Err(EngineError::data(format!(
                "{name}: the text ends at byte {skipped}, but byte {at} of it was read already: the file was replaced; put \
                 the old one back, or start with --restart"
            )));
        }
        Ok(input)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Compressed(reader) => reader.read(buffer),
        }
    }
}

fn is_cut_off(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<thalweg_formats::FormatError>());
    matches!(inner, Some(thalweg_formats::FormatError::Truncated { .. }))
}

/// Up to `max` bytes of text from the begin of a file.
pub(crate) fn read_text_start(
    storage: &Storage,
    name: &str,
    options: &TextOptions,
    end: u64,
    max: usize,
) -> Result<Vec<u8>, EngineError> {
    let mut start = Vec::new();
    let end = if options.compression == Compression::None { end.min(max as u64) } else { end };
    let mut input = Input::open(storage, name, options, 0, end)?.take(max as u64);
    match input.read_to_end(&mut start) {
        Err(error) if !(options.follow && is_cut_off(&error)) => Err(read_error(name, error)),
        _ => Ok(start),
    }
}

fn mark_length(
    storage: &Storage,
    entry: &Entry,
    options: &TextOptions,
    start: &[u8],
    end: u64,
) -> Result<u64, EngineError> {
    let is_marked = match options.compression {
        Compression::None => start.starts_with(BYTE_ORDER_MARK),
        _ => read_text_start(storage, &entry.name, options, end, BYTE_ORDER_MARK.len())? == BYTE_ORDER_MARK,
    };
    Ok(if is_marked { BYTE_ORDER_MARK.len() as u64 } else { 0 })
}

/// The first row of a csv file that names the columns.
struct Header {
    bytes: Bytes,
    /// Where it ends in the text, and how many lines it takes.
    end: u64,
    lines: u64,
}

/// `None` if the file has no whole header yet.
fn read_header(
    storage: &Storage,
    entry: &Entry,
    options: &TextOptions,
    dialect: &CsvDialect,
    start: &[u8],
    end: u64,
) -> Result<Option<Header>, EngineError> {
    let is_enough = options.compression == Compression::None && first_csv_row(start, dialect).is_some();
    let start = match is_enough {
        true => start.to_vec(),
        false => read_text_start(storage, &entry.name, options, end, HEADER_BYTES_MAX)?,
    };
    let mark = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let text = &start[mark..];
    let length = match first_csv_row(text, dialect) {
        Some(length) => length,
        None if start.len() >= HEADER_BYTES_MAX => {
            let message =
                format!("{}: the csv header is longer than 1 MiB; is this a csv file with that quote?", entry.name);
            return Err(EngineError::data(message));
        }
        None if options.follow => return Ok(None),
        None => text.len(),
    };
    let bytes = Bytes::copy_from_slice(&text[..length]);
    let lines = memchr_iter(b'\n', &bytes).count() as u64;
    Ok(Some(Header { bytes, end: (mark + length) as u64, lines }))
}

/// The last row read had no line break; if the file grew since, what follows must begin with one.
fn check_line_end(input: &mut Input, name: &str, position: &Position, carry: &mut Vec<u8>) -> Result<(), EngineError> {
    let mut next = [0];
    let read = input.read(&mut next).map_err(|error| read_error(name, error))?;
    if read == 0 || next[0] == b'\n' || next[0] == b'\r' {
        carry.extend_from_slice(&next[..read]);
        return Ok(());
    }
    Err(EngineError::data(format!(
        "{name}: the row that ended at byte {} was read when the file ended there, and has grown since; start with --restart, \
         or follow such files with --watch",
        position.at
    )))
}

/// Buffers of dropped blocks, for the next ones.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn take(&self, length: usize) -> Vec<u8> {
        let mut free = self.free.lock().expect("no panic while held");
        let mut buffer = free.pop().unwrap_or_default();
        drop(free);
        buffer.resize(length, 0);
        buffer
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock().expect("no panic while held");
        // An outsized one was for one long row.
        if free.len() < POOLED_BUFFERS && buffer.len() <= 4 << 20 {
            free.push(buffer);
        }
    }
}

#[derive(Debug)]
struct Pooled {
    buffer: Vec<u8>,
    length: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}
