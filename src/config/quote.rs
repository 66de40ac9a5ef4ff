//! The quoting of configuration lines: splitting into words, and writing a word so that it is read back as it was.
//!
//! Words are separated by blanks. Within `"..."` there are `\n \r \t \b \a \xHH` and `\` before any other byte; within
//! `'...'` only `\'`. A closing quote ends its word. These are the rules of redis.conf and of inline commands.

/// The words of `line`, or `None` when a quote is not closed or text follows a closing quote.
pub fn split_quoted(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, behind) = take_word(rest)?;
        words.push(word);
        rest = behind.trim_ascii_start();
    }
    Some(words)
}

fn take_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    while let [byte, behind @ ..] = rest {
        match byte {
            b'"' => {
                rest = take_double_quoted(behind, &mut word)?;
                return ends_here(rest).then_some((word, rest));
            }
            b'\'' => {
                rest = take_single_quoted(behind, &mut word)?;
                return ends_here(rest).then_some((word, rest));
            }
            byte if is_blank(*byte) => break,
            _ => word.push(*byte),
        }
        rest = behind;
    }
    Some((word, rest))
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0 || byte == 0x0b
}

fn ends_here(rest: &[u8]) -> bool {
    rest.first().is_none_or(|byte| is_blank(*byte))
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] | [b'\\'] => return None,
            [b'"', behind @ ..] => return Some(behind),
            [b'\\', b'x', high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex(*high) << 4 | hex(*low));
                behind
            }
            [b'\\', escaped, behind @ ..] => {
                word.push(unescape(*escaped));
                behind
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        }
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [] => return None,
            [b'\'', behind @ ..] => return Some(behind),
            [b'\\', b'\'', behind @ ..] => {
                word.push(b'\'');
                behind
            }
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
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

/// `word` in double quotes, every byte that is not plain ASCII escaped.
pub fn quote(word: &[u8]) -> String {
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for &byte in word {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_as_redis_does() {
        let cases: [(&str, Option<&[&[u8]]>); 11] = [
            ("", Some(&[])),
            ("  a  b\tc \r\n", Some(&[b"a", b"b", b"c"])),
            (r#"a "b c" d"#, Some(&[b"a", b"b c", b"d"])),
            (r#"a """#, Some(&[b"a", b""])),
            (r#""\x41\n\q\"""#, Some(&[b"A\nq\""])),
            (r"'a\'b' 'c\n'", Some(&[b"a'b", b"c\\n"])),
            (r#"ab"cd""#, Some(&[b"abcd"])),
            (r#""a"b"#, None),
            (r#""a"#, None),
            (r#""a\"#, None),
            ("'a", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|word| word.to_vec()).collect::<Vec<_>>());
            assert_eq!(split_quoted(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_quoted_word_is_read_back(word: Vec<u8>) {
            prop_assert_eq!(split_quoted(quote(&word).as_bytes()), Some(vec![word]));
        }
    }
}
