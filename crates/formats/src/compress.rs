//! Decompression of streams, as a value that is fed bytes: it never reads, and never gives out more than was asked for.
//!
//! Concatenated gzip members and zstd frames are one stream. An error says at which compressed byte it was found.

use std::fmt;
use std::io::{self, Read};

use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use crate::FormatError;
use crate::gzip::GzipDecoder;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// Longest window of a zstd frame, as a power of two: 128 MiB, as much as the `zstd` command takes by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes read at once by [`DecompressReader`].
const READ_BYTES: usize = 128 << 10;

impl Compression {
    /// By the end of a file's name: `.gz`, `.gzip`, `.zst`, `.zstd`.
    pub fn of_path(path: &str) -> Self {
        let path = path.to_ascii_lowercase();
        if path.ends_with(".gz") || path.ends_with(".gzip") {
            Self::Gzip
        } else if path.ends_with(".zst") || path.ends_with(".zstd") {
            Self::Zstd
        } else {
            Self::None
        }
    }

    /// By the first bytes of a file.
    pub fn of_magic(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may stand first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The path without the compression's ending, so that the format's own shows: `a.csv.gz` is `a.csv`.
    pub fn strip_extension(path: &str) -> &str {
        match Self::of_path(path) {
            Self::None => path,
            _ => path.rsplit_once('.').map_or(path, |(stem, _)| stem),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Decompresses one stream.
pub struct Decompressor {
    codec: Codec,
    /// Compressed bytes taken so far.
    position: u64,
}

enum Codec {
    None,
    Gzip(Box<GzipDecoder>),
    Zstd { decoder: ZstdDecoder<'static>, within_frame: bool },
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Decompressor({}, at {})", self.compression(), self.position)
    }
}

impl Decompressor {
    pub fn new(compression: Compression) -> Result<Self, FormatError> {
        let codec = match compression {
            Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip(Box::default()),
            Compression::Zstd => {
                let failed = |source| FormatError::Codec { compression, source };
                let mut decoder = ZstdDecoder::new().map_err(failed)?;
                let window = zstd::zstd_safe::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                decoder.set_parameter(window).map_err(failed)?;
                Codec::Zstd { decoder, within_frame: false }
            }
        };
        Ok(Self { codec, position: 0 })
    }

    pub fn compression(&self) -> Compression {
        match self.codec {
            Codec::None => Compression::None,
            Codec::Gzip(_) => Compression::Gzip,
            Codec::Zstd { .. } => Compression::Zstd,
        }
    }

    /// Compressed bytes taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes bytes from `input` and appends at most `room` decompressed bytes to `out`; returns how many bytes it took. While
    /// `room` is left it takes all of `input`. After an error it is of no more use.
    pub fn decompress(&mut self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Result<usize, FormatError> {
        let before = out.len();
        let mut taken = 0;
        while out.len() - before < room {
            let rest = &input[taken..];
            let free = room - (out.len() - before);
            let had = out.len();
            let used = match &mut self.codec {
                Codec::None => {
                    let used = rest.len().min(free);
                    out.extend_from_slice(&rest[..used]);
                    used
                }
                Codec::Gzip(gzip) => gzip
                    .decompress(rest, out, free)
                    .map_err(|detail| corrupt(Compression::Gzip, self.position, detail))?,
                Codec::Zstd { decoder, within_frame } => zstd_step(decoder, within_frame, rest, out, free)
                    .map_err(|error| corrupt(Compression::Zstd, self.position, error.to_string()))?,
            };
            taken += used;
            self.position += used as u64;
            if used == 0 && out.len() == had {
                break;
            }
        }
        Ok(taken)
    }

    /// The stream ends here: an error if it is in the middle of something. All input was taken and `decompress` with no input
    /// gave nothing more.
    pub fn finish(&self) -> Result<(), FormatError> {
        let whole = match &self.codec {
            Codec::None => true,
            Codec::Gzip(gzip) => gzip.is_between_members(),
            Codec::Zstd { within_frame, .. } => !within_frame,
        };
        if whole {
            return Ok(());
        }
        Err(FormatError::Truncated { compression: self.compression(), position: self.position })
    }
}

#[cold]
fn corrupt(compression: Compression, position: u64, detail: String) -> FormatError {
    FormatError::Corrupt { compression, position, detail }
}

fn zstd_step(
    decoder: &mut ZstdDecoder<'static>,
    within_frame: &mut bool,
    input: &[u8],
    out: &mut Vec<u8>,
    room: usize,
) -> io::Result<usize> {
    if input.is_empty() && !*within_frame {
        return Ok(0);
    }
    if !*within_frame {
        decoder.reinit()?;
    }
    let from = out.len();
    // No more room than so little input may need: a step clears what it may write.
    out.resize(from + room.min(READ_BYTES).min(4096 + 16 * input.len()), 0);
    let (mut source, mut target) = (InBuffer::around(input), OutBuffer::around(&mut out[from..]));
    let hint = decoder.run(&mut source, &mut target);
    let written = target.pos();
    out.truncate(from + written);
    *within_frame = hint? != 0;
    Ok(source.pos())
}

/// Reads decompressed bytes; a [`FormatError`] comes as the inner error of an `io::Error`.
#[derive(Debug)]
pub struct DecompressReader<R> {
    reader: R,
    decompressor: Decompressor,
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> DecompressReader<R> {
    pub fn new(reader: R, compression: Compression) -> Result<Self, FormatError> {
        let decompressor = Decompressor::new(compression)?;
        Ok(Self { reader, decompressor, input: Vec::new(), taken: 0, output: Vec::new(), given: 0, ended: false })
    }

    /// Compressed bytes read so far.
    pub fn position(&self) -> u64 {
        self.decompressor.position()
    }

    fn fill(&mut self) -> io::Result<()> {
        self.output.clear();
        self.given = 0;
        while self.output.is_empty() {
            if self.taken == self.input.len() && !self.ended {
                self.input.resize(READ_BYTES, 0);
                let read = self.reader.read(&mut self.input)?;
                self.input.truncate(read);
                (self.taken, self.ended) = (0, read == 0);
            }
            let input = &self.input[self.taken..];
            self.taken +=
                self.decompressor.decompress(input, &mut self.output, READ_BYTES).map_err(io::Error::other)?;
            if self.ended && self.output.is_empty() {
                return self.decompressor.finish().map_err(io::Error::other);
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for DecompressReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.output.len() {
            self.fill()?;
        }
        let rest = &self.output[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|number| format!("{{\"number\":{number}}}\n").into_bytes()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::GzBuilder::new().filename("a.json").comment("c").write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => gzip(bytes),
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    /// Decompresses fed in pieces of `step` bytes, `room` bytes at a time.
    fn decompress(compression: Compression, bytes: &[u8], step: usize, room: usize) -> Result<Vec<u8>, FormatError> {
        let mut decompressor = Decompressor::new(compression)?;
        let mut out = Vec::new();
        for mut piece in bytes.chunks(step) {
            loop {
                let before = out.len();
                let taken = decompressor.decompress(piece, &mut out, room)?;
                assert!(out.len() - before <= room, "no more than there is room for");
                piece = &piece[taken..];
                if out.len() - before < room {
                    assert!(piece.is_empty(), "all input is taken while there is room");
                    break;
                }
            }
        }
        assert_eq!(decompressor.position(), bytes.len() as u64);
        decompressor.finish()?;
        Ok(out)
    }

    #[test]
    fn members_and_frames_in_pieces_of_any_size() {
        let text = text();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let (head, tail) = text.split_at(1000);
            let mut bytes = compress(compression, head);
            bytes.extend(compress(compression, b""));
            bytes.extend(compress(compression, tail));
            for (step, room) in [(1, 1 << 20), (7, 100), (4096, 64 << 10), (bytes.len(), 1000), (bytes.len(), 1 << 30)]
            {
                assert!(decompress(compression, &bytes, step, room).unwrap() == text, "{compression} {step} {room}");
            }
            let mut read = Vec::new();
            DecompressReader::new(&bytes[..], compression).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == text);
        }
    }

    #[test]
    fn every_truncation_is_noticed_and_says_where() {
        let text = &text()[..3000];
        for compression in [Compression::Gzip, Compression::Zstd] {
            let bytes = compress(compression, text);
            for end in 1..bytes.len() {
                let error = decompress(compression, &bytes[..end], 1000, 1 << 20).unwrap_err();
                let FormatError::Truncated { position, .. } = error else { panic!("cut at {end}: {error}") };
                assert_eq!(position, end as u64);
            }
            assert!(decompress(compression, b"", 1, 1).unwrap().is_empty());
        }
    }

    #[test]
    fn a_flipped_bit_never_passes() {
        let text = &text()[..3000];
        // The gzip header holds a time, a file name and a comment, which nothing protects.
        for (compression, from) in [(Compression::Gzip, 19), (Compression::Zstd, 0)] {
            let mut bytes = match compression {
                Compression::Gzip => gzip(text),
                _ => {
                    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
                    encoder.include_checksum(true).unwrap();
                    encoder.write_all(text).unwrap();
                    encoder.finish().unwrap()
                }
            };
            for bit in from * 8..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let outcome = decompress(compression, &bytes, 500, 1 << 20);
                assert!(outcome.is_err() || outcome.unwrap() == text, "{compression}: bit {bit} flipped");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn names_and_magic_tell_the_compression() {
        assert_eq!(Compression::of_path("a/B.NDJSON.GZ"), Compression::Gzip);
        assert_eq!(Compression::of_path("a.zst"), Compression::Zstd);
        assert_eq!(Compression::of_path("a.csv"), Compression::None);
        assert_eq!(Compression::strip_extension("a.csv.gz"), "a.csv");
        assert_eq!(Compression::of_magic(&gzip(b"a")), Compression::Gzip);
        assert_eq!(Compression::of_magic(&compress(Compression::Zstd, b"a")), Compression::Zstd);
        assert_eq!(Compression::of_magic(b"{}"), Compression::None);
    }

    #[test]
    fn foreign_bytes_are_refused_with_a_position() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut bytes = compress(compression, b"hello");
            let end = bytes.len() as u64;
            bytes.extend_from_slice(b"this is no member or frame");
            let error = decompress(compression, &bytes, 1000, 1 << 20).unwrap_err();
            let FormatError::Corrupt { position, .. } = error else { panic!("{error}") };
            assert!(position <= end, "{compression} {position}");
        }
    }
}
