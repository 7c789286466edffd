//! Who covers which stretch of which lane: drivers look for what is in their way here.

use super::agent::Agent;
use super::net::{Net, cover};
use crate::geometry::OrientedBox;

/// Who covers a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A driver or cyclist, by its place in the list.
    Agent(usize),
    /// The ego vehicle.
    Ego,
    /// Parked, or on foot.
    Other,
}

/// A covered stretch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) s_m: [f64; 2],
    pub(super) d_m: [f64; 2],
    /// Speed along the lane.
    pub(super) speed_mps: f64,
    pub(super) who: Who,
    /// Whether it can be passed within the lane: a cyclist or something parked.
    pub(super) can_pass: bool,
}

/// What covers the lanes at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Occupancy {
    pub(super) lanes: Vec<Vec<Entry>>,
}

impl Occupancy {
    /// Nothing on any lane.
    pub(super) fn clear(&mut self, n: usize) {
        self.lanes.resize_with(n, Vec::new);
        self.lanes.iter_mut().for_each(Vec::clear);
    }

    /// Adds a box to every lane it touches.
    pub(super) fn add_box(
        &mut self,
        net: &Net,
        shape: &OrientedBox,
        speed_mps: f64,
        who: Who,
        can_pass: bool,
    ) {
        for (i, lane) in net.lanes.iter().enumerate() {
            if let Some(cover) = cover(lane, shape) {
                let speed_mps = speed_mps * cover.turn_rad.cos();
                self.lanes[i].push(Entry { s_m: cover.s_m, d_m: cover.d_m, speed_mps, who, can_pass });
            }
        }
    }

    /// Adds a driver to its lane, to the lanes it sticks out to, and to those that cross under it.
    pub(super) fn add_agent(&mut self, net: &Net, agents: &[Agent], i: usize) {
        let agent = &agents[i];
        let (half_l, half_w) = (0.5 * agent.length_m, 0.5 * agent.width_m);
        let who = Who::Agent(i);
        let road = &net.lanes[agent.lane];
        let bends = road.is_junction || road.kind == crate::road::LaneletKind::Intersection;
        let can_pass = agent.kind == ergon_types::ActorKind::Bicycle && !bends;
        // Who changes lanes claims all that it is going to cover: the lane is taken from the first moment.
        let goes_to_m = if agent.leaving.is_some() { agent.habit_m } else { agent.d_m };
        let entry = Entry {
            s_m: [agent.s_m - half_l, agent.s_m + half_l],
            d_m: [agent.d_m.min(goes_to_m) - half_w, agent.d_m.max(goes_to_m) + half_w],
            speed_mps: agent.speed_mps,
            who,
            can_pass,
        };
        let lane = &net.lanes[agent.lane];
        self.lanes[agent.lane].push(entry);
        let shifted = |by_m: f64| Entry { s_m: [entry.s_m[0] + by_m, entry.s_m[1] + by_m], ..entry };
        let mut touched = vec![agent.lane];
        if let Some(next) = agent.route.front().filter(|_| entry.s_m[1] > lane.length_m) {
            self.lanes[*next].push(shifted(-lane.length_m));
            touched.push(*next);
        }
        let mut behind_m = 0.0;
        for before in agent.trail.iter().flatten() {
            if entry.s_m[0] + behind_m >= 0.0 {
                break;
            }
            behind_m += net.lanes[*before].length_m;
            self.lanes[*before].push(shifted(behind_m));
            touched.push(*before);
        }
        self.add_beside(net, agent, &entry, &mut touched);
    }

    /// Adds the parts of a driver's box on lanes beside and across those in `touched`.
    fn add_beside(&mut self, net: &Net, agent: &Agent, entry: &Entry, touched: &mut Vec<usize>) {
        let shape = agent.shape();
        for k in 0..touched.len() {
            let lane = &net.lanes[touched[k]];
            let crossing = lane.conflicts.iter().map(|conflict| conflict.other);
            let left = lane.left.filter(|_| entry.d_m[1] > lane.half_width_m - 0.1);
            let right = lane.right.filter(|_| entry.d_m[0] < 0.1 - lane.half_width_m);
            let others: Vec<usize> = crossing.chain(left).chain(right).collect();
            for other in others {
                if touched.contains(&other) {
                    continue;
                }
                if let Some(cover) = cover(&net.lanes[other], &shape) {
                    let speed_mps = agent.speed_mps * cover.turn_rad.cos();
                    self.lanes[other].push(Entry { s_m: cover.s_m, d_m: cover.d_m, speed_mps, ..*entry });
                    touched.push(other);
                }
            }
        }
    }

    /// What is next ahead of an agent on a path, in the corridor between two offsets.
    ///
    /// # Returns
    /// The free length and the entry.
    pub(super) fn ahead(
        &self,
        path: impl Iterator<Item = (usize, f64)>,
        me: (usize, f64),
        corridor_m: [f64; 2],
        reach_m: f64,
    ) -> Option<(f64, Entry)> {
        let (own, half_length_m) = me;
        let mut best: Option<(f64, Entry)> = None;
        for (lane, start_m) in path {
            if start_m > reach_m {
                break;
            }
            for entry in &self.lanes[lane] {
                if entry.who == Who::Agent(own)
                    || entry.d_m[1] < corridor_m[0]
                    || entry.d_m[0] > corridor_m[1]
                {
                    continue;
                }
                let (rear, front) = (start_m + entry.s_m[0], start_m + entry.s_m[1]);
                // What is beside or behind does not count: its middle is behind.
                if 0.5 * (rear + front) <= 0.0 {
                    continue;
                }
                let gap_m = rear - half_length_m;
                if best.is_none_or(|(least, _)| gap_m < least) {
                    best = Some((gap_m, *entry));
                }
            }
            if best.is_some_and(|(gap_m, _)| gap_m < start_m + 5.0) {
                break;
            }
        }
        best.filter(|(gap_m, _)| *gap_m < reach_m)
    }

    /// What is next behind a station of a lane, looking back over predecessors.
    ///
    /// # Returns
    /// The distance from the station to its front, and the entry.
    pub(super) fn behind(
        &self,
        net: &Net,
        lane: usize,
        s_m: f64,
        own: usize,
        reach_m: f64,
    ) -> Option<(f64, Entry)> {
        let (mut lane, mut end_m) = (lane, s_m);
        let mut best: Option<(f64, Entry)> = None;
        for _ in 0..6 {
            let half = net.lanes[lane].half_width_m - 0.3;
            for entry in &self.lanes[lane] {
                let inside = entry.d_m[1] > -half && entry.d_m[0] < half;
                let middle = 0.5 * (entry.s_m[0] + entry.s_m[1]);
                if entry.who == Who::Agent(own) || !inside || middle > end_m {
                    continue;
                }
                let gap_m = end_m - entry.s_m[1];
                if best.is_none_or(|(least, _)| gap_m < least) {
                    best = Some((gap_m, *entry));
                }
            }
            if best.is_some() || end_m > reach_m {
                break;
            }
            let Some(before) = net.lanes[lane].predecessors.first() else { break };
            lane = *before;
            end_m += net.lanes[lane].length_m;
        }
        best.filter(|(gap_m, _)| *gap_m < reach_m)
    }
}
