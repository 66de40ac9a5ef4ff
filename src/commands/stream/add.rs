//! XADD and XTRIM.

use super::{INVALID_ID, event, parse_id, stream_to_change, write_id};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::KeyView;
use crate::resp::Args;
use crate::types::stream::{AppendError, BlockLimits, Id, Keep, Log, MAX_ID_TEXT, NewId, Precision, Stream};

/// An approximate trim without LIMIT drops what so many full blocks hold, at most.
const BLOCKS_A_TRIM: u64 = 100;
const ENTRIES_A_TRIM: u64 = 10_000;
const MOST_ENTRIES_A_TRIM: u64 = 1_000_000;

#[derive(Clone, Copy)]
struct Trim {
    keep: Keep,
    precision: Precision,
}

/// How a trim turned out.
#[derive(Clone, Copy)]
struct Trimmed {
    entries: u64,
    /// The same trim in words that do not depend on blocks.
    exactly: Keep,
}

impl Trim {
    fn run(self, log: &mut Log) -> Trimmed {
        let entries = log.trim(self.keep, self.precision);
        let exactly = match self.keep {
            Keep::Last(_) => Keep::Last(log.len()),
            Keep::From(_) => Keep::From(log.first_block_id()),
        };
        Trimmed { entries, exactly }
    }

    fn is_exact(self) -> bool {
        self.precision == Precision::Exact
    }
}

/// The options in front of XADD's ID, which are XTRIM's.
#[derive(Default)]
struct Options {
    keep: Option<Keep>,
    approximate: bool,
    limit: Option<u64>,
    no_mkstream: bool,
}

impl Options {
    /// Takes in the option at argument `i`; how many arguments it has. `None`: it is no option.
    fn take(&mut self, args: &Args<'_>, i: usize) -> Result<Option<usize>, Error> {
        let behind = args.len() - i - 1;
        let is_maxlen = args.is(i, "maxlen");
        if behind > 0 && (is_maxlen || args.is(i, "minid")) {
            const BOTH: Error =
                Error::text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
            if self.keep.is_some() {
                return Err(BOTH);
            }
            let operator = behind >= 2 && matches!(args.get(i + 1), b"~" | b"=");
            self.approximate = operator && args.get(i + 1) == b"~";
            let at = i + 1 + usize::from(operator);
            self.keep = Some(if is_maxlen { maxlen(args.get(at))? } else { Keep::From(parse_id(args.get(at))?) });
            return Ok(Some(at + 1 - i));
        }
        if behind > 0 && args.is(i, "limit") {
            let limit = int(args.get(i + 1))?;
            let limit = u64::try_from(limit).map_err(|_| Error::text("ERR The LIMIT argument must be >= 0."))?;
            self.limit = Some(limit);
            return Ok(Some(2));
        }
        Ok(None)
    }

    /// The trim that was asked for. A primary's LIMIT is no more than a trace of what its client said.
    fn trim(&self, keys: &KeyView<'_>, limits: BlockLimits) -> Result<Option<Trim>, Error> {
        let Some(keep) = self.keep else {
            return match self.limit {
                None | Some(0) => Ok(None),
                Some(_) => {
                    Err(Error::text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"))
                }
            };
        };
        let obeys = keys.obeys();
        if self.limit.is_some() && !self.approximate && !obeys {
            return Err(Error::text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
        }
        let precision = match (self.approximate, self.limit) {
            (false, _) => Precision::Exact,
            (true, _) if obeys => Precision::WholeBlocks { limit: 0 },
            (true, Some(limit)) => Precision::WholeBlocks { limit },
            (true, None) => Precision::WholeBlocks { limit: usual_limit(limits) },
        };
        Ok(Some(Trim { keep, precision }))
    }
}

fn maxlen(arg: &[u8]) -> Result<Keep, Error> {
    let entries = u64::try_from(int(arg)?).map_err(|_| Error::text("ERR The MAXLEN argument must be >= 0."))?;
    Ok(Keep::Last(entries))
}

fn usual_limit(limits: BlockLimits) -> u64 {
    match BLOCKS_A_TRIM * u64::from(limits.max_entries) {
        0 => ENTRIES_A_TRIM,
        entries => entries.min(MOST_ENTRIES_A_TRIM),
    }
}

/// What XADD's arguments say.
struct Addition<'a> {
    new: NewId,
    id_at: usize,
    no_mkstream: bool,
    trim: Option<Trim>,
    args: Args<'a>,
}

impl<'a> Addition<'a> {
    fn parse(args: &Args<'a>, keys: &KeyView<'_>, limits: BlockLimits) -> Result<Addition<'a>, Error> {
        let mut options = Options::default();
        let mut i = 2;
        let mut new = None;
        while i < args.len() && new.is_none() {
            if args.get(i) == b"*" {
                new = Some(NewId::Auto);
            } else if let Some(taken) = options.take(args, i)? {
                i += taken;
            } else if args.is(i, "nomkstream") {
                options.no_mkstream = true;
                i += 1;
            } else {
                new = Some(NewId::parse(args.get(i)).ok_or(INVALID_ID)?);
            }
        }
        let trim = options.trim(keys, limits)?;
        let texts = args.len().saturating_sub(i + 1);
        let Some(new) = new.filter(|_| texts >= 2 && texts.is_multiple_of(2)) else {
            return Err(Error::arity("xadd"));
        };
        if new == NewId::Given(Id::MIN) {
            return Err(Error::text("ERR The ID specified in XADD must be greater than 0-0"));
        }
        Ok(Addition { new, id_at: i, no_mkstream: options.no_mkstream, trim, args: *args })
    }

    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        let args = self.args;
        (self.id_at + 1..args.len()).step_by(2).map(move |i| (args.get(i), args.get(i + 1)))
    }

    fn run(&self, stream: &mut Stream, now_ms: u64, limits: BlockLimits) -> Result<(Id, Option<Trimmed>), Error> {
        let log = stream.log_mut();
        let id = log.append(self.new, now_ms, self.fields(), limits).map_err(|error| match error {
            AppendError::Exhausted => {
                Error::text("ERR The stream has exhausted the last possible ID, unable to add more items")
            }
            AppendError::NotGreater => {
                Error::text("ERR The ID specified in XADD is equal or smaller than the target stream top item")
            }
            AppendError::TooLarge => Error::text("ERR Elements are too large to be stored"),
        })?;
        Ok((id, self.trim.map(|trim| trim.run(log))))
    }

    /// What replicas are told: the ID that the entry got, and a trim that drops there what it dropped here. The client's own words, if they
    /// say so.
    fn propagate(&self, ctx: &mut Ctx<'_>, id: Id, trimmed: Option<Trimmed>) {
        let Some(propagation) = &mut ctx.propagation else { return };
        if matches!(self.new, NewId::Given(_)) && self.trim.is_none_or(Trim::is_exact) {
            return;
        }
        let (mut number, mut text) = (itoa::Buffer::new(), [0; MAX_ID_TEXT]);
        let mut exactly = trimmed.map(|trimmed| trimmed.exactly);
        if let Some(trim) = self.trim.filter(|trim| trim.is_exact()) {
            exactly = Some(trim.keep);
        }
        let trim = exactly.map(|keep| exact_trim(keep, &mut number, &mut text));
        let texts = self.args.iter_from(self.id_at + 1);
        let no_mkstream: &[&[u8]] = if self.no_mkstream { &[b"NOMKSTREAM"] } else { &[] };
        let trim = trim.as_ref().map_or(&[][..], |words| words);
        let count = 3 + no_mkstream.len() + trim.len() + (self.args.len() - self.id_at - 1);
        let mut id_text = [0; MAX_ID_TEXT];
        let words = [&b"XADD"[..], self.args.get(1)].into_iter().chain(no_mkstream.iter().copied());
        let words = words.chain(trim.iter().copied()).chain([id.text(&mut id_text)]);
        propagation.push_all(count, words.chain(texts));
    }
}

/// The words of an exact trim.
fn exact_trim<'t>(keep: Keep, number: &'t mut itoa::Buffer, text: &'t mut [u8; MAX_ID_TEXT]) -> [&'t [u8]; 3] {
    match keep {
        Keep::Last(entries) => [b"MAXLEN", b"=", number.format(entries).as_bytes()],
        Keep::From(id) => [b"MINID", b"=", id.text(text)],
    }
}

/// XADD key [NOMKSTREAM] [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> field value [field value ...]
pub fn xadd(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let limits = ctx.encodings.stream;
    let addition = Addition::parse(args, &ctx.keys, limits)?;
    let (key, now_ms) = (args.get(1), ctx.keys.now_ms());
    let (id, trimmed) = match stream_to_change(&mut ctx.keys, key)? {
        Some(stream) => {
            let done = addition.run(stream, now_ms, limits)?;
            ctx.keys.changed(key);
            done
        }
        None if addition.no_mkstream => {
            ctx.out.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::new();
            let done = addition.run(&mut stream, now_ms, limits)?;
            ctx.keys.set_full(key, stream);
            done
        }
    };
    write_id(&mut ctx.out, id);
    event(&mut ctx.keys, key, "xadd");
    if trimmed.is_some_and(|trimmed| trimmed.entries > 0) {
        event(&mut ctx.keys, key, "xtrim");
    }
    ctx.changed(1);
    addition.propagate(ctx, id, trimmed);
    Ok(())
}

/// XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count]
pub fn xtrim(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let mut options = Options::default();
    let mut i = 2;
    while i < args.len() {
        i += options.take(args, i)?.ok_or(Error::Syntax)?;
    }
    let trim = options.trim(&ctx.keys, ctx.encodings.stream)?;
    let trim = trim.ok_or(Error::text("ERR syntax error, XTRIM must be called with a trimming strategy"))?;
    let key = args.get(1);
    let trimmed = stream_to_change(&mut ctx.keys, key)?.map(|stream| trim.run(stream.log_mut()));
    let entries = trimmed.map_or(0, |trimmed| trimmed.entries);
    ctx.out.int(entries as i64);
    if let Some(trimmed) = trimmed.filter(|_| entries > 0) {
        ctx.keys.changed(key);
        event(&mut ctx.keys, key, "xtrim");
        ctx.changed(entries);
        if !trim.is_exact() {
            let (mut number, mut text) = (itoa::Buffer::new(), [0; MAX_ID_TEXT]);
            let [word, operator, value] = exact_trim(trimmed.exactly, &mut number, &mut text);
            ctx.propagate_as(&[b"XTRIM", key, word, operator, value]);
        }
    }
    Ok(())
}
