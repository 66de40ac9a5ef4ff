//! Floating point numbers as text, in the form of Redis 7.2: as few digits as tell the value apart, and an exponent where that is shorter.
//!
//! Source of the form: Redis 7.2, `d2string` in `util.c` and what it calls in `fpconv_dtoa.c`.

use std::fmt::{self, Write};
use std::ops::Deref;

use crate::types::numbers::whole;

/// The longest is a sign, `0.`, six zeros and 17 digits.
const MAX_BYTES: usize = 32;

/// A number as text, without an allocation.
#[derive(Clone, Copy)]
pub struct DoubleText {
    bytes: [u8; MAX_BYTES],
    len: u8,
}

impl DoubleText {
    /// The text of `value`; `inf`, `-inf` and `nan` in Redis's spelling. A whole number is written in full up to 2^62, or if not
    /// more than seven zeros follow its digits.
    pub fn of(value: f64) -> Self {
        let mut text = Self { bytes: [0; MAX_BYTES], len: 0 };
        text.format(value).unwrap_or_else(|_| panic!("{value:e} needs more than {MAX_BYTES} bytes"));
        text
    }

    fn format(&mut self, value: f64) -> fmt::Result {
        if value.is_nan() {
            return self.write_str("nan");
        }
        if value == 0.0 || value.is_infinite() {
            return write!(self, "{value}");
        }
        if let Some(whole) = whole(value) {
            return write!(self, "{whole}");
        }
        let mut scientific = Self { bytes: [0; MAX_BYTES], len: 0 };
        write!(scientific, "{:e}", value.abs())?;
        let (mantissa, exponent) = scientific.split_once('e').ok_or(fmt::Error)?;
        let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
        let (first, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = 1 + rest.len() as i32;
        // The exponent of the last digit.
        let last = exponent + 1 - digits;
        if value < 0.0 {
            self.write_char('-')?;
        }
        let zeros = |count: i32| "0000000".get(..count as usize).ok_or(fmt::Error);
        if last >= 0 && exponent < digits + 7 {
            write!(self, "{first}{rest}{}", zeros(last)?)
        } else if last < 0 && (last > -7 || exponent.abs() < 4) {
            match usize::try_from(exponent) {
                Ok(whole) => write!(self, "{first}{}.{}", &rest[..whole], &rest[whole..]),
                Err(_) => write!(self, "0.{}{first}{rest}", zeros(-exponent - 1)?),
            }
        } else {
            let point = if rest.is_empty() { "" } else { "." };
            write!(self, "{first}{point}{rest}e{exponent:+}")
        }
    }
}

impl Write for DoubleText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let len = self.len as usize;
        self.bytes.get_mut(len..len + text.len()).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len += text.len() as u8;
        Ok(())
    }
}

impl Deref for DoubleText {
    type Target = str;

    fn deref(&self) -> &str {
        // Made of whole `str`s; never fails.
        std::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_that_of_redis() {
        let forms = [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e17, "100000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (9223372036854775808.0, "9223372036854776000"),
            (1e19, "1e+19"),
            (1e20, "1e+20"),
            (1.5e20, "1.5e+20"),
            (1e300, "1e+300"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (-1.25e-300, "-1.25e-300"),
            (2.7182818284590455, "2.7182818284590455"),
            (1234.567890123, "1234.567890123"),
            (12345.67, "12345.67"),
            (12345.678901234, "1.2345678901234e+4"),
            (0.00012345678, "1.2345678e-4"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (value, text) in forms {
            assert_eq!(&*DoubleText::of(value), text);
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let read: f64 = DoubleText::of(value).parse().expect("a number");
            prop_assert!(read.to_bits() == value.to_bits() || value.is_nan() && read.is_nan());
        }

        #[test]
        fn every_fraction_reads_back(digits in -(1i64 << 53)..1 << 53, scale in 0..24) {
            let value = digits as f64 / 10f64.powi(scale);
            prop_assert_eq!(DoubleText::of(value).parse::<f64>(), Ok(value));
        }
    }
}
