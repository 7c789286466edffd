//! Makes small checkpoints for the tests of tokenizers, templates and generation settings.
#![allow(dead_code, reason = "each test binary uses its own part")]

#[path = "../common/mod.rs"]
mod common;

use common::{BOOL, F32, I32, LIST, TEXT, U32, list, one_tensor, safetensors, text};
use ergon_checkpoint::Checkpoint;
use std::path::Path;

/// A folder that opens as a Hugging Face checkpoint: one tensor and the given files.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let weights = safetensors(&one_tensor("a"), &[0; 16]);
    let folder = common::folder(&[("model.safetensors", &weights)]);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    common::write_all(folder.path(), &files);
    folder
}

/// Opens it.
pub(crate) fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path).unwrap()
}

/// A value of a GGUF key.
#[derive(Clone)]
pub(crate) enum Gguf {
    U32(u32),
    F32(f32),
    Bool(bool),
    Str(&'static str),
    Strs(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// A GGUF file with these keys and no tensors.
pub(crate) fn gguf(keys: &[(&str, Gguf)]) -> tempfile::NamedTempFile {
    let mut file = common::Gguf::new().key("general.architecture", TEXT, &text("llama"));
    for (name, value) in keys {
        let n = |count: usize| count as u64;
        let (kind, bytes) = match value {
            Gguf::U32(value) => (U32, value.to_le_bytes().to_vec()),
            Gguf::F32(value) => (F32, value.to_le_bytes().to_vec()),
            Gguf::Bool(value) => (BOOL, vec![u8::from(*value)]),
            Gguf::Str(value) => (TEXT, text(value)),
            Gguf::Strs(all) => {
                (LIST, list(TEXT, n(all.len()), &all.iter().flat_map(|one| text(one)).collect::<Vec<u8>>()))
            }
            Gguf::I32s(all) => (
                LIST,
                list(I32, n(all.len()), &all.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<u8>>()),
            ),
            Gguf::F32s(all) => (
                LIST,
                list(F32, n(all.len()), &all.iter().flat_map(|one| one.to_le_bytes()).collect::<Vec<u8>>()),
            ),
        };
        file = file.key(name, kind, &bytes);
    }
    let path = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    std::fs::write(path.path(), file.build()).unwrap();
    path
}

/// Texts as owned strings.
pub(crate) fn strs(texts: &[&str]) -> Gguf {
    Gguf::Strs(texts.iter().map(|text| text.to_string()).collect())
}
