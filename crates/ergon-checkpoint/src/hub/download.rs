//! One file from the hub into the cache: resumed, checked, then named.

use super::cache::{self, Repo};
use super::client::{Client, Content, FileInfo};
use super::{HubError, Progress};
use sha2::{Digest, Sha256};
use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Duration,
};

/// Tries that bring no new byte before a download is given up.
const MAX_FRUITLESS_TRIES: u32 = 4;
const COPY_BYTES: usize = 256 << 10;

/// Brings a file of a commit into the snapshot.
pub(super) fn fetch_file(
    client: &Client<'_>,
    repo: &Repo,
    commit: &str,
    file: &str,
    progress: &mut dyn Progress,
) -> Result<(), HubError> {
    let info = client.file_info(commit, file)?;
    let blob = repo.blob(&info.etag);
    if !is_complete(&blob, &info) {
        let mut part = Part::open(&blob, file)?;
        // Another process may have finished it while we waited for nothing but a moment.
        if !is_complete(&blob, &info) {
            part.download(client, commit, &info, progress)?;
            part.check(&info)?;
            std::fs::rename(&part.path, &blob).map_err(|reason| part.error(reason))?;
        }
    }
    repo.link(commit, file, &info.etag)
}

fn is_complete(blob: &Path, info: &FileInfo) -> bool {
    std::fs::metadata(blob)
        .is_ok_and(|found| found.is_file() && info.bytes.is_none_or(|bytes| bytes == found.len()))
}

/// A file that is not complete yet. Locked while we hold it, so that two processes never write the same one.
struct Part<'a> {
    path: PathBuf,
    file: File,
    name: &'a str,
}

impl<'a> Part<'a> {
    fn open(blob: &Path, name: &'a str) -> Result<Part<'a>, HubError> {
        cache::make_parent(blob)?;
        let mut path = blob.as_os_str().to_owned();
        path.push(".incomplete");
        let path = PathBuf::from(path);
        let error = |reason| HubError::Io { path: path.clone(), reason };
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(error)?;
        match file.try_lock() {
            Ok(()) => Ok(Part { path, file, name }),
            Err(TryLockError::WouldBlock) => Err(HubError::Busy { file: name.to_string() }),
            Err(TryLockError::Error(reason)) => Err(error(reason)),
        }
    }

    fn error(&self, reason: io::Error) -> HubError {
        HubError::Io { path: self.path.clone(), reason }
    }

    /// Downloads what is missing, over as many connections as it takes while each brings something.
    fn download(
        &mut self,
        client: &Client<'_>,
        commit: &str,
        info: &FileInfo,
        progress: &mut dyn Progress,
    ) -> Result<(), HubError> {
        let mut have = self.file.metadata().map_err(|reason| self.error(reason))?.len();
        if info.bytes.is_some_and(|bytes| have > bytes) {
            have = 0;
        }
        progress.start(self.name, have, info.bytes);
        let (mut fruitless, mut furthest) = (0, have);
        while info.bytes.is_none_or(|bytes| have < bytes) {
            let outcome = match client.content(commit, self.name, have) {
                Ok(Some(content)) => self.receive(content, info, &mut have, progress)?,
                Ok(None) => {
                    have = 0;
                    Err("the server has no such part of the file".to_string())
                }
                Err(HubError::Network { reason, .. }) => Err(reason),
                Err(other) => return Err(other),
            };
            match outcome {
                Ok(()) if info.bytes.is_none_or(|bytes| have == bytes) => break,
                // Beyond the furthest point, not just further than this try began: else a server that makes us start
                // again and again would keep us for ever.
                _ if have > furthest => (fruitless, furthest) = (0, have),
                _ => fruitless += 1,
            }
            if fruitless == MAX_FRUITLESS_TRIES {
                let reason = outcome.err().unwrap_or_else(|| "the connection closes early".to_string());
                let hint = "; the part that is here is kept, run the command again to continue";
                return Err(HubError::Network { url: client.file_url(commit, self.name), reason, hint });
            }
            std::thread::sleep(Duration::from_millis(if fruitless == 0 { 50 } else { 250 << fruitless }));
        }
        self.file.set_len(have).and_then(|()| self.file.sync_all()).map_err(|reason| self.error(reason))?;
        progress.finish();
        Ok(())
    }

    /// Writes one body. The outer error is ours (the disk), the inner one the network's, which is worth another try.
    fn receive(
        &mut self,
        content: Content,
        info: &FileInfo,
        have: &mut u64,
        progress: &mut dyn Progress,
    ) -> Result<Result<(), String>, HubError> {
        let Content { start, reader } = content;
        *have = start;
        // Never more than was announced: one byte further shows that the server sends something else.
        let most = info.bytes.map_or(u64::MAX, |bytes| bytes - start);
        let mut reader = reader.take(most.saturating_add(1));
        self.file.seek(SeekFrom::Start(start)).map_err(|reason| self.error(reason))?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error.to_string())),
            };
            if info.bytes.is_some_and(|bytes| *have + count as u64 > bytes) {
                *have = 0;
                return Ok(Err("the server sends more bytes than it announced".to_string()));
            }
            self.file.write_all(&buffer[..count]).map_err(|reason| self.error(reason))?;
            *have += count as u64;
            progress.advance(*have);
        }
    }

    /// Compares the whole file with the announced checksum; removes it if it differs.
    fn check(&mut self, info: &FileInfo) -> Result<(), HubError> {
        let Some(expected) = info.sha256() else { return Ok(()) };
        let found = self.digest().map_err(|reason| self.error(reason))?;
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(|reason| self.error(reason))?;
        Err(HubError::Checksum { file: self.name.to_string(), expected: expected.to_string(), found })
    }

    fn digest(&mut self) -> io::Result<String> {
        self.file.rewind()?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match self.file.read(&mut buffer)? {
                0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
                count => hash.update(&buffer[..count]),
            }
        }
    }
}
