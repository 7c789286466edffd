//! Which files of a repository are needed.

use crate::gguf;
use std::collections::BTreeMap;

pub(super) const CONFIG: &str = "config.json";
pub(super) const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// What to load from a repository, seen from its list of files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// `config.json` with its companions, and the weights.
    Folder {
        /// Small files that are there.
        companions: Vec<String>,
        /// Either the weights, or the index that names them.
        weights: String,
    },
    /// One GGUF model: its parts in order.
    Gguf(Vec<String>),
}

/// Chooses among the files of a repository (or of a snapshot in the cache).
///
/// # Errors
/// Nothing fits, or several things do: a text that says what is there.
pub(super) fn select(files: &[String], quant: Option<&str>) -> Result<Selection, String> {
    match quant {
        Some(quant) => select_gguf(files, Some(quant)),
        None if files.iter().any(|file| file == CONFIG) && top_level_safetensors(files).next().is_some() => {
            let companions = files.iter().filter(|file| is_companion(file)).cloned().collect();
            Ok(Selection::Folder { companions, weights: weights(files)? })
        }
        None => select_gguf(files, None),
    }
}

fn top_level_safetensors(files: &[String]) -> impl Iterator<Item = &String> {
    files.iter().filter(|file| file.ends_with(".safetensors") && !file.contains('/'))
}

/// The files beside the weights that a model needs to run.
fn is_companion(file: &str) -> bool {
    let text = [".json", ".jinja", ".model"].iter().any(|end| file.ends_with(end)) && !file.contains('/');
    let named = file == CONFIG || file == "generation_config.json";
    text && (named || file.starts_with("tokenizer") || file.starts_with("chat_template"))
}

/// Whether a model with these files can read text; some repositories hold weights only.
pub(super) fn has_tokenizer(files: &[String]) -> bool {
    files.iter().any(|file| file == "tokenizer.json" || file == "tokenizer.model")
}

fn weights(files: &[String]) -> Result<String, String> {
    for name in [SINGLE, INDEX] {
        if files.iter().any(|file| file == name) {
            return Ok(name.to_string());
        }
    }
    let mut candidates = top_level_safetensors(files);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(format!("has several .safetensors files but no {INDEX}")),
    }
}

fn select_gguf(files: &[String], quant: Option<&str>) -> Result<Selection, String> {
    let mut models: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for file in files {
        if let Some(stem) = model_stem(file) {
            models.entry(stem).or_default().push(file);
        }
    }
    if models.is_empty() {
        return Err("has neither config.json with safetensors nor GGUF files".to_string());
    }
    let fits = |stem: &str| quant.is_none_or(|quant| ends_with_quant(stem, quant));
    let names: Vec<&str> = models.keys().copied().collect();
    let mut fitting: Vec<Vec<&String>> =
        models.into_iter().filter(|(stem, _)| fits(stem)).map(|(_, parts)| parts).collect();
    match (fitting.pop(), fitting.len()) {
        (Some(mut parts), 0) => {
            parts.sort();
            Ok(Selection::Gguf(parts.into_iter().cloned().collect()))
        }
        (None, _) => {
            Err(format!("has no GGUF model '{}'; there are: {}", quant.unwrap_or_default(), few(&names)))
        }
        (Some(_), _) => {
            Err(format!("has several GGUF models, add ':' and the end of one name: {}", few(&names)))
        }
    }
}

/// The first names of a list, for an error message.
fn few(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| name.chars().take(80).collect()).collect();
    format!("{}{more}", shown.join(", "))
}

/// The name of the model a GGUF file belongs to: without the extension and the number of the part. `None` for files
/// that are no language models (vision projectors, importance matrices).
fn model_stem(file: &str) -> Option<&str> {
    let stem = file.strip_suffix(".gguf")?;
    let base = stem.rsplit('/').next().unwrap_or(stem).to_ascii_lowercase();
    if base.starts_with("mmproj") || base.contains("imatrix") {
        return None;
    }
    let split = stem.len().checked_sub(gguf::SUFFIX_LEN).and_then(|at| stem.split_at_checked(at));
    match split {
        Some((whole, part)) if gguf::part_of(part).is_some() => Some(whole),
        _ => Some(stem),
    }
}

fn ends_with_quant(stem: &str, quant: &str) -> bool {
    let Some(at) = stem.len().checked_sub(quant.len()) else { return false };
    stem.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(quant))
        && (at == 0 || stem[..at].ends_with(['-', '.', '_', '/']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn takes_the_companions_and_one_set_of_weights() {
        let all = files(&[
            "README.md",
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            INDEX,
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
            "original/tokenizer.model",
            "pytorch_model.bin",
            "generation_config.json",
        ]);
        let Selection::Folder { companions, weights } = select(&all, None).unwrap() else { panic!() };
        assert_eq!(weights, INDEX);
        assert_eq!(
            companions,
            [
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "chat_template.jinja",
                "generation_config.json"
            ]
        );
    }

    #[test]
    fn takes_the_gguf_that_is_named() {
        let all = files(&[
            "m-Q4_K_M.gguf",
            "m-Q8_0.gguf",
            "mmproj-Q8_0.gguf",
            "big/m-BF16-00002-of-00002.gguf",
            "big/m-BF16-00001-of-00002.gguf",
            "config.json",
        ]);
        assert_eq!(select(&all, Some("q8_0")), Ok(Selection::Gguf(files(&["m-Q8_0.gguf"]))));
        let parts = files(&["big/m-BF16-00001-of-00002.gguf", "big/m-BF16-00002-of-00002.gguf"]);
        assert_eq!(select(&all, Some("BF16")), Ok(Selection::Gguf(parts)));
        for (quant, says) in
            [(Some("Q2_K"), "there are: big/m-BF16"), (Some("_M"), "there are"), (None, "several")]
        {
            let message = select(&all, quant).unwrap_err();
            assert!(message.contains(says), "{message}");
        }
        assert_eq!(select(&files(&["a.gguf"]), None), Ok(Selection::Gguf(files(&["a.gguf"]))));
        assert!(select(&files(&["README.md"]), None).is_err());
    }
}
