//! JPEG XL, lossless.
//!
//! Lossy streams are refused: what they decode to is not fixed bit by bit.

use jxl_oxide::frame::Encoding;
use jxl_oxide::image::{BitDepth, ImageMetadata};
use jxl_oxide::{AllocTracker, InitializeResult, JxlImage, JxlThreadPool};

use super::StoredPiece;
use crate::error::Result;

/// Refuses lossy streams and other samples than the piece has, as far as the beginning of a stream shows.
pub(super) fn refuse(piece: &StoredPiece<'_>, head: &[u8]) -> Result<()> {
    let tracker = AllocTracker::with_limit(16 << 20);
    let mut image = JxlImage::builder().pool(JxlThreadPool::none()).alloc_tracker(tracker).build_uninit();
    if image.feed_bytes(head).is_err() {
        return Ok(());
    }
    match image.try_init() {
        Ok(InitializeResult::Initialized(image)) => {
            let metadata = &image.image_header().metadata;
            if metadata.xyb_encoded {
                return Err(piece.unsupported("lossy"));
            }
            refuse_depths(piece, metadata)
        }
        _ => Ok(()),
    }
}

/// Refuses samples of another kind than the piece's, or of one that is not handled.
fn refuse_depths(piece: &StoredPiece<'_>, metadata: &ImageMetadata) -> Result<()> {
    let extra = metadata.ec_info.iter().map(|extra| extra.bit_depth);
    for depth in std::iter::once(metadata.bit_depth).chain(extra) {
        let fits = match depth {
            BitDepth::IntegerSample { bits_per_sample } => {
                piece.sample_format == 1 && bits_per_sample == u32::from(piece.bits) && bits_per_sample <= 16
            }
            BitDepth::FloatSample { bits_per_sample, .. } => {
                piece.sample_format == 3 && bits_per_sample == 32 && piece.bits == 32
            }
        };
        if !fits {
            return Err(piece.unsupported(format!(
                "samples of {} bits for sample format {} of {} bits",
                depth.bits_per_sample(),
                piece.sample_format,
                piece.bits
            )));
        }
    }
    Ok(())
}

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    let n_samples = (decoded.len() as u64 * 8 / u64::from(piece.bits.max(1))) as usize;
    let limit = usize::try_from(scratch_bytes(decoded.len() as u64)).unwrap_or(usize::MAX);
    let image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(limit))
        .read(stored)
        .map_err(|e| piece.damaged(e))?;
    let header = image.image_header();
    if (image.width(), image.height()) != (piece.width, piece.rows) {
        return Err(piece.damaged(format!(
            "{}x{} pixels, {}x{} expected",
            image.width(),
            image.height(),
            piece.width,
            piece.rows
        )));
    }
    let lossy = header.metadata.xyb_encoded
        || (0..image.num_loaded_keyframes())
            .any(|i| image.frame_header(i).is_none_or(|h| h.encoding == Encoding::VarDct));
    if lossy {
        return Err(piece.unsupported("lossy"));
    }
    if image.num_loaded_keyframes() != 1 {
        return Err(piece.unsupported(format!("{} frames", image.num_loaded_keyframes())));
    }
    refuse_depths(piece, &header.metadata)?;
    let render = image.render_frame(0).map_err(|e| piece.damaged(e))?;
    let pixels = render.image_all_channels();
    if pixels.channels() != usize::from(piece.samples) || pixels.buf().len() != n_samples {
        return Err(piece.damaged(format!("{} samples, {} expected", pixels.channels(), piece.samples)));
    }
    // Integers come as fractions of their largest value, which 24 bits of mantissa give back exactly.
    match piece.bits {
        8 => {
            for (target, &value) in decoded.iter_mut().zip(pixels.buf()) {
                *target = (value * 255.0).round() as u8;
            }
        }
        16 => {
            for (target, &value) in decoded.chunks_exact_mut(2).zip(pixels.buf()) {
                target.copy_from_slice(&((value * 65535.0).round() as u16).to_ne_bytes());
            }
        }
        _ => {
            for (target, value) in decoded.chunks_exact_mut(4).zip(pixels.buf()) {
                target.copy_from_slice(&value.to_ne_bytes());
            }
        }
    }
    Ok(())
}

/// Memory that the decoder may take: buffers of whole channels, several of them at once. Measured: 2.7 to 6.2
/// times what is decoded.
pub(super) fn scratch_bytes(decoded_bytes: u64) -> u64 {
    decoded_bytes.saturating_mul(12).saturating_add(16 << 20)
}
