//! Exact sums of integers, and of their squares: short ones, carried to 128 bits before they can overflow.

use std::marker::PhantomData;

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Accumulator, Counts, Refusal, Values};
use crate::reduce::number::Integer;
use crate::reduce::panel::Panel;
use crate::reduce::saved::{Scalar, put_flag, take_flag};
use crate::reduce::tally::{Columns, Tally, tally};
use crate::reduce::wide::{Wide, mean, quotient};

/// What is made of exact sums.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Goal {
    Sum,
    Mean,
    Rms,
    Variance { root: bool, ddof: u64 },
}

/// What is added up of each element.
pub(super) trait Addend: Tally<L = (), M = ()> + Send + Sync + 'static {
    /// A sum of squares in full, or `()`.
    type Squares: Scalar;
    /// Elements that a short sum can take before it must be carried to a wider one.
    const SPILL: u64;
    /// The tally itself.
    const SELF: Self;

    /// A short sum, exactly.
    fn widen(sum: (Self::A, Self::B)) -> (i128, Self::Squares);

    /// The sum of two sums of squares.
    fn add(a: Self::Squares, b: Self::Squares) -> Self::Squares;

    /// What `n` elements come to.
    fn value(goal: Goal, sum: (i128, Self::Squares), n: u64) -> f64;

    /// What `n` elements come to for every output, where so few are exact in machine numbers all the way.
    fn quick(goal: Goal, sums: &Columns<Self::A, Self::B>, n: u64) -> Option<Values>;
}

/// Exact sums for the outputs of a tile.
pub(super) struct Exact<T: Addend> {
    goal: Goal,
    short: Columns<T::A, T::B>,
    /// What has been carried; empty until it is needed.
    wide: Columns<i128, T::Squares>,
}

impl<T: Addend> Exact<T> {
    /// For `n` outputs.
    pub(super) fn new(goal: Goal, n: usize) -> Self {
        Self { goal, short: Columns::new(T::SELF.empty(), n), wide: Self::zeros(0) }
    }

    fn zeros(n: usize) -> Columns<i128, T::Squares> {
        Columns::new((0, T::Squares::default()), n)
    }

    /// Carries the short sums of `outputs`.
    fn spill(&mut self, outputs: std::ops::Range<usize>) {
        if self.wide.is_empty() {
            self.wide = Self::zeros(self.short.len());
        }
        for i in outputs {
            let total = self.total(i);
            (self.wide.a[i], self.wide.b[i]) = total;
            (self.short.a[i], self.short.b[i]) = T::SELF.empty();
        }
    }

    /// The sum of output `i`; the greatest number stands for all that lies beyond.
    fn total(&self, i: usize) -> (i128, T::Squares) {
        let short = T::widen(self.short.of(i));
        if self.wide.is_empty() {
            return short;
        }
        let wide = self.wide.of(i);
        (wide.0.saturating_add(short.0), T::add(wide.1, short.1))
    }
}

/// Whether folding `panel` brings sums to a point where they must be carried first.
fn must_spill(panel: &Panel<'_>, spill: u64) -> bool {
    let folded = panel.before + panel.first;
    (folded + panel.n_reduced() as u64) / spill != folded / spill
}

impl<T: Addend> Accumulator for Exact<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        if must_spill(panel, T::SPILL) {
            self.spill(panel.outputs());
        }
        self.short.drive(&T::SELF, panel);
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        self.spill(0..self.short.len());
        for i in 0..self.short.len() {
            let (sum, squares) = later.total(i);
            self.wide.a[i] = self.wide.a[i].saturating_add(sum);
            self.wide.b[i] = T::add(self.wide.b[i], squares);
        }
        Ok(())
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        if let (true, Counts::All(n)) = (self.wide.is_empty(), counts)
            && let Some(values) = T::quick(self.goal, &self.short, *n)
        {
            return Ok(values);
        }
        let n = self.short.len();
        let beyond = |&i: &usize| matches!(self.total(i).0, i128::MIN | i128::MAX);
        if let Some(at) = (0..n).find(beyond) {
            return Err(Refusal::usage(at, "the sum exceeds 128 bits"));
        }
        if self.goal == Goal::Sum {
            return Ok(Values::Int((0..n).map(|i| self.total(i).0).collect()));
        }
        Ok(Values::Float((0..n).map(|i| T::value(self.goal, self.total(i), counts.of(i))).collect()))
    }

    fn fork(&self) -> Self {
        Self::new(self.goal, self.short.len())
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.short.save(out);
        put_flag(out, !self.wide.is_empty());
        self.wide.save(out);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.short.restore(bytes)?;
        self.wide = Self::zeros(if take_flag(bytes)? { self.short.len() } else { 0 });
        self.wide.restore(bytes)
    }
}

/// The element.
pub(super) struct Plain<T>(PhantomData<T>);

tally! {
    impl[T: Integer] Plain<T>, of T, in (T::Narrow, ()), ANY_ORDER;
    empty: Default::default();
    step: |(sum, ()), x| (sum + x.narrow(), ());
    join: |(sum, ()), (later, ())| (sum + later, ());
}

impl<T: Integer> Addend for Plain<T> {
    type Squares = ();
    const SPILL: u64 = T::SPILL;
    const SELF: Self = Self(PhantomData);

    fn widen((sum, ()): (T::Narrow, ())) -> (i128, ()) {
        (T::wide(sum), ())
    }

    fn add((): (), (): ()) {}

    fn value(_: Goal, (sum, ()): (i128, ()), n: u64) -> f64 {
        mean(sum, n)
    }

    fn quick(goal: Goal, sums: &Columns<T::Narrow, ()>, n: u64) -> Option<Values> {
        // Sums that are floats as they stand, and need no more than 64 bits.
        if T::LARGEST.saturating_mul(u128::from(n)) > 1 << 53 {
            return None;
        }
        if goal == Goal::Mean {
            let mut means = vec![0.0; sums.len()];
            short_means::<T>(&mut means, &sums.a, n as f64);
            return Some(Values::Float(means));
        }
        let mut wide = vec![0i64; sums.len()];
        short_sums::<T>(&mut wide, &sums.a);
        Some(Values::raw(DType::Int64, &wide))
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

/// The element, and its square, for integers of up to 32 bits.
pub(super) struct Squared<T>(PhantomData<T>);

tally! {
    impl[T: Integer] Squared<T>, of T, in (T::Narrow, T::Square), ANY_ORDER;
    empty: Default::default();
    step: |(sum, squares), x| (sum + x.narrow(), squares + x.square());
    join: |(sum, squares), later| (sum + later.0, squares + later.1);
}

impl<T: Integer> Addend for Squared<T> {
    type Squares = u128;
    const SPILL: u64 = T::SPILL;
    const SELF: Self = Self(PhantomData);

    fn widen((sum, squares): (T::Narrow, T::Square)) -> (i128, u128) {
        (T::wide(sum), T::wide_square(squares))
    }

    fn add(a: u128, b: u128) -> u128 {
        a.saturating_add(b)
    }

    fn value(goal: Goal, (sum, squares): (i128, u128), n: u64) -> f64 {
        let Goal::Variance { root, ddof } = goal else {
            return quotient(Wide::from(squares), Wide::from(u128::from(n))).sqrt();
        };
        if n <= ddof {
            return f64::NAN;
        }
        // n S2 - S1^2 over n (n - ddof): integers, and small enough ones to be floats mostly.
        let (n, free) = (u128::from(n), u128::from(n - ddof));
        let sum = sum.unsigned_abs();
        let numerator = Wide::product(n, squares).minus(Wide::product(sum, sum)).unwrap_or(Wide::from(0));
        let variance = quotient(numerator, Wide::product(n, free));
        if root { variance.sqrt() } else { variance }
    }

    fn quick(goal: Goal, sums: &Columns<T::Narrow, T::Square>, n: u64) -> Option<Values> {
        // Where the numerator n S2 is below 2^53 for sure, everything is done in 64-bit integers.
        let fits = n < 1 << 26 && T::LARGEST.saturating_mul(T::LARGEST) < (1 << 53) / u128::from(n * n).max(1);
        let Goal::Variance { root, ddof } = goal else { return None };
        if !fits || n <= ddof {
            return None;
        }
        let mut values = vec![0.0; sums.len()];
        small_variances::<T>(&mut values, (&sums.a, &sums.b), n, ddof, root);
        Some(Values::Float(values))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn small_variances<T: Integer>(
    values: &mut [f64],
    (sums, squares): (&[T::Narrow], &[T::Square]),
    count: u64,
    ddof: u64,
    root: bool,
) {
    let n = count as i64;
    let denominator = (count * (count - ddof)) as f64;
    for ((value, &sum), &square) in values.iter_mut().zip(sums).zip(squares) {
        let (sum, square) = (T::wide(sum) as i64, T::wide_square(square) as i64);
        let variance = (n * square - sum * sum) as f64 / denominator;
        *value = if root { variance.sqrt() } else { variance };
    }
}
