//! A verdict in words.

use ergon_gate::Cleared;
use ergon_gate::evidence::{Finding, Refused, Rule};
use ergon_types::{Citation, Claim, Source, Verdict};

use super::Sides;
use super::source::Reading;
use crate::copies::Alarm;

/// Why a claim got its verdict, the weightiest reason first.
pub(super) fn reasons(
    verdict: Verdict,
    judged: &Result<Cleared<Claim>, Refused>,
    readings: &[(usize, Reading<'_>)],
    sides: &Sides,
    (citations, alarms): (&[Citation], &[Alarm]),
    sources: &[Source],
) -> Vec<String> {
    let mut reasons = Vec::new();
    if matches!(verdict, Verdict::Supported | Verdict::Contradicted) {
        reasons.push(supported(readings, sides, citations));
    }
    let evidence = readings.iter().filter(|(_, reading)| !reading.support.by_model);
    let mut said = std::collections::BTreeSet::new();
    for (at, reading) in evidence {
        for (_, conflict) in reading.against.iter().take(1).filter(|_| said.insert(reading.support.group)) {
            reasons.push(format!("{}: {conflict}", sources[*at].file));
        }
    }
    if let (Verdict::NotEnough, Err(refused)) = (verdict, judged) {
        reasons.extend(refused.why.iter().map(missing));
    }
    for alarm in alarms {
        let file = |at: usize| sources.get(at).map_or("?", |source| source.file.as_str());
        reasons.push(format!(
            "alarm: {} and {} are near-copies, but one has \"{}\" where the other has \"{}\"",
            file(alarm.first),
            file(alarm.second),
            alarm.first_value,
            alarm.second_value
        ));
    }
    let by_model = readings.iter().filter(|(_, reading)| reading.support.by_model).count();
    if by_model > 0 {
        reasons.push(format!("{by_model} document(s) written by a model speak about it and are not counted"));
    }
    reasons
}

fn supported(readings: &[(usize, Reading<'_>)], sides: &Sides, citations: &[Citation]) -> String {
    let groups = sides.supporting.len();
    let says = |reading: &Reading<'_>| {
        sides.supporting.contains(&reading.support.group) && reading.against.is_empty()
    };
    let members = readings.iter().filter(|(_, reading)| says(reading)).count();
    let copies = members - groups.min(members);
    let spans = citations.len();
    let sources =
        if groups == 1 { "one source says".to_string() } else { format!("{groups} independent sources say") };
    let counted =
        if copies > 0 { format!("; {copies} near-copies of them are not counted") } else { String::new() };
    let denied = readings
        .iter()
        .any(|(_, reading)| sides.supporting.contains(&reading.support.group) && reading.is_denied());
    let denied = if denied { "; the negation agrees" } else { "" };
    format!("{sources} so in {spans} sentence(s): words, names and numbers agree{denied}{counted}")
}

fn missing(finding: &Finding) -> String {
    let Finding { rule, value, limit } = finding;
    match rule {
        Rule::Content => "the claim says nothing that could be checked, or is too long to be".to_string(),
        Rule::Source => "no source speaks about it".to_string(),
        Rule::Finite => "a measure of the spans is no number".to_string(),
        Rule::Overlap => {
            format!(
                "the spans hold {:.0} % of what the claim says, {:.0} % are needed",
                100.0 * value,
                100.0 * limit
            )
        }
        Rule::Quantities => format!("{value} number(s), date(s) or amount(s) of the claim are in no span"),
        Rule::Names => format!("{value} name(s) or expression(s) of the claim are in no span"),
        Rule::Conflicts => format!("{value} place(s) in the spans say otherwise"),
        Rule::Binding => "the words of the claim stand apart in the spans, in other contexts".to_string(),
        Rule::Score => format!("the spans support it with a probability of {value:.2}, {limit:.2} is needed"),
        Rule::Groups => format!("{value} independent source(s) say so, {limit} are needed"),
        Rule::Opposing => format!("{value} independent source(s) say otherwise"),
    }
}
