//! Which documents are near-copies of one another, and where a copy carries another value.

use std::collections::HashMap;

use crate::text::quantities::{Quantity, Relation};
use crate::text::tokens::{Token, TokenKind};
use crate::text::{lexicon, names, quantities, tokens};

/// Words of a shingle.
const SHINGLE: usize = 3;
/// Least part of the smaller document's shingles that the larger one holds, for a pair to be aligned at all.
const CONTAINMENT: f64 = 0.3;
/// Least share of the smaller document that a local alignment must cover with equal words, and least number of them.
const ALIGNED: f64 = 0.3;
const ALIGNED_WORDS: usize = 12;
/// Longest document that is looked at, in tokens, and longest that is aligned; what is longer is compared by its beginning.
const LONGEST: usize = 20_000;
/// Of the documents that share a shingle, up to this many are all compared with one another; of more, each is compared with
/// the first few only, so that boilerplate costs no more than its length.
const COMMON: usize = 64;
const FIRSTS: usize = 4;
/// Longest stretch between two equal ones, in tokens, in which a value is said to stand in another's place.
const GAP: usize = 24;

/// A near-copy that carries another value than its twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Index of one document.
    pub first: usize,
    /// Index of the other.
    pub second: usize,
    /// What the first one says, as written there.
    pub first_value: String,
    /// What the second one says in its place.
    pub second_value: String,
    /// Bytes of the value in the first document.
    pub first_span: std::ops::Range<usize>,
    /// Bytes of the value in the second document.
    pub second_span: std::ops::Range<usize>,
}

/// Groups of near-copies, and the pairs among them that differ in a value.
#[derive(Clone, Debug, Default)]
pub struct Copies {
    groups: Vec<usize>,
    pairs: Vec<(usize, usize)>,
    alarms: Vec<Alarm>,
}

struct Document<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    quantities: Vec<Quantity>,
    shingles: Vec<u64>,
}

fn shingles(tokens: &[Token]) -> Vec<u64> {
    let words: Vec<&str> = tokens
        .iter()
        .filter(|token| token.kind != TokenKind::Mark)
        .map(|token| token.text.as_str())
        .collect();
    let hash = |window: &[&str]| {
        let bytes = window.iter().flat_map(|word| word.bytes().chain([0]));
        bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
    };
    let mut all: Vec<u64> = words.windows(SHINGLE).map(hash).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Copies {
    /// Finds the near-copies among documents: pairs that share shingles, then aligned word by word. The cost grows with the
    /// documents' lengths and with the number of pairs that share text, not with all pairs.
    pub fn find(documents: &[&str]) -> Copies {
        let documents: Vec<Document<'_>> = documents.iter().map(|text| Document::read(text)).collect();
        let mut copies = Copies { groups: (0..documents.len()).collect(), ..Copies::default() };
        for (first, second) in candidates(&documents) {
            let (a, b) = (&documents[first], &documents[second]);
            let segments = segments(&a.tokens, &b.tokens);
            let equal: usize = segments.iter().filter(|(x, y)| x.is_some() && y.is_some()).count();
            let smaller = a.tokens.len().min(b.tokens.len());
            if equal < ALIGNED_WORDS.min(smaller) || (equal as f64) < ALIGNED * smaller as f64 {
                continue;
            }
            copies.pairs.push((first, second));
            copies.join(first, second);
            copies.alarms.extend(differences(first, second, a, b, &segments));
        }
        (0..documents.len()).for_each(|at| copies.groups[at] = copies.root(at));
        copies
    }

    /// Number of a document's group: the smallest index in it. An index that was not given is a group of its own.
    pub fn group(&self, document: usize) -> usize {
        self.groups.get(document).copied().unwrap_or(document)
    }

    /// Pairs of near-copies that differ in a value.
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    /// Pairs of near-copies, smaller index first.
    pub fn pairs(&self) -> &[(usize, usize)] {
        &self.pairs
    }

    fn root(&self, mut at: usize) -> usize {
        while self.groups[at] != at {
            at = self.groups[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.groups[a.max(b)] = a.min(b);
    }
}

impl<'a> Document<'a> {
    fn read(text: &'a str) -> Document<'a> {
        // Bytes first: a bound on the tokens that does not need all of them.
        let end =
            (0..=text.len().min(16 * LONGEST)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let mut tokens = tokens::tokenize(&text[..end]);
        tokens.truncate(LONGEST);
        let quantities = quantities::quantities(&tokens);
        let shingles = shingles(&tokens);
        Document { text, tokens, quantities, shingles }
    }

    fn value(&self, tokens: std::ops::Range<usize>) -> (String, std::ops::Range<usize>) {
        let span = self.tokens[tokens.start].start..self.tokens[tokens.end - 1].end;
        (self.text.get(span.clone()).unwrap_or_default().to_string(), span)
    }
}

/// Pairs whose shingles are contained in one another, smaller index first, in order.
fn candidates(documents: &[Document<'_>]) -> Vec<(usize, usize)> {
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, document) in documents.iter().enumerate() {
        document.shingles.iter().for_each(|shingle| holders.entry(*shingle).or_default().push(at));
    }
    let mut shared: HashMap<(usize, usize), usize> = HashMap::new();
    for list in holders.values() {
        // All pairs of few; of many, those with the first ones, which joins a large family as well.
        let firsts = if list.len() <= COMMON { list.len() } else { FIRSTS };
        for (at, first) in list.iter().take(firsts).enumerate() {
            list[at + 1..].iter().for_each(|second| *shared.entry((*first, *second)).or_default() += 1);
        }
    }
    // Exact copies are near-copies however many there are: chained through their first.
    let mut exact: HashMap<&[u64], usize> = HashMap::new();
    for (at, document) in documents.iter().enumerate().filter(|(_, document)| !document.shingles.is_empty()) {
        let first = *exact.entry(&document.shingles).or_insert(at);
        if first != at {
            shared.insert((first, at), document.shingles.len());
        }
    }
    let near = |((a, b), count): &((usize, usize), usize)| {
        let smaller = documents[*a].shingles.len().min(documents[*b].shingles.len());
        smaller > 0 && *count as f64 >= CONTAINMENT * smaller as f64
    };
    let mut pairs: Vec<(usize, usize)> = shared.into_iter().filter(near).map(|(pair, _)| pair).collect();
    pairs.sort_unstable();
    pairs
}

type Segment = (Option<usize>, Option<usize>);

/// A local alignment of two token rows: equal tokens paired in order. Anchors are shingles that occur once in each; between
/// two anchors what begins alike is paired. Linear in the lengths.
fn segments(a: &[Token], b: &[Token]) -> Vec<Segment> {
    let anchors = anchors(a, b);
    let mut aligned: Vec<Segment> = Vec::new();
    let mut at = (0, 0);
    for (i, j) in anchors.into_iter().chain([(a.len(), b.len())]) {
        if i < at.0 || j < at.1 {
            continue;
        }
        gap(a, b, at, (i, j), &mut aligned);
        if i < a.len() && j < b.len() {
            aligned.push((Some(i), Some(j)));
        }
        at = (i + 1, j + 1);
    }
    aligned
}

/// Tokens in the middle of a shingle that occurs once in each, longest chain in the order of both.
fn anchors(a: &[Token], b: &[Token]) -> Vec<(usize, usize)> {
    let once = |tokens: &[Token]| {
        let mut places: HashMap<[String; SHINGLE], Option<usize>> = HashMap::new();
        for at in 0..tokens.len().saturating_sub(SHINGLE - 1) {
            let key = std::array::from_fn(|offset| tokens[at + offset].text.clone());
            places.entry(key).and_modify(|place| *place = None).or_insert(Some(at));
        }
        places
    };
    let (in_a, in_b) = (once(a), once(b));
    let mut shared: Vec<(usize, usize)> =
        in_a.iter().filter_map(|(key, place)| Some(((*place)?, in_b.get(key).copied().flatten()?))).collect();
    shared.sort_unstable();
    let chain = increasing(&shared);
    let mut all = Vec::with_capacity(chain.len() + SHINGLE);
    for (i, j) in chain {
        all.extend((0..SHINGLE).map(|offset| (i + offset, j + offset)));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Longest chain of pairs (ordered by their first part) whose second parts increase.
fn increasing(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut tails: Vec<usize> = Vec::new();
    let mut before = vec![usize::MAX; pairs.len()];
    for (at, (_, j)) in pairs.iter().enumerate() {
        let place = tails.partition_point(|tail| pairs[*tail].1 < *j);
        before[at] = if place > 0 { tails[place - 1] } else { usize::MAX };
        if place == tails.len() {
            tails.push(at);
        } else {
            tails[place] = at;
        }
    }
    let mut chain = Vec::new();
    let mut at = tails.last().copied().unwrap_or(usize::MAX);
    while at < pairs.len() {
        chain.push(pairs[at]);
        at = before[at];
    }
    chain.reverse();
    chain
}

/// Between two anchors: what begins alike is paired, the rest stands on one side only.
fn gap(a: &[Token], b: &[Token], from: (usize, usize), to: (usize, usize), aligned: &mut Vec<Segment>) {
    let (mut i, mut j) = from;
    while i < to.0 && j < to.1 && a[i].text == b[j].text {
        aligned.push((Some(i), Some(j)));
        (i, j) = (i + 1, j + 1);
    }
    aligned.extend((i..to.0).map(|at| (Some(at), None)));
    aligned.extend((j..to.1).map(|at| (None, Some(at))));
}

/// Values that stand in one place of two aligned documents and differ: quantities, or names.
fn differences(
    first: usize,
    second: usize,
    a: &Document<'_>,
    b: &Document<'_>,
    segments: &[Segment],
) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    let mut at = 0;
    while at < segments.len() {
        let end = (at..segments.len()).find(|next| is_pair(segments[*next])).unwrap_or(segments.len());
        let bounded = at > 0 && end < segments.len() || (end - at < 8 && end > at);
        if bounded && end > at {
            let left: Vec<usize> = segments[at..end].iter().filter_map(|(x, _)| *x).collect();
            let right: Vec<usize> = segments[at..end].iter().filter_map(|(_, y)| *y).collect();
            alarms.extend(difference(first, second, (a, &left), (b, &right)));
        }
        at = end + 1;
    }
    alarms
}

fn is_pair(segment: Segment) -> bool {
    segment.0.is_some() && segment.1.is_some()
}

fn difference(
    first: usize,
    second: usize,
    (a, left): (&Document<'_>, &[usize]),
    (b, right): (&Document<'_>, &[usize]),
) -> Option<Alarm> {
    let (from, to) = ((*left.first()?, *left.last()?), (*right.first()?, *right.last()?));
    if left.len() > GAP || right.len() > GAP {
        return None;
    }
    let touching = |quantities: &'_ [Quantity], (low, high): (usize, usize)| {
        quantities.iter().find(|quantity| quantity.first <= high && quantity.last > low).cloned()
    };
    let quantities = touching(&a.quantities, from).zip(touching(&b.quantities, to));
    let different = quantities.filter(|(x, y)| x.relation(y) == Relation::Different);
    let ranges = match different {
        Some((x, y)) => Some((x.first..x.last, y.first..y.last)),
        None => named(a, from).zip(named(b, to)).filter(|(x, y)| words(a, x) != words(b, y)),
    };
    let (x, y) = ranges?;
    let ((first_value, first_span), (second_value, second_span)) = (a.value(x), b.value(y));
    Some(Alarm { first, second, first_value, second_value, first_span, second_span })
}

fn words(document: &Document<'_>, range: &std::ops::Range<usize>) -> Vec<String> {
    document.tokens[range.clone()]
        .iter()
        .filter(|token| token.kind != TokenKind::Mark)
        .map(|token| token.stem.clone())
        .collect()
}

/// A name, or another word that carries meaning, in a differing stretch: with the whole stretch where it is short.
fn named(document: &Document<'_>, (low, high): (usize, usize)) -> Option<std::ops::Range<usize>> {
    let stretch = &document.tokens[low..=high];
    let found = names::names(stretch, &[]).into_iter().max_by_key(|name| name.last - name.first);
    let name = found.map(|name| low + name.first..low + name.last);
    // Chinese names have no mark of their own: a short stretch of characters counts as one.
    let is_word = |token: &Token| match token.kind {
        TokenKind::Han => !lexicon::is_han_stop(&token.text),
        TokenKind::Word => token.capital && !lexicon::is_stop(&token.text),
        _ => false,
    };
    name.or_else(|| (stretch.len() <= 6 && stretch.iter().any(is_word)).then_some(low..high + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "The Old Bridge over the river Aare was built in 1856 by the engineer Karl Meier. It is 230 m long and \
        carries two lanes. In 1951 it was widened, and since 1970 trams have used it every ten minutes.";

    #[test]
    fn a_copy_with_another_value_is_an_alarm() {
        let altered = TEXT.replace("1856", "1900");
        let other = "Trams have been running in the city since the summer of 1970, when the new line to the lake was opened.";
        let copies = Copies::find(&[TEXT, other, &altered, TEXT]);
        assert_eq!([0, 1, 2, 3].map(|at| copies.group(at)), [0, 1, 0, 0]);
        let alarms: Vec<_> = copies
            .alarms()
            .iter()
            .map(|alarm| (alarm.first, alarm.second, alarm.first_value.as_str()))
            .collect();
        assert_eq!(alarms, [(0, 2, "1856"), (2, 3, "1900")]);
        let alarm = &copies.alarms()[0];
        assert_eq!(&altered[alarm.second_span.clone()], "1900");
        let renamed = TEXT.replace("Karl Meier", "Anna Huber");
        let copies = Copies::find(&[TEXT, &renamed]);
        assert_eq!(
            (copies.alarms()[0].first_value.as_str(), copies.alarms()[0].second_value.as_str()),
            ("Karl Meier", "Anna Huber")
        );
    }

    #[test]
    fn writing_a_value_otherwise_is_no_alarm() {
        let same = TEXT.replace("230 m", "0.23 km");
        let copies = Copies::find(&[TEXT, &same]);
        assert_eq!((copies.group(1), copies.alarms().len()), (0, 0));
    }

    #[test]
    fn chinese_and_odd_texts() {
        let text = "老桥位于河上，由工程师王明于1856年设计建造，全长二百三十米，双向两车道，一九五一年加宽，此后一直使用。";
        let altered = text.replace("二百三十", "三百二十");
        let copies = Copies::find(&[text, &altered, "", "👩‍🚀", "a"]);
        assert_eq!((copies.group(1), copies.group(2), copies.group(4), copies.group(99)), (0, 2, 4, 99));
        assert_eq!(copies.alarms()[0].second_value, "三百二十米");
    }

    #[test]
    fn cost_does_not_grow_with_all_pairs() {
        let many: Vec<String> =
            (0..3000).map(|at| format!("{TEXT} Copy number {at} of a page that everybody has.")).collect();
        let texts: Vec<&str> = many.iter().map(String::as_str).collect();
        let long = "word ".repeat(2_000_000);
        let copies = Copies::find(&[&texts[..], &[long.as_str(), long.as_str()]].concat());
        assert_eq!((copies.group(2999), copies.group(3001)), (0, 3000));
    }
}
