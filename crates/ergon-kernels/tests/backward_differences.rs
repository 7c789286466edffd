//! Backward passes of training against central differences of plain forward passes in f64, at sizes around the widths of
//! kernels and on every instruction set this machine has.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use ergon_kernels::Isa;
use ergon_kernels::cases::Random;
use ergon_kernels::gemm::{Gemm, Write};
use ergon_kernels::ops::{
    SequenceAttention, SequenceMask, SequenceScratch, add_column_sums, cross_entropy, gelu_backward,
    rms_norm_backward, rms_norm_forward, sequence_attention, sequence_attention_backward, silu_backward,
    sum_of_squares, swiglu_backward,
};

/// Lengths around one vector and several.
const LENGTHS: [usize; 7] = [1, 15, 16, 17, 48, 65, 131];
/// Relative to the largest gradient: single precision in sums of up to some hundred numbers.
const BOUND: f64 = 5e-6;
/// Relative to the largest gradient, where factors are rounded to bfloat16.
const BF16_BOUND: f64 = 2e-2;

fn doubles(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum()
}

/// d loss / d x by central differences; in f64 their error is about 1e-9.
fn differences(x: &[f32], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = doubles(x);
    (0..x.len())
        .map(|i| {
            let (kept, step) = (x[i], 1e-5 * x[i].abs().max(1.0));
            x[i] = kept + step;
            let above = loss(&x);
            x[i] = kept - step;
            let below = loss(&x);
            x[i] = kept;
            (above - below) / (2.0 * step)
        })
        .collect()
}

#[track_caller]
fn expect(what: &str, isa: Isa, got: &[f32], right: &[f64], bound: f64) {
    assert_eq!(got.len(), right.len(), "{what}");
    let largest = right.iter().fold(1e-6, |max: f64, x| max.max(x.abs()));
    for (i, (&got, &right)) in got.iter().zip(right).enumerate() {
        let error = (f64::from(got) - right).abs() / largest;
        assert!(error <= bound, "{what} on {isa}: [{i}] is {got}, not {right}: {error:.2e}");
    }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + u.tanh())
}

#[test]
fn element_wise() {
    for n in LENGTHS {
        let mut random = Random::new(n as u64);
        let x: Vec<f32> = random.normals(n).iter().map(|x| 3.0 * x).collect();
        let (up, dy) = (random.normals(n), random.normals(n));
        let map = |f: fn(f64) -> f64, x: &[f64]| x.iter().map(|&x| f(x)).collect::<Vec<_>>();
        let gated =
            |gate: &[f64], up: &[f64]| gate.iter().zip(up).map(|(&g, u)| silu(g) * u).collect::<Vec<_>>();
        let right_silu = differences(&x, |x| dot(&map(silu, x), &dy));
        let right_gelu = differences(&x, |x| dot(&map(gelu, x), &dy));
        let right_gate = differences(&x, |x| dot(&gated(x, &doubles(&up)), &dy));
        let right_up = differences(&up, |up| dot(&gated(&doubles(&x), up), &dy));
        for isa in Isa::available() {
            let (mut a, mut b) = (vec![f32::NAN; n], vec![f32::NAN; n]);
            silu_backward(isa, &x, &dy, &mut a);
            expect("silu", isa, &a, &right_silu, BOUND);
            gelu_backward(isa, &x, &dy, &mut a);
            expect("gelu", isa, &a, &right_gelu, BOUND);
            swiglu_backward(isa, &x, &up, &dy, &mut a, &mut b);
            expect("swiglu gate", isa, &a, &right_gate, BOUND);
            expect("swiglu up", isa, &b, &right_up, BOUND);
        }
    }
}

#[test]
fn norms() {
    let norm = |x: &[f64], w: &[f64]| -> Vec<f64> {
        let rows = x.chunks(w.len()).map(|row| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / w.len() as f64;
            (row, 1.0 / (mean + 1e-6).sqrt())
        });
        rows.flat_map(|(row, f)| row.iter().zip(w).map(move |(x, w)| x * f * w)).collect()
    };
    for cols in LENGTHS {
        let mut random = Random::new(cols as u64);
        let (x, w, dy) = (random.normals(3 * cols), random.normals(cols), random.normals(3 * cols));
        let right_x = differences(&x, |x| dot(&norm(x, &doubles(&w)), &dy));
        let right_w = differences(&w, |w| dot(&norm(&doubles(&x), w), &dy));
        for isa in Isa::available() {
            let (mut y, mut factors) = (vec![0.0; x.len()], vec![0.0; 3]);
            rms_norm_forward(isa, &x, &w, 1e-6, &mut y, &mut factors);
            expect("rms_norm", isa, &y, &norm(&doubles(&x), &doubles(&w)), BOUND);
            let (mut dx, mut dw) = (vec![f32::NAN; x.len()], vec![0.0; cols]);
            rms_norm_backward(isa, &x, &w, &factors, &dy, &mut dx, Write::Set, &mut dw);
            // With one column y is nearly the sign of x and dx nearly nothing: the scale is that of dy w / |x|.
            if cols > 1 {
                expect("rms_norm dx", isa, &dx, &right_x, BOUND);
            }
            expect("rms_norm dw", isa, &dw, &right_w, BOUND);
        }
    }
}

#[test]
fn losses_and_sums() {
    for classes in LENGTHS {
        let mut random = Random::new(classes as u64);
        let logits: Vec<f32> = random.normals(3 * classes).iter().map(|x| 4.0 * x).collect();
        let targets = [Some(0), None, Some(classes - 1)];
        let loss = |logits: &[f64]| -> f64 {
            let rows = logits.chunks(classes).zip(targets);
            rows.filter_map(|(row, target)| {
                target.map(|t| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[t])
            })
            .sum()
        };
        let right: Vec<f64> = differences(&logits, loss).iter().map(|d| 0.25 * d).collect();
        let best = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        let correct = (0..3).filter(|&i| targets[i] == Some(best(&logits[i * classes..(i + 1) * classes])));
        let correct = correct.count();
        for isa in Isa::available() {
            let mut gradient = logits.clone();
            let found = cross_entropy(isa, &mut gradient, classes, &targets, 0.25);
            expect("cross entropy", isa, &gradient, &right, BOUND);
            assert!((found.loss_sum - loss(&doubles(&logits))).abs() < 1e-5, "{isa}: {found:?}");
            assert_eq!((found.counted, found.correct), (2, correct), "{isa}");

            let mut sums = vec![1.0; classes];
            add_column_sums(isa, &logits, &mut sums);
            let column = |c: usize| 1.0 + (0..3).map(|r| f64::from(logits[r * classes + c])).sum::<f64>();
            expect("column sums", isa, &sums, &(0..classes).map(column).collect::<Vec<_>>(), BOUND);
            let squares: f64 = doubles(&logits).iter().map(|x| x * x).sum();
            assert!((sum_of_squares(isa, &logits) / squares - 1.0).abs() < 1e-6, "{isa}");
        }
    }
}

/// Attention in f64 over rows `[rows, heads, dim]`.
fn attend(shape: &SequenceAttention, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; shape.queries * shape.out_stride];
    for (i, h) in (0..shape.queries).flat_map(|i| (0..shape.heads).map(move |h| (i, h))) {
        let seen = match shape.mask {
            SequenceMask::Full => shape.keys,
            SequenceMask::Causal => i + 1 + shape.keys - shape.queries,
        };
        let q = &q[i * shape.q_stride + h * shape.k_dim..][..shape.k_dim];
        let score = |j: usize| -> f64 {
            let k = &k[j * shape.k_stride + h * shape.k_dim..][..shape.k_dim];
            f64::from(shape.scale) * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()
        };
        let weights: Vec<f64> = (0..seen).map(|j| score(j).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let out = &mut out[i * shape.out_stride + h * shape.v_dim..][..shape.v_dim];
        for (j, weight) in weights.iter().enumerate() {
            let v = &v[j * shape.v_stride + h * shape.v_dim..][..shape.v_dim];
            for (out, v) in out.iter_mut().zip(v) {
                *out += weight / sum * v;
            }
        }
    }
    out
}

/// Full, causal and prefixed, at lengths around a vector and heads that are no whole vectors, inside wider rows.
#[test]
fn attention() {
    let (full, causal) = (SequenceMask::Full, SequenceMask::Causal);
    for (queries, keys, k_dim, v_dim, mask) in [
        (1, 1, 3, 5, causal),
        (5, 9, 16, 16, full),
        (17, 17, 12, 16, causal),
        (16, 33, 8, 20, full),
        (7, 31, 16, 8, causal),
        (35, 35, 6, 7, causal),
    ] {
        let mut shape = SequenceAttention::dense(2, (queries, keys), (k_dim, v_dim), mask);
        (shape.q_stride, shape.v_stride) = (shape.q_stride + 3, shape.v_stride + 1);
        let mut random = Random::new((queries * 100 + keys) as u64);
        let (q, k) = (random.normals(queries * shape.q_stride), random.normals(keys * shape.k_stride));
        let (v, dout) = (random.normals(keys * shape.v_stride), random.normals(queries * shape.out_stride));
        let (q64, k64, v64) = (doubles(&q), doubles(&k), doubles(&v));
        let right = [
            differences(&q, |q| dot(&attend(&shape, q, &k64, &v64), &dout)),
            differences(&k, |k| dot(&attend(&shape, &q64, k, &v64), &dout)),
            differences(&v, |v| dot(&attend(&shape, &q64, &k64, v), &dout)),
        ];
        for gemm in Isa::available().into_iter().flat_map(Gemm::available) {
            let isa = gemm.isa();
            let mut scratch = SequenceScratch::default();
            let mut kept = vec![f32::NAN; shape.probabilities_len()];
            let mut out = vec![f32::NAN; dout.len()];
            sequence_attention(gemm, &shape, &q, &k, &v, &mut out, &mut kept, &mut scratch);
            expect("attention", isa, &out, &attend(&shape, &q64, &k64, &v64), BF16_BOUND);
            // Zero where no head lies, which is where the strides leave a gap.
            let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![f32::NAN; k.len()], vec![0.0; v.len()]);
            sequence_attention_backward(
                gemm,
                &shape,
                &q,
                &k,
                &v,
                &kept,
                &dout,
                &mut dq,
                &mut dk,
                &mut dv,
                &mut scratch,
            );
            if keys > 1 {
                expect("attention dq", isa, &dq, &right[0], BF16_BOUND);
                expect("attention dk", isa, &dk, &right[1], BF16_BOUND);
            }
            expect("attention dv", isa, &dv, &right[2], BF16_BOUND);
        }
    }
}
