//! Runs of elements that are kept compressed in memory: the middle of a long list, old blocks of a stream.
//!
//! What is compressed is this process's own and trusted. Knows nothing of what the runs are made of.

use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};

/// Larger runs stay as they are: reading a bit of one would take too long.
const MAX_COMPRESSED_BYTES: usize = 32 << 10;
/// Smaller ones as well: nothing to gain.
const MIN_COMPRESSED_BYTES: usize = if cfg!(test) { 16 } else { 128 };

/// Whether to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Compressed,
}

/// After an attempt that saved nothing at most so many runs are left as they are, before the next attempt.
const MAX_PATIENCE: u8 = 63;

/// Whether runs are worth an attempt to compress them: no longer each, once some were not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempts {
    patience: u8,
    left_out: u8,
}

impl Attempts {
    pub fn next(&mut self) -> Packing {
        if self.left_out < self.patience {
            self.left_out += 1;
            return Packing::Plain;
        }
        Packing::Compressed
    }

    pub fn learn(&mut self, became: Packing) {
        self.left_out = 0;
        self.patience = match became {
            Packing::Compressed => 0,
            Packing::Plain => (2 * self.patience + 1).min(MAX_PATIENCE),
        };
    }
}

/// The compressor's own memory.
#[derive(Default)]
pub struct Lz4 {
    table: Option<CompressTable>,
    out: Vec<u8>,
}

impl Lz4 {
    /// `run` compressed, if that saves an eighth and the run's size is worth it.
    pub fn compress(&mut self, run: &[u8]) -> Option<&[u8]> {
        if !(MIN_COMPRESSED_BYTES..=MAX_COMPRESSED_BYTES).contains(&run.len()) {
            return None;
        }
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
    let len = decompress_into(packed, &mut room[..raw_bytes]).unwrap_or_else(|error| panic!("a damaged run: {error}"));
    assert_eq!(len, raw_bytes, "a damaged run");
    &room[..raw_bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_is_tried_ever_more_rarely() {
        let mut attempts = Attempts::default();
        let mut tried = |became: Packing| {
            let tries = (0..1000).filter(|_| {
                let tried = attempts.next() == Packing::Compressed;
                if tried {
                    attempts.learn(became);
                }
                tried
            });
            tries.count()
        };
        assert_eq!(tried(Packing::Compressed), 1000);
        // After 1, 3, 7, 15 and 31 runs, then after every 63.
        assert_eq!(tried(Packing::Plain), 20);
        assert!(tried(Packing::Compressed) > 900);
    }

    #[test]
    fn runs_there_and_back() {
        let (mut lz4, mut room) = (Lz4::default(), Vec::new());
        let run = b"the same again and again ".repeat(20);
        let packed = lz4.compress(&run).expect("it shrinks").to_vec();
        assert!(packed.len() < run.len() / 4);
        assert_eq!(decompress(&packed, run.len(), &mut room), run);
        let noise: Vec<u8> = (0..200u8).collect();
        assert_eq!(lz4.compress(&noise), None);
        assert_eq!(lz4.compress(&run[..MIN_COMPRESSED_BYTES - 1]), None);
    }
}
