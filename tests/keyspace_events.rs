//! Keyspace notifications beside redis-server: the same commands must bring the same messages, in the same order.

mod common;

use common::conn::{Conn, Reply, encode_into, escape};
use common::{Rng, Server, on_path, seed, slot_of, wait_until};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

const EVERYTHING: &str = "KEAmn";

/// A server with a client that hears of all events of keys.
struct Side {
    _server: Server,
    conn: Conn,
    subscriber: Conn,
}

impl Side {
    fn new(server: Server) -> Side {
        let mut conn = server.conn();
        conn.ok(&format!("CONFIG SET notify-keyspace-events {EVERYTHING}"));
        conn.ok("DEBUG SET-ACTIVE-EXPIRE 0");
        let mut subscriber = server.conn();
        subscriber.ok("PSUBSCRIBE __key*__:*");
        Side { _server: server, conn, subscriber }
    }

    fn run(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        for words in commands {
            self.conn.send(words).unwrap();
        }
        commands.iter().map(|_| self.conn.read().unwrap()).collect()
    }

    /// The messages so far, as channel and payload: up to those of writes to `markers`, of which there is one for each core.
    fn events(&mut self, markers: &[String]) -> Vec<(String, String)> {
        let mut missing: Vec<&String> = markers.iter().collect();
        for marker in markers {
            assert!(self.conn.argv(&["APPEND", marker, "x"]).int() > 0);
        }
        let mut events = Vec::new();
        while !missing.is_empty() {
            let items = self.subscriber.read().unwrap().items();
            let (channel, payload) = (items[2].text(), items[3].text());
            if channel.ends_with("__:append") {
                missing.retain(|marker| **marker != payload);
            }
            if !channel.contains("marker") && !payload.contains("marker") {
                events.push((channel, payload));
            }
        }
        events
    }
}

/// `k` is a key, `K` another one, `v` a value, `n` a small number, `b` an offset, `t` a time, `dump` what DUMP gives.
const COMMANDS: &[&str] = &[
    "SET k v",
    "SET k n",
    "SET k v NX",
    "SET k v XX",
    "SET k v GET",
    "SET k v NX GET",
    "SET k v KEEPTTL",
    "SET k v EX 1000",
    "SET k v PXAT t000",
    "SET k v PX 1",
    "SETNX k v",
    "SETEX k 1000 v",
    "PSETEX k 1000000 v",
    "GETSET k v",
    "GETDEL k",
    "GETEX k",
    "GETEX k EX 1000",
    "GETEX k EXAT t",
    "GETEX k PERSIST",
    "MSET k v K v",
    "MSETNX k v K v",
    "APPEND k v",
    "APPEND k \"\"",
    "SETRANGE k n v",
    "SETRANGE k n \"\"",
    "INCR k",
    "DECR k",
    "INCRBY k n",
    "DECRBY k n",
    "INCRBYFLOAT k 0.5",
    "SETBIT k b 1",
    "SETBIT k b 0",
    "BITFIELD k GET u8 0",
    "BITFIELD k SET u8 b n",
    "BITFIELD k INCRBY u8 b n OVERFLOW FAIL INCRBY u2 b 3",
    "BITFIELD_RO k GET u8 0",
    "BITOP AND K k k",
    "BITOP NOT K k",
    "GET k",
    "MGET k K",
    "STRLEN k",
    "GETRANGE k 0 1",
    "GETBIT k b",
    "BITCOUNT k",
    "BITPOS k 1",
    "LCS k K",
    "EXISTS k K",
    "TOUCH k K",
    "TYPE k",
    "TTL k",
    "PTTL k",
    "EXPIRETIME k",
    "OBJECT ENCODING k",
    "DUMP k",
    "DEL k",
    "DEL k K k",
    "UNLINK k",
    "RENAME k K",
    "RENAME k k",
    "RENAMENX k K",
    "COPY k K",
    "COPY k K REPLACE",
    "COPY k K DB 1",
    "COPY k K DB 1 REPLACE",
    "MOVE k 1",
    "SELECT 0",
    "SELECT 1",
    "EXPIRE k 1000",
    "EXPIRE k 1000 NX",
    "EXPIREAT k t GT",
    "PEXPIREAT k t000 LT",
    "EXPIRE k -1",
    "EXPIREAT k t",
    "PEXPIRE k 1000000",
    "PERSIST k",
    "RESTORE k 0 dump",
    "RESTORE k 0 dump REPLACE",
    "RESTORE k 1000000 dump REPLACE",
    "RESTORE k t000 dump REPLACE ABSTTL",
    "ZADD k n v n a",
    "ZADD k n v n b n c",
    "ZADD k XX CH n v",
    "ZADD k INCR 1 v",
    "ZINCRBY k n v",
    "ZREM k v a",
    "ZPOPMIN k",
    "ZPOPMAX k 2",
    "ZMPOP 2 k K MIN COUNT 2",
    "BZPOPMIN k K 0.001",
    "BZMPOP 0.001 1 k MAX COUNT 9",
    "ZREMRANGEBYRANK k 0 n",
    "ZREMRANGEBYSCORE k 0 n",
    // Any other range of names depends on how a set with several scores is built, in Redis by chance.
    "ZREMRANGEBYLEX k - +",
    "ZRANGESTORE K k 0 n",
    "ZUNIONSTORE K 2 k K",
    "ZINTERSTORE K 2 k K",
    "ZDIFFSTORE k 2 k K",
    "ZRANGE k 0 -1",
    "ZSCORE k a",
    "ZRANK k a",
    "ZCARD k",
    "ZUNION 2 k K",
    "ZRANDMEMBER k",
    "ZSCAN k 0",
    "GEOADD k 13.3 38.1 v n 15.0 37.5 a",
    "GEOADD k n 15.0 v",
    "GEOSEARCHSTORE K k FROMLONLAT 15 37 BYRADIUS 300 km",
    "GEORADIUS k 15 37 300 km STORE K",
    "GEOPOS k v",
    "FLUSHDB",
    "SWAPDB 0 1",
];

struct Script {
    rng: Rng,
    tags: &'static [&'static str],
    /// Whether keys may expire. A core looks whether one has when it hands it out to another, even if the command does not go on to look;
    /// so where there are several cores, none does.
    expires: bool,
    dump: Vec<u8>,
}

impl Script {
    fn command(&mut self) -> Vec<Vec<u8>> {
        let first = self.rng.below(4);
        let other = (first + 1 + self.rng.below(3)) % 4;
        let (tag, other_tag) = (self.rng.pick(self.tags), self.rng.pick(self.tags));
        let time = if self.expires { self.rng.pick(&["1600000000", "4102444800"]) } else { "4102444800" };
        let line = loop {
            let line = self.rng.pick(COMMANDS);
            if self.expires || !line.ends_with("PX 1") {
                break line;
            }
        };
        let mut word = |word: &str| match word {
            "k" => format!("{{{tag}}}{first}").into_bytes(),
            "K" => format!("{{{other_tag}}}{other}").into_bytes(),
            "v" => self.rng.pick(&["a", "12", "more than an entry holds".repeat(5).as_str()]).into(),
            "n" => self.rng.below(10).to_string().into_bytes(),
            "b" => self.rng.below(40).to_string().into_bytes(),
            "t" => time.into(),
            "t000" => format!("{time}000").into_bytes(),
            "dump" => self.dump.clone(),
            "\"\"" => Vec::new(),
            word => word.into(),
        };
        line.split_whitespace().map(&mut word).collect()
    }

    /// One command, or a block of several.
    fn step(&mut self) -> Vec<Vec<Vec<u8>>> {
        if !self.rng.chance(8) {
            return vec![self.command()];
        }
        let mut block = vec![vec![b"MULTI".to_vec()]];
        block.extend((0..2 + self.rng.below(3)).map(|_| self.command()));
        block.push(vec![b"EXEC".to_vec()]);
        block
    }
}

/// The messages of each key in their order; which key comes before which is left open between cores.
fn by_key(events: &[(String, String)], together: bool) -> BTreeMap<String, Vec<(String, String)>> {
    let mut by_key: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (channel, payload) in events {
        let (kind, name) = channel.split_once("__:").unwrap();
        let key = if kind.starts_with("__keyspace") { name } else { payload };
        let group = if together { String::new() } else { key.to_owned() };
        by_key.entry(group).or_default().push((channel.clone(), payload.clone()));
    }
    by_key
}

fn compare(shards: &str, tags: &'static [&'static str], steps: usize) {
    if !on_path("redis-server") {
        return println!("skipped: there is no redis-server to compare with");
    }
    let debug = ["--enable-debug-command", "yes"];
    let mut ours = Side::new(Server::basalt(&[&["--shards", shards], &debug[..]].concat()));
    let mut theirs = Side::new(Server::redis(&debug));
    theirs.conn.ok("SET dumped restored");
    let dump = theirs.conn.cmd("DUMP dumped").bytes();
    theirs.conn.ok("DEL dumped");
    let markers: Vec<String> = tags.iter().map(|tag| format!("{{{tag}}}marker")).collect();
    theirs.events(&markers);
    ours.events(&markers);
    let mut script = Script { rng: Rng::new(seed()), tags, expires: shards == "1", dump };
    let mut history = Vec::new();
    for _ in 0..steps {
        let step = script.step();
        let shown = step.iter().map(|words| escape(&words.join(&b' '))).collect::<Vec<_>>().join("; ");
        let replies = [ours.run(&step), theirs.run(&step)];
        history.push(shown);
        if step.iter().any(|words| words.ends_with(&[b"PX".to_vec(), b"1".to_vec()])) {
            let over = Instant::now() + Duration::from_millis(3);
            wait_until("it has expired", || Instant::now() > over);
        }
        let [own, wanted] = [&mut ours, &mut theirs].map(|side| by_key(&side.events(&markers), tags.len() == 1));
        let recent = &history[history.len().saturating_sub(12)..];
        assert_eq!(own, wanted, "of the last of {recent:#?}\nwith replies {replies:?}");
    }
}

#[test]
fn one_core() {
    compare("1", &["a"], 3000);
}

#[test]
fn keys_of_one_core_of_two() {
    compare("2", &["a"], 1500);
}

#[test]
fn keys_of_both_cores() {
    let tags = &["a", "b", "c", "d"];
    let upper = tags.iter().filter(|tag| slot_of(tag.as_bytes()) >= 8192).count();
    assert!(upper > 0 && upper < tags.len());
    compare("2", tags, 3000);
}

/// The messages that have come, up to one that is published behind them.
fn heard(conn: &mut Conn, subscriber: &mut Conn) -> Vec<(String, String)> {
    assert_eq!(conn.cmd("PUBLISH __key__:end x"), Reply::Int(1));
    let messages = std::iter::from_fn(|| {
        let items = subscriber.read().unwrap().items();
        let message = (items[2].text(), items[3].text());
        (message.0 != "__key__:end").then_some(message)
    });
    messages.collect()
}

#[test]
fn only_what_is_asked_for_is_published() {
    let server = Server::basalt(&["--shards", "1", "--notify-keyspace-events", "Kg"]);
    let (mut conn, mut subscriber) = (server.conn(), server.conn());
    subscriber.ok("PSUBSCRIBE __key*__:*");
    let mut ask = |letters: &str, lines: &[&str]| {
        if !letters.is_empty() {
            conn.argv(&["CONFIG", "SET", "notify-keyspace-events", if letters == "none" { "" } else { letters }]);
        }
        lines.iter().for_each(|line| drop(conn.cmd(line)));
        heard(&mut conn, &mut subscriber)
            .into_iter()
            .map(|(channel, text)| format!("{channel} {text}"))
            .collect::<Vec<_>>()
    };
    let lines = ["SET k v", "GET nothing", "DEL k"];
    assert_eq!(ask("", &lines), ["__keyspace@0__:k del"]);
    assert_eq!(ask("E$", &lines), ["__keyevent@0__:set k"]);
    assert_eq!(ask("Em", &lines), ["__keyevent@0__:keymiss nothing"]);
    assert_eq!(ask("En", &lines), ["__keyevent@0__:new k"]);
    assert_eq!(ask("A", &lines), [""; 0]);
    assert_eq!(ask("KE", &lines), [""; 0]);
    assert_eq!(ask("none", &lines), [""; 0]);
    assert_eq!(
        ask("AKE", &lines),
        ["__keyspace@0__:k set", "__keyevent@0__:set k", "__keyspace@0__:k del", "__keyevent@0__:del k"]
    );
}

#[test]
fn the_setting_is_checked_and_shown_as_in_redis() {
    let server = Server::basalt(&[]);
    let mut conn = server.conn();
    for (set, shown) in [("KEA", "AKE"), ("KEAmn", "AKEm"), ("Kn", "nK"), ("Elg", "glE"), ("mK", "Km")] {
        conn.ok(&format!("CONFIG SET notify-keyspace-events {set}"));
        assert_eq!(conn.cmd("CONFIG GET notify-keyspace-events").items()[1].text(), shown);
    }
    let refused = conn.cmd("CONFIG SET notify-keyspace-events q").text();
    assert!(refused.ends_with("Invalid event class character. Use 'Ag$lshzxeKEtmdn'."), "{refused}");
}

/// However fast keys change and however many listen, every subscriber hears of every change, in the order of each key.
#[test]
fn nothing_is_lost_under_load() {
    const CHANGES: usize = 20_000;
    let server = Server::basalt(&["--shards", "3", "--notify-keyspace-events", "E$"]);
    let mut subscribers: Vec<Conn> = (0..30).map(|_| server.conn()).collect();
    subscribers.iter_mut().for_each(|conn| drop(conn.ok("SUBSCRIBE __keyevent@0__:incrby")));
    let mut writers: Vec<Conn> = (0..3).map(|_| server.conn()).collect();
    std::thread::scope(|scope| {
        for (n, conn) in writers.iter_mut().enumerate() {
            let mut writer = conn.writer();
            scope.spawn(move || {
                let mut pipeline = Vec::new();
                (0..CHANGES).for_each(|i| encode_into(&mut pipeline, &["INCR", &format!("{n}:{}", i % 50)]));
                writer.write_all(&pipeline).unwrap();
            });
            scope.spawn(move || {
                (0..CHANGES).for_each(|i| assert_eq!(conn.read().unwrap(), Reply::Int(1 + (i / 50) as i64)))
            });
        }
        for conn in &mut subscribers {
            scope.spawn(move || {
                let mut heard: BTreeMap<String, usize> = BTreeMap::new();
                for _ in 0..3 * CHANGES {
                    *heard.entry(conn.read().unwrap().items()[2].text()).or_default() += 1;
                }
                assert!(heard.len() == 150 && heard.values().all(|count| *count == CHANGES / 50));
            });
        }
    });
}

/// Expiry and eviction tell of keys that no command has named.
#[test]
fn keys_that_go_by_themselves() {
    let server = Server::basalt(&["--shards", "2", "--notify-keyspace-events", "Exe"]);
    let (mut conn, mut subscriber) = (server.conn(), server.conn());
    subscriber.ok("SUBSCRIBE __keyevent@0__:expired __keyevent@0__:evicted");
    subscriber.read().unwrap();
    let mut expected: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    for key in &expected {
        conn.argv(&["SET", key, "v", "PX", "20"]);
    }
    let mut expired: Vec<String> = (0..100).map(|_| subscriber.read().unwrap().items()[2].text()).collect();
    expired.sort();
    expected.sort();
    assert_eq!(expired, expected);
    let value = "v".repeat(10_000);
    for n in 0..200 {
        conn.argv(&["SET", &format!("e{n}"), &value]);
    }
    for line in ["CONFIG SET maxmemory-policy allkeys-random", "CONFIG SET maxmemory 1"] {
        conn.ok(line);
    }
    let mut evicted: Vec<String> = (0..200).map(|_| subscriber.read().unwrap().items()[2].text()).collect();
    evicted.sort();
    evicted.dedup();
    assert_eq!(evicted.len(), 200);
}

/// What a client hears of its own command comes behind the reply to it, also to that of a whole block.
#[test]
fn events_of_ones_own_commands() {
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards, "--notify-keyspace-events", "E$"]);
        if !server.is_basalt_or_say("a message to oneself behind the reply") {
            return;
        }
        let mut conn = server.conn();
        conn.ok("HELLO 3");
        conn.send(&["SUBSCRIBE", "__keyevent@0__:set"]).unwrap();
        conn.read().unwrap();
        let mut pipeline = Vec::new();
        for words in [&["MULTI"][..], &["SET", "x", "1"], &["SET", "y", "2"], &["SET", "z", "2"], &["EXEC"]] {
            encode_into(&mut pipeline, words);
        }
        let ok = Reply::Simple(b"OK".to_vec());
        for _ in 0..50 {
            conn.send(&["SET", "x", "1"]).unwrap();
            assert_eq!(conn.read().unwrap(), ok);
            assert_eq!(conn.read().unwrap().items()[2].text(), "x");
            conn.send_raw(&pipeline).unwrap();
            let mut replies: Vec<Reply> = (0..8).map(|_| conn.read().unwrap()).collect();
            replies.retain(|reply| !matches!(reply, Reply::Push(_)));
            assert_eq!(replies.len(), 5, "{replies:?}");
            assert_eq!(replies[4], Reply::Array(vec![ok.clone(), ok.clone(), ok.clone()]));
        }
    }
}
