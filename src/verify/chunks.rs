//! Every chunk of an array of which no checksums are known: whether it can be decoded.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Checked, DamageKind, Sample, each};
use crate::array::Scratch;
use crate::block::{Buffer, size_bytes};
use crate::digest;
use crate::error::{Error, Result};
use crate::grid::Grid;
use crate::source::FileArray;

/// Decodes a `sample` of the chunks of `array`, which lies at `place`, on up to `threads` threads that use `limit_bytes`
/// together. Gives the digest of all elements too, which means nothing where some are not looked at.
///
/// # Errors
/// `Limit` if no chunk fits.
pub fn chunks(
    array: &Arc<dyn FileArray>,
    place: &Path,
    sample: &Sample,
    threads: usize,
    limit_bytes: u64,
) -> Result<(Checked, u64)> {
    let (shape, cell) = (array.shape(), array.info().unit.clone());
    let grid = Grid::new(&shape, &cell);
    let chunk_bytes = size_bytes(&cell, array.dtype()).saturating_add(array.needs(&cell));
    if chunk_bytes > limit_bytes {
        return Err(Error::limit(format!("one chunk takes {chunk_bytes} bytes to decode: raise --memory")));
    }
    let fitting = usize::try_from(limit_bytes / chunk_bytes.max(1)).unwrap_or(usize::MAX);
    let checked = Mutex::new((Checked::default(), 0));
    let reader = || (Arc::clone(array).reader(Scratch::default()), Buffer::default());
    let numbers = (0..grid.len()).filter(|number| sample.has(*number));
    each(numbers, threads.min(fitting).max(1), reader, |number, (reader, buffer)| {
        let region = grid.region(&grid.unravel(number));
        let read = reader.block(&region, array.dtype(), std::mem::take(buffer));
        let bytes = size_bytes(&region.shape, array.dtype());
        let part = read.as_ref().map_or(0, |block| digest::of_block(&shape, block));
        let mut checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
        let (checked, sum) = &mut *checked;
        *sum ^= part;
        match read {
            Ok(block) => {
                checked.objects += u64::from(block.coverage.n_absent() < region.n_elements());
                checked.bytes += bytes;
                *buffer = block.into_buffer();
            }
            Err(e) => {
                checked.objects += 1;
                let kind = if matches!(e, Error::Io { .. }) { DamageKind::Unreadable } else { DamageKind::Undecodable };
                let text = e.to_string();
                let text = text.strip_prefix(&*place.to_string_lossy()).unwrap_or(&text).trim_start_matches('/');
                let (object, text) = text.split_once(": ").unwrap_or(("", text));
                checked.fault(object, kind, text.to_owned());
            }
        }
    });
    let (checked, sum) = checked.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((checked, digest::whole(sum, size_bytes(&shape, array.dtype()))))
}
