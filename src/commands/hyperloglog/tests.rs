use crate::commands::testing::Node;

/// Commands and their replies, `\r\n` written as blanks.
fn session(node: &mut Node, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        assert_eq!(node.ask(line).replace("\r\n", " ").trim_end(), *reply, "{line}");
    }
}

#[test]
fn counts_and_merges() {
    let mut node = Node::new();
    session(
        &mut node,
        &[
            ("pfadd k a b c", ":1"),
            ("pfadd k a b", ":0"),
            ("pfadd k", ":0"),
            ("pfcount k", ":3"),
            ("pfadd empty", ":1"),
            ("pfcount empty", ":0"),
            ("pfcount nokey", ":0"),
            ("pfadd l c d", ":1"),
            ("pfcount k l nokey", ":4"),
            ("pfmerge m k l", "+OK"),
            ("pfcount m", ":4"),
            ("object encoding empty", "$3 raw"),
            ("pfdebug encoding m", "+sparse"),
            ("pfdebug todense m", ":1"),
            ("pfdebug todense m", ":0"),
            ("pfdebug encoding m", "+dense"),
            ("pfdebug decode m", "-ERR HLL encoding is not sparse"),
            ("pfadd m a", ":0"),
            ("pfadd m e", ":1"),
            ("pfcount m", ":5"),
            ("pfdebug bogus m", "-ERR Unknown PFDEBUG subcommand 'bogus'"),
            ("pfdebug encoding nokey", "-ERR The specified key does not exist"),
            ("pfselftest", "+OK"),
        ],
    );
    let registers = node.ask("pfdebug getreg k");
    assert!(registers.starts_with("*16384\r\n") && registers.matches(":0\r\n").count() == 16384 - 3);
}

#[test]
fn other_values_are_refused() {
    let mut node = Node::new();
    session(
        &mut node,
        &[
            ("set s text", "+OK"),
            ("set n 5", "+OK"),
            ("hset h f v", ":1"),
            ("pfadd s a", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
            ("pfadd n a", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
            ("pfcount s", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
            ("pfmerge d s", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
            ("pfadd h a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("pfcount h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("exists d", ":0"),
        ],
    );
}

#[test]
fn changes_and_what_replicas_are_told() {
    let mut node = Node::new();
    for (line, changes) in [
        ("pfadd k a b", 3),
        ("pfadd k a c", 1),
        ("pfadd k a c", 0),
        ("pfcount k", 1),
        ("pfcount k", 0),
        ("pfcount k k", 0),
        ("pfmerge k k", 1),
        ("pfdebug getreg k", 1),
        ("pfdebug getreg k", 0),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
    assert_eq!(node.propagated("pfcount k"), ["pfcount k"]);
    assert_eq!(node.propagated("pfcount k"), [""; 0]);
    assert_eq!(node.propagated("pfadd k z"), ["pfadd k z"]);
}

#[test]
fn a_value_keeps_its_expiry_and_grows_dense() {
    let mut node = Node::new();
    node.run("pfadd k a");
    node.run("expire k 100");
    for n in 0..3000 {
        node.run(&format!("pfadd k element:{n}"));
    }
    session(&mut node, &[("ttl k", ":100"), ("pfdebug encoding k", "+dense"), ("strlen k", ":12304")]);
}
