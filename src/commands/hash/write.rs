//! HSET and its relatives.

use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::Args;
use crate::types::hash::Ttl;
use crate::types::long_double::LongDouble;
use crate::types::numbers::parse_i64;

/// HSET key field value [field value ...]
pub fn hset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let created = set_pairs(ctx, args, "hset")?;
    ctx.out.int(created as i64);
    Ok(())
}

/// HMSET key field value [field value ...]
pub fn hmset(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_pairs(ctx, args, "hmset")?;
    ctx.out.ok();
    Ok(())
}

/// Sets fields; how many are new.
fn set_pairs(ctx: &mut Ctx<'_>, args: &Args<'_>, command: &str) -> Result<usize, Error> {
    if args.len() % 2 == 1 {
        return Err(Error::arity(command));
    }
    let key = args.get(1);
    let pairs = args.len() / 2 - 1;
    let (created, _) = ctx.change_hash(key, args.iter_from(2).step_by(2), |hash, _| {
        if pairs > 1 {
            hash.expect(pairs, args.iter_from(2));
        }
        let set = |i: usize| hash.set(args.get(i), args.get(i + 1), Ttl::Drop).is_none();
        Ok((2..args.len()).step_by(2).map(set).filter(|is_new| *is_new).count())
    })?;
    ctx.hash_event(key, "hset");
    ctx.changed(pairs as u64);
    Ok(created)
}

/// HSETNX key field value
pub fn hsetnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (key, field) = (args.get(1), args.get(2));
    let (sets, _) = ctx.change_hash(key, std::iter::once(field), |hash, _| {
        let sets = hash.prior(field).is_none();
        if sets {
            hash.set(field, args.get(3), Ttl::Drop);
        }
        Ok(sets)
    })?;
    if sets {
        ctx.hash_event(key, "hset");
        ctx.changed(1);
    }
    ctx.out.int(sets as i64);
    Ok(())
}

/// HDEL key field [field ...]
pub fn hdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let (deleted, fate) = ctx.change_hash(key, args.iter_from(2), |hash, _| {
        Ok(args.iter_from(2).filter(|field| hash.delete(field)).count())
    })?;
    if deleted > 0 {
        ctx.tell_of_hash(key, "hdel", fate);
        ctx.changed(deleted as u64);
    }
    ctx.out.int(deleted as i64);
    Ok(())
}

/// HINCRBY key field increment
pub fn hincrby(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (key, field) = (args.get(1), args.get(2));
    let increment = int(args.get(3))?;
    let (sum, _) = ctx.change_hash(key, std::iter::once(field), |hash, _| {
        let old = hash.value(field, |value| value.map_or(Some(0), parse_i64));
        let old = old.ok_or(Error::text("ERR hash value is not an integer"))?;
        let sum = old.checked_add(increment).ok_or(Error::text("ERR increment or decrement would overflow"))?;
        hash.set(field, itoa::Buffer::new().format(sum).as_bytes(), Ttl::Keep);
        Ok(sum)
    })?;
    ctx.hash_event(key, "hincrby");
    ctx.changed(1);
    ctx.out.int(sum);
    Ok(())
}

/// HINCRBYFLOAT key field increment
pub fn hincrbyfloat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let (key, field) = (args.get(1), args.get(2));
    let increment = LongDouble::parse(args.get(3)).ok_or(Error::NotFloat)?;
    if !increment.is_finite() {
        return Err(Error::text("ERR value is NaN or Infinity"));
    }
    let ((sum, expire_at_ms), _) = ctx.change_hash(key, std::iter::once(field), |hash, _| {
        let old = hash.value(field, |value| value.map_or(Some(LongDouble::from(0)), LongDouble::parse));
        let sum = old.ok_or(Error::text("ERR hash value is not a float"))? + increment;
        if !sum.is_finite() {
            return Err(Error::text("ERR increment would produce NaN or Infinity"));
        }
        let text = sum.to_text();
        let prior = hash.set(field, text.as_bytes(), Ttl::Keep);
        Ok((text, prior.and_then(|prior| prior.expire_at_ms)))
    })?;
    ctx.hash_event(key, "hincrbyfloat");
    ctx.changed(1);
    // The sum itself: another machine might round another way.
    ctx.propagate_as(&[b"HSET", key, field, sum.as_bytes()]);
    if let Some(at_ms) = expire_at_ms {
        ctx.propagate_field_expiry(key, at_ms, &[field]);
    }
    ctx.out.bulk(sum.as_bytes());
    Ok(())
}

impl Ctx<'_> {
    /// That these fields expire then.
    pub(super) fn propagate_field_expiry(&mut self, key: &[u8], at_ms: u64, fields: &[&[u8]]) {
        if !self.propagates() {
            return;
        }
        let (mut at, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        let head = [b"HPEXPIREAT", key, at.format(at_ms).as_bytes(), b"FIELDS", count.format(fields.len()).as_bytes()];
        self.propagate_as(&[&head, fields].concat());
    }

    /// Something that is done to these fields, `head` before them.
    pub(super) fn propagate_fields(&mut self, head: &[&[u8]], fields: &[&[u8]]) {
        if self.propagates() {
            self.propagate_as(&[head, fields].concat());
        }
    }
}
