//! A loaded model and the sequences over it: scheduling, sampling, constrained output, and text around it.
//!
//! Two layers. [`Engine`] knows tokens: sequences are added and go on together, one [`Engine::step`] at a time, each
//! ending with the same tokens whatever its company. [`Generation`] knows text: it puts prompts into tokens, tells
//! reasoning from the answer, looks for stop strings, and gives events to show.
//!
//! Where to read on:
//! - `engine` (add, step, cancel), `sequence` (how one sequence takes its next tokens), `schedule` (who feeds how much),
//!   `prefix` (KV caches kept for the next prompt), `speculative` (drafts of the multi-token-prediction layer), `memory`
//!   (what work will need), `residency` (routed experts that do not all fit), `score` (teacher forcing);
//! - `sampler` and `rng` (from logits to a token), `constraint` (grammars), `observer` (how text steers tokens);
//! - `policy` (a driver: pictures and words in, plans out);
//! - `generation`, `prompt`, `text_sequence`, `completion` (the text layer), `reasoning` (`<think>`), `stop`.

mod completion;
mod constraint;
mod engine;
mod error;
mod generation;
mod memory;
mod observer;
mod policy;
mod prefix;
mod prompt;
mod reasoning;
mod residency;
mod rng;
mod sampler;
mod schedule;
mod score;
mod sequence;
mod speculative;
mod stop;
mod text_sequence;

pub use completion::{Completion, Event, Timings, Usage};
pub use constraint::{Constraint, ConstraintCompiler, ConstraintError, Grammar, MAX_GRAMMAR_BYTES};
pub use engine::{Engine, EngineOptions, SequenceId, StepOutput};
pub use error::{EngineError, SequenceError};
pub use generation::{Generation, GenerationError, GenerationRequest, MAX_STOP_STRINGS};
pub use memory::{MemoryNeed, MemoryPlan};
pub use observer::{TokenObserver, Unobserved, Verdict};
pub use policy::{
    DriverPolicy, FIRST_NOISE_SCALE, PolicyError, PolicyOptions, Proposal, StageTimings, Thought,
};
pub use prompt::{Prompt, TextTools};
pub use reasoning::{CLOSE_TAG, OPEN_TAG, Piece, ReasoningSplitter, is_opened_by};
pub use residency::{ExpertCacheReport, ExpertStats};
pub use sampler::{SamplingError, SamplingParams};
pub use score::Score;
pub use sequence::SequenceRequest;
pub use speculative::SpeculationStats;
pub use stop::{MAX_STOP_BYTES, StopMatcher};
