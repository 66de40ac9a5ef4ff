//! XRANGE and XREVRANGE.

use super::{at_most, parse_count, parse_end, parse_start, stream, write_entries};
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::Args;

/// XRANGE key start end [COUNT count]
pub fn xrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    range(ctx, args, Direction::Up)
}

/// XREVRANGE key end start [COUNT count]
pub fn xrevrange(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    range(ctx, args, Direction::Down)
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

fn range(ctx: &mut Ctx<'_>, args: &Args<'_>, direction: Direction) -> Outcome {
    let (start, end) = match direction {
        Direction::Up => (args.get(2), args.get(3)),
        Direction::Down => (args.get(3), args.get(2)),
    };
    let (start, end) = (parse_start(start)?, parse_end(end)?);
    let mut count = None;
    for i in (4..args.len()).step_by(2) {
        let value = args.opt(i + 1).filter(|_| args.is(i, "count")).ok_or(Error::Syntax)?;
        count = Some(parse_count(value)?);
    }
    let Some(stream) = stream(&mut ctx.keys, args.get(1))? else {
        ctx.out.array(0);
        return Ok(());
    };
    let log = stream.log();
    match (count, direction) {
        (Some(0), _) => ctx.out.null_array(),
        (count, Direction::Up) => {
            write_entries(&mut ctx.out, log.range(start, end), at_most(count.unwrap_or(0)));
        }
        (count, Direction::Down) => {
            write_entries(&mut ctx.out, log.range_reversed(start, end), at_most(count.unwrap_or(0)));
        }
    }
    Ok(())
}
