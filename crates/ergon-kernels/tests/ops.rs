//! Norm, softmax, element-wise operations and rotary embedding against oracles in f64, on every instruction
//! set.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use ergon_kernels::ops::{
    RopeLayout, add_in_place, axpy, f32_to_f16, rms_norm, rms_norm_in_place, rope_in_place, sigmoid_in_place,
    softmax_in_place, swiglu,
};
use ergon_kernels::{Cpu, Isa};

/// Largest relative error: a few roundings of 2^-24 each, and 2 ULP of the exponential.
const RMS_NORM_BOUND: f64 = 3e-7;
const SOFTMAX_BOUND: f64 = 6e-7;
const SWIGLU_BOUND: f64 = 5e-7;

/// Lengths around the widths that kernels work in: 16 lanes, 64 per step, 32768 where threads begin.
const LENGTHS: [usize; 12] = [1, 3, 15, 16, 17, 63, 64, 65, 100, 1000, 32_768, 70_001];

struct Random(u64);

impl Random {
    /// Uniform in -1..1 (SplitMix64).
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn vec(&mut self, n: usize, range: f32) -> Vec<f32> {
        (0..n).map(|_| self.next() * range).collect()
    }
}

fn cpus() -> Vec<Cpu> {
    let with = |isa, threads| Cpu::with_isa(isa, threads).unwrap();
    Isa::available().into_iter().flat_map(|isa| [with(isa, 1), with(isa, 3)]).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Runs `op` on every instruction set at 1 and 3 threads, checks the first result against the oracle
/// (relative to the oracle plus `floor`) and all others for equal bits.
fn check(name: &str, op: impl Fn(&Cpu) -> Vec<f32>, oracle: &[f64], bound: f64, floor: f64) {
    let mut first: Option<Vec<f32>> = None;
    for cpu in cpus() {
        let got = op(&cpu);
        for (index, (&got, &right)) in got.iter().zip(oracle).enumerate() {
            let error = (f64::from(got) - right).abs() / (right.abs() + floor);
            assert!(error <= bound, "{name} on {}: [{index}] is {got}, not {right}: {error:.2e}", cpu.isa);
        }
        assert_eq!(got.len(), oracle.len());
        let first = first.get_or_insert_with(|| got.clone());
        assert!(
            bits(first) == bits(&got),
            "{name}: bits of {} at {} threads differ",
            cpu.isa,
            cpu.pool.threads()
        );
    }
}

fn rms_norm_oracle(x: &[f32], weight: &[f32], eps: f32) -> Vec<f64> {
    let mut y = Vec::new();
    for row in x.chunks(weight.len()) {
        let mean = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / row.len() as f64;
        let factor = 1.0 / (mean + f64::from(eps)).sqrt();
        y.extend(row.iter().zip(weight).map(|(&x, &w)| f64::from(x) * factor * f64::from(w)));
    }
    y
}

#[test]
fn rms_norm_matches() {
    let mut random = Random(1);
    for (rows, cols) in [(1, 1), (3, 8), (2, 24), (5, 100), (1, 576), (4, 1024), (70, 1024), (9, 7168)] {
        let (x, weight) = (random.vec(rows * cols, 3.0), random.vec(cols, 2.0));
        let oracle = rms_norm_oracle(&x, &weight, 1e-6);
        let separate = |cpu: &Cpu| {
            let mut y = vec![f32::NAN; x.len()];
            rms_norm(cpu, &x, &weight, 1e-6, &mut y);
            y
        };
        let in_place = |cpu: &Cpu| {
            let mut y = x.clone();
            rms_norm_in_place(cpu, &mut y, &weight, 1e-6);
            y
        };
        check("rms_norm", separate, &oracle, RMS_NORM_BOUND, 0.0);
        check("rms_norm_in_place", in_place, &oracle, RMS_NORM_BOUND, 0.0);
        // A row does not depend on the rows beside it.
        let cpu = Cpu::new(1);
        let mut last = x[(rows - 1) * cols..].to_vec();
        rms_norm_in_place(&cpu, &mut last, &weight, 1e-6);
        assert_eq!(bits(&last), bits(&separate(&cpu)[(rows - 1) * cols..]));
    }
}

#[test]
fn rms_norm_of_zeros_is_zero() {
    check(
        "zeros",
        |cpu| {
            let mut y = vec![0.0; 40];
            rms_norm_in_place(cpu, &mut y, &[1.0; 20], 1e-6);
            y
        },
        &[0.0; 40],
        0.0,
        1.0,
    );
}

#[test]
fn sums_and_products_match() {
    let mut random = Random(2);
    for n in LENGTHS {
        let (x, y) = (random.vec(n, 5.0), random.vec(n, 5.0));
        let added: Vec<f64> = x.iter().zip(&y).map(|(x, y)| f64::from(x + y)).collect();
        let op = |cpu: &Cpu| {
            let mut x = x.clone();
            add_in_place(cpu, &mut x, &y);
            x
        };
        check("add_in_place", op, &added, 0.0, 1.0);
        let multiple: Vec<f64> = x.iter().zip(&y).map(|(x, y)| f64::from(y + 0.37 * x)).collect();
        let op = |cpu: &Cpu| {
            let mut y = y.clone();
            axpy(cpu, 0.37, &x, &mut y);
            y
        };
        check("axpy", op, &multiple, 0.0, 1.0);
    }
}

#[test]
fn swiglu_matches() {
    let mut random = Random(3);
    for n in LENGTHS {
        let (gate, up) = (random.vec(n, 20.0), random.vec(n, 3.0));
        let silu = |g: f64| g / (1.0 + (-g).exp());
        let oracle: Vec<f64> = gate.iter().zip(&up).map(|(&g, &u)| silu(g.into()) * f64::from(u)).collect();
        let op = |cpu: &Cpu| {
            let mut out = vec![f32::NAN; n];
            swiglu(cpu, &gate, &up, &mut out);
            out
        };
        check("swiglu", op, &oracle, SWIGLU_BOUND, 1e-30);
    }
    let gate = [-1e30, -200.0, -100.0, -0.0, 0.0, 100.0, 1e30];
    let op = |cpu: &Cpu| {
        let mut out = [f32::NAN; 7];
        swiglu(cpu, &gate, &[1.0; 7], &mut out);
        out.to_vec()
    };
    check("swiglu", op, &[0.0, 0.0, 0.0, 0.0, 0.0, 100.0, f64::from(1e30f32)], 1e-7, 1e-30);
}

#[test]
fn sigmoid_matches() {
    let mut random = Random(4);
    for n in LENGTHS {
        let x = random.vec(n, 30.0);
        let oracle: Vec<f64> = x.iter().map(|&x| 1.0 / (1.0 + (-f64::from(x)).exp())).collect();
        let op = |cpu: &Cpu| {
            let mut x = x.clone();
            sigmoid_in_place(cpu, &mut x);
            x
        };
        check("sigmoid_in_place", op, &oracle, SWIGLU_BOUND, 0.0);
    }
}

#[test]
fn softmax_matches() {
    let mut random = Random(5);
    for n in LENGTHS {
        for range in [0.0, 1.0, 30.0] {
            let mut x = random.vec(n, range);
            if n > 20 {
                (x[3], x[n - 1]) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
            }
            let max = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
            let e: Vec<f64> = x.iter().map(|&x| (f64::from(x) - f64::from(max)).exp()).collect();
            let sum: f64 = e.iter().sum();
            let oracle: Vec<f64> = e.iter().map(|e| e / sum).collect();
            let op = |cpu: &Cpu| {
                let mut x = x.clone();
                softmax_in_place(cpu, &mut x);
                x
            };
            // The subtraction of the maximum is rounded: relative error `range * 2^-24` more.
            check("softmax_in_place", op, &oracle, SOFTMAX_BOUND + f64::from(range) * 1.2e-7, 1e-37);
        }
    }
    softmax_in_place(&Cpu::new(1), &mut []);
}

#[test]
fn rope_turns_pairs() {
    let mut random = Random(6);
    for d in [2, 8, 20, 64, 128] {
        let x = random.vec(d, 2.0);
        let angles: Vec<f32> = random.vec(d / 2, 3.0);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        for layout in [RopeLayout::Interleaved, RopeLayout::Half] {
            let mut got = x.clone();
            rope_in_place(layout, &mut got, &cos, &sin);
            for i in 0..d / 2 {
                let (a, b) = match layout {
                    RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                    RopeLayout::Half => (i, i + d / 2),
                };
                assert_eq!(got[a], x[a] * cos[i] - x[b] * sin[i]);
                assert_eq!(got[b], x[a] * sin[i] + x[b] * cos[i]);
            }
        }
    }
}

#[test]
fn halves_of_any_length() {
    let x: Vec<f32> = (0..37).map(|i| i as f32 - 18.0).collect();
    for n in 0..x.len() {
        let mut out = vec![0; n];
        f32_to_f16(&x[..n], &mut out);
        for (x, half) in x.iter().zip(out) {
            let (exponent, fraction) = (i32::from(half >> 10 & 31), f32::from(half & 0x3ff) / 1024.0);
            let magnitude = if exponent == 0 { 0.0 } else { (1.0 + fraction) * 2f32.powi(exponent - 15) };
            assert_eq!(magnitude, x.abs());
            assert_eq!(half >> 15 == 1, x.is_sign_negative());
        }
    }
}
