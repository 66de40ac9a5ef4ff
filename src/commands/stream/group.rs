//! XGROUP: groups and their consumers come and go.

use super::{event, no_group, now_ms, parse_id, stream_to_change};
use crate::commands::options::int;
use crate::commands::{Ctx, Error, Outcome, introspect, table};
use crate::keyspace::graveyard;
use crate::resp::Args;
use crate::types::Collection;
use crate::types::stream::{Group, Id, Stream};

const NO_KEY: Error = Error::text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// What stands behind the ID of CREATE and SETID.
#[derive(Default)]
struct Options {
    mkstream: bool,
    entries_read: Option<i64>,
}

impl Options {
    /// `makes`: MKSTREAM is an option, too.
    fn parse(args: &Args<'_>, makes: bool) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut i = 5;
        while i < args.len() {
            if makes && args.is(i, "mkstream") {
                options.mkstream = true;
                i += 1;
                continue;
            }
            let value = args.opt(i + 1).filter(|_| args.is(i, "entriesread"));
            options.entries_read = match int(value.ok_or_else(|| Error::subcommand_syntax(args))?)? {
                -1 => None,
                read if read < 0 => {
                    return Err(Error::text("ERR value for ENTRIESREAD must be positive or -1"));
                }
                read => Some(read),
            };
            i += 2;
        }
        Ok(options)
    }
}

/// The stream that must be there.
fn required<'k>(ctx: &'k mut Ctx<'_>, key: &[u8]) -> Result<&'k mut Stream, Error> {
    stream_to_change(&mut ctx.keys, key)?.ok_or(NO_KEY)
}

/// The group that must be there.
fn required_group<'k>(ctx: &'k mut Ctx<'_>, args: &Args<'_>) -> Result<&'k mut Group, Error> {
    let (key, name) = (args.get(2), args.get(3));
    required(ctx, key)?.group_mut(name).ok_or_else(|| no_group(key, name))
}

/// XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]
pub fn xgroup_create(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    /// Arguments with every option once.
    const MOST_ARGS: usize = 8;
    let options = Options::parse(args, true)?;
    let (key, name) = (args.get(2), args.get(3));
    let stream = stream_to_change(&mut ctx.keys, key)?;
    if stream.is_none() && !options.mkstream {
        return Err(NO_KEY);
    }
    if args.len() > MOST_ARGS {
        return Err(Error::subcommand_syntax(args));
    }
    let last_id = match args.get(4) {
        b"$" => stream.as_ref().map_or(Id::MIN, |stream| stream.log().last_id()),
        id => parse_id(id)?,
    };
    let created = match stream {
        Some(stream) => stream.create_group(name, last_id, options.entries_read),
        None => {
            let mut stream = Stream::new();
            let created = stream.create_group(name, last_id, options.entries_read);
            ctx.keys.set_full(key, stream);
            created
        }
    };
    if !created {
        return Err(Error::text("BUSYGROUP Consumer Group name already exists"));
    }
    event(&mut ctx.keys, key, "xgroup-create");
    ctx.changed(1);
    ctx.out.ok();
    Ok(())
}

/// XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]
pub fn xgroup_setid(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let options = Options::parse(args, false)?;
    let last_id = required(ctx, args.get(2))?.log().last_id();
    let group = required_group(ctx, args)?;
    if args.len() != 5 && args.len() != 7 {
        return Err(Error::subcommand_syntax(args));
    }
    group.last_id = match args.get(4) {
        b"$" => last_id,
        id => Id::parse_or_edge(id, 0).ok_or(super::INVALID_ID)?,
    };
    group.entries_read = options.entries_read;
    event(&mut ctx.keys, args.get(2), "xgroup-setid");
    ctx.changed(1);
    ctx.out.ok();
    Ok(())
}

/// XGROUP DESTROY key group
pub fn xgroup_destroy(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let key = args.get(2);
    let removed = required(ctx, key)?.remove_group(args.get(3));
    let destroyed = removed.is_some();
    if let Some(removed) = removed {
        graveyard::bury(Box::new(removed.into_object()));
        // Those who wait for news of the group have to be told.
        ctx.keys.changed(key);
        event(&mut ctx.keys, key, "xgroup-destroy");
        ctx.changed(1);
    }
    ctx.out.int(destroyed.into());
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer
pub fn xgroup_createconsumer(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let now_ms = now_ms(&ctx.keys);
    let created = required_group(ctx, args)?.create_consumer(args.get(4), now_ms).is_some();
    if created {
        event(&mut ctx.keys, args.get(2), "xgroup-createconsumer");
        ctx.changed(1);
    }
    ctx.out.int(created.into());
    Ok(())
}

/// XGROUP DELCONSUMER key group consumer
pub fn xgroup_delconsumer(ctx: &mut Ctx<'_>, args: &Args<'_>) -> Outcome {
    let pending = required_group(ctx, args)?.delete_consumer(args.get(4));
    if pending.is_some() {
        event(&mut ctx.keys, args.get(2), "xgroup-delconsumer");
        ctx.changed(1);
    }
    ctx.out.int(pending.unwrap_or(0) as i64);
    Ok(())
}

/// XGROUP HELP
pub fn xgroup_help(ctx: &mut Ctx<'_>, _args: &Args<'_>) -> Outcome {
    let xgroup = table::find("xgroup").ok_or(Error::Syntax)?;
    introspect::write_help(xgroup, &mut ctx.out);
    Ok(())
}
