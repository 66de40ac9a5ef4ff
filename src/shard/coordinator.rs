//! One transaction over several cores: check-out, run, check-in (design, section 7).
//!
//! Guarantees
//! - it runs once, holding the locks of all participants, or not at all
//! - whatever was granted is given back or checked in, also when the client goes away
//! - it never waits for a core while it holds a higher one, so transactions cannot deadlock among each other: at first it tries all
//!   cores at once without waiting; where that fails it keeps what lies below the first refusal and waits for the rest in
//!   ascending order, one core after another
//!
//! Relies on messages between two cores keeping their order: a core sees what is given back before it is asked again.
//!
//! Sans-I/O: events in, actions out. Knows nothing of keys, entries, messages or clients. The driver carries out the actions in their
//! order; an answer from the driver's own core may come while it does so.

#[cfg(test)]
mod tests;

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask this core for its locks and entries, if it can give them at once. It answers.
    Try(usize),
    /// Ask this core for its locks and entries; it answers when it can give them.
    Wait(usize),
    /// Return everything unchanged to this core. It does not answer.
    GiveBack(usize),
    /// All is here: run the handlers, then say [`Coordinator::ran`].
    Run,
    /// Return the entries to this core, as they are now. It does not answer.
    CheckIn(usize),
    /// The transaction is over. No answer is outstanding.
    Done,
}

/// A core's answer to [`Action::Try`]. To [`Action::Wait`] there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Granted,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// All were asked at once; so many have not answered yet.
    Trying {
        unanswered: usize,
    },
    /// This one was asked, and all below it are held.
    Waiting {
        shard: usize,
    },
    Running,
    Over,
}

#[derive(Debug)]
pub struct Coordinator {
    participants: ShardSet,
    granted: ShardSet,
    phase: Phase,
    /// The client is gone.
    aborted: bool,
}

impl Coordinator {
    /// Begins a transaction. Actions are appended here and in all that follows.
    pub fn start(participants: ShardSet, actions: &mut Vec<Action>) -> Coordinator {
        let unanswered = participants.len();
        let mut coordinator = Coordinator {
            participants,
            granted: ShardSet::default(),
            phase: Phase::Trying { unanswered },
            aborted: false,
        };
        // Who needs one core only may wait there at once: it holds nothing.
        if unanswered <= 1 {
            coordinator.go_on(actions);
        } else {
            actions.extend(coordinator.participants.iter().map(Action::Try));
        }
        coordinator
    }

    pub fn participants(&self) -> &ShardSet {
        &self.participants
    }

    /// The cores whose locks and entries are here.
    pub fn granted(&self) -> &ShardSet {
        &self.granted
    }

    /// A core has answered. Panics when it was not asked.
    pub fn answer(&mut self, shard: usize, answer: Answer, actions: &mut Vec<Action>) {
        let expected = self.participants.contains(shard) && !self.granted.contains(shard);
        assert!(expected, "shard {shard} answers what it was not asked");
        match &mut self.phase {
            Phase::Trying { unanswered } => {
                *unanswered -= 1;
                let all_in = *unanswered == 0;
                if answer == Answer::Granted {
                    self.granted.insert(shard);
                }
                if all_in {
                    self.tried(actions);
                }
            }
            Phase::Waiting { shard: asked } => {
                assert_eq!((*asked, Answer::Granted), (shard, answer), "one core is asked, and it does not refuse");
                self.granted.insert(shard);
                self.go_on(actions);
            }
            Phase::Running | Phase::Over => panic!("shard {shard} answers while nothing is asked"),
        }
    }

    /// The handlers have run.
    pub fn ran(&mut self, actions: &mut Vec<Action>) {
        assert_eq!(self.phase, Phase::Running, "what runs was told to");
        self.finish(Action::CheckIn, actions);
    }

    /// The client is gone. What is under way is waited for, then everything is given back and nothing runs; handlers that run already
    /// go on to their end.
    pub fn abort(&mut self) {
        self.aborted = true;
    }

    /// All have answered the attempt.
    fn tried(&mut self, actions: &mut Vec<Action>) {
        if let Some(refused) = self.missing()
            && !self.aborted
        {
            for shard in self.granted.iter().filter(|shard| *shard > refused) {
                actions.push(Action::GiveBack(shard));
            }
            self.granted.keep_below(refused);
        }
        self.go_on(actions);
    }

    /// Nothing is outstanding: the next core is asked, or the handlers run.
    fn go_on(&mut self, actions: &mut Vec<Action>) {
        if self.aborted {
            return self.finish(Action::GiveBack, actions);
        }
        let (phase, action) = match self.missing() {
            Some(shard) => (Phase::Waiting { shard }, Action::Wait(shard)),
            None => (Phase::Running, Action::Run),
        };
        self.phase = phase;
        actions.push(action);
    }

    fn finish(&mut self, end: fn(usize) -> Action, actions: &mut Vec<Action>) {
        actions.extend(self.granted.iter().map(end));
        actions.push(Action::Done);
        self.granted = ShardSet::default();
        self.phase = Phase::Over;
    }

    /// The lowest core whose locks are not here.
    fn missing(&self) -> Option<usize> {
        self.participants.iter().find(|shard| !self.granted.contains(*shard))
    }
}

/// A set of shards. The first 64 take no allocation.
#[derive(Clone, Debug, Default)]
pub struct ShardSet {
    low: u64,
    /// Shards from 64 on, 64 in each.
    high: Vec<u64>,
}

const BITS: usize = u64::BITS as usize;

impl ShardSet {
    pub fn insert(&mut self, shard: usize) {
        let word = match (shard / BITS).checked_sub(1) {
            None => &mut self.low,
            Some(at) => {
                if self.high.len() <= at {
                    self.high.resize(at + 1, 0);
                }
                &mut self.high[at]
            }
        };
        *word |= 1 << (shard % BITS);
    }

    pub fn contains(&self, shard: usize) -> bool {
        self.words().nth(shard / BITS).is_some_and(|word| word >> (shard % BITS) & 1 == 1)
    }

    pub fn len(&self) -> usize {
        self.words().map(|word| word.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words().all(|word| word == 0)
    }

    /// The shards, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words().enumerate().flat_map(|(at, word)| {
            let following = |rest: &u64| rest.checked_sub(1).map(|less| rest & less);
            std::iter::successors(Some(word), following)
                .take_while(|rest| *rest != 0)
                .map(move |rest| at * BITS + rest.trailing_zeros() as usize)
        })
    }

    /// Drops this shard and all above it.
    fn keep_below(&mut self, shard: usize) {
        let words = std::iter::once(&mut self.low).chain(&mut self.high);
        for (at, word) in words.enumerate().skip(shard / BITS) {
            *word &= if at == shard / BITS { (1 << (shard % BITS)) - 1 } else { 0 };
        }
    }

    fn words(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::once(self.low).chain(self.high.iter().copied())
    }
}

impl FromIterator<usize> for ShardSet {
    fn from_iter<I: IntoIterator<Item = usize>>(shards: I) -> ShardSet {
        let mut set = ShardSet::default();
        shards.into_iter().for_each(|shard| set.insert(shard));
        set
    }
}
