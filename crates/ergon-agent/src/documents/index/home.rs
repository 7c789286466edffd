//! The folder that holds an index. It mostly lies among untrusted documents, so nothing in it is believed or touched unless
//! it is ours: a folder that ergon did not make is taken only while it holds nothing that could be lost, links are not
//! followed, and an index that was made elsewhere and carried here is built again.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process,
    time::UNIX_EPOCH,
};

/// Name of the folder with the files of the search library.
pub(super) const FOLDER: &str = "index";
pub(super) const LOCK: &str = "lock";
pub(super) const STAMPS: &str = "stamps";
/// Where stamps are written before they are moved into place.
pub(super) const STAMPS_NEW: &str = "stamps.new";
/// The file by which a folder is known as ours.
const MARK: &str = "ergon-index";
const MARK_TEXT: &str =
    "ergon keeps an index in this folder. What it made here it may delete and build again at any time.\n";
const IGNORE: &str = ".gitignore";
const IGNORE_ALL: &[u8] = b"*\n";
/// Bytes of a file that are looked at to know it again.
const LOOK_BYTES: u64 = 1 << 20;
/// How the name of the file begins that shows whether the folder can be written.
const PROBE: &str = ".probe-";
/// Names that are tried for the file that shows whether the folder can be written.
const PROBES: u32 = 16;

/// Why a folder cannot hold an index.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("{} is a link, which is not followed", path.display())]
    Link { path: PathBuf },
    #[error("{} is no part of an index, and the folder was not made for one; nothing was changed", path.display())]
    Foreign { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    System { path: PathBuf, reason: io::Error },
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> Unfit + '_ {
    move |reason| Unfit::System { path: path.to_path_buf(), reason }
}

/// Makes the folder or finds it fit, marks it as ours, and tries to write there. The folder itself may be a link only if a
/// person named it.
pub(super) fn prepare(home: &Path, may_be_link: bool) -> Result<(), Unfit> {
    let is_new = match fs::symlink_metadata(home) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(home).map_err(system(home))?;
            true
        }
        Err(error) => return Err(system(home)(error)),
        Ok(found) if found.is_symlink() && !may_be_link => {
            return Err(Unfit::Link { path: home.to_path_buf() });
        }
        Ok(_) => false,
    };
    let is_marked = mark(home)?.is_some();
    let is_empty = look(home, is_marked, |name| {
        matches!(name, FOLDER | LOCK | STAMPS | STAMPS_NEW | MARK | IGNORE) || name.starts_with(PROBE)
    })?;
    let folder = home.join(FOLDER);
    let holds_index = folder.exists() && !look(&folder, is_marked, is_index_file)?;
    if !is_marked {
        let says_something =
            |path: &PathBuf| beginning(path).is_ok_and(|bytes| !bytes.is_empty() && bytes != IGNORE_ALL);
        let files = [STAMPS, STAMPS_NEW, LOCK, IGNORE].map(|name| home.join(name));
        let theirs = files.into_iter().find(says_something).or(holds_index.then_some(folder));
        if let Some(path) = theirs.filter(|_| !is_older_index(home)) {
            return Err(Unfit::Foreign { path });
        }
        write_mark(home, is_empty)?;
    }
    if is_new {
        // Whoever keeps the documents under git does not want the index there.
        write_new(&home.join(IGNORE), IGNORE_ALL)?;
    }
    probe(home)
}

/// Looks at the names in a folder: what is ours by name must be a plain file, the index a folder. Whatever else is there is
/// let be in a folder of ours and refused in another. Tells whether there was nothing.
fn look(folder: &Path, is_marked: bool, is_known: impl Fn(&str) -> bool) -> Result<bool, Unfit> {
    let mut is_empty = true;
    for entry in fs::read_dir(folder).map_err(system(folder))? {
        let entry = entry.map_err(system(folder))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().filter(|name| is_known(name));
        let kind = entry.file_type().map_err(system(&path))?;
        is_empty = false;
        match name {
            Some(_) if kind.is_symlink() => return Err(Unfit::Link { path }),
            Some(FOLDER) if kind.is_dir() => {}
            Some(name) if name != FOLDER && kind.is_file() => {}
            None if is_marked => {}
            _ => return Err(Unfit::Foreign { path }),
        }
    }
    Ok(is_empty)
}

/// Whether the search library gives its files such names.
pub(super) fn is_index_file(name: &str) -> bool {
    let is_segment = |stem: &str| stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(name, "meta.json" | ".managed.json" | ".tantivy-writer.lock" | ".tantivy-meta.lock")
        || name.strip_prefix(".tmp").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()))
        || name.split_once('.').is_some_and(|(stem, _)| is_segment(stem))
}

/// Whether this is an index from before folders were marked.
fn is_older_index(home: &Path) -> bool {
    let holds = |path: PathBuf, text: &[u8]| {
        beginning(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
    };
    holds(home.join(STAMPS), b"ergonst1") || holds(home.join(FOLDER).join("meta.json"), b"\"text_digest\"")
}

/// The first bytes of a file, which must be no link.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    options(File::options().read(true)).open(path)?.take(LOOK_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes opening a link fail.
#[cfg(unix)]
pub(super) fn options(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
}

/// Elsewhere the look at the folder has to do.
#[cfg(not(unix))]
pub(super) fn options(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

/// What the mark of a folder says after our text; nothing if there is no mark. One that is just being written is one.
fn mark(home: &Path) -> Result<Option<String>, Unfit> {
    let path = home.join(MARK);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(system(&path)(error)),
        Ok(found) if found.is_symlink() => return Err(Unfit::Link { path }),
        Ok(found) if !found.is_file() => return Err(Unfit::Foreign { path }),
        Ok(_) => {}
    }
    let said = beginning(&path).map_err(system(&path))?;
    match said.strip_prefix(MARK_TEXT.as_bytes()) {
        Some(rest) => Ok(Some(String::from_utf8_lossy(rest).into_owned())),
        None if MARK_TEXT.as_bytes().starts_with(&said) => Ok(Some(String::new())),
        None => Err(Unfit::Foreign { path }),
    }
}

/// Whether the index was built in this very folder, and not carried here from elsewhere: such a one could say of the documents
/// what they do not hold.
pub(super) fn is_made_here(home: &Path) -> bool {
    matches!((mark(home), birth(home)), (Ok(Some(said)), Ok(birth)) if said == birth)
}

/// Says that what is built from now on is built here. For the holder of the lock, once the old index is gone.
pub(super) fn renew_mark(home: &Path) -> Result<(), String> {
    if is_made_here(home) {
        return Ok(());
    }
    let path = home.join(MARK);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(system(&path)(error).to_string()),
        _ => write_mark(home, true).map_err(|unfit| unfit.to_string()),
    }
}

fn write_mark(home: &Path, is_made_here: bool) -> Result<(), Unfit> {
    let birth = if is_made_here { birth(home).map_err(system(home))? } else { String::new() };
    write_new(&home.join(MARK), format!("{MARK_TEXT}{birth}").as_bytes())
}

/// What a copy of a folder has not: its number in the file system, and when it was made.
fn birth(home: &Path) -> io::Result<String> {
    let found = fs::metadata(home)?;
    let made = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{} {}\n", number(&found), made.unwrap_or_default().as_nanos()))
}

#[cfg(unix)]
fn number(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}

/// Writes a file unless there is one of its name.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Unfit> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(bytes).map_err(system(path)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(system(path)(error)),
    }
}

/// Whether files can be made here: makes one of a new name and removes it.
fn probe(home: &Path) -> Result<(), Unfit> {
    let name = |number| home.join(format!("{PROBE}{}-{number}", process::id()));
    for number in 0..PROBES {
        let path = name(number);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(_) => return fs::remove_file(&path).map_err(system(&path)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(system(&path)(error)),
        }
    }
    Err(system(home)(ErrorKind::AlreadyExists.into()))
}
