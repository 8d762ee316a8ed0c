//! Patterns of `regexp_extract`: a regular expression, or the same by hand where its shape is simple.
//!
//! Why: capturing groups make a regular expression many times dearer than searching for the key and cutting the value
//! of `key=value` out behind it. The shape is `start literal ([^stops]*)`, where `start` is absent or a group of single
//! characters and `^`, such as `(&|^)channel_id=([^&]*)`. Everything else is left to `regex`; a test holds the two equal.

use memchr::memmem::Finder;
use regex::{CaptureLocations, Regex};

#[derive(Debug)]
pub(super) enum Pattern {
    Cut(Box<Cut>),
    General(Regex),
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Result<Self, regex::Error> {
        match Cut::of(pattern) {
            Some(cut) => Ok(Self::Cut(Box::new(cut))),
            None => Regex::new(pattern).map(Self::General),
        }
    }

    /// Scratch space for `extract`, to be made once for many rows.
    pub(super) fn scratch(&self) -> Option<CaptureLocations> {
        match self {
            Self::Cut(_) => None,
            Self::General(regex) => Some(regex.capture_locations()),
        }
    }

    /// The group of the first match; `None` without a match or such a group.
    pub(super) fn extract<'a>(
        &self,
        text: &'a str,
        group: usize,
        scratch: &mut Option<CaptureLocations>,
    ) -> Option<&'a str> {
        match (self, scratch) {
            (Self::Cut(cut), _) => cut.extract(text, group),
            (Self::General(regex), _) if group == 0 => regex.find(text).map(|found| found.as_str()),
            (Self::General(regex), Some(locations)) => {
                regex.captures_read(locations, text)?;
                locations.get(group).map(|(start, end)| &text[start..end])
            }
            (Self::General(regex), None) => regex.captures(text)?.get(group).map(|found| found.as_str()),
        }
    }
}

/// `start literal ([^stops]*)`; all of it ASCII, so cuts are between characters.
#[derive(Debug)]
pub(super) struct Cut {
    /// The characters one of which must stand in front of the literal; empty: nothing must.
    before: Vec<u8>,
    /// Whether the literal may also stand at the beginning of the text.
    at_beginning: bool,
    has_start: bool,
    literal: Finder<'static>,
    stops: Vec<u8>,
    /// `+` instead of `*`.
    at_least_one: bool,
}

impl Cut {
    /// The pattern as a cut, if it has that shape.
    fn of(pattern: &str) -> Option<Self> {
        let (start, rest) = match pattern.strip_prefix('(') {
            Some(rest) => {
                let (start, rest) = rest.split_once(')')?;
                (Some(start), rest)
            }
            None => (None, pattern),
        };
        let (mut before, mut at_beginning) = (Vec::new(), false);
        for choice in start.iter().flat_map(|start| start.split('|')) {
            match choice.as_bytes() {
                b"^" => at_beginning = true,
                [byte] if is_plain(*byte) => before.push(*byte),
                _ => return None,
            }
        }
        let (literal, rest) = rest.split_once("([^")?;
        let (stops, rest) = rest.split_once(']')?;
        let at_least_one = match rest {
            "*)" => false,
            "+)" => true,
            _ => return None,
        };
        let is_simple = !literal.is_empty() && literal.bytes().all(is_plain);
        // Doubled, some of these characters are set operators.
        let are_stops = !stops.is_empty() && stops.bytes().all(is_plain_in_class) && !stops.contains("&&");
        (is_simple && are_stops).then(|| Self {
            before,
            at_beginning,
            has_start: start.is_some(),
            literal: Finder::new(literal).into_owned(),
            stops: stops.bytes().collect(),
            at_least_one,
        })
    }

    fn extract<'a>(&self, text: &'a str, group: usize) -> Option<&'a str> {
        let bytes = text.as_bytes();
        let mut from = 0;
        loop {
            let literal = from + self.literal.find(&bytes[from..])?;
            let begin = self.begin(bytes, literal);
            let value = literal + self.literal.needle().len();
            let end = value + self.length(&bytes[value..]);
            if let (Some(begin), true) = (begin, end > value || !self.at_least_one) {
                return match (group, self.has_start) {
                    (0, _) => text.get(begin..end),
                    (1, true) => text.get(begin..literal),
                    (1, false) | (2, true) => text.get(value..end),
                    _ => None,
                };
            }
            from = literal + 1;
        }
    }

    /// Where a match whose literal stands at `literal` begins.
    fn begin(&self, bytes: &[u8], literal: usize) -> Option<usize> {
        if !self.has_start || (literal == 0 && self.at_beginning) {
            return Some(literal);
        }
        let before = literal.checked_sub(1)?;
        self.before.contains(&bytes[before]).then_some(before)
    }

    fn length(&self, bytes: &[u8]) -> usize {
        let stop = match self.stops[..] {
            [one] => memchr::memchr(one, bytes),
            [one, two] => memchr::memchr2(one, two, bytes),
            _ => bytes.iter().position(|byte| self.stops.contains(byte)),
        };
        stop.unwrap_or(bytes.len())
    }
}

/// A byte that stands for itself in a pattern.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'_' | b'=' | b'&' | b'/' | b':' | b';' | b',' | b' ' | b'#' | b'"' | b'%' | b'@' | b'!' | b'~'
        )
}

/// The same inside `[...]`.
fn is_plain_in_class(byte: u8) -> bool {
    is_plain(byte) && byte != b'~' || byte == b'?'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CUTS: [&str; 6] =
        ["(&|^)id=([^&]*)", "(^|&)id=([^&]+)", "(&)a([^&a]*)", "aa([^=]*)", "(a|&)aa([^&=d]+)", "i([^d&=?]*)"];

    #[test]
    fn shapes_are_told_apart() {
        for pattern in CUTS {
            assert!(Cut::of(pattern).is_some(), "{pattern}");
        }
        for pattern in [
            "(&|^)i.=([^&]*)",
            "(ab|^)id=([^&]*)",
            "(?:&|^)id=([^&]*)",
            "(&|^)id=([^&]*)x",
            "([^&]*)",
            "id=([^&&a]*)",
            "id=([^a-z]*)",
            "(&|^)id=(.*)",
            "(&|^)id+([^&]*)",
            "id=[^&]*",
            "(&|^id=([^&]*)",
            "é([^&]*)",
        ] {
            assert!(Cut::of(pattern).is_none(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn cuts_equal_the_regular_expression(text in "[id=&aé?]{0,16}", group in 0_usize..4) {
            for pattern in CUTS {
                let cut = Pattern::Cut(Box::new(Cut::of(pattern).expect("a cut")));
                let regex = Pattern::General(Regex::new(pattern).expect("valid"));
                let expect = regex.extract(&text, group, &mut regex.scratch());
                prop_assert_eq!(cut.extract(&text, group, &mut None), expect, "{} on {} group {}", pattern, text, group);
            }
        }
    }
}
