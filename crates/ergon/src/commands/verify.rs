//! `ergon verify`: claims checked against documents, without a language model.

use anyhow::Context;
use ergon_agent::ask::{Examined, Request, examine};
use ergon_agent::documents::Library;
use ergon_gate::evidence::EvidenceLimits;
use ergon_types::{Claim, Verdict};
use serde_json::json;

use super::evidence::{self, Page, Paint, Report, Row, SkippedJson, Told, claim_json, verdict_name};
use crate::{args::VerifyArgs, interrupt::Interrupt, output, progress};

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let interrupt = Interrupt::install()?;
    let report = Report::prepare(args.documents.html.as_ref())?;
    let library = evidence::open(&args.documents, args.claims.as_ref(), &interrupt)?;
    let requests: Vec<Request> = rows(args, &library)?
        .into_iter()
        .map(|row| Request { claim: Claim { id: row.id, text: row.text }, files: row.files })
        .collect();
    let bar = progress::items("checking claims", requests.len() as u64);
    let examined =
        examine(&library, &requests, &EvidenceLimits::default(), interrupt.pending(), &mut |done| {
            bar.set_position(done as u64);
        });
    bar.finish_and_clear();
    let examined = examined.map_err(evidence::interrupted)?;
    evidence::tell_changed(&library);
    let printed = print(args, &examined, &library);
    // Whether anybody still reads what was printed is nothing to the report.
    if let Some(report) = report {
        report.write(&page(&examined, &library))?;
    }
    printed
}

fn print(args: &VerifyArgs, examined: &[Examined], library: &Library) -> anyhow::Result<()> {
    if !args.documents.json {
        return output::write_stdout(&text(examined, library));
    }
    let claims: Vec<_> = examined.iter().map(|examined| claim_json(examined, library)).collect();
    output::write_json(&json!({
        "generated_by": evidence::generated_by("verify"),
        "claims": claims,
        "skipped": SkippedJson::all(&library.skipped()),
    }))
}

fn rows(args: &VerifyArgs, library: &Library) -> anyhow::Result<Vec<Row>> {
    match (&args.claims, &args.claim) {
        (Some(path), _) => evidence::read_rows(path, "claim", &args.documents.docs, library),
        (None, Some(claim)) => {
            let text = evidence::checked_text(claim, "claim")?;
            Ok(vec![Row { id: "1".to_string(), text, files: None }])
        }
        (None, None) => Err(anyhow::anyhow!("no claim")).context("give --claim or --claims"),
    }
}

/// How many claims came to each verdict, most wanted first.
fn counts(examined: &[Examined]) -> String {
    let verdicts = [Verdict::Supported, Verdict::Refuted, Verdict::NotEnough, Verdict::Contradicted];
    let count = |verdict| examined.iter().filter(|examined| examined.checked.verdict == verdict).count();
    let parts: Vec<String> = verdicts
        .into_iter()
        .map(|verdict| (count(verdict), verdict_name(verdict).replace('_', " ")))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    format!(
        "{} of {}",
        parts.join(", "),
        if examined.len() == 1 { "1 claim".to_string() } else { format!("{} claims", examined.len()) }
    )
}

fn text(examined: &[Examined], library: &Library) -> String {
    let is_terminal = output::stdout_is_terminal();
    let mut told = Told::new(Paint::new(is_terminal), library);
    for one in examined {
        told.claim(one, examined.len() > 1);
        told.line("");
    }
    if examined.len() > 1 {
        told.line(&counts(examined));
    }
    if !is_terminal {
        told.line(&format!("generated_by: {}", evidence::generated_by("verify")));
    }
    told.text
}

fn page(examined: &[Examined], library: &Library) -> String {
    let mut page = Page::new("verify", "Claims and what the documents say", library);
    page.paragraph(&counts(examined));
    examined.iter().for_each(|examined| page.claim(examined));
    page.finish()
}
