//! RAMDocs: which answers are shown, given each document's answer; and the extractor end to end.

use std::collections::BTreeSet;

use ergon_agent::answers::{self, Candidate, DocumentAnswer, SHOWN_FROM, normal};

use super::boost::{self, Fitted, Settings};
use super::{data, measure, table};

/// What is fitted, and how.
fn settings() -> Settings {
    Settings { bags: 2, rounds: 100, features: 8, leaf: 10, ..Settings::default() }
}

struct Set {
    questions: Vec<data::Question>,
    candidates: Vec<Vec<Candidate>>,
    x: Vec<Vec<f32>>,
    y: Vec<bool>,
    question_of: Vec<usize>,
}

/// The answers of every question: those that the file gives, or those that the extractor finds.
fn set(folder: &str, extracted: bool) -> Set {
    let questions = data::questions(folder);
    let candidates: Vec<Vec<Candidate>> =
        questions.iter().map(|question| candidates(question, extracted)).collect();
    let mut set = Set { questions, candidates, x: Vec::new(), y: Vec::new(), question_of: Vec::new() };
    for (at, (question, list)) in set.questions.iter().zip(&set.candidates).enumerate() {
        for candidate in list {
            set.x.push(candidate.features.clone());
            set.y.push(question.gold.iter().any(|gold| normal(gold) == normal(&candidate.answer)));
            set.question_of.push(at);
        }
    }
    set
}

fn candidates(question: &data::Question, extracted: bool) -> Vec<Candidate> {
    let texts: Vec<&str> = question.documents.iter().map(|document| document.text.as_str()).collect();
    let found = if extracted { answers::extract(&question.question, &texts) } else { Vec::new() };
    let given = |at: usize| match extracted {
        true => found[at].as_ref().map(|answer| answer.text.as_str()),
        false => Some(question.documents[at].answer.as_str()).filter(|answer| *answer != "unknown"),
    };
    let documents: Vec<DocumentAnswer<'_>> =
        texts.iter().enumerate().map(|(at, text)| DocumentAnswer { text, answer: given(at) }).collect();
    answers::candidates(&question.question, &documents)
}

fn exact(shown: &[&Candidate], question: &data::Question) -> bool {
    let shown: BTreeSet<String> = shown.iter().map(|candidate| normal(&candidate.answer)).collect();
    shown == question.gold.iter().map(|gold| normal(gold)).collect()
}

/// Exact match as the published figures count it: every right answer is in what is shown, no wrong one is.
fn contains(shown: &[&Candidate], question: &data::Question) -> bool {
    let shown: Vec<String> =
        shown.iter().map(|candidate| format!(" {} ", normal(&candidate.answer))).collect();
    let says = |answer: &String| shown.iter().any(|one| one.contains(&format!(" {} ", normal(answer))));
    let right: Vec<String> = question.gold.iter().map(|gold| normal(gold)).collect();
    let wrong = question.wrong.iter().filter(|wrong| !right.contains(&normal(wrong)));
    question.gold.iter().all(says) && !wrong.into_iter().any(says)
}

/// Share of questions with a hit, with its interval, and for one and several right answers.
fn line(name: &str, set: &Set, hits: &[bool]) {
    let groups: Vec<usize> = (0..hits.len()).collect();
    let share = |rows: &[usize]| {
        100.0 * rows.iter().filter(|row| hits[**row]).count() as f64 / rows.len().max(1) as f64
    };
    let (low, high) = measure::interval(&groups, share);
    let of = |one: bool| -> Vec<usize> {
        groups.iter().copied().filter(|row| (set.questions[*row].gold.len() == 1) == one).collect()
    };
    println!(
        "| {name} | {:.1} ({low:.1} to {high:.1}) | {:.1} | {:.1} |",
        share(&groups),
        share(&of(true)),
        share(&of(false))
    );
}

fn rule(set: &Set, test: impl Fn(&Candidate, &[Candidate]) -> bool) -> Vec<Vec<&Candidate>> {
    set.candidates
        .iter()
        .map(|list| list.iter().filter(|candidate| test(candidate, list)).collect())
        .collect()
}

fn measured(candidate: &Candidate, name: &str) -> f32 {
    let at = answers::FEATURES.iter().position(|known| *known == name).expect("a feature of this name");
    candidate.features[at]
}

/// Answers shown by models that did not see the question.
fn cross(set: &Set, seed: u64) -> Vec<Vec<&Candidate>> {
    let folds = boost::folds(&set.question_of, &set.y, 10, seed);
    let mut probabilities = vec![0.0; set.y.len()];
    for fold in 0..10 {
        let train: Vec<usize> = (0..set.y.len()).filter(|row| folds[*row] != fold).collect();
        let fitted = boost::fit(&set.x, &set.y, &train, &vec![0; answers::FEATURES.len()], &settings());
        let rows = (0..set.y.len()).filter(|row| folds[*row] == fold);
        rows.for_each(|row| probabilities[row] = fitted.model().probability(&set.x[row]));
    }
    let mut row = 0;
    let mut all = Vec::new();
    for list in &set.candidates {
        let of_it = &probabilities[row..row + list.len()];
        row += list.len();
        let best = of_it.iter().copied().fold(0.0, f32::max);
        let shown = list.iter().zip(of_it).filter(|(_, p)| **p >= SHOWN_FROM.min(best));
        all.push(shown.map(|(candidate, _)| candidate).collect());
    }
    all
}

fn is_first_of_most(candidate: &Candidate, list: &[Candidate]) -> bool {
    let most = list.iter().map(|other| other.documents.len()).max().unwrap_or(0);
    list.iter()
        .find(|other| other.documents.len() == most)
        .is_some_and(|first| first.answer == candidate.answer)
}

/// The tables of `docs/evidence.md` about RAMDocs.
pub(crate) fn report(folder: &str) {
    for extracted in [false, true] {
        let set = set(folder, extracted);
        let source = if extracted { "read by the extractor" } else { "given with each document" };
        println!(
            "\n{} questions, answers {source}: {} answers, {} right",
            set.questions.len(),
            set.y.len(),
            set.y.iter().filter(|y| **y).count()
        );
        println!(
            "| what is shown | exact match, % (95 % interval) | one right answer | two |\n|---|---|---|---|"
        );
        let policies: Vec<(&str, Vec<Vec<&Candidate>>)> = vec![
            ("majority", rule(&set, is_first_of_most)),
            ("all", rule(&set, |_, _| true)),
            ("no changed copies (rule only)", rule(&set, |c, _| measured(c, "altered_all") == 0.0)),
            (
                "no changed copies without a second source (rule only)",
                rule(&set, |c, _| measured(c, "altered_all") == 0.0 || measured(c, "before_twins") > 0.0),
            ),
            ("fitted, cross-validated, folds 1", cross(&set, 1)),
            ("fitted, cross-validated, folds 2", cross(&set, 2)),
            ("fitted, cross-validated, folds 3", cross(&set, 3)),
        ];
        for (name, shown) in &policies {
            let hits: Vec<bool> =
                shown.iter().zip(&set.questions).map(|(shown, question)| exact(shown, question)).collect();
            line(name, &set, &hits);
            if extracted {
                let hits: Vec<bool> = shown.iter().zip(&set.questions).map(|(s, q)| contains(s, q)).collect();
                line(&format!("{name}, by containment"), &set, &hits);
            }
        }
    }
}

/// Fits on all questions and prints the table that is shipped.
pub(crate) fn fit(folder: &str) {
    let set = set(folder, false);
    let rows: Vec<usize> = (0..set.y.len()).collect();
    let fitted: Fitted = boost::fit(&set.x, &set.y, &rows, &vec![0; answers::FEATURES.len()], &settings());
    let shown = cross(&set, 1);
    let hits = shown.iter().zip(&set.questions).filter(|(shown, question)| exact(shown, question)).count();
    table::print(
        "fit-answers",
        &fitted,
        &[
            format!(
                "Data: the {} answers to the first {} questions of RAMDocs, right against wrong, each document's answer given.",
                set.y.len(),
                set.questions.len()
            ),
            format!("{:?}.", settings()),
            format!(
                "Cross-validated by question (10 folds): exact match of the set shown {:.1} %.",
                100.0 * hits as f64 / set.questions.len() as f64
            ),
        ],
        "crate::verify::model::Tree",
    );
}
