//! What was read is told when it changes.

use super::common::conn::{Reply, encode};
use super::common::{info_number, wait_until};
use super::harness::{Client, KEYS, everywhere, flush_message, key, keys};

#[test]
fn a_key_that_was_read_is_told_once() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        let mut other = Client::resp2(server);
        for _ in 0..2 {
            client.read_all();
            client.read_all();
            assert_eq!(info_number(&mut other.conn, "tracking_total_keys"), KEYS as u64);
            assert_eq!(info_number(&mut other.conn, "tracking_total_items"), KEYS as u64);
            for n in 0..KEYS {
                other.ok(&format!("SET {} v", key(n)));
            }
            assert_eq!(client.told_of(KEYS), keys());
            assert_eq!(info_number(&mut other.conn, "tracking_total_keys"), 0);
            // They are not remembered any more.
            let pairs: Vec<String> = (0..KEYS).map(|n| format!("{} w", key(n))).collect();
            other.ok(&format!("MSET {}", pairs.join(" ")));
            client.heard_nothing(&mut other, shards);
        }
    });
}

#[test]
fn every_reader_is_told() {
    everywhere(|server, _| {
        let mut clients: Vec<Client> = (0..20).map(|_| Client::tracking(server, "")).collect();
        clients.iter_mut().for_each(Client::read_all);
        let mut other = Client::resp2(server);
        assert_eq!(info_number(&mut other.conn, "tracking_total_items"), 20 * KEYS as u64);
        assert_eq!(info_number(&mut other.conn, "tracking_clients"), 20);
        // Some leave, and nobody minds.
        clients.truncate(15);
        let pairs: Vec<String> = (0..KEYS).map(|n| format!("{} v", key(n))).collect();
        other.ok(&format!("MSET {}", pairs.join(" ")));
        for client in &mut clients {
            assert_eq!(client.told_of(KEYS), keys());
        }
    });
}

#[test]
fn which_commands_read_and_which_change() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        let mut other = Client::resp2(server);
        // Reads, of keys that are there or not, refused or not.
        other.ok("SET {t}a text");
        for read in ["GET {t}a", "EXISTS {t}a", "TTL {t}a", "OBJECT ENCODING {t}a", "MEMORY USAGE {t}a", "DUMP {t}a"] {
            client.ok(read);
            other.ok("SET {t}a text");
            assert_eq!(client.told(), ["{t}a"], "{read}");
        }
        for read in ["TOUCH {t}none", "GETBIT {t}none 1", "LCS {t}none {t}more", "GETRANGE {t}none 0 1"] {
            client.ok(read);
            other.ok("SET {t}none x");
            assert_eq!(client.told(), ["{t}none"], "{read}");
            other.ok("DEL {t}none");
        }
        // Writes that also read are no reads.
        for write in ["GETDEL {t}w", "GETEX {t}w", "SETRANGE {t}w 0 x", "GETSET {t}w x", "INCR {t}n"] {
            client.ok(write);
        }
        other.ok("MSET {t}w 1 {t}n 1");
        client.heard_nothing(&mut other, shards);
        // Changes.
        for change in [
            "APPEND {t}a x",
            "EXPIRE {t}a 100",
            "PERSIST {t}a",
            "GETEX {t}a EX 100",
            "RENAME {t}a {t}b",
            "COPY {t}b {t}a",
            "SETRANGE {t}a 0 y",
            "EXPIRE {t}a -1",
            "SET {t}a v",
            "GETSET {t}a v",
            "MOVE {t}a 1",
            "MSET {t}x 1 {t}a 2",
            "DEL {t}a",
        ] {
            client.ok("GET {t}a");
            other.ok(change);
            assert_eq!(client.told(), ["{t}a"], "{change}");
        }
        // No changes.
        other.ok("SET {t}a v");
        client.ok("GET {t}a");
        for nothing in ["SETNX {t}a w", "SET {t}a w NX", "PERSIST {t}a", "GETEX {t}a", "TOUCH {t}a", "DEL {t}nothing"] {
            other.ok(nothing);
        }
        client.heard_nothing(&mut other, shards);
        // Databases are not told apart.
        other.ok("SELECT 3");
        other.ok("SET {t}a v");
        assert_eq!(client.told(), ["{t}a"]);
    });
}

#[test]
fn own_changes_follow_their_reply() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        for n in 0..KEYS {
            let key = key(n);
            client.ok(&format!("GET {key}"));
            client.send(&format!("SET {key} v"));
            assert_eq!(client.conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
            assert_eq!(client.told(), [key]);
        }
        // Over several cores.
        client.read_all();
        let pairs: Vec<String> = (0..KEYS).map(|n| format!("{} v", key(n))).collect();
        client.send(&format!("MSET {}", pairs.join(" ")));
        assert_eq!(client.conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.told_of(KEYS), keys());
        // In the middle of a pipeline, where all is on one core.
        let pipeline = ["GET p", "SET p 1", "GET p", "PING"].map(|line| line.split(' ').collect::<Vec<_>>());
        client.conn.send_raw(&pipeline.iter().flat_map(|words| encode(words)).collect::<Vec<_>>()).unwrap();
        let replies: Vec<Reply> = (0..5).map(|_| client.conn.read().unwrap()).collect();
        let shown = format!("{replies:?}");
        if shards == 1 {
            assert_eq!(shown, r#"[_, +OK, >["invalidate", ["p"]], "1", +PONG]"#);
        } else {
            let at = |what: &str| shown.find(what).unwrap_or_else(|| panic!("no {what} in {shown}"));
            assert!(at("+OK") < at("invalidate") && at("+OK") < at("\"1\""), "{shown}");
        }
    });
}

#[test]
fn a_block_is_told_behind_its_reply() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        let mut other = Client::resp2(server);
        // On one core, on another one, on several.
        for spread in ["{a}", "{b}", "{c}", "{d}", ""] {
            let (one, two) = (format!("{spread}one"), format!("{spread}two"));
            client.ok("MULTI");
            for line in [format!("GET {one}"), format!("SET {one} 1"), format!("GET {two}"), format!("SET {one} 2")] {
                client.ok(&line);
            }
            client.send("EXEC");
            assert!(matches!(client.conn.read().unwrap(), Reply::Array(replies) if replies.len() == 4), "{spread}");
            assert_eq!(client.told(), *std::slice::from_ref(&one), "{spread}");
            other.ok(&format!("MSET {one} x {two} x"));
            assert_eq!(client.told(), [two], "{spread}: what was read in the block is remembered");
        }
        client.heard_nothing(&mut other, shards);
    });
}

#[test]
fn noloop() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "NOLOOP");
        let mut other = Client::resp2(server);
        client.read_all();
        for n in 0..KEYS / 2 {
            client.ok(&format!("SET {} v", key(n)));
        }
        let pairs: Vec<String> = (KEYS / 2..KEYS).map(|n| format!("{} v", key(n))).collect();
        client.ok(&format!("MSET {}", pairs.join(" ")));
        client.heard_nothing(&mut other, shards);
        // What it changed is forgotten all the same, and what others change is told.
        other.ok("SET key:1 v");
        client.heard_nothing(&mut other, shards);
        client.read_all();
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        assert_eq!(client.told_of(KEYS), keys());
        // A flush is told in any case.
        client.send("FLUSHALL");
        assert_eq!(client.conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
        assert_eq!(client.push(), flush_message());
    });
}

#[test]
fn optin() {
    everywhere(|server, _| {
        let mut client = Client::tracking(server, "OPTIN");
        let mut other = Client::resp2(server);
        let mut change = |client: &mut Client, expected: &[&str]| {
            other.ok("MSET a 1 b 2 c 3 {x}d 4 {x}e 5");
            assert_eq!(client.told_of(expected.len()), expected.iter().map(|key| key.to_string()).collect());
            client.ok("CLIENT CACHING yes");
            client.ok("MGET last:1 last:2");
            other.ok("MSET last:1 1 last:2 2");
            assert_eq!(client.told_of(2).len(), 2);
        };
        let mut run = |lines: &[&str], expected: &[&str]| {
            for line in lines {
                client.cmd(line);
            }
            change(&mut client, expected);
        };
        run(&["GET a", "MGET b c"], &[]);
        run(&["CLIENT CACHING yes", "GET a", "GET b"], &["a"]);
        run(&["CLIENT CACHING yes", "MGET a b c", "GET {x}d"], &["a", "b", "c"]);
        run(&["CLIENT CACHING yes", "CLIENT GETNAME", "GET {x}d"], &["{x}d"]);
        run(&["CLIENT CACHING yes", "PING", "GET a"], &[]);
        run(&["CLIENT CACHING yes", "NOSUCH", "GET a"], &[]);
        run(&["CLIENT CACHING yes", "GET", "GET a"], &[]);
        run(&["CLIENT CACHING yes", "CLIENT CACHING", "GET a"], &["a"]);
        run(&["CLIENT CACHING yes", "CLIENT NOSUCH", "GET a"], &[]);
        // A block as a whole, wherever its keys are.
        run(&["CLIENT CACHING yes", "MULTI", "GET a", "GET b", "EXEC", "GET c"], &["a", "b"]);
        run(&["CLIENT CACHING yes", "MULTI", "GET {x}d", "NOSUCH", "EXEC", "GET a"], &[]);
        run(&["CLIENT CACHING yes", "MULTI", "GET {x}d", "GET {x}e", "EXEC", "GET {x}d"], &["{x}d", "{x}e"]);
        run(&["CLIENT CACHING yes", "MULTI", "GET a", "DISCARD", "GET b"], &[]);
        run(&["MULTI", "GET a", "CLIENT CACHING yes", "GET b", "GET c", "EXEC", "GET {x}d"], &["b", "c"]);
    });
}

#[test]
fn optout() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "OPTOUT");
        let mut other = Client::resp2(server);
        client.ok("CLIENT CACHING no");
        client.ok("MGET a b c");
        client.ok("GET d");
        other.ok("MSET a 1 b 2 c 3 d 4");
        assert_eq!(client.told(), ["d"]);
        client.ok("CLIENT CACHING no");
        for line in ["MULTI", "GET a", "GET b", "EXEC", "GET c"] {
            client.ok(line);
        }
        other.ok("MSET a 1 b 2 c 3 d 4");
        assert_eq!(client.told(), ["c"]);
        client.heard_nothing(&mut other, shards);
    });
}

#[test]
fn resp2_hears_nothing_on_its_own_connection() {
    everywhere(|server, _| {
        let mut client = Client::resp2(server);
        client.ok("CLIENT TRACKING ON");
        let mut other = Client::resp2(server);
        client.read_all();
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        other.ok("FLUSHALL");
        for n in 0..KEYS {
            assert_eq!(client.cmd(&format!("ECHO {n}")).text(), n.to_string());
        }
        // From now on it does.
        client.ok("GET key:1");
        client.ok("HELLO 3");
        other.ok("SET key:1 v");
        assert_eq!(client.told(), ["key:1"]);
    });
}

#[test]
fn messages_pass_client_reply_off() {
    everywhere(|server, _| {
        let mut client = Client::tracking(server, "");
        let mut other = Client::resp2(server);
        client.send("CLIENT REPLY OFF");
        for n in 0..KEYS {
            client.send(&format!("GET {}", key(n)));
        }
        wait_until("all are read", || info_number(&mut other.conn, "tracking_total_keys") == KEYS as u64);
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        assert_eq!(client.told_of(KEYS), keys());
        // Its own changes as well.
        client.send("GET key:1");
        client.send("SET key:1 v");
        assert_eq!(client.told(), ["key:1"]);
        client.send("CLIENT REPLY ON");
        assert_eq!(client.conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
    });
}
