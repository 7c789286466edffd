//! How much an English stem tells, by how rare it is in an encyclopaedia.

/// Lines `stem hundredths`, sorted by their bytes: `data/make-word-information.py` says how it was made.
const TABLE: &str = include_str!("../../data/word-information.txt");

/// The information of a stem, from 0 (as common as the commonest words) to 1; none where the table does not hold it.
pub(super) fn of(stem: &str) -> Option<f32> {
    let table = TABLE.as_bytes();
    let (mut low, mut high) = (0, table.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = table[..middle].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = table[start..].split(|byte| *byte == b'\n').next().unwrap_or_default();
        let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        match line[..space].cmp(stem.as_bytes()) {
            std::cmp::Ordering::Equal => {
                let digits = std::str::from_utf8(line.get(space + 1..)?).ok()?;
                return digits.parse::<u8>().ok().map(|hundredths| f32::from(hundredths) / 100.0);
            }
            std::cmp::Ordering::Less => low = start + line.len() + 1,
            std::cmp::Ordering::Greater => high = start,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found() {
        let mut before = "";
        for line in TABLE.lines() {
            let (stem, hundredths) = line.split_once(' ').expect("a stem and a number");
            assert!(before < stem, "{before} before {stem}");
            let expected = hundredths.parse::<f32>().expect("a number") / 100.0;
            assert!((0.0..=1.0).contains(&expected) && of(stem) == Some(expected), "{line}");
            before = stem;
        }
        for absent in ["", "zzzz", "aachenn", "\n", "a 0", "é"] {
            assert_eq!(of(absent), None, "{absent:?}");
        }
    }
}
