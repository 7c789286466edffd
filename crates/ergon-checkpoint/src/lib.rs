//! Untrusted files to named tensors, tokenizers and chat templates.
//!
//! [`Checkpoint::open`] takes a folder as published on the Hugging Face hub, or a GGUF file, and gives named views of
//! the memory-mapped weights ([`Tensor`]) and a typed view of the configuration ([`Metadata`]). Everything read from a
//! file is checked first: sizes with checked arithmetic, counts against the bytes that are really there. A bad file ends
//! in an error that names the file and the thing; it never panics, and it never makes us allocate what it merely declares.

mod checkpoint;
mod config_json;
mod error;
mod files;
mod generation_defaults;
pub mod gguf;
pub mod hub;
mod mapping;
mod metadata;
pub mod safetensors;
mod template;
mod tensor;
mod tokenizer;
mod weight_file;
pub mod writer;

pub use checkpoint::{Checkpoint, CheckpointKind};
pub use config_json::parse_config;
pub use error::{CheckpointError, FormatError};
pub use generation_defaults::{GenerationDefaults, GenerationError};
pub use mapping::{PageBuffer, TensorBytes, return_free_memory};
pub use metadata::{MetaList, MetaValue, Metadata, MetadataError};
pub use template::{ChatTemplate, RenderOptions, TemplateError};
pub use tensor::Tensor;
pub use tokenizer::{TextDecoder, Tokenizer, TokenizerError, train_byte_level_bpe};
pub use weight_file::{Extent, PAGE_BYTES, ReadFrom, WeightFile};
