//! From a planned motion to controls: a smoother that turns noisy waypoints into a motion with speed and curvature, a
//! follower that tracks a motion within the limits of the vehicle, and the roll-out of both, which is what the vehicle
//! will really drive and what a gate has to check.
//!
//! The follower carries the motion's own acceleration and curvature forward and corrects along and across with
//! critically damped feedback on the rear axle, where a kinematic vehicle turns exactly by its front wheel angle. The
//! smoother finds, per axis, the most likely motion of piecewise constant jerk given waypoints with independent errors
//! (a linear problem whose solution is a fixed matrix).

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
    let steps = (horizon_s / CONTROL_S).round().max(0.0) as usize;
    let mut state = *state;
    let mut points = Vec::with_capacity(steps + 1);
    points.push(point_of(&state));
    for _ in 0..steps {
        state = vehicle::step(&state, control(&state, trajectory), CONTROL_S);
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

/// Turns waypoints at equal distances of time into a motion.
#[derive(Clone, Debug)]
pub struct Smoother {
    waypoints: usize,
    step_s: f64,
    /// `[waypoints + 1, waypoints + 1]`: first acceleration and then jerks, from waypoints and measured acceleration.
    gain: Vec<f64>,
}

impl Smoother {
    /// For so many waypoints at `step_s`, `2 step_s`, ... from now, each believed to `waypoint_m` metres (0.15 is usual
    /// for a network).
    pub fn new(waypoints: usize, step_s: f64, waypoint_m: f64) -> Smoother {
        // A jerk of this size is ordinary; the measured acceleration may be off by so much.
        const JERK: f64 = 4.0;
        const ACCELERATION: f64 = 0.8;
        let n = waypoints + 1;
        let mut normal = vec![0.0; n * n];
        let mut right = vec![0.0; n * n];
        for k in 0..waypoints {
            let row: Vec<f64> = (0..n).map(|i| basis(i, (k + 1) as f64 * step_s, step_s)).collect();
            for i in 0..n {
                right[i * n + k] = row[i] / (waypoint_m * waypoint_m);
                for j in 0..n {
                    normal[i * n + j] += row[i] * row[j] / (waypoint_m * waypoint_m);
                }
            }
        }
        normal[0] += 1.0 / (ACCELERATION * ACCELERATION);
        right[waypoints] = 1.0 / (ACCELERATION * ACCELERATION);
        for i in 1..n {
            normal[i * n + i] += 1.0 / (JERK * JERK);
        }
        solve(&mut normal, &mut right, n);
        Smoother { waypoints, step_s, gain: right }
    }

    /// The motion through waypoints of the world frame that starts at `state`: a point each [`CONTROL_S`]. Missing
    /// waypoints are taken as standing at the last one, surplus ones are left out.
    pub fn trajectory(&self, state: &VehicleState, waypoints: &[Point]) -> Trajectory {
        let origin = Point::new(state.x_m, state.y_m);
        let curvature = vehicle::curvature(state.steering_angle_rad);
        let v = state.speed_mps;
        // The centre of the box moves across the heading while the vehicle turns.
        let speed = Point::new(v, vehicle::REAR_AXLE_M * v * curvature);
        let acceleration = Point::new(state.acceleration_mps2, v * v * curvature);
        let mut local: Vec<Point> = Vec::with_capacity(self.waypoints + 1);
        for k in 0..self.waypoints {
            let place = match waypoints.get(k) {
                Some(point) => point.to_frame(origin, state.heading_rad),
                None => {
                    local.last().map_or(Point::default(), |last| *last + speed * (k as f64 * self.step_s))
                }
            };
            local.push(place - speed * ((k + 1) as f64 * self.step_s));
        }
        local.push(acceleration);
        let n = self.waypoints + 1;
        let inner = |row: &[f64]| row.iter().zip(&local).fold(Point::default(), |sum, (g, p)| sum + *p * *g);
        let solution: Vec<Point> = self.gain.chunks_exact(n).map(inner).collect();
        self.integrate(state, speed, &solution)
    }

    /// Runs through the jerks and gives each moment its heading, speed and curvature.
    fn integrate(&self, state: &VehicleState, speed: Point, solution: &[Point]) -> Trajectory {
        let horizon = self.waypoints as f64 * self.step_s;
        let steps = (horizon / CONTROL_S).round() as usize;
        let origin = Point::new(state.x_m, state.y_m);
        let mut curvature = vehicle::curvature(state.steering_angle_rad);
        let mut course = (vehicle::REAR_AXLE_M * curvature).atan();
        let (mut place, mut velocity, mut acceleration) = (Point::default(), speed, solution[0]);
        let mut trajectory = Trajectory { points: Vec::with_capacity(steps + 1) };
        let mut rest = place;
        for k in 0..=steps {
            if k > 0 {
                let mut left = CONTROL_S;
                let mut t = (k - 1) as f64 * CONTROL_S;
                while left > 1e-9 {
                    let i = ((t / self.step_s + 1e-6) as usize).min(self.waypoints - 1);
                    let end =
                        if i + 1 == self.waypoints { f64::INFINITY } else { (i + 1) as f64 * self.step_s };
                    let h = left.min(end - t);
                    let jerk = solution[i + 1];
                    place = place + velocity * h + acceleration * (h * h / 2.0) + jerk * (h * h * h / 6.0);
                    velocity = velocity + acceleration * h + jerk * (h * h / 2.0);
                    acceleration = acceleration + jerk * h;
                    (left, t) = (left - h, t + h);
                }
            }
            let ahead = velocity.dot(Point::polar(1.0, course));
            // Direction and curvature of slow motion are noise: there the last ones are kept.
            let trust = ((ahead - 0.5) / 1.5).clamp(0.0, 1.0);
            let length = velocity.norm().max(0.5);
            let most = LATERAL_MAX_MPS2 / (length * length).max(LATERAL_MAX_MPS2 / 0.4);
            let bend = (velocity.cross(acceleration) / length.powi(3)).clamp(-most, most);
            if k > 0 {
                curvature += trust * (bend - curvature);
                let carried = course + curvature * ahead.max(0.0) * CONTROL_S * (1.0 - trust);
                course = carried + trust * wrap_angle(velocity.angle() - carried);
            }
            // Creeping fades into standing without a jump.
            let shown = if ahead < STANDING_MPS { (2.0 * ahead - STANDING_MPS).max(0.0) } else { ahead };
            let standing = shown == 0.0;
            if !standing {
                rest = place;
            }
            let world = rest.from_frame(origin, state.heading_rad);
            trajectory.points.push(TrajectoryPoint {
                t_s: state.t_s + k as f64 * CONTROL_S,
                x_m: world.x,
                y_m: world.y,
                heading_rad: wrap_angle(
                    state.heading_rad + course - (vehicle::REAR_AXLE_M * curvature).atan(),
                ),
                speed_mps: shown,
                acceleration_mps2: if standing { 0.0 } else { acceleration.dot(Point::polar(1.0, course)) },
                curvature_per_m: curvature,
            });
        }
        trajectory
    }
}

/// How far the unit of an unknown moves the vehicle by `t_s`: unknown 0 is the first acceleration, the others are the
/// jerks of one interval each.
fn basis(unknown: usize, t_s: f64, step_s: f64) -> f64 {
    if unknown == 0 {
        return 0.5 * t_s * t_s;
    }
    let since = (t_s - (unknown - 1) as f64 * step_s).max(0.0);
    let after = (since - step_s).max(0.0);
    let during = since.min(step_s);
    during.powi(3) / 6.0 + during * during / 2.0 * after + during / 2.0 * after * after
}

/// Solves `matrix x = right` for a positive definite matrix by elimination, in place; both are `[n, n]`.
fn solve(matrix: &mut [f64], right: &mut [f64], n: usize) {
    for column in 0..n {
        for row in 0..n {
            if row == column {
                continue;
            }
            let factor = matrix[row * n + column] / matrix[column * n + column];
            for j in 0..n {
                matrix[row * n + j] -= factor * matrix[column * n + j];
                right[row * n + j] -= factor * right[column * n + j];
            }
        }
    }
    for row in 0..n {
        let pivot = matrix[row * n + row];
        right[row * n..(row + 1) * n].iter_mut().for_each(|value| *value /= pivot);
    }
}
