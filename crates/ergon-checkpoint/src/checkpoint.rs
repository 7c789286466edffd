//! Opening a checkpoint, whatever its kind.

use crate::{
    CheckpointError, FormatError, Metadata, Tensor, TensorBytes, config_json, files, gguf, metadata::excerpt,
    safetensors,
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// Which publisher's conventions a checkpoint follows (tensor names, configuration keys).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// `config.json` and safetensors.
    HuggingFace,
    /// GGUF.
    Gguf,
}

/// What a loader brings: a configuration and all tensors.
pub(crate) struct Parts {
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<Tensor>,
}

/// An opened model: its configuration and views of its tensors. Opening reads headers only; the weights are mapped and
/// read by the operating system when they are touched.
#[derive(Debug)]
pub struct Checkpoint {
    kind: CheckpointKind,
    path: PathBuf,
    /// The folder whose other files belong to the model; none for a lone `.gguf` file.
    folder: Option<PathBuf>,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and safetensors, a folder with one GGUF model, or a `.gguf` file.
    ///
    /// # Errors
    /// The path holds no model, a file cannot be read, or its content breaks its format; the message names the file and
    /// what is wrong in it.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let found = std::fs::metadata(path).map_err(|reason| CheckpointError::io(path, reason))?;
        if found.is_dir() {
            return open_folder(path);
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if extension.eq_ignore_ascii_case("safetensors") {
            let what = "is one weight file; name the folder it is in (with its config.json)";
            return Err(CheckpointError::not_a_model(path, what));
        }
        Checkpoint::assemble(CheckpointKind::Gguf, path, None, gguf::open(path)?)
    }

    fn assemble(
        kind: CheckpointKind,
        path: &Path,
        folder: Option<PathBuf>,
        parts: Parts,
    ) -> Result<Checkpoint, CheckpointError> {
        let Parts { metadata, tensors } = parts;
        let mut index = HashMap::with_capacity(tensors.len());
        for (at, tensor) in tensors.iter().enumerate() {
            if index.insert(tensor.name.clone(), at).is_some() {
                let what = format!("the tensor '{}' is in two of the model's files", excerpt(&tensor.name));
                return Err(CheckpointError::format(path, FormatError::new(what)));
            }
        }
        Ok(Checkpoint { kind, path: path.to_path_buf(), folder, metadata, tensors, index })
    }

    /// Whose conventions it follows.
    pub fn kind(&self) -> CheckpointKind {
        self.kind
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json`, or the keys of the GGUF header.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|&at| &self.tensors[at])
    }

    /// Every tensor, in the order of the files.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter()
    }

    /// Gives back the memory that headers and tensors touched so far have brought in; what is touched again is read again.
    pub fn forget_pages(&self) {
        self.each_mapping(TensorBytes::forget_pages);
    }

    /// Asks the system to drop the files from its page cache, so that what is read next comes from the disk. What another
    /// process has mapped stays.
    pub fn forget_page_cache(&self) {
        self.forget_pages();
        self.each_mapping(|bytes| {
            if let Some(extent) = bytes.extent() {
                extent.file().forget_page_cache();
            }
        });
    }

    /// Tensors of one file share its mapping: once for each stretch of them.
    fn each_mapping(&self, mut act: impl FnMut(&TensorBytes)) {
        let mut last: Option<&TensorBytes> = None;
        for tensor in &self.tensors {
            if last.is_none_or(|last| !last.shares_mapping(&tensor.data)) {
                act(&tensor.data);
            }
            last = Some(&tensor.data);
        }
    }

    /// The content of another file of the model's folder, for instance `tokenizer.json`; `None` if there is no such file
    /// or the model is a lone `.gguf` file. `name` is one of ours, never one read from a file.
    ///
    /// # Errors
    /// It cannot be read or has more than `limit_bytes`.
    pub fn side_file(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        let Some(path) = self.folder.as_deref().map(|folder| folder.join(name)) else { return Ok(None) };
        if !files::exists(&path)? {
            return Ok(None);
        }
        files::read_limited(&path, limit_bytes).map(Some)
    }
}

fn open_folder(folder: &Path) -> Result<Checkpoint, CheckpointError> {
    let keep = Some(folder.to_path_buf());
    // The further parts of a split model belong to its first one.
    let mut models = files::list_with_suffix(folder, ".gguf")?;
    models.retain(|path| gguf::part_number(path).unwrap_or(1) == 1);
    // Beside a GGUF model, safetensors without a config are something else's.
    if (models.is_empty() || files::exists(&folder.join("config.json"))?)
        && let Some(weights) = safetensors::find(folder)?
    {
        let metadata = read_config(folder)?;
        let tensors = safetensors::open(&weights)?;
        return Checkpoint::assemble(CheckpointKind::HuggingFace, folder, keep, Parts { metadata, tensors });
    }
    match models.as_slice() {
        [model] => Checkpoint::assemble(CheckpointKind::Gguf, folder, keep, gguf::open(model)?),
        [] => {
            let what = "holds no model: neither *.safetensors nor *.gguf";
            Err(CheckpointError::not_a_model(folder, what))
        }
        [first, ..] => {
            let name = first.file_name().unwrap_or_default().to_string_lossy();
            let what = format!("holds {} GGUF models; name one of them, for instance {name}", models.len());
            Err(CheckpointError::not_a_model(folder, what))
        }
    }
}

fn read_config(folder: &Path) -> Result<Metadata, CheckpointError> {
    let path = folder.join("config.json");
    if !files::exists(&path)? {
        return Err(CheckpointError::not_a_model(folder, "has weights but no config.json"));
    }
    let bytes = files::read_limited(&path, config_json::MAX_CONFIG_BYTES)?;
    let mut metadata =
        config_json::parse_config(&bytes).map_err(|reason| CheckpointError::format(&path, reason))?;
    metadata.set_file(path.display().to_string());
    Ok(metadata)
}
