//! A hash that is being changed, in whatever form it is, and becomes a full one when the limits say so.
//!
//! A compact hash is changed in a copy of its bytes, which is put in its place once, when all is done. Nothing is put if nothing changed, and no key
//! is made by a command that adds nothing; a hash without fields is no more.

use crate::commands::scratch::with_scratch;
use crate::commands::{Ctx, Error};
use crate::keyspace::HeldMut;
use crate::resp::Writer;
use crate::types::hash::{Hash, Limits, Prior, Ttl, compact};

enum Form<'a> {
    Compact(&'a mut Vec<u8>),
    /// It was compact and has passed the limits.
    Grown(Hash),
    Full(&'a mut Hash),
}

/// The hash at work.
pub struct Draft<'a> {
    form: Form<'a>,
    limits: Limits,
    changed: bool,
}

/// What became of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Unchanged,
    Changed,
    /// The last field is gone, and the key with it.
    Removed,
}

impl Draft<'_> {
    /// Makes it a full hash if as many fields, or one so long, would not be compact.
    pub fn expect<'n>(&mut self, fields: usize, mut texts: impl Iterator<Item = &'n [u8]>) {
        let fits = self.limits.allow_fields(fields) && texts.all(|text| text.len() <= self.limits.max_bytes);
        if !fits {
            self.grow();
        }
    }

    fn grow(&mut self) {
        if let Form::Compact(bytes) = &self.form {
            self.form = Form::Grown(Hash::from_compact(bytes));
        }
    }

    /// What is known of a field.
    pub fn prior(&self, field: &[u8]) -> Option<Prior> {
        match &self.form {
            Form::Compact(bytes) => compact::prior(bytes, field),
            Form::Grown(full) => full.prior(field),
            Form::Full(full) => full.prior(field),
        }
    }

    /// Gives the value of a field to `read`, expired or not.
    pub fn value<R>(&self, field: &[u8], read: impl FnOnce(Option<&[u8]>) -> R) -> R {
        match &self.form {
            Form::Compact(bytes) => match compact::get(bytes, field, 0) {
                Some(item) => read(Some(item.text(&mut [0; _]))),
                None => read(None),
            },
            Form::Grown(full) => read(full.get(field, 0)),
            Form::Full(full) => read(full.get(field, 0)),
        }
    }

    /// Sets a field; tells what it was, `None` if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], ttl: Ttl) -> Option<Prior> {
        self.changed = true;
        if let Form::Compact(bytes) = &mut self.form {
            if self.limits.allow(field, value) {
                let prior = compact::set(bytes, field, value, ttl);
                // As in Redis also when nothing was added: the limit may have been lowered.
                if !self.limits.allow_fields(compact::len(bytes)) {
                    self.grow();
                }
                return prior;
            }
            self.grow();
        }
        self.full()?.set(field, value, ttl)
    }

    /// Of a hash that is not compact.
    fn full(&mut self) -> Option<&mut Hash> {
        match &mut self.form {
            Form::Compact(_) => None,
            Form::Grown(full) => Some(full),
            Form::Full(full) => Some(full),
        }
    }

    /// Takes a field out; whether it was there.
    pub fn delete(&mut self, field: &[u8]) -> bool {
        let prior = match &mut self.form {
            Form::Compact(bytes) => compact::delete(bytes, field),
            Form::Grown(full) => full.delete(field),
            Form::Full(full) => full.delete(field),
        };
        self.changed |= prior.is_some();
        prior.is_some()
    }

    /// Gives a field an expiry, or takes it away; whether it is there.
    pub fn set_expiry(&mut self, field: &[u8], expire_at_ms: Option<u64>) -> bool {
        let prior = match &mut self.form {
            Form::Compact(bytes) => compact::set_expiry(bytes, field, expire_at_ms),
            Form::Grown(full) => full.set_expiry(field, expire_at_ms),
            Form::Full(full) => full.set_expiry(field, expire_at_ms),
        };
        self.changed |= prior.is_some();
        prior.is_some()
    }

    fn fate(&self) -> Fate {
        let is_empty = match &self.form {
            // Whether there is one field tells without counting the others.
            Form::Compact(bytes) => compact::fields(bytes).next().is_none(),
            Form::Grown(full) => full.is_empty(),
            Form::Full(full) => full.is_empty(),
        };
        match (self.changed, is_empty) {
            (false, _) => Fate::Unchanged,
            (true, false) => Fate::Changed,
            (true, true) => Fate::Removed,
        }
    }
}

impl Ctx<'_> {
    /// Lets `work` change the hash at a key, which is an empty one if there is no key, and reply meanwhile; it does neither when it fails.
    /// `fields`: those that are changed.
    pub(super) fn change_hash<'n, R>(
        &mut self,
        key: &[u8],
        fields: impl Iterator<Item = &'n [u8]>,
        work: impl FnOnce(&mut Draft<'_>, &mut Writer<'_>) -> Result<R, Error>,
    ) -> Result<(R, Fate), Error> {
        self.keys.expire_fields(key, fields);
        let limits = self.encodings.hash;
        with_scratch(|scratch| {
            match self.keys.collection_to_change::<Hash>(key)? {
                None => scratch.extend_from_slice(compact::EMPTY),
                Some(HeldMut::Packed(bytes)) => scratch.extend_from_slice(bytes),
                Some(HeldMut::Full(full)) => {
                    let before = full.earliest_expiry();
                    let mut draft = Draft { form: Form::Full(full), limits, changed: false };
                    let result = work(&mut draft, &mut self.out)?;
                    let fate = draft.fate();
                    let after = full.earliest_expiry();
                    if before != after {
                        self.keys.field_expiry_changed(key, before, after);
                    }
                    match fate {
                        Fate::Unchanged => {}
                        Fate::Changed => self.keys.changed(key),
                        Fate::Removed => drop(self.keys.remove(key)),
                    }
                    return Ok((result, fate));
                }
            }
            let mut draft = Draft { form: Form::Compact(scratch), limits, changed: false };
            let result = work(&mut draft, &mut self.out)?;
            let fate = draft.fate();
            match (fate, draft.form) {
                (Fate::Unchanged, _) | (Fate::Changed, Form::Full(_)) => {}
                (Fate::Removed, _) => drop(self.keys.remove(key)),
                (Fate::Changed, Form::Compact(bytes)) => self.keys.set_packed::<Hash>(key, bytes),
                (Fate::Changed, Form::Grown(full)) => self.keys.set_full(key, full),
            }
            Ok((result, fate))
        })
    }

    /// Raises an event of a hash that was changed, and what follows if it is no more.
    pub(super) fn tell_of_hash(&mut self, key: &[u8], name: &'static str, fate: Fate) {
        self.hash_event(key, name);
        if fate == Fate::Removed {
            self.event(key, "del");
        }
    }
}
