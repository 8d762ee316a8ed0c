//! Which sessions are open: intervals per key, and which of them close next.
//!
//! Invariants: sessions of one key are more than the gap apart and linked from the latest to the earliest; every session
//! has one entry in the heap, whose time is not above the session's end (it is corrected when it comes up).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fragments::{Chain, FragmentStore, NONE};
use super::limits::SLACK_KEYS;

#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    key: u32,
    /// Times of its first and last row.
    pub start: i64,
    pub end: i64,
    pub chain: Chain,
    /// The next earlier session of the key.
    earlier: u32,
    /// Counts the uses of this slot, so that the heap can tell a gone session from its successor.
    generation: u32,
    live: bool,
}

#[derive(Default)]
pub(super) struct OpenSessions {
    sessions: Vec<Session>,
    free: Vec<u32>,
    /// By key number: its latest session.
    latest: Vec<u32>,
    live_keys: usize,
    /// (end at the time of entry, slot, generation)
    heap: BinaryHeap<Reverse<(i64, u32, u32)>>,
}

impl OpenSessions {
    /// Makes room for keys up to that number.
    pub fn reserve_keys(&mut self, keys: usize) {
        self.latest.resize(keys, NONE);
    }

    /// Most key numbers belong to keys without a session.
    pub fn is_sparse(&self) -> bool {
        self.latest.len() > 2 * self.live_keys + SLACK_KEYS
    }

    /// Numbers the keys anew, dropping those without a session; returns the old numbers in order of the new ones.
    pub fn renumber_keys(&mut self) -> Vec<u32> {
        let old = std::mem::take(&mut self.latest);
        let kept: Vec<u32> = (0..old.len() as u32).filter(|&key| old[key as usize] != NONE).collect();
        for (new, &key) in kept.iter().enumerate() {
            let mut slot = old[key as usize];
            self.latest.push(slot);
            while slot != NONE {
                self.sessions[slot as usize].key = new as u32;
                slot = self.sessions[slot as usize].earlier;
            }
        }
        kept
    }

    /// Adds a fragment with rows from `start` to `end`; returns the length of the session's chain before and after.
    pub fn add(
        &mut self,
        store: &mut FragmentStore,
        gap: i64,
        key: u32,
        (start, end): (i64, i64),
        chain: Chain,
    ) -> (u32, u32, u32) {
        let (mut later, mut slot) = (NONE, self.latest[key as usize]);
        while slot != NONE && self.sessions[slot as usize].start > end.saturating_add(gap) {
            (later, slot) = (slot, self.sessions[slot as usize].earlier);
        }
        if slot == NONE || self.sessions[slot as usize].end.saturating_add(gap) < start {
            let slot = self.insert(key, (start, end), chain, later, slot);
            return (slot, 0, chain.len);
        }
        let before = self.sessions[slot as usize].chain.len;
        let session = &mut self.sessions[slot as usize];
        session.start = session.start.min(start);
        session.end = session.end.max(end);
        session.chain = store.concat(session.chain, chain);
        self.absorb_earlier(store, gap, slot);
        (slot, before, self.sessions[slot as usize].chain.len)
    }

    /// Joins earlier sessions of the key that the session now touches.
    fn absorb_earlier(&mut self, store: &mut FragmentStore, gap: i64, slot: u32) {
        loop {
            let session = self.sessions[slot as usize];
            let earlier = session.earlier;
            if earlier == NONE || self.sessions[earlier as usize].end.saturating_add(gap) < session.start {
                return;
            }
            let other = self.sessions[earlier as usize];
            let joined = &mut self.sessions[slot as usize];
            joined.start = joined.start.min(other.start);
            joined.end = joined.end.max(other.end);
            joined.chain = store.concat(other.chain, session.chain);
            joined.earlier = other.earlier;
            self.free_slot(earlier);
        }
    }

    fn insert(&mut self, key: u32, (start, end): (i64, i64), chain: Chain, later: u32, earlier: u32) -> u32 {
        let session = Session { key, start, end, chain, earlier, generation: 0, live: true };
        let slot = match self.free.pop() {
            Some(slot) => {
                let generation = self.sessions[slot as usize].generation.wrapping_add(1);
                self.sessions[slot as usize] = Session { generation, ..session };
                slot
            }
            None => {
                self.sessions.push(session);
                (self.sessions.len() - 1) as u32
            }
        };
        match later {
            NONE => {
                self.live_keys += usize::from(self.latest[key as usize] == NONE);
                self.latest[key as usize] = slot;
            }
            later => self.sessions[later as usize].earlier = slot,
        }
        self.heap.push(Reverse((end, slot, self.sessions[slot as usize].generation)));
        slot
    }

    fn free_slot(&mut self, slot: u32) {
        self.sessions[slot as usize].live = false;
        self.free.push(slot);
    }

    /// Takes a session out that ended, gap included, before `event_watermark`.
    pub fn pop_closed(&mut self, gap: i64, event_watermark: i64) -> Option<Session> {
        loop {
            let &Reverse((end, slot, generation)) = self.heap.peek()?;
            if end.saturating_add(gap) >= event_watermark {
                return None;
            }
            self.heap.pop();
            let session = self.sessions[slot as usize];
            if !session.live || session.generation != generation {
                continue;
            }
            if session.end > end {
                self.heap.push(Reverse((session.end, slot, generation)));
                continue;
            }
            self.unlink(slot, session);
            self.free_slot(slot);
            return Some(session);
        }
    }

    fn unlink(&mut self, slot: u32, session: Session) {
        let latest = &mut self.latest[session.key as usize];
        if *latest == slot {
            *latest = session.earlier;
            self.live_keys -= usize::from(session.earlier == NONE);
            return;
        }
        let mut later = *latest;
        while self.sessions[later as usize].earlier != slot {
            later = self.sessions[later as usize].earlier;
        }
        self.sessions[later as usize].earlier = session.earlier;
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.sessions.get_mut(slot as usize).filter(|session| session.live)
    }

    /// Slots are below this; some are empty.
    pub fn slot_count(&self) -> usize {
        self.sessions.len()
    }

    pub fn memory_bytes(&self) -> usize {
        self.sessions.capacity() * size_of::<Session>() + self.latest.capacity() * 4 + self.heap.capacity() * 16
    }

    #[cfg(test)]
    pub fn check_invariants(&self, gap: i64) {
        let mut seen = 0;
        for &latest in &self.latest {
            let mut slot = latest;
            while slot != NONE {
                let session = &self.sessions[slot as usize];
                assert!(session.live && session.start <= session.end);
                if session.earlier != NONE {
                    assert!(self.sessions[session.earlier as usize].end + gap < session.start, "sessions lie apart");
                }
                seen += 1;
                slot = session.earlier;
            }
        }
        assert_eq!(seen, self.sessions.len() - self.free.len(), "every open session is linked from its key");
    }
}
