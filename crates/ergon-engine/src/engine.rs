//! A loaded model and the sequences over it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ergon_checkpoint::{Checkpoint, return_free_memory};
use ergon_kernels::{Cpu, Isa};
use ergon_model::{
    AttentionConfig, ExpertStore, ForwardError, Input, KvFormat, LogitsWanted, Model, ModelSummary, Phase,
    Scratch, Segment,
};
use ergon_types::FinishReason;

use crate::error::{EngineError, SequenceError};
use crate::memory::{MemoryNeed, MemoryPlan, Sequences};
use crate::observer::{TokenObserver, Unobserved};
use crate::prefix::PrefixCache;
use crate::residency::{ExpertCache, ExpertCacheReport, FileReader};
use crate::sampler::Sampler;
use crate::schedule::{Demand, share};
use crate::sequence::{Sequence, SequenceRequest};
use crate::speculative::Speculation;

/// New tokens for which KV cache is reserved at once; the model reserves more as it is needed, so that a generous limit
/// on new tokens costs nothing.
const RESERVE_TOKENS: usize = 1024;

/// How an engine runs.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Threads for the kernels, the caller's included; at least 1.
    pub threads: usize,
    /// Instruction set; `None` takes the best one of this machine.
    pub isa: Option<Isa>,
    /// Precision of the KV cache; `None` takes f16 for models in block formats and f32 for all others.
    pub kv_format: Option<KvFormat>,
    /// Prompt tokens computed in one step, over all sequences.
    pub prefill_chunk_tokens: usize,
    /// Work that would need more memory than this is refused before it starts. If all weights together do not fit, the
    /// routed experts are read from the disk as they are visited, and as many as fit are kept.
    pub memory_budget_bytes: Option<u64>,
    /// Tokens of the longest sequence (prompt and output) to come: if memory does not hold them beside all weights, routed
    /// experts are read. At least [`MemoryPlan::comfortable_tokens`] are assumed.
    pub expected_tokens: usize,
    /// What the process holds already, and counts within the budget.
    pub process_bytes: u64,
    /// Use the model's multi-token-prediction layer where it makes decoding faster. The output is the same.
    pub speculative: bool,
    /// Sequences that may run at the same time.
    pub max_sequences: usize,
    /// KV caches of finished sequences that are kept for prompts with the same beginning.
    pub kept_states: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            isa: None,
            kv_format: None,
            prefill_chunk_tokens: 512,
            memory_budget_bytes: None,
            expected_tokens: 0,
            process_bytes: 0,
            speculative: true,
            max_sequences: 64,
            kept_states: 1,
        }
    }
}

/// Names a sequence of one engine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a step has done for one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// The sequence.
    pub id: SequenceId,
    /// Its new tokens; a stop token, if one ended it, is the last.
    pub token_ids: Vec<u32>,
    /// Set when the sequence has ended and is gone from the engine: how, or what went wrong with it alone.
    pub finish: Option<Result<FinishReason, SequenceError>>,
}

/// Why a step has not been computed.
enum StepFailure {
    /// Nobody can go on.
    Everyone(EngineError),
    /// These sequences cannot; the others are as they were before the step.
    Some(Vec<StepOutput>),
}

/// A loaded model and the sequences over it. Every call does its work on the calling thread and the threads of the
/// pool, and returns.
///
/// The tokens of a sequence depend on its request alone: not on its company, the chunk size, the number of threads,
/// kept states or speculation.
pub struct Engine {
    pub(crate) model: Model,
    pub(crate) cpu: Cpu,
    pub(crate) scratch: Scratch,
    pub(crate) logits: Vec<f32>,
    pub(crate) options: EngineOptions,
    pub(crate) speculation: Speculation,
    pub(crate) sequences: BTreeMap<SequenceId, Sequence>,
    /// Where routed experts come from if they do not all stay in memory.
    experts: Option<Arc<ExpertCache>>,
    plan: MemoryPlan,
    sampler: Sampler,
    prefixes: PrefixCache,
    next_id: u64,
    turn: usize,
    /// What the buffers of steps were counted with when they were made, where experts are read.
    buffers_bytes: u64,
}

impl Engine {
    /// Binds the weights of a checkpoint and starts the threads.
    ///
    /// # Errors
    /// The checkpoint cannot be run, the instruction set is not there, or the weights alone exceed the memory budget.
    pub fn load(checkpoint: &Checkpoint, options: &EngineOptions) -> Result<Engine, EngineError> {
        let cpu = match options.isa {
            Some(isa) => Cpu::with_isa(isa, options.threads.max(1))?,
            None => Cpu::new(options.threads.max(1)),
        };
        let mut model = Model::load(checkpoint)?;
        let summary = ModelSummary::of_model(checkpoint, &model);
        let plan = MemoryPlan::new(&model, &summary, checkpoint, options);
        model.check_kv_format(plan.kv_format())?;
        // Before anything is read.
        plan.need_for(0).check()?;
        let mut experts = None;
        if plan.streams() {
            drop(model);
            model = Model::load_without_experts(checkpoint)?;
            let cache = ExpertCache::new(&model.expert_places(), Box::new(FileReader));
            let cache = Arc::new(cache.map_err(|reason| EngineError::Readers { reason })?);
            model.set_expert_store(Arc::clone(&cache) as Arc<dyn ExpertStore>);
            experts = Some(cache);
            checkpoint.forget_pages();
        }
        let speculation = Speculation::new(options.speculative && model.has_mtp());
        let mut engine = Engine {
            speculation,
            plan,
            options: options.clone(),
            prefixes: PrefixCache::new(options.kept_states),
            model,
            cpu,
            experts,
            scratch: Scratch::default(),
            logits: Vec::new(),
            sampler: Sampler::default(),
            sequences: BTreeMap::new(),
            next_id: 0,
            turn: 0,
            buffers_bytes: 0,
        };
        engine.options.prefill_chunk_tokens = engine.plan.chunk_tokens(engine.plan.comfortable_tokens());
        engine.make_room(0)?;
        Ok(engine)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Precision of the KV cache.
    pub fn kv_format(&self) -> KvFormat {
        self.plan.kv_format()
    }

    /// What the engine was loaded with; the length of a prompt's pieces is the one in use.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Tokens that fit the model's context.
    pub fn context_length(&self) -> usize {
        self.model.config().max_position_embeddings
    }

    /// Whether any sequence is running.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// What a new sequence of `tokens` tokens (prompt and output) would need beside everything that is running.
    /// The budget is `u64::MAX` if none was given.
    pub fn memory_need(&self, tokens: usize) -> MemoryNeed {
        self.plan.need(self.running().and(tokens), tokens)
    }

    fn running(&self) -> Sequences {
        let tokens = self.sequences.values().map(|sequence| sequence.prompt_len + sequence.limit);
        tokens.fold(Sequences::default(), Sequences::and)
    }

    /// The longest sequence (prompt and output) that the memory budget and the context have room for now. Where routed
    /// experts are read, no more than [`MemoryPlan::comfortable_tokens`], or a sequence that nobody has asked to be long
    /// would leave them no memory.
    pub fn affordable_tokens(&self) -> usize {
        let context = match &self.experts {
            Some(_) => self.plan.comfortable_tokens(),
            None => self.context_length(),
        };
        if self.memory_need(context).fits() {
            return context;
        }
        let (mut fits, mut too_many) = (0, context);
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.memory_need(middle).fits() { fits = middle } else { too_many = middle }
        }
        fits
    }

    /// Sees to it that a sequence of `tokens` tokens (prompt and output) beside everything that is running has the memory
    /// it needs: what routed experts have of it is given back.
    ///
    /// # Errors
    /// The budget does not hold it.
    pub fn make_room(&mut self, tokens: usize) -> Result<(), EngineError> {
        let need = self.memory_need(tokens);
        if self.sequences.is_empty() {
            return self.make_room_for(need);
        }
        // Experts make room when the next step knows how much it needs.
        self.forget_prefixes_for(&need)
    }

    pub(crate) fn make_room_for(&mut self, need: MemoryNeed) -> Result<(), EngineError> {
        self.forget_prefixes_for(&need)?;
        self.keep_experts_beside(&need);
        Ok(())
    }

    fn forget_prefixes_for(&mut self, need: &MemoryNeed) -> Result<(), EngineError> {
        need.check()?;
        while need.total().saturating_add(self.prefixes.bytes()) > need.budget
            && self.prefixes.forget_oldest()
        {}
        Ok(())
    }

    /// Before steps of a phase, shares what the budget leaves between the buffers of a step, which are large while prompts are
    /// read, and routed experts. For callers who run steps over the model themselves: `sequences` are their sequences,
    /// `tokens` the tokens that all of them will have. Returns the prompt tokens that a step may compute. Buffers of longer
    /// steps must have been freed before ([`ergon_checkpoint::return_free_memory`]).
    pub fn share_memory(&self, phase: Phase, sequences: usize, tokens: usize) -> usize {
        let all = Sequences { count: sequences, tokens, longest: tokens / sequences.max(1) };
        let chunk = self.plan.chunk(all, self.prefixes.bytes());
        let prompt_tokens = if phase == Phase::Prefill { chunk } else { 0 };
        self.keep_experts_beside(&self.plan.need_in_steps_of(prompt_tokens, all));
        chunk
    }

    /// The coming step's share of the memory: buffers that an earlier one made larger than this one needs are freed, and experts
    /// get what is left.
    fn prepare_step(&mut self) {
        if self.experts.is_none() {
            return;
        }
        let running = self.running();
        let chunk = self.plan.chunk(running, self.prefixes.bytes());
        self.options.prefill_chunk_tokens = chunk;
        let in_prompt = self.sequences.values().any(Sequence::in_prompt);
        // A sequence that decodes has a row, and more where its grammar leaves no choice.
        let forced = self.sequences.values().map(|s| s.pending().min(chunk).saturating_sub(1)).sum();
        let need = self.plan.need_in_steps_of(if in_prompt { chunk } else { forced }, running);
        if need.working < self.buffers_bytes {
            self.free_buffers();
        }
        self.buffers_bytes = need.working;
        self.keep_experts_beside(&need);
    }

    /// Frees the buffers of steps, if routed experts have use for their memory.
    pub(crate) fn free_buffers(&mut self) {
        if self.experts.is_some() {
            (self.scratch, self.logits) = (Scratch::default(), Vec::new());
            self.buffers_bytes = 0;
            return_free_memory();
        }
    }

    /// Keeps as many routed experts as a need leaves room for, if they do not all stay in memory.
    fn keep_experts_beside(&self, need: &MemoryNeed) {
        if let Some(experts) = &self.experts {
            let room = need.room_for_experts().saturating_sub(self.prefixes.bytes());
            let count = room / experts.buffer_bytes().max(1);
            experts.set_capacity(usize::try_from(count).unwrap_or(usize::MAX));
        }
    }

    /// How routed experts are kept and read; `None` if all of them stay in memory.
    pub fn expert_cache(&self) -> Option<ExpertCacheReport> {
        self.experts.as_ref().map(|experts| ExpertCacheReport {
            stats: experts.stats(),
            in_memory: experts.capacity(),
            total: experts.len(),
            expert_bytes: experts.buffer_bytes(),
            top_tenth_share: experts.top_tenth_share(),
        })
    }

    /// Starts a sequence.
    ///
    /// # Errors
    /// An empty prompt, tokens outside the vocabulary, parameters out of range, a prompt that leaves no room in the
    /// context, no free slot, or more memory than the budget has.
    pub fn add(&mut self, request: SequenceRequest) -> Result<SequenceId, EngineError> {
        request.sampling.validate()?;
        self.check_tokens(&request.prompt)?;
        if self.sequences.len() >= self.options.max_sequences.max(1) {
            return Err(EngineError::NoFreeSlot { slots: self.options.max_sequences.max(1) });
        }
        let context_length = self.context_length();
        let prompt_len = request.prompt.len();
        if prompt_len >= context_length {
            return Err(EngineError::ContextExceeded { tokens: prompt_len, context_length });
        }
        let limit = request.max_new_tokens.min(context_length - prompt_len);
        self.memory_need(prompt_len + limit).check()?;
        let reserve = prompt_len + limit.min(RESERVE_TOKENS);
        let state = match self.prefixes.take(&request.prompt) {
            Some(mut state) => {
                state.shrink(reserve);
                state.reserve(reserve)?;
                state
            }
            None => self.model.new_state(self.kv_format(), reserve, self.speculation.is_enabled())?,
        };
        self.make_room(prompt_len + limit)?;
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        let constrained = request.constraint.is_some() && !request.constraint_waits;
        let sequence = Sequence {
            id,
            tokens: request.prompt.clone(),
            prompt_len,
            reused: state.len(),
            state,
            request,
            limit,
            constrained,
            drafts: Vec::new(),
        };
        self.sequences.insert(id, sequence);
        Ok(id)
    }

    /// Prompt tokens of a running sequence that need no computation because a kept state had them.
    ///
    /// # Errors
    /// The sequence is not running.
    pub fn reused_tokens(&self, id: SequenceId) -> Result<usize, EngineError> {
        self.sequences.get(&id).map(|s| s.reused).ok_or(EngineError::UnknownSequence(id))
    }

    /// Ends a sequence before its time.
    ///
    /// # Errors
    /// The sequence is not running.
    pub fn cancel(&mut self, id: SequenceId) -> Result<(), EngineError> {
        let sequence = self.sequences.remove(&id).ok_or(EngineError::UnknownSequence(id))?;
        self.keep_prefix(sequence);
        Ok(())
    }

    /// Computes one step: a chunk of prompts, and one token (with drafts: a few) of every generating sequence.
    /// Outputs come in the order in which the sequences were added; nothing is returned while only prompts are read.
    ///
    /// # Errors
    /// The forward pass failed; all sequences are gone then.
    pub fn step(&mut self) -> Result<Vec<StepOutput>, EngineError> {
        self.step_with(&mut Unobserved)
    }

    /// As [`Engine::step`], with an observer that sees tokens as they are chosen.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub fn step_with(&mut self, observer: &mut dyn TokenObserver) -> Result<Vec<StepOutput>, EngineError> {
        let outputs = self.run_step(observer);
        if outputs.is_err() {
            // Their states may have been left half way.
            self.sequences.clear();
            let _ = self.make_room(0);
        }
        outputs
    }

    fn run_step(&mut self, observer: &mut dyn TokenObserver) -> Result<Vec<StepOutput>, EngineError> {
        if self.sequences.is_empty() {
            return Ok(Vec::new());
        }
        let only_decodes = self.sequences.values().all(|s| !s.in_prompt());
        self.prepare_step();
        let grants = self.grants();
        self.draft()?;
        let rows = match self.forward(&grants) {
            Ok(rows) => rows,
            Err(StepFailure::Everyone(error)) => return Err(error),
            Err(StepFailure::Some(outputs)) => return Ok(outputs),
        };
        let outputs = self.choose(&rows, observer);
        self.finish(&outputs);
        let produced = outputs.iter().map(|output| output.token_ids.len()).sum();
        self.speculation.step_done(only_decodes, produced);
        Ok(outputs)
    }

    /// Tokens each sequence feeds in this step, in the order of ids.
    fn grants(&mut self) -> Vec<usize> {
        self.turn = self.turn.wrapping_add(1);
        let demand = |s: &Sequence| Demand { pending: s.pending(), in_prompt: s.in_prompt() };
        let demands: Vec<Demand> = self.sequences.values().map(demand).collect();
        share(&demands, self.options.prefill_chunk_tokens, self.turn)
    }

    /// One forward pass over everything; the number of logit rows of each sequence, in the order of ids.
    fn forward(&mut self, grants: &[usize]) -> Result<Vec<usize>, StepFailure> {
        let mut rows = Vec::with_capacity(grants.len());
        let starts: Vec<usize> = self.sequences.values().map(|sequence| sequence.state.len()).collect();
        let mut feeds: Vec<(Vec<u32>, LogitsWanted, Phase)> = Vec::with_capacity(grants.len());
        for (sequence, &grant) in self.sequences.values().zip(grants) {
            let from = sequence.state.len();
            let in_prompt = sequence.in_prompt();
            // A segment is of one phase: what follows the prompt waits for the next step.
            let end = if in_prompt { (from + grant).min(sequence.prompt_len) } else { from + grant };
            let mut tokens = sequence.tokens[from..end].to_vec();
            tokens.extend_from_slice(&sequence.drafts);
            let wanted = if end < sequence.tokens.len() {
                LogitsWanted::None
            } else if sequence.drafts.is_empty() {
                LogitsWanted::Last
            } else {
                LogitsWanted::All
            };
            rows.push(if end < sequence.tokens.len() { 0 } else { 1 + sequence.drafts.len() });
            feeds.push((tokens, wanted, if in_prompt { Phase::Prefill } else { Phase::Decode }));
        }
        let mut segments: Vec<Segment<'_>> = Vec::with_capacity(feeds.len());
        for (sequence, (tokens, wanted, phase)) in self.sequences.values_mut().zip(&feeds) {
            if !tokens.is_empty() {
                segments.push(Segment {
                    input: Input::Tokens(tokens),
                    state: &mut sequence.state,
                    phase: *phase,
                    logits: *wanted,
                });
            }
        }
        match self.model.forward(&self.cpu, &mut segments, &mut self.scratch, &mut self.logits) {
            Ok(()) => Ok(rows),
            Err(ForwardError::Expert { reason, segments }) => {
                let fed = self.sequences.keys().zip(&feeds).filter(|(_, (tokens, ..))| !tokens.is_empty());
                let fed: Vec<SequenceId> = fed.map(|(id, _)| *id).collect();
                let lost = segments.into_iter().filter_map(|segment| fed.get(segment).copied());
                Err(StepFailure::Some(self.undo(&starts, lost, &reason)))
            }
            Err(error) => Err(StepFailure::Everyone(error.into())),
        }
    }

    /// Undoes a step that could not be computed: the sequences that cannot go on are told why and are gone, the others
    /// are as long as they were (`starts`, in the order of ids).
    fn undo(
        &mut self,
        starts: &[usize],
        lost: impl Iterator<Item = SequenceId>,
        reason: &str,
    ) -> Vec<StepOutput> {
        for (sequence, &start) in self.sequences.values_mut().zip(starts) {
            sequence.state.rewind(start);
        }
        let gone = |id| {
            self.sequences.remove(&id)?;
            let finish = Some(Err(SequenceError::Weights { reason: reason.to_string() }));
            Some(StepOutput { id, token_ids: Vec::new(), finish })
        };
        let outputs = lost.filter_map(gone).collect();
        let _ = self.make_room(0);
        outputs
    }

    /// Chooses the next tokens of every sequence that has logits.
    fn choose(&mut self, rows: &[usize], observer: &mut dyn TokenObserver) -> Vec<StepOutput> {
        let vocab = self.model.config().vocab_size;
        let mut outputs = Vec::new();
        let mut logits = &mut self.logits[..];
        for (sequence, &n) in self.sequences.values_mut().zip(rows) {
            if n > 0 {
                let (mine, rest) = std::mem::take(&mut logits).split_at_mut(n * vocab);
                logits = rest;
                let drafted = sequence.drafts.len();
                let (output, accepted) = sequence.choose(mine, vocab, &mut self.sampler, observer);
                self.speculation.judged(drafted, accepted);
                outputs.push(output);
            }
        }
        outputs
    }

    /// Takes out sequences that have ended.
    fn finish(&mut self, outputs: &[StepOutput]) {
        for output in outputs.iter().filter(|output| output.finish.is_some()) {
            if let Some(sequence) = self.sequences.remove(&output.id) {
                self.keep_prefix(sequence);
            }
        }
    }

    fn keep_prefix(&mut self, sequence: Sequence) {
        let reusable = match self.model.config().attention {
            AttentionConfig::Gqa(_) => sequence.state.len(),
            AttentionConfig::Mla(_) => sequence.state.len().min(sequence.prompt_len),
        };
        let mut tokens = sequence.tokens;
        tokens.truncate(reusable);
        self.prefixes.keep(tokens, sequence.state);
        // What runs had room before.
        let _ = self.make_room(0);
    }

    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        let vocab_size = self.model.config().vocab_size;
        if tokens.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        match tokens.iter().position(|&token| token as usize >= vocab_size) {
            Some(index) => Err(EngineError::TokenOutOfRange { index, token: tokens[index], vocab_size }),
            None => Ok(()),
        }
    }
}
