//! The binary as a person or a program meets it: commands on tiny random checkpoints, wrong inputs, hostile files.

// Helpers outside test functions fail a test as the functions do: by panicking.
#![allow(clippy::unwrap_used)]

mod bench;
mod chat;
mod convert;
mod drive;
mod generate;
mod hostile;
mod inspect;
mod score;
mod signals;
mod support;
mod usage;
