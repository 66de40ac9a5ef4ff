//! What the clients send in one window, made from a seed: commands alone and in pipelines, MULTI blocks with and without WATCH, and
//! clients that are dropped without their replies being read.

use crate::common::{Rng, shard_of};
use crate::model::{BitOp, Cmd, FIRST_SINK, Id, KEYS, Key, Values};

/// Units that a client sends in a window, so that a window of 50 clients has some 300 commands.
const UNITS: usize = 4;
/// One unit in so many ends with the client being dropped.
const DROPPED_ONE_IN: usize = 150;
/// One command in so many is about whole databases.
const WIDE_ONE_IN: usize = 60;
/// The number of shards that a pipeline's commands are told apart by.
pub const SHARDS: usize = 4;

pub type Args = Vec<Vec<u8>>;

/// A command that the checker will hear of.
pub struct Planned {
    pub cmd: Cmd,
    /// Commands of the same script, by their places in it.
    pub after: Vec<usize>,
    pub watch: Option<usize>,
}

/// What a reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It only says that the server went along: OK or QUEUED.
    Agreed,
    /// It is the reply to the script's command of this number.
    Reply(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Read,
    /// The connection is closed behind the requests.
    Close,
    /// It is reset.
    Reset,
}

/// Requests that go out together; the next unit is sent when all of their replies are there.
pub struct Unit {
    pub requests: Vec<Args>,
    pub takes: Vec<Take>,
    pub then: Then,
}

/// What one client sends in one window.
pub struct Script {
    pub planned: Vec<Planned>,
    pub units: Vec<Unit>,
}

/// The database that a client stays in.
pub fn database_of(client: usize) -> u8 {
    u8::from(client % 6 == 5)
}

pub struct Maker<'a> {
    rng: Rng,
    database: u8,
    values: &'a mut Values,
    /// What every value of this script begins with, and how many there are.
    prefix: String,
    written: usize,
    script: Script,
}

/// The script of one client in one window: the same for the same seed.
pub fn script(seed: u64, window: usize, client: usize, values: &mut Values) -> Script {
    let mut rng = Rng::new(seed ^ (window as u64) << 20 ^ client as u64);
    rng.next();
    let script = Script { planned: Vec::new(), units: Vec::new() };
    let prefix = format!("{window}.{client}.");
    let mut maker = Maker { rng, database: database_of(client), values, prefix, written: 0, script };
    for _ in 0..UNITS {
        maker.unit();
    }
    maker.script
}

impl Maker<'_> {
    fn key(&mut self) -> Key {
        self.rng.below(FIRST_SINK) as Key
    }

    fn any_key(&mut self) -> Key {
        self.rng.below(KEYS.len()) as Key
    }

    /// Different keys, few or many.
    fn keys(&mut self) -> Vec<Key> {
        let count = 1 + self.rng.below(4);
        let mut keys: Vec<Key> = Vec::new();
        while keys.len() < count {
            let key = self.any_key();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn two_keys(&mut self) -> (Key, Key) {
        let from = self.key();
        loop {
            let to = self.any_key();
            if to != from {
                return (from, to);
            }
        }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Id {
        self.written += 1;
        self.values.id(format!("{}{};", self.prefix, self.written).as_bytes())
    }

    fn pairs(&mut self) -> Vec<(Key, Id)> {
        let keys = self.keys();
        keys.into_iter().map(|key| (key, self.value())).collect()
    }

    fn wide(&mut self) -> Cmd {
        match self.rng.below(8) {
            0 => Cmd::FlushAll,
            1 => Cmd::FlushDb,
            2 | 3 => Cmd::SwapDb,
            4 => Cmd::Keys,
            _ => Cmd::DbSize,
        }
    }

    fn command(&mut self) -> Cmd {
        if self.rng.chance(WIDE_ONE_IN) {
            return self.wide();
        }
        match self.rng.below(40) {
            0..=5 => Cmd::Get(self.any_key()),
            6 | 7 => Cmd::Set(self.key(), self.value()),
            8 | 9 => Cmd::GetSet(self.key(), self.value()),
            10 => Cmd::GetDel(self.any_key()),
            11 => Cmd::SetNx(self.any_key(), self.value()),
            12 => Cmd::Append(self.key(), self.value()),
            13 => Cmd::Incr(self.key()),
            14 | 15 => Cmd::IncrBy(self.key(), self.rng.between(1_000_000, 1 << 40)),
            16..=20 => Cmd::MGet(self.keys()),
            21..=24 => Cmd::MSet(self.pairs()),
            25 | 26 => Cmd::MSetNx(self.pairs()),
            27 | 28 => Cmd::Del(self.keys()),
            29 => Cmd::Exists(self.keys()),
            30..=32 => {
                let (from, to) = self.two_keys();
                if self.rng.chance(3) { Cmd::RenameNx(from, to) } else { Cmd::Rename(from, to) }
            }
            33..=35 => self.copy(),
            36 => Cmd::Move(self.key(), 1 - self.database),
            _ => self.bitop(),
        }
    }

    fn copy(&mut self) -> Cmd {
        let (from, mut to) = self.two_keys();
        let mut database = self.database;
        if self.rng.chance(3) {
            database = 1 - database;
            to = if self.rng.chance(2) { from } else { to };
        }
        Cmd::Copy { from, to, database, replace: self.rng.chance(2) }
    }

    fn bitop(&mut self) -> Cmd {
        let op = self.rng.pick(&[BitOp::And, BitOp::Or, BitOp::Xor]);
        let to = (FIRST_SINK + self.rng.below(KEYS.len() - FIRST_SINK)) as Key;
        Cmd::BitOp(op, to, self.keys())
    }

    fn unit(&mut self) {
        let then = match self.rng.below(DROPPED_ONE_IN * 2) {
            0 => Then::Close,
            1 => Then::Reset,
            _ => Then::Read,
        };
        match self.rng.below(20) {
            0..=2 => {
                let count = 2 + self.rng.below(3);
                let cmds = (0..count).map(|_| self.command()).collect();
                self.pipeline(cmds, then);
            }
            3..=5 => {
                let cmds = self.block();
                self.transaction(cmds, None, then);
            }
            6 | 7 => {
                let watch = self.watch();
                let mut cmds = self.block();
                // What runs under a WATCH is mostly about what is watched.
                match &self.script.planned[watch].cmd {
                    Cmd::Watch(keys) if !self.rng.chance(3) => cmds.insert(0, Cmd::MGet(keys.clone())),
                    _ => {}
                }
                self.transaction(cmds, Some(watch), then);
            }
            _ => {
                let cmd = self.command();
                self.pipeline(vec![cmd], then);
            }
        }
    }

    fn block(&mut self) -> Vec<Cmd> {
        let count = 1 + self.rng.below(4);
        (0..count).map(|_| self.command()).collect()
    }

    fn plan(&mut self, cmd: Cmd, after: Vec<usize>, watch: Option<usize>) -> usize {
        self.script.planned.push(Planned { cmd, after, watch });
        self.script.planned.len() - 1
    }

    fn push(&mut self, requests: Vec<Args>, takes: Vec<Take>, then: Then) {
        self.script.units.push(Unit { requests, takes, then });
    }

    fn pipeline(&mut self, cmds: Vec<Cmd>, then: Then) {
        let first = self.script.planned.len();
        let requests = cmds.iter().map(|cmd| args(cmd, self.values)).collect();
        let takes = (0..cmds.len()).map(|i| Take::Reply(first + i)).collect();
        for cmd in cmds {
            let before = first..self.script.planned.len();
            let after = before.filter(|&i| in_order(&self.script.planned[i].cmd, &cmd, self.database)).collect();
            self.plan(cmd, after, None);
        }
        self.push(requests, takes, then);
    }

    /// A WATCH and perhaps a look at what is watched, each answered before the transaction begins.
    fn watch(&mut self) -> usize {
        let mut keys = self.keys();
        // Keys are hot: few transactions that watch many of them would go through.
        keys.truncate(2);
        self.pipeline(vec![Cmd::Watch(keys.clone())], Then::Read);
        let watch = self.script.planned.len() - 1;
        match self.rng.below(4) {
            0 => self.pipeline(vec![Cmd::MGet(keys)], Then::Read),
            // A write of one's own breaks a transaction as anyone's does.
            1 if self.rng.chance(3) => {
                let cmd = self.command();
                self.pipeline(vec![cmd], Then::Read);
            }
            _ => {}
        }
        watch
    }

    fn transaction(&mut self, cmds: Vec<Cmd>, watch: Option<usize>, then: Then) {
        let mut requests = vec![vec![b"MULTI".to_vec()]];
        requests.extend(cmds.iter().map(|cmd| args(cmd, self.values)));
        let mut takes = vec![Take::Agreed; requests.len()];
        if self.rng.chance(3) {
            // One request at a time; one that is dropped is dropped before its EXEC or behind it.
            let dropped_early = then != Then::Read && self.rng.chance(2);
            let last = requests.len() - 1;
            for (i, request) in requests.drain(..).enumerate() {
                let then = if dropped_early && i == last { then } else { Then::Read };
                self.push(vec![request], vec![Take::Agreed], then);
            }
            takes.clear();
            if dropped_early {
                return;
            }
        }
        let exec = self.plan(Cmd::Exec(cmds), Vec::new(), watch);
        requests.push(vec![b"EXEC".to_vec()]);
        takes.push(Take::Reply(exec));
        self.push(requests, takes, then);
    }
}

/// Whether two commands of a pipeline take effect in the order they were sent in: those about one key each, on different keys,
/// need not; all others do.
fn in_order(first: &Cmd, second: &Cmd, database: u8) -> bool {
    let one_core = |cmd: &Cmd| {
        let slots = cmd.slots(0) | cmd.slots(1);
        let mut shards =
            (0..KEYS.len()).filter(|k| slots & (1 << k) != 0).map(|k| shard_of(KEYS[k].as_bytes(), SHARDS));
        let first = shards.next();
        first.is_some() && shards.all(|shard| Some(shard) == first)
    };
    let meet = first.slots(database) & second.slots(database) != 0;
    meet || !one_core(first) || !one_core(second)
}

/// The request that a command is.
pub fn args(cmd: &Cmd, values: &Values) -> Args {
    let name = |key: Key| KEYS[key as usize].as_bytes().to_vec();
    let value = |id: Id| values.bytes(id).to_vec();
    let words = |line: &str| -> Args { line.split(' ').map(|word| word.as_bytes().to_vec()).collect() };
    let on = |verb: &str, keys: &[Key]| [words(verb), keys.iter().map(|&key| name(key)).collect()].concat();
    let with = |verb: &str, key: Key, id: Id| [words(verb), vec![name(key), value(id)]].concat();
    let pairs = |verb: &str, pairs: &[(Key, Id)]| {
        [words(verb), pairs.iter().flat_map(|&(key, id)| [name(key), value(id)]).collect()].concat()
    };
    match cmd {
        Cmd::Get(key) => on("GET", &[*key]),
        Cmd::Set(key, id) => with("SET", *key, *id),
        Cmd::GetSet(key, id) => with("GETSET", *key, *id),
        Cmd::GetDel(key) => on("GETDEL", &[*key]),
        Cmd::SetNx(key, id) => with("SETNX", *key, *id),
        Cmd::Append(key, id) => with("APPEND", *key, *id),
        Cmd::Incr(key) => on("INCR", &[*key]),
        Cmd::IncrBy(key, n) => [on("INCRBY", &[*key]), words(&n.to_string())].concat(),
        Cmd::MGet(keys) => on("MGET", keys),
        Cmd::MSet(all) => pairs("MSET", all),
        Cmd::MSetNx(all) => pairs("MSETNX", all),
        Cmd::Del(keys) => on("DEL", keys),
        Cmd::Exists(keys) => on("EXISTS", keys),
        Cmd::Rename(from, to) => on("RENAME", &[*from, *to]),
        Cmd::RenameNx(from, to) => on("RENAMENX", &[*from, *to]),
        Cmd::Copy { from, to, database, replace } => {
            let options = if *replace { format!("DB {database} REPLACE") } else { format!("DB {database}") };
            [on("COPY", &[*from, *to]), words(&options)].concat()
        }
        Cmd::Move(key, database) => [on("MOVE", &[*key]), words(&database.to_string())].concat(),
        Cmd::BitOp(op, to, from) => {
            let verb = format!("BITOP {}", format!("{op:?}").to_uppercase());
            [on(&verb, &[*to]), from.iter().map(|&key| name(key)).collect()].concat()
        }
        Cmd::SwapDb => words("SWAPDB 0 1"),
        Cmd::FlushDb => words("FLUSHDB"),
        Cmd::FlushAll => words("FLUSHALL"),
        Cmd::DbSize => words("DBSIZE"),
        Cmd::Keys => words("KEYS *"),
        Cmd::Watch(keys) => on("WATCH", keys),
        Cmd::Exec(_) | Cmd::Snapshot => unreachable!("made of several requests"),
    }
}
