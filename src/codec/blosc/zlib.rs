//! zlib streams, written by the C library for the sake of its very bytes.

use std::ffi::c_int;

/// Compresses `data` to the start of `out` and returns the number of bytes; none if they do not fit.
pub(super) fn compress(data: &[u8], out: &mut [u8], level: c_int) -> Option<usize> {
    let mut room = libz_sys::uLongf::try_from(out.len()).ok()?;
    let n = libz_sys::uLong::try_from(data.len()).ok()?;
    // SAFETY: source and destination are live, do not overlap and are as long as stated.
    let code = unsafe { libz_sys::compress2(out.as_mut_ptr(), &raw mut room, data.as_ptr(), n, level) };
    (code == libz_sys::Z_OK).then(|| usize::try_from(room).ok()).flatten()
}
