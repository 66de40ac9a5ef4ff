//! How a command waits for a key: what the handlers of BLPOP, BZPOPMIN, XREAD BLOCK and their like say to whoever runs them.
//!
//! Such a handler looks at its keys in turn ([`Ctx::candidates`]), takes what it finds, and otherwise says [`Ctx::block`] and returns without
//! a reply. When one of the keys may have what it wants, it is called again for that key alone, with nobody else having seen the
//! key in between. Its table entry has the flags BLOCKING and BARRIER.
//!
//! Arguments that stand for the state of things when the command was called (`$`) it replaces by what they stood for
//! ([`Ctx::call_again_with`]).
//!
//! Two things a handler may ask for beside that, with [`Ctx::block_for`]
//! - *beside*: another key that it needs while it is served, on whatever core that is (the destination of BLMOVE). It is locked and at hand when
//!   the handler is called again. While somebody else has it locked, the client keeps its place before all who wait behind it; only
//!   commands that do not wait can take the value before it
//! - *wakes when gone*: it is called again, too, when the key is deleted, has expired or becomes another type (XREADGROUP, whose group is
//!   gone then). It answers, as a rule with an error; if it blocks again, it goes on waiting at its place

use std::ops::Range;

use super::string::write_string;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{Kind, ValueRef};
use crate::resp::{Args, OwnedArgs, Writer};
use crate::types::long_double::LongDouble;
use crate::types::numbers::{parse_f64, parse_i64};

/// What a client gets that has waited in vain, or may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtTimeout {
    NullArray,
    Null,
    Int(i64),
}

impl AtTimeout {
    pub fn write(self, out: &mut Writer<'_>) {
        match self {
            AtTimeout::NullArray => out.null_array(),
            AtTimeout::Null => out.null(),
            AtTimeout::Int(n) => out.int(n),
        }
    }
}

/// What a blocked command waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The arguments that name the keys.
    pub keys: Range<usize>,
    /// Values of other types do not end the wait.
    pub kind: Kind,
    /// Unix time in milliseconds; `None`: for ever.
    pub until_ms: Option<u64>,
    pub at_timeout: AtTimeout,
    /// The argument that names another key, which the command needs while it is served.
    pub beside: Option<usize>,
    /// That a key goes, or comes to hold another type, ends the wait as well.
    pub wakes_when_gone: bool,
}

impl Block {
    pub fn on(keys: Range<usize>, kind: Kind, until_ms: Option<u64>, at_timeout: AtTimeout) -> Block {
        Block { keys, kind, until_ms, at_timeout, beside: None, wakes_when_gone: false }
    }

    pub fn beside(self, argument: usize) -> Block {
        Block { beside: Some(argument), ..self }
    }

    pub fn waking_when_gone(self) -> Block {
        Block { wakes_when_gone: true, ..self }
    }
}

/// Between a handler that may wait and who runs it.
#[derive(Default)]
pub struct Blocking {
    /// The argument that names the key it is called again for.
    pub serves: Option<usize>,
    /// Set by the handler: it has found nothing.
    pub block: Option<Block>,
    /// Set by the handler, too: the arguments to call it again with, if not those it had.
    pub again: Option<OwnedArgs>,
}

impl Ctx<'_> {
    /// Which of the arguments `keys` to look at: all, or the one that became ready.
    pub fn candidates(&self, keys: Range<usize>) -> Range<usize> {
        match self.blocking.as_ref().and_then(|blocking| blocking.serves) {
            Some(key) => key..key + 1,
            None => keys,
        }
    }

    /// Lets the client wait until one of the keys holds a value of this kind. Where a client must not wait (MULTI, scripts), it has waited in vain
    /// at once.
    pub fn block(&mut self, keys: Range<usize>, kind: Kind, until_ms: Option<u64>, at_timeout: AtTimeout) {
        self.block_for(Block::on(keys, kind, until_ms, at_timeout));
    }

    /// The same in full.
    pub fn block_for(&mut self, block: Block) {
        match &mut self.blocking {
            Some(blocking) => blocking.block = Some(block),
            None => block.at_timeout.write(&mut self.out),
        }
    }
}

impl Ctx<'_> {
    /// Of a command that has said [`Ctx::block`]: the arguments to call it again with. The keys stay where they are.
    pub fn call_again_with(&mut self, args: OwnedArgs) {
        if let Some(blocking) = &mut self.blocking {
            blocking.again = Some(args);
        }
    }
}

const NEGATIVE: Error = Error::text("ERR timeout is negative");
const OUT_OF_RANGE: Error = Error::text("ERR timeout is out of range");

/// A timeout in seconds, decimals allowed, as the time it ends. 0 is for ever.
pub fn until_of_seconds(arg: &[u8], now_ms: u64) -> Result<Option<u64>, Error> {
    const NOT_A_FLOAT: Error = Error::text("ERR timeout is not a float or out of range");
    let Some(seconds) = parse_f64(arg) else {
        // Redis reads a long double: what is a number there, and no double, is far too long, or as good as nothing.
        return match LongDouble::parse(arg) {
            None => Err(NOT_A_FLOAT),
            Some(_) if arg.starts_with(b"-") => Err(NEGATIVE),
            Some(_) => Err(OUT_OF_RANGE),
        };
    };
    let ms = (seconds * 1000.0).ceil();
    if ms >= i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    until(ms as i64, now_ms)
}

/// A timeout in milliseconds, likewise.
pub fn until_of_millis(arg: &[u8], now_ms: u64) -> Result<Option<u64>, Error> {
    let ms = parse_i64(arg).ok_or(Error::text("ERR timeout is not an integer or out of range"))?;
    until(ms, now_ms)
}

fn until(ms: i64, now_ms: u64) -> Result<Option<u64>, Error> {
    match u64::try_from(ms) {
        Err(_) => Err(NEGATIVE),
        Ok(0) => Ok(None),
        Ok(ms) => now_ms.checked_add(ms).filter(|at| i64::try_from(*at).is_ok()).map(Some).ok_or(OUT_OF_RANGE),
    }
}

/// DEBUG BLOCKPOP key [key ...] timeout: takes the first of the keys that exists, key and value, or waits for one.
pub fn block_pop(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let keys = 2..args.len() - 1;
    let until_ms = until_of_seconds(args.get(keys.end), ctx.keys.now_ms())?;
    for at in ctx.candidates(keys.clone()) {
        let key = args.get(at);
        if ctx.keys.kind(key) != Some(Kind::String) {
            continue;
        }
        let Some(taken) = ctx.keys.take(key) else { continue };
        ctx.out.array(2);
        ctx.out.bulk(key);
        match taken.value.as_ref() {
            ValueRef::Str(text) => write_string(&mut ctx.out, text),
            ValueRef::Packed(..) | ValueRef::Object(_) => unreachable!("the key held a string"),
        }
        ctx.changed(1);
        ctx.propagate_as(&[b"DEL", key]);
        return Ok(());
    }
    ctx.block(keys, Kind::String, until_ms, AtTimeout::NullArray);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let seconds = |text: &str| until_of_seconds(text.as_bytes(), 1000).map_err(|error| error.message().to_vec());
        assert_eq!(seconds("0"), Ok(None));
        assert_eq!(seconds("1.5"), Ok(Some(2500)));
        assert_eq!(seconds("0.0001"), Ok(Some(1001)), "never rounded down to for ever");
        for (text, error) in [
            ("x", "not a float or out of range"),
            ("nan", "not a float or out of range"),
            ("-1", "negative"),
            ("1e400", "out of range"),
            ("9223372036854775807", "out of range"),
            ("9223372036854775", "out of range"),
        ] {
            assert_eq!(seconds(text), Err(format!("ERR timeout is {error}").into_bytes()), "{text}");
        }
        let millis = |text: &str| until_of_millis(text.as_bytes(), 1000).map_err(|error| error.message().to_vec());
        assert_eq!((millis("0"), millis("7")), (Ok(None), Ok(Some(1007))));
        assert_eq!(millis("1.5"), Err(b"ERR timeout is not an integer or out of range".to_vec()));
        assert_eq!(millis("-1"), Err(b"ERR timeout is negative".to_vec()));
        assert_eq!(millis("9223372036854775807"), Err(b"ERR timeout is out of range".to_vec()));
    }
}
