//! What the commands of the workload do, over a state small enough to be searched: two databases of a few keys, every value a number.
//!
//! Values are interned: a state is a fixed array of ids, copied and compared in a few instructions. Nearly every value is written
//! by one command only, so that a reply tells who wrote what it shows.

use crate::common::conn::Reply;
use std::collections::HashMap;

/// The keys of the workload, at least two on each of four shards, two with a common hash tag.
pub const KEYS: [&str; 10] = ["alpha", "mu", "delta", "beta", "tau", "zeta", "{t}one", "{t}two", "bits", "mask"];
/// Keys from here on are only ever written over or looked at: what BITOP makes never gets into the others. So a value that
/// has gone from the others cannot come back.
pub const FIRST_SINK: usize = 8;
pub const DATABASES: usize = 2;
pub const SLOTS: usize = DATABASES * KEYS.len();

/// A key by its place in `KEYS`.
pub type Key = u8;
/// An interned value; zero is no value.
pub type Id = u32;
pub const NONE: Id = 0;

/// A set of slots, a bit each.
pub type Slots = u32;
/// The value of each slot; the second database behind the first.
pub type Data = [Id; SLOTS];

pub fn slot(database: u8, key: Key) -> usize {
    database as usize * KEYS.len() + key as usize
}

pub fn bit(database: u8, key: Key) -> Slots {
    1 << slot(database, key)
}

const ALL: Slots = (1 << SLOTS) - 1;

/// All slots of a database.
fn whole(database: u8) -> Slots {
    (ALL >> KEYS.len()) << (database as usize * KEYS.len())
}

pub fn is_sink(slot: usize) -> bool {
    slot % KEYS.len() >= FIRST_SINK
}

/// The values of one window.
pub struct Values {
    ids: HashMap<Vec<u8>, Id>,
    bytes: Vec<Vec<u8>>,
    numbers: Vec<Option<i64>>,
    appended: HashMap<(Id, Id), Id>,
}

impl Values {
    pub fn new() -> Values {
        Values { ids: HashMap::new(), bytes: vec![Vec::new()], numbers: vec![None], appended: HashMap::new() }
    }

    pub fn id(&mut self, bytes: &[u8]) -> Id {
        if let Some(&id) = self.ids.get(bytes) {
            return id;
        }
        let id = self.bytes.len() as Id;
        self.ids.insert(bytes.to_vec(), id);
        let text = std::str::from_utf8(bytes).ok();
        let number = text.and_then(|text| text.parse::<i64>().ok().filter(|n| n.to_string() == text));
        self.numbers.push(number);
        self.bytes.push(bytes.to_vec());
        id
    }

    pub fn bytes(&self, id: Id) -> &[u8] {
        &self.bytes[id as usize]
    }

    pub fn count(&self) -> usize {
        self.bytes.len()
    }

    /// Whether only one command can have made the value. Counters can reach the same number in several ways.
    pub fn unique(&self, id: Id) -> bool {
        id != NONE && self.numbers[id as usize].is_none()
    }

    fn append(&mut self, before: Id, more: Id) -> Id {
        if before == NONE {
            return more;
        }
        if let Some(&id) = self.appended.get(&(before, more)) {
            return id;
        }
        let bytes = [self.bytes(before), self.bytes(more)].concat();
        let id = self.id(&bytes);
        self.appended.insert((before, more), id);
        id
    }

    /// The sum, or nothing if the value is no number.
    fn add(&mut self, before: Id, more: i64) -> Option<(Id, i64)> {
        let number = if before == NONE { 0 } else { self.numbers[before as usize]? };
        let sum = number.checked_add(more)?;
        Some((self.id(sum.to_string().as_bytes()), sum))
    }

    fn bitop(&mut self, op: BitOp, sources: &[Id]) -> Id {
        let longest = sources.iter().map(|&id| self.bytes(id).len()).max().unwrap_or(0);
        let byte = |id: Id, at: usize| self.bytes(id).get(at).copied().unwrap_or(0);
        let combine = |at: usize| {
            let each = sources.iter().map(|&id| byte(id, at));
            match op {
                BitOp::And => each.reduce(|a, b| a & b),
                BitOp::Or => each.reduce(|a, b| a | b),
                BitOp::Xor => each.reduce(|a, b| a ^ b),
            }
        };
        let bytes: Vec<u8> = (0..longest).map(|at| combine(at).unwrap_or(0)).collect();
        if bytes.is_empty() { NONE } else { self.id(&bytes) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOp {
    And,
    Or,
    Xor,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cmd {
    Get(Key),
    Set(Key, Id),
    GetSet(Key, Id),
    GetDel(Key),
    SetNx(Key, Id),
    Append(Key, Id),
    Incr(Key),
    IncrBy(Key, i64),
    MGet(Vec<Key>),
    MSet(Vec<(Key, Id)>),
    MSetNx(Vec<(Key, Id)>),
    Del(Vec<Key>),
    Exists(Vec<Key>),
    Rename(Key, Key),
    RenameNx(Key, Key),
    Copy {
        from: Key,
        to: Key,
        database: u8,
        replace: bool,
    },
    Move(Key, u8),
    BitOp(BitOp, Key, Vec<Key>),
    SwapDb,
    FlushDb,
    FlushAll,
    DbSize,
    Keys,
    Watch(Vec<Key>),
    Exec(Vec<Cmd>),
    /// Every value of both databases, read while nothing else goes on.
    Snapshot,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    Ok,
    Nil,
    Int(i64),
    Value(Id),
    NotAnInteger,
    NoSuchKey,
    /// The keys of one database.
    Keys(Slots),
    List(Vec<Out>),
    Values(Box<Data>),
    /// EXEC's nil.
    Aborted,
    /// Anything that no command of the workload may say.
    Other(String),
}

/// The meaning of a reply to `cmd`.
pub fn heard(cmd: &Cmd, reply: &Reply, values: &mut Values) -> Out {
    match (cmd, reply) {
        (_, Reply::Simple(text)) if text == b"OK" => Out::Ok,
        (Cmd::Exec(_), Reply::NilArray) => Out::Aborted,
        (_, Reply::NilBulk) => Out::Nil,
        (_, Reply::Int(n)) => Out::Int(*n),
        (_, Reply::Bulk(bytes)) => Out::Value(values.id(bytes)),
        (_, Reply::Error(text)) if text == b"ERR value is not an integer or out of range" => Out::NotAnInteger,
        (_, Reply::Error(text)) if text == b"ERR no such key" => Out::NoSuchKey,
        (Cmd::Keys, Reply::Array(items)) => heard_keys(items).unwrap_or_else(|| Out::Other(format!("{reply:?}"))),
        (Cmd::Exec(cmds), Reply::Array(items)) if cmds.len() == items.len() => {
            Out::List(cmds.iter().zip(items).map(|(cmd, item)| heard(cmd, item, values)).collect())
        }
        (Cmd::MGet(_), Reply::Array(items)) => Out::List(items.iter().map(|item| heard(cmd, item, values)).collect()),
        _ => Out::Other(format!("{reply:?}")),
    }
}

fn heard_keys(items: &[Reply]) -> Option<Out> {
    let mut found: Slots = 0;
    for item in items {
        let at = KEYS.iter().position(|key| matches!(item, Reply::Bulk(name) if name == key.as_bytes()))?;
        if found & (1 << at) != 0 {
            return None;
        }
        found |= 1 << at;
    }
    Some(Out::Keys(found))
}

impl Cmd {
    /// The keys named, each in the database given.
    pub fn slots(&self, database: u8) -> Slots {
        let all = |keys: &[Key]| keys.iter().map(|&key| bit(database, key)).fold(0, |a, b| a | b);
        match self {
            Cmd::Get(k) | Cmd::Set(k, _) | Cmd::GetSet(k, _) | Cmd::GetDel(k) | Cmd::SetNx(k, _) => all(&[*k]),
            Cmd::Append(k, _) | Cmd::Incr(k) | Cmd::IncrBy(k, _) => all(&[*k]),
            Cmd::MGet(keys) | Cmd::Del(keys) | Cmd::Exists(keys) | Cmd::Watch(keys) => all(keys),
            Cmd::MSet(pairs) | Cmd::MSetNx(pairs) => pairs.iter().fold(0, |a, pair| a | bit(database, pair.0)),
            Cmd::Rename(a, b) | Cmd::RenameNx(a, b) => all(&[*a, *b]),
            Cmd::Copy { from, to, database: there, .. } => bit(database, *from) | bit(*there, *to),
            Cmd::Move(key, there) => bit(database, *key) | bit(*there, *key),
            Cmd::BitOp(_, to, from) => all(from) | bit(database, *to),
            Cmd::Exec(cmds) => cmds.iter().fold(0, |a, cmd| a | cmd.slots(database)),
            Cmd::SwapDb | Cmd::FlushDb | Cmd::FlushAll | Cmd::DbSize | Cmd::Keys | Cmd::Snapshot => 0,
        }
    }

    /// The slots that its reply or its effect depends on.
    pub fn looks_at(&self, database: u8) -> Slots {
        match self {
            Cmd::SwapDb | Cmd::FlushAll | Cmd::Snapshot => ALL,
            Cmd::FlushDb | Cmd::DbSize | Cmd::Keys => whole(database),
            Cmd::Exec(cmds) => cmds.iter().fold(0, |a, cmd| a | cmd.looks_at(database)),
            _ => self.slots(database),
        }
    }

    /// The slots that it may change, or touch in the sense of WATCH.
    pub fn may_touch(&self, database: u8) -> Slots {
        match self {
            Cmd::Exec(cmds) => cmds.iter().fold(0, |a, cmd| a | cmd.may_touch(database)),
            Cmd::BitOp(_, to, _) => bit(database, *to),
            Cmd::Copy { to, database, .. } => bit(*database, *to),
            cmd if cmd.only_looks() => 0,
            cmd => cmd.looks_at(database),
        }
    }

    pub fn only_looks(&self) -> bool {
        match self {
            Cmd::Get(_) | Cmd::MGet(_) | Cmd::Exists(_) | Cmd::DbSize | Cmd::Keys | Cmd::Watch(_) | Cmd::Snapshot => {
                true
            }
            Cmd::Exec(cmds) => cmds.iter().all(Cmd::only_looks),
            _ => false,
        }
    }

    /// Whether its reply proves that it changed nothing.
    pub fn changed_nothing(&self, out: &Out) -> bool {
        match self {
            Cmd::GetDel(_) => *out == Out::Nil,
            Cmd::SetNx(..) | Cmd::MSetNx(_) | Cmd::Del(_) => *out == Out::Int(0),
            Cmd::RenameNx(..) | Cmd::Copy { .. } | Cmd::Move(..) => matches!(out, Out::Int(0) | Out::NoSuchKey),
            Cmd::Rename(..) => *out == Out::NoSuchKey,
            Cmd::Incr(_) | Cmd::IncrBy(..) => *out == Out::NotAnInteger,
            Cmd::Exec(cmds) => match out {
                Out::List(items) => cmds.iter().zip(items).all(|(cmd, item)| cmd.changed_nothing(item)),
                other => *other == Out::Aborted,
            },
            // These reply the same whether there was something to do or not; the others always have something.
            Cmd::FlushDb | Cmd::FlushAll | Cmd::SwapDb | Cmd::BitOp(..) => false,
            Cmd::Set(..) | Cmd::GetSet(..) | Cmd::Append(..) | Cmd::MSet(_) => false,
            Cmd::Get(_) | Cmd::MGet(_) | Cmd::Exists(_) | Cmd::DbSize | Cmd::Keys | Cmd::Watch(_) | Cmd::Snapshot => {
                true
            }
        }
    }

    /// Runs it on `data` and returns the slots that it touched in the sense of WATCH; nothing if `want` is not what it would say.
    pub fn run(&self, database: u8, data: &mut Data, values: &mut Values, want: Option<&Out>) -> Option<Slots> {
        let at = |key: Key| slot(database, key);
        let says = |out: Out| want.is_none_or(|want| *want == out);
        let value = |id: Id| if id == NONE { Out::Nil } else { Out::Value(id) };
        // Puts a value into a slot: what most writing comes down to.
        let put = |data: &mut Data, key: Key, id: Id| {
            data[at(key)] = id;
            bit(database, key)
        };
        match self {
            Cmd::Get(k) => says(value(data[at(*k)])).then_some(0),
            Cmd::Set(k, id) => says(Out::Ok).then(|| put(data, *k, *id)),
            Cmd::GetSet(k, id) => says(value(data[at(*k)])).then(|| put(data, *k, *id)),
            Cmd::GetDel(k) => says(value(data[at(*k)])).then(|| remove(data, at(*k))),
            Cmd::SetNx(k, id) => {
                let free = data[at(*k)] == NONE;
                says(Out::Int(free as i64)).then(|| if free { put(data, *k, *id) } else { 0 })
            }
            Cmd::Append(k, id) => {
                let whole = values.append(data[at(*k)], *id);
                says(Out::Int(values.bytes(whole).len() as i64)).then(|| put(data, *k, whole))
            }
            Cmd::Incr(k) => add(*k, 1, database, data, values, want),
            Cmd::IncrBy(k, n) => add(*k, *n, database, data, values, want),
            Cmd::MGet(keys) => {
                let same = |items: &[Out]| {
                    items.len() == keys.len() && keys.iter().zip(items).all(|(&k, item)| *item == value(data[at(k)]))
                };
                want.is_none_or(|want| matches!(want, Out::List(items) if same(items))).then_some(0)
            }
            Cmd::MSet(pairs) => says(Out::Ok).then(|| pairs.iter().fold(0, |a, (k, id)| a | put(data, *k, *id))),
            Cmd::MSetNx(pairs) => {
                let free = pairs.iter().all(|(k, _)| data[at(*k)] == NONE);
                let all = |data: &mut Data| pairs.iter().fold(0, |a, (k, id)| a | put(data, *k, *id));
                says(Out::Int(free as i64)).then(|| if free { all(data) } else { 0 })
            }
            Cmd::Del(keys) => {
                let mut there = *data;
                let touched: Slots = keys.iter().fold(0, |a, &k| a | remove(&mut there, at(k)));
                says(Out::Int(touched.count_ones() as i64)).then(|| {
                    *data = there;
                    touched
                })
            }
            Cmd::Exists(keys) => {
                let count = keys.iter().filter(|&&k| data[at(k)] != NONE).count();
                says(Out::Int(count as i64)).then_some(0)
            }
            Cmd::Rename(from, to) | Cmd::RenameNx(from, to) => rename(self, at(*from), at(*to), data, want),
            Cmd::Copy { from, to, database: there, replace } => {
                let (id, to) = (data[at(*from)], slot(*there, *to));
                let done = id != NONE && (*replace || data[to] == NONE);
                says(Out::Int(done as i64)).then(|| if done { store(data, to, id) } else { 0 })
            }
            Cmd::Move(key, there) => {
                let (from, to) = (at(*key), slot(*there, *key));
                let done = data[from] != NONE && data[to] == NONE;
                says(Out::Int(done as i64)).then(|| if done { carry(data, from, to) } else { 0 })
            }
            Cmd::BitOp(op, to, from) => {
                let sources: Vec<Id> = from.iter().map(|&k| data[at(k)]).collect();
                let id = values.bitop(*op, &sources);
                let len = values.bytes(id).len() as i64;
                says(Out::Int(len)).then(|| if id == NONE { remove(data, at(*to)) } else { put(data, *to, id) })
            }
            Cmd::SwapDb => says(Out::Ok).then(|| swap(data)),
            Cmd::FlushDb => says(Out::Ok).then(|| (0..KEYS.len()).fold(0, |a, k| a | remove(data, at(k as Key)))),
            Cmd::FlushAll => says(Out::Ok).then(|| (0..SLOTS).fold(0, |a, slot| a | remove(data, slot))),
            Cmd::DbSize => says(Out::Int(present(data, database).count_ones() as i64)).then_some(0),
            Cmd::Keys => says(Out::Keys(present(data, database))).then_some(0),
            Cmd::Snapshot => want.is_none_or(|want| matches!(want, Out::Values(all) if **all == *data)).then_some(0),
            Cmd::Watch(_) => says(Out::Ok).then_some(0),
            Cmd::Exec(cmds) => run_block(cmds, database, data, values, want),
        }
    }
}

fn run_block(cmds: &[Cmd], database: u8, data: &mut Data, values: &mut Values, want: Option<&Out>) -> Option<Slots> {
    let items = match want {
        None => None,
        Some(Out::List(items)) if items.len() == cmds.len() => Some(items),
        Some(_) => return None,
    };
    let mut after = *data;
    let mut touched = 0;
    for (i, cmd) in cmds.iter().enumerate() {
        touched |= cmd.run(database, &mut after, values, items.map(|items| &items[i]))?;
    }
    *data = after;
    Some(touched)
}

fn add(k: Key, n: i64, database: u8, data: &mut Data, values: &mut Values, want: Option<&Out>) -> Option<Slots> {
    match values.add(data[slot(database, k)], n) {
        Some((id, sum)) => want.is_none_or(|want| *want == Out::Int(sum)).then(|| store(data, slot(database, k), id)),
        None => want.is_none_or(|want| *want == Out::NotAnInteger).then_some(0),
    }
}

fn rename(cmd: &Cmd, from: usize, to: usize, data: &mut Data, want: Option<&Out>) -> Option<Slots> {
    let says = |out: Out| want.is_none_or(|want| *want == out);
    let only_new = matches!(cmd, Cmd::RenameNx(..));
    if data[from] == NONE {
        says(Out::NoSuchKey).then_some(0)
    } else if only_new && data[to] != NONE {
        says(Out::Int(0)).then_some(0)
    } else {
        says(if only_new { Out::Int(1) } else { Out::Ok }).then(|| carry(data, from, to))
    }
}

fn store(data: &mut Data, slot: usize, id: Id) -> Slots {
    data[slot] = id;
    1 << slot
}

fn remove(data: &mut Data, slot: usize) -> Slots {
    let there = data[slot] != NONE;
    data[slot] = NONE;
    (there as Slots) << slot
}

fn carry(data: &mut Data, from: usize, to: usize) -> Slots {
    data[to] = data[from];
    data[from] = NONE;
    1 << from | 1 << to
}

/// A key that is watched in one database is touched when either database had it.
fn swap(data: &mut Data) -> Slots {
    let (first, second) = data.split_at_mut(KEYS.len());
    first.swap_with_slice(second);
    let either: Slots = present(data, 0) | present(data, 1);
    either | either << KEYS.len()
}

/// The keys that a database has, as bits from zero on.
fn present(data: &Data, database: u8) -> Slots {
    (0..KEYS.len()).filter(|&k| data[slot(database, k as Key)] != NONE).fold(0, |a, k| a | 1 << k)
}
