//! The flags of `ergon train`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::values;

#[derive(Args)]
pub(crate) struct TrainArgs {
    #[command(subcommand)]
    pub(crate) what: TrainWhat,
}

#[derive(Subcommand)]
pub(crate) enum TrainWhat {
    /// The built-in driver, from nothing or from one that drives: roads, expert, imitation, rounds on its own mistakes
    Driver(TrainDriverArgs),
}

#[derive(Args)]
pub(crate) struct TrainDriverArgs {
    /// Folder for data, checkpoints and, in the end, the model; a run that was stopped goes on where it was
    #[arg(long, value_name = "DIR", default_value = "driver-training")]
    pub(crate) out: PathBuf,
    /// Go on with the run in --out; without it a folder that holds a run is refused
    #[arg(long)]
    pub(crate) resume: bool,
    /// Start from the driver in this folder instead of from nothing: a shorter schedule at a lower rate, and that driver is
    /// kept if the new one does no more. It is copied into --out: --resume needs no --from
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Seed of data, weights and order
    #[arg(long, value_name = "N", default_value_t = super::DEFAULT_SEED)]
    pub(crate) seed: u64,
    /// Share of the full schedule: 1 is what the built-in model had, 0.01 is a quick trial
    #[arg(long, value_name = "PART", default_value = "1", value_parser = values::schedule_part)]
    pub(crate) scale: f32,
    /// Threads that compute [default: the physical cores]
    #[arg(long, value_name = "N", value_parser = values::threads)]
    pub(crate) threads: Option<usize>,
}
