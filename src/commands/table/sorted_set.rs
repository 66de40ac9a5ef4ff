use super::*;
use crate::commands::{BeginSearch, Ctx, FindKeys, Outcome, zset};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::SortedSet, Handler::Data(run))
}

/// The keys behind the argument that counts them.
const fn counted(count: u8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Index(count),
        find: FindKeys::Counted { count: 0, first: 1, step: 1 },
        access,
        notes: None,
    }
}

const RW_DELETE: KeyAccess = KeyAccess::RW.or(KeyAccess::DELETE);
const READ_MOVABLE: Flags = READ.or(Flags::MOVABLEKEYS);
const WRITE_MOVABLE: Flags = WRITE_OOM.or(Flags::MOVABLEKEYS);
const WAITING: Flags = WRITE.or(Flags::BLOCKING).or(Flags::BARRIER);

const LOG: &str = "O(log(N)) with N being the size of the sorted set.";
const POP: &str = "O(log(N)*M) to take M elements out of a sorted set of N.";
const MPOP: &str = "O(K) + O(M*log(N)) to take M elements out of one of K sorted sets, which has N.";
const RANGE: &str = "O(log(N)+M) to return M members of a sorted set of N.";
const REMOVAL: &str = "O(log(N)+M) to remove M members of a sorted set of N.";
const UNION: &str = "O(N)+O(M*log(M)) with N members in all sorted sets and M in the result.";
const INTER: &str = "O(N*K)+O(M*log(M)) at most, with N members in the smallest of K sorted sets and M in the result.";
const DIFF: &str = "O(N*K)+O(M*log(M)) at most, with N members in the first of K sorted sets and M in the result.";

pub const COMMANDS: &[Command] = &[
    command("bzmpop", -5, zset::bzmpop)
        .about("7.0.0", MPOP, "Takes elements out of the first sorted set that has any, or waits for one.")
        .syntax("timeout numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .flags(WAITING.or(Flags::MOVABLEKEYS))
        .keys(&[counted(2, RW_ACCESS_DELETE)]),
    command("bzpopmax", -3, zset::bzpopmax)
        .about("5.0.0", LOG, "Takes the highest element out of the first sorted set that has any, or waits for one.")
        .syntax("key [key ...] timeout")
        .flags(WAITING.or(Flags::FAST))
        .keys(&[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]),
    command("bzpopmin", -3, zset::bzpopmin)
        .about("5.0.0", LOG, "Takes the lowest element out of the first sorted set that has any, or waits for one.")
        .syntax("key [key ...] timeout")
        .flags(WAITING.or(Flags::FAST))
        .keys(&[KeySpec::range(1, -2, 1, RW_ACCESS_DELETE)]),
    command("zadd", -4, zset::zadd)
        .about(
            "1.2.0",
            "O(log(N)) for each member, N being the size of the sorted set.",
            "Adds members to a sorted set, or changes their scores.",
        )
        .syntax("key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("zcard", 2, zset::zcard)
        .about("1.2.0", CONSTANT, "Returns how many members a sorted set has.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("zcount", 4, zset::zcount)
        .about("2.0.0", LOG, "Counts the members of a sorted set whose scores are within a range.")
        .syntax("key min max")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("zdiff", -3, zset::zdiff)
        .about("6.2.0", DIFF, "Returns what the first of several sorted sets has and the others do not have.")
        .syntax("numkeys key [key ...] [WITHSCORES]")
        .flags(READ_MOVABLE)
        .keys(&[counted(1, RO_ACCESS)]),
    command("zdiffstore", -4, zset::zdiffstore)
        .about("6.2.0", DIFF, "Stores what the first of several sorted sets has and the others do not have.")
        .syntax("destination numkeys key [key ...]")
        .flags(WRITE_MOVABLE)
        .keys(&[first(OW_UPDATE), counted(2, RO_ACCESS)]),
    command("zincrby", 4, zset::zincrby)
        .about("1.2.0", LOG, "Adds to the score of a member, which starts at 0 if it is missing.")
        .syntax("key increment member")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_ACCESS_UPDATE)]),
    command("zinter", -3, zset::zinter)
        .about("6.2.0", INTER, "Returns what all of several sorted sets have.")
        .syntax("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]")
        .flags(READ_MOVABLE)
        .keys(&[counted(1, RO_ACCESS)]),
    command("zintercard", -3, zset::zintercard)
        .about(
            "7.0.0",
            "O(N*K) at most, N being the size of the smallest of K sorted sets.",
            "Counts what all of several sorted sets have.",
        )
        .syntax("numkeys key [key ...] [LIMIT limit]")
        .flags(READ_MOVABLE)
        .keys(&[counted(1, RO_ACCESS)]),
    command("zinterstore", -4, zset::zinterstore)
        .about("2.0.0", INTER, "Stores what all of several sorted sets have.")
        .syntax("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]")
        .flags(WRITE_MOVABLE)
        .keys(&[first(OW_UPDATE), counted(2, RO_ACCESS)]),
    command("zlexcount", 4, zset::zlexcount)
        .about("2.8.9", LOG, "Counts the members of a sorted set of one score that are within a range.")
        .syntax("key min max")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("zmpop", -4, zset::zmpop)
        .about("7.0.0", MPOP, "Takes the lowest or highest elements out of the first sorted set that has any.")
        .syntax("numkeys key [key ...] <MIN | MAX> [COUNT count]")
        .flags(WRITE.or(Flags::MOVABLEKEYS))
        .keys(&[counted(1, RW_ACCESS_DELETE)]),
    command("zmscore", -3, zset::zmscore)
        .about(
            "6.2.0",
            "O(N) where N is the number of members asked for.",
            "Returns the scores of several members of a sorted set.",
        )
        .syntax("key member [member ...]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("zpopmax", -2, zset::zpopmax)
        .about("5.0.0", POP, "Takes the highest elements out of a sorted set and returns them.")
        .syntax("key [count]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)]),
    command("zpopmin", -2, zset::zpopmin)
        .about("5.0.0", POP, "Takes the lowest elements out of a sorted set and returns them.")
        .syntax("key [count]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_ACCESS_DELETE)]),
    command("zrandmember", -2, zset::zrandmember)
        .about(
            "6.2.0",
            "O(N) where N is the number of members returned.",
            "Returns members of a sorted set that are picked at random.",
        )
        .syntax("key [count [WITHSCORES]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("zrange", -4, zset::zrange)
        .about("1.2.0", RANGE, "Returns a range of a sorted set, by rank, score or name.")
        .syntax("key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("zrangebylex", -4, zset::zrangebylex)
        .about("2.8.9", RANGE, "Returns the members of a sorted set of one score that are within a range.")
        .syntax("key min max [LIMIT offset count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    command("zrangebyscore", -4, zset::zrangebyscore)
        .about("1.0.5", RANGE, "Returns the members of a sorted set whose scores are within a range.")
        .syntax("key min max [WITHSCORES] [LIMIT offset count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument"),
    command("zrangestore", -5, zset::zrangestore)
        .about(
            "6.2.0",
            "O(log(N)+M) with M members stored of a sorted set of N.",
            "Stores a range of a sorted set at another key.",
        )
        .syntax("destination source min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]")
        .flags(WRITE_OOM)
        .keys(&[first(OW_UPDATE), KeySpec::one(2, RO_ACCESS)]),
    command("zrank", -3, zset::zrank)
        .about("2.0.0", LOG, "Returns the place of a member in a sorted set, from the lowest score.")
        .syntax("key member [WITHSCORE]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("zrem", -3, zset::zrem)
        .about(
            "1.2.0",
            "O(M*log(N)) to remove M members of a sorted set of N.",
            "Removes members from a sorted set, and the key with the last one.",
        )
        .syntax("key member [member ...]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_DELETE)]),
    command("zremrangebylex", 4, zset::zremrangebylex)
        .about("2.8.9", REMOVAL, "Removes the members of a sorted set of one score that are within a range.")
        .syntax("key min max")
        .flags(WRITE)
        .keys(&[first(RW_DELETE)]),
    command("zremrangebyrank", 4, zset::zremrangebyrank)
        .about("2.0.0", REMOVAL, "Removes the members of a sorted set between two ranks.")
        .syntax("key start stop")
        .flags(WRITE)
        .keys(&[first(RW_DELETE)]),
    command("zremrangebyscore", 4, zset::zremrangebyscore)
        .about("1.2.0", REMOVAL, "Removes the members of a sorted set whose scores are within a range.")
        .syntax("key min max")
        .flags(WRITE)
        .keys(&[first(RW_DELETE)]),
    command("zrevrange", -4, zset::zrevrange)
        .about("1.2.0", RANGE, "Returns a range of a sorted set by rank, from the highest score.")
        .syntax("key start stop [WITHSCORES]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`ZRANGE` with the `REV` argument"),
    command("zrevrangebylex", -4, zset::zrevrangebylex)
        .about("2.8.9", RANGE, "Returns the members of a sorted set of one score that are within a range, backwards.")
        .syntax("key max min [LIMIT offset count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments"),
    command("zrevrangebyscore", -4, zset::zrevrangebyscore)
        .about("2.2.0", RANGE, "Returns the members of a sorted set whose scores are within a range, backwards.")
        .syntax("key max min [WITHSCORES] [LIMIT offset count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments"),
    command("zrevrank", -3, zset::zrevrank)
        .about("2.0.0", LOG, "Returns the place of a member in a sorted set, from the highest score.")
        .syntax("key member [WITHSCORE]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("zscan", -3, zset::zscan)
        .about(
            "2.8.0",
            "O(1) for each call, O(N) for all that it takes to see all of N members.",
            "Goes through the members of a sorted set and their scores, some with each call.",
        )
        .syntax("key cursor [MATCH pattern] [COUNT count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("zscore", 3, zset::zscore)
        .about("1.2.0", CONSTANT, "Returns the score of a member of a sorted set.")
        .syntax("key member")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("zunion", -3, zset::zunion)
        .about("6.2.0", UNION, "Returns what any of several sorted sets has.")
        .syntax("numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]")
        .flags(READ_MOVABLE)
        .keys(&[counted(1, RO_ACCESS)]),
    command("zunionstore", -4, zset::zunionstore)
        .about("2.0.0", UNION, "Stores what any of several sorted sets has.")
        .syntax("destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]")
        .flags(WRITE_MOVABLE)
        .keys(&[first(OW_UPDATE), counted(2, RO_ACCESS)]),
];
