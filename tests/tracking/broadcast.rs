//! BCAST, and changing from one mode to another.

use super::common::conn::Reply;
use super::common::{info_number, wait_until};
use super::harness::{Client, KEYS, everywhere, key, keys};

#[test]
fn broadcasts() {
    everywhere(|server, shards| {
        let mut some = Client::tracking(server, "BCAST PREFIX key: PREFIX {t}a");
        let mut all = Client::tracking(server, "BCAST");
        let mut noloop = Client::tracking(server, "BCAST NOLOOP");
        let mut other = Client::resp2(server);
        // All cores tell of it, read or not, to those who want it.
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
            other.ok(&format!("SET other:{n} v"));
        }
        assert_eq!(some.told_of(KEYS), keys());
        assert_eq!(all.told_of(2 * KEYS).len(), 2 * KEYS);
        assert_eq!(noloop.told_of(2 * KEYS).len(), 2 * KEYS);
        // The keys that one command changed on one core come in one message, in their order.
        other.ok("MSET {t}a3 1 {t}b 1 {t}a1 1 {t}a2 1");
        assert_eq!(some.told(), ["{t}a1", "{t}a2", "{t}a3"]);
        assert_eq!(all.told(), ["{t}a1", "{t}a2", "{t}a3", "{t}b"]);
        // What one has changed itself is left out for NOLOOP alone, and told behind the reply to others.
        assert_eq!(noloop.told(), ["{t}a1", "{t}a2", "{t}a3", "{t}b"]);
        noloop.ok("MSET {t}a1 1 {t}x 1");
        assert_eq!(all.told(), ["{t}a1", "{t}x"]);
        assert_eq!(some.told(), ["{t}a1"]);
        all.send("MSET {t}a2 1 {t}x 1");
        assert_eq!(all.conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
        assert_eq!(all.told(), ["{t}a2", "{t}x"]);
        assert_eq!(some.told(), ["{t}a2"]);
        assert_eq!(noloop.told(), ["{t}a2", "{t}x"]);
        // A prefix that comes later is known to all cores when it is acknowledged.
        some.ok("CLIENT TRACKING ON BCAST PREFIX last:");
        for n in 0..KEYS {
            other.ok(&format!("SET last:{n} v"));
        }
        assert_eq!(some.told_of(KEYS).len(), KEYS);
        // Switched off, nothing comes any more; switched on for reads, reads alone count.
        some.ok("CLIENT TRACKING OFF");
        some.ok("CLIENT TRACKING ON");
        some.ok("GET key:7");
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        assert_eq!(some.told(), ["key:7"]);
        some.heard_nothing(&mut other, shards);
    });
}

#[test]
fn switching_off() {
    everywhere(|server, shards| {
        let mut client = Client::tracking(server, "");
        let mut other = Client::resp2(server);
        client.read_all();
        client.ok("CLIENT TRACKING OFF");
        for n in 0..KEYS / 2 {
            other.ok(&format!("SET {} v", key(n)));
        }
        client.ok("CLIENT TRACKING ON");
        client.heard_nothing(&mut other, shards);
        // As in Redis, what was read before and has not changed since is still known.
        for n in KEYS / 2..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        assert_eq!(client.told_of(KEYS / 2), (KEYS / 2..KEYS).map(key).collect());
        // But not to who listens to prefixes meanwhile.
        client.read_all();
        client.ok("CLIENT TRACKING OFF");
        client.ok("CLIENT TRACKING ON BCAST PREFIX other:");
        for n in 0..KEYS {
            other.ok(&format!("SET {} v", key(n)));
        }
        other.ok("SET other:1 v");
        assert_eq!(client.told(), ["other:1"]);
        // RESET is the end of it, and of RESP3.
        client.ok("RESET");
        other.ok("SET other:1 v");
        assert_eq!(client.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
        assert_eq!(info_number(&mut other.conn, "tracking_clients"), 0);
        wait_until("no core has the prefix", || info_number(&mut other.conn, "tracking_total_prefixes") == 0);
    });
}
