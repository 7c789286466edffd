//! Boxes projected over time: everyone keeps speed and turn rate; those who follow the ego vehicle are expected to brake
//! for it.

use ergon_types::Trajectory;

use super::plane::{self, Box2};
use super::{Finding, MotionLimits, MotionScene, Rule, TrackedObject, Verdict};

/// Time between the compared moments (Autoware's trajectory filter and the bound of what moves through a gap unseen).
const STEP_S: f64 = 0.1;
/// A follower reacts after this time and then brakes at `FOLLOWER_BRAKE_MPS2`: ISO 15623's driver model.
const FOLLOWER_DELAY_S: f64 = 1.0;
const FOLLOWER_BRAKE_MPS2: f64 = 3.0;
/// Whose heading is farther off crosses, and does not follow.
const FOLLOWER_TURN_RAD: f64 = 1.0;
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
    for object in scene.objects {
        let now = project(object, 0.0, false);
        let gap_now = ego_now.gap(&now);
        // Where it is closer than the clearance already, it must not come closer still.
        let least = limits.clearance_m.min(gap_now - 0.02);
        let follows = follows(scene, &ego_now, object, &now);
        for step in 0..=steps {
            let dt = step as f64 * STEP_S;
            let p = plane::at(&plan.points, scene.now_s + dt);
            let ego = ego_box(scene, p.x_m, p.y_m, p.heading_rad);
            let gap = ego.gap(&project(object, dt, follows));
            verdict.add(Finding {
                rule: Rule::Collision,
                value: -gap,
                limit: -least,
                t_s: p.t_s,
                object: Some(object.state.id),
            });
        }
    }
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
