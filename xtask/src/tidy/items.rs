//! Items found by matching brackets in the code view: functions, test regions, module declarations.

use super::source::{is_word, line_of, words};

/// A function with a body, nested ones included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub(crate) lines: usize,
}

/// A `mod name;`: a promise that another file exists.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModuleFile {
    pub(crate) name: String,
    /// The inline modules around it, outermost first.
    pub(crate) inside: Vec<String>,
    /// Offset of `mod` in the file.
    pub(crate) offset: usize,
}

/// Every function with a body, in order.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    words(code, "fn").filter_map(|at| function_at(code, at)).collect()
}

fn function_at(code: &str, at: usize) -> Option<Function> {
    let rest = code[at + 2..].trim_start();
    let name: String =
        rest.chars().take_while(|c| *c == '$' || (c.is_ascii() && is_word(*c as u8))).collect();
    let (open, close) = body(code, at).filter(|_| !name.is_empty())?;
    debug_assert!(open < close, "a body ends after it begins");
    let line = line_of(code, at);
    Some(Function { name, line, lines: line_of(code, close) - line + 1 })
}

/// Offsets of the braces of the first body after `from`; `None` when a `;` outside brackets comes first.
fn body(code: &str, from: usize) -> Option<(usize, usize)> {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            // A closing bracket of something around `from`: there is no body here (`fn` as a macro's argument).
            b')' | b']' if depth == 0 => return None,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some((offset, closing_brace(code, offset))),
            _ => {}
        }
    }
    None
}

/// Offset of the brace that closes the one at `open`, or of the last byte.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if depth == 0 {
            return offset;
        }
    }
    code.len() - 1
}

/// Per line: whether it belongs to an item under `#[cfg(test)]` or `#[test]`, the attribute included.
pub(crate) fn test_lines(code: &str) -> Vec<bool> {
    let mut lines = vec![false; code.lines().count()];
    for (at, attribute) in attributes(code) {
        if !is_test_attribute(attribute) {
            continue;
        }
        let end = item_end(code, at + attribute.len());
        lines[line_of(code, at) - 1..line_of(code, end).min(code.lines().count())].fill(true);
    }
    lines
}

/// Outer attributes `#[…]` with their offsets.
fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices("#[").map(|(at, _)| {
        let mut depth = 0_i32;
        let end = code.bytes().enumerate().skip(at + 1).find_map(|(offset, byte)| {
            depth += i32::from(byte == b'[') - i32::from(byte == b']');
            (depth == 0).then_some(offset + 1)
        });
        (at, &code[at..end.unwrap_or(code.len())])
    })
}

fn is_test_attribute(attribute: &str) -> bool {
    let inner: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    let is_cfg_test = inner.starts_with("#[cfg(") && words(&inner, "test").next().is_some();
    inner == "#[test]" || (is_cfg_test && !inner.contains("not(test"))
}

/// Where the item whose attributes end at `from` ends: its closing brace, its `;`, or (a field, an argument) its `,`.
fn item_end(code: &str, from: usize) -> usize {
    let bytes = code.as_bytes();
    let mut depth = 0_i32;
    for (offset, &byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'>' if matches!(bytes[offset - 1], b'-' | b'=') => {}
            b'(' | b'[' | b'<' => depth += 1,
            b')' | b']' | b'>' | b'}' if depth == 0 => return offset,
            b')' | b']' | b'>' => depth -= 1,
            b';' | b',' if depth == 0 => return offset,
            b'{' if depth == 0 => return closing_brace(code, offset),
            _ => {}
        }
    }
    code.len()
}

/// Every `mod name;` of a file.
pub(crate) fn module_files(code: &str) -> Vec<ModuleFile> {
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new(); // name, offset of the closing brace
    for offset in words(code, "mod") {
        let rest = code[offset + 3..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_ascii() && is_word(*c as u8)).collect();
        inline.retain(|(_, close)| *close > offset);
        let after = rest[name.len()..].trim_start();
        if after.starts_with(';') && !name.is_empty() {
            let inside = inline.iter().map(|(name, _)| name.clone()).collect();
            found.push(ModuleFile { name, inside, offset });
        } else if after.starts_with('{') {
            let open = code.len() - after.len();
            inline.push((name, closing_brace(code, open)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let code = "fn a() {\n}\ntrait T {\n    fn b(x: [u8; 4]);\n    fn c() -> u8 {\n        1\n    }\n}\n";
        let found: Vec<_> = functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("a".to_owned(), 1, 2), ("c".to_owned(), 5, 3)]);
    }

    #[test]
    fn function_pointers_are_not_functions() {
        assert_eq!(functions("type F = fn(u8) -> u8;\nstruct S { f: fn() }\n"), []);
    }

    #[test]
    fn test_regions_end_with_their_item() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}\n";
        assert_eq!(test_lines(code), [false, true, true, true, true, false, true, true, false]);
        assert_eq!(test_lines("#[cfg(not(test))]\nfn a() {}\n"), [false, false]);
        assert_eq!(test_lines("#[test]\nfn a<A, B>() -> A {\n}\nfn b() {}\n"), [true, true, true, false]);
        assert_eq!(test_lines("#[cfg(all(test, unix))]\nfn a() {}\n"), [true, true]);
    }

    #[test]
    fn modules_know_the_inline_modules_around_them() {
        let code = "mod a;\nmod b {\n    pub mod c;\n}\npub(crate) mod d;\n";
        let found: Vec<_> = module_files(code).into_iter().map(|m| (m.name, m.inside)).collect();
        let expect = [("a", vec![]), ("c", vec!["b".to_owned()]), ("d", vec![])];
        assert_eq!(found, expect.map(|(name, inside)| (name.to_owned(), inside)));
    }
}
