//! Blocks that nothing is added to any more: read now and then, so that most are kept compressed.

use std::mem::size_of;
use std::ops::Deref;
use std::sync::Arc;

use super::block::{Block, Outline};
use crate::types::lz4::{Lz4, decompress};

/// An `Arc`'s counters.
const COUNTER_BYTES: usize = 16;

/// A sealed block. Clones share it until one is changed.
#[derive(Clone)]
pub enum Sealed {
    Plain(Arc<Block>),
    Compressed(Arc<Compressed>),
}

/// A block whose run is compressed.
pub struct Compressed {
    outline: Outline,
    run_bytes: usize,
    data: Box<[u8]>,
}

/// A block to read from.
pub enum Opened<'a> {
    Stored(&'a Block),
    /// For the reader only.
    Unpacked(Block),
}

impl Deref for Opened<'_> {
    type Target = Block;

    #[inline]
    fn deref(&self) -> &Block {
        match self {
            Opened::Stored(block) => block,
            Opened::Unpacked(block) => block,
        }
    }
}

impl Sealed {
    #[inline]
    pub fn outline(&self) -> &Outline {
        match self {
            Sealed::Plain(block) => block.outline(),
            Sealed::Compressed(block) => &block.outline,
        }
    }

    #[inline]
    pub fn open(&self) -> Opened<'_> {
        match self {
            Sealed::Plain(block) => Opened::Stored(block),
            Sealed::Compressed(block) => Opened::Unpacked(block.unpack()),
        }
    }

    /// The block, uncompressed from now on.
    pub fn plain_mut(&mut self) -> &mut Arc<Block> {
        if let Sealed::Compressed(block) = self {
            *self = Sealed::Plain(Arc::new(block.unpack()));
        }
        match self {
            Sealed::Plain(block) => block,
            Sealed::Compressed(_) => unreachable!("it is plain now"),
        }
    }

    pub fn into_plain(self) -> Arc<Block> {
        match self {
            Sealed::Plain(block) => block,
            Sealed::Compressed(block) => Arc::new(block.unpack()),
        }
    }

    /// Compresses the block, if that saves memory; whether it is compressed now.
    pub fn compress(&mut self, lz4: &mut Lz4) -> bool {
        let Sealed::Plain(block) = self else { return true };
        let Some(data) = lz4.compress(block.run()) else { return false };
        let compressed = Compressed { outline: *block.outline(), run_bytes: block.run().len(), data: data.into() };
        *self = Sealed::Compressed(Arc::new(compressed));
        true
    }

    pub fn is_compressed(&self) -> bool {
        matches!(self, Sealed::Compressed(_))
    }

    /// Bytes that it takes beside this itself.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Sealed::Plain(block) => plain_bytes(block),
            Sealed::Compressed(block) => COUNTER_BYTES + size_of::<Compressed>() + block.data.len(),
        }
    }
}

impl Compressed {
    fn unpack(&self) -> Block {
        let mut run = Vec::new();
        decompress(&self.data, self.run_bytes, &mut run);
        Block::of_parts(self.outline, run)
    }
}

/// Bytes of a shared block.
#[inline]
pub fn plain_bytes(block: &Block) -> usize {
    COUNTER_BYTES + size_of::<Block>() + block.run_capacity()
}
