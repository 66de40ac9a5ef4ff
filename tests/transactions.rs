//! Commands over several cores, MULTI and WATCH, as clients see them. That they are atomic under load is for `tests/atomicity`, that
//! their replies are Redis's for `tests/differential`.

mod common;

use common::{Conn, Reply, Server, wait_until};

fn node(shards: &str) -> Server {
    Server::basalt(&["--shards", shards, "--enable-debug-command", "yes"])
}

/// Keys that together are on every core of four.
fn spread() -> Vec<String> {
    (0..16).map(|i| format!("key:{i}")).collect()
}

fn ints(reply: &Reply) -> Vec<i64> {
    reply.items().iter().map(Reply::int).collect()
}

fn exec(conn: &mut Conn, lines: &[&str]) -> Reply {
    assert_eq!(conn.cmd("MULTI").text(), "OK");
    for line in lines {
        assert_eq!(conn.cmd(line).text(), "QUEUED", "{line}");
    }
    conn.cmd("EXEC")
}

#[test]
fn keys_anywhere_in_one_command() {
    for shards in ["1", "2", "4"] {
        let server = node(shards);
        let mut conn = server.conn();
        let keys = spread();
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} v:{key}")).collect();
        assert_eq!(conn.cmd(&format!("MSET {}", pairs.join(" "))).text(), "OK");
        let values = conn.cmd(&format!("MGET {} none", keys.join(" "))).items();
        for (key, value) in keys.iter().zip(&values) {
            assert_eq!(value.text(), format!("v:{key}"));
        }
        assert!(values[keys.len()].is_nil());
        assert_eq!(conn.cmd(&format!("MSETNX fresh 1 {} 2", keys[3])).int(), 0);
        assert_eq!(conn.cmd("EXISTS fresh").int(), 0);
        assert_eq!(conn.cmd("MSETNX fresh 1 fresher 2").int(), 1);
        assert_eq!(conn.cmd(&format!("EXISTS {} fresh none", keys.join(" "))).int(), 17);
        assert_eq!(conn.cmd(&format!("DEL {} none", keys.join(" "))).int(), 16);
        assert_eq!(conn.cmd("DBSIZE").int(), 2);
    }
}

/// A value that moves to another core's key keeps all that belongs to it, whichever way and through however many hands.
#[test]
fn values_move_between_cores() {
    let server = node("4");
    let mut conn = server.conn();
    let keys = spread();
    let large = "x".repeat(100_000);
    for value in ["17", "short", large.as_str()] {
        conn.argv(&["SET", &keys[0], value, "PX", "100000000"]);
        for pair in keys.windows(2) {
            assert_eq!(conn.cmd(&format!("RENAME {} {}", pair[0], pair[1])).text(), "OK");
        }
        let last = keys.last().expect("keys");
        assert_eq!(conn.cmd(&format!("GET {last}")).text(), value);
        assert!(conn.cmd(&format!("PTTL {last}")).int() > 99_000_000);
        assert_eq!(conn.cmd("DBSIZE").int(), 1);
        assert_eq!(conn.cmd(&format!("COPY {last} copy DB 3")).int(), 1);
        assert_eq!(conn.cmd(&format!("COPY {last} copy DB 3")).int(), 0);
        assert_eq!(conn.cmd(&format!("RENAMENX {last} {last}:new")).int(), 1);
        assert_eq!(conn.cmd("FLUSHALL").text(), "OK");
    }
    assert!(conn.cmd("RENAME none there").text().contains("no such key"));
    assert!(conn.cmd(&format!("COPY {} copy DB 99", keys[0])).text().contains("DB index is out of range"));
}

#[test]
fn a_block_is_one_reply_of_many() {
    for shards in ["1", "2", "4"] {
        let server = node(shards);
        let mut conn = server.conn();
        let reply =
            exec(&mut conn, &["SET a 1", "INCR a", "MSET b 2 c 3 d 4", "MGET a b c d", "INCR nothing", "GET a"]);
        let items = reply.items();
        assert_eq!((items[0].text(), items[1].int(), items[2].text()), ("OK".into(), 2, "OK".into()));
        let values: Vec<String> = items[3].items().iter().map(Reply::text).collect();
        assert_eq!(values, ["2", "2", "3", "4"]);
        // A command that fails takes nothing back.
        let items = exec(&mut conn, &["SET a x", "INCR a", "INCR b"]).items();
        assert!(items[1].is_error());
        assert_eq!((items[2].int(), conn.cmd("GET b").text()), (3, "3".into()));
        assert_eq!(exec(&mut conn, &[]).items(), []);
        // All on one core, be it the client's or another.
        for tag in 0..8 {
            let lines = [format!("SET {{{tag}}}x 5"), format!("INCR {{{tag}}}x"), format!("DEL {{{tag}}}x")];
            let items = exec(&mut conn, &lines.each_ref().map(String::as_str)).items();
            assert_eq!((items[1].int(), items[2].int()), (6, 1));
        }
    }
}

/// Commands over the whole keyspace see what the block did before them, wherever it did it.
#[test]
fn blocks_with_commands_over_all_keys() {
    for shards in ["1", "4"] {
        let server = node(shards);
        let mut conn = server.conn();
        let sets: Vec<String> = spread().iter().map(|key| format!("SET {key} v")).collect();
        let mut lines: Vec<&str> = sets.iter().map(String::as_str).collect();
        lines.extend([
            "DBSIZE",
            "SELECT 1",
            "SET other 1",
            "DBSIZE",
            "SWAPDB 0 1",
            "DBSIZE",
            "GET key:3",
            "FLUSHALL",
            "DBSIZE",
            "PING",
        ]);
        let items = exec(&mut conn, &lines).items();
        let tail: Vec<String> = items[16..].iter().map(Reply::text).collect();
        assert_eq!(tail, ["16", "OK", "OK", "1", "OK", "16", "v", "OK", "0", "PONG"]);
        // SELECT has its effect beyond the block.
        conn.cmd("SET here 1");
        assert_eq!(conn.cmd("DBSIZE").int(), 1);
        conn.cmd("SELECT 0");
        assert_eq!(conn.cmd("DBSIZE").int(), 0);
        let items =
            exec(&mut conn, &["MSET a 1 b 2 c 3", "KEYS *", "RANDOMKEY", "SCAN 0", "INFO keyspace", "DEBUG DIGEST"])
                .items();
        assert_eq!(items[1].items().len(), 3);
        assert!(items[4].text().contains("db0:keys=3"), "{}", items[4].text());
        assert_eq!(conn.cmd("DEBUG DIGEST").text(), items[5].text());
    }
}

#[test]
fn refused_commands_end_a_block() {
    let server = node("2");
    let mut conn = server.conn();
    for wrong in ["NOSUCH", "GET", "CONFIG", "SHUTDOWN NOSAVE"] {
        conn.ok("MULTI");
        assert_eq!(conn.cmd("SET a 1").text(), "QUEUED");
        assert!(conn.cmd(wrong).is_error(), "{wrong}");
        assert_eq!(conn.cmd("EXEC").text(), "EXECABORT Transaction discarded because of previous errors.", "{wrong}");
    }
    assert_eq!(conn.cmd("EXISTS a").int(), 0);
    let monitor = exec(&mut conn, &["MONITOR"]).items();
    assert_eq!(monitor[0].text(), "ERR MONITOR isn't allowed for DENY BLOCKING client");
    conn.ok("MULTI");
    assert!(conn.cmd("EXEC now").text().starts_with("EXECABORT Transaction discarded because of: wrong number"));
    assert_eq!(conn.cmd("EXEC").text(), "ERR EXEC without MULTI");
    conn.ok("MULTI");
    assert_eq!(conn.cmd("MULTI").text(), "ERR MULTI calls can not be nested");
    assert_eq!(conn.cmd("WATCH a").text(), "ERR WATCH inside MULTI is not allowed");
    conn.cmd("SET a 1");
    conn.ok("DISCARD");
    assert_eq!(conn.cmd("DISCARD").text(), "ERR DISCARD without MULTI");
    assert_eq!(conn.cmd("EXISTS a").int(), 0);
    // RESET forgets the block, and a block can be too large.
    conn.ok("MULTI");
    assert_eq!(conn.cmd("RESET").text(), "RESET");
    assert_eq!(conn.cmd("EXEC").text(), "ERR EXEC without MULTI");
    conn.ok("CONFIG SET client-query-buffer-limit 1mb");
    conn.ok("MULTI");
    let value = "v".repeat(100_000);
    let refused = (0..20).any(|i| conn.send(&["SET", &format!("k{i}"), &value]).is_err() || conn.read().is_err());
    assert!(refused, "a block of more than client-query-buffer-limit was taken");
}

/// What must break a WATCH, and what must not, for keys on every core.
#[test]
fn watched_keys() {
    for shards in ["1", "2", "4"] {
        let server = node(shards);
        let mut other = server.conn();
        let breaks = |other: &mut Conn, before: &[&str], between: &[&str]| {
            let mut broken = Vec::new();
            for i in 0..8 {
                let mut conn = server.conn();
                other.ok("FLUSHALL");
                other.ok("SELECT 0");
                for line in before {
                    other.ok(&line.replace("KEY", &format!("key:{i}")));
                }
                conn.ok(&format!("WATCH key:{i} never:{i}"));
                for line in between {
                    other.ok(&line.replace("KEY", &format!("key:{i}")));
                }
                let reply = exec(&mut conn, &["PING", "SET done 1"]);
                assert_eq!(other.cmd("SELECT 0").text(), "OK");
                assert_eq!(other.cmd("EXISTS done").int(), i64::from(!reply.is_nil()));
                // The watch is over with EXEC, whatever became of it.
                other.ok(&format!("SET key:{i} again"));
                assert!(!exec(&mut conn, &["PING"]).is_nil());
                broken.push(reply.is_nil());
            }
            assert!(broken.iter().all(|one| *one == broken[0]), "{before:?} {between:?} {shards}: {broken:?}");
            broken[0]
        };
        let set = ["SET KEY v"];
        for (before, between) in [
            (&[][..], &["SET KEY v"][..]),
            (&set, &["SET KEY v"]),
            (&set, &["DEL KEY"]),
            (&set, &["DEL KEY", "SET KEY v"]),
            (&set, &["APPEND KEY x"]),
            (&set, &["EXPIRE KEY 100"]),
            (&set, &["RENAME KEY elsewhere"]),
            (&["SET elsewhere v"], &["RENAME elsewhere KEY"]),
            (&set, &["MSET a 1 b 2 KEY 3 c 4"]),
            (&set, &["MULTI", "SET KEY 1", "SET other 1", "EXEC"]),
            (&set, &["FLUSHALL"]),
            (&set, &["FLUSHDB"]),
            (&set, &["SWAPDB 0 1"]),
            (&["SELECT 1", "SET KEY v", "SELECT 0"], &["SWAPDB 0 1"]),
            (&set, &["MOVE KEY 1"]),
            (&["SET KEY v PX 1000000"], &["PERSIST KEY"]),
        ] {
            assert!(breaks(&mut other, before, between), "{between:?} after {before:?}, {shards} shards");
        }
        for (before, between) in [
            (&set[..], &["GET KEY", "SET elsewhere 1", "EXISTS KEY", "TTL KEY"][..]),
            (&[], &["FLUSHALL", "SWAPDB 0 1", "DEL KEY"]),
            (&set, &["SELECT 1", "SET KEY v", "FLUSHDB"]),
            (&set, &["SWAPDB 2 3"]),
            (&set, &["SETRANGE elsewhere 0 x", "COPY KEY elsewhere REPLACE"]),
        ] {
            assert!(!breaks(&mut other, before, between), "{between:?} after {before:?}, {shards} shards");
        }
    }
}

#[test]
fn a_watched_key_that_expires_or_is_evicted() {
    for shards in ["1", "4"] {
        let server = node(shards);
        let (mut conn, mut other) = (server.conn(), server.conn());
        other.ok("DEBUG SET-ACTIVE-EXPIRE 0");
        for i in 0..8 {
            // Expired while watched, and nobody has looked since.
            other.ok(&format!("SET soon:{i} v PX 30"));
            conn.ok(&format!("WATCH soon:{i}"));
            other.ok(&format!("SET until:{i} v PX 60"));
            wait_until("the time has passed", || other.cmd(&format!("EXISTS until:{i}")).int() == 0);
            assert!(exec(&mut conn, &["PING"]).is_nil(), "soon:{i} with {shards} shards");
            // Gone before it was watched.
            conn.ok(&format!("WATCH soon:{i}"));
            assert!(!exec(&mut conn, &["PING"]).is_nil(), "soon:{i} with {shards} shards");
        }
        other.ok("DEBUG SET-ACTIVE-EXPIRE 1");
        other.ok("SET volatile v PX 30");
        conn.ok("WATCH volatile");
        wait_until("it was collected", || other.cmd("DBSIZE").int() == 0);
        assert!(exec(&mut conn, &["PING"]).is_nil());

        other.ok("SET victim v");
        conn.ok("WATCH victim");
        other.ok("CONFIG SET maxmemory-policy allkeys-random");
        other.ok("CONFIG SET maxmemory 1");
        wait_until("it was evicted", || other.cmd("DBSIZE").int() == 0);
        other.ok("CONFIG SET maxmemory 0");
        assert!(exec(&mut conn, &["PING"]).is_nil());
    }
}

/// UNWATCH, DISCARD, EXEC and a client's end leave no trace of a watch on any core.
#[test]
fn a_watch_is_forgotten() {
    let server = node("4");
    let (mut conn, mut other) = (server.conn(), server.conn());
    let watched = |conn: &mut Conn| -> usize {
        let info = conn.cmd("INFO shards").text();
        let counts = info
            .lines()
            .filter_map(|line| line.split_once("watched_keys=")?.1.split(',').next()?.parse::<usize>().ok());
        counts.sum()
    };
    for end in ["UNWATCH", "DISCARD", "EXEC", "EXEC NOW", "RESET", "QUIT"] {
        conn.ok("WATCH a b c d e a b");
        assert_eq!(watched(&mut other), 5);
        if end.starts_with(['D', 'E']) {
            conn.ok("MULTI");
        }
        conn.cmd(end);
        wait_until("nothing is watched", || watched(&mut other) == 0);
        if end == "QUIT" {
            conn = server.conn();
        }
        other.ok("MSET a 1 b 2 c 3");
        assert!(!exec(&mut conn, &["PING"]).is_nil(), "{end}");
    }
}

/// Clients that vanish at any moment of a transaction leave no lock behind.
#[test]
fn clients_that_vanish_leave_no_lock() {
    let server = node("4");
    let keys = spread();
    let all = keys.join(" ");
    for round in 0..200 {
        let mut conn = server.conn();
        let mut bytes = Vec::new();
        for line in [
            "WATCH key:1 key:7",
            "MULTI",
            "INCR key:1",
            "INCR key:2",
            if round % 3 == 0 { "DBSIZE" } else { "INCR key:3" },
            &format!("MGET {all}"),
            "EXEC",
            &format!("DEL {all}"),
            "RENAME key:1 key:2",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            common::conn::encode_into(&mut bytes, &words);
        }
        let _ = conn.send_raw(&bytes[..bytes.len() - round % 60]);
        if round % 2 == 0 {
            conn.reset();
        }
    }
    let mut conn = server.conn();
    assert_eq!(conn.cmd("FLUSHALL").text(), "OK");
    wait_until("every lock is free", || {
        conn.cmd("FLUSHALL");
        conn.cmd("INFO shards")
            .text()
            .lines()
            .filter(|line| line.starts_with("shard"))
            .all(|line| line.contains("locks=0,"))
    });
    assert_eq!(conn.cmd("DBSIZE").int(), 0);
}

#[test]
fn a_muted_block_is_silent() {
    let server = node("4");
    let mut conn = server.conn();
    for lines in [
        &["SET a 1", "SET b 2", "SET c 3", "SET d 4"][..],
        &["SET {t}a 1", "SET {t}b 2"],
        &["DBSIZE", "SET a 1", "SET b 2"],
    ] {
        let mut bytes = Vec::new();
        for line in
            ["CLIENT REPLY OFF", "MULTI"].iter().chain(lines).chain(&["EXEC", "MGET a b c", "CLIENT REPLY ON", "PING"])
        {
            let words: Vec<&str> = line.split(' ').collect();
            common::conn::encode_into(&mut bytes, &words);
        }
        conn.send_raw(&bytes).expect("sent");
        assert_eq!(conn.read().expect("a reply").text(), "OK");
        assert_eq!(conn.read().expect("a reply").text(), "PONG");
    }
    assert_eq!(ints(&Reply::Array(vec![conn.cmd("EXISTS a b c d")])), [4]);
}

/// A block that waits for other cores' answers without having locked anything is no end to its client's input.
#[test]
fn what_is_sent_behind_a_block_runs() {
    for shards in ["1", "4"] {
        let server = node(shards);
        let mut conn = server.conn();
        conn.send_raw(b"MULTI\r\nCLIENT SETNAME inside\r\nCONFIG GET maxmemory\r\nEXEC\r\nECHO behind\r\n")
            .expect("sent");
        let replies: Vec<Reply> = (0..5).map(|_| conn.read().expect("a reply")).collect();
        assert_eq!((replies[3].items().len(), replies[4].text().as_str()), (2, "behind"));
    }
}

#[test]
fn monitors_see_a_block_before_its_exec() {
    for shards in ["1", "4"] {
        let server = node(shards);
        let (mut monitor, mut conn) = (server.conn(), server.conn());
        monitor.ok("MONITOR");
        // The other cores hear of a monitor a moment after it is answered; a thousand commands later they have.
        (0..1000).for_each(|i| drop(conn.cmd(&format!("ECHO {i}"))));
        while !monitor.read().expect("a line").text().contains("\"999\"") {}
        for lines in [&["SET a 1", "SET b 2", "SET c 3"][..], &["SET {t}a 1", "GET {t}a"], &["DBSIZE", "SET a 1"]] {
            exec(&mut conn, lines);
            let mut seen = Vec::new();
            while seen.last().is_none_or(|line: &String| !line.contains("EXEC")) {
                let line = monitor.read().expect("a line").text();
                seen.push(line.split_once("] ").expect("a source").1.replace('"', ""));
            }
            let expected: Vec<&str> = ["MULTI"].iter().chain(lines).chain(&["EXEC"]).copied().collect();
            assert_eq!(seen, expected, "{shards} shards");
        }
    }
}

/// A block that asks other cores for something lets other transactions of its core run meanwhile. Each keeps account of its own changes.
#[test]
fn blocks_that_wait_beside_other_transactions() {
    let mut server = node("4");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut conn = server.conn();
                for round in 0..200 {
                    let (a, b) = (format!("a:{}", (n + round) % 50), format!("b:{}", (n * round) % 50));
                    if n % 2 == 0 {
                        let replies = exec(&mut conn, &[&format!("INCR {a}"), "CLIENT LIST", &format!("INCR {b}")]);
                        assert_eq!(replies.items().len(), 3);
                    } else {
                        assert_eq!(conn.cmd(&format!("MSET {a}:x 1 {b}:x 2")), Reply::Simple(b"OK".to_vec()));
                    }
                }
            });
        }
    });
    server.assert_healthy();
    let mut conn = server.conn();
    let sum: i64 = ["a", "b"]
        .iter()
        .flat_map(|name| (0..50).map(move |n| format!("{name}:{n}")))
        .map(|key| conn.cmd(&format!("INCRBY {key} 0")).int())
        .sum();
    assert_eq!(sum, 4 * 200 * 2);
}
