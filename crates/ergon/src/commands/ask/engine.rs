//! A model of our own engine as the one who proposes: its grammar leaves it no way to name a span that does not exist.

use ergon_agent::ask::{Prompt, Writer, WriterError};
use ergon_engine::{Generation, GenerationRequest, Grammar, Prompt as EnginePrompt};
use ergon_types::{FinishReason, Message, Role};

use super::{Done, Work};
use crate::{
    args::{AskArgs, Speculation},
    interrupt::Interrupt,
    loading::{self, TextParts},
    source,
};

/// Loads the model and does the work with it.
pub(super) fn with(
    model: &str,
    args: &AskArgs,
    interrupt: &Interrupt,
    work: Work,
) -> anyhow::Result<Vec<Done>> {
    let checkpoint = source::open(model)?;
    let parts = TextParts::load(&checkpoint, true)?;
    let engine = loading::engine(&checkpoint, &args.runtime, Speculation::Auto, 0)?;
    let generation = Generation::new(engine, parts.tools(), &parts.defaults);
    let has_template = parts.template.is_some();
    let max_tokens = args.max_tokens;
    work(Some(&mut Own { generation, place: model, has_template, max_tokens, interrupt }))
}

struct Own<'g> {
    generation: Generation<'g>,
    place: &'g str,
    has_template: bool,
    max_tokens: usize,
    interrupt: &'g Interrupt,
}

impl Writer for Own<'_> {
    fn write(&mut self, prompt: &Prompt) -> Result<String, WriterError> {
        let failed = |reason: String| WriterError { place: self.place.to_string(), reason };
        let ask = if self.has_template {
            let messages = vec![
                Message::new(Role::System, prompt.system.as_str()),
                Message::new(Role::User, prompt.user.as_str()),
            ];
            EnginePrompt::Chat { messages, enable_thinking: Some(false) }
        } else {
            EnginePrompt::Text(format!("{}\n\n{}\n", prompt.system, prompt.user))
        };
        let mut request = GenerationRequest::new(ask);
        request.max_new_tokens = Some(self.max_tokens);
        request.grammar = Some(Grammar::Regex(lines(prompt.spans)));
        let pending = self.interrupt.pending_shared();
        let stop = || pending.load(std::sync::atomic::Ordering::SeqCst);
        let completion =
            self.generation.run(&request, stop, |_| ()).map_err(|error| failed(error.to_string()))?;
        match completion.finish_reason {
            FinishReason::Cancelled => Err(failed("interrupted".to_string())),
            _ => Ok(completion.text),
        }
    }
}

/// Lines that name spans from 1 to `spans`, ask for a search, or say what is missing.
fn lines(spans: usize) -> String {
    let numbers: Vec<String> = (1..=spans).map(|number| number.to_string()).collect();
    let named = format!("(\\[S({})\\]){{1,4}}", numbers.join("|"));
    format!("(({named}( [^\\n\\[\\]]{{1,300}})?|SEARCH: [^\\n]{{1,200}}|MISSING: [^\\n]{{1,200}})\\n){{1,8}}")
}
