use proptest::prelude::*;

use crate::commands::testing::Node;
use crate::resp::OwnedArgs;

const BAD_OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";

#[test]
fn changes_are_counted_as_redis_counts_them() {
    let mut node = Node::new();
    for (line, changes) in [
        ("setbit b 7 0", 1),
        ("setbit b 7 0", 0),
        ("setbit b 7 1", 1),
        ("setbit b 8 0", 1),
        ("getbit b 7", 0),
        ("bitfield b get u8 0", 0),
        ("bitfield b set u8 0 1 set u8 8 0", 0),
        ("bitfield b set u8 0 2 incrby u8 8 1 get u8 0", 2),
        // Growing counts for each write, but not where none took place.
        ("bitfield b set u8 0 2 set u8 #2 0", 2),
        ("bitfield b overflow fail set u8 #3 300", 0),
        ("bitop not d b", 1),
        ("bitop and d nokey", 1),
        ("bitop and d nokey", 0),
        ("bitcount b", 0),
        ("bitpos b 1", 0),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

/// Redis 7.0 looks for the key first, 7.2 at the arguments.
#[test]
fn arguments_are_checked_also_without_a_key() {
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    const SYNTAX: &str = "-ERR syntax error\r\n";
    let mut node = Node::new();
    for (line, reply) in [
        ("bitcount nokey a b", NOT_INTEGER),
        ("bitcount nokey 0 b", NOT_INTEGER),
        ("bitcount nokey 0 1 foo", SYNTAX),
        ("bitcount nokey 0", SYNTAX),
        ("bitpos nokey 0 a", NOT_INTEGER),
        ("bitpos nokey 0 0 b", NOT_INTEGER),
        ("bitpos nokey 0 0 1 foo", SYNTAX),
        ("bitpos nokey 0 0 1 bit foo", SYNTAX),
    ] {
        assert_eq!(node.ask(line), reply, "{line}");
    }
}

#[test]
fn bits_stay_within_the_limit() {
    let mut node = Node::new();
    node.max_bulk_bytes = 2;
    for (line, reply) in [
        ("setbit b 15 1", ":0\r\n"),
        ("setbit b 16 1", BAD_OFFSET),
        ("getbit b 16", BAD_OFFSET),
        ("bitfield b set u8 8 255", "*1\r\n:1\r\n"),
        ("bitfield b set u8 16 255", BAD_OFFSET),
        ("bitfield b get u8 9", "*1\r\n:254\r\n"),
        ("bitfield b get u8 #2", BAD_OFFSET),
        ("bitfield b get u63 #9223372036854775807", BAD_OFFSET),
        ("strlen b", ":2\r\n"),
        // As in Redis, it is where a field begins that counts.
        ("bitfield b set u8 15 255", "*1\r\n:128\r\n"),
        ("strlen b", ":3\r\n"),
    ] {
        assert_eq!(node.ask(line), reply, "{line}");
    }
}

fn strings() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..40)
}

fn set(node: &mut Node, key: &str, value: &[u8]) {
    let mut args: OwnedArgs = ["set", key].iter().collect();
    args.push(value);
    node.run_args(&args);
}

proptest! {
    #[test]
    fn combining_is_done_bit_by_bit(sources in proptest::collection::vec(strings(), 1..5)) {
        let mut node = Node::new();
        let mut keys = String::new();
        for (i, source) in sources.iter().enumerate() {
            set(&mut node, &format!("s{i}"), source);
            keys += &format!(" s{i}");
        }
        let len = sources.iter().map(Vec::len).max().unwrap_or(0);
        let fold = |combine: fn(u8, u8) -> u8| -> Vec<u8> {
            let at = |source: &Vec<u8>, i: usize| source.get(i).copied().unwrap_or(0);
            (0..len).map(|i| sources.iter().map(|source| at(source, i)).reduce(combine).unwrap_or(0)).collect()
        };
        for (word, expected) in [("and", fold(|a, b| a & b)), ("or", fold(|a, b| a | b)), ("xor", fold(|a, b| a ^ b))] {
            prop_assert_eq!(node.ask(&format!("bitop {word} d{keys}")), format!(":{len}\r\n"));
            prop_assert_eq!(node.run("getrange d 0 -1"), [format!("${len}\r\n").as_bytes(), &expected, b"\r\n"].concat());
        }
    }

    #[test]
    fn single_bits_agree_with_counting_and_searching(
        value in strings(), offsets in proptest::collection::vec((0u64..400, any::<bool>()), 0..20),
    ) {
        let mut node = Node::new();
        set(&mut node, "k", &value);
        let mut model: Vec<bool> = (0..value.len() * 8).map(|i| value[i / 8] >> (7 - i % 8) & 1 == 1).collect();
        for (offset, on) in offsets {
            let bytes = (offset as usize / 8 + 1) * 8;
            model.resize(model.len().max(bytes), false);
            let old = std::mem::replace(&mut model[offset as usize], on);
            prop_assert_eq!(node.ask(&format!("setbit k {offset} {}", on as u8)), format!(":{}\r\n", old as u8));
            prop_assert_eq!(node.ask(&format!("getbit k {offset}")), format!(":{}\r\n", on as u8));
        }
        let ones = model.iter().filter(|on| **on).count();
        let first = model.iter().position(|on| *on).map_or(-1, |at| at as i64);
        prop_assert_eq!(node.ask("bitcount k"), format!(":{ones}\r\n"));
        prop_assert_eq!(node.ask("bitpos k 1"), format!(":{first}\r\n"));
    }
}
