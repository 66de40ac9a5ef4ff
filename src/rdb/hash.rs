//! Hashes in RDB data.
//!
//! | type | form | since |
//! |---|---|---|
//! | 4 | fields and values one behind the other | 1.2 |
//! | 9 | a zipmap | 2.2 |
//! | 13 | a ziplist | 2.6 |
//! | 16 | a listpack | 7.0 |
//! | 24 | the earliest expiry, then for each field its expiry relative to that (0: none, 1: the earliest), field and value | 7.4 |
//! | 25 | the earliest expiry, then a listpack of field, value and expiry (0: none), those with the earliest expiry first | 7.4 |
//! | 22, 23 | the same without the earliest expiry, all expiries absolute | candidates of 7.4 |
//!
//! Written are 4 and 16; of a hash in which fields expire 24 and 25, which Redis 7.0 does not know.

use std::cell::Cell;
use std::collections::HashSet;

use super::packed_read::{Listpack, Ziplist, Zipmap};
use super::packed_write::ListpackWriter;
use super::string::{self, Compression};
use super::{Reason, length, take, take_array};
use crate::keyspace::{Kind, Value};
use crate::types::hash::{Hash, Limits, MOST_EXPIRE_AT_MS, compact};
use crate::types::packed::Item;
use crate::types::{Encodings, Object, dict};

const PLAIN: u8 = 4;
const ZIPMAP: u8 = 9;
const ZIPLIST: u8 = 13;
const LISTPACK: u8 = 16;
const EXPIRING_EARLY: u8 = 22;
const EXPIRING_LISTPACK_EARLY: u8 = 23;
const EXPIRING: u8 = 24;
const EXPIRING_LISTPACK: u8 = 25;

const EARLIEST_BYTES: usize = 8;

/// Of so many fields duplicates are looked for one by one; of more a table tells.
const FEW_FIELDS: usize = 16;
/// A buffer that has grown beyond this is given back.
const KEEP_BYTES: usize = 64 * 1024;

thread_local! {
    /// For listpacks, which are written as strings.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The byte that the type of a compact hash is written as.
pub fn type_of_packed(bytes: &[u8]) -> u8 {
    if compact::earliest_expiry(bytes).is_some() { EXPIRING_LISTPACK } else { LISTPACK }
}

/// The byte that the type of a full hash is written as.
pub fn type_of(hash: &Hash) -> u8 {
    if hash.earliest_expiry().is_some() { EXPIRING } else { PLAIN }
}

/// Appends a compact hash.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let mut listpack = ListpackWriter::new(&mut scratch);
    match compact::earliest_expiry(bytes) {
        None => compact::fields(bytes).for_each(|field| {
            listpack.push(field.name);
            listpack.push(field.value);
        }),
        Some(earliest_ms) => {
            out.extend_from_slice(&earliest_ms.to_le_bytes());
            let mut fields: Vec<compact::Field<'_>> = compact::fields(bytes).collect();
            // Redis 7.4 relies on the order.
            fields.sort_by_key(|field| field.expire_at_ms.unwrap_or(u64::MAX));
            for field in fields {
                listpack.push(field.name);
                listpack.push(field.value);
                listpack.push(Item::Int(field.expire_at_ms.unwrap_or(0) as i64));
            }
        }
    }
    listpack.finish();
    string::write_bytes(out, &scratch, compression);
    if scratch.capacity() <= KEEP_BYTES {
        SCRATCH.set(scratch);
    }
}

/// Appends a full hash.
pub fn write(out: &mut Vec<u8>, hash: &Hash, compression: Compression) {
    let earliest_ms = hash.earliest_expiry();
    if let Some(earliest_ms) = earliest_ms {
        out.extend_from_slice(&earliest_ms.to_le_bytes());
    }
    length::write(out, hash.len() as u64);
    for pair in hash.iter() {
        if let Some(earliest_ms) = earliest_ms {
            length::write(out, pair.expire_at_ms().map_or(0, |at_ms| at_ms - earliest_ms + 1));
        }
        string::write_bytes(out, pair.field(), compression);
        string::write_bytes(out, pair.value(), compression);
    }
}

/// Takes a hash off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    if matches!(kind, EXPIRING | EXPIRING_LISTPACK) {
        take(input, EARLIEST_BYTES)?;
    }
    match kind {
        PLAIN | EXPIRING | EXPIRING_EARLY => {
            for _ in 0..length::read_plain(input)? {
                if kind != PLAIN {
                    length::read_plain(input)?;
                }
                string::skip(input, max_string_bytes)?;
                string::skip(input, max_string_bytes)?;
            }
            Ok(())
        }
        ZIPMAP | ZIPLIST | LISTPACK | EXPIRING_LISTPACK | EXPIRING_LISTPACK_EARLY => {
            string::skip(input, max_string_bytes)
        }
        _ => Err(Reason::Type(kind)),
    }
}

/// Reads a hash off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    let limits = encodings.hash;
    match kind {
        PLAIN | EXPIRING | EXPIRING_EARLY => read_pairs(kind, input, max_string_bytes, limits),
        EXPIRING_LISTPACK => {
            // It follows from the expiries.
            take(input, EARLIEST_BYTES)?;
            read_blob(kind, &string::read_text(input, max_string_bytes)?, limits)
        }
        ZIPMAP | ZIPLIST | LISTPACK | EXPIRING_LISTPACK_EARLY => {
            read_blob(kind, &string::read_text(input, max_string_bytes)?, limits)
        }
        _ => Err(Reason::Type(kind)),
    }
}

fn read_pairs(kind: u8, input: &mut &[u8], max_string_bytes: u64, limits: Limits) -> Result<Value, Reason> {
    let earliest_ms = if kind == EXPIRING { u64::from_le_bytes(take_array(input)?) } else { 1 };
    let count = length::read_plain(input)?;
    let mut hash = Incoming::new(limits, count);
    for _ in 0..count {
        let expire_at_ms = match if kind == PLAIN { 0 } else { length::read_plain(input)? } {
            0 => None,
            // One is the earliest itself.
            ttl => Some(
                earliest_ms.checked_add(ttl - 1).filter(|at_ms| *at_ms <= MOST_EXPIRE_AT_MS).ok_or(Reason::Packed)?,
            ),
        };
        let field = string::read_text(input, max_string_bytes)?;
        let value = string::read_text(input, max_string_bytes)?;
        hash.check_lengths(&field, &value);
        hash.push(&field, &value, expire_at_ms)?;
    }
    hash.finish()
}

fn read_blob(kind: u8, blob: &[u8], limits: Limits) -> Result<Value, Reason> {
    if kind == ZIPMAP {
        let zipmap = Zipmap::new(blob).map_err(|_| Reason::Packed)?;
        let mut hash = Incoming::new(limits, zipmap.len() as u64);
        for (field, value) in zipmap.iter() {
            let (mut field_room, mut value_room) = ([0; _], [0; _]);
            let (field, value) = (field.text(&mut field_room), value.text(&mut value_room));
            hash.check_lengths(field, value);
            hash.push(field, value, None)?;
        }
        return hash.finish();
    }
    if kind == ZIPLIST {
        let ziplist = Ziplist::new(blob).map_err(|_| Reason::Packed)?;
        return read_items(ziplist.len(), ziplist.iter(), kind, limits);
    }
    let listpack = Listpack::new(blob).map_err(|_| Reason::Packed)?;
    read_items(listpack.len(), listpack.iter(), kind, limits)
}

fn read_items<'a>(
    len: usize,
    mut items: impl Iterator<Item = Item<'a>>,
    kind: u8,
    limits: Limits,
) -> Result<Value, Reason> {
    let expiring = matches!(kind, EXPIRING_LISTPACK | EXPIRING_LISTPACK_EARLY);
    let parts = if expiring { 3 } else { 2 };
    if !len.is_multiple_of(parts) {
        return Err(Reason::Packed);
    }
    let mut hash = Incoming::new(limits, (len / parts) as u64);
    while let Some(field) = items.next() {
        let value = items.next().ok_or(Reason::Packed)?;
        let expire_at_ms = match if expiring { items.next().ok_or(Reason::Packed)? } else { Item::Int(0) } {
            Item::Int(0) => None,
            Item::Int(at_ms @ 1..) if at_ms as u64 <= MOST_EXPIRE_AT_MS => Some(at_ms as u64),
            Item::Int(_) | Item::Str(_) => return Err(Reason::Packed),
        };
        hash.push(field.text(&mut [0; _]), value.text(&mut [0; _]), expire_at_ms)?;
    }
    hash.finish()
}

/// A hash that is being read.
struct Incoming {
    form: Form,
    limits: Limits,
    /// Hashes of the fields of a compact hash that has many.
    seen: HashSet<u64>,
    count: usize,
}

enum Form {
    Compact(Vec<u8>),
    Full(Hash),
}

impl Incoming {
    /// `fields` is what the data announces: nothing is reserved for it.
    fn new(limits: Limits, fields: u64) -> Self {
        let fits = usize::try_from(fields).is_ok_and(|fields| limits.allow_fields(fields));
        let form = if fits { Form::Compact(compact::EMPTY.to_vec()) } else { Form::Full(Hash::new()) };
        Self { form, limits, seen: HashSet::new(), count: 0 }
    }

    /// Takes leave of the compact form if the next field is too long for it.
    fn check_lengths(&mut self, field: &[u8], value: &[u8]) {
        if let Form::Compact(bytes) = &self.form
            && !self.limits.allow(field, value)
        {
            self.form = Form::Full(Hash::from_compact(bytes));
        }
    }

    fn push(&mut self, field: &[u8], value: &[u8], expire_at_ms: Option<u64>) -> Result<(), Reason> {
        self.count += 1;
        let is_new = match &mut self.form {
            Form::Full(full) => full.load(field, value, expire_at_ms),
            Form::Compact(bytes) => {
                let is_new = is_new(bytes, &mut self.seen, self.count, field);
                if is_new {
                    compact::push(bytes, field, value, expire_at_ms);
                }
                is_new
            }
        };
        if is_new { Ok(()) } else { Err(Reason::DuplicateElement) }
    }

    fn finish(self) -> Result<Value, Reason> {
        if self.count == 0 {
            return Err(Reason::Empty);
        }
        Ok(match self.form {
            Form::Compact(bytes) => Value::Packed(Kind::Hash, bytes.into()),
            Form::Full(full) => Value::Object(Box::new(Object::Hash(full))),
        })
    }
}

/// Whether a compact hash does not have a field, which is the `count`th.
fn is_new(bytes: &[u8], seen: &mut HashSet<u64>, count: usize, field: &[u8]) -> bool {
    if count <= FEW_FIELDS {
        return compact::prior(bytes, field).is_none();
    }
    if seen.is_empty() {
        seen.extend(compact::fields(bytes).map(|field| dict::hash(field.name.text(&mut [0; _]))));
    }
    seen.insert(dict::hash(field)) || compact::prior(bytes, field).is_none()
}

#[cfg(test)]
mod tests;
