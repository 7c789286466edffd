//! What the gate is told: the limits, the vehicle, and who and what is around it.

use std::collections::HashMap;

use ergon_gate::Cleared;
use ergon_gate::motion::{EgoBody, MotionLimits, MotionScene, TrackedObject};
use ergon_types::{ActorState, Control, Trajectory, VehicleState};
use ergon_world::follow::{self, Comfort};
use ergon_world::geometry::{Point, Polyline, wrap_angle};
use ergon_world::road::{Lanelet, LaneletKind};
use ergon_world::task::ends_with_the_map;
use ergon_world::vehicle;
use ergon_world::world::World;

use crate::args::GateChoice;

/// How far around the vehicle the gate is told of others and of the road.
const GATE_RANGE_M: f64 = 120.0;

/// The limits for control steps of `tick_s`. A gate that is off keeps only what no vehicle could follow.
pub(super) fn limits(gate: GateChoice, tick_s: f64) -> MotionLimits {
    let declared = MotionLimits { response_time_s: tick_s, ..MotionLimits::default() };
    match gate {
        GateChoice::On => declared,
        GateChoice::Off => MotionLimits {
            acceleration_max_mps2: 1e3,
            deceleration_max_mps2: 1e3,
            lateral_acceleration_max_mps2: 1e3,
            jerk_max_mps3: 1e6,
            lateral_jerk_max_mps3: 1e6,
            curvature_max_per_m: 1e3,
            consistency_max_m: 1e3,
            jump_max_m: 1e3,
            speed_max_mps: 1e3,
            reverse_speed_max_mps: 1e3,
            ..declared
        },
    }
}

/// The scene of now. A gate that is off knows of nobody and of no road.
pub(super) fn scene<'a>(
    world: &World,
    objects: &'a [TrackedObject],
    drivable: &'a [Vec<[f64; 2]>],
    gate: GateChoice,
) -> MotionScene<'a> {
    let on = gate == GateChoice::On;
    MotionScene {
        now_s: world.t_s(),
        observed_s: world.t_s(),
        ego: *world.ego(),
        body: EgoBody {
            length_m: vehicle::LENGTH_M,
            width_m: vehicle::WIDTH_M,
            wheelbase_m: vehicle::WHEELBASE_M,
        },
        objects: if on { objects } else { &[] },
        drivable: if on { drivable } else { &[] },
        last: None,
    }
}

/// Outlines of the lanelets and paved areas near the vehicle. Where a lane ends because the map does, the road goes on: a
/// plan reaches seconds ahead, and the end of what was recorded is no edge.
pub(super) fn drivable(world: &World) -> Vec<Vec<[f64; 2]>> {
    let at = Point::new(world.ego().x_m, world.ego().y_m);
    let roads = &world.scenario().roads;
    let may_be = |kind: LaneletKind| kind.is_for_cars() || kind == LaneletKind::Parking;
    let outline = |points: &[Point]| points.iter().map(|p| [p.x, p.y]).collect();
    let mut areas = Vec::new();
    for lanelet in roads.lanelets_near(at, GATE_RANGE_M).filter(|lanelet| may_be(lanelet.kind)) {
        areas.push(outline(&lanelet.polygon()));
        if lanelet.kind.is_for_cars() && ends_with_the_map(roads, lanelet) {
            areas.push(outline(&beyond(lanelet)));
        }
    }
    let paved = roads.paved().iter().filter(|area| area.iter().any(|p| p.distance(at) < GATE_RANGE_M));
    areas.extend(paved.map(|area| outline(area)));
    areas
}

/// A lane carried straight on beyond its end.
fn beyond(lanelet: &Lanelet) -> [Point; 4] {
    let on = Point::polar(GATE_RANGE_M, lanelet.center.heading_at(lanelet.center.length()));
    let end = |line: &Polyline| line.at(line.length());
    let [left, right] = [end(&lanelet.left), end(&lanelet.right)];
    [left, left + on, right + on, right]
}

/// How plans are followed: a bit inside of the gate's default limits, so that it is the motion that is judged and not the
/// follower; and in no tighter bends than are driven on purpose.
const COMFORT: Comfort = Comfort {
    acceleration_mps2: 4.9,
    braking_mps2: 8.95,
    jerk_mps3: 14.0,
    lateral_mps2: 4.7,
    lateral_jerk_mps3: 10.0,
    curvature_per_m: vehicle::TIGHTEST_BEND_PER_M,
};

/// The motion of the vehicle that follows a plan, for the gate to check.
pub(super) fn rollout(ego: &VehicleState, plan: &Trajectory, horizon_s: f64) -> Trajectory {
    follow::rollout_by(ego, horizon_s, |state| COMFORT.limit(state, follow::control(state, plan)))
}

/// What the vehicle is asked to do to follow a motion. Only a motion that the gate has cleared can be followed.
pub(super) fn control(ego: &VehicleState, motion: &Cleared<Trajectory>) -> Control {
    COMFORT.limit(ego, follow::control(ego, motion.get()))
}

/// Turn rates are averaged over about this time.
const YAW_MEAN_S: f64 = 0.5;
/// Part of the mean turn rate that lasts, beyond what the lane asks for: recorded headings waver, and few who begin to
/// turn beside their lane go on for seconds. Of the parts tried on recorded motions (0 to 1) about the best.
const YAW_LASTS: f64 = 0.2;
/// A vehicle is in a lane if it heads along it so far.
const IN_LANE_RAD: f64 = 0.35;
/// No vehicle turns faster for long.
const YAW_MAX_RADPS: f64 = 0.6;

/// Turn rates from how headings change and from the lanes, as a tracker with a map has them.
#[derive(Default)]
pub(super) struct Tracker {
    /// Heading at the last look and mean turn rate of each.
    known: HashMap<u32, (f64, f64)>,
}

impl Tracker {
    /// Road users near the vehicle, `tick_s` after the look before.
    pub(super) fn track(&mut self, world: &World, tick_s: f64) -> Vec<TrackedObject> {
        let ego = Point::new(world.ego().x_m, world.ego().y_m);
        let near = world.actors().iter().filter(|a| Point::new(a.x_m, a.y_m).distance(ego) < GATE_RANGE_M);
        let (mut objects, mut known) = (Vec::new(), HashMap::new());
        for state in near {
            let mean = self.known.get(&state.id).map_or(0.0, |(heading_rad, mean)| {
                let now = wrap_angle(state.heading_rad - heading_rad) / tick_s;
                mean + (tick_s / YAW_MEAN_S).min(1.0) * (now.clamp(-YAW_MAX_RADPS, YAW_MAX_RADPS) - mean)
            });
            known.insert(state.id, (state.heading_rad, mean));
            let lane = lane_yaw_rate(world, state);
            objects.push(TrackedObject { state: *state, yaw_rate_radps: lane + YAW_LASTS * (mean - lane) });
        }
        self.known = known;
        objects
    }
}

/// How fast somebody turns who follows the lane under them for the next second; 0 beside all lanes.
fn lane_yaw_rate(world: &World, actor: &ActorState) -> f64 {
    let at = Point::new(actor.x_m, actor.y_m);
    let lanes = world.scenario().roads.lanelets_at(at).filter_map(|lanelet| {
        let foot = lanelet.center.project(at);
        let off_rad = wrap_angle(foot.heading_rad - actor.heading_rad).abs();
        (off_rad < IN_LANE_RAD).then_some((off_rad + 0.1 * foot.d_m.abs(), lanelet, foot.s_m))
    });
    let best = lanes.min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(0.0, |(_, lanelet, s_m)| {
        let v = actor.speed_mps;
        let ahead_m = (s_m + v.max(0.0)).min(lanelet.center.length());
        (v * lanelet.center.curvature_at(0.5 * (s_m + ahead_m))).clamp(-YAW_MAX_RADPS, YAW_MAX_RADPS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ergon_world::episode::{self, EpisodeOptions};
    use ergon_world::generate::RoadKind;
    use ergon_world::geometry::polygon_contains;
    use ergon_world::task::{Side, neighbour};

    fn covers(world: &World, point: Point) -> bool {
        let areas = drivable(world);
        let area = |area: &Vec<[f64; 2]>| area.iter().map(|[x, y]| Point::new(*x, *y)).collect::<Vec<_>>();
        areas.iter().any(|outline| polygon_contains(&area(outline), point))
    }

    #[test]
    fn the_road_goes_on_where_the_map_ends_and_paved_areas_belong_to_it() {
        let options = EpisodeOptions { kind: Some(RoadKind::Urban), ..EpisodeOptions::default() };
        let (mut ends, mut between) = (0, 0);
        for seed in 0..6 {
            let world = episode::generate(seed, &options).world;
            let roads = &world.scenario().roads;
            let at = Point::new(world.ego().x_m, world.ego().y_m);
            for lanelet in roads.lanelets_near(at, GATE_RANGE_M).filter(|lanelet| lanelet.kind.is_for_cars())
            {
                if ends_with_the_map(roads, lanelet) {
                    let (line, length) = (&lanelet.center, lanelet.center.length());
                    let on = Point::polar(50.0, line.heading_at(length));
                    assert!(covers(&world, line.at(length) + on), "seed {seed}, lanelet {}", lanelet.id);
                    assert!(!covers(&world, line.at(length) + on + on.left()), "seed {seed}");
                    ends += 1;
                }
            }
            for area in roads.paved().iter().filter(|area| area[0].distance(at) < GATE_RANGE_M) {
                let middle =
                    area.iter().fold(Point::default(), |sum, p| sum + *p * (1.0 / area.len() as f64));
                let places =
                    area.iter().flat_map(|kerb| (1..10).map(|k| middle.lerp(*kerb, 0.1 * f64::from(k))));
                for place in places.filter(|place| polygon_contains(area, *place)) {
                    assert!(covers(&world, place), "seed {seed}: {place:?}");
                    between += usize::from(roads.lanelets_at(place).next().is_none());
                }
            }
        }
        assert!(ends > 0 && between > 0, "{ends} ends, {between} places between lanes");
    }

    #[test]
    fn a_lane_that_ends_beside_others_does_not_go_on() {
        let options = EpisodeOptions { kind: Some(RoadKind::Highway), ..EpisodeOptions::default() };
        let mut dropped = 0;
        for seed in 0..20 {
            let world = episode::generate(seed, &options).world;
            let roads = &world.scenario().roads;
            let cars = roads.lanelets.iter().filter(|lanelet| lanelet.kind.is_for_cars());
            for lanelet in cars.filter(|lanelet| lanelet.successors.is_empty()) {
                let beside = [Side::Left, Side::Right].map(|side| neighbour(roads, lanelet.id, side));
                if beside.into_iter().flatten().any(|lanelet| !lanelet.successors.is_empty()) {
                    assert!(!ends_with_the_map(roads, lanelet), "seed {seed}, lanelet {}", lanelet.id);
                    dropped += 1;
                }
            }
        }
        assert!(dropped > 0);
    }
}
