//! F16: IEEE halves, little-endian, 2 bytes a weight.

use crate::{
    float,
    quant::floats::{Float, float_of},
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct F16;

impl Float for F16 {
    float_of!(2);
    const CAN_WRITE: bool = true;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8; 32]) -> S::F32 {
        s.load_f16_bytes(bytes)
    }

    fn read(bytes: &[u8]) -> f32 {
        float::f16_at(bytes, 0)
    }

    fn write(value: f32, bytes: &mut [u8]) {
        bytes.copy_from_slice(&float::f32_to_f16(value).to_le_bytes());
    }
}
