//! PNG, a whole file in each strip or tile.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::{ExtendedColorType, ImageDecoder, Limits};

use super::StoredPiece;
use crate::error::Result;

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    let colours = match (piece.samples, piece.bits) {
        (1, 8) => ExtendedColorType::L8,
        (2, 8) => ExtendedColorType::La8,
        (3, 8) => ExtendedColorType::Rgb8,
        (4, 8) => ExtendedColorType::Rgba8,
        (1, 16) => ExtendedColorType::L16,
        (2, 16) => ExtendedColorType::La16,
        (3, 16) => ExtendedColorType::Rgb16,
        (4, 16) => ExtendedColorType::Rgba16,
        (samples, bits) => return Err(piece.unsupported(format!("{samples} samples of {bits} bits"))),
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(decoded.len() as u64 * 2 + (1 << 20));
    let image = PngDecoder::with_limits(Cursor::new(stored), limits).map_err(|e| piece.damaged(e))?;
    let (width, rows) = image.dimensions();
    if (width, rows) != (piece.width, piece.rows) {
        return Err(piece.damaged(format!("{width}x{rows} pixels, {}x{} expected", piece.width, piece.rows)));
    }
    // Palettes and few bits would come out as something else than is stored.
    if image.original_color_type() != colours || image.total_bytes() != decoded.len() as u64 {
        return Err(piece.unsupported(format!("samples {:?}", image.original_color_type())));
    }
    image.read_image(decoded).map_err(|e| piece.damaged(e))
}
