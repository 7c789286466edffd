//! The flags of `ergon drive`.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use ergon_kernels::Isa;

use super::values;

/// Whether plans are checked before the vehicle gets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateChoice {
    /// Every plan is checked
    On,
    /// Plans only have to be plans: finite, and starting where the vehicle is
    Off,
}

/// Who drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyChoice {
    /// The model: sees cameras, its own state and words
    Model,
    /// The privileged expert, which knows everything: what the model learned from
    Expert,
    /// Straight on at the speed it has
    ConstantVelocity,
}

#[derive(Args)]
pub(crate) struct DriveArgs {
    /// CommonRoad scenario files, or folders of them [default: generated roads]
    #[arg(long, value_name = "FILE|DIR", action = ArgAction::Append)]
    pub(crate) scenario: Vec<PathBuf>,
    /// How many generated episodes to drive; with --scenario, at most this many of the files
    #[arg(long, value_name = "N", value_parser = values::episodes)]
    pub(crate) episodes: Option<usize>,
    /// Seed of generated roads, traffic and of the model's plans
    #[arg(long, value_name = "N", default_value_t = super::DEFAULT_SEED)]
    pub(crate) seed: u64,
    /// Folder of a driver model [default: the one built in]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// What to tell the driver, in English or Chinese, as in "take the left lane" [default: the episode's own task]
    #[arg(long, value_name = "TEXT")]
    pub(crate) instruction: Option<String>,
    /// Whether plans are checked before the vehicle gets them
    #[arg(long, value_enum, default_value_t = GateChoice::On)]
    pub(crate) gate: GateChoice,
    /// Who drives; the others are for comparison
    #[arg(long, value_enum, default_value_t = PolicyChoice::Model)]
    pub(crate) policy: PolicyChoice,
    /// Write report.html, run.mcap and summary.json into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Write one CommonRoad solution file per scenario into this folder
    #[arg(long, value_name = "DIR", requires = "scenario")]
    pub(crate) solutions: Option<PathBuf>,
    /// Most plans that compete at one control step; the first cleared one is driven
    #[arg(long, value_name = "N", default_value = "4", value_parser = values::candidates)]
    pub(crate) candidates: usize,
    /// A control step that takes longer is a miss, and the plan before is carried on; 0 for never
    #[arg(long, value_name = "MS", default_value = "100", value_parser = values::milliseconds)]
    pub(crate) deadline_ms: f32,
    /// Print one JSON object: the sums, `rows` with one row per episode, `skipped` with what could not be driven, and
    /// `interrupted`: whether a signal ended the run early, so that they tell of what was driven until then
    #[arg(long)]
    pub(crate) json: bool,
    /// Threads that compute [default: the physical cores]
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Machine")]
    pub(crate) threads: Option<usize>,
    /// Instruction set to compute with, for tests [default: the best this processor has]
    #[arg(long, value_name = "ISA", value_parser = values::isa, hide = true)]
    pub(crate) isa: Option<Isa>,
}
