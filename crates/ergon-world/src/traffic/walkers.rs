//! People on foot: along sidewalks, over crosswalks, and now and then across the road where there is none.

use ergon_types::{ActorKind, ActorState, LightColor, VehicleState};

use super::agent::{Agent, shape};
use super::net::{Net, Walkway};
use super::occupancy::{Occupancy, Who};
use crate::Rng;
use crate::geometry::{Point, Polyline};

/// Speed that people on foot look at when they judge gaps: nobody trusts a slow car to stay slow.
const LEAST_CAR_MPS: f64 = 4.0;

/// What someone on foot is doing.
#[derive(Clone, Debug)]
enum Doing {
    /// Along a walkway, there and back.
    Strolling,
    /// At the kerb, until the way is free and this time has passed.
    Waiting { until_s: f64 },
    /// Over a crosswalk.
    Crossing,
    /// Straight across the road, from a time on.
    Jaywalking { from_s: f64 },
}

/// Someone on foot.
#[derive(Clone, Debug)]
pub(super) struct Walker {
    /// Walkway, if it is one of the network's.
    walkway: Option<usize>,
    line: Polyline,
    s_m: f64,
    /// Offset from the middle of the walkway.
    d_m: f64,
    forward: bool,
    pace_mps: f64,
    doing: Doing,
    /// Whether it is on the road now.
    on_road: bool,
    rng: Rng,
    pub(super) from: ActorState,
    pub(super) to: ActorState,
}

impl Walker {
    fn on(id: u32, walkway: Option<usize>, line: Polyline, s_m: f64, doing: Doing, mut rng: Rng) -> Walker {
        let empty = ActorState {
            id,
            kind: ActorKind::Pedestrian,
            x_m: 0.0,
            y_m: 0.0,
            heading_rad: 0.0,
            speed_mps: 0.0,
            acceleration_mps2: 0.0,
            length_m: 0.5,
            width_m: 0.6,
        };
        let pace_mps = rng.range(1.0, 1.7);
        let d_m = rng.range(-0.7, 0.7);
        let forward = s_m < 0.5 * line.length();
        let mut walker = Walker {
            walkway,
            line,
            s_m,
            d_m,
            forward,
            pace_mps,
            doing,
            on_road: false,
            rng,
            from: empty,
            to: empty,
        };
        walker.to = walker.state(0.0);
        walker.from = walker.to;
        walker
    }

    /// Someone on a walkway: waiting at one end of a crosswalk, or anywhere on a sidewalk.
    pub(super) fn new(id: u32, number: usize, walkway: &Walkway, mut rng: Rng) -> Walker {
        let length_m = walkway.line.length();
        let (s_m, doing) = if walkway.is_crosswalk {
            let end_m = if rng.chance(0.5) { 0.0 } else { length_m };
            (end_m, Doing::Waiting { until_s: rng.range(0.0, 15.0) })
        } else {
            (rng.range(0.0, length_m), Doing::Strolling)
        };
        let mut walker = Walker::on(id, Some(number), walkway.line.clone(), s_m, doing, rng);
        walker.d_m = walker.rng.range(-0.7, 0.7) * walkway.half_width_m.min(1.5);
        if !walkway.is_crosswalk {
            walker.forward = walker.rng.chance(0.5);
        }
        walker.to = walker.state(0.0);
        walker.from = walker.to;
        walker
    }

    /// Someone who will step onto the road and cross it along a line, from a time on.
    pub(super) fn jaywalker(id: u32, line: Polyline, from_s: f64, rng: Rng) -> Walker {
        Walker::on(id, None, line, 0.0, Doing::Jaywalking { from_s }, rng)
    }

    fn state(&self, speed_mps: f64) -> ActorState {
        let along = self.line.heading_at(self.s_m);
        let at = self.line.at(self.s_m) + Point::polar(self.d_m, along).left();
        let heading_rad = if self.forward { along } else { along + std::f64::consts::PI };
        ActorState { x_m: at.x, y_m: at.y, heading_rad, speed_mps, ..self.to }
    }

    /// Whether a car should let it go: it is on the road, or about to step on it.
    fn claims(&self, t_s: f64) -> bool {
        match self.doing {
            Doing::Crossing => true,
            Doing::Waiting { until_s } => t_s > until_s - 1.0,
            Doing::Strolling | Doing::Jaywalking { .. } => false,
        }
    }

    /// Moves on for a step.
    pub(super) fn step(&mut self, scene: &Scene, t_s: f64, dt_s: f64) {
        self.from = self.to;
        let mut speed_mps = 0.0;
        let length_m = self.line.length();
        match self.doing {
            Doing::Waiting { until_s } => {
                let go = t_s > until_s && self.walkway.is_some_and(|number| scene.may_cross(number, self));
                if go {
                    self.doing = Doing::Crossing;
                }
            }
            Doing::Jaywalking { from_s } if t_s < from_s => {}
            Doing::Jaywalking { .. } if self.s_m >= length_m => {}
            Doing::Strolling | Doing::Crossing | Doing::Jaywalking { .. } => {
                speed_mps = self.pace_mps;
                self.s_m += if self.forward { speed_mps } else { -speed_mps } * dt_s;
            }
        }
        let arrived = if self.forward { self.s_m >= length_m } else { self.s_m <= 0.0 };
        if arrived && speed_mps > 0.0 && !matches!(self.doing, Doing::Jaywalking { .. }) {
            self.s_m = self.s_m.clamp(0.0, length_m);
            self.forward = !self.forward;
            if matches!(self.doing, Doing::Crossing) {
                self.doing = Doing::Waiting { until_s: t_s + self.rng.range(5.0, 40.0) };
            }
        }
        self.to = self.state(speed_mps);
        self.on_road = match self.doing {
            Doing::Crossing => true,
            Doing::Jaywalking { from_s } => t_s >= from_s && self.s_m < length_m,
            Doing::Waiting { .. } | Doing::Strolling => false,
        };
    }
}

/// What people on foot look at.
pub(super) struct Scene<'a> {
    pub(super) net: &'a Net,
    pub(super) agents: &'a [Agent],
    pub(super) ego: &'a VehicleState,
    /// For each walkway, the light of the cars that must be red.
    pub(super) lights: Vec<Option<LightColor>>,
}

impl Scene<'_> {
    /// Whether no car would reach the crosswalk before a person is over it, or the cars that could are standing.
    fn may_cross(&self, number: usize, walker: &Walker) -> bool {
        let walkway = &self.net.walkways[number];
        if self.lights[number].is_some_and(|color| color != LightColor::Red) {
            return false;
        }
        let length_m = walkway.line.length();
        walkway.crosses.iter().all(|(lane, span_m)| {
            let far_m = if walker.forward { span_m[1] } else { length_m - span_m[0] };
            let needed_s = far_m / walker.pace_mps + 1.0;
            let Some(zone_m) = self.net.lanes[*lane].crosswalks.iter().find(|c| c.0 == number).map(|c| c.1)
            else {
                return true;
            };
            let near = |start_m: f64, speed_mps: f64, half_m: f64| {
                let gap_m = start_m + zone_m[0] - half_m;
                let gone = start_m + zone_m[1] + half_m < 0.0;
                gone || gap_m > 0.5 && speed_mps < 0.5 || gap_m / speed_mps.max(LEAST_CAR_MPS) > needed_s
            };
            let drivers = self.agents.iter().all(|agent| {
                let way = agent
                    .path(self.net)
                    .take_while(|(_, start_m)| *start_m < 90.0)
                    .find(|(known, _)| known == lane);
                way.is_none_or(|(_, start_m)| near(start_m, agent.speed_mps, 0.5 * agent.length_m))
            });
            let at = Point::new(self.ego.x_m, self.ego.y_m);
            let middle = self.net.lanes[*lane].center.at(0.5 * (zone_m[0] + zone_m[1]));
            let local = middle.to_frame(at, self.ego.heading_rad);
            let ego =
                local.x < -4.0 || near(local.x - zone_m[0] - 2.0, self.ego.speed_mps, 2.3) || local.x > 90.0;
            drivers && ego
        })
    }
}

/// Marks those on foot who are on the road, so that drivers brake for them.
pub(super) fn occupy(net: &Net, walkers: &[Walker], occupancy: &mut Occupancy) {
    for walker in walkers.iter().filter(|walker| walker.on_road) {
        let mut shape = shape(&walker.to);
        (shape.length_m, shape.width_m) = (0.9, 0.9);
        // Along the lane they do not move.
        occupancy.add_box(net, &shape, 0.0, Who::Other, false);
    }
}

/// Free length to a crosswalk that someone uses or is about to, for a driver who can still stop.
pub(super) fn crosswalk_line(net: &Net, walkers: &[Walker], agent: &Agent, t_s: f64) -> Option<f64> {
    let half_m = 0.5 * agent.length_m;
    let speed_mps = agent.speed_mps;
    let look_m = speed_mps * speed_mps / 3.0 + 12.0 + half_m;
    for (lane, start_m) in agent.path(net).take_while(|(_, start_m)| *start_m < look_m) {
        for (number, zone_m) in &net.lanes[lane].crosswalks {
            let gap_m = start_m + zone_m[0] - half_m - 0.8;
            let stoppable = gap_m > -0.3 && speed_mps * speed_mps / (2.0 * gap_m.max(0.1)) < 4.5;
            let claimed =
                || walkers.iter().any(|walker| walker.walkway == Some(*number) && walker.claims(t_s));
            if stoppable && gap_m < look_m && claimed() {
                return Some(gap_m);
            }
        }
    }
    None
}
