//! Second moments: var and std.
//!
//! Integers of up to 32 bits: the exact sum and sum of squares, and one rounded quotient of integers, so that
//! nothing cancels however bright and flat the data. Everything else: means and sums of squared deviations of
//! panels, merged in order, of the differences to each output's first element, so that brightness does not
//! matter there either. Source: Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983,
//! formulas 1.7 (corrected two-pass) and 2.1 (merging), and shifting as in section 3; relative error about
//! n 2^-53 kappa at worst, kappa being the root of one plus the squared mean of the differences over the
//! variance.

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::fold::{Counts, Fold, Outcome, Values, erased, taken};
use crate::reduce::number::{Integer, Real, with_class};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::sum::must_spill;
use crate::reduce::wide::{Wide, quotient};
use crate::reduce::{Input, Kind, Operator, no_argument};

/// Variance.
pub(super) const VAR: Kind = Kind {
    name: "var",
    argument: "",
    about: "variance, over n minus --ddof",
    parse: |argument, options| no_argument("var", argument, Moments { root: false, ddof: options.ddof }),
};

/// Standard deviation.
pub(super) const STD: Kind = Kind {
    name: "std",
    argument: "",
    about: "standard deviation: root of the variance",
    parse: |argument, options| no_argument("std", argument, Moments { root: true, ddof: options.ddof }),
};

#[derive(Clone, Copy, Debug)]
struct Moments {
    root: bool,
    ddof: u64,
}

impl Operator for Moments {
    fn label(&self) -> String {
        if self.root { "std" } else { "var" }.to_owned()
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        match input.dtype {
            d if d.is_complex() => Err(super::no_complex(&self.label())),
            d if d.is_float() => Ok(d),
            _ => Ok(DType::Float64),
        }
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        match input.dtype {
            d if d.is_float() || d.size() == 8 => 16 + d.size() as u64,
            d if d.size() == 4 => 24 + if input.n_reduced < 1 << 31 { 0 } else { 32 },
            _ => 12 + if input.n_reduced < 1 << 15 { 0 } else { 32 },
        }
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let Self { root, ddof } = *self;
        with_class!(
            input.dtype,
            int T => if size_of::<T>() == 8 {
                Box::new(FloatMoments::<T>::new(root, ddof, n))
            } else {
                Box::new(IntMoments::<T>::new(Finish::Variance { root, ddof }, n))
            },
            float F => Box::new(FloatMoments::<F>::new(root, ddof, n)),
            else super::refused()
        )
    }
}

#[derive(Clone, Copy)]
enum Finish {
    Variance { root: bool, ddof: u64 },
    Rms,
}

/// Exact sums and sums of squares of integers of up to 32 bits.
pub(super) struct IntMoments<T: Integer> {
    finish: Finish,
    sums: Vec<T::Narrow>,
    squares: Vec<T::Square>,
    /// What has been carried; empty until it is needed.
    wide: Vec<(i128, u128)>,
}

impl<T: Integer> IntMoments<T> {
    fn new(finish: Finish, n: usize) -> Self {
        let (sums, squares) = (vec![T::Narrow::default(); n], vec![T::Square::default(); n]);
        Self { finish, sums, squares, wide: Vec::new() }
    }

    /// For the root of the mean square.
    pub(super) fn rms(n: usize) -> Self {
        Self::new(Finish::Rms, n)
    }

    fn spill(&mut self, from: usize, to: usize) {
        if self.wide.is_empty() {
            self.wide = vec![(0, 0); self.sums.len()];
        }
        for i in from..to {
            self.wide[i].0 += T::wide(std::mem::take(&mut self.sums[i]));
            self.wide[i].1 += T::wide_square(std::mem::take(&mut self.squares[i]));
        }
    }

    fn total(&self, i: usize) -> (i128, u128) {
        let (sum, square) = self.wide.get(i).copied().unwrap_or_default();
        (sum + T::wide(self.sums[i]), square + T::wide_square(self.squares[i]))
    }

    fn value(&self, i: usize, n: u64) -> f64 {
        let (sum, square) = self.total(i);
        match self.finish {
            Finish::Rms => quotient(Wide::from(square), Wide::from(u128::from(n))).sqrt(),
            Finish::Variance { root, ddof } => {
                if n <= ddof {
                    return f64::NAN;
                }
                // n S2 - S1^2 over n (n - ddof): integers, and small enough ones to be floats mostly.
                let (n, free) = (u128::from(n), u128::from(n - ddof));
                let sum = sum.unsigned_abs();
                let n_square = Wide::product(n, square);
                let numerator = n_square.minus(Wide::product(sum, sum)).unwrap_or(Wide::from(0));
                let variance = quotient(numerator, Wide::product(n, free));
                if root { variance.sqrt() } else { variance }
            }
        }
    }
}

impl<T: Integer> Fold for IntMoments<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        let range = panel.at..panel.at + panel.n_outputs();
        if must_spill(panel, T::SPILL) {
            self.spill(range.start, range.end);
        }
        let (sums, squares) = (&mut self.sums[range.clone()], &mut self.squares[range]);
        match panel.along {
            Along::Columns => int_columns::<T>(sums, squares, panel),
            Along::Rows => int_rows::<T>(sums, squares, panel),
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        self.spill(0, self.sums.len());
        let too_large = || Error::format("a sum of squares exceeds 128 bits");
        for (i, (sum, square)) in self.wide.iter_mut().enumerate() {
            let (other_sum, other_square) = later.total(i);
            *sum = sum.checked_add(other_sum).ok_or_else(too_large)?;
            *square = square.checked_add(other_square).ok_or_else(too_large)?;
        }
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let n = self.sums.len();
        // Where the numerator n S2 is below 2^53 for sure, everything is done in 64-bit integers.
        if let (Counts::All(count), Finish::Variance { root, ddof }, true) = (counts, self.finish, self.wide.is_empty())
        {
            let fits = |c: u64| c < 1 << 26 && T::LARGEST.saturating_mul(T::LARGEST) < (1 << 53) / u128::from(c * c);
            if *count > ddof && fits(*count) {
                let mut values = vec![0.0; n];
                small_variances::<T>(&mut values, &self.sums, &self.squares, *count, ddof);
                if root {
                    values.iter_mut().for_each(|v| *v = v.sqrt());
                }
                return Ok(Outcome::Done(Values::Float(values)));
            }
        }
        Ok(Outcome::Done(Values::Float((0..n).map(|i| self.value(i, counts.of(i))).collect())))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.finish, self.sums.len()))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn small_variances<T: Integer>(values: &mut [f64], sums: &[T::Narrow], squares: &[T::Square], count: u64, ddof: u64) {
    let n = count as i64;
    let denominator = (count * (count - ddof)) as f64;
    for ((value, &sum), &square) in values.iter_mut().zip(sums).zip(squares) {
        let (sum, square) = (T::wide(sum) as i64, T::wide_square(square) as i64);
        *value = (n * square - sum * sum) as f64 / denominator;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn int_columns<T: Integer>(sums: &mut [T::Narrow], squares: &mut [T::Square], panel: &Panel<'_>) {
    let mut row = 0;
    if !panel.is_masked() {
        while row + 4 <= panel.n_rows {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| panel.row::<T>(row + i));
            let outputs = sums.iter_mut().zip(squares.iter_mut());
            for (((((sum, square), &a), &b), &c), &d) in outputs.zip(a).zip(b).zip(c).zip(d) {
                *sum += (a.narrow() + b.narrow()) + (c.narrow() + d.narrow());
                *square += (a.square() + b.square()) + (c.square() + d.square());
            }
            row += 4;
        }
    }
    while row < panel.n_rows {
        let outputs = sums.iter_mut().zip(squares.iter_mut()).zip(panel.row::<T>(row));
        match panel.mask_row(row) {
            None => {
                for ((sum, square), &x) in outputs {
                    *sum += x.narrow();
                    *square += x.square();
                }
            }
            Some(mask) => {
                for (((sum, square), &x), &m) in outputs.zip(mask) {
                    let x = if m != 0 { x } else { T::default() };
                    *sum += x.narrow();
                    *square += x.square();
                }
            }
        }
        row += 1;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn int_rows<T: Integer>(sums: &mut [T::Narrow], squares: &mut [T::Square], panel: &Panel<'_>) {
    for (row, (sum, square)) in sums.iter_mut().zip(squares).enumerate() {
        let values = panel.row::<T>(row);
        let (mut total, mut total_square) = (T::Narrow::default(), T::Square::default());
        match panel.mask_row(row) {
            None => {
                for &x in values {
                    total += x.narrow();
                    total_square += x.square();
                }
            }
            Some(mask) => {
                for (&x, &m) in values.iter().zip(mask) {
                    let x = if m != 0 { x } else { T::default() };
                    total += x.narrow();
                    total_square += x.square();
                }
            }
        }
        *sum += total;
        *square += total_square;
    }
}

/// Means and sums of squared deviations, of differences to the first element.
struct FloatMoments<T> {
    root: bool,
    ddof: u64,
    firsts: Vec<T>,
    means: Vec<f64>,
    deviations: Vec<f64>,
    /// Number, mean and squared deviations of a panel's elements.
    panel: [Vec<f64>; 3],
}

impl<T: Real> FloatMoments<T> {
    fn new(root: bool, ddof: u64, n: usize) -> Self {
        let zeros = || vec![0.0; n];
        let firsts = vec![T::default(); n];
        Self { root, ddof, firsts, means: zeros(), deviations: zeros(), panel: Default::default() }
    }
}

/// The first element of the panel that goes into its output `i`.
fn first_present<T: Real>(panel: &Panel<'_>, i: usize) -> Option<T> {
    let counts = |row: usize, column: usize| panel.mask_row(row).is_none_or(|m| m[column] != 0);
    match panel.along {
        Along::Columns => (0..panel.n_rows).find(|&row| counts(row, i)).map(|row| panel.row::<T>(row)[i]),
        Along::Rows => (0..panel.n_columns).find(|&column| counts(i, column)).map(|column| panel.row::<T>(i)[column]),
    }
}

/// Merges `n_b` elements of `mean_b` and squared deviations `dev_b` into `n_a` of the others.
#[inline(always)]
fn merge_moments(n_a: f64, mean_a: &mut f64, dev_a: &mut f64, n_b: f64, mean_b: f64, dev_b: f64) {
    let n = n_a + n_b;
    let delta = mean_b - *mean_a;
    let share = if n > 0.0 { n_b / n } else { 0.0 };
    // With nothing on one side the other side stands as it is, infinities included.
    let (mean, dev) = (*mean_a + delta * share, *dev_a + dev_b + delta * delta * (n_a * share));
    *mean_a = if n_b == 0.0 {
        *mean_a
    } else if n_a == 0.0 {
        mean_b
    } else {
        mean
    };
    *dev_a = if n_b == 0.0 {
        *dev_a
    } else if n_a == 0.0 {
        dev_b
    } else {
        dev
    };
}

impl<T: Real> Fold for FloatMoments<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) -> Result<()> {
        let n = panel.n_outputs();
        for v in &mut self.panel {
            v.clear();
            v.resize(n, 0.0);
        }
        let before = |i: usize| match counts {
            Counts::All(_) => panel.before + panel.first,
            Counts::Each(each) => each[panel.at + i],
        };
        let firsts = &mut self.firsts[panel.at..panel.at + n];
        for (i, first) in firsts.iter_mut().enumerate() {
            if before(i) == 0 {
                *first = first_present(panel, i).unwrap_or_default();
            }
        }
        let [numbers, means, deviations] = &mut self.panel;
        match panel.along {
            Along::Columns => float_columns::<T>(firsts, numbers, means, deviations, panel),
            Along::Rows => float_rows::<T>(firsts, numbers, means, deviations, panel),
        }
        for i in 0..n {
            let before = before(i);
            let (mean, dev) = (&mut self.means[panel.at + i], &mut self.deviations[panel.at + i]);
            merge_moments(before as f64, mean, dev, numbers[i], means[i], deviations[i]);
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, (mine, theirs): (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        for (i, (mean, dev)) in self.means.iter_mut().zip(&mut self.deviations).enumerate() {
            let (n_a, n_b) = (mine.of(i) as f64, theirs.of(i) as f64);
            // Both means count from one first element.
            if n_a == 0.0 {
                self.firsts[i] = later.firsts[i];
            }
            let shift = if n_b == 0.0 { 0.0 } else { later.firsts[i].minus(self.firsts[i]) };
            merge_moments(n_a, mean, dev, n_b, later.means[i] + shift, later.deviations[i]);
        }
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let value = |(i, &dev): (usize, &f64)| match counts.of(i) {
            n if n <= self.ddof => f64::NAN,
            n if self.root => (dev / (n - self.ddof) as f64).sqrt(),
            n => dev / (n - self.ddof) as f64,
        };
        Ok(Outcome::Done(Values::Float(self.deviations.iter().enumerate().map(value).collect())))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.root, self.ddof, self.means.len()))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn float_columns<T: Real>(
    firsts: &[T],
    numbers: &mut [f64],
    means: &mut [f64],
    deviations: &mut [f64],
    panel: &Panel<'_>,
) {
    let zero = |m: u8, x: f64| if m != 0 { x } else { 0.0 };
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        match panel.mask_row(row) {
            None => {
                for ((sum, &x), &first) in means.iter_mut().zip(values).zip(firsts) {
                    *sum += x.minus(first);
                }
            }
            Some(mask) => {
                let outputs = means.iter_mut().zip(numbers.iter_mut()).zip(firsts);
                for ((((sum, n), &first), &x), &m) in outputs.zip(values).zip(mask) {
                    *sum += zero(m, x.minus(first));
                    *n += f64::from(m);
                }
            }
        }
    }
    if !panel.is_masked() {
        numbers.fill(panel.n_rows as f64);
    }
    for (mean, n) in means.iter_mut().zip(numbers.iter()) {
        *mean = if *n > 0.0 { *mean / n } else { 0.0 };
    }
    // The sum of deviations would be zero but for rounding of the mean; its square corrects for that.
    let mut sums = vec![0.0; means.len()];
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        let outputs = deviations.iter_mut().zip(sums.iter_mut()).zip(means.iter()).zip(firsts).zip(values);
        match panel.mask_row(row) {
            None => {
                for ((((dev, sum), &mean), &first), &x) in outputs {
                    let d = x.minus(first) - mean;
                    *dev += d * d;
                    *sum += d;
                }
            }
            Some(mask) => {
                for (((((dev, sum), &mean), &first), &x), &m) in outputs.zip(mask) {
                    let d = zero(m, x.minus(first) - mean);
                    *dev += d * d;
                    *sum += d;
                }
            }
        }
    }
    for ((dev, sum), n) in deviations.iter_mut().zip(&sums).zip(numbers.iter()) {
        *dev -= if *n > 0.0 { sum * sum / n } else { 0.0 };
    }
}

/// Partial sums of a row.
const N_LANES: usize = 16;

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn float_rows<T: Real>(
    firsts: &[T],
    numbers: &mut [f64],
    means: &mut [f64],
    deviations: &mut [f64],
    panel: &Panel<'_>,
) {
    let all = [1u8; N_LANES];
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        let mask = panel.mask_row(row);
        let part_mask = |part: usize| mask.map_or(&all[..], |m| &m[part * N_LANES..]);
        let n = mask.map_or(values.len() as f64, |m| m.iter().map(|&m| u64::from(m)).sum::<u64>() as f64);
        numbers[row] = n;
        if n == 0.0 {
            continue;
        }
        let mut sum = [0.0; N_LANES];
        for (part, values) in values.chunks(N_LANES).enumerate() {
            for ((sum, &x), &m) in sum.iter_mut().zip(values).zip(part_mask(part)) {
                *sum += if m != 0 { x.minus(firsts[row]) } else { 0.0 };
            }
        }
        let mean = sum.iter().sum::<f64>() / n;
        let (mut square, mut rest) = ([0.0; N_LANES], [0.0; N_LANES]);
        for (part, values) in values.chunks(N_LANES).enumerate() {
            for (((square, rest), &x), &m) in square.iter_mut().zip(&mut rest).zip(values).zip(part_mask(part)) {
                let d = if m != 0 { x.minus(firsts[row]) - mean } else { 0.0 };
                *square += d * d;
                *rest += d;
            }
        }
        let rest = rest.iter().sum::<f64>();
        means[row] = mean;
        deviations[row] = square.iter().sum::<f64>() - rest * rest / n;
    }
}
