//! A PDF's bytes before the library sees them. While it loads a file it follows a stream's length from object to object as deep
//! as the file says, makes room for numbers that the file names, and unfolds streams of objects whole. None of that can be
//! bounded from outside, so what would lead there is taken out of the bytes or refused.

use std::sync::atomic::AtomicBool;

use super::{super::ReadLimits, is_wanted, over, unfold};

/// Numbers beyond this in a table of references or a row of a predictor.
const MAX_NUMBER: u64 = 1 << 24;
/// Times that zlib data may hold zlib data.
const MAX_FOLDS: usize = 4;
/// How much more than another stream an image may unfold to: nothing of it is kept.
const IMAGE_FACTOR: u64 = 8;
/// Bytes before the data of a stream in which its dictionary is looked for.
const DICTIONARY_BYTES: usize = 4 << 10;

/// Takes out what leads astray, or says why the file is refused. No byte changes its place.
pub(super) fn tame(bytes: &mut [u8], limits: &ReadLimits, gone: &AtomicBool) -> Result<(), String> {
    let mut at = 0;
    while let Some(slash) = bytes[at..].iter().position(|byte| *byte == b'/') {
        // Each name can make the search for a stream go through the whole file.
        is_wanted(gone)?;
        let start = at + slash;
        let (name, end) = name(bytes, start + 1);
        at = end.max(start + 1);
        match name.as_slice() {
            b"Length" => direct_length(bytes, start, end),
            b"W" if !are_widths(bytes, end) => return Err(damaged("table of references")),
            b"Columns" | b"Colors" | b"BitsPerComponent"
                if number(bytes, space(bytes, end)).is_some_and(|(number, _)| number > MAX_NUMBER) =>
            {
                return Err(damaged("filters"));
            }
            _ => {}
        }
    }
    streams(bytes, limits, gone)
}

fn damaged(what: &str) -> String {
    format!("its {what} name numbers that no file of its size needs")
}

/// A name from behind its slash, up to the length of those looked for, and where it ends; `#41` is a letter.
fn name(bytes: &[u8], mut at: usize) -> (Vec<u8>, usize) {
    let mut name = Vec::new();
    while let Some(byte) = bytes.get(at).copied() {
        if name.len() > 16 || b" \t\n\r\0\x0c()<>[]{}/%".contains(&byte) {
            break;
        }
        if byte != b'#' {
            name.push(byte);
            at += 1;
            continue;
        }
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(value) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { break };
        name.push(value);
        at += 3;
    }
    (name, at)
}

/// Where white space and comments end.
fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0 | 0x0c => at += 1,
            b'%' => {
                let line = bytes[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                at = line.map_or(bytes.len(), |line| at + line);
            }
            _ => break,
        }
    }
    at
}

/// A number without a sign, and where it ends.
fn number(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let digits = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = bytes[at..at + digits]
        .iter()
        .fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    (digits > 0).then_some((value, at + digits))
}

/// Where a reference begins and ends.
fn reference(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let start = space(bytes, at);
    let (_, at) = number(bytes, start)?;
    let (_, at) = number(bytes, space(bytes, at))?;
    let at = space(bytes, at);
    (bytes.get(at) == Some(&b'R')).then_some((start, at + 1))
}

/// Puts a stream's own length where only a reference to it stands. Where there is no room the entry loses its name, and the
/// stream is filled once the file is loaded.
fn direct_length(bytes: &mut [u8], name_start: usize, name_end: usize) {
    let Some((start, end)) = reference(bytes, name_end) else { return };
    let length = find(bytes, end, b"stream")
        .and_then(|at| data(bytes, at))
        .and_then(|from| Some(data_end(bytes, from)? - from))
        .map(|length| length.to_string());
    match length.filter(|length| length.len() <= end - start) {
        Some(length) => {
            bytes[start..end].fill(b' ');
            bytes[start..start + length.len()].copy_from_slice(length.as_bytes());
        }
        None => bytes[name_start + 1..name_end].fill(b'x'),
    }
}

/// The numbers of a table of references say how wide its columns are; the arrays of a font that share the name pass.
fn are_widths(bytes: &[u8], at: usize) -> bool {
    let at = space(bytes, at);
    if bytes.get(at) != Some(&b'[') {
        return true;
    }
    let mut at = at + 1;
    let mut widths = Vec::new();
    while let Some((width, end)) = number(bytes, space(bytes, at)).filter(|_| widths.len() < 64) {
        widths.push(width);
        at = end;
    }
    let is_whole = bytes.get(space(bytes, at)) == Some(&b']');
    let says_nothing = is_whole && widths.len() > 2 && widths.iter().all(|width| *width == 0);
    !says_nothing && widths.iter().all(|width| *width <= MAX_NUMBER)
}

/// Measures every stream of the file, whatever it says it is.
fn streams(bytes: &[u8], limits: &ReadLimits, gone: &AtomicBool) -> Result<(), String> {
    let mut at = 0;
    while let Some(keyword) = find(bytes, at, b"stream") {
        at = keyword + 1;
        let Some(from) = data(bytes, keyword).filter(|_| !bytes[..keyword].ends_with(b"end")) else {
            continue;
        };
        is_wanted(gone)?;
        // Compressed data say where they end. What is said around them may be a lie, so one stream may lie in another.
        let limit = limits.pdf_stream_bytes as u64;
        let is_too_large = match is_image(bytes, keyword) {
            true => unfold::is_over(&bytes[from..], limit.saturating_mul(IMAGE_FACTOR)),
            false => folds(&bytes[from..], limits.pdf_stream_bytes),
        };
        if is_too_large {
            return Err(over("a stream", limits.pdf_stream_bytes));
        }
    }
    Ok(())
}

/// Whether data unfolds to more than the limit, also if it is folded more than once.
fn folds(bytes: &[u8], limit: usize) -> bool {
    if unfold::is_over(bytes, limit as u64) {
        return true;
    }
    let is_zlib = |bytes: &[u8]| matches!(bytes, [first, second, ..] if first & 15 == 8 && (usize::from(*first) << 8 | usize::from(*second)) % 31 == 0);
    let Ok(mut inner) = unfold::inflate(bytes, limit) else { return true };
    for _ in 0..MAX_FOLDS {
        if !is_zlib(&inner) {
            return false;
        }
        match unfold::inflate(&inner, limit) {
            Ok(next) => inner = next,
            Err(_) => return true,
        }
    }
    is_zlib(&inner)
}

/// Whether the dictionary before a stream says that it is an image, and nothing there is spelled so that it could be hidden.
fn is_image(bytes: &[u8], keyword: usize) -> bool {
    let before = &bytes[keyword.saturating_sub(DICTIONARY_BYTES)..keyword];
    let begin = before.windows(3).rposition(|window| window == b"obj").unwrap_or(0);
    let holds = |text: &[u8]| find(before, begin, text).is_some();
    holds(b"/Image") && !holds(b"ObjStm") && !holds(b"XRef") && !holds(b"#")
}

pub(super) fn find(bytes: &[u8], from: usize, text: &[u8]) -> Option<usize> {
    let found = bytes.get(from..)?.windows(text.len()).position(|window| window == text)?;
    Some(from + found)
}

/// Where the data of a stream begin, from its keyword.
fn data(bytes: &[u8], keyword: usize) -> Option<usize> {
    let mut at = keyword + b"stream".len();
    while matches!(bytes.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    match bytes.get(at..)? {
        [b'\r', b'\n', ..] => Some(at + 2),
        [b'\r' | b'\n', ..] => Some(at + 1),
        _ => None,
    }
}

/// Where they end, without the end of line that stands before the closing keyword.
pub(super) fn data_end(bytes: &[u8], from: usize) -> Option<usize> {
    let end = find(bytes, from, b"endstream")?;
    Some(match &bytes[from..end] {
        [.., b'\r', b'\n'] => end - 2,
        [.., b'\r' | b'\n'] => end - 1,
        _ => end,
    })
}
