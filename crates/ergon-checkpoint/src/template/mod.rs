//! Chat templates: from a conversation to the text a model was trained on.
//!
//! A template is a program in the Jinja language that comes with the weights, so it is run like one of a stranger: with
//! a budget for steps and for data made on the way, limits on its size, its output and its nesting, nothing to include
//! and no functions beyond those `transformers` offers.

mod error;
mod functions;
mod guard;
mod lexical;
mod source;

pub use error::TemplateError;

use crate::Checkpoint;
use ergon_types::Message;
use guard::Stopped;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig};
use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Longest template accepted; published ones stay below 40 KB.
const MAX_TEMPLATE_BYTES: usize = 128 << 10;
/// What a template may do whatever the conversation: one unit is an instruction or 64 bytes of text made.
const BASE_FUEL: u64 = 500_000;
/// What a template may do for each message; published ones need a few hundred.
const FUEL_PER_MESSAGE: u64 = 1_000;
/// One unit for so many bytes of messages: enough to copy each of them sixteen times.
const MESSAGE_BYTES_PER_FUEL: u64 = 4;
/// What it may do at most, enough for some megabytes of conversation.
const MAX_FUEL: u64 = 4_000_000;
/// Longest output beyond a multiple of the messages. Tokenizing takes some 300 bytes for each: four times this went
/// past a gigabyte.
const BASE_OUTPUT_BYTES: usize = 1 << 20;
/// Nested calls, includes and blocks (a macro call counts several).
const MAX_RECURSION: usize = 200;
/// How long a template may run; published ones take about a millisecond.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Messages for which a template gets a second more.
const MESSAGE_BYTES_PER_SECOND: usize = 1 << 20;
/// Name the template goes by in messages. It is not registered, so that it cannot include itself.
const NAME: &str = "chat";

/// A model's chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    text: Arc<str>,
    source_name: String,
    /// Roles such as `bos_token` and their tokens.
    tokens: Vec<(String, String)>,
    /// Set when it has once run out of time: the thread it ran on may still be at it, and there shall be no second.
    ran_out_of_time: Arc<AtomicBool>,
}

/// How to render a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// End with the opening of the model's own turn.
    pub add_generation_prompt: bool,
    /// Whether a reasoning model should think; left to the template when `None`.
    pub enable_thinking: Option<bool>,
    /// Text of the beginning-of-sequence token; the model's own when `None`.
    pub bos_token: Option<String>,
    /// Text of the end-of-sequence token; the model's own when `None`.
    pub eos_token: Option<String>,
}

impl ChatTemplate {
    /// The template that comes with a model: `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`
    /// (of several the one named `default`), else `chat_template.json`, else the GGUF key `tokenizer.chat_template`.
    /// `None` if there is none.
    ///
    /// # Errors
    /// When a file is malformed or too large, or when the template does not compile.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Option<ChatTemplate>, TemplateError> {
        let Some(found) = source::find(checkpoint)? else {
            return Ok(None);
        };
        ChatTemplate::compile(found.text, found.source_name, found.tokens).map(Some)
    }

    /// A template given as text; `source_name` says in messages where it is from. It knows no special tokens but those
    /// in [`RenderOptions`].
    ///
    /// # Errors
    /// When the text is too long or does not compile.
    pub fn new(
        text: impl Into<String>,
        source_name: impl Into<String>,
    ) -> Result<ChatTemplate, TemplateError> {
        ChatTemplate::compile(text.into(), source_name.into(), vec![])
    }

    fn compile(
        text: String,
        source_name: String,
        tokens: Vec<(String, String)>,
    ) -> Result<ChatTemplate, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            let what = format!("the chat template has {} bytes, more than {MAX_TEMPLATE_BYTES}", text.len());
            return Err(TemplateError::Invalid { source_name, what });
        }
        if let Err(lexical::Refusal { what, line }) = lexical::check(&text) {
            let what = format!("the chat template is not accepted: {what} (line {line})");
            return Err(TemplateError::Invalid { source_name, what });
        }
        let text: Arc<str> = without_generation_tags(&text).into();
        let template = ChatTemplate { text, source_name, tokens, ran_out_of_time: Arc::default() };
        let text = template.text.clone();
        template.guarded(TIME_LIMIT, 0, move || {
            engine()?.template_from_named_str(NAME, &text)?;
            Ok(())
        })?;
        Ok(template)
    }

    /// Runs a piece of work of the engine within limits of stack and time.
    fn guarded<T: Send + 'static>(
        &self,
        limit: Duration,
        fuel: u64,
        work: impl FnOnce() -> Result<T, minijinja::Error> + Send + 'static,
    ) -> Result<T, TemplateError> {
        let too_long =
            || TemplateError::Limit { source_name: self.source_name.clone(), what: "it takes too long" };
        if self.ran_out_of_time.load(Ordering::Relaxed) {
            return Err(too_long());
        }
        match guard::run(limit, fuel, work) {
            Ok(done) => done.map_err(|error| explain(&self.source_name, &error)),
            Err(Stopped::TimedOut) => {
                self.ran_out_of_time.store(true, Ordering::Relaxed);
                Err(too_long())
            }
            Err(Stopped::NoThread(error)) => Err(TemplateError::Failed {
                source_name: self.source_name.clone(),
                what: format!("the system refused it a thread: {error}"),
            }),
        }
    }

    /// The template as published, but for the marks of training data (`{% generation %}`).
    pub fn source(&self) -> &str {
        &self.text
    }

    /// Text of a special token by its role, such as `bos_token`, as the model's files give it.
    pub fn special_token(&self, role: &str) -> Option<&str> {
        self.tokens.iter().find(|(name, _)| name == role).map(|(_, token)| token.as_str())
    }

    /// The prompt for a conversation. Only role and content of a message reach the template: what the model thought in
    /// earlier turns is dropped, as DeepSeek and Qwen prescribe.
    ///
    /// # Errors
    /// When the template refuses the conversation, fails, or exceeds its limits.
    pub fn render(&self, messages: &[Message], options: &RenderOptions) -> Result<String, TemplateError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        self.render_at(messages, options, i64::try_from(now).unwrap_or(0))
    }

    /// As [`ChatTemplate::render`], for templates that write the date: `unix_s` is the moment, in seconds since 1970,
    /// and dates are in UTC.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_at(
        &self,
        messages: &[Message],
        options: &RenderOptions,
        unix_s: i64,
    ) -> Result<String, TemplateError> {
        let message_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let fuel = BASE_FUEL
            .saturating_add(FUEL_PER_MESSAGE.saturating_mul(messages.len() as u64))
            .saturating_add(message_bytes as u64 / MESSAGE_BYTES_PER_FUEL)
            .min(MAX_FUEL);
        let limit = BASE_OUTPUT_BYTES.saturating_add(message_bytes.saturating_mul(4));
        let time = TIME_LIMIT + Duration::from_secs((message_bytes / MESSAGE_BYTES_PER_SECOND) as u64);
        let (text, context) = (self.text.clone(), self.context(messages, options));
        let bytes = self.guarded(time, fuel, move || {
            let mut engine = engine()?;
            engine.set_fuel(Some(fuel));
            engine.add_function("strftime_now", move |format: &str| functions::strftime(format, unix_s));
            let mut output = LimitedOutput { bytes: Vec::new(), limit };
            engine.template_from_named_str(NAME, &text)?.render_captured_to(context, &mut output)?;
            Ok(output.bytes)
        })?;
        String::from_utf8(bytes).map_err(|_| TemplateError::Failed {
            source_name: self.source_name.clone(),
            what: "it wrote bytes that are no text".to_string(),
        })
    }

    fn context(&self, messages: &[Message], options: &RenderOptions) -> Value {
        let message = |message: &Message| {
            Value::from_pairs([
                ("role", Value::from(message.role.name())),
                ("content", Value::from(message.content.as_str())),
            ])
        };
        let mut variables: Vec<(&str, Value)> =
            self.tokens.iter().map(|(role, token)| (role.as_str(), Value::from(token.as_str()))).collect();
        for (role, token) in [("bos_token", &options.bos_token), ("eos_token", &options.eos_token)] {
            variables.extend(token.as_ref().map(|token| (role, Value::from(token.as_str()))));
        }
        variables.push(("messages", messages.iter().map(message).collect()));
        variables.push(("add_generation_prompt", Value::from(options.add_generation_prompt)));
        variables.push(("tools", Value::from(())));
        variables.push(("documents", Value::from(())));
        variables.extend(options.enable_thinking.map(|on| ("enable_thinking", Value::from(on))));
        Value::from_pairs(variables)
    }
}

/// The engine as `transformers` sets it up, within our limits.
fn engine<'text>() -> Result<Environment<'text>, minijinja::Error> {
    let mut engine = Environment::new();
    engine.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    engine.set_debug(false);
    engine.set_undefined_behavior(UndefinedBehavior::Lenient);
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    engine.set_recursion_limit(MAX_RECURSION);
    engine.set_unknown_method_callback(functions::method);
    engine.add_function("raise_exception", functions::raise_exception);
    engine.add_filter("tojson", functions::tojson);
    Ok(engine)
}

/// Collects the output up to a limit.
struct LimitedOutput {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for LimitedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One short message from whatever chain of errors the engine returns.
fn explain(source_name: &str, error: &minijinja::Error) -> TemplateError {
    let source_name = source_name.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if let Some(functions::Raised(message)) = at.downcast_ref() {
            return TemplateError::Refused { source_name, message: message.clone() };
        }
        match at.downcast_ref::<minijinja::Error>().map(minijinja::Error::kind) {
            Some(ErrorKind::OutOfFuel) => {
                return TemplateError::Limit {
                    source_name,
                    what: "it takes too many steps or too much memory",
                };
            }
            Some(ErrorKind::WriteFailure) => {
                return TemplateError::Limit { source_name, what: "its output is too long" };
            }
            _ => {}
        }
        cause = at.source();
    }
    let what: String = error.to_string().chars().take(400).collect();
    TemplateError::Failed { source_name, what: what.replace('\n', " ") }
}

/// `{% generation %}` … `{% endgeneration %}` marks the model's own words for training; for a prompt it means nothing,
/// so the pair becomes an `if` that is always taken, which keeps the whitespace rules of tags.
fn without_generation_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(len) = tag.find("%}").map(|end| end + 2) else {
            rest = tag;
            break;
        };
        let inner = &tag[2..len - 2];
        let word = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let replacement = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        match replacement {
            Some(replacement) => {
                out.push_str(&tag[..len].replacen(word, replacement, 1));
                rest = &tag[len..];
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_conditions() {
        let text = "a {%- generation -%} b {% endgeneration %} c {% set x = 'generation' %} {%";
        let expected = "a {%- if true -%} b {% endif %} c {% set x = 'generation' %} {%";
        assert_eq!(without_generation_tags(text), expected);
    }
}
