//! WiCE: features of every claim, cross-validated model, figures.

use ergon_agent::text::rank;
use ergon_agent::verify::{self, features};
use ergon_types::Passage;

use super::boost::{self, Settings};
use super::{data, measure, table};

pub(crate) struct Table {
    pub(crate) x: Vec<Vec<f32>>,
    pub(crate) y: Vec<bool>,
    pub(crate) groups: Vec<usize>,
}

/// Rows that share a page or an article are one group.
pub(crate) fn groups(rows: &[data::Row]) -> Vec<usize> {
    let mut group: Vec<usize> = (0..rows.len()).collect();
    for at in 0..rows.len() {
        for other in 0..at {
            if rows[at].title == rows[other].title || rows[at].evidence == rows[other].evidence {
                let (a, b) = (group[at], group[other]);
                group.iter_mut().filter(|g| **g == a).for_each(|g| *g = b);
            }
        }
    }
    group
}

/// The sentences of a page that rank first for its claim, in the order of the page.
pub(crate) fn passages(row: &data::Row, most: usize) -> Vec<Passage> {
    let sentences: Vec<&str> = row.evidence.iter().map(String::as_str).collect();
    let mut top: Vec<usize> = rank(&row.claim, &sentences).into_iter().take(most).map(|(at, _)| at).collect();
    top.sort_unstable();
    let mut start = 0;
    let mut passages = Vec::new();
    for (at, sentence) in sentences.iter().enumerate() {
        let end = start + sentence.chars().count();
        if top.contains(&at) {
            passages.push(Passage {
                source: 0,
                start_char: start,
                end_char: end,
                text: sentence.to_string(),
            });
        }
        start = end + 1;
    }
    passages
}

pub(crate) fn features_of(rows: &[data::Row], most: usize) -> Table {
    let x = rows
        .iter()
        .map(|row| {
            let passages = passages(row, most);
            let passages: Vec<&Passage> = passages.iter().collect();
            verify::measure(&row.claim, &passages)
        })
        .collect();
    Table { x, y: rows.iter().map(data::Row::supported).collect(), groups: groups(rows) }
}

/// Margins of every row by a model that saw neither its page nor its article.
pub(crate) fn cross(table: &Table, rows: &[usize], signs: &[i8], settings: &Settings, seed: u64) -> Vec<f64> {
    let (y, groups): (Vec<bool>, Vec<usize>) =
        rows.iter().map(|row| (table.y[*row], table.groups[*row])).unzip();
    let fold_of = boost::folds(&groups, &y, 10, seed);
    let mut margins = vec![f64::NAN; table.y.len()];
    for fold in 0..10 {
        let train: Vec<usize> =
            rows.iter().zip(&fold_of).filter(|(_, f)| **f != fold).map(|(row, _)| *row).collect();
        let fitted = boost::fit(&table.x, &table.y, &train, signs, settings);
        for (row, _) in rows.iter().zip(&fold_of).filter(|(_, f)| **f == fold) {
            margins[*row] = f64::from(fitted.model().margin(&table.x[*row]));
        }
    }
    margins
}

pub(crate) struct Scored {
    pub(crate) margins: Vec<f64>,
    pub(crate) said: Vec<bool>,
    pub(crate) probabilities: Vec<f64>,
}

/// Cross-validated margins, and decisions with thresholds and calibration from the training folds alone.
pub(crate) fn nested(table: &Table, signs: &[i8], settings: &Settings, seed: u64) -> Scored {
    let all: Vec<usize> = (0..table.y.len()).collect();
    let fold_of = boost::folds(&table.groups, &table.y, 10, seed);
    let mut scored = Scored {
        margins: vec![0.0; all.len()],
        said: vec![false; all.len()],
        probabilities: vec![0.0; all.len()],
    };
    for fold in 0..10 {
        let train: Vec<usize> = all.iter().copied().filter(|row| fold_of[*row] != fold).collect();
        let inner = cross(table, &train, signs, settings, seed + 100);
        let (m, y): (Vec<f64>, Vec<bool>) = train.iter().map(|row| (inner[*row], table.y[*row])).unzip();
        let [slope, offset] = boost::calibrate(&m, &y).map(f64::from);
        // Of all thresholds on a probability, the share of the class has the best balanced accuracy: none is searched for.
        let prevalence = y.iter().filter(|y| **y).count() as f64 / y.len() as f64;
        let fitted = boost::fit(&table.x, &table.y, &train, signs, settings);
        for row in all.iter().copied().filter(|row| fold_of[*row] == fold) {
            let margin = f64::from(fitted.model().margin(&table.x[row]));
            scored.margins[row] = margin;
            scored.probabilities[row] = 1.0 / (1.0 + (-(slope * margin + offset)).exp());
            scored.said[row] = scored.probabilities[row] >= prevalence;
        }
    }
    scored
}

/// Fits on the whole split and prints the table that is shipped, with the cross-validated calibration.
pub(crate) fn fit(folder: &str) {
    let rows = data::claims(folder);
    let table = features_of(&rows, PASSAGES);
    let signs = signs();
    let settings = Settings::default();
    let all: Vec<usize> = (0..table.y.len()).collect();
    let margins = cross(&table, &all, &signs, &settings, 1);
    let [slope, offset] = boost::calibrate(&margins, &table.y);
    let mut fitted = boost::fit(&table.x, &table.y, &all, &signs, &settings);
    fitted.calibration = [slope, offset];
    table::print(
        "fit",
        &fitted,
        &[
            format!(
                "Data: the {} claims of the development split of WiCE, supported against the rest; of each page the {PASSAGES}",
                rows.len()
            ),
            "sentences that `text::rank` puts first.".to_string(),
            format!("{settings:?}."),
            format!(
                "Cross-validated by page and article (10 folds): area under the curve {:.3}; `docs/evidence.md` has all figures.",
                measure::auc(&margins, &table.y)
            ),
        ],
        "super::model::Tree",
    );
}

/// Sentences of a page that a claim is checked against.
pub(crate) const PASSAGES: usize = 20;

pub(crate) fn signs() -> Vec<i8> {
    features::FEATURES.iter().map(|feature| feature.sign).collect()
}
