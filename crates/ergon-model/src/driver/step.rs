//! What one control step leaves for its next stage, and the buffers it reuses from step to step.

use ergon_kernels::ActivationBuffer;

use crate::action::ActionScratch;
use crate::config::DriverConfig;
use crate::decoder::Model;
use crate::error::ForwardError;
use crate::scratch::Scratch;
use crate::state::{KvFormat, SequenceState};
use crate::vision::VisionScratch;

/// The state of a control step of a [`Driver`](crate::Driver) and all of its buffers. One may serve any number of steps,
/// one after the other; nothing of a step reaches the next.
#[derive(Default)]
pub struct DriverStep {
    /// `[rows, hidden_size]`: image tokens, state, hint, then the embedded words.
    pub(super) prompt: Vec<f32>,
    pub(super) sequence: Option<SequenceState>,
    /// `[vocab_size]`
    pub(super) logits: Vec<f32>,
    /// `[rows so far, hidden_size]`, final states after the last norm.
    pub(super) states: Vec<f32>,
    pub(super) features: Vec<f32>,
    pub(super) inner: Vec<f32>,
    pub(super) activations: ActivationBuffer,
    pub(super) scratch: Scratch,
    pub(super) vision: VisionScratch,
    pub(super) action: ActionScratch,
}

impl DriverStep {
    /// The image tokens that [`Driver::see`](crate::Driver::see) left, `[num_tokens, hidden_size]`; empty before.
    pub fn image_tokens(&self, config: &DriverConfig) -> &[f32] {
        self.prompt.get(..config.vision.num_tokens() * config.text.hidden_size).unwrap_or_default()
    }

    /// The logits that were wanted last, `[rows, vocab_size]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The decoder's final states of all rows so far, `[rows, hidden_size]`.
    pub fn states(&self) -> &[f32] {
        &self.states
    }

    /// Rows of the sequence so far.
    pub fn rows(&self, config: &DriverConfig) -> usize {
        self.states.len() / config.text.hidden_size
    }

    /// Forgets everything after the first `rows` rows of the sequence: drafts that were wrong.
    pub fn rewind(&mut self, config: &DriverConfig, rows: usize) {
        self.states.truncate(rows * config.text.hidden_size);
        if let Some(sequence) = &mut self.sequence {
            sequence.truncate(rows);
        }
        self.action.forget();
    }

    /// Begins a new sequence, in the memory of the last one.
    pub(super) fn restart(&mut self, language: &Model, config: &DriverConfig) -> Result<(), ForwardError> {
        match &mut self.sequence {
            Some(sequence) => sequence.truncate(0),
            // Single precision: the cache is small, and halves would be the largest error there is.
            None => self.sequence = Some(language.new_state(KvFormat::F32, config.max_rows(), false)?),
        }
        self.states.clear();
        self.states.reserve(config.max_rows() * config.text.hidden_size);
        self.action.forget();
        Ok(())
    }
}
