//! LZ4 blocks, by the C library.

use std::ffi::c_int;

/// How hard to search.
#[derive(Clone, Copy)]
pub(super) enum Effort {
    /// LZ4's acceleration, 1 or more.
    Fast(c_int),
    /// LZ4 HC's level.
    High(c_int),
}

/// Compresses `data` to the start of `out` and returns the number of bytes; none if they do not fit.
pub(super) fn compress(data: &[u8], out: &mut [u8], effort: Effort) -> Option<usize> {
    let (from, to) = (data.as_ptr().cast(), out.as_mut_ptr().cast());
    let (n, room) = (c_int::try_from(data.len()).ok()?, c_int::try_from(out.len()).ok()?);
    // SAFETY: source and destination are live, do not overlap and are as long as stated.
    let n = unsafe {
        match effort {
            Effort::Fast(acceleration) => lz4_sys::LZ4_compress_fast(from, to, n, room, acceleration),
            Effort::High(level) => lz4_sys::LZ4_compress_HC(from, to, n, room, level),
        }
    };
    usize::try_from(n).ok().filter(|n| (1..=out.len()).contains(n))
}

/// Decompresses `stream` to the start of `out` and returns the number of bytes; none if it is damaged.
pub(in crate::codec) fn decompress(stream: &[u8], out: &mut [u8]) -> Option<usize> {
    let (n, room) = (c_int::try_from(stream.len()).ok()?, c_int::try_from(out.len()).ok()?);
    // SAFETY: source and destination are live, do not overlap and are as long as stated; the call stays within
    // both whatever the source holds.
    let n = unsafe { lz4_sys::LZ4_decompress_safe(stream.as_ptr().cast(), out.as_mut_ptr().cast(), n, room) };
    usize::try_from(n).ok().filter(|n| *n <= out.len())
}
