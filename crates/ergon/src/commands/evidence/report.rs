//! Where the report goes. A file of somebody's is never replaced, and what cannot be written is told before the work.

use std::{
    fs::{self, File, Metadata},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

/// What the head of every report holds.
const MARK: &[u8] = b"<meta name=\"generated_by\" content=\"ergon ";
/// Bytes of a file in which the mark is looked for.
const MARK_BYTES: u64 = 4096;

/// A report that can be written.
pub(crate) struct Report {
    path: PathBuf,
    /// Whether it takes the place of an older one.
    replaces: bool,
}

impl Report {
    /// Looks at the place of a report, if one is wanted.
    pub(crate) fn prepare(path: Option<&PathBuf>) -> anyhow::Result<Option<Report>> {
        let Some(path) = path else { return Ok(None) };
        let replaces = match fs::metadata(path) {
            Ok(found) => {
                replaceable(path, &found)?;
                true
            }
            // A link that leads nowhere is there too.
            Err(_) if fs::symlink_metadata(path).is_ok() => {
                bail!("--html {} is a link that leads nowhere; name another file", path.display())
            }
            Err(_) => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                tempfile::Builder::new().prefix(".ergon-report-").tempfile_in(folder).with_context(|| {
                    let (file, folder) = (path.display(), folder.display());
                    format!("--html {file} cannot be written; name a file in a folder that exists and can be written, and not {folder}")
                })?;
                false
            }
        };
        Ok(Some(Report { path: path.clone(), replaces }))
    }

    /// Writes the page, told by its path if that fails.
    pub(crate) fn write(&self, page: &str) -> anyhow::Result<()> {
        let mut options = File::options();
        options.write(true);
        match self.replaces {
            true => options.truncate(true),
            false => options.create_new(true),
        };
        options
            .open(&self.path)
            .and_then(|mut file| file.write_all(page.as_bytes()))
            .with_context(|| format!("cannot write the report {}", self.path.display()))
    }
}

/// Whether nothing is lost if a report is written over this: an older report, an empty file, what is no file.
fn replaceable(path: &Path, found: &Metadata) -> anyhow::Result<()> {
    let shown = path.display();
    ensure!(!found.is_dir(), "--html {shown} is a folder; name a file in it");
    if !found.is_file() {
        return Ok(());
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MARK_BYTES).read_to_end(&mut head))
        .with_context(|| format!("--html {shown} exists and cannot be read; name another file"))?;
    ensure!(
        head.is_empty() || head.windows(MARK.len()).any(|window| window == MARK),
        "--html {shown} exists and is no report of ergon, so it is not replaced; name another file"
    );
    File::options()
        .append(true)
        .open(path)
        .with_context(|| format!("--html {shown} cannot be written; name another file"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_carries_the_mark() {
        let head = include_str!("report_head.html").replace("{MARK}", &super::super::generated_by("verify"));
        assert!(head.as_bytes()[..MARK_BYTES as usize / 4].windows(MARK.len()).any(|window| window == MARK));
    }
}
