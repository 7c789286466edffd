//! Forward passes of the supported architectures.
//!
//! One decoder, composed of shared parts; an architecture is a [`Config`] (read by `config/`), a row in the table of
//! tensor names (`names`) and the wiring in `decoder`. Nothing here opens files, starts threads or samples.
//!
//! Reading order: `config` (what a checkpoint says about itself), `names` and `weights` (its tensors, bound once),
//! `state` (the KV cache), `decoder` (the pass over the layers), then the parts: `gqa`, `mla`, `mlp`, `moe`, `mtp`.

mod binder;
mod config;
mod decoder;
mod error;
mod gqa;
mod matrix;
mod mla;
mod mlp;
mod moe;
mod mtp;
mod names;
mod rope;
mod router;
mod scratch;
mod state;
mod summary;
mod weights;

pub use config::{
    Architecture, AttentionConfig, Config, ConfigError, GqaConfig, GroupScore, MlaConfig, MoeConfig,
    RopeConfig, RopeScaling, ScoringFunc,
};
pub use decoder::{LogitsWanted, Model, Phase, Segment};
pub use error::{ForwardError, ModelError};
pub use mtp::DraftSegment;
pub use scratch::Scratch;
pub use state::{KvFormat, SequenceState};
pub use summary::ModelSummary;
