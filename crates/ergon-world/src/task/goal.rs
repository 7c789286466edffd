//! Tasks to be somewhere in time, in the manner of CommonRoad's problems: cut around where a vehicle will be, or would be.
//!
//! Of 89 problems read for this: 40 have a rectangle (half of them about 2 m by 1.7 m at the end of a recorded drive, the
//! others up to 44 m long), 31 name lanelets, 14 no region at all; windows are one time step (half of them), five steps
//! or ten steps long, or start at 0; headings are 0.17 to 0.2 rad wide, speeds 6 m/s; horizons are 0.6 s to 20 s.

use ergon_types::VehicleState;

use crate::Rng;
use crate::geometry::{OrientedBox, Point, wrap_angle};
use crate::road::{ElementId, RoadNetwork};
use crate::scenario::{Goal, Region};
use crate::vehicle;
use crate::world::World;

use super::{Side, lane_path, neighbour, surroundings};

/// Least time that a goal in another lane gives.
const CHANGE_S: f64 = 3.0;

/// How a goal is cut out around a state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GoalShape {
    /// Length and width of a rectangle; `None` for the lanelet or no region.
    pub rectangle_m: Option<[f64; 2]>,
    /// Whether the lanelet under the state is the region, if there is no rectangle.
    pub lanelet: bool,
    /// Time steps before and after.
    pub window_steps: [usize; 2],
    /// Full width of the heading interval.
    pub heading_rad: Option<f64>,
    /// Full width of the speed interval.
    pub speed_mps: Option<f64>,
    /// How far the rectangle is moved along and across, the interval of speeds up, in parts of their half extent; below
    /// 1 in size so that the state stays inside.
    pub shift: [f64; 3],
}

/// A shape as the published problems have them.
pub fn random_shape(rng: &mut Rng) -> GoalShape {
    let shift = [rng.range(-0.7, 0.7), rng.range(-0.7, 0.7), rng.range(-0.6, 0.6)];
    let bare = GoalShape {
        rectangle_m: None,
        lanelet: false,
        window_steps: [0, 0],
        heading_rad: None,
        speed_mps: None,
        shift,
    };
    let window = if rng.chance(0.5) { 5 } else { 2 };
    match rng.below(20) {
        // The size of a car's position uncertainty, with heading and speed.
        0..=6 => GoalShape {
            rectangle_m: Some([rng.range(1.9, 3.3), rng.range(1.5, 2.4)]),
            window_steps: [window, window],
            heading_rad: Some(0.17),
            speed_mps: Some(6.0),
            ..bare
        },
        7..=9 => GoalShape {
            rectangle_m: Some([rng.range(6.0, 10.0), 2.0]),
            window_steps: [window, window],
            heading_rad: Some(0.2),
            ..bare
        },
        // By hand: a long box, any time up to then.
        10 => GoalShape {
            rectangle_m: Some([rng.range(4.0, 40.0), rng.range(2.1, 3.5)]),
            window_steps: [usize::MAX, rng.below(10)],
            heading_rad: Some(rng.range(0.35, 1.2)),
            ..bare
        },
        11..=13 => GoalShape { lanelet: true, ..bare },
        14 => GoalShape { lanelet: true, window_steps: [window, window], heading_rad: Some(0.2), ..bare },
        15 | 16 => GoalShape { lanelet: true, window_steps: [1, 0], speed_mps: Some(14.0), ..bare },
        _ => bare,
    }
}

/// A goal that the ego vehicle could reach from here: along its lane or the one beside at a steady acceleration, not
/// past who drives ahead, within `longest_s`. `None` where there is no lane, or the road ends before.
pub fn goal_ahead(world: &World, route: &[ElementId], longest_s: f64, rng: &mut Rng) -> Option<Goal> {
    let (roads, ego) = (&world.scenario().roads, world.ego());
    let seen = surroundings(world, route)?;
    let after_s = if rng.chance(0.4) { rng.range(0.5, 3.5) } else { rng.range(2.0, longest_s.max(2.5)) };
    let step_s = world.scenario().step_s;
    let steps = (after_s / step_s).round();
    let after_s = steps * step_s;
    let side = if rng.chance(0.5) { Side::Left } else { Side::Right };
    let change = after_s > CHANGE_S && rng.chance(0.45);
    let beside = neighbour(roads, seen.lanelet, side).filter(|_| change);
    let (lanelet, ahead) = match beside {
        Some(beside) => (beside.id, seen.beside(side).front),
        None => (seen.lanelet, seen.lead),
    };
    let start = Point::new(ego.x_m, ego.y_m);
    let on_lanelet_m = roads.lanelet(lanelet)?.center.project(start).s_m;
    let path = lane_path(roads, lanelet, on_lanelet_m, route, [0.0, 40.0 * after_s])?;
    let s_m = path.line.project(start).s_m;
    // Not more than what gentle pedals can change in the time.
    let spread_mps = 1.1 * after_s.min(5.0);
    let wanted_mps = ego.speed_mps + (rng.normal() * spread_mps).clamp(-2.0 * spread_mps, 1.5 * spread_mps);
    let limit_mps = roads.lanelet(lanelet).and_then(|lanelet| lanelet.speed_limit_mps).unwrap_or(15.0);
    let fastest_mps = (1.15 * limit_mps).max(ego.speed_mps);
    let mut speed_mps = wanted_mps.clamp(0.0, fastest_mps);
    let mut way_m = 0.5 * (ego.speed_mps + speed_mps) * after_s;
    if let Some(ahead) = ahead {
        let free_m = ahead.gap_m + ahead.speed_mps.max(0.0) * after_s - 2.0 - 0.4 * ahead.speed_mps.max(0.0);
        if way_m > free_m {
            way_m = free_m.max(0.0);
            speed_mps = speed_mps.min(ahead.speed_mps.max(0.0));
        }
    }
    if s_m + way_m > path.line.length() - 1.0 {
        return None;
    }
    let heading_rad = path.line.heading_at(s_m + way_m);
    let at = path.line.at(s_m + way_m) + Point::polar(rng.normal() * 0.25, heading_rad).left();
    let state = VehicleState {
        t_s: ego.t_s + after_s,
        x_m: at.x,
        y_m: at.y,
        heading_rad: wrap_angle(heading_rad + rng.normal() * 0.01),
        speed_mps,
        ..VehicleState::default()
    };
    let step = (world.t_s() / step_s).round() as usize + steps as usize;
    Some(goal_from_future(roads, &state, step, &random_shape(rng)))
}

/// The goal that a vehicle which will be in `state` at time step `step` reaches, cut to a shape.
///
/// # Returns
/// A goal that [`Goal::reached`] grants for `state` at `step`. A rectangle is turned with the lane where there is one
/// within 0.15 rad of the vehicle's heading. Where a lanelet is asked for and there is none, there is no region.
pub fn goal_from_future(roads: &RoadNetwork, state: &VehicleState, step: usize, shape: &GoalShape) -> Goal {
    let at = Point::new(state.x_m, state.y_m);
    let lanelet = roads.lanelet_for(at, state.heading_rad);
    let along = |of: &crate::road::Lanelet| of.center.heading_at(of.center.project(at).s_m);
    let lane_rad = lanelet.map(along).filter(|lane| wrap_angle(lane - state.heading_rad).abs() < 0.15);
    let heading_rad = lane_rad.unwrap_or(state.heading_rad);
    let regions = match (shape.rectangle_m, lanelet) {
        (Some([length_m, width_m]), _) => {
            let moved = Point::new(0.5 * length_m * shape.shift[0], 0.5 * width_m * shape.shift[1]);
            let center = moved.from_frame(at, heading_rad);
            vec![Region::Rectangle(OrientedBox { center, heading_rad, length_m, width_m })]
        }
        (None, Some(lanelet)) if shape.lanelet => vec![Region::Lanelets(vec![lanelet.id])],
        _ => Vec::new(),
    };
    let around = |value: f64, width: f64, part: f64| {
        let middle = value + 0.5 * width * part;
        [middle - 0.5 * width, middle + 0.5 * width]
    };
    Goal {
        steps: [step.saturating_sub(shape.window_steps[0]), step.saturating_add(shape.window_steps[1])],
        regions,
        heading_rad: shape.heading_rad.map(|width| around(state.heading_rad, width, 0.3 * shape.shift[1])),
        speed_mps: shape.speed_mps.map(|width| {
            let [low, high] = around(state.speed_mps, width, shape.shift[2]);
            [low.max(0.0), high.min(vehicle::SPEED_MAX_MPS)]
        }),
    }
}
