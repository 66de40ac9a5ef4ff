//! Known answers of redis-server 7.0, and what must hold for all places. `examples/geo_compare.rs` compares with a running server.

use proptest::prelude::*;

use super::*;

const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

#[test]
fn answers_of_the_redis_documentation() {
    assert_eq!((PALERMO.score(), CATANIA.score()), (3_479_099_956_230_698.0, 3_479_447_370_796_909.0));
    let stored = |point: Point| Point::of_score(point.score());
    assert_eq!(format!("{:.4}", stored(PALERMO).distance_m(stored(CATANIA))), "166274.1516");
    assert_eq!(&stored(PALERMO).text(), b"sqc8b49rny0");
    assert_eq!(&stored(CATANIA).text(), b"sqdtr74hyu0");
    let position = stored(PALERMO);
    assert_eq!(
        format!("{:.17} {:.17}", position.longitude, position.latitude),
        "13.36138933897018433 38.11555639549629859"
    );
}

#[test]
fn places_without_a_hash() {
    for (longitude, latitude) in
        [(180.1, 0.0), (-180.1, 0.0), (0.0, 85.06), (0.0, -85.06), (f64::NAN, 0.0), (0.0, f64::NAN)]
    {
        assert_eq!(Point::new(longitude, latitude), None);
    }
    assert!(Point::new(180.0, MAX_LATITUDE).is_some());
}

#[test]
fn units() {
    assert_eq!(Unit::parse(b"KM").map(Unit::metres), Some(1000.0));
    assert_eq!(Unit::parse(b"yd"), None);
}

fn point() -> impl Strategy<Value = Point> {
    (MIN_LONGITUDE..MAX_LONGITUDE, MIN_LATITUDE..MAX_LATITUDE)
        .prop_map(|(longitude, latitude)| Point { longitude, latitude })
}

proptest! {
    #[test]
    fn bits_are_spread_and_gathered(bits: u32) {
        prop_assert_eq!(gather(spread(bits)), bits);
        prop_assert_eq!(spread(bits) & 0xaaaa_aaaa_aaaa_aaaa, 0);
    }

    #[test]
    fn a_place_is_within_its_cell(point in point(), steps in 1..=MOST_STEPS) {
        let cell = Cell::of(point, steps, (MIN_LATITUDE, MAX_LATITUDE));
        let borders = cell.borders();
        // A border is rounded, so a place right at one may be beyond it by as much.
        let near = 1e-9;
        prop_assert!((borders.longitude.0 - near..=borders.longitude.1 + near).contains(&point.longitude));
        prop_assert!((borders.latitude.0 - near..=borders.latitude.1 + near).contains(&point.latitude));
        prop_assert!(cell.scores().contains(&point.score()));
        prop_assert_eq!(cell.neighbour(1, -1).neighbour(-1, 1), cell);
    }

    #[test]
    fn cells_cover_circles(centre in point(), east in -1.0..1.0f64, north in -1.0..1.0f64, km in 0.1..300.0f64) {
        prop_assume!(centre.latitude.abs() < 75.0 && centre.longitude.abs() < 160.0);
        let degrees = km / 111.0;
        let Some(place) = Point::new(centre.longitude + east * degrees, centre.latitude + north * degrees) else {
            return Ok(());
        };
        let circle = Figure::Circle { radius: km };
        if circle.distance_within(Unit::Kilometres, centre, place).is_some() {
            prop_assert!(circle.cells(Unit::Kilometres, centre).any(|scores| scores.contains(&place.score())));
        }
    }
}
