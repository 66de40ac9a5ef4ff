//! The lock table of one core: which keys are locked, and who waits for them.
//!
//! Invariants
//! - a key has either one exclusive holder or any number of shared ones; so has the shard as a whole
//! - a request asks for everything it needs of this core in one step, and gets it when all that arrived before it and conflicts
//!   with it has left. So a request only ever waits for earlier ones: nothing deadlocks within a core, and nobody starves
//! - nobody overtakes a waiting request that it conflicts with: a reader behind a waiting writer waits
//! - a key is in the table only while somebody holds it or waits for it
//!
//! Each waiting request belongs to one client's command, so `maxclients` bounds the queues.
//!
//! Sans-I/O: knows nothing of commands, messages or entries. What a request is for is the `W` that comes back when it is granted.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

#[cfg(test)]
pub(super) mod model;
#[cfg(test)]
mod tests;

/// A key, as locks know it: a collision of hashes only makes two keys wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockKey {
    pub db: u16,
    pub slot: u16,
    pub hash: u64,
}

impl Hash for LockKey {
    /// The key's own hash is seeded and well mixed; the slot follows from the same bytes.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash ^ u64::from(self.db).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// Passes a [`LockKey`]'s hash through.
#[derive(Clone, Copy, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// How something is locked. The stronger is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Shared,
    Exclusive,
}

/// What a request wants of one core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    keys: Vec<(LockKey, Mode)>,
    whole: Option<Mode>,
}

impl Claims {
    pub fn new() -> Claims {
        Claims::default()
    }

    pub fn one(key: LockKey, mode: Mode) -> Claims {
        Claims { keys: vec![(key, mode)], whole: None }
    }

    /// All keys of the core, present or not.
    pub fn all(mode: Mode) -> Claims {
        Claims { keys: Vec::new(), whole: Some(mode) }
    }

    /// Adds a key. Of a key that is added twice the stronger mode counts.
    pub fn add(&mut self, key: LockKey, mode: Mode) {
        self.keys.push((key, mode));
    }

    /// Adds all keys of the core. Of two modes the stronger counts.
    pub fn add_all(&mut self, mode: Mode) {
        self.whole = self.whole.max(Some(mode));
    }

    /// The keys in the order they were added.
    pub fn keys(&self) -> &[(LockKey, Mode)] {
        &self.keys
    }

    /// How the shard as a whole is claimed.
    pub fn whole(&self) -> Option<Mode> {
        self.whole
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.whole.is_none()
    }

    /// Empties it for reuse.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.whole = None;
    }

    fn reach(&self) -> Reach {
        let exclusive = |mode: &Mode| *mode == Mode::Exclusive;
        Reach {
            whole: self.whole,
            writes: self.whole.iter().chain(self.keys.iter().map(|(_, mode)| mode)).any(exclusive),
        }
    }
}

/// What matters of a request to those that claim the whole shard.
#[derive(Clone, Copy, Debug)]
struct Reach {
    whole: Option<Mode>,
    /// Claims anything exclusively.
    writes: bool,
}

impl Reach {
    /// Whether one of two requests cannot run beside the other because it claims the whole shard.
    fn conflicts(self, other: Reach) -> bool {
        let covers = |a: Reach, b: Reach| match a.whole {
            Some(Mode::Exclusive) => true,
            Some(Mode::Shared) => b.writes,
            None => false,
        };
        covers(self, other) || covers(other, self)
    }
}

/// Names one request of one table, from when it was made until it is released or cancelled; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    index: u32,
    arrival: u64,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Acquired<W> {
    /// It holds everything it asked for.
    Now(Ticket, W),
    /// It waits: a later release or cancellation grants it.
    Later(Ticket),
}

/// One key that is held. Those in the queue wait for it; the first of them conflicts with who holds it.
#[derive(Default)]
struct KeyLock {
    readers: u32,
    writer: bool,
    queue: VecDeque<(u32, Mode)>,
}

impl KeyLock {
    fn is_free_for(&self, mode: Mode) -> bool {
        !self.writer && (mode == Mode::Shared || self.readers == 0)
    }

    /// A newcomer holds the key, or queues for it. Whether it holds it.
    fn enter(&mut self, index: u32, mode: Mode) -> bool {
        let free = self.queue.is_empty() && self.is_free_for(mode);
        if free {
            self.hold(mode);
        } else {
            self.queue.push_back((index, mode));
        }
        free
    }

    fn hold(&mut self, mode: Mode) {
        match mode {
            Mode::Shared => self.readers += 1,
            Mode::Exclusive => self.writer = true,
        }
    }

    fn let_go(&mut self, mode: Mode) {
        match mode {
            Mode::Shared => self.readers -= 1,
            Mode::Exclusive => self.writer = false,
        }
    }

    fn is_unused(&self) -> bool {
        self.readers == 0 && !self.writer && self.queue.is_empty()
    }
}

/// One request, or a place for one.
struct Request<W> {
    /// `None`: the place is free.
    arrival: Option<u64>,
    /// Each key once. Keeps its memory for the next request in this place.
    keys: Vec<(LockKey, Mode)>,
    reach: Reach,
    /// How many of its keys it does not hold yet, and how many earlier requests it conflicts with because either claims the whole
    /// shard. It is granted at zero.
    missing: usize,
    /// While it waits.
    waiter: Option<W>,
}

/// Places, keys and claims beyond so many are given back when the table falls idle.
const KEPT: usize = 1024;

pub struct LockTable<W> {
    keys: HashMap<LockKey, KeyLock, BuildHasherDefault<Hashed>>,
    requests: Vec<Request<W>>,
    free: Vec<u32>,
    /// Requests so far.
    arrivals: u64,
    active: usize,
    waiting: usize,
    /// The requests that claim the whole shard.
    whole: Vec<u32>,
}

impl<W> Default for LockTable<W> {
    fn default() -> Self {
        LockTable::new()
    }
}

impl<W> LockTable<W> {
    pub fn new() -> LockTable<W> {
        LockTable {
            keys: HashMap::default(),
            requests: Vec::new(),
            free: Vec::new(),
            arrivals: 0,
            active: 0,
            waiting: 0,
            whole: Vec::new(),
        }
    }

    /// Nothing is held and nobody waits.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.active == 0
    }

    /// Requests that hold or wait for something.
    pub fn len(&self) -> usize {
        self.active
    }

    pub fn is_empty(&self) -> bool {
        self.active == 0
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Keys that are held or waited for by name.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Whether a request for this key alone would be granted at once: nobody that conflicts holds it or waits for it.
    #[inline]
    pub fn is_free(&self, key: LockKey, mode: Mode) -> bool {
        if self.is_idle() {
            return true;
        }
        let reach = Reach { whole: None, writes: mode == Mode::Exclusive };
        self.conflicts_over_shard(reach) == 0 && self.is_key_free(key, mode)
    }

    /// Whether a request that was granted holds this key exclusively, by name or with the whole shard.
    pub fn covers(&self, ticket: Ticket, key: LockKey) -> bool {
        let Some(request) = self.request(ticket).filter(|request| request.missing == 0) else { return false };
        request.reach.whole == Some(Mode::Exclusive) || request.keys.contains(&(key, Mode::Exclusive))
    }

    /// Whether somebody holds the whole shard exclusively.
    pub fn is_held_whole(&self) -> bool {
        let holds = |request: &Request<W>| request.missing == 0 && request.reach.whole == Some(Mode::Exclusive);
        self.whole.iter().any(|place| holds(&self.requests[*place as usize]))
    }

    /// Locks everything, or nothing. Never waits, and does not overtake those who do.
    pub fn try_acquire(&mut self, claims: &Claims) -> Option<Ticket> {
        let free = self.is_idle()
            || self.conflicts_over_shard(claims.reach()) == 0
                && claims.keys.iter().all(|(key, mode)| self.is_key_free(*key, *mode));
        if !free {
            return None;
        }
        let ticket = self.enter(claims);
        debug_assert_eq!(self.requests[ticket.index as usize].missing, 0, "granted, for all it claims was free");
        Some(ticket)
    }

    /// Locks everything at once, or queues for all of it. The waiter comes back with the grant.
    pub fn acquire(&mut self, claims: &Claims, waiter: W) -> Acquired<W> {
        let ticket = self.enter(claims);
        let request = &mut self.requests[ticket.index as usize];
        if request.missing == 0 {
            return Acquired::Now(ticket, waiter);
        }
        request.waiter = Some(waiter);
        self.waiting += 1;
        Acquired::Later(ticket)
    }

    /// Gives up what a granted request holds. Appends those that may go now, in the order in which they arrived; they hold their
    /// locks from now on. Panics if the ticket names no granted request: its locks would be someone else's.
    pub fn release(&mut self, ticket: Ticket, granted: &mut Vec<(Ticket, W)>) {
        let request = self.request(ticket).expect("a lock is released once");
        assert!(request.waiter.is_none(), "a request that waits is cancelled, not released");
        self.leave(ticket, granted);
    }

    /// Ends a request that waits; who waited for it alone may go, as after a release. `None` when it does not wait: it was granted before,
    /// and is to be released.
    pub fn cancel(&mut self, ticket: Ticket, granted: &mut Vec<(Ticket, W)>) -> Option<W> {
        self.request(ticket)?.waiter.as_ref()?;
        self.waiting -= 1;
        self.leave(ticket, granted)
    }

    fn request(&self, ticket: Ticket) -> Option<&Request<W>> {
        self.requests.get(ticket.index as usize).filter(|request| request.arrival == Some(ticket.arrival))
    }

    fn is_key_free(&self, key: LockKey, mode: Mode) -> bool {
        self.keys.get(&key).is_none_or(|lock| lock.queue.is_empty() && lock.is_free_for(mode))
    }

    /// How many requests a newcomer has to wait for because one of the two claims the whole shard.
    #[inline]
    fn conflicts_over_shard(&self, reach: Reach) -> usize {
        let conflicts = |request: &&Request<W>| request.arrival.is_some() && reach.conflicts(request.reach);
        match reach.whole {
            None if self.whole.is_empty() => 0,
            None => self.whole.iter().map(|index| &self.requests[*index as usize]).filter(conflicts).count(),
            Some(_) => self.requests.iter().filter(conflicts).count(),
        }
    }

    /// Takes a request in: on each of its keys it holds, or queues.
    fn enter(&mut self, claims: &Claims) -> Ticket {
        let reach = claims.reach();
        let mut missing = self.conflicts_over_shard(reach);
        let index = self.place();
        let mut keys = std::mem::take(&mut self.requests[index as usize].keys);
        collect_keys(claims, &mut keys);
        for (key, mode) in &keys {
            let held = self.keys.entry(*key).or_default().enter(index, *mode);
            missing += usize::from(!held);
        }
        if reach.whole.is_some() {
            self.whole.push(index);
        }
        self.active += 1;
        self.arrivals += 1;
        let arrival = Some(self.arrivals);
        self.requests[index as usize] = Request { arrival, keys, reach, missing, waiter: None };
        Ticket { index, arrival: self.arrivals }
    }

    /// A free place for a request.
    fn place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            let reach = Reach { whole: None, writes: false };
            self.requests.push(Request { arrival: None, keys: Vec::new(), reach, missing: 0, waiter: None });
            (self.requests.len() - 1) as u32
        })
    }

    /// Takes a request out, and lets those go who waited for it alone.
    fn leave(&mut self, ticket: Ticket, granted: &mut Vec<(Ticket, W)>) -> Option<W> {
        let first = granted.len();
        let request = &mut self.requests[ticket.index as usize];
        request.arrival = None;
        let (reach, waited) = (request.reach, request.missing > 0);
        let waiter = request.waiter.take();
        let mut keys = std::mem::take(&mut request.keys);
        for (key, mode) in &keys {
            self.leave_key(*key, ticket.index, *mode, waited, granted);
        }
        self.leave_shard(ticket, reach, granted);
        granted[first..].sort_unstable_by_key(|(ticket, _)| ticket.arrival);

        keys.clear();
        keys.shrink_to(KEPT);
        self.requests[ticket.index as usize].keys = keys;
        self.free.push(ticket.index);
        self.active -= 1;
        if self.active == 0 {
            self.rest();
        }
        waiter
    }

    /// `waited`: it may still be in the key's queue.
    fn leave_key(&mut self, key: LockKey, index: u32, mode: Mode, waited: bool, granted: &mut Vec<(Ticket, W)>) {
        let Entry::Occupied(mut entry) = self.keys.entry(key) else {
            unreachable!("a key is in the table as long as someone holds it or waits for it");
        };
        let lock = entry.get_mut();
        let queued = if waited { lock.queue.iter().position(|(waiting, _)| *waiting == index) } else { None };
        match queued {
            Some(at) => drop(lock.queue.remove(at)),
            None => lock.let_go(mode),
        }
        while let Some(&(next, mode)) = lock.queue.front()
            && lock.is_free_for(mode)
        {
            lock.queue.pop_front();
            lock.hold(mode);
            arrive(&mut self.requests[next as usize], next, &mut self.waiting, granted);
        }
        if lock.is_unused() {
            entry.remove();
        }
    }

    /// Those that came later, and conflicted with this one because one of the two claims the whole shard, are a step nearer.
    fn leave_shard(&mut self, gone: Ticket, reach: Reach, granted: &mut Vec<(Ticket, W)>) {
        if self.whole.is_empty() {
            return;
        }
        let LockTable { whole, requests, waiting, .. } = self;
        let mut tell = |index: u32, request: &mut Request<W>| {
            if request.arrival > Some(gone.arrival) && reach.conflicts(request.reach) {
                arrive(request, index, waiting, granted);
            }
        };
        if reach.whole.is_none() {
            whole.iter().for_each(|index| tell(*index, &mut requests[*index as usize]));
            return;
        }
        whole.retain(|index| *index != gone.index);
        requests.iter_mut().enumerate().for_each(|(index, request)| tell(index as u32, request));
    }

    /// Nothing is locked: what a large request left behind goes. Old tickets stay invalid, for arrivals count on.
    fn rest(&mut self) {
        debug_assert!(self.keys.is_empty() && self.whole.is_empty() && self.waiting == 0);
        if self.keys.capacity() > 2 * KEPT {
            self.keys.shrink_to(KEPT);
        }
        if self.requests.len() > KEPT {
            self.requests = Vec::new();
            self.free = Vec::new();
        }
    }
}

/// One thing less that a request waits for.
fn arrive<W>(request: &mut Request<W>, index: u32, waiting: &mut usize, granted: &mut Vec<(Ticket, W)>) {
    request.missing -= 1;
    if request.missing == 0 {
        let waiter = request.waiter.take().expect("only a request that waits lacks something");
        let arrival = request.arrival.expect("those who left are in no queue");
        *waiting -= 1;
        granted.push((Ticket { index, arrival }, waiter));
    }
}

/// The keys that a request has to lock by name: each once, in its strongest mode, and none that its hold on the whole shard covers.
fn collect_keys(claims: &Claims, keys: &mut Vec<(LockKey, Mode)>) {
    let covered = |mode: Mode| claims.whole.is_some_and(|whole| whole >= mode);
    keys.extend(claims.keys.iter().filter(|(_, mode)| !covered(*mode)));
    if keys.len() > 1 {
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.dedup_by_key(|(key, _)| *key);
    }
}
