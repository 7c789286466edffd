//! Attention over a cache of blocks: against what the blocks read as, with queries rounded where products are of integers.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod support;

use ergon_kernels::ops::{
    AttentionRow, AttentionShape, KeyValues, KvSlice, Q8Block, attention, f32_to_q8, q8_to_f32,
};
use ergon_kernels::{Cpu, Isa, cases::Random};
use ergon_types::WeightFormat;
use std::ops::Range;

/// Largest error of products in integers relative to the largest value of the cache. Weights are in steps of 1/32767 of the
/// largest of a block: half a step 64 times would be 1e-3, but they do not all err the same way; 3.2e-5 is the most seen here.
const BOUND: f64 = 5e-5;

struct Case {
    shape: AttentionShape,
    k: Vec<Q8Block>,
    v: Vec<Q8Block>,
    k_row_stride: usize,
    v_row_stride: usize,
    /// Values are the first part of the keys.
    latent: bool,
    q: Vec<f32>,
    visible: Vec<Range<usize>>,
}

impl Case {
    /// With strides longer than the heads.
    fn new(
        (n_heads, n_kv_heads): (usize, usize),
        (k_dim, v_dim): (usize, usize),
        latent: bool,
        visible: Vec<Range<usize>>,
    ) -> Case {
        let mut random = Random::new((n_heads * 1000 + k_dim + visible.len()) as u64);
        let positions = visible.iter().filter(|v| !v.is_empty()).map(|v| v.end).max().unwrap() + 3;
        let shape = AttentionShape { n_heads, n_kv_heads, k_dim, v_dim, scale: 4.0 / (k_dim as f32).sqrt() };
        let (k_row_stride, v_row_stride) = (n_kv_heads * k_dim + 32, n_kv_heads * v_dim);
        let mut blocks = |n: usize| {
            let mut blocks = vec![Q8Block::default(); n / 32];
            // Some rows are larger than others, so that scales differ.
            let mut x = random.normals(n);
            for (i, x) in x.iter_mut().enumerate() {
                *x *= 1.0 + (i / 32 % 7) as f32 / 3.0;
            }
            f32_to_q8(&x, &mut blocks);
            blocks
        };
        let (k, v) = (blocks(positions * k_row_stride), blocks(positions * v_row_stride));
        let q = random.normals(visible.len() * n_heads * k_dim);
        Case { shape, k, v, k_row_stride, v_row_stride, latent, q, visible }
    }

    fn key_values<'a>(&self, k: KvSlice<'a>, v: KvSlice<'a>) -> KeyValues<'a> {
        let &Case { k_row_stride, v_row_stride, .. } = self;
        match self.latent {
            true => KeyValues { k, v: k, k_row_stride, v_row_stride: k_row_stride },
            false => KeyValues { k, v, k_row_stride, v_row_stride },
        }
    }

    fn run_with(&self, cpu: &Cpu, kv: KeyValues<'_>, rows: Range<usize>) -> Vec<f32> {
        let AttentionShape { n_heads, k_dim, v_dim, .. } = self.shape;
        let attention_rows: Vec<AttentionRow<'_>> = self.visible[rows.clone()]
            .iter()
            .map(|visible| AttentionRow { kv, visible: visible.clone() })
            .collect();
        let mut out = vec![f32::NAN; rows.len() * n_heads * v_dim];
        let q = &self.q[rows.start * n_heads * k_dim..rows.end * n_heads * k_dim];
        attention(cpu, &self.shape, q, &attention_rows, &mut out);
        out
    }

    /// The given rows in one call.
    fn run(&self, cpu: &Cpu, rows: Range<usize>) -> Vec<f32> {
        self.run_with(cpu, self.key_values(KvSlice::Q8(&self.k), KvSlice::Q8(&self.v)), rows)
    }

    /// The same in double precision, with queries as products with blocks of integers see them.
    fn oracle(&self) -> Vec<f64> {
        let (k, v) = (singles(&self.k), singles(&self.v));
        let k = (&k[..], self.k_row_stride);
        let v = if self.latent { k } else { (&v[..], self.v_row_stride) };
        let q = support::rounded(WeightFormat::Q8_0, &self.q);
        support::attention_oracle(&self.shape, &q, k, v, &self.visible)
    }
}

fn singles(blocks: &[Q8Block]) -> Vec<f32> {
    let mut singles = vec![0.0; 32 * blocks.len()];
    q8_to_f32(blocks, &mut singles);
    singles
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Prompts, decoding, windows and more than one segment, of heads of which four or more share a key: an odd number of groups,
/// numbers of queries that fill no tile, values that are part of the keys.
fn shared_heads() -> Vec<Case> {
    let causal = |first: usize, n: usize| (first..first + n).map(|p| 0..p + 1).collect::<Vec<_>>();
    vec![
        Case::new((4, 1), (32, 32), false, causal(0, 3)),
        Case::new((8, 2), (128, 128), false, causal(60, 9)),
        Case::new((15, 3), (96, 160), false, vec![0..1, 0..64, 3..200, 100..101, 7..7, 0..130]),
        Case::new((7, 1), (64, 32), true, causal(125, 6)),
        Case::new((16, 1), (576, 512), true, causal(190, 3)),
        Case::new(
            (16, 1),
            (96, 64),
            true,
            vec![0..4200, 2047..2049, 2050..6500, 5000..6200, usize::MAX..usize::MAX],
        ),
        Case::new((40, 1), (64, 64), true, causal(4500, 1)),
    ]
}

/// With fewer than four heads to a key a cache of blocks gives, bit for bit, what one of singles gives that holds what the
/// blocks read as.
#[test]
fn blocks_are_what_they_read_as() {
    let visible = vec![0..1, 0..64, 3..200, 100..101, 0..130];
    for case in [
        Case::new((4, 2), (32, 32), false, visible.clone()),
        Case::new((6, 3), (96, 160), false, visible.clone()),
        Case::new((3, 1), (64, 32), true, visible),
    ] {
        let (k, v) = (singles(&case.k), singles(&case.v));
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(isa, 2).unwrap();
            let all = 0..case.visible.len();
            let right = case.run_with(&cpu, case.key_values(KvSlice::F32(&k), KvSlice::F32(&v)), all.clone());
            assert!(bits(&case.run(&cpu, all)) == bits(&right), "{:?}, {isa}", case.shape);
        }
    }
}

#[test]
fn integers_match_the_oracle() {
    let mut worst = 0.0f64;
    for case in shared_heads() {
        let oracle = case.oracle();
        let values = singles(if case.latent { &case.k } else { &case.v });
        let largest = f64::from(values.iter().fold(0.0f32, |a, b| a.max(b.abs())));
        for isa in Isa::available() {
            let got = case.run(&Cpu::with_isa(isa, 2).unwrap(), 0..case.visible.len());
            for (&got, &right) in got.iter().zip(&oracle) {
                let error = (f64::from(got) - right).abs() / largest;
                worst = worst.max(error);
                assert!(error <= BOUND, "{:?}, {isa}: {got}, not {right}: {error:.2e}", case.shape);
            }
        }
    }
    println!("largest error {worst:.2e}");
}

/// Neither the rows beside it nor the threads nor whether they share out segments change a row.
#[test]
fn a_row_alone_has_the_same_bits() {
    for case in shared_heads() {
        let (n, per_row) = (case.visible.len(), case.shape.n_heads * case.shape.v_dim);
        for isa in Isa::available() {
            let all = bits(&case.run(&Cpu::with_isa(isa, 1).unwrap(), 0..n));
            for threads in [2, 13] {
                let cpu = Cpu::with_isa(isa, threads).unwrap();
                assert!(all == bits(&case.run(&cpu, 0..n)), "{:?}, {isa}: {threads} threads", case.shape);
                for row in 0..n {
                    let alone = bits(&case.run(&cpu, row..row + 1));
                    assert!(
                        all[row * per_row..][..per_row] == alone,
                        "{:?}, {isa}: row {row}, {threads} threads",
                        case.shape
                    );
                }
            }
        }
    }
}

#[test]
fn instruction_sets_with_fused_products_agree() {
    let fused: Vec<Isa> = Isa::available().into_iter().filter(|&isa| isa != Isa::Generic).collect();
    for case in shared_heads() {
        let results: Vec<Vec<u32>> = fused
            .iter()
            .map(|&isa| bits(&case.run(&Cpu::with_isa(isa, 1).unwrap(), 0..case.visible.len())))
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{:?}: {fused:?} differ", case.shape);
    }
}

/// What lies at positions that a row does not see does not touch it, not even where it is no number; what it sees does.
#[test]
fn only_what_is_seen_matters() {
    let visible = vec![10..20, 10..21, 15..90, 70..128, 128..131];
    let mut case = Case::new((8, 2), (64, 96), false, visible.clone());
    let nothing = Q8Block { scale: 0x7fc0, values: [77; 32] };
    let per_row = 8 * 96;
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2).unwrap();
        let before = case.run(&cpu, 0..visible.len());
        for (row, range) in visible.iter().enumerate() {
            let kept = (case.k.clone(), case.v.clone());
            for position in (0..134).filter(|position| !range.contains(position)) {
                case.k[position * case.k_row_stride / 32..][..case.k_row_stride / 32].fill(nothing);
                case.v[position * case.v_row_stride / 32..][..case.v_row_stride / 32].fill(nothing);
            }
            let after = case.run(&cpu, 0..visible.len());
            let part = row * per_row..(row + 1) * per_row;
            assert_eq!(bits(&after[part.clone()]), bits(&before[part]), "row {row}, {isa}");
            (case.k, case.v) = kept;
        }
        // The second group of the second head's values at position 18, which the first three rows see.
        let kept = case.v.clone();
        case.v[(18 * case.v_row_stride + 96 + 32) / 32] = nothing;
        let after = case.run(&cpu, 0..visible.len());
        for (i, (after, before)) in after.iter().zip(&before).enumerate() {
            let (row, head, number) = (i / per_row, i % per_row / 96, i % 96);
            if row < 3 && head >= 4 && (32..64).contains(&number) {
                assert!(after.is_nan(), "row {row}, head {head}, number {number}, {isa}");
            } else {
                assert_eq!(
                    after.to_bits(),
                    before.to_bits(),
                    "row {row}, head {head}, number {number}, {isa}"
                );
            }
        }
        case.v = kept;
    }
}

/// A value that nobody weighs does not make the others coarser, however large it is, and small caches are no zeros.
#[test]
fn sizes_of_values_do_not_matter() {
    let mut case = Case::new((8, 2), (64, 96), false, vec![0..70, 3..40]);
    case.q.iter_mut().for_each(|q| *q = q.abs());
    // Key 5 is far below all others for such queries.
    let row = |stride: usize| 5 * stride / 32..6 * stride / 32;
    case.k[row(case.k_row_stride)].fill(Q8Block { scale: 0x447a, values: [-100; 32] });
    for exponent in [-110, 0] {
        let factor = 2f32.powi(exponent);
        let mut values = singles(&case.v);
        values.iter_mut().for_each(|value| *value *= factor);
        let mut small = Case {
            v: vec![Q8Block::default(); case.v.len()],
            k: case.k.clone(),
            q: case.q.clone(),
            visible: case.visible.clone(),
            ..case
        };
        f32_to_q8(&values, &mut small.v);
        let right = small.oracle();
        let largest = singles(&small.v).iter().fold(0.0f64, |a, &b| a.max(f64::from(b).abs()));
        small.v[row(case.v_row_stride)].fill(Q8Block { scale: 0x4e80, values: [100; 32] });
        for isa in Isa::available() {
            let got = small.run(&Cpu::with_isa(isa, 2).unwrap(), 0..2);
            for (&got, &right) in got.iter().zip(&right) {
                assert!(
                    (f64::from(got) - right).abs() <= BOUND * largest,
                    "{exponent}, {isa}: {got}, not {right}"
                );
            }
        }
    }
}

/// Rows of several caches and lengths in one call, with and without segments to share out.
#[test]
fn rows_may_look_at_different_caches() {
    for positions in [[40, 64, 300], [5000, 64, 2100]] {
        let cases =
            positions.map(|p| Case::new((8, 2), (32, 32), false, std::iter::once(p / 3..p).collect()));
        for isa in Isa::available() {
            for threads in [1, 2] {
                let cpu = Cpu::with_isa(isa, threads).unwrap();
                let rows: Vec<AttentionRow<'_>> = cases
                    .iter()
                    .map(|case| AttentionRow {
                        kv: case.key_values(KvSlice::Q8(&case.k), KvSlice::Q8(&case.v)),
                        visible: case.visible[0].clone(),
                    })
                    .collect();
                let q: Vec<f32> = cases.iter().flat_map(|case| case.q.clone()).collect();
                let mut out = vec![0.0; q.len()];
                attention(&cpu, &cases[0].shape, &q, &rows, &mut out);
                for (case, out) in cases.iter().zip(out.chunks(8 * 32)) {
                    assert_eq!(
                        bits(out),
                        bits(&case.run(&cpu, 0..1)),
                        "{positions:?}, {isa}, {threads} threads"
                    );
                }
            }
        }
    }
}
