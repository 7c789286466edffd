//! Telling the thoughts of a reasoning model from its answer.
//!
//! DeepSeek-R1 and Qwen3 write their thoughts between `<think>` and `</think>`. R1's template already opens the block
//! in the prompt, so the text of the model begins inside it; Qwen3 writes the opening tag itself.
//!
//! Rules, where the publishers leave room: the first closing tag closes; an opening tag right at the beginning of a
//! block that is open already is a repetition and dropped, later ones are text; a closing tag in the answer is text;
//! every further block is reasoning too, set off by an empty line; a block left open lasts to the end. White space
//! around a block is the block's: it is dropped at both of its inner borders and behind it, and in front of it when
//! nothing else is there. Text without any block comes out exactly as it went in.

/// Opens a block of reasoning.
pub const OPEN_TAG: &str = "<think>";
/// Closes a block of reasoning.
pub const CLOSE_TAG: &str = "</think>";

/// A piece of text and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Thoughts.
    Reasoning(String),
    /// The answer.
    Answer(String),
}

/// Whether the prompt ends inside a block of reasoning that it has just opened, as R1's template does.
pub fn is_opened_by(prompt: &str) -> bool {
    prompt.rfind(OPEN_TAG).is_some_and(|at| prompt[at + OPEN_TAG.len()..].trim().is_empty())
}

/// What is to be done with white space at the beginning of the answer.
enum Lead {
    /// Nothing has come yet: keep it until it is clear whether a block follows.
    Hold(String),
    /// A block has just ended: drop it.
    Drop,
    /// The answer has begun: it is text.
    Done,
}

enum Mode {
    Answer(Lead),
    Reasoning {
        /// Whether this block has let out any text.
        begun: bool,
        /// White space that is dropped if the block ends here.
        space: String,
    },
}

/// Splits a stream of text into reasoning and answer; tags may be cut anywhere between pieces.
pub struct ReasoningSplitter {
    mode: Mode,
    /// Text that may be the beginning of a tag.
    held: String,
    /// Whether any reasoning has been let out.
    any_reasoning: bool,
}

impl ReasoningSplitter {
    /// `open`: the prompt has opened a block (see [`is_opened_by`]).
    pub fn new(open: bool) -> ReasoningSplitter {
        let mode = if open {
            Mode::Reasoning { begun: false, space: String::new() }
        } else {
            Mode::Answer(Lead::Hold(String::new()))
        };
        ReasoningSplitter { mode, held: String::new(), any_reasoning: false }
    }

    /// Whether the text so far ends inside a block.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.mode, Mode::Reasoning { .. })
    }

    /// Takes the next piece of the stream; gives what is settled by it.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut out = Vec::new();
        loop {
            let again = match &self.mode {
                Mode::Answer(_) => self.advance_answer(&mut out),
                Mode::Reasoning { .. } => self.advance_reasoning(&mut out),
            };
            if !again {
                return out;
            }
        }
    }

    /// The stream has ended: what looked like the beginning of a tag was text.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut out = Vec::new();
        let rest = std::mem::take(&mut self.held);
        self.emit(&rest, &mut out);
        if let Mode::Answer(Lead::Hold(space)) = &mut self.mode
            && !space.is_empty()
        {
            out.push(Piece::Answer(std::mem::take(space)));
        }
        out
    }

    /// True if a tag was found and there may be more to do.
    fn advance_answer(&mut self, out: &mut Vec<Piece>) -> bool {
        let Some(at) = self.held.find(OPEN_TAG) else {
            self.emit_up_to_tag(OPEN_TAG, out);
            return false;
        };
        let before: String = self.held.drain(..at + OPEN_TAG.len()).collect();
        self.emit(&before[..at], out);
        self.mode = Mode::Reasoning { begun: false, space: String::new() };
        true
    }

    /// True if a tag was found and there may be more to do.
    fn advance_reasoning(&mut self, out: &mut Vec<Piece>) -> bool {
        if let Mode::Reasoning { begun: false, .. } = self.mode {
            let start = self.held.len() - self.held.trim_start().len();
            let text = &self.held[start..];
            if text.starts_with(OPEN_TAG) {
                self.held.drain(..start + OPEN_TAG.len());
                return true;
            }
            if OPEN_TAG.starts_with(text) {
                return false;
            }
        }
        let Some(at) = self.held.find(CLOSE_TAG) else {
            self.emit_up_to_tag(CLOSE_TAG, out);
            return false;
        };
        let before: String = self.held.drain(..at + CLOSE_TAG.len()).collect();
        self.emit(&before[..at], out);
        self.mode = Mode::Answer(Lead::Drop);
        true
    }

    /// Lets out everything but an end that may still become `tag`.
    fn emit_up_to_tag(&mut self, tag: &str, out: &mut Vec<Piece>) {
        let most = self.held.len().min(tag.len() - 1);
        let keep =
            (1..=most).rev().find(|&n| self.held.as_bytes().ends_with(&tag.as_bytes()[..n])).unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        let text = std::mem::replace(&mut self.held, rest);
        self.emit(&text, out);
    }

    /// Lets out text of the present mode, with the rules for white space.
    fn emit(&mut self, text: &str, out: &mut Vec<Piece>) {
        match &mut self.mode {
            Mode::Answer(lead) => {
                let text = match lead {
                    Lead::Hold(space) => {
                        space.push_str(text);
                        if space.trim_start().is_empty() {
                            return;
                        }
                        std::mem::take(space)
                    }
                    Lead::Drop => text.trim_start().to_string(),
                    Lead::Done => text.to_string(),
                };
                if !text.is_empty() {
                    *lead = Lead::Done;
                    out.push(Piece::Answer(text));
                }
            }
            Mode::Reasoning { begun, space } => {
                space.push_str(text);
                let from = if *begun { 0 } else { space.len() - space.trim_start().len() };
                let to = space.trim_end().len();
                if to <= from {
                    return;
                }
                let mut piece = space[from..to].to_string();
                if !*begun && self.any_reasoning {
                    piece.insert_str(0, "\n\n");
                }
                space.drain(..to);
                (*begun, self.any_reasoning) = (true, true);
                out.push(Piece::Reasoning(piece));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(open: bool, pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let mut splitter = ReasoningSplitter::new(open);
        let (mut reasoning, mut answer) = (String::new(), String::new());
        let mut take = |pieces: Vec<Piece>| {
            for piece in pieces {
                match piece {
                    Piece::Reasoning(text) => reasoning.push_str(&text),
                    Piece::Answer(text) => answer.push_str(&text),
                }
            }
        };
        for piece in pieces {
            take(splitter.push(piece));
        }
        take(splitter.finish());
        (reasoning, answer)
    }

    /// However the stream is cut, the outcome is the same.
    fn check(open: bool, text: &str, reasoning: &str, answer: &str) {
        let expected = (reasoning.to_string(), answer.to_string());
        assert_eq!(run(open, [text]), expected, "{text:?}");
        for (at, _) in text.char_indices() {
            assert_eq!(run(open, [&text[..at], &text[at..]]), expected, "{text:?} cut at {at}");
        }
        let chars: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(run(open, chars.iter().map(String::as_str)), expected, "{text:?} by letters");
    }

    #[test]
    fn the_model_opens_the_block() {
        check(false, "<think>\nhm, so\n\n1 + 1\n</think>\n\n2", "hm, so\n\n1 + 1", "2");
        check(false, " \n<think>a</think>b", "a", "b");
        check(false, "<think>\n\n</think>\n\n2", "", "2");
    }

    #[test]
    fn the_template_has_opened_it() {
        check(true, "so\n</think>\n\n2 \n", "so", "2 \n");
        check(true, "\n<think>\nso</think>2", "so", "2");
        check(true, "</think>2", "", "2");
    }

    #[test]
    fn text_without_a_block_is_left_alone() {
        for text in ["", "  ", "\n a <b> < <thin </thin ", "<", "see </think> there"] {
            check(false, text, "", text);
        }
    }

    #[test]
    fn text_before_a_block_is_answer() {
        check(false, "Well. <think>a</think> b", "a", "Well. b");
    }

    #[test]
    fn nested_tags_are_text_and_blocks_add_up() {
        check(false, "<think>a <think> b</think>c</think>d", "a <think> b", "c</think>d");
        check(false, "<think>a</think>\n<think> b </think>\nc", "a\n\nb", "c");
    }

    #[test]
    fn an_open_block_lasts_to_the_end() {
        check(false, "<think>a b \n", "a b", "");
        check(true, "a </thin", "a </thin", "");
        check(true, "", "", "");
        check(true, " <thi", "<thi", "");
    }

    #[test]
    fn prompts_that_open_a_block() {
        assert!(is_opened_by("<|Assistant|><think>\n"));
        assert!(is_opened_by("<think>"));
        assert!(!is_opened_by("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
        assert!(!is_opened_by("What does <think> mean?"));
        assert!(!is_opened_by(""));
    }

    #[test]
    fn text_is_let_out_as_soon_as_it_is_settled() {
        let mut splitter = ReasoningSplitter::new(false);
        assert_eq!(splitter.push("a "), [Piece::Answer("a ".into())]);
        assert_eq!(splitter.push("<thi"), []);
        assert_eq!(splitter.push("nk>b c "), [Piece::Reasoning("b c".into())]);
        assert!(splitter.is_reasoning());
        assert_eq!(splitter.push("d"), [Piece::Reasoning(" d".into())]);
        assert_eq!(splitter.push("</think>\n\ne"), [Piece::Answer("e".into())]);
        assert!(!splitter.is_reasoning());
    }
}
