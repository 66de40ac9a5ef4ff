//! The command table: every command the server knows, with all that is known of it.
//!
//! Arity, flags, key specifications, categories and tips are those that Redis 7.2 documents; a test compares them with
//! what a Redis 7.0.15 printed and lists where and why they differ. `since` is the Redis version that introduced the
//! command, or the Valkey version, when only Valkey has it.
//!
//! One flag is ours. BARRIER marks the commands that name no key and read or change the state of the connection or
//! the server: they wait until everything before them on their connection has answered.
//!
//! One file a group of the documentation.

mod bitmap;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod pubsub;
mod server;
mod set;
mod sorted_set;
mod stream;
mod string;
#[cfg(test)]
mod tests;
mod transactions;

use super::spec::{Acl, Command, Flags, Group, Handler, KeyAccess, KeySpec, Server};

const GROUPS: &[&[Command]] = &[
    string::COMMANDS,
    bitmap::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    set::COMMANDS,
    sorted_set::COMMANDS,
    stream::COMMANDS,
    geo::COMMANDS,
    hyperloglog::COMMANDS,
    generic::COMMANDS,
    connection::COMMANDS,
    transactions::COMMANDS,
    server::COMMANDS,
    cluster::COMMANDS,
    pubsub::COMMANDS,
];

/// Every command, in the order of the groups.
pub static COMMANDS: &[Command] = &concat::<{ total() }>();

const fn total() -> usize {
    let (mut total, mut i) = (0, 0);
    while i < GROUPS.len() {
        total += GROUPS[i].len();
        i += 1;
    }
    total
}

const fn concat<const N: usize>() -> [Command; N] {
    let mut all = [GROUPS[0][0]; N];
    let (mut group, mut i, mut n) = (0, 0, 0);
    while n < N {
        while i == GROUPS[group].len() {
            (group, i) = (group + 1, 0);
        }
        all[n] = GROUPS[group][i];
        (i, n) = (i + 1, n + 1);
    }
    all
}

/// The top-level command of this name, given in lower case.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// (group, full name, since) of every command and subcommand, for the compatibility page of the documentation. What DEBUG does is nobody's to
/// rely on.
pub fn compatibility() -> impl Iterator<Item = (Group, String, &'static str)> {
    COMMANDS.iter().flat_map(|command| {
        let own = (command.group, command.name.to_owned(), command.since);
        let public = command.subcommands.iter().filter(|sub| !sub.flags.has(Flags::SYSCMD));
        let subcommands = public.map(|sub| (sub.group, format!("{}|{}", command.name, sub.name), sub.since));
        std::iter::once(own).chain(subcommands)
    })
}

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.or(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.or(Flags::FAST);
const WRITE_OOM: Flags = WRITE.or(Flags::DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.or(Flags::FAST);
const LOADING_STALE: Flags = Flags::LOADING.or(Flags::STALE);
/// What most connection commands have.
const UNSCRIPTED: Flags = LOADING_STALE.or(Flags::NOSCRIPT);
const ADMIN: Flags = UNSCRIPTED.or(Flags::ADMIN);

const RO: KeyAccess = KeyAccess::RO;
const RO_ACCESS: KeyAccess = RO.or(KeyAccess::ACCESS);
const RW_UPDATE: KeyAccess = KeyAccess::RW.or(KeyAccess::UPDATE);
const RW_ACCESS_UPDATE: KeyAccess = RW_UPDATE.or(KeyAccess::ACCESS);
const RW_ACCESS_DELETE: KeyAccess = KeyAccess::RW.or(KeyAccess::ACCESS).or(KeyAccess::DELETE);
const RW_INSERT: KeyAccess = KeyAccess::RW.or(KeyAccess::INSERT);
const OW_UPDATE: KeyAccess = KeyAccess::OW.or(KeyAccess::UPDATE);
const OW_INSERT: KeyAccess = KeyAccess::OW.or(KeyAccess::INSERT);
const RM_DELETE: KeyAccess = KeyAccess::RM.or(KeyAccess::DELETE);

const fn first(access: KeyAccess) -> KeySpec {
    KeySpec::one(1, access)
}

const RANDOM: &str = "nondeterministic_output";
const RANDOM_ORDER: &str = "nondeterministic_output_order";
const MULTI_SHARD: &str = "request_policy:multi_shard";
const ALL_SHARDS: &str = "request_policy:all_shards";
const ALL_NODES: &str = "request_policy:all_nodes";
const SPECIAL_REQUEST: &str = "request_policy:special";
const ALL_SUCCEEDED: &str = "response_policy:all_succeeded";
const SUM: &str = "response_policy:agg_sum";
const SPECIAL_RESPONSE: &str = "response_policy:special";

const CONSTANT: &str = "O(1)";
const BY_SUBCOMMAND: &str = "Depends on subcommand.";

/// A container's HELP, which every container has.
const fn help(group: Group, handler: Handler, since: &'static str) -> Command {
    Command::new("help", 2, group, handler).about(since, CONSTANT, "Print this help.").flags(LOADING_STALE)
}
