//! Numbers in words and digits: "two hundred", "3rd", 三千二百, 百分之五.

use super::tokens::{Token, TokenKind};

/// A number without unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numeral {
    /// Its value.
    pub value: f64,
    /// Whether it counts a place in a row.
    pub ordinal: bool,
    /// Whether it is written as hundredths (百分之).
    pub share: bool,
    /// One past its last token.
    pub last: usize,
}

/// The number that begins at a token.
pub(super) fn numeral(tokens: &[Token], at: usize) -> Option<Numeral> {
    let token = tokens.get(at)?;
    match token.kind {
        TokenKind::Number => digits(tokens, at),
        TokenKind::Word => words(tokens, at),
        TokenKind::Han => han(tokens, at),
        TokenKind::Mark => None,
    }
}

fn digits(tokens: &[Token], at: usize) -> Option<Numeral> {
    let mut value: f64 = tokens[at].text.parse().ok()?;
    let before = |back: usize| at.checked_sub(back).and_then(|index| tokens.get(index));
    // A minus sign touches its number and nothing before it, else it is a dash or a range.
    let minus = before(1).is_some_and(|mark| {
        let free = before(2).is_none_or(|other| other.end < mark.start || other.text == "(");
        mark.text == "-" && mark.end == tokens[at].start && free
    });
    if minus {
        value = -value;
    }
    let suffix = tokens.get(at + 1).filter(|next| next.start == tokens[at].end);
    let ordinal = suffix.is_some_and(|next| matches!(next.text.as_str(), "st" | "nd" | "rd" | "th"));
    Some(Numeral { value, ordinal, share: false, last: at + 1 + usize::from(ordinal) })
}

const UNITS: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: &[&str] = &["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const ORDINALS: &[&str] = &[
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
];

fn index(list: &[&str], word: &str) -> Option<f64> {
    list.iter().position(|entry| *entry == word).map(|index| index as f64)
}

/// A number in English words. "one" alone is rather a pronoun, and "first" and "second" have other uses: none of them is
/// a number by itself.
fn words(tokens: &[Token], at: usize) -> Option<Numeral> {
    if let Some(place) = index(ORDINALS, &tokens[at].text) {
        return Some(Numeral { value: place + 3.0, ordinal: true, share: false, last: at + 1 });
    }
    let (mut total, mut last) = (0.0, at);
    let mut pieces = 0;
    while let Some(token) = tokens.get(last) {
        let value = index(UNITS, &token.text).or(index(TENS, &token.text).map(|tens| 10.0 * tens + 20.0));
        if let Some(value) = value {
            let tens = total > 0.0 && total % 100.0 >= 20.0 && total % 10.0 == 0.0;
            let fits = pieces == 0
                || (tens && value < 10.0)
                || (total > 0.0 && total % 100.0 == 0.0 && value < 100.0);
            if !fits {
                break;
            }
            total += value;
        } else if token.text == "hundred" && pieces > 0 && total > 0.0 && total < 100.0 {
            total *= 100.0;
        } else if matches!(token.text.as_str(), "-" | "and") && pieces > 0 {
            let next = tokens.get(last + 1).map(|next| next.text.as_str()).unwrap_or_default();
            let hundreds = token.text == "and" && total >= 100.0 && total % 100.0 == 0.0;
            let tens = token.text == "-" && total % 100.0 >= 20.0 && total % 10.0 == 0.0;
            let value = index(UNITS, next).is_some_and(|unit| unit < 10.0 || hundreds);
            let joins = (hundreds && (value || index(TENS, next).is_some())) || (tens && value);
            if !joins {
                break;
            }
            last += 1;
            continue;
        } else {
            break;
        }
        pieces += 1;
        last += 1;
    }
    let magnitude = tokens.get(last).is_some_and(|next| super::units::magnitude(&next.text, false).is_some());
    let alone = last == at + 1 && matches!(tokens[at].text.as_str(), "one" | "zero") && !magnitude;
    (pieces > 0 && !alone).then_some(Numeral { value: total, ordinal: false, share: false, last })
}

fn han_digit(token: &Token) -> Option<f64> {
    let digit = match token.text.as_str() {
        "零" | "〇" => 0,
        "一" => 1,
        "二" | "两" | "兩" => 2,
        "三" => 3,
        "四" => 4,
        "五" => 5,
        "六" => 6,
        "七" => 7,
        "八" => 8,
        "九" => 9,
        _ => return None,
    };
    Some(f64::from(digit))
}

fn han_power(token: &Token) -> Option<f64> {
    Some(match token.text.as_str() {
        "十" => 10.0,
        "百" => 100.0,
        "千" => 1000.0,
        _ => return None,
    })
}

/// Words that count, behind which a single Chinese digit is a number and no part of another word.
const MEASURES: &str =
    "年月日号个名位人次家座条只台辆项岁天周届倍层米公厘毫英吨斤克升元美欧万亿亩度秒分小艘架枚所本部篇";

/// A number in Chinese characters; 第 before it makes it a place in a row, 百分之 hundredths.
fn han(tokens: &[Token], at: usize) -> Option<Numeral> {
    let text = |index: usize| tokens.get(index).map(|token| token.text.as_str()).unwrap_or_default();
    if text(at) == "第" {
        let inner = numeral(tokens, at + 1).filter(|_| tokens.get(at + 1).is_some_and(|t| t.text != "第"));
        let single = || {
            let value = tokens.get(at + 1).and_then(han_digit)?;
            Some(Numeral { value, ordinal: true, share: false, last: at + 2 })
        };
        return inner.map(|number| Numeral { ordinal: true, ..number }).or_else(single);
    }
    if text(at) == "百" && text(at + 1) == "分" && text(at + 2) == "之" {
        let inner = run(tokens, at + 3).or_else(|| {
            let value =
                tokens.get(at + 3).filter(|token| token.kind == TokenKind::Number)?.text.parse().ok()?;
            Some((value, at + 4))
        })?;
        return Some(Numeral { value: inner.0, ordinal: false, share: true, last: inner.1 });
    }
    let (value, last) = run(tokens, at)?;
    let single = last == at + 1;
    let counted = tokens.get(last).is_some_and(|next| MEASURES.contains(next.text.as_str()));
    let none =
        single && (!counted || text(at) == "一" || han_power(&tokens[at]).is_some_and(|power| power > 10.0));
    (!none).then_some(Numeral { value, ordinal: false, share: false, last })
}

/// A run of Chinese digits and powers of ten up to 千: by places (三千二百) or digit by digit (二〇二〇).
fn run(tokens: &[Token], at: usize) -> Option<(f64, usize)> {
    let (mut total, mut digits, mut last, mut powers) = (0.0, 0.0, at, 0);
    let mut pending = 0;
    while let Some(token) = tokens.get(last).filter(|_| last - at < 12) {
        if let Some(digit) = han_digit(token) {
            let zero = digit == 0.0 && powers > 0;
            digits = if powers > 0 { digit } else { digits * 10.0 + digit };
            pending += usize::from(!zero);
        } else if let Some(power) = han_power(token) {
            let factor = if pending > 0 {
                digits
            } else if power == 10.0 {
                1.0
            } else {
                break;
            };
            total += factor * power;
            (digits, pending, powers) = (0.0, 0, powers + 1);
        } else {
            break;
        }
        last += 1;
    }
    (last > at).then_some((total + digits, last))
}
