//! Undoing TIFF's predictors: running sums along rows. Pure arithmetic on slices.
//!
//! A running sum is a chain of additions, each waiting for the one before. Sixteen bytes at a time it is
//! not: inside a vector the sums take log2(n) shifted additions, and only the total travels on.

use bytemuck::Pod;

/// A whole number that wraps around: what horizontal differences are taken in.
trait Wrapping: Pod {
    fn plus(self, other: Self) -> Self;
}

macro_rules! wrapping {
    ($($t:ty),*) => {
        $(impl Wrapping for $t {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
        })*
    };
}
wrapping!(u8, u16, u32, u64);

/// Undoes predictor 2, horizontal differences between pixels of `samples` samples of `size` bytes, in rows
/// of `row_bytes`; samples in native byte order.
///
/// Source: TIFF 6.0, section 14.
pub(super) fn undo_differences(bytes: &mut [u8], row_bytes: usize, size: usize, samples: usize) {
    for row in bytes.chunks_exact_mut(row_bytes) {
        sum_row(row, size, samples);
    }
}

fn sum_row(row: &mut [u8], size: usize, samples: usize) {
    let done = vectors::sum(row, size, samples);
    match size {
        1 => sum_rest::<u8>(row, samples, done),
        2 => sum_rest::<u16>(bytemuck::cast_slice_mut(row), samples, done / 2),
        4 => sum_rest::<u32>(bytemuck::cast_slice_mut(row), samples, done / 4),
        _ => sum_rest::<u64>(bytemuck::cast_slice_mut(row), samples, done / 8),
    }
}

/// Sums from sample `from` on, the ones before being done.
fn sum_rest<T: Wrapping>(row: &mut [T], samples: usize, from: usize) {
    for i in from.max(samples)..row.len() {
        row[i] = row[i].plus(row[i - samples]);
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_add_epi8, _mm_add_epi16, _mm_add_epi32, _mm_add_epi64, _mm_and_si128, _mm_andnot_si128,
        _mm_or_si128, _mm_setr_epi8, _mm_setzero_si128, _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_shufflehi_epi16,
        _mm_slli_si128, _mm_srli_si128, _mm_unpackhi_epi8, _mm_unpackhi_epi16, _mm_unpackhi_epi32, _mm_unpackhi_epi64,
        _mm_unpacklo_epi8, _mm_unpacklo_epi16, _mm_unpacklo_epi32, _mm256_add_epi8, _mm256_permute2x128_si256,
        _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_si256,
    };

    /// Sums the pixels of a row as far as whole vectors go; gives the bytes that are done.
    pub(super) fn sum(row: &mut [u8], size: usize, samples: usize) -> usize {
        if size == 1 && matches!(samples, 1 | 3) && is_x86_feature_detected!("avx2") {
            // SAFETY: AVX2 is there.
            return unsafe { if samples == 1 { u8x1_avx2(row) } else { u8x3_avx2(row) } };
        }
        // SAFETY: SSE2 is a part of x86-64.
        unsafe { sum_sse2(row, size, samples) }
    }

    /// As the sums of single bytes in 16, in 32 at a time.
    #[target_feature(enable = "avx2")]
    fn u8x1_avx2(row: &mut [u8]) -> usize {
        let last = _mm256_set1_epi8(15);
        let mut carry = _mm256_setzero_si256();
        let mut done = 0;
        for part in row.as_chunks_mut::<32>().0 {
            let v: __m256i = bytemuck::cast(*part);
            let v = _mm256_add_epi8(v, _mm256_slli_si256::<1>(v));
            let v = _mm256_add_epi8(v, _mm256_slli_si256::<2>(v));
            let v = _mm256_add_epi8(v, _mm256_slli_si256::<4>(v));
            let v = _mm256_add_epi8(v, _mm256_slli_si256::<8>(v));
            // Totals of both halves; the lower one goes on in the upper half, both go on in the next vector.
            let totals = _mm256_shuffle_epi8(v, last);
            let lower = _mm256_permute2x128_si256::<0x08>(totals, totals);
            let total = _mm256_add_epi8(totals, _mm256_permute2x128_si256::<0x01>(totals, totals));
            *part = bytemuck::cast(_mm256_add_epi8(_mm256_add_epi8(v, lower), carry));
            carry = _mm256_add_epi8(carry, total);
            done += 32;
        }
        done
    }

    /// The last of five pixels of 3 bytes in all five places.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn last3_avx2(v: __m128i) -> __m128i {
        _mm_shuffle_epi8(v, _mm_setr_epi8(12, 13, 14, 12, 13, 14, 12, 13, 14, 12, 13, 14, 12, 13, 14, 12))
    }

    #[target_feature(enable = "sse2")]
    fn sum_sse2(row: &mut [u8], size: usize, samples: usize) -> usize {
        match (size, samples) {
            (1, 1) => u8x1(row),
            (1, 2) => u8x2(row),
            (1, 3) => u8x3(row),
            (1, 4) => u8x4(row),
            (2, 1) => u16x1(row),
            (2, 2) => u16x2(row),
            (2, 3) => u16x3(row),
            (2, 4) => u16x4(row),
            (4, 1) => u32x1(row),
            (4, 2) => u32x2(row),
            (8, 1) => u64x1(row),
            _ => 0,
        }
    }

    /// The last byte everywhere, and so on for wider units.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn last1(v: __m128i) -> __m128i {
        last2(_mm_unpackhi_epi8(v, v))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn last2(v: __m128i) -> __m128i {
        last4(_mm_shufflehi_epi16::<0xff>(v))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn last4(v: __m128i) -> __m128i {
        _mm_shuffle_epi32::<0xff>(v)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn last8(v: __m128i) -> __m128i {
        _mm_unpackhi_epi64(v, v)
    }

    /// The last of five pixels of 3 bytes in all five places.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn last3(v: __m128i) -> __m128i {
        let v = _mm_srli_si128::<13>(_mm_slli_si128::<1>(v));
        let v = _mm_or_si128(v, _mm_slli_si128::<3>(v));
        let v = _mm_or_si128(v, _mm_slli_si128::<6>(v));
        _mm_or_si128(v, _mm_slli_si128::<12>(v))
    }

    /// The second of two pixels of 6 bytes in both places.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn last6(v: __m128i) -> __m128i {
        let v = _mm_srli_si128::<10>(_mm_slli_si128::<4>(v));
        _mm_or_si128(v, _mm_slli_si128::<6>(v))
    }

    macro_rules! sums {
        ($feature:literal, $name:ident, $used:literal, $add:ident, $last:ident $(, $shift:literal)*) => {
            #[target_feature(enable = $feature)]
            fn $name(row: &mut [u8]) -> usize {
                const USED: usize = $used;
                let mut keep = [0u8; 16];
                keep[USED..].fill(0xff);
                let keep: __m128i = bytemuck::cast(keep);
                let mut carry = _mm_setzero_si128();
                let mut done = 0;
                let Some(first) = row.first_chunk::<16>() else { return 0 };
                let mut next: __m128i = bytemuck::cast(*first);
                while done + 16 <= row.len() {
                    let stored = next;
                    // Loaded before the store that it may overlap: a load cannot pass such a store.
                    if let Some(part) = row[done + USED..].first_chunk::<16>() {
                        next = bytemuck::cast(*part);
                    }
                    let v = stored;
                    $(let v = $add(v, _mm_slli_si128::<$shift>(v));)*
                    let sum = $add(v, carry);
                    // The total without the carry: the chain from vector to vector is one addition long.
                    carry = $add(carry, $last(v));
                    let sum = if USED == 16 {
                        sum
                    } else {
                        _mm_or_si128(_mm_andnot_si128(keep, sum), _mm_and_si128(keep, stored))
                    };
                    row[done..done + 16].copy_from_slice(bytemuck::bytes_of(&sum));
                    done += USED;
                }
                done
            }
        };
    }
    /// Joins floats of `size` bytes as far as whole vectors go; gives how many are done.
    pub(super) fn join(planes: &[u8], floats: &mut [u8], size: usize) -> usize {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            match size {
                2 => join_sse2::<2>(planes, floats),
                4 => join_sse2::<4>(planes, floats),
                8 => join_sse2::<8>(planes, floats),
                _ => 0,
            }
        }
    }

    /// Interleaves groups of `unit` vectors, each of which holds consecutive floats, two by two.
    #[inline(always)]
    fn interleave<const N: usize>(
        v: [__m128i; N],
        unit: usize,
        pair: impl Fn(__m128i, __m128i) -> (__m128i, __m128i),
    ) -> [__m128i; N] {
        let mut next = v;
        for i in 0..N / 2 {
            let (group, k) = (i / unit, i % unit);
            let (low, high) = pair(v[2 * group * unit + k], v[(2 * group + 1) * unit + k]);
            let to = 2 * group * unit + 2 * k;
            (next[to], next[to + 1]) = (low, high);
        }
        next
    }

    #[target_feature(enable = "sse2")]
    fn join_sse2<const SIZE: usize>(planes: &[u8], floats: &mut [u8]) -> usize {
        let n = floats.len() / SIZE;
        let (blocks, _) = floats.as_chunks_mut::<16>();
        let mut done = 0;
        // Sixteen floats at a time: one vector of every plane, the lowest bytes first.
        for block in blocks.chunks_exact_mut(SIZE) {
            let plane = |i: usize| -> __m128i {
                let from = (SIZE - 1 - i) * n + done;
                planes[from..].first_chunk::<16>().map_or(_mm_setzero_si128(), |c| bytemuck::cast(*c))
            };
            let mut v: [__m128i; SIZE] = std::array::from_fn(plane);
            // Neighbouring units of 1, 2, 4 bytes are interleaved until they are whole floats.
            v = interleave(v, 1, |a, b| (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)));
            if SIZE > 2 {
                v = interleave(v, 2, |a, b| (_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b)));
            }
            if SIZE > 4 {
                v = interleave(v, 4, |a, b| (_mm_unpacklo_epi32(a, b), _mm_unpackhi_epi32(a, b)));
            }
            for (part, v) in block.iter_mut().zip(v) {
                *part = bytemuck::cast(v);
            }
            done += 16;
        }
        done
    }

    sums!("sse2", u8x1, 16, _mm_add_epi8, last1, 1, 2, 4, 8);
    sums!("sse2", u8x2, 16, _mm_add_epi8, last2, 2, 4, 8);
    sums!("sse2", u8x3, 15, _mm_add_epi8, last3, 3, 6, 12);
    sums!("sse2", u8x4, 16, _mm_add_epi8, last4, 4, 8);
    sums!("sse2", u16x1, 16, _mm_add_epi16, last2, 2, 4, 8);
    sums!("sse2", u16x2, 16, _mm_add_epi16, last4, 4, 8);
    sums!("sse2", u16x3, 12, _mm_add_epi16, last6, 6);
    sums!("sse2", u16x4, 16, _mm_add_epi16, last8, 8);
    sums!("sse2", u32x1, 16, _mm_add_epi32, last4, 4, 8);
    sums!("sse2", u32x2, 16, _mm_add_epi32, last8, 8);
    sums!("sse2", u64x1, 16, _mm_add_epi64, last8, 8);
    sums!("avx2", u8x3_avx2, 15, _mm_add_epi8, last3_avx2, 3, 6, 12);
}

#[cfg(not(target_arch = "x86_64"))]
mod vectors {
    /// No vectors here: nothing is done.
    pub(super) fn sum(_row: &mut [u8], _size: usize, _samples: usize) -> usize {
        0
    }

    /// No vectors here: nothing is done.
    pub(super) fn join(_planes: &[u8], _floats: &mut [u8], _size: usize) -> usize {
        0
    }
}

/// Undoes predictor 3: every row of `row_bytes` holds the highest bytes of all its floats, then the next
/// ones, and so on, as byte differences between pixels of `samples` samples. Gives native byte order.
///
/// `plane` is room for one row.
///
/// Source: Adobe Photoshop TIFF Technical Note 3.
pub(super) fn undo_float_differences(
    bytes: &mut [u8],
    row_bytes: usize,
    size: usize,
    samples: usize,
    plane: &mut [u8],
) {
    let plane = &mut plane[..row_bytes];
    for row in bytes.chunks_exact_mut(row_bytes) {
        sum_row(row, 1, samples);
        plane.copy_from_slice(row);
        match size {
            2 => join::<u16>(plane, bytemuck::cast_slice_mut(row)),
            4 => join::<u32>(plane, bytemuck::cast_slice_mut(row)),
            _ => join::<u64>(plane, bytemuck::cast_slice_mut(row)),
        }
    }
}

/// Joins the bytes of each float from as many planes as it has bytes, the highest first.
fn join<T: Joined>(planes: &[u8], floats: &mut [T]) {
    let n = floats.len();
    for i in vectors::join(planes, bytemuck::cast_slice_mut(floats), size_of::<T>())..n {
        floats[i] = T::from_high_bytes((0..size_of::<T>()).map(|b| planes[b * n + i]));
    }
}

trait Joined: Pod {
    fn from_high_bytes(bytes: impl Iterator<Item = u8>) -> Self;
}

macro_rules! joined {
    ($($t:ty),*) => {
        $(impl Joined for $t {
            fn from_high_bytes(bytes: impl Iterator<Item = u8>) -> Self {
                bytes.fold(0, |float, b| float << 8 | Self::from(b))
            }
        })*
    };
}
joined!(u16, u32, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_vectors_equal_sums_one_by_one() {
        for size in [1usize, 2, 4, 8] {
            for samples in 1..7 {
                for pixels in [1, 2, 5, 16, 33, 100] {
                    let row: Vec<u64> = (0..(size * samples * pixels).div_ceil(8) as u64)
                        .map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                        .collect();
                    let row = &bytemuck::cast_slice::<u64, u8>(&row)[..size * samples * pixels];
                    let (mut slow, mut fast) = (vec![0u64; row.len().div_ceil(8)], vec![0u64; row.len().div_ceil(8)]);
                    let slow = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut slow)[..row.len()];
                    slow.copy_from_slice(row);
                    match size {
                        1 => sum_rest::<u8>(slow, samples, 0),
                        2 => sum_rest::<u16>(bytemuck::cast_slice_mut(slow), samples, 0),
                        4 => sum_rest::<u32>(bytemuck::cast_slice_mut(slow), samples, 0),
                        _ => sum_rest::<u64>(bytemuck::cast_slice_mut(slow), samples, 0),
                    }
                    let fast = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut fast)[..row.len()];
                    fast.copy_from_slice(row);
                    sum_row(fast, size, samples);
                    assert_eq!(slow, fast, "{samples} samples of {size} bytes, {pixels} pixels");
                }
            }
        }
    }
}
