//! The vehicle's state and the goal as numbers of about 1. A model drives with exactly these (while it
//! learns, it has some more): a change here makes trained weights useless.

use ergon_types::{GoalHint, VehicleState};

/// Numbers of [`state_features`].
pub const STATE_DIM: usize = 5;
/// Numbers of [`hint_features`].
pub const HINT_DIM: usize = 28;

/// Slower than this is standing.
const STANDING_MPS: f64 = 0.1;
/// No number leaves this range, whatever the world says.
const LIMIT: f64 = 4.0;

/// A feature within what every feature keeps to.
pub fn clipped(value: f64) -> f32 {
    value.clamp(-LIMIT, LIMIT) as f32
}

/// What the vehicle measures of itself; its position and heading in the world are not among it.
///
/// Neither is how it turns. An expert mostly goes on turning as it does, so imitators take the angle of the wheels for the
/// reason to turn; ours then went on turning at the end of bends and drove in circles. That kinematic states invite such
/// shortcuts is known (Cheng et al., "Rethinking Imitation-based Planner for Autonomous Driving", 2023).
///
/// | index | |
/// |---|---|
/// | 0 | speed / 10 m/s |
/// | 1 | speed / 30 m/s |
/// | 2 | speed / 3 m/s within -1 to 1: how slow exactly |
/// | 3 | 1 when standing |
/// | 4 | acceleration / 4 m/s^2 |
pub fn state_features(ego: &VehicleState) -> [f32; STATE_DIM] {
    let v = ego.speed_mps;
    [
        clipped(v / 10.0),
        clipped(v / 30.0),
        (v / 3.0).clamp(-1.0, 1.0) as f32,
        flag(v.abs() < STANDING_MPS),
        clipped(ego.acceleration_mps2 / 4.0),
    ]
}

/// What the navigation says, for a vehicle that has `speed_mps` now. What is absent is 0, and its flag too.
///
/// | index | |
/// |---|---|
/// | 0 | 1 if the goal's position is known |
/// | 1, 2 | forward and left / 20 m |
/// | 3, 4 | forward and left / 100 m |
/// | 5 | distance / 50 m |
/// | 6, 7 | sine and cosine of its bearing |
/// | 8 | 1 if a point of the route is known |
/// | 9, 10 | forward and left / 20 m |
/// | 11, 12 | forward and left / 100 m |
/// | 13, 14 | sine and cosine of its bearing |
/// | 15 | 1 if there is a time window |
/// | 16, 17 | earliest and latest / 5 s |
/// | 18 | 1 if position and window are known and the window is not over: 19 and 20 hold |
/// | 19 | mean speed needed to be there at the latest time / 10 m/s |
/// | 20 | (mean speed needed to be there in the middle of what is left of the window - speed now) / 10 m/s |
/// | 21 | 1 if there is a range of speeds |
/// | 22, 23 | lowest and highest / 10 m/s |
/// | 24 | speed now above the highest (positive) or below the lowest (negative) / 10 m/s |
/// | 25 | 1 if there is a heading |
/// | 26, 27 | its sine and cosine |
pub fn hint_features(hint: &GoalHint, speed_mps: f64) -> [f32; HINT_DIM] {
    let mut out = [0.0; HINT_DIM];
    if let Some(position) = hint.position_m {
        out[0] = 1.0;
        place(position, &mut out[1..5]);
        out[5] = clipped(distance(position) / 50.0);
        bearing(position, &mut out[6..8]);
    }
    if let Some(point) = hint.route_point_m {
        out[8] = 1.0;
        place(point, &mut out[9..13]);
        bearing(point, &mut out[13..15]);
    }
    if let Some([earliest, latest]) = hint.time_window_s {
        out[15] = 1.0;
        out[16] = clipped(earliest / 5.0);
        out[17] = clipped(latest / 5.0);
        if let Some(position) = hint.position_m.filter(|_| latest > 0.0) {
            out[18] = 1.0;
            out[19] = clipped(distance(position) / latest / 10.0);
            let middle = 0.5 * (earliest.max(0.0) + latest);
            out[20] = clipped((distance(position) / middle - speed_mps) / 10.0);
        }
    }
    if let Some([low, high]) = hint.speed_range_mps {
        out[21] = 1.0;
        out[22] = clipped(low / 10.0);
        out[23] = clipped(high / 10.0);
        out[24] = clipped(((speed_mps - high).max(0.0) - (low - speed_mps).max(0.0)) / 10.0);
    }
    if let Some(heading) = hint.heading_rad {
        out[25] = 1.0;
        (out[26], out[27]) = (heading.sin() as f32, heading.cos() as f32);
    }
    out
}

fn flag(holds: bool) -> f32 {
    if holds { 1.0 } else { 0.0 }
}

fn distance([forward, left]: [f64; 2]) -> f64 {
    forward.hypot(left)
}

/// Forward and left, finely and coarsely.
fn place([forward, left]: [f64; 2], out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip([forward / 20.0, left / 20.0, forward / 100.0, left / 100.0]) {
        *out = clipped(value);
    }
}

/// Sine and cosine of the direction; straight ahead for a place that is here.
fn bearing([forward, left]: [f64; 2], out: &mut [f32]) {
    let (sin, cos) = left.atan2(forward).sin_cos();
    out[0] = sin as f32;
    out[1] = cos as f32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_is_all_zero() {
        assert_eq!(hint_features(&GoalHint::default(), 10.0), [0.0; HINT_DIM]);
    }

    #[test]
    fn every_part_has_its_place() {
        let hint = GoalHint {
            position_m: Some([30.0, 40.0]),
            route_point_m: Some([0.0, -10.0]),
            time_window_s: Some([-2.0, 4.0]),
            speed_range_mps: Some([5.0, 8.0]),
            heading_rad: Some(std::f64::consts::FRAC_PI_2),
        };
        let found = hint_features(&hint, 10.0);
        let expected = [
            1.0, 1.5, 2.0, 0.3, 0.4, 1.0, 0.8, 0.6, 1.0, 0.0, -0.5, 0.0, -0.1, -1.0, 0.0, 1.0, -0.4, 0.8,
            1.0, 1.25, 1.5, 1.0, 0.5, 0.8, 0.2, 1.0, 1.0, 0.0,
        ];
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 1e-6, "index {index}: {found}, expected {expected}");
        }
    }

    #[test]
    fn a_window_that_is_over_asks_for_no_speed() {
        let hint = GoalHint {
            position_m: Some([30.0, 0.0]),
            time_window_s: Some([-2.0, 0.0]),
            ..GoalHint::default()
        };
        assert_eq!(hint_features(&hint, 0.0)[18..21], [0.0; 3]);
    }

    #[test]
    fn nothing_leaves_the_range_and_neither_place_nor_wheels_are_read() {
        let far = VehicleState {
            x_m: 1e9,
            y_m: -1e9,
            heading_rad: 3.0,
            speed_mps: 1e6,
            acceleration_mps2: -1e6,
            steering_angle_rad: 1.5,
            t_s: 1e6,
        };
        let features = state_features(&far);
        assert!(features.iter().all(|value| value.abs() <= LIMIT as f32));
        // Nor is how the wheels stand.
        let here =
            VehicleState { x_m: 0.0, y_m: 0.0, heading_rad: 0.0, t_s: 0.0, steering_angle_rad: 0.0, ..far };
        assert_eq!(features, state_features(&here));
        let hint = GoalHint {
            position_m: Some([1e9, -1e9]),
            time_window_s: Some([1e9, 1e-9]),
            ..GoalHint::default()
        };
        assert!(hint_features(&hint, 0.0).iter().all(|value| value.abs() <= LIMIT as f32));
    }

    #[test]
    fn standing_is_said_plainly() {
        let at = |speed_mps| state_features(&VehicleState { speed_mps, ..VehicleState::default() });
        assert_eq!(at(0.0)[3], 1.0);
        assert_eq!(at(1.5)[..4], [0.15, 0.05, 0.5, 0.0]);
    }
}
