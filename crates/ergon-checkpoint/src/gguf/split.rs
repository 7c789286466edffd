//! Opening a GGUF model: one file, or the parts `NAME-00001-of-0000N.gguf` that `gguf-split` makes.

use super::{CHECKSUMS_KEY, Header, parse};
use crate::checkpoint::Parts;
use crate::{CheckpointError, FormatError, MetadataError, Tensor, TensorBytes, files};
use std::path::{Path, PathBuf};

/// Opens a model by any one of its files.
pub(crate) fn open(path: &Path) -> Result<Parts, CheckpointError> {
    let files = parts_of(path);
    let total = files.len();
    let mut tensors = Vec::new();
    let mut metadata = None;
    let mut declared_total = None;
    for (index, file) in files.iter().enumerate() {
        let (bytes, mut header) = read_part(file, index, total)?;
        header.metadata.set_file(file.display().to_string());
        check_part(file, &header, index, total)?;
        let checksums = checksums(file, &header)?;
        for (at, entry) in header.tensors.into_iter().enumerate() {
            let data = bytes.slice(entry.range).ok_or_else(|| {
                CheckpointError::format(file, FormatError::new("a tensor lies outside the file"))
            })?;
            let (format, dtype_name) = (entry.ggml_type.format, entry.ggml_type.name);
            let checksum = checksums.as_ref().map(|checksums| checksums[at]);
            tensors.push(Tensor { name: entry.name, format, dtype_name, shape: entry.shape, data, checksum });
        }
        if index == 0 {
            let count =
                header.metadata.usize("split.tensors.count").map_err(|error| bad_key(file, &error))?;
            declared_total = count;
            metadata = Some(header.metadata);
        }
    }
    let count = tensors.len();
    if let Some(declared) = declared_total.filter(|&declared| declared != count) {
        let what = format!("'split.tensors.count' is {declared}, but the parts hold {count} tensors");
        return Err(CheckpointError::format(path, FormatError::new(what)));
    }
    Ok(Parts { metadata: metadata.unwrap_or_default(), tensors })
}

fn read_part(file: &Path, index: usize, total: usize) -> Result<(TensorBytes, Header), CheckpointError> {
    if total > 1 && !files::exists(file)? {
        let what = format!("is missing: it is part {} of {total} of the model", index + 1);
        return Err(CheckpointError::not_a_model(file, what));
    }
    let bytes = TensorBytes::open(file)?;
    let header = parse(&bytes).map_err(|reason| CheckpointError::format(file, reason))?;
    Ok((bytes, header))
}

/// CRC-32 of each tensor, in files that `ergon convert` has made.
fn checksums(file: &Path, header: &Header) -> Result<Option<Vec<u32>>, CheckpointError> {
    let Some(values) = header.metadata.list_usize(CHECKSUMS_KEY).map_err(|error| bad_key(file, &error))?
    else {
        return Ok(None);
    };
    let values: Vec<u32> = values.into_iter().filter_map(|value| u32::try_from(value).ok()).collect();
    if values.len() == header.tensors.len() {
        return Ok(Some(values));
    }
    let (found, tensors) = (values.len(), header.tensors.len());
    let what = format!("'{CHECKSUMS_KEY}' names {found} checksums, the file has {tensors} tensors");
    Err(CheckpointError::format(file, FormatError::new(what)))
}

/// The keys `split.no` (from 0) and `split.count` must agree with the file name.
fn check_part(file: &Path, header: &Header, index: usize, total: usize) -> Result<(), CheckpointError> {
    let get = |key| header.metadata.usize(key).map_err(|error| bad_key(file, &error));
    let (count, number) = (get("split.count")?.unwrap_or(1), get("split.no")?.unwrap_or(0));
    if count.max(1) == total && number == index {
        return Ok(());
    }
    let what = match total {
        1 => format!(
            "is part {} of {count} of a split model; its name must end in -{:05}-of-{count:05}.gguf, beside the others",
            number.saturating_add(1),
            number.saturating_add(1)
        ),
        _ => format!(
            "says it is part {} of {count}, its name says {} of {total}",
            number.saturating_add(1),
            index + 1
        ),
    };
    Err(CheckpointError::format(file, FormatError::new(what)))
}

fn bad_key(file: &Path, error: &MetadataError) -> CheckpointError {
    let what = format!("'{}' is {}, expected {}", error.key, error.found, error.expected);
    CheckpointError::format(file, FormatError::new(what))
}

/// All files of the model that a file belongs to by its name, in order.
pub(crate) fn parts_of(path: &Path) -> Vec<PathBuf> {
    match split_name(path) {
        Some(name) => name.parts(path),
        None => vec![path.to_path_buf()],
    }
}

/// Which part of a split model a file is by its name, from 1; `None` if it is a whole model.
pub(crate) fn part_number(path: &Path) -> Option<usize> {
    split_name(path).map(|name| name.number)
}

/// A file name of the form `STEM-00002-of-00005.gguf`.
struct SplitName {
    stem: String,
    total: usize,
    number: usize,
}

fn split_name(path: &Path) -> Option<SplitName> {
    let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (stem, suffix) = name.split_at_checked(name.len().checked_sub(SUFFIX_LEN)?)?;
    let (number, total) = part_of(suffix)?;
    Some(SplitName { stem: stem.to_string(), total, number })
}

/// The length of `-00002-of-00005`.
pub(crate) const SUFFIX_LEN: usize = 15;

/// Number and total of a text like `-00002-of-00005`.
pub(crate) fn part_of(suffix: &str) -> Option<(usize, usize)> {
    let (number, total) = suffix.strip_prefix('-')?.split_once("-of-")?;
    let five_digits = |text: &str| {
        let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<usize>().ok()).flatten()
    };
    let (number, total) = (five_digits(number)?, five_digits(total)?);
    (1..=total).contains(&number).then_some((number, total))
}

impl SplitName {
    fn parts(&self, beside: &Path) -> Vec<PathBuf> {
        (1..=self.total)
            .map(|number| {
                beside.with_file_name(format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.total))
            })
            .collect()
    }
}
