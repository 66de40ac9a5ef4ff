//! XREAD and XREADGROUP: what comes behind an ID, now or as soon as it is there.

use std::ops::Range;

use super::{
    Telling, at_most, consumer_at_work, event, note_active, now_ms, parse_count, parse_id, stream, stream_to_change,
    write_entries, write_entry, write_id,
};
use crate::commands::blocking::{AtTimeout, Block, until_of_millis};
use crate::commands::error::c_string;
use crate::commands::{Ctx, Error, Outcome};
use crate::keyspace::Kind;
use crate::resp::{Args, OwnedArgs, Proto, Writer};
use crate::types::stream::{Entries, Group, Id, Log, MAX_ID_TEXT, Owner, Stream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    Xread,
    Xreadgroup,
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Command::Xread => "xread",
            Command::Xreadgroup => "xreadgroup",
        }
    }
}

/// A group, and who reads for it.
#[derive(Clone, Copy)]
struct Reader<'a> {
    group: &'a [u8],
    consumer: &'a [u8],
}

/// What the arguments say.
struct Options<'a> {
    /// 0 for all.
    count: u64,
    /// With BLOCK: until when.
    until_ms: Option<Option<u64>>,
    reader: Option<Reader<'a>>,
    no_ack: bool,
    /// The arguments that are keys; as many IDs follow.
    keys: Range<usize>,
}

impl<'a> Options<'a> {
    fn parse(args: &Args<'a>, command: Command, now_ms: u64) -> Result<Options<'a>, Error> {
        let mut options = Options { count: 0, until_ms: None, reader: None, no_ack: false, keys: 0..0 };
        let mut i = 1;
        while i < args.len() {
            let behind = args.len() - i - 1;
            if behind > 0 && args.is(i, "block") {
                options.until_ms = Some(until_of_millis(args.get(i + 1), now_ms)?);
                i += 2;
            } else if behind > 0 && args.is(i, "count") {
                options.count = parse_count(args.get(i + 1))?;
                i += 2;
            } else if behind > 0 && args.is(i, "streams") {
                options.keys = streams(i + 1, behind, command)?;
                break;
            } else if behind >= 2 && args.is(i, "group") {
                options.reader = Some(Reader { group: args.get(i + 1), consumer: args.get(i + 2) });
                only_for_groups(command, "GROUP")?;
                i += 3;
            } else if args.is(i, "noack") {
                options.no_ack = true;
                only_for_groups(command, "NOACK")?;
                i += 1;
            } else {
                return Err(Error::Syntax);
            }
        }
        if options.keys.is_empty() {
            return Err(Error::Syntax);
        }
        if command == Command::Xreadgroup && options.reader.is_none() {
            return Err(Error::text("ERR Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }

    /// The argument that is the ID for the stream of this key.
    fn id_at(&self, key: usize) -> usize {
        key + self.keys.len()
    }
}

/// The half of the last `count` arguments that are keys.
fn streams(first: usize, count: usize, command: Command) -> Result<Range<usize>, Error> {
    if count.is_multiple_of(2) {
        return Ok(first..first + count / 2);
    }
    let (name, symbol) = (command.name(), if command == Command::Xread { '$' } else { '>' });
    Err(Error::with(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    )))
}

fn only_for_groups(command: Command, option: &str) -> Outcome {
    if command == Command::Xreadgroup {
        return Ok(());
    }
    Err(Error::with(format!("ERR The {option} option is only supported by XREADGROUP. You called XREAD instead.")))
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]
pub fn xread(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let options = Options::parse(args, Command::Xread, ctx.keys.now_ms())?;
    let wanted = ctx.candidates(options.keys.clone());
    for at in wanted.clone() {
        after(args.get(options.id_at(at)), stream(&mut ctx.keys, args.get(at))?)?;
    }
    let (mark, mut served) = (ctx.out.mark(), 0);
    for at in wanted {
        let key = args.get(at);
        let Some(stream) = stream(&mut ctx.keys, key)? else { continue };
        let after = after(args.get(options.id_at(at)), Some(stream))?;
        let log = stream.log();
        let Some(start) = after.next().filter(|_| log.last_live_id() > Some(after)) else { continue };
        begin_stream(&mut ctx.out, key);
        write_entries(&mut ctx.out, log.range(start, Id::MAX), at_most(options.count));
        served += 1;
    }
    if served > 0 {
        ctx.out.map_of_streams(mark, served);
        return Ok(());
    }
    wait(ctx, &options);
    if options.until_ms.is_some() && args.iter_from(options.keys.end).any(|id| matches!(id, b"$" | b"+")) {
        resolve(ctx, args, &options)?;
    }
    Ok(())
}

/// The ID behind which XREAD reads.
fn after(id: &[u8], stream: Option<&Stream>) -> Result<Id, Error> {
    let last_id = || stream.map_or(Id::MIN, |stream| stream.log().last_id());
    match id {
        b"$" => Ok(last_id()),
        // The last entry, or the first to come.
        b"+" => Ok(stream.and_then(|stream| stream.log().last_live_id()).and_then(Id::prev).unwrap_or_else(last_id)),
        b">" => Err(Error::text(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        id => parse_id(id),
    }
}

/// The client waits, and what it waits behind is settled now: what its `$` and `+` stood for.
fn resolve(ctx: &mut Ctx<'_>, args: &Args<'_>, options: &Options<'_>) -> Outcome {
    let mut again = OwnedArgs::default();
    args.iter_from(0).take(options.keys.end).for_each(|arg| again.push(arg));
    for at in options.keys.clone() {
        let stream = stream(&mut ctx.keys, args.get(at))?;
        again.push(after(args.get(options.id_at(at)), stream)?.text(&mut [0; MAX_ID_TEXT]));
    }
    ctx.call_again_with(again);
    Ok(())
}

/// Nothing was found: the client waits, or that is the answer.
fn wait(ctx: &mut Ctx<'_>, options: &Options<'_>) {
    let Some(until_ms) = options.until_ms else { return ctx.out.null_array() };
    let block = Block::on(options.keys.clone(), Kind::Stream, until_ms, AtTimeout::NullArray);
    // A group goes with its stream, and then nothing can come for it.
    ctx.block_for(if options.reader.is_some() { block.waking_when_gone() } else { block });
}

/// Writes what comes before the entries of a stream.
fn begin_stream(out: &mut Writer<'_>, key: &[u8]) {
    if out.proto() == Proto::Resp2 {
        out.array(2);
    }
    out.bulk(key);
}

impl Writer<'_> {
    /// What was written since `mark` are so many streams with their entries: in RESP3 a map, in RESP2 an array of pairs.
    fn map_of_streams(&mut self, mark: usize, streams: usize) {
        match self.proto() {
            Proto::Resp2 => self.array_from(mark, streams),
            Proto::Resp3 => self.map_from(mark, streams),
        }
    }
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key [key ...] id [id ...]
pub fn xreadgroup(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let options = Options::parse(args, Command::Xreadgroup, ctx.keys.now_ms())?;
    let Some(reader) = options.reader else { return Err(Error::Syntax) };
    let wanted = ctx.candidates(options.keys.clone());
    for at in wanted.clone() {
        let key = args.get(at);
        if stream(&mut ctx.keys, key)?.and_then(|stream| stream.group(reader.group)).is_none() {
            return Err(no_group_to_read(key, reader.group));
        }
        From::parse(args.get(options.id_at(at)))?;
    }
    ctx.propagate_nothing();
    let (mark, mut served) = (ctx.out.mark(), 0);
    for at in wanted {
        let from = From::parse(args.get(options.id_at(at)))?;
        served += usize::from(read_for_group(ctx, args.get(at), reader, from, &options)?);
    }
    if served > 0 {
        ctx.out.map_of_streams(mark, served);
    } else {
        wait(ctx, &options);
    }
    Ok(())
}

fn no_group_to_read(key: &[u8], group: &[u8]) -> Error {
    Error::concat(&[
        b"NOGROUP No such key '",
        c_string(key),
        b"' or consumer group '",
        c_string(group),
        b"' in XREADGROUP with GROUP option",
    ])
}

/// From where a consumer reads.
#[derive(Clone, Copy)]
enum From {
    /// `>`: what nobody of its group has got yet.
    New,
    /// What it has got behind this ID and not acknowledged.
    History(Id),
}

impl From {
    fn parse(id: &[u8]) -> Result<From, Error> {
        let meaningless = |id: char| {
            Error::with(format!(
                "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return an empty result set."
            ))
        };
        match id {
            b">" => Ok(From::New),
            b"$" => Err(meaningless('$')),
            b"+" => Err(meaningless('+')),
            id => Ok(match parse_id(id)? {
                // Nothing lies behind it: Redis takes it for the other.
                Id::MAX => From::New,
                id => From::History(id),
            }),
        }
    }
}

/// Reads one stream for a consumer. Whether there was an answer, if an empty one.
fn read_for_group(
    ctx: &mut Ctx<'_>,
    key: &[u8],
    reader: Reader<'_>,
    from: From,
    options: &Options<'_>,
) -> Result<bool, Error> {
    let now_ms = now_ms(&ctx.keys);
    let Ctx { keys, out, propagation, .. } = ctx;
    let parts = stream_to_change(keys, key)?.and_then(|stream| stream.parts_mut(reader.group));
    let (log, group) = parts.ok_or_else(|| no_group_to_read(key, reader.group))?;
    let mut telling = Telling { propagation: propagation.as_deref_mut(), key, group: reader.group };
    let (owner, is_new) = consumer_at_work(group, reader.consumer, now_ms);
    if is_new {
        telling.consumer(reader.consumer);
    }
    let count = at_most(options.count);
    let served = match from {
        From::History(id) => {
            begin_stream(out, key);
            write_history(out, log, group, owner, id, count, now_ms);
            true
        }
        From::New if log.last_live_id() > Some(group.last_id) => {
            begin_stream(out, key);
            let acknowledged = if options.no_ack { Acknowledged::AtOnce } else { Acknowledged::Later };
            let delivery = Delivery { log, owner, now_ms, acknowledged };
            delivery.write(out, group, count, &mut telling);
            true
        }
        From::New => false,
    };
    if is_new {
        event(keys, key, "xgroup-createconsumer");
    }
    ctx.changed(u64::from(is_new) + u64::from(served));
    Ok(served)
}

/// Writes what is pending with a consumer behind an ID: it is delivered once more.
fn write_history(out: &mut Writer<'_>, log: &Log, group: &mut Group, owner: Owner, id: Id, count: usize, now_ms: i64) {
    let (mark, mut written) = (out.mark(), 0);
    let mut next = id.next();
    let following = |group: &Group, from: Option<Id>| group.consumer(owner)?.pending_ids(from?, Id::MAX).next();
    while written < count
        && let Some(id) = following(group, next)
    {
        match log.range(id, id).next() {
            Some(entry) => {
                write_entry(out, &entry);
                group.redeliver(id, now_ms);
            }
            // Deleted meanwhile: the consumer may acknowledge it.
            None => {
                out.array(2);
                write_id(out, id);
                out.null_array();
            }
        }
        written += 1;
        next = id.next();
    }
    out.array_from(mark, written);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// NOACK
    AtOnce,
    Later,
}

/// Entries that are new to a group, for one of its consumers.
struct Delivery<'l> {
    log: &'l Log,
    owner: Owner,
    now_ms: i64,
    acknowledged: Acknowledged,
}

impl Delivery<'_> {
    fn write(&self, out: &mut Writer<'_>, group: &mut Group, count: usize, telling: &mut Telling<'_, '_>) {
        let (mark, mut written) = (out.mark(), 0);
        let Some(start) = group.last_id.next() else { return out.array(0) };
        let mut entries = self.log.range(start, Id::MAX);
        while written < count
            && let Some(entry) = entries.next()
        {
            group.advance(self.log, entry.id);
            write_entry(out, &entry);
            if self.acknowledged == Acknowledged::Later {
                group.deliver(entry.id, self.owner, self.now_ms);
                if let Some(pending) = group.get_pending(entry.id) {
                    telling.claim(group, entry.id, pending);
                }
            }
            written += 1;
        }
        out.array_from(mark, written);
        if written > 0 {
            telling.position(group);
            if self.acknowledged == Acknowledged::Later {
                note_active(group, self.owner, self.now_ms);
            }
        }
    }
}
