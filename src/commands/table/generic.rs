use super::*;
use crate::commands::{BeginSearch, Ctx, FindKeys, Outcome, generic, sort};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::Generic, Handler::Data(run)).acl(Acl::KEYSPACE)
}

const fn server(name: &'static str, arity: i16, server: Server) -> Command {
    Command::new(name, arity, Group::Generic, Handler::Server(server)).acl(Acl::KEYSPACE).flags(READ.or(Flags::BARRIER))
}

const fn object(name: &'static str, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    command(name, 3, run).syntax("key").flags(READ).keys(OBJECT_KEY).tips(&[RANDOM])
}

const BY_KEYS: &str = "O(N) where N is the number of keys.";
const SERIALIZE: &str = "O(N*M) where N is the number of elements and M their average size; O(1) for short strings.";
const EXPIRE_WHEN: KeySpec = first(RW_UPDATE);
const OBJECT_KEY: &[KeySpec] = &[KeySpec::one(2, RO)];

const BY_SORTED: &str = "O(N*log(N)+M) where N is the number of elements and M the number of those returned.";
const SORTABLE: Acl = Acl::LIST.or(Acl::SET).or(Acl::SORTED_SET).or(Acl::DANGEROUS);
const BY_PATTERN: KeySpec = KeySpec {
    begin: BeginSearch::Unknown,
    find: FindKeys::Unknown,
    access: RO_ACCESS,
    notes: Some("The keys of `BY` and `GET` depend on the elements that are sorted."),
};
const STORED: KeySpec = KeySpec {
    begin: BeginSearch::SortStore,
    find: FindKeys::Unknown,
    access: OW_UPDATE,
    notes: Some("The key behind `STORE`, which may stand anywhere."),
};

pub const COMMANDS: &[Command] = &[
    command("copy", -3, generic::copy)
        .about(
            "6.2.0",
            "O(N) where N is the number of elements; O(1) for strings.",
            "Copies the value of a key to another key.",
        )
        .syntax("source destination [DB destination-db] [REPLACE]")
        .flags(WRITE_OOM)
        .keys(&[first(RO_ACCESS), KeySpec::one(2, OW_UPDATE)]),
    command("del", -2, generic::del)
        .about("1.0.0", "O(N) where N is the number of keys and of the elements they hold.", "Deletes keys.")
        .syntax("key [key ...]")
        .flags(WRITE)
        .keys(&[KeySpec::range(1, -1, 1, RM_DELETE)])
        .tips(&[MULTI_SHARD, SUM]),
    command("dump", 2, generic::dump)
        .about("2.6.0", SERIALIZE, "Returns the value of a key in the form that RESTORE takes.")
        .syntax("key")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("exists", -2, generic::exists)
        .about("1.0.0", BY_KEYS, "Counts how many of the given keys exist.")
        .syntax("key [key ...]")
        .flags(READ_FAST)
        .keys(&[KeySpec::range(1, -1, 1, RO)])
        .tips(&[MULTI_SHARD, SUM]),
    command("expire", -3, generic::expire)
        .about("1.0.0", CONSTANT, "Lets a key expire after some seconds.")
        .syntax("key seconds [NX | XX | GT | LT]")
        .flags(WRITE_FAST)
        .keys(&[EXPIRE_WHEN]),
    command("expireat", -3, generic::expireat)
        .about("1.2.0", CONSTANT, "Lets a key expire at a Unix time in seconds.")
        .syntax("key unix-time-seconds [NX | XX | GT | LT]")
        .flags(WRITE_FAST)
        .keys(&[EXPIRE_WHEN]),
    command("expiretime", 2, generic::expiretime)
        .about("7.0.0", CONSTANT, "Returns the Unix time in seconds at which a key expires.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    server("keys", 2, Server::Keys)
        .about("1.0.0", "O(N) where N is the number of keys in the database.", "Returns all keys that match a pattern.")
        .syntax("pattern")
        .acl(Acl::KEYSPACE.or(Acl::DANGEROUS))
        .tips(&[ALL_SHARDS, RANDOM_ORDER]),
    Command::new("wait", 3, Group::Generic, Handler::Server(Server::Wait))
        .about("3.0.0", CONSTANT, "Waits until so many replicas have all writes of this connection, or for so long.")
        .syntax("numreplicas timeout")
        .flags(Flags::BLOCKING.or(Flags::BARRIER))
        .acl(Acl::CONNECTION)
        .tips(&[ALL_SHARDS, "response_policy:agg_min"]),
    command("move", 3, generic::move_)
        .about("1.0.0", CONSTANT, "Moves a key to another database.")
        .syntax("key db")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    Command::new("object", -2, Group::Generic, Handler::Container)
        .about("2.2.3", BY_SUBCOMMAND, "Commands that tell how a value is kept.")
        .subcommands(&[
            object("encoding", generic::object_encoding).about(
                "2.2.3",
                CONSTANT,
                "Returns the internal encoding of a value.",
            ),
            object("freq", generic::object_freq).about(
                "4.0.0",
                CONSTANT,
                "Returns the access frequency counter of a key, under an LFU policy.",
            ),
            object("idletime", generic::object_idletime).about(
                "2.2.3",
                CONSTANT,
                "Returns the seconds since a key was last used.",
            ),
            object("refcount", generic::object_refcount).about(
                "2.2.3",
                CONSTANT,
                "Returns the number of references to a value.",
            ),
            help(Group::Generic, Handler::Data(generic::object_help), "6.2.0").acl(Acl::KEYSPACE),
        ]),
    command("persist", 2, generic::persist)
        .about("2.2.0", CONSTANT, "Removes the expiry of a key.")
        .syntax("key")
        .flags(WRITE_FAST)
        .keys(&[EXPIRE_WHEN]),
    command("pexpire", -3, generic::pexpire)
        .about("2.6.0", CONSTANT, "Lets a key expire after some milliseconds.")
        .syntax("key milliseconds [NX | XX | GT | LT]")
        .flags(WRITE_FAST)
        .keys(&[EXPIRE_WHEN]),
    command("pexpireat", -3, generic::pexpireat)
        .about("2.6.0", CONSTANT, "Lets a key expire at a Unix time in milliseconds.")
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT]")
        .flags(WRITE_FAST)
        .keys(&[EXPIRE_WHEN]),
    command("pexpiretime", 2, generic::pexpiretime)
        .about("7.0.0", CONSTANT, "Returns the Unix time in milliseconds at which a key expires.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("pttl", 2, generic::pttl)
        .about("2.6.0", CONSTANT, "Returns the milliseconds that a key has left to live.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    server("randomkey", 1, Server::RandomKey)
        .about("1.0.0", CONSTANT, "Returns one key of the database, picked at random.")
        .tips(&[ALL_SHARDS, SPECIAL_RESPONSE, RANDOM]),
    command("rename", 3, generic::rename)
        .about("1.0.0", CONSTANT, "Renames a key, replacing one of the new name.")
        .syntax("key newkey")
        .flags(WRITE)
        .keys(&[first(RW_ACCESS_DELETE), KeySpec::one(2, OW_UPDATE)]),
    command("renamenx", 3, generic::renamenx)
        .about("1.0.0", CONSTANT, "Renames a key, if there is none of the new name.")
        .syntax("key newkey")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE), KeySpec::one(2, OW_INSERT)]),
    command("restore", -4, generic::restore)
        .about("2.6.0", SERIALIZE, "Creates a key from what DUMP returned.")
        .syntax("key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]")
        .flags(WRITE_OOM)
        .acl(Acl::KEYSPACE.or(Acl::DANGEROUS))
        .keys(&[first(OW_UPDATE)]),
    server("scan", -2, Server::Scan)
        .about(
            "2.8.0",
            "O(1) a call, O(N) for all N keys of the database.",
            "Walks over the keys of the database in small steps.",
        )
        .syntax("cursor [MATCH pattern] [COUNT count] [TYPE type]")
        .tips(&[RANDOM, SPECIAL_REQUEST, SPECIAL_RESPONSE]),
    command("sort", -2, sort::sort)
        .about(
            "1.0.0",
            BY_SORTED,
            "Returns or stores the elements of a list, set or sorted set in order of themselves or of other keys.",
        )
        .syntax("key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]")
        .flags(WRITE_OOM.or(Flags::MOVABLEKEYS).or(Flags::BARRIER))
        .acl(SORTABLE)
        .keys(&[first(RO_ACCESS), BY_PATTERN, STORED]),
    command("sort_ro", -2, sort::sort_ro)
        .about(
            "7.0.0",
            BY_SORTED,
            "Returns the elements of a list, set or sorted set in order of themselves or of other keys.",
        )
        .syntax("key [BY by-pattern] [LIMIT offset count] [GET get-pattern [GET get-pattern ...]] [ASC | DESC] [ALPHA]")
        .flags(READ.or(Flags::MOVABLEKEYS).or(Flags::BARRIER))
        .acl(SORTABLE)
        .keys(&[first(RO_ACCESS), BY_PATTERN]),
    command("touch", -2, generic::touch)
        .about("3.2.1", BY_KEYS, "Marks keys as just used and counts those that exist.")
        .syntax("key [key ...]")
        .flags(READ_FAST)
        .keys(&[KeySpec::range(1, -1, 1, RO)])
        .tips(&[MULTI_SHARD, SUM]),
    command("ttl", 2, generic::ttl)
        .about("1.0.0", CONSTANT, "Returns the seconds that a key has left to live.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("type", 2, generic::type_)
        .about("1.0.0", CONSTANT, "Returns the type of the value at a key.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("unlink", -2, generic::unlink)
        .about(
            "4.0.0",
            "O(1) a key; memory is given back later.",
            "Deletes keys, freeing large values in the background.",
        )
        .syntax("key [key ...]")
        .flags(WRITE_FAST)
        .keys(&[KeySpec::range(1, -1, 1, RM_DELETE)])
        .tips(&[MULTI_SHARD, SUM]),
];
