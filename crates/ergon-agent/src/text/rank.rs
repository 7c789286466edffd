//! Which sentences speak about a question or a claim: BM25 over stems, Chinese pairs, and quantities made comparable.

use std::collections::HashMap;

use super::quantities::{Quantity, Value};
use super::{Analysed, analyse};

/// BM25's saturation and length normalisation.
const K1: f32 = 0.9;
const B: f32 = 0.4;
/// Part of its neighbours' scores that a sentence gets: what it speaks of is often named in the one before.
const NEIGHBOUR: f32 = 0.12;

/// A quantity as words, so that equal ones meet however they are written: a date gives its parts.
fn words(quantity: &Quantity) -> Vec<String> {
    match quantity.value {
        Value::Number { value, unit } => {
            let base = unit.map_or(value, |unit| value * unit.factor + unit.offset);
            vec![format!("#{value}"), format!("#{base:.3e}b")]
        }
        Value::Ordinal(value) => vec![format!("#{value}th")],
        Value::Date(date) => {
            let year = date.year.map(|year| format!("#{year}"));
            let month = date.month.map(|month| format!("#m{month}"));
            let day = date.day.zip(date.month).map(|(day, month)| format!("#d{month}-{day}"));
            year.into_iter().chain(month).chain(day).collect()
        }
    }
}

fn keys(text: &Analysed) -> Vec<String> {
    let mut keys: Vec<String> = text.terms.iter().map(|term| term.key.clone()).collect();
    keys.extend(text.quantities.iter().flat_map(words));
    keys
}

/// Ranks the sentences by how much they speak about `query`: `(index, score)`, best first, every sentence once; equal ones
/// in their order. Linear in the length of the sentences.
pub fn rank(query: &str, sentences: &[&str]) -> Vec<(usize, f32)> {
    let query = analyse(query);
    let analysed: Vec<Analysed> = sentences.iter().map(|sentence| analyse(sentence)).collect();
    rank_analysed(&query, &analysed)
}

/// The same on texts that are taken apart already.
pub(crate) fn rank_analysed(query: &Analysed, sentences: &[Analysed]) -> Vec<(usize, f32)> {
    let mut slots: HashMap<String, usize> = HashMap::new();
    for key in keys(query) {
        let next = slots.len();
        slots.entry(key).or_insert(next);
    }
    let mut counts = vec![vec![0.0_f32; slots.len()]; sentences.len()];
    let mut lengths = Vec::with_capacity(sentences.len());
    for (sentence, count) in sentences.iter().zip(&mut counts) {
        let keys = keys(sentence);
        lengths.push(keys.len() as f32);
        keys.iter().filter_map(|key| slots.get(key)).for_each(|slot| count[*slot] += 1.0);
        alike(query, sentence, &slots, count);
    }
    let total = sentences.len() as f32;
    let mean = (lengths.iter().sum::<f32>() / total.max(1.0)).max(1.0);
    let rarity: Vec<f32> = (0..slots.len())
        .map(|slot| {
            let holding = counts.iter().filter(|count| count[slot] >= 1.0).count() as f32;
            (1.0 + (total - holding + 0.5) / (holding + 0.5)).ln()
        })
        .collect();
    let score = |(count, length): (&Vec<f32>, &f32)| -> f32 {
        let norm = K1 * (1.0 - B + B * length / mean);
        0.0 + count
            .iter()
            .zip(&rarity)
            .map(|(count, rarity)| rarity * count * (K1 + 1.0) / (count + norm))
            .sum::<f32>()
    };
    let own: Vec<f32> = counts.iter().zip(&lengths).map(score).collect();
    let neighbour = |at: usize| {
        let before = at.checked_sub(1).map_or(0.0, |before| own[before]);
        before + own.get(at + 1).copied().unwrap_or(0.0)
    };
    let mut ranked: Vec<(usize, f32)> =
        own.iter().enumerate().map(|(at, score)| (at, score + NEIGHBOUR * neighbour(at))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}

/// Words that can stand for a word of the query count a part of it.
fn alike(query: &Analysed, sentence: &Analysed, slots: &HashMap<String, usize>, count: &mut [f32]) {
    for term in &query.terms {
        let Some(slot) = slots.get(&term.key).copied().filter(|slot| count[*slot] == 0.0) else { continue };
        let near = sentence.terms.iter().any(|other| term.is_near(other));
        if near {
            count[slot] = 0.4;
        }
    }
}
