//! `ergon inspect`: what is in a model, from its headers alone.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context;
use ergon_checkpoint::Checkpoint;
use ergon_engine::{EngineOptions, MemoryPlan};
use ergon_model::ModelSummary;
use ergon_types::ByteSize;
use serde::Serialize;

use crate::{args::InspectArgs, machine, memory_report::MemoryReport, output, source};

/// The JSON of `inspect`.
#[derive(Serialize)]
struct Report {
    architecture: String,
    parameters_total: u64,
    /// Weights that one token multiplies with.
    parameters_active: u64,
    tensors: usize,
    /// Bytes by storage format.
    weight_formats: BTreeMap<String, u64>,
    context_length: usize,
    /// Bytes of everything but the routed experts.
    bytes_resident: u64,
    bytes_routed_experts: u64,
    /// Bytes of weights that one token reads.
    bytes_active: u64,
    /// In the default precision of the cache.
    bytes_kv_per_token: u64,
    /// That precision: f32, or f16 for models in block formats.
    kv_format: &'static str,
    supported: bool,
    /// Why not; null if it is supported.
    reason: Option<String>,
    /// How it would use the budget of `--memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Plan>,
}

/// A budget, planned from headers.
#[derive(Serialize)]
struct Plan {
    fits: bool,
    #[serde(flatten)]
    account: MemoryReport,
    /// Whether routed experts are read as they are visited, and how many then stay in memory of how many bytes.
    reads_experts: bool,
    experts_in_memory: Option<u64>,
    prefill_chunk_tokens: usize,
    /// What is missing, in words; null if it fits.
    shortfall: Option<String>,
}

pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let checkpoint = source::open(&args.model.model)?;
    let summary = ModelSummary::from_checkpoint(&checkpoint);
    let kv_format = summary.default_kv_format().name();
    let report = Report {
        kv_format,
        architecture: summary.architecture,
        parameters_total: summary.parameters_total,
        parameters_active: summary.parameters_active,
        tensors: summary.tensors,
        weight_formats: summary.weight_formats,
        context_length: summary.context_length,
        bytes_resident: summary.bytes_resident,
        bytes_routed_experts: summary.bytes_routed_experts,
        bytes_active: summary.bytes_active,
        bytes_kv_per_token: summary.bytes_kv_per_token,
        supported: summary.unsupported.is_none(),
        reason: summary.unsupported,
        memory: args.memory.map(|budget| plan(&checkpoint, args, budget)).transpose()?,
    };
    if args.json { output::write_json(&report) } else { output::write_stdout(&table(&report)) }
}

/// A budget holds the program too, which is taken to be what this one has now.
fn plan(checkpoint: &Checkpoint, args: &InspectArgs, budget: ByteSize) -> anyhow::Result<Plan> {
    let options = EngineOptions {
        memory_budget_bytes: Some(budget.0),
        expected_tokens: args.tokens.unwrap_or(0),
        process_bytes: machine::resident_bytes().unwrap_or(0),
        ..EngineOptions::default()
    };
    let plan = MemoryPlan::of_checkpoint(checkpoint, &options).context("cannot plan for this model")?;
    let tokens = args.tokens.unwrap_or_else(|| plan.comfortable_tokens());
    let need = plan.need_for(tokens);
    Ok(Plan {
        fits: need.fits(),
        account: MemoryReport::of(&need),
        reads_experts: plan.streams(),
        experts_in_memory: plan.experts_in_memory(&need),
        prefill_chunk_tokens: plan.chunk_tokens(tokens),
        shortfall: (!need.fits()).then(|| need.to_string()),
    })
}

fn table(report: &Report) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Values come from the file: nothing in them may steer the terminal. Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<18}{}", output::printable(&value).replace('\n', " "));
    };
    row("architecture", report.architecture.clone());
    row(
        "parameters",
        format!("{}, {} per token", short(report.parameters_total), short(report.parameters_active)),
    );
    row("tensors", report.tensors.to_string());
    for (format, bytes) in &report.weight_formats {
        row(&format!("  {format}"), ByteSize(*bytes).to_string());
    }
    row("context length", format!("{} tokens", report.context_length));
    row("resident", ByteSize(report.bytes_resident).to_string());
    row("routed experts", ByteSize(report.bytes_routed_experts).to_string());
    row("read per token", ByteSize(report.bytes_active).to_string());
    row("KV cache", format!("{} per token ({})", ByteSize(report.bytes_kv_per_token), report.kv_format));
    if let Some(plan) = &report.memory {
        let account = &plan.account;
        let size = |bytes: u64| ByteSize(bytes).to_string();
        let fits = if plan.fits { "fits" } else { "does not fit" };
        row("memory", format!("{} needed: {fits}", size(account.needed_bytes)));
        row("  weights", size(account.weights_bytes));
        if plan.reads_experts {
            row("  experts", format!("{} at least", size(account.smallest_expert_cache_bytes)));
            row("", format!("{} of them stay in memory", plan.experts_in_memory.unwrap_or(0)));
        }
        row("  KV cache", format!("{} for {} tokens", size(account.kv_cache_bytes), account.kv_tokens));
        row(
            "  working",
            format!(
                "{}, prompts in pieces of {} tokens",
                size(account.working_bytes),
                plan.prefill_chunk_tokens
            ),
        );
        row("  program", size(account.process_bytes));
    }
    row("supported", report.reason.as_ref().map_or("yes".to_string(), |reason| format!("no: {reason}")));
    text
}

/// 1234567 as `1.23 M`.
fn short(count: u64) -> String {
    let count = count as f64;
    match count {
        1e9.. => format!("{:.2} B", count / 1e9),
        1e6.. => format!("{:.2} M", count / 1e6),
        1e3.. => format!("{:.1} k", count / 1e3),
        _ => format!("{count}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_shortened() {
        assert_eq!(short(671_000_000_000), "671.00 B");
        assert_eq!(short(1_234_567), "1.23 M");
        assert_eq!(short(12), "12");
    }
}
