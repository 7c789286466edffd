//! The expert on recorded traffic: it knows everyone's future and looks for a motion that the kinematic vehicle can
//! drive, that touches nobody, stays on the road and ends in the goal.

use ergon_types::{Control, VehicleState};

use super::line::DriveLine;
use super::search::{Found, Ground, STEPS_ALL_MAX, Search, Style};
use super::space::{Edges, Timetable};
use crate::geometry::{Point, Polyline, wrap_angle};
use crate::road::{ElementId, Lanelet, RoadNetwork};
use crate::scenario::{Goal, Region, Scenario};
use crate::vehicle;

/// A way into the goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// One state per time step of the scenario from the start; the last one has reached the goal.
    pub states: Vec<VehicleState>,
    /// What was held between them, one fewer.
    pub controls: Vec<Control>,
    /// Free space to others that was kept, beside the vehicle.
    pub margin_m: f64,
    /// Searches that were needed.
    pub searches: usize,
}

/// No way was found. Others may exist: the search is not complete.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "no way into the goal of {scenario} found in {searches} searches: {why}; the furthest came to step {step} of {last_step}"
)]
pub struct Unsolved {
    /// Id of the scenario.
    pub scenario: String,
    /// What is most likely in the way.
    pub why: Obstruction,
    /// Searches made.
    pub searches: usize,
    /// Last time step that any search reached.
    pub step: usize,
    /// Last time step of the goal.
    pub last_step: usize,
    /// The longest motion without collision that was found, one state per time step.
    pub states: Vec<VehicleState>,
    /// What was held between them, one fewer.
    pub controls: Vec<Control>,
}

/// What is in the way of a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstruction {
    /// The problem has no goal.
    #[error("there is no goal")]
    NoGoal,
    /// The vehicle stands beyond the edge of the road or in someone else at the start.
    #[error("the start is occupied or off the road")]
    Start,
    /// Even on an empty road without edges the goal was not reached.
    #[error("too far, too near or too sharp a turn for the time allowed")]
    Reach,
    /// Without traffic the goal is reached.
    #[error("traffic")]
    Traffic,
    /// Without road edges the goal is reached.
    #[error("the edge of the road")]
    Edge,
    /// Only without both the goal is reached.
    #[error("traffic and the edge of the road together")]
    Both,
}

/// How hard to try, and how much room to keep: each is tried on all lines before the next.
const STYLES: [Style; 7] = [
    style(120, [1.0, 0.4], 0.2, [0.9, 1.5, 4.0], 0.0),
    style(150, [0.5, 0.25], 0.1, [0.6, 2.5, 6.0], 0.9),
    style(300, [0.25, 0.15], 0.08, [0.6, 2.5, 7.0], 0.9),
    style(400, [0.1, 0.1], 0.05, [0.4, 4.0, 8.0], 0.9),
    style(1200, [0.1, 0.07], 0.04, [0.4, 4.0, 8.5], 0.6),
    style(1500, [0.04, 0.04], 0.03, [0.3, 6.0, 8.5], 0.5),
    Style { steers: true, ..style(2500, [0.1, 0.07], 0.03, [0.3, 6.0, 8.5], 0.0) },
];
/// From this style on only the most promising lines are tried.
const DEAR_STYLES: usize = 4;
const DEAR_LINES: usize = 2;
/// Motions from one decision to the next in one search at most, about ...
const MOTIONS_MAX: usize = 1_000_000;
/// ... at so many from each state.
const MOTIONS_PER_STATE: usize = 50;
/// First angles of the front wheels that are tried when straight ones lead nowhere.
const FIRST_ANGLES_RAD: [f64; 6] = [0.12, -0.12, 0.3, -0.3, 0.5, -0.5];

const fn style(width: usize, margin_m: [f64; 2], edge_m: f64, across: [f64; 3], shift_m: f64) -> Style {
    let [across_s, across_mps, lateral_mps2] = across;
    Style {
        width,
        margin_m,
        edge_m,
        across_s,
        across_mps,
        lateral_mps2,
        shift_m,
        layer_s: 0.0,
        steers: false,
    }
}

/// Finds a way into the goal of a scenario's problem. The same scenario gives the same answer.
///
/// # Errors
/// [`Unsolved`] if none was found, with the likely reason and the longest motion.
pub fn solve(scenario: &Scenario) -> Result<Solution, Box<Unsolved>> {
    let goals = &scenario.problem.goals;
    let start = start_state(scenario);
    let start_step = (scenario.problem.initial.t_s / scenario.step_s).round().max(0.0) as usize;
    let last_step = goals.iter().map(|goal| goal.steps[1]).max().unwrap_or(0);
    let edges = Edges::new(&scenario.roads);
    let table = Timetable::recorded(scenario, last_step.min(start_step + STEPS_ALL_MAX) + 2);
    let ground = Ground {
        roads: &scenario.roads,
        edges: &edges,
        table: &table,
        goals,
        step_s: scenario.step_s,
        start,
        start_step,
    };
    let mut unsolved = Unsolved {
        scenario: scenario.id.clone(),
        why: Obstruction::NoGoal,
        searches: 0,
        step: start_step,
        last_step,
        states: vec![start],
        controls: Vec::new(),
    };
    if goals.is_empty() {
        return Err(Box::new(unsolved));
    }
    let lines = lines(scenario, &start);
    for (rank, style) in STYLES.into_iter().enumerate() {
        let few = if rank < DEAR_STYLES { lines.len() } else { DEAR_LINES };
        if let Some(solution) =
            attempt(&ground, &lines[..few.min(lines.len())], style, last_step, &mut unsolved)
        {
            return Ok(solution);
        }
    }
    // The problem does not say how the front wheels stand when it does not say a yaw rate.
    for angle in FIRST_ANGLES_RAD {
        let lateral = start.speed_mps.powi(2) * vehicle::curvature(angle).abs();
        if scenario.problem.initial_yaw_rate_radps != 0.0 || lateral > STYLES[2].lateral_mps2 {
            continue;
        }
        let turned = Ground { start: VehicleState { steering_angle_rad: angle, ..start }, ..ground };
        let few = DEAR_LINES.min(lines.len());
        if let Some(solution) = attempt(&turned, &lines[..few], STYLES[2], last_step, &mut unsolved) {
            return Ok(solution);
        }
    }
    unsolved.why = obstruction(&ground, &lines, last_step);
    Err(Box::new(unsolved))
}

/// Searches along one line after the other in one style; what was lost is noted in `unsolved`.
fn attempt(
    ground: &Ground<'_>,
    lines: &[(DriveLine, f64)],
    style: Style,
    last_step: usize,
    unsolved: &mut Unsolved,
) -> Option<Solution> {
    let style = fitted(style, ground, last_step);
    for (line, lane_m) in lines {
        unsolved.searches += 1;
        match Search::new(ground, line, *lane_m, style).run() {
            Ok(Found { states, controls, .. }) => {
                let margin_m = style.margin_m[1];
                return Some(Solution { states, controls, margin_m, searches: unsolved.searches });
            }
            Err(lost) if lost.step > unsolved.step => {
                (unsolved.step, unsolved.states, unsolved.controls) = (lost.step, lost.states, lost.controls);
            }
            Err(_) => {}
        }
    }
    None
}

/// A style with its time between decisions, and with fewer states to keep where there are many layers: this bounds the
/// time of a failure.
fn fitted(style: Style, ground: &Ground<'_>, last_step: usize) -> Style {
    let steps = last_step.saturating_sub(ground.start_step).min(STEPS_ALL_MAX);
    let layer_s = layer_s(steps, ground.step_s);
    let layers = (steps as f64 * ground.step_s / layer_s).ceil().max(1.0) as usize;
    let width = style.width.min(MOTIONS_MAX / (layers * MOTIONS_PER_STATE)).max(50);
    Style { layer_s, width, ..style }
}

/// Time between decisions: finer where there is little time.
fn layer_s(steps: usize, step_s: f64) -> f64 {
    let whole = steps as f64 * step_s;
    if whole <= 2.0 {
        0.2
    } else if whole <= 4.5 {
        0.3
    } else if whole <= 9.0 {
        0.4
    } else {
        0.5
    }
}

/// Searches again without traffic, without edges and without both.
fn obstruction(ground: &Ground<'_>, lines: &[(DriveLine, f64)], last_step: usize) -> Obstruction {
    let nobody = Timetable::recorded(&Scenario::default(), 0);
    let nowhere = Edges::new(&RoadNetwork::default());
    let style = fitted(STYLES[1], ground, last_step);
    let reaches = |table: &Timetable, edges: &Edges| {
        let ground = Ground { table, edges, ..*ground };
        lines.iter().any(|(line, lane_m)| Search::new(&ground, line, *lane_m, style).run().is_ok())
    };
    let shape = vehicle::footprint(&ground.start);
    if ground.table.hit(ground.start_step, &super::space::FastBox::new(&shape, 0.0, 0.0))
        || ground.edges.cross(&shape)
    {
        return Obstruction::Start;
    }
    match (reaches(&nobody, ground.edges), reaches(ground.table, &nowhere)) {
        (true, _) => Obstruction::Traffic,
        (false, true) => Obstruction::Edge,
        (false, false) if reaches(&nobody, &nowhere) => Obstruction::Both,
        (false, false) => Obstruction::Reach,
    }
}

/// The first state, the front wheels turned as the yaw rate says.
pub(super) fn start_state(scenario: &Scenario) -> VehicleState {
    let problem = &scenario.problem;
    let mut start = problem.initial;
    if start.speed_mps.abs() > 0.1 && problem.initial_yaw_rate_radps != 0.0 {
        let bend = problem.initial_yaw_rate_radps / start.speed_mps;
        start.steering_angle_rad = vehicle::steering_angle(bend).clamp(-0.5, 0.5);
    }
    start
}

/// The corners of a region, one polygon for each of its parts.
pub(super) fn outlines(region: &Region, roads: &RoadNetwork) -> Vec<Vec<Point>> {
    match region {
        Region::Rectangle(shape) => vec![shape.corners().to_vec()],
        Region::Circle { center, radius_m } => {
            let corner = |i: usize| *center + Point::polar(*radius_m, i as f64 * std::f64::consts::TAU / 8.0);
            vec![(0..8).map(corner).collect()]
        }
        Region::Polygon(corners) => vec![corners.clone()],
        Region::Lanelets(ids) => {
            ids.iter().filter_map(|id| roads.lanelet(*id)).map(Lanelet::polygon).collect()
        }
    }
}

/// A chain of lanelets with how well it suits the goal; less is better.
struct Chain {
    line: DriveLine,
    lane_m: f64,
    score: f64,
}

/// Lines to search along, the most promising first, each with the distance of neighbouring lanes.
fn lines(scenario: &Scenario, start: &VehicleState) -> Vec<(DriveLine, f64)> {
    const LINES_MAX: usize = 6;
    let roads = &scenario.roads;
    let goals = &scenario.problem.goals;
    let last_step = goals.iter().map(|goal| goal.steps[1]).max().unwrap_or(0);
    let horizon = last_step as f64 * scenario.step_s;
    let length = (start.speed_mps * horizon + 2.0 * horizon * horizon).clamp(60.0, 8000.0);
    let place = Point::new(start.x_m, start.y_m);
    let mut chains: Vec<Chain> = Vec::new();
    for (rank, first) in starts(roads, place, start.heading_rad).into_iter().enumerate() {
        for ids in successions(roads, first, place, length) {
            let lane_m = median_width(roads, &ids).clamp(2.5, 4.5);
            let Some(line) = chain_line(roads, &ids) else { continue };
            let line = DriveLine::new(&line, 2.5);
            let turn = heading_error(&line, place, start.heading_rad);
            let score = misfit(&line, goals, roads, place) + 0.3 * rank as f64 + 4.0 * (turn - 0.3).max(0.0);
            chains.push(Chain { line, lane_m, score });
        }
    }
    for line in curves(goals, roads, start) {
        let score = misfit(&line, goals, roads, place) + if horizon < 3.0 { 0.2 } else { 2.0 };
        chains.push(Chain { line, lane_m: 3.5, score });
    }
    let ahead = Polyline::new([place, place + Point::polar(length, start.heading_rad)]);
    let line = DriveLine::new(&ahead, 1.0);
    let score = misfit(&line, goals, roads, place) + 3.0;
    chains.push(Chain { line, lane_m: 3.5, score });
    chains.sort_by(|a, b| a.score.total_cmp(&b.score));
    let mut chosen: Vec<Chain> = Vec::new();
    for chain in chains {
        if chosen.len() < LINES_MAX && chosen.iter().all(|other| !same(&chain.line, &other.line, place)) {
            chosen.push(chain);
        }
    }
    chosen.into_iter().map(|chain| (chain.line, chain.lane_m)).collect()
}

/// Whether two lines run along the same places from the start on.
fn same(a: &DriveLine, b: &DriveLine, place: Point) -> bool {
    let (s, d) = a.project(place);
    let (s_b, d_b) = b.project(place);
    (d - d_b).abs() < 0.5
        && (0..60).all(|i| {
            let ahead = i as f64 / 60.0 * (a.length_m() - s).max(b.length_m() - s_b).max(40.0);
            a.at(s + ahead).point.distance(b.at(s_b + ahead).point) < 1.0
        })
}

fn heading_error(line: &DriveLine, place: Point, heading_rad: f64) -> f64 {
    let (s, _) = line.project(place);
    wrap_angle(line.at(s).heading_rad - heading_rad).abs()
}

/// How far a line passes beside the best of the goals, metres; headings count too.
fn misfit(line: &DriveLine, goals: &[Goal], roads: &RoadNetwork, place: Point) -> f64 {
    let (from, _) = line.project(place);
    let mut best = f64::INFINITY;
    for goal in goals {
        if goal.regions.is_empty() {
            best = best.min(0.0);
        }
        for region in &goal.regions {
            for outline in outlines(region, roads) {
                let middle =
                    outline.iter().fold(Point::default(), |sum, p| sum + *p) * (1.0 / outline.len() as f64);
                let (s, d) = line.project_from(middle, from - 5.0);
                let beyond = (s - line.length_m()).max(-s).max(0.0);
                let turn = goal
                    .heading_rad
                    .map_or(0.0, |range| wrap_angle(line.at(s).heading_rad - middle_heading(range)).abs());
                best = best.min(d.abs().min(30.0) + 0.3 * beyond + 3.0 * turn);
            }
        }
    }
    best
}

fn middle_heading([low, high]: [f64; 2]) -> f64 {
    low + 0.5 * (high - low).rem_euclid(std::f64::consts::TAU)
}

/// Lanelets to begin with: under the vehicle, then those beside it.
fn starts(roads: &RoadNetwork, place: Point, heading_rad: f64) -> Vec<ElementId> {
    let turn = |lanelet: &Lanelet| {
        let foot = lanelet.center.project(place);
        wrap_angle(lanelet.center.heading_at(foot.s_m) - heading_rad).abs()
    };
    let mut under: Vec<&Lanelet> = roads.lanelets_at(place).filter(|lanelet| turn(lanelet) < 1.2).collect();
    if under.is_empty() {
        let gap = |lanelet: &Lanelet| {
            let foot = lanelet.center.project(place);
            lanelet.center.at(foot.s_m.clamp(0.0, lanelet.center.length())).distance(place)
        };
        under = roads.lanelets_near(place, 15.0).filter(|lanelet| turn(lanelet) < 1.2).collect();
        under.sort_by(|a, b| gap(a).total_cmp(&gap(b)));
        under.truncate(3);
    }
    under.sort_by(|a, b| turn(a).total_cmp(&turn(b)));
    let mut found: Vec<ElementId> = under.iter().map(|lanelet| lanelet.id).collect();
    let mut i = 0;
    while i < found.len() && found.len() < 12 {
        if let Some(lanelet) = roads.lanelet(found[i]) {
            for beside in [lanelet.adjacent_left, lanelet.adjacent_right].into_iter().flatten() {
                if beside.same_direction && !found.contains(&beside.id) && roads.lanelet(beside.id).is_some()
                {
                    found.push(beside.id);
                }
            }
        }
        i += 1;
    }
    found
}

/// Chains of successors that reach `length` metres beyond the place or end before.
fn successions(roads: &RoadNetwork, first: ElementId, place: Point, length: f64) -> Vec<Vec<ElementId>> {
    const CHAINS_MAX: usize = 12;
    let Some(lanelet) = roads.lanelet(first) else { return Vec::new() };
    let begun = lanelet.center.length() - lanelet.center.project(place).s_m;
    let mut open = vec![(vec![first], begun)];
    let mut done = Vec::new();
    while let Some((ids, covered)) = open.pop() {
        let next: Vec<ElementId> = ids
            .last()
            .and_then(|id| roads.lanelet(*id))
            .map(|lanelet| lanelet.successors.clone())
            .unwrap_or_default()
            .into_iter()
            .filter(|id| roads.lanelet(*id).is_some() && !ids.contains(id))
            .collect();
        if covered >= length || next.is_empty() || ids.len() > 40 {
            done.push(ids);
            if done.len() >= CHAINS_MAX {
                break;
            }
            continue;
        }
        for id in next {
            let more = roads.lanelet(id).map_or(0.0, |lanelet| lanelet.center.length());
            let mut ids = ids.clone();
            ids.push(id);
            open.push((ids, covered + more));
        }
    }
    done
}

/// The centre line of a chain, begun some 30 m before it if the road does.
fn chain_line(roads: &RoadNetwork, ids: &[ElementId]) -> Option<Polyline> {
    let mut ids = ids.to_vec();
    let mut before = 0.0;
    while before < 30.0 {
        let first = roads.lanelet(*ids.first()?)?;
        let Some(previous) = first.predecessors.iter().find_map(|id| roads.lanelet(*id)) else { break };
        if ids.contains(&previous.id) {
            break;
        }
        before += previous.center.length();
        ids.insert(0, previous.id);
    }
    let mut points: Vec<Point> = Vec::new();
    for lanelet in ids.iter().filter_map(|id| roads.lanelet(*id)) {
        for point in lanelet.center.points() {
            if points.last().is_none_or(|last| last.distance(*point) > 0.05) {
                points.push(*point);
            }
        }
    }
    (points.len() >= 2).then(|| Polyline::new(points))
}

fn median_width(roads: &RoadNetwork, ids: &[ElementId]) -> f64 {
    let mut widths: Vec<f64> = ids
        .iter()
        .filter_map(|id| roads.lanelet(*id))
        .map(|lanelet| lanelet.width_at(0.5 * lanelet.center.length()))
        .collect();
    widths.sort_by(f64::total_cmp);
    widths.get(widths.len() / 2).copied().unwrap_or(3.5)
}

/// Smooth curves from the start straight into the middle of goals that are near.
fn curves(goals: &[Goal], roads: &RoadNetwork, start: &VehicleState) -> Vec<DriveLine> {
    let place = Point::new(start.x_m, start.y_m);
    let mut lines = Vec::new();
    for goal in goals {
        for outline in goal.regions.iter().flat_map(|region| outlines(region, roads)) {
            let middle =
                outline.iter().fold(Point::default(), |sum, p| sum + *p) * (1.0 / outline.len() as f64);
            let distance = middle.distance(place);
            if !(0.5..=100.0).contains(&distance) || lines.len() >= 6 {
                continue;
            }
            let lane = roads
                .lanelet_for(middle, start.heading_rad)
                .map(|lanelet| lanelet.center.heading_at(lanelet.center.project(middle).s_m));
            let chord = (middle - place).angle();
            let arrive = goal.heading_rad.map(middle_heading).or(lane).unwrap_or(chord);
            let (from, to) = (Point::polar(distance, start.heading_rad), Point::polar(distance, arrive));
            let hermite = |u: f64| {
                let (u2, u3) = (u * u, u * u * u);
                place * (2.0 * u3 - 3.0 * u2 + 1.0)
                    + from * (u3 - 2.0 * u2 + u)
                    + middle * (3.0 * u2 - 2.0 * u3)
                    + to * (u3 - u2)
            };
            let curve = (0..=40).map(|i| hermite(i as f64 / 40.0));
            lines.push(DriveLine::new(
                &Polyline::new(curve.chain([middle + Point::polar(30.0, arrive)])),
                0.5,
            ));
        }
    }
    lines
}
