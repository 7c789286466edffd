//! SentencePiece's byte-pair segmentation, for vocabularies that carry scores instead of a list of merges.
//!
//! The method (Kudo and Richardson, 2018; `sentencepiece`'s `bpe_model`): start from single characters; as long as two
//! neighbours join into a piece of the vocabulary, join the pair whose piece has the highest score, the leftmost one
//! when scores are equal. The general BPE of the `tokenizers` crate ranks *pairs* of tokens, so two ways of building the
//! same piece (`▁▁`+`▁` and `▁`+`▁▁`) cannot tie there and runs of equal characters come out differently; hence our own.

use super::{
    error::{Source, TokenizerError},
    pieces::byte_token,
};
use std::{
    cmp::Ordering,
    collections::{BinaryHeap, HashMap},
};

/// A scored vocabulary.
#[derive(Clone, Debug)]
pub(super) struct SentencePieceBpe {
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    /// Ids of `<0x00>` to `<0xFF>`, when all are there.
    bytes: Option<Box<[u32; 256]>>,
    unknown: Option<u32>,
    longest_bytes: usize,
}

/// A span of the text that is one symbol; `len` 0 once it has been joined to its left neighbour.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbouring symbols that could be joined.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl SentencePieceBpe {
    /// `tokens[id]` with `scores[id]`, both of the same length; tokens are distinct.
    pub(super) fn new(
        source: &Source,
        tokens: &[String],
        scores: Vec<f32>,
        unknown: Option<u32>,
    ) -> Result<SentencePieceBpe, TokenizerError> {
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(source.invalid(format!("the score of token {id} is not a number")));
        }
        let ids: HashMap<String, u32> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
        let mut bytes = Box::new([u32::MAX; 256]);
        for (token, id) in &ids {
            if let Some(byte) = byte_token(token) {
                bytes[byte as usize] = *id;
            }
        }
        let bytes = bytes.iter().all(|id| *id != u32::MAX).then_some(bytes);
        if bytes.is_none() && unknown.is_none() {
            return Err(source.invalid(
                "neither the 256 byte tokens <0x00> to <0xFF> nor an unknown token is there, \
                 so most text cannot be encoded",
            ));
        }
        let longest_bytes = tokens.iter().map(String::len).max().unwrap_or(0);
        Ok(SentencePieceBpe { ids, scores, bytes, unknown, longest_bytes })
    }

    /// Ids of `text`, in which spaces are already written as `▁`.
    pub(super) fn segment(&self, text: &str) -> Vec<u32> {
        let mut symbols = split_characters(text);
        let mut queue = BinaryHeap::new();
        for left in 1..symbols.len() {
            self.offer(text, &symbols, Some(left - 1), Some(left), &mut queue);
        }
        while let Some(best) = queue.pop() {
            let (left, right) = (symbols[best.left], symbols[best.right]);
            // A pair is stale when either side has been joined to something else since it was queued.
            if left.len == 0 || right.len == 0 || left.len + right.len != best.len {
                continue;
            }
            symbols[best.left].len += right.len;
            symbols[best.left].next = right.next;
            symbols[best.right].len = 0;
            if let Some(next) = right.next {
                symbols[next].previous = Some(best.left);
            }
            self.offer(text, &symbols, left.previous, Some(best.left), &mut queue);
            self.offer(text, &symbols, Some(best.left), right.next, &mut queue);
        }
        self.ids_of(text, &symbols)
    }

    fn offer(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
        queue: &mut BinaryHeap<Candidate>,
    ) {
        let (Some(left), Some(right)) = (left, right) else {
            return;
        };
        let start = symbols[left].start;
        let len = symbols[left].len + symbols[right].len;
        if len > self.longest_bytes {
            return;
        }
        if let Some(id) = self.ids.get(&text[start..start + len]) {
            queue.push(Candidate { score: self.scores[*id as usize], left, right, len });
        }
    }

    /// Symbols that are no piece fall back to their bytes, or to one unknown token for each run of them.
    fn ids_of(&self, text: &str, symbols: &[Symbol]) -> Vec<u32> {
        let mut out = Vec::new();
        let mut after_unknown = false;
        for symbol in symbols.iter().filter(|symbol| symbol.len > 0) {
            let piece = &text[symbol.start..symbol.start + symbol.len];
            let known = self.ids.get(piece);
            match (known, &self.bytes, self.unknown) {
                (Some(id), _, _) => out.push(*id),
                (None, Some(bytes), _) => out.extend(piece.bytes().map(|byte| bytes[byte as usize])),
                (None, None, Some(unknown)) if !after_unknown => out.push(unknown),
                (None, None, _) => {}
            }
            after_unknown = known.is_none();
        }
        out
    }

    /// Pairs of tokens that join into a third, best score first: the nearest that a `tokenizer.json` can say. Runs of
    /// equal characters may come out differently there (see the module's head).
    pub(super) fn merges(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (token, id) in &self.ids {
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(left_id), Some(right_id)) = (self.ids.get(left), self.ids.get(right)) {
                    pairs.push((self.scores[*id as usize], *id, *left_id, *right_id, left, right));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
        pairs.into_iter().map(|(.., left, right)| (left.to_string(), right.to_string())).collect()
    }

    pub(super) fn unknown_token(&self) -> Option<String> {
        let unknown = self.unknown?;
        self.ids.iter().find(|(_, id)| **id == unknown).map(|(token, _)| token.clone())
    }

    pub(super) fn vocabulary(&self) -> impl Iterator<Item = (String, u32)> {
        self.ids.iter().map(|(token, id)| (token.clone(), *id))
    }
}

fn split_characters(text: &str) -> Vec<Symbol> {
    let count = text.chars().count();
    text.char_indices()
        .enumerate()
        .map(|(index, (start, c))| Symbol {
            start,
            len: c.len_utf8(),
            previous: index.checked_sub(1),
            next: Some(index + 1).filter(|next| *next < count),
        })
        .collect()
}
