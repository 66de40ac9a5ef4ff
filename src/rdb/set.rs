//! Sets in RDB data, by type byte:
//!
//! | type | form | written |
//! |---|---|---|
//! | 2 | the members one behind the other | for all but compact sets of integers |
//! | 11 | an intset, as a string | for those |
//! | 20 | a listpack, as a string | never: Redis 7.0 does not know it |
//!
//! What is read gets the form that the limits of this node ask for, as in Redis 7.2.

use super::packed_read::{Intset, Listpack};
use super::string::{self, Compression};
use super::{Reason, length};
use crate::keyspace::{Kind, Value};
use crate::types::packed::Item;
use crate::types::set::compact::{self, Limits};
use crate::types::set::{Draft, Set, SetRef};
use crate::types::{Encodings, Object};

/// Members one behind the other.
pub const PLAIN: u8 = 2;
const INTSET: u8 = 11;
const LISTPACK: u8 = 20;

/// The byte that the type of a compact set is written as.
pub fn type_of_packed(bytes: &[u8]) -> u8 {
    if compact::is_integers(bytes) { INTSET } else { PLAIN }
}

/// Appends a compact set.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    if !compact::is_integers(bytes) {
        return write_members(out, SetRef::Compact(bytes), compression);
    }
    let (width, integers) = compact::integer_bytes(bytes);
    let mut intset = Vec::with_capacity(8 + integers.len());
    intset.extend_from_slice(&u32::from(width).to_le_bytes());
    intset.extend_from_slice(&(compact::len(bytes) as u32).to_le_bytes());
    intset.extend_from_slice(integers);
    string::write_bytes(out, &intset, compression);
}

/// Appends a full set.
pub fn write(out: &mut Vec<u8>, set: &Set, compression: Compression) {
    write_members(out, SetRef::Full(set), compression);
}

fn write_members(out: &mut Vec<u8>, set: SetRef<'_>, compression: Compression) {
    length::write(out, set.len() as u64);
    for member in set.iter() {
        match member {
            Item::Int(number) => string::write_number(out, number),
            Item::Str(text) => string::write_bytes(out, text, compression),
        }
    }
}

/// Takes a set off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    let strings = if kind == PLAIN { length::read_plain(input)? } else { 1 };
    for _ in 0..strings {
        string::skip(input, max_string_bytes)?;
    }
    Ok(())
}

/// Reads a set off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    let limits = &encodings.set;
    let draft = match kind {
        PLAIN => read_members(input, max_string_bytes, limits)?,
        INTSET => {
            let blob = string::read_text(input, max_string_bytes)?;
            let intset = Intset::new(&blob).map_err(|_| Reason::Packed)?;
            let room = if intset.len() > limits.intset_entries { Draft::Full(Set::new()) } else { Draft::integers() };
            filled(room, intset.iter().map(Item::Int), limits)?
        }
        LISTPACK => {
            let blob = string::read_text(input, max_string_bytes)?;
            let listpack = Listpack::new(&blob).map_err(|_| Reason::Packed)?;
            let is_large = listpack.len() > limits.listpack_entries;
            let room = if is_large { Draft::Full(Set::new()) } else { Draft::Compact(compact::list()) };
            filled(room, listpack.iter(), limits)?
        }
        _ => return Err(Reason::Type(kind)),
    };
    if draft.as_ref().is_empty() { Err(Reason::Empty) } else { Ok(value_of(draft)) }
}

fn read_members(input: &mut &[u8], max_string_bytes: u64, limits: &Limits) -> Result<Draft, Reason> {
    let count = length::read_plain(input)?;
    let is_large = count > limits.intset_entries as u64;
    let mut draft = if is_large { Draft::Full(Set::new()) } else { Draft::integers() };
    for _ in 0..count {
        let member = string::read_text(input, max_string_bytes)?;
        if !draft.add(&member, limits) {
            return Err(Reason::DuplicateElement);
        }
    }
    Ok(draft)
}

fn filled<'a>(mut draft: Draft, members: impl Iterator<Item = Item<'a>>, limits: &Limits) -> Result<Draft, Reason> {
    for member in members {
        if !draft.add(member.text(&mut [0; _]), limits) {
            return Err(Reason::DuplicateElement);
        }
    }
    Ok(draft)
}

/// A set that is complete, as a value.
fn value_of(draft: Draft) -> Value {
    match draft {
        Draft::Compact(bytes) => Value::Packed(Kind::Set, bytes.into()),
        Draft::Full(set) => Value::Object(Box::new(Object::Set(set))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::packed_write::ListpackWriter;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SMALL: Limits = Limits { intset_entries: 6, listpack_entries: 4, listpack_value: 8 };

    fn encodings(limits: Limits) -> Encodings {
        Encodings { set: limits, ..Encodings::default() }
    }

    fn members(value: &Value) -> BTreeSet<Vec<u8>> {
        let set = match value {
            Value::Packed(Kind::Set, bytes) => SetRef::Compact(bytes),
            Value::Object(object) => match &**object {
                Object::Set(set) => SetRef::Full(set),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        set.iter().map(Item::to_vec).collect()
    }

    fn encoding(value: &Value) -> &'static str {
        match value {
            Value::Packed(_, bytes) => compact::encoding(bytes),
            Value::Object(object) => object.encoding(),
            other => panic!("{other:?}"),
        }
    }

    fn loaded(kind: u8, bytes: &[u8], limits: Limits) -> Result<Value, Reason> {
        let mut input = bytes;
        let value = read(kind, &mut input, 1 << 20, &encodings(limits))?;
        assert_eq!(input, b"");
        let mut rest = bytes;
        assert_eq!(skip(kind, &mut rest, 1 << 20), Ok(()));
        assert_eq!(rest, b"");
        Ok(value)
    }

    fn as_string(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        string::write_bytes(&mut out, bytes, Compression::None);
        out
    }

    fn listpack(members: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ListpackWriter::new(&mut out);
        members.iter().for_each(|member| writer.push(Item::of(member.as_bytes())));
        writer.finish();
        as_string(&out)
    }

    /// As redis-server 7.0.15 dumps the set of 1, 2 and 70000, and what that leaves when 70000 goes.
    #[test]
    fn integers_are_written_as_redis_writes_them() {
        let limits = Limits::default();
        let mut set = compact::intset();
        for number in [2, 70_000, 1] {
            compact::add(&mut set, Item::Int(number), &limits);
        }
        let mut out = Vec::new();
        assert_eq!(type_of_packed(&set), 11);
        write_packed(&mut out, &set, Compression::Lzf);
        assert_eq!(out, b"\x14\x04\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\x70\x11\x01\0");
        compact::remove(&mut set, Item::Int(70_000));
        out.clear();
        write_packed(&mut out, &set, Compression::Lzf);
        assert_eq!(out, b"\x10\x04\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0");
    }

    #[test]
    fn the_form_follows_from_the_limits() {
        let intset = |numbers: std::ops::Range<u16>| {
            let mut blob = vec![2, 0, 0, 0, numbers.len() as u8, 0, 0, 0];
            numbers.for_each(|number| blob.extend_from_slice(&number.to_le_bytes()));
            as_string(&blob)
        };
        for (kind, bytes, form) in [
            (INTSET, intset(0..6), "intset"),
            (INTSET, intset(0..7), "hashtable"),
            (LISTPACK, listpack(&["1", "2", "3", "4"]), "listpack"),
            (LISTPACK, listpack(&["1", "2", "3", "4", "5"]), "hashtable"),
            (LISTPACK, listpack(&["1", "nine char"]), "hashtable"),
            (PLAIN, b"\x02\xc0\x01\xc0\x02".to_vec(), "intset"),
            (PLAIN, b"\x02\xc0\x01\x01a".to_vec(), "listpack"),
            (PLAIN, b"\x05\x01a\x01b\x01c\x01d\x01e".to_vec(), "hashtable"),
            (PLAIN, b"\x07\xc0\x01\xc0\x02\xc0\x03\xc0\x04\xc0\x05\xc0\x06\xc0\x07".to_vec(), "hashtable"),
        ] {
            let value = loaded(kind, &bytes, SMALL).expect("sound");
            assert_eq!(encoding(&value), form, "type {kind}: {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn damage_is_refused() {
        for (kind, bytes, reason) in [
            (PLAIN, b"\0".to_vec(), Reason::Empty),
            (PLAIN, b"\x02\x01a\x01a".to_vec(), Reason::DuplicateElement),
            (PLAIN, b"\x02\xc0\x01\x011".to_vec(), Reason::DuplicateElement),
            (LISTPACK, listpack(&[]), Reason::Empty),
            (LISTPACK, listpack(&["1", "a", "1"]), Reason::DuplicateElement),
            (LISTPACK, as_string(b"junk"), Reason::Packed),
            (INTSET, as_string(&[2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 5, 0]), Reason::Packed),
            (INTSET, as_string(&[2, 0, 0, 0, 0, 0, 0, 0]), Reason::Packed),
            (INTSET, as_string(b""), Reason::Packed),
        ] {
            assert_eq!(loaded(kind, &bytes, SMALL), Err(reason), "type {kind}: {}", bytes.escape_ascii());
        }
        let huge = b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01a";
        assert!(matches!(read(PLAIN, &mut &huge[..], 100, &encodings(SMALL)), Err(Reason::Incomplete { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            texts in prop::collection::btree_set(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..12),
                any::<i32>().prop_map(|number| number.to_string().into_bytes()),
            ], 1..12),
            small: bool,
        ) {
            let limits = if small { SMALL } else { Limits::default() };
            let mut draft = Draft::integers();
            for text in &texts {
                draft.add(text, &limits);
            }
            let value = value_of(draft);
            let mut out = Vec::new();
            let kind = crate::rdb::value::type_of(value.as_ref());
            crate::rdb::value::write(&mut out, value.as_ref(), Compression::Lzf);
            let again = loaded(kind, &out, limits).expect("sound");
            prop_assert_eq!(members(&again), texts);
        }

        #[test]
        fn no_bytes_do_harm(kind in prop::sample::select(&[PLAIN, INTSET, LISTPACK][..]), mut bytes: Vec<u8>, wrap: bool) {
            if wrap {
                bytes = as_string(&bytes);
            }
            let _ = read(kind, &mut &bytes[..], 1 << 20, &encodings(SMALL));
            let _ = skip(kind, &mut &bytes[..], 1 << 20);
        }
    }
}
