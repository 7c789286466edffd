//! Numbers, dates and amounts of a text, made comparable: "1 , 200" is 1,200 is 1.2 thousand; 3 km is 3000 m.

use super::dates::{self, Date};
use super::numerals;
use super::tokens::{Token, TokenKind};
use super::units::{self, Dimension, Unit};

/// What words before a number say of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound {
    /// Nothing.
    #[default]
    Exactly,
    /// About, some, nearly.
    About,
    /// More than, at least, over.
    AtLeast,
    /// Less than, at most, under.
    AtMost,
}

/// What a quantity is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number, with its unit where one stands beside it.
    Number {
        /// As written, words and magnitudes worked out.
        value: f64,
        /// Its unit.
        unit: Option<Unit>,
    },
    /// Third, 3rd, 第三.
    Ordinal(f64),
    /// A day, a month or a year.
    Date(Date),
}

/// A number, an amount or a date in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// What it is.
    pub value: Value,
    /// What is said of it.
    pub bound: Bound,
    /// Its first token.
    pub first: usize,
    /// One past its last token.
    pub last: usize,
}

/// How two quantities relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They say the same.
    Same,
    /// They may both be true: one is a rounding of the other, one is less exact, or they measure different things.
    Open,
    /// Of one kind, and different.
    Different,
}

const TOLERANCE: f64 = 1e-6;

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

fn numbers(a: (f64, Option<Unit>), b: (f64, Option<Unit>)) -> Relation {
    let base = |(value, unit): (f64, Option<Unit>)| unit.map_or(value, |u| value * u.factor + u.offset);
    match (a.1, b.1) {
        (Some(u), Some(v)) if u.dimension != v.dimension => {
            let money = |unit: Unit| matches!(unit.dimension, Dimension::Money(_));
            if money(u) && money(v) { Relation::Different } else { Relation::Open }
        }
        (Some(u), Some(v)) => {
            // A converted value is a rounded one.
            let converted = u.factor != v.factor && u.factor / v.factor != (u.factor / v.factor).round();
            let converted = converted && v.factor / u.factor != (v.factor / u.factor).round();
            let tolerance = if converted { 0.006 } else { TOLERANCE };
            if near(base(a), base(b), tolerance) { Relation::Same } else { Relation::Different }
        }
        (None, None) if near(a.0, b.0, TOLERANCE) => Relation::Same,
        (None, None) => Relation::Different,
        // A table has its units elsewhere: "5 %" may stand there as 5. A bare number in a claim is no amount of money.
        (Some(_), None) if near(a.0, b.0, TOLERANCE) => Relation::Same,
        _ => Relation::Open,
    }
}

impl Quantity {
    /// Whether `found` says what `self` says. A date says all that is contained in it: a day its month and its year.
    pub fn relation(&self, found: &Quantity) -> Relation {
        let relation = match (self.value, found.value) {
            (Value::Number { value: a, unit: u }, Value::Number { value: b, unit: v }) => {
                numbers((a, u), (b, v))
            }
            (Value::Ordinal(a), Value::Ordinal(b)) if near(a, b, TOLERANCE) => Relation::Same,
            (Value::Ordinal(_), Value::Ordinal(_)) => Relation::Different,
            (Value::Date(a), Value::Date(b)) => a.relation(b),
            // Four digits may be a year or a count: written with grouping or in words they are a count.
            (Value::Number { value, unit: None }, Value::Date(date))
            | (Value::Date(date), Value::Number { value, unit: None })
                if date.bare_year().is_some_and(|year| near(value, f64::from(year), TOLERANCE)) =>
            {
                Relation::Same
            }
            _ => Relation::Open,
        };
        let rounded = relation == Relation::Different && self.rounds(found);
        if rounded { Relation::Open } else { relation }
    }

    /// Whether a bound or a rounding on either side lets both be true.
    fn rounds(&self, found: &Quantity) -> bool {
        let (Value::Number { value: a, unit: u }, Value::Number { value: b, unit: v }) =
            (self.value, found.value)
        else {
            return false;
        };
        if u.map(|unit| unit.dimension) != v.map(|unit| unit.dimension) {
            return false;
        }
        let base =
            |value: f64, unit: Option<Unit>| unit.map_or(value, |unit| value * unit.factor + unit.offset);
        let (a, b) = (base(a, u), base(b, v));
        let holds = |bound: Bound, a: f64, b: f64| match bound {
            Bound::Exactly => false,
            Bound::About => near(a, b, 0.1),
            Bound::AtLeast => b >= a,
            Bound::AtMost => b <= a,
        };
        holds(self.bound, a, b) || holds(found.bound, b, a)
    }

    /// What is compared as a date by its year alone: a bare number from 1000 to 2100.
    fn year(token: &Token) -> Option<i32> {
        let plain = token.text.len() == 4 && token.end - token.start == 4;
        token.text.parse().ok().filter(|year| plain && (1000..=2100).contains(year))
    }
}

/// Every quantity of a text, in its order.
pub fn quantities(tokens: &[Token]) -> Vec<Quantity> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((date, last)) = dates::date(tokens, at) {
            found.push(Quantity { value: Value::Date(date), bound: bound(tokens, at), first: at, last });
            at = last;
        } else if let Some(quantity) = amount(tokens, at) {
            at = quantity.last;
            found.push(quantity);
        } else {
            at += 1;
        }
    }
    found
}

/// The number that begins at a token, with currency, magnitude and unit.
fn amount(tokens: &[Token], at: usize) -> Option<Quantity> {
    let currency = currency_before(tokens, at);
    let number_at = currency.map_or(at, |(_, next)| next);
    let numeral = numerals::numeral(tokens, number_at)?;
    let touching = |last: usize| tokens.get(last).is_some_and(|next| tokens[last - 1].end == next.start);
    if numeral.ordinal {
        return Some(Quantity {
            value: Value::Ordinal(numeral.value),
            bound: Bound::Exactly,
            first: at,
            last: numeral.last,
        });
    }
    let (mut value, mut last) = (numeral.value, numeral.last);
    while let Some(factor) =
        tokens.get(last).and_then(|next| units::magnitude(&next.text, touching(last) || currency.is_some()))
    {
        value *= factor;
        last += 1;
    }
    let million =
        currency.is_some() && tokens.get(last).is_some_and(|next| matches!(next.text.as_str(), "m" | "b"));
    if million {
        value *= if tokens[last].text == "m" { 1e6 } else { 1e9 };
        last += 1;
    }
    let behind = if numeral.share { Some((percent(), last)) } else { unit_behind(tokens, last) };
    let (unit, last) = match (currency, behind) {
        (Some((unit, _)), Some((same, last))) if unit.dimension == same.dimension => (Some(unit), last),
        (Some((unit, _)), _) => (Some(unit), last),
        (None, Some((unit, last))) => (Some(unit), last),
        (None, None) => (None, last),
    };
    let plain = unit.is_none() && last == number_at + 1 && currency.is_none();
    let year = Quantity::year(&tokens[number_at]).filter(|_| plain);
    let value = match year {
        Some(year) => Value::Date(Date { year: Some(year), ..Date::default() }),
        None => Value::Number { value, unit },
    };
    Some(Quantity { value, bound: bound(tokens, at), first: at, last })
}

fn percent() -> Unit {
    Unit { dimension: Dimension::Share, factor: 1.0, offset: 0.0 }
}

/// A currency sign or code before a number, and where the number then begins.
fn currency_before(tokens: &[Token], at: usize) -> Option<(Unit, usize)> {
    let mut name = String::new();
    for (next, token) in tokens.iter().enumerate().skip(at).take(3) {
        if token.kind == TokenKind::Number {
            let unit = units::unit(&name, true).filter(|unit| matches!(unit.dimension, Dimension::Money(_)));
            return unit.map(|unit| (unit, next));
        }
        name.push_str(&token.text);
    }
    None
}

/// The unit that stands behind a number, and one past its last token. The longest name wins: `km/h` before `km`.
fn unit_behind(tokens: &[Token], at: usize) -> Option<(Unit, usize)> {
    // "a 230-metre tower": the hyphen is no part of the name.
    let from = at
        + usize::from(
            tokens.get(at).is_some_and(|token| token.text == "-")
                && at > 0
                && tokens[at - 1].end == tokens[at].start,
        );
    let mut name = String::new();
    let mut best = None;
    for next in from..tokens.len().min(from + 5) {
        name.push_str(&tokens[next].text);
        let touching = next == from && (tokens[from - 1].end == tokens[from].start || ends(tokens, next + 1));
        // "per cent" is written in two words.
        let whole = if name == "percent" { units::unit("%", true) } else { units::unit(&name, touching) };
        best = whole.map(|unit| (unit, next + 1)).or(best);
    }
    best
}

/// Whether no word follows that would make a letter part of something else.
fn ends(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_none_or(|token| !token.capital && token.kind != TokenKind::Number)
}

const ABOUT: &[&str] = &[
    "about",
    "around",
    "approximately",
    "nearly",
    "almost",
    "roughly",
    "some",
    "circa",
    "约",
    "大约",
    "近",
    "将近",
    "左右",
];
const AT_LEAST: &[&str] = &[
    "over",
    "exceeding",
    "above",
    "morethan",
    "atleast",
    "nofewerthan",
    "nolessthan",
    "upwardsof",
    "超过",
    "至少",
    "多于",
    "不少于",
    "逾",
    "高于",
];
const AT_MOST: &[&str] = &[
    "under",
    "below",
    "lessthan",
    "fewerthan",
    "atmost",
    "upto",
    "nomorethan",
    "不到",
    "不足",
    "少于",
    "至多",
    "最多",
    "低于",
    "不超过",
];

/// What the words before a number say of it: up to three tokens back.
fn bound(tokens: &[Token], at: usize) -> Bound {
    let mut name = String::new();
    let mut found = Bound::Exactly;
    for token in tokens[at.saturating_sub(3)..at].iter().rev() {
        name.insert_str(0, &token.text);
        let is = |names: &[&str]| names.contains(&name.as_str());
        found = if is(AT_MOST) {
            Bound::AtMost
        } else if is(AT_LEAST) {
            Bound::AtLeast
        } else if is(ABOUT) {
            Bound::About
        } else {
            found
        };
    }
    found
}
