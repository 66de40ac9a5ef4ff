//! What the command table says of a command. COMMAND and its subcommands, ACL categories, arity errors, key extraction and routing
//! all come from these fields.

use super::{Ctx, Outcome};
use crate::resp::Args;

/// One command or subcommand.
#[derive(Clone, Copy)]
pub struct Command {
    /// Lower case; of a subcommand its own word only (`set` for `config|set`).
    pub name: &'static str,
    /// Number of arguments with the name(s); negative: at least that many.
    pub arity: i16,
    pub flags: Flags,
    pub keys: &'static [KeySpec],
    pub group: Group,
    /// Categories beyond those that follow from `flags` and `group`.
    pub acl: Acl,
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    /// The arguments behind the name, as the Redis command pages write them: `key [NX | XX] [EX seconds | PX milliseconds]`.
    pub syntax: &'static str,
    pub tips: &'static [&'static str],
    pub deprecated: Option<Deprecated>,
    pub handler: Handler,
    pub subcommands: &'static [Command],
}

/// Since when a command should no longer be used, and what to use instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecated {
    pub since: &'static str,
    pub replaced_by: &'static str,
}

impl Command {
    /// A command without flags, keys and documentation; the table adds them with the methods below.
    pub const fn new(name: &'static str, arity: i16, group: Group, handler: Handler) -> Command {
        Command {
            name,
            arity,
            flags: Flags::NONE,
            keys: &[],
            group,
            acl: Acl::NONE,
            since: "",
            complexity: "",
            summary: "",
            syntax: "",
            tips: &[],
            deprecated: None,
            handler,
            subcommands: &[],
        }
    }

    pub const fn about(mut self, since: &'static str, complexity: &'static str, summary: &'static str) -> Command {
        self.since = since;
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    pub const fn syntax(mut self, syntax: &'static str) -> Command {
        self.syntax = syntax;
        self
    }

    /// Adds `flags` to those set before.
    pub const fn flags(mut self, flags: Flags) -> Command {
        self.flags = self.flags.or(flags);
        self
    }

    pub const fn keys(mut self, keys: &'static [KeySpec]) -> Command {
        self.keys = keys;
        self
    }

    pub const fn acl(mut self, acl: Acl) -> Command {
        self.acl = acl;
        self
    }

    pub const fn tips(mut self, tips: &'static [&'static str]) -> Command {
        self.tips = tips;
        self
    }

    pub const fn deprecated(mut self, since: &'static str, replaced_by: &'static str) -> Command {
        self.deprecated = Some(Deprecated { since, replaced_by });
        self
    }

    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Command {
        self.subcommands = subcommands;
        self
    }

    /// Whether a call with `count` arguments, names included, has the right number of them.
    #[inline]
    pub const fn takes(&self, count: usize) -> bool {
        if self.arity >= 0 { count == self.arity as usize } else { count >= self.arity.unsigned_abs() as usize }
    }

    /// All ACL categories: the explicit ones and those that follow from flags and group.
    pub const fn categories(&self) -> Acl {
        let mut acl = self.acl.or(if self.flags.has(Flags::FAST) { Acl::FAST } else { Acl::SLOW });
        let derived = [
            (Flags::WRITE, Acl::WRITE),
            (Flags::READONLY, Acl::READ),
            (Flags::ADMIN, Acl::ADMIN.or(Acl::DANGEROUS)),
            (Flags::PUBSUB, Acl::PUBSUB),
            (Flags::BLOCKING, Acl::BLOCKING),
        ];
        let mut i = 0;
        while i < derived.len() {
            if self.flags.has(derived[i].0) {
                acl = acl.or(derived[i].1);
            }
            i += 1;
        }
        if let Handler::Container = self.handler {
            return acl;
        }
        match self.group {
            Group::String => acl.or(Acl::STRING),
            Group::Bitmap => acl.or(Acl::BITMAP),
            Group::Hash => acl.or(Acl::HASH),
            Group::List => acl.or(Acl::LIST),
            Group::Set => acl.or(Acl::SET),
            Group::SortedSet => acl.or(Acl::SORTED_SET),
            Group::Stream => acl.or(Acl::STREAM),
            Group::Geo => acl.or(Acl::GEO),
            Group::HyperLogLog => acl.or(Acl::HYPERLOGLOG),
            Group::Transactions => acl.or(Acl::TRANSACTION),
            Group::Generic | Group::Connection | Group::Server | Group::Cluster | Group::PubSub => acl,
        }
    }

    /// First, last and step of the keys as COMMAND INFO has shown them since before key specifications: the contiguous
    /// index ranges taken together, zeros when there are none. A negative last counts from the end.
    pub const fn legacy_key_range(&self) -> (i64, i64, i64) {
        let (mut first, mut last, mut step) = (0, 0, 0);
        let mut i = 0;
        while i < self.keys.len() {
            if let BeginSearch::Index(index) = self.keys[i].begin
                && let FindKeys::Range { last: relative, step: every, .. } = self.keys[i].find
            {
                let index = index as i64;
                let end = if relative >= 0 { index + relative as i64 } else { relative as i64 };
                if step == 0 {
                    (first, last, step) = (index, end, every as i64);
                } else if step == 1 && every == 1 && last == index - 1 {
                    last = end;
                }
            }
            i += 1;
        }
        (first, last, step)
    }
}

/// Who executes a command.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Runs to its end over the keys it names, on the core that owns them.
    Data(fn(&mut Ctx<'_>, &Args<'_>) -> Outcome),
    /// Concerns the connection, several cores or the whole server; `shard/` knows how.
    Server(Server),
    /// Only its subcommands do something.
    Container,
}

/// The commands that are more than a function over keys. `shard/` has one function for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    // connection
    Auth,
    Client,
    Echo,
    Hello,
    Ping,
    Quit,
    Reset,
    Select,
    // transactions
    Discard,
    Exec,
    Multi,
    Unwatch,
    Watch,
    // pub/sub
    Psubscribe,
    PubSub,
    Publish,
    Punsubscribe,
    Spublish,
    Ssubscribe,
    Subscribe,
    Sunsubscribe,
    Unsubscribe,
    // several cores
    DbSize,
    FlushAll,
    FlushDb,
    Keys,
    RandomKey,
    Scan,
    SwapDb,
    // server
    Cluster,
    Command,
    Config,
    Debug,
    Failover,
    Info,
    LastSave,
    Latency,
    Lolwut,
    Memory,
    Monitor,
    Psync,
    ReplConf,
    ReplicaOf,
    Role,
    Shutdown,
    SlowLog,
    Time,
    Wait,
}

/// A set of command flags; names as COMMAND INFO prints them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const NOSCRIPT: Flags = Flags(1 << 4);
    pub const LOADING: Flags = Flags(1 << 5);
    pub const STALE: Flags = Flags(1 << 6);
    pub const SKIP_MONITOR: Flags = Flags(1 << 7);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 8);
    pub const ASKING: Flags = Flags(1 << 9);
    pub const FAST: Flags = Flags(1 << 10);
    pub const NO_AUTH: Flags = Flags(1 << 11);
    pub const MAY_REPLICATE: Flags = Flags(1 << 12);
    pub const MOVABLEKEYS: Flags = Flags(1 << 13);
    pub const ALLOW_BUSY: Flags = Flags(1 << 14);
    pub const PUBSUB: Flags = Flags(1 << 15);
    pub const BLOCKING: Flags = Flags(1 << 16);
    pub const NO_MULTI: Flags = Flags(1 << 17);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 18);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 19);
    /// Not printed by COMMAND INFO: a command for the server's own developers (`syscmd` in COMMAND DOCS).
    pub const SYSCMD: Flags = Flags(1 << 29);
    /// Ours, not printed: waits until all earlier commands of its connection have answered (design: contract of a pipeline).
    pub const BARRIER: Flags = Flags(1 << 30);

    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The names COMMAND INFO prints, in its order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| *name)
    }
}

/// `may_replicate` is missing on purpose: Redis keeps it to itself.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::ASKING, "asking"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLEKEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.or(other)
    }
}

/// A set of ACL categories. `Command::acl` holds the explicit ones, `Command::categories` derives the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acl(pub u32);

impl Acl {
    pub const NONE: Acl = Acl(0);
    pub const KEYSPACE: Acl = Acl(1);
    pub const DANGEROUS: Acl = Acl(1 << 1);
    pub const CONNECTION: Acl = Acl(1 << 2);
    pub const ADMIN: Acl = Acl(1 << 3);
    pub const READ: Acl = Acl(1 << 4);
    pub const WRITE: Acl = Acl(1 << 5);
    pub const STRING: Acl = Acl(1 << 6);
    pub const BITMAP: Acl = Acl(1 << 7);
    pub const PUBSUB: Acl = Acl(1 << 8);
    pub const FAST: Acl = Acl(1 << 9);
    pub const SLOW: Acl = Acl(1 << 10);
    pub const BLOCKING: Acl = Acl(1 << 11);
    pub const TRANSACTION: Acl = Acl(1 << 12);
    pub const SET: Acl = Acl(1 << 13);
    pub const SORTED_SET: Acl = Acl(1 << 14);
    pub const LIST: Acl = Acl(1 << 15);
    pub const HASH: Acl = Acl(1 << 16);
    pub const HYPERLOGLOG: Acl = Acl(1 << 17);
    pub const GEO: Acl = Acl(1 << 18);
    pub const STREAM: Acl = Acl(1 << 19);

    pub const fn or(self, other: Acl) -> Acl {
        Acl(self.0 | other.0)
    }

    pub const fn has(self, other: Acl) -> bool {
        self.0 & other.0 == other.0
    }

    /// The category of this name, without its `@`, in any case.
    pub fn by_name(name: &[u8]) -> Option<Acl> {
        ACL_NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name)).map(|(acl, _)| *acl)
    }

    /// The names, without `@`, in the order COMMAND INFO prints them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        ACL_NAMES.iter().filter(move |(acl, _)| self.has(*acl)).map(|(_, name)| *name)
    }
}

const ACL_NAMES: &[(Acl, &str)] = &[
    (Acl::KEYSPACE, "keyspace"),
    (Acl::READ, "read"),
    (Acl::WRITE, "write"),
    (Acl::SET, "set"),
    (Acl::SORTED_SET, "sortedset"),
    (Acl::LIST, "list"),
    (Acl::HASH, "hash"),
    (Acl::STRING, "string"),
    (Acl::BITMAP, "bitmap"),
    (Acl::HYPERLOGLOG, "hyperloglog"),
    (Acl::GEO, "geo"),
    (Acl::STREAM, "stream"),
    (Acl::PUBSUB, "pubsub"),
    (Acl::ADMIN, "admin"),
    (Acl::FAST, "fast"),
    (Acl::SLOW, "slow"),
    (Acl::BLOCKING, "blocking"),
    (Acl::DANGEROUS, "dangerous"),
    (Acl::CONNECTION, "connection"),
    (Acl::TRANSACTION, "transaction"),
];

/// The group of the command's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    Bitmap,
    Hash,
    List,
    Set,
    SortedSet,
    Stream,
    Geo,
    HyperLogLog,
    Connection,
    Transactions,
    Server,
    Cluster,
    PubSub,
}

impl Group {
    /// The name COMMAND DOCS prints.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::Bitmap => "bitmap",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::Geo => "geo",
            Group::HyperLogLog => "hyperloglog",
            Group::Connection => "connection",
            Group::Transactions => "transactions",
            Group::Server => "server",
            Group::Cluster => "cluster",
            Group::PubSub => "pubsub",
        }
    }
}

/// Where a command's keys are (COMMAND INFO, key specifications).
#[derive(Clone, Copy)]
pub struct KeySpec {
    pub begin: BeginSearch,
    pub find: FindKeys,
    pub access: KeyAccess,
    /// What else COMMAND INFO has to say of these keys.
    pub notes: Option<&'static str>,
}

impl KeySpec {
    /// The key at argument `index`.
    pub const fn one(index: u8, access: KeyAccess) -> KeySpec {
        KeySpec::range(index, 0, 1, access)
    }

    /// The keys from argument `first` to `last` (as in [`FindKeys::Range`]), each `step`-th.
    pub const fn range(first: u8, last: i8, step: u8, access: KeyAccess) -> KeySpec {
        KeySpec {
            begin: BeginSearch::Index(first),
            find: FindKeys::Range { last, step, limit: 0 },
            access,
            notes: None,
        }
    }

    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = Some(notes);
        self
    }
}

#[derive(Clone, Copy)]
pub enum BeginSearch {
    /// At this argument index.
    Index(u8),
    /// Behind this word, looked for from this argument index on (negative: from the end, backwards).
    Keyword(&'static str, i8),
}

#[derive(Clone, Copy)]
pub enum FindKeys {
    /// Up to `last` (relative to the first key; negative: from the end of the arguments), each `step`-th argument;
    /// `limit`: 0 and 1 for all, else the part of the arguments that are keys, as in Redis's key specifications.
    Range { last: i8, step: u8, limit: u8 },
    /// A count at `count`, the first key at `first` (both relative to the begin), each `step`-th argument.
    Counted { count: u8, first: u8, step: u8 },
}

/// What is done to the keys; names as COMMAND INFO prints them (`RO access`, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAccess(pub u16);

impl KeyAccess {
    pub const RO: KeyAccess = KeyAccess(1);
    pub const RW: KeyAccess = KeyAccess(1 << 1);
    pub const OW: KeyAccess = KeyAccess(1 << 2);
    pub const RM: KeyAccess = KeyAccess(1 << 3);
    pub const ACCESS: KeyAccess = KeyAccess(1 << 4);
    pub const UPDATE: KeyAccess = KeyAccess(1 << 5);
    pub const INSERT: KeyAccess = KeyAccess(1 << 6);
    pub const DELETE: KeyAccess = KeyAccess(1 << 7);
    pub const VARIABLE_FLAGS: KeyAccess = KeyAccess(1 << 8);
    /// No key at all, only routed like one (a shard channel).
    pub const NOT_KEY: KeyAccess = KeyAccess(1 << 9);
    /// Ours, not printed: what is there changes, whatever else is said of the key. Redis says that XREADGROUP only reads.
    pub const CHANGED: KeyAccess = KeyAccess(1 << 10);

    pub const fn or(self, other: KeyAccess) -> KeyAccess {
        KeyAccess(self.0 | other.0)
    }

    pub const fn has(self, other: KeyAccess) -> bool {
        self.0 & other.0 == other.0
    }
    /// The names COMMAND INFO and COMMAND GETKEYSANDFLAGS print, in their order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        ACCESS_NAMES.iter().filter(move |(access, _)| self.has(*access)).map(|(_, name)| *name)
    }
}

const ACCESS_NAMES: &[(KeyAccess, &str)] = &[
    (KeyAccess::RO, "RO"),
    (KeyAccess::RW, "RW"),
    (KeyAccess::OW, "OW"),
    (KeyAccess::RM, "RM"),
    (KeyAccess::ACCESS, "access"),
    (KeyAccess::UPDATE, "update"),
    (KeyAccess::INSERT, "insert"),
    (KeyAccess::DELETE, "delete"),
    (KeyAccess::NOT_KEY, "not_key"),
    (KeyAccess::VARIABLE_FLAGS, "variable_flags"),
];
