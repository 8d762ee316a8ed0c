//! Rings between workers: one bounded queue per producer and consumer, with byte credits.
//!
//! Owner: the consuming worker. Bound: [`RING_MESSAGES`] messages and [`RING_BYTES`] bytes of rows. When full, the
//! producer keeps the message and stops reading its own inputs; nothing is dropped. The last message may exceed the
//! byte bound by its own size, so that a batch larger than the bound can pass at all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::{Barrier, Batch, EventTime, Waker};

const RING_MESSAGES: usize = 256;
const RING_BYTES: usize = 8 << 20;

/// What travels between chains, in order.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Rows(Batch),
    Watermark(EventTime),
    Barrier(Barrier),
}

/// Lets a worker's thread sleep until there may be something to do.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    thread: OnceLock<std::thread::Thread>,
}

impl Bell {
    /// Called once by the thread that will sleep.
    pub(crate) fn adopt(&self) {
        self.thread.get_or_init(std::thread::current);
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until rung, `at_most` so long.
    pub(crate) fn wait(&self, at_most: Duration) {
        if !self.rung.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(at_most);
            self.rung.store(false, Ordering::Release);
        }
    }
}

/// Rings every worker's bell.
#[derive(Debug)]
pub(crate) struct AllBells(pub(crate) Vec<Arc<Bell>>);

impl Waker for AllBells {
    fn wake(&self) {
        self.0.iter().for_each(|bell| bell.ring());
    }
}

/// The producing end, with the messages that did not fit yet.
pub(crate) struct RingSender {
    queue: Sender<(usize, Message)>,
    bytes: Arc<AtomicUsize>,
    waiting: VecDeque<(usize, Message)>,
    bell: Arc<Bell>,
}

/// The consuming end.
pub(crate) struct RingReceiver {
    queue: Receiver<(usize, Message)>,
    bytes: Arc<AtomicUsize>,
    producer: Arc<Bell>,
}

pub(crate) fn ring(producer: Arc<Bell>, consumer: Arc<Bell>) -> (RingSender, RingReceiver) {
    let (sender, receiver) = crossbeam_channel::bounded(RING_MESSAGES);
    let bytes = Arc::new(AtomicUsize::new(0));
    (
        RingSender { queue: sender, bytes: bytes.clone(), waiting: VecDeque::new(), bell: consumer },
        RingReceiver { queue: receiver, bytes, producer },
    )
}

impl RingSender {
    /// Queues behind what waits already; never blocks.
    pub(crate) fn send(&mut self, message: Message) {
        let bytes = match &message {
            Message::Rows(batch) => batch.memory_bytes(),
            _ => 0,
        };
        self.waiting.push_back((bytes, message));
        self.flush();
    }

    /// Moves what fits into the ring; true if nothing waits any more.
    pub(crate) fn flush(&mut self) -> bool {
        let mut moved = false;
        while let Some((bytes, message)) = self.waiting.pop_front() {
            if bytes > 0 && self.bytes.load(Ordering::Acquire) >= RING_BYTES {
                self.waiting.push_front((bytes, message));
                break;
            }
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
            match self.queue.try_send((bytes, message)) {
                Ok(()) => moved = true,
                Err(TrySendError::Full(back)) => {
                    self.bytes.fetch_sub(back.0, Ordering::AcqRel);
                    self.waiting.push_front(back);
                    break;
                }
                // The consumer is gone: its worker failed and the whole pipeline is being torn down.
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
        if moved {
            self.bell.ring();
        }
        self.waiting.is_empty()
    }
}

impl RingReceiver {
    pub(crate) fn receive(&mut self) -> Option<Message> {
        let (bytes, message) = self.queue.try_recv().ok()?;
        if self.bytes.fetch_sub(bytes, Ordering::AcqRel) >= RING_BYTES || self.queue.len() + 1 >= RING_MESSAGES {
            self.producer.ring();
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_order_through_a_full_ring() {
        let (mut sender, mut receiver) = ring(Arc::default(), Arc::default());
        for i in 0..2 * RING_MESSAGES as i64 {
            sender.send(Message::Watermark(EventTime(i)));
        }
        assert!(!sender.flush(), "more than the ring holds must wait");
        let mut seen = 0;
        loop {
            while let Some(Message::Watermark(time)) = receiver.receive() {
                assert_eq!(time.0, seen);
                seen += 1;
            }
            if sender.flush() && seen == 2 * RING_MESSAGES as i64 {
                break;
            }
        }
    }
}
