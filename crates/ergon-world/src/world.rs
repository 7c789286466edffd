//! A scenario in motion: the ego vehicle, the traffic around it and the lights, advanced together.

use std::sync::Arc;

use ergon_types::{ActorState, Control, LightColor, VehicleState};

use crate::road::ElementId;
use crate::scenario::Scenario;
use crate::traffic::Traffic;
use crate::vehicle;

/// A scenario at one moment.
#[derive(Clone)]
pub struct World {
    scenario: Arc<Scenario>,
    traffic: Traffic,
    ego: VehicleState,
    /// Steps of [`vehicle::STEP_S`] since the start.
    steps: u64,
}

impl World {
    /// The scenario at its start. `traffic` moves everyone but the ego vehicle.
    pub fn new(scenario: Arc<Scenario>, traffic: Traffic) -> World {
        let problem = &scenario.problem;
        let mut ego = VehicleState { t_s: 0.0, ..problem.initial };
        if ego.speed_mps.abs() > 0.1 {
            let angle = (problem.initial_yaw_rate_radps * vehicle::WHEELBASE_M / ego.speed_mps).atan();
            ego.steering_angle_rad = angle.clamp(-0.5, 0.5);
        }
        World { scenario, traffic, ego, steps: 0 }
    }

    /// What it was made from.
    pub fn scenario(&self) -> &Arc<Scenario> {
        &self.scenario
    }

    /// Seconds since the start.
    pub fn t_s(&self) -> f64 {
        self.steps as f64 * vehicle::STEP_S
    }

    /// The ego vehicle.
    pub fn ego(&self) -> &VehicleState {
        &self.ego
    }

    /// Everyone else who is present, moving or not.
    pub fn actors(&self) -> &[ActorState] {
        self.traffic.actors()
    }

    /// The traffic itself, for those who may know more than what is seen.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What a light shows now; `Inactive` if there is none with this id.
    pub fn light(&self, id: ElementId) -> LightColor {
        let light = self.scenario.roads.lights.iter().find(|light| light.id == id);
        light.map_or(LightColor::Inactive, |light| light.color_at(self.t_s()))
    }

    /// Advances by [`vehicle::STEP_S`].
    pub fn step(&mut self, control: Control) {
        self.ego = vehicle::step(&self.ego, control, vehicle::STEP_S);
        self.steps += 1;
        self.ego.t_s = self.t_s();
        self.traffic.advance(&self.scenario, &self.ego, self.t_s());
    }

    /// Advances by a time under one control.
    pub fn hold(&mut self, control: Control, for_s: f64) {
        for _ in 0..(for_s / vehicle::STEP_S).round() as usize {
            self.step(control);
        }
    }

    /// Puts the ego vehicle elsewhere, as a teacher does to show how to recover.
    pub fn displace(&mut self, ego: VehicleState) {
        self.ego = VehicleState { t_s: self.t_s(), ..ego };
    }
}
