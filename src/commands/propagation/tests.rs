use super::*;
use crate::commands::testing::Node;

/// What redis-server 7.0.15 sends its replicas, times counted from [`Node::START_MS`]. `!` marks what only prepares. Where Basalt sends something else,
/// that comes behind, with the reason above.
const FORMS: &[(&str, &[&str])] = &[
    ("set k v", &["set k v"]),
    ("set k v ex 100", &["SET k v PXAT 1700000100000"]),
    ("set k v px 5", &["SET k v PXAT 1700000000005"]),
    ("set k v EXAT 4000000000", &["SET k v PXAT 4000000000000"]),
    ("set k v pxat 4000000000000", &["SET k v PXAT 4000000000000"]),
    ("set k v nx", &[]),
    ("set k v xx keepttl", &["set k v xx keepttl"]),
    ("set k v ex 100 xx get", &["SET k v PXAT 1700000100000"]),
    ("setnx k w", &[]),
    ("setnx kk w", &["setnx kk w"]),
    ("setex k 100 v", &["SET k v PXAT 1700000100000"]),
    ("psetex k 7 v", &["SET k v PXAT 1700000000007"]),
    ("getex k ex 100", &["PEXPIREAT k 1700000100000"]),
    ("getex k exat 4000000000", &["PEXPIREAT k 4000000000000"]),
    ("getex k persist", &["PERSIST k"]),
    ("getex k persist", &[]),
    ("getex k", &[]),
    ("getex k pxat 1", &["DEL k"]),
    ("!set k 1", &[]),
    ("getdel k", &["DEL k"]),
    ("getdel k", &[]),
    ("getset k 5", &["SET k 5"]),
    ("incr k", &["incr k"]),
    ("decrby k 3", &["decrby k 3"]),
    ("incrbyfloat k 1.5", &["SET k 4.5 KEEPTTL"]),
    ("expire k 100", &["PEXPIREAT k 1700000100000"]),
    ("pexpire k 100", &["PEXPIREAT k 1700000000100"]),
    ("expire k 100 nx", &[]),
    ("expireat k 4000000000", &["PEXPIREAT k 4000000000000"]),
    ("expire k -1", &["DEL k"]),
    ("!set k v", &[]),
    ("pexpireat k 1 xx", &[]),
    ("expireat k 1", &["DEL k"]),
    ("!set k v", &[]),
    ("persist k", &[]),
    ("!expire k 100", &[]),
    ("persist k", &["persist k"]),
    ("append k x", &["append k x"]),
    ("setrange k 3 yy", &["setrange k 3 yy"]),
    ("setrange k 3 \"\"", &[]),
    ("!set k abc", &[]),
    ("setbit k 4 1", &["setbit k 4 1"]),
    ("setbit k 4 1", &[]),
    ("bitfield k get u8 0", &[]),
    ("bitfield k set u8 0 1", &["bitfield k set u8 0 1"]),
    ("bitfield k set u8 0 1", &[]),
    ("bitfield k set u8 0 5 get u8 0 incrby u8 8 1", &["bitfield k set u8 0 5 get u8 0 incrby u8 8 1"]),
    ("bitop not d k", &["bitop not d k"]),
    ("bitop and d nokey", &["bitop and d nokey"]),
    ("bitop and d nokey", &[]),
    ("del a b", &[]),
    ("!mset a 1 b 1", &[]),
    ("del a b c", &["del a b c"]),
    ("!set a 1", &[]),
    ("unlink a c", &["unlink a c"]),
    ("!set a 1", &[]),
    ("rename a b", &["rename a b"]),
    ("!set a 1", &[]),
    ("renamenx a b", &[]),
    ("rename a a", &[]),
    ("copy a c", &["copy a c"]),
    ("copy a c", &[]),
    ("copy a c replace", &["copy a c replace"]),
    ("copy a c db 1", &["copy a c db 1"]),
    ("move a 1", &["move a 1"]),
    ("move a 2", &[]),
    ("mset x 1 y 2", &["mset x 1 y 2"]),
    ("msetnx x 1 z 2", &[]),
    ("msetnx q 1 z 2", &["msetnx q 1 z 2"]),
    ("touch q", &[]),
    (
        "restore r 0 \"\\x00\\x01v\\n\\x00\\x91\\x08\\xce\\xb2\\x198\\x8a\\xce\"",
        &["restore r 0 \"\\x00\\x01v\\n\\x00\\x91\\b\\xce\\xb2\\x198\\x8a\\xce\""],
    ),
    (
        "restore r 5 \"\\x00\\x01v\\n\\x00\\x91\\x08\\xce\\xb2\\x198\\x8a\\xce\" replace",
        &["restore r 1700000000005 \"\\x00\\x01v\\n\\x00\\x91\\b\\xce\\xb2\\x198\\x8a\\xce\" replace ABSTTL"],
    ),
    (
        "restore r 4000000000000 \"\\x00\\x01v\\n\\x00\\x91\\x08\\xce\\xb2\\x198\\x8a\\xce\" replace absttl",
        &["restore r 4000000000000 \"\\x00\\x01v\\n\\x00\\x91\\b\\xce\\xb2\\x198\\x8a\\xce\" replace absttl"],
    ),
    ("restore r 1 \"\\x00\\x01v\\n\\x00\\x91\\x08\\xce\\xb2\\x198\\x8a\\xce\" replace absttl", &["DEL r"]),
    ("restore r 1 \"\\x00\\x01v\\n\\x00\\x91\\x08\\xce\\xb2\\x198\\x8a\\xce\" replace absttl", &[]),
    ("!del z", &[]),
    ("zadd z 1 a 2 b 3 c 4 d", &["zadd z 1 a 2 b 3 c 4 d"]),
    ("zadd z nx 1 a", &[]),
    ("zadd z ch gt incr 2 a", &["zadd z ch gt incr 2 a"]),
    ("zincrby z 1.5 b", &["zincrby z 1.5 b"]),
    ("zincrby z 0 b", &[]),
    ("zpopmin z", &["zpopmin z"]),
    ("zpopmax z 1", &["zpopmax z 1"]),
    ("zpopmin z 0", &[]),
    ("zmpop 2 none z min", &["ZPOPMIN z 1"]),
    ("zmpop 1 z max count 10", &["ZPOPMAX z 1"]),
    ("zmpop 1 z max count 10", &[]),
    ("!zadd z 1 a 2 b 3 c 4 d", &[]),
    ("bzpopmin none z 0", &["ZPOPMIN z"]),
    ("bzpopmax z 0", &["ZPOPMAX z"]),
    ("bzmpop 0 1 z min count 5", &["ZPOPMIN z 2"]),
    ("!zadd z 1 a 2 b 3 c 4 d 5 e 6 f", &[]),
    ("zrem z a x", &["zrem z a x"]),
    ("zrem z x", &[]),
    ("zremrangebyrank z 0 0", &["zremrangebyrank z 0 0"]),
    ("zremrangebyscore z 3 3", &["zremrangebyscore z 3 3"]),
    ("zrangestore zd z 0 -1", &["zrangestore zd z 0 -1"]),
    ("zrangestore zd z 5 -1", &["zrangestore zd z 5 -1"]),
    ("zrangestore zd z 5 -1", &[]),
    ("zunionstore zd 2 z none", &["zunionstore zd 2 z none"]),
    ("zinterstore zd 2 z none", &["zinterstore zd 2 z none"]),
    (
        "geoadd g nx 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
        &["zadd g nx 3479099956230698 Palermo 3479447370796909 Catania"],
    ),
    ("geoadd g xx ch 13.3 38.1 Palermo", &["zadd g xx ch 3479076843417631 Palermo"]),
    ("georadius g 15 37 200 km store zd", &["georadius g 15 37 200 km store zd"]),
    ("georadiusbymember nokey Palermo 1 m storedist zd", &["georadiusbymember nokey Palermo 1 m storedist zd"]),
];

/// Where Basalt tells replicas the same in other words than Redis.
const OWN_FORMS: &[(&str, &[&str])] = &[
    // Redis drops the word GET alone: `set k v`, `set k v nx`. That a condition held here says all that a replica needs.
    ("set k v get", &["SET k v"]),
    ("set k w xx get", &["SET k w"]),
    ("set k v xx keepttl get", &["SET k v KEEPTTL"]),
    ("set n v nx get", &["SET n v"]),
    // Redis repeats the conditions: `PEXPIREAT k 1700000100000 nx`.
    ("expire k 100 nx", &["PEXPIREAT k 1700000100000"]),
    ("pexpireat k 4000000000000 gt", &["PEXPIREAT k 4000000000000"]),
    // Redis 7.0 has neither.
    ("set k v ifeq w", &[]),
    ("set k w ifeq v", &["SET k w"]),
    ("set k v ifeq w keepttl", &["SET k v KEEPTTL"]),
    ("set k v ifeq v get px 1", &["SET k v PXAT 1700000000001"]),
    ("delifeq k w", &[]),
    ("delifeq k v", &["DEL k"]),
];

#[test]
fn what_replicas_are_told() {
    for forms in [FORMS, OWN_FORMS] {
        let mut node = Node::new();
        for (line, expected) in forms {
            match line.strip_prefix('!') {
                Some(line) => drop(node.run(line)),
                None => assert_eq!(node.propagated(line), *expected, "{line}"),
            }
        }
    }
}

/// Every form does on a replica what the command did here.
#[test]
fn a_replica_that_executes_the_forms_has_the_same_data() {
    let everything = |node: &mut Node| -> Vec<String> {
        let keys = ["k", "kk", "n", "a", "b", "c", "d", "r", "x", "y", "z", "q", "zd", "g"];
        let both = (0..2).flat_map(|db| keys.map(|key| (db, key)));
        both.map(|(db, key)| {
            node.db = db;
            let said = node.ask(&format!("get {key}")) + &node.ask(&format!("pexpiretime {key}"));
            let said = said + &node.ask(&format!("zrange {key} 0 -1 withscores"));
            node.db = 0;
            said
        })
        .collect()
    };
    let (mut primary, mut replica) = (Node::new(), Node::new());
    for (line, _) in FORMS.iter().chain(OWN_FORMS) {
        for command in primary.propagated(line.trim_start_matches('!')) {
            replica.run(&command);
        }
        assert_eq!(everything(&mut primary), everything(&mut replica), "{line}");
    }
}

#[test]
fn several_commands_and_none() {
    let mut propagation = Propagation::default();
    assert!(propagation.begin(false).is_none());
    let taken = propagation.begin(true).expect("on");
    taken.push(&[b"DEL", b"a"]);
    taken.push_with_number(&[b"PEXPIREAT", b"b"], 7);
    assert_eq!(propagation.form(), Form::Instead);
    assert_eq!(
        propagation.commands(),
        (&b"*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*3\r\n$9\r\nPEXPIREAT\r\n$1\r\nb\r\n$1\r\n7\r\n"[..], 2)
    );
    propagation.begin(true).expect("on").nothing();
    assert_eq!((propagation.form(), propagation.commands()), (Form::Nothing, (&b""[..], 0)));
    propagation.begin(true);
    assert_eq!(propagation.form(), Form::Verbatim);
}
