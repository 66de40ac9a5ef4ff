//! Lists as nodes of RDB type 18, of which first the number is written, and then for each its kind as a length and its bytes as a
//! string.
//!
//! A list that Redis keeps in one node of the usual size is one here, and so byte for byte as there. Larger ones have the nodes they
//! are kept in: no more has to be looked at than is being written, and a list can be written piece by piece.

use std::ops::ControlFlow;

use super::ListpackWriter;
use crate::rdb::packed_read::{PACKED, PLAIN};
use crate::types::list::{List, Side};
use crate::types::packed::{self, Item};

/// The size of a node by Redis's defaults.
const ONE_NODE_BYTES: u64 = 8192;

/// From this on an element is a node of its own (`packed_threshold` in Redis).
const LARGE_ELEMENT_BYTES: usize = 1 << 30;

/// A node that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub kind: u64,
    /// The index of the first element of the next node.
    pub next: u64,
}

/// How many nodes are written for a list.
pub fn nodes(list: &List) -> u64 {
    if is_one_node(list) { 1 } else { list.nodes() }
}

fn is_one_node(list: &List) -> bool {
    list.listpack_bytes() <= ONE_NODE_BYTES && !list.is_empty()
}

/// Appends the bytes of the node that begins with an element; `None` behind the last.
pub fn write_node(list: &List, element: u64, out: &mut Vec<u8>) -> Option<Written> {
    if is_one_node(list) {
        return (element == 0).then(|| {
            let mut listpack = ListpackWriter::new(out);
            list.range(Side::Front, 0, u64::MAX, |item| listpack.push(item));
            listpack.finish();
            Written { kind: PACKED, next: list.len() }
        });
    }
    let mut written = None;
    let _ = list.runs(Side::Front, element, |run, first| {
        debug_assert_eq!(first, element);
        let (kind, count) = write_run(run, out);
        written = Some(Written { kind, next: first + count });
        ControlFlow::Break(())
    });
    written
}

/// Appends a packed run as a node, that of a compact list for example. Returns its kind and number of elements.
pub fn write_run(run: &[u8], out: &mut Vec<u8>) -> (u64, u64) {
    if let Some((Item::Str(text), _)) = packed::first(run)
        && text.len() >= LARGE_ELEMENT_BYTES
    {
        out.extend_from_slice(text);
        return (PLAIN, 1);
    }
    let mut listpack = ListpackWriter::new(out);
    let mut count = 0;
    packed::items(run).for_each(|item| {
        listpack.push(item);
        count += 1;
    });
    listpack.finish();
    (PACKED, count)
}
