use super::*;
use crate::commands::{BeginSearch, Ctx, FindKeys, Outcome, stream};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::Stream, Handler::Data(run))
}

const fn container(name: &'static str) -> Command {
    Command::new(name, -2, Group::Stream, Handler::Container)
}

/// The first half of what stands behind STREAMS, looked for from this argument on.
const fn streams(from: i8, access: KeyAccess) -> KeySpec {
    KeySpec {
        begin: BeginSearch::Keyword("STREAMS", from),
        find: FindKeys::Range { last: -1, step: 1, limit: 2 },
        access,
        notes: None,
    }
}

const RW_DELETE: KeyAccess = KeyAccess::RW.or(KeyAccess::DELETE);
const READS: Flags = READ.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS).or(Flags::BARRIER);
const READS_FOR_GROUP: Flags = WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS).or(Flags::BARRIER);

const BY_IDS: &str = "O(1) a given ID.";
const BY_RETURNED: &str = "O(N) where N is the number of returned entries.";
const BY_PENDING: &str = "O(N) where N is the number of pending entries that go.";
const BY_TRIMMED: &str = "O(N) where N is the number of trimmed entries; whole blocks go at once.";

pub const COMMANDS: &[Command] = &[
    command("xack", -4, stream::xack)
        .about("5.0.0", BY_IDS, "Acknowledges entries, so that they are pending in a group no more.")
        .syntax("key group id [id ...]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("xadd", -5, stream::xadd)
        .about("5.0.0", "O(1), and O(N) for N trimmed entries.", "Appends an entry to a stream, creating the key if it is missing.")
        .syntax("key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE).notes("Options may trim the stream, so this is more than an insertion.")])
        .tips(&[RANDOM]),
    command("xautoclaim", -6, stream::xautoclaim)
        .about("6.2.0", "O(1) with a small COUNT.", "Gives a consumer entries that are pending with others for too long.")
        .syntax("key group consumer min-idle-time start [COUNT count] [JUSTID]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_DELETE)])
        .tips(&[RANDOM]),
    command("xclaim", -6, stream::xclaim)
        .about("5.0.0", "O(log N) a given ID where N is the number of pending entries.", "Gives a consumer certain entries that are pending with others.")
        .syntax("key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_UPDATE)])
        .tips(&[RANDOM]),
    command("xdel", -3, stream::xdel)
        .about("5.0.0", BY_IDS, "Deletes entries from a stream and counts them.")
        .syntax("key id [id ...]")
        .flags(WRITE_FAST)
        .keys(&[first(RW_DELETE)]),
    container("xgroup")
        .about("5.0.0", BY_SUBCOMMAND, "Commands that manage consumer groups.")
        .subcommands(&[
            command("create", -5, stream::xgroup_create)
                .about("5.0.0", CONSTANT, "Creates a group that reads on from an ID.")
                .syntax("key group <id | $> [MKSTREAM] [ENTRIESREAD entriesread]")
                .flags(WRITE_OOM)
                .keys(&[KeySpec::one(2, RW_INSERT)]),
            command("createconsumer", 5, stream::xgroup_createconsumer)
                .about("6.2.0", CONSTANT, "Creates a consumer of a group.")
                .syntax("key group consumer")
                .flags(WRITE_OOM)
                .keys(&[KeySpec::one(2, RW_INSERT)]),
            command("delconsumer", 5, stream::xgroup_delconsumer)
                .about("5.0.0", BY_PENDING, "Deletes a consumer and what is pending with it.")
                .syntax("key group consumer")
                .flags(WRITE)
                .keys(&[KeySpec::one(2, RW_DELETE)]),
            command("destroy", 4, stream::xgroup_destroy)
                .about("5.0.0", BY_PENDING, "Deletes a group with its consumers and what is pending.")
                .syntax("key group")
                .flags(WRITE)
                .keys(&[KeySpec::one(2, RW_DELETE)]),
            command("setid", -5, stream::xgroup_setid)
                .about("5.0.0", CONSTANT, "Sets the ID from which a group reads on.")
                .syntax("key group <id | $> [ENTRIESREAD entriesread]")
                .flags(WRITE)
                .keys(&[KeySpec::one(2, RW_UPDATE)]),
            help(Group::Stream, Handler::Data(stream::xgroup_help), "5.0.0").acl(Acl::STREAM),
        ]),
    container("xinfo")
        .about("5.0.0", BY_SUBCOMMAND, "Commands that tell of streams, groups and consumers.")
        .subcommands(&[
            command("consumers", 4, stream::xinfo_consumers)
                .about("5.0.0", "O(N) where N is the number of consumers.", "Lists the consumers of a group.")
                .syntax("key group")
                .flags(READ)
                .keys(&[KeySpec::one(2, RO_ACCESS)])
                .tips(&[RANDOM]),
            command("groups", 3, stream::xinfo_groups)
                .about("5.0.0", "O(N) where N is the number of groups.", "Lists the groups of a stream.")
                .syntax("key")
                .flags(READ)
                .keys(&[KeySpec::one(2, RO_ACCESS)]),
            command("stream", -3, stream::xinfo_stream)
                .about("5.0.0", "O(N) where N is the number of blocks and of elements shown.", "Returns the counters of a stream, its ends, or all of it.")
                .syntax("key [FULL [COUNT count]]")
                .flags(READ)
                .keys(&[KeySpec::one(2, RO_ACCESS)]),
            help(Group::Stream, Handler::Data(stream::xinfo_help), "5.0.0").acl(Acl::STREAM),
        ]),
    command("xlen", 2, stream::xlen)
        .about("5.0.0", CONSTANT, "Returns the number of entries in a stream.")
        .syntax("key")
        .flags(READ_FAST)
        .keys(&[first(RO)]),
    command("xpending", -3, stream::xpending)
        .about("5.0.0", "O(N) where N is the number of returned elements, or passed over for IDLE.", "Sums up or lists what is pending in a group.")
        .syntax("key group [[IDLE min-idle-time] start end count [consumer]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)])
        .tips(&[RANDOM]),
    command("xrange", -4, stream::xrange)
        .about("5.0.0", BY_RETURNED, "Returns the entries between two IDs.")
        .syntax("key start end [COUNT count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("xread", -4, stream::xread)
        .about("5.0.0", BY_RETURNED, "Returns what streams have behind given IDs, or waits for something to come.")
        .syntax("[COUNT count] [BLOCK milliseconds] STREAMS <key [key ...] id [id ...]>")
        .flags(READS)
        .keys(&[streams(1, RO_ACCESS)]),
    command("xreadgroup", -7, stream::xreadgroup)
        .about("5.0.0", BY_RETURNED, "Gives a consumer what is new to its group, or what is pending with it.")
        .syntax("GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS <key [key ...] id [id ...]>")
        .flags(READS_FOR_GROUP)
        .keys(&[streams(4, RO_ACCESS.or(KeyAccess::CHANGED))]),
    command("xrevrange", -4, stream::xrevrange)
        .about("5.0.0", BY_RETURNED, "Returns the entries between two IDs, the last one first.")
        .syntax("key end start [COUNT count]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("xsetid", -3, stream::xsetid)
        .about("5.0.0", CONSTANT, "Sets the ID that a stream counts as its last.")
        .syntax("key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_UPDATE)]),
    command("xtrim", -4, stream::xtrim)
        .about("5.0.0", BY_TRIMMED, "Removes the first entries of a stream, down to a length or up to an ID.")
        .syntax("key <<MAXLEN | MINID> [= | ~] threshold [LIMIT count]>")
        .flags(WRITE)
        .keys(&[first(RW_DELETE)])
        .tips(&[RANDOM]),
];
