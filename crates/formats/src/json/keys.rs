//! Keys of objects: predicted from the rows before instead of parsed.
//!
//! Every way a key was written so far, from the byte after the previous value (`{` or `,`) up to the value (`,"price": `), is a
//! *slot*. A slot remembers which slots followed it last, so in the steady state finding a key is one comparison of
//! bytes that are expected there; keys that come and go cost a look-up, not a change of mode. Only when neither guess fits is
//! the key parsed and looked up by name.
//!
//! Invariants: a slot's bytes were parsed once as separator, key, colon and space, so equal bytes mean the same. Slots are
//! bounded in number and length; what does not fit is parsed each time.

use std::collections::HashMap;

use super::fault::Fault;
use super::string::{skip_string, unescape_into};
use super::text::Text;
use super::value::Rules;
use crate::ExtraColumns;

/// Field number of a key that has no column: its value is skipped.
pub(crate) const NO_COLUMN: u32 = u32::MAX;

const SLOTS_MAX: usize = 4096;
const SLOT_BYTES_MAX: usize = 48;
const NONE: u32 = u32::MAX;
/// The slot "in front of the first key".
const START: u32 = 0;

#[derive(Debug)]
pub(crate) struct Keys {
    slots: Vec<Slot>,
    by_bytes: HashMap<Box<[u8]>, u32>,
    fields: HashMap<Box<[u8]>, u32>,
    /// Number of the object in which each field was seen last.
    pub seen: Vec<u64>,
    pub object: u64,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Slot {
    /// The first 16 bytes and which of them count.
    words: [u64; 2],
    masks: [u64; 2],
    len: u32,
    field: u32,
    /// The slots that followed: the usual one, and the last other one.
    next: [u32; 2],
    bytes: Box<[u8]>,
}

/// What stands at a place where a key may be.
pub(crate) enum Found {
    /// Slot (`NONE` if it is not kept), field, where the value begins.
    Key(u32, u32, usize),
    /// The end of the object, and what comes behind it.
    End(usize),
}

impl Keys {
    /// `columns` in the order of their field numbers; `known` are all declared names.
    pub fn new<'a>(columns: impl Iterator<Item = &'a str>, known: impl Iterator<Item = &'a str>) -> Self {
        let mut fields: HashMap<Box<[u8]>, u32> = known.map(|name| (name.as_bytes().into(), NO_COLUMN)).collect();
        let mut count = 0;
        for (index, name) in columns.enumerate() {
            fields.insert(name.as_bytes().into(), index as u32);
            count += 1;
        }
        let mut keys = Self {
            slots: Vec::new(),
            by_bytes: HashMap::new(),
            fields,
            seen: vec![0; count],
            object: 0,
            scratch: Vec::new(),
        };
        keys.slots.push(Slot::new(b"", NO_COLUMN));
        keys
    }

    /// The slot to begin an object with.
    pub const fn start() -> u32 {
        START
    }

    /// The guess after slot `after`: slot, field and value position, if the bytes at `at` are as expected.
    #[inline(always)]
    pub fn guess(&self, text: Text<'_>, at: usize, after: u32) -> Option<(u32, u32, usize)> {
        let next = self.slots.get(after as usize)?.next[0];
        let slot = self.slots.get(next as usize)?;
        slot.is_at(text, at).then_some((next, slot.field, at + slot.len as usize))
    }

    /// Finds out what stands at `at`, the byte behind the previous value (or the `{`), and learns from it.
    #[inline(never)]
    pub fn find(&mut self, text: Text<'_>, at: usize, after: u32, first: bool, rules: &Rules) -> Result<Found, Fault> {
        if let Some(previous) = self.slots.get(after as usize) {
            let other = previous.next[1];
            if let Some(slot) = self.slots.get(other as usize)
                && slot.is_at(text, at)
            {
                let (field, value) = (slot.field, at + slot.len as usize);
                self.slots[after as usize].next.swap(0, 1);
                return Ok(Found::Key(other, field, value));
            }
        }
        let mut place = text.skip_space(at);
        if first {
            place = text.skip_space(place + 1);
            if text.byte(place) == b'}' {
                return Ok(Found::End(place + 1));
            }
        } else {
            match text.byte(place) {
                b'}' => return Ok(Found::End(place + 1)),
                b',' => place = text.skip_space(place + 1),
                _ => return Err(Fault::syntax(text, place, "`,` or `}`")),
            }
        }
        let (end, value) = parse_key(text, place)?;
        let bytes = text.slice(at, value);
        let slot = match self.by_bytes.get(bytes) {
            Some(&slot) => slot,
            None => {
                let field = self.field(text, place, end, rules)?;
                match self.learn(bytes, field) {
                    Some(slot) => slot,
                    None => return Ok(Found::Key(NONE, field, value)),
                }
            }
        };
        if let Some(previous) = self.slots.get_mut(after as usize) {
            let place = if previous.next[0] == NONE { 0 } else { 1 };
            previous.next[place] = slot;
        }
        Ok(Found::Key(slot, self.slots[slot as usize].field, value))
    }

    /// The field that the key between the quotes at `at` and `end` names.
    fn field(&mut self, text: Text<'_>, at: usize, end: usize, rules: &Rules) -> Result<u32, Fault> {
        let mut key = text.slice(at + 1, end);
        if key.contains(&b'\\') {
            self.scratch.clear();
            unescape_into(text, at + 1, &mut self.scratch)?;
            key = &self.scratch;
        }
        match self.fields.get(key) {
            Some(&field) => Ok(field),
            None if rules.extra_columns == ExtraColumns::Ignore => Ok(NO_COLUMN),
            None => Err(Fault::new(format!(
                "key \"{}\" is not declared; add the column or set the option for extra columns to ignore",
                String::from_utf8_lossy(key)
            ))),
        }
    }

    fn learn(&mut self, bytes: &[u8], field: u32) -> Option<u32> {
        if bytes.len() > SLOT_BYTES_MAX || self.slots.len() >= SLOTS_MAX {
            return None;
        }
        let slot = self.slots.len() as u32;
        self.slots.push(Slot::new(bytes, field));
        self.by_bytes.insert(bytes.into(), slot);
        Some(slot)
    }
}

/// The closing quote and the value's position of the key whose opening quote is at `at`.
fn parse_key(text: Text<'_>, at: usize) -> Result<(usize, usize), Fault> {
    if text.byte(at) != b'"' {
        return Err(Fault::syntax(text, at, "a key in double quotes"));
    }
    let behind = skip_string(text, at + 1)?;
    let colon = text.skip_space(behind);
    if text.byte(colon) != b':' {
        return Err(Fault::syntax(text, colon, "`:` after a key"));
    }
    Ok((behind - 1, text.skip_space(colon + 1)))
}

impl Slot {
    fn new(bytes: &[u8], field: u32) -> Self {
        let (mut head, mut mask) = ([0u8; 16], [0u8; 16]);
        let len = bytes.len().min(16);
        head[..len].copy_from_slice(&bytes[..len]);
        mask[..len].fill(0xff);
        let words = |bytes: [u8; 16]| {
            let (low, high) = bytes.split_at(8);
            [low, high].map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        };
        Self {
            words: words(head),
            masks: words(mask),
            len: bytes.len() as u32,
            field,
            next: [NONE; 2],
            bytes: bytes.into(),
        }
    }

    /// Whether the slot's bytes stand at `at`. Reads at most [`SLOT_BYTES_MAX`] bytes, which the padding covers.
    #[inline(always)]
    fn is_at(&self, text: Text<'_>, at: usize) -> bool {
        let low = (text.load8(at) ^ self.words[0]) & self.masks[0];
        let high = (text.load8(at + 8) ^ self.words[1]) & self.masks[1];
        low | high == 0 && (self.len <= 16 || text.slice(at + 16, at + self.len as usize) == &self.bytes[16..])
    }
}
