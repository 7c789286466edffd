//! Tokenizers embedded in GGUF files (`tokenizer.ggml.*`), as llama.cpp reads them.

use super::{
    Tokenizer,
    error::{Source, TokenizerError},
    parts::{AddedPart, MAX_MERGES, ModelParts, Parts, template},
    pieces::MAX_TOKENS,
    pre,
};
use crate::Metadata;
use serde_json::{Value, json};
use tokenizers::AddedToken;

const KEY: &str = "tokenizer.ggml";

/// `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
}

/// Everything the kinds of tokenizer have in common.
struct Header {
    tokens: Vec<String>,
    kinds: Vec<Kind>,
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
}

/// Builds the tokenizer of a GGUF file.
pub(super) fn read(source: &Source, metadata: &Metadata) -> Result<Tokenizer, TokenizerError> {
    let Some(model) = metadata.str(&format!("{KEY}.model"))? else {
        return Err(TokenizerError::Missing {
            model: source.0.clone(),
            what: format!(
                "has no tokenizer (no key '{KEY}.model'); use a file that was converted with its vocabulary"
            ),
        });
    };
    let parts = match model {
        "gpt2" => byte_level(source, metadata)?,
        "llama" => sentence_piece(source, metadata)?,
        other => return Err(source.unsupported(format!("tokenizer model '{other}' (known: gpt2, llama)"))),
    };
    parts.build(source)
}

impl Header {
    fn read(
        source: &Source,
        metadata: &Metadata,
        defaults: [Option<u32>; 3],
    ) -> Result<Header, TokenizerError> {
        let listed = metadata.list_str(&format!("{KEY}.tokens"))?.unwrap_or_default();
        if listed.is_empty() || listed.len() > MAX_TOKENS {
            let n = listed.len();
            return Err(
                source.invalid(format!("'{KEY}.tokens' has {n} tokens; 1 to {MAX_TOKENS} are accepted"))
            );
        }
        // An empty token gets a name of its own, as in llama.cpp, so that several of them are no duplicates.
        let name = |(id, token): (usize, &str)| {
            if token.is_empty() { format!("[EMPTY_{id}]") } else { token.to_string() }
        };
        let tokens: Vec<String> = listed.into_iter().enumerate().map(name).collect();
        let kinds = kinds(source, metadata, tokens.len())?;
        let id = |role: &str, default: Option<u32>| -> Result<Option<u32>, TokenizerError> {
            let key = format!("{KEY}.{role}_token_id");
            match metadata.usize(&key)? {
                None => Ok(default.filter(|id| (*id as usize) < tokens.len())),
                Some(id) if id < tokens.len() => Ok(Some(id as u32)),
                // How converters write "there is none".
                Some(id) if id == u32::MAX as usize => Ok(None),
                Some(id) => {
                    Err(source.invalid(format!("'{key}' is {id}, but there are {} tokens", tokens.len())))
                }
            }
        };
        let (bos, eos, unknown) =
            (id("bos", defaults[0])?, id("eos", defaults[1])?, id("unknown", defaults[2])?);
        let mut kinds = kinds.unwrap_or_default();
        if kinds.is_empty() {
            kinds = vec![Kind::Normal; tokens.len()];
            for id in [bos, eos, id("eot", None)?, id("eom", None)?].into_iter().flatten() {
                kinds[id as usize] = Kind::Control;
            }
        }
        Ok(Header { tokens, kinds, bos, eos, unknown })
    }

    fn added(&self) -> Vec<AddedPart> {
        let part = |(id, (token, kind)): (u32, (&String, &Kind))| {
            let special = match kind {
                Kind::Normal => return None,
                Kind::UserDefined => false,
                Kind::Control | Kind::Unknown => true,
            };
            Some(AddedPart { id, token: AddedToken::from(token.clone(), special).normalized(false) })
        };
        (0u32..).zip(self.tokens.iter().zip(&self.kinds)).filter_map(part).collect()
    }

    /// Honours `add_bos_token` and `add_eos_token`; a token that is to be added must be there.
    fn post_processor(
        &self,
        source: &Source,
        metadata: &Metadata,
        add_bos_by_default: bool,
    ) -> Result<Value, TokenizerError> {
        let wanted =
            |key: &str, default: bool, id: Option<u32>| -> Result<Option<(&str, u32)>, TokenizerError> {
                let key = format!("{KEY}.{key}");
                let told = metadata.bool(&key)?;
                match (told.unwrap_or(default), id) {
                    (true, Some(id)) => Ok(Some((self.tokens[id as usize].as_str(), id))),
                    (true, None) if told.is_some() => Err(source
                        .invalid(format!("'{key}' is true, but the file does not say which token that is"))),
                    _ => Ok(None),
                }
            };
        let before = wanted("add_bos_token", add_bos_by_default, self.bos)?;
        let after = wanted("add_eos_token", false, self.eos)?;
        Ok(if before.is_none() && after.is_none() { Value::Null } else { template(before, after) })
    }
}

fn kinds(source: &Source, metadata: &Metadata, tokens: usize) -> Result<Option<Vec<Kind>>, TokenizerError> {
    let Some(listed) = metadata.list_i64(&format!("{KEY}.token_type"))? else {
        return Ok(None);
    };
    if listed.len() != tokens {
        let n = listed.len();
        return Err(source.invalid(format!("'{KEY}.token_type' has {n} entries for {tokens} tokens")));
    }
    let kind = |code| match code {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        // 1 normal, 5 unused, 6 byte; anything else is treated as normal, as llama.cpp's "undefined" is.
        _ => Kind::Normal,
    };
    Ok(Some(listed.into_iter().map(kind).collect()))
}

fn byte_level(source: &Source, metadata: &Metadata) -> Result<Parts, TokenizerError> {
    let header = Header::read(source, metadata, [None, None, None])?;
    let name = metadata.str(&format!("{KEY}.pre"))?.unwrap_or("default");
    let Some(pre) = pre::by_name(name) else {
        return Err(source.unsupported(format!("pre-tokenizer '{name}'")));
    };
    let listed = metadata.list_str(&format!("{KEY}.merges"))?;
    let listed =
        listed.ok_or_else(|| source.invalid(format!("a gpt2 tokenizer needs the key '{KEY}.merges'")))?;
    if listed.len() > MAX_MERGES {
        let n = listed.len();
        return Err(source.invalid(format!("'{KEY}.merges' has {n} merges, more than {MAX_MERGES}")));
    }
    let mut merges = Vec::with_capacity(listed.len());
    for (rank, merge) in listed.into_iter().enumerate() {
        // The first space can belong to a token itself only when the merge starts with it.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        let Some(at) = at else {
            return Err(
                source.invalid(format!("merge {rank}, '{merge}', is not two tokens with a space between"))
            );
        };
        merges.push((merge[..at].to_string(), merge[at + 1..].to_string()));
    }
    let post_processor = header.post_processor(source, metadata, pre.add_bos)?;
    let added = header.added();
    Ok(Parts {
        added,
        normalizer: Value::Null,
        pre_tokenizer: pre::to_json(&pre),
        post_processor,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}),
        bos: header.bos,
        eos: header.eos,
        model: ModelParts::Bpe {
            vocabulary: header.tokens.into_iter().zip(0u32..).collect(),
            merges,
            unknown: None,
            fuse_unknown: false,
            byte_fallback: false,
            ignore_merges: pre.ignore_merges,
        },
    })
}

fn sentence_piece(source: &Source, metadata: &Metadata) -> Result<Parts, TokenizerError> {
    // llama.cpp's defaults for this kind: <unk> 0, <s> 1, </s> 2.
    let header = Header::read(source, metadata, [Some(1), Some(2), Some(0)])?;
    let scores = metadata.list_f64(&format!("{KEY}.scores"))?;
    let scores =
        scores.ok_or_else(|| source.invalid(format!("a llama tokenizer needs the key '{KEY}.scores'")))?;
    if scores.len() != header.tokens.len() {
        let (n, tokens) = (scores.len(), header.tokens.len());
        return Err(source.invalid(format!("'{KEY}.scores' has {n} entries for {tokens} tokens")));
    }
    let prefix = metadata.bool(&format!("{KEY}.add_space_prefix"))?.unwrap_or(true);
    let post_processor = header.post_processor(source, metadata, true)?;
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})];
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(Parts {
        added: header.added(),
        normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
        pre_tokenizer: Value::Null,
        post_processor,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        bos: header.bos,
        eos: header.eos,
        model: ModelParts::SentencePiece {
            scores: scores.into_iter().map(|score| score as f32).collect(),
            unknown: header.unknown,
            tokens: header.tokens,
        },
    })
}
