//! What is asked of the hub over HTTP.
//!
//! A client of our own over `ureq`, for two reasons. `hf-hub` 0.5, the blocking one, verifies no checksum, trusts the
//! file names, tags and commits a server sends as paths, appends a whole body to a partial file when a server ignores
//! the range, and panics on odd answers; the later ones bring an asynchronous runtime. What is needed is three requests.

use super::{HubError, HubId};
use serde::Deserialize;
use std::{io::Read, time::Duration};
use ureq::{
    Agent, Body,
    config::RedirectAuthHeaders,
    http::{HeaderMap, Response},
};

/// The description of a repository of a hundred thousand files has some megabytes.
const MAX_INFO_BYTES: u64 = 64 << 20;
const MAX_RELATIVE_REDIRECTS: usize = 5;

pub(super) struct Client<'a> {
    endpoint: &'a str,
    token: Option<&'a str>,
    id: &'a HubId,
    agent: Agent,
    /// Shows redirects instead of following them: the headers that describe a large file are on the redirect.
    direct: Agent,
}

/// A repository at one commit.
pub(super) struct RepoInfo {
    pub(super) commit: String,
    pub(super) files: Vec<String>,
}

/// What the hub says about a file before it is downloaded.
pub(super) struct FileInfo {
    /// Names the content. For large files it is their SHA-256, for small ones a git hash.
    pub(super) etag: String,
    pub(super) bytes: Option<u64>,
}

impl FileInfo {
    /// The checksum announced, if the tag is one.
    pub(super) fn sha256(&self) -> Option<&str> {
        let hex = self.etag.len() == 64 && self.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then_some(self.etag.as_str())
    }
}

/// The body of a file, from some byte on.
pub(super) struct Content {
    /// Where the body starts: 0 if the server ignored the range.
    pub(super) start: u64,
    pub(super) reader: Box<dyn Read>,
}

#[derive(Deserialize)]
struct InfoAnswer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl<'a> Client<'a> {
    pub(super) fn new(
        endpoint: &'a str,
        token: Option<&'a str>,
        proxy: Option<ureq::Proxy>,
        id: &'a HubId,
    ) -> Client<'a> {
        let config = |redirects| {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(redirects)
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .proxy(proxy.clone())
                .user_agent(concat!("ergon/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(Duration::from_secs(30)))
                .timeout_recv_response(Some(Duration::from_secs(60)))
                // A connection that brings nothing for a minute is dead; the download then resumes on a new one.
                .timeout_per_read(Some(Duration::from_secs(60)))
                .build()
                .new_agent()
        };
        Client { endpoint, token, id, agent: config(10), direct: config(0) }
    }

    /// The commit a revision stands for, and the files in it.
    pub(super) fn info(&self) -> Result<RepoInfo, HubError> {
        let HubId { owner, name, .. } = self.id;
        let revision = encode(self.id.revision());
        let url = format!("{}/api/models/{owner}/{name}/revision/{revision}", self.endpoint);
        let mut response = self.call(&self.agent, "GET", &url, None)?;
        self.check_status(
            &response,
            &url,
            &format!("revision '{}' of this model, or no such model", self.id.revision()),
        )?;
        let bad = |what: String| HubError::Answer { url: url.clone(), what };
        let body = response.body_mut().with_config().limit(MAX_INFO_BYTES).read_to_vec();
        let body = body.map_err(|error| network(&url, &error))?;
        let answer: InfoAnswer = serde_json::from_slice(&body)
            .map_err(|error| bad(format!("the answer is not the hub's description of a model ({error})")))?;
        if !is_hash(&answer.sha) {
            return Err(bad("the answer names no commit".to_string()));
        }
        let files = answer.siblings.into_iter().map(|sibling| sibling.rfilename);
        // A name that could lead out of the snapshot's folder is no file we would want.
        Ok(RepoInfo { commit: answer.sha, files: files.filter(|file| is_safe_path(file)).collect() })
    }

    /// Size and tag of a file.
    pub(super) fn file_info(&self, commit: &str, file: &str) -> Result<FileInfo, HubError> {
        let mut url = self.file_url(commit, file);
        for _ in 0..MAX_RELATIVE_REDIRECTS {
            let response = self.call(&self.direct, "HEAD", &url, None)?;
            let headers = response.headers();
            // A renamed model redirects within the hub; a large file redirects to a storage host.
            if response.status().is_redirection()
                && let Some(location) = header(headers, "location")
                && location.starts_with('/')
                && !location.starts_with("//")
            {
                url = format!("{}{location}", self.origin());
                continue;
            }
            if !response.status().is_redirection() {
                self.check_status(&response, &url, &format!("file '{file}'"))?;
            }
            let tag =
                header(headers, "x-linked-etag").or_else(|| header(headers, "etag")).unwrap_or_default();
            let etag = tag.trim_start_matches("W/").trim_matches('"').to_string();
            if !is_hash(&etag) {
                return Err(HubError::Answer { url, what: "the answer has no usable ETag".to_string() });
            }
            let direct_size =
                if response.status().is_redirection() { None } else { header(headers, "content-length") };
            let bytes = header(headers, "x-linked-size").or(direct_size).and_then(|text| text.parse().ok());
            return Ok(FileInfo { etag, bytes });
        }
        Err(HubError::Answer { url, what: "redirects in a circle".to_string() })
    }

    /// The bytes of a file from `start` on. `None` if the server says there are none (the partial file is no part of this
    /// content).
    pub(super) fn content(&self, commit: &str, file: &str, start: u64) -> Result<Option<Content>, HubError> {
        let url = self.file_url(commit, file);
        let response = self.call(&self.agent, "GET", &url, (start > 0).then_some(start))?;
        if response.status().as_u16() == 416 {
            return Ok(None);
        }
        self.check_status(&response, &url, &format!("file '{file}'"))?;
        let from = match response.status().as_u16() {
            206 => {
                let range = header(response.headers(), "content-range").unwrap_or_default();
                let from =
                    range.strip_prefix("bytes ").and_then(|rest| rest.split_once('-')).map(|(from, _)| from);
                match from.and_then(|from| from.parse().ok()) {
                    Some(from) if from == start => from,
                    _ => {
                        return Err(HubError::Answer {
                            url,
                            what: format!("asked from byte {start}, got '{range}'"),
                        });
                    }
                }
            }
            _ => 0,
        };
        Ok(Some(Content { start: from, reader: Box::new(response.into_body().into_reader()) }))
    }

    pub(super) fn file_url(&self, commit: &str, file: &str) -> String {
        let HubId { owner, name, .. } = self.id;
        let path: Vec<String> = file.split('/').map(encode).collect();
        format!("{}/{owner}/{name}/resolve/{commit}/{}", self.endpoint, path.join("/"))
    }

    /// Scheme and host of the endpoint, which may itself have a path.
    fn origin(&self) -> &str {
        let host = self.endpoint.find("://").map_or(0, |at| at + 3);
        self.endpoint[host..].find('/').map_or(self.endpoint, |path| &self.endpoint[..host + path])
    }

    fn call(
        &self,
        agent: &Agent,
        method: &str,
        url: &str,
        from: Option<u64>,
    ) -> Result<Response<Body>, HubError> {
        let mut request = if method == "HEAD" { agent.head(url) } else { agent.get(url) };
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(from) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call().map_err(|error| network(url, &error))
    }

    fn check_status(&self, response: &Response<Body>, url: &str, what: &str) -> Result<(), HubError> {
        let id = self.id.to_string();
        match response.status().as_u16() {
            200 | 206 => Ok(()),
            status @ (401 | 403) => {
                let page = format!("{}/{}/{}", self.endpoint, self.id.owner, self.id.name);
                Err(HubError::Refused { id, status, page })
            }
            404 => Err(HubError::NotFound { id, what: what.to_string() }),
            429 => Err(HubError::Answer {
                url: url.into(),
                what: "too many requests (429); wait a few minutes".into(),
            }),
            status => Err(HubError::Answer {
                url: url.into(),
                what: format!("the hub answered with status {status}"),
            }),
        }
    }
}

pub(super) fn network(url: &str, error: &ureq::Error) -> HubError {
    // A disk error of ours can hide in an I/O error, but here only the network is read.
    HubError::Network { url: url.to_string(), reason: error.to_string(), hint: "" }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// A commit or a tag: safe as a file name.
fn is_hash(text: &str) -> bool {
    (8..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A relative path that stays below where it starts, on any system.
fn is_safe_path(path: &str) -> bool {
    path.len() <= 500
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
}

/// Percent-encodes one component of a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_network_stay_inside() {
        for path in ["a.json", "sub/a b.gguf", "..a/b..c"] {
            assert!(is_safe_path(path), "{path}");
        }
        for path in ["", "/etc/x", "a//b", "../a", "a/../b", "a\\b", "C:x", "a\nb", "."] {
            assert!(!is_safe_path(path), "{path}");
        }
        assert!(!is_hash("../../etc/passwd") && !is_hash("") && is_hash("0123abcd-2"));
    }

    #[test]
    fn components_are_encoded() {
        assert_eq!(encode("refs/pr 3+ü"), "refs%2Fpr%203%2B%C3%BC");
    }
}
