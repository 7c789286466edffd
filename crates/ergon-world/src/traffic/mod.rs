//! Everyone but the ego vehicle: as recorded, or reacting to each other and to the ego vehicle.
//!
//! Reading order: `idm` (how hard to accelerate), `mobil` (when to change lanes), `net` (lanes, crossings, who goes
//! first), `agent` (one road user), `occupancy` (who covers which stretch of which lane), `junction` (who may drive into
//! a crossing), `walkers` (people on foot), `populate` (who is there at the start and who comes later), `reactive` (all
//! of it in one step). Reacting traffic thinks at 10 Hz; between two steps everyone moves in a straight line.

mod agent;
mod idm;
mod junction;
mod mobil;
mod net;
mod occupancy;
mod populate;
mod reactive;
mod walkers;

use ergon_types::{ActorKind, ActorState, Trajectory, VehicleState};

pub use idm::{BRAKING_MAX_MPS2, Idm};
pub use mobil::{Mobil, Prospect};

use crate::Rng;
use crate::generate::Layout;
use crate::scenario::Scenario;
use reactive::Reactive;

/// What reacting traffic is to be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrafficOptions {
    /// Density against the usual; 0 for nobody.
    pub density: f64,
    /// A vehicle of this kind drives ahead of the ego vehicle in its lane.
    pub lead: Option<ActorKind>,
    /// No hard braking, no cutting in, nobody stepping onto the road.
    pub calm: bool,
    /// How many times as many trucks, buses, motorcycles and cyclists there are as usual.
    pub others: f64,
}

impl Default for TrafficOptions {
    fn default() -> TrafficOptions {
        TrafficOptions { density: 1.0, lead: None, calm: true, others: 1.0 }
    }
}

/// What one road user will do.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Its id.
    pub id: u32,
    /// One state per step, the first one now; `None` while it is absent.
    pub states: Vec<Option<ActorState>>,
}

/// Moves everyone but the ego vehicle.
#[derive(Clone)]
pub struct Traffic {
    actors: Vec<ActorState>,
    mover: Mover,
}

#[derive(Clone)]
enum Mover {
    Recorded,
    Reactive(Box<Reactive>),
}

impl Traffic {
    /// As recorded in the scenario, whatever the ego vehicle does; with the scenario's static obstacles.
    pub fn recorded(scenario: &Scenario) -> Traffic {
        let mut traffic = Traffic { actors: Vec::new(), mover: Mover::Recorded };
        traffic.replay(scenario, 0.0);
        traffic
    }

    /// Drivers by IDM and MOBIL, cyclists, people on foot and parked cars on generated roads, who react to each other
    /// and to the ego vehicle. The same arguments give the same traffic.
    pub fn reactive(layout: &Layout, ego: &VehicleState, options: &TrafficOptions, rng: Rng) -> Traffic {
        let reactive = Reactive::new(layout, ego, options, rng);
        let mut traffic = Traffic { actors: Vec::new(), mover: Mover::Reactive(Box::new(reactive)) };
        if let Mover::Reactive(reactive) = &traffic.mover {
            reactive.snapshot(&mut traffic.actors);
        }
        traffic
    }

    /// Everyone who is present.
    pub fn actors(&self) -> &[ActorState] {
        &self.actors
    }

    /// Those of reacting traffic who never move; of recorded traffic the scenario knows them.
    pub fn parked(&self) -> &[ActorState] {
        match &self.mover {
            Mover::Recorded => &[],
            Mover::Reactive(reactive) => reactive.parked(),
        }
    }

    /// Whether others react to the ego vehicle.
    pub fn is_reactive(&self) -> bool {
        matches!(self.mover, Mover::Reactive(_))
    }

    /// Moves everyone on to time `t_s`, one simulation step later.
    pub fn advance(&mut self, scenario: &Scenario, ego: &VehicleState, t_s: f64) {
        match &mut self.mover {
            Mover::Recorded => self.replay(scenario, t_s),
            Mover::Reactive(reactive) => {
                reactive.step(scenario, ego, t_s);
                reactive.snapshot(&mut self.actors);
            }
        }
    }

    /// What everyone will do if the ego vehicle drives `plan` (without one, or after its end: straight on at a constant
    /// speed). Exact for recorded traffic, whoever has yet to appear included; of reacting traffic a true copy is
    /// advanced, so that it is exact as long as the ego vehicle keeps to the plan. Traffic is looked at every 0.1 s.
    ///
    /// # Returns
    /// One forecast per road user, with states at `t_s`, `t_s + dt_s`, ... up to the horizon.
    pub fn predict(
        &self,
        scenario: &Scenario,
        ego: &VehicleState,
        plan: Option<&Trajectory>,
        [horizon_s, dt_s]: [f64; 2],
    ) -> Vec<Forecast> {
        let steps = (horizon_s / dt_s).round() as usize;
        match &self.mover {
            Mover::Recorded => recorded_forecasts(scenario, ego.t_s, steps, dt_s),
            Mover::Reactive(reactive) => reactive.predict(scenario, ego, plan, steps, dt_s),
        }
    }

    fn replay(&mut self, scenario: &Scenario, t_s: f64) {
        self.actors.clear();
        self.actors.extend(&scenario.obstacles);
        self.actors.extend(scenario.recorded.iter().filter_map(|actor| actor.at(t_s, scenario.step_s)));
    }
}

fn recorded_forecasts(scenario: &Scenario, t_s: f64, steps: usize, dt_s: f64) -> Vec<Forecast> {
    let standing = scenario
        .obstacles
        .iter()
        .map(|actor| Forecast { id: actor.id, states: vec![Some(*actor); steps + 1] });
    let moving = scenario.recorded.iter().map(|actor| Forecast {
        id: actor.id,
        states: (0..=steps).map(|k| actor.at(t_s + k as f64 * dt_s, scenario.step_s)).collect(),
    });
    standing.chain(moving.filter(|forecast| forecast.states.iter().any(Option::is_some))).collect()
}
