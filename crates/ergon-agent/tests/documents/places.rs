//! Where an index may lie: nothing of anybody else is deleted, followed or believed.

use std::{fs, path::Path};

use ergon_agent::documents::{DocumentsError, Filter, Library, LibraryOptions, Place, Progress, retrieve};

use super::{folder, found, open, options};

fn at(home: &Path) -> LibraryOptions {
    LibraryOptions { home: Some(home.to_path_buf()), ..options() }
}

fn opened(root: &Path, options: &LibraryOptions) -> Result<Library, DocumentsError> {
    Library::open(root, options, &mut |_| ())
}

/// Every file below a folder with what it holds.
fn all(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(all(&entry.path())),
            false => files.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap())),
        }
    }
    files.sort();
    files
}

#[test]
fn a_folder_of_somebody_is_left_as_it_is() {
    let docs = folder(&[("a.txt", "Acme is red.")]);
    for files in [
        &[("index/thesis.txt", "text")][..],
        &[("probe", "text")],
        &[("stamps", "text")],
        &[("stamps.new", "text")],
        &[("lock", "text")],
        &[(".gitignore", "target\n")],
        &[("notes.txt", "text")],
        &[("index/meta.json", "{}")],
        &[("ergon-index", "an index of names")],
    ] {
        let theirs = folder(files);
        let before = all(theirs.path());
        let refused = opened(docs.path(), &at(theirs.path())).err();
        let said = refused.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            said.contains(theirs.path().to_str().unwrap()) && said.contains("empty"),
            "{files:?}: {said}"
        );
        assert_eq!(all(theirs.path()), before, "{files:?}");
    }
    // The documents themselves as the place of the index.
    let docs = folder(&[("index/page.html", "<p>Acme is red.</p>"), ("probe", "Beta is blue.")]);
    let before = all(docs.path());
    assert!(matches!(opened(docs.path(), &at(docs.path())), Err(DocumentsError::Place { .. })));
    assert_eq!(all(docs.path()), before);
}

#[test]
fn a_folder_of_ours_keeps_what_somebody_put_there() {
    let docs = folder(&[("a.txt", "Acme is red.")]);
    let home = tempfile::tempdir().unwrap();
    opened(docs.path(), &at(home.path())).unwrap();
    assert!(!home.path().join(".gitignore").exists(), "the folder was there before");
    fs::write(home.path().join("index/thesis.txt"), "text").unwrap();
    fs::write(home.path().join("notes.txt"), "text").unwrap();
    fs::write(home.path().join("index/meta.json"), "damaged").unwrap();
    let library = opened(docs.path(), &at(home.path())).unwrap();
    assert_eq!(found(&library, "Acme").len(), 1);
    assert_eq!(fs::read(home.path().join("index/thesis.txt")).unwrap(), b"text");
    assert_eq!(fs::read(home.path().join("notes.txt")).unwrap(), b"text");
    let new = home.path().join("deeper/new");
    opened(docs.path(), &at(&new)).unwrap();
    assert_eq!(fs::read(new.join(".gitignore")).unwrap(), b"*\n");
}

/// An index as it lay on disk before its folder was marked.
#[test]
fn an_older_index_is_built_again() {
    let docs = folder(&[("a.txt", "Acme is red.")]);
    let home = docs.path().join(".ergon");
    open(docs.path());
    fs::remove_file(home.join("ergon-index")).unwrap();
    let mut told = Vec::new();
    let library = Library::open(docs.path(), &options(), &mut |progress| told.push(progress)).unwrap();
    assert_eq!(*library.place(), Place::Folder(home.join("index")));
    assert!(matches!(told[0], Progress::Rebuilding { .. }), "{told:?}");
    assert_eq!(found(&library, "Acme").len(), 1);
    assert_eq!(*open(docs.path()).updated(), Default::default(), "it is known from then on");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    use std::os::unix::fs::symlink;
    let victim = folder(&[("keys", "secret"), ("index/thesis", "text"), ("empty/x", "")]);
    let inside = |name: &str| victim.path().join(name);
    let before = all(victim.path());
    let cache = tempfile::tempdir().unwrap();
    for (index, (link, target)) in [
        (".ergon", victim.path().to_path_buf()),
        (".ergon", inside("empty")),
        (".ergon/index", inside("index")),
        (".ergon/lock", inside("new")),
        (".ergon/lock", inside("keys")),
        (".ergon/stamps", inside("keys")),
        (".ergon/stamps.new", inside("keys")),
        (".ergon/.gitignore", inside("new")),
        (".ergon/ergon-index", inside("new")),
        (".ergon/index/meta.json", inside("keys")),
        (".ergon/index/.tantivy-writer.lock", inside("new")),
    ]
    .into_iter()
    .enumerate()
    {
        for is_ours in [false, true] {
            let docs = folder(&[("a.txt", "Acme is red.")]);
            if is_ours {
                open(docs.path());
            }
            let path = docs.path().join(link);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            symlink(target.as_path(), &path).unwrap();
            let fallback = cache.path().join(format!("{index}{is_ours}"));
            let mut why = String::new();
            let options = LibraryOptions { fallback: Some(fallback.clone()), ..options() };
            let library = Library::open(docs.path(), &options, &mut |progress| {
                if let Progress::Elsewhere { why: told } = progress {
                    why = told;
                }
            })
            .unwrap();
            assert_eq!(*library.place(), Place::Folder(fallback.join("index")), "{link}");
            assert!(why.contains("link"), "{link}: {why}");
            assert_eq!(found(&library, "Acme").len(), 1);
            assert_eq!(all(victim.path()), before, "{link}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_probe_that_lies_there_as_a_link_is_let_be() {
    let victim = folder(&[("keys", "secret")]);
    let docs = folder(&[("a.txt", "Acme is red.")]);
    fs::create_dir(docs.path().join(".ergon")).unwrap();
    let probe = docs.path().join(".ergon/probe");
    std::os::unix::fs::symlink(victim.path().join("keys"), probe).unwrap();
    assert_eq!(found(&open(docs.path()), "Acme").len(), 1);
    assert_eq!(fs::read(victim.path().join("keys")).unwrap(), b"secret");
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => fs::copy(entry.path(), target).map(|_| ()).unwrap(),
        }
    }
}

#[test]
fn an_index_that_was_carried_here_is_not_believed() {
    // Somebody indexes one text and sends the index with another.
    let lie = folder(&[("a.txt", "Acme was founded in 1850.")]);
    open(lie.path());
    let docs = folder(&[("a.txt", "Acme was founded in 1999.")]);
    copy(&lie.path().join(".ergon"), &docs.path().join(".ergon"));
    // The list by which the search library deletes its own files names another's.
    fs::write(docs.path().join("victim"), "text").unwrap();
    fs::write(docs.path().join(".ergon/index/.managed.json"), "[\"../../victim\"]").unwrap();
    let mut told = false;
    let library = Library::open(docs.path(), &options(), &mut |progress| {
        told |= matches!(progress, Progress::Rebuilding { .. });
    })
    .unwrap();
    assert!(told);
    assert_eq!(found(&library, "Acme founded")[0].1, "Acme was founded in 1999.");
    assert_eq!(fs::read(docs.path().join("victim")).unwrap(), b"text");
}

/// Writes other bytes of the same length and gives the file its old time back.
fn replace(path: &Path, text: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, text).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[cfg(unix)]
#[test]
fn a_file_with_its_old_size_and_time_is_read_again() {
    let docs = folder(&[("a.txt", "Acme was founded in 1999.")]);
    open(docs.path());
    replace(&docs.path().join("a.txt"), "Acme was founded in 1998.");
    let library = open(docs.path());
    assert_eq!(found(&library, "Acme founded")[0].1, "Acme was founded in 1998.");
}

#[test]
fn what_changes_after_the_opening_is_no_evidence() {
    let docs = folder(&[
        ("a.txt", "Acme was founded in 1999."),
        ("b.txt", "Acme was founded in 1997."),
        ("c.txt", "Acme was founded in 1996."),
        ("c.txt.meta", "origin: x\n"),
    ]);
    let library = open(docs.path());
    replace(&docs.path().join("a.txt"), "Acme was founded in 1998.");
    fs::write(docs.path().join("c.txt.meta"), "author: model\n").unwrap();
    let cited = |library: &Library| {
        let retrieved = retrieve(library, "Acme was founded in 1999.", &Filter::default()).unwrap();
        let texts: Vec<String> = retrieved.passages.into_iter().map(|passage| passage.text).collect();
        texts
    };
    assert_eq!(cited(&library), ["Acme was founded in 1997."]);
    let changed: Vec<String> = library.skipped().into_iter().map(|skipped| skipped.file).collect();
    assert_eq!(changed, ["a.txt", "c.txt"]);
    let again = open(docs.path());
    assert_eq!(again.changed(), []);
    assert!(cited(&again).contains(&"Acme was founded in 1998.".to_string()));
}
