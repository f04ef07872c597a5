//! Sums: sum, mean, weighted mean, count, rms.
//!
//! Integers add up exactly: in 32 bits, carried to 128 before they can overflow. Floats add up in pairs of
//! float64, sum and remainder, so that the result is that of arithmetic with twice the digits, rounded once:
//! the relative error is at most 2^-53 plus n^2 2^-105 times the sum of magnitudes over the magnitude of the
//! sum. Source: Ogita, Rump and Oishi, Accurate sum and dot product, 2005 (Sum2).

use multiversion::multiversion;

use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::reduce::fold::{Counts, Fold, Outcome, Values, erased, taken};
use crate::reduce::number::{Integer, Real, with_class};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::wide;
use crate::reduce::{Input, Kind, Operator, no_argument};

/// Sum of elements.
pub(super) const SUM: Kind = Kind {
    name: "sum",
    argument: "",
    about: "sum; exact for integers, an error if it does not fit",
    parse: |argument, _| no_argument("sum", argument, Sums { what: What::Sum, weights: None }),
};

/// Mean of elements, weighted if weights are given.
pub(super) const MEAN: Kind = Kind {
    name: "mean",
    argument: "",
    about: "mean; of integers, the exact one rounded once to float64",
    parse: |argument, options| {
        no_argument("mean", argument, Sums { what: What::Mean, weights: options.weights.clone() })
    },
};

/// Root of the mean square.
pub(super) const RMS: Kind = Kind {
    name: "rms",
    argument: "",
    about: "root of the mean square",
    parse: |argument, _| no_argument("rms", argument, Sums { what: What::Rms, weights: None }),
};

/// Number of elements.
pub(super) const COUNT: Kind = Kind {
    name: "count",
    argument: "",
    about: "number of elements that --where, --skipna and holes leave",
    parse: |argument, _| no_argument("count", argument, Sums { what: What::Count, weights: None }),
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Sum,
    Mean,
    Rms,
    Count,
}

#[derive(Clone, Debug)]
struct Sums {
    what: What,
    weights: Option<super::Weights>,
}

impl Operator for Sums {
    fn label(&self) -> String {
        match self.what {
            What::Sum => "sum",
            What::Mean => "mean",
            What::Rms => "rms",
            What::Count => "count",
        }
        .to_owned()
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        let dtype = input.dtype;
        match self.what {
            What::Count => Ok(DType::Int64),
            What::Rms if dtype.is_complex() => Err(super::no_complex("rms")),
            What::Sum if dtype.is_unsigned() => Ok(DType::Uint64),
            What::Sum if dtype.is_signed() || dtype == DType::Bool => Ok(DType::Int64),
            _ if dtype.is_complex() && self.weights.is_some() => Err(super::no_complex("a weighted mean")),
            _ if dtype.is_float() || dtype.is_complex() => Ok(dtype),
            _ => Ok(DType::Float64),
        }
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        match (self.what, input.dtype.size()) {
            (What::Count, _) => 0,
            (What::Rms, 1 | 2) => 24,
            (What::Rms, _) => 32,
            _ if self.weights.is_some() => 32,
            _ if input.dtype.is_complex() => 32,
            _ if input.dtype.is_float() => 16,
            (_, 8) => 16,
            (_, 4) if input.n_reduced < 1 << 31 => 8,
            (_, 1 | 2) if input.n_reduced < 1 << 15 => 4,
            _ => 24,
        }
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        if self.what == What::Count {
            return Box::new(Count { n });
        }
        if let Some(weights) = &self.weights {
            return with_class!(
                input.dtype,
                int T => Box::new(Weighted::<T>::new(weights.clone(), n)),
                float F => Box::new(Weighted::<F>::new(weights.clone(), n)),
                else Box::new(Count { n })
            );
        }
        let mean = self.what == What::Mean;
        if self.what == What::Rms {
            return with_class!(
                input.dtype,
                int T => if size_of::<T>() == 8 {
                    Box::new(FloatSum::<T, true>::new(What::Rms, n))
                } else {
                    Box::new(super::moments::IntMoments::<T>::rms(n))
                },
                float F => Box::new(FloatSum::<F, true>::new(What::Rms, n)),
                else Box::new(Count { n })
            );
        }
        with_class!(
            input.dtype,
            int T => Box::new(IntSum::<T>::new(mean, n)),
            float F => Box::new(FloatSum::<F, false>::new(self.what, n)),
            else if input.dtype == DType::Complex64 {
                Box::new(ComplexSum::<f32>::new(mean, n))
            } else {
                Box::new(ComplexSum::<f64>::new(mean, n))
            }
        )
    }
}

struct Count {
    n: usize,
}

impl Fold for Count {
    erased!();

    fn fold(&mut self, _: &Panel<'_>, _: &Counts) -> Result<()> {
        Ok(())
    }

    fn merge(&mut self, _: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        Ok(Outcome::Done(Values::Int((0..self.n).map(|i| i128::from(counts.of(i))).collect())))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self { n: self.n })
    }
}

/// Whether folding `panel` brings sums to a point where they must be carried to wider ones first.
pub(super) fn must_spill(panel: &Panel<'_>, spill: u64) -> bool {
    let folded = panel.before + panel.first;
    (folded + panel.n_reduced() as u64) / spill != folded / spill
}

/// Exact sums of integers.
struct IntSum<T: Integer> {
    mean: bool,
    narrow: Vec<T::Narrow>,
    /// What has been carried; empty until it is needed.
    wide: Vec<i128>,
}

impl<T: Integer> IntSum<T> {
    fn new(mean: bool, n: usize) -> Self {
        Self { mean, narrow: vec![T::Narrow::default(); n], wide: Vec::new() }
    }

    fn spill(&mut self, from: usize, to: usize) {
        if self.wide.is_empty() {
            self.wide = vec![0; self.narrow.len()];
        }
        for (wide, narrow) in self.wide[from..to].iter_mut().zip(&mut self.narrow[from..to]) {
            *wide += T::wide(std::mem::take(narrow));
        }
    }

    fn total(&self, i: usize) -> i128 {
        T::wide(self.narrow[i]) + self.wide.get(i).unwrap_or(&0)
    }
}

impl<T: Integer> Fold for IntSum<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        let range = panel.at..panel.at + panel.n_outputs();
        if must_spill(panel, T::SPILL) {
            self.spill(range.start, range.end);
        }
        let sums = &mut self.narrow[range];
        match panel.along {
            Along::Columns => int_columns::<T>(sums, panel),
            Along::Rows => int_rows::<T>(sums, panel),
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        self.spill(0, self.narrow.len());
        for (i, wide) in self.wide.iter_mut().enumerate() {
            *wide = wide.checked_add(later.total(i)).ok_or_else(|| Error::format("a sum exceeds 128 bits"))?;
        }
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let n = self.narrow.len();
        // Short sums that are floats as they stand, and need no more than 64 bits.
        let exact = |count: u64| T::LARGEST.saturating_mul(u128::from(count)) <= 1 << 53;
        if let (true, Counts::All(count)) = (self.wide.is_empty(), counts)
            && exact(*count)
        {
            if self.mean {
                let mut means = vec![0.0; n];
                short_means::<T>(&mut means, &self.narrow, *count as f64);
                return Ok(Outcome::Done(Values::Float(means)));
            }
            let mut sums = vec![0i64; n];
            short_sums::<T>(&mut sums, &self.narrow);
            return Ok(Outcome::Done(Values::raw(DType::Int64, &sums)));
        }
        if !self.mean {
            return Ok(Outcome::Done(Values::Int((0..n).map(|i| self.total(i)).collect())));
        }
        Ok(Outcome::Done(Values::Float((0..n).map(|i| wide::mean(self.total(i), counts.of(i))).collect())))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.mean, self.narrow.len()))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn short_means<T: Integer>(means: &mut [f64], sums: &[T::Narrow], count: f64) {
    means.iter_mut().zip(sums).for_each(|(mean, &sum)| *mean = T::wide(sum) as i64 as f64 / count);
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn short_sums<T: Integer>(wide: &mut [i64], sums: &[T::Narrow]) {
    wide.iter_mut().zip(sums).for_each(|(wide, &sum)| *wide = T::wide(sum) as i64);
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn int_columns<T: Integer>(sums: &mut [T::Narrow], panel: &Panel<'_>) {
    let mut row = 0;
    if !panel.is_masked() {
        // Four rows at a time: the accumulators pass through the registers a quarter as often.
        while row + 4 <= panel.n_rows {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| panel.row::<T>(row + i));
            for ((((sum, &a), &b), &c), &d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *sum += (a.narrow() + b.narrow()) + (c.narrow() + d.narrow());
            }
            row += 4;
        }
    }
    while row < panel.n_rows {
        let values = panel.row::<T>(row);
        match panel.mask_row(row) {
            None => sums.iter_mut().zip(values).for_each(|(sum, &x)| *sum += x.narrow()),
            Some(mask) => {
                for ((sum, &x), &m) in sums.iter_mut().zip(values).zip(mask) {
                    *sum += if m != 0 { x } else { T::default() }.narrow();
                }
            }
        }
        row += 1;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn int_rows<T: Integer>(sums: &mut [T::Narrow], panel: &Panel<'_>) {
    for (row, sum) in sums.iter_mut().enumerate() {
        let values = panel.row::<T>(row);
        let mut total = T::Narrow::default();
        match panel.mask_row(row) {
            None => values.iter().for_each(|&x| total += x.narrow()),
            Some(mask) => {
                for (&x, &m) in values.iter().zip(mask) {
                    total += if m != 0 { x } else { T::default() }.narrow();
                }
            }
        }
        *sum += total;
    }
}

/// Adds `x` to the pair `sum`, `rest`. Source: Knuth, TAOCP 2, section 4.2.2, theorem B.
#[inline(always)]
pub(super) fn two_sum(sum: &mut f64, rest: &mut f64, x: f64) {
    let s = *sum + x;
    let t = s - *sum;
    *rest += (*sum - (s - t)) + (x - t);
    *sum = s;
}

/// The pair as one number; infinities and NaN make the remainder meaningless.
#[inline(always)]
pub(super) fn joined(sum: f64, rest: f64) -> f64 {
    if sum.is_finite() { sum + rest } else { sum }
}

/// Sums of floats, or of their squares.
struct FloatSum<T, const SQUARE: bool> {
    what: What,
    sum: Vec<f64>,
    rest: Vec<f64>,
    of: std::marker::PhantomData<T>,
}

impl<T: Real, const SQUARE: bool> FloatSum<T, SQUARE> {
    fn new(what: What, n: usize) -> Self {
        Self { what, sum: vec![0.0; n], rest: vec![0.0; n], of: std::marker::PhantomData }
    }
}

impl<T: Real, const SQUARE: bool> Fold for FloatSum<T, SQUARE> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        let range = panel.at..panel.at + panel.n_outputs();
        let (sum, rest) = (&mut self.sum[range.clone()], &mut self.rest[range]);
        match panel.along {
            Along::Columns => float_columns::<T, SQUARE>(sum, rest, panel),
            Along::Rows => float_rows::<T, SQUARE>(sum, rest, panel),
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        merge_pairs(&mut self.sum, &mut self.rest, &later.sum, &later.rest);
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let total = |i: usize| joined(self.sum[i], self.rest[i]);
        let n = self.sum.len();
        let values = match self.what {
            What::Mean => (0..n).map(|i| total(i) / counts.of(i) as f64).collect(),
            What::Rms => (0..n).map(|i| (total(i) / counts.of(i) as f64).sqrt()).collect(),
            What::Sum | What::Count => (0..n).map(total).collect(),
        };
        Ok(Outcome::Done(Values::Float(values)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.what, self.sum.len()))
    }
}

fn merge_pairs(sum: &mut [f64], rest: &mut [f64], other_sum: &[f64], other_rest: &[f64]) {
    for i in 0..sum.len() {
        two_sum(&mut sum[i], &mut rest[i], other_sum[i]);
        rest[i] += other_rest[i];
    }
}

#[inline(always)]
fn term<T: Real, const SQUARE: bool>(x: T) -> f64 {
    if SQUARE { x.f64() * x.f64() } else { x.f64() }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn float_columns<T: Real, const SQUARE: bool>(sum: &mut [f64], rest: &mut [f64], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        match panel.mask_row(row) {
            None => {
                for ((sum, rest), &x) in sum.iter_mut().zip(rest.iter_mut()).zip(values) {
                    two_sum(sum, rest, term::<T, SQUARE>(x));
                }
            }
            Some(mask) => {
                for (((sum, rest), &x), &m) in sum.iter_mut().zip(rest.iter_mut()).zip(values).zip(mask) {
                    two_sum(sum, rest, if m != 0 { term::<T, SQUARE>(x) } else { 0.0 });
                }
            }
        }
    }
}

/// Partial sums of a row, so that additions need not wait for each other.
const N_LANES: usize = 16;

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn float_rows<T: Real, const SQUARE: bool>(sums: &mut [f64], rests: &mut [f64], panel: &Panel<'_>) {
    let all = [1u8; N_LANES];
    for (row, (total, remainder)) in sums.iter_mut().zip(rests).enumerate() {
        let values = panel.row::<T>(row);
        let (mut sum, mut rest) = ([0.0; N_LANES], [0.0; N_LANES]);
        for (part, values) in values.chunks(N_LANES).enumerate() {
            let mask = match panel.mask_row(row) {
                Some(mask) => &mask[part * N_LANES..],
                None => &all,
            };
            if values.len() == N_LANES && !panel.is_masked() {
                for i in 0..N_LANES {
                    two_sum(&mut sum[i], &mut rest[i], term::<T, SQUARE>(values[i]));
                }
            } else {
                for (i, &x) in values.iter().enumerate() {
                    two_sum(&mut sum[i], &mut rest[i], if mask[i] != 0 { term::<T, SQUARE>(x) } else { 0.0 });
                }
            }
        }
        for i in 0..N_LANES {
            two_sum(total, remainder, sum[i]);
            *remainder += rest[i];
        }
    }
}

/// Sums of complex numbers: those of their parts.
struct ComplexSum<T> {
    mean: bool,
    sum: Vec<[f64; 2]>,
    rest: Vec<[f64; 2]>,
    of: std::marker::PhantomData<T>,
}

impl<T: Real> ComplexSum<T> {
    fn new(mean: bool, n: usize) -> Self {
        Self { mean, sum: vec![[0.0; 2]; n], rest: vec![[0.0; 2]; n], of: std::marker::PhantomData }
    }
}

impl<T: Real> Fold for ComplexSum<T>
where
    Complex<T>: bytemuck::Pod,
    T: Default + PartialEq,
{
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        for row in 0..panel.n_rows {
            let mask = panel.mask_row(row);
            for (column, z) in panel.row::<Complex<T>>(row).iter().enumerate() {
                if mask.is_some_and(|m| m[column] == 0) {
                    continue;
                }
                let i = panel.at + if panel.along == Along::Columns { column } else { row };
                for (part, x) in [z.re, z.im].into_iter().enumerate() {
                    two_sum(&mut self.sum[i][part], &mut self.rest[i][part], x.f64());
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        merge_pairs(
            self.sum.as_flattened_mut(),
            self.rest.as_flattened_mut(),
            later.sum.as_flattened(),
            later.rest.as_flattened(),
        );
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let value = |i: usize, part: usize| {
            let total = joined(self.sum[i][part], self.rest[i][part]);
            if self.mean { total / counts.of(i) as f64 } else { total }
        };
        let values = (0..self.sum.len()).map(|i| [value(i, 0), value(i, 1)]).collect();
        Ok(Outcome::Done(Values::Complex(values)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.mean, self.sum.len()))
    }
}

/// Sums of weighted elements and of the weights.
struct Weighted<T> {
    weights: super::Weights,
    sums: Vec<[f64; 2]>,
    rests: Vec<[f64; 2]>,
    of: std::marker::PhantomData<T>,
}

impl<T: Real> Weighted<T> {
    fn new(weights: super::Weights, n: usize) -> Self {
        Self { weights, sums: vec![[0.0; 2]; n], rests: vec![[0.0; 2]; n], of: std::marker::PhantomData }
    }
}

impl<T: Real> Fold for Weighted<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        for row in 0..panel.n_rows {
            let mask = panel.mask_row(row);
            for (column, x) in panel.row::<T>(row).iter().enumerate() {
                if mask.is_some_and(|m| m[column] == 0) {
                    continue;
                }
                let (output, reduced) = if panel.along == Along::Columns { (column, row) } else { (row, column) };
                let at = panel.index.coordinate(panel.first + reduced as u64, self.weights.axis);
                let weight = self.weights.values[at as usize];
                let i = panel.at + output;
                two_sum(&mut self.sums[i][0], &mut self.rests[i][0], weight * x.f64());
                two_sum(&mut self.sums[i][1], &mut self.rests[i][1], weight);
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        merge_pairs(
            self.sums.as_flattened_mut(),
            self.rests.as_flattened_mut(),
            later.sums.as_flattened(),
            later.rests.as_flattened(),
        );
        Ok(())
    }

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        let part = |i: usize, k: usize| joined(self.sums[i][k], self.rests[i][k]);
        Ok(Outcome::Done(Values::Float((0..self.sums.len()).map(|i| part(i, 0) / part(i, 1)).collect())))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.weights.clone(), self.sums.len()))
    }
}
