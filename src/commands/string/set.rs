//! SET, and the older commands that it generalises.

use super::{equals, new_string, reply_with_string};
use crate::commands::options::{Lifetime, TimeArg, TimeForm};
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::Expiry;
use crate::resp::Args;

/// SET key value [NX | XX | IFEQ comparison-value] [GET]
/// [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]
pub fn set(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    if args.len() > 3 {
        return set_with_options(ctx, args);
    }
    let key = args.get(1);
    ctx.keys.set_string(key, new_string(args, 2), Expiry::None);
    ctx.string_event(key, "set");
    ctx.changed(1);
    ctx.out.ok();
    Ok(())
}

/// SETNX key value
pub fn setnx(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let free = ctx.keys.kind(key).is_none();
    if free {
        ctx.keys.set_string(key, new_string(args, 2), Expiry::None);
        ctx.string_event(key, "set");
        ctx.changed(1);
    }
    ctx.out.int(free as i64);
    Ok(())
}

/// SETEX key seconds value
pub fn setex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_until(ctx, args, TimeForm::Seconds, "setex")
}

/// PSETEX key milliseconds value
pub fn psetex(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_until(ctx, args, TimeForm::Millis, "psetex")
}

fn set_until(ctx: &mut Ctx<'_>, args: &Args<'_>, form: TimeForm, command: &str) -> Outcome {
    let at_ms = TimeArg { form, amount: args.get(2) }.at_ms(ctx.keys.now_ms(), command)?;
    let key = args.get(1);
    ctx.keys.set_string(key, new_string(args, 3), Expiry::AtMs(at_ms));
    ctx.string_event(key, "set");
    ctx.event(key, "expire");
    ctx.changed(1);
    ctx.propagate_with_number(&[b"SET", key, args.get(3), b"PXAT"], at_ms);
    ctx.out.ok();
    Ok(())
}

/// When SET sets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition<'a> {
    Always,
    /// NX
    IfAbsent,
    /// XX
    IfPresent,
    /// IFEQ: the key holds a string equal to this.
    IfEqual(&'a [u8]),
}

impl Condition<'_> {
    fn holds(self, ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, Error> {
        Ok(match self {
            Condition::Always => true,
            Condition::IfAbsent => ctx.keys.kind(key).is_none(),
            Condition::IfPresent => ctx.keys.kind(key).is_some(),
            Condition::IfEqual(expected) => {
                ctx.keys.string_to_change(key)?.is_some_and(|value| equals(value, expected))
            }
        })
    }
}

/// What SET replies with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// OK, or null when the condition did not hold.
    Done,
    /// GET: the string that was there, set or not.
    OldValue,
}

struct Options<'a> {
    condition: Condition<'a>,
    reply: Reply,
    lifetime: Lifetime<'a>,
}

impl<'a> Options<'a> {
    fn parse(args: &Args<'a>) -> Result<Options<'a>, Error> {
        let mut options = Options { condition: Condition::Always, reply: Reply::Done, lifetime: Lifetime::Unsaid };
        let mut i = 3;
        while i < args.len() {
            i += options.take(args, i).ok_or(Error::Syntax)?;
        }
        Ok(options)
    }

    /// Takes in the option at argument `i`: how many arguments it has, or `None` if it is unknown, incomplete or contradicts an
    /// earlier one.
    fn take(&mut self, args: &Args<'a>, i: usize) -> Option<usize> {
        if self.lifetime.take_time(args, i) {
            Some(2)
        } else if args.is(i, "nx") {
            self.require(Condition::IfAbsent)
        } else if args.is(i, "xx") {
            self.require(Condition::IfPresent)
        } else if args.is(i, "get") {
            self.reply = Reply::OldValue;
            Some(1)
        } else if args.is(i, "keepttl") {
            self.lifetime.take_word(Lifetime::Keep).then_some(1)
        } else if args.is(i, "ifeq") && self.condition == Condition::Always {
            self.condition = Condition::IfEqual(args.opt(i + 1)?);
            Some(2)
        } else {
            None
        }
    }

    fn require(&mut self, condition: Condition<'a>) -> Option<usize> {
        if self.condition != Condition::Always && self.condition != condition {
            return None;
        }
        self.condition = condition;
        Some(1)
    }
}

fn set_with_options(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let options = Options::parse(args)?;
    let expiry = options.lifetime.expiry(ctx.keys.now_ms(), "set")?;
    let key = args.get(1);
    if options.reply == Reply::OldValue {
        reply_with_string(ctx, key)?;
    }
    let sets = options.condition.holds(ctx, key)?;
    if sets {
        ctx.keys.set_string(key, new_string(args, 2), expiry);
        ctx.string_event(key, "set");
        if let Expiry::AtMs(_) = expiry {
            ctx.event(key, "expire");
        }
        ctx.changed(1);
        propagate(ctx, args, &options, expiry);
    }
    match (options.reply, sets) {
        (Reply::OldValue, _) => {}
        (Reply::Done, true) => ctx.out.ok(),
        (Reply::Done, false) => ctx.out.null(),
    }
    Ok(())
}

/// A time goes to replicas as the moment it stands for; what only concerns the reply, or what Redis 7.0 does not know, does not go there.
/// Where the client's own words would do, they do: a condition that held here holds there.
fn propagate(ctx: &mut Ctx<'_>, args: &Args<'_>, options: &Options<'_>, expiry: Expiry) {
    let (key, value) = (args.get(1), args.get(2));
    let is_plain = options.reply == Reply::Done && !matches!(options.condition, Condition::IfEqual(_));
    match expiry {
        Expiry::AtMs(at_ms) => ctx.propagate_with_number(&[b"SET", key, value, b"PXAT"], at_ms),
        Expiry::None | Expiry::Keep if is_plain => {}
        Expiry::None => ctx.propagate_as(&[b"SET", key, value]),
        Expiry::Keep => ctx.propagate_as(&[b"SET", key, value, b"KEEPTTL"]),
    }
}
