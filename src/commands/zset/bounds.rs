//! The ends of ranges, as arguments. They are read as leniently as Redis reads them.

use crate::commands::Error;
use crate::types::numbers::parse_f64_as_c;
use crate::types::zset::{LexBound, ScoreBound};

/// The ends of a range of scores: numbers, with a `(` before one that does not belong to the range.
pub fn scores(min: &[u8], max: &[u8]) -> Result<(ScoreBound, ScoreBound), Error> {
    const NOT_A_FLOAT: Error = Error::text("ERR min or max is not a float");
    let bound = |text: &[u8]| match text.strip_prefix(b"(") {
        Some(number) => parse_f64_as_c(number).map(ScoreBound::Excluded),
        None => parse_f64_as_c(text).map(ScoreBound::Included),
    };
    bound(min).zip(bound(max)).ok_or(NOT_A_FLOAT)
}

/// The ends of a range of names: `-`, `+`, `[name` and `(name`.
pub fn names<'a>(min: &'a [u8], max: &'a [u8]) -> Result<(LexBound<'a>, LexBound<'a>), Error> {
    const NOT_A_BOUND: Error = Error::text("ERR min or max not valid string range item");
    name(min).zip(name(max)).ok_or(NOT_A_BOUND)
}

fn name(text: &[u8]) -> Option<LexBound<'_>> {
    Some(match text {
        [b'-'] | [b'-', 0, ..] => LexBound::Lowest,
        [b'+'] | [b'+', 0, ..] => LexBound::Highest,
        [b'[', name @ ..] => LexBound::Included(name),
        [b'(', name @ ..] => LexBound::Excluded(name),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_ranges() {
        use ScoreBound::{Excluded, Included};
        assert_eq!(scores(b"(1.5", b"+inf"), Ok((Excluded(1.5), Included(f64::INFINITY))));
        assert_eq!(scores(b"(", b" 1"), Ok((Excluded(0.0), Included(1.0))), "as strtod reads them");
        assert_eq!(scores(b"((1", b"1").expect_err("no number").message(), b"ERR min or max is not a float");
        assert_eq!(names(b"-", b"(b"), Ok((LexBound::Lowest, LexBound::Excluded(b"b"))));
        assert_eq!(names(b"[", b"+"), Ok((LexBound::Included(b""), LexBound::Highest)));
        for text in [&b""[..], b"a", b"+a", b"-inf"] {
            let error = names(b"-", text).expect_err("no bound");
            assert_eq!(error.message(), b"ERR min or max not valid string range item");
        }
    }
}
