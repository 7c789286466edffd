//! Looks tensors up by place and part, checks their shapes, and knows in the end which were never asked for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::path::PathBuf;

use ergon_checkpoint::{Checkpoint, CheckpointKind, Tensor, TensorBytes};
use ergon_kernels::{Cpu, MatrixRef, dequantize_row};
use ergon_types::WeightFormat;

use crate::config::Config;
use crate::error::ModelError;
use crate::matrix::Matrix;
use crate::names::{HF_STACKED_EXPERTS_DOWN, Part, Place, is_ignorable, stem};
use crate::weights::{Expert, Linear};

pub(crate) struct Binder<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    /// What stands before the names of the decoder's tensors: `language_model.` where it is a part of a larger model.
    prefix: &'static str,
    /// Whether matrices are read into memory here. The routed experts never are: they are read when they are visited.
    in_memory: bool,
    used: RefCell<HashSet<String>>,
}

impl<'a> Binder<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint, config: &'a Config) -> Binder<'a> {
        Binder { checkpoint, config, prefix: "", in_memory: false, used: RefCell::new(HashSet::new()) }
    }

    /// Matrices are copies in memory, and of the routed experts only the places are taken.
    pub(crate) fn in_memory(checkpoint: &'a Checkpoint, config: &'a Config) -> Binder<'a> {
        Binder { in_memory: true, ..Binder::new(checkpoint, config) }
    }

    /// A decoder whose tensors have `prefix` before their names. What [`Binder::whole_matrix`] and its siblings bind is
    /// named in full.
    pub(crate) fn with_prefix(
        checkpoint: &'a Checkpoint,
        config: &'a Config,
        prefix: &'static str,
    ) -> Binder<'a> {
        Binder { prefix, ..Binder::new(checkpoint, config) }
    }

    /// Whether routed experts stay where they are while everything else is read into memory.
    pub(crate) fn leaves_experts(&self) -> bool {
        self.in_memory
    }

    /// The matrix `[rows, cols]` named `name`.
    pub(crate) fn whole_matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Matrix, ModelError> {
        self.bind(self.whole(name)?, &[rows, cols])
    }

    /// The small tensor of shape `shape` named `name`, as f32.
    pub(crate) fn whole_floats(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.floats(self.whole(name)?, shape)
    }

    fn whole(&self, name: &str) -> Result<&'a Tensor, ModelError> {
        let missing = || ModelError::MissingTensor { path: self.path(), name: name.to_string() };
        let tensor = self.checkpoint.tensor(name).ok_or_else(missing)?;
        self.used.borrow_mut().insert(tensor.name.clone());
        Ok(tensor)
    }

    /// A matrix `[rows, cols]` that has to be there.
    pub(crate) fn matrix(
        &self,
        place: Place,
        part: Part,
        rows: usize,
        cols: usize,
    ) -> Result<Matrix, ModelError> {
        self.optional_matrix(place, part, rows, cols)?.ok_or_else(|| self.missing(place, part))
    }

    /// A matrix `[rows, cols]`, if it is there.
    pub(crate) fn optional_matrix(
        &self,
        place: Place,
        part: Part,
        rows: usize,
        cols: usize,
    ) -> Result<Option<Matrix>, ModelError> {
        let Some(tensor) = self.find(place, part, "weight") else { return Ok(None) };
        self.bind(tensor, &[rows, cols]).map(Some)
    }

    /// Matrices `[count, rows, cols]` stored as one tensor, taken as `count * rows` rows. A two-dimensional tensor of
    /// the same rows is accepted too.
    pub(crate) fn optional_stack(
        &self,
        place: Place,
        part: Part,
        [count, rows, cols]: [usize; 3],
    ) -> Result<Option<Matrix>, ModelError> {
        let Some(tensor) = self.find(place, part, "weight") else { return Ok(None) };
        let shape = self.stack_shape(tensor, [count, rows, cols])?;
        self.bind(tensor, &shape).map(Some)
    }

    /// Matrices of all experts stored as one tensor, if it is there.
    fn optional_experts(
        &self,
        place: Place,
        part: Part,
        extents: [usize; 3],
    ) -> Result<Option<Matrix>, ModelError> {
        self.find(place, part, "weight").map(|tensor| self.stored_experts(tensor, extents)).transpose()
    }

    fn stored_experts(&self, tensor: &Tensor, extents: [usize; 3]) -> Result<Matrix, ModelError> {
        self.bind_stored(tensor, &self.stack_shape(tensor, extents)?)
    }

    /// The shape that a tensor of stacked matrices must have.
    fn stack_shape(
        &self,
        tensor: &Tensor,
        [count, rows, cols]: [usize; 3],
    ) -> Result<Vec<usize>, ModelError> {
        if tensor.format == Some(WeightFormat::F8E4M3) {
            // Its scale blocks would have to restart at each expert, and no published file does this.
            return Err(self.wrong_format(tensor, "for a stack of matrices"));
        }
        Ok(if tensor.shape.len() == 2 { vec![count * rows, cols] } else { vec![count, rows, cols] })
    }

    /// A matrix with its bias, if it has one.
    pub(crate) fn linear(
        &self,
        place: Place,
        part: Part,
        rows: usize,
        cols: usize,
    ) -> Result<Linear, ModelError> {
        let weight = self.matrix(place, part, rows, cols)?;
        let bias = match self.find(place, part, "bias") {
            None => None,
            Some(tensor) => Some(self.floats(tensor, &[rows])?),
        };
        Ok(Linear { weight, bias })
    }

    /// A vector that has to be there, as f32.
    pub(crate) fn vector(&self, place: Place, part: Part, len: usize) -> Result<Vec<f32>, ModelError> {
        self.optional_vector(place, part, len)?.ok_or_else(|| self.missing(place, part))
    }

    /// A vector as f32, if it is there. The router's correction is named as a bias in GGUF files.
    pub(crate) fn optional_vector(
        &self,
        place: Place,
        part: Part,
        len: usize,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let tensor = self.find(place, part, "weight").or_else(|| self.find(place, part, "bias"));
        tensor.map(|tensor| self.floats(tensor, &[len])).transpose()
    }

    /// The experts of a layer, however they are stored: one tensor for each expert, one for all experts, or gate and
    /// up of all experts fused, gate rows first.
    pub(crate) fn experts(
        &self,
        place: Place,
        count: usize,
        width: usize,
        hidden: usize,
    ) -> Result<Vec<Expert>, ModelError> {
        if let Some(fused) = self.optional_experts(place, Part::ExpertsGateUp, [count, 2 * width, hidden])? {
            let down = self.stacked_down(place, count, width, hidden)?;
            return (0..count)
                .map(|expert| {
                    let first = expert * 2 * width;
                    Ok(Expert {
                        gate: fused.row_slice(first..first + width),
                        up: fused.row_slice(first + width..first + 2 * width),
                        down: down.row_slice(expert * hidden..(expert + 1) * hidden),
                    })
                })
                .collect();
        }
        let gate = self.expert_matrices(place, Part::ExpertsGate, count, width, hidden)?;
        let up = self.expert_matrices(place, Part::ExpertsUp, count, width, hidden)?;
        let down = self.expert_matrices(place, Part::ExpertsDown, count, hidden, width)?;
        let triples = gate.into_iter().zip(up).zip(down);
        Ok(triples.map(|((gate, up), down)| Expert { gate, up, down }).collect())
    }

    fn stacked_down(
        &self,
        place: Place,
        count: usize,
        width: usize,
        hidden: usize,
    ) -> Result<Matrix, ModelError> {
        let shape = [count, hidden, width];
        match (self.checkpoint.kind(), place) {
            (CheckpointKind::HuggingFace, Place::Layer(layer)) => {
                let name = format!("model.layers.{layer}.{HF_STACKED_EXPERTS_DOWN}");
                let tensor = self.find_stem(&name, "weight").ok_or_else(|| self.missing_name(name))?;
                self.stored_experts(tensor, shape)
            }
            _ => self
                .optional_experts(place, Part::ExpertsDown, shape)?
                .ok_or_else(|| self.missing(place, Part::ExpertsDown)),
        }
    }

    fn expert_matrices(
        &self,
        place: Place,
        part: Part,
        count: usize,
        rows: usize,
        cols: usize,
    ) -> Result<Vec<Matrix>, ModelError> {
        if self.checkpoint.kind() == CheckpointKind::Gguf
            && let Some(stack) = self.optional_experts(place, part, [count, rows, cols])?
        {
            return Ok((0..count)
                .map(|expert| stack.row_slice(expert * rows..(expert + 1) * rows))
                .collect());
        }
        // One tensor for each expert: as Hugging Face stores them, and GGUF files for this runtime.
        let pattern = stem(self.checkpoint.kind(), place, part).unwrap_or_default();
        let one = |expert: usize| {
            let name = match self.checkpoint.kind() {
                CheckpointKind::HuggingFace => pattern.replace("{}", &expert.to_string()),
                CheckpointKind::Gguf => pattern.replace("_exps", &format!(".{expert}")),
            };
            match self.find_stem(&name, "weight") {
                Some(tensor) => self.bind_stored(tensor, &[rows, cols]),
                // A file without any is asked for the form that everyone writes.
                None if expert == 0 && self.checkpoint.kind() == CheckpointKind::Gguf => {
                    Err(self.missing(place, part))
                }
                None => Err(self.missing_name(format!("{name}.weight"))),
            }
        };
        (0..count).map(one).collect()
    }

    /// Whether names and conventions are those of the Hugging Face hub.
    pub(crate) fn is_hugging_face(&self) -> bool {
        self.checkpoint.kind() == CheckpointKind::HuggingFace
    }

    /// The error for a part that is not there.
    pub(crate) fn missing(&self, place: Place, part: Part) -> ModelError {
        let stem = stem(self.checkpoint.kind(), place, part).unwrap_or_else(|| format!("{part:?}"));
        // The one parameter that is no module of its own.
        let suffix = if part == Part::ScoreCorrectionBias { "" } else { ".weight" };
        self.missing_name(format!("{stem}{suffix}"))
    }

    fn missing_name(&self, name: String) -> ModelError {
        ModelError::MissingTensor { path: self.path(), name: format!("{}{name}", self.prefix) }
    }

    /// Refuses a checkpoint with tensors that nothing asked for: it is a variant that would be computed wrongly.
    pub(crate) fn finish(self) -> Result<(), ModelError> {
        // Files may hold a multi-token-prediction layer that the config does not announce, and a head of their own
        // beside a tied one. A plain layer after the last one means that the config is of another model.
        let after_layers = Place::Layer(self.config.num_hidden_layers);
        let nextn = self.find(after_layers, Part::NextnEhProj, "weight").is_some();
        let after_layers = [
            format!("{}model.layers.{}.", self.prefix, self.config.num_hidden_layers),
            format!("blk.{}.", self.config.num_hidden_layers),
        ];
        let tied_head = format!("{}lm_head.weight", self.prefix);
        let used = self.used.take();
        let spare = |name: &str| {
            is_ignorable(name)
                || nextn && after_layers.iter().any(|prefix| name.starts_with(prefix))
                || (self.config.tie_word_embeddings && name == tied_head)
        };
        let mut surplus = self
            .checkpoint
            .tensors()
            .map(|tensor| tensor.name.as_str())
            .filter(|name| !used.contains(*name) && !spare(name));
        match surplus.next() {
            None => Ok(()),
            Some(first) => Err(ModelError::Surplus {
                path: self.path(),
                first: first.to_string(),
                count: 1 + surplus.count(),
            }),
        }
    }

    fn find(&self, place: Place, part: Part, suffix: &str) -> Option<&'a Tensor> {
        self.find_stem(&stem(self.checkpoint.kind(), place, part)?, suffix)
    }

    /// `stem.suffix`, or for weights the stem alone (parameters that are no module of their own have no suffix).
    fn find_stem(&self, stem: &str, suffix: &str) -> Option<&'a Tensor> {
        let stem = format!("{}{stem}", self.prefix);
        let bare = (suffix == "weight").then_some(stem.as_str());
        let tensor = self
            .checkpoint
            .tensor(&format!("{stem}.{suffix}"))
            .or_else(|| bare.and_then(|name| self.checkpoint.tensor(name)))?;
        self.used.borrow_mut().insert(tensor.name.clone());
        Some(tensor)
    }

    /// A tensor of the given shape as a matrix whose columns are the innermost extent.
    fn bind(&self, tensor: &Tensor, shape: &[usize]) -> Result<Matrix, ModelError> {
        if self.in_memory {
            // Checked before it is read.
            self.check(tensor, shape, "for a weight matrix")?;
            return self.bind_bytes(tensor, shape, tensor.data.to_memory()?);
        }
        self.bind_stored(tensor, shape)
    }

    /// As [`Binder::bind`], and its bytes stay in their file.
    fn bind_stored(&self, tensor: &Tensor, shape: &[usize]) -> Result<Matrix, ModelError> {
        self.bind_bytes(tensor, shape, tensor.data.clone())
    }

    fn bind_bytes(&self, tensor: &Tensor, shape: &[usize], data: TensorBytes) -> Result<Matrix, ModelError> {
        let format = self.check(tensor, shape, "for a weight matrix")?;
        let (cols, rows) = shape.split_last().map_or((1, 1), |(cols, outer)| (*cols, outer.iter().product()));
        let wrong = |source| ModelError::Matrix { path: self.path(), name: tensor.name.clone(), source };
        let matrix = Matrix::new(tensor, format, [rows, cols], data).map_err(wrong)?;
        if format != WeightFormat::F8E4M3 {
            return Ok(matrix);
        }
        let name = format!("{}_scale_inv", tensor.name);
        let missing = || ModelError::MissingTensor { path: self.path(), name: name.clone() };
        let scales = self.checkpoint.tensor(&name).ok_or_else(missing)?;
        self.used.borrow_mut().insert(name);
        let block = self.config.weight_block_size;
        let scales = self.floats(scales, &[rows.div_ceil(block[0]), cols.div_ceil(block[1])])?;
        matrix.with_block_scales(scales, block).map_err(wrong)
    }

    /// The values of a small tensor as f32.
    fn floats(&self, tensor: &Tensor, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let format = self.check(tensor, shape, "for a vector")?;
        let (rows, cols) = match shape {
            [rows, cols] => (*rows, *cols),
            _ => (1, tensor.elements()),
        };
        let wrong = |source| ModelError::Matrix { path: self.path(), name: tensor.name.clone(), source };
        let view = MatrixRef::new(format, rows, cols, &tensor.data).map_err(wrong)?;
        let mut values = vec![0.0; rows * cols];
        // Once per tensor while loading: not worth a thread pool.
        let cpu = Cpu::new(1);
        for (row, out) in values.chunks_exact_mut(cols.max(1)).enumerate() {
            dequantize_row(&cpu, view, row, out);
        }
        // A NaN here need not reach the logits: a router's correction that is no number just picks other experts.
        if values.iter().any(|value| !value.is_finite()) {
            return Err(ModelError::NotFinite { path: self.path(), name: tensor.name.clone() });
        }
        Ok(values)
    }

    fn check(
        &self,
        tensor: &Tensor,
        shape: &[usize],
        context: &'static str,
    ) -> Result<WeightFormat, ModelError> {
        if tensor.shape != shape {
            return Err(ModelError::Shape {
                path: self.path(),
                name: tensor.name.clone(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        tensor.format.ok_or_else(|| self.wrong_format(tensor, context))
    }

    fn wrong_format(&self, tensor: &Tensor, context: &'static str) -> ModelError {
        let dtype = tensor.dtype_name.to_string();
        ModelError::Format { path: self.path(), name: tensor.name.clone(), dtype, context }
    }

    fn path(&self) -> PathBuf {
        self.checkpoint.path().to_path_buf()
    }
}

/// Divisors of the rotary frequencies, which GGUF files of Llama 3 carry as a tensor `[rotary dim / 2]`.
pub(crate) fn rope_factors(checkpoint: &Checkpoint, config: &Config) -> Result<Option<Vec<f32>>, ModelError> {
    let Some(tensor) = checkpoint.tensor("rope_freqs.weight") else { return Ok(None) };
    Binder::new(checkpoint, config).floats(tensor, &[config.rope.dim / 2]).map(Some)
}
