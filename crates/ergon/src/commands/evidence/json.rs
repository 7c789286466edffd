//! Claims as JSON.

use ergon_agent::{
    ask::{Examined, Warning},
    documents::{Library, Skipped},
};
use ergon_types::{Author, Citation, Verdict};
use serde::Serialize;

/// A quotation with its place.
#[derive(Serialize)]
pub(crate) struct CitationJson {
    file: String,
    sha256: String,
    start_char: usize,
    end_char: usize,
    cited_text: String,
    group: usize,
    author: &'static str,
    /// Line of the file on which it begins; null where the text is extracted (HTML, PDF).
    line: Option<usize>,
    date: Option<String>,
    origin: Option<String>,
}

/// Two copies of one source that differ.
#[derive(Serialize)]
pub(crate) struct AlarmJson {
    first: String,
    second: String,
    first_value: String,
    second_value: String,
}

/// A file that was left out.
#[derive(Serialize)]
pub(crate) struct SkippedJson {
    file: String,
    reason: String,
}

/// A claim and what it came to.
#[derive(Serialize)]
pub(crate) struct ClaimJson {
    id: String,
    claim: String,
    verdict: &'static str,
    score: f32,
    /// Whether the gate cleared it to be shown as a fact.
    cleared: bool,
    reasons: Vec<String>,
    citations: Vec<CitationJson>,
    opposing: Vec<CitationJson>,
    alarms: Vec<AlarmJson>,
    /// What a model wrote about it: shown, and never evidence.
    model_written: Vec<CitationJson>,
}

impl CitationJson {
    pub(crate) fn new(citation: &Citation, library: &Library) -> CitationJson {
        CitationJson {
            file: citation.source.file.clone(),
            sha256: citation.source.sha256.clone(),
            start_char: citation.start_char,
            end_char: citation.end_char,
            cited_text: citation.cited_text.clone(),
            group: citation.group,
            author: match citation.source.author {
                Author::Unmarked => "unmarked",
                Author::Model => "model",
            },
            line: line(citation, library),
            date: citation.source.date.clone(),
            origin: citation.source.origin.clone(),
        }
    }

    pub(crate) fn all(citations: &[Citation], library: &Library) -> Vec<CitationJson> {
        citations.iter().map(|citation| CitationJson::new(citation, library)).collect()
    }
}

/// Line of a citation in its file, where the text is the file's own.
pub(super) fn line(citation: &Citation, library: &Library) -> Option<usize> {
    let document = library.document(&citation.source.file).ok()?;
    document.kind.keeps_text().then(|| document.line_of(citation.start_char))
}

impl AlarmJson {
    pub(crate) fn all(alarms: &[Warning]) -> Vec<AlarmJson> {
        let alarm = |alarm: &Warning| AlarmJson {
            first: alarm.first.file.clone(),
            second: alarm.second.file.clone(),
            first_value: alarm.first_value.clone(),
            second_value: alarm.second_value.clone(),
        };
        alarms.iter().map(alarm).collect()
    }
}

impl SkippedJson {
    pub(crate) fn all(skipped: &[Skipped]) -> Vec<SkippedJson> {
        skipped.iter().map(|s| SkippedJson { file: s.file.clone(), reason: s.reason.clone() }).collect()
    }
}

/// A verdict as the contract names it.
pub(crate) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Supported => "supported",
        Verdict::Refuted => "refuted",
        Verdict::NotEnough => "not_enough",
        Verdict::Contradicted => "contradicted",
    }
}

pub(crate) fn claim_json(examined: &Examined, library: &Library) -> ClaimJson {
    let checked = &examined.checked;
    ClaimJson {
        id: checked.claim.id.clone(),
        claim: checked.claim.text.clone(),
        verdict: verdict_name(checked.verdict),
        score: checked.score,
        cleared: checked.cleared.is_some(),
        reasons: checked.reasons.clone(),
        citations: CitationJson::all(&checked.citations, library),
        opposing: CitationJson::all(&checked.opposing, library),
        alarms: AlarmJson::all(&examined.alarms),
        model_written: CitationJson::all(&examined.model_written, library),
    }
}
