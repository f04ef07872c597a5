//! LERC, second generation, alone or inside Deflate or ZSTD.
//!
//! Source: LercParameters as libtiff defines them.

use bytemuck::{AnyBitPattern, NoUninit};
use lerc::{DataType, DecodeResult, LercInfo, Sample};

use super::StoredPiece;
use crate::error::Result;

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
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
    if !blob.starts_with(b"Lerc2 ") {
        return Err(piece.unsupported("not a Lerc2 blob"));
    }
    let info = lerc::decode_info(blob).map_err(|e| piece.damaged(e))?;
    check(piece, &info)?;
    match info.data_type {
        DataType::Byte if info.depth < u32::from(piece.samples) => with_mask_as_alpha(piece, &info, blob, decoded),
        DataType::Char => whole::<i8>(piece, blob, decoded, None),
        DataType::Byte => whole::<u8>(piece, blob, decoded, None),
        DataType::Short => whole::<i16>(piece, blob, decoded, None),
        DataType::UShort => whole::<u16>(piece, blob, decoded, None),
        DataType::Int => whole::<i32>(piece, blob, decoded, None),
        DataType::UInt => whole::<u32>(piece, blob, decoded, None),
        DataType::Float => whole(piece, blob, decoded, Some(f32::NAN)),
        DataType::Double => whole(piece, blob, decoded, Some(f64::NAN)),
    }
}

/// Compares what the blob declares with the piece, before anything is allocated for it.
fn check(piece: &StoredPiece<'_>, info: &LercInfo) -> Result<()> {
    if (info.width, info.height) != (piece.width, piece.rows) {
        let (width, rows) = (info.width, info.height);
        return Err(piece.damaged(format!("{width}x{rows} pixels, {}x{} expected", piece.width, piece.rows)));
    }
    if info.bands != 1 || info.no_data_value.is_some() {
        return Err(piece.unsupported("several bands, or values that stand for no data"));
    }
    let samples = u32::from(piece.samples);
    let alpha = info.data_type == DataType::Byte && matches!(samples, 2 | 4);
    if info.depth != samples && !(alpha && info.depth + 1 == samples) {
        return Err(piece.damaged(format!("{} samples, {samples} expected", info.depth)));
    }
    let found = match info.data_type {
        DataType::Char => (2, 8),
        DataType::Byte => (1, 8),
        DataType::Short => (2, 16),
        DataType::UShort => (1, 16),
        DataType::Int => (2, 32),
        DataType::UInt => (1, 32),
        DataType::Float => (3, 32),
        DataType::Double => (3, 64),
    };
    if found != (piece.sample_format, piece.bits) {
        return Err(piece.damaged(format!(
            "sample format {} of {} bits, {} of {} expected",
            found.0, found.1, piece.sample_format, piece.bits
        )));
    }
    Ok(())
}

fn into<T: Sample>(piece: &StoredPiece<'_>, blob: &[u8], samples: &mut [T]) -> Result<DecodeResult> {
    samples.fill(T::default());
    lerc::decode_into(blob, samples).map_err(|e| piece.damaged(e))
}

/// All samples. Pixels that the blob declares invalid are `invalid`; without such a value, as in integers, they
/// have none that could be told from a real one.
fn whole<T: Sample + NoUninit + AnyBitPattern>(
    piece: &StoredPiece<'_>,
    blob: &[u8],
    decoded: &mut [u8],
    invalid: Option<T>,
) -> Result<()> {
    let samples: &mut [T] = bytemuck::try_cast_slice_mut(decoded).map_err(|e| piece.damaged(e))?;
    let found = into(piece, blob, samples)?;
    let Some(mask) = found.valid_masks.first().filter(|mask| !mask.is_all_valid()) else { return Ok(()) };
    let Some(invalid) = invalid else { return Err(piece.unsupported("masked pixels in integer data")) };
    for (pixel, samples) in samples.chunks_exact_mut(usize::from(piece.samples)).enumerate() {
        if !mask.is_valid(pixel) {
            samples.fill(invalid);
        }
    }
    Ok(())
}

/// Eight bits with alpha: libtiff keeps an alpha of nothing but 0 and 255 as the mask of valid pixels.
fn with_mask_as_alpha(piece: &StoredPiece<'_>, info: &LercInfo, blob: &[u8], decoded: &mut [u8]) -> Result<()> {
    let (colours, samples) = (info.depth as usize, usize::from(piece.samples));
    let n_pixels = decoded.len() / samples;
    let found = into(piece, blob, &mut decoded[..n_pixels * colours])?;
    let mask = found.valid_masks.first();
    for pixel in (0..n_pixels).rev() {
        decoded.copy_within(pixel * colours..(pixel + 1) * colours, pixel * samples);
        decoded[pixel * samples + colours] = if mask.is_none_or(|mask| mask.is_valid(pixel)) { 255 } else { 0 };
    }
    Ok(())
}

fn inflate(piece: &StoredPiece<'_>, stored: &[u8], bound: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; bound];
    let n = libdeflater::Decompressor::new()
        .zlib_decompress(stored, &mut out)
        .map_err(|e| piece.damaged(format!("Deflate around it: {e}")))?;
    out.truncate(n);
    Ok(out)
}

fn zstd(piece: &StoredPiece<'_>, stored: &[u8], bound: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; bound];
    let n = zstd_safe::decompress(&mut out[..], stored)
        .map_err(|code| piece.damaged(format!("ZSTD around it: {}", zstd_safe::get_error_name(code))))?;
    out.truncate(n);
    Ok(out)
}
