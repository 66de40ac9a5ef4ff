//! The intset; its form is described where it is read.

/// Appends the intset of some integers, of which there is at least one, in ascending order. They take 2, 4 or 8 bytes each, as the
/// largest needs; Redis's own may take more if a larger one was removed.
pub fn write_intset(integers: impl ExactSizeIterator<Item = i64> + Clone, out: &mut Vec<u8>) {
    let widest = integers.clone().map(|number| if number < 0 { !number } else { number }).max().unwrap_or(0);
    let bytes = match widest {
        0..=0x7fff => 2,
        0x8000..=0x7fff_ffff => 4,
        _ => 8,
    };
    let count = integers.len();
    let count = u32::try_from(count).unwrap_or_else(|_| panic!("an intset of {count} integers"));
    out.reserve(8 + bytes * count as usize);
    out.extend_from_slice(&(bytes as u32).to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    integers.for_each(|number| out.extend_from_slice(&number.to_le_bytes()[..bytes]));
}
