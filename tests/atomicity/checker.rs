//! Whether a history is strictly serialisable: whether its commands can be put in one order that agrees with what was replied, and
//! in which no command stands before one that was answered before it was sent.
//!
//! The search is that of Wing and Gong with the memory of Lowe: depth first over the commands that may come next, remembering pairs
//! of (commands done, state) that led nowhere. It is exact; what keeps it short is
//! - a command that may come next, and replied what it would reply now and what proves that it changed nothing, comes next without a
//!   choice: it can stand there in every order in which it stands later
//! - a write that would wipe out a value that a later reply still shows is never tried (values are unique, see `model`), nor one
//!   that would touch what a transaction watches that is known to have gone through
//! - WATCH of a transaction that went through comes as late as it may, WATCH of one that was aborted as early as it may
//!
//! A search that takes too many steps decides nothing, and says so.

use crate::model::{Cmd, Data, Id, NONE, Out, SLOTS, Slots, Values, is_sink};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// States that a search may visit. A window of a correct server takes some hundreds to some thousands.
pub const BUDGET: usize = 3_000_000;
pub const MOST_CLIENTS: usize = 64;

/// One command of a history.
#[derive(Clone, Debug)]
pub struct Op {
    pub client: usize,
    pub database: u8,
    pub cmd: Cmd,
    /// Places in one order of all sendings and receivings. No reply (of a client that was killed) is none.
    pub sent: u64,
    pub answered: Option<u64>,
    /// What was replied. Without a reply the command may have taken effect or not.
    pub out: Option<Out>,
    /// Commands of the same pipeline that take effect before this one, by their places in the history.
    pub after: Vec<usize>,
    /// The WATCH that an EXEC stands under.
    pub watch: Option<usize>,
}

impl Op {
    fn deadline(&self) -> u64 {
        self.answered.unwrap_or(u64::MAX)
    }

    fn optional(&self) -> bool {
        self.out.is_none()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order, found after so many steps.
    Serialisable(usize),
    /// There is none; the longest start of one that was found.
    Violation(Vec<usize>),
    /// The budget is used up.
    Undecided(Vec<usize>),
}

#[derive(Clone, Copy)]
struct State {
    data: Data,
    /// What each client watches.
    watched: [Slots; MOST_CLIENTS],
    /// Clients of which a watched key was touched, a bit each.
    broken: u64,
    /// Clients whose transaction under way is known to have gone through, a bit each: none of what they watch may be touched.
    held: u64,
    /// How many of the late WATCHes are in force.
    late: usize,
}

/// What becomes of a WATCH.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not a WATCH, or one whose transaction told nothing.
    None,
    Held,
    Broken,
}

struct Search<'a> {
    ops: &'a [Op],
    values: &'a mut Values,
    fates: Vec<Fate>,
    /// The commands yet to be placed, by `sent`, as a list with the head at `ops.len()`.
    next: Vec<usize>,
    prev: Vec<usize>,
    done: Vec<bool>,
    /// WATCHes that come as late as they may, by `answered`; they are not in the list.
    late: Vec<usize>,
    /// The values that the reply of each command shows.
    needs: Vec<Vec<Id>>,
    /// How many commands yet to be placed show a value, by its id.
    needed: Vec<u32>,
    left: usize,
    marks: Vec<u128>,
    done_mark: u128,
    seen: HashSet<u128>,
    budget: usize,
    order: Vec<usize>,
    longest: Vec<usize>,
}

/// Judges a history that starts from `start`.
pub fn check(ops: &[Op], start: &Data, values: &mut Values, budget: usize) -> Verdict {
    let mut search = Search::new(ops, values, budget);
    let state = State { data: *start, watched: [0; MOST_CLIENTS], broken: 0, held: 0, late: 0 };
    if search.explore(state) {
        Verdict::Serialisable(search.seen.len())
    } else if search.seen.len() >= budget {
        Verdict::Undecided(search.longest)
    } else {
        Verdict::Violation(search.longest)
    }
}

fn fates(ops: &[Op]) -> Vec<Fate> {
    let mut fates = vec![Fate::None; ops.len()];
    for op in ops {
        if let Some(watch) = op.watch {
            fates[watch] = match op.out {
                Some(Out::Aborted) => Fate::Broken,
                Some(Out::List(_)) => Fate::Held,
                _ => Fate::None,
            };
        }
    }
    fates
}

/// The values that must be there when a command runs, since its reply shows them.
fn shown(op: &Op, values: &Values) -> Vec<Id> {
    let mut ids = Vec::new();
    let mut note = |key: u8, out: &Out| {
        if let Out::Value(id) = out
            && !is_sink(key as usize)
            && values.unique(*id)
        {
            ids.push(*id);
        }
    };
    let mut one = |cmd: &Cmd, out: &Out| match (cmd, out) {
        (Cmd::Get(key) | Cmd::GetSet(key, _) | Cmd::GetDel(key), out) => note(*key, out),
        (Cmd::MGet(keys), Out::List(items)) => keys.iter().zip(items).for_each(|(key, item)| note(*key, item)),
        _ => {}
    };
    match (&op.cmd, &op.out) {
        // What a block reads behind its first write, it may have written itself.
        (Cmd::Exec(cmds), Some(Out::List(items))) => {
            let first_write = cmds.iter().position(|cmd| !cmd.only_looks()).unwrap_or(cmds.len());
            cmds.iter().zip(items).take(first_write + 1).for_each(|(cmd, item)| one(cmd, item));
        }
        (Cmd::Snapshot, Some(Out::Values(data))) => {
            ids.extend((0..SLOTS).filter(|&s| !is_sink(s)).map(|s| data[s]).filter(|&id| values.unique(id)));
        }
        (cmd, Some(out)) => one(cmd, out),
        (_, None) => {}
    }
    ids
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op], values: &'a mut Values, budget: usize) -> Search<'a> {
        let fates = fates(ops);
        let needs: Vec<Vec<Id>> = ops.iter().map(|op| shown(op, values)).collect();
        let mut needed = vec![0; values.count()];
        needs.iter().flatten().for_each(|&id| needed[id as usize] += 1);

        let mut late: Vec<usize> = (0..ops.len()).filter(|&i| fates[i] == Fate::Held).collect();
        late.sort_by_key(|&i| ops[i].deadline());
        let mut listed: Vec<usize> = (0..ops.len()).filter(|&i| fates[i] != Fate::Held).collect();
        listed.sort_by_key(|&i| ops[i].sent);
        let head = ops.len();
        let (mut next, mut prev) = (vec![head; head + 1], vec![head; head + 1]);
        let mut last = head;
        for &i in &listed {
            (next[last], prev[i]) = (i, last);
            last = i;
        }
        (next[last], prev[head]) = (head, last);

        let mut done = vec![false; ops.len()];
        late.iter().for_each(|&i| done[i] = true);
        Search {
            ops,
            values,
            left: listed.iter().filter(|&&i| !ops[i].optional()).count(),
            fates,
            next,
            prev,
            done,
            late,
            needs,
            needed,
            marks: (0..ops.len()).map(|i| fingerprint(&i)).collect(),
            done_mark: 0,
            seen: HashSet::new(),
            budget,
            order: Vec::new(),
            longest: Vec::new(),
        }
    }

    /// The commands that may come next: those sent before any that is left was answered.
    fn candidates(&self) -> Vec<usize> {
        let mut found = Vec::new();
        let mut first_answer = u64::MAX;
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && self.ops[at].sent < first_answer {
            if self.ops[at].after.iter().all(|&before| self.done[before]) {
                found.push(at);
            }
            first_answer = first_answer.min(self.ops[at].deadline());
            at = self.next[at];
        }
        found
    }

    fn take(&mut self, i: usize) {
        let (before, behind) = (self.prev[i], self.next[i]);
        (self.next[before], self.prev[behind]) = (behind, before);
        self.done[i] = true;
        self.done_mark ^= self.marks[i];
        self.left -= usize::from(!self.ops[i].optional());
        self.needs[i].iter().for_each(|&id| self.needed[id as usize] -= 1);
        self.order.push(i);
        if self.order.len() > self.longest.len() {
            self.longest.clone_from(&self.order);
        }
    }

    /// Undoes the last `take`.
    fn put_back(&mut self) {
        let Some(i) = self.order.pop() else { return };
        let (before, behind) = (self.prev[i], self.next[i]);
        (self.next[before], self.prev[behind]) = (i, i);
        self.done[i] = false;
        self.done_mark ^= self.marks[i];
        self.left += usize::from(!self.ops[i].optional());
        self.needs[i].iter().for_each(|&id| self.needed[id as usize] += 1);
    }

    /// Puts the late WATCHes in force that were answered before `op` was sent; whether there were any.
    fn put_in_force(&self, state: &mut State, op: &Op) -> bool {
        let before = state.late;
        while let Some(&watch) = self.late.get(state.late).filter(|&&w| self.ops[w].deadline() < op.sent) {
            let op = &self.ops[watch];
            state.watched[op.client] = op.cmd.slots(op.database);
            state.held |= 1 << op.client;
            state.late += 1;
        }
        state.late != before
    }

    /// The state behind a command, and whether it is one that needs no choice; nothing if it cannot come next.
    fn step(&mut self, i: usize, from: &State) -> Option<(State, bool)> {
        let (ops, client) = (self.ops, self.ops[i].client);
        let op = &ops[i];
        let mut state = *from;
        let in_force = self.put_in_force(&mut state, op);
        if op.out == Some(Out::Aborted) {
            let broken = op.watch.is_some() && state.broken & (1 << client) != 0;
            state.broken &= !(1 << client);
            state.watched[client] = 0;
            return broken.then_some((state, !in_force));
        }
        if self.fates[i] == Fate::Broken {
            state.watched[client] = op.cmd.slots(op.database);
            return Some((state, !in_force));
        }
        if op.watch.is_some_and(|watch| self.fates[watch] == Fate::Held) {
            state.watched[client] = 0;
            state.held &= !(1 << client);
        }
        let touched = op.cmd.run(op.database, &mut state.data, self.values, op.out.as_ref())?;
        if touched == 0 {
            // One that might do something later, and reply the same or nothing, is kept in hand.
            let idle = op.out.as_ref().map_or(op.cmd.only_looks(), |out| op.cmd.changed_nothing(out));
            return Some((state, !in_force && idle));
        }
        let possible = Self::touch(&mut state, touched) && self.keeps_what_is_needed(i, from, &state, touched);
        possible.then_some((state, false))
    }

    /// Breaks the transactions that watch what was touched; whether none of them has gone through.
    fn touch(state: &mut State, touched: Slots) -> bool {
        for (client, _) in state.watched.iter().enumerate().filter(|(_, watched)| **watched & touched != 0) {
            state.broken |= 1 << client;
        }
        state.broken & state.held == 0
    }

    fn keeps_what_is_needed(&self, i: usize, from: &State, to: &State, touched: Slots) -> bool {
        (0..SLOTS).filter(|&slot| touched & (1 << slot) != 0 && !is_sink(slot)).all(|slot| {
            let id = from.data[slot];
            if id == NONE || !self.values.unique(id) {
                return true;
            }
            let own = self.needs[i].iter().filter(|&&n| n == id).count() as u32;
            let needed = self.needed.get(id as usize).is_some_and(|&n| n > own);
            !needed || (0..SLOTS).any(|s| !is_sink(s) && to.data[s] == id)
        })
    }

    /// Places all that needs no choice; how many those were.
    fn absorb(&mut self, state: &mut State) -> usize {
        let before = self.order.len();
        loop {
            let placed = self.order.len();
            for i in self.candidates() {
                if let Some((behind, true)) = self.step(i, state) {
                    *state = behind;
                    self.take(i);
                }
            }
            if self.order.len() == placed {
                return placed - before;
            }
        }
    }

    fn explore(&mut self, mut state: State) -> bool {
        let absorbed = self.absorb(&mut state);
        if self.left == 0 {
            return true;
        }
        let mark = self.done_mark ^ fingerprint(&(state.data, state.broken));
        if self.seen.len() < self.budget && self.seen.insert(mark) {
            let mut branches: Vec<usize> = self.candidates();
            branches.sort_by_key(|&i| (self.ops[i].optional(), self.ops[i].deadline()));
            for i in branches {
                let Some((behind, _)) = self.step(i, &state) else { continue };
                self.take(i);
                if self.explore(behind) {
                    return true;
                }
                self.put_back();
            }
        }
        (0..absorbed).for_each(|_| self.put_back());
        false
    }
}

fn fingerprint(of: &impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, of).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
