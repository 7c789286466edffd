//! The last seconds to a goal. A plan that comes near the place, the direction and the speed that the navigation asks for
//! is led there.
//!
//! A network is good at which way and how fast, and poor at half a metre: goals of published problems are 1.7 m wide. So
//! what is known for certain is put into the sampled motion, as samplers of motions do it that fix the states that are
//! given (Janner et al., "Planning with Diffusion for Flexible Behavior Synthesis", 2022). Here a cubic in time is added,
//! the change of place that needs the least acceleration: what is driven of it before the next plan is already a part of
//! the way, which of smoother polynomials it is not. Nothing is used that the network is not told, too.

use ergon_types::GoalHint;

/// Nothing is aimed at that is closer in time than this: no vehicle could follow.
const SOONEST_S: f64 = 0.4;
/// Between the times that are tried.
const TRIED_S: f64 = 0.1;
/// Slower plans have no direction.
const SLOWEST_MPS: f64 = 0.5;
/// A goal farther aside belongs to another way.
const ASIDE_MAX_M: f64 = 8.0;
/// Most that is accelerated, along and across, beyond what the plan does.
const ACCELERATION_MAX_MPS2: f64 = 4.0;
/// Greatest acceleration of such a cubic for 1 m in 1 s.
const CUBIC_PEAK: f64 = 6.0;
/// Most that the direction at the goal is turned.
const TURN_MAX_RAD: f64 = 0.6;
/// Part of the range of speeds that is kept off at either end.
const SPEED_INSET: f64 = 0.2;
/// Behind the goal the plan returns to what it was, within this time: the way on is the network's.
const RETURN_S: f64 = 2.0;

/// Leads places of a vehicle, `x` metres forward and `y` left at 0, `step_s`, 2 `step_s`, ... from now, to the goal of
/// `hint`, as far as `share` (0 to 1) of the way, if there is one to be led to ([`super::waypoints_to_goal`] says when).
/// Place and speed at the start stay what they are.
pub(super) fn lead_to_goal(x: &mut [f64], y: &mut [f64], step_s: f64, hint: &GoalHint, share: f64) {
    let (Some(goal), Some([earliest_s, latest_s])) = (hint.position_m, hint.time_window_s) else { return };
    let plan = Plan { x, y, step_s };
    let end_s = plan.end_s();
    if latest_s < 0.0 || earliest_s > end_s {
        return;
    }
    let window_s = [earliest_s.max(SOONEST_S), latest_s.clamp(SOONEST_S, end_s.max(SOONEST_S))];
    let at_s = plan.nearest(goal, window_s);
    let [vx, vy] = plan.velocity(at_s);
    let v = vx.hypot(vy);
    if v.is_nan() || v < SLOWEST_MPS {
        return;
    }
    let (cos, sin) = (vx / v, vy / v);
    let here = plan.at(at_s);
    let (dx, dy) = (goal[0] - here[0], goal[1] - here[1]);
    let (along_m, aside_m) = (dx * cos + dy * sin, dy * cos - dx * sin);
    if aside_m.abs() > ASIDE_MAX_M {
        return;
    }
    let most_m = ACCELERATION_MAX_MPS2 * at_s * at_s / CUBIC_PEAK;
    let turn_rad = hint.heading_rad.map_or(0.0, |heading| {
        let turn = heading - vy.atan2(vx);
        turn.sin().atan2(turn.cos()).clamp(-TURN_MAX_RAD, TURN_MAX_RAD)
    });
    let gain_mps = hint.speed_range_mps.map_or(0.0, |[low, high]| {
        let inset = SPEED_INSET * (high - low).max(0.0);
        v.max(low + inset).min(high - inset) - v
    });
    let step_m = [along_m, aside_m].map(|step| share * step.clamp(-most_m, most_m));
    let slope_mps = [share * gain_mps, share * v * turn_rad];
    for (k, (x, y)) in x.iter_mut().zip(y).enumerate() {
        let (step, slope) = weights(k as f64 * step_s, at_s);
        let [along, aside] = [0, 1].map(|i| step_m[i] * step + slope_mps[i] * slope);
        *x += along * cos - aside * sin;
        *y += along * sin + aside * cos;
    }
}

/// What part of a step is done at a time if it is to be done at `at_s`, and how far (in seconds times the change of
/// speed) something has moved whose speed, but not its place, is changed at `at_s`.
fn weights(t_s: f64, at_s: f64) -> (f64, f64) {
    if t_s <= at_s {
        let u = t_s / at_s;
        // Place and speed 0 at the start; at the end place 0 and slope 1.
        (ease(u), at_s * u * u * (u - 1.0))
    } else {
        let left = 1.0 - ease(((t_s - at_s) / RETURN_S).min(1.0));
        (left, (t_s - at_s) * left)
    }
}

/// From 0 to 1, with no slope at either end.
fn ease(u: f64) -> f64 {
    u * u * (3.0 - 2.0 * u)
}

/// Where a vehicle is at 0, `step_s`, 2 `step_s`, ... from now.
struct Plan<'a> {
    x: &'a [f64],
    y: &'a [f64],
    step_s: f64,
}

impl Plan<'_> {
    fn end_s(&self) -> f64 {
        (self.x.len() - 1) as f64 * self.step_s
    }

    /// The place at a time within the horizon.
    fn at(&self, t_s: f64) -> [f64; 2] {
        let steps = (t_s / self.step_s).max(0.0);
        let last = self.x.len() - 1;
        let before = (steps as usize).min(last);
        let (after, part) = ((before + 1).min(last), (steps - before as f64).min(1.0));
        [self.x, self.y].map(|values| values[before] + part * (values[after] - values[before]))
    }

    /// The mean velocity around a time.
    fn velocity(&self, t_s: f64) -> [f64; 2] {
        let (from_s, to_s) = ((t_s - self.step_s).max(0.0), (t_s + self.step_s).min(self.end_s()));
        let (from, to) = (self.at(from_s), self.at(to_s));
        [0, 1].map(|i| (to[i] - from[i]) / (to_s - from_s))
    }

    /// When within a window it comes nearest to a place.
    fn nearest(&self, [x, y]: [f64; 2], [from_s, to_s]: [f64; 2]) -> f64 {
        let steps = ((to_s - from_s) / TRIED_S).ceil().max(1.0);
        let times = (0..=steps as usize).map(|i| from_s + (to_s - from_s) * i as f64 / steps);
        let away = |t_s: f64| {
            let place = self.at(t_s);
            (x - place[0]).hypot(y - place[1])
        };
        times.min_by(|a, b| away(*a).total_cmp(&away(*b))).unwrap_or(from_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_S: f64 = 0.25;

    fn hint(position: [f64; 2], window: [f64; 2]) -> GoalHint {
        GoalHint { position_m: Some(position), time_window_s: Some(window), ..GoalHint::default() }
    }

    /// 4 s straight on at a speed, led to a goal.
    fn led(speed_mps: f64, hint: &GoalHint, share: f64) -> [Vec<f64>; 2] {
        let mut x: Vec<f64> = (0..=16).map(|k| f64::from(k) * STEP_S * speed_mps).collect();
        let mut y = vec![0.0; 17];
        lead_to_goal(&mut x, &mut y, STEP_S, hint, share);
        [x, y]
    }

    fn plan([x, y]: &[Vec<f64>; 2]) -> Plan<'_> {
        Plan { x, y, step_s: STEP_S }
    }

    fn assert_near(found: [f64; 2], expected: [f64; 2]) {
        let off = (found[0] - expected[0]).hypot(found[1] - expected[1]);
        assert!(off < 0.02, "{found:?}, expected {expected:?}");
    }

    #[test]
    fn the_goal_is_met_in_place_and_time() {
        let goal = hint([20.5, 1.2], [2.0, 2.0]);
        let places = led(10.0, &goal, 1.0);
        assert_near(plan(&places).at(2.0), [20.5, 1.2]);
        assert_near(plan(&places).at(0.25), [2.52, 0.05]);
        // And left again.
        assert_near(plan(&places).at(4.0), [40.0, 0.0]);
        assert_near(plan(&led(10.0, &goal, 0.5)).at(2.0), [20.25, 0.6]);
        // Within a window, when the plan is there by itself.
        assert_near(plan(&led(10.0, &hint([25.0, -0.8], [1.5, 3.5]), 1.0)).at(2.5), [25.0, -0.8]);
    }

    #[test]
    fn the_goal_is_met_with_its_heading_and_speed() {
        let ahead = hint([30.0, 0.0], [3.0, 3.0]);
        let turned = led(10.0, &GoalHint { heading_rad: Some(0.2), ..ahead }, 1.0);
        assert_near(plan(&turned).at(3.0), [30.0, 0.0]);
        let [vx, vy] = plan(&turned).velocity(3.0);
        assert!((vy.atan2(vx) - 0.2).abs() < 0.04, "{vx} {vy}");
        let slow = led(10.0, &GoalHint { speed_range_mps: Some([4.0, 9.0]), ..ahead }, 1.0);
        assert_near(plan(&slow).at(3.0), [30.0, 0.0]);
        let [vx, _] = plan(&slow).velocity(3.0);
        assert!((vx - 8.0).abs() < 0.4, "{vx}");
    }

    #[test]
    fn what_cannot_be_aimed_at_is_left_alone() {
        let far_aside = hint([20.0, 9.0], [2.0, 2.0]);
        let beyond = hint([50.0, 1.0], [5.0, 6.0]);
        let over = hint([20.0, 1.0], [-3.0, -1.0]);
        let nowhere = GoalHint { position_m: None, ..hint([20.0, 1.0], [2.0, 2.0]) };
        for hint in [far_aside, beyond, over, nowhere] {
            assert_eq!(led(10.0, &hint, 1.0), led(10.0, &GoalHint::default(), 1.0), "{hint:?}");
        }
        let standing = led(0.0, &hint([1.0, 0.0], [1.0, 1.0]), 1.0);
        assert!(standing.iter().flatten().all(|place| *place == 0.0));
    }

    #[test]
    fn no_more_is_asked_than_a_vehicle_can_do() {
        let places = led(10.0, &hint([14.0, 4.0], [1.0, 1.0]), 1.0);
        let most_m = ACCELERATION_MAX_MPS2 / CUBIC_PEAK;
        assert_near(plan(&places).at(1.0), [10.0 + most_m, most_m]);
        // Too late to be followed, it is still aimed at somewhere ahead.
        let late = led(10.0, &hint([0.1, 0.1], [0.0, 0.05]), 1.0);
        assert!(late.iter().flatten().all(|place| place.is_finite()));
    }

    #[test]
    fn damaged_plans_and_short_ones_stay_as_they_are() {
        let goal = hint([20.0, 1.0], [2.0, 2.0]);
        let (mut x, mut y) = (vec![f64::NAN; 17], vec![f64::NAN; 17]);
        lead_to_goal(&mut x, &mut y, STEP_S, &goal, 1.0);
        assert!(x.iter().chain(&y).all(|place| place.is_nan()));
        let (mut x, mut y) = ([0.0, 2.5], [0.0, 0.0]);
        lead_to_goal(&mut x, &mut y, STEP_S, &hint([2.0, 1.0], [0.0, 0.2]), 1.0);
        assert!(x.iter().chain(&y).all(|place| place.is_finite()));
    }
}
