//! Numbers in text, read as strictly as Redis reads them.

use super::float_text::{self, FloatText, Format, Rounded};

/// The longest text of a 64-bit integer: `-9223372036854775808`.
const MAX_I64_CHARS: usize = 20;

/// A decimal in the one form an `i64` prints as: no sign but `-`, no leading zeros, no blanks, no `-0`.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    let magnitude = parse_u64(digits)?;
    if !negative {
        return i64::try_from(magnitude).ok();
    }
    if magnitude == 0 {
        return None;
    }
    0i64.checked_sub_unsigned(magnitude)
}

/// A decimal in the one form a `u64` prints as.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.len() > MAX_I64_CHARS || (text.first() == Some(&b'0') && text.len() > 1) || text.is_empty() {
        return None;
    }
    // Nineteen digits always fit.
    let mut value = 0u64;
    for &byte in text.iter().take(MAX_I64_CHARS - 1) {
        value = value * 10 + u64::from(digit(byte)?);
    }
    match text.get(MAX_I64_CHARS - 1) {
        None => Some(value),
        Some(&last) => value.checked_mul(10)?.checked_add(u64::from(digit(last)?)),
    }
}

#[inline]
fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(digit)
}

/// A floating point number as C's `strtod` reads it: decimal, hexadecimal, `inf` or `infinity`, the whole text of it.
///
/// Refused are blanks, NaN, and what is too large or too small for a double (a subnormal result is fine).
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    const DOUBLE: Format = Format { mantissa_bits: 53, min_exponent: -1074, max_exponent: 971 };
    match float_text::scan(text)? {
        FloatText::Infinity { negative } => Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        FloatText::Decimal(decimal) => {
            // The grammar was checked, so this is ASCII that `f64` can read, rounded correctly.
            let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (value.is_finite() && (value != 0.0 || decimal.is_zero())).then_some(value)
        }
        FloatText::Hex(hex) => {
            let magnitude = match hex.round(DOUBLE) {
                Rounded::Zero => return hex.is_zero().then_some(if hex.negative { -0.0 } else { 0.0 }),
                Rounded::Infinite => return None,
                Rounded::Finite { mantissa, exponent } => double_from_parts(mantissa, exponent),
            };
            Some(if hex.negative { -magnitude } else { magnitude })
        }
    }
}

/// The same as C code reads it that asks `strtod` only where it stopped: the text ends at a zero byte, blanks may come before the number, no
/// text at all is 0, and what is too large or too small is infinite or 0. NaN is refused.
pub fn parse_f64_as_c(text: &[u8]) -> Option<f64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t'..=b'\r')).count();
    let number = &text[blanks..];
    if let Some(value) = parse_f64(number) {
        return Some(value);
    }
    match float_text::scan(number)? {
        FloatText::Infinity { .. } => None,
        FloatText::Decimal(_) => std::str::from_utf8(number).ok()?.parse().ok(),
        FloatText::Hex(hex) => {
            let magnitude = match hex.round(Format { mantissa_bits: 53, min_exponent: -1074, max_exponent: 971 }) {
                Rounded::Infinite => f64::INFINITY,
                Rounded::Zero | Rounded::Finite { .. } => 0.0,
            };
            Some(if hex.negative { -magnitude } else { magnitude })
        }
    }
}

/// `mantissa * 2^exponent`, which a double holds exactly.
fn double_from_parts(mantissa: u64, exponent: i32) -> f64 {
    const HIDDEN_BIT: u64 = 1 << 52;
    debug_assert!(mantissa < 2 * HIDDEN_BIT && (-1074..=971).contains(&exponent));
    if mantissa < HIDDEN_BIT {
        return f64::from_bits(mantissa);
    }
    f64::from_bits(((exponent + 1075) as u64) << 52 | (mantissa & (HIDDEN_BIT - 1)))
}

/// A number of bytes as `redis.conf` writes it: `100`, `1k` (1000), `1kb` (1024), `m`, `mb`, `g`, `gb`, `b`; case ignored. What does
/// not fit is the largest number. Unlike Redis, a size without a digit is refused: it would mean 0, for `maxmemory` no limit at all.
pub fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    if number.is_empty() {
        return None;
    }
    let add = |value: u64, byte: &u8| value.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Some(number.iter().fold(0, add).saturating_mul(factor))
}

/// The value as an integer, if it is one and not beyond 2^62: what Redis writes, and in a small sorted set keeps, as an integer.
/// Minus zero is 0.
pub fn whole(value: f64) -> Option<i64> {
    const MOST: f64 = (1u64 << 62) as f64;
    let whole = value as i64;
    (value.abs() <= MOST && whole as f64 == value).then_some(whole)
}

/// A number with 17 significant digits, as C's `%.17g` prints it: every double has its own text.
pub fn general_17(value: f64) -> String {
    const DIGITS: i32 = 17;
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    let scientific = format!("{value:.16e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if !(-4..DIGITS).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = (DIGITS - 1 - exponent) as usize;
    let fixed = format!("{value:.decimals$}");
    if decimals == 0 { fixed } else { trimmed(&fixed) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_have_one_form() {
        for (text, value) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("18446744073709551616", None),
            ("99999999999999999999", None),
            ("000000000000000000001", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("-01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1a", None),
            ("--1", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), value, "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    #[test]
    fn doubles_are_read_as_strtod_does() {
        for (text, value) in [
            ("3", Some(3.0)),
            ("-3.5e2", Some(-350.0)),
            ("+.5", Some(0.5)),
            ("5.", Some(5.0)),
            ("1e400", None),
            ("1e-400", None),
            ("0e400", Some(0.0)),
            ("5e-324", Some(5e-324)),
            ("2e-324", None),
            ("1.7976931348623157e308", Some(f64::MAX)),
            ("1e99999999999999999999", None),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("+INF", Some(f64::INFINITY)),
            ("infinit", None),
            ("nan", None),
            ("nan(1)", None),
            ("0x1p4", Some(16.0)),
            ("0X.8", Some(0.5)),
            ("-0x1.8P-1", Some(-0.75)),
            ("0x1p-1074", Some(5e-324)),
            ("0x1p-1075", None),
            ("0x1.8p-1075", Some(5e-324)),
            ("0x1.fffffffffffff8p1023", None),
            ("0x1.fffffffffffff7p1023", Some(f64::MAX)),
            ("0x10000000000000800", Some(18446744073709551616.0)),
            ("0x10000000000001800", Some(18446744073709559808.0)),
            ("0x0p9", Some(0.0)),
            ("0x", None),
            ("0xp1", None),
            ("0x.p1", None),
            ("0x1p", None),
            ("1e", None),
            ("1e+", None),
            (".", None),
            ("", None),
            ("-", None),
            (" 1", None),
            ("1 ", None),
            ("1\0", None),
            ("1_0", None),
            ("1,5", None),
            ("\u{663}", None),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), value, "{text:?}");
        }
        assert!(parse_f64(b"-0").is_some_and(|zero| zero.is_sign_negative()));
        assert!(parse_f64(b"-0x0").is_some_and(|zero| zero.is_sign_negative()));
    }

    #[test]
    fn doubles_are_read_as_c_code_does_that_looks_at_the_end_only() {
        for (text, value) in [
            ("", Some(0.0)),
            (" ", None),
            (" \t1.5", Some(1.5)),
            ("1 ", None),
            ("2\0junk", Some(2.0)),
            ("1e400", Some(f64::INFINITY)),
            ("-1e400", Some(f64::NEG_INFINITY)),
            ("1e-400", Some(0.0)),
            ("-0x1p9999", Some(f64::NEG_INFINITY)),
            ("0x1p-9999", Some(0.0)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("nan", None),
            ("x", None),
        ] {
            assert_eq!(parse_f64_as_c(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn memory_sizes_have_both_kinds_of_units() {
        for (text, value) in [
            ("100", Some(100)),
            ("1b", Some(1)),
            ("1k", Some(1000)),
            ("1Kb", Some(1024)),
            ("2m", Some(2_000_000)),
            ("2MB", Some(2 << 20)),
            ("3g", Some(3_000_000_000)),
            ("3gB", Some(3 << 30)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("18446744073709551615k", Some(u64::MAX)),
            ("", None),
            ("kb", None),
            ("-1", None),
            ("+1", None),
            ("1 kb", None),
            ("1tb", None),
            ("1.5gb", None),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), value, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_integer_comes_back(value: i64, unsigned: u64) {
            prop_assert_eq!(parse_i64(value.to_string().as_bytes()), Some(value));
            prop_assert_eq!(parse_u64(unsigned.to_string().as_bytes()), Some(unsigned));
        }

        #[test]
        fn what_is_read_prints_the_same(text in "-?[0-9]{0,21}") {
            if let Some(value) = parse_i64(text.as_bytes()) {
                prop_assert_eq!(value.to_string(), text);
            }
        }

        #[test]
        fn any_double_comes_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(parse_f64(format!("{value:e}").as_bytes()), Some(value));
            let (mantissa, exponent) = (bits & ((1 << 52) - 1), bits >> 52 & 0x7ff);
            let hidden = u64::from(exponent != 0);
            let sign = if value.is_sign_negative() { "-" } else { "" };
            let hex = format!("{sign}0x{hidden}.{mantissa:013x}p{}", exponent.max(1) as i64 - 1023);
            prop_assert_eq!(parse_f64(hex.as_bytes()).map(f64::to_bits), Some(bits), "{}", hex);
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in prop::collection::vec(prop::sample::select(b"0129.eE+-xXpPaAinfINF \0\xff".to_vec()), 0..16)) {
            prop_assert!(parse_f64(&text).is_none_or(|value| !value.is_nan()));
            parse_i64(&text);
            parse_memory(&text);
        }
    }
}
