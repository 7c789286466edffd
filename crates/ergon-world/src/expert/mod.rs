//! Drivers who know everything: `recorded` solves a planning problem in traffic whose future is known, `teacher` (with
//! `motion` and, where there is a goal to reach in time, `goal`) drives in traffic that reacts; what both share
//! is the line along which they drive (`line`) and the free space beside it (`space`).

mod goal;
mod line;
mod motion;
mod recorded;
mod search;
mod space;
mod teacher;

pub use line::{DriveLine, Spot};
pub use recorded::{Obstruction, Solution, Unsolved, solve};
pub use space::{Edges, FastBox, Timetable};
pub use teacher::{Expert, Plan};
