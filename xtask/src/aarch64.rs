//! `cargo xtask aarch64`: the kernels' tests on 64-bit Arm, emulated, for those who have no such machine.
//!
//! Bits are pinned in the tests, so a pass also says that Arm computes what x86-64 computes.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// Debian's folder of the Arm libraries, as the emulator takes it.
const RUNNER: &str = "qemu-aarch64 -L /usr/aarch64-linux-gnu";

/// Builds the kernels for Arm and runs their tests under qemu's user emulation.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    for program in [LINKER, "qemu-aarch64"] {
        Command::new(program).arg("--version").output().with_context(|| {
            format!(
                "cannot start {program}: install it (on Debian: apt-get install gcc-aarch64-linux-gnu qemu-user)"
            )
        })?;
    }
    let status = Command::new(env!("CARGO"))
        .args(["test", "--release", "--target", TARGET, "-p", "ergon-kernels"])
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", RUNNER)
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        eprintln!("if the target was missing: rustup target add {TARGET}");
    }
    Ok(crate::code_of(status))
}
