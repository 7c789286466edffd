//! A plan starts where the vehicle is, and agrees with the plan it replaces.

use ergon_types::Trajectory;

use super::{MotionLimits, MotionScene, Rule, Verdict, plane};

/// How far ahead two plans are compared: what the vehicle does before it can be corrected.
const COMPARED_S: f64 = 0.5;
/// A heading off by 0.2 rad, or a speed off by 2 m/s, counts as a metre.
const M_PER_RAD: f64 = 5.0;
const M_PER_MPS: f64 = 0.5;

pub(super) fn check(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits, verdict: &mut Verdict) {
    let ego = &scene.ego;
    let start = plane::at(&plan.points, scene.now_s);
    let off = (start.x_m - ego.x_m).hypot(start.y_m - ego.y_m);
    let turned = plane::turn(ego.heading_rad, start.heading_rad).abs() * M_PER_RAD;
    let faster = (start.speed_mps - ego.speed_mps).abs() * M_PER_MPS;
    verdict.value(Rule::Start, off.max(turned).max(faster), limits.start_max_m, scene.now_s);
    let Some(last) = scene.last.filter(|last| !last.points.is_empty()) else { return };
    let t = scene.now_s + COMPARED_S;
    let (new, old) = (plane::at(&plan.points, t), plane::at(&last.points, t));
    // Only sideways: braking harder than planned must always be possible.
    let (sin, cos) = ego.heading_rad.sin_cos();
    let aside = (new.y_m - old.y_m) * cos - (new.x_m - old.x_m) * sin;
    verdict.value(Rule::Jump, aside.abs(), limits.jump_max_m, t);
}
