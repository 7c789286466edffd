//! Roads and traffic to drive in.
//!
//! Reading order: `geometry`, `road` (lanelets, signs, lights), `scenario` (a road with traffic and a task), then where
//! scenarios come from (`commonroad`, `generate`), what moves in them (`traffic`, `vehicle`, `world`), what can be seen
//! (`camera`), who knows everything (`expert`), and how a run is judged (`score`). Nothing here opens files, starts
//! threads, reads a clock or an environment variable: the same scenario, seed and controls give the same bits.

pub mod camera;
pub mod commonroad;
pub mod episode;
pub mod expert;
pub mod follow;
pub mod generate;
pub mod geometry;
pub mod road;
pub mod route;
pub mod scenario;
pub mod score;
pub mod task;
pub mod traffic;
pub mod vehicle;
pub mod world;

mod rng;

pub use rng::Rng;
