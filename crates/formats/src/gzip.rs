//! The gzip frame (RFC 1952) around deflate, member after member.
//!
//! Why not the library's reader: it wants to pull its input, and tells a truncated member from a corrupt one only by words. The
//! deflate stream itself is the library's.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Decompressed bytes written at once.
const STEP_BYTES: usize = 64 << 10;

const HAS_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

#[derive(Debug)]
pub(crate) struct GzipDecoder {
    state: State,
    /// Bytes of the present fixed-size part.
    part: Vec<u8>,
    flags: u8,
    inflate: Decompress,
    crc: Crc,
    /// Zero bytes after a member are padding (tape blocks); nothing but zeros may follow then.
    padding: bool,
    members: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    ExtraLen,
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Body,
    Trailer,
}

impl Default for GzipDecoder {
    fn default() -> Self {
        Self {
            state: State::Header,
            part: Vec::new(),
            flags: 0,
            inflate: Decompress::new(false),
            crc: Crc::new(),
            padding: false,
            members: 0,
        }
    }
}

impl GzipDecoder {
    pub fn is_between_members(&self) -> bool {
        self.state == State::Header && self.part.is_empty()
    }

    /// One step: takes some of `input`, appends at most `room` bytes; how many bytes it took. It takes and gives nothing only if
    /// it can do nothing.
    pub fn decompress(&mut self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Result<usize, String> {
        if self.state == State::Body {
            let had = out.len();
            let taken = self.inflate(input, out, room)?;
            if taken > 0 || out.len() > had || self.state == State::Body {
                return Ok(taken);
            }
        }
        let mut taken = 0;
        while taken < input.len() && self.state != State::Body {
            let byte = input[taken];
            taken += 1;
            if self.is_between_members() && (self.padding || (byte == 0 && self.members > 0)) {
                self.padding = true;
                if byte != 0 {
                    return Err("bytes that are no gzip member follow the last one".into());
                }
                continue;
            }
            self.frame_byte(byte)?;
        }
        Ok(taken)
    }

    fn frame_byte(&mut self, byte: u8) -> Result<(), String> {
        match self.state {
            State::Extra(0) => unreachable!("an empty part is skipped"),
            State::Extra(left) => {
                if left == 1 {
                    self.next_part(HAS_EXTRA);
                } else {
                    self.state = State::Extra(left - 1);
                }
                return Ok(());
            }
            State::Name | State::Comment => {
                if byte == 0 {
                    self.next_part(if self.state == State::Name { HAS_NAME } else { HAS_COMMENT });
                }
                return Ok(());
            }
            _ => self.part.push(byte),
        }
        match (self.state, &self.part[..]) {
            (State::Header, [0x1f] | [0x1f, 0x8b] | [0x1f, 0x8b, 8]) => {}
            (State::Header, [0x1f, 0x8b, 8, flags, rest @ ..]) => {
                if flags & 0xe0 != 0 {
                    return Err("the header has flags that do not exist".into());
                }
                if rest.len() == 6 {
                    self.flags = *flags;
                    self.next_part(0);
                }
            }
            (State::Header, _) => return Err("this is no gzip member".into()),
            (State::ExtraLen, [low, high]) => match u16::from_le_bytes([*low, *high]) {
                0 => self.next_part(HAS_EXTRA),
                len => (self.state, self.part) = (State::Extra(len as usize), Vec::new()),
            },
            (State::HeaderCrc, [_, _]) => self.next_part(HAS_CRC),
            (State::Trailer, [c0, c1, c2, c3, l0, l1, l2, l3]) => {
                let (crc, len) = (u32::from_le_bytes([*c0, *c1, *c2, *c3]), u32::from_le_bytes([*l0, *l1, *l2, *l3]));
                if crc != self.crc.sum() {
                    return Err("the checksum differs".into());
                }
                if len != self.crc.amount() {
                    return Err("the length differs".into());
                }
                self.members += 1;
                (self.state, self.part) = (State::Header, Vec::new());
            }
            _ => {}
        }
        Ok(())
    }

    /// Goes to the next part of the header that the flags announce, or to the body; `done` was just read.
    fn next_part(&mut self, done: u8) {
        self.flags &= !done;
        self.part.clear();
        self.state = if self.flags & HAS_EXTRA != 0 {
            State::ExtraLen
        } else if self.flags & HAS_NAME != 0 {
            State::Name
        } else if self.flags & HAS_COMMENT != 0 {
            State::Comment
        } else if self.flags & HAS_CRC != 0 {
            State::HeaderCrc
        } else {
            self.inflate.reset(false);
            self.crc.reset();
            State::Body
        };
    }

    fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>, room: usize) -> Result<usize, String> {
        let from = out.len();
        // No more room than so little input may need: a step clears what it may write.
        out.resize(from + room.min(STEP_BYTES).min(4096 + 16 * input.len()), 0);
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, &mut out[from..], FlushDecompress::None);
        let written = (self.inflate.total_out() - before_out) as usize;
        out.truncate(from + written);
        self.crc.update(&out[from..]);
        match status.map_err(|_| "the deflate stream is broken".to_owned())? {
            Status::StreamEnd => self.state = State::Trailer,
            Status::Ok | Status::BufError => {}
        }
        Ok((self.inflate.total_in() - before_in) as usize)
    }
}
