//! For tests of command handlers: runs commands, given as lines of words, against a keyspace of their own.

use super::propagation::{Form, Propagation};
use super::{Ctx, Error, Outcome, bitmap, generic, geo, hash, hyperloglog, list, set, sort, stream, string, zset};
use crate::keyspace::slot::SLOTS;
use crate::keyspace::{Keyspace, Policy, PolicyKind, Taken, Value};
use crate::resp::parser::{Limits, Parsed, Parser};
use crate::resp::{Args, Out, OwnedArgs, Proto, Writer};
use crate::types::quote::{quote, split_quoted};
use crate::types::{Encodings, Object};

const DEFAULT_BULK_BYTES: u64 = 512 << 20;

const DATABASES: usize = 16;

/// Of the hash function: no reply may depend on it.
const SEED: u64 = 0x5eed;

/// A keyspace with a clock that stands still.
pub struct Node {
    pub keyspace: Keyspace,
    policy: Policy,
    pub db: usize,
    pub now_ms: u64,
    pub proto: Proto,
    pub max_bulk_bytes: u64,
    pub encodings: Encodings,
    /// The changes that all commands so far have counted.
    pub dirty: u64,
    propagation: Propagation,
    /// Whether handlers are asked what they propagate.
    log_is_on: bool,
}

impl Node {
    /// Unix time of 2023-11-14, in milliseconds.
    pub const START_MS: u64 = 1_700_000_000_000;

    pub fn new() -> Node {
        Node {
            keyspace: Keyspace::new(0..SLOTS, DATABASES, SEED),
            policy: Policy::default(),
            db: 0,
            now_ms: Node::START_MS,
            proto: Proto::Resp2,
            max_bulk_bytes: DEFAULT_BULK_BYTES,
            encodings: Encodings::default(),
            dirty: 0,
            propagation: Propagation::default(),
            log_is_on: false,
        }
    }

    /// Puts an object that the commands here cannot make.
    pub fn put(&mut self, key: &str, make: impl FnOnce(&Encodings) -> Object) {
        let value = Value::Object(Box::new(make(&self.encodings)));
        let mut keys = self.keyspace.view(self.db, self.now_ms, &self.policy);
        keys.put(key.as_bytes(), Taken { value, raw: false, expire_at_ms: None });
    }

    pub fn set_policy(&mut self, kind: PolicyKind) {
        self.policy.kind = kind;
    }

    /// The reply to a command that is written like in redis-cli, quotes and escapes included.
    pub fn run(&mut self, line: &str) -> Vec<u8> {
        let words = split_quoted(line.as_bytes()).unwrap_or_else(|| panic!("quotes in {line:?}"));
        self.run_args(&words.iter().collect())
    }

    /// The same with a reply that is shown as text.
    pub fn ask(&mut self, line: &str) -> String {
        String::from_utf8_lossy(&self.run(line)).into_owned()
    }

    /// The changes that the command counts.
    pub fn changes(&mut self, line: &str) -> u64 {
        let before = self.dirty;
        self.run(line);
        self.dirty - before
    }

    /// What the command puts into the write log, as words in quotes where they need them.
    pub fn propagated(&mut self, line: &str) -> Vec<String> {
        self.log_is_on = true;
        let changes = self.changes(line);
        self.log_is_on = false;
        let own = split_quoted(line.as_bytes()).unwrap_or_default();
        match self.propagation.form() {
            _ if changes == 0 => Vec::new(),
            Form::Nothing => Vec::new(),
            Form::Verbatim => vec![shown(&own)],
            Form::Instead => {
                let (bytes, count) = self.propagation.commands();
                let commands = commands_of(bytes);
                assert_eq!(commands.len(), count, "{line}");
                commands.iter().map(|words| shown(words)).collect()
            }
        }
    }

    pub fn run_args(&mut self, owned: &OwnedArgs) -> Vec<u8> {
        let out = self.run_attached(owned);
        let mut reply = Vec::with_capacity(out.len());
        let mut at = 0;
        for (offset, bytes) in &out.attached {
            reply.extend_from_slice(&out.buf[at..*offset]);
            reply.extend_from_slice(bytes);
            at = *offset;
        }
        reply.extend_from_slice(&out.buf[at..]);
        reply
    }

    /// The reply with large values still attached. An error reply must be all that the handler wrote.
    pub fn run_attached(&mut self, owned: &OwnedArgs) -> Out {
        let args = owned.args();
        let mut out = Out::default();
        let keys = self.keyspace.view(self.db, self.now_ms, &self.policy);
        let encodings = &self.encodings;
        let mut ctx = Ctx::new(keys, Writer::new(&mut out, self.proto), self.max_bulk_bytes, encodings);
        ctx.propagation = self.propagation.begin(self.log_is_on);
        let outcome = call(&mut ctx, &args);
        self.dirty += ctx.dirty;
        if let Err(error) = outcome {
            assert_eq!(ctx.dirty, 0, "{error:?} after a change");
            assert!(ctx.out.out().is_empty(), "{error:?} after a part of a reply");
            ctx.out.error(error.message());
        }
        out
    }
}

fn shown(words: &[Vec<u8>]) -> String {
    let plain = |word: &Vec<u8>| !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    let words =
        words.iter().map(|word| if plain(word) { String::from_utf8_lossy(word).into_owned() } else { quote(word) });
    words.collect::<Vec<_>>().join(" ")
}

fn commands_of(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let mut parser = Parser::default();
        let Ok(Parsed::Command { consumed }) = parser.parse(bytes, &Limits::default()) else {
            panic!("no command: {}", bytes.escape_ascii());
        };
        let args = parser.args(bytes);
        commands.push((0..args.len()).map(|i| args.get(i).to_vec()).collect());
        bytes = &bytes[consumed..];
    }
    commands
}

type DataHandler = fn(&mut Ctx<'_>, &Args<'_>) -> Outcome;

/// Name, arity as the command table counts it, handler.
const HANDLERS: &[(&str, i16, DataHandler)] = &[
    ("append", 3, string::append),
    ("bitcount", -2, bitmap::bitcount),
    ("bitfield", -2, bitmap::bitfield),
    ("bitfield_ro", -2, bitmap::bitfield_ro),
    ("bitop", -4, bitmap::bitop),
    ("bitpos", -3, bitmap::bitpos),
    ("bzmpop", -5, zset::bzmpop),
    ("bzpopmax", -3, zset::bzpopmax),
    ("bzpopmin", -3, zset::bzpopmin),
    ("copy", -3, generic::copy),
    ("decr", 2, string::decr),
    ("decrby", 3, string::decrby),
    ("del", -2, generic::del),
    ("delifeq", 3, string::delifeq),
    ("dump", 2, generic::dump),
    ("exists", -2, generic::exists),
    ("expire", -3, generic::expire),
    ("expireat", -3, generic::expireat),
    ("expiretime", 2, generic::expiretime),
    ("geoadd", -5, geo::geoadd),
    ("geodist", -4, geo::geodist),
    ("geohash", -2, geo::geohash),
    ("geopos", -2, geo::geopos),
    ("georadius", -6, geo::georadius),
    ("georadius_ro", -6, geo::georadius_ro),
    ("georadiusbymember", -5, geo::georadiusbymember),
    ("georadiusbymember_ro", -5, geo::georadiusbymember_ro),
    ("geosearch", -7, geo::geosearch),
    ("geosearchstore", -8, geo::geosearchstore),
    ("get", 2, string::get),
    ("getbit", 3, bitmap::getbit),
    ("getdel", 2, string::getdel),
    ("getex", -2, string::getex),
    ("getrange", 4, string::getrange),
    ("getset", 3, string::getset),
    ("hdel", -3, hash::hdel),
    ("hexists", 3, hash::hexists),
    ("hexpire", -6, hash::hexpire),
    ("hexpireat", -6, hash::hexpireat),
    ("hexpiretime", -5, hash::hexpiretime),
    ("hget", 3, hash::hget),
    ("hgetall", 2, hash::hgetall),
    ("hgetdel", -5, hash::hgetdel),
    ("hgetex", -5, hash::hgetex),
    ("hincrby", 4, hash::hincrby),
    ("hincrbyfloat", 4, hash::hincrbyfloat),
    ("hkeys", 2, hash::hkeys),
    ("hlen", 2, hash::hlen),
    ("hmget", -3, hash::hmget),
    ("hmset", -4, hash::hmset),
    ("hpersist", -5, hash::hpersist),
    ("hpexpire", -6, hash::hpexpire),
    ("hpexpireat", -6, hash::hpexpireat),
    ("hpexpiretime", -5, hash::hpexpiretime),
    ("hpttl", -5, hash::hpttl),
    ("hrandfield", -2, hash::hrandfield),
    ("hscan", -3, hash::hscan),
    ("hset", -4, hash::hset),
    ("hsetex", -6, hash::hsetex),
    ("hsetnx", 4, hash::hsetnx),
    ("hstrlen", 3, hash::hstrlen),
    ("httl", -5, hash::httl),
    ("hvals", 2, hash::hvals),
    ("incr", 2, string::incr),
    ("incrby", 3, string::incrby),
    ("incrbyfloat", 3, string::incrbyfloat),
    ("lcs", -3, string::lcs),
    ("memory|usage", -3, generic::memory_usage),
    ("mget", -2, string::mget),
    ("blmove", 6, list::blmove),
    ("blmpop", -5, list::blmpop),
    ("blpop", -3, list::blpop),
    ("brpop", -3, list::brpop),
    ("brpoplpush", 4, list::brpoplpush),
    ("lindex", 3, list::lindex),
    ("linsert", 5, list::linsert),
    ("llen", 2, list::llen),
    ("lmove", 5, list::lmove),
    ("lmpop", -4, list::lmpop),
    ("lpop", -2, list::lpop),
    ("lpos", -3, list::lpos),
    ("lpush", -3, list::lpush),
    ("lpushx", -3, list::lpushx),
    ("lrange", 4, list::lrange),
    ("lrem", 4, list::lrem),
    ("lset", 4, list::lset),
    ("ltrim", 4, list::ltrim),
    ("move", 3, generic::move_),
    ("mset", -3, string::mset),
    ("msetnx", -3, string::msetnx),
    ("object|encoding", 3, generic::object_encoding),
    ("object|freq", 3, generic::object_freq),
    ("object|help", 2, generic::object_help),
    ("object|idletime", 3, generic::object_idletime),
    ("object|refcount", 3, generic::object_refcount),
    ("persist", 2, generic::persist),
    ("pexpire", -3, generic::pexpire),
    ("pexpireat", -3, generic::pexpireat),
    ("pexpiretime", 2, generic::pexpiretime),
    ("pfadd", -2, hyperloglog::pfadd),
    ("pfcount", -2, hyperloglog::pfcount),
    ("pfdebug", 3, hyperloglog::pfdebug),
    ("pfmerge", -2, hyperloglog::pfmerge),
    ("pfselftest", 1, hyperloglog::pfselftest),
    ("psetex", 4, string::psetex),
    ("pttl", 2, generic::pttl),
    ("rename", 3, generic::rename),
    ("renamenx", 3, generic::renamenx),
    ("restore", -4, generic::restore),
    ("rpop", -2, list::rpop),
    ("rpoplpush", 3, list::rpoplpush),
    ("rpush", -3, list::rpush),
    ("rpushx", -3, list::rpushx),
    ("sadd", -3, set::sadd),
    ("scard", 2, set::scard),
    ("sdiff", -2, set::sdiff),
    ("sdiffstore", -3, set::sdiffstore),
    ("set", -3, string::set),
    ("setbit", 4, bitmap::setbit),
    ("setex", 4, string::setex),
    ("setnx", 3, string::setnx),
    ("setrange", 4, string::setrange),
    ("sinter", -2, set::sinter),
    ("sintercard", -3, set::sintercard),
    ("sinterstore", -3, set::sinterstore),
    ("sismember", 3, set::sismember),
    ("smembers", 2, set::smembers),
    ("smismember", -3, set::smismember),
    ("smove", 4, set::smove),
    ("sort", -2, sort::sort),
    ("sort_ro", -2, sort::sort_ro),
    ("spop", -2, set::spop),
    ("srandmember", -2, set::srandmember),
    ("srem", -3, set::srem),
    ("sscan", -3, set::sscan),
    ("strlen", 2, string::strlen),
    ("substr", 4, string::substr),
    ("sunion", -2, set::sunion),
    ("sunionstore", -3, set::sunionstore),
    ("touch", -2, generic::touch),
    ("ttl", 2, generic::ttl),
    ("type", 2, generic::type_),
    ("unlink", -2, generic::unlink),
    ("xack", -4, stream::xack),
    ("xadd", -5, stream::xadd),
    ("xautoclaim", -6, stream::xautoclaim),
    ("xclaim", -6, stream::xclaim),
    ("xdel", -3, stream::xdel),
    ("xgroup|create", -5, stream::xgroup_create),
    ("xgroup|createconsumer", 5, stream::xgroup_createconsumer),
    ("xgroup|delconsumer", 5, stream::xgroup_delconsumer),
    ("xgroup|destroy", 4, stream::xgroup_destroy),
    ("xgroup|help", 2, stream::xgroup_help),
    ("xgroup|setid", -5, stream::xgroup_setid),
    ("xinfo|consumers", 4, stream::xinfo_consumers),
    ("xinfo|groups", 3, stream::xinfo_groups),
    ("xinfo|help", 2, stream::xinfo_help),
    ("xinfo|stream", -3, stream::xinfo_stream),
    ("xlen", 2, stream::xlen),
    ("xpending", -3, stream::xpending),
    ("xrange", -4, stream::xrange),
    ("xread", -4, stream::xread),
    ("xreadgroup", -7, stream::xreadgroup),
    ("xrevrange", -4, stream::xrevrange),
    ("xsetid", -3, stream::xsetid),
    ("xtrim", -4, stream::xtrim),
    ("zadd", -4, zset::zadd),
    ("zcard", 2, zset::zcard),
    ("zcount", 4, zset::zcount),
    ("zdiff", -3, zset::zdiff),
    ("zdiffstore", -4, zset::zdiffstore),
    ("zincrby", 4, zset::zincrby),
    ("zinter", -3, zset::zinter),
    ("zintercard", -3, zset::zintercard),
    ("zinterstore", -4, zset::zinterstore),
    ("zlexcount", 4, zset::zlexcount),
    ("zmpop", -4, zset::zmpop),
    ("zmscore", -3, zset::zmscore),
    ("zpopmax", -2, zset::zpopmax),
    ("zpopmin", -2, zset::zpopmin),
    ("zrandmember", -2, zset::zrandmember),
    ("zrange", -4, zset::zrange),
    ("zrangebylex", -4, zset::zrangebylex),
    ("zrangebyscore", -4, zset::zrangebyscore),
    ("zrangestore", -5, zset::zrangestore),
    ("zrank", -3, zset::zrank),
    ("zrem", -3, zset::zrem),
    ("zremrangebylex", 4, zset::zremrangebylex),
    ("zremrangebyrank", 4, zset::zremrangebyrank),
    ("zremrangebyscore", 4, zset::zremrangebyscore),
    ("zrevrange", -4, zset::zrevrange),
    ("zrevrangebylex", -4, zset::zrevrangebylex),
    ("zrevrangebyscore", -4, zset::zrevrangebyscore),
    ("zrevrank", -3, zset::zrevrank),
    ("zscan", -3, zset::zscan),
    ("zscore", 3, zset::zscore),
    ("zunion", -3, zset::zunion),
    ("zunionstore", -4, zset::zunionstore),
];

fn call(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let mut name = String::from_utf8_lossy(args.get(0)).to_ascii_lowercase();
    if ["memory", "object", "xgroup", "xinfo"].contains(&&*name) {
        name = format!("{name}|{}", String::from_utf8_lossy(args.get(1)).to_ascii_lowercase());
    }
    let (_, arity, handler) =
        HANDLERS.iter().find(|(known, ..)| *known == name).unwrap_or_else(|| panic!("no handler for {name}"));
    let least = usize::from(arity.unsigned_abs());
    if args.len() < least || (*arity > 0 && args.len() > least) {
        return Err(Error::arity(&name));
    }
    handler(ctx, args)
}
