//! Hub ids.

use super::HubError;
use std::{fmt, str::FromStr};

/// A model on the hub: `owner/name[@revision][:quant]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubId {
    /// The owner.
    pub owner: String,
    /// The model's name.
    pub name: String,
    /// Branch, tag or commit; `main` if none is named.
    pub revision: Option<String>,
    /// Which GGUF model of the repository, e.g. `Q4_K_M`.
    pub quant: Option<String>,
}

/// The hub's own bound for owner and name together.
const MAX_NAME: usize = 96;

impl HubId {
    /// The revision to ask for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl FromStr for HubId {
    type Err = HubError;

    fn from_str(text: &str) -> Result<HubId, HubError> {
        let error = |why| HubError::NotAnId { text: text.chars().take(200).collect(), why };
        if text.contains("://") {
            return Err(error("it is an address; leave out https:// and the host, as in Qwen/Qwen3-0.6B"));
        }
        let (rest, quant) = match text.split_once(':') {
            Some((rest, quant)) => (rest, Some(quant)),
            None => (text, None),
        };
        let (rest, revision) = match rest.split_once('@') {
            Some((rest, revision)) => (rest, Some(revision)),
            None => (rest, None),
        };
        let (owner, name) = rest.split_once('/').ok_or_else(|| error("there is no '/'"))?;
        if !is_name(owner) || !is_name(name) || owner.len() + name.len() > MAX_NAME {
            return Err(error("owner and name are letters, digits, '-', '_' and '.'"));
        }
        if !revision.is_none_or(is_revision) {
            return Err(error("the revision after '@' is no branch, tag or commit"));
        }
        if !quant.is_none_or(is_name) {
            return Err(error("the quantisation after ':' is letters, digits, '-', '_' and '.'"));
        }
        let own = |text: Option<&str>| text.map(str::to_string);
        Ok(HubId { owner: owner.into(), name: name.into(), revision: own(revision), quant: own(quant) })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(quant) = &self.quant {
            write!(f, ":{quant}")?;
        }
        Ok(())
    }
}

/// Safe as one component of a path and of a URL; the hub forbids `--` and `..` as well.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.starts_with(['-', '.'])
        && !text.ends_with(['-', '.'])
        && !text.contains("--")
        && !text.contains("..")
}

/// Branches may have slashes (`refs/pr/3`); each part must be safe as a component of a path.
fn is_revision(text: &str) -> bool {
    text.len() <= 200
        && text.split('/').all(|part| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
                && !part.starts_with('.')
                && !part.contains("..")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_part() {
        for text in ["a/b", "Qwen/Qwen3-0.6B", "a/b@v1.0", "a/b@refs/pr/3:Q4_K_M", "o_1/n.2:IQ4_NL"] {
            assert_eq!(text.parse::<HubId>().unwrap().to_string(), text);
        }
        let id: HubId = "a/b:Q8_0".parse().unwrap();
        assert_eq!((id.revision(), id.quant.as_deref()), ("main", Some("Q8_0")));
    }

    #[test]
    fn an_address_is_told_from_an_id() {
        let said = "https://huggingface.co/a/b".parse::<HubId>().unwrap_err().to_string();
        assert!(said.contains("address") && said.contains("Qwen/Qwen3-0.6B"), "{said}");
    }

    #[test]
    fn refuses_what_could_lead_elsewhere() {
        for text in [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/b@",
            "a/b@../x",
            "a/b@x//y",
            "a/b@/x",
            "a/b:",
            "a/b:..",
            "a/b:x/y",
            "a b/c",
            "a/b@x y",
            "a/b?x",
            "a/b%2e",
            "C:\\a/b",
            "a--x/b",
            "-a/b",
            "https://huggingface.co/a/b",
        ] {
            let message = text.parse::<HubId>().unwrap_err().to_string();
            assert!(message.contains("owner/name"), "{text}: {message}");
        }
    }
}
