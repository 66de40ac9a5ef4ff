//! Marks: a byte of each element's hash, side by side, so that a look-up compares sixteen at a time and touches few elements.

/// Marks that are compared at a time.
pub const STEP: usize = 16;

/// A bit for each of the marks that is the wanted one.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn matches(marks: &[u8; STEP], wanted: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let word = |at: usize| marks[at..].first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    // SAFETY: SSE2 is part of x86-64.
    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(word(8), word(0)), _mm_set1_epi8(wanted as i8))) as u32 }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn matches(marks: &[u8; STEP], wanted: u8) -> u32 {
    marks.iter().enumerate().fold(0, |bits, (index, mark)| bits | u32::from(*mark == wanted) << index)
}
