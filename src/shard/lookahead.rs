//! Reading ahead in a pipeline: several whole commands are parsed before the first one runs, so that the waits for memory of their keys
//! overlap (`Keyspace::prefetch`).
//!
//! Invariants
//! - only whole commands are taken; whatever else comes (an incomplete one, a large value, an error) is left to the connection's own parser
//! - what was read but not executed is read again later: reading has no effect

use super::Shard;
use super::execute::Route;
use crate::commands::lookup::CommandId;
use crate::keyspace::{KeyHash, slot};
use crate::resp::Args;
use crate::resp::parser::{Limits, Parsed, Parser};

/// Commands read at once: enough to overlap the waits, few enough that their lines stay in the first-level cache.
pub const COMMANDS: usize = 16;

/// One command that was read.
#[derive(Default)]
struct Ahead {
    parser: Parser,
    /// Where its bytes lie.
    start: usize,
    end: usize,
    known: Known,
}

/// What reading ahead found out about a command.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// Its name's command; whether the arguments suit it is still to be checked.
    pub command: Option<CommandId>,
    /// The slot of its key, if it has exactly one.
    pub slot: Option<u16>,
    /// The hash of that key, if it lives here.
    pub hash: Option<KeyHash>,
}

#[derive(Default)]
pub struct Lookahead {
    commands: [Ahead; COMMANDS],
    count: usize,
    hashes: Vec<KeyHash>,
}

impl Lookahead {
    /// How many commands were read.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The arguments of a command that was read from `bytes`, and what is known of it.
    pub fn get<'a>(&'a self, index: usize, bytes: &'a [u8]) -> (Args<'a>, Known) {
        let ahead = &self.commands[index];
        (ahead.parser.args(&bytes[ahead.start..]), ahead.known)
    }

    /// Where a command ends.
    pub fn end(&self, index: usize) -> usize {
        self.commands[index].end
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        for ahead in &mut self.commands[..self.count] {
            ahead.parser.reset();
        }
        self.count = 0;
    }

    /// Parses whole commands from the front of `bytes`.
    fn parse(&mut self, bytes: &[u8], limits: &Limits) {
        let mut at = 0;
        while self.count < COMMANDS {
            let ahead = &mut self.commands[self.count];
            match ahead.parser.parse(&bytes[at..], limits) {
                Ok(Parsed::Command { consumed }) => {
                    ahead.start = at;
                    at += consumed;
                    ahead.end = at;
                    ahead.known = Known::default();
                    self.count += 1;
                }
                Ok(Parsed::Nothing { .. } | Parsed::Incomplete | Parsed::Large { .. }) | Err(_) => {
                    ahead.parser.reset();
                    return;
                }
            }
        }
    }
}

impl Shard {
    /// Reads whole commands from the front of `bytes`, and asks for the memory of the keys that live here.
    pub(super) fn read_ahead(&self, ahead: &mut Lookahead, database: usize, bytes: &[u8], limits: &Limits) {
        ahead.clear();
        ahead.parse(bytes, limits);
        ahead.hashes.clear();
        for command in &mut ahead.commands[..ahead.count] {
            let args = command.parser.args(&bytes[command.start..]);
            let Some(id) = self.commands.lookup(&args) else { continue };
            command.known.command = Some(id);
            if let Route::One(index) = self.routes[id.index()]
                && let Some(key) = args.opt(index.into())
            {
                let slot = slot::slot(key);
                command.known.slot = Some(slot);
                if self.keyspace.slots().contains(&slot) {
                    let hash = self.keyspace.hash(key, slot);
                    command.known.hash = Some(hash);
                    ahead.hashes.push(hash);
                }
            }
        }
        if ahead.count > 1 {
            self.keyspace.prefetch(database, &ahead.hashes);
        }
    }
}
