//! Other ways to search for the same thing: a question rarely has the words of its answer.

use std::collections::BTreeSet;

use crate::documents::{Retrieved, words};

/// Names taken from what was found, for a search that goes one step further.
const NAMES: usize = 6;
/// Words that ask and name nothing.
const ASKING: [&str; 34] = [
    "what", "which", "who", "whom", "whose", "when", "where", "why", "how", "many", "much", "long", "old",
    "is", "are", "was", "were", "do", "does", "did", "the", "a", "an", "of", "in", "on", "at", "to", "for",
    "please", "tell", "me", "name", "there",
];
const ASKING_CHINESE: [&str; 20] = [
    "什么时候",
    "什么",
    "多少",
    "哪一年",
    "哪年",
    "哪里",
    "哪个",
    "哪些",
    "哪家",
    "谁",
    "为什么",
    "怎么",
    "如何",
    "是否",
    "几",
    "请问",
    "吗",
    "呢",
    "何时",
    "何地",
];

/// Searches to be made one after the other until something is found, the question itself first.
pub(super) fn plain(question: &str) -> Vec<String> {
    let rest = without_chinese(question);
    let mut searches = vec![question.to_string(), naming(&rest).join(" ")];
    // The parts of a question that asks two things.
    for part in
        rest.split([',', '，', ';', '；']).flat_map(|part| part.split(" and ")).flat_map(|p| p.split("以及"))
    {
        if words(part).len() >= 2 {
            searches.push(part.trim().to_string());
        }
    }
    let mut seen = BTreeSet::new();
    searches.retain(|search| !search.trim().is_empty() && seen.insert(words(search)));
    searches
}

fn without_chinese(question: &str) -> String {
    ASKING_CHINESE.iter().fold(question.to_string(), |rest, word| rest.replace(word, " "))
}

/// The words of a text that do not ask.
fn naming(text: &str) -> Vec<&str> {
    text.split(|c: char| !(c.is_alphanumeric() || "-.'’".contains(c)))
        .filter(|word| !word.is_empty() && !ASKING.contains(&word.to_lowercase().as_str()))
        .collect()
}

/// What a question is about, in the words of the index.
pub(super) fn content(question: &str) -> BTreeSet<String> {
    words(&naming(&without_chinese(question)).join(" ")).into_iter().collect()
}

/// The question with the names that stand in the best sentences found: what its answer may be filed under.
pub(super) fn with_names(question: &str, found: &Retrieved) -> Option<String> {
    let asked: BTreeSet<String> = words(question).into_iter().collect();
    let mut names: Vec<&str> = Vec::new();
    for passage in found.passages.iter().take(3) {
        // The first word of a sentence has its capital from there.
        for word in passage.text.split_whitespace().skip(1) {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            let is_name = word.chars().count() > 1 && word.starts_with(char::is_uppercase);
            if is_name && !names.contains(&word) && !words(word).iter().all(|word| asked.contains(word)) {
                names.push(word);
            }
        }
    }
    names.truncate(NAMES);
    (!names.is_empty()).then(|| format!("{question} {}", names.join(" ")))
}

/// Words of the question that no passage holds, in the order of the question.
pub(super) fn not_found(question: &str, found: &[Retrieved]) -> Vec<String> {
    let held: BTreeSet<String> = found
        .iter()
        .flat_map(|retrieved| &retrieved.passages)
        .flat_map(|passage| words(&passage.text))
        .collect();
    let mut missing = Vec::new();
    for word in question.split(|c: char| !(c.is_alphanumeric() || "-.'’".contains(c))) {
        let stems = words(word);
        let is_asking = ASKING.contains(&word.to_lowercase().as_str());
        if !is_asking && !stems.is_empty() && stems.iter().all(|stem| !held.contains(stem)) {
            missing.push(word.to_string());
        }
    }
    missing.dedup();
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_loses_its_question_words() {
        let searches = plain("When was Acme founded, and who leads it?");
        assert_eq!(searches[0], "When was Acme founded, and who leads it?");
        assert!(searches.contains(&"When was Acme founded".to_string()), "{searches:?}");
        assert!(!content("When was Acme founded?").contains("when"));
        assert!(plain("公司什么时候成立？")[1..].iter().all(|search| !search.contains("什么")));
        assert_eq!(plain(""), Vec::<String>::new());
    }
}
