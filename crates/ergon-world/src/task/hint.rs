//! What the navigation says.

use ergon_types::{GoalHint, VehicleState};

use super::{Task, lane_path, road_center};
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, RoadNetwork};
use crate::scenario::{Goal, Region};
use crate::world::World;

/// Least distance of the route point.
const ROUTE_POINT_M: f64 = 30.0;
/// At speed the route point is this many seconds ahead.
const ROUTE_POINT_S: f64 = 3.0;

pub(super) fn hint(task: &Task, world: &World, goal: Option<&Goal>) -> GoalHint {
    let scenario = world.scenario();
    let ego = world.ego();
    let (origin, t_s) = (Point::new(ego.x_m, ego.y_m), world.t_s());
    let local = |point: Point| {
        let p = point.to_frame(origin, ego.heading_rad);
        [p.x, p.y]
    };
    let mut hint = GoalHint::default();
    if let Some(goal) = goal {
        let to_s = |step: usize| step as f64 * scenario.step_s - t_s;
        let window_s = goal.steps.map(to_s);
        hint.time_window_s = Some(window_s);
        let after_s = 0.5 * (window_s[0].max(0.0) + window_s[1].max(0.0));
        hint.position_m =
            goal.regions.first().and_then(|region| aim(&scenario.roads, region, ego, after_s)).map(local);
        hint.speed_range_mps = goal.speed_mps;
        hint.heading_rad = goal.heading_rad.map(|[low, high]| {
            let middle = low + 0.5 * (high - low).rem_euclid(std::f64::consts::TAU);
            wrap_angle(middle - ego.heading_rad)
        });
    }
    if !task.instruction.decides_way() {
        let ahead_m = (ROUTE_POINT_S * ego.speed_mps).max(ROUTE_POINT_M);
        hint.route_point_m =
            route_point(&scenario.roads, &task.route, origin, ego.heading_rad, ahead_m).map(local);
    }
    hint
}

/// The point of a region to drive to. A lanelet may be long and begin anywhere: of its middle line, the point that a
/// vehicle comes to that drives on as it does for so long.
fn aim(roads: &RoadNetwork, region: &Region, ego: &VehicleState, after_s: f64) -> Option<Point> {
    let Region::Lanelets(ids) = region else { return region.center(roads) };
    let at = Point::new(ego.x_m, ego.y_m);
    let way_m = ego.speed_mps.max(0.0) * after_s;
    let lanelets = ids.iter().filter_map(|id| roads.lanelet(*id));
    let points = lanelets.map(|lanelet| {
        let (line, length_m) = (&lanelet.center, lanelet.center.length());
        let s_m = line.project(at).s_m.clamp(0.0, length_m);
        let off_m = line.at(s_m).distance(at);
        // Beside the lanelet the way to it is none.
        let before_m = if s_m > 0.0 { 0.0 } else { off_m };
        let inset_m = (0.2 * length_m).min(5.0);
        let there_m = (s_m + (way_m - before_m).max(0.0)).clamp(inset_m, length_m - inset_m);
        (off_m, line.at(there_m))
    });
    points.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, point)| point)
}

/// The middle of the road some way ahead along the route, or along the straightest way where there is no route.
fn route_point(
    roads: &RoadNetwork,
    route: &[ElementId],
    at: Point,
    heading_rad: f64,
    ahead_m: f64,
) -> Option<Point> {
    let turn = |id: ElementId| {
        let center = &roads.lanelet(id)?.center;
        Some((wrap_angle(center.heading_at(center.project(at).s_m) - heading_rad).abs() * 1e6) as i64)
    };
    let here: Vec<ElementId> = roads
        .lanelets_at(at)
        .filter(|lanelet| lanelet.kind.is_for_cars())
        .map(|lanelet| lanelet.id)
        .collect();
    let start = here.iter().find(|id| route.contains(id)).or(here.iter().min_by_key(|id| turn(**id)));
    // Beside the road, the nearest lanelet of the route.
    let off_road = || {
        let distance =
            |id: &&ElementId| roads.lanelet(**id).map(|l| (l.center.project(at).d_m.abs() * 1e3) as i64);
        route.iter().min_by_key(distance)
    };
    let start = *start.or_else(off_road)?;
    let lanelet = roads.lanelet(start)?;
    let s_m = lanelet.center.project(at).s_m.clamp(0.0, lanelet.center.length());
    let path = lane_path(roads, start, s_m, route, [0.0, ahead_m])?;
    let target_m = (s_m + ahead_m).min(path.line.length());
    let (id, from_m) = path.lanelet_at(target_m)?;
    let part = ((target_m - from_m) / roads.lanelet(id)?.center.length()).clamp(0.0, 1.0);
    road_center(roads, id, part)
}
