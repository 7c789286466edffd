//! Where a sentence says otherwise than a claim that it speaks about.

use super::align::{Parsed, Row};
use crate::text::cues;
use crate::text::names::Name;
use crate::text::quantities::{Quantity, Relation};
use crate::text::tokens::{Token, TokenKind};
use crate::text::{Analysed, Term, lexicon};

/// What is said otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Conflict {
    /// Another number, date or amount for the same thing; as the claim and the sentence write it.
    Quantity {
        /// In the claim.
        claimed: String,
        /// In the sentence.
        found: String,
    },
    /// One of the two denies what the other says of this word.
    Negation {
        /// The word.
        word: String,
    },
    /// The sentence has the opposite of a word of the claim.
    Opposite {
        /// In the claim.
        claimed: String,
        /// In the sentence.
        found: String,
    },
    /// Another amount of the same things: all, some, none.
    Amount {
        /// What it is said of.
        of: String,
    },
    /// Who did it and whom it was done to have changed places.
    Roles {
        /// First in the claim.
        first: String,
        /// Second in the claim.
        second: String,
    },
    /// Another name in the same place.
    Name {
        /// In the claim.
        claimed: String,
        /// In the sentence.
        found: String,
    },
}

impl Conflict {
    /// Whether the sentence then says the contrary; the others only take its support away.
    pub fn refutes(&self) -> bool {
        !matches!(self, Conflict::Amount { .. })
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Conflict::Quantity { claimed, found } => {
                write!(out, "the source has {found} where the claim has {claimed}")
            }
            Conflict::Negation { word } => {
                write!(out, "one of claim and source denies what the other says of \"{word}\"")
            }
            Conflict::Opposite { claimed, found } => {
                write!(out, "the source says \"{found}\", the opposite of \"{claimed}\"")
            }
            Conflict::Amount { of } => write!(out, "claim and source speak of different amounts of \"{of}\""),
            Conflict::Roles { first, second } => {
                write!(out, "\"{first}\" and \"{second}\" have changed places")
            }
            Conflict::Name { claimed, found } => {
                write!(out, "the source names {found} where the claim names {claimed}")
            }
        }
    }
}

/// Everything in which a sentence differs from a claim. `claim_text` and `sentence_text` are what was taken apart.
pub fn conflicts(
    (claim, claim_text): (&Parsed, &str),
    (sentence, sentence_text): (&Analysed, &str),
    row: &Row,
) -> Vec<Found> {
    let written = |tokens: &[Token], text: &str, first: usize, last: usize| {
        let (start, end) = (tokens[first].start, tokens[last - 1].end);
        text.get(start..end).unwrap_or_default().to_string()
    };
    let mut found = Vec::new();
    for (at, quantity) in claim.text.quantities.iter().enumerate() {
        if let Some(other) = other_quantity(claim, at, sentence) {
            let conflict = Conflict::Quantity {
                claimed: written(&claim.text.tokens, claim_text, quantity.first, quantity.last),
                found: written(&sentence.tokens, sentence_text, other.first, other.last),
            };
            found.push(Found { conflict, items: vec![claim.text.terms.len() + at] });
        }
    }
    found.extend(negation(claim, sentence, row));
    found.extend(opposite(claim, sentence, row));
    found.extend(amount(claim, sentence, row));
    found.extend(roles(claim, sentence, row));
    if let Some((name, other)) = other_name(claim, sentence, row) {
        let conflict = Conflict::Name {
            claimed: written(&claim.text.tokens, claim_text, name.first, name.last),
            found: written(&sentence.tokens, sentence_text, other.first, other.last),
        };
        let inside = |item: &usize| (name.first..name.last).contains(&claim.text.terms[*item].token);
        found.push(Found { conflict, items: (0..claim.text.terms.len()).filter(inside).collect() });
    }
    found
}

/// A conflict and the items of the claim that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The conflict.
    pub conflict: Conflict,
    /// Indices of items.
    pub items: Vec<usize>,
}

/// Keys of the terms near a quantity, nearer ones first: what it counts and whose it is.
fn surroundings<'a>(text: &'a Analysed, quantity: &Quantity) -> Vec<(&'a Term, f32)> {
    let near = text.terms.iter().filter_map(|term| {
        let distance = if term.token >= quantity.last {
            1 + term.token - quantity.last
        } else {
            1 + quantity.first - term.token.min(quantity.first)
        };
        (distance <= 8).then(|| (term, 1.0 / distance as f32))
    });
    near.collect()
}

/// How much the surroundings of two quantities agree.
fn agreement(a: &[(&Term, f32)], b: &[(&Term, f32)]) -> f32 {
    let weigh = |(term, near): &(&Term, f32)| {
        let best = b.iter().filter(|(other, _)| term.key == other.key || term.is_near(other));
        best.map(|(_, other)| near.min(*other)).fold(0.0, f32::max)
    };
    a.iter().map(weigh).sum()
}

/// The quantity that a sentence has in the place of the claim's, if it is another one: of those of its kind, the one whose
/// surroundings agree best. Where an equal one agrees better, there is none.
fn other_quantity<'a>(claim: &Parsed, at: usize, sentence: &'a Analysed) -> Option<&'a Quantity> {
    let quantity = &claim.text.quantities[at];
    let place = places(quantity, &surroundings(&claim.text, quantity), sentence);
    let needed = place.same.map_or(0.2, |same| same.max(0.2));
    place.other.filter(|(_, agrees)| *agrees > needed).map(|(quantity, _)| quantity)
}

struct Places<'a> {
    /// How well the surroundings of the best equal quantity agree.
    same: Option<f32>,
    /// The best one of its kind that is different, and how well its surroundings agree.
    other: Option<(&'a Quantity, f32)>,
}

fn places<'a>(quantity: &Quantity, mine: &[(&Term, f32)], sentence: &'a Analysed) -> Places<'a> {
    let mut places = Places { same: None, other: None };
    for candidate in &sentence.quantities {
        let agrees = agreement(mine, &surroundings(sentence, candidate));
        match quantity.relation(candidate) {
            Relation::Same => places.same = Some(places.same.unwrap_or(0.0).max(agrees)),
            Relation::Different if places.other.is_none_or(|(_, best)| agrees > best) => {
                places.other = Some((candidate, agrees));
            }
            _ => {}
        }
    }
    places
}

/// Quantities of the claim that stand in the sentences, but in another place: where another number of the same kind has
/// surroundings that agree as well or better. A number that is somewhere on a page is not yet the number of this thing.
/// `rows` tell how much of the claim each sentence holds; the sentence that holds more decides between equal places.
pub fn displaced(claim: &Parsed, sentences: &[&Analysed], rows: &[Row]) -> usize {
    let base = claim.text.terms.len();
    let is_displaced = |(at, quantity): &(usize, &Quantity)| {
        let mine = surroundings(&claim.text, quantity);
        let (mut same, mut other) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (sentence, row) in sentences.iter().zip(rows) {
            let words = claim.part(0..base, &row.held);
            let places = places(quantity, &mine, sentence);
            same = same.max(places.same.map_or(f32::NEG_INFINITY, |agrees| agrees + words));
            other = other.max(places.other.map_or(f32::NEG_INFINITY, |(_, agrees)| agrees + words));
        }
        let found = rows.iter().any(|row| row.held[base + at] > 0.0);
        found && other >= same
    };
    claim.text.quantities.iter().enumerate().filter(is_displaced).count()
}

fn negation(claim: &Parsed, sentence: &Analysed, row: &Row) -> Option<Found> {
    let mut agree = false;
    let mut differ = None;
    for (item, (term, place)) in claim.text.terms.iter().zip(&row.places).enumerate() {
        let Some(other) = place.map(|place| &sentence.terms[place]).filter(|_| !term.in_name) else {
            continue;
        };
        if term.negated != other.negated {
            differ = differ.or(Some((item, &claim.text.tokens[term.token].text)));
        } else if term.negated {
            agree = true;
        }
    }
    let (item, word) = differ.filter(|_| !agree)?;
    Some(Found { conflict: Conflict::Negation { word: word.clone() }, items: vec![item] })
}

fn opposite(claim: &Parsed, sentence: &Analysed, row: &Row) -> Option<Found> {
    for (item, (term, held)) in claim.text.terms.iter().zip(&row.held).enumerate() {
        if *held >= 1.0 {
            continue;
        }
        let in_claim = |key: &str| claim.text.terms.iter().any(|other| other.key == key);
        let token = &claim.text.tokens[term.token].text;
        for opposite in cues::opposites(&term.key).chain(cues::opposites(token)).filter(|key| !in_claim(key))
        {
            // Stop words such as "before" are no terms: they are looked for among the tokens.
            if sentence.terms.iter().any(|other| other.key == opposite) {
                let conflict = Conflict::Opposite { claimed: token.clone(), found: opposite.to_string() };
                return Some(Found { conflict, items: vec![item] });
            }
        }
    }
    small_words(claim, sentence)
}

/// Opposites among the words that are no terms: before and after, under and over.
fn small_words(claim: &Parsed, sentence: &Analysed) -> Option<Found> {
    let has = |text: &Analysed, word: &str| text.tokens.iter().any(|token| token.text == word);
    for (at, token) in claim.text.tokens.iter().enumerate() {
        if !lexicon::is_stop(&token.text) || has(sentence, &token.text) {
            continue;
        }
        let found = cues::opposites(&token.text).find(|word| lexicon::is_stop(word) && has(sentence, word));
        let Some(opposite) = found.filter(|word| !has(&claim.text, word)) else { continue };
        // Both must stand before the same word.
        let next = |text: &Analysed, at: usize| {
            text.terms.iter().find(|term| term.token > at).map(|term| term.key.clone())
        };
        let place = sentence.tokens.iter().position(|other| other.text == opposite);
        if place.is_some_and(|place| {
            next(sentence, place).is_some() && next(sentence, place) == next(&claim.text, at)
        }) {
            let conflict = Conflict::Opposite { claimed: token.text.clone(), found: opposite.to_string() };
            return Some(Found { conflict, items: Vec::new() });
        }
    }
    None
}

fn amount(claim: &Parsed, sentence: &Analysed, row: &Row) -> Option<Found> {
    let said = cues::amounts(&claim.text.tokens);
    let found = cues::amounts(&sentence.tokens);
    for (amount, from) in said {
        let Some(item) = claim.text.terms.iter().position(|term| term.token >= from) else { continue };
        let Some(place) = row.places[item].map(|place| &sentence.terms[place]) else { continue };
        let of_it = |at: &usize| *at <= place.token && place.token - at <= 3;
        let other = found.iter().filter(|(_, at)| of_it(at)).map(|(amount, _)| *amount).max();
        let absent = other.is_none() && amount >= cues::Amount::Most;
        if other.is_some_and(|other| other != amount) || absent {
            let conflict =
                Conflict::Amount { of: claim.text.tokens[claim.text.terms[item].token].text.clone() };
            return Some(Found { conflict, items: Vec::new() });
        }
    }
    None
}

/// Two words whose order around a third is turned round, taking passive forms into account.
fn roles(claim: &Parsed, sentence: &Analysed, row: &Row) -> Option<Found> {
    let terms = &claim.text.terms;
    let once = |key: &str, text: &Analysed| text.terms.iter().filter(|term| term.key == key).count() == 1;
    let is_role = |item: usize| {
        let token = &claim.text.tokens[terms[item].token];
        let exact = row.held[item] >= 1.0;
        exact
            && once(&terms[item].key, &claim.text)
            && once(&terms[item].key, sentence)
            && token.kind != TokenKind::Mark
    };
    let shared: Vec<usize> = (0..terms.len()).filter(|item| row.places[*item].is_some()).take(24).collect();
    for (b, verb) in shared.iter().enumerate() {
        let place = |item: usize| row.places[item].unwrap_or(0);
        if terms[*verb].in_name {
            continue;
        }
        let token = |item: usize| sentence.terms[place(item)].token;
        let turned = passive(&claim.text, terms[*verb].token) != passive(sentence, token(*verb));
        let Some(first) = shared[..b].iter().rev().find(|item| is_role(**item) && role_like(claim, **item))
        else {
            continue;
        };
        let Some(second) = shared[b + 1..].iter().find(|item| is_role(**item) && role_like(claim, **item))
        else {
            continue;
        };
        let in_sentence = (place(*first), place(*verb), place(*second));
        let kept = in_sentence.0 < in_sentence.1 && in_sentence.1 < in_sentence.2;
        let swapped = in_sentence.2 < in_sentence.1 && in_sentence.1 < in_sentence.0;
        let (from, to) = (terms[*first].token, terms[*second].token);
        let symmetric =
            claim.text.tokens[from..to].iter().any(|token| cues::SYMMETRIC.contains(&token.stem.as_str()));
        if !symmetric && ((swapped && !turned) || (kept && turned)) {
            let word = |item: usize| claim.text.tokens[terms[item].token].text.clone();
            let conflict = Conflict::Roles { first: word(*first), second: word(*second) };
            return Some(Found { conflict, items: Vec::new() });
        }
    }
    None
}

/// Names play roles; in a text without names on both sides, all words do.
fn role_like(claim: &Parsed, item: usize) -> bool {
    let names = claim.text.terms.iter().filter(|term| term.in_name).count();
    names < 2 || claim.text.terms[item].in_name
}

fn passive(text: &Analysed, verb: usize) -> bool {
    cues::is_passive(&text.tokens, verb)
}

/// A name of the claim that the sentence has not, where it has another one between or beside the same words.
fn other_name<'a>(claim: &'a Parsed, sentence: &'a Analysed, row: &Row) -> Option<(&'a Name, &'a Name)> {
    let terms = &claim.text.terms;
    for name in &claim.text.names {
        let inside = |item: &usize| (name.first..name.last).contains(&terms[*item].token);
        if (0..terms.len()).filter(inside).any(|item| row.held[item] > 0.0) {
            continue;
        }
        let rest: Vec<usize> =
            (0..claim.items()).filter(|item| *item >= terms.len() || !inside(item)).collect();
        if rest.len() < 2 || claim.part(rest.iter().copied(), &row.held) < 0.8 {
            continue;
        }
        let before = (0..terms.len())
            .rev()
            .find(|item| terms[*item].token < name.first)
            .and_then(|item| row.places[item]);
        let after =
            (0..terms.len()).find(|item| terms[*item].token >= name.last).and_then(|item| row.places[item]);
        let known = |other: &Name| {
            other.words.iter().any(|word| claim.text.tokens.iter().any(|token| token.text == *word))
        };
        let beside = |other: &&Name| {
            let last = sentence.terms.iter().rposition(|term| term.token < other.first);
            let next = sentence.terms.iter().position(|term| term.token >= other.last);
            // A word may stand between: "designed by the engineer Karl Meier".
            let follows = before.zip(last).is_some_and(|(before, last)| before <= last && last - before <= 1);
            let leads = after.zip(next).is_some_and(|(after, next)| next <= after && after - next <= 1);
            follows || leads
        };
        if let Some(other) = sentence.names.iter().filter(|other| !known(other)).find(beside) {
            return Some((name, other));
        }
    }
    None
}
