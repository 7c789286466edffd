//! A trained network as a folder that the runtime loads: `config.json`, `tokenizer.json` and the averaged weights.

use super::params::{TensorInfo, TensorKind};
use super::trainer::Trainer;
use ergon_checkpoint::writer::{TensorSpec, WriteError, Writer};
use ergon_kernels::float::f32_to_bf16;
use ergon_types::WeightFormat;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The tokenizer's settings, in the words of published models.
const TOKENIZER_CONFIG: &str = "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"bos_token\": \"<bos>\", \
     \"eos_token\": \"</think>\", \"add_bos_token\": false, \"clean_up_tokenization_spaces\": false}\n";

/// A folder that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The operating system refused.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: io::Error,
    },
    /// The weights cannot be written.
    #[error(transparent)]
    Weights(#[from] WriteError),
    /// A tensor's size overflows.
    #[error("tensor '{name}' cannot be stored; lower the sizes of the network")]
    Tensor {
        /// The tensor.
        name: String,
    },
}

fn format_of(kind: TensorKind) -> WeightFormat {
    match kind {
        TensorKind::Matrix | TensorKind::Table => WeightFormat::Bf16,
        TensorKind::Vector | TensorKind::RouterBias => WeightFormat::F32,
    }
}

fn bytes_of(tensor: &TensorInfo, values: &[f32]) -> Vec<u8> {
    let (columns, kept) = tensor.row();
    let values = values.chunks_exact(columns).flat_map(|row| &row[..kept]);
    match format_of(tensor.kind) {
        WeightFormat::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
        _ => values.flat_map(|value| f32_to_bf16(*value).to_le_bytes()).collect(),
    }
}

impl Trainer {
    /// Writes the averaged weights, without what is there while learning only, with the given `config.json` and
    /// `tokenizer.json`, as a model folder. Files that are there are replaced; the weights last.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn export(&self, folder: &Path, config: &str, tokenizer: &str) -> Result<(), ExportError> {
        self.export_values(&self.state().average, folder, config, tokenizer)
    }

    /// As [`Trainer::export`], with these parameters.
    pub(super) fn export_values(
        &self,
        values: &[f32],
        folder: &Path,
        config: &str,
        tokenizer: &str,
    ) -> Result<(), ExportError> {
        let io_error = |path: &Path, reason| ExportError::Io { path: path.to_path_buf(), reason };
        fs::create_dir_all(folder).map_err(|reason| io_error(folder, reason))?;
        let texts = [
            ("config.json", config),
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", TOKENIZER_CONFIG),
        ];
        for (name, text) in texts {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|reason| io_error(&path, reason))?;
        }
        let tensors = self.network().layout().tensors();
        let specs = tensors.iter().map(|tensor| {
            TensorSpec::of_format(&tensor.name, format_of(tensor.kind), &tensor.stored_shape())
                .ok_or_else(|| ExportError::Tensor { name: tensor.name.clone() })
        });
        let specs = specs.collect::<Result<Vec<_>, _>>()?;
        let metadata = [("format".to_string(), "pt".to_string())];
        let mut writer = Writer::create(&folder.join("model.safetensors"), &specs, &metadata, true)?;
        for tensor in tensors {
            writer.write(&tensor.name, &bytes_of(tensor, &values[tensor.range()]))?;
        }
        Ok(writer.finish()?)
    }
}
