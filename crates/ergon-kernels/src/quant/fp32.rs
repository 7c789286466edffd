//! F32: IEEE singles, little-endian, 4 bytes a weight.

use crate::{
    quant::floats::{Float, float_of},
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct F32;

impl Float for F32 {
    float_of!(4);
    const CAN_WRITE: bool = true;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8; 64]) -> S::F32 {
        s.load_f32_bytes(bytes)
    }

    fn read(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn write(value: f32, bytes: &mut [u8]) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}
