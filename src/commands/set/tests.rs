use crate::commands::testing::Node;
use crate::resp::Proto;
use crate::types::set::compact::Limits;

/// The members of a reply, sorted, and its first line.
fn members(reply: &str) -> (String, Vec<String>) {
    let mut lines = reply.split("\r\n");
    let head = lines.next().unwrap_or_default().to_owned();
    let mut found: Vec<String> = lines.skip(1).step_by(2).map(str::to_owned).collect();
    found.sort();
    (head, found)
}

fn sorted(node: &mut Node, line: &str) -> Vec<String> {
    members(&node.ask(line)).1
}

fn encoding(node: &mut Node, key: &str) -> String {
    node.ask(&format!("object encoding {key}")).split("\r\n").nth(1).unwrap_or("none").to_owned()
}

/// A node whose limits are soon met: 6 integers, 4 members of 8 bytes.
fn small() -> Node {
    let mut node = Node::new();
    node.encodings.set = Limits { intset_entries: 6, listpack_entries: 4, listpack_value: 8 };
    node
}

/// Adds so many members named with a prefix; without one they are integers.
fn fill(node: &mut Node, key: &str, prefix: &str, count: usize) {
    for i in 0..count {
        assert_eq!(node.ask(&format!("sadd {key} {prefix}{i}")), ":1\r\n");
    }
}

#[test]
fn members_come_and_go() {
    let mut node = Node::new();
    assert_eq!(node.ask("sadd s a b a 1"), ":3\r\n");
    assert_eq!(node.ask("sadd s a"), ":0\r\n");
    assert_eq!(node.ask("scard s"), ":3\r\n");
    assert_eq!(node.ask("sismember s a"), ":1\r\n");
    assert_eq!(node.ask("sismember s 01"), ":0\r\n");
    assert_eq!(node.ask("smismember s a x 1"), "*3\r\n:1\r\n:0\r\n:1\r\n");
    assert_eq!(node.ask("smismember none a x"), "*2\r\n:0\r\n:0\r\n");
    assert_eq!(sorted(&mut node, "smembers s"), ["1", "a", "b"]);
    assert_eq!(node.ask("srem s x a a 1"), ":2\r\n");
    assert_eq!(node.ask("srem s b c"), ":1\r\n");
    assert_eq!(node.ask("exists s"), ":0\r\n");
    for (line, reply) in [
        ("scard s", ":0\r\n"),
        ("sismember s a", ":0\r\n"),
        ("smembers s", "*0\r\n"),
        ("srem s a", ":0\r\n"),
        ("spop s", "$-1\r\n"),
        ("spop s 3", "*0\r\n"),
        ("srandmember s", "$-1\r\n"),
        ("srandmember s 3", "*0\r\n"),
        ("smove s d a", ":0\r\n"),
        ("sscan s 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("sinter s", "*0\r\n"),
        ("sintercard 1 s", ":0\r\n"),
    ] {
        assert_eq!(node.ask(line), reply, "{line}");
    }
}

#[test]
fn only_sets_are_taken() {
    let mut node = Node::new();
    node.run("set k v");
    node.run("sadd s a");
    for line in [
        "sadd k a",
        "scard k",
        "sdiff s k",
        "sdiffstore d none k",
        "sinter none k",
        "sinterstore d none k",
        "sintercard 2 none k",
        "sismember k a",
        "smembers k",
        "smismember k a",
        "smove k s a",
        "smove s k a",
        "spop k",
        "spop k 0",
        "srandmember k",
        "srandmember k 0",
        "srem k a",
        "sscan k 0",
        "sunion s k",
        "sunionstore d s k",
    ] {
        assert_eq!(node.ask(line), "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "{line}");
    }
    assert_eq!(node.ask("smove none k a"), ":0\r\n");
    assert_eq!(node.ask("exists d"), ":0\r\n");
    assert_eq!(node.ask("smembers s"), "*1\r\n$1\r\na\r\n");
}

/// Order of checks and texts: those of redis-server 7.0.15.
#[test]
fn arguments_are_refused_as_redis_does() {
    let mut node = Node::new();
    node.run("set k v");
    node.run("sadd s a");
    const RANGE: &str = "ERR value is out of range, must be positive";
    for (line, text) in [
        ("spop k -1", RANGE),
        ("spop k x", RANGE),
        ("spop k 1 2", "ERR syntax error"),
        ("srandmember k x", "ERR value is not an integer or out of range"),
        (
            "srandmember k -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("srandmember k 1 2", "ERR syntax error"),
        ("sintercard 0 k", "ERR numkeys should be greater than 0"),
        ("sintercard x k", "ERR numkeys should be greater than 0"),
        ("sintercard 2 k", "ERR Number of keys can't be greater than number of args"),
        ("sintercard 1 k limit", "ERR syntax error"),
        ("sintercard 1 k other 1", "ERR syntax error"),
        ("sintercard 1 k limit -1", "ERR LIMIT can't be negative"),
        ("sintercard 1 k limit x", "ERR LIMIT can't be negative"),
        ("sscan k x", "ERR invalid cursor"),
        ("sscan s 0 count 0", "ERR syntax error"),
        ("sscan s 0 novalues", "ERR NOVALUES option can only be used in HSCAN"),
    ] {
        assert_eq!(node.ask(line), format!("-{text}\r\n"), "{line}");
    }
    assert_eq!(node.ask("sscan none 0 nonsense"), "*2\r\n$1\r\n0\r\n*0\r\n");
}

#[test]
fn sets_are_combined() {
    for forms in [["1 2 3 4 5", "4 5 6", "5 6 7"], ["a b c 4 5", "4 5 6 x", "5 6 7 y"]] {
        for limits in [Limits::default(), Limits { intset_entries: 0, listpack_entries: 0, listpack_value: 0 }] {
            let mut node = Node::new();
            for (key, members) in ["a", "b", "c"].iter().zip(forms) {
                // The first in one form, the others perhaps in another.
                node.run(&format!("sadd {key} {members}"));
                node.encodings.set = limits;
            }
            assert_eq!(sorted(&mut node, "sinter a b"), ["4", "5"]);
            assert_eq!(sorted(&mut node, "sinter a b c"), ["5"]);
            assert!(sorted(&mut node, "sinter a b none").is_empty());
            assert_eq!(node.ask("sintercard 2 a b"), ":2\r\n");
            assert_eq!(node.ask("sintercard 2 a b limit 1"), ":1\r\n");
            assert_eq!(node.ask("sintercard 2 a b limit 0 LIMIT 5"), ":2\r\n");
            assert_eq!(sorted(&mut node, "sunion b c none b").len(), sorted(&mut node, "sunion c b").len());
            let keys = "b ".repeat(20);
            assert_eq!(sorted(&mut node, &format!("sunion {keys} c")), sorted(&mut node, "sunion c b"));
            assert_eq!(sorted(&mut node, "sdiff b a none"), sorted(&mut node, "sdiff b a"));
            assert!(sorted(&mut node, "sdiff b c").contains(&"4".to_owned()));
            assert!(!sorted(&mut node, "sdiff b c").contains(&"5".to_owned()));
            assert!(sorted(&mut node, "sdiff a b a").is_empty());
            assert!(sorted(&mut node, "sdiff none a").is_empty());
            for (store, plain) in [
                ("sinterstore d a b", "sinter a b"),
                ("sunionstore d a b c", "sunion a b c"),
                ("sdiffstore d a b", "sdiff a b"),
                ("sdiffstore d d b", "sdiff d b"),
            ] {
                let expected = sorted(&mut node, plain);
                assert_eq!(node.ask(store), format!(":{}\r\n", expected.len()), "{store}");
                assert_eq!(sorted(&mut node, "smembers d"), expected, "{store}");
            }
        }
    }
}

#[test]
fn what_is_stored_replaces_what_was_there() {
    let mut node = Node::new();
    node.run("sadd s a");
    node.run("set d text");
    node.run("expire d 100");
    assert_eq!(node.changes("sunionstore d s"), 1);
    assert_eq!(node.ask("ttl d"), ":-1\r\n");
    assert_eq!(node.ask("type d"), "+set\r\n");
    assert_eq!(node.changes("sinterstore d s none"), 1);
    assert_eq!(node.ask("exists d"), ":0\r\n");
    assert_eq!(node.changes("sdiffstore d none s"), 0);
    // A set keeps its expiry when it changes.
    node.run("expire s 100");
    node.run("sadd s b");
    assert_eq!(node.ask("ttl s"), ":100\r\n");
}

/// As `t_set.c` of Redis 7.2 has it.
#[test]
fn encodings_change_when_redis_changes_them() {
    let mut node = small();
    fill(&mut node, "n", "", 6);
    assert_eq!(encoding(&mut node, "n"), "intset");
    fill(&mut node, "m", "m", 4);
    assert_eq!(encoding(&mut node, "m"), "listpack");
    for (line, key, form) in [
        ("sadd n 6", "n", "hashtable"),
        ("sadd m m4", "m", "hashtable"),
        ("sadd l 123456789", "l", "intset"),
        ("sadd l a", "l", "hashtable"),
        ("sadd v ninechars", "v", "hashtable"),
        ("sadd i 1 2 3", "i", "intset"),
        ("sadd i a", "i", "listpack"),
        ("srem i a", "i", "listpack"),
        ("sadd j 1 2 3 4", "j", "intset"),
        ("sadd j a", "j", "hashtable"),
        // A table that is announced by the number of members.
        ("sadd h 1 1 1 1 1 1 1", "h", "hashtable"),
        ("sadd o a b", "o", "listpack"),
        ("sadd o a a a a c", "o", "hashtable"),
        ("smove n p 3", "p", "intset"),
        ("smove m q m3", "q", "listpack"),
        // Results begin as integers; intersections as what the smallest set is, and end as integers where they can.
        ("sunionstore r m", "r", "listpack"),
        ("sinterstore r m m", "r", "hashtable"),
        ("sadd t m0 m1", "t", "listpack"),
        ("sinterstore r t m", "r", "listpack"),
        ("sinterstore r h n", "r", "intset"),
        ("sadd e 1 2 x", "e", "listpack"),
        ("sinterstore r e n", "r", "intset"),
        ("sdiffstore r n none", "r", "intset"),
        // Few members of many sets are taken out of what was a copy of the first.
        ("sadd w 1 x", "w", "listpack"),
        ("sadd y x", "y", "listpack"),
        ("sdiffstore r w y", "r", "intset"),
        ("sadd f 1 2 3 x", "f", "listpack"),
        ("sdiffstore r f y none", "r", "intset"),
        ("sunionstore y2 y", "y2", "listpack"),
        ("sdiffstore r f y y2 y y2 y y2 y", "r", "listpack"),
        ("sadd g 1 2 3 4 5 x x x x x", "g", "hashtable"),
        ("sdiffstore r g y y2 y y2", "r", "hashtable"),
    ] {
        node.run(line);
        assert_eq!(encoding(&mut node, key), form, "{line}");
    }
}

#[test]
fn a_table_that_loses_most_members_by_chance_begins_anew() {
    let mut node = small();
    fill(&mut node, "s", "m", 20);
    node.run("spop s 10");
    assert_eq!(encoding(&mut node, "s"), "hashtable");
    node.run("spop s 9");
    assert_eq!(encoding(&mut node, "s"), "listpack");
    assert_eq!(node.ask("scard s"), ":1\r\n");
}

#[test]
fn members_by_chance() {
    for (prefix, count) in [("", 6), ("m", 4), ("m", 60)] {
        let mut node = small();
        fill(&mut node, "s", prefix, count);
        let all = sorted(&mut node, "smembers s");
        for wanted in [1, 2, 3, count / 4, count - 1, count, count + 10] {
            let (head, some) = members(&node.ask(&format!("srandmember s {wanted}")));
            assert_eq!(head, format!("*{}", wanted.min(count)));
            let mut distinct = some.clone();
            distinct.dedup();
            assert_eq!(distinct, some);
            assert!(some.iter().all(|member| all.contains(member)));
        }
        let (head, some) = members(&node.ask("srandmember s -200"));
        assert_eq!((head.as_str(), some.len()), ("*200", 200));
        let mut distinct = some;
        distinct.dedup();
        assert_eq!(distinct.len() > 1, count > 1);
        assert_eq!(node.ask("srandmember s 0"), "*0\r\n");
        assert!(node.ask("srandmember s").starts_with('$'));
        assert_eq!(node.ask("scard s"), format!(":{count}\r\n"));
    }
}

/// Each member is as likely as any other, about.
#[test]
fn chance_is_even() {
    for (prefix, count) in [("", 6), ("m", 4), ("m", 60)] {
        let mut node = small();
        fill(&mut node, "s", prefix, count);
        for command in
            ["srandmember s".to_owned(), format!("srandmember s {}", count / 2), "srandmember s 2".to_owned()]
        {
            let mut seen = std::collections::BTreeMap::<String, usize>::new();
            let mut total = 0;
            while total < 200 * count {
                let reply = node.ask(&command);
                let found = match reply.strip_prefix('$') {
                    Some(rest) => vec![rest.split("\r\n").nth(1).unwrap_or_default().to_owned()],
                    None => members(&reply).1,
                };
                total += found.len();
                found.into_iter().for_each(|member| *seen.entry(member).or_default() += 1);
            }
            assert_eq!(seen.len(), count);
            assert!(seen.values().all(|times| (100..330).contains(times)), "{command} of {count}: {seen:?}");
        }
    }
}

#[test]
fn popped_members_are_gone() {
    for (prefix, count) in [("", 6), ("m", 4), ("m", 60)] {
        for wanted in [1, count / 2, count - 1, count, count + 1] {
            let mut node = small();
            fill(&mut node, "s", prefix, count);
            let mut all = sorted(&mut node, "smembers s");
            let (head, popped) = members(&node.ask(&format!("spop s {wanted}")));
            assert_eq!(head, format!("*{}", wanted.min(count)));
            assert_eq!(popped.len(), wanted.min(count));
            all.retain(|member| !popped.contains(member));
            assert_eq!(sorted(&mut node, "smembers s"), all);
            assert_eq!(node.ask("exists s"), format!(":{}\r\n", u8::from(wanted < count)));
        }
        let mut node = small();
        fill(&mut node, "s", prefix, count);
        for left in (0..count).rev() {
            assert!(node.ask("spop s").starts_with('$'));
            assert_eq!(node.ask("scard s"), format!(":{left}\r\n"));
        }
        assert_eq!(node.ask("exists s"), ":0\r\n");
    }
}

#[test]
fn replies_of_resp3() {
    let mut node = Node::new();
    node.proto = Proto::Resp3;
    node.run("sadd s a");
    for (line, reply) in [
        ("smembers s", "~1\r\n$1\r\na\r\n"),
        ("sinter s s", "~1\r\n$1\r\na\r\n"),
        ("sinter s none", "~0\r\n"),
        ("sunion s s", "~1\r\n$1\r\na\r\n"),
        ("sdiff s none", "~1\r\n$1\r\na\r\n"),
        ("srandmember s 1", "*1\r\n$1\r\na\r\n"),
        ("srandmember s 5", "*1\r\n$1\r\na\r\n"),
        ("srandmember none", "_\r\n"),
        ("srandmember none 5", "*0\r\n"),
        ("sismember s a", ":1\r\n"),
        ("smismember s a", "*1\r\n:1\r\n"),
        ("spop s 0", "~0\r\n"),
        ("spop s 1", "~1\r\n$1\r\na\r\n"),
        ("spop s 1", "~0\r\n"),
        ("spop s", "_\r\n"),
    ] {
        assert_eq!(node.ask(line), reply, "{line}");
    }
}

#[test]
fn a_walk_passes_every_member() {
    for (prefix, count) in [("", 6), ("m", 4), ("m", 500)] {
        let mut node = small();
        fill(&mut node, "s", prefix, count);
        let (mut cursor, mut seen, mut calls) = ("0".to_owned(), std::collections::BTreeSet::new(), 0);
        loop {
            let reply = node.ask(&format!("sscan s {cursor} count 7"));
            let mut lines = reply.split("\r\n");
            cursor = lines.nth(2).unwrap_or_default().to_owned();
            seen.extend(lines.skip(2).step_by(2).map(str::to_owned));
            calls += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), count);
        assert!(calls <= count / 4 + 1, "{calls} calls");
        assert_eq!(members(&node.ask("sscan s 0 match nothing*")).1.len(), 2);
    }
}

#[test]
fn changes_are_counted_as_in_redis() {
    let mut node = Node::new();
    for (line, changes) in [
        ("sadd s a b c", 3),
        ("sadd s a b d", 1),
        ("sadd s a", 0),
        ("srem s a x", 1),
        ("smove s d b", 2),
        ("sadd s b", 1),
        ("smove s d b", 1),
        ("smove s d x", 0),
        ("smove s s c", 0),
        ("spop s", 1),
        ("spop s 0", 0),
        ("spop s 10", 1),
        ("sunionstore u d", 1),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

#[test]
fn replicas_are_told_what_was_popped() {
    let mut node = Node::new();
    node.run("sadd s a");
    assert_eq!(node.propagated("sadd s b"), ["sadd s b"]);
    assert_eq!(node.propagated("spop s 0"), [""; 0]);
    assert_eq!(node.propagated("spop s 10"), ["DEL s"]);
    node.run("sadd s a");
    assert_eq!(node.propagated("spop s"), ["SREM s a"]);
    let mut node = small();
    for (prefix, count) in [("", 6), ("m", 4), ("m", 60)] {
        for wanted in [2, count - 1] {
            node.run("del s");
            fill(&mut node, "s", prefix, count);
            let all = sorted(&mut node, "smembers s");
            let told = node.propagated(&format!("spop s {wanted}"));
            let [told] = &told[..] else { panic!("{told:?}") };
            let mut gone: Vec<String> = told.split(' ').skip(2).map(str::to_owned).collect();
            assert!(told.starts_with("SREM s ") && gone.len() == wanted, "{told}");
            gone.extend(sorted(&mut node, "smembers s"));
            gone.sort();
            assert_eq!(gone, all);
        }
    }
    node.run("del s");
    fill(&mut node, "s", "m", 3000);
    let told = node.propagated("spop s 2000");
    let lengths: Vec<usize> = told.iter().map(|command| command.split(' ').count() - 2).collect();
    assert_eq!(lengths, [1024, 976]);
}
