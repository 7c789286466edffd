//! What the gate is told: the limits, the vehicle, and who and what is around it.

use std::collections::HashMap;

use ergon_gate::Cleared;
use ergon_gate::motion::{EgoBody, MotionLimits, MotionScene, TrackedObject};
use ergon_types::{Control, Trajectory, VehicleState};
use ergon_world::geometry::{Point, wrap_angle};
use ergon_world::road::LaneletKind;
use ergon_world::world::World;
use ergon_world::{follow, vehicle};

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

/// Outlines of the lanelets near the vehicle.
pub(super) fn drivable(world: &World) -> Vec<Vec<[f64; 2]>> {
    let at = Point::new(world.ego().x_m, world.ego().y_m);
    let near = world.scenario().roads.lanelets_near(at, GATE_RANGE_M);
    let near = near.filter(|lanelet| lanelet.kind.is_for_cars() || lanelet.kind == LaneletKind::Parking);
    near.map(|lanelet| lanelet.polygon().iter().map(|p| [p.x, p.y]).collect()).collect()
}

/// What the vehicle is asked to do to follow a motion. Only a motion that the gate has cleared can be followed.
pub(super) fn control(ego: &VehicleState, motion: &Cleared<Trajectory>) -> Control {
    follow::control(ego, motion.get())
}

/// Turn rates from how headings change, as a tracker has them.
#[derive(Default)]
pub(super) struct Tracker {
    headings: HashMap<u32, f64>,
}

impl Tracker {
    /// Road users near the vehicle, `tick_s` after the look before.
    pub(super) fn track(&mut self, world: &World, tick_s: f64) -> Vec<TrackedObject> {
        let ego = Point::new(world.ego().x_m, world.ego().y_m);
        let near = world.actors().iter().filter(|a| Point::new(a.x_m, a.y_m).distance(ego) < GATE_RANGE_M);
        let objects: Vec<TrackedObject> = near
            .map(|state| {
                let before = self.headings.get(&state.id);
                let yaw_rate_radps = before
                    .map_or(0.0, |before| wrap_angle(state.heading_rad - before) / tick_s)
                    .clamp(-0.6, 0.6);
                TrackedObject { state: *state, yaw_rate_radps }
            })
            .collect();
        self.headings = objects.iter().map(|o| (o.state.id, o.state.heading_rad)).collect();
        objects
    }
}
