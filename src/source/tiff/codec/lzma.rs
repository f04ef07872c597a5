//! LZMA2 in the xz container, as libtiff writes it.

use super::StoredPiece;
use crate::codec::decode;
use crate::error::Result;

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    let n = decode::lzma(stored, decoded).map_err(|why| piece.damaged(why))?;
    let expected = decoded.len();
    if n < expected { Err(piece.damaged(format!("{n} bytes found, {expected} expected"))) } else { Ok(()) }
}
