//! Connections between nodes: bytes on the way in each direction, that may be cut at any of them.

use std::collections::{BTreeMap, VecDeque};

use crate::replication::status::Hello;

/// Bytes on their way to one end.
#[derive(Default)]
pub struct Pipe {
    pub bytes: VecDeque<u8>,
    /// Behind the bytes comes the end.
    pub over: bool,
}

impl Pipe {
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.over {
            self.bytes.extend(bytes);
        }
    }

    pub fn has_something(&self) -> bool {
        !self.bytes.is_empty() || self.over
    }

    fn break_off(&mut self) {
        self.bytes.clear();
        self.over = true;
    }
}

pub enum Phase {
    Connecting,
    /// Nobody is there.
    Refused,
    /// A core of the primary answers: what has come and is not understood, and what the replica has said of itself.
    Front(Vec<u8>, Hello),
    /// The replication executor has it.
    Joined,
}

pub struct Wire {
    pub replica: usize,
    pub primary: usize,
    pub phase: Phase,
    pub to_primary: Pipe,
    pub to_replica: Pipe,
    /// The send of the primary that is under way.
    pub unsent: VecDeque<u8>,
    pub replica_is_open: bool,
    pub primary_is_open: bool,
    pub stalled_until_ms: u64,
}

/// All connections, by the number that is also the link's.
#[derive(Default)]
pub struct Wires {
    next: u64,
    pub all: BTreeMap<u64, Wire>,
}

impl Wires {
    pub fn connect(&mut self, replica: usize, primary: usize, is_up: bool) -> u64 {
        let id = self.next;
        self.next += 1;
        let wire = Wire {
            replica,
            primary,
            phase: if is_up { Phase::Connecting } else { Phase::Refused },
            to_primary: Pipe::default(),
            to_replica: Pipe::default(),
            unsent: VecDeque::new(),
            replica_is_open: true,
            primary_is_open: is_up,
            stalled_until_ms: 0,
        };
        self.all.insert(id, wire);
        id
    }

    pub fn close_by_replica(&mut self, id: u64) {
        if let Some(wire) = self.all.get_mut(&id) {
            wire.replica_is_open = false;
            wire.to_replica.break_off();
            wire.to_primary.over = true;
        }
        self.forget(id);
    }

    pub fn close_by_primary(&mut self, id: u64) {
        if let Some(wire) = self.all.get_mut(&id) {
            wire.primary_is_open = false;
            wire.unsent.clear();
            wire.to_primary.break_off();
            wire.to_replica.over = true;
        }
        self.forget(id);
    }

    /// The network breaks a connection: nothing of what was on its way arrives.
    pub fn cut(&mut self, id: u64) {
        if let Some(wire) = self.all.get_mut(&id) {
            wire.unsent.clear();
            wire.to_primary.break_off();
            wire.to_replica.break_off();
            if matches!(wire.phase, Phase::Connecting) {
                wire.phase = Phase::Refused;
            }
        }
    }

    /// A node dies, with its ends.
    pub fn died(&mut self, node: usize) {
        let ends = |wire: &Wire| (wire.replica == node, wire.primary == node);
        let ids: Vec<_> = self.all.iter().filter(|(_, wire)| ends(wire) != (false, false)).map(|(id, _)| *id).collect();
        for id in ids {
            self.cut(id);
            let (replica, primary) = ends(&self.all[&id]);
            if replica {
                self.close_by_replica(id);
            }
            if primary {
                self.close_by_primary(id);
            }
        }
    }

    fn forget(&mut self, id: u64) {
        self.all.retain(|other, wire| *other != id || wire.replica_is_open || wire.primary_is_open);
    }
}
