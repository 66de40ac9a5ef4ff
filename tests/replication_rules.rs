//! What a primary and a replica promise their clients and their operators: passwords, WAIT, enough replicas, read-only, stale data, expiry
//! that the primary decides, roles in the configuration file, and links that lead back to where they came from.

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
use common::{Kind, Link, Node, Reply, seed, wait_until};
use replication::{Load, Mix, at_once, wait_link_up, wait_synced};

const PAIRS: [(Kind, Kind); 4] = [
    (Kind::Basalt(2), Kind::Basalt(2)),
    (Kind::Basalt(4), Kind::Basalt(1)),
    (Kind::Redis, Kind::Basalt(2)),
    (Kind::Basalt(2), Kind::Redis),
];

/// A primary and a replica that is up and has acknowledged something.
fn pair(&(primary, replica): &(Kind, Kind), directives: &[(&str, &str)]) -> (Node, Node) {
    let (primary, replica) = (Node::start(primary, directives), Node::start(replica, directives));
    join(&primary, &[&replica]);
    (primary, replica)
}

fn join(primary: &Node, replicas: &[&Node]) {
    for replica in replicas {
        replica.replicate(primary.port);
        wait_link_up(replica);
    }
    wait_until("the replicas are online", || {
        let info = primary.info();
        (0..replicas.len()).all(|i| info.text(&format!("slave{i}")).contains("state=online"))
    });
}

#[test]
fn a_wrong_password() {
    at_once(PAIRS.to_vec(), |&(primary, replica)| {
        let primary = Node::start(primary, &[]);
        let replica = Node::start(replica, &[("masterauth", "wrong")]);
        let mut conn = primary.conn();
        conn.ok("SET a 1");
        conn.ok("CONFIG SET requirepass secret");
        replica.replicate(primary.port);
        wait_until("the log tells why", || replica.log().contains("WRONGPASS") || replica.log().contains("AUTH"));
        assert!(!replica.info().link_up());
        replica.set("masterauth", "secret");
        wait_link_up(&replica);
        assert_eq!(replica.conn().cmd("GET a").text(), "1");
        // A password that changes does not end a link that is up.
        conn.ok("CONFIG SET requirepass other");
        conn.ok("SET b 2");
        wait_until("the link still works", || replica.conn().cmd("GET b").text_or_nil() == "2");
        replica.set("masteruser", "default");
        replica.set("masterauth", "other");
        replica.promote();
        replica.replicate(primary.port);
        wait_link_up(&replica);
    });
}

#[test]
fn a_replica_of_itself() {
    at_once(vec![Kind::Basalt(2), Kind::Redis], |&kind| {
        let mut node = Node::start(kind, &[]);
        let mut conn = node.conn();
        conn.ok("SET a 1");
        node.replicate(node.port);
        wait_until("it is told that it has no link", || node.log().contains("NOMASTERLINK"));
        let info = node.info();
        assert!(info.is_replica() && !info.link_up());
        assert_eq!(conn.cmd("GET a").text(), "1", "nothing is lost");
        node.promote();
        assert_eq!(conn.cmd("SET a 2").text(), "OK");
        node.assert_healthy();
    });
}

/// A follows B, which follows A. Nobody forbids it: they may find each other, or tell each other that there is no primary; either way
/// nothing is lost, and when one is promoted the other goes on with a partial resync.
#[test]
fn a_cycle() {
    at_once(PAIRS.to_vec(), |kinds| {
        let (a, b) = pair(kinds, &[("repl-backlog-size", "10mb")]);
        a.conn().ok("SET k 1");
        wait_synced(&a, &[&b]);
        a.replicate(b.port);
        wait_until("both are replicas", || [&a, &b].iter().all(|node| node.info().is_replica()));
        for node in [&a, &b] {
            assert_eq!(node.conn().cmd("GET k").text(), "1");
            assert_eq!(node.conn().cmd("SET k 3").text(), "READONLY You can't write against a read only replica.");
        }
        let fulls = |node: &Node| node.info().number("sync_full");
        let before = (fulls(&a), fulls(&b));
        a.promote();
        wait_link_up(&b);
        a.conn().ok("SET k 2");
        wait_synced(&a, &[&b]);
        assert_eq!((fulls(&a), fulls(&b)), before, "a partial resync");
    });
}

/// A chain whose end the beginning follows.
#[test]
fn a_cycle_of_three() {
    let kinds = vec![[Kind::Basalt(2), Kind::Basalt(1), Kind::Basalt(4)], [Kind::Redis, Kind::Basalt(2), Kind::Redis]];
    at_once(kinds, |kinds| {
        let nodes = kinds.map(|kind| Node::start(kind, &[]));
        nodes[0].conn().ok("SET k 1");
        nodes[1].replicate(nodes[0].port);
        nodes[2].replicate(nodes[1].port);
        wait_link_up(&nodes[2]);
        wait_link_up(&nodes[1]);
        nodes[0].replicate(nodes[2].port);
        assert!(nodes.iter().all(|node| node.conn().cmd("GET k").text() == "1"));
        nodes[1].promote();
        nodes[1].conn().ok("SET k 2");
        wait_synced(&nodes[1], &[&nodes[2], &nodes[0]]);
    });
}

#[test]
fn wait_counts_those_that_have_it() {
    let groups = vec![
        [Kind::Basalt(2), Kind::Basalt(2), Kind::Redis],
        [Kind::Basalt(4), Kind::Redis, Kind::Basalt(1)],
        [Kind::Redis, Kind::Basalt(2), Kind::Basalt(1)],
    ];
    at_once(groups, |kinds| {
        let nodes = kinds.map(|kind| Node::start(kind, &[("repl-timeout", "60")]));
        let mut conn = nodes[0].conn();
        assert_eq!(conn.cmd("WAIT 0 0").int(), 0);
        assert_eq!(conn.cmd("WAIT 1 20").int(), 0, "nobody is there");
        join(&nodes[0], &[&nodes[1], &nodes[2]]);
        for i in 0..20 {
            conn.ok(&format!("SET key:{i} {i}"));
            assert_eq!(conn.cmd("WAIT 2 10000").int(), 2);
            assert_eq!(nodes[2].conn().cmd(&format!("GET key:{i}")).text(), i.to_string(), "acknowledged is applied");
        }
        conn.ok("MULTI");
        conn.ok("SET in-a-block 1");
        conn.ok("WAIT 2 0");
        assert_eq!(conn.cmd("EXEC").items().len(), 2, "WAIT does not wait in a block");
        nodes[2].pause();
        conn.ok("SET a 2");
        assert_eq!(conn.cmd("WAIT 1 10000").int(), 1);
        assert_eq!(conn.cmd("WAIT 2 50").int(), 1, "one of them is stopped");
        // Another client has written nothing: it has nothing to wait for.
        let mut other = nodes[0].conn();
        assert_eq!(other.cmd("WAIT 2 0").int(), 2);
        conn.send(&["WAIT", "2", "0"]).expect("sending");
        wait_until("the client waits", || nodes[0].info().number("blocked_clients") == 1);
        nodes[2].resume();
        assert_eq!(conn.read().expect("a reply").int(), 2);
        let refused = nodes[1].conn().cmd("WAIT 1 0").text();
        assert!(refused.starts_with("ERR WAIT cannot be used with replica instances."), "{refused}");
        for (line, error) in
            [("WAIT a 0", "ERR value is not an integer or out of range"), ("WAIT 1 -1", "ERR timeout is negative")]
        {
            assert_eq!(conn.cmd(line).text(), error);
        }
    });
}

/// Who waits when the node becomes a replica is told, and let go.
#[test]
fn a_new_role_unblocks() {
    at_once(vec![Kind::Basalt(2), Kind::Redis], |&kind| {
        let (primary, node) = (Node::start(Kind::Redis, &[]), Node::start(kind, &[]));
        let mut waiting = node.conn();
        waiting.ok("SET a 1");
        waiting.send(&["WAIT", "1", "0"]).expect("sending");
        wait_until("the client waits", || node.info().number("blocked_clients") == 1);
        node.replicate(primary.port);
        let told = waiting.read().expect("a reply").text();
        assert_eq!(
            told,
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
        );
        assert!(waiting.closed());
        wait_until("nobody waits", || node.info().number("blocked_clients") == 0);
    });
}

#[test]
fn enough_good_replicas_to_write() {
    let cases: Vec<_> = PAIRS
        .into_iter()
        .zip(
            [("min-replicas-to-write", "min-replicas-max-lag"), ("min-slaves-to-write", "min-slaves-max-lag")]
                .into_iter()
                .cycle(),
        )
        .collect();
    at_once(cases, |((primary, replica), (count, lag))| {
        let directives = [(*count, "1"), (*lag, "2"), ("repl-timeout", "60")];
        let (primary, replica) = (Node::start(*primary, &directives), Node::start(*replica, &[]));
        let mut conn = primary.conn();
        let refused = "NOREPLICAS Not enough good replicas to write.";
        assert_eq!(conn.cmd("SET a 1").text(), refused);
        assert!(conn.cmd("GET a").is_nil(), "reading goes on");
        conn.ok("MULTI");
        assert_eq!(conn.cmd("SET a 1").text(), refused);
        assert!(conn.cmd("EXEC").text().starts_with("EXECABORT"));
        replica.replicate(primary.port);
        wait_until("writes are taken", || conn.cmd("SET a 1").text() == "OK");
        assert_eq!(primary.info().number("min_slaves_good_slaves"), 1);
        replica.pause();
        wait_until("it lags behind", || conn.cmd("SET a 2").text() == refused);
        replica.resume();
        wait_until("it is good again", || conn.cmd("SET a 3").text() == "OK");
        primary.set(count, "2");
        assert_eq!(conn.cmd("SET a 4").text(), refused);
        primary.set(count, "0");
        assert_eq!(conn.cmd("SET a 5").text(), "OK");
        assert!(!primary.info().has("min_slaves_good_slaves"));
        wait_synced(&primary, &[&replica]);
    });
}

#[test]
fn a_replica_is_read_only() {
    at_once(PAIRS.to_vec(), |kinds| {
        let (primary, replica) = pair(kinds, &[]);
        let mut conn = replica.conn();
        let refused = "READONLY You can't write against a read only replica.";
        for line in ["SET a 1", "DEL a", "MSET a 1 b 2 c 3 d 4", "FLUSHALL", "SWAPDB 0 1", "EXPIRE a 1", "GETDEL a"] {
            assert_eq!(conn.cmd(line).text(), refused, "{line}");
        }
        conn.ok("MULTI");
        assert_eq!(conn.cmd("SET a 1").text(), refused);
        assert!(conn.cmd("EXEC").text().starts_with("EXECABORT"));
        let third = Node::start(kinds.0, &[]);
        join(&replica, &[&third]);
        replica.set("replica-read-only", "no");
        assert_eq!(conn.cmd("SET local 1").text(), "OK");
        primary.conn().ok("SET shared 1");
        wait_until("what comes from the primary goes on", || third.conn().cmd("GET shared").text_or_nil() == "1");
        assert!(third.conn().cmd("GET local").is_nil(), "what is written locally stays there");
        replica.set("replica-read-only", "yes");
        assert_eq!(conn.cmd("SET local 2").text(), refused);
        assert_eq!(conn.cmd("GET local").text(), "1");
        // A client of the replica that queued writes before may not run them after.
        primary.promote();
        let mut queued = primary.conn();
        queued.ok("MULTI");
        queued.ok("SET queued 1");
        primary.replicate(replica.port);
        assert!(queued.cmd("EXEC").is_error(), "the writes in the block are refused");
    });
}

/// Without a link, and told not to serve what it has, a replica answers as a redis-server does: command by command.
#[test]
fn stale_data_is_not_served() {
    const LINES: [&str; 22] = [
        "GET a",
        "SET a 1",
        "MGET a b c d e f",
        "EXISTS a",
        "DBSIZE",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "PING",
        "ECHO x",
        "SELECT 1",
        "TTL a",
        "MULTI",
        "GET a",
        "EXEC",
        "DISCARD",
        "PUBLISH c m",
        "CLIENT GETNAME",
        "CONFIG GET maxmemory",
        "FLUSHALL",
        "WAIT 0 0",
        "OBJECT ENCODING a",
    ];
    let directives = [("replica-serve-stale-data", "no")];
    let primary = Node::start(Kind::Redis, &[]);
    primary.conn().ok("SET a 1");
    let nodes = [Node::start(Kind::Basalt(2), &directives), Node::start(Kind::Redis, &directives)];
    let link = Link::to(primary.port);
    for node in &nodes {
        node.replicate(link.port);
        wait_link_up(node);
        assert_eq!(node.conn().cmd("GET a").text(), "1");
    }
    link.refuse(true);
    link.cut(Ending::Orderly);
    wait_until("the links are down", || nodes.iter().all(|node| !node.info().link_up()));
    let [mut basalt, mut redis] = [nodes[0].conn(), nodes[1].conn()];
    for line in LINES {
        assert_eq!(basalt.cmd(line), redis.cmd(line), "{line}");
    }
    let told = basalt.cmd("GET a").text();
    assert_eq!(told, "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
    nodes[0].set("replica-serve-stale-data", "yes");
    basalt.ok("SELECT 0");
    assert_eq!(basalt.cmd("GET a").text(), "1");
    nodes[0].set("replica-serve-stale-data", "no");
    link.refuse(false);
    wait_link_up(&nodes[0]);
    assert_eq!(basalt.cmd("GET a").text(), "1");
}

#[test]
fn a_role_outlives_a_restart_once_it_is_in_the_file() {
    at_once(PAIRS.to_vec(), |&(primary, replica)| {
        let (primary, mut replica) = (Node::start(primary, &[]), Node::start(replica, &[]));
        join(&primary, &[&replica]);
        replica.conn().ok("CONFIG REWRITE");
        let line = format!("replicaof 127.0.0.1 {}", primary.port);
        assert!(replica.config_file().lines().any(|has| has == line), "{}", replica.config_file());
        primary.conn().ok("SET a 1");
        replica.kill();
        replica.restart();
        wait_synced(&primary, &[&replica]);
        assert_eq!(replica.conn().cmd("SET b 1").text(), "READONLY You can't write against a read only replica.");
        let role = replica.conn().cmd("CONFIG GET replicaof").get("replicaof").expect("a value").text();
        assert_eq!(role, format!("127.0.0.1 {}", primary.port));
        replica.promote();
        replica.conn().ok("CONFIG REWRITE");
        assert!(!replica.config_file().contains("\nreplicaof"), "{}", replica.config_file());
        replica.stop();
        replica.restart();
        assert!(!replica.info().is_replica());
        assert_eq!(replica.conn().cmd("SET b 1").text(), "OK");
    });
}

/// A key whose time has come is gone for readers of a replica, and there until its primary says DEL.
#[test]
fn expiry_is_the_primary_s() {
    at_once(PAIRS.to_vec(), |kinds| {
        let (primary, replica) = pair(kinds, &[("repl-timeout", "60")]);
        let (mut writer, mut reader) = (primary.conn(), replica.conn());
        writer.ok("SET stays 1");
        let mut life_ms = 200;
        // A machine that is busy just then may let the primary expire them before it is stopped: once more, with longer lives.
        loop {
            let shorts =
                (0..8).map(|i| common::conn::encode(&["SET", &format!("short:{i}"), "v", "PX", &life_ms.to_string()]));
            writer.send_raw(&shorts.collect::<Vec<_>>().concat()).expect("sending");
            (0..8).for_each(|_| drop(writer.read().expect("a reply")));
            writer.ok("WAIT 1 10000");
            primary.pause();
            wait_until("their time has come", || reader.cmd("KEYS *").items().len() == 1);
            if reader.cmd("DBSIZE").int() == 9 {
                break;
            }
            primary.resume();
            life_ms *= 2;
        }
        for (line, expected) in [
            ("EXISTS short:1 short:2 stays", Reply::Int(1)),
            ("TTL short:1", Reply::Int(-2)),
            ("PTTL short:1", Reply::Int(-2)),
            ("STRLEN short:1", Reply::Int(0)),
            ("TYPE short:1", Reply::Simple(b"none".to_vec())),
            ("GETRANGE short:3 0 -1", Reply::Bulk(Vec::new())),
            ("DBSIZE", Reply::Int(9)),
        ] {
            assert_eq!(reader.cmd(line), expected, "{line}");
        }
        assert_eq!(reader.cmd("KEYS *").items().len(), 1);
        assert_eq!(reader.cmd("MGET short:0 stays").items()[1].text(), "1");
        assert_eq!(replica.info().number("expired_keys"), 0, "the replica removes nothing by itself");
        primary.resume();
        wait_until("the primary's DEL arrives", || reader.cmd("DBSIZE").int() == 1);
        wait_synced(&primary, &[&replica]);
    });
}

/// Keys that expire while databases change places: the DEL that tells of one must not meet the key of the same name in the other database.
#[test]
fn expiry_beside_swapdb() {
    at_once(vec![(Kind::Basalt(4), Kind::Basalt(2)), (Kind::Basalt(2), Kind::Redis)], |kinds| {
        let (primary, replica) = pair(kinds, &[]);
        let mut writer = primary.conn();
        for round in 0..4 {
            let mut bytes = Vec::new();
            let mut sent = 0;
            let mut send = |words: &[&str]| {
                common::conn::encode_into(&mut bytes, words);
                sent += 1;
            };
            for i in 0..1000 {
                let (key, life) = (format!("key:{round}:{i}"), (1 + i % 100).to_string());
                send(&["SELECT", "0"]);
                send(&["SET", &key, "short", "PX", &life]);
                send(&["SELECT", "1"]);
                send(&["SET", &key, "long"]);
            }
            (0..500).for_each(|_| send(&["SWAPDB", "0", "1"]));
            writer.send_raw(&bytes).expect("sending");
            (0..sent).for_each(|_| assert!(!writer.read().expect("a reply").is_error()));
        }
        wait_synced(&primary, &[&replica]);
        let size = |db: usize| {
            let mut conn = replica.conn();
            conn.ok(&format!("SELECT {db}"));
            conn.cmd("DBSIZE").int()
        };
        wait_until("those with an expiry are gone, and all others there", || size(0) + size(1) == 4000);
    });
}

/// A promoted replica expires what it held back.
#[test]
fn a_promoted_replica_expires_by_itself() {
    at_once(vec![(Kind::Redis, Kind::Basalt(2)), (Kind::Basalt(2), Kind::Basalt(4))], |kinds| {
        let (mut primary, replica) = pair(kinds, &[]);
        let mut writer = primary.conn();
        for i in 0..50 {
            writer.ok(&format!("SET short:{i} v"));
        }
        let shorts = (0..50).map(|i| common::conn::encode(&["PEXPIRE", &format!("short:{i}"), "1500"]));
        writer.send_raw(&shorts.collect::<Vec<_>>().concat()).expect("sending");
        (0..50).for_each(|_| drop(writer.read().expect("a reply")));
        assert_eq!(writer.cmd("WAIT 1 10000").int(), 1);
        let mut reader = replica.conn();
        primary.kill();
        wait_until("their time has come", || reader.cmd("GET short:49").is_nil());
        assert_eq!(reader.cmd("DBSIZE").int(), 50);
        replica.promote();
        wait_until("they go", || reader.cmd("DBSIZE").int() == 0);
        assert_eq!(replica.info().number("expired_keys"), 50);
    });
}

#[test]
fn a_replica_does_not_evict() {
    at_once(PAIRS.to_vec(), |&(primary, replica)| {
        let primary = Node::start(primary, &[]);
        let replica = Node::start(replica, &[("maxmemory", "12mb"), ("maxmemory-policy", "allkeys-lru")]);
        join(&primary, &[&replica]);
        let mut conn = primary.conn();
        let value = "v".repeat(10_000);
        for i in 0..2000 {
            conn.argv(&["SET", &format!("key:{i}"), &value]);
        }
        wait_synced(&primary, &[&replica]);
        let info = replica.info();
        assert_eq!((info.number("evicted_keys"), replica.conn().cmd("DBSIZE").int()), (0, 2000));
        // As a primary it does, and what buffers of the stream are left is gone soon.
        replica.promote();
        wait_until("there is room for one more", || !replica.conn().cmd("SET one more").is_error());
        assert!(replica.info().number("evicted_keys") > 0);
    });
}

/// Messages reach the subscribers of every replica behind a primary.
#[test]
fn messages_go_to_replicas() {
    at_once(PAIRS.to_vec(), |kinds| {
        let (primary, replica) = pair(kinds, &[]);
        let mut subscriber = replica.conn();
        subscriber.ok("SUBSCRIBE news");
        for i in 0..100 {
            primary.conn().ok(&format!("PUBLISH news {i}"));
        }
        for i in 0..100 {
            assert_eq!(subscriber.read().expect("a message").items()[2].text(), i.to_string());
        }
    });
}

/// A block is seen whole on a replica, and commands over keys of several cores as well.
#[test]
fn blocks_are_whole_on_a_replica() {
    let kinds =
        vec![(Kind::Redis, Kind::Basalt(4)), (Kind::Basalt(4), Kind::Basalt(2)), (Kind::Basalt(4), Kind::Redis)];
    at_once(kinds, |kinds| {
        let (primary, replica) = pair(kinds, &[]);
        let keys: Vec<String> = (0..8).map(|i| format!("key:{i}")).collect();
        let read = format!("MGET {}", keys.join(" "));
        let (mut writer, mut reader) = (primary.conn(), replica.conn());
        let all_same = |reply: Reply| {
            let values: Vec<String> = reply.items().iter().map(Reply::text_or_nil).collect();
            assert!(values.iter().all(|value| *value == values[0]), "torn: {values:?}");
            values[0].clone()
        };
        for round in 0..300 {
            let mut bytes = Vec::new();
            if round % 2 == 0 {
                let pairs: Vec<String> = keys.iter().map(|key| format!("{key} {round}")).collect();
                writer.ok(&format!("MSET {}", pairs.join(" ")));
            } else {
                common::conn::encode_into(&mut bytes, &["MULTI"]);
                keys.iter().for_each(|key| common::conn::encode_into(&mut bytes, &["SET", key, &round.to_string()]));
                common::conn::encode_into(&mut bytes, &["EXEC"]);
                writer.send_raw(&bytes).expect("sending");
                (0..keys.len() + 2).for_each(|_| drop(writer.read().expect("a reply")));
            }
            all_same(reader.cmd(&read));
        }
        wait_until("the last one arrives", || all_same(reader.cmd(&read)) == "299");
    });
}

/// The same fields of INFO and the same ROLE as a redis-server in the same place.
#[test]
fn info_and_role_have_redis_s_shape() {
    let fields = |node: &Node| {
        let text = node.conn().cmd("INFO replication").text();
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    /// The kinds of replies in a reply.
    fn shape(reply: &Reply) -> String {
        match reply {
            Reply::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(" ")),
            Reply::Int(_) => "int".to_owned(),
            Reply::Bulk(_) => "bulk".to_owned(),
            other => format!("{other:?}"),
        }
    }
    let [redis, basalt] =
        [(Kind::Redis, Kind::Redis), (Kind::Basalt(2), Kind::Basalt(2))].map(|kinds| pair(&kinds, &[]));
    assert_eq!(fields(&redis.0), fields(&basalt.0));
    assert_eq!(fields(&redis.1), fields(&basalt.1));
    let role = |node: &Node| shape(&node.conn().cmd("ROLE"));
    assert_eq!(role(&redis.0), role(&basalt.0));
    assert_eq!(role(&redis.1), role(&basalt.1));
    let slave = |node: &Node| {
        let info = node.info();
        let pairs = info.text("slave0").split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(slave(&redis.0), slave(&basalt.0));
    // Without its link a replica tells more.
    for (primary, replica) in [&redis, &basalt] {
        let link = Link::to(primary.port);
        replica.replicate(link.port);
        wait_link_up(replica);
        link.refuse(true);
        link.cut(Ending::Orderly);
        wait_until("the link is down", || !replica.info().link_up());
    }
    assert_eq!(fields(&redis.1), fields(&basalt.1));
    assert_eq!(role(&redis.1), role(&basalt.1));
}

/// CLIENT LIST and CLIENT KILL know both ends of a link.
#[test]
fn both_ends_are_clients() {
    at_once(PAIRS.to_vec(), |kinds| {
        let (primary, replica) = pair(kinds, &[]);
        let load = Load::start(primary.port, seed(), Mix::ALL);
        let line = |node: &Node, kind: &str| node.conn().cmd(&format!("CLIENT LIST TYPE {kind}")).text();
        assert!(line(&primary, "replica").contains("flags=S"), "{}", line(&primary, "replica"));
        assert!(line(&replica, "master").contains("flags=M"), "{}", line(&replica, "master"));
        assert_eq!(primary.conn().cmd("CLIENT KILL TYPE replica").int(), 1);
        wait_until("it comes back", || primary.info().number("sync_partial_ok") == 1);
        wait_link_up(&replica);
        assert_eq!(replica.conn().cmd("CLIENT KILL TYPE master").int(), 1);
        wait_until("it comes back", || primary.info().number("sync_partial_ok") == 2);
        wait_link_up(&replica);
        load.stop();
        wait_synced(&primary, &[&replica]);
    });
}
