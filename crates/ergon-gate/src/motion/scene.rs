//! What the gate knows when it judges.

use ergon_types::{ActorState, Trajectory, VehicleState};

/// The box of the ego vehicle around its reference point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EgoBody {
    /// Extent along the heading.
    pub length_m: f64,
    /// Extent across the heading.
    pub width_m: f64,
    /// Distance of the axles.
    pub wheelbase_m: f64,
}

/// Another road user as a perception stack tracks it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackedObject {
    /// Box and speed now.
    pub state: ActorState,
    /// How fast it turns, left positive.
    pub yaw_rate_radps: f64,
}

/// What is known at the moment of the check.
#[derive(Clone, Debug)]
pub struct MotionScene<'a> {
    /// Now, in the time of plans.
    pub now_s: f64,
    /// When the observation behind the plan was made.
    pub observed_s: f64,
    /// The ego vehicle now.
    pub ego: VehicleState,
    /// Its box.
    pub body: EgoBody,
    /// Everyone else who is near.
    pub objects: &'a [TrackedObject],
    /// The drivable area near the vehicle: polygons whose union it is. Empty: unknown, and the rule is not asked.
    pub drivable: &'a [Vec<[f64; 2]>],
    /// The motion that the vehicle got last, if it is not over.
    pub last: Option<&'a Trajectory>,
}
