//! Walks in the order of positions: SCAN, KEYS, DIGEST.
//!
//! The cursor is the position to go on from, so a walk needs no memory of its own and splits and merges between calls change
//! nothing: what is present from start to end has one position, and every position is passed once.
//!
//! Guarantees
//! - keys of one position come together, so no cursor stands between them
//! - any number is a valid cursor: below the shard's range it means the start, above it the end
//! - a call visits `count` entries and those of the last one's position, and one segment's worth of hashing more
//!
//! Shards share the cursor space: a walk of the node goes on in the next shard at [`first_position`](super::first_position) of its first slot.

use super::entry::Entry;
use super::expiry::is_due;
use super::{Keyspace, Kind};

/// Where a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A cursor of this shard; never 0.
    At(u64),
    /// Everything in this shard was visited.
    End,
}

/// Segments without a visit that a call passes before it returns, for each entry it was asked for.
const EMPTY_SEGMENTS_PER_ENTRY: usize = 10;

impl Keyspace {
    /// SCAN: visits some `count` entries from the cursor on and tells keys and kinds of those that have not expired.
    pub fn scan(&self, db: usize, cursor: u64, count: usize, now_ms: u64, mut emit: impl FnMut(&[u8], Kind)) -> Next {
        self.walk(db, cursor, count, now_ms, |entry| emit(entry.key(), entry.kind()))
    }

    pub(super) fn walk(
        &self,
        db: usize,
        cursor: u64,
        count: usize,
        now_ms: u64,
        mut visit: impl FnMut(&Entry),
    ) -> Next {
        let table = &self.tables[db];
        let mut left = count.max(1);
        let mut empty_left = left.saturating_mul(EMPTY_SEGMENTS_PER_ENTRY);
        let mut at = table.enter(cursor);
        let mut sorted: Vec<(u64, &Entry)> = Vec::new();
        while let Some(local) = at {
            let (number, last) = table.segment_at(local);
            let segment = table.segment(number);
            sorted.clear();
            segment.iter().for_each(Entry::prefetch);
            let placed = segment.iter().map(|entry| (table.local(self.hasher.position(entry.key())), entry));
            sorted.extend(placed.filter(|(position, _)| *position >= local));
            sorted.sort_unstable_by_key(|(position, _)| *position);
            if sorted.is_empty() {
                empty_left -= 1;
            }
            for group in sorted.chunk_by(|a, b| a.0 == b.0) {
                if left == 0 {
                    return Next::At(table.global(group[0].0));
                }
                for (_, entry) in group {
                    if !entry.expire_at_ms().is_some_and(|at_ms| is_due(at_ms, now_ms)) {
                        visit(entry);
                    }
                }
                left = left.saturating_sub(group.len());
            }
            at = table.behind(last);
            if let Some(next) = at
                && (left == 0 || empty_left == 0)
            {
                return Next::At(table.global(next));
            }
        }
        Next::End
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
