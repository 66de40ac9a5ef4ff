//! Who can replicate from whom: every pair of Basalt and redis-server, and a chain of both, each with a full resync under a random
//! write load, a cut and a partial resync, and equal contents after each.

mod common;
#[path = "differential/families/mod.rs"]
#[allow(dead_code)]
mod families;
#[path = "differential/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "replication/mod.rs"]
mod replication;

use common::link::Ending;
use common::{Kind, Link, Node, seed, wait_until};
use replication::{Load, Mix, at_once, wait_link_up, wait_synced};

#[derive(Debug)]
struct Pair {
    primary: Kind,
    replica: Kind,
    /// Directives of the primary and the replica.
    directives: &'static [(&'static str, &'static str)],
}

const SOCKET: &[(&str, &str)] = &[("repl-diskless-load", "swapdb")];
const DISK: &[(&str, &str)] = &[("repl-diskless-sync", "no"), ("repl-diskless-load", "disabled")];
const BACKLOG: &[(&str, &str)] = &[("repl-backlog-size", "32mb")];

/// A replica joins a primary that is written to, loses its link, and comes back.
fn full_then_partial(pair: &Pair, seed: u64) {
    let directives = [BACKLOG, pair.directives].concat();
    let (primary, replica) = (Node::start(pair.primary, &directives), Node::start(pair.replica, &directives));
    // Something that the full resync must take away.
    replica.conn().ok("MSET of-the-replica 1 wide:1 2");
    let load = Load::start(primary.port, seed, Mix::of(pair.primary));
    load.wait_for(3000);
    let link = Link::to(primary.port);
    replica.replicate(link.port);
    wait_link_up(&replica);
    load.wait_for(2000);
    let full = primary.info().number("sync_full");
    assert_eq!(full, 1, "one full resync");
    for (round, ending) in [Ending::Orderly, Ending::Reset].into_iter().enumerate() {
        link.refuse(true);
        link.cut(ending);
        wait_until("the link is seen to be down", || !replica.info().link_up());
        load.wait_for(500);
        link.refuse(false);
        wait_link_up(&replica);
        let partial = primary.info().number("sync_partial_ok");
        assert_eq!(partial, round as i64 + 1, "the backlog reaches: a partial resync");
    }
    assert_eq!(primary.info().number("sync_full"), full, "and no full one");
    let report = load.stop();
    wait_synced(&primary, &[&replica]);
    println!("{pair:?}: {report:?}");
}

fn pairs(primary: &[Kind], replica: &[Kind], directives: &'static [(&'static str, &'static str)]) -> Vec<Pair> {
    let all = primary.iter().flat_map(|&p| replica.iter().map(move |&r| (p, r)));
    all.map(|(primary, replica)| Pair { primary, replica, directives }).collect()
}

const BASALTS: [Kind; 3] = [Kind::Basalt(1), Kind::Basalt(2), Kind::Basalt(4)];

#[test]
fn basalt_to_redis() {
    let seed = seed();
    at_once(pairs(&BASALTS, &[Kind::Redis], SOCKET), |pair| full_then_partial(pair, seed));
}

#[test]
fn redis_to_basalt() {
    let seed = seed();
    at_once(pairs(&[Kind::Redis], &BASALTS, SOCKET), |pair| full_then_partial(pair, seed));
}

#[test]
fn basalt_to_basalt() {
    let seed = seed();
    let mut cases = pairs(&BASALTS, &[Kind::Basalt(2)], SOCKET);
    cases.extend(pairs(&[Kind::Basalt(2)], &[Kind::Basalt(1), Kind::Basalt(4)], SOCKET));
    at_once(cases, |pair| full_then_partial(pair, seed));
}

/// By files on both sides, where a side has files.
#[test]
fn by_way_of_the_disk() {
    let seed = seed();
    let mut cases = pairs(&[Kind::Basalt(2)], &[Kind::Redis, Kind::Basalt(2)], DISK);
    cases.extend(pairs(&[Kind::Redis], &[Kind::Basalt(2)], DISK));
    at_once(cases, |pair| full_then_partial(pair, seed));
}

/// redis-server and Basalt in turn, four nodes in a row: all of them end up with what the first one has, the offsets too.
fn chain(kinds: &[Kind], seed: u64) {
    let nodes: Vec<Node> = kinds.iter().map(|&kind| Node::start(kind, BACKLOG)).collect();
    let load = Load::start(nodes[0].port, seed, Mix::of(kinds[0]));
    load.wait_for(1000);
    for pair in nodes.windows(2) {
        pair[1].replicate(pair[0].port);
        wait_link_up(&pair[1]);
    }
    load.wait_for(2000);
    // The second node loses its first link, and all behind it go on with what it then gets.
    let link = Link::to(nodes[0].port);
    nodes[1].replicate(link.port);
    wait_link_up(&nodes[1]);
    link.cut(Ending::Reset);
    wait_until("a partial resync", || nodes[0].info().number("sync_partial_ok") >= 2);
    load.wait_for(1000);
    load.stop();
    let replicas: Vec<&Node> = nodes.iter().skip(1).collect();
    wait_synced(&nodes[0], &replicas);
    let ids: Vec<String> = nodes.iter().map(|node| node.info().text("master_replid").to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one history, one ID: {ids:?}");
    assert_eq!(nodes[0].info().number("sync_full"), 1, "the others came from those between");
}

#[test]
fn a_chain_of_both() {
    let seed = seed();
    let chains = vec![
        vec![Kind::Redis, Kind::Basalt(2), Kind::Redis, Kind::Basalt(1)],
        vec![Kind::Basalt(4), Kind::Redis, Kind::Basalt(2), Kind::Basalt(1)],
    ];
    at_once(chains, |kinds| chain(kinds, seed));
}
