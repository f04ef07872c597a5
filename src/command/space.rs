//! Free space on the disk against what an output will take.

use std::path::Path;
use std::sync::Arc;

use super::inspect::sample::sample;
use super::tell;
use crate::array::Array;
use crate::block::size_bytes;
use crate::bytes;
use crate::error::{Error, Result};
use crate::exec::budget::Bytes;
use crate::sink::zarr::ZarrOptions;

/// What an output of `shapes`, the full resolution first, takes at most: its elements as they are in memory.
pub(super) fn most_bytes(array: &Arc<dyn Array>, shapes: &[Vec<u64>]) -> u64 {
    let whole = size_bytes(&array.shape(), array.dtype());
    let smaller = shapes.iter().skip(1).map(|shape| size_bytes(shape, array.dtype()));
    smaller.fold(whole, u64::saturating_add)
}

/// What a Zarr of `shapes`, the full resolution first, will probably take, from a few of its chunks; `n_absent` elements
/// of the array are not covered, and not stored.
pub(super) fn likely_bytes(array: &Arc<dyn Array>, n_absent: u64, options: &ZarrOptions, shapes: &[Vec<u64>]) -> u64 {
    let sampled = sample(array, n_absent, &options.chunks, &options.codec);
    sampled.map_or_else(|| most_bytes(array, shapes), |sampled| scaled(sampled.output_bytes, array, shapes))
}

/// `bytes` of the full resolution with the same share of every other one of `shapes`.
pub(super) fn scaled(bytes: u64, array: &Arc<dyn Array>, shapes: &[Vec<u64>]) -> u64 {
    let whole = size_bytes(&array.shape(), array.dtype()).max(1);
    (most_bytes(array, shapes) as f64 / whole as f64 * bytes as f64) as u64
}

/// Warns where `output` takes more than is free, `most` bytes or, if they are not, about as many as `likely` says.
///
/// # Errors
/// `Limit` instead of the warning, if it is to be `strict`.
pub(super) fn check(output: &Path, most: u64, likely: impl FnOnce() -> u64, strict: bool) -> Result<()> {
    let Some(free) = free_bytes(output).filter(|free| *free < most) else { return Ok(()) };
    let likely = likely();
    if likely <= free {
        return Ok(());
    }
    let text = format!(
        "{}: takes about {}, and {} are free there: make room or write elsewhere",
        output.display(),
        Bytes(likely),
        Bytes(free)
    );
    if strict {
        return Err(Error::Limit(text));
    }
    tell(format_args!("warning: {text}"));
    Ok(())
}

/// Bytes that are free where `output` will stand; `None` where the system does not say.
fn free_bytes(output: &Path) -> Option<u64> {
    if bytes::is_remote(output) {
        return None;
    }
    let place = std::path::absolute(output).ok()?;
    let folder = place.ancestors().skip(1).find(|folder| folder.is_dir())?;
    let found = rustix::fs::statvfs(folder).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}
