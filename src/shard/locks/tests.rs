use super::model::Model;
use super::*;
use proptest::prelude::*;

fn key(n: u64) -> LockKey {
    LockKey { db: 0, slot: n as u16, hash: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

fn reads(keys: &[u64]) -> Claims {
    claims(keys, Mode::Shared)
}

fn writes(keys: &[u64]) -> Claims {
    claims(keys, Mode::Exclusive)
}

fn claims(keys: &[u64], mode: Mode) -> Claims {
    let mut claims = Claims::new();
    keys.iter().for_each(|n| claims.add(key(*n), mode));
    claims
}

#[track_caller]
fn now<W>(acquired: Acquired<W>) -> Ticket {
    match acquired {
        Acquired::Now(ticket, _) => ticket,
        Acquired::Later(_) => panic!("it waits"),
    }
}

#[track_caller]
fn later<W>(acquired: Acquired<W>) -> Ticket {
    match acquired {
        Acquired::Now(..) => panic!("it does not wait"),
        Acquired::Later(ticket) => ticket,
    }
}

fn release(table: &mut LockTable<u32>, ticket: Ticket) -> Vec<u32> {
    let mut granted = Vec::new();
    table.release(ticket, &mut granted);
    granted.into_iter().map(|(_, waiter)| waiter).collect()
}

#[test]
fn readers_share_and_a_waiting_writer_holds_up_later_readers() {
    let mut table = LockTable::new();
    let first = now(table.acquire(&reads(&[1]), 0));
    let second = now(table.acquire(&reads(&[1]), 1));
    let writer = later(table.acquire(&writes(&[1]), 2));
    later(table.acquire(&reads(&[1]), 3));
    later(table.acquire(&reads(&[1]), 4));
    assert!(!table.is_free(key(1), Mode::Shared), "a reader would overtake the writer");
    assert!(table.is_free(key(2), Mode::Exclusive));
    assert_eq!((table.len(), table.waiting(), table.keys()), (5, 3, 1));
    assert_eq!(release(&mut table, second), []);
    assert_eq!(release(&mut table, first), [2]);
    assert_eq!(release(&mut table, writer), [3, 4]);
    assert!(table.is_free(key(1), Mode::Shared));
    assert!(!table.is_free(key(1), Mode::Exclusive));
}

#[test]
fn a_request_is_granted_as_a_whole() {
    let mut table = LockTable::new();
    let one = now(table.acquire(&writes(&[1]), 0));
    let two = now(table.acquire(&writes(&[2]), 1));
    let both = later(table.acquire(&writes(&[1, 2, 3]), 2));
    assert!(!table.is_free(key(3), Mode::Shared), "what waits for the other keys has its turn on this one");
    later(table.acquire(&writes(&[3]), 3));
    assert_eq!(release(&mut table, one), []);
    assert_eq!(release(&mut table, two), [2]);
    assert_eq!(release(&mut table, both), [3]);
}

#[test]
fn a_key_named_twice_is_locked_once_in_the_stronger_mode() {
    let mut table = LockTable::new();
    let mut twice = reads(&[1]);
    twice.add(key(1), Mode::Exclusive);
    twice.add(key(1), Mode::Shared);
    let ticket = now(table.acquire(&twice, 0));
    assert!(!table.is_free(key(1), Mode::Shared));
    later(table.acquire(&reads(&[1]), 1));
    assert_eq!(release(&mut table, ticket), [1]);
    assert!(!table.is_free(key(1), Mode::Exclusive));
    assert!(table.is_free(key(1), Mode::Shared));
}

#[test]
fn databases_have_keys_of_their_own() {
    let mut table = LockTable::new();
    now(table.acquire(&writes(&[1]), 0));
    assert!(table.is_free(LockKey { db: 1, ..key(1) }, Mode::Exclusive));
}

#[test]
fn trying_takes_all_or_nothing_and_overtakes_nobody() {
    let mut table = LockTable::new();
    let held = table.try_acquire(&reads(&[1])).unwrap();
    assert_eq!(table.try_acquire(&writes(&[2, 1])), None);
    assert!(table.is_free(key(2), Mode::Exclusive), "nothing is left of an attempt that failed");
    let waits = later(table.acquire(&writes(&[1, 2]), 7));
    assert_eq!(table.try_acquire(&reads(&[1])), None);
    assert_eq!(table.try_acquire(&reads(&[2])), None);
    assert_eq!(release(&mut table, held), [7]);
    assert_eq!(release(&mut table, waits), []);
    assert!(table.is_idle());
    assert_eq!(table.keys(), 0);
}

#[test]
fn the_whole_shard_in_turn_with_its_keys() {
    let mut table = LockTable::new();
    let writer = now(table.acquire(&writes(&[1]), 0));
    let reader = now(table.acquire(&reads(&[2]), 1));
    let scan = later(table.acquire(&Claims::all(Mode::Shared), 2));
    assert!(table.is_free(key(2), Mode::Shared), "a scan does not mind readers");
    assert!(!table.is_free(key(3), Mode::Exclusive), "a writer waits behind it");
    let flush = later(table.acquire(&Claims::all(Mode::Exclusive), 3));
    assert!(!table.is_free(key(3), Mode::Shared), "behind that, everybody waits");
    later(table.acquire(&reads(&[3]), 4));
    later(table.acquire(&writes(&[3]), 5));
    assert_eq!(release(&mut table, writer), [2]);
    assert_eq!(release(&mut table, reader), []);
    assert_eq!(release(&mut table, scan), [3]);
    assert_eq!(release(&mut table, flush), [4]);
}

#[test]
fn the_whole_shard_read_with_one_key_written() {
    let mut table = LockTable::new();
    let mut mixed = writes(&[1]);
    mixed.add_all(Mode::Shared);
    let ticket = now(table.acquire(&mixed, 0));
    assert!(table.is_free(key(2), Mode::Shared));
    assert!(!table.is_free(key(1), Mode::Shared));
    assert!(!table.is_free(key(2), Mode::Exclusive));
    assert_eq!(table.try_acquire(&Claims::all(Mode::Shared)), None);
    assert_eq!(release(&mut table, ticket), []);
}

#[test]
fn who_gives_up_lets_those_behind_it_go() {
    let mut table = LockTable::new();
    let reader = now(table.acquire(&reads(&[1]), 0));
    let writer = later(table.acquire(&writes(&[1, 2]), 1));
    later(table.acquire(&reads(&[1]), 2));
    later(table.acquire(&writes(&[2]), 3));
    let mut granted = Vec::new();
    assert_eq!(table.cancel(reader, &mut granted), None, "it waits for nothing");
    assert_eq!(table.cancel(writer, &mut granted), Some(1));
    assert_eq!(granted.iter().map(|(_, waiter)| *waiter).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(table.cancel(writer, &mut granted), None, "a ticket names one request only");
}

#[test]
#[should_panic(expected = "released once")]
fn a_lock_is_not_released_twice() {
    let mut table = LockTable::new();
    let ticket = now(table.acquire(&reads(&[1]), 0));
    release(&mut table, ticket);
    table.acquire(&reads(&[1]), 1);
    release(&mut table, ticket);
}

#[test]
fn the_memory_of_large_requests_goes() {
    let mut table = LockTable::new();
    let many: Vec<u64> = (0..100_000).collect();
    let ticket = now(table.acquire(&writes(&many), 0));
    let waiters: Vec<Ticket> = (0..5000).map(|n| later(table.acquire(&reads(&[n]), n as u32))).collect();
    assert_eq!(release(&mut table, ticket).len(), waiters.len());
    waiters.into_iter().for_each(|ticket| drop(release(&mut table, ticket)));
    assert!(table.keys.capacity() < 10 * KEPT && table.requests.capacity() < 10 * KEPT);
    now(table.acquire(&reads(&[1]), 0));
}

/// What one step of a random run does; the numbers pick among what there is.
#[derive(Clone, Debug)]
enum Step {
    Acquire(Claims),
    Try(Claims),
    Release(usize),
    Cancel(usize),
}

fn any_claims() -> impl Strategy<Value = Claims> {
    let mode = || prop_oneof![Just(Mode::Shared), Just(Mode::Exclusive)];
    let keys = proptest::collection::vec((0u64..5, mode()), 0..4);
    let whole = prop_oneof![6 => Just(None), 1 => mode().prop_map(Some)];
    (keys, whole).prop_map(|(keys, whole)| {
        let mut claims = Claims::new();
        keys.into_iter().for_each(|(n, mode)| claims.add(key(n), mode));
        whole.into_iter().for_each(|mode| claims.add_all(mode));
        claims
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any_claims().prop_map(Step::Acquire),
        2 => any_claims().prop_map(Step::Try),
        4 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Cancel),
    ]
}

/// A table and what it should be.
struct Run {
    table: LockTable<u32>,
    model: Model,
    holding: Vec<Ticket>,
    waiting: Vec<(Ticket, u32)>,
    next: u32,
}

impl Run {
    fn acquire(&mut self, claims: &Claims) {
        self.next += 1;
        match self.table.acquire(claims, self.next) {
            Acquired::Now(ticket, waiter) => {
                assert_eq!(waiter, self.next);
                assert!(self.model.enter(ticket, claims));
                self.holding.push(ticket);
            }
            Acquired::Later(ticket) => {
                assert!(!self.model.enter(ticket, claims));
                self.waiting.push((ticket, self.next));
            }
        }
    }

    fn try_acquire(&mut self, claims: &Claims) {
        let refused = self.model.would_wait(claims);
        match self.table.try_acquire(claims) {
            Some(ticket) => {
                assert!(self.model.enter(ticket, claims));
                self.holding.push(ticket);
            }
            None => assert!(refused),
        }
    }

    fn release(&mut self, pick: usize) {
        if self.holding.is_empty() {
            return;
        }
        let ticket = self.holding.swap_remove(pick % self.holding.len());
        let mut granted = Vec::new();
        self.table.release(ticket, &mut granted);
        self.granted(ticket, granted);
    }

    fn cancel(&mut self, pick: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let (ticket, waiter) = self.waiting.remove(pick % self.waiting.len());
        let mut granted = Vec::new();
        assert_eq!(self.table.cancel(ticket, &mut granted), Some(waiter));
        self.granted(ticket, granted);
    }

    fn granted(&mut self, left: Ticket, granted: Vec<(Ticket, u32)>) {
        let tickets: Vec<Ticket> = granted.iter().map(|(ticket, _)| *ticket).collect();
        assert_eq!(tickets, self.model.leave(left));
        for (ticket, waiter) in granted {
            let at = self.waiting.iter().position(|waiting| *waiting == (ticket, waiter)).expect("it waited");
            self.waiting.remove(at);
            self.holding.push(ticket);
        }
    }

    fn check(&self) {
        assert_eq!((self.table.len(), self.table.waiting()), (self.model.len(), self.model.waiting()));
        assert_eq!(self.table.is_idle(), self.model.len() == 0);
        for (n, mode) in (0..5).flat_map(|n| [(n, Mode::Shared), (n, Mode::Exclusive)]) {
            let claims = Claims::one(key(n), mode);
            assert_eq!(self.table.is_free(key(n), mode), !self.model.would_wait(&claims), "key {n} {mode:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn as_the_model(steps in proptest::collection::vec(any_step(), 0..80)) {
        let table = LockTable::new();
        let mut run = Run { table, model: Model::new(), holding: Vec::new(), waiting: Vec::new(), next: 0 };
        for step in steps {
            match step {
                Step::Acquire(claims) => run.acquire(&claims),
                Step::Try(claims) => run.try_acquire(&claims),
                Step::Release(pick) => run.release(pick),
                Step::Cancel(pick) => run.cancel(pick),
            }
            run.check();
        }
        while !run.holding.is_empty() {
            run.release(0);
            run.check();
        }
        prop_assert!(run.waiting.is_empty(), "a grant was lost");
        prop_assert!(run.table.is_idle());
        prop_assert_eq!(run.table.keys(), 0);
    }
}
