//! Commands that wait for a key, as clients see them: DEBUG BLOCKPOP, which is BLPOP over strings, those of lists, and WAIT.

mod common;

use common::conn::{Conn, Reply};
use common::{Launch, Rng, Server, free_port, info_number, line_field, seed, shard_of, wait_until};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SHARDS: usize = 4;

fn server(shards: usize) -> Server {
    Server::basalt(&["--shards", &shards.to_string(), "--enable-debug-command", "yes"])
}

/// A key on each shard.
fn keys() -> Vec<String> {
    let on = |shard: usize| (0..).map(|n| format!("key:{n}")).find(|key| shard_of(key.as_bytes(), SHARDS) == shard);
    (0..SHARDS).map(|shard| on(shard).unwrap()).collect()
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

fn popped(key: &str, value: &str) -> Reply {
    Reply::Array(vec![bulk(key), bulk(value)])
}

fn error(text: &str) -> Reply {
    Reply::Error(text.as_bytes().to_vec())
}

/// Sends a command that waits, and returns when it does.
fn block(conn: &mut Conn, admin: &mut Conn, line: &str) {
    let before = info_number(admin, "blocked_clients");
    conn.send(&line.split(' ').collect::<Vec<_>>()).unwrap();
    wait_until("the client is blocked", || info_number(admin, "blocked_clients") == before + 1);
}

/// Nothing is left of anybody's waiting, here or on any core.
fn nobody_waits(admin: &mut Conn) {
    for field in ["blocked_clients", "total_blocking_keys", "clients_in_timeout_table"] {
        wait_until(field, || info_number(admin, field) == 0);
    }
}

#[test]
fn takes_at_once_or_waits() {
    for shards in [1, 2, SHARDS] {
        let server = server(shards);
        let (mut admin, keys) = (server.conn(), keys());
        for key in &keys {
            // Connections are spread over the cores, so these ask for keys of their own and of other cores.
            for _ in 0..shards {
                let mut conn = server.conn();
                admin.ok(&format!("SET {key} there"));
                assert_eq!(conn.cmd(&format!("DEBUG BLOCKPOP {key} 0")), popped(key, "there"));
                assert_eq!(admin.cmd(&format!("EXISTS {key}")), Reply::Int(0));
                block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP none {key} 0"));
                assert_eq!(info_number(&mut admin, "total_blocking_keys"), 2);
                admin.ok(&format!("SET {key} 12345"));
                assert_eq!(conn.read().unwrap(), popped(key, "12345"));
                assert_eq!(admin.cmd(&format!("EXISTS {key}")), Reply::Int(0));
                assert_eq!(conn.cmd("PING"), Reply::Simple(b"PONG".to_vec()), "the client goes on");
            }
        }
        nobody_waits(&mut admin);
    }
}

#[test]
fn first_come_first_served() {
    let server = server(SHARDS);
    let mut admin = server.conn();
    for key in keys() {
        let mut waiters: Vec<Conn> = (0..12).map(|_| server.conn()).collect();
        for conn in &mut waiters {
            block(conn, &mut admin, &format!("DEBUG BLOCKPOP {key} 0"));
        }
        // Two hang up, one of them rudely: the others move up.
        drop(waiters.remove(1));
        waiters.remove(3).reset();
        wait_until("both are gone", || info_number(&mut admin, "blocked_clients") == 10);
        for (n, conn) in waiters.iter_mut().enumerate() {
            let (reply, shown) = match n % 3 {
                0 => (admin.cmd(&format!("SET {key} v{n}")), format!("v{n}")),
                1 => (admin.cmd(&format!("MSET other:{n} x {key} v{n}")), format!("v{n}")),
                _ => {
                    admin.ok("MULTI");
                    admin.cmd(&format!("SET {key} first"));
                    admin.cmd(&format!("APPEND {key} v{n}"));
                    (admin.cmd("EXEC").items()[0].clone(), format!("firstv{n}"))
                }
            };
            assert_eq!(reply, Reply::Simple(b"OK".to_vec()));
            assert_eq!(conn.read().unwrap(), popped(&key, &shown));
        }
    }
    nobody_waits(&mut admin);
}

#[test]
fn nobody_sees_the_value_on_its_way() {
    let server = server(SHARDS);
    let mut admin = server.conn();
    for key in keys() {
        for round in 0..40 {
            let mut waiter = server.conn();
            block(&mut waiter, &mut admin, &format!("DEBUG BLOCKPOP {key} 0"));
            let mut writer = server.conn();
            let write = if round % 2 == 0 {
                format!("SET {key} v\r\n")
            } else {
                format!("MULTI\r\nSET {key} v\r\nSET elsewhere:{round} x\r\nEXEC\r\n")
            };
            writer.send_raw(format!("{write}GET {key}\r\nSET {key} w XX\r\nDEL {key}\r\n").as_bytes()).unwrap();
            (0..if round % 2 == 0 { 1 } else { 4 }).for_each(|_| assert!(!writer.read().unwrap().is_error()));
            assert_eq!(writer.read().unwrap(), Reply::NilBulk, "GET, round {round}");
            assert_eq!(writer.read().unwrap(), Reply::NilBulk, "SET XX, round {round}");
            assert_eq!(writer.read().unwrap(), Reply::Int(0), "DEL, round {round}");
            assert_eq!(waiter.read().unwrap(), popped(&key, "v"));
        }
    }
}

#[test]
fn one_key_is_enough() {
    let server = server(SHARDS);
    let (mut admin, keys) = (server.conn(), keys());
    let mut conn = server.conn();
    for _ in 0..50 {
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {} 0", keys.join(" ")));
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} of-{key}")).collect();
        admin.ok(&format!("MSET {}", pairs.join(" ")));
        let taken = conn.read().unwrap().items();
        let (key, value) = (taken[0].text(), taken[1].text());
        assert_eq!(value, format!("of-{key}"));
        nobody_waits(&mut admin);
        assert_eq!(admin.cmd(&format!("DEL {}", keys.join(" "))), Reply::Int(SHARDS as i64 - 1), "the others are left");
    }
}

#[test]
fn ways_to_become_ready() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        let mut wake = |commands: &[String], value: &str| {
            block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {key} 0"));
            commands.iter().for_each(|line| assert!(!admin.cmd(line).is_error(), "{line}"));
            assert_eq!(conn.read().unwrap(), popped(&key, value), "{commands:?}");
        };
        wake(&["SET from renamed".into(), format!("RENAME from {key}")], "renamed");
        wake(&["SET from copied".into(), format!("COPY from {key}")], "copied");
        wake(&[format!("SETRANGE {key} 0 ranged")], "ranged");
        wake(&["SELECT 1".into(), format!("SET {key} moved"), format!("MOVE {key} 0"), "SELECT 0".into()], "moved");
        wake(&["SELECT 1".into(), format!("SET {key} swapped"), "SWAPDB 0 1".into(), "SELECT 0".into()], "swapped");
        wake(&["MULTI".into(), format!("SET {key} x"), "FLUSHALL".into(), format!("SET {key} y"), "EXEC".into()], "y");
        admin.ok("FLUSHALL");
    }
    nobody_waits(&mut admin);
}

#[test]
fn what_does_not_end_the_wait() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {key} 0"));
        admin.ok("MULTI");
        admin.cmd(&format!("SET {key} gone"));
        admin.cmd(&format!("DEL {key}"));
        admin.cmd("EXEC");
        admin.ok("SELECT 1");
        admin.ok(&format!("SET {key} elsewhere"));
        admin.ok("SELECT 0");
        admin.ok("FLUSHALL");
        assert_eq!(info_number(&mut admin, "blocked_clients"), 1);
        admin.ok(&format!("SET {key} at-last"));
        assert_eq!(conn.read().unwrap(), popped(&key, "at-last"));
    }
}

#[test]
fn giving_up() {
    let server = server(SHARDS);
    let (mut admin, all) = (server.conn(), keys().join(" "));
    for _ in 0..SHARDS {
        let mut conn = server.conn();
        let id = conn.cmd("CLIENT ID").int();
        assert_eq!(conn.cmd(&format!("DEBUG BLOCKPOP {all} 0.01")), Reply::NilArray);
        assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id}")), Reply::Int(0), "it does not wait");
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {all} 1000"));
        assert_eq!(info_number(&mut admin, "clients_in_timeout_table"), 1);
        let list = admin.cmd("CLIENT LIST").text();
        let line = list.lines().find(|line| line_field(line, "id") == Some(&id.to_string())).unwrap();
        assert_eq!((line_field(line, "flags"), line_field(line, "cmd")), (Some("b"), Some("debug|blockpop")));
        assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id}")), Reply::Int(1));
        assert_eq!(conn.read().unwrap(), Reply::NilArray);
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {all} 0"));
        assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id} ERROR")), Reply::Int(1));
        assert_eq!(conn.read().unwrap(), error("UNBLOCKED client unblocked via CLIENT UNBLOCK"));
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {all} 0"));
        assert_eq!(admin.cmd(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
        assert!(conn.closed());
        nobody_waits(&mut admin);
        let mut conn = server.conn();
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {all} 0"));
        conn.finish_writing();
        nobody_waits(&mut admin);
    }
    assert_eq!(admin.cmd("CLIENT UNBLOCK 99999"), Reply::Int(0));
    assert_eq!(admin.cmd("CLIENT UNBLOCK x"), error("ERR value is not an integer or out of range"));
}

#[test]
fn commands_behind_it_wait_with_it() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        conn.send_raw(
            format!("SET before {key}\r\nDEBUG BLOCKPOP {key} 0\r\nGET before\r\nSET behind {key}\r\n").as_bytes(),
        )
        .unwrap();
        assert_eq!(conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
        wait_until("it is blocked", || info_number(&mut admin, "blocked_clients") == 1);
        assert_ne!(admin.cmd("GET behind"), bulk(&key));
        admin.ok(&format!("SET {key} v"));
        assert_eq!(conn.read().unwrap(), popped(&key, "v"));
        assert_eq!(conn.read().unwrap(), bulk(&key));
        assert_eq!(conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
    }
}

#[test]
fn no_reply_is_wanted() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        conn.send_raw(b"CLIENT REPLY SKIP\r\n").unwrap();
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {key} 0"));
        admin.ok(&format!("SET {key} v"));
        assert_eq!(conn.cmd("PING"), Reply::Simple(b"PONG".to_vec()));
        assert_eq!(admin.cmd(&format!("EXISTS {key}")), Reply::Int(0));
        conn.send_raw(b"CLIENT REPLY OFF\r\nDEBUG BLOCKPOP a 0.01\r\nWAIT 1 1\r\nCLIENT REPLY ON\r\n").unwrap();
        assert_eq!(conn.read().unwrap(), Reply::Simple(b"OK".to_vec()));
    }
}

#[test]
fn in_a_block_nothing_waits() {
    let server = server(SHARDS);
    let mut conn = server.conn();
    for key in keys() {
        conn.ok("MULTI");
        for line in [&format!("DEBUG BLOCKPOP {key} 0"), &format!("SET {key} v"), &format!("DEBUG BLOCKPOP {key} 0")] {
            assert_eq!(conn.cmd(line), Reply::Simple(b"QUEUED".to_vec()));
        }
        conn.cmd("WAIT 1 0");
        let ok = Reply::Simple(b"OK".to_vec());
        assert_eq!(conn.cmd("EXEC"), Reply::Array(vec![Reply::NilArray, ok, popped(&key, "v"), Reply::Int(0)]));
    }
}

#[test]
fn while_clients_are_paused_nobody_is_served() {
    let server = server(SHARDS);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    for key in keys() {
        block(&mut conn, &mut admin, &format!("DEBUG BLOCKPOP {key} 0"));
        admin.ok("MULTI");
        admin.cmd("CLIENT PAUSE 1000000 WRITE");
        admin.cmd(&format!("SET {key} v"));
        assert_eq!(admin.cmd("EXEC").items().len(), 2);
        assert_eq!(admin.cmd(&format!("GET {key}")), bulk("v"));
        assert_eq!(info_number(&mut admin, "blocked_clients"), 1);
        admin.ok("CLIENT UNPAUSE");
        assert_eq!(conn.read().unwrap(), popped(&key, "v"));
        assert_eq!(admin.cmd(&format!("EXISTS {key}")), Reply::Int(0));
    }
}

#[test]
fn refused() {
    let server = server(SHARDS);
    let mut conn = server.conn();
    for (line, text) in [
        ("DEBUG BLOCKPOP a x", "ERR timeout is not a float or out of range"),
        ("DEBUG BLOCKPOP a -1", "ERR timeout is negative"),
        ("DEBUG BLOCKPOP a 1e300", "ERR timeout is out of range"),
        ("DEBUG BLOCKPOP a", "ERR wrong number of arguments for 'debug|blockpop' command"),
        ("WAIT a 0", "ERR value is not an integer or out of range"),
        ("WAIT 0 a", "ERR timeout is not an integer or out of range"),
        ("WAIT 0 -1", "ERR timeout is negative"),
        ("WAIT 1 9223372036854775807", "ERR timeout is out of range"),
    ] {
        assert_eq!(conn.cmd(line), error(text), "{line}");
    }
    let closed = Server::basalt(&["--shards", "2"]);
    let mut conn = closed.conn();
    for line in ["DEBUG BLOCKPOP a 0", "DEBUG JMAP"] {
        assert!(conn.cmd(line).text().starts_with("ERR DEBUG command not allowed."), "{line}");
    }
}

#[test]
fn wait_for_replicas_that_are_not_there() {
    let server = server(2);
    let (mut admin, mut conn) = (server.conn(), server.conn());
    assert_eq!(conn.cmd("WAIT 0 0"), Reply::Int(0));
    assert_eq!(conn.cmd("WAIT -1 100000"), Reply::Int(0));
    assert_eq!(conn.cmd("WAIT 1 10"), Reply::Int(0));
    let id = conn.cmd("CLIENT ID").int();
    block(&mut conn, &mut admin, "WAIT 1 0");
    assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {id} TIMEOUT")), Reply::Int(1));
    assert_eq!(conn.read().unwrap(), Reply::Int(0));
    nobody_waits(&mut admin);
}

/// What many consumers were given, by value.
type Given = Arc<Mutex<HashMap<String, usize>>>;

/// Pops from random keys until `done`, now and then in vain, and sometimes dies while it waits. Counts its deaths.
fn consume(server: u16, seed: u64, keys: &[String], given: &Given, deaths: &AtomicUsize, done: &AtomicBool) {
    let mut rng = Rng::new(seed);
    let mut conn = Conn::open(server);
    while !done.load(Ordering::Relaxed) {
        let count = 1 + rng.below(3);
        let wanted: Vec<&str> = (0..count).map(|_| keys[rng.below(keys.len())].as_str()).collect();
        let timeout = rng.pick(&["0.002", "0.05", "0.2"]);
        let line = format!("DEBUG BLOCKPOP {} {timeout}", wanted.join(" "));
        if rng.chance(25) {
            deaths.fetch_add(1, Ordering::Relaxed);
            conn.send(&line.split(' ').collect::<Vec<_>>()).unwrap();
            std::mem::replace(&mut conn, Conn::open(server)).reset();
            continue;
        }
        let reply = conn.cmd(&line);
        if !reply.is_nil() {
            let items = reply.items();
            assert!(wanted.contains(&items[0].text().as_str()), "{line}: {reply:?}");
            assert!(items[1].text().starts_with(&format!("{}=", items[0].text())), "{reply:?}");
            *given.lock().unwrap().entry(items[1].text()).or_default() += 1;
        }
    }
}

/// Lets the consumers end, also when something fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Puts values under random keys, each once there is room, and disturbs others; how many values.
fn produce(server: u16, seed: u64, keys: &[String], values: usize) {
    let mut rng = Rng::new(seed);
    let mut conn = Conn::open(server);
    for n in 0..values {
        let key = &keys[rng.below(keys.len())];
        let value = format!("{key}={seed}.{n}");
        wait_until("there is room for a value", || match n % 3 {
            0 => conn.cmd(&format!("SET {key} {value} NX")) != Reply::NilBulk,
            1 => conn.cmd(&format!("MSETNX {key} {value} {key}:beside x")) == Reply::Int(1),
            _ => {
                conn.ok("MULTI");
                conn.cmd(&format!("SETNX {key} {value}"));
                conn.cmd(&format!("SET {key}:beside x"));
                conn.cmd("EXEC").items()[0] == Reply::Int(1)
            }
        });
        conn.cmd(&format!("DEL {key}:beside"));
        if rng.chance(30) {
            let victim = rng.below(200);
            conn.cmd(&format!("CLIENT UNBLOCK {victim}"));
        }
    }
}

#[test]
fn every_value_is_given_to_one() {
    let server = server(SHARDS);
    let (port, seed) = (server.port, seed());
    let keys: Vec<String> = keys().into_iter().flat_map(|key| [key.clone(), format!("{{{key}}}b")]).collect();
    let given: Given = Arc::default();
    let (deaths, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    const PRODUCERS: usize = 3;
    const VALUES: usize = 400;
    let mut admin = server.conn();
    std::thread::scope(|scope| {
        let _ends_them = Done(&done);
        for n in 0..12 {
            let (given, deaths, done, keys) = (&given, &deaths, &done, &keys);
            scope.spawn(move || consume(port, seed.wrapping_add(n), keys, given, deaths, done));
        }
        let producing: Vec<_> = (0..PRODUCERS as u64)
            .map(|n| {
                let keys = &keys;
                scope.spawn(move || produce(port, seed.wrapping_add(100 + n), keys, VALUES))
            })
            .collect();
        producing.into_iter().for_each(|thread| thread.join().unwrap());
        wait_until("all is taken", || admin.cmd(&format!("EXISTS {}", keys.join(" "))) == Reply::Int(0));
    });
    let given = given.lock().unwrap();
    assert!(given.values().all(|times| *times == 1), "a value was given twice: {given:?}");
    let lost = PRODUCERS * VALUES - given.len();
    let deaths = deaths.load(Ordering::Relaxed);
    assert!(lost <= deaths, "{lost} values are lost, and only {deaths} clients died");
    nobody_waits(&mut admin);
    assert_eq!(admin.cmd("DEBUG BLOCKPOP none 0.001"), Reply::NilArray);
}

#[test]
fn a_timeout_is_not_early() {
    let server = server(2);
    let mut conn = server.conn();
    conn.set_timeout(Duration::from_secs(30));
    for ms in [1u64, 30, 400] {
        let before = std::time::Instant::now();
        assert_eq!(conn.cmd(&format!("DEBUG BLOCKPOP a b c {}", ms as f64 / 1000.0)), Reply::NilArray);
        assert!(before.elapsed() >= Duration::from_millis(ms - 1), "after {:?}", before.elapsed());
    }
}

// Lists

fn list_of(admin: &mut Conn, key: &str) -> Vec<String> {
    admin.cmd(&format!("LRANGE {key} 0 -1")).items().iter().map(Reply::text).collect()
}

#[test]
fn an_element_goes_on_over_all_cores() {
    for shards in [1, SHARDS] {
        let server = server(shards);
        let (mut admin, keys) = (server.conn(), keys());
        for round in 0..6 {
            // Each waits for what the one before moves; the last takes it. Whose core is which changes with the round.
            let mut conns: Vec<Conn> = (0..SHARDS).map(|_| server.conn()).collect();
            let key = |n: usize| &keys[(n + round) % SHARDS];
            for (n, conn) in conns.iter_mut().enumerate() {
                let line = match n {
                    _ if n + 1 == SHARDS => format!("BLPOP {} 0", key(n)),
                    _ if round % 2 == 0 => format!("BLMOVE {} {} LEFT RIGHT 0", key(n), key(n + 1)),
                    _ => format!("BRPOPLPUSH {} {} 0", key(n), key(n + 1)),
                };
                block(conn, &mut admin, &line);
            }
            assert_eq!(admin.cmd(&format!("RPUSH {} v{round}", key(0))), Reply::Int(1));
            for (n, conn) in conns.iter_mut().enumerate() {
                let value = format!("v{round}");
                let expected = if n + 1 == SHARDS { popped(key(n), &value) } else { bulk(&value) };
                assert_eq!(conn.read().unwrap(), expected, "round {round}, waiter {n}");
            }
            assert_eq!(admin.cmd("DBSIZE"), Reply::Int(0));
        }
        nobody_waits(&mut admin);
    }
}

#[test]
fn moves_in_a_circle_end() {
    let server = server(SHARDS);
    let (mut admin, keys) = (server.conn(), keys());
    let mut conns: Vec<Conn> = (0..SHARDS).map(|_| server.conn()).collect();
    for (n, conn) in conns.iter_mut().enumerate() {
        block(conn, &mut admin, &format!("BLMOVE {} {} LEFT RIGHT 0", keys[n], keys[(n + 1) % SHARDS]));
    }
    admin.cmd(&format!("RPUSH {} v", keys[0]));
    conns.iter_mut().for_each(|conn| assert_eq!(conn.read().unwrap(), bulk("v")));
    assert_eq!(list_of(&mut admin, &keys[0]), ["v"]);
    // To itself.
    admin.cmd(&format!("DEL {}", keys[0]));
    for key in &keys {
        block(&mut conns[0], &mut admin, &format!("BLMOVE {key} {key} LEFT RIGHT 0"));
        admin.cmd(&format!("RPUSH {key} 1 2"));
        assert_eq!(conns[0].read().unwrap(), bulk("1"));
        assert_eq!(list_of(&mut admin, key), ["2", "1"]);
    }
    nobody_waits(&mut admin);
}

#[test]
fn a_destination_of_another_type_ends_the_wait_and_the_next_is_served() {
    let server = server(SHARDS);
    let (mut admin, keys) = (server.conn(), keys());
    let (mut first, mut second) = (server.conn(), server.conn());
    for source in &keys {
        for destination in keys.iter().filter(|key| *key != source) {
            block(&mut first, &mut admin, &format!("BLMOVE {source} {destination} LEFT RIGHT 0"));
            block(&mut second, &mut admin, &format!("BLPOP {source} 0"));
            admin.ok(&format!("SET {destination} text"));
            admin.cmd(&format!("RPUSH {source} v"));
            let text = "WRONGTYPE Operation against a key holding the wrong kind of value";
            assert_eq!(first.read().unwrap(), error(text));
            assert_eq!(second.read().unwrap(), popped(source, "v"));
            assert_eq!(admin.cmd(&format!("GET {destination}")), bulk("text"));
            admin.cmd(&format!("DEL {destination}"));
        }
    }
    nobody_waits(&mut admin);
}

#[test]
fn nobody_sees_the_element_on_its_way() {
    let server = server(SHARDS);
    let (mut admin, keys) = (server.conn(), keys());
    let mut waiter = server.conn();
    for (n, source) in keys.iter().enumerate() {
        for destination in &keys[n + 1..] {
            block(&mut waiter, &mut admin, &format!("BLMOVE {source} {destination} LEFT RIGHT 0"));
            let mut writer = server.conn();
            writer.send_raw(format!("RPUSH {source} v\r\nLLEN {source}\r\nLPOP {source}\r\n").as_bytes()).unwrap();
            for expected in [Reply::Int(1), Reply::Int(0), Reply::NilBulk] {
                assert_eq!(writer.read().unwrap(), expected);
            }
            assert_eq!(waiter.read().unwrap(), bulk("v"));
            assert_eq!(writer.cmd(&format!("LPOP {destination}")), bulk("v"));
        }
    }
}

#[test]
fn several_elements_serve_several() {
    let server = server(SHARDS);
    let (mut admin, keys) = (server.conn(), keys());
    for (n, key) in keys.iter().enumerate() {
        let other = &keys[(n + 1) % SHARDS];
        let mut conns: Vec<Conn> = (0..4).map(|_| server.conn()).collect();
        let lines = [
            format!("BLPOP {key} 0"),
            format!("BLMOVE {key} {other} LEFT LEFT 0"),
            format!("BLMPOP 0 1 {key} LEFT COUNT 2"),
            format!("BRPOP none {key} 0"),
        ];
        conns.iter_mut().zip(&lines).for_each(|(conn, line)| block(conn, &mut admin, line));
        admin.cmd(&format!("RPUSH {key} 1 2 3 4 5 6"));
        assert_eq!(conns[0].read().unwrap(), popped(key, "1"));
        assert_eq!(conns[1].read().unwrap(), bulk("2"));
        assert_eq!(conns[2].read().unwrap(), Reply::Array(vec![bulk(key), Reply::Array(vec![bulk("3"), bulk("4")])]));
        assert_eq!(conns[3].read().unwrap(), popped(key, "6"));
        assert_eq!(list_of(&mut admin, key), ["5"]);
        assert_eq!(admin.cmd(&format!("DEL {key} {other}")), Reply::Int(2));
    }
    nobody_waits(&mut admin);
}

/// As long as another command has the destination locked, the element stays where it is: whoever does not wait may take it, but nobody who waits
/// behind.
#[test]
fn a_destination_that_is_locked_is_waited_for() {
    let port = free_port();
    let (shards, base) = (SHARDS.to_string(), (port + 1).to_string());
    let args = ["--shards", &shards, "--core-endpoints", "yes", "--core-port-base", &base];
    let server = Launch::basalt().port(port).args(&args).args(&["--enable-debug-command", "yes"]).start();
    let on = |core: usize| Conn::open(server.port + 1 + core as u16);
    let all = keys();
    let (source, destination) = (&all[0], &all[1]);
    let (mut admin, mut behind, mut sleeper, mut holder) = (on(0), on(1), on(3), on(2));
    let mut taken = 0;
    for core in [0, 1, 2, 3].repeat(6) {
        let mut waiter = on(core);
        block(&mut waiter, &mut admin, &format!("BLMOVE {source} {destination} LEFT RIGHT 0"));
        block(&mut behind, &mut admin, &format!("BLPOP {source} 0"));
        // Both wait for the cores to wake up; then the block has the destination locked while it waits for answers.
        sleeper.send(&["DEBUG", "SLEEP", "0.1"]).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        holder.send_raw(format!("MULTI\r\nLLEN {destination}\r\nCLIENT LIST\r\nEXEC\r\n").as_bytes()).unwrap();
        admin.send_raw(format!("RPUSH {source} v1\r\nLPOP {source}\r\n").as_bytes()).unwrap();
        assert_eq!(admin.read().unwrap(), Reply::Int(1));
        let first = match admin.read().unwrap() {
            Reply::NilBulk => "v1",
            _ => {
                taken += 1;
                assert_eq!(admin.cmd(&format!("RPUSH {source} v2")), Reply::Int(1));
                "v2"
            }
        };
        assert_eq!(waiter.read().unwrap(), bulk(first));
        assert!(!sleeper.read().unwrap().is_error());
        (0..4).for_each(|_| assert!(!holder.read().unwrap().is_error()));
        assert_eq!(admin.cmd(&format!("LRANGE {destination} 0 -1")), Reply::Array(vec![bulk(first)]));
        assert_eq!(info_number(&mut admin, "blocked_clients"), 1);
        admin.cmd(&format!("RPUSH {source} v3"));
        assert_eq!(behind.read().unwrap(), popped(source, "v3"));
        admin.cmd(&format!("DEL {destination}"));
    }
    println!("{taken} of 24 elements were taken while their destination was locked");
    nobody_waits(&mut admin);
}

/// One of the thousand.
struct Waiting {
    conn: Conn,
    id: i64,
}

/// One thing after the other, so that who is given what is known exactly: the waiters of a key in their order, whoever of them has been killed, has
/// hung up or has given up.
#[test]
fn a_thousand_are_served_in_their_order() {
    const WAITERS: usize = 1000;
    let server = server(SHARDS);
    let mut rng = Rng::new(seed());
    let keys: Vec<String> = keys().into_iter().flat_map(|key| [key.clone(), format!("{{{key}}}b")]).collect();
    let sinks: Vec<String> = keys.iter().map(|key| format!("sink:{key}")).collect();
    let mut admin = server.conn();
    let mut queues: HashMap<String, std::collections::VecDeque<(Waiting, bool)>> = HashMap::new();
    let mut waiting = 0;
    let mut started = 0;
    let mut pushed = 0;
    while started < WAITERS || waiting > 0 {
        let key = rng.pick(&keys.iter().map(String::as_str).collect::<Vec<_>>()).to_owned();
        let queue = queues.entry(key.clone()).or_default();
        match rng.below(10) {
            0..=5 if started < WAITERS => {
                let mut conn = server.conn();
                let id = conn.cmd("CLIENT ID").int();
                let moves = rng.chance(3);
                let line = match moves {
                    true => format!("BLMOVE {key} {} LEFT RIGHT 1000", sinks[rng.below(sinks.len())]),
                    false => format!("BLPOP {key} 1000"),
                };
                block(&mut conn, &mut admin, &line);
                queue.push_back((Waiting { conn, id }, moves));
                (started, waiting) = (started + 1, waiting + 1);
            }
            6 if !queue.is_empty() => {
                let (mut gone, _) = queue.remove(rng.below(queue.len())).unwrap();
                match rng.below(3) {
                    0 => {
                        assert_eq!(admin.cmd(&format!("CLIENT UNBLOCK {}", gone.id)), Reply::Int(1));
                        assert_eq!(gone.conn.read().unwrap(), Reply::NilArray);
                    }
                    1 => assert_eq!(admin.cmd(&format!("CLIENT KILL ID {}", gone.id)), Reply::Int(1)),
                    _ => {
                        gone.conn.reset();
                        wait_until("it is gone", || info_number(&mut admin, "blocked_clients") == waiting - 1);
                    }
                }
                waiting -= 1;
            }
            _ => {
                let count = (1 + rng.below(3)).min(queue.len());
                if count == 0 {
                    continue;
                }
                let values: Vec<String> = (0..count).map(|n| format!("v{}", pushed + n)).collect();
                pushed += count;
                admin.cmd(&format!("RPUSH {key} {}", values.join(" ")));
                for value in &values {
                    let (mut served, moves) = queue.pop_front().unwrap();
                    let expected = if moves { bulk(value) } else { popped(&key, value) };
                    assert_eq!(served.conn.read().unwrap(), expected);
                    waiting -= 1;
                }
            }
        }
    }
    assert_eq!(admin.cmd(&format!("EXISTS {}", keys.join(" "))), Reply::Int(0));
    nobody_waits(&mut admin);
}

/// Takes elements in every way, and dies now and then.
fn consume_lists(
    server: u16,
    seed: u64,
    keys: &[String],
    sinks: &[String],
    given: &Given,
    deaths: &AtomicUsize,
    done: &AtomicBool,
) {
    let mut rng = Rng::new(seed);
    let mut conn = Conn::open(server);
    while !done.load(Ordering::Relaxed) {
        let (key, other) = (&keys[rng.below(keys.len())], &keys[rng.below(keys.len())]);
        let timeout = rng.pick(&["0.002", "0.05", "0.2"]);
        let (line, at) = match rng.below(4) {
            0 => (format!("BLPOP {key} {other} {timeout}"), Some(1)),
            1 => (format!("BRPOP {key} {timeout}"), Some(1)),
            2 => (format!("BLMPOP {timeout} 2 {key} {other} LEFT COUNT 2"), None),
            _ => (format!("BLMOVE {key} {} LEFT RIGHT {timeout}", sinks[rng.below(sinks.len())]), None),
        };
        if rng.chance(25) {
            // At most so many elements may be lost.
            deaths.fetch_add(2, Ordering::Relaxed);
            conn.send(&line.split(' ').collect::<Vec<_>>()).unwrap();
            std::mem::replace(&mut conn, Conn::open(server)).reset();
            continue;
        }
        let reply = conn.cmd(&line);
        let mut given = given.lock().unwrap();
        let mut note = |element: &Reply| *given.entry(element.text()).or_default() += 1;
        match (&reply, at) {
            (Reply::Array(items), Some(at)) => note(&items[at]),
            (Reply::Array(items), None) => items[1].items().iter().for_each(note),
            // What was moved is looked for where it is.
            (reply, _) => assert!(!reply.is_error(), "{line}: {reply:?}"),
        }
    }
}

/// Pushes in every way, and keeps the places busy where elements are moved to.
fn produce_lists(server: u16, seed: u64, keys: &[String], sinks: &[String], values: usize) {
    let mut rng = Rng::new(seed);
    let mut conn = Conn::open(server);
    for n in 0..values {
        let (key, sink) = (&keys[rng.below(keys.len())], &sinks[rng.below(sinks.len())]);
        let value = format!("{seed}.{n}");
        match n % 4 {
            0 => drop(conn.cmd(&format!("LPUSH {key} {value}"))),
            1 => drop(conn.cmd(&format!("RPUSH {key} {value}"))),
            2 => {
                conn.ok("MULTI");
                conn.cmd(&format!("RPUSH {key} {value}"));
                conn.cmd(&format!("LLEN {sink}"));
                conn.cmd(&format!("EXPIRE {sink} 1000"));
                conn.cmd("EXEC");
            }
            _ => {
                conn.cmd(&format!("RPUSH {{{key}}}from {value}"));
                conn.cmd(&format!("LMOVE {{{key}}}from {key} LEFT LEFT"));
            }
        }
        if rng.chance(30) {
            conn.cmd(&format!("CLIENT UNBLOCK {}", rng.below(200)));
        }
    }
}

#[test]
fn every_element_is_given_to_one() {
    let server = server(SHARDS);
    let (port, seed) = (server.port, seed());
    let keys: Vec<String> = keys().into_iter().flat_map(|key| [key.clone(), format!("{{{key}}}b")]).collect();
    let sinks: Vec<String> = (0..6).map(|n| format!("sink:{n}")).collect();
    let given: Given = Arc::default();
    let (deaths, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    const PRODUCERS: usize = 3;
    const VALUES: usize = 600;
    let mut admin = server.conn();
    std::thread::scope(|scope| {
        let _ends_them = Done(&done);
        for n in 0..24 {
            let (given, deaths, done, keys, sinks) = (&given, &deaths, &done, &keys, &sinks);
            scope.spawn(move || consume_lists(port, seed.wrapping_add(n), keys, sinks, given, deaths, done));
        }
        let producing: Vec<_> = (0..PRODUCERS as u64)
            .map(|n| {
                let (keys, sinks) = (&keys, &sinks);
                scope.spawn(move || produce_lists(port, seed.wrapping_add(100 + n), keys, sinks, VALUES))
            })
            .collect();
        producing.into_iter().for_each(|thread| thread.join().unwrap());
        wait_until("all is taken", || admin.cmd(&format!("EXISTS {}", keys.join(" "))) == Reply::Int(0));
    });
    let mut given = given.lock().unwrap();
    for element in sinks.iter().flat_map(|sink| list_of(&mut admin, sink)) {
        *given.entry(element).or_default() += 1;
    }
    assert!(given.values().all(|times| *times == 1), "an element was given twice: {given:?}");
    let lost = PRODUCERS * VALUES - given.len();
    let deaths = deaths.load(Ordering::Relaxed);
    assert!(lost <= deaths, "{lost} elements are lost, and only {deaths} could be");
    nobody_waits(&mut admin);
}
