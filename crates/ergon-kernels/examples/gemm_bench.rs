//! Times the training products and attention on one thread, beside the peak that this CPU shows in the same run:
//! `cargo run --release -p ergon-kernels --example gemm_bench`.

use ergon_kernels::Isa;
use ergon_kernels::gemm::{
    Gemm, PackedColumns, PackedRows, PackedWeight, Write, forward, input_gradient, measure_peak,
    weight_gradient,
};
use ergon_kernels::ops::{
    SequenceAttention, SequenceMask, SequenceScratch, gelu_backward, rms_norm_backward, rms_norm_forward,
    sequence_attention, sequence_attention_backward, swiglu_backward, swiglu_forward,
};
use std::time::{Duration, Instant};

/// The best of several runs, in seconds: others may be using the machine.
fn best(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = Instant::now();
    for round in 0.. {
        let begin = Instant::now();
        run();
        best = best.min(begin.elapsed().as_secs_f64());
        if round >= 4 && start.elapsed() > Duration::from_millis(60) {
            break;
        }
    }
    best
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i + seed) * 7919) % 1999) as f32 / 1000.0 - 1.0).collect()
}

/// Multiplications and additions per second of the arithmetic, GFLOP/s.
fn peak(gemm: Gemm) -> f64 {
    let rounds = 100_000;
    let mut flops = 0;
    let seconds = best(|| flops = measure_peak(gemm, rounds));
    flops as f64 / seconds * 1e-9
}

fn products(gemm: Gemm, peak: f64, (m, n, k): (usize, usize, usize)) {
    let (x, w, dy) = (numbers(m * k, 1), numbers(n * k, 2), numbers(m * n, 3));
    let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
    let (mut x_rows, mut dy_rows) = (PackedRows::default(), PackedRows::default());
    let (mut x_cols, mut dy_cols) = (PackedColumns::default(), PackedColumns::default());
    let mut weight = PackedWeight::default();
    let pack_weight = best(|| weight.pack(gemm, &w, n, k));
    let pack_rows = best(|| x_rows.pack(gemm, &x, k));
    let pack_cols = best(|| x_cols.pack(gemm, &x, k));
    dy_rows.pack(gemm, &dy, n);
    dy_cols.pack(gemm, &dy, n);
    let times = [
        best(|| forward(gemm, &x_rows, &weight, None, &mut y, Write::Set)),
        best(|| input_gradient(gemm, &dy_rows, &weight, &mut dx, Write::Set)),
        best(|| weight_gradient(gemm, &dy_cols, &x_cols, &mut dw)),
    ];
    let flops = (2 * m * n * k) as f64;
    print!("m {m:>4} n {n:>4} k {k:>4}:");
    for (name, seconds) in ["forward", "dx", "dw"].into_iter().zip(times) {
        let rate = flops / seconds * 1e-9;
        print!("  {name} {rate:>6.1} ({:>3.0} %)", rate / peak * 100.0);
    }
    println!(
        "   pack: w {:.1} us, rows {:.1} us, columns {:.1} us",
        pack_weight * 1e6,
        pack_rows * 1e6,
        pack_cols * 1e6
    );
}

fn attention(gemm: Gemm, name: &str, shape: &SequenceAttention) {
    let q = numbers(shape.queries * shape.q_stride, 1);
    let (k, v) = (numbers(shape.keys * shape.k_stride, 2), numbers(shape.keys * shape.v_stride, 3));
    let dout = numbers(shape.queries * shape.out_stride, 4);
    let (mut dq, mut dk, mut dv, mut out) = (q.clone(), k.clone(), v.clone(), dout.clone());
    let mut p = vec![0.0; shape.probabilities_len()];
    let mut scratch = SequenceScratch::default();
    let ahead = best(|| sequence_attention(gemm, shape, &q, &k, &v, &mut out, &mut p, &mut scratch));
    let back = best(|| {
        sequence_attention_backward(
            gemm,
            shape,
            &q,
            &k,
            &v,
            &p,
            &dout,
            &mut dq,
            &mut dk,
            &mut dv,
            &mut scratch,
        );
    });
    let pairs = (shape.heads * shape.queries * shape.keys) as f64;
    let flops = pairs * 2.0 * (shape.k_dim + shape.v_dim) as f64;
    println!(
        "attention {name:<24} forward {:>6.1} us ({:>5.1} GFLOP/s, mask not deducted), backward {:>6.1} us ({:>5.1})",
        ahead * 1e6,
        flops / ahead * 1e-9,
        back * 1e6,
        flops * 2.0 / back * 1e-9,
    );
}

fn rows(isa: Isa) {
    let (m, cols, wide) = (800, 128, 256);
    let (x, dy, w) = (numbers(m * cols, 1), numbers(m * cols, 2), numbers(cols, 3));
    let (mut y, mut factors, mut dw) = (x.clone(), vec![0.0; m], vec![0.0; cols]);
    let norm = best(|| rms_norm_forward(isa, &x, &w, 1e-6, &mut y, &mut factors));
    let norm_back = best(|| rms_norm_backward(isa, &x, &w, &factors, &dy, &mut y, Write::Set, &mut dw));
    let (gate, up, dout) = (numbers(m * wide, 1), numbers(m * wide, 2), numbers(m * wide, 3));
    let (mut a, mut b) = (gate.clone(), gate.clone());
    let swiglu = best(|| swiglu_forward(isa, &gate, &up, &mut a));
    let swiglu_back = best(|| swiglu_backward(isa, &gate, &up, &dout, &mut a, &mut b));
    let gelu_back = best(|| gelu_backward(isa, &gate, &dout, &mut a));
    println!(
        "rms_norm [{m}, {cols}] {:.1} us, backward {:.1} us; swiglu [{m}, {wide}] {:.1} us, backward {:.1} us; \
         gelu backward {:.1} us",
        norm * 1e6,
        norm_back * 1e6,
        swiglu * 1e6,
        swiglu_back * 1e6,
        gelu_back * 1e6
    );
}

fn main() {
    for isa in Isa::available() {
        for gemm in Gemm::available(isa) {
            let peak = peak(gemm);
            println!("\n{isa}, {}: peak {peak:.1} GFLOP/s on one thread", gemm.name());
            let shapes: &[(usize, usize, usize)] = if isa == Isa::Generic {
                &[(400, 128, 128)]
            } else {
                &[
                    (400, 128, 128),
                    (400, 256, 128),
                    (400, 128, 256),
                    (400, 384, 128),
                    (400, 256, 256),
                    (400, 512, 512),
                    (800, 256, 1024),
                    (100, 128, 128),
                    (50, 256, 128),
                    (64, 128, 256),
                    (16, 128, 128),
                    (4, 128, 128),
                ]
            };
            for &shape in shapes {
                products(gemm, peak, shape);
            }
        }
        let gemm = Gemm::new(isa);
        let (full, causal) = (SequenceMask::Full, SequenceMask::Causal);
        attention(gemm, "vision 100x100 4x32", &SequenceAttention::dense(4, (100, 100), (32, 32), full));
        attention(gemm, "decoder 65x65 4x48/32", &SequenceAttention::dense(4, (65, 65), (48, 32), causal));
        attention(gemm, "action 16x81 4x32", &SequenceAttention::dense(4, (16, 81), (32, 32), full));
        rows(isa);
    }
}
