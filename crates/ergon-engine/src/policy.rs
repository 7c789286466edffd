//! The policy made of a driver: an observation in, a few words and plans out.
//!
//! A control step has three stages, which a caller may run and time one by one: [`DriverPolicy::see`] (pictures),
//! [`DriverPolicy::think`] (words), [`DriverPolicy::plan`] (one motion for each call, so that further candidates cost
//! only when they are wanted). [`DriverPolicy::act`] is all of them.
//!
//! The reasoning is decoded greedily. A scene hardly changes in a control interval, so the words of the last step are
//! the draft of this one: they are read in one pass and kept as far as they are what would have been decoded anyway.
//! Drafts change the time that a step takes and nothing else.
//!
//! Everything is a function of the observation, the seed and the number of the candidate, bit for bit, at any number of
//! threads and whatever was seen before.

use std::time::{Duration, Instant};

use ergon_checkpoint::{Checkpoint, Tokenizer, TokenizerError};
use ergon_kernels::{Cpu, Isa, IsaError};
use ergon_model::{
    Driver, DriverConfig, DriverStep, ForwardError, LogitsWanted, MAX_INSTRUCTION_TOKENS,
    MAX_REASONING_TOKENS, ModelError, ProcessorError, check_numbers, hint_features, patch_bytes,
    scale_pixels, state_features, waypoints_to_goal, waypoints_to_trajectory,
};
use ergon_types::{GoalHint, Observation, Trajectory, VehicleState};
use thiserror::Error;

use crate::rng::{bits, uniform};

/// Control steps are told apart by their time in steps of the simulation.
const TICK_S: f64 = 0.01;
/// Passes of fewer rows are left to one thread: waking another takes longer. Chosen, not swept; `cargo run -p ergon-engine
/// --example driver_speed` shows what a change does.
const ROWS_FOR_THREADS: usize = 4;

/// [`PolicyOptions::first_noise_scale`] of the vehicle, and of the student whose drives are trained on.
pub const FIRST_NOISE_SCALE: f32 = 0.5;

/// How far the first candidates are led to a goal that is near; those behind them are as the model plans. Where a gate
/// refuses the whole way, a part of it may pass.
const APPROACH_SHARES: [f64; 3] = [1.0, 0.6, 0.3];

/// How a policy runs.
#[derive(Clone, Debug)]
pub struct PolicyOptions {
    /// Threads for the kernels, the caller's included; at least 1.
    pub threads: usize,
    /// Instruction set; `None` takes the best one of this machine.
    pub isa: Option<Isa>,
    /// Factor on the noise of candidate 0; the others have 1. Less noise gives the motion that is likeliest, more often.
    pub first_noise_scale: f32,
    /// Whether the first candidates are led to a goal that is seconds away ([`waypoints_to_goal`]).
    pub approaches_goal: bool,
}

impl Default for PolicyOptions {
    fn default() -> PolicyOptions {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        PolicyOptions { threads, isa: None, first_noise_scale: 1.0, approaches_goal: false }
    }
}

/// Why a policy cannot be loaded, or cannot act.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The checkpoint is no driver that can be run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The instruction set that was asked for is not there.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tokenizer lacks a token that the driver's prompt is made of.
    #[error(
        "the tokenizer has no token '{token}', which every prompt of a driver has; it is of another model"
    )]
    Tag {
        /// The token.
        token: &'static str,
    },
    /// The tokenizer knows ids that the model has no row for.
    #[error("the tokenizer has {tokenizer} tokens, the model {model}; they do not belong together")]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// `text_config.vocab_size`.
        model: usize,
    },
    /// The observation does not fit the model.
    #[error(transparent)]
    Observation(#[from] ProcessorError),
    /// The forward pass failed, or a stage was called before the one it builds on.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// Logits that are no numbers.
    #[error("the driver gave logits that are no numbers: its weights are damaged")]
    NotFinite,
}

/// What the model says about a scene.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thought {
    /// The words, without tags.
    pub reasoning: String,
    /// Their token ids.
    pub reasoning_tokens: Vec<u32>,
    /// What the perception head reads off the scene, `[perception_dim]`.
    pub perception: Vec<f32>,
}

/// How long the stages of a control step took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimings {
    /// Pictures to image tokens.
    pub vision: Duration,
    /// Reading the prompt and reasoning.
    pub language: Duration,
    /// All plans made by [`DriverPolicy::act`].
    pub action: Duration,
}

/// What the policy proposes; nothing of it is safe before a gate has cleared it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proposal {
    /// The words, without tags.
    pub reasoning: String,
    /// Their token ids.
    pub reasoning_tokens: Vec<u32>,
    /// What the perception head reads off the scene, `[perception_dim]`.
    pub perception: Vec<f32>,
    /// One motion for each candidate, in the world's frame.
    pub plans: Vec<Trajectory>,
    /// How long it took.
    pub timings: StageTimings,
}

/// The tokens that a prompt is made of beside the instruction.
#[derive(Clone, Copy)]
struct Tags {
    bos: u32,
    think: u32,
    end_think: u32,
}

/// A driver with its tokenizer, threads and memory.
pub struct DriverPolicy {
    driver: Driver,
    tokenizer: Tokenizer,
    tags: Tags,
    cpu: Cpu,
    /// The same with the calling thread alone.
    single: Cpu,
    first_noise_scale: f32,
    approaches_goal: bool,
    step: DriverStep,
    pixels: Vec<u8>,
    patches: Vec<f32>,
    /// The last instruction, and its prompt `<bos> ... <think>`.
    instruction: Option<String>,
    prompt: Vec<u32>,
    /// The last reasoning and its closing tag: the draft of the next.
    draft: Vec<u32>,
    feed: Vec<u32>,
    noise: Vec<f32>,
    /// The vehicle, its goal and the time of the step that [`DriverPolicy::think`] was about.
    ego: VehicleState,
    hint: GoalHint,
    tick: u64,
}

impl DriverPolicy {
    /// Binds the weights of a checkpoint and starts the threads.
    ///
    /// # Errors
    /// The checkpoint is no driver, its tokenizer does not fit, or the instruction set is not there.
    pub fn load(checkpoint: &Checkpoint, options: &PolicyOptions) -> Result<DriverPolicy, PolicyError> {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let driver = Driver::load(checkpoint)?;
        let tokenizer = Tokenizer::from_checkpoint(checkpoint)?;
        let (known, rows) = (tokenizer.vocab_size(), driver.config().text.vocab_size);
        if known > rows {
            return Err(PolicyError::Vocabulary { tokenizer: known, model: rows });
        }
        let tag = |token| tokenizer.token_to_id(token).ok_or(PolicyError::Tag { token });
        Ok(DriverPolicy {
            tags: Tags { bos: tag("<bos>")?, think: tag("<think>")?, end_think: tag("</think>")? },
            driver,
            tokenizer,
            cpu: Cpu::with_isa(isa, options.threads.max(1))?,
            single: Cpu::with_isa(isa, 1)?,
            first_noise_scale: options.first_noise_scale,
            approaches_goal: options.approaches_goal,
            step: DriverStep::default(),
            pixels: Vec::new(),
            patches: Vec::new(),
            instruction: None,
            prompt: Vec::new(),
            draft: Vec::new(),
            feed: Vec::new(),
            noise: Vec::new(),
            ego: VehicleState::default(),
            hint: GoalHint::default(),
            tick: 0,
        })
    }

    /// The shape of the driver: its cameras, its horizon.
    pub fn config(&self) -> &DriverConfig {
        self.driver.config()
    }

    /// The driver's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// All stages: the words, and the plans of candidates `0 .. candidates`. More of the same step come from
    /// [`DriverPolicy::plan`].
    ///
    /// # Errors
    /// The observation does not fit the model, or the weights are damaged.
    pub fn act(
        &mut self,
        observation: &Observation,
        seed: u64,
        candidates: usize,
    ) -> Result<Proposal, PolicyError> {
        let start = Instant::now();
        self.see(observation)?;
        let seen = Instant::now();
        let Thought { reasoning, reasoning_tokens, perception } = self.think(observation)?;
        let thought = Instant::now();
        let plans = (0..candidates).map(|candidate| self.plan(seed, candidate)).collect::<Result<_, _>>()?;
        let timings =
            StageTimings { vision: seen - start, language: thought - seen, action: thought.elapsed() };
        Ok(Proposal { reasoning, reasoning_tokens, perception, plans, timings })
    }

    /// Stage 1: looks at the pictures.
    ///
    /// # Errors
    /// There is not one picture of the right size for each camera.
    pub fn see(&mut self, observation: &Observation) -> Result<(), PolicyError> {
        let Observation { frames, earlier_frames, .. } = observation;
        patch_bytes(&self.driver.config().vision, frames, earlier_frames, &mut self.pixels)?;
        scale_pixels(&self.pixels, &mut self.patches);
        self.driver.see(&self.cpu, &self.patches, &mut self.step);
        Ok(())
    }

    /// Stage 2: reads state, goal and instruction behind what was seen, and reasons.
    ///
    /// # Errors
    /// The observation holds numbers that are none, the instruction cannot be put into tokens, or the weights are
    /// damaged.
    pub fn think(&mut self, observation: &Observation) -> Result<Thought, PolicyError> {
        check_numbers(observation)?;
        self.take_instruction(&observation.instruction)?;
        let Observation { ego, hint, .. } = observation;
        self.ego = *ego;
        self.hint = *hint;
        self.tick = (observation.t_s / TICK_S).round() as i64 as u64;
        let (state, hint) = (state_features(ego), hint_features(hint, ego.speed_mps));
        self.driver.read(&self.cpu, &state, &hint, &self.prompt, &mut self.step)?;
        let mut perception = Vec::new();
        self.driver.perceive(&self.single, &mut self.step, &mut perception)?;
        let reasoning_tokens = self.reason()?;
        self.driver.prepare_plans(&self.cpu, &mut self.step)?;
        let reasoning = self.tokenizer.decode(&reasoning_tokens, true)?.trim().to_string();
        Ok(Thought { reasoning, reasoning_tokens, perception })
    }

    /// Stage 3: the plan of one candidate of this step. The same seed and candidate give the same plan.
    ///
    /// # Errors
    /// [`DriverPolicy::think`] has not been called yet.
    pub fn plan(&mut self, seed: u64, candidate: usize) -> Result<Trajectory, PolicyError> {
        let action = &self.driver.config().action;
        let scale = if candidate == 0 { self.first_noise_scale } else { 1.0 };
        self.noise.resize(action.horizon * action.action_dim, 0.0);
        fill_noise(bits(bits(seed, self.tick), candidate as u64), scale, &mut self.noise);
        self.driver.plan(&self.cpu, &mut self.noise, &mut self.step)?;
        let share = APPROACH_SHARES.get(candidate).filter(|_| self.approaches_goal);
        Ok(match share {
            Some(share) => waypoints_to_goal(action, &self.ego, &self.noise, &self.hint, *share),
            None => waypoints_to_trajectory(action, &self.ego, &self.noise),
        })
    }

    /// The prompt of an instruction. A driver is told the same thing for many steps, so the last is kept.
    fn take_instruction(&mut self, instruction: &str) -> Result<(), PolicyError> {
        if self.instruction.as_deref() == Some(instruction) {
            return Ok(());
        }
        let Tags { bos, think, end_think } = self.tags;
        let words = self.tokenizer.encode(instruction, false)?;
        self.prompt.clear();
        self.prompt.push(bos);
        // Tags written by a person are words out of place, and could end the reasoning before it begins.
        let words = words.into_iter().filter(|id| ![bos, think, end_think].contains(id));
        self.prompt.extend(words.take(MAX_INSTRUCTION_TOKENS));
        self.prompt.push(think);
        self.instruction = Some(instruction.to_string());
        Ok(())
    }

    /// Decodes the reasoning, greedily, and feeds it and the closing tag.
    fn reason(&mut self) -> Result<Vec<u32>, PolicyError> {
        let end_think = self.tags.end_think;
        let mut tokens: Vec<u32> = Vec::with_capacity(MAX_REASONING_TOKENS);
        let mut next = best(self.step.logits())?;
        while next != end_think && tokens.len() < MAX_REASONING_TOKENS {
            tokens.push(next);
            match self.feed_with_draft(&mut tokens)? {
                Some(decoded) => next = decoded,
                None => {
                    self.remember(&tokens);
                    return Ok(tokens);
                }
            }
        }
        self.driver.append(&self.single, &[end_think], LogitsWanted::None, &mut self.step)?;
        self.remember(&tokens);
        Ok(tokens)
    }

    /// Feeds the last of `tokens` with what the draft expects behind it, keeps what was right, and gives the token that
    /// follows; `None` when the closing tag has been fed already.
    fn feed_with_draft(&mut self, tokens: &mut Vec<u32>) -> Result<Option<u32>, PolicyError> {
        let vocab = self.driver.config().text.vocab_size;
        self.feed.clear();
        self.feed.extend(tokens.last());
        self.feed.extend(self.draft.strip_prefix(tokens.as_slice()).unwrap_or_default());
        let before = self.step.rows(self.driver.config());
        let cpu = if self.feed.len() < ROWS_FOR_THREADS { &self.single } else { &self.cpu };
        self.driver.append(cpu, &self.feed, LogitsWanted::All, &mut self.step)?;
        let mut right = 1;
        let decoded = loop {
            let at_end = tokens.len() == MAX_REASONING_TOKENS;
            let decoded = match at_end {
                true => self.tags.end_think,
                false => best(&self.step.logits()[(right - 1) * vocab..right * vocab])?,
            };
            if self.feed.get(right) != Some(&decoded) {
                break Some(decoded);
            }
            right += 1;
            if decoded == self.tags.end_think {
                break None;
            }
            tokens.push(decoded);
        };
        self.step.rewind(self.driver.config(), before + right);
        Ok(decoded)
    }

    fn remember(&mut self, tokens: &[u32]) {
        self.draft.clear();
        self.draft.extend_from_slice(tokens);
        self.draft.push(self.tags.end_think);
    }
}

/// The token with the largest logit, the first of equals.
fn best(logits: &[f32]) -> Result<u32, PolicyError> {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return Err(PolicyError::NotFinite);
        }
        if *logit > best.1 {
            best = (token as u32, *logit);
        }
    }
    if best.1.is_finite() { Ok(best.0) } else { Err(PolicyError::NotFinite) }
}

/// Normal numbers of standard deviation `scale` (Box and Muller): value i is made of draws 2i and 2i + 1 of the seed.
fn fill_noise(seed: u64, scale: f32, out: &mut [f32]) {
    for (index, out) in out.iter_mut().enumerate() {
        let (u, w) = (uniform(seed, 2 * index as u64), uniform(seed, 2 * index as u64 + 1));
        let normal = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * w).cos();
        *out = normal as f32 * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_normal_and_differs() {
        let mut noise = vec![0.0; 20_000];
        fill_noise(7, 1.0, &mut noise);
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        let variance = noise.iter().map(|x| x * x).sum::<f32>() / noise.len() as f32;
        let beyond = noise.iter().filter(|x| x.abs() > 1.959_964).count() as f32 / noise.len() as f32;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
        assert!((beyond - 0.05).abs() < 0.006, "{beyond}");
        let mut other = vec![0.0; 20_000];
        fill_noise(8, 0.5, &mut other);
        assert_ne!(noise[0], 2.0 * other[0]);
    }

    #[test]
    fn the_best_token_is_the_first_of_equals_and_never_of_damage() {
        assert_eq!(best(&[0.0, 2.0, 2.0, 1.0]).ok(), Some(1));
        assert!(best(&[0.0, f32::NAN]).is_err());
        assert!(best(&[0.0, f32::INFINITY]).is_err());
        assert!(best(&[]).is_err());
    }
}
