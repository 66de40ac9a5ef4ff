//! Readers of the packed forms in which RDB data holds small collections: by type byte,
//!
//! | types | collection | form |
//! |---|---|---|
//! | 9 | hash | [`Zipmap`] |
//! | 10, 12, 13 | list, sorted set, hash | [`Ziplist`] |
//! | 11 | set | [`Intset`] |
//! | 14, 18 | list | any number of [`ListNode`] |
//! | 16, 17, 20 | hash, sorted set, set | [`Listpack`] |
//!
//! Guarantees
//! - the bytes may be anything: a reader is made of them only when all of it is sound, and then yields every element
//! - accepted is what Redis 7.0 accepts with `sanitize-dump-payload yes`, as far as the form goes
//! - nothing is allocated, and nothing panics
//! - an element that reads as an integer is one, however it was stored
//!
//! Left to the caller: that pairs are complete, scores are numbers, nothing occurs twice, and what an empty collection means. Knows
//! nothing of RDB's strings, lengths and compression.

mod intset;
mod list_node;
mod listpack;
mod ziplist;
mod zipmap;

use std::fmt;

pub use intset::Intset;
pub use list_node::{ListNode, PACKED, PLAIN};
pub use listpack::{Listpack, back_length};
pub use ziplist::Ziplist;
pub use zipmap::Zipmap;

/// What is wrong with a packed form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Shorter than the least that is needed.
    TooShort,
    /// Its header says another size than it has.
    Size { announced: u64, actual: u64 },
    /// Its last byte does not mark the end, or the mark stands before the end.
    EndMark,
    /// An element reaches beyond the end.
    Overrun,
    /// No element begins with this byte.
    Tag(u8),
    /// What is said of an element's own length or that of the one before it does not hold.
    BackLength,
    /// The header does not point to the last element.
    Tail,
    /// The header says another number of elements than there are.
    Count { announced: u64, counted: u64 },
    /// Integers of this many bytes.
    IntegerSize(u32),
    /// Integers that are not in strictly ascending order.
    Order,
    /// A form that never is empty is.
    Empty,
    /// A node of a list of an unknown kind.
    Container(u64),
}

/// What is wrong, and how many bytes from the start of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    pub offset: usize,
    pub flaw: Flaw,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Flaw::TooShort => f.write_str("too short"),
            Flaw::Size { announced, actual } => write!(f, "{announced} bytes are announced, there are {actual}"),
            Flaw::EndMark => f.write_str("the end mark is not at the end"),
            Flaw::Overrun => f.write_str("an element reaches beyond the end"),
            Flaw::Tag(tag) => write!(f, "no element begins with the byte {tag:#04x}"),
            Flaw::BackLength => f.write_str("the length behind an element is not that of the element"),
            Flaw::Tail => f.write_str("the last element is not where the header says"),
            Flaw::Count { announced, counted } => {
                write!(f, "{announced} elements are announced, there are {counted}")
            }
            Flaw::IntegerSize(bytes) => write!(f, "integers of {bytes} bytes"),
            Flaw::Order => f.write_str("integers are not in ascending order"),
            Flaw::Empty => f.write_str("there are no elements"),
            Flaw::Container(kind) => write!(f, "unknown kind {kind} of a list's node"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.flaw)
    }
}

impl std::error::Error for Error {}

impl Flaw {
    fn at(self, offset: usize) -> Error {
        Error { offset, flaw: self }
    }
}

/// The bytes of a form that elements may take: all but the mark at the end.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    /// `N` bytes from there on.
    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], Error> {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Flaw::Overrun.at(at))
    }

    fn byte(&self, at: usize) -> Result<u8, Error> {
        self.array(at).map(|[byte]| byte)
    }

    /// `len` bytes from there on.
    fn bytes(&self, at: usize, len: usize) -> Result<&'a [u8], Error> {
        at.checked_add(len).and_then(|end| self.0.get(at..end)).ok_or(Flaw::Overrun.at(at))
    }

    /// The little-endian signed integer of `N` bytes from there on.
    fn integer<const N: usize>(&self, at: usize) -> Result<i64, Error> {
        Ok(sign_extend(self.array::<N>(at)?))
    }
}

/// A little-endian signed integer of up to 8 bytes.
fn sign_extend<const N: usize>(bytes: [u8; N]) -> i64 {
    let mut all = [0; 8];
    all[8 - N..].copy_from_slice(&bytes);
    i64::from_le_bytes(all) >> (64 - 8 * N)
}
