//! Between what the action expert speaks of (normalised waypoints) and a motion in the world.
//!
//! Waypoint k is where the vehicle is after k steps, in the frame that it has now: forward, as the distance beyond going
//! on at the present speed, and left, each over a scale of its own. A model's waypoints are a little uneven, and speed
//! and curvature are derivatives, which make that worse. So the waypoints are smoothed first (Whittaker 1923: the
//! closest sequence whose third differences are small), together with where the vehicle must have been just before by
//! what it measures: the plan then begins with the speed, the acceleration and the curvature that the vehicle has.

use ergon_types::{GoalHint, Trajectory, TrajectoryPoint, VehicleState};

use super::approach::lead_to_goal;
use crate::config::ActionConfig;

/// Weight of the squared third differences against the squared distances: swings shorter than 7.7 steps (1.9 s at four
/// steps a second) are damped by more than half, longer ones are kept.
const SMOOTHNESS: f64 = 4.0;
/// Third differences as the penalty has them.
const DIFFERENCE: [f64; 4] = [-1.0, 3.0, -3.0, 1.0];
/// Slower than this, the direction of the motion says nothing about the vehicle's: it keeps the one it had.
const STEERABLE_MPS: f64 = 0.5;
/// Shorter than this, a piece of path has no curvature of its own.
const MEASURABLE_M: f64 = 0.3;
/// Distance of the axles (BMW 320i of CommonRoad's vehicle models), for the curvature now.
const WHEELBASE_M: f64 = 2.578_912_8;

/// Normalised waypoints `[horizon, 2]` of a motion: `positions_m` are where the vehicle is after each step, in the
/// world, the first a step after `ego`. This is what the action expert is trained on.
///
/// # Panics
/// If there is not one position for each waypoint.
pub fn encode_waypoints(config: &ActionConfig, ego: &VehicleState, positions_m: &[[f64; 2]]) -> Vec<f32> {
    assert_eq!(positions_m.len(), config.horizon, "one position for each waypoint");
    let (sin, cos) = ego.heading_rad.sin_cos();
    let mut actions = Vec::with_capacity(2 * config.horizon);
    for (index, [x, y]) in positions_m.iter().enumerate() {
        let (dx, dy) = (x - ego.x_m, y - ego.y_m);
        let (forward, left) = (dx * cos + dy * sin, dy * cos - dx * sin);
        let coasting = ego.speed_mps * (index + 1) as f64 * config.step_s;
        actions.push(((forward - coasting) / config.scale_x[index]) as f32);
        actions.push((left / config.scale_y[index]) as f32);
    }
    actions
}

/// The motion that normalised waypoints `[horizon, 2]` mean for a vehicle in state `ego`: `horizon + 1` points, the
/// first being `ego` itself. Waypoints that are no numbers give points that are none, for the gate to refuse.
///
/// # Panics
/// If `actions` is not `[horizon, 2]`.
pub fn waypoints_to_trajectory(config: &ActionConfig, ego: &VehicleState, actions: &[f32]) -> Trajectory {
    let [x, y] = smoothed(config, ego, actions);
    trajectory(&x, &y, ego, config.step_s)
}

/// As [`waypoints_to_trajectory`], and where that comes near the goal of `hint` seconds from now, it is led there as far as
/// `share` (0 to 1) of the way. The motion stays as it is where place or time of the goal are not known, where its time
/// is over or beyond the horizon, and where the motion stands or comes no nearer than 8 m to the side.
///
/// # Panics
/// If `actions` is not `[horizon, 2]`.
pub fn waypoints_to_goal(
    config: &ActionConfig,
    ego: &VehicleState,
    actions: &[f32],
    hint: &GoalHint,
    share: f64,
) -> Trajectory {
    let [mut x, mut y] = smoothed(config, ego, actions);
    lead_to_goal(&mut x, &mut y, config.step_s, hint, share);
    trajectory(&x, &y, ego, config.step_s)
}

/// Places forward and left at 0, dt, 2 dt, ... that waypoints mean.
fn smoothed(config: &ActionConfig, ego: &VehicleState, actions: &[f32]) -> [Vec<f64>; 2] {
    assert_eq!(actions.len(), 2 * config.horizon, "two values for each waypoint");
    let (v, a, dt) = (ego.speed_mps, ego.acceleration_mps2, config.step_s);
    let travelled = |t: f64| v * t + 0.5 * a * t * t;
    let before = [travelled(-2.0 * dt), travelled(-dt), 0.0];
    let forward = actions.iter().step_by(2).zip(&config.scale_x).enumerate();
    let forward = forward.map(|(k, (x, scale))| f64::from(*x) * scale + v * (k + 1) as f64 * dt);
    let left = actions.iter().skip(1).step_by(2).zip(&config.scale_y);
    let left = left.map(|(y, scale)| f64::from(*y) * scale);
    let curvature = curvature_now(ego);
    let x = smooth(before, forward.collect());
    let y = smooth(before.map(|s| 0.5 * curvature * s * s), left.collect());
    [x, y]
}

fn trajectory(x: &[f64], y: &[f64], ego: &VehicleState, dt: f64) -> Trajectory {
    let local = motion(x, y, ego, curvature_now(ego), dt);
    Trajectory { points: local.into_iter().map(|point| to_world(ego, point)).collect() }
}

fn curvature_now(ego: &VehicleState) -> f64 {
    ego.steering_angle_rad.tan() / WHEELBASE_M
}

/// Points in the frame of the vehicle now, from smoothed positions at 0, dt, 2 dt, ...
fn motion(x: &[f64], y: &[f64], ego: &VehicleState, curvature: f64, dt: f64) -> Vec<TrajectoryPoint> {
    let now = TrajectoryPoint {
        speed_mps: ego.speed_mps,
        acceleration_mps2: ego.acceleration_mps2,
        curvature_per_m: curvature,
        ..TrajectoryPoint::default()
    };
    let mut points = vec![now];
    for k in 1..x.len() {
        let (vx, vy) = (slope(x, k, dt), slope(y, k, dt));
        let last = points[k - 1].heading_rad;
        let along = vx * last.cos() + vy * last.sin();
        // Never by more than a quarter turn in a step: who moves backwards reverses and does not turn around.
        let turn = (vy * last.cos() - vx * last.sin()).atan2(along.abs()) * along.signum();
        let steers = vx.hypot(vy) > STEERABLE_MPS;
        let heading_rad = if steers { last + turn } else { last };
        let speed_mps = vx * heading_rad.cos() + vy * heading_rad.sin();
        let t_s = k as f64 * dt;
        points.push(TrajectoryPoint { t_s, x_m: x[k], y_m: y[k], heading_rad, speed_mps, ..now });
    }
    for k in 1..points.len() {
        let (from, to) = (points[k - 1], points[(k + 1).min(points.len() - 1)]);
        points[k].acceleration_mps2 = (to.speed_mps - from.speed_mps) / (to.t_s - from.t_s);
        let distance = (to.x_m - from.x_m).hypot(to.y_m - from.y_m);
        points[k].curvature_per_m = match distance > MEASURABLE_M {
            true => (to.heading_rad - from.heading_rad) / distance.copysign(points[k].speed_mps),
            false => from.curvature_per_m,
        };
    }
    points
}

/// Central difference; at the end one of the same order to one side.
fn slope(values: &[f64], k: usize, dt: f64) -> f64 {
    if k + 1 < values.len() {
        (values[k + 1] - values[k - 1]) / (2.0 * dt)
    } else if k >= 2 {
        (3.0 * values[k] - 4.0 * values[k - 1] + values[k - 2]) / (2.0 * dt)
    } else {
        (values[k] - values[k - 1]) / dt
    }
}

fn to_world(ego: &VehicleState, point: TrajectoryPoint) -> TrajectoryPoint {
    let (sin, cos) = ego.heading_rad.sin_cos();
    let turned = ego.heading_rad + point.heading_rad;
    TrajectoryPoint {
        t_s: ego.t_s + point.t_s,
        x_m: ego.x_m + point.x_m * cos - point.y_m * sin,
        y_m: ego.y_m + point.x_m * sin + point.y_m * cos,
        heading_rad: turned.sin().atan2(turned.cos()),
        ..point
    }
}

/// The last of `before` and then the smoothed `values`: minimises the sum of squared distances plus [`SMOOTHNESS`] times
/// the sum of squared third differences, those that reach back into `before` (which is fixed) included.
fn smooth(before: [f64; 3], values: Vec<f64>) -> Vec<f64> {
    let n = values.len();
    // Row i of the symmetric matrix: the diagonal, then the three places to the left of it.
    let mut matrix = vec![[1.0, 0.0, 0.0, 0.0]; n];
    let mut right = values;
    for first in 0..n {
        // The difference over places first-3 .. first, counted in `values`; negative ones are in `before`.
        for (i, row) in (0..4).filter_map(|i| Some((i, (first + i).checked_sub(3)?))) {
            for j in 0..4 {
                let product = SMOOTHNESS * DIFFERENCE[i] * DIFFERENCE[j];
                match (first + j).checked_sub(3) {
                    None => right[row] -= product * before[first + j],
                    Some(column) if column <= row => matrix[row][row - column] += product,
                    Some(_) => {}
                }
            }
        }
    }
    solve_banded(&mut matrix, &mut right);
    let mut smoothed = vec![before[2]];
    smoothed.append(&mut right);
    smoothed
}

/// Solves a positive definite system of half bandwidth 3 in place, by Cholesky's factors L D L^T.
fn solve_banded(matrix: &mut [[f64; 4]], right: &mut [f64]) {
    let n = right.len();
    for row in 0..n {
        for back in (1..=row.min(3)).rev() {
            let column = row - back;
            // What of this row and of that column's row is left of the column.
            for further in back + 1..=row.min(3) {
                let shared = row - further;
                let product = matrix[row][further] * matrix[column][column - shared];
                matrix[row][back] -= product;
            }
        }
        for back in 1..=row.min(3) {
            let scaled = matrix[row][back] / matrix[row - back][0];
            matrix[row][0] -= scaled * matrix[row][back];
            matrix[row][back] = scaled;
            right[row] -= scaled * right[row - back];
        }
    }
    for row in (0..n).rev() {
        right[row] /= matrix[row][0];
        for ahead in 1..=3.min(n - 1 - row) {
            right[row] -= matrix[row + ahead][ahead] * right[row + ahead];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ActionConfig {
        ActionConfig {
            horizon: 16,
            action_dim: 2,
            step_s: 0.25,
            hidden_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 8,
            rms_norm_eps: 1e-6,
            num_inference_steps: 5,
            scale_x: (1..=16).map(|k| 0.2 * f64::from(k)).collect(),
            scale_y: (1..=16).map(|k| 0.1 * f64::from(k)).collect(),
        }
    }

    /// A vehicle somewhere in the world on a circle of curvature `kappa`, with constant acceleration.
    fn circle(kappa: f64, v: f64, a: f64) -> (VehicleState, impl Fn(f64) -> [f64; 3]) {
        let ego = VehicleState {
            t_s: 12.0,
            x_m: 100.0,
            y_m: -50.0,
            heading_rad: 2.5,
            speed_mps: v,
            acceleration_mps2: a,
            steering_angle_rad: (kappa * WHEELBASE_M).atan(),
        };
        let at = move |t: f64| {
            let s = v * t + 0.5 * a * t * t;
            let turn = kappa * s;
            // The chord of an arc, at half its turn.
            let chord = if turn == 0.0 { s } else { 2.0 * (turn / 2.0).sin() / kappa };
            let direction = ego.heading_rad + turn / 2.0;
            [ego.x_m + chord * direction.cos(), ego.y_m + chord * direction.sin(), ego.heading_rad + turn]
        };
        (ego, at)
    }

    fn decoded(config: &ActionConfig, ego: &VehicleState, at: impl Fn(f64) -> [f64; 3]) -> Trajectory {
        let positions: Vec<_> = (1..=16)
            .map(|k| {
                let [x, y, _] = at(f64::from(k) * config.step_s);
                [x, y]
            })
            .collect();
        let actions = encode_waypoints(config, ego, &positions);
        waypoints_to_trajectory(config, ego, &actions)
    }

    /// The bounds are those of the third arc, which turns by 1.5 rad with up to 4 m/s^2 to the side: at its end, where
    /// nothing follows, the same smoother in numpy is off by 0.03 m, 0.22 m/s and 0.67 m/s^2; the others by 0.12 m/s^2.
    #[test]
    fn arcs_come_back_as_they_went_in() {
        let config = config();
        for (kappa, v, a) in [(0.0, 10.0, 0.0), (0.02, 12.0, -1.5), (-0.05, 6.0, 0.8), (0.1, 3.0, 0.0)] {
            let (ego, at) = circle(kappa, v, a);
            let found = decoded(&config, &ego, &at);
            assert_eq!(found.points.len(), 17);
            for (k, point) in found.points.iter().enumerate() {
                let t = k as f64 * 0.25;
                let [x, y, heading] = at(t);
                let distance = (point.x_m - x).hypot(point.y_m - y);
                assert!(distance < 0.1, "{kappa} {v} {a}: {distance} m off after {t} s");
                let turn = (point.heading_rad - heading).sin();
                assert!(turn.abs() < 0.06, "{kappa} {v} {a}: {turn} rad off after {t} s");
                assert!((point.speed_mps - v - a * t).abs() < 0.25, "{kappa} {v} {a}: {}", point.speed_mps);
                assert!((point.acceleration_mps2 - a).abs() < 0.75, "{} after {t}", point.acceleration_mps2);
                assert!((point.curvature_per_m - kappa).abs() < 0.03, "{} after {t}", point.curvature_per_m);
                assert!((point.t_s - 12.0 - t).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn the_first_point_is_the_vehicle() {
        let (ego, at) = circle(0.03, 9.0, 1.0);
        let first = decoded(&config(), &ego, at).points[0];
        assert_eq!((first.t_s, first.x_m, first.y_m), (ego.t_s, ego.x_m, ego.y_m));
        assert!((first.heading_rad - ego.heading_rad).abs() < 1e-12);
        assert_eq!((first.speed_mps, first.acceleration_mps2), (9.0, 1.0));
        assert!((first.curvature_per_m - 0.03).abs() < 1e-12);
    }

    #[test]
    fn uneven_waypoints_are_smoothed() {
        let config = config();
        let ego = VehicleState { speed_mps: 10.0, ..VehicleState::default() };
        // Every other waypoint 0.1 m to the left or right of a straight line.
        let positions: Vec<_> =
            (1..=16).map(|k| [2.5 * f64::from(k), if k % 2 == 0 { 0.1 } else { -0.1 }]).collect();
        let actions = encode_waypoints(&config, &ego, &positions);
        let smooth = waypoints_to_trajectory(&config, &ego, &actions);
        // Left alone the headings would reach 0.08 rad and the curvatures 0.03 per metre.
        for point in &smooth.points {
            assert!(point.heading_rad.abs() < 0.025, "{}", point.heading_rad);
            assert!(point.curvature_per_m.abs() < 0.01, "{}", point.curvature_per_m);
        }
    }

    #[test]
    fn a_standing_vehicle_does_not_turn() {
        let config = config();
        let ego = VehicleState { heading_rad: 1.0, ..VehicleState::default() };
        let actions: Vec<f32> = (0..32).map(|i| if i % 3 == 0 { 0.02 } else { -0.02 }).collect();
        for point in waypoints_to_trajectory(&config, &ego, &actions).points {
            assert!((point.heading_rad - 1.0).abs() < 1e-12);
            assert!(point.speed_mps.abs() < 0.5 && point.curvature_per_m == 0.0);
        }
    }

    #[test]
    fn reversing_keeps_the_heading() {
        let (ego, at) = circle(0.02, -3.0, 0.0);
        for point in decoded(&config(), &ego, at).points {
            assert!((point.heading_rad - ego.heading_rad).abs() < 0.3, "{}", point.heading_rad);
            assert!((point.speed_mps + 3.0).abs() < 0.1, "{}", point.speed_mps);
            assert!((point.curvature_per_m - 0.02).abs() < 0.03, "{}", point.curvature_per_m);
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let config = config();
        let mut actions = vec![0.0; 32];
        actions[9] = f32::NAN;
        let found = waypoints_to_trajectory(&config, &VehicleState::default(), &actions);
        assert!(found.points.iter().skip(1).any(|point| point.y_m.is_nan()));
    }

    #[test]
    fn the_banded_solver_solves() {
        // Against the product: the residual of the normal equations, by differences alone.
        let before = [3.0, 1.0, 0.5];
        let values: Vec<f64> = (0..9).map(|i| f64::from(i * i % 5) - 1.0).collect();
        let smoothed = smooth(before, values.clone());
        let cost = |p: &[f64]| {
            let all: Vec<f64> = before.iter().chain(&p[1..]).copied().collect();
            let rough: f64 = all
                .windows(4)
                .map(|w| w.iter().zip(DIFFERENCE).map(|(p, d)| p * d).sum::<f64>().powi(2))
                .sum();
            let far: f64 = p[1..].iter().zip(&values).map(|(p, z)| (p - z).powi(2)).sum();
            far + SMOOTHNESS * rough
        };
        let best = cost(&smoothed);
        for k in 1..smoothed.len() {
            for shift in [-1e-3, 1e-3] {
                let mut other = smoothed.clone();
                other[k] += shift;
                assert!(cost(&other) > best, "place {k} by {shift}");
            }
        }
    }
}
