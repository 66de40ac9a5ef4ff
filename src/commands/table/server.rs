use super::*;
use crate::commands::{blocking, generic};

const fn command(name: &'static str, arity: i16, server: Server) -> Command {
    Command::new(name, arity, Group::Server, Handler::Server(server))
}

const fn container(name: &'static str) -> Command {
    Command::new(name, -2, Group::Server, Handler::Container)
}

const fn introspection(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::Command).flags(LOADING_STALE).acl(Acl::CONNECTION)
}

const fn config(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::Config).flags(ADMIN.or(Flags::BARRIER))
}

const fn latency(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::Latency).flags(ADMIN.or(Flags::BARRIER)).tips(&[RANDOM, ALL_NODES, SPECIAL_RESPONSE])
}

const fn memory(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::Memory).flags(Flags::BARRIER).tips(&[RANDOM, ALL_SHARDS, SPECIAL_RESPONSE])
}

const fn slowlog(name: &'static str, arity: i16) -> Command {
    command(name, arity, Server::SlowLog).flags(LOADING_STALE.or(Flags::ADMIN).or(Flags::BARRIER))
}

const fn flush(name: &'static str, server: Server) -> Command {
    command(name, -1, server)
        .syntax("[ASYNC | SYNC]")
        .flags(WRITE.or(Flags::BARRIER))
        .acl(Acl::KEYSPACE.or(Acl::DANGEROUS))
        .tips(&[ALL_SHARDS, ALL_SUCCEEDED])
}

const fn replicaof(name: &'static str) -> Command {
    command(name, 3, Server::ReplicaOf).syntax("<host port | NO ONE>").flags(ROLES.or(Flags::NO_ASYNC_LOADING))
}

/// What changes the role has these, and what makes a connection one of a replica.
const ROLES: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE).or(Flags::BARRIER);
const SYNCS: Flags =
    Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING).or(Flags::NO_MULTI).or(Flags::BARRIER);

const BY_NAMES: &str = "O(N) where N is the number of names given.";
const BY_ARGUMENTS: &str = "O(N) where N is the number of arguments of the command.";
const BY_PARAMETERS: &str = "O(N) where N is the number of parameters given.";
const BY_ALLOCATIONS: &str = "Depends on how much memory is allocated; can be slow.";

pub const COMMANDS: &[Command] = &[
    introspection("command", -1)
        .about("2.8.13", "O(N) where N is the number of commands.", "Describes all commands.")
        .tips(&[RANDOM_ORDER])
        .subcommands(COMMAND),
    container("config").about("2.0.0", BY_SUBCOMMAND, "Commands about configuration parameters.").subcommands(CONFIG),
    command("dbsize", 1, Server::DbSize)
        .about("1.0.0", CONSTANT, "Counts the keys of the database.")
        .flags(READ_FAST.or(Flags::BARRIER))
        .acl(Acl::KEYSPACE)
        .tips(&[ALL_SHARDS, SUM]),
    command("debug", -2, Server::Debug)
        .about("1.0.0", BY_SUBCOMMAND, "Commands for tests and for developers of the server.")
        .flags(ADMIN.or(Flags::BARRIER).or(Flags::SYSCMD))
        .subcommands(DEBUG),
    command("failover", -1, Server::Failover)
        .about("6.2.0", CONSTANT, "Lets one of the replicas take over as the primary.")
        .syntax("[TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]")
        .flags(ROLES),
    flush("flushall", Server::FlushAll).about(
        "1.0.0",
        "O(N) where N is the number of keys in all databases.",
        "Deletes the keys of all databases.",
    ),
    flush("flushdb", Server::FlushDb).about(
        "1.0.0",
        "O(N) where N is the number of keys in the database.",
        "Deletes the keys of the database.",
    ),
    command("info", -1, Server::Info)
        .about("1.0.0", CONSTANT, "Returns figures about the server, all or by section.")
        .syntax("[section [section ...]]")
        .flags(LOADING_STALE.or(Flags::BARRIER))
        .acl(Acl::DANGEROUS)
        .tips(&[RANDOM, ALL_SHARDS, SPECIAL_RESPONSE]),
    command("lastsave", 1, Server::LastSave)
        .about("1.0.0", CONSTANT, "Returns the Unix time of the last successful save.")
        .flags(LOADING_STALE.or(Flags::FAST).or(Flags::BARRIER))
        .acl(Acl::ADMIN.or(Acl::DANGEROUS))
        .tips(&[RANDOM]),
    container("latency").about("2.8.13", BY_SUBCOMMAND, "Commands about latency and its peaks.").subcommands(LATENCY),
    command("lolwut", -1, Server::Lolwut)
        .about("5.0.0", "", "Shows the version of the server, with a picture.")
        .syntax("[VERSION version]")
        .flags(READ_FAST),
    container("memory").about("4.0.0", BY_SUBCOMMAND, "Commands about the use of memory.").subcommands(MEMORY),
    command("monitor", 1, Server::Monitor)
        .about("1.0.0", "", "Shows every command that the server executes from now on.")
        .flags(ADMIN.or(Flags::BARRIER)),
    command("psync", -3, Server::Psync)
        .about("2.8.0", "", "Makes the connection that of a replica, which goes on where it was.")
        .syntax("replicationid offset")
        .flags(SYNCS),
    command("replconf", -1, Server::ReplConf)
        .about("3.0.0", CONSTANT, "What a replica tells its primary of itself.")
        .flags(ADMIN.or(Flags::ALLOW_BUSY).or(Flags::BARRIER)),
    replicaof("replicaof").about("5.0.0", CONSTANT, "Makes the server a replica of another, or a primary."),
    command("role", 1, Server::Role)
        .about("2.8.12", CONSTANT, "Returns the role of the server in replication.")
        .flags(UNSCRIPTED.or(Flags::FAST).or(Flags::BARRIER))
        .acl(Acl::ADMIN.or(Acl::DANGEROUS)),
    command("shutdown", -1, Server::Shutdown)
        .about("1.0.0", "O(N) when saving, where N is the number of keys; otherwise O(1).", "Ends the server.")
        .syntax("[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]")
        .flags(ADMIN.or(Flags::NO_MULTI).or(Flags::ALLOW_BUSY).or(Flags::BARRIER)),
    replicaof("slaveof")
        .about("1.0.0", CONSTANT, "Makes the server a replica of another, or a primary.")
        .deprecated("5.0.0", "`REPLICAOF`"),
    container("slowlog")
        .about("2.2.12", BY_SUBCOMMAND, "Commands about the log of slow commands.")
        .subcommands(SLOWLOG),
    command("swapdb", 3, Server::SwapDb)
        .about(
            "4.0.0",
            "O(N) where N is the number of clients that watch or wait for keys of the databases.",
            "Exchanges two databases.",
        )
        .syntax("index1 index2")
        .flags(WRITE_FAST.or(Flags::BARRIER))
        .acl(Acl::KEYSPACE.or(Acl::DANGEROUS)),
    command("sync", 1, Server::Psync)
        .about("1.0.0", "", "Makes the connection that of a replica, which begins anew.")
        .flags(SYNCS),
    command("time", 1, Server::Time)
        .about("2.6.0", CONSTANT, "Returns the time of the server.")
        .flags(LOADING_STALE.or(Flags::FAST))
        .tips(&[RANDOM]),
];

const COMMAND: &[Command] = &[
    introspection("count", 2).about("2.8.13", CONSTANT, "Counts the commands."),
    introspection("docs", -2)
        .about("7.0.0", BY_NAMES, "Returns the documentation of all or the named commands.")
        .syntax("[command-name [command-name ...]]")
        .tips(&[RANDOM_ORDER]),
    introspection("getkeys", -3)
        .about("2.8.13", BY_ARGUMENTS, "Returns the keys in a command line.")
        .syntax("command [arg [arg ...]]"),
    introspection("getkeysandflags", -3)
        .about("7.0.0", BY_ARGUMENTS, "Returns the keys in a command line and what is done to them.")
        .syntax("command [arg [arg ...]]"),
    introspection("info", -2)
        .about("2.8.13", BY_NAMES, "Describes all or the named commands.")
        .syntax("[command-name [command-name ...]]")
        .tips(&[RANDOM_ORDER]),
    introspection("list", -2)
        .about(
            "7.0.0",
            "O(N) where N is the number of commands.",
            "Returns the names of all commands, or those that pass a filter.",
        )
        .syntax("[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]")
        .tips(&[RANDOM_ORDER]),
    help(Group::Server, Handler::Server(Server::Command), "5.0.0").acl(Acl::CONNECTION),
];

const CONFIG: &[Command] = &[
    config("get", -3)
        .about("2.0.0", BY_PARAMETERS, "Returns the parameters that match the patterns, with their values.")
        .syntax("parameter [parameter ...]"),
    config("resetstat", 2)
        .about("2.0.0", CONSTANT, "Sets the counters that INFO shows to zero.")
        .tips(&[ALL_NODES, ALL_SUCCEEDED]),
    config("rewrite", 2)
        .about("2.8.0", CONSTANT, "Writes the current configuration to the configuration file.")
        .tips(&[ALL_NODES, ALL_SUCCEEDED]),
    config("set", -4)
        .about("2.0.0", BY_PARAMETERS, "Changes parameters of the running server.")
        .syntax("parameter value [parameter value ...]")
        .tips(&[ALL_NODES, ALL_SUCCEEDED]),
    help(Group::Server, Handler::Server(Server::Config), "5.0.0"),
];

const DEBUG: &[Command] = &[Command::new("blockpop", -4, Group::Server, Handler::Data(blocking::block_pop))
    .about("1.0.0", "O(N) where N is the number of keys.", "Takes the first of the keys that exists, or waits for one.")
    .syntax("key [key ...] timeout")
    .flags(WRITE.or(Flags::ADMIN).or(Flags::BLOCKING).or(Flags::BARRIER).or(Flags::SYSCMD))
    .keys(&[KeySpec::range(2, -2, 1, KeyAccess::RW.or(KeyAccess::ACCESS).or(KeyAccess::DELETE))])];

const LATENCY: &[Command] = &[
    latency("doctor", 2).about("2.8.13", CONSTANT, "Explains the recorded latency peaks in words."),
    latency("graph", 3).about("2.8.13", CONSTANT, "Draws the latency peaks of an event.").syntax("event"),
    latency("histogram", -2)
        .about(
            "7.0.0",
            "O(N) where N is the number of commands shown.",
            "Returns how the latencies of commands are distributed.",
        )
        .syntax("[command [command ...]]"),
    latency("history", 3).about("2.8.13", CONSTANT, "Returns the latency peaks of an event.").syntax("event"),
    latency("latest", 2).about("2.8.13", CONSTANT, "Returns the last latency peak of every event."),
    latency("reset", -2)
        .about("2.8.13", CONSTANT, "Forgets the latency peaks of all or the named events.")
        .syntax("[event [event ...]]")
        .tips(&[ALL_NODES, SUM]),
    help(Group::Server, Handler::Server(Server::Latency), "2.8.13"),
];

const MEMORY: &[Command] = &[
    memory("doctor", 2).about("4.0.0", CONSTANT, "Explains the use of memory in words."),
    memory("malloc-stats", 2).about("4.0.0", BY_ALLOCATIONS, "Returns the statistics of the allocator."),
    memory("purge", 2)
        .about("4.0.0", BY_ALLOCATIONS, "Gives unused memory back to the system.")
        .tips(&[ALL_SHARDS, ALL_SUCCEEDED]),
    memory("stats", 2).about("4.0.0", CONSTANT, "Returns what the memory is used for."),
    Command::new("usage", -3, Group::Server, Handler::Data(generic::memory_usage))
        .about("4.0.0", "O(N) where N is the number of samples.", "Returns the bytes that a key and its value take.")
        .syntax("key [SAMPLES count]")
        .flags(READ)
        .keys(&[KeySpec::one(2, RO)]),
    help(Group::Server, Handler::Server(Server::Memory), "4.0.0"),
];

const SLOWLOG: &[Command] = &[
    slowlog("get", -2)
        .about("2.2.12", "O(N) where N is the number of entries returned.", "Returns the latest slow commands.")
        .syntax("[count]")
        .tips(&[ALL_NODES, RANDOM]),
    slowlog("len", 2).about("2.2.12", CONSTANT, "Counts the entries of the slow log.").tips(&[ALL_NODES, SUM, RANDOM]),
    slowlog("reset", 2)
        .about("2.2.12", "O(N) where N is the number of entries.", "Empties the slow log.")
        .tips(&[ALL_NODES, ALL_SUCCEEDED]),
    help(Group::Server, Handler::Server(Server::SlowLog), "6.2.0"),
];
