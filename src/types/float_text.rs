//! Text to binary floating point of any width, as C's `strtod` and `strtold` read it.
//!
//! Invariant: a number is rounded once, to the nearest the format has, ties to even.

use num_bigint::BigUint;

/// A floating point number as it is written, its grammar checked.
pub enum FloatText<'a> {
    Infinity { negative: bool },
    Decimal(Decimal<'a>),
    Hex(Hex),
}

/// `<whole>.<fraction> * 10^exponent`, digits only.
pub struct Decimal<'a> {
    pub negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// `mantissa * 2^exponent`, and a little more if `sticky`.
pub struct Hex {
    pub negative: bool,
    mantissa: u128,
    exponent: i64,
    sticky: bool,
}

/// A binary format: values are `mantissa * 2^exponent`. The exponents are those of the mantissa's last bit.
#[derive(Clone, Copy)]
pub struct Format {
    pub mantissa_bits: u32,
    pub min_exponent: i32,
    pub max_exponent: i32,
}

/// The magnitude of a number in a [`Format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounded {
    Zero,
    /// The mantissa's highest bit is set, unless the exponent is the format's lowest.
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
}

/// Reads the whole of `text`; `None` for anything but a number, NaN included.
pub fn scan(text: &[u8]) -> Option<FloatText<'_>> {
    let (negative, unsigned) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Some(FloatText::Infinity { negative });
    }
    if let [b'0', b'x' | b'X', digits @ ..] = unsigned {
        return scan_hex(negative, digits).map(FloatText::Hex);
    }
    scan_decimal(negative, unsigned).map(FloatText::Decimal)
}

fn scan_decimal(negative: bool, text: &[u8]) -> Option<Decimal<'_>> {
    let (whole, fraction, rest) = split_digits(text, u8::is_ascii_digit)?;
    let exponent = scan_exponent(rest, b'e')?;
    Some(Decimal { negative, whole, fraction, exponent })
}

fn scan_hex(negative: bool, text: &[u8]) -> Option<Hex> {
    let (whole, fraction, rest) = split_digits(text, u8::is_ascii_hexdigit)?;
    let mut hex = Hex { negative, mantissa: 0, exponent: scan_exponent(rest, b'p')?, sticky: false };
    whole.iter().for_each(|&digit| hex.push(digit, 0));
    fraction.iter().for_each(|&digit| hex.push(digit, -4));
    Some(hex)
}

/// The digits before and behind the point, at least one in all, and what follows them.
fn split_digits(text: &[u8], is_digit: fn(&u8) -> bool) -> Option<(&[u8], &[u8], &[u8])> {
    let count = |text: &[u8]| text.iter().take_while(|byte| is_digit(byte)).count();
    let (whole, rest) = text.split_at(count(text));
    let (fraction, rest) = match rest.split_first() {
        Some((b'.', behind)) => behind.split_at(count(behind)),
        _ => rest.split_at(0),
    };
    (!whole.is_empty() || !fraction.is_empty()).then_some((whole, fraction, rest))
}

/// `<marker>[sign]<digits>` or nothing; an absurdly large exponent stays absurdly large.
fn scan_exponent(text: &[u8], marker: u8) -> Option<i64> {
    /// Far beyond what any text's digits could make up for, far from where sums overflow.
    const ABSURD: i64 = 1 << 60;
    let Some((&first, rest)) = text.split_first() else { return Some(0) };
    if first.to_ascii_lowercase() != marker {
        return None;
    }
    let (negative, digits) = match rest.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        _ => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude =
        digits.iter().fold(0i64, |value, digit| value.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    let magnitude = magnitude.min(ABSURD);
    Some(if negative { -magnitude } else { magnitude })
}

impl Decimal<'_> {
    pub fn is_zero(&self) -> bool {
        self.whole.iter().chain(self.fraction).all(|&digit| digit == b'0')
    }

    pub fn round(&self, format: Format) -> Rounded {
        let mut digits: Vec<u8> =
            self.whole.iter().chain(self.fraction).copied().skip_while(|&digit| digit == b'0').collect();
        let mut exponent = self.exponent - self.fraction.len() as i64;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent += 1;
        }
        if digits.is_empty() {
            return Rounded::Zero;
        }
        // The value is in [10^(magnitude-1), 10^magnitude); as 2^3 < 10, a third of a binary exponent bounds a decimal one.
        // What lies outside needs no arithmetic, which an exponent of a billion would make endless.
        let magnitude = digits.len() as i64 + exponent;
        if magnitude - 1 > i64::from(format.max_exponent + format.mantissa_bits as i32) / 3 {
            return Rounded::Infinite;
        }
        if magnitude < i64::from(format.min_exponent) / 3 - 1 {
            return Rounded::Zero;
        }
        let digits = digits.iter().map(|digit| digit - b'0').collect::<Vec<_>>();
        let Some(digits) = BigUint::from_radix_be(&digits, 10) else { return Rounded::Zero };
        let power = BigUint::from(10u32).pow(exponent.unsigned_abs() as u32);
        if exponent >= 0 {
            round_quotient(digits * power, BigUint::from(1u32), format)
        } else {
            round_quotient(digits, power, format)
        }
    }
}

/// `numerator / denominator`, neither of them zero.
fn round_quotient(mut numerator: BigUint, mut denominator: BigUint, format: Format) -> Rounded {
    /// More than any format's mantissa and a guard bit, and with the one bit it may turn out longer still a `u128`.
    const QUOTIENT_BITS: i64 = 100;
    let shift = QUOTIENT_BITS + denominator.bits() as i64 - numerator.bits() as i64;
    if shift >= 0 {
        numerator <<= shift;
    } else {
        denominator <<= -shift;
    }
    let quotient = &numerator / &denominator;
    let sticky = &quotient * &denominator != numerator;
    // A quotient of numbers that differ by a hundred bits has at most 101.
    let quotient = u128::try_from(&quotient).unwrap_or(u128::MAX);
    round(quotient, -shift, sticky, format)
}

impl Hex {
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    pub fn round(&self, format: Format) -> Rounded {
        round(self.mantissa, self.exponent, self.sticky, format)
    }

    /// Appends a digit; `place` is what the exponent changes by when the digit is kept.
    fn push(&mut self, digit: u8, place: i64) {
        let value = char::from(digit).to_digit(16).unwrap_or(0);
        if self.mantissa >> 120 == 0 {
            self.mantissa = self.mantissa << 4 | u128::from(value);
            self.exponent += place;
        } else {
            self.sticky |= value != 0;
            self.exponent += place + 4;
        }
    }
}

/// `value * 2^exponent` in `format`; `sticky` says that the number is larger than that, by less than `2^exponent`, and may
/// only be set when `value` has more bits than the mantissa.
pub fn round(value: u128, exponent: i64, sticky: bool, format: Format) -> Rounded {
    if value == 0 {
        return Rounded::Zero;
    }
    let bits = i64::from(u128::BITS - value.leading_zeros());
    let (mantissa_bits, min_exponent) = (i64::from(format.mantissa_bits), i64::from(format.min_exponent));
    debug_assert!(!sticky || bits > mantissa_bits + 1);
    let end = exponent + bits;
    if end > i64::from(format.max_exponent) + mantissa_bits {
        return Rounded::Infinite;
    }
    if end < min_exponent {
        return Rounded::Zero;
    }
    let excess = (bits - mantissa_bits).max(min_exponent - exponent);
    let mut mantissa = if excess <= 0 { value << -excess } else { drop_low_bits(value, excess as u32, sticky) };
    let mut exponent = exponent + excess;
    if mantissa >> mantissa_bits != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    if mantissa == 0 {
        return Rounded::Zero;
    }
    if exponent > i64::from(format.max_exponent) {
        return Rounded::Infinite;
    }
    Rounded::Finite { mantissa: mantissa as u64, exponent: exponent as i32 }
}

/// `value / 2^count` to the nearest, ties to even; `count` is 1 to 128.
fn drop_low_bits(value: u128, count: u32, sticky: bool) -> u128 {
    let kept = value.checked_shr(count).unwrap_or(0);
    let half = 1u128 << (count - 1);
    let dropped = value & (half | (half - 1));
    let up = dropped > half || dropped == half && (sticky || kept & 1 == 1);
    kept + u128::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Format = Format { mantissa_bits: 3, min_exponent: -4, max_exponent: 4 };

    fn finite(mantissa: u64, exponent: i32) -> Rounded {
        Rounded::Finite { mantissa, exponent }
    }

    #[test]
    fn rounds_to_nearest_even() {
        for (value, exponent, sticky, expected) in [
            (5, 0, false, finite(5, 0)),
            (1, 0, false, finite(4, -2)),
            (0b1001, 0, false, finite(4, 1)),
            (0b1011, 0, false, finite(6, 1)),
            (0b10010, 0, true, finite(5, 2)),
            (0b10010, 0, false, finite(4, 2)),
            (0b1111, 0, false, finite(4, 2)),
            (0b1111, 3, false, Rounded::Infinite),
            (7, 4, false, finite(7, 4)),
            (1, 7, false, Rounded::Infinite),
            (1, -4, false, finite(1, -4)),
            (1, -5, false, Rounded::Zero),
            (3, -6, false, finite(1, -4)),
            (3, -7, false, Rounded::Zero),
            (0, 0, false, Rounded::Zero),
            (u128::MAX, -128, false, finite(4, -2)),
            (u128::MAX, -132, false, finite(1, -4)),
            (u128::MAX, i64::MIN / 4, false, Rounded::Zero),
        ] {
            assert_eq!(round(value, exponent, sticky, TINY), expected, "{value} * 2^{exponent}");
        }
    }

    #[test]
    fn decimals_round_once() {
        for (text, expected) in [
            ("0.0625", finite(1, -4)),
            ("0.03125", Rounded::Zero),
            ("0.031250000000000000000000000000000000000000000000000000001", finite(1, -4)),
            ("112", finite(7, 4)),
            ("119.99", finite(7, 4)),
            ("120", Rounded::Infinite),
            ("00000000000000000.000e1", Rounded::Zero),
            ("1e999999999999999999999", Rounded::Infinite),
            ("1e-999999999999999999999", Rounded::Zero),
        ] {
            let Some(FloatText::Decimal(decimal)) = scan(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(decimal.round(TINY), expected, "{text}");
        }
    }
}
