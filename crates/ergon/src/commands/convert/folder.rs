//! The output folder: written beside its place and moved there when complete.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use ergon_checkpoint::{
    Checkpoint, Tokenizer,
    writer::{TensorSpec, Writer},
};
use ergon_model::routed_expert_place;
use serde_json::Value;

use super::{plan::Planned, temporary_name};

/// Files of a published folder that are copied as they are, besides the weights and `config.json`.
const SIDE_FILES: [&str; 11] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "LICENSE",
];
/// Tokenizers of large vocabularies take some 20 MB.
const SIDE_FILE_BYTES: u64 = 256 << 20;

/// A folder under construction, removed unless it is published.
pub(super) struct FolderDraft {
    draft: PathBuf,
    target: PathBuf,
}

impl FolderDraft {
    pub(super) fn create(target: &Path) -> io::Result<FolderDraft> {
        // `model/` names the same folder as `model`, but has its neighbours inside.
        let target: PathBuf = target.components().collect();
        let draft = temporary_name(&target);
        fs::create_dir_all(&draft)?;
        Ok(FolderDraft { draft, target })
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.draft
    }

    /// Writes everything of a model that is not weights.
    pub(super) fn copy_side_files(&self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let mut has_tokenizer = false;
        for name in SIDE_FILES {
            if let Some(bytes) = checkpoint.side_file(name, SIDE_FILE_BYTES)? {
                has_tokenizer |= name == "tokenizer.json";
                self.write(name, &bytes)?;
            }
        }
        if let Some(bytes) = checkpoint.side_file("config.json", SIDE_FILE_BYTES)? {
            self.write("config.json", &unquantized_config(&bytes)?)?;
            // A tokenizer kept in another form is written in the one that every reader knows.
            if !has_tokenizer && let Ok(tokenizer) = Tokenizer::from_checkpoint(checkpoint) {
                self.write("tokenizer.json", tokenizer.to_json()?.as_bytes())?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.draft.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Moves the folder to its place. An old folder there is moved aside first and removed last, so that at every moment
    /// one of the two is complete.
    pub(super) fn publish(self, replace: bool) -> anyhow::Result<()> {
        let old = self.draft.with_extension("replaced");
        let replaces = replace && self.target.exists();
        if replaces {
            check_replaceable(&self.target)?;
            fs::rename(&self.target, &old)?;
        }
        fs::rename(&self.draft, &self.target)?;
        if replaces {
            fs::remove_dir_all(&old)?;
        }
        Ok(())
    }
}

impl Drop for FolderDraft {
    fn drop(&mut self) {
        // Published drafts are no longer there; an abandoned one that cannot be removed is left.
        let _ = fs::remove_dir_all(&self.draft);
    }
}

/// Refuses to replace a folder that is something else than a model: `--force` given with the wrong path must not cost
/// anybody their files.
pub(super) fn check_replaceable(folder: &Path) -> anyhow::Result<()> {
    let mut model = false;
    let mut empty = true;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        empty = false;
        let name = entry.file_name();
        ensure!(
            !entry.file_type()?.is_dir(),
            "{} holds the folder '{}', which no model has; remove it yourself or write to another place",
            folder.display(),
            name.to_string_lossy()
        );
        model |= name == "config.json"
            || Path::new(&name).extension().is_some_and(|extension| extension == "gguf");
    }
    ensure!(
        model || empty,
        "{} is no model folder; remove it yourself or write to another place",
        folder.display()
    );
    Ok(())
}

/// `config.json` without the description of a quantisation that the new weights no longer have.
fn unquantized_config(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(bytes).context("config.json is no JSON")?;
    if let Some(keys) = config.as_object_mut() {
        keys.shift_remove("quantization_config");
    }
    Ok(serde_json::to_vec_pretty(&config)?)
}

/// `model.safetensors` with packed matrices.
pub(super) struct PackedWeights {
    writer: Writer,
}

impl PackedWeights {
    pub(super) fn create(folder: &Path, tensors: &[Planned<'_>]) -> anyhow::Result<PackedWeights> {
        let specs = tensors.iter().map(spec).collect::<anyhow::Result<Vec<_>>>()?;
        let metadata = [("format".to_string(), "pt".to_string())];
        Ok(PackedWeights {
            writer: Writer::create(&folder.join("model.safetensors"), &specs, &metadata, false)?,
        })
    }

    pub(super) fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.writer.write(name, bytes)?)
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        Ok(self.writer.finish()?)
    }
}

fn spec(planned: &Planned<'_>) -> anyhow::Result<TensorSpec> {
    let source = &planned.source;
    let spec = match planned.format() {
        Some(format) => TensorSpec::of_format(&source.name, format, &source.shape)
            .with_context(|| format!("tensor '{}' is no whole number of {format} blocks", source.name)),
        None => TensorSpec::of_dtype(&source.name, source.dtype_name, &source.shape).with_context(|| {
            format!("tensor '{}' of type {} cannot be written", source.name, source.dtype_name)
        }),
    }?;
    Ok(if routed_expert_place(&source.name).is_some() { spec.read_alone() } else { spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_models_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_replaceable(folder.path()).is_ok());
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        assert!(check_replaceable(folder.path()).is_err());
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(check_replaceable(folder.path()).is_ok());
        fs::create_dir(folder.path().join("src")).unwrap();
        assert!(check_replaceable(folder.path()).is_err());
    }

    #[test]
    fn a_new_folder_takes_the_place_of_the_old() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("config.json"), "old").unwrap();
        let draft = FolderDraft::create(&target.join("")).unwrap();
        draft.write("config.json", b"new").unwrap();
        draft.publish(true).unwrap();
        assert_eq!(fs::read(target.join("config.json")).unwrap(), b"new");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_abandoned_draft_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        drop(FolderDraft::create(&parent.path().join("model")).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_quantisation_of_the_input_is_forgotten() {
        let config =
            unquantized_config(br#"{"a": 1, "quantization_config": {"quant_method": "fp8"}, "b": 2}"#)
                .unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&config).unwrap(), serde_json::json!({"a": 1, "b": 2}));
    }
}
