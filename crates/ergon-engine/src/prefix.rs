//! KV caches of finished sequences, kept for the next one that begins the same way.
//!
//! Reuse never changes a result. Only positions are reused whose bits are those that a prefill of the same tokens
//! would give: all of them with grouped-query attention; with latent attention, where decoding uses another formula
//! than prefill, those that were prefilled.

use ergon_model::SequenceState;

/// The state of a finished sequence.
struct Kept {
    /// The tokens in the state, as far as they may be reused.
    tokens: Vec<u32>,
    state: SequenceState,
}

/// Kept states, the most recently used last.
pub(crate) struct PrefixCache {
    kept: Vec<Kept>,
    limit: usize,
}

impl PrefixCache {
    /// Keeps at most `limit` states.
    pub(crate) fn new(limit: usize) -> PrefixCache {
        PrefixCache { kept: Vec::new(), limit }
    }

    /// Keeps `state`, of which the leading `tokens` may be reused.
    pub(crate) fn keep(&mut self, tokens: Vec<u32>, mut state: SequenceState) {
        if self.limit == 0 || tokens.is_empty() {
            return;
        }
        state.truncate(tokens.len());
        self.kept.push(Kept { tokens, state });
        while self.kept.len() > self.limit {
            self.kept.remove(0);
        }
    }

    /// The state that shares the longest beginning with `prompt`, cut to it. The last token of the prompt is never
    /// part of it: its logits have to be computed.
    pub(crate) fn take(&mut self, prompt: &[u32]) -> Option<SequenceState> {
        let usable = &prompt[..prompt.len().saturating_sub(1)];
        let shared = |kept: &Kept| kept.tokens.iter().zip(usable).take_while(|(a, b)| a == b).count();
        let (best, length) = self.kept.iter().map(shared).enumerate().max_by_key(|(_, length)| *length)?;
        if length == 0 {
            return None;
        }
        let mut state = self.kept.remove(best).state;
        state.truncate(length);
        Some(state)
    }

    /// Forgets the state that was used longest ago. False if there is none.
    pub(crate) fn forget_oldest(&mut self) -> bool {
        if self.kept.is_empty() {
            return false;
        }
        self.kept.remove(0);
        true
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.kept.iter().map(|kept| kept.state.bytes() as u64).sum()
    }
}
