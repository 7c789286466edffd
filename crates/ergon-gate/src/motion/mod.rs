//! Planned motion: every plan is checked before a vehicle gets it.
//!
//! [`check`] runs all rules over one plan; [`Supervisor`] chooses: the first proposed plan that is cleared, else the plan
//! cleared last, else a soft stop, else a hard stop.
//!
//! | rule | file | refuses |
//! |---|---|---|
//! | form, age | `form` | non-finite numbers, time that does not advance, too few points, too short, too old |
//! | kinematics | `kinematics` | speed, accelerations, curvature, jerk beyond the limits |
//! | continuity | `continuity` | a plan that does not start where the vehicle is, or jumps away from the last one |
//! | road edge | `road_edge` | corners of the box outside the drivable area |
//! | collision | `collision` | overlap with the projected box of another road user; late overlap if a stop has any |
//! | RSS | `rss` | too little distance without a response, closing in sideways, cutting in |

mod collision;
mod continuity;
mod form;
mod kinematics;
mod limits;
mod plane;
mod road_edge;
pub mod rss;
mod scene;
mod supervisor;
mod verdict;

use ergon_types::Trajectory;

pub use limits::{LimitsError, MotionLimits};
pub use scene::{EgoBody, MotionScene, TrackedObject};
pub use supervisor::{Decision, Source, Supervisor};
pub use verdict::{Finding, Rule, Verdict};

use crate::Cleared;

/// Checks one plan by every rule.
///
/// # Errors
/// The verdict with at least one broken rule. Margins are told in both cases.
pub fn check(
    plan: Trajectory,
    scene: &MotionScene,
    limits: &MotionLimits,
) -> Result<(Cleared<Trajectory>, Verdict), Verdict> {
    let verdict = judge(&plan, scene, limits);
    if verdict.is_cleared() { Ok((Cleared::new(plan), verdict)) } else { Err(verdict) }
}

/// The verdict on a plan; later rules are not asked when the form is broken, as they would compute with nonsense.
fn judge(plan: &Trajectory, scene: &MotionScene, limits: &MotionLimits) -> Verdict {
    let mut verdict = Verdict::default();
    form::check(plan, scene, limits, &mut verdict);
    if !verdict.is_cleared() {
        return verdict;
    }
    kinematics::check(plan, scene, limits, &mut verdict);
    continuity::check(plan, scene, limits, &mut verdict);
    road_edge::check(plan, scene, limits, &mut verdict);
    collision::check(plan, scene, limits, &mut verdict);
    rss::check(plan, scene, limits, &mut verdict);
    verdict
}
