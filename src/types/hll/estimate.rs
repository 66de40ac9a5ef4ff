//! From how often each register value occurs to how many elements there are: Ertl's improved raw estimator, arXiv:1702.01284.
//!
//! The floating-point operations are Redis's, in its order: the results are equal to the last bit.

use super::{PATTERN_BITS, REGISTER_VALUES, REGISTERS};

/// How many registers hold each value.
pub type Histogram = [u32; REGISTER_VALUES];

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// What `llroundl` gives on x86 for a number without end: registers that no elements lead to can cause it.
const NO_ESTIMATE: u64 = 1 << 63;

/// The estimate. Values above the largest that an element leads to are passed over.
pub fn cardinality(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let full = f64::from(histogram[PATTERN_BITS as usize + 1]);
    let mut z = registers * tau((registers - full) / registers);
    for count in histogram[1..=PATTERN_BITS as usize].iter().rev() {
        z = (z + f64::from(*count)) * 0.5;
    }
    z += registers * sigma(f64::from(histogram[0]) / registers);
    let estimate = (ALPHA * registers * registers / z).round();
    if estimate < NO_ESTIMATE as f64 { estimate as u64 } else { NO_ESTIMATE }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}
