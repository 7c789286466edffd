//! How weights are stored: the one table of formats, their names and their block sizes.

use std::fmt;

/// A storage format of weights. Float formats are blocks of one weight; the others group `block_len` weights of one
/// row into `block_bytes` bytes (layouts: the kernels crate, one file per format).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// 1-4-3 bits, no infinities (OCP "e4m3fn"); scales live in a tensor of their own.
    F8E4M3,
    /// 32 weights of 4 bits, one half scale.
    Q4_0,
    /// 32 weights of 4 bits, half scale and minimum.
    Q4_1,
    /// 32 weights of 5 bits, one half scale.
    Q5_0,
    /// 32 weights of 5 bits, half scale and minimum.
    Q5_1,
    /// 32 weights of 8 bits, one half scale.
    Q8_0,
    /// 256 weights of 2 bits, 4-bit scales and minima per 16.
    Q2K,
    /// 256 weights of 3 bits, 6-bit scales per 16.
    Q3K,
    /// 256 weights of 4 bits, 6-bit scales and minima per 32.
    Q4K,
    /// 256 weights of 5 bits, 6-bit scales and minima per 32.
    Q5K,
    /// 256 weights of 6 bits, 8-bit scales per 16.
    Q6K,
    /// 32 weights of 4 bits through a non-linear table, one half scale.
    Iq4Nl,
    /// 256 weights of 4 bits through the same table, 6-bit scales per 32.
    Iq4Xs,
    /// 32 weights of e2m1, one power-of-two scale (OCP microscaling).
    Mxfp4,
}

impl WeightFormat {
    /// Every format, in the order of the enum.
    pub const ALL: [WeightFormat; 17] = [
        WeightFormat::F32,
        WeightFormat::F16,
        WeightFormat::Bf16,
        WeightFormat::F8E4M3,
        WeightFormat::Q4_0,
        WeightFormat::Q4_1,
        WeightFormat::Q5_0,
        WeightFormat::Q5_1,
        WeightFormat::Q8_0,
        WeightFormat::Q2K,
        WeightFormat::Q3K,
        WeightFormat::Q4K,
        WeightFormat::Q5K,
        WeightFormat::Q6K,
        WeightFormat::Iq4Nl,
        WeightFormat::Iq4Xs,
        WeightFormat::Mxfp4,
    ];

    /// Name, weights per block, bytes per block.
    const fn row(self) -> (&'static str, usize, usize) {
        match self {
            WeightFormat::F32 => ("f32", 1, 4),
            WeightFormat::F16 => ("f16", 1, 2),
            WeightFormat::Bf16 => ("bf16", 1, 2),
            WeightFormat::F8E4M3 => ("f8_e4m3", 1, 1),
            WeightFormat::Q4_0 => ("q4_0", 32, 18),
            WeightFormat::Q4_1 => ("q4_1", 32, 20),
            WeightFormat::Q5_0 => ("q5_0", 32, 22),
            WeightFormat::Q5_1 => ("q5_1", 32, 24),
            WeightFormat::Q8_0 => ("q8_0", 32, 34),
            WeightFormat::Q2K => ("q2_k", 256, 84),
            WeightFormat::Q3K => ("q3_k", 256, 110),
            WeightFormat::Q4K => ("q4_k", 256, 144),
            WeightFormat::Q5K => ("q5_k", 256, 176),
            WeightFormat::Q6K => ("q6_k", 256, 210),
            WeightFormat::Iq4Nl => ("iq4_nl", 32, 18),
            WeightFormat::Iq4Xs => ("iq4_xs", 256, 136),
            WeightFormat::Mxfp4 => ("mxfp4", 32, 17),
        }
    }

    /// The name used on the command line and in packed files, e.g. `q4_k`.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<WeightFormat> {
        WeightFormat::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Weights in one block.
    pub const fn block_len(self) -> usize {
        self.row().1
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        self.row().2
    }

    /// Bytes of one row of `cols` weights; `None` if `cols` is no multiple of the block or the size overflows.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for format in WeightFormat::ALL {
            assert_eq!(WeightFormat::from_name(format.name()), Some(format));
        }
        assert_eq!(WeightFormat::from_name("Q4_K"), Some(WeightFormat::Q4K));
    }

    #[test]
    fn a_row_holds_whole_blocks() {
        assert_eq!(WeightFormat::Q4K.row_bytes(512), Some(288));
        assert_eq!(WeightFormat::Q4K.row_bytes(500), None);
        assert_eq!(WeightFormat::F32.row_bytes(usize::MAX), None);
    }
}
