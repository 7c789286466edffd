//! The teacher on roads with reacting traffic: what a careful driver would do next, from any state.
//!
//! It decides in this order: which lane (route, instruction, a lane that ends), how fast (limit, curves, words), where to
//! stop (lights, stop lines, someone crossing first, people on foot), and then follows with IDM whoever will be in the way,
//! as `motion` has it. It knows the limits and the routes, but looks no farther than cameras do, so that its choices can
//! be learned from pictures.

use ergon_types::{LightColor, Trajectory, VehicleState};

use super::motion::{HEADWAY_S, Motion, Obstacle, Request};
use crate::follow;
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, Lanelet, LaneletKind, RoadNetwork, SignKind};
use crate::scenario::Goal;
use crate::task::{
    Beside, Instruction, LanePath, Side, Surroundings, Task, ends_beside_others, lane_beside, lane_path,
    neighbour, surroundings,
};
use crate::traffic::Forecast;
use crate::vehicle;
use crate::world::World;

/// Length of a plan.
const PLAN_S: f64 = 4.5;
/// Time between the moments at which others are foreseen.
const FORESEEN_S: f64 = 0.2;
/// How far cameras show others.
const SIGHT_M: f64 = 90.0;
/// Part of the allowed speed that is driven when nothing else is said.
const USUAL_PART: f64 = 0.9;
/// Allowed speed where no lanelet says one.
const LIMIT_DEFAULT_MPS: f64 = 14.0;
/// Deceleration that a stop at a line may need before it is too late to stop there.
const STOP_MAX_MPS2: f64 = 4.0;
/// Deceleration of a stop that is asked for.
const STOP_MPS2: f64 = 2.0;
/// A car that stands at the right edge keeps this far from it.
const KERB_M: f64 = 0.4;
/// Way that moving aside to the edge takes: this, and so many times the distance to the side.
const ASIDE_WAY_M: f64 = 8.0;
const ASIDE_WAY_PART: f64 = 8.0;
/// Way that moving into a lane takes that ends soon, besides that of the stop.
const PULL_IN_M: f64 = 20.0;
/// Part of the allowed speed that is driven where a goal would not be reached in time otherwise.
const FAST_PART: f64 = 1.25;
/// Time behind others on the way to a goal in time.
const GOAL_HEADWAY_S: f64 = 0.8;
/// The same for a driver who is asked to drive faster.
const FAST_HEADWAY_S: f64 = 1.0;
/// Slower than the vehicles beside by this, and no slower than that, while waiting for a gap between them.
const GAP_MPS: f64 = 2.0;
const CREEP_MPS: f64 = 2.5;
/// What is left of the speed of the start when told to slow down.
const SLOWER_PART: f64 = 0.7;
/// Two vehicles may be in one place if this much time lies between them.
const CROSSING_MARGIN_S: f64 = 1.0;

/// Time and room to the sides that people on foot are given, and the gap in front of them.
const PERSON_MARGINS: [f64; 2] = [0.6, 0.5];
const PERSON_M: f64 = 2.0;

/// What the teacher would drive.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// At least 4 s, a point each 0.1 s, as the vehicle can drive it.
    pub trajectory: Trajectory,
    /// Change of lane that it contains, if any.
    pub to_side: Option<Side>,
}

/// A driver who knows the road and what the others will do.
#[derive(Clone, Debug, Default)]
pub struct Expert {}

impl Expert {
    /// A teacher; it remembers nothing from one plan to the next.
    pub fn new() -> Expert {
        Expert {}
    }

    /// What is right from here on. A task to reach a goal means the first goal of the scenario's problem.
    pub fn plan(&mut self, world: &World, task: &Task) -> Plan {
        let reach = task.instruction == Instruction::ReachGoal;
        self.plan_to(world, task, world.scenario().problem.goals.first().filter(|_| reach))
    }

    /// What is right from here on, to be in a goal in time where there is one. Its time steps are the scenario's, counted
    /// from the scenario's start. A goal whose time is over, that is passed or that no way leads to is forgotten.
    pub fn plan_to(&mut self, world: &World, task: &Task, goal: Option<&Goal>) -> Plan {
        let to_goal = goal.and_then(|goal| super::goal::plan(world, task, goal));
        if let Some((motion, to_side)) = to_goal.filter(|(motion, _)| !runs_a_light(world, task, motion)) {
            return Plan { trajectory: follow::rollout(world.ego(), &motion, PLAN_S), to_side };
        }
        let Some(seen) = surroundings(world, &task.route).or_else(|| beside_the_road(world, task)) else {
            return Plan { trajectory: standstill(world.ego()), to_side: None };
        };
        let lane = Choice::new(world, task, &seen);
        let mut request = request(world, task, &seen, &lane);
        if let Some(needed_mps) = goal.and_then(|goal| super::goal::needed_mps(world, goal)) {
            request.desired_mps = request.desired_mps.max(needed_mps.min(FAST_PART * request.limit_mps));
        }
        let others = obstacles(world, &lane);
        let mut motion = Motion::new(world.ego(), &lane.path.line);
        let go = motion.roll(&others, &request);
        // As if nobody were on foot: who brakes as late as for a vehicle meets nobody, but brakes hard.
        let (vehicles, people) = others.split_at(others.partition_point(|other| !other.is_on_foot()));
        let on = if people.is_empty() { None } else { Some(motion.roll(vehicles, &request)) };
        let for_people = on.and_then(|on| people_stop(&lane, &on, people));
        let stops = [crossing_stop(world, &seen, &lane, &go, &others), for_people];
        let trajectory = match stops.into_iter().flatten().min_by(f64::total_cmp) {
            Some(stop_m) => {
                let waits =
                    Request { stop_m: Some(request.stop_m.map_or(stop_m, |m| m.min(stop_m))), ..request };
                motion.roll(&others, &waits)
            }
            None => go,
        };
        let trajectory = follow::rollout(world.ego(), &trajectory, PLAN_S);
        Plan { trajectory, to_side: lane.to_side }
    }
}

/// Stand where you are.
fn standstill(ego: &VehicleState) -> Trajectory {
    let mut target = follow::point_of(ego);
    let stop_s = ego.speed_mps.max(0.0) / STOP_MPS2;
    let way = Point::polar(0.5 * ego.speed_mps * stop_s, ego.heading_rad);
    (target.x_m, target.y_m, target.t_s, target.speed_mps) =
        (target.x_m + way.x, target.y_m + way.y, ego.t_s + stop_s + 0.1, 0.0);
    follow::rollout(ego, &Trajectory { points: vec![follow::point_of(ego), target] }, PLAN_S)
}

/// A vehicle that has left the road sees the nearest lane as its own.
fn beside_the_road(world: &World, task: &Task) -> Option<Surroundings> {
    let ego = world.ego();
    let at = Point::new(ego.x_m, ego.y_m);
    let roads = &world.scenario().roads;
    let distance = |lanelet: &&Lanelet| {
        let foot = lanelet.center.project(at);
        let turned = wrap_angle(foot.heading_rad - ego.heading_rad).abs();
        foot.d_m.abs() + 4.0 * turned
    };
    let lanelet = roads
        .lanelets_near(at, 12.0)
        .filter(|lanelet| lanelet.kind.is_for_cars())
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let foot = lanelet.center.project(at);
    let inside = lanelet.center.at(foot.s_m.clamp(0.5, lanelet.center.length() - 0.5));
    let mut moved = world.clone();
    moved.displace(VehicleState { x_m: inside.x, y_m: inside.y, ..*ego });
    surroundings(&moved, &task.route)
}

/// The lane to drive in.
struct Choice {
    path: LanePath,
    /// Where in the lane, metres left of its centre.
    offset_m: f64,
    to_side: Option<Side>,
    /// The lane that the driver was told to move to, if there is no gap now.
    waits_for: Option<Beside>,
}

impl Choice {
    fn new(world: &World, task: &Task, seen: &Surroundings) -> Choice {
        let roads = &world.scenario().roads;
        let wish = wish(world, task, seen);
        let to_side = wish.filter(|side| {
            let beside = seen.beside(*side);
            // Half-way over the line there is no use in turning back for a small gap.
            let begun = seen.offset_m * f64::from(side.sign()) > 1.0;
            beside.is_free(world.ego().speed_mps) || (begun && beside.exists)
        });
        let told = matches!(task.instruction, Instruction::ChangeLane(_) | Instruction::PullOver);
        let waits_for = wish.filter(|_| told && to_side.is_none()).map(|side| *seen.beside(side));
        let beside = to_side.and_then(|side| neighbour(roads, seen.lanelet, side));
        let path = beside.and_then(|lanelet| {
            let at = Point::new(world.ego().x_m, world.ego().y_m);
            lane_path(roads, lanelet.id, lanelet.center.project(at).s_m, &task.route, [60.0, 140.0])
        });
        let at_kerb = task.instruction == Instruction::PullOver
            && neighbour(roads, seen.lanelet, Side::Right).is_none();
        let width_m = roads.lanelet(seen.lanelet).map_or(3.5, |lanelet| {
            lanelet.width_at(lanelet.center.project(Point::new(world.ego().x_m, world.ego().y_m)).s_m)
        });
        let kerb_m = -(0.5 * width_m - 0.5 * vehicle::WIDTH_M - KERB_M).max(0.0);
        Choice {
            path: path.unwrap_or_else(|| seen.path.clone()),
            offset_m: if at_kerb { kerb_m } else { 0.0 },
            to_side,
            waits_for,
        }
    }
}

/// To which side the driver would like to go.
fn wish(world: &World, task: &Task, seen: &Surroundings) -> Option<Side> {
    let roads = &world.scenario().roads;
    match task.instruction {
        Instruction::ChangeLane(side) => lane_beside(roads, seen.lanelet, side).map(|_| side),
        Instruction::PullOver => neighbour(roads, seen.lanelet, Side::Right)
            .filter(|lanelet| {
                // Half-way into it there is no use in turning back.
                let begun = seen.offset_m < -0.5;
                lanelet.kind != LaneletKind::Ramp && (begun || is_long_enough(world, lanelet))
            })
            .map(|_| Side::Right),
        Instruction::KeepLane => lane_ends(roads, seen),
        _ => route_side(roads, task, seen).or_else(|| lane_ends(roads, seen)),
    }
}

/// Whether a lane, should it end while others go on, as a shoulder does, leaves enough way to stop in it.
fn is_long_enough(world: &World, lanelet: &Lanelet) -> bool {
    let ego = world.ego();
    let left_m = lanelet.center.length() - lanelet.center.project(Point::new(ego.x_m, ego.y_m)).s_m;
    let stop_m = ego.speed_mps * ego.speed_mps / (2.0 * STOP_MPS2);
    !ends_beside_others(&world.scenario().roads, lanelet) || left_m > stop_m + PULL_IN_M
}

/// The side on which the route goes on, if it does not go on in this lane.
fn route_side(roads: &RoadNetwork, task: &Task, seen: &Surroundings) -> Option<Side> {
    let place = task.route.iter().position(|id| *id == seen.lanelet);
    let sought: Vec<ElementId> = match place {
        // On the route: is the next one a successor, or beside?
        Some(i) => {
            let next = *task.route.get(i + 1)?;
            if roads.lanelet(seen.lanelet)?.successors.contains(&next) {
                return None;
            }
            vec![next]
        }
        None => task.route.clone(),
    };
    [Side::Left, Side::Right].into_iter().find(|side| {
        let mut at = seen.lanelet;
        (0..8).any(|_| match neighbour(roads, at, *side) {
            Some(beside) => {
                at = beside.id;
                sought.contains(&at)
            }
            None => false,
        })
    })
}

/// A lane that ends within 100 m is left to the side on which there is one that goes on.
fn lane_ends(roads: &RoadNetwork, seen: &Surroundings) -> Option<Side> {
    let (last, _) = seen.path.lanelets.last()?;
    let left_m = seen.path.line.length() - seen.s_m;
    if left_m > 100.0 || !roads.lanelet(*last)?.successors.is_empty() {
        return None;
    }
    [Side::Left, Side::Right].into_iter().find(|side| {
        lane_beside(roads, seen.lanelet, *side).is_some_and(|lanelet| {
            lane_path(roads, lanelet.id, 0.0, &[], [0.0, 400.0])
                .is_some_and(|path| path.line.length() > left_m + 120.0)
        })
    })
}

fn allowed_mps(world: &World, path: &LanePath, s_m: f64) -> f64 {
    let roads = &world.scenario().roads;
    path.lanelet_at(s_m + 1.0)
        .and_then(|(id, _)| roads.lanelet(id)?.speed_limit_mps)
        .unwrap_or(LIMIT_DEFAULT_MPS)
}

/// Speed, place and stops that follow from rules and words.
fn request(world: &World, task: &Task, seen: &Surroundings, lane: &Choice) -> Request {
    let ego = world.ego();
    let line = &lane.path.line;
    let s_m = line.project(Point::new(ego.x_m, ego.y_m)).s_m;
    let limit = allowed_mps(world, &lane.path, s_m);
    let desired_mps = match task.instruction {
        Instruction::SetSpeed { kmh } => f64::from(kmh) / 3.6,
        // Slower than the traffic, too, and than at the start, where that was slow already.
        Instruction::SlowDown => {
            let traffic_mps = seen.lead.map_or(limit, |lead| lead.speed_mps.max(2.0));
            let first_mps = world.scenario().problem.initial.speed_mps;
            (0.5 * limit).min(0.75 * traffic_mps).min((SLOWER_PART * first_mps).max(CREEP_MPS))
        }
        Instruction::SpeedUp => 1.02 * limit,
        Instruction::PullOver => (0.6 * limit).min(12.0),
        _ => USUAL_PART * limit,
    };
    // Beside the same vehicles, at their speed, no gap would ever come; who is faster will be gone.
    let abreast = lane.waits_for.iter().flat_map(|beside| beside.in_the_way(ego.speed_mps));
    let abreast_mps = abreast.map(|neighbour| neighbour.speed_mps).filter(|mps| *mps < ego.speed_mps + 1.0);
    let desired_mps = abreast_mps.map(|mps| (mps - GAP_MPS).max(CREEP_MPS)).fold(desired_mps, f64::min);
    let brake_m = ego.speed_mps * ego.speed_mps / (2.0 * STOP_MPS2);
    let asked_stop = match task.instruction {
        Instruction::Stop => Some(s_m + 0.5 * vehicle::LENGTH_M + brake_m),
        // Beside the kerb first, then to a stop.
        Instruction::PullOver if lane.to_side.is_none() && lane.offset_m < 0.0 => {
            let aside_m = (seen.offset_m - lane.offset_m).abs();
            let aside_way_m = if aside_m > 0.3 { ASIDE_WAY_M + ASIDE_WAY_PART * aside_m } else { 0.0 };
            Some(s_m + 0.5 * vehicle::LENGTH_M + brake_m.max(aside_way_m))
        }
        _ => None,
    };
    let stops = [asked_stop, light_stop(world, seen, s_m, lane), end_stop(world, lane)];
    Request {
        desired_mps: desired_mps.min(limit * 1.02),
        limit_mps: limit,
        offset_m: lane.offset_m,
        stop_m: stops.into_iter().flatten().min_by(f64::total_cmp),
        headway_s: match task.instruction {
            Instruction::ReachGoal => GOAL_HEADWAY_S,
            Instruction::SpeedUp => FAST_HEADWAY_S,
            _ => HEADWAY_S,
        },
    }
}

/// Whether a motion passes a line where the light says to stop.
fn runs_a_light(world: &World, task: &Task, motion: &Trajectory) -> bool {
    let (Some(seen), Some(last)) = (surroundings(world, &task.route), motion.points.last()) else {
        return false;
    };
    let lane = Choice { path: seen.path.clone(), offset_m: 0.0, to_side: None, waits_for: None };
    let end_m = seen.path.line.project(Point::new(last.x_m, last.y_m)).s_m;
    light_stop(world, &seen, seen.s_m, &lane)
        .is_some_and(|stop_m| end_m + 0.5 * vehicle::LENGTH_M > stop_m + 1.0)
}

/// Where to stop for a light.
fn light_stop(world: &World, seen: &Surroundings, s_m: f64, lane: &Choice) -> Option<f64> {
    let (color, gap_m) = seen.light?;
    let v = world.ego().speed_mps;
    let needed = v * v / (2.0 * gap_m.max(0.1));
    let stops = match color {
        LightColor::Red | LightColor::RedYellow => gap_m > -1.0 && (needed < 7.0 || v < 3.0),
        LightColor::Yellow => gap_m > 0.0 && needed < STOP_MAX_MPS2,
        LightColor::Green | LightColor::Inactive => false,
    };
    (stops && lane.to_side.is_none()).then_some(s_m + 0.5 * vehicle::LENGTH_M + gap_m - 0.8)
}

/// A lane that ends while one beside it goes on is not driven over its end. Where all lanes end the world does, which
/// nobody on the road knows.
fn end_stop(world: &World, lane: &Choice) -> Option<f64> {
    let roads = &world.scenario().roads;
    let (last, _) = lane.path.lanelets.last()?;
    let alone = roads.lanelet(*last).is_some_and(|last| ends_beside_others(roads, last));
    alone.then_some(lane.path.line.length() - 3.0)
}

/// Who may be in the way, as stations along and offsets across the lane at each foreseen moment; people on foot last.
fn obstacles(world: &World, lane: &Choice) -> Vec<Obstacle> {
    let ego = world.ego();
    let at = Point::new(ego.x_m, ego.y_m);
    let forecasts: Vec<Forecast> = world.traffic().predict(world.scenario(), ego, None, [PLAN_S, FORESEEN_S]);
    let line = &lane.path.line;
    let near = forecasts.iter().filter(|forecast| {
        let now = forecast.states.iter().flatten().next();
        now.is_some_and(|state| Point::new(state.x_m, state.y_m).distance(at) < SIGHT_M)
    });
    let mut all: Vec<Obstacle> =
        near.filter_map(|forecast| Obstacle::new(line, &forecast.states, FORESEEN_S)).collect();
    all.sort_by_key(Obstacle::is_on_foot);
    all
}

/// Where to wait for someone who crosses first: the start of the next part of the lane that others cross, if driving on
/// would meet somebody there.
fn crossing_stop(
    world: &World,
    seen: &Surroundings,
    lane: &Choice,
    go: &Trajectory,
    others: &[Obstacle],
) -> Option<f64> {
    let roads = &world.scenario().roads;
    let ego = world.ego();
    let line = &lane.path.line;
    let s_m = line.project(Point::new(ego.x_m, ego.y_m)).s_m;
    let front_m = s_m + 0.5 * vehicle::LENGTH_M;
    let entry = lane.path.lanelets.iter().find(|(id, start_m)| {
        let crossed = roads.lanelet(*id).is_some_and(|lanelet| lanelet.kind == LaneletKind::Intersection);
        crossed && *start_m > front_m - 1.0 && *start_m < front_m + 60.0
    });
    let (id, start_m) = entry?;
    if goes_first(roads, seen, *id) {
        return None;
    }
    let stop_m = stop_before(roads, lane, *start_m);
    let needed = ego.speed_mps * ego.speed_mps / (2.0 * (stop_m - front_m).max(0.1));
    if needed > STOP_MAX_MPS2 && ego.speed_mps > 2.0 {
        return None;
    }
    let meets = others.iter().any(|other| other.meets(line, go, *start_m, CROSSING_MARGIN_S));
    meets.then_some(stop_m)
}

/// Where to wait for people on foot: before the first place where driving `on` would meet one.
fn people_stop(lane: &Choice, on: &Trajectory, people: &[Obstacle]) -> Option<f64> {
    let places = people.iter().filter_map(|person| person.comes_upon(&lane.path.line, on, PERSON_MARGINS));
    places.min_by(f64::total_cmp).map(|place_m| place_m - PERSON_M)
}

/// The stop line before a station of the lane, or 1.5 m before it.
fn stop_before(roads: &RoadNetwork, lane: &Choice, start_m: f64) -> f64 {
    let before = lane.path.lanelets.iter().rev().find(|(_, s)| *s < start_m - 0.5);
    let line = before.and_then(|(id, _)| roads.lanelet(*id)?.stop_line);
    let stop_m = line.map(|line| lane.path.line.project(line.left.lerp(line.right, 0.5)).s_m - 0.5);
    stop_m.filter(|stop_m| *stop_m < start_m).unwrap_or(start_m - 1.5)
}

/// Whether others have to give way on this part of the lane: a green light or a priority sign, and no left turn.
fn goes_first(roads: &RoadNetwork, seen: &Surroundings, inside: ElementId) -> bool {
    let Some(lanelet) = roads.lanelet(inside) else { return true };
    let bend =
        wrap_angle(lanelet.center.heading_at(lanelet.center.length()) - lanelet.center.heading_at(0.0));
    let green = seen.light.is_some_and(|(color, _)| color == LightColor::Green);
    let signs = lanelet.predecessors.iter().filter_map(|id| roads.lanelet(*id)).flat_map(|l| &l.signs);
    let priority = signs
        .filter_map(|id| roads.signs.iter().find(|sign| sign.id == *id))
        .any(|sign| sign.kind == SignKind::Priority);
    (green || priority) && bend < 0.6
}
