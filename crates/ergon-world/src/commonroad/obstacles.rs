//! Static and dynamic obstacles: shapes to boxes, trajectories and occupancies to one state per time step.

use std::collections::HashSet;

use ergon_types::{ActorKind, ActorState};

use super::OBSTACLES_MAX;
use super::element::{ANGLE_MAX_RAD, COORDINATE_MAX_M, Element, Read};
use super::error::CommonRoadError;
use super::shape::{Body, EXTENT_MAX_M, boxed_together, regions};
use crate::geometry::{OrientedBox, Point, wrap_angle};
use crate::scenario::{RecordedActor, Region};

/// No road user is faster.
pub(super) const SPEED_MAX_MPS: f64 = 200.0;
/// Recordings are noisy; a crash does not reach this.
pub(super) const ACCELERATION_MAX_MPS2: f64 = 1e3;
/// Longest gap in a trajectory that is filled along a straight line, in time steps.
const GAP_MAX_STEPS: i64 = 20;
/// States of all obstacles together.
const STATES_MAX: usize = 5_000_000;

/// What stands and what moves, in the order of the file. Time steps count from `start`; what was before is left out.
#[derive(Default)]
pub(super) struct Obstacles {
    pub(super) standing: Vec<ActorState>,
    pub(super) recorded: Vec<RecordedActor>,
}

/// Counts before anything is read: a file with too many is named and left.
pub(super) fn check_number(root: Element) -> Read<()> {
    let found = root.elements().filter(|element| is_obstacle(element.name())).count();
    if found > OBSTACLES_MAX {
        return Err(CommonRoadError::TooMany { what: "obstacles", found, limit: OBSTACLES_MAX });
    }
    Ok(())
}

fn is_obstacle(name: &str) -> bool {
    matches!(
        name,
        "obstacle" | "staticObstacle" | "dynamicObstacle" | "environmentObstacle" | "phantomObstacle"
    )
}

/// All obstacles below the root. Phantom obstacles stand for what nobody sees and are left out, as are buildings and the
/// like (`environmentObstacle`), which no vehicle is meant to reach and which the referee does not check.
pub(super) fn read(root: Element, start: i64, step_s: f64) -> Read<Obstacles> {
    let mut obstacles = Obstacles::default();
    let mut ids = HashSet::new();
    let mut states = 0;
    for element in root.elements().filter(|element| is_obstacle(element.name())) {
        let is_static = match element.name() {
            "staticObstacle" => true,
            "dynamicObstacle" => false,
            "obstacle" => match element.need("role")?.text() {
                "static" => true,
                "dynamic" => false,
                other => return Err(element.need("role")?.wrong_word(other, "static, dynamic")),
            },
            _ => continue,
        };
        let id = obstacle_id(element)?;
        if !ids.insert(id) {
            return Err(CommonRoadError::DuplicateId { place: element.place(), id: id.into() });
        }
        if is_static {
            obstacles.standing.extend(standing(element, id)?);
        } else {
            let actor = moving(element, id, start, step_s)?;
            states += actor.as_ref().map_or(0, |actor| actor.states.len());
            obstacles.recorded.extend(actor);
        }
        if states > STATES_MAX {
            return Err(CommonRoadError::TooMany {
                what: "states of obstacles",
                found: states,
                limit: STATES_MAX,
            });
        }
    }
    number_parts(&mut obstacles.standing, &mut ids);
    Ok(obstacles)
}

/// The boxes of an obstacle of several shapes have its id; all but the first get one of their own.
fn number_parts(standing: &mut [ActorState], ids: &mut HashSet<u32>) {
    let mut seen = HashSet::new();
    let mut next = 1;
    for state in standing {
        if seen.insert(state.id) {
            continue;
        }
        while ids.contains(&next) {
            next += 1;
        }
        ids.insert(next);
        seen.insert(next);
        state.id = next;
    }
}

fn obstacle_id(element: Element) -> Read<u32> {
    let id = element.id_attribute("id")?;
    let absurd = || CommonRoadError::Absurd {
        place: element.place(),
        value: id as f64,
        low: 0.0,
        high: f64::from(u32::MAX),
    };
    u32::try_from(id).map_err(|_| absurd())
}

fn kind(element: Element) -> ActorKind {
    match element.find("type").map_or("", Element::text) {
        "car" | "taxi" | "priorityVehicle" | "parkedVehicle" => ActorKind::Car,
        "truck" | "train" => ActorKind::Truck,
        "bus" => ActorKind::Bus,
        "motorcycle" => ActorKind::Motorcycle,
        "bicycle" => ActorKind::Bicycle,
        "pedestrian" => ActorKind::Pedestrian,
        _ => ActorKind::Obstacle,
    }
}

fn shapes(element: Element) -> Read<Vec<Region>> {
    let shapes = regions(element)?;
    if shapes.is_empty() { Err(element.missing("rectangle")) } else { Ok(shapes) }
}

/// One box for each shape.
fn standing(element: Element, id: u32) -> Read<Vec<ActorState>> {
    let pose = State::read(element.need("initialState")?)?;
    let shapes = shapes(element.need("shape")?)?;
    if shapes.len() > OBSTACLES_MAX {
        return Err(CommonRoadError::TooMany {
            what: "shapes of an obstacle",
            found: shapes.len(),
            limit: OBSTACLES_MAX,
        });
    }
    let kind = kind(element);
    let still = State { speed_mps: Some(0.0), acceleration_mps2: 0.0, ..pose };
    let bodies = shapes.iter().map(|shape| Body::new(std::slice::from_ref(shape)));
    bodies.map(|body| still.actor(id, kind, &body, element)).collect()
}

/// One state of a trajectory.
#[derive(Clone, Copy)]
struct State {
    steps: [i64; 2],
    position: Point,
    heading_rad: f64,
    /// Absent in some files.
    speed_mps: Option<f64>,
    acceleration_mps2: f64,
}

impl State {
    fn read(element: Element) -> Read<State> {
        let position = element.need("position")?;
        let optional = |name, limit| element.find(name).map(|value| value.middle(limit)).transpose();
        let mut speed_mps = optional("velocity", SPEED_MAX_MPS)?;
        let mut heading_rad = optional("orientation", ANGLE_MAX_RAD)?;
        // States of point masses have two speeds and, often, no heading.
        if let (Some(x), Some(y), None) = (speed_mps, optional("velocityY", SPEED_MAX_MPS)?, heading_rad) {
            heading_rad = Some(y.atan2(x));
            speed_mps = Some(x.hypot(y));
        }
        Ok(State {
            steps: element.need("time")?.steps()?,
            position: middle_of(position)?,
            heading_rad: heading_rad.ok_or_else(|| element.missing("orientation"))?,
            speed_mps,
            acceleration_mps2: optional("acceleration", ACCELERATION_MAX_MPS2)?.unwrap_or(0.0),
        })
    }

    /// The actor with a shape that is here.
    fn actor(&self, id: u32, kind: ActorKind, body: &Body, place: Element) -> Read<ActorState> {
        let shape = body.at(self.position, self.heading_rad);
        place.within(shape.length_m.max(shape.width_m), 0.0, EXTENT_MAX_M)?;
        place.within(shape.center.norm(), 0.0, COORDINATE_MAX_M)?;
        Ok(ActorState {
            id,
            kind,
            x_m: shape.center.x,
            y_m: shape.center.y,
            heading_rad: shape.heading_rad,
            speed_mps: self.speed_mps.unwrap_or(0.0),
            acceleration_mps2: self.acceleration_mps2,
            length_m: shape.length_m,
            width_m: shape.width_m,
        })
    }
}

/// The exact position, or the middle of the region that the position is somewhere in.
pub(super) fn middle_of(position: Element) -> Read<Point> {
    if let Some(point) = position.find("point") {
        return point.point();
    }
    let shapes = regions(position)?;
    if shapes.is_empty() {
        return Err(position.missing("point"));
    }
    Ok(boxed_together(&shapes).center)
}

/// A recorded road user; `None` if all of it lies before the start.
fn moving(element: Element, id: u32, start: i64, step_s: f64) -> Read<Option<RecordedActor>> {
    let kind = kind(element);
    let body = Body::new(&shapes(element.need("shape")?)?);
    let initial = State::read(element.need("initialState")?)?;
    let mut track =
        Track { first_step: initial.steps[0], states: vec![initial.actor(id, kind, &body, element)?] };
    let mut unknown_speeds = vec![initial.speed_mps.is_none()];
    if let Some(trajectory) = element.find("trajectory") {
        for place in trajectory.all("state") {
            let state = State::read(place)?;
            // Some files repeat the initial state as the first one of the trajectory.
            if track.states.len() == 1 && state.steps[0] == track.first_step {
                continue;
            }
            track.push(state.steps[0], state.actor(id, kind, &body, place)?, place)?;
            unknown_speeds.resize(track.states.len(), state.speed_mps.is_none());
        }
    } else if let Some(set) = element.find("occupancySet") {
        for place in set.all("occupancy") {
            let steps = place.need("time")?.steps()?;
            let shape = boxed_together(&shapes(place.need("shape")?)?);
            place.within(shape.length_m.max(shape.width_m), 0.0, EXTENT_MAX_M)?;
            place.within(shape.center.norm(), 0.0, COORDINATE_MAX_M)?;
            for step in steps[0]..=steps[1].min(steps[0] + GAP_MAX_STEPS) {
                if step > track.last_step() {
                    track.push(step, occupying(&track.states[track.states.len() - 1], &shape), place)?;
                }
            }
        }
        unknown_speeds.resize(track.states.len(), true);
    }
    fill_speeds(&mut track.states, &unknown_speeds, step_s);
    Ok(track.from(start).map(|track| RecordedActor {
        id,
        kind,
        length_m: track.states[0].length_m,
        width_m: track.states[0].width_m,
        first_step: track.first_step as usize,
        states: track.states,
    }))
}

/// An actor, known a step before, somewhere in an occupied region given in world coordinates. Its heading is the one of
/// the box's four directions that is closest to the one before.
fn occupying(before: &ActorState, region: &OrientedBox) -> ActorState {
    let turn = wrap_angle(before.heading_rad - region.heading_rad);
    let quarters = (turn / std::f64::consts::FRAC_PI_2).round();
    let across = quarters.rem_euclid(2.0) == 1.0;
    ActorState {
        x_m: region.center.x,
        y_m: region.center.y,
        heading_rad: region.heading_rad + quarters * std::f64::consts::FRAC_PI_2,
        acceleration_mps2: 0.0,
        length_m: if across { region.width_m } else { region.length_m },
        width_m: if across { region.length_m } else { region.width_m },
        ..*before
    }
}

/// States that are not given a speed get it from the way to the next one.
fn fill_speeds(states: &mut [ActorState], unknown: &[bool], step_s: f64) {
    for i in (0..states.len()).filter(|i| unknown[*i]) {
        let (from, to) = if i + 1 < states.len() { (i, i + 1) } else { (i.saturating_sub(1), i) };
        let way = Point::new(states[to].x_m - states[from].x_m, states[to].y_m - states[from].y_m);
        let speed = way.dot(Point::polar(1.0, states[i].heading_rad)) / step_s;
        states[i].speed_mps = speed.clamp(-SPEED_MAX_MPS, SPEED_MAX_MPS);
    }
}

/// States at consecutive time steps.
struct Track {
    first_step: i64,
    states: Vec<ActorState>,
}

impl Track {
    fn last_step(&self) -> i64 {
        self.first_step + self.states.len() as i64 - 1
    }

    /// Adds the state at a later step; a short gap is filled along a straight line.
    fn push(&mut self, step: i64, state: ActorState, place: Element) -> Read<()> {
        let (previous, before) = (self.last_step(), self.states[self.states.len() - 1]);
        let gap = step - previous;
        if !(1..=GAP_MAX_STEPS).contains(&gap) {
            return Err(CommonRoadError::StepOrder { place: place.place(), found: step, previous });
        }
        let turn = wrap_angle(state.heading_rad - before.heading_rad);
        for k in 1..gap {
            let part = k as f64 / gap as f64;
            let mix = |a: f64, b: f64| a + part * (b - a);
            self.states.push(ActorState {
                x_m: mix(before.x_m, state.x_m),
                y_m: mix(before.y_m, state.y_m),
                heading_rad: before.heading_rad + part * turn,
                speed_mps: mix(before.speed_mps, state.speed_mps),
                ..state
            });
        }
        self.states.push(state);
        Ok(())
    }

    /// The part from a step on, with steps counted from there.
    fn from(mut self, start: i64) -> Option<Track> {
        if self.last_step() < start {
            return None;
        }
        self.states.drain(..(start - self.first_step).max(0) as usize);
        Some(Track { first_step: (self.first_step - start).max(0), states: self.states })
    }
}
