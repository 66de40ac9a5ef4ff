//! What the data are at every offset of every history: told by the primaries' writes as they happen, for replicas to be held against.
//!
//! A [`Recorder`] reads a primary's stream as it comes into being and compares it, command by command, with what the cores wrote, in the order of
//! the batches' numbers.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;

use crate::replication::log::LogBatch;
use crate::replication::primary::Stream;
use crate::resp::parser::{Limits, Parsed, Parser};
use crate::resp::{Args, Out, OwnedArgs};

/// A key of a database.
pub type Key = (u16, Vec<u8>);
pub type State = BTreeMap<Key, Bytes>;

/// What a command does.
pub enum Effect {
    Set(Key, Bytes),
    Delete(Key),
    Flush(u16),
}

impl Effect {
    pub fn all(db: u16, args: &Args<'_>) -> Vec<Effect> {
        let key = |i: usize| (db, args.get(i).to_vec());
        let set = |i: usize| Effect::Set(key(i), Bytes::copy_from_slice(args.get(i + 1)));
        match args.get(0) {
            b"SET" => vec![set(1)],
            b"MSET" => (1..args.len()).step_by(2).map(set).collect(),
            b"DEL" => (1..args.len()).map(|i| Effect::Delete(key(i))).collect(),
            b"FLUSHDB" => vec![Effect::Flush(db)],
            other => panic!("nobody has written {:?}", other.escape_ascii().to_string()),
        }
    }

    pub fn apply(self, state: &mut State) {
        match self {
            Effect::Set(key, value) => drop(state.insert(key, value)),
            Effect::Delete(key) => drop(state.remove(&key)),
            Effect::Flush(db) => state.retain(|key, _| key.0 != db),
        }
    }
}

/// A command as it was written.
#[derive(Clone)]
pub struct Written {
    pub db: u16,
    pub words: OwnedArgs,
}

impl PartialEq for Written {
    fn eq(&self, other: &Written) -> bool {
        self.db == other.db && self.words.args().iter_from(0).eq(other.words.args().iter_from(0))
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = self.words.args();
        let shown = words.iter_from(0).map(|word| word[..word.len().min(12)].escape_ascii().to_string());
        write!(f, "{}: {}", self.db, shown.collect::<Vec<_>>().join(" "))
    }
}

/// The commands at the beginning of `bytes` that are whole, each with where it ends.
pub fn commands(bytes: &[u8]) -> Vec<(usize, OwnedArgs)> {
    let (mut at, mut found, mut parser) = (0, Vec::new(), Parser::default());
    while at < bytes.len() {
        match parser.parse(&bytes[at..], &Limits::default()) {
            Ok(Parsed::Command { consumed }) => {
                found.push((at + consumed, parser.args(&bytes[at..]).to_owned()));
                at += consumed;
            }
            Ok(Parsed::Nothing { consumed }) => at += consumed,
            Ok(Parsed::Incomplete) => break,
            other => panic!("no command: {other:?}"),
        }
    }
    found
}

/// What the cores of a node have written, by the numbers of their batches.
#[derive(Default)]
pub struct Writes {
    batches: BTreeMap<u64, Vec<Written>>,
    /// The data when all batches below the number are executed, and nothing else.
    states: BTreeMap<u64, Rc<State>>,
    /// The numbers before which something was written that is in no batch.
    restarts: BTreeMap<u64, Rc<State>>,
    state: State,
}

impl Writes {
    /// A batch has got its number.
    pub fn closed(&mut self, batch: &LogBatch) {
        let mut written = Vec::new();
        for (db, bytes) in batch.iter() {
            written.extend(commands(bytes).into_iter().map(|(_, words)| Written { db, words }));
        }
        for Written { db, words } in &written {
            if !matches!(words.args().get(0), b"MULTI" | b"EXEC") {
                Effect::all(*db, &words.args()).into_iter().for_each(|effect| effect.apply(&mut self.state));
            }
        }
        self.batches.insert(batch.number, written);
        self.states.insert(batch.number + 1, Rc::new(self.state.clone()));
    }

    /// From this number on batches go on from these data.
    pub fn restart(&mut self, number: u64, state: State) {
        self.state = state;
        let state = Rc::new(self.state.clone());
        self.restarts.insert(number, Rc::clone(&state));
        self.states.insert(number, state);
    }

    /// The data behind all batches so far.
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// One history: the part of it that was made under its own ID.
struct Told {
    /// The node that made it.
    maker: usize,
    parent: Option<String>,
    start: u64,
    bytes: Vec<u8>,
    states: BTreeMap<u64, Rc<State>>,
}

#[derive(Default)]
pub struct Truth {
    histories: BTreeMap<String, Told>,
}

impl Truth {
    /// The data at an offset of a history, which is one between two commands.
    pub fn at(&self, id: &str, offset: u64) -> Option<&Rc<State>> {
        let told = self.histories.get(id)?;
        match &told.parent {
            Some(parent) if offset < told.start => self.at(parent, offset),
            _ => told.states.get(&offset),
        }
    }

    /// The data at all offsets of a range.
    pub fn between(&self, id: &str, from: u64, to: u64) -> Vec<&Rc<State>> {
        let Some(told) = self.histories.get(id) else { return Vec::new() };
        let mut states: Vec<_> = told.states.range(from..=to.max(from)).map(|(_, state)| state).collect();
        if let Some(parent) = told.parent.as_ref().filter(|_| from < told.start) {
            states.extend(self.between(parent, from, to.min(told.start)));
        }
        states
    }

    /// Whether `bytes` are those of a history behind `offset`.
    pub fn has(&self, id: &str, offset: u64, bytes: &[u8]) -> bool {
        let Some(told) = self.histories.get(id) else { return false };
        let before = told.start.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let (inherited, own) = bytes.split_at(before);
        let from = (offset + before as u64).saturating_sub(told.start) as usize;
        let shared = match &told.parent {
            Some(parent) => inherited.is_empty() || self.has(parent, offset, inherited),
            None => inherited.is_empty(),
        };
        shared && told.bytes.get(from..from + own.len()) == Some(own)
    }

    /// Whether two histories are one up to an offset.
    pub fn are_one(&self, a: &str, b: &str, offset: u64) -> bool {
        self.owner(a, offset) == self.owner(b, offset)
    }

    /// Under which ID the byte before an offset was made.
    fn owner<'a>(&'a self, id: &'a str, offset: u64) -> &'a str {
        match self.histories.get(id) {
            Some(Told { parent: Some(parent), start, .. }) if offset <= *start => self.owner(parent, offset),
            _ => id,
        }
    }

    /// The node that made a history.
    pub fn maker(&self, id: &str) -> Option<usize> {
        self.histories.get(id).map(|told| told.maker)
    }

    fn told(&mut self, id: &str) -> &mut Told {
        self.histories.get_mut(id).expect("a history is told from its beginning")
    }
}

/// Reads along with a primary's stream.
pub struct Recorder {
    id: String,
    /// Up to here it has read, and up to here it has understood.
    read: u64,
    at: u64,
    unread: Vec<u8>,
    /// The batch that comes next, the offset since when it does, and what of it has not come.
    number: u64,
    number_since: u64,
    expected: VecDeque<Written>,
    selected: Option<u16>,
    in_block: bool,
    state: State,
}

impl Recorder {
    /// Begins where the stream is now.
    pub fn begin(maker: usize, stream: &Stream, writes: &Writes, truth: &mut Truth) -> Recorder {
        let (history, number) = (stream.history(), stream.next_number());
        let (id, at) = (history.id().to_owned(), history.offset());
        let parent = history.second().filter(|(_, valid_to)| *valid_to == at + 1).map(|(id, _)| id.to_owned());
        let state = writes.states.get(&number).expect("somebody knows the data at each number");
        let states = BTreeMap::from([(at, Rc::clone(state))]);
        let told = Told { maker, parent, start: at, bytes: Vec::new(), states };
        assert!(truth.histories.insert(id.clone(), told).is_none(), "history {id} begins again");
        Recorder {
            id,
            read: at,
            at,
            unread: Vec::new(),
            number,
            number_since: at,
            expected: VecDeque::new(),
            selected: None,
            in_block: false,
            state: (**state).clone(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The batches from a number on go on from other data: what is told of the moment is to be corrected.
    pub fn restarted(&mut self, number: u64, writes: &Writes, truth: &mut Truth) {
        if self.number == number {
            let state = &writes.states[&number];
            self.state = (**state).clone();
            for (_, told) in truth.told(&self.id).states.range_mut(self.number_since..) {
                *told = Rc::clone(state);
            }
        }
    }

    /// Reads what the stream has that is new.
    pub fn read(&mut self, stream: &Stream, writes: &Writes, truth: &mut Truth) {
        let backlog = stream.bytes().expect("a stream that is recorded has bytes");
        assert_eq!(backlog.end(), stream.offset(), "offsets count what is in the backlog");
        if self.read == backlog.end() {
            return;
        }
        let mut out = Out::default();
        backlog.read(self.read, usize::MAX, &mut out);
        let bytes = flat(&out);
        self.read = backlog.end();
        truth.told(&self.id).bytes.extend_from_slice(&bytes);
        self.unread.extend_from_slice(&bytes);
        let mut from = 0;
        for (end, words) in commands(&self.unread) {
            self.at += (end - from) as u64;
            from = end;
            self.command(words, writes);
            if !self.in_block {
                truth.told(&self.id).states.insert(self.at, Rc::new(self.state.clone()));
            }
        }
        self.unread.drain(..from);
    }

    fn command(&mut self, words: OwnedArgs, writes: &Writes) {
        let args = words.args();
        match args.get(0) {
            b"PING" | b"REPLCONF" => return,
            b"SELECT" => {
                self.selected = std::str::from_utf8(args.get(1)).ok().and_then(|db| db.parse().ok());
                return;
            }
            _ => {}
        }
        let db = self.selected.expect("a database is selected before the first command");
        if self.expected.is_empty() {
            let batch = writes.batches.get(&self.number);
            self.expected.extend(batch.into_iter().flatten().cloned());
        }
        let written = Written { db, words: args.to_owned() };
        assert_eq!(Some(&written), self.expected.front(), "batch {} of {}", self.number, self.id);
        self.expected.pop_front();
        match args.get(0) {
            b"MULTI" => self.in_block = true,
            b"EXEC" => self.in_block = false,
            _ => Effect::all(db, &args).into_iter().for_each(|effect| effect.apply(&mut self.state)),
        }
        if self.expected.is_empty() {
            self.number += 1;
            self.number_since = self.at;
            match writes.restarts.get(&self.number) {
                Some(state) => self.state = (**state).clone(),
                None => assert_eq!(self.state, *writes.states[&self.number], "behind batch {}", self.number - 1),
            }
        }
    }
}

/// All bytes that a send of `out` has.
pub fn flat(out: &Out) -> Vec<u8> {
    let (mut bytes, mut from) = (Vec::with_capacity(out.len()), 0);
    for (offset, attached) in &out.attached {
        bytes.extend_from_slice(&out.buf[from..*offset]);
        bytes.extend_from_slice(attached);
        from = *offset;
    }
    bytes.extend_from_slice(&out.buf[from..]);
    bytes
}
