//! Turns a run into a recording that can be written down and replayed.

use ergon_types::ActorState;

use crate::scenario::{RecordedActor, Scenario};
use crate::world::World;

/// Writes down where everyone is at each time step of the scenario. Let it look at the world at the start and then
/// every `step_s` of the scenario.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Recorder {
    /// By id, in the order of appearance.
    actors: Vec<RecordedActor>,
    steps: usize,
    /// Where the actor was in the last list: lists change little.
    places: Vec<usize>,
}

impl Recorder {
    /// Nothing recorded yet.
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// Writes down the present moment. Those who never move are left to the scenario's obstacles.
    pub fn look(&mut self, world: &World) {
        let standing = &world.scenario().obstacles;
        let step = self.steps;
        let moving = world.actors().iter().filter(|actor| standing.iter().all(|other| other.id != actor.id));
        for (k, actor) in moving.enumerate() {
            let place = self.place(k, actor);
            match place {
                Some(i) => self.actors[i].states.push(*actor),
                None => self.actors.push(RecordedActor {
                    id: actor.id,
                    kind: actor.kind,
                    length_m: actor.length_m,
                    width_m: actor.width_m,
                    first_step: step,
                    states: vec![*actor],
                }),
            }
            let place = place.unwrap_or(self.actors.len() - 1);
            self.places.resize(self.places.len().max(k + 1), usize::MAX);
            self.places[k] = place;
        }
        self.steps += 1;
    }

    /// Where an actor's recording is that has run without a break.
    fn place(&self, k: usize, actor: &ActorState) -> Option<usize> {
        let fits = |i: &usize| {
            self.actors.get(*i).is_some_and(|known| {
                known.id == actor.id && known.first_step + known.states.len() == self.steps
            })
        };
        self.places.get(k).copied().filter(fits).or_else(|| (0..self.actors.len()).find(fits))
    }

    /// The scenario with the recording in place of its own.
    pub fn finish(self, scenario: &Scenario) -> Scenario {
        Scenario { recorded: self.actors, ..scenario.clone() }
    }
}
