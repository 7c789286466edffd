//! Episodes from a seed: a road, traffic, a start and a task that can be carried out there.
//!
//! One seed gives the same world, bit for bit, for all instructions of one [`Family`]: what differs is the task. So runs
//! under opposite instructions can be compared.

use std::sync::Arc;

use ergon_types::{ActorKind, ActorState, LightColor, VehicleState};

use crate::Rng;
use crate::generate::{self, Layout, RoadKind, RoadOptions};
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, Lanelet, LaneletKind, RoadNetwork};
use crate::route::{LaneGraph, Route, RouteGoal};
use crate::scenario::{Goal, PlanningProblem, Scenario};
use crate::task::{Family, Instruction, Language, Side, Task, Turn, lane_beside, neighbour, parse, phrase};
use crate::traffic::{Traffic, TrafficOptions};
use crate::vehicle;
use crate::world::World;

/// What is not left to the seed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpisodeOptions {
    /// The kind of road. Ignored where the instruction cannot be carried out on it.
    pub kind: Option<RoadKind>,
    /// What is asked for; by default anything that suits the road.
    pub instruction: Option<Instruction>,
    /// The words; by default one of the usual phrases. With words and no instruction, the words are parsed.
    pub text: Option<String>,
    /// The language of the words if they are not given; by default either.
    pub language: Option<Language>,
    /// Density of traffic against the usual: 0 for a road without any but the `lead`, 1 by default.
    pub density: Option<f64>,
    /// Whether sudden events are left out: hard braking, cutting in, people stepping onto the road.
    pub calm: bool,
    /// The kind of the vehicle ahead, which drives a little slower than the ego vehicle, whatever it is; by default what the
    /// instruction names, a car, a truck or no one. An instruction for lanes that names one comes first.
    pub lead: Option<ActorKind>,
    /// How many times as many trucks, buses, motorcycles and cyclists there are as usual; 1 by default.
    pub others: Option<f64>,
    /// Whether streets are as [`RoadOptions::plain`] says.
    pub plain: bool,
}

/// A world at its start and what is to be done in it.
#[derive(Clone)]
pub struct Episode {
    /// The world at time 0.
    pub world: World,
    /// The task.
    pub task: Task,
    /// The kind of its road.
    pub kind: RoadKind,
}

/// The start of the ego vehicle and what the road offers there.
struct Start {
    state: VehicleState,
    lanelet: ElementId,
    /// For a junction: the lanelets inside it that can be taken, by turn.
    ways: Vec<(Turn, ElementId)>,
    /// How far the road goes on.
    room_m: f64,
}

/// Time in which one is at a junction ahead, for a queue there to set off, and to get through.
const THERE_S: f64 = 6.0;
const QUEUE_S: f64 = 6.0;
const THROUGH_S: f64 = 12.0;
/// Time in which a gap comes for a change of lanes in dense traffic.
const GAP_S: f64 = 26.0;
/// Ramps within this way may have to be passed before one can pull over, at about this speed.
const RAMPS_AHEAD_M: f64 = 500.0;
const RAMP_MPS: f64 = 11.0;
/// No speed above this is drawn for the short ways into and out of a roundabout: its ring is driven at 20 to 30 km/h.
const ROUNDABOUT_KMH: f64 = 30.0;

/// Makes an episode.
pub fn generate(seed: u64, options: &EpisodeOptions) -> Episode {
    let mut words = Rng::new(seed).split(1);
    let mut text = options.text.clone();
    let mut asked = options.instruction;
    let mut language = options.language;
    if let (Some(given), None) = (&text, asked) {
        let (instruction, spoken) = parse(given).unwrap_or_default();
        (asked, language) = (Some(instruction), Some(spoken));
    }
    let language = language.unwrap_or_else(|| Language::either(&mut words));
    let (kind, family) = place(seed, options.kind, asked);
    let (layout, start, traffic) = build(seed, kind, family, asked, options);
    let gap_m = |actor: &ActorState| (actor.x_m - start.state.x_m).hypot(actor.y_m - start.state.y_m);
    let ahead = traffic.actors().iter().filter(|actor| is_lead(actor, &start.state));
    let lead = ahead.min_by(|a, b| gap_m(a).total_cmp(&gap_m(b))).map(|actor| actor.kind);
    let instruction = match asked {
        Some(asked) => asked,
        None => choose(family, &layout, &start, lead, &mut words),
    };
    let text = text.take().unwrap_or_else(|| phrase(instruction, language, &mut words));
    let route = route(&layout, &start, instruction, seed);
    let mut timing = Rng::new(seed).split(2);
    let duration_s = duration(&start, family, &mut timing).max(needed_s(&layout, &start, instruction));
    let task = Task { instruction, text, language, route, duration_s };
    let world = world(seed, kind, layout, start.state, traffic);
    Episode { world, task, kind }
}

/// The tasks to turn each way that the junction ahead of the start of [`generate()`]'s episode offers, where that is an
/// episode before a junction; none elsewhere.
pub fn turns(seed: u64, options: &EpisodeOptions) -> Vec<Task> {
    let (kind, family) = place(seed, options.kind, options.instruction);
    if family != Family::Junction {
        return Vec::new();
    }
    let (layout, start, _) = build(seed, kind, family, None, options);
    let mut rng = Rng::new(seed).split(5);
    let duration_s = duration(&start, family, &mut Rng::new(seed).split(2));
    let task = |turn| {
        let (instruction, language) =
            (Instruction::Turn(turn), options.language.unwrap_or(Language::either(&mut rng)));
        let text = phrase(instruction, language, &mut rng);
        let duration_s = duration_s.max(needed_s(&layout, &start, instruction));
        Task { instruction, text, language, route: route(&layout, &start, instruction, seed), duration_s }
    };
    start.ways.iter().map(|way| way.0).map(task).collect()
}

/// Kind of road and of place on it.
fn place(seed: u64, kind: Option<RoadKind>, asked: Option<Instruction>) -> (RoadKind, Family) {
    let mut rng = Rng::new(seed).split(3);
    let any = RoadKind::ALL[rng.below(RoadKind::ALL.len())];
    let multi = |kind: RoadKind| matches!(kind, RoadKind::Highway | RoadKind::DenseHighway);
    let special = rng.chance(0.6);
    match asked.map(Instruction::family) {
        Some(Family::Junction) => (RoadKind::Urban, Family::Junction),
        Some(Family::Lanes) => {
            let sideways = matches!(asked, Some(Instruction::ChangeLane(_)));
            match kind {
                Some(kind) if multi(kind) => (kind, Family::Lanes),
                Some(kind) if !sideways => (kind, Family::Any),
                _ => (RoadKind::Highway, Family::Lanes),
            }
        }
        Some(Family::Any) => (kind.unwrap_or(any), Family::Any),
        None => match kind.unwrap_or(any) {
            kind if multi(kind) && special => (kind, Family::Lanes),
            RoadKind::Urban if special => (RoadKind::Urban, Family::Junction),
            kind => (kind, Family::Any),
        },
    }
}

/// Road, start and traffic; nothing here depends on the instruction but the kind of the vehicle ahead.
fn build(
    seed: u64,
    kind: RoadKind,
    family: Family,
    asked: Option<Instruction>,
    options: &EpisodeOptions,
) -> (Layout, Start, Traffic) {
    let part = RoadKind::ALL.iter().position(|known| *known == kind).unwrap_or(0) as u64 * 3 + family as u64;
    let mut rng = Rng::new(seed).split(16 + part);
    let mut road = RoadOptions { plain: options.plain, ..RoadOptions::default() };
    match family {
        Family::Lanes => road.lanes = Some(if kind == RoadKind::Highway { 3 + rng.below(2) } else { 5 }),
        Family::Junction => road.lanes = Some(1),
        Family::Any => {}
    }
    if kind == RoadKind::Highway {
        road.length_m = Some(rng.range(1000.0, 1600.0));
    }
    let layout = generate::roads(kind, &mut rng, &road);
    let start = start(&layout, family, &mut rng);
    let calm = options.calm || rng.chance(0.6);
    let random_lead = if rng.chance(0.5) { ActorKind::Truck } else { ActorKind::Car };
    let lead = match asked {
        Some(Instruction::Follow(kind)) => Some(kind),
        Some(_) if family == Family::Lanes => options.lead.or(Some(ActorKind::Truck)),
        None if family == Family::Lanes => options.lead.or(Some(random_lead)),
        _ => options.lead,
    };
    let density = options.density.unwrap_or(1.0);
    let choices = TrafficOptions { density, lead, calm, others: options.others.unwrap_or(1.0) };
    let traffic = Traffic::reactive(&layout, &start.state, &choices, rng.split(7));
    (layout, start, traffic)
}

/// The world of a layout at time 0.
fn world(seed: u64, kind: RoadKind, layout: Layout, initial: VehicleState, traffic: Traffic) -> World {
    let problem = PlanningProblem { id: 1, initial, initial_yaw_rate_radps: 0.0, goals: Vec::new() };
    let scenario = Scenario {
        id: format!("{}-{seed}", kind.name()),
        author: "ergon".to_owned(),
        source: "generated".to_owned(),
        step_s: 0.1,
        roads: layout.roads,
        obstacles: traffic.parked().to_vec(),
        recorded: Vec::new(),
        problem,
    };
    World::new(Arc::new(scenario), traffic)
}

fn start(layout: &Layout, family: Family, rng: &mut Rng) -> Start {
    match family {
        Family::Junction => junction_start(layout, rng).unwrap_or_else(|| road_start(layout, family, rng)),
        _ => road_start(layout, family, rng),
    }
}

/// Length of the longest way on from the start of a lanelet, up to 2 km.
fn room_from(layout: &Layout, lanelet: &Lanelet, depth: usize) -> f64 {
    let next = lanelet.successors.iter().filter_map(|id| layout.roads.lanelet(*id));
    let on = if depth == 0 { 0.0 } else { next.map(|l| room_from(layout, l, depth - 1)).fold(0.0, f64::max) };
    lanelet.center.length() + on
}

/// A start in a lane with road ahead and some behind.
fn road_start(layout: &Layout, family: Family, rng: &mut Rng) -> Start {
    let roads = &layout.roads;
    let entries: Vec<&Lanelet> = layout.entries.iter().filter_map(|id| roads.lanelet(*id)).collect();
    let middle = |lanelet: &&&Lanelet| {
        let has = |side| lane_beside(roads, lanelet.id, side).is_some();
        family != Family::Lanes || has(Side::Left) && has(Side::Right)
    };
    let fitting: Vec<&&Lanelet> = entries.iter().filter(middle).collect();
    let mut lanelet = match fitting.len() {
        0 => entries[rng.below(entries.len())],
        n => fitting[rng.below(n)],
    };
    let whole_m = room_from(layout, lanelet, 12);
    let mut s_m = (whole_m * 0.15).min(150.0) * rng.range(0.5, 1.0);
    while s_m > lanelet.center.length() {
        let next = lanelet.successors.iter().find_map(|id| roads.lanelet(*id));
        let Some(next) = next else { break };
        s_m -= lanelet.center.length();
        lanelet = next;
    }
    let s_m = s_m.clamp(3.0, (lanelet.center.length() - 1.0).max(3.0));
    let [low, high] = layout.usual_speed_mps;
    let speed_mps = rng.range(low, high).min(lanelet.speed_limit_mps.unwrap_or(high));
    // Slow enough for what comes: the curvature of the next 40 m.
    let curvature =
        (0..8).map(|i| lanelet.center.curvature_at(s_m + 5.0 * f64::from(i)).abs()).fold(1e-6, f64::max);
    let state = state_at(lanelet, s_m, speed_mps.min((2.0 / curvature).sqrt()), rng);
    Start { state, lanelet: lanelet.id, ways: Vec::new(), room_m: room_from(layout, lanelet, 12) - s_m }
}

fn state_at(lanelet: &Lanelet, s_m: f64, speed_mps: f64, rng: &mut Rng) -> VehicleState {
    let heading_rad = lanelet.center.heading_at(s_m) + rng.range(-0.01, 0.01);
    let at = lanelet.center.at(s_m) + Point::polar(rng.range(-0.25, 0.25), heading_rad).left();
    let curvature = lanelet.center.curvature_at(s_m);
    VehicleState {
        x_m: at.x,
        y_m: at.y,
        heading_rad: wrap_angle(heading_rad),
        speed_mps,
        steering_angle_rad: (curvature * vehicle::WHEELBASE_M).atan(),
        ..VehicleState::default()
    }
}

/// Turn of a lanelet inside a junction.
fn turn_of(lanelet: &Lanelet) -> Turn {
    let end = lanelet.center.heading_at(lanelet.center.length());
    match wrap_angle(end - lanelet.center.heading_at(0.0)) {
        bend if bend > 0.6 => Turn::Left,
        bend if bend < -0.6 => Turn::Right,
        _ => Turn::Straight,
    }
}

/// A start 40 to 90 m before the junction that offers most turns from one lane.
fn junction_start(layout: &Layout, rng: &mut Rng) -> Option<Start> {
    let roads = &layout.roads;
    let mut options: Vec<(Vec<(Turn, ElementId)>, &Lanelet)> = Vec::new();
    for junction in &layout.junctions {
        for lanelet in junction.incoming.iter().filter_map(|id| roads.lanelet(*id)) {
            let inside = lanelet.successors.iter().filter(|id| junction.inside.contains(id));
            let ways: Vec<_> = inside.filter_map(|id| Some((turn_of(roads.lanelet(*id)?), *id))).collect();
            if lanelet.center.length() > 30.0 {
                options.push((ways, lanelet));
            }
        }
    }
    let most = options.iter().map(|(ways, _)| ways.len()).max()?;
    options.retain(|(ways, _)| ways.len() == most);
    let (ways, lanelet) = options.swap_remove(rng.below(options.len()));
    let length_m = lanelet.center.length();
    let distance_m = rng.range(40.0, 90.0).min(length_m - 8.0);
    let [low, high] = layout.usual_speed_mps;
    let speed_mps = rng.range(low, high).min((2.0 * 1.5 * distance_m).sqrt());
    let state = state_at(lanelet, length_m - distance_m, speed_mps, rng);
    Some(Start { state, lanelet: lanelet.id, ways, room_m: distance_m + 100.0 })
}

/// Whether an actor is in front of the ego vehicle, near and in about the same lane.
fn is_lead(actor: &ActorState, ego: &VehicleState) -> bool {
    let at = Point::new(actor.x_m, actor.y_m).to_frame(Point::new(ego.x_m, ego.y_m), ego.heading_rad);
    (5.0..70.0).contains(&at.x) && at.y.abs() < 1.5 && actor.speed_mps > 1.0
}

/// An instruction that suits the place.
fn choose(
    family: Family,
    layout: &Layout,
    start: &Start,
    lead: Option<ActorKind>,
    rng: &mut Rng,
) -> Instruction {
    let beside = |side| lane_beside(&layout.roads, start.lanelet, side).is_some();
    let mut most_kmh = layout.usual_speed_mps[1] * 3.6;
    if layout.kind == RoadKind::Roundabout {
        most_kmh = most_kmh.min(ROUNDABOUT_KMH);
    }
    let speed = |rng: &mut Rng| Instruction::SetSpeed {
        kmh: (rng.range(0.4, 1.0) * most_kmh / 10.0).round() as u32 * 10,
    };
    let general = |rng: &mut Rng| match rng.below(8) {
        0 => Instruction::Stop,
        1 => Instruction::PullOver,
        2 | 3 => speed(rng),
        4 => Instruction::SlowDown,
        5 => Instruction::SpeedUp,
        6 => Instruction::KeepLane,
        _ => Instruction::FollowRoute,
    };
    match family {
        Family::Junction if !start.ways.is_empty() => {
            Instruction::Turn(start.ways[rng.below(start.ways.len())].0)
        }
        Family::Lanes => match rng.below(10) {
            0..=2 if beside(Side::Left) => Instruction::ChangeLane(Side::Left),
            0..=5 if beside(Side::Right) => Instruction::ChangeLane(Side::Right),
            6 if lead == Some(ActorKind::Truck) => Instruction::Follow(ActorKind::Truck),
            6 if lead == Some(ActorKind::Car) => Instruction::Follow(ActorKind::Car),
            _ => general(rng),
        },
        _ if layout.kind == RoadKind::Roundabout || layout.kind == RoadKind::Urban => match rng.below(5) {
            0 => general(rng),
            _ => Instruction::FollowRoute,
        },
        _ => match rng.below(2) {
            0 => general(rng),
            _ => Instruction::FollowRoute,
        },
    }
}

/// Lanelets the intended way.
fn route(layout: &Layout, start: &Start, instruction: Instruction, seed: u64) -> Vec<ElementId> {
    let mut rng = Rng::new(seed).split(4);
    let graph = LaneGraph::new(&layout.roads);
    let way = match instruction {
        Instruction::Turn(turn) => start.ways.iter().find(|way| way.0 == turn).or(start.ways.first()),
        _ if !start.ways.is_empty() => start.ways.get(rng.below(start.ways.len())),
        _ => None,
    };
    if let Some((_, inside)) = way {
        let mut ids = vec![start.lanelet, *inside];
        while let Some(lanelet) =
            ids.last().and_then(|id| layout.roads.lanelet(*id)).filter(|_| ids.len() < 12)
        {
            let straight = lanelet.successors.iter().filter_map(|id| layout.roads.lanelet(*id));
            let bend = |l: &&Lanelet| u8::from(turn_of(l) != Turn::Straight);
            let Some(next) = straight.min_by_key(bend) else { break };
            ids.push(next.id);
        }
        return ids;
    }
    let at = Point::new(start.state.x_m, start.state.y_m);
    let find = |exit: &ElementId| {
        let goal = RouteGoal::lanelet(&layout.roads, *exit);
        Route::find(&layout.roads, &graph, at, start.state.heading_rad, &goal)
    };
    let routes: Vec<Route> = layout.exits.iter().filter_map(find).collect();
    let changes =
        |route: &Route| route.legs.iter().filter(|leg| leg.entry != crate::route::Entry::Ahead).count();
    // On roads with lanes, straight on; elsewhere any of the ways that need fewest lane changes.
    let fewest = routes.iter().map(changes).min().unwrap_or(0);
    let easy: Vec<&Route> = routes.iter().filter(|route| changes(route) <= fewest).collect();
    if easy.is_empty() {
        return vec![start.lanelet];
    }
    easy[rng.below(easy.len())].lanelets().collect()
}

/// Time in which the road comes to an end.
fn road_s(start: &Start) -> f64 {
    start.room_m / (start.state.speed_mps * 1.15).max(8.0)
}

/// How long the episode lasts: 15 to 40 s, and not longer than the road; more only if [`needed_s`] says so.
fn duration(start: &Start, family: Family, rng: &mut Rng) -> f64 {
    let wanted_s = match family {
        Family::Lanes => rng.range(15.0, 22.0),
        Family::Junction => rng.range(25.0, 40.0),
        Family::Any => rng.range(18.0, 35.0),
    };
    let limit_s = if family == Family::Junction { 40.0 } else { road_s(start).max(8.0) };
    (wanted_s.min(limit_s) * 10.0).floor() / 10.0
}

/// How long it takes at least to carry an instruction out: to stop, braking gently, and at the edge only after the lanes on the
/// way there (which uses less road than driving on); to get through a junction, when the light has been green for a while.
fn needed_s(layout: &Layout, start: &Start, instruction: Instruction) -> f64 {
    let stop_s = start.state.speed_mps / 2.0 + 4.0;
    let needed_s = match instruction {
        Instruction::Stop => stop_s,
        Instruction::PullOver => {
            let lanes = std::iter::successors(Some(start.lanelet), |lanelet| {
                neighbour(&layout.roads, *lanelet, Side::Right).map(|beside| beside.id)
            });
            stop_s + 6.0 * lanes.take(8).count() as f64 + ramps_m(&layout.roads, start) / RAMP_MPS
        }
        Instruction::Turn(_) | Instruction::FollowRoute => {
            green_s(layout, start).map_or(0.0, |green_s| green_s + THROUGH_S)
        }
        // Gaps come and go: as long as there is road.
        Instruction::ChangeLane(_) => road_s(start).min(GAP_S),
        _ => 0.0,
    };
    (needed_s * 10.0).ceil() / 10.0
}

/// How much of the right lane ahead has a ramp beside it, where nobody stops.
fn ramps_m(roads: &RoadNetwork, start: &Start) -> f64 {
    let right = |id| lane_beside(roads, id, Side::Right);
    let is_ramp = |lanelet: &Lanelet| lanelet.kind == LaneletKind::Ramp;
    let mut lane = start.lanelet;
    for _ in 0..8 {
        lane = right(lane).filter(|beside| !is_ramp(beside)).map_or(lane, |beside| beside.id);
    }
    let at = Point::new(start.state.x_m, start.state.y_m);
    let mut way_m = roads.lanelet(lane).map_or(0.0, |lanelet| -lanelet.center.project(at).s_m);
    let mut ramps_m = 0.0;
    while let Some(here) = roads.lanelet(lane).filter(|_| way_m < RAMPS_AHEAD_M) {
        let length_m = here.center.length();
        ramps_m += if right(lane).is_some_and(is_ramp) { length_m + way_m.min(0.0) } else { 0.0 };
        way_m += length_m.max(1.0);
        let Some(next) = here.successors.first() else { break };
        lane = *next;
    }
    ramps_m
}

/// When the light at the end of the start's lanelet has been green for some seconds, after one can be there; `None` without one.
fn green_s(layout: &Layout, start: &Start) -> Option<f64> {
    let id = *layout.roads.lanelet(start.lanelet)?.lights.first()?;
    let light = layout.roads.lights.iter().find(|light| light.id == id)?;
    let mut green_for_s = 0.0;
    let mut times = (0..120).map(f64::from).skip_while(|t_s| *t_s < THERE_S);
    times.find(|&t_s| {
        green_for_s = if light.color_at(t_s) == LightColor::Green { green_for_s + 1.0 } else { 0.0 };
        green_for_s > QUEUE_S
    })
}

/// A recorded scenario as an episode: traffic follows the recording, and the task is the scenario's own, to reach its goal.
pub fn recorded(scenario: Arc<Scenario>) -> Episode {
    let problem = &scenario.problem;
    let last = problem.goals.iter().map(|goal| goal.steps[1]).max().unwrap_or(0);
    let at = Point::new(problem.initial.x_m, problem.initial.y_m);
    let way = |goal| Route::to_goal(&scenario.roads, at, problem.initial.heading_rad, goal);
    let task = Task {
        instruction: Instruction::ReachGoal,
        text: "reach the goal in time".to_owned(),
        language: Language::English,
        route: problem.goals.iter().find_map(way).map(|r| r.lanelets().collect()).unwrap_or_default(),
        duration_s: last as f64 * scenario.step_s,
    };
    let traffic = Traffic::recorded(&scenario);
    Episode { world: World::new(scenario, traffic), task, kind: RoadKind::Highway }
}

/// The same episode with a goal as CommonRoad's problems have it: the task becomes to be there in time. Only the start
/// of the world is used.
pub fn with_goal(episode: &Episode, goal: Goal, rng: &mut Rng) -> Episode {
    let scenario = episode.world.scenario();
    let mut changed = Scenario::clone(scenario);
    let last = goal.steps[1];
    changed.problem.goals = vec![goal];
    let duration_s = (last as f64 * scenario.step_s).min(episode.task.duration_s + 1.0);
    let language = episode.task.language;
    let instruction = Instruction::ReachGoal;
    let task = Task {
        instruction,
        text: phrase(instruction, language, rng),
        language,
        route: episode.task.route.clone(),
        duration_s,
    };
    let world = World::new(Arc::new(changed), episode.world.traffic().clone());
    Episode { world, task, kind: episode.kind }
}
