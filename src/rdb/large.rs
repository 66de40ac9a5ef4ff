//! Values of many elements, written down in pieces and put together again: nobody waits for a whole one.
//!
//! Two ways
//! - *whole*: one record in many pieces, for files and for peers that are no Basalt. Nothing else may come between the pieces
//! - *parts*: many records, each of some of the elements, the further ones behind the byte [`PART`]: for frames. Each is sound by itself, and they go
//!   to the same key in their order
//!
//! What is written is a frozen copy of the object (its clone, which shares its nodes), so writes go on meanwhile.

use super::record::{Access, write_head};
use super::string::{self, Compression};
use super::{Reason, length, packed_write, stream};
use crate::keyspace::{Kind, Value, graveyard};
use crate::types::hash::{Hash, compact as compact_hash};
use crate::types::list::{List, Side, compact as compact_list};
use crate::types::set::{Set, SetRef};
use crate::types::stream::Id;
use crate::types::zset::{Zset, compact as compact_zset};
use crate::types::{Encodings, Object};

/// A record that begins with this byte brings further elements of its key's value. Only in frames.
pub const PART: u8 = 0xf3;

/// From so many elements on a value is written in pieces: fewer take less than a millisecond.
pub const LARGE_ELEMENTS: usize = 2048;

/// Elements between two looks at the length of a piece.
const STEP_ELEMENTS: usize = 64;

const LIST: u8 = 1;
const SET: u8 = 2;
const HASH: u8 = 4;
const ZSET_2: u8 = 5;
const QUICKLIST_2: u8 = 18;
const STREAM_LISTPACKS_2: u8 = 19;

/// How a large value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    Whole,
    Parts,
}

/// What [`LargeWriter::step`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// More pieces come, each a record of its own.
    Part,
    /// More pieces come, of the same record.
    Open,
    /// The last piece.
    Last,
}

/// How far a value is written.
enum Place {
    /// A cursor of a walk, a rank or an index.
    At(u64),
    /// Blocks from this ID on; `None`: what comes behind them.
    Blocks(Option<Id>),
}

/// A large value on its way.
pub struct LargeWriter {
    /// Expiry and access, before the type.
    head: Vec<u8>,
    key: Box<[u8]>,
    /// `None` once it is given back to be freed.
    object: Option<Object>,
    pieces: Pieces,
    place: Place,
    begun: bool,
    /// For elements before their number is known, and for nodes.
    scratch: Vec<u8>,
}

/// Whether a value is worth it, and can be written so: a hash whose fields expire cannot.
pub fn is_large(object: &Object) -> bool {
    let plain = match object {
        Object::Hash(hash) => hash.expiring_len() == 0,
        Object::List(_) | Object::Set(_) | Object::Zset(_) | Object::Stream(_) => true,
    };
    plain && object.len() >= LARGE_ELEMENTS
}

impl LargeWriter {
    pub fn new(key: &[u8], object: &Object, expire_at_ms: Option<u64>, access: Access, pieces: Pieces) -> LargeWriter {
        let mut head = Vec::new();
        write_head(&mut head, expire_at_ms, access);
        let object = object.clone();
        let place = match object {
            Object::Stream(_) => Place::Blocks(Some(Id::MIN)),
            Object::List(_) | Object::Set(_) | Object::Zset(_) | Object::Hash(_) => Place::At(0),
        };
        LargeWriter { head, key: key.into(), object: Some(object), pieces, place, begun: false, scratch: Vec::new() }
    }

    /// Appends a piece of about `budget` bytes.
    pub fn step(&mut self, out: &mut Vec<u8>, budget: usize) -> Piece {
        // Taken out, as its elements are read while the rest of this changes.
        let Some(object) = self.object.take() else { return Piece::Last };
        let parts = self.pieces == Pieces::Parts;
        if !self.begun || parts {
            self.open_record(out, &object, parts);
        }
        let more = if parts { self.part(out, &object, budget) } else { self.go_on(out, &object, budget) };
        self.begun = true;
        if !more {
            graveyard::bury(Box::new(object));
            return Piece::Last;
        }
        self.object = Some(object);
        if parts { Piece::Part } else { Piece::Open }
    }

    fn open_record(&self, out: &mut Vec<u8>, object: &Object, parts: bool) {
        if self.begun {
            out.push(PART);
        } else {
            out.extend_from_slice(&self.head);
        }
        out.push(match object {
            Object::List(_) if parts => LIST,
            Object::List(_) => QUICKLIST_2,
            Object::Set(_) => SET,
            Object::Zset(_) => ZSET_2,
            Object::Hash(_) => HASH,
            Object::Stream(_) => STREAM_LISTPACKS_2,
        });
        string::write_bytes(out, &self.key, Compression::None);
        if !parts {
            match object {
                Object::List(list) => length::write(out, packed_write::list::nodes(list)),
                Object::Set(_) | Object::Zset(_) | Object::Hash(_) => length::write(out, object.len() as u64),
                Object::Stream(stream) => length::write(out, stream.log().blocks() as u64),
            }
        }
    }

    /// The elements of one part behind their number. Whether there are more.
    fn part(&mut self, out: &mut Vec<u8>, object: &Object, budget: usize) -> bool {
        if let (Object::Stream(stream), Place::Blocks(Some(from))) = (object, &mut self.place) {
            let next = stream::write_part(out, stream, *from, budget, Compression::None);
            self.place = Place::Blocks(next);
            return next.is_some();
        }
        let mut elements = std::mem::take(&mut self.scratch);
        elements.clear();
        let (mut count, mut more) = (0, true);
        while more && elements.len() < budget {
            let (written, left) = self.some_elements(&mut elements, object);
            count += written;
            more = left;
        }
        length::write(out, count);
        out.extend_from_slice(&elements);
        self.scratch = elements;
        more
    }

    /// More of a record that is one. Whether there is more.
    fn go_on(&mut self, out: &mut Vec<u8>, object: &Object, budget: usize) -> bool {
        let enough = out.len() + budget;
        let mut more = true;
        while more && out.len() < enough {
            more = match (object, &mut self.place) {
                (Object::Stream(stream), Place::Blocks(next)) => match *next {
                    Some(from) => {
                        *next = stream::write_blocks(out, stream, from, enough, Compression::None);
                        true
                    }
                    None => {
                        stream::write_rest(out, stream, stream.len(), Compression::None);
                        false
                    }
                },
                (Object::List(list), Place::At(at)) => {
                    self.scratch.clear();
                    match packed_write::list::write_node(list, *at, &mut self.scratch) {
                        Some(written) => {
                            length::write(out, written.kind);
                            string::write_bytes(out, &self.scratch, Compression::None);
                            *at = written.next;
                            *at < list.len()
                        }
                        None => false,
                    }
                }
                _ => self.some_elements(out, object).1,
            };
        }
        more
    }

    /// Appends a few elements. How many, and whether there are more.
    fn some_elements(&mut self, out: &mut Vec<u8>, object: &Object) -> (u64, bool) {
        let Place::At(at) = &mut self.place else { return (0, false) };
        let mut count = 0;
        match object {
            Object::Set(set) => {
                *at = set.scan(*at, STEP_ELEMENTS, |member| {
                    string::write_bytes(out, member, Compression::None);
                    count += 1;
                });
                (count, *at != 0)
            }
            Object::Hash(hash) => {
                *at = hash.walk(*at, STEP_ELEMENTS, |pair| {
                    string::write_bytes(out, pair.field(), Compression::None);
                    string::write_bytes(out, pair.value(), Compression::None);
                    count += 1;
                });
                (count, *at != 0)
            }
            Object::Zset(zset) => {
                let end = zset.len() - *at as usize;
                let begin = end.saturating_sub(STEP_ELEMENTS);
                for element in zset.descending(begin..end) {
                    string::write_bytes(out, element.name(), Compression::None);
                    out.extend_from_slice(&element.score().to_le_bytes());
                    count += 1;
                }
                *at += count;
                (count, begin > 0)
            }
            Object::List(list) => {
                list.range(Side::Front, *at, STEP_ELEMENTS as u64, |item| {
                    string::write_bytes(out, item.text(&mut [0; _]), Compression::None);
                    count += 1;
                });
                *at += count;
                (count, *at < list.len())
            }
            Object::Stream(_) => (0, false),
        }
    }
}

impl Drop for LargeWriter {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            graveyard::bury(Box::new(object));
        }
    }
}

impl std::fmt::Debug for LargeWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} on its way", self.object)
    }
}

/// The object that a compact collection becomes, to take further elements in.
pub fn unpacked(kind: Kind, bytes: &[u8], encodings: &Encodings) -> Object {
    match kind {
        Kind::List => Object::List(List::from_compact(bytes, encodings.list_plain_ends)),
        Kind::Set => Object::Set(Set::from_compact(bytes)),
        Kind::Zset => Object::Zset(Zset::from_compact(bytes)),
        Kind::Hash => Object::Hash(Hash::from_compact(bytes)),
        Kind::String | Kind::Stream => unreachable!("no packed form of a {}", kind.name()),
    }
}

/// Adds the elements of a part to what came before it.
pub fn append(object: &mut Object, part: &Value, encodings: &Encodings) -> Result<(), Reason> {
    match (object, part) {
        (Object::Set(set), Value::Packed(Kind::Set, bytes)) => add_members(set, SetRef::Compact(bytes)),
        (Object::Set(set), Value::Object(part)) => match &**part {
            Object::Set(part) => add_members(set, SetRef::Full(part)),
            _ => Err(Reason::PartOfAnother),
        },
        (Object::Hash(hash), Value::Packed(Kind::Hash, bytes)) => {
            let mut fields = compact_hash::fields(bytes);
            fields.try_for_each(|field| {
                let (mut name, mut value) = ([0; _], [0; _]);
                once(hash.load(field.name.text(&mut name), field.value.text(&mut value), field.expire_at_ms))
            })
        }
        (Object::Hash(hash), Value::Object(part)) => match &**part {
            Object::Hash(part) => {
                part.iter().try_for_each(|pair| once(hash.load(pair.field(), pair.value(), pair.expire_at_ms())))
            }
            _ => Err(Reason::PartOfAnother),
        },
        (Object::Zset(zset), Value::Packed(Kind::Zset, bytes)) => {
            let before = zset.len();
            for entry in compact_zset::entries(bytes) {
                zset.insert(entry.score, entry.name.text(&mut [0; _]));
            }
            once(zset.len() == before + compact_zset::len(bytes))
        }
        (Object::Zset(zset), Value::Object(part)) => match &**part {
            Object::Zset(part) => {
                let before = zset.len();
                for element in part.ascending(0..part.len()) {
                    zset.insert(element.score(), element.name());
                }
                once(zset.len() == before + part.len())
            }
            _ => Err(Reason::PartOfAnother),
        },
        (Object::List(list), Value::Packed(Kind::List, bytes)) => {
            compact_list::range(bytes, Side::Front, 0, usize::MAX, |item| list.push_item(Side::Back, item));
            list.after_loading(encodings.list);
            Ok(())
        }
        (Object::List(list), Value::Object(part)) => match &**part {
            Object::List(part) => {
                part.range(Side::Front, 0, u64::MAX, |item| list.push_item(Side::Back, item));
                list.after_loading(encodings.list);
                Ok(())
            }
            _ => Err(Reason::PartOfAnother),
        },
        (Object::Stream(stream), Value::Object(part)) => match &**part {
            Object::Stream(part) => {
                if stream.append(part) {
                    Ok(())
                } else {
                    Err(stream::Flaw::Order.into())
                }
            }
            _ => Err(Reason::PartOfAnother),
        },
        _ => Err(Reason::PartOfAnother),
    }
}

fn add_members(set: &mut Set, part: SetRef<'_>) -> Result<(), Reason> {
    part.iter().try_for_each(|member| once(set.add(member.text(&mut [0; _]))))
}

fn once(new: bool) -> Result<(), Reason> {
    if new { Ok(()) } else { Err(Reason::DuplicateElement) }
}

#[cfg(test)]
mod tests;
