//! LCS: the longest common subsequence of two strings.
//!
//! The textbook table of prefix lengths is filled row by row, keeping only the latest row and, where the way back through the
//! table is wanted, one bit a cell: which neighbour was the longer one. That is 1/32 of the memory of a full table. The limit
//! on the table's size is still that of a full one, as it is what clients of Redis meet.

use bytes::Bytes;

use super::bytes_of;
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::StrRef;
use crate::resp::Args;

/// Bytes that one cell of a full table takes.
const CELL_BYTES: u128 = 4;

/// Longest string that is accepted: positions and lengths are 32 bits wide.
const MAX_STRING_BYTES: usize = u32::MAX as usize - 2;

/// What LCS replies with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    Subsequence,
    /// LEN
    Length,
    /// IDX
    Matches,
}

struct Options {
    report: Report,
    /// WITHMATCHLEN
    with_lengths: bool,
    /// MINMATCHLEN
    min_match: u64,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, Error> {
        let (mut len, mut idx) = (false, false);
        let mut options = Options { report: Report::Subsequence, with_lengths: false, min_match: 0 };
        let mut i = 3;
        while i < args.len() {
            if args.is(i, "idx") {
                idx = true;
            } else if args.is(i, "len") {
                len = true;
            } else if args.is(i, "withmatchlen") {
                options.with_lengths = true;
            } else if args.is(i, "minmatchlen") && i + 1 < args.len() {
                options.min_match = int(args.get(i + 1))?.max(0) as u64;
                i += 1;
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        options.report = match (len, idx) {
            (true, true) => {
                return Err(Error::text("ERR If you want both the length and indexes, please just use IDX."));
            }
            (true, false) => Report::Length,
            (false, true) => Report::Matches,
            (false, false) => Report::Subsequence,
        };
        Ok(options)
    }
}

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]
pub fn lcs(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    // Both are looked up before either is refused.
    let (a, b) = (read(ctx, args.get(1)), read(ctx, args.get(2)));
    let (a, b) = (a?, b?);
    let options = Options::parse(args)?;
    check_size(ctx, &a, &b)?;
    match options.report {
        Report::Length => ctx.out.int(i64::from(prefix_lengths(&a, &b, |_, _| {}))),
        Report::Subsequence => {
            let mut common = Vec::new();
            for run in runs(&a, &b).0.iter().rev() {
                common.extend_from_slice(&a[run.a..run.a + run.len]);
            }
            ctx.out.bulk(&common);
        }
        Report::Matches => {
            let (runs, len) = runs(&a, &b);
            reply_matches(ctx, &runs, len, &options);
        }
    }
    Ok(())
}

/// The string at `key`, empty if there is none.
fn read(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Bytes, Error> {
    match ctx.keys.string(key) {
        Ok(Some(StrRef::Shared(bytes))) => Ok(bytes.clone()),
        Ok(Some(value)) => Ok(Bytes::copy_from_slice(bytes_of(value, &mut itoa::Buffer::new()))),
        Ok(None) => Ok(Bytes::new()),
        Err(_) => Err(Error::text("ERR The specified keys must contain string values")),
    }
}

fn check_size(ctx: &Ctx<'_>, a: &[u8], b: &[u8]) -> Outcome {
    if a.len() > MAX_STRING_BYTES || b.len() > MAX_STRING_BYTES {
        return Err(Error::text("ERR String too long for LCS"));
    }
    if (a.len() as u128 + 1) * (b.len() as u128 + 1) * CELL_BYTES > u128::from(ctx.max_bulk_bytes) {
        return Err(Error::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
    }
    Ok(())
}

fn reply_matches(ctx: &mut Ctx<'_>, runs: &[Run], len: u32, options: &Options) {
    let shown = |run: &&Run| run.len as u64 >= options.min_match;
    ctx.out.map(2);
    ctx.out.bulk_str("matches");
    ctx.out.array(runs.iter().filter(shown).count());
    for run in runs.iter().filter(shown) {
        ctx.out.array(if options.with_lengths { 3 } else { 2 });
        for start in [run.a, run.b] {
            ctx.out.array(2);
            ctx.out.int(start as i64);
            ctx.out.int((start + run.len - 1) as i64);
        }
        if options.with_lengths {
            ctx.out.int(run.len as i64);
        }
    }
    ctx.out.bulk_str("len");
    ctx.out.int(i64::from(len));
}

/// Bytes of the subsequence that are neighbours in both strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Where it starts in the first string.
    a: usize,
    /// Where it starts in the second string.
    b: usize,
    len: usize,
}

/// The runs of the longest common subsequence, the last one first, and its length.
fn runs(a: &[u8], b: &[u8]) -> (Vec<Run>, u32) {
    let mut up_is_longer = Bits::new(a.len() * b.len());
    let len = prefix_lengths(a, b, |i, j| up_is_longer.set(i * b.len() + j));
    let mut runs: Vec<Run> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] != b[j - 1] {
            if up_is_longer.get((i - 1) * b.len() + j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.a == i && run.b == j => *run = Run { a: i - 1, b: j - 1, len: run.len + 1 },
            _ => runs.push(Run { a: i - 1, b: j - 1, len: 1 }),
        }
        (i, j) = (i - 1, j - 1);
    }
    (runs, len)
}

/// The length of the longest common subsequence. Calls `up_is_longer` with the positions of each pair of differing bytes at
/// which leaving out the byte of `a` keeps more than leaving out that of `b`.
fn prefix_lengths(a: &[u8], b: &[u8], mut up_is_longer: impl FnMut(usize, usize)) -> u32 {
    // lengths[j + 1]: for the prefix of `a` done so far and the first j + 1 bytes of `b`
    let mut lengths = vec![0u32; b.len() + 1];
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = 0;
        let mut left = 0;
        for (j, y) in b.iter().enumerate() {
            let up = lengths[j + 1];
            let here = if x == y {
                diagonal + 1
            } else {
                if up > left {
                    up_is_longer(i, j);
                }
                up.max(left)
            };
            diagonal = up;
            left = here;
            lengths[j + 1] = here;
        }
    }
    lengths[b.len()]
}

struct Bits(Vec<u64>);

impl Bits {
    fn new(len: usize) -> Bits {
        Bits(vec![0; len.div_ceil(64)])
    }

    fn set(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn get(&self, i: usize) -> bool {
        self.0[i / 64] & (1 << (i % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_runs() {
        let (runs, len) = runs(b"ohmytext", b"mynewtext");
        assert_eq!(len, 6);
        assert_eq!(runs, [Run { a: 4, b: 5, len: 4 }, Run { a: 2, b: 0, len: 2 }]);
    }

    /// All subsequences, tried one by one.
    fn longest_by_force(a: &[u8], b: &[u8]) -> u32 {
        (0u32..1 << a.len())
            .filter(|mask| {
                let mut rest = b.iter();
                (0..a.len()).filter(|i| mask >> i & 1 == 1).all(|i| rest.any(|y| *y == a[i]))
            })
            .map(u32::count_ones)
            .max()
            .unwrap_or(0)
    }

    proptest! {
        #[test]
        fn is_common_and_longest(a in proptest::collection::vec(0u8..3, 0..9), b in proptest::collection::vec(0u8..3, 0..9)) {
            let (runs, len) = runs(&a, &b);
            prop_assert_eq!(len, longest_by_force(&a, &b));
            prop_assert_eq!(runs.iter().map(|run| run.len).sum::<usize>() as u32, len);
            for run in &runs {
                prop_assert_eq!(&a[run.a..run.a + run.len], &b[run.b..run.b + run.len]);
            }
            for (later, earlier) in runs.iter().zip(&runs[1.min(runs.len())..]) {
                prop_assert!(earlier.a + earlier.len <= later.a && earlier.b + earlier.len <= later.b);
            }
        }
    }
}
