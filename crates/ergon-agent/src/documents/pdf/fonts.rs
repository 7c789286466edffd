//! The parts of fonts that say which character a code is. They are parsed by code that goes as deep as they nest and
//! writes out every range that they name.

use pdf_extract::{Document as Pdf, Object, ObjectId};

use super::{over, unfold::unfold};

/// Bytes of a table of characters.
const MAX_TABLE_BYTES: usize = 8 << 20;
/// Brackets within brackets.
const MAX_DEPTH: usize = 2_000;
/// Codes that the ranges of one table name together.
const MAX_CODES: u64 = 1 << 21;

/// Looks at everything in the file that a font may lead to; says why it is refused.
pub(super) fn check(pdf: &Pdf, stream_bytes: usize) -> Result<(), String> {
    let mut found: Vec<(ObjectId, bool)> = Vec::new();
    for object in pdf.objects.values() {
        super::visit(object, &mut |key, value| {
            let is_program = key == b"FontFile3";
            if let (true, Ok(id)) =
                (is_program || matches!(key, b"ToUnicode" | b"Encoding" | b"FontFile"), value.as_reference())
            {
                found.push((id, is_program));
            }
        });
    }
    found.sort_unstable();
    found.dedup();
    for (id, is_program) in found {
        let Ok(stream) = pdf.get_object(id).and_then(Object::as_stream) else { continue };
        let limit = if is_program { stream_bytes } else { MAX_TABLE_BYTES };
        let table = unfold(stream, limit).map_err(|_| over("a table of a font", limit))?;
        if !is_program && (depth(&table) > MAX_DEPTH || codes(&table).map_or(true, |codes| codes > MAX_CODES))
        {
            return Err("a table of one of its fonts is no table of characters".to_string());
        }
    }
    Ok(())
}

/// How deep brackets may nest at most.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in bytes {
        match byte {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A table writes its ranges as none does that is meant to be read.
#[derive(Debug, PartialEq, Eq)]
struct Odd;

/// How many codes the ranges of a table name. What ends a range early ends it for the library too.
fn codes(table: &[u8]) -> Result<u64, Odd> {
    let begin = b"beginbfrange";
    let mut codes = 0u64;
    let mut rest = table;
    while let Some(at) = rest.windows(begin.len()).position(|window| window == begin) {
        rest = &rest[at + begin.len()..];
        while let Some((low, after)) = code(rest)? {
            let Some((high, after)) = code(after)? else { break };
            codes = codes.saturating_add(u64::from(high.saturating_sub(low)) + 1);
            let Some(after) = target(after)? else { break };
            rest = after;
        }
    }
    Ok(codes)
}

/// A code in angle brackets, and what follows it.
fn code(bytes: &[u8]) -> Result<Option<(u32, &[u8])>, Odd> {
    let digits = match bytes.trim_ascii_start() {
        [b'<', digits @ ..] => digits,
        [b'(' | b'%', ..] => return Err(Odd),
        _ => return Ok(None),
    };
    let Some(end) = digits.iter().position(|byte| *byte == b'>') else { return Ok(None) };
    let value = digits[..end].iter().filter_map(|digit| char::from(*digit).to_digit(16));
    let value = value.fold(0u32, |value, digit| value << 4 | digit);
    Ok(Some((value, &digits[end + 1..])))
}

/// What follows the target of a range, a code or a list of them.
fn target(bytes: &[u8]) -> Result<Option<&[u8]>, Odd> {
    let [b'[', list @ ..] = bytes.trim_ascii_start() else {
        return Ok(code(bytes)?.map(|(_, after)| after));
    };
    let Some(end) = list.iter().position(|byte| *byte == b']') else { return Ok(None) };
    if list[..end].iter().any(|byte| b"(%".contains(byte)) { Err(Odd) } else { Ok(Some(&list[end + 1..])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted_and_odd_ones_refused() {
        let table = b"2 beginbfrange <0000> <00ff> <0041> <0100> <0101> [<0042> <0043>] endbfrange";
        assert_eq!(codes(table), Ok(258));
        assert_eq!(codes(b"1 beginbfrange <00000000> <ffffffff> <0041> endbfrange"), Ok(1 << 32));
        assert_eq!(codes(b"1 beginbfrange (\0\0\0\0) <ffffffff> <0041> endbfrange"), Err(Odd));
        assert_eq!(codes(b"/Registry (Adobe) def 1 beginbfchar <01> <0041> endbfchar"), Ok(0));
        assert_eq!(depth(b"[[<<()>>]]"), 5);
    }
}
