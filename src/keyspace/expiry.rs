//! Keys whose time has passed: removed when they are looked at, and by an active cycle that comes by on its own.
//!
//! A key is due once now is *later* than its expiry, as in Redis.
//!
//! The cycle walks the segments of all databases in the order of positions and goes on where it stopped. It pays nothing for a
//! database in which nothing can be due (`next_due_ms`), and one comparison for such a segment (`earliest_ms`).

use super::Keyspace;
use super::changes::{Changes, EventClass, What};
use super::hash::Hasher;
use super::segment::NEVER;
use super::table::Place;

/// What a step of the active cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireProgress {
    /// Keys removed.
    pub expired: usize,
    /// Fields of hashes removed.
    pub fields: usize,
    /// Segments passed and entries looked at: what counts against the budget.
    pub steps: usize,
    /// All databases were passed to their end, and nothing else can be due now.
    pub complete: bool,
}

/// What becomes of a key whose time has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiryMode {
    /// It is removed once it is met.
    #[default]
    Own,
    /// Nobody sees it, but it stays: for the reading commands of a replica, where only the primary removes keys.
    Hidden,
    /// It is a key as any other: for the commands that come from the primary.
    Ignored,
}

/// Weight of the past in the stale share: Redis's figure also forgets by a twentieth a cycle.
const STALE_MEMORY: u64 = 19;

#[inline]
pub(super) fn is_due(at_ms: u64, now_ms: u64) -> bool {
    at_ms < now_ms
}

impl Keyspace {
    /// Removes due keys, if that is this keyspace's to do, for some `budget` steps (a segment passed or an entry looked at).
    pub fn expire_some(&mut self, now_ms: u64, budget: usize) -> ExpireProgress {
        let mut progress = ExpireProgress::default();
        if self.expiry_mode != ExpiryMode::Own {
            return ExpireProgress { complete: true, ..progress };
        }
        // At most half of the steps, lest keys wait for fields.
        let no_fields_left = self.expire_due_fields(now_ms, budget / 2, &mut progress);
        let mut looked_at = 0;
        let mut idle_dbs = 0;
        while idle_dbs < self.tables.len() && progress.steps < budget {
            let db = self.expiry_db % self.tables.len();
            if !is_due(self.tables[db].next_due_ms, now_ms) {
                idle_dbs += 1;
                self.expiry_db = (db + 1) % self.tables.len();
                continue;
            }
            idle_dbs = 0;
            looked_at += self.expire_segment(db, now_ms, &mut progress);
        }
        progress.complete = idle_dbs == self.tables.len() && no_fields_left;
        self.stats.expired += progress.expired as u64;
        if looked_at > 0 {
            let share = progress.expired as u64 * 10_000 / looked_at as u64;
            let past = self.stats.expired_stale_basis_points;
            self.stats.expired_stale_basis_points = (past * STALE_MEMORY + share) / (STALE_MEMORY + 1);
        }
        progress
    }

    /// Passes one segment. The number of its keys with an expiry, if they were looked at.
    fn expire_segment(&mut self, db: usize, now_ms: u64, progress: &mut ExpireProgress) -> usize {
        let table = &mut self.tables[db];
        let at = table.walk_at;
        if at == 0 {
            table.walk_earliest_ms = NEVER;
        }
        let (number, last) = table.segment_at(at);
        progress.steps += 1;
        let mut earliest = table.segment(number).earliest_ms;
        let mut looked_at = 0;
        if is_due(earliest, now_ms) {
            let segment = table.segment(number);
            looked_at = segment.volatile();
            progress.steps += looked_at;
            let due = |bucket: &usize| {
                // One that is lent to another core stays until it is back.
                let expiry =
                    segment.get(*bucket).filter(|entry| !entry.is_lent()).and_then(|entry| entry.expire_at_ms());
                expiry.is_some_and(|at_ms| is_due(at_ms, now_ms))
            };
            let due: Vec<usize> = (0..segment.len()).filter(due).collect();
            // From the last on, since a removal moves the last entry into the gap.
            for bucket in due.iter().rev() {
                let place = Place { segment: number, bucket: *bucket };
                self.before_change(db, place);
                let entry = self.tables[db].take(place);
                if let Some(at_ms) = entry.field_expiry() {
                    let hash = self.hasher.hash(entry.key());
                    self.tables[db].field_dues.note(hash, Some(at_ms), None);
                }
                self.removals.note(db, entry.key());
                note_expired(&mut self.changes, &self.hasher, db, entry.key());
            }
            progress.expired += due.len();
            let table = &mut self.tables[db];
            earliest = table.tighten(number);
            if !due.is_empty() {
                table.tidy(at);
            }
        }
        let table = &mut self.tables[db];
        table.walk_earliest_ms = table.walk_earliest_ms.min(earliest);
        match table.behind(last) {
            Some(next) => table.walk_at = next,
            None => {
                // The walk has seen every segment, and what came meanwhile was added to its minimum.
                table.next_due_ms = table.walk_earliest_ms;
                table.walk_at = 0;
                self.expiry_db = (db + 1) % self.tables.len();
            }
        }
        looked_at
    }

    /// Whether the entry is not to be seen, as its time has passed. Then it is removed if that is this keyspace's to do, unless it is lent to another
    /// core and has to stay until it is back.
    #[inline]
    pub(super) fn remove_if_due(&mut self, db: usize, place: Place, now_ms: u64) -> bool {
        match self.tables[db].entry(place).expire_at_ms() {
            Some(at_ms) if is_due(at_ms, now_ms) => self.meet_due(db, place),
            Some(_) | None => false,
        }
    }

    #[cold]
    fn meet_due(&mut self, db: usize, place: Place) -> bool {
        match self.expiry_mode {
            ExpiryMode::Own => {
                self.remove_expired(db, place);
                true
            }
            ExpiryMode::Hidden => true,
            ExpiryMode::Ignored => false,
        }
    }

    fn remove_expired(&mut self, db: usize, place: Place) {
        if self.tables[db].entry(place).is_lent() {
            return;
        }
        let hash = self.hasher.hash(self.tables[db].entry(place).key());
        let entry = self.remove(db, place, hash);
        self.stats.expired += 1;
        self.removals.note(db, entry.key());
        note_expired(&mut self.changes, &self.hasher, db, entry.key());
    }
}

pub(super) fn note_expired(changes: &mut Changes, hasher: &Hasher, db: usize, key: &[u8]) {
    if changes.is_recording() {
        let hash = hasher.hash(key);
        changes.note(db, hash, key, What::Modified);
        changes.note(db, hash, key, What::Event(EventClass::Expired, "expired"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::slot::SLOTS;
    use super::super::{Expiry, NewStr, Policy};
    use super::*;

    fn filled(keys: usize, expiry: impl Fn(usize) -> Expiry) -> Keyspace {
        let mut space = Keyspace::new(0..SLOTS, 16, 7);
        let policy = Policy::default();
        for n in 0..keys {
            let mut view = space.view(n % 3, 0, &policy);
            view.set_string(format!("key:{n}").as_bytes(), NewStr::Copy(b"value"), expiry(n));
        }
        space
    }

    #[test]
    fn removes_exactly_what_is_due() {
        let mut space = filled(30_000, |n| if n % 2 == 0 { Expiry::AtMs(1000 + n as u64) } else { Expiry::None });
        for now_ms in [500, 1000, 1001, 5000, 20_000, 40_000] {
            let mut rounds = 0;
            while !space.expire_some(now_ms, 500).complete {
                rounds += 1;
                assert!(rounds < 10_000);
            }
            let due = (0..30_000).filter(|n| n % 2 == 0 && 1000 + n < now_ms).count();
            assert_eq!(space.stats().expired, due as u64);
            assert_eq!((0..16).map(|db| space.len(db)).sum::<usize>(), 30_000 - due);
        }
        assert_eq!((0..16).map(|db| space.db_stats(db, 0).expires).sum::<usize>(), 0);
        assert!(space.stats().expired_stale_basis_points > 0);
    }

    #[test]
    fn costs_nothing_when_nothing_can_be_due() {
        let mut space = filled(10_000, |n| if n < 100 { Expiry::AtMs(5000) } else { Expiry::None });
        assert_eq!(space.expire_some(4999, 1000), ExpireProgress { complete: true, ..ExpireProgress::default() });
        while !space.expire_some(6000, 100).complete {}
        assert_eq!(space.expire_some(7000, 1000), ExpireProgress { complete: true, ..ExpireProgress::default() });
    }

    #[test]
    fn an_expiry_set_behind_the_walk_is_not_forgotten() {
        let mut space = filled(20_000, |n| Expiry::AtMs(10_000 + n as u64));
        let policy = Policy::default();
        // The walk stands somewhere in the middle of the first database.
        assert!(!space.expire_some(15_000, 200).complete);
        for n in 19_000..19_300 {
            assert!(space.view(n % 3, 0, &policy).set_expire_at_ms(format!("key:{n}").as_bytes(), Some(14_000)));
        }
        while !space.expire_some(15_000, 200).complete {}
        let left: usize = (0..16).map(|db| space.len(db)).sum();
        let due = (0..20_000).filter(|n| 10_000 + n < 15_000).count();
        assert_eq!(left, 20_000 - due - 300);
    }

    fn removals(space: &mut Keyspace) -> Vec<(usize, String)> {
        let mut removals = Vec::new();
        space.removals.for_each_command(|db, words| {
            assert_eq!((words.len(), words[0]), (2, b"DEL".as_slice()));
            removals.push((db, String::from_utf8_lossy(words[1]).into_owned()));
        });
        space.removals.clear();
        removals
    }

    #[test]
    fn what_goes_on_its_own_is_noted_for_the_log() {
        let mut space = filled(3, |n| Expiry::AtMs(1000 + n as u64));
        let policy = Policy { kind: super::super::PolicyKind::AllKeysRandom, ..Policy::default() };
        assert!(!space.view(0, 2000, &policy).exists(b"key:0"));
        assert_eq!(removals(&mut space), [], "nobody wants to know");
        space.log_removals(true);
        assert!(!space.view(1, 2000, &policy).exists(b"key:1"));
        space.view(0, 0, &policy).set_string(b"key:3", NewStr::Int(1), Expiry::AtMs(1000));
        // Replaced after its time, it was gone in between: its expiry is not kept, and must not be on replicas.
        space.view(0, 2000, &policy).set_string(b"key:3", NewStr::Int(2), Expiry::Keep);
        assert_eq!(space.view(0, 2000, &policy).expire_at_ms(b"key:3"), Some(None));
        assert_eq!(removals(&mut space), [(1, "key:1".into()), (0, "key:3".into())]);
        assert_eq!(space.expire_some(2000, 100).expired, 1);
        assert_eq!(removals(&mut space), [(2, "key:2".into())]);
        assert_eq!(space.evict_one(&policy, 2000).map(|evicted| evicted.db), Some(0));
        assert_eq!(removals(&mut space), [(0, "key:3".into())]);
        space.view(0, 0, &policy).set_string(b"key:4", NewStr::Int(1), Expiry::None);
        assert!(space.view(0, 0, &policy).remove(b"key:4"));
        assert_eq!(removals(&mut space), [], "a command's own doing");
    }

    #[test]
    fn guests_expire_as_the_executing_core_has_it() {
        let mut space = filled(0, |_| Expiry::None);
        let mut other = filled(1, |_| Expiry::AtMs(1000));
        let policy = Policy::default();
        let hash = other.hasher().hash(b"key:0");
        for (mode, seen) in [(ExpiryMode::Own, false), (ExpiryMode::Hidden, false), (ExpiryMode::Ignored, true)] {
            let mut guests = space.for_guests();
            space.set_expiry_mode(mode);
            space.log_removals(true);
            // On its way the time passes. The slots of `space` are all, so the guest is looked for where guests are by hand.
            guests.welcome(0, hash, other.check_out(0, hash, b"key:0", 0, true));
            let _ = space.view(0, 2000, &policy).with_guests(&mut guests);
            assert_eq!(guests.view(0, 2000, &policy).exists(b"key:0"), seen);
            assert_eq!(guests.len(0), usize::from(mode != ExpiryMode::Own));
            assert_eq!(removals(&mut guests).len(), usize::from(mode == ExpiryMode::Own));
            other.check_in(0, hash, guests.see_off(0, hash, b"key:0"), true);
            other.view(0, 0, &policy).set_string(b"key:0", NewStr::Int(1), Expiry::AtMs(1000));
        }
    }

    #[test]
    fn a_replica_removes_nothing_by_time() {
        let mut space = filled(2000, |_| Expiry::AtMs(1000));
        let policy = Policy::default();
        let (db, key) = (0, b"key:0");
        space.log_removals(true);
        space.set_expiry_mode(ExpiryMode::Hidden);
        assert_eq!(space.expire_some(2000, 100), ExpireProgress { complete: true, ..ExpireProgress::default() });
        {
            let mut view = space.view(db, 2000, &policy);
            assert!(!view.exists(key) && view.string(key).is_ok_and(|value| value.is_none()));
            assert!(view.meta(key).is_none() && view.expire_at_ms(key).is_none() && view.copy(key).is_none());
        }
        assert_eq!((space.stats().misses, space.stats().hits, space.stats().expired), (2, 0, 0));
        assert_eq!(space.scan(db, 0, usize::MAX, 2000, |_, _| panic!("shown")), super::super::Next::End);
        assert!(space.random_key(db, 2000).is_some(), "as a last resort");
        let hash = space.hasher().hash(key);
        assert!(space.remove_due_key(db, hash, key, 2000));
        let visit = space.check_out(db, hash, key, 2000, true);
        assert!(matches!(visit, super::super::Visit::Moved(_)), "it must not be left behind");
        space.check_in(db, hash, visit, true);
        space.set_expiry_mode(ExpiryMode::Ignored);
        {
            let mut view = space.view(db, 2000, &policy);
            assert!(view.exists(key));
            view.set_string(key, NewStr::Copy(b"new"), Expiry::Keep);
            assert_eq!(view.expire_at_ms(key), Some(Some(1000)));
            assert!(view.string_bytes_mut(key, 4).is_ok_and(|bytes| bytes == b"new\0"));
            assert!(view.remove(key));
        }
        assert_eq!((0..16).map(|db| space.len(db)).sum::<usize>(), 1999);
        assert_eq!((removals(&mut space).len(), space.stats().expired), (0, 0));
        space.set_expiry_mode(ExpiryMode::Own);
        while !space.expire_some(2000, 100).complete {}
        assert_eq!((space.len(0), removals(&mut space).len()), (0, 1999));
    }
}
