//! A look at a template's tags before they are compiled, for the two things that no budget of the engine stops.
//!
//! Its compiler folds constants by walking the whole expression below every operator, so an expression of n operators
//! costs n² steps and recursion n deep: operators in one tag are limited (published templates have a few dozen).
//!
//! And a namespace that is made to hold itself sends printing and comparing into endless recursion, which overflows the
//! stack: namespaces may only be made by `{% set name = namespace(…) %}` and used as `name.attribute`, as all published
//! templates do, so that none can be stored anywhere.

use std::collections::HashSet;

/// Operators, brackets and keywords accepted in one tag.
const MAX_OPERATORS: usize = 500;
const KEYWORDS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "elif"];

/// What was found, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) what: &'static str,
    pub(super) line: usize,
}

/// A token of the language as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Sign(u8),
    Text,
}

/// Tokens of one tag, and the byte at which it opens.
struct Tag<'a> {
    open: usize,
    tokens: Vec<Token<'a>>,
}

/// Checks every tag of a template.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    let tags = tags(text);
    let refuse = |tag: &Tag, what| Err(Refusal { what, line: text[..tag.open].matches('\n').count() + 1 });
    let mut namespaces = HashSet::new();
    for tag in &tags {
        if tag.tokens.iter().filter(|token| is_operator(token)).count() > MAX_OPERATORS {
            return refuse(tag, "it has too many operators in one tag");
        }
        if tag.tokens.contains(&Token::Word("namespace")) {
            match made_namespace(&tag.tokens) {
                Some(name) => namespaces.insert(name),
                None => {
                    return refuse(tag, "it makes a namespace other than by '{% set name = namespace(…) %}'");
                }
            };
        }
    }
    for tag in &tags {
        let own = usize::from(made_namespace(&tag.tokens).is_some());
        if bare_uses(&tag.tokens, &namespaces) > own {
            return refuse(tag, "it uses a namespace other than through its attributes");
        }
    }
    Ok(())
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => KEYWORDS.contains(word),
        Token::Sign(sign) => b"+-~*/%|.[({<>=!".contains(sign),
        Token::Text => false,
    }
}

/// The name in `set name = namespace(…)`, if the tag is exactly that.
fn made_namespace<'a>(tokens: &[Token<'a>]) -> Option<&'a str> {
    use Token::{Sign, Word};
    let [Word("set"), Word(name), Sign(b'='), Word("namespace"), Sign(b'('), arguments @ .., Sign(b')')] =
        tokens
    else {
        return None;
    };
    let mut depth = 0usize;
    for token in arguments {
        match token {
            Sign(b'(') => depth += 1,
            Sign(b')') => depth = depth.checked_sub(1)?,
            Word("namespace") => return None,
            _ => {}
        }
    }
    Some(name)
}

/// How often one of the names stands for the namespace itself: neither an attribute of something else, nor the name of
/// an argument, nor followed by an attribute or an index.
fn bare_uses(tokens: &[Token], names: &HashSet<&str>) -> usize {
    let is_bare = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        let after = tokens.get(at + 1);
        let is_attribute = before == Some(&Token::Sign(b'.'));
        let is_argument = matches!(before, Some(Token::Sign(b'(' | b',')))
            && after == Some(&Token::Sign(b'='))
            && tokens.get(at + 2) != Some(&Token::Sign(b'='));
        let is_opened = matches!(after, Some(Token::Sign(b'.' | b'[')));
        !is_attribute && !is_argument && !is_opened
    };
    let named = |token: &Token| matches!(token, Token::Word(word) if names.contains(word));
    (0..tokens.len()).filter(|at| named(&tokens[*at]) && is_bare(*at)).count()
}

fn tags(text: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(open) = find_tag(text, at) {
        let inside = &text[open + 2..];
        if text.as_bytes()[open + 1] == b'#' {
            at = open + 2 + inside.find("#}").unwrap_or(inside.len());
            continue;
        }
        let close = if text.as_bytes()[open + 1] == b'{' { b"}}" } else { b"%}" };
        let (tokens, len) = scan(inside, close);
        at = open + 2 + len;
        if tokens == [Token::Word("raw")] {
            at += text[at..].find("endraw").unwrap_or(text.len() - at);
        }
        tags.push(Tag { open, tokens });
    }
    tags
}

fn find_tag(text: &str, from: usize) -> Option<usize> {
    let opens = |at: &usize| matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#'));
    text[from..].match_indices('{').map(|(at, _)| from + at).find(opens)
}

/// Tokens up to the end of the tag, and where that is. As in the engine, `close` ends a tag only where all brackets are
/// closed. The marks for whitespace (`{%-`, `-%}`) are no tokens.
fn scan<'a>(inside: &'a str, close: &[u8; 2]) -> (Vec<Token<'a>>, usize) {
    let bytes = inside.as_bytes();
    let mut tokens = Vec::new();
    let mut open_brackets = 0isize;
    let mut at = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    while at < bytes.len() {
        let ends = |at: usize| bytes.get(at..at + 2) == Some(close);
        let c = bytes[at];
        if open_brackets == 0 && (ends(at) || (matches!(c, b'-' | b'+') && ends(at + 1))) {
            return (tokens, at);
        }
        match c {
            b'"' | b'\'' => {
                at += 1;
                while at < bytes.len() && bytes[at] != c {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                tokens.push(Token::Text);
            }
            _ if c.is_ascii_alphanumeric() || c == b'_' => {
                let word = |c: &&u8| c.is_ascii_alphanumeric() || **c == b'_';
                let len = bytes[at..].iter().take_while(word).count();
                tokens.push(Token::Word(&inside[at..at + len]));
                at += len - 1;
            }
            _ if c.is_ascii_whitespace() => {}
            _ => {
                open_brackets += isize::from(matches!(c, b'(' | b'[' | b'{'));
                open_brackets -= isize::from(matches!(c, b')' | b']' | b'}'));
                tokens.push(Token::Sign(c));
            }
        }
        at += 1;
    }
    (tokens, bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operators(inside: &str) -> usize {
        let close = if inside.contains("}}") { b"}}" } else { b"%}" };
        scan(inside, close).0.iter().filter(|token| is_operator(token)).count()
    }

    #[test]
    fn counts_what_nests_and_nothing_else() {
        assert_eq!(operators(" a + b ~ 'x + y \\' + z' }} + "), 2);
        assert_eq!(operators("- x if not y and z is string else w -%}"), 4);
        assert_eq!(operators(" {'a': 1, 'b': [2, 3]} }}"), 2);
        assert_eq!(operators(" android or_ nothing }}"), 0);
        assert_eq!(operators(" 'never closed"), 0);
    }

    #[test]
    fn one_overlong_tag_is_found_wherever_it_is() {
        let line = |text: &str| check(text).map_err(|refusal| refusal.line);
        let long = format!("{{{{ 1{} }}}}", "+1".repeat(MAX_OPERATORS + 1));
        assert_eq!(line(&long), Err(1));
        assert_eq!(line(&format!("a {{# {{{{ #}}\n{{% if x %}} {{ }} \n {long}")), Err(3));
        assert_eq!(line(&format!("{{% raw -%}} {long} don't {{% endraw %}} {{{{ 'é' }}}}")), Ok(()));
        assert_eq!(line(&"{{ a + b }}".repeat(1000)), Ok(()));
        for text in ["{{", "{", "", "{{ 'a\\", "é{{é}}é", "{%- -", "{#"] {
            assert_eq!(line(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_namespace_cannot_be_stored() {
        let make = "{%- set ns = namespace(a=(1), b='x') -%}";
        let with = |rest: &str| check(&format!("{make}{rest}"));
        for fine in [
            "{% set ns.a = ns.b + 1 %}",
            "{{ f(ns=1, x=ns.a) }}",
            "{{ x.ns }}",
            "{{ ns['a'] }}",
            "{{ 'ns' }}",
            make,
        ] {
            assert_eq!(with(fine), Ok(()), "{fine}");
        }
        for bad in [
            "{% set ns.a = ns %}",
            "{% set m = ns %}",
            "{{ [ns] }}",
            "{{ f(x=ns) }}",
            "{{ ns | list }}",
            "{{ns}}",
            "{{ {'a': {'b': 1}} + ns }}",
            "{{ (ns == 1) }}",
            "{% if ns }}%}",
        ] {
            assert!(with(bad).is_err(), "{bad}");
        }
        for bad in [
            "{{ namespace() }}",
            "{% set f = namespace %}",
            "{% set a = [namespace()] %}",
            "{% set a = namespace(namespace()) %}",
            "{% set a = namespace() or (1) %}",
            "{% set a, b = namespace(), (1) %}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
