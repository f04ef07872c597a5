//! Extrema: min, max, range, argmin, argmax.
//!
//! Elements are compared by their [`Key`]s, so that floats run through the kernels of integers: the order is
//! total, NaN wins, and the result does not depend on how the array is cut.

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Outcome, Values, erased, nothing, taken};
use crate::reduce::number::{Key, Real, with_real};
use crate::reduce::panel::{Along, N_ALONG, Panel};
use crate::reduce::{Input, Kind, Operator, no_argument};

/// Least element.
pub(super) const MIN: Kind = Kind {
    name: "min",
    argument: "",
    about: "least element",
    parse: |argument, _| no_argument("min", argument, Extrema { what: What::Min }),
};

/// Greatest element.
pub(super) const MAX: Kind = Kind {
    name: "max",
    argument: "",
    about: "greatest element",
    parse: |argument, _| no_argument("max", argument, Extrema { what: What::Max }),
};

/// Greatest minus least element.
pub(super) const RANGE: Kind = Kind {
    name: "range",
    argument: "",
    about: "greatest minus least element",
    parse: |argument, _| no_argument("range", argument, Extrema { what: What::Range }),
};

/// Index of the first least element.
pub(super) const ARGMIN: Kind = Kind {
    name: "argmin",
    argument: "",
    about: "index of the first least element (row-major over several axes)",
    parse: |argument, _| no_argument("argmin", argument, Extrema { what: What::ArgMin }),
};

/// Index of the first greatest element.
pub(super) const ARGMAX: Kind = Kind {
    name: "argmax",
    argument: "",
    about: "index of the first greatest element (row-major over several axes)",
    parse: |argument, _| no_argument("argmax", argument, Extrema { what: What::ArgMax }),
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Min,
    Max,
    Range,
    ArgMin,
    ArgMax,
}

#[derive(Clone, Copy, Debug)]
struct Extrema {
    what: What,
}

impl Operator for Extrema {
    fn label(&self) -> String {
        match self.what {
            What::Min => "min",
            What::Max => "max",
            What::Range => "range",
            What::ArgMin => "argmin",
            What::ArgMax => "argmax",
        }
        .to_owned()
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        match self.what {
            _ if input.dtype.is_complex() => Err(super::no_complex(&self.label())),
            What::ArgMin | What::ArgMax => Ok(DType::Int64),
            What::Range if input.dtype == DType::Bool => Ok(DType::Uint8),
            _ => Ok(input.dtype),
        }
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        let size = input.dtype.size() as u64;
        match self.what {
            What::Min | What::Max => size,
            What::Range => 2 * size,
            What::ArgMin | What::ArgMax => size + 8,
        }
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => match self.what {
            What::Min => Box::new(Extremum::<T, false>::new(dtype, n)),
            What::Max => Box::new(Extremum::<T, true>::new(dtype, n)),
            What::Range => Box::new(Range::<T>::new(dtype, n)),
            What::ArgMin => Box::new(Arg::<T, false>::new(n)),
            What::ArgMax => Box::new(Arg::<T, true>::new(n)),
        }, else super::refused())
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

struct Extremum<T: Real, const GREATEST: bool> {
    dtype: DType,
    best: Vec<T::Key>,
}

impl<T: Real, const GREATEST: bool> Extremum<T, GREATEST> {
    fn new(dtype: DType, n: usize) -> Self {
        Self { dtype, best: vec![neutral::<T::Key, GREATEST>(); n] }
    }

    fn take(&mut self, panel: &Panel<'_>) {
        let best = &mut self.best[panel.at..panel.at + panel.n_outputs()];
        match panel.along {
            Along::Columns => extreme_columns::<T, GREATEST>(best, panel),
            Along::Rows => extreme_rows::<T, GREATEST>(best, panel),
        }
    }

    fn merge_with(&mut self, later: &Self) {
        for (a, b) in self.best.iter_mut().zip(&later.best) {
            *a = better::<_, GREATEST>(*a, *b);
        }
    }
}

impl<T: Real, const GREATEST: bool> Fold for Extremum<T, GREATEST> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        self.take(panel);
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        self.merge_with(&taken::<Self>(later));
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let mut values: Vec<T> = self.best.iter().map(|&k| T::from_key(k)).collect();
        for (i, value) in values.iter_mut().enumerate() {
            if counts.of(i) == 0 {
                *value = nan::<T>().ok_or_else(|| nothing(i, if GREATEST { "maximum" } else { "minimum" }))?;
            }
        }
        Ok(Outcome::Done(Values::raw(self.dtype, &values)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.dtype, self.best.len()))
    }
}

/// The type's NaN, if it has one.
pub(super) fn nan<T: Real>() -> Option<T> {
    T::FLOAT.then(|| T::from_key(T::Key::MAX))
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn extreme_columns<T: Real, const GREATEST: bool>(best: &mut [T::Key], panel: &Panel<'_>) {
    let mut row = 0;
    if !panel.is_masked() {
        while row + 4 <= panel.n_rows {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| panel.row::<T>(row + i));
            for ((((best, &a), &b), &c), &d) in best.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                let [a, b, c, d] = [a, b, c, d].map(key::<T, GREATEST>);
                let four = better::<_, GREATEST>(better::<_, GREATEST>(a, b), better::<_, GREATEST>(c, d));
                *best = better::<_, GREATEST>(*best, four);
            }
            row += 4;
        }
    }
    while row < panel.n_rows {
        let values = panel.row::<T>(row);
        match panel.mask_row(row) {
            None => {
                for (best, &x) in best.iter_mut().zip(values) {
                    *best = better::<_, GREATEST>(*best, key::<T, GREATEST>(x));
                }
            }
            Some(mask) => {
                for ((best, &x), &m) in best.iter_mut().zip(values).zip(mask) {
                    let k = if m != 0 { key::<T, GREATEST>(x) } else { neutral::<T::Key, GREATEST>() };
                    *best = better::<_, GREATEST>(*best, k);
                }
            }
        }
        row += 1;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn extreme_rows<T: Real, const GREATEST: bool>(best: &mut [T::Key], panel: &Panel<'_>) {
    for (row, best) in best.iter_mut().enumerate() {
        let values = panel.row::<T>(row);
        let mut extreme = *best;
        match panel.mask_row(row) {
            None => {
                for &x in values {
                    extreme = better::<_, GREATEST>(extreme, key::<T, GREATEST>(x));
                }
            }
            Some(mask) => {
                for (&x, &m) in values.iter().zip(mask) {
                    let k = if m != 0 { key::<T, GREATEST>(x) } else { neutral::<T::Key, GREATEST>() };
                    extreme = better::<_, GREATEST>(extreme, k);
                }
            }
        }
        *best = extreme;
    }
}

struct Range<T: Real> {
    least: Extremum<T, false>,
    greatest: Extremum<T, true>,
}

impl<T: Real> Range<T> {
    fn new(dtype: DType, n: usize) -> Self {
        Self { least: Extremum::new(dtype, n), greatest: Extremum::new(dtype, n) }
    }
}

impl<T: Real> Fold for Range<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        self.least.take(panel);
        self.greatest.take(panel);
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        self.least.merge_with(&later.least);
        self.greatest.merge_with(&later.greatest);
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        let pairs = self.least.best.iter().zip(&self.greatest.best);
        let pairs = pairs.map(|(&a, &b)| (T::from_key(a), T::from_key(b))).enumerate();
        if T::FLOAT {
            let range = |(i, (a, b)): (usize, (T, T))| if counts.of(i) == 0 { f64::NAN } else { b.f64() - a.f64() };
            return Ok(Outcome::Done(Values::Float(pairs.map(range).collect())));
        }
        let range = |(i, (a, b)): (usize, (T, T))| {
            if counts.of(i) == 0 { Err(nothing(i, "range")) } else { Ok(b.i128() - a.i128()) }
        };
        Ok(Outcome::Done(Values::Int(pairs.map(range).collect::<Result<_>>()?)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.least.dtype, self.least.best.len()))
    }
}

/// Index of an output that has seen no element.
const NONE: u64 = u64::MAX;

/// The extremum with the number of the first element that has it.
struct Arg<T: Real, const GREATEST: bool> {
    best: Vec<T::Key>,
    index: Vec<u64>,
    /// Row or column of the best element within a panel.
    within: Vec<u16>,
    within_best: Vec<T::Key>,
}

impl<T: Real, const GREATEST: bool> Arg<T, GREATEST> {
    fn new(n: usize) -> Self {
        Self {
            best: vec![neutral::<T::Key, GREATEST>(); n],
            index: vec![NONE; n],
            within: Vec::new(),
            within_best: Vec::new(),
        }
    }

    fn offer(&mut self, i: usize, key: T::Key, index: u64) {
        let wins = if GREATEST { key > self.best[i] } else { key < self.best[i] };
        if self.index[i] == NONE || wins || key == self.best[i] && index < self.index[i] {
            (self.best[i], self.index[i]) = (key, index);
        }
    }
}

/// The key for argmin and argmax, which take -0 and 0 for equal.
#[inline(always)]
fn arg_key<T: Real, const GREATEST: bool>(x: T) -> T::Key {
    // -0 is the one value that equals the default without having its bits.
    key::<T, GREATEST>(if x == T::default() { T::default() } else { x })
}

impl<T: Real, const GREATEST: bool> Fold for Arg<T, GREATEST> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        const { assert!(N_ALONG <= 1 << 15) };
        let n = panel.n_outputs();
        self.within.clear();
        self.within.resize(n, u16::MAX);
        self.within_best.clear();
        self.within_best.resize(n, neutral::<T::Key, GREATEST>());
        match panel.along {
            Along::Columns => arg_columns::<T, GREATEST>(&mut self.within_best, &mut self.within, panel),
            Along::Rows => arg_rows::<T, GREATEST>(&mut self.within_best, &mut self.within, panel),
        }
        for i in 0..n {
            if self.within[i] != u16::MAX {
                let index = panel.index.global(panel.first + u64::from(self.within[i]));
                self.offer(panel.at + i, self.within_best[i], index);
            }
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        for (i, (&key, &index)) in later.best.iter().zip(&later.index).enumerate() {
            if index != NONE {
                self.offer(i, key, index);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        let what = if GREATEST { "place of the maximum" } else { "place of the minimum" };
        let value = |(i, &index)| if index == NONE { Err(nothing(i, what)) } else { Ok(i128::from(index)) };
        Ok(Outcome::Done(Values::Int(self.index.iter().enumerate().map(value).collect::<Result<_>>()?)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.best.len()))
    }
}

#[inline(always)]
fn consider<K: Key, const GREATEST: bool>(best: &mut K, at: &mut u16, key: K, index: u16, counts: bool) {
    let wins = if GREATEST { key > *best } else { key < *best };
    let take = counts & (wins | (*at == u16::MAX));
    *best = if take { key } else { *best };
    *at = if take { index } else { *at };
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn arg_columns<T: Real, const GREATEST: bool>(best: &mut [T::Key], within: &mut [u16], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let outputs = best.iter_mut().zip(within.iter_mut()).zip(panel.row::<T>(row));
        match panel.mask_row(row) {
            None => {
                for ((best, at), &x) in outputs {
                    consider::<_, GREATEST>(best, at, arg_key::<T, GREATEST>(x), row as u16, true);
                }
            }
            Some(mask) => {
                for (((best, at), &x), &m) in outputs.zip(mask) {
                    consider::<_, GREATEST>(best, at, arg_key::<T, GREATEST>(x), row as u16, m != 0);
                }
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn arg_rows<T: Real, const GREATEST: bool>(best: &mut [T::Key], within: &mut [u16], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        if let Some(mask) = panel.mask_row(row) {
            for (column, (&x, &m)) in values.iter().zip(mask).enumerate() {
                let key = arg_key::<T, GREATEST>(x);
                consider::<_, GREATEST>(&mut best[row], &mut within[row], key, column as u16, m != 0);
            }
            continue;
        }
        // The extremum first, which vectorises; then its place, found at the first element that has it.
        let mut extreme = neutral::<T::Key, GREATEST>();
        for &x in values {
            extreme = better::<_, GREATEST>(extreme, arg_key::<T, GREATEST>(x));
        }
        let column = values.iter().position(|&x| arg_key::<T, GREATEST>(x) == extreme);
        best[row] = extreme;
        within[row] = column.unwrap_or(0) as u16;
    }
}
