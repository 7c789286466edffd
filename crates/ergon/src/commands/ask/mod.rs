//! `ergon ask`: a question answered from documents with its evidence, or an abstention that says what is missing.

mod endpoint;
mod engine;

use anyhow::{Context, bail};
use ergon_agent::{
    ask::{Answered, AskError, Outcome, Question, Shown, Unverified, Writer, ask},
    documents::Library,
};
use ergon_gate::evidence::EvidenceLimits;
use serde::Serialize;
use serde_json::{Value, json};

use super::evidence::{
    self, AlarmJson, CitationJson, Page, Paint, Report, Row, SkippedJson, Told, verdict_name,
};
use crate::{
    args::{AskArgs, UnverifiedChoice},
    failure::Interrupted,
    interrupt::Interrupt,
    output, progress,
};

/// A claim of an answer.
#[derive(Serialize)]
struct ClaimJson {
    text: String,
    verdict: &'static str,
    /// The characters that answer; null if a model put the claim in its words.
    answer: Option<String>,
    score: f32,
    reasons: Vec<String>,
    citations: Vec<CitationJson>,
    opposing: Vec<CitationJson>,
    alarms: Vec<AlarmJson>,
}

/// What was proposed and did not pass.
#[derive(Serialize)]
struct UnverifiedJson {
    text: String,
    verdict: &'static str,
    reasons: Vec<String>,
    /// The spans it named; they do not state it.
    named: Vec<CitationJson>,
}

/// A question with what came of it; if the model failed on it, how.
struct Done {
    row: Row,
    answered: Result<Answered, String>,
}

/// A model that has failed on so many questions of a batch one after the other is not asked again.
const FAILURES: usize = 3;

pub(crate) fn run(args: &AskArgs) -> anyhow::Result<()> {
    let interrupt = Interrupt::install()?;
    let html = Report::prepare(args.documents.html.as_ref())?;
    let library = evidence::open(&args.documents, args.batch.as_ref(), &interrupt)?;
    let rows = rows(args, &library)?;
    let done = with_writer(args, &interrupt, &mut |writer| {
        answer_all(&rows, args.batch.is_some(), &library, writer, &interrupt)
    })?;
    let shows = args.unverified == UnverifiedChoice::Show;
    evidence::tell_changed(&library);
    let printed = match args.documents.json {
        true => output::write_json(&report(args, &done, &library, shows)),
        false => output::write_stdout(&text(&done, &library, shows)),
    };
    // Whether anybody still reads what was printed is nothing to the report.
    if let Some(html) = html {
        html.write(&page(&done, &library, shows))?;
    }
    printed?;
    let failed: Vec<&Row> = done.iter().filter(|one| one.answered.is_err()).map(|one| &one.row).collect();
    if let Some(first) = failed.first() {
        let (count, all) = (failed.len(), done.len());
        bail!(
            "the model failed on {count} of {all} questions, first on '{}'; the others are answered",
            first.id
        );
    }
    Ok(())
}

fn rows(args: &AskArgs, library: &Library) -> anyhow::Result<Vec<Row>> {
    match (&args.batch, &args.question) {
        (Some(path), _) => evidence::read_rows(path, "question", &args.documents.docs, library),
        (None, Some(question)) => {
            let text = evidence::checked_text(question, "question")?;
            Ok(vec![Row { id: "1".to_string(), text, files: None }])
        }
        (None, None) => Err(anyhow::anyhow!("no question")).context("give a QUESTION or --batch"),
    }
}

type Work<'w> = &'w mut dyn FnMut(Option<&mut dyn Writer>) -> anyhow::Result<Vec<Done>>;

/// Does the work with the writer that the command line names, if it names one.
fn with_writer(args: &AskArgs, interrupt: &Interrupt, work: Work) -> anyhow::Result<Vec<Done>> {
    if args.endpoint.is_some() {
        let mut endpoint = endpoint::Endpoint::new(args)?;
        return work(Some(&mut endpoint));
    }
    match &args.model {
        Some(model) => engine::with(model, args, interrupt, work),
        None => work(None),
    }
}

fn answer_all(
    rows: &[Row],
    is_batch: bool,
    library: &Library,
    mut writer: Option<&mut dyn Writer>,
    interrupt: &Interrupt,
) -> anyhow::Result<Vec<Done>> {
    let limits = EvidenceLimits::default();
    let bar = progress::items("answering", rows.len() as u64);
    let mut done: Vec<Done> = Vec::with_capacity(rows.len());
    let mut failures = 0;
    for row in rows {
        if failures == FAILURES {
            let reason = format!("not asked: the model failed {FAILURES} times one after the other");
            done.push(Done { row: row.clone(), answered: Err(reason) });
            continue;
        }
        let question = Question {
            text: &row.text,
            files: row.files.clone(),
            library,
            limits: &limits,
            stop: interrupt.pending(),
        };
        let answered = match &mut writer {
            Some(writer) => ask(&question, Some(&mut **writer)),
            None => ask(&question, None),
        };
        let answered = match answered {
            Ok(answered) => Ok(answered),
            Err(AskError::Documents(error)) => {
                bar.finish_and_clear();
                return Err(evidence::interrupted(error));
            }
            // A model that was stopped has not failed.
            Err(_) if interrupt.take() => {
                bar.finish_and_clear();
                return Err(Interrupted.into());
            }
            Err(error) if !is_batch => {
                bar.finish_and_clear();
                return Err(anyhow::Error::new(error).context(format!("question '{}' has no answer", row.id)));
            }
            Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
        };
        failures = if answered.is_ok() { 0 } else { failures + 1 };
        done.push(Done { row: row.clone(), answered });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(done)
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Answered => "answered",
        Outcome::Abstained => "abstained",
        Outcome::Contradicted => "contradicted",
    }
}

/// One object for one question, `answers` of them for a batch.
fn report(args: &AskArgs, done: &[Done], library: &Library, shows: bool) -> Value {
    let mut head = json!({ "generated_by": evidence::generated_by("ask") });
    let skipped = json!(SkippedJson::all(&library.skipped()));
    match (done, &args.batch) {
        ([one], None) => {
            let Value::Object(answer) = answer_json(one, library, shows) else { return head };
            answer.into_iter().for_each(|(name, value)| head[name] = value);
        }
        _ => head["answers"] = done.iter().map(|one| answer_json(one, library, shows)).collect(),
    }
    head["skipped"] = skipped;
    head
}

fn answer_json(done: &Done, library: &Library, shows: bool) -> Value {
    let answered = match &done.answered {
        Ok(answered) => answered,
        Err(error) => {
            return json!({"id": done.row.id, "question": done.row.text, "verdict": "failed", "error": error});
        }
    };
    let claims: Vec<ClaimJson> = answered.claims.iter().map(|shown| claim_json(shown, library)).collect();
    let mut answer = json!({
        "id": done.row.id,
        "question": done.row.text,
        "verdict": outcome_name(answered.outcome),
        "claims": claims,
        "missing": answered.missing,
        "searched": answered.searched,
        "model_written": CitationJson::all(&answered.model_written, library),
    });
    if shows {
        let unverified: Vec<UnverifiedJson> = answered
            .unverified
            .iter()
            .map(|unverified| UnverifiedJson {
                text: unverified.text.clone(),
                verdict: "unverified",
                reasons: unverified.reasons.clone(),
                named: CitationJson::all(&unverified.named, library),
            })
            .collect();
        answer["unverified"] = json!(unverified);
    }
    answer
}

fn claim_json(shown: &Shown, library: &Library) -> ClaimJson {
    let checked = &shown.examined.checked;
    ClaimJson {
        text: text_of(shown).to_string(),
        verdict: verdict_name(checked.verdict),
        answer: shown.answer.clone(),
        score: checked.score,
        reasons: checked.reasons.clone(),
        citations: CitationJson::all(&checked.citations, library),
        opposing: CitationJson::all(&checked.opposing, library),
        alarms: AlarmJson::all(&shown.examined.alarms),
    }
}

/// What is shown: of a fact, the text that the gate cleared.
fn text_of(shown: &Shown) -> &str {
    match &shown.cleared {
        Some(cleared) => &cleared.get().text,
        None => &shown.examined.checked.claim.text,
    }
}

fn text(done: &[Done], library: &Library, shows: bool) -> String {
    let is_terminal = output::stdout_is_terminal();
    let paint = Paint::new(is_terminal);
    let mut told = Told::new(paint, library);
    for one in done {
        if done.len() > 1 {
            told.line(&paint.bold(&format!("{}  {}", one.row.id, output::printable(&one.row.text))));
        }
        let answered = match &one.answered {
            Ok(answered) => answered,
            Err(error) => {
                told.line(&paint.warning(&format!("failed: {}", output::printable(error))));
                told.line("");
                continue;
            }
        };
        told.line(match answered.outcome {
            Outcome::Answered => "answered: every line passed the gate",
            Outcome::Abstained => "abstained: too little holds",
            Outcome::Contradicted => "contradicted: sources disagree",
        });
        told.line("");
        for shown in &answered.claims {
            told.claim(&shown.examined, false);
            told.line("");
        }
        for missing in &answered.missing {
            told.line(&format!("  missing: {}", output::printable(missing)));
        }
        if answered.outcome == Outcome::Abstained {
            told.line(
                &paint.dim(&format!("  searched: {}", output::printable(&answered.searched.join(" | ")))),
            );
        }
        if shows {
            answered.unverified.iter().for_each(|unverified| tell_unverified(&mut told, paint, unverified));
        }
    }
    if !is_terminal {
        told.line(&format!("generated_by: {}", evidence::generated_by("ask")));
    }
    told.text
}

fn tell_unverified(told: &mut Told, paint: Paint, unverified: &Unverified) {
    told.line(&format!(
        "{} {}",
        paint.warning("unverified:"),
        output::printable(&unverified.text).replace('\n', " ")
    ));
    for reason in &unverified.reasons {
        told.line(&format!("    {}", paint.dim(&format!("· {}", output::printable(reason)))));
    }
}

fn page(done: &[Done], library: &Library, shows: bool) -> String {
    let mut page = Page::new("ask", "Questions and what the documents say", library);
    for one in done {
        page.heading(&one.row.text);
        let answered = match &one.answered {
            Ok(answered) => answered,
            Err(error) => {
                page.paragraph(&format!("failed: {error}"));
                continue;
            }
        };
        page.paragraph(outcome_name(answered.outcome));
        answered.claims.iter().for_each(|shown| page.claim(&shown.examined));
        page.list("missing", &answered.missing);
        page.list("searched", &answered.searched);
        page.citations("by a model, no evidence", &answered.model_written);
        if shows {
            let lines: Vec<String> = answered
                .unverified
                .iter()
                .map(|unverified| format!("{} ({})", unverified.text, unverified.reasons.join("; ")))
                .collect();
            page.list("unverified", &lines);
        }
    }
    page.finish()
}
