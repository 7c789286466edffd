//! First values of a training from a driver that is there already: a folder as [`Trainer::export`] writes it.

use super::optimizer::OptimizerState;
use super::params::Layout;
use super::trainer::{Position, Trainer};
use super::{Vocabulary, driver_config};
use ergon_checkpoint::{Checkpoint, CheckpointError, TokenizerError};
use ergon_kernels::dequantize_reference;
use ergon_model::{ConfigError, DriverConfig};
use std::path::{Path, PathBuf};

/// A model that a training cannot start from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// It cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is no driver.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its vocabulary cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// It is a driver of another shape.
    #[error("{}: {what}; a training can only start from a driver of the built-in shape", path.display())]
    Shape {
        /// The model.
        path: PathBuf,
        /// What is different.
        what: String,
    },
}

/// Whether a training of the built-in shape can start from the driver in a folder.
///
/// # Errors
/// It cannot; why.
pub(super) fn check(folder: &Path, layout: &Layout) -> Result<(), ImportError> {
    let checkpoint = Checkpoint::open(folder)?;
    let differs = |what: &str| ImportError::Shape { path: folder.to_path_buf(), what: what.to_string() };
    if DriverConfig::from_metadata(checkpoint.metadata())? != driver_config() {
        return Err(differs("its config.json says something else"));
    }
    if !Vocabulary::open(&folder.join("tokenizer.json"))?.is_ours() {
        return Err(differs("its vocabulary is another"));
    }
    if checkpoint.tensors().count() != layout.tensors().len() {
        return Err(differs("it has another number of tensors"));
    }
    read(layout, &checkpoint, folder).map(drop)
}

/// The mean of the parameters of two drivers.
///
/// # Errors
/// One of them cannot be read, or its tensors are not the network's.
pub(super) fn mean(layout: &Layout, [a, b]: [&Path; 2]) -> Result<Vec<f32>, ImportError> {
    let mut mean = values(layout, a)?;
    mean.iter_mut().zip(values(layout, b)?).for_each(|(mean, other)| *mean = 0.5 * (*mean + other));
    Ok(mean)
}

/// The parameters of the driver in a folder; 0 where a model has none, since it is there while learning only.
fn values(layout: &Layout, folder: &Path) -> Result<Vec<f32>, ImportError> {
    read(layout, &Checkpoint::open(folder)?, folder)
}

impl Trainer {
    /// Starts from the weights of a model instead of random ones; counters and moments are those of a new training.
    ///
    /// # Errors
    /// The model cannot be read, or its tensors are not the network's.
    pub fn start_from(&mut self, folder: &Path) -> Result<(), ImportError> {
        let values = values(self.network().layout(), folder)?;
        self.restore(OptimizerState::new(values), Position::default());
        Ok(())
    }
}

fn read(layout: &Layout, checkpoint: &Checkpoint, folder: &Path) -> Result<Vec<f32>, ImportError> {
    let mut values = vec![0.0; layout.len()];
    for tensor in layout.tensors() {
        let (name, expected) = (&tensor.name, tensor.stored_shape());
        let refused = |found: String| {
            let what = format!("tensor '{name}' {found}, the network's has the extents {expected:?}");
            ImportError::Shape { path: folder.to_path_buf(), what }
        };
        let stored = checkpoint.tensor(name).ok_or_else(|| refused("is missing".to_string()))?;
        if stored.shape != expected {
            return Err(refused(format!("has the extents {:?}", stored.shape)));
        }
        let format = stored.format.ok_or_else(|| refused(format!("is stored as {}", stored.dtype_name)))?;
        let (columns, kept) = tensor.row();
        let mut found = vec![0.0; tensor.len() / columns * kept];
        dequantize_reference(format, &stored.data, &mut found);
        if found.iter().any(|value| !value.is_finite()) {
            return Err(refused("holds a value that is no number".to_string()));
        }
        let rows = values[tensor.range()].chunks_exact_mut(columns);
        rows.zip(found.chunks_exact(kept)).for_each(|(own, found)| own[..kept].copy_from_slice(found));
    }
    Ok(values)
}
