//! A primary is gone or hands over: one of its replicas takes its place, the others follow it with a partial resync, for they share a
//! history, and all hold the same.

mod common;
#[path = "differential/families/mod.rs"]
#[allow(dead_code)]
mod families;
#[path = "differential/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "replication/mod.rs"]
mod replication;

use common::{Conn, Kind, Link, Node, seed, wait_until};
use replication::{Load, Mix, at_once, wait_link_up, wait_synced};

const DIRECTIVES: &[(&str, &str)] = &[("repl-backlog-size", "32mb")];
/// The same, with a stream that stands still when nobody writes.
const QUIET: &[(&str, &str)] =
    &[("repl-backlog-size", "32mb"), ("repl-ping-replica-period", "3600"), ("repl-timeout", "60")];

/// A primary and its replicas, all of them up.
fn group(kinds: &[Kind]) -> Vec<Node> {
    group_with(kinds, DIRECTIVES)
}

fn group_with(kinds: &[Kind], directives: &[(&str, &str)]) -> Vec<Node> {
    let nodes: Vec<Node> = kinds.iter().map(|&kind| Node::start(kind, directives)).collect();
    for replica in &nodes[1..] {
        replica.replicate(nodes[0].port);
        wait_link_up(replica);
    }
    // A backlog begins where its node joined: all are to be beyond where the last one did.
    let mut conn = nodes[0].conn();
    conn.ok("SET all-have-joined 1");
    assert_eq!(conn.cmd(&format!("WAIT {} 60000", nodes.len() - 1)).int(), nodes.len() as i64 - 1);
    nodes
}

/// The replica that has most of the stream, as whoever promotes one would pick it.
fn furthest(replicas: &[Node]) -> usize {
    let offsets: Vec<i64> = replicas.iter().map(|node| node.info().offset()).collect();
    (0..replicas.len()).max_by_key(|&i| offsets[i]).expect("some replicas")
}

fn killed(kinds: &[Kind], seed: u64) {
    let mut nodes = group(kinds);
    let load = Load::start(nodes[0].port, seed, Mix::ALL);
    load.wait_for(3000);
    let id = nodes[0].info().text("master_replid").to_owned();
    nodes[0].kill();
    let mut old = nodes.remove(0);
    wait_until("all replicas see it", || nodes.iter().all(|node| !node.info().link_up()));
    let new = nodes.remove(furthest(&nodes));
    new.promote();
    load.turn_to(new.port);
    load.wait_for(1000);
    let info = new.info();
    assert_eq!(info.text("master_replid2"), id, "the history it comes from");
    assert_ne!(info.text("master_replid"), id, "and one of its own");
    nodes.iter().for_each(|node| node.replicate(new.port));
    nodes.iter().for_each(wait_link_up);
    load.wait_for(1000);
    let info = new.info();
    assert_eq!(info.number("sync_partial_ok"), nodes.len() as i64, "siblings go on from where they were");
    assert_eq!(info.number("sync_full"), 0);
    // The old primary comes back with nothing of the history and takes all.
    old.restart();
    old.replicate(new.port);
    wait_link_up(&old);
    assert_eq!(new.info().number("sync_full"), 1);
    load.wait_for(500);
    load.stop();
    let replicas: Vec<&Node> = nodes.iter().chain([&old]).collect();
    wait_synced(&new, &replicas);
}

const GROUPS: [&[Kind]; 5] = [
    &[Kind::Basalt(2), Kind::Basalt(2), Kind::Basalt(2)],
    &[Kind::Basalt(4), Kind::Basalt(1), Kind::Basalt(2), Kind::Redis],
    &[Kind::Redis, Kind::Basalt(2), Kind::Basalt(4)],
    &[Kind::Redis, Kind::Basalt(2), Kind::Redis],
    &[Kind::Basalt(2), Kind::Redis, Kind::Redis],
];

#[test]
fn a_killed_primary() {
    let seed = seed();
    at_once(GROUPS.to_vec(), |kinds| killed(kinds, seed));
}

/// Lets a primary write nothing more, its own removals of expired keys included, and waits until its replicas have all of its history.
fn stand_still(primary: &Node, replicas: &[&Node]) {
    wait_synced(primary, replicas);
    primary.conn().ok("CLIENT PAUSE 600000 WRITE");
    let offset = primary.info().offset();
    wait_until("the replicas have everything", || replicas.iter().all(|replica| replica.info().offset() == offset));
}

/// Ends that.
fn go_on(node: &Node) {
    node.conn().ok("CLIENT UNPAUSE");
}

/// The primary becomes the replica of its own replica, without a full resync: it has the same history.
fn switched(kinds: &[Kind], seed: u64) {
    let nodes = group_with(kinds, QUIET);
    let load = Load::start(nodes[0].port, seed, Mix::ALL);
    load.wait_for(2000);
    load.stop();
    stand_still(&nodes[0], &nodes[1..].iter().collect::<Vec<_>>());
    let fulls = || nodes.iter().map(|node| node.info().number("sync_full")).sum::<i64>();
    let before = fulls();
    nodes[1].promote();
    for node in nodes.iter().filter(|node| node.port != nodes[1].port) {
        node.replicate(nodes[1].port);
        go_on(node);
        wait_link_up(node);
    }
    let load = Load::start(nodes[1].port, seed + 1, Mix::ALL);
    load.wait_for(2000);
    load.stop();
    let others: Vec<&Node> = nodes.iter().filter(|node| node.port != nodes[1].port).collect();
    wait_synced(&nodes[1], &others);
    assert_eq!(fulls(), before, "partial resyncs only");
}

#[test]
fn roles_that_are_switched_by_hand() {
    let seed = seed();
    at_once(GROUPS.to_vec(), |kinds| switched(kinds, seed));
}

/// The middle one of a chain is promoted: what is behind it stays connected or comes back with a partial resync, and what was before
/// it can come behind it.
fn turned_chain(kinds: &[Kind], seed: u64) {
    let nodes: Vec<Node> = kinds.iter().map(|&kind| Node::start(kind, QUIET)).collect();
    for pair in nodes.windows(2) {
        pair[1].replicate(pair[0].port);
        wait_link_up(&pair[1]);
    }
    let load = Load::start(nodes[0].port, seed, Mix::ALL);
    load.wait_for(1500);
    load.stop();
    stand_still(&nodes[0], &nodes[1..].iter().collect::<Vec<_>>());
    let before: Vec<i64> = nodes.iter().map(|node| node.info().number("sync_full")).collect();
    nodes[1].promote();
    let load = Load::start(nodes[1].port, seed + 1, Mix::ALL);
    load.wait_for(1000);
    wait_link_up(&nodes[2]);
    // The first has written nothing that the second has not: it follows.
    nodes[0].replicate(nodes[2].port);
    go_on(&nodes[0]);
    wait_link_up(&nodes[0]);
    load.wait_for(1000);
    load.stop();
    wait_synced(&nodes[1], &[&nodes[0], &nodes[2]]);
    let after: Vec<i64> = nodes.iter().map(|node| node.info().number("sync_full")).collect();
    assert_eq!(after, before, "one history all along: no full resync");
}

#[test]
fn a_chain_turned_around() {
    let seed = seed();
    let chains: Vec<&[Kind]> = vec![
        &[Kind::Basalt(2), Kind::Basalt(2), Kind::Basalt(1)],
        &[Kind::Redis, Kind::Basalt(2), Kind::Redis],
        &[Kind::Basalt(2), Kind::Redis, Kind::Basalt(4)],
    ];
    at_once(chains, |kinds| turned_chain(kinds, seed));
}

/// What the old primary wrote and nobody got must go when it comes back as a replica.
fn diverged(kinds: &[Kind], seed: u64) {
    let nodes = group(kinds);
    let link = Link::to(nodes[0].port);
    nodes[1].replicate(link.port);
    wait_link_up(&nodes[1]);
    let load = Load::start(nodes[0].port, seed, Mix::KEEPING);
    load.wait_for(500);
    load.stop();
    wait_synced(&nodes[0], &[&nodes[1]]);
    link.refuse(true);
    link.cut(common::link::Ending::Reset);
    wait_until("the link is down", || !nodes[1].info().link_up());
    nodes[0].conn().ok("SET only-here 1");
    nodes[1].promote();
    nodes[1].conn().ok("SET only-there 1");
    nodes[0].replicate(nodes[1].port);
    wait_link_up(&nodes[0]);
    wait_synced(&nodes[1], &[&nodes[0]]);
    assert_eq!(nodes[0].conn().cmd("EXISTS only-here only-there").int(), 1);
    let info = nodes[1].info();
    assert_eq!((info.number("sync_full"), info.number("sync_partial_ok")), (1, 0), "the histories differ");
}

#[test]
fn a_primary_with_writes_that_nobody_got() {
    let seed = seed();
    at_once(GROUPS.map(|kinds| &kinds[..2]).to_vec(), |kinds| diverged(kinds, seed));
}

/// FAILOVER: the primary waits until a replica has all, and they change places; no write that was acknowledged is lost.
fn failover(kinds: &[Kind], command: &str, seed: u64) {
    let nodes = group(kinds);
    // It reaches the old primary also when that is a replica.
    let load = Load::start(nodes[0].port, seed, Mix { counts: false, ..Mix::KEEPING });
    load.wait_for(1000);
    let mut conn = nodes[0].conn();
    assert_eq!(conn.cmd("SET last-of-the-old 1").text(), "OK");
    let command = command.replace("PORT", &nodes[1].port.to_string());
    assert_eq!(conn.cmd(&command).text(), "OK");
    wait_until("the old primary is a replica", || nodes[0].info().is_replica());
    // It becomes one before it asks another to take over.
    wait_until("a replica has taken over", || nodes[1..].iter().any(|node| !node.info().is_replica()));
    let new = nodes[1..].iter().position(|node| !node.info().is_replica());
    let new = &nodes[1 + new.expect("a replica that became primary")];
    load.turn_to(new.port);
    load.wait_for(500);
    let others: Vec<&Node> = nodes.iter().filter(|node| node.port != new.port).collect();
    // The old primary follows by itself.
    others[1..].iter().for_each(|node| node.replicate(new.port));
    others.iter().for_each(|node| wait_link_up(node));
    load.wait_for(500);
    load.stop();
    wait_synced(new, &others);
    assert_eq!(new.conn().cmd("EXISTS last-of-the-old").int(), 1);
    let fulls: i64 = nodes.iter().map(|node| node.info().number("sync_full")).sum();
    assert_eq!(fulls, others.len() as i64, "only those at the beginning");
    assert_eq!(nodes[0].info().text("master_failover_state"), "no-failover");
}

#[test]
fn failover_of_a_primary_that_lives() {
    let seed = seed();
    let mut cases = Vec::new();
    for kinds in GROUPS {
        cases.extend([(kinds, "FAILOVER"), (kinds, "FAILOVER TO 127.0.0.1 PORT TIMEOUT 10000")]);
    }
    at_once(cases, |(kinds, command)| failover(kinds, command, seed));
}

/// A replica that cannot keep up: FAILOVER waits, is refused meanwhile, and can be aborted; with FORCE it does not wait for ever.
fn failover_that_waits(kinds: &[Kind]) {
    let directives = [("repl-timeout", "60")];
    let nodes: Vec<Node> = kinds.iter().map(|&kind| Node::start(kind, &directives)).collect();
    nodes[1].replicate(nodes[0].port);
    wait_link_up(&nodes[1]);
    let mut conn = nodes[0].conn();
    let refused = |conn: &mut Conn, line: &str| {
        let reply = conn.cmd(line);
        assert!(reply.is_error(), "{line}: {reply:?}");
        reply.text()
    };
    assert_eq!(refused(&mut conn, "FAILOVER ABORT"), "ERR No failover in progress.");
    assert_eq!(refused(&mut conn, "FAILOVER TO 127.0.0.1 1"), "ERR FAILOVER target HOST and PORT is not a replica.");
    assert_eq!(refused(&mut conn, "FAILOVER TIMEOUT 0"), "ERR FAILOVER timeout must be greater than 0");
    let forced = "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
    assert_eq!(refused(&mut conn, "FAILOVER TIMEOUT 100 FORCE"), forced);
    assert_eq!(refused(&mut nodes[1].conn(), "FAILOVER"), "ERR FAILOVER is not valid when server is a replica.");
    wait_until("the replica is online", || nodes[0].info().text("slave0").contains("state=online"));
    nodes[1].pause();
    conn.ok("SET a 1");
    conn.ok("FAILOVER");
    assert_eq!(nodes[0].info().text("master_failover_state"), "waiting-for-sync");
    assert_eq!(refused(&mut conn, "FAILOVER"), "ERR FAILOVER already in progress.");
    // Writes wait as long as it goes on.
    let mut writer = nodes[0].conn();
    writer.send(&["SET", "b", "1"]).expect("sending");
    conn.ok("FAILOVER ABORT");
    assert_eq!(writer.read().expect("the write is answered").text(), "OK");
    assert_eq!(nodes[0].info().text("master_failover_state"), "no-failover");
    // Without FORCE the end of the time ends the failover.
    conn.ok("SET a 2");
    conn.ok("FAILOVER TIMEOUT 50");
    wait_until("it has given up", || nodes[0].info().text("master_failover_state") == "no-failover");
    assert!(!nodes[0].info().is_replica());
    assert_eq!(conn.cmd("SET c 1").text(), "OK");
    // With FORCE the replica takes over whatever it has.
    conn.ok(&format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 50 FORCE", nodes[1].port));
    wait_until("the old primary goes on alone", || {
        nodes[0].info().text("master_failover_state") == "failover-in-progress"
    });
    nodes[1].resume();
    wait_until("roles are switched", || nodes[0].info().is_replica() && !nodes[1].info().is_replica());
    wait_link_up(&nodes[0]);
    wait_synced(&nodes[1], &[&nodes[0]]);
}

#[test]
fn failover_that_is_held_up() {
    at_once(GROUPS.map(|kinds| &kinds[..2]).to_vec(), |kinds| failover_that_waits(kinds));
}
