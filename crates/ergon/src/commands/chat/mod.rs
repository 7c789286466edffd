//! `ergon chat`: a conversation in the terminal, or line by line from a pipe.

mod input;
mod multiline;
mod slash;

use std::{cell::RefCell, fs, path::PathBuf};

use anyhow::{Context, ensure};
use ergon_engine::{Completion, Generation, GenerationRequest, Prompt, SamplingParams};
use ergon_types::{FinishReason, Message, Role};
use serde_json::json;

use crate::{
    args::ChatArgs,
    failure,
    interrupt::Interrupt,
    loading::{self, TextParts},
    output::{self, Dim},
    source,
    stream::Stream,
};
use input::{Input, Typed};
use slash::Slash;

pub(crate) fn run(args: &ChatArgs) -> anyhow::Result<()> {
    let checkpoint = source::open(&args.model.model)?;
    let parts = TextParts::load(&checkpoint, true)?;
    ensure!(
        parts.template.is_some(),
        "this model has no chat template, so it cannot hold a conversation; use `ergon generate --raw`"
    );
    let engine = loading::engine(&checkpoint, &args.runtime, args.reasoning.speculative, 0)?;
    let mut chat = Chat {
        args,
        sampling: loading::sampling(&args.sampling, &parts.defaults),
        generation: Generation::new(engine, parts.tools(), &parts.defaults),
        interrupt: Interrupt::install()?,
        dim: Dim::new(output::stderr_is_terminal()),
        system: args.system.clone(),
        turns: Vec::new(),
        thinking: args.reasoning.no_think.then_some(false),
        answers: 0,
    };
    let mut input = Input::open(history_file(args))?;
    if let Input::Terminal(_) = input {
        let context = chat.generation.engine().context_length();
        chat.remark(&format!("{}, context {context} tokens; /help for help", args.model.model));
    }
    chat.talk(&mut input)
}

/// Where typed messages are kept, if anywhere.
fn history_file(args: &ChatArgs) -> Option<PathBuf> {
    if args.no_history {
        return None;
    }
    let default = || Some(std::env::home_dir()?.join(".local/state/ergon/chat_history"));
    args.history.clone().or_else(default)
}

/// Whether the conversation goes on.
enum Next {
    GoOn,
    Leave,
}

/// A conversation.
struct Chat<'a> {
    args: &'a ChatArgs,
    generation: Generation<'a>,
    interrupt: Interrupt,
    sampling: SamplingParams,
    dim: Dim,
    system: Option<String>,
    /// Questions and answers in turn, without the standing instructions.
    turns: Vec<Message>,
    thinking: Option<bool>,
    /// Answers so far: each has a seed of its own, so that asking again gives another one.
    answers: u64,
}

impl Chat<'_> {
    fn talk(&mut self, input: &mut Input) -> anyhow::Result<()> {
        let mut warned = false;
        loop {
            match self.interrupt.while_idle(|| input.next())? {
                Typed::End => return Ok(()),
                Typed::Interrupted if warned => return Ok(()),
                Typed::Interrupted => {
                    warned = true;
                    self.remark("Ctrl-C again, or Ctrl-D, leaves");
                }
                Typed::Message(text) if text.is_empty() => {}
                Typed::Message(text) => {
                    warned = false;
                    match self.turn(&text) {
                        Ok(Next::GoOn) => {}
                        Ok(Next::Leave) => return Ok(()),
                        Err(error) => self.go_on_after(error, input)?,
                    }
                }
            }
        }
    }

    /// A person can do something about most failures (say less, clear the conversation); a script cannot.
    fn go_on_after(&self, error: anyhow::Error, input: &Input) -> anyhow::Result<()> {
        match input {
            Input::Terminal(_) if !error.is::<output::OutputClosed>() => {
                failure::report(&error);
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn turn(&mut self, text: &str) -> anyhow::Result<Next> {
        match slash::parse(text) {
            None => {
                self.turns.push(Message::new(Role::User, text));
                self.answer()?;
            }
            Some(Slash::Exit) => return Ok(Next::Leave),
            Some(command) => self.obey(command)?,
        }
        Ok(Next::GoOn)
    }

    fn obey(&mut self, command: Slash) -> anyhow::Result<()> {
        match command {
            Slash::Help => output::write_stderr(slash::HELP),
            Slash::Clear => self.turns.clear(),
            Slash::System(None) => {
                self.remark(self.system.as_deref().unwrap_or("no standing instructions"));
            }
            Slash::System(text) => {
                self.system = text;
                self.turns.clear();
            }
            Slash::Retry => {
                if self.turns.last().is_some_and(|turn| turn.role == Role::Assistant) {
                    self.turns.pop();
                }
                if self.turns.is_empty() { self.remark("nothing was asked yet") } else { self.answer()? }
            }
            Slash::Think(on) => self.thinking = Some(on),
            Slash::Save(file) => match self.save(&file) {
                Ok(()) => self.remark(&format!("saved to {file}")),
                Err(error) => self.remark(&format!("cannot save: {error:#}")),
            },
            Slash::Wrong(what) => self.remark(&what),
            Slash::Exit => {}
        }
        Ok(())
    }

    /// Answers the last question. An answer that is stopped stays in the conversation as far as it went; a question that
    /// gets none at all is taken back.
    fn answer(&mut self) -> anyhow::Result<()> {
        let completion = match self.generate() {
            Ok(completion) => completion,
            Err(error) => {
                self.turns.pop();
                return Err(error);
            }
        };
        self.answers += 1;
        self.remark(&speed(&completion));
        if completion.finish_reason == FinishReason::Cancelled && completion.text.is_empty() {
            self.turns.pop();
            return Ok(());
        }
        let Completion { text, reasoning, .. } = completion;
        self.turns.push(Message { role: Role::Assistant, content: text, reasoning });
        Ok(())
    }

    fn generate(&mut self) -> anyhow::Result<Completion> {
        let prompt = Prompt::Chat { messages: self.messages(), enable_thinking: self.thinking };
        let mut request = GenerationRequest::new(prompt);
        request.sampling = self.sampling.clone();
        request.sampling.seed = self.sampling.seed.wrapping_add(self.answers);
        request.max_new_tokens = Some(self.args.max_tokens);
        request.reasoning_budget = self.args.reasoning.reasoning_budget;
        // A Ctrl-C that came between two answers is not meant for the next one.
        self.interrupt.take();
        let stream = RefCell::new(Stream::new());
        let completion = self.generation.run(
            &request,
            || self.interrupt.take() || stream.borrow().has_failed(),
            |event| stream.borrow_mut().show(event),
        );
        stream.into_inner().finish()?;
        completion.context("cannot answer")
    }

    fn messages(&self) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new(Role::System, text.as_str()));
        system.chain(self.turns.iter().cloned()).collect()
    }

    fn save(&self, file: &str) -> anyhow::Result<()> {
        let message = |message: &Message| json!({"role": message.role.name(), "content": message.content, "reasoning": message.reasoning});
        let messages: Vec<_> = self.messages().iter().map(message).collect();
        let text =
            serde_json::to_string_pretty(&json!({"model": self.args.model.model, "messages": messages}))?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {file}"))
    }

    /// Tells the person something that is no answer.
    fn remark(&self, text: &str) {
        output::write_stderr(&format!("{}\n", self.dim.paint(&output::printable(text))));
    }
}

/// The line below an answer.
fn speed(completion: &Completion) -> String {
    let rate = |rate: Option<f64>| rate.map_or(String::new(), |rate| format!(" at {rate:.1} tokens/s"));
    let usage = &completion.usage;
    let stopped = match completion.finish_reason {
        FinishReason::Stop => "",
        FinishReason::Length => ", cut at the limit",
        FinishReason::Cancelled => ", stopped",
    };
    format!(
        "[{} tokens{}; prompt {} tokens ({} kept){}{stopped}]",
        usage.completion_tokens,
        rate(completion.timings.decode_tokens_per_s()),
        usage.prompt_tokens,
        usage.reused_tokens,
        rate(completion.timings.prefill_tokens_per_s()),
    )
}
