//! What order statistics share: which they are, ranks of quantiles, runs of equal elements, and results.

use crate::dtype::DType;
use crate::reduce::fold::{Counts, Refusal, Results};
use crate::reduce::number::{Integer, Real, one_zero};

/// Which statistic of the ordered elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RankStatistic {
    Quantiles(Vec<f64>),
    Mode,
    Unique,
}

/// A statistic of each output.
pub(super) struct Answers<T> {
    pub(super) statistic: RankStatistic,
    pub(super) dtype: DType,
    pub(super) n_outputs: usize,
    /// Quantiles, one after the other; or numbers of distinct elements.
    pub(super) floats: Vec<f64>,
    /// Modes.
    pub(super) modes: Vec<T>,
}

impl<T: Real> Answers<T> {
    /// None yet.
    pub(super) fn new(statistic: RankStatistic, dtype: DType, n_outputs: usize) -> Self {
        let (n_floats, n_modes) = match &statistic {
            RankStatistic::Quantiles(q) => (q.len() * n_outputs, 0),
            RankStatistic::Unique => (n_outputs, 0),
            RankStatistic::Mode => (0, n_outputs),
        };
        Self { statistic, dtype, n_outputs, floats: vec![0.0; n_floats], modes: vec![T::default(); n_modes] }
    }

    /// The most frequent of the elements of output `i`, and how many distinct ones there are.
    pub(super) fn note(&mut self, i: usize, (mode, distinct): (T::Key, u64), nan: bool) {
        if self.statistic == RankStatistic::Mode {
            self.modes[i] = T::from_key(if nan { T::Key::MAX } else { mode });
        } else {
            self.floats[i] = distinct as f64;
        }
    }

    /// The results; there is no mode where no element counts.
    pub(super) fn finish(self, counts: &Counts) -> Result<Results, Refusal> {
        match self.statistic {
            RankStatistic::Quantiles(_) => Ok(Results::Float(self.floats)),
            RankStatistic::Unique => Ok(Results::Int(self.floats.iter().map(|&n| n as i128).collect())),
            RankStatistic::Mode => {
                let n = self.modes.len();
                Ok(Results::raw(self.dtype, Refusal::unless_few::<T>(self.modes, n, counts, "mode")?))
            }
        }
    }
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

/// Most frequent of sorted keys, the least of several, and how many distinct ones there are; both zeros are one.
pub(super) fn runs<T: Real>(sorted: impl Iterator<Item = (T::Key, u64)>) -> (T::Key, u64) {
    let (mut best, mut best_n, mut distinct) = (T::Key::MIN, 0, 0);
    let mut current: Option<(T::Key, u64)> = None;
    for (key, n) in sorted {
        let key = one_zero(T::from_key(key)).key();
        let n = match current {
            Some((before, n_before)) if before == key => n_before + n,
            _ => {
                distinct += 1;
                n
            }
        };
        current = Some((key, n));
        if n > best_n {
            (best, best_n) = (key, n);
        }
    }
    (best, distinct)
}
