//! Entries that were delivered and are pending: acknowledged, listed, and taken over by other consumers.

use super::{
    Telling, at_most, consumer_at_work, event, no_key_or_group, note_active, now_ms, parse_count, parse_end, parse_id,
    parse_or, parse_start, stream, stream_to_change, write_entry, write_id,
};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::resp::{Args, Writer};
use crate::types::numbers::parse_i64;
use crate::types::stream::{Consumer, Entries, Group, Id, Log, Owner, Pending};

/// XACK key group id [id ...]
pub fn xack(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let mut acknowledged = 0;
    if let Some(group) = stream_to_change(&mut ctx.keys, key)?.and_then(|stream| stream.group_mut(args.get(2))) {
        // All or nothing.
        args.iter_from(3).try_for_each(|id| parse_id(id).map(drop))?;
        for id in args.iter_from(3) {
            acknowledged += u64::from(group.acknowledge(parse_id(id)?));
        }
    }
    ctx.changed(acknowledged);
    ctx.out.int(acknowledged as i64);
    Ok(())
}

/// What XPENDING asks for beyond the summary.
struct Listing<'a> {
    min_idle: i64,
    start: Id,
    end: Id,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Listing<'a> {
    fn parse(args: &Args<'a>) -> Result<Listing<'a>, Error> {
        let (mut at, mut min_idle) = (3, 0);
        if args.is(3, "idle") {
            min_idle = int(args.get(4))?;
            at = 5;
            if args.len() < 8 {
                return Err(Error::Syntax);
            }
        }
        let count = parse_count(args.get(at + 2))?;
        let (start, end) = (parse_start(args.get(at))?, parse_end(args.get(at + 1))?);
        Ok(Listing { min_idle, start, end, count, consumer: args.opt(at + 3) })
    }

    fn write(&self, out: &mut Writer<'_>, group: &Group, now_ms: i64) {
        let owner = self.consumer.map(|name| group.find_consumer(name));
        if owner == Some(None) || self.count == 0 {
            return out.array(0);
        }
        let (mark, mut written) = (out.mark(), 0);
        let mut write = |(id, pending): (Id, Pending)| {
            out.array(4);
            write_id(out, id);
            out.bulk(group.consumer(pending.owner).map_or(&[][..], Consumer::name));
            out.int(now_ms.saturating_sub(pending.delivered_ms).max(0));
            out.int(pending.deliveries.into());
            written += 1;
        };
        let long_enough = |(_, pending): &(Id, Pending)| self.min_idle == 0 || idle(pending, now_ms) >= self.min_idle;
        let count = at_most(self.count);
        match owner.flatten() {
            Some(owner) => {
                group.pending_of(owner, self.start, self.end).filter(long_enough).take(count).for_each(&mut write);
            }
            None => group.pending(self.start, self.end).filter(long_enough).take(count).for_each(&mut write),
        }
        out.array_from(mark, written);
    }
}

fn idle(pending: &Pending, now_ms: i64) -> i64 {
    now_ms.wrapping_sub(pending.delivered_ms)
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]]
pub fn xpending(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let listing = match args.len() {
        3 => None,
        6..=9 => Some(Listing::parse(args)?),
        _ => return Err(Error::Syntax),
    };
    let now_ms = now_ms(&ctx.keys);
    let (key, name) = (args.get(1), args.get(2));
    let group = stream(&mut ctx.keys, key)?.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_key_or_group(key, name))?;
    match listing {
        Some(listing) => listing.write(&mut ctx.out, group, now_ms),
        None => write_summary(&mut ctx.out, group),
    }
    Ok(())
}

fn write_summary(out: &mut Writer<'_>, group: &Group) {
    out.array(4);
    out.int(group.pending_len() as i64);
    let Some((first, last)) = group.pending_edges() else {
        out.null();
        out.null();
        return out.null_array();
    };
    write_id(out, first);
    write_id(out, last);
    let (mark, mut written) = (out.mark(), 0);
    for consumer in group.consumers().filter(|consumer| consumer.pending_len() > 0) {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_int(consumer.pending_len() as i64);
        written += 1;
    }
    out.array_from(mark, written);
}

/// How an entry is claimed.
#[derive(Clone, Copy)]
struct Claim {
    min_idle: i64,
    delivered_ms: i64,
    /// `None`: once more than before.
    deliveries: Option<u32>,
    /// Whether an entry may be claimed that is not pending.
    force: bool,
    just_id: bool,
    last_id: Id,
}

impl Claim {
    /// The options of XCLAIM, from argument `i` on.
    fn parse(args: &Args<'_>, mut i: usize, min_idle: i64, now_ms: i64) -> Result<Claim, Error> {
        let claim =
            Claim { min_idle, delivered_ms: now_ms, deliveries: None, force: false, just_id: false, last_id: Id::MIN };
        let mut claim = claim;
        while i < args.len() {
            let value = args.opt(i + 1);
            i += 1;
            match value {
                _ if args.is(i - 1, "force") => claim.force = true,
                _ if args.is(i - 1, "justid") => claim.just_id = true,
                Some(value) if args.is(i - 1, "idle") => {
                    let idle = parse_or(value, "ERR Invalid IDLE option argument for XCLAIM")?;
                    claim.delivered_ms = now_ms.wrapping_sub(idle);
                    i += 1;
                }
                Some(value) if args.is(i - 1, "time") => {
                    claim.delivered_ms = parse_or(value, "ERR Invalid TIME option argument for XCLAIM")?;
                    i += 1;
                }
                Some(value) if args.is(i - 1, "retrycount") => {
                    let count = parse_or(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
                    claim.deliveries = u64::try_from(count).ok().map(|count| u32::try_from(count).unwrap_or(u32::MAX));
                    i += 1;
                }
                Some(value) if args.is(i - 1, "lastid") => {
                    claim.last_id = parse_id(value)?;
                    i += 1;
                }
                Some(_) | None => {
                    let word = crate::commands::error::c_string(args.get(i - 1));
                    return Err(Error::concat(&[b"ERR Unrecognized XCLAIM option '", word, b"'"]));
                }
            }
        }
        // A time that cannot be is now: clients compute it from clocks of their own.
        if claim.delivered_ms < 0 || claim.delivered_ms > now_ms {
            claim.delivered_ms = now_ms;
        }
        Ok(claim)
    }
}

/// What became of an entry that was to be claimed.
enum Claimed {
    Taken,
    /// It is no longer in the stream, and pending no more.
    Gone,
    /// It is not pending, or not for long enough.
    Left,
}

/// Claims an entry for a consumer.
fn claim_one(
    log: &Log,
    group: &mut Group,
    owner: Owner,
    id: Id,
    claim: Claim,
    now_ms: i64,
    telling: &mut Telling<'_, '_>,
) -> Claimed {
    let found = group.get_pending(id);
    if !log.contains(id) {
        let Some(pending) = found else { return Claimed::Left };
        telling.claim(group, id, pending);
        group.acknowledge(id);
        return Claimed::Gone;
    }
    let before = match found {
        Some(pending) if claim.min_idle > 0 && idle(&pending, now_ms) < claim.min_idle => return Claimed::Left,
        Some(pending) => pending.deliveries,
        // As if it had been delivered just now.
        None if claim.force => 1,
        None => return Claimed::Left,
    };
    let deliveries = claim.deliveries.unwrap_or(before.saturating_add(u32::from(!claim.just_id)));
    let pending = Pending { delivered_ms: claim.delivered_ms, owner, deliveries };
    group.set_pending(id, pending);
    telling.claim(group, id, pending);
    Claimed::Taken
}

fn write_claimed(out: &mut Writer<'_>, log: &Log, id: Id, claim: Claim) {
    if claim.just_id {
        return write_id(out, id);
    }
    if let Some(entry) = log.range(id, id).next() {
        write_entry(out, &entry);
    }
}

/// XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID]
/// [LASTID lastid]
pub fn xclaim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let now_ms = now_ms(&ctx.keys);
    let (key, name) = (args.get(1), args.get(2));
    let Ctx { keys, out, propagation, .. } = ctx;
    let parts = stream_to_change(keys, key)?.and_then(|stream| stream.parts_mut(name));
    let (log, group) = parts.ok_or_else(|| no_key_or_group(key, name))?;
    let min_idle = parse_or(args.get(4), "ERR Invalid min-idle-time argument for XCLAIM")?;
    let ids = args.iter_from(5).take_while(|id| Id::parse(id, 0).is_some()).count();
    let claim = Claim::parse(args, 5 + ids, min_idle, now_ms)?;

    let mut telling = Telling { propagation: propagation.as_deref_mut(), key, group: name };
    telling.instead();
    let mut changes = 0;
    let mut untold = claim.last_id > group.last_id;
    if untold {
        group.last_id = claim.last_id;
    }
    let (owner, is_new) = consumer_at_work(group, args.get(3), now_ms);
    if is_new {
        telling.consumer(args.get(3));
        changes += 1;
    }
    let (mark, mut taken) = (out.mark(), 0);
    for id in args.iter_from(5).take(ids) {
        let id = parse_id(id)?;
        match claim_one(log, group, owner, id, claim, now_ms, &mut telling) {
            Claimed::Left => continue,
            Claimed::Gone => {}
            Claimed::Taken => {
                write_claimed(out, log, id, claim);
                taken += 1;
            }
        }
        // Claims say how far the group has read, too.
        untold = false;
        changes += 1;
    }
    out.array_from(mark, taken);
    if taken > 0 {
        note_active(group, owner, now_ms);
    }
    if untold {
        telling.position(group);
        changes += 1;
    }
    if is_new {
        event(keys, key, "xgroup-createconsumer");
    }
    ctx.changed(changes);
    Ok(())
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]
pub fn xautoclaim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    /// Entries looked at for each that may be claimed.
    const ATTEMPTS: u64 = 10;
    let now_ms = now_ms(&ctx.keys);
    let min_idle = parse_or(args.get(4), "ERR Invalid min-idle-time argument for XAUTOCLAIM")?;
    let start = parse_start(args.get(5))?;
    let mut count = 100;
    let mut just_id = false;
    let mut i = 6;
    while i < args.len() {
        if args.is(i, "justid") {
            just_id = true;
            i += 1;
            continue;
        }
        let value = args.opt(i + 1).filter(|_| args.is(i, "count")).ok_or(Error::Syntax)?;
        count = claim_count(value)?;
        i += 2;
    }
    let (key, name) = (args.get(1), args.get(2));
    let Ctx { keys, out, propagation, .. } = ctx;
    let parts = stream_to_change(keys, key)?.and_then(|stream| stream.parts_mut(name));
    let (log, group) = parts.ok_or_else(|| no_key_or_group(key, name))?;

    let mut telling = Telling { propagation: propagation.as_deref_mut(), key, group: name };
    telling.instead();
    let (owner, is_new) = consumer_at_work(group, args.get(3), now_ms);
    let mut changes = u64::from(is_new);
    if is_new {
        telling.consumer(args.get(3));
    }
    let claim = Claim { min_idle, delivered_ms: now_ms, deliveries: None, force: false, just_id, last_id: Id::MIN };
    let (mark, mut taken) = (out.mark(), 0);
    let mut gone = Vec::new();
    let mut attempts = count * ATTEMPTS;
    let mut next = Some(start);
    let following = |group: &Group, from: Option<Id>| Some(group.pending(from?, Id::MAX).next()?.0);
    while attempts > 0
        && count > 0
        && let Some(id) = following(group, next)
    {
        attempts -= 1;
        next = id.next();
        match claim_one(log, group, owner, id, claim, now_ms, &mut telling) {
            Claimed::Left => continue,
            Claimed::Gone => gone.push(id),
            Claimed::Taken => {
                write_claimed(out, log, id, claim);
                taken += 1;
            }
        }
        count -= 1;
        changes += 1;
    }
    if taken > 0 {
        note_active(group, owner, now_ms);
    }
    out.array_from(mark, taken);
    // What came last in the making is first in the reply.
    let claimed = out.mark() - mark;
    out.array(3);
    write_id(out, following(group, next).unwrap_or(Id::MIN));
    out.out().buf[mark..].rotate_left(claimed);
    out.array(gone.len());
    gone.iter().for_each(|id| write_id(out, *id));
    if is_new {
        event(keys, key, "xgroup-createconsumer");
    }
    ctx.changed(changes);
    Ok(())
}

/// A COUNT of entries to claim.
fn claim_count(arg: &[u8]) -> Result<u64, Error> {
    /// More would overflow Redis's reckoning.
    const MOST: i64 = i64::MAX / 16;
    let count = parse_i64(arg).filter(|count| (1..=MOST).contains(count));
    count.map(|count| count as u64).ok_or(Error::text("ERR COUNT must be > 0"))
}
