//! Attention against an oracle in f64, and the promise that a result depends on its own query and keys alone.
#![allow(clippy::unwrap_used)] // Helpers of tests.

mod support;

use ergon_kernels::ops::{AttentionRow, AttentionShape, KeyValues, KvSlice, attention, f32_to_f16};
use ergon_kernels::{Cpu, Isa};
use std::{iter::once, ops::Range};

/// Largest error relative to the largest value of the result's head: roundings of scores of size up to about
/// 5, of sums over up to 1500 keys, fused or (on `Generic`) not.
const BOUND: f64 = 4e-6;

struct Random(u64);

impl Random {
    /// Uniform in -1..1 (SplitMix64).
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vec(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

fn to_f32(half: u16) -> f32 {
    let (exponent, fraction) = (i32::from(half >> 10 & 31), f32::from(half & 0x3ff));
    let magnitude = if exponent == 0 {
        fraction * 2f32.powi(-24)
    } else {
        (1024.0 + fraction) * 2f32.powi(exponent - 25)
    };
    if half >> 15 == 1 { -magnitude } else { magnitude }
}

/// A cache in both formats; the f32 copy holds what the halves hold.
struct Cache {
    f32: Vec<f32>,
    f16: Vec<u16>,
}

impl Cache {
    fn random(random: &mut Random, n: usize) -> Cache {
        let mut f16 = vec![0; n];
        f32_to_f16(&random.vec(n), &mut f16);
        Cache { f32: f16.iter().map(|&half| to_f32(half)).collect(), f16 }
    }

    fn slice(&self, half: bool) -> KvSlice<'_> {
        if half { KvSlice::F16(&self.f16) } else { KvSlice::F32(&self.f32) }
    }
}

struct Case {
    shape: AttentionShape,
    k: Cache,
    v: Cache,
    /// Values are the first part of the keys.
    latent: bool,
    q: Vec<f32>,
    visible: Vec<Range<usize>>,
}

impl Case {
    fn new(
        heads: (usize, usize),
        dims: (usize, usize),
        latent: bool,
        visible: impl IntoIterator<Item = Range<usize>>,
    ) -> Case {
        let visible: Vec<Range<usize>> = visible.into_iter().collect();
        let mut random = Random((heads.0 * 1000 + dims.0 + visible.len()) as u64);
        let (n_heads, n_kv_heads) = heads;
        let (k_dim, v_dim) = dims;
        let scale = 4.0 / (k_dim as f32).sqrt();
        let shape = AttentionShape { n_heads, n_kv_heads, k_dim, v_dim, scale };
        let positions = visible.iter().map(|v| v.end).max().unwrap_or(0) + 3;
        // A stride with a gap after the heads.
        let k = Cache::random(&mut random, positions * (n_kv_heads * k_dim + 5));
        let v = Cache::random(&mut random, positions * n_kv_heads * v_dim);
        let q = random.vec(visible.len() * n_heads * k_dim);
        Case { shape, k, v, latent, q, visible }
    }

    fn key_values(&self, half: bool) -> KeyValues<'_> {
        let k_row_stride = self.shape.n_kv_heads * self.shape.k_dim + 5;
        let k = self.k.slice(half);
        if self.latent {
            return KeyValues { k, v: k, k_row_stride, v_row_stride: k_row_stride };
        }
        let v_row_stride = self.shape.n_kv_heads * self.shape.v_dim;
        KeyValues { k, v: self.v.slice(half), k_row_stride, v_row_stride }
    }

    /// The given rows in one call.
    fn run(&self, cpu: &Cpu, half: bool, rows: Range<usize>) -> Vec<f32> {
        let AttentionShape { n_heads, k_dim, v_dim, .. } = self.shape;
        let attention_rows: Vec<AttentionRow<'_>> = self.visible[rows.clone()]
            .iter()
            .map(|visible| AttentionRow { kv: self.key_values(half), visible: visible.clone() })
            .collect();
        let mut out = vec![f32::NAN; rows.len() * n_heads * v_dim];
        let q = &self.q[rows.start * n_heads * k_dim..rows.end * n_heads * k_dim];
        attention(cpu, &self.shape, q, &attention_rows, &mut out);
        out
    }

    fn oracle(&self) -> Vec<f64> {
        let kv = self.key_values(false);
        let (KvSlice::F32(k), KvSlice::F32(v)) = (kv.k, kv.v) else { unreachable!() };
        let q: Vec<f64> = self.q.iter().map(|&q| f64::from(q)).collect();
        let (k, v) = ((k, kv.k_row_stride), (v, kv.v_row_stride));
        support::attention_oracle(&self.shape, &q, k, v, &self.visible)
    }
}

/// Prompts, decoding, windows, small and odd dims, grouped and latent heads.
fn cases() -> Vec<Case> {
    let causal = |first: usize, n: usize| (first..first + n).map(|p| 0..p + 1).collect::<Vec<_>>();
    let window = |n: usize, width: usize| (0..n).map(move |p| (p + 1).saturating_sub(width)..p + 1);
    vec![
        Case::new((1, 1), (8, 8), false, causal(0, 3)),
        Case::new((4, 2), (12, 20), false, causal(0, 70)),
        Case::new((4, 4), (24, 16), false, causal(60, 40)),
        Case::new((6, 2), (64, 64), false, causal(0, 130)),
        Case::new((7, 1), (32, 48), false, causal(125, 9)),
        Case::new((8, 2), (128, 128), false, causal(500, 1)),
        Case::new((32, 8), (128, 128), false, causal(700, 1)),
        Case::new((3, 3), (192, 128), false, causal(0, 40)),
        Case::new((40, 1), (36, 32), true, causal(1499, 1)),
        Case::new((5, 1), (20, 12), true, causal(10, 20)),
        Case::new((16, 1), (576, 512), true, causal(190, 3)),
        Case::new((4, 2), (16, 16), false, window(200, 50)),
        Case::new((2, 2), (16, 80), false, window(70, 1)),
        Case::new(
            (2, 1),
            (16, 16),
            false,
            vec![0..5, 64..128, 3..3, 127..129, 0..0, 63..65, 0..200, 130..140],
        ),
    ]
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn matches_the_oracle() {
    let mut worst = 0.0f64;
    for (number, case) in cases().iter().enumerate() {
        let oracle = case.oracle();
        for isa in Isa::available() {
            for half in [false, true] {
                let got = case.run(&Cpu::with_isa(isa, 2).unwrap(), half, 0..case.visible.len());
                let v_dim = case.shape.v_dim;
                for (got, right) in got.chunks(v_dim).zip(oracle.chunks(v_dim)) {
                    let largest = right.iter().fold(1e-9, |a: f64, &b| a.max(b.abs()));
                    for (&got, &right) in got.iter().zip(right) {
                        let error = (f64::from(got) - right).abs() / largest;
                        worst = worst.max(error);
                        assert!(
                            error <= BOUND,
                            "case {number}, {isa}, half {half}: {got}, not {right}: {error:.2e}"
                        );
                    }
                }
            }
        }
    }
    println!("largest error {worst:.2e}");
}

#[test]
fn a_row_alone_has_the_same_bits() {
    for (number, case) in cases().iter().enumerate() {
        let n = case.visible.len();
        let per_row = case.shape.n_heads * case.shape.v_dim;
        for isa in Isa::available() {
            let (one, two, many) = (
                Cpu::with_isa(isa, 1).unwrap(),
                Cpu::with_isa(isa, 2).unwrap(),
                Cpu::with_isa(isa, 13).unwrap(),
            );
            for half in [false, true] {
                let all = bits(&case.run(&one, half, 0..n));
                assert!(all == bits(&case.run(&two, half, 0..n)), "case {number}, {isa}: 2 threads");
                assert!(all == bits(&case.run(&many, half, 0..n)), "case {number}, {isa}: 13 threads");
                for step in [1, 7] {
                    for row in (0..n).step_by(step) {
                        let rows = row..n.min(row + step);
                        let right = &all[rows.start * per_row..rows.end * per_row];
                        assert!(
                            right == bits(&case.run(&two, half, rows)),
                            "case {number}, {isa}: row {row}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn instruction_sets_with_fused_products_agree() {
    let fused: Vec<Isa> = Isa::available().into_iter().filter(|&isa| isa != Isa::Generic).collect();
    for case in cases() {
        let results = fused
            .iter()
            .map(|&isa| bits(&case.run(&Cpu::with_isa(isa, 1).unwrap(), true, 0..case.visible.len())));
        let results: Vec<Vec<u32>> = results.collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{fused:?} differ");
    }
}

/// What lies at positions a row does not see must not touch it, not even when it is NaN.
#[test]
fn unseen_positions_do_not_matter() {
    let visible = vec![10..20, 10..21, 15..90, 70..128, 128..131];
    let mut case = Case::new((4, 2), (24, 40), false, visible.clone());
    let cpus: Vec<Cpu> = Isa::available().into_iter().map(|isa| Cpu::with_isa(isa, 2).unwrap()).collect();
    let before: Vec<Vec<f32>> = cpus.iter().map(|cpu| case.run(cpu, false, 0..visible.len())).collect();
    let (k_stride, v_stride) = (2 * 24 + 5, 2 * 40);
    let per_row = 4 * 40;
    for (row, range) in visible.iter().enumerate() {
        let (k, v) = (case.k.f32.clone(), case.v.f32.clone());
        for position in (0..134).filter(|position| !range.contains(position)) {
            case.k.f32[position * k_stride..(position + 1) * k_stride].fill(f32::NAN);
            case.v.f32[position * v_stride..(position + 1) * v_stride].fill(f32::NAN);
        }
        for (cpu, before) in cpus.iter().zip(&before) {
            let after = case.run(cpu, false, 0..visible.len());
            let part = row * per_row..(row + 1) * per_row;
            assert_eq!(bits(&after[part.clone()]), bits(&before[part]), "row {row}, {}", cpu.isa);
        }
        (case.k.f32, case.v.f32) = (k, v);
    }
}

/// Rows of different sequences in one call, as in a batch of decode steps.
#[test]
fn rows_may_look_at_different_caches() {
    let cases: Vec<Case> = [40, 64, 300].map(|p| Case::new((8, 2), (32, 32), false, once(0..p))).into();
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2).unwrap();
        let rows: Vec<AttentionRow<'_>> = cases
            .iter()
            .flat_map(|case| {
                let row = AttentionRow { kv: case.key_values(true), visible: case.visible[0].clone() };
                [row.clone(), row]
            })
            .collect();
        let q: Vec<f32> = cases.iter().flat_map(|case| [case.q.clone(), case.q.clone()].concat()).collect();
        let mut out = vec![0.0; rows.len() * 8 * 32];
        attention(&cpu, &cases[0].shape, &q, &rows, &mut out);
        for (case, pair) in cases.iter().zip(out.chunks(2 * 8 * 32)) {
            let alone = bits(&case.run(&cpu, true, 0..1));
            assert_eq!(bits(&pair[..8 * 32]), alone);
            assert_eq!(bits(&pair[8 * 32..]), alone);
        }
    }
}

/// Scores far apart: the running maximum must move without overflow, and far keys vanish.
#[test]
fn large_scores_do_not_overflow() {
    let mut case = Case::new((2, 1), (16, 16), false, once(0..200));
    case.shape.scale = 1.0;
    for (position, row) in case.k.f32.chunks_mut(16 + 5).enumerate() {
        row.fill(position as f32);
    }
    case.q.fill(10.0);
    for isa in Isa::available() {
        let out = case.run(&Cpu::with_isa(isa, 1).unwrap(), false, 0..1);
        // Key 199 beats key 198 by e^160.
        assert_eq!(out[..16], case.v.f32[199 * 16..200 * 16], "{isa}");
    }
}

#[test]
fn nothing_visible_gives_zero() {
    let case = Case::new((4, 2), (16, 16), false, vec![0..0, 7..7]);
    assert!(case.run(&Cpu::new(2), false, 0..2).iter().all(|&x| x == 0.0));
    attention(&Cpu::new(2), &case.shape, &[], &[], &mut []);
}
