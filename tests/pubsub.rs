//! Publish/subscribe: subscribers and publishers on every core, beside redis-server where the bytes can be compared.

mod common;

use common::conn::{Conn, Reply, encode, encode_into, escape};
use common::{Flavour, PATIENCE, Rng, Server, info_number, line_field, on_path, seed, wait_until};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

const SHARDS: [usize; 3] = [1, 2, 4];

fn serve(shards: usize, args: &[&str]) -> Server {
    let shards = shards.to_string();
    let all: Vec<&str> = ["--shards", &shards].iter().chain(args).copied().collect();
    Server::basalt(&all)
}

/// The core that serves a connection; 0 where there is only one.
fn core_of(conn: &mut Conn) -> usize {
    let info = conn.cmd("CLIENT INFO").text();
    line_field(&info, "shard").map_or(0, |shard| shard.parse().expect("a number"))
}

/// `each` connections on every core, core by core.
fn spread(server: &Server, shards: usize, each: usize) -> Vec<Conn> {
    let cores = if server.flavour == Flavour::Basalt { shards } else { 1 };
    let mut by_core: Vec<Vec<Conn>> = (0..cores).map(|_| Vec::new()).collect();
    let start = Instant::now();
    let mut others = Vec::new();
    while by_core.iter().any(|of| of.len() < each) {
        assert!(start.elapsed() < PATIENCE, "the connections are not spread over the cores");
        let mut conn = server.conn();
        let core = core_of(&mut conn);
        // A connection that is too many stays open, or its core would be the emptiest again.
        if by_core[core].len() < each { by_core[core].push(conn) } else { others.push(conn) }
    }
    by_core.into_iter().flatten().collect()
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

fn confirmation(kind: &str, name: &str, count: i64) -> Reply {
    Reply::Array(vec![bulk(kind), bulk(name), Reply::Int(count)])
}

fn message(channel: &str, payload: &str) -> Reply {
    Reply::Array(vec![bulk("message"), bulk(channel), bulk(payload)])
}

fn subscribe(conn: &mut Conn, kind: &str, name: &str) {
    let reply = conn.argv(&[kind, name]);
    assert_eq!(reply.items()[0], bulk(&kind.to_lowercase()), "{reply:?}");
}

#[test]
fn every_subscriber_gets_every_message_in_the_order_of_its_publisher() {
    const MESSAGES: usize = 2000;
    for shards in SHARDS {
        let server = serve(shards, &[]);
        let mut subscribers = spread(&server, shards, 2);
        for (n, conn) in subscribers.iter_mut().enumerate() {
            match n % 2 {
                0 => subscribe(conn, "SUBSCRIBE", "news"),
                _ => subscribe(conn, "PSUBSCRIBE", "n?ws"),
            }
        }
        let mut publishers = spread(&server, shards, 1);
        for (n, conn) in publishers.iter_mut().enumerate() {
            let mut pipeline = Vec::new();
            for i in 0..MESSAGES {
                encode_into(&mut pipeline, &["PUBLISH", "news", &format!("{n}:{i}")]);
            }
            conn.send_raw(&pipeline).unwrap();
        }
        for conn in &mut publishers {
            for _ in 0..MESSAGES {
                assert_eq!(conn.read().unwrap(), Reply::Int(subscribers.len() as i64));
            }
        }
        for conn in &mut subscribers {
            let mut next: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..MESSAGES * publishers.len() {
                let text = conn.read().unwrap().items().last().unwrap().text();
                let (publisher, number) = text.split_once(':').unwrap();
                let next = next.entry(publisher.to_owned()).or_default();
                assert_eq!(number, next.to_string(), "of publisher {publisher}, {shards} shards");
                *next += 1;
            }
            assert_eq!(conn.cmd("PING"), Reply::Array(vec![bulk("pong"), bulk("")]), "nothing more has come");
        }
    }
}

/// Who publishes after having seen another's reply comes later, wherever the two and the subscriber are.
#[test]
fn a_later_message_never_overtakes_an_earlier_one() {
    for shards in SHARDS {
        let server = serve(shards, &[]);
        let mut subscribers = spread(&server, shards, 1);
        let all = subscribers.len() as i64;
        subscribers.iter_mut().for_each(|conn| subscribe(conn, "SUBSCRIBE", "c"));
        let mut publishers = spread(&server, shards, 1);
        let count = publishers.len();
        for n in 0..600 {
            let reply = publishers[n % count].argv(&["PUBLISH", "c", &n.to_string()]);
            assert_eq!(reply, Reply::Int(all));
        }
        for conn in &mut subscribers {
            for n in 0..600 {
                assert_eq!(conn.read().unwrap(), message("c", &n.to_string()));
            }
        }
    }
}

/// From the moment of the confirmation on every core reaches the subscriber, and from the moment of its end none does.
#[test]
fn confirmations_hold_on_every_core() {
    for shards in SHARDS {
        let server = serve(shards, &[]);
        let mut subscriber = server.conn();
        let mut others = spread(&server, shards, 1);
        for round in 0..100 {
            let channel = format!("c{round}");
            assert_eq!(subscriber.argv(&["SUBSCRIBE", &channel]), confirmation("subscribe", &channel, 1));
            assert_eq!(subscriber.argv(&["PSUBSCRIBE", "c*"]), confirmation("psubscribe", "c*", 2));
            for conn in &mut others {
                assert_eq!(conn.argv(&["PUBSUB", "NUMSUB", &channel]).items()[1], Reply::Int(1));
                assert_eq!(conn.cmd("PUBSUB NUMPAT"), Reply::Int(1));
                assert_eq!(conn.argv(&["PUBLISH", &channel, "x"]), Reply::Int(2));
                assert_eq!(subscriber.read().unwrap(), message(&channel, "x"));
                assert_eq!(subscriber.read().unwrap().items()[0], bulk("pmessage"));
            }
            assert_eq!(subscriber.cmd("UNSUBSCRIBE"), confirmation("unsubscribe", &channel, 1));
            assert_eq!(subscriber.cmd("PUNSUBSCRIBE c*"), confirmation("punsubscribe", "c*", 0));
            for conn in &mut others {
                assert_eq!(conn.argv(&["PUBLISH", &channel, "x"]), Reply::Int(0));
                assert_eq!(conn.cmd("PUBSUB CHANNELS"), Reply::Array(Vec::new()));
                assert_eq!(conn.cmd("PUBSUB NUMPAT"), Reply::Int(0));
            }
        }
    }
}

/// What a pipeline wrote before its PUBLISH is there when the message arrives, whichever core has the key.
#[test]
fn a_message_comes_after_the_writes_before_it() {
    let server = serve(4, &[]);
    let mut subscriber = server.conn();
    subscribe(&mut subscriber, "SUBSCRIBE", "written");
    let mut writer = server.conn();
    let mut reader = server.conn();
    for n in 0..400 {
        let (key, value) = (format!("key:{n}"), n.to_string());
        let mut pipeline = encode(&["SET", &key, &value]);
        encode_into(&mut pipeline, &["PUBLISH", "written", &key]);
        encode_into(&mut pipeline, &["PUBLISH", "written", &key]);
        writer.send_raw(&pipeline).unwrap();
        assert_eq!(subscriber.read().unwrap(), message("written", &key));
        assert_eq!(reader.argv(&["GET", &key]), bulk(&value));
        assert_eq!(subscriber.read().unwrap(), message("written", &key));
        let replies: Vec<Reply> = (0..3).map(|_| writer.read().unwrap()).collect();
        assert_eq!(replies, [Reply::Simple(b"OK".to_vec()), Reply::Int(1), Reply::Int(1)]);
    }
}

/// Replies to publishes keep their places among other replies, though cores answer when they can.
#[test]
fn replies_of_a_mixed_pipeline_are_in_order() {
    let server = serve(4, &[]);
    let mut subscribers = spread(&server, 4, 1);
    subscribers.iter_mut().for_each(|conn| subscribe(conn, "SUBSCRIBE", "c"));
    let mut rng = Rng::new(seed());
    let mut conn = server.conn();
    for _ in 0..20 {
        let (mut pipeline, mut expected, mut published) = (Vec::new(), Vec::new(), 0);
        for n in 0..300 {
            match rng.below(5) {
                0 | 1 => {
                    encode_into(&mut pipeline, &["PUBLISH", "c", "x"]);
                    expected.push(Reply::Int(4));
                    published += 1;
                }
                2 => {
                    encode_into(&mut pipeline, &["ECHO", &n.to_string()]);
                    expected.push(bulk(&n.to_string()));
                }
                3 => {
                    encode_into(&mut pipeline, &["SET", &format!("k{n}"), "v"]);
                    expected.push(Reply::Simple(b"OK".to_vec()));
                }
                _ => {
                    encode_into(&mut pipeline, &["PUBLISH", "nobody", "x"]);
                    expected.push(Reply::Int(0));
                }
            }
        }
        conn.send_raw(&pipeline).unwrap();
        for reply in expected {
            assert_eq!(conn.read().unwrap(), reply);
        }
        for subscriber in &mut subscribers {
            for _ in 0..published {
                assert_eq!(subscriber.read().unwrap(), message("c", "x"));
            }
        }
    }
}

#[test]
fn who_leaves_is_forgotten_everywhere() {
    for shards in SHARDS {
        let server = serve(shards, &[]);
        let mut watchers = spread(&server, shards, 1);
        let mut subscribers = spread(&server, shards, 3);
        let count = subscribers.len();
        for (n, conn) in subscribers.iter_mut().enumerate() {
            subscribe(conn, "SUBSCRIBE", &format!("c{}", n % 5));
            subscribe(conn, "PSUBSCRIBE", "p*");
            subscribe(conn, "SSUBSCRIBE", "s");
        }
        for conn in &mut watchers {
            assert_eq!(conn.cmd("PUBLISH px 1"), Reply::Int(count as i64));
            assert_eq!(conn.cmd("SPUBLISH s 1"), Reply::Int(count as i64));
            assert_eq!(conn.cmd("SPUBLISH px 1"), Reply::Int(0));
            assert_eq!(info_number(conn, "pubsub_channels"), count.min(5) as u64);
            assert_eq!(info_number(conn, "pubsub_patterns"), 1);
            assert_eq!(info_number(conn, "pubsubshard_channels"), 1);
        }
        for (n, mut conn) in subscribers.into_iter().enumerate() {
            match n % 4 {
                0 => drop(conn),
                1 => conn.reset(),
                2 => {
                    conn.send(&["RESET"]).unwrap();
                    while conn.read().unwrap() != Reply::Simple(b"RESET".to_vec()) {}
                }
                _ => {
                    conn.send(&["QUIT"]).unwrap();
                    assert!(conn.closed());
                }
            }
        }
        for conn in &mut watchers {
            wait_until("nobody is subscribed", || {
                conn.cmd("PUBSUB CHANNELS").items().is_empty()
                    && conn.cmd("PUBSUB NUMPAT") == Reply::Int(0)
                    && conn.cmd("PUBSUB SHARDCHANNELS").items().is_empty()
            });
            assert_eq!(conn.cmd("PUBLISH px 1"), Reply::Int(0));
        }
    }
}

/// Clients subscribe, unsubscribe, publish and vanish at random; afterwards all cores agree that nobody is left.
#[test]
fn random_comings_and_goings() {
    let mut rng = Rng::new(seed());
    let server = serve(4, &[]);
    let mut watchers = spread(&server, 4, 1);
    let mut conns: Vec<Conn> = (0..12).map(|_| server.conn()).collect();
    for _ in 0..1500 {
        let n = rng.below(conns.len());
        let names: Vec<String> = (0..1 + rng.below(3)).map(|_| format!("c{}", rng.below(4))).collect();
        let command =
            rng.pick(&["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "RESET", "gone"]);
        match command {
            // In the middle of whatever it has asked for.
            "gone" => conns[n] = server.conn(),
            "RESET" => conns[n].send(&["RESET"]).unwrap(),
            _ => {
                let words: Vec<&str> = std::iter::once(command).chain(names.iter().map(String::as_str)).collect();
                conns[n].send(&words).unwrap();
            }
        }
        if rng.chance(3) {
            let publisher = rng.below(watchers.len());
            let reply = watchers[publisher].argv(&["PUBLISH", &names[0], "x"]);
            // Each of the others has the channel and one pattern of that name at most.
            assert!((0..=2 * conns.len() as i64).contains(&reply.int()), "{reply:?}");
        }
    }
    // All are still served: a PING behind what was sent is answered.
    for conn in &mut conns {
        conn.send(&["RESET"]).unwrap();
        conn.send(&["PING", "end"]).unwrap();
        while conn.read().unwrap() != bulk("end") {}
    }
    for conn in &mut watchers {
        wait_until("nobody is subscribed", || {
            ["channels", "patterns"].iter().all(|kind| info_number(conn, &format!("pubsub_{kind}")) == 0)
                && info_number(conn, "pubsubshard_channels") == 0
        });
    }
}

/// The raw replies to each line, read up to the reply of a marker that follows it. `;` separates commands that are sent together.
fn transcript(server: &Server, lines: &[&str]) -> Vec<String> {
    let mut conn = server.conn();
    let mut all = Vec::new();
    for line in lines {
        for command in line.split(';') {
            let words = command.split_whitespace().map(|word| if word == "\"\"" { "" } else { word });
            conn.send(&words.collect::<Vec<_>>()).unwrap();
        }
        // Refused in any state of the connection.
        conn.send(&["PING", "a", "marker"]).unwrap();
        let mut bytes = Vec::new();
        loop {
            let (reply, raw) = conn.read_raw().unwrap_or_else(|error| panic!("{line}: {error}"));
            if reply.is_error() && reply.text().contains("'ping'") {
                break;
            }
            bytes.extend_from_slice(&raw);
        }
        all.push(format!("{line} -> {}", escape(&bytes)));
    }
    all
}

const SCRIPT: &[&str] = &[
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
    "UNSUBSCRIBE x y",
    "SUNSUBSCRIBE x",
    "PING",
    "SUBSCRIBE",
    "SSUBSCRIBE",
    "PUBLISH a",
    "PUBSUB",
    "PUBSUB FOO",
    "PUBSUB CHANNELS a b",
    "PUBSUB SHARDCHANNELS a b",
    "PUBSUB NUMPAT x",
    "PUBSUB NUMSUB",
    "PUBSUB SHARDNUMSUB x y",
    "COMMAND GETKEYS SSUBSCRIBE a b",
    "COMMAND GETKEYS SPUBLISH a b",
    "SUBSCRIBE a b a",
    "SUBSCRIBE \"\"",
    "PSUBSCRIBE a* b* a*",
    "SSUBSCRIBE s1 s2 s1",
    "PING",
    "PING hi",
    "PING \"\"",
    "GET",
    "NOSUCH",
    "UNSUBSCRIBE \"\" nothing",
    "PUNSUBSCRIBE a* zz",
    "SUNSUBSCRIBE s1",
    "SSUBSCRIBE",
    "UNSUBSCRIBE a b",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "PING",
    "SUNSUBSCRIBE",
    "PING",
    "CLIENT REPLY OFF; SUBSCRIBE quiet; PING; UNSUBSCRIBE quiet; PING; CLIENT REPLY ON",
    "CLIENT REPLY SKIP; SUBSCRIBE quiet; UNSUBSCRIBE quiet nothing; UNSUBSCRIBE",
    "SUBSCRIBE z",
    "RESET",
    "MULTI; SUBSCRIBE m1 m2; PING; UNSUBSCRIBE m1 m2; PSUBSCRIBE m*; PUNSUBSCRIBE; SSUBSCRIBE m; SUNSUBSCRIBE; PUBSUB NUMPAT; EXEC",
    "MULTI; PUBLISH nobody x; SPUBLISH nobody x; EXEC",
    "CLIENT REPLY SKIP; PUBLISH nobody x; PING",
    "PUBSUB CHANNELS",
    "PING",
];

/// What only a RESP2 subscriber is refused.
const REFUSED: &[&str] = &[
    "SUBSCRIBE a",
    "GET x",
    "CLIENT LIST",
    "CONFIG GET maxmemory",
    "PUBLISH a hi",
    "PUBSUB CHANNELS",
    "PUBSUB HELP",
    "HELLO 3",
    "UNSUBSCRIBE",
    "SSUBSCRIBE s",
    "get x",
    "SUNSUBSCRIBE",
    "GET x",
];

/// What a RESP3 subscriber may do as well as anybody.
const ALLOWED: &[&str] = &[
    "SUBSCRIBE a",
    "PSUBSCRIBE x*",
    "SSUBSCRIBE s",
    "GET x",
    "PUBLISH nobody hi",
    "PUBSUB CHANNELS",
    "PUBSUB NUMPAT",
    "PUBSUB NUMSUB a b",
    "PUBSUB SHARDCHANNELS",
    "PUBSUB SHARDNUMSUB s",
    "PUBSUB CHANNELS b*",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
];

#[test]
fn replies_are_those_of_redis() {
    if !on_path("redis-server") {
        return println!("skipped: there is no redis-server to compare with");
    }
    let redis = Server::redis(&[]);
    for shards in [1, 3] {
        let basalt = serve(shards, &[]);
        let resp3 = |lines: &[&'static str]| [&["HELLO 3"], lines].concat();
        for script in [SCRIPT.to_vec(), REFUSED.to_vec(), resp3(SCRIPT), resp3(ALLOWED)] {
            let (ours, theirs) = (transcript(&basalt, &script), transcript(&redis, &script));
            for (own, wanted) in ours.iter().zip(&theirs).filter(|(own, _)| !own.starts_with("HELLO 3 -> %")) {
                assert_eq!(own, wanted, "with {shards} shards");
            }
        }
    }
}

#[test]
fn messages_look_as_redis_sends_them() {
    for (proto, mark) in [("2", '*'), ("3", '>')] {
        let server = serve(2, &[]);
        let mut publisher = server.conn();
        for mut conn in spread(&server, 2, 1) {
            conn.ok(&format!("HELLO {proto}"));
            for line in ["SUBSCRIBE a", "PSUBSCRIBE [a]", "SSUBSCRIBE a"] {
                conn.ok(line);
            }
            assert_eq!(publisher.cmd("PUBLISH a \"\""), Reply::Int(2));
            assert_eq!(publisher.cmd("SPUBLISH a x"), Reply::Int(1));
            let raw: Vec<u8> = (0..3).flat_map(|_| conn.read_raw().unwrap().1).collect();
            let wanted = format!(
                "{mark}3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n{mark}4\r\n$8\r\npmessage\r\n$3\r\n[a]\r\n$1\r\na\r\n$0\r\n\r\n\
                 {mark}3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
            );
            assert_eq!(escape(&raw), escape(wanted.as_bytes()));
            conn.send(&["RESET"]).unwrap();
            assert_eq!(conn.read().unwrap(), Reply::Simple(b"RESET".to_vec()));
        }
    }
}

/// As Redis 7.2: what a client tells itself comes behind the reply. (7.0 sends it before.)
#[test]
fn a_message_to_oneself_comes_behind_the_reply() {
    for shards in SHARDS {
        let server = serve(shards, &[]);
        if !server.is_basalt_or_say("a message to oneself behind the reply") {
            return;
        }
        for mut conn in spread(&server, shards, 1) {
            conn.ok("HELLO 3");
            subscribe(&mut conn, "SUBSCRIBE", "me");
            let push = |text: &str| Reply::Push(vec![bulk("message"), bulk("me"), bulk(text)]);
            for n in 0..50 {
                let text = n.to_string();
                conn.send_raw(&encode(&["PUBLISH", "me", &text]).repeat(2)).unwrap();
                let replies: Vec<Reply> = (0..4).map(|_| conn.read().unwrap()).collect();
                assert_eq!(replies, [Reply::Int(1), push(&text), Reply::Int(1), push(&text)]);
            }
            // Nobody but the client itself hears that it wants no replies.
            conn.send(&["CLIENT", "REPLY", "SKIP"]).unwrap();
            conn.send(&["PUBLISH", "me", "quiet"]).unwrap();
            assert_eq!(conn.read().unwrap(), push("quiet"));
            assert_eq!(conn.cmd("UNSUBSCRIBE me").items()[2], Reply::Int(0));
        }
    }
}

/// Pushes come between the replies of other cores, never within one.
#[test]
fn pushes_do_not_break_into_replies() {
    let server = serve(4, &[]);
    let mut subscriber = server.conn();
    subscriber.ok("HELLO 3");
    subscribe(&mut subscriber, "SUBSCRIBE", "c");
    let mut publisher = server.conn();
    let value = "v".repeat(3000);
    for n in 0..40 {
        assert_eq!(subscriber.argv(&["SET", &format!("k{n}"), &value]), Reply::Simple(b"OK".to_vec()));
    }
    let (mut gets, mut publishes) = (Vec::new(), Vec::new());
    for n in 0..2000 {
        encode_into(&mut gets, &["GET", &format!("k{}", n % 40)]);
        encode_into(&mut publishes, &["PUBLISH", "c", &n.to_string()]);
    }
    let mut writers = [(subscriber.writer(), gets), (publisher.writer(), publishes)];
    std::thread::scope(|scope| {
        for (writer, bytes) in &mut writers {
            scope.spawn(move || writer.write_all(bytes).unwrap());
        }
        let (mut replies, mut pushes) = (0, 0);
        while replies + pushes < 4000 {
            match subscriber.read().unwrap() {
                Reply::Push(items) => {
                    assert_eq!(items[2], bulk(&pushes.to_string()));
                    pushes += 1;
                }
                reply => {
                    assert_eq!(reply, bulk(&value));
                    replies += 1;
                }
            }
        }
        (0..2000).for_each(|_| assert_eq!(publisher.read().unwrap(), Reply::Int(1)));
    });
}

/// A block may wait for other cores in the middle of its reply; messages come behind it.
#[test]
fn messages_do_not_break_into_the_reply_of_a_block() {
    let server = serve(4, &[]);
    let mut subscriber = server.conn();
    subscriber.ok("HELLO 3");
    subscribe(&mut subscriber, "SUBSCRIBE", "c");
    let mut publisher = server.conn();
    let publishes = encode(&["PUBLISH", "c", "flood"]).repeat(5000);
    let mut writer = publisher.writer();
    let words: [&[&str]; 6] = [
        &["MULTI"],
        &["SET", "k1", "v"],
        &["DBSIZE"],
        &["PUBLISH", "c", "own"],
        &["MGET", "k1", "k2", "k3"],
        &["EXEC"],
    ];
    let block: Vec<u8> = words.iter().flat_map(|words| encode(words)).collect();
    let (mut floods, mut owns) = (0, 0);
    let mut reply = |conn: &mut Conn| loop {
        match conn.read().unwrap() {
            Reply::Push(items) if items[2] == bulk("flood") => floods += 1,
            Reply::Push(items) if items[2] == bulk("own") => owns += 1,
            reply => return (reply, owns),
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&publishes).unwrap());
        for round in 0..200 {
            subscriber.send_raw(&block).unwrap();
            assert_eq!(reply(&mut subscriber).0, Reply::Simple(b"OK".to_vec()));
            for _ in 0..4 {
                assert_eq!(reply(&mut subscriber).0, Reply::Simple(b"QUEUED".to_vec()));
            }
            let (items, owns) = reply(&mut subscriber);
            let values = Reply::Array(vec![bulk("v"), Reply::Null, Reply::Null]);
            let wanted = vec![Reply::Simple(b"OK".to_vec()), Reply::Int(1), Reply::Int(1), values];
            assert_eq!(items, Reply::Array(wanted));
            if server.flavour == Flavour::Basalt {
                assert_eq!(owns, round, "its own message comes behind the reply");
            }
        }
        (0..5000).for_each(|_| assert_eq!(publisher.read().unwrap(), Reply::Int(1)));
    });
    subscriber.send(&["ECHO", "end"]).unwrap();
    assert_eq!(reply(&mut subscriber).0, bulk("end"));
    assert_eq!((floods, owns), (5000, 200));
}

#[test]
fn large_messages_reach_all_cores() {
    for shards in SHARDS {
        let server = serve(shards, &[]);
        let mut subscribers = spread(&server, shards, 2);
        for (n, conn) in subscribers.iter_mut().enumerate() {
            if n % 2 == 1 {
                conn.ok("HELLO 3");
            }
            subscribe(conn, "SUBSCRIBE", "big");
        }
        let mut publisher = server.conn();
        for bytes in [16 * 1024 - 1, 16 * 1024, 100_000, 3_000_000] {
            let payload = "p".repeat(bytes);
            assert_eq!(publisher.argv(&["PUBLISH", "big", &payload]), Reply::Int(subscribers.len() as i64));
            assert_eq!(publisher.argv(&["PUBLISH", &payload, &payload]), Reply::Int(0));
            for conn in &mut subscribers {
                let items = conn.read().unwrap().items();
                assert!(items[2] == bulk(&payload) && items[1] == bulk("big"), "{bytes} bytes");
            }
        }
    }
}

/// A subscriber that does not read is closed at its limit, while others are served.
#[test]
fn a_slow_subscriber_is_closed() {
    let limit = "normal 0 0 0 pubsub 4mb 0 0";
    for shards in [1, 2] {
        let server = serve(shards, &["--client-output-buffer-limit", limit]);
        for (payload, large) in [("m".repeat(1000), false), ("m".repeat(64 * 1024), true)] {
            let mut slow = spread(&server, shards, 1);
            for conn in &mut slow {
                subscribe(conn, "SUBSCRIBE", "flood");
            }
            let mut reader = server.conn();
            subscribe(&mut reader, "SUBSCRIBE", "flood");
            let mut publisher = server.conn();
            let start = Instant::now();
            let mut sent = 0;
            // Until only the reader is left.
            while publisher.argv(&["PUBLISH", "flood", &payload]).int() > 1 {
                sent += 1;
                let items = reader.read().unwrap().items();
                assert_eq!(items[2].bytes().len(), payload.len());
                assert!(start.elapsed() < PATIENCE, "slow subscribers are still there after {sent} messages");
            }
            assert_eq!(reader.read().unwrap().items()[2].bytes().len(), payload.len());
            assert!(sent * payload.len() > 4_000_000, "closed after {sent} messages, large: {large}");
            for conn in &mut slow {
                assert!(conn.read_to_end().unwrap().len() < (sent + 2) * (payload.len() + 100));
            }
        }
        assert!(server.log().contains("output buffer limits"), "{}", server.log());
    }
}

/// One tick's input can ask for any number of messages: the limit holds within it too.
#[test]
fn the_limit_holds_within_a_burst() {
    let server = serve(2, &["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let mut slow = spread(&server, 2, 2);
    for conn in &mut slow {
        subscribe(conn, "SUBSCRIBE", "flood");
    }
    let mut publisher = server.conn();
    let payload = "m".repeat(2000);
    let mut writer = publisher.writer();
    let pipeline = encode(&["PUBLISH", "flood", &payload]).repeat(20_000);
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&pipeline).unwrap());
        for _ in 0..20_000 {
            assert!((0..=4).contains(&publisher.read().unwrap().int()));
        }
    });
    assert_eq!(publisher.argv(&["PUBLISH", "flood", "x"]), Reply::Int(0));
    if server.flavour == Flavour::Basalt {
        assert_eq!(info_number(&mut publisher, "client_output_buffer_limit_disconnections"), 4);
    }
}

#[test]
fn subscribers_among_the_clients() {
    let server = serve(2, &["--timeout", "1"]);
    let mut admin = server.conn();
    let mut idle = server.conn();
    let mut subscribers = spread(&server, 2, 1);
    let mut ids = Vec::new();
    for conn in &mut subscribers {
        ids.push(conn.cmd("CLIENT ID").int());
        for line in ["SUBSCRIBE a", "SUBSCRIBE b", "PSUBSCRIBE c*", "SSUBSCRIBE s"] {
            conn.ok(line);
        }
    }
    let lines = |admin: &mut Conn| admin.cmd("CLIENT LIST TYPE pubsub").text();
    let list = lines(&mut admin);
    assert_eq!(list.lines().count(), ids.len(), "{list}");
    for line in list.lines() {
        let fields = ["flags", "sub", "psub", "ssub", "cmd"].map(|field| line_field(line, field).unwrap());
        assert_eq!(fields, ["P", "2", "1", "1", "ssubscribe"]);
    }
    if server.flavour == Flavour::Basalt {
        assert_eq!(info_number(&mut admin, "pubsub_clients"), ids.len() as u64);
    }
    // Idle clients are closed, subscribers are not.
    wait_until("the idle client is closed", || {
        let list = admin.cmd("CLIENT LIST").text();
        list.lines().count() == 1 + ids.len()
    });
    assert!(idle.closed());
    let waited = Instant::now() + Duration::from_secs(2);
    wait_until("subscribers have been idle for longer", || {
        admin.cmd("PING").text() == "PONG" && Instant::now() > waited
    });
    assert_eq!(lines(&mut admin).lines().count(), ids.len());
    assert_eq!(admin.cmd("PUBLISH a x"), Reply::Int(ids.len() as i64));
    assert_eq!(admin.cmd("CLIENT KILL TYPE pubsub"), Reply::Int(ids.len() as i64));
    for mut conn in subscribers {
        assert_eq!(conn.read().unwrap(), message("a", "x"));
        assert!(conn.closed());
    }
    wait_until("nobody is subscribed", || admin.cmd("PUBLISH a x") == Reply::Int(0));
}

#[test]
fn monitors_see_subscriptions_and_messages() {
    let server = serve(2, &[]);
    let mut monitor = server.conn();
    assert_eq!(monitor.cmd("MONITOR"), Reply::Simple(b"OK".to_vec()));
    let mut subscriber = server.conn();
    subscriber.ok("SUBSCRIBE seen");
    let mut publisher = server.conn();
    assert_eq!(publisher.cmd("PUBLISH seen x"), Reply::Int(1));
    for wanted in [r#""SUBSCRIBE" "seen""#, r#""PUBLISH" "seen" "x""#] {
        let line = monitor.read().unwrap().text();
        assert!(line.ends_with(wanted), "{line}");
    }
}

/// A subscriber that stops speaking the protocol is told so and forgotten.
#[test]
fn garbage_ends_a_subscriber() {
    let mut rng = Rng::new(seed());
    let server = serve(2, &[]);
    let mut admin = server.conn();
    for _ in 0..60 {
        let mut conn = server.conn();
        let mut bytes = encode(&["SUBSCRIBE", "a", "b"]);
        bytes.extend_from_slice(&encode(&["PSUBSCRIBE", "*"]));
        let kept = if rng.chance(2) { bytes.len() } else { rng.below(bytes.len()) };
        bytes.truncate(kept);
        bytes.extend_from_slice(b"*1\r\n$-7\r\n");
        let junk = rng.below(200);
        bytes.extend(rng.bytes(junk));
        // The server may close before it has read all.
        let _ = conn.send_raw(&bytes);
        admin.cmd("PUBLISH a x");
        drop(conn);
    }
    wait_until("nobody is subscribed", || {
        admin.cmd("PUBSUB CHANNELS").items().is_empty() && admin.cmd("PUBSUB NUMPAT") == Reply::Int(0)
    });
    assert_eq!(admin.cmd("PING").text(), "PONG");
}
