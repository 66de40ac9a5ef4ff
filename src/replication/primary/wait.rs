//! WAIT: clients that wait until enough replicas have what was written.

use super::link::Link;
use super::{Action, Primary, Role, WaitFor};

/// From which offset on an acknowledgement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// The end of the stream when all batches below this number are merged.
    Number(u64),
    Offset(u64),
}

struct Wait {
    who: u64,
    replicas: usize,
    target: Target,
    deadline_ms: Option<u64>,
}

/// Who waits, in the order of arrival.
#[derive(Default)]
pub struct Waits(Vec<Wait>);

impl Waits {
    pub fn remove(&mut self, who: u64) {
        self.0.retain(|wait| wait.who != who);
    }

    /// Forgets all; who they were.
    pub fn clear(&mut self) -> Vec<u64> {
        self.0.drain(..).map(|wait| wait.who).collect()
    }
}

impl Primary {
    pub(super) fn wait(&mut self, who: u64, replicas: usize, target: WaitFor, deadline_ms: Option<u64>, now_ms: u64) {
        if self.role != Role::Primary {
            self.actions.push(Action::Answer { who, replicas: None });
            return;
        }
        let target = match target {
            WaitFor::Nothing => Target::Offset(0),
            WaitFor::Number(number) => Target::Number(number),
        };
        self.waits.0.push(Wait { who, replicas, target, deadline_ms });
        let asked = self.wants_acks;
        self.resolve_waits();
        self.answer_waits();
        self.end_waits(now_ms);
        if self.waits.0.iter().all(|wait| wait.who != who) {
            self.wants_acks = asked;
        }
    }

    /// Turns numbers that are merged into offsets.
    pub(super) fn resolve_waits(&mut self) {
        let (next, offset) = (self.stream.next_number(), self.stream.offset());
        for wait in &mut self.waits.0 {
            if matches!(wait.target, Target::Number(number) if number <= next) {
                wait.target = Target::Offset(offset);
                self.wants_acks = true;
            }
        }
    }

    fn acknowledged(&self, offset: u64) -> usize {
        let has = |link: &&Link| link.is_online() && link.ack >= offset;
        self.links.values().filter(has).count()
    }

    /// Answers those for whom enough replicas have acknowledged.
    pub(super) fn answer_waits(&mut self) {
        if self.waits.0.is_empty() {
            return;
        }
        let mut waits = std::mem::take(&mut self.waits.0);
        waits.retain(|wait| {
            let Target::Offset(offset) = wait.target else { return true };
            let replicas = self.acknowledged(offset);
            if replicas < wait.replicas {
                return true;
            }
            self.actions.push(Action::Answer { who: wait.who, replicas: Some(replicas) });
            false
        });
        self.waits.0 = waits;
    }

    /// Answers those whose time is over with what there is.
    pub(super) fn end_waits(&mut self, now_ms: u64) {
        let mut waits = std::mem::take(&mut self.waits.0);
        waits.retain(|wait| {
            if wait.deadline_ms.is_none_or(|deadline_ms| now_ms < deadline_ms) {
                return true;
            }
            let replicas = match wait.target {
                Target::Offset(offset) => self.acknowledged(offset),
                Target::Number(_) => 0,
            };
            self.actions.push(Action::Answer { who: wait.who, replicas: Some(replicas) });
            false
        });
        self.waits.0 = waits;
    }
}
