//! Second moments: var and std.
//!
//! Integers of up to 32 bits: the exact sum and sum of squares ([`exact`](super::exact)), and one rounded
//! quotient of integers, so that nothing cancels however bright and flat the data. Everything else: means and
//! sums of squared deviations of panels, merged in order, of the differences to each output's first element,
//! so that brightness does not matter there either. Source: Chan, Golub and LeVeque, Algorithms for computing
//! the sample variance, 1983, formulas 1.7 (corrected two-pass) and 2.1 (merging), and shifting as in section
//! 3; relative error about n 2^-53 kappa at worst, kappa being the root of one plus the squared mean of the
//! differences over the variance.

use std::marker::PhantomData;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::exact::{Exact, Goal, Squared};
use crate::reduce::fold::{Accumulator, Counts, Fold, Refusal, Values, count};
use crate::reduce::number::Real;
use crate::reduce::operator::{Input, Operator, OperatorKind};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::saved::{put, take};
use crate::reduce::tally::{Columns, Tally, drive};
use crate::with_class;

/// Variance.
pub(super) const VAR: OperatorKind = OperatorKind::plain("var", "variance, over n minus --ddof", |options| {
    Box::new(Moments { root: false, ddof: options.ddof })
});

/// Standard deviation.
pub(super) const STD: OperatorKind =
    OperatorKind::plain("std", "standard deviation: root of the variance", |options| {
        Box::new(Moments { root: true, ddof: options.ddof })
    });

#[derive(Clone, Copy, Debug)]
struct Moments {
    root: bool,
    ddof: u64,
}

impl Operator for Moments {
    fn dtype(&self, input: &Input) -> Result<DType> {
        Ok(if input.dtype.is_float() { input.dtype } else { DType::Float64 })
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
                Box::new(Exact::<Squared<T>>::new(Goal::Variance { root, ddof }, n))
            },
            float T => Box::new(FloatMoments::<T>::new(root, ddof, n)),
            complex T => unreachable!("moments are not defined for complex numbers")
        )
    }
}

/// Means and sums of squared deviations, of differences to the first element.
struct FloatMoments<T> {
    root: bool,
    ddof: u64,
    firsts: Vec<T>,
    /// Means and squared deviations.
    moments: Columns<f64, f64>,
}

impl<T: Real> FloatMoments<T> {
    fn new(root: bool, ddof: u64, n: usize) -> Self {
        Self { root, ddof, firsts: vec![T::default(); n], moments: Columns::new((0.0, 0.0), n) }
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

impl<T: Real> Accumulator for FloatMoments<T> {
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) {
        let (outputs, n) = (panel.outputs(), panel.n_outputs());
        let before = |i: usize| match counts {
            Counts::All(_) => panel.before + panel.first,
            Counts::Each(each) => each[panel.at + i],
        };
        let firsts = &mut self.firsts[outputs.clone()];
        for (i, first) in firsts.iter_mut().enumerate() {
            if before(i) == 0 {
                *first = first_present(panel, i).unwrap_or_default();
            }
        }
        let mut numbers = vec![panel.n_reduced() as f64; n];
        if panel.is_masked() {
            let mut present = vec![0; n];
            count(&mut present, panel);
            numbers.iter_mut().zip(present).for_each(|(n, present)| *n = present as f64);
        }
        let mut means = vec![0.0; n];
        let units = vec![(); n];
        drive(&Differences(PhantomData), (&mut means, &mut units.clone()), (firsts, &units), panel);
        for (mean, &n) in means.iter_mut().zip(&numbers) {
            *mean = if n > 0.0 { *mean / n } else { 0.0 };
        }
        let (mut squares, mut rests) = (vec![0.0; n], vec![0.0; n]);
        drive(&Deviations(PhantomData), (&mut squares, &mut rests), (firsts, &means), panel);
        let moments = self.moments.a[outputs.clone()].iter_mut().zip(&mut self.moments.b[outputs]);
        for (i, (mean, dev)) in moments.enumerate() {
            let n = numbers[i];
            // The sum of deviations would be zero but for rounding of the mean; its square corrects for that.
            let square = squares[i] - if n > 0.0 { rests[i] * rests[i] / n } else { 0.0 };
            merge_moments(before(i) as f64, mean, dev, n, means[i], square);
        }
    }

    fn join(&mut self, later: Self, (mine, theirs): (&Counts, &Counts)) -> Result<()> {
        for (i, (mean, dev)) in self.moments.a.iter_mut().zip(&mut self.moments.b).enumerate() {
            let (n_a, n_b) = (mine.of(i) as f64, theirs.of(i) as f64);
            // Both means count from one first element.
            if n_a == 0.0 {
                self.firsts[i] = later.firsts[i];
            }
            let shift = if n_b == 0.0 { 0.0 } else { later.firsts[i].minus(self.firsts[i]) };
            let (later_mean, later_dev) = later.moments.of(i);
            merge_moments(n_a, mean, dev, n_b, later_mean + shift, later_dev);
        }
        Ok(())
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        let value = |(i, &dev): (usize, &f64)| match counts.of(i) {
            n if n <= self.ddof => f64::NAN,
            n if self.root => (dev / (n - self.ddof) as f64).sqrt(),
            n => dev / (n - self.ddof) as f64,
        };
        Ok(Values::Float(self.moments.b.iter().enumerate().map(value).collect()))
    }

    fn fork(&self) -> Self {
        Self::new(self.root, self.ddof, self.firsts.len())
    }

    fn save(&self, out: &mut Vec<u8>) {
        put(out, &self.firsts);
        self.moments.save(out);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        take(bytes, &mut self.firsts)?;
        self.moments.restore(bytes)
    }
}

/// Sum of the differences to each output's first element.
struct Differences<T>(PhantomData<T>);

impl<T: Real> Tally for Differences<T> {
    type X = T;
    type A = f64;
    type B = ();
    type L = T;
    type M = ();
    const LANES: bool = true;

    #[inline(always)]
    fn empty(&self) -> (f64, ()) {
        (0.0, ())
    }

    #[inline(always)]
    fn step(&self, (sum, ()): (f64, ()), x: T, _: usize, (first, ()): (T, ())) -> (f64, ()) {
        (sum + x.minus(first), ())
    }

    #[inline(always)]
    fn join(&self, (sum, ()): (f64, ()), (later, ()): (f64, ())) -> (f64, ()) {
        (sum + later, ())
    }
}

/// Sums of the squares of deviations from the mean difference, and of the deviations.
struct Deviations<T>(PhantomData<T>);

impl<T: Real> Tally for Deviations<T> {
    type X = T;
    type A = f64;
    type B = f64;
    type L = T;
    type M = f64;
    const LANES: bool = true;

    #[inline(always)]
    fn empty(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    #[inline(always)]
    fn step(&self, (squares, rest): (f64, f64), x: T, _: usize, (first, mean): (T, f64)) -> (f64, f64) {
        let d = x.minus(first) - mean;
        (squares + d * d, rest + d)
    }

    #[inline(always)]
    fn join(&self, (squares, rest): (f64, f64), later: (f64, f64)) -> (f64, f64) {
        (squares + later.0, rest + later.1)
    }
}
