//! LERC, second generation (versions 2.1 to 2.6), alone or inside Deflate or ZSTD.
//!
//! Left out: the first generation, which no TIFF holds, and the lossless mode for floats of version 2.6,
//! which the version that the TIFF tag names does not have.
//!
//! Source: Esri, LERC specification (Lerc2 blob); LercParameters as libtiff defines them.

mod bits;
mod huffman;
mod image;

use super::Piece;
use crate::error::{Error, Result};
use image::{Fault, Image};

pub(super) fn decode(piece: &Piece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    // A blob is rarely larger than its pixels, and never by much.
    let bound = decoded.len().saturating_mul(2).saturating_add(64 << 10);
    let inflated;
    let blob = match piece.lerc_parameters.get(1).copied().unwrap_or(0) {
        0 => stored,
        1 => {
            inflated = inflate(piece, stored, bound)?;
            &inflated[..]
        }
        2 => {
            inflated = zstd(piece, stored, bound)?;
            &inflated[..]
        }
        other => return Err(piece.unsupported(format!("additional compression {other}"))),
    };
    let image = Image::parse(blob).map_err(|f| f.error(piece))?;
    check(piece, &image)?;
    match (piece.sample_format, piece.bits) {
        (1, 8) if image.depth + 1 == u32::from(piece.samples) => with_mask_as_alpha(piece, &image, decoded),
        (1, 8) => whole::<u8>(piece, &image, decoded),
        (1, 16) => whole::<u16>(piece, &image, decoded),
        (1, 32) => whole::<u32>(piece, &image, decoded),
        (2, 8) => whole::<i8>(piece, &image, decoded),
        (2, 16) => whole::<i16>(piece, &image, decoded),
        (2, 32) => whole::<i32>(piece, &image, decoded),
        (3, 32) => {
            image.decode::<f32>(decoded).map_err(|f| f.error(piece))?;
            fill_masked(&image, decoded, &f32::NAN.to_ne_bytes());
            Ok(())
        }
        (3, 64) => {
            image.decode::<f64>(decoded).map_err(|f| f.error(piece))?;
            fill_masked(&image, decoded, &f64::NAN.to_ne_bytes());
            Ok(())
        }
        (format, bits) => Err(piece.damaged(format!("sample format {format} of {bits} bits"))),
    }
}

impl Fault {
    fn error(self, piece: &Piece<'_>) -> Error {
        match self {
            Self::Damaged(what) => piece.damaged(what),
            Self::Unsupported(what) => piece.unsupported(what),
        }
    }
}

/// Compares what the blob declares with the piece, before anything is allocated for it.
fn check(piece: &Piece<'_>, image: &Image<'_>) -> Result<()> {
    if (image.width, image.rows) != (piece.width, piece.rows) {
        return Err(
            piece.damaged(format!("{}x{} pixels, {}x{} expected", image.width, image.rows, piece.width, piece.rows))
        );
    }
    let samples = u32::from(piece.samples);
    let alpha = (piece.sample_format, piece.bits) == (1, 8) && matches!(samples, 2 | 4);
    if image.depth != samples && !(alpha && image.depth + 1 == samples) {
        return Err(piece.damaged(format!("{} samples, {samples} expected", image.depth)));
    }
    let found = match image.kind {
        0 => (2, 8),
        1 => (1, 8),
        2 => (2, 16),
        3 => (1, 16),
        4 => (2, 32),
        5 => (1, 32),
        6 => (3, 32),
        7 => (3, 64),
        other => return Err(piece.damaged(format!("data type {other}"))),
    };
    if found != (piece.sample_format, piece.bits) {
        return Err(piece.damaged(format!(
            "sample format {} of {} bits, {} of {} expected",
            found.0, found.1, piece.sample_format, piece.bits
        )));
    }
    Ok(())
}

/// Integers: pixels that the blob declares invalid have no value that could be told from a real one.
fn whole<T: image::Value>(piece: &Piece<'_>, image: &Image<'_>, decoded: &mut [u8]) -> Result<()> {
    if !image.all_valid() {
        return Err(piece.unsupported("masked pixels in integer data"));
    }
    image.decode::<T>(decoded).map_err(|f| f.error(piece))
}

/// Eight bits with alpha: libtiff keeps an alpha of nothing but 0 and 255 as the mask of valid pixels.
fn with_mask_as_alpha(piece: &Piece<'_>, image: &Image<'_>, decoded: &mut [u8]) -> Result<()> {
    let (colours, samples) = (image.depth as usize, usize::from(piece.samples));
    let n_pixels = decoded.len() / samples;
    image.decode::<u8>(&mut decoded[..n_pixels * colours]).map_err(|f| f.error(piece))?;
    for pixel in (0..n_pixels).rev() {
        decoded.copy_within(pixel * colours..(pixel + 1) * colours, pixel * samples);
        decoded[pixel * samples + colours] = if image.is_valid(pixel) { 255 } else { 0 };
    }
    Ok(())
}

/// Writes `value` into every sample of the pixels that are not valid.
fn fill_masked(image: &Image<'_>, decoded: &mut [u8], value: &[u8]) {
    if image.all_valid() {
        return;
    }
    for (pixel, samples) in decoded.chunks_exact_mut(image.depth as usize * value.len()).enumerate() {
        if !image.is_valid(pixel) {
            samples.chunks_exact_mut(value.len()).for_each(|s| s.copy_from_slice(value));
        }
    }
}

fn inflate(piece: &Piece<'_>, stored: &[u8], bound: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; bound];
    let n = libdeflater::Decompressor::new()
        .zlib_decompress(stored, &mut out)
        .map_err(|e| piece.damaged(format!("Deflate around it: {e}")))?;
    out.truncate(n);
    Ok(out)
}

fn zstd(piece: &Piece<'_>, stored: &[u8], bound: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; bound];
    let n = zstd_safe::decompress(&mut out[..], stored)
        .map_err(|code| piece.damaged(format!("ZSTD around it: {}", zstd_safe::get_error_name(code))))?;
    out.truncate(n);
    Ok(out)
}
