//! Sorted sets as clients see them beyond single replies: who waits is served in turn, and values go between a redis-server and Basalt in every form
//! that RDB data has for them.

mod common;

use basalt::rdb::crc;
use common::conn::{Conn, Reply};
use common::{Rng, Server, info_number, seed, shard_of, wait_until};

const SHARDS: usize = 3;

fn keys() -> Vec<String> {
    let on = |shard: usize| (0..).map(|n| format!("key:{n}")).find(|key| shard_of(key.as_bytes(), SHARDS) == shard);
    (0..SHARDS).map(|shard| on(shard).unwrap()).collect()
}

/// Sends a command that waits, and returns when it does.
fn block(conn: &mut Conn, admin: &mut Conn, line: &str) {
    let before = info_number(admin, "blocked_clients");
    conn.send(&line.split(' ').collect::<Vec<_>>()).unwrap();
    wait_until("the client is blocked", || info_number(admin, "blocked_clients") == before + 1);
}

fn texts(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Array(items) => items.iter().flat_map(texts).collect(),
        other => vec![other.text_or_nil()],
    }
}

#[test]
fn who_waits_is_served_in_turn() {
    let server = Server::basalt(&["--shards", &SHARDS.to_string()]);
    let mut admin = server.conn();
    for key in keys() {
        let mut waiters: Vec<Conn> = (0..6).map(|_| server.conn()).collect();
        let lines = [
            format!("BZPOPMIN {key} 0"),
            format!("BZPOPMAX none {key} 0"),
            format!("BZMPOP 0 2 none {key} MIN COUNT 2"),
            format!("BZMPOP 0 1 {key} MAX"),
            format!("BZPOPMIN {key} 0"),
            format!("BZPOPMIN {key} 0.05"),
        ];
        for (conn, line) in waiters.iter_mut().zip(&lines) {
            block(conn, &mut admin, line);
        }
        assert_eq!(texts(&waiters[5].read().unwrap()), ["(nil)"], "its time is over");
        // Another type is none of theirs.
        admin.ok(&format!("SET {key} x"));
        admin.cmd(&format!("DEL {key}"));
        assert_eq!(admin.cmd(&format!("ZADD {key} 1 a 2 b 3 c 4 d 5 e 6 f")), Reply::Int(6));
        let served: Vec<Vec<String>> = waiters[..5].iter_mut().map(|conn| texts(&conn.read().unwrap())).collect();
        assert_eq!(served[0], [&key, "a", "1"]);
        assert_eq!(served[1], [&key, "f", "6"]);
        assert_eq!(served[2], [&key, "b", "2", "c", "3"]);
        assert_eq!(served[3], [&key, "e", "5"]);
        assert_eq!(served[4], [&key, "d", "4"]);
        assert_eq!(admin.cmd(&format!("EXISTS {key}")), Reply::Int(0));
    }
    assert_eq!(info_number(&mut admin, "blocked_clients"), 0);
}

#[test]
fn every_way_to_make_a_sorted_set_wakes_who_waits() {
    let server = Server::basalt(&["--shards", &SHARDS.to_string()]);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        admin.cmd(&format!("ZADD source{{{key}}} 1 a"));
        admin.cmd(&format!("GEOADD places{{{key}}} 1 1 a"));
        let dump = admin.cmd(&format!("DUMP source{{{key}}}")).bytes();
        for line in [
            format!("ZINCRBY {key} 1 a"),
            format!("GEOADD {key} 1 1 a"),
            format!("ZUNIONSTORE {key} 1 source{{{key}}}"),
            format!("ZRANGESTORE {key} source{{{key}}} 0 -1"),
            format!("GEOSEARCHSTORE {key} places{{{key}}} FROMLONLAT 1 1 BYRADIUS 1 km"),
            format!("COPY source{{{key}}} {key}"),
            "RESTORE".to_owned(),
        ] {
            block(&mut conn, &mut admin, &format!("BZPOPMIN {key} 0"));
            match line.as_str() {
                "RESTORE" => assert_eq!(admin.argv::<&[u8]>(&[b"RESTORE", key.as_bytes(), b"0", &dump]).text(), "OK"),
                line => drop(admin.cmd(line)),
            }
            assert_eq!(texts(&conn.read().unwrap())[..2], [key.as_str(), "a"], "{line}");
        }
    }
}

/// Elements of every kind that a listpack has, some of them long.
fn elements(rng: &mut Rng, count: usize, longest: usize) -> Vec<(String, Vec<u8>)> {
    let scores = ["0", "-0", "1", "-1", "127", "128", "4095", "4096", "-4096", "32768", "8388608", "2147483648"];
    let odd = ["4503599627370496", "1e17", "1e300", "0.1", "-2.5", "inf", "-inf", "3.14159265358979"];
    (0..count)
        .map(|n| {
            let score = match rng.below(3) {
                0 => rng.pick(&scores).to_owned(),
                1 => rng.pick(&odd).to_owned(),
                _ => (rng.below(1 << 40) as f64 / 1024.0).to_string(),
            };
            let name = match rng.below(4) {
                0 => (n as i64 - 40).to_string().into_bytes(),
                1 => format!("{}", (n as i64) << rng.below(50)).into_bytes(),
                2 => [format!("{n}:").into_bytes(), vec![b'x'; rng.below(longest)]].concat(),
                _ => {
                    let len = rng.below(12);
                    [format!("{n}.").into_bytes(), rng.bytes(len)].concat()
                }
            };
            (score, name)
        })
        .collect()
}

fn fill(conn: &mut Conn, elements: &[(String, Vec<u8>)]) {
    for (score, name) in elements {
        assert!(!conn.argv(&[b"ZADD".as_slice(), b"z", score.as_bytes(), name]).is_error());
    }
}

#[test]
fn payloads_are_those_of_redis() {
    let mut rng = Rng::new(seed());
    let debug = ["--enable-debug-command", "yes"];
    let (redis, basalt) = (Server::redis(&debug), Server::basalt(&debug));
    let (mut there, mut here) = (redis.conn(), basalt.conn());
    for _ in 0..3 {
        for (count, longest) in [(1, 10), (5, 30), (60, 50), (128, 20), (129, 20), (1000, 100), (3, 5000)] {
            let elements = elements(&mut rng, count, longest);
            fill(&mut there, &elements);
            fill(&mut here, &elements);
            let (theirs, ours) = (there.cmd("DUMP z").bytes(), here.cmd("DUMP z").bytes());
            assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string());
            let digest = there.cmd("DEBUG DIGEST-VALUE z");
            for (conn, payload) in [(&mut there, &ours), (&mut here, &theirs)] {
                let restored = conn.argv::<&[u8]>(&[b"RESTORE", b"z", b"0", payload, b"REPLACE"]);
                assert_eq!(restored.text(), "OK");
                assert_eq!(conn.cmd("DEBUG DIGEST-VALUE z"), digest);
            }
            assert_eq!(there.cmd("OBJECT ENCODING z"), here.cmd("OBJECT ENCODING z"));
            there.cmd("DEL z");
            here.cmd("DEL z");
        }
    }
}

/// A ziplist of short strings.
fn ziplist(items: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut before) = (Vec::new(), 0);
    let mut last = 10;
    for item in items {
        last = 10 + body.len();
        body.extend([before as u8, item.len() as u8]);
        body.extend_from_slice(item);
        before = item.len() + 2;
    }
    let mut list = ((11 + body.len()) as u32).to_le_bytes().to_vec();
    list.extend((last as u32).to_le_bytes());
    list.extend((items.len() as u16).to_le_bytes());
    list.extend(body);
    list.push(0xff);
    list
}

fn sealed(mut payload: Vec<u8>) -> Vec<u8> {
    payload.extend(9u16.to_le_bytes());
    payload.extend(crc::crc64(&payload).to_le_bytes());
    payload
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [vec![bytes.len() as u8], bytes.to_vec()].concat()
}

#[test]
fn forms_of_older_versions_are_read() {
    let debug = ["--enable-debug-command", "yes"];
    let (redis, basalt) = (Server::redis(&debug), Server::basalt(&debug));
    let (mut there, mut here) = (redis.conn(), basalt.conn());
    let packed = ziplist(&[b"a", b"-1.5", b"17", b"2", b"b", b"2", b"", b"inf"]);
    let old =
        [&[3, 4][..], &text(b"a"), &text(b"-1.5"), &text(b"b"), &text(b"2"), &text(b"c"), &[254], &text(b"d"), &[255]];
    let twice = ziplist(&[b"a", b"1", b"a", b"2"]);
    let odd = ziplist(&[b"a", b"1", b"b"]);
    for (payload, restores) in [
        ([vec![12], text(&packed)].concat(), true),
        (old.concat(), true),
        ([vec![12], text(&twice)].concat(), false),
        ([vec![12], text(&odd)].concat(), false),
        ([vec![12], text(&ziplist(&[]))].concat(), false),
        (vec![3, 1, 1, b'a', 253], false),
        (vec![3, 2, 1, b'a', 254, 1, b'a', 255], false),
        (vec![5, 1, 1, b'a', 0, 0, 0, 0, 0, 0, 0xf8, 0x7f], false),
        (vec![5, 0], false),
        (vec![17, 7, 7, 0, 0, 0, 0, 0, 0xff], false),
    ] {
        let payload = sealed(payload);
        let command: [&[u8]; 5] = [b"RESTORE", b"z", b"0", &payload, b"REPLACE"];
        let reply = here.argv(&command);
        assert_eq!(!reply.is_error(), restores, "{}: {reply:?}", payload.escape_ascii());
        if restores {
            assert_eq!(there.argv(&command), reply);
            for question in ["DEBUG DIGEST-VALUE z", "ZRANGE z 0 -1 WITHSCORES", "OBJECT ENCODING z"] {
                assert_eq!(there.cmd(question), here.cmd(question), "{}", payload.escape_ascii());
            }
        }
    }
}
