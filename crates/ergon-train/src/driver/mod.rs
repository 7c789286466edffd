//! Training of the driver: samples on disk, the network with its gradients, the optimiser, checkpoints and export.

mod action;
mod asked;
mod batch;
pub mod checkpoint;
mod collect;
mod config;
mod context;
mod decoder;
pub mod export;
mod import;
mod layers;
mod loss;
mod network;
mod optimizer;
mod params;
mod rounds;
mod samples;
mod select;
mod shape;
mod stages;
mod store;
mod trainer;
mod turning;
mod vision;
mod vocabulary;

pub use batch::{Augmentation, Batch, Sample, SampleError, check};
pub use collect::{CollectError, Collector, Pilot, SAMPLE_S, SampleKind};
pub use config::{
    ActionSizes, CameraSizes, ConfigError, DecoderSizes, NetworkConfig, SpecialTokens, VisionSizes,
};
pub use context::{Arithmetic, Weights};
pub use import::ImportError;
pub use loss::{LossWeights, Losses};
pub use network::{Network, Workspace};
pub use optimizer::{AdamW, OptimizerState, Schedule};
pub use params::{Layout, TensorInfo, TensorKind};
pub use rounds::{Progress, ROUNDS, Round, RoundsError, Run, TUNING_ROUNDS, holds_run};
pub use samples::Samples;
pub use select::Candidate;
pub use shape::{DRIVER_CONFIG, driver_config, network_config};
pub use stages::{TUNINGS, train};
pub use store::{MAX_INSTRUCTION, MAX_REASONING, SampleStore, ShardWriter, StoreError};
pub use trainer::{Position, TrainConfig, TrainError, Trainer, UpdateReport};
pub use vocabulary::Vocabulary;

#[cfg(test)]
mod tests;
