//! Text in, text out: an [`Engine`] with the text tools of its model.

use std::collections::BTreeMap;

use ergon_checkpoint::{GenerationDefaults, TemplateError, Tokenizer, TokenizerError};
use ergon_types::FinishReason;
use thiserror::Error;

use crate::completion::{Completion, Event};
use crate::constraint::{ConstraintCompiler, ConstraintError, Grammar};
use crate::engine::{Engine, SequenceId};
use crate::error::{EngineError, SequenceError};
use crate::observer::{TokenObserver, Verdict};
use crate::prompt::{PreparedPrompt, Prompt, TextTools, closing_tokens};
use crate::reasoning::ReasoningSplitter;
use crate::sampler::SamplingParams;
use crate::sequence::SequenceRequest;
use crate::stop::MAX_STOP_BYTES;
use crate::text_sequence::{TextSequence, TextStart};

/// Most stop strings of one request.
pub const MAX_STOP_STRINGS: usize = 64;

/// What is to be generated, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationRequest {
    /// What to go on from.
    pub prompt: Prompt,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most new tokens, reasoning included; `None` is as many as the context and the memory budget have room for.
    pub max_new_tokens: Option<usize>,
    /// The answer ends before the first of these. They do not apply to reasoning.
    pub stop: Vec<String>,
    /// What the answer must look like. In a block of reasoning that the prompt opens, it does not apply.
    pub grammar: Option<Grammar>,
    /// Tokens of reasoning after which the block is closed from outside.
    pub reasoning_budget: Option<usize>,
    /// Tell reasoning from the answer. Off, tags and thoughts are text like any other.
    pub separate_reasoning: bool,
    /// End at the model's end-of-sequence tokens.
    pub stop_at_eos: bool,
}

impl GenerationRequest {
    /// Greedy, up to the end of the context, without limits or grammar, reasoning separated.
    pub fn new(prompt: Prompt) -> GenerationRequest {
        GenerationRequest {
            prompt,
            sampling: SamplingParams::default(),
            max_new_tokens: None,
            stop: Vec::new(),
            grammar: None,
            reasoning_budget: None,
            separate_reasoning: true,
            stop_at_eos: true,
        }
    }
}

/// A request that cannot be taken, or a generation that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GenerationError {
    /// The engine refused it or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// This generation failed.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The text cannot become tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template failed on the messages.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The grammar cannot be used.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// The checkpoint has no tokenizer.
    #[error("the model comes without a tokenizer, which {what} needs; give token ids instead")]
    NoTokenizer {
        /// What needs it.
        what: &'static str,
    },
    /// The checkpoint has no chat template.
    #[error("the model comes without a chat template; give a raw prompt instead")]
    NoTemplate,
    /// Stop strings beyond the limits.
    #[error(
        "at most {MAX_STOP_STRINGS} stop strings of at most {MAX_STOP_BYTES} bytes each are accepted, none empty"
    )]
    StopStrings,
}

/// Text generations over one engine; any number may run at the same time.
pub struct Generation<'a> {
    engine: Engine,
    tools: TextTools<'a>,
    eos_ids: Vec<u32>,
    /// Built when the first grammar is asked for.
    compiler: Option<ConstraintCompiler>,
    texts: BTreeMap<SequenceId, TextSequence<'a>>,
}

/// Passes tokens on to the text side of their sequence.
struct Texts<'t, 'a>(&'t mut BTreeMap<SequenceId, TextSequence<'a>>);

impl TokenObserver for Texts<'_, '_> {
    fn token(&mut self, id: SequenceId, token: u32) -> Verdict {
        self.0.get_mut(&id).map_or(Verdict::Continue, |text| text.observe(token))
    }
}

impl<'a> Generation<'a> {
    /// `defaults` names the end-of-sequence tokens; the tokenizer's own is added.
    pub fn new(engine: Engine, tools: TextTools<'a>, defaults: &GenerationDefaults) -> Generation<'a> {
        let mut eos_ids = defaults.eos_token_ids.clone();
        eos_ids.extend(tools.tokenizer.and_then(Tokenizer::eos_token_id));
        eos_ids.sort_unstable();
        eos_ids.dedup();
        Generation { engine, tools, eos_ids, compiler: None, texts: BTreeMap::new() }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for work beside text (scoring).
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The text tools.
    pub fn tools(&self) -> TextTools<'a> {
        self.tools
    }

    /// Tokens that end a generation.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// Whether nothing is running.
    pub fn is_idle(&self) -> bool {
        self.texts.is_empty()
    }

    /// Starts a generation.
    ///
    /// # Errors
    /// The request is beyond what the model or its text tools can do, out of range, or too large.
    pub fn start(&mut self, request: &GenerationRequest) -> Result<SequenceId, GenerationError> {
        let stops = &request.stop;
        if stops.len() > MAX_STOP_STRINGS || stops.iter().any(|s| s.is_empty() || s.len() > MAX_STOP_BYTES) {
            return Err(GenerationError::StopStrings);
        }
        let wants_thoughts = matches!(request.prompt, Prompt::Chat { enable_thinking: Some(true), .. });
        let think_first = wants_thoughts && request.grammar.is_some() && request.separate_reasoning;
        let mut prompt = self.tools.prepare(&request.prompt, think_first)?;
        let budget = self.budget(request, &mut prompt)?;
        let splitter = request.separate_reasoning.then(|| ReasoningSplitter::new(prompt.opens_reasoning));
        let constraint_waits =
            request.grammar.is_some() && request.separate_reasoning && prompt.opens_reasoning;
        let constraint = match &request.grammar {
            Some(grammar) => Some(self.compiler()?.compile(grammar)?),
            None => None,
        };
        let prompt_tokens = prompt.tokens.len();
        // At least one, so that a prompt that fills the memory is refused with the figures.
        let affordable = self.engine.affordable_tokens().saturating_sub(prompt_tokens).max(1);
        let id = self.engine.add(SequenceRequest {
            prompt: prompt.tokens,
            sampling: request.sampling.clone(),
            max_new_tokens: request.max_new_tokens.unwrap_or(affordable),
            stop_token_ids: if request.stop_at_eos { self.eos_ids.clone() } else { Vec::new() },
            constraint,
            constraint_waits,
        })?;
        let start = TextStart {
            tokenizer: self.tools.tokenizer,
            splitter,
            new_text: prompt.new_text,
            stop: request.stop.clone(),
            budget,
            constraint_waits,
            prompt_tokens,
            reused_tokens: self.engine.reused_tokens(id)?,
        };
        self.texts.insert(id, TextSequence::new(start));
        Ok(id)
    }

    /// The reasoning budget with the tokens that enforce it. A budget of 0 closes a block that the prompt opens in the
    /// prompt itself.
    fn budget(
        &self,
        request: &GenerationRequest,
        prompt: &mut PreparedPrompt,
    ) -> Result<Option<(usize, Vec<u32>)>, GenerationError> {
        let Some(budget) = request.reasoning_budget.filter(|_| request.separate_reasoning) else {
            return Ok(None);
        };
        let closing = closing_tokens(self.tools.tokenizer("a reasoning budget")?)?;
        if budget == 0 && prompt.opens_reasoning {
            prompt.tokens.extend_from_slice(&closing);
            prompt.opens_reasoning = false;
        }
        Ok(Some((budget, closing)))
    }

    fn compiler(&mut self) -> Result<&ConstraintCompiler, GenerationError> {
        let compiler = match self.compiler.take() {
            Some(compiler) => compiler,
            None => {
                let vocab_size = self.engine.model().config().vocab_size;
                let tokenizer = self.tools.tokenizer("constrained output")?;
                ConstraintCompiler::new(tokenizer, vocab_size, &self.eos_ids)?
            }
        };
        Ok(self.compiler.insert(compiler))
    }

    /// Goes one step on with everything that runs; gives what is new, in order.
    ///
    /// # Errors
    /// The forward pass failed; every generation is gone then.
    pub fn step(&mut self) -> Result<Vec<(SequenceId, Event)>, GenerationError> {
        let outputs = match self.engine.step_with(&mut Texts(&mut self.texts)) {
            Ok(outputs) => outputs,
            Err(error) => {
                self.texts.clear();
                return Err(error.into());
            }
        };
        let mut events = Vec::new();
        for output in outputs {
            let Some(text) = self.texts.get_mut(&output.id) else { continue };
            text.step_done(&output.token_ids);
            if let Some(Ok(reason)) = output.finish {
                text.finish(reason);
            }
            events.extend(text.take_events().into_iter().map(|event| (output.id, event)));
            if let Some(finish) = output.finish {
                self.texts.remove(&output.id);
                events.extend(finish.err().map(|error| (output.id, Event::Failed(error))));
            }
        }
        Ok(events)
    }

    /// Ends a generation before its time; gives what it came to.
    ///
    /// # Errors
    /// It is not running.
    pub fn cancel(&mut self, id: SequenceId) -> Result<Vec<Event>, GenerationError> {
        self.engine.cancel(id)?;
        let mut text = self.texts.remove(&id).ok_or(EngineError::UnknownSequence(id))?;
        text.finish(FinishReason::Cancelled);
        Ok(text.take_events())
    }

    /// Runs one generation to its end and shows every event on the way. `cancelled` is asked between steps; when it
    /// says yes, the generation ends with [`FinishReason::Cancelled`].
    ///
    /// # Errors
    /// As [`Generation::start`] and [`Generation::step`], or this generation failed.
    pub fn run(
        &mut self,
        request: &GenerationRequest,
        mut cancelled: impl FnMut() -> bool,
        mut show: impl FnMut(&Event),
    ) -> Result<Completion, GenerationError> {
        let id = self.start(request)?;
        loop {
            let events = if cancelled() {
                self.cancel(id)?
            } else {
                self.step()?.into_iter().filter(|(of, _)| *of == id).map(|(_, event)| event).collect()
            };
            for event in events {
                show(&event);
                match event {
                    Event::Finished(completion) => return Ok(*completion),
                    Event::Failed(error) => return Err(error.into()),
                    Event::Reasoning(_) | Event::Text(_) => {}
                }
            }
        }
    }
}

impl SamplingParams {
    /// What the model is published with; a temperature is only set if the publisher gives one or another setting that
    /// needs sampling.
    pub fn from_defaults(defaults: &GenerationDefaults) -> SamplingParams {
        let samples = defaults.top_k.is_some() || defaults.top_p.is_some() || defaults.min_p.is_some();
        SamplingParams {
            temperature: defaults.temperature.unwrap_or(if samples { 1.0 } else { 0.0 }),
            top_k: defaults.top_k.unwrap_or(0),
            top_p: defaults.top_p.unwrap_or(1.0),
            min_p: defaults.min_p.unwrap_or(0.0),
            repetition_penalty: defaults.repetition_penalty.unwrap_or(1.0),
            ..SamplingParams::default()
        }
    }
}
