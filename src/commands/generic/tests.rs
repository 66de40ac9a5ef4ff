use crate::commands::testing::Node;
use crate::keyspace::{ExpiryMode, PolicyKind};
use crate::resp::OwnedArgs;

fn check(node: &mut Node, steps: &[(&str, &str)]) {
    for (line, expected) in steps {
        assert_eq!(node.ask(line), *expected, "{line}");
    }
}

/// The payload of a DUMP reply.
fn dumped(node: &mut Node, key: &str) -> Vec<u8> {
    let reply = node.run(&format!("dump {key}"));
    let header_end = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    reply[header_end..reply.len() - 2].to_vec()
}

fn restore(node: &mut Node, key: &str, ttl: &str, payload: &[u8], options: &[&str]) -> String {
    let mut args: OwnedArgs = ["restore", key, ttl].iter().collect();
    args.push(payload);
    for option in options {
        args.push(option.as_bytes());
    }
    String::from_utf8(node.run_args(&args)).unwrap()
}

#[test]
fn changes_are_counted_as_redis_counts_them() {
    let mut node = Node::new();
    node.run("mset a 1 b 2 c 3 d 4 e 5");
    for (line, changes) in [
        ("exists a", 0),
        ("touch a", 0),
        ("expire a 100", 1),
        ("expire a 100 nx", 0),
        ("expire nokey 100", 0),
        ("persist a", 1),
        ("persist a", 0),
        ("rename a a", 0),
        ("rename nokey a", 0),
        ("rename a b", 1),
        ("renamenx b c", 0),
        ("renamenx b x", 1),
        ("copy c d", 0),
        ("copy c d replace", 1),
        ("move c 1", 1),
        ("move c 1", 0),
        ("expire d -1", 1),
        ("expire d -1", 0),
        ("del x e nokey x", 2),
        ("unlink x", 0),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

#[test]
fn keys_end_when_their_time_has_come() {
    let mut node = Node::new();
    check(
        &mut node,
        &[
            ("mset a 1 b 2", "+OK\r\n"),
            ("pexpire a 1500", ":1\r\n"),
            ("ttl a", ":2\r\n"),
            ("copy a c", ":1\r\n"),
            ("rename b d", "+OK\r\n"),
            ("expire d 1", ":1\r\n"),
            ("rename d b", "+OK\r\n"),
        ],
    );
    node.now_ms += 1001;
    check(
        &mut node,
        &[
            ("ttl a", ":0\r\n"),
            ("pttl a", ":499\r\n"),
            ("exists b", ":0\r\n"),
            ("rename b x", "-ERR no such key\r\n"),
            ("ttl b", ":-2\r\n"),
            ("object encoding b", "$-1\r\n"),
            ("copy a b", ":1\r\n"),
        ],
    );
    node.now_ms += 500;
    check(
        &mut node,
        &[
            ("exists a b c", ":0\r\n"),
            ("del a", ":0\r\n"),
            ("touch a", ":0\r\n"),
            ("type a", "+none\r\n"),
            ("expire a 1", ":0\r\n"),
            ("persist a", ":0\r\n"),
            ("dump a", "$-1\r\n"),
            ("set k 1", "+OK\r\n"),
            ("renamenx k a", ":1\r\n"),
        ],
    );
}

#[test]
fn an_expired_key_in_another_database_is_in_nobodys_way() {
    let mut node = Node::new();
    node.db = 3;
    node.run("set k old px 10");
    node.db = 0;
    check(&mut node, &[("set k new", "+OK\r\n"), ("move k 3", ":0\r\n")]);
    node.now_ms += 11;
    check(&mut node, &[("copy k k db 3", ":1\r\n"), ("move k 3", ":0\r\n"), ("get k", "$3\r\nnew\r\n")]);
}

#[test]
fn the_farthest_expiry() {
    let mut node = Node::new();
    node.run("set k v");
    // The largest number of seconds that still is an i64 of milliseconds after now, and one more.
    let most = (i64::MAX as u64 - Node::START_MS) / 1000;
    check(
        &mut node,
        &[
            (&format!("expire k {most}"), ":1\r\n"),
            (&format!("expire k {}", most + 1), "-ERR invalid expire time in 'expire' command\r\n"),
            ("ttl k", &format!(":{most}\r\n")),
        ],
    );
}

#[test]
fn access_of_keys_is_told_as_the_policy_counts_it() {
    let mut node = Node::new();
    node.run("set k v");
    node.now_ms += 7_900;
    check(
        &mut node,
        &[
            ("object idletime k", ":7\r\n"),
            ("exists k", ":1\r\n"),
            ("type k", "+string\r\n"),
            ("ttl k", ":-1\r\n"),
            ("object idletime k", ":7\r\n"),
            ("touch k", ":1\r\n"),
            ("object idletime k", ":0\r\n"),
        ],
    );
    node.set_policy(PolicyKind::AllKeysLfu);
    node.run("set f v");
    assert_eq!(node.ask("object freq f"), ":5\r\n");
    assert_eq!(
        node.ask("object idletime f"),
        "-ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies \
         at runtime LRU and LFU data will take some time to adjust.\r\n"
    );
    assert_eq!(node.ask("object idletime nokey"), "$-1\r\n");
    let payload = dumped(&mut node, "f");
    assert_eq!(restore(&mut node, "g", "0", &payload, &["freq", "200"]), "+OK\r\n");
    assert_eq!(node.ask("object freq g"), ":200\r\n");
}

#[test]
fn memory_usage_covers_key_and_value() {
    let mut node = Node::new();
    node.run("set k v");
    node.run("setrange large 9999 x");
    let mut usage = |key: &str| -> u64 {
        let reply = node.ask(&format!("memory usage {key}"));
        reply.trim_start_matches(':').trim_end().parse().unwrap()
    };
    assert!((2..100).contains(&usage("k")));
    assert!((10_005..20_000).contains(&usage("large")));
}

/// Payloads of redis-server 7.0.15.
#[test]
fn dumps_are_those_of_redis() {
    let mut node = Node::new();
    for (value, payload) in [
        ("hello", &b"\x00\x05hello\n\x00cr\xdfve4 \n"[..]),
        ("123", b"\x00\xc0{\n\x00H\xe2S\xe1\x00zg\xb9"),
        ("-5", b"\x00\xc0\xfb\n\x00I\xc4\xc6\xf4\xd7&?h"),
        ("70000", b"\x00\xc2p\x11\x01\x00\n\x00\x01\xa4\x08\xfe\x950\x95\xa5"),
        ("12345678901", b"\x00\x0b12345678901\n\x000NR\xd7'\x17e\x10"),
        ("", b"\x00\x00\n\x00]\x9b\\@\x0f\x7f\xa2\xda"),
    ] {
        node.run(&format!("set k \"{value}\""));
        assert_eq!(dumped(&mut node, "k"), payload, "{value}");
        assert_eq!(restore(&mut node, "copy", "0", payload, &["REPLACE"]), "+OK\r\n");
        assert_eq!(node.run("get copy"), node.run("get k"));
    }
}

#[test]
fn restoring_counts_what_it_changed() {
    let mut node = Node::new();
    node.run("set k more-than-8");
    let payload = dumped(&mut node, "k");
    let mut dirty = node.dirty;
    for (ttl, options, changes) in [
        ("0", &[][..], 0),
        ("0", &["replace"], 1),
        ("1", &["replace", "absttl"], 1),
        ("1", &["replace", "absttl"], 0),
        ("5000", &[], 1),
        ("9223372036854775807", &["replace", "absttl"], 1),
    ] {
        restore(&mut node, "k", ttl, &payload, options);
        assert_eq!(node.dirty - dirty, changes, "{ttl} {options:?}");
        dirty = node.dirty;
    }
    assert_eq!(node.ask("pexpiretime k"), ":9223372036854775807\r\n");
    // Counted from now that time does not fit, and is one long ago.
    assert_eq!(restore(&mut node, "k", "9223372036854775807", &payload, &["replace"]), "+OK\r\n");
    assert_eq!(node.ask("pexpiretime k"), ":-2\r\n");
    node.max_bulk_bytes = 0;
    assert_eq!(restore(&mut node, "k", "0", &payload, &["replace"]), "-ERR Bad data format\r\n");
}

/// A stream that is applied late: what set an expiry that is past by now did not remove the key where it ran.
#[test]
fn what_comes_late_from_a_primary_removes_nothing_by_time() {
    let mut node = Node::new();
    node.run("set a 1");
    node.run("set b 2");
    node.run("set c 3");
    let payload = dumped(&mut node, "c");
    node.keyspace.set_expiry_mode(ExpiryMode::Ignored);
    let past = (Node::START_MS - 1000).to_string();
    node.run(&format!("pexpireat a {past}"));
    node.run(&format!("getex b pxat {past}"));
    assert_eq!(restore(&mut node, "d", &past, &payload, &["absttl"]), "+OK\r\n");
    for (key, value) in [("a", "1"), ("b", "2"), ("d", "3")] {
        assert_eq!(node.ask(&format!("pexpiretime {key}")), format!(":{past}\r\n"), "{key}");
        node.run(&format!("persist {key}"));
        assert_eq!(node.ask(&format!("get {key}")), format!("$1\r\n{value}\r\n"), "{key}");
    }
}
