//! The command line: every command, its flags, their units and their defaults. Parsing decides exit status 2.

// Doc comments are help texts here, where brackets mark what may be left out.
#![allow(rustdoc::broken_intra_doc_links)]

mod drive;
mod evidence;
mod train;
mod values;

use std::path::PathBuf;

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use ergon_kernels::Isa;
use ergon_types::{ByteSize, WeightFormat};

pub(crate) use drive::{DriveArgs, GateChoice, PolicyChoice};
pub(crate) use evidence::{AskArgs, DocumentsArgs, UnverifiedChoice, VerifyArgs};
pub(crate) use train::{TrainArgs, TrainDriverArgs, TrainWhat};
pub(crate) use values::TokenIds;

/// Seed of the sampler when none is given: fixed, so that the same command gives the same answer.
pub(crate) const DEFAULT_SEED: u64 = 0;

/// Run published language models exactly, on this machine, inside a memory budget.
#[derive(Parser)]
#[command(name = "ergon", version, arg_required_else_help = true, max_term_width = 110)]
#[command(after_help = "MODEL is a folder as published on the Hugging Face hub, a .gguf file, or a hub id \
                        owner/name[@revision][:quant].\nExit status: 0 done, 1 the work failed, 2 the command line was wrong.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Drive: in traffic of its own making, or in recorded scenarios
    Drive(DriveArgs),
    /// Train a model on this machine
    Train(TrainArgs),
    /// Check claims against documents; needs no language model
    Verify(VerifyArgs),
    /// Answer a question from documents, with the evidence, or abstain
    Ask(AskArgs),
    /// Tell what is in a model: architecture, sizes, formats; reads headers only
    Inspect(InspectArgs),
    /// Teacher-forced logits and perplexity of a text
    Score(ScoreArgs),
    /// Write one completion
    Generate(GenerateArgs),
    /// Hold a conversation in the terminal
    Chat(ChatArgs),
    /// Repack a model for this runtime, quantising its large matrices
    Convert(ConvertArgs),
    /// Measure speed, and what share of the machine it uses
    Bench(BenchArgs),
}

/// The model a command works on.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// A model folder, a .gguf file, or a hub id owner/name[@revision][:quant]
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
}

/// How the machine is used.
#[derive(Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct RuntimeArgs {
    /// Threads that compute [default: the physical cores]
    #[arg(long, value_name = "N", value_parser = values::threads)]
    pub(crate) threads: Option<usize>,
    /// Hard memory budget, as in 6GiB [default: 80 % of the memory the machine or its cgroup has free]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Precision of the key-value cache [default: f16 for models in block formats, else f32]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) kv: Option<KvChoice>,
    /// Prompt tokens per step; the results do not depend on it [default: the engine's choice]
    #[arg(long, value_name = "TOKENS", value_parser = values::chunk)]
    pub(crate) chunk: Option<usize>,
    /// Instruction set to compute with, for tests [default: the best this processor has]
    #[arg(long, value_name = "ISA", value_parser = values::isa, hide = true)]
    pub(crate) isa: Option<Isa>,
}

/// Precision of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvChoice {
    /// Single precision
    F32,
    /// Half precision: half the memory
    F16,
    /// 8-bit integers in blocks of 32: about a quarter of the memory, and rounded
    Q8,
}

/// Whether the model's own multi-token-prediction layer drafts tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speculation {
    /// Draft; an error if the model has no layer for it
    On,
    /// Do not draft
    Off,
    /// Draft if the model has a layer for it
    Auto,
}

#[derive(Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Also tell how the model would use a memory budget, as in 6GiB; nothing is loaded
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,
    /// Tokens (prompt and output) that --memory plans for [default: 4096, or the context if that is shorter]
    #[arg(long, value_name = "N", value_parser = values::count, requires = "memory")]
    pub(crate) tokens: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(group(ArgGroup::new("input").required(true).args(["tokens", "text", "file"])))]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Token ids, as in 1,2,3; used as they are
    #[arg(long, value_name = "IDS", value_parser = values::token_ids)]
    pub(crate) tokens: Option<TokenIds>,
    /// A text; the tokenizer adds its special tokens as its configuration says
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// A file with the text (UTF-8)
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Write the logits of every position to this safetensors file: `logits`, f32 [tokens, vocabulary]
    #[arg(long, value_name = "OUT.safetensors")]
    pub(crate) logits: Option<PathBuf>,
    /// Print one JSON object: tokens, token_ids, nll_mean (nats per predicted token), perplexity; the last two are null
    /// for a single token, which nothing predicts
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

/// How the next token is chosen. What is not given comes from the model's generation_config.json.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Randomness; 0 always takes the likeliest token [default: the model's, else 0]
    #[arg(long, value_name = "T", value_parser = values::temperature)]
    pub(crate) temperature: Option<f32>,
    /// Sample from the likeliest tokens that together have this probability [default: the model's, else 1]
    #[arg(long, value_name = "P", value_parser = values::probability_mass)]
    pub(crate) top_p: Option<f32>,
    /// Sample from this many likeliest tokens; 0 for all [default: the model's, else 0]
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(crate) top_k: Option<usize>,
    /// Leave out tokens below this share of the likeliest token's probability [default: the model's, else 0]
    #[arg(long, value_name = "P", value_parser = values::probability_floor)]
    pub(crate) min_p: Option<f32>,
    /// Divide the logits of recent tokens by this; 1 for none [default: the model's, else 1]
    #[arg(long, value_name = "R", value_parser = values::penalty)]
    pub(crate) repetition_penalty: Option<f32>,
    /// Seed of the sampler
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED, allow_negative_numbers = true)]
    pub(crate) seed: u64,
}

/// What the answer may look like.
#[derive(Args)]
#[command(next_help_heading = "Output")]
#[command(group(ArgGroup::new("constraint").args(["json_schema", "regex", "json_object"])))]
pub(crate) struct OutputArgs {
    /// End before this text; may be repeated
    #[arg(long, value_name = "TEXT", action = ArgAction::Append)]
    pub(crate) stop: Vec<String>,
    /// The answer is JSON of this schema: a file, or the schema itself starting with {
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) json_schema: Option<String>,
    /// The answer matches this regular expression from start to end
    #[arg(long, value_name = "REGEX")]
    pub(crate) regex: Option<String>,
    /// The answer is some JSON object
    #[arg(long)]
    pub(crate) json_object: bool,
}

/// How a reasoning model thinks.
#[derive(Args)]
#[command(next_help_heading = "Reasoning")]
pub(crate) struct ReasoningArgs {
    /// End the reasoning after this many tokens and go on to the answer [default: no limit]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) reasoning_budget: Option<usize>,
    /// Ask the chat template for an answer without reasoning
    #[arg(long)]
    pub(crate) no_think: bool,
    /// Draft with the model's multi-token-prediction layer; the output does not depend on it
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Speculation::Auto, help_heading = "Machine")]
    pub(crate) speculative: Speculation,
}

#[derive(Args)]
#[command(group(ArgGroup::new("input").required(true).args(["prompt", "tokens"])))]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The question or text; - reads standard input
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// The prompt as token ids, as in 1,2,3; no chat template, and no tokenizer needed
    #[arg(long, value_name = "IDS", value_parser = values::token_ids)]
    pub(crate) tokens: Option<TokenIds>,
    /// Standing instructions put before the prompt
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["raw", "tokens"])]
    pub(crate) system: Option<String>,
    /// At most this many new tokens
    #[arg(long, value_name = "N", default_value = "512", value_parser = values::count)]
    pub(crate) max_tokens: usize,
    /// Continue the prompt as it stands, without the chat template
    #[arg(long)]
    pub(crate) raw: bool,
    /// Go on past the model's end-of-sequence tokens
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Print the text as it comes [default: on a terminal only]
    #[arg(long, conflicts_with = "json")]
    pub(crate) stream: bool,
    /// Print one JSON object: text, reasoning, token_ids, finish_reason, prompt_tokens, seed, timings, memory
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) reasoning: ReasoningArgs,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

#[derive(Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Standing instructions
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// At most this many new tokens per answer
    #[arg(long, value_name = "N", default_value = "4096", value_parser = values::count)]
    pub(crate) max_tokens: usize,
    /// File that keeps what was typed across runs [default: ~/.local/state/ergon/chat_history]
    #[arg(long, value_name = "FILE", conflicts_with = "no_history")]
    pub(crate) history: Option<PathBuf>,
    /// Keep nothing of what is typed
    #[arg(long)]
    pub(crate) no_history: bool,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) reasoning: ReasoningArgs,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

#[derive(Args)]
pub(crate) struct ConvertArgs {
    /// The model to read: a folder, a .gguf file, or a hub id
    #[arg(value_name = "IN")]
    pub(crate) input: String,
    /// The folder to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// Format of the large matrices; norms, biases and routers keep their precision
    #[arg(long, value_name = "FORMAT", value_parser = values::quantizable_format, long_help = quant_help())]
    pub(crate) quant: WeightFormat,
    /// Overwrite OUT
    #[arg(long)]
    pub(crate) force: bool,
    /// Threads that compute [default: the physical cores]
    #[arg(long, value_name = "N", value_parser = values::threads)]
    pub(crate) threads: Option<usize>,
    /// Print one JSON object: what was written
    #[arg(long)]
    pub(crate) json: bool,
}

fn quant_help() -> String {
    format!(
        "Format of the large matrices; norms, biases and routers keep their precision. One of {}. A matrix whose rows do \
         not fill whole blocks of the format is written as q8_0 or bf16 instead, and said so",
        values::quantizable_names().join(", ")
    )
}

#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Prompt tokens per measurement
    #[arg(long, value_name = "N", default_value = "256", value_parser = values::count)]
    pub(crate) prefill: usize,
    /// New tokens per measurement
    #[arg(long, value_name = "N", default_value = "32", value_parser = values::count)]
    pub(crate) decode: usize,
    /// Tokens already in the context before each measurement
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) depth: usize,
    /// Sequences that decode together in a further measurement
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::sequences)]
    pub(crate) batch: usize,
    /// Drop the model's files from the page cache first, so that experts come from the disk
    #[arg(long)]
    pub(crate) cold: bool,
    /// Chance that a token comes from the same sixty-fourth of the vocabulary as the one before it: text stays with a
    /// subject, and its experts with it
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = values::probability)]
    pub(crate) locality: f64,
    /// Measurements after the warm-up; the median counts
    #[arg(long, value_name = "R", default_value = "5", value_parser = values::repeats)]
    pub(crate) repeat: usize,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) runtime: RuntimeArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "ergon score m",
            "ergon score m --tokens 1 --text x",
            "ergon generate m",
            "ergon generate m --prompt a --tokens 1",
            "ergon generate m --prompt a --temperature -1",
            "ergon generate m --prompt a --max-tokens 0",
            "ergon generate m --prompt a --regex x --json-object",
            "ergon generate m --prompt a --memory 3parsecs",
            "ergon convert a b",
            "ergon convert a b --quant q9_z",
            "ergon bench m --repeat 0",
            "ergon bench m --repeat 18446744073709551615",
            "ergon bench m --batch 18446744073709551615",
            "ergon drive --episodes 100000000000",
            "ergon drive --candidates 18446744073709551615",
            "ergon drive --solutions s",
            "ergon ask --docs d q --endpoint http://x --endpoint-model n --endpoint-timeout 9223372036854775807",
            "ergon verify --claim x",
            "ergon verify --docs d",
            "ergon verify --docs d --claim x --claims f",
            "ergon ask --docs d",
            "ergon ask --docs d q --batch f",
            "ergon ask --docs d q --endpoint http://x",
            "ergon ask --docs d q --model m --endpoint http://x --endpoint-model n",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_contract_parses() {
        for line in [
            "ergon inspect m --json",
            "ergon score m --tokens 1,2,3 --logits o.safetensors --json",
            "ergon generate m --tokens 1,2 --max-tokens 4 --temperature 0 --top-p 0.9 --seed 7 --memory 1GiB --threads 1 --json",
            "ergon generate m --prompt a --stop x --stop y --raw",
            "ergon convert a b --quant q8_0 --force",
            "ergon drive --scenario f --solutions s --episodes 1000000",
            "ergon verify --docs d --claim x --json --html r.html",
            "ergon verify --docs d --claims f.jsonl --index i",
            "ergon ask --docs d q --model m --json",
            "ergon ask --docs d --batch f --endpoint http://x/v1 --endpoint-model n --unverified show",
            "ergon bench m --prefill 8 --decode 8 --depth 16 --repeat 2 --memory 512MiB --json",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }
}
