//! Bytes of a text file to its characters.

use encoding_rs::{GB18030, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes looked at to tell text from anything else.
const SNIFFED: usize = 8 << 10;
/// Share of legacy bytes that must come out as common Chinese characters for GB 18030 to be believed.
const CHINESE_SHARE: f64 = 0.8;

/// The text of a file, or why it is none. UTF-8 comes out as it stands, byte order mark and line ends included; UTF-16 needs
/// its byte order mark; otherwise GB 18030 if that reads as Chinese, else Windows-1252 if few bytes are beyond ASCII.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, &'static str> {
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf_16(UTF_16LE, rest);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf_16(UTF_16BE, rest);
    }
    if is_binary(&bytes) {
        return Err("not a text: it holds control bytes");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => legacy(error.as_bytes()),
    }
}

/// Whether the first bytes hold what no text holds. A few control bytes are in texts that were taken out of other formats.
fn is_binary(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(SNIFFED)];
    let odd = head.iter().filter(|b| matches!(b, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f)).count();
    head.contains(&0) || odd * 10 > head.len()
}

fn utf_16(encoding: &'static encoding_rs::Encoding, bytes: &[u8]) -> Result<String, &'static str> {
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(|text| text.into_owned())
        .ok_or("not a text: damaged UTF-16")
}

fn legacy(bytes: &[u8]) -> Result<String, &'static str> {
    if let Some(text) = GB18030.decode_without_bom_handling_and_without_replacement(bytes) {
        let beyond = text.chars().filter(|c| !c.is_ascii()).count();
        let chinese = text.chars().filter(
            |c| matches!(c, '\u{4e00}'..='\u{9fa5}' | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff5e}'),
        );
        if beyond >= 4 && chinese.count() as f64 >= CHINESE_SHARE * beyond as f64 {
            return Ok(text.into_owned());
        }
    }
    let beyond = bytes.iter().filter(|b| !b.is_ascii()).count();
    if beyond * 5 <= bytes.len() {
        let (text, _) = WINDOWS_1252.decode_without_bom_handling(bytes);
        if !text.chars().any(|c| matches!(c, '\u{80}'..='\u{9f}')) {
            return Ok(text.into_owned());
        }
    }
    Err("not a text: neither UTF-8 nor another encoding that is known here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_in_their_encodings() {
        assert_eq!(decode("\u{feff}a\r\n中".into()).unwrap(), "\u{feff}a\r\n中");
        assert_eq!(decode(b"\xff\xfea\0-N".to_vec()).unwrap(), "a中");
        assert_eq!(decode(b"\xd6\xd0\xb9\xfa\xc8\xcb\xc3\xf1".to_vec()).unwrap(), "中国人民");
        assert_eq!(decode(b"a long enough line of caf\xe9".to_vec()).unwrap(), "a long enough line of café");
    }

    #[test]
    fn what_is_no_text_is_told() {
        assert!(decode(b"\x7fELF\x02\x01\x01\0\0".to_vec()).is_err());
        assert!(decode(b"\x01\x02\x03\x04".to_vec()).is_err());
        assert!(decode(b"\xff\xfe\x00\xd8".to_vec()).is_err());
        assert!(decode((0x80..=0xff).collect()).is_err());
    }
}
