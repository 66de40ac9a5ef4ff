use super::*;
use crate::commands::{Ctx, Outcome, hash};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::Hash, Handler::Data(run))
}

const OF_SIZE: &str = "O(N) where N is the size of the hash.";
const OF_FIELDS: &str = "O(N) where N is the number of fields named.";

pub const COMMANDS: &[Command] = &[
    command("hdel", -3, hash::hdel)
        .about("2.0.0", OF_FIELDS, "Removes fields from a hash, and the key when none is left.")
        .syntax("key field [field ...]")
        .flags(WRITE_FAST)
        .keys(&[first(KeyAccess::RW.or(KeyAccess::DELETE))]),
    command("hexists", 3, hash::hexists)
        .about("2.0.0", CONSTANT, "Tells whether a hash has a field.")
        .syntax("key field")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("hexpire", -6, hash::hexpire)
        .about("7.4.0", OF_FIELDS, "Lets fields expire after some seconds.")
        .syntax("key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hexpireat", -6, hash::hexpireat)
        .about("7.4.0", OF_FIELDS, "Lets fields expire at a Unix time in seconds.")
        .syntax("key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hexpiretime", -5, hash::hexpiretime)
        .about("7.4.0", OF_FIELDS, "Tells when fields expire, as Unix times in seconds.")
        .syntax("key FIELDS numfields field [field ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("hget", 3, hash::hget)
        .about("2.0.0", CONSTANT, "Returns the value of a field.")
        .syntax("key field")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("hgetall", 2, hash::hgetall)
        .about("2.0.0", OF_SIZE, "Returns all fields of a hash with their values.")
        .syntax("key")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM_ORDER]),
    command("hgetdel", -5, hash::hgetdel)
        .about("8.0.0", OF_FIELDS, "Returns the values of fields and removes these fields.")
        .syntax("key FIELDS numfields field [field ...]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)]),
    command("hgetex", -5, hash::hgetex)
        .about("8.0.0", OF_FIELDS, "Returns the values of fields and sets or clears their expiry.")
        .syntax(
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
        )
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_UPDATE).notes("A change of an expiry counts as an update.")]),
    command("hincrby", 4, hash::hincrby)
        .about("2.0.0", CONSTANT, "Adds a number to an integer in a field; a missing field counts as 0.")
        .syntax("key field increment")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("hincrbyfloat", 4, hash::hincrbyfloat)
        .about("2.6.0", CONSTANT, "Adds a floating point number to a number in a field; a missing field counts as 0.")
        .syntax("key field increment")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("hkeys", 2, hash::hkeys)
        .about("2.0.0", OF_SIZE, "Returns the names of all fields of a hash.")
        .syntax("key")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM_ORDER]),
    command("hlen", 2, hash::hlen)
        .about("2.0.0", CONSTANT, "Returns how many fields a hash has.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("hmget", -3, hash::hmget)
        .about("2.0.0", OF_FIELDS, "Returns the values of several fields.")
        .syntax("key field [field ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("hmset", -4, hash::hmset)
        .about("2.0.0", OF_FIELDS, "Sets several fields of a hash.")
        .syntax("key field value [field value ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)])
        .deprecated("4.0.0", "`HSET` with multiple field-value pairs"),
    command("hpersist", -5, hash::hpersist)
        .about("7.4.0", OF_FIELDS, "Takes the expiry of fields away.")
        .syntax("key FIELDS numfields field [field ...]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hpexpire", -6, hash::hpexpire)
        .about("7.4.0", OF_FIELDS, "Lets fields expire after some milliseconds.")
        .syntax("key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hpexpireat", -6, hash::hpexpireat)
        .about("7.4.0", OF_FIELDS, "Lets fields expire at a Unix time in milliseconds.")
        .syntax("key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hpexpiretime", -5, hash::hpexpiretime)
        .about("7.4.0", OF_FIELDS, "Tells when fields expire, as Unix times in milliseconds.")
        .syntax("key FIELDS numfields field [field ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("hpttl", -5, hash::hpttl)
        .about("7.4.0", OF_FIELDS, "Tells for how many milliseconds fields are still there.")
        .syntax("key FIELDS numfields field [field ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("hrandfield", -2, hash::hrandfield)
        .about("6.2.0", "O(N) where N is the number of fields returned.", "Returns fields of a hash by chance.")
        .syntax("key [count [WITHVALUES]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("hscan", -3, hash::hscan)
        .about("2.8.0", "O(1) a call, O(N) for all of a hash of N fields.", "Passes through the fields of a hash in steps.")
        .syntax("key cursor [MATCH pattern] [COUNT count] [NOVALUES]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("hset", -4, hash::hset)
        .about("2.0.0", OF_FIELDS, "Sets fields of a hash, creating the key if it is missing.")
        .syntax("key field value [field value ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hsetex", -6, hash::hsetex)
        .about("8.0.0", OF_FIELDS, "Sets fields of a hash, and when they expire.")
        .syntax(
            "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
        )
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("hsetnx", 4, hash::hsetnx)
        .about("2.0.0", CONSTANT, "Sets a field of a hash, if the hash does not have it.")
        .syntax("key field value")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("hstrlen", 3, hash::hstrlen)
        .about("3.2.0", CONSTANT, "Returns the length of a field's value in bytes.")
        .syntax("key field")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("httl", -5, hash::httl)
        .about("7.4.0", OF_FIELDS, "Tells for how many seconds fields are still there.")
        .syntax("key FIELDS numfields field [field ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("hvals", 2, hash::hvals)
        .about("2.0.0", OF_SIZE, "Returns the values of all fields of a hash.")
        .syntax("key")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM_ORDER]),
];
