//! The element types of safetensors.

use ergon_types::WeightFormat;

/// One element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dtype {
    /// The name in the header.
    pub name: &'static str,
    /// Bits per element; below 8 for the packed types.
    pub bits: usize,
    /// The format we compute with; `None` for types that are no weights.
    pub format: Option<WeightFormat>,
}

impl Dtype {
    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Dtype> {
        DTYPES.into_iter().find(|known| known.name == name)
    }

    /// The type a float format is stored as; `None` for block formats.
    pub fn of_format(format: WeightFormat) -> Option<Dtype> {
        DTYPES.into_iter().find(|known| known.format == Some(format))
    }
}

const fn dtype(name: &'static str, bits: usize, format: Option<WeightFormat>) -> Dtype {
    Dtype { name, bits, format }
}

const DTYPES: [Dtype; 20] = [
    dtype("F32", 32, Some(WeightFormat::F32)),
    dtype("F16", 16, Some(WeightFormat::F16)),
    dtype("BF16", 16, Some(WeightFormat::Bf16)),
    dtype("F8_E4M3", 8, Some(WeightFormat::F8E4M3)),
    dtype("F8_E5M2", 8, None),
    dtype("F8_E8M0", 8, None),
    dtype("F6_E2M3", 6, None),
    dtype("F6_E3M2", 6, None),
    dtype("F4", 4, None),
    dtype("F64", 64, None),
    dtype("C64", 64, None),
    dtype("I64", 64, None),
    dtype("U64", 64, None),
    dtype("I32", 32, None),
    dtype("U32", 32, None),
    dtype("I16", 16, None),
    dtype("U16", 16, None),
    dtype("I8", 8, None),
    dtype("U8", 8, None),
    dtype("BOOL", 8, None),
];
