//! Which arguments of a command are keys.
//!
//! Everything comes from the key specifications of the command table and nothing is allocated. Routing asks [`single_key`]
//! or [`for_each_key`]; COMMAND GETKEYSANDFLAGS also asks what is done to each key.
//!
//! The number of arguments must have been checked ([`Command::takes`]); a count or a range that does not fit the arguments
//! all the same is an error, never a panic.

use super::sort;
use super::spec::{BeginSearch, Command, FindKeys, KeyAccess, KeySpec};
use crate::resp::Args;
use crate::types::numbers::parse_u64;

/// A specification and the arguments do not go together, such as a key count that is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeys;

/// The keys that one specification names: each `step`-th argument from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub first: usize,
    pub last: usize,
    pub step: usize,
}

impl KeyRange {
    /// The argument indices, ascending.
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (self.first..=self.last).step_by(self.step)
    }
}

/// The index of the command's key, when each of its calls has exactly one, at a fixed place: the routing of most commands.
#[inline]
pub const fn single_key(command: &Command) -> Option<u8> {
    match command.keys {
        [KeySpec { begin: BeginSearch::Index(index), find: FindKeys::Range { last: 0, .. }, access, .. }]
            if !access.has(KeyAccess::NOT_KEY) =>
        {
            Some(*index)
        }
        _ => None,
    }
}

/// The keys that `spec` names; `None` when its keyword does not occur, its count is zero, or what it names are no keys.
pub fn key_range(spec: &KeySpec, args: &Args<'_>) -> Result<Option<KeyRange>, InvalidKeys> {
    if spec.access.has(KeyAccess::NOT_KEY) {
        return Ok(None);
    }
    let begin = match spec.begin {
        BeginSearch::Index(index) => index as usize,
        BeginSearch::Keyword(word, from) => match behind_keyword(word, from, args) {
            Some(begin) => begin,
            None => return Ok(None),
        },
        BeginSearch::Unknown => return Ok(None),
        BeginSearch::SortStore => match sort::store_at(args) {
            Some(begin) => begin,
            None => return Ok(None),
        },
    };
    let (first, last, step) = match spec.find {
        // Further keys that a command may do without (PFMERGE).
        FindKeys::Range { last: -1, .. } if begin == args.len() => return Ok(None),
        FindKeys::Range { last, step, limit } => (begin, range_end(begin, last, limit, args.len())?, step),
        FindKeys::Counted { count, first, step } => {
            let count = key_count(begin + count as usize, args)?;
            if count == 0 {
                return Ok(None);
            }
            let (first, step) = (begin + first as usize, step.max(1));
            let span = (count - 1).checked_mul(step as usize).ok_or(InvalidKeys)?;
            (first, first.checked_add(span).ok_or(InvalidKeys)?, step)
        }
        FindKeys::Unknown => (begin, begin, 1),
    };
    let fits = first <= last && last < args.len();
    if fits { Ok(Some(KeyRange { first, last, step: step.max(1) as usize })) } else { Err(InvalidKeys) }
}

fn range_end(first: usize, last: i8, limit: u8, len: usize) -> Result<usize, InvalidKeys> {
    let from_end = last.unsigned_abs() as usize;
    if last >= 0 {
        return Ok(first + from_end);
    }
    let end = if limit <= 1 { len } else { first + len.saturating_sub(first) / limit as usize };
    end.checked_sub(from_end).ok_or(InvalidKeys)
}

fn key_count(index: usize, args: &Args<'_>) -> Result<usize, InvalidKeys> {
    let count = args.opt(index).and_then(parse_u64).ok_or(InvalidKeys)?;
    usize::try_from(count).map_err(|_| InvalidKeys)
}

/// The index behind `word`, searched from argument `from` to the end, or, when `from` is negative, from so far before the end
/// back to argument 1. The last argument a search could reach has nothing behind it, or is the command's name: it does not count.
fn behind_keyword(word: &str, from: i8, args: &Args<'_>) -> Option<usize> {
    let found = |i: &usize| args.is(*i, word);
    let distance = from.unsigned_abs() as usize;
    if from > 0 {
        (distance..args.len() - 1).find(found)
    } else {
        let start = args.len().checked_sub(distance).filter(|start| *start < args.len())?;
        (2..=start).rev().find(found)
    }
    .map(|i| i + 1)
}

/// All keys of a command as (argument index, what is done to it), in the order of the specifications.
pub fn keys<'a>(command: &'a Command, args: &Args<'a>) -> Result<Keys<'a>, InvalidKeys> {
    for spec in command.keys {
        key_range(spec, args)?;
    }
    Ok(Keys { command, args: *args, next_spec: 0, current: None })
}

/// Calls `f` with the argument index of each key; of no key behind a specification that is invalid.
#[inline]
pub fn for_each_key(command: &Command, args: &Args<'_>, mut f: impl FnMut(usize)) -> Result<(), InvalidKeys> {
    for spec in command.keys {
        if let Some(range) = key_range(spec, args)? {
            range.indices().for_each(&mut f);
        }
    }
    Ok(())
}

/// What [`keys`] returns.
pub struct Keys<'a> {
    command: &'a Command,
    args: Args<'a>,
    next_spec: usize,
    /// What is left of the current specification: its range, from the next key on.
    current: Option<(KeyRange, KeyAccess)>,
}

impl Iterator for Keys<'_> {
    type Item = (usize, KeyAccess);

    fn next(&mut self) -> Option<(usize, KeyAccess)> {
        loop {
            if let Some((range, access)) = &mut self.current {
                if range.first <= range.last {
                    let index = range.first;
                    range.first += range.step;
                    return Some((index, *access));
                }
                self.current = None;
            }
            let spec = self.command.keys.get(self.next_spec)?;
            self.next_spec += 1;
            if let Ok(Some(range)) = key_range(spec, &self.args) {
                self.current = Some((range, access(self.command, spec, &self.args)));
            }
        }
    }
}

/// What this very call does to the keys of `spec`.
fn access(command: &Command, spec: &KeySpec, args: &Args<'_>) -> KeyAccess {
    let reads = KeyAccess::RO.or(KeyAccess::ACCESS);
    let overwrites = KeyAccess::OW.or(KeyAccess::UPDATE);
    let changes = KeyAccess::RW.or(KeyAccess::ACCESS).or(KeyAccess::UPDATE);
    if !spec.access.has(KeyAccess::VARIABLE_FLAGS) {
        return spec.access;
    }
    match command.name {
        "set" if !(3..args.len()).any(|i| args.is(i, "get")) => overwrites,
        "bitfield" if bitfield_only_reads(args) => reads,
        _ => changes,
    }
}

/// Whether all operations of a BITFIELD are well-formed GETs. Anything doubtful counts as a write.
fn bitfield_only_reads(args: &Args<'_>) -> bool {
    let mut i = 2;
    while i < args.len() {
        let behind = args.len() - i - 1;
        if args.is(i, "get") && behind >= 2 {
            i += 3;
        } else if args.is(i, "overflow") && behind >= 1 {
            i += 2;
        } else {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::lookup::Commands;
    use crate::commands::{Group, Handler, Server};
    use crate::resp::OwnedArgs;

    fn owned(line: &str) -> OwnedArgs {
        line.split_whitespace().collect()
    }

    /// The keys of a call, as `index:flags`.
    fn found(line: &str) -> Vec<String> {
        let args = owned(line);
        let (_, command) = Commands::new().resolve(&args.args()).expect(line);
        let keys = keys(command, &args.args()).expect(line);
        keys.map(|(i, access)| format!("{i}:{}", access.names().collect::<Vec<_>>().join(" "))).collect()
    }

    #[test]
    fn fixed_and_open_ranges() {
        assert_eq!(found("get k"), ["1:RO access"]);
        assert_eq!(found("MGET a b c"), ["1:RO access", "2:RO access", "3:RO access"]);
        assert_eq!(found("mset a 1 b 2"), ["1:OW update", "3:OW update"]);
        assert_eq!(found("mset a 1 b"), ["1:OW update", "3:OW update"]);
        assert_eq!(found("lcs a b len"), ["1:RO access", "2:RO access"]);
        assert_eq!(found("rename a b"), ["1:RW access delete", "2:OW update"]);
        assert_eq!(found("bitop and d a b"), ["2:OW update", "3:RO access", "4:RO access"]);
        assert_eq!(found("object encoding k"), ["2:RO"]);
        assert_eq!(found("memory usage k samples 5"), ["2:RO"]);
        assert_eq!(found("sintercard 2 a b limit 5"), ["2:RO access", "3:RO access"]);
        assert_eq!(found("sort k by w_* limit 0 store store d get a"), ["1:RO access"]);
        assert_eq!(found("sort k store store store d get #"), ["1:RO access", "5:OW update"]);
        assert_eq!(found("sort_ro k by w_*"), ["1:RO access"]);
        assert!(found("ping").is_empty());
    }

    #[test]
    fn one_key_at_a_fixed_place() {
        let single = |line: &str| {
            let args = owned(line);
            let (_, command) = Commands::new().resolve(&args.args()).expect(line);
            single_key(command)
        };
        assert_eq!(single("get k"), Some(1));
        assert_eq!(single("object freq k"), Some(2));
        for line in ["mget k", "mset k v", "lcs a b", "rename a b", "bitop not a b", "ping", "scan 0"] {
            assert_eq!(single(line), None, "{line}");
        }
    }

    #[test]
    fn access_depends_on_the_options() {
        assert_eq!(found("set k v"), ["1:OW update"]);
        assert_eq!(found("set k get"), ["1:OW update"]);
        assert_eq!(found("set k v nx GET"), ["1:RW access update"]);
        assert_eq!(found("bitfield k"), ["1:RO access"]);
        assert_eq!(found("bitfield k get u8 0 overflow wrap GET u4 #1"), ["1:RO access"]);
        assert_eq!(found("bitfield k get u8 0 set u8 0 1"), ["1:RW access update"]);
        assert_eq!(found("bitfield k get u8"), ["1:RW access update"]);
    }

    fn indices(spec: KeySpec, line: &str) -> Result<Vec<usize>, InvalidKeys> {
        let specs: &'static [KeySpec] = Box::leak(Box::new([spec]));
        let command = Command::new("test", -1, Group::Generic, Handler::Server(Server::Ping)).keys(specs);
        let mut called = Vec::new();
        let args = owned(line);
        for_each_key(&command, &args.args(), |i| called.push(i))?;
        Ok(called)
    }

    const fn spec(begin: BeginSearch, find: FindKeys) -> KeySpec {
        KeySpec { begin, find, access: KeyAccess::RO, notes: None }
    }

    #[test]
    fn counted_keys() {
        let eval = spec(BeginSearch::Index(2), FindKeys::Counted { count: 0, first: 1, step: 1 });
        assert_eq!(indices(eval, "eval s 2 a b c"), Ok(vec![3, 4]));
        assert_eq!(indices(eval, "eval s 0 a"), Ok(vec![]));
        let pairs = spec(BeginSearch::Index(1), FindKeys::Counted { count: 0, first: 1, step: 2 });
        assert_eq!(indices(pairs, "x 2 a 1 b 2"), Ok(vec![2, 4]));
        for line in
            ["eval s 3 a b", "eval s -1 a", "eval s x a", "eval s +1 a", "eval s 18446744073709551615 a", "eval s"]
        {
            let args = owned(line);
            assert_eq!(key_range(&eval, &args.args()), Err(InvalidKeys), "{line}");
        }
    }

    #[test]
    fn keys_behind_a_keyword() {
        let half = FindKeys::Range { last: -1, step: 1, limit: 2 };
        let streams = spec(BeginSearch::Keyword("STREAMS", 1), half);
        assert_eq!(indices(streams, "xread count 1 streams a b 0 0"), Ok(vec![4, 5]));
        assert_eq!(indices(streams, "xread count 1"), Ok(vec![]));
        let all = FindKeys::Range { last: -1, step: 1, limit: 0 };
        let migrate = spec(BeginSearch::Keyword("KEYS", -2), all);
        assert_eq!(indices(migrate, "migrate keys 1 \"\" 0 9 keys a"), Ok(vec![7]));
        assert_eq!(indices(migrate, "migrate h 1 \"\" 0 9 keys a b"), Ok(vec![7, 8]));
        assert_eq!(indices(migrate, "m"), Ok(vec![]));
    }
}
