//! Expiry, eviction under each policy, and SCAN's guarantee, as a client sees them.
//!
//! Which key is evicted is a matter of samples, so victims are judged by shares of large groups, never one by one.

mod common;

use common::conn::{Conn, Reply, encode_into};
use common::{Server, info_number, wait_until};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const MIB: u64 = 1024 * 1024;

/// Runs many commands in pipelines; how many replies were errors.
fn pipeline(conn: &mut Conn, commands: impl Iterator<Item = Vec<String>>) -> usize {
    let mut errors = 0;
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let mut bytes = Vec::new();
        let mut count = 0;
        for args in commands.by_ref().take(200) {
            encode_into(&mut bytes, &args);
            count += 1;
        }
        conn.send_raw(&bytes).unwrap();
        errors += (0..count).filter(|_| conn.read().unwrap().is_error()).count();
    }
    errors
}

fn command<const N: usize>(args: [&str; N]) -> Vec<String> {
    args.map(str::to_owned).to_vec()
}

fn oom() -> Reply {
    Reply::Error(b"OOM command not allowed when used memory > 'maxmemory'.".to_vec())
}

#[test]
fn a_key_is_gone_at_its_time_even_if_nothing_collects_it() {
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards, "--enable-debug-command", "yes"]);
        let mut conn = server.conn();
        conn.ok("DEBUG SET-ACTIVE-EXPIRE 0");
        for i in 0..20 {
            conn.ok(&format!("SET soon:{i} v PX 30"));
        }
        conn.ok("SET late v PX 100000000");
        assert_eq!(conn.cmd("DBSIZE"), Reply::Int(21));
        wait_until("the key has expired", || conn.cmd("GET soon:0").is_nil());
        wait_until("the last of them too", || conn.cmd("EXISTS soon:19") == Reply::Int(0));
        assert_eq!(conn.cmd("TTL soon:2"), Reply::Int(-2));
        assert_eq!(conn.cmd("TYPE soon:3"), Reply::Simple(b"none".to_vec()));
        assert_eq!(conn.cmd("SETNX soon:4 new"), Reply::Int(1));
        assert_eq!(conn.cmd("TTL soon:4"), Reply::Int(-1));
        assert_eq!(conn.cmd("INCR soon:5"), Reply::Int(1));
        assert_eq!(conn.cmd("RENAME soon:6 soon:6"), Reply::Error(b"ERR no such key".to_vec()));
        assert_eq!(conn.cmd("KEYS late"), Reply::Array(vec![Reply::Bulk(b"late".to_vec())]));
        assert_eq!(conn.cmd("GET late"), Reply::Bulk(b"v".to_vec()));
        let held = conn.cmd("DBSIZE").int();
        assert!(held > 10, "the untouched keys are still held, {held} in all");
        assert!(info_number(&mut conn, "expired_keys") >= 5);
        conn.ok("DEBUG SET-ACTIVE-EXPIRE 1");
        wait_until("the rest is collected", || conn.cmd("DBSIZE") == Reply::Int(3));
    }
}

#[test]
fn the_active_cycle_collects_what_nobody_asks_for() {
    const KEYS: usize = 20_000;
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards]);
        let mut conn = server.conn();
        let doomed = (0..KEYS).map(|i| command(["SET", &format!("doomed:{i}"), "v", "PX", "200"]));
        assert_eq!(pipeline(&mut conn, doomed), 0);
        let kept = (0..KEYS).map(|i| command(["SET", &format!("kept:{i}"), "v", "EX", "10000"]));
        assert_eq!(pipeline(&mut conn, kept), 0);
        assert_eq!(pipeline(&mut conn, (0..KEYS).map(|i| command(["SET", &format!("plain:{i}"), "v"]))), 0);
        wait_until("the expired keys are collected", || conn.cmd("DBSIZE") == Reply::Int(2 * KEYS as i64));
        assert_eq!(info_number(&mut conn, "expired_keys"), KEYS as u64);
        let keyspace = conn.cmd("INFO keyspace").text();
        assert!(keyspace.contains(&format!("db0:keys={},expires={KEYS},", 2 * KEYS)), "{keyspace}");
    }
}

#[test]
fn expiry_in_other_databases() {
    let server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    for db in 0..16 {
        conn.ok(&format!("SELECT {db}"));
        conn.ok("MSET a 1 b 2 c 3");
        conn.ok("PEXPIRE a 50");
        conn.ok("PEXPIRE b 100000000");
    }
    for db in 0..16 {
        conn.ok(&format!("SELECT {db}"));
        wait_until("the expired key of this database is collected", || conn.cmd("DBSIZE") == Reply::Int(2));
    }
}

/// A server with room for `ROOM_BYTES` over what it uses when empty.
const ROOM_BYTES: u64 = 16 * MIB;
const VALUE_BYTES: usize = 1000;
/// Twice what fits.
const FILL_KEYS: usize = 32_000;
/// What a limit may be passed by: the memory of clients and of the insert under way.
const OVERSHOOT_BYTES: u64 = 2 * MIB;

fn limited(policy: &str) -> (Server, Conn) {
    let server = Server::basalt(&["--shards", "2", "--maxmemory-policy", policy, "--maxmemory-samples", "10"]);
    let mut conn = server.conn();
    let limit = info_number(&mut conn, "used_memory") + ROOM_BYTES;
    conn.ok(&format!("CONFIG SET maxmemory {limit}"));
    (server, conn)
}

fn fill(conn: &mut Conn, prefix: &str, keys: usize) -> usize {
    let value = "v".repeat(VALUE_BYTES);
    pipeline(conn, (0..keys).map(|i| command(["SET", &format!("{prefix}:{i}"), &value])))
}

fn fill_with_ttl(conn: &mut Conn, prefix: &str, keys: usize, seconds: impl Fn(usize) -> u64) -> usize {
    let value = "v".repeat(VALUE_BYTES);
    pipeline(conn, (0..keys).map(|i| command(["SET", &format!("{prefix}:{i}"), &value, "EX", &seconds(i).to_string()])))
}

#[track_caller]
fn assert_within_limit(conn: &mut Conn) {
    let limit = info_number(conn, "maxmemory");
    // The last insert may still be over it until the next command evicts for it.
    wait_until("used memory is within the limit", || {
        conn.cmd("SET trigger v");
        info_number(conn, "used_memory") <= limit + OVERSHOOT_BYTES
    });
}

/// How many of the keys are still there.
fn survivors(conn: &mut Conn, prefix: &str, keys: std::ops::Range<usize>) -> usize {
    let names: Vec<String> = keys.map(|i| format!("{prefix}:{i}")).collect();
    let count = |part: &[String]| {
        let mut args = vec!["EXISTS".to_owned()];
        args.extend_from_slice(part);
        conn.argv(&args).int() as usize
    };
    names.chunks(500).map(count).sum()
}

#[test]
fn noeviction_refuses_what_would_grow() {
    let (mut server, mut conn) = limited("noeviction");
    let refused = fill(&mut conn, "fill", FILL_KEYS);
    assert!(refused > FILL_KEYS / 4, "only {refused} refused");
    assert_within_limit(&mut conn);
    assert_eq!(info_number(&mut conn, "evicted_keys"), 0);
    // Over the limit, whatever is still free below it.
    let used = info_number(&mut conn, "used_memory");
    conn.ok(&format!("CONFIG SET maxmemory {}", used - MIB));
    for denied in [
        "SET k v",
        "APPEND k v",
        "INCR k",
        "SETRANGE k 0 v",
        "MSET k v",
        "SETBIT k 1 1",
        "BITFIELD k SET u8 0 1",
        "GETSET k v",
        "SETNX k v",
        "SETEX k 10 v",
        "INCRBYFLOAT k 1",
        "COPY fill:1 fill:1",
        "BITOP NOT k k",
    ] {
        assert_eq!(conn.cmd(denied), oom(), "{denied}");
    }
    for allowed in [
        "GET fill:1",
        "DEL fill:1",
        "EXISTS fill:2",
        "EXPIRE fill:2 100",
        "PERSIST fill:2",
        "TTL fill:2",
        "GETDEL fill:3",
        "STRLEN fill:4",
        "MGET fill:4",
        "UNLINK fill:5",
        "PING",
        "DBSIZE",
        "CONFIG GET maxmemory",
        "SCAN 0",
        "GETEX fill:6 EX 100",
        "TOUCH fill:6",
        "RENAME fill:7 fill:7",
    ] {
        let reply = conn.cmd(allowed);
        assert_ne!(reply, oom(), "{allowed}");
        assert!(!reply.is_error(), "{allowed}: {reply:?}");
    }
    let limit = used + 2 * MIB;
    conn.ok(&format!("CONFIG SET maxmemory {limit}"));
    conn.ok("SET k v");
    server.assert_healthy();
}

/// The hot half of the keys is used again after the cold one has been idle; more of it must survive.
#[test]
fn allkeys_lru_evicts_the_idle() {
    let (_server, mut conn) = limited("allkeys-lru");
    const KEYS: usize = 5000;
    fill(&mut conn, "cold", KEYS);
    fill(&mut conn, "hot", KEYS);
    // The clock of Redis counts seconds.
    wait_until("the cold keys are idle", || conn.cmd("OBJECT IDLETIME cold:0").int() >= 2);
    assert_eq!(survivors(&mut conn, "hot", 0..KEYS), KEYS);
    pipeline(&mut conn, (0..KEYS).map(|i| command(["GET", &format!("hot:{i}")])));
    assert_eq!(fill(&mut conn, "fill", 10_000), 0);
    assert_within_limit(&mut conn);
    let (hot, cold) = (survivors(&mut conn, "hot", 0..KEYS), survivors(&mut conn, "cold", 0..KEYS));
    println!("of {KEYS} each: {hot} hot and {cold} cold keys survive");
    assert!(info_number(&mut conn, "evicted_keys") > 0);
    assert!(hot > KEYS * 7 / 10 && cold < hot / 2, "{hot} hot and {cold} cold keys survive");
}

#[test]
fn allkeys_lfu_evicts_the_rarely_used() {
    let (_server, mut conn) = limited("allkeys-lfu");
    const KEYS: usize = 4000;
    fill(&mut conn, "hot", KEYS);
    for _ in 0..30 {
        pipeline(&mut conn, (0..KEYS).map(|i| command(["GET", &format!("hot:{i}")])));
    }
    assert!(conn.cmd("OBJECT FREQ hot:0").int() > 5);
    assert_eq!(fill(&mut conn, "fill", FILL_KEYS), 0);
    assert_within_limit(&mut conn);
    let (hot, rest) = (survivors(&mut conn, "hot", 0..KEYS), survivors(&mut conn, "fill", 0..FILL_KEYS));
    println!("{hot} of {KEYS} hot keys and {rest} of {FILL_KEYS} others survive");
    assert!(hot > KEYS * 9 / 10, "{hot} of {KEYS} hot keys survive");
}

#[test]
fn allkeys_random_evicts_across_the_board() {
    let (_server, mut conn) = limited("allkeys-random");
    assert_eq!(fill(&mut conn, "fill", FILL_KEYS), 0);
    assert_within_limit(&mut conn);
    let half = FILL_KEYS / 2;
    let (older, newer) = (survivors(&mut conn, "fill", 0..half), survivors(&mut conn, "fill", half..FILL_KEYS));
    println!("{older} of the older half and {newer} of the newer survive");
    assert!(older > half / 20, "random victims leave some of the oldest");
    assert!(newer > older, "the older had more occasions to be picked");
    let held = conn.cmd("DBSIZE").int();
    assert!(held as u64 * VALUE_BYTES as u64 > ROOM_BYTES / 2, "far more was evicted than needed: {held} keys left");
}

/// With a volatile policy only keys that expire may go; without any left, the error of noeviction.
#[track_caller]
fn only_volatile_keys_go(policy: &str) {
    let (_server, mut conn) = limited(policy);
    const PLAIN: usize = 5000;
    assert_eq!(fill(&mut conn, "plain", PLAIN), 0);
    assert_eq!(fill_with_ttl(&mut conn, "volatile", FILL_KEYS, |_| 100_000), 0);
    assert_within_limit(&mut conn);
    assert_eq!(survivors(&mut conn, "plain", 0..PLAIN), PLAIN, "{policy} evicted keys without expiry");
    let volatile = survivors(&mut conn, "volatile", 0..FILL_KEYS);
    assert!(volatile > 1000, "far more was evicted than needed: {volatile} left");
    let refused = fill(&mut conn, "more", FILL_KEYS);
    assert!(refused > 0, "nothing is refused with no volatile key left");
    assert_eq!(survivors(&mut conn, "plain", 0..PLAIN), PLAIN);
    assert_eq!(survivors(&mut conn, "volatile", 0..FILL_KEYS), 0);
}

#[test]
fn volatile_lru_spares_keys_without_expiry() {
    only_volatile_keys_go("volatile-lru");
}

#[test]
fn volatile_lfu_spares_keys_without_expiry() {
    only_volatile_keys_go("volatile-lfu");
}

#[test]
fn volatile_random_spares_keys_without_expiry() {
    only_volatile_keys_go("volatile-random");
}

#[test]
fn volatile_ttl_spares_keys_without_expiry() {
    only_volatile_keys_go("volatile-ttl");
}

#[test]
fn volatile_ttl_evicts_what_ends_soonest() {
    let (_server, mut conn) = limited("volatile-ttl");
    const KEYS: usize = 12_000;
    // Alternating, so that age says nothing.
    assert_eq!(fill_with_ttl(&mut conn, "k", KEYS, |i| if i % 2 == 0 { 1_000 } else { 1_000_000 }), 0);
    assert_eq!(fill_with_ttl(&mut conn, "last", 6000, |_| 2_000_000), 0);
    assert_within_limit(&mut conn);
    let mut left = [0, 0];
    for i in 0..KEYS {
        left[i % 2] += conn.cmd(&format!("EXISTS k:{i}")).int();
    }
    println!("{} that end soon and {} that end late survive, of {} each", left[0], left[1], KEYS / 2);
    assert!(left[1] > 2 * left[0] && left[1] as usize > KEYS / 2 * 7 / 10, "soon, late: {left:?}");
}

/// Every shard's memory counts against one budget: keys of a single slot may use nearly all of it.
#[test]
fn a_skewed_key_space_is_not_evicted_early() {
    let (_server, mut conn) = limited("allkeys-lru");
    let keys = (ROOM_BYTES as usize / 2) / (VALUE_BYTES + 200);
    assert_eq!(fill(&mut conn, "{one}", keys), 0);
    assert_eq!(info_number(&mut conn, "evicted_keys"), 0);
    assert_eq!(survivors(&mut conn, "{one}", 0..keys), keys);
}

/// And once the budget is full it stays nearly full: no core evicts for the sake of another's share.
#[test]
fn a_skewed_key_space_fills_the_budget() {
    let (_server, mut conn) = limited("allkeys-lru");
    assert_eq!(fill(&mut conn, "{one}", FILL_KEYS), 0);
    assert_within_limit(&mut conn);
    let held = survivors(&mut conn, "{one}", 0..FILL_KEYS);
    assert!(held * VALUE_BYTES > ROOM_BYTES as usize * 8 / 10, "only {held} keys of one core fit");
    // The other core has next to nothing, and still takes writes.
    assert_eq!(fill(&mut conn, "{other}", 200), 0);
    assert!(survivors(&mut conn, "{one}", 0..FILL_KEYS) > held * 9 / 10);
}

/// A limit below what is in use is met without any command's help: INFO alone looks at the node meanwhile, and what it needs for that counts, too.
#[test]
fn a_lowered_limit_is_met_at_once() {
    const INFO_BYTES: u64 = MIB / 4;
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl", "volatile-random"] {
        let (_server, mut conn) = limited(policy);
        assert_eq!(fill_with_ttl(&mut conn, "k", 10_000, |i| 1000 + i as u64), 0);
        let limit = info_number(&mut conn, "used_memory") - 6 * MIB;
        conn.ok(&format!("CONFIG SET maxmemory {limit}"));
        wait_until("used memory is below the new limit", || {
            info_number(&mut conn, "used_memory") <= limit + INFO_BYTES
        });
        let left = conn.cmd("DBSIZE").int();
        assert!((2000..8000).contains(&left), "{left} of 10000 keys are left with {policy}");
    }
}

#[test]
fn deleting_everything_gives_the_memory_back() {
    for flush in ["FLUSHALL", "FLUSHALL ASYNC", "FLUSHDB"] {
        let server = Server::basalt(&["--shards", "2"]);
        let mut conn = server.conn();
        let (before, used) = (server.rss(), info_number(&mut conn, "used_memory"));
        assert_eq!(fill(&mut conn, "fill", 100_000), 0);
        assert!(server.rss() > before + 90 * MIB);
        assert!(info_number(&mut conn, "used_memory") > used + 90 * MIB);
        conn.ok(flush);
        assert_eq!(conn.cmd("DBSIZE"), Reply::Int(0));
        wait_until("used memory is back", || info_number(&mut conn, "used_memory") < used + 2 * MIB);
        wait_until("resident memory is back", || {
            conn.cmd("PING");
            server.rss() < before + 40 * MIB
        });
        wait_until("nothing waits to be freed", || info_number(&mut conn, "lazyfree_pending_objects") == 0);
        assert_eq!(info_number(&mut conn, "lazyfreed_objects"), 100_000);
    }
}

#[test]
fn expired_fields_are_counted() {
    let server = Server::basalt(&["--shards", "2"]);
    let mut conn = server.conn();
    for key in 0..10 {
        conn.cmd(&format!("HSET h:{key} a 1 b 2 c 3"));
        conn.cmd(&format!("HPEXPIRE h:{key} 1 FIELDS 2 a b"));
    }
    wait_until("they have expired", || info_number(&mut conn, "expired_subkeys") == 20);
    assert_eq!(info_number(&mut conn, "expired_keys"), 0);
}

/// Whatever is there from start to end of an iteration is returned at least once, while another client makes the tables grow
/// and shrink.
#[test]
fn scan_returns_what_stays_while_other_keys_come_and_go() {
    const STABLE: usize = 5000;
    const CHURN: usize = 30_000;
    for shards in ["1", "2"] {
        let server = Server::basalt(&["--shards", shards]);
        let mut conn = server.conn();
        pipeline(&mut conn, (0..STABLE).map(|i| command(["SET", &format!("stable:{i}"), "v"])));
        let stop = Arc::new(AtomicBool::new(false));
        let churn = {
            let (stop, mut other) = (stop.clone(), server.conn());
            std::thread::spawn(move || {
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) {
                    pipeline(&mut other, (0..CHURN).map(|i| command(["SET", &format!("churn:{rounds}:{i}"), "v"])));
                    pipeline(&mut other, (0..CHURN).map(|i| command(["DEL", &format!("churn:{rounds}:{i}")])));
                    rounds += 1;
                }
                rounds
            })
        };
        for (count, pattern) in [("10", "*"), ("100", "stable:*"), ("1", "stable:1*"), ("1000", "*"), ("50", "*")] {
            let mut seen = HashSet::new();
            let mut cursor = "0".to_owned();
            loop {
                let reply = conn.argv(&["SCAN", &cursor, "COUNT", count, "MATCH", pattern]).items();
                seen.extend(reply[1].items().iter().map(Reply::text));
                cursor = reply[0].text();
                if cursor == "0" {
                    break;
                }
            }
            let expected = (0..STABLE)
                .map(|i| format!("stable:{i}"))
                .filter(|k| pattern != "stable:1*" || k.starts_with("stable:1"));
            let missing: Vec<String> = expected.filter(|k| !seen.contains(k)).collect();
            assert!(
                missing.is_empty(),
                "COUNT {count} MATCH {pattern}: {} missing, as {:?}",
                missing.len(),
                missing[0]
            );
            assert!(pattern == "*" || seen.iter().all(|k| k.starts_with("stable:")));
        }
        stop.store(true, Ordering::Relaxed);
        println!("{} rounds of churn", churn.join().unwrap());
    }
}
