//! Inputs that tests and benchmarks share: reproducible random numbers and weights of every format.

use ergon_types::WeightFormat;

use crate::{can_quantize, float, quantize};

/// A small reproducible generator (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that will give the same numbers for the same seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    /// Bell-shaped, mean 0, deviation 1 (the sum of twelve uniform numbers).
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    /// `n` numbers of [`Random::normal`].
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }

    /// `n` random bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.bits() as u8).collect()
    }
}

/// Where a block of `format` holds halves (scale, minimum).
pub fn half_fields(format: WeightFormat) -> &'static [usize] {
    match format {
        WeightFormat::Q4_0
        | WeightFormat::Q5_0
        | WeightFormat::Q8_0
        | WeightFormat::Iq4Nl
        | WeightFormat::Iq4Xs => &[0],
        WeightFormat::Q4_1 | WeightFormat::Q5_1 | WeightFormat::Q4K | WeightFormat::Q5K => &[0, 2],
        WeightFormat::Q2K => &[80, 82],
        WeightFormat::Q3K => &[108],
        WeightFormat::Q6K => &[208],
        _ => &[],
    }
}

/// Random bytes of a `[rows, cols]` matrix: every bit pattern of the integers, scales of ordinary size.
///
/// # Panics
///
/// If rows of `cols` weights are no whole blocks.
pub fn weights(format: WeightFormat, rows: usize, cols: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let row_bytes = format.row_bytes(cols).expect("whole blocks");
    let mut bytes = random.bytes(rows * row_bytes);
    if format.block_len() == 1 && can_quantize(format) {
        let values = random.normals(rows * cols);
        quantize(format, cols, &values, &mut bytes).expect("the shape fits");
        return bytes;
    }
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for at in half_fields(format) {
            let scale = float::f32_to_f16(0.001 + 0.02 * random.unit());
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
        match format {
            WeightFormat::Mxfp4 => block[0] = 118 + block[0] % 8,
            // No NaN: it would hide everything else.
            WeightFormat::F8E4M3 if block[0] & 0x7f == 0x7f => block[0] = 0x38,
            _ => {}
        }
    }
    bytes
}
