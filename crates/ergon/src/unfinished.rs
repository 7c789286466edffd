//! Files and folders that go with the process unless they are finished before.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// All there are now, for an end at once, which drops no values.
static ALL: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file or folder under construction. It is removed with the value, if it has not been moved to its place by then.
#[derive(Debug)]
pub(crate) struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// Takes over what is there.
    pub(crate) fn new(path: PathBuf) -> Unfinished {
        all().push(path.clone());
        Unfinished { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now as far as the system allows; the rest goes with the value.
    pub(crate) fn remove(&self) {
        remove(&self.path);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        remove(&self.path);
        all().retain(|path| *path != self.path);
    }
}

/// Removes everything unfinished, for a process that ends now.
pub(crate) fn remove_all() {
    all().iter().for_each(|path| remove(path));
}

/// Removes a file or a folder with all that is in it. What cannot be removed is left: nobody is there who could do better.
pub(crate) fn remove(path: &Path) {
    let _ = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
}

fn all() -> MutexGuard<'static, Vec<PathBuf>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_moved_to_its_place_goes_with_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("model")).unwrap();
        fs::write(path("model/weights"), "w").unwrap();
        fs::write(path("file"), "f").unwrap();
        fs::write(path("finished"), "f").unwrap();
        let unfinished = ["model", "file", "finished"].map(|name| Unfinished::new(path(name)));
        fs::rename(path("finished"), path("result")).unwrap();
        assert!(unfinished.iter().all(|one| all().iter().any(|path| path == one.path())));
        drop(unfinished);
        assert!(all().iter().all(|path| !path.starts_with(folder.path())));
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["result"]);
    }
}
