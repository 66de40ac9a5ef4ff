//! Which keys go when memory is short: Redis's eight policies, its access clocks, and sampling with a pool of good candidates.
//!
//! The 24-bit clock of an entry is, under an LFU policy, the minute of the last access (16 bits) and a logarithmic counter of accesses
//! (8 bits); under any other the second of the last access. Both wrap as Redis's do: after 45 and 194 days.
//!
//! A candidate is kept as the hash of its key and the clock it was seen with. One that was removed or accessed since is passed over.

use super::Keyspace;
use super::changes::{EventClass, What};
use super::entry::Entry;
use super::hash::{Dice, KeyHash};
use super::segment::Segment;
use super::table::{Place, Table};

/// `maxmemory-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyKind {
    #[default]
    NoEviction,
    AllKeysLru,
    AllKeysLfu,
    AllKeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

impl PolicyKind {
    pub const ALL: [PolicyKind; 8] = [
        Self::VolatileLru,
        Self::VolatileLfu,
        Self::VolatileRandom,
        Self::VolatileTtl,
        Self::AllKeysLru,
        Self::AllKeysLfu,
        Self::AllKeysRandom,
        Self::NoEviction,
    ];

    /// As `maxmemory-policy` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
            Self::AllKeysLfu => "allkeys-lfu",
            Self::AllKeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }

    /// Whether only keys with an expiry may go.
    pub fn is_volatile(self) -> bool {
        match self {
            Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl => true,
            Self::NoEviction | Self::AllKeysLru | Self::AllKeysLfu | Self::AllKeysRandom => false,
        }
    }

    #[inline]
    pub fn counts_frequency(self) -> bool {
        match self {
            Self::AllKeysLfu | Self::VolatileLfu => true,
            Self::NoEviction | Self::AllKeysLru | Self::AllKeysRandom => false,
            Self::VolatileLru | Self::VolatileRandom | Self::VolatileTtl => false,
        }
    }

    /// What the policy may evict.
    fn scope(self) -> Scope {
        match self {
            Self::NoEviction => Scope::Nothing,
            Self::AllKeysLru | Self::AllKeysLfu | Self::AllKeysRandom => Scope::All,
            Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl => Scope::Volatile,
        }
    }

    fn order(self) -> Order {
        match self {
            Self::AllKeysLru | Self::VolatileLru => Order::Idle,
            Self::AllKeysLfu | Self::VolatileLfu => Order::Frequency,
            Self::VolatileTtl => Order::Expiry,
            Self::NoEviction | Self::AllKeysRandom | Self::VolatileRandom => Order::Random,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Nothing,
    All,
    Volatile,
}

impl Scope {
    fn size(self, table: &Table) -> usize {
        match self {
            Self::Nothing => 0,
            Self::All => table.len(),
            Self::Volatile => table.volatile(),
        }
    }

    fn has(self, segment: &Segment) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => segment.len() > 0,
            Self::Volatile => segment.volatile() > 0,
        }
    }

    fn takes(self, entry: &Entry) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Volatile => entry.has_expiry(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Idle,
    Frequency,
    Expiry,
    Random,
}

/// The directives that decide about clocks and eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub kind: PolicyKind,
    /// `maxmemory-samples`.
    pub samples: usize,
    /// `lfu-log-factor`.
    pub lfu_log_factor: u32,
    /// `lfu-decay-time`, in minutes; 0: counters do not decay.
    pub lfu_decay_time: u32,
    /// Whether commands count as accesses to their keys (CLIENT NO-TOUCH).
    pub touches: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { kind: PolicyKind::NoEviction, samples: 5, lfu_log_factor: 10, lfu_decay_time: 1, touches: true }
    }
}

const CLOCK_SECONDS: u64 = 1 << 24;
const CLOCK_MINUTES: u32 = 1 << 16;
/// The counter of a key just made, so that it has a chance to be used before it goes.
const NEW_FREQUENCY: u8 = 5;

fn second(now_ms: u64) -> u32 {
    (now_ms / 1000 % CLOCK_SECONDS) as u32
}

fn minute(now_ms: u64) -> u32 {
    (now_ms / 60_000) as u32 % CLOCK_MINUTES
}

impl Policy {
    /// The clock of a new key.
    #[inline]
    pub(super) fn new_clock(&self, now_ms: u64) -> u32 {
        if self.kind.counts_frequency() { Self::frequency_clock(NEW_FREQUENCY, now_ms) } else { second(now_ms) }
    }

    /// The clock after an access.
    #[inline]
    pub(super) fn touched(&self, clock: u32, now_ms: u64, dice: &mut Dice) -> u32 {
        if self.kind.counts_frequency() {
            let counter = self.raised(self.frequency(clock, now_ms), dice);
            Self::frequency_clock(counter, now_ms)
        } else {
            second(now_ms)
        }
    }

    pub(super) fn frequency_clock(counter: u8, now_ms: u64) -> u32 {
        minute(now_ms) << 8 | u32::from(counter)
    }

    /// The second of an access that many milliseconds ago.
    pub(super) fn idle_clock(idle_ms: u64, now_ms: u64) -> u32 {
        second(now_ms.saturating_sub(idle_ms))
    }

    /// The counter, less one for each decay time since the last access.
    pub(super) fn frequency(&self, clock: u32, now_ms: u64) -> u8 {
        let elapsed = minute(now_ms).wrapping_sub(clock >> 8) % CLOCK_MINUTES;
        let lost = elapsed.checked_div(self.lfu_decay_time).unwrap_or(0);
        (clock as u8).saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
    }

    /// One more access: the higher the counter, the less likely it moves.
    fn raised(&self, counter: u8, dice: &mut Dice) -> u8 {
        let above = u64::from(counter.saturating_sub(NEW_FREQUENCY));
        let one_in = above * u64::from(self.lfu_log_factor) + 1;
        let hit = dice.below(one_in as usize) == 0;
        counter.saturating_add(u8::from(hit))
    }

    /// Milliseconds since the last access, in steps of a second.
    pub(super) fn idle_ms(clock: u32, now_ms: u64) -> u64 {
        let now = u64::from(second(now_ms));
        (now + CLOCK_SECONDS - u64::from(clock)) % CLOCK_SECONDS * 1000
    }

    /// Whether the entry still is what made it a candidate.
    fn still_stands(&self, candidate: &Candidate, entry: &Entry, now_ms: u64) -> bool {
        match self.kind.order() {
            Order::Idle | Order::Frequency => entry.clock() == candidate.clock,
            Order::Expiry | Order::Random => self.score(entry, now_ms) == candidate.score,
        }
    }

    /// The higher, the sooner the entry goes.
    fn score(&self, entry: &Entry, now_ms: u64) -> u64 {
        match self.kind.order() {
            Order::Idle => Self::idle_ms(entry.clock(), now_ms),
            Order::Frequency => u64::from(u8::MAX - self.frequency(entry.clock(), now_ms)),
            Order::Expiry => u64::MAX - entry.expire_at_ms().unwrap_or(u64::MAX),
            Order::Random => 0,
        }
    }
}

/// Candidates kept between evictions.
const POOL: usize = 16;
/// Entries taken from one segment; keys of one hash tag stand together, so a sample comes from several places.
const SAMPLES_OF_A_SEGMENT: usize = 3;
/// Rounds of sampling that may bring nothing valid before eviction gives up and the next call goes on.
const ROUNDS: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: u64,
    hash: KeyHash,
    clock: u32,
    db: u32,
}

/// What eviction remembers between calls.
#[derive(Debug, Default)]
pub struct Sampler {
    /// By rising score.
    pool: Vec<Candidate>,
    kind: PolicyKind,
    next_db: usize,
}

impl Sampler {
    pub fn clear(&mut self) {
        self.pool.clear();
    }

    fn offer(&mut self, candidate: Candidate) {
        if self.pool.iter().any(|known| known.hash == candidate.hash && known.db == candidate.db) {
            return;
        }
        let at = self.pool.partition_point(|known| known.score < candidate.score);
        if self.pool.len() < POOL {
            self.pool.insert(at, candidate);
        } else if at > 0 {
            self.pool[..at].rotate_left(1);
            self.pool[at - 1] = candidate;
        }
    }
}

/// A key that was evicted; freed when this is dropped.
#[derive(Debug)]
pub struct Evicted {
    pub db: usize,
    /// Bytes that dropping it frees.
    pub bytes: usize,
    entry: Entry,
}

impl Evicted {
    pub fn key(&self) -> &[u8] {
        self.entry.key()
    }
}

impl Keyspace {
    /// Takes the best of some candidates out, by the policy. `None` when the policy finds nothing to evict in this shard.
    pub fn evict_one(&mut self, policy: &Policy, now_ms: u64) -> Option<Evicted> {
        let scope = policy.kind.scope();
        if self.sampler.kind != policy.kind {
            self.sampler.clear();
            self.sampler.kind = policy.kind;
        }
        if self.tables.iter().all(|table| scope.size(table) == 0) {
            return None;
        }
        let (db, place) = match policy.kind.order() {
            Order::Random => (0..ROUNDS).find_map(|_| self.pick_any(scope))?,
            Order::Idle | Order::Frequency | Order::Expiry => self.pick_best(policy, scope, now_ms)?,
        };
        let hash = self.hasher.hash(self.tables[db].entry(place).key());
        let entry = self.remove(db, place, hash);
        self.stats.evicted += 1;
        self.removals.note(db, entry.key());
        self.changes.note(db, hash, entry.key(), What::Modified);
        self.changes.note(db, hash, entry.key(), What::Event(EventClass::Evicted, "evicted"));
        Some(Evicted { db, bytes: entry.heap_bytes(), entry })
    }

    /// A random key in scope, databases taking turns.
    fn pick_any(&mut self, scope: Scope) -> Option<(usize, Place)> {
        for _ in 0..self.tables.len() {
            let db = self.sampler.next_db % self.tables.len();
            self.sampler.next_db = db + 1;
            let table = &self.tables[db];
            if scope.size(table) > 0 {
                let number = pick_segment(table, &mut self.dice, scope)?;
                let bucket = sample(table.segment(number), &mut self.dice, scope).next()?;
                // One that is lent to another core cannot go now.
                let place = Place { segment: number, bucket };
                return (!table.entry(place).is_lent()).then_some((db, place));
            }
        }
        None
    }

    fn pick_best(&mut self, policy: &Policy, scope: Scope, now_ms: u64) -> Option<(usize, Place)> {
        for _ in 0..ROUNDS {
            for db in 0..self.tables.len() {
                self.offer_samples(db, policy, scope, now_ms);
            }
            while let Some(candidate) = self.sampler.pool.pop() {
                let db = candidate.db as usize;
                let table = &self.tables[db];
                let Some(place) = table.find_hash(&self.hasher, candidate.hash) else { continue };
                let entry = table.entry(place);
                if scope.takes(entry) && !entry.is_lent() && policy.still_stands(&candidate, entry, now_ms) {
                    return Some((db, place));
                }
            }
        }
        None
    }

    fn offer_samples(&mut self, db: usize, policy: &Policy, scope: Scope, now_ms: u64) {
        let table = &self.tables[db];
        let wanted = policy.samples.max(1).min(scope.size(table));
        let most = if table.segments() == 1 { wanted } else { SAMPLES_OF_A_SEGMENT };
        let mut sampled = 0;
        // A segment in scope brings at least one, so this ends.
        while sampled < wanted {
            let Some(number) = pick_segment(table, &mut self.dice, scope) else { return };
            let segment = table.segment(number);
            for bucket in sample(segment, &mut self.dice, scope).take(most.min(wanted - sampled)) {
                sampled += 1;
                let Some(entry) = segment.get(bucket) else { continue };
                let score = policy.score(entry, now_ms);
                let full = self.sampler.pool.len() == POOL;
                if full && self.sampler.pool.first().is_some_and(|worst| worst.score >= score) {
                    continue;
                }
                let hash = self.hasher.hash(entry.key());
                self.sampler.offer(Candidate { score, hash, clock: entry.clock(), db: db as u32 });
            }
        }
    }
}

/// A segment that has something in scope.
fn pick_segment(table: &Table, dice: &mut Dice, scope: Scope) -> Option<u32> {
    match table.pick_segment(dice) {
        Some(number) if scope.has(table.segment(number)) => Some(number),
        Some(_) | None if scope == Scope::Volatile => table.find_volatile_segment(dice),
        Some(_) | None => table.walk_to_segment(dice),
    }
}

/// The buckets in scope from a random one on, around the end.
fn sample<'a>(segment: &'a Segment, dice: &mut Dice, scope: Scope) -> impl Iterator<Item = usize> + 'a {
    let buckets = segment.len();
    let start = dice.below(buckets);
    (start..buckets).chain(0..start).filter(move |bucket| segment.get(*bucket).is_some_and(|entry| scope.takes(entry)))
}

#[cfg(test)]
#[path = "eviction_tests.rs"]
mod tests;
