//! What a perfect eye would measure, as numbers of about unit scale: targets for the model's perception head.

use ergon_types::LightColor;

use super::{Beside, Neighbour, Side, Surroundings, neighbour, surroundings};
use crate::geometry::Point;
use crate::road::{ElementId, RoadNetwork};
use crate::world::World;

/// How many numbers there are.
pub const PERCEPTION_DIM: usize = 32;

/// What each number is; NaN where it is unknown (no lane under the vehicle) or means nothing (speed of nobody).
///
/// Distances to road users are `1 / (1 + gap / 10 m)`: 1 at the bumper, 0.5 at 10 m, 0 for nobody in reach, so that near
/// ones weigh most. Relative speeds are others' minus own, over 10 m/s.
pub const PERCEPTION_NAMES: [&str; PERCEPTION_DIM] = [
    "offset left of the lane's centre, over 2 m",
    "heading against the lane, over 0.3 rad",
    "curvature of the lane here, over 0.05 per m",
    "curvature 10 m ahead, over 0.05 per m",
    "curvature 20 m ahead, over 0.05 per m",
    "curvature 40 m ahead, over 0.05 per m",
    "width of the lane minus 3.5 m, over 1 m",
    "distance to the left edge of the road, over 10 m",
    "distance to the right edge of the road, over 10 m",
    "lanes to the left, over 2",
    "lanes to the right, over 2",
    "lead vehicle: nearness",
    "lead vehicle: relative speed",
    "lead vehicle: its speed, over 20 m/s",
    "left lane occupied beside the vehicle (1) or free (0)",
    "right lane occupied beside the vehicle (1) or free (0)",
    "left lane: nearness of the next in front",
    "left lane: relative speed of the next in front",
    "left lane: nearness of the next behind",
    "left lane: relative speed of the next behind",
    "right lane: nearness of the next in front",
    "right lane: relative speed of the next in front",
    "right lane: nearness of the next behind",
    "right lane: relative speed of the next behind",
    "vehicle behind: nearness",
    "vehicle behind: relative speed",
    "light ahead red (or red and yellow)",
    "light ahead yellow",
    "light ahead green",
    "stop line of the light ahead: distance, over 40 m",
    "person on foot or cyclist ahead: nearness",
    "own speed, over 20 m/s",
];

/// What the first number is divided by.
const OFFSET_SCALE_M: f64 = 2.0;

/// The place to the left of the lane's centre that numbers of [`PERCEPTION_NAMES`] tell; `None` where it is unknown.
pub fn perceived_offset_m(perception: &[f32]) -> Option<f64> {
    perception.first().map(|offset| f64::from(*offset) * OFFSET_SCALE_M).filter(|offset| offset.is_finite())
}

fn nearness(gap_m: Option<f64>) -> f32 {
    gap_m.map_or(0.0, |gap_m| (1.0 / (1.0 + gap_m.max(0.0) / 10.0)) as f32)
}

fn relative(other: &Option<Neighbour>, speed_mps: f64) -> f32 {
    other.as_ref().map_or(f32::NAN, |other| ((other.speed_mps - speed_mps) / 10.0) as f32)
}

/// Distance from a point to the outermost bound on a side of the lanes that lead this way.
fn edge_m(roads: &RoadNetwork, mut id: ElementId, side: Side, at: Point) -> Option<f64> {
    for _ in 0..12 {
        match neighbour(roads, id, side) {
            Some(beside) => id = beside.id,
            None => break,
        }
    }
    let lanelet = roads.lanelet(id)?;
    let bound = if side == Side::Left { &lanelet.left } else { &lanelet.right };
    Some(-f64::from(side.sign()) * bound.project(at).d_m)
}

/// The numbers of [`PERCEPTION_NAMES`] for the world at this moment. `prefer` is the task's route.
pub fn perception(world: &World, prefer: &[ElementId]) -> [f32; PERCEPTION_DIM] {
    let mut out = [f32::NAN; PERCEPTION_DIM];
    out[31] = (world.ego().speed_mps / 20.0) as f32;
    if let Some(seen) = surroundings(world, prefer) {
        fill_lane(&mut out, world, &seen);
        fill_traffic(&mut out, world, &seen);
    }
    out
}

fn fill_lane(out: &mut [f32; PERCEPTION_DIM], world: &World, seen: &Surroundings) {
    let roads = &world.scenario().roads;
    let at = Point::new(world.ego().x_m, world.ego().y_m);
    out[0] = (seen.offset_m / OFFSET_SCALE_M) as f32;
    out[1] = (seen.heading_error_rad / 0.3) as f32;
    let end_m = seen.path.line.length();
    for (slot, ahead_m) in [(2, 0.0), (3, 10.0), (4, 20.0), (5, 40.0)] {
        if seen.s_m + ahead_m < end_m {
            out[slot] = (seen.path.line.curvature_at(seen.s_m + ahead_m) / 0.05) as f32;
        }
    }
    if let Some(lanelet) = roads.lanelet(seen.lanelet) {
        out[6] = (lanelet.width_at(lanelet.center.project(at).s_m) - 3.5) as f32;
    }
    for (slot, side) in [(7, Side::Left), (8, Side::Right)] {
        if let Some(distance_m) = edge_m(roads, seen.lanelet, side, at) {
            out[slot] = (distance_m / 10.0) as f32;
        }
    }
    out[9] = seen.lane.0 as f32 / 2.0;
    out[10] = (seen.lane.1 - 1 - seen.lane.0) as f32 / 2.0;
}

fn fill_traffic(out: &mut [f32; PERCEPTION_DIM], world: &World, seen: &Surroundings) {
    let v = world.ego().speed_mps;
    let gap = |of: &Option<Neighbour>| nearness(of.as_ref().map(|n| n.gap_m));
    out[11] = gap(&seen.lead);
    out[12] = relative(&seen.lead, v);
    out[13] = seen.lead.map_or(f32::NAN, |lead| (lead.speed_mps / 20.0) as f32);
    let sides: [(&Beside, usize, usize); 2] = [(&seen.left, 14, 16), (&seen.right, 15, 20)];
    for (beside, flag, first) in sides {
        if !beside.exists {
            continue;
        }
        out[flag] = if beside.is_free(v) { 0.0 } else { 1.0 };
        out[first] = gap(&beside.front);
        out[first + 1] = relative(&beside.front, v);
        out[first + 2] = gap(&beside.rear);
        out[first + 3] = relative(&beside.rear, v);
    }
    out[24] = gap(&seen.rear);
    out[25] = relative(&seen.rear, v);
    let color = seen.light.map(|(color, _)| color);
    let is = |options: &[LightColor]| color.is_some_and(|color| options.contains(&color)) as u8 as f32;
    out[26] = is(&[LightColor::Red, LightColor::RedYellow]);
    out[27] = is(&[LightColor::Yellow]);
    out[28] = is(&[LightColor::Green]);
    out[29] = seen.light.map_or(f32::NAN, |(_, gap_m)| (gap_m / 40.0) as f32);
    out[30] = nearness(seen.vulnerable.map(|(_, gap_m)| gap_m));
}
