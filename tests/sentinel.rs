//! The distribution's Sentinel looks after a group of nodes: three of them, over one primary and two replicas.
//!
//! The primary is killed while it is written to; Sentinel promotes the replica that may be promoted, the other one follows it, the old
//! primary is made a replica when it comes back, then all change places once more at the operator's wish. The time from the kill to
//! the first write that is accepted again is printed for each kind of group; nothing is asserted about it.

mod common;
#[path = "differential/families/mod.rs"]
#[allow(dead_code)]
mod families;
#[path = "differential/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "replication/mod.rs"]
mod replication;

use common::sentinels::BOUND;
use common::{Conn, Kind, Node, Reply, Sentinels, seed, wait_until, wait_up_to};
use replication::{Load, Mix, at_once, wait_link_up, wait_synced};
use std::time::Instant;

/// Long enough for a machine that is busy with everything else here: a primary that lives is not to be replaced.
const DOWN_AFTER_MS: u32 = 3000;

/// Sets a key on whichever of the nodes takes it first; the port of that one.
fn first_write(nodes: &[&Node]) -> u16 {
    let start = Instant::now();
    loop {
        for node in nodes {
            let Ok(mut conn) = Conn::try_open(&format!("127.0.0.1:{}", node.port)) else { continue };
            if conn.send(&["SET", "after-the-kill", "1"]).is_ok() && matches!(conn.read(), Ok(Reply::Simple(_))) {
                return node.port;
            }
        }
        assert!(start.elapsed() < BOUND, "no node takes writes");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn watched(kinds: &[Kind; 3], seed: u64) {
    let backlog = ("repl-backlog-size", "32mb");
    // The third may never be promoted, so that it is known who will be.
    let mut first = Node::start(kinds[0], &[backlog]);
    let (second, third) =
        (Node::start(kinds[1], &[backlog]), Node::start(kinds[2], &[backlog, ("replica-priority", "0")]));
    for replica in [&second, &third] {
        replica.replicate(first.port);
        wait_link_up(replica);
    }
    let sentinels = Sentinels::over(&first, &[&second, &third], DOWN_AFTER_MS);
    let load = Load::start(first.port, seed, Mix::ALL);
    load.wait_for(3000);

    let before = first.info().text("master_replid").to_owned();
    first.kill();
    let killed = Instant::now();
    let new = first_write(&[&second, &third]);
    let took = killed.elapsed();
    println!("{kinds:?}: writes are accepted again {:.2} s after the kill", took.as_secs_f64());
    assert_eq!(new, second.port, "the third one has priority 0");
    load.turn_to(second.port);
    load.wait_for(1000);
    assert_eq!(second.info().text("master_replid2"), before, "promoted with the history that it had");
    sentinels.wait_to_name(&second);
    wait_up_to(BOUND, "the third one follows", || {
        let info = third.info();
        info.link_up() && info.number("master_port") == i64::from(second.port)
    });
    assert_eq!(second.info().number("sync_partial_ok"), 1, "with a partial resync");

    first.restart();
    wait_up_to(BOUND, "the old primary is made a replica", || {
        let info = first.info();
        info.link_up() && info.number("master_port") == i64::from(second.port)
    });
    load.wait_for(500);
    load.stop();
    wait_synced(&second, &[&first, &third]);
    wait_until("the roles are in the configuration files", || {
        let line = format!("replicaof 127.0.0.1 {}", second.port);
        [&first, &third].iter().all(|node| node.config_file().lines().any(|has| has == line))
            && !second.config_file().contains("\nreplicaof")
    });
    change_places(&sentinels, &second, &first, &third, seed);
}

/// SENTINEL FAILOVER: from a primary that lives to the only replica that may be one, with partial resyncs only.
fn change_places(sentinels: &Sentinels, old: &Node, new: &Node, other: &Node, seed: u64) {
    sentinels.wait_for(old, &[new, other]);
    sentinels.fail_over();
    wait_up_to(BOUND, "the roles are switched", || {
        let follows = |node: &Node| {
            let info = node.info();
            info.link_up() && info.number("master_port") == i64::from(new.port)
        };
        !new.info().is_replica() && follows(old) && follows(other)
    });
    let load = Load::start(new.port, seed + 1, Mix::ALL);
    load.wait_for(500);
    load.stop();
    wait_synced(new, &[old, other]);
}

#[test]
fn a_killed_primary_is_replaced() {
    let seed = seed();
    let groups = vec![
        [Kind::Basalt(2), Kind::Basalt(2), Kind::Basalt(2)],
        [Kind::Redis, Kind::Redis, Kind::Redis],
        [Kind::Basalt(2), Kind::Redis, Kind::Basalt(1)],
        [Kind::Redis, Kind::Basalt(2), Kind::Redis],
    ];
    at_once(groups, |kinds| watched(kinds, seed));
}
