//! One step of reacting traffic.

use std::sync::Arc;

use ergon_types::{ActorState, LightColor, Trajectory, VehicleState};

use super::agent::{Agent, Sudden, shape};
use super::idm::Idm;
use super::junction::{self, Approaches, Moment};
use super::mobil::Prospect;
use super::net::Net;
use super::occupancy::{Entry, Occupancy, Who};
use super::populate::{self, Supply};
use super::walkers::{self, Scene, Walker};
use super::{Forecast, TrafficOptions};
use crate::Rng;
use crate::generate::Layout;
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, LaneletKind};
use crate::scenario::Scenario;
use crate::task::Side;
use crate::vehicle;

/// Traffic thinks every so many steps of the world.
const STEPS_PER_TICK: u64 = 10;
/// Length of a tick.
const TICK_S: f64 = 0.1;
/// Free length that drivers keep to a cyclist or a parked car beside them.
const PASSING_M: f64 = 0.45;
/// Strongest braking that drivers plan for curves and limits.
const PLANNED_MPS2: f64 = 1.5;

/// Drivers, cyclists and people on foot who react.
#[derive(Clone)]
pub(super) struct Reactive {
    net: Arc<Net>,
    agents: Vec<Agent>,
    walkers: Vec<Walker>,
    parked: Arc<Vec<ActorState>>,
    /// What the parked cover.
    standing: Arc<Occupancy>,
    /// For each walkway, the light of the cars.
    walk_lights: Arc<Vec<Option<ElementId>>>,
    occupancy: Occupancy,
    approaches: Approaches,
    supply: Supply,
    /// Steps of the world so far.
    steps: u64,
    ego_stands_s: f64,
}

/// What one agent decides in a tick.
#[derive(Clone, Copy, Debug, Default)]
struct Decision {
    acceleration_mps2: f64,
    wish_m: f64,
}

impl Reactive {
    pub(super) fn new(layout: &Layout, ego: &VehicleState, options: &TrafficOptions, rng: Rng) -> Reactive {
        let mut net = Net::new(&layout.roads);
        for lane in &mut net.lanes {
            lane.dead_end = lane.successors.is_empty() && !layout.exits.contains(&lane.id);
        }
        let sidewalks = layout
            .roads
            .lanelets
            .iter()
            .filter(|l| matches!(l.kind, LaneletKind::Crosswalk | LaneletKind::Sidewalk));
        let light = |id: ElementId| {
            layout.crosswalks.iter().find(|walk| walk.lanelet == id).and_then(|walk| walk.light)
        };
        let walk_lights: Vec<Option<ElementId>> = sidewalks.map(|lanelet| light(lanelet.id)).collect();
        let start = populate::start(&net, layout, ego, options, &rng);
        let mut standing = Occupancy::default();
        standing.clear(net.lanes.len());
        for actor in &start.parked {
            standing.add_box(&net, &shape(actor), 0.0, Who::Other, true);
        }
        Reactive {
            net: Arc::new(net),
            agents: start.agents,
            walkers: start.walkers,
            parked: Arc::new(start.parked),
            standing: Arc::new(standing),
            walk_lights: Arc::new(walk_lights),
            occupancy: Occupancy::default(),
            approaches: Approaches::default(),
            supply: start.supply,
            steps: 0,
            ego_stands_s: 0.0,
        }
    }

    /// Those who never move.
    pub(super) fn parked(&self) -> &[ActorState] {
        &self.parked
    }

    /// Everyone at the present moment, those who never move included.
    pub(super) fn snapshot(&self, out: &mut Vec<ActorState>) {
        out.clear();
        out.extend(self.parked.iter());
        let done = self.steps % STEPS_PER_TICK;
        let part = if done == 0 { 1.0 } else { done as f64 / STEPS_PER_TICK as f64 };
        let pairs = self.agents.iter().map(|agent| (&agent.from, &agent.to));
        let pairs = pairs.chain(self.walkers.iter().map(|walker| (&walker.from, &walker.to)));
        out.extend(pairs.map(|(a, b)| ActorState {
            x_m: a.x_m + part * (b.x_m - a.x_m),
            y_m: a.y_m + part * (b.y_m - a.y_m),
            heading_rad: wrap_angle(a.heading_rad + part * wrap_angle(b.heading_rad - a.heading_rad)),
            speed_mps: a.speed_mps + part * (b.speed_mps - a.speed_mps),
            ..*b
        }));
    }

    /// One step of the world.
    pub(super) fn step(&mut self, scenario: &Scenario, ego: &VehicleState, t_s: f64) {
        if self.steps.is_multiple_of(STEPS_PER_TICK) {
            self.tick(scenario, ego, t_s);
        }
        self.steps += 1;
    }

    /// Everyone decides and moves on by [`TICK_S`].
    fn tick(&mut self, scenario: &Scenario, ego: &VehicleState, t_s: f64) {
        self.ego_stands_s = if ego.speed_mps < 0.3 { self.ego_stands_s + TICK_S } else { 0.0 };
        let lights: Vec<LightColor> = scenario.roads.lights.iter().map(|light| light.color_at(t_s)).collect();
        populate::refresh(&self.net, &mut self.agents, &self.occupancy, &mut self.supply, ego, t_s);
        self.occupy(ego);
        let net = Arc::clone(&self.net);
        let moment = Moment { net: &net, lights: &lights, t_s };
        self.approaches.update(&moment, &self.agents, ego, self.ego_stands_s);
        populate::surprise(&net, &mut self.agents, &mut self.walkers, &mut self.supply, ego, t_s);
        let decisions: Vec<Decision> = (0..self.agents.len()).map(|i| self.decide(&moment, i)).collect();
        for (i, decision) in decisions.iter().enumerate() {
            let agent = &mut self.agents[i];
            agent.acceleration_mps2 = decision.acceleration_mps2;
            if (self.steps / STEPS_PER_TICK + i as u64).is_multiple_of(4) || agent.eager.is_some() {
                self.consider_change(i, t_s);
            }
        }
        for (agent, decision) in self.agents.iter_mut().zip(&decisions) {
            agent.from = agent.to;
            let wish_m = if agent.leaving.is_some() { agent.habit_m } else { decision.wish_m };
            agent.integrate(&net, wish_m, TICK_S);
            if (agent.d_m - wish_m).abs() < 0.4 {
                agent.leaving = None;
            }
            agent.to = agent.state(&net);
        }
        self.walk(scenario, &lights, ego, t_s);
    }

    fn walk(&mut self, scenario: &Scenario, lights: &[LightColor], ego: &VehicleState, t_s: f64) {
        let color = |id: &Option<ElementId>| {
            let i = scenario.roads.lights.iter().position(|light| Some(light.id) == *id)?;
            Some(lights[i])
        };
        let scene = Scene {
            net: &self.net,
            agents: &self.agents,
            ego,
            lights: self.walk_lights.iter().map(color).collect(),
        };
        for walker in &mut self.walkers {
            walker.step(&scene, t_s, TICK_S);
        }
    }

    /// Writes down who covers what.
    fn occupy(&mut self, ego: &VehicleState) {
        self.occupancy.clear(self.net.lanes.len());
        for (lane, standing) in self.occupancy.lanes.iter_mut().zip(&self.standing.lanes) {
            lane.extend(standing);
        }
        for i in 0..self.agents.len() {
            self.occupancy.add_agent(&self.net, &self.agents, i);
        }
        self.occupancy.add_box(&self.net, &vehicle::footprint(ego), ego.speed_mps, Who::Ego, false);
        walkers::occupy(&self.net, &self.walkers, &mut self.occupancy);
    }

    /// Speed allowed now so that what comes can be reached with planned braking.
    fn allowed_mps(&self, agent: &Agent, reach_m: f64) -> f64 {
        let mut allowed_mps = f64::INFINITY;
        for (lane, start_m) in agent.path(&self.net) {
            if start_m > reach_m {
                break;
            }
            let road = &self.net.lanes[lane];
            let mut s_m = (-start_m).max(0.0);
            let end_m = road.length_m.min(reach_m - start_m);
            while s_m <= end_m {
                let there_mps = road.allowed_mps(s_m) * agent.haste;
                let here_mps = (there_mps * there_mps + 2.0 * PLANNED_MPS2 * (start_m + s_m).max(0.0)).sqrt();
                allowed_mps = allowed_mps.min(here_mps);
                s_m += 8.0;
            }
        }
        allowed_mps
    }

    /// Where in the lane to drive: beside cyclists and parked cars that leave enough room, else where it likes.
    fn wish_m(&self, i: usize) -> f64 {
        let agent = &self.agents[i];
        let half_w = 0.5 * agent.width_m;
        let lane_half = self.net.lanes[agent.lane].half_width_m;
        let most_m = (lane_half - half_w - 0.05).max(0.0);
        let mut wish_m = agent.habit_m.clamp(-most_m, most_m.max(0.0));
        if agent.kind == ergon_types::ActorKind::Bicycle {
            wish_m = agent.habit_m;
        }
        for (lane, start_m) in agent.path(&self.net).take_while(|(_, start_m)| *start_m < 45.0) {
            for entry in self.occupancy.lanes[lane].iter().filter(|entry| entry.can_pass) {
                let near =
                    start_m + entry.s_m[0] < 45.0 && start_m + entry.s_m[1] > -0.5 * agent.length_m - 1.0;
                if entry.who == Who::Agent(i) || !near {
                    continue;
                }
                let right = entry.d_m[0] + entry.d_m[1] < 0.0;
                let needed_m =
                    if right { entry.d_m[1] + half_w + PASSING_M } else { entry.d_m[0] - half_w - PASSING_M };
                if right && needed_m > wish_m && needed_m <= most_m
                    || !right && needed_m < wish_m && needed_m >= -most_m
                {
                    wish_m = needed_m;
                }
            }
        }
        wish_m
    }

    /// What to do in this tick.
    fn decide(&mut self, moment: &Moment, i: usize) -> Decision {
        let line_m = junction::gate(moment, &mut self.approaches, &self.occupancy, &mut self.agents, i);
        let wish_m = self.wish_m(i);
        let agent = &self.agents[i];
        let v = agent.speed_mps;
        let reach_m = (v * v / 4.0 + 2.0 * v + 25.0).min(150.0);
        let free = agent.idm.free(v, self.allowed_mps(agent, reach_m.min(100.0)));
        let mut held: f64 = 0.0;
        let mut stop_at = |gap_m: f64| {
            held = held.max(agent.idm.interaction(v, gap_m + agent.idm.standstill_gap_m - 0.3, 0.0))
        };
        if let Some(line_m) = line_m {
            stop_at(line_m);
        }
        if let Some(gap_m) = walkers::crosswalk_line(&self.net, &self.walkers, agent, moment.t_s) {
            stop_at(gap_m);
        }
        if let Some(gap_m) = self.dead_end_m(agent, reach_m) {
            stop_at(gap_m);
        }
        for lead in self.leads(i, wish_m, reach_m).into_iter().flatten() {
            held = held.max(agent.idm.interaction(v, lead.0, lead.1));
        }
        let mut acceleration_mps2 = free - held;
        if let Some(Sudden::Brake { until_s, strength_mps2 }) = agent.sudden
            && moment.t_s < until_s
        {
            acceleration_mps2 = acceleration_mps2.min(-strength_mps2);
        }
        Decision { acceleration_mps2: acceleration_mps2.max(-super::BRAKING_MAX_MPS2), wish_m }
    }

    /// Free length to the end of a lane that just ends.
    fn dead_end_m(&self, agent: &Agent, reach_m: f64) -> Option<f64> {
        let (lane, start_m) = agent.path(&self.net).last()?;
        let road = &self.net.lanes[lane];
        let gap_m = start_m + road.length_m - 0.5 * agent.length_m - 2.0;
        (road.dead_end && gap_m < reach_m).then_some(gap_m)
    }

    /// Gap and speed of who is ahead, in the own lane and, during a lane change, in the one that is left.
    fn leads(&self, i: usize, wish_m: f64, reach_m: f64) -> [Option<(f64, f64)>; 2] {
        let agent = &self.agents[i];
        let (half_l, half_w) = (0.5 * agent.length_m, 0.5 * agent.width_m + 0.2);
        let corridor = [agent.d_m.min(wish_m) - half_w, agent.d_m.max(wish_m) + half_w];
        let own = self.occupancy.ahead(agent.path(&self.net), (i, half_l), corridor, reach_m);
        let seen = |(gap_m, entry): (f64, Entry)| {
            // Beside something that can be passed one goes on slowly, else there would be no way round it.
            let clear = entry.d_m[1] < wish_m - half_w + 0.25 || entry.d_m[0] > wish_m + half_w - 0.25;
            match entry.can_pass && clear {
                true => (gap_m + 1.5, entry.speed_mps.max(1.5)),
                false => (gap_m, entry.speed_mps),
            }
        };
        let left = agent.leaving.and_then(|lane| {
            let road = &self.net.lanes[lane];
            let foot = road.center.project(Point::new(agent.to.x_m, agent.to.y_m));
            let next = road.successors.first().map(|next| (*next, road.length_m - foot.s_m));
            let path = std::iter::once((lane, -foot.s_m)).chain(next);
            self.occupancy.ahead(path, (i, half_l), [foot.d_m - half_w, foot.d_m + half_w], reach_m)
        });
        [own.map(seen), left.map(seen)]
    }

    /// Changes lanes if it pays and is safe.
    fn consider_change(&mut self, i: usize, t_s: f64) {
        let agent = &self.agents[i];
        let lane = &self.net.lanes[agent.lane];
        let may =
            agent.kind != ergon_types::ActorKind::Bicycle && agent.leaving.is_none() && !lane.is_junction;
        let must = self.dead_end_m(agent, 250.0).is_some();
        let eager = agent.eager;
        if !may || !must && eager.is_none() && t_s < agent.settled_until_s || agent.speed_mps < 2.0 && !must {
            return;
        }
        let junction_m =
            agent.path(&self.net).find(|(lane, _)| self.net.lanes[*lane].is_junction).map(|(_, m)| m);
        if junction_m.is_some_and(|m| m < 30.0 + 2.0 * agent.speed_mps) && !must {
            return;
        }
        let truck = matches!(agent.kind, ergon_types::ActorKind::Truck | ergon_types::ActorKind::Bus);
        let mut sides =
            [(lane.left, if truck { -0.4 } else { 0.0 }), (lane.right, if truck { 0.3 } else { 0.05 })];
        match eager {
            Some(Side::Left) => sides[0].1 = 5.0,
            Some(Side::Right) => sides[1].1 = 5.0,
            None => {}
        }
        let options = sides.iter().filter_map(|(target, bias)| {
            let target = (*target)?;
            if self.net.lanes[target].dead_end && !must {
                return None;
            }
            self.prospect(i, target, if must { 3.0 } else { *bias }).map(|prospect| (target, prospect))
        });
        let mut mobil = agent.mobil;
        if must {
            (mobil.safe_braking_mps2, mobil.politeness) = (4.0, 0.0);
        }
        if eager.is_some() {
            mobil.safe_braking_mps2 = 3.5;
        }
        let best = options
            .filter(|(_, prospect)| mobil.wants(prospect))
            .map(|(target, prospect)| (target, mobil.incentive(&prospect)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((target, _)) = best {
            self.change(i, target, t_s);
        }
    }

    /// What a change to a lane beside would mean for everyone; `None` where there is no room.
    fn prospect(&self, i: usize, target: usize, bias_mps2: f64) -> Option<Prospect> {
        let agent = &self.agents[i];
        let road = &self.net.lanes[target];
        let foot = road.center.project(Point::new(agent.to.x_m, agent.to.y_m));
        if foot.s_m < 2.0 || foot.s_m > road.length_m - 2.0 {
            return None;
        }
        let half_l = 0.5 * agent.length_m;
        let next = road.successors.first().map(|next| (*next, road.length_m - foot.s_m));
        let path = std::iter::once((target, -foot.s_m)).chain(next);
        let corridor = [0.3 - road.half_width_m, road.half_width_m - 0.3];
        let front = self.occupancy.ahead(path, (i, half_l), corridor, 120.0);
        let rear = self.occupancy.behind(&self.net, target, foot.s_m, i, 100.0);
        if front.is_some_and(|(gap_m, _)| gap_m < 1.5) || rear.is_some_and(|(gap_m, _)| gap_m - half_l < 1.5)
        {
            return None;
        }
        let allowed_mps = road.allowed_mps(foot.s_m) * agent.haste;
        let pair = |(gap_m, entry): (f64, Entry)| (gap_m, entry.speed_mps);
        let after = agent.idm.acceleration(agent.speed_mps, allowed_mps, front.map(pair));
        let mut prospect =
            Prospect { own_mps2: [agent.acceleration_mps2, after], bias_mps2, ..Prospect::default() };
        if let Some((gap_m, entry)) = rear {
            let free = front.map(|(front_m, lead)| (front_m + gap_m + half_l, lead.speed_mps));
            let held = (gap_m - half_l, agent.speed_mps);
            prospect.new_follower_mps2 = self.follower(entry, free, held);
        }
        let here = &self.net.lanes[agent.lane];
        if let Some((gap_m, entry)) = self.occupancy.behind(&self.net, agent.lane, agent.s_m, i, 60.0) {
            let ahead = self.occupancy.ahead(
                agent.path(&self.net),
                (i, half_l),
                [-here.half_width_m, here.half_width_m],
                100.0,
            );
            let free = ahead.map(|(front_m, lead)| (front_m + gap_m + half_l, lead.speed_mps));
            let [after, before] = self.follower(entry, free, (gap_m - half_l, agent.speed_mps));
            prospect.old_follower_mps2 = [before, after];
        }
        Some(prospect)
    }

    /// Acceleration of a follower without the driver in front of it and with.
    fn follower(&self, entry: Entry, free: Option<(f64, f64)>, held: (f64, f64)) -> [f64; 2] {
        let v = entry.speed_mps;
        let idm = match entry.who {
            Who::Agent(k) => self.agents[k].idm,
            Who::Ego => Idm { desired_speed_mps: v.max(5.0), ..Idm::default() },
            Who::Other => return [0.0, 0.0],
        };
        let allowed_mps = v.max(5.0);
        [idm.acceleration(v, allowed_mps, free), idm.acceleration(v, allowed_mps, Some(held))]
    }

    fn change(&mut self, i: usize, target: usize, t_s: f64) {
        let net = Arc::clone(&self.net);
        let agent = &mut self.agents[i];
        let foot = net.lanes[target].center.project(Point::new(agent.to.x_m, agent.to.y_m));
        agent.leaving = Some(agent.lane);
        agent.eager = None;
        (agent.lane, agent.s_m, agent.d_m) = (target, foot.s_m, foot.d_m);
        agent.route.clear();
        agent.grants.clear();
        agent.trail = [net.lanes[target].predecessors.first().copied(), None];
        agent.plan_route(&net);
        agent.settled_until_s = t_s + agent.rng.range(4.0, 9.0);
        self.occupancy.add_agent(&net, &self.agents, i);
    }

    /// Everyone's future while the ego vehicle drives a plan.
    pub(super) fn predict(
        &self,
        scenario: &Scenario,
        ego: &VehicleState,
        plan: Option<&Trajectory>,
        steps: usize,
        dt_s: f64,
    ) -> Vec<Forecast> {
        let mut future = self.clone();
        let mut states = Vec::new();
        future.snapshot(&mut states);
        let mut forecasts: Vec<Forecast> = Vec::new();
        let mut done: u64 = 0;
        for k in 0..=steps {
            let until = (k as f64 * dt_s / vehicle::STEP_S).round() as u64;
            while done < until {
                let t_s = ego.t_s + (done + 1) as f64 * vehicle::STEP_S;
                future.step(scenario, &planned(ego, plan, t_s), t_s);
                done += 1;
            }
            future.snapshot(&mut states);
            record(&mut forecasts, &states, k, steps);
        }
        forecasts
    }
}

/// Adds the states at step `k` to the forecasts.
fn record(forecasts: &mut Vec<Forecast>, states: &[ActorState], k: usize, steps: usize) {
    // Mostly everyone is where they were in the list before.
    for (place, actor) in states.iter().enumerate() {
        let known = match forecasts.get(place) {
            Some(forecast) if forecast.id == actor.id => Some(place),
            _ => forecasts.iter().position(|forecast| forecast.id == actor.id),
        };
        let i = known.unwrap_or_else(|| {
            forecasts.push(Forecast { id: actor.id, states: vec![None; steps + 1] });
            forecasts.len() - 1
        });
        forecasts[i].states[k] = Some(*actor);
    }
}

/// The ego vehicle at a time of a plan; before, without and after it, straight on.
fn planned(ego: &VehicleState, plan: Option<&Trajectory>, t_s: f64) -> VehicleState {
    let straight = |from: VehicleState| {
        let way_m = from.speed_mps * (t_s - from.t_s);
        let moved = Point::polar(way_m, from.heading_rad);
        VehicleState { t_s, x_m: from.x_m + moved.x, y_m: from.y_m + moved.y, acceleration_mps2: 0.0, ..from }
    };
    let points = plan.map_or(&[][..], |plan| &plan.points);
    let after = points.partition_point(|point| point.t_s <= t_s);
    let state = |k: usize| VehicleState {
        t_s: points[k].t_s,
        x_m: points[k].x_m,
        y_m: points[k].y_m,
        heading_rad: points[k].heading_rad,
        speed_mps: points[k].speed_mps,
        acceleration_mps2: points[k].acceleration_mps2,
        steering_angle_rad: 0.0,
    };
    if after == points.len() {
        return straight(if after == 0 { *ego } else { state(after - 1) });
    }
    let (a, b) = (if after == 0 { *ego } else { state(after - 1) }, state(after));
    let part = ((t_s - a.t_s) / (b.t_s - a.t_s).max(1e-9)).clamp(0.0, 1.0);
    let mix = |a: f64, b: f64| a + part * (b - a);
    VehicleState {
        t_s,
        x_m: mix(a.x_m, b.x_m),
        y_m: mix(a.y_m, b.y_m),
        heading_rad: a.heading_rad + part * wrap_angle(b.heading_rad - a.heading_rad),
        speed_mps: mix(a.speed_mps, b.speed_mps),
        ..b
    }
}
