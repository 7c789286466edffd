//! Malformed files: each ends in a short error that names the file and the thing, at once and without memory.
//!
//! The cases follow the published flaws of other GGUF and safetensors readers (counts, types, dimensions and alignments
//! believed; products and paddings that wrap; offsets past the end) and this format's own rules.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Gguf, LIST, TEXT, U32, folder, list, one_tensor, safetensors, text, write_all};
use ergon_checkpoint::Checkpoint;
use peak_alloc::PeakAlloc;
use std::{
    path::Path,
    sync::{Mutex, MutexGuard},
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MAX_PEAK_MIB: f32 = 64.0;

/// What, the file, and a part of the expected message.
type Case = (&'static str, Vec<u8>, &'static str);

/// The memory of the whole process is counted, so the tests of this file take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn expect_error(what: &str, path: &Path, file: &str, says: &str) {
    let before = MEMORY.current_usage_as_mb();
    MEMORY.reset_peak_usage();
    let outcome = Checkpoint::open(path);
    let peak = MEMORY.peak_usage_as_mb() - before;
    let message = match outcome {
        Ok(_) => panic!("{what}: was accepted"),
        Err(error) => error.to_string(),
    };
    assert!(peak < MAX_PEAK_MIB, "{what}: {peak} MiB");
    assert!(message.contains(file), "{what}: does not name {file}: {message}");
    assert!(message.contains(says), "{what}: does not say '{says}': {message}");
    assert!(message.lines().count() <= 3 && message.len() < 700, "{what}: {message}");
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{what}: {message:?}");
}

fn gguf_file(what: &'static str, gguf: Gguf, says: &'static str) -> Case {
    (what, gguf.build(), says)
}

fn gguf_header_cases() -> Vec<Case> {
    let new = Gguf::new;
    let swapped = 3u32.swap_bytes();
    let mut cases = vec![
        ("empty", vec![], "is empty"),
        ("other magic", b"GGML\x03\0\0\0".to_vec(), "no GGUF file"),
        ("pickle", b"PK\x03\x04junkjunkjunk".to_vec(), "no GGUF file"),
        ("only the magic", b"GGUF".to_vec(), "ends inside the version"),
        gguf_file("version 1", Gguf { version: 1, ..new() }, "version 1 is not supported"),
        gguf_file("version 9", Gguf { version: 9, ..new() }, "version 9 is unknown"),
        gguf_file("big-endian", Gguf { version: swapped, ..new() }, "big-endian"),
        gguf_file(
            "key count",
            Gguf { key_count: Some(u64::MAX), ..new() },
            "declares 18446744073709551615 keys",
        ),
        gguf_file("key count believed", Gguf { key_count: Some(60_000), ..new() }, "the file ends inside"),
        gguf_file("tensor count", Gguf { tensor_count: Some(1 << 60), ..new() }, "tensors"),
        gguf_file(
            "tensor count believed",
            Gguf { tensor_count: Some(200_000), ..new() },
            "the file ends inside",
        ),
        gguf_file("unknown key type", new().key("k", 77, &[0; 8]), "'k' has the unknown type 77"),
        gguf_file(
            "text length",
            new().key("k", TEXT, &u64::MAX.to_le_bytes()),
            "'k' declares 18446744073709551615 bytes",
        ),
        gguf_file(
            "text past the end",
            new().key("k", TEXT, &9999u64.to_le_bytes()),
            "ends inside the value of 'k'",
        ),
        gguf_file(
            "text not UTF-8",
            new().key("k", TEXT, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            "'k' is not UTF-8",
        ),
        gguf_file("list length", new().key("k", LIST, &list(U32, u64::MAX, &[])), "'k' declares"),
        gguf_file("list length that wraps", new().key("k", LIST, &list(12, 1 << 61, &[])), "'k' declares"),
        gguf_file(
            "list believed",
            new().key("k", LIST, &list(12, 1 << 22, &[])),
            "ends inside the value of 'k'",
        ),
        gguf_file(
            "texts believed",
            new().key("k", LIST, &list(TEXT, 1 << 22, &[])),
            "ends inside the value of 'k'",
        ),
        gguf_file("list of lists", new().key("k", LIST, &list(LIST, 1, &list(U32, 0, &[]))), "list of lists"),
        gguf_file("list of unknown", new().key("k", LIST, &list(13, 1, &[0; 8])), "unknown type 13"),
        gguf_file("truth value 2", new().key("k", common::BOOL, &[2]), "truth value 2"),
        gguf_file("key twice", new().u32("k", 1).u32("k", 2), "'k' appears twice"),
        gguf_file("control characters", new().key("a\x1b[2Jb\nc\nd\ne", 77, &[0; 8]), "unknown type 77"),
        gguf_file("long key", new().key(&"k".repeat(70_000), U32, &[0; 4]), "key 0 declares 70000 bytes"),
    ];
    for bad in [0, 3, 48, 1 << 17, u32::MAX, 1 << 31] {
        let gguf = new().u32("general.alignment", bad).tensor("t", &[4], 0, &[0; 16]);
        cases.push(gguf_file("alignment", gguf, "'general.alignment' is"));
    }
    let negative = new().key("general.alignment", common::I32, &(-32i32).to_le_bytes());
    cases.push(gguf_file("negative alignment", negative, "'general.alignment' is -32"));
    cases
}

fn gguf_tensor_cases() -> Vec<Case> {
    let new = Gguf::new;
    let huge = 1u64 << 62;
    let mut dims = new().data(64);
    dims = dims.describe("t", &[1; 5], 0, 0);
    let mut cases = vec![
        gguf_file("5 dimensions", dims, "'t' declares 5 dimensions"),
        gguf_file("zero dimension", new().describe("t", &[4, 0], 0, 0).data(64), "'t' has a dimension of 0"),
        gguf_file("negative dimension", new().describe("t", &[u64::MAX], 0, 0).data(64), "overflows"),
        gguf_file("product wraps to 0", new().describe("t", &[1 << 32, 1 << 32], 0, 0).data(64), "overflows"),
        gguf_file("product wraps to 4", new().describe("t", &[huge + 1, 4], 24, 0).data(64), "overflows"),
        gguf_file("bytes wrap", new().describe("t", &[huge], 0, 0).data(64), "overflows"),
        gguf_file("bytes wrap in blocks", new().describe("t", &[256, 1 << 56], 15, 0).data(64), "overflows"),
        gguf_file("unknown type", new().describe("t", &[4], 4, 0).data(64), "'t' has the unknown type 4"),
        gguf_file(
            "type out of range",
            new().describe("t", &[4], u32::MAX, 0).data(64),
            "unknown type 4294967295",
        ),
        gguf_file(
            "ragged rows",
            new().describe("t", &[100], 12, 0).data(256),
            "no multiple of Q4_K's blocks",
        ),
        gguf_file(
            "scalar of blocks",
            new().describe("t", &[], 8, 0).data(64),
            "no multiple of Q8_0's blocks",
        ),
        gguf_file("past the end", new().describe("t", &[64], 0, 0).data(64), "past the end"),
        gguf_file("offset past the end", new().describe("t", &[4], 0, 1 << 40).data(64), "past the end"),
        gguf_file("offset wraps", new().describe("t", &[4], 0, u64::MAX - 31).data(64), "past the end"),
        gguf_file(
            "offset off the grid",
            new().describe("t", &[4], 0, 7).data(64),
            "no multiple of the alignment",
        ),
        gguf_file(
            "overlap",
            new().describe("t", &[16], 0, 0).describe("u", &[4], 0, 32).data(96),
            "'t' and 'u' overlap",
        ),
        gguf_file(
            "same bytes",
            new().describe("t", &[4], 0, 0).describe("u", &[4], 0, 0).data(64),
            "overlap",
        ),
        gguf_file(
            "name twice",
            new().tensor("t", &[4], 0, &[0; 16]).tensor("t", &[4], 0, &[0; 16]),
            "are named 't'",
        ),
        gguf_file(
            "long name",
            new().describe(&"n".repeat(2000), &[4], 0, 0).data(64),
            "name of tensor 0 declares 2000",
        ),
        gguf_file("split count", new().u32("split.count", 3), "part 1 of 3"),
    ];
    let mut dims = Gguf::new().data(64).build();
    dims[8] = 1;
    dims.splice(24..24, [text("t"), u32::MAX.to_le_bytes().to_vec()].concat());
    cases.push(("dimension count", dims, "declares 4294967295 dimensions"));
    let whole = Gguf::new().u32("k", 1).tensor("t", &[8], 0, &[1; 32]).build();
    for length in 1..whole.len() {
        cases.push(("truncated", whole[..length].to_vec(), ""));
    }
    cases
}

#[test]
fn hostile_gguf() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.gguf");
    for (what, bytes, says) in gguf_header_cases().into_iter().chain(gguf_tensor_cases()) {
        std::fs::write(&path, &bytes).unwrap();
        expect_error(what, &path, "bad.gguf", says);
    }
}

/// A header with one tensor entry as given.
fn entry(what: &'static str, fields: &str, says: &'static str) -> Case {
    (what, safetensors(&format!(r#"{{"t":{{{fields}}}}}"#), &[0; 16]), says)
}

fn safetensors_cases() -> Vec<Case> {
    let good = one_tensor("t");
    let twice = r#"{"t":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"t":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}}"#;
    let pair =
        |second: &str| format!(r#"{{"t":{{"dtype":"U8","shape":[8],"data_offsets":[0,8]}},"u":{second}}}"#);
    let overlap = pair(r#"{"dtype":"U8","shape":[12],"data_offsets":[4,16]}"#);
    let gap = pair(r#"{"dtype":"U8","shape":[4],"data_offsets":[12,16]}"#);
    let same = pair(r#"{"dtype":"U8","shape":[8],"data_offsets":[0,8]}"#);
    let deep = format!(r#"{{"t":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let meta_twice = r#"{"__metadata__":{"a":"1","a":"2"}}"#;
    let wide: String = (0..300_000).map(|i| format!("\"{i}\":\"\",")).collect();
    let many = format!(r#"{{"__metadata__":{{{}"x":""}}}}"#, wide);
    let mut cases = vec![
        ("empty", vec![], "is empty"),
        ("four bytes", vec![1, 2, 3, 4], "too short"),
        ("header length", u64::MAX.to_le_bytes().to_vec(), "declares a header of 18446744073709551615 bytes"),
        ("header of 60 MB believed", (60u64 << 20).to_le_bytes().to_vec(), "but only 0 follow"),
        ("no JSON", safetensors("<html>", &[]), "does not start with '{'"),
        ("leading space", safetensors(&format!(" {good}"), &[0; 16]), "does not start with '{'"),
        ("half JSON", safetensors(&good[..20], &[0; 16]), "not valid JSON"),
        ("not UTF-8", [safetensors("{\"", &[]), vec![0xff]].concat(), "not valid JSON"),
        ("text after the JSON", safetensors(&format!("{good}x"), &[0; 16]), "trailing characters"),
        ("deep JSON", safetensors(&deep, &[]), "JSON"),
        ("tensor is no object", safetensors(r#"{"t":3}"#, &[]), "expected tensor 't' to be an object"),
        ("name twice", safetensors(twice, &[0; 32]), "two entries are named 't'"),
        ("overlap", safetensors(&overlap, &[0; 16]), "'u' overlaps"),
        ("same bytes", safetensors(&same, &[0; 8]), "overlaps"),
        ("gap", safetensors(&gap, &[0; 16]), "'u' leaves a gap"),
        ("cut short", safetensors(&good, &[0; 15]), "'t' ends at 16, past the 15 bytes"),
        ("bytes left over", safetensors(&good, &[0; 17]), "1 bytes after the last tensor"),
        ("metadata of numbers", safetensors(r#"{"__metadata__":{"a":1}}"#, &[]), "not valid JSON"),
        ("metadata twice", safetensors(meta_twice, &[]), "has 'a' twice"),
        ("metadata without end", safetensors(&many, &[]), "more than 262144"),
        ("long name", safetensors(&one_tensor(&"n".repeat(5000)), &[0; 16]), "too long"),
    ];
    let escape = "\\u001b[2J\\n\\n\\n\\n".repeat(100);
    cases.push(("control characters", safetensors(&one_tensor(&escape), &[0; 15]), ""));
    cases
}

fn tensor_entry_cases() -> Vec<Case> {
    let rank = format!(r#""dtype":"F32","shape":[{}1],"data_offsets":[0,4]"#, "1,".repeat(100_000));
    vec![
        entry(
            "unknown dtype",
            r#""dtype":"F31","shape":[4],"data_offsets":[0,16]"#,
            "'t' has the unknown dtype 'F31'",
        ),
        entry(
            "dtype twice",
            r#""dtype":"F32","dtype":"F32","shape":[4],"data_offsets":[0,16]"#,
            "two entries 'dtype'",
        ),
        entry("no dtype", r#""shape":[4],"data_offsets":[0,16]"#, "'t' has no dtype"),
        entry("no shape", r#""dtype":"F32","data_offsets":[0,16]"#, "'t' has no shape"),
        entry("no offsets", r#""dtype":"F32","shape":[4]"#, "'t' has no data_offsets"),
        entry(
            "one offset",
            r#""dtype":"F32","shape":[4],"data_offsets":[0]"#,
            "'t' has no data_offsets of two",
        ),
        entry("three offsets", r#""dtype":"F32","shape":[4],"data_offsets":[0,16,3]"#, "'t' has more than 2"),
        entry(
            "negative extent",
            r#""dtype":"F32","shape":[-4],"data_offsets":[0,16]"#,
            "shape of tensor 't'",
        ),
        entry(
            "fractional extent",
            r#""dtype":"F32","shape":[4.5],"data_offsets":[0,16]"#,
            "shape of tensor 't'",
        ),
        entry(
            "huge extent",
            r#""dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,16]"#,
            "shape of tensor 't'",
        ),
        entry(
            "product wraps",
            r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]"#,
            "overflows",
        ),
        entry(
            "bytes wrap",
            r#""dtype":"F32","shape":[4611686018427387908],"data_offsets":[0,16]"#,
            "overflows",
        ),
        entry("half a byte", r#""dtype":"F4","shape":[3],"data_offsets":[0,1]"#, "no whole number of bytes"),
        entry("wrong size", r#""dtype":"F32","shape":[3],"data_offsets":[0,16]"#, "'t' needs 12 bytes"),
        entry(
            "offsets reversed",
            r#""dtype":"F32","shape":[4],"data_offsets":[16,0]"#,
            "offsets are 16 to 0",
        ),
        entry(
            "offsets wrap",
            r#""dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,18446744073709551615]"#,
            "offsets",
        ),
        entry("starts late", r#""dtype":"U8","shape":[8],"data_offsets":[8,16]"#, "leaves a gap"),
        (
            "absurd rank",
            safetensors(&format!("{{\"t\":{{{rank}}}}}"), &[0; 4]),
            "shape of tensor 't' has more than 8",
        ),
    ]
}

fn packed_cases() -> Vec<Case> {
    let good = one_tensor("t");
    let packed = |about: &str| {
        let meta = format!(
            r#"{{"__metadata__":{{"ergon.format":"1",{about}}},{}"#,
            &good.replace("F32\",\"shape\":[2,2]", "U8\",\"shape\":[16]")[1..]
        );
        safetensors(&meta, &[0; 16])
    };
    let mut cases = vec![
        ("packed format", packed(r#""ergon:t":"q9 4x4""#), "expected something like"),
        ("packed shape", packed(r#""ergon:t":"q4_0 4x4x""#), "expected something like"),
        ("packed shape negative", packed(r#""ergon:t":"q4_0 -4x4""#), "expected something like"),
        ("packed size", packed(r#""ergon:t":"q4_0 1x32""#), "'t' is stored as U8 [16]"),
        ("packed ragged", packed(r#""ergon:t":"q4_0 16""#), "'t' is stored as U8 [16]"),
        (
            "packed unknown tensor",
            packed(r#""ergon:u":"f32 4""#),
            "'ergon:u' describes a tensor that is not in",
        ),
        (
            "packed version",
            safetensors(r#"{"__metadata__":{"ergon.format":"2"}}"#, &[]),
            "packed in version '2'",
        ),
    ];
    let zero = r#"{"__metadata__":{"ergon.format":"1","ergon:t":"q4_k 0x99999999999x0x999999999999x256"},"t":{"dtype":"U8","shape":[0,99999999999,0,999999999999,144],"data_offsets":[0,0]}}"#;
    cases.push(("packed product wraps", safetensors(zero, &[]), ""));
    cases
}

#[test]
fn hostile_safetensors() {
    let _alone = alone();
    let folder = folder(&[]);
    for (what, bytes, says) in
        safetensors_cases().into_iter().chain(tensor_entry_cases()).chain(packed_cases())
    {
        std::fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
        if what == "packed product wraps" {
            // An extent of 0 anywhere makes the product 0, whatever the others: no harm, and no error asked for.
            let _ = Checkpoint::open(folder.path());
            continue;
        }
        expect_error(what, folder.path(), "model.safetensors", says);
    }
}

#[test]
fn hostile_index() {
    let _alone = alone();
    let folder = folder(&[("a.safetensors", &safetensors(&one_tensor("t"), &[0; 16]))]);
    let outside = folder.path().join("outside.safetensors");
    std::fs::write(&outside, safetensors(&one_tensor("t"), &[0; 16])).unwrap();
    write_all(folder.path(), &[("b.safetensors", &safetensors(&one_tensor("t"), &[0; 16]))]);
    let map = |body: &str| format!(r#"{{"weight_map":{{{body}}}}}"#);
    let cases = [
        (map(r#""t":"../x.safetensors""#), "tensor 't' is in '../x.safetensors'"),
        (map(&format!(r#""t":"{}""#, outside.display())), "expected the plain name"),
        (map(r#""t":"..\\x.safetensors""#), "expected the plain name"),
        (map(r#""t":"C:x.safetensors""#), "expected the plain name"),
        (map(r#""t":"""#), "expected the plain name"),
        (map(r#""t":"config.json""#), "expected the plain name"),
        (map(r#""t":7"#), "not valid JSON"),
        (map(""), "the weight_map is empty"),
        ("{}".to_string(), "no weight_map"),
        ("[]".to_string(), "expected an object with a weight_map"),
        ("{".repeat(100_000), "not valid JSON"),
        (map(r#""t":"a.safetensors","t":"b.safetensors""#), "'t' is listed twice"),
        (map(r#""t":"gone.safetensors""#), "gone.safetensors: is missing"),
        (map(r#""t":"a.safetensors","u":"a.safetensors""#), "a.safetensors: lacks the tensor 'u'"),
    ];
    for (index, says) in cases {
        write_all(folder.path(), &[("model.safetensors.index.json", index.as_bytes())]);
        expect_error(says, folder.path(), "", says);
    }
    let both = map(r#""t":"a.safetensors","u":"b.safetensors""#);
    write_all(folder.path(), &[("model.safetensors.index.json", both.as_bytes())]);
    expect_error("u missing", folder.path(), "b.safetensors", "lacks the tensor 'u'");
    let two = r#"{"u":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"t":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}}"#;
    write_all(folder.path(), &[("b.safetensors", &safetensors(two, &[0; 16]))]);
    expect_error("t in two shards", folder.path(), "", "the tensor 't' is in two");
}

#[test]
fn hostile_config() {
    let _alone = alone();
    let folder = folder(&[("model.safetensors", &safetensors(&one_tensor("t"), &[0; 16]))]);
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(4_000_000));
    let objects =
        format!("{{{}\"x\":0}}", (0..200_000).map(|i| format!("\"{i}\":{{}},")).collect::<String>());
    let prefix = format!("{{\"{}\":{{{}\"x\":0}}}}", "k".repeat(100_000), "\"a\":0,".repeat(10_000));
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(17 << 20));
    let cases: [(&str, &str); 11] = [
        ("", "not valid JSON"),
        ("[1]", "the top level is no JSON object"),
        ("\"x\"", "the top level is no JSON object"),
        ("{\"a\":", "not valid JSON"),
        ("{\"a\": NaN}", "not valid JSON"),
        ("{\"a\": 1e999}", "number out of range"),
        (&deep, "recursion limit"),
        (&wide, "more than 131072 values"),
        (&objects, "more than 131072 values"),
        (&prefix, "is longer than 256 bytes"),
        (&large, "is larger than 16.00 MiB"),
    ];
    for (text, says) in cases {
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        expect_error(says, folder.path(), "config.json", says);
    }
}

#[test]
fn paths_that_are_no_models() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    expect_error("nothing", &at("gone"), "gone", "No such file");
    expect_error("empty folder", folder.path(), "", "holds no model");
    write_all(folder.path(), &[("model.safetensors", &safetensors(&one_tensor("t"), &[0; 16]))]);
    expect_error("no config", folder.path(), "", "has weights but no config.json");
    expect_error("weights alone", &at("model.safetensors"), "model.safetensors", "name the folder");
    std::fs::create_dir(at("config.json")).unwrap();
    expect_error("config is a folder", folder.path(), "config.json", "is a folder");
    std::fs::remove_file(at("model.safetensors")).unwrap();
    write_all(folder.path(), &[("a.safetensors", b"x"), ("b.safetensors", b"x")]);
    expect_error("no index", folder.path(), "", "2 .safetensors files but no model.safetensors.index.json");
    let models = tempfile::tempdir().unwrap();
    write_all(models.path(), &[("a.gguf", b"x"), ("b.gguf", b"x")]);
    expect_error("two models", models.path(), "", "holds 2 GGUF models");
}

#[cfg(unix)]
#[test]
fn special_files() {
    let _alone = alone();
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink(at("loop.gguf"), at("loop.gguf")).unwrap();
    expect_error("symlink loop", &at("loop.gguf"), "loop.gguf", "symbolic links");
    expect_error("device", Path::new("/dev/zero"), "/dev/zero", "is no regular file");
    let made = std::process::Command::new("mkfifo").arg(at("pipe.gguf")).status().unwrap();
    assert!(made.success());
    expect_error("pipe", &at("pipe.gguf"), "pipe.gguf", "is no regular file");
    write_all(folder.path(), &[("secret.gguf", b"GGUF")]);
    std::fs::set_permissions(at("secret.gguf"), PermissionsExt::from_mode(0o000)).unwrap();
    // The superuser may read it all the same, and then finds it cut short.
    expect_error("no permission", &at("secret.gguf"), "secret.gguf", "");
}
