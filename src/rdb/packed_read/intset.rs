//! The intset: `[bytes of an integer u32][integers u32]` and the integers in ascending order, all little endian.

use super::{Error, Flaw, sign_extend};

const HEADER_BYTES: usize = 8;

/// A sound intset of one integer at least.
#[derive(Clone, Copy, Debug)]
pub struct Intset<'a> {
    integers: Integers<'a>,
}

/// By size.
#[derive(Clone, Copy, Debug)]
enum Integers<'a> {
    Of16(&'a [[u8; 2]]),
    Of32(&'a [[u8; 4]]),
    Of64(&'a [[u8; 8]]),
}

impl Integers<'_> {
    fn len(&self) -> usize {
        match self {
            Integers::Of16(all) => all.len(),
            Integers::Of32(all) => all.len(),
            Integers::Of64(all) => all.len(),
        }
    }

    fn get(&self, index: usize) -> Option<i64> {
        match self {
            Integers::Of16(all) => all.get(index).map(|bytes| sign_extend(*bytes)),
            Integers::Of32(all) => all.get(index).map(|bytes| sign_extend(*bytes)),
            Integers::Of64(all) => all.get(index).map(|bytes| sign_extend(*bytes)),
        }
    }
}

impl<'a> Intset<'a> {
    pub fn new(blob: &'a [u8]) -> Result<Self, Error> {
        let Some(([a, b, c, d, e, f, g, h], rest)) = blob.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Flaw::TooShort.at(0));
        };
        let bytes = u32::from_le_bytes([*a, *b, *c, *d]);
        let integers = match bytes {
            2 => Integers::Of16(rest.as_chunks().0),
            4 => Integers::Of32(rest.as_chunks().0),
            8 => Integers::Of64(rest.as_chunks().0),
            _ => return Err(Flaw::IntegerSize(bytes).at(0)),
        };
        let announced = u64::from(u32::from_le_bytes([*e, *f, *g, *h]));
        if announced * u64::from(bytes) != rest.len() as u64 {
            return Err(Flaw::Size { announced: announced * u64::from(bytes), actual: rest.len() as u64 }.at(4));
        }
        if announced == 0 {
            return Err(Flaw::Empty.at(4));
        }
        let intset = Self { integers };
        match intset.iter().zip(intset.iter().skip(1)).position(|(one, next)| one >= next) {
            Some(at) => Err(Flaw::Order.at(HEADER_BYTES + (at + 1) * bytes as usize)),
            None => Ok(intset),
        }
    }

    pub fn len(&self) -> usize {
        self.integers.len()
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = i64> + use<'a> {
        let integers = self.integers;
        (0..integers.len()).map_while(move |index| integers.get(index))
    }
}
