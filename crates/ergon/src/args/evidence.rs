//! The flags of `ergon verify` and `ergon ask`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::{RuntimeArgs, values};

/// The documents a command works on.
#[derive(Args)]
pub(crate) struct DocumentsArgs {
    /// Folder of documents: text, Markdown, HTML, PDF with a text layer, CSV, source code
    #[arg(long, value_name = "DIR")]
    pub(crate) docs: PathBuf,
    /// Folder that keeps the index [default: DIR/.ergon; a cache folder if DIR cannot be written]
    #[arg(long, value_name = "DIR")]
    pub(crate) index: Option<PathBuf>,
    /// Also write a report to this file: one page, spans highlighted where they stand
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["claim", "claims"])))]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) documents: DocumentsArgs,
    /// The statement to check
    #[arg(long, value_name = "TEXT")]
    pub(crate) claim: Option<String>,
    /// A file of statements, one JSON object a line: {"id": "…", "claim": "…", "docs": ["only/this.txt"]}; docs may be left out
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) claims: Option<PathBuf>,
}

/// What to do with proposals that did not pass the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UnverifiedChoice {
    /// Leave them out
    Drop,
    /// Show them, marked as unverified
    Show,
}

#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).args(["question", "batch"])))]
#[command(group(ArgGroup::new("writer").args(["model", "endpoint"])))]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) documents: DocumentsArgs,
    /// The question
    #[arg(value_name = "QUESTION")]
    pub(crate) question: Option<String>,
    /// A file of questions, one JSON object a line: {"id": "…", "question": "…", "docs": ["only/this.txt"]}; docs may be left out
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) batch: Option<PathBuf>,
    /// Let this model propose: a model folder, a .gguf file, or a hub id [default: no model, answers are sentences of the documents]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Let a model behind an OpenAI-compatible server propose: its base address, as in http://127.0.0.1:8080/v1
    #[arg(long, value_name = "URL", requires = "endpoint_model")]
    pub(crate) endpoint: Option<String>,
    /// Name of the model at the endpoint
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub(crate) endpoint_model: Option<String>,
    /// File with the key of the endpoint, sent as a bearer token
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    pub(crate) endpoint_key_file: Option<PathBuf>,
    /// Seconds to wait for an answer of the endpoint
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = values::seconds, requires = "endpoint")]
    pub(crate) endpoint_timeout: usize,
    /// What to do with proposals that did not pass the gate
    #[arg(long, value_name = "CHOICE", value_enum, default_value_t = UnverifiedChoice::Drop)]
    pub(crate) unverified: UnverifiedChoice,
    /// At most this many new tokens of the model per turn
    #[arg(long, value_name = "N", default_value = "512", value_parser = values::count)]
    pub(crate) max_tokens: usize,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}
