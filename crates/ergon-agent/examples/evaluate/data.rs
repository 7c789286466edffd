//! The two files as values.

use serde_json::Value;

/// A claim of WiCE with the page that it cites.
pub(crate) struct Row {
    pub(crate) claim: String,
    pub(crate) label: String,
    pub(crate) title: String,
    pub(crate) evidence: Vec<String>,
    pub(crate) supporting: Vec<Vec<usize>>,
}

impl Row {
    /// Evidence sentences of all annotators.
    pub(crate) fn gold(&self) -> Vec<usize> {
        let mut gold: Vec<usize> = self.supporting.iter().flatten().copied().collect();
        gold.sort_unstable();
        gold.dedup();
        gold
    }

    pub(crate) fn supported(&self) -> bool {
        self.label == "supported"
    }
}

/// A document of RAMDocs with the answer that it gives.
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) answer: String,
}

/// A question of RAMDocs.
pub(crate) struct Question {
    pub(crate) question: String,
    pub(crate) documents: Vec<Document>,
    pub(crate) gold: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect(path);
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object per line")).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// The claims of the development split.
pub(crate) fn claims(folder: &str) -> Vec<Row> {
    let index = |value: &Value| value.as_u64().and_then(|at| usize::try_from(at).ok());
    let set = |value: &Value| list(value).iter().filter_map(index).collect();
    let row = |value: &Value| Row {
        claim: string(&value["claim"]),
        label: string(&value["label"]),
        title: string(&value["meta"]["claim_title"]),
        evidence: list(&value["evidence"]).iter().map(string).collect(),
        supporting: list(&value["supporting_sentences"]).iter().map(set).collect(),
    };
    lines(&format!("{folder}/wice-claim-dev.jsonl")).iter().map(row).collect()
}

/// The first questions.
pub(crate) fn questions(folder: &str) -> Vec<Question> {
    let document =
        |value: &Value| Document { text: string(&value["text"]), answer: string(&value["answer"]) };
    let question = |value: &Value| Question {
        question: string(&value["question"]),
        documents: list(&value["documents"]).iter().map(document).collect(),
        gold: list(&value["gold_answers"]).iter().map(string).collect(),
        wrong: list(&value["wrong_answers"]).iter().map(string).collect(),
    };
    lines(&format!("{folder}/ramdocs-first-250.jsonl")).iter().map(question).collect()
}
