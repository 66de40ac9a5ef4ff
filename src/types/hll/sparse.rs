//! The sparse form: runs of equal registers as opcodes of one or two bytes.
//!
//! | bits | opcode |
//! |---|---|
//! | `00nnnnnn` | n + 1 registers of 0 |
//! | `01nnnnnn nnnnnnnn` | n + 1 registers of 0 |
//! | `1vvvvvnn` | n + 1 registers of v + 1 |
//!
//! Many runs of opcodes say the same; which of them Redis arrives at depends on the order of the additions, and is followed here:
//! an opcode is split where a register rises, then equal neighbours are joined among the five opcodes that begin with the one before.

use std::fmt::Write;

use super::estimate::Histogram;
use super::{Encoding, Error, HEADER_BYTES, Hit, REGISTER_VALUES, REGISTERS, Registers, validate};

const LONG_ZERO: u8 = 0x40;
const VALUE: u8 = 0x80;
const MAX_SHORT_ZERO: usize = 64;
const MAX_VALUE: u8 = 32;
const MAX_VALUE_RUN: usize = 4;
/// The longest that one opcode becomes by raising a register: two long runs of zeros and a value between.
const MAX_SPLIT: usize = 5;
/// Opcodes looked at for neighbours to join, after a register has risen.
const JOIN_WINDOW: usize = 5;
/// Bytes from one mark of a [`Trail`] to the next: what a search passes again at most is twice that.
const MARK_DISTANCE: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Zeros { run: usize },
    Value { value: u8, run: usize },
}

impl Opcode {
    /// The opcode at a place, and its length. The end of the value is an error.
    #[inline]
    fn at(value: &[u8], at: usize) -> Result<(Self, usize), Error> {
        let &first = value.get(at).ok_or(Error::Corrupted)?;
        if first & VALUE != 0 {
            Ok((Self::Value { value: (first >> 2 & 31) + 1, run: usize::from(first & 3) + 1 }, 1))
        } else if first & LONG_ZERO == 0 {
            Ok((Self::Zeros { run: usize::from(first) + 1 }, 1))
        } else {
            let &second = value.get(at + 1).ok_or(Error::Corrupted)?;
            Ok((Self::Zeros { run: (usize::from(first & 63) << 8 | usize::from(second)) + 1 }, 2))
        }
    }

    #[inline]
    fn run(self) -> usize {
        match self {
            Self::Zeros { run } | Self::Value { run, .. } => run,
        }
    }

    fn value(self) -> u8 {
        match self {
            Self::Zeros { .. } => 0,
            Self::Value { value, .. } => value,
        }
    }

    /// The same value over another run.
    fn over(self, run: usize) -> Self {
        match self {
            Self::Zeros { .. } => Self::Zeros { run },
            Self::Value { value, .. } => Self::Value { value, run },
        }
    }

    fn push(self, out: &mut Opcodes) {
        match self {
            Self::Zeros { run: 0 } | Self::Value { run: 0, .. } => {}
            Self::Value { value, run } => out.push((value - 1) << 2 | (run - 1) as u8 | VALUE),
            Self::Zeros { run } if run <= MAX_SHORT_ZERO => out.push((run - 1) as u8),
            Self::Zeros { run } => {
                out.push(((run - 1) >> 8) as u8 | LONG_ZERO);
                out.push((run - 1) as u8);
            }
        }
    }
}

/// A few encoded opcodes.
#[derive(Default)]
struct Opcodes {
    bytes: [u8; MAX_SPLIT],
    len: usize,
}

impl Opcodes {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Appends the registers of an empty value.
pub fn push_empty(value: &mut Vec<u8>) {
    let mut opcodes = Opcodes::default();
    Opcode::Zeros { run: REGISTERS }.push(&mut opcodes);
    value.extend_from_slice(opcodes.as_slice());
}

/// Calls for each opcode with the register where its run begins. An error unless the runs fill all registers exactly.
fn each(value: &[u8], mut visit: impl FnMut(Opcode, usize)) -> Result<(), Error> {
    let (mut at, mut first) = (HEADER_BYTES, 0);
    while at < value.len() {
        let (opcode, length) = Opcode::at(value, at)?;
        if first + opcode.run() > REGISTERS {
            return Err(Error::Corrupted);
        }
        visit(opcode, first);
        at += length;
        first += opcode.run();
    }
    if first == REGISTERS { Ok(()) } else { Err(Error::Corrupted) }
}

/// How many registers hold each value.
pub fn histogram(value: &[u8]) -> Result<Histogram, Error> {
    let mut counts = [0; REGISTER_VALUES];
    each(value, |opcode, _| counts[usize::from(opcode.value())] += opcode.run() as u32)?;
    Ok(counts)
}

/// Raises each of `into` to what it is here.
pub fn merge(value: &[u8], into: &mut Registers) -> Result<(), Error> {
    each(value, |opcode, first| {
        if let Opcode::Value { value, run } = opcode {
            into[first..first + run].iter_mut().for_each(|register| *register = value.max(*register));
        }
    })
}

/// The opcodes in the text form of PFDEBUG DECODE. A value that is not sparse is an error of the caller's, and reads as corrupted.
pub fn decode(value: &[u8]) -> Result<String, Error> {
    if validate(value)? != Encoding::Sparse {
        return Err(Error::Corrupted);
    }
    let (mut at, mut text) = (HEADER_BYTES, String::new());
    while at < value.len() {
        let (opcode, length) = Opcode::at(value, at)?;
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a `String` does not fail.
        let _ = match opcode {
            Opcode::Zeros { run } => write!(text, "{separator}{}:{run}", if length == 1 { 'z' } else { 'Z' }),
            Opcode::Value { value, run } => write!(text, "{separator}v:{value},{run}"),
        };
        at += length;
    }
    Ok(text)
}

/// A register's value.
pub fn get(value: &[u8], index: usize) -> Result<u8, Error> {
    let place = Trail::default().find(value, index)?;
    Ok(place.opcode.value())
}

/// An opcode found.
struct Place {
    opcode: Opcode,
    length: usize,
    at: usize,
    /// The register where its run begins.
    first: usize,
    /// Where the opcode before it begins.
    before: Option<usize>,
}

/// Where an opcode begins, and the register where its run does.
#[derive(Clone, Copy)]
struct Mark {
    at: usize,
    first: usize,
}

const START: Mark = Mark { at: HEADER_BYTES, first: 0 };

/// Places shortly before the last register that was looked for: when registers are raised in ascending order, each search goes on
/// from there. Raising a register changes opcodes from the one before it on, and no mark is behind that one.
pub struct Trail {
    older: Mark,
    newer: Mark,
}

impl Default for Trail {
    fn default() -> Self {
        Self { older: START, newer: START }
    }
}

impl Trail {
    /// The opcode of a register, which is the last that was looked for or one behind it.
    fn find(&mut self, value: &[u8], index: usize) -> Result<Place, Error> {
        let Mark { mut at, mut first } = self.start(value, index)?;
        let mut before = None;
        loop {
            let (opcode, length) = Opcode::at(value, at)?;
            if index < first + opcode.run() {
                return Ok(Place { opcode, length, at, first, before });
            }
            if at >= self.newer.at + MARK_DISTANCE {
                (self.older, self.newer) = (self.newer, Mark { at, first });
            }
            before = Some(at);
            at += length;
            first += opcode.run();
        }
    }

    /// A mark whose opcode is passed on the way, so that the opcode before the one found is known.
    fn start(&self, value: &[u8], index: usize) -> Result<Mark, Error> {
        for mark in [self.newer, self.older] {
            if mark.first + Opcode::at(value, mark.at)?.0.run() <= index {
                return Ok(mark);
            }
        }
        Ok(START)
    }
}

/// Raises a register; tells whether it was lower. Makes the value dense when the sparse form cannot say it, or not in
/// `sparse_max_bytes`. The trail is of earlier calls for lower registers of the same value, or new.
pub fn raise(value: &mut Vec<u8>, hit: Hit, sparse_max_bytes: usize, trail: &mut Trail) -> Result<bool, Error> {
    if hit.pattern > MAX_VALUE {
        return raise_dense(value, hit);
    }
    let place = trail.find(value, hit.index)?;
    if place.opcode.value() >= hit.pattern {
        return Ok(false);
    }
    let opcodes = split(&place, hit)?;
    let grows = opcodes.len > place.length;
    if grows && value.len() + opcodes.len - place.length > sparse_max_bytes {
        return raise_dense(value, hit);
    }
    replace(value, place.at, place.length, opcodes.as_slice());
    join(value, place.before.unwrap_or(HEADER_BYTES));
    Ok(true)
}

fn raise_dense(value: &mut Vec<u8>, hit: Hit) -> Result<bool, Error> {
    super::promote(value)?;
    Ok(super::dense::raise(&mut value[HEADER_BYTES..], hit))
}

/// What the opcode becomes: its run before the register, the register, its run behind.
fn split(place: &Place, hit: Hit) -> Result<Opcodes, Error> {
    let end = place.first + place.opcode.run();
    if end > REGISTERS {
        return Err(Error::Corrupted);
    }
    let mut opcodes = Opcodes::default();
    place.opcode.over(hit.index - place.first).push(&mut opcodes);
    Opcode::Value { value: hit.pattern, run: 1 }.push(&mut opcodes);
    place.opcode.over(end - 1 - hit.index).push(&mut opcodes);
    Ok(opcodes)
}

/// Puts opcodes in the place of one.
fn replace(value: &mut Vec<u8>, at: usize, length: usize, opcodes: &[u8]) {
    let (old_end, behind) = (at + length, at + opcodes.len());
    let old_len = value.len();
    if opcodes.len() > length {
        value.resize(old_len + opcodes.len() - length, 0);
    }
    value.copy_within(old_end..old_len, behind);
    value.truncate(old_len + opcodes.len() - length);
    value[at..behind].copy_from_slice(opcodes);
}

/// Joins runs of one value that are neighbours and fit one opcode.
fn join(value: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_WINDOW {
        // A value behind the window that does not decode is found by whoever comes there.
        let Ok((opcode, length)) = Opcode::at(value, at) else { return };
        match joined(value, opcode, at) {
            Some(both) => {
                let mut opcodes = Opcodes::default();
                both.push(&mut opcodes);
                replace(value, at, 2, opcodes.as_slice());
            }
            None => at += length,
        }
    }
}

/// The opcode that says the same as the one here and the one behind it.
fn joined(value: &[u8], here: Opcode, at: usize) -> Option<Opcode> {
    let Opcode::Value { value: level, run } = here else { return None };
    match Opcode::at(value, at + 1) {
        Ok((Opcode::Value { value: next, run: more }, _)) if next == level && run + more <= MAX_VALUE_RUN => {
            Some(here.over(run + more))
        }
        _ => None,
    }
}
