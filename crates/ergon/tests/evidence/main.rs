//! `ergon verify` and `ergon ask` as a person or a program meets them: claims, questions, models that lie, documents that
//! instruct, kills, damage.

// Helpers outside test functions fail a test as the functions do: by panicking.
#![allow(clippy::unwrap_used)]

mod asking;
mod endpoint;
mod files;
mod indexing;
mod lies;
// Tiny checkpoints are made as for the other commands.
#[allow(dead_code)]
#[path = "../cli/support.rs"]
mod models;
mod own_model;
mod support;
mod verifying;
