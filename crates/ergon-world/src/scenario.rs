//! A scenario: a road, what moves and stands on it, and what the ego vehicle is to reach. Read from CommonRoad files or
//! generated; plain data.

use ergon_types::{ActorKind, ActorState, VehicleState};

use crate::geometry::{OrientedBox, Point, polygon_contains};
use crate::road::{ElementId, RoadNetwork};

/// A road user whose motion is known beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedActor {
    /// Its id.
    pub id: u32,
    /// What it is.
    pub kind: ActorKind,
    /// Extent along the heading.
    pub length_m: f64,
    /// Extent across the heading.
    pub width_m: f64,
    /// Time step of the first state; it is absent before.
    pub first_step: usize,
    /// One state per time step; it is absent after the last.
    pub states: Vec<ActorState>,
}

/// Where the goal is.
#[derive(Clone, Debug, PartialEq)]
pub enum Region {
    /// A box.
    Rectangle(OrientedBox),
    /// A circle.
    Circle {
        /// Its centre.
        center: Point,
        /// Its radius.
        radius_m: f64,
    },
    /// Any simple polygon.
    Polygon(Vec<Point>),
    /// Anywhere in these lanelets.
    Lanelets(Vec<ElementId>),
}

/// One way to have reached the goal: all parts that are present must hold at one time step.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Goal {
    /// Time steps, first and last included.
    pub steps: [usize; 2],
    /// Any of these; no condition when empty.
    pub regions: Vec<Region>,
    /// Least and greatest heading: the interval runs counter-clockwise from the first to the second.
    pub heading_rad: Option<[f64; 2]>,
    /// Least and greatest speed.
    pub speed_mps: Option<[f64; 2]>,
}

/// What the ego vehicle starts from and is to reach.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PlanningProblem {
    /// Its id in the file.
    pub id: ElementId,
    /// Where the ego vehicle starts.
    pub initial: VehicleState,
    /// Yaw rate at the start, from which the first steering angle follows.
    pub initial_yaw_rate_radps: f64,
    /// Any of these ends the task.
    pub goals: Vec<Goal>,
}

/// A road with traffic and a task.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Scenario {
    /// `benchmarkID` of the file, or a name made of kind and seed.
    pub id: String,
    /// Who made it, as the file says; shown with every picture.
    pub author: String,
    /// Where it comes from, as the file says.
    pub source: String,
    /// Length of a time step.
    pub step_s: f64,
    /// The road.
    pub roads: RoadNetwork,
    /// What never moves.
    pub obstacles: Vec<ActorState>,
    /// What moves as recorded.
    pub recorded: Vec<RecordedActor>,
    /// The task.
    pub problem: PlanningProblem,
}

impl RecordedActor {
    /// Its state at a time, linear between steps; `None` while it is absent.
    pub fn at(&self, t_s: f64, step_s: f64) -> Option<ActorState> {
        let step = t_s / step_s - self.first_step as f64;
        let last = self.states.len().checked_sub(1)?;
        if step < -1e-6 || step > last as f64 + 1e-6 {
            return None;
        }
        let i = (step.max(0.0) as usize).min(last);
        let (a, b) = (self.states[i], self.states[(i + 1).min(last)]);
        let part = (step - i as f64).clamp(0.0, 1.0);
        let mix = |a: f64, b: f64| a + part * (b - a);
        Some(ActorState {
            x_m: mix(a.x_m, b.x_m),
            y_m: mix(a.y_m, b.y_m),
            heading_rad: a.heading_rad + part * crate::geometry::wrap_angle(b.heading_rad - a.heading_rad),
            speed_mps: mix(a.speed_mps, b.speed_mps),
            ..a
        })
    }
}

impl Region {
    /// Whether a point lies in it.
    pub fn contains(&self, point: Point, roads: &RoadNetwork) -> bool {
        match self {
            Region::Rectangle(shape) => shape.contains(point),
            Region::Circle { center, radius_m } => center.distance(point) <= *radius_m,
            Region::Polygon(corners) => polygon_contains(corners, point),
            Region::Lanelets(ids) => ids
                .iter()
                .filter_map(|id| roads.lanelet(*id))
                .any(|lanelet| polygon_contains(&lanelet.polygon(), point)),
        }
    }

    /// A point in its middle.
    pub fn center(&self, roads: &RoadNetwork) -> Option<Point> {
        match self {
            Region::Rectangle(shape) => Some(shape.center),
            Region::Circle { center, .. } => Some(*center),
            Region::Polygon(corners) if corners.is_empty() => None,
            Region::Polygon(corners) => {
                let sum = corners.iter().fold(Point::default(), |sum, corner| sum + *corner);
                Some(sum * (1.0 / corners.len() as f64))
            }
            Region::Lanelets(ids) => {
                let lanelet = roads.lanelet(*ids.get(ids.len() / 2)?)?;
                Some(lanelet.center.at(0.5 * lanelet.center.length()))
            }
        }
    }
}

impl Goal {
    /// Whether the state, at a time step, has reached the goal.
    pub fn reached(&self, step: usize, state: &VehicleState, roads: &RoadNetwork) -> bool {
        let point = Point::new(state.x_m, state.y_m);
        let turned = |[low, high]: [f64; 2]| {
            (state.heading_rad - low).rem_euclid(std::f64::consts::TAU)
                <= (high - low).rem_euclid(std::f64::consts::TAU) + 1e-9
        };
        (self.steps[0]..=self.steps[1]).contains(&step)
            && (self.regions.is_empty() || self.regions.iter().any(|region| region.contains(point, roads)))
            && self.heading_rad.is_none_or(turned)
            && self.speed_mps.is_none_or(|[low, high]| (low..=high).contains(&state.speed_mps))
    }
}
