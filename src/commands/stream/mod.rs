//! The stream commands.
//!
//! A stream is never compact: it stands in the keyspace as [`Stream`] from its first entry on, and stays when its last entry goes.
//!
//! - here: what the others share, and the commands over the entries alone
//! - `add`: XADD and XTRIM, which trim alike
//! - `range`: XRANGE and XREVRANGE
//! - `read`: XREAD and XREADGROUP, which may wait
//! - `claim`: what happens to pending entries
//! - `group`: XGROUP
//! - `info`: XINFO
//!
//! What changes only a group or its consumers is no change of the key's value to those who watch the key, as in Redis.

mod add;
mod claim;
mod group;
mod info;
mod range;
mod read;

pub use add::{xadd, xtrim};
pub use claim::{xack, xautoclaim, xclaim, xpending};
pub use group::{xgroup_create, xgroup_createconsumer, xgroup_delconsumer, xgroup_destroy, xgroup_help, xgroup_setid};
pub use info::{xinfo_consumers, xinfo_groups, xinfo_help, xinfo_stream};
pub use range::{xrange, xrevrange};
pub use read::{xread, xreadgroup};

use super::error::c_string;
use super::options::int;
use super::propagation::Propagation;
use super::{Ctx, Error, Outcome};
use crate::keyspace::{EventClass, Held, HeldMut, KeyView};
use crate::resp::{Args, Writer};
use crate::types::numbers::parse_i64;
use crate::types::packed::Item;
use crate::types::stream::{BoundError, Entries, Entry, Group, Id, MAX_ID_TEXT, Owner, Pending, SetIdError, Stream};

const INVALID_ID: Error = Error::text("ERR Invalid stream ID specified as stream command argument");

/// The stream at a key, for a reading command.
fn stream<'k>(keys: &'k mut KeyView<'_>, key: &[u8]) -> Result<Option<&'k Stream>, Error> {
    Ok(match keys.collection::<Stream>(key)? {
        None => None,
        Some(Held::Full(stream)) => Some(stream),
        Some(Held::Packed(_)) => unreachable!("no packed form of a stream"),
    })
}

/// The stream at a key, for a command that changes it.
fn stream_to_change<'k>(keys: &'k mut KeyView<'_>, key: &[u8]) -> Result<Option<&'k mut Stream>, Error> {
    Ok(match keys.collection_to_change::<Stream>(key)? {
        None => None,
        Some(HeldMut::Full(stream)) => Some(stream),
        Some(HeldMut::Packed(_)) => unreachable!("no packed form of a stream"),
    })
}

/// Now, as the times of consumers and pending entries are written.
fn now_ms(keys: &KeyView<'_>) -> i64 {
    keys.now_ms() as i64
}

/// An entry's ID, without `-` and `+`.
fn parse_id(arg: &[u8]) -> Result<Id, Error> {
    Id::parse(arg, 0).ok_or(INVALID_ID)
}

/// Where an interval begins.
fn parse_start(arg: &[u8]) -> Result<Id, Error> {
    Id::parse_start(arg).map_err(|error| match error {
        BoundError::NoId => INVALID_ID,
        BoundError::Empty => Error::text("ERR invalid start ID for the interval"),
    })
}

/// Where an interval ends.
fn parse_end(arg: &[u8]) -> Result<Id, Error> {
    Id::parse_end(arg).map_err(|error| match error {
        BoundError::NoId => INVALID_ID,
        BoundError::Empty => Error::text("ERR invalid end ID for the interval"),
    })
}

/// A COUNT of elements at most; below zero is none.
fn parse_count(arg: &[u8]) -> Result<u64, Error> {
    Ok(int(arg)?.max(0) as u64)
}

/// An integer, with an error of its own.
fn parse_or(arg: &[u8], error: &'static str) -> Result<i64, Error> {
    parse_i64(arg).ok_or(Error::text(error))
}

fn no_key_or_group(key: &[u8], group: &[u8]) -> Error {
    Error::concat(&[b"NOGROUP No such key '", c_string(key), b"' or consumer group '", c_string(group), b"'"])
}

fn no_group(key: &[u8], group: &[u8]) -> Error {
    Error::concat(&[b"NOGROUP No such consumer group '", c_string(group), b"' for key name '", c_string(key), b"'"])
}

fn write_id(out: &mut Writer<'_>, id: Id) {
    out.bulk(id.text(&mut [0; MAX_ID_TEXT]));
}

fn write_item(out: &mut Writer<'_>, item: Item<'_>) {
    match item {
        Item::Int(number) => out.bulk_int(number),
        Item::Str(text) => out.bulk(text),
    }
}

fn write_entry(out: &mut Writer<'_>, entry: &Entry<'_>) {
    out.array(2);
    write_id(out, entry.id);
    out.array(2 * entry.len());
    for (field, value) in entry.fields() {
        write_item(out, field);
        write_item(out, value);
    }
}

/// Writes the entries, as an array of `most` at most.
fn write_entries(out: &mut Writer<'_>, mut entries: impl Entries, most: usize) {
    let (mark, mut count) = (out.mark(), 0);
    while count < most
        && let Some(entry) = entries.next()
    {
        write_entry(out, &entry);
        count += 1;
    }
    out.array_from(mark, count);
}

/// `count` elements at most, 0 for all.
fn at_most(count: u64) -> usize {
    if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) }
}

/// The group's consumer of a name, who tries something now; and whether it is new.
fn consumer_at_work(group: &mut Group, name: &[u8], now_ms: i64) -> (Owner, bool) {
    if let Some(owner) = group.find_consumer(name) {
        if let Some(consumer) = group.consumer_mut(owner) {
            consumer.seen_ms = now_ms;
        }
        return (owner, false);
    }
    match group.create_consumer(name, now_ms) {
        Some(owner) => (owner, true),
        None => unreachable!("a consumer that is not there can be created"),
    }
}

/// A consumer got an entry.
fn note_active(group: &mut Group, owner: Owner, now_ms: i64) {
    if let Some(consumer) = group.consumer_mut(owner) {
        consumer.active_ms = now_ms;
    }
}

/// What replicas are told of a group of a stream.
struct Telling<'p, 'a> {
    propagation: Option<&'p mut Propagation>,
    key: &'a [u8],
    group: &'a [u8],
}

impl Telling<'_, '_> {
    /// Nothing is told but what follows.
    fn instead(&mut self) {
        if let Some(propagation) = &mut self.propagation {
            propagation.nothing();
        }
    }

    /// A consumer was created.
    fn consumer(&mut self, name: &[u8]) {
        if let Some(propagation) = &mut self.propagation {
            propagation.push(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, name]);
        }
    }

    /// An entry is pending as it now is. For one that is no longer in the stream: that it is pending no more.
    fn claim(&mut self, group: &Group, id: Id, pending: Pending) {
        let Some(propagation) = &mut self.propagation else { return };
        let Some(consumer) = group.consumer(pending.owner) else { return };
        let (mut time, mut deliveries) = (itoa::Buffer::new(), itoa::Buffer::new());
        propagation.push(&[
            b"XCLAIM",
            self.key,
            self.group,
            consumer.name(),
            b"0",
            id.text(&mut [0; MAX_ID_TEXT]),
            b"TIME",
            time.format(pending.delivered_ms).as_bytes(),
            b"RETRYCOUNT",
            deliveries.format(pending.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            group.last_id.text(&mut [0; MAX_ID_TEXT]),
        ]);
    }

    /// How far the group has read.
    fn position(&mut self, group: &Group) {
        let Some(propagation) = &mut self.propagation else { return };
        let mut read = itoa::Buffer::new();
        propagation.push(&[
            b"XGROUP",
            b"SETID",
            self.key,
            self.group,
            group.last_id.text(&mut [0; MAX_ID_TEXT]),
            b"ENTRIESREAD",
            read.format(group.entries_read.unwrap_or(-1)).as_bytes(),
        ]);
    }
}

fn event(keys: &mut KeyView<'_>, key: &[u8], name: &'static str) {
    keys.event(key, EventClass::Stream, name);
}

/// XLEN key
pub fn xlen(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let len = stream(&mut ctx.keys, args.get(1))?.map_or(0, Stream::len);
    ctx.out.int(len as i64);
    Ok(())
}

/// XDEL key id [id ...]
pub fn xdel(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(1);
    let mut deleted = 0;
    if let Some(stream) = stream_to_change(&mut ctx.keys, key)? {
        args.iter_from(2).try_for_each(|id| parse_id(id).map(drop))?;
        for id in args.iter_from(2) {
            deleted += u64::from(stream.log_mut().delete(parse_id(id)?));
        }
    }
    if deleted > 0 {
        ctx.keys.changed(key);
        event(&mut ctx.keys, key, "xdel");
        ctx.changed(deleted);
    }
    ctx.out.int(deleted as i64);
    Ok(())
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]
pub fn xsetid(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let id = parse_id(args.get(2))?;
    let (mut entries_added, mut max_deleted_id) = (None, Id::MIN);
    for i in (3..args.len()).step_by(2) {
        let value = args.opt(i + 1).ok_or(Error::Syntax)?;
        if args.is(i, "entriesadded") {
            let added = u64::try_from(int(value)?).map_err(|_| Error::text("ERR entries_added must be positive"))?;
            entries_added = Some(added);
        } else if args.is(i, "maxdeletedid") {
            max_deleted_id = parse_id(value)?;
            if id < max_deleted_id {
                return Err(Error::text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(Error::Syntax);
        }
    }
    let key = args.get(1);
    let log = stream_to_change(&mut ctx.keys, key)?.ok_or(Error::NoSuchKey)?.log_mut();
    if id < log.max_deleted_id() {
        return Err(Error::text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    log.set_last_id(id, entries_added, max_deleted_id).map_err(|error| match error {
        SetIdError::BelowTop => {
            Error::text("ERR The ID specified in XSETID is smaller than the target stream top item")
        }
        SetIdError::FewerThanLength => {
            Error::text("ERR The entries_added specified in XSETID is smaller than the target stream length")
        }
    })?;
    event(&mut ctx.keys, key, "xsetid");
    ctx.changed(1);
    ctx.out.ok();
    Ok(())
}

#[cfg(test)]
mod tests;
