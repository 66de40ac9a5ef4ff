//! How an entry holds its value.

use bytes::{Bytes, BytesMut};

use super::{SHARED_BYTES, parse_canonical};
use crate::keyspace::{Kind, NewCollection, NewStr};
use crate::types::Object;

/// How the value is held. Bits 24 and up of the header's first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Int = 0,
    Inline = 1,
    /// A `Bytes`.
    Shared = 2,
    /// A `BytesMut`, for a string that is growing.
    Growing = 3,
    /// The bytes of a small collection.
    PackedList = 4,
    PackedSet = 5,
    PackedZset = 6,
    PackedHash = 7,
    /// A `Box<Object>`, whose variant this names too.
    List = 8,
    Set = 9,
    Zset = 10,
    Hash = 11,
    Stream = 12,
}

impl Form {
    pub(super) const SHIFT: u32 = 24;
    const MASK: u32 = 0x1f << Self::SHIFT;

    #[inline]
    pub(super) fn of(word: u32) -> Self {
        match (word & Self::MASK) >> Self::SHIFT {
            0 => Self::Int,
            1 => Self::Inline,
            2 => Self::Shared,
            3 => Self::Growing,
            4 => Self::PackedList,
            5 => Self::PackedSet,
            6 => Self::PackedZset,
            7 => Self::PackedHash,
            8 => Self::List,
            9 => Self::Set,
            10 => Self::Zset,
            11 => Self::Hash,
            12 => Self::Stream,
            other => unreachable!("no value has form {other}"),
        }
    }

    pub(super) fn packed(kind: Kind) -> Self {
        match kind {
            Kind::List => Self::PackedList,
            Kind::Set => Self::PackedSet,
            Kind::Zset => Self::PackedZset,
            Kind::Hash => Self::PackedHash,
            Kind::String | Kind::Stream => unreachable!("no packed form of a {}", kind.name()),
        }
    }

    pub(super) fn full(kind: Kind) -> Self {
        match kind {
            Kind::List => Self::List,
            Kind::Set => Self::Set,
            Kind::Zset => Self::Zset,
            Kind::Hash => Self::Hash,
            Kind::Stream => Self::Stream,
            Kind::String => unreachable!("a string is no object"),
        }
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Int | Self::Inline | Self::Shared | Self::Growing => Kind::String,
            Self::PackedList | Self::List => Kind::List,
            Self::PackedSet | Self::Set => Kind::Set,
            Self::PackedZset | Self::Zset => Kind::Zset,
            Self::PackedHash | Self::Hash => Kind::Hash,
            Self::Stream => Kind::Stream,
        }
    }
}

/// A value in the shape it will be stored in.
pub(super) enum Shaped<'a> {
    Int(i64),
    Inline(&'a [u8]),
    InlineOwned(Bytes),
    Shared(Bytes),
    Growing(BytesMut),
    Packed(Kind, &'a [u8]),
    PackedOwned(Kind, Bytes),
    Object(Box<Object>),
}

impl<'a> From<NewCollection<'a>> for Shaped<'a> {
    fn from(value: NewCollection<'a>) -> Self {
        match value {
            NewCollection::Packed(kind, bytes) => Self::Packed(kind, bytes),
            NewCollection::Object(object) => Self::Object(object),
        }
    }
}

impl<'a> Shaped<'a> {
    #[inline]
    pub(super) fn of(value: NewStr<'a>) -> Self {
        match value {
            NewStr::Int(number) => Self::Int(number),
            NewStr::Copy(text) => match parse_canonical(text) {
                Some(number) => Self::Int(number),
                None if text.len() < SHARED_BYTES => Self::Inline(text),
                None => Self::Shared(Bytes::copy_from_slice(text)),
            },
            NewStr::Take(text) => match parse_canonical(&text) {
                Some(number) => Self::Int(number),
                None => Self::of(NewStr::Text(text)),
            },
            NewStr::Text(text) if text.len() < SHARED_BYTES => Self::InlineOwned(text),
            NewStr::Text(text) => Self::Shared(text),
        }
    }

    #[inline]
    pub(super) fn form(&self) -> Form {
        match self {
            Self::Int(_) => Form::Int,
            Self::Inline(_) | Self::InlineOwned(_) => Form::Inline,
            Self::Shared(_) => Form::Shared,
            Self::Growing(_) => Form::Growing,
            Self::Packed(kind, _) | Self::PackedOwned(kind, _) => Form::packed(*kind),
            Self::Object(object) => Form::full(object.kind()),
        }
    }

    #[inline]
    pub(super) fn inline_length(&self) -> usize {
        match self {
            Self::Inline(text) | Self::Packed(_, text) => text.len(),
            Self::InlineOwned(text) | Self::PackedOwned(_, text) => text.len(),
            Self::Int(_) | Self::Shared(_) | Self::Growing(_) | Self::Object(_) => 0,
        }
    }
}
