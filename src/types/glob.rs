//! Glob patterns as KEYS, SCAN MATCH, PSUBSCRIBE and CONFIG GET know them: `*`, `?`, `[a-z]`, `[^x]`, and `\` to escape.
//!
//! Bound: a match looks at no more than pattern length times text length bytes, as only the last `*` seen is ever retried.
//! (Earlier ones need not be: what they would leave for the later part of the pattern is a part of what it has already failed on.)
//!
//! Redis's corner cases are kept: an unclosed `[` ends with the pattern, `[a-]` is a range up to `]`, and an empty text matches
//! only the empty pattern, not `*`.

/// Whether the case of ASCII letters counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// Whether all of `text` matches `pattern`.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut seen) = (0, 0);
    // Behind the last `*`, and how much of the text has been left to it and what came before.
    let mut star = None;
    while seen < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, seen));
            continue;
        }
        if let Some(next) = match_one(&pattern[at..], text[seen], case) {
            at += next;
            seen += 1;
            continue;
        }
        let Some((behind, left)) = star else { return false };
        at = behind;
        seen = left + 1;
        star = Some((behind, seen));
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Whether the pattern's first element, which is no `*`, matches `byte`; if so, the element's length.
fn match_one(pattern: &[u8], byte: u8, case: Case) -> Option<usize> {
    let (literal, len) = match pattern {
        [] => return None,
        [b'?', ..] => return Some(1),
        [b'[', class @ ..] => {
            let (matched, len) = match_class(class, byte, case);
            return matched.then_some(1 + len);
        }
        [b'\\', escaped, ..] => (*escaped, 2),
        [literal, ..] => (*literal, 1),
    };
    same(literal, byte, case).then_some(len)
}

/// Matches the class whose inside `class` begins with; also returns how long the class is, its `]` included.
fn match_class(class: &[u8], byte: u8, case: Case) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &class[at..] {
            [] => break,
            // Redis compares an escaped byte with its case even where case is ignored.
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                found |= in_range(*first, *last, byte, case);
                at += 3;
            }
            [literal, ..] => {
                found |= same(*literal, byte, case);
                at += 1;
            }
        }
    }
    (found != negated, at)
}

fn same(a: u8, b: u8, case: Case) -> bool {
    match case {
        Case::Sensitive => a == b,
        Case::Insensitive => a.eq_ignore_ascii_case(&b),
    }
}

/// A range may be given from either end. As C's `char` is signed on the machines that matter, bytes from 0x80 on come before ASCII.
fn in_range(first: u8, last: u8, byte: u8, case: Case) -> bool {
    let (low, high) = if first as i8 > last as i8 { (last, first) } else { (first, last) };
    match case {
        Case::Sensitive => (low as i8..=high as i8).contains(&(byte as i8)),
        Case::Insensitive => {
            (low.to_ascii_lowercase()..=high.to_ascii_lowercase()).contains(&byte.to_ascii_lowercase())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sensitive(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes(), Case::Sensitive)
    }

    #[test]
    fn patterns_of_every_kind() {
        for (pattern, text, expected) in [
            ("hello", "hello", true),
            ("hello", "hell", false),
            ("hell", "hello", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("*", "x", true),
            ("*", "", false),
            ("", "", true),
            ("", "x", false),
            ("a*", "a", true),
            ("a**", "a", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a", "aba", true),
            ("*ab", "aab", true),
            ("*ab*cd", "ababcxcd", true),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hbllo", true),
            ("h[a-b]llo", "hcllo", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[a-]", "]", true),
            ("[a-]", "b", false),
            ("[a-]", "_", true),
            ("[abc", "c", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("[\\]]", "]", true),
            ("[\\", "\\", true),
            ("[a\\-z]", "-", true),
            ("[a\\-z]", "c", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("\\\\", "\\", true),
            ("\\?a", "?a", true),
            ("user:*:[0-9]?", "user:x:y:42", true),
        ] {
            assert_eq!(sensitive(pattern, text), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn case_can_be_ignored() {
        for (pattern, text, expected) in [
            ("MaxMemory*", "maxmemory-policy", true),
            ("[A-C]x", "bX", true),
            ("[a-c]x", "Bx", true),
            ("[abc]", "B", true),
            ("[\\b]", "B", false),
            ("\\B", "b", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), Case::Insensitive), expected, "{pattern:?}");
        }
        assert!(!sensitive("MAX*", "maxmemory"));
    }

    #[test]
    fn bytes_beyond_ascii_sort_as_signed() {
        assert!(matches(b"[\x80-\xff]", b"\xc3", Case::Sensitive));
        assert!(matches(b"[\xff-a]", b"A", Case::Sensitive));
        assert!(!matches(b"[a-\xff]", b"\x80", Case::Sensitive));
    }

    #[test]
    fn many_stars_stay_cheap() {
        let pattern = "a*".repeat(5000) + "b";
        let text = "a".repeat(20_000);
        assert!(!sensitive(&pattern, &text));
    }

    /// The definition, without any thought for time.
    fn reference(pattern: &[u8], text: &[u8], case: Case) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| reference(rest, &text[skip..], case)),
            (_, []) => false,
            (_, [first, rest @ ..]) => {
                match_one(pattern, *first, case).is_some_and(|len| reference(&pattern[len..], rest, case))
            }
        }
    }

    fn bytes_of(alphabet: &'static [u8], max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(alphabet.to_vec()), 0..max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn agrees_with_the_definition(pattern in bytes_of(b"ab**?[]^-\\A", 10), text in bytes_of(b"abAB]-\\*", 8)) {
            for case in [Case::Sensitive, Case::Insensitive] {
                let expected = if text.is_empty() { pattern.is_empty() } else { reference(&pattern, &text, case) };
                prop_assert_eq!(matches(&pattern, &text, case), expected);
            }
        }

        #[test]
        fn any_bytes_match_or_not(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text, Case::Insensitive);
        }
    }
}
