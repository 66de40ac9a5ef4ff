//! Room to work in: one a thread, lent out for a moment, so that reads and changes allocate nothing that lasts.
//!
//! Who borrows it while it is already lent out (an element read from one list and pushed to another) gets a new one. Knows nothing of
//! lists.

use std::cell::Cell;

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// A buffer that an exceptionally large element has grown beyond this is given back.
const MAX_KEPT_BYTES: usize = 64 << 10;

#[derive(Default)]
pub struct Scratch {
    /// Where compressed runs are unpacked.
    pub raw: Vec<u8>,
    /// Where changed runs are built.
    pub built: Vec<u8>,
    /// An encoded element that is looked for.
    pub needle: Vec<u8>,
    /// Where elements begin.
    pub starts: Vec<u16>,
    pub lz4: Lz4,
}

/// The compressor's own memory.
#[derive(Default)]
pub struct Lz4 {
    table: Option<CompressTable>,
    out: Vec<u8>,
}

impl Lz4 {
    /// `run` compressed, if that saves an eighth.
    pub fn compress(&mut self, run: &[u8]) -> Option<&[u8]> {
        let room = get_maximum_output_size(run.len());
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        let table = self.table.get_or_insert_with(CompressTable::small);
        let len = compress_into_with_table(run, &mut self.out, table).ok()?;
        (len < run.len() - run.len() / 8).then(|| &self.out[..len])
    }
}

/// Unpacks what [`Lz4::compress`] packed, `raw_bytes` in all.
#[inline]
pub fn decompress<'a>(packed: &[u8], raw_bytes: usize, room: &'a mut Vec<u8>) -> &'a [u8] {
    if room.len() < raw_bytes {
        room.resize(raw_bytes, 0);
    }
    let len = decompress_into(packed, &mut room[..raw_bytes]).unwrap_or_else(|error| panic!("a damaged node: {error}"));
    assert_eq!(len, raw_bytes, "a damaged node");
    &room[..raw_bytes]
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Lends the thread's scratch room.
#[inline]
pub fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    let result = work(&mut scratch);
    for buffer in [&mut scratch.raw, &mut scratch.built, &mut scratch.needle] {
        if buffer.capacity() > MAX_KEPT_BYTES {
            *buffer = Vec::new();
        }
    }
    SCRATCH.set(Some(scratch));
    result
}
