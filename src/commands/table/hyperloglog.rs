use super::*;
use crate::commands::{Ctx, Outcome, hyperloglog};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::HyperLogLog, Handler::Data(run))
}

const RW_ACCESS: KeyAccess = KeyAccess::RW.or(KeyAccess::ACCESS);

pub const COMMANDS: &[Command] = &[
    command("pfadd", -2, hyperloglog::pfadd)
        .about(
            "2.8.9",
            "O(1) for each element.",
            "Counts elements in a HyperLogLog, creating the key if it is missing.",
        )
        .syntax("key [element [element ...]]")
        .flags(WRITE_OOM_FAST)
        .keys(&[first(RW_INSERT)]),
    command("pfcount", -2, hyperloglog::pfcount)
        .about(
            "2.8.9",
            "O(1) for one key, quick if nothing was added since the last time; O(N) for N keys.",
            "Estimates how many different elements HyperLogLogs have counted together.",
        )
        .syntax("key [key ...]")
        .flags(READ.or(Flags::MAY_REPLICATE))
        .keys(&[KeySpec::range(1, -1, 1, RW_ACCESS).notes("The estimate of one key is kept in it.")]),
    command("pfdebug", 3, hyperloglog::pfdebug)
        .about("2.8.9", "N/A", "Shows what a HyperLogLog is made of.")
        .syntax("subcommand key")
        .flags(WRITE_OOM.or(Flags::ADMIN))
        .keys(&[KeySpec::one(2, RW_ACCESS)]),
    command("pfmerge", -2, hyperloglog::pfmerge)
        .about("2.8.9", "O(N) for N HyperLogLogs.", "Merges HyperLogLogs into one.")
        .syntax("destkey [sourcekey [sourcekey ...]]")
        .flags(WRITE_OOM)
        .keys(&[first(RW_ACCESS.or(KeyAccess::INSERT)), KeySpec::range(2, -1, 1, RO_ACCESS)]),
    command("pfselftest", 1, hyperloglog::pfselftest)
        .about("2.8.9", "N/A", "Tests the HyperLogLog implementation.")
        .flags(Flags::ADMIN),
];
