//! BF16: the upper halves of IEEE singles, little-endian, 2 bytes a weight.

use crate::{
    float,
    quant::floats::{Float, float_of},
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct Bf16;

impl Float for Bf16 {
    float_of!(2);
    const CAN_WRITE: bool = true;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8; 32]) -> S::F32 {
        s.load_bf16_bytes(bytes)
    }

    fn read(bytes: &[u8]) -> f32 {
        float::bf16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn write(value: f32, bytes: &mut [u8]) {
        bytes.copy_from_slice(&float::f32_to_bf16(value).to_le_bytes());
    }
}
