//! NumPy's `.npz` with one array, which `numpy.load` calls `arr_0`: a zip archive of one stored entry.
//!
//! Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5.3 (sizes of 64 bits).

use std::path::Path;

use super::flat::{FlatSink, Placement, Tail};
use super::{OutputOptions, Spec, npy};
use crate::block::size_bytes;
use crate::consume::Consumer;
use crate::error::Result;
use crate::store::sums::SIGNATURE_BYTES;

/// Name of the entry.
const NAME: &[u8] = b"arr_0.npy";

/// The archive that will be called `path`.
///
/// # Errors
/// `Usage` if something stands under the name.
pub(super) fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let head = npy::head_of(spec)?;
    let n_bytes = head.len() as u64 + size_bytes(&spec.shape(), spec.dtype);
    let start = local(0, n_bytes).len() as u64;
    let placement = Placement::row_major(start + head.len() as u64, &spec.shape(), spec.dtype);
    let before = libdeflater::crc32(&head);
    let write_head = move |store: &crate::store::Store| store.put_at(start, &head).map(|_| ());
    let tail: Tail = Box::new(move |store, sum| {
        let crc = sum.behind(before);
        store.put_at(0, &local(crc, n_bytes))?;
        store.put_at(start + n_bytes, &directory(crc, n_bytes, start + n_bytes)).map(|_| ())
    });
    Ok(Box::new(FlatSink::file(path, spec, options, Box::new(write_head), placement)?.ended(tail)))
}

/// Whether a size needs 64 bits.
fn is_large(n_bytes: u64) -> bool {
    n_bytes >= u64::from(u32::MAX)
}

/// Fields that both headers have: from the version that is needed to the length of the name.
fn common(crc: u32, n_bytes: u64) -> Vec<u8> {
    let size = if is_large(n_bytes) { u32::MAX } else { n_bytes as u32 };
    // Stored, and no time: the first day that the format knows.
    let mut fields = [if is_large(n_bytes) { 45u16 } else { 20 }, 0, 0, 0, 0x21].map(u16::to_le_bytes).concat();
    fields.extend([crc, size, size].map(u32::to_le_bytes).concat());
    fields.extend((NAME.len() as u16).to_le_bytes());
    fields
}

/// Sizes of 64 bits, where they are needed.
fn sizes(n_bytes: u64) -> Vec<u8> {
    match is_large(n_bytes) {
        true => [[1u16, 16].map(u16::to_le_bytes).concat(), [n_bytes; 2].map(u64::to_le_bytes).concat()].concat(),
        false => Vec::new(),
    }
}

/// What stands before the entry.
fn local(crc: u32, n_bytes: u64) -> Vec<u8> {
    let extra = sizes(n_bytes);
    let length = (extra.len() as u16).to_le_bytes();
    [b"PK\x03\x04", &common(crc, n_bytes)[..], &length, NAME, &extra].concat()
}

/// What stands behind it, from `start` on.
fn directory(crc: u32, n_bytes: u64, start: u64) -> Vec<u8> {
    let extra = sizes(n_bytes);
    let mut bytes = b"PK\x01\x02".to_vec();
    bytes.extend((3u16 << 8 | 45).to_le_bytes());
    bytes.extend(common(crc, n_bytes));
    bytes.extend([extra.len() as u16, 0, 0, 0].map(u16::to_le_bytes).concat());
    bytes.extend([0o100_644u32 << 16, 0].map(u32::to_le_bytes).concat());
    bytes.extend(NAME);
    bytes.extend(extra);
    let length = bytes.len() as u64;
    if is_large(start) {
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44u64.to_le_bytes());
        bytes.extend([45u16, 45].map(u16::to_le_bytes).concat());
        bytes.extend([0u32; 2].map(u32::to_le_bytes).concat());
        bytes.extend([1, 1, length, start].map(u64::to_le_bytes).concat());
        bytes.extend(b"PK\x06\x07");
        bytes.extend(0u32.to_le_bytes());
        bytes.extend((start + length).to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06");
    bytes.extend([0u16, 0, 1, 1].map(u16::to_le_bytes).concat());
    bytes.extend((length as u32).to_le_bytes());
    bytes.extend((start.min(u64::from(u32::MAX)) as u32).to_le_bytes());
    // The checksum behind it is the archive's comment.
    bytes.extend((SIGNATURE_BYTES as u16).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_with_what_they_hold() {
        assert_eq!(local(7, 100).len(), 30 + NAME.len());
        assert_eq!(local(7, 1 << 33).len(), 30 + NAME.len() + 20);
        assert!(directory(7, 1 << 33, 1 << 33).windows(4).any(|w| w == b"PK\x06\x06"));
    }
}
