//! What all collections have in common: their kinds, the limits of their compact forms, and the object that a large one is.

use super::hash::{self, Hash};
use super::list::{self, List};
use super::set::{self, Set};
use super::stream::{self, Stream};
use super::zset::{self, Zset};

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
}

impl Kind {
    /// As TYPE names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Zset => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }
}

/// Where compact forms end; each field is the directive of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encodings {
    pub hash: hash::Limits,
    pub list: list::encoding::Limit,
    pub list_plain_ends: list::PlainEnds,
    pub set: set::compact::Limits,
    pub zset: zset::compact::Limits,
    pub hll_sparse_max_bytes: usize,
    pub stream: stream::BlockLimits,
}

impl Default for Encodings {
    /// Redis's.
    fn default() -> Self {
        Self {
            hash: hash::Limits::DEFAULT,
            list: list::encoding::Limit::from_directive(-2),
            list_plain_ends: list::PlainEnds::from_directive(0),
            set: set::compact::Limits::default(),
            zset: zset::compact::Limits::REDIS,
            hll_sparse_max_bytes: 3000,
            stream: stream::BlockLimits::default(),
        }
    }
}

/// A collection that is not compact.
#[derive(Clone)]
pub enum Object {
    List(List),
    Set(Set),
    Zset(Zset),
    Hash(Hash),
    Stream(Stream),
}

/// The type of one kind of collection.
pub trait Collection: Sized {
    const KIND: Kind;
    fn of(object: &Object) -> Option<&Self>;
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
    fn into_object(self) -> Object;
}

macro_rules! collections {
    ($($variant:ident)*) => {
        $(impl Collection for $variant {
            const KIND: Kind = Kind::$variant;

            fn of(object: &Object) -> Option<&Self> {
                if let Object::$variant(collection) = object { Some(collection) } else { None }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                if let Object::$variant(collection) = object { Some(collection) } else { None }
            }

            fn into_object(self) -> Object {
                Object::$variant(self)
            }
        })*

        impl Object {
            #[inline]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Object::$variant(_) => Kind::$variant,)*
                }
            }

            /// Elements, fields or entries.
            pub fn len(&self) -> usize {
                match self {
                    $(Object::$variant(collection) => collection.len() as usize,)*
                }
            }

            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Bytes of its allocations, about, beside its own.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    $(Object::$variant(collection) => collection.heap_bytes(),)*
                }
            }

            /// Frees some `budget` elements of an object that nobody needs any more. Whether more is left.
            pub fn drop_some(&mut self, budget: usize) -> bool {
                match self {
                    $(Object::$variant(collection) => collection.drop_some(budget),)*
                }
            }
        }
    };
}

collections! { List Set Zset Hash Stream }

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a {} of {}", self.kind().name(), self.len())
    }
}

impl Object {
    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            Object::List(list) => list.encoding().name(),
            Object::Zset(_) => "skiplist",
            Object::Set(_) | Object::Hash(_) => "hashtable",
            Object::Stream(_) => "stream",
        }
    }
}

/// Redis's name of the encoding of a compact collection.
pub fn packed_encoding(kind: Kind, bytes: &[u8]) -> &'static str {
    match kind {
        Kind::Set => set::compact::encoding(bytes),
        Kind::Hash if hash::compact::keeps_expiries(bytes) => "listpackex",
        Kind::Hash | Kind::List | Kind::Zset => "listpack",
        Kind::String | Kind::Stream => unreachable!("no packed form of a {}", kind.name()),
    }
}
