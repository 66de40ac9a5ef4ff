//! A node of a list in RDB data.
//!
//! A list of type 14 is a number of nodes and for each a string that is a ziplist. One of type 18 is a number of nodes and for each a
//! kind, written as a length, and a string. Nodes may be empty, the strings may not.

use super::{Error, Flaw, Listpack, Ziplist};
use crate::types::packed::Item;

/// A node that is one large element.
pub const PLAIN: u64 = 1;
/// A node that is a listpack.
pub const PACKED: u64 = 2;

/// A sound node.
#[derive(Clone, Copy, Debug)]
pub enum ListNode<'a> {
    Plain(&'a [u8]),
    Listpack(Listpack<'a>),
    Ziplist(Ziplist<'a>),
}

impl<'a> ListNode<'a> {
    /// A node of a list of type 14.
    pub fn of_ziplist(blob: &'a [u8]) -> Result<Self, Error> {
        Ziplist::new(blob).map(ListNode::Ziplist)
    }

    /// A node of a list of type 18.
    pub fn of_kind(kind: u64, blob: &'a [u8]) -> Result<Self, Error> {
        match kind {
            PLAIN if blob.is_empty() => Err(Flaw::Empty.at(0)),
            PLAIN => Ok(ListNode::Plain(blob)),
            PACKED => Listpack::new(blob).map(ListNode::Listpack),
            _ => Err(Flaw::Container(kind).at(0)),
        }
    }

    /// Hands all elements to `each`.
    pub fn for_each(&self, mut each: impl FnMut(Item<'a>)) {
        match self {
            ListNode::Plain(text) => each(Item::of(text)),
            ListNode::Listpack(listpack) => listpack.iter().for_each(each),
            ListNode::Ziplist(ziplist) => ziplist.iter().for_each(each),
        }
    }
}
