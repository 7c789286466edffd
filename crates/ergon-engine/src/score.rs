//! Teacher forcing: what the model thinks of a given text.

use ergon_model::{Input, LogitsWanted, Phase, Segment};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::memory::{MemoryNeed, working_bytes};

/// Logits held at once while scoring, in bytes; long texts over large vocabularies are scored in smaller chunks.
const LOGITS_BYTES: usize = 64 << 20;

/// How well a text was predicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Tokens in the text.
    pub tokens: usize,
    /// Tokens predicted: all but the first.
    pub predicted: usize,
    /// Mean negative log-likelihood of the predicted tokens, in nats; 0 if there are none.
    pub nll_mean: f64,
}

impl Score {
    /// `exp(nll_mean)`.
    pub fn perplexity(&self) -> f64 {
        self.nll_mean.exp()
    }
}

impl Engine {
    /// Runs `tokens` through the model as one prompt. `rows` gets the logits as they are computed: position of the
    /// first row, rows f32 `[n, vocab]`, vocab. Row i belongs to position i and predicts token i + 1.
    ///
    /// # Errors
    /// No tokens, tokens outside the vocabulary, more than the context or the memory budget holds, a failed forward
    /// pass, logits that are no numbers.
    pub fn score(
        &mut self,
        tokens: &[u32],
        mut rows: impl FnMut(usize, &[f32], usize),
    ) -> Result<Score, EngineError> {
        self.check_tokens(tokens)?;
        let context_length = self.context_length();
        if tokens.len() > context_length {
            return Err(EngineError::ContextExceeded { tokens: tokens.len(), context_length });
        }
        let vocab = self.model.config().vocab_size;
        let mut chunk = self.options.prefill_chunk_tokens.min(LOGITS_BYTES / 4 / vocab.max(1)).max(1);
        let need = |chunk| {
            let working = working_bytes(self.model.config(), chunk, chunk, tokens.len());
            MemoryNeed { working, ..self.memory_need(tokens.len()) }
        };
        while chunk > 1 && !need(chunk).fits() {
            chunk /= 2;
        }
        let need = need(chunk);
        self.free_buffers();
        self.make_room_for(need)?;
        let score = self.score_in_room(tokens, chunk, &mut rows);
        self.free_buffers();
        let _ = self.make_room(0);
        score
    }

    fn score_in_room(
        &mut self,
        tokens: &[u32],
        chunk: usize,
        rows: &mut impl FnMut(usize, &[f32], usize),
    ) -> Result<Score, EngineError> {
        let vocab = self.model.config().vocab_size;
        let mut state = self.model.new_state(self.kv_format(), tokens.len(), false)?;
        let mut nll = 0.0;
        for first in (0..tokens.len()).step_by(chunk) {
            let end = (first + chunk).min(tokens.len());
            let segment = Segment {
                input: Input::Tokens(&tokens[first..end]),
                state: &mut state,
                phase: Phase::Prefill,
                logits: LogitsWanted::All,
            };
            self.model.forward(&self.cpu, &mut [segment], &mut self.scratch, &mut self.logits)?;
            rows(first, &self.logits, vocab);
            for (position, row) in (first..end).zip(self.logits.chunks_exact(vocab)) {
                let Some(&next) = tokens.get(position + 1) else { break };
                let loss = negative_log_likelihood(row, next as usize);
                if !loss.is_finite() {
                    return Err(EngineError::ScoreNotFinite { position: position + 1 });
                }
                nll += loss;
            }
        }
        let predicted = tokens.len() - 1;
        Ok(Score { tokens: tokens.len(), predicted, nll_mean: nll / predicted.max(1) as f64 })
    }
}

/// `-log softmax(row)[target]` in double precision.
fn negative_log_likelihood(row: &[f32], target: usize) -> f64 {
    let peak = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from(x - peak).exp()).sum();
    f64::from(peak) + sum.ln() - f64::from(row[target])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_that_of_the_softmax() {
        let row = [1.0, 2.0, 3.0];
        let total: f64 = row.iter().map(|&x: &f32| f64::from(x).exp()).sum();
        for (i, &x) in row.iter().enumerate() {
            let expected = -(f64::from(x).exp() / total).ln();
            assert!((negative_log_likelihood(&row, i) - expected).abs() < 1e-12);
        }
        assert!(negative_log_likelihood(&[1e30, 0.0], 1) > 1e29);
        assert!(!negative_log_likelihood(&[f32::NAN, 0.0], 1).is_finite());
    }
}
