//! Files of the one who asks: neither a report nor an index takes the place of one, and no document brings the run down.

use std::{fs, path::Path};

use crate::support::{ergon, error_of, folder, json_of, stderr, stdout, text, verified};

const CLAIM: &str = "Acme Corporation was founded in 1999.";
const ACME: &str = "Acme Corporation was founded in 1999.\n";

fn with_report(docs: &Path, report: &Path) -> [String; 7] {
    ["verify", "--docs", text(docs), "--claim", CLAIM, "--html", text(report)].map(str::to_string)
}

fn args(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[test]
fn a_report_takes_nobodys_place() {
    let docs = folder(&[("a.txt", ACME), ("page.html", "<meta name=\"author\" content=\"x\"><p>x")]);
    for name in ["a.txt", "page.html"] {
        let file = docs.path().join(name);
        let before = fs::read(&file).unwrap();
        let said = error_of(&args(&with_report(docs.path(), &file)));
        assert!(said.contains(name) && said.contains("another file"), "{said}");
        let asked =
            error_of(&["ask", "--docs", text(docs.path()), "When was Acme founded?", "--html", text(&file)]);
        assert!(asked.contains(name), "{asked}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    let rows = docs.path().join("claims.jsonl");
    fs::write(&rows, format!("{{\"claim\": \"{CLAIM}\"}}\n")).unwrap();
    let said =
        error_of(&["verify", "--docs", text(docs.path()), "--claims", text(&rows), "--html", text(&rows)]);
    assert!(said.contains("claims.jsonl") && fs::read_to_string(&rows).unwrap().contains(CLAIM), "{said}");
    // Before any work: there is no index yet.
    assert!(!docs.path().join(".ergon").exists());
    let out = tempfile::tempdir().unwrap();
    for place in [out.path().join("no/r.html"), out.path().to_path_buf()] {
        assert!(error_of(&args(&with_report(docs.path(), &place))).contains("name a file in"));
    }
    // A report is written, written again over itself, and leaves nothing beside it.
    let report = out.path().join("r.html");
    for _ in 0..2 {
        assert_eq!(ergon(&args(&with_report(docs.path(), &report))).status.code(), Some(0));
        assert!(fs::read_to_string(&report).unwrap().contains("<mark>"));
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn results_are_printed_before_the_report() {
    let docs = folder(&[("a.txt", ACME)]);
    // It can be opened, and has no room for a byte.
    let done = ergon(&args(&with_report(docs.path(), Path::new("/dev/full"))));
    assert_eq!(done.status.code(), Some(1));
    assert!(stdout(&done).contains("supported") && stderr(&done).contains("/dev/full"), "{}", stderr(&done));
}

#[test]
fn an_index_takes_nobodys_place() {
    let docs = folder(&[("a.txt", ACME), ("index/page.html", "<p>Beta is blue.</p>")]);
    let theirs = folder(&[("index/thesis.txt", "text")]);
    for home in [theirs.path(), docs.path()] {
        let said =
            error_of(&["verify", "--docs", text(docs.path()), "--claim", CLAIM, "--index", text(home)]);
        assert!(said.contains(text(home)) && said.contains("empty folder"), "{said}");
    }
    assert!(theirs.path().join("index/thesis.txt").exists() && docs.path().join("index/page.html").exists());
    assert!(!theirs.path().join(".gitignore").exists() && !docs.path().join(".gitignore").exists());
}

#[cfg(unix)]
#[test]
fn an_index_that_is_a_link_goes_elsewhere() {
    let docs = folder(&[("a.txt", ACME)]);
    let victim = folder(&[("index/thesis", "text")]);
    let cache = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(victim.path(), docs.path().join(".ergon")).unwrap();
    let done = crate::support::command(&["verify", "--docs", text(docs.path()), "--claim", CLAIM])
        .env("XDG_CACHE_HOME", cache.path())
        .output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert!(stderr(&done).contains("is a link") && stderr(&done).contains(text(cache.path())));
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1);
    assert!(victim.path().join("index/thesis").exists());
}

#[test]
fn words_that_a_file_no_longer_holds_are_not_cited() {
    let docs = folder(&[("a.txt", ACME)]);
    assert_eq!(verified(docs.path(), CLAIM)["verdict"], "supported");
    let file = docs.path().join("a.txt");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, ACME.replace("1999", "1998")).unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    let found = verified(docs.path(), CLAIM);
    assert_eq!(found["verdict"], "refuted", "{found:#}");
    assert!(found["opposing"][0]["cited_text"].as_str().unwrap().contains("1998"));
}

/// A page with a form that draws itself.
fn endless() -> Vec<u8> {
    let form = "/X Do BT /F1 12 Tf (Acme) Tj ET";
    let font = "/Font<</F1 5 0 R>>";
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_string(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_string(),
        format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R/Resources<</XObject<</X 6 0 R>>{font}>>>>"
        ),
        "<</Length 5>>stream\n/X Do\nendstream".to_string(),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_string(),
        format!(
            "<</Length {}/Type/XObject/Subtype/Form/Resources<</XObject<</X 6 0 R>>{font}>>>>stream\n{form}\nendstream",
            form.len()
        ),
    ];
    let mut file = String::from("%PDF-1.5\n");
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (index, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let start = file.len();
    file.push_str(&format!("{table}trailer<</Size 7/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n"));
    file.into_bytes()
}

#[test]
fn a_pdf_without_end_is_named_and_the_others_are_read() {
    let docs = folder(&[("a.txt", ACME)]);
    fs::write(docs.path().join("form.pdf"), endless()).unwrap();
    let found = json_of(&["verify", "--docs", text(docs.path()), "--claim", CLAIM, "--json"]);
    assert_eq!(found["claims"][0]["verdict"], "supported");
    assert_eq!(found["skipped"][0]["file"], "form.pdf");
    assert!(found["skipped"][0]["reason"].as_str().unwrap().contains("draws itself"), "{found:#}");
}
