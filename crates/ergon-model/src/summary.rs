//! What a checkpoint holds, from its headers alone.

use std::collections::BTreeMap;

use ergon_checkpoint::{Checkpoint, CheckpointKind, Tensor};
use ergon_types::WeightFormat;

use crate::config::{Config, DriverConfig};
use crate::decoder::Model;
use crate::driver::Driver;
use crate::names::{Part, Place, is_after_layers, is_routed_expert, stem};
use crate::state::KvFormat;

/// What `inspect` shows. Made from headers: no weight is read.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSummary {
    /// The architecture as the file names it.
    pub architecture: String,
    /// Weights of all tensors.
    pub parameters_total: u64,
    /// Weights that one token multiplies with: all but the experts it does not visit, the multi-token-prediction layer,
    /// and an embedding that is only looked up.
    pub parameters_active: u64,
    /// Number of tensors.
    pub tensors: usize,
    /// Bytes by storage format.
    pub weight_formats: BTreeMap<String, u64>,
    /// Context length; 0 if the config does not say.
    pub context_length: usize,
    /// Bytes of all tensors but the routed experts.
    pub bytes_resident: u64,
    /// Bytes of the routed experts.
    pub bytes_routed_experts: u64,
    /// Bytes of weights that one token reads.
    pub bytes_active: u64,
    /// Bytes of keys and values that one token adds, in the default precision; 0 if not supported.
    pub bytes_kv_per_token: u64,
    /// Why it does not run; `None` if it does.
    pub unsupported: Option<String>,
}

/// What part of a token's work a tensor has.
enum Share {
    /// Read for every token.
    Always,
    /// One expert, or all experts of a layer.
    Routed,
    /// The embedding when it is not the head too, and the multi-token-prediction layer.
    Never,
}

impl ModelSummary {
    /// Reads the headers of a checkpoint, whether it can be run or not.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> ModelSummary {
        if DriverConfig::is_driver(checkpoint) {
            return ModelSummary::of_driver(checkpoint);
        }
        match Model::load(checkpoint) {
            Ok(model) => ModelSummary::of_model(checkpoint, &model),
            Err(error) => {
                let config = Config::from_checkpoint(checkpoint).ok();
                let summary = ModelSummary::of_tensors(checkpoint, config.as_ref());
                ModelSummary { unsupported: Some(error.to_string()), ..summary }
            }
        }
    }

    /// A driver: the cache and the context are its decoder's.
    fn of_driver(checkpoint: &Checkpoint) -> ModelSummary {
        let config = DriverConfig::from_checkpoint(checkpoint).ok();
        let mut summary = ModelSummary::of_tensors(checkpoint, config.as_ref().map(|config| &config.text));
        match Driver::load(checkpoint) {
            Ok(driver) => {
                let format = summary.default_kv_format();
                summary.bytes_kv_per_token = driver.language().kv_bytes_per_token(format) as u64;
            }
            Err(error) => summary.unsupported = Some(error.to_string()),
        }
        summary
    }

    /// The same for a model that is loaded already; binding a large one again takes time.
    pub fn of_model(checkpoint: &Checkpoint, model: &Model) -> ModelSummary {
        let summary = ModelSummary::of_tensors(checkpoint, Some(model.config()));
        let bytes_kv_per_token = model.kv_bytes_per_token(summary.default_kv_format()) as u64;
        ModelSummary { bytes_kv_per_token, ..summary }
    }

    fn of_tensors(checkpoint: &Checkpoint, config: Option<&Config>) -> ModelSummary {
        let mut summary = ModelSummary {
            architecture: architecture(checkpoint),
            parameters_total: 0,
            parameters_active: 0,
            tensors: 0,
            weight_formats: BTreeMap::new(),
            context_length: config.map_or(0, |config| config.max_position_embeddings),
            bytes_resident: 0,
            bytes_routed_experts: 0,
            bytes_active: 0,
            bytes_kv_per_token: 0,
            unsupported: None,
        };
        let visited = config
            .and_then(|config| config.moe.as_ref())
            .map_or(1.0, |moe| moe.num_experts_per_tok as f64 / moe.n_routed_experts as f64);
        for tensor in checkpoint.tensors() {
            summary.add(tensor, share(checkpoint, config, tensor), visited);
        }
        summary
    }

    /// Precision of the KV cache unless one is asked for: f16 where weights are rounded to blocks, which is far coarser.
    /// Beside published bf16 and FP8 weights f16 would be by far the largest error there is: a thousand times that of
    /// f32, and enough to change a greedy continuation.
    pub fn default_kv_format(&self) -> KvFormat {
        let in_blocks =
            |name: &String| WeightFormat::from_name(name).is_some_and(|format| format.block_len() > 1);
        if self.weight_formats.keys().any(in_blocks) { KvFormat::F16 } else { KvFormat::F32 }
    }

    fn add(&mut self, tensor: &Tensor, share: Share, visited: f64) {
        let (parameters, bytes) = (tensor.elements() as u64, tensor.data.len() as u64);
        self.tensors += 1;
        self.parameters_total += parameters;
        let format = tensor.format.map_or(tensor.dtype_name, |format| format.name());
        *self.weight_formats.entry(format.to_string()).or_default() += bytes;
        let active = match share {
            Share::Always => 1.0,
            Share::Routed => visited,
            Share::Never => 0.0,
        };
        self.parameters_active += (parameters as f64 * active).round() as u64;
        self.bytes_active += (bytes as f64 * active).round() as u64;
        match share {
            Share::Routed => self.bytes_routed_experts += bytes,
            Share::Always | Share::Never => self.bytes_resident += bytes,
        }
    }
}

fn architecture(checkpoint: &Checkpoint) -> String {
    let key = match checkpoint.kind() {
        CheckpointKind::HuggingFace => "model_type",
        CheckpointKind::Gguf => "general.architecture",
    };
    checkpoint.metadata().str(key).ok().flatten().unwrap_or("unknown").to_string()
}

fn share(checkpoint: &Checkpoint, config: Option<&Config>, tensor: &Tensor) -> Share {
    let name = tensor.name.as_str();
    if let Some(config) = config {
        if is_after_layers(name, config.num_hidden_layers) {
            return Share::Never;
        }
        let embedding = stem(checkpoint.kind(), Place::Model, Part::EmbedTokens);
        if !config.tie_word_embeddings && embedding.is_some_and(|stem| name.starts_with(&stem)) {
            return Share::Never;
        }
    }
    if is_routed_expert(name) { Share::Routed } else { Share::Always }
}
