//! From logits to a token.
//!
//! The order of the steps is that of `transformers`: repetition penalty, mask, temperature, top-k, top-p, min-p, draw.
//! Nothing is sorted in full: top-k and top-p select the head of the distribution first, which keeps a step over a
//! vocabulary of 150 000 well below a millisecond.

use std::cmp::Ordering;

use thiserror::Error;

use crate::rng;

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 means greedy: the largest logit, of equal ones the lowest token id.
    pub temperature: f32,
    /// Only the `top_k` most likely tokens are candidates (equal ones: lower ids first). 0 means all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability are candidates. 1 means all.
    pub top_p: f32,
    /// Only tokens at least this likely relative to the most likely one are candidates. 0 means all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens that have occurred in prompt or answer, as in
    /// `transformers` (Keskar et al., "CTRL", 2019). 1 means no penalty.
    pub repetition_penalty: f32,
    /// The penalty looks back over this many tokens. 0 means all.
    pub repetition_window: usize,
    /// The token at a position is a function of logits and seed.
    pub seed: u64,
}

impl Default for SamplingParams {
    /// Greedy, without filters or penalty.
    fn default() -> SamplingParams {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            repetition_window: 0,
            seed: 0,
        }
    }
}

/// A parameter out of its range, or logits that cannot be sampled from.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SamplingError {
    /// A parameter is out of its range.
    #[error("{name} is {value}, it must be {range}")]
    Parameter {
        /// The field of [`SamplingParams`].
        name: &'static str,
        /// Its value.
        value: f32,
        /// What is allowed.
        range: &'static str,
    },
    /// The model computed a value that is no number.
    #[error(
        "the model gave {value} as logit of token {token}: its weights are damaged or their type does not carry \
         this model's range"
    )]
    NotFinite {
        /// The first such token.
        token: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The mask leaves nothing to choose.
    #[error("no token is allowed here: the tokenizer cannot spell what the grammar asks for")]
    NothingAllowed,
}

impl SamplingParams {
    /// Checks every range. Errors: [`SamplingError::Parameter`].
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |ok: bool, name, value, range| {
            if ok { Ok(()) } else { Err(SamplingError::Parameter { name, value, range }) }
        };
        let t = self.temperature;
        check((0.0..=100.0).contains(&t), "temperature", t, "from 0 (greedy) to 100")?;
        check(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", self.top_p, "above 0 and at most 1")?;
        check((0.0..=1.0).contains(&self.min_p), "min_p", self.min_p, "from 0 to 1")?;
        let r = self.repetition_penalty;
        check((0.01..=100.0).contains(&r), "repetition_penalty", r, "from 0.01 to 100 (1 is off)")
    }

    /// Whether the choice needs no draw.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

/// Which tokens may be chosen: one bit per token, lowest bit of the first word first. Tokens past its end may not.
#[derive(Clone, Copy)]
pub(crate) struct TokenMask<'a>(pub(crate) &'a [u32]);

impl TokenMask<'_> {
    /// Sets the logits of all other tokens to minus infinity.
    pub(crate) fn apply(self, logits: &mut [f32]) {
        for (i, chunk) in logits.chunks_mut(32).enumerate() {
            let word = self.0.get(i).copied().unwrap_or(0);
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// A candidate: logit and token id.
type Candidate = (f32, u32);

/// More likely first; of equal ones the lower id.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Buffers of the sampler, reused from step to step and from sequence to sequence; holds nothing between calls.
#[derive(Default)]
pub(crate) struct Sampler {
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
    /// `seen[token] == stamp` marks tokens met in this call.
    seen: Vec<u32>,
    stamp: u32,
}

impl Sampler {
    /// Chooses the token that follows `history`. `logits` (f32 `[vocab]`) are changed in place; `draw` numbers the
    /// random draw within the sequence.
    pub(crate) fn sample(
        &mut self,
        params: &SamplingParams,
        logits: &mut [f32],
        history: &[u32],
        mask: Option<TokenMask<'_>>,
        draw: u64,
    ) -> Result<u32, SamplingError> {
        if let Some(token) = logits.iter().position(|x| !x.is_finite()) {
            return Err(SamplingError::NotFinite { token, value: logits[token] });
        }
        if params.repetition_penalty != 1.0 {
            self.penalise(params, logits, history);
        }
        if let Some(mask) = mask {
            mask.apply(logits);
        }
        let (best, best_logit) = argmax(logits).ok_or(SamplingError::NothingAllowed)?;
        if params.is_greedy() {
            return Ok(best);
        }
        let uniform = rng::uniform(params.seed, draw);
        let scale = Scale { peak: best_logit, inverse_temperature: 1.0 / f64::from(params.temperature) };
        let drawn = if params.top_k > 0 && params.top_k < logits.len() {
            self.draw_from_top_k(params, logits, &scale, uniform)
        } else {
            self.draw_from_all(params, logits, &scale, uniform)
        };
        Ok(drawn.unwrap_or(best))
    }

    /// Repetition penalty over the distinct tokens of the window.
    fn penalise(&mut self, params: &SamplingParams, logits: &mut [f32], history: &[u32]) {
        let window = if params.repetition_window == 0 { history.len() } else { params.repetition_window };
        self.seen.resize(logits.len().max(self.seen.len()), 0);
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.seen.fill(0);
            self.stamp = 1;
        }
        for &token in &history[history.len().saturating_sub(window)..] {
            let token = token as usize;
            if token >= logits.len() || self.seen[token] == self.stamp {
                continue;
            }
            self.seen[token] = self.stamp;
            let logit = &mut logits[token];
            *logit = if *logit > 0.0 {
                *logit / params.repetition_penalty
            } else {
                *logit * params.repetition_penalty
            };
            // A large penalty must not turn a finite logit into an infinity.
            *logit = logit.clamp(f32::MIN, f32::MAX);
        }
    }

    /// Draws among the `top_k` likeliest tokens, most likely first.
    fn draw_from_top_k(
        &mut self,
        params: &SamplingParams,
        logits: &[f32],
        scale: &Scale,
        uniform: f64,
    ) -> Option<u32> {
        let head = &mut self.candidates;
        head.clear();
        head.extend(logits.iter().enumerate().map(|(token, &logit)| (logit, token as u32)));
        head.select_nth_unstable_by(params.top_k - 1, by_likelihood);
        head.truncate(params.top_k);
        head.sort_unstable_by(by_likelihood);
        self.weights.clear();
        self.weights.extend(head.iter().map(|candidate| scale.weight(candidate.0)));
        let wanted = self.weights.iter().sum::<f64>() * f64::from(params.top_p);
        let mut reached = 0.0;
        let inside = self.weights.iter().take_while(|&&weight| {
            let before = reached;
            reached += weight;
            before < wanted
        });
        let inside = inside.count().max(1);
        self.weights.truncate(inside);
        let index = draw(&mut self.weights, f64::from(params.min_p), uniform)?;
        self.candidates.get(index).map(|candidate| candidate.1)
    }

    /// Draws among all tokens, in the order of their ids; no list is sorted.
    fn draw_from_all(
        &mut self,
        params: &SamplingParams,
        logits: &[f32],
        scale: &Scale,
        uniform: f64,
    ) -> Option<u32> {
        self.weights.clear();
        self.weights.extend(logits.iter().map(|&logit| scale.weight(logit)));
        if params.top_p < 1.0 {
            self.keep_top_p(f64::from(params.top_p), logits, scale);
        }
        draw(&mut self.weights, f64::from(params.min_p), uniform).map(|token| token as u32)
    }

    /// Sets the weights outside the smallest set of likeliest tokens that reaches `top_p` to 0.
    ///
    /// Tokens are counted into buckets of nearly equal likelihood; the border of the set runs through one bucket, and
    /// only that one is sorted.
    fn keep_top_p(&mut self, top_p: f64, logits: &[f32], scale: &Scale) {
        let mut sums = [0.0; BUCKETS];
        for (&weight, &logit) in self.weights.iter().zip(logits).filter(|(weight, _)| **weight > 0.0) {
            sums[scale.bucket(logit)] += weight;
        }
        let wanted = sums.iter().sum::<f64>() * top_p;
        let mut reached = 0.0;
        let mut border = 0;
        for (bucket, sum) in sums.iter().enumerate() {
            border = bucket;
            if reached + sum >= wanted {
                break;
            }
            reached += sum;
        }
        self.candidates.clear();
        for (token, (weight, &logit)) in self.weights.iter_mut().zip(logits).enumerate() {
            let bucket = if *weight > 0.0 { scale.bucket(logit) } else { BUCKETS };
            if bucket == border {
                self.candidates.push((logit, token as u32));
            } else if bucket > border {
                *weight = 0.0;
            }
        }
        self.candidates.sort_unstable_by(by_likelihood);
        for &(_, token) in &self.candidates {
            let weight = &mut self.weights[token as usize];
            if reached >= wanted {
                *weight = 0.0;
            }
            reached += *weight;
        }
    }
}

/// Buckets of likelihood, and how many of them a factor of e spans; the last takes everything below.
const BUCKETS: usize = 1024;
const BUCKETS_PER_NAT: f64 = 16.0;

/// From logits to likelihoods relative to the likeliest token.
struct Scale {
    peak: f32,
    inverse_temperature: f64,
}

impl Scale {
    /// Distance below the likeliest token in nats, from 0 to infinity.
    fn depth(&self, logit: f32) -> f64 {
        (f64::from(self.peak) - f64::from(logit)) * self.inverse_temperature
    }

    /// Likelihood, 1 for the likeliest token.
    fn weight(&self, logit: f32) -> f64 {
        let depth = self.depth(logit);
        // Below e^-60 no draw of 53 bits over 2^18 tokens could tell the weight from nothing.
        if depth > 60.0 { 0.0 } else { (-depth).exp() }
    }

    /// Bucket of a token: never lower for a lower logit.
    fn bucket(&self, logit: f32) -> usize {
        ((self.depth(logit) * BUCKETS_PER_NAT) as usize).min(BUCKETS - 1)
    }
}

/// The largest logit that is not masked, of equal ones the first. `None` if all are masked.
pub(crate) fn argmax(logits: &[f32]) -> Option<(u32, f32)> {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (token as u32, logit);
        }
    }
    (best.1 != f32::NEG_INFINITY).then_some(best)
}

/// Draws an index with a probability in proportion to its weight, among the weights of at least `min_p` (the largest
/// weight is 1). `None` if all weights are 0.
fn draw(weights: &mut [f64], min_p: f64, uniform: f64) -> Option<usize> {
    if min_p > 0.0 {
        weights.iter_mut().filter(|weight| **weight < min_p).for_each(|weight| *weight = 0.0);
    }
    let target = uniform * weights.iter().sum::<f64>();
    let mut reached = 0.0;
    let mut last = None;
    for (index, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            reached += weight;
            last = Some(index);
            if reached > target {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
