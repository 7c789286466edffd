//! The driver's words: every phrasing of every instruction and every sentence about a scene, learned into a small
//! byte-level vocabulary, so that common words are one token and anything else can still be said.

use std::collections::BTreeSet;
use std::path::Path;

use ergon_checkpoint::{Tokenizer, TokenizerError, train_byte_level_bpe};
use ergon_types::{ActorKind, LightColor};
use ergon_world::Rng;
use ergon_world::task::{
    DistanceBucket, Facts, Instruction, Language, Lead, Manoeuvre, Motion, Side, describe, phrase,
};

use super::SpecialTokens;

/// Size of the vocabulary: 256 bytes, three framing tokens and merges.
const VOCABULARY: usize = 768;
/// Framing tokens; their ids are their places here.
const SPECIAL: [&str; 3] = ["<bos>", "<think>", "</think>"];

/// The tokenizer with the ids of its framing tokens.
pub struct Vocabulary {
    tokenizer: Tokenizer,
}

impl Vocabulary {
    /// Learns the vocabulary and gives the text of its `tokenizer.json`. Always the same.
    ///
    /// # Errors
    /// When the tokenizer cannot be trained.
    pub fn learn() -> Result<String, TokenizerError> {
        let texts = corpus();
        train_byte_level_bpe(texts.iter().map(String::as_str), VOCABULARY, &SPECIAL)
    }

    /// The tokenizer in a file.
    ///
    /// # Errors
    /// When the file cannot be read or is none.
    pub fn open(path: &Path) -> Result<Vocabulary, TokenizerError> {
        Ok(Vocabulary { tokenizer: Tokenizer::from_file(path)? })
    }

    /// Whether it has the size and the framing tokens of ours.
    pub(super) fn is_ours(&self) -> bool {
        let framing = SPECIAL.iter().enumerate();
        self.tokenizer.vocab_size() == VOCABULARY
            && framing.into_iter().all(|(id, token)| self.tokenizer.token_to_id(token) == Some(id as u32))
    }

    /// Ids of a text, without framing.
    ///
    /// # Errors
    /// When the text cannot be encoded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.tokenizer.encode(text, false)
    }

    /// Ids of the framing tokens.
    pub fn special() -> SpecialTokens {
        SpecialTokens { bos: 0, think: 1, end_think: 2 }
    }

    /// Number of tokens.
    pub const fn size() -> usize {
        VOCABULARY
    }
}

/// What is said to the driver and what it says, each text once or as often as it weighs.
fn corpus() -> Vec<String> {
    let mut rng = Rng::new(7);
    let mut texts: Vec<String> = phrases(&mut rng).into_iter().collect();
    for _ in 0..4000 {
        for language in [Language::English, Language::Chinese] {
            texts.push(describe(&random_facts(&mut rng), language));
        }
    }
    texts
}

fn phrases(rng: &mut Rng) -> BTreeSet<String> {
    let mut instructions = Instruction::PLAIN.to_vec();
    instructions.extend(ActorKind::VEHICLES.map(Instruction::Follow));
    instructions.extend((1..=13).map(|tens| Instruction::SetSpeed { kmh: tens * 10 }));
    let mut texts = BTreeSet::new();
    for instruction in instructions {
        for language in [Language::English, Language::Chinese] {
            // Often enough to meet each of its phrasings.
            texts.extend((0..60).map(|_| phrase(instruction, language, rng)));
        }
    }
    texts
}

fn one_of<T: Copy>(rng: &mut Rng, options: &[T]) -> T {
    options[rng.below(options.len())]
}

fn random_facts(rng: &mut Rng) -> Facts {
    let lanes = 1 + rng.below(6) as u8;
    let lead = Lead {
        kind: one_of(rng, &ActorKind::VEHICLES),
        distance: one_of(rng, &[DistanceBucket::Close, DistanceBucket::Middle, DistanceBucket::Far]),
        motion: one_of(rng, &[Motion::Stopped, Motion::Slower, Motion::Steady, Motion::Faster]),
    };
    let manoeuvres = [
        Manoeuvre::KeepLane,
        Manoeuvre::ChangeLeft,
        Manoeuvre::ChangeRight,
        Manoeuvre::TurnLeft,
        Manoeuvre::TurnRight,
        Manoeuvre::GoStraight,
        Manoeuvre::Stop,
        Manoeuvre::SlowDown,
        Manoeuvre::SpeedUp,
        Manoeuvre::Follow,
        Manoeuvre::PullOver,
    ];
    Facts {
        manoeuvre: Some(one_of(rng, &manoeuvres)),
        lead: rng.chance(0.7).then_some(lead),
        light: rng
            .chance(0.4)
            .then(|| one_of(rng, &[LightColor::Red, LightColor::Yellow, LightColor::Green])),
        lane: Some((1 + rng.below(usize::from(lanes)) as u8, lanes)),
        vulnerable: rng.chance(0.2).then(|| one_of(rng, &[ActorKind::Pedestrian, ActorKind::Bicycle])),
        gap: rng.chance(0.2).then(|| (one_of(rng, &[Side::Left, Side::Right]), rng.chance(0.5))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_fits_and_comes_back() {
        let json = Vocabulary::learn().expect("learned");
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, json).expect("written");
        let vocabulary = Vocabulary::open(&path).expect("opened");
        let mut rng = Rng::new(99);
        for text in phrases(&mut rng) {
            // What the runtime cuts off is at most the full stop.
            let mut ids = vocabulary.encode(&text).expect("encoded");
            ids.truncate(ergon_model::MAX_INSTRUCTION_TOKENS);
            let kept = vocabulary.tokenizer.decode(&ids, false).expect("decoded");
            assert!(kept.starts_with(text.trim_end_matches(['.', '。'])), "{text}: {kept}");
        }
        for _ in 0..2000 {
            for language in [Language::English, Language::Chinese] {
                let text = describe(&random_facts(&mut rng), language);
                let ids = vocabulary.encode(&text).expect("encoded");
                assert!(ids.len() <= 23, "{} tokens: {text}", ids.len());
                assert_eq!(vocabulary.tokenizer.decode(&ids, false).expect("decoded"), text);
            }
        }
    }
}
