//! Stop strings in a stream of text.

/// The longest stop string accepted, in bytes: text is held back for as long as it may still become one.
pub const MAX_STOP_BYTES: usize = 1024;

/// Cuts a stream of text at the first stop string, without ever letting out text that may belong to one.
///
/// The match that is complete first wins; of matches complete at the same byte, the longest. The result therefore
/// does not depend on how the text was split into pieces.
pub struct StopMatcher {
    stops: Vec<String>,
    /// Text that is the beginning of some stop string.
    held: String,
    matched: bool,
}

impl StopMatcher {
    /// Empty stop strings are left out: they would end every text before its first letter.
    pub fn new(stops: &[String]) -> StopMatcher {
        let stops = stops.iter().filter(|s| !s.is_empty()).cloned().collect();
        StopMatcher { stops, held: String::new(), matched: false }
    }

    /// Whether a stop string has been met; nothing is let out after it.
    pub fn is_matched(&self) -> bool {
        self.matched
    }

    /// Takes the next piece of text; gives what can be let out.
    pub fn push(&mut self, text: &str) -> String {
        if self.matched {
            return String::new();
        }
        if self.stops.is_empty() {
            return text.to_string();
        }
        self.held.push_str(text);
        if let Some(start) = self.first_match() {
            self.matched = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let keep = self.held.len() - self.held_back();
        let rest = self.held.split_off(keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// The text has ended: gives what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Start of the match that ends first.
    fn first_match(&self) -> Option<usize> {
        let matches =
            self.stops.iter().filter_map(|s| self.held.find(s.as_str()).map(|at| (at + s.len(), at)));
        matches.min().map(|(_, start)| start)
    }

    /// Bytes at the end of `held` that begin some stop string.
    fn held_back(&self) -> usize {
        let bytes = self.held.as_bytes();
        let longest = |stop: &String| {
            let stop = stop.as_bytes();
            let most = bytes.len().min(stop.len().saturating_sub(1));
            (1..=most)
                .rev()
                .find(|&n| bytes.ends_with(&stop[..n]) && self.held.is_char_boundary(bytes.len() - n))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer and whether it was stopped, for one way of splitting the text.
    fn run<'a>(stops: &[&str], pieces: impl IntoIterator<Item = &'a str>) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            out.push_str(&matcher.push(piece));
            for stop in &stops {
                assert!(stop.is_empty() || !out.contains(stop.as_str()), "{stop:?} was let out in {out:?}");
            }
        }
        out.push_str(&matcher.finish());
        (out, matcher.is_matched())
    }

    /// Every split into one, two and single-character pieces gives the same.
    fn check(stops: &[&str], text: &str, expected: &str, stopped: bool) {
        let expected = (expected.to_string(), stopped);
        assert_eq!(run(stops, [text]), expected, "{stops:?} {text:?}");
        for (at, _) in text.char_indices() {
            assert_eq!(run(stops, [&text[..at], &text[at..]]), expected, "{stops:?} {text:?} at {at}");
        }
        let chars: Vec<String> = text.chars().map(String::from).collect();
        assert_eq!(run(stops, chars.iter().map(String::as_str)), expected, "{stops:?} {text:?} by letters");
    }

    #[test]
    fn cuts_before_the_stop_string() {
        check(&["END"], "the text END and more", "the text ", true);
        check(&["END"], "the text", "the text", false);
        check(&["END"], "ENDless", "", true);
        check(&["\n\n", "###"], "a\nb\n\nc###", "a\nb", true);
        check(&[], "anything", "anything", false);
        check(&[""], "anything", "anything", false);
    }

    #[test]
    fn a_beginning_that_came_to_nothing_is_given_back() {
        check(&["END"], "ENEN the E", "ENEN the E", false);
        check(&["aab"], "aaab", "a", true);
        check(&["abcabd"], "abcabcabd!", "abc", true);
    }

    #[test]
    fn the_match_that_is_complete_first_wins() {
        check(&["abc", "b"], "xabc", "xa", true);
        check(&["b", "ab"], "xab", "x", true);
        check(&["cd", "bcde"], "abcde", "ab", true);
    }

    #[test]
    fn letters_of_several_bytes_stay_whole() {
        check(&["é終"], "caf\u{e9}終 x", "caf", true);
        check(&["終わり"], "終終わ終わり", "終終わ", true);
        // U+00E9 and U+00E8 share their first byte.
        check(&["è"], "é", "é", false);
    }

    #[test]
    fn nothing_is_held_without_need() {
        let mut matcher = StopMatcher::new(&["STOP".to_string()]);
        assert_eq!(matcher.push("hello S"), "hello ");
        assert_eq!(matcher.push("T"), "");
        assert_eq!(matcher.push("x"), "STx");
    }
}
