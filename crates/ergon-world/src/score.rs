//! How a run went, judged from the world at every tenth of a second: goal, collisions and whose fault they are, road
//! edge, lights, lane changes, whether the words were followed, speed, comfort.
//!
//! **Fault**, as in nuPlan's closed-loop metrics (`no_ego_at_fault_collisions`): the ego vehicle is at fault when it hits
//! something standing, when its front hits something, or when it is hit at its side while it is not within one lane. It is
//! not at fault when it stands, when it is hit from behind, or when it is hit at its side while it keeps its lane.

mod goal;
mod obey;
mod recorder;

use ergon_types::{ActorKind, ActorState, LightColor, VehicleState};

pub use goal::{GoalReport, Miss};
pub use recorder::Recorder;

use crate::geometry::{OrientedBox, Point, wrap_angle};
use crate::road::{ElementId, RoadNetwork};
use crate::task::{Side, Surroundings, Task, lane_beside, surroundings};
use crate::vehicle;
use crate::world::World;

/// Time between two looks.
pub const LOOK_S: f64 = 0.1;
/// How far a corner may be beyond the road's edge.
const EDGE_M: f64 = 0.3;
/// Slower than this counts as standing (nuPlan: 5 cm/s).
const STANDING_MPS: f64 = 0.05;
/// Comfort as nuPlan has it: least and greatest acceleration, greatest lateral acceleration and yaw rate.
const COMFORT: [f64; 4] = [-4.05, 2.4, 4.89, 0.95];

/// How two vehicles met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollisionKind {
    /// The ego vehicle stood.
    EgoStood,
    /// The other one stood.
    OtherStood,
    /// The ego vehicle's front hit.
    Front,
    /// The ego vehicle was hit from behind.
    Rear,
    /// Side against something.
    Side,
}

/// A collision with one road user, at its first moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Collision {
    /// When.
    pub t_s: f64,
    /// With whom.
    pub actor: ActorState,
    /// How.
    pub kind: CollisionKind,
    /// Whether the ego vehicle is to blame.
    pub at_fault: bool,
}

/// A lane change that was completed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaneChange {
    /// When the centre crossed into the other lane.
    pub t_s: f64,
    /// To which side.
    pub side: Side,
}

/// All there is to say about a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The goal of the scenario's problem; `None` if it has none.
    pub goal: Option<GoalReport>,
    /// Whether the words were followed; `None` where there is nothing to follow.
    pub obeyed: Option<bool>,
    /// In order of time, one per road user.
    pub collisions: Vec<Collision>,
    /// Seconds with a corner more than 0.3 m beyond the road's edge ([`RoadNetwork::is_road`]).
    pub off_road_s: f64,
    /// When red lights were run.
    pub red_lights_s: Vec<f64>,
    /// Completed lane changes.
    pub lane_changes: Vec<LaneChange>,
    /// Distance travelled.
    pub progress_m: f64,
    /// Mean speed.
    pub mean_speed_mps: f64,
    /// Seconds faster than allowed by more than 10 %.
    pub speeding_s: f64,
    /// Whether acceleration, lateral acceleration and yaw rate stayed within nuPlan's limits.
    pub comfortable: bool,
    /// Length of the run.
    pub duration_s: f64,
}

impl Outcome {
    /// Collisions the ego vehicle is to blame for.
    pub fn collisions_at_fault(&self) -> usize {
        self.collisions.iter().filter(|collision| collision.at_fault).count()
    }

    /// Lane changes to the left minus those to the right.
    pub fn net_lane_changes(&self) -> i32 {
        self.lane_changes.iter().map(|change| change.side.sign()).sum()
    }

    /// Whether the task was done: the goal reached or the words followed, no collision at fault, not off the road for
    /// more than 0.3 s, and no red light run. Where there is neither goal nor something to follow, 20 m must be driven.
    pub fn success(&self) -> bool {
        let done = match (&self.goal, self.obeyed) {
            (Some(goal), _) => goal.reached_at_s.is_some(),
            (None, Some(obeyed)) => obeyed,
            (None, None) => self.progress_m > 20.0,
        };
        done && self.collisions_at_fault() == 0 && self.off_road_s <= 0.3 && self.red_lights_s.is_empty()
    }
}

/// Watches a run. Let it look at the world at the start and then every [`LOOK_S`].
#[derive(Clone, Debug)]
pub struct Referee {
    task: Task,
    watch: goal::GoalWatch,
    outcome: Outcome,
    states: Vec<VehicleState>,
    /// Speeds of the vehicle to be followed and gaps to it, where there is one.
    behind: Vec<Option<(ActorKind, f64)>>,
    /// What there was to the left and to the right.
    beside: [obey::LaneBeside; 2],
    lane: Option<ElementId>,
    /// Lanelets under the centre so far, in order, without repetitions.
    visited: Vec<ElementId>,
    previous: Option<VehicleState>,
    /// Whether the vehicle stands at the right edge.
    at_edge: bool,
    speed_limit_mps: Option<f64>,
}

impl Referee {
    /// A referee for a task. The world is looked at for the first time.
    pub fn new(world: &World, task: &Task) -> Referee {
        let has_goal = !world.scenario().problem.goals.is_empty();
        let outcome = Outcome {
            goal: has_goal.then(GoalReport::default),
            obeyed: None,
            collisions: Vec::new(),
            off_road_s: 0.0,
            red_lights_s: Vec::new(),
            lane_changes: Vec::new(),
            progress_m: 0.0,
            mean_speed_mps: 0.0,
            speeding_s: 0.0,
            comfortable: true,
            duration_s: 0.0,
        };
        let mut referee = Referee {
            task: task.clone(),
            watch: goal::GoalWatch::default(),
            outcome,
            states: Vec::new(),
            behind: Vec::new(),
            beside: Default::default(),
            lane: None,
            visited: Vec::new(),
            previous: None,
            at_edge: false,
            speed_limit_mps: None,
        };
        referee.look(world);
        referee
    }

    /// Looks at the world, [`LOOK_S`] after the last time.
    pub fn look(&mut self, world: &World) {
        let ego = *world.ego();
        let roads = &world.scenario().roads;
        let seen = surroundings(world, &self.task.route);
        if let (Some(report), Some(goals)) = (&mut self.outcome.goal, Some(&world.scenario().problem.goals)) {
            self.watch.look(report, goals, roads, &ego, world.scenario().step_s);
        }
        self.look_at_road(world, seen.as_ref());
        self.look_for_collisions(world, seen.as_ref());
        self.look_at_motion(&ego);
        self.at_edge = obey::at_right_edge(roads, &ego);
        if let Some(seen) = &seen {
            for (beside, side) in self.beside.iter_mut().zip([Side::Left, Side::Right]) {
                beside.look(seen.beside(side), ego.speed_mps);
            }
        }
        let lead = seen.and_then(|seen| seen.lead).map(|lead| (lead.actor.kind, lead.gap_m));
        self.behind.push(lead);
        self.states.push(ego);
        self.previous = Some(ego);
    }

    /// What has been found so far.
    pub fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        let first_s = self.states.first().map_or(0.0, |state| state.t_s);
        outcome.duration_s = self.previous.map_or(0.0, |state| state.t_s - first_s);
        outcome.mean_speed_mps = outcome.progress_m / outcome.duration_s.max(LOOK_S);
        outcome.obeyed = obey::obeyed(
            &self.task.instruction,
            &obey::Run {
                states: &self.states,
                behind: &self.behind,
                changes: &outcome.lane_changes,
                beside: self.beside,
                visited: &self.visited,
                route: &self.task.route,
                at_edge: self.at_edge,
                limit_mps: self.speed_limit_mps,
            },
        );
        outcome
    }

    fn look_at_road(&mut self, world: &World, seen: Option<&Surroundings>) {
        let roads = &world.scenario().roads;
        let ego = world.ego();
        if self.previous.is_some() && is_off_road(roads, &vehicle::footprint(ego)) {
            self.outcome.off_road_s += LOOK_S;
        }
        let Some(seen) = seen else { return };
        if self.visited.last() != Some(&seen.lanelet) {
            self.red_light(world, seen.lanelet);
            self.visited.push(seen.lanelet);
        }
        if let Some(before) = self.lane.filter(|lane| *lane != seen.lanelet) {
            for side in [Side::Left, Side::Right] {
                if leads_beside(roads, before, seen.lanelet, side) {
                    self.outcome.lane_changes.push(LaneChange { t_s: ego.t_s, side });
                }
            }
        }
        self.lane = Some(seen.lanelet);
        self.speed_limit_mps = roads.lanelet(seen.lanelet).and_then(|lanelet| lanelet.speed_limit_mps);
        if self.speed_limit_mps.is_some_and(|limit| ego.speed_mps > 1.1 * limit + 0.5) {
            self.outcome.speeding_s += LOOK_S;
        }
    }

    /// A light is run when the vehicle gets from a lanelet whose light is red onto its successor.
    fn red_light(&mut self, world: &World, entered: ElementId) {
        let roads = &world.scenario().roads;
        let Some(before) = self.visited.last().and_then(|id| roads.lanelet(*id)) else { return };
        let red = before.lights.iter().any(|id| world.light(*id) == LightColor::Red);
        // Those who stood across the line when it turned red may leave.
        let moving = world.ego().speed_mps > 0.5;
        if red && moving && before.successors.contains(&entered) {
            self.outcome.red_lights_s.push(world.t_s());
        }
    }

    fn look_for_collisions(&mut self, world: &World, seen: Option<&Surroundings>) {
        let own = vehicle::footprint(world.ego());
        for actor in world.actors() {
            let center = Point::new(actor.x_m, actor.y_m);
            if center.distance(own.center) > 0.5 * (actor.length_m + own.length_m) + 3.0 {
                continue;
            }
            let known = self.outcome.collisions.iter().any(|collision| collision.actor.id == actor.id);
            let shape = OrientedBox {
                center,
                heading_rad: actor.heading_rad,
                length_m: actor.length_m,
                width_m: actor.width_m,
            };
            if known || !own.intersects(&shape) {
                continue;
            }
            let kind = collision_kind(world.ego(), actor);
            let in_lane = seen.is_some_and(|seen| within_lane(world, seen));
            let at_fault = match kind {
                CollisionKind::EgoStood | CollisionKind::Rear => false,
                CollisionKind::OtherStood | CollisionKind::Front => true,
                CollisionKind::Side => !in_lane,
            };
            self.outcome.collisions.push(Collision { t_s: world.t_s(), actor: *actor, kind, at_fault });
        }
    }

    fn look_at_motion(&mut self, ego: &VehicleState) {
        let Some(before) = self.previous else { return };
        let moved = Point::new(ego.x_m, ego.y_m).distance(Point::new(before.x_m, before.y_m));
        self.outcome.progress_m += moved;
        let yaw_rate = wrap_angle(ego.heading_rad - before.heading_rad) / LOOK_S;
        let acceleration = (ego.speed_mps - before.speed_mps) / LOOK_S;
        let [brake, push, lateral, turn] = COMFORT;
        let fine = (brake..=push).contains(&acceleration)
            && (yaw_rate * ego.speed_mps).abs() <= lateral
            && yaw_rate.abs() <= turn;
        self.outcome.comfortable &= fine;
    }
}

/// Whether lanelet `to` continues the lane beside `from` on a side: the neighbour itself or what follows it.
fn leads_beside(roads: &RoadNetwork, from: ElementId, to: ElementId, side: Side) -> bool {
    let Some(beside) = lane_beside(roads, from, side) else { return false };
    let straight = roads.lanelet(from).is_some_and(|lanelet| lanelet.successors.contains(&to));
    beside.id == to || !straight && beside.successors.contains(&to)
}

/// Whether a corner is more than 0.3 m away from every lane for cars and every paved area.
pub fn is_off_road(roads: &RoadNetwork, shape: &OrientedBox) -> bool {
    let inside = |point: Point| roads.is_road(point);
    let directions: [Point; 8] =
        std::array::from_fn(|k| Point::polar(EDGE_M, k as f64 * std::f64::consts::FRAC_PI_4));
    // Lanes a little way off from the corner in any direction are near enough.
    shape
        .corners()
        .iter()
        .any(|corner| !inside(*corner) && !directions.iter().any(|direction| inside(*corner + *direction)))
}

/// Whether no corner of the ego vehicle is outside its lane.
fn within_lane(world: &World, seen: &Surroundings) -> bool {
    let roads = &world.scenario().roads;
    let Some(lanelet) = roads.lanelet(seen.lanelet) else { return false };
    let half_m =
        0.5 * lanelet.width_at(lanelet.center.project(Point::new(world.ego().x_m, world.ego().y_m)).s_m);
    let corners = vehicle::footprint(world.ego()).corners();
    corners.iter().all(|corner| seen.path.line.project(*corner).d_m.abs() <= half_m + 0.05)
}

/// How the ego vehicle and another meet. The contact is where the other's nearest point lies in the ego frame.
pub fn collision_kind(ego: &VehicleState, actor: &ActorState) -> CollisionKind {
    if ego.speed_mps.abs() <= STANDING_MPS {
        return CollisionKind::EgoStood;
    }
    if actor.speed_mps.abs() <= STANDING_MPS && actor.kind != ActorKind::Pedestrian {
        return CollisionKind::OtherStood;
    }
    let own = vehicle::footprint(ego);
    let shape = OrientedBox {
        center: Point::new(actor.x_m, actor.y_m),
        heading_rad: actor.heading_rad,
        length_m: actor.length_m,
        width_m: actor.width_m,
    };
    // As nuPlan does: the other crosses the line of the front bumper, or that of the rear, or neither.
    let line = |x_m: f64| OrientedBox {
        center: own.center + Point::polar(x_m, own.heading_rad),
        length_m: 0.02,
        ..own
    };
    let (front, rear) = (line(0.5 * own.length_m), line(-0.5 * own.length_m));
    if shape.intersects(&front) {
        CollisionKind::Front
    } else if shape.intersects(&rear) {
        CollisionKind::Rear
    } else {
        CollisionKind::Side
    }
}
