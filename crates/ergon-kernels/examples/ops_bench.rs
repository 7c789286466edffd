//! Times the thread pool and attention: `cargo run --release -p ergon-kernels --example ops_bench [threads]`.

use ergon_kernels::ops::{
    AttentionRow, AttentionShape, KeyValues, KvSlice, Q8Block, attention, f32_to_f16, f32_to_q8,
};
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

/// A cache in all formats.
struct Stored {
    f32: Vec<f32>,
    f16: Vec<u16>,
    q8: Vec<Q8Block>,
}

impl Stored {
    fn new(f32: Vec<f32>) -> Stored {
        let mut f16 = vec![0; f32.len()];
        f32_to_f16(&f32, &mut f16);
        let mut q8 = vec![Q8Block::default(); f32.len() / Q8Block::VALUES];
        f32_to_q8(&f32, &mut q8);
        Stored { f32, f16, q8 }
    }

    fn slice(&self, format: &str) -> KvSlice<'_> {
        match format {
            "f16" => KvSlice::F16(&self.f16),
            "q8" => KvSlice::Q8(&self.q8),
            _ => KvSlice::F32(&self.f32),
        }
    }
}

/// Rows `depth - n_rows .. depth` of one sequence; GB/s of cache read by a decode step, GFLOP/s, and the root mean square
/// of the errors against single precision over that of the results.
fn attention_speed(
    cpu: &Cpu,
    name: &str,
    shape: AttentionShape,
    formats: &[&str],
    n_rows: usize,
    depth: usize,
) {
    let latent = shape.k_dim != shape.v_dim;
    let (k_row, v_row) = (shape.n_kv_heads * shape.k_dim, shape.n_kv_heads * shape.v_dim);
    // Uniform, from a generator without short periods.
    let mut state = 1u64;
    let mut numbers = |n: usize| {
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| number()).collect::<Vec<f32>>()
    };
    let k = Stored::new(numbers(depth * k_row));
    let v = Stored::new(numbers(if latent { 0 } else { depth * v_row }));
    let q = numbers(n_rows * shape.n_heads * shape.k_dim);
    let mut right = Vec::new();
    for format in std::iter::once(&"f32").chain(formats) {
        let (k, v) = (k.slice(format), v.slice(format));
        let kv = match latent {
            true => KeyValues { k, v: k, k_row_stride: k_row, v_row_stride: k_row },
            false => KeyValues { k, v, k_row_stride: k_row, v_row_stride: v_row },
        };
        let rows: Vec<AttentionRow<'_>> =
            (depth - n_rows..depth).map(|p| AttentionRow { kv, visible: 0..p + 1 }).collect();
        let mut out = vec![0.0; n_rows * shape.n_heads * shape.v_dim];
        if right.is_empty() {
            attention(cpu, &shape, &q, &rows, &mut out);
            right = out;
            continue;
        }
        let seconds = best(|| attention(cpu, &shape, &q, &rows, &mut out));
        let values = depth * (k_row + if latent { 0 } else { v_row });
        let bytes = match *format {
            "f16" => values * 2,
            "q8" => values / Q8Block::VALUES * size_of::<Q8Block>(),
            _ => values * 4,
        };
        let pairs: usize = rows.iter().map(|row| row.visible.len() * shape.n_heads).sum();
        let flops = (pairs * 2 * (shape.k_dim + shape.v_dim)) as f64;
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
        let off = squares(&mut out.iter().zip(&right).map(|(out, right)| out - right));
        println!(
            "{name:<14} {format} {:>7} threads {} rows {n_rows:>3} depth {depth:>6}: {:>9.1} us {:>6.1} GB/s {:>6.1} GFLOP/s, error {:.1e}",
            cpu.isa.name(),
            cpu.pool.threads(),
            seconds * 1e6,
            if n_rows == 1 { bytes as f64 / seconds * 1e-9 } else { 0.0 },
            flops / seconds * 1e-9,
            (off / squares(&mut right.iter().copied())).sqrt(),
        );
    }
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
            attention_speed(&cpu, "GQA 32/8 128", gqa, &["f32", "f16", "q8"], 1, depth);
            attention_speed(&cpu, "MLA 16 576/512", mla, &["f32", "f16", "q8"], 1, depth);
        }
        let prompt = if isa == Isa::Generic { 64 } else { 512 };
        attention_speed(&cpu, "GQA 32/8 128", gqa, &["f16", "q8"], prompt, prompt);
        attention_speed(&cpu, "MHA 16 192", mha, &["f16"], prompt, prompt);
    }
}
