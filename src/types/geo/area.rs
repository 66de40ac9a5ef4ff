//! What GEOSEARCH looks at: a circle or a box, the cells that cover it, and whether a place is in it.
//!
//! The search takes cells about as large as the figure: that of the centre and its eight neighbours, without those that the figure
//! does not reach.

use std::ops::Range;

use super::{Borders, Cell, EARTH_RADIUS_M, MAX_LATITUDE, MIN_LATITUDE, MOST_STEPS, Point, Radians};

/// Half the circumference of the earth in the projection: the figure of one cell.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
/// Cells become narrower towards the poles: beyond these latitudes one, or two, steps fewer.
const NARROW_LATITUDE: f64 = 66.0;
const NARROWER_LATITUDE: f64 = 80.0;
/// Neighbours are left out only from so many steps on: with fewer they may be the same cell.
const MIN_STEPS_TO_LEAVE_OUT: u32 = 2;
/// A cell and its neighbours as (east, north), in the order in which Redis searches, which is that of unsorted replies.
const NEIGHBOURHOOD: [(i32, i32); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];

/// More than distances are rounded by, in metres and as a share.
const LATITUDE_SLACK: f64 = 1e-3;

/// A unit of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Metres,
    Kilometres,
    Feet,
    Miles,
}

impl Unit {
    /// `m`, `km`, `ft` or `mi`, in any case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        [(&b"m"[..], Self::Metres), (b"km", Self::Kilometres), (b"ft", Self::Feet), (b"mi", Self::Miles)]
            .into_iter()
            .find(|(name, _)| text.eq_ignore_ascii_case(name))
            .map(|(_, unit)| unit)
    }

    pub fn metres(self) -> f64 {
        match self {
            Self::Metres => 1.0,
            Self::Kilometres => 1000.0,
            Self::Feet => 0.3048,
            Self::Miles => 1609.34,
        }
    }
}

/// What is searched around a point. Lengths are in a unit of the caller's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

impl Figure {
    /// The distance from the centre in metres if the place is within the figure, its border included.
    pub fn distance_within(self, unit: Unit, centre: Point, place: Point) -> Option<f64> {
        let metres = unit.metres();
        match self {
            Self::Circle { radius } => {
                // Most of what is not within is too far to the north or south already, by more than a distance can be off.
                let far = radius * metres * (1.0 + LATITUDE_SLACK) + LATITUDE_SLACK;
                if place.latitude_distance_m(centre) > far {
                    return None;
                }
                Some(centre.distance_m(place)).filter(|distance| *distance <= radius * metres)
            }
            Self::Box { width, height } => {
                if place.latitude_distance_m(centre) > height * metres / 2.0 {
                    return None;
                }
                // Along the latitude of the place, not of the centre.
                let across = place.distance_m(Point { longitude: centre.longitude, ..place });
                (across <= width * metres / 2.0).then(|| centre.distance_m(place))
            }
        }
    }

    /// The ranges of scores that have all places within the figure, and others.
    pub fn cells(self, unit: Unit, centre: Point) -> Cells {
        let metres = unit.metres();
        let (half_width, half_height, reach) = match self {
            Self::Circle { radius } => (metres * radius, metres * radius, radius * metres),
            Self::Box { width, height } => {
                let (x, y) = (width / 2.0, height / 2.0);
                (metres * x, metres * y, (x * x + y * y).sqrt() * metres)
            }
        };
        let bounds = bounds(centre, half_width, half_height);
        let mut steps = steps_for(reach, centre.latitude);
        let mut cell = Cell::of(centre, steps, (MIN_LATITUDE, MAX_LATITUDE));
        if steps > 1 && !neighbours_reach(cell, &bounds) {
            steps -= 1;
            cell = Cell::of(centre, steps, (MIN_LATITUDE, MAX_LATITUDE));
        }
        Cells::around(cell, &bounds)
    }
}

/// The degrees between which the figure lies. The longitudes are those at its side next to the pole, where it is widest.
fn bounds(centre: Point, half_width_m: f64, half_height_m: f64) -> Borders {
    let Point { longitude, latitude } = centre;
    let height = (half_height_m / EARTH_RADIUS_M).to_degrees_as_c();
    let widest = if latitude < 0.0 { latitude - height } else { latitude + height };
    let width = (half_width_m / EARTH_RADIUS_M / widest.to_radians_as_c().cos()).to_degrees_as_c();
    Borders { longitude: (longitude - width, longitude + width), latitude: (latitude - height, latitude + height) }
}

/// Bits of each coordinate with which cells are about as large as the figure.
fn steps_for(reach_m: f64, latitude: f64) -> u32 {
    if reach_m == 0.0 {
        return MOST_STEPS;
    }
    let (mut reach, mut steps) = (reach_m, 1i32);
    while reach < MERCATOR_MAX_M {
        reach *= 2.0;
        steps += 1;
    }
    // Two less, so that the figure is within the neighbourhood in most cases.
    steps -= 2;
    if latitude.abs() > NARROW_LATITUDE {
        steps -= 1;
    }
    if latitude.abs() > NARROWER_LATITUDE {
        steps -= 1;
    }
    steps.clamp(1, MOST_STEPS as i32) as u32
}

/// Whether the figure ends before the neighbours in each direction do. The eastern and northern ones count by their upper borders, as do,
/// in Redis, the others by their lower ones.
fn neighbours_reach(cell: Cell, bounds: &Borders) -> bool {
    let borders = |east, north| cell.neighbour(east, north).borders();
    borders(0, 1).latitude.1 >= bounds.latitude.1
        && borders(0, -1).latitude.0 <= bounds.latitude.0
        && borders(1, 0).longitude.1 >= bounds.longitude.1
        && borders(-1, 0).longitude.0 <= bounds.longitude.0
}

/// The ranges of scores to look at, in order; see [`Figure::cells`].
#[derive(Clone, Debug)]
pub struct Cells {
    cells: [Option<Cell>; NEIGHBOURHOOD.len()],
    at: usize,
    /// Place of the last one that was not left out, other than the first.
    last: usize,
}

impl Cells {
    fn around(cell: Cell, bounds: &Borders) -> Self {
        let borders = cell.borders();
        let needed = |east: i32, north: i32| {
            cell.steps < MIN_STEPS_TO_LEAVE_OUT
                || !(north < 0 && borders.latitude.0 < bounds.latitude.0
                    || north > 0 && borders.latitude.1 > bounds.latitude.1
                    || east < 0 && borders.longitude.0 < bounds.longitude.0
                    || east > 0 && borders.longitude.1 > bounds.longitude.1)
        };
        let cells = NEIGHBOURHOOD.map(|(east, north)| needed(east, north).then(|| cell.neighbour(east, north)));
        Self { cells, at: 0, last: 0 }
    }
}

impl Iterator for Cells {
    type Item = Range<f64>;

    /// The next range; the upper end does not belong to it. Cells that are the same as the one before are passed over, though not
    /// after the first, as in Redis: huge figures may find places twice.
    fn next(&mut self) -> Option<Range<f64>> {
        while let Some(cell) = self.cells.get(self.at) {
            let at = self.at;
            self.at += 1;
            let Some(cell) = cell else { continue };
            if self.last > 0 && self.cells[self.last] == Some(*cell) {
                continue;
            }
            self.last = at;
            return Some(cell.scores());
        }
        None
    }
}
