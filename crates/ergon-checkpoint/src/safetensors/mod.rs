//! safetensors: one file or shards with an index.

mod dtype;
mod header;
mod index;
pub(crate) mod packed;

pub use dtype::Dtype;
pub use header::{Entry, Header, parse};
pub use index::parse_index;
pub(crate) use index::{Weights, find, shard_names};

use crate::{CheckpointError, FormatError, Tensor, TensorBytes, metadata::excerpt};
use std::{collections::HashSet, path::Path};

/// Maps every file and names every tensor.
pub(crate) fn open(weights: &Weights) -> Result<Vec<Tensor>, CheckpointError> {
    match weights {
        Weights::Single(path) => open_file(path),
        Weights::Sharded(index) => {
            let mut tensors = Vec::new();
            for (path, expected) in index.shards() {
                if !crate::files::exists(path)? {
                    let what = format!("is missing, but {} names it", index::INDEX_NAME);
                    return Err(CheckpointError::not_a_model(path, what));
                }
                let shard = open_file(path)?;
                check_expected(path, &shard, expected)?;
                tensors.extend(shard);
            }
            Ok(tensors)
        }
    }
}

fn check_expected(path: &Path, shard: &[Tensor], expected: &[String]) -> Result<(), CheckpointError> {
    let present: HashSet<&str> = shard.iter().map(|tensor| tensor.name.as_str()).collect();
    match expected.iter().find(|name| !present.contains(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let what =
                format!("lacks the tensor '{}', which {} puts there", excerpt(name), index::INDEX_NAME);
            Err(CheckpointError::format(path, FormatError::new(what)))
        }
    }
}

/// The tensors of one file.
fn open_file(path: &Path) -> Result<Vec<Tensor>, CheckpointError> {
    let bytes = TensorBytes::open(path)?;
    read(&bytes).map_err(|reason| CheckpointError::format(path, reason))
}

/// The tensors of a whole safetensors file, packed ones under their logical shape.
///
/// # Errors
/// What [`parse`] reports, or a packed tensor that is not what its description says.
pub fn read(bytes: &TensorBytes) -> Result<Vec<Tensor>, FormatError> {
    let header = parse(bytes)?;
    let packed = packed::declarations(&header)?;
    let checksums = packed::checksums(&header)?;
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for entry in &header.tensors {
        let data = bytes
            .slice(entry.range.clone())
            .ok_or_else(|| FormatError::new("a tensor lies outside the file"))?;
        let name = entry.name.clone();
        let checksum = checksums.get(entry.name.as_str()).copied();
        tensors.push(match packed.get(entry.name.as_str()) {
            Some((format, shape)) => {
                packed::check(entry, *format, shape)?;
                Tensor {
                    name,
                    format: Some(*format),
                    dtype_name: format.name(),
                    shape: shape.clone(),
                    data,
                    checksum,
                }
            }
            None => {
                let Dtype { name: dtype_name, format, .. } = entry.dtype;
                Tensor { name, format, dtype_name, shape: entry.shape.clone(), data, checksum }
            }
        });
    }
    Ok(tensors)
}
