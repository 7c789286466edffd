//! Streams unfolded as the PDF library unfolds them, up to a limit.

use std::io::{self, Read, Write};

use flate2::read::{DeflateDecoder, ZlibDecoder};
use pdf_extract::{Dictionary, Object, Stream};
use weezl::{BitOrder, decode::Decoder};

/// Bytes of a row of an image-like predictor; the library makes room for two rows before it looks at the data.
const MAX_ROW_BYTES: i64 = 16 << 20;

/// A stream unfolds to more than the limit.
#[derive(Debug)]
pub(super) struct Over;

/// The bytes of a stream after its filters; those of a filter that the library does not know as they are.
pub(super) fn unfold(stream: &Stream, limit: usize) -> Result<Vec<u8>, Over> {
    let parameters = stream.dict.get(b"DecodeParms").and_then(Object::as_dict).ok();
    if parameters.is_some_and(|parameters| row_bytes(parameters) > MAX_ROW_BYTES) {
        return Err(Over);
    }
    let Ok(filters) = stream.filters() else { return bounded(stream.content.clone(), limit) };
    let mut bytes = stream.content.clone();
    for filter in filters {
        bytes = match filter {
            b"FlateDecode" => inflate(&bytes, limit)?,
            b"LZWDecode" => unpack(&bytes, parameters, limit)?,
            // Four bytes for five characters or for a single z.
            b"ASCII85Decode" if bytes.len() > limit / 4 => return Err(Over),
            _ => return bounded(bytes, limit),
        };
    }
    bounded(bytes, limit)
}

fn bounded(bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, Over> {
    if bytes.len() > limit { Err(Over) } else { Ok(bytes) }
}

fn row_bytes(parameters: &Dictionary) -> i64 {
    let number =
        |name: &[u8], least: i64| parameters.get(name).and_then(Object::as_i64).unwrap_or(least).max(least);
    number(b"Columns", 1).saturating_mul(number(b"Colors", 1)).saturating_mul(number(b"BitsPerComponent", 8))
        / 8
}

/// What zlib data unfolds to. Damaged data gives what comes before the damage, data without a header of zlib is taken as
/// bare: so does the library.
pub(super) fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>, Over> {
    let mut out = Vec::new();
    let most = limit as u64 + 1;
    let result = ZlibDecoder::new(bytes).take(most).read_to_end(&mut out);
    if let (Err(_), true, Some(bare)) = (result, out.is_empty(), bytes.get(2..)) {
        // Whatever came before an error stands.
        let _ = DeflateDecoder::new(bare).take(most).read_to_end(&mut out);
    }
    bounded(out, limit)
}

/// Whether zlib data unfolds to more than `limit`, without keeping it.
pub(super) fn is_over(bytes: &[u8], limit: u64) -> bool {
    let count = |reader: &mut dyn Read| {
        let mut counted = Counted { bytes: 0 };
        // Whatever came before an error counts.
        let _ = io::copy(&mut reader.take(limit + 1), &mut counted);
        counted.bytes
    };
    let count = match (count(&mut ZlibDecoder::new(bytes)), bytes.get(2..)) {
        (0, Some(bare)) => count(&mut DeflateDecoder::new(bare)),
        (count, _) => count,
    };
    count > limit
}

fn unpack(bytes: &[u8], parameters: Option<&Dictionary>, limit: usize) -> Result<Vec<u8>, Over> {
    let early =
        parameters.and_then(|parameters| parameters.get(b"EarlyChange").and_then(Object::as_i64).ok());
    let mut decoder = match early {
        Some(0) => Decoder::new(BitOrder::Msb, 8),
        _ => Decoder::with_tiff_size_switch(BitOrder::Msb, 8),
    };
    let mut out = Limited { bytes: Vec::new(), limit, is_over: false };
    // Whatever came before an error stands.
    let _ = decoder.into_stream(&mut out).decode_all(bytes).status;
    if out.is_over { Err(Over) } else { Ok(out.bytes) }
}

/// Counts what is written.
struct Counted {
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what is written until it is too much.
struct Limited {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
