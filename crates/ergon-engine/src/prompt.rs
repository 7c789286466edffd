//! From what a person gives to the tokens a model starts with.

use ergon_checkpoint::{ChatTemplate, RenderOptions, Tokenizer};
use ergon_types::{Message, Role};

use crate::generation::GenerationError;
use crate::reasoning::{CLOSE_TAG, OPEN_TAG, Piece, ReasoningSplitter, is_opened_by};

/// Tokens at the end of a prompt that are decoded to see whether a block of reasoning has been opened.
const TAIL_TOKENS: usize = 16;

/// What to go on from.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text, taken as it is (with the start token the tokenizer prescribes).
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
    /// A conversation, to be answered; it goes through the model's chat template. Reasoning in earlier turns is
    /// dropped, as DeepSeek and Qwen prescribe.
    Chat {
        /// The turns; the last one is answered.
        messages: Vec<Message>,
        /// Whether the model is to think first, for templates that offer the choice.
        enable_thinking: Option<bool>,
    },
}

/// A prompt in tokens.
#[derive(Debug)]
pub(crate) struct PreparedPrompt {
    pub(crate) tokens: Vec<u32>,
    /// Whether it ends inside a block of reasoning.
    pub(crate) opens_reasoning: bool,
    /// Whether the answer begins a text of its own (a turn), rather than going on with the prompt's.
    pub(crate) new_text: bool,
}

/// The model's text tools, as far as its checkpoint has them.
#[derive(Clone, Copy)]
pub struct TextTools<'a> {
    /// Without one, prompts must be tokens and answers have no text.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Without one, there are no conversations.
    pub template: Option<&'a ChatTemplate>,
}

impl<'a> TextTools<'a> {
    pub(crate) fn tokenizer(&self, what: &'static str) -> Result<&'a Tokenizer, GenerationError> {
        self.tokenizer.ok_or(GenerationError::NoTokenizer { what })
    }

    /// Tokens that a prompt comes to.
    ///
    /// # Errors
    /// The model's text tools cannot make tokens of it.
    pub fn count_tokens(&self, prompt: &Prompt) -> Result<usize, GenerationError> {
        Ok(self.prepare(prompt, false)?.tokens.len())
    }

    /// `think_first`: if the template leaves opening a block of reasoning to the model, open it here.
    pub(crate) fn prepare(
        &self,
        prompt: &Prompt,
        think_first: bool,
    ) -> Result<PreparedPrompt, GenerationError> {
        match prompt {
            Prompt::Tokens(tokens) => {
                let tail = &tokens[tokens.len().saturating_sub(TAIL_TOKENS)..];
                let text = self.tokenizer.map(|t| t.decode(tail, false)).transpose()?;
                let opens_reasoning = text.is_some_and(|text| is_opened_by(&text));
                Ok(PreparedPrompt { tokens: tokens.clone(), opens_reasoning, new_text: false })
            }
            Prompt::Text(text) => {
                let tokens = self.tokenizer("a text prompt")?.encode(text, true)?;
                Ok(PreparedPrompt { tokens, opens_reasoning: is_opened_by(text), new_text: false })
            }
            Prompt::Chat { messages, enable_thinking } => {
                let mut text = self.render(messages, *enable_thinking)?;
                if think_first && !is_opened_by(&text) {
                    text.push_str(OPEN_TAG);
                    text.push('\n');
                }
                // The template writes the start token itself.
                let tokens = self.tokenizer("a conversation")?.encode(&text, false)?;
                Ok(PreparedPrompt { tokens, opens_reasoning: is_opened_by(&text), new_text: true })
            }
        }
    }

    /// The conversation as the model's prompt, ready for its answer.
    ///
    /// # Errors
    /// There is no tokenizer or template, or the template fails on these messages.
    pub fn render(
        &self,
        messages: &[Message],
        enable_thinking: Option<bool>,
    ) -> Result<String, GenerationError> {
        let tokenizer = self.tokenizer("a conversation")?;
        let template = self.template.ok_or(GenerationError::NoTemplate)?;
        // What the template's own files say about its special tokens goes before what the tokenizer says.
        let token_text = |role: &str, id: Option<u32>| match template.special_token(role) {
            Some(_) => None,
            None => id.and_then(|id| tokenizer.id_to_token(id)),
        };
        let options = RenderOptions {
            add_generation_prompt: true,
            enable_thinking,
            bos_token: token_text("bos_token", tokenizer.bos_token_id()),
            eos_token: token_text("eos_token", tokenizer.eos_token_id()),
        };
        Ok(template.render(&without_reasoning(messages), &options)?)
    }
}

/// The tokens that end a block of reasoning from outside.
pub(crate) fn closing_tokens(tokenizer: &Tokenizer) -> Result<Vec<u32>, GenerationError> {
    Ok(tokenizer.encode(&format!("\n{CLOSE_TAG}\n\n"), false)?)
}

/// The conversation without the thoughts of earlier answers, also where they stand in the answer's text.
fn without_reasoning(messages: &[Message]) -> Vec<Message> {
    let strip = |message: &Message| {
        if message.role != Role::Assistant || !message.content.contains(CLOSE_TAG) {
            return Message::new(message.role, message.content.as_str());
        }
        let mut splitter = ReasoningSplitter::new(false);
        let pieces = splitter.push(&message.content).into_iter().chain(splitter.finish());
        let answer: String = pieces
            .filter_map(|piece| match piece {
                Piece::Answer(text) => Some(text),
                Piece::Reasoning(_) => None,
            })
            .collect();
        Message::new(Role::Assistant, answer)
    };
    messages.iter().map(strip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_thoughts_are_dropped() {
        let thought = Message {
            role: Role::Assistant,
            content: "<think>\nhm\n</think>\n\n2".to_string(),
            reasoning: Some("hm".to_string()),
        };
        let user = Message::new(Role::User, "what does <think>x</think> mean?");
        let out = without_reasoning(&[user.clone(), thought]);
        assert_eq!(out, [user, Message::new(Role::Assistant, "2")]);
    }
}
