//! Boxes projected over time: everyone keeps speed and turn rate; those who follow the ego vehicle are expected to brake
//! for it. What is foreseen late may be left to a stop.

use std::cell::LazyCell;

use ergon_types::{Trajectory, TrajectoryPoint};

use super::plane::{self, Box2};
use super::{Finding, MotionLimits, MotionScene, Rule, TrackedObject, Verdict};

/// Time between the compared moments (Autoware's trajectory filter and the bound of what moves through a gap unseen).
const STEP_S: f64 = 0.1;
/// A follower reacts after this time and then brakes at `FOLLOWER_BRAKE_MPS2`: ISO 15623's driver model.
const FOLLOWER_DELAY_S: f64 = 1.0;
const FOLLOWER_BRAKE_MPS2: f64 = 3.0;
/// Whose heading is farther off crosses, and does not follow.
const FOLLOWER_TURN_RAD: f64 = 1.0;
/// Contact that is foreseen late is let pass when the plan, driven on for so many steps and then left for a stop like this
/// one (RSS's own braking), leads to no contact with anyone: the gate is mostly asked again before.
const LATE_STOP_STEP: usize = 5;
const LATE_STOP_MPS2: f64 = 4.0;
/// Who would be there within this many steps, 3 s, follows; whatever the horizon of the checks is.
const FOLLOWER_STEPS: usize = 30;

/// A vehicle slower than this stands, and a plan that leads no farther than this leaves it where it is.
const STANDING_MPS: f64 = 0.05;
const STANDING_M: f64 = 0.1;

pub(super) fn check(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits, verdict: &mut Verdict) {
    let steps = (limits.horizon_s / STEP_S).round() as usize;
    // Who stands and goes on standing hits nobody.
    let moves_m = plan
        .points
        .iter()
        .filter(|p| p.t_s >= scene.now_s)
        .map(|p| (p.x_m - scene.ego.x_m).hypot(p.y_m - scene.ego.y_m));
    if scene.ego.speed_mps.abs() < STANDING_MPS && moves_m.fold(0.0, f64::max) < STANDING_M {
        return;
    }
    let ego_now = ego_box(scene, scene.ego.x_m, scene.ego.y_m, scene.ego.heading_rad);
    let others: Vec<Other> =
        scene.objects.iter().map(|object| Other::new(scene, limits, &ego_now, object)).collect();
    let planned: Vec<TrajectoryPoint> = (0..=steps).map(|step| planned_at(plan, scene, step)).collect();
    // Whatever is no time leaves nothing for later.
    let sure = if limits.sure_s >= 0.0 { (limits.sure_s / STEP_S).round() as usize } else { steps };
    let sure = sure.min(steps);
    let clear_stop = LazyCell::new(|| {
        let stop = stopped(&planned);
        others.iter().all(|other| other.closest(scene, &stop).0 >= other.least_m).then_some(stop)
    });
    for other in &others {
        let mut closest = other.closest(scene, &planned);
        let late = closest.0 < other.least_m && other.closest(scene, &planned[..=sure]).0 >= other.least_m;
        if let Some(stop) = late.then(|| clear_stop.as_ref()).flatten() {
            closest = other.closest(scene, stop);
        }
        verdict.add(Finding {
            rule: Rule::Collision,
            value: -closest.0,
            limit: -other.least_m,
            t_s: closest.1,
            object: Some(other.object.state.id),
        });
    }
}

/// One of the others, and how close the ego vehicle may come to it.
struct Other<'a> {
    object: &'a TrackedObject,
    follows: bool,
    least_m: f64,
}

impl Other<'_> {
    fn new<'a>(
        scene: &MotionScene,
        limits: &MotionLimits,
        ego_now: &Box2,
        object: &'a TrackedObject,
    ) -> Other<'a> {
        let now = project(object, 0.0, false);
        // Where it is closer than the clearance already, it must not come closer still.
        let least_m = limits.clearance_m.min(ego_now.gap(&now) - 0.02);
        Other { object, follows: follows(scene, ego_now, object, &now), least_m }
    }

    /// The least gap to a motion, one point for each step from now on, and when that is. What is no number is the least.
    fn closest(&self, scene: &MotionScene, motion: &[TrajectoryPoint]) -> (f64, f64) {
        let gaps = motion.iter().enumerate().map(|(step, p)| {
            let ego = ego_box(scene, p.x_m, p.y_m, p.heading_rad);
            (ego.gap(&project(self.object, step as f64 * STEP_S, self.follows)), p.t_s)
        });
        let least = gaps.min_by(|(a, _), (b, _)| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
        least.unwrap_or((f64::NAN, scene.now_s))
    }
}

/// Where a plan is after so many steps; at its end once it is over.
fn planned_at(plan: &Trajectory, scene: &MotionScene, step: usize) -> TrajectoryPoint {
    let t_s = scene.now_s + step as f64 * STEP_S;
    TrajectoryPoint { t_s, ..plane::at(&plan.points, t_s) }
}

/// The plan, one point for each step, left for a stop on its path: never farther on than planned.
fn stopped(planned: &[TrajectoryPoint]) -> Vec<TrajectoryPoint> {
    let mut way_m = vec![0.0];
    for pair in planned.windows(2) {
        way_m.push(way_m[way_m.len() - 1] + (pair[1].x_m - pair[0].x_m).hypot(pair[1].y_m - pair[0].y_m));
    }
    let place = |(step, point): (usize, &TrajectoryPoint)| {
        let Some(after) = step.checked_sub(LATE_STOP_STEP).filter(|after| *after > 0) else { return *point };
        let speed_mps = planned[LATE_STOP_STEP].speed_mps.max(0.0);
        let braking_s = (after as f64 * STEP_S).min(speed_mps / LATE_STOP_MPS2);
        let way = way_m[LATE_STOP_STEP] + (speed_mps - 0.5 * LATE_STOP_MPS2 * braking_s) * braking_s;
        let next = way_m[..step].partition_point(|planned| *planned <= way).max(1);
        let part = ((way - way_m[next - 1]) / (way_m[next] - way_m[next - 1]).max(1e-9)).clamp(0.0, 1.0);
        let t_s = planned[next - 1].t_s + part * STEP_S;
        TrajectoryPoint { t_s: point.t_s, ..plane::at(planned, t_s) }
    };
    planned.iter().enumerate().map(place).collect()
}

fn ego_box(scene: &MotionScene, x_m: f64, y_m: f64, heading_rad: f64) -> Box2 {
    Box2::new(x_m, y_m, heading_rad, scene.body.length_m, scene.body.width_m)
}

/// Whether an object is behind, heads about the same way, and is in the same lane or would run into the ego vehicle if that
/// stood where it is: in a bend, who follows is not straight behind.
fn follows(scene: &MotionScene, ego: &Box2, object: &TrackedObject, now: &Box2) -> bool {
    let [ahead, left] = ego.local(now.center);
    let [along, across] = ego.reach(now);
    let turned = plane::turn(scene.ego.heading_rad, object.state.heading_rad).abs();
    if ahead > -(ego.half[0] + along) + 0.5 || turned > FOLLOWER_TURN_RAD {
        return false;
    }
    let same_lane = left.abs() < ego.half[1] + across && turned < 0.5;
    same_lane || (0..=FOLLOWER_STEPS).any(|k| ego.gap(&project(object, k as f64 * STEP_S, false)) < 0.0)
}

/// The box of an object after `dt_s`: on a circle with its speed and turn rate.
pub(super) fn project(object: &TrackedObject, dt_s: f64, brakes: bool) -> Box2 {
    let s = &object.state;
    let braking_s = if brakes { (dt_s - FOLLOWER_DELAY_S).max(0.0) } else { 0.0 };
    let braking_s = braking_s.min(s.speed_mps.abs() / FOLLOWER_BRAKE_MPS2);
    let lost = if brakes && dt_s > FOLLOWER_DELAY_S {
        let after = dt_s - FOLLOWER_DELAY_S;
        s.speed_mps.abs() * after
            - (s.speed_mps.abs() * braking_s - 0.5 * FOLLOWER_BRAKE_MPS2 * braking_s * braking_s)
    } else {
        0.0
    };
    let distance = s.speed_mps * dt_s - lost.copysign(s.speed_mps);
    // A braking one turns less, as it stays on its circle.
    let full = s.speed_mps * dt_s;
    let part = if lost != 0.0 && full.abs() > 1e-9 { distance / full } else { 1.0 };
    let turned = object.yaw_rate_radps * dt_s * part;
    // The chord of the arc: direction half-way, length sin(x)/x of the arc.
    let half = 0.5 * turned;
    let chord = if half.abs() > 1e-6 { distance * half.sin() / half } else { distance };
    let (sin, cos) = (s.heading_rad + half).sin_cos();
    Box2::new(s.x_m + chord * cos, s.y_m + chord * sin, s.heading_rad + turned, s.length_m, s.width_m)
}
