//! The loops for x86-64: SSE2, which every such processor has, AVX2, and AVX-512 with VBMI and GFNI.
//!
//! All functions rely on what [`Kernels`]' methods have checked: `split` and `join` have halves of equal
//! length and pairs twice as long; `bits` and `unbits` a multiple of 8 bytes, and eight planes of an eighth of
//! that length, `stride` apart, within `planes`. Every address below lies within those lengths, because each
//! loop stops before a step that would not; the scalar loops do the rest.

use std::arch::x86_64::*;

use super::{Kernels, scalar};

static SSE2: Kernels =
    Kernels { name: "SSE2", split: split_sse2, join: join_sse2, bits: bits_sse2, unbits: unbits_sse2 };
static AVX2: Kernels =
    Kernels { name: "AVX2", split: split_avx2, join: join_avx2, bits: bits_avx2, unbits: unbits_avx2 };
static AVX512: Kernels =
    Kernels { name: "AVX-512", split: split_avx512, join: join_avx512, bits: bits_avx512, unbits: unbits_avx512 };

/// The sets that this processor has, the plainest first.
pub(super) fn present() -> Vec<&'static Kernels> {
    let mut sets = vec![&SSE2];
    if is_x86_feature_detected!("avx2") {
        sets.push(&AVX2);
    }
    let wide = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("gfni");
    if wide {
        sets.push(&AVX512);
    }
    sets
}

/// Runs the scalar `bits` on what is left from byte `done` on.
fn rest_of_bits(bytes: &[u8], planes: &mut [u8], stride: usize, done: usize) {
    if done < bytes.len() {
        scalar::bits(&bytes[done..], &mut planes[done / 8..], stride);
    }
}

/// Runs the scalar `unbits` on what is left from byte `done` on.
fn rest_of_unbits(planes: &[u8], stride: usize, bytes: &mut [u8], done: usize) {
    if done < bytes.len() {
        scalar::unbits(&planes[done / 8..], stride, &mut bytes[done..]);
    }
}

#[target_feature(enable = "sse2")]
fn split_sse2(pairs: &[u8], even: &mut [u8], odd: &mut [u8]) {
    let done = even.len() / 16 * 16;
    let low = _mm_set1_epi16(0xff);
    for at in (0..done).step_by(16) {
        // SAFETY: at + 16 <= even.len() == odd.len() and 2 * at + 32 <= pairs.len().
        unsafe {
            let a = _mm_loadu_si128(pairs.as_ptr().add(2 * at).cast());
            let b = _mm_loadu_si128(pairs.as_ptr().add(2 * at + 16).cast());
            let evens = _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low));
            let odds = _mm_packus_epi16(_mm_srli_epi16::<8>(a), _mm_srli_epi16::<8>(b));
            _mm_storeu_si128(even.as_mut_ptr().add(at).cast(), evens);
            _mm_storeu_si128(odd.as_mut_ptr().add(at).cast(), odds);
        }
    }
    scalar::split(&pairs[2 * done..], &mut even[done..], &mut odd[done..]);
}

#[target_feature(enable = "sse2")]
fn join_sse2(even: &[u8], odd: &[u8], pairs: &mut [u8]) {
    let done = even.len() / 16 * 16;
    for at in (0..done).step_by(16) {
        // SAFETY: at + 16 <= even.len() == odd.len() and 2 * at + 32 <= pairs.len().
        unsafe {
            let e = _mm_loadu_si128(even.as_ptr().add(at).cast());
            let o = _mm_loadu_si128(odd.as_ptr().add(at).cast());
            _mm_storeu_si128(pairs.as_mut_ptr().add(2 * at).cast(), _mm_unpacklo_epi8(e, o));
            _mm_storeu_si128(pairs.as_mut_ptr().add(2 * at + 16).cast(), _mm_unpackhi_epi8(e, o));
        }
    }
    scalar::join(&even[done..], &odd[done..], &mut pairs[2 * done..]);
}

#[target_feature(enable = "sse2")]
fn bits_sse2(bytes: &[u8], planes: &mut [u8], stride: usize) {
    let done = bytes.len() / 16 * 16;
    for at in (0..done).step_by(16) {
        // SAFETY: at + 16 <= bytes.len(), so plane p takes its two bytes from p * stride + at / 8 on.
        unsafe {
            let mut v = _mm_loadu_si128(bytes.as_ptr().add(at).cast());
            for plane in (0..8).rev() {
                // The sign bits of the bytes; doubling brings the next bit up.
                let mask = _mm_movemask_epi8(v) as u16;
                planes.as_mut_ptr().add(plane * stride + at / 8).cast::<u16>().write_unaligned(mask);
                v = _mm_add_epi8(v, v);
            }
        }
    }
    rest_of_bits(bytes, planes, stride, done);
}

/// From eight vectors, one a plane, to eight vectors of elements: within every 128 bits, rows of eight bytes,
/// one of each plane, then each row transposed. `$v` is an array of eight; the other names are intrinsics.
macro_rules! gather_rows {
    ($v:ident, $xor:ident, $and:ident, $set:ident, $shr:ident, $shl:ident, $lo8:ident, $hi8:ident, $lo16:ident,
     $hi16:ident, $lo32:ident, $hi32:ident) => {{
        let [a, b, c, d] = [0, 2, 4, 6].map(|i| ($lo8($v[i], $v[i + 1]), $hi8($v[i], $v[i + 1])));
        let fours = |x, y| ($lo16(x, y), $hi16(x, y));
        let [(p, q), (r, s)] = [fours(a.0, b.0), fours(a.1, b.1)];
        let [(t, u), (v, w)] = [fours(c.0, d.0), fours(c.1, d.1)];
        let rows =
            [$lo32(p, t), $hi32(p, t), $lo32(q, u), $hi32(q, u), $lo32(r, v), $hi32(r, v), $lo32(s, w), $hi32(s, w)];
        rows.map(|x| {
            // As in `scalar::transpose`.
            let t = $and($xor(x, $shr::<7>(x)), $set(0x00aa_00aa_00aa_00aa));
            let x = $xor($xor(x, t), $shl::<7>(t));
            let t = $and($xor(x, $shr::<14>(x)), $set(0x0000_cccc_0000_cccc));
            let x = $xor($xor(x, t), $shl::<14>(t));
            let t = $and($xor(x, $shr::<28>(x)), $set(0x0000_0000_f0f0_f0f0));
            $xor($xor(x, t), $shl::<28>(t))
        })
    }};
}

#[target_feature(enable = "sse2")]
fn unbits_sse2(planes: &[u8], stride: usize, bytes: &mut [u8]) {
    let done = bytes.len() / 128 * 128;
    for at in (0..done).step_by(128) {
        // SAFETY: at + 128 <= bytes.len(), so every plane has 16 bytes from at / 8 on.
        let v: [__m128i; 8] = std::array::from_fn(|plane| unsafe {
            _mm_loadu_si128(planes.as_ptr().add(plane * stride + at / 8).cast())
        });
        let rows = gather_rows!(
            v,
            _mm_xor_si128,
            _mm_and_si128,
            _mm_set1_epi64x,
            _mm_srli_epi64,
            _mm_slli_epi64,
            _mm_unpacklo_epi8,
            _mm_unpackhi_epi8,
            _mm_unpacklo_epi16,
            _mm_unpackhi_epi16,
            _mm_unpacklo_epi32,
            _mm_unpackhi_epi32
        );
        for (i, row) in rows.into_iter().enumerate() {
            // SAFETY: at + 128 <= bytes.len() and i < 8.
            unsafe { _mm_storeu_si128(bytes.as_mut_ptr().add(at + 16 * i).cast(), row) };
        }
    }
    rest_of_unbits(planes, stride, bytes, done);
}

#[target_feature(enable = "avx2")]
fn split_avx2(pairs: &[u8], even: &mut [u8], odd: &mut [u8]) {
    let done = even.len() / 32 * 32;
    let low = _mm256_set1_epi16(0xff);
    for at in (0..done).step_by(32) {
        // SAFETY: at + 32 <= even.len() == odd.len() and 2 * at + 64 <= pairs.len().
        unsafe {
            let a = _mm256_loadu_si256(pairs.as_ptr().add(2 * at).cast());
            let b = _mm256_loadu_si256(pairs.as_ptr().add(2 * at + 32).cast());
            let evens = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
            let odds = _mm256_packus_epi16(_mm256_srli_epi16::<8>(a), _mm256_srli_epi16::<8>(b));
            // Packing works within halves: a.low b.low a.high b.high.
            let evens = _mm256_permute4x64_epi64::<0b11_01_10_00>(evens);
            let odds = _mm256_permute4x64_epi64::<0b11_01_10_00>(odds);
            _mm256_storeu_si256(even.as_mut_ptr().add(at).cast(), evens);
            _mm256_storeu_si256(odd.as_mut_ptr().add(at).cast(), odds);
        }
    }
    scalar::split(&pairs[2 * done..], &mut even[done..], &mut odd[done..]);
}

#[target_feature(enable = "avx2")]
fn join_avx2(even: &[u8], odd: &[u8], pairs: &mut [u8]) {
    let done = even.len() / 32 * 32;
    for at in (0..done).step_by(32) {
        // SAFETY: at + 32 <= even.len() == odd.len() and 2 * at + 64 <= pairs.len().
        unsafe {
            let e = _mm256_loadu_si256(even.as_ptr().add(at).cast());
            let o = _mm256_loadu_si256(odd.as_ptr().add(at).cast());
            let (low, high) = (_mm256_unpacklo_epi8(e, o), _mm256_unpackhi_epi8(e, o));
            let first = _mm256_permute2x128_si256::<0x20>(low, high);
            let second = _mm256_permute2x128_si256::<0x31>(low, high);
            _mm256_storeu_si256(pairs.as_mut_ptr().add(2 * at).cast(), first);
            _mm256_storeu_si256(pairs.as_mut_ptr().add(2 * at + 32).cast(), second);
        }
    }
    scalar::join(&even[done..], &odd[done..], &mut pairs[2 * done..]);
}

#[target_feature(enable = "avx2")]
fn bits_avx2(bytes: &[u8], planes: &mut [u8], stride: usize) {
    let done = bytes.len() / 32 * 32;
    for at in (0..done).step_by(32) {
        // SAFETY: at + 32 <= bytes.len(), so plane p takes its four bytes from p * stride + at / 8 on.
        unsafe {
            let mut v = _mm256_loadu_si256(bytes.as_ptr().add(at).cast());
            for plane in (0..8).rev() {
                let mask = _mm256_movemask_epi8(v) as u32;
                planes.as_mut_ptr().add(plane * stride + at / 8).cast::<u32>().write_unaligned(mask);
                v = _mm256_add_epi8(v, v);
            }
        }
    }
    rest_of_bits(bytes, planes, stride, done);
}

#[target_feature(enable = "avx2")]
fn unbits_avx2(planes: &[u8], stride: usize, bytes: &mut [u8]) {
    let done = bytes.len() / 256 * 256;
    for at in (0..done).step_by(256) {
        // SAFETY: at + 256 <= bytes.len(), so every plane has 32 bytes from at / 8 on.
        let v: [__m256i; 8] = std::array::from_fn(|plane| unsafe {
            _mm256_loadu_si256(planes.as_ptr().add(plane * stride + at / 8).cast())
        });
        let rows = gather_rows!(
            v,
            _mm256_xor_si256,
            _mm256_and_si256,
            _mm256_set1_epi64x,
            _mm256_srli_epi64,
            _mm256_slli_epi64,
            _mm256_unpacklo_epi8,
            _mm256_unpackhi_epi8,
            _mm256_unpacklo_epi16,
            _mm256_unpackhi_epi16,
            _mm256_unpacklo_epi32,
            _mm256_unpackhi_epi32
        );
        for i in 0..4 {
            // The low halves are of the first 16 bytes of the planes, the high halves of the second.
            let low = _mm256_permute2x128_si256::<0x20>(rows[2 * i], rows[2 * i + 1]);
            let high = _mm256_permute2x128_si256::<0x31>(rows[2 * i], rows[2 * i + 1]);
            // SAFETY: at + 256 <= bytes.len() and i < 4.
            unsafe {
                _mm256_storeu_si256(bytes.as_mut_ptr().add(at + 32 * i).cast(), low);
                _mm256_storeu_si256(bytes.as_mut_ptr().add(at + 128 + 32 * i).cast(), high);
            }
        }
    }
    rest_of_unbits(planes, stride, bytes, done);
}

/// Byte numbers for a permutation, made from a formula.
const fn numbers<const FIRST: usize, const STEP: usize>() -> [u8; 64] {
    let mut all = [0; 64];
    let mut i = 0;
    while i < 64 {
        all[i] = (FIRST + STEP * i) as u8;
        i += 1;
    }
    all
}

/// Byte numbers that interleave the halves beginning at `FIRST` of two vectors.
const fn interleaved<const FIRST: usize>() -> [u8; 64] {
    let mut all = [0; 64];
    let mut i = 0;
    while i < 64 {
        all[i] = (FIRST + i / 2 + 64 * (i % 2)) as u8;
        i += 1;
    }
    all
}

/// Byte numbers that transpose eight rows of eight bytes.
const SQUARE: [u8; 64] = {
    let mut all = [0; 64];
    let mut i = 0;
    while i < 64 {
        all[i] = (i % 8 * 8 + i / 8) as u8;
        i += 1;
    }
    all
};

/// The same with the rows in reverse, as GFNI wants a matrix: its highest byte makes the lowest bits.
const SQUARE_REVERSED: [u8; 64] = {
    let mut all = [0; 64];
    let mut i = 0;
    while i < 64 {
        all[i] = ((7 - i % 8) * 8 + i / 8) as u8;
        i += 1;
    }
    all
};

/// Byte numbers that reverse each eight bytes.
const REVERSED: [u8; 64] = {
    let mut all = [0; 64];
    let mut i = 0;
    while i < 64 {
        all[i] = (i / 8 * 8 + 7 - i % 8) as u8;
        i += 1;
    }
    all
};

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn constant(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn split_avx512(pairs: &[u8], even: &mut [u8], odd: &mut [u8]) {
    let done = even.len() / 64 * 64;
    let (evens, odds) = (constant(&const { numbers::<0, 2>() }), constant(&const { numbers::<1, 2>() }));
    for at in (0..done).step_by(64) {
        // SAFETY: at + 64 <= even.len() == odd.len() and 2 * at + 128 <= pairs.len().
        unsafe {
            let a = _mm512_loadu_si512(pairs.as_ptr().add(2 * at).cast());
            let b = _mm512_loadu_si512(pairs.as_ptr().add(2 * at + 64).cast());
            _mm512_storeu_si512(even.as_mut_ptr().add(at).cast(), _mm512_permutex2var_epi8(a, evens, b));
            _mm512_storeu_si512(odd.as_mut_ptr().add(at).cast(), _mm512_permutex2var_epi8(a, odds, b));
        }
    }
    scalar::split(&pairs[2 * done..], &mut even[done..], &mut odd[done..]);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn join_avx512(even: &[u8], odd: &[u8], pairs: &mut [u8]) {
    let done = even.len() / 64 * 64;
    let (first, second) = (constant(&const { interleaved::<0>() }), constant(&const { interleaved::<32>() }));
    for at in (0..done).step_by(64) {
        // SAFETY: at + 64 <= even.len() == odd.len() and 2 * at + 128 <= pairs.len().
        unsafe {
            let e = _mm512_loadu_si512(even.as_ptr().add(at).cast());
            let o = _mm512_loadu_si512(odd.as_ptr().add(at).cast());
            _mm512_storeu_si512(pairs.as_mut_ptr().add(2 * at).cast(), _mm512_permutex2var_epi8(e, first, o));
            _mm512_storeu_si512(pairs.as_mut_ptr().add(2 * at + 64).cast(), _mm512_permutex2var_epi8(e, second, o));
        }
    }
    scalar::join(&even[done..], &odd[done..], &mut pairs[2 * done..]);
}

/// Transposes eight rows of eight numbers of 64 bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn transpose_avx512(v: [__m512i; 8]) -> [__m512i; 8] {
    let pairs = [0, 2, 4, 6].map(|i| (_mm512_unpacklo_epi64(v[i], v[i + 1]), _mm512_unpackhi_epi64(v[i], v[i + 1])));
    let columns = |[a, b, c, d]: [__m512i; 4]| {
        let (ab, cd) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0x88>(c, d));
        let (pq, rs) = (_mm512_shuffle_i64x2::<0xdd>(a, b), _mm512_shuffle_i64x2::<0xdd>(c, d));
        [
            _mm512_shuffle_i64x2::<0x88>(ab, cd),
            _mm512_shuffle_i64x2::<0x88>(pq, rs),
            _mm512_shuffle_i64x2::<0xdd>(ab, cd),
            _mm512_shuffle_i64x2::<0xdd>(pq, rs),
        ]
    };
    let even = columns(pairs.map(|p| p.0));
    let odd = columns(pairs.map(|p| p.1));
    [even[0], odd[0], even[1], odd[1], even[2], odd[2], even[3], odd[3]]
}

/// Bytes 1, 2, 4 and so on: multiplied by a matrix of bits, they give its columns.
const UNITS: i64 = 0x8040_2010_0804_0201_u64 as i64;

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn bits_avx512(bytes: &[u8], planes: &mut [u8], stride: usize) {
    let done = bytes.len() / 512 * 512;
    let (reversed, square, units) = (constant(&REVERSED), constant(&SQUARE), _mm512_set1_epi64(UNITS));
    for at in (0..done).step_by(512) {
        let rows: [__m512i; 8] = std::array::from_fn(|i| {
            // SAFETY: at + 512 <= bytes.len() and i < 8.
            let v = unsafe { _mm512_loadu_si512(bytes.as_ptr().add(at + 64 * i).cast()) };
            let turned = _mm512_gf2p8affine_epi64_epi8::<0>(units, _mm512_shuffle_epi8(v, reversed));
            _mm512_permutexvar_epi8(square, turned)
        });
        for (plane, v) in transpose_avx512(rows).into_iter().enumerate() {
            // SAFETY: at + 512 <= bytes.len(), so every plane has 64 bytes from at / 8 on.
            unsafe { _mm512_storeu_si512(planes.as_mut_ptr().add(plane * stride + at / 8).cast(), v) };
        }
    }
    let (rest, planes) = (&bytes[done..], &mut planes[done / 8..]);
    if !rest.is_empty() {
        bits_sse2(rest, planes, stride);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn unbits_avx512(planes: &[u8], stride: usize, bytes: &mut [u8]) {
    let done = bytes.len() / 512 * 512;
    let (square, units) = (constant(&SQUARE_REVERSED), _mm512_set1_epi64(UNITS));
    for at in (0..done).step_by(512) {
        // SAFETY: at + 512 <= bytes.len(), so every plane has 64 bytes from at / 8 on.
        let rows: [__m512i; 8] = std::array::from_fn(|plane| unsafe {
            _mm512_loadu_si512(planes.as_ptr().add(plane * stride + at / 8).cast())
        });
        for (i, v) in transpose_avx512(rows).into_iter().enumerate() {
            let turned = _mm512_gf2p8affine_epi64_epi8::<0>(units, _mm512_permutexvar_epi8(square, v));
            // SAFETY: at + 512 <= bytes.len() and i < 8.
            unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().add(at + 64 * i).cast(), turned) };
        }
    }
    let (planes, rest) = (&planes[(done / 8).min(planes.len())..], &mut bytes[done..]);
    if !rest.is_empty() {
        unbits_sse2(planes, stride, rest);
    }
}
