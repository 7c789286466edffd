//! The pass over the layers: embedding, attention and feed-forward with their residuals, final norm, head.

use std::ops::Range;
use std::sync::Arc;

use ergon_checkpoint::Checkpoint;
use ergon_kernels::{Activations, Cpu, dequantize_row, matmul, ops};

use crate::binder::Binder;
use crate::config::{AttentionConfig, Config};
use crate::error::{ForwardError, ModelError};
use crate::experts::{ExpertPlace, ExpertStore};
use crate::guess;
use crate::matrix::Matrix;
use crate::moe::{ExpertAccess, LostExpert};
use crate::rope::{RopeTable, Rotations};
use crate::scratch::{RotationBuffers, Scratch, StepScratch, sized};
use crate::state::{KvFormat, LayerCache, SequenceState, kv_bytes_per_token};
use crate::weights::{AttentionWeights, Expert, FeedForwardWeights, LayerWeights, Weights};

/// Which of two formulas latent attention uses; grouped-query attention has one. Each is the same bits however a
/// sequence is cut into steps; between the two, results differ by rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keys and values are expanded from the latents: fewest operations for many tokens.
    Prefill,
    /// The expansion is absorbed into query and output: fewest bytes for few tokens.
    Decode,
}

/// Of which tokens of a segment the logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitsWanted {
    /// Of none.
    None,
    /// Of the last.
    Last,
    /// Of all.
    All,
}

/// What a segment appends to its sequence, at least one row.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Token ids, looked up in the embedding.
    Tokens(&'a [u32]),
    /// Rows `[n, hidden_size]` in place of looked-up ones: what an encoder made of a picture, or
    /// [`Model::embed_tokens`] of tokens between them.
    Embeddings(&'a [f32]),
}

impl Input<'_> {
    /// Number of rows.
    fn rows(&self, hidden_size: usize) -> usize {
        match self {
            Input::Tokens(tokens) => tokens.len(),
            Input::Embeddings(values) => values.len() / hidden_size,
        }
    }
}

/// The next tokens of one sequence.
pub struct Segment<'a> {
    /// What is appended.
    pub input: Input<'a>,
    /// What the sequence has seen; the tokens are appended to it.
    pub state: &'a mut SequenceState,
    /// The formula for latent attention.
    pub phase: Phase,
    /// Of which tokens the logits are wanted.
    pub logits: LogitsWanted,
}

/// The rows that one sequence has in a step.
pub(crate) struct Span {
    pub(crate) rows: Range<usize>,
    /// Position of the first row.
    pub(crate) start: usize,
    pub(crate) phase: Phase,
}

impl Span {
    pub(crate) fn positions(&self) -> Range<usize> {
        self.start..self.start + self.rows.len()
    }
}

/// All rows of a step, the rotations of their positions, and where they are computed.
pub(crate) struct Step<'a> {
    pub(crate) cpu: &'a Cpu,
    pub(crate) config: &'a Config,
    pub(crate) spans: &'a [Span],
    pub(crate) rotations: Rotations<'a>,
}

impl Step<'_> {
    pub(crate) fn n_rows(&self) -> usize {
        self.spans.last().map_or(0, |span| span.rows.end)
    }
}

/// A step at one layer.
pub(crate) struct LayerStep<'a, 'c> {
    pub(crate) step: &'a Step<'a>,
    /// Index of the layer.
    pub(crate) layer: usize,
    /// The layer's cache for each span.
    pub(crate) caches: Vec<&'c mut LayerCache>,
}

/// A decoder bound to its weights. Immutable: any number of threads may run steps over their own sequences.
pub struct Model {
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    rope: RopeTable,
    /// Where routed experts come from that are not bound to memory.
    expert_store: Option<Arc<dyn ExpertStore>>,
}

impl Model {
    /// Reads the configuration and binds every tensor. Weights stay where they are, in their stored precision.
    ///
    /// # Errors
    /// The architecture or a variant is not supported, or tensors are missing, misshapen or left over.
    pub fn load(checkpoint: &Checkpoint) -> Result<Model, ModelError> {
        let config = Config::from_checkpoint(checkpoint)
            .map_err(|source| ModelError::Config { path: checkpoint.path().to_path_buf(), source })?;
        let weights = Weights::bind(checkpoint, &config)?;
        let factors = crate::binder::rope_factors(checkpoint, &config)?;
        Ok(Model::new(config, weights, factors.as_deref()))
    }

    /// As [`Model::load`], and everything but the routed experts is read into memory; a multi-token-prediction layer is left
    /// out. Their places
    /// ([`Model::expert_places`]) go to a store, without which ([`Model::set_expert_store`]) they stay mapped.
    ///
    /// # Errors
    /// As [`Model::load`], or weights cannot be read.
    pub fn load_without_experts(checkpoint: &Checkpoint) -> Result<Model, ModelError> {
        let config = Config::from_checkpoint(checkpoint)
            .map_err(|source| ModelError::Config { path: checkpoint.path().to_path_buf(), source })?;
        let binder = Binder::in_memory(checkpoint, &config);
        let weights = Weights::bind_with(&binder, &config)?;
        binder.finish()?;
        let factors = crate::binder::rope_factors(checkpoint, &config)?;
        Ok(Model::new(config, weights, factors.as_deref()))
    }

    /// Where every routed expert is stored, by layer and number; those in memory are left out.
    pub fn expert_places(&self) -> Vec<ExpertPlace> {
        let mut places = Vec::new();
        let after = self.weights.nextn.iter().map(|nextn| &nextn.layer);
        for (layer, weights) in self.weights.layers.iter().chain(after).enumerate() {
            let FeedForwardWeights::Moe(moe) = &weights.feed_forward else { continue };
            for (expert, Expert { gate, up, down }) in moe.experts.iter().enumerate() {
                if let (Some(gate), Some(up), Some(down)) = (gate.place(), up.place(), down.place()) {
                    places.push(ExpertPlace { layer, expert, parts: [gate, up, down] });
                }
            }
        }
        places
    }

    /// From now on, routed experts come from a store that knows all of [`Model::expert_places`].
    pub fn set_expert_store(&mut self, store: Arc<dyn ExpertStore>) {
        self.expert_store = Some(store);
    }

    /// A decoder of weights that have been bound already; `rope_factors` as in [`RopeTable::new`].
    pub(crate) fn new(config: Config, weights: Weights, rope_factors: Option<&[f32]>) -> Model {
        let rope = RopeTable::new(&config.rope, rope_factors);
        Model { config, weights, rope, expert_store: None }
    }

    /// The shape of the decoder.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the checkpoint holds a multi-token-prediction layer, so that [`Model::draft`] works.
    pub fn has_mtp(&self) -> bool {
        self.weights.nextn.is_some()
    }

    /// An empty sequence with memory for `capacity_tokens`. `with_draft` adds what [`Model::draft`] needs; it is
    /// ignored by models without a multi-token-prediction layer.
    ///
    /// # Errors
    /// The capacity is above the context length, keys or values do not fit the format, or memory is refused.
    pub fn new_state(
        &self,
        format: KvFormat,
        capacity_tokens: usize,
        with_draft: bool,
    ) -> Result<SequenceState, ForwardError> {
        let context_length = self.config.max_position_embeddings;
        if capacity_tokens > context_length {
            return Err(ForwardError::ContextFull { needed: capacity_tokens, context_length });
        }
        self.check_kv_format(format)?;
        SequenceState::new(&self.config, with_draft && self.has_mtp(), format, capacity_tokens)
    }

    /// Whether keys and values can be stored in a format.
    ///
    /// # Errors
    /// Those of a head are no whole blocks of it.
    pub fn check_kv_format(&self, format: KvFormat) -> Result<(), ForwardError> {
        format.check(&self.config)
    }

    /// Bytes of keys and values that one token adds.
    pub fn kv_bytes_per_token(&self, format: KvFormat) -> usize {
        kv_bytes_per_token(&self.config, format, 0)
    }

    /// Appends each segment's tokens to its state and writes the wanted logits, `[wanted, vocab_size]` in the order of
    /// segments and tokens. A segment's results do not depend on the other segments.
    ///
    /// # Errors
    /// A token is outside the vocabulary, a sequence would outgrow the context, or memory is refused; no state has
    /// changed then. Or a routed expert cannot be read: [`SequenceState::rewind`] to the length before undoes the step.
    pub fn forward(
        &self,
        cpu: &Cpu,
        segments: &mut [Segment],
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardError> {
        self.pass(cpu, segments, scratch, logits)?;
        Ok(())
    }

    /// As [`Model::forward`], and appends the final hidden states of all rows, after the last norm, to `states`
    /// `[rows, hidden_size]`.
    ///
    /// # Errors
    /// As [`Model::forward`].
    pub fn forward_with_states(
        &self,
        cpu: &Cpu,
        segments: &mut [Segment],
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
        states: &mut Vec<f32>,
    ) -> Result<(), ForwardError> {
        let rows = self.pass(cpu, segments, scratch, logits)?;
        let start = states.len();
        states.resize(start + rows * self.config.hidden_size, 0.0);
        let hidden = &scratch.hidden[..rows * self.config.hidden_size];
        ops::rms_norm(cpu, hidden, &self.weights.norm, self.config.rms_norm_eps, &mut states[start..]);
        Ok(())
    }

    /// All layers and the wanted logits; the number of rows, whose residual stream is left in `scratch.hidden`.
    fn pass(
        &self,
        cpu: &Cpu,
        segments: &mut [Segment],
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
    ) -> Result<usize, ForwardError> {
        let spans = self.plan(segments)?;
        let Scratch { hidden, rotations, step: buffers } = scratch;
        let step = self.step(cpu, &spans, rotations);
        let hidden = sized(hidden, step.n_rows() * self.config.hidden_size);
        self.fill_inputs(cpu, segments, &spans, hidden);
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let caches = segments.iter_mut().map(|segment| &mut segment.state.layers[index]).collect();
            self.layer(layer, LayerStep { step: &step, layer: index, caches }, buffers, hidden)?;
        }
        self.wanted_logits(cpu, segments, &spans, hidden, buffers, logits);
        for (segment, span) in segments.iter_mut().zip(&spans) {
            segment.state.advance(span.rows.len());
        }
        Ok(step.n_rows())
    }

    /// The embeddings of tokens, `[tokens, hidden_size]`, for [`Input::Embeddings`].
    ///
    /// # Errors
    /// A token is outside the vocabulary.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn embed_tokens(&self, cpu: &Cpu, tokens: &[u32], out: &mut [f32]) -> Result<(), ForwardError> {
        self.check_tokens(tokens)?;
        assert_eq!(out.len(), tokens.len() * self.config.hidden_size, "one row for each token");
        self.embed(cpu, &self.weights.embed_tokens, tokens.iter(), out);
        Ok(())
    }

    /// Writes the input rows of all segments to the residual stream.
    fn fill_inputs(&self, cpu: &Cpu, segments: &[Segment], spans: &[Span], hidden: &mut [f32]) {
        let width = self.config.hidden_size;
        for (segment, span) in segments.iter().zip(spans) {
            let rows = &mut hidden[span.rows.start * width..span.rows.end * width];
            match segment.input {
                Input::Tokens(tokens) => self.embed(cpu, &self.weights.embed_tokens, tokens.iter(), rows),
                Input::Embeddings(values) => rows.copy_from_slice(values),
            }
        }
    }

    /// Checks all segments before any state changes, reserves their memory and lays out their rows.
    fn plan(&self, segments: &mut [Segment]) -> Result<Vec<Span>, ForwardError> {
        let context_length = self.config.max_position_embeddings;
        let mut spans = Vec::with_capacity(segments.len());
        let mut first_row = 0;
        for segment in segments.iter_mut() {
            self.check_input(&segment.input)?;
            let count = segment.input.rows(self.config.hidden_size);
            let needed = segment.state.len() + count;
            if needed > context_length {
                return Err(ForwardError::ContextFull { needed, context_length });
            }
            if needed > segment.state.capacity() {
                // Growth by doubling, so that a long sequence is not copied at every step.
                segment.state.reserve((segment.state.capacity() * 2).clamp(needed, context_length))?;
            }
            let rows = first_row..first_row + count;
            first_row = rows.end;
            spans.push(Span { rows, start: segment.state.len(), phase: segment.phase });
        }
        Ok(spans)
    }

    fn check_input(&self, input: &Input) -> Result<(), ForwardError> {
        let hidden_size = self.config.hidden_size;
        match input {
            Input::Tokens(tokens) => self.check_tokens(tokens),
            Input::Embeddings(values) if values.len().is_multiple_of(hidden_size) => Ok(()),
            Input::Embeddings(values) => Err(ForwardError::Embeddings { values: values.len(), hidden_size }),
        }
    }

    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), ForwardError> {
        let vocab_size = self.config.vocab_size;
        match tokens.iter().find(|token| **token as usize >= vocab_size) {
            None => Ok(()),
            Some(token) => Err(ForwardError::TokenOutOfRange { token: *token, vocab_size }),
        }
    }

    pub(crate) fn embed<'t>(
        &self,
        cpu: &Cpu,
        table: &Matrix,
        tokens: impl Iterator<Item = &'t u32>,
        hidden: &mut [f32],
    ) {
        let view = table.view();
        for (token, row) in tokens.zip(hidden.chunks_exact_mut(self.config.hidden_size)) {
            dequantize_row(cpu, view, *token as usize, row);
        }
    }

    /// The rows of a step with the rotations of their positions.
    pub(crate) fn step<'a>(
        &'a self,
        cpu: &'a Cpu,
        spans: &'a [Span],
        buffers: &'a mut RotationBuffers,
    ) -> Step<'a> {
        let width = self.rope.width();
        let rows = spans.last().map_or(0, |span| span.rows.end);
        let cos = sized(&mut buffers.cos, rows * width);
        let sin = sized(&mut buffers.sin, rows * width);
        let positions = spans.iter().flat_map(Span::positions);
        for ((position, cos), sin) in
            positions.zip(cos.chunks_exact_mut(width)).zip(sin.chunks_exact_mut(width))
        {
            self.rope.fill(position, cos, sin);
        }
        Step { cpu, config: &self.config, spans, rotations: Rotations { cos, sin } }
    }

    /// One transformer layer over the residual stream `hidden` `[rows, hidden_size]`.
    pub(crate) fn layer(
        &self,
        layer: &LayerWeights,
        run: LayerStep,
        buffers: &mut StepScratch,
        hidden: &mut [f32],
    ) -> Result<(), ForwardError> {
        let index = run.layer;
        let spans = run.step.spans;
        let StepScratch { normed, output, activations, attention, mlp, moe, guess } = buffers;
        let cpu = run.step.cpu;
        let (eps, width) = (self.config.rms_norm_eps, self.config.hidden_size);
        let normed = sized(normed, hidden.len());
        let output = sized(output, hidden.len());

        ops::rms_norm(cpu, hidden, &layer.input_layernorm, eps, normed);
        match (&layer.attention, &self.config.attention) {
            (AttentionWeights::Gqa(weights), AttentionConfig::Gqa(gqa)) => {
                let x = activations.prepare(cpu, normed, width, weights.input_formats());
                weights.forward(gqa, run, x, attention, output);
            }
            (AttentionWeights::Mla(weights), AttentionConfig::Mla(mla)) => {
                let x = activations.prepare(cpu, normed, width, weights.input_formats());
                weights.forward(mla, run, x, attention, output);
            }
            _ => unreachable!("weights are bound by the same config"),
        }
        ops::add_in_place(cpu, hidden, output);

        ops::rms_norm(cpu, hidden, &layer.post_attention_layernorm, eps, normed);
        match &layer.feed_forward {
            FeedForwardWeights::Dense(weights) => {
                let x = activations.prepare(cpu, normed, width, weights.input_formats());
                weights.forward(cpu, x, mlp, output);
            }
            FeedForwardWeights::Moe(weights) => {
                let config = self.config.moe.as_ref().expect("experts are bound only with a config for them");
                let x = activations.prepare(cpu, normed, width, weights.input_formats());
                let access = self.expert_store.as_deref().map(|store| {
                    let next = self.weights.layers.get(index + 1);
                    let guess = next.and_then(|next| {
                        guess::guess(cpu, (config, eps), (index + 1, next), store, hidden, guess)
                    });
                    ExpertAccess { layer: index, store, guess }
                });
                weights
                    .forward(cpu, config, access, x, moe, output)
                    .map_err(|lost| lost_segments(lost, spans))?;
            }
        }
        ops::add_in_place(cpu, hidden, output);
        Ok(())
    }

    fn wanted_logits(
        &self,
        cpu: &Cpu,
        segments: &mut [Segment],
        spans: &[Span],
        hidden: &[f32],
        buffers: &mut StepScratch,
        logits: &mut Vec<f32>,
    ) {
        let width = self.config.hidden_size;
        let mut wanted: Vec<usize> = Vec::new();
        for (segment, span) in segments.iter_mut().zip(spans) {
            if segment.state.can_draft() {
                let own = &hidden[span.rows.start * width..span.rows.end * width];
                let normed = sized(&mut buffers.normed, own.len());
                ops::rms_norm(cpu, own, &self.weights.norm, self.config.rms_norm_eps, normed);
                segment.state.keep_hidden(normed);
            }
            match segment.logits {
                LogitsWanted::None => {}
                LogitsWanted::Last => wanted.extend(span.rows.clone().last()),
                LogitsWanted::All => wanted.extend(span.rows.clone()),
            }
        }
        let rows = sized(&mut buffers.output, wanted.len() * width);
        for (row, out) in wanted.iter().zip(rows.chunks_exact_mut(width)) {
            out.copy_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        let normed = sized(&mut buffers.normed, rows.len());
        ops::rms_norm(cpu, rows, &self.weights.norm, self.config.rms_norm_eps, normed);
        logits.resize(wanted.len() * self.config.vocab_size, 0.0);
        let head = &self.weights.lm_head;
        let x = buffers.activations.prepare(cpu, normed, width, [head.format()]);
        head_logits(cpu, head, x, logits);
    }
}

/// The segments whose tokens visit an expert that cannot be had.
fn lost_segments(lost: LostExpert, spans: &[Span]) -> ForwardError {
    let hit = |span: &Span| lost.tokens.iter().any(|&token| span.rows.contains(&(token as usize)));
    let segments = (0..spans.len()).filter(|&index| hit(&spans[index])).collect();
    ForwardError::Expert { reason: lost.reason, segments }
}

/// `logits` `[rows, vocab_size]` of rows that have passed the final norm.
pub(crate) fn head_logits(cpu: &Cpu, head: &Matrix, x: Activations, logits: &mut [f32]) {
    if x.rows() > 0 {
        matmul(cpu, head.view(), x, logits);
    }
}
