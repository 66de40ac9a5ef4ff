//! BITFIELD: integers of 1 to 64 bits anywhere in a string.
//!
//! All operations are parsed before the first one runs, so a command with an error changes nothing. The string is made long
//! enough for the farthest write before the first one.

use super::{BAD_OFFSET, BITS_PER_BYTE, check_offset, with_bit};
use crate::commands::options::int;
use crate::commands::string::bytes_of;
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::Args;
use crate::types::numbers::parse_i64;

/// What happens to a value that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Overflow, Error> {
        const WORDS: [(&[u8], Overflow); 3] =
            [(b"wrap", Overflow::Wrap), (b"sat", Overflow::Saturate), (b"fail", Overflow::Fail)];
        let found = WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, overflow)| *overflow).ok_or(Error::text("ERR Invalid OVERFLOW type specified"))
    }
}

/// The type of a field: `i1` to `i64`, `u1` to `u63`. A value is held as an i64, which has room for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldType {
    signed: bool,
    bits: u32,
}

impl FieldType {
    fn parse(word: &[u8]) -> Result<FieldType, Error> {
        const BAD_TYPE: Error = Error::text(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (signed, max_bits) = match word.first() {
            Some(b'i') => (true, 64),
            Some(b'u') => (false, 63),
            _ => return Err(BAD_TYPE),
        };
        let bits = parse_i64(&word[1..]).filter(|bits| (1..=max_bits).contains(bits)).ok_or(BAD_TYPE)?;
        Ok(FieldType { signed, bits: bits as u32 })
    }

    fn max(self) -> i128 {
        if self.signed { (1 << (self.bits - 1)) - 1 } else { (1 << self.bits) - 1 }
    }

    fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }

    /// The value that the low bits of `raw` stand for.
    fn value_of(self, raw: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { (raw << unused) as i64 >> unused } else { ((raw << unused) >> unused) as i64 }
    }

    /// `value` as this type can hold it; `None`: it does not fit, and `overflow` says to fail then.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        if (self.min()..=self.max()).contains(&value) {
            return Some(value as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.value_of(value as u64)),
            Overflow::Saturate => Some(if value > self.max() { self.max() } else { self.min() } as i64),
            Overflow::Fail => None,
        }
    }

    /// What SET is given, as a number to be fitted: for an unsigned field, negative ones are far above its range. So are, for a
    /// signed one, those more than `i64::MAX` below its maximum: that is how Redis saturates them, and nodes that run the same
    /// commands must end with the same data.
    fn given(self, value: i64) -> i128 {
        let too_far_below = self.bits < 64 && self.max() - i128::from(value) > i128::from(i64::MAX);
        if !self.signed || too_far_below { i128::from(value as u64) } else { i128::from(value) }
    }
}

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    IncrBy(i64, Overflow),
}

/// An [`Action`]'s name in the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Get,
    Set,
    IncrBy,
}

impl Word {
    fn parse(word: &[u8]) -> Option<Word> {
        const WORDS: [(&[u8], Word); 3] = [(b"get", Word::Get), (b"set", Word::Set), (b"incrby", Word::IncrBy)];
        WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, word)| *word)
    }

    /// How many arguments belong to it.
    fn operands(self) -> usize {
        match self {
            Word::Get => 2,
            Word::Set | Word::IncrBy => 3,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    kind: FieldType,
    /// Of the field's first bit.
    offset: u64,
    action: Action,
}

impl Operation {
    fn last_bit(&self) -> u64 {
        self.offset + u64::from(self.kind.bits) - 1
    }
}

/// BITFIELD key [GET encoding offset | [OVERFLOW WRAP | SAT | FAIL] SET encoding offset value |
/// INCRBY encoding offset increment ...]
pub fn bitfield(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let operations = parse(ctx, args)?;
    match farthest_write(&operations) {
        None => read(ctx, args.get(1), &operations),
        Some(last_bit) => write(ctx, args.get(1), &operations, last_bit),
    }
}

/// BITFIELD_RO key [GET encoding offset ...]
pub fn bitfield_ro(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let operations = parse(ctx, args)?;
    if farthest_write(&operations).is_some() {
        return Err(Error::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(ctx, args.get(1), &operations)
}

fn farthest_write(operations: &[Operation]) -> Option<u64> {
    operations.iter().filter(|operation| operation.action != Action::Get).map(Operation::last_bit).max()
}

fn parse(ctx: &Ctx<'_>, args: &Args<'_>) -> Result<Vec<Operation>, Error> {
    let mut operations = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut i = 2;
    while i < args.len() {
        let behind = args.len() - i - 1;
        if args.is(i, "overflow") && behind >= 1 {
            overflow = Overflow::parse(args.get(i + 1))?;
            i += 2;
            continue;
        }
        let word = Word::parse(args.get(i)).filter(|word| behind >= word.operands()).ok_or(Error::Syntax)?;
        let kind = FieldType::parse(args.get(i + 1))?;
        let offset = field_offset(ctx, args.get(i + 2), kind)?;
        let action = match word {
            Word::Get => Action::Get,
            Word::Set => Action::Set(int(args.get(i + 3))?, overflow),
            Word::IncrBy => Action::IncrBy(int(args.get(i + 3))?, overflow),
        };
        operations.push(Operation { kind, offset, action });
        i += 1 + word.operands();
    }
    Ok(operations)
}

/// An offset in bits, or behind `#` in fields of this type.
fn field_offset(ctx: &Ctx<'_>, arg: &[u8], kind: FieldType) -> Result<u64, Error> {
    let (digits, factor) = match arg.strip_prefix(b"#") {
        Some(digits) => (digits, i64::from(kind.bits)),
        None => (arg, 1),
    };
    let offset = parse_i64(digits).and_then(|offset| offset.checked_mul(factor)).ok_or(BAD_OFFSET)?;
    check_offset(ctx, offset)
}

fn read(ctx: &mut Ctx<'_>, key: &[u8], operations: &[Operation]) -> Outcome {
    let mut digits = itoa::Buffer::new();
    let bytes = ctx.keys.string(key)?.map_or(&b""[..], |value| bytes_of(value, &mut digits));
    ctx.out.array(operations.len());
    for operation in operations {
        ctx.out.int(load(bytes, operation));
    }
    Ok(())
}

fn write(ctx: &mut Ctx<'_>, key: &[u8], operations: &[Operation], last_bit: u64) -> Outcome {
    let (bytes, grown) = with_bit(ctx, key, last_bit)?;
    let mut changes = 0;
    let mut replies = Vec::with_capacity(operations.len());
    for operation in operations {
        let old = load(bytes, operation);
        let kind = operation.kind;
        let (new, reply) = match operation.action {
            Action::Get => (None, Some(old)),
            Action::Set(value, overflow) => {
                let new = kind.fit(kind.given(value), overflow);
                (new, new.map(|_| old))
            }
            Action::IncrBy(increment, overflow) => {
                let new = kind.fit(i128::from(old) + i128::from(increment), overflow);
                (new, new)
            }
        };
        if let Some(new) = new {
            store(bytes, operation, new);
            changes += u64::from(grown || new != old);
        }
        replies.push(reply);
    }
    if changes > 0 {
        ctx.keys.changed(key);
        ctx.string_event(key, "setbit");
    }
    ctx.changed(changes);
    ctx.out.array(replies.len());
    for reply in replies {
        match reply {
            Some(value) => ctx.out.int(value),
            None => ctx.out.null(),
        }
    }
    Ok(())
}

/// The bytes a field touches: at most nine.
fn window(operation: &Operation) -> std::ops::RangeInclusive<usize> {
    (operation.offset / BITS_PER_BYTE) as usize..=(operation.last_bit() / BITS_PER_BYTE) as usize
}

/// How far the field's last bit is from the low end of its window.
fn shift(operation: &Operation) -> u32 {
    (BITS_PER_BYTE - 1 - operation.last_bit() % BITS_PER_BYTE) as u32
}

/// The field's value; what lies behind the end of the string reads as zeroes.
fn load(bytes: &[u8], operation: &Operation) -> i64 {
    let window =
        window(operation).fold(0_u128, |sum, i| sum << BITS_PER_BYTE | u128::from(bytes.get(i).copied().unwrap_or(0)));
    operation.kind.value_of((window >> shift(operation)) as u64)
}

/// Writes the field, which must lie within `bytes`.
fn store(bytes: &mut [u8], operation: &Operation, value: i64) {
    let mask = ((1_u128 << operation.kind.bits) - 1) << shift(operation);
    let field = (u128::from(value as u64) << shift(operation)) & mask;
    let window = &mut bytes[window(operation)];
    for (i, byte) in window.iter_mut().rev().enumerate() {
        let down = i as u32 * BITS_PER_BYTE as u32;
        *byte = *byte & !((mask >> down) as u8) | (field >> down) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(name: &str) -> FieldType {
        FieldType::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn types_have_their_ranges() {
        assert_eq!((kind("i64").min(), kind("i64").max()), (i64::MIN.into(), i64::MAX.into()));
        assert_eq!((kind("u63").min(), kind("u63").max()), (0, i64::MAX.into()));
        assert_eq!((kind("i1").min(), kind("i1").max()), (-1, 0));
        for bad in ["u64", "i65", "i0", "u0", "8", "", "I8", "u", "i+8", "i08"] {
            assert!(FieldType::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_that_do_not_fit() {
        for (name, value, wrapped, saturated) in [
            ("u8", 256, 0, 255),
            ("u8", -1, 255, 0),
            ("i8", 128, -128, 127),
            ("i8", -129, 127, -128),
            ("i64", i128::from(i64::MAX) + 1, i64::MIN, i64::MAX),
            ("u63", i128::from(i64::MAX) + 1, 0, i64::MAX),
        ] {
            assert_eq!(kind(name).fit(value, Overflow::Wrap), Some(wrapped), "{name} {value}");
            assert_eq!(kind(name).fit(value, Overflow::Saturate), Some(saturated), "{name} {value}");
            assert_eq!(kind(name).fit(value, Overflow::Fail), None, "{name} {value}");
        }
    }

    proptest! {
        #[test]
        fn stored_fields_read_back_and_spare_their_neighbours(
            mut bytes in proptest::collection::vec(any::<u8>(), 24),
            offset in 0_u64..100,
            bits in 1_u32..=63,
            signed: bool,
            value: u64,
        ) {
            let kind = FieldType { signed, bits: bits + u32::from(signed) };
            let value = kind.value_of(value);
            let operation = Operation { kind, offset, action: Action::Get };
            let before = bytes.clone();
            store(&mut bytes, &operation, value);
            prop_assert_eq!(load(&bytes, &operation), value);
            for bit in (0..24 * 8).filter(|bit| !(offset..=operation.last_bit()).contains(bit)) {
                let at = |bytes: &[u8]| bytes[(bit / 8) as usize] >> (7 - bit % 8) & 1;
                prop_assert_eq!(at(&bytes), at(&before), "bit {}", bit);
            }
        }
    }
}
