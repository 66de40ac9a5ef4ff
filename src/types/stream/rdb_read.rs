//! Streams from RDB data of the types 15, 19 and 21.
//!
//! The data may be anything. It is refused unless it is a stream that commands could have made: IDs rise, counts are right, each pending
//! entry has one owner. No memory is taken for what the data merely announces.

use super::block::{Block, Delta, Fields, State, read_flags};
use super::id::Id;
use super::listpack::{Broken, Reader};
use super::log::Log;
use super::{Stream, entries_up_to};
use crate::rdb::{Reason, length, string, take_array};
use crate::types::packed::Item;
use std::fmt;
use std::sync::Arc;

use super::group::Group;

/// The types in the order in which Redis got them: 5.0, 7.0 with counters, 7.2 with the consumers' active times.
const LISTPACKS: u8 = 15;
const LISTPACKS_2: u8 = 19;
const LISTPACKS_3: u8 = 21;

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// With the data before it means anything.
    Data(Reason),
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
    /// A counter of read entries below -1.
    EntriesRead,
    /// Two groups, or two consumers of a group, have the same name.
    Duplicate,
    /// An entry is pending twice in a group, or has no owner or two.
    Pending,
    /// A consumer owns what is not pending.
    Owner,
}

impl From<Reason> for LoadError {
    fn from(reason: Reason) -> Self {
        Self::Data(reason)
    }
}

impl From<Broken> for LoadError {
    fn from(_: Broken) -> Self {
        Self::Block
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(reason) => reason.fmt(f),
            Self::BlockId => f.write_str("the ID of a stream's block has not 16 bytes"),
            Self::Block => f.write_str("a block of a stream is damaged"),
            Self::Order => f.write_str("the IDs of a stream are not in order"),
            Self::Length => f.write_str("a stream has not the announced number of entries"),
            Self::LastId => f.write_str("a stream has entries beyond its last ID"),
            Self::EntriesRead => f.write_str("a consumer group has read a negative number of entries"),
            Self::Duplicate => f.write_str("two consumer groups or consumers of a stream have the same name"),
            Self::Pending => f.write_str("an entry of a stream is pending twice or without a consumer"),
            Self::Owner => f.write_str("a consumer has an entry that is not pending"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Whether this is the type of a stream.
pub fn is_stream_type(kind: u8) -> bool {
    matches!(kind, LISTPACKS | LISTPACKS_2 | LISTPACKS_3)
}

/// Takes a stream of the type `kind` off `input` unseen.
pub fn rdb_skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
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
            take_array::<24>(input)?;
            length::read_plain(input)?;
        }
        for _ in 0..length::read_plain(input)? {
            string::skip(input, max_string_bytes)?;
            take_array::<8>(input)?;
            if kind == LISTPACKS_3 {
                take_array::<8>(input)?;
            }
            for _ in 0..length::read_plain(input)? {
                take_array::<16>(input)?;
            }
        }
    }
    Ok(())
}

fn known(kind: u8) -> Result<u8, Reason> {
    if is_stream_type(kind) { Ok(kind) } else { Err(Reason::Type(kind)) }
}

/// Reads a stream of the type `kind` off `input`.
pub fn rdb_read(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<Stream, LoadError> {
    let kind = known(kind)?;
    let mut stream = Stream::new();
    for _ in 0..length::read_plain(input)? {
        let key = string::read_text(input, max_string_bytes)?;
        let base = Id::from_bytes((*key).try_into().map_err(|_| LoadError::BlockId)?);
        let listpack = string::read_text(input, max_string_bytes)?;
        if let Some(block) = read_block(base, &listpack)?
            && !stream.log.load_block(block)
        {
            return Err(LoadError::Order);
        }
    }
    read_counters(kind, input, &mut stream.log)?;
    for _ in 0..length::read_plain(input)? {
        let group = read_group(kind, input, max_string_bytes, &stream.log)?;
        match stream.position(group.name()) {
            Ok(_) => return Err(LoadError::Duplicate),
            Err(at) => stream.groups.insert(at, Arc::new(group)),
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

fn read_counters(kind: u8, input: &mut &[u8], log: &mut Log) -> Result<(), LoadError> {
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
        return Err(LoadError::Length);
    }
    if log.load_counters(last_id, max_deleted_id, entries_added) { Ok(()) } else { Err(LoadError::LastId) }
}

/// Reads a block whose IDs are relative to `base`. `None` if all of its entries are deleted, or there are none.
fn read_block(base: Id, listpack: &[u8]) -> Result<Option<Block>, LoadError> {
    match read_entries(base, listpack, Take::All) {
        // Redis leaves deleted entries out of order after XSETID. They serve nobody.
        Err(LoadError::Order) => read_entries(base, listpack, Take::Live),
        result => result,
    }
}

/// Which entries are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Take {
    All,
    Live,
}

fn read_entries(base: Id, listpack: &[u8], taken: Take) -> Result<Option<Block>, LoadError> {
    let mut reader = Reader::new(listpack)?;
    let (live, deleted) = (reader.count()?, reader.count()?);
    let fields = reader.count()?;
    let names = read_items(&mut reader, fields)?;
    if reader.int()? != 0 {
        return Err(LoadError::Block);
    }
    let mut block: Option<Block> = None;
    let mut found_live = 0;
    for _ in 0..live.checked_add(deleted).ok_or(LoadError::Block)? {
        let entry = read_entry(&mut reader, base, fields)?;
        found_live += usize::from(entry.state == State::Live);
        if taken == Take::Live && entry.state == State::Deleted {
            continue;
        }
        let first = block.is_none();
        let block = block.get_or_insert_with(|| Block::new(entry.id, names.iter().copied(), listpack.len() / 4 * 3));
        if !first && entry.id <= block.last() {
            return Err(LoadError::Order);
        }
        let text_bytes = entry.items.iter().map(|item| item.text_len()).sum();
        block.push(entry.id, entry.state, entry.fields, entry.count, entry.items.iter().copied(), text_bytes);
    }
    reader.finish()?;
    if found_live != live {
        return Err(LoadError::Block);
    }
    Ok(block.filter(|block| block.live() > 0))
}

fn read_items<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Vec<Item<'a>>, Broken> {
    (0..count).map(|_| reader.item()).collect()
}

struct ReadEntry<'a> {
    id: Id,
    state: State,
    fields: Fields,
    count: usize,
    items: Vec<Item<'a>>,
}

fn read_entry<'a>(reader: &mut Reader<'a>, base: Id, block_fields: usize) -> Result<ReadEntry<'a>, LoadError> {
    let (state, fields) = read_flags(reader.int()?).ok_or(LoadError::Block)?;
    let id = Delta { ms: reader.int()?, seq: reader.int()? }.from(base);
    let (count, items, elements) = match fields {
        Fields::Same => (block_fields, block_fields, block_fields.checked_add(3)),
        Fields::Own => {
            let count = reader.count()?;
            let items = count.checked_mul(2).ok_or(LoadError::Block)?;
            (count, items, items.checked_add(4))
        }
    };
    let items = read_items(reader, items)?;
    if Some(reader.count()?) != elements {
        return Err(LoadError::Block);
    }
    Ok(ReadEntry { id, state, fields, count, items })
}

fn read_group(kind: u8, input: &mut &[u8], max_string_bytes: u64, log: &Log) -> Result<Group, LoadError> {
    let name = string::read_text(input, max_string_bytes)?;
    let last_id = read_id(input)?;
    let entries_read = if kind == LISTPACKS {
        entries_up_to(log, last_id)
    } else {
        match length::read_plain(input)? as i64 {
            -1 => None,
            read if read >= 0 => Some(read),
            _ => return Err(LoadError::EntriesRead),
        }
    };
    let mut group = Group::new(&name, last_id, entries_read);
    for _ in 0..length::read_plain(input)? {
        let id = Id::from_bytes(take_array(input)?);
        let (delivered_ms, deliveries) = (read_time(input)?, length::read_plain(input)?);
        if !group.load_pending(id, delivered_ms, deliveries) {
            return Err(LoadError::Pending);
        }
    }
    let mut owned = 0;
    for _ in 0..length::read_plain(input)? {
        owned += read_consumer(kind, input, max_string_bytes, &mut group)?;
    }
    // None has two owners, so each has one.
    if owned == group.pending_len() { Ok(group) } else { Err(LoadError::Pending) }
}

/// Reads a consumer; how many entries are pending with it.
fn read_consumer(kind: u8, input: &mut &[u8], max_string_bytes: u64, group: &mut Group) -> Result<usize, LoadError> {
    let name = string::read_text(input, max_string_bytes)?;
    let seen_ms = read_time(input)?;
    let active_ms = if kind == LISTPACKS_3 { read_time(input)? } else { seen_ms };
    let owner = group.create_consumer(&name, seen_ms).ok_or(LoadError::Duplicate)?;
    if let Some(consumer) = group.consumer_mut(owner) {
        consumer.active_ms = active_ms;
    }
    let mut owned = 0;
    for _ in 0..length::read_plain(input)? {
        if !group.load_owner(Id::from_bytes(take_array(input)?), owner) {
            return Err(LoadError::Owner);
        }
        owned += 1;
    }
    Ok(owned)
}
