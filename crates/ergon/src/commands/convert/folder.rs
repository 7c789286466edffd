//! The output folder: written beside its place and moved there when complete.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use ergon_checkpoint::{
    Checkpoint, Tokenizer,
    writer::{TensorSpec, Writer},
};
use ergon_model::routed_expert_place;
use serde_json::Value;

use super::{partial, plan::Planned};
use crate::unfinished::Unfinished;

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
/// The configuration of a Hugging Face model.
const CONFIG: &str = "config.json";
/// The weights of a Hugging Face model ...
const WEIGHTS: &str = "model.safetensors";
/// ... and of a GGUF model, with everything else.
pub(super) const GGUF: &str = "model.gguf";
/// Tokenizers of large vocabularies take some 20 MB.
const SIDE_FILE_BYTES: u64 = 256 << 20;

/// A folder under construction, removed unless it is published.
pub(super) struct FolderDraft {
    draft: Unfinished,
    /// Open for its lock; `None` on systems that do not open folders.
    _open: Option<File>,
    target: PathBuf,
}

impl FolderDraft {
    pub(super) fn create(target: &Path) -> io::Result<FolderDraft> {
        // `model/` names the same folder as `model`, but has its neighbours inside.
        let target: PathBuf = target.components().collect();
        let draft = partial::name(&target);
        if let Some(parent) = draft.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::create_dir(&draft)?;
        let open = File::open(&draft).ok();
        open.iter().for_each(partial::lock);
        Ok(FolderDraft { draft: Unfinished::new(draft), _open: open, target })
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        self.draft.path()
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
        if let Some(bytes) = checkpoint.side_file(CONFIG, SIDE_FILE_BYTES)? {
            self.write(CONFIG, &unquantized_config(&bytes)?)?;
            // A tokenizer kept in another form is written in the one that every reader knows.
            if !has_tokenizer && let Ok(tokenizer) = Tokenizer::from_checkpoint(checkpoint) {
                self.write("tokenizer.json", tokenizer.to_json()?.as_bytes())?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Moves the folder to its place. An old folder there is moved aside first and removed last, so that at every moment
    /// one of the two is complete.
    pub(super) fn publish(self, replace: bool) -> anyhow::Result<()> {
        let old = self.path().with_extension("replaced");
        if replace && self.target.exists() {
            check_replaceable(&self.target)?;
            // One that a run that was killed here could not remove any more.
            remove_folder(&old)?;
            fs::rename(&self.target, &old)?;
        }
        fs::rename(self.path(), &self.target)?;
        remove_folder(&old)?;
        Ok(())
    }
}

/// Removes a folder, if it is there.
fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Refuses to replace a folder that is not as `convert` writes them: `--force` given with the wrong path must not cost
/// anybody their files.
pub(super) fn check_replaceable(folder: &Path) -> anyhow::Result<()> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.with_context(cannot_read)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in &entries {
        let name = entry.file_name();
        let written = SIDE_FILES.into_iter().chain([CONFIG, WEIGHTS, GGUF]).any(|known| name == known);
        ensure!(
            written && entry.file_type().with_context(cannot_read)?.is_file(),
            "{} holds '{}', which is no file of a converted model and would be lost; remove it yourself or write to \
             another place",
            folder.display(),
            name.to_string_lossy()
        );
    }
    let has_weights =
        entries.iter().any(|entry| [WEIGHTS, GGUF].into_iter().any(|known| entry.file_name() == known));
    ensure!(
        has_weights || entries.is_empty(),
        "{} holds no converted model; remove it yourself or write to another place",
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
        Ok(PackedWeights { writer: Writer::create(&folder.join(WEIGHTS), &specs, &metadata, false)? })
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
    fn only_what_convert_writes_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let said = || check_replaceable(folder.path()).unwrap_err().to_string();
        assert!(check_replaceable(folder.path()).is_ok());
        fs::write(path("config.json"), "{}").unwrap();
        assert!(said().contains("no converted model"));
        fs::write(path("model.safetensors"), "").unwrap();
        assert!(check_replaceable(folder.path()).is_ok());
        for name in ["thesis.tex", "q.gguf"] {
            fs::write(path(name), "").unwrap();
            assert!(said().contains(name), "{}", said());
        }
        for name in ["thesis.tex", "q.gguf", "model.safetensors"] {
            fs::remove_file(path(name)).unwrap();
        }
        fs::create_dir(path("model.safetensors")).unwrap();
        assert!(said().contains("'model.safetensors'"));
    }

    #[test]
    fn a_new_folder_takes_the_place_of_the_old() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("model");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("config.json"), "old").unwrap();
        fs::write(target.join(WEIGHTS), "old").unwrap();
        // A run that was killed while it removed what it had replaced.
        fs::create_dir(parent.path().join(".model.replaced")).unwrap();
        fs::write(parent.path().join(".model.replaced").join(WEIGHTS), "older").unwrap();
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
