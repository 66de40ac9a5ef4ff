use super::*;
use crate::commands::{BeginSearch, Ctx, FindKeys, Outcome, set};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::Set, Handler::Data(run))
}

const BY_MEMBERS: &str = "O(N) where N is the number of members named.";
const BY_SET: &str = "O(N) where N is the number of members of the set.";
const BY_SMALLEST: &str = "O(N*M) where N is the number of members of the smallest set and M the number of sets.";
const BY_ALL: &str = "O(N) where N is the number of members of all sets together.";
const BY_COUNT: &str = "O(N) where N is the number of members returned.";

const RW_DELETE: KeyAccess = KeyAccess::RW.or(KeyAccess::DELETE);
const SOURCES: &[KeySpec] = &[KeySpec::range(1, -1, 1, RO_ACCESS)];
const SOURCES_OF_STORE: KeySpec = KeySpec::range(2, -1, 1, RO_ACCESS);
const COUNTED_SOURCES: KeySpec = KeySpec {
    begin: BeginSearch::Index(1),
    find: FindKeys::Counted { count: 0, first: 1, step: 1 },
    access: RO_ACCESS,
    notes: None,
};

pub const COMMANDS: &[Command] = &[
    command("sadd", -3, set::sadd)
        .about("1.0.0", BY_MEMBERS, "Adds members to a set, creating the key if it is missing.")
        .syntax("key member [member ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("scard", 2, set::scard)
        .about("1.0.0", CONSTANT, "Returns how many members a set has.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("sdiff", -2, set::sdiff)
        .about("1.0.0", BY_ALL, "Returns the members of the first set that are in none of the others.")
        .syntax("key [key ...]")
        .flags(READ)
        .keys(SOURCES)
        .tips(&[RANDOM_ORDER]),
    command("sdiffstore", -3, set::sdiffstore)
        .about("1.0.0", BY_ALL, "Stores the members of the first set that are in none of the others.")
        .syntax("destination key [key ...]")
        .flags(WRITE_OOM)
        .keys(&[first(OW_UPDATE), SOURCES_OF_STORE]),
    command("sinter", -2, set::sinter)
        .about("1.0.0", BY_SMALLEST, "Returns the members that all sets have in common.")
        .syntax("key [key ...]")
        .flags(READ)
        .keys(SOURCES)
        .tips(&[RANDOM_ORDER]),
    command("sintercard", -3, set::sintercard)
        .about("7.0.0", BY_SMALLEST, "Counts the members that all sets have in common, up to a limit.")
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .flags(READ.or(Flags::MOVABLEKEYS))
        .keys(&[COUNTED_SOURCES]),
    command("sinterstore", -3, set::sinterstore)
        .about("1.0.0", BY_SMALLEST, "Stores the members that all sets have in common.")
        .syntax("destination key [key ...]")
        .flags(WRITE_OOM)
        .keys(&[first(RW_UPDATE), SOURCES_OF_STORE]),
    command("sismember", 3, set::sismember)
        .about("1.0.0", CONSTANT, "Tells whether a set has a member.")
        .syntax("key member")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("smembers", 2, set::smembers)
        .about("1.0.0", BY_SET, "Returns all members of a set.")
        .syntax("key")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM_ORDER]),
    command("smismember", -3, set::smismember)
        .about("6.2.0", BY_MEMBERS, "Tells of each of several members whether a set has it.")
        .syntax("key member [member ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("smove", 4, set::smove)
        .about("1.0.0", CONSTANT, "Moves a member from one set to another.")
        .syntax("source destination member")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)]),
    command("spop", -2, set::spop)
        .about("1.0.0", BY_COUNT, "Removes members from a set, picked at random, and returns them.")
        .syntax("key [count]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)])
        .tips(&[RANDOM]),
    command("srandmember", -2, set::srandmember)
        .about("1.0.0", BY_COUNT, "Returns members of a set, picked at random.")
        .syntax("key [count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("srem", -3, set::srem)
        .about("1.0.0", BY_MEMBERS, "Removes members from a set, and the key with the last one.")
        .syntax("key member [member ...]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_DELETE)]),
    command("sscan", -3, set::sscan)
        .about("2.8.0", "O(1) a call, O(N) for all N members.", "Walks over the members of a set in small steps.")
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("sunion", -2, set::sunion)
        .about("1.0.0", BY_ALL, "Returns the members that any of several sets has.")
        .syntax("key [key ...]")
        .flags(READ)
        .keys(SOURCES)
        .tips(&[RANDOM_ORDER]),
    command("sunionstore", -3, set::sunionstore)
        .about("1.0.0", BY_ALL, "Stores the members that any of several sets has.")
        .syntax("destination key [key ...]")
        .flags(WRITE_OOM)
        .keys(&[first(OW_UPDATE), SOURCES_OF_STORE]),
];
