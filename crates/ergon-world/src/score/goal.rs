//! Whether the goal of a problem was reached, and what was missing where it came closest.

use ergon_types::VehicleState;

use crate::geometry::{Point, wrap_angle};
use crate::road::RoadNetwork;
use crate::scenario::{Goal, Region};

/// What lost a goal: the condition that failed at the best moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Miss {
    /// The run ended before the time window, or all else was right outside of it.
    TimeWindow,
    /// Not in the region.
    Position,
    /// In the region with another heading.
    Heading,
    /// In the region with another speed.
    Speed,
}

/// How it went with the goal.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct GoalReport {
    /// When the goal was first reached.
    pub reached_at_s: Option<f64>,
    /// The condition that failed at the best moment, if the goal was not reached.
    pub miss: Option<Miss>,
    /// Least distance to the region within the time window.
    pub distance_m: Option<f64>,
    /// How far the speed was off at the best moment.
    pub speed_off_mps: f64,
    /// How far the heading was off at the best moment.
    pub heading_off_rad: f64,
}

/// Keeps the best moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GoalWatch {
    /// How many conditions held at the best moment, and how near it was.
    best: Option<(u32, f64)>,
}

/// Distance from a point to a region; 0 inside.
pub(super) fn distance_to(region: &Region, point: Point, roads: &RoadNetwork) -> f64 {
    let to_edges = |corners: &[Point]| {
        let edges = corners.iter().zip(corners.iter().cycle().skip(1));
        edges.map(|(a, b)| to_segment(point, *a, *b)).fold(f64::INFINITY, f64::min)
    };
    if region.contains(point, roads) {
        return 0.0;
    }
    match region {
        Region::Rectangle(shape) => to_edges(&shape.corners()),
        Region::Circle { center, radius_m } => (center.distance(point) - radius_m).max(0.0),
        Region::Polygon(corners) => to_edges(corners),
        Region::Lanelets(ids) => ids
            .iter()
            .filter_map(|id| roads.lanelet(*id))
            .map(|lanelet| to_edges(&lanelet.polygon()))
            .fold(f64::INFINITY, f64::min),
    }
}

fn to_segment(point: Point, a: Point, b: Point) -> f64 {
    let along = b - a;
    let part = ((point - a).dot(along) / along.dot(along).max(1e-12)).clamp(0.0, 1.0);
    a.lerp(b, part).distance(point)
}

impl GoalWatch {
    pub(super) fn look(
        &mut self,
        report: &mut GoalReport,
        goals: &[Goal],
        roads: &RoadNetwork,
        ego: &VehicleState,
        step_s: f64,
    ) {
        if report.reached_at_s.is_some() {
            return;
        }
        let step = (ego.t_s / step_s).round() as usize;
        if goals.iter().any(|goal| goal.reached(step, ego, roads)) {
            *report =
                GoalReport { reached_at_s: Some(ego.t_s), distance_m: Some(0.0), ..GoalReport::default() };
            return;
        }
        for goal in goals {
            self.compare(report, goal, roads, ego, step);
        }
    }

    fn compare(
        &mut self,
        report: &mut GoalReport,
        goal: &Goal,
        roads: &RoadNetwork,
        ego: &VehicleState,
        step: usize,
    ) {
        let at = Point::new(ego.x_m, ego.y_m);
        let distances = goal.regions.iter().map(|region| distance_to(region, at, roads));
        let distance_m = distances.reduce(f64::min).unwrap_or(0.0);
        let in_time = (goal.steps[0]..=goal.steps[1]).contains(&step);
        let speed_off_mps = goal
            .speed_mps
            .map_or(0.0, |[low, high]| (low - ego.speed_mps).max(ego.speed_mps - high).max(0.0));
        let heading_off_rad = goal.heading_rad.map_or(0.0, |[low, high]| {
            let half = 0.5 * (high - low).rem_euclid(std::f64::consts::TAU);
            (wrap_angle(ego.heading_rad - low - half).abs() - half).max(0.0)
        });
        if in_time {
            let least = report.distance_m.map_or(distance_m, |least| least.min(distance_m));
            report.distance_m = Some(least);
        }
        // Position first: a speed that is right elsewhere says nothing.
        let inside = distance_m <= 0.0;
        let held = u32::from(inside) * 4
            + u32::from(in_time) * 2
            + u32::from(speed_off_mps <= 0.0 && heading_off_rad <= 1e-9);
        let better = self.best.is_none_or(|(most, least)| held > most || held == most && distance_m < least);
        if !better {
            return;
        }
        self.best = Some((held, distance_m));
        (report.speed_off_mps, report.heading_off_rad) = (speed_off_mps, heading_off_rad);
        report.miss = Some(match () {
            () if !inside => Miss::Position,
            () if !in_time => Miss::TimeWindow,
            () if heading_off_rad > 1e-9 => Miss::Heading,
            () => Miss::Speed,
        });
    }
}
