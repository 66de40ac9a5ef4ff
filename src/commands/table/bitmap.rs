use super::*;
use crate::commands::{Ctx, Outcome, bitmap};
use crate::resp::Args;

const fn command(name: &'static str, arity: i16, run: fn(&mut Ctx<'_>, &Args<'_>) -> Outcome) -> Command {
    Command::new(name, arity, Group::Bitmap, Handler::Data(run))
}

const BY_LENGTH: &str = "O(N) where N is the length of the string.";
const BY_OPERATIONS: &str = "O(N) where N is the number of operations.";

pub const COMMANDS: &[Command] = &[
    command("bitcount", -2, bitmap::bitcount)
        .about("2.6.0", BY_LENGTH, "Counts the bits that are set in a string.")
        .syntax("key [start end [BYTE | BIT]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("bitfield", -2, bitmap::bitfield)
        .about("3.2.0", BY_OPERATIONS, "Reads and changes integers of any width within a string.")
        .syntax(
            "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>> ...]",
        )
        .flags(WRITE_OOM)
        .keys(&[first(RW_ACCESS_UPDATE.or(KeyAccess::VARIABLE_FLAGS)).notes("Writes the key unless all operations are `GET`.")]),
    command("bitfield_ro", -2, bitmap::bitfield_ro)
        .about("6.0.0", BY_OPERATIONS, "Reads integers of any width within a string.")
        .syntax("key [GET encoding offset [GET encoding offset ...]]")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("bitop", -4, bitmap::bitop)
        .about("2.6.0", "O(N) where N is the length of the longest string.", "Combines strings bit by bit and stores the result.")
        .syntax("<AND | OR | XOR | NOT> destkey key [key ...]")
        .flags(WRITE_OOM)
        .keys(&[KeySpec::one(2, OW_UPDATE), KeySpec::range(3, -1, 1, RO_ACCESS)]),
    command("bitpos", -3, bitmap::bitpos)
        .about("2.8.7", BY_LENGTH, "Finds the first set or clear bit of a string.")
        .syntax("key bit [start [end [BYTE | BIT]]]")
        .flags(READ)
        .keys(&[first(RO_ACCESS)]),
    command("getbit", 3, bitmap::getbit)
        .about("2.2.0", CONSTANT, "Returns one bit of a string.")
        .syntax("key offset")
        .flags(READ_FAST)
        .keys(&[first(RO_ACCESS)]),
    command("setbit", 4, bitmap::setbit)
        .about("2.2.0", CONSTANT, "Sets or clears one bit of a string and returns what it was.")
        .syntax("key offset value")
        .flags(WRITE_OOM)
        .keys(&[first(RW_ACCESS_UPDATE)]),
];
