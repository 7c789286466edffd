//! The box stays on the road.

use ergon_types::Trajectory;

use super::plane::{self, Box2};
use super::{MotionLimits, MotionScene, Rule, Verdict};

pub(super) fn check(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits, verdict: &mut Verdict) {
    if scene.drivable.is_empty() {
        return;
    }
    let (body, areas) = (&scene.body, plane::Areas::new(scene.drivable));
    let overhang = |x_m, y_m, heading_rad| {
        let corners = Box2::new(x_m, y_m, heading_rad, body.length_m, body.width_m).corners();
        corners.iter().map(|corner| areas.outside(*corner)).fold(0.0, f64::max)
    };
    let now = overhang(scene.ego.x_m, scene.ego.y_m, scene.ego.heading_rad);
    // A vehicle that is already over the edge may come back, but not go further.
    let limit = limits.overhang_max_m.max(now + 0.02);
    for p in &plan.points {
        if (scene.now_s..=scene.now_s + limits.horizon_s).contains(&p.t_s) {
            verdict.value(Rule::RoadEdge, overhang(p.x_m, p.y_m, p.heading_rad), limit, p.t_s);
        }
    }
}
