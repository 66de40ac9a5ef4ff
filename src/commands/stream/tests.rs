use crate::commands::testing::Node;
use crate::resp::Proto;

/// A stream `s` with entries 1-0 to 5-0.
fn node() -> Node {
    let mut node = Node::new();
    for ms in 1..=5 {
        node.run(&format!("XADD s {ms}-0 field {ms}"));
    }
    node
}

/// The same with a group `g` whose consumer `alice` has got the first three.
fn with_group() -> Node {
    let mut node = node();
    node.run("XGROUP CREATE s g 0");
    node.run("XREADGROUP GROUP g alice COUNT 3 STREAMS s >");
    node
}

const NOW: u64 = Node::START_MS;

#[test]
fn ids_from_the_clock_go_to_replicas_as_they_are() {
    let mut node = Node::new();
    assert_eq!(node.propagated("XADD s * a 1"), [format!("XADD s {NOW}-0 a 1")]);
    assert_eq!(node.propagated("XADD s * a 1"), [format!("XADD s {NOW}-1 a 1")]);
    assert_eq!(node.propagated(&format!("XADD s {NOW}-* a 1")), [format!("XADD s {NOW}-2 a 1")]);
    let given = format!("xadd s {NOW}-7 a 1");
    assert_eq!(node.propagated(&given), [given]);
    assert_eq!(node.propagated("XADD s NOMKSTREAM * a 1"), [format!("XADD s NOMKSTREAM {NOW}-8 a 1")]);
    assert_eq!(node.propagated("XADD none NOMKSTREAM * a 1"), [""; 0]);
    assert_eq!(node.ask("XADD none NOMKSTREAM * a 1"), "$-1\r\n");
}

#[test]
fn approximate_trims_go_to_replicas_as_exact_ones() {
    let mut node = Node::new();
    node.encodings.stream.max_entries = 2;
    for ms in 1..=5 {
        node.run(&format!("XADD s {ms}-0 a 1"));
    }
    assert_eq!(node.propagated("XADD s MAXLEN ~ 3 LIMIT 0 6-0 a 1"), ["XADD s MAXLEN = 4 6-0 a 1"]);
    assert_eq!(node.propagated("XTRIM s MINID ~ 6"), ["XTRIM s MINID = 5-0"]);
    assert_eq!(node.propagated("XTRIM s MAXLEN 1"), ["XTRIM s MAXLEN 1"]);
    assert_eq!(node.propagated("XADD s MAXLEN 1 * a 1"), [format!("XADD s MAXLEN = 1 {NOW}-0 a 1")]);
    assert_eq!(node.propagated("XTRIM s MAXLEN ~ 1"), [""; 0], "nothing was trimmed");
    assert_eq!(node.ask("XTRIM s MAXLEN 0"), ":1\r\n");
    assert_eq!(node.ask("EXISTS s"), ":1\r\n", "an empty stream stays");
}

/// What a Redis primary makes of its client's `~` and LIMIT.
#[test]
fn a_primary_may_give_a_limit_with_an_exact_trim() {
    let mut node = node();
    assert!(node.ask("XTRIM s MAXLEN = 2 LIMIT 10").starts_with("-ERR syntax error, LIMIT"));
    node.keyspace.set_expiry_mode(crate::keyspace::ExpiryMode::Ignored);
    assert_eq!(node.ask("XTRIM s MAXLEN = 2 LIMIT 10"), ":3\r\n");
}

#[test]
fn what_a_group_reads_goes_to_replicas_as_claims() {
    let mut node = node();
    node.run("XGROUP CREATE s g 0");
    let claim =
        |id: u64, last: u64| format!("XCLAIM s g alice 0 {id}-0 TIME {NOW} RETRYCOUNT 1 FORCE JUSTID LASTID {last}-0");
    assert_eq!(
        node.propagated("XREADGROUP GROUP g alice COUNT 2 STREAMS s >"),
        [
            "XGROUP CREATECONSUMER s g alice".to_owned(),
            claim(1, 1),
            claim(2, 2),
            "XGROUP SETID s g 2-0 ENTRIESREAD 2".to_owned()
        ]
    );
    assert_eq!(
        node.propagated("XREADGROUP GROUP g bob COUNT 1 NOACK STREAMS s >"),
        ["XGROUP CREATECONSUMER s g bob", "XGROUP SETID s g 3-0 ENTRIESREAD 3"]
    );
    assert_eq!(node.propagated("XREADGROUP GROUP g alice STREAMS s 0"), [""; 0], "what was delivered before");
    assert_eq!(node.changes("XREADGROUP GROUP g alice STREAMS s 0"), 1);
    node.run("XREADGROUP GROUP g alice STREAMS s >");
    assert_eq!(node.changes("XREADGROUP GROUP g alice STREAMS s >"), 0);
    assert_eq!(node.ask("XREADGROUP GROUP g alice STREAMS s >"), "*-1\r\n");
}

#[test]
fn claims_go_to_replicas_with_their_times() {
    let mut node = with_group();
    node.now_ms += 500;
    assert_eq!(
        node.propagated("XCLAIM s g bob 100 1-0 9-9 IDLE 50"),
        [
            "XGROUP CREATECONSUMER s g bob".to_owned(),
            format!("XCLAIM s g bob 0 1-0 TIME {} RETRYCOUNT 2 FORCE JUSTID LASTID 3-0", NOW + 450)
        ]
    );
    node.run("XDEL s 2-0");
    let told = node.propagated("XAUTOCLAIM s g bob 100 0 JUSTID");
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("XCLAIM s g alice 0 2-0 TIME"), "{told:?}");
    assert!(told[1].starts_with("XCLAIM s g bob 0 3-0 TIME"), "{told:?}");
    assert_eq!(node.propagated("XCLAIM s g bob 0 9-9 LASTID 4-0"), ["XGROUP SETID s g 4-0 ENTRIESREAD 3"]);
    assert_eq!(node.propagated("XCLAIM s g bob 0 9-9"), [""; 0]);
    assert_eq!(node.ask("XPENDING s g"), "*4\r\n:2\r\n$3\r\n1-0\r\n$3\r\n3-0\r\n*1\r\n*2\r\n$3\r\nbob\r\n$1\r\n2\r\n");
}

#[test]
fn the_last_entry() {
    let mut node = node();
    let entry = "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$5\r\nfield\r\n$1\r\n5\r\n";
    assert_eq!(node.ask("XREAD STREAMS s +"), entry);
    assert_eq!(node.ask("XREAD STREAMS s $"), "*-1\r\n");
    assert_eq!(node.ask("XREAD STREAMS none +"), "*-1\r\n");
    node.run("XDEL s 5-0");
    assert_eq!(node.ask("XREAD COUNT 3 STREAMS s +"), entry.replace('5', "4").replace("$4", "$5"));
    assert!(node.ask("XREADGROUP GROUP g c STREAMS s +").starts_with("-NOGROUP"));
    node.run("XGROUP CREATE s g 0");
    assert!(node.ask("XREADGROUP GROUP g c STREAMS s +").starts_with("-ERR The + ID is meaningless"));
}

#[test]
fn streams_in_resp3() {
    let mut node = node();
    node.proto = Proto::Resp3;
    assert!(node.ask("XREAD COUNT 1 STREAMS s 0").starts_with("%1\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-0\r\n"));
    assert_eq!(node.ask("XREAD STREAMS s $"), "_\r\n");
    assert!(node.ask("XINFO STREAM s").starts_with("%10\r\n$6\r\nlength\r\n:5\r\n"));
    node.run("XGROUP CREATE s g 0");
    assert!(node.ask("XINFO GROUPS s").starts_with("*1\r\n%6\r\n"));
    node.run("XREADGROUP GROUP g alice STREAMS s >");
    assert!(node.ask("XINFO CONSUMERS s g").starts_with("*1\r\n%4\r\n$4\r\nname\r\n$5\r\nalice\r\n"));
}

/// Redis 7.2 tells a consumer that tries from one that gets something.
#[test]
fn seen_and_active() {
    let mut node = with_group();
    let times = |node: &mut Node| {
        let text = node.ask("XINFO CONSUMERS s g");
        let after =
            |name: &str| text.split(&format!("{name}\r\n:")).nth(1).unwrap().split('\r').next().unwrap().to_owned();
        (after("idle"), after("inactive"))
    };
    node.now_ms += 70;
    assert_eq!(times(&mut node), ("70".to_owned(), "70".to_owned()));
    node.run("XREADGROUP GROUP g alice STREAMS s 0");
    assert_eq!(times(&mut node), ("0".to_owned(), "70".to_owned()));
    node.run("XGROUP DELCONSUMER s g alice");
    node.run("XGROUP CREATECONSUMER s g alice");
    assert_eq!(times(&mut node), ("0".to_owned(), "-1".to_owned()));
}

#[test]
fn events() {
    let mut node = Node::new();
    node.keyspace.changes.record(true);
    let mut seen = |line: &str| {
        node.run(line);
        let changes = node.keyspace.changes.take();
        let names = changes.iter().filter_map(|(change, _)| match change.what {
            crate::keyspace::What::Event(_, name) => Some(name),
            crate::keyspace::What::Modified => None,
        });
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(seen("XADD s 1-0 a 1"), "new xadd");
    assert_eq!(seen("XADD s MAXLEN 1 2-0 a 1"), "xadd xtrim");
    assert_eq!(seen("XGROUP CREATE s g 0"), "xgroup-create");
    assert_eq!(seen("XREADGROUP GROUP g alice STREAMS s >"), "xgroup-createconsumer");
    assert_eq!(seen("XACK s g 2-0"), "");
    assert_eq!(seen("XGROUP CREATECONSUMER s g alice"), "");
    assert_eq!(seen("XGROUP CREATECONSUMER s g bob"), "xgroup-createconsumer");
    assert_eq!(seen("XGROUP DELCONSUMER s g bob"), "xgroup-delconsumer");
    assert_eq!(seen("XGROUP SETID s g 0"), "xgroup-setid");
    assert_eq!(seen("XGROUP DESTROY s g"), "xgroup-destroy");
    assert_eq!(seen("XSETID s 5-0"), "xsetid");
    assert_eq!(seen("XTRIM s MAXLEN 5"), "");
    assert_eq!(seen("XDEL s 2-0"), "xdel");
    assert_eq!(seen("XGROUP CREATE t g $ MKSTREAM"), "new xgroup-create");
}
