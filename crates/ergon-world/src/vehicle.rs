//! The ego vehicle: CommonRoad's kinematic single-track model (KS) with the parameters of the BMW 320i (vehicle 2).
//!
//! Source: Althoff, Koschi, Manzinger: "CommonRoad: Composable benchmarks for motion planning on roads" (2017) and the
//! document "CommonRoad: Vehicle Models" (2020), section 5 and appendix A. The model moves the middle of the rear axle;
//! a [`VehicleState`] names the centre of the box, which the drivability checker puts [`REAR_AXLE_M`] in front of it.

use ergon_types::{Control, VehicleState};

use crate::geometry::{OrientedBox, Point, wrap_angle};

/// Extent along the heading.
pub const LENGTH_M: f64 = 4.508;
/// Extent across the heading.
pub const WIDTH_M: f64 = 1.610;
/// From the rear axle forward to the reference point.
pub const REAR_AXLE_M: f64 = 1.422_717_093_6;
/// Tightest bend that is driven on purpose: cars of this size turn within 11 m from kerb to kerb, their rear axle's middle then
/// on a radius of 4 m. The steering angle of the parameters would do for 1.4 m.
pub const TIGHTEST_BEND_PER_M: f64 = 0.25;
/// Distance of the axles: 1.1561957064 + 1.4227170936.
pub const WHEELBASE_M: f64 = 2.578_912_8;
/// Greatest angle of the front wheels to either side.
pub const STEERING_ANGLE_MAX_RAD: f64 = 1.066;
/// Greatest speed of the front wheels' angle.
pub const STEERING_RATE_MAX_RADPS: f64 = 0.4;
/// Greatest speed.
pub const SPEED_MAX_MPS: f64 = 50.8;
/// Greatest speed backwards.
pub const SPEED_MIN_MPS: f64 = -13.9;
/// Above this speed the engine's power limits the acceleration.
pub const SPEED_SWITCH_MPS: f64 = 7.319;
/// Greatest acceleration, also of the friction circle.
pub const ACCELERATION_MAX_MPS2: f64 = 11.5;
/// Length of a simulation step.
pub const STEP_S: f64 = 0.01;

/// The box a state covers.
pub fn footprint(state: &VehicleState) -> OrientedBox {
    OrientedBox {
        center: Point::new(state.x_m, state.y_m),
        heading_rad: state.heading_rad,
        length_m: LENGTH_M,
        width_m: WIDTH_M,
    }
}

/// Heading change per metre that a front wheel angle gives.
pub fn curvature(steering_angle_rad: f64) -> f64 {
    steering_angle_rad.tan() / WHEELBASE_M
}

/// The front wheel angle for a heading change per metre.
pub fn steering_angle(curvature_per_m: f64) -> f64 {
    (curvature_per_m * WHEELBASE_M).atan().clamp(-STEERING_ANGLE_MAX_RAD, STEERING_ANGLE_MAX_RAD)
}

/// The middle of the rear axle.
pub fn rear_axle(state: &VehicleState) -> Point {
    Point::new(state.x_m, state.y_m) - Point::polar(REAR_AXLE_M, state.heading_rad)
}

/// Greatest acceleration that the engine gives at a speed.
pub fn engine_limit(speed_mps: f64) -> f64 {
    ACCELERATION_MAX_MPS2 * if speed_mps > SPEED_SWITCH_MPS { SPEED_SWITCH_MPS / speed_mps } else { 1.0 }
}

/// The nearest control that the vehicle can carry out.
pub fn limit(state: &VehicleState, control: Control) -> Control {
    let v = state.speed_mps;
    let mut a = acceleration_at(v, control.acceleration_mps2);
    // Friction circle: a^2 + (v psi')^2 <= a_max^2.
    let lateral = v * v * curvature(state.steering_angle_rad);
    let left = (ACCELERATION_MAX_MPS2.powi(2) - lateral * lateral).max(0.0).sqrt();
    a = a.clamp(-left, left);
    let rate = steering_rate_at(state.steering_angle_rad, control.steering_rate_radps);
    Control { acceleration_mps2: a, steering_rate_radps: rate }
}

/// What is left of a wanted acceleration at a speed.
fn acceleration_at(speed_mps: f64, wanted_mps2: f64) -> f64 {
    if (speed_mps >= SPEED_MAX_MPS && wanted_mps2 > 0.0) || (speed_mps <= SPEED_MIN_MPS && wanted_mps2 < 0.0)
    {
        return 0.0;
    }
    wanted_mps2.clamp(-ACCELERATION_MAX_MPS2, engine_limit(speed_mps))
}

/// What is left of a wanted steering rate at a front wheel angle.
fn steering_rate_at(angle_rad: f64, wanted_radps: f64) -> f64 {
    let end = STEERING_ANGLE_MAX_RAD;
    if (angle_rad >= end && wanted_radps > 0.0) || (angle_rad <= -end && wanted_radps < 0.0) {
        return 0.0;
    }
    wanted_radps.clamp(-STEERING_RATE_MAX_RADPS, STEERING_RATE_MAX_RADPS)
}

/// The state `dt_s` later under a control within the limits (fourth-order Runge-Kutta). Braking ends in standstill: a
/// driver's brake does not reverse.
pub fn step(state: &VehicleState, control: Control, dt_s: f64) -> VehicleState {
    let control = limit(state, control);
    let mut a = control.acceleration_mps2;
    if state.speed_mps >= 0.0 && a < 0.0 {
        a = a.max(-state.speed_mps / dt_s);
    }
    let rear = rear_axle(state);
    let x = [rear.x, rear.y, state.steering_angle_rad, state.speed_mps, state.heading_rad];
    let [x_m, y_m, angle, v, heading] = runge_kutta(x, [control.steering_rate_radps, a], dt_s);
    let heading_rad = wrap_angle(heading);
    let center = Point::new(x_m, y_m) + Point::polar(REAR_AXLE_M, heading_rad);
    let speed_mps = if v.abs() < 1e-9 { 0.0 } else { v };
    VehicleState {
        t_s: state.t_s + dt_s,
        x_m: center.x,
        y_m: center.y,
        heading_rad,
        speed_mps,
        acceleration_mps2: (v - state.speed_mps) / dt_s,
        steering_angle_rad: angle.clamp(-STEERING_ANGLE_MAX_RAD, STEERING_ANGLE_MAX_RAD),
    }
}

/// One step of the model: rear axle, front wheel angle, speed, heading under steering rate and acceleration.
fn runge_kutta(x: [f64; 5], [rate, a]: [f64; 2], dt_s: f64) -> [f64; 5] {
    let derivative = |[_, _, angle, v, heading]: [f64; 5]| {
        let (sin, cos) = heading.sin_cos();
        [v * cos, v * sin, steering_rate_at(angle, rate), acceleration_at(v, a), v * curvature(angle)]
    };
    let plus = |k: [f64; 5], h: f64| std::array::from_fn(|i| x[i] + h * k[i]);
    let k1 = derivative(x);
    let k2 = derivative(plus(k1, 0.5 * dt_s));
    let k3 = derivative(plus(k2, 0.5 * dt_s));
    let k4 = derivative(plus(k3, dt_s));
    std::array::from_fn(|i| x[i] + dt_s / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
}
