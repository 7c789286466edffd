//! Whether the words were followed.

use ergon_types::{ActorKind, VehicleState};

use super::{LOOK_S, LaneChange};
use crate::geometry::{Point, wrap_angle};
use crate::road::{ElementId, Lanelet, RoadNetwork};
use crate::task::{Beside, Instruction, Side, Turn, neighbour};
use crate::vehicle;

/// Standing this long at the end counts as having stopped.
const HELD_S: f64 = 1.0;
/// Looks, two seconds of them, in which a gap grows by less than so many metres behind someone who keeps one back.
const BLOCKED_LOOKS: usize = 20;
const BLOCKED_GROWTH_M: f64 = 2.0;
/// A lane that is kept this long has been changed to, and a speed has been taken up.
const KEPT_S: f64 = 5.0;
/// Who has had a free lane beside for so long could have changed to it.
const GAP_S: f64 = 2.0;
/// Speeds are met within this, or a tenth.
const SPEED_TOLERANCE_MPS: f64 = 1.5;
/// From this part of what is allowed on a vehicle drives as fast as it may, and has sped up if it gained this much before.
const FULL_PART: f64 = 0.95;
const GAINED_MPS: f64 = 0.3;
/// Free length to the right edge of the road at which a vehicle has pulled over.
const EDGE_M: f64 = 1.2;

/// What is known of a run.
pub(super) struct Run<'a> {
    pub(super) states: &'a [VehicleState],
    /// Kind of the vehicle ahead and the gap to it, for each state.
    pub(super) behind: &'a [Option<(ActorKind, f64)>],
    pub(super) changes: &'a [LaneChange],
    /// The lanes to the left and to the right.
    pub(super) beside: [LaneBeside; 2],
    pub(super) visited: &'a [ElementId],
    pub(super) route: &'a [ElementId],
    /// Whether the vehicle is at the right edge of the road now.
    pub(super) at_edge: bool,
    /// What is allowed in the lane that it is in now.
    pub(super) limit_mps: Option<f64>,
}

/// What there was beside the vehicle on one side.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaneBeside {
    /// Whether there was a lane at any time.
    exists: bool,
    /// Looks in a row, until now and at most, at which there was one with nobody in the way.
    free_looks: usize,
    most_free_looks: usize,
}

impl LaneBeside {
    pub(super) fn look(&mut self, beside: &Beside, speed_mps: f64) {
        self.exists |= beside.exists;
        self.free_looks = if beside.is_free(speed_mps) { self.free_looks + 1 } else { 0 };
        self.most_free_looks = self.most_free_looks.max(self.free_looks);
    }

    /// Whether there was a lane, but never a gap in it for long enough to change.
    fn was_taken(&self) -> bool {
        self.exists && self.most_free_looks < looks(GAP_S)
    }
}

/// Looks in a time.
fn looks(time_s: f64) -> usize {
    (time_s / LOOK_S).round() as usize
}

impl Run<'_> {
    /// Whether it stands, and has stood long enough.
    fn stands(&self) -> bool {
        let n = (HELD_S / LOOK_S) as usize;
        self.states.len() > n && self.states.iter().rev().take(n).all(|state| state.speed_mps.abs() < 0.2)
    }

    /// Mean speed of the last two seconds.
    fn last_mps(&self) -> f64 {
        let last = self.states.iter().rev().take(20);
        last.clone().map(|state| state.speed_mps).sum::<f64>() / last.count().max(1) as f64
    }

    /// Whether its speed was right for long enough at some time. Later a bend, a light or the traffic may ask for another.
    fn kept(&self, is_right: impl Fn(f64) -> bool) -> bool {
        self.states
            .chunk_by(|a, b| is_right(a.speed_mps) == is_right(b.speed_mps))
            .any(|same| same.len() >= looks(KEPT_S) && is_right(same[0].speed_mps))
    }

    /// Whether somebody ahead keeps it from going on, or from going faster.
    fn is_blocked(&self) -> bool {
        self.was_blocked_at(self.behind.len().saturating_sub(1), self.last_mps())
    }

    /// Whether somebody ahead did so at a look, at which it had this speed.
    fn was_blocked_at(&self, look: usize, speed_mps: f64) -> bool {
        let gap_m = |look: usize| self.behind.get(look).copied().flatten().map(|(_, gap_m)| gap_m);
        let now_m = gap_m(look);
        let before_m = look.checked_sub(BLOCKED_LOOKS).and_then(gap_m);
        // Nobody is kept back by someone who drives away.
        let leaves = now_m.zip(before_m).is_some_and(|(now_m, before_m)| now_m - before_m > BLOCKED_GROWTH_M);
        now_m.is_some_and(|gap_m| gap_m < 3.0 * speed_mps + 8.0) && !leaves
    }

    /// Whether somebody ahead did so most of the time.
    fn was_mostly_blocked(&self) -> bool {
        let blocked = (0..self.states.len()).filter(|i| self.was_blocked_at(*i, self.states[*i].speed_mps));
        2 * blocked.count() >= self.states.len()
    }

    /// Heading now against that at the start.
    fn turned_rad(&self) -> f64 {
        let steps = self.states.windows(2).map(|pair| wrap_angle(pair[1].heading_rad - pair[0].heading_rad));
        steps.sum()
    }

    /// Seconds of the second half behind a vehicle of a kind, with a gap of at most 4 s and 10 m, and never less than 1 m.
    fn followed(&self, kind: ActorKind) -> bool {
        let half = self.states.len() / 2;
        let kept = |(state, behind): (&VehicleState, &Option<(ActorKind, f64)>)| {
            behind.is_some_and(|(ahead, gap_m)| {
                ahead == kind && gap_m < 4.0 * state.speed_mps + 10.0 && gap_m > 1.0
            })
        };
        let pairs = || self.states.iter().zip(self.behind).skip(half);
        let count = pairs().count();
        count > 0 && pairs().filter(|pair| kept(*pair)).count() * 10 >= count * 7
    }
}

/// Whether the words were followed; `None` where they ask for nothing in particular, or where the traffic ahead, or that in the
/// lane beside, or the speed limit, left no chance to follow them.
pub(super) fn obeyed(instruction: &Instruction, run: &Run) -> Option<bool> {
    let first_mps = run.states.first().map_or(0.0, |state| state.speed_mps);
    let clear_mps = (0.15 * first_mps).max(1.0);
    Some(match instruction {
        Instruction::FollowRoute | Instruction::ReachGoal => return None,
        Instruction::KeepLane => run.changes.is_empty(),
        // Done once it is held; later the new lane may end.
        Instruction::ChangeLane(side) => {
            let Some(first) = run.changes.first() else {
                return (!run.beside[usize::from(*side == Side::Right)].was_taken()).then_some(false);
            };
            let back = |change: &LaneChange| change.side != *side && change.t_s < first.t_s + KEPT_S;
            first.side == *side && !run.changes.iter().any(back)
        }
        Instruction::Turn(turn) => {
            // The lanelet inside the junction is the second of the route; without a route the heading tells.
            let taken = run.route.get(1).map(|inside| run.visited.contains(inside));
            let turned = run.turned_rad();
            let done = taken.unwrap_or(match turn {
                Turn::Left => turned > 1.0,
                Turn::Right => turned < -1.0,
                Turn::Straight => turned.abs() < 0.4,
            });
            // In a queue before the junction.
            if !done && run.is_blocked() && run.visited.len() <= 1 && turned.abs() < 0.4 {
                return None;
            }
            done
        }
        Instruction::Stop => run.stands(),
        Instruction::PullOver => run.stands() && run.at_edge,
        Instruction::SetSpeed { kmh } => {
            let target = f64::from(*kmh) / 3.6;
            let is_right = |mps: f64| (mps - target).abs() < SPEED_TOLERANCE_MPS.max(0.1 * target);
            // Traffic may force one to be slower.
            is_right(run.last_mps()) || run.kept(is_right) || run.last_mps() < target && run.is_blocked()
        }
        // To be slow for a light on the way is not to slow down.
        Instruction::SlowDown => run.last_mps() < first_mps - clear_mps,
        Instruction::SpeedUp => {
            let last_mps = run.last_mps();
            let is_full = |mps: f64| run.limit_mps.is_some_and(|limit_mps| mps > FULL_PART * limit_mps);
            let is_faster = |mps: f64| mps > first_mps + clear_mps;
            let done = is_faster(last_mps)
                || run.kept(is_faster)
                || is_full(last_mps) && last_mps > first_mps + GAINED_MPS;
            let kept = is_full(first_mps) && last_mps > first_mps - clear_mps;
            if !done && (run.is_blocked() || run.was_mostly_blocked() || kept) {
                return None;
            }
            done
        }
        Instruction::Follow(kind) => run.followed(*kind),
    })
}

/// Whether the right side of the vehicle is near the right edge of the road, and it stands about parallel to it.
pub(super) fn at_right_edge(roads: &RoadNetwork, ego: &VehicleState) -> bool {
    let at = Point::new(ego.x_m, ego.y_m);
    let Some(mut lanelet): Option<&Lanelet> =
        roads.lanelets_at(at).filter(|lanelet| lanelet.kind.is_for_cars()).find(|lanelet| {
            wrap_angle(lanelet.center.heading_at(lanelet.center.project(at).s_m) - ego.heading_rad).abs()
                < 0.5
        })
    else {
        return false;
    };
    for _ in 0..12 {
        match neighbour(roads, lanelet.id, Side::Right) {
            Some(beside) => lanelet = beside,
            None => break,
        }
    }
    let foot = lanelet.right.project(at);
    let free_m = foot.d_m - 0.5 * vehicle::WIDTH_M;
    free_m < EDGE_M && wrap_angle(foot.heading_rad - ego.heading_rad).abs() < 0.3
}
