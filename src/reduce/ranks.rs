//! What order statistics share: which they are, ranks of quantiles, and runs of equal elements.

use crate::dtype::DType;
use crate::reduce::fold::{Counts, Refusal, Values};
use crate::reduce::number::{Key, Real, nan};

/// Which statistic of the ordered elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statistic {
    Quantiles(Vec<f64>),
    Mode,
    Unique,
}

/// Ranks on either side of quantile `q` of `n` elements, and the share of the upper one.
///
/// Source: method 7 of Hyndman and Fan, Sample quantiles in statistical packages, 1996: NumPy's `linear`.
pub(super) fn ranks(q: f64, n: u64) -> (u64, u64, f64) {
    let last = n.saturating_sub(1);
    let position = q * last as f64;
    let low = (position.floor() as u64).min(last);
    (low, (low + 1).min(last), position - low as f64)
}

/// The value between two neighbours, as NumPy interpolates it; between a number and an infinity lies that
/// infinity, where NumPy's differences make NaN.
pub(super) fn between(a: f64, b: f64, share: f64) -> f64 {
    if a == b || share == 0.0 {
        return a;
    }
    if !a.is_finite() || !b.is_finite() {
        return a + b;
    }
    if share == 0.5 {
        let sum = a + b;
        return if sum.is_finite() { sum / 2.0 } else { a / 2.0 + b / 2.0 };
    }
    if share < 0.5 { a + (b - a) * share } else { b - (b - a) * (1.0 - share) }
}

/// Most frequent of sorted keys, the least of several, and how many distinct ones there are.
pub(super) fn runs<K: Key>(sorted: impl Iterator<Item = K>) -> (K, u64) {
    let (mut best, mut best_n, mut distinct) = (K::MIN, 0u64, 0u64);
    let mut current: Option<(K, u64)> = None;
    for k in sorted {
        let n = match current {
            Some((key, n)) if key == k => n + 1,
            _ => {
                distinct += 1;
                1
            }
        };
        current = Some((k, n));
        if n > best_n {
            (best, best_n) = (k, n);
        }
    }
    (best, distinct)
}

/// The most frequent element of each output, of which there is none where no element counts.
pub(super) fn modes<T: Real>(dtype: DType, counts: &Counts, best: impl Iterator<Item = T>) -> Result<Values, Refusal> {
    let mode = |(i, best)| match counts.of(i) {
        0 => nan::<T>().ok_or_else(|| Refusal::nothing(i, "mode")),
        _ => Ok(best),
    };
    let modes: Vec<T> = best.enumerate().map(mode).collect::<Result<_, _>>()?;
    Ok(Values::raw(dtype, &modes))
}
