//! How one client tracks.

use std::collections::BTreeSet;

use super::Tracker;

/// What a client is told about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The keys it has read.
    #[default]
    Reads,
    /// The keys it has read with the command behind CLIENT CACHING YES.
    OptIn,
    /// The keys it has read, except with the command behind CLIENT CACHING NO.
    OptOut,
    /// All keys with one of its prefixes.
    Broadcast,
}

/// Where the messages go instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The client's number.
    pub id: u64,
    /// `None` once it was found to be gone.
    pub target: Option<Tracker>,
}

/// The tracking of a client that has it switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub mode: Mode,
    /// What the client changes itself is not told to it.
    pub noloop: bool,
    /// CLIENT CACHING was given: the next command, or the next transaction, is an exception. It outlives a change of mode.
    pub caching: bool,
    pub redirect: Option<Redirect>,
    /// Of [`Mode::Broadcast`]; the empty one stands for all keys.
    pub prefixes: BTreeSet<Vec<u8>>,
}

impl Settings {
    /// Whether a command that reads now is to be remembered.
    pub fn remembers(&self) -> bool {
        match self.mode {
            Mode::Reads => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast => false,
        }
    }

    /// Whether a message was lost because its receiver is gone.
    pub fn is_broken(&self) -> bool {
        self.redirect.is_some_and(|redirect| redirect.target.is_none())
    }
}
