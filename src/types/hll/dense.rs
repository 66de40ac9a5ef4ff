//! The dense form: 16384 registers of 6 bits, the first in the lowest bits of the first byte; four registers fill three bytes.

use super::estimate::Histogram;
use super::{HEADER_BYTES, Hit, REGISTER_VALUES, REGISTERS, Registers};

const BITS: usize = 6;
const MASK: u32 = (1 << BITS) - 1;
const REGISTERS_BYTES: usize = REGISTERS * BITS / 8;
/// Length of a dense value.
pub const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS_BYTES;

/// The four registers in three bytes.
#[inline]
fn unpack([a, b, c]: [u8; 3]) -> [u8; 4] {
    let word = u32::from_le_bytes([a, b, c, 0]);
    [0, 1, 2, 3].map(|at| (word >> (at * BITS) & MASK) as u8)
}

#[inline]
fn quad_mut(registers: &mut [u8], index: usize) -> &mut [u8; 3] {
    &mut registers.as_chunks_mut::<3>().0[index / 4]
}

/// A register's value.
pub fn get(registers: &[u8], index: usize) -> u8 {
    unpack(registers.as_chunks::<3>().0[index / 4])[index % 4]
}

/// Raises a register; tells whether it was lower.
pub fn raise(registers: &mut [u8], hit: Hit) -> bool {
    if get(registers, hit.index) >= hit.pattern {
        return false;
    }
    let quad = quad_mut(registers, hit.index);
    let shift = hit.index % 4 * BITS;
    let word = u32::from_le_bytes([quad[0], quad[1], quad[2], 0]) & !(MASK << shift) | u32::from(hit.pattern) << shift;
    quad.copy_from_slice(&word.to_le_bytes()[..3]);
    true
}

/// Writes all registers.
pub fn pack(from: &Registers, registers: &mut [u8]) {
    let quads = registers.as_chunks_mut::<3>().0;
    for (quad, values) in quads.iter_mut().zip(from.as_chunks::<4>().0) {
        let word = values.iter().rev().fold(0, |word, value| word << BITS | u32::from(*value));
        quad.copy_from_slice(&word.to_le_bytes()[..3]);
    }
}

/// Raises each of `into` to what it is here.
pub fn merge(registers: &[u8], into: &mut Registers) {
    for (values, quad) in into.as_chunks_mut::<4>().0.iter_mut().zip(registers.as_chunks::<3>().0) {
        for (value, here) in values.iter_mut().zip(unpack(*quad)) {
            *value = here.max(*value);
        }
    }
}

/// How many registers hold each value.
pub fn histogram(registers: &[u8]) -> Histogram {
    // Neighbours are often equal: four counts that do not wait for each other.
    let mut counts = [[0u32; REGISTER_VALUES]; 4];
    for quad in registers.as_chunks::<3>().0 {
        for (count, value) in counts.iter_mut().zip(unpack(*quad)) {
            count[usize::from(value)] += 1;
        }
    }
    std::array::from_fn(|value| counts.iter().map(|count| count[value]).sum())
}
