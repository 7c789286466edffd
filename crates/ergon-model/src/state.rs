//! What a sequence has seen: the keys and values of every layer.

use ergon_kernels::ops::{KvSlice, Q8Block, f16_to_f32, f32_to_f16, f32_to_q8, q8_to_f32};

use crate::config::{AttentionConfig, Config};
use crate::error::ForwardError;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvFormat {
    /// Single precision: what the parity tests against f32 references use.
    F32,
    /// IEEE half precision: half the memory; rounding error 2^-11 of each value.
    F16,
    /// Blocks of 32 integers of 8 bits with a scale: 17/64 of the memory of singles; rounding error 1/252 of a block's
    /// largest value.
    Q8,
}

impl KvFormat {
    /// `f32`, `f16` or `q8`.
    pub fn name(self) -> &'static str {
        match self {
            KvFormat::F32 => "f32",
            KvFormat::F16 => "f16",
            KvFormat::Q8 => "q8",
        }
    }

    /// Bytes of stored values; in blocks their number is a multiple of 32.
    fn bytes_of(self, values: usize) -> usize {
        match self {
            KvFormat::F32 => 4 * values,
            KvFormat::F16 => 2 * values,
            KvFormat::Q8 => values / Q8Block::VALUES * size_of::<Q8Block>(),
        }
    }

    /// Whether keys and values of a model can be stored so.
    ///
    /// # Errors
    /// The keys or values of a head are no whole blocks.
    pub(crate) fn check(self, config: &Config) -> Result<(), ForwardError> {
        let head_values = match &config.attention {
            AttentionConfig::Gqa(gqa) => [gqa.head_dim; 2],
            AttentionConfig::Mla(mla) => [mla.kv_lora_rank, mla.qk_rope_head_dim],
        };
        let broken = head_values.into_iter().find(|values| !values.is_multiple_of(Q8Block::VALUES));
        match broken.filter(|_| self == KvFormat::Q8) {
            Some(head_values) => Err(ForwardError::BrokenBlocks { head_values, block: Q8Block::VALUES }),
            None => Ok(()),
        }
    }
}

/// Rows of one width, one per position, in a stored precision.
enum KvBuffer {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Q8(Vec<Q8Block>),
}

impl KvBuffer {
    fn new(format: KvFormat) -> KvBuffer {
        match format {
            KvFormat::F32 => KvBuffer::F32(Vec::new()),
            KvFormat::F16 => KvBuffer::F16(Vec::new()),
            KvFormat::Q8 => KvBuffer::Q8(Vec::new()),
        }
    }

    fn append(&mut self, values: &[f32]) {
        match self {
            KvBuffer::F32(stored) => stored.extend_from_slice(values),
            KvBuffer::F16(stored) => {
                let start = stored.len();
                stored.resize(start + values.len(), 0);
                f32_to_f16(values, &mut stored[start..]);
            }
            KvBuffer::Q8(stored) => {
                let start = stored.len();
                stored.resize(start + values.len() / Q8Block::VALUES, Q8Block::default());
                f32_to_q8(values, &mut stored[start..]);
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            KvBuffer::F32(stored) => stored.truncate(len),
            KvBuffer::F16(stored) => stored.truncate(len),
            KvBuffer::Q8(stored) => stored.truncate(len / Q8Block::VALUES),
        }
    }

    fn shrink(&mut self, values: usize) {
        match self {
            KvBuffer::F32(stored) => stored.shrink_to(values),
            KvBuffer::F16(stored) => stored.shrink_to(values),
            KvBuffer::Q8(stored) => stored.shrink_to(values / Q8Block::VALUES),
        }
    }

    fn reserve(&mut self, additional: usize) -> Result<(), ForwardError> {
        let reserved = match self {
            KvBuffer::F32(stored) => stored.try_reserve_exact(additional),
            KvBuffer::F16(stored) => stored.try_reserve_exact(additional),
            KvBuffer::Q8(stored) => stored.try_reserve_exact(additional / Q8Block::VALUES),
        };
        reserved.map_err(|_| ForwardError::OutOfMemory { what: "the KV cache", values: additional })
    }

    fn bytes(&self) -> usize {
        match self {
            KvBuffer::F32(stored) => stored.capacity() * 4,
            KvBuffer::F16(stored) => stored.capacity() * 2,
            KvBuffer::Q8(stored) => stored.capacity() * size_of::<Q8Block>(),
        }
    }

    fn slice(&self) -> KvSlice<'_> {
        match self {
            KvBuffer::F32(stored) => KvSlice::F32(stored),
            KvBuffer::F16(stored) => KvSlice::F16(stored),
            KvBuffer::Q8(stored) => KvSlice::Q8(stored),
        }
    }
}

/// Keys and values of one layer. With grouped-query attention `k` and `v` are separate; with multi-head latent
/// attention there is one buffer of `[latent, rotary key]` rows, and `v` is empty.
pub(crate) struct LayerCache {
    k: KvBuffer,
    v: KvBuffer,
    k_width: usize,
    v_width: usize,
}

impl LayerCache {
    fn new(config: &Config, format: KvFormat) -> LayerCache {
        let (k_width, v_width) = cache_widths(config);
        LayerCache { k: KvBuffer::new(format), v: KvBuffer::new(format), k_width, v_width }
    }

    /// Appends rows of keys `[n, k_width]` and values `[n, v_width]` (empty for latent attention).
    pub(crate) fn append(&mut self, k: &[f32], v: &[f32]) {
        debug_assert_eq!(k.len() * self.v_width, v.len() * self.k_width);
        self.k.append(k);
        self.v.append(v);
    }

    pub(crate) fn k(&self) -> KvSlice<'_> {
        self.k.slice()
    }

    pub(crate) fn v(&self) -> KvSlice<'_> {
        self.v.slice()
    }

    /// The key row of one position in single precision.
    pub(crate) fn read_k(&self, position: usize, row: &mut [f32]) {
        let values = position * self.k_width..(position + 1) * self.k_width;
        match &self.k {
            KvBuffer::F32(stored) => row.copy_from_slice(&stored[values]),
            KvBuffer::F16(stored) => f16_to_f32(&stored[values], row),
            KvBuffer::Q8(stored) => {
                let blocks = values.start / Q8Block::VALUES..values.end / Q8Block::VALUES;
                q8_to_f32(&stored[blocks], row);
            }
        }
    }

    fn reserve(&mut self, tokens: usize) -> Result<(), ForwardError> {
        self.k.reserve(tokens * self.k_width)?;
        self.v.reserve(tokens * self.v_width)
    }

    fn truncate(&mut self, tokens: usize) {
        self.k.truncate(tokens * self.k_width);
        self.v.truncate(tokens * self.v_width);
    }
}

/// Bytes of keys and values that one token adds, in all layers; `layers_more` are further layers with a cache.
pub fn kv_bytes_per_token(config: &Config, format: KvFormat, layers_more: usize) -> usize {
    let (k, v) = cache_widths(config);
    format.bytes_of(k + v) * (config.num_hidden_layers + layers_more)
}

/// Values per position in the key and the value buffer of a layer.
pub(crate) fn cache_widths(config: &Config) -> (usize, usize) {
    match &config.attention {
        AttentionConfig::Gqa(gqa) => {
            let width = gqa.num_key_value_heads * gqa.head_dim;
            (width, width)
        }
        AttentionConfig::Mla(mla) => (mla.kv_lora_rank + mla.qk_rope_head_dim, 0),
    }
}

/// One sequence over a model: its length, the keys and values of every layer, and what the multi-token-prediction
/// layer needs to go on.
pub struct SequenceState {
    pub(crate) layers: Vec<LayerCache>,
    /// Cache of the multi-token-prediction layer, when the model has one.
    pub(crate) draft_layer: Option<LayerCache>,
    /// Number of positions in `draft_layer`.
    draft_len: usize,
    /// `[len - draft_len, hidden_size]`, final hidden states that the draft layer has still to read.
    hidden: Vec<f32>,
    hidden_size: usize,
    len: usize,
    capacity: usize,
}

impl SequenceState {
    pub(crate) fn new(
        config: &Config,
        with_draft: bool,
        format: KvFormat,
        capacity_tokens: usize,
    ) -> Result<SequenceState, ForwardError> {
        let new_layer = || LayerCache::new(config, format);
        let mut layers: Vec<LayerCache> = (0..config.num_hidden_layers).map(|_| new_layer()).collect();
        let mut draft_layer = with_draft.then(new_layer);
        for layer in layers.iter_mut().chain(draft_layer.as_mut()) {
            layer.reserve(capacity_tokens)?;
        }
        Ok(SequenceState {
            layers,
            draft_layer,
            draft_len: 0,
            hidden: Vec::new(),
            hidden_size: config.hidden_size,
            len: 0,
            capacity: capacity_tokens,
        })
    }

    /// Tokens seen so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been seen yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens for which memory was reserved.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Reserves memory so that `capacity_tokens` fit in all.
    pub fn reserve(&mut self, capacity_tokens: usize) -> Result<(), ForwardError> {
        let additional = capacity_tokens.saturating_sub(self.len);
        for layer in self.layers.iter_mut().chain(self.draft_layer.as_mut()) {
            layer.reserve(additional)?;
        }
        self.capacity = self.capacity.max(capacity_tokens);
        Ok(())
    }

    /// Gives memory back beyond what `capacity_tokens` need, or the tokens that are there.
    pub fn shrink(&mut self, capacity_tokens: usize) {
        for layer in self.layers.iter_mut().chain(self.draft_layer.as_mut()) {
            layer.k.shrink(capacity_tokens * layer.k_width);
            layer.v.shrink(capacity_tokens * layer.v_width);
        }
        self.capacity = self.capacity.min(capacity_tokens.max(self.len));
    }

    /// Undoes a step that was given up half way, when some layers have its rows already and others do not: the sequence is
    /// as after its first `len` tokens, which is what it had before the step.
    pub fn rewind(&mut self, len: usize) {
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
        self.truncate(len);
    }

    /// Forgets everything after the first `len` tokens.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        self.layers.iter_mut().for_each(|layer| layer.truncate(len));
        // The last kept row of the draft layer may have read a token that is gone now. It stays: its hidden state has
        // been released, and a stale row can only make a guess worse, never an output.
        self.draft_len = self.draft_len.min(len);
        self.hidden.truncate((len - self.draft_len) * self.hidden_size);
        if let Some(layer) = &mut self.draft_layer {
            layer.truncate(self.draft_len);
        }
    }

    /// Whether the sequence was made with what the multi-token-prediction layer needs.
    pub fn can_draft(&self) -> bool {
        self.draft_layer.is_some()
    }

    /// Keeps the final hidden states `[n, hidden_size]` of the tokens just appended, for the draft layer.
    pub(crate) fn keep_hidden(&mut self, rows: &[f32]) {
        self.hidden.extend_from_slice(rows);
    }

    /// The hidden states that the draft layer has still to read, `[len - draft_len, hidden_size]`.
    pub(crate) fn pending_hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// The draft layer has read `rows` more positions; their hidden states are released.
    pub(crate) fn advance_draft(&mut self, rows: usize) {
        self.draft_len += rows;
        self.hidden.drain(..rows * self.hidden_size);
    }

    /// Positions that the draft layer has read.
    pub fn draft_len(&self) -> usize {
        self.draft_len
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Bytes held by the cache.
    pub fn bytes(&self) -> usize {
        self.layers.iter().chain(&self.draft_layer).map(|layer| layer.k.bytes() + layer.v.bytes()).sum()
    }
}
