//! LZMA2 in the xz container, as libtiff writes it.

use liblzma::stream::{Action, Status, Stream};

use super::Piece;
use crate::error::Result;

/// Dictionaries above this are refused: the largest preset of xz needs 65 MiB.
const LIMIT_BYTES: u64 = 128 << 20;

pub(super) fn decode(piece: &Piece<'_>, stored: &[u8], decoded: &mut [u8], _row_bytes: usize) -> Result<()> {
    let mut stream = Stream::new_stream_decoder(LIMIT_BYTES, 0).map_err(|e| piece.damaged(e))?;
    let expected = decoded.len();
    loop {
        let input = tail(stored, stream.total_in());
        let done = stream.total_out();
        let output = usize::try_from(done).ok().and_then(|n| decoded.get_mut(n..)).unwrap_or_default();
        if output.is_empty() {
            return Ok(());
        }
        let status = stream.process(input, output, Action::Finish).map_err(|e| match e {
            liblzma::stream::Error::MemLimit => piece.unsupported("dictionary larger than 128 MiB"),
            other => piece.damaged(other),
        })?;
        let stuck = stream.total_out() == done && tail(stored, stream.total_in()).len() == input.len();
        if (status == Status::StreamEnd || stuck) && stream.total_out() < expected as u64 {
            return Err(piece.damaged(format!("{} bytes found, {expected} expected", stream.total_out())));
        }
    }
}

fn tail(bytes: &[u8], from: u64) -> &[u8] {
    usize::try_from(from).ok().and_then(|n| bytes.get(n..)).unwrap_or_default()
}
