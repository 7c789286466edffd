//! Matrix products: against double precision, and bit for bit between instruction sets, threads and company.

#![allow(clippy::unwrap_used)] // The lint only knows functions marked as tests.

mod support;

use ergon_kernels::{
    ActivationBuffer, Cpu, Isa, MatmulJob, MatrixRef, RowSet, TransposedJob, cases, cases::Random, matmul,
    matmul_jobs, matmul_transposed,
};
use ergon_types::WeightFormat;
use support::{Case, assert_same_bits, block_formats, float_formats, read, rounded};

/// Columns that end at, just before and just after the steps of the kernels.
fn odd_columns(format: WeightFormat) -> Vec<usize> {
    let block = format.block_len();
    match block {
        1 => vec![1, 7, 15, 16, 17, 31, 33, 48, 63, 80, 257, 520],
        32 => [1, 2, 3, 7, 8, 9, 20].map(|blocks| blocks * block).to_vec(),
        _ => [1, 2, 5].map(|blocks| blocks * block).to_vec(),
    }
}

fn cpu(isa: Isa) -> Cpu {
    Cpu::with_isa(isa, 2).unwrap()
}

#[test]
fn products_are_near_those_in_double_precision() {
    for isa in Isa::available() {
        let cpu = cpu(isa);
        for format in WeightFormat::ALL {
            for cols in odd_columns(format) {
                let case = Case::new(format, 5, cols, 6);
                let y = case.product(&cpu);
                for (i, x) in case.x.chunks(cols).enumerate() {
                    let x = rounded(format, x);
                    for (j, row) in case.weights.chunks(case.weights.len() / case.rows).enumerate() {
                        let w = read(format, row);
                        let exact: f64 = w.iter().zip(&x).map(|(w, x)| *w as f64 * x).sum();
                        // Formats with a minimum add terms as large as the largest weight and take them away again.
                        let largest = w.iter().fold(0.0, |max: f32, w| max.max(w.abs())) as f64;
                        let terms: f64 = x.iter().map(|x| 2.0 * largest * x.abs()).sum();
                        let (got, bound) = (y[i * case.rows + j] as f64, 1e-6 * terms);
                        let error = (got - exact).abs();
                        assert!(
                            error <= bound,
                            "{isa} {format} {cols}: {got} for {exact}, {error:e} > {bound:e}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn block_formats_give_the_same_bits_on_every_instruction_set() {
    let generic = cpu(Isa::Generic);
    for format in block_formats() {
        for cols in odd_columns(format) {
            // 23 rows are a panel and a part of a second one; 37 are two tiles and five rows.
            for (rows, n) in [(9, 1), (9, 4), (23, 7), (23, 14), (23, 37)] {
                let case = Case::new(format, rows, cols, n);
                let want = case.product(&generic);
                for isa in Isa::available() {
                    assert_same_bits(&case.product(&cpu(isa)), &want, &format!("{isa} {format} {cols} x{n}"));
                }
            }
        }
    }
}

#[test]
fn float_formats_give_the_same_bits_where_multiply_add_is_fused() {
    let fused: Vec<Cpu> = Isa::available().into_iter().filter(|isa| *isa != Isa::Generic).map(cpu).collect();
    let Some((first, others)) = fused.split_first() else { return };
    for format in float_formats() {
        for cols in odd_columns(format) {
            let case = Case::new(format, 9, cols, 5);
            let want = case.product(first);
            for other in others {
                assert_same_bits(&case.product(other), &want, &format!("{} {format} {cols}", other.isa));
            }
        }
    }
}

#[test]
fn company_order_and_threads_do_not_change_a_bit() {
    for isa in Isa::available() {
        for format in WeightFormat::ALL {
            // So many that they go through panels; of the lists below some do, the long one everywhere.
            let case = Case::new(format, 37, 512, 23);
            let want = case.product(&Cpu::with_isa(isa, 1).unwrap());
            let row = |i: usize| &want[i * case.rows..(i + 1) * case.rows];
            for threads in [2, 5] {
                let cpu = Cpu::with_isa(isa, threads).unwrap();
                assert_same_bits(&case.product(&cpu), &want, &format!("{isa} {format} {threads} threads"));
                for list in [
                    vec![3],
                    vec![10, 0],
                    vec![5, 5, 1, 2, 0],
                    vec![9, 8, 7, 6, 2, 4, 4, 1],
                    vec![],
                    (3..20).collect(),
                    // Tiles of sixteen, and five more, out of order.
                    (0..37).map(|i| 7 * i % 20).collect(),
                ] {
                    let got = case.product_of(&cpu, RowSet::List(&list), list.len());
                    let want: Vec<f32> = list.iter().flat_map(|i| row(*i as usize)).copied().collect();
                    assert_same_bits(&got, &want, &format!("{isa} {format} {list:?}"));
                }
            }
        }
    }
}

#[test]
fn many_jobs_of_many_kinds_share_a_region() {
    let cpu = cpu(Isa::detect());
    let formats: Vec<WeightFormat> = WeightFormat::ALL.into_iter().cycle().take(150).collect();
    let cases: Vec<Case> =
        formats.iter().enumerate().map(|(i, format)| Case::new(*format, 1 + i % 70, 256, 3)).collect();
    let x = Random::new(9).normals(3 * 256);
    let mut buffer = ActivationBuffer::default();
    let x = buffer.prepare(&cpu, &x, 256, formats.iter().copied());
    let mut y: Vec<Vec<f32>> = cases.iter().map(|case| vec![0.0; 2 * case.rows]).collect();
    let list = [2, 0];
    let mut jobs: Vec<MatmulJob> = cases
        .iter()
        .zip(&mut y)
        .map(|(case, y)| MatmulJob { weight: case.matrix(), x, x_rows: RowSet::List(&list), y })
        .collect();
    matmul_jobs(&cpu, &mut jobs);
    for (case, y) in cases.iter().zip(&y) {
        let mut alone = vec![0.0; 3 * case.rows];
        matmul(&cpu, case.matrix(), x, &mut alone);
        let want: Vec<f32> = [&alone[2 * case.rows..], &alone[..case.rows]].concat();
        assert_same_bits(y, &want, case.format.name());
    }
    matmul_jobs(&cpu, &mut []);
}

#[test]
fn a_panel_keeps_nothing_of_the_last_one() {
    for isa in Isa::available() {
        // One after the other with the panels of one machine, wide and narrow in turn.
        let (one, n) = (cpu(isa), 13);
        for cols in [1024, 288, 256, 800] {
            let formats = WeightFormat::ALL.into_iter().filter(|format| format.row_bytes(cols).is_some());
            for format in formats {
                let case = Case::new(format, 19, cols, n);
                let want = case.product(&cpu(isa));
                assert_same_bits(&case.product(&one), &want, &format!("{isa} {format} {cols}"));
            }
        }
    }
}

#[test]
fn extreme_bytes_neither_panic_nor_differ() {
    let generic = cpu(Isa::Generic);
    for format in block_formats() {
        let cols = 512;
        // So many rows that they go through panels, in tiles of eight and four, and one alone.
        let mut case = Case::new(format, 4, cols, 13);
        for byte in [0x00, 0xff, 0x80, 0x7f, 0x7c, 0x01, 0x88] {
            case.weights.fill(byte);
            for scales in [None, Some(0x0001_u16), Some(0x7bff), Some(0xfbff), Some(0x7c00), Some(0x7e00)] {
                for block in case.weights.chunks_mut(format.block_bytes()) {
                    for at in scales.iter().flat_map(|_| cases::half_fields(format)) {
                        block[*at..at + 2].copy_from_slice(&scales.unwrap_or(0).to_le_bytes());
                    }
                }
                for value in [1.0, -1.0, 1e30, f32::MAX, 1e-45, 1e-37, f32::INFINITY, f32::NAN, 0.0] {
                    case.x.fill(value);
                    case.x[3] = -value;
                    let want = case.product(&generic);
                    for isa in Isa::available() {
                        let what = format!("{isa} {format} bytes {byte:#x} scales {scales:x?} x {value}");
                        assert_same_bits(&case.product(&cpu(isa)), &want, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn damage_in_activations_shows() {
    for isa in Isa::available() {
        for format in WeightFormat::ALL {
            for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut case = Case::new(format, 2, 256, 13);
                case.x[12 * 256 + 100] = damage;
                let y = case.product(&cpu(isa));
                assert!(y[..24].iter().all(|y| y.is_finite()), "{isa} {format}: the other rows are sound");
                assert!(y[24..].iter().all(|y| !y.is_finite()), "{isa} {format}: {damage} must not vanish");
            }
        }
    }
}

#[test]
fn a_row_range_is_that_part_of_the_product() {
    let cpu = cpu(Isa::detect());
    for format in WeightFormat::ALL {
        let case = Case::new(format, 20, 256, 1);
        let whole = case.product(&cpu);
        let mut buffer = ActivationBuffer::default();
        let x = buffer.prepare(&cpu, &case.x, case.cols, [format]);
        for range in [0..20, 3..11, 19..20, 5..5] {
            let mut y = vec![0.0; range.len()];
            matmul(&cpu, case.matrix().row_range(range.clone()), x, &mut y);
            assert_same_bits(&y, &whole[range], format.name());
        }
    }
}

/// `w[r, c] * scales[r / block_rows, c / block_cols]` in double precision.
fn scaled(case: &Case, scales: &[f32], [block_rows, block_cols]: [usize; 2]) -> Vec<f64> {
    let stride = case.cols.div_ceil(block_cols);
    let scale = |r: usize, c: usize| scales[r / block_rows * stride + c / block_cols] as f64;
    let weights = read(case.format, &case.weights);
    weights.iter().enumerate().map(|(i, w)| *w as f64 * scale(i / case.cols, i % case.cols)).collect()
}

#[test]
fn fp8_scales_cover_ragged_blocks_and_unaligned_ranges() {
    for (rows, cols, block) in
        [(300, 400, [128, 128]), (40, 70, [32, 32]), (9, 50, [4, 7]), (3, 20, [1, 1]), (2, 5, [8, 9])]
    {
        let case = Case::new(WeightFormat::F8E4M3, rows, cols, 2);
        let mut random = Random::new(5);
        let count = rows.div_ceil(block[0]) * cols.div_ceil(block[1]);
        let scales: Vec<f32> = (0..count).map(|_| 0.01 + random.unit()).collect();
        let weights = scaled(&case, &scales, block);
        let matrix = case.matrix().with_block_scales(&scales, block).unwrap();
        for isa in Isa::available() {
            let cpu = cpu(isa);
            let mut buffer = ActivationBuffer::default();
            let x = buffer.prepare(&cpu, &case.x, cols, [case.format]);
            for range in [0..rows, 1..rows, rows / 2..rows] {
                let mut y = vec![0.0; 2 * range.len()];
                matmul(&cpu, matrix.row_range(range.clone()), x, &mut y);
                for (i, x) in case.x.chunks(cols).enumerate() {
                    for (j, row) in range.clone().enumerate() {
                        let w = &weights[row * cols..(row + 1) * cols];
                        let exact: f64 = w.iter().zip(x).map(|(w, x)| w * *x as f64).sum();
                        let terms: f64 = w.iter().zip(x).map(|(w, x)| (w * *x as f64).abs()).sum();
                        let got = y[i * range.len() + j] as f64;
                        assert!(
                            (got - exact).abs() <= 1e-6 * terms,
                            "{isa} {rows}x{cols} {block:?}: {got} for {exact}"
                        );
                    }
                }
                let mut read = vec![0.0; cols];
                ergon_kernels::dequantize_row(&cpu, matrix.row_range(range.clone()), 0, &mut read);
                for (got, want) in read.iter().zip(&weights[range.start * cols..]) {
                    assert_eq!(*got, *want as f32, "{isa} {rows}x{cols} {block:?}");
                }
            }
        }
    }
}

#[test]
fn scales_must_fit_the_matrix() {
    let case = Case::new(WeightFormat::F8E4M3, 4, 256, 1);
    assert!(case.matrix().with_block_scales(&[1.0; 3], [2, 256]).is_err(), "too many");
    assert!(case.matrix().with_block_scales(&[1.0; 2], [0, 256]).is_err(), "an empty block");
    assert!(case.matrix().with_block_scales(&[], [usize::MAX, usize::MAX]).is_err(), "none");
    let other = Case::new(WeightFormat::Q4K, 4, 256, 1);
    assert!(other.matrix().with_block_scales(&[1.0; 1], [4, 256]).is_err(), "not FP8");
}

#[test]
fn transposed_products_accumulate_in_order_on_every_instruction_set() {
    for format in WeightFormat::ALL {
        for blocks in [1, 3, 9, 20] {
            let cols = blocks * format.block_len().max(5);
            let (rows, n) = (19, 18);
            let case = Case::new(format, rows, cols, 1);
            let weights = read(format, &case.weights);
            let (x_stride, y_stride) = (rows + 3, cols + 2);
            let x = Random::new(2).normals(n * x_stride);
            let mut want = vec![7.0; n * y_stride];
            for i in 0..n {
                for c in 0..cols {
                    want[i * y_stride + c] =
                        (0..rows).fold(0.0, |sum, r| sum + x[i * x_stride + r] * weights[r * cols + c]);
                }
            }
            for isa in Isa::available() {
                for n in [0, 1, n] {
                    let mut y = vec![7.0; n * y_stride];
                    let job =
                        TransposedJob { weight: case.matrix(), x: &x, x_stride, y: &mut y, y_stride, n };
                    matmul_transposed(&cpu(isa), &mut [job]);
                    assert_same_bits(&y, &want[..n * y_stride], &format!("{isa} {format} {cols} x{n}"));
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "not prepared for q4_k")]
fn unprepared_activations_are_refused() {
    let cpu = cpu(Isa::detect());
    let case = Case::new(WeightFormat::Q4K, 1, 256, 1);
    let mut buffer = ActivationBuffer::default();
    let x = buffer.prepare(&cpu, &case.x, 256, [WeightFormat::Q8_0]);
    matmul(&cpu, case.matrix(), x, &mut [0.0]);
}

#[test]
fn empty_products_are_no_products() {
    let cpu = cpu(Isa::detect());
    let mut buffer = ActivationBuffer::default();
    let x = buffer.prepare(&cpu, &[], 256, [WeightFormat::Q8_0]);
    let w = MatrixRef::new(WeightFormat::Q8_0, 0, 256, &[]).unwrap();
    matmul(&cpu, w, x, &mut []);
}

/// FNV-1a over the bits of numbers.
fn hash(numbers: &[f32]) -> u64 {
    let bytes = numbers.iter().flat_map(|y| y.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn products_have_the_bits_they_had_on_other_machines() {
    // Pinned on x86-64; checked on 64-bit Arm too. Changed only together with a canonical order in `quant`.
    let pinned = [
        (WeightFormat::F32, 0x2809_e647_4984_6ed3),
        (WeightFormat::F16, 0x1831_fef2_dd3d_46eb),
        (WeightFormat::Bf16, 0x2b19_49ec_bcc6_5425),
        (WeightFormat::F8E4M3, 0xad03_6f1c_15a2_f9f4),
        (WeightFormat::Q5_1, 0x0687_a4ed_e263_e313),
        (WeightFormat::Q8_0, 0x791e_e0fe_cde9_c8fe),
        (WeightFormat::Q4K, 0x6cb4_5f33_c6b2_69a2),
        (WeightFormat::Q6K, 0x4fcd_b1aa_44f9_4d3a),
        (WeightFormat::Iq4Xs, 0x0d8d_48d7_3951_d272),
    ];
    let cpu = cpu(Isa::detect());
    for (format, want) in pinned {
        // Portable Rust rounds float products twice.
        if cpu.isa != Isa::Generic || format.block_len() > 1 {
            let got = hash(&Case::new(format, 8, 768, 3).product(&cpu));
            assert_eq!(got, want, "{format}: {got:#x}");
        }
    }
}
