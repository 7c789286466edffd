//! Search along one line through space and time: from layer to layer every kept state of the vehicle is driven on with
//! several accelerations towards several lateral positions, by the real vehicle model, and what would hit someone or
//! leave the road is dropped. What arrives in the goal is therefore drivable as it is.

use std::collections::HashMap;

use ergon_types::{Control, VehicleState};

use super::line::DriveLine;
use super::space::{Edges, FastBox, Timetable};
use crate::geometry::{OrientedBox, Point, wrap_angle};
use crate::road::RoadNetwork;
use crate::scenario::Goal;
use crate::vehicle;

/// Time steps between two decisions at most.
const STEPS_MAX: usize = 5;
/// Time steps of a whole search at most: four minutes of 0.1 s.
pub(super) const STEPS_ALL_MAX: usize = 2400;
/// Accelerations to choose from when the front wheels are turned freely.
const FEW_ACCELERATIONS: [f64; 6] = [0.0, -1.5, 1.5, -4.0, 3.8, -7.5];
/// Curvatures to choose from then.
const CURVATURES: [f64; 13] =
    [0.0, 0.015, -0.015, 0.04, -0.04, 0.08, -0.08, 0.13, -0.13, 0.19, -0.19, 0.25, -0.25];
/// Accelerations to choose from.
const ACCELERATIONS: [f64; 9] = [0.0, -1.0, 1.0, -2.0, 2.0, -4.0, 3.8, -7.5, 6.5];

/// What all searches of a problem share.
pub(super) struct Ground<'a> {
    pub(super) roads: &'a RoadNetwork,
    pub(super) edges: &'a Edges,
    pub(super) table: &'a Timetable,
    pub(super) goals: &'a [Goal],
    pub(super) step_s: f64,
    pub(super) start: VehicleState,
    pub(super) start_step: usize,
}

/// How one search goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// States kept from layer to layer.
    pub(super) width: usize,
    /// Free space to others along the vehicle and beside it.
    pub(super) margin_m: [f64; 2],
    /// Free space to the edge of the road.
    pub(super) edge_m: f64,
    /// Lateral errors fade within so many seconds of driving.
    pub(super) across_s: f64,
    /// Greatest speed across the line.
    pub(super) across_mps: f64,
    /// Greatest lateral acceleration.
    pub(super) lateral_mps2: f64,
    /// Lateral positions looked at lie so far apart at least.
    pub(super) shift_m: f64,
    /// Time between two decisions, about.
    pub(super) layer_s: f64,
    /// Chooses curvatures instead of lateral positions: slower, but finds the way round tight corners.
    pub(super) steers: bool,
}

/// Where a goal lies along the line.
#[derive(Clone, Copy, Debug)]
struct Aim {
    /// First and last time step.
    steps: [usize; 2],
    /// First and last station and least and greatest offset of its region, if it has one.
    region: Option<[[f64; 2]; 2]>,
    speed_mps: Option<[f64; 2]>,
    /// The side to which the goal's headings turn away from the line, if they do: it can be met only on the way across.
    cross: Option<f64>,
}

#[derive(Clone)]
struct Node {
    state: VehicleState,
    s: f64,
    d: f64,
    /// Lateral position that is steered for, or the curvature.
    target: f64,
    acceleration: f64,
    cost: f64,
    parent: usize,
    /// The states after each time step since the parent.
    path: [VehicleState; STEPS_MAX],
    controls: [Control; STEPS_MAX],
    taken: usize,
}

/// States and controls, one per time step from the start; the last state is in the goal.
pub(super) struct Found {
    pub(super) states: Vec<VehicleState>,
    pub(super) controls: Vec<Control>,
    pub(super) cost: f64,
}

/// How far a search came: the last time step at which a state was left, of the one needed.
pub(super) struct Lost {
    pub(super) step: usize,
    pub(super) states: Vec<VehicleState>,
    pub(super) controls: Vec<Control>,
}

pub(super) struct Search<'a> {
    ground: &'a Ground<'a>,
    line: &'a DriveLine,
    style: Style,
    /// Distance of neighbouring lanes along this line.
    lane_m: f64,
    aims: Vec<Aim>,
    nodes: Vec<Node>,
    last_step: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(ground: &'a Ground<'a>, line: &'a DriveLine, lane_m: f64, style: Style) -> Search<'a> {
        let (from, _) = line.project(Point::new(ground.start.x_m, ground.start.y_m));
        let aims: Vec<Aim> =
            ground.goals.iter().flat_map(|goal| aims_of(goal, ground.roads, line, from)).collect();
        let last_step =
            aims.iter().map(|aim| aim.steps[1]).max().unwrap_or(0).min(ground.start_step + STEPS_ALL_MAX);
        Search { ground, line, style, lane_m, aims, nodes: Vec::new(), last_step }
    }

    /// The cheapest way into the goal among those of the first layer that has any.
    pub(super) fn run(mut self) -> Result<Found, Lost> {
        let ground = self.ground;
        let start = ground.start;
        let (s, d) = self.line.project(Point::new(start.x_m, start.y_m));
        self.nodes.push(Node {
            state: start,
            s,
            d,
            target: if self.style.steers { vehicle::curvature(start.steering_angle_rad) } else { d },
            acceleration: start.acceleration_mps2.clamp(-4.0, 4.0),
            cost: 0.0,
            parent: usize::MAX,
            path: [start; STEPS_MAX],
            controls: [Control::default(); STEPS_MAX],
            taken: 0,
        });
        let mut layer = vec![0_usize];
        let mut step = ground.start_step;
        if ground.goals.iter().any(|goal| goal.reached(step, &start, ground.roads)) {
            return Ok(self.found(&[], 0));
        }
        let per_layer = ((self.style.layer_s / ground.step_s).round() as usize).clamp(1, STEPS_MAX);
        while step < self.last_step {
            let taken = per_layer.min(self.last_step - step);
            let mut children = Vec::new();
            let mut goal: Option<(f64, usize, Node)> = None;
            for parent in &layer {
                self.expand(*parent, step, taken, &mut children, &mut goal);
            }
            if let Some((cost, at, node)) = goal {
                let mut found = self.found(&[node], at);
                found.cost = cost;
                return Ok(found);
            }
            if children.is_empty() {
                break;
            }
            step += taken;
            layer = self.keep(children);
        }
        let last = layer.first().copied().unwrap_or(0);
        let (states, controls) = self.trace(last);
        Err(Lost { step, states, controls })
    }

    fn found(&self, tail: &[Node], at: usize) -> Found {
        let (mut states, mut controls) = self.trace(tail.first().map_or(0, |node| node.parent));
        for node in tail {
            states.extend(&node.path[..at]);
            controls.extend(&node.controls[..at]);
        }
        Found { states, controls, cost: 0.0 }
    }

    fn trace(&self, mut node: usize) -> (Vec<VehicleState>, Vec<Control>) {
        let mut chain = Vec::new();
        while node != usize::MAX {
            chain.push(node);
            node = self.nodes[node].parent;
        }
        let (mut states, mut controls) = (vec![self.ground.start], Vec::new());
        for node in chain.iter().rev().map(|i| &self.nodes[*i]) {
            states.extend(&node.path[..node.taken]);
            controls.extend(&node.controls[..node.taken]);
        }
        (states, controls)
    }

    /// Lateral positions worth trying from a node.
    fn targets(&self, node: &Node) -> Vec<f64> {
        if self.style.steers {
            let most = self.style.lateral_mps2 / node.state.speed_mps.powi(2).max(1.0);
            return CURVATURES.into_iter().filter(|curvature| curvature.abs() <= most).collect();
        }
        let lane = (node.target / self.lane_m).round() * self.lane_m;
        let mut wanted = vec![node.target, lane, lane + self.lane_m, lane - self.lane_m];
        if self.style.shift_m > 0.0 {
            wanted.extend([node.target + self.style.shift_m, node.target - self.style.shift_m]);
        }
        for aim in &self.aims {
            if let Some([[from, to], [right, left]]) = aim.region
                && (right - 4.5..left + 4.5).contains(&node.d)
                && node.s < to + 1.0
                && left - right < 8.0
                && from - node.s < 150.0
            {
                wanted.push(0.5 * (right + left));
                wanted.extend(aim.cross.iter().map(|side| node.d + side * 1.5 * self.lane_m));
            }
        }
        let mut chosen: Vec<f64> = Vec::with_capacity(wanted.len());
        for target in wanted {
            if chosen.iter().all(|other| (other - target).abs() > 0.2) {
                chosen.push(target);
            }
        }
        chosen
    }

    fn expand(
        &self,
        parent: usize,
        step: usize,
        taken: usize,
        children: &mut Vec<(f64, Node)>,
        goal: &mut Option<(f64, usize, Node)>,
    ) {
        let from = self.nodes[parent].clone();
        let accelerations: &[f64] = if self.style.steers { &FEW_ACCELERATIONS } else { &ACCELERATIONS };
        for target in self.targets(&from) {
            for &acceleration in accelerations {
                let standing = from.state.speed_mps < 1e-6;
                if (standing && acceleration < 0.0)
                    || acceleration > vehicle::engine_limit(from.state.speed_mps)
                {
                    continue;
                }
                let (node, reached) = self.drive(parent, &from, step, taken, acceleration, target);
                if let Some(at) = reached {
                    let cost = node.cost;
                    if goal.as_ref().is_none_or(|(best, ..)| cost < *best) {
                        *goal = Some((cost, at, node));
                    }
                } else if node.taken == taken
                    && let Some(rest) = self.rest_cost(&node, step + taken)
                {
                    children.push((node.cost + rest, node));
                }
            }
        }
    }

    /// Drives for up to `taken` time steps. Fewer in `Node::taken` say that it went wrong; the second value is the
    /// number of steps to the goal.
    fn drive(
        &self,
        parent: usize,
        from: &Node,
        step: usize,
        taken: usize,
        acceleration: f64,
        target: f64,
    ) -> (Node, Option<usize>) {
        let h = self.ground.step_s;
        let mut node = Node { acceleration, target, parent, taken: 0, ..from.clone() };
        let change = acceleration - from.acceleration;
        let weight = if self.style.steers { 1.0 } else { 0.15 };
        node.cost += 0.05 * change * change * h + weight * (target - from.target).abs().min(2.0);
        for i in 0..taken {
            let control = self.control(&node, acceleration, target);
            node.state = vehicle::step(&node.state, control, h);
            let place = Point::new(node.state.x_m, node.state.y_m);
            (node.s, node.d) = self.line.project_near(place, node.s + node.state.speed_mps * h);
            node.path[i] = node.state;
            node.controls[i] = control;
            if !self.free(&node.state, step + i + 1) {
                return (node, None);
            }
            let lateral = node.state.speed_mps.powi(2) * vehicle::curvature(node.state.steering_angle_rad);
            let lane = (node.d / self.lane_m).round() * self.lane_m;
            let fast = (node.state.speed_mps - self.line.cap_mps(node.s)).max(0.0);
            node.cost += h
                * (0.3 * fast * fast
                    + 0.06 * acceleration * acceleration
                    + 0.03 * lateral * lateral
                    + 0.1 * (node.d - lane).abs()
                    + 0.01 * node.d.abs());
            node.taken = i + 1;
            if self.ground.goals.iter().any(|goal| goal.reached(step + i + 1, &node.state, self.ground.roads))
            {
                return (node, Some(i + 1));
            }
        }
        (node, None)
    }

    /// Holds the lateral position and the acceleration for one time step.
    fn control(&self, node: &Node, acceleration: f64, target: f64) -> Control {
        let state = &node.state;
        let h = self.ground.step_s;
        let v = state.speed_mps;
        let along = if v + acceleration * h < 0.0 { -v / h } else { acceleration };
        let speed = (v + along * h).max(1.0);
        let most = self.style.lateral_mps2 / (speed * speed);
        let end = vehicle::STEERING_RATE_MAX_RADPS * 0.999;
        let turned = |curvature: f64| {
            let angle = vehicle::steering_angle(curvature.clamp(-most, most));
            Control {
                acceleration_mps2: along,
                steering_rate_radps: ((angle - state.steering_angle_rad) / h).clamp(-end, end),
            }
        };
        if self.style.steers {
            return turned(target);
        }
        let rear = vehicle::rear_axle(state);
        let (s, d) = self.line.project_near(rear, node.s - vehicle::REAR_AXLE_M);
        let spot = self.line.at(s);
        let turn = wrap_angle(state.heading_rad - spot.heading_rad);
        let reach = (self.style.across_s * v).max(2.5);
        let widest = 2.0 * reach * (self.style.across_mps / v.max(1.0)).min(0.6);
        let across = (d - target).clamp(-widest, widest);
        // The curvature is that of the line where the rear axle will be when the wheels have turned.
        let ahead = self.line.at(s + v * h).curvature_per_m;
        let bend = ahead * turn.cos() / (1.0 - ahead * d).clamp(0.2, 5.0);
        turned(bend - across / (reach * reach) - 2.0 * turn.sin() / reach)
    }

    fn free(&self, state: &VehicleState, step: usize) -> bool {
        let shape = vehicle::footprint(state);
        let [along, beside] = self.style.margin_m;
        let edge = self.style.edge_m;
        let grown = OrientedBox {
            length_m: shape.length_m + 2.0 * edge,
            width_m: shape.width_m + 2.0 * edge,
            ..shape
        };
        !self.ground.table.hit(step, &FastBox::new(&shape, along, beside)) && !self.ground.edges.cross(&grown)
    }

    /// What the way to the nearest goal costs at least; `None` if none can be reached any more.
    fn rest_cost(&self, node: &Node, step: usize) -> Option<f64> {
        self.aims.iter().filter_map(|aim| self.aim_cost(node, step, aim)).min_by(f64::total_cmp)
    }

    fn aim_cost(&self, node: &Node, step: usize, aim: &Aim) -> Option<f64> {
        if step > aim.steps[1] {
            return None;
        }
        let h = self.ground.step_s;
        let v = node.state.speed_mps;
        let latest = (aim.steps[1] - step) as f64 * h;
        let earliest = aim.steps[0].saturating_sub(step) as f64 * h;
        let mut cost = 0.0;
        if let Some([low, high]) = aim.speed_mps {
            if v - 9.0 * latest > high || v + 7.0 * latest < low {
                return None;
            }
            let off = (v - high).max(low - v).max(0.0) / latest.max(0.3);
            cost += 0.06 * off * off * latest;
        }
        let Some([[from, to], [right, left]]) = aim.region else { return Some(cost) };
        // Slack for the line's shape: the vehicle may cut corners or go round them.
        let slack = 2.0 + 0.05 * (from - node.s).abs();
        let soonest_stop = v * v / 18.0;
        let least = if v > 9.0 * earliest { v * earliest - 4.5 * earliest * earliest } else { soonest_stop };
        if node.s + least > to + slack || node.s + v * latest + 3.5 * latest * latest < from - slack {
            return None;
        }
        let least = self.line.least_time_s(node.s, from - slack);
        if least > 1.2 * latest + 1.0 {
            return None;
        }
        cost += 0.5 * (least - 0.85 * latest).max(0.0).powi(2);
        let across = (node.d - left).max(right - node.d).max(0.0);
        if across > 1.0 + 4.0 * latest {
            return None;
        }
        // The gentlest constant acceleration that leads from here into the region within the window.
        let demand = |distance: f64, t: f64| 2.0 * (distance - v * t) / (t * t).max(0.04);
        let (near, far) = (from - node.s, to - node.s);
        let late = demand(near, latest.max(h));
        let early = demand(far, earliest.max(h));
        let a = if late > 0.0 {
            late
        } else if earliest > 0.0 && early < 0.0 {
            early
        } else {
            0.0
        };
        cost += 0.1 * a * a * latest.min(4.0);
        let middle = (node.d - 0.5 * (left + right)).abs().min(across + 0.5);
        cost += 0.4 * middle + 0.2 * (middle / latest.max(0.5)).powi(2);
        Some(cost)
    }

    /// The best children, of each kind of place and motion only the best one, from every region of places some.
    fn keep(&mut self, mut children: Vec<(f64, Node)>) -> Vec<usize> {
        let width = self.style.width;
        children.sort_by(|a, b| a.0.total_cmp(&b.0));
        let cell = |value: f64, size: f64| (value / size).round() as i32;
        let mut seen: HashMap<[i32; 5], ()> = HashMap::new();
        let mut crowd: HashMap<[i32; 3], usize> = HashMap::new();
        let quota = (width / 12).max(4);
        let (mut kept, mut spare) = (Vec::with_capacity(width), Vec::new());
        for (_, node) in children {
            let turn = wrap_angle(node.state.heading_rad - self.line.at(node.s).heading_rad);
            let key = if self.style.steers {
                let wheels = cell(node.state.steering_angle_rad, 0.12);
                [
                    cell(node.s, 0.4),
                    cell(node.state.speed_mps, 0.8),
                    cell(node.d, 0.25),
                    wheels,
                    cell(turn, 0.08),
                ]
            } else {
                let (s, v) = (cell(node.s, 0.7), cell(node.state.speed_mps, 0.7));
                [s, v, cell(node.d, 0.5), cell(node.target, 0.8), cell(turn, 0.12)]
            };
            if seen.insert(key, ()).is_some() {
                continue;
            }
            let count = crowd
                .entry([cell(node.s, 6.0), cell(node.d, 1.75), cell(node.state.speed_mps, 3.0)])
                .or_insert(0);
            *count += 1;
            if *count <= quota {
                kept.push(node);
            } else {
                spare.push(node);
            }
            if kept.len() == width {
                break;
            }
        }
        let room = width - kept.len();
        kept.extend(spare.into_iter().take(room));
        let first = self.nodes.len();
        self.nodes.extend(kept);
        (first..self.nodes.len()).collect()
    }
}

/// A goal as intervals along the line, one for each of its regions.
fn aims_of(goal: &Goal, roads: &RoadNetwork, line: &DriveLine, from_m: f64) -> Vec<Aim> {
    let plain = Aim { steps: goal.steps, region: None, speed_mps: goal.speed_mps, cross: None };
    if goal.regions.is_empty() {
        return vec![plain];
    }
    goal.regions
        .iter()
        .flat_map(|region| super::recorded::outlines(region, roads))
        .map(|outline| {
            let mut span = [[f64::INFINITY, f64::NEG_INFINITY]; 2];
            for point in &outline {
                let (s, d) = line.project_from(*point, from_m - 5.0);
                for (bounds, value) in span.iter_mut().zip([s, d]) {
                    *bounds = [bounds[0].min(value), bounds[1].max(value)];
                }
            }
            if let Some(range) = goal.heading_rad {
                span[0] = turned_to(line, span[0], range);
            }
            let [[near, far], _] = span;
            let along = [near, 0.5 * (near + far), far].map(|s| line.at(s).heading_rad);
            let cross = goal.heading_rad.and_then(|[low, high]| {
                let half = 0.5 * (high - low).rem_euclid(std::f64::consts::TAU);
                let off = along.map(|heading| wrap_angle(low + half - heading));
                off.iter().all(|off| off.abs() > 0.9 * half).then(|| off[1].signum())
            });
            Aim { region: Some(span), cross, ..plain }
        })
        .collect()
}

/// The part of a stretch of line whose direction lies in an interval, nearly; all of it if no part does.
fn turned_to(line: &DriveLine, [from, to]: [f64; 2], [low, high]: [f64; 2]) -> [f64; 2] {
    const SLACK_RAD: f64 = 0.04;
    let width = (high - low).rem_euclid(std::f64::consts::TAU) + 2.0 * SLACK_RAD;
    let count = (to - from).max(0.0) as usize;
    let fits = |s: f64| (line.at(s).heading_rad - low + SLACK_RAD).rem_euclid(std::f64::consts::TAU) <= width;
    let mut part = [f64::INFINITY, f64::NEG_INFINITY];
    for s in (0..=count).map(|i| from + (i as f64).min(to - from)).filter(|s| fits(*s)) {
        part = [part[0].min(s), part[1].max(s)];
    }
    if part[0] > part[1] { [from, to] } else { part }
}
