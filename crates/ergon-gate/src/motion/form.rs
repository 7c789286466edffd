//! Form and age: is this a plan at all, and is it about now?

use ergon_types::Trajectory;

use super::{MotionLimits, MotionScene, Rule, Verdict};

/// Slack for sums of steps in floating point.
const TIME_SLACK_S: f64 = 1e-6;

pub(super) fn check(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits, verdict: &mut Verdict) {
    let bad = count_non_finite(plan, scene);
    verdict.value(Rule::Finite, bad as f64, 0.0, scene.now_s);
    if bad > 0 {
        return;
    }
    let points = &plan.points;
    let backwards = points.windows(2).filter(|pair| pair[1].t_s <= pair[0].t_s).count();
    let starts_late = points.first().is_none_or(|first| first.t_s > scene.now_s + TIME_SLACK_S);
    verdict.value(Rule::TimeOrder, (backwards + usize::from(starts_late)) as f64, 0.0, scene.now_s);
    let left_s = points.last().map_or(0.0, |last| last.t_s - scene.now_s);
    // A duration is too short when more is missing than nothing.
    verdict.value(Rule::Duration, limits.duration_min_s - left_s, TIME_SLACK_S, scene.now_s);
    verdict.value(Rule::Age, scene.now_s - scene.observed_s, limits.age_max_s + TIME_SLACK_S, scene.now_s);
}

fn count_non_finite(plan: &Trajectory, scene: &MotionScene) -> usize {
    let of_plan = plan.points.iter().flat_map(|p| {
        [p.t_s, p.x_m, p.y_m, p.heading_rad, p.speed_mps, p.acceleration_mps2, p.curvature_per_m]
    });
    let of_objects = scene.objects.iter().flat_map(|o| {
        let s = &o.state;
        [s.x_m, s.y_m, s.heading_rad, s.speed_mps, s.length_m, s.width_m, o.yaw_rate_radps]
    });
    let ego = &scene.ego;
    let of_scene = [
        scene.now_s,
        scene.observed_s,
        ego.x_m,
        ego.y_m,
        ego.heading_rad,
        ego.speed_mps,
        scene.body.length_m,
        scene.body.width_m,
    ];
    let of_road = scene.drivable.iter().flatten().flatten().copied();
    of_plan.chain(of_objects).chain(of_scene).chain(of_road).filter(|value| !value.is_finite()).count()
}
