//! PDFs that are made to do harm: each is named with its reason, and the documents beside it are read.

use std::{
    fs,
    io::Write,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use ergon_agent::documents::{DocumentsError, Library, LibraryOptions, ReadLimits};
use flate2::{Compression, write::ZlibEncoder};

use super::{folder, found, open, options, pdf_of};

const FONT: &str = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>";
const SHOWN: &str = "BT /F1 12 Tf 72 720 Td (Acme is red.) Tj ET";

fn stream(entries: &str, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut object = format!("<< /Length {} {entries} >>\nstream\n", content.len()).into_bytes();
    object.extend_from_slice(content);
    object.extend_from_slice(b"\nendstream");
    object
}

fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A PDF of one page with this content, font 5, and these resources and objects from 6 on.
fn page(content: Vec<u8>, resources: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let page = format!(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> {resources} >> >>"
    );
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        page.into_bytes(),
        content,
        FONT.into(),
    ];
    objects.extend_from_slice(more);
    pdf_of(&objects, "")
}

fn form(draws: &str, xobjects: &str) -> Vec<u8> {
    let resources = format!(
        "/Type /XObject /Subtype /Form /Resources << /Font << /F1 5 0 R >> /XObject << {xobjects} >> >>"
    );
    stream(&resources, format!("{draws} {SHOWN}"))
}

/// What is said of each file of a folder in which a text stands beside them.
fn reasons(files: &[(&str, Vec<u8>)], limits: ReadLimits) -> Vec<(String, String)> {
    let docs = folder(&[("ok.txt", "Beta is blue.")]);
    for (name, bytes) in files {
        fs::write(docs.path().join(name), bytes).unwrap();
    }
    let options = LibraryOptions { limits, ..options() };
    let library = Library::open(docs.path(), &options, &mut |_| ()).unwrap();
    assert_eq!(found(&library, "Beta").len(), 1);
    library.skipped().into_iter().map(|skipped| (skipped.file, skipped.reason)).collect()
}

fn reason(pdf: Vec<u8>) -> String {
    reasons(&[("x.pdf", pdf)], ReadLimits::default()).pop().map(|(_, reason)| reason).unwrap_or_default()
}

#[test]
fn forms_that_draw_themselves_are_refused() {
    let itself = page(stream("", "/X Do"), "/XObject << /X 6 0 R >>", &[form("/X Do", "/X 6 0 R")]);
    assert!(reason(itself).contains("draws itself"));
    let forms = [form("/Y Do", "/Y 7 0 R"), form("/X Do", "/X 6 0 R")];
    assert!(reason(page(stream("", "/X Do"), "/XObject << /X 6 0 R >>", &forms)).contains("draws itself"));
    // Resources that are handed down.
    let heir = stream("/Type /XObject /Subtype /Form", "/X Do");
    assert!(reason(page(stream("", "/X Do"), "/XObject << /X 6 0 R >>", &[heir])).contains("draws itself"));
    // Each form draws the next one: deep, or twice and so without end.
    let chain = |length: usize, draws: &str| {
        let next = |index: usize| form(draws, &format!("/X {} 0 R", 7 + index));
        let mut forms: Vec<Vec<u8>> = (0..length).map(next).collect();
        forms.push(form("", ""));
        page(stream("", "/X Do"), "/XObject << /X 6 0 R >>", &forms)
    };
    assert!(reason(chain(40, "/X Do")).contains("deep"));
    assert!(reason(chain(30, "/X Do /X Do")).contains("times"));
    // An honest form is read, also if it is named in resources that it shares.
    let shared = page(stream("", "/X Do"), "/XObject << /X 6 0 R >>", &[form("", "/X 6 0 R")]);
    assert_eq!(reason(shared), "");
}

#[test]
fn pages_above_pages_lead_nowhere() {
    let objects: Vec<Vec<u8>> = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 /Parent 2 0 R >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>".to_vec(),
        stream("", SHOWN),
    ];
    assert!(reason(pdf_of(&objects, "")).contains("circle"));
}

#[test]
fn lengths_that_lead_from_stream_to_stream_are_not_followed() {
    let objects = |links: usize| {
        let mut objects = vec![
            b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>".to_vec(),
            format!("<< /Length 6 0 R >>\nstream\n{SHOWN}\nendstream").into_bytes(),
            FONT.into(),
        ];
        for link in 0..links {
            objects.push(format!("<</L#65ngth {}%\n0 R>>stream\nx\nendstream", 7 + link).into_bytes());
        }
        objects.push(SHOWN.len().to_string().into_bytes());
        pdf_of(&objects, "")
    };
    for links in [0, 1, 60_000] {
        let docs = folder(&[]);
        fs::write(docs.path().join("x.pdf"), objects(links)).unwrap();
        assert_eq!(found(&open(docs.path()), "Acme")[0].1, "Acme is red.", "{links}");
    }
    // No room for the length where the reference stands: it is measured when the file is loaded.
    let long = format!("{SHOWN} % {}", "x".repeat(200_000));
    let mut file = page(stream("", long), "", &[]);
    let at = file.windows(8).position(|window| window == b"/Length ").unwrap() + 8;
    file[at..at + 6].copy_from_slice(b"9 0 R ");
    assert_eq!(reason(file), "");
}

/// A table of references that is a stream: two objects, each said to lie in the other.
#[test]
fn objects_that_lie_in_one_another_are_not_looked_for() {
    let mut file = b"%PDF-1.5\n".to_vec();
    let first = file.len();
    file.extend_from_slice(b"1 0 obj\n<< /Length 5 0 R >>\nstream\nx\nendstream\nendobj\n");
    let table = file.len();
    let mut rows = [[0u8, 0, 0, 0]; 8];
    rows[1] = [1, 0, first as u8, 0];
    rows[5] = [2, 0, 6, 0];
    rows[6] = [2, 0, 5, 0];
    let rows = rows.concat();
    file.extend_from_slice(b"7 0 obj\n");
    file.extend(stream("/Type /XRef /Size 8 /W [1 2 1] /Root 1 0 R", rows));
    file.extend_from_slice(format!("\nendobj\nstartxref\n{table}\n%%EOF\n").as_bytes());
    assert!(!reason(file.clone()).is_empty());
    for widths in ["[0 0 0]", "[1 99999999999999 1]"] {
        let at = file.windows(7).position(|window| window == b"[1 2 1]").unwrap();
        let mut bad = file.clone();
        bad.splice(at..at + 7, widths.bytes());
        assert!(reason(bad).contains("table of references"), "{widths}");
    }
}

#[test]
fn streams_unfold_to_no_more_than_a_limit() {
    let limits =
        || ReadLimits { pdf_stream_bytes: 300_000, pdf_page_bytes: 100_000, ..ReadLimits::default() };
    let bomb = zlib(&b" ".repeat(2_000_000));
    let flat = |entries: &str| format!("/Filter /FlateDecode {entries}");
    let said = reasons(
        &[
            ("content.pdf", page(stream(&flat(""), &bomb), "", &[])),
            ("twice.pdf", page(stream("/Filter [/FlateDecode /FlateDecode]", zlib(&bomb)), "", &[])),
            (
                "objects.pdf",
                page(stream("", SHOWN), "", &[stream(&flat("/Type /ObjStm /N 1 /First 4"), &bomb)]),
            ),
            ("page.pdf", page(stream("", " ".repeat(200_000)), "", &[])),
            ("bare.pdf", page(stream(&flat(""), [b"xx", &bomb[2..]].concat()), "", &[])),
            (
                "columns.pdf",
                page(
                    stream(&flat("/DecodeParms << /Predictor 12 /Columns 9000000000 >>"), zlib(b"x")),
                    "",
                    &[],
                ),
            ),
        ],
        limits(),
    );
    let names: Vec<&str> = said.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bare.pdf", "columns.pdf", "content.pdf", "objects.pdf", "page.pdf", "twice.pdf"]);
    for (name, reason) in said.iter().filter(|(name, _)| name != "columns.pdf") {
        assert!(reason.contains("limit") && reason.contains("00000 bytes"), "{name}: {reason}");
    }
    // An image may be larger, since nothing of it is kept.
    let image = stream("/Type /XObject /Subtype /Image /Filter /FlateDecode", &bomb);
    let drawn = page(stream("", format!("/X Do {SHOWN}")), "/XObject << /X 6 0 R >>", &[image]);
    assert_eq!(reasons(&[("image.pdf", drawn)], limits()), []);
}

#[test]
fn more_text_than_the_limit_is_refused() {
    let limits = ReadLimits { text_bytes: 10, ..ReadLimits::default() };
    let said = reasons(&[("x.pdf", page(stream("", SHOWN), "", &[]))], limits);
    assert!(said.len() == 1 && said[0].1.contains("limit"), "{said:?}");
}

#[test]
fn tables_of_fonts_are_bounded() {
    let with = |table: Vec<u8>| {
        let font = "<< /Type /Font /Subtype /TrueType /BaseFont /Helvetica /ToUnicode 7 0 R >>";
        let content = stream("", SHOWN.replace("F1", "F2"));
        let mut file = page(content, "", &[font.into(), table]);
        let at = file.windows(10).position(|window| window == b"/F1 5 0 R ").unwrap();
        file[at..at + 10].copy_from_slice(b"/F2 6 0 R ");
        file
    };
    assert!(reason(with(stream("", "[".repeat(100_000)))).contains("font"));
    let ranges = "1 beginbfrange <00000000> <ffffffff> <0041> endbfrange";
    assert!(reason(with(stream("", ranges))).contains("font"));
    // As deep as is let pass: whatever comes of it, the run goes on.
    reason(with(stream("", "[".repeat(1_900) + &"]".repeat(1_900))));
    let honest = "1 beginbfrange <00> <ff> <0000> endbfrange";
    assert_eq!(reason(with(stream("", honest))), "");
}

#[test]
fn reading_ends_when_it_shall() {
    // Many forms drawn often: seconds of work within all limits.
    let draws = "/X Do ".repeat(2_000);
    let forms = [form(&draws, "/X 7 0 R"), stream("/Type /XObject /Subtype /Form", format!("{SHOWN} "))];
    let docs = folder(&[]);
    for number in 0..20 {
        let file = page(stream("", "/X Do ".repeat(1_000)), "/XObject << /X 6 0 R >>", &forms);
        fs::write(docs.path().join(format!("{number}.pdf")), file).unwrap();
    }
    let stop: Arc<AtomicBool> = Arc::default();
    let options = LibraryOptions { stop: Arc::clone(&stop), ..options() };
    let setter = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::SeqCst);
        Instant::now()
    });
    let stopped = Library::open(docs.path(), &options, &mut |_| ());
    let ended = Instant::now();
    assert!(matches!(stopped, Err(DocumentsError::Interrupted)));
    assert!(ended.saturating_duration_since(setter.join().unwrap()) < Duration::from_secs(3));
    // What was given up is no finding about the file.
    let options =
        LibraryOptions { limits: ReadLimits { pdf_seconds: 0, ..ReadLimits::default() }, ..super::options() };
    let library = Library::open(docs.path(), &options, &mut |_| ()).unwrap();
    assert!(library.skipped().iter().all(|skipped| !skipped.reason.contains("interrupted")));
}
