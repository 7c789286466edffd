//! Counts in how many texts a stem occurs, as a source file.

use std::collections::BTreeMap;

use ergon_agent::text::lexicon;
use ergon_agent::text::tokens::{TokenKind, tokenize};

use super::data;

/// Least number of texts that must hold a stem.
const LEAST: usize = 12;

/// Prints `text/common.rs`.
pub(crate) fn words(folder: &str) {
    let questions = data::questions(folder);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut texts = 0;
    for document in questions.iter().flat_map(|question| &question.documents) {
        texts += 1;
        let word = |kind: TokenKind, text: &str| kind == TokenKind::Word && text.is_ascii() && text.len() > 1;
        let tokens = tokenize(&document.text).into_iter();
        let mut stems: Vec<String> = tokens
            .filter(|token| word(token.kind, &token.text) && !lexicon::is_stop(&token.text))
            .map(|token| token.stem)
            .collect();
        stems.sort();
        stems.dedup();
        stems.into_iter().for_each(|stem| *counts.entry(stem).or_default() += 1);
    }
    let list: Vec<(String, usize)> = counts.into_iter().filter(|(_, count)| *count >= LEAST).collect();
    println!(
        "//! In how many of the counted texts a stem occurs: {texts} short texts of RAMDocs' first questions (MIT), encyclopaedia"
    );
    println!(
        "//! and web pages; stems in at least {LEAST} of them, without stop words. Written by `evaluate words`; no label of any claim"
    );
    println!("//! enters.\n\n/// How many texts were counted.\npub(super) const DOCUMENTS: u16 = {texts};\n");
    println!("/// Stems in their order, each with the number of texts that hold it.\n#[rustfmt::skip]");
    println!("pub(super) const COMMON: &[(&str, u16)] = &[");
    for chunk in list.chunks(8) {
        let row: Vec<String> = chunk.iter().map(|(stem, count)| format!("({stem:?}, {count}),")).collect();
        println!("    {}", row.join(" "));
    }
    println!("];");
}
