//! Tasks by hindsight: where a vehicle has been becomes where it is to be, in the manner of CommonRoad's problems.
//!
//! Of 89 problems read for this: 40 have a rectangle (half of them about 2 m by 1.7 m at the end of a recorded drive, the
//! others up to 44 m long), 31 name lanelets, 14 no region at all; windows are one time step (half of them), five steps
//! or ten steps long, or start at 0; headings are 0.17 to 0.2 rad wide, speeds 6 m/s; horizons are 0.6 s to 20 s.

use ergon_types::VehicleState;

use crate::Rng;
use crate::geometry::{OrientedBox, Point};
use crate::road::RoadNetwork;
use crate::scenario::{Goal, Region};
use crate::vehicle;

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

/// The goal that a vehicle which will be in `state` at time step `step` reaches, cut to a shape.
///
/// # Returns
/// A goal that [`Goal::reached`] grants for `state` at `step`. A rectangle is turned with the lane where there is one
/// within 0.15 rad of the vehicle's heading. Where a lanelet is asked for and there is none, there is no region.
pub fn goal_from_future(roads: &RoadNetwork, state: &VehicleState, step: usize, shape: &GoalShape) -> Goal {
    let at = Point::new(state.x_m, state.y_m);
    let lanelet = roads.lanelet_for(at, state.heading_rad);
    let along = |of: &crate::road::Lanelet| of.center.heading_at(of.center.project(at).s_m);
    let lane_rad =
        lanelet.map(along).filter(|lane| crate::geometry::wrap_angle(lane - state.heading_rad).abs() < 0.15);
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
