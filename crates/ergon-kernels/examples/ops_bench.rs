//! Times the thread pool and attention: `cargo run --release -p ergon-kernels --example ops_bench [threads]`.

use ergon_kernels::ops::{AttentionRow, AttentionShape, KeyValues, KvSlice, attention, f32_to_f16};
use ergon_kernels::{Cpu, Isa, ThreadPool};
use std::time::{Duration, Instant};

/// The best of several runs, in seconds: others may be using the machine.
fn best(mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let start = Instant::now();
    for round in 0.. {
        let begin = Instant::now();
        run();
        best = best.min(begin.elapsed().as_secs_f64());
        if round >= 2 && start.elapsed() > Duration::from_millis(250) {
            break;
        }
    }
    best
}

fn pool_latency(threads: usize) {
    let pool = ThreadPool::new(threads);
    let region = |n_tasks: usize| best(|| (0..1000).for_each(|_| pool.run(n_tasks, |_| {}))) * 1e3;
    println!("empty region, {threads} threads: {:.2} us; 64 tasks: {:.2} us", region(threads), region(64));
    // Tasks that wait for one another: how long until every thread has come.
    let met = std::sync::atomic::AtomicUsize::new(0);
    let meet = || {
        met.store(0, std::sync::atomic::Ordering::SeqCst);
        pool.run(threads, |_| {
            met.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            while met.load(std::sync::atomic::Ordering::SeqCst) < threads {
                std::hint::spin_loop();
            }
        });
    };
    let awake = best(|| (0..1000).for_each(|_| meet())) * 1e3;
    let mut asleep = f64::INFINITY;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        let begin = Instant::now();
        meet();
        asleep = asleep.min(begin.elapsed().as_secs_f64() * 1e6);
    }
    println!("all threads in a region: {awake:.2} us when awake, {asleep:.1} us when parked");
}

/// Rows `depth - n_rows .. depth` of one sequence; GB/s of cache read by a decode step, GFLOP/s otherwise.
fn attention_speed(cpu: &Cpu, name: &str, shape: AttentionShape, half: bool, n_rows: usize, depth: usize) {
    let latent = shape.k_dim != shape.v_dim;
    let (k_row, v_row) = (shape.n_kv_heads * shape.k_dim, shape.n_kv_heads * shape.v_dim);
    let numbers = |n: usize| (0..n).map(|i| ((i * 7919) % 1999) as f32 / 1000.0 - 1.0).collect::<Vec<f32>>();
    let (k, v) = (numbers(depth * k_row), numbers(if latent { 0 } else { depth * v_row }));
    let (mut k16, mut v16) = (vec![0; k.len()], vec![0; v.len()]);
    f32_to_f16(&k, &mut k16);
    f32_to_f16(&v, &mut v16);
    let (k, v) =
        if half { (KvSlice::F16(&k16), KvSlice::F16(&v16)) } else { (KvSlice::F32(&k), KvSlice::F32(&v)) };
    let kv = if latent {
        KeyValues { k, v: k, k_row_stride: k_row, v_row_stride: k_row }
    } else {
        KeyValues { k, v, k_row_stride: k_row, v_row_stride: v_row }
    };
    let rows: Vec<AttentionRow<'_>> =
        (depth - n_rows..depth).map(|p| AttentionRow { kv, visible: 0..p + 1 }).collect();
    let q = numbers(n_rows * shape.n_heads * shape.k_dim);
    let mut out = vec![0.0; n_rows * shape.n_heads * shape.v_dim];
    let seconds = best(|| attention(cpu, &shape, &q, &rows, &mut out));

    let element = if half { 2.0 } else { 4.0 };
    let bytes = (depth * (k_row + if latent { 0 } else { v_row })) as f64 * element;
    let pairs: usize = rows.iter().map(|row| row.visible.len() * shape.n_heads).sum();
    let flops = (pairs * 2 * (shape.k_dim + shape.v_dim)) as f64;
    println!(
        "{name:<14} {} {:>7} threads {} rows {n_rows:>3} depth {depth:>6}: {:>9.1} us {:>6.1} GB/s {:>6.1} GFLOP/s",
        if half { "f16" } else { "f32" },
        cpu.isa.name(),
        cpu.pool.threads(),
        seconds * 1e6,
        if n_rows == 1 { bytes / seconds * 1e-9 } else { 0.0 },
        flops / seconds * 1e-9,
    );
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    pool_latency(threads);
    let gqa = AttentionShape { n_heads: 32, n_kv_heads: 8, k_dim: 128, v_dim: 128, scale: 0.088 };
    let mla = AttentionShape { n_heads: 16, n_kv_heads: 1, k_dim: 576, v_dim: 512, scale: 0.072 };
    let mha = AttentionShape { n_heads: 16, n_kv_heads: 16, k_dim: 192, v_dim: 192, scale: 0.072 };
    for isa in Isa::available() {
        let Ok(cpu) = Cpu::with_isa(isa, threads) else { continue };
        let depths: &[usize] = if isa == Isa::Generic { &[1024] } else { &[4096, 16384] };
        for &depth in depths {
            for half in [true, false] {
                attention_speed(&cpu, "GQA 32/8 128", gqa, half, 1, depth);
                attention_speed(&cpu, "MLA 16 576/512", mla, half, 1, depth);
            }
        }
        let prompt = if isa == Isa::Generic { 64 } else { 512 };
        attention_speed(&cpu, "GQA 32/8 128", gqa, true, prompt, prompt);
        attention_speed(&cpu, "MHA 16 192", mha, true, prompt, prompt);
    }
}
