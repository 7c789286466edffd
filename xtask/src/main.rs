//! The only automation of the workspace: `cargo xtask tidy | ci | aarch64 | vectors | vectors-gguf | verify | bench`.
//!
//! A step that needs no Rust (making golden vectors, timing against other programs) stays a script under `vectors/` or
//! `docs/benchmarks/`; this binary is the one place to start it from, so that a newcomer has one name to remember.

mod aarch64;
mod ci;
mod scripts;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// `cargo xtask`: what the workspace can do for itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check sizes, crate imports, unsafe code, dead files, banned words and the documents
    Tidy,
    /// Run everything CI runs, here: the same script, `.ci/run`
    Ci,
    /// Run the kernels' tests on 64-bit Arm, emulated by qemu
    Aarch64,
    /// Make the golden vectors of transformers again: runs vectors/make.py with the arguments given
    Vectors(scripts::Arguments),
    /// Make the golden vectors of llama.cpp again: runs vectors/make_gguf.py with the arguments given
    VectorsGguf(scripts::Arguments),
    /// Make fresh vectors with another seed and test parity with them: runs vectors/verify.py with the arguments given
    Verify(scripts::Arguments),
    /// Time ergon beside llama.cpp: runs docs/benchmarks/run.py with the arguments given
    Bench(scripts::Arguments),
}

fn main() -> ExitCode {
    match run(&Args::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<ExitCode> {
    let root = workspace_root()?;
    match task {
        Task::Tidy => tidy::run(&root),
        Task::Ci => ci::run(&root),
        Task::Aarch64 => aarch64::run(&root),
        Task::Vectors(arguments) => scripts::run(&root, scripts::VECTORS, arguments),
        Task::VectorsGguf(arguments) => scripts::run(&root, scripts::VECTORS_GGUF, arguments),
        Task::Verify(arguments) => scripts::run(&root, scripts::VERIFY, arguments),
        Task::Bench(arguments) => scripts::run(&root, scripts::BENCH, arguments),
    }
}

/// Success or failure of a program that was run.
fn code_of(status: ExitStatus) -> ExitCode {
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The folder above this crate: cargo bakes its path in at compile time, so tasks work from any working directory.
fn workspace_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace root")?;
    Ok(root.to_path_buf())
}
