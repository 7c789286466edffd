//! Reading the golden vectors of `vectors/` (made by its scripts; README.md there says what each case is).

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use ergon_checkpoint::Checkpoint;
use ergon_kernels::Cpu;
use ergon_model::{
    DraftSegment, Input, KvFormat, LogitsWanted, Model, Phase, Scratch, Segment, SequenceState,
};
use safetensors::{Dtype, SafeTensors};

/// Another folder of vectors, for instance one made with a fresh seed: `vectors/verify.py` sets it.
const VECTORS: &str = "ERGON_VECTORS";

/// A checkpoint and what its oracle computed with it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) checkpoint: PathBuf,
    pub(crate) tokens: Vec<u32>,
    /// f32 `[tokens, vocab]`.
    pub(crate) logits: Vec<f32>,
    /// Prompt and continuation, when the oracle generated.
    pub(crate) greedy: Option<(Vec<u32>, Vec<u32>)>,
    /// f32 `[tokens - 1, vocab]`, for a checkpoint with a multi-token-prediction layer.
    pub(crate) mtp_logits: Option<Vec<f32>>,
    /// A text and its ids, when the oracle tokenised.
    pub(crate) text: Option<(String, Vec<u32>)>,
    /// Stored precision (`f32`, `bf16`, `f16`, `fp8`), or the quantisation mix of a GGUF file.
    pub(crate) format: String,
}

impl Case {
    pub(crate) fn is_gguf(&self) -> bool {
        self.checkpoint.extension().is_some_and(|extension| extension == "gguf")
    }

    pub(crate) fn vocab(&self) -> usize {
        self.logits.len() / self.tokens.len()
    }

    pub(crate) fn open(&self) -> Model {
        let checkpoint =
            Checkpoint::open(&self.checkpoint).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Model::load(&checkpoint).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Every case of the vectors folder, by name.
pub(crate) fn cases() -> Vec<Case> {
    let folder = std::env::var_os(VECTORS)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors"), PathBuf::from);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut cases: Vec<Case> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.safetensors").is_file())
        .map(|path| read_case(&path))
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    cases
}

fn read_case(folder: &Path) -> Case {
    let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let notes: HashMap<String, String> = header.metadata().clone().unwrap_or_default();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: &str| tensors.tensor(name).ok().map(|view| read(&view, Dtype::I32, u32::from_le_bytes));
    let floats =
        |name: &str| tensors.tensor(name).ok().map(|view| read(&view, Dtype::F32, f32::from_le_bytes));
    let gguf = folder.join("model.gguf");
    Case {
        name: folder.file_name().unwrap().to_string_lossy().into_owned(),
        checkpoint: if gguf.is_file() { gguf } else { folder.to_path_buf() },
        tokens: ids("tokens").unwrap(),
        logits: floats("logits").unwrap(),
        greedy: ids("greedy_prompt").zip(ids("greedy")),
        mtp_logits: floats("mtp_logits"),
        text: notes.get("text").cloned().zip(ids("text_tokens")),
        format: notes.get("dtype").or(notes.get("mix")).unwrap().clone(),
    }
}

fn read<T>(view: &safetensors::tensor::TensorView, dtype: Dtype, convert: fn([u8; 4]) -> T) -> Vec<T> {
    assert_eq!(view.dtype(), dtype);
    view.data().chunks_exact(4).map(|bytes| convert(bytes.try_into().unwrap())).collect()
}

/// A model at work on one processor configuration.
pub(crate) struct Runner<'a> {
    pub(crate) model: &'a Model,
    pub(crate) cpu: &'a Cpu,
    pub(crate) scratch: Scratch,
    pub(crate) kv: KvFormat,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(model: &'a Model, cpu: &'a Cpu) -> Runner<'a> {
        Runner { model, cpu, scratch: Scratch::default(), kv: KvFormat::F32 }
    }

    pub(crate) fn state(&self, capacity: usize) -> SequenceState {
        self.model.new_state(self.kv, capacity, self.model.has_mtp()).unwrap()
    }

    /// Appends `tokens` in steps of `chunk` and returns the logits of all of them.
    pub(crate) fn extend(
        &mut self,
        state: &mut SequenceState,
        tokens: &[u32],
        chunk: usize,
        phase: Phase,
    ) -> Vec<f32> {
        let (mut all, mut logits) = (Vec::new(), Vec::new());
        for part in tokens.chunks(chunk) {
            let input = Input::Tokens(part);
            let segment = Segment { input, state: &mut *state, phase, logits: LogitsWanted::All };
            self.model.forward(self.cpu, &mut [segment], &mut self.scratch, &mut logits).unwrap();
            all.extend_from_slice(&logits);
        }
        all
    }

    /// The logits of a whole sequence, from an empty state.
    pub(crate) fn logits(&mut self, tokens: &[u32], chunk: usize, phase: Phase) -> Vec<f32> {
        let mut state = self.state(tokens.len());
        self.extend(&mut state, tokens, chunk, phase)
    }
}

impl Runner<'_> {
    /// The multi-token-prediction layer's logits, `[tokens - 1, vocab]`, read in steps of `chunk`: row i guesses token
    /// i + 2 after tokens 0..=i + 1.
    pub(crate) fn draft_logits(&mut self, tokens: &[u32], chunk: usize, phase: Phase) -> Vec<f32> {
        let mut state = self.state(tokens.len());
        let (mut all, mut logits) = (Vec::new(), Vec::new());
        for (index, part) in tokens[1..].chunks(chunk).enumerate() {
            // The layer reads one token ahead of the hidden states, so the first step needs one token more.
            let read = if index == 0 { [&tokens[..1], part].concat() } else { part.to_vec() };
            self.extend(&mut state, &read, read.len(), phase);
            let segment = DraftSegment { tokens: part, state: &mut state, phase, logits: LogitsWanted::All };
            self.model.draft(self.cpu, segment, &mut self.scratch, &mut logits).unwrap();
            all.extend_from_slice(&logits);
        }
        all
    }
}

/// Where two rows of logits are farthest apart.
pub(crate) struct Deviation {
    pub(crate) position: usize,
    /// Largest difference of a logit over the standard deviation of all expected logits.
    pub(crate) error: f32,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1e} std at position {}", self.error, self.position)
    }
}

/// The largest deviation of `actual` from `expected`, both `[positions, vocab]`. NaN counts as infinite.
pub(crate) fn deviation(actual: &[f32], expected: &[f32], vocab: usize) -> Deviation {
    assert_eq!(actual.len(), expected.len(), "number of logits");
    let mean = expected.iter().map(|&x| f64::from(x)).sum::<f64>() / expected.len() as f64;
    let variance =
        expected.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / expected.len() as f64;
    let mut worst = Deviation { position: 0, error: 0.0 };
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        let error = if a.is_nan() { f32::INFINITY } else { (a - e).abs() / variance.sqrt() as f32 };
        if error > worst.error {
            worst = Deviation { position: index / vocab, error };
        }
    }
    worst
}

/// Mean over positions of KL(softmax(expected) || softmax(actual)), in nats.
pub(crate) fn mean_kl(actual: &[f32], expected: &[f32], vocab: usize) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of logits");
    let total: f64 = actual
        .chunks_exact(vocab)
        .zip(expected.chunks_exact(vocab))
        .map(|(actual, expected)| {
            let (q, p) = (log_softmax(actual), log_softmax(expected));
            p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
        })
        .sum();
    total / (actual.len() / vocab) as f64
}

/// Logarithms of the probabilities of one row of logits.
pub(crate) fn log_softmax(row: &[f32]) -> Vec<f64> {
    let peak = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - peak).exp()).sum();
    row.iter().map(|&x| f64::from(x - peak) - sum.ln()).collect()
}

/// Whether two results are the same bits; if not, where the first difference is.
pub(crate) fn same_bits(actual: &[f32], expected: &[f32], vocab: usize) -> Result<(), String> {
    if actual.len() != expected.len() {
        return Err(format!("{} logits instead of {}", actual.len(), expected.len()));
    }
    match actual.iter().zip(expected).position(|(a, e)| a.to_bits() != e.to_bits()) {
        None => Ok(()),
        Some(index) => Err(format!(
            "first difference at position {}, token {}: {:e} instead of {:e}; largest {}",
            index / vocab,
            index % vocab,
            actual[index],
            expected[index],
            deviation(actual, expected, vocab),
        )),
    }
}

/// Fails with every message, so that one run shows all that is wrong.
pub(crate) fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n  {}", failures.len(), failures.join("\n  "));
}
