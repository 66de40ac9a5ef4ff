//! The hash commands.
//!
//! A hash is a run of bytes in its entry while it is small, and a structure of its own when it is not ([`Held`]). Fields that have expired are taken
//! out before anything else happens to a hash, where that is this node's to do, and passed over by all that reads.
//!
//! - here: what only reads
//! - `draft`: a hash that is being changed, in whatever form it is
//! - `write`: HSET and its relatives
//! - `random`: HRANDFIELD
//! - `expiry`: when fields end: the HEXPIRE and HTTL families
//! - `getset`: HGETDEL, HGETEX and HSETEX

mod draft;
mod expiry;
mod getset;
mod random;
mod write;

pub use expiry::{hexpire, hexpireat, hexpiretime, hpersist, hpexpire, hpexpireat, hpexpiretime, hpttl, httl};
pub use getset::{hgetdel, hgetex, hsetex};
pub use random::hrandfield;
pub use write::{hdel, hincrby, hincrbyfloat, hmset, hset, hsetnx};

use super::scan_options::{self, NoValues, ScanOptions};
use super::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Held};
use crate::resp::{Args, Writer};
use crate::types::hash::{Hash, compact, is_live};
use crate::types::packed::Item;

/// A hash as it is read.
type HeldHash<'a> = Held<'a, Hash>;

impl Ctx<'_> {
    /// A keyspace event of a hash.
    #[inline]
    fn hash_event(&mut self, key: &[u8], name: &'static str) {
        self.keys.event(key, EventClass::Hash, name);
    }
}

/// A value as it is stored.
#[derive(Clone, Copy)]
enum Value<'a> {
    Item(Item<'a>),
    Text(&'a [u8]),
}

impl<'a> Value<'a> {
    #[inline]
    fn write(self, out: &mut Writer<'_>) {
        match self {
            Value::Item(Item::Int(number)) => out.bulk_int(number),
            Value::Item(Item::Str(text)) | Value::Text(text) => out.bulk(text),
        }
    }

    fn len(self) -> usize {
        match self {
            Value::Item(item) => item.text_len(),
            Value::Text(text) => text.len(),
        }
    }
}

/// The value of a field that has not expired.
#[inline]
fn value_of<'a>(hash: &HeldHash<'a>, field: &[u8], now_ms: u64) -> Option<Value<'a>> {
    match hash {
        Held::Packed(bytes) => compact::get(bytes, field, now_ms).map(Value::Item),
        Held::Full(full) => full.get(field, now_ms).map(Value::Text),
    }
}

/// Fields that have not expired.
fn live_len(hash: &HeldHash<'_>, now_ms: u64) -> usize {
    match hash {
        Held::Packed(bytes) if is_live(compact::earliest_expiry(bytes), now_ms) => compact::len(bytes),
        Held::Packed(bytes) => compact::fields(bytes).filter(|field| field.is_live(now_ms)).count(),
        Held::Full(full) if is_live(full.earliest_expiry(), now_ms) => full.len(),
        Held::Full(full) => full.iter().filter(|pair| is_live(pair.expire_at_ms(), now_ms)).count(),
    }
}

/// Visits fields and values that have not expired.
fn for_each_live<'a>(hash: &HeldHash<'a>, now_ms: u64, mut visit: impl FnMut(Value<'a>, Value<'a>)) {
    match hash {
        Held::Packed(bytes) => compact::fields(bytes)
            .filter(|field| field.is_live(now_ms))
            .for_each(|field| visit(Value::Item(field.name), Value::Item(field.value))),
        Held::Full(full) => full
            .iter()
            .filter(|pair| is_live(pair.expire_at_ms(), now_ms))
            .for_each(|pair| visit(Value::Text(pair.field()), Value::Text(pair.value()))),
    }
}

/// Replies with what `write` makes of the value of a field, argument 2, or of its absence.
#[inline]
fn reply_with_value(ctx: &mut Ctx<'_>, args: &Args<'_>, write: fn(&mut Writer<'_>, Option<Value<'_>>)) -> Outcome {
    let (key, field) = (args.get(1), args.get(2));
    let now_ms = ctx.keys.fields_now_ms();
    ctx.keys.expire_fields(key, std::iter::once(field));
    let value = ctx.keys.collection::<Hash>(key)?.and_then(|hash| value_of(&hash, field, now_ms));
    write(&mut ctx.out, value);
    Ok(())
}

#[inline]
fn write_value(out: &mut Writer<'_>, value: Option<Value<'_>>) {
    match value {
        Some(value) => value.write(out),
        None => out.null(),
    }
}

/// HGET key field
pub fn hget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_value(ctx, args, write_value)
}

/// HEXISTS key field
pub fn hexists(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_value(ctx, args, |out, value| out.int(value.is_some() as i64))
}

/// HSTRLEN key field
pub fn hstrlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_value(ctx, args, |out, value| out.int(value.map_or(0, Value::len) as i64))
}

/// HMGET key field [field ...]
pub fn hmget(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let now_ms = ctx.keys.fields_now_ms();
    ctx.keys.expire_fields(args.get(1), args.iter_from(2));
    let hash = ctx.keys.collection::<Hash>(args.get(1))?;
    ctx.out.array(args.len() - 2);
    for field in args.iter_from(2) {
        write_value(&mut ctx.out, hash.as_ref().and_then(|hash| value_of(hash, field, now_ms)));
    }
    Ok(())
}

/// HLEN key
pub fn hlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    ctx.keys.expire_fields(args.get(1), std::iter::empty());
    let len = match ctx.keys.collection::<Hash>(args.get(1))? {
        None => 0,
        Some(Held::Packed(bytes)) => compact::len(bytes),
        Some(Held::Full(full)) => full.len(),
    };
    ctx.out.int(len as i64);
    Ok(())
}

/// HGETALL key
pub fn hgetall(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_all(
        ctx,
        args,
        |out, fields| out.map(fields),
        |out, field, value| {
            field.write(out);
            value.write(out);
        },
    )
}

/// HKEYS key
pub fn hkeys(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_all(ctx, args, |out, fields| out.array(fields), |out, field, _| field.write(out))
}

/// HVALS key
pub fn hvals(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_all(ctx, args, |out, fields| out.array(fields), |out, _, value| value.write(out))
}

fn reply_with_all(
    ctx: &mut Ctx<'_>,
    args: &Args<'_>,
    head: fn(&mut Writer<'_>, usize),
    write: fn(&mut Writer<'_>, Value<'_>, Value<'_>),
) -> Outcome {
    let now_ms = ctx.keys.fields_now_ms();
    ctx.keys.expire_fields(args.get(1), std::iter::empty());
    let Some(hash) = ctx.keys.collection::<Hash>(args.get(1))? else {
        head(&mut ctx.out, 0);
        return Ok(());
    };
    head(&mut ctx.out, live_len(&hash, now_ms));
    for_each_live(&hash, now_ms, |field, value| write(&mut ctx.out, field, value));
    Ok(())
}

/// HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]
pub fn hscan(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let cursor = scan_options::cursor(args)?;
    let now_ms = ctx.keys.fields_now_ms();
    ctx.keys.expire_fields(args.get(1), std::iter::empty());
    let Some(hash) = ctx.keys.collection::<Hash>(args.get(1))? else {
        scan_options::reply_nothing(&mut ctx.out);
        return Ok(());
    };
    let options = ScanOptions::parse(args, NoValues::Allowed)?;
    scan_options::reply(&mut ctx.out, |found| match hash {
        Held::Packed(bytes) => {
            for field in compact::fields(bytes).filter(|field| field.is_live(now_ms)) {
                let mut room = [0; _];
                let name = field.name.text(&mut room);
                if options.wants(name) {
                    found.push(name);
                    if !options.no_values {
                        found.push(field.value.text(&mut [0; _]));
                    }
                }
            }
            0
        }
        Held::Full(full) => full.scan(cursor, options.count, now_ms, |pair| {
            if options.wants(pair.field()) {
                found.push(pair.field());
                if !options.no_values {
                    found.push(pair.value());
                }
            }
        }),
    });
    Ok(())
}

#[cfg(test)]
mod tests;
