//! Commands that wait for a key, as clients see them: DEBUG BLOCKPOP, which is BLPOP over strings, and WAIT.

mod common;

use common::conn::{Conn, Reply};
use common::{Rng, Server, info_number, line_field, seed, shard_of, wait_until};
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
