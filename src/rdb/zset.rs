//! Sorted sets in RDB data: members one behind the other with their scores as text (type 3, before Redis 4.0) or in binary (5), or packed in a
//! ziplist (12) or a listpack (17).
//!
//! A compact set is written as type 17 with the bytes that Redis 7.0 has for it, a full one as type 5.

use super::packed_read::{Listpack, Ziplist};
use super::packed_write::ListpackWriter;
use super::string::{self, Compression};
use super::{Reason, length, take, take_array};
use crate::keyspace::{Kind, Value};
use crate::types::dict::hash;
use crate::types::numbers::{general_17, parse_f64_as_c, whole};
use crate::types::packed::{Item, MAX_INTEGER_TEXT};
use crate::types::zset::compact::{self, Limits};
use crate::types::zset::{Change, Zset};
use crate::types::{Encodings, Object};

const TEXT_SCORES: u8 = 3;
const BINARY_SCORES: u8 = 5;
const ZIPLIST: u8 = 12;
const LISTPACK: u8 = 17;

/// The byte that the type of a compact sorted set is written as.
pub const PACKED: u8 = LISTPACK;
/// That of a full one: each member and its score, from the highest to the lowest, as Redis does.
pub const ZSET_2: u8 = BINARY_SCORES;

const SCORE_BYTES: usize = size_of::<f64>();
/// In place of the length of a score's text.
const NAN: u8 = 253;
const INFINITY: u8 = 254;
const MINUS_INFINITY: u8 = 255;

/// Takes a sorted set off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    match kind {
        ZIPLIST | LISTPACK => return string::skip(input, max_string_bytes),
        TEXT_SCORES | BINARY_SCORES => {}
        _ => return Err(Reason::Type(kind)),
    }
    for _ in 0..length::read_plain(input)? {
        string::skip(input, max_string_bytes)?;
        if kind == BINARY_SCORES {
            take(input, SCORE_BYTES)?;
        } else {
            read_text_score(input)?;
        }
    }
    Ok(())
}

/// Reads a sorted set off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    match kind {
        TEXT_SCORES => read_plain(input, max_string_bytes, encodings.zset, read_text_score),
        BINARY_SCORES => read_plain(input, max_string_bytes, encodings.zset, read_binary_score),
        ZIPLIST => {
            let bytes = string::read_text(input, max_string_bytes)?;
            let ziplist = Ziplist::new(&bytes).map_err(|_| Reason::Packed)?;
            read_packed(ziplist.len(), || ziplist.iter(), encodings.zset)
        }
        LISTPACK => {
            let bytes = string::read_text(input, max_string_bytes)?;
            let listpack = Listpack::new(&bytes).map_err(|_| Reason::Packed)?;
            read_packed(listpack.len(), || listpack.iter(), encodings.zset)
        }
        _ => Err(Reason::Type(kind)),
    }
}

fn read_binary_score(input: &mut &[u8]) -> Result<f64, Reason> {
    let score = f64::from_le_bytes(take_array(input)?);
    if score.is_nan() { Err(Reason::NotAScore) } else { Ok(score) }
}

fn read_text_score(input: &mut &[u8]) -> Result<f64, Reason> {
    let [len] = take_array(input)?;
    match len {
        NAN => Err(Reason::NotAScore),
        INFINITY => Ok(f64::INFINITY),
        MINUS_INFINITY => Ok(f64::NEG_INFINITY),
        len => parse_f64_as_c(take(input, len.into())?).ok_or(Reason::NotAScore),
    }
}

fn read_plain(
    input: &mut &[u8],
    max_string_bytes: u64,
    limits: Limits,
    read_score: fn(&mut &[u8]) -> Result<f64, Reason>,
) -> Result<Value, Reason> {
    let mut zset = Zset::new();
    let mut fits = true;
    for _ in 0..length::read_plain(input)? {
        let member = string::read_text(input, max_string_bytes)?;
        let score = read_score(input)?;
        add(&mut zset, &member, score)?;
        fits = fits && limits.admit(zset.len(), &member);
    }
    value_of(zset, fits)
}

fn add(zset: &mut Zset, member: &[u8], score: f64) -> Result<(), Reason> {
    match zset.insert(score, member) {
        Change::Added(_) => Ok(()),
        Change::Moved { .. } | Change::None(_) => Err(Reason::DuplicateElement),
    }
}

/// A sorted set that is complete, as a value; `fits`: it is compact.
fn value_of(zset: Zset, fits: bool) -> Result<Value, Reason> {
    if zset.is_empty() {
        return Err(Reason::Empty);
    }
    if !fits {
        return Ok(Value::Object(Box::new(Object::Zset(zset))));
    }
    let mut bytes = Vec::new();
    zset.write_compact(&mut bytes);
    Ok(Value::Packed(Kind::Zset, bytes.into()))
}

/// Reads a packed form of `len` items: member and score in turn. It stays compact if it has no more elements than may be, however long they are,
/// as in Redis.
fn read_packed<'a, I: Iterator<Item = Item<'a>>>(
    len: usize,
    items: impl Fn() -> I,
    limits: Limits,
) -> Result<Value, Reason> {
    if !len.is_multiple_of(2) {
        return Err(Reason::Packed);
    }
    let fits = len / 2 <= limits.entries;
    if fits
        && len > 0
        && let Some(bytes) = in_order(items())?
    {
        return Ok(Value::Packed(Kind::Zset, bytes.into()));
    }
    let mut zset = Zset::new();
    each_pair(items(), |name, score| add(&mut zset, name.text(&mut [0; MAX_INTEGER_TEXT]), score))?;
    value_of(zset, fits)
}

fn each_pair<'a>(
    mut items: impl Iterator<Item = Item<'a>>,
    mut each: impl FnMut(Item<'a>, f64) -> Result<(), Reason>,
) -> Result<(), Reason> {
    while let (Some(name), Some(score)) = (items.next(), items.next()) {
        let score = match score {
            Item::Int(number) => number as f64,
            Item::Str(text) => parse_f64_as_c(text).ok_or(Reason::NotAScore)?,
        };
        each(name, score)?;
    }
    Ok(())
}

/// The compact form of what is in order already and has no member twice, as far as hashes tell; `None` of all else.
fn in_order<'a>(items: impl Iterator<Item = Item<'a>>) -> Result<Option<Vec<u8>>, Reason> {
    let (mut bytes, mut hashes, mut before) = (Vec::new(), Vec::new(), None);
    let mut ascends = true;
    each_pair(items, |name, score| {
        let mut room = [0; MAX_INTEGER_TEXT];
        let text = name.text(&mut room);
        ascends = ascends
            && before.is_none_or(|(other, last): (Item<'a>, f64)| {
                last < score || last == score && *other.text(&mut [0; MAX_INTEGER_TEXT]) < *text
            });
        compact::push(&mut bytes, score, text);
        hashes.push(hash(text));
        before = Some((name, score));
        Ok(())
    })?;
    hashes.sort_unstable();
    let differ = hashes.windows(2).all(|pair| pair[0] != pair[1]);
    Ok((ascends && differ).then_some(bytes))
}

/// Appends a compact sorted set.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    let mut listpack = Vec::with_capacity(2 * bytes.len());
    let mut writer = ListpackWriter::new(&mut listpack);
    for entry in compact::entries(bytes) {
        writer.push(entry.name);
        match whole(entry.score) {
            Some(number) => writer.push(Item::Int(number)),
            // A text that is an integer's is one in a listpack.
            None => writer.push(Item::of(general_17(entry.score).as_bytes())),
        }
    }
    writer.finish();
    string::write_bytes(out, &listpack, compression);
}

/// Appends a full sorted set.
pub fn write(out: &mut Vec<u8>, zset: &Zset, compression: Compression) {
    length::write(out, zset.len() as u64);
    for element in zset.descending(0..zset.len()) {
        string::write_bytes(out, element.name(), compression);
        out.extend_from_slice(&element.score().to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::value;
    use proptest::prelude::*;

    const LONGEST: u64 = 1 << 20;

    fn written(value: &Value) -> (u8, Vec<u8>) {
        let mut out = Vec::new();
        value::write(&mut out, value.as_ref(), Compression::Lzf);
        (value::type_of(value.as_ref()), out)
    }

    /// Elements, in order.
    fn elements(value: &Value) -> Vec<(Vec<u8>, u64)> {
        match value {
            Value::Packed(Kind::Zset, run) => {
                compact::entries(run).map(|entry| (entry.name.to_vec(), entry.score.to_bits())).collect()
            }
            Value::Object(object) => {
                let Object::Zset(zset) = &**object else { panic!("no sorted set") };
                zset.ascending(0..zset.len()).map(|e| (e.name().to_vec(), e.score().to_bits())).collect()
            }
            _ => panic!("no sorted set"),
        }
    }

    fn score() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-9i32..9).prop_map(f64::from),
            any::<i64>().prop_map(|number| number as f64),
            any::<f64>().prop_filter("no NaN", |score| !score.is_nan()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_comes_back(
            pairs in prop::collection::btree_map(prop_oneof!["[a-d]{0,4}", "[0-9]{1,20}"], score(), 1..40),
            most in 0usize..40,
        ) {
            let mut encodings = Encodings::default();
            encodings.zset.entries = most;
            let mut zset = Zset::new();
            for (name, score) in &pairs {
                zset.insert(*score, name.as_bytes());
            }
            let value = value_of(zset, pairs.len() <= most).expect("not empty");
            let (kind, bytes) = written(&value);
            prop_assert_eq!(kind == PACKED, pairs.len() <= most);
            let read = read(kind, &mut &bytes[..], LONGEST, &encodings).expect("sound");
            prop_assert_eq!(elements(&read), elements(&value));
            prop_assert_eq!(written(&read), (kind, bytes.clone()));
            let mut rest = &bytes[..];
            prop_assert_eq!(skip(kind, &mut rest, LONGEST), Ok(()));
            prop_assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                prop_assert!(super::read(kind, &mut &bytes[..cut], LONGEST, &encodings).is_err());
            }
        }

        #[test]
        fn damage_is_refused_or_understood(
            kind in prop::sample::select(vec![3u8, 5, 12, 17]),
            pairs in prop::collection::btree_map("[a-d]{0,4}", score(), 1..20),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut zset = Zset::new();
            for (name, score) in &pairs {
                zset.insert(*score, name.as_bytes());
            }
            let value = value_of(zset, kind > 5).expect("not empty");
            let (_, mut bytes) = written(&value);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= byte;
            }
            if let Ok(value) = read(kind, &mut &bytes[..], LONGEST, &Encodings::default()) {
                let ascends = elements(&value).is_sorted_by(|a, b| {
                    let (x, y) = (f64::from_bits(a.1), f64::from_bits(b.1));
                    x < y || x == y && a.0 < b.0
                });
                prop_assert!(ascends);
            }
        }
    }
}
