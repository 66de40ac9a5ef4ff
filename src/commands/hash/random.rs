//! HRANDFIELD.

use std::collections::HashSet;

use super::{Ctx, Error, HeldHash, Outcome, Value, for_each_live, live_len, write_value};
use crate::commands::options::int;
use crate::keyspace::Held;
use crate::resp::{Args, Proto, Writer};
use crate::types::hash::{Hash, compact};

/// Of different fields, a third of a hash or more is better picked in passing than by chance.
const MANY: usize = 3;
/// The most fields of one reply that may repeat: what a client could ask for otherwise no memory holds.
const MOST_REPEATED: u64 = 1 << 24;

/// What is told of each field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Field,
    /// WITHVALUES
    Both,
}

impl Told {
    fn head(self, out: &mut Writer<'_>, fields: usize) {
        let flat = self == Told::Both && out.proto() == Proto::Resp2;
        out.array(if flat { 2 * fields } else { fields });
    }

    fn write(self, out: &mut Writer<'_>, field: Value<'_>, value: Value<'_>) {
        if self == Told::Field {
            return field.write(out);
        }
        if out.proto() == Proto::Resp3 {
            out.array(2);
        }
        field.write(out);
        value.write(out);
    }
}

/// HRANDFIELD key [count [WITHVALUES]]
pub fn hrandfield(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    if args.len() > 2 {
        return several(ctx, args);
    }
    let mut seed = ctx.keys.roll();
    let now_ms = ctx.keys.fields_now_ms();
    ctx.keys.expire_fields(key, std::iter::empty());
    let found = match ctx.keys.collection::<Hash>(key)? {
        None => None,
        Some(hash) => pick(&hash, now_ms, &mut seed),
    };
    write_value(&mut ctx.out, found.map(|(field, _)| field));
    Ok(())
}

/// The next of a sequence of random bits.
fn roll(seed: &mut u64) -> u64 {
    let mut dice = crate::keyspace::Dice::new(*seed);
    let next = dice.roll();
    *seed = next;
    next
}

fn below(seed: &mut u64, bound: usize) -> usize {
    ((u128::from(roll(seed)) * bound as u128) >> 64) as usize
}

/// A field by chance.
fn pick<'a>(hash: &HeldHash<'a>, now_ms: u64, seed: &mut u64) -> Option<(Value<'a>, Value<'a>)> {
    match hash {
        Held::Packed(bytes) => {
            compact::random(bytes, roll(seed), now_ms).map(|field| (Value::Item(field.name), Value::Item(field.value)))
        }
        Held::Full(full) => {
            full.random(now_ms, || roll(seed)).map(|pair| (Value::Text(pair.field()), Value::Text(pair.value())))
        }
    }
}

fn several(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    const NOT_A_COUNT: Error =
        Error::text("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
    const OUT_OF_RANGE: Error = Error::text("ERR value is out of range");
    let count = int(args.get(2))?;
    if count == i64::MIN {
        return Err(NOT_A_COUNT);
    }
    let told = match args.len() {
        3 => Told::Field,
        4 if args.is(3, "withvalues") => Told::Both,
        _ => return Err(Error::Syntax),
    };
    if told == Told::Both && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(OUT_OF_RANGE);
    }
    let mut seed = ctx.keys.roll();
    let now_ms = ctx.keys.fields_now_ms();
    ctx.keys.expire_fields(args.get(1), std::iter::empty());
    let hash = ctx.keys.collection::<Hash>(args.get(1))?;
    let out = &mut ctx.out;
    let Some(hash) = hash.filter(|_| count != 0) else {
        out.array(0);
        return Ok(());
    };
    let len = live_len(&hash, now_ms);
    if count < 0 {
        if count.unsigned_abs() > MOST_REPEATED {
            return Err(OUT_OF_RANGE);
        }
        repeated(out, told, &hash, now_ms, if len == 0 { 0 } else { count.unsigned_abs() as usize }, &mut seed);
    } else {
        different(out, told, &hash, now_ms, (len, len.min(count as usize)), &mut seed);
    }
    Ok(())
}

/// So many fields, each of which may come again.
fn repeated(out: &mut Writer<'_>, told: Told, hash: &HeldHash<'_>, now_ms: u64, count: usize, seed: &mut u64) {
    let mut fields = Vec::new();
    // A run of bytes is passed once, not for every pick; and a table with expired fields does not always find one that has not.
    if let Held::Packed(_) = hash {
        for_each_live(hash, now_ms, |field, value| fields.push((field, value)));
    }
    told.head(out, count);
    for _ in 0..count {
        let picked = if fields.is_empty() { pick(hash, now_ms, seed) } else { Some(fields[below(seed, fields.len())]) };
        match picked {
            Some((field, value)) => told.write(out, field, value),
            None => {
                for_each_live(hash, now_ms, |field, value| fields.push((field, value)));
                let (field, value) = fields[below(seed, fields.len())];
                told.write(out, field, value);
            }
        }
    }
}

/// So many different fields of `len`.
fn different(
    out: &mut Writer<'_>,
    told: Told,
    hash: &HeldHash<'_>,
    now_ms: u64,
    (len, count): (usize, usize),
    seed: &mut u64,
) {
    told.head(out, count);
    if let Held::Full(full) = hash
        && full.len() == len
        && count < len / MANY
    {
        let mut seen = HashSet::with_capacity(count);
        while seen.len() < count {
            match full.random(now_ms, || roll(seed)) {
                Some(pair) if seen.insert(pair.field().as_ptr()) => {
                    told.write(out, Value::Text(pair.field()), Value::Text(pair.value()));
                }
                Some(_) => {}
                None => unreachable!("fields of which none has expired"),
            }
        }
        return;
    }
    // Each is taken with the chance that is left for it: as many as are wanted, all with the same chance.
    let (mut left, mut wanted) = (len, count);
    for_each_live(hash, now_ms, |field, value| {
        if below(seed, left) < wanted {
            told.write(out, field, value);
            wanted -= 1;
        }
        left -= 1;
    });
}
