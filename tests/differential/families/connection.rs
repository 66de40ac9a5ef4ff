//! Connection commands, unknown commands, wrong numbers of arguments, and bytes that are no request.

use crate::common::conn::{Reply, encode};
use crate::generator::{Args, Compare, Family, Gen, Known, Rule, Step, rule, ruled, with, words};

pub const FAMILY: Family =
    Family { name: "connection", rules: RULES, special: Some((15, raw)), known: KNOWN, check_dumps: false };

const KNOWN: &[Known] = &[Known {
    reason: "HELLO looks at all of its options before it authenticates from Redis 7.2 on",
    matches: |args, redis, basalt| {
        args[0].eq_ignore_ascii_case(b"HELLO")
            && matches!(redis, Reply::Error(text) if text.starts_with(b"WRONGPASS"))
            && matches!(basalt, Reply::Error(text) if text.starts_with(b"ERR Syntax error in HELLO option"))
    },
}];

/// HELLO's reply but for what names the server and the connection.
fn anonymous_hello(reply: Reply) -> Reply {
    fn hide(items: &mut [(Reply, Reply)]) {
        for (name, value) in items {
            if matches!(name.text().as_str(), "version" | "id") {
                *value = Reply::Null;
            }
        }
    }
    match reply {
        Reply::Map(mut pairs) => {
            hide(&mut pairs);
            Reply::Map(pairs)
        }
        Reply::Array(items) => {
            let mut pairs: Vec<_> = items.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            hide(&mut pairs);
            Reply::Array(pairs.into_iter().flat_map(|(k, v)| [k, v]).collect())
        }
        other => other,
    }
}

/// Every command of the families so far, for wrong numbers of arguments.
const COMMANDS: [&str; 62] = [
    "APPEND",
    "BITCOUNT",
    "BITFIELD",
    "BITFIELD_RO",
    "BITOP",
    "BITPOS",
    "COPY",
    "DECR",
    "DECRBY",
    "DEL",
    "DUMP",
    "ECHO",
    "EXISTS",
    "EXPIRE",
    "EXPIREAT",
    "EXPIRETIME",
    "GET",
    "GETBIT",
    "GETDEL",
    "GETEX",
    "GETRANGE",
    "GETSET",
    "HELLO",
    "INCR",
    "INCRBY",
    "INCRBYFLOAT",
    "KEYS",
    "LCS",
    "MGET",
    "MOVE",
    "MSET",
    "MSETNX",
    "OBJECT",
    "PERSIST",
    "PEXPIRE",
    "PEXPIREAT",
    "PEXPIRETIME",
    "PING",
    "PSETEX",
    "PTTL",
    "RANDOMKEY",
    "RENAME",
    "RENAMENX",
    "RESTORE",
    "SCAN",
    "SELECT",
    "SET",
    "SETBIT",
    "SETEX",
    "SETNX",
    "SETRANGE",
    "STRLEN",
    "SUBSTR",
    "TOUCH",
    "TTL",
    "TYPE",
    "UNLINK",
    "AUTH",
    "CLIENT",
    "CONFIG",
    "COMMAND",
    "DBSIZE",
];

/// Commands whose reply to too few arguments is the arity error, whatever follows: those with none are asked with one too many.
fn wrong_arity(g: &mut Gen) -> Args {
    let command = g.rng.pick(&COMMANDS);
    match command {
        "RANDOMKEY" | "DBSIZE" => words(&format!("{command} a b")),
        "PING" => words("PING a b"),
        "HELLO" => words("HELLO 4 bogus"),
        "COMMAND" => words("COMMAND nosuch"),
        _ => {
            let mut args = vec![g.spelled(command)];
            // One argument is too few for most, and none that could be a valid request comes of it.
            if !matches!(
                command,
                "BITCOUNT"
                    | "BITFIELD"
                    | "BITFIELD_RO"
                    | "DECR"
                    | "DEL"
                    | "DUMP"
                    | "ECHO"
                    | "EXISTS"
                    | "EXPIRETIME"
                    | "GET"
                    | "GETDEL"
                    | "GETEX"
                    | "INCR"
                    | "KEYS"
                    | "MGET"
                    | "PERSIST"
                    | "PEXPIRETIME"
                    | "PTTL"
                    | "SCAN"
                    | "SELECT"
                    | "STRLEN"
                    | "TOUCH"
                    | "TTL"
                    | "TYPE"
                    | "UNLINK"
                    | "AUTH"
            ) && g.rng.chance(2)
            {
                args.push(b"one".to_vec());
            }
            args
        }
    }
}

fn unknown(g: &mut Gen) -> Args {
    let names: [&[u8]; 7] = [b"NOSUCH", b"get2", b"", b"bin\0\x01name", b"new\r\nline", b"SET ", &[b'n'; 200]];
    let mut args = vec![g.rng.pick(&names).to_vec()];
    for _ in 0..g.rng.below(25) {
        args.push(g.short_value());
    }
    args
}

fn client(g: &mut Gen) -> Args {
    const LINES: [&str; 31] = [
        "CLIENT GETNAME",
        "CLIENT SETNAME plain",
        "CLIENT NO-EVICT on",
        "CLIENT NO-EVICT off",
        "CLIENT NO-EVICT maybe",
        "CLIENT REPLY on",
        "CLIENT REPLY maybe",
        "CLIENT KILL nosuch",
        "CLIENT KILL 127.0.0.1:1",
        "CLIENT KILL ID 999999",
        "CLIENT KILL ID abc",
        "CLIENT KILL TYPE nosuch",
        "CLIENT KILL ADDR 1.2.3.4:5",
        "CLIENT KILL SKIPME maybe",
        "CLIENT KILL LADDR 1.2.3.4:5 SKIPME yes",
        "CLIENT KILL USER nobody",
        "CLIENT UNBLOCK 999999",
        "CLIENT UNBLOCK abc",
        "CLIENT UNBLOCK 999999 MAYBE",
        "CLIENT UNPAUSE",
        "CLIENT PAUSE abc",
        "CLIENT PAUSE -1",
        "CLIENT PAUSE 0 WRITE",
        "CLIENT PAUSE 0 BOGUS",
        "CLIENT LIST TYPE nosuch",
        "CLIENT LIST ID abc",
        "CLIENT LIST BOGUS x",
        "CLIENT GETREDIR",
        "CLIENT NOSUCH",
        "CLIENT ID a b",
        "CLIENT INFO a b",
    ];
    if g.rng.chance(8) {
        let name = g.short_value();
        return with(words("CLIENT SETNAME"), [name]);
    }
    words(g.rng.pick(&LINES))
}

fn hello(g: &mut Gen) -> Args {
    const LINES: [&str; 12] = [
        "HELLO",
        "HELLO 2",
        "HELLO 3",
        "HELLO 3 SETNAME named",
        "HELLO 2 SETNAME",
        "HELLO 4",
        "HELLO abc",
        "HELLO 3 AUTH default",
        "HELLO 3 AUTH nobody wrong",
        "HELLO 3 BOGUS",
        "HELLO 3 AUTH default anything SETNAME x",
        "HELLO 2 AUTH default pw BOGUS",
    ];
    words(g.rng.pick(&LINES))
}

/// A NUL byte in a line makes Redis wait for more until the line is too long; Basalt takes it as any other byte.
fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.retain(|byte| *byte != 0);
    bytes
}

fn raw(g: &mut Gen) -> Step {
    const PIECES: [&[u8]; 28] = [
        b"PING\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*-5\r\n",
        b"*1\r\n",
        b"*2\r\n$4\r\nECHO\r\n",
        b"$4\r\n",
        b"PING\r\n",
        b"*1\r\n$0\r\n\r\n",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$ 4\r\nPING\r\n",
        b"* 1\r\n",
        b"*+1\r\n",
        b"*01\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\n$4\nPING\n",
        b"SET a \"b\r\n",
        b"SET a 'b'c\r\n",
        b"ECHO \"\\x00\\xff\\n\\r\\t\\b\\a\\q\"\r\n",
        b"ECHO 'single \\' \\n'\r\n",
        b"ECHO \"a\"\"b\"\r\n",
        b"QUIT\r\n",
        b"quit now please\r\n",
        b"ECHO \x80\xff\r\n",
        b"\tPING\t\r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..g.count(4) {
        match g.rng.below(8) {
            0 => {
                let len = g.rng.below(30);
                let noise = g.rng.bytes(len);
                bytes.extend(without_nul(noise));
            }
            1 => bytes.extend(encode(&[b"ECHO".to_vec(), without_nul(g.short_value())])),
            _ => bytes.extend_from_slice(g.rng.pick(&PIECES)),
        }
    }
    Step::Raw(bytes)
}

const RULES: &[Rule] = &[
    rule(5, |_| words("PING")),
    rule(5, |g| {
        let value = g.value();
        with(words("PING"), [value])
    }),
    rule(5, |g| {
        let value = g.value();
        with(words("ECHO"), [value])
    }),
    ruled(8, Compare::Through(anonymous_hello), hello),
    rule(5, |g| {
        let db = if g.rng.chance(3) { g.int() } else { g.rng.below(16).to_string().into_bytes() };
        with(words("SELECT"), [db])
    }),
    rule(3, |_| words("RESET")),
    rule(3, |g| words(g.rng.pick(&["AUTH pw", "AUTH default pw", "AUTH nobody pw", "AUTH a b c"]))),
    rule(12, client),
    ruled(1, Compare::Kind, |g| {
        words(g.rng.pick(&["CLIENT ID", "CLIENT LIST", "CLIENT INFO", "CLIENT LIST TYPE normal"]))
    }),
    rule(10, wrong_arity),
    rule(8, unknown),
    rule(3, |g| {
        let (key, value) = (g.key(), g.value());
        with(words("SET"), [key, value])
    }),
    rule(3, |g| {
        let key = g.key();
        with(words("GET"), [key])
    }),
    rule(2, |g| {
        let count = g.count(3);
        let keys = g.keys(count);
        with(words("MGET"), keys)
    }),
    ruled(1, Compare::Within(2), |g| {
        let key = g.key();
        with(words("TTL"), [key])
    }),
];
