//! Order statistics: median, quantile, mode, unique. Exact for every element type.
//!
//! Columns of up to [`HOLD`] elements are held, as the block that brings them or piece by piece, and sorted.
//! Longer ones are counted: the digits of their keys go into bins, most significant first, one pass over the
//! input for each digit ([`counting`](super::counting)).

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::counting::{Digits, Distinct};
use crate::reduce::fold::Fold;
use crate::reduce::hold::Hold;
use crate::reduce::lines::{KernelLines, quantiles};
use crate::reduce::number::with_real;
use crate::reduce::operator::{Operator, OwnAxis, Subject};
use crate::reduce::ranks::{Answers, RankStatistic, ranks};

/// Longest column, in elements, that is held in memory to be sorted.
const HOLD: u64 = 1024;

/// Reduced elements from which on digits of 16 bits cost no more memory than the elements.
const LONG: u64 = 1 << 18;

fn parse_quantile(text: &str) -> Result<f64> {
    let q = text.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q));
    q.ok_or_else(|| Error::usage(format!("quantile={text}: a quantile is a number from 0 to 1, as in quantile=0.9")))
}

/// A statistic of the ordered elements.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    statistic: RankStatistic,
    median: bool,
}

impl Ordered {
    pub(super) fn median() -> Self {
        Self { statistic: RankStatistic::Quantiles(vec![0.5]), median: true }
    }

    pub(super) fn mode() -> Self {
        Self { statistic: RankStatistic::Mode, median: false }
    }

    pub(super) fn unique() -> Self {
        Self { statistic: RankStatistic::Unique, median: false }
    }

    /// Those that `argument` lists.
    pub(super) fn quantiles(argument: Option<&str>) -> Result<Self> {
        let text = argument.ok_or_else(|| Error::usage("quantile: say which, as in quantile=0.1:0.9"))?;
        let quantiles = text.split(':').map(parse_quantile).collect::<Result<_>>()?;
        Ok(Self { statistic: RankStatistic::Quantiles(quantiles), median: false })
    }

    fn route(&self, input: &Subject) -> Route {
        let (size, quantiles) = (input.dtype.size(), matches!(self.statistic, RankStatistic::Quantiles(_)));
        let most_held = match size {
            1 => 256,
            _ if quantiles => HOLD,
            // Bins for every value cost 512 KiB per output; below that the elements themselves cost less.
            _ => (512 << 10) / size as u64,
        };
        match input.n_reduced {
            n if n <= most_held => Route::Hold,
            n if quantiles && n < LONG => Route::Digits(8),
            _ if quantiles || size <= 2 => Route::Digits(16.min(8 * size as u32)),
            _ => Route::Distinct,
        }
    }
}

/// How a statistic comes about.
#[derive(PartialEq)]
enum Route {
    /// Elements are held and sorted.
    Hold,
    /// Digits of so many bits are counted.
    Digits(u32),
    /// Distinct values are counted.
    Distinct,
}

impl Operator for Ordered {
    fn argument(&self) -> Option<String> {
        match &self.statistic {
            RankStatistic::Quantiles(q) if !self.median => {
                Some(q.iter().map(f64::to_string).collect::<Vec<_>>().join(":"))
            }
            _ => None,
        }
    }

    fn dtype(&self, input: &Subject) -> Result<DType> {
        Ok(match self.statistic {
            RankStatistic::Unique => DType::Int64,
            RankStatistic::Mode => input.dtype,
            RankStatistic::Quantiles(_) if input.dtype.is_float() => input.dtype,
            RankStatistic::Quantiles(_) => DType::Float64,
        })
    }

    fn own_axis(&self, _: &Subject) -> Result<Option<OwnAxis>> {
        Ok(match &self.statistic {
            RankStatistic::Quantiles(q) if q.len() > 1 => Some(("quantile", q.clone())),
            _ => None,
        })
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        let n = if let RankStatistic::Quantiles(q) = &self.statistic { q.len() as u64 } else { 1 };
        match (self.route(input), &self.statistic) {
            (Route::Hold, _) if input.whole && !input.masked => 8 * n,
            (Route::Hold, _) => 8 * n + input.n_reduced * (input.dtype.size() as u64 + u64::from(input.masked)),
            (Route::Digits(bits), RankStatistic::Quantiles(_)) => 2 * n * ((8 << bits) + 32),
            (Route::Digits(bits), _) => 8 << bits,
            (Route::Distinct, _) => 64 << 20,
        }
    }

    fn n_passes(&self, input: &Subject) -> u32 {
        match (self.route(input), &self.statistic) {
            (Route::Digits(bits), RankStatistic::Quantiles(_)) => (input.dtype.size() as u32 * 8).div_ceil(bits),
            _ => 1,
        }
    }

    fn wants_whole(&self, input: &Subject) -> bool {
        self.route(input) == Route::Hold
    }

    fn strategy(&self, input: &Subject) -> Option<String> {
        Some(match (self.route(input), self.n_passes(input)) {
            (Route::Hold, _) => format!("holds the {} elements of each output", input.n_reduced),
            (Route::Digits(_), 1) => "counts values in one pass".to_owned(),
            (Route::Digits(bits), n) => format!("counts digits of {bits} bits in {n} passes over the input"),
            (Route::Distinct, _) => "counts distinct values, in as many passes as they need memory for".to_owned(),
        })
    }

    fn in_any_order(&self, _: &Subject) -> bool {
        true
    }

    fn lines(&self, input: &Subject) -> Option<KernelLines> {
        match &self.statistic {
            RankStatistic::Quantiles(all) if self.route(input) == Route::Hold && !input.dtype.is_complex() => {
                let wanted: Vec<_> = all.iter().map(|&q| ranks(q, input.n_reduced)).collect();
                quantiles(input.dtype, input.n_reduced as usize, &wanted)
            }
            _ => None,
        }
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => {
            let answers = Answers::<T>::new(self.statistic.clone(), dtype, n);
            match self.route(input) {
                Route::Hold => Hold::start(answers, input.n_reduced as usize),
                Route::Digits(bits) => Digits::start(answers, bits),
                Route::Distinct => Distinct::start(answers),
            }
        })
    }
}
