//! One driver or cyclist: where it is on its lane, where it wants to go, how it drives.

use std::collections::VecDeque;

use ergon_types::{ActorKind, ActorState};

use super::idm::Idm;
use super::mobil::Mobil;
use super::net::Net;
use crate::Rng;
use crate::geometry::{OrientedBox, Point};
use crate::road::LaneletKind;
use crate::task::Side;

/// How far ahead the way of an agent is known.
const ROUTE_M: f64 = 160.0;

/// Something a driver does without being asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sudden {
    /// Brakes with this strength until this time.
    Brake { until_s: f64, strength_mps2: f64 },
}

/// A driver or cyclist.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) id: u32,
    pub(super) kind: ActorKind,
    pub(super) length_m: f64,
    pub(super) width_m: f64,
    /// Its lane and the station of its centre there.
    pub(super) lane: usize,
    pub(super) s_m: f64,
    /// Left of the lane's centre, and how fast that changes.
    pub(super) d_m: f64,
    pub(super) d_rate_mps: f64,
    /// Where in the lane it likes to drive, left of the centre.
    pub(super) habit_m: f64,
    pub(super) speed_mps: f64,
    pub(super) acceleration_mps2: f64,
    /// The lanes it came from (nearest first), as far as its tail may still be on them.
    pub(super) trail: [Option<usize>; 2],
    /// The lanes to come.
    pub(super) route: VecDeque<usize>,
    pub(super) idm: Idm,
    pub(super) mobil: Mobil,
    /// Factor on what is allowed.
    pub(super) haste: f64,
    /// While changing lanes, the lane that is left.
    pub(super) leaving: Option<usize>,
    /// No lane change before this time.
    pub(super) settled_until_s: f64,
    /// Lanes of junctions it may drive on.
    pub(super) grants: VecDeque<usize>,
    /// Since when it stands waiting for a grant.
    pub(super) waits_since_s: Option<f64>,
    /// Whether it has stopped at the stop sign it stands at.
    pub(super) has_stopped: bool,
    pub(super) sudden: Option<Sudden>,
    /// A side to which it changes lanes as soon as that is barely safe.
    pub(super) eager: Option<Side>,
    pub(super) rng: Rng,
    /// State at the last step and at the next one.
    pub(super) from: ActorState,
    pub(super) to: ActorState,
}

/// Length, width and taste of a kind of road user.
fn profile(kind: ActorKind, rng: &mut Rng) -> ([f64; 2], Idm, f64) {
    let idm = |a: f64, b: f64, gap_s: f64| Idm {
        desired_speed_mps: 60.0,
        time_gap_s: gap_s,
        standstill_gap_m: 2.0,
        acceleration_mps2: a,
        braking_mps2: b,
    };
    let spread = rng.range(0.9, 1.15);
    let gap_s = rng.range(1.0, 1.8);
    match kind {
        ActorKind::Truck => (
            [rng.range(8.0, 15.0), 2.5],
            Idm { standstill_gap_m: 3.0, ..idm(0.8, 1.8, gap_s + 0.4) },
            0.85 * spread,
        ),
        ActorKind::Bus => ([rng.range(8.5, 11.0), 2.45], idm(0.9, 1.8, gap_s + 0.3), 0.85 * spread),
        ActorKind::Motorcycle => ([2.1, 0.8], idm(2.2, 2.5, gap_s), 1.08 * spread),
        ActorKind::Bicycle => ([1.8, 0.6], idm(0.8, 1.5, 1.0), spread),
        _ => {
            let size = if rng.chance(0.15) {
                [rng.range(5.0, 5.6), 2.0]
            } else {
                [rng.range(3.9, 4.9), rng.range(1.7, 1.9)]
            };
            (size, idm(rng.range(1.2, 1.9), 2.0, gap_s), spread)
        }
    }
}

impl Agent {
    /// A road user of a kind with a taste drawn at random, at a station of a lane.
    pub(super) fn new(id: u32, kind: ActorKind, net: &Net, (lane, s_m): (usize, f64), mut rng: Rng) -> Agent {
        let ([length_m, width_m], mut idm, haste) = profile(kind, &mut rng);
        if kind == ActorKind::Bicycle {
            idm.desired_speed_mps = rng.range(4.0, 6.5);
        }
        let road = &net.lanes[lane];
        let own_lane = road.kind == LaneletKind::BicycleLane;
        let habit_m = match kind {
            ActorKind::Bicycle if !own_lane => -(road.half_width_m - 0.55).max(0.0),
            ActorKind::Bicycle => 0.0,
            ActorKind::Truck | ActorKind::Bus => 0.0,
            _ => rng.range(-0.2, 0.2),
        };
        let empty = ActorState {
            id,
            kind,
            x_m: 0.0,
            y_m: 0.0,
            heading_rad: 0.0,
            speed_mps: 0.0,
            acceleration_mps2: 0.0,
            length_m,
            width_m,
        };
        let mut agent = Agent {
            id,
            kind,
            length_m,
            width_m,
            lane,
            s_m,
            d_m: habit_m,
            d_rate_mps: 0.0,
            habit_m,
            speed_mps: 0.0,
            acceleration_mps2: 0.0,
            trail: [None, None],
            route: VecDeque::new(),
            idm,
            mobil: Mobil { politeness: rng.range(0.0, 0.5), ..Mobil::default() },
            haste,
            leaving: None,
            settled_until_s: rng.range(0.0, 4.0),
            grants: VecDeque::new(),
            waits_since_s: None,
            has_stopped: false,
            sudden: None,
            eager: None,
            rng,
            from: empty,
            to: empty,
        };
        agent.plan_route(net);
        agent.trail = first_trail(net, lane);
        agent.to = agent.state(net);
        agent.from = agent.to;
        agent
    }

    /// Chooses lanes until the way is known far enough ahead.
    pub(super) fn plan_route(&mut self, net: &Net) {
        let mut known_m = net.lanes[self.lane].length_m - self.s_m;
        known_m += self.route.iter().map(|lane| net.lanes[*lane].length_m).sum::<f64>();
        while known_m < ROUTE_M && self.route.len() < 24 {
            let last = self.route.back().copied().unwrap_or(self.lane);
            let cycles = self.kind == ActorKind::Bicycle;
            let open = |lane: &&usize| cycles || net.lanes[**lane].kind != LaneletKind::BicycleLane;
            let options: Vec<usize> = net.lanes[last].successors.iter().filter(open).copied().collect();
            if options.is_empty() {
                break;
            }
            let next = options[self.rng.below(options.len())];
            known_m += net.lanes[next].length_m;
            self.route.push_back(next);
        }
    }

    /// Its lane and the lanes to come, each with the distance from its centre to the start of the lane.
    pub(super) fn path<'a>(&'a self, net: &'a Net) -> impl Iterator<Item = (usize, f64)> + 'a {
        let mut start_m = -self.s_m;
        std::iter::once(self.lane).chain(self.route.iter().copied()).map(move |lane| {
            let here = (lane, start_m);
            start_m += net.lanes[lane].length_m;
            here
        })
    }

    /// The point some way ahead of its centre on its way, moved to its place in the lane.
    fn along(&self, net: &Net, ahead_m: f64) -> Point {
        let (mut lane, mut s_m) = (self.lane, self.s_m + ahead_m);
        if s_m < 0.0 {
            if let Some(before) = self.trail[0] {
                lane = before;
                s_m += net.lanes[lane].length_m;
            }
        } else if s_m > net.lanes[lane].length_m
            && let Some(next) = self.route.front()
        {
            s_m -= net.lanes[lane].length_m;
            lane = *next;
        }
        let center = &net.lanes[lane].center;
        center.at(s_m) + Point::polar(self.d_m, center.heading_at(s_m)).left()
    }

    /// Where it is, as others see it: its axles are on its way, so that long vehicles cut corners.
    pub(super) fn state(&self, net: &Net) -> ActorState {
        let half_base_m = 0.33 * self.length_m;
        let (front, rear) = (self.along(net, half_base_m), self.along(net, -half_base_m));
        let at = front.lerp(rear, 0.5);
        // A vehicle follows its front wheels: sideways motion turns it.
        let slip = if self.speed_mps > 0.5 { self.d_rate_mps.atan2(self.speed_mps) } else { 0.0 };
        ActorState {
            id: self.id,
            kind: self.kind,
            x_m: at.x,
            y_m: at.y,
            heading_rad: (front - rear).angle() + slip,
            speed_mps: self.speed_mps,
            acceleration_mps2: self.acceleration_mps2,
            length_m: self.length_m,
            width_m: self.width_m,
        }
    }

    /// Moves on for a step; `wish_m` is where in the lane it wants to be.
    pub(super) fn integrate(&mut self, net: &Net, wish_m: f64, dt_s: f64) {
        let before = self.speed_mps;
        self.speed_mps = (before + self.acceleration_mps2 * dt_s).max(0.0);
        self.acceleration_mps2 = (self.speed_mps - before) / dt_s;
        self.s_m += 0.5 * (before + self.speed_mps) * dt_s;
        // Sideways a damped spring, no faster than a part of the way forward and never at standstill.
        let part = if self.leaving.is_some() { 0.2 } else { 0.1 };
        let limit = (part * self.speed_mps).min(1.4);
        let pull = 0.8 * (wish_m - self.d_m) - 1.6 * self.d_rate_mps;
        self.d_rate_mps = (self.d_rate_mps + pull.clamp(-1.5, 1.5) * dt_s).clamp(-limit, limit);
        self.d_m += self.d_rate_mps * dt_s;
        while self.s_m > net.lanes[self.lane].length_m {
            let Some(next) = self.route.pop_front() else { break };
            self.s_m -= net.lanes[self.lane].length_m;
            self.trail = [Some(self.lane), self.trail[0]];
            self.lane = next;
            self.leaving = self.leaving.and_then(|lane| net.lanes[lane].successors.first().copied());
        }
        self.plan_route(net);
    }

    /// Whether it has driven off the end of the road.
    pub(super) fn has_left(&self, net: &Net) -> bool {
        self.route.is_empty() && self.s_m > net.lanes[self.lane].length_m
    }

    /// Its box at the next step.
    pub(super) fn shape(&self) -> OrientedBox {
        shape(&self.to)
    }
}

/// The lanes behind a lane, of which there is one on most roads.
fn first_trail(net: &Net, lane: usize) -> [Option<usize>; 2] {
    let before = net.lanes[lane].predecessors.first().copied();
    [before, before.and_then(|lane| net.lanes[lane].predecessors.first().copied())]
}

/// The box an actor covers.
pub(super) fn shape(actor: &ActorState) -> OrientedBox {
    OrientedBox {
        center: Point::new(actor.x_m, actor.y_m),
        heading_rad: actor.heading_rad,
        length_m: actor.length_m,
        width_m: actor.width_m,
    }
}
