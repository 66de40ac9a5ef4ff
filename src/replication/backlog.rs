//! The end of the replication stream, kept for replicas that come back, and what is still to be sent to those that are here.
//!
//! All replicas and the backlog share the same bytes: blocks that are full are counted references, so a slow replica costs the memory of
//! what it has not read once, however many of them there are.
//!
//! Invariants
//! - blocks follow each other without a gap: the first byte of one is the byte behind the last of the one before
//! - at least the last `size` bytes are kept, once there were so many
//! - nothing behind the position given to [`Backlog::trim`] is dropped
//!
//! Positions are offsets: after `n` bytes of the stream the position is `n`.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::resp::{ATTACH_MIN_BYTES, Out};

/// The smallest and the largest block. A block is a sixteenth of the backlog where that is between, so that not much more than `size` is kept.
const MIN_BLOCK_BYTES: usize = 16 << 10;
const MAX_BLOCK_BYTES: usize = 64 << 10;

/// `repl-backlog-size` is at least this (Redis's `CONFIG_REPL_BACKLOG_MIN_SIZE`).
pub const MIN_SIZE: u64 = 16 << 10;

struct Block {
    start: u64,
    bytes: Bytes,
    /// What the block takes of memory.
    capacity: usize,
}

impl Block {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The last bytes of the stream.
pub struct Backlog {
    size: u64,
    /// Blocks that no longer change.
    blocks: VecDeque<Block>,
    blocks_capacity: usize,
    /// The block that is being filled. Its capacity is its final size.
    tail: Vec<u8>,
    tail_start: u64,
}

impl Backlog {
    /// An empty backlog that goes on at `position`.
    pub fn new(size: u64, position: u64) -> Backlog {
        Backlog {
            size: size.max(MIN_SIZE),
            blocks: VecDeque::new(),
            blocks_capacity: 0,
            tail: Vec::new(),
            tail_start: position,
        }
    }

    /// `repl-backlog-size`.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes effect with the next [`Backlog::trim`].
    pub fn set_size(&mut self, size: u64) {
        self.size = size.max(MIN_SIZE);
    }

    /// The position of the first byte that is kept.
    pub fn start(&self) -> u64 {
        self.blocks.front().map_or(self.tail_start, |block| block.start)
    }

    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    /// How many bytes are kept.
    pub fn histlen(&self) -> u64 {
        self.end() - self.start()
    }

    /// Memory of the blocks, in bytes.
    pub fn memory(&self) -> usize {
        self.blocks_capacity + self.tail.capacity() + self.blocks.capacity() * size_of::<Block>()
    }

    fn block_bytes(&self) -> usize {
        ((self.size / 16) as usize).clamp(MIN_BLOCK_BYTES, MAX_BLOCK_BYTES)
    }

    /// Appends a copy of `bytes`.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.tail.capacity() == 0 {
                self.tail = Vec::with_capacity(self.block_bytes());
            }
            let room = (self.tail.capacity() - self.tail.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            self.tail.extend_from_slice(now);
            bytes = rest;
            if self.tail.len() == self.tail.capacity() {
                self.seal();
            }
        }
    }

    /// Appends `bytes`, which become a block of their own if there are enough of them.
    pub fn append_owned(&mut self, bytes: Vec<u8>) {
        // Of a larger one too much would be kept for too few bytes that are needed.
        let range = MIN_BLOCK_BYTES..=(self.size / 4).max(MAX_BLOCK_BYTES as u64) as usize;
        if !range.contains(&bytes.len()) || bytes.capacity() > bytes.len() + bytes.len() / 2 {
            return self.append(&bytes);
        }
        self.seal();
        self.push(bytes);
    }

    /// Ends the block that is being filled.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            self.push(tail);
        }
    }

    fn push(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.tail.is_empty());
        let capacity = bytes.capacity();
        let block = Block { start: self.tail_start, bytes: Bytes::from(bytes), capacity };
        self.tail_start = block.end();
        self.blocks_capacity += capacity;
        self.blocks.push_back(block);
    }

    /// Drops what is neither among the last `size` bytes nor behind `needed`, in whole blocks.
    pub fn trim(&mut self, needed: u64) {
        let end = self.end();
        while let Some(first) = self.blocks.front()
            && first.end() <= needed
            && end - first.end() >= self.size
        {
            self.blocks_capacity -= first.capacity;
            self.blocks.pop_front();
        }
    }

    /// Appends up to `max` bytes from `position` on to `out`, whole blocks without a copy; how many. `position` is one that is kept.
    pub fn read(&self, position: u64, max: usize, out: &mut Out) -> usize {
        assert!((self.start()..=self.end()).contains(&position), "position {position} of the stream is not kept");
        let mut taken = 0;
        let first = self.blocks.partition_point(|block| block.end() <= position);
        for block in self.blocks.iter().skip(first) {
            let from = (position + taken as u64 - block.start) as usize;
            let len = (block.bytes.len() - from).min(max - taken);
            if len >= ATTACH_MIN_BYTES {
                out.attached.push((out.buf.len(), block.bytes.slice(from..from + len)));
            } else {
                out.buf.extend_from_slice(&block.bytes[from..from + len]);
            }
            taken += len;
            if taken == max {
                return taken;
            }
        }
        // What is being filled cannot be shared yet.
        let from = (position + taken as u64 - self.tail_start) as usize;
        let len = (self.tail.len() - from).min(max - taken);
        out.buf.extend_from_slice(&self.tail[from..from + len]);
        taken + len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that a send of `out` would put on the wire.
    fn flat(out: &Out) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut from = 0;
        for (offset, attached) in &out.attached {
            bytes.extend_from_slice(&out.buf[from..*offset]);
            bytes.extend_from_slice(attached);
            from = *offset;
        }
        bytes.extend_from_slice(&out.buf[from..]);
        bytes
    }

    fn read(backlog: &Backlog, position: u64, max: usize) -> Vec<u8> {
        let mut out = Out::default();
        let taken = backlog.read(position, max, &mut out);
        assert_eq!(taken, out.len());
        flat(&out)
    }

    fn byte(position: u64) -> u8 {
        (position % 251) as u8
    }

    fn bytes(from: u64, len: usize) -> Vec<u8> {
        (from..from + len as u64).map(byte).collect()
    }

    #[test]
    fn it_keeps_its_size_and_not_much_more() {
        let mut backlog = Backlog::new(1 << 20, 5);
        assert_eq!((backlog.start(), backlog.end(), backlog.histlen()), (5, 5, 0));
        for _ in 0..5000 {
            let end = backlog.end();
            backlog.append(&bytes(end, 1000));
            backlog.trim(end);
        }
        assert_eq!(backlog.end(), 5_000_005);
        let size = 1 << 20;
        assert!((size..size + 2 * MAX_BLOCK_BYTES as u64).contains(&backlog.histlen()), "{}", backlog.histlen());
        assert!(backlog.memory() < size as usize + 3 * MAX_BLOCK_BYTES);
        assert_eq!(read(&backlog, backlog.start(), usize::MAX), bytes(backlog.start(), backlog.histlen() as usize));
    }

    #[test]
    fn what_a_replica_needs_is_kept_whatever_the_size() {
        let mut backlog = Backlog::new(MIN_SIZE, 0);
        for _ in 0..1000 {
            backlog.append(&bytes(backlog.end(), 1000));
            backlog.trim(3000);
        }
        assert!(backlog.start() <= 3000);
        assert_eq!(read(&backlog, 3000, 100), bytes(3000, 100));
        backlog.trim(backlog.end());
        assert!(backlog.start() > 900_000);
    }

    #[test]
    fn a_smaller_size_takes_effect_with_the_next_trim() {
        let mut backlog = Backlog::new(1 << 20, 0);
        backlog.append(&bytes(0, 1 << 20));
        backlog.set_size(1);
        assert_eq!(backlog.size(), MIN_SIZE);
        backlog.trim(backlog.end());
        assert!(backlog.histlen() < MIN_SIZE + 2 * MAX_BLOCK_BYTES as u64);
    }

    #[test]
    fn large_pieces_become_blocks_and_are_sent_without_a_copy() {
        let mut backlog = Backlog::new(1 << 20, 0);
        backlog.append(b"head");
        let large = bytes(4, 100_000);
        let at = large.as_ptr();
        backlog.append_owned(large);
        backlog.append(&bytes(100_004, 10));
        let mut out = Out::default();
        backlog.read(4, usize::MAX, &mut out);
        assert_eq!(out.attached[0].1.as_ptr(), at);
        assert_eq!(flat(&out), bytes(4, 100_010));
    }

    #[test]
    #[should_panic(expected = "is not kept")]
    fn a_position_beyond_the_end_is_not_read() {
        Backlog::new(1, 10).read(11, 1, &mut Out::default());
    }

    proptest! {
        /// Against a plain vector: whatever is appended, trimmed and resized, what is kept is the end of the stream.
        #[test]
        fn it_is_the_end_of_the_stream(
            start in 0u64..1000,
            steps in prop::collection::vec((0usize..50_000, any::<bool>(), 0u64..200_000, 0u64..400_000, 1usize..100_000), 1..40),
        ) {
            let mut backlog = Backlog::new(MIN_SIZE, start);
            let mut needed = start;
            let mut droppable = start;
            for (len, owned, size, ahead, max) in steps {
                let end = backlog.end();
                if owned { backlog.append_owned(bytes(end, len)) } else { backlog.append(&bytes(end, len)) }
                prop_assert_eq!(backlog.end(), end + len as u64);
                backlog.set_size(size);
                needed = (needed + ahead).min(backlog.end());
                backlog.trim(needed);
                droppable = droppable.max(needed.min(backlog.end().saturating_sub(backlog.size())));
                prop_assert!(backlog.start() <= droppable);
                let from = backlog.start() + ahead % (backlog.histlen() + 1);
                let expected = (backlog.end() - from).min(max as u64) as usize;
                prop_assert_eq!(read(&backlog, from, max), bytes(from, expected));
            }
        }
    }
}
