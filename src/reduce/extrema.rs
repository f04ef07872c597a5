//! Extrema: min, max, range, argmin, argmax.
//!
//! Elements are compared by their [`Integer`]s, so that floats run through the kernels of integers: the order is
//! total, NaN wins, and the result does not depend on how the array is cut.

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Refusal, Results};
use crate::reduce::lines::{KernelLines, wide};
use crate::reduce::number::{Integer, Real, one_zero, with_real};
use crate::reduce::operator::{Operator, Subject};
use crate::reduce::panel::{Along, N_ALONG, Panel};
use crate::reduce::tally::{ANY_ORDER, Columns, IN_TURN, SavedColumns, Tally, drive, kept, tallied, tally};

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extrema {
    Min,
    Max,
    Range,
    ArgMin,
    ArgMax,
}

impl Operator for Extrema {
    fn dtype(&self, input: &Subject) -> Result<DType> {
        Ok(match self {
            Self::ArgMin | Self::ArgMax => DType::Int64,
            Self::Range if input.dtype == DType::Bool => DType::Uint8,
            _ => input.dtype,
        })
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        let size = input.dtype.size() as u64;
        match self {
            Self::Min | Self::Max => size,
            Self::Range => 2 * size,
            Self::ArgMin | Self::ArgMax => size + 8,
        }
    }

    fn in_any_order(&self, _: &Subject) -> bool {
        // Of equal elements the first one counts.
        !matches!(self, Self::ArgMin | Self::ArgMax)
    }

    fn lines(&self, input: &Subject) -> Option<KernelLines> {
        let (wins, result) = match self {
            Self::Min => ("<", "best"),
            Self::Max => (">", "best"),
            Self::ArgMin => ("<", "at"),
            Self::ArgMax => (">", "at"),
            Self::Range => return None,
        };
        let of = wide(input.dtype)?;
        let text = format!(
            "{of} best = AT(0); long at = 0;\n\
             for (int i = 1; i < N; i++) {{ const {of} x = AT(i);\n\
             if (best == best && (x != x || x {wins} best)) {{ best = x; at = i; }} }}\n\
             const {} r = {result};",
            if result == "at" { "long" } else { of }
        );
        Some(KernelLines::new(of, text))
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => match self {
            Self::Min => extremum::<T, false>(dtype, n),
            Self::Max => extremum::<T, true>(dtype, n),
            Self::Range => range::<T>(n),
            Self::ArgMin => extremum_place::<T, false>(n),
            Self::ArgMax => extremum_place::<T, true>(n),
        })
    }
}

#[inline(always)]
fn key<T: Real, const GREATEST: bool>(x: T) -> T::Key {
    if GREATEST { x.key() } else { x.key_nan_least() }
}

/// The best key.
fn extremum<T: Real, const GREATEST: bool>(dtype: DType, n: usize) -> Box<dyn Fold> {
    let best = tally(
        ANY_ORDER,
        (T::Key::neutral::<GREATEST>(), ()),
        |(best, ()), x: T, _, _| (T::Key::better::<GREATEST>(best, key::<T, GREATEST>(x)), ()),
        |(best, ()), (later, ())| (T::Key::better::<GREATEST>(best, later), ()),
    );
    tallied(n, best, move |states, counts| {
        let what = if GREATEST { "maximum" } else { "minimum" };
        let values = states.map(|key, ()| T::from_key(key));
        Ok(Results::raw(dtype, Refusal::unless_few::<T>(values, n, counts, what)?))
    })
}

/// The least and the greatest key.
fn range<T: Real>(n: usize) -> Box<dyn Fold> {
    let ends = tally(
        ANY_ORDER,
        (T::Key::MAX, T::Key::MIN),
        |(least, greatest), x: T, _, _| (least.min(x.key_nan_least()), greatest.max(x.key())),
        |(least, greatest), later| (least.min(later.0), greatest.max(later.1)),
    );
    tallied(n, ends, |states, counts| {
        let pairs = states.iter().map(|(a, b)| (T::from_key(a), T::from_key(b))).enumerate();
        if T::FLOAT {
            let range = |(i, (a, b)): (usize, (T, T))| if counts.of(i) == 0 { f64::NAN } else { b.f64() - a.f64() };
            return Ok(Results::Float(pairs.map(range).collect()));
        }
        let range = |(i, (a, b)): (usize, (T, T))| match counts.of(i) {
            0 => counts.nothing(i, "range", |_| 0),
            _ => Ok(b.i128() - a.i128()),
        };
        Ok(Results::Int(pairs.map(range).collect::<Result<_, _>>()?))
    })
}

/// Place of an output that has seen no element.
const NONE: u64 = u64::MAX;

/// Place of an output that has seen no element of a panel.
const NOWHERE: u16 = u16::MAX;

/// Numbers of the first elements that are the extremum: best keys and their places. -0 and 0 are taken for equal.
fn extremum_place<T: Real, const GREATEST: bool>(n: usize) -> Box<dyn Fold> {
    const { assert!(N_ALONG <= 1 << 15) };
    let offer = |best: &mut Columns<T::Key, u64>, i: usize, (key, place): (T::Key, u64)| {
        let (held, at) = best.of(i);
        if at == NONE || key.wins::<GREATEST>(held) || key == held && place < at {
            best.set(i, (key, place));
        }
    };
    let join = |(best, place): (T::Key, u16), (key, at): (T::Key, u16)| {
        let wins = key.wins::<GREATEST>(best) | (place == NOWHERE);
        (if wins { key } else { best }, if wins { at } else { place })
    };
    let step = move |best, x: T, at, _| join(best, (key::<T, GREATEST>(one_zero(x)), at as u16));
    let find = tally(IN_TURN, (T::Key::neutral::<GREATEST>(), NOWHERE), step, join);
    let take = move |best: &mut Columns<T::Key, u64>, panel: &Panel<'_>, _: &Counts| {
        let mut found = Columns::new(find.empty(), panel.n_outputs());
        if panel.along == Along::Rows && !panel.is_masked() {
            find_in_rows::<T, GREATEST>(&mut found.a, &mut found.b, panel);
        } else {
            let units = vec![(); found.len()];
            drive(&find, (&mut found.a, &mut found.b), (&units, &units), panel);
        }
        for (i, (key, at)) in found.iter().enumerate().filter(|(_, (_, at))| *at != NOWHERE) {
            offer(best, panel.at + i, (key, panel.index.global(panel.first + u64::from(at))));
        }
    };
    let join = move |best: &mut Columns<_, _>, later: &SavedColumns<'_, _, _>, _: (&Counts, &Counts)| {
        later.iter().enumerate().filter(|(_, (_, at))| *at != NONE).for_each(|(i, found)| offer(best, i, found));
    };
    kept(Columns::new((T::Key::neutral::<GREATEST>(), NONE), n), take, join, |best, counts| {
        let what = if GREATEST { "place of the maximum" } else { "place of the minimum" };
        let value = |(i, &at)| if at == NONE { counts.nothing(i, what, |_| 0) } else { Ok(i128::from(at)) };
        Ok(Results::Int(best.b.iter().enumerate().map(value).collect::<Result<_, _>>()?))
    })
}

/// The extremum first, which vectorises; then its place, found at the first element that has it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn find_in_rows<T: Real, const GREATEST: bool>(best: &mut [T::Key], within: &mut [u16], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        let mut extreme = T::Key::neutral::<GREATEST>();
        for &x in values {
            extreme = T::Key::better::<GREATEST>(extreme, key::<T, GREATEST>(one_zero(x)));
        }
        let column = values.iter().position(|&x| key::<T, GREATEST>(one_zero(x)) == extreme);
        (best[row], within[row]) = (extreme, column.unwrap_or(0) as u16);
    }
}
