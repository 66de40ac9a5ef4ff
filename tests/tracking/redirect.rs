//! REDIRECT, to clients of any core.

use super::common::conn::Reply;
use super::common::{Server, line_field, wait_until};
use super::harness::{Client, KEYS, everywhere, info, key, keys, words};
use std::collections::BTreeSet;

/// Several clients that nobody talks to otherwise, so that they are on all cores.
fn targets(server: &Server, how: &[&str]) -> Vec<Client> {
    let mut targets: Vec<Client> = (0..8).map(|_| Client::resp2(server)).collect();
    for target in &mut targets {
        how.iter().for_each(|line| drop(target.ok(line)));
    }
    targets
}

#[test]
fn redirected_to_resp3() {
    everywhere(|server, shards| {
        let mut other = Client::resp2(server);
        let mut client = Client::resp2(server);
        for mut target in targets(server, &["HELLO 3"]) {
            let id = target.id();
            client.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
            client.read_all();
            for n in 0..KEYS {
                other.ok(&format!("SET {} v", key(n)));
            }
            assert_eq!(target.told_of(KEYS), keys());
            // The null is one of the protocol of the client that tracks.
            other.ok("FLUSHALL");
            let null = Reply::Push(vec![Reply::Bulk(b"invalidate".to_vec()), Reply::NilBulk]);
            assert_eq!(target.push(), null);
            // Its own changes are told to the other one, and nothing to itself.
            client.read_all();
            client.ok("MSET key:1 1 key:2 2 key:3 3");
            assert_eq!(target.told_of(3).len(), 3);
            assert_eq!(client.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
            client.ok("CLIENT TRACKING OFF");
            other.ok("FLUSHALL");
            client.ok("CLIENT TRACKING ON");
            target.ok("CLIENT TRACKING ON");
            target.heard_nothing(&mut other, shards);
        }
    });
}

#[test]
fn redirected_to_a_subscriber_of_resp2() {
    everywhere(|server, _| {
        let mut other = Client::resp2(server);
        let mut client = Client::resp3(server);
        let message = |items: Reply| {
            Reply::Array(vec![Reply::Bulk(b"message".to_vec()), Reply::Bulk(b"__redis__:invalidate".to_vec()), items])
        };
        for mut target in targets(server, &[]) {
            let id = target.id();
            client.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
            // Before it has subscribed, it is not told.
            client.read_all();
            for n in 0..KEYS {
                other.ok(&format!("SET {} v", key(n)));
            }
            target.ok("SUBSCRIBE __redis__:invalidate");
            client.read_all();
            let mut told = BTreeSet::new();
            for n in 0..KEYS {
                other.ok(&format!("SET {} v", key(n)));
                let got = target.reply();
                let key = got.items()[2].items()[0].text();
                assert_eq!(got, message(Reply::Array(vec![Reply::Bulk(key.clone().into_bytes())])));
                assert!(told.insert(key), "{got:?} again");
            }
            assert_eq!(told, keys());
            other.ok("FLUSHDB");
            assert_eq!(target.reply(), message(Reply::Null));
            // Broadcasts go the same way.
            client.ok("CLIENT TRACKING OFF");
            client.ok(&format!("CLIENT TRACKING ON BCAST PREFIX key: REDIRECT {id}"));
            other.ok("MSET {t}x 1 key:{t}b 1 key:{t}a 2");
            let both = ["key:{t}a", "key:{t}b"].map(|key| Reply::Bulk(key.into())).to_vec();
            assert_eq!(target.reply(), message(Reply::Array(both)));
            client.ok("CLIENT TRACKING OFF");
        }
    });
}

#[test]
fn redirected_to_itself() {
    everywhere(|server, _| {
        let mut client = Client::resp3(server);
        let mut other = Client::resp2(server);
        let id = client.id();
        client.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        assert_eq!(client.cmd("CLIENT GETREDIR").int(), id);
        client.read_all();
        for n in 0..KEYS / 2 {
            other.ok(&format!("SET {} v", key(n)));
        }
        assert_eq!(client.told_of(KEYS / 2).len(), KEYS / 2);
        for n in KEYS / 2..KEYS {
            client.send(&format!("SET {} v", key(n)));
            assert_eq!(client.conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
            assert_eq!(client.told(), [key(n)]);
        }
    });
}

#[test]
fn a_broken_redirection_is_told() {
    everywhere(|server, _| {
        let mut other = Client::resp2(server);
        let mut client = Client::resp3(server);
        for mut target in targets(server, &["HELLO 3"]) {
            let id = target.id();
            client.ok(&format!("CLIENT TRACKING ON REDIRECT {id}"));
            for n in 0..KEYS {
                client.ok(&format!("GET {}", key(n)));
            }
            drop(target);
            wait_until("it is gone", || other.cmd(&format!("CLIENT LIST ID {id}")).text().is_empty());
            // Nothing is known of it before a message is lost.
            assert_eq!(info(&mut client), (words(&["on"]), id, words(&[])));
            let lost = Reply::Push(vec![Reply::Bulk(b"tracking-redir-broken".to_vec()), Reply::Int(id)]);
            for n in 0..KEYS {
                other.ok(&format!("SET {} v", key(n)));
                assert_eq!(client.push(), lost);
            }
            other.ok("FLUSHALL");
            assert_eq!(client.push(), lost);
            assert_eq!(info(&mut client), (words(&["on", "broken_redirect"]), id, words(&[])));
            assert_eq!(line_field(&client.cmd("CLIENT INFO").text(), "flags"), Some("tR"));
            client.ok("CLIENT TRACKING ON");
            assert_eq!(info(&mut client), (words(&["on"]), 0, words(&[])));
        }
    });
}
