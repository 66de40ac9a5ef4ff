//! The HyperLogLog commands, over string values in Redis's own format (see [`hll`]).
//!
//! PFCOUNT of one key keeps the estimate in the value, as Redis does, and replicas are told to do the same: so values stay equal byte for byte.

use super::scratch::with_scratch;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{EMBEDDED_BYTES, Expiry, NewStr, StrRef};
use crate::resp::Args;
use crate::types::hll::{self, Encoding, Union};

impl From<hll::Error> for Error {
    fn from(error: hll::Error) -> Error {
        Error::text(error.message())
    }
}

/// The bytes of a string that may be a HyperLogLog; an integer is none.
fn bytes<'a>(value: StrRef<'a>) -> Result<&'a [u8], Error> {
    match value {
        StrRef::Int(_) => Err(hll::Error::NotHyperLogLog.into()),
        StrRef::Inline(bytes) => Ok(bytes),
        StrRef::Shared(bytes) => Ok(bytes),
    }
}

impl Ctx<'_> {
    /// Stores a HyperLogLog. Redis never embeds one in its object, however short.
    fn set_hll(&mut self, key: &[u8], value: &[u8]) -> Outcome {
        self.keys.set_string(key, NewStr::Copy(value), Expiry::Keep);
        if value.len() <= EMBEDDED_BYTES {
            self.keys.string_bytes_mut(key, 0)?;
        }
        Ok(())
    }
}

/// PFADD key [element [element ...]]
pub fn pfadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let most_bytes = ctx.encodings.hll_sparse_max_bytes;
    let changes = match ctx.keys.string_to_change(key)? {
        None => {
            let mut value = hll::create();
            let changes = 1 + add(&mut value, args, most_bytes)?;
            ctx.set_hll(key, &value)?;
            changes
        }
        Some(value) => {
            let value = bytes(value)?;
            let encoding = hll::validate(value)?;
            // Most elements have been seen before, or others that stand for them.
            let mut changes = false;
            for element in args.iter_from(2) {
                changes |= hll::would_change(value, element)?;
            }
            match encoding {
                _ if !changes => 0,
                Encoding::Dense => {
                    let value = ctx.keys.string_bytes_mut(key, 0)?;
                    let raised = args.iter_from(2).filter(|element| hll::add_in_place(value, element) == Some(true));
                    let raised = raised.count() as u64;
                    hll::invalidate_cache(value);
                    ctx.keys.changed(key);
                    raised
                }
                Encoding::Sparse => with_scratch(|scratch| {
                    if let Some(value) = ctx.keys.string_to_change(key)? {
                        scratch.extend_from_slice(bytes(value)?);
                    }
                    let raised = add(scratch, args, most_bytes)?;
                    ctx.set_hll(key, scratch)?;
                    Ok::<u64, Error>(raised)
                })?,
            }
        }
    };
    if changes > 0 {
        ctx.string_event(key, "pfadd");
        ctx.changed(changes);
    }
    ctx.out.int((changes > 0) as i64);
    Ok(())
}

/// Adds the elements from argument 2 on; how many have changed something.
fn add(value: &mut Vec<u8>, args: &Args<'_>, most_bytes: usize) -> Result<u64, Error> {
    let mut raised = 0;
    for element in args.iter_from(2) {
        raised += u64::from(hll::add(value, element, most_bytes)?);
    }
    hll::invalidate_cache(value);
    Ok(raised)
}

/// PFCOUNT key [key ...]
pub fn pfcount(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    if args.len() > 2 {
        let union = union_of(ctx, args)?;
        ctx.out.int(union.count() as i64);
        return Ok(());
    }
    let key = args.get(1);
    let Some(value) = ctx.keys.string(key)? else {
        ctx.out.int(0);
        return Ok(());
    };
    let value = bytes(value)?;
    hll::validate(value)?;
    let count = match hll::cached_count(value) {
        Some(count) => count,
        None => {
            let count = hll::count(value)?;
            if ctx.keys.may_touch_up(key) {
                hll::set_cached_count(ctx.keys.string_bytes_mut(key, 0)?, count);
                ctx.keys.changed(key);
                ctx.changed(1);
            }
            count
        }
    };
    ctx.out.int(count as i64);
    Ok(())
}

/// All keys from argument 1 on.
fn union_of(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Result<Union, Error> {
    let mut union = Union::default();
    for key in args.iter_from(1) {
        if let Some(value) = ctx.keys.string(key)? {
            union.add(bytes(value)?)?;
        }
    }
    Ok(union)
}

/// PFMERGE destkey [sourcekey [sourcekey ...]]
pub fn pfmerge(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let union = union_of(ctx, args)?;
    with_scratch(|scratch| {
        match ctx.keys.string_to_change(key)? {
            Some(value) => scratch.extend_from_slice(bytes(value)?),
            None => *scratch = hll::create(),
        }
        union.write_to(scratch, ctx.encodings.hll_sparse_max_bytes)?;
        ctx.set_hll(key, scratch)
    })?;
    ctx.string_event(key, "pfadd");
    ctx.changed(1);
    ctx.out.ok();
    Ok(())
}

/// PFDEBUG GETREG | DECODE | ENCODING | TODENSE key
pub fn pfdebug(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    const NO_KEY: Error = Error::text("ERR The specified key does not exist");
    let key = args.get(2);
    let value = ctx.keys.string_to_change(key)?.ok_or(NO_KEY)?;
    let value = bytes(value)?;
    let encoding = hll::validate(value)?;
    if args.is(1, "getreg") {
        let mut union = Union::default();
        union.add(value)?;
        make_dense(ctx, key)?;
        ctx.out.array(hll::REGISTERS);
        union.registers().iter().for_each(|register| ctx.out.int(i64::from(*register)));
    } else if args.is(1, "decode") {
        if encoding != Encoding::Sparse {
            return Err(Error::text("ERR HLL encoding is not sparse"));
        }
        let text = hll::decode(value)?;
        ctx.out.bulk_str(&text);
    } else if args.is(1, "encoding") {
        ctx.out.simple(encoding.name());
    } else if args.is(1, "todense") {
        let converted = make_dense(ctx, key)?;
        ctx.out.int(converted as i64);
    } else {
        return Err(Error::concat(&[b"ERR Unknown PFDEBUG subcommand '", super::error::c_string(args.get(1)), b"'"]));
    }
    Ok(())
}

/// Whether the value was not dense.
fn make_dense(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, Error> {
    let Some(value) = ctx.keys.string_to_change(key)? else { return Ok(false) };
    let mut dense = bytes(value)?.to_vec();
    if !hll::promote(&mut dense)? {
        return Ok(false);
    }
    ctx.set_hll(key, &dense)?;
    ctx.changed(1);
    Ok(true)
}

/// PFSELFTEST
pub fn pfselftest(ctx: &mut Ctx<'_>, _: &Args<'_>) -> Outcome {
    match hll::self_test(ctx.keys.roll()) {
        Ok(()) => ctx.out.ok(),
        Err(what) => return Err(Error::with(format!("ERR TESTFAILED {what}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
