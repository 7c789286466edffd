//! How the vehicle turns: inputs that the network has while it learns, and never when it drives.
//!
//! An expert mostly goes on turning as it does, so an imitator takes that for the reason to turn: with these numbers the driver
//! went on turning at the end of bends and drove in circles (the shortcut is known: Cheng et al., "Rethinking Imitation-based
//! Planner for Autonomous Driving", 2023). A network that never had them finds the same shortcut in the pictures, which show
//! the road of now and of a moment ago moving aside. So they are given while learning, which leaves less to be gained
//! from looking for them, and their columns are cut when the network is exported: it then drives as if its wheels stood
//! straight, and turns where the road does.

use ergon_model::clipped;
use ergon_types::VehicleState;
use ergon_world::vehicle::WHEELBASE_M;

/// Numbers of [`turning_features`].
pub(super) const TURNING_DIM: usize = 3;

/// Angle of the front wheels * 5 / rad, rate of turn * 2 s / rad, acceleration across / 4 m/s^2.
pub(super) fn turning_features(ego: &VehicleState) -> [f32; TURNING_DIM] {
    let turn_radps = ego.speed_mps * ego.steering_angle_rad.tan() / WHEELBASE_M;
    [ego.steering_angle_rad * 5.0, turn_radps * 2.0, turn_radps * ego.speed_mps / 4.0].map(clipped)
}
