//! `ergon bench`: how fast a model runs here, and how much of the machine that is.
//!
//! Prefill and decode are measured apart, each after `--depth` tokens of context, as medians over repeats after a warm-up.
//! What memory and arithmetic could do at most is measured in the same run (`probe`), so that the fractions compare like
//! with like on a machine that others use too. Tokens are pseudo-random: a model fed with its own greedy output may
//! circle among a few experts and look faster than it is.

mod cache;
mod probe;
mod stats;
mod tokens;

use std::{hint::black_box, ops::Range, time::Instant};

use anyhow::ensure;
use ergon_checkpoint::return_free_memory;
use ergon_engine::Engine;
use ergon_kernels::Cpu;
use ergon_model::{Config, Input, LogitsWanted, ModelSummary, Phase, Scratch, Segment, SequenceState};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{
    args::{BenchArgs, Speculation},
    loading, machine,
    memory_report::RunMemory,
    output, progress, source,
};
use cache::Cache;
use stats::Spread;
use tokens::RandomTokens;

/// The JSON of `bench`; speculation is off.
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
    peak_compute_basis: String,
    fraction_of_peak_compute: f64,
    cache: Cache,
    memory: RunMemory,
    threads: usize,
    isa: &'static str,
    prefill: usize,
    decode: usize,
    depth: usize,
    repeat: usize,
    batch: usize,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let checkpoint = source::open(&args.model.model)?;
    let options = loading::engine_options(&args.runtime, Speculation::Off);
    let cpu = match options.isa {
        Some(isa) => Cpu::with_isa(isa, options.threads)?,
        None => Cpu::new(options.threads),
    };
    let phases = if args.batch > 1 { 3 } else { 2 };
    let bar = progress::items("measuring", phases * (args.repeat as u64 + 1));
    // Before the model comes, so that all of its budget is its own.
    bar.set_message("probing the machine");
    let bandwidth = probe::memory_bandwidth(&cpu, options.memory_budget_bytes.unwrap_or(u64::MAX) / 4)?;
    let (peak, peak_compute_basis) = probe::peak_compute(&cpu);
    if args.cold {
        checkpoint.forget_page_cache();
    }
    bar.set_message("measuring");
    let longest = args.depth.saturating_add(args.prefill.max(args.decode));
    let together = args.depth.saturating_add(args.decode);
    let most = longest.max(together.saturating_mul(args.batch));
    let mut engine = loading::engine(&checkpoint, &args.runtime, Speculation::Off, most)?;
    check_context(&engine, longest)?;
    engine.make_room(most)?;

    let measured = measure(args, &engine, &cpu, longest, together, &bar)?;
    let memory = RunMemory::of(&engine, most);
    bar.finish_and_clear();

    let model = engine.model();
    let summary = ModelSummary::of_model(&checkpoint, model);
    let kv_bytes = model.kv_bytes_per_token(engine.kv_format()) * (args.depth + args.decode / 2);
    let bytes_per_token = summary.bytes_active + kv_bytes as u64;
    let operations_per_token = layer_operations(summary.parameters_active, model.config());
    let Measured { prefill, decode, batch_decode, mut cache } = measured;
    if cache.bytes_read > 0 {
        // Last, because its buffers are no part of the budget; and with reads as large as an expert.
        let expert_bytes = engine.expert_cache().map_or(0, |cache| cache.expert_bytes as usize);
        drop(engine);
        cache.disk_limit_gb_s = probe::disk_bandwidth(&checkpoint, expert_bytes)?.map(|rate| rate / 1e9);
        cache.compare(decode.median, bandwidth / bytes_per_token as f64);
    }
    let report = Report {
        prefill_tokens_per_s: prefill,
        decode_tokens_per_s: decode,
        batch_decode_tokens_per_s: batch_decode,
        bytes_per_token,
        bandwidth_gb_s: bandwidth / 1e9,
        fraction_of_bandwidth: bytes_per_token as f64 * decode.median / bandwidth,
        operations_per_token,
        peak_compute_gop_s: peak / 1e9,
        peak_compute_basis,
        fraction_of_peak_compute: operations_per_token as f64 * prefill.median / peak,
        cache,
        memory,
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

/// Rates, and what the cache of routed experts did for them.
struct Measured {
    prefill: Spread,
    decode: Spread,
    batch_decode: Spread,
    cache: Cache,
}

/// Measures sequences of up to `longest` tokens alone and of `together` tokens in company.
fn measure(
    args: &BenchArgs,
    engine: &Engine,
    cpu: &Cpu,
    longest: usize,
    together: usize,
    bar: &ProgressBar,
) -> anyhow::Result<Measured> {
    let mut bench = Bench::new(engine, cpu, args.locality, 1, longest)?;
    bench.feed(args.depth, Phase::Prefill)?;
    let prefill = bench.rates(args, Phase::Prefill, args.prefill, bar)?;
    let before = engine.expert_cache();
    let start = Instant::now();
    let decode = bench.rates(args, Phase::Decode, args.decode, bar)?;
    let reports = before.zip(engine.expert_cache());
    let cache = Cache::of(reports, start.elapsed(), args.decode * (args.repeat + 1));
    drop(bench);
    let mut batch_decode = decode;
    if args.batch > 1 {
        let mut bench = Bench::new(engine, cpu, args.locality, args.batch, together)?;
        bench.feed(args.depth, Phase::Prefill)?;
        batch_decode = bench.rates(args, Phase::Decode, args.decode, bar)?;
    }
    Ok(Measured { prefill, decode, batch_decode, cache })
}

/// Operations of the matrices in the layers for one token. The head is left out: of a prompt, only the last token has it.
fn layer_operations(parameters_active: u64, config: &Config) -> u64 {
    let head = config.vocab_size as u64 * config.hidden_size as u64;
    2 * parameters_active.saturating_sub(head)
}

/// Whether the longest sequence fits in the context.
fn check_context(engine: &Engine, tokens: usize) -> anyhow::Result<()> {
    let context = engine.context_length();
    ensure!(
        tokens <= context,
        "--depth and --prefill or --decode make {tokens} tokens, the model's context holds {context}; measure fewer"
    );
    Ok(())
}

/// Sequences of random tokens that are fed, measured and cut back.
struct Bench<'a> {
    engine: &'a Engine,
    cpu: &'a Cpu,
    states: Vec<SequenceState>,
    scratch: Scratch,
    logits: Vec<f32>,
    tokens: RandomTokens,
    capacity_tokens: usize,
    last_phase: Phase,
}

impl<'a> Bench<'a> {
    fn new(
        engine: &'a Engine,
        cpu: &'a Cpu,
        locality: f64,
        sequences: usize,
        capacity_tokens: usize,
    ) -> anyhow::Result<Bench<'a>> {
        let state = || engine.model().new_state(engine.kv_format(), capacity_tokens, false);
        let states = (0..sequences).map(|_| state()).collect::<Result<_, _>>()?;
        let tokens = RandomTokens::new(engine.model().config().vocab_size, locality, sequences);
        Ok(Bench {
            engine,
            cpu,
            states,
            scratch: Scratch::default(),
            logits: Vec::new(),
            tokens,
            capacity_tokens,
            last_phase: Phase::Decode,
        })
    }

    /// Tokens per second of all sequences over `n` tokens of each at the depth they have now; one warm-up is not
    /// counted.
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
            self.states.iter_mut().for_each(|state| state.truncate(args.depth));
            if round > 0 {
                rates.push((n * self.states.len()) as f64 / seconds);
            }
            bar.inc(1);
        }
        Ok(Spread::of(&rates))
    }

    /// Appends `n` tokens to each sequence: prompts one after the other in the engine's chunks, with logits of their last
    /// token only, or one token of all sequences at a time, each with its logits and the choice of the likeliest.
    fn feed(&mut self, n: usize, phase: Phase) -> anyhow::Result<()> {
        let sequences = self.states.len();
        if phase == Phase::Decode && self.last_phase == Phase::Prefill {
            (self.scratch, self.logits) = (Scratch::default(), Vec::new());
            return_free_memory();
        }
        self.last_phase = phase;
        let chunk = self.engine.share_memory(phase, sequences, sequences * self.capacity_tokens);
        if phase == Phase::Decode {
            return (0..n).try_for_each(|_| self.step(0..sequences, 1, phase, LogitsWanted::Last));
        }
        for sequence in 0..sequences {
            for start in (0..n).step_by(chunk) {
                let last = start + chunk >= n;
                let wanted = if last { LogitsWanted::Last } else { LogitsWanted::None };
                self.step(sequence..sequence + 1, chunk.min(n - start), phase, wanted)?;
            }
        }
        Ok(())
    }

    /// Appends `n` tokens to some of the sequences at once.
    fn step(
        &mut self,
        sequences: Range<usize>,
        n: usize,
        phase: Phase,
        logits: LogitsWanted,
    ) -> anyhow::Result<()> {
        let model = self.engine.model();
        let vocab = model.config().vocab_size;
        let mut draw = |sequence| (0..n).map(|_| self.tokens.next(sequence)).collect();
        let tokens: Vec<Vec<u32>> = sequences.clone().map(&mut draw).collect();
        let segment = |(state, tokens)| Segment { input: Input::Tokens(tokens), state, phase, logits };
        let tokens = tokens.iter().map(Vec::as_slice);
        let mut segments: Vec<Segment> = self.states[sequences].iter_mut().zip(tokens).map(segment).collect();
        model.forward(self.cpu, &mut segments, &mut self.scratch, &mut self.logits)?;
        for logits in self.logits.chunks(vocab) {
            black_box(logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)));
        }
        Ok(())
    }
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
    let cache = report.cache.lines();
    format!(
        "prefill {:>6} tokens  {}, {} of peak compute ({:.0} G operations/s)\n\
         decode  {:>6} tokens  {}, {} of bandwidth ({:.1} GB/s)\n{batch}\
         bytes per token       {:.1} MB at depth {}\n{cache}\
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
