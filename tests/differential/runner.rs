//! Drives both servers through a script, compares, and shrinks what fails.

use crate::common::conn::{Conn, Reply, encode, escape};
use crate::common::server::exchange;
use crate::common::{Rng, Server, seed};
use crate::families::set::is_newer_encoding;
use crate::generator::{Args, Compare, Family, Gen, Known, Step};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

const DEFAULT_COMMANDS: usize = 20_000;
const PIPELINE: usize = 50;
/// A pipeline is written before any of its replies is read, so it must fit into socket buffers.
const PIPELINE_BYTES: usize = 32 * 1024;
/// The smallest limit of string lengths there is, so that scripts meet it without building strings of 512 MB.
const LONGEST_STRING: &str = "1mb";
/// The data sets are compared after so many steps.
const CHECKPOINT: usize = 2_000;
/// The most replays that shrinking a failure may take.
const SHRINK_REPLAYS: usize = 400;
/// As much of a reply as a report shows.
const SHOWN_CHARS: usize = 2_000;
const DATABASES: usize = 16;
/// Two clocks read in two processes, one after another.
const CLOCK_SLACK_MS: i64 = 5_000;

/// One server and the connection that the script runs on.
struct Side {
    name: &'static str,
    server: Server,
    conn: Conn,
    /// The other connection, of `Step::Aside` and `Step::Publish`.
    aside: Conn,
}

impl Side {
    fn new(name: &'static str, server: Server) -> Side {
        let (conn, aside) = (server.conn(), server.conn());
        Side { name, server, conn, aside }
    }

    /// Back to an empty server and a fresh connection.
    fn start_over(&mut self) {
        (self.conn, self.aside) = (self.server.conn(), self.server.conn());
        self.conn.ok("FLUSHALL");
        self.conn.ok("CONFIG RESETSTAT");
        self.conn.ok("CONFIG SET maxmemory 0 slowlog-max-len 128 slowlog-log-slower-than -1 timeout 0 hz 10 maxmemory-policy noeviction");
        self.conn.ok(&format!("CONFIG SET proto-max-bulk-len {LONGEST_STRING}"));
    }

    /// One command on the other connection.
    fn ask_aside(&mut self, args: &Args) -> Result<Reply, String> {
        self.aside.send(args).and_then(|()| self.aside.read()).map_err(|e| format!("{}: {e}", self.name))
    }

    /// One command, and all that comes back before the answer to a PING behind it.
    fn talk(&mut self, args: &Args) -> Result<Vec<Reply>, String> {
        const MARK: &[u8] = b"that was all";
        let mut bytes = encode(args);
        bytes.extend(encode(&[b"PING", MARK]));
        self.conn.send_raw(&bytes).map_err(|e| format!("sending to {}: {e}", self.name))?;
        let mut heard = Vec::new();
        loop {
            let reply = self.reply()?;
            let marks = |reply: &Reply| *reply == Reply::Bulk(MARK.to_vec());
            // As a reply of its own, or behind `pong` where only messages go.
            if marks(&reply) || matches!(&reply, Reply::Array(items) if items.len() == 2 && marks(&items[1])) {
                return Ok(heard);
            }
            heard.push(reply);
        }
    }

    /// So many messages, in an order that does not depend on how a server keeps its patterns.
    fn messages(&mut self, count: i64) -> Result<Reply, String> {
        let heard = (0..count).map(|_| self.reply()).collect::<Result<Vec<_>, _>>()?;
        Ok(sorted(&Reply::Array(heard)))
    }

    /// A reply, or what became of the connection instead.
    fn reply(&mut self) -> Result<Reply, String> {
        self.conn.read().map_err(|e| format!("{}: {e}", self.name))
    }
}

struct Pair {
    redis: Side,
    basalt: Side,
    /// How often each meant difference was met.
    forgiven: BTreeMap<&'static str, usize>,
}

struct Mismatch {
    /// The step it was seen at; a difference of state belongs to the last step before it.
    step: usize,
    what: String,
}

pub fn run(family: &Family, shards: usize) {
    let commands = match std::env::var("BASALT_DIFF_COMMANDS") {
        Ok(text) => text.parse().expect("BASALT_DIFF_COMMANDS must be a number"),
        Err(_) => DEFAULT_COMMANDS,
    };
    let seed = seed();
    let debug = ["--enable-debug-command", "yes"];
    let mut pair = Pair {
        redis: Side::new("redis", Server::redis(&debug)),
        basalt: Side::new("basalt", Server::basalt(&[debug[0], debug[1], "--shards", &shards.to_string()])),
        forgiven: BTreeMap::new(),
    };
    pair.start_over();
    let payloads = payloads(&mut pair.redis.conn);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as i64;
    let mut make = Gen::new(Rng::new(seed), payloads, now_ms);
    let script: Vec<Step> = (0..commands).map(|_| family.step(&mut make)).collect();
    let all: Vec<&Step> = script.iter().collect();

    pair.start_over();
    if let Err(found) = pair.replay(family, &all) {
        let first = found.what.clone();
        let (shortest, what) = shrink(&mut pair, family, &all[..=found.step], found.what);
        panic!(
            "{} with {shards} shards, seed {seed}, step {} of {commands}: {first}\nshortest script found, where {what} ({} steps):\n{}",
            family.name,
            found.step,
            shortest.len(),
            shortest.iter().map(|step| show(step)).collect::<Vec<_>>().join("\n")
        );
    }
    for (reason, times) in &pair.forgiven {
        println!("{times} times a known difference: {reason}");
    }
    pair.redis.server.assert_healthy();
    pair.basalt.server.assert_healthy();
}

/// DUMP payloads of strings of every encoding, and some that are damaged.
fn payloads(redis: &mut Conn) -> Vec<Vec<u8>> {
    let long = "compressible ".repeat(100);
    let values = ["", "1", "-129", "70000", "5000000000", "9223372036854775807", "plain text", &"x".repeat(70), &long];
    let mut payloads: Vec<Vec<u8>> = values
        .iter()
        .map(|value| {
            redis.argv(&["SET", "payload", value]);
            redis.cmd("DUMP payload").bytes()
        })
        .collect();
    redis.cmd("DEL payload");
    let mut damaged = payloads[6].clone();
    damaged[3] ^= 1;
    payloads.push(damaged);
    let mut newer = payloads[6].clone();
    let version = newer.len() - 10;
    newer[version] = 0xff;
    payloads.push(newer);
    payloads.push(payloads[8][..20].to_vec());
    payloads.push(Vec::new());
    payloads.push(b"junk".to_vec());
    payloads
}

/// How many of the next steps go out together: none if the first is not a plain command.
fn pipeline_len(steps: &[&Step]) -> usize {
    let mut bytes = 0;
    let fits = |step: &&&Step| match step {
        Step::Command(args, _) => {
            let first = bytes == 0;
            bytes += args.iter().map(|arg| arg.len() + 16).sum::<usize>();
            first || bytes < PIPELINE_BYTES
        }
        _ => false,
    };
    steps.iter().take(PIPELINE).take_while(fits).count()
}

impl Pair {
    fn start_over(&mut self) {
        self.redis.start_over();
        self.basalt.start_over();
    }

    fn replay(&mut self, family: &Family, script: &[&Step]) -> Result<(), Mismatch> {
        let mut at = 0;
        let mut checked = 0;
        while at < script.len() {
            let run = pipeline_len(&script[at..]);
            if run > 0 {
                self.commands(family, &script[at..at + run], at)?;
                at += run;
            } else {
                self.special(family, script[at]).map_err(|what| Mismatch { step: at, what })?;
                at += 1;
            }
            if at - checked >= CHECKPOINT || at == script.len() {
                self.same_digest().map_err(|what| Mismatch { step: at - 1, what })?;
                checked = at;
            }
        }
        let last = script.len().saturating_sub(1);
        self.same_state(family).map_err(|what| Mismatch { step: last, what })
    }

    fn commands(&mut self, family: &Family, steps: &[&Step], first: usize) -> Result<(), Mismatch> {
        let commands: Vec<(&Args, Compare)> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Command(args, compare) => Some((args, *compare)),
                _ => None,
            })
            .collect();
        let bytes: Vec<u8> = commands.iter().flat_map(|(args, _)| encode(args)).collect();
        for side in [&mut self.redis, &mut self.basalt] {
            let sent = side.conn.send_raw(&bytes);
            sent.map_err(|e| Mismatch { step: first, what: format!("sending to {}: {e}", side.name) })?;
        }
        for (i, (args, compare)) in commands.into_iter().enumerate() {
            let (redis, basalt) = (self.redis.reply(), self.basalt.reply());
            self.compare(family, args, compare, &redis, &basalt).map_err(|what| Mismatch { step: first + i, what })?;
        }
        Ok(())
    }

    fn compare(
        &mut self,
        family: &Family,
        args: &Args,
        compare: Compare,
        redis: &Result<Reply, String>,
        basalt: &Result<Reply, String>,
    ) -> Result<(), String> {
        if let (Ok(redis), Ok(basalt)) = (redis, basalt)
            && (agree(compare, redis, basalt) || self.forgive(family.known, args, redis, basalt))
        {
            return Ok(());
        }
        let shown = |reply: &Result<Reply, String>| match reply {
            Ok(reply) => format!("{reply:?}").chars().take(SHOWN_CHARS).collect(),
            Err(e) => e.clone(),
        };
        Err(format!(
            "replies differ\n  command {}\n  redis   {}\n  basalt  {}",
            show_args(args),
            shown(redis),
            shown(basalt)
        ))
    }

    fn forgive(&mut self, known: &[Known], args: &[Vec<u8>], redis: &Reply, basalt: &Reply) -> bool {
        let Some(known) = known.iter().find(|known| (known.matches)(args, redis, basalt)) else { return false };
        *self.forgiven.entry(known.reason).or_default() += 1;
        true
    }

    fn special(&mut self, family: &Family, step: &Step) -> Result<(), String> {
        match step {
            Step::Command(..) => unreachable!("commands go in pipelines"),
            Step::Aside(args, compare) => {
                let (redis, basalt) = (self.redis.ask_aside(args), self.basalt.ask_aside(args));
                self.compare(family, args, *compare, &redis, &basalt)
            }
            Step::Talk(args) => {
                let (redis, basalt) = (self.redis.talk(args), self.basalt.talk(args));
                self.compare(family, args, Compare::Exact, &redis.map(Reply::Array), &basalt.map(Reply::Array))
            }
            Step::Publish(args) => {
                let (redis, basalt) = (self.redis.ask_aside(args), self.basalt.ask_aside(args));
                self.compare(family, args, Compare::Exact, &redis, &basalt)?;
                let Ok(Reply::Int(count)) = redis else { return Ok(()) };
                let (redis, basalt) = (self.redis.messages(count), self.basalt.messages(count));
                self.compare(family, args, Compare::Exact, &redis, &basalt)
            }
            Step::Raw(bytes) => {
                let (redis, basalt) =
                    (exchange(self.redis.server.port, bytes), exchange(self.basalt.server.port, bytes));
                let what = format!(
                    "answers to raw bytes differ\n  sent   {}\n  redis  {}\n  basalt {}",
                    escape(bytes),
                    escape(&redis),
                    escape(&basalt)
                );
                if redis == basalt { Ok(()) } else { Err(what) }
            }
            Step::Scan(options) => {
                let redis = scan(&mut self.redis.conn, options).map_err(|e| format!("redis: SCAN: {e}"))?;
                let basalt = scan(&mut self.basalt.conn, options).map_err(|e| format!("basalt: SCAN: {e}"))?;
                let what = || format!("SCAN {} differs\n  redis  {redis:?}\n  basalt {basalt:?}", show_args(options));
                if redis == basalt { Ok(()) } else { Err(what()) }
            }
        }
    }

    fn same_digest(&mut self) -> Result<(), String> {
        // On connections of their own: the script's may speak RESP3 or be in another database.
        let digest = |server: &Server| {
            let mut conn = server.conn();
            forget_expired(&mut conn);
            conn.ok("DEBUG DIGEST").bytes()
        };
        let (redis, basalt) = (digest(&self.redis.server), digest(&self.basalt.server));
        if redis == basalt {
            return Ok(());
        }
        self.same_state_of_databases(false)?;
        Err(format!("DEBUG DIGEST differs: redis {}, basalt {}", escape(&redis), escape(&basalt)))
    }

    fn same_state(&mut self, family: &Family) -> Result<(), String> {
        self.same_state_of_databases(family.check_dumps)
    }

    fn same_state_of_databases(&mut self, dumps: bool) -> Result<(), String> {
        let (mut redis, mut basalt) = (self.redis.server.conn(), self.basalt.server.conn());
        for db in 0..DATABASES {
            redis.ok(&format!("SELECT {db}"));
            basalt.ok(&format!("SELECT {db}"));
            let there = keys(&mut redis);
            let here = keys(&mut basalt);
            if there != here {
                let differ: Vec<String> = there.symmetric_difference(&here).map(|k| escape(k)).collect();
                return Err(format!("database {db}: keys on one side only: {differ:?}"));
            }
            for key in &there {
                let what = same_key(&mut redis, &mut basalt, key, dumps);
                what.map_err(|e| format!("database {db}, key {}: {e}", escape(key)))?;
            }
        }
        Ok(())
    }
}

/// A digest counts keys that have expired as long as nobody has met them; SCAN meets them all.
fn forget_expired(conn: &mut Conn) {
    for db in 0..DATABASES {
        conn.ok(&format!("SELECT {db}"));
        scan(conn, &[]).expect("SCAN goes through");
    }
    conn.ok("SELECT 0");
}

fn keys(conn: &mut Conn) -> BTreeSet<Vec<u8>> {
    conn.argv(&["KEYS", "*"]).items().iter().map(Reply::bytes).collect()
}

fn same_key(redis: &mut Conn, basalt: &mut Conn, key: &[u8], dumps: bool) -> Result<(), String> {
    let exact: [&[&[u8]]; 3] = [&[b"TYPE"], &[b"OBJECT", b"ENCODING"], &[b"DEBUG", b"DIGEST-VALUE"]];
    for command in exact {
        let args: Vec<&[u8]> = command.iter().copied().chain([key]).collect();
        let (there, here) = (redis.argv(&args), basalt.argv(&args));
        if there != here && !is_newer_encoding(&there, &here) {
            return Err(format!("{}: redis {there:?}, basalt {here:?}", escape(&command.join(&b' '))));
        }
    }
    let (there, here) = (redis.argv::<&[u8]>(&[b"PTTL", key]), basalt.argv::<&[u8]>(&[b"PTTL", key]));
    if !within(&there, &here, CLOCK_SLACK_MS) {
        return Err(format!("PTTL: redis {there:?}, basalt {here:?}"));
    }
    if dumps {
        same_dump(redis, basalt, key)?;
    }
    Ok(())
}

/// What either server dumps restores on the other to the same value.
fn same_dump(redis: &mut Conn, basalt: &mut Conn, key: &[u8]) -> Result<(), String> {
    const COPY: &[u8] = b"differential:restored";
    // A digest tells whether a key expires, so the copy must as well.
    let ttl: &[u8] = if redis.argv::<&[u8]>(&[b"PTTL", key]).int() > 0 { b"1000000000" } else { b"0" };
    let digest = redis.argv::<&[u8]>(&[b"DEBUG", b"DIGEST-VALUE", key]);
    let (there, here) = match (redis.argv::<&[u8]>(&[b"DUMP", key]), basalt.argv::<&[u8]>(&[b"DUMP", key])) {
        (Reply::Bulk(there), Reply::Bulk(here)) => (there, here),
        other => return Err(format!("DUMP of redis and of basalt: {other:?}")),
    };
    for (name, conn, payload) in [("redis", redis, &here), ("basalt", basalt, &there)] {
        let restored = conn.argv::<&[u8]>(&[b"RESTORE", COPY, ttl, payload.as_slice(), b"REPLACE"]);
        let copy = conn.argv::<&[u8]>(&[b"DEBUG", b"DIGEST-VALUE", COPY]);
        conn.argv::<&[u8]>(&[b"DEL", COPY]);
        if copy != digest {
            return Err(format!("the other's DUMP on {name}: {restored:?}, value {copy:?} instead of {digest:?}"));
        }
    }
    Ok(())
}

/// All keys that a whole iteration returns; an error reply as its only element.
fn scan(conn: &mut Conn, options: &[Vec<u8>]) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut cursor = b"0".to_vec();
    let mut keys = BTreeSet::new();
    loop {
        let args: Args = [b"SCAN".to_vec(), cursor].into_iter().chain(options.iter().cloned()).collect();
        conn.send(&args)?;
        let reply = conn.read()?;
        if let Reply::Error(text) = reply {
            return Ok(BTreeSet::from([text]));
        }
        let Reply::Array(parts) = &reply else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{reply:?}")));
        };
        cursor = parts[0].bytes();
        keys.extend(parts[1].items().iter().map(Reply::bytes));
        if cursor == b"0" {
            return Ok(keys);
        }
    }
}

fn agree(compare: Compare, redis: &Reply, basalt: &Reply) -> bool {
    match compare {
        Compare::Exact => redis == basalt,
        Compare::Within(slack) => within(redis, basalt, slack),
        Compare::AnyOrder => sorted(redis) == sorted(basalt),
        Compare::Shape => shape(redis, usize::MAX) == shape(basalt, usize::MAX),
        Compare::Kind => shape(redis, 0) == shape(basalt, 0),
        Compare::Through(function) => function(redis.clone()) == function(basalt.clone()),
    }
}

fn within(redis: &Reply, basalt: &Reply, slack: i64) -> bool {
    match (redis, basalt) {
        // -1 and -2 are no times: they say that there is none.
        (Reply::Int(a), Reply::Int(b)) if *a >= 0 && *b >= 0 => a.abs_diff(*b) <= slack.unsigned_abs(),
        _ => redis == basalt,
    }
}

fn sorted(reply: &Reply) -> Reply {
    match reply {
        Reply::Array(items) | Reply::Set(items) => {
            let mut items = items.clone();
            items.sort_by_key(|item| format!("{item:?}"));
            Reply::Array(items)
        }
        other => other.clone(),
    }
}

/// A reply's outline: types, and the lengths of arrays down to `depth`. Errors keep their code.
fn shape(reply: &Reply, depth: usize) -> String {
    match reply {
        Reply::Simple(_) => "simple".into(),
        Reply::Error(text) => escape(text.split(|&b| b == b' ').next().unwrap_or_default()),
        Reply::BulkError(_) => "bulk error".into(),
        Reply::Int(_) => "integer".into(),
        Reply::Bulk(_) => "bulk".into(),
        Reply::Verbatim(_) => "verbatim".into(),
        Reply::Double(_) => "double".into(),
        Reply::BigNumber(_) => "big number".into(),
        Reply::Bool(_) => "boolean".into(),
        Reply::NilBulk | Reply::NilArray | Reply::Null => format!("{reply:?}"),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            let kind = match reply {
                Reply::Set(_) => "set",
                Reply::Push(_) => "push",
                _ => "array",
            };
            if depth == 0 {
                return kind.into();
            }
            let items: Vec<String> = items.iter().map(|item| shape(item, depth - 1)).collect();
            format!("{kind}[{}]", items.join(","))
        }
        Reply::Map(_) if depth == 0 => "map".into(),
        Reply::Map(pairs) => {
            let items: BTreeMap<String, String> =
                pairs.iter().map(|(k, v)| (format!("{k:?}"), shape(v, depth - 1))).collect();
            format!("map{items:?}")
        }
    }
}

/// Removes ever smaller runs of steps as long as what remains still fails.
fn shrink<'s>(pair: &mut Pair, family: &Family, failing: &[&'s Step], what: String) -> (Vec<&'s Step>, String) {
    let mut best: (Vec<&Step>, String) = (failing.to_vec(), what);
    let mut replays = 0;
    let mut size = best.0.len().div_ceil(2);
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < best.0.len() {
            if replays == SHRINK_REPLAYS {
                return best;
            }
            replays += 1;
            let mut candidate = best.0.clone();
            candidate.drain(at..(at + size).min(candidate.len()));
            pair.start_over();
            match pair.replay(family, &candidate) {
                Err(found) => {
                    candidate.truncate(found.step + 1);
                    best = (candidate, found.what);
                    removed = true;
                }
                Ok(()) => at += size,
            }
        }
        if size == 1 && !removed {
            return best;
        }
        size = if size == 1 { 1 } else { size.div_ceil(2) };
    }
}

fn show_args(args: &[Vec<u8>]) -> String {
    args.iter().map(|arg| format!("\"{}\"", escape(arg))).collect::<Vec<_>>().join(" ")
}

fn show(step: &Step) -> String {
    match step {
        Step::Command(args, _) => format!("  {}", show_args(args)),
        Step::Aside(args, _) => format!("  on another connection: {}", show_args(args)),
        Step::Talk(args) => format!("  {}, and all that comes back", show_args(args)),
        Step::Publish(args) => format!("  on another connection: {}, and the messages", show_args(args)),
        Step::Scan(options) => format!("  a whole SCAN {}", show_args(options)),
        Step::Raw(bytes) => format!("  raw bytes \"{}\"", escape(bytes)),
    }
}
