//! Sums: sum, mean, weighted mean, count, rms.
//!
//! Integers add up exactly ([`exact`](super::exact)). Floats add up in pairs of float64, sum and remainder, so
//! that the result is that of arithmetic with twice the digits, rounded once: the relative error is at most
//! 2^-53 plus n^2 2^-105 times the sum of magnitudes over the magnitude of the sum. Source: Ogita, Rump and
//! Oishi, Accurate sum and dot product, 2005 (Sum2).

use std::sync::Arc;

use crate::dtype::{Complex, DType, Element};
use crate::error::{Error, Result};
use crate::reduce::exact::{Exact, Goal, Plain, Squared};
use crate::reduce::fold::{Counts, Fold, Results};
use crate::reduce::lines::{FLOAT_SUM, KernelLines};
use crate::reduce::number::Real;
use crate::reduce::operator::{Operator, Subject};
use crate::reduce::panel::Panel;
use crate::reduce::tally::{Columns, DEALT, IN_TURN, kept, tallied, tally};
use crate::with_class;

/// Which sum.
#[derive(Clone, Debug)]
pub(super) enum Sums {
    Sum,
    Mean,
    WeightedMean(Arc<[f64]>),
    Rms,
    Count,
}

impl Operator for Sums {
    fn takes_complex(&self) -> bool {
        !matches!(self, Self::Rms)
    }

    fn dtype(&self, input: &Subject) -> Result<DType> {
        let dtype = input.dtype;
        match self {
            Self::Count => Ok(DType::Int64),
            Self::Sum if dtype.is_unsigned() => Ok(DType::Uint64),
            Self::Sum if dtype.is_signed() || dtype == DType::Bool => Ok(DType::Int64),
            Self::WeightedMean(_) if dtype.is_complex() => {
                Err(Error::usage("a weighted mean is not defined for complex numbers: sum, mean and count are"))
            }
            _ if dtype.is_float() || dtype.is_complex() => Ok(dtype),
            _ => Ok(DType::Float64),
        }
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        match (self, input.dtype.size()) {
            (Self::Count, _) => 0,
            (Self::Rms, 1 | 2) => 24,
            (Self::Rms | Self::WeightedMean(_), _) => 32,
            _ if input.dtype.is_complex() => 32,
            _ if input.dtype.is_float() => 16,
            (_, 8) => 16,
            (_, 4) if input.n_reduced < 1 << 31 => 8,
            (_, 1 | 2) if input.n_reduced < 1 << 15 => 4,
            _ => 24,
        }
    }

    fn in_any_order(&self, input: &Subject) -> bool {
        match self {
            Self::Count => true,
            Self::WeightedMean(_) => false,
            Self::Rms if input.dtype.size() == 8 => false,
            _ => !input.dtype.is_float() && !input.dtype.is_complex(),
        }
    }

    fn lines(&self, input: &Subject) -> Option<KernelLines> {
        let mean = match self {
            Self::Sum => false,
            Self::Mean => true,
            _ => return None,
        };
        let value = if mean { "(double)s / N" } else { "s" };
        match input.dtype {
            d if d.is_float() => Some(KernelLines::new("double", format!("{FLOAT_SUM}const double r = {value};"))),
            // Sums of wider ones may not fit.
            d if d.is_complex() || d.size() == 8 => None,
            d => {
                // Sums of few narrow ones fit into what is fast.
                let is_small = d.size() < 4 && input.n_reduced < 1 << 15;
                let sum = if is_small { "int" } else { "long" };
                let result = if mean { "double" } else { "long" };
                let text = format!(
                    "{sum} s = 0;\n#pragma unroll 8\nfor (int i = 0; i < N; i++) s += AT(i);\nconst {result} r = {value};"
                );
                Some(KernelLines::new(sum, text))
            }
        }
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        let goal = match self {
            Self::Count => {
                return kept(
                    Columns::new(((), ()), n),
                    |_, _, _| (),
                    |_, _, _| (),
                    move |_, counts| Ok(Results::raw(DType::Int64, (0..n).map(|i| counts.of(i)).collect::<Vec<_>>())),
                );
            }
            Self::Sum => Goal::Sum,
            Self::Mean | Self::WeightedMean(_) => Goal::Mean,
            Self::Rms => Goal::Rms,
        };
        with_class!(
            input.dtype,
            int T => match self {
                Self::WeightedMean(weights) => weighted_means::<T>(weights.clone(), n),
                Self::Rms if size_of::<T>() == 8 => float_sums::<T, true>(goal, n),
                Self::Rms => Exact::<Squared<T>>::start(goal, n),
                _ => Exact::<Plain<T>>::start(goal, n),
            },
            float T => match self {
                Self::WeightedMean(weights) => weighted_means::<T>(weights.clone(), n),
                Self::Rms => float_sums::<T, true>(goal, n),
                _ => float_sums::<T, false>(goal, n),
            },
            complex T => complex_sums::<T>(goal, n)
        )
    }
}

/// Adds `x` to the pair `sum`, `rest`. Source: Knuth, TAOCP 2, section 4.2.2, theorem B.
#[inline(always)]
fn two_sum((sum, rest): (f64, f64), x: f64) -> (f64, f64) {
    let s = sum + x;
    let t = s - sum;
    (s, rest + ((sum - (s - t)) + (x - t)))
}

/// The sum of two pairs.
#[inline(always)]
fn add_pairs(pair: (f64, f64), later: (f64, f64)) -> (f64, f64) {
    let (sum, rest) = two_sum(pair, later.0);
    (sum, rest + later.1)
}

/// The pair as one number; infinities and NaN make the remainder meaningless.
#[inline(always)]
fn joined((sum, rest): (f64, f64)) -> f64 {
    if sum.is_finite() { sum + rest } else { sum }
}

/// Sums of floats, or of their squares.
fn float_sums<T: Real, const SQUARE: bool>(goal: Goal, n: usize) -> Box<dyn Fold> {
    let step = |pair, x: T, _, _| two_sum(pair, if SQUARE { x.f64() * x.f64() } else { x.f64() });
    tallied(n, tally(DEALT, (0.0, 0.0), step, add_pairs), move |states, counts| {
        let value = |(i, pair)| match goal {
            Goal::Sum => joined(pair),
            Goal::Rms => (joined(pair) / counts.of(i) as f64).sqrt(),
            _ => joined(pair) / counts.of(i) as f64,
        };
        Ok(Results::Float(states.iter().enumerate().map(value).collect()))
    })
}

/// Two pairs: their sums, and their remainders.
type Pairs = ([f64; 2], [f64; 2]);

/// The sums of two pairs each.
#[inline(always)]
fn add_both((sums, rests): Pairs, later: Pairs) -> Pairs {
    let [first, second] = [0, 1].map(|i| add_pairs((sums[i], rests[i]), (later.0[i], later.1[i])));
    ([first.0, second.0], [first.1, second.1])
}

/// Sums of complex numbers: those of their parts.
fn complex_sums<T: Real>(goal: Goal, n: usize) -> Box<dyn Fold>
where
    Complex<T>: Element,
{
    let step = |state, z: Complex<T>, _, _| add_both(state, ([z.re.f64(), z.im.f64()], [0.0, 0.0]));
    tallied(n, tally(IN_TURN, Pairs::default(), step, add_both), move |states, counts| {
        let value = |(i, (sums, rests)): (usize, Pairs)| {
            [0, 1].map(|part| {
                let total = joined((sums[part], rests[part]));
                if goal == Goal::Mean { total / counts.of(i) as f64 } else { total }
            })
        };
        Ok(Results::Complex(states.iter().enumerate().map(value).collect()))
    })
}

/// Means by the sums of weighted elements and of the weights.
fn weighted_means<T: Real>(weights: Arc<[f64]>, n: usize) -> Box<dyn Fold> {
    let take = move |states: &mut Columns<_, _>, panel: &Panel<'_>, _: &Counts| {
        let weight = |at| weights[panel.index.coordinate(panel.first + at as u64) as usize];
        let weights: Vec<f64> = (0..panel.n_reduced()).map(weight).collect();
        let weights = &weights[..];
        let step = |state, x: T, at: usize, _| add_both(state, ([weights[at] * x.f64(), weights[at]], [0.0, 0.0]));
        states.drive(&tally(IN_TURN, Pairs::default(), step, add_both), panel);
    };
    kept(
        Columns::new(Pairs::default(), n),
        take,
        |states, later, _| states.join(later, add_both),
        |states, _| {
            let mean = |sum: [f64; 2], rest: [f64; 2]| joined((sum[0], rest[0])) / joined((sum[1], rest[1]));
            Ok(Results::Float(states.map(mean)))
        },
    )
}
