//! Who executes the primary's stream: which units go to which shard, what must wait for what, and how far everything is applied.
//!
//! Invariants
//! - units over the same key reach their shard in the order of the stream; a MULTI block runs as a whole
//! - a unit that concerns several shards, or no key, runs alone: everything before it has been answered when it starts, and nothing behind it
//!   starts before it is done
//! - the applied offset never falls, and everything before it is applied on every shard
//! - what waits for answers is bounded ([`IN_FLIGHT_UNITS`], [`IN_FLIGHT_BYTES`]); beyond, nothing is taken from the stream
//!
//! Batches and bytes to be applied go out through [`Applier::ready`]; answers come back. No sockets, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::{error, warn};

use super::stream::{Block, Stream, StreamError, Unit};
use crate::commands::lookup::{CommandId, Commands};
use crate::commands::sort::looks_elsewhere;
use crate::commands::{Handler, keys};
use crate::keyspace::slot;
use crate::resp::{Args, Proto, write_command};
use crate::runtime::SocketId;
use crate::shard::limits::{BATCH_BYTES, BATCH_COMMANDS, SPARE_BUFFERS};
use crate::shard::{self, Batch, Origin, Route};

/// Commands that shards may have and not have answered. Beyond, the stream waits until half is answered.
pub const IN_FLIGHT_UNITS: usize = 64 * 1024;
/// The same in bytes of the stream.
pub const IN_FLIGHT_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of units in one message to the virtual client.
const APPLY_BYTES: usize = 1024 * 1024;
/// Errors of the stream that are logged one by one; of more, only the number is told, once a second.
const ERRORS_LOGGED: u64 = 20;

/// Who is said to have sent the commands: no client has this place.
const AUTHOR: SocketId = SocketId { index: u32::MAX, generation: u32::MAX };

/// What leaves for the shards.
pub enum Ready {
    Batch(usize, Box<Batch>),
    /// For the virtual client.
    Apply(Vec<u8>),
}

/// A batch that is open or on its way.
struct Outstanding {
    /// Where in the stream its first unit begins.
    start: u64,
    /// Commands that are not answered.
    left: u32,
    bytes: usize,
}

/// Why [`Applier::take`] has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All units that are there are taken.
    Empty,
    /// It goes on when answers have come.
    Busy,
}

/// What the virtual client is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alone {
    No,
    /// Since this offset, with so many bytes of the stream.
    Runs {
        start: u64,
    },
}

/// The shard that has a command's keys, and their slot where there is but one key.
#[derive(Clone, Copy)]
struct Home {
    shard: usize,
    slot: Option<u16>,
}

/// Where a unit goes.
enum Place {
    Shard(Home, CommandId),
    /// To the virtual client.
    Alone,
    /// It cannot be executed; that is logged.
    Nowhere,
}

pub struct Applier {
    commands: Arc<Commands>,
    routes: Vec<Route>,
    shards: usize,
    /// The batch of each shard that is being filled, with its number.
    open: Vec<Option<(u32, Box<Batch>)>>,
    /// Open batches and those on their way, in the order of their first units.
    outstanding: VecDeque<Outstanding>,
    /// The number of the first outstanding one.
    first_number: u32,
    in_flight_units: usize,
    in_flight_bytes: usize,
    /// It was too much, and is not yet down to half.
    full: bool,
    alone: Alone,
    // They travel boxed.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Batch>>,
    /// What is to be posted, in this order.
    pub ready: VecDeque<Ready>,
    /// Everything up to here was taken from the stream.
    taken: u64,
    /// Where the primary wants to know that we have got.
    ack_at: Option<u64>,
    /// Commands that failed, all in all, and those since the log was last told.
    pub errors: u64,
    unlogged_errors: u64,
    logged_errors: u64,
}

impl Applier {
    pub fn new(commands: Arc<Commands>, shards: usize) -> Applier {
        let routes = routes(&commands);
        Applier {
            commands,
            routes,
            shards,
            open: (0..shards).map(|_| None).collect(),
            outstanding: VecDeque::new(),
            first_number: 0,
            in_flight_units: 0,
            in_flight_bytes: 0,
            full: false,
            alone: Alone::No,
            spare: Vec::new(),
            ready: VecDeque::new(),
            taken: 0,
            ack_at: None,
            errors: 0,
            unlogged_errors: 0,
            logged_errors: 0,
        }
    }

    /// Begins at another offset, as after a full resynchronisation. Only while nothing is outstanding.
    pub fn begin_at(&mut self, offset: u64) {
        debug_assert!(self.is_idle());
        self.taken = offset;
        self.ack_at = None;
    }

    /// The link is another one: what its primary does not hear need not be answered.
    pub fn forget_acknowledgement(&mut self) {
        self.ack_at = None;
    }

    /// Everything before this is applied.
    pub fn applied(&self) -> u64 {
        match (self.alone, self.outstanding.front()) {
            (Alone::Runs { start }, _) => start,
            (Alone::No, Some(first)) => first.start,
            (Alone::No, None) => self.taken,
        }
    }

    /// Whether everything that was taken is applied.
    pub fn is_idle(&self) -> bool {
        self.outstanding.is_empty() && self.alone == Alone::No
    }

    /// Whether the acknowledgement that the primary has asked for is due; then it is no more.
    pub fn take_acknowledgement(&mut self) -> bool {
        let due = self.ack_at.is_some_and(|at| at <= self.applied());
        if due {
            self.ack_at = None;
        }
        due
    }

    // Taking units

    /// Takes units from the stream as far as possible. The open batches leave, too.
    pub fn take(&mut self, stream: &mut Stream) -> Result<Stop, StreamError> {
        let stop = self.take_units(stream);
        self.flush();
        stop
    }

    fn take_units(&mut self, stream: &mut Stream) -> Result<Stop, StreamError> {
        while !self.full && self.alone == Alone::No {
            let start = stream.offset();
            match stream.unit()? {
                None => return Ok(Stop::Empty),
                Some(Unit::Nothing) => {}
                Some(Unit::GetAck) => self.ack_at = Some(start),
                Some(Unit::Command { args, database }) => match self.place(&args) {
                    Place::Shard(home, command) => self.push(start, home, command, &args, database),
                    Place::Alone => return self.take_alone(stream),
                    Place::Nowhere => {}
                },
                Some(Unit::Block(block)) => match self.place_block(block) {
                    Some(shard) => self.push_block(start, shard, block),
                    None => return self.take_alone(stream),
                },
            }
            let bytes = stream.unit_bytes();
            stream.consume();
            self.taken = stream.offset();
            if let Some(last) = self.outstanding.back_mut() {
                // Whichever batch it went to: the sum is what counts.
                last.bytes += bytes;
                self.in_flight_bytes += bytes;
            }
            self.full = self.in_flight_units >= IN_FLIGHT_UNITS || self.in_flight_bytes >= IN_FLIGHT_BYTES;
        }
        Ok(Stop::Busy)
    }

    /// Takes units that run alone, one behind the other, once everything before them is applied.
    fn take_alone(&mut self, stream: &mut Stream) -> Result<Stop, StreamError> {
        if !self.outstanding.is_empty() {
            return Ok(Stop::Busy);
        }
        let start = stream.offset();
        let mut bytes = Vec::new();
        select(&mut bytes, stream.database());
        let mut selected = stream.database();
        while bytes.len() < APPLY_BYTES {
            let alone = match stream.unit()? {
                None => break,
                Some(Unit::Nothing) => false,
                Some(Unit::GetAck) => {
                    self.ack_at = Some(stream.offset());
                    false
                }
                Some(Unit::Command { args, .. }) => match self.place(&args) {
                    Place::Alone => true,
                    Place::Nowhere => false,
                    Place::Shard(..) => break,
                },
                Some(Unit::Block(block)) => match self.place_block(block) {
                    None => true,
                    Some(_) => break,
                },
            };
            if alone {
                if stream.database() != selected {
                    select(&mut bytes, stream.database());
                }
                stream.copy_unit(&mut bytes);
            }
            stream.consume();
            if alone {
                // A block may select, too.
                selected = stream.database();
            }
        }
        self.taken = stream.offset();
        self.alone = Alone::Runs { start };
        self.ready.push_back(Ready::Apply(bytes));
        Ok(Stop::Busy)
    }

    #[inline]
    fn place(&mut self, args: &Args<'_>) -> Place {
        let Some(id) = self.commands.lookup(args).filter(|id| self.commands.get(*id).takes(args.len())) else {
            return self.refuse(args);
        };
        match self.home(id, args) {
            Some(home) => Place::Shard(home, id),
            None => Place::Alone,
        }
    }

    #[cold]
    fn refuse(&mut self, args: &Args<'_>) -> Place {
        if let Err(error) = self.commands.resolve(args) {
            self.failed(error.message(), &String::from_utf8_lossy(args.get(0)));
        }
        Place::Nowhere
    }

    /// Where all keys of a command over keys are.
    #[inline]
    fn home(&self, id: CommandId, args: &Args<'_>) -> Option<Home> {
        let of = |index: usize| slot::shard_of(slot::slot(args.get(index)), self.shards);
        match self.routes[id.index()] {
            Route::Keyless => None,
            Route::One(_) if self.shards == 1 => Some(Home { shard: 0, slot: None }),
            Route::One(index) => {
                let slot = slot::slot(args.get(index.into()));
                Some(Home { shard: slot::shard_of(slot, self.shards), slot: Some(slot) })
            }
            // What keys it reads only its elements tell.
            Route::Many if looks_elsewhere(self.commands.get(id).name, args) => None,
            Route::Many | Route::Blocking => {
                let (mut first, mut several) = (None, false);
                let found = keys::for_each_key(self.commands.get(id), args, |index| {
                    several |= *first.get_or_insert(of(index)) != of(index);
                });
                // Arguments that name no keys are for the command's handler to refuse, wherever.
                first.filter(|_| found.is_ok() && !several).map(|shard| Home { shard, slot: None })
            }
        }
    }

    /// The shard that has all keys of all commands of a block.
    fn place_block(&self, block: Block<'_>) -> Option<usize> {
        let mut shard = None;
        for (args, _) in block.commands() {
            let id = self.commands.lookup(&args).filter(|id| self.commands.get(*id).takes(args.len()))?;
            let of = self.home(id, &args)?.shard;
            if *shard.get_or_insert(of) != of {
                return None;
            }
        }
        shard.filter(|_| !block.discarded)
    }

    // Batches

    #[inline]
    fn push(&mut self, start: u64, Home { shard, slot }: Home, command: CommandId, args: &Args<'_>, database: u16) {
        if self.open[shard].is_none() {
            self.open_batch(start, shard);
        }
        let Some((number, batch)) = &mut self.open[shard] else { return };
        batch.push(origin(*number, database), command, args, slot);
        self.in_flight_units += 1;
        let place = number.wrapping_sub(self.first_number) as usize;
        self.outstanding[place].left += 1;
        if batch.requests.len() >= BATCH_COMMANDS || batch.bytes() >= BATCH_BYTES {
            self.close_batch(shard);
        }
    }

    fn push_block(&mut self, start: u64, shard: usize, block: Block<'_>) {
        self.close_batch(shard);
        self.open_batch(start, shard);
        let Some((number, batch)) = &mut self.open[shard] else { return };
        for (args, database) in block.commands() {
            // It was found just now.
            if let Some(command) = self.commands.lookup(&args) {
                batch.push(origin(*number, database), command, &args, None);
            }
        }
        batch.block = Some(Box::new(shard::Block { watched: Vec::new(), broken: false }));
        let place = number.wrapping_sub(self.first_number) as usize;
        self.outstanding[place].left = batch.requests.len() as u32;
        self.in_flight_units += batch.requests.len();
        self.close_batch(shard);
    }

    fn open_batch(&mut self, start: u64, shard: usize) {
        let number = self.first_number.wrapping_add(self.outstanding.len() as u32);
        self.outstanding.push_back(Outstanding { start, left: 0, bytes: 0 });
        self.open[shard] = Some((number, self.spare.pop().unwrap_or_default()));
    }

    fn close_batch(&mut self, shard: usize) {
        if let Some((_, batch)) = self.open[shard].take() {
            self.ready.push_back(Ready::Batch(shard, batch));
        }
    }

    fn flush(&mut self) {
        for shard in 0..self.shards {
            self.close_batch(shard);
        }
    }

    // Answers

    /// A shard has answered, perhaps leaving out what waits for locks there.
    pub fn answered(&mut self, batch: Box<Batch>) {
        let mut answers = 0;
        for (i, response) in batch.responses.iter().enumerate() {
            answers += u32::from(!response.deferred);
            if response.failed {
                self.command_failed(&batch, i);
            }
        }
        // All commands of a batch have its number.
        if let Some(request) = batch.requests.first() {
            let place = request.origin.sequence.wrapping_sub(self.first_number) as usize;
            if let Some(outstanding) = self.outstanding.get_mut(place) {
                outstanding.left = outstanding.left.saturating_sub(answers);
                self.in_flight_units = self.in_flight_units.saturating_sub(answers as usize);
            }
        }
        while let Some(first) = self.outstanding.front()
            && first.left == 0
        {
            self.in_flight_bytes -= first.bytes;
            self.first_number = self.first_number.wrapping_add(1);
            self.outstanding.pop_front();
        }
        self.full &= self.in_flight_units > IN_FLIGHT_UNITS / 2 || self.in_flight_bytes > IN_FLIGHT_BYTES / 2;
        if self.spare.len() < SPARE_BUFFERS
            && let Some(batch) = batch.recycle()
        {
            self.spare.push(batch);
        }
    }

    /// To be called some times a second: what a burst has left for reuse goes by and by.
    pub fn relax(&mut self) {
        self.spare.truncate(self.spare.len() / 2);
    }

    /// The virtual client has executed everything that it was given.
    pub fn applied_alone(&mut self) {
        self.alone = Alone::No;
    }

    #[cold]
    fn command_failed(&mut self, batch: &Batch, index: usize) {
        let start = if index == 0 { 0 } else { batch.responses[index - 1].end };
        let reply = batch.replies.buf.get(start..batch.responses[index].end).unwrap_or_default();
        let command = batch.requests[index].command;
        let name = self.commands.full_name(command).to_owned();
        self.failed(reply.trim_ascii().strip_prefix(b"-").unwrap_or(reply), &name);
    }

    /// Notes that a command of the primary has failed: the data differ from now on.
    pub fn failed(&mut self, message: &[u8], command: &str) {
        self.errors += 1;
        if self.logged_errors >= ERRORS_LOGGED {
            self.unlogged_errors += 1;
            return;
        }
        self.logged_errors += 1;
        let message = String::from_utf8_lossy(message);
        error!(
            "== CRITICAL == This replica is sending an error to its master: '{message}' after processing the command '{command}'"
        );
    }

    /// A second has passed.
    pub fn report_errors(&mut self) {
        self.logged_errors = 0;
        let more = std::mem::take(&mut self.unlogged_errors);
        if more > 0 {
            warn!("{more} more commands of the master have failed here within a second");
        }
    }
}

/// The routes of commands over keys; of all others, that they have no keys.
fn routes(commands: &Commands) -> Vec<Route> {
    let mut routes = Route::table(commands);
    for (id, route) in routes.iter_mut().enumerate() {
        if !matches!(commands.get(CommandId(id as u16)).handler, Handler::Data(_)) {
            *route = Route::Keyless;
        }
    }
    routes
}

fn origin(number: u32, database: u16) -> Origin {
    Origin {
        socket: AUTHOR,
        sequence: number,
        database,
        proto: Proto::Resp2,
        touches: true,
        tracks: false,
        applied: true,
    }
}

fn select(out: &mut Vec<u8>, database: u16) {
    let database = database.to_string();
    let words: [&[u8]; 2] = [b"SELECT", database.as_bytes()];
    write_command(out, words.len(), words.into_iter());
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
