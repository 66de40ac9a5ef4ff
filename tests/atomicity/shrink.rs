//! Makes a history that has no order shorter, until every command that is left is part of the reason.

use crate::checker::{Op, Verdict, check};
use crate::model::{Data, Values};

/// A part of a history that is not decided within so many states is kept as it is.
const BUDGET: usize = 3_000;

pub struct Core {
    pub ops: Vec<Op>,
    /// Those that matter; of the others it is enough that they may have run.
    pub matter: Vec<usize>,
}

pub fn shrink(ops: &[Op], start: &Data, values: &mut Values) -> Core {
    let mut violates = |ops: &[Op]| matches!(check(ops, start, values, BUDGET), Verdict::Violation(_));
    let mut best = earliest_end(ops, &mut violates);
    for i in (0..best.len()).rev() {
        let mut without = best.clone();
        forget(&mut without[i]);
        if violates(&without) {
            best = without;
        }
    }
    let matter = (0..best.len()).filter(|&i| best[i].out.is_some()).collect();
    Core { ops: best, matter }
}

/// The shortest beginning that violates: what is sent later is left out, what is answered later may have run or not.
fn earliest_end(ops: &[Op], violates: &mut impl FnMut(&[Op]) -> bool) -> Vec<Op> {
    let mut ends: Vec<u64> = ops.iter().filter_map(|op| op.answered).collect();
    ends.sort_unstable();
    let (mut low, mut high) = (0, ends.len() - 1);
    while low < high {
        let middle = (low + high) / 2;
        if violates(&until(ops, ends[middle])) { high = middle } else { low = middle + 1 }
    }
    until(ops, ends[high])
}

fn until(ops: &[Op], end: u64) -> Vec<Op> {
    let mut ops = ops.to_vec();
    for op in &mut ops {
        if op.sent > end {
            // As good as never sent: no order can begin with it.
            op.sent = u64::MAX;
        }
        if op.answered.is_none_or(|answered| answered > end) {
            forget(op);
        }
    }
    ops
}

fn forget(op: &mut Op) {
    op.answered = None;
    op.out = None;
}
