//! Weight formats: reading and writing against the reference implementation, on every instruction set.

#![allow(clippy::unwrap_used)] // The lint only knows functions marked as tests.

mod support;

use ergon_kernels::{
    Cpu, Isa, MatrixRef, can_quantize,
    cases::{self, Random},
    dequantize_reference, dequantize_row, float, quantize,
};
use ergon_types::WeightFormat;
use support::assert_same_bits;

/// One record of golden/formats.bin, see golden/make_formats.py.
struct Golden {
    format: WeightFormat,
    is_write: bool,
    bytes: Vec<u8>,
    weights: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    let mut data: &[u8] = include_bytes!("golden/formats.bin");
    let mut take = |n: usize| -> Option<&'static [u8]> {
        let (head, rest) = data.split_at_checked(n)?;
        data = rest;
        Some(head)
    };
    let u32_of = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
    let mut records = Vec::new();
    while let Some(name) = take(16).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).unwrap().trim_end_matches('\0');
        let kind = u32_of(take(4).unwrap());
        let (n, n_bytes) = (u32_of(take(4).unwrap()), u32_of(take(4).unwrap()));
        let bytes = take(n_bytes).unwrap().to_vec();
        let weights = take(4 * n).unwrap().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let format = WeightFormat::from_name(name).unwrap();
        records.push(Golden { format, is_write: kind == 1, bytes, weights });
    }
    records
}

#[test]
fn reading_is_exactly_the_reference_reading() {
    let records = golden();
    assert_eq!(records.iter().filter(|g| !g.is_write).count(), WeightFormat::ALL.len() - 1, "all but FP8");
    for g in records.iter().filter(|g| !g.is_write) {
        let mut got = vec![0.0; g.weights.len()];
        dequantize_reference(g.format, &g.bytes, &mut got);
        assert_same_bits(&got, &g.weights, g.format.name());
    }
}

#[test]
fn writing_is_exactly_the_reference_writing() {
    for g in golden().iter().filter(|g| g.is_write) {
        let mut got = vec![0; g.bytes.len()];
        quantize(g.format, g.weights.len(), &g.weights, &mut got).unwrap();
        assert_eq!(got, g.bytes, "{}", g.format);
    }
}

#[test]
fn every_fp8_number_is_read_as_specified() {
    // OCP 8-bit floating point, table 1: S.EEEE.MMM, bias 7; 1.125 = 0x39, largest 448 = 0x7e, least 2^-9 = 0x01.
    for (bits, value) in [
        (0x39, 1.125),
        (0x7e, 448.0),
        (0x01, 2f32.powi(-9)),
        (0x80, -0.0),
        (0xb8, -1.0),
        (0x08, 2f32.powi(-6)),
    ] {
        assert_eq!(float::f8e4m3_to_f32(bits).to_bits(), f32::to_bits(value), "{bits:#x}");
    }
    assert!(float::f8e4m3_to_f32(0x7f).is_nan() && float::f8e4m3_to_f32(0xff).is_nan());
}

#[test]
fn every_half_survives_a_round_trip() {
    for bits in 0..=u16::MAX {
        let value = float::f16_to_f32(bits);
        if value.is_nan() {
            assert!(float::f16_to_f32(float::f32_to_f16(value)).is_nan());
        } else {
            assert_eq!(float::f32_to_f16(value), bits);
        }
    }
}

#[test]
fn singles_round_to_the_nearest_half() {
    let mut random = Random::new(7);
    for _ in 0..200_000 {
        // Exponents around the range of halves.
        let exponent = 127 - 28 + random.bits() as u32 % 48;
        let value = f32::from_bits(exponent << 23 | random.bits() as u32 >> 9 | (random.bits() as u32) << 31);
        let bits = float::f32_to_f16(value);
        if value.abs() >= 65520.0 {
            assert_eq!(bits & 0x7fff, 0x7c00);
            continue;
        }
        let error = |bits: u16| (float::f16_to_f32(bits) as f64 - value as f64).abs();
        // Next to zero lies zero itself; above the largest half lies infinity, which is no nearer.
        let below = if bits & 0x7fff == 0 { f64::INFINITY } else { error(bits - 1) };
        let (here, above) = (error(bits), error(bits + 1));
        assert!(here <= below && here <= above, "{value:e} became {bits:#x}");
        if here == below || here == above {
            assert_eq!(bits & 1, 0, "{value:e}: a tie goes to even");
        }
    }
}

#[test]
fn fast_reading_is_the_reference_reading_on_every_instruction_set() {
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 1).unwrap();
        for format in WeightFormat::ALL {
            for blocks in [1, 2, 7, 8, 9, 19] {
                let cols = blocks * format.block_len().max(7);
                let mut bytes = cases::weights(format, 1, cols, blocks as u64);
                let mut want = vec![0.0; cols];
                for extreme in [None, Some(0x00), Some(0xff), Some(0x80), Some(0x7f), Some(0x7c)] {
                    if let Some(byte) = extreme {
                        bytes.fill(byte);
                    }
                    dequantize_reference(format, &bytes, &mut want);
                    let w = MatrixRef::new(format, 1, cols, &bytes).unwrap();
                    let mut got = vec![0.0; cols];
                    dequantize_row(&cpu, w, 0, &mut got);
                    assert_same_bits(&got, &want, &format!("{isa} {format} {cols} {extreme:?}"));
                }
            }
        }
    }
}

#[test]
fn every_bit_pattern_of_small_floats_is_read_alike() {
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 1).unwrap();
        let words: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        for (format, data) in
            [(WeightFormat::F16, &words), (WeightFormat::Bf16, &words), (WeightFormat::F8E4M3, &bytes)]
        {
            let cols = data.len() / format.block_bytes();
            let (mut want, mut got) = (vec![0.0; cols], vec![0.0; cols]);
            dequantize_reference(format, data, &mut want);
            dequantize_row(&cpu, MatrixRef::new(format, 1, cols, data).unwrap(), 0, &mut got);
            assert_same_bits(&got, &want, &format!("{isa} {format}"));
        }
    }
}

/// Root mean square error of writing normal numbers, relative to their own.
fn relative_error(format: WeightFormat, x: &[f32]) -> f64 {
    let mut bytes = vec![0; format.row_bytes(x.len()).unwrap()];
    quantize(format, x.len(), x, &mut bytes).unwrap();
    let mut back = vec![0.0; x.len()];
    dequantize_reference(format, &bytes, &mut back);
    let square = |v: f64| v * v;
    let error: f64 = x.iter().zip(&back).map(|(x, y)| square(*x as f64 - *y as f64)).sum();
    (error / x.iter().map(|x| square(*x as f64)).sum::<f64>()).sqrt()
}

#[test]
fn writers_lose_no_more_than_their_bits_allow() {
    let x = Random::new(3).normals(1 << 14);
    for (format, bound) in [
        (WeightFormat::F32, 0.0),
        (WeightFormat::F16, 3e-4),
        (WeightFormat::Bf16, 2e-3),
        (WeightFormat::Q8_0, 0.0060),
        (WeightFormat::Q6K, 0.0190),
        (WeightFormat::Q5K, 0.0370),
        (WeightFormat::Q4K, 0.0740),
        (WeightFormat::Q4_0, 0.0890),
        (WeightFormat::Iq4Nl, 0.0790),
        (WeightFormat::Mxfp4, 0.1300),
    ] {
        let error = relative_error(format, &x);
        println!("{format}: {error:.4}");
        assert!(error <= bound, "{format}: {error}");
    }
}

#[test]
fn writers_survive_every_number() {
    let patterns: [&[f32]; 9] = [
        &[0.0],
        &[f32::NAN],
        &[f32::INFINITY, 1.0],
        &[f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0],
        &[f32::MAX, f32::MIN],
        &[1e-45, -1e-45],
        &[f32::MIN_POSITIVE, 0.0],
        &[3.0],
        &[-7.0, -7.5],
    ];
    for format in WeightFormat::ALL.into_iter().filter(|format| can_quantize(*format)) {
        for pattern in patterns {
            let x: Vec<f32> = pattern.iter().copied().cycle().take(256).collect();
            let mut bytes = vec![0; format.row_bytes(256).unwrap()];
            quantize(format, 256, &x, &mut bytes).unwrap();
            let mut back = vec![0.0; 256];
            dequantize_reference(format, &bytes, &mut back);
            if pattern == [0.0] {
                assert!(back.iter().all(|v| *v == 0.0), "{format}: zeros stay zero");
            }
        }
    }
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let mut out = [0; 144];
    assert!(quantize(WeightFormat::Q3K, 256, &[0.0; 256], &mut out).is_err(), "no writer");
    assert!(quantize(WeightFormat::Q4K, 200, &[0.0; 200], &mut out).is_err(), "no whole block");
    assert!(quantize(WeightFormat::Q4K, 256, &[0.0; 512], &mut out).is_err(), "the output is too short");
    assert!(quantize(WeightFormat::Q4K, 0, &[], &mut []).is_err(), "no columns");
    assert!(MatrixRef::new(WeightFormat::Q4K, usize::MAX, 256, &out).is_err(), "the size overflows");
    assert!(MatrixRef::new(WeightFormat::Q4K, 1, 512, &out).is_err(), "too few bytes");
}
