//! Products of rows of whole numbers of 16 bits. Pairs of products are summed up in 32 bits, as often as that holds them, and
//! then in 64.

use std::sync::LazyLock;

/// Rows are as long as a multiple of this.
pub(super) const WIDTH: usize = 32;
/// Rows that are multiplied with as many others at once.
pub(super) const TILE: usize = 4;

type Rows<'a> = [&'a [i16]; TILE];
type Products = [[i64; TILE]; TILE];
/// Products of rows of one length, whose pairs are summed up so often in 32 bits.
///
/// # Safety
/// The processor has the instructions.
type Kernel = unsafe fn(Rows<'_>, Rows<'_>, usize) -> Products;

/// Products of each row of `a` with each of `b`, of numbers no farther from zero than `most`.
///
/// # Panics
/// If rows are not equally long or no multiple of [`WIDTH`], or `most` is that of no number but one of 16 bits.
pub(super) fn products(a: Rows<'_>, b: Rows<'_>, most: u32) -> Products {
    static BEST: LazyLock<Kernel> = LazyLock::new(|| kernels().pop().map_or(plain, |k| k.1));
    let n = a[0].len();
    assert!(n.is_multiple_of(WIDTH) && a.iter().chain(&b).all(|row| row.len() == n) && most <= 32767);
    let steps = i32::MAX as u32 / (2 * most * most).max(1);
    // SAFETY: it is one of those that this processor has.
    unsafe { BEST(a, b, steps as usize) }
}

/// The kernels that this processor has, the plainest first.
fn kernels() -> Vec<(&'static str, Kernel)> {
    let mut all: Vec<(&'static str, Kernel)> = vec![("plain", plain)];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            all.push(("avx2", x86::avx2));
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            all.push(("avx512", x86::avx512));
            if is_x86_feature_detected!("avx512vnni") {
                all.push(("avx512vnni", x86::vnni));
            }
        }
    }
    all
}

fn plain(a: Rows<'_>, b: Rows<'_>, _steps: usize) -> Products {
    let product = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(x, y)| i64::from(i32::from(*x) * i32::from(*y))).sum();
    a.map(|a| b.map(|b| product(a, b)))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Products, Rows, TILE};

    /// `$rows` by four sums fit the registers, each of `$lanes` numbers; `$step` adds products to one, `$sum` adds it up.
    macro_rules! kernel {
        ($name:ident, $features:literal, $rows:literal, $lanes:literal, $zero:ident, $load:ident, $step:ident, $sum:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $name(a: Rows<'_>, b: Rows<'_>, steps: usize) -> Products {
                /// Products of columns `from..to`, a multiple of `N`, which stay in the registers while nothing else is here.
                #[target_feature(enable = $features)]
                fn part(a: &[&[i16]], b: Rows<'_>, from: usize, to: usize) -> [[i64; TILE]; $rows] {
                    let mut sums = [[$zero(); TILE]; $rows];
                    // SAFETY: rows are longer than `to`, and a vector is `N` numbers.
                    let load = |row: &[i16], at: usize| unsafe { $load(row.as_ptr().add(at).cast()) };
                    let mut at = from;
                    while at < to {
                        let y = [load(b[0], at), load(b[1], at), load(b[2], at), load(b[3], at)];
                        for i in 0..$rows {
                            let x = load(a[i], at);
                            for j in 0..TILE {
                                sums[i][j] = $step(sums[i][j], x, y[j]);
                            }
                        }
                        at += N;
                    }
                    sums.map(|row| row.map(|sum| $sum(sum)))
                }
                const N: usize = 2 * $lanes;
                let (length, mut out) = (a[0].len() / N * N, Products::default());
                assert!(a.iter().chain(&b).all(|row| row.len() >= length));
                for first in (0..TILE).step_by($rows) {
                    for from in (0..length).step_by(steps.saturating_mul(N)) {
                        let to = length.min(from.saturating_add(steps.saturating_mul(N)));
                        for (i, row) in part(&a[first..first + $rows], b, from, to).iter().enumerate() {
                            row.iter().zip(&mut out[first + i]).for_each(|(sum, out)| *out += sum);
                        }
                    }
                }
                out
            }
        };
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn step256(sum: __m256i, x: __m256i, y: __m256i) -> __m256i {
        _mm256_add_epi32(sum, _mm256_madd_epi16(x, y))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum256(x: __m256i) -> i64 {
        let halves =
            [_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x)].map(|half| _mm256_cvtepi32_epi64(half));
        let four = _mm256_add_epi64(halves[0], halves[1]);
        let two = _mm_add_epi64(_mm256_castsi256_si128(four), _mm256_extracti128_si256::<1>(four));
        _mm_extract_epi64::<0>(two) + _mm_extract_epi64::<1>(two)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn step512(sum: __m512i, x: __m512i, y: __m512i) -> __m512i {
        _mm512_add_epi32(sum, _mm512_madd_epi16(x, y))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn sum512(x: __m512i) -> i64 {
        let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(x));
        let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(x));
        _mm512_reduce_add_epi64(_mm512_add_epi64(low, high))
    }

    kernel!(avx2, "avx2", 2, 8, _mm256_setzero_si256, _mm256_loadu_si256, step256, sum256);
    kernel!(avx512, "avx512f,avx512bw", 4, 16, _mm512_setzero_si512, _mm512_loadu_si512, step512, sum512);
    kernel!(
        vnni,
        "avx512f,avx512bw,avx512vnni",
        4,
        16,
        _mm512_setzero_si512,
        _mm512_loadu_si512,
        _mm512_dpwssd_epi32,
        sum512
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_give_exact_products() {
        for most in [1u32, 100, 5793, 23170, 32767] {
            let number = |i: usize| match i % 7 {
                0 => most as i16,
                1 => -(most as i16),
                _ => (i as i64 * 7919 % (2 * i64::from(most) + 1) - i64::from(most)) as i16,
            };
            for n in [32, 96, 2048] {
                let rows: Vec<Vec<i16>> = (0..8).map(|r| (0..n).map(|i| number(i * (r % 3 + 1))).collect()).collect();
                let [a, b] = [0, 4].map(|k| [0, 1, 2, 3].map(|i| &rows[k + i][..]));
                let exact = |i: usize, j: usize| -> i64 {
                    a[i].iter().zip(b[j]).map(|(x, y)| i64::from(*x) * i64::from(*y)).sum()
                };
                let expected: Products = [0, 1, 2, 3].map(|i| [0, 1, 2, 3].map(|j| exact(i, j)));
                assert_eq!(products(a, b, most), expected);
                let steps = (i32::MAX as u32 / (2 * most * most)) as usize;
                for (name, kernel) in kernels() {
                    // SAFETY: the processor has it.
                    assert_eq!(unsafe { kernel(a, b, steps) }, expected, "{name} {most} {n}");
                }
            }
        }
    }
}
