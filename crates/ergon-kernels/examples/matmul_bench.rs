//! How fast the matrix products are, beside what memory allows.
//!
//! ```text
//! cargo run --release -p ergon-kernels --example matmul_bench -- [--threads N] [--isa NAME] [--formats a,b] [--rows 1,4,64,512]
//!     [--cols 2048] [--cached yes]
//! ```
//!
//! Few activation rows (decoding): the matrix is far larger than the caches, so GB/s of weights is what counts, and the
//! first line tells how fast the same threads merely read memory. Many rows (prefill): billions of multiply-adds per
//! second. With `--cached yes` the weights fit in the second-level cache, which shows the kernels without the memory.
//! Rounding the activations is not timed.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use ergon_kernels::{ActivationBuffer, Cpu, Isa, MatrixRef, cases, matmul, measure_byte_peak};
use ergon_types::WeightFormat;

/// Bytes of weights for few rows; past any last-level cache of the machines aimed at.
const STREAMED_BYTES: usize = 160 << 20;
/// Bytes of weights that a second-level cache holds.
const CACHED_BYTES: usize = 256 << 10;
const MEASURE: Duration = Duration::from_millis(250);

struct Options {
    threads: usize,
    isas: Vec<Isa>,
    formats: Vec<WeightFormat>,
    rows: Vec<usize>,
    cols: usize,
    cached: bool,
}

fn options() -> Option<Options> {
    let mut options = Options {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        isas: Isa::available(),
        formats: WeightFormat::ALL.to_vec(),
        rows: vec![1, 4, 64, 512],
        cols: 2048,
        cached: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next()?;
        match flag.as_str() {
            "--threads" => options.threads = value.parse().ok()?,
            "--isa" => options.isas = value.split(',').map(Isa::from_name).collect::<Option<_>>()?,
            "--formats" => {
                options.formats = value.split(',').map(WeightFormat::from_name).collect::<Option<_>>()?
            }
            "--rows" => options.rows = value.split(',').map(|n| n.parse().ok()).collect::<Option<_>>()?,
            // Every format has whole blocks then.
            "--cols" => options.cols = value.parse().ok().filter(|cols| *cols > 0 && cols % 256 == 0)?,
            "--cached" => options.cached = value == "yes",
            _ => return None,
        }
    }
    Some(options)
}

/// Seconds of one call, the best of several.
fn time(mut call: impl FnMut()) -> f64 {
    call();
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < MEASURE {
        let began = Instant::now();
        call();
        best = best.min(began.elapsed().as_secs_f64());
    }
    best
}

/// What the memory gives when the threads only add up what they read.
fn read_memory(cpu: &Cpu) {
    let data = vec![1_u64; STREAMED_BYTES / 8];
    let tasks: Vec<&[u64]> = data.chunks(8 << 10).collect();
    let seconds = time(|| {
        cpu.pool.run(tasks.len(), |task| {
            black_box(tasks[task].iter().fold(0_u64, |sum, word| sum.wrapping_add(*word)));
        });
    });
    println!(
        "reading memory, {} threads: {:.1} GB/s",
        cpu.pool.threads(),
        STREAMED_BYTES as f64 / seconds / 1e9
    );
}

/// Products of bytes that one thread's arithmetic units do, 10^9 multiply-adds a second.
fn byte_peak(isa: Isa) -> f64 {
    let mut operations = 0;
    let seconds = time(|| operations = measure_byte_peak(isa, 1 << 16));
    operations as f64 / 2.0 / seconds / 1e9
}

fn main() {
    let Some(options) = options() else {
        eprintln!(
            "usage: matmul_bench [--threads N] [--isa NAME,..] [--formats NAME,..] [--rows N,..] [--cols N (times 256)] [--cached yes]"
        );
        std::process::exit(2);
    };
    let streamed_bytes = if options.cached { CACHED_BYTES } else { STREAMED_BYTES };
    if !options.cached {
        read_memory(&Cpu::new(options.threads));
    }
    for &isa in options.isas.iter().filter(|isa| isa.is_available()) {
        println!("peak of {isa}, 1 thread: {:.1} GMAC/s of bytes", byte_peak(isa));
    }
    println!("{:<8} {:<8} {:>5} {:>9} {:>9}", "isa", "format", "rows", "GB/s", "GMAC/s");
    for &format in &options.formats {
        let row_bytes = format.row_bytes(options.cols).unwrap_or(1);
        // Random bytes of a few rows, repeated: making them all would take longer than the measurement.
        let some = cases::weights(format, 64, options.cols, 1);
        let streamed = some.repeat((streamed_bytes / row_bytes / 64).max(1));
        for &isa in &options.isas {
            let Ok(cpu) = Cpu::with_isa(isa, options.threads) else { continue };
            for &n in &options.rows {
                let bytes =
                    if n <= 4 { &streamed[..] } else { &streamed[..(512 * row_bytes).min(streamed.len())] };
                let rows = bytes.len() / row_bytes;
                let Ok(w) = MatrixRef::new(format, rows, options.cols, bytes) else { continue };
                let x = cases::Random::new(2).normals(n * options.cols);
                let mut buffer = ActivationBuffer::default();
                let mut y = vec![0.0; n * rows];
                let x = buffer.prepare(&cpu, &x, options.cols, [format]);
                let seconds = time(|| matmul(&cpu, w, x, &mut y));
                let (read, products) = (bytes.len() as f64, (n * rows * options.cols) as f64);
                println!(
                    "{:<8} {:<8} {n:>5} {:>9.1} {:>9.1}",
                    isa.name(),
                    format.name(),
                    read / seconds / 1e9,
                    products / seconds / 1e9
                );
            }
        }
    }
}
