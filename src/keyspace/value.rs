//! Values as they are stored, as they come and as they go.

use bytes::Bytes;

pub use crate::types::Kind;
use crate::types::Object;

/// A string value as it is stored.
#[derive(Clone, Copy)]
pub enum StrRef<'a> {
    Int(i64),
    /// In the entry's own allocation.
    Inline(&'a [u8]),
    /// In an allocation of its own, which a reply can share.
    Shared(&'a Bytes),
}

/// A string value to be stored. The keyspace picks the encoding: a canonical decimal of 20 digits or less becomes an integer,
/// unless it comes as `Text`.
pub enum NewStr<'a> {
    Copy(&'a [u8]),
    /// Kept without a copy when it is large.
    Take(Bytes),
    /// The same, and never an integer.
    Text(Bytes),
    Int(i64),
}

/// What becomes of a key's expiry when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    None,
    Keep,
    /// Unix time in milliseconds.
    AtMs(u64),
}

/// The key holds a value of another type than the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// A value as it is stored.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    Str(StrRef<'a>),
    /// A small collection; its type knows what the bytes mean.
    Packed(Kind, &'a [u8]),
    Object(&'a Object),
}

impl<'a> From<StrRef<'a>> for ValueRef<'a> {
    #[inline]
    fn from(text: StrRef<'a>) -> Self {
        ValueRef::Str(text)
    }
}

/// A collection to be stored.
pub enum NewCollection<'a> {
    Packed(Kind, &'a [u8]),
    Object(Box<Object>),
}

/// A collection as it is stored.
pub enum Held<'a, T> {
    Packed(&'a [u8]),
    Full(&'a T),
}

/// The same, to be changed: a packed one by [`KeyView::set_packed`](super::KeyView::set_packed) with its bytes as they then are.
pub enum HeldMut<'a, T> {
    Packed(&'a [u8]),
    Full(&'a mut T),
}

/// A value outside of any key, for moves and copies.
#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    Str(Bytes),
    Packed(Kind, Bytes),
    Object(Box<Object>),
}

impl PartialEq for Value {
    /// Whether both are stored alike; objects are not compared, each is its own.
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Packed(kind, a), Value::Packed(other, b)) => kind == other && a == b,
            (Value::Object(a), Value::Object(b)) => std::ptr::eq(&**a, &**b),
            (Value::Int(_) | Value::Str(_) | Value::Packed(..) | Value::Object(_), _) => false,
        }
    }
}

impl Value {
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Int(number) => ValueRef::Str(StrRef::Int(*number)),
            Value::Str(text) => ValueRef::Str(StrRef::Shared(text)),
            Value::Packed(kind, bytes) => ValueRef::Packed(*kind, bytes),
            Value::Object(object) => ValueRef::Object(object),
        }
    }
}

/// A key's value with what belongs to the key.
#[derive(Clone, Debug)]
pub struct Taken {
    pub value: Value,
    /// The encoding was `raw`, and stays so however short the string is.
    pub raw: bool,
    pub expire_at_ms: Option<u64>,
}

/// What OBJECT, MEMORY USAGE and DEBUG OBJECT tell of a key.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    pub kind: Kind,
    /// Redis's name: `int`, `embstr`, `raw`.
    pub encoding: &'static str,
    pub idle_ms: u64,
    /// The LFU counter, decayed to now.
    pub frequency: u8,
    /// Bytes the entry takes: its allocations and its table slot.
    pub bytes: usize,
}
