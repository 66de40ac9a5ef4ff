//! What HSCAN, SSCAN and ZSCAN have in common: cursor, options and the form of the reply.
//!
//! The order is Redis's: the cursor is looked at first ([`cursor`]), then the key, which answers with [`reply_nothing`] when it is missing, and
//! only then the options ([`ScanOptions::parse`]).

use super::Error;
use super::options::int;
use super::scratch::with_scratch;
use crate::resp::{Args, Writer};
use crate::types::glob;
use crate::types::numbers::parse_u64;

const DEFAULT_COUNT: usize = 10;

/// The cursor, argument 2.
pub fn cursor(args: &Args<'_>) -> Result<u64, Error> {
    parse_u64(args.get(2)).ok_or(Error::text("ERR invalid cursor"))
}

/// Which option a command has beyond those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValues {
    /// HSCAN's NOVALUES.
    Allowed,
    Refused,
}

/// The options behind the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    /// How many elements to look at, about. 1 or more.
    pub count: usize,
    /// NOVALUES was said.
    pub no_values: bool,
    pattern: Option<&'a [u8]>,
}

impl<'a> ScanOptions<'a> {
    pub fn parse(args: &Args<'a>, no_values: NoValues) -> Result<ScanOptions<'a>, Error> {
        let mut options = ScanOptions { count: DEFAULT_COUNT, no_values: false, pattern: None };
        let mut at = 3;
        while at < args.len() {
            if args.is(at, "novalues") {
                if no_values == NoValues::Refused {
                    return Err(Error::text("ERR NOVALUES option can only be used in HSCAN"));
                }
                options.no_values = true;
                at += 1;
                continue;
            }
            let value = args.opt(at + 1).ok_or(Error::Syntax)?;
            if args.is(at, "count") {
                options.count = usize::try_from(int(value)?).ok().filter(|count| *count > 0).ok_or(Error::Syntax)?;
            } else if args.is(at, "match") {
                options.pattern = (value != b"*").then_some(value);
            } else {
                return Err(Error::Syntax);
            }
            at += 2;
        }
        Ok(options)
    }

    /// Whether an element of this name is asked for.
    #[inline]
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, glob::Case::Sensitive))
    }
}

/// The elements of a reply, in the making.
pub struct Found<'a> {
    bytes: &'a mut Vec<u8>,
    count: usize,
}

impl Found<'_> {
    /// Adds a part of the reply: a member, or a field, or its value, or a score.
    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.count += 1;
        self.bytes.push(b'$');
        self.bytes.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes.extend_from_slice(text);
        self.bytes.extend_from_slice(b"\r\n");
    }
}

/// Replies with the cursor that `step` returns and with what it has pushed.
pub fn reply(out: &mut Writer<'_>, step: impl FnOnce(&mut Found<'_>) -> u64) {
    with_scratch(|bytes| {
        let mut found = Found { bytes, count: 0 };
        let next = step(&mut found);
        out.array(2);
        out.bulk(itoa::Buffer::new().format(next).as_bytes());
        out.array(found.count);
        out.raw(found.bytes);
    });
}

/// Replies that there is nothing, and nothing to come.
pub fn reply_nothing(out: &mut Writer<'_>) {
    reply(out, |_| 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{OwnedArgs, Proto, written};

    fn owned(line: &str) -> OwnedArgs {
        line.split_whitespace().collect()
    }

    fn refusal(line: &str) -> String {
        ScanOptions::parse(&owned(line).args(), NoValues::Refused).expect_err(line).to_string()
    }

    #[test]
    fn options() {
        let args = owned("hscan k 5 MATCH a* count 3 novalues match b*");
        assert_eq!(cursor(&args.args()), Ok(5));
        let options = ScanOptions::parse(&args.args(), NoValues::Allowed).expect("sound");
        assert_eq!((options.count, options.no_values), (3, true));
        assert!(options.wants(b"bc") && !options.wants(b"ab"));
        let none = owned("sscan k 0");
        let options = ScanOptions::parse(&none.args(), NoValues::Refused).expect("sound");
        assert_eq!((options.count, options.no_values), (10, false));
        assert!(options.wants(b"") && options.wants(b"x"));
    }

    #[test]
    fn refusals() {
        for line in ["sscan k 0 count", "sscan k 0 count 0", "sscan k 0 count -1", "sscan k 0 type set", "sscan k 0 x"]
        {
            assert_eq!(refusal(line), "ERR syntax error", "{line}");
        }
        assert_eq!(refusal("sscan k 0 count x"), "ERR value is not an integer or out of range");
        assert_eq!(refusal("sscan k 0 novalues"), "ERR NOVALUES option can only be used in HSCAN");
        for line in ["sscan k x", "sscan k -1", "sscan k 18446744073709551616"] {
            assert_eq!(cursor(&owned(line).args()), Err(Error::text("ERR invalid cursor")), "{line}");
        }
    }

    #[test]
    fn replies() {
        let text = written(Proto::Resp3, |out| {
            reply(out, |found| {
                found.push(b"abc");
                found.push(b"");
                7
            });
            reply_nothing(out);
        });
        assert_eq!(text, "*2\r\n$1\r\n7\r\n*2\r\n$3\r\nabc\r\n$0\r\n\r\n*2\r\n$1\r\n0\r\n*0\r\n");
    }
}
