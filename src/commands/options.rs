//! Arguments and options that several command families share: numbers, ranges, expiry times.
//!
//! Each function parses one thing and answers with the error Redis gives for it.

use std::ops::Range;

use super::{Ctx, Error};
use crate::keyspace::Expiry;
use crate::resp::Args;
use crate::types::numbers::parse_i64;

/// An integer argument.
#[inline]
pub fn int(arg: &[u8]) -> Result<i64, Error> {
    parse_i64(arg).ok_or(Error::NotInteger)
}

/// The index of one of `databases` databases.
pub fn database(databases: usize, arg: &[u8]) -> Result<usize, Error> {
    const NOT_AN_INT: Error = Error::text("ERR value is out of range, value must between -2147483648 and 2147483647");
    let index = i32::try_from(int(arg)?).map_err(|_| NOT_AN_INT)?;
    usize::try_from(index).ok().filter(|index| *index < databases).ok_or(Error::text("ERR DB index is out of range"))
}

/// An error unless a string of `bytes` may be stored.
pub fn check_string_length(ctx: &Ctx<'_>, bytes: u64) -> Result<(), Error> {
    if bytes > ctx.max_bulk_bytes {
        return Err(Error::text("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    Ok(())
}

/// The part `start..=end` of a sequence of `len` elements, as a half-open range; indexes below zero count from the end, and
/// what lies outside is cut off, so that a range wholly before the first element becomes that element. `None`: nothing is left.
pub fn clamp_range(start: i64, end: i64, len: u64) -> Option<Range<u64>> {
    let from_front = |index: i64| {
        if index < 0 { len.saturating_sub(index.unsigned_abs()) } else { index as u64 }
    };
    let (first, last) = (from_front(start), from_front(end).min(len.checked_sub(1)?));
    (first <= last).then_some(first..last + 1)
}

/// [`clamp_range`], but nothing is left of a range whose ends count from the end and are crossed (GETRANGE, BITCOUNT).
pub fn clamp_uncrossed(start: i64, end: i64, len: u64) -> Option<Range<u64>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    clamp_range(start, end, len)
}

/// How a command words a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// EX
    Seconds,
    /// PX
    Millis,
    /// EXAT
    AtSeconds,
    /// PXAT
    AtMillis,
}

impl TimeForm {
    pub fn from_word(word: &[u8]) -> Option<TimeForm> {
        const WORDS: [(&[u8], TimeForm); 4] = [
            (b"ex", TimeForm::Seconds),
            (b"px", TimeForm::Millis),
            (b"exat", TimeForm::AtSeconds),
            (b"pxat", TimeForm::AtMillis),
        ];
        WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, form)| *form)
    }

    pub fn is_absolute(self) -> bool {
        matches!(self, TimeForm::AtSeconds | TimeForm::AtMillis)
    }

    /// `amount` in this form as Unix time in milliseconds, which may lie in the past or before 1970; `None` when it does not fit.
    pub fn at_ms(self, amount: i64, now_ms: u64) -> Option<i64> {
        let millis = match self {
            TimeForm::Seconds | TimeForm::AtSeconds => amount.checked_mul(1000)?,
            TimeForm::Millis | TimeForm::AtMillis => amount,
        };
        if self.is_absolute() { Some(millis) } else { millis.checked_add_unsigned(now_ms) }
    }
}

/// A time in a [`TimeForm`], not yet parsed: options are checked for syntax before any of their numbers is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeArg<'a> {
    pub form: TimeForm,
    pub amount: &'a [u8],
}

impl TimeArg<'_> {
    /// Unix time in milliseconds, for the commands that take times above zero only. `command` is named in the error.
    pub fn at_ms(self, now_ms: u64, command: &str) -> Result<u64, Error> {
        let amount = int(self.amount)?;
        let at_ms = self.form.at_ms(amount, now_ms).filter(|_| amount > 0);
        at_ms.map(|at_ms| at_ms as u64).ok_or_else(|| Error::invalid_expire(command))
    }
}

/// What SET and GETEX say of the key's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime<'a> {
    Unsaid,
    /// KEEPTTL
    Keep,
    /// PERSIST
    Persist,
    At(TimeArg<'a>),
}

impl<'a> Lifetime<'a> {
    /// Takes in the option at argument `i` if it is `EX`, `PX`, `EXAT` or `PXAT` with a time behind it, and nothing said before
    /// contradicts it. The same word may be repeated; the last one counts.
    pub fn take_time(&mut self, args: &Args<'a>, i: usize) -> bool {
        let (Some(form), Some(amount)) = (TimeForm::from_word(args.get(i)), args.opt(i + 1)) else { return false };
        let agrees = match self {
            Lifetime::Unsaid => true,
            Lifetime::At(said) => said.form == form,
            Lifetime::Keep | Lifetime::Persist => false,
        };
        if agrees {
            *self = Lifetime::At(TimeArg { form, amount });
        }
        agrees
    }

    /// Takes in KEEPTTL or PERSIST if nothing else was said before.
    pub fn take_word(&mut self, word: Lifetime<'a>) -> bool {
        let agrees = *self == Lifetime::Unsaid || *self == word;
        if agrees {
            *self = word;
        }
        agrees
    }

    /// What becomes of the expiry of a key that is set.
    pub fn expiry(self, now_ms: u64, command: &str) -> Result<Expiry, Error> {
        match self {
            Lifetime::Unsaid | Lifetime::Persist => Ok(Expiry::None),
            Lifetime::Keep => Ok(Expiry::Keep),
            Lifetime::At(time) => time.at_ms(now_ms, command).map(Expiry::AtMs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_sequence() {
        for (start, end, len, want) in [
            (0, -1, 5, Some(0..5)),
            (1, 3, 5, Some(1..4)),
            (-3, -2, 5, Some(2..4)),
            (-2, -3, 5, None),
            (-9, -8, 5, Some(0..1)),
            (-8, -9, 5, Some(0..1)),
            (3, 1, 5, None),
            (4, 99, 5, Some(4..5)),
            (5, 99, 5, None),
            (0, 0, 0, None),
            (i64::MIN, i64::MAX, 5, Some(0..5)),
        ] {
            assert_eq!(clamp_range(start, end, len), want, "{start} {end} of {len}");
        }
        assert_eq!(clamp_uncrossed(-8, -9, 5), None);
        assert_eq!(clamp_uncrossed(-9, -8, 5), Some(0..1));
    }

    /// Replies of redis-server 7.0.15 to SELECT.
    #[test]
    fn databases_are_refused_as_redis_does() {
        let index = |arg: &str| database(16, arg.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(index("15"), Ok(15));
        for (arg, text) in [
            ("16", "ERR DB index is out of range"),
            ("-1", "ERR DB index is out of range"),
            ("2147483648", "ERR value is out of range, value must between -2147483648 and 2147483647"),
            ("9223372036854775808", "ERR value is not an integer or out of range"),
            ("x", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(index(arg), Err(text.to_owned()), "{arg}");
        }
    }

    #[test]
    fn times_that_do_not_fit_are_refused() {
        let at = |form, amount: &'static [u8]| TimeArg { form, amount }.at_ms(1000, "set");
        assert_eq!(at(TimeForm::Seconds, b"2"), Ok(3000));
        assert_eq!(at(TimeForm::AtSeconds, b"2"), Ok(2000));
        assert_eq!(at(TimeForm::Millis, b"9223372036854775807"), Err(Error::invalid_expire("set")));
        assert_eq!(at(TimeForm::Seconds, b"9223372036854775"), Err(Error::invalid_expire("set")));
        assert_eq!(at(TimeForm::AtMillis, b"9223372036854775807"), Ok(i64::MAX as u64));
        assert_eq!(at(TimeForm::AtMillis, b"0"), Err(Error::invalid_expire("set")));
        assert_eq!(at(TimeForm::Seconds, b"x"), Err(Error::NotInteger));
    }
}
