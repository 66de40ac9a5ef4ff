use crate::commands::testing::Node;
use crate::keyspace::ExpiryMode;
use crate::resp::Proto;

/// Commands and their replies, `\r\n` written as blanks.
fn session(node: &mut Node, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        assert_eq!(node.ask(line).replace("\r\n", " ").trim_end(), *reply, "{line}");
    }
}

#[test]
fn fields_are_set_read_and_deleted() {
    let mut node = Node::new();
    session(
        &mut node,
        &[
            ("hset h a 1 b two a 3", ":2"),
            ("hget h a", "$1 3"),
            ("hget h c", "$-1"),
            ("hget nokey c", "$-1"),
            ("hmget h a c b", "*3 $1 3 $-1 $3 two"),
            ("hmget nokey a b", "*2 $-1 $-1"),
            ("hlen h", ":2"),
            ("hstrlen h b", ":3"),
            ("hstrlen h c", ":0"),
            ("hexists h b", ":1"),
            ("hexists h c", ":0"),
            ("hsetnx h b 5", ":0"),
            ("hsetnx h c 5", ":1"),
            ("hgetall h", "*6 $1 a $1 3 $1 b $3 two $1 c $1 5"),
            ("hkeys h", "*3 $1 a $1 b $1 c"),
            ("hvals h", "*3 $1 3 $3 two $1 5"),
            ("hgetall nokey", "*0"),
            ("hset h a", "-ERR wrong number of arguments for 'hset' command"),
            ("hset h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
            ("hmset h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
            ("hmset h d 1 e 2", "+OK"),
            ("hdel h d x e d", ":2"),
            ("hdel h a b c", ":3"),
            ("exists h", ":0"),
            ("hdel h a", ":0"),
            ("set s 1", "+OK"),
            ("hget s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("hset s a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("hdel s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ],
    );
    node.proto = Proto::Resp3;
    session(
        &mut node,
        &[("hset h a 1", ":1"), ("hgetall h", "%1 $1 a $1 1"), ("hgetall nokey", "%0"), ("hget h x", "_")],
    );
}

#[test]
fn increments() {
    let mut node = Node::new();
    session(
        &mut node,
        &[
            ("hincrby h n 5", ":5"),
            ("hincrby h n -7", ":-2"),
            ("hincrby h n x", "-ERR value is not an integer or out of range"),
            ("hset h t text", ":1"),
            ("hincrby h t 1", "-ERR hash value is not an integer"),
            ("hset h n 9223372036854775807", ":0"),
            ("hincrby h n 1", "-ERR increment or decrement would overflow"),
            ("hincrbyfloat h f 0.5", "$3 0.5"),
            ("hincrbyfloat h f 3.0e3", "$6 3000.5"),
            ("hincrbyfloat h t 1", "-ERR hash value is not a float"),
            ("hincrbyfloat h f x", "-ERR value is not a valid float"),
            ("hincrbyfloat h f inf", "-ERR value is NaN or Infinity"),
            ("hincrby nokey t y", "-ERR value is not an integer or out of range"),
            ("exists nokey", ":0"),
        ],
    );
    assert_eq!(node.propagated("hincrbyfloat h f 1"), ["HSET h f 3001.5"]);
    node.run("hexpire h 100 fields 1 f");
    assert_eq!(
        node.propagated("hincrbyfloat h f 1"),
        ["HSET h f 3002.5", "HPEXPIREAT h 1700000100000 FIELDS 1 f"],
        "HSET takes the expiry away"
    );
    assert_eq!(node.ask("httl h fields 1 f"), "*1\r\n:100\r\n");
}

#[test]
fn encodings() {
    let mut node = Node::new();
    let encoding = |node: &mut Node| node.ask("object encoding h").lines().nth(1).map(str::to_owned);
    let set = |node: &mut Node, fields: std::ops::Range<usize>| {
        for n in fields {
            node.run(&format!("hset h f{n} {n}"));
        }
    };
    set(&mut node, 0..512);
    assert_eq!(encoding(&mut node).as_deref(), Some("listpack"));
    node.run("hset h f0 x f1 y");
    assert_eq!((node.ask("hlen h"), encoding(&mut node).as_deref()), (":512\r\n".into(), Some("listpack")));
    set(&mut node, 512..513);
    assert_eq!(encoding(&mut node).as_deref(), Some("hashtable"));
    assert_eq!(node.ask("hget h f77"), "$2\r\n77\r\n");
    node.run(&format!("hdel h {}", (0..512).map(|n| format!("f{n} ")).collect::<String>()));
    assert_eq!((node.ask("hlen h"), encoding(&mut node).as_deref()), (":1\r\n".into(), Some("hashtable")));
    for (line, name) in [
        (format!("hset h f {}", "x".repeat(64)), "listpack"),
        (format!("hset h f {}", "x".repeat(65)), "hashtable"),
        (format!("hset h {} 1", "x".repeat(65)), "hashtable"),
        (format!("hsetnx h {} 1", "x".repeat(65)), "hashtable"),
        (format!("hincrby h {} 1", "x".repeat(65)), "hashtable"),
    ] {
        node.run("del h");
        node.run(&line);
        assert_eq!(encoding(&mut node).as_deref(), Some(name), "{line}");
    }
    node.run("del h");
    node.run("hset h a 1");
    node.run("hexpire h 100 fields 1 a");
    assert_eq!(encoding(&mut node).as_deref(), Some("listpackex"));
    node.run("hpersist h fields 1 a");
    assert_eq!(encoding(&mut node).as_deref(), Some("listpackex"));
}

#[test]
fn scans_and_random_fields() {
    let mut node = Node::new();
    session(
        &mut node,
        &[
            ("hset h a 1 b 2", ":2"),
            ("hscan h 0", "*2 $1 0 *4 $1 a $1 1 $1 b $1 2"),
            ("hscan h 0 match b* novalues", "*2 $1 0 *1 $1 b"),
            ("hscan nokey 0 bogus", "*2 $1 0 *0"),
            ("hscan h x", "-ERR invalid cursor"),
            ("hscan h 0 bogus", "-ERR syntax error"),
            ("hscan h 0 count 0", "-ERR syntax error"),
            ("hrandfield nokey", "$-1"),
            ("hrandfield nokey 5", "*0"),
            ("hrandfield h 0", "*0"),
            ("hrandfield h 5", "*2 $1 a $1 b"),
            ("hrandfield h 5 withvalues", "*4 $1 a $1 1 $1 b $1 2"),
            ("hrandfield h 5 bogus", "-ERR syntax error"),
            ("hrandfield h x", "-ERR value is not an integer or out of range"),
            ("hrandfield h 5 withvalues x", "-ERR syntax error"),
            ("hrandfield h -9223372036854775807 withvalues", "-ERR value is out of range"),
            (
                "hrandfield h -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
        ],
    );
    node.proto = Proto::Resp3;
    assert_eq!(node.ask("hrandfield h 5 withvalues"), "*2\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$1\r\nb\r\n$1\r\n2\r\n");
    node.proto = Proto::Resp2;
    assert!(node.ask("hrandfield h -100").starts_with("*100\r\n"));
    for n in 0..2000 {
        node.run(&format!("hset large f{n} {n}"));
    }
    for count in [1, 10, 600, 1000, 1999, 2000, 3000] {
        let reply = node.ask(&format!("hrandfield large {count}"));
        let mut fields: Vec<&str> = reply.lines().filter(|line| line.starts_with('f')).collect();
        let found = fields.len();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!((found, fields.len()), (count.min(2000), count.min(2000)));
    }
    let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeSet::new());
    loop {
        let reply = node.ask(&format!("hscan large {cursor} count 100 novalues"));
        seen.extend(reply.lines().filter(|line| line.starts_with('f')).map(str::to_owned));
        cursor = reply.lines().nth(2).expect("a cursor").to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 2000);
}

/// Both forms of a hash with the fields `a`, `b` and `c`.
fn both_forms(test: impl Fn(&mut Node)) {
    for large in [false, true] {
        let mut node = Node::new();
        if large {
            node.encodings.hash.max_fields = 2;
        }
        node.run("hset h a 1 b 2 c 3");
        test(&mut node);
    }
}

#[test]
fn fields_expire() {
    both_forms(|node| {
        session(
            node,
            &[
                ("hexpire h 10 fields 2 a x", "*2 :1 :-2"),
                ("hpexpire h 2500 fields 1 b", "*1 :1"),
                ("httl h fields 4 a b c x", "*4 :10 :3 :-1 :-2"),
                ("hpttl h fields 2 a b", "*2 :10000 :2500"),
                ("hexpiretime h fields 2 a b", "*2 :1700000010 :1700000003"),
                ("hpexpiretime h fields 3 b c x", "*3 :1700000002500 :-1 :-2"),
                ("httl nokey fields 2 a b", "*2 :-2 :-2"),
                ("hexpire nokey 10 fields 2 a b", "*2 :-2 :-2"),
                ("hpersist nokey fields 1 a", "*1 :-2"),
            ],
        );
        node.now_ms += 2500;
        session(node, &[("hget h b", "$1 2"), ("hlen h", ":3")]);
        node.now_ms += 1;
        session(
            node,
            &[
                ("hget h b", "$-1"),
                ("hexists h b", ":0"),
                ("hlen h", ":2"),
                ("hmget h a b c", "*3 $1 1 $-1 $1 3"),
                ("httl h fields 2 a b", "*2 :8 :-2"),
                ("hpersist h fields 3 a b c", "*3 :1 :-2 :-1"),
                ("hset h a 5", ":0"),
                ("hexpire h 10 fields 1 a", "*1 :1"),
                ("hset h a 6", ":0"),
                ("httl h fields 1 a", "*1 :-1"),
                ("hexpire h 10 fields 1 a", "*1 :1"),
                ("hincrby h a 1", ":7"),
                ("httl h fields 1 a", "*1 :10"),
                ("hexpire h 10 fields 1 c", "*1 :1"),
            ],
        );
        node.now_ms += 10_001;
        session(node, &[("hlen h", ":0"), ("exists h", ":0")]);
    });
}

#[test]
fn conditions_of_expiries() {
    both_forms(|node| {
        session(
            node,
            &[
                ("hexpire h 10 xx fields 1 a", "*1 :0"),
                ("hexpire h 10 gt fields 1 a", "*1 :0"),
                ("hexpire h 10 lt fields 1 a", "*1 :1"),
                ("hexpire h 20 nx fields 2 a b", "*2 :0 :1"),
                ("hexpire h 10 gt fields 2 a b", "*2 :0 :0"),
                ("hexpire h 11 GT fields 2 a b", "*2 :1 :0"),
                ("hexpire h 11 lt fields 2 a b", "*2 :0 :1"),
                ("hexpireat h 1700000100 xx FIELDS 3 a c x", "*3 :1 :0 :-2"),
                ("httl h fields 3 a b c", "*3 :100 :11 :-1"),
                ("hpexpireat h 1 fields 2 a a", "*2 :2 :-2"),
                ("hexpire h 0 nx fields 2 b c", "*2 :0 :2"),
                ("hkeys h", "*1 $1 b"),
            ],
        );
    });
}

#[test]
fn refusals() {
    const COUNT: &str = "-ERR The `numfields` parameter must match the number of arguments";
    const MISSING: &str = "-ERR Mandatory argument FIELDS is missing or not at the right position";
    const POSITIVE: &str = "-ERR Number of fields must be a positive integer";
    let mut node = Node::new();
    session(
        &mut node,
        &[
            ("set s 1", "+OK"),
            ("hset h a 1", ":1"),
            ("hexpire s x fields 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("hexpire h x fields 1 a", "-ERR value is not an integer or out of range"),
            ("hexpire h -1 fields 1 a", "-ERR invalid expire time, must be >= 0"),
            ("hexpire h 70368744178 fields 1 a", "-ERR invalid expire time in 'hexpire' command"),
            ("hpexpire h 70368744177664 fields 1 a", "-ERR invalid expire time in 'hpexpire' command"),
            ("hpexpireat h 70368744177664 fields 1 a", "-ERR invalid expire time in 'hpexpireat' command"),
            ("hpexpireat h 70368744177663 fields 1 a", "*1 :1"),
            ("hexpire h 9223372036854775807 fields 1 a", "-ERR invalid expire time in 'hexpire' command"),
            ("hexpire h 10 field 1 a", MISSING),
            ("hexpire h 10 nx xx fields 1 a", MISSING),
            ("hexpire h 10 fields 0 a", "-ERR Parameter `numFields` should be greater than 0"),
            ("hexpire h 10 fields a a", "-ERR Parameter `numFields` should be greater than 0"),
            ("hexpire h 10 fields 2 a", COUNT),
            ("hexpire h 10 nx fields 1", COUNT),
            ("httl s fields 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("httl h field 1 a", MISSING),
            ("httl h fields 0 a", POSITIVE),
            ("httl h fields 2 a", COUNT),
            ("hpersist h fields 9223372036854775808 a", POSITIVE),
            ("hpersist h fields 1 a b", COUNT),
            ("hgetdel h XFIELDX 1 a", MISSING),
            ("hgetdel h fields -1 a", POSITIVE),
            ("hgetdel h fields 2 a", COUNT),
            ("hgetex h ex 10 persist fields 1 a", MISSING),
            ("hgetex h ex -1 fields 1 a", "-ERR invalid expire time, must be >= 0"),
            ("hgetex h fields 0 a", POSITIVE),
            ("hgetex h px 10 fields 2 a", COUNT),
            ("hsetex h fields 0 a 1", "-ERR invalid number of fields"),
            ("hsetex h fields 2 a 1", "-ERR wrong number of arguments for 'hsetex' command"),
            ("hsetex h fields 1 a 1 b", "-ERR wrong number of arguments for 'hsetex' command"),
            ("hsetex h fxx fnx fields 1 a 1", "-ERR Only one of FXX or FNX arguments can be specified"),
            (
                "hsetex h ex 1 keepttl fields 1 a 1",
                "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
            ),
            ("hsetex h bogus fields 1 a 1", "-ERR unknown argument: bogus"),
            ("hsetex h ex x fields 1 a 1", "-ERR value is not an integer or out of range"),
            ("hsetex h ex -1 fields 1 a 1", "-ERR invalid expire time, must be >= 0"),
            ("hsetex s fields 1 a 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("hsetex s fxx keepttl fxx keepttl", "-ERR Only one of FXX or FNX arguments can be specified"),
        ],
    );
}

#[test]
fn values_and_expiries_at_once() {
    both_forms(|node| {
        session(
            node,
            &[
                ("hgetex h ex 10 fields 3 a x b", "*3 $1 1 $-1 $1 2"),
                ("httl h fields 3 a b c", "*3 :10 :10 :-1"),
                ("hgetex h fields 1 a", "*1 $1 1"),
                ("hgetex h persist fields 2 a c", "*2 $1 1 $1 3"),
                ("httl h fields 3 a b c", "*3 :-1 :10 :-1"),
                ("hgetex h pxat 1 fields 1 a", "*1 $1 1"),
                ("hgetex nokey persist fields 2 a b", "*2 $-1 $-1"),
                ("hmget h a b c", "*3 $-1 $1 2 $1 3"),
                ("hgetdel h fields 3 b b x", "*3 $1 2 $-1 $-1"),
                ("hgetdel nokey fields 1 b", "*1 $-1"),
                ("hsetex h fnx fields 2 c 5 d 6", ":0"),
                ("hsetex h fxx fields 2 c 5 d 6", ":0"),
                ("hsetex nokey fxx fields 1 c 5", ":0"),
                ("exists nokey", ":0"),
                ("hsetex h fnx ex 10 fields 2 d 5 e 6", ":1"),
                ("hsetex h fxx keepttl fields 2 d 7 c 8", ":1"),
                ("hmget h c d e", "*3 $1 8 $1 7 $1 6"),
                ("httl h fields 3 c d e", "*3 :-1 :10 :10"),
                ("hsetex h fields 1 d 8", ":1"),
                ("httl h fields 1 d", "*1 :-1"),
                ("hsetex h px 0 fields 2 d 9 f 1", ":1"),
                ("hlen h", ":2"),
                ("hgetdel h fields 2 c e", "*2 $1 8 $1 6"),
                ("exists h", ":0"),
                ("hsetex new exat 1 fields 1 f 1", ":1"),
                ("exists new", ":0"),
            ],
        );
    });
}

#[test]
fn what_replicas_are_told() {
    both_forms(|node| {
        for (line, told) in [
            ("hset h a 1 d 4", &["hset h a 1 d 4"][..]),
            ("hsetnx h a 1", &[]),
            ("hdel h d x", &["hdel h d x"]),
            ("hexpire h 10 nx fields 2 a x", &["HPEXPIREAT h 1700000010000 FIELDS 1 a"]),
            ("hpexpire h 7 gt fields 1 a", &[]),
            ("hpersist h fields 2 a b", &["hpersist h fields 2 a b"]),
            ("hpersist h fields 2 a b", &[]),
            ("hgetex h exat 1700000020 fields 2 a x", &["HPEXPIREAT h 1700000020000 FIELDS 1 a"]),
            ("hgetex h persist fields 2 a b", &["HPERSIST h FIELDS 1 a"]),
            ("hgetex h fields 2 a b", &[]),
            ("hgetex h ex 0 fields 2 a x", &["HDEL h a"]),
            ("hsetex h fnx fields 1 a 1", &["HSET h a 1"]),
            ("hsetex h ex 10 fields 2 a 1 d 2", &["HSET h a 1 d 2", "HPEXPIREAT h 1700000010000 FIELDS 2 a d"]),
            ("hsetex h keepttl fields 2 a 1 b 2", &["HSET h a 1 b 2", "HPEXPIREAT h 1700000010000 FIELDS 1 a"]),
            ("hsetex h pxat 1 fields 1 e 1", &["HDEL h e"]),
            ("hexpire h 0 fields 1 d", &["HDEL h d"]),
            ("hgetdel h fields 2 a x", &["HDEL h a x"]),
            ("hincrby h b 1", &["hincrby h b 1"]),
        ] {
            assert_eq!(node.propagated(line), told, "{line}");
        }
    });
}

#[test]
fn changes_count_as_in_redis() {
    let mut node = Node::new();
    for (line, changes) in [
        ("hset h a 1 b 2 a 3", 3),
        ("hsetnx h a 1", 0),
        ("hsetnx h c 1", 1),
        ("hincrby h n 1", 1),
        ("hincrbyfloat h n 1", 1),
        ("hexpire h 10 fields 3 a b x", 2),
        ("hpersist h fields 2 a b", 1),
        ("hdel h a x", 1),
        ("hget h b", 0),
        ("hgetdel h fields 2 b x", 1),
    ] {
        assert_eq!(node.changes(line), changes, "{line}");
    }
}

/// Events of a key so far, modifications left out.
fn events(node: &mut Node) -> Vec<&'static str> {
    let taken = node.keyspace.changes.take();
    let name = |what| if let crate::keyspace::What::Event(_, name) = what { Some(name) } else { None };
    taken.iter().filter_map(|(change, _)| name(change.what)).filter(|name| *name != "new").collect()
}

#[test]
fn events_are_those_of_redis() {
    both_forms(|node| {
        node.keyspace.changes.record(true);
        for (line, names) in [
            ("hset h a 1", &["hset"][..]),
            ("hdel h x", &[]),
            ("hincrby h a 1", &["hincrby"]),
            ("hincrbyfloat h a 1", &["hincrbyfloat"]),
            ("hexpire h 10 fields 2 a b", &["hexpire"]),
            ("hpersist h fields 1 a", &["hpersist"]),
            ("hexpire h 0 fields 1 a", &["hdel"]),
            ("hgetex h px 0 fields 1 b", &["hdel"]),
            ("hsetex h ex 1 fields 1 e 1", &["hset", "hexpire"]),
            ("hgetdel h fields 2 c e", &["hdel", "del"]),
            ("hsetex h px 0 fields 1 e 1", &["hset", "hdel", "del"]),
            ("hset h a 1", &["hset"]),
            ("hdel h a", &["hdel", "del"]),
            ("hsetex h px 1 fields 1 e 1", &["hset", "hexpire"]),
        ] {
            node.run(line);
            assert_eq!(events(node), names, "{line}");
        }
        node.now_ms += 2;
        assert_eq!(node.ask("hget h e"), "$-1\r\n");
        assert_eq!(events(node), ["hexpired", "del", "keymiss"]);
    });
}

fn removals(node: &mut Node) -> Vec<String> {
    let mut all = Vec::new();
    node.keyspace.removals.for_each_command(|_, words| {
        all.push(words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "));
    });
    node.keyspace.removals.clear();
    all
}

#[test]
fn fields_go_where_that_is_the_nodes_to_do() {
    both_forms(|node| {
        node.keyspace.log_removals(true);
        node.run("hpexpire h 10 fields 2 a b");
        node.now_ms += 11;
        node.keyspace.set_expiry_mode(ExpiryMode::Hidden);
        session(
            node,
            &[("hget h a", "$-1"), ("hgetall h", "*2 $1 c $1 3"), ("hlen h", ":3"), ("hrandfield h 5", "*1 $1 c")],
        );
        assert!(node.keyspace.expire_some(node.now_ms, 1000).complete);
        node.keyspace.set_expiry_mode(ExpiryMode::Ignored);
        session(
            node,
            &[("hget h a", "$1 1"), ("hincrby h b 5", ":7"), ("hlen h", ":3"), ("hexpire h 0 fields 1 c", "*1 :1")],
        );
        assert_eq!(removals(node), [""; 0]);
        node.keyspace.set_expiry_mode(ExpiryMode::Own);
        node.now_ms += 1;
        session(node, &[("hget h c", "$-1"), ("exists h", ":0")]);
        let told = removals(node);
        assert_eq!(told.len(), 1);
        let mut words: Vec<&str> = told[0].split(' ').collect();
        words[2..].sort_unstable();
        assert_eq!(words, ["HDEL", "h", "a", "b", "c"]);
    });
}

#[test]
fn the_active_cycle_takes_fields_out() {
    both_forms(|node| {
        node.run("hpexpire h 10 fields 1 a");
        node.run("hpexpire h 20 fields 2 b c");
        node.run("copy h other");
        node.run("rename h moved");
        node.run("hset gone a 1");
        node.run("hpexpire gone 10 fields 1 a");
        node.run("set gone 1");
        let progress = |node: &mut Node| {
            let progress = node.keyspace.expire_some(node.now_ms, 1000);
            (progress.fields, progress.complete)
        };
        assert_eq!(progress(node), (0, true));
        node.now_ms += 11;
        assert_eq!(progress(node), (2, true));
        assert_eq!(progress(node), (0, true));
        session(node, &[("hlen moved", ":2"), ("hlen other", ":2")]);
        node.now_ms += 10;
        assert_eq!(progress(node), (4, true));
        session(node, &[("exists moved other gone", ":1"), ("get gone", "$1 1")]);
    });
}

#[test]
fn many_expired_fields_go_in_steps() {
    let mut node = Node::new();
    for n in 0..3000 {
        node.run(&format!("hset h f{n} {n}"));
        node.run(&format!("hpexpire h {} fields 1 f{n}", 10 + n / 1000));
    }
    node.run("hset h stays 1");
    node.now_ms += 100;
    // More than one command takes out; what it names is gone in any case, and the rest is not seen.
    session(&mut node, &[("hincrby h f2999 1", ":1"), ("httl h fields 1 f2999", "*1 :-1"), ("hset h f2998 1", ":1")]);
    let keys = node.ask("hkeys h");
    assert!(keys.starts_with("*3\r\n") && keys.contains("stays"), "{keys}");
    assert!(!node.ask("hlen h").starts_with(":3\r\n"), "some are still there");
    let mut steps = 0;
    while !node.keyspace.expire_some(node.now_ms, 200).complete {
        steps += 1;
        assert!(steps < 100);
    }
    assert!(steps > 5, "{steps} steps, {}", node.ask("hlen h"));
    assert_eq!(node.ask("hlen h"), ":3\r\n");
    assert_eq!(node.keyspace.stats().expired_fields, 3000);
}

#[test]
fn dumps_keep_expiries() {
    both_forms(|node| {
        node.run("hpexpireat h 1700000050000 fields 1 b");
        let dump = node.run("dump h");
        let payload = &dump[dump.iter().position(|byte| *byte == b'\n').expect("a bulk") + 1..dump.len() - 2];
        let args = [b"restore".as_slice(), b"copy", b"0", payload].into_iter().collect();
        assert_eq!(node.run_args(&args), b"+OK\r\n");
        session(node, &[("hpexpiretime copy fields 3 a b c", "*3 :-1 :1700000050000 :-1"), ("hget copy a", "$1 1")]);
        node.now_ms += 50_001;
        assert_eq!(node.keyspace.expire_some(node.now_ms, 1000).fields, 2);
    });
}
