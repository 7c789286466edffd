//! Sampling defaults a model is published with.

use crate::{
    Checkpoint, CheckpointError, CheckpointKind, FormatError, MetaValue, Metadata, MetadataError, config_json,
};

/// Largest `generation_config.json` read; published ones have a few hundred bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Most end-of-sequence tokens accepted; published models have up to five.
const MAX_EOS: usize = 64;
/// Tokens that end a turn whatever a GGUF file's keys say, as llama.cpp treats them: older files name only the end of
/// the text, and a chat model would talk on past the end of its turn.
const END_OF_TURN: [&str; 9] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<｜end▁of▁sentence｜>",
    "<|EOT|>",
];

/// Why a model's generation settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// `generation_config.json` could not be read.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// A key has the wrong type.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A value lies outside its range.
    #[error("{file}: '{key}' is {found}, expected {expected}")]
    Range {
        /// The file the value is from.
        file: String,
        /// Its key.
        key: String,
        /// The value.
        found: String,
        /// What is allowed.
        expected: &'static str,
    },
}

/// What a model's publisher recommends for generation, and which tokens begin and end a text. A field is empty when no
/// file says anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Token that begins a text.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text or a turn, each once. The engine checks ids against the model's rows.
    pub eos_token_ids: Vec<u32>,
    /// Temperature; 0 is greedy. Also 0 where `do_sample` is false.
    pub temperature: Option<f32>,
    /// Share of probability to sample from, in (0, 1].
    pub top_p: Option<f32>,
    /// Number of tokens to sample from; 0 is all.
    pub top_k: Option<usize>,
    /// Least probability relative to the best token's, in [0, 1].
    pub min_p: Option<f32>,
    /// Divisor of positive logits of tokens seen before; 1 is off.
    pub repetition_penalty: Option<f32>,
}

/// Names of the settings in one kind of file.
struct Keys {
    bos: &'static str,
    eos: &'static [&'static str],
    temperature: &'static str,
    top_p: &'static str,
    top_k: &'static str,
    min_p: &'static str,
    repetition_penalty: &'static str,
}

const JSON_KEYS: Keys = Keys {
    bos: "bos_token_id",
    eos: &["eos_token_id"],
    temperature: "temperature",
    top_p: "top_p",
    top_k: "top_k",
    min_p: "min_p",
    repetition_penalty: "repetition_penalty",
};

const GGUF_KEYS: Keys = Keys {
    bos: "tokenizer.ggml.bos_token_id",
    eos: &["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"],
    temperature: "general.sampling.temp",
    top_p: "general.sampling.top_p",
    top_k: "general.sampling.top_k",
    min_p: "general.sampling.min_p",
    repetition_penalty: "general.sampling.penalty_repeat",
};

impl GenerationDefaults {
    /// Reads `generation_config.json`; what it leaves open comes from `config.json` or from the keys of the GGUF file.
    ///
    /// # Errors
    /// When a value has the wrong type or lies outside its range.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<GenerationDefaults, GenerationError> {
        let mut defaults = GenerationDefaults::default();
        if let Some(bytes) = checkpoint.side_file("generation_config.json", MAX_FILE_BYTES)? {
            let file = checkpoint.path().join("generation_config.json");
            let mut metadata = config_json::parse_config(&bytes)
                .map_err(|error: FormatError| CheckpointError::format(&file, error))?;
            metadata.set_file(file.display().to_string());
            Reader { metadata: &metadata, file: file.display().to_string() }
                .fill(&mut defaults, &JSON_KEYS)?;
        }
        let is_gguf = checkpoint.kind() == CheckpointKind::Gguf;
        let path =
            if is_gguf { checkpoint.path().to_path_buf() } else { checkpoint.path().join("config.json") };
        let reader = Reader { metadata: checkpoint.metadata(), file: path.display().to_string() };
        reader.fill(&mut defaults, if is_gguf { &GGUF_KEYS } else { &JSON_KEYS })?;
        if is_gguf {
            defaults.add_end_of_turn_tokens(checkpoint.metadata())?;
        }
        Ok(defaults)
    }

    fn add_end_of_turn_tokens(&mut self, metadata: &Metadata) -> Result<(), GenerationError> {
        const CONTROL: i64 = 3;
        let tokens = metadata.list_str("tokenizer.ggml.tokens")?.unwrap_or_default();
        let kinds = metadata.list_i64("tokenizer.ggml.token_type")?.unwrap_or_default();
        for (id, (token, kind)) in (0u32..).zip(tokens.iter().zip(&kinds)) {
            if *kind == CONTROL && END_OF_TURN.contains(token) && !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
        Ok(())
    }
}

/// One file's settings.
struct Reader<'a> {
    metadata: &'a Metadata,
    file: String,
}

impl Reader<'_> {
    /// Fills the fields that are still empty.
    fn fill(&self, defaults: &mut GenerationDefaults, keys: &Keys) -> Result<(), GenerationError> {
        if let (None, Some(id)) = (defaults.bos_token_id, self.metadata.get(keys.bos)) {
            defaults.bos_token_id = self.id(keys.bos, id)?;
        }
        if defaults.eos_token_ids.is_empty() {
            for key in keys.eos {
                self.add_eos(&mut defaults.eos_token_ids, key)?;
            }
        }
        let unit = |x: f64| (0.0..=1.0).contains(&x);
        let wanted = "a number above 0 and at most 1";
        let top_p = self.number(keys.top_p, wanted, |x| unit(x) && x > 0.0)?;
        let min_p = self.number(keys.min_p, "a number from 0 to 1", unit)?;
        let temperature =
            self.number(keys.temperature, "a number from 0 to 100", |x| (0.0..=100.0).contains(&x))?;
        let penalty = self
            .number(keys.repetition_penalty, "a number above 0 and at most 100", |x| x > 0.0 && x <= 100.0)?;
        let greedy = self.metadata.bool("do_sample")? == Some(false);
        defaults.temperature = defaults.temperature.or(if greedy { Some(0.0) } else { temperature });
        defaults.top_p = defaults.top_p.or(top_p);
        defaults.min_p = defaults.min_p.or(min_p);
        defaults.repetition_penalty = defaults.repetition_penalty.or(penalty);
        let top_k = self.top_k(keys.top_k)?;
        defaults.top_k = defaults.top_k.or(top_k);
        Ok(())
    }

    fn out_of_range(&self, key: &str, found: impl ToString, expected: &'static str) -> GenerationError {
        GenerationError::Range {
            file: self.file.clone(),
            key: key.to_string(),
            found: found.to_string(),
            expected,
        }
    }

    fn number(
        &self,
        key: &str,
        expected: &'static str,
        allowed: impl Fn(f64) -> bool,
    ) -> Result<Option<f32>, GenerationError> {
        match self.metadata.f64(key)? {
            Some(value) if !allowed(value) => Err(self.out_of_range(key, value, expected)),
            value => Ok(value.map(|value| value as f32)),
        }
    }

    /// A count; -1, with which some servers' files switch it off, is 0.
    fn top_k(&self, key: &str) -> Result<Option<usize>, GenerationError> {
        match self.metadata.get(key) {
            Some(MetaValue::Int(-1)) => Ok(Some(0)),
            _ => Ok(self.metadata.usize(key)?),
        }
    }

    /// A token id; `null`, -1 and `u32::MAX` are how files write "none".
    fn id(&self, key: &str, value: &MetaValue) -> Result<Option<u32>, GenerationError> {
        match value {
            MetaValue::Null | MetaValue::Int(-1) => Ok(None),
            MetaValue::Uint(id) if *id == u64::from(u32::MAX) => Ok(None),
            MetaValue::Uint(id) if *id < u64::from(u32::MAX) => Ok(Some(*id as u32)),
            other => Err(self.out_of_range(key, other, "a token id")),
        }
    }

    /// Adds one id or a list of them.
    fn add_eos(&self, ids: &mut Vec<u32>, key: &str) -> Result<(), GenerationError> {
        let mut add = |id: Option<u32>| ids.extend(id.filter(|id| !ids.contains(id)));
        match self.metadata.get(key) {
            None => {}
            Some(MetaValue::List(list)) => {
                if list.len() > MAX_EOS {
                    return Err(self.out_of_range(
                        key,
                        format!("a list of {} ids", list.len()),
                        "at most 64 ids",
                    ));
                }
                for value in list.iter() {
                    add(self.id(key, &value)?);
                }
            }
            Some(value) => add(self.id(key, value)?),
        }
        Ok(())
    }
}
