//! The x87 80-bit `long double` in software: what INCRBYFLOAT and HINCRBYFLOAT calculate with on the machines Redis runs on.
//!
//! A double would not do: its 53 bits print as 10.59999999999999964 where Redis's 64 print as 10.6.
//!
//! Invariant: a finite value's mantissa has its highest bit set, or the exponent is the lowest, or the value is zero.

use std::ops::Add;

use num_bigint::BigUint;

use super::float_text::{self, FloatText, Format, Rounded};

const EXTENDED: Format = Format { mantissa_bits: 64, min_exponent: -16445, max_exponent: 16320 };

/// Redis reads no number of this many bytes or more (`MAX_LONG_DOUBLE_CHARS`).
const MAX_CHARS: usize = 5 * 1024;

/// Digits behind the point that are printed: as many as still look exact for what people type.
const FRACTION_DIGITS: usize = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    /// `mantissa * 2^exponent`.
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
    Nan,
}

const ZERO: Magnitude = Magnitude::Finite { mantissa: 0, exponent: EXTENDED.min_exponent };

impl From<Rounded> for Magnitude {
    fn from(rounded: Rounded) -> Magnitude {
        match rounded {
            Rounded::Zero => ZERO,
            Rounded::Finite { mantissa, exponent } => Magnitude::Finite { mantissa, exponent },
            Rounded::Infinite => Magnitude::Infinite,
        }
    }
}

impl LongDouble {
    /// The whole of `text` as C's `strtold` reads it, decimal, hexadecimal or `inf`. Refused, as by Redis ("value is not a valid
    /// float"), are blanks, NaN, what is out of range, and texts of 5 KiB or more.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= MAX_CHARS {
            return None;
        }
        let (negative, rounded, is_zero) = match float_text::scan(text)? {
            FloatText::Infinity { negative } => return Some(LongDouble { negative, magnitude: Magnitude::Infinite }),
            FloatText::Decimal(decimal) => (decimal.negative, decimal.round(EXTENDED), decimal.is_zero()),
            FloatText::Hex(hex) => (hex.negative, hex.round(EXTENDED), hex.is_zero()),
        };
        match rounded {
            Rounded::Infinite => None,
            Rounded::Zero if !is_zero => None,
            Rounded::Zero | Rounded::Finite { .. } => Some(LongDouble { negative, magnitude: rounded.into() }),
        }
    }

    /// False for the results that Redis refuses: "increment would produce NaN or Infinity".
    pub fn is_finite(self) -> bool {
        matches!(self.magnitude, Magnitude::Finite { .. })
    }

    /// The decimal form without an exponent, rounded to 17 digits behind the point and stripped of trailing zeros
    /// (`LD_STR_HUMAN`).
    pub fn to_text(self) -> String {
        let digits = match self.magnitude {
            Magnitude::Finite { mantissa, exponent } => fixed_point(mantissa, exponent),
            Magnitude::Infinite => "inf".into(),
            Magnitude::Nan => return "nan".into(),
        };
        if self.negative && digits != "0" { format!("-{digits}") } else { digits }
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> LongDouble {
        let rounded = float_text::round(value.unsigned_abs().into(), 0, false, EXTENDED);
        LongDouble { negative: value < 0, magnitude: rounded.into() }
    }
}

impl Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        use Magnitude::{Finite, Infinite, Nan};
        match (self.magnitude, other.magnitude) {
            (Nan, _) | (_, Nan) => LongDouble { negative: false, magnitude: Nan },
            (Infinite, Infinite) if self.negative != other.negative => LongDouble { negative: false, magnitude: Nan },
            (Infinite, _) => self,
            (_, Infinite) => other,
            (Finite { mantissa: a, exponent: e }, Finite { mantissa: b, exponent: f }) => {
                // The one with the larger exponent first: it is also the larger, or both exponents are equal.
                if e >= f {
                    add_finite((self.negative, a, e), (other.negative, b, f))
                } else {
                    add_finite((other.negative, b, f), (self.negative, a, e))
                }
            }
        }
    }
}

/// The sum of two (negative, mantissa, exponent); the first exponent is not the smaller one.
fn add_finite((negative, a, e): (bool, u64, i32), (other_negative, b, f): (bool, u64, i32)) -> LongDouble {
    /// As many bits below the mantissa as leave room for a carry.
    const GUARD_BITS: u32 = 63;
    if a == 0 {
        // Its exponent may be larger than the other's only if both are zero or of the lowest exponent.
        let negative = if b == 0 { negative && other_negative } else { other_negative };
        return LongDouble { negative, magnitude: Magnitude::Finite { mantissa: b, exponent: f } };
    }
    let larger = u128::from(a) << GUARD_BITS;
    let smaller = shift_right_sticky(u128::from(b) << GUARD_BITS, e.abs_diff(f));
    let (negative, sum) = if negative == other_negative {
        (negative, larger + smaller)
    } else if larger >= smaller {
        (negative && larger != smaller, larger - smaller)
    } else {
        (other_negative, smaller - larger)
    };
    let rounded = float_text::round(sum, i64::from(e) - i64::from(GUARD_BITS), false, EXTENDED);
    LongDouble { negative, magnitude: rounded.into() }
}

/// `value >> count` with the lowest bit set if any bit was lost. The bits of both operands are far above that one, so it only
/// tells the rounding on which side of a tie the exact sum lies.
fn shift_right_sticky(value: u128, count: u32) -> u128 {
    let kept = value.checked_shr(count).unwrap_or(0);
    let lost = kept.checked_shl(count).unwrap_or(0) != value;
    kept | u128::from(lost)
}

/// `mantissa * 2^exponent` in decimal, rounded to [`FRACTION_DIGITS`] places, ties to even, without trailing zeros.
fn fixed_point(mantissa: u64, exponent: i32) -> String {
    if exponent >= 0 {
        return (BigUint::from(mantissa) << exponent).to_string();
    }
    let scaled = BigUint::from(mantissa) * BigUint::from(10u32).pow(FRACTION_DIGITS as u32);
    let digits =
        format!("{:0>width$}", shift_right_to_even(scaled, exponent.unsigned_abs()), width = FRACTION_DIGITS + 1);
    let (whole, fraction) = digits.split_at(digits.len() - FRACTION_DIGITS);
    match fraction.trim_end_matches('0') {
        "" => whole.into(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// `value / 2^count` to the nearest integer, ties to even; `count` is at least 1.
fn shift_right_to_even(value: BigUint, count: u32) -> BigUint {
    let count = u64::from(count);
    let half = value.bit(count - 1);
    let below = value.trailing_zeros().is_some_and(|zeros| zeros < count - 1);
    let kept = value >> count;
    if half && (below || kept.bit(0)) { kept + 1u32 } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(a: &str, b: &str) -> String {
        let [a, b] = [a, b].map(|text| LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} refused")));
        (a + b).to_text()
    }

    /// Results of INCRBYFLOAT in redis-server 7.0.15 on x86-64.
    const RECORDED: &[(&str, &str, &str)] = &[
        ("10.5", "0.1", "10.6"),
        ("5.0e3", "2.0e2", "5200"),
        ("3", "1.1", "4.1"),
        ("1e20", "0.1", "100000000000000000000"),
        ("0.1", "0.2", "0.3"),
        ("10.50", "-10.6", "-0.1"),
        ("-0.1", "0.1", "0"),
        ("1.1", "2.2", "3.3"),
        ("100", "-0.01", "99.99"),
        ("4.35", "0.000001", "4.350001"),
        ("-1.25e2", "-1e-2", "-125.01"),
        ("1e3", "1e-3", "1000.001"),
        ("1e17", "0.3", "100000000000000000.296875"),
        ("1e16", "1e-16", "10000000000000000"),
        ("1e-17", "0", "0.00000000000000001"),
        ("5e-18", "0", "0"),
        ("5.000000000000000001e-18", "0", "0.00000000000000001"),
        ("1.5e-17", "0", "0.00000000000000002"),
        ("-1e-30", "0", "0"),
        ("-0", "-0", "0"),
        ("0.99999999999999999", "0.00000000000000001", "1"),
        ("1234567890.123456789", "1e-9", "1234567890.12345678999554366"),
        ("1073741824.3", "-1073741824", "0.30000000004656613"),
        ("65536.00000762939453125", "0", "65536.00000762939453125"),
        ("9223372036854775807", "1", "9223372036854775808"),
        ("9223372036854775807", "0.5", "9223372036854775807.5"),
        ("18446744073709551615", "0.5", "18446744073709551616"),
        ("18446744073709551615", "1.5", "18446744073709551616"),
        ("36893488147419103232", "1", "36893488147419103232"),
        ("1e30", "-1e30", "0"),
        ("1e30", "1", "1000000000000000000024696061952"),
        ("123456789012345678901234567890", "0", "123456789012345678899921813504"),
        ("3.6e-4951", "0", "0"),
        ("2.225e-308", "1", "1"),
        ("0x1p3", "0x.8", "8.5"),
        ("+5", ".5", "5.5"),
        ("5.", "1", "6"),
    ];

    #[test]
    fn sums_are_those_redis_replies() {
        for (a, b, expected) in RECORDED {
            assert_eq!(sum(a, b), *expected, "{a} + {b}");
            assert_eq!(sum(b, a), *expected, "{b} + {a}");
        }
    }

    #[test]
    fn huge_values_print_in_full() {
        let text = sum("1e4931", "1e4931");
        assert_eq!(text.len(), 4932);
        assert!(
            text.starts_with(
                "200000000000000000001203789877592778264767554850906622954757008270506603897321744481506665"
            )
        );
        let largest = LongDouble::parse(b"1.18973149535723176502e4932").unwrap();
        assert_eq!(largest.to_text().len(), 4933);
        assert!(!(largest + largest).is_finite());
        let smallest = LongDouble::parse(b"3.6e-4951").unwrap();
        assert_eq!(smallest.magnitude, Magnitude::Finite { mantissa: 1, exponent: EXTENDED.min_exponent });
    }

    #[test]
    fn what_redis_refuses_is_refused() {
        for text in [
            "1e5000",
            "1e-5000",
            "1.8e-4951",
            "1.18973149535723176509e4932",
            "0x1p16384",
            "nan",
            "-nan",
            " 1",
            "1 ",
            "1e",
            "",
            "0x",
            "abc",
            "1,5",
            "--1",
            "1e999999999999999999999999",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert!(LongDouble::parse(&[b'0'; MAX_CHARS - 1]).is_some());
        assert!(LongDouble::parse(&[b'0'; MAX_CHARS]).is_none());
        assert!(LongDouble::parse(b"0e999999999999").is_some());
    }

    #[test]
    fn infinities_are_read_but_no_result() {
        for (a, b, text) in
            [("0", "inf", "inf"), ("-INF", "1e4932", "-inf"), ("inf", "-infinity", "nan"), ("inf", "inf", "inf")]
        {
            let [x, y] = [a, b].map(|text| LongDouble::parse(text.as_bytes()).unwrap());
            assert!(!(x + y).is_finite());
            assert_eq!((x + y).to_text(), text);
        }
    }

    #[test]
    fn ties_and_the_smallest_differences() {
        // From 2^63 on, the mantissa's last bit is worth 1: halves are ties, and any more than half is not.
        assert_eq!(sum("9223372036854775809", "0.5"), "9223372036854775810");
        assert_eq!(sum("9223372036854775808", "0.5"), "9223372036854775808");
        assert_eq!(sum("18446744073709551614", "0.5"), "18446744073709551614");
        assert_eq!(sum("18446744073709551613", "0.5"), "18446744073709551614");
        assert_eq!(sum("18446744073709551614", "0x.8000000000000001"), "18446744073709551615");
        assert_eq!(sum("0x1p4000", "-0x1p-4000"), sum("0x1p4000", "0"));
        assert_eq!(sum("0x1p64", "-0x1p-4000"), "18446744073709551616");
        assert_eq!(sum("0x1p64", "-0x.8"), "18446744073709551616");
        assert_eq!(sum("0x1p64", "-0x.8000000000000001"), "18446744073709551615");
    }

    proptest! {
        #[test]
        fn integers_add_exactly(a in -(1i64 << 62)..1i64 << 62, b in -(1i64 << 62)..1i64 << 62) {
            prop_assert_eq!((LongDouble::from(a) + LongDouble::from(b)).to_text(), (a + b).to_string());
            prop_assert_eq!(LongDouble::parse(a.to_string().as_bytes()), Some(LongDouble::from(a)));
        }

        #[test]
        fn small_sums_of_money_show_no_binary_dust(a in -3000i64..3000, b in -3000i64..3000) {
            let text = |cents: i64| {
                let digits = format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
                digits.trim_end_matches('0').trim_end_matches('.').to_owned()
            };
            prop_assert_eq!(sum(&text(a), &text(b)), text(a + b));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,30}([eE][-+]?[0-9]{1,6})?", other in "[0-9]{1,9}") {
            if let (Some(a), Some(b)) = (LongDouble::parse(text.as_bytes()), LongDouble::parse(other.as_bytes())) {
                let text = (a + b).to_text();
                prop_assert!(LongDouble::parse(text.as_bytes()).is_some(), "{}", text);
            }
        }
    }
}
