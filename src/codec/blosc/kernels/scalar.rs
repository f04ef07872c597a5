//! The loops without special instructions; they also finish what is left of the others.

use super::Kernels;

pub(super) static KERNELS: Kernels = Kernels { name: "scalar", split, join, bits, unbits };

pub(super) fn split(pairs: &[u8], even: &mut [u8], odd: &mut [u8]) {
    for ((pair, even), odd) in pairs.as_chunks::<2>().0.iter().zip(even).zip(odd) {
        [*even, *odd] = *pair;
    }
}

pub(super) fn join(even: &[u8], odd: &[u8], pairs: &mut [u8]) {
    for ((pair, even), odd) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
        *pair = [*even, *odd];
    }
}

pub(super) fn bits(bytes: &[u8], planes: &mut [u8], stride: usize) {
    for (at, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let eight = transpose(u64::from_le_bytes(*eight)).to_le_bytes();
        for (plane, byte) in eight.into_iter().enumerate() {
            planes[plane * stride + at] = byte;
        }
    }
}

pub(super) fn unbits(planes: &[u8], stride: usize, bytes: &mut [u8]) {
    for (at, eight) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let rows = std::array::from_fn(|plane| planes[plane * stride + at]);
        *eight = transpose(u64::from_le_bytes(rows)).to_le_bytes();
    }
}

/// Transposes 8 rows of 8 bits: squares of 1, then 2, then 4 bits change places across the diagonal.
fn transpose(x: u64) -> u64 {
    let swap = |x: u64, shift: u32, mask: u64| {
        let t = (x ^ (x >> shift)) & mask;
        x ^ t ^ (t << shift)
    };
    let x = swap(x, 7, 0x00aa_00aa_00aa_00aa);
    let x = swap(x, 14, 0x0000_cccc_0000_cccc);
    swap(x, 28, 0x0000_0000_f0f0_f0f0)
}
