//! Into a goal in time: of many smooth motions along the lanes that lead there, the one that needs the least acceleration
//! and touches nobody.
//!
//! Along the lane a motion is a cubic of time from the present speed to a station of the goal at a time of its window,
//! across the lane a polynomial of fifth degree (Werling, Ziegler, Kammel, Thrun: "Optimal trajectory generation for
//! dynamic street scenarios in a Frenet frame", 2010). The cubic is the motion of least squared acceleration, so that
//! a plan made later, on the way, is the rest of the plan made before.

mod candidate;
mod others;

use ergon_types::{Trajectory, VehicleState};

use candidate::{Candidate, End, drift};
use others::Others;

use super::line::DriveLine;
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, RoadNetwork};
use crate::route::{Route, RouteGoal};
use crate::scenario::Goal;
use crate::task::{Side, Task, lane_path, surroundings};
use crate::vehicle;
use crate::world::World;

/// Time between the points of a motion.
const STEP_S: f64 = 0.1;
/// Length of a motion that is given out.
const MOTION_S: f64 = 5.0;
/// Corners of a lane are rounded over so much.
const ROUNDING_M: f64 = 2.0;
/// A lane is a way to the goal if it passes the vehicle within this distance.
const BESIDE_M: f64 = 18.0;
/// Goals that are farther off, and lanes that are longer, are no concern of the next seconds; files may name any place.
const FAR_M: f64 = 3e3;
const LONGEST_M: f64 = 5e4;
/// Lanes that are tried.
const WAYS: usize = 6;
/// Times of arrival that are tried.
const ARRIVALS: usize = 9;
/// Accelerations of the detours in time (later or sooner than the cubic half-way) that are tried.
const DETOURS_MPS2: [f64; 5] = [0.0, -2.0, 2.0, -4.5, 4.0];
/// Parts of the time to the goal after which the move aside may be over.
const ASIDE_PARTS: [f64; 3] = [1.0, 0.7, 0.4];
/// Shortest whole move aside, and the time that a longer one has.
const ASIDE_S: [f64; 2] = [1.6, 4.5];
/// What is tried first and what is tried when that does not do: hardest braking, strongest push and greatest acceleration
/// across, ...
const LIMITS_MPS2: [[f64; 3]; 3] = [[-5.0, 3.5, 4.0], [-8.5, 7.0, 7.0], [-8.5, 7.0, 7.0]];
/// ... and greatest swerves half-way.
const SWERVES_M: [&[f64]; 3] = [&[0.0], &[0.0, -0.4, 0.4], &[-1.0, 1.0, -2.0, 2.0, -3.5, 3.5]];
/// A goal is near if its time is over so soon.
const NEAR_S: f64 = 6.5;

/// What is left of the goal's conditions, seen from now.
struct Wanted<'a> {
    goal: &'a Goal,
    roads: &'a RoadNetwork,
    /// Times of arrival, from now.
    arrivals_s: Vec<f64>,
    speed_mps: [f64; 2],
}

/// A lane to the goal.
struct Way {
    line: DriveLine,
    /// Where the vehicle is: station and offset, speed and acceleration across.
    at: [f64; 2],
    across: [f64; 2],
    /// Stations that lie in the goal, and the one that is aimed at first; none if any will do.
    along_m: Option<[f64; 3]>,
    /// Offset at the goal: near the middle of the lane, and with the least move aside.
    offsets_m: [f64; 2],
    /// Whether it passes through the goal, and not only near it.
    inside: bool,
    cost: f64,
}

/// The motion into the goal and the side to which it changes lanes. `None` if the goal's time is over, it is passed or
/// no way leads there.
pub(super) fn plan(world: &World, task: &Task, goal: &Goal) -> Option<(Trajectory, Option<Side>)> {
    let wanted = Wanted::new(world, goal)?;
    let mut ways = wanted.ways(world, task);
    let others = Others::new(world, &wanted);
    let mut all: Vec<Candidate> = Vec::new();
    // A goal that is far off leaves time to follow the others for a while.
    let near = wanted.arrivals_s.last().is_some_and(|last| *last < NEAR_S);
    for effort in 0..if near { LIMITS_MPS2.len() } else { 2 } {
        if effort == 1 {
            ways.extend(wanted.by_route(world));
            ways.extend(wanted.across_country(world.ego()));
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        for (i, way) in ways.iter().enumerate() {
            wanted.motions(world.ego(), i, way, (effort, near), &mut candidates);
        }
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        if let Some(found) = others.free(&ways, &candidates) {
            return Some(found.into_plan(&ways[found.way], world.ego()));
        }
        all.extend(candidates);
    }
    let last = others.latest(&ways, &all, if near { 2.0 } else { 4.0 })?;
    Some(last.into_plan(&ways[last.way], world.ego()))
}

impl<'a> Wanted<'a> {
    fn new(world: &'a World, goal: &'a Goal) -> Option<Wanted<'a>> {
        let scenario = world.scenario();
        let step_s = scenario.step_s;
        let now = (world.t_s() / step_s - 1e-6).ceil() as usize;
        let [first, last] = [goal.steps[0].max(now + 1), goal.steps[1]];
        if last < first {
            return None;
        }
        let count = (last - first + 1).min(ARRIVALS);
        let arrivals = (0..count).map(|i| {
            let part = if count > 1 { i as f64 / (count - 1) as f64 } else { 0.0 };
            let step = first + (part * (last - first) as f64).round() as usize;
            step as f64 * step_s - world.t_s()
        });
        let at = Point::new(world.ego().x_m, world.ego().y_m);
        let limit =
            scenario.roads.lanelets_at(at).find_map(|lanelet| lanelet.speed_limit_mps).unwrap_or(25.0);
        let [low, high] = goal.speed_mps.unwrap_or([0.0, (1.25 * limit).max(1.2 * world.ego().speed_mps)]);
        let (low, high) = (low.max(0.0), high.min(vehicle::SPEED_MAX_MPS));
        if low > high {
            return None;
        }
        // Not at the very edge, where the least error would miss it.
        let edge = (0.15 * (high - low)).clamp(0.0, 0.3);
        let speed_mps = [if low > 0.0 { low + edge } else { 0.0 }, high - edge];
        Some(Wanted { goal, roads: &scenario.roads, arrivals_s: arrivals.collect(), speed_mps })
    }

    fn contains(&self, point: Point) -> bool {
        self.goal.regions.iter().any(|region| region.contains(point, self.roads))
    }

    fn ways(&self, world: &World, task: &Task) -> Vec<Way> {
        let ego = world.ego();
        let at = Point::new(ego.x_m, ego.y_m);
        let Some(region) = self.goal.regions.first() else {
            let path = surroundings(world, &task.route).map(|seen| seen.path);
            return path
                .map(|path| Way::along(DriveLine::new(&path.line, ROUNDING_M), ego))
                .into_iter()
                .collect();
        };
        let center = region.center(self.roads).filter(|center| center.distance(at) < FAR_M);
        let Some(center) = center else { return Vec::new() };
        let reach_m = 1.3 * center.distance(at) + 60.0;
        let mut places: Vec<(ElementId, Point)> = Vec::new();
        for region in &self.goal.regions {
            for (id, [a, b]) in RouteGoal::region(self.roads, region, self.goal.heading_rad).lanelets {
                let Some(lanelet) = self.roads.lanelet(id) else { continue };
                places.push((id, lanelet.center.at(0.5 * (a + b))));
            }
        }
        places.sort_by(|a, b| a.1.distance(center).total_cmp(&b.1.distance(center)));
        let mut ways = Vec::new();
        for (id, place) in places.iter().take(WAYS) {
            let Some(lanelet) = self.roads.lanelet(*id) else { continue };
            let s_m = lanelet.center.project(*place).s_m;
            let Some(path) = lane_path(self.roads, *id, s_m, &task.route, [reach_m, 80.0]) else { continue };
            if path.line.length() > LONGEST_M {
                continue;
            }
            let line = DriveLine::new(&path.line, ROUNDING_M);
            // A place off the lane's centre is aimed at as it is.
            let aim = if self.contains(*place) { *place } else { center };
            ways.extend(self.way(line, ego, aim, center));
        }
        ways
    }

    /// Along the route that a map finds.
    fn by_route(&self, world: &World) -> Option<Way> {
        let ego = world.ego();
        let center = self.goal.regions.first()?.center(self.roads)?;
        let at = Point::new(ego.x_m, ego.y_m);
        let route = Route::to_goal(self.roads, at, ego.heading_rad, self.goal)?;
        if route.center.length() > LONGEST_M {
            return None;
        }
        let line = DriveLine::new(&route.center, ROUNDING_M);
        let place = route.center.at(0.5 * (route.goal_m[0] + route.goal_m[1]));
        let way = self.way(line, ego, if self.contains(place) { place } else { center }, center)?;
        Some(Way { cost: way.cost + 1.0, ..way })
    }

    /// A curve from pose to pose, where there is no lane.
    fn across_country(&self, ego: &VehicleState) -> Option<Way> {
        let center = self.goal.regions.first()?.center(self.roads)?;
        let at = Point::new(ego.x_m, ego.y_m);
        let way = center - at;
        let ahead = Point::polar(1.0, ego.heading_rad);
        if way.norm() < 1.0 || way.norm() > FAR_M || way.dot(ahead) < 0.0 {
            return None;
        }
        let natural = way.angle() + wrap_angle(way.angle() - ego.heading_rad);
        let end = natural + self.turn(natural);
        let (from, to) = (ahead * way.norm(), Point::polar(way.norm(), end));
        let point = |i: usize| {
            let u = i as f64 / 40.0;
            let (a, b) = (u * u * (3.0 - 2.0 * u), u * (1.0 - u));
            at.lerp(center, a) + from * (b * (1.0 - u)) - to * (b * u)
        };
        let line = crate::geometry::Polyline::try_new((0..=40).map(point))?;
        let way = self.way(DriveLine::new(&line, 1.0), ego, center, center)?;
        Some(Way { cost: way.cost + 3.0, ..way })
    }

    /// By how much a direction must change to be one of the goal's.
    fn turn(&self, heading_rad: f64) -> f64 {
        self.goal.heading_rad.map_or(0.0, |[low, high]| {
            let half = 0.5 * (high - low).rem_euclid(std::f64::consts::TAU);
            let off = wrap_angle(heading_rad - low - half);
            off.clamp(-0.8 * half, 0.8 * half) - off
        })
    }

    /// A line as a way to `aim`; `None` if it does not lead from the vehicle to there.
    fn way(&self, line: DriveLine, ego: &VehicleState, aim: Point, center: Point) -> Option<Way> {
        let mut way = Way::along(line, ego);
        let (s_m, d_m) = way.line.project(aim);
        let turned = wrap_angle(ego.heading_rad - way.line.at(way.at[0]).heading_rad);
        if way.at[1].abs() > BESIDE_M || turned.abs() > 1.2 {
            return None;
        }
        let inside = |s: f64, d: f64| self.contains(way.line.place(s, d));
        let far = |step: f64, most: f64, inside: &dyn Fn(f64) -> bool| {
            let n = (most / step.abs()) as usize;
            (1..=n).take_while(|k| inside(*k as f64 * step)).count() as f64 * step
        };
        let along = |step: f64| s_m + far(step, 60.0, &|x| inside(s_m + x, d_m));
        let [low, high] = [along(-0.5), along(0.5)];
        if high < way.at[0] {
            return None;
        }
        let across = |step: f64| d_m + far(step, 6.0, &|x| inside(s_m, d_m + x));
        let [right, left] = [across(-0.1), across(0.1)];
        // As near to the middle of the lane as the goal allows, a bit inside of it.
        let spare = (0.3 * (left - right)).min(0.6);
        let offset_m = 0.0_f64.max(right + spare).min(left - spare);
        let aimed = way.line.project(center).0.clamp(low, high);
        way.cost = 0.02 * (s_m - aimed).abs();
        way.inside = inside(s_m, d_m);
        way.offsets_m = [offset_m, way.at[1].clamp(right + spare.min(0.2), left - spare.min(0.2))];
        // The lane may lead the goal's way in a part of the region only.
        let turn = |s: f64| self.turn(way.heading_rad(s)).abs();
        let n = (2.0 * (high - low)) as usize;
        let fitting = (0..=n).map(|k| low + 0.5 * k as f64).filter(|s| turn(*s) < 1e-6);
        let span = fitting.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], s| [a.min(s), b.max(s)]);
        let [low, high] = if span[0] <= span[1] && span[1] >= way.at[0] { span } else { [low, high] };
        way.along_m = Some([low, high, aimed.clamp(low, high)]);
        Some(way)
    }

    /// Motions on a way that the vehicle can drive.
    fn motions(
        &self,
        ego: &VehicleState,
        index: usize,
        way: &Way,
        (effort, near): (usize, bool),
        found: &mut Vec<Candidate>,
    ) {
        let v = ego.speed_mps.max(0.0);
        let [brake, push, side] = LIMITS_MPS2[effort];
        // On a long way there is time to slow down for curves, which a cubic does not do.
        let limits = [brake, push, if near { side } else { LIMITS_MPS2[0][2] }];
        for arrival_s in self.arrivals_s.iter().copied() {
            for (way_m, end_mps) in self.ends(way, v, arrival_s) {
                let from_aim = way.along_m.map_or(0.0, |[.., aimed]| way.at[0] + way_m - aimed).abs();
                let turn_rad = match way.along_m {
                    Some(_) => self.turn(way.heading_rad(way.at[0] + way_m)),
                    None => 0.0,
                };
                for (i, offset_m) in way.offsets_m.into_iter().enumerate() {
                    if i > 0 && (effort == 0 || offset_m == way.offsets_m[0]) {
                        continue;
                    }
                    let end = End { arrival_s, way_m, speed_mps: end_mps, offset_m, turn_rad };
                    let cost = 0.01 * from_aim + 0.3 * (offset_m - way.offsets_m[0]).abs();
                    for detour in DETOURS_MPS2 {
                        for part in ASIDE_PARTS {
                            for swerve in SWERVES_M[effort] {
                                let motion = Candidate::new(index, way, v, end, [detour, *swerve, part]);
                                let reaches = |motion: &Candidate| {
                                    let anywhere = way.along_m.is_none() || !way.inside;
                                    anywhere || self.contains(motion.pose(way, arrival_s).0)
                                };
                                found.extend(motion.judged(way, cost, limits).filter(reaches));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Ways and speeds with which to arrive.
    fn ends(&self, way: &Way, v: f64, arrival_s: f64) -> Vec<(f64, f64)> {
        let [low, high] = self.speed_mps;
        let Some([from, to, aimed]) = way.along_m else {
            let speeds = [v.clamp(low, high), 0.5 * (low + high), low, high];
            return speeds.map(|end| (0.5 * (v + end) * arrival_s, end)).to_vec();
        };
        let spare = (0.2 * (to - from)).min(2.0);
        let natural = way.at[0] + v * arrival_s;
        let near = natural.clamp(from + spare, to - spare);
        let aimed = aimed.clamp(from + spare, to - spare);
        let pair = |s_m: f64| {
            let way_m = s_m - way.at[0];
            let free = (1.5 * way_m / arrival_s - 0.5 * v).clamp(low, high);
            [(way_m, free), (way_m, (way_m / arrival_s).clamp(low, high))]
        };
        [aimed, near, 0.5 * (aimed + near)].into_iter().flat_map(pair).collect()
    }
}

impl Way {
    /// Heading of a vehicle on the line.
    fn heading_rad(&self, s_m: f64) -> f64 {
        let spot = self.line.at(s_m);
        spot.heading_rad - drift(spot.curvature_per_m)
    }

    /// A line without a place to reach.
    fn along(line: DriveLine, ego: &VehicleState) -> Way {
        let (s_m, d_m) = line.project(Point::new(ego.x_m, ego.y_m));
        let spot = line.at(s_m);
        let bend = vehicle::curvature(ego.steering_angle_rad);
        let v = ego.speed_mps;
        // The centre of the box does not move along the heading while the vehicle turns.
        let turned = wrap_angle(ego.heading_rad + drift(bend) - spot.heading_rad);
        let across = [v * turned.sin(), (v * v * (bend - spot.curvature_per_m)).clamp(-3.0, 3.0)];
        Way { line, at: [s_m, d_m], across, along_m: None, offsets_m: [0.0; 2], inside: true, cost: 0.0 }
    }
}

/// Mean speed that the straight way to the goal needs at least.
pub(super) fn needed_mps(world: &World, goal: &Goal) -> Option<f64> {
    let center = goal.regions.first()?.center(&world.scenario().roads)?;
    let way_m = center.distance(Point::new(world.ego().x_m, world.ego().y_m));
    let left_s = goal.steps[1] as f64 * world.scenario().step_s - world.t_s();
    (left_s > 0.5).then(|| way_m / left_s)
}

#[cfg(test)]
mod tests {
    use super::candidate::quintic;
    use super::*;
    use crate::expert::Expert;
    use crate::follow;
    use crate::geometry::OrientedBox;
    use crate::scenario::Region;

    /// Drives an episode's world to a goal and says whether it was reached.
    fn reaches(mut world: World, goal: &Goal) -> bool {
        let task = Task { instruction: crate::task::Instruction::ReachGoal, ..Task::default() };
        let mut expert = Expert::new();
        while world.t_s() < 0.1 * goal.steps[1] as f64 + 0.05 {
            let plan = expert.plan_to(&world, &task, Some(goal)).trajectory;
            for _ in 0..2 {
                let control = follow::control(world.ego(), &plan);
                world.hold(control, follow::CONTROL_S);
                let step = (world.t_s() * 10.0).round() as usize;
                if goal.reached(step, world.ego(), &world.scenario().roads) {
                    return true;
                }
            }
        }
        false
    }

    /// A goal ahead of the vehicle in its lane, so that its mean speed on the way is a part of the present one.
    fn ahead(world: &World, part: f64) -> Goal {
        let path = surroundings(world, &[]).expect("the ego vehicle starts on a lane");
        let at_m = path.s_m + part * 5.0 * world.ego().speed_mps;
        let center = path.path.line.at(at_m);
        let heading_rad = path.path.line.heading_at(at_m);
        let region = OrientedBox { center, heading_rad, length_m: 5.0, width_m: 2.0 };
        Goal {
            steps: [48, 52],
            regions: vec![Region::Rectangle(region)],
            heading_rad: Some([heading_rad - 0.2, heading_rad + 0.2]),
            speed_mps: None,
        }
    }

    #[test]
    fn goals_that_need_another_speed_are_reached() {
        let options = crate::episode::EpisodeOptions {
            kind: Some(crate::generate::RoadKind::Rural),
            ..Default::default()
        };
        let mut reached = 0;
        for seed in 0..6 {
            let world = crate::episode::generate(seed, &options).world;
            for part in [0.7, 1.0] {
                reached += usize::from(reaches(world.clone(), &ahead(&world, part)));
            }
        }
        assert!(reached >= 10, "{reached} of 12");
    }

    #[test]
    fn a_goal_whose_time_is_over_is_forgotten() {
        let world = crate::episode::generate(1, &Default::default()).world;
        let goal = Goal { steps: [0, 0], ..ahead(&world, 1.0) };
        assert!(plan(&world, &Task::default(), &goal).is_none());
    }

    #[test]
    fn polynomials_end_where_they_should() {
        let c = quintic([1.0, -0.5, 0.3], [-2.0, 0.4], 3.0);
        let value: f64 = c.iter().rev().fold(0.0, |sum, c| sum * 3.0 + c);
        let slope: f64 = (1..6).rev().fold(0.0, |sum, i| sum * 3.0 + i as f64 * c[i]);
        assert!((value + 2.0).abs() < 1e-9 && (slope - 0.4).abs() < 1e-9, "{value} {slope}");
    }
}
