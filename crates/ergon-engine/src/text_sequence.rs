//! The text side of one running sequence: tokens become text, text is told apart and may end the sequence.

use std::time::Instant;

use ergon_checkpoint::{TextDecoder, Tokenizer};
use ergon_types::FinishReason;

use crate::completion::{Completion, Event, Timings, Usage};
use crate::observer::Verdict;
use crate::reasoning::{CLOSE_TAG, OPEN_TAG, Piece, ReasoningSplitter};
use crate::stop::StopMatcher;

/// What a [`TextSequence`] starts with.
pub(crate) struct TextStart<'a> {
    pub(crate) tokenizer: Option<&'a Tokenizer>,
    /// Splits thoughts from the answer; `None` leaves the text in one piece.
    pub(crate) splitter: Option<ReasoningSplitter>,
    /// The text begins anew and does not go on with the prompt's.
    pub(crate) new_text: bool,
    pub(crate) stop: Vec<String>,
    /// How many tokens of reasoning are allowed, and the tokens that end it after them.
    pub(crate) budget: Option<(usize, Vec<u32>)>,
    /// A grammar waits for the end of reasoning.
    pub(crate) constraint_waits: bool,
    pub(crate) prompt_tokens: usize,
    pub(crate) reused_tokens: usize,
}

/// The text side of one running sequence.
pub(crate) struct TextSequence<'a> {
    decoder: Option<TextDecoder<'a>>,
    /// Ids of the tags, where they are tokens: they count as tags even if the tokenizer hides special tokens.
    tags: [(Option<u32>, &'static str); 2],
    splitter: Option<ReasoningSplitter>,
    stop: StopMatcher,
    budget: Option<(usize, Vec<u32>)>,
    /// Forced tokens still to come.
    forced: usize,
    constraint_waits: bool,
    text: String,
    reasoning: String,
    had_reasoning: bool,
    token_ids: Vec<u32>,
    usage: Usage,
    events: Vec<Event>,
    started: Instant,
    /// When the first step with tokens was done, and how many it gave.
    first: Option<(Instant, usize)>,
}

impl<'a> TextSequence<'a> {
    pub(crate) fn new(start: TextStart<'a>) -> TextSequence<'a> {
        let decoder = |tokenizer| {
            if start.new_text {
                TextDecoder::new(tokenizer, true)
            } else {
                TextDecoder::continuing(tokenizer, true)
            }
        };
        let tag = |text| (start.tokenizer.and_then(|t: &Tokenizer| t.token_to_id(text)), text);
        TextSequence {
            decoder: start.tokenizer.map(decoder),
            tags: [tag(OPEN_TAG), tag(CLOSE_TAG)],
            had_reasoning: start.splitter.as_ref().is_some_and(ReasoningSplitter::is_reasoning),
            splitter: start.splitter,
            stop: StopMatcher::new(&start.stop),
            budget: start.budget,
            forced: 0,
            constraint_waits: start.constraint_waits,
            text: String::new(),
            reasoning: String::new(),
            token_ids: Vec::new(),
            usage: Usage {
                prompt_tokens: start.prompt_tokens,
                reused_tokens: start.reused_tokens,
                ..Usage::default()
            },
            events: Vec::new(),
            started: Instant::now(),
            first: None,
        }
    }

    fn is_reasoning(&self) -> bool {
        self.splitter.as_ref().is_some_and(ReasoningSplitter::is_reasoning)
    }

    /// Takes the next token; says what follows from its text.
    pub(crate) fn observe(&mut self, token: u32) -> Verdict {
        let was_reasoning = self.is_reasoning();
        let text = self.decode(token);
        self.feed(&text);
        let reasoning = self.is_reasoning();
        if was_reasoning || reasoning {
            self.usage.reasoning_tokens += 1;
            self.had_reasoning = true;
        }
        self.forced = self.forced.saturating_sub(1);
        if self.stop.is_matched() {
            return Verdict::Stop;
        }
        if reasoning && let Some((left, closing)) = &mut self.budget {
            // The token that opened the block is not yet a thought.
            *left = left.saturating_sub(usize::from(was_reasoning));
            if *left == 0 && self.forced == 0 && !closing.is_empty() {
                self.forced = closing.len();
                return Verdict::Force(closing.clone());
            }
        }
        if self.constraint_waits && !reasoning && self.forced == 0 {
            self.constraint_waits = false;
            return Verdict::Constrain;
        }
        Verdict::Continue
    }

    fn decode(&mut self, token: u32) -> String {
        let Some(decoder) = &mut self.decoder else { return String::new() };
        let text = decoder.push(token);
        match self.tags.iter().find(|(id, _)| *id == Some(token)) {
            Some((_, tag)) if self.splitter.is_some() && text.is_empty() => tag.to_string(),
            _ => text,
        }
    }

    fn feed(&mut self, text: &str) {
        match &mut self.splitter {
            Some(splitter) => {
                let pieces = splitter.push(text);
                self.take(pieces);
            }
            None => self.answer(text),
        }
    }

    fn take(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Answer(text) => self.answer(&text),
                Piece::Reasoning(text) => {
                    self.reasoning.push_str(&text);
                    self.events.push(Event::Reasoning(text));
                }
            }
        }
    }

    fn answer(&mut self, text: &str) {
        let text = self.stop.push(text);
        self.let_out(text);
    }

    fn let_out(&mut self, text: String) {
        if !text.is_empty() {
            self.text.push_str(&text);
            self.events.push(Event::Text(text));
        }
    }

    /// The tokens of a step, once it is done.
    pub(crate) fn step_done(&mut self, token_ids: &[u32]) {
        if self.first.is_none() && !token_ids.is_empty() {
            self.first = Some((Instant::now(), token_ids.len()));
        }
        self.token_ids.extend_from_slice(token_ids);
    }

    /// What has happened since the last call.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Ends the text; the completion is the last event of [`TextSequence::take_events`].
    pub(crate) fn finish(&mut self, finish_reason: FinishReason) {
        if !self.stop.is_matched() {
            let rest = self.decoder.take().map(TextDecoder::finish).unwrap_or_default();
            self.feed(&rest);
            if let Some(splitter) = &mut self.splitter {
                let pieces = splitter.finish();
                self.take(pieces);
            }
            let rest = self.stop.finish();
            self.let_out(rest);
        }
        let now = Instant::now();
        let (first_at, first_tokens) = self.first.unwrap_or((now, 0));
        self.usage.completion_tokens = self.token_ids.len();
        let completion = Completion {
            text: std::mem::take(&mut self.text),
            reasoning: self.had_reasoning.then(|| std::mem::take(&mut self.reasoning)),
            finish_reason,
            usage: self.usage,
            timings: Timings {
                prefill_tokens: self.usage.prompt_tokens - self.usage.reused_tokens,
                prefill: first_at - self.started,
                decode_tokens: self.token_ids.len() - first_tokens,
                decode: now - first_at,
            },
            token_ids: std::mem::take(&mut self.token_ids),
        };
        self.events.push(Event::Finished(Box::new(completion)));
    }
}
