//! What chat templates may call beyond the template language itself, as `transformers` provides it.

use minijinja::{
    Error, ErrorKind, State,
    value::{Kwargs, Value, ValueKind},
};
use std::fmt;

/// Deepest nesting written by `tojson`.
const MAX_DEPTH: usize = 64;

/// The message of a `raise_exception`, kept as the source of the engine's error to be found again.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// `raise_exception(message)`: the template's way to refuse a conversation.
pub(super) fn raise_exception(message: Value) -> Result<Value, Error> {
    let text: String = message.to_string().chars().take(300).collect();
    Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(text)))
}

/// Methods of Python's strings, lists and dictionaries.
pub(super) fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let (Some(format), "format") = (value.as_str(), name) {
        check_format(state, format, args)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// `str.format` makes its result before it is paid for: `'{:>999999999}'` asks for a gigabyte, and `'{0}{0}…'` for as many
/// copies of an argument. So the copies are paid for beforehand, and widths stay below a thousand.
fn check_format(state: &State, format: &str, args: &[Value]) -> Result<(), Error> {
    let refuse = |what: &'static str| Err(Error::new(ErrorKind::InvalidOperation, what));
    let mut digits = 0;
    for byte in format.bytes() {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        if digits > 3 {
            return refuse("str.format: a width or precision of more than three digits");
        }
    }
    let fields = format.bytes().filter(|byte| *byte == b'{').count();
    let mut bytes = 1024;
    for arg in args {
        match (arg.as_str(), arg.kind()) {
            (Some(text), _) => bytes += text.len(),
            (None, ValueKind::Undefined | ValueKind::None | ValueKind::Bool | ValueKind::Number) => {}
            _ => return refuse("str.format: only texts and numbers can be formatted"),
        }
    }
    state.consume_fuel((fields as u64).saturating_mul(bytes as u64) / 64)
}

/// `tojson`, which here is Python's `json.dumps(value, ensure_ascii=False, …)` and does not escape for HTML as the
/// template language's own filter does.
pub(super) fn tojson(
    state: &State,
    value: Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let given: Option<Value> = kwargs.get("indent")?;
    let indent = match given.or(indent) {
        None => None,
        Some(value) if value.is_none() => None,
        Some(value) => match (value.as_usize(), value.as_str()) {
            (Some(n), _) if n <= 16 => Some(" ".repeat(n)),
            (None, Some(text)) if text.len() <= 16 => Some(text.to_string()),
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "tojson: indent is not a small number or text",
                ));
            }
        },
    };
    let default_item = if indent.is_some() { "," } else { ", " };
    let (item, key) = match kwargs.get::<Option<Value>>("separators")?.filter(|value| !value.is_none()) {
        None => (default_item.to_string(), ": ".to_string()),
        Some(pair) => {
            let part = |index| pair.get_item_by_index(index).map(|value| value.to_string());
            (part(0)?, part(1)?)
        }
    };
    let mut writer = JsonWriter {
        state,
        out: String::new(),
        paid: 0,
        indent,
        item,
        key,
        ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    writer.value(&value, 0)?;
    Ok(Value::from_safe_string(writer.out))
}

struct JsonWriter<'a, 'env> {
    state: &'a State<'a, 'env>,
    out: String,
    /// Bytes of `out` already paid for.
    paid: usize,
    indent: Option<String>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
}

impl JsonWriter<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        // A list that holds another twice, forty levels deep, has 2^40 leaves: pay for each as it is visited, and for
        // what has been written since the last.
        self.state.consume_fuel(1 + (self.out.len() - self.paid) as u64 / 16)?;
        self.paid = self.out.len();
        if depth > MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&python_number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("tojson: {other} cannot be written"),
                ));
            }
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.separate(&mut empty, depth);
            self.value(&item, depth + 1)?;
        }
        self.close(']', empty, depth);
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort {
            keys.sort();
        }
        self.out.push('{');
        let mut empty = true;
        for key in keys {
            self.separate(&mut empty, depth);
            match key.kind() {
                ValueKind::String => self.string(key.as_str().unwrap_or_default())?,
                ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" })?,
                ValueKind::None => self.string("null")?,
                _ => self.string(&python_number(&key))?,
            }
            let separator = self.key.clone();
            self.out.push_str(&separator);
            self.value(&value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', empty, depth);
        Ok(())
    }

    fn separate(&mut self, empty: &mut bool, depth: usize) {
        if !std::mem::replace(empty, false) {
            self.out.push_str(&self.item);
        }
        self.new_line(depth + 1);
    }

    fn close(&mut self, bracket: char, empty: bool, depth: usize) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.state.consume_fuel(text.len() as u64 / 16)?;
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

/// A number as Python writes it: the engine's own text, which follows Python, but for the JSON names of what is no number.
fn python_number(value: &Value) -> String {
    match value.to_string().as_str() {
        "inf" => "Infinity".to_string(),
        "-inf" => "-Infinity".to_string(),
        "nan" => "NaN".to_string(),
        text => text.to_string(),
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `strftime_now(format)` for the moment `unix_s` in UTC: the directives of C's `strftime` that templates use. Others
/// are errors rather than silently wrong text.
pub(super) fn strftime(format: &str, unix_s: i64) -> Result<String, Error> {
    let (days, second_of_day) = (unix_s.div_euclid(86_400), unix_s.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let month_name = MONTHS[(month - 1) as usize];
    let day_name = DAYS[(days + 4).rem_euclid(7) as usize];
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let padded = directive != Some('-');
        if !padded {
            directive = chars.next();
        }
        let two = |n: i64| if padded { format!("{n:02}") } else { n.to_string() };
        out.push_str(&match directive {
            Some('Y') => year.to_string(),
            Some('y') => two(year.rem_euclid(100)),
            Some('m') => two(month),
            Some('d') => two(day),
            Some('e') => format!("{day:2}"),
            Some('H') => two(hour),
            Some('I') => two(hour12),
            Some('M') => two(minute),
            Some('S') => two(second),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_string(),
            Some('B') => month_name.to_string(),
            Some('b' | 'h') => month_name[..3].to_string(),
            Some('A') => day_name.to_string(),
            Some('a') => day_name[..3].to_string(),
            Some('j') => format!("{:03}", days - days_from_civil(year, 1, 1) + 1),
            Some('F') => format!("{year}-{month:02}-{day:02}"),
            Some('T') => format!("{hour:02}:{minute:02}:{second:02}"),
            Some('Z') => "UTC".to_string(),
            Some('z') => "+0000".to_string(),
            Some('%') => "%".to_string(),
            other => {
                let what = format!("strftime_now: the directive %{} is not supported", other.unwrap_or(' '));
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            }
        });
    }
    Ok(out)
}

/// Year, month and day of a day count since 1970-01-01 in the proleptic Gregorian calendar: 400 years are 146 097 days,
/// and counting years from March puts the leap day last.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |unix_s, format: &str| strftime(format, unix_s).expect("known directives");
        assert_eq!(at(0, "%Y-%m-%d %H:%M:%S %a %j"), "1970-01-01 00:00:00 Thu 001");
        assert_eq!(at(951_782_400, "%d %b %Y, %A"), "29 Feb 2000, Tuesday");
        assert_eq!(at(1_735_689_599, "%B %-d %Y %I:%M %p %j"), "December 31 2024 11:59 PM 366");
        assert_eq!(at(-1, "%F %T"), "1969-12-31 23:59:59");
        assert!(strftime("%Q", 0).is_err());
        assert!(strftime("%", 0).is_err());
    }

    #[test]
    fn days_and_dates_invert_each_other() {
        for days in (-800_000..800_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
    }
}
