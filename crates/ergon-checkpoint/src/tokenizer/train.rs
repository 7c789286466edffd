//! A tokenizer from texts: byte-level byte-pair encoding, as GPT-2, Llama 3 and Qwen have it, learned by the `tokenizers`
//! crate and written as its `tokenizer.json`.

use super::TokenizerError;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Learns a vocabulary of at most `vocab_size` tokens (256 bytes and the special tokens included) and gives the text of
/// its `tokenizer.json`. Special tokens get the first ids, in their order; every text can be encoded. The same texts give
/// the same vocabulary.
///
/// # Errors
/// When the trainer fails; it has no reason to on text.
pub fn train_byte_level_bpe<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    vocab_size: usize,
    special_tokens: &[&str],
) -> Result<String, TokenizerError> {
    let failed = |error: tokenizers::Error| TokenizerError::Encode { what: error.to_string() };
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    let trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocab_size)
        .special_tokens(special_tokens.iter().map(|token| AddedToken::from(*token, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut TrainerWrapper::from(trainer), texts).map_err(failed)?;
    tokenizer.to_string(true).map_err(failed)
}
