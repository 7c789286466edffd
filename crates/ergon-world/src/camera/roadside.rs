//! Trees, houses and delineators along the edges of a road: the same for the same road, never on a lane.

use std::f64::consts::FRAC_PI_2;

use super::bounds::{Neighbourhood, Run, Side};
use super::scene::{Prop, PropKind};
use crate::geometry::Point;
use crate::rng::Rng;
use crate::road::{Lanelet, LaneletKind};

/// Distance of one place for a tree or house from the next.
const SPACING_M: f64 = 16.0;
/// Distance of delineators.
const POST_SPACING_M: f64 = 50.0;
/// Places along one stretch.
const PLACES_MAX: f64 = 400.0;

/// What stands along a stretch where the road ends.
pub(super) fn along(
    near: &Neighbourhood,
    lanelet: &Lanelet,
    side: Side,
    run: Run,
    origin: Point,
) -> Vec<Prop> {
    let mut props = Vec::new();
    if !lanelet.kind.is_for_cars() {
        return props;
    }
    let seed = Rng::new(lanelet.id as u64).split(if side == Side::Left { 1 } else { 2 });
    for k in places(run, SPACING_M) {
        let mut rng = seed.split(k as u64);
        let (point, heading) =
            beside(lanelet, side, (k as f64 + rng.unit()) * SPACING_M, rng.range(6.5, 13.0));
        let is_house = lanelet.kind == LaneletKind::Urban && rng.chance(0.55);
        let (kind, room) = if is_house { house(&mut rng) } else { tree(&mut rng) };
        if (is_house || rng.chance(0.6)) && !near.is_road_within(point, room) {
            props.extend(prop(point - origin, heading, kind));
        }
    }
    if matches!(lanelet.kind, LaneletKind::Country | LaneletKind::Highway | LaneletKind::Unknown) {
        for k in places(run, POST_SPACING_M) {
            let (point, heading) = beside(lanelet, side, k as f64 * POST_SPACING_M, 1.1);
            if !near.is_road_within(point, 0.5) {
                props.extend(prop(point - origin, heading, PropKind::Post));
            }
        }
    }
    props
}

/// Numbers of the places whose stations lie in a stretch.
fn places(run: Run, spacing_m: f64) -> std::ops::Range<usize> {
    let index = |s: f64| (s / spacing_m).ceil().min(PLACES_MAX) as usize;
    index(run.from_m)..index(run.to_m)
}

fn beside(lanelet: &Lanelet, side: Side, station_m: f64, distance_m: f64) -> (Point, f64) {
    let line = side.line(lanelet);
    let heading = line.heading_at(station_m);
    (line.at(station_m) + Point::polar(distance_m * side.outward(), heading + FRAC_PI_2), heading)
}

fn tree(rng: &mut Rng) -> (PropKind, f64) {
    (PropKind::Tree { height_m: rng.range(4.5, 9.0) as f32, shade: rng.range(0.7, 1.2) as f32 }, 3.0)
}

fn house(rng: &mut Rng) -> (PropKind, f64) {
    let (length, width) = (rng.range(7.0, 12.0), rng.range(6.0, 9.0));
    let kind = PropKind::House {
        length_m: length as f32,
        width_m: width as f32,
        height_m: rng.range(5.0, 11.0) as f32,
        shade: rng.range(0.6, 1.1) as f32,
    };
    (kind, 0.5 * length.hypot(width) + 1.0)
}

fn prop(at: Point, heading: f64, kind: PropKind) -> Option<Prop> {
    let at = [at.x as f32, at.y as f32];
    let is_finite = at[0].is_finite() && at[1].is_finite() && heading.is_finite();
    is_finite.then_some(Prop { at, heading_rad: heading as f32, kind })
}
