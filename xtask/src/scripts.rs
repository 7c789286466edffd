//! Thin wrappers around the Python scripts of the workspace: they find the script and hand the arguments on.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Makes tiny safetensors checkpoints and what transformers computes from them.
pub(crate) const VECTORS: &str = "vectors/make.py";
/// Makes tiny GGUF files and what llama.cpp computes from them.
pub(crate) const VECTORS_GGUF: &str = "vectors/make_gguf.py";
/// Makes fresh vectors with another seed in a temporary folder and runs the parity tests on them.
pub(crate) const VERIFY: &str = "vectors/verify.py";
/// Times ergon beside llama.cpp on the same GGUF files.
pub(crate) const BENCH: &str = "docs/benchmarks/run.py";

/// Whatever follows the task's name, unread.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Arguments of the script
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs `script` (relative to `root`) with `python3`.
pub(crate) fn run(root: &Path, script: &str, arguments: &Arguments) -> Result<ExitCode> {
    ensure!(root.join(script).is_file(), "{script} is missing: this task is a wrapper around it");
    let status = Command::new("python3")
        .arg(script)
        .args(&arguments.rest)
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot start python3 for {script}: install Python 3.10 or newer"))?;
    Ok(crate::code_of(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_is_there() {
        for script in [VECTORS, VECTORS_GGUF, VERIFY, BENCH] {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(script).is_file(), "{script}");
        }
    }
}
