//! Which lanelet follows which and which lies beside which.

use std::collections::HashMap;

use super::index_of_ids;
use crate::geometry::{Point, wrap_angle};
use crate::road::{Adjacent, ElementId, Lanelet, RoadNetwork};

/// An end and a start closer than this are taken for joined.
const JOINT_M: f64 = 1.0;
/// Bounds closer than this run along each other.
const TOUCH_M: f64 = 0.4;

/// The neighbours of a lanelet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Links {
    /// Lanelets it leads into.
    pub successors: Vec<ElementId>,
    /// Lanelets that lead into it.
    pub predecessors: Vec<ElementId>,
    /// To its left, same direction; more than one where they lie beside different parts of it.
    pub left: Vec<ElementId>,
    /// To its right, same direction.
    pub right: Vec<ElementId>,
    /// To its left, other direction.
    pub oncoming_left: Vec<ElementId>,
    /// To its right, other direction.
    pub oncoming_right: Vec<ElementId>,
}

/// The links of a network's lanelets, completed where the network leaves them out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneGraph {
    index: HashMap<ElementId, usize>,
    links: Vec<Links>,
    none: Links,
}

impl LaneGraph {
    /// The links of a network. Declared ones are kept if the lanelet they name exists, and made symmetric.
    pub fn new(roads: &RoadNetwork) -> LaneGraph {
        let index = index_of_ids(roads);
        let mut graph =
            LaneGraph { links: vec![Links::default(); roads.lanelets.len()], index, none: Links::default() };
        for lanelet in &roads.lanelets {
            graph.declare(lanelet);
        }
        for lanelet in &roads.lanelets {
            graph.complete_successors(roads, lanelet);
            graph.complete_sides(roads, lanelet);
        }
        graph
    }

    /// The links of a lanelet; empty ones if it does not exist.
    pub fn links(&self, id: ElementId) -> &Links {
        self.index.get(&id).map_or(&self.none, |i| &self.links[*i])
    }

    /// Where a lanelet stands in the network's list.
    pub fn index_of(&self, id: ElementId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    fn of(&mut self, id: ElementId) -> Option<&mut Links> {
        self.index.get(&id).map(|i| &mut self.links[*i])
    }

    fn join(&mut self, from: ElementId, to: ElementId) {
        if from == to || !self.index.contains_key(&from) || !self.index.contains_key(&to) {
            return;
        }
        if let Some(links) = self.of(from) {
            push_new(&mut links.successors, to);
        }
        if let Some(links) = self.of(to) {
            push_new(&mut links.predecessors, from);
        }
    }

    fn put_beside(&mut self, id: ElementId, other: Adjacent, on_left: bool) {
        if id == other.id || !self.index.contains_key(&id) || !self.index.contains_key(&other.id) {
            return;
        }
        let side = |links: &mut Links, on_left: bool, to: ElementId| {
            let list = match (on_left, other.same_direction) {
                (true, true) => &mut links.left,
                (false, true) => &mut links.right,
                (true, false) => &mut links.oncoming_left,
                (false, false) => &mut links.oncoming_right,
            };
            push_new(list, to);
        };
        if let Some(links) = self.of(id) {
            side(links, on_left, other.id);
        }
        // Beside each other, the one is on the other's opposite side; face to face, on the same.
        let back = if other.same_direction { !on_left } else { on_left };
        if let Some(links) = self.of(other.id) {
            side(links, back, id);
        }
    }

    fn declare(&mut self, lanelet: &Lanelet) {
        for to in &lanelet.successors {
            self.join(lanelet.id, *to);
        }
        for from in &lanelet.predecessors {
            self.join(*from, lanelet.id);
        }
        for (adjacent, on_left) in [(lanelet.adjacent_left, true), (lanelet.adjacent_right, false)] {
            if let Some(adjacent) = adjacent {
                self.put_beside(lanelet.id, adjacent, on_left);
            }
        }
    }

    fn complete_successors(&mut self, roads: &RoadNetwork, lanelet: &Lanelet) {
        if !self.links(lanelet.id).successors.is_empty() {
            return;
        }
        let length = lanelet.center.length();
        let (end, heading) = (lanelet.center.at(length), lanelet.center.heading_at(length));
        let joined: Vec<ElementId> = roads
            .lanelets_near(end, JOINT_M)
            .filter(|other| other.id != lanelet.id && other.kind.is_for_cars() == lanelet.kind.is_for_cars())
            .filter(|other| other.center.points()[0].distance(end) < JOINT_M)
            .filter(|other| wrap_angle(other.center.heading_at(0.0) - heading).abs() < 0.4)
            .map(|other| other.id)
            .collect();
        for id in joined {
            self.join(lanelet.id, id);
        }
    }

    fn complete_sides(&mut self, roads: &RoadNetwork, lanelet: &Lanelet) {
        let links = self.links(lanelet.id);
        let open = |on_left: bool| match on_left {
            true => links.left.is_empty() && links.oncoming_left.is_empty(),
            false => links.right.is_empty() && links.oncoming_right.is_empty(),
        };
        let open = [(true, open(true)), (false, open(false))];
        for (on_left, _) in open.into_iter().filter(|(_, open)| *open) {
            let bound = if on_left { &lanelet.left } else { &lanelet.right };
            let middle = bound.at(0.5 * bound.length());
            let found: Vec<Adjacent> = roads
                .lanelets_near(middle, 0.5 * bound.length() + TOUCH_M)
                .filter(|other| {
                    other.id != lanelet.id && other.kind.is_for_cars() == lanelet.kind.is_for_cars()
                })
                .filter_map(|other| touching(lanelet, other, on_left))
                .collect();
            for adjacent in found {
                self.put_beside(lanelet.id, adjacent, on_left);
            }
        }
    }
}

fn push_new(list: &mut Vec<ElementId>, id: ElementId) {
    if !list.contains(&id) {
        list.push(id);
    }
}

/// Whether another lanelet runs along a side of this one for most of the shorter one.
fn touching(lanelet: &Lanelet, other: &Lanelet, on_left: bool) -> Option<Adjacent> {
    let length = lanelet.center.length();
    let heading = lanelet.center.heading_at(0.5 * length);
    let foot = other.center.project(lanelet.center.at(0.5 * length));
    let turn =
        wrap_angle(other.center.heading_at(foot.s_m.clamp(0.0, other.center.length())) - heading).abs();
    let same_direction = turn < 0.5 * std::f64::consts::PI;
    let bound = if on_left { &lanelet.left } else { &lanelet.right };
    let facing = if on_left == same_direction { &other.right } else { &other.left };
    let samples = 9;
    let touches = |point: Point| {
        let foot = facing.project(point);
        (-0.1..=facing.length() + 0.1).contains(&foot.s_m) && foot.d_m.abs() < TOUCH_M
    };
    let count = (0..samples).filter(|i| touches(bound.at(bound.length() * f64::from(*i) / 8.0))).count();
    let part = count as f64 / f64::from(samples);
    let needed = 0.8 * (facing.length() / bound.length()).min(1.0);
    // The other lanelet must lie outside, not on top: its far bound is a lane's width away.
    let far = if on_left == same_direction { &other.left } else { &other.right };
    let outside = {
        let middle = far.at(0.5 * far.length());
        let d = bound.project(middle).d_m;
        if on_left { d > 1.5 } else { d < -1.5 }
    };
    (count >= 2 && part >= needed && outside).then_some(Adjacent { id: other.id, same_direction })
}
