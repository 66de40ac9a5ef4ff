use super::*;
use crate::commands::{Ctx, Outcome, string};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::String, Handler::Data(run))
}

const RANGE: &str = "O(N) where N is the length of the returned string.";

pub const COMMANDS: &[Command] = &[
    command("append", 3, string::append)
        .about("2.0.0", "O(1) amortized, for a short value.", "Appends to a string, creating the key if it is missing.")
        .syntax("key value")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("decr", 2, string::decr)
        .about("1.0.0", CONSTANT, "Subtracts one from an integer; a missing key counts as 0.")
        .syntax("key")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("decrby", 3, string::decrby)
        .about("1.0.0", CONSTANT, "Subtracts a number from an integer; a missing key counts as 0.")
        .syntax("key decrement")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("delifeq", 3, string::delifeq)
        .about("9.0.0", CONSTANT, "Deletes a string key if it holds exactly the given value.")
        .syntax("key value")
        .flags(WRITE)
        .keys(&[first(RM_DELETE.or(KeyAccess::ACCESS))]),
    command("get", 2, string::get)
        .about("1.0.0", CONSTANT, "Returns the string at a key.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("getdel", 2, string::getdel)
        .about("6.2.0", CONSTANT, "Returns the string at a key and deletes the key.")
        .syntax("key")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)]),
    command("getex", -2, string::getex)
        .about("6.2.0", CONSTANT, "Returns the string at a key and sets or clears its expiry.")
        .syntax(
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        )
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_UPDATE).notes("A change of the expiry counts as an update.")]),
    command("getrange", 4, string::getrange)
        .about("2.4.0", RANGE, "Returns the part of a string between two offsets.")
        .syntax("key start end")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("getset", 3, string::getset)
        .about("1.0.0", CONSTANT, "Sets a key to a string and returns what it held before.")
        .syntax("key value")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)])
        .deprecated("6.2.0", "`SET` with the `!GET` argument"),
    command("incr", 2, string::incr)
        .about("1.0.0", CONSTANT, "Adds one to an integer; a missing key counts as 0.")
        .syntax("key")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("incrby", 3, string::incrby)
        .about("1.0.0", CONSTANT, "Adds a number to an integer; a missing key counts as 0.")
        .syntax("key increment")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("incrbyfloat", 3, string::incrbyfloat)
        .about("2.6.0", CONSTANT, "Adds a floating point number to a number; a missing key counts as 0.")
        .syntax("key increment")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("lcs", -3, string::lcs)
        .about("7.0.0", "O(N*M) where N and M are the lengths of both strings.", "Finds the longest common subsequence of two strings.")
        .syntax("key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]")
        .flags(READ)
        .keys(&[KeySpec::range(1, 1, 1, RO_ACCESS)]),
    command("mget", -2, string::mget)
        .about("1.0.0", "O(N) where N is the number of keys.", "Returns the strings at several keys.")
        .syntax("key [key ...]")
        .flags(READ_FAST)
        .keys(&[KeySpec::range(1, -1, 1, RO_ACCESS)])
        .tips(&[MULTI_SHARD]),
    command("mset", -3, string::mset)
        .about("1.0.1", "O(N) where N is the number of keys.", "Sets several keys to strings.")
        .syntax("key value [key value ...]")
        .flags(WRITE_OOM)
        .keys(&[KeySpec::range(1, -1, 2, OW_UPDATE)])
        .tips(&[MULTI_SHARD, ALL_SUCCEEDED]),
    command("msetnx", -3, string::msetnx)
        .about("1.0.1", "O(N) where N is the number of keys.", "Sets several keys to strings, if none of them exists.")
        .syntax("key value [key value ...]")
        .flags(WRITE_OOM)
        .keys(&[KeySpec::range(1, -1, 2, OW_INSERT)]),
    command("psetex", 4, string::psetex)
        .about("2.6.0", CONSTANT, "Sets a key to a string that expires after some milliseconds.")
        .syntax("key milliseconds value")
        .flags(WRITE_OOM)
        .keys(&[first(OW_UPDATE)])
        .deprecated("2.6.12", "`SET` with the `PX` argument"),
    command("set", -3, string::set)
        .about("1.0.0", CONSTANT, "Sets a key to a string, whatever it held before.")
        .syntax(
            "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        )
        .flags(WRITE_OOM)
        .keys(&[first(RW_ACCESS_UPDATE.or(KeyAccess::VARIABLE_FLAGS)).notes("Reads the key only with the `GET` option.")]),
    command("setex", 4, string::setex)
        .about("2.0.0", CONSTANT, "Sets a key to a string that expires after some seconds.")
        .syntax("key seconds value")
        .flags(WRITE_OOM)
        .keys(&[first(OW_UPDATE)])
        .deprecated("2.6.12", "`SET` with the `EX` argument"),
    command("setnx", 3, string::setnx)
        .about("1.0.0", CONSTANT, "Sets a key to a string, if the key does not exist.")
        .syntax("key value")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(OW_INSERT)])
        .deprecated("2.6.12", "`SET` with the `NX` argument"),
    command("setrange", 4, string::setrange)
        .about(
            "2.2.0",
            "O(M) where M is the length of the value; short ones count as O(1).",
            "Overwrites a string from an offset on, padding with zero bytes as needed.",
        )
        .syntax("key offset value")
        .flags(WRITE_OOM)
        .keys(&[first(RW_UPDATE)]),
    command("strlen", 2, string::strlen)
        .about("2.2.0", CONSTANT, "Returns the length of a string in bytes.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("substr", 4, string::substr)
        .about("1.0.0", RANGE, "Returns the part of a string between two offsets.")
        .syntax("key start end")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("2.0.0", "`GETRANGE`"),
];
