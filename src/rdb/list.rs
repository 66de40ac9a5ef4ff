//! Lists in RDB data: nodes of listpacks (type 18) are written; read is also what older versions wrote.
//!
//! | type | since | a count, and as many |
//! |---|---|---|
//! | 1 | 1.0 | elements, each a string |
//! | 10 | 2.6 | (no count) one ziplist |
//! | 14 | 3.2 | ziplists |
//! | 18 | 7.0 | nodes: a kind, and the string of a listpack or of one large element |

use super::packed_read::ListNode;
use super::string::{self, Compression};
use super::{Reason, length};
use crate::keyspace::{Kind, Value};
use crate::types::list::encoding::Limit;
use crate::types::list::{List, Side, compact};
use crate::types::{Encodings, Object};

const PLAIN: u8 = 1;
const ZIPLIST: u8 = 10;
const QUICKLIST: u8 = 14;
pub const QUICKLIST_2: u8 = 18;

/// How many parts a value of a type has.
fn parts(kind: u8, input: &mut &[u8]) -> Result<u64, Reason> {
    match kind {
        ZIPLIST => Ok(1),
        PLAIN | QUICKLIST | QUICKLIST_2 => length::read_plain(input),
        _ => Err(Reason::Type(kind)),
    }
}

/// Takes a list off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    for _ in 0..parts(kind, input)? {
        if kind == QUICKLIST_2 {
            length::read_plain(input)?;
        }
        string::skip(input, max_string_bytes)?;
    }
    Ok(())
}

/// Reads a list off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    let mut list = List::new(encodings.list_plain_ends);
    for _ in 0..parts(kind, input)? {
        let container = if kind == QUICKLIST_2 { length::read_plain(input)? } else { 0 };
        let part = string::read_text(input, max_string_bytes)?;
        let node = match kind {
            PLAIN => {
                list.push(Side::Back, &part);
                continue;
            }
            QUICKLIST_2 => ListNode::of_kind(container, &part),
            _ => ListNode::of_ziplist(&part),
        };
        node.map_err(|_| Reason::Packed)?.for_each(|item| list.push_item(Side::Back, item));
    }
    if list.is_empty() { Err(Reason::Empty) } else { Ok(value_of(list, encodings.list)) }
}

/// A list that is complete, as a value.
pub fn value_of(mut list: List, limit: Limit) -> Value {
    list.after_loading(limit);
    if list.may_be_compact() {
        let mut bytes = Vec::new();
        list.write_compact(&mut bytes);
        return Value::Packed(Kind::List, bytes.into());
    }
    Value::Object(Box::new(Object::List(list)))
}

/// Appends a compact list.
pub fn write_packed(out: &mut Vec<u8>, bytes: &[u8], compression: Compression) {
    let mut node = Vec::new();
    super::packed_write::list::write_run(compact::run(bytes), &mut node);
    length::write(out, 1);
    length::write(out, PACKED_NODE);
    string::write_bytes(out, &node, compression);
}

/// Redis's number for a node that is a listpack.
const PACKED_NODE: u64 = 2;

/// Appends a full list.
pub fn write(out: &mut Vec<u8>, list: &List, compression: Compression) {
    length::write(out, super::packed_write::list::nodes(list));
    let mut at = 0;
    let mut node = Vec::new();
    while at < list.len() {
        node.clear();
        let Some(written) = super::packed_write::list::write_node(list, at, &mut node) else { break };
        length::write(out, written.kind);
        string::write_bytes(out, &node, compression);
        at = written.next;
    }
}
