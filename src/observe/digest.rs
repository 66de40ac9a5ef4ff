//! DEBUG DIGEST and DEBUG DIGEST-VALUE: fingerprints of a data set that equal those of a Redis with the same data.
//!
//! Both are made of SHA-1 and two ways to add to a digest: *xor* (order does not matter: keys, members of sets) and *mix* (order
//! does: name before value, elements of lists). Keys are xored together per database, so every core digests its own keys and
//! the results are joined by xor; the database numbers are mixed in once, over all cores, in [`dataset_digest`].

use sha1::{Digest as _, Sha1};

use crate::keyspace::{Kind, StrRef, ValueRef};
use crate::types::Object;
use crate::types::hash::compact;
use crate::types::list::{Side, compact as compact_list};
use crate::types::numbers;
use crate::types::set::SetRef;
use crate::types::stream::{Entries, Id, Stream};
use crate::types::zset::compact as compact_zset;

/// Mixed into the digest of a key that has an expiry; the time itself is not, as it differs between nodes.
const EXPIRE_MARK: &[u8] = b"!!expire!!";
/// The same of a field of a hash.
const FIELD_EXPIRE_MARK: &[u8] = b"!!hexpire!!";

/// A digest under construction, or a finished one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 20]);

impl Digest {
    /// Adds something whose order does not matter.
    pub fn xor(&mut self, data: &[u8]) {
        self.join(&Digest(Sha1::digest(data).into()));
    }

    /// Adds something whose order matters.
    pub fn mix(&mut self, data: &[u8]) {
        self.xor(data);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Joins the digest of other keys, of this core or another.
    pub fn join(&mut self, other: &Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine ^= theirs);
    }

    /// 40 hex digits, as the replies have it.
    pub fn hex(&self) -> String {
        use std::fmt::Write;
        self.0.iter().fold(String::with_capacity(40), |mut text, byte| {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Whether a key has an expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    Never,
    Sometime,
}

impl From<Option<u64>> for Expires {
    fn from(expire_at_ms: Option<u64>) -> Expires {
        if expire_at_ms.is_some() { Expires::Sometime } else { Expires::Never }
    }
}

/// Redis's number for the type of a value.
fn type_number(value: ValueRef<'_>) -> u32 {
    let kind = match value {
        ValueRef::Str(_) => Kind::String,
        ValueRef::Packed(kind, _) => kind,
        ValueRef::Object(object) => object.kind(),
    };
    match kind {
        Kind::String => 0,
        Kind::List => 1,
        Kind::Set => 2,
        Kind::Zset => 3,
        Kind::Hash => 4,
        Kind::Stream => 6,
    }
}

fn mix_value(digest: &mut Digest, value: ValueRef<'_>) {
    match value {
        ValueRef::Str(StrRef::Int(number)) => digest.mix(itoa::Buffer::new().format(number).as_bytes()),
        ValueRef::Str(StrRef::Inline(bytes)) => digest.mix(bytes),
        ValueRef::Str(StrRef::Shared(bytes)) => digest.mix(bytes),
        ValueRef::Packed(Kind::List, bytes) => {
            compact_list::range(bytes, Side::Front, 0, usize::MAX, |item| digest.mix(item.text(&mut [0; _])));
        }
        ValueRef::Packed(Kind::Zset, bytes) => {
            for entry in compact_zset::entries(bytes) {
                mix_scored(digest, entry.name.text(&mut [0; _]), entry.score);
            }
        }
        ValueRef::Packed(Kind::Set, bytes) => mix_set(digest, SetRef::Compact(bytes)),
        ValueRef::Packed(Kind::Hash, bytes) => {
            for field in compact::fields(bytes) {
                let (name, value) = (field.name, field.value);
                mix_hash_field(digest, name.text(&mut [0; _]), value.text(&mut [0; _]), field.expire_at_ms.into());
            }
        }
        ValueRef::Packed(kind @ (Kind::String | Kind::Stream), _) => {
            unreachable!("no packed form of a {}", kind.name())
        }
        ValueRef::Object(Object::List(list)) => {
            list.range(Side::Front, 0, u64::MAX, |item| digest.mix(item.text(&mut [0; _])));
        }
        ValueRef::Object(Object::Zset(zset)) => {
            zset.ascending(0..zset.len()).for_each(|element| mix_scored(digest, element.name(), element.score()));
        }
        ValueRef::Object(Object::Set(set)) => mix_set(digest, SetRef::Full(set)),
        ValueRef::Object(Object::Hash(hash)) => {
            hash.iter().for_each(|pair| mix_hash_field(digest, pair.field(), pair.value(), pair.expire_at_ms().into()));
        }
        ValueRef::Object(Object::Stream(stream)) => mix_stream(digest, stream),
    }
}

fn mix_set(digest: &mut Digest, set: SetRef<'_>) {
    set.iter().for_each(|member| digest.xor(member.text(&mut [0; _])));
}

/// Adds two parts that belong together, to others of which the order does not matter: a field with its value, a member with its score.
fn mix_field(digest: &mut Digest, name: &[u8], value: &[u8]) {
    let mut field = Digest::default();
    field.mix(name);
    field.mix(value);
    digest.xor(&field.0);
}

/// As Redis 7.4 has it; without an expiry the same as earlier ones.
fn mix_hash_field(digest: &mut Digest, name: &[u8], value: &[u8], expires: Expires) {
    let mut field = Digest::default();
    field.mix(name);
    field.mix(value);
    if expires == Expires::Sometime {
        field.xor(FIELD_EXPIRE_MARK);
    }
    digest.xor(&field.0);
}

fn mix_scored(digest: &mut Digest, name: &[u8], score: f64) {
    mix_field(digest, name, numbers::general_17(score).as_bytes());
}

fn mix_stream(digest: &mut Digest, stream: &Stream) {
    let mut entries = stream.log().range(Id::MIN, Id::MAX);
    while let Some(entry) = entries.next() {
        digest.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
        for (name, value) in entry.fields() {
            digest.mix(name.text(&mut [0; _]));
            digest.mix(value.text(&mut [0; _]));
        }
    }
}

fn add_value(digest: &mut Digest, value: ValueRef<'_>, expires: Expires) {
    digest.mix(&type_number(value).to_be_bytes());
    mix_value(digest, value);
    if expires == Expires::Sometime {
        digest.xor(EXPIRE_MARK);
    }
}

/// DEBUG DIGEST-VALUE of one key; of a key that is not there it is [`Digest::default`].
pub fn value_digest(value: ValueRef<'_>, expires: Expires) -> Digest {
    let mut digest = Digest::default();
    add_value(&mut digest, value, expires);
    digest
}

/// What one key adds to its database, by [`Digest::join`].
pub fn key_digest(key: &[u8], value: ValueRef<'_>, expires: Expires) -> Digest {
    let mut digest = Digest::default();
    digest.mix(key);
    add_value(&mut digest, value, expires);
    // A part whose order does not matter enters as its hash, like any other data.
    let mut part = Digest::default();
    part.xor(&digest.0);
    part
}

/// DEBUG DIGEST: from the joined key digests of each database that has keys, by ascending number.
pub fn dataset_digest(databases: impl IntoIterator<Item = (u32, Digest)>) -> Digest {
    let mut digest = Digest::default();
    for (db, keys) in databases {
        digest.mix(&db.to_be_bytes());
        digest.join(&keys);
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn text(value: &[u8]) -> ValueRef<'_> {
        ValueRef::Str(StrRef::Inline(value))
    }

    /// All digests here are those of redis-server 7.0.15 with the same data.
    #[test]
    fn values() {
        let one = ValueRef::Str(StrRef::Int(1));
        assert_eq!(value_digest(one, Expires::Never).hex(), "b4fc66738120fba0b5aa500ab5c2bf89cea1c5da");
        assert_eq!(value_digest(text(b"1"), Expires::Never), value_digest(one, Expires::Never));
        assert_eq!(value_digest(one, Some(5).into()).hex(), "5279988c5d1911f474bcbbf2f0a87012d40f8459");
        let hello = Bytes::from_static(b"hello");
        let shared = ValueRef::Str(StrRef::Shared(&hello));
        assert_eq!(value_digest(shared, Expires::Never).hex(), "36b23a1456b2dce2c3ed252c456761301dba8060");
        assert_eq!(Digest::default().hex(), "0".repeat(40));
    }

    #[test]
    fn data_sets() {
        let a = key_digest(b"a", ValueRef::Str(StrRef::Int(1)), Expires::Never);
        assert_eq!(dataset_digest([(0, a)]).hex(), "943d800368fb9c0e951138f1bc0e313ac769d91f");

        let b = key_digest(b"b", text(b"hello"), Expires::Never);
        let mut db0 = b;
        db0.join(&a);
        assert_eq!(dataset_digest([(0, db0)]).hex(), "2539797405e828ad7a3aa48c536b3eaf2803a421");

        let mut db0 = key_digest(b"a", text(b"1"), Expires::Sometime);
        db0.join(&b);
        assert_eq!(dataset_digest([(0, db0)]).hex(), "bd6c42b827c67d2717e11feac6ed92c703682f4f");

        let mut db5 = key_digest(b"c", text(b"\x00\xff"), Expires::Never);
        db5.join(&key_digest(b"n", ValueRef::Str(StrRef::Int(-12345678901234)), Expires::Never));
        assert_eq!(dataset_digest([(0, db0), (5, db5)]).hex(), "5d7d8de1467c0c7370639f1dcafb1baaf9f134ac");
        assert_eq!(dataset_digest([(5, db5)]).hex(), "0dc12ec047b8919a6ac69014064b2cadffd11f80");
        assert_eq!(dataset_digest([]).hex(), "0".repeat(40));
    }
}
