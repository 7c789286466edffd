//! Text from files and pipes, with a bound: more than any context holds would only be tokenized in vain, which takes
//! some 300 bytes of memory for each byte of text.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};

/// Longest text that is taken, bytes: half a million tokens of prose.
pub(crate) const MAX_TEXT_BYTES: usize = 2 << 20;

/// The text of a regular file; pipes and devices are refused, since they may never end.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    let cannot_read = || format!("cannot read {}", path.display());
    let metadata = fs::metadata(path).with_context(cannot_read)?;
    ensure!(metadata.is_file(), "{} is no regular file; give a text file", path.display());
    read(File::open(path).with_context(cannot_read)?).with_context(cannot_read)
}

/// Everything that `input` holds.
pub(crate) fn read(input: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    input.take(MAX_TEXT_BYTES as u64 + 1).read_to_string(&mut text)?;
    if text.len() > MAX_TEXT_BYTES {
        bail!("the text is longer than {MAX_TEXT_BYTES} bytes; give a part of it");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_refused_and_not_cut() {
        assert_eq!(read(&b"short"[..]).unwrap(), "short");
        assert!(read(&vec![b'a'; MAX_TEXT_BYTES + 1][..]).is_err());
    }

    #[test]
    fn only_regular_files_are_read() {
        assert!(read_file(Path::new("/")).unwrap_err().to_string().contains("regular file"));
        assert!(read_file(Path::new("/no/such/file")).unwrap_err().to_string().contains("cannot read"));
    }
}
