//! Who may drive into a crossing. A lane that crosses or joins another is entered only with a grant, and grants of lanes
//! that conflict are not given together unless the first is gone in time; so drivers never meet in the middle. Lights,
//! stop and yield signs, left turns and the right-before-left rule decide who is first. The ego vehicle holds no grants:
//! where it cannot stop any more it counts as having one.

use std::collections::VecDeque;

use ergon_types::{LightColor, VehicleState};

use super::agent::Agent;
use super::net::{ConflictKind, Net};
use super::occupancy::{Occupancy, Who};
use crate::geometry::{Point, wrap_angle};
use crate::vehicle;

/// Approaches farther away than this do not matter.
const REACH_M: f64 = 110.0;
/// Time that must lie between two vehicles in the same place.
const MARGIN_S: f64 = 1.2;
/// A front this far beyond the start of a lane still counts as waiting before it.
const OVER_M: f64 = 1.2;
/// After this long, someone who has the right of way but stands is not waited for any more.
const PATIENCE_S: f64 = 4.0;

/// Someone on the way to, or on, a lane of a junction.
#[derive(Clone, Copy, Debug)]
struct Approach {
    who: Who,
    /// Distance from its centre to the start of the lane; negative on the lane.
    start_m: f64,
    half_length_m: f64,
    speed_mps: f64,
    /// Whether it drives in whatever others do.
    granted: bool,
    /// Whether a red light holds it back, or it stands and lets others go.
    held: bool,
}

/// Who approaches which lane of a junction.
#[derive(Clone, Debug, Default)]
pub(super) struct Approaches {
    lanes: Vec<Vec<Approach>>,
}

/// What one step knows besides the agents.
pub(super) struct Moment<'a> {
    pub(super) net: &'a Net,
    pub(super) lights: &'a [LightColor],
    pub(super) t_s: f64,
}

impl Moment<'_> {
    /// Whether the light at the end of a lane says stop to someone at a distance and speed.
    fn stops(&self, lane: usize, gap_m: f64, speed_mps: f64) -> bool {
        let Some(light) = self.net.lanes[lane].light else { return false };
        let needed_mps2 = speed_mps * speed_mps / (2.0 * gap_m.max(0.1));
        match self.lights[light] {
            LightColor::Red | LightColor::RedYellow => gap_m > -1.0 && needed_mps2 < 6.0,
            LightColor::Yellow => gap_m > 0.0 && needed_mps2 < 3.0,
            LightColor::Green | LightColor::Inactive => false,
        }
    }
}

impl Approaches {
    /// Looks along everyone's path.
    pub(super) fn update(
        &mut self,
        moment: &Moment,
        agents: &[Agent],
        ego: &VehicleState,
        ego_stands_s: f64,
    ) {
        let net = moment.net;
        self.lanes.resize_with(net.lanes.len(), Vec::new);
        self.lanes.iter_mut().for_each(Vec::clear);
        for (i, agent) in agents.iter().enumerate() {
            let half_length_m = 0.5 * agent.length_m;
            let mut held = false;
            let new = |start_m: f64, granted: bool, held: bool| Approach {
                who: Who::Agent(i),
                start_m,
                half_length_m,
                speed_mps: agent.speed_mps,
                granted,
                held,
            };
            for (lane, start_m) in agent.path(net) {
                if start_m > REACH_M {
                    break;
                }
                let road = &net.lanes[lane];
                if road.is_junction {
                    let granted = agent.grants.contains(&lane) || start_m < half_length_m - OVER_M;
                    self.lanes[lane].push(new(start_m, granted, held));
                }
                let gap_m = start_m + road.stop_m - half_length_m;
                held |= moment.stops(lane, gap_m, agent.speed_mps) && start_m + road.length_m > 0.0;
            }
            let mut start_m = -agent.s_m;
            for lane in agent.trail.iter().flatten() {
                if start_m + half_length_m < 0.0 {
                    break;
                }
                start_m -= net.lanes[*lane].length_m;
                self.lanes[*lane].push(new(start_m, true, false));
            }
        }
        self.add_ego(moment, ego, ego_stands_s);
    }

    /// The ego vehicle may take any lane that it can reach.
    fn add_ego(&mut self, moment: &Moment, ego: &VehicleState, stands_s: f64) {
        let net = moment.net;
        let at = Point::new(ego.x_m, ego.y_m);
        let half_length_m = 0.5 * vehicle::LENGTH_M;
        let mut open: VecDeque<(usize, f64, bool)> = VecDeque::new();
        for (i, lane) in net.lanes.iter().enumerate() {
            if !lane.is_near(at, 1.0) {
                continue;
            }
            let foot = lane.center.project(at);
            let inside =
                foot.d_m.abs() < lane.half_width_m + 0.5 && (-0.5..=lane.length_m + 0.5).contains(&foot.s_m);
            if inside && wrap_angle(foot.heading_rad - ego.heading_rad).abs() < 1.2 {
                open.push_back((i, -foot.s_m, stands_s > 2.0));
            }
        }
        let mut left = 64;
        while let Some((i, start_m, held)) = open.pop_front() {
            left -= 1;
            let lane = &net.lanes[i];
            let gap_m = start_m - half_length_m;
            if lane.is_junction {
                let needed_mps2 = ego.speed_mps * ego.speed_mps / (2.0 * (gap_m - 1.0).max(0.1));
                let granted = gap_m < 0.0 || needed_mps2 > 3.5;
                self.lanes[i].push(Approach {
                    who: Who::Ego,
                    start_m,
                    half_length_m,
                    speed_mps: ego.speed_mps,
                    granted,
                    held,
                });
            }
            let held = held || moment.stops(i, start_m + lane.stop_m - half_length_m, ego.speed_mps);
            let next_m = start_m + lane.length_m;
            if next_m < REACH_M && left > 0 {
                open.extend(lane.successors.iter().map(|next| (*next, next_m, held)));
            }
        }
    }

    /// Makes a grant known to those who ask later in the same step.
    fn mark(&mut self, lane: usize, who: Who) {
        for approach in self.lanes[lane].iter_mut().filter(|approach| approach.who == who) {
            approach.granted = true;
        }
    }

    /// Whether others leave a lane of a junction to a driver.
    fn is_clear(&self, moment: &Moment, agent: &Agent, own: Who, lane: usize, start_m: f64) -> bool {
        let road = &moment.net.lanes[lane];
        let half_m = 0.5 * agent.length_m;
        let allowed_mps = road.allowed_mps(0.5 * road.length_m) * agent.haste;
        let waited_s = agent.waits_since_s.map_or(0.0, |since_s| moment.t_s - since_s);
        road.conflicts.iter().filter(|conflict| conflict.kind != ConflictKind::Diverge).all(|conflict| {
            let way_m = (start_m + conflict.own_m[1] + half_m).max(0.0);
            let gone_s = way_m / (0.5 * (agent.speed_mps + allowed_mps)).clamp(2.0, 20.0);
            // The earliest moment it can be there: with 2 m/s^2, v t + t^2 = way.
            let to_zone_m = (start_m + conflict.own_m[0] - half_m).max(0.0);
            let there_s = 0.5 * ((agent.speed_mps.powi(2) + 4.0 * to_zone_m).sqrt() - agent.speed_mps);
            self.lanes[conflict.other].iter().filter(|other| other.who != own).all(|other| {
                let behind_m = -other.start_m - other.half_length_m;
                if behind_m > conflict.other_m[1] {
                    return true;
                }
                if other.granted {
                    let exit_m = other.start_m + conflict.other_m[1] + other.half_length_m;
                    let crosses = conflict.kind == ConflictKind::Cross && other.speed_mps > 3.0;
                    return crosses && exit_m / other.speed_mps + MARGIN_S < there_s;
                }
                let patient = waited_s < PATIENCE_S || other.speed_mps > 0.5;
                if other.held || !conflict.yields || !patient {
                    return true;
                }
                let reach_m = (other.start_m + conflict.other_m[0] - other.half_length_m).max(0.0);
                reach_m / other.speed_mps.max(3.0) > gone_s + MARGIN_S
            })
        })
    }
}

/// Whether there is room for a driver behind a junction lane that ends `end_m` ahead of its centre.
fn has_room(net: &Net, occupancy: &Occupancy, agents: &[Agent], i: usize, end_m: f64) -> bool {
    let agent = &agents[i];
    let half_w = 0.5 * agent.width_m;
    let path = agent.path(net);
    let beyond = occupancy.ahead(
        path.filter(|(_, start_m)| *start_m > end_m - 0.1),
        (i, 0.0),
        [-half_w, half_w],
        end_m + agent.length_m + 8.0,
    );
    beyond.is_none_or(|(gap_m, entry)| {
        gap_m - end_m > agent.length_m + 2.5 || entry.speed_mps > 2.0 && gap_m - end_m > 3.0 || entry.can_pass
    })
}

/// Gives what grants can be given to an agent.
///
/// # Returns
/// Free length to the line at which it has to stop, if there is one within reach.
pub(super) fn gate(
    moment: &Moment,
    approaches: &mut Approaches,
    occupancy: &Occupancy,
    agents: &mut [Agent],
    i: usize,
) -> Option<f64> {
    let net = moment.net;
    let half_m = 0.5 * agents[i].length_m;
    let speed_mps = agents[i].speed_mps;
    let look_m = speed_mps * speed_mps / 2.5 + 15.0 + half_m;
    let path: Vec<(usize, f64)> = agents[i].path(net).take_while(|(_, start_m)| *start_m < look_m).collect();
    let rear_m = agents[i].s_m - half_m;
    let trail = agents[i].trail;
    agents[i].grants.retain(|lane| {
        path.iter().any(|(known, _)| known == lane) || rear_m < 0.0 && trail.contains(&Some(*lane))
    });
    let mut line_m = f64::INFINITY;
    for (lane, start_m) in path {
        let road = &net.lanes[lane];
        let entry_m = start_m - half_m;
        if road.is_junction && !agents[i].grants.contains(&lane) {
            // The line is on the lane before.
            let stop_m = line_m.min(entry_m - 0.7);
            if !try_grant(moment, approaches, occupancy, agents, i, (lane, start_m), stop_m) {
                return Some(stop_m);
            }
        }
        let gap_m = start_m + road.stop_m - half_m;
        if gap_m > -1.0 && moment.stops(lane, gap_m, speed_mps) {
            withdraw(net, &mut agents[i], lane);
            return Some(gap_m);
        }
        line_m = if road.is_junction { f64::INFINITY } else { gap_m.max(-1.0) };
        if gap_m < -1.0 {
            line_m = f64::INFINITY;
        }
    }
    None
}

/// Takes back the grants of lanes behind a red light.
fn withdraw(net: &Net, agent: &mut Agent, lane: usize) {
    let after: Vec<usize> =
        agent.path(net).skip_while(|(known, _)| *known != lane).skip(1).map(|(l, _)| l).collect();
    agent.grants.retain(|granted| !after.contains(granted));
}

fn try_grant(
    moment: &Moment,
    approaches: &mut Approaches,
    occupancy: &Occupancy,
    agents: &mut [Agent],
    i: usize,
    (lane, start_m): (usize, f64),
    stop_m: f64,
) -> bool {
    let road = &moment.net.lanes[lane];
    let agent = &agents[i];
    // A little over the line is still outside.
    let inside = start_m - 0.5 * agent.length_m < -OVER_M;
    let stands = agent.speed_mps < 0.3;
    let needs_stop = road.rank == 0 && !agent.has_stopped && !road.conflicts.iter().all(|c| !c.yields);
    let free = inside
        || !needs_stop
            && approaches.is_clear(moment, agent, Who::Agent(i), lane, start_m)
            && has_room(moment.net, occupancy, agents, i, start_m + road.length_m);
    let agent = &mut agents[i];
    if free {
        agent.grants.push_back(lane);
        agent.waits_since_s = None;
        agent.has_stopped = false;
        approaches.mark(lane, Who::Agent(i));
        return true;
    }
    if stands && stop_m < 4.0 {
        agent.has_stopped = true;
        agent.waits_since_s.get_or_insert(moment.t_s);
    }
    false
}
