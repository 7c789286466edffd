//! Tiny random checkpoints, made on the spot: 260 tokens (all bytes and four special ones), a context of 600.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};

use ergon_checkpoint::writer::{TensorSpec, Writer};
use ergon_checkpoint::{Checkpoint, Tokenizer};
use ergon_engine::{Engine, EngineOptions};
use ergon_model::routed_expert_place;
use ergon_types::WeightFormat;
use serde_json::{Value, json};

pub(crate) const VOCAB: usize = 260;
pub(crate) const CONTEXT: usize = 600;
pub(crate) const BOS: u32 = 256;
pub(crate) const EOS: u32 = 257;
pub(crate) const THINK_OPEN: u32 = 258;
pub(crate) const THINK_CLOSE: u32 = 259;

const HIDDEN: usize = 64;

/// A checkpoint in a folder that lives as long as this.
pub(crate) struct Tiny {
    folder: tempfile::TempDir,
    pub(crate) checkpoint: Checkpoint,
}

impl Tiny {
    pub(crate) fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_checkpoint(&self.checkpoint).unwrap()
    }

    /// The weight file.
    pub(crate) fn weights(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    pub(crate) fn engine(&self, options: EngineOptions) -> Engine {
        Engine::load(&self.checkpoint, &options).unwrap()
    }
}

/// Two threads, drafts where the model has them.
pub(crate) fn options() -> EngineOptions {
    EngineOptions { threads: 2, ..EngineOptions::default() }
}

/// Values in [-scale, scale), the same for the same seed.
fn random(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0
    };
    (0..n).map(|_| next() * scale).collect()
}

struct Weights {
    tensors: Vec<Tensor>,
    seed: u64,
}

impl Weights {
    fn random(&mut self, name: &str, shape: &[usize], scale: f32) {
        self.seed += 1;
        let values = random(self.seed, shape.iter().product(), scale);
        self.tensors.push((name.to_string(), shape.to_vec(), values));
    }

    fn ones(&mut self, name: &str, n: usize) {
        self.tensors.push((name.to_string(), vec![n], vec![1.0; n]));
    }

    /// Embedding, final norm and head; the head is twice the embedding of another token, so that the last token says
    /// much about the next: `token + 1`, as far as the layers leave it alone.
    fn ends(&mut self) {
        self.random("model.embed_tokens.weight", &[VOCAB, HIDDEN], 1.0);
        self.ones("model.norm.weight", HIDDEN);
        let embedding = &self.tensors[0].2;
        let mut head = embedding[(VOCAB - 1) * HIDDEN..].to_vec();
        head.extend_from_slice(&embedding[..(VOCAB - 1) * HIDDEN]);
        head.iter_mut().for_each(|x| *x *= 0.1);
        self.tensors.push(("lm_head.weight".to_string(), vec![VOCAB, HIDDEN], head));
    }

    fn mlp(&mut self, prefix: &str, width: usize) {
        self.random(&format!("{prefix}.gate_proj.weight"), &[width, HIDDEN], 0.2);
        self.random(&format!("{prefix}.up_proj.weight"), &[width, HIDDEN], 0.2);
        self.random(&format!("{prefix}.down_proj.weight"), &[HIDDEN, width], 0.2);
    }

    fn norms(&mut self, layer: &str) {
        self.ones(&format!("{layer}.input_layernorm.weight"), HIDDEN);
        self.ones(&format!("{layer}.post_attention_layernorm.weight"), HIDDEN);
    }

    /// With `experts_alone`, routed experts are laid out as `ergon convert` does.
    fn save(self, folder: &Path, experts_alone: bool) {
        let spec = |(name, shape, _): &Tensor| {
            let spec = TensorSpec::of_format(name, WeightFormat::F32, shape).unwrap();
            if experts_alone && routed_expert_place(name).is_some() { spec.read_alone() } else { spec }
        };
        let specs: Vec<TensorSpec> = self.tensors.iter().map(spec).collect();
        let mut writer = Writer::create(&folder.join("model.safetensors"), &specs, &[], false).unwrap();
        for (name, _, values) in &self.tensors {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            writer.write(name, &bytes).unwrap();
        }
        writer.finish().unwrap();
    }
}

fn save(config: &Value, weights: Weights, experts_alone: bool) -> Tiny {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer_json().to_string()).unwrap();
    weights.save(folder.path(), experts_alone);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    Tiny { folder, checkpoint }
}

/// A Llama with two layers.
pub(crate) fn llama() -> Tiny {
    llama_with(|_, _| {})
}

/// Name, shape and values.
type Tensor = (String, Vec<usize>, Vec<f32>);

/// That Llama with its config or its tensors changed.
pub(crate) fn llama_with(change: impl FnOnce(&mut Value, &mut Vec<Tensor>)) -> Tiny {
    let mut weights = Weights { tensors: Vec::new(), seed: 1 };
    weights.ends();
    for layer in 0..2 {
        let layer = format!("model.layers.{layer}");
        weights.norms(&layer);
        for (part, rows) in [("q", 64), ("k", 32), ("v", 32), ("o", 64)] {
            weights.random(&format!("{layer}.self_attn.{part}_proj.weight"), &[rows, HIDDEN], 0.25);
        }
        weights.mlp(&format!("{layer}.mlp"), 96);
    }
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "bos_token_id": BOS, "eos_token_id": EOS,
        "torch_dtype": "float32",
    });
    change(&mut config, &mut weights.tensors);
    save(&config, weights, false)
}

/// A DeepSeek V3 with one dense and one routed layer and a multi-token-prediction layer, whose guesses are right rather
/// often: it mostly hands the embedding on to a head like the decoder's.
pub(crate) fn deepseek_v3() -> Tiny {
    deepseek_v3_of(2, false)
}

/// That model with this many layers, the first of which is dense. With `experts_alone`, routed experts are laid out as
/// `ergon convert` does.
pub(crate) fn deepseek_v3_of(layers: usize, experts_alone: bool) -> Tiny {
    let mut weights = Weights { tensors: Vec::new(), seed: 100 };
    weights.ends();
    for index in 0..=layers {
        let layer = format!("model.layers.{index}");
        weights.norms(&layer);
        let attention = format!("{layer}.self_attn");
        weights.random(&format!("{attention}.q_a_proj.weight"), &[32, HIDDEN], 0.2);
        weights.ones(&format!("{attention}.q_a_layernorm.weight"), 32);
        weights.random(&format!("{attention}.q_b_proj.weight"), &[4 * 24, 32], 0.2);
        weights.random(&format!("{attention}.kv_a_proj_with_mqa.weight"), &[32 + 8, HIDDEN], 0.2);
        weights.ones(&format!("{attention}.kv_a_layernorm.weight"), 32);
        weights.random(&format!("{attention}.kv_b_proj.weight"), &[4 * (16 + 16), 32], 0.2);
        weights.random(&format!("{attention}.o_proj.weight"), &[HIDDEN, 4 * 16], 0.1);
        if index == 0 {
            weights.mlp(&format!("{layer}.mlp"), 64);
            continue;
        }
        weights.random(&format!("{layer}.mlp.gate.weight"), &[8, HIDDEN], 0.3);
        weights.random(&format!("{layer}.mlp.gate.e_score_correction_bias"), &[8], 0.1);
        for expert in 0..8 {
            weights.mlp(&format!("{layer}.mlp.experts.{expert}"), 32);
        }
        weights.mlp(&format!("{layer}.mlp.shared_experts"), 32);
    }
    let draft = format!("model.layers.{layers}");
    weights.ones(&format!("{draft}.enorm.weight"), HIDDEN);
    weights.ones(&format!("{draft}.hnorm.weight"), HIDDEN);
    weights.ones(&format!("{draft}.shared_head.norm.weight"), HIDDEN);
    let eh_proj = (0..HIDDEN * 2 * HIDDEN).map(|i| f32::from(i / (2 * HIDDEN) == i % (2 * HIDDEN))).collect();
    weights.tensors.push((format!("{draft}.eh_proj.weight"), vec![HIDDEN, 2 * HIDDEN], eh_proj));
    let config = json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": VOCAB,
        "hidden_size": HIDDEN, "intermediate_size": 64, "moe_intermediate_size": 32, "num_hidden_layers": layers,
        "num_nextn_predict_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 8,
        "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "norm_topk_prob": true,
        "routed_scaling_factor": 1.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "q_lora_rank": 32, "kv_lora_rank": 32,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": BOS,
        "eos_token_id": EOS, "torch_dtype": "float32",
    });
    save(&config, weights, experts_alone)
}

/// Byte-level BPE without merges: token i is byte i.
fn tokenizer_json() -> Value {
    let mut vocab = serde_json::Map::new();
    let mut shifted = 0x100;
    for byte in 0..=255u8 {
        let shown = match byte {
            0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => {
                shifted += 1;
                char::from_u32(shifted - 1).unwrap()
            }
        };
        vocab.insert(shown.to_string(), json!(byte));
    }
    let special = [
        ("<s>", BOS, true),
        ("</s>", EOS, true),
        ("<think>", THINK_OPEN, false),
        ("</think>", THINK_CLOSE, false),
    ];
    let added: Vec<Value> = special
        .into_iter()
        .map(|(content, id, special)| {
            json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        })
        .collect();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}
