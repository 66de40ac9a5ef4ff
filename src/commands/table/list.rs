use super::*;
use crate::commands::{BeginSearch, Ctx, FindKeys, Outcome, list};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::List, Handler::Data(run))
}

const RW_DELETE: KeyAccess = KeyAccess::RW.or(KeyAccess::DELETE);
const WAITS: Flags = Flags::BLOCKING.or(Flags::BARRIER);

const BY_LENGTH: &str = "O(N) where N is the length of the list.";
const BY_COUNT: &str = "O(N) where N is the number of elements.";
const BY_KEYS_AND_COUNT: &str = "O(N+M) where N is the number of keys and M the number of elements returned.";
/// What it takes to reach an element, in a tree of nodes.
const BY_PLACE: &str = "O(log(N)) where N is the length of the list.";

/// A counted run of keys behind that argument.
const fn counted(at: u8) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(at),
        find: FindKeys::Counted { count: 0, first: 1, step: 1 },
        access: RW_ACCESS_DELETE,
        notes: None,
    }
}

const MOVES: &[KeySpec] = &[first(RW_ACCESS_DELETE), KeySpec::one(2, RW_INSERT)];

pub const COMMANDS: &[Command] = &[
    command("blmove", 6, list::blmove)
        .about("6.2.0", CONSTANT, "Moves an element from one list to another, or waits for one to move.")
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout")
        .flags(WRITE_OOM.or(WAITS))
        .keys(MOVES),
    command("blmpop", -5, list::blmpop)
        .about("7.0.0", BY_KEYS_AND_COUNT, "Pops elements of the first list that is there, or waits for one.")
        .syntax("timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .flags(WRITE.or(WAITS).or(Flags::MOVABLEKEYS))
        .keys(&[counted(2)]),
    command("blpop", -3, list::blpop)
        .about(
            "2.0.0",
            "O(N) where N is the number of keys.",
            "Pops the first element of the first list that is there, or waits for one.",
        )
        .syntax("key [key ...] timeout")
        .flags(WRITE.or(WAITS))
        .keys(&[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]),
    command("brpop", -3, list::brpop)
        .about(
            "2.0.0",
            "O(N) where N is the number of keys.",
            "Pops the last element of the first list that is there, or waits for one.",
        )
        .syntax("key [key ...] timeout")
        .flags(WRITE.or(WAITS))
        .keys(&[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]),
    command("brpoplpush", 4, list::brpoplpush)
        .about("2.2.0", CONSTANT, "Moves the last element of a list to the front of another, or waits for one.")
        .syntax("source destination timeout")
        .flags(WRITE_OOM.or(WAITS))
        .keys(MOVES)
        .deprecated("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments"),
    command("lindex", 3, list::lindex)
        .about("1.0.0", BY_PLACE, "Returns the element at an index.")
        .syntax("key index")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("linsert", 5, list::linsert)
        .about(
            "2.2.0",
            "O(N) where N is the number of elements up to the pivot.",
            "Puts an element in front of another, or behind it.",
        )
        .syntax("key <BEFORE | AFTER> pivot element")
        .flags(WRITE_OOM)
        .keys(&[first(RW_INSERT)]),
    command("llen", 2, list::llen)
        .about("1.0.0", CONSTANT, "Returns the length of a list.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("lmove", 5, list::lmove)
        .about("6.2.0", CONSTANT, "Moves an element from an end of a list to an end of another.")
        .syntax("source destination <LEFT | RIGHT> <LEFT | RIGHT>")
        .flags(WRITE_OOM)
        .keys(MOVES),
    command("lmpop", -4, list::lmpop)
        .about("7.0.0", BY_KEYS_AND_COUNT, "Pops elements of the first list that is there.")
        .syntax("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .flags(WRITE.or(Flags::MOVABLEKEYS))
        .keys(&[counted(1)]),
    command("lpop", -2, list::lpop)
        .about("1.0.0", "O(N) where N is the number of elements returned.", "Pops elements from the front of a list.")
        .syntax("key [count]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)]),
    command("lpos", -3, list::lpos)
        .about("6.0.6", BY_LENGTH, "Returns at which indexes an element is found.")
        .syntax("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("lpush", -3, list::lpush)
        .about("1.0.0", BY_COUNT, "Pushes elements to the front of a list, creating the key if it is missing.")
        .syntax("key element [element ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("lpushx", -3, list::lpushx)
        .about("2.2.0", BY_COUNT, "Pushes elements to the front of a list, if there is one.")
        .syntax("key element [element ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("lrange", 4, list::lrange)
        .about(
            "1.0.0",
            "O(log(N)+M) where N is the length of the list and M the number of elements returned.",
            "Returns the elements between two indexes.",
        )
        .syntax("key start stop")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("lrem", 4, list::lrem)
        .about("1.0.0", BY_LENGTH, "Removes elements that equal a text.")
        .syntax("key count element")
        .flags(WRITE)
        .keys(&[first(RW_DELETE)]),
    command("lset", 4, list::lset)
        .about("1.0.0", BY_PLACE, "Replaces the element at an index.")
        .syntax("key index element")
        .flags(WRITE_OOM)
        .keys(&[first(RW_UPDATE)]),
    command("ltrim", 4, list::ltrim)
        .about("1.0.0", BY_PLACE, "Removes all elements but those between two indexes.")
        .syntax("key start stop")
        .flags(WRITE)
        .keys(&[first(RW_DELETE)]),
    command("rpop", -2, list::rpop)
        .about("1.0.0", "O(N) where N is the number of elements returned.", "Pops elements from the end of a list.")
        .syntax("key [count]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)]),
    command("rpoplpush", 3, list::rpoplpush)
        .about("1.2.0", CONSTANT, "Moves the last element of a list to the front of another.")
        .syntax("source destination")
        .flags(WRITE_OOM)
        .keys(MOVES)
        .deprecated("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments"),
    command("rpush", -3, list::rpush)
        .about("1.0.0", BY_COUNT, "Pushes elements to the end of a list, creating the key if it is missing.")
        .syntax("key element [element ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("rpushx", -3, list::rpushx)
        .about("2.2.0", BY_COUNT, "Pushes elements to the end of a list, if there is one.")
        .syntax("key element [element ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
];
