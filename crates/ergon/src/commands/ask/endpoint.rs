//! A model behind an OpenAI-compatible server. Its reply is untrusted: bounded in time and size, and taken as text.

use std::time::Duration;

use anyhow::{Context, ensure};
use ergon_agent::ask::{Prompt, Writer, WriterError};
use serde_json::{Value, json};
use ureq::Agent;

use crate::{args::AskArgs, text_input};

/// The largest reply that is read.
const MAX_REPLY_BYTES: u64 = 4 << 20;
/// Characters of a server's own error that are told.
const TOLD_CHARS: usize = 200;

/// The model at an address.
pub(super) struct Endpoint {
    agent: Agent,
    url: String,
    model: String,
    key: Option<String>,
    max_tokens: usize,
    timeout_s: usize,
}

impl Endpoint {
    pub(super) fn new(args: &AskArgs) -> anyhow::Result<Endpoint> {
        let base = args.endpoint.as_deref().unwrap_or_default().trim_end_matches('/');
        ensure!(
            base.starts_with("http://") || base.starts_with("https://"),
            "--endpoint '{base}' is no address; it begins with http:// or https://, as in http://127.0.0.1:8080/v1"
        );
        let is_whole = base.ends_with("/chat/completions");
        let url = if is_whole { base.to_string() } else { format!("{base}/chat/completions") };
        let key = args
            .endpoint_key_file
            .as_deref()
            .map(|path| text_input::read_file(path).context("cannot read the key of the endpoint"))
            .transpose()?
            .map(|key| key.trim().to_string());
        let timeout = Duration::from_secs(args.endpoint_timeout as u64);
        let agent = Agent::new_with_config(
            Agent::config_builder()
                // A redirect could carry the documents and the key to somebody else, and so could a proxy that the
                // environment names.
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None)
                .http_status_as_error(false)
                .timeout_global(Some(timeout))
                .timeout_connect(Some(timeout.min(Duration::from_secs(10))))
                .build(),
        );
        let model = args.endpoint_model.clone().unwrap_or_default();
        Ok(Endpoint { agent, url, model, key, max_tokens: args.max_tokens, timeout_s: args.endpoint_timeout })
    }

    fn failed(&self, reason: String) -> WriterError {
        WriterError { place: self.url.clone(), reason }
    }

    fn network(&self, error: &ureq::Error) -> WriterError {
        let reason = match error {
            ureq::Error::Timeout(_) => {
                format!(
                    "nothing came within {} s; raise --endpoint-timeout or ask less at once",
                    self.timeout_s
                )
            }
            ureq::Error::BodyExceedsLimit(limit) => format!("its reply is over {limit} bytes"),
            other => format!("{other}; check that the server runs there"),
        };
        self.failed(reason)
    }
}

impl Writer for Endpoint {
    fn write(&mut self, prompt: &Prompt) -> Result<String, WriterError> {
        let body = json!({
            "model": self.model,
            "messages": [
                { "role": "system", "content": prompt.system },
                { "role": "user", "content": prompt.user },
            ],
            "temperature": 0,
            "max_tokens": self.max_tokens,
            "stream": false,
        });
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string()).map_err(|error| self.network(&error))?;
        let status = response.status().as_u16();
        let reply = response.body_mut().with_config().limit(MAX_REPLY_BYTES).read_to_vec();
        let reply = reply.map_err(|error| self.network(&error))?;
        if status != 200 {
            let said: String = String::from_utf8_lossy(&reply).chars().take(TOLD_CHARS).collect();
            return Err(self.failed(format!("it answered with status {status}: {said}")));
        }
        content(&reply).map_err(|reason| self.failed(reason))
    }
}

/// The text of a chat completion.
fn content(reply: &[u8]) -> Result<String, String> {
    let value: Value =
        serde_json::from_slice(reply).map_err(|error| format!("its reply is no JSON: {error}"))?;
    let message = &value["choices"][0]["message"];
    match &message["content"] {
        Value::String(text) => Ok(text.clone()),
        // A model that only thought, or called a tool that nobody offered, has said nothing.
        Value::Null if message.is_object() => Ok(String::new()),
        _ => Err("its reply is no chat completion: choices[0].message.content is missing".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_chat_completion_is_an_answer() {
        assert_eq!(content(br#"{"choices":[{"message":{"content":"[S1] x"}}]}"#).unwrap(), "[S1] x");
        assert_eq!(content(br#"{"choices":[{"message":{"content":null,"tool_calls":[{}]}}]}"#).unwrap(), "");
        for reply in [
            &b""[..],
            b"{",
            b"[]",
            b"null",
            b"{\"choices\":[]}",
            b"{\"choices\":[{\"message\":{\"content\":5}}]}",
        ] {
            assert!(content(reply).is_err(), "{}", String::from_utf8_lossy(reply));
        }
    }
}
