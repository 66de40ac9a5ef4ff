//! LZF, the compression of strings in RDB data.
//!
//! The format: a control byte below 32 starts a run of that many literal bytes and one; any other is a copy of earlier output,
//! its top three bits the length less 2 (7: the next byte is added to it), its low five bits and one more byte the distance less 1.
//!
//! Invariants
//! - decompression writes exactly the announced number of bytes or fails; a copy never reaches in front of the output
//! - compression finds the same copies as the liblzf that Redis builds (64 Ki slots, the "very fast" setting), so payloads are equal byte
//!   for byte: hence the odd hash, the position 0 that is never copied from, and the copies that stop short of a near end

/// The longest run of literals, and of a copy; the farthest copy.
const MAX_LITERALS: usize = 1 << 5;
const MAX_COPY: usize = (1 << 8) + (1 << 3);
const MAX_DISTANCE: usize = 1 << 13;

const SLOT_BITS: u32 = 16;
const SLOTS: usize = 1 << SLOT_BITS;

/// The most output bytes that one input byte can stand for: three bytes copy [`MAX_COPY`].
pub const MAX_EXPANSION: u64 = MAX_COPY as u64 / 3;

/// Compresses with a table of recent positions that is kept from one call to the next.
pub struct Compressor {
    /// For each hash, where bytes with that hash were last seen: their position plus `base`. What is not above `base` is from
    /// an earlier input, or is position 0.
    slots: Box<[u32; SLOTS]>,
    base: u32,
    /// The last output.
    out: Vec<u8>,
}

/// Room for output beyond this is not kept from one call to the next.
const KEEP_BYTES: usize = 64 * 1024;

impl Default for Compressor {
    fn default() -> Compressor {
        let slots = vec![0; SLOTS].into_boxed_slice().try_into().unwrap_or_else(|_| unreachable!());
        Compressor { slots, base: 0, out: Vec::new() }
    }
}

impl Compressor {
    /// `input` compressed to `max_len` bytes or less; `None` if that cannot be done.
    pub fn compress(&mut self, input: &[u8], max_len: usize) -> Option<&[u8]> {
        if input.is_empty() || max_len == 0 {
            return None;
        }
        self.make_room(input.len())?;
        let base = self.base;
        self.base += input.len() as u32;
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
        let out = Output::new(&mut self.out, max_len);
        let fits = Encoder { slots: &mut self.slots, base, input, at: 0, out }.run();
        fits.then_some(&self.out[..])
    }

    /// Makes `base + len` representable, forgetting all positions when they have used up the range.
    fn make_room(&mut self, len: usize) -> Option<()> {
        let len = u32::try_from(len).ok()?;
        if self.base.checked_add(len).is_none() {
            self.slots.fill(0);
            self.base = 0;
        }
        Some(())
    }
}

/// The compressed bytes, the last of which are a run of literals still being written behind its control byte.
struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    max_len: usize,
    literals: usize,
}

impl Output<'_> {
    fn new(bytes: &mut Vec<u8>, max_len: usize) -> Output<'_> {
        bytes.clear();
        bytes.reserve(max_len.min(KEEP_BYTES));
        bytes.push(0);
        Output { bytes, max_len, literals: 0 }
    }

    fn push_literal(&mut self, byte: u8) {
        self.bytes.push(byte);
        self.literals += 1;
        if self.literals == MAX_LITERALS {
            self.end_run();
            self.start_run();
        }
    }

    fn start_run(&mut self) {
        self.bytes.push(0);
        self.literals = 0;
    }

    /// Writes the run's control byte, or takes it back if the run is empty.
    fn end_run(&mut self) {
        if self.literals == 0 {
            self.bytes.pop();
        } else {
            let control = self.bytes.len() - self.literals - 1;
            self.bytes[control] = (self.literals - 1) as u8;
        }
    }

    fn push_copy(&mut self, distance: usize, len: usize) {
        self.end_run();
        let (distance, len) = (distance - 1, len - 2);
        if len < 7 {
            self.bytes.push((distance >> 8) as u8 | (len as u8) << 5);
        } else {
            self.bytes.extend([(distance >> 8) as u8 | 7 << 5, (len - 7) as u8]);
        }
        self.bytes.push(distance as u8);
        self.start_run();
    }

    fn has_room_for_copy(&self) -> bool {
        self.bytes.len() - usize::from(self.literals == 0) + 4 < self.max_len
    }

    fn has_room_for_literal(&self) -> bool {
        self.bytes.len() < self.max_len
    }

    /// Room for the literals at the end, of which there are at most three.
    fn has_room_for_end(&self) -> bool {
        self.bytes.len() + 3 <= self.max_len
    }
}

struct Encoder<'a> {
    slots: &'a mut [u32; SLOTS],
    base: u32,
    input: &'a [u8],
    at: usize,
    out: Output<'a>,
}

impl Encoder<'_> {
    /// Whether the output fits.
    fn run(mut self) -> bool {
        let last_start = self.input.len().saturating_sub(2);
        while self.at < last_start {
            match self.find_and_remember() {
                Some(earlier) => {
                    if !self.out.has_room_for_copy() {
                        return false;
                    }
                    self.copy_from(earlier);
                }
                None => {
                    if !self.out.has_room_for_literal() {
                        return false;
                    }
                    self.out.push_literal(self.input[self.at]);
                    self.at += 1;
                }
            }
        }
        if !self.out.has_room_for_end() {
            return false;
        }
        self.input[self.at..].iter().for_each(|&byte| self.out.push_literal(byte));
        self.out.end_run();
        true
    }

    /// The earlier position in reach that has the same three bytes as the current one, which takes its slot.
    fn find_and_remember(&mut self) -> Option<usize> {
        let before = std::mem::replace(&mut self.slots[self.slot_of(self.at)], self.base + self.at as u32);
        let earlier = before.checked_sub(self.base).filter(|&position| position > 0)? as usize;
        let in_reach = self.at - earlier <= MAX_DISTANCE;
        (in_reach && self.input[earlier..earlier + 3] == self.input[self.at..self.at + 3]).then_some(earlier)
    }

    fn copy_from(&mut self, earlier: usize) {
        let len = self.copy_len(earlier);
        self.out.push_copy(self.at - earlier, len);
        self.at += len;
        // Of the positions passed over, only the last two are remembered.
        if self.at < self.input.len() - 2 {
            for position in [self.at - 2, self.at - 1] {
                self.slots[self.slot_of(position)] = self.base + position as u32;
            }
        }
    }

    /// How many bytes are equal from `earlier` and from the current position on, up to the limit that liblzf's loops amount to: two
    /// short of the input's end, unless one of the lengths tried without looking at the end is longer.
    fn copy_len(&self, earlier: usize) -> usize {
        let rest = &self.input[self.at..];
        let bound = (rest.len() - 2).min(MAX_COPY);
        let limit = bound.max(if bound > 16 { 19 } else { 3 });
        let equal = rest.iter().zip(&self.input[earlier..]).take(limit).take_while(|(a, b)| a == b);
        equal.count()
    }

    fn slot_of(&self, position: usize) -> usize {
        let bytes = &self.input[position..position + 3];
        let value = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
        (value >> (24 - SLOT_BITS)).wrapping_sub(value.wrapping_mul(5)) as usize & (SLOTS - 1)
    }
}

/// The `len` bytes that `input` stands for; `None` if it stands for fewer, for more, or for nothing.
pub fn decompress(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len as u64 > input.len() as u64 * MAX_EXPANSION {
        return None;
    }
    let mut out = Vec::with_capacity(len);
    while let Some((&control, rest)) = input.split_first() {
        input = rest;
        let control = usize::from(control);
        if control < MAX_LITERALS {
            let (literals, rest) = input.split_at_checked(control + 1)?;
            input = rest;
            if literals.len() > len - out.len() {
                return None;
            }
            out.extend_from_slice(literals);
        } else {
            let mut next = || {
                let (&byte, rest) = input.split_first()?;
                input = rest;
                Some(usize::from(byte))
            };
            let mut count = (control >> 5) + 2;
            if count == 9 {
                count += next()?;
            }
            let distance = ((control & 0x1f) << 8) + next()? + 1;
            if count > len - out.len() {
                return None;
            }
            append_copy(&mut out, distance, count)?;
        }
    }
    (out.len() == len).then_some(out)
}

/// Appends `count` bytes that begin `distance` bytes before the end, and may overlap it.
fn append_copy(out: &mut Vec<u8>, distance: usize, count: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    let mut left = count;
    while left > 0 {
        // Each pass doubles what there is to repeat.
        let piece = left.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        left -= piece;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(input: &[u8]) -> Option<usize> {
        let mut compressor = Compressor::default();
        let compressed = compressor.compress(input, input.len().saturating_sub(4))?;
        assert!(compressed.len() <= input.len() - 4);
        assert_eq!(decompress(compressed, input.len()).as_deref(), Some(input));
        Some(compressed.len())
    }

    #[test]
    fn repetition_is_compressed_and_noise_is_not() {
        assert!(round_trip(&[b'a'; 100_000]).is_some_and(|len| len < 100_000 / 80));
        assert!(round_trip(&b"the quick brown fox ".repeat(50)).is_some());
        let mut state = 1u64;
        let noise: Vec<u8> = (0..3000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        assert_eq!(round_trip(&noise), None);
        for len in 0..20 {
            round_trip(&vec![b'x'; len]);
        }
    }

    #[test]
    fn an_earlier_input_leaves_no_trace() {
        let mut reused = Compressor::default();
        for seed in 0..200u32 {
            let input: Vec<u8> = (0..500u32).map(|i| (i * (seed % 7 + 1) % 23) as u8).collect();
            assert_eq!(reused.compress(&input, 490), Compressor::default().compress(&input, 490));
        }
        reused.base = u32::MAX - 100;
        let input = b"0123456789".repeat(20);
        assert_eq!(reused.compress(&input, 190), Compressor::default().compress(&input, 190));
        assert!(reused.base < 1000);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        for (input, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x00a", 2),
            (b"\x01ab", 1),
            (b"", 0),
            (b"", 1),
            (b"\x00a\x20\x01", 4),
            (b"\x00a\x20", 4),
            (b"\x00a\xe0\x01", 11),
            (b"\x00a\x20\x00", 3),
            (b"\x00a\x20\x00", 5),
            (b"\x00a", usize::MAX),
        ] {
            assert_eq!(decompress(input, len).filter(|out| !out.is_empty()), None, "{input:?}");
        }
        assert_eq!(decompress(b"\x00a\x20\x00", 4).unwrap(), b"aaaa");
        assert_eq!(decompress(b"\x01ab\xe0\x03\x01", 14).unwrap(), b"ababababababab");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(runs in prop::collection::vec((any::<u8>(), 1..40usize, 1..4u8), 0..60)) {
            let bytes: Vec<u8> =
                runs.iter().flat_map(|&(byte, len, step)| (0..len).map(move |i| byte.wrapping_add(i as u8 / step))).collect();
            round_trip(&bytes);
        }

        #[test]
        fn garbage_is_refused_or_bounded(input in prop::collection::vec(any::<u8>(), 0..60), len in 0..3000usize) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
                prop_assert!(len as u64 <= input.len() as u64 * MAX_EXPANSION);
            }
        }
    }
}
