//! From a planned motion to controls: a follower that tracks a motion within the limits of the vehicle, and, where it is
//! asked to, within those of comfort; and the roll-out, which is what the vehicle will really drive and what a gate has
//! to check.
//!
//! The follower carries the motion's own acceleration and curvature forward and corrects along and across with
//! critically damped feedback on the rear axle, where a kinematic vehicle turns exactly by its front wheel angle.

use ergon_types::{Control, Trajectory, TrajectoryPoint, VehicleState};

use crate::geometry::{Point, wrap_angle};
use crate::vehicle;

/// How long a control is held.
pub const CONTROL_S: f64 = 0.1;
/// Rate at which errors along the path fade, 1/s.
const ALONG_RATE: f64 = 1.0;
/// Errors across fade within so many seconds of driving ...
const ACROSS_S: f64 = 0.6;
/// ... or so many metres, whichever is longer.
const ACROSS_MIN_M: f64 = 3.0;
/// Greatest lateral acceleration that the follower asks for.
const LATERAL_MAX_MPS2: f64 = 7.5;
/// Hardest braking that the follower asks for.
const BRAKE_MAX_MPS2: f64 = 9.0;
/// A motion slower than this is meant as standing.
const STANDING_MPS: f64 = 0.15;

/// The motion at a time: linear between points, straight on beyond the ends.
fn sample(trajectory: &Trajectory, t_s: f64) -> Option<TrajectoryPoint> {
    let points = &trajectory.points;
    let (first, last) = (points.first()?, points.last()?);
    if t_s <= first.t_s {
        return Some(coast(first, t_s));
    }
    if t_s >= last.t_s {
        return Some(coast(last, t_s));
    }
    let spacing = (last.t_s - first.t_s) / (points.len() - 1) as f64;
    let guess = ((t_s - first.t_s) / spacing) as usize;
    let found = points.get(guess..guess + 2).is_some_and(|pair| pair[0].t_s <= t_s && t_s < pair[1].t_s);
    let i =
        if found { guess } else { points.partition_point(|p| p.t_s <= t_s).clamp(1, points.len() - 1) - 1 };
    let (a, b) = (&points[i], &points[i + 1]);
    let part = ((t_s - a.t_s) / (b.t_s - a.t_s).max(1e-9)).clamp(0.0, 1.0);
    let mix = |a: f64, b: f64| a + part * (b - a);
    Some(TrajectoryPoint {
        t_s,
        x_m: mix(a.x_m, b.x_m),
        y_m: mix(a.y_m, b.y_m),
        heading_rad: wrap_angle(a.heading_rad + part * wrap_angle(b.heading_rad - a.heading_rad)),
        speed_mps: mix(a.speed_mps, b.speed_mps),
        acceleration_mps2: mix(a.acceleration_mps2, b.acceleration_mps2),
        curvature_per_m: mix(a.curvature_per_m, b.curvature_per_m),
    })
}

/// A point carried straight on at its speed.
fn coast(point: &TrajectoryPoint, t_s: f64) -> TrajectoryPoint {
    let place = Point::new(point.x_m, point.y_m)
        + Point::polar((t_s - point.t_s) * point.speed_mps, point.heading_rad);
    TrajectoryPoint { t_s, x_m: place.x, y_m: place.y, acceleration_mps2: 0.0, ..*point }
}

/// The control that brings the vehicle onto the motion, to be held for [`CONTROL_S`] or renewed earlier. A motion
/// without points asks for braking at 3 m/s^2.
pub fn control(state: &VehicleState, trajectory: &Trajectory) -> Control {
    let v = state.speed_mps;
    let stop = Control { acceleration_mps2: -3.0_f64.min(v / CONTROL_S).max(0.0), steering_rate_radps: 0.0 };
    let Some(now) = sample(trajectory, state.t_s) else { return stop };
    let Some(next) = sample(trajectory, state.t_s + CONTROL_S) else { return stop };
    let soon = sample(trajectory, state.t_s + 0.5).map_or(0.0, |point| point.speed_mps);
    if next.speed_mps.max(soon) < STANDING_MPS && v < 2.0 * STANDING_MPS {
        // Gently, but it ends.
        let fade = if v < 0.08 { CONTROL_S } else { 3.0 * CONTROL_S };
        return Control { acceleration_mps2: -v / fade, steering_rate_radps: 0.0 };
    }
    let target = Point::new(now.x_m, now.y_m) - Point::polar(vehicle::REAR_AXLE_M, now.heading_rad);
    let error = vehicle::rear_axle(state).to_frame(target, now.heading_rad);
    let turn = wrap_angle(state.heading_rad - now.heading_rad);
    let along = (next.speed_mps - now.speed_mps) / CONTROL_S + 2.0 * ALONG_RATE * (now.speed_mps - v)
        - ALONG_RATE * ALONG_RATE * error.x.clamp(-4.0, 4.0);
    // Never backwards: the brake ends in standstill.
    let along = along.clamp(-BRAKE_MAX_MPS2, vehicle::engine_limit(v)).max(-v.max(0.0) / CONTROL_S);
    let reach = ACROSS_MIN_M.max(ACROSS_S * v);
    let across = error.y.clamp(-0.5 * reach, 0.5 * reach);
    let curvature = next.curvature_per_m - across / (reach * reach) - 2.0 * turn.sin() / reach;
    if !(along.is_finite() && curvature.is_finite()) {
        return stop;
    }
    Control {
        acceleration_mps2: along,
        steering_rate_radps: steering_rate(state, v + along * CONTROL_S, curvature),
    }
}

/// Bounds of how a vehicle with people in it is driven; each is for what a controller commands, not for what a vehicle could
/// do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comfort {
    /// Greatest acceleration.
    pub acceleration_mps2: f64,
    /// Hardest braking.
    pub braking_mps2: f64,
    /// How fast an acceleration may grow; letting go of the brake takes no time.
    pub jerk_mps3: f64,
    /// Greatest acceleration across.
    pub lateral_mps2: f64,
    /// How fast it may change.
    pub lateral_jerk_mps3: f64,
    /// Tightest bend, well before the wheels' end: a driver who turns the wheel as far as it goes has lost the way.
    pub curvature_per_m: f64,
}

impl Comfort {
    /// The nearest control within the bounds, to be held for [`CONTROL_S`].
    pub fn limit(&self, state: &VehicleState, control: Control) -> Control {
        let v = state.speed_mps.max(0.0);
        // From braking to no braking at once, and then up.
        let grown = (state.acceleration_mps2 + self.jerk_mps3 * CONTROL_S).max(0.0);
        let most = self.acceleration_mps2.min(grown);
        let a = control.acceleration_mps2.clamp(-self.braking_mps2, most);
        let next = v + a * CONTROL_S;
        let (mean, now) = (0.5 * (v + next).max(0.0), vehicle::curvature(state.steering_angle_rad));
        let wanted = vehicle::curvature(state.steering_angle_rad + control.steering_rate_radps * CONTROL_S);
        // d(v^2 kappa)/dt + v a kappa = v^2 dkappa/dt + 3 v a kappa, solved for the change of kappa.
        let square = (mean * mean).max(1e-3);
        let drift = 3.0 * mean * a * now;
        let (low, high) = (-self.lateral_jerk_mps3 - drift, self.lateral_jerk_mps3 - drift);
        let curvature = wanted.clamp(now + low * CONTROL_S / square, now + high * CONTROL_S / square);
        let tightest = (self.lateral_mps2 / (next * next).max(1e-3)).min(self.curvature_per_m);
        let angle = vehicle::steering_angle(curvature.clamp(-tightest, tightest));
        let end = vehicle::STEERING_RATE_MAX_RADPS;
        let rate = ((angle - state.steering_angle_rad) / CONTROL_S).clamp(-end, end);
        Control { acceleration_mps2: a, steering_rate_radps: rate }
    }
}

/// The steering rate that reaches a curvature within one control interval, as far as the tyres and the steering allow.
pub(crate) fn steering_rate(state: &VehicleState, speed_mps: f64, curvature_per_m: f64) -> f64 {
    let most = LATERAL_MAX_MPS2 / (speed_mps * speed_mps).max(1.0);
    let angle = vehicle::steering_angle(curvature_per_m.clamp(-most, most));
    let end = vehicle::STEERING_RATE_MAX_RADPS;
    ((angle - state.steering_angle_rad) / CONTROL_S).clamp(-end, end)
}

/// The motion that the vehicle will drive when it follows `trajectory`: a point each [`CONTROL_S`], the first one is
/// `state` itself, the last one `horizon_s` later.
pub fn rollout(state: &VehicleState, trajectory: &Trajectory, horizon_s: f64) -> Trajectory {
    rollout_by(state, horizon_s, |state| control(state, trajectory))
}

/// As [`rollout`], with any controller.
pub fn rollout_by(
    state: &VehicleState,
    horizon_s: f64,
    mut control: impl FnMut(&VehicleState) -> Control,
) -> Trajectory {
    let steps = (horizon_s / CONTROL_S).round().max(0.0) as usize;
    let mut state = *state;
    let mut points = Vec::with_capacity(steps + 1);
    points.push(point_of(&state));
    for _ in 0..steps {
        state = vehicle::step(&state, control(&state), CONTROL_S);
        points.push(point_of(&state));
    }
    Trajectory { points }
}

/// A state as a point of a motion.
pub fn point_of(state: &VehicleState) -> TrajectoryPoint {
    TrajectoryPoint {
        t_s: state.t_s,
        x_m: state.x_m,
        y_m: state.y_m,
        heading_rad: state.heading_rad,
        speed_mps: state.speed_mps,
        acceleration_mps2: state.acceleration_mps2,
        curvature_per_m: vehicle::curvature(state.steering_angle_rad),
    }
}
