//! What every token id stands for in bytes: one table, used for decoding, streaming and constrained output.

use std::ops::Range;

/// Largest vocabulary accepted; published ones end at about 2^18.
pub(super) const MAX_TOKENS: usize = 1 << 20;
/// Longest single token accepted, in bytes; the longest published ones are runs of a few hundred spaces.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;

/// One entry on its way into the table.
pub(super) struct Piece {
    pub(super) id: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) special: bool,
}

/// Bytes of every token by id. Ids may have gaps.
#[derive(Clone, Debug)]
pub(super) struct PieceTable {
    bytes: Vec<u8>,
    /// Where token `id` lies in `bytes`; an id that does not exist has `u32::MAX` as its start.
    ranges: Vec<Range<u32>>,
    special: Vec<bool>,
}

impl PieceTable {
    /// `pieces` in any order; a later piece replaces an earlier one of the same id. The caller has checked ids against
    /// [`MAX_TOKENS`] and lengths against [`MAX_TOKEN_BYTES`], so offsets fit 32 bits.
    pub(super) fn new(pieces: Vec<Piece>) -> PieceTable {
        let len = pieces.iter().map(|piece| piece.id as usize + 1).max().unwrap_or(0);
        let mut table = PieceTable {
            bytes: Vec::new(),
            ranges: vec![u32::MAX..u32::MAX; len],
            special: vec![false; len],
        };
        for piece in pieces {
            let start = table.bytes.len() as u32;
            table.bytes.extend_from_slice(&piece.bytes);
            table.ranges[piece.id as usize] = start..table.bytes.len() as u32;
            table.special[piece.id as usize] = piece.special;
        }
        table
    }

    /// One past the highest id.
    pub(super) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let range = self.ranges.get(id as usize)?;
        self.bytes.get(range.start as usize..range.end as usize)
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }
}

/// The byte a character of the byte-level alphabet stands for. GPT-2's tokenizer writes printable Latin-1 bytes as
/// themselves and the other 68, in order, as U+0100 and following, so that tokens can be kept as text.
pub(super) fn byte_of_char(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The bytes of a byte-level token; a token with any character outside the alphabet stands for itself.
pub(super) fn byte_level_bytes(token: &str) -> Vec<u8> {
    token.chars().map(byte_of_char).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte that a SentencePiece byte token such as `<0x0A>` stands for.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_a_bijection() {
        let mut seen = [false; 256];
        for c in (0..=0x200).filter_map(char::from_u32) {
            if let Some(byte) = byte_of_char(c) {
                assert!(!seen[byte as usize], "{c:?} repeats byte {byte}");
                seen[byte as usize] = true;
            }
        }
        assert!(seen.iter().all(|s| *s));
        assert_eq!(byte_of_char('Ġ'), Some(b' '));
        assert_eq!(byte_of_char('Ċ'), Some(b'\n'));
    }

    #[test]
    fn only_two_hex_digits_make_a_byte_token() {
        assert_eq!(byte_token("<0x0A>"), Some(10));
        for text in ["<0xA>", "<0x+1>", "<0x1g>", "<0xé>", "0x0A", "<0x0A"] {
            assert_eq!(byte_token(text), None, "{text}");
        }
    }
}
