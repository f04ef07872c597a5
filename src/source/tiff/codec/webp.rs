//! WebP, lossy and lossless, with the upsampling of chroma that libwebp does by default.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::StoredPiece;
use crate::error::{Error, Result};

/// Refuses pieces that no WebP stream holds.
pub(super) fn refuse(piece: &StoredPiece<'_>) -> Result<()> {
    if piece.bits == 8 && matches!(piece.samples, 3 | 4) {
        return Ok(());
    }
    Err(piece
        .unsupported(format!("{} samples of {} bits in one piece, not 3 or 4 of 8 bits", piece.samples, piece.bits)))
}

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    refuse(piece)?;
    let broken = |e: DecodingError| -> Error { piece.damaged(e) };
    let mut image = WebPDecoder::new(Cursor::new(stored)).map_err(broken)?;
    if image.dimensions() != (piece.width, piece.rows) {
        let (width, rows) = image.dimensions();
        return Err(piece.damaged(format!("{width}x{rows} pixels, {}x{} expected", piece.width, piece.rows)));
    }
    if image.is_animated() {
        return Err(piece.unsupported("animation"));
    }
    image.set_memory_limit(decoded.len().saturating_mul(4).saturating_add(1 << 20));
    match (image.has_alpha(), piece.samples) {
        (true, 4) | (false, 3) => image.read_image(decoded).map_err(broken),
        // Writers leave an alpha out that is opaque everywhere.
        (false, _) => {
            let colours = decoded.len() / 4 * 3;
            image.read_image(&mut decoded[..colours]).map_err(broken)?;
            for pixel in (0..decoded.len() / 4).rev() {
                decoded.copy_within(pixel * 3..pixel * 3 + 3, pixel * 4);
                decoded[pixel * 4 + 3] = 255;
            }
            Ok(())
        }
        (true, _) => Err(piece.damaged("4 samples, 3 expected")),
    }
}
