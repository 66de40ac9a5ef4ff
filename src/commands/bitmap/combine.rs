//! BITOP: bitwise operations over whole strings.

use bytes::Bytes;

use crate::commands::string::bytes_of;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{EMBEDDED_BYTES, Expiry, NewStr};
use crate::resp::Args;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Result<Operation, Error> {
        const WORDS: [(&[u8], Operation); 4] =
            [(b"and", Operation::And), (b"or", Operation::Or), (b"xor", Operation::Xor), (b"not", Operation::Not)];
        let found = WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, operation)| *operation).ok_or(Error::Syntax)
    }

    /// `result = result operation source`; the shorter one counts as filled up with zeroes.
    fn apply(self, result: &mut Vec<u8>, source: &[u8]) {
        if result.len() < source.len() {
            result.resize(source.len(), 0);
        }
        let (common, rest) = result.split_at_mut(source.len());
        let pairs = common.iter_mut().zip(source);
        match self {
            Operation::And => {
                pairs.for_each(|(r, s)| *r &= s);
                rest.fill(0);
            }
            Operation::Or => pairs.for_each(|(r, s)| *r |= s),
            Operation::Xor => pairs.for_each(|(r, s)| *r ^= s),
            Operation::Not => pairs.for_each(|(r, s)| *r = !s),
        }
    }
}

/// BITOP AND | OR | XOR | NOT destkey key [key ...]
pub fn bitop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let operation = Operation::parse(args.get(1))?;
    if operation == Operation::Not && args.len() != 4 {
        return Err(Error::text("ERR BITOP NOT must be called with a single source key."));
    }
    let result = combine(ctx, operation, args)?;
    let destination = args.get(2);
    let len = result.len();
    if len > 0 {
        store(ctx, destination, result)?;
        ctx.string_event(destination, "set");
        ctx.changed(1);
    } else if ctx.keys.discard(destination) {
        ctx.event(destination, "del");
        ctx.changed(1);
    }
    ctx.out.int(len as i64);
    Ok(())
}

/// Stores the result as bytes: as in Redis it is neither an integer nor `embstr`, however short it is.
fn store(ctx: &mut Ctx<'_>, key: &[u8], result: Vec<u8>) -> Outcome {
    if result.len() > EMBEDDED_BYTES {
        ctx.keys.set_string(key, NewStr::Take(Bytes::from(result)), Expiry::None);
    } else {
        ctx.keys.set_string(key, NewStr::Copy(b""), Expiry::None);
        ctx.keys.string_bytes_mut(key, result.len())?.copy_from_slice(&result);
    }
    Ok(())
}

fn combine(ctx: &mut Ctx<'_>, operation: Operation, args: &Args<'_>) -> Result<Vec<u8>, Error> {
    let mut result = Vec::new();
    for (i, key) in args.iter_from(3).enumerate() {
        let mut digits = itoa::Buffer::new();
        let source = ctx.keys.string(key)?.map_or(&b""[..], |value| bytes_of(value, &mut digits));
        if i == 0 && operation != Operation::Not {
            result.extend_from_slice(source);
        } else {
            operation.apply(&mut result, source);
        }
    }
    Ok(result)
}
