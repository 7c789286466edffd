//! What is kept of an episode: enough to show it, to judge it and to run it again.

use std::time::Instant;

use ergon_gate::motion::{Source, Verdict};
use ergon_types::{ActorState, Control, LightColor, Trajectory, VehicleState};
use ergon_world::geometry::Point;

/// How long each part of a control step took, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StageMs {
    /// Drawing the pictures and finding the way: what stands in for camera and navigation.
    pub(super) camera: f64,
    /// Pictures to image tokens.
    pub(super) vision: f64,
    /// Reading the words and thinking in words.
    pub(super) language: f64,
    /// Sampling plans.
    pub(super) action: f64,
    /// Checking them.
    pub(super) gate: f64,
}

impl StageMs {
    /// The whole step.
    pub(super) fn total(&self) -> f64 {
        self.camera + self.vision + self.language + self.action + self.gate
    }

    /// The parts with their names.
    pub(super) fn parts(&self) -> [(&'static str, f64); 5] {
        [
            ("camera", self.camera),
            ("vision", self.vision),
            ("language", self.language),
            ("action", self.action),
            ("gate", self.gate),
        ]
    }
}

/// Milliseconds since `start`.
pub(super) fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// One control step.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    /// The ego vehicle when the pictures were taken.
    pub(super) ego: VehicleState,
    /// Everyone else then.
    pub(super) actors: Vec<ActorState>,
    /// What the lights showed, in the order of the road's lights.
    pub(super) lights: Vec<LightColor>,
    /// What the driver said.
    pub(super) words: String,
    /// The plan that was proposed first, as the vehicle would drive it.
    pub(super) proposed: Trajectory,
    /// What the vehicle got.
    pub(super) issued: Trajectory,
    /// Where that came from.
    pub(super) source: Source,
    /// The gate on the plans that were looked at.
    pub(super) verdicts: Vec<Verdict>,
    /// What the vehicle was asked to do until the next step.
    pub(super) control: Control,
    /// How long it took.
    pub(super) stage_ms: StageMs,
    /// Whether it took longer than the control period, so that the plan before was carried on.
    pub(super) missed: bool,
    /// The front picture, JPEG; kept for some steps only.
    pub(super) picture: Option<Vec<u8>>,
}

/// The road as lines to draw.
#[derive(Clone, Debug, Default)]
pub(super) struct Map {
    /// Outline of each lanelet.
    pub(super) lanes: Vec<Vec<Point>>,
    /// Position of each light, in the order of the road's lights.
    pub(super) lights: Vec<Point>,
    /// Outline of the goal, if it has a place.
    pub(super) goals: Vec<Vec<Point>>,
}
