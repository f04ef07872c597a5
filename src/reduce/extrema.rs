//! Extrema: min, max, range, argmin, argmax.
//!
//! Elements are compared by their [`Key`]s, so that floats run through the kernels of integers: the order is
//! total, NaN wins, and the result does not depend on how the array is cut.

use std::marker::PhantomData;

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Accumulator, Counts, Fold, Refusal, Values};
use crate::reduce::number::{Key, Real, nan, one_zero, with_real};
use crate::reduce::operator::{Input, Operator, OperatorKind};
use crate::reduce::panel::{Along, N_ALONG, Panel};
use crate::reduce::tally::{Columns, Tallied, Tally, Total, drive, tally};

/// Least element.
pub(super) const MIN: OperatorKind = OperatorKind::plain("min", "least element", |_| Box::new(Extrema::Min));

/// Greatest element.
pub(super) const MAX: OperatorKind = OperatorKind::plain("max", "greatest element", |_| Box::new(Extrema::Max));

/// Greatest minus least element.
pub(super) const RANGE: OperatorKind =
    OperatorKind::plain("range", "greatest minus least element", |_| Box::new(Extrema::Range));

/// Index of the first least element.
pub(super) const ARGMIN: OperatorKind =
    OperatorKind::plain("argmin", "index of the first least element (row-major over several axes)", |_| {
        Box::new(Extrema::ArgMin)
    });

/// Index of the first greatest element.
pub(super) const ARGMAX: OperatorKind =
    OperatorKind::plain("argmax", "index of the first greatest element (row-major over several axes)", |_| {
        Box::new(Extrema::ArgMax)
    });

#[derive(Clone, Copy, Debug)]
enum Extrema {
    Min,
    Max,
    Range,
    ArgMin,
    ArgMax,
}

impl Operator for Extrema {
    fn dtype(&self, input: &Input) -> Result<DType> {
        Ok(match self {
            Self::ArgMin | Self::ArgMax => DType::Int64,
            Self::Range if input.dtype == DType::Bool => DType::Uint8,
            _ => input.dtype,
        })
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        let size = input.dtype.size() as u64;
        match self {
            Self::Min | Self::Max => size,
            Self::Range => 2 * size,
            Self::ArgMin | Self::ArgMax => size + 8,
        }
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => match self {
            Self::Min => Box::new(Tallied::new(Extremum::<T, false> { dtype, of: PhantomData }, n)),
            Self::Max => Box::new(Tallied::new(Extremum::<T, true> { dtype, of: PhantomData }, n)),
            Self::Range => Box::new(Tallied::new(Range::<T>(PhantomData), n)),
            Self::ArgMin => Box::new(Arg::<T, false>::new(n)),
            Self::ArgMax => Box::new(Arg::<T, true>::new(n)),
        })
    }
}

/// The key that every other one replaces.
#[inline(always)]
fn neutral<K: Key, const GREATEST: bool>() -> K {
    if GREATEST { K::MIN } else { K::MAX }
}

#[inline(always)]
fn key<T: Real, const GREATEST: bool>(x: T) -> T::Key {
    if GREATEST { x.key() } else { x.key_nan_least() }
}

#[inline(always)]
fn better<K: Key, const GREATEST: bool>(a: K, b: K) -> K {
    if GREATEST { a.max(b) } else { a.min(b) }
}

/// The best key.
#[derive(Clone)]
struct Extremum<T, const GREATEST: bool> {
    dtype: DType,
    of: PhantomData<T>,
}

tally! {
    impl[T: Real, const GREATEST: bool] Extremum<T, GREATEST>, of T, in (T::Key, ()), ANY_ORDER;
    empty: (neutral::<T::Key, GREATEST>(), ());
    step: |(best, ()), x| (better::<_, GREATEST>(best, key::<T, GREATEST>(x)), ());
    join: |(best, ()), (later, ())| (better::<_, GREATEST>(best, later), ());
}

impl<T: Real, const GREATEST: bool> Total for Extremum<T, GREATEST> {
    fn total(&self, states: &Columns<T::Key, ()>, counts: &Counts) -> Result<Values, Refusal> {
        let mut values: Vec<T> = states.a.iter().map(|&k| T::from_key(k)).collect();
        for (i, value) in values.iter_mut().enumerate() {
            if counts.of(i) == 0 {
                let what = if GREATEST { "maximum" } else { "minimum" };
                *value = nan::<T>().ok_or_else(|| Refusal::nothing(i, what))?;
            }
        }
        Ok(Values::raw(self.dtype, &values))
    }
}

/// The least and the greatest key.
#[derive(Clone)]
struct Range<T>(PhantomData<T>);

tally! {
    impl[T: Real] Range<T>, of T, in (T::Key, T::Key), ANY_ORDER;
    empty: (T::Key::MAX, T::Key::MIN);
    step: |(least, greatest), x| (least.min(x.key_nan_least()), greatest.max(x.key()));
    join: |(least, greatest), later| (least.min(later.0), greatest.max(later.1));
}

impl<T: Real> Total for Range<T> {
    fn total(&self, states: &Columns<T::Key, T::Key>, counts: &Counts) -> Result<Values, Refusal> {
        let pairs = states.iter().map(|(a, b)| (T::from_key(a), T::from_key(b))).enumerate();
        if T::FLOAT {
            let range = |(i, (a, b)): (usize, (T, T))| if counts.of(i) == 0 { f64::NAN } else { b.f64() - a.f64() };
            return Ok(Values::Float(pairs.map(range).collect()));
        }
        let range = |(i, (a, b)): (usize, (T, T))| match counts.of(i) {
            0 => Err(Refusal::nothing(i, "range")),
            _ => Ok(b.i128() - a.i128()),
        };
        Ok(Values::Int(pairs.map(range).collect::<Result<_, _>>()?))
    }
}

/// Place of an output that has seen no element.
const NONE: u64 = u64::MAX;

/// The extremum with the number of the first element that has it.
struct Arg<T: Real, const GREATEST: bool> {
    /// Keys and places.
    best: Columns<T::Key, u64>,
    /// Those of a panel.
    found: Columns<T::Key, u16>,
}

impl<T: Real, const GREATEST: bool> Arg<T, GREATEST> {
    fn new(n: usize) -> Self {
        let neutral = neutral::<T::Key, GREATEST>();
        Self { best: Columns::new((neutral, NONE), n), found: Columns::new((neutral, NOWHERE), 0) }
    }

    fn offer(&mut self, i: usize, key: T::Key, place: u64) {
        let (best, at) = self.best.of(i);
        let wins = if GREATEST { key > best } else { key < best };
        if at == NONE || wins || key == best && place < at {
            (self.best.a[i], self.best.b[i]) = (key, place);
        }
    }
}

/// As [`Extremum`], with the row or column of the best key in a panel; [`NOWHERE`] before any. -0 and 0 are
/// taken for equal.
struct Find<T, const GREATEST: bool>(PhantomData<T>);

const NOWHERE: u16 = u16::MAX;

impl<T: Real, const GREATEST: bool> Tally for Find<T, GREATEST> {
    type X = T;
    type A = T::Key;
    type B = u16;
    type L = ();
    type M = ();

    #[inline(always)]
    fn empty(&self) -> (T::Key, u16) {
        (neutral::<T::Key, GREATEST>(), NOWHERE)
    }

    #[inline(always)]
    fn step(&self, (best, place): (T::Key, u16), x: T, at: usize, _: ((), ())) -> (T::Key, u16) {
        const { assert!(N_ALONG <= 1 << 15) };
        self.join((best, place), (key::<T, GREATEST>(one_zero(x)), at as u16))
    }

    #[inline(always)]
    fn join(&self, (best, place): (T::Key, u16), (key, at): (T::Key, u16)) -> (T::Key, u16) {
        let wins = (if GREATEST { key > best } else { key < best }) | (place == NOWHERE);
        (if wins { key } else { best }, if wins { at } else { place })
    }
}

impl<T: Real, const GREATEST: bool> Accumulator for Arg<T, GREATEST> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        let find = Find::<T, GREATEST>(PhantomData);
        self.found.reset(find.empty(), panel.n_outputs());
        let (keys, places) = (&mut self.found.a, &mut self.found.b);
        if panel.along == Along::Rows && !panel.is_masked() {
            find_in_rows::<T, GREATEST>(keys, places, panel);
        } else {
            let units = vec![(); keys.len()];
            drive(&find, (keys, places), (&units, &units), panel);
        }
        for i in 0..self.found.len() {
            let (key, at) = self.found.of(i);
            if at != NOWHERE {
                self.offer(panel.at + i, key, panel.index.global(panel.first + u64::from(at)));
            }
        }
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        for (i, (key, place)) in later.best.iter().enumerate() {
            if place != NONE {
                self.offer(i, key, place);
            }
        }
        Ok(())
    }

    fn finish(self, _: &Counts) -> Result<Values, Refusal> {
        let what = if GREATEST { "place of the maximum" } else { "place of the minimum" };
        let value = |(i, &at)| if at == NONE { Err(Refusal::nothing(i, what)) } else { Ok(i128::from(at)) };
        Ok(Values::Int(self.best.b.iter().enumerate().map(value).collect::<Result<_, _>>()?))
    }

    fn fork(&self) -> Self {
        Self::new(self.best.len())
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.best.save(out);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.best.restore(bytes)
    }
}

/// The extremum first, which vectorises; then its place, found at the first element that has it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn find_in_rows<T: Real, const GREATEST: bool>(best: &mut [T::Key], within: &mut [u16], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        let mut extreme = neutral::<T::Key, GREATEST>();
        for &x in values {
            extreme = better::<_, GREATEST>(extreme, key::<T, GREATEST>(one_zero(x)));
        }
        let column = values.iter().position(|&x| key::<T, GREATEST>(one_zero(x)) == extreme);
        (best[row], within[row]) = (extreme, column.unwrap_or(0) as u16);
    }
}
