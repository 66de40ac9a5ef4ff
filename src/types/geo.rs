//! Places on the earth as scores of sorted sets: geohashes, distances, and where to look for what is near.
//!
//! A place is a *hash*: longitude and latitude as fractions of their ranges, 26 bits each, their bits interleaved, longitude first.
//! Places whose hashes begin alike are in one cell, so a cell is a range of scores.
//!
//! Guarantee: hashes, positions, distances and the order in which a search meets its cells are those of Redis 7.0, to the last bit
//! where the platform's `sin`, `cos` and `asin` are the same. The order of floating-point operations here is therefore part of the
//! behaviour.
//!
//! Knows nothing of keys, commands or how sorted sets are kept.

mod area;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use area::{Cells, Figure, Unit};

pub const MIN_LONGITUDE: f64 = -180.0;
pub const MAX_LONGITUDE: f64 = 180.0;
/// The limits of web Mercator (EPSG:3857), which make the earth a square.
pub const MIN_LATITUDE: f64 = -85.05112878;
pub const MAX_LATITUDE: f64 = 85.05112878;
/// Bits of each coordinate in a score.
const MOST_STEPS: u32 = 26;
const EARTH_RADIUS_M: f64 = 6_372_797.560856;
/// Characters of a geohash as GEOHASH prints it.
pub const TEXT_LEN: usize = 11;
const DIGITS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
const BITS_PER_DIGIT: usize = 5;

/// A longitude and a latitude in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

/// The first bits of a hash: all places whose hashes begin with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    bits: u64,
    /// Bits of each coordinate.
    steps: u32,
}

/// The borders of a cell in degrees.
#[derive(Clone, Copy, Debug)]
struct Borders {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

impl Point {
    /// `None` outside of what has a hash.
    pub fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let valid =
            (MIN_LONGITUDE..=MAX_LONGITUDE).contains(&longitude) && (MIN_LATITUDE..=MAX_LATITUDE).contains(&latitude);
        valid.then_some(Self { longitude, latitude })
    }

    /// The score of the place in a sorted set.
    pub fn score(self) -> f64 {
        Cell::of(self, MOST_STEPS, (MIN_LATITUDE, MAX_LATITUDE)).bits as f64
    }

    /// The middle of the smallest cell, as GEOPOS prints it.
    pub fn of_score(score: f64) -> Self {
        let borders = Cell { bits: bits_of(score), steps: MOST_STEPS }.borders();
        let middle = |(low, high): (f64, f64)| (low + high) / 2.0;
        Self {
            longitude: middle(borders.longitude).clamp(MIN_LONGITUDE, MAX_LONGITUDE),
            latitude: middle(borders.latitude).clamp(MIN_LATITUDE, MAX_LATITUDE),
        }
    }

    /// Great-circle distance in metres, by the haversine formula.
    pub fn distance_m(self, to: Self) -> f64 {
        let v = ((to.longitude.to_radians_as_c() - self.longitude.to_radians_as_c()) / 2.0).sin();
        if v == 0.0 {
            return self.latitude_distance_m(to);
        }
        let (latitude, to_latitude) = (self.latitude.to_radians_as_c(), to.latitude.to_radians_as_c());
        let u = ((to_latitude - latitude) / 2.0).sin();
        let a = u * u + latitude.cos() * to_latitude.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    /// Distance in metres if both had the same longitude.
    fn latitude_distance_m(self, to: Self) -> f64 {
        EARTH_RADIUS_M * (to.latitude.to_radians_as_c() - self.latitude.to_radians_as_c()).abs()
    }

    /// The standard geohash, as GEOHASH prints it. It takes latitudes from pole to pole, so it is not made of the score's bits; as
    /// those are 52 the last digit, which wants three more, is always 0.
    pub fn text(self) -> [u8; TEXT_LEN] {
        let hash = Cell::of(self, MOST_STEPS, (-90.0, 90.0)).bits;
        let mut text = [DIGITS[0]; TEXT_LEN];
        for (at, digit) in text[..TEXT_LEN - 1].iter_mut().enumerate() {
            let below = 2 * MOST_STEPS as usize - (at + 1) * BITS_PER_DIGIT;
            *digit = DIGITS[(hash >> below & 0x1f) as usize];
        }
        text
    }
}

/// A score as a hash. One that is none, as ZADD may have given it, becomes what C compilers make of it on x86.
fn bits_of(score: f64) -> u64 {
    const TOP_BIT: u64 = 1 << 63;
    let signed = |value: f64| if value >= i64::MAX as f64 { i64::MIN } else { value as i64 } as u64;
    if score < TOP_BIT as f64 { signed(score) } else { signed(score - TOP_BIT as f64) ^ TOP_BIT }
}

/// Degrees and radians by one factor, rounded once, as in Redis; what `f64::to_radians` rounds is not promised.
trait Radians {
    const PER_DEGREE: f64 = std::f64::consts::PI / 180.0;
    fn to_radians_as_c(self) -> f64;
    fn to_degrees_as_c(self) -> f64;
}

impl Radians for f64 {
    #[inline]
    fn to_radians_as_c(self) -> f64 {
        self * Self::PER_DEGREE
    }

    #[inline]
    fn to_degrees_as_c(self) -> f64 {
        self / Self::PER_DEGREE
    }
}

impl Cell {
    fn of(point: Point, steps: u32, latitudes: (f64, f64)) -> Self {
        let cells = (1u64 << steps) as f64;
        // At the upper limits this is one more than `steps` bits hold, as in Redis.
        let fraction = |value: f64, low: f64, high: f64| ((value - low) / (high - low) * cells) as u32;
        let latitude = fraction(point.latitude, latitudes.0, latitudes.1);
        let longitude = fraction(point.longitude, MIN_LONGITUDE, MAX_LONGITUDE);
        Self { bits: spread(latitude) | spread(longitude) << 1, steps }
    }

    fn borders(self) -> Borders {
        let cells = (1u64 << self.steps) as f64;
        let between = |index: u32, low: f64, high: f64| {
            let border = |index: f64| low + index / cells * (high - low);
            (border(f64::from(index)), border(f64::from(index.wrapping_add(1))))
        };
        Borders {
            longitude: between(gather(self.bits >> 1), MIN_LONGITUDE, MAX_LONGITUDE),
            latitude: between(gather(self.bits), MIN_LATITUDE, MAX_LATITUDE),
        }
    }

    /// The cell so many cells to the east and to the north, around the earth. Crossing a pole comes out at the other, as in Redis.
    fn neighbour(self, east: i32, north: i32) -> Self {
        let within = u32::MAX >> (u32::BITS - self.steps);
        let moved = |bits: u64, by: i32| match by {
            // The bit too many of the upper limits stays.
            0 => spread(gather(bits)),
            by => spread(gather(bits).wrapping_add_signed(by) & within),
        };
        Self { bits: moved(self.bits >> 1, east) << 1 | moved(self.bits, north), ..self }
    }

    /// The scores of all places in it.
    fn scores(self) -> Range<f64> {
        let below = 2 * (MOST_STEPS - self.steps);
        (self.bits << below) as f64..((self.bits + 1) << below) as f64
    }
}

/// The bits of a number with a zero before each.
fn spread(bits: u32) -> u64 {
    let mut wide = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        wide = (wide | wide << shift) & mask;
    }
    wide
}

/// Every other bit, from the lowest.
fn gather(wide: u64) -> u32 {
    let mut bits = wide & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}
