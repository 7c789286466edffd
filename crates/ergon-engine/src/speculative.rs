//! When to let the multi-token-prediction layer guess ahead, and the guessing.
//!
//! A draft costs one more layer and one more row in the step that checks it; it gains a token when it was right. On a
//! CPU that is often a loss: a second row visits other experts and reads their weights too. So both ways are tried for
//! a few steps each, by the clock, and the faster one is used for a while. The tokens are the same either way.

use std::time::{Duration, Instant};

use ergon_model::{DraftSegment, LogitsWanted, Phase};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::sampler::argmax;
use crate::sequence::Sequence;

/// Steps measured without drafts.
const PLAIN_STEPS: u32 = 6;
/// Steps measured with drafts: more, because they vary with what is accepted.
const DRAFT_STEPS: u32 = 24;
/// Steps the faster way is used for before both are measured again; doubled each time it wins.
const FIRST_RUN: u32 = 128;
/// Longest run between two measurements.
const LONGEST_RUN: u32 = 4096;
/// Positions the draft layer may lag behind while it is not asked: their hidden states are kept until it reads them.
const MAX_LAG: usize = 64;
/// Rows up to which the draft layer takes the formula made for few tokens.
const FEW_ROWS: usize = 8;

/// How speculation has gone so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpeculationStats {
    /// Drafts that were checked.
    pub drafted: u64,
    /// Drafts that were what plain decoding chose.
    pub accepted: u64,
}

/// What a measurement found.
#[derive(Clone, Copy, Default)]
struct Speed {
    steps: u32,
    tokens: usize,
    time: Duration,
}

impl Speed {
    fn add(&mut self, tokens: usize, time: Duration) {
        self.steps += 1;
        self.tokens += tokens;
        self.time += time;
    }

    fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

enum Stage {
    /// The model cannot, or the caller does not want to.
    Off,
    MeasurePlain(Speed),
    MeasureDrafts {
        plain: Speed,
        drafts: Speed,
    },
    Use {
        drafts: bool,
        left: u32,
    },
}

/// Decides step by step.
pub(crate) struct Speculation {
    stage: Stage,
    run: u32,
    last_winner: Option<bool>,
    /// Sequences in the steps measured: speeds of different company do not compare.
    company: usize,
    step_started: Option<Instant>,
    pub(crate) stats: SpeculationStats,
}

impl Speculation {
    pub(crate) fn new(enabled: bool) -> Speculation {
        Speculation {
            stage: if enabled { Stage::MeasurePlain(Speed::default()) } else { Stage::Off },
            run: FIRST_RUN,
            last_winner: None,
            company: 0,
            step_started: None,
            stats: SpeculationStats::default(),
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        !matches!(self.stage, Stage::Off)
    }

    pub(crate) fn wants_drafts(&self) -> bool {
        matches!(self.stage, Stage::MeasureDrafts { .. } | Stage::Use { drafts: true, .. })
    }

    /// A step begins, with `company` sequences.
    fn step_begins(&mut self, company: usize) {
        if !self.is_enabled() {
            return;
        }
        if company != self.company {
            self.company = company;
            self.measure_again();
        }
        self.step_started = Some(Instant::now());
    }

    fn measure_again(&mut self) {
        self.stage = Stage::MeasurePlain(Speed::default());
    }

    /// `drafted` drafts were checked, of which `accepted` were right.
    pub(crate) fn judged(&mut self, drafted: usize, accepted: usize) {
        self.stats.drafted += drafted as u64;
        self.stats.accepted += accepted as u64;
    }

    /// A step has ended. Only steps without prompts tell anything about decoding.
    pub(crate) fn step_done(&mut self, only_decodes: bool, tokens: usize) {
        let Some(started) = self.step_started.take() else { return };
        if only_decodes {
            self.measured(tokens, started.elapsed());
        }
    }

    fn measured(&mut self, tokens: usize, time: Duration) {
        match &mut self.stage {
            Stage::Off => {}
            Stage::MeasurePlain(plain) => {
                plain.add(tokens, time);
                if plain.steps >= PLAIN_STEPS {
                    self.stage = Stage::MeasureDrafts { plain: *plain, drafts: Speed::default() };
                }
            }
            Stage::MeasureDrafts { plain, drafts } => {
                drafts.add(tokens, time);
                if drafts.steps >= DRAFT_STEPS {
                    let winner = drafts.tokens_per_s() > plain.tokens_per_s();
                    self.run = if self.last_winner == Some(winner) {
                        (self.run * 2).min(LONGEST_RUN)
                    } else {
                        FIRST_RUN
                    };
                    self.last_winner = Some(winner);
                    self.stage = Stage::Use { drafts: winner, left: self.run };
                }
            }
            Stage::Use { left, .. } => {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    self.measure_again();
                }
            }
        }
    }
}

impl Engine {
    /// Drafts and their fate since the engine was loaded.
    pub fn speculation_stats(&self) -> SpeculationStats {
        self.speculation.stats
    }

    /// Lets the draft layer guess the next token of every sequence that can use it, and keeps it up to date with the
    /// others.
    pub(crate) fn draft(&mut self) -> Result<(), EngineError> {
        self.speculation.step_begins(self.sequences.len());
        if !self.speculation.is_enabled() {
            return Ok(());
        }
        let wanted = self.speculation.wants_drafts();
        for sequence in self.sequences.values_mut().filter(|s| s.state.can_draft()) {
            let rows = sequence.state.len() - sequence.state.draft_len();
            let guess = wanted && !sequence.in_prompt() && sequence.pending() == 1 && sequence.room() >= 2;
            if rows == 0 || !(guess || sequence.in_prompt() || rows > MAX_LAG) {
                continue;
            }
            let known = sequence.state.draft_len() + 1..sequence.state.len() + 1;
            let segment = DraftSegment {
                tokens: &sequence.tokens[known],
                state: &mut sequence.state,
                phase: if rows <= FEW_ROWS { Phase::Decode } else { Phase::Prefill },
                logits: if guess { LogitsWanted::Last } else { LogitsWanted::None },
            };
            self.model.draft(&self.cpu, segment, &mut self.scratch, &mut self.logits)?;
            if guess {
                sequence.drafts = best_allowed(sequence, &mut self.logits).into_iter().collect();
            }
        }
        Ok(())
    }
}

/// The likeliest token that the sequence's grammar allows. A grammar that fails here fails again where it counts.
fn best_allowed(sequence: &mut Sequence, logits: &mut [f32]) -> Option<u32> {
    sequence.mask_logits(logits).ok()?;
    argmax(logits).map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `steps` steps in which a plain step takes 10 ms and one with drafts `cost` ms for `gain` tokens; the share
    /// of steps with drafts among those after the first measurement.
    fn share_of_drafts(cost: u64, gain: usize) -> f64 {
        let mut speculation = Speculation::new(true);
        let (mut with, mut after) = (0, 0);
        for step in 0..5000 {
            let drafts = speculation.wants_drafts();
            if step >= PLAIN_STEPS + DRAFT_STEPS {
                after += 1;
                with += u32::from(drafts);
            }
            let (ms, tokens) = if drafts { (cost, gain) } else { (10, 1) };
            speculation.measured(tokens, Duration::from_millis(ms));
        }
        f64::from(with) / f64::from(after)
    }

    #[test]
    fn the_faster_way_is_used() {
        assert!(share_of_drafts(12, 2) > 0.95);
        assert!(share_of_drafts(25, 2) < 0.1);
        assert!(share_of_drafts(12, 1) < 0.1);
    }

    #[test]
    fn off_stays_off() {
        let mut speculation = Speculation::new(false);
        speculation.step_begins(1);
        for _ in 0..1000 {
            speculation.measured(1, Duration::from_millis(1));
            assert!(!speculation.wants_drafts());
        }
    }

    #[test]
    fn new_company_is_measured_anew() {
        let mut speculation = Speculation::new(true);
        speculation.step_begins(1);
        for _ in 0..100 {
            speculation.measured(1, Duration::from_millis(1));
        }
        assert!(matches!(speculation.stage, Stage::Use { .. }));
        speculation.step_begins(2);
        assert!(matches!(speculation.stage, Stage::MeasurePlain(_)));
    }
}
