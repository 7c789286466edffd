//! Token ids to text, one at a time.

use super::Tokenizer;

/// What happens to the spaces that an encoder put before the first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeadingSpace {
    /// They stay.
    Keep,
    /// Up to this many are taken off the front of the whole text (`Strip` after `Fuse`).
    StripFromText(usize),
    /// All are taken out of the first token (`Metaspace`).
    StripFromFirstToken,
}

/// Decodes a stream of ids. The pieces returned by [`TextDecoder::push`] and [`TextDecoder::finish`], joined, are
/// exactly [`Tokenizer::decode`] of all the ids. A character whose bytes are spread over several tokens comes out with
/// its last byte; bytes that can never become a character come out as U+FFFD.
#[derive(Clone, Debug)]
pub struct TextDecoder<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// The beginning of a character still to be completed: at most three bytes between calls.
    pending: Vec<u8>,
    leading: LeadingSpace,
    first: bool,
}

impl<'a> TextDecoder<'a> {
    /// Starts a text. `skip_special` leaves out the text of special tokens such as `</s>`.
    pub fn new(tokenizer: &'a Tokenizer, skip_special: bool) -> TextDecoder<'a> {
        let leading = tokenizer.leading.clone();
        TextDecoder { tokenizer, skip_special, pending: Vec::new(), leading, first: true }
    }

    /// Starts in the middle of a text: the first word keeps its space, as a raw continuation of a prompt needs it.
    pub fn continuing(tokenizer: &'a Tokenizer, skip_special: bool) -> TextDecoder<'a> {
        TextDecoder {
            tokenizer,
            skip_special,
            pending: Vec::new(),
            leading: LeadingSpace::Keep,
            first: false,
        }
    }

    /// Takes one token and returns the text that it completes, which may be empty. An id that the tokenizer does not
    /// have (models often have more rows than tokens) adds nothing.
    pub fn push(&mut self, id: u32) -> String {
        let mut out = String::new();
        if self.skip_special && self.tokenizer.is_special(id) {
            return out;
        }
        let Some(bytes) = self.tokenizer.pieces.get(id) else {
            return out;
        };
        let first = std::mem::replace(&mut self.first, false);
        if !first && self.tokenizer.words_are_joined_by_spaces {
            self.pending.push(b' ');
        }
        if first && self.leading == LeadingSpace::StripFromFirstToken {
            self.pending.extend(bytes.iter().filter(|byte| **byte != b' '));
        } else {
            self.pending.extend_from_slice(bytes);
        }
        drain_complete(&mut self.pending, &mut out);
        self.strip(out)
    }

    /// Ends the text: the beginning of a character that never got its end becomes U+FFFD.
    pub fn finish(mut self) -> String {
        if self.pending.is_empty() {
            return String::new();
        }
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
        self.strip(rest)
    }

    fn strip(&mut self, text: String) -> String {
        let LeadingSpace::StripFromText(left) = &mut self.leading else {
            return text;
        };
        if text.is_empty() {
            return text;
        }
        let spaces = text.bytes().take(*left).take_while(|byte| *byte == b' ').count();
        *left -= spaces;
        if *left == 0 || spaces < text.len() {
            self.leading = LeadingSpace::Keep;
        }
        text[spaces..].to_string()
    }
}

/// Moves all that is decided from `pending` to `out`: complete characters as they are, impossible bytes as U+FFFD (one
/// for each maximal invalid run, as in `String::from_utf8_lossy`), and keeps the beginning of a character.
fn drain_complete(pending: &mut Vec<u8>, out: &mut String) {
    let mut kept = 0;
    let mut chunks = pending.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        out.push_str(chunk.valid());
        let invalid = chunk.invalid();
        let is_last = chunks.peek().is_none();
        let could_continue =
            std::str::from_utf8(invalid).err().is_some_and(|error| error.error_len().is_none());
        if is_last && could_continue {
            kept = invalid.len();
        } else if !invalid.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    pending.drain(..pending.len() - kept);
}
