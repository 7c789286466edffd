//! Forward passes of the supported architectures.
//!
//! One decoder, composed of shared parts; an architecture is a [`Config`] (read by `config/`), a row in the table of
//! tensor names (`names`) and the wiring in `decoder`. Nothing here opens files, starts threads or samples.
//!
//! Reading order: `config` (what a checkpoint says about itself), `names` and `weights` (its tensors, bound once),
//! `state` (the KV cache), `decoder` (the pass over the layers), then the parts: `gqa`, `mla`, `mlp`, `moe`, `mtp`. A
//! driver is `driver`: that decoder with `vision` in front, `action` behind (both made of `block`), and `processor` at
//! the door.

mod action;
mod binder;
mod block;
mod config;
mod decoder;
mod driver;
mod error;
mod experts;
mod gqa;
mod guess;
mod matrix;
mod mla;
mod mlp;
mod moe;
mod mtp;
mod names;
mod processor;
mod rope;
mod router;
mod scratch;
mod state;
mod summary;
mod vision;
mod weights;

pub use action::{encode_waypoints, time_embedding, waypoints_to_goal, waypoints_to_trajectory};
pub use config::{
    ActionConfig, Architecture, AttentionConfig, CameraConfig, Config, ConfigError, DRIVER_MODEL_TYPE,
    DriverConfig, GqaConfig, GroupScore, MAX_INSTRUCTION_TOKENS, MAX_REASONING_TOKENS, MlaConfig, MoeConfig,
    RopeConfig, RopeScaling, ScoringFunc, VisionConfig,
};
pub use decoder::{Input, LogitsWanted, Model, Phase, Segment};
pub use driver::{Driver, DriverStep};
pub use error::{ForwardError, ModelError};
pub use experts::{
    ExpertBytes, ExpertFailure, ExpertPart, ExpertPlace, ExpertStore, ExpertVisit, Guess, GuessedExpert,
    PartPlace,
};
pub use mla::HEADS_PER_EXPANSION;
pub use mtp::DraftSegment;
pub use names::{ExpertStack, is_after_layers, is_routed_expert, routed_expert_place};
pub use processor::{
    HINT_DIM, ProcessorError, STATE_DIM, check_numbers, clipped, hint_features, patch_bytes, scale_pixels,
    state_features,
};
pub use scratch::Scratch;
pub use state::{KvFormat, SequenceState, kv_bytes_per_token};
pub use summary::ModelSummary;
