//! What a source's sentences hold of a claim, as numbers for the fitted model.
//!
//! Every feature about what the sentences hold only moves one way when a sentence is added: coverage rises, what is missing
//! falls. The model is monotone in them ([`Feature::sign`]), so more that speaks for a claim never lowers its score and less
//! never raises it. Two features count what speaks against it; the last ones describe the claim alone.

use super::align::{Parsed, Row, best_sets};
use crate::text::names::Name;
use crate::text::quantities::{Quantity, Value};
use crate::text::{Analysed, Date};

/// The claim, the sentences of one source and their alignment.
pub struct Aligned<'a> {
    /// The claim.
    pub claim: &'a Parsed,
    /// The sentences, in the order of the document.
    pub sentences: &'a [&'a Analysed],
    /// First character of each sentence in its document.
    pub starts: &'a [usize],
    /// One row per sentence.
    pub rows: &'a [Row],
    /// Quantities that stand in another's place.
    pub displaced: usize,
    /// Sentences with a conflict that are about half of the claim or more.
    pub conflicts: usize,
}

/// A feature and which way it moves the score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// 1 where more of it can only raise the score, -1 where it can only lower it, 0 where it describes the claim alone.
    pub sign: i8,
}

const fn feature(name: &'static str, sign: i8) -> Feature {
    Feature { name, sign }
}

/// The features, in their order.
pub const FEATURES: &[Feature] = &[
    feature("coverage_1", 1),
    feature("coverage_2", 1),
    feature("coverage_3", 1),
    feature("coverage_all", 1),
    feature("coverage_window", 1),
    feature("words_1", 1),
    feature("words_2", 1),
    feature("words_window", 1),
    feature("pairs", 1),
    feature("pairs_exact", 1),
    feature("run", 1),
    feature("letters_1", 1),
    feature("letters_all", 1),
    feature("clause_least", 1),
    feature("clause_mean", 1),
    feature("clauses_weak", -1),
    feature("names_found", 1),
    feature("names_1", 1),
    feature("names_missing", -1),
    feature("name_words_missing", -1),
    feature("quantities_found", 1),
    feature("quantities_1", 1),
    feature("quantities_missing", -1),
    feature("words_missing", -1),
    feature("word_missing_most", -1),
    feature("words_missing_count", -1),
    feature("verbs_missing", -1),
    feature("reverse", 1),
    feature("quoted_missing", -1),
    feature("exact_2", 1),
    feature("exact_window", 1),
    feature("missing_run", -1),
    feature("coverage_dates", 1),
    feature("clause_least_all", 1),
    feature("missing_most", -1),
    feature("quantities_unlike", -1),
    feature("displaced", -1),
    feature("conflicts", -1),
    feature("items", 0),
    feature("clauses", 0),
    feature("quantities", 0),
    feature("names", 0),
    feature("denied", 0),
    feature("hedges", 0),
];

/// The features of one source, as many as [`FEATURES`].
pub fn features(aligned: &Aligned<'_>) -> Vec<f32> {
    let Aligned { claim, sentences, rows, starts, .. } = aligned;
    let base = claim.text.terms.len();
    let quantities = claim.text.quantities.len();
    let all: Vec<usize> = (0..claim.items()).collect();
    let words: Vec<usize> = (0..base).filter(|item| !claim.text.terms[*item].in_name).collect();
    let mut held = vec![0.0_f32; claim.items()];
    rows.iter().for_each(|row| raise(&mut held, row));
    let exact: Vec<Row> = rows.iter().map(exact).collect();
    let sets = best_sets(claim, rows, &all);
    let word_sets = best_sets(claim, rows, &words);
    let clauses = clauses(claim, rows);
    let names_found: f32 = names(claim, sentences);
    let names_1 = sentences.iter().map(|sentence| names(claim, &[sentence])).fold(0.0, f32::max);
    let quantities_found: f32 = held[base..].iter().sum();
    let quantities_1 = rows.iter().map(|row| row.held[base..].iter().sum::<f32>()).fold(0.0, f32::max);
    let missing = missing(claim, &held);
    let dated = dated(claim, sentences, &held);
    let clauses_all = claim.clauses.iter().map(|clause| claim.part(clause.iter().copied(), &held));
    let letters = letters(claim, sentences);
    let ratio = |part: f32, whole: usize| if whole > 0 { part / whole as f32 } else { 1.0 };
    vec![
        sets[0],
        sets[1],
        sets[2],
        claim.part(all.iter().copied(), &held),
        window(claim, starts, rows, &all),
        word_sets[0],
        word_sets[1],
        window(claim, starts, rows, &words),
        pairs(claim, rows, 0.0),
        pairs(claim, rows, 1.0),
        sentences.iter().map(|sentence| run(claim, sentence)).fold(0.0, f32::max),
        letters.0,
        letters.1,
        clauses.iter().copied().fold(1.0, f32::min),
        clauses.iter().sum::<f32>() / clauses.len().max(1) as f32,
        clauses.iter().filter(|part| **part < 0.6).count() as f32,
        ratio(names_found, claim.text.names.len()),
        ratio(names_1, claim.text.names.len()),
        claim.text.names.len() as f32 - names_found,
        missing.name,
        ratio(quantities_found, quantities),
        ratio(quantities_1, quantities),
        quantities as f32 - quantities_found,
        missing.word,
        missing.most,
        missing.count,
        missing.verbs,
        rows.iter().zip(*sentences).map(|(row, sentence)| reverse(sentence, row)).fold(0.0, f32::max),
        quoted_missing(claim, &held),
        best_sets(claim, &exact, &all)[1],
        window(claim, starts, &exact, &all),
        missing_run(claim, &held),
        claim.part(all.iter().copied(), &dated),
        clauses_all.fold(1.0, f32::min),
        dated.iter().zip(&claim.weights).map(|(held, weight)| weight * (1.0 - held)).fold(0.0, f32::max),
        quantities as f32 - dated[base..].iter().sum::<f32>(),
        aligned.displaced as f32,
        aligned.conflicts as f32,
        (claim.items() as f32).ln_1p(),
        claim.clauses.len() as f32,
        quantities as f32,
        claim.text.names.len() as f32,
        claim.text.terms.iter().filter(|term| term.negated).count() as f32,
        hedges(claim),
    ]
}

fn raise(held: &mut [f32], row: &Row) {
    held.iter_mut().zip(&row.held).for_each(|(held, new)| *held = held.max(*new));
}

/// What counts of a date whose parts all stand somewhere on the page, but in no one place.
const DATE_PARTS: f32 = 0.7;

/// What is held, dates by their parts: of "May 7, 2018" one sentence has the day and the head of the page the year.
fn dated(claim: &Parsed, sentences: &[&Analysed], held: &[f32]) -> Vec<f32> {
    let date = |quantity: &Quantity| match quantity.value {
        Value::Date(date) => Some(date),
        _ => None,
    };
    let all: Vec<Date> =
        sentences.iter().flat_map(|sentence| sentence.quantities.iter().filter_map(date)).collect();
    let mut dated = held.to_vec();
    for (quantity, held) in claim.text.quantities.iter().zip(&mut dated[claim.text.terms.len()..]) {
        let Some(mine) = date(quantity).filter(|_| *held < DATE_PARTS) else { continue };
        let parts = [
            mine.year.map(|year| all.iter().any(|other| other.year == Some(year))),
            mine.month.map(|month| all.iter().any(|other| other.month == Some(month))),
            mine.day.map(|day| all.iter().any(|other| other.day == Some(day) && other.month == mine.month)),
        ];
        let known = parts.iter().flatten().count().max(1) as f32;
        let found = parts.iter().flatten().filter(|found| **found).count() as f32;
        *held = held.max(DATE_PARTS * found / known);
    }
    dated
}

/// Best part of each clause that one sentence holds.
fn clauses(claim: &Parsed, rows: &[Row]) -> Vec<f32> {
    let best = |clause: &Vec<usize>| {
        rows.iter().map(|row| claim.part(clause.iter().copied(), &row.held)).fold(0.0, f32::max)
    };
    claim.clauses.iter().map(best).collect()
}

/// Characters that a stretch of a document may have to count as one place.
const WINDOW_CHARS: usize = 600;

/// Best part of some items that the sentences of one stretch of the document hold.
fn window(claim: &Parsed, starts: &[usize], rows: &[Row], items: &[usize]) -> f32 {
    let part = |from: usize| {
        let mut held = vec![0.0_f32; claim.items()];
        let near = starts[from..].iter().take_while(|start| **start < starts[from] + WINDOW_CHARS);
        rows[from..from + near.count().max(1)].iter().for_each(|row| raise(&mut held, row));
        claim.part(items.iter().copied(), &held)
    };
    (0..rows.len()).map(part).fold(0.0, f32::max)
}

/// A row without forms and near synonyms.
fn exact(row: &Row) -> Row {
    let held = row.held.iter().map(|held| if *held >= 1.0 { 1.0 } else { 0.0 }).collect();
    Row { held, ..row.clone() }
}

/// Weight of the longest run of terms of the claim of which none is found: a part of the claim that nobody speaks of.
fn missing_run(claim: &Parsed, held: &[f32]) -> f32 {
    let (mut run, mut longest) = (0.0_f32, 0.0_f32);
    for (held, weight) in held.iter().zip(&claim.weights).take(claim.text.terms.len()) {
        run = if *held == 0.0 { run + weight } else { 0.0 };
        longest = longest.max(run);
    }
    longest
}

/// Part of the neighbouring terms of the claim that stand near each other in some sentence, each held at least so well.
pub fn pairs(claim: &Parsed, rows: &[Row], least: f32) -> f32 {
    let count = claim.text.terms.len().saturating_sub(1);
    let together = (0..count).filter(|at| {
        rows.iter().any(|row| match (row.places[*at], row.places[at + 1]) {
            (Some(a), Some(b)) => {
                a != b && a.abs_diff(b) <= 3 && row.held[*at].min(row.held[at + 1]) >= least
            }
            _ => false,
        })
    });
    if count > 0 { together.count() as f32 / count as f32 } else { 0.0 }
}

/// Longest run of words of the claim that a sentence repeats, as part of the claim's words.
fn run(claim: &Parsed, sentence: &Analysed) -> f32 {
    let (a, b) = (&claim.text.tokens, &sentence.tokens);
    let mut best = 0_usize;
    let mut before = vec![0_usize; b.len().min(200) + 1];
    for word in a.iter().take(100) {
        let mut now = vec![0; before.len()];
        for (at, other) in b.iter().enumerate().take(200) {
            if word.stem == other.stem {
                now[at + 1] = before[at] + 1;
                best = best.max(now[at + 1]);
            }
        }
        before = now;
    }
    best as f32 / a.len().max(1) as f32
}

/// Part of the claim's letter groups, four at a time inside words that carry meaning, that one sentence has at best, and
/// that all together have: forms of a word share most of them.
fn letters(claim: &Parsed, sentences: &[&Analysed]) -> (f32, f32) {
    let groups = |text: &Analysed| -> Vec<u32> {
        let of = |word: &str| {
            let padded: Vec<u8> = [b"^", word.as_bytes()].concat();
            padded.windows(4).map(|w| u32::from_be_bytes([w[0], w[1], w[2], w[3]])).collect::<Vec<_>>()
        };
        let mut all: Vec<u32> =
            text.terms.iter().flat_map(|term| of(&text.tokens[term.token].text)).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let mine = groups(&claim.text);
    let mut seen = vec![false; mine.len()];
    let mut best = 0;
    for sentence in sentences {
        let theirs = groups(sentence);
        let mut count = 0;
        for (group, seen) in mine.iter().zip(&mut seen) {
            let found = theirs.binary_search(group).is_ok();
            count += usize::from(found);
            *seen |= found;
        }
        best = best.max(count);
    }
    let total = mine.len().max(1) as f32;
    (best as f32 / total, seen.iter().filter(|seen| **seen).count() as f32 / total)
}

/// Part of a sentence's terms that the claim has too, where it holds half of the claim: a sentence that says little else is
/// likely what the claim retells.
fn reverse(sentence: &Analysed, row: &Row) -> f32 {
    let used: std::collections::BTreeSet<usize> = row.places.iter().flatten().copied().collect();
    if row.coverage < 0.5 { 0.0 } else { used.len() as f32 / sentence.terms.len().max(1) as f32 }
}

/// How well the names of the claim are found, summed: all of it 1, its last word or initials .8, a part of it that part.
fn names(claim: &Parsed, sentences: &[&Analysed]) -> f32 {
    let found = |name| sentences.iter().map(|sentence| name_in(name, sentence)).fold(0.0, f32::max);
    claim.text.names.iter().map(found).sum()
}

/// How well a name stands in a sentence, from 0 to 1.
pub fn name_in(name: &Name, sentence: &Analysed) -> f32 {
    if name.quoted {
        let text: String = sentence.tokens.iter().map(|token| token.text.as_str()).collect();
        return if name.words.iter().all(|word| text.contains(word.as_str())) { 1.0 } else { 0.0 };
    }
    let has = |word: &String| sentence.tokens.iter().any(|token| token.text == *word);
    let part = name.words.iter().filter(|word| has(word)).count() as f32 / name.words.len().max(1) as f32;
    let last = name.words.last().is_some_and(has);
    let initials = name.words.len() > 1 && has(&name.initials);
    let spelled = name.words.len() == 1
        && sentence.names.iter().any(|other| other.words.len() > 1 && other.initials == name.words[0]);
    part.max(if last || initials || spelled { 0.8 } else { 0.0 })
}

#[derive(Default)]
struct Missing {
    word: f32,
    name: f32,
    most: f32,
    count: f32,
    verbs: f32,
}

/// What no sentence has, by kind.
fn missing(claim: &Parsed, held: &[f32]) -> Missing {
    let mut missing = Missing::default();
    for (term, _) in claim.text.terms.iter().zip(held).filter(|(_, held)| **held == 0.0) {
        missing.count += 1.0;
        if term.in_name {
            missing.name += term.information;
            continue;
        }
        missing.word += term.information;
        missing.most = missing.most.max(term.information);
        let word = &claim.text.tokens[term.token].text;
        missing.verbs += f32::from(u8::from(word.ends_with("ed") || word.ends_with("ing")));
    }
    missing
}

/// Words in the claim's quotation marks that are not found.
fn quoted_missing(claim: &Parsed, held: &[f32]) -> f32 {
    let mut open = false;
    let mut inside = vec![false; claim.text.tokens.len()];
    for (at, token) in claim.text.tokens.iter().enumerate() {
        match token.text.as_str() {
            "\"" => open = !open,
            "“" => open = true,
            "”" => open = false,
            _ => inside[at] = open,
        }
    }
    let terms = claim.text.terms.iter().zip(held).filter(|(term, _)| inside[term.token]);
    terms.map(|(_, held)| 1.0 - held).sum()
}

const HEDGES: &[&str] = &[
    "only",
    "first",
    "most",
    "due",
    "because",
    "mainly",
    "several",
    "many",
    "various",
    "including",
    "later",
    "also",
];

/// Words that make a claim say more than its facts.
fn hedges(claim: &Parsed) -> f32 {
    claim.text.tokens.iter().filter(|token| HEDGES.contains(&token.text.as_str())).count() as f32
}
