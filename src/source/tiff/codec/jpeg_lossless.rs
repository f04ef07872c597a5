//! The lossless process of JPEG: predictors and Huffman codes, no cosines. One sample for each pixel, of up to 16 bits.

use jpeg_decoder::Decoder;

use super::StoredPiece;
use crate::error::Result;

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8]) -> Result<()> {
    // Tables of the tag stand in front of those of the stream.
    let tables = piece.jpeg_tables.and_then(|tables| tables.strip_suffix(&[0xff, 0xd9]));
    let whole = tables.map(|tables| [tables, stored.get(2..).unwrap_or_default()].concat());
    let mut decoder = Decoder::new(whole.as_deref().unwrap_or(stored));
    decoder.set_max_decoding_buffer_size(decoded.len());
    let pixels = decoder.decode().map_err(|e| piece.damaged(e))?;
    let info = decoder.info().ok_or_else(|| piece.damaged("no frame found"))?;
    let (width, rows) = (u32::from(info.width), u32::from(info.height));
    if (width, rows) != (piece.width, piece.rows) {
        return Err(piece.damaged(format!("{width}x{rows} pixels, {}x{} expected", piece.width, piece.rows)));
    }
    if pixels.len() != decoded.len() {
        let bits = 8 * info.pixel_format.pixel_bytes();
        return Err(piece.damaged(format!("{bits} bits per sample, {} expected", piece.bits)));
    }
    decoded.copy_from_slice(&pixels);
    Ok(())
}
