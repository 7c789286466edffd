//! Kinematic limits, and whether the points are a motion at all.

use ergon_types::Trajectory;

use super::{MotionLimits, MotionScene, Rule, Verdict};

pub(super) fn check(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits, verdict: &mut Verdict) {
    // What lies beyond the horizon is planned anew before it is driven.
    let end = plan.points.partition_point(|p| p.t_s <= scene.now_s + limits.horizon_s);
    let points = &plan.points[..end];
    for p in points {
        let v = p.speed_mps;
        let t = p.t_s;
        if v < 0.0 {
            verdict.value(Rule::Speed, -v, limits.reverse_speed_max_mps, t);
        } else {
            verdict.value(Rule::Speed, v, limits.speed_max_mps, t);
        }
        verdict.value(Rule::Curvature, p.curvature_per_m.abs(), limits.curvature_max_per_m, t);
        // What the vehicle does already is not the plan's choice, and a plan that ends it must be possible.
        if t <= scene.now_s && points.last().is_some_and(|last| last.t_s > scene.now_s) {
            continue;
        }
        let (a, lateral) = (p.acceleration_mps2, v * v * p.curvature_per_m);
        verdict.value(Rule::Acceleration, a, limits.acceleration_max_mps2, t);
        verdict.value(Rule::Deceleration, -a, limits.deceleration_max_mps2, t);
        verdict.value(Rule::LateralAcceleration, lateral.abs(), limits.lateral_acceleration_max_mps2, t);
    }
    for pair in points.windows(2) {
        let (p, q) = (&pair[0], &pair[1]);
        let dt = q.t_s - p.t_s;
        let (v, a, kappa) = (0.5 * (p.speed_mps + q.speed_mps), q.acceleration_mps2, q.curvature_per_m);
        let jerk = (a - p.acceleration_mps2) / dt;
        // Letting go of the brake and stepping on it may be quick; only accelerating harder and harder is bounded.
        if a > 0.0 {
            verdict.value(Rule::Jerk, jerk, limits.jerk_max_mps3, q.t_s);
        }
        let lateral_jerk = v * v * (kappa - p.curvature_per_m) / dt + 3.0 * v * a * kappa;
        verdict.value(Rule::LateralJerk, lateral_jerk.abs(), limits.lateral_jerk_max_mps3, q.t_s);
        let heading = p.heading_rad + 0.5 * super::plane::turn(p.heading_rad, q.heading_rad);
        let off = (q.x_m - p.x_m - v * dt * heading.cos()).hypot(q.y_m - p.y_m - v * dt * heading.sin());
        verdict.value(Rule::Consistency, off, limits.consistency_max_m, q.t_s);
    }
}
