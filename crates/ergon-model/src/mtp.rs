//! Multi-token prediction (DeepSeek V3, arXiv 2412.19437, section 2.2): one more layer that guesses the token after
//! next.
//!
//! Its row for position p combines the decoder's hidden state at p, after the final norm, with the embedding of the
//! token at p + 1: `eh_proj [enorm(embedding), hnorm(hidden)]`, through a full layer with a cache of its own, a norm and
//! a head. The hidden states are kept by the sequence until they are read here.

use ergon_kernels::{Cpu, matmul, ops};

use crate::decoder::{LayerStep, LogitsWanted, Model, Phase, Span, head_logits};
use crate::error::ForwardError;
use crate::scratch::{Scratch, sized};
use crate::state::SequenceState;

/// What the layer is to read next.
pub struct DraftSegment<'a> {
    /// The tokens at positions `state.draft_len() + 1 ..`: the rest of the prompt and then what was generated.
    pub tokens: &'a [u32],
    /// The sequence; its hidden states up to the position before the last of `tokens` must have been computed.
    pub state: &'a mut SequenceState,
    /// The formula for latent attention.
    pub phase: Phase,
    /// Of which rows the logits are wanted.
    pub logits: LogitsWanted,
}

impl Model {
    /// Reads `tokens` and writes the wanted logits `[wanted, vocab_size]`; those of a row for position p guess the token
    /// at p + 2.
    ///
    /// # Errors
    /// There is no such layer, a token is outside the vocabulary, or there are more tokens than hidden states.
    pub fn draft(
        &self,
        cpu: &Cpu,
        segment: DraftSegment,
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
    ) -> Result<(), ForwardError> {
        let DraftSegment { tokens, state, phase, logits: wanted } = segment;
        self.check_tokens(tokens)?;
        check_hidden(state, tokens.len())?;
        let (Some(nextn), Some(mut cache)) = (&self.weights.nextn, state.draft_layer.take()) else {
            return Err(ForwardError::NoDraftLayer);
        };
        let (width, eps) = (self.config.hidden_size, self.config.rms_norm_eps);
        let spans = [Span { rows: 0..tokens.len(), start: state.draft_len(), phase }];
        let Scratch { hidden, rotations, step: buffers } = scratch;
        let step = self.step(cpu, &spans, rotations);
        let hidden = sized(hidden, tokens.len() * width);

        self.embed(cpu, &nextn.embed_tokens, tokens.iter(), hidden);
        ops::rms_norm_in_place(cpu, hidden, &nextn.enorm, eps);
        let joined = sized(&mut buffers.output, tokens.len() * 2 * width);
        for ((embedding, last), out) in hidden
            .chunks_exact(width)
            .zip(state.pending_hidden().chunks_exact(width))
            .zip(joined.chunks_exact_mut(2 * width))
        {
            let (first, second) = out.split_at_mut(width);
            first.copy_from_slice(embedding);
            ops::rms_norm(cpu, last, &nextn.hnorm, eps, second);
        }
        let x = buffers.activations.prepare(cpu, joined, 2 * width, [nextn.eh_proj.format()]);
        matmul(cpu, nextn.eh_proj.view(), x, hidden);
        let run = LayerStep { step: &step, layer: self.config.num_hidden_layers, caches: vec![&mut cache] };
        let computed = self.layer(&nextn.layer, run, buffers, hidden);
        if let Err(error) = computed {
            state.draft_layer = Some(cache);
            return Err(error);
        }

        let first_wanted = match wanted {
            LogitsWanted::None => tokens.len(),
            LogitsWanted::Last => tokens.len() - 1,
            LogitsWanted::All => 0,
        };
        let rows = &hidden[first_wanted * width..];
        let normed = sized(&mut buffers.normed, rows.len());
        ops::rms_norm(cpu, rows, &nextn.head_norm, eps, normed);
        logits.resize((tokens.len() - first_wanted) * self.config.vocab_size, 0.0);
        let x = buffers.activations.prepare(cpu, normed, width, [nextn.head.format()]);
        head_logits(cpu, &nextn.head, x, logits);
        state.draft_layer = Some(cache);
        state.advance_draft(tokens.len());
        Ok(())
    }
}

fn check_hidden(state: &SequenceState, tokens: usize) -> Result<(), ForwardError> {
    if !state.can_draft() {
        return Err(ForwardError::NoDraftLayer);
    }
    let available = state.len() - state.draft_len();
    if (1..=available).contains(&tokens) {
        Ok(())
    } else {
        Err(ForwardError::NoHiddenStates { tokens, available })
    }
}
