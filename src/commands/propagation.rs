//! What a command tells replicas: the form in which it goes into the write log.
//!
//! A command that changed something (`Ctx::dirty > 0`) goes there as its client sent it, unless its handler says otherwise: what depends on the
//! clock, on rounding or on what happened to be there is told in a form that has the same effect wherever and whenever it runs
//! (SET with EX as SET with PXAT). The forms are those of Redis 7.0.
//!
//! Invariants
//! - a shard has one [`Propagation`] and reuses it: a command allocates nothing, unless its form is longer than any before
//! - with the log off no handler gets to see it, which costs a handler that has another form one branch

use super::Ctx;
use crate::resp::write_command;

/// A buffer that has grown beyond this is given back.
const KEEP_BYTES: usize = 256 * 1024;

/// What of a command that changed data goes into the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// The command as its client sent it.
    #[default]
    Verbatim,
    /// [`Propagation::commands`] in its place.
    Instead,
    /// Nothing.
    Nothing,
}

/// What the command at work propagates.
#[derive(Default)]
pub struct Propagation {
    form: Form,
    /// RESP, one command after the other.
    commands: Vec<u8>,
    count: usize,
}

impl Propagation {
    /// Forgets the last command's form. What the next handler is given: nothing while the log is off.
    #[inline]
    pub fn begin(&mut self, log_is_on: bool) -> Option<&mut Propagation> {
        if !log_is_on {
            return None;
        }
        self.form = Form::Verbatim;
        if self.count > 0 {
            self.forget();
        }
        Some(self)
    }

    fn forget(&mut self) {
        self.count = 0;
        self.commands.clear();
        if self.commands.capacity() > KEEP_BYTES {
            self.commands = Vec::new();
        }
    }

    /// Counts only for a command that changed something.
    #[inline]
    pub fn form(&self) -> Form {
        self.form
    }

    /// With [`Form::Instead`]: the commands in RESP, and how many they are. Several belong together.
    #[inline]
    pub fn commands(&self) -> (&[u8], usize) {
        (&self.commands, self.count)
    }

    pub(super) fn push(&mut self, args: &[&[u8]]) {
        self.form = Form::Instead;
        self.count += 1;
        write_command(&mut self.commands, args.len(), args.iter().copied());
    }

    /// The same with arguments that do not stand in a row.
    pub(super) fn push_all<'a>(&mut self, count: usize, args: impl Iterator<Item = &'a [u8]>) {
        self.form = Form::Instead;
        self.count += 1;
        write_command(&mut self.commands, count, args);
    }

    fn push_with_number(&mut self, args: &[&[u8]], number: u64) {
        self.form = Form::Instead;
        self.count += 1;
        let mut digits = itoa::Buffer::new();
        let words = args.iter().copied().chain([digits.format(number).as_bytes()]);
        write_command(&mut self.commands, args.len() + 1, words);
    }

    pub(super) fn nothing(&mut self) {
        self.form = Form::Nothing;
        self.forget();
    }
}

impl Ctx<'_> {
    /// This command goes into the log instead of the one at work. Several calls: several commands.
    #[inline]
    pub fn propagate_as(&mut self, args: &[&[u8]]) {
        if let Some(propagation) = &mut self.propagation {
            propagation.push(args);
        }
    }

    /// Whether anybody listens: for a form that takes work to make.
    #[inline]
    pub fn propagates(&self) -> bool {
        self.propagation.is_some()
    }

    /// [`Ctx::propagate_as`] with `number` as the last argument.
    #[inline]
    pub fn propagate_with_number(&mut self, args: &[&[u8]], number: u64) {
        if let Some(propagation) = &mut self.propagation {
            propagation.push_with_number(args, number);
        }
    }

    /// What the command at work changed is no concern of replicas.
    #[inline]
    pub fn propagate_nothing(&mut self) {
        if let Some(propagation) = &mut self.propagation {
            propagation.nothing();
        }
    }
}

#[cfg(test)]
mod tests;
