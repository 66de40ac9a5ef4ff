//! Keys that go without a command that names them, and keys that are forgotten.

use super::common::conn::Reply;
use super::common::{info_number, wait_until};
use super::harness::{Client, KEYS, everywhere, flush_message, key, keys, last_keys};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

#[test]
fn a_flush_is_told_once() {
    everywhere(|server, shards| {
        let mut clients: Vec<Client> = (0..6).map(|_| Client::tracking(server, "")).collect();
        clients.push(Client::tracking(server, "BCAST PREFIX last:"));
        clients.push(Client::tracking(server, "OPTIN"));
        let mut other = Client::resp2(server);
        for flush in ["FLUSHALL", "FLUSHDB", "FLUSHALL SYNC", "FLUSHDB ASYNC"] {
            clients.iter_mut().take(6).for_each(Client::read_all);
            other.ok(flush);
            assert_eq!(info_number(&mut other.conn, "tracking_total_keys"), 0, "{flush}");
            for client in &mut clients {
                assert_eq!(client.push(), flush_message(), "{flush}");
            }
            // What was read before is forgotten.
            for n in 0..KEYS {
                other.ok(&format!("SET {} v", key(n)));
            }
            clients.iter_mut().take(6).for_each(|client| client.heard_nothing(&mut other, shards));
            for _ in 0..6 {
                assert_eq!(clients[6].told_of(shards), last_keys(shards));
            }
        }
        // In a block it follows the reply.
        let client = &mut clients[0];
        for line in ["MULTI", "SET a 1", "FLUSHALL", "SET b 1"] {
            client.ok(line);
        }
        client.send("EXEC");
        assert!(matches!(client.conn.read().unwrap(), Reply::Array(replies) if replies.len() == 3));
        assert_eq!(client.push(), flush_message());
        client.heard_nothing(&mut other, shards);
    });
}

#[test]
fn expired_keys_are_told() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        let mut noloop = Client::tracking(server, "NOLOOP");
        let mut broadcast = Client::tracking(server, "BCAST NOLOOP PREFIX key:");
        let mut other = Client::resp2(server);
        // Nobody looks at them.
        for n in 0..KEYS {
            other.ok(&format!("SET {} v PX 50", key(n)));
        }
        client.read_all();
        noloop.read_all();
        assert_eq!(client.told_of(KEYS), keys());
        assert_eq!(noloop.told_of(KEYS), keys());
        assert_eq!(broadcast_counts(&mut broadcast, 2 * KEYS), keys().into_iter().map(|key| (key, 2)).collect());
        // The client that meets them is told behind its reply.
        other.ok("DEBUG SET-ACTIVE-EXPIRE 0");
        let expire = |other: &mut Client, client: &mut Client, key: &str| {
            other.ok(&format!("SET {key} v PX 20"));
            client.ok(&format!("GET {key}"));
            let due = Instant::now() + Duration::from_millis(40);
            wait_until("its time has passed", || Instant::now() > due);
        };
        for n in 0..4 {
            let key = format!("late:{n}");
            expire(&mut other, &mut client, &key);
            client.send(&format!("GET {key}"));
            assert_eq!(client.conn.read().unwrap(), Reply::Null);
            assert_eq!(client.told(), *std::slice::from_ref(&key));
            // It has read again that there is nothing.
            other.ok(&format!("SET {key} v"));
            assert_eq!(client.told(), [key]);
            // With NOLOOP it need not be told of what it has seen itself.
            let key = format!("loop:{n}");
            expire(&mut other, &mut noloop, &key);
            assert!(noloop.cmd(&format!("GET {key}")).is_nil());
        }
        noloop.heard_nothing(&mut other, shards);
        // To who broadcasts, expiry is nobody's change.
        for n in 0..4 {
            let key = format!("key:late:{n}");
            expire(&mut other, &mut client, &key);
            assert_eq!(broadcast.told(), *std::slice::from_ref(&key));
            assert!(broadcast.cmd(&format!("GET {key}")).is_nil());
            assert_eq!(broadcast.told(), [key]);
        }
        other.ok("DEBUG SET-ACTIVE-EXPIRE 1");
    });
}

/// How often each key is told in the next messages, which are to name so many.
fn broadcast_counts(client: &mut Client, total: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let mut seen = 0;
    while seen < total {
        for key in client.told() {
            *counts.entry(key).or_default() += 1;
            seen += 1;
        }
    }
    counts
}

#[test]
fn evicted_keys_are_told() {
    everywhere(|server, _| {
        let mut client = Client::tracking(server, "NOLOOP");
        let mut other = Client::resp2(server);
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        client.read_all();
        other.ok("CONFIG SET maxmemory-policy allkeys-random");
        other.ok("CONFIG SET maxmemory 1");
        assert_eq!(client.told_of(KEYS), keys());
        wait_until("all are gone", || other.cmd("DBSIZE").int() == 0);
    });
}

#[test]
fn the_table_has_a_limit() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        let mut other = Client::resp2(server);
        assert_eq!(other.cmd("CONFIG GET tracking-table-max-keys").items()[1].text(), "1000000");
        other.ok("CONFIG SET tracking-table-max-keys 8");
        let mut told = BTreeSet::new();
        for n in 0..200 {
            client.ok(&format!("GET {}", key(n)));
        }
        wait_until("it is within the limit", || info_number(&mut other.conn, "tracking_total_keys") <= 8);
        let left = info_number(&mut other.conn, "tracking_total_keys") as usize;
        assert!(left >= shards, "{left} keys are left");
        while told.len() < 200 - left {
            told.extend(client.told());
        }
        // The others are told when they change, and all are told once.
        for n in 0..200 {
            other.ok(&format!("SET {} v", key(n)));
        }
        for key in client.told_of(left) {
            assert!(told.insert(key.clone()), "{key} is told twice");
        }
        assert_eq!(told.len(), 200);
        // A limit that is lowered is met without a further command, and none is none.
        other.ok("CONFIG SET tracking-table-max-keys 0");
        for n in 0..200 {
            client.ok(&format!("GET {}", key(n)));
        }
        assert_eq!(info_number(&mut other.conn, "tracking_total_keys"), 200);
        other.ok("CONFIG SET tracking-table-max-keys 4");
        wait_until("it is within the limit", || info_number(&mut other.conn, "tracking_total_keys") <= 4);
        let left = info_number(&mut other.conn, "tracking_total_keys") as usize;
        assert_eq!(client.told_of(200 - left).len(), 200 - left);
    });
}
