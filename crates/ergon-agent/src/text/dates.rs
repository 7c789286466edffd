//! Dates: March 5, 2020 is 5 March 2020 is 2020-03-05 is 2020年3月5日.

use super::numerals;
use super::quantities::Relation;
use super::tokens::{Token, TokenKind};

/// A date, as far as it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Date {
    /// The year.
    pub year: Option<i32>,
    /// The month, from 1.
    pub month: Option<u8>,
    /// The day of the month, from 1.
    pub day: Option<u8>,
    /// The years are the ten that begin here.
    pub decade: bool,
}

impl Date {
    /// The year, where nothing else is said.
    pub fn bare_year(self) -> Option<i32> {
        self.year.filter(|_| self.month.is_none() && self.day.is_none() && !self.decade)
    }

    /// Whether `found` contains what `self` says.
    pub fn relation(self, found: Date) -> Relation {
        let decade = self.decade != found.decade;
        let differ = |a: Option<i32>, b: Option<i32>| a.is_some() && b.is_some() && a != b;
        let years = match (self.year, found.year) {
            (Some(a), Some(b)) if decade => a / 10 != b / 10,
            (a, b) => differ(a, b),
        };
        let months = differ(self.month.map(i32::from), found.month.map(i32::from));
        let days = differ(self.day.map(i32::from), found.day.map(i32::from));
        let contained = (self.year.is_none() || found.year.is_some())
            && (self.month.is_none() || found.month.is_some())
            && (self.day.is_none() || found.day.is_some())
            && (self.decade || !found.decade);
        match (years || months || days, contained) {
            (true, _) => Relation::Different,
            (false, true) => Relation::Same,
            (false, false) => Relation::Open,
        }
    }
}

const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// The month of a word; short forms with or without their point. "may" and "march" need a number beside them.
fn month(token: Option<&Token>) -> Option<u8> {
    let token = token.filter(|token| token.kind == TokenKind::Word && token.capital)?;
    let is = |name: &&str| *name == token.text || (token.text.len() == 3 && name.starts_with(&token.text));
    let found = MONTHS.iter().position(is);
    let found = found.or((token.text == "sept").then_some(8))?;
    u8::try_from(found + 1).ok()
}

fn integer(token: Option<&Token>, low: i32, high: i32) -> Option<i32> {
    let token = token.filter(|token| token.kind == TokenKind::Number)?;
    token.text.parse().ok().filter(|value| (low..=high).contains(value))
}

fn year(token: Option<&Token>) -> Option<i32> {
    integer(token, 1000, 2100).filter(|_| token.is_some_and(|token| token.end - token.start == 4))
}

fn is(tokens: &[Token], at: usize, mark: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == mark)
}

fn small(value: i32) -> Option<u8> {
    u8::try_from(value).ok()
}

/// The date that begins at a token, and one past its last token. A bare year is a number with the looks of one, and left
/// to the caller.
pub(super) fn date(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    chinese(tokens, at)
        .or_else(|| digits(tokens, at))
        .or_else(|| decade(tokens, at))
        .or_else(|| month_first(tokens, at))
        .or_else(|| day_first(tokens, at))
}

/// `2020-03-05`, `2020/3/5`, `3/5/2020` where one of the two can only be a day.
fn digits(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    let touching = (at..at + 4)
        .all(|index| tokens.get(index).zip(tokens.get(index + 1)).is_some_and(|(a, b)| a.end == b.start));
    let mark =
        tokens.get(at + 1).map(|token| token.text.as_str()).filter(|mark| matches!(*mark, "-" | "/"))?;
    if !touching || !is(tokens, at + 3, mark) {
        return None;
    }
    if let Some(year) = year(tokens.get(at)) {
        let (month, day) = (integer(tokens.get(at + 2), 1, 12)?, integer(tokens.get(at + 4), 1, 31)?);
        return Some((
            Date { year: Some(year), month: small(month), day: small(day), decade: false },
            at + 5,
        ));
    }
    let year = year(tokens.get(at + 4))?;
    let (a, b) = (integer(tokens.get(at), 1, 31)?, integer(tokens.get(at + 2), 1, 31)?);
    let (month, day) = match (a > 12, b > 12) {
        (true, false) => (small(b), small(a)),
        (false, true) => (small(a), small(b)),
        (false, false) if a == b => (small(a), small(b)),
        _ => (None, None),
    };
    Some((Date { year: Some(year), month, day, decade: false }, at + 5))
}

/// `1990s`, `1990's`.
fn decade(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    let year = year(tokens.get(at)).filter(|year| year % 10 == 0)?;
    let apostrophe = usize::from(is(tokens, at + 1, "'"));
    let s = tokens.get(at + 1 + apostrophe).filter(|token| token.text == "s")?;
    let glued = tokens[at + apostrophe].end == s.start;
    glued.then_some((Date { year: Some(year), decade: true, ..Date::default() }, at + 2 + apostrophe))
}

/// A day's number, with or without `th`, and one past it.
fn day(tokens: &[Token], at: usize) -> Option<(u8, usize)> {
    let value = integer(tokens.get(at), 1, 31)?;
    let suffix = tokens.get(at + 1).is_some_and(|next| {
        next.start == tokens[at].end && matches!(next.text.as_str(), "st" | "nd" | "rd" | "th")
    });
    Some((small(value)?, at + 1 + usize::from(suffix)))
}

/// `March 5, 2020`, `March 5`, `March 2020`, `March, 2020`, `October`.
fn month_first(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    let month = month(tokens.get(at))?;
    let mut next = at + 1 + usize::from(is(tokens, at + 1, ".") && tokens[at].text.len() <= 4);
    let day = day(tokens, next).filter(|_| year(tokens.get(next)).is_none());
    next = day.map_or(next, |(_, after)| after);
    let comma = usize::from(is(tokens, next, ",") || is(tokens, next, "of"));
    let year = year(tokens.get(next + comma));
    let last = if year.is_some() { next + comma + 1 } else { next };
    let alone = day.is_none() && year.is_none();
    let word = alone
        && (tokens[at].text == "may"
            || tokens[at].text == "march"
            || tokens[at].text.len() <= 4 && tokens[at].first);
    (!word).then_some((Date { year, month: Some(month), day: day.map(|(day, _)| day), decade: false }, last))
}

/// `5 March 2020`, `5th of March`.
fn day_first(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    let (day, mut next) = day(tokens, at)?;
    next += usize::from(is(tokens, next, "of"));
    let month = month(tokens.get(next))?;
    next += 1 + usize::from(is(tokens, next + 1, ".") && tokens[next].text.len() == 3);
    let comma = usize::from(is(tokens, next, ","));
    let year = year(tokens.get(next + comma));
    let last = if year.is_some() { next + comma + 1 } else { next };
    Some((Date { year, month: Some(month), day: Some(day), decade: false }, last))
}

/// `2020年3月5日`, `2020年`, `3月5日`, digits or characters.
fn chinese(tokens: &[Token], at: usize) -> Option<(Date, usize)> {
    let part = |at: usize, units: &[&str], low: f64, high: f64| {
        let token = tokens.get(at)?;
        let number = match token.kind {
            TokenKind::Number => Some((token.text.parse::<f64>().ok()?, at + 1)),
            _ => numerals::numeral(tokens, at)
                .filter(|n| !n.ordinal && !n.share)
                .map(|n| (n.value, n.last))
                .or_else(|| (token.text == "一").then_some((1.0, at + 1))),
        };
        let (value, next) =
            number.filter(|(value, _)| (low..=high).contains(value) && value.fract() == 0.0)?;
        units.iter().any(|unit| is(tokens, next, unit)).then_some((value as i32, next + 1))
    };
    let mut date = Date::default();
    let mut next = at;
    if let Some((year, after)) = part(next, &["年"], 1000.0, 2100.0) {
        (date.year, next) = (Some(year), after);
    }
    if let Some((month, after)) = part(next, &["月"], 1.0, 12.0) {
        (date.month, next) = (small(month), after);
        if let Some((day, after)) = part(next, &["日", "号"], 1.0, 31.0) {
            (date.day, next) = (small(day), after);
        }
    }
    (next > at).then_some((date, next))
}
