//! Tiny random checkpoints and running the binary on them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

pub(crate) const HIDDEN: usize = 256;
pub(crate) const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 64;
const INTERMEDIATE: usize = 512;
/// 256 bytes and the special tokens.
pub(crate) const VOCAB: usize = 256 + SPECIAL.len();
const SPECIAL: [&str; 4] = ["<s>", "</s>", "<|user|>", "<|assistant|>"];
pub(crate) const BOS: u32 = 256;
pub(crate) const EOS: u32 = 257;

const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}\
                        {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Numbers between -1 and 1 from a seed; 64-bit LCG by Knuth, upper bits.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / (1u64 << 23) as f32) - 1.0
    }
}

/// Which parts of the folder to write.
#[derive(Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) tokenizer: bool,
    pub(crate) template: bool,
}

impl Parts {
    pub(crate) const ALL: Parts = Parts { tokenizer: true, template: true };
    pub(crate) const WEIGHTS: Parts = Parts { tokenizer: false, template: false };
}

/// A random Llama of about a million parameters in a folder as published.
pub(crate) fn tiny_llama(folder: &Path, seed: u64, parts: Parts) {
    fs::create_dir_all(folder).unwrap();
    write_json(&folder.join("config.json"), &llama_config());
    write_tensors(&folder.join("model.safetensors"), &llama_tensors(seed));
    if parts.tokenizer {
        write_json(&folder.join("tokenizer.json"), &byte_tokenizer());
        let mut config =
            json!({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"});
        if parts.template {
            config["chat_template"] = json!(TEMPLATE);
        }
        write_json(&folder.join("tokenizer_config.json"), &config);
    }
}

pub(crate) fn llama_config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "vocab_size": VOCAB, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": BOS, "eos_token_id": EOS, "torch_dtype": "float32",
    })
}

fn llama_tensors(seed: u64) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let mut numbers = Numbers(seed);
    let mut tensors = BTreeMap::new();
    let mut add = |name: String, shape: &[usize], center: f32, scale: f32| {
        let n = shape.iter().product();
        let values: Vec<u8> = (0..n).flat_map(|_| (center + scale * numbers.next()).to_le_bytes()).collect();
        tensors.insert(name, (shape.to_vec(), values));
    };
    add("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN], 0.0, 1.0);
    add("lm_head.weight".into(), &[VOCAB, HIDDEN], 0.0, 0.2);
    add("model.norm.weight".into(), &[HIDDEN], 1.0, 0.1);
    for layer in 0..LAYERS {
        let mut part = |name: &str, shape: &[usize], center, scale| {
            add(format!("model.layers.{layer}.{name}.weight"), shape, center, scale);
        };
        part("input_layernorm", &[HIDDEN], 1.0, 0.1);
        part("post_attention_layernorm", &[HIDDEN], 1.0, 0.1);
        part("self_attn.q_proj", &[HEADS * HEAD_DIM, HIDDEN], 0.0, 0.1);
        part("self_attn.k_proj", &[KV_HEADS * HEAD_DIM, HIDDEN], 0.0, 0.1);
        part("self_attn.v_proj", &[KV_HEADS * HEAD_DIM, HIDDEN], 0.0, 0.1);
        part("self_attn.o_proj", &[HIDDEN, HEADS * HEAD_DIM], 0.0, 0.1);
        part("mlp.gate_proj", &[INTERMEDIATE, HIDDEN], 0.0, 0.1);
        part("mlp.up_proj", &[INTERMEDIATE, HIDDEN], 0.0, 0.1);
        part("mlp.down_proj", &[HIDDEN, INTERMEDIATE], 0.0, 0.1);
    }
    tensors
}

fn write_tensors(path: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<u8>)>) {
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// A byte-level tokenizer without merges: token i is byte i, then the special tokens.
pub(crate) fn byte_tokenizer() -> Value {
    let mut vocab = serde_json::Map::new();
    // GPT-2's printable stand-ins for bytes.
    let mut stand_in = 256u32;
    for byte in 0..256u32 {
        let plain = matches!(byte, 33..=126 | 161..=172 | 174..=255);
        let c = if plain { byte } else { stand_in };
        stand_in += u32::from(!plain);
        vocab.insert(char::from_u32(c).unwrap().to_string(), json!(byte));
    }
    let added: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(i, text)| {
            json!({"id": 256 + i, "content": text, "special": true, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

pub(crate) fn write_json(path: &Path, value: &Value) {
    fs::write(path, serde_json::to_vec(value).unwrap()).unwrap();
}

/// A temporary folder with a tiny model in it.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new(parts: Parts) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        tiny_llama(&folder.path().join("model"), 1, parts);
        Fixture { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The model's path as an argument.
    pub(crate) fn model(&self) -> String {
        text(&self.path("model"))
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_string()
}

/// The binary, two threads, no terminal.
pub(crate) fn ergon(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ergon"));
    command.args(args).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    command
}

/// The JSON object a command printed; fails unless it ended with 0 and printed nothing else.
pub(crate) fn json_of(args: &[&str]) -> Value {
    let output = ergon(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: {error}: {}", stdout(&output)))
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A command must end in exit status 1 and say why in one to three lines, without a trace of a panic.
pub(crate) fn assert_fails(args: &[&str]) -> String {
    let output = ergon(args);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert!((1..=3).contains(&said.lines().count()), "{args:?}: {said}");
    assert!(!said.contains("panicked") && !said.contains("internal error"), "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", stdout(&output));
    said
}

/// `logits` of a file that `score` wrote: shape and values.
pub(crate) fn read_logits(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = file.tensor("logits").unwrap();
    assert_eq!(tensor.dtype(), Dtype::F32);
    let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (tensor.shape().to_vec(), values)
}

/// A GGUF v3 file being put together: keys and F32 tensors.
#[derive(Default)]
struct Gguf {
    keys: Vec<u8>,
    n_keys: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
}

impl Gguf {
    fn string(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }

    fn key(&mut self, name: &str, kind: u32, value: &[u8]) {
        Gguf::string(&mut self.keys, name);
        self.keys.extend_from_slice(&kind.to_le_bytes());
        self.keys.extend_from_slice(value);
        self.n_keys += 1;
    }

    fn tensor(&mut self, name: &str, shape: &[usize], values: &[u8]) {
        Gguf::string(&mut self.tensors, name);
        self.tensors.extend_from_slice(&(shape.len() as u32).to_le_bytes());
        for extent in shape.iter().rev() {
            self.tensors.extend_from_slice(&(*extent as u64).to_le_bytes());
        }
        self.tensors.extend_from_slice(&0u32.to_le_bytes());
        self.tensors.extend_from_slice(&(self.data.len() as u64).to_le_bytes());
        self.data.extend_from_slice(values);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.n_tensors += 1;
    }

    fn write(&self, path: &Path) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend_from_slice(&self.n_tensors.to_le_bytes());
        bytes.extend_from_slice(&self.n_keys.to_le_bytes());
        bytes.extend_from_slice(&self.keys);
        bytes.extend_from_slice(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend_from_slice(&self.data);
        fs::write(path, bytes).unwrap();
    }
}

/// The random Llama of `tiny_llama` as a GGUF file without a tokenizer.
pub(crate) fn write_gguf(path: &Path, seed: u64) {
    let mut gguf = Gguf::default();
    let mut name = Vec::new();
    Gguf::string(&mut name, "llama");
    gguf.key("general.architecture", 8, &name);
    gguf.key("general.file_type", 4, &0u32.to_le_bytes());
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 512),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", INTERMEDIATE),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("rope.dimension_count", HEAD_DIM),
        ("vocab_size", VOCAB),
    ] {
        gguf.key(&format!("llama.{key}"), 4, &(value as u32).to_le_bytes());
    }
    gguf.key("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes());
    gguf.key("llama.rope.freq_base", 6, &10000f32.to_le_bytes());
    for (name, (shape, values)) in llama_tensors(seed) {
        gguf.tensor(&gguf_name(&name), &shape, &values);
    }
    gguf.write(path);
}

fn gguf_name(name: &str) -> String {
    [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name.to_string(), |name, (ours, theirs)| name.replace(ours, theirs))
}

/// A checkpoint of the golden vectors.
pub(crate) fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors").join(name)
}
