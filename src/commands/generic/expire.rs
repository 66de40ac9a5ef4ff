//! When keys end: the EXPIRE and TTL families.

use crate::commands::error::c_string;
use crate::commands::options::{TimeForm, int};
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::Args;

/// EXPIRE key seconds [NX | XX | GT | LT]
pub fn expire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::Seconds, "expire")
}

/// PEXPIRE key milliseconds [NX | XX | GT | LT]
pub fn pexpire(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::Millis, "pexpire")
}

/// EXPIREAT key unix-time-seconds [NX | XX | GT | LT]
pub fn expireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::AtSeconds, "expireat")
}

/// PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]
pub fn pexpireat(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    set_expiry(ctx, args, TimeForm::AtMillis, "pexpireat")
}

/// Which expiry a key must have for the new one to take its place. NX stands alone, XX may come with either of GT and LT.
#[derive(Clone, Copy, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: &Args<'_>) -> Result<Conditions, Error> {
        let mut conditions = Conditions::default();
        for word in args.iter_from(3) {
            let known: [(&[u8], &mut bool); 4] = [
                (b"nx", &mut conditions.nx),
                (b"xx", &mut conditions.xx),
                (b"gt", &mut conditions.gt),
                (b"lt", &mut conditions.lt),
            ];
            match known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) {
                Some((_, said)) => *said = true,
                None => return Err(unsupported(word)),
            }
        }
        if conditions.nx && (conditions.xx || conditions.gt || conditions.lt) {
            return Err(Error::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.gt && conditions.lt {
            return Err(Error::text("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// No expiry counts as the latest there is.
    fn hold(self, old_ms: Option<u64>, new_ms: i64) -> bool {
        let Some(old_ms) = old_ms else { return !self.xx && !self.gt };
        let (old_ms, new_ms) = (i128::from(old_ms), i128::from(new_ms));
        !self.nx && (!self.gt || new_ms > old_ms) && (!self.lt || new_ms < old_ms)
    }
}

fn unsupported(word: &[u8]) -> Error {
    Error::concat(&[b"ERR Unsupported option ", c_string(word)])
}

fn set_expiry(ctx: &mut Ctx<'_>, args: &Args<'_>, form: TimeForm, command: &str) -> Outcome {
    let key = args.get(1);
    let conditions = Conditions::parse(args)?;
    let amount = int(args.get(2))?;
    let now_ms = ctx.keys.now_ms();
    let at_ms = form.at_ms(amount, now_ms).ok_or_else(|| Error::invalid_expire(command))?;
    let applies = ctx.keys.expire_at_ms(key).is_some_and(|old_ms| conditions.hold(old_ms, at_ms));
    if applies {
        match u64::try_from(at_ms) {
            Ok(at_ms) if !ctx.keys.is_past(at_ms) => {
                ctx.keys.set_expire_at_ms(key, Some(at_ms));
                ctx.event(key, "expire");
                ctx.propagate_with_number(&[b"PEXPIREAT", key], at_ms);
            }
            // The time is past: the key goes now.
            Ok(_) | Err(_) => {
                ctx.keys.remove(key);
                ctx.event(key, "del");
                ctx.propagate_as(&[b"DEL", key]);
            }
        }
        ctx.changed(1);
    }
    ctx.out.int(applies as i64);
    Ok(())
}

/// PERSIST key
pub fn persist(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let expires = ctx.keys.expire_at_ms(key).flatten().is_some();
    if expires {
        ctx.keys.set_expire_at_ms(key, None);
        ctx.event(key, "persist");
        ctx.changed(1);
    }
    ctx.out.int(expires as i64);
    Ok(())
}

/// TTL key
pub fn ttl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, now_ms| rounded_seconds(at_ms.saturating_sub(now_ms)))
}

/// PTTL key
pub fn pttl(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, now_ms| at_ms.saturating_sub(now_ms))
}

/// EXPIRETIME key
pub fn expiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, _| rounded_seconds(at_ms))
}

/// PEXPIRETIME key
pub fn pexpiretime(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    reply_with_expiry(ctx, args, |at_ms, _| at_ms)
}

fn rounded_seconds(millis: u64) -> u64 {
    millis.saturating_add(500) / 1000
}

/// -2: no such key; -1: no expiry; else what `tell` makes of the expiry and of now, both in Unix milliseconds.
fn reply_with_expiry(ctx: &mut Ctx<'_>, args: &Args<'_>, tell: fn(u64, u64) -> u64) -> Outcome {
    let key = args.get(1);
    // Counts as a hit or miss, which asking for the expiry alone does not.
    let expiry = if ctx.keys.exists(key) { ctx.keys.expire_at_ms(key) } else { None };
    ctx.out.int(match expiry {
        None => -2,
        Some(None) => -1,
        Some(Some(at_ms)) => tell(at_ms, ctx.keys.now_ms()) as i64,
    });
    Ok(())
}
