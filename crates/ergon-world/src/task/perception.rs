//! What a perfect eye would measure, as numbers of about unit scale: targets for the model's perception head.

use std::ops::Range;

use ergon_types::LightColor;

use super::{Beside, Neighbour, Side, Surroundings, neighbour, surroundings};
use crate::geometry::Point;
use crate::road::{ElementId, RoadNetwork};
use crate::world::World;

/// How many numbers there are.
pub const PERCEPTION_DIM: usize = 44;

/// No number leaves this range: a rare extreme would teach more than all the rest.
const LIMIT: f32 = 6.0;

/// What each number is, with its unit, and what it is divided by: about its deviation in driving, so that all of them
/// teach alike (the light's flags are rarely set; theirs is larger). NaN where it is unknown (no lane under the
/// vehicle) or means nothing (speed of nobody).
///
/// Nearness is `1 / (1 + gap / 10 m)`: 1 at the bumper, 0.5 at 10 m, 0 for nobody in reach, so that near ones weigh
/// most. Relative speeds are others' minus own.
pub const PERCEPTION: [(&str, f32); PERCEPTION_DIM] = [
    ("offset left of the lane's centre, m", 0.3),
    ("heading against the lane, rad", 0.035),
    ("curvature of the lane here, 1/m", 0.024),
    ("curvature 10 m ahead, 1/m", 0.024),
    ("curvature 20 m ahead, 1/m", 0.024),
    ("curvature 40 m ahead, 1/m", 0.024),
    ("width of the lane minus 3.5 m, m", 0.4),
    ("distance to the left edge of the road, m", 4.0),
    ("distance to the right edge of the road, m", 4.0),
    ("lanes to the left", 1.0),
    ("lanes to the right", 1.0),
    ("lead vehicle: nearness", 0.2),
    ("lead vehicle: relative speed, m/s", 4.5),
    ("lead vehicle: its speed, m/s", 7.5),
    ("left lane occupied beside the vehicle (1) or free (0)", 0.5),
    ("right lane occupied beside the vehicle (1) or free (0)", 0.5),
    ("left lane: nearness of the next in front", 0.25),
    ("left lane: relative speed of the next in front, m/s", 5.5),
    ("left lane: nearness of the next behind", 0.25),
    ("left lane: relative speed of the next behind, m/s", 5.5),
    ("right lane: nearness of the next in front", 0.25),
    ("right lane: relative speed of the next in front, m/s", 4.5),
    ("right lane: nearness of the next behind", 0.25),
    ("right lane: relative speed of the next behind, m/s", 4.5),
    ("vehicle behind: nearness", 0.2),
    ("vehicle behind: relative speed, m/s", 3.5),
    ("light ahead red (or red and yellow)", 0.4),
    ("light ahead yellow", 0.4),
    ("light ahead green", 0.4),
    ("stop line of the light ahead: distance, m", 20.0),
    ("person on foot or cyclist ahead: nearness", 0.25),
    ("own speed, m/s", 7.0),
    ("route 5 m ahead: metres to the left", 0.4),
    ("route 10 m ahead: metres to the left", 0.9),
    ("route 15 m ahead: metres to the left", 1.7),
    ("route 20 m ahead: metres to the left", 2.7),
    ("route 30 m ahead: metres to the left", 5.0),
    ("route 45 m ahead: metres to the left", 9.0),
    ("left edge of the road beside the route 5 m ahead: metres to the left", 4.0),
    ("right edge of the road beside the route 5 m ahead: metres to the left", 4.0),
    ("left edge of the road beside the route 10 m ahead: metres to the left", 4.0),
    ("right edge of the road beside the route 10 m ahead: metres to the left", 4.0),
    ("left edge of the road beside the route 20 m ahead: metres to the left", 5.0),
    ("right edge of the road beside the route 20 m ahead: metres to the left", 5.0),
];

/// Which of the numbers say what a light shows.
pub const LIGHTS: Range<usize> = 26..29;

/// How far ahead the way is measured, and at which of these places the edges of the road beside it: what the eye has to
/// know to stay on the road, without the noise that plans are taught with.
const WAY_AHEAD_M: [f64; 6] = [5.0, 10.0, 15.0, 20.0, 30.0, 45.0];
const EDGES_AT: [usize; 3] = [0, 1, 3];
/// Where these numbers begin.
const WAY: usize = 32;
const EDGES: usize = WAY + WAY_AHEAD_M.len();

/// The place to the left of the lane's centre that numbers of [`perception`] tell; `None` where it is unknown.
pub fn perceived_offset_m(perception: &[f32]) -> Option<f64> {
    perception.first().map(|offset| f64::from(*offset * PERCEPTION[0].1)).filter(|offset| offset.is_finite())
}

fn nearness(gap_m: Option<f64>) -> f32 {
    gap_m.map_or(0.0, |gap_m| (1.0 / (1.0 + gap_m.max(0.0) / 10.0)) as f32)
}

fn relative(other: &Option<Neighbour>, speed_mps: f64) -> f32 {
    other.as_ref().map_or(f32::NAN, |other| (other.speed_mps - speed_mps) as f32)
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

/// The numbers of [`PERCEPTION`] for the world at this moment. `prefer` is the task's route.
pub fn perception(world: &World, prefer: &[ElementId]) -> [f32; PERCEPTION_DIM] {
    let mut out = [f32::NAN; PERCEPTION_DIM];
    out[31] = world.ego().speed_mps as f32;
    if let Some(seen) = surroundings(world, prefer) {
        fill_lane(&mut out, world, &seen);
        fill_way(&mut out, world, &seen);
        fill_traffic(&mut out, world, &seen);
    }
    out.iter_mut().zip(PERCEPTION).for_each(|(number, (_, deviation))| {
        *number = (*number / deviation).clamp(-LIMIT, LIMIT);
    });
    out
}

fn fill_lane(out: &mut [f32; PERCEPTION_DIM], world: &World, seen: &Surroundings) {
    let roads = &world.scenario().roads;
    let at = Point::new(world.ego().x_m, world.ego().y_m);
    out[0] = seen.offset_m as f32;
    out[1] = seen.heading_error_rad as f32;
    let end_m = seen.path.line.length();
    for (slot, ahead_m) in [(2, 0.0), (3, 10.0), (4, 20.0), (5, 40.0)] {
        if seen.s_m + ahead_m < end_m {
            out[slot] = seen.path.line.curvature_at(seen.s_m + ahead_m) as f32;
        }
    }
    if let Some(lanelet) = roads.lanelet(seen.lanelet) {
        out[6] = (lanelet.width_at(lanelet.center.project(at).s_m) - 3.5) as f32;
    }
    for (slot, side) in [(7, Side::Left), (8, Side::Right)] {
        if let Some(distance_m) = edge_m(roads, seen.lanelet, side, at) {
            out[slot] = distance_m as f32;
        }
    }
    out[9] = seen.lane.0 as f32;
    out[10] = (seen.lane.1 - 1 - seen.lane.0) as f32;
}

fn fill_way(out: &mut [f32; PERCEPTION_DIM], world: &World, seen: &Surroundings) {
    let roads = &world.scenario().roads;
    let ego = world.ego();
    let left_m = |at: Point| at.to_frame(Point::new(ego.x_m, ego.y_m), ego.heading_rad).y;
    for (index, ahead_m) in WAY_AHEAD_M.into_iter().enumerate() {
        let s_m = seen.s_m + ahead_m;
        if s_m >= seen.path.line.length() {
            break;
        }
        let at = seen.path.line.at(s_m);
        out[WAY + index] = left_m(at) as f32;
        let Some(place) = EDGES_AT.iter().position(|edge| *edge == index) else { continue };
        let Some((id, _)) = seen.path.lanelet_at(s_m) else { continue };
        let across = seen.path.line.heading_at(s_m) - ego.heading_rad;
        for (slot, side) in [(0, Side::Left), (1, Side::Right)] {
            if let Some(distance_m) = edge_m(roads, id, side, at) {
                let sideways_m = f64::from(side.sign()) * distance_m * across.cos();
                out[EDGES + 2 * place + slot] = (left_m(at) + sideways_m) as f32;
            }
        }
    }
}

fn fill_traffic(out: &mut [f32; PERCEPTION_DIM], world: &World, seen: &Surroundings) {
    let v = world.ego().speed_mps;
    let gap = |of: &Option<Neighbour>| nearness(of.as_ref().map(|n| n.gap_m));
    out[11] = gap(&seen.lead);
    out[12] = relative(&seen.lead, v);
    out[13] = seen.lead.map_or(f32::NAN, |lead| lead.speed_mps as f32);
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
    out[29] = seen.light.map_or(f32::NAN, |(_, gap_m)| gap_m as f32);
    out[30] = nearness(seen.vulnerable.map(|(_, gap_m)| gap_m));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_lights_are_these() {
        let named = (0..PERCEPTION_DIM).filter(|index| PERCEPTION[*index].0.starts_with("light ahead"));
        assert!(named.eq(LIGHTS));
    }
}
