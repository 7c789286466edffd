//! Distances after "On a formal model of safe and scalable self-driving cars" (Shalev-Shwartz, Shammah, Shashua, 2017),
//! with the latency of the pipeline as response time.
//!
//! Strictly, RSS demands full braking of whoever is inside the distance, which nobody in dense traffic keeps. So inside it
//! a plan must respond in proportion: it must not accelerate, and must brake by what keeps the gap from closing to the
//! standstill distance, up to a limit. The margins told are always those of the strict distance.

use ergon_types::{Trajectory, TrajectoryPoint};

use super::collision::project;
use super::plane::{self, Box2};
use super::{Finding, MotionLimits, MotionScene, Rule, TrackedObject, Verdict};

/// The least distance of a vehicle behind at `rear_mps` from one ahead at `front_mps` that drives the same way:
/// `[v_r rho + a rho^2 / 2 + (v_r + rho a)^2 / (2 b_min) - v_f^2 / (2 b_max)]+`, in metres.
pub fn longitudinal_m(
    rear_mps: f64,
    front_mps: f64,
    response_s: f64,
    acceleration_mps2: f64,
    brake_min_mps2: f64,
    brake_max_mps2: f64,
) -> f64 {
    let reached = rear_mps + response_s * acceleration_mps2;
    let own = rear_mps * response_s
        + 0.5 * acceleration_mps2 * response_s * response_s
        + reached * reached / (2.0 * brake_min_mps2);
    (own - front_mps * front_mps / (2.0 * brake_max_mps2)).max(0.0)
}

/// The least lateral distance of two who approach each other sideways with the speeds given (towards each other positive):
/// both accelerate at `acceleration` for the response time and then brake at `brake_min`, in metres.
pub fn lateral_m(
    speeds_mps: [f64; 2],
    response_s: f64,
    acceleration_mps2: f64,
    brake_min_mps2: f64,
    margin_m: f64,
) -> f64 {
    let way = |v: f64| {
        let reached = v + response_s * acceleration_mps2;
        0.5 * (v + reached) * response_s + reached * reached.abs() / (2.0 * brake_min_mps2)
    };
    margin_m + (way(speeds_mps[0]) + way(speeds_mps[1])).max(0.0)
}

pub(super) fn check(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits, verdict: &mut Verdict) {
    let ego = &scene.ego;
    let body = Box2::new(ego.x_m, ego.y_m, ego.heading_rad, scene.body.length_m, scene.body.width_m);
    for object in scene.objects {
        let now = project(object, 0.0, false);
        let beside = Beside::new(scene, &body, object, &now);
        if beside.lateral_gap_m < 0.0 && beside.ahead_m > 0.0 {
            longitudinal(plan, scene, limits, object, &beside, verdict);
        } else if beside.lateral_gap_m >= 0.0 && beside.longitudinal_gap_m < 0.0 {
            lateral(plan, scene, limits, object, &beside, verdict);
        } else if beside.lateral_gap_m >= 0.0 && beside.ahead_m < 0.0 && beside.same_way {
            cut_in(plan, scene, limits, object, &beside, verdict);
        }
    }
}

/// Where an object is, seen from the ego box.
struct Beside {
    /// Its centre, ahead positive.
    ahead_m: f64,
    /// Its centre, left positive.
    left_m: f64,
    /// Between the boxes along the ego heading; negative when they overlap in that direction.
    longitudinal_gap_m: f64,
    /// Between the boxes across the ego heading.
    lateral_gap_m: f64,
    /// Its speed along the ego heading.
    along_mps: f64,
    /// Its speed to the left of the ego heading.
    left_mps: f64,
    same_way: bool,
}

impl Beside {
    fn new(scene: &MotionScene, body: &Box2, object: &TrackedObject, now: &Box2) -> Beside {
        let [ahead_m, left_m] = body.local(now.center);
        let [along, across] = body.reach(now);
        let turned = plane::turn(scene.ego.heading_rad, object.state.heading_rad);
        Beside {
            ahead_m,
            left_m,
            longitudinal_gap_m: ahead_m.abs() - body.half[0] - along,
            lateral_gap_m: left_m.abs() - body.half[1] - across,
            along_mps: object.state.speed_mps * turned.cos(),
            left_mps: object.state.speed_mps * turned.sin(),
            same_way: turned.abs() < 0.5,
        }
    }
}

/// Part of the plan after the response time in which the response must show.
const RESPONSE_SHOWS_S: f64 = 1.0;

fn longitudinal(
    plan: &Trajectory,
    scene: &MotionScene,
    limits: &MotionLimits,
    object: &TrackedObject,
    beside: &Beside,
    verdict: &mut Verdict,
) {
    let (rear, front) = (scene.ego.speed_mps.max(0.0), beside.along_mps.max(0.0));
    let needed = limits.rss_standstill_m
        + longitudinal_m(
            rear,
            front,
            limits.response_time_s,
            limits.rss_acceleration_max_mps2,
            limits.rss_brake_min_mps2,
            limits.rss_brake_max_mps2,
        );
    let gap = beside.longitudinal_gap_m;
    let mut finding = Finding {
        rule: Rule::RssLongitudinal,
        value: needed - gap,
        limit: 0.0,
        t_s: scene.now_s,
        object: Some(object.state.id),
    };
    if gap < needed {
        let closing = (rear - front).max(0.0);
        let room = (gap - limits.rss_standstill_m).max(0.1);
        let demanded = (closing * closing / (2.0 * room)).min(limits.rss_response_brake_mps2);
        let from = scene.now_s + limits.response_time_s;
        let (a, b) = (plane::at(&plan.points, from), plane::at(&plan.points, from + RESPONSE_SHOWS_S));
        let braking = (a.speed_mps - b.speed_mps) / RESPONSE_SHOWS_S;
        let stands = b.speed_mps <= 0.1;
        // Half a metre per second squared is what a steady follower's plan wavers by.
        finding.limit = 0.5;
        finding.value = if stands { 0.0 } else { demanded - braking };
    }
    verdict.add(finding);
}

fn lateral(
    plan: &Trajectory,
    scene: &MotionScene,
    limits: &MotionLimits,
    object: &TrackedObject,
    beside: &Beside,
    verdict: &mut Verdict,
) {
    let side = beside.left_m.signum();
    let towards = side * lateral_speed(plan, scene);
    let other = -side * beside.left_mps;
    let needed = lateral_m(
        [towards, other],
        limits.response_time_s,
        limits.rss_lateral_acceleration_max_mps2,
        limits.rss_lateral_brake_min_mps2,
        limits.rss_lateral_margin_m,
    );
    // Inside the distance a plan must not come closer; 0.3 m/s is what keeping a lane wavers by.
    let inside = beside.lateral_gap_m < needed;
    verdict.add(Finding {
        rule: Rule::RssLateral,
        value: if inside { towards } else { needed - beside.lateral_gap_m },
        limit: if inside { 0.3 } else { 0.0 },
        t_s: scene.now_s,
        object: Some(object.state.id),
    });
}

/// Mean speed to the left of the ego heading over the next second of the plan.
fn lateral_speed(plan: &Trajectory, scene: &MotionScene) -> f64 {
    let later = plane::at(&plan.points, scene.now_s + 1.0);
    let (sin, cos) = scene.ego.heading_rad.sin_cos();
    (later.y_m - scene.ego.y_m) * cos - (later.x_m - scene.ego.x_m) * sin
}

/// A vehicle behind in another lane must be able to brake when the plan moves in front of it.
fn cut_in(
    plan: &Trajectory,
    scene: &MotionScene,
    limits: &MotionLimits,
    object: &TrackedObject,
    beside: &Beside,
    verdict: &mut Verdict,
) {
    let end = scene.now_s + limits.horizon_s;
    let moment = plan.points.iter().filter(|p| (scene.now_s..=end).contains(&p.t_s)).find_map(|p| {
        let dt = p.t_s - scene.now_s;
        let behind = project(object, dt, false);
        let (gap, in_front) = gap_in_lane(scene, p, &behind);
        in_front.then_some((p, gap))
    });
    let Some((p, gap)) = moment else { return };
    let closing = beside.along_mps - p.speed_mps;
    if closing <= 0.0 {
        return;
    }
    let needed = closing / (2.0 * limits.cut_in_brake_mps2) + limits.cut_in_delay_s;
    verdict.add(Finding {
        rule: Rule::CutIn,
        value: needed - gap.max(0.0) / closing,
        limit: 0.0,
        t_s: p.t_s,
        object: Some(object.state.id),
    });
}

/// The gap from a box behind to the ego box at a point of the plan, and whether the ego box is in its way.
fn gap_in_lane(scene: &MotionScene, p: &TrajectoryPoint, behind: &Box2) -> (f64, bool) {
    let ego = Box2::new(p.x_m, p.y_m, p.heading_rad, scene.body.length_m, scene.body.width_m);
    let [ahead, left] = behind.local(ego.center);
    let [along, across] = behind.reach(&ego);
    (ahead - behind.half[0] - along, ahead > 0.0 && left.abs() < behind.half[1] + across)
}
