//! What the ego vehicle is asked to do, in words and as a hint; what there is to say about the scene; what a perfect eye
//! would measure. Reading order: this file (instructions and tasks), `words` (how people put them), `surroundings`
//! (who is where on the lanes), `facts` (what a driver would say), `perception` (numbers), `goal` (tasks by hindsight), `guide`
//! (what a navigation says on the way to one).

mod facts;
mod goal;
mod guide;
mod hint;
mod order;
mod perception;
mod sayings;
mod surroundings;
mod words;

use ergon_types::{ActorKind, GoalHint};

pub use facts::{
    Agreement, DistanceBucket, Facts, Lead, Manoeuvre, Motion, agreement, describe, facts, read_back,
};
pub use goal::{GoalShape, goal_ahead, goal_from_future, random_shape};
pub use guide::Guide;
pub use order::Order;
pub use perception::{LIGHTS, PERCEPTION, PERCEPTION_DIM, perceived_offset_m, perception};
pub use surroundings::{
    Beside, LanePath, Neighbour, Surroundings, ends_beside_others, ends_with_the_map, lane_beside, lane_path,
    lane_position, neighbour, road_center, road_ends, surroundings,
};
pub use words::{parse, phrase};

use crate::Rng;
use crate::road::ElementId;
use crate::scenario::Goal;
use crate::world::World;

/// The language of an instruction and of the driver's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese, simplified characters.
    Chinese,
}

impl Language {
    /// One of them, as likely as the other.
    pub fn either(rng: &mut Rng) -> Language {
        if rng.chance(0.5) { Language::English } else { Language::Chinese }
    }
}

/// One of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Left, seen in driving direction.
    Left,
    /// Right, seen in driving direction.
    Right,
}

impl Side {
    /// +1 for left, -1 for right: the sign of lateral positions and of lane changes.
    pub fn sign(self) -> i32 {
        match self {
            Side::Left => 1,
            Side::Right => -1,
        }
    }

    /// The other one.
    pub fn opposite(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// Which way at a junction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turn {
    /// To the left.
    Left,
    /// To the right.
    Right,
    /// Straight on.
    Straight,
}

/// What a person in the car asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Instruction {
    /// Drive on along the route as traffic allows.
    #[default]
    FollowRoute,
    /// Stay in this lane.
    KeepLane,
    /// One lane to a side.
    ChangeLane(Side),
    /// At the next junction.
    Turn(Turn),
    /// Come to a stop where the vehicle is driving.
    Stop,
    /// Come to a stop at the right edge of the road.
    PullOver,
    /// Drive at a speed, traffic permitting.
    SetSpeed {
        /// In kilometres per hour, as people say it.
        kmh: u32,
    },
    /// Drive more slowly than now.
    SlowDown,
    /// Drive faster than now, within the limit.
    SpeedUp,
    /// Stay behind the nearest one of this kind.
    Follow(ActorKind),
    /// Be where and when the goal hint says.
    ReachGoal,
}

/// Instructions that can be given on the same road at the same moment: one seed gives one world for all of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Needs no more than a road.
    Any,
    /// Needs lanes on both sides, a vehicle ahead and a right edge: lane changes, speeds, stops, following.
    Lanes,
    /// Needs a junction ahead.
    Junction,
}

impl Instruction {
    /// Those that say all by themselves: without a speed, without somebody to follow.
    pub const PLAIN: [Instruction; 12] = [
        Instruction::FollowRoute,
        Instruction::KeepLane,
        Instruction::ChangeLane(Side::Left),
        Instruction::ChangeLane(Side::Right),
        Instruction::Turn(Turn::Left),
        Instruction::Turn(Turn::Right),
        Instruction::Turn(Turn::Straight),
        Instruction::Stop,
        Instruction::PullOver,
        Instruction::SlowDown,
        Instruction::SpeedUp,
        Instruction::ReachGoal,
    ];

    /// The worlds in which it can be carried out.
    pub fn family(self) -> Family {
        match self {
            Instruction::FollowRoute | Instruction::ReachGoal => Family::Any,
            Instruction::Turn(_) => Family::Junction,
            _ => Family::Lanes,
        }
    }

    /// Whether the words alone say which way to drive, so that a hint would give the answer away.
    pub fn decides_way(self) -> bool {
        matches!(self, Instruction::Turn(_) | Instruction::ChangeLane(_))
    }
}

/// What the ego vehicle is to do in a world.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Task {
    /// What the words mean; for choosing and scoring, never for the policy.
    pub instruction: Instruction,
    /// The words.
    pub text: String,
    /// Their language.
    pub language: Language,
    /// Lanelets that lead the intended way, from the first one under the ego vehicle to the end; each is a successor of
    /// or beside the one before. Empty if the way is free.
    pub route: Vec<ElementId>,
    /// After this time the episode is over.
    pub duration_s: f64,
}

impl Task {
    /// A task from words as a user gives them: unknown words mean "drive on".
    pub fn from_text(text: &str, duration_s: f64) -> Task {
        let (instruction, language) = parse(text).unwrap_or_default();
        Task { instruction, text: text.to_owned(), language, route: Vec::new(), duration_s }
    }

    /// The same task with another instruction, in the plainest words for it in the task's language.
    fn told(&self, instruction: Instruction) -> Task {
        let text = sayings::sayings(instruction, self.language)[0].to_owned();
        Task { instruction, text, ..self.clone() }
    }

    /// What the navigation says at this moment, in the ego frame: the goal of the scenario's problem if it has one, and
    /// a point of the route, which says which road and not which lane. No route point where the words must decide.
    pub fn hint(&self, world: &World) -> GoalHint {
        self.hint_to(world, world.scenario().problem.goals.first())
    }

    /// As [`Task::hint`], with a goal in the place of the scenario's.
    pub fn hint_to(&self, world: &World, goal: Option<&Goal>) -> GoalHint {
        hint::hint(self, world, goal)
    }
}
