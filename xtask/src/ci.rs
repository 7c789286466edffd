//! `cargo xtask ci`: the CI script, run here. One script, so that "green on my machine" and "green in CI" are one thing.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// Runs `.ci/run` in the workspace root and reports its success or failure.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let status = Command::new("bash")
        .arg(".ci/run")
        .current_dir(root)
        .status()
        .context("cannot start bash to run .ci/run: install bash")?;
    Ok(crate::code_of(status))
}
