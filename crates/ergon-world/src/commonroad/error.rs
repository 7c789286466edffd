//! What can be wrong with a CommonRoad file, and where.

use std::fmt;

/// Where in a file something stands.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// The element, from the nearest one that has an id: `lanelet 31 > leftBound > point`.
    pub element: String,
    /// Line of the file, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, {}", self.line, self.element)
    }
}

/// Why a CommonRoad file is refused. Each names the element, its id and line, and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CommonRoadError {
    /// The file is not well-formed XML: cut short, wrong encoding, entities.
    #[error("not well-formed XML: {reason}; the file is cut short or damaged: fetch it again")]
    Syntax {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// More of something than a scenario can sensibly have.
    #[error("{found} {what}, at most {limit} are read; cut the scenario down or split it")]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The root element is another one.
    #[error("the root element is `{found}`, not `commonRoad`; give a CommonRoad scenario file")]
    NotCommonRoad {
        /// Name of the root element.
        found: String,
    },
    /// A format version that is not read.
    #[error("format version `{found}` is not read; convert the scenario to 2018b or 2020a")]
    Version {
        /// `commonRoadVersion` of the file.
        found: String,
    },
    /// An element or attribute that must be there is not.
    #[error("{place}: `{wanted}` is missing; add it or remove the element")]
    Missing {
        /// Where it should be.
        place: Place,
        /// Name of the element or attribute.
        wanted: &'static str,
    },
    /// Text that should be a number and is none: empty, a word, NaN or infinite.
    #[error("{place}: `{text}` is not a finite number; correct it")]
    NotANumber {
        /// Where it stands.
        place: Place,
        /// The text, cut to 40 characters.
        text: String,
    },
    /// A number no vehicle, road or recording has.
    #[error(
        "{place}: {value} is absurd, {low} to {high} is allowed; check the unit (metres, seconds, radians)"
    )]
    Absurd {
        /// Where it stands.
        place: Place,
        /// The number.
        value: f64,
        /// Least number allowed.
        low: f64,
        /// Greatest number allowed.
        high: f64,
    },
    /// A word that the format does not have there.
    #[error("{place}: `{text}` is not one of {allowed}; correct it")]
    Word {
        /// Where it stands.
        place: Place,
        /// The word, cut to 40 characters.
        text: String,
        /// The words that are.
        allowed: &'static str,
    },
    /// A reference to a lanelet that the file does not have.
    #[error("{place}: there is no lanelet {id}; add the lanelet or remove the reference")]
    UnknownLanelet {
        /// Where the reference stands.
        place: Place,
        /// The id it names.
        id: i64,
    },
    /// Two elements of a kind with the same id.
    #[error("{place}: the id {id} is already taken; give each element its own")]
    DuplicateId {
        /// Where the second one stands.
        place: Place,
        /// The id.
        id: i64,
    },
    /// A lanelet that is its own neighbour, predecessor or successor.
    #[error("{place}: the lanelet refers to itself; name another lanelet or remove the reference")]
    SelfReference {
        /// Where the reference stands.
        place: Place,
    },
    /// A bound, or the middle between two, that is a point instead of a line.
    #[error(
        "{place}: fewer than two different points; a bound needs at least two, and the two must not cross over"
    )]
    NoLine {
        /// Where it stands.
        place: Place,
    },
    /// No lanelet at all.
    #[error("the scenario has no lanelet: there is nothing to drive on; give another scenario")]
    NoRoad,
    /// No planning problem.
    #[error(
        "the scenario has no planning problem: nothing to solve; add a `planningProblem` or give another scenario"
    )]
    NoProblem,
    /// An interval whose end comes before its start.
    #[error("{place}: the interval ends ({end}) before it starts ({start}); exchange them")]
    Reversed {
        /// Where it stands.
        place: Place,
        /// Its start.
        start: f64,
        /// Its end.
        end: f64,
    },
    /// A goal that is over before the vehicle starts.
    #[error(
        "{place}: the goal must be reached by step {last}, before the start at step {start}; correct the goal's time"
    )]
    GoalBeforeStart {
        /// Where it stands.
        place: Place,
        /// Last time step of the goal.
        last: i64,
        /// Time step at which the vehicle starts.
        start: i64,
    },
    /// Time steps that do not rise one by one.
    #[error("{place}: time step {found} follows {previous}; the states of a trajectory must rise one by one")]
    StepOrder {
        /// Where the later state stands.
        place: Place,
        /// Its time step.
        found: i64,
        /// The time step before.
        previous: i64,
    },
}
