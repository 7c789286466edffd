//! `ergon bench`: how fast a model runs here, and how much of the machine that is.
//!
//! Prefill and decode are measured apart, each after `--depth` tokens of context, as medians over repeats after a warm-up.
//! What memory and arithmetic could do at most is measured in the same run (`probe`), so that the fractions compare like
//! with like on a machine that others use too. Tokens are pseudo-random: a model fed with its own greedy output may
//! circle among a few experts and look faster than it is.

mod probe;
mod stats;

use std::{hint::black_box, time::Instant};

use anyhow::ensure;
use ergon_engine::Engine;
use ergon_kernels::Cpu;
use ergon_model::{Config, Input, LogitsWanted, ModelSummary, Phase, Scratch, Segment, SequenceState};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{
    args::{BenchArgs, Speculation},
    loading, machine, output, progress, source,
};
use stats::Spread;

/// The JSON of `bench`. Rates are of weights that stay in memory; speculation is off.
#[derive(Serialize)]
struct Report {
    prefill_tokens_per_s: Spread,
    decode_tokens_per_s: Spread,
    /// Of all sequences together, when `batch` of them decode at the same time; the same as one sequence's for one.
    batch_decode_tokens_per_s: Spread,
    /// Weights and cached keys and values one decoded token reads, at the middle of the measured depths.
    bytes_per_token: u64,
    /// What all threads together can read, 1e9 bytes per second.
    bandwidth_gb_s: f64,
    /// Above 1 for models so small that the caches hold them.
    fraction_of_bandwidth: f64,
    /// Operations of the matrices in the layers for one token, a multiply and an add being two; attention not counted.
    operations_per_token: u64,
    peak_compute_gop_s: f64,
    peak_compute_basis: &'static str,
    fraction_of_peak_compute: f64,
    cache: Cache,
    threads: usize,
    isa: &'static str,
    prefill: usize,
    decode: usize,
    depth: usize,
    repeat: usize,
    batch: usize,
}

/// The cache of routed experts: all weights stay in memory, so every expert is found there.
#[derive(Serialize)]
struct Cache {
    hit_rate: f64,
    bytes_read: u64,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let checkpoint = source::open(&args.model.model)?;
    let engine = loading::engine(&checkpoint, &args.runtime, Speculation::Off)?;
    let longest = args.depth.saturating_add(args.prefill.max(args.decode));
    // The first sequence stays while several decode together.
    let together =
        if args.batch > 1 { args.batch.saturating_mul(args.depth.saturating_add(args.decode)) } else { 0 };
    let everything = longest.saturating_add(together);
    check_fit(&engine, longest, everything)?;
    let options = engine.options();
    let cpu = match options.isa {
        Some(isa) => Cpu::with_isa(isa, options.threads)?,
        None => Cpu::new(options.threads),
    };
    let mut bench = Bench::new(&engine, &cpu, longest)?;
    let phases = if args.batch > 1 { 3 } else { 2 };
    let bar = progress::items("measuring", phases * (args.repeat as u64 + 1));
    bench.feed(args.depth, Phase::Prefill)?;
    let prefill = bench.rates(args, Phase::Prefill, args.prefill, &bar)?;
    let decode = bench.rates(args, Phase::Decode, args.decode, &bar)?;
    let batch_decode = if args.batch > 1 { bench.batch_rates(args, &bar)? } else { decode };
    drop(bench);
    bar.set_message("probing the machine");
    let spare = loading::memory_budget_bytes(&args.runtime).unwrap_or(u64::MAX) / 4;
    let bandwidth = probe::memory_bandwidth(&cpu, spare)?;
    let peak = probe::peak_compute(&cpu)?;
    bar.finish_and_clear();

    let model = engine.model();
    let summary = ModelSummary::of_model(&checkpoint, model);
    let kv_bytes = model.kv_bytes_per_token(engine.kv_format()) * (args.depth + args.decode / 2);
    let bytes_per_token = summary.bytes_active + kv_bytes as u64;
    let operations_per_token = layer_operations(summary.parameters_active, model.config());
    let report = Report {
        prefill_tokens_per_s: prefill,
        decode_tokens_per_s: decode,
        batch_decode_tokens_per_s: batch_decode,
        bytes_per_token,
        bandwidth_gb_s: bandwidth / 1e9,
        fraction_of_bandwidth: bytes_per_token as f64 * decode.median / bandwidth,
        operations_per_token,
        peak_compute_gop_s: peak / 1e9,
        peak_compute_basis: probe::PEAK_BASIS,
        fraction_of_peak_compute: operations_per_token as f64 * prefill.median / peak,
        cache: Cache { hit_rate: 1.0, bytes_read: 0 },
        threads: cpu.pool.threads(),
        isa: cpu.isa.name(),
        prefill: args.prefill,
        decode: args.decode,
        depth: args.depth,
        repeat: args.repeat,
        batch: args.batch,
    };
    if args.json { output::write_json(&report) } else { output::write_stdout(&table(&report)) }
}

/// Operations of the matrices in the layers for one token. The head is left out: of a prompt, only the last token has it.
fn layer_operations(parameters_active: u64, config: &Config) -> u64 {
    let head = config.vocab_size as u64 * config.hidden_size as u64;
    2 * parameters_active.saturating_sub(head)
}

/// Whether the longest sequence fits in the context, and the tokens of all of them in memory.
fn check_fit(engine: &Engine, tokens: usize, everything: usize) -> anyhow::Result<()> {
    let context = engine.context_length();
    ensure!(
        tokens <= context,
        "--depth and --prefill or --decode make {tokens} tokens, the model's context holds {context}; measure fewer"
    );
    let need = engine.memory_need(everything);
    ensure!(need.fits(), "{need}");
    Ok(())
}

/// A sequence of random tokens that is fed, measured and cut back.
struct Bench<'a> {
    engine: &'a Engine,
    cpu: &'a Cpu,
    state: SequenceState,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'a> Bench<'a> {
    fn new(engine: &'a Engine, cpu: &'a Cpu, capacity_tokens: usize) -> anyhow::Result<Bench<'a>> {
        let state = engine.model().new_state(engine.kv_format(), capacity_tokens, false)?;
        Ok(Bench { engine, cpu, state, scratch: Scratch::default(), logits: Vec::new() })
    }

    /// Tokens per second over `n` tokens at the depth the sequence has now; one warm-up is not counted.
    fn rates(
        &mut self,
        args: &BenchArgs,
        phase: Phase,
        n: usize,
        bar: &ProgressBar,
    ) -> anyhow::Result<Spread> {
        let mut rates = Vec::with_capacity(args.repeat);
        for round in 0..=args.repeat {
            let start = Instant::now();
            self.feed(n, phase)?;
            let seconds = start.elapsed().as_secs_f64();
            self.state.truncate(args.depth);
            if round > 0 {
                rates.push(n as f64 / seconds);
            }
            bar.inc(1);
        }
        Ok(Spread::of(&rates))
    }

    /// Tokens per second of `args.batch` sequences that decode together at the same depth; one warm-up is not counted.
    fn batch_rates(&mut self, args: &BenchArgs, bar: &ProgressBar) -> anyhow::Result<Spread> {
        let model = self.engine.model();
        let vocab = model.config().vocab_size;
        let mut states = Vec::with_capacity(args.batch);
        for _ in 0..args.batch {
            let state = model.new_state(self.engine.kv_format(), args.depth + args.decode, false)?;
            let own = std::mem::replace(&mut self.state, state);
            self.feed(args.depth, Phase::Prefill)?;
            states.push(std::mem::replace(&mut self.state, own));
        }
        let mut rates = Vec::with_capacity(args.repeat);
        for round in 0..=args.repeat {
            let start = Instant::now();
            for step in 0..args.decode {
                // Different tokens, so that they visit different experts.
                let token = |sequence: usize| random_token(step * args.batch + sequence, vocab);
                let tokens: Vec<[u32; 1]> = (0..args.batch).map(|sequence| [token(sequence)]).collect();
                let mut segments: Vec<Segment> = states
                    .iter_mut()
                    .zip(&tokens)
                    .map(|(state, token)| Segment {
                        input: Input::Tokens(token),
                        state,
                        phase: Phase::Decode,
                        logits: LogitsWanted::Last,
                    })
                    .collect();
                model.forward(self.cpu, &mut segments, &mut self.scratch, &mut self.logits)?;
                black_box(&self.logits);
            }
            let seconds = start.elapsed().as_secs_f64();
            states.iter_mut().for_each(|state| state.truncate(args.depth));
            if round > 0 {
                rates.push((args.decode * args.batch) as f64 / seconds);
            }
            bar.inc(1);
        }
        Ok(Spread::of(&rates))
    }

    /// Appends `n` tokens: a prompt in the engine's chunks, with logits of its last token only, or one token at a time,
    /// each with its logits and the choice of the likeliest.
    fn feed(&mut self, n: usize, phase: Phase) -> anyhow::Result<()> {
        let vocab = self.engine.model().config().vocab_size;
        let chunk = match phase {
            Phase::Prefill => self.engine.options().prefill_chunk_tokens,
            Phase::Decode => 1,
        };
        let first = self.state.len();
        let tokens: Vec<u32> = (first..first + n).map(|position| random_token(position, vocab)).collect();
        let mut left = n;
        for piece in tokens.chunks(chunk) {
            left -= piece.len();
            let wanted =
                if phase == Phase::Decode || left == 0 { LogitsWanted::Last } else { LogitsWanted::None };
            let segment =
                Segment { input: Input::Tokens(piece), state: &mut self.state, phase, logits: wanted };
            self.engine.model().forward(self.cpu, &mut [segment], &mut self.scratch, &mut self.logits)?;
            black_box(self.logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)));
        }
        Ok(())
    }
}

/// A token for a position: the same in every run, without pattern (SplitMix64's finaliser).
fn random_token(position: usize, vocab: usize) -> u32 {
    let mut x = (position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) % vocab.max(1) as u64) as u32
}

fn table(report: &Report) -> String {
    let spread = |s: &Spread| format!("{:.1} tokens/s ({:.1} to {:.1})", s.median, s.min, s.max);
    let percent = |fraction: f64| format!("{:.1} %", fraction * 100.0);
    let peak = machine::peak_resident_bytes()
        .map_or("unknown".to_string(), |b| ergon_types::ByteSize(b).to_string());
    let batch = if report.batch > 1 {
        let spread = spread(&report.batch_decode_tokens_per_s);
        format!("decode  {:>6} sequences of {} tokens together  {spread}\n", report.batch, report.decode)
    } else {
        String::new()
    };
    format!(
        "prefill {:>6} tokens  {}, {} of peak compute ({:.0} G operations/s)\n\
         decode  {:>6} tokens  {}, {} of bandwidth ({:.1} GB/s)\n{batch}\
         bytes per token       {:.1} MB at depth {}\n\
         machine               {} threads, {}, peak memory {peak}\n",
        report.prefill,
        spread(&report.prefill_tokens_per_s),
        percent(report.fraction_of_peak_compute),
        report.peak_compute_gop_s,
        report.decode,
        spread(&report.decode_tokens_per_s),
        percent(report.fraction_of_bandwidth),
        report.bandwidth_gb_s,
        report.bytes_per_token as f64 / 1e6,
        report.depth,
        report.threads,
        report.isa,
    )
}
