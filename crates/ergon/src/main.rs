//! The `ergon` binary: parses the command line, wires the parts together, and tells the outcome.
//!
//! `args` is the command line, `commands` has one file per verb; `source` turns the word MODEL into a checkpoint;
//! `output`, `progress` and `failure` are what a person or a program sees.

mod args;
mod commands;
mod failure;
mod interrupt;
mod loading;
mod machine;
mod memory_report;
mod output;
mod progress;
mod source;
mod stream;
mod text_input;
mod unfinished;

use std::{panic, process::ExitCode};

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    interrupt::outlive_terminal_if_asked();
    let cli = Cli::parse();
    panic::set_hook(Box::new(failure::panic_hook));
    // The hook has told what happened; what is left is the exit status.
    match panic::catch_unwind(|| run(cli.command)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failure::report(&error),
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Score(args) => commands::score::run(&args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Convert(args) => commands::convert::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Drive(args) => commands::drive::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Ask(args) => commands::ask::run(&args),
    }
}
