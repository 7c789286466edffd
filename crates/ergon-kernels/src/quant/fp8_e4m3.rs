//! F8_E4M3: one byte a weight: sign, 4 bits of exponent with bias 7, 3 bits of mantissa; no infinities, 0x7f and 0xff
//! are NaN (OCP 8-bit floating point, "e4m3fn"). DeepSeek stores a scale for each block of 128 x 128 weights in a tensor
//! beside it (`MatrixRef::with_block_scales`).

use crate::{
    float,
    quant::floats::{Float, float_of},
    simd::Simd,
};

/// See the module.
#[derive(Clone, Copy)]
pub(crate) struct F8E4M3;

impl Float for F8E4M3 {
    float_of!(1);
    const CAN_WRITE: bool = false;

    #[inline(always)]
    fn load<S: Simd>(s: S, bytes: &[u8; 16]) -> S::F32 {
        s.load_f8e4m3_bytes(bytes)
    }

    fn read(bytes: &[u8]) -> f32 {
        float::f8e4m3_to_f32(bytes[0])
    }

    fn write(_: f32, _: &mut [u8]) {}
}
