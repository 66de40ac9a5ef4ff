use bytes::Bytes;
use proptest::prelude::*;

use crate::commands::testing::Node;
use crate::resp::{ATTACH_MIN_BYTES, OwnedArgs};

const SYNTAX: &str = "-ERR syntax error\r\n";

/// Runs lines one after the other and compares the replies.
fn check(node: &mut Node, steps: &[(&str, &str)]) {
    for (line, expected) in steps {
        assert_eq!(node.ask(line), *expected, "{line}");
    }
}

fn with_separate(words: &[&str], value: &Bytes) -> OwnedArgs {
    let mut args: OwnedArgs = words.iter().collect();
    args.push_separate(value.clone());
    args
}

#[test]
fn changes_are_counted_as_redis_counts_them() {
    let mut node = Node::new();
    for (line, changes) in [
        ("set k v", 1),
        ("get k", 0),
        ("set k v nx", 0),
        ("set k v xx get", 1),
        ("set k v ifeq x", 0),
        ("setnx k v", 0),
        ("setnx k2 v", 1),
        ("setex k 10 v", 1),
        ("setex k 0 v", 0),
        ("psetex k 10 v", 1),
        ("mset a 1 b 2 a 3", 3),
        ("msetnx a 1 z 2", 0),
        ("msetnx y 1 z 2", 2),
        ("incr a", 1),
        ("incr k", 0),
        ("decrby a 5", 1),
        ("incrbyfloat a 0.5", 1),
        ("append k x", 1),
        ("append k \"\"", 1),
        ("setrange k 0 \"\"", 0),
        ("setrange k 0 x", 1),
        ("getset k v", 1),
        ("getex k", 0),
        ("getex k persist", 0),
        ("getex k ex 10", 1),
        ("getex k persist", 1),
        ("getex k exat 1", 1),
        ("getex k ex 10", 0),
        ("getdel k", 0),
        ("getdel k2", 1),
        ("delifeq y 2", 0),
        ("delifeq y 1", 1),
        ("delifeq y 1", 0),
        ("lcs a b", 0),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

#[test]
fn set_if_equal() {
    check(
        &mut Node::new(),
        &[
            ("set k v ifeq v", "$-1\r\n"),
            ("exists k", ":0\r\n"),
            ("set k v ifeq v get", "$-1\r\n"),
            ("set k 1", "+OK\r\n"),
            ("set k 2 ifeq 3", "$-1\r\n"),
            ("set k 2 IFEQ 1", "+OK\r\n"),
            ("set k 3 ifeq 1 get", "$1\r\n2\r\n"),
            ("set k 3 get ifeq 2 ex 100", "$1\r\n2\r\n"),
            ("get k", "$1\r\n3\r\n"),
            ("ttl k", ":100\r\n"),
            ("set k 4 ifeq 3 keepttl", "+OK\r\n"),
            ("ttl k", ":100\r\n"),
            ("set k 5 ifeq 04", "$-1\r\n"),
            ("set k 5 ifeq", SYNTAX),
            ("set k 5 ifeq 4 nx", SYNTAX),
            ("set k 5 xx ifeq 4", SYNTAX),
            ("set k 5 ifeq 4 ifeq 4", SYNTAX),
            ("set k nx ifeq 4", "+OK\r\n"),
            ("set k x ifeq nx", "+OK\r\n"),
            ("getex k ifeq x", SYNTAX),
        ],
    );
}

#[test]
fn delete_if_equal() {
    check(
        &mut Node::new(),
        &[
            ("delifeq k v", ":0\r\n"),
            ("set k 10", "+OK\r\n"),
            ("delifeq k 1", ":0\r\n"),
            ("delifeq k 010", ":0\r\n"),
            ("delifeq k 10", ":1\r\n"),
            ("exists k", ":0\r\n"),
            ("set k \"\"", "+OK\r\n"),
            ("delifeq k \"\"", ":1\r\n"),
        ],
    );
}

#[test]
fn expiry_follows_the_clock() {
    let mut node = Node::new();
    check(
        &mut node,
        &[
            ("setex a 10 v", "+OK\r\n"),
            ("set b v px 10001", "+OK\r\n"),
            ("pttl a", ":10000\r\n"),
            ("pttl b", ":10001\r\n"),
        ],
    );
    // In its last millisecond a key is still there.
    node.now_ms += 10_000;
    check(&mut node, &[("pttl a", ":0\r\n"), ("get a", "$1\r\nv\r\n")]);
    node.now_ms += 1;
    check(
        &mut node,
        &[
            ("get a", "$-1\r\n"),
            ("get b", "$1\r\nv\r\n"),
            ("set a w keepttl", "+OK\r\n"),
            ("ttl a", ":-1\r\n"),
            ("set b w keepttl", "+OK\r\n"),
            ("pttl b", ":0\r\n"),
        ],
    );
    node.now_ms += 1;
    check(&mut node, &[("append b x", ":1\r\n"), ("incr c", ":1\r\n"), ("getex c px 5", "$1\r\n1\r\n")]);
    node.now_ms += 6;
    check(&mut node, &[("incr c", ":1\r\n"), ("ttl c", ":-1\r\n")]);
}

#[test]
fn large_values_are_taken_over_and_shared() {
    let value = Bytes::from(vec![b'x'; 4 * ATTACH_MIN_BYTES]);
    for setter in
        [&["set", "k"][..], &["getset", "k"], &["setex", "k", "10"], &["mset", "a", "1", "k"], &["append", "k"]]
    {
        let mut node = Node::new();
        node.run_args(&with_separate(setter, &value));
        let reply = node.run_attached(&["get", "k"].iter().collect());
        assert_eq!(reply.attached[0].1.as_ptr(), value.as_ptr(), "{setter:?}");
        let reply = node.run_attached(&["getrange", "k", "7", "-1"].iter().collect());
        assert_eq!(reply.attached[0].1.as_ptr(), value[7..].as_ptr(), "{setter:?}");
        assert_eq!(reply.attached[0].1.len(), value.len() - 7);
        let reply = node.run_attached(&["getrange", "k", "7", "17"].iter().collect());
        assert!(reply.attached.is_empty());
        assert_eq!(reply.buf, b"$11\r\nxxxxxxxxxxx\r\n");
    }
}

#[test]
fn a_change_does_not_reach_replies_on_their_way() {
    let mut node = Node::new();
    node.run_args(&with_separate(&["set", "k"], &Bytes::from(vec![b'x'; ATTACH_MIN_BYTES])));
    let reply = node.run_attached(&["get", "k"].iter().collect());
    node.run("setrange k 0 y");
    assert_eq!(node.ask("getrange k 0 1"), "$2\r\nyx\r\n");
    assert!(reply.attached[0].1.iter().all(|byte| *byte == b'x'));
}

#[test]
fn strings_stay_within_the_limit() {
    const TOO_LONG: &str = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
    const TOO_MUCH: &str = "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len\r\n";
    let mut node = Node::new();
    node.max_bulk_bytes = 100;
    check(
        &mut node,
        &[
            ("setrange k 99 x", ":100\r\n"),
            ("setrange k 100 x", TOO_LONG),
            ("setrange nokey 100 x", TOO_LONG),
            ("exists nokey", ":0\r\n"),
            ("append k x", TOO_LONG),
            ("append k \"\"", ":100\r\n"),
            ("strlen k", ":100\r\n"),
            ("set a abcd", "+OK\r\n"),
            ("set b abcde", "+OK\r\n"),
            ("lcs a a", "$4\r\nabcd\r\n"),
            ("lcs a b", TOO_MUCH),
            ("lcs a b len", TOO_MUCH),
            ("lcs a b len idx", "-ERR If you want both the length and indexes, please just use IDX.\r\n"),
        ],
    );
}

#[test]
fn readers_count_hits_and_misses() {
    let mut node = Node::new();
    node.run("set k v");
    for (line, hits, misses) in [
        ("get k", 1, 0),
        ("get nokey", 0, 1),
        ("mget k nokey k", 2, 1),
        ("strlen k", 1, 0),
        ("getrange nokey 0 0", 0, 1),
        ("getex k", 1, 0),
        ("set k v get", 1, 0),
        ("set k v nx", 0, 0),
        ("setnx k v", 0, 0),
        ("incr n", 0, 0),
        ("append n 1", 0, 0),
        ("exists k nokey", 1, 1),
        ("touch k nokey", 1, 1),
        ("type k", 1, 0),
        ("type nokey", 0, 1),
        ("ttl k", 1, 0),
        ("pttl nokey", 0, 1),
        ("expire k 100", 0, 0),
        ("object encoding k", 0, 0),
        ("dump k", 1, 0),
        ("copy nokey x", 0, 1),
        ("bitcount k", 1, 0),
        ("setbit n 0 1", 0, 0),
        ("del k", 0, 0),
    ] {
        let before = node.keyspace.stats();
        node.run(line);
        let after = node.keyspace.stats();
        assert_eq!((after.hits - before.hits, after.misses - before.misses), (hits, misses), "{line}");
    }
}

proptest! {
    /// APPEND, SETRANGE and GETRANGE against a vector of bytes.
    #[test]
    fn parts_of_strings_behave_as_bytes(
        steps in proptest::collection::vec(
            (any::<bool>(), 0usize..60, proptest::collection::vec(prop_oneof![Just(b'1'), any::<u8>()], 0..20), -70i64..70, -70i64..70),
            1..20,
        ),
    ) {
        let mut node = Node::new();
        let mut model = Vec::new();
        for (appends, offset, part, start, end) in steps {
            let mut args: OwnedArgs = if appends {
                ["append", "k"].iter().collect()
            } else {
                ["setrange", "k", &offset.to_string()].iter().collect()
            };
            args.push(&part);
            if appends {
                model.extend_from_slice(&part);
            } else if !part.is_empty() {
                model.resize(model.len().max(offset + part.len()), 0);
                model[offset..offset + part.len()].copy_from_slice(&part);
            }
            prop_assert_eq!(node.run_args(&args), format!(":{}\r\n", model.len()).into_bytes());

            let reply = node.run(&format!("getrange k {start} {end}"));
            let index = |index: i64| if index < 0 { (model.len() as i64 + index).max(0) } else { index } as usize;
            let range = if start < 0 && end < 0 && start > end { 1..1 } else { index(start)..index(end) + 1 };
            let wanted: Vec<u8> = range.filter_map(|i| model.get(i).copied()).collect();
            prop_assert_eq!(reply, [format!("${}\r\n", wanted.len()).as_bytes(), &wanted, b"\r\n"].concat());
        }
    }
}
