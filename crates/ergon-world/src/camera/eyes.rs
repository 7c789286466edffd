//! What a vehicle's cameras give a policy over time: the pictures of now and of a moment ago.

use std::collections::VecDeque;

use ergon_types::{Frame, Observation};

use super::{CameraSpec, Conditions, Moment, Renderer, Rig, SceneIndex};
use crate::task::Task;
use crate::world::World;

/// The cameras of one vehicle in one world.
#[derive(Clone, Debug)]
pub struct Eyes {
    rig: Rig,
    renderer: Renderer,
    scene: SceneIndex,
    conditions: Conditions,
    /// Pictures of the last looks with their times, the newest last.
    seen: VecDeque<(f64, Vec<Frame>)>,
    /// How old the earlier pictures are to be.
    gap_s: f64,
}

impl Eyes {
    /// Cameras in a world. `gap_s` is the model's `frame_gap_s`.
    pub fn new(rig: Rig, world: &World, conditions: Conditions, gap_s: f64) -> Eyes {
        let scene = SceneIndex::new(&world.scenario().roads);
        Eyes { rig, renderer: Renderer::new(), scene, conditions, seen: VecDeque::new(), gap_s }
    }

    /// Takes the pictures of this moment. The earlier ones are the newest that are at least `gap_s` old, or the oldest
    /// there are.
    pub fn look(&mut self, world: &World) {
        let now = world.t_s();
        // The last one that is old enough stays, those before it are not needed any more: their buffers are.
        let slack = 1e-6;
        let mut frames = Vec::new();
        while self.seen.len() > 1 && self.seen[1].0 <= now - self.gap_s + slack {
            frames = self.seen.pop_front().map(|(_, frames)| frames).unwrap_or_default();
        }
        frames.resize_with(self.rig.cameras.len(), Frame::default);
        for (spec, frame) in self.rig.cameras.iter().zip(&mut frames) {
            draw(&mut self.renderer, &self.scene, &self.conditions, world, spec, frame);
        }
        self.seen.push_back((now, frames));
        if self.seen.len() > 1 && self.seen[1].0 <= now - self.gap_s + slack {
            self.seen.pop_front();
        }
    }

    /// The pictures of the last look, one per camera.
    ///
    /// # Panics
    /// Before the first look.
    pub fn frames(&self) -> &[Frame] {
        &self.seen.back().expect("a look was taken").1
    }

    /// The pictures of `gap_s` before; at the start those of the first look.
    ///
    /// # Panics
    /// Before the first look.
    pub fn earlier_frames(&self) -> &[Frame] {
        &self.seen.front().expect("a look was taken").1
    }

    /// All that a policy may know at the moment of the last look.
    ///
    /// # Panics
    /// Before the first look.
    pub fn observe(&self, world: &World, task: &Task) -> Observation {
        Observation {
            t_s: world.t_s(),
            frames: self.frames().to_vec(),
            earlier_frames: self.earlier_frames().to_vec(),
            ego: *world.ego(),
            hint: task.hint(world),
            instruction: task.text.clone(),
        }
    }

    /// A picture of another size or from another place, for people.
    pub fn picture(&mut self, world: &World, spec: &CameraSpec, out: &mut Frame) {
        draw(&mut self.renderer, &self.scene, &self.conditions, world, spec, out);
    }

    /// The cameras.
    pub fn rig(&self) -> &Rig {
        &self.rig
    }
}

fn draw(
    renderer: &mut Renderer,
    scene: &SceneIndex,
    conditions: &Conditions,
    world: &World,
    spec: &CameraSpec,
    out: &mut Frame,
) {
    let moment = Moment { conditions, ego: world.ego(), actors: world.actors(), t_s: world.t_s() };
    renderer.render(scene, &moment, |id| world.light(id), spec, out);
}
