//! Streams from RDB data of the types 15, 19 and 21.
//!
//! The data may be anything. It is refused unless it is a stream that commands could have made: IDs rise, counts are right, each pending
//! entry has one owner. No memory is taken for what the data merely announces.

use std::fmt;

use super::{LISTPACKS, LISTPACKS_2, LISTPACKS_3};
use crate::keyspace::Value;
use crate::rdb::packed_read::Listpack;
use crate::rdb::{Reason, length, string, take, take_array};
use crate::types::Object;
use crate::types::packed::Item;
use crate::types::stream::load::{Block, Delta, Fields, State, read_flags};
use crate::types::stream::{Group, Id, Log, Stream, entries_up_to};

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A block's ID is not 16 bytes long.
    BlockId,
    /// A block is no listpack, or not of a stream's form.
    Block,
    /// IDs do not rise.
    Order,
    /// The number of entries is not the one announced.
    Length,
    /// There are entries beyond the last ID.
    LastId,
    /// Two groups, or two consumers of a group, have the same name.
    Duplicate,
    /// An entry is pending twice in a group, or has no owner or two.
    Pending,
    /// A consumer owns what is not pending.
    Owner,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::BlockId => "the ID of a stream's block has not 16 bytes",
            Flaw::Block => "a block of a stream is damaged",
            Flaw::Order => "the IDs of a stream are not in order",
            Flaw::Length => "a stream has not the announced number of entries",
            Flaw::LastId => "a stream has entries beyond its last ID",
            Flaw::Duplicate => "two consumer groups or consumers of a stream have the same name",
            Flaw::Pending => "an entry of a stream is pending twice or without a consumer",
            Flaw::Owner => "a consumer has an entry that is not pending",
        })
    }
}

impl From<Flaw> for Reason {
    fn from(flaw: Flaw) -> Self {
        Reason::Stream(flaw)
    }
}

/// Takes a stream of the type `kind` off `input` unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    let kind = known(kind)?;
    for _ in 0..length::read_plain(input)? {
        string::skip(input, max_string_bytes)?;
        string::skip(input, max_string_bytes)?;
    }
    let counters = if kind == LISTPACKS { 3 } else { 8 };
    for _ in 0..counters {
        length::read_plain(input)?;
    }
    for _ in 0..length::read_plain(input)? {
        string::skip(input, max_string_bytes)?;
        let counters = if kind == LISTPACKS { 2 } else { 3 };
        for _ in 0..counters {
            length::read_plain(input)?;
        }
        for _ in 0..length::read_plain(input)? {
            take(input, 24)?;
            length::read_plain(input)?;
        }
        for _ in 0..length::read_plain(input)? {
            string::skip(input, max_string_bytes)?;
            take(input, 8)?;
            if kind == LISTPACKS_3 {
                take(input, 8)?;
            }
            for _ in 0..length::read_plain(input)? {
                take(input, 16)?;
            }
        }
    }
    Ok(())
}

fn known(kind: u8) -> Result<u8, Reason> {
    if matches!(kind, LISTPACKS | LISTPACKS_2 | LISTPACKS_3) { Ok(kind) } else { Err(Reason::Type(kind)) }
}

/// Reads a stream of the type `kind` off `input`. One without entries is one, too.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<Value, Reason> {
    let stream = read_stream(known(kind)?, input, max_string_bytes)?;
    Ok(Value::Object(Box::new(Object::Stream(stream))))
}

pub(super) fn read_stream(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<Stream, Reason> {
    let mut stream = Stream::new();
    for _ in 0..length::read_plain(input)? {
        let key = string::read_text(input, max_string_bytes)?;
        let base = Id::from_bytes((*key).try_into().map_err(|_| Flaw::BlockId)?);
        let listpack = string::read_text(input, max_string_bytes)?;
        if let Some(block) = read_block(base, &listpack)?
            && !stream.log_mut().load_block(block)
        {
            return Err(Flaw::Order.into());
        }
    }
    read_counters(kind, input, stream.log_mut())?;
    for _ in 0..length::read_plain(input)? {
        let group = read_group(kind, input, max_string_bytes, stream.log())?;
        if !stream.load_group(group) {
            return Err(Flaw::Duplicate.into());
        }
    }
    Ok(stream)
}

fn read_id(input: &mut &[u8]) -> Result<Id, Reason> {
    Ok(Id::new(length::read_plain(input)?, length::read_plain(input)?))
}

fn read_time(input: &mut &[u8]) -> Result<i64, Reason> {
    take_array(input).map(i64::from_le_bytes)
}

fn read_counters(kind: u8, input: &mut &[u8], log: &mut Log) -> Result<(), Reason> {
    let entries = length::read_plain(input)?;
    let last_id = read_id(input)?;
    let (max_deleted_id, entries_added) = if kind == LISTPACKS {
        (Id::MIN, entries)
    } else {
        // The first entry's ID is known from the blocks.
        read_id(input)?;
        (read_id(input)?, length::read_plain(input)?)
    };
    if entries != log.len() {
        return Err(Flaw::Length.into());
    }
    if log.load_counters(last_id, max_deleted_id, entries_added) { Ok(()) } else { Err(Flaw::LastId.into()) }
}

/// Reads a block whose IDs are relative to `base`. `None` if all of its entries are deleted, or there are none.
fn read_block(base: Id, listpack: &[u8]) -> Result<Option<Block>, Flaw> {
    match read_entries(base, listpack, Take::All) {
        // Redis leaves deleted entries out of order after XSETID. They serve nobody.
        Err(Flaw::Order) => read_entries(base, listpack, Take::Live),
        result => result,
    }
}

/// Which entries are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    All,
    Live,
}

fn read_entries(base: Id, listpack: &[u8], taken: Take) -> Result<Option<Block>, Flaw> {
    let sound = Listpack::new(listpack).map_err(|_| Flaw::Block)?;
    let mut reader = Reader { items: sound.iter() };
    let (live, deleted) = (reader.count()?, reader.count()?);
    let fields = reader.count()?;
    let names = reader.items(fields)?;
    if reader.int()? != 0 {
        return Err(Flaw::Block);
    }
    let mut block: Option<Block> = None;
    let mut found_live = 0;
    for _ in 0..live.checked_add(deleted).ok_or(Flaw::Block)? {
        let entry = read_entry(&mut reader, base, fields)?;
        found_live += usize::from(entry.state == State::Live);
        if taken == Take::Live && entry.state == State::Deleted {
            continue;
        }
        let first = block.is_none();
        let block = block.get_or_insert_with(|| Block::new(entry.id, names.iter().copied(), listpack.len() / 4 * 3));
        if !first && entry.id <= block.last() {
            return Err(Flaw::Order);
        }
        let text_bytes = entry.items.iter().map(|item| item.text_len()).sum();
        block.push(entry.id, entry.state, entry.fields, entry.count, entry.items.iter().copied(), text_bytes);
    }
    reader.finish()?;
    if found_live != live {
        return Err(Flaw::Block);
    }
    Ok(block.filter(|block| block.live() > 0))
}

/// The elements of a block's listpack.
struct Reader<I> {
    items: I,
}

impl<'a, I: Iterator<Item = Item<'a>>> Reader<I> {
    fn item(&mut self) -> Result<Item<'a>, Flaw> {
        self.items.next().ok_or(Flaw::Block)
    }

    fn items(&mut self, count: usize) -> Result<Vec<Item<'a>>, Flaw> {
        (0..count).map(|_| self.item()).collect()
    }

    /// The next element, which must be a number.
    fn int(&mut self) -> Result<i64, Flaw> {
        match self.item()? {
            Item::Int(number) => Ok(number),
            Item::Str(_) => Err(Flaw::Block),
        }
    }

    /// A number that counts things.
    fn count(&mut self) -> Result<usize, Flaw> {
        usize::try_from(self.int()?).map_err(|_| Flaw::Block)
    }

    /// Whether all elements were read.
    fn finish(mut self) -> Result<(), Flaw> {
        if self.items.next().is_none() { Ok(()) } else { Err(Flaw::Block) }
    }
}

struct ReadEntry<'a> {
    id: Id,
    state: State,
    fields: Fields,
    count: usize,
    items: Vec<Item<'a>>,
}

fn read_entry<'a>(
    reader: &mut Reader<impl Iterator<Item = Item<'a>>>,
    base: Id,
    block_fields: usize,
) -> Result<ReadEntry<'a>, Flaw> {
    let (state, fields) = read_flags(reader.int()?).ok_or(Flaw::Block)?;
    let id = Delta { ms: reader.int()?, seq: reader.int()? }.from(base);
    let (count, items, elements) = match fields {
        Fields::Same => (block_fields, block_fields, block_fields.checked_add(3)),
        Fields::Own => {
            let count = reader.count()?;
            let items = count.checked_mul(2).ok_or(Flaw::Block)?;
            (count, items, items.checked_add(4))
        }
    };
    let items = reader.items(items)?;
    if Some(reader.count()?) != elements {
        return Err(Flaw::Block);
    }
    Ok(ReadEntry { id, state, fields, count, items })
}

fn read_group(kind: u8, input: &mut &[u8], max_string_bytes: u64, log: &Log) -> Result<Group, Reason> {
    let name = string::read_text(input, max_string_bytes)?;
    let last_id = read_id(input)?;
    let entries_read = if kind == LISTPACKS {
        entries_up_to(log, last_id)
    } else {
        // As far as XGROUP and XSETID have pushed it: Redis lets it wrap around.
        Some(length::read_plain(input)? as i64).filter(|&read| read != -1)
    };
    let mut group = Group::new(&name, last_id, entries_read);
    for _ in 0..length::read_plain(input)? {
        let id = Id::from_bytes(take_array(input)?);
        let (delivered_ms, deliveries) = (read_time(input)?, length::read_plain(input)?);
        if !group.load_pending(id, delivered_ms, deliveries) {
            return Err(Flaw::Pending.into());
        }
    }
    let mut owned = 0;
    for _ in 0..length::read_plain(input)? {
        owned += read_consumer(kind, input, max_string_bytes, &mut group)?;
    }
    // None has two owners, so each has one.
    if owned == group.pending_len() { Ok(group) } else { Err(Flaw::Pending.into()) }
}

/// Reads a consumer; how many entries are pending with it.
fn read_consumer(kind: u8, input: &mut &[u8], max_string_bytes: u64, group: &mut Group) -> Result<usize, Reason> {
    let name = string::read_text(input, max_string_bytes)?;
    let seen_ms = read_time(input)?;
    let active_ms = if kind == LISTPACKS_3 { read_time(input)? } else { seen_ms };
    let owner = group.create_consumer(&name, seen_ms).ok_or(Flaw::Duplicate)?;
    if let Some(consumer) = group.consumer_mut(owner) {
        consumer.active_ms = active_ms;
    }
    let mut owned = 0;
    for _ in 0..length::read_plain(input)? {
        if !group.load_owner(Id::from_bytes(take_array(input)?), owner) {
            return Err(Flaw::Owner.into());
        }
        owned += 1;
    }
    Ok(owned)
}
