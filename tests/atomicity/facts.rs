//! What can be told of each command of a history before any order of them is tried.

use crate::checker::Op;
use crate::model::{Cmd, Id, KEYS, NONE, Out, SLOTS, Slots, Values, bit, is_sink, slot};

pub struct Facts {
    /// What its reply or its effect depends on; of an EXEC also what is watched.
    pub looks_at: Slots,
    /// What it may change, or touch in the sense of WATCH.
    pub may_touch: Slots,
    /// What its reply says was in a slot when it ran: a value that only one command can have made, or nothing.
    pub needs: Vec<(usize, Id)>,
    /// The values of its own that it puts into slots.
    puts: Vec<(usize, Id)>,
    /// Slots into which it may bring values from elsewhere, or values made of others.
    carries_into: Slots,
    /// Slots which it may leave empty.
    empties: Slots,
}

impl Facts {
    pub fn of(op: &Op, watch: Option<&Op>, values: &Values) -> Facts {
        let idle = op.out.as_ref().is_some_and(|out| op.cmd.changed_nothing(out));
        let mut facts = Facts {
            looks_at: op.cmd.looks_at(op.database) | watch.map_or(0, |watch| watch.cmd.slots(watch.database)),
            may_touch: if idle { 0 } else { op.cmd.may_touch(op.database) },
            needs: Vec::new(),
            puts: Vec::new(),
            carries_into: 0,
            empties: 0,
        };
        if !idle {
            facts.note_effects(&op.cmd, op.database);
        }
        if let Some(out) = &op.out {
            facts.note_needs(&op.cmd, out, op.database, values);
        }
        facts
    }

    /// Whether a command may leave a slot with this value, or with none.
    pub fn may_leave(&self, slot: usize, id: Id) -> bool {
        let mask = if id == NONE { self.empties } else { self.carries_into };
        mask & (1 << slot) != 0 || self.puts.contains(&(slot, id))
    }

    fn note_effects(&mut self, cmd: &Cmd, database: u8) {
        let at = |key: u8| slot(database, key);
        match cmd {
            Cmd::Set(key, id) | Cmd::GetSet(key, id) | Cmd::SetNx(key, id) => self.puts.push((at(*key), *id)),
            Cmd::MSet(pairs) | Cmd::MSetNx(pairs) => self.puts.extend(pairs.iter().map(|&(key, id)| (at(key), id))),
            Cmd::Append(key, _) | Cmd::Incr(key) | Cmd::IncrBy(key, _) => self.carries_into |= bit(database, *key),
            Cmd::GetDel(_) | Cmd::Del(_) | Cmd::FlushDb | Cmd::FlushAll => self.empties |= cmd.may_touch(database),
            Cmd::Rename(from, to) | Cmd::RenameNx(from, to) => {
                self.empties |= bit(database, *from);
                self.carries_into |= bit(database, *to);
            }
            Cmd::Copy { to, database: there, .. } => self.carries_into |= bit(*there, *to),
            Cmd::Move(key, there) => {
                self.empties |= bit(database, *key);
                self.carries_into |= bit(*there, *key);
            }
            Cmd::BitOp(..) | Cmd::SwapDb => {
                self.empties |= cmd.may_touch(database);
                self.carries_into |= cmd.may_touch(database);
            }
            Cmd::Exec(cmds) => cmds.iter().for_each(|cmd| self.note_effects(cmd, database)),
            Cmd::Get(_) | Cmd::MGet(_) | Cmd::Exists(_) | Cmd::DbSize | Cmd::Keys | Cmd::Watch(_) | Cmd::Snapshot => {}
        }
    }

    fn note_needs(&mut self, cmd: &Cmd, out: &Out, database: u8, values: &Values) {
        let at = |key: u8| slot(database, key);
        match (cmd, out) {
            (Cmd::Get(key) | Cmd::GetSet(key, _) | Cmd::GetDel(key), out) => self.need_shown(at(*key), out, values),
            (Cmd::MGet(keys), Out::List(items)) => {
                keys.iter().zip(items).for_each(|(key, item)| self.need_shown(at(*key), item, values));
            }
            (Cmd::SetNx(key, _), Out::Int(1)) => self.need_nothing(at(*key)),
            (Cmd::MSetNx(pairs), Out::Int(1)) => pairs.iter().for_each(|(key, _)| self.need_nothing(at(*key))),
            (Cmd::Del(keys) | Cmd::Exists(keys), Out::Int(0)) => {
                keys.iter().for_each(|key| self.need_nothing(at(*key)));
            }
            (Cmd::Rename(from, _) | Cmd::RenameNx(from, _), Out::NoSuchKey) => self.need_nothing(at(*from)),
            (Cmd::RenameNx(_, to), Out::Int(1)) => self.need_nothing(at(*to)),
            (Cmd::Copy { to, database, replace: false, .. }, Out::Int(1)) => self.need_nothing(slot(*database, *to)),
            (Cmd::Move(key, there), Out::Int(1)) => self.need_nothing(slot(*there, *key)),
            (Cmd::Keys, Out::Keys(found)) => {
                let absent = (0..KEYS.len()).filter(|k| found & (1 << k) == 0);
                absent.for_each(|k| self.need_nothing(at(k as u8)));
            }
            (Cmd::Snapshot, Out::Values(data)) => {
                let shown = |id: Id| if id == NONE { Out::Nil } else { Out::Value(id) };
                (0..SLOTS).for_each(|slot| self.need_shown(slot, &shown(data[slot]), values));
            }
            // What a block reads behind its first write, it may have written itself.
            (Cmd::Exec(cmds), Out::List(items)) => {
                let first_write = cmds.iter().position(|cmd| !cmd.only_looks()).unwrap_or(cmds.len());
                for (cmd, item) in cmds.iter().zip(items).take(first_write + 1) {
                    self.note_needs(cmd, item, database, values);
                }
            }
            _ => {}
        }
    }

    fn need_nothing(&mut self, slot: usize) {
        self.needs.push((slot, NONE));
    }

    fn need_shown(&mut self, slot: usize, out: &Out, values: &Values) {
        match out {
            Out::Nil => self.needs.push((slot, NONE)),
            Out::Value(id) if !is_sink(slot) && values.unique(*id) => self.needs.push((slot, *id)),
            _ => {}
        }
    }
}
