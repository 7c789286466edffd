//! The names and shapes of all tensors of a driver, the one list that the runtime checks files against and that a
//! trainer starts from.

use crate::config::{AttentionConfig, Config, DriverConfig, MlaConfig, MoeConfig};

/// What stands before the names of the decoder's tensors.
pub(crate) const LANGUAGE_PREFIX: &str = "language_model.";
/// The eight matrices and norms of a layer without positions, vision encoder and action expert alike: name, and how the
/// shape is made of the layer's width and its feed-forward width.
type LayerPart = (&'static str, fn(usize, usize) -> Vec<usize>);

const VISION_LAYER: [LayerPart; 9] = [
    ("layer_norm1.weight", |h, _| vec![h]),
    ("self_attn.q_proj.weight", |h, _| vec![h, h]),
    ("self_attn.k_proj.weight", |h, _| vec![h, h]),
    ("self_attn.v_proj.weight", |h, _| vec![h, h]),
    ("self_attn.out_proj.weight", |h, _| vec![h, h]),
    ("layer_norm2.weight", |h, _| vec![h]),
    ("mlp.gate_proj.weight", |h, i| vec![i, h]),
    ("mlp.up_proj.weight", |h, i| vec![i, h]),
    ("mlp.down_proj.weight", |h, i| vec![h, i]),
];

const ACTION_LAYER: [LayerPart; 9] = [
    ("input_layernorm.weight", |h, _| vec![h]),
    ("self_attn.q_proj.weight", |h, _| vec![h, h]),
    ("self_attn.k_proj.weight", |h, _| vec![h, h]),
    ("self_attn.v_proj.weight", |h, _| vec![h, h]),
    ("self_attn.o_proj.weight", |h, _| vec![h, h]),
    ("post_attention_layernorm.weight", |h, _| vec![h]),
    ("mlp.gate_proj.weight", |h, i| vec![i, h]),
    ("mlp.up_proj.weight", |h, i| vec![i, h]),
    ("mlp.down_proj.weight", |h, i| vec![h, i]),
];

/// A growing list of names and shapes.
#[derive(Default)]
struct List(Vec<(String, Vec<usize>)>);

impl List {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// A matrix `[rows, cols]` and its bias.
    fn linear(&mut self, stem: &str, rows: usize, cols: usize) {
        self.add(format!("{stem}.weight"), &[rows, cols]);
        self.add(format!("{stem}.bias"), &[rows]);
    }

    fn layer(&mut self, stem: &str, parts: &[LayerPart], hidden: usize, inner: usize) {
        for (name, shape) in parts {
            self.add(format!("{stem}.{name}"), &shape(hidden, inner));
        }
    }

    fn mlp(&mut self, stem: &str, hidden: usize, inner: usize) {
        self.add(format!("{stem}.gate_proj.weight"), &[inner, hidden]);
        self.add(format!("{stem}.up_proj.weight"), &[inner, hidden]);
        self.add(format!("{stem}.down_proj.weight"), &[hidden, inner]);
    }
}

impl DriverConfig {
    /// Name and shape of every tensor, in the order in which data flows: what a checkpoint must hold, no more and no
    /// less. Matrices are `[outputs, inputs]`.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut list = List::default();
        self.vision_tensors(&mut list);
        let text = self.text.hidden_size;
        for (stem, inputs) in [("state_proj", self.state_dim), ("hint_proj", self.hint_dim)] {
            list.linear(&format!("{stem}.in"), text, inputs);
            list.linear(&format!("{stem}.out"), text, text);
        }
        language_tensors(&mut list, &self.text);
        list.linear("perception_head", self.perception_dim, text);
        self.action_tensors(&mut list);
        list.0
    }

    fn vision_tensors(&self, list: &mut List) {
        let vision = &self.vision;
        let hidden = vision.hidden_size;
        list.linear("vision_model.embeddings.cell_in", vision.stem_channels, vision.cell_len());
        list.linear("vision_model.embeddings.patch_in", vision.stem_size, vision.stem_len());
        list.linear("vision_model.embeddings.patch_out", hidden, vision.stem_size);
        list.add("vision_model.embeddings.position_embedding.weight", &[vision.num_patches(), hidden]);
        for index in 0..vision.num_hidden_layers {
            let stem = format!("vision_model.encoder.layers.{index}");
            list.layer(&stem, &VISION_LAYER, hidden, vision.intermediate_size);
        }
        list.add("vision_model.post_layernorm.weight", &[hidden]);
        let merged = hidden * vision.merged_patches();
        list.add("multi_modal_projector.linear.weight", &[self.text.hidden_size, merged]);
    }

    fn action_tensors(&self, list: &mut List) {
        let action = &self.action;
        let (hidden, text) = (action.hidden_size, self.text.hidden_size);
        list.linear("action_expert.action_in_proj", hidden, action.action_dim);
        list.linear("action_expert.action_time_mlp_in", hidden, 2 * hidden);
        list.linear("action_expert.action_time_mlp_out", hidden, hidden);
        list.add("action_expert.position_embedding.weight", &[action.horizon, hidden]);
        for index in 0..action.num_hidden_layers {
            let stem = format!("action_expert.layers.{index}");
            list.layer(&stem, &ACTION_LAYER, hidden, action.intermediate_size);
            list.add(format!("{stem}.self_attn.k_ctx_proj.weight"), &[hidden, text]);
            list.add(format!("{stem}.self_attn.v_ctx_proj.weight"), &[hidden, text]);
        }
        list.add("action_expert.norm.weight", &[hidden]);
        list.linear("action_expert.action_out_proj", action.action_dim, hidden);
    }
}

/// The decoder as DeepSeek-V3 names it.
fn language_tensors(list: &mut List, text: &Config) {
    let hidden = text.hidden_size;
    let name = |rest: &str| format!("{LANGUAGE_PREFIX}{rest}");
    list.add(name("model.embed_tokens.weight"), &[text.vocab_size, hidden]);
    for index in 0..text.num_hidden_layers {
        let stem = name(&format!("model.layers.{index}"));
        list.add(format!("{stem}.input_layernorm.weight"), &[hidden]);
        if let AttentionConfig::Mla(mla) = &text.attention {
            latent_attention(list, &format!("{stem}.self_attn"), text, mla);
        }
        list.add(format!("{stem}.post_attention_layernorm.weight"), &[hidden]);
        match &text.moe {
            Some(moe) if text.is_moe_layer(index) => experts(list, &format!("{stem}.mlp"), hidden, moe),
            _ => list.mlp(&format!("{stem}.mlp"), hidden, text.intermediate_size),
        }
    }
    list.add(name("model.norm.weight"), &[hidden]);
    if !text.tie_word_embeddings {
        list.add(name("lm_head.weight"), &[text.vocab_size, hidden]);
    }
}

fn latent_attention(list: &mut List, stem: &str, text: &Config, mla: &MlaConfig) {
    let (hidden, heads) = (text.hidden_size, text.num_attention_heads);
    let q_width = heads * mla.qk_head_dim();
    match mla.q_lora_rank {
        None => list.add(format!("{stem}.q_proj.weight"), &[q_width, hidden]),
        Some(rank) => {
            list.add(format!("{stem}.q_a_proj.weight"), &[rank, hidden]);
            list.add(format!("{stem}.q_a_layernorm.weight"), &[rank]);
            list.add(format!("{stem}.q_b_proj.weight"), &[q_width, rank]);
        }
    }
    list.add(format!("{stem}.kv_a_proj_with_mqa.weight"), &[mla.cache_width(), hidden]);
    list.add(format!("{stem}.kv_a_layernorm.weight"), &[mla.kv_lora_rank]);
    let kv_width = heads * (mla.qk_nope_head_dim + mla.v_head_dim);
    list.add(format!("{stem}.kv_b_proj.weight"), &[kv_width, mla.kv_lora_rank]);
    list.add(format!("{stem}.o_proj.weight"), &[hidden, heads * mla.v_head_dim]);
}

fn experts(list: &mut List, stem: &str, hidden: usize, moe: &MoeConfig) {
    list.add(format!("{stem}.gate.weight"), &[moe.n_routed_experts, hidden]);
    list.add(format!("{stem}.gate.e_score_correction_bias"), &[moe.n_routed_experts]);
    for expert in 0..moe.n_routed_experts {
        list.mlp(&format!("{stem}.experts.{expert}"), hidden, moe.moe_intermediate_size);
    }
    if moe.n_shared_experts > 0 {
        let inner = moe.n_shared_experts * moe.moe_intermediate_size;
        list.mlp(&format!("{stem}.shared_experts"), hidden, inner);
    }
}
