//! PNG, a whole file in each strip or tile.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits};

use super::StoredPiece;
use crate::error::Result;

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    let samples = match (piece.samples, piece.bits) {
        (1, 8 | 16) => ColorType::Grayscale,
        (2, 8 | 16) => ColorType::GrayscaleAlpha,
        (3, 8 | 16) => ColorType::Rgb,
        (4, 8 | 16) => ColorType::Rgba,
        (samples, bits) => return Err(piece.unsupported(format!("{samples} samples of {bits} bits"))),
    };
    let limits = Limits { bytes: decoded.len() * 2 + (1 << 20) };
    let decoder = Decoder::new_with_limits(Cursor::new(stored), limits);
    let mut image = decoder.read_info().map_err(|e| piece.damaged(e))?;
    let (width, rows) = image.info().size();
    if (width, rows) != (piece.width, piece.rows) {
        return Err(piece.damaged(format!("{width}x{rows} pixels, {}x{} expected", piece.width, piece.rows)));
    }
    // Palettes and few bits would come out as something else than is stored.
    let found = (image.info().color_type, image.info().bit_depth);
    let bits = if piece.bits == 8 { BitDepth::Eight } else { BitDepth::Sixteen };
    if found != (samples, bits) || image.output_buffer_size() != Some(decoded.len()) {
        return Err(piece.unsupported(format!("samples {found:?}")));
    }
    image.next_frame(decoded).map_err(|e| piece.damaged(e))?;
    if piece.bits == 16 && cfg!(target_endian = "little") {
        decoded.as_chunks_mut::<2>().0.iter_mut().for_each(|sample| sample.reverse());
    }
    Ok(())
}
