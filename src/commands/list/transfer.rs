//! LMOVE and RPOPLPUSH, and BLMOVE and BRPOPLPUSH, which wait for an element to move.

use super::pop::{pop, popped};
use super::push::push;
use super::{event, event_of_pop, event_of_push, len_to_change, side_of, with_scratch, write_item};
use crate::commands::blocking::{AtTimeout, Block, until_of_seconds};
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::{HeldMut, Kind};
use crate::resp::Args;
use crate::types::list::{List, Side, compact};
use crate::types::packed::Item;

/// The arguments that name source and destination.
const SOURCE: usize = 1;
const DESTINATION: usize = 2;

/// From which end of the source, to which of the destination.
#[derive(Clone, Copy)]
struct Ends {
    from: Side,
    to: Side,
}

const RIGHT_TO_LEFT: Ends = Ends { from: Side::Back, to: Side::Front };

impl Ends {
    fn of(args: &Args<'_>) -> Result<Ends, Error> {
        Ok(Ends { from: side_of(args.get(3))?, to: side_of(args.get(4))? })
    }
}

/// Moves an element and replies with it. Whether there was one.
fn transfer(ctx: &mut Ctx<'_>, args: &Args<'_>, ends: Ends) -> Result<bool, Error> {
    let (source, destination) = (args.get(SOURCE), args.get(DESTINATION));
    if len_to_change(ctx, source)?.is_none() {
        return Ok(false);
    }
    len_to_change(ctx, destination)?;
    if source == destination {
        rotate(ctx, source, ends)?;
        return Ok(true);
    }
    with_scratch(|element| {
        let left = pop(ctx, source, ends.from, 1, |out, item| {
            element.extend_from_slice(item.text(&mut [0; _]));
            write_item(out, item);
        })?;
        push(ctx, destination, ends.to, std::iter::once(element.as_slice()))?;
        popped(ctx, source, ends.from, 1, left)
    })?;
    Ok(true)
}

/// Moves an element of a list to the same or the other end.
fn rotate(ctx: &mut Ctx<'_>, key: &[u8], ends: Ends) -> Outcome {
    let Ctx { keys, out, .. } = ctx;
    with_scratch(|element| {
        with_scratch(|kept| {
            with_scratch(|turned| {
                let take = |item: Item<'_>| {
                    element.extend_from_slice(item.text(&mut [0; _]));
                    write_item(out, item);
                };
                match keys.collection_to_change::<List>(key)? {
                    None => {}
                    Some(HeldMut::Packed(packed)) => {
                        compact::range(packed, ends.from, 0, 1, take);
                        let len = compact::len(packed);
                        let rest = if ends.from == Side::Front { 1..len } else { 0..len - 1 };
                        compact::trim(packed, rest, kept);
                        compact::push(kept, ends.to, [element.as_slice()], turned);
                        keys.set_packed::<List>(key, turned);
                    }
                    Some(HeldMut::Full(list)) => {
                        list.pop(ends.from, take);
                        list.push(ends.to, element);
                        keys.changed(key);
                    }
                }
                Ok::<(), Error>(())
            })
        })
    })?;
    event(ctx, key, event_of_push(ends.to));
    event(ctx, key, event_of_pop(ends.from));
    ctx.changed(1);
    Ok(())
}

/// LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>
pub fn lmove(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let ends = Ends::of(args)?;
    if !transfer(ctx, args, ends)? {
        ctx.out.null();
    }
    Ok(())
}

/// RPOPLPUSH source destination
pub fn rpoplpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    if !transfer(ctx, args, RIGHT_TO_LEFT)? {
        ctx.out.null();
    }
    Ok(())
}

/// Lets a client wait for an element of the source. In vain it gets an array that is none, as in Redis, but where nobody may wait a null.
fn wait(ctx: &mut Ctx<'_>, until_ms: Option<u64>) {
    if ctx.blocking.is_none() {
        return ctx.out.null();
    }
    let keys = SOURCE..SOURCE + 1;
    ctx.block_for(Block::on(keys, Kind::List, until_ms, AtTimeout::NullArray).beside(DESTINATION));
}

/// BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout
pub fn blmove(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let ends = Ends::of(args)?;
    let until_ms = until_of_seconds(args.get(5), ctx.keys.now_ms())?;
    if transfer(ctx, args, ends)? {
        let (source, destination) = (args.get(SOURCE), args.get(DESTINATION));
        ctx.propagate_as(&[b"LMOVE", source, destination, args.get(3), args.get(4)]);
    } else {
        wait(ctx, until_ms);
    }
    Ok(())
}

/// BRPOPLPUSH source destination timeout
pub fn brpoplpush(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let until_ms = until_of_seconds(args.get(3), ctx.keys.now_ms())?;
    if transfer(ctx, args, RIGHT_TO_LEFT)? {
        ctx.propagate_as(&[b"RPOPLPUSH", args.get(SOURCE), args.get(DESTINATION)]);
    } else {
        wait(ctx, until_ms);
    }
    Ok(())
}
