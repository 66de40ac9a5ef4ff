//! Lists in RDB data: nodes of listpacks (type 18).

use super::packed_read::ListNode;
use super::string::{self, Compression};
use super::{Reason, length};
use crate::keyspace::{Kind, Value};
use crate::types::list::encoding::Limit;
use crate::types::list::{List, Side, compact};
use crate::types::{Encodings, Object};

/// Elements one behind the other, as Redis wrote them before 2.6's successors.
const PLAIN: u8 = 1;
/// What is written: a count of nodes, and for each how it is encoded and its bytes.
pub const QUICKLIST_2: u8 = 18;

/// Takes a list off `input`, unseen.
pub fn skip(kind: u8, input: &mut &[u8], max_string_bytes: u64) -> Result<(), Reason> {
    match kind {
        PLAIN => {
            for _ in 0..length::read_plain(input)? {
                string::skip(input, max_string_bytes)?;
            }
        }
        QUICKLIST_2 => {
            for _ in 0..length::read_plain(input)? {
                length::read_plain(input)?;
                string::skip(input, max_string_bytes)?;
            }
        }
        _ => return Err(Reason::Type(kind)),
    }
    Ok(())
}

/// Reads a list off `input`.
pub fn read(kind: u8, input: &mut &[u8], max_string_bytes: u64, encodings: &Encodings) -> Result<Value, Reason> {
    let mut list = List::new(encodings.list_plain_ends);
    match kind {
        PLAIN => {
            for _ in 0..length::read_plain(input)? {
                list.push(Side::Back, &string::read_text(input, max_string_bytes)?);
            }
        }
        QUICKLIST_2 => {
            for _ in 0..length::read_plain(input)? {
                let container = length::read_plain(input)?;
                let node = string::read_text(input, max_string_bytes)?;
                let node = ListNode::of_kind(container, &node).map_err(|_| Reason::Packed)?;
                node.for_each(|item| list.push_item(Side::Back, item));
            }
        }
        _ => return Err(Reason::Type(kind)),
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
