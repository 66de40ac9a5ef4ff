//! Whether a history is strictly serialisable: whether its commands can be put in one order that agrees with what was replied, and
//! in which no command stands before one that was answered before it was sent.
//!
//! The search is that of Wing and Gong with the memory of Lowe: depth first over the commands that may come next, remembering pairs
//! of (commands done, state) that led nowhere. It is exact; what keeps it short is
//! - a command that may come next, and replied what it would reply now and what proves that it changed nothing, comes next without a
//!   choice: it can stand there in every order in which it stands later
//! - a write that would wipe out a value that a later reply still shows is never tried (values are unique, see `model`), nor one
//!   that would touch what a transaction watches that is known to have gone through
//! - a state from which one of the next replies cannot come about any more is left at once
//! - of the commands that may come next only those are tried whose turn matters to the one that must be answered first, or to one
//!   whose turn matters to that one, and so on (a stubborn set)
//! - WATCH of a transaction that went through comes as late as it may, WATCH of one that was aborted as early as it may
//!
//! A search that takes too many steps decides nothing, and says so.

use crate::common::Rng;
use crate::facts::Facts;
use crate::model::{Cmd, Data, Id, NONE, Out, SLOTS, Slots, Values, is_sink};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// States that a search may visit. A window of a correct server takes some hundreds to some thousands.
pub const BUDGET: usize = 3_000_000;
/// States of the first attempt; each further one may visit twice as many. One that is stuck behind a bad choice made early would
/// take ages to come back to it, where another order of trying finds its way at once.
const FIRST_BUDGET: usize = 2_000;
/// How far, in the order of events, the further attempts deviate from trying first what was answered first.
const DEVIATION: usize = 30;
/// Commands, in the order they were sent, whose replies are looked at ahead of their turn.
const LOOK_AHEAD: usize = 48;
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
    /// Which commands are tried first: the lowest.
    turns: Vec<u64>,
    facts: Vec<Facts>,
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
    let mut states = 0;
    let mut longest = Vec::new();
    let mut portion = FIRST_BUDGET;
    for attempt in 0.. {
        let mut search = Search::new(ops, values, portion.min(budget - states), attempt);
        let state = State { data: *start, watched: [0; MOST_CLIENTS], broken: 0, held: 0, late: 0 };
        let found = search.explore(state);
        states += search.seen.len();
        if search.longest.len() > longest.len() {
            longest = search.longest;
        }
        if found {
            return Verdict::Serialisable(states);
        } else if search.seen.len() < search.budget {
            return Verdict::Violation(longest);
        } else if states == budget {
            break;
        }
        portion *= 2;
    }
    Verdict::Undecided(longest)
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

impl<'a> Search<'a> {
    fn new(ops: &'a [Op], values: &'a mut Values, budget: usize, attempt: u64) -> Search<'a> {
        let fates = fates(ops);
        let facts: Vec<Facts> = ops.iter().map(|op| Facts::of(op, op.watch.map(|watch| &ops[watch]), values)).collect();
        let mut needed = vec![0; values.count()];
        facts.iter().flat_map(|facts| &facts.needs).for_each(|&(_, id)| needed[id as usize] += 1);

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
        let mut rng = Rng::new(attempt);
        let mut turn = |op: &Op| match attempt {
            0 => op.deadline(),
            _ => op.deadline().saturating_add(rng.below(DEVIATION) as u64),
        };
        Search {
            turns: ops.iter().map(&mut turn).collect(),
            ops,
            values,
            left: listed.iter().filter(|&&i| !ops[i].optional()).count(),
            fates,
            next,
            prev,
            done,
            late,
            facts,
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

    /// Those of the candidates that need to be tried: an order that exists can be rearranged to begin with one of them.
    fn branches(&self, candidates: &[usize], state: &State) -> Vec<usize> {
        let Some(&first) = candidates.iter().min_by_key(|&&i| self.ops[i].deadline()) else { return Vec::new() };
        // Whatever comes before the first of the set comes before `first`, so it was sent before that was answered.
        let mut around = Vec::new();
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && self.ops[at].sent < self.ops[first].deadline() {
            around.push((at, self.looks_at(at, state)));
            at = self.next[at];
        }
        let mut set: Vec<usize> = vec![first];
        let mut grown = 0;
        around.retain(|&(i, _)| i != first);
        while let Some(&i) = set.get(grown) {
            grown += 1;
            let (looks_at, may_touch) = (self.looks_at(i, state), self.facts[i].may_touch);
            around.retain(|&(other, others_looks_at)| {
                let meet = may_touch & (others_looks_at | self.facts[other].may_touch)
                    | self.facts[other].may_touch & looks_at;
                let before = self.ops[other].deadline() < self.ops[i].sent || self.ops[i].after.contains(&other);
                if meet != 0 || before {
                    set.push(other);
                }
                meet == 0 && !before
            });
        }
        candidates.iter().copied().filter(|i| set.contains(i)).collect()
    }

    /// What a command depends on, with what the late WATCHes watch that come into force before it.
    fn looks_at(&self, i: usize, state: &State) -> Slots {
        let late = self.late[state.late..].iter().take_while(|&&watch| self.ops[watch].deadline() < self.ops[i].sent);
        late.fold(self.facts[i].looks_at, |a, &watch| a | self.ops[watch].cmd.slots(self.ops[watch].database))
    }

    fn take(&mut self, i: usize) {
        let (before, behind) = (self.prev[i], self.next[i]);
        (self.next[before], self.prev[behind]) = (behind, before);
        self.done[i] = true;
        self.done_mark ^= self.marks[i];
        self.left -= usize::from(!self.ops[i].optional());
        self.facts[i].needs.iter().for_each(|&(_, id)| self.needed[id as usize] -= 1);
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
        self.facts[i].needs.iter().for_each(|&(_, id)| self.needed[id as usize] += 1);
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
            let own = self.facts[i].needs.iter().filter(|&&(_, n)| n == id).count() as u32;
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

    /// Whether each of the next replies can still come about: what it shows is there, or somebody may bring it.
    fn hopeful(&self, state: &State) -> bool {
        let mut looked = 0;
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && looked < LOOK_AHEAD {
            looked += 1;
            let missing = self.facts[at].needs.iter().filter(|&&(slot, id)| state.data[slot] != id);
            if missing.into_iter().any(|&(slot, id)| !self.may_come(at, slot, id)) {
                return false;
            }
            at = self.next[at];
        }
        true
    }

    /// Whether some command may run before `reader` and leave the slot so.
    fn may_come(&self, reader: usize, slot: usize, id: Id) -> bool {
        let mut at = self.next[self.ops.len()];
        while at != self.ops.len() && self.ops[at].sent < self.ops[reader].deadline() {
            if at != reader && self.facts[at].may_leave(slot, id) {
                return true;
            }
            at = self.next[at];
        }
        false
    }

    fn explore(&mut self, mut state: State) -> bool {
        let absorbed = self.absorb(&mut state);
        if self.left == 0 {
            return true;
        }
        let mark = self.done_mark ^ fingerprint(&(state.data, state.broken));
        if self.seen.len() < self.budget && self.hopeful(&state) && self.seen.insert(mark) {
            let mut branches = self.branches(&self.candidates(), &state);
            branches.sort_by_key(|&i| (self.ops[i].optional(), self.turns[i]));
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
