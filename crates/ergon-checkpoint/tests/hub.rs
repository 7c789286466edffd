//! Downloads against a small hub of our own on the loopback interface, which can be made to misbehave.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use ergon_checkpoint::Checkpoint;
use ergon_checkpoint::hub::{Hub, HubError, HubId, Progress, Silent, resolve};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does; tests change it between requests.
#[derive(Default)]
struct Behaviour {
    files: HashMap<String, Vec<u8>>,
    /// Announce the checksum of other bytes for this file.
    wrong_tag: Option<String>,
    /// Close the connection after this many bytes of a body, this many times.
    cut_after: Option<(usize, u32)>,
    ignore_range: bool,
    /// Answer everything with this status.
    status: Option<u16>,
    /// File names the description adds.
    extra_names: Vec<String>,
    log: Vec<String>,
}

struct MockHub {
    endpoint: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl MockHub {
    fn start(files: &[(&str, Vec<u8>)]) -> MockHub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.clone())).collect();
        let behaviour = Arc::new(Mutex::new(Behaviour { files, ..Behaviour::default() }));
        let shared = Arc::clone(&behaviour);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is no failure of the server.
                let _ = serve(stream, &shared);
            }
        });
        MockHub { endpoint, behaviour }
    }

    fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    /// The requests since the last call.
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.behaviour.lock().unwrap().log)
    }

    fn hub(&self, cache: &Path) -> Hub {
        Hub::new(&self.endpoint, cache)
    }
}

/// One request per connection.
fn serve(mut stream: TcpStream, shared: &Mutex<Behaviour>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut range = None;
    let mut authorized = "";
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(from) = line.strip_prefix("range: bytes=") {
            range = from.trim_end_matches('-').parse::<usize>().ok();
        }
        if line.starts_with("authorization: bearer secret") {
            authorized = " +token";
        }
    }
    let mut behaviour = shared.lock().unwrap();
    let ranged = range.map(|from| format!(" from {from}")).unwrap_or_default();
    let short = request.trim_end_matches(" HTTP/1.1").to_string();
    behaviour.log.push(format!("{short}{ranged}{authorized}"));
    let (method, path) = short.split_once(' ').unwrap_or(("", ""));
    if let Some(status) = behaviour.status {
        return answer(&mut stream, &status.to_string(), &[], b"no");
    }
    if path == "/api/models/o/m/revision/main" || path == format!("/api/models/o/m/revision/{COMMIT}") {
        let names = behaviour.files.keys().chain(&behaviour.extra_names);
        let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return answer(&mut stream, "200 OK", &[], body.as_bytes());
    }
    send_file(&mut stream, &mut behaviour, method, path, range)
}

fn send_file(
    stream: &mut TcpStream,
    behaviour: &mut Behaviour,
    method: &str,
    path: &str,
    range: Option<usize>,
) -> std::io::Result<()> {
    let resolve = format!("/o/m/resolve/{COMMIT}/");
    let name = path
        .strip_prefix(&resolve)
        .or_else(|| path.strip_prefix("/storage/"))
        .unwrap_or_default()
        .to_string();
    let Some(bytes) = behaviour.files.get(&name).cloned() else {
        return answer(stream, "404 Not Found", &[], b"no");
    };
    let tagged =
        if behaviour.wrong_tag.as_deref() == Some(name.as_str()) { b"other".as_slice() } else { &bytes };
    let sha256: String = Sha256::digest(tagged).iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = if name.ends_with(".json") { sha256[..40].to_string() } else { sha256 };
    let size = bytes.len();
    if method == "HEAD" {
        // As the hub does it: large files are announced on a redirect to another host.
        let head = format!(
            "HTTP/1.1 302 Found\r\nlocation: https://storage.invalid/x\r\nx-linked-etag: \"{tag}\"\r\nx-linked-size: {size}\r\nx-repo-commit: {COMMIT}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let small = format!(
            "HTTP/1.1 200 OK\r\netag: W/\"{tag}\"\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
        );
        let text = if name.ends_with(".json") { small } else { head };
        return stream.write_all(text.as_bytes());
    }
    if path.starts_with(&resolve) && name.ends_with(".safetensors") {
        // Another name for this host, so another host as far as the token is concerned.
        let location = format!("location: http://localhost:{}/storage/{name}", stream.local_addr()?.port());
        return answer(stream, "302 Found", &[location], b"");
    }
    let from = if behaviour.ignore_range { 0 } else { range.unwrap_or(0) };
    if from >= size && size > 0 {
        return answer(stream, "416 Range Not Satisfiable", &[], b"");
    }
    let content_range = format!("content-range: bytes {from}-{}/{size}", size.saturating_sub(1));
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let cut = match &mut behaviour.cut_after {
        Some((after, times)) if *times > 0 && size - from > *after => {
            *times -= 1;
            Some(*after)
        }
        _ => None,
    };
    let headers = format!(
        "HTTP/1.1 {status}\r\n{content_range}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        size - from
    );
    stream.write_all(headers.as_bytes())?;
    let end = cut.map_or(size, |after| from + after);
    stream.write_all(&bytes[from..end])
}

fn answer(stream: &mut TcpStream, status: &str, headers: &[String], body: &[u8]) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

fn model_files() -> Vec<(&'static str, Vec<u8>)> {
    let weights = |name: &str| {
        let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[600000],"data_offsets":[0,600000]}}}}"#);
        common::safetensors(&header, &(0..600_000u32).map(|i| (i * 31 % 251) as u8).collect::<Vec<u8>>())
    };
    let index =
        r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    vec![
        ("config.json", br#"{"model_type":"llama"}"#.to_vec()),
        ("tokenizer.json", b"{}".to_vec()),
        ("README.md", b"not needed".to_vec()),
        ("pytorch_model.bin", b"not needed".to_vec()),
        ("model.safetensors.index.json", index.as_bytes().to_vec()),
        ("model-00001-of-00002.safetensors", weights("a")),
        ("model-00002-of-00002.safetensors", weights("b")),
    ]
}

fn id(text: &str) -> HubId {
    text.parse().unwrap()
}

#[derive(Default)]
struct Recorder(Vec<String>);

impl Progress for Recorder {
    fn start(&mut self, file: &str, done: u64, total: Option<u64>) {
        self.0.push(format!("{file} {done}/{}", total.unwrap_or_default()));
    }
    fn advance(&mut self, done: u64) {
        self.0.push(done.to_string());
    }
    fn finish(&mut self) {
        self.0.push("done".to_string());
    }
}

#[test]
fn downloads_what_is_needed_once_and_then_works_offline() {
    let mock = MockHub::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    mock.set(|behaviour| behaviour.extra_names.push("../../evil.safetensors".to_string()));
    let mut progress = Recorder::default();
    let folder = mock.hub(cache.path()).with_token("secret").fetch(&id("o/m"), &mut progress).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.tensors().count(), 2);
    let log = mock.log();
    assert!(log.iter().all(|line| !line.contains("README") && !line.contains("bin")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("/storage/")), "{log:?}");
    assert!(log.iter().all(|line| line.ends_with("+token") != line.contains("/storage/")), "{log:?}");
    assert!(progress.0.contains(&"config.json 0/22".to_string()), "{:?}", progress.0);
    assert_eq!(progress.0.iter().filter(|line| *line == "done").count(), 5);

    mock.set(|behaviour| behaviour.status = Some(500));
    assert_eq!(mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap(), folder);
    assert_eq!(resolve(&format!("o/m@{COMMIT}"), &mock.hub(cache.path()), &mut Silent).unwrap(), folder);
    assert!(mock.log().is_empty(), "a complete model asks for nothing");

    // Weights without a tokenizer: the hub is asked, and if it fails they are used as they are.
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    assert_eq!(mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap(), folder);
    assert_eq!(mock.log().len(), 1);
    std::fs::remove_file(folder.join("model-00002-of-00002.safetensors")).unwrap();
    let error = mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("status 500"), "{error}");
    let error = mock.hub(cache.path()).offline().fetch(&id("o/m"), &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert_eq!(mock.log().len(), 1);

    // The blobs are still there: only descriptions are asked for.
    mock.set(|behaviour| behaviour.status = None);
    mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap();
    assert!(mock.log().iter().all(|line| !line.contains("resolve") || line.starts_with("HEAD")));
}

#[test]
fn a_cut_connection_is_resumed() {
    let mock = MockHub::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    mock.set(|behaviour| behaviour.cut_after = Some((250_000, 3)));
    let folder = mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap();
    Checkpoint::open(&folder).unwrap();
    let log = mock.log();
    let resumed =
        log.iter().filter(|line| line.contains(" from 250000") || line.contains(" from 500000")).count();
    assert_eq!(resumed, 2 * 3, "each by way of a redirect: {log:?}");
}

#[test]
fn a_broken_download_goes_on_in_the_next_run() {
    let mock = MockHub::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    // The connection breaks, and the hub is gone afterwards.
    struct Gone<'a>(&'a MockHub);
    impl Progress for Gone<'_> {
        fn start(&mut self, file: &str, _done: u64, _total: Option<u64>) {
            if file.ends_with(".safetensors") {
                self.0.set(|behaviour| behaviour.cut_after = Some((200_000, 1)));
            }
        }
        fn advance(&mut self, done: u64) {
            if done > 100_000 {
                self.0.set(|behaviour| behaviour.status = Some(503));
            }
        }
        fn finish(&mut self) {}
    }
    let error = mock.hub(cache.path()).fetch(&id("o/m"), &mut Gone(&mock)).unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    mock.log();
    mock.set(|behaviour| behaviour.status = None);
    let mut progress = Recorder::default();
    mock.hub(cache.path()).fetch(&id("o/m"), &mut progress).unwrap();
    assert!(
        progress.0.iter().any(|line| line.starts_with("model-00001-of-00002.safetensors 200000/")),
        "{:?}",
        progress.0
    );
    assert!(mock.log().iter().any(|line| line.ends_with("model-00001-of-00002.safetensors from 200000")));
}

#[test]
fn a_server_without_ranges_and_a_stale_part_start_again() {
    let mock = MockHub::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    mock.set(|behaviour| {
        behaviour.ignore_range = true;
        behaviour.cut_after = Some((250_000, 1));
    });
    let folder = mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap();
    assert_eq!(std::fs::read(folder.join("model-00001-of-00002.safetensors")).unwrap(), model_files()[5].1);
}

#[test]
fn a_wrong_checksum_removes_the_file() {
    let mock = MockHub::start(&model_files());
    let cache = tempfile::tempdir().unwrap();
    mock.set(|behaviour| behaviour.wrong_tag = Some("model-00002-of-00002.safetensors".to_string()));
    let error = mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
    assert!(error.to_string().contains("model-00002-of-00002.safetensors"), "{error}");
    let blobs = std::fs::read_dir(cache.path().join("models--o--m/blobs")).unwrap();
    let left: Vec<_> = blobs.map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.ends_with(".incomplete")), "{left:?}");
    mock.set(|behaviour| behaviour.wrong_tag = None);
    mock.hub(cache.path()).fetch(&id("o/m"), &mut Silent).unwrap();
}

#[test]
fn a_gguf_by_its_quantisation() {
    let gguf = common::Gguf::new().tensor("t", &[4], 0, &[0; 16]).build();
    let files = [("m-Q8_0.gguf", gguf.clone()), ("m-Q4_K_M.gguf", gguf), ("config.json", b"{}".to_vec())];
    let mock = MockHub::start(&files);
    let cache = tempfile::tempdir().unwrap();
    let path = mock.hub(cache.path()).fetch(&id("o/m:q8_0"), &mut Silent).unwrap();
    assert!(path.ends_with("m-Q8_0.gguf"));
    Checkpoint::open(&path).unwrap();
    assert!(mock.log().iter().all(|line| !line.contains("Q4_K_M") && !line.contains("config.json")));
    assert_eq!(mock.hub(cache.path()).offline().fetch(&id("o/m:Q8_0"), &mut Silent).unwrap(), path);
    let error = mock.hub(cache.path()).fetch(&id("o/m:Q2_K"), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("m-Q4_K_M, m-Q8_0"), "{error}");
}

#[test]
fn refusals_are_explained() {
    let mock = MockHub::start(&[]);
    let cache = tempfile::tempdir().unwrap();
    let fetch = |text: &str| mock.hub(cache.path()).fetch(&id(text), &mut Silent).unwrap_err().to_string();
    for (status, says) in
        [(401, "HF_TOKEN"), (403, "accept its terms"), (429, "wait"), (404, "revision 'main'")]
    {
        mock.set(|behaviour| behaviour.status = Some(status));
        let message = fetch("o/m");
        assert!(message.contains(says) && message.lines().count() <= 3, "{status}: {message}");
    }
    mock.set(|behaviour| behaviour.status = None);
    assert!(fetch("o/other").contains("o/other: the hub has no"));
    assert!(fetch("o/m").contains("neither config.json with safetensors nor GGUF"));
    let nowhere = Hub::new("http://127.0.0.1:1", cache.path());
    let message = nowhere.fetch(&id("o/m"), &mut Silent).unwrap_err().to_string();
    assert!(message.contains("127.0.0.1:1"), "{message}");
    // A server that does not speak TLS: an error of the network, and proof that the TLS stack is complete.
    let plain = Hub::new(&mock.endpoint.replace("http:", "https:"), cache.path());
    assert!(matches!(plain.fetch(&id("o/m"), &mut Silent), Err(HubError::Network { .. })));
    for text in ["./gone", "/gone/model", "gone.gguf"] {
        let error = resolve(text, &nowhere, &mut Silent).unwrap_err();
        assert!(matches!(error, HubError::NoSuchPath { .. }), "{error}");
    }
    assert!(matches!(resolve("gone", &nowhere, &mut Silent), Err(HubError::NotAnId { .. })));
    assert_eq!(resolve(cache.path().to_str().unwrap(), &nowhere, &mut Silent).unwrap(), cache.path());
}
