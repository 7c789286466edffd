//! One sequence: its tokens, its KV cache, and how its next tokens are chosen.

use std::collections::VecDeque;

use ergon_model::SequenceState;
use ergon_types::FinishReason;

use crate::constraint::{Constraint, ConstraintError};
use crate::engine::{SequenceId, StepOutput};
use crate::error::SequenceError;
use crate::observer::{TokenObserver, Verdict};
use crate::sampler::{Sampler, SamplingParams};

/// What is to be generated.
#[derive(Clone, Default)]
pub struct SequenceRequest {
    /// Token ids to go on from, not empty.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Upper limit of new tokens; the context length is another. 0 only fills the KV cache.
    pub max_new_tokens: usize,
    /// Tokens that end the sequence. The one met is the last of its output.
    pub stop_token_ids: Vec<u32>,
    /// A grammar for the output.
    pub constraint: Option<Constraint>,
    /// The grammar waits for [`Verdict::Constrain`]: a reasoning model thinks freely first.
    pub constraint_waits: bool,
}

/// A running sequence.
pub(crate) struct Sequence {
    pub(crate) id: SequenceId,
    /// Prompt and output.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt_len: usize,
    pub(crate) state: SequenceState,
    pub(crate) request: SequenceRequest,
    /// New tokens allowed, the context length considered.
    pub(crate) limit: usize,
    /// Prompt tokens whose keys and values were found ready.
    pub(crate) reused: usize,
    pub(crate) constrained: bool,
    /// Draft tokens fed behind the pending one in the present step.
    pub(crate) drafts: Vec<u32>,
}

impl Sequence {
    /// Tokens that are not in the KV cache yet: prompt still to be read, or the token chosen last.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.state.len()
    }

    pub(crate) fn in_prompt(&self) -> bool {
        self.state.len() < self.prompt_len
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.prompt_len
    }

    /// New tokens that may still be generated.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.generated())
    }

    /// Chooses tokens from the logits of the step: `rows` is f32 `[1 + drafts, vocab]`, row 0 of the last pending
    /// token, then one row for each draft.
    ///
    /// Row r + 1 counts only if the token chosen from row r is draft r: then it is the row that plain decoding would
    /// have computed. Every token is chosen just as in plain decoding (the random draw belongs to the position), so
    /// drafts change how many tokens a step yields and nothing else.
    ///
    /// The second value is the number of drafts that were right.
    pub(crate) fn choose(
        &mut self,
        rows: &mut [f32],
        vocab: usize,
        sampler: &mut Sampler,
        observer: &mut dyn TokenObserver,
    ) -> (StepOutput, usize) {
        let fed_before_drafts = self.tokens.len();
        let mut output = StepOutput { id: self.id, token_ids: Vec::new(), finish: None };
        let mut forced = VecDeque::new();
        let mut row = Some(0);
        if self.limit == 0 {
            output.finish = Some(Ok(FinishReason::Length));
        }
        while output.finish.is_none() {
            let token = match self.next_token(rows, vocab, row, &mut forced, sampler) {
                Ok(Some(token)) => token,
                Ok(None) => break,
                Err(error) => {
                    output.finish = Some(Err(error));
                    break;
                }
            };
            row = row.and_then(|r| (self.drafts.get(r) == Some(&token)).then_some(r + 1));
            self.tokens.push(token);
            output.token_ids.push(token);
            output.finish = self.follow(token, &mut forced, observer);
        }
        // Every accepted draft is a token whose keys and values are in place already.
        let accepted = output.token_ids.iter().zip(&self.drafts).take_while(|(a, b)| a == b).count();
        self.state.truncate(fed_before_drafts + accepted);
        self.drafts.clear();
        (output, accepted)
    }

    /// The next token: one that somebody forces, or one chosen from row `row`; `None` when neither is there.
    fn next_token(
        &mut self,
        rows: &mut [f32],
        vocab: usize,
        row: Option<usize>,
        forced: &mut VecDeque<u32>,
        sampler: &mut Sampler,
    ) -> Result<Option<u32>, SequenceError> {
        if let Some(token) = forced.pop_front() {
            return Ok(Some(token));
        }
        let draw = self.generated() as u64;
        let mask = match self.request.constraint.as_mut().filter(|_| self.constrained) {
            Some(constraint) => {
                if let Some(token) = constraint.forced()? {
                    return Ok(Some(token));
                }
                Some(constraint)
            }
            None => None,
        };
        let Some(logits) = row.and_then(|r| rows.get_mut(r * vocab..(r + 1) * vocab)) else {
            return Ok(None);
        };
        let mask = mask.map(Constraint::mask).transpose()?;
        Ok(Some(sampler.sample(&self.request.sampling, logits, &self.tokens, mask, draw)?))
    }

    /// Takes all tokens out of `logits` that the grammar does not allow next.
    pub(crate) fn mask_logits(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        if let Some(constraint) = self.request.constraint.as_mut().filter(|_| self.constrained) {
            constraint.mask()?.apply(logits);
        }
        Ok(())
    }

    /// What follows from a new token.
    fn follow(
        &mut self,
        token: u32,
        forced: &mut VecDeque<u32>,
        observer: &mut dyn TokenObserver,
    ) -> Option<Result<FinishReason, SequenceError>> {
        if self.request.stop_token_ids.contains(&token) {
            return Some(Ok(FinishReason::Stop));
        }
        let mut finished = false;
        if let Some(constraint) = self.request.constraint.as_mut().filter(|_| self.constrained) {
            if let Err(error) = constraint.accept(token) {
                return Some(Err(error.into()));
            }
            finished = constraint.is_finished();
        }
        match observer.token(self.id, token) {
            Verdict::Continue => {}
            Verdict::Stop => finished = true,
            Verdict::Force(tokens) => forced.extend(tokens),
            Verdict::Constrain => self.constrained = true,
        }
        if finished {
            Some(Ok(FinishReason::Stop))
        } else {
            (self.room() == 0).then_some(Ok(FinishReason::Length))
        }
    }
}
