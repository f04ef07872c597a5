//! Exact sums of integers, and of their squares: short ones, carried to 128 bits before they can overflow.

use std::marker::PhantomData;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Refusal, Results};
use crate::reduce::number::Integer;
use crate::reduce::panel::Panel;
use crate::reduce::saved::{Scalar, Tape};
use crate::reduce::tally::{ANY_ORDER, Columns, SavedColumns, Tally, tally};
use crate::reduce::wide::{Wide, quotient};

/// What is made of exact sums.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Goal {
    Sum,
    Mean,
    Rms,
    Variance { root: bool, ddof: u64 },
}

/// What is added up of each element.
pub(super) trait Addend: Send + Sync + 'static {
    /// The elements.
    type X: Integer;
    /// A short sum of squares, or `()`.
    type Short: Scalar;
    /// A sum of squares in full, or `()`.
    type Squares: Scalar;

    /// How short sums come about.
    fn tally() -> impl Tally<X = Self::X, A = <Self::X as Integer>::Narrow, B = Self::Short, L = (), M = ()>;

    /// A short sum of squares, exactly.
    fn widen(sum: Self::Short) -> Self::Squares;

    /// The sum of two sums of squares.
    fn add(a: Self::Squares, b: Self::Squares) -> Self::Squares;

    /// What `n` elements come to.
    fn value(goal: Goal, sum: (i128, Self::Squares), n: u64) -> f64;

    /// What `n` elements come to for every output, where so few are exact in machine numbers all the way.
    fn quick(goal: Goal, sums: &Columns<<Self::X as Integer>::Narrow, Self::Short>, n: u64) -> Option<Results>;
}

/// Exact sums for the outputs of a tile.
pub(super) struct Exact<T: Addend> {
    goal: Goal,
    short: Columns<<T::X as Integer>::Narrow, T::Short>,
    /// What has been carried; empty until it is needed.
    wide: Columns<i128, T::Squares>,
}

impl<T: Addend> Exact<T> {
    /// For `n` outputs.
    pub(super) fn start(goal: Goal, n: usize) -> Box<dyn Fold> {
        Box::new(Self { goal, short: Columns::new(Default::default(), n), wide: Columns::new(Default::default(), 0) })
    }

    /// Carries the short sums of `outputs`.
    fn spill(&mut self, outputs: std::ops::Range<usize>) {
        if self.wide.len() == 0 {
            self.wide = Columns::new(Default::default(), self.short.len());
        }
        for i in outputs {
            self.wide.set(i, self.total(i));
            self.short.set(i, Default::default());
        }
    }

    /// The sum of output `i`; the greatest number stands for all that lies beyond.
    fn total(&self, i: usize) -> (i128, T::Squares) {
        let short = Self::widen(self.short.of(i));
        if self.wide.len() == 0 { short } else { Self::sum(self.wide.of(i), short) }
    }

    fn widen((sum, squares): (<T::X as Integer>::Narrow, T::Short)) -> (i128, T::Squares) {
        (sum.into(), T::widen(squares))
    }

    fn sum(a: (i128, T::Squares), b: (i128, T::Squares)) -> (i128, T::Squares) {
        (a.0.saturating_add(b.0), T::add(a.1, b.1))
    }
}

impl<T: Addend> Fold for Exact<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        let (folded, spill) = (panel.before + panel.first, T::X::SPILL);
        if (folded + panel.n_reduced() as u64) / spill != folded / spill {
            self.spill(panel.outputs());
        }
        self.short.drive(&T::tally(), panel);
    }

    fn join(&mut self, later: &mut Tape<'_>, _: (&Counts, &Counts)) -> Result<()> {
        let n = self.short.len();
        let short = SavedColumns::next(later, n)?;
        let mut carried = false;
        later.flag(&mut carried)?;
        let wide = SavedColumns::next(later, if carried { n } else { 0 })?;
        self.spill(0..n);
        for i in 0..n {
            let short = Self::widen(short.of(i));
            let total = if carried { Self::sum(wide.of(i), short) } else { short };
            self.wide.set(i, Self::sum(self.wide.of(i), total));
        }
        Ok(())
    }

    fn finish(self: Box<Self>, counts: &Counts) -> Result<Results, Refusal> {
        if let (0, Counts::All(n)) = (self.wide.len(), counts)
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
            return Ok(Results::Int((0..n).map(|i| self.total(i).0).collect()));
        }
        Ok(Results::Float((0..n).map(|i| T::value(self.goal, self.total(i), counts.of(i))).collect()))
    }

    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        self.short.pass(tape)?;
        let mut carried = self.wide.len() > 0;
        tape.flag(&mut carried)?;
        if carried && self.wide.len() == 0 {
            self.spill(0..0);
        }
        self.wide.pass(tape)
    }
}

/// The element.
pub(super) struct Plain<T>(PhantomData<T>);

impl<T: Integer> Addend for Plain<T> {
    type X = T;
    type Short = ();
    type Squares = ();

    fn tally() -> impl Tally<X = T, A = T::Narrow, B = (), L = (), M = ()> {
        let step = |(sum, ()): (T::Narrow, ()), x: T, _, _| (sum + x.into(), ());
        tally(ANY_ORDER, Default::default(), step, |(sum, ()), (later, ())| (sum + later, ()))
    }

    fn widen((): ()) {}

    fn add((): (), (): ()) {}

    fn value(_: Goal, (sum, ()): (i128, ()), n: u64) -> f64 {
        let magnitude = quotient(Wide::from(sum.unsigned_abs()), (n, 1));
        if sum < 0 { -magnitude } else { magnitude }
    }

    fn quick(goal: Goal, sums: &Columns<T::Narrow, ()>, n: u64) -> Option<Results> {
        // Sums that are floats as they stand, and need no more than 64 bits.
        if T::LARGEST.saturating_mul(u128::from(n)) > 1 << 53 {
            return None;
        }
        if goal == Goal::Mean {
            return Some(Results::Float(sums.map(|sum, ()| sum.into() as i64 as f64 / n as f64)));
        }
        Some(Results::raw(DType::Int64, sums.map(|sum, ()| sum.into() as i64)))
    }
}

/// The element, and its square, for integers of up to 32 bits.
pub(super) struct Squared<T>(PhantomData<T>);

impl<T: Integer> Addend for Squared<T> {
    type X = T;
    type Short = T::Square;
    type Squares = u128;

    fn tally() -> impl Tally<X = T, A = T::Narrow, B = T::Square, L = (), M = ()> {
        let join = |(sum, squares), later: (T::Narrow, T::Square)| (sum + later.0, squares + later.1);
        tally(ANY_ORDER, Default::default(), move |sums, x: T, _, _| join(sums, (x.into(), x.square())), join)
    }

    fn widen(squares: T::Square) -> u128 {
        squares.into()
    }

    fn add(a: u128, b: u128) -> u128 {
        a.saturating_add(b)
    }

    fn value(goal: Goal, (sum, squares): (i128, u128), n: u64) -> f64 {
        let Goal::Variance { root, ddof } = goal else {
            return quotient(Wide::from(squares), (n, 1)).sqrt();
        };
        if n <= ddof {
            return f64::NAN;
        }
        // n S2 - S1^2 over n (n - ddof): integers, and small enough ones to be floats mostly.
        let sum = sum.unsigned_abs();
        let numerator = Wide::product(n.into(), squares).minus(Wide::product(sum, sum)).unwrap_or(Wide::from(0));
        let variance = quotient(numerator, (n, n - ddof));
        if root { variance.sqrt() } else { variance }
    }

    fn quick(goal: Goal, sums: &Columns<T::Narrow, T::Square>, n: u64) -> Option<Results> {
        // Where the numerator n S2 is below 2^53 for sure, everything is done in 64-bit integers.
        let fits = n < 1 << 26 && T::LARGEST.saturating_mul(T::LARGEST) < (1 << 53) / u128::from(n * n).max(1);
        let Goal::Variance { root, ddof } = goal else { return None };
        if !fits || n <= ddof {
            return None;
        }
        let denominator = (n * (n - ddof)) as f64;
        Some(Results::Float(sums.map(|sum, square| {
            let (sum, square) = (sum.into() as i64, square.into() as i64);
            let variance = (n as i64 * square - sum * sum) as f64 / denominator;
            if root { variance.sqrt() } else { variance }
        })))
    }
}
