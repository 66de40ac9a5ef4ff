//! The reply queue of one connection: replies leave in the order of their commands, whichever core answers first.
//!
//! Invariants
//! - while no command waits for another core, the queue is empty and replies are written straight into the output
//! - a reply that is ready behind one that is not lies in the stash until everything before it has left
//! - the stash is empty when the queue is

use std::collections::VecDeque;

use crate::resp::Out;

/// The stash gives back what has left once this much of it has.
const COMPACT_BYTES: usize = 256 * 1024;

enum Slot {
    /// Another core is at it.
    Waiting,
    /// Another core is at it, but the client wants no reply.
    Muted,
    /// Bytes of the stash, counted from the stash's beginning of time.
    Ready { start: usize, end: usize },
}

#[derive(Default)]
pub struct Replies {
    slots: VecDeque<Slot>,
    /// Sequence number of the first slot.
    head: u32,
    stash: Out,
    /// Bytes already dropped from the stash's front.
    dropped: usize,
    /// A command over keys is in the queue, not only messages that were published.
    awaits_data: bool,
}

impl Replies {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes in the stash, attachments included.
    pub fn stashed_bytes(&self) -> usize {
        if self.slots.is_empty() { 0 } else { self.stash.len() }
    }

    /// Reserves the next place for a reply from another core, or for one that the client does not want; its sequence number.
    pub fn wait(&mut self, muted: bool) -> u32 {
        self.awaits_data = true;
        self.wait_for_publish(muted)
    }

    /// Reserves the next place for the reply to a PUBLISH.
    pub fn wait_for_publish(&mut self, muted: bool) -> u32 {
        self.slots.push_back(if muted { Slot::Muted } else { Slot::Waiting });
        self.head.wrapping_add(self.slots.len() as u32 - 1)
    }

    /// Whether a reply to a command over keys may still be awaited.
    pub fn await_data(&self) -> bool {
        self.awaits_data
    }

    /// Writes a reply behind those that wait.
    pub fn stash<R>(&mut self, write: impl FnOnce(&mut Out) -> R) -> R {
        debug_assert!(!self.slots.is_empty(), "with nothing waiting, write to the output");
        let start = self.dropped + self.stash.buf.len();
        let result = write(&mut self.stash);
        self.slots.push_back(Slot::Ready { start, end: self.dropped + self.stash.buf.len() });
        result
    }

    /// Drops the replies that were stashed behind the first `slots` places.
    pub fn unstash(&mut self, slots: usize) {
        while self.slots.len() > slots
            && let Some(Slot::Ready { start, .. }) = self.slots.back()
        {
            let start = start - self.dropped;
            self.stash.attached.truncate(self.stash.attached.partition_point(|(offset, _)| *offset < start));
            self.stash.buf.truncate(start);
            self.slots.pop_back();
        }
    }

    /// The reply of `sequence` is `from.buf[range]` with its attachments from index `attached` on. Moves into `out` everything that
    /// can leave now; returns the index of the first attachment behind the reply.
    pub fn answer(
        &mut self,
        sequence: u32,
        from: &Out,
        range: std::ops::Range<usize>,
        attached: usize,
        out: &mut Out,
    ) -> usize {
        let index = sequence.wrapping_sub(self.head) as usize;
        let muted = matches!(self.slots.get(index), Some(Slot::Muted));
        let range = if muted { range.end..range.end } else { range };
        if index == 0 {
            let next = out.append_range(from, range, attached);
            self.slots.pop_front();
            self.head = self.head.wrapping_add(1);
            self.release(out);
            return next;
        }
        let start = self.dropped + self.stash.buf.len();
        let next = self.stash.append_range(from, range, attached);
        debug_assert!(matches!(self.slots.get(index), Some(Slot::Waiting | Slot::Muted)));
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot::Ready { start, end: self.dropped + self.stash.buf.len() };
        }
        next
    }

    /// Moves the ready replies at the front into `out`.
    fn release(&mut self, out: &mut Out) {
        while let Some(Slot::Ready { start, end }) = self.slots.front() {
            let range = start - self.dropped..end - self.dropped;
            // Replies are stashed in any order, so a reply's attachments are found by offset.
            let first = self.stash.attached.partition_point(|(offset, _)| *offset < range.start);
            out.append_range(&self.stash, range, first);
            self.slots.pop_front();
            self.head = self.head.wrapping_add(1);
        }
        if self.slots.is_empty() {
            self.stash.clear();
            self.dropped = 0;
            self.awaits_data = false;
        } else if self.stash.buf.len() > COMPACT_BYTES {
            self.compact();
        }
    }

    /// Drops from the stash what lies before every reply that is still in it.
    fn compact(&mut self) {
        let oldest = self.slots.iter().filter_map(|slot| match slot {
            Slot::Waiting | Slot::Muted => None,
            Slot::Ready { start, .. } => Some(*start),
        });
        let keep_from = oldest.min().unwrap_or(self.dropped + self.stash.buf.len()) - self.dropped;
        if keep_from < self.stash.buf.len() / 2 {
            return;
        }
        self.stash.buf.drain(..keep_from);
        self.stash.attached.retain_mut(|(offset, _)| {
            let keep = *offset >= keep_from;
            *offset = offset.saturating_sub(keep_from);
            keep
        });
        self.dropped += keep_from;
    }

    /// Gives back memory that an idle connection does not need.
    pub fn shed(&mut self) {
        if self.slots.is_empty() {
            *self = Replies { head: self.head, ..Replies::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[test]
    fn local_replies_wait_for_remote_ones() {
        let mut replies = Replies::default();
        let mut out = Out::default();
        let first = replies.wait(false);
        replies.stash(|stash| stash.buf.extend_from_slice(b"two "));
        let third = replies.wait(false);
        let answer = Out { buf: b"three one ".to_vec(), attached: Vec::new() };
        replies.answer(third, &answer, 0..6, 0, &mut out);
        assert!(out.is_empty());
        replies.answer(first, &answer, 6..10, 0, &mut out);
        assert_eq!(out.buf, b"one two three ");
        assert!(replies.is_empty());
    }

    proptest! {
        /// Whatever order the answers come in, and however long the queue never runs empty, replies leave in order and whole.
        #[test]
        fn replies_leave_in_order(steps in prop::collection::vec((any::<bool>(), 0usize..5, any::<bool>()), 1..200), seed in any::<u64>()) {
            let mut replies = Replies::default();
            let mut out = Out::default();
            let mut waiting = Vec::new();
            let (mut expected, mut count) = (Vec::new(), 0u32);
            let mut random = seed;
            let text = |n: u32| format!("<{n}>").into_bytes();
            for (remote, answers, big) in steps {
                let body = text(count);
                let whole = |body: &[u8]| Out {
                    buf: body.to_vec(),
                    attached: if big { vec![(1, Bytes::copy_from_slice(b"big"))] } else { Vec::new() },
                };
                let reply = whole(&body);
                expected.push((body.clone(), big));
                count += 1;
                if remote {
                    waiting.push((replies.wait(false), reply));
                } else if replies.is_empty() {
                    out.append_range(&reply, 0..body.len(), 0);
                } else {
                    replies.stash(|stash| { stash.append_range(&reply, 0..body.len(), 0); });
                }
                for _ in 0..answers {
                    if waiting.is_empty() { break }
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let (sequence, reply) = waiting.swap_remove((random >> 33) as usize % waiting.len());
                    let len = reply.buf.len();
                    replies.answer(sequence, &reply, 0..len, 0, &mut out);
                }
            }
            for (sequence, reply) in waiting {
                let len = reply.buf.len();
                replies.answer(sequence, &reply, 0..len, 0, &mut out);
            }
            prop_assert!(replies.is_empty());
            let flat = |out: &Out| {
                let (mut bytes, mut from) = (Vec::new(), 0);
                for (offset, big) in &out.attached {
                    bytes.extend_from_slice(&out.buf[from..*offset]);
                    bytes.extend_from_slice(big);
                    from = *offset;
                }
                bytes.extend_from_slice(&out.buf[from..]);
                bytes
            };
            let wanted: Vec<u8> = expected.iter().flat_map(|(body, big)| {
                let mut bytes = body[..1].to_vec();
                if *big { bytes.extend_from_slice(b"big"); }
                bytes.extend_from_slice(&body[1..]);
                bytes
            }).collect();
            prop_assert_eq!(flat(&out), wanted);
        }
    }
}
