//! Glob patterns: of CONFIG GET (ASCII case ignored) and of `include` paths.
//!
//! `*`, `?`, `[a-z]`, `[^a-z]` and `\` before a literal. The matcher backtracks over the last `*` only, so its time is
//! bounded by the product of both lengths, whatever the pattern.

use std::path::{Component, Path, PathBuf};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Ignored,
}

/// Whether `text` matches all of `pattern`.
pub fn matches(pattern: &[u8], text: &[u8], case: Case) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to resume: behind the last `*`, and at the first byte that it does not yet cover.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            resume = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let Some(next) = match_one(pattern, p, text[t], case) {
            p = next;
            t += 1;
            continue;
        }
        let Some((star, covered)) = resume else { return false };
        resume = Some((star, covered + 1));
        (p, t) = (star, covered + 1);
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Matches the single element at `p` against `byte`; gives the position behind that element.
fn match_one(pattern: &[u8], p: usize, byte: u8, case: Case) -> Option<usize> {
    let equal = |a: u8| if case == Case::Ignored { a.eq_ignore_ascii_case(&byte) } else { a == byte };
    match pattern.get(p..)? {
        [b'?', ..] => Some(p + 1),
        [b'[', ..] => match_class(pattern, p + 1, byte, case),
        [b'\\', literal, ..] => equal(*literal).then_some(p + 2),
        [literal, ..] => equal(*literal).then_some(p + 1),
        [] => None,
    }
}

fn match_class(pattern: &[u8], start: usize, byte: u8, case: Case) -> Option<usize> {
    let fold = |b: u8| if case == Case::Ignored { b.to_ascii_lowercase() } else { b };
    let byte = fold(byte);
    let negated = pattern.get(start) == Some(&b'^');
    let mut p = start + usize::from(negated);
    let mut found = false;
    loop {
        // A class without its closing bracket ends with the pattern.
        match &pattern[p.min(pattern.len())..] {
            [] => break,
            [b']', ..] => {
                p += 1;
                break;
            }
            [b'\\', literal, ..] => {
                found |= fold(*literal) == byte;
                p += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low).min(fold(*high)), fold(*low).max(fold(*high)));
                found |= (low..=high).contains(&byte);
                p += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == byte;
                p += 1;
            }
        }
    }
    (found != negated).then_some(p)
}

/// Whether the text has a glob character at all.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The existing paths that `pattern` names, sorted. As in a shell, a leading dot must be written out. Folders that
/// cannot be read count as empty.
pub fn paths(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        found = match component {
            Component::Normal(name) if is_pattern(&name.to_string_lossy()) => {
                found.iter().flat_map(|folder| entries(folder, &name.to_string_lossy())).collect()
            }
            fixed => found.into_iter().map(|folder| folder.join(fixed)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn entries(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let read_from = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(listing) = std::fs::read_dir(read_from) else { return Vec::new() };
    let names = listing.flatten().map(|entry| entry.file_name());
    let wanted = names.filter(|name| {
        let name = name.as_encoded_bytes();
        let hidden = name.starts_with(b".") && !pattern.starts_with('.');
        !hidden && matches(pattern.as_bytes(), name, Case::Sensitive)
    });
    wanted.map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_redis_does() {
        let cases = [
            ("*", "", true),
            ("max*", "MAXMEMORY", true),
            ("maxm?mory", "maxmemory", true),
            ("h[a-z]", "hz", true),
            ("[^a-y]set*", "zset-max", true),
            ("[^z]set*", "zset-max", false),
            ("*-*-len", "slowlog-max-len", true),
            ("a*b", "acbd", false),
            ("[ab", "b", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "x", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes(), Case::Ignored), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(2000).as_bytes(), Case::Sensitive));
    }
}
