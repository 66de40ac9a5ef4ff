//! Numbered cells that never move: segments and directories live here, and refer to each other by number.
//!
//! Invariants
//! - a cell's number is its chunk times [`CHUNK_CELLS`] plus its place; it stays the same until the cell is removed
//! - growing moves at most one chunk's first cells (while the chunk fills for the first time) and the list of chunks, so no
//!   insertion stalls; a chunk without cells has no memory
//! - a chunk with a free cell is in `open` exactly once, unless it was cut off the end

/// Cells of a chunk.
pub const CHUNK_CELLS: usize = 256;
const WORDS: usize = CHUNK_CELLS / u64::BITS as usize;

#[derive(Debug)]
struct Chunk<T> {
    cells: Vec<T>,
    /// A bit for each cell in use. A cell not in use holds `T::default()`.
    used: [u64; WORDS],
}

impl<T> Chunk<T> {
    const NEW: Self = Self { cells: Vec::new(), used: [0; WORDS] };

    fn first_free(&self) -> Option<usize> {
        let word = self.used.iter().position(|word| *word != u64::MAX)?;
        Some(word * u64::BITS as usize + self.used[word].trailing_ones() as usize)
    }

    fn is_empty(&self) -> bool {
        self.used.iter().all(|word| *word == 0)
    }
}

#[derive(Debug)]
pub struct Arena<T> {
    chunks: Vec<Chunk<T>>,
    open: Vec<u32>,
    len: usize,
}

impl<T: Default> Arena<T> {
    pub const fn new() -> Self {
        Self { chunks: Vec::new(), open: Vec::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn get(&self, number: u32) -> &T {
        let number = number as usize;
        &self.chunks[number / CHUNK_CELLS].cells[number % CHUNK_CELLS]
    }

    #[inline]
    pub fn get_mut(&mut self, number: u32) -> &mut T {
        let number = number as usize;
        &mut self.chunks[number / CHUNK_CELLS].cells[number % CHUNK_CELLS]
    }

    /// Two different cells.
    pub fn pair_mut(&mut self, a: u32, b: u32) -> (&mut T, &mut T) {
        let place = |number: u32| (number as usize / CHUNK_CELLS, number as usize % CHUNK_CELLS);
        let ((chunk_a, cell_a), (chunk_b, cell_b)) = (place(a), place(b));
        let disjoint = "two different cells";
        if chunk_a == chunk_b {
            let [a, b] = self.chunks[chunk_a].cells.get_disjoint_mut([cell_a, cell_b]).expect(disjoint);
            (a, b)
        } else {
            let [a, b] = self.chunks.get_disjoint_mut([chunk_a, chunk_b]).expect(disjoint);
            (&mut a.cells[cell_a], &mut b.cells[cell_b])
        }
    }

    pub fn insert(&mut self, cell: T) -> u32 {
        let chunk_number = self.open_chunk();
        let chunk = &mut self.chunks[chunk_number];
        let Some(place) = chunk.first_free() else { unreachable!("an open chunk has a free cell") };
        if place < chunk.cells.len() {
            chunk.cells[place] = cell;
        } else {
            chunk.cells.push(cell);
        }
        chunk.used[place / 64] |= 1 << (place % 64);
        if chunk.first_free().is_none() {
            self.open.pop();
        }
        self.len += 1;
        (chunk_number * CHUNK_CELLS + place) as u32
    }

    /// A chunk with a free cell, which is then the last in `open`.
    fn open_chunk(&mut self) -> usize {
        while let Some(&last) = self.open.last() {
            if (last as usize) < self.chunks.len() {
                return last as usize;
            }
            self.open.pop();
        }
        self.chunks.push(Chunk::NEW);
        self.open.push((self.chunks.len() - 1) as u32);
        self.chunks.len() - 1
    }

    pub fn remove(&mut self, number: u32) -> T {
        let (chunk_number, place) = (number as usize / CHUNK_CELLS, number as usize % CHUNK_CELLS);
        let chunk = &mut self.chunks[chunk_number];
        debug_assert!(chunk.used[place / 64] & 1 << (place % 64) != 0);
        if chunk.first_free().is_none() {
            self.open.push(chunk_number as u32);
        }
        chunk.used[place / 64] &= !(1 << (place % 64));
        let cell = std::mem::take(&mut chunk.cells[place]);
        self.len -= 1;
        if chunk.is_empty() {
            chunk.cells = Vec::new();
            self.drop_empty_tail();
        }
        cell
    }

    /// Keeps the share of empty chunks low, on which `pick` depends. A chunk that is cut off stays in `open` until it is met there;
    /// a new chunk under its number is pushed only when no open chunk is left, so it cannot be there twice.
    fn drop_empty_tail(&mut self) {
        while self.chunks.last().is_some_and(Chunk::is_empty) {
            self.chunks.pop();
        }
    }

    /// A used cell for a random number: mostly every cell has the same chance. `None` when the number hits an empty chunk.
    pub fn pick(&self, random: u64) -> Option<u32> {
        let chunk_number = ((u128::from(random) * self.chunks.len() as u128) >> 64) as usize;
        let chunk = self.chunks.get(chunk_number)?;
        let start = random as usize % chunk.cells.len().max(1);
        let used = |place: &usize| chunk.used[place / 64] & 1 << (place % 64) != 0;
        let place = (start..chunk.cells.len()).chain(0..start).find(used)?;
        Some((chunk_number * CHUNK_CELLS + place) as u32)
    }

    /// The cells of a chunk; those not in use hold the default.
    pub fn cells(&self, chunk: usize) -> &[T] {
        self.chunks.get(chunk).map_or(&[], |chunk| &chunk.cells)
    }

    /// Takes any cell out, used or not; for taking the arena apart.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let last = self.chunks.last_mut()?;
            if let Some(cell) = last.cells.pop() {
                return Some(cell);
            }
            self.chunks.pop();
        }
    }

    /// Bytes of the arena itself.
    pub fn heap_bytes(&self) -> usize {
        let cells: usize = self.chunks.iter().map(|chunk| chunk.cells.capacity() * size_of::<T>()).sum();
        cells + self.chunks.capacity() * size_of::<Chunk<T>>() + self.open.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((any::<bool>(), any::<u32>()), 1..4000)) {
            let mut arena = Arena::<u32>::new();
            let mut model = HashMap::new();
            let mut numbers = Vec::new();
            // Phases of growth and of decline, so that chunks fill, empty and are cut off.
            for (step, (insert, value)) in steps.into_iter().enumerate() {
                let growing = step / 700 % 2 == 0;
                if numbers.is_empty() || (insert || value % 3 == 0) == growing {
                    let number = arena.insert(value);
                    prop_assert!(model.insert(number, value).is_none());
                    numbers.push(number);
                } else {
                    let number = numbers.swap_remove(value as usize % numbers.len());
                    prop_assert_eq!(Some(arena.remove(number)), model.remove(&number));
                }
                prop_assert_eq!(arena.len(), model.len());
                if let Some(picked) = arena.pick(u64::from(value) << 32 | 1) {
                    prop_assert!(model.contains_key(&picked));
                }
            }
            for (number, value) in model {
                prop_assert_eq!(*arena.get(number), value);
            }
        }
    }
}
