//! LPOS.

use std::ops::ControlFlow;

use super::len_of;
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::Held;
use crate::resp::Args;
use crate::types::list::{List, Side, compact};

const NO_RANK: Error = Error::text(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);
const RANK_RANGE: Error =
    Error::text("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
const NEGATIVE_COUNT: Error = Error::text("ERR COUNT can't be negative");
const NEGATIVE_MAXLEN: Error = Error::text("ERR MAXLEN can't be negative");

/// What LPOS looks for.
struct Search {
    side: Side,
    /// How many matches to pass over.
    skip: u64,
    /// COUNT: an array of so many at most is wanted; 0 is all of them.
    count: Option<u64>,
    /// How many elements to look at.
    max_compared: u64,
}

fn search_of(args: &Args<'_>) -> Result<Search, Error> {
    let not_negative = |arg: &[u8], error: Error| int(arg).ok().and_then(|n| u64::try_from(n).ok()).ok_or(error);
    let mut search = Search { side: Side::Front, skip: 0, count: None, max_compared: u64::MAX };
    let mut i = 3;
    while i < args.len() {
        let value = args.opt(i + 1).ok_or(Error::Syntax)?;
        if args.is(i, "rank") {
            let rank = int(value)?;
            match rank {
                i64::MIN => return Err(RANK_RANGE),
                0 => return Err(NO_RANK),
                _ => {}
            }
            search.side = if rank < 0 { Side::Back } else { Side::Front };
            search.skip = rank.unsigned_abs() - 1;
        } else if args.is(i, "count") {
            search.count = Some(not_negative(value, NEGATIVE_COUNT)?);
        } else if args.is(i, "maxlen") {
            let max = not_negative(value, NEGATIVE_MAXLEN)?;
            search.max_compared = if max == 0 { u64::MAX } else { max };
        } else {
            return Err(Error::Syntax);
        }
        i += 2;
    }
    Ok(search)
}

/// LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]
pub fn lpos(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let search = search_of(args)?;
    let text = args.get(2);
    let Some(list) = ctx.keys.collection::<List>(args.get(1))? else {
        match search.count {
            Some(_) => ctx.out.array(0),
            None => ctx.out.null(),
        }
        return Ok(());
    };
    let max = match search.count {
        Some(0) => u64::MAX,
        Some(count) => count,
        None => 1,
    };
    let (mut passed, mut found) = (0, Vec::new());
    let mut each = |index: u64| {
        passed += 1;
        if passed > search.skip {
            found.push(index);
        }
        if found.len() as u64 == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    // Beyond the last element there is nothing to compare.
    let max_compared = search.max_compared.min(len_of(&list));
    let _ = match list {
        Held::Packed(bytes) => {
            compact::matches(bytes, text, search.side, max_compared as usize, |index| each(index as u64))
        }
        Held::Full(list) => list.matches(text, search.side, max_compared, each),
    };
    match (search.count, found.first()) {
        (Some(_), _) => {
            ctx.out.array(found.len());
            found.iter().for_each(|index| ctx.out.int(*index as i64));
        }
        (None, Some(index)) => ctx.out.int(*index as i64),
        (None, None) => ctx.out.null(),
    }
    Ok(())
}
