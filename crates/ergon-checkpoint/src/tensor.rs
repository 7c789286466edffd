//! A named tensor of a checkpoint.

use crate::TensorBytes;
use ergon_types::WeightFormat;

/// A named tensor in its stored precision: a view, never a copy.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The name in the file.
    pub name: String,
    /// How the weights are stored; `None` if the type is none we compute with (integers, booleans, exotic formats).
    pub format: Option<WeightFormat>,
    /// The file's own name of the type, e.g. `BF16`, `Q4_K`, `I64`.
    pub dtype_name: &'static str,
    /// Extents, outermost first (GGUF's `ne` reversed). Empty for a scalar.
    pub shape: Vec<usize>,
    /// The stored bytes, row after row; their length is checked against format and shape.
    pub data: TensorBytes,
    /// CRC-32 of `data`, if the file names one (ours do for routed experts).
    pub checksum: Option<u32>,
}

impl Tensor {
    /// The number of elements. Cannot overflow: the loader checked the product.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}
