//! The checker itself, on histories made by hand: what it must find, and what it must let pass.

use crate::checker::{BUDGET, Op, Verdict, check};
use crate::common::conn::Reply;
use crate::model::{Cmd, NONE, Out, SLOTS, Values, heard};

const A: u8 = 0;
const B: u8 = 1;

/// A history under construction.
struct History {
    ops: Vec<Op>,
    values: Values,
}

impl History {
    fn new() -> History {
        History { ops: Vec::new(), values: Values::new() }
    }

    fn value(&mut self, text: &str) -> u32 {
        self.values.id(text.as_bytes())
    }

    /// A command sent and answered at these times, on a client of its own.
    fn op(&mut self, times: (u64, u64), cmd: Cmd, reply: Reply) -> usize {
        let out = heard(&cmd, &reply, &mut self.values);
        self.push(times.0, Some(times.1), cmd, Some(out))
    }

    /// A command of a client that was dropped.
    fn lost(&mut self, sent: u64, cmd: Cmd) -> usize {
        self.push(sent, None, cmd, None)
    }

    fn push(&mut self, sent: u64, answered: Option<u64>, cmd: Cmd, out: Option<Out>) -> usize {
        let client = self.ops.len();
        self.ops.push(Op { client, database: 0, cmd, sent, answered, out, after: Vec::new(), watch: None });
        client
    }

    fn set(&mut self, times: (u64, u64), key: u8, text: &str) -> usize {
        let id = self.value(text);
        self.op(times, Cmd::Set(key, id), ok())
    }

    fn get(&mut self, times: (u64, u64), key: u8, reply: Reply) -> usize {
        self.op(times, Cmd::Get(key), reply)
    }

    fn mset(&mut self, times: (u64, u64), texts: [&str; 2]) -> usize {
        let ids = texts.map(|text| self.value(text));
        self.op(times, Cmd::MSet(vec![(A, ids[0]), (B, ids[1])]), ok())
    }

    fn mget(&mut self, times: (u64, u64), replies: [Reply; 2]) -> usize {
        self.op(times, Cmd::MGet(vec![A, B]), Reply::Array(replies.to_vec()))
    }

    /// WATCH and EXEC of one client, with a SET of A in the block.
    fn transaction(&mut self, watch: (u64, u64), exec: (u64, u64), text: &str, done: bool) {
        let id = self.value(text);
        let watch = self.op(watch, Cmd::Watch(vec![A]), ok());
        let reply = if done { Reply::Array(vec![ok()]) } else { Reply::NilArray };
        let exec = self.op(exec, Cmd::Exec(vec![Cmd::Set(A, id)]), reply);
        self.ops[exec].client = self.ops[watch].client;
        self.ops[exec].watch = Some(watch);
    }

    fn verdict(&mut self) -> Verdict {
        check(&self.ops, &[NONE; SLOTS], &mut self.values, BUDGET)
    }

    #[track_caller]
    fn passes(mut self) {
        let verdict = self.verdict();
        assert!(matches!(verdict, Verdict::Serialisable(_)), "{verdict:?}");
    }

    #[track_caller]
    fn fails(mut self) {
        let verdict = self.verdict();
        assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}");
    }
}

fn ok() -> Reply {
    Reply::Simple(b"OK".to_vec())
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

const NIL: Reply = Reply::NilBulk;

#[test]
fn one_after_another() {
    let mut h = History::new();
    h.set((1, 2), A, "x;");
    h.get((3, 4), A, bulk("x;"));
    h.set((5, 6), A, "y;");
    h.get((7, 8), A, bulk("y;"));
    h.passes();
}

#[test]
fn a_read_may_fall_on_either_side_of_a_write_under_way() {
    for reply in [NIL, bulk("x;")] {
        let mut h = History::new();
        h.set((1, 10), A, "x;");
        h.get((2, 3), A, reply);
        h.passes();
    }
}

#[test]
fn a_stale_read_is_found() {
    let mut h = History::new();
    h.set((1, 2), A, "x;");
    h.get((3, 4), A, NIL);
    h.fails();
}

#[test]
fn a_value_seen_is_not_unseen() {
    let mut h = History::new();
    h.set((1, 10), A, "x;");
    h.get((2, 3), A, bulk("x;"));
    h.get((4, 5), A, NIL);
    h.fails();
}

#[test]
fn a_torn_mget_is_found() {
    let mut h = History::new();
    h.mset((1, 10), ["x1;", "x2;"]);
    h.mget((2, 3), [bulk("x1;"), NIL]);
    h.fails();
    let mut h = History::new();
    h.mset((1, 10), ["x1;", "x2;"]);
    h.mset((1, 10), ["y1;", "y2;"]);
    h.mget((2, 3), [bulk("y1;"), bulk("y2;")]);
    h.mget((4, 5), [bulk("x1;"), bulk("x2;")]);
    h.passes();
}

/// Each of two MGETs may have seen a write that the other has not, but not both of them.
#[test]
fn two_orders_at_once_are_found() {
    let mut h = History::new();
    h.set((1, 20), A, "x;");
    h.set((1, 20), B, "y;");
    h.mget((2, 10), [bulk("x;"), NIL]);
    h.mget((2, 10), [NIL, bulk("y;")]);
    h.fails();
}

#[test]
fn a_lost_update_is_found() {
    let mut h = History::new();
    h.op((1, 10), Cmd::Incr(A), Reply::Int(1));
    h.op((2, 9), Cmd::Incr(A), Reply::Int(1));
    h.fails();
    let mut h = History::new();
    h.op((1, 10), Cmd::Incr(A), Reply::Int(2));
    h.op((2, 9), Cmd::Incr(A), Reply::Int(1));
    h.passes();
}

#[test]
fn a_swap_takes_everything_along() {
    let mut h = History::new();
    h.mset((1, 2), ["x;", "y;"]);
    h.op((3, 9), Cmd::SwapDb, ok());
    h.mget((4, 5), [NIL, bulk("y;")]);
    h.fails();
}

#[test]
fn a_flush_in_halves_is_found() {
    let mut h = History::new();
    h.mset((1, 2), ["x;", "y;"]);
    h.op((3, 9), Cmd::FlushAll, ok());
    h.mget((4, 5), [bulk("x;"), NIL]);
    h.fails();
}

/// A flush replies the same whether there was anything or not; it must not be placed where it finds nothing just because it can be.
#[test]
fn a_flush_may_come_when_there_is_something() {
    let mut h = History::new();
    h.op((1, 10), Cmd::FlushAll, ok());
    h.set((2, 3), A, "x;");
    h.get((11, 12), A, NIL);
    h.passes();
}

#[test]
fn a_lost_command_took_effect_or_not() {
    for reply in [NIL, bulk("x;")] {
        let mut h = History::new();
        let id = h.value("x;");
        h.lost(1, Cmd::Set(A, id));
        h.get((5, 6), A, reply);
        h.passes();
    }
    let mut h = History::new();
    let id = h.value("x;");
    h.lost(1, Cmd::Set(A, id));
    h.get((5, 6), A, bulk("x;"));
    h.get((7, 8), A, NIL);
    h.fails();
}

/// The half of a lost MSET.
#[test]
fn a_lost_command_is_whole_all_the_same() {
    let mut h = History::new();
    let (x, y) = (h.value("x;"), h.value("y;"));
    h.lost(1, Cmd::MSet(vec![(A, x), (B, y)]));
    h.mget((5, 6), [bulk("x;"), NIL]);
    h.fails();
}

#[test]
fn what_is_watched_was_not_touched() {
    let mut h = History::new();
    h.transaction((1, 2), (7, 8), "t;", true);
    h.set((3, 4), A, "x;");
    h.fails();
    let mut h = History::new();
    h.transaction((1, 2), (7, 8), "t;", true);
    h.set((3, 9), A, "x;");
    h.get((10, 11), A, bulk("x;"));
    h.passes();
}

#[test]
fn a_transaction_is_not_aborted_for_nothing() {
    let mut h = History::new();
    h.transaction((1, 2), (7, 8), "t;", false);
    h.set((3, 4), B, "x;");
    h.fails();
    let mut h = History::new();
    h.transaction((1, 2), (7, 8), "t;", false);
    h.set((3, 4), A, "x;");
    h.passes();
}

/// Of two transactions that watch the same key and write it, one is aborted.
#[test]
fn both_of_two_transactions_cannot_go_through() {
    let mut h = History::new();
    h.transaction((1, 2), (5, 9), "t;", true);
    h.transaction((3, 4), (5, 9), "u;", true);
    h.fails();
}

#[test]
fn a_block_is_not_divided() {
    let mut h = History::new();
    let (x, y) = (h.value("x;"), h.value("y;"));
    let block = Cmd::Exec(vec![Cmd::Set(A, x), Cmd::Get(A), Cmd::Set(B, y)]);
    h.op((1, 10), block, Reply::Array(vec![ok(), bulk("z;"), ok()]));
    h.set((1, 10), A, "z;");
    h.fails();
    let mut h = History::new();
    let (x, y) = (h.value("x;"), h.value("y;"));
    let block = Cmd::Exec(vec![Cmd::Set(A, x), Cmd::Set(B, y)]);
    h.op((1, 10), block, Reply::Array(vec![ok(), ok()]));
    h.mget((2, 3), [NIL, bulk("y;")]);
    h.fails();
}

/// Commands of one pipeline on different cores may run in either order, those on the same key may not.
#[test]
fn a_pipeline_keeps_the_order_of_a_key() {
    let mut h = History::new();
    let first = h.set((1, 10), A, "x;");
    let second = h.set((1, 11), B, "y;");
    h.mget((2, 3), [NIL, bulk("y;")]);
    h.ops[second].after.clear();
    assert!(matches!(h.verdict(), Verdict::Serialisable(_)));
    h.ops[second].after.push(first);
    h.fails();
}

#[test]
fn a_reply_that_no_command_gives_is_found() {
    let mut h = History::new();
    h.get((1, 2), A, Reply::Error(b"ERR something else".to_vec()));
    h.fails();
}

/// A search that gets nowhere in its budget says so.
#[test]
fn a_budget_is_kept() {
    let mut h = History::new();
    for i in 0..30 {
        h.set((1, 100), A, &format!("{i};"));
    }
    h.op((101, 102), Cmd::Append(A, 1), Reply::Int(1));
    let verdict = check(&h.ops, &[NONE; SLOTS], &mut h.values, 10_000);
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
}
