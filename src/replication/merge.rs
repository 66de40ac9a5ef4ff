//! The logs of all cores, in the one order of their numbers.
//!
//! Invariants
//! - batches come out in ascending order without a gap: what arrives early waits for those before it
//! - every number comes exactly once. A second batch with the same number, or one that is already out, means that two cores were given one
//!   place in the order: nothing that follows could be trusted, so the process ends
//! - what waits is bounded by what the cores may have on the way (`log::BEHIND_BYTES`), as each batch has at least one command
//!
//! Knows nothing of offsets or replicas.

use std::collections::VecDeque;

use super::log::LogBatch;

/// How far ahead of the next number a batch may be. Far beyond what [`super::log::BEHIND_BYTES`] of the smallest batches make: only a broken
/// number gets there.
const MAX_AHEAD: u64 = 1 << 22;

/// Puts batches into the order of their numbers.
#[derive(Debug, Default)]
pub struct Merge {
    /// The number that comes out next: that of `waiting[0]`.
    next: u64,
    /// Indexed by the distance to `next`; a gap is `None`. The last one is there.
    #[allow(clippy::vec_box)] // they arrive boxed
    waiting: VecDeque<Option<Box<LogBatch>>>,
}

impl Merge {
    /// The number that comes out next: all before are out.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Takes a batch in.
    pub fn push(&mut self, batch: Box<LogBatch>) {
        let number = batch.number;
        assert!(number >= self.next, "log batch {number} came after batch {} was merged", self.next);
        let ahead = number - self.next;
        assert!(ahead <= MAX_AHEAD, "log batch {number} came while batch {} is to be merged", self.next);
        let place = ahead as usize;
        if self.waiting.len() <= place {
            self.waiting.resize_with(place + 1, || None);
        }
        let before = self.waiting[place].replace(batch);
        assert!(before.is_none(), "two log batches have the number {number}");
    }

    /// The next batch, if it is here.
    pub fn pop(&mut self) -> Option<Box<LogBatch>> {
        let batch = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.next += 1;
        Some(batch)
    }

    /// Batches that wait for one before them.
    pub fn waiting(&self) -> usize {
        self.waiting.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(number: u64) -> Box<LogBatch> {
        let mut batch = LogBatch { number, ..LogBatch::default() };
        batch.words(0, &[b"DEL", number.to_string().as_bytes()]);
        Box::new(batch)
    }

    #[test]
    fn a_gap_waits() {
        let mut merge = Merge::default();
        merge.push(batch(1));
        merge.push(batch(2));
        assert!(merge.pop().is_none());
        assert_eq!((merge.next_number(), merge.waiting()), (0, 2));
        merge.push(batch(0));
        let out: Vec<u64> = std::iter::from_fn(|| merge.pop()).map(|batch| batch.number).collect();
        assert_eq!(out, [0, 1, 2]);
        assert_eq!((merge.next_number(), merge.waiting()), (3, 0));
    }

    #[test]
    #[should_panic(expected = "two log batches have the number 1")]
    fn a_number_that_waits_is_not_taken_again() {
        let mut merge = Merge::default();
        merge.push(batch(1));
        merge.push(batch(1));
    }

    #[test]
    #[should_panic(expected = "came after batch 1 was merged")]
    fn a_number_that_is_out_is_not_taken_again() {
        let mut merge = Merge::default();
        merge.push(batch(0));
        assert!(merge.pop().is_some());
        merge.push(batch(0));
    }

    proptest! {
        /// Whatever the order of arrival, and whenever it is looked, the numbers come out as they were taken.
        #[test]
        fn any_order_of_arrival_comes_out_in_order(
            order in Just((0..64u64).collect::<Vec<_>>()).prop_shuffle(),
            looks in prop::collection::vec(any::<bool>(), 64),
        ) {
            let mut merge = Merge::default();
            let mut out = Vec::new();
            let mut arrived = [false; 64];
            for (number, looks) in order.into_iter().zip(looks) {
                merge.push(batch(number));
                arrived[number as usize] = true;
                if looks {
                    out.extend(std::iter::from_fn(|| merge.pop()));
                    let expected = arrived.iter().position(|arrived| !arrived).unwrap_or(64);
                    prop_assert_eq!(out.len(), expected);
                    prop_assert_eq!(merge.next_number(), expected as u64);
                }
            }
            out.extend(std::iter::from_fn(|| merge.pop()));
            prop_assert!(out.iter().map(|batch| batch.number).eq(0..64));
            prop_assert!(out.iter().all(|out| out.bytes == batch(out.number).bytes));
        }
    }
}
