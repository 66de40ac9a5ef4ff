use crate::commands::testing::Node;
use crate::resp::Proto;

const WRONGTYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
const SYNTAX: &str = "-ERR syntax error\r\n";

/// Runs lines one after the other and compares the replies.
fn check(node: &mut Node, steps: &[(&str, &str)]) {
    for (line, expected) in steps {
        assert_eq!(node.ask(line), *expected, "{line}");
    }
}

/// The elements of a list, joined.
fn list(node: &mut Node, key: &str) -> String {
    let reply = node.ask(&format!("lrange {key} 0 -1"));
    reply.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[test]
fn changes_are_counted_as_redis_counts_them() {
    let mut node = Node::new();
    for (line, changes) in [
        ("rpush a 1 2 3 2 1", 5),
        ("lpushx nokey 1", 0),
        ("lpushx a 0", 1),
        ("lpop a", 1),
        ("lpop a 0", 0),
        ("rpop a 2", 2),
        ("lset a 0 x", 1),
        ("lset a 9 x", 0),
        ("linsert a before x y", 1),
        ("linsert a before none y", 0),
        ("lrem a 0 none", 0),
        ("lrem a 0 x", 1),
        ("ltrim a 0 -1", 0),
        ("lmove a b left right", 1),
        ("lmove nokey b left right", 0),
        ("lmove b b left right", 1),
        ("ltrim a 5 9", 2),
        ("rpush a 1 2 3", 3),
        ("lmpop 2 nokey a left count 2", 2),
        ("blpop nokey a 0", 1),
        ("blpop a 0", 0),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

#[test]
fn replicas_are_told_of_the_effect() {
    let mut node = Node::new();
    node.run("rpush a 1 2 3 4 5 6 7 8 9");
    for (line, told) in [
        ("blpop nokey a 0", "LPOP a"),
        ("brpop a 0", "RPOP a"),
        ("blmove a b left RIGHT 0", "LMOVE a b left RIGHT"),
        ("brpoplpush a b 0", "RPOPLPUSH a b"),
        ("lmpop 2 nokey a left count 2", "LPOP a 2"),
        ("blmpop 0 1 a right count 100", "RPOP a 3"),
        ("lmove b a left left", "lmove b a left left"),
        ("rpop a 5", "rpop a 5"),
    ] {
        assert_eq!(node.propagated(line), [told], "{line}");
    }
    assert!(node.propagated("blpop a 0").is_empty());
}

/// Errors in the order in which Redis 7.0.15 finds them.
#[test]
fn refused_as_redis_refuses() {
    let mut node = Node::new();
    node.run("set str x");
    node.run("rpush z 1");
    let rank = "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list\r\n";
    let not_integer = "-ERR value is not an integer or out of range\r\n";
    check(
        &mut node,
        &[
            ("lpush str 1", WRONGTYPE),
            ("lindex str x", WRONGTYPE),
            ("lindex nokey x", "$-1\r\n"),
            ("lindex z x", not_integer),
            ("lset nokey x 1", "-ERR no such key\r\n"),
            ("lset z x 1", not_integer),
            ("lset z 1 1", "-ERR index out of range\r\n"),
            ("lset z -2 1", "-ERR index out of range\r\n"),
            ("linsert nokey foo 1 2", SYNTAX),
            ("linsert nokey before 1 2", ":0\r\n"),
            ("linsert z before 7 2", ":-1\r\n"),
            ("lpop z 1 2", "-ERR wrong number of arguments for 'lpop' command\r\n"),
            ("lpop str -1", "-ERR value is out of range, must be positive\r\n"),
            ("lpop nokey x", "-ERR value is out of range, must be positive\r\n"),
            ("lpop nokey 0", "*-1\r\n"),
            ("lpop nokey", "$-1\r\n"),
            ("lpop z 0", "*0\r\n"),
            ("lpop str", WRONGTYPE),
            ("lrange str x 1", not_integer),
            ("ltrim nokey 0 x", not_integer),
            ("ltrim nokey 0 1", "+OK\r\n"),
            ("lrem str x 1", not_integer),
            ("lrem nokey 0 1", ":0\r\n"),
            ("lpos nokey a rank 0", rank),
            ("lpos z a count -1", "-ERR COUNT can't be negative\r\n"),
            ("lpos z a count x", "-ERR COUNT can't be negative\r\n"),
            ("lpos z a maxlen -1", "-ERR MAXLEN can't be negative\r\n"),
            ("lpos z a rank x", not_integer),
            ("lpos z a rank", SYNTAX),
            ("lpos z a first 1", SYNTAX),
            ("lmpop 0 z left", "-ERR numkeys should be greater than 0\r\n"),
            ("lmpop x z left", "-ERR numkeys should be greater than 0\r\n"),
            ("lmpop 2 z left", SYNTAX),
            ("lmpop 9223372036854775807 z left", SYNTAX),
            ("lmpop 1 z left count 0", "-ERR count should be greater than 0\r\n"),
            ("lmpop 1 z left count 1 count 2", SYNTAX),
            ("lmpop 2 nokey str left", WRONGTYPE),
            ("lmpop 1 nokey left", "*-1\r\n"),
            ("lmove nokey str left right", "$-1\r\n"),
            ("lmove z str left right", WRONGTYPE),
            ("lmove z nokey up right", SYNTAX),
            ("blpop nokey str z 0", WRONGTYPE),
            ("blpop nokey x", "-ERR timeout is not a float or out of range\r\n"),
            ("blmove nokey z foo left x", SYNTAX),
            ("blmove nokey z left left x", "-ERR timeout is not a float or out of range\r\n"),
            ("blmpop x 0 z left", "-ERR numkeys should be greater than 0\r\n"),
            ("blmove nokey z left left 0", "$-1\r\n"),
            ("brpoplpush nokey z 0", "$-1\r\n"),
            ("blmpop 0 1 nokey left", "*-1\r\n"),
            ("llen z", ":1\r\n"),
        ],
    );
    node.proto = Proto::Resp3;
    check(&mut node, &[("lpop nokey", "_\r\n"), ("lpop nokey 1", "_\r\n"), ("lmpop 1 nokey left", "_\r\n")]);
}

#[test]
fn what_each_does() {
    let mut node = Node::new();
    for limit in [-2, 3] {
        node.encodings.list = crate::types::list::encoding::Limit::from_directive(limit);
        node.run("del a b c");
        assert_eq!(node.ask("rpush a 1 2 3 4 5"), ":5\r\n");
        assert_eq!(node.ask("lpush a x y"), ":7\r\n");
        assert_eq!(list(&mut node, "a"), "y x 1 2 3 4 5");
        node.run("linsert a after 5 6");
        node.run("linsert a before y z");
        node.run("lset a -2 five");
        assert_eq!(list(&mut node, "a"), "z y x 1 2 3 4 five 6");
        assert_eq!(node.ask("lpop a 2"), "*2\r\n$1\r\nz\r\n$1\r\ny\r\n");
        assert_eq!(node.ask("rpop a 2"), "*2\r\n$1\r\n6\r\n$4\r\nfive\r\n");
        node.run("ltrim a 1 -2");
        assert_eq!(list(&mut node, "a"), "1 2 3");
        node.run("lmove a a left right");
        node.run("lmove a a right left");
        node.run("lmove a b right left");
        node.run("rpoplpush a b");
        assert_eq!((list(&mut node, "a"), list(&mut node, "b")), ("1".into(), "2 3".into()));
        assert_eq!(node.ask("lmove a b left right"), "$1\r\n1\r\n");
        assert_eq!(node.ask("exists a"), ":0\r\n");
        node.run("rpush b 2 2");
        assert_eq!(node.ask("lpos b 2 count 0"), "*3\r\n:0\r\n:3\r\n:4\r\n");
        assert_eq!(node.ask("lpos b 2 rank -2"), ":3\r\n");
        assert_eq!(node.ask("lpos b 2 rank 2 maxlen 3"), "$-1\r\n");
        assert_eq!(node.ask("lrem b -2 2"), ":2\r\n");
        assert_eq!(list(&mut node, "b"), "2 3 1");
        assert_eq!(node.ask("lmpop 2 a b right count 2"), "*2\r\n$1\r\nb\r\n*2\r\n$1\r\n1\r\n$1\r\n3\r\n");
        assert_eq!(node.ask("lrem b 0 2"), ":1\r\n");
        assert_eq!(node.ask("exists b"), ":0\r\n");
    }
}

#[test]
fn encodings_change_when_those_of_redis_do() {
    let mut node = Node::new();
    let encoding = |node: &mut Node| node.ask("object encoding a").split("\r\n").nth(1).unwrap_or_default().to_owned();
    node.encodings.list = crate::types::list::encoding::Limit::from_directive(4);
    node.run("rpush a 1 2 3 4");
    assert_eq!(encoding(&mut node), "listpack");
    node.run("rpush a 5");
    assert_eq!(encoding(&mut node), "quicklist");
    node.run("lpop a 2");
    assert_eq!(encoding(&mut node), "quicklist", "three are more than half");
    node.run("expire a 1000");
    node.run("lpop a");
    assert_eq!(encoding(&mut node), "listpack");
    assert_eq!(node.ask("ttl a"), ":1000\r\n");
    node.encodings.list = crate::types::list::encoding::Limit::from_directive(-2);
    let large = "x".repeat(5000);
    node.run(&format!("lset a 0 {large}"));
    assert_eq!(encoding(&mut node), "listpack");
    node.run(&format!("rpush a {large}"));
    assert_eq!(encoding(&mut node), "quicklist");
    node.run("lset a 0 short");
    assert_eq!(encoding(&mut node), "quicklist");
    node.run("lset a -1 short");
    assert_eq!(encoding(&mut node), "listpack");
    assert_eq!(list(&mut node, "a"), "short 5 short");
}

#[test]
fn a_large_list_is_cut_and_its_rest_is_right() {
    let mut node = Node::new();
    let texts: Vec<String> = (0..5000).map(|n| format!("element:{n}")).collect();
    node.run(&format!("rpush a {}", texts.join(" ")));
    assert_eq!(node.changes("ltrim a 1000 1999"), 4000);
    assert_eq!(list(&mut node, "a"), texts[1000..2000].join(" "));
    assert_eq!(node.ask("lindex a -1"), "$12\r\nelement:1999\r\n");
    assert_eq!(node.ask("lpos a element:1500"), ":500\r\n");
    assert_eq!(node.changes("ltrim a 1 0"), 1000);
    assert_eq!(node.ask("exists a"), ":0\r\n");
}
