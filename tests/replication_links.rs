//! What happens to links: cut, stalled, one end stopped, under a random write load; aborted at many bytes while a snapshot is on its
//! way; too slow for the buffer that the primary keeps for it.
//!
//! After each the replica goes on where it was when the backlog reaches, starts over when not, holds the same as its primary in the end,
//! and was never seen to go back.

mod common;
#[path = "differential/families/mod.rs"]
#[allow(dead_code)]
mod families;
#[path = "differential/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "replication/mod.rs"]
mod replication;

use common::link::{Direction, Ending};
use common::node::Info;
use common::{Conn, Kind, Link, Node, Rng, seed, wait_until};
use replication::{Load, Mix, at_once, wait_link_up, wait_synced};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAIRS: [(Kind, Kind); 4] = [
    (Kind::Basalt(2), Kind::Basalt(2)),
    (Kind::Basalt(4), Kind::Basalt(1)),
    (Kind::Redis, Kind::Basalt(2)),
    (Kind::Basalt(2), Kind::Redis),
];

/// Polls a replica: while its link is up, its offset only grows.
struct Watch {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<i64, String>>>,
}

impl Watch {
    fn over(replica: &Node) -> Watch {
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, port) = (Arc::clone(&stopping), replica.port);
        let thread = std::thread::spawn(move || {
            let mut last = -1;
            while !stop.load(Ordering::SeqCst) {
                // A replica that is stopped, or loading, tells nothing; the next one does.
                if let Ok(info) = Info::of(port)
                    && info.link_up()
                {
                    if info.offset() < last {
                        return Err(format!("the offset went back from {last} to {}", info.offset()));
                    }
                    last = info.offset();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(last)
        });
        Watch { stopping, thread: Some(thread) }
    }

    #[track_caller]
    fn finish(mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        let last = self.thread.take().expect("finished once").join().expect("the watch has not panicked");
        assert!(last.expect("offsets only grow") > 0, "the link was seen to be up");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Cut(Ending),
    /// Nothing gets through, until both ends have given up.
    Stall,
    /// SIGSTOP until the replica has given up.
    PausePrimary,
    /// SIGSTOP until the primary has given up.
    PauseReplica,
}

const FAULTS: [Fault; 5] =
    [Fault::Cut(Ending::Orderly), Fault::Cut(Ending::Reset), Fault::Stall, Fault::PausePrimary, Fault::PauseReplica];

/// Whether what the primary keeps reaches back to where the link broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backlog {
    Reaches,
    TooSmall,
}

struct Faulty<'a> {
    primary: &'a Node,
    replica: &'a Node,
    link: &'a Link,
    load: &'a Load,
}

impl Faulty<'_> {
    /// Lets a fault come and go, with `bytes` of the stream written while the replica misses them.
    fn suffer(&self, fault: Fault, bytes: i64) {
        let replica_notices = || wait_until("the replica sees it", || !self.replica.info().link_up());
        let primary_notices =
            || wait_until("the primary sees it", || self.primary.info().number("connected_slaves") == 0);
        // From when the primary has given up: what it sent before may wait in a socket.
        let written = || {
            let before = self.primary.info().offset();
            wait_until("the stream goes on without the replica", || self.primary.info().offset() > before + bytes);
        };
        match fault {
            Fault::Cut(ending) => {
                self.link.refuse(true);
                self.link.cut(ending);
                replica_notices();
                primary_notices();
                written();
                self.link.refuse(false);
            }
            Fault::Stall => {
                self.link.stall(true);
                primary_notices();
                replica_notices();
                written();
                self.link.stall(false);
            }
            Fault::PausePrimary => {
                self.primary.pause();
                replica_notices();
                // What it misses is only what comes between waking up and the next PSYNC.
                self.primary.resume();
            }
            Fault::PauseReplica => {
                self.replica.pause();
                primary_notices();
                written();
                self.replica.resume();
            }
        }
        self.load.wait_for(200);
    }
}

fn under_load(&(primary, replica, fault, backlog): &(Kind, Kind, Fault, Backlog), seed: u64) {
    let size = if backlog == Backlog::Reaches { "64mb" } else { "16kb" };
    let directives = [("repl-backlog-size", size), ("repl-timeout", "2"), ("repl-diskless-load", "swapdb")];
    let (primary, replica) = (Node::start(primary, &directives), Node::start(replica, &directives));
    let link = Link::to(primary.port);
    let load = Load::start(primary.port, seed, Mix::ALL);
    load.wait_for(500);
    replica.replicate(link.port);
    wait_link_up(&replica);
    let watch = Watch::over(&replica);
    let before = primary.info();
    let missed = if backlog == Backlog::Reaches { 1000 } else { 1_000_000 };
    Faulty { primary: &primary, replica: &replica, link: &link, load: &load }.suffer(fault, missed);
    wait_until("the replica has synced again", || {
        let now = primary.info();
        let more = |field: &str| now.number(field) > before.number(field);
        match backlog {
            Backlog::Reaches => more("sync_partial_ok"),
            Backlog::TooSmall => more("sync_full"),
        }
    });
    wait_link_up(&replica);
    load.wait_for(200);
    load.stop();
    wait_synced(&primary, &[&replica]);
    watch.finish();
    let after = primary.info();
    match backlog {
        Backlog::Reaches => assert_eq!(after.number("sync_full"), before.number("sync_full"), "the backlog reached"),
        Backlog::TooSmall => assert_eq!(after.number("sync_partial_ok"), before.number("sync_partial_ok")),
    }
}

#[test]
fn a_broken_link_that_the_backlog_bridges() {
    let seed = seed();
    for (primary, replica) in PAIRS {
        let cases = FAULTS.map(|fault| (primary, replica, fault, Backlog::Reaches));
        at_once(cases.to_vec(), |case| under_load(case, seed));
    }
}

#[test]
fn a_broken_link_that_was_away_for_too_long() {
    let seed = seed();
    let faults = [Fault::Cut(Ending::Reset), Fault::Stall, Fault::PauseReplica];
    for (primary, replica) in PAIRS {
        let cases = faults.map(|fault| (primary, replica, fault, Backlog::TooSmall));
        at_once(cases.to_vec(), |case| under_load(case, seed));
    }
}

/// Where a sync is to be cut: each byte of the handshake and of the beginning and the end of the snapshot, some between.
fn positions(total: u64, random: &mut Rng, every_byte: bool) -> Vec<u64> {
    const EDGE: u64 = 100;
    let mut all: Vec<u64> = if every_byte {
        let edges = (1..EDGE.min(total)).chain(total.saturating_sub(EDGE).max(1)..total);
        edges.chain((0..60).map(|_| 1 + random.next() % (total - 1))).collect()
    } else {
        (0..6).map(|_| 1 + random.next() % (total - 1)).collect()
    };
    all.sort_unstable();
    all.dedup();
    all
}

/// REPLICAOF, again while it is refused because data are being loaded.
#[track_caller]
fn replicaof(conn: &mut Conn, place: &str) {
    wait_until(&format!("REPLICAOF {place} is taken"), || {
        let reply = conn.cmd(&format!("REPLICAOF {place}")).text();
        assert!(reply == "OK" || reply.starts_with("LOADING"), "{reply}");
        reply == "OK"
    });
}

/// A replica whose sync breaks off again and again has what it had, and gets all in the end.
fn aborted_syncs(&(primary, replica, load, direction): &(Kind, Kind, &str, Direction), seed: u64) {
    let directives = [("repl-diskless-load", load), ("repl-timeout", "10")];
    let (primary, replica) = (Node::start(primary, &directives), Node::start(replica, &directives));
    let mut conn = primary.conn();
    for i in 0..400 {
        conn.argv(&["SET", &format!("key:{i}"), &format!("{i}:").repeat(i % 100)]);
    }
    conn.ok("SELECT 3");
    conn.ok("SET other 17 PX 100000000");
    let mut own = replica.conn();
    let link = Link::to(primary.port);
    replica.replicate(link.port);
    wait_link_up(&replica);
    wait_synced(&primary, &[&replica]);
    // The pings and acknowledgements of a second or so are in it as well; it is only a length.
    let total = link.passed(direction);
    let mut random = Rng::new(seed);
    for at in positions(total, &mut random, primary.is_basalt() && replica.is_basalt()) {
        replicaof(&mut own, "NO ONE");
        own.ok("FLUSHALL");
        own.ok("SET mine 1");
        let cuts = link.cuts();
        link.limit(direction, at);
        replicaof(&mut own, &format!("127.0.0.1 {}", link.port));
        wait_until(&format!("the link is cut at byte {at} of {total}"), || link.cuts() > cuts);
        if load == "swapdb" {
            replicaof(&mut own, "NO ONE");
            assert!(matches!(own.cmd("DBSIZE").int(), 1 | 400), "cut at byte {at}: all or nothing");
        }
    }
    replicaof(&mut own, "NO ONE");
    replicaof(&mut own, &format!("127.0.0.1 {}", link.port));
    wait_link_up(&replica);
    wait_synced(&primary, &[&replica]);
    let left: Vec<String> = replica.files().into_iter().filter(|name| name.starts_with("temp-")).collect();
    assert!(left.is_empty(), "temporary files are taken away: {left:?}");
}

#[test]
fn syncs_aborted_anywhere() {
    let seed = seed();
    let mut cases = Vec::new();
    for (primary, replica) in PAIRS {
        cases.push((primary, replica, "swapdb", Direction::Down));
        cases.push((primary, replica, "disabled", Direction::Down));
        cases.push((primary, replica, "swapdb", Direction::Up));
    }
    at_once(cases, |case| aborted_syncs(case, seed));
}

/// A replica that does not read is dropped when its buffer is full, and the primary goes on.
fn overflow(&(primary, replica): &(Kind, Kind), seed: u64) {
    let directives = [
        ("client-output-buffer-limit", "replica 1mb 0 0"),
        ("repl-backlog-size", "16kb"),
        ("repl-timeout", "60"),
        ("repl-diskless-load", "swapdb"),
    ];
    let (primary, replica) = (Node::start(primary, &directives), Node::start(replica, &directives));
    let load = Load::start(primary.port, seed, Mix::KEEPING);
    replica.replicate(primary.port);
    wait_link_up(&replica);
    replica.pause();
    let (mut conn, large) = (primary.conn(), "x".repeat(200_000));
    wait_until("the replica is dropped", || {
        conn.argv(&["SET", "large", &large]);
        primary.info().number("connected_slaves") == 0
    });
    assert!(primary.log().contains("output buffer limits"), "the log tells of it:\n{}", primary.log());
    let memory = primary.info().number("used_memory");
    assert!(memory < 100_000_000, "and what it did not read is gone: {memory} bytes");
    replica.resume();
    wait_until("it comes back with a full resync", || primary.info().number("sync_full") == 2);
    load.stop();
    wait_synced(&primary, &[&replica]);
}

#[test]
fn a_stalled_replica_overflows_its_buffer() {
    let seed = seed();
    at_once(PAIRS.to_vec(), |pair| overflow(pair, seed));
}

/// The snapshot waits for the second replica, and then serves both.
fn two_join(&(primary, replica): &(Kind, Kind), seed: u64) {
    let directives =
        [("repl-diskless-sync-delay", "1000"), ("repl-diskless-sync-max-replicas", "2"), ("repl-timeout", "60")];
    let primary = Node::start(primary, &directives);
    let replicas = [Node::start(replica, &directives), Node::start(replica, &directives)];
    let load = Load::start(primary.port, seed, Mix::ALL);
    replicas[0].replicate(primary.port);
    wait_until("the first one waits", || {
        let info = primary.info();
        info.has("slave0") && info.text("slave0").contains("state=wait_bgsave")
    });
    load.wait_for(1000);
    assert!(!replicas[0].info().link_up(), "no snapshot for one alone");
    replicas[1].replicate(primary.port);
    replicas.iter().for_each(wait_link_up);
    assert_eq!(primary.info().number("sync_full"), 2);
    load.wait_for(500);
    load.stop();
    wait_synced(&primary, &[&replicas[0], &replicas[1]]);
    // A third comes too late for that snapshot, waits for a fourth, and both get one of their own.
    let later = [Node::start(replica, &directives), Node::start(replica, &directives)];
    later.iter().for_each(|node| node.replicate(primary.port));
    later.iter().for_each(wait_link_up);
    assert_eq!(primary.info().number("sync_full"), 4);
    wait_synced(&primary, &[&replicas[0], &replicas[1], &later[0], &later[1]]);
}

#[test]
fn one_snapshot_serves_all_that_wait() {
    let seed = seed();
    at_once(PAIRS.to_vec(), |pair| two_join(pair, seed));
}

/// The primary is killed while it sends a snapshot, and comes back empty or not at all: the replica tries until there is one.
fn primary_ends_meanwhile(&(primary, replica): &(Kind, Kind), seed: u64) {
    let directives = [("repl-diskless-load", "swapdb")];
    let (mut primary, replica) = (Node::start(primary, &directives), Node::start(replica, &directives));
    let load = Load::start(primary.port, seed, Mix::KEEPING);
    load.wait_for(1000);
    let link = Link::to(primary.port);
    let mut random = Rng::new(seed);
    for _ in 0..3 {
        let bytes = 100 + random.next() % 20_000;
        let cuts = link.cuts();
        link.limit(Direction::Down, bytes);
        replica.replicate(link.port);
        wait_until("the snapshot is under way", || link.cuts() > cuts);
        primary.kill();
        wait_until("the replica is without a link", || !replica.info().link_up());
        primary.restart();
        load.wait_for(300);
        wait_link_up(&replica);
        replica.promote();
    }
    replica.replicate(link.port);
    load.stop();
    wait_synced(&primary, &[&replica]);
}

#[test]
fn a_primary_that_ends_in_the_middle_of_a_sync() {
    let seed = seed();
    at_once(PAIRS.to_vec(), |pair| primary_ends_meanwhile(pair, seed));
}
