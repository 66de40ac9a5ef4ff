//! What one core is asked for on behalf of a command or transaction whose keys are on several cores, and the plan of who is asked for what.
//!
//! A [`CheckOut`] travels to the owner of its keys, comes back with their entries, and goes there again to check them in.

use super::locks::{Claims, LockKey, Mode, Ticket};
use super::watch::Watched;
use crate::commands::{Command, Flags, KeyAccess, keys};
use crate::keyspace::{Changes, Hasher, KeyHash, Keyspace, Visit, slot};
use crate::resp::Args;
use crate::runtime::SocketId;
use crate::types::numbers::parse_u64;

/// A key as the lock table knows it. Databases are not told apart, as a few commands reach into another one than the client's.
pub fn lock_key(hash: KeyHash) -> LockKey {
    LockKey { db: 0, slot: hash.slot, hash: hash.hash }
}

fn mode(changes: bool) -> Mode {
    if changes { Mode::Exclusive } else { Mode::Shared }
}

/// One key that travels.
struct Key {
    db: usize,
    hash: KeyHash,
    start: usize,
    length: usize,
    changes: bool,
    /// It was handed out as an entry, so the owner misses one.
    was_there: bool,
    lent: bool,
    visit: Visit,
}

pub struct CheckOut {
    /// The transaction on the core that asks.
    pub transaction: usize,
    /// The client whose command it is.
    pub author: SocketId,
    /// Whether the owner is to wait until everything is free, or to refuse.
    pub waits: bool,
    /// The locks are held already, by the block that this is a step of.
    pub locked: bool,
    pub claims: Claims,
    keys: Vec<Key>,
    bytes: Vec<u8>,
    /// Keys that must not have changed since they were watched.
    pub watched: Vec<Watched>,
    /// From here on the owner's answer.
    pub granted: bool,
    /// The lock, if one was needed.
    pub ticket: Option<Ticket>,
    /// A watched key has changed.
    pub broken: bool,
    /// What was done to the keys, for the owner to tell.
    pub changes: Changes,
}

impl CheckOut {
    fn new(author: SocketId) -> CheckOut {
        CheckOut {
            transaction: 0,
            author,
            waits: false,
            locked: false,
            claims: Claims::new(),
            keys: Vec::new(),
            bytes: Vec::new(),
            watched: Vec::new(),
            granted: false,
            ticket: None,
            broken: false,
            changes: Changes::default(),
        }
    }

    /// One key that may change, whose lock is held.
    pub fn of_one(author: SocketId, db: usize, hash: KeyHash, key: &[u8]) -> CheckOut {
        let mut checkout = CheckOut::new(author);
        checkout.key(db, hash, key, true);
        checkout
    }

    fn key(&mut self, db: usize, hash: KeyHash, key: &[u8], changes: bool) {
        self.claims.add(lock_key(hash), mode(changes));
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let (was_there, lent, visit) = (false, false, Visit::None);
        self.keys.push(Key { db, hash, start, length: key.len(), changes, was_there, lent, visit });
    }

    /// The same wish once more, after its entries went back.
    pub fn again(&self) -> CheckOut {
        let fresh = |key: &Key| Key { was_there: false, lent: false, visit: Visit::None, ..*key };
        CheckOut {
            transaction: self.transaction,
            claims: self.claims.clone(),
            keys: self.keys.iter().map(fresh).collect(),
            bytes: self.bytes.clone(),
            watched: self.watched.clone(),
            ..CheckOut::new(self.author)
        }
    }

    /// On the owner: takes the entries along. Those that may change go first: a key that is named twice must not be lent and then moved.
    pub fn collect(&mut self, space: &mut Keyspace, now_ms: u64) {
        for changes in [true, false] {
            for key in self.keys.iter_mut().filter(|key| key.changes == changes) {
                let name = &self.bytes[key.start..key.start + key.length];
                key.visit = space.check_out(key.db, key.hash, name, now_ms, changes);
                key.was_there = matches!(key.visit, Visit::Moved(_));
                key.lent = matches!(key.visit, Visit::Lent(_));
            }
        }
    }

    /// On the executing core: lets the entries in.
    pub fn visit(&mut self, guests: &mut Keyspace) {
        for key in &mut self.keys {
            guests.welcome(key.db, key.hash, std::mem::take(&mut key.visit));
        }
    }

    /// On the executing core: takes along what stands under the keys now.
    pub fn leave(&mut self, guests: &mut Keyspace) {
        for key in &mut self.keys {
            let name = &self.bytes[key.start..key.start + key.length];
            key.visit = guests.see_off(key.db, key.hash, name);
        }
    }

    /// On the owner: puts everything back.
    pub fn put_back(&mut self, space: &mut Keyspace) {
        for key in &mut self.keys {
            let visit = std::mem::take(&mut key.visit);
            if key.lent {
                drop(visit);
                space.end_lending(key.db, key.hash, &self.bytes[key.start..key.start + key.length]);
            } else {
                space.check_in(key.db, key.hash, visit, key.was_there);
            }
        }
    }
}

/// Who is to be asked for what.
pub struct Plan {
    parts: Vec<Option<Box<CheckOut>>>,
    author: SocketId,
}

impl Plan {
    pub fn new(shards: usize, author: SocketId) -> Plan {
        Plan { parts: (0..shards).map(|_| None).collect(), author }
    }

    fn part(&mut self, shard: usize) -> &mut CheckOut {
        let author = self.author;
        self.parts[shard].get_or_insert_with(|| Box::new(CheckOut::new(author)))
    }

    /// All keys of a command that is about to run in that database. A database that is not there has none.
    pub fn command(&mut self, space: &Keyspace, command: &Command, args: &Args<'_>, db: usize) {
        for_each_claim(command, args, db, |db, key, changes| {
            if db >= space.databases() {
                return;
            }
            let hash = space.hasher().hash(key);
            let shard = slot::shard_of(hash.slot, self.parts.len());
            self.part(shard).key(db, hash, key, changes);
        });
    }

    /// Everything on a core.
    pub fn all_of(&mut self, shard: usize, mode: Mode) {
        self.part(shard).claims.add_all(mode);
    }

    /// Everything there is.
    pub fn all(&mut self, mode: Mode) {
        (0..self.parts.len()).for_each(|shard| self.all_of(shard, mode));
    }

    pub fn watched(&mut self, watched: Watched) {
        let shard = slot::shard_of(watched.hash.slot, self.parts.len());
        let part = self.part(shard);
        part.claims.add(lock_key(watched.hash), Mode::Shared);
        part.watched.push(watched);
    }

    /// Whether any core but this one is asked.
    pub fn is_away(&self, here: usize) -> bool {
        self.parts.iter().enumerate().any(|(shard, part)| shard != here && part.is_some())
    }

    /// Who asks has all the locks.
    pub fn need_no_locks(&mut self) {
        self.parts.iter_mut().flatten().for_each(|part| part.locked = true);
    }

    pub fn into_parts(self) -> impl Iterator<Item = (usize, Box<CheckOut>)> {
        self.parts.into_iter().enumerate().filter_map(|(shard, part)| part.map(|part| (shard, part)))
    }
}

/// Calls `f` with database and name of each key that a command names, and whether it may change there. Of no key behind arguments that
/// do not make sense: the handler refuses those.
pub fn for_each_claim(command: &Command, args: &Args<'_>, db: usize, mut f: impl FnMut(usize, &[u8], bool)) {
    let Ok(keys) = keys::keys(command, args) else { return };
    let writes = command.flags.has(Flags::WRITE);
    let target = target_database(command, args);
    for (index, access) in keys {
        let key = args.get(index);
        let changes = writes && (!access.has(KeyAccess::RO) || access.has(KeyAccess::CHANGED));
        let copied_to = command.name == "copy" && index == 2;
        f(if copied_to { target.unwrap_or(db) } else { db }, key, changes);
        if command.name == "move"
            && let Some(target) = target
        {
            f(target, key, changes);
        }
    }
}

/// Calls `f` with the lock that a command needs of each of its keys.
pub fn for_each_lock(command: &Command, args: &Args<'_>, hasher: &Hasher, mut f: impl FnMut(LockKey, Mode)) {
    for_each_claim(command, args, 0, |_, key, changes| f(lock_key(hasher.hash(key)), mode(changes)));
}

/// The database that COPY or MOVE name, if they do.
fn target_database(command: &Command, args: &Args<'_>) -> Option<usize> {
    let at = match command.name {
        "move" => 2,
        // Of several the last holds.
        "copy" => (3..args.len()).rfind(|i| args.is(*i, "db"))? + 1,
        _ => return None,
    };
    args.opt(at).and_then(parse_u64).and_then(|db| usize::try_from(db).ok())
}
