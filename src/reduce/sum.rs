//! Sums: sum, mean, weighted mean, count, rms.
//!
//! Integers add up exactly ([`exact`](super::exact)). Floats add up in pairs of float64, sum and remainder, so
//! that the result is that of arithmetic with twice the digits, rounded once: the relative error is at most
//! 2^-53 plus n^2 2^-105 times the sum of magnitudes over the magnitude of the sum. Source: Ogita, Rump and
//! Oishi, Accurate sum and dot product, 2005 (Sum2).

use std::marker::PhantomData;

use crate::dtype::{Complex, DType, Element};
use crate::error::{Error, Result};
use crate::reduce::exact::{Exact, Goal, Plain, Squared};
use crate::reduce::fold::{Accumulator, Counts, Fold, Refusal, Values};
use crate::reduce::number::Real;
use crate::reduce::operator::{Input, Operator, OperatorKind, Weights};
use crate::reduce::panel::Panel;
use crate::reduce::tally::{Columns, Tallied, Total, tally};
use crate::with_class;

/// Sum of elements.
pub(super) const SUM: OperatorKind =
    OperatorKind::plain("sum", "sum; exact for integers, an error if it does not fit", |_| Box::new(Sums::Sum));

/// Mean of elements, weighted if weights are given.
pub(super) const MEAN: OperatorKind =
    OperatorKind::plain("mean", "mean; of integers, the exact one rounded once to float64", |options| {
        Box::new(options.weights.clone().map_or(Sums::Mean, Sums::WeightedMean))
    });

/// Root of the mean square.
pub(super) const RMS: OperatorKind = OperatorKind::plain("rms", "root of the mean square", |_| Box::new(Sums::Rms));

/// Number of elements.
pub(super) const COUNT: OperatorKind =
    OperatorKind::plain("count", "number of elements that --where, --skipna and holes leave", |_| {
        Box::new(Sums::Count)
    });

#[derive(Clone, Debug)]
enum Sums {
    Sum,
    Mean,
    WeightedMean(Weights),
    Rms,
    Count,
}

impl Operator for Sums {
    fn takes_complex(&self) -> bool {
        !matches!(self, Self::Rms)
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
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

    fn state_bytes(&self, input: &Input) -> u64 {
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

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let goal = match self {
            Self::Count => return Box::new(Count { n }),
            Self::Sum => Goal::Sum,
            Self::Mean | Self::WeightedMean(_) => Goal::Mean,
            Self::Rms => Goal::Rms,
        };
        with_class!(
            input.dtype,
            int T => match self {
                Self::WeightedMean(weights) => Box::new(Weighted::<T>::new(weights.clone(), n)),
                Self::Rms if size_of::<T>() == 8 => Box::new(Tallied::new(FloatSum::<T, true>::new(goal), n)),
                Self::Rms => Box::new(Exact::<Squared<T>>::new(goal, n)),
                _ => Box::new(Exact::<Plain<T>>::new(goal, n)),
            },
            float T => match self {
                Self::WeightedMean(weights) => Box::new(Weighted::<T>::new(weights.clone(), n)),
                Self::Rms => Box::new(Tallied::new(FloatSum::<T, true>::new(goal), n)),
                _ => Box::new(Tallied::new(FloatSum::<T, false>::new(goal), n)),
            },
            complex T => Box::new(Tallied::new(ComplexSum::<T>::new(goal), n))
        )
    }
}

struct Count {
    n: usize,
}

impl Accumulator for Count {
    fn fold(&mut self, _: &Panel<'_>, _: &Counts) {}

    fn join(&mut self, _: Self, _: (&Counts, &Counts)) -> Result<()> {
        Ok(())
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        let counts: Vec<u64> = (0..self.n).map(|i| counts.of(i)).collect();
        Ok(Values::raw(DType::Int64, &counts))
    }

    fn fork(&self) -> Self {
        Self { n: self.n }
    }

    fn save(&self, _: &mut Vec<u8>) {}

    fn restore(&mut self, _: &mut &[u8]) -> Result<()> {
        Ok(())
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
#[derive(Clone)]
struct FloatSum<T, const SQUARE: bool> {
    goal: Goal,
    of: PhantomData<T>,
}

impl<T, const SQUARE: bool> FloatSum<T, SQUARE> {
    fn new(goal: Goal) -> Self {
        Self { goal, of: PhantomData }
    }
}

tally! {
    impl[T: Real, const SQUARE: bool] FloatSum<T, SQUARE>, of T, in (f64, f64), LANES;
    empty: (0.0, 0.0);
    step: |pair, x| two_sum(pair, if SQUARE { x.f64() * x.f64() } else { x.f64() });
    join: |pair, later| add_pairs(pair, later);
}

impl<T: Real, const SQUARE: bool> Total for FloatSum<T, SQUARE> {
    fn total(&self, states: &Columns<f64, f64>, counts: &Counts) -> Result<Values, Refusal> {
        let value = |(i, pair)| match self.goal {
            Goal::Sum => joined(pair),
            Goal::Rms => (joined(pair) / counts.of(i) as f64).sqrt(),
            _ => joined(pair) / counts.of(i) as f64,
        };
        Ok(Values::Float(states.iter().enumerate().map(value).collect()))
    }
}

/// Sums of complex numbers: those of their parts.
#[derive(Clone)]
struct ComplexSum<T> {
    goal: Goal,
    of: PhantomData<T>,
}

impl<T> ComplexSum<T> {
    fn new(goal: Goal) -> Self {
        Self { goal, of: PhantomData }
    }
}

/// Two pairs: their sums, and their remainders.
type Pairs = ([f64; 2], [f64; 2]);

/// Makes a pair of pairs of two.
#[inline(always)]
fn pairs(first: (f64, f64), second: (f64, f64)) -> Pairs {
    ([first.0, second.0], [first.1, second.1])
}

tally! {
    impl[T: Real] ComplexSum<T> where Complex<T>: Element, of Complex<T>, in ([f64; 2], [f64; 2]);
    empty: Pairs::default();
    step: |(sum, rest), z| pairs(two_sum((sum[0], rest[0]), z.re.f64()), two_sum((sum[1], rest[1]), z.im.f64()));
    join: |(sum, rest), later| pairs(
        add_pairs((sum[0], rest[0]), (later.0[0], later.1[0])),
        add_pairs((sum[1], rest[1]), (later.0[1], later.1[1])),
    );
}

impl<T: Real> Total for ComplexSum<T>
where
    Complex<T>: Element,
{
    fn total(&self, states: &Columns<[f64; 2], [f64; 2]>, counts: &Counts) -> Result<Values, Refusal> {
        let value = |(i, (sum, rest)): (usize, Pairs)| {
            [0, 1].map(|part| {
                let total = joined((sum[part], rest[part]));
                if self.goal == Goal::Mean { total / counts.of(i) as f64 } else { total }
            })
        };
        Ok(Values::Complex(states.iter().enumerate().map(value).collect()))
    }
}

/// Sums of weighted elements and of the weights, as two pairs.
struct Weighted<T> {
    weights: Weights,
    states: Columns<[f64; 2], [f64; 2]>,
    of: PhantomData<T>,
}

impl<T: Real> Weighted<T> {
    fn new(weights: Weights, n: usize) -> Self {
        Self { weights, states: Columns::new(Pairs::default(), n), of: PhantomData }
    }

    fn add(&mut self, i: usize, part: usize, later: (f64, f64)) {
        let (sum, rest) = (&mut self.states.a[i][part], &mut self.states.b[i][part]);
        (*sum, *rest) = add_pairs((*sum, *rest), later);
    }
}

impl<T: Real> Accumulator for Weighted<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        panel.each::<T>(|i, reduced, x| {
            let at = panel.index.coordinate(panel.first + reduced as u64, self.weights.axis);
            let weight = self.weights.values[at as usize];
            self.add(i, 0, (weight * x.f64(), 0.0));
            self.add(i, 1, (weight, 0.0));
        });
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        for (i, (sum, rest)) in later.states.iter().enumerate() {
            (0..2).for_each(|part| self.add(i, part, (sum[part], rest[part])));
        }
        Ok(())
    }

    fn finish(self, _: &Counts) -> Result<Values, Refusal> {
        let value = |(sum, rest): Pairs| joined((sum[0], rest[0])) / joined((sum[1], rest[1]));
        Ok(Values::Float(self.states.iter().map(value).collect()))
    }

    fn fork(&self) -> Self {
        Self::new(self.weights.clone(), self.states.len())
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.states.save(out);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.states.restore(bytes)
    }
}
