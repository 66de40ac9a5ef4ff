//! Which history of writes this node's data is, and how far it has come: replication IDs and offsets, as PSYNC (version 2) compares them.
//!
//! A history is a byte stream with an ID. A node has one, and may know that up to some offset it is the same as another one: that of the
//! primary it was a replica of before its promotion. Offsets count bytes: after `n` bytes the offset is `n`, and the next byte is number
//! `n + 1`; PSYNC asks for a byte by its number.
//!
//! Invariants
//! - the offset of a history never goes back
//! - the second ID is valid for bytes below `second.1`, and for nothing behind
//!
//! Knows nothing of the bytes themselves.

/// An ID has so many hex digits.
pub const ID_LEN: usize = 40;

/// What INFO shows in place of a second ID.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// The history of this node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    id: String,
    /// The history before the last promotion, and the first byte that it does not share.
    second: Option<(String, u64)>,
    offset: u64,
}

/// Why a replica cannot go on from where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has no history (ID `?`) and knows it.
    Asked,
    /// Its history is another one.
    OtherId,
    /// Its history is the one before the promotion, but it has gone on beyond it.
    BeyondSecond { valid_to: u64 },
    /// The bytes it needs are not kept.
    Backlog {
        /// It has more than this node ever had.
        ahead: bool,
    },
}

impl History {
    pub fn new(id: String) -> History {
        History { id, second: None, offset: 0 }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The second ID with the first byte that is not of that history.
    pub fn second(&self) -> Option<(&str, u64)> {
        self.second.as_ref().map(|(id, offset)| (id.as_str(), *offset))
    }

    /// Bytes so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// So many bytes were added.
    pub fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
    }

    /// The data are no continuation of anything a replica could have: what follows is history `id`.
    pub fn renew(&mut self, id: String) {
        self.id = id;
        self.second = None;
    }

    /// The node is promoted: what it has it shares with its former siblings, what follows is its own history `id`.
    pub fn shift(&mut self, id: String) {
        self.second = Some((std::mem::replace(&mut self.id, id), self.offset + 1));
    }

    /// The data now are those of another history, at `offset` of it.
    pub fn adopt(&mut self, id: String, offset: u64) {
        *self = History { id, second: None, offset };
    }

    /// The primary goes on with this node under a new ID.
    pub fn follow(&mut self, id: &str) {
        if id != self.id {
            self.shift(id.to_owned());
        }
    }

    /// Whether a replica of history `id` that asks for byte `asked` can go on from `kept`, the numbers of the first byte that is kept and of
    /// the one behind the last. Gives the offset it is at.
    pub fn can_continue(&self, id: &[u8], asked: i64, kept: Option<(u64, u64)>) -> Result<u64, Refusal> {
        let is = |known: &str| id.eq_ignore_ascii_case(known.as_bytes());
        if !is(&self.id) {
            match &self.second {
                _ if id.first() == Some(&b'?') => return Err(Refusal::Asked),
                Some((second, valid_to)) if is(second) => {
                    if i128::from(asked) > i128::from(*valid_to) {
                        return Err(Refusal::BeyondSecond { valid_to: *valid_to });
                    }
                }
                _ => return Err(Refusal::OtherId),
            }
        }
        let byte = u64::try_from(asked).ok();
        match (byte, kept) {
            (Some(byte), Some((first, end))) if first <= byte && byte <= end => Ok(byte - 1),
            _ => Err(Refusal::Backlog { ahead: byte.is_some_and(|byte| byte > self.offset) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> String {
        digit.repeat(ID_LEN)
    }

    fn history(offset: u64) -> History {
        let mut history = History::new(id("a"));
        history.advance(offset);
        history
    }

    #[test]
    fn a_replica_goes_on_at_any_byte_that_is_kept_and_at_the_next_one() {
        let history = history(100);
        let kept = Some((51, 101));
        let ask = |asked| history.can_continue(history.id().as_bytes(), asked, kept);
        assert_eq!(ask(51), Ok(50));
        assert_eq!(ask(101), Ok(100));
        assert_eq!(ask(50), Err(Refusal::Backlog { ahead: false }));
        assert_eq!(ask(102), Err(Refusal::Backlog { ahead: true }));
        assert_eq!(ask(-1), Err(Refusal::Backlog { ahead: false }));
        assert_eq!(ask(i64::MAX), Err(Refusal::Backlog { ahead: true }));
        let nothing_kept = history.can_continue(history.id().as_bytes(), 101, None);
        assert_eq!(nothing_kept, Err(Refusal::Backlog { ahead: true }));
        assert!(history.can_continue(history.id().to_ascii_uppercase().as_bytes(), 101, kept).is_ok());
    }

    #[test]
    fn another_history_is_refused() {
        let history = history(100);
        let kept = Some((1, 101));
        assert_eq!(history.can_continue(b"?", -1, kept), Err(Refusal::Asked));
        assert_eq!(history.can_continue(id("d").as_bytes(), 101, kept), Err(Refusal::OtherId));
        assert_eq!(history.can_continue(b"", 101, kept), Err(Refusal::OtherId));
        // There is no second ID, and what INFO shows in its place is none.
        assert_eq!(history.can_continue(NO_ID.as_bytes(), 1, kept), Err(Refusal::OtherId));
    }

    #[test]
    fn the_history_before_a_promotion_is_valid_up_to_it() {
        let mut history = history(100);
        let before = history.id().to_owned();
        history.shift(id("b"));
        assert_ne!(history.id(), before);
        assert_eq!(history.second(), Some((before.as_str(), 101)));
        history.advance(20);
        let kept = Some((1, 121));
        let ask = |asked| history.can_continue(before.as_bytes(), asked, kept);
        assert_eq!(ask(90), Ok(89));
        assert_eq!(ask(101), Ok(100));
        assert_eq!(ask(102), Err(Refusal::BeyondSecond { valid_to: 101 }));
        assert_eq!(history.can_continue(history.id().as_bytes(), 121, kept), Ok(120));
    }

    #[test]
    fn a_new_history_forgets_the_second_id() {
        let mut history = history(7);
        history.shift(id("b"));
        history.renew(id("c"));
        assert_eq!((history.second(), history.offset()), (None, 7));
        history.shift(id("d"));
        history.adopt(id("e"), 1000);
        assert_eq!((history.id(), history.second(), history.offset()), (id("e").as_str(), None, 1000));
    }

    #[test]
    fn a_primary_that_goes_on_under_a_new_id_makes_the_old_one_the_second() {
        let mut history = history(7);
        let before = history.id().to_owned();
        history.follow(&before);
        assert_eq!(history.second(), None);
        history.follow(&id("c"));
        assert_eq!(history.second(), Some((before.as_str(), 8)));
    }
}
