//! The tensor types of GGUF: numbers, names and block sizes (`enum ggml_type` and its traits table in ggml.h / ggml.c).

use ergon_types::WeightFormat;

/// One tensor type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgmlType {
    /// The number in the file.
    pub id: u32,
    /// ggml's name, upper case.
    pub name: &'static str,
    /// Weights per block.
    pub block_len: usize,
    /// Bytes per block.
    pub block_bytes: usize,
    /// The format we compute with; `None` for types that can be listed but not run.
    pub format: Option<WeightFormat>,
}

impl GgmlType {
    /// The type with that number.
    pub fn from_id(id: u32) -> Option<GgmlType> {
        TYPES.into_iter().find(|known| known.id == id)
    }

    /// Bytes of one row of `cols` weights; `None` if `cols` is no multiple of the block or the size overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len) {
            return None;
        }
        (cols / self.block_len).checked_mul(self.block_bytes)
    }
}

/// A type we compute with takes its block size from the one table of formats.
const fn known(id: u32, name: &'static str, format: WeightFormat) -> GgmlType {
    GgmlType {
        id,
        name,
        block_len: format.block_len(),
        block_bytes: format.block_bytes(),
        format: Some(format),
    }
}

const fn other(id: u32, name: &'static str, block_len: usize, block_bytes: usize) -> GgmlType {
    GgmlType { id, name, block_len, block_bytes, format: None }
}

const TYPES: [GgmlType; 33] = [
    known(0, "F32", WeightFormat::F32),
    known(1, "F16", WeightFormat::F16),
    known(2, "Q4_0", WeightFormat::Q4_0),
    known(3, "Q4_1", WeightFormat::Q4_1),
    known(6, "Q5_0", WeightFormat::Q5_0),
    known(7, "Q5_1", WeightFormat::Q5_1),
    known(8, "Q8_0", WeightFormat::Q8_0),
    other(9, "Q8_1", 32, 36),
    known(10, "Q2_K", WeightFormat::Q2K),
    known(11, "Q3_K", WeightFormat::Q3K),
    known(12, "Q4_K", WeightFormat::Q4K),
    known(13, "Q5_K", WeightFormat::Q5K),
    known(14, "Q6_K", WeightFormat::Q6K),
    other(15, "Q8_K", 256, 292),
    other(16, "IQ2_XXS", 256, 66),
    other(17, "IQ2_XS", 256, 74),
    other(18, "IQ3_XXS", 256, 98),
    other(19, "IQ1_S", 256, 50),
    known(20, "IQ4_NL", WeightFormat::Iq4Nl),
    other(21, "IQ3_S", 256, 110),
    other(22, "IQ2_S", 256, 82),
    known(23, "IQ4_XS", WeightFormat::Iq4Xs),
    other(24, "I8", 1, 1),
    other(25, "I16", 1, 2),
    other(26, "I32", 1, 4),
    other(27, "I64", 1, 8),
    other(28, "F64", 1, 8),
    other(29, "IQ1_M", 256, 56),
    known(30, "BF16", WeightFormat::Bf16),
    other(34, "TQ1_0", 256, 54),
    other(35, "TQ2_0", 256, 66),
    known(39, "MXFP4", WeightFormat::Mxfp4),
    other(40, "NVFP4", 64, 36),
];
