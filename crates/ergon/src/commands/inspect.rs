//! `ergon inspect`: what is in a model, from its headers alone.

use std::{collections::BTreeMap, fmt::Write as _};

use ergon_model::ModelSummary;
use ergon_types::ByteSize;
use serde::Serialize;

use crate::{args::InspectArgs, output, source};

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
    };
    if args.json { output::write_json(&report) } else { output::write_stdout(&table(&report)) }
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
