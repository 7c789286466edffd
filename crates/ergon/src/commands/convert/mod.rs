//! `ergon convert`: a model repacked for this runtime.
//!
//! A Hugging Face folder becomes a folder of the same kind whose large matrices are packed blocks inside
//! `model.safetensors`; a GGUF model becomes a GGUF file (OUT ends in `.gguf`) or a folder with one. Either way names,
//! shapes and configuration stay, so that the result is read by the same code as the input. Tensors stream through: the
//! memory in use is a few MiB per thread, whatever the size of the model. Nothing appears at OUT before all is written.
//!
//! In a folder, routed experts are laid out to be read one by one while the model runs: the matrices of each side by side from
//! a page on, with checksums. A GGUF model's stacks are taken apart for that, which other programs do not read: `OUT.gguf`
//! keeps them.

mod encode;
mod folder;
mod gguf;
mod partial;
mod plan;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use ergon_checkpoint::{Checkpoint, CheckpointKind, Tensor};
use ergon_kernels::Cpu;
use ergon_types::{ByteSize, WeightFormat};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::{
    args::ConvertArgs, failure::Interrupted, interrupt::Interrupt, machine, output, progress, source,
};
use encode::Encoder;
use folder::{FolderDraft, PackedWeights};
use gguf::GgufFile;
use plan::{Plan, Planned};

/// Extents of an FP8 scale block where the configuration names none (DeepSeek-V3).
const DEFAULT_SCALE_BLOCK: [usize; 2] = [128, 128];

/// What was written.
#[derive(Serialize)]
struct Report {
    output: String,
    format: &'static str,
    tensors: usize,
    matrices_encoded: usize,
    fallbacks: BTreeMap<&'static str, usize>,
    bytes_in: u64,
    bytes_out: u64,
    seconds: f64,
}

pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let checkpoint = source::open(&args.input)?;
    let gguf = checkpoint.kind() == CheckpointKind::Gguf;
    let lone_file = has_gguf_extension(&args.output);
    ensure!(gguf || !lone_file, "a Hugging Face model is written as a folder; give OUT a name without .gguf");
    check_destination(&checkpoint, &args.output, args.force)?;
    partial::remove_left_behind(&args.output);
    let plan = plan::plan(&checkpoint, args.quant, !lone_file)?;
    tell_about(&plan, args.quant);
    let cpu = Cpu::new(args.threads.unwrap_or_else(machine::physical_cores));
    let writing = || format!("cannot write {}", args.output.display());
    let mut job = Job::new(&checkpoint, &plan, &cpu)?;
    if lone_file {
        let mut file = GgufFile::create(&args.output, &checkpoint, &plan.tensors, false)?;
        job.write_gguf(&mut file)?;
        file.finish()?;
    } else {
        let draft = FolderDraft::create(&args.output).with_context(writing)?;
        draft.copy_side_files(&checkpoint)?;
        if gguf {
            let mut file =
                GgufFile::create(&draft.path().join(folder::GGUF), &checkpoint, &plan.tensors, true)?;
            job.write_gguf(&mut file)?;
            file.finish()?;
        } else {
            let mut weights = PackedWeights::create(draft.path(), &plan.tensors)?;
            job.write_each(|planned, bytes| weights.write(&planned.source.name, bytes), |_| Ok(()))?;
            weights.finish()?;
        }
        draft.publish(args.force).with_context(writing)?;
    }
    job.bar.finish_and_clear();
    tell_result(args, &plan, job.written, start.elapsed().as_secs_f64())
}

/// The work over all tensors, with its progress.
struct Job<'a> {
    plan: &'a Plan<'a>,
    encoder: Encoder<'a>,
    scale_block: [usize; 2],
    interrupt: Interrupt,
    bar: ProgressBar,
    /// Bytes handed to the output.
    written: u64,
}

impl<'a> Job<'a> {
    fn new(checkpoint: &Checkpoint, plan: &'a Plan<'a>, cpu: &'a Cpu) -> anyhow::Result<Job<'a>> {
        let scale_block =
            match checkpoint.metadata().list_usize("quantization_config.weight_block_size")?.as_deref() {
                None => DEFAULT_SCALE_BLOCK,
                Some([rows, cols]) => [*rows, *cols],
                Some(other) => {
                    bail!("quantization_config.weight_block_size has {} extents, expected 2", other.len())
                }
            };
        let bar = progress::bytes("writing weights", plan.tensors.iter().filter_map(Planned::bytes).sum());
        Ok(Job {
            plan,
            encoder: Encoder::new(cpu),
            scale_block,
            interrupt: Interrupt::install()?,
            bar,
            written: 0,
        })
    }

    fn write_gguf(&mut self, file: &mut GgufFile) -> anyhow::Result<()> {
        // Both closures write to the one file, a tensor's bytes first and then its end.
        let file = std::cell::RefCell::new(file);
        self.write_each(|_, bytes| file.borrow_mut().write(bytes), |_| file.borrow_mut().end_tensor())
    }

    /// Hands every tensor's bytes to `write`, in the order of the plan, and calls `end` after each tensor.
    fn write_each(
        &mut self,
        mut write: impl FnMut(&Planned<'_>, &[u8]) -> anyhow::Result<()>,
        mut end: impl FnMut(&Planned<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for planned in &self.plan.tensors {
            let scales = planned.scales.map(scale_values).transpose()?;
            let scales = scales.as_deref().map(|values| (values, self.scale_block));
            let (interrupt, bar, written) = (&self.interrupt, &self.bar, &mut self.written);
            let sink = |bytes: &[u8]| {
                ensure!(!interrupt.take(), Interrupted);
                *written += bytes.len() as u64;
                bar.inc(bytes.len() as u64);
                write(planned, bytes)
            };
            match planned.encode {
                Some(format) => self.encoder.encode(&planned.source, scales, format, sink)?,
                None => encode::copy(&planned.source, sink)?,
            }
            end(planned)?;
        }
        Ok(())
    }
}

/// The values of an FP8 matrix's scale tensor.
fn scale_values(tensor: &Tensor) -> anyhow::Result<Vec<f32>> {
    ensure!(
        tensor.format == Some(WeightFormat::F32),
        "tensor '{}' is {}, scales are expected as F32",
        tensor.name,
        tensor.dtype_name
    );
    Ok(tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// Refuses before any work is done what could not be finished, or should not be.
fn check_destination(input: &Checkpoint, target: &Path, force: bool) -> anyhow::Result<()> {
    let Ok(existing) = fs::symlink_metadata(target) else { return Ok(()) };
    ensure!(force, "{} exists already; give --force to overwrite it", target.display());
    if let Some(source) = source_within_reach(input, target) {
        bail!(
            "{} cannot be overwritten: the input {} is the same, or lies within it or around it; write to another place",
            target.display(),
            source.display()
        );
    }
    ensure!(
        existing.is_dir() != has_gguf_extension(target),
        "{} is in the way: a {} cannot take its place",
        target.display(),
        if existing.is_dir() { "file" } else { "folder" }
    );
    if existing.is_dir() {
        folder::check_replaceable(target)?;
    }
    Ok(())
}

fn has_gguf_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// The path of the input, or of one of its weight files wherever links lead, that is `target` or lies within it or around
/// it.
fn source_within_reach(input: &Checkpoint, target: &Path) -> Option<PathBuf> {
    let to = fs::canonicalize(target).ok()?;
    let files = input.tensors().filter_map(|tensor| Some(tensor.data.extent()?.file().path().to_path_buf()));
    let sources: BTreeSet<PathBuf> = files.chain([input.path().to_path_buf()]).collect();
    sources.into_iter().find(|source| {
        fs::canonicalize(source).is_ok_and(|from| from.starts_with(&to) || to.starts_with(&from))
    })
}

fn tell_about(plan: &Plan<'_>, wanted: WeightFormat) {
    for (format, count) in &plan.fallbacks {
        output::note(&format!(
            "{count} matrices are written as {format}: their rows are no whole blocks of {wanted}"
        ));
    }
    if plan.requantized > 0 {
        let count = plan.requantized;
        output::note(&format!(
            "{count} matrices are quantised already; a second time loses more than from the original"
        ));
    }
}

fn tell_result(args: &ConvertArgs, plan: &Plan<'_>, bytes_out: u64, seconds: f64) -> anyhow::Result<()> {
    let encoded = plan.tensors.iter().filter(|planned| planned.encode.is_some()).count();
    let stored = |planned: &Planned<'_>| {
        planned.source.data.len() + planned.scales.map_or(0, |scales| scales.data.len())
    };
    let bytes_in = plan.tensors.iter().map(|planned| stored(planned) as u64).sum();
    let report = Report {
        output: args.output.display().to_string(),
        format: args.quant.name(),
        tensors: plan.tensors.len(),
        matrices_encoded: encoded,
        fallbacks: plan.fallbacks.iter().map(|(format, count)| (format.name(), *count)).collect(),
        bytes_in,
        bytes_out,
        seconds,
    };
    if args.json {
        return output::write_json(&report);
    }
    output::write_stdout(&format!(
        "{}: {} tensors, {encoded} of them encoded, {} -> {} in {seconds:.1} s\n",
        report.output,
        report.tensors,
        ByteSize(bytes_in),
        ByteSize(bytes_out)
    ))
}
