//! Quoted words: how inline commands and configuration lines are split, and how bytes are shown to people.
//!
//! Words are separated by blanks. `"..."` knows the escapes `\n \r \t \b \a \xHH` and takes any other escaped byte as it is;
//! `'...'` knows `\'` only. A closing quote ends its word, so a blank or the end of the line must follow it.
//!
//! The rules are those of Redis's inline protocol and `redis.conf`, but for the NUL byte: Redis's lines end at one, here it
//! is a byte like any other, so that no request is executed in part.

use std::fmt::{self, Write};
use std::ops::Range;

/// A quote was not closed, or a closing quote is followed by something else than a blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbalanced;

/// The words of `line`; `None` when its quotes are unbalanced.
pub fn split_quoted(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut ranges = Vec::new();
    split_quoted_into(line, &mut bytes, |range| ranges.push(range)).ok()?;
    Some(ranges.into_iter().map(|range| bytes[range].to_vec()).collect())
}

/// Appends the words of `line` to `out`, one behind the other, and tells `each` where in `out` a word lies.
///
/// `out` grows by at most `line.len()` bytes. After an error it holds the words before the bad one, and a part of that.
pub fn split_quoted_into(line: &[u8], out: &mut Vec<u8>, mut each: impl FnMut(Range<usize>)) -> Result<(), Unbalanced> {
    let mut rest = line;
    loop {
        rest = skip_blanks(rest);
        if rest.is_empty() {
            return Ok(());
        }
        let start = out.len();
        rest = read_word(rest, out)?;
        each(start..out.len());
    }
}

/// Reads one word into `out`, returns what follows it.
fn read_word<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b'"' => return read_double_quoted(tail, out),
            b'\'' => return read_single_quoted(tail, out),
            b' ' | b'\n' | b'\r' | b'\t' => return Ok(tail),
            other => out.push(other),
        }
        rest = tail;
    }
    Ok(rest)
}

fn read_double_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_value(*high) << 4 | hex_value(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                out.push(unescape(*escaped));
                tail
            }
            [b'"', tail @ ..] => return end_of_quoted(tail),
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return Err(Unbalanced),
        };
    }
}

fn read_single_quoted<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Unbalanced> {
    loop {
        rest = match rest {
            [b'\\', b'\'', tail @ ..] => {
                out.push(b'\'');
                tail
            }
            [b'\'', tail @ ..] => return end_of_quoted(tail),
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return Err(Unbalanced),
        };
    }
}

fn end_of_quoted(rest: &[u8]) -> Result<&[u8], Unbalanced> {
    match rest.first() {
        Some(&byte) if !is_blank(byte) => Err(Unbalanced),
        _ => Ok(rest),
    }
}

fn skip_blanks(line: &[u8]) -> &[u8] {
    let blanks = line.iter().take_while(|&&byte| is_blank(byte)).count();
    &line[blanks..]
}

/// C's `isspace`: vertical tab and form feed too, though inside a line these two do not end an unquoted word.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// Shown between double quotes, everything but printable ASCII escaped; [`split_quoted`] reads it back.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for &byte in self.0 {
            match byte {
                b'\\' | b'"' => write!(f, "\\{}", char::from(byte))?,
                b'\n' => f.write_str("\\n")?,
                b'\r' => f.write_str("\\r")?,
                b'\t' => f.write_str("\\t")?,
                0x07 => f.write_str("\\a")?,
                0x08 => f.write_str("\\b")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                other => write!(f, "\\x{other:02x}")?,
            }
        }
        f.write_char('"')
    }
}

/// [`Quoted`] as a text.
pub fn quote(bytes: &[u8]) -> String {
    Quoted(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_quoted(line.as_bytes())?;
        Some(words.into_iter().map(|word| word.iter().map(|&byte| char::from(byte)).collect()).collect())
    }

    #[test]
    fn words_split_as_in_redis_conf() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            (" \t ", &[]),
            ("get key", &["get", "key"]),
            ("  a\tb\r\nc  ", &["a", "b", "c"]),
            (r#"set k "a b\n\r\t\a\b\"\\\q\x41\x4g""#, &["set", "k", "a b\n\r\t\x07\x08\"\\qAx4g"]),
            (r#"'a "b" \n \'c' d"#, &[r#"a "b" \n 'c"#, "d"]),
            (r#"foo"bar" "" ''"#, &["foobar", "", ""]),
            ("a\x0bb \x0b\x0cc", &["a\x0bb", "c"]),
            ("\"a\"\x0bb", &["a", "b"]),
            (r"a\nb \", &[r"a\nb", r"\"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).unwrap(), *expected, "{line:?}");
        }
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [r#"""#, r#"a "b"#, "'", "'a", r#""a"b"#, "'a'b", r#""a\""#, r"'a\'", r#""\"#, r#""a"'b'"#] {
            assert_eq!(words(line), None, "{line:?}");
        }
    }

    #[test]
    fn quote_shows_bytes_as_redis_does() {
        assert_eq!(quote(b"a\"b\\\n\r\t\x07\x08\x00\x7f\xff ~"), r#""a\"b\\\n\r\t\a\b\x00\x7f\xff ~""#);
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8)) {
            let line = list.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(split_quoted(line.as_bytes()), Some(list));
        }

        #[test]
        fn any_line_is_split_or_refused(line in prop::collection::vec(prop::sample::select(b" \t\n\"'\\xa0\0\xff".to_vec()), 0..40)) {
            if let Some(list) = split_quoted(&line) {
                prop_assert!(list.iter().map(Vec::len).sum::<usize>() <= line.len());
            }
        }
    }
}
