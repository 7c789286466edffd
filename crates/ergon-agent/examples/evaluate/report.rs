//! The figures of `docs/evidence.md` about WiCE.

use std::time::Instant;

use ergon_agent::copies::Copies;
use ergon_agent::text::rank;
use ergon_agent::verify::{Checked, check, check_with, features};
use ergon_gate::evidence::EvidenceLimits;
use ergon_types::{Author, Claim, Passage, Source, Verdict};

use super::boost::{self, Settings};
use super::wice::{self, PASSAGES, Table};
use super::{curve, data, measure};

/// Everything measured on WiCE; the risk-coverage curve is written to `picture` where one is named.
pub(crate) fn report(folder: &str, picture: Option<&str>) {
    let rows = data::claims(folder);
    let table = wice::features_of(&rows, PASSAGES);
    println!("{} claims, {} supported\n", rows.len(), table.y.iter().filter(|y| **y).count());
    recall(&rows);
    accuracy(&table);
    control(&table);
    let scored = wice::nested(&table, &wice::signs(), &Settings::default(), 1);
    precision(&table, &scored.probabilities);
    calibration(&table, &scored.probabilities);
    let checked = gated(&rows, &table, &EvidenceLimits::default());
    let opened = gated(&rows, &table, &EvidenceLimits { score_min: 0.0, ..EvidenceLimits::default() });
    verdicts(&rows, &table, &checked, &opened);
    changed_numbers(&rows);
    quoted(&rows);
    speed(&rows);
    if let Some(path) = picture {
        let svg = curve::risk_coverage(&scored.probabilities, &table.y);
        std::fs::write(path, svg).expect("the picture can be written");
        println!("\nrisk-coverage curve: {path}");
    }
}

/// Part of the evidence sentences among the first ten; of several annotated sets the one found best, as in the published
/// measure, and all sets joined.
fn recall(rows: &[data::Row]) {
    let with: Vec<&data::Row> = rows.iter().filter(|row| !row.gold().is_empty()).collect();
    let ranked: Vec<Vec<usize>> = with
        .iter()
        .map(|row| {
            let sentences: Vec<&str> = row.evidence.iter().map(String::as_str).collect();
            rank(&row.claim, &sentences).into_iter().map(|(at, _)| at).collect()
        })
        .collect();
    println!("| first sentences | recall, best set | recall, all sets joined |\n|---|---|---|");
    for most in [5, 10, 20] {
        let part = |set: &[usize], top: &[usize]| {
            let top = &top[..most.min(top.len())];
            set.iter().filter(|at| top.contains(at)).count() as f64 / set.len() as f64
        };
        let best: Vec<f64> = with
            .iter()
            .zip(&ranked)
            .map(|(row, top)| row.supporting.iter().map(|set| part(set, top)).fold(0.0, f64::max))
            .collect();
        let joined: Vec<f64> = with.iter().zip(&ranked).map(|(row, top)| part(&row.gold(), top)).collect();
        let mean =
            |list: &[f64], rows: &[usize]| rows.iter().map(|row| list[*row]).sum::<f64>() / rows.len() as f64;
        let all: Vec<usize> = (0..with.len()).collect();
        let (low, high) = measure::interval(&all, |rows| mean(&best, rows));
        println!(
            "| {most} | {:.3} ({low:.3} to {high:.3}) | {:.3} |",
            mean(&best, &all),
            mean(&joined, &all)
        );
    }
}

/// Balanced accuracy, thresholds and models from the other folds, for several divisions into folds.
fn accuracy(table: &Table) {
    let all: Vec<usize> = (0..table.y.len()).collect();
    let mut sum = 0.0;
    println!("\n| folds | area under the curve | balanced accuracy, % (95 % interval) |\n|---|---|---|");
    for seed in 1..=5 {
        let scored = wice::nested(table, &wice::signs(), &Settings::default(), seed);
        let balanced = |rows: &[usize]| 100.0 * measure::balanced(&scored.said, &table.y, rows);
        let (low, high) = measure::interval(&table.groups, balanced);
        sum += balanced(&all) / 5.0;
        println!(
            "| {seed} | {:.3} | {:.1} ({low:.1} to {high:.1}) |",
            measure::auc(&scored.margins, &table.y),
            balanced(&all)
        );
    }
    println!("| mean | | {sum:.1} |");
}

/// Rules without anything fitted.
fn control(table: &Table) {
    let at =
        |name: &str| features::FEATURES.iter().position(|feature| feature.name == name).expect("a feature");
    let all: Vec<usize> = (0..table.y.len()).collect();
    let (coverage, quantities, names) = (at("coverage_3"), at("quantities_missing"), at("names_missing"));
    println!("\n| rule, nothing fitted | balanced accuracy, % | precision | recall |\n|---|---|---|---|");
    let complete = |x: &Vec<f32>| x[quantities] == 0.0 && x[names] < 0.5;
    let rules: Vec<(&str, Vec<bool>)> = vec![
        ("all names and numbers found", table.x.iter().map(complete).collect()),
        ("three sentences hold 0.8 of the claim", table.x.iter().map(|x| x[coverage] >= 0.8).collect()),
        ("both", table.x.iter().map(|x| complete(x) && x[coverage] >= 0.8).collect()),
    ];
    for (name, said) in rules {
        let (hits, count, positive) = counts(&said, &table.y);
        let balanced = 100.0 * measure::balanced(&said, &table.y, &all);
        println!("| {name} | {balanced:.1} | {:.2} | {:.2} |", hits / count, hits / positive);
    }
}

fn counts(said: &[bool], y: &[bool]) -> (f64, f64, f64) {
    let hits = said.iter().zip(y).filter(|(said, y)| **said && **y).count() as f64;
    let count = said.iter().filter(|said| **said).count() as f64;
    (hits, count, y.iter().filter(|y| **y).count() as f64)
}

fn precision(table: &Table, probabilities: &[f64]) {
    let mut order: Vec<usize> = (0..table.y.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    println!("\n| most probable claims | probability from | precision | recall |\n|---|---|---|---|");
    let positive = table.y.iter().filter(|y| **y).count() as f64;
    for count in [10, 20, 30, 40, 50, 60, 80, 120] {
        let hits = order[..count].iter().filter(|row| table.y[**row]).count() as f64;
        println!(
            "| {count} | {:.2} | {:.2} | {:.2} |",
            probabilities[order[count - 1]],
            hits / count as f64,
            hits / positive
        );
    }
}

fn calibration(table: &Table, probabilities: &[f64]) {
    println!("\n| probability said | claims | supported |\n|---|---|---|");
    for low in [0.0, 0.2, 0.4, 0.6, 0.8] {
        let rows: Vec<usize> =
            (0..table.y.len()).filter(|row| (low..low + 0.2).contains(&probabilities[*row])).collect();
        let part = rows.iter().filter(|row| table.y[**row]).count() as f64 / rows.len().max(1) as f64;
        println!("| {low:.1} to {:.1} | {} | {part:.2} |", low + 0.2, rows.len());
    }
}

fn source() -> Source {
    Source {
        file: "page".to_string(),
        sha256: "0".repeat(64),
        date: None,
        origin: None,
        author: Author::Unmarked,
    }
}

fn claim(row: &data::Row) -> Claim {
    Claim { id: row.title.clone(), text: row.claim.clone() }
}

/// The whole check of every claim with a model that saw neither its page nor its article, and with these limits.
fn gated(rows: &[data::Row], table: &Table, limits: &EvidenceLimits) -> Vec<Checked> {
    let folds = boost::folds(&table.groups, &table.y, 10, 1);
    let (signs, settings) = (wice::signs(), Settings::default());
    let sources = [source()];
    let mut checked: Vec<Option<Checked>> = vec![None; rows.len()];
    for fold in 0..10 {
        let train: Vec<usize> = (0..rows.len()).filter(|row| folds[*row] != fold).collect();
        let inner = wice::cross(table, &train, &signs, &settings, 101);
        let (m, y): (Vec<f64>, Vec<bool>) = train.iter().map(|row| (inner[*row], table.y[*row])).unzip();
        let mut fitted = boost::fit(&table.x, &table.y, &train, &signs, &settings);
        fitted.calibration = boost::calibrate(&m, &y);
        for at in (0..rows.len()).filter(|row| folds[*row] == fold) {
            let passages = wice::passages(&rows[at], PASSAGES);
            let copies = Copies::default();
            checked[at] =
                Some(check_with(&fitted.model(), &claim(&rows[at]), &sources, &passages, &copies, limits));
        }
    }
    checked.into_iter().flatten().collect()
}

fn verdicts(rows: &[data::Row], table: &Table, checked: &[Checked], opened: &[Checked]) {
    println!("\n| label | supported | refuted | not enough | contradicted |\n|---|---|---|---|---|");
    for label in ["supported", "partially_supported", "not_supported"] {
        let count = |verdict: Verdict| {
            rows.iter()
                .zip(checked)
                .filter(|(row, checked)| row.label == label && checked.verdict == verdict)
                .count()
        };
        let all =
            [Verdict::Supported, Verdict::Refuted, Verdict::NotEnough, Verdict::Contradicted].map(count);
        println!("| {label} | {} | {} | {} | {} |", all[0], all[1], all[2], all[3]);
    }
    println!("\n| the gate's score_min | precision (95 % interval) | recall |\n|---|---|---|");
    for limit in [0.0, 0.5, 0.6, 0.65, 0.7, 0.72, 0.75, 0.8] {
        let said: Vec<bool> = opened
            .iter()
            .map(|one| one.verdict == Verdict::Supported && f64::from(one.score) >= limit)
            .collect();
        let (hits, count, positive) = counts(&said, &table.y);
        let precision = |rows: &[usize]| {
            let of: Vec<&usize> = rows.iter().filter(|row| said[**row]).collect();
            of.iter().filter(|row| table.y[***row]).count() as f64 / of.len() as f64
        };
        let (low, high) = measure::interval(&table.groups, precision);
        println!("| {limit} | {:.2} ({low:.2} to {high:.2}) | {:.2} |", hits / count, hits / positive);
    }
    let scores: Vec<f64> = checked.iter().map(|checked| f64::from(checked.score)).collect();
    let all: Vec<usize> = (0..scores.len()).collect();
    let prevalence = table.y.iter().filter(|y| **y).count() as f64 / scores.len() as f64;
    let said: Vec<bool> = scores.iter().map(|score| *score >= prevalence).collect();
    println!(
        "\nscore of the check at least {prevalence:.2} (the share of supported claims): balanced accuracy {:.1} %",
        100.0 * measure::balanced(&said, &table.y, &all)
    );
}

/// Every number of every claim that is cleared, replaced: by other digits, and by other numbers of the same page.
fn changed_numbers(rows: &[data::Row]) {
    let (mut cleared, mut tried, mut kept) = (0, 0, Vec::new());
    let sources = [source()];
    let loose =
        EvidenceLimits { score_min: 0.0, overlap_min: 0.0, binding_min: 0.0, ..EvidenceLimits::default() };
    let supported = |text: &str, passages: &[Passage]| {
        let claim = Claim { id: String::new(), text: text.to_string() };
        check(&claim, &sources, passages, &Copies::default(), &loose).verdict == Verdict::Supported
    };
    for row in rows {
        let passages = wice::passages(row, PASSAGES);
        if !supported(&row.claim, &passages) {
            continue;
        }
        cleared += 1;
        let spans = numbers(&row.claim);
        let page: Vec<String> = passages
            .iter()
            .flat_map(|passage| numbers(&passage.text).into_iter().map(|span| passage.text[span].to_string()))
            .collect();
        for span in spans {
            let old = &row.claim[span.clone()];
            let other: String = old
                .chars()
                .map(|c| c.to_digit(10).map_or(c, |d| char::from_digit((d + 3) % 9 + 1, 10).unwrap_or(c)))
                .collect();
            let of_page = page.iter().filter(|new| new.len() == old.len() && *new != old).take(5).cloned();
            for new in of_page.chain([other]) {
                let changed = format!("{}{new}{}", &row.claim[..span.start], &row.claim[span.end..]);
                tried += 1;
                if supported(&changed, &passages) {
                    kept.push(changed);
                }
            }
        }
    }
    println!(
        "\nnumbers changed, every limit but the hard ones open: {cleared} claims cleared, {tried} changes, {} still cleared",
        kept.len()
    );
    kept.iter().take(12).for_each(|claim| println!("  {claim}"));
}

fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let tokens = ergon_agent::text::tokens::tokenize(text);
    let number = |token: &&ergon_agent::text::tokens::Token| {
        token.kind == ergon_agent::text::tokens::TokenKind::Number
    };
    tokens.iter().filter(number).map(|token| token.start..token.end).collect()
}

/// Sentences of the pages as claims about their own page: all of them are said there.
fn quoted(rows: &[data::Row]) {
    let sources = [source()];
    let (mut count, mut supported) = (0, 0);
    for row in rows {
        let passages = wice::passages(row, PASSAGES);
        for passage in passages.iter().filter(|passage| passage.text.split(' ').count() > 5).take(8) {
            let claim = Claim { id: String::new(), text: passage.text.clone() };
            let checked = check(&claim, &sources, &passages, &Copies::default(), &EvidenceLimits::default());
            count += 1;
            supported += usize::from(checked.verdict == Verdict::Supported);
        }
    }
    println!("\n{count} sentences of the pages as claims: {supported} supported");
}

/// Claims a second against ten sentences each, on all threads the machine offers and on one.
fn speed(rows: &[data::Row]) {
    let sources = [source()];
    let work: Vec<(Claim, Vec<Passage>)> =
        rows.iter().map(|row| (claim(row), wice::passages(row, 10))).collect();
    for threads in [1, 2] {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (work, sources) = (&work, &sources);
                scope.spawn(move || {
                    for (claim, passages) in work.iter().skip(thread).step_by(threads) {
                        std::hint::black_box(check(
                            claim,
                            sources,
                            passages,
                            &Copies::default(),
                            &EvidenceLimits::default(),
                        ));
                    }
                });
            }
        });
        println!(
            "{threads} thread(s): {:.0} claims a second against ten sentences each",
            work.len() as f64 / start.elapsed().as_secs_f64()
        );
    }
}
