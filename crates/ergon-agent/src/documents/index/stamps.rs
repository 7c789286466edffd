//! Which bytes a file held when it had which size, times and number: what spares reading files that did not change. The file is a
//! convenience: without it, or with a damaged one, every file is read again and nothing else is different.

use std::{collections::HashMap, fs, io::Write, path::Path};

use sha2::{Digest, Sha256};

use super::home::STAMPS_NEW;
use crate::documents::{
    read::head,
    walk::{Entry, Traits},
};

/// Stamps of files younger than this are not kept: a second change within the clock's resolution would go unseen.
const SETTLED_NS: i64 = 2_000_000_000;
const BEGIN: &[u8; 8] = b"ergonst2";

/// Of each file by key: its stamp, and the digest of its bytes.
pub(super) type Stamps = HashMap<u64, (u64, u64)>;

/// What the system says of a file and of what describes it, as a number.
pub(super) fn stamp(entry: &Entry) -> u64 {
    let mut hash = Sha256::new();
    for traits in traits(entry) {
        hash.update(traits.bytes.to_le_bytes());
        hash.update(traits.modified_ns.to_le_bytes());
        hash.update(traits.changed_ns.to_le_bytes());
        hash.update(traits.number.to_le_bytes());
    }
    head(&hash.finalize())
}

fn traits(entry: &Entry) -> impl Iterator<Item = &Traits> {
    [&entry.traits].into_iter().chain(entry.sidecars.iter().map(|(_, traits)| traits))
}

/// Whether a change made now would change the stamp.
pub(super) fn is_settled(entry: &Entry, now_ns: i64) -> bool {
    traits(entry)
        .flat_map(|traits| [traits.modified_ns, traits.changed_ns])
        .all(|time| now_ns.saturating_sub(time) > SETTLED_NS)
}

/// What was kept; nothing if the file is missing or damaged.
pub(super) fn read(path: &Path) -> Stamps {
    fs::read(path).ok().and_then(|bytes| parse(&bytes)).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Option<Stamps> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    let rows = content.strip_prefix(BEGIN)?;
    if Sha256::digest(content)[..] != *sum || rows.len() % 24 != 0 {
        return None;
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let rows = rows.chunks_exact(24);
    Some(rows.map(|row| (number(&row[..8]), (number(&row[8..16]), number(&row[16..])))).collect())
}

/// Keeps stamps: written beside and moved into place, so that a kill leaves the old or the new file. For the holder of the
/// lock only.
pub(super) fn write(path: &Path, stamps: &Stamps) -> std::io::Result<()> {
    let mut bytes = BEGIN.to_vec();
    for (key, (stamp, digest)) in stamps {
        [key, stamp, digest].iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    }
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    let beside = path.with_file_name(STAMPS_NEW);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stamps");
        let stamps: Stamps = [(1, (2, 3)), (u64::MAX, (5, 6))].into();
        write(&path, &stamps).unwrap();
        assert_eq!(read(&path), stamps);
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path), Stamps::new());
        fs::write(&path, b"x").unwrap();
        assert_eq!(read(&path), Stamps::new());
    }
}
