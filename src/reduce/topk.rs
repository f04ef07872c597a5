//! topk: the greatest, or least, few elements.

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::fold::{Counts, Fold, Refusal, Results};
use crate::reduce::number::{Integer, Real, with_real};
use crate::reduce::operator::{Operator, OwnAxis, Subject};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::tally::{Columns, SavedColumns, kept};

/// The greatest, or least, so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopK {
    k: i64,
}

impl TopK {
    /// As many as `argument` says.
    pub(super) fn parse(argument: Option<&str>) -> Result<Self> {
        let k = argument.and_then(|a| a.parse::<i64>().ok()).filter(|&k| k != 0 && k.unsigned_abs() <= 4096);
        let k = k.ok_or_else(|| Error::usage("topk: say how many, from 1 to 4096, as in topk=3 or topk=-3"))?;
        Ok(Self { k })
    }

    fn n(self) -> usize {
        self.k.unsigned_abs() as usize
    }
}

impl Operator for TopK {
    fn argument(&self) -> Option<String> {
        Some(self.k.to_string())
    }

    fn dtype(&self, input: &Subject) -> Result<DType> {
        Ok(input.dtype)
    }

    fn own_axis(&self, input: &Subject) -> Result<Option<OwnAxis>> {
        if self.n() as u64 > input.n_reduced {
            return Err(Error::usage(format!("topk={}: only {} elements are reduced", self.k, input.n_reduced)));
        }
        Ok(Some(("rank", (0..self.n()).map(|i| i as f64).collect())))
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        (self.n() * input.dtype.size()) as u64
    }

    fn in_any_order(&self, _: &Subject) -> bool {
        true
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        let k = self.n();
        with_real!(dtype, T => if self.k > 0 { ranked::<T, true>(dtype, k, n) } else { ranked::<T, false>(dtype, k, n) })
    }
}

/// The best `k` keys of `n` outputs: rank `r` of output `i` at `r * n + i`.
fn ranked<T: Real, const GREATEST: bool>(dtype: DType, k: usize, n: usize) -> Box<dyn Fold> {
    // Puts a key among the best of an output, if it belongs there.
    let insert = move |best: &mut [T::Key], i: usize, mut key: T::Key| {
        for rank in 0..k {
            let held = &mut best[rank * n + i];
            if key.wins::<GREATEST>(*held) {
                std::mem::swap(held, &mut key);
            }
        }
    };
    let take = move |best: &mut Columns<_, ()>, panel: &Panel<'_>, _: &Counts| {
        let best = &mut best.a[..];
        match panel.along {
            _ if panel.is_masked() => panel.each::<T>(|i, _, x| insert(best, i, x.key())),
            Along::Columns => columns::<T, GREATEST>(best, n, panel),
            Along::Rows => {
                for (row, i) in panel.outputs().enumerate() {
                    for key in panel.row::<T>(row).iter().map(|x| x.key()) {
                        if key.wins::<GREATEST>(best[(k - 1) * n + i]) {
                            insert(best, i, key);
                        }
                    }
                }
            }
        }
    };
    let join = move |best: &mut Columns<_, ()>, later: &SavedColumns<'_, _, ()>, _: (&Counts, &Counts)| {
        later.iter().enumerate().for_each(|(at, (key, ()))| insert(&mut best.a, at % n, key));
    };
    kept(Columns::new((T::Key::neutral::<GREATEST>(), ()), k * n), take, join, move |best, counts| {
        let values = best.map(|key, ()| T::from_key(key));
        Ok(Results::raw(dtype, Refusal::unless_few::<T>(values, n, counts, "greatest few")?))
    })
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn columns<T: Real, const GREATEST: bool>(best: &mut [T::Key], n_outputs: usize, panel: &Panel<'_>) {
    const WIDTH: usize = 64;
    let mut keys = [T::Key::MIN; WIDTH];
    for column in (0..panel.n_columns).step_by(WIDTH) {
        let width = WIDTH.min(panel.n_columns - column);
        for row in 0..panel.n_rows {
            let values = &panel.row::<T>(row)[column..column + width];
            keys.iter_mut().zip(values).for_each(|(k, &x)| *k = x.key());
            for held in best.chunks_exact_mut(n_outputs) {
                let held = &mut held[panel.at + column..][..width];
                for (held, key) in held.iter_mut().zip(&mut keys) {
                    let (less, more) = ((*held).min(*key), (*held).max(*key));
                    (*held, *key) = if GREATEST { (more, less) } else { (less, more) };
                }
            }
        }
    }
}
