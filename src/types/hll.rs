//! HyperLogLog: an estimate of how many different elements were added, kept in a string value in Redis's own byte format.
//!
//! Guarantee: after the same additions and merges the bytes are those of Redis 7.0, and so is the estimate: DUMP, GET and replication
//! between the two agree. What differs is that corrupted registers are noticed in more cases (runs that go beyond the last register,
//! an opcode without its second byte).
//!
//! A value is a header of 16 bytes and the registers:
//!
//! | bytes | header |
//! |---|---|
//! | 0 .. 4 | `HYLL` |
//! | 4 | 0 dense, 1 sparse |
//! | 5 .. 8 | zeros |
//! | 8 .. 16 | the last estimate, little endian; the highest bit says that it no longer holds |
//!
//! Invariants
//! - the functions take any bytes: what a client wrote with SET is refused with an [`Error`], never with a panic
//! - a function that fails leaves a value as valid as it was
//!
//! Where it comes from: MurmurHash64A; the estimator of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches",
//! arXiv:1702.01284; the sparse opcodes are described in [`sparse`].

mod dense;
mod estimate;
mod sparse;

pub use sparse::decode;

use dense::DENSE_BYTES;

/// Bits of an element's hash that choose its register.
const INDEX_BITS: u32 = 14;
/// Registers of a value.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of the hash in which the first one is looked for.
const PATTERN_BITS: u32 = 64 - INDEX_BITS;
/// Values of a 6-bit register.
const REGISTER_VALUES: usize = 64;

const MAGIC: &[u8; 4] = b"HYLL";
const ENCODING_AT: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const CACHE_AT: usize = 8;
const HEADER_BYTES: usize = 16;
/// In the last byte of the header.
const STALE: u8 = 0x80;

/// Redis's seed of the element hash.
const SEED: u64 = 0xadc8_3b19;

/// One byte a register.
pub type Registers = [u8; REGISTERS];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Dense,
    Sparse,
}

impl Encoding {
    /// As PFDEBUG ENCODING answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The string is no HyperLogLog: Redis answers `WRONGTYPE`.
    NotHyperLogLog,
    /// The header is right and the registers are not: Redis answers `INVALIDOBJ`.
    Corrupted,
}

impl Error {
    /// The error line that Redis sends.
    pub fn message(self) -> &'static str {
        match self {
            Self::NotHyperLogLog => "WRONGTYPE Key is not a valid HyperLogLog string value.",
            Self::Corrupted => "INVALIDOBJ Corrupted HLL object detected",
        }
    }
}

/// What a sketch without elements is: sparse, with an estimate of 0 that holds.
pub fn create() -> Vec<u8> {
    let mut value = vec![0; HEADER_BYTES];
    value[..MAGIC.len()].copy_from_slice(MAGIC);
    value[ENCODING_AT] = SPARSE;
    sparse::push_empty(&mut value);
    value
}

/// Reads the header. The registers of a sparse value are looked at by the functions that need them.
pub fn validate(value: &[u8]) -> Result<Encoding, Error> {
    if value.len() < HEADER_BYTES || !value.starts_with(MAGIC) {
        return Err(Error::NotHyperLogLog);
    }
    match value[ENCODING_AT] {
        DENSE if value.len() == DENSE_BYTES => Ok(Encoding::Dense),
        SPARSE => Ok(Encoding::Sparse),
        _ => Err(Error::NotHyperLogLog),
    }
}

/// Adds an element; tells whether a register changed. The value becomes dense when the sparse form would be longer than
/// `sparse_max_bytes`, header included (hll-sparse-max-bytes).
///
/// The caller calls [`invalidate_cache`] once after the elements of a command, also when it created the value without any.
pub fn add(value: &mut Vec<u8>, element: &[u8], sparse_max_bytes: usize) -> Result<bool, Error> {
    let hit = Hit::of(element);
    match validate(value)? {
        Encoding::Dense => Ok(dense::raise(&mut value[HEADER_BYTES..], hit)),
        Encoding::Sparse => sparse::raise(value, hit, sparse_max_bytes, &mut sparse::Trail::default()),
    }
}

/// As [`add`] for a value that is dense, where it lies. `None` when it is not.
pub fn add_in_place(value: &mut [u8], element: &[u8]) -> Option<bool> {
    let dense = validate(value) == Ok(Encoding::Dense);
    dense.then(|| dense::raise(&mut value[HEADER_BYTES..], Hit::of(element)))
}

/// Whether [`add`] would change a register: so that a value is copied only when it is to be written.
pub fn would_change(value: &[u8], element: &[u8]) -> Result<bool, Error> {
    let hit = Hit::of(element);
    let register = match validate(value)? {
        Encoding::Dense => dense::get(&value[HEADER_BYTES..], hit.index),
        Encoding::Sparse => sparse::get(value, hit.index)?,
    };
    Ok(register < hit.pattern)
}

/// The estimate that the value holds, unless it was changed since. Only of a value that [`validate`] takes.
pub fn cached_count(value: &[u8]) -> Option<u64> {
    let (cache, _) = value.get(CACHE_AT..)?.split_first_chunk::<8>()?;
    (cache[7] & STALE == 0).then_some(u64::from_le_bytes(*cache))
}

/// Keeps an estimate in the value. One of 2^63 or more leaves the value marked as changed, as in Redis.
pub fn set_cached_count(value: &mut [u8], count: u64) {
    debug_assert!(validate(value).is_ok());
    value[CACHE_AT..HEADER_BYTES].copy_from_slice(&count.to_le_bytes());
}

/// Says that the estimate held in the value is none of its registers.
pub fn invalidate_cache(value: &mut [u8]) {
    debug_assert!(validate(value).is_ok());
    value[HEADER_BYTES - 1] |= STALE;
}

/// The estimate by the registers, whatever is cached. Redis replies with it as an `i64`.
pub fn count(value: &[u8]) -> Result<u64, Error> {
    let histogram = match validate(value)? {
        Encoding::Dense => dense::histogram(&value[HEADER_BYTES..]),
        Encoding::Sparse => sparse::histogram(value)?,
    };
    Ok(estimate::cardinality(&histogram))
}

/// Makes the value dense; tells whether it was not. The cached estimate stays.
pub fn promote(value: &mut Vec<u8>) -> Result<bool, Error> {
    match validate(value)? {
        Encoding::Dense => Ok(false),
        Encoding::Sparse => {
            let mut registers = [0; REGISTERS];
            sparse::merge(value, &mut registers)?;
            make_dense(value, &registers);
            Ok(true)
        }
    }
}

/// Gives the value these registers, in the dense form.
fn make_dense(value: &mut Vec<u8>, registers: &Registers) {
    value.resize(DENSE_BYTES, 0);
    value[ENCODING_AT] = DENSE;
    dense::pack(registers, &mut value[HEADER_BYTES..]);
}

/// The registers that several values have together: the largest of each.
#[derive(Clone, Debug)]
pub struct Union {
    registers: Box<Registers>,
    /// Whether one of the values was dense.
    dense: bool,
}

impl Default for Union {
    fn default() -> Self {
        Self { registers: Box::new([0; REGISTERS]), dense: false }
    }
}

impl Union {
    /// Takes a value in. After an error the union is of no use.
    pub fn add(&mut self, value: &[u8]) -> Result<(), Error> {
        match validate(value)? {
            Encoding::Dense => {
                self.dense = true;
                dense::merge(&value[HEADER_BYTES..], &mut self.registers);
                Ok(())
            }
            Encoding::Sparse => sparse::merge(value, &mut self.registers),
        }
    }

    /// As PFDEBUG GETREG answers, of one value.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// PFCOUNT of several keys.
    pub fn count(&self) -> u64 {
        let mut histogram = [0; REGISTER_VALUES];
        self.registers.iter().for_each(|register| histogram[usize::from(*register)] += 1);
        estimate::cardinality(&histogram)
    }

    /// PFMERGE: raises the registers of the destination, which is one of the values taken in if it existed, and [`create`]d otherwise.
    /// It becomes dense if one of the values was. The cached estimate is marked as changed.
    pub fn write_to(&self, destination: &mut Vec<u8>, sparse_max_bytes: usize) -> Result<(), Error> {
        let mut encoding = validate(destination)?;
        let mut trail = sparse::Trail::default();
        for (index, &pattern) in self.registers.iter().enumerate() {
            if self.dense || encoding == Encoding::Dense {
                break;
            }
            if pattern > 0 {
                sparse::raise(destination, Hit { index, pattern }, sparse_max_bytes, &mut trail)?;
                encoding = validate(destination)?;
            }
        }
        if self.dense || encoding == Encoding::Dense {
            make_dense(destination, &self.registers);
        }
        invalidate_cache(destination);
        Ok(())
    }
}

/// Elements of a self test: a core is not to be busy with it for long.
const TEST_ELEMENTS: u64 = 10_000;
/// Standard errors that an estimate may be off in a self test.
const TEST_ERRORS: f64 = 6.0;

/// PFSELFTEST: that both forms agree with each other, and their estimates with what was added. What is wrong, in words.
pub fn self_test(seed: u64) -> Result<(), String> {
    let (mut sparse, mut dense) = (create(), create());
    let failed = |error: Error| error.message().to_owned();
    promote(&mut dense).map_err(failed)?;
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let mut checkpoint = 1;
    for number in 1..=TEST_ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        let raised = add(&mut sparse, &element, usize::MAX).map_err(failed)?;
        if add_in_place(&mut dense, &element) != Some(raised) {
            return Err(format!("dense/sparse disagree on element {number}"));
        }
        if number < checkpoint {
            continue;
        }
        let estimate = count(&dense).map_err(failed)?;
        if count(&sparse) != Ok(estimate) {
            return Err("dense/sparse disagree".to_owned());
        }
        // Among ten, one that coincides with another is unlikely and no failure.
        let most = (standard_error * TEST_ERRORS * number as f64).ceil().max(1.0);
        if (estimate.abs_diff(number)) as f64 > most {
            return Err(format!("Too big error. card:{number} abserr:{}", estimate.abs_diff(number)));
        }
        checkpoint *= 10;
    }
    Ok(())
}

/// Which register an element raises, and to what.
#[derive(Clone, Copy, Debug)]
struct Hit {
    index: usize,
    /// 1 to 51: the place of the first one among the bits above the index.
    pattern: u8,
}

impl Hit {
    fn of(element: &[u8]) -> Self {
        let hash = murmur_hash_64a(element, SEED);
        // A bit above those that are looked at ends the search.
        let pattern = (hash >> INDEX_BITS | 1 << PATTERN_BITS).trailing_zeros() + 1;
        Self { index: hash as usize % REGISTERS, pattern: pattern as u8 }
    }
}

/// Austin Appleby's MurmurHash64A, little endian.
fn murmur_hash_64a(key: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    const SHIFT: u32 = 47;
    let mut hash = seed ^ (key.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = key.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        word ^= word >> SHIFT;
        hash = (hash ^ word.wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR);
    }
    hash ^= hash >> SHIFT;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> SHIFT
}

#[cfg(test)]
#[path = "hll/tests.rs"]
mod tests;
