//! LOLWUT: columns of basalt, each carrying its own load.

use crate::commands::Outcome;
use crate::commands::options::int;
use crate::resp::{Args, Writer};

/// Columns side by side; with their gaps they stay within 66 characters.
const COLUMNS: usize = 13;
const MAX_HEIGHT: usize = 7;
const GROUND: usize = 5 * COLUMNS + 1;

/// LOLWUT [VERSION n] [...]: the picture is the same for every version. As in Redis, the pictures of versions 5 and 6 take three and two
/// numbers, and what else is given is ignored. `seed` decides the heights.
pub fn lolwut(out: &mut Writer<'_>, args: &Args<'_>, seed: u64) -> Outcome {
    if args.len() >= 3 && args.is(1, "version") {
        let numbers = match int(args.get(2))? {
            5 => 3,
            6 => 2,
            _ => 0,
        };
        for number in args.iter_from(3).take(numbers) {
            int(number)?;
        }
    }
    out.verbatim(&picture(seed));
    Ok(())
}

/// Always the same number of lines, and of characters a line up to trailing blanks.
fn picture(seed: u64) -> String {
    let heights = heights(seed);
    let mut text = String::new();
    // A column is its top, a rim below it, then shaft: a column of height 1 is only these two lines.
    for line in (0..MAX_HEIGHT + 2).rev() {
        let cells = heights.map(|height| match (height + 1).checked_sub(line) {
            Some(0) => "  __ ",
            Some(1) => " /__\\",
            Some(_) => " |  |",
            None => "     ",
        });
        text.push_str(cells.concat().trim_end());
        text.push('\n');
    }
    text.push_str(&"^".repeat(GROUND));
    text.push_str("\n\nBasalt ver. ");
    text.push_str(env!("CARGO_PKG_VERSION"));
    text.push('\n');
    text
}

/// Heights from 1 to [`MAX_HEIGHT`], neighbours at most two apart, as in the real thing.
fn heights(seed: u64) -> [usize; COLUMNS] {
    let mut state = seed;
    let mut height = MAX_HEIGHT / 2 + 1;
    std::array::from_fn(|_| {
        // SplitMix64: any seed gives a good sequence, 0 too.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        height = (height + (random % 5) as usize).saturating_sub(2).clamp(1, MAX_HEIGHT);
        height
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Error;
    use crate::resp::{Out, OwnedArgs, Proto};

    fn run(words: &[&str]) -> Result<String, Error> {
        let args: OwnedArgs = words.iter().collect();
        let mut out = Out::default();
        lolwut(&mut Writer::new(&mut out, Proto::Resp3), &args.args(), 7)?;
        Ok(String::from_utf8(out.buf).unwrap())
    }

    #[test]
    fn the_picture_keeps_its_size() {
        for seed in 0..500 {
            let text = picture(seed);
            assert_eq!(text.lines().count(), MAX_HEIGHT + 2 + 3);
            assert!(text.lines().all(|line| line.len() <= GROUND));
            assert!(text.ends_with(concat!("\n\nBasalt ver. ", env!("CARGO_PKG_VERSION"), "\n")));
            assert_eq!(
                text.matches("__ ").count() + text.matches("__\n").count(),
                COLUMNS,
                "every column has a top\n{text}"
            );
        }
        assert_ne!(picture(1), picture(2));
    }

    #[test]
    fn arguments() {
        assert!(run(&["lolwut"]).unwrap().starts_with("=") && run(&["lolwut", "version", "5", "1"]).is_ok());
        assert!(run(&["lolwut", "version"]).is_ok() && run(&["lolwut", "version", "6", "1", "2", "x"]).is_ok());
        assert_eq!(run(&["lolwut", "version", "5", "1", "x"]), Err(Error::NotInteger));
        assert_eq!(run(&["lolwut", "VERSION", "x"]), Err(Error::NotInteger));
    }
}
