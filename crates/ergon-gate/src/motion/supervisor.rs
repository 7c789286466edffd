//! Which motion the vehicle gets: the first proposed plan that is cleared, else what is left of the plan cleared last, else
//! a soft stop along the motion of before, else a hard stop.

use ergon_types::{Trajectory, TrajectoryPoint};

use super::{MotionLimits, MotionScene, Verdict, judge, plane};
use crate::Cleared;

/// Deceleration of a soft stop: what passengers call firm (ISO 15622's bound for comfortable control is 3.5).
const SOFT_STOP_MPS2: f64 = 3.0;
/// Time between the points of a stop.
const STEP_S: f64 = 0.1;
/// How long the plan cleared last may be carried on: half of what was checked of it is then still ahead.
const CARRY_ON_S: f64 = 1.0;

/// Where a cleared motion came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The proposed plan with this number.
    Proposed(usize),
    /// The plan cleared last.
    Last,
    /// A soft stop on the path of the motion before.
    SoftStop,
    /// A hard stop: the least harm when nothing is cleared.
    HardStop,
}

/// What the supervisor decided at one tick.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the vehicle gets.
    pub motion: Cleared<Trajectory>,
    /// Where it came from.
    pub source: Source,
    /// The verdicts on the proposed plans that were looked at, in order.
    pub verdicts: Vec<Verdict>,
}

/// Keeps the plan cleared last from tick to tick.
#[derive(Clone, Debug)]
pub struct Supervisor {
    limits: MotionLimits,
    last: Option<Kept>,
    /// The motion that the vehicle got last, which new plans must agree with: the plan cleared last, or a stop.
    issued: Option<Trajectory>,
}

#[derive(Clone, Debug)]
struct Kept {
    plan: Trajectory,
    cleared_s: f64,
}

impl Supervisor {
    /// With nothing cleared yet.
    ///
    /// # Errors
    /// A limit is none.
    pub fn new(limits: MotionLimits) -> Result<Supervisor, super::LimitsError> {
        limits.validate()?;
        Ok(Supervisor { limits, last: None, issued: None })
    }

    /// The limits in force.
    pub fn limits(&self) -> &MotionLimits {
        &self.limits
    }

    /// Chooses a motion. `next_plan(k)` gives the plan with number `k` or `None` when there are no more: plans after the
    /// first one that is cleared are not asked for. `scene.last` is filled in here.
    pub fn decide(
        &mut self,
        scene: &MotionScene,
        mut next_plan: impl FnMut(usize) -> Option<Trajectory>,
    ) -> Decision {
        let goes_on =
            |plan: &Trajectory| plan.points.last().is_some_and(|end| end.t_s > scene.now_s + STEP_S);
        let last = self.last.take().filter(|kept| goes_on(&kept.plan));
        let issued = self.issued.take().filter(goes_on);
        let scene = MotionScene { last: issued.as_ref(), ..scene.clone() };
        let mut verdicts = Vec::new();
        while let Some(plan) = next_plan(verdicts.len()) {
            let verdict = judge(&plan, &scene, &self.limits);
            let (cleared, number) = (verdict.is_cleared(), verdicts.len());
            verdicts.push(verdict);
            if cleared {
                self.last = Some(Kept { plan: plan.clone(), cleared_s: scene.now_s });
                self.issued = Some(plan.clone());
                return Decision { motion: Cleared::new(plan), source: Source::Proposed(number), verdicts };
            }
        }
        let (plan, source) = self.fall_back(&scene, last.as_ref());
        self.last = last;
        self.issued = Some(plan.clone());
        Decision { motion: Cleared::new(plan), source, verdicts }
    }

    /// The vehicle did not get what was decided, but goes on with a motion that was cleared before.
    pub fn carried_on(&mut self, motion: &Cleared<Trajectory>) {
        self.issued = Some(motion.get().clone());
    }

    fn fall_back(&self, scene: &MotionScene, last: Option<&Kept>) -> (Trajectory, Source) {
        // A fallback is as new as now, and as long as what is left of it.
        let limits = MotionLimits { duration_min_s: 0.0, ..self.limits.clone() };
        let now = MotionScene { observed_s: scene.now_s, ..scene.clone() };
        if let Some(kept) = last {
            let fresh = scene.now_s - kept.cleared_s <= CARRY_ON_S;
            if fresh && judge(&kept.plan, &now, &limits).is_cleared() {
                return (kept.plan.clone(), Source::Last);
            }
        }
        let soft = stop(scene, SOFT_STOP_MPS2);
        if judge(&soft, &now, &limits).is_cleared() {
            return (soft, Source::SoftStop);
        }
        (stop(scene, limits.deceleration_max_mps2), Source::HardStop)
    }
}

/// A stop on the path of the motion before, or on the present arc of the wheels when there is none. A state that holds no
/// numbers gives a standing plan at the origin: nothing non-finite passes.
fn stop(scene: &MotionScene, brake_mps2: f64) -> Trajectory {
    let MotionScene { ego, body, now_s, last: path, .. } = scene;
    let now_s = *now_s;
    let curvature = ego.steering_angle_rad.tan() / body.wheelbase_m;
    let finite = [ego.x_m, ego.y_m, ego.heading_rad, ego.speed_mps, curvature, now_s];
    if finite.iter().any(|value| !value.is_finite()) {
        return Trajectory { points: vec![TrajectoryPoint::default()] };
    }
    let v0 = ego.speed_mps.max(0.0);
    let steps = ((v0 / brake_mps2 / STEP_S).ceil() as usize).max(30);
    let (mut x, mut y, mut heading) = (ego.x_m, ego.y_m, ego.heading_rad);
    let mut points = Vec::with_capacity(steps + 1);
    let mut along = 0.0;
    for step in 0..=steps {
        let t = step as f64 * STEP_S;
        let braking = t.min(v0 / brake_mps2);
        let way = v0 * braking - 0.5 * brake_mps2 * braking * braking;
        let ds = way - along;
        along = way;
        let bend = path.map_or(curvature, |path| curvature_after(path, now_s, way)).clamp(-0.7, 0.7);
        heading += 0.5 * bend * ds;
        x += ds * heading.cos();
        y += ds * heading.sin();
        heading += 0.5 * bend * ds;
        let speed = (v0 - brake_mps2 * t).max(0.0);
        points.push(TrajectoryPoint {
            t_s: now_s + t,
            x_m: x,
            y_m: y,
            heading_rad: heading,
            speed_mps: speed,
            acceleration_mps2: if speed > 0.0 { -brake_mps2 } else { 0.0 },
            curvature_per_m: bend,
        });
    }
    Trajectory { points }
}

/// Curvature of a plan after a way from where it is now.
fn curvature_after(path: &Trajectory, now_s: f64, way_m: f64) -> f64 {
    let mut left = way_m;
    let mut here = plane::at(&path.points, now_s);
    for p in path.points.iter().filter(|p| p.t_s > now_s) {
        let step = (p.x_m - here.x_m).hypot(p.y_m - here.y_m);
        if step >= left {
            break;
        }
        left -= step;
        here = *p;
    }
    here.curvature_per_m
}
