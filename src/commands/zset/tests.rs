use crate::commands::testing::Node;
use crate::keyspace::Policy;
use crate::resp::Proto;
use crate::types::set::{Draft, Set};

/// Runs lines one after the other and compares the replies.
fn check(node: &mut Node, steps: &[(&str, &str)]) {
    for (line, expected) in steps {
        assert_eq!(node.ask(line), *expected, "{line}");
    }
}

/// A plain set, as SADD makes it.
fn add_set(node: &mut Node, key: &str, members: &[&str]) {
    let mut set = Draft::integers();
    members.iter().for_each(|member| assert!(set.add(member.as_bytes(), &node.encodings.set)));
    let policy = Policy::default();
    let mut keys = node.keyspace.view(0, node.now_ms, &policy);
    match set {
        Draft::Compact(bytes) => keys.set_packed::<Set>(key.as_bytes(), &bytes),
        Draft::Full(set) => keys.set_full(key.as_bytes(), set),
    }
}

const SYNTAX: &str = "-ERR syntax error\r\n";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

#[test]
fn changes_are_counted_as_redis_counts_them() {
    let mut node = Node::new();
    for (line, changes) in [
        ("zadd z 1 a 2 b 3 c", 3),
        ("zadd z 1 a", 0),
        ("zadd z xx 5 a 6 d", 1),
        ("zadd z nx 7 a 6 d", 1),
        ("zadd z gt 4 a", 0),
        ("zadd z lt 4 a", 1),
        ("zadd z incr 1 a", 1),
        ("zincrby z 0 a", 0),
        ("zrange z 0 -1", 0),
        ("zrem z a x", 1),
        ("zpopmin z 2", 2),
        ("zpopmax z", 1),
        ("zpopmax z", 0),
        ("zadd z 1 a 2 b 3 c 4 d 5 e", 5),
        ("zremrangebyrank z 0 1", 2),
        ("zremrangebyscore z 3 3", 1),
        ("zremrangebylex z - (e", 1),
        ("zrangestore d z 0 -1", 1),
        ("zunionstore d 1 z weights 2", 1),
        ("zinterstore d 2 z none", 1),
        ("zinterstore d 2 z none", 0),
        ("zmpop 2 none z max", 1),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
    assert_eq!(node.ask("exists z"), ":0\r\n", "nothing is left of it");
}

#[test]
fn small_sets_become_large_ones() {
    let mut node = Node::new();
    node.encodings.zset.entries = 4;
    node.encodings.zset.value = 5;
    let encoding = |node: &mut Node, key: &str| node.ask(&format!("object encoding {key}"));
    let (small, large) = ("$8\r\nlistpack\r\n", "$8\r\nskiplist\r\n");
    node.run("zadd z 1 a 2 b 3 c 4 d");
    assert_eq!(encoding(&mut node, "z"), small);
    node.run("zadd z 5 e");
    assert_eq!(encoding(&mut node, "z"), large);
    node.run("zremrangebyrank z 1 -1");
    assert_eq!(encoding(&mut node, "z"), large, "for good");
    node.run("zadd long 1 short");
    assert_eq!(encoding(&mut node, "long"), small);
    node.run("zincrby long 1 longer");
    assert_eq!(encoding(&mut node, "long"), large);
    // So many pairs would not fit, even if they are one.
    node.run("zadd pairs 1 a 1 a 1 a 1 a 1 a");
    assert_eq!((node.ask("zcard pairs"), encoding(&mut node, "pairs")), (":1\r\n".into(), large.into()));
    node.run("zadd more 1 a");
    node.run("zadd more 2 a 3 a 4 a 5 a 6 a");
    assert_eq!((node.ask("zscore more a"), encoding(&mut node, "more")), ("$1\r\n6\r\n".into(), large.into()));
    node.run("zrangestore d z 0 -1");
    node.run("zunionstore u 2 z long");
    assert_eq!((encoding(&mut node, "d"), encoding(&mut node, "u")), (small.into(), large.into()));
    // Long members that are not in the result do not count.
    node.run("zinterstore i 2 z u aggregate min");
    node.run("zdiffstore e 2 u long");
    assert_eq!((encoding(&mut node, "i"), encoding(&mut node, "e")), (small.into(), small.into()));
    node.encodings.zset.entries = 0;
    node.run("zadd none 1 a");
    assert_eq!(encoding(&mut node, "none"), large);
}

#[test]
fn ranks_with_scores() {
    let mut node = Node::new();
    for filler in [0, 200] {
        (0..filler).for_each(|n| drop(node.run(&format!("zadd z 9 filler:{n}"))));
        check(
            &mut node,
            &[
                ("zadd z ch 1 a 2.5 b", if filler == 0 { ":2\r\n" } else { ":0\r\n" }),
                ("zrank z b", ":1\r\n"),
                ("zrank z b withscore", "*2\r\n:1\r\n$3\r\n2.5\r\n"),
                ("zrank z x", "$-1\r\n"),
                ("zrank z x WITHSCORE", "*-1\r\n"),
                ("zrank none x withscore", "*-1\r\n"),
                ("zrank z b withscores", SYNTAX),
                ("zrank z b withscore x", "-ERR wrong number of arguments for 'zrank' command\r\n"),
                ("zrevrank z b withscore x", "-ERR wrong number of arguments for 'zrevrank' command\r\n"),
            ],
        );
        let last = if filler == 0 { ":1\r\n" } else { ":201\r\n" };
        assert_eq!(node.ask("zrevrank z a"), last);
    }
    node.proto = Proto::Resp3;
    check(&mut node, &[("zrank z b withscore", "*2\r\n:1\r\n,2.5\r\n"), ("zrank z x withscore", "_\r\n")]);
}

#[test]
fn members_with_scores_in_either_protocol() {
    let mut node = Node::new();
    node.run("zadd z 1 a 2 5");
    check(
        &mut node,
        &[
            ("zrange z 0 -1 withscores", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n5\r\n$1\r\n2\r\n"),
            ("zunion 1 z withscores", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n5\r\n$1\r\n2\r\n"),
            ("zrandmember z 5 withscores", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n5\r\n$1\r\n2\r\n"),
            ("zmpop 1 z min", "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("zpopmin z 1", "*2\r\n$1\r\n5\r\n$1\r\n2\r\n"),
            ("zpopmin z 1", "*0\r\n"),
            ("zmpop 1 z min", "*-1\r\n"),
        ],
    );
    node.run("zadd z 1 a 2 5 3 c");
    node.proto = Proto::Resp3;
    check(
        &mut node,
        &[
            (
                "zrange z 0 -1 rev withscores",
                "*3\r\n*2\r\n$1\r\nc\r\n,3\r\n*2\r\n$1\r\n5\r\n,2\r\n*2\r\n$1\r\na\r\n,1\r\n",
            ),
            (
                "zinter 2 z z withscores aggregate max",
                "*3\r\n*2\r\n$1\r\na\r\n,1\r\n*2\r\n$1\r\n5\r\n,2\r\n*2\r\n$1\r\nc\r\n,3\r\n",
            ),
            ("zpopmin z", "*2\r\n$1\r\na\r\n,1\r\n"),
            ("zpopmin z 1", "*1\r\n*2\r\n$1\r\n5\r\n,2\r\n"),
            ("bzpopmin z 0", "*3\r\n$1\r\nz\r\n$1\r\nc\r\n,3\r\n"),
            ("bzpopmin z 0", "_\r\n"),
            ("zscan z 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ],
    );
}

#[test]
fn plain_sets_among_the_sources() {
    let mut node = Node::new();
    add_set(&mut node, "numbers", &["1", "2", "3"]);
    add_set(&mut node, "words", &["a", "b", "2"]);
    node.run("zadd z 10 a 20 2 30 c");
    check(
        &mut node,
        &[
            (
                "zunion 2 numbers words withscores",
                "*10\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n3\r\n$1\r\n1\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n2\r\n",
            ),
            ("zinter 2 z words withscores", "*4\r\n$1\r\na\r\n$2\r\n11\r\n$1\r\n2\r\n$2\r\n21\r\n"),
            (
                "zinter 2 z words weights 2 -1 aggregate min withscores",
                "*4\r\n$1\r\n2\r\n$2\r\n-1\r\n$1\r\na\r\n$2\r\n-1\r\n",
            ),
            ("zdiff 2 z words withscores", "*2\r\n$1\r\nc\r\n$2\r\n30\r\n"),
            ("zdiff 2 words z", "*1\r\n$1\r\nb\r\n"),
            ("zintercard 2 z words", ":2\r\n"),
            ("zintercard 2 z words limit 1", ":1\r\n"),
            ("zintercard 1 z limit 2", ":2\r\n"),
            ("zintercard 2 z words limit -1", "-ERR LIMIT can't be negative\r\n"),
            ("zunionstore numbers 1 words", ":3\r\n"),
            ("type numbers", "+zset\r\n"),
            ("zcard words", WRONG_TYPE),
            ("set s x", "+OK\r\n"),
            ("zunion 2 z s", WRONG_TYPE),
            ("zunion 0 z", "-ERR at least 1 input key is needed for 'zunion' command\r\n"),
            ("zinterstore d 0 z", "-ERR at least 1 input key is needed for 'zinterstore' command\r\n"),
            ("zunion 3 z s", SYNTAX),
        ],
    );
}

#[test]
fn a_stored_result_has_no_expiry() {
    let mut node = Node::new();
    node.run("zadd z 1 a");
    for line in ["zrangestore d z 0 -1", "zunionstore d 1 z", "geosearchstore d z frommember a byradius 1 m"] {
        node.run("setex d 100 x");
        assert_eq!(node.ask(line), ":1\r\n", "{line}");
        check(&mut node, &[("ttl d", ":-1\r\n"), ("zrange d 0 -1", "*1\r\n$1\r\na\r\n")]);
    }
    node.run("expire z 100");
    node.run("zadd z 2 b");
    assert_eq!(node.ask("ttl z"), ":100\r\n", "a change keeps it");
}

#[test]
fn what_zadd_refuses() {
    let mut node = Node::new();
    check(
        &mut node,
        &[
            ("zadd z nx xx 1 a", "-ERR XX and NX options at the same time are not compatible\r\n"),
            ("zadd z gt nx 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible\r\n"),
            ("zadd z gt lt 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible\r\n"),
            ("zadd z incr 1 a 2 b", "-ERR INCR option supports a single increment-element pair\r\n"),
            ("zadd z 1 a 2", SYNTAX),
            ("zadd z nx ch", SYNTAX),
            ("zadd z 1 a x b", "-ERR value is not a valid float\r\n"),
            ("zadd z nan a", "-ERR value is not a valid float\r\n"),
            ("exists z", ":0\r\n"),
            ("zadd z inf a", ":1\r\n"),
            ("zincrby z -inf a", "-ERR resulting score is not a number (NaN)\r\n"),
            ("zadd z incr nx 1 a", "$-1\r\n"),
            ("zadd z incr xx 1 b", "$-1\r\n"),
            ("zadd z -0 b", ":1\r\n"),
            ("zscore z b", "$1\r\n0\r\n"),
            ("zadd z ch 0 b", ":0\r\n"),
        ],
    );
}

#[test]
fn random_members_are_different_unless_they_may_repeat() {
    let mut node = Node::new();
    for size in [20, 300] {
        let members: Vec<String> = (0..size).map(|n| format!("1 m{n}")).collect();
        node.run(&format!("zadd z {}", members.join(" ")));
        for count in [1, 5, size - 1, size, size + 7] {
            let reply = node.ask(&format!("zrandmember z {count}"));
            let mut names: Vec<&str> = reply.lines().filter(|line| line.starts_with('m')).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count.min(size), "{count} of {size}");
        }
        assert!(node.ask("zrandmember z -1000").starts_with("*1000\r\n"));
        assert!(node.ask("zrandmember z -3 withscores").starts_with("*6\r\n"));
    }
    check(
        &mut node,
        &[
            ("zrandmember none", "$-1\r\n"),
            ("zrandmember none 5", "*0\r\n"),
            ("zrandmember z 0", "*0\r\n"),
            ("zrandmember z 1 x", SYNTAX),
            ("zrandmember z 9223372036854775807 withscores", "-ERR value is out of range\r\n"),
        ],
    );
}

#[test]
fn a_scan_sees_everything() {
    let mut node = Node::new();
    check(
        &mut node,
        &[
            ("zadd z 0.1 a 1e30 b", ":2\r\n"),
            ("zscan z 0 count 1", "*2\r\n$1\r\n0\r\n*4\r\n$1\r\na\r\n$3\r\n0.1\r\n$1\r\nb\r\n$5\r\n1e+30\r\n"),
            ("zscan z 0 match b*", "*2\r\n$1\r\n0\r\n*2\r\n$1\r\nb\r\n$5\r\n1e+30\r\n"),
            ("zscan z x", "-ERR invalid cursor\r\n"),
            ("zscan z 0 bogus", SYNTAX),
            ("zscan none 0 bogus", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ],
    );
    (0..500).for_each(|n| drop(node.run(&format!("zadd z 0.1 member:{n}"))));
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = node.ask(&format!("zscan z {cursor} match member:* count 20"));
        assert!(!reply.contains("\r\n0.1\r\n"), "17 digits: {reply}");
        seen.extend(reply.lines().filter(|line| line.starts_with("member:")).map(str::to_owned));
        cursor = reply.lines().nth(2).expect("a cursor").to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
}

#[test]
fn memory_usage_and_copies_of_large_sets() {
    let mut node = Node::new();
    (0..1000).for_each(|n| drop(node.run(&format!("zadd z {n} member:{n}"))));
    let bytes: u64 = node.ask("memory usage z").trim_start_matches(':').trim().parse().expect("a number");
    assert!((20_000..100_000).contains(&bytes), "{bytes}");
    node.run("copy z c");
    node.run("zremrangebyrank z 0 899");
    node.run("zincrby z 0.5 member:950");
    check(&mut node, &[("zcard z", ":100\r\n"), ("zcard c", ":1000\r\n"), ("zscore c member:950", "$3\r\n950\r\n")]);
}
