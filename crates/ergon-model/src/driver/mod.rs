//! The driver: a vision-language-action model whose decoder is a small DeepSeek-V3.
//!
//! ```text
//! pictures -> vision encoder -> image tokens ┐
//! state, goal -> one row each ───────────────┤
//! <bos> instruction <think> ─────────────────┴-> decoder -> reasoning </think>
//!                                                   │ final states of all rows
//!                        perception head <──────────┼──> action expert -> waypoints
//! ```
//!
//! A control step is three stages, [`Driver::see`], [`Driver::read`] with [`Driver::append`], and
//! [`Driver::prepare_plans`] with [`Driver::plan`], each of which leaves in the [`DriverStep`] what the next one needs.
//! Nothing is sampled here: which token comes next is the caller's decision, and the noise of a plan comes from the
//! caller.

mod step;
mod tensors;

pub use step::DriverStep;

use std::collections::HashMap;

use ergon_checkpoint::Checkpoint;
use ergon_kernels::{ActivationBuffer, Cpu, ops};

use self::tensors::LANGUAGE_PREFIX;
use crate::action::ActionExpert;
use crate::binder::Binder;
use crate::block::biased;
use crate::config::DriverConfig;
use crate::decoder::{Input, LogitsWanted, Model, Phase, Segment};
use crate::error::{ForwardError, ModelError};
use crate::mlp::linear;
use crate::processor::{HINT_DIM, STATE_DIM};
use crate::scratch::sized;
use crate::vision::VisionEncoder;
use crate::weights::{Linear, Weights};

/// Two matrices with a SiLU between, which make one row for the decoder out of numbers.
struct FeatureProjection {
    /// `[hidden_size, features]` with bias
    input: Linear,
    /// `[hidden_size, hidden_size]` with bias
    output: Linear,
}

/// A driver bound to its weights. Immutable: steps over different [`DriverStep`]s may run at the same time.
pub struct Driver {
    config: DriverConfig,
    vision: VisionEncoder,
    state: FeatureProjection,
    hint: FeatureProjection,
    language: Model,
    perception: Linear,
    expert: ActionExpert,
}

impl Driver {
    /// Reads the configuration and binds every tensor. Weights stay where they are, in their stored precision.
    ///
    /// # Errors
    /// The checkpoint is no driver or its configuration cannot be run, or tensors are missing, misshapen or left over.
    pub fn load(checkpoint: &Checkpoint) -> Result<Driver, ModelError> {
        let config = DriverConfig::from_checkpoint(checkpoint)
            .map_err(|source| ModelError::Config { path: checkpoint.path().to_path_buf(), source })?;
        check_tensors(checkpoint, &config)?;
        let binder = Binder::with_prefix(checkpoint, &config.text, LANGUAGE_PREFIX);
        let text = config.text.hidden_size;
        let features = |stem: &str, count: usize| -> Result<FeatureProjection, ModelError> {
            Ok(FeatureProjection {
                input: biased(&binder, &format!("{stem}.in"), text, count)?,
                output: biased(&binder, &format!("{stem}.out"), text, text)?,
            })
        };
        let vision = VisionEncoder::bind(&binder, &config.vision, text)?;
        let (state, hint) =
            (features("state_proj", config.state_dim)?, features("hint_proj", config.hint_dim)?);
        let weights = Weights::bind_with(&binder, &config.text)?;
        let perception = biased(&binder, "perception_head", config.perception_dim, text)?;
        let expert = ActionExpert::bind(&binder, &config.action, text)?;
        binder.finish()?;
        let language = Model::new(config.text.clone(), weights, None);
        Ok(Driver { config, vision, state, hint, language, perception, expert })
    }

    /// The shape of the driver.
    pub fn config(&self) -> &DriverConfig {
        &self.config
    }

    /// The decoder.
    pub fn language(&self) -> &Model {
        &self.language
    }

    /// Stage 1: the image tokens `[num_tokens, hidden_size]` of the patches `[num_patches, patch_len]`, kept in `step`.
    ///
    /// # Panics
    /// If `patches` has another length.
    pub fn see(&self, cpu: &Cpu, patches: &[f32], step: &mut DriverStep) {
        let vision = &self.config.vision;
        assert_eq!(patches.len(), vision.num_patches() * vision.patch_len(), "all patches of all cameras");
        let tokens = sized(&mut step.prompt, vision.num_tokens() * self.config.text.hidden_size);
        self.vision.forward(cpu, patches, &mut step.vision, tokens);
    }

    /// Stage 2, beginning: reads image tokens, state, hint and `tokens` (`<bos> instruction <think>`) as a new sequence;
    /// [`DriverStep::logits`] then say what comes next.
    ///
    /// # Errors
    /// A token is outside the vocabulary, or there are more than the context holds.
    pub fn read(
        &self,
        cpu: &Cpu,
        state: &[f32; STATE_DIM],
        hint: &[f32; HINT_DIM],
        tokens: &[u32],
        step: &mut DriverStep,
    ) -> Result<(), ForwardError> {
        let width = self.config.text.hidden_size;
        let (prefix, images) = (self.config.prefix_rows(), self.config.vision.num_tokens());
        let DriverStep { prompt, features, inner, activations, .. } = step;
        let rows = prefix + tokens.len();
        let prompt = sized(prompt, rows * width);
        let (numbers, words) = prompt[images * width..].split_at_mut(2 * width);
        let (state_row, hint_row) = numbers.split_at_mut(width);
        let mut buffers = (features, inner, activations);
        self.state.forward(cpu, state, &mut buffers, state_row);
        self.hint.forward(cpu, hint, &mut buffers, hint_row);
        self.language.embed_tokens(cpu, tokens, words)?;
        step.restart(&self.language, &self.config)?;
        let DriverStep { prompt, sequence: Some(sequence), scratch, logits, states, .. } = step else {
            return Ok(());
        };
        let input = Input::Embeddings(&prompt[..rows * width]);
        let segment = Segment { input, state: sequence, phase: Phase::Prefill, logits: LogitsWanted::Last };
        self.language.forward_with_states(cpu, &mut [segment], scratch, logits, states)
    }

    /// Stage 2, going on: appends tokens of the reasoning; the last is `</think>`, and then no logits are wanted.
    ///
    /// # Errors
    /// A token is outside the vocabulary, there are more than the context holds, or nothing has been read yet.
    pub fn append(
        &self,
        cpu: &Cpu,
        tokens: &[u32],
        wanted: LogitsWanted,
        step: &mut DriverStep,
    ) -> Result<(), ForwardError> {
        let DriverStep { sequence: Some(sequence), scratch, logits, states, .. } = step else {
            return Err(ForwardError::NothingRead);
        };
        let input = Input::Tokens(tokens);
        let segment = Segment { input, state: sequence, phase: Phase::Decode, logits: wanted };
        self.language.forward_with_states(cpu, &mut [segment], scratch, logits, states)
    }

    /// What the perception head reads off the scene, `[perception_dim]`. It looks at the row of the hint, so it is ready
    /// after [`Driver::read`].
    ///
    /// # Errors
    /// Nothing has been read yet.
    pub fn perceive(&self, cpu: &Cpu, step: &mut DriverStep, out: &mut Vec<f32>) -> Result<(), ForwardError> {
        let width = self.config.text.hidden_size;
        let row = self.config.prefix_rows() - 1;
        let DriverStep { states, activations, .. } = step;
        let state = states.get(row * width..(row + 1) * width).ok_or(ForwardError::NothingRead)?;
        out.resize(self.config.perception_dim, 0.0);
        let x = activations.prepare(cpu, state, width, [self.perception.weight.format()]);
        linear(cpu, &self.perception, x, out);
        Ok(())
    }

    /// Stage 3, beginning: the keys and values of everything read and thought, once for all plans of this step.
    ///
    /// # Errors
    /// Nothing has been read yet.
    pub fn prepare_plans(&self, cpu: &Cpu, step: &mut DriverStep) -> Result<(), ForwardError> {
        let DriverStep { states, action, .. } = step;
        if states.is_empty() {
            return Err(ForwardError::NothingRead);
        }
        self.expert.read_context(cpu, states, action);
        Ok(())
    }

    /// Stage 3: a plan, as normalised waypoints `[horizon, 2]`, from the noise in `x`, in place.
    ///
    /// # Errors
    /// [`Driver::prepare_plans`] has not been called in this step.
    ///
    /// # Panics
    /// If `x` has another length.
    pub fn plan(&self, cpu: &Cpu, x: &mut [f32], step: &mut DriverStep) -> Result<(), ForwardError> {
        self.check_plan(x, step)?;
        self.expert.denoise(cpu, x, &mut step.action);
        Ok(())
    }

    /// The velocity of the flow `[horizon, 2]` at `x` and time `t` (1 is noise, 0 a plan).
    ///
    /// # Errors
    /// As [`Driver::plan`].
    ///
    /// # Panics
    /// As [`Driver::plan`].
    pub fn velocity(
        &self,
        cpu: &Cpu,
        x: &[f32],
        t: f64,
        step: &mut DriverStep,
        out: &mut [f32],
    ) -> Result<(), ForwardError> {
        self.check_plan(x, step)?;
        self.expert.velocity(cpu, x, t, &mut step.action, out);
        Ok(())
    }

    fn check_plan(&self, x: &[f32], step: &DriverStep) -> Result<(), ForwardError> {
        let action = &self.config.action;
        assert_eq!(x.len(), action.horizon * action.action_dim, "two values for each waypoint");
        if step.action.is_ready() { Ok(()) } else { Err(ForwardError::NothingRead) }
    }
}

impl FeatureProjection {
    fn forward(
        &self,
        cpu: &Cpu,
        features: &[f32],
        (inner, activated, activations): &mut (&mut Vec<f32>, &mut Vec<f32>, &mut ActivationBuffer),
        out: &mut [f32],
    ) {
        let width = self.input.weight.rows();
        let x = activations.prepare(cpu, features, features.len(), [self.input.weight.format()]);
        let inner = sized(inner, width);
        linear(cpu, &self.input, x, inner);
        let activated = sized(activated, width);
        ops::silu_forward(cpu.isa, inner, activated);
        let x = activations.prepare(cpu, activated, width, [self.output.weight.format()]);
        linear(cpu, &self.output, x, out);
    }
}

/// Compares the whole list of tensors with the file: nothing missing, misshapen, or left over.
fn check_tensors(checkpoint: &Checkpoint, config: &DriverConfig) -> Result<(), ModelError> {
    let path = || checkpoint.path().to_path_buf();
    let expected: HashMap<String, Vec<usize>> = config.tensors().into_iter().collect();
    for (name, shape) in config.tensors() {
        match checkpoint.tensor(&name) {
            None => return Err(ModelError::MissingTensor { path: path(), name }),
            Some(tensor) if tensor.shape != shape => {
                let found = tensor.shape.clone();
                return Err(ModelError::Shape { path: path(), name, found, expected: shape });
            }
            Some(_) => {}
        }
    }
    let mut surplus =
        checkpoint.tensors().filter(|t| !expected.contains_key(&t.name) && !t.name.ends_with("_scale_inv"));
    match surplus.next() {
        None => Ok(()),
        Some(first) => {
            let first = first.name.clone();
            Err(ModelError::Surplus { path: path(), first, count: 1 + surplus.count() })
        }
    }
}
