//! XINFO: what a stream, its groups and their consumers are made of.

use super::{at_most, no_group, now_ms, stream, write_entries, write_entry, write_id};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome, introspect, table};
use crate::resp::{Args, Writer};
use crate::types::stream::{Consumer, Entries, Group, Id, Log, Stream};

/// Entries that FULL shows of each list, unless a COUNT says otherwise.
const SHOWN: u64 = 10;

const ID_BYTES: usize = size_of::<Id>();

/// XINFO CONSUMERS key group
pub fn xinfo_consumers(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let now_ms = now_ms(&ctx.keys);
    let (key, name) = (args.get(2), args.get(3));
    let stream = stream(&mut ctx.keys, key)?.ok_or(Error::NoSuchKey)?;
    let group = stream.group(name).ok_or_else(|| no_group(key, name))?;
    let out = &mut ctx.out;
    out.array(group.consumers_len());
    for consumer in group.consumers() {
        out.map(4);
        out.bulk_str("name");
        out.bulk(consumer.name());
        out.bulk_str("pending");
        out.int(consumer.pending_len() as i64);
        out.bulk_str("idle");
        out.int(now_ms.saturating_sub(consumer.seen_ms).max(0));
        out.bulk_str("inactive");
        out.int(if consumer.active_ms == -1 { -1 } else { now_ms.saturating_sub(consumer.active_ms) });
    }
    Ok(())
}

/// XINFO GROUPS key
pub fn xinfo_groups(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let stream = stream(&mut ctx.keys, args.get(2))?.ok_or(Error::NoSuchKey)?;
    let out = &mut ctx.out;
    out.array(stream.groups().len());
    for group in stream.groups() {
        out.map(6);
        out.bulk_str("name");
        out.bulk(group.name());
        out.bulk_str("consumers");
        out.int(group.consumers_len() as i64);
        out.bulk_str("pending");
        out.int(group.pending_len() as i64);
        write_progress(out, group, stream.log());
    }
    Ok(())
}

fn write_progress(out: &mut Writer<'_>, group: &Group, log: &Log) {
    let int_or_null = |out: &mut Writer<'_>, value: Option<i64>| match value {
        Some(value) => out.int(value),
        None => out.null(),
    };
    out.bulk_str("last-delivered-id");
    write_id(out, group.last_id);
    out.bulk_str("entries-read");
    int_or_null(out, group.entries_read);
    out.bulk_str("lag");
    int_or_null(out, group.lag(log));
}

/// XINFO STREAM key [FULL [COUNT count]]
pub fn xinfo_stream(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let stream = stream(&mut ctx.keys, args.get(2))?.ok_or(Error::NoSuchKey)?;
    let full = match args.len() {
        3 => None,
        4 if args.is(3, "full") => Some(SHOWN),
        6 if args.is(3, "full") && args.is(4, "count") => Some(u64::try_from(int(args.get(5))?).unwrap_or(SHOWN)),
        _ => return Err(Error::subcommand_syntax(args)),
    };
    let (out, log) = (&mut ctx.out, stream.log());
    out.map(if full.is_some() { 9 } else { 10 });
    out.bulk_str("length");
    out.int(log.len() as i64);
    out.bulk_str("radix-tree-keys");
    out.int(log.blocks() as i64);
    out.bulk_str("radix-tree-nodes");
    out.int(radix_tree_nodes(log) as i64);
    out.bulk_str("last-generated-id");
    write_id(out, log.last_id());
    out.bulk_str("max-deleted-entry-id");
    write_id(out, log.max_deleted_id());
    out.bulk_str("entries-added");
    out.int(log.entries_added() as i64);
    out.bulk_str("recorded-first-entry-id");
    write_id(out, log.first_id());
    match full {
        Some(count) => write_full(out, stream, at_most(count)),
        None => write_edges(out, stream),
    }
    Ok(())
}

fn write_edges(out: &mut Writer<'_>, stream: &Stream) {
    let log = stream.log();
    let (mut up, mut down) = (log.range(Id::MIN, Id::MAX), log.range_reversed(Id::MIN, Id::MAX));
    out.bulk_str("groups");
    out.int(stream.groups().len() as i64);
    for (name, entry) in [("first-entry", up.next()), ("last-entry", down.next())] {
        out.bulk_str(name);
        match entry {
            Some(entry) => write_entry(out, &entry),
            None => out.null(),
        }
    }
}

fn write_full(out: &mut Writer<'_>, stream: &Stream, shown: usize) {
    out.bulk_str("entries");
    write_entries(out, stream.log().range(Id::MIN, Id::MAX), shown);
    out.bulk_str("groups");
    out.array(stream.groups().len());
    for group in stream.groups() {
        out.map(7);
        out.bulk_str("name");
        out.bulk(group.name());
        write_progress(out, group, stream.log());
        out.bulk_str("pel-count");
        out.int(group.pending_len() as i64);
        out.bulk_str("pending");
        out.array(group.pending_len().min(shown));
        for (id, pending) in group.pending(Id::MIN, Id::MAX).take(shown) {
            out.array(4);
            write_id(out, id);
            out.bulk(group.consumer(pending.owner).map_or(&[][..], Consumer::name));
            out.int(pending.delivered_ms);
            out.int(pending.deliveries.into());
        }
        out.bulk_str("consumers");
        out.array(group.consumers_len());
        for consumer in group.consumers() {
            write_consumer(out, group, consumer, shown);
        }
    }
}

fn write_consumer(out: &mut Writer<'_>, group: &Group, consumer: &Consumer, shown: usize) {
    out.map(5);
    out.bulk_str("name");
    out.bulk(consumer.name());
    out.bulk_str("seen-time");
    out.int(consumer.seen_ms);
    out.bulk_str("active-time");
    out.int(consumer.active_ms);
    out.bulk_str("pel-count");
    out.int(consumer.pending_len() as i64);
    out.bulk_str("pending");
    out.array(consumer.pending_len().min(shown));
    for id in consumer.pending_ids(Id::MIN, Id::MAX).take(shown) {
        out.array(3);
        write_id(out, id);
        let pending = group.get_pending(id);
        out.int(pending.map_or(0, |pending| pending.delivered_ms));
        out.int(pending.map_or(0, |pending| pending.deliveries.into()));
    }
}

/// How many nodes Redis's radix tree of the blocks' IDs has: a leaf for each block, a node where IDs part, and one for each run of bytes
/// between those.
fn radix_tree_nodes(log: &Log) -> usize {
    let mut nodes = log.blocks().max(1);
    // Where the IDs seen so far part from the last one, ascending.
    let mut forks: Vec<usize> = Vec::new();
    let mut last: Option<[u8; ID_BYTES]> = None;
    for block in log.outlines_from(Id::MIN) {
        let id = block.first().to_bytes();
        if let Some(last) = last {
            let common = id.iter().zip(&last).take_while(|(a, b)| a == b).count();
            nodes += run_above(ID_BYTES, forks.last().copied().max(Some(common)));
            nodes += close_forks(&mut forks, Some(common));
            if forks.last() != Some(&common) {
                forks.push(common);
            }
        }
        last = Some(id);
    }
    if last.is_some() {
        nodes += run_above(ID_BYTES, forks.last().copied());
        nodes += close_forks(&mut forks, None);
    }
    nodes
}

/// Takes out the forks that lie deeper than `below`, which is a fork itself; the nodes that they are, and that lead to them.
fn close_forks(forks: &mut Vec<usize>, below: Option<usize>) -> usize {
    let mut nodes = 0;
    while let Some(fork) = forks.pop_if(|fork| Some(*fork) > below) {
        nodes += 1 + run_above(fork, forks.last().copied().max(below));
    }
    nodes
}

/// Whether there are bytes between a node and the fork above it, which has the first byte behind itself: a node for them.
fn run_above(depth: usize, fork: Option<usize>) -> usize {
    usize::from(depth > fork.map_or(0, |fork| fork + 1))
}

/// XINFO HELP
pub fn xinfo_help(ctx: &mut Ctx<'_>, _args: &Args<'_>) -> Outcome {
    let xinfo = table::find("xinfo").ok_or(Error::Syntax)?;
    introspect::write_help(xinfo, &mut ctx.out);
    Ok(())
}
