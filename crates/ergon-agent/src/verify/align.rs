//! A claim laid beside the sentences of one source: which of its words and quantities stand where.

use crate::text::quantities::Relation;
use crate::text::tokens::{TokenKind, is_han};
use crate::text::{Analysed, Term, lexicon};

/// What a form or a near synonym of a word counts for.
const NEAR: f32 = 0.7;

/// A claim taken apart for alignment.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The text taken apart.
    pub text: Analysed,
    /// Weight of each item: the terms first, then the quantities.
    pub weights: Vec<f32>,
    /// Items of each clause.
    pub clauses: Vec<Vec<usize>>,
}

impl Parsed {
    /// Takes a claim apart.
    pub fn new(claim: &str) -> Parsed {
        let text = crate::text::analyse(claim);
        let terms = text.terms.iter().map(|term| 0.1 + term.information);
        let weights: Vec<f32> = terms.chain(text.quantities.iter().map(|_| 1.0)).collect();
        let clauses = clauses(&text);
        Parsed { text, weights, clauses }
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.weights.len()
    }

    /// Part of the weight of `items` that is held, from 0 to 1; 0 of nothing.
    pub fn part(&self, items: impl Iterator<Item = usize> + Clone, held: &[f32]) -> f32 {
        let total: f32 = items.clone().map(|item| self.weights[item]).sum();
        let sum: f32 = items.map(|item| self.weights[item] * held[item]).sum();
        if total > 0.0 { sum / total } else { 0.0 }
    }
}

const CLAUSE_WORDS: &[&str] = &[
    "and", "but", "while", "which", "who", "where", "when", "after", "before", "although", "whose",
    "because", "that",
];

/// Items of every clause: a clause ends at a mark or a joining word, and holds at least two items.
fn clauses(text: &Analysed) -> Vec<Vec<usize>> {
    let terms = text.terms.iter().enumerate().map(|(item, term)| (term.token, item));
    let base = text.terms.len();
    let quantities = text.quantities.iter().enumerate().map(|(at, quantity)| (quantity.first, base + at));
    let mut items: Vec<(usize, usize)> = terms.chain(quantities).collect();
    items.sort_unstable();
    let splits = |at: usize| {
        let token = &text.tokens[at];
        let mark = token.kind == TokenKind::Mark && ",;:，；：、".contains(token.text.as_str());
        mark || CLAUSE_WORDS.contains(&token.text.as_str())
    };
    let mut clauses: Vec<Vec<usize>> = vec![Vec::new()];
    let mut before = 0;
    for (token, item) in items {
        let last = clauses.last().map_or(0, Vec::len);
        if last >= 2 && (before..token).any(splits) {
            clauses.push(Vec::new());
        }
        if let Some(clause) = clauses.last_mut() {
            clause.push(item);
        }
        before = token;
    }
    // A short rest belongs to the clause before it.
    if clauses.len() > 1 && clauses.last().is_some_and(|clause| clause.len() < 2) {
        let rest = clauses.pop().unwrap_or_default();
        if let Some(clause) = clauses.last_mut() {
            clause.extend(rest);
        }
    }
    clauses
}

/// How well a term stands in a sentence: 1 as it is, less for another form, 0 not at all; and its place there.
pub fn find(term: &Term, sentence: &Analysed) -> (f32, Option<usize>) {
    if let Some(at) = sentence.terms.iter().position(|other| other.key == term.key) {
        return (1.0, Some(at));
    }
    let near = sentence.terms.iter().position(|other| term.is_near(other));
    near.or_else(|| bridged(term, sentence)).map_or((0.0, None), |at| (NEAR, Some(at)))
}

/// Place, or the one before, of the second of two Chinese characters that belong to two words: where the sentence has a stretch that ends with the
/// one and a stretch that begins with the other, what stands between them only joins.
fn bridged(term: &Term, sentence: &Analysed) -> Option<usize> {
    let mut characters = term.key.chars();
    let (first, second) = (characters.next()?, characters.next()?);
    if !is_han(first) || characters.next().is_some() {
        return None;
    }
    let tokens = &sentence.tokens;
    let in_quantity =
        |at: usize| sentence.quantities.iter().any(|quantity| (quantity.first..quantity.last).contains(&at));
    let carries = |at: usize| {
        let token = tokens.get(at).filter(|token| token.kind == TokenKind::Han && !in_quantity(at));
        token.is_some_and(|token| !lexicon::is_han_stop(&token.text))
    };
    let is = |at: usize, c: char| tokens[at].text.chars().eq([c]);
    let ends = (0..tokens.len()).any(|at| is(at, first) && !carries(at + 1));
    let begins = (0..tokens.len()).find(|at| is(*at, second) && (*at == 0 || !carries(at - 1)))?;
    let place = sentence.terms.iter().position(|other| other.token >= begins);
    place.filter(|_| ends).map(|place| place.saturating_sub(1))
}

/// The items of a claim in one sentence.
#[derive(Clone, Debug)]
pub struct Row {
    /// How well each item is held, from 0 to 1.
    pub held: Vec<f32>,
    /// Place of each term among the sentence's terms.
    pub places: Vec<Option<usize>>,
    /// For each quantity of the claim, how the sentence's nearest one relates; `None` where it has none of its kind.
    pub relations: Vec<Option<Relation>>,
    /// Part of the claim held, by weight.
    pub coverage: f32,
}

/// Lays the claim beside one sentence.
pub fn row(claim: &Parsed, sentence: &Analysed) -> Row {
    let found: Vec<(f32, Option<usize>)> = claim.text.terms.iter().map(|term| find(term, sentence)).collect();
    let mut held: Vec<f32> = found.iter().map(|(held, _)| *held).collect();
    let places: Vec<Option<usize>> = found.iter().map(|(_, place)| *place).collect();
    let mut relations = Vec::new();
    for quantity in &claim.text.quantities {
        let all = sentence.quantities.iter().map(|other| quantity.relation(other));
        let best = all.min_by_key(|relation| match relation {
            Relation::Same => 0,
            Relation::Different => 1,
            Relation::Open => 2,
        });
        held.push(if best == Some(Relation::Same) { 1.0 } else { 0.0 });
        relations.push(best);
    }
    let coverage = claim.part(0..claim.items(), &held);
    Row { held, places, relations, coverage }
}

/// The sentences that together hold most of the claim, greedily, and what they hold: at most `most`, each of which adds
/// at least a fiftieth of the claim.
pub fn cover(claim: &Parsed, rows: &[Row], most: usize) -> (Vec<usize>, Vec<f32>) {
    let mut held = vec![0.0_f32; claim.items()];
    let mut chosen = Vec::new();
    while chosen.len() < most {
        let gain = |row: &Row| -> f32 {
            row.held.iter().zip(&held).zip(&claim.weights).map(|((a, b), w)| (a - b).max(0.0) * w).sum()
        };
        let best = rows.iter().enumerate().map(|(at, row)| (at, gain(row)));
        let best = best.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let total: f32 = claim.weights.iter().sum();
        let Some((at, _)) = best.filter(|(_, gain)| *gain > 0.02 * total) else { break };
        held.iter_mut().zip(&rows[at].held).for_each(|(held, new)| *held = held.max(*new));
        chosen.push(at);
    }
    (chosen, held)
}

/// Most sentences that are tried together; what is behind them in the list is not.
const TRIED: usize = 32;

/// Best part of some items that one, two and three sentences hold together, over all sets of them.
pub fn best_sets(claim: &Parsed, rows: &[Row], items: &[usize]) -> [f32; 3] {
    let total: f32 = items.iter().map(|item| claim.weights[*item]).sum();
    if total <= 0.0 {
        return [0.0; 3];
    }
    let tried = &rows[..rows.len().min(TRIED)];
    let weigh =
        |row: &Row| -> Vec<f32> { items.iter().map(|item| claim.weights[*item] * row.held[*item]).collect() };
    let held: Vec<Vec<f32>> = tried.iter().map(weigh).collect();
    let join = |a: &[f32], b: &[f32]| -> Vec<f32> { a.iter().zip(b).map(|(a, b)| a.max(*b)).collect() };
    let joined = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a.max(*b)).sum() };
    let mut best = [0.0_f32; 3];
    for (i, a) in held.iter().enumerate() {
        best[0] = best[0].max(a.iter().sum());
        for (j, b) in held.iter().enumerate().skip(i + 1) {
            let two = join(a, b);
            best[1] = best[1].max(two.iter().sum());
            held[j + 1..].iter().for_each(|c| best[2] = best[2].max(joined(&two, c)));
        }
    }
    best[1] = best[1].max(best[0]);
    best[2] = best[2].max(best[1]);
    best.map(|part| part / total)
}
