//! Clients that track, and running a scenario on several servers.

use super::common::conn::{Conn, Reply};
use super::common::{Launch, Server, shard_of};
use std::collections::{BTreeSet, VecDeque};

/// Enough keys for several on each core.
pub const KEYS: usize = 24;

pub fn launch(server: Launch, shards: &str) -> Server {
    server.args(&["--enable-debug-command", "yes", "--shards", shards]).start()
}

/// Runs a scenario on a redis-server, and on Basalt with different numbers of shards.
pub fn everywhere(scenario: impl Fn(&Server, usize)) {
    println!("redis-server");
    scenario(&launch(Launch::redis(), "1"), 1);
    for shards in [1, 2, 4] {
        println!("{shards} shards");
        scenario(&launch(Launch::basalt(), &shards.to_string()), shards);
    }
}

pub fn key(n: usize) -> String {
    format!("key:{n}")
}

pub fn keys() -> BTreeSet<String> {
    (0..KEYS).map(key).collect()
}

/// A connection whose messages are kept apart from its replies.
pub struct Client {
    pub conn: Conn,
    pub pushes: VecDeque<Reply>,
}

impl Client {
    pub fn resp2(server: &Server) -> Client {
        Client { conn: server.conn(), pushes: VecDeque::new() }
    }

    pub fn resp3(server: &Server) -> Client {
        let mut client = Client::resp2(server);
        client.ok("HELLO 3");
        client
    }

    /// A client of RESP3 that tracks in this way.
    #[track_caller]
    pub fn tracking(server: &Server, how: &str) -> Client {
        let mut client = Client::resp3(server);
        client.ok(&format!("CLIENT TRACKING ON {how}"));
        client
    }

    pub fn id(&mut self) -> i64 {
        self.cmd("CLIENT ID").int()
    }

    pub fn send(&mut self, line: &str) {
        self.conn.send(&line.split_whitespace().collect::<Vec<_>>()).expect("a server that reads");
    }

    /// The next reply; messages before it are kept.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        loop {
            match self.conn.read().unwrap_or_else(|error| panic!("no reply: {error}")) {
                Reply::Push(items) => self.pushes.push_back(Reply::Push(items)),
                reply => return reply,
            }
        }
    }

    #[track_caller]
    pub fn cmd(&mut self, line: &str) -> Reply {
        self.send(line);
        self.reply()
    }

    #[track_caller]
    pub fn ok(&mut self, line: &str) -> Reply {
        let reply = self.cmd(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
        reply
    }

    /// The error text that a command is refused with.
    #[track_caller]
    pub fn refused(&mut self, line: &str) -> String {
        match self.cmd(line) {
            Reply::Error(text) => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{line}: {other:?}"),
        }
    }

    /// The next message.
    #[track_caller]
    pub fn push(&mut self) -> Reply {
        self.pushes.pop_front().unwrap_or_else(|| {
            let push = self.conn.read().unwrap_or_else(|error| panic!("no message: {error}"));
            assert!(matches!(push, Reply::Push(_)), "a reply instead of a message: {push:?}");
            push
        })
    }

    /// The keys of the next message.
    #[track_caller]
    pub fn told(&mut self) -> Vec<String> {
        keys_of(&self.push())
    }

    /// The keys of the next messages, until so many have come; none twice.
    #[track_caller]
    pub fn told_of(&mut self, count: usize) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        while all.len() < count {
            for key in self.told() {
                assert!(all.insert(key.clone()), "{key} is told twice");
            }
        }
        assert_eq!(all.len(), count, "{all:?}");
        all
    }

    /// Reads every key, one way or another.
    #[track_caller]
    pub fn read_all(&mut self) {
        for n in 0..KEYS / 2 {
            self.ok(&format!("GET {}", key(n)));
        }
        let rest: Vec<String> = (KEYS / 2..KEYS).map(key).collect();
        self.ok(&format!("MGET {}", rest.join(" ")));
    }

    /// Fails if anything was told so far. `other` changes a key on each core that this client has read, which is told last.
    #[track_caller]
    pub fn heard_nothing(&mut self, other: &mut Client, shards: usize) {
        let last = last_keys(shards);
        for key in &last {
            self.ok(&format!("GET {key}"));
        }
        for key in &last {
            other.ok(&format!("SET {key} x"));
        }
        let told = self.told_of(last.len());
        assert_eq!(told, last);
    }
}

/// One key of each core that no scenario uses otherwise.
pub fn last_keys(shards: usize) -> BTreeSet<String> {
    let on = |shard| (0..).map(|n| format!("last:{n}")).find(|key| shard_of(key.as_bytes(), shards) == shard);
    (0..shards).filter_map(on).collect()
}

/// The keys of an invalidation message; that of a flush has a null instead.
#[track_caller]
pub fn keys_of(push: &Reply) -> Vec<String> {
    let items = push.items();
    assert_eq!((items.len(), items[0].text()), (2, "invalidate".to_owned()), "{push:?}");
    items[1].items().iter().map(Reply::text).collect()
}

pub fn flush_message() -> Reply {
    Reply::Push(vec![Reply::Bulk(b"invalidate".to_vec()), Reply::Null])
}

/// TRACKINGINFO as (flags, redirect, prefixes).
#[track_caller]
pub fn info(client: &mut Client) -> (Vec<String>, i64, Vec<String>) {
    let info = client.cmd("CLIENT TRACKINGINFO");
    let list = |field: &str| info.get(field).expect(field).items().iter().map(Reply::text).collect();
    (list("flags"), info.get("redirect").expect("redirect").int(), list("prefixes"))
}

pub fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| word.to_string()).collect()
}
