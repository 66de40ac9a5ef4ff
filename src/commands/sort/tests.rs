//! Replies are those of redis-server 7.0.15 to the same commands, where lists and sets can be made here.

use super::*;
use crate::commands::testing::Node;
use crate::types::Collection;

/// A node with a list of these elements at `l`.
fn with_list(elements: &[&str]) -> Node {
    let mut node = Node::new();
    node.put("l", |encodings| {
        let mut list = List::new(encodings.list_plain_ends);
        elements.iter().for_each(|element| list.push(Side::Back, element.as_bytes()));
        list.into_object()
    });
    node
}

fn bulks(reply: &str) -> String {
    reply
        .split("\r\n")
        .filter(|line| !line.starts_with(['*', '$']) || *line == "$-1")
        .collect::<Vec<_>>()
        .join(" ")
        .trim_end()
        .to_owned()
}

#[track_caller]
fn asks(node: &mut Node, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(bulks(&node.ask(line)), *expected, "{line}");
    }
}

#[test]
fn lists_by_themselves() {
    let mut node = with_list(&["3", "10", "-1", "2.5", "3", "1e1"]);
    asks(
        &mut node,
        &[
            ("sort l", "-1 2.5 3 3 10 1e1"),
            ("sort l desc", "1e1 10 3 3 2.5 -1"),
            ("sort l asc desc asc", "-1 2.5 3 3 10 1e1"),
            ("sort l alpha", "-1 10 1e1 2.5 3 3"),
            ("sort l alpha desc limit 1 2", "3 2.5"),
            ("sort l limit 1 2", "2.5 3"),
            ("sort l limit 4 100", "10 1e1"),
            ("sort l limit -3 2", "-1 2.5"),
            ("sort l limit 2 -1", "3 3 10 1e1"),
            ("sort l limit 2 0", ""),
            ("sort l limit 6 1", ""),
            ("sort l by nosort", "3 10 -1 2.5 3 1e1"),
            ("sort l by nosort desc", "1e1 3 2.5 -1 10 3"),
            ("sort l by nosort limit 1 3", "10 -1 2.5"),
            ("sort l by nosort desc limit 1 3", "3 2.5 -1"),
            ("sort l by nosort by w_*", "3 10 -1 2.5 3 1e1"),
            ("sort_ro l limit 0 1", "-1"),
            ("sort l get # get nothing limit 0 2", "-1 $-1 2.5 $-1"),
            ("sort none", ""),
        ],
    );
}

#[test]
fn values_elsewhere() {
    let mut node = with_list(&["1", "2", "3"]);
    for line in ["set w_1 30", "set w_2 20", "set w_3 10", "set o_1 one", "set o_3 three", "set x_2y between"] {
        node.run(line);
    }
    asks(
        &mut node,
        &[
            ("sort l by w_*", "3 2 1"),
            ("sort l by w_* desc", "1 2 3"),
            ("sort l by w_* get # get o_*", "3 three 2 $-1 1 one"),
            ("sort l by w_* get o_* limit 2 1", "one"),
            ("sort l get x_*y", "$-1 between $-1"),
            // What is missing counts as 0, or comes before every text.
            ("sort l by o_* alpha", "2 1 3"),
            ("sort l by none_* desc", "3 2 1"),
            ("sort l by none_*->field", "1 2 3"),
            ("sort l by w_*->", "1 2 3"),
            ("sort_ro l by w_* get w_*", "10 20 30"),
        ],
    );
    node.run("del w_3");
    node.run("sadd w_3 a");
    asks(&mut node, &[("sort l by w_*", "3 2 1"), ("sort l get w_*", "30 20 $-1")]);
}

#[test]
fn fields_of_hashes() {
    let mut node = with_list(&["1", "2", "3"]);
    for (key, weight) in [("h_1", "9"), ("h_2", "8"), ("h_3", "7")] {
        node.put(key, |_| {
            let mut hash = Hash::new();
            hash.load(b"weight", weight.as_bytes(), None);
            hash.into_object()
        });
    }
    asks(
        &mut node,
        &[
            ("sort l by h_*->weight", "3 2 1"),
            ("sort l by h_*->weight get h_*->weight get h_*->none get h_*", "7 $-1 $-1 8 $-1 $-1 9 $-1 $-1"),
        ],
    );
}

#[test]
fn sets_and_sorted_sets() {
    let mut node = Node::new();
    node.run("sadd s 3 1 2");
    node.put("z", |_| {
        let mut zset = zset::Zset::new();
        for (score, name) in [(1.0, "c"), (2.0, "b"), (3.0, "a")] {
            zset.insert(score, name.as_bytes());
        }
        zset.into_object()
    });
    asks(
        &mut node,
        &[
            ("sort s", "1 2 3"),
            ("sort s desc limit 0 2", "3 2"),
            ("sort z alpha", "a b c"),
            ("sort z by nosort", "c b a"),
            ("sort z by nosort desc", "a b c"),
            ("sort z by nosort limit 1 1", "b"),
            ("sort z by nosort desc limit 0 1", "a"),
        ],
    );
    node.run("sadd t b a c");
    assert_eq!(node.ask("sort t by nosort store d"), ":3\r\n");
    asks(&mut node, &[("sort d by nosort", "a b c")]);
}

#[test]
fn results_are_stored_as_lists() {
    let mut node = with_list(&["2", "1"]);
    node.run("set d text");
    node.run("expire d 100");
    assert_eq!(node.changes("sort l store d"), 2);
    assert_eq!(node.ask("type d"), "+list\r\n");
    assert_eq!(node.ask("ttl d"), ":-1\r\n");
    asks(&mut node, &[("sort d by nosort", "1 2")]);
    assert_eq!(node.ask("sort l store x store d get # get none_*"), ":4\r\n");
    assert_eq!(node.ask("exists x"), ":0\r\n");
    assert_eq!(node.ask("sort d by nosort"), "*4\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\n2\r\n$0\r\n\r\n");
    assert_eq!(node.propagated("sort l store d"), ["sort l store d"]);
    assert_eq!(node.changes("sort none store d"), 1);
    assert_eq!(node.ask("exists d"), ":0\r\n");
    assert_eq!(node.changes("sort none store d"), 0);
}

#[test]
fn calls_are_refused_as_redis_does() {
    let mut node = with_list(&["a", "1"]);
    node.run("set k v");
    for (line, text) in [
        ("sort l", "ERR One or more scores can't be converted into double"),
        ("sort l limit 0 0", "ERR One or more scores can't be converted into double"),
        ("sort l store d", "ERR One or more scores can't be converted into double"),
        ("sort k", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("sort k limit 1 x", "ERR value is not an integer or out of range"),
        ("sort k limit 1", "ERR syntax error"),
        ("sort k by", "ERR syntax error"),
        ("sort k get", "ERR syntax error"),
        ("sort k store", "ERR syntax error"),
        ("sort k other", "ERR syntax error"),
        ("sort_ro k store d", "ERR syntax error"),
    ] {
        assert_eq!(node.ask(line), format!("-{text}\r\n"), "{line}");
    }
}

#[test]
fn numbers_are_read_as_by_c() {
    for (text, value) in [
        ("", Some(0.0)),
        (" 1", Some(1.0)),
        ("\t0x10", Some(16.0)),
        ("-inf", Some(f64::NEG_INFINITY)),
        ("5\0junk", Some(5.0)),
        ("1 ", None),
        (" ", None),
        ("nan", None),
        ("1e400", None),
    ] {
        assert_eq!(number(text.as_bytes()), value, "{text:?}");
    }
}

#[test]
fn what_leads_elsewhere() {
    let leads = |line: &str| {
        let args: crate::resp::OwnedArgs = line.split(' ').collect();
        looks_elsewhere("sort", &args.args())
    };
    for line in ["sort k by w_*", "sort k get #  get w_*", "sort k get h_*->f"] {
        assert!(leads(&line.replace("  ", " ")), "{line}");
    }
    for line in ["sort k", "sort k by nosort", "sort k get # get a", "sort k by nosort by w_*", "sort k by w_* bogus"] {
        assert!(!leads(line), "{line}");
    }
}
