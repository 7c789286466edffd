//! Pictures for people: the front camera, larger than the model sees it, as JPEG.

use anyhow::Context;
use ergon_types::Frame;
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};

/// Good enough to read signs, small enough for hundreds in one page.
const QUALITY: u8 = 70;

/// A frame as JPEG.
pub(super) fn jpeg(frame: &Frame) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (width, height) = (u32::try_from(frame.width)?, u32::try_from(frame.height)?);
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode(&frame.rgb, width, height, ExtendedColorType::Rgb8)
        .context("cannot encode a picture")?;
    Ok(bytes)
}
