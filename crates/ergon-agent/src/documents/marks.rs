//! What a document says about itself: date, origin, and whether a model wrote it. Front matter, the head of a page, the
//! properties of a PDF, a file beside it, and the mark that this program puts on its own output.

use ergon_types::Author;

/// What is told about a document, by itself or by a file beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Where it comes from.
    pub origin: Option<String>,
    /// Its title.
    pub title: Option<String>,
    /// Whether a model wrote it.
    pub author: Author,
}

/// Reads a sidecar `FILE.ergon.json`: entries as `(name, value)`. Given by the caller, since libraries keep out of JSON.
pub type MarksReader = fn(&[u8]) -> Option<Vec<(String, String)>>;

/// The longest front matter, in bytes.
const MAX_FRONT_BYTES: usize = 8 << 10;
/// Lines of a plain header (`Date: …`) at the head of a text.
const MAX_HEADER_LINES: usize = 12;
/// Where this program's own mark is looked for: it stands first in its JSON and last in its plain output.
const MARK_HEAD_CHARS: usize = 600;
const MARK_TAIL_CHARS: usize = 300;
/// That mark, in plain text and in JSON.
const OWN_MARKS: [&str; 2] = ["generated_by: ergon", "\"generated_by\": \"ergon"];

impl Marks {
    /// Takes over what `name: value` says. A document can be marked as a model's by any of its marks and unmarked by none.
    pub(super) fn take(&mut self, name: &str, value: &str) {
        let value = value.trim().trim_matches(['"', '\'']).trim();
        if value.is_empty() {
            return;
        }
        match name.trim().to_ascii_lowercase().as_str() {
            "date"
            | "published"
            | "article:published_time"
            | "dc.date"
            | "datepublished"
            | "last_modified" => {
                self.date = self.date.take().or_else(|| date_in(value));
            }
            "creationdate" => self.date = self.date.take().or_else(|| pdf_date(value)),
            "origin" | "source" | "url" | "canonical" | "publisher" | "og:url" => {
                self.origin.get_or_insert_with(|| short(value));
            }
            "title" => {
                self.title.get_or_insert_with(|| short(value));
            }
            "author" | "written_by" | "dc.creator" if is_model(value) => self.author = Author::Model,
            "generated_by" | "generated-by" | "ai_generated" | "ai-generated" if !is_denied(value) => {
                self.author = Author::Model;
            }
            _ => {}
        }
    }

    /// Marks in the text itself: front matter or a plain header, and this program's own mark.
    pub(super) fn of_text(&mut self, text: &str) {
        let front = front_matter(text).map_or_else(|| header(text), |range| &text[range]);
        self.lines(front);
        let head = &text[..byte_of(text, MARK_HEAD_CHARS)];
        let tail: usize = text.chars().rev().take(MARK_TAIL_CHARS).map(char::len_utf8).sum();
        let tail = &text[text.len() - tail..];
        if OWN_MARKS.iter().any(|mark| head.contains(mark) || tail.contains(mark)) {
            self.author = Author::Model;
        }
    }

    /// Lines `name: value` (or `name = value`).
    pub(super) fn lines(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((name, value)) = line.split_once(':').or_else(|| line.split_once('=')) {
                self.take(name, value);
            }
        }
    }
}

fn short(value: &str) -> String {
    value.chars().take(500).collect()
}

fn is_model(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    ["model", "ai", "llm", "language model", "language-model", "assistant", "machine", "模型"]
        .contains(&value.as_str())
}

/// Whether a mark says that no model wrote it.
fn is_denied(value: &str) -> bool {
    ["no", "none", "false", "human", "0"].contains(&value.to_ascii_lowercase().as_str())
}

/// The front matter of a text with its fences: `---` or `+++` on the first line, and again on a later one.
pub(super) fn front_matter(text: &str) -> Option<std::ops::Range<usize>> {
    let start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let rest = &text[start..];
    let fence = ["---", "+++"].into_iter().find(|fence| {
        rest.strip_prefix(fence).is_some_and(|after| after.starts_with('\n') || after.starts_with("\r\n"))
    })?;
    let mut at = 0;
    for (index, line) in rest.split_inclusive('\n').enumerate() {
        at += line.len();
        if at > MAX_FRONT_BYTES {
            return None;
        }
        if index > 0 && line.trim_end() == fence {
            return Some(start..start + at);
        }
    }
    None
}

/// The lines `Name: value` at the head of a text, up to the first that is none.
fn header(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n').take(MAX_HEADER_LINES) {
        let is_entry = line.split_once(':').is_some_and(|(name, _)| {
            name.len() <= 20 && !name.trim().is_empty() && !name.trim().contains(' ')
        });
        if !is_entry {
            break;
        }
        end += line.len();
    }
    &text[..end]
}

/// Byte at which the character number `chars` begins.
fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}

/// The first date in a value, as `YYYY-MM-DD`: 2024-05-01, 2024/5/1, 2024.5.1, 2024年5月1日.
fn date_in(value: &str) -> Option<String> {
    let mut numbers = value.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let year = numbers.by_ref().find(|part| part.len() == 4)?;
    let (month, day) = (numbers.next()?, numbers.next()?);
    checked_date(year, month, day)
}

fn pdf_date(value: &str) -> Option<String> {
    let digits: String = value.trim_start_matches("D:").chars().take_while(char::is_ascii_digit).collect();
    checked_date(digits.get(..4)?, digits.get(4..6)?, digits.get(6..8)?)
}

fn checked_date(year: &str, month: &str, day: &str) -> Option<String> {
    let (month, day): (u32, u32) = (month.parse().ok()?, day.parse().ok()?);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| format!("{year}-{month:02}-{day:02}"))
}

/// The date of a moment, in UTC, from seconds since 1970.
pub(super) fn date_of_seconds(seconds: i64) -> String {
    // Days to a civil date, by Howard Hinnant's algorithm over eras of 400 years.
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Marks {
        let mut marks = Marks::default();
        marks.of_text(text);
        marks
    }

    #[test]
    fn front_matter_and_headers_are_read() {
        let marks = of("---\ntitle: \"T\"\ndate: 2024-5-1T10:00\nsource: http://x/y\n---\nText.\n");
        assert_eq!(marks.date.as_deref(), Some("2024-05-01"));
        assert_eq!(marks.origin.as_deref(), Some("http://x/y"));
        assert_eq!((marks.title.as_deref(), marks.author), (Some("T"), Author::Unmarked));
        assert_eq!(of("Date: 2023年2月3日\nSource: press\n\nText.").date.as_deref(), Some("2023-02-03"));
        assert_eq!(of("---\nnot closed: x\n"), Marks::default());
    }

    #[test]
    fn what_a_model_wrote_is_known() {
        for text in [
            "---\nauthor: model\n---\nx",
            "---\r\ngenerated_by: some-model 3\r\n---\r\nx",
            "Author: AI\n\nx",
            "{\n  \"generated_by\": \"ergon ask\",\n",
            "answer\n\ngenerated_by: ergon verify\n",
        ] {
            assert_eq!(of(text).author, Author::Model, "{text}");
        }
        for text in ["---\nauthor: A. Model\n---\nx", "generated_by: human\n", "The author: AI is a topic."] {
            assert_eq!(of(text).author, Author::Unmarked, "{text}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date_of_seconds(0), "1970-01-01");
        assert_eq!(date_of_seconds(951_782_400), "2000-02-29");
        assert_eq!(pdf_date("D:20240131120000Z").as_deref(), Some("2024-01-31"));
        assert_eq!(date_in("2024-13-01"), None);
    }
}
