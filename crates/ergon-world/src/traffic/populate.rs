//! Who is there at the start, who comes later and who goes, and what happens suddenly.

use ergon_types::{ActorKind, ActorState, VehicleState};

use super::TrafficOptions;
use super::agent::{Agent, Sudden};
use super::net::{Lane, Net};
use super::occupancy::Occupancy;
use super::walkers::Walker;
use crate::Rng;
use crate::generate::{Layout, RoadKind};
use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::LaneletKind;

/// Traffic is kept up within this distance of the ego vehicle.
const AROUND_M: f64 = 260.0;
/// Those farther away go.
const GONE_M: f64 = 340.0;
/// Nobody appears nearer than this.
const UNSEEN_M: f64 = 130.0;
/// No cyclist ahead is faster than this, and who comes from behind has the way to brake so softly.
const CYCLIST_MPS: f64 = 6.0;
const SOFT_MPS2: f64 = 1.5;
/// Most drivers at a time.
const AGENTS_MAX: usize = 60;

/// Everyone at the start.
pub(super) struct Start {
    pub(super) agents: Vec<Agent>,
    pub(super) walkers: Vec<Walker>,
    pub(super) parked: Vec<ActorState>,
    pub(super) supply: Supply,
}

/// What is to come.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    kind: RoadKind,
    /// Drivers to keep up.
    wanted: usize,
    entries: Vec<usize>,
    usual_mps: [f64; 2],
    /// See [`TrafficOptions::others`].
    others: f64,
    next_id: u32,
    rng: Rng,
    events: Vec<Event>,
}

/// Something sudden that happens once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    /// The driver ahead of the ego vehicle brakes hard.
    Brake { from_s: f64 },
    /// A driver beside the ego vehicle brakes its way in ahead of it.
    CutIn { from_s: f64 },
    /// Someone steps onto the road ahead of the ego vehicle.
    Jaywalk { from_s: f64 },
}

impl Supply {
    fn id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn agent(&mut self, net: &Net, lane: usize, s_m: f64) -> Agent {
        let kind = self.draw_kind(&net.lanes[lane]);
        let id = self.id();
        let mut agent = Agent::new(id, kind, net, (lane, s_m), self.rng.split(u64::from(id)));
        self.fit_town(&mut agent);
        let allowed_mps = net.lanes[lane].allowed_mps(s_m) * agent.haste;
        let [low, high] = self.usual_mps;
        agent.idm.desired_speed_mps = agent.idm.desired_speed_mps.min(high * 1.15);
        let usual_mps = self.rng.range(low, high);
        agent.speed_mps = usual_mps.min(allowed_mps).min(agent.idm.desired_speed_mps);
        agent
    }

    /// Articulated lorries do not fit round the corners of a town.
    fn fit_town(&mut self, agent: &mut Agent) {
        let town = matches!(self.kind, RoadKind::Urban | RoadKind::Roundabout);
        if town && agent.kind == ActorKind::Truck {
            agent.length_m = self.rng.range(6.5, 8.5);
        }
    }

    fn draw_kind(&mut self, lane: &Lane) -> ActorKind {
        if lane.kind == LaneletKind::BicycleLane {
            return ActorKind::Bicycle;
        }
        // Shares of truck, bus, motorcycle and cyclist; the rest are cars.
        let [truck, bus, motorcycle, bicycle] = match self.kind {
            RoadKind::Highway => [0.18, 0.03, 0.04, 0.0],
            RoadKind::DenseHighway => [0.07, 0.01, 0.04, 0.0],
            RoadKind::Rural => [0.12, 0.03, 0.06, 0.08],
            RoadKind::Urban => [0.06, 0.05, 0.06, 0.1],
            RoadKind::Roundabout => [0.06, 0.04, 0.06, 0.08],
        }
        .map(|share| share * self.others);
        // The fast lane is not for trucks.
        let slow = lane.right.is_none() || self.rng.chance(0.3);
        let mut draw = self.rng.unit();
        for (share, kind, possible) in [
            (truck, ActorKind::Truck, slow),
            (bus, ActorKind::Bus, slow),
            (motorcycle, ActorKind::Motorcycle, true),
            (bicycle, ActorKind::Bicycle, lane.right.is_none()),
        ] {
            if draw < share {
                return if possible { kind } else { ActorKind::Car };
            }
            draw -= share;
        }
        ActorKind::Car
    }
}

/// Mean free length between drivers of one lane.
fn spacing_m(kind: RoadKind) -> f64 {
    match kind {
        RoadKind::Highway => 55.0,
        RoadKind::DenseHighway => 24.0,
        RoadKind::Rural => 90.0,
        RoadKind::Urban => 45.0,
        RoadKind::Roundabout => 50.0,
    }
}

/// Fills the roads around the ego vehicle.
pub(super) fn start(
    net: &Net,
    layout: &Layout,
    ego: &VehicleState,
    options: &TrafficOptions,
    rng: &Rng,
) -> Start {
    let mut rng_spots = rng.split(1);
    let entries = layout.entries.iter().filter_map(|id| net.lane_of(*id)).collect();
    let mut supply = Supply {
        kind: layout.kind,
        wanted: 0,
        entries,
        usual_mps: layout.usual_speed_mps,
        others: options.others,
        next_id: 0,
        rng: rng.split(2),
        events: events(options, layout.kind, &mut rng.split(3)),
    };
    let mut agents: Vec<Agent> = Vec::new();
    let at = Point::new(ego.x_m, ego.y_m);
    if let Some(kind) = options.lead {
        agents.extend(lead(net, ego, kind, &mut supply));
    }
    if options.density > 0.0 {
        let spacing_m = spacing_m(layout.kind) / options.density;
        for lane in 0..net.lanes.len() {
            fill_lane(net, lane, spacing_m, ego, &mut supply, &mut rng_spots, &mut agents);
        }
    }
    if agents.len() > AGENTS_MAX {
        let distance = |agent: &Agent| at.distance(Point::new(agent.to.x_m, agent.to.y_m));
        agents.sort_by(|a, b| distance(a).total_cmp(&distance(b)));
        agents.truncate(AGENTS_MAX);
    }
    supply.wanted = agents.len();
    let mut parked = Vec::new();
    let mut rng_parked = rng.split(4);
    let share = rng_parked.range(0.3, 0.9) * options.density.min(1.0);
    for spot in &layout.parking {
        if rng_parked.chance(share) {
            parked.push(parked_car(supply.id(), spot.position, spot.heading_rad, &mut rng_parked));
        }
    }
    let walkers = walkers(net, at, options, &mut supply, &mut rng.split(5));
    Start { agents, walkers, parked, supply }
}

fn parked_car(id: u32, at: Point, heading_rad: f64, rng: &mut Rng) -> ActorState {
    ActorState {
        id,
        kind: ActorKind::Car,
        x_m: at.x,
        y_m: at.y,
        heading_rad: heading_rad + rng.range(-0.02, 0.02),
        speed_mps: 0.0,
        acceleration_mps2: 0.0,
        length_m: rng.range(3.9, 4.8),
        width_m: rng.range(1.7, 1.85),
    }
}

fn events(options: &TrafficOptions, kind: RoadKind, rng: &mut Rng) -> Vec<Event> {
    if options.calm || options.density <= 0.0 {
        return Vec::new();
    }
    let from_s = rng.range(3.0, 10.0);
    let town = matches!(kind, RoadKind::Urban | RoadKind::Roundabout);
    match (town, rng.below(3)) {
        (true, 0 | 1) => vec![Event::Jaywalk { from_s: from_s - 2.0 }],
        (false, 0 | 1) if kind != RoadKind::Rural => vec![Event::CutIn { from_s }],
        _ => vec![Event::Brake { from_s }],
    }
}

/// Whether a vehicle at a point leaves the ego vehicle room to react.
fn leaves_room(ego: &VehicleState, at: Point, half_length_m: f64) -> bool {
    let local = at.to_frame(Point::new(ego.x_m, ego.y_m), ego.heading_rad);
    let beside = local.y.abs() > 2.5;
    let ahead_m = if beside { 8.0 } else { 10.0 + 1.5 * ego.speed_mps };
    let behind_m = if beside { 8.0 } else { 8.0 + 1.2 * ego.speed_mps };
    local.y.abs() > 6.0 || local.x > ahead_m + half_length_m || local.x < -behind_m - half_length_m
}

/// Vehicles along a lane, where they fit between those that are there.
fn fill_lane(
    net: &Net,
    lane: usize,
    spacing_m: f64,
    ego: &VehicleState,
    supply: &mut Supply,
    rng: &mut Rng,
    agents: &mut Vec<Agent>,
) {
    let road = &net.lanes[lane];
    if road.is_junction || matches!(road.kind, LaneletKind::Shoulder | LaneletKind::Intersection) {
        return;
    }
    let at = Point::new(ego.x_m, ego.y_m);
    let mut s_m = rng.range(0.0, spacing_m);
    while s_m < road.length_m - 6.0 {
        let mut agent = supply.agent(net, lane, s_m);
        let half_m = 0.5 * agent.length_m;
        let here = Point::new(agent.to.x_m, agent.to.y_m);
        let near = here.distance(at) < AROUND_M;
        // A dead end is no place to start from.
        let fits = s_m > half_m + 1.0
            && s_m + half_m + 2.0 < road.length_m
            && !(road.dead_end && s_m > 0.4 * road.length_m);
        let gap_m = 6.0 + 1.1 * agent.speed_mps;
        // Neighbours in the same lane, across joints between lanelets as well.
        let clear = agents.iter().all(|other| {
            let local = Point::new(other.to.x_m, other.to.y_m).to_frame(here, agent.to.heading_rad);
            let aside = local.y.abs() > 2.4 && other.lane != lane;
            let turned =
                wrap_angle(other.to.heading_rad - agent.to.heading_rad).abs() > 2.0 && local.y.abs() > 2.0;
            aside || turned || local.x.abs() > gap_m + half_m + 0.5 * other.length_m
        });
        if near && fits && clear && leaves_room(ego, here, half_m) {
            brake_for_stop(net, &mut agent);
            agent.to = agent.state(net);
            agent.from = agent.to;
            agents.push(agent);
        }
        s_m += half_m * 2.0 + spacing_m * rng.range(0.4, 1.6);
    }
}

/// No one starts so fast that the next junction comes too soon.
fn brake_for_stop(net: &Net, agent: &mut Agent) {
    let next = agent.path(net).find(|(lane, _)| net.lanes[*lane].is_junction || net.lanes[*lane].dead_end);
    if let Some((lane, start_m)) = next {
        let end_m = if net.lanes[lane].dead_end { start_m + net.lanes[lane].length_m } else { start_m };
        let gap_m = (end_m - 0.5 * agent.length_m - 3.0).max(0.0);
        agent.speed_mps = agent.speed_mps.min((2.0 * 1.2 * gap_m).sqrt());
    }
}

/// A vehicle ahead of the ego vehicle in its lane, a little slower.
fn lead(net: &Net, ego: &VehicleState, kind: ActorKind, supply: &mut Supply) -> Option<Agent> {
    let at = Point::new(ego.x_m, ego.y_m);
    let lane = (0..net.lanes.len()).find(|i| {
        let road = &net.lanes[*i];
        let foot = road.center.project(at);
        road.is_near(at, 1.0)
            && foot.d_m.abs() < road.half_width_m
            && (0.0..=road.length_m).contains(&foot.s_m)
            && wrap_angle(foot.heading_rad - ego.heading_rad).abs() < 0.8
    })?;
    let mut s_m = net.lanes[lane].center.project(at).s_m + 12.0 + ego.speed_mps * supply.rng.range(1.2, 2.0);
    let mut speed_mps = ego.speed_mps * supply.rng.range(0.8, 0.95);
    if kind == ActorKind::Bicycle && speed_mps > CYCLIST_MPS {
        speed_mps = CYCLIST_MPS;
        s_m += (ego.speed_mps - speed_mps).powi(2) / (2.0 * SOFT_MPS2);
    }
    let mut lane = lane;
    while s_m > net.lanes[lane].length_m {
        s_m -= net.lanes[lane].length_m;
        lane = *net.lanes[lane].successors.first()?;
    }
    let id = supply.id();
    let mut agent = Agent::new(id, kind, net, (lane, s_m), supply.rng.split(u64::from(id)));
    supply.fit_town(&mut agent);
    agent.speed_mps = speed_mps;
    agent.idm.desired_speed_mps = agent.speed_mps.max(3.0) * 1.08;
    // It keeps its lane: it is the one that is followed or overtaken.
    agent.settled_until_s = f64::INFINITY;
    agent.s_m += 0.5 * agent.length_m;
    brake_for_stop(net, &mut agent);
    agent.to = agent.state(net);
    agent.from = agent.to;
    Some(agent)
}

fn walkers(
    net: &Net,
    at: Point,
    options: &TrafficOptions,
    supply: &mut Supply,
    rng: &mut Rng,
) -> Vec<Walker> {
    let mut found = Vec::new();
    for (number, walkway) in net.walkways.iter().enumerate() {
        let near = walkway.line.project(at);
        if near.d_m.abs() > 150.0 {
            continue;
        }
        let mean = if walkway.is_crosswalk { 1.0 } else { (walkway.line.length() / 60.0).min(2.0) };
        let count = (mean * options.density.min(1.5) * rng.range(0.0, 2.0)).round() as usize;
        for _ in 0..count {
            let id = supply.id();
            found.push(Walker::new(id, number, walkway, rng.split(u64::from(id))));
        }
        if found.len() > 14 {
            break;
        }
    }
    found
}

/// Sends those away who have left or are far off, and lets others come where they are not seen to appear.
pub(super) fn refresh(
    net: &Net,
    agents: &mut Vec<Agent>,
    occupancy: &Occupancy,
    supply: &mut Supply,
    ego: &VehicleState,
    t_s: f64,
) {
    let at = Point::new(ego.x_m, ego.y_m);
    let distance = |agent: &Agent| at.distance(Point::new(agent.to.x_m, agent.to.y_m));
    agents.retain(|agent| !agent.has_left(net) && distance(agent) < GONE_M);
    let second = ((t_s * 10.0).round() as u64).is_multiple_of(5);
    if agents.len() >= supply.wanted || !second || occupancy.lanes.len() != net.lanes.len() {
        return;
    }
    let entry = supply.rng.chance(0.5) && !supply.entries.is_empty();
    let lane = match entry {
        true => supply.entries[supply.rng.below(supply.entries.len())],
        false => supply.rng.below(net.lanes.len()),
    };
    let road = &net.lanes[lane];
    if road.is_junction
        || road.dead_end
        || !entry && matches!(road.kind, LaneletKind::Shoulder | LaneletKind::Intersection)
    {
        return;
    }
    let s_m = if entry { 9.0_f64.min(0.5 * road.length_m) } else { supply.rng.range(0.0, road.length_m) };
    let mut agent = supply.agent(net, lane, s_m);
    let away_m = distance(&agent);
    let in_view = if entry { away_m < 60.0 } else { !(UNSEEN_M..AROUND_M).contains(&away_m) };
    if in_view || !is_open(net, occupancy, &mut agent) {
        return;
    }
    brake_for_stop(net, &mut agent);
    agent.to = agent.state(net);
    agent.from = agent.to;
    agents.push(agent);
}

/// Whether an agent can appear where it is; its speed is fitted to who is ahead.
fn is_open(net: &Net, occupancy: &Occupancy, agent: &mut Agent) -> bool {
    let half_m = 0.5 * agent.length_m;
    let half_lane = net.lanes[agent.lane].half_width_m;
    let corridor = [-half_lane, half_lane];
    let ahead = occupancy.ahead(agent.path(net), (usize::MAX, half_m), corridor, 120.0);
    if let Some((gap_m, entry)) = ahead {
        agent.speed_mps = agent.speed_mps.min(entry.speed_mps.max(0.0) + 0.08 * gap_m);
        if gap_m < 5.0 + 1.2 * agent.speed_mps {
            return false;
        }
    }
    let behind = occupancy.behind(net, agent.lane, agent.s_m, usize::MAX, 120.0);
    behind.is_none_or(|(gap_m, entry)| {
        let closing = (entry.speed_mps - agent.speed_mps).max(0.0);
        gap_m - half_m > 5.0 + 1.2 * entry.speed_mps + closing * closing / 3.0
    })
}

/// Starts what is due.
pub(super) fn surprise(
    net: &Net,
    agents: &mut [Agent],
    walkers: &mut Vec<Walker>,
    supply: &mut Supply,
    ego: &VehicleState,
    t_s: f64,
) {
    let Some(event) = supply.events.first().copied() else { return };
    let done = match event {
        Event::Brake { from_s } => t_s > from_s && brake_ahead(agents, ego, t_s, &mut supply.rng),
        Event::CutIn { from_s } => t_s > from_s && tempt_in(agents, ego),
        Event::Jaywalk { from_s } => t_s > from_s && step_out(net, walkers, supply, ego, t_s),
    };
    if done {
        supply.events.remove(0);
    }
}

/// The driver next ahead brakes hard if it is far enough for the ego vehicle to react.
fn brake_ahead(agents: &mut [Agent], ego: &VehicleState, t_s: f64, rng: &mut Rng) -> bool {
    let at = Point::new(ego.x_m, ego.y_m);
    let ahead = agents.iter_mut().filter_map(|agent| {
        let local = Point::new(agent.to.x_m, agent.to.y_m).to_frame(at, ego.heading_rad);
        let inside = local.y.abs() < 1.8 && local.x > 8.0 && local.x < 60.0 && agent.speed_mps > 3.0;
        inside.then_some((local.x, agent))
    });
    let Some((way_m, agent)) = ahead.min_by(|a, b| a.0.total_cmp(&b.0)) else { return false };
    if way_m < 0.9 * ego.speed_mps + 6.0 {
        return false;
    }
    let until_s = t_s + rng.range(1.2, 2.5);
    agent.sudden = Some(Sudden::Brake { until_s, strength_mps2: rng.range(3.0, 4.5) });
    true
}

/// A driver beside and a little ahead of the ego vehicle loses its patience: it accepts what it otherwise would not.
fn tempt_in(agents: &mut [Agent], ego: &VehicleState) -> bool {
    let at = Point::new(ego.x_m, ego.y_m);
    for agent in agents.iter_mut() {
        let local = Point::new(agent.to.x_m, agent.to.y_m).to_frame(at, ego.heading_rad);
        let beside = (2.5..5.0).contains(&local.y.abs());
        let slot =
            local.x - 0.5 * agent.length_m > 7.0 && local.x < 30.0 && agent.speed_mps > ego.speed_mps - 2.0;
        if beside
            && slot
            && agent.leaving.is_none()
            && wrap_angle(agent.to.heading_rad - ego.heading_rad).abs() < 0.3
        {
            agent.eager =
                Some(if local.y > 0.0 { crate::task::Side::Right } else { crate::task::Side::Left });
            return true;
        }
    }
    false
}

/// Someone steps onto the road, 3.5 s ahead of the ego vehicle.
fn step_out(net: &Net, walkers: &mut Vec<Walker>, supply: &mut Supply, ego: &VehicleState, t_s: f64) -> bool {
    if ego.speed_mps < 3.0 {
        return false;
    }
    let ahead_m = 3.5 * ego.speed_mps + 8.0;
    let at = Point::new(ego.x_m, ego.y_m) + Point::polar(ahead_m, ego.heading_rad);
    let on_lane = |point: Point| {
        net.lanes.iter().any(|lane| {
            let foot = lane.center.project(point);
            lane.is_near(point, 0.0)
                && foot.d_m.abs() < lane.half_width_m
                && (0.0..=lane.length_m).contains(&foot.s_m)
        })
    };
    let Some(lane) = net.lanes.iter().find(|lane| {
        let foot = lane.center.project(at);
        lane.is_near(at, 0.0)
            && foot.d_m.abs() < lane.half_width_m
            && (8.0..=lane.length_m - 8.0).contains(&foot.s_m)
            && !lane.is_junction
            && lane.crosswalks.is_empty()
    }) else {
        return false;
    };
    let across = Point::polar(1.0, lane.center.project(at).heading_rad).left();
    let edge = |sign: f64| {
        (1..40).map(|k| sign * 0.5 * f64::from(k)).find(|d| !on_lane(at + across * *d)).unwrap_or(20.0)
    };
    let (right, left) = (at + across * (edge(-1.0) - 1.0), at + across * (edge(1.0) + 1.0));
    let line = if supply.rng.chance(0.7) { [right, left] } else { [left, right] };
    let id = supply.id();
    walkers.push(Walker::jaywalker(id, Polyline::new(line), t_s, supply.rng.split(u64::from(id))));
    true
}
