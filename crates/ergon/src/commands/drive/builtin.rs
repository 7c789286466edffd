//! The model that is part of the program: `models/driver`, compiled in, so that the main job needs no download.

use std::fs;

use anyhow::Context;
use ergon_checkpoint::Checkpoint;

/// The files of `models/driver` that the model is loaded from.
const FILES: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../../../../models/driver/config.json")),
    ("model.safetensors", include_bytes!("../../../../../models/driver/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../../../models/driver/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../../../models/driver/tokenizer_config.json")),
];

/// A checkpoint of the built-in model. It is written to a folder of its own first, since a checkpoint is a folder; the
/// folder goes with the value.
pub(super) struct BuiltIn {
    pub(super) checkpoint: Checkpoint,
    _folder: tempfile::TempDir,
}

pub(super) fn open() -> anyhow::Result<BuiltIn> {
    let folder = tempfile::tempdir().context("cannot make a folder for the built-in model")?;
    for (name, bytes) in FILES {
        let path = folder.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let checkpoint = Checkpoint::open(folder.path()).context("the built-in model cannot be opened")?;
    Ok(BuiltIn { checkpoint, _folder: folder })
}
