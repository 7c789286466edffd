//! The model that is part of the program: `models/driver`, compiled in, so that the main job needs no download.

use std::fs;

use anyhow::Context;
use ergon_checkpoint::Checkpoint;

use crate::unfinished::Unfinished;

/// The files of `models/driver` that the model is loaded from.
const FILES: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../../../../models/driver/config.json")),
    ("model.safetensors", include_bytes!("../../../../../models/driver/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../../../models/driver/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../../../models/driver/tokenizer_config.json")),
];

/// A checkpoint of the built-in model. It is written to a folder of its own first, since a checkpoint is a folder.
pub(super) struct BuiltIn {
    pub(super) checkpoint: Checkpoint,
    folder: Unfinished,
}

impl BuiltIn {
    /// Removes the folder once the model is loaded, so that nothing is left of it however the process ends. What is mapped
    /// can be read without a name; on systems where it cannot, the folder goes with the value.
    pub(super) fn remove_folder(&self) {
        self.folder.remove();
    }
}

pub(super) fn open() -> anyhow::Result<BuiltIn> {
    let folder = tempfile::Builder::new().prefix("ergon-driver-").tempdir();
    let folder = Unfinished::new(folder.context("cannot make a folder for the built-in model")?.keep());
    for (name, bytes) in FILES {
        let path = folder.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let checkpoint = Checkpoint::open(folder.path()).context("the built-in model cannot be opened")?;
    Ok(BuiltIn { checkpoint, folder })
}
