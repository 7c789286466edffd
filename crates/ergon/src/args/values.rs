//! Parsers of single flag values; what they refuse is a wrong command line (exit 2).

use ergon_kernels::Isa;
use ergon_types::WeightFormat;

/// A temperature.
pub(crate) fn temperature(text: &str) -> Result<f32, String> {
    number(text, |t| (0.0..=100.0).contains(&t), "from 0 (greedy) to 100")
}

/// A cumulative probability: above 0, at most 1.
pub(crate) fn probability_mass(text: &str) -> Result<f32, String> {
    number(text, |p| p > 0.0 && p <= 1.0, "above 0 and at most 1")
}

/// A share of the best token's probability: 0 to 1.
pub(crate) fn probability_floor(text: &str) -> Result<f32, String> {
    number(text, |p| (0.0..=1.0).contains(&p), "between 0 and 1")
}

/// A probability.
pub(crate) fn probability(text: &str) -> Result<f64, String> {
    number(text, |p| (0.0..=1.0).contains(&p), "between 0 and 1").map(f64::from)
}

/// A repetition penalty.
pub(crate) fn penalty(text: &str) -> Result<f32, String> {
    number(text, |p| (0.01..=100.0).contains(&p), "from 0.01 to 100")
}

/// A duration: 0 or more, at most an hour.
pub(crate) fn milliseconds(text: &str) -> Result<f32, String> {
    number(text, |ms| (0.0..=3.6e6).contains(&ms), "from 0 to 3600000 milliseconds")
}

/// A share of a schedule: above 0, at most 10.
pub(crate) fn schedule_part(text: &str) -> Result<f32, String> {
    number(text, |part| part > 0.0 && part <= 10.0, "above 0 and at most 10")
}

fn number(text: &str, allowed: impl Fn(f32) -> bool, range: &str) -> Result<f32, String> {
    match text.trim().parse::<f32>() {
        Ok(value) if value.is_finite() && allowed(value) => Ok(value),
        _ => Err(format!("write a number {range}")),
    }
}

/// A whole number of at least 1.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.trim().parse::<usize>() {
        Ok(value) if value > 0 => Ok(value),
        _ => Err("write a whole number of at least 1".to_string()),
    }
}

/// Threads.
pub(crate) fn threads(text: &str) -> Result<usize, String> {
    at_most(text, "threads", 1024)
}

/// Episodes, which are listed before the first is driven.
pub(crate) fn episodes(text: &str) -> Result<usize, String> {
    at_most(text, "episodes", 1_000_000)
}

/// Plans at one control step.
pub(crate) fn candidates(text: &str) -> Result<usize, String> {
    at_most(text, "plans", 1000)
}

/// Measurements, which are all kept.
pub(crate) fn repeats(text: &str) -> Result<usize, String> {
    at_most(text, "measurements", 100_000)
}

/// Sequences that decode together.
pub(crate) fn sequences(text: &str) -> Result<usize, String> {
    at_most(text, "sequences", 4096)
}

/// Prompt tokens of one step, whose memory is planned for.
pub(crate) fn chunk(text: &str) -> Result<usize, String> {
    at_most(text, "tokens", 1_000_000)
}

/// Seconds to wait: up to a day.
pub(crate) fn seconds(text: &str) -> Result<usize, String> {
    at_most(text, "seconds", 86_400)
}

/// A whole number from 1 to `most`.
fn at_most(text: &str, what: &str, most: usize) -> Result<usize, String> {
    match count(text) {
        Ok(value) if value <= most => Ok(value),
        _ => Err(format!("write a number of {what} from 1 to {most}")),
    }
}

/// Token ids separated by commas, as in `1,2,3`.
pub(crate) fn token_ids(text: &str) -> Result<TokenIds, String> {
    let parsed: Result<Vec<u32>, _> = text.split(',').map(|id| id.trim().parse::<u32>()).collect();
    match parsed {
        Ok(ids) => Ok(TokenIds(ids)),
        Err(_) => Err("write token ids separated by commas, as in 1,2,3".to_string()),
    }
}

/// A list of token ids given as one argument. A type of its own, so that clap does not read a `Vec` as "repeat the flag".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenIds(pub(crate) Vec<u32>);

/// A weight format that we can write.
pub(crate) fn quantizable_format(text: &str) -> Result<WeightFormat, String> {
    match WeightFormat::from_name(text) {
        Some(format) if ergon_kernels::can_quantize(format) => Ok(format),
        _ => Err(format!("choose one of {}", quantizable_names().join(", "))),
    }
}

/// The names `--quant` takes, smallest format last.
pub(crate) fn quantizable_names() -> Vec<&'static str> {
    WeightFormat::ALL
        .into_iter()
        .filter(|format| ergon_kernels::can_quantize(*format))
        .map(WeightFormat::name)
        .collect()
}

/// An instruction set this processor has.
pub(crate) fn isa(text: &str) -> Result<Isa, String> {
    let available = Isa::available();
    match Isa::from_name(text) {
        Some(isa) if available.contains(&isa) => Ok(isa),
        _ => {
            let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
            Err(format!("this processor has {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_ids_are_numbers_between_commas() {
        assert_eq!(token_ids("1, 2,3"), Ok(TokenIds(vec![1, 2, 3])));
        for text in ["", "1,", "a", "-1", "4294967296"] {
            assert!(token_ids(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_things_have_a_range() {
        for (parser, most) in [
            (threads as fn(&str) -> Result<usize, String>, 1024),
            (episodes, 1_000_000),
            (candidates, 1000),
            (repeats, 100_000),
            (sequences, 4096),
            (chunk, 1_000_000),
            (seconds, 86_400),
        ] {
            assert_eq!(parser(&most.to_string()), Ok(most));
            for text in ["0", "-1", "many", &(most + 1).to_string(), "18446744073709551615", "1e99"] {
                let said = parser(text).unwrap_err();
                assert!(said.ends_with(&format!("from 1 to {most}")), "{text}: {said}");
            }
        }
    }

    #[test]
    fn sampling_values_outside_their_range_are_refused() {
        assert_eq!(temperature("0"), Ok(0.0));
        for text in ["-1", "nan", "inf", "warm"] {
            assert!(temperature(text).is_err(), "{text}");
        }
        assert!(probability_mass("0").is_err());
        assert_eq!(probability_mass("1"), Ok(1.0));
        assert!(probability_floor("1.1").is_err());
        assert!(penalty("0").is_err());
    }
}
