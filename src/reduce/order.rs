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
use crate::reduce::number::with_real;
use crate::reduce::operator::{Input, Make, Operator, OperatorKind, OwnAxis};
use crate::reduce::ranks::Statistic;

/// Longest column, in elements, that is held in memory to be sorted.
const HOLD: u64 = 1024;

/// Reduced elements from which on digits of 16 bits cost no more memory than the elements.
const LONG: u64 = 1 << 18;

/// Middle element.
pub(super) const MEDIAN: OperatorKind =
    OperatorKind::plain("median", "middle element, or the mean of the two middle ones", |_| {
        Box::new(Order { statistic: Statistic::Quantiles(vec![0.5]), median: true })
    });

/// Quantiles.
pub(super) const QUANTILE: OperatorKind = OperatorKind {
    name: "quantile",
    argument: "=Q[:Q...]",
    about: "quantiles, interpolated linearly; several make an axis",
    make: Make::Parsed(|argument| {
        let text = argument.ok_or_else(|| Error::usage("quantile: say which, as in quantile=0.1:0.9"))?;
        let quantiles = text.split(':').map(parse_quantile).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Order { statistic: Statistic::Quantiles(quantiles), median: false }))
    }),
};

/// Most frequent element.
pub(super) const MODE: OperatorKind =
    OperatorKind::plain("mode", "most frequent element, the least of several", |_| {
        Box::new(Order { statistic: Statistic::Mode, median: false })
    });

/// Number of distinct elements.
pub(super) const UNIQUE: OperatorKind =
    OperatorKind::plain("unique", "number of distinct elements; all NaN are one", |_| {
        Box::new(Order { statistic: Statistic::Unique, median: false })
    });

fn parse_quantile(text: &str) -> Result<f64> {
    let q = text.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q));
    q.ok_or_else(|| Error::usage(format!("quantile={text}: a quantile is a number from 0 to 1, as in quantile=0.9")))
}

#[derive(Clone, Debug)]
struct Order {
    statistic: Statistic,
    median: bool,
}

impl Order {
    fn holds(&self, input: &Input) -> bool {
        let bins = match self.statistic {
            Statistic::Quantiles(_) => HOLD,
            // Bins for every value cost 512 KiB per output; below that the elements themselves cost less.
            Statistic::Mode | Statistic::Unique => (512 << 10) / input.dtype.size() as u64,
        };
        let bins = if input.dtype.size() == 1 { 256 } else { bins };
        input.n_reduced <= bins
    }

    fn digit_bits(&self, input: &Input) -> u32 {
        let bits = input.dtype.size() as u32 * 8;
        match self.statistic {
            Statistic::Quantiles(_) if input.n_reduced < LONG => 8,
            _ => bits.min(16),
        }
    }
}

impl Operator for Order {
    fn argument(&self) -> Option<String> {
        match &self.statistic {
            Statistic::Quantiles(q) if !self.median => Some(q.iter().map(f64::to_string).collect::<Vec<_>>().join(":")),
            _ => None,
        }
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        Ok(match self.statistic {
            Statistic::Unique => DType::Int64,
            Statistic::Mode => input.dtype,
            Statistic::Quantiles(_) if input.dtype.is_float() => input.dtype,
            Statistic::Quantiles(_) => DType::Float64,
        })
    }

    fn own_axis(&self, _: &Input) -> Result<Option<OwnAxis>> {
        Ok(match &self.statistic {
            Statistic::Quantiles(q) if q.len() > 1 => Some(OwnAxis { name: "quantile", coordinates: q.clone() }),
            _ => None,
        })
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        let size = input.dtype.size() as u64;
        let mask = u64::from(input.masked);
        if self.holds(input) {
            let results = match &self.statistic {
                Statistic::Quantiles(q) => 8 * q.len() as u64,
                _ => 8,
            };
            return if input.whole && !input.masked { results } else { results + input.n_reduced * (size + mask) };
        }
        let bins = 8u64 << self.digit_bits(input);
        match &self.statistic {
            Statistic::Quantiles(q) => 2 * q.len() as u64 * (bins + 32),
            _ if size <= 2 => bins,
            _ => 64 << 20,
        }
    }

    fn n_passes(&self, input: &Input) -> u32 {
        match self.statistic {
            _ if self.holds(input) => 1,
            Statistic::Quantiles(_) => (input.dtype.size() as u32 * 8).div_ceil(self.digit_bits(input)),
            _ => 1,
        }
    }

    fn wants_whole(&self, input: &Input) -> bool {
        self.holds(input)
    }

    fn strategy(&self, input: &Input) -> Option<String> {
        if self.holds(input) {
            return Some(format!("holds the {} elements of each output", input.n_reduced));
        }
        Some(match (&self.statistic, self.n_passes(input)) {
            (Statistic::Quantiles(_), 1) => "counts values in one pass".to_owned(),
            (Statistic::Quantiles(_), n) => {
                format!("counts digits of {} bits in {n} passes over the input", self.digit_bits(input))
            }
            _ if input.dtype.size() <= 2 => "counts values in one pass".to_owned(),
            _ => "counts distinct values, in as many passes as they need memory for".to_owned(),
        })
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => {
            if self.holds(input) {
                Box::new(Hold::<T>::new(self.statistic.clone(), dtype, input.n_reduced as usize, n))
            } else if dtype.size() > 2 && !matches!(self.statistic, Statistic::Quantiles(_)) {
                Box::new(Distinct::<T>::new(self.statistic == Statistic::Mode, dtype, n))
            } else {
                Box::new(Digits::<T>::new(self.statistic.clone(), dtype, self.digit_bits(input), n))
            }
        })
    }
}
