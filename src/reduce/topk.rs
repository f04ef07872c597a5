//! topk: the greatest, or least, few elements.

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::fold::{Accumulator, Counts, Fold, Refusal, Values};
use crate::reduce::number::{Key, Real, nan, with_real};
use crate::reduce::operator::{Input, Make, Operator, OperatorKind, OwnAxis};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::saved::{put, take};

/// Greatest elements.
pub(super) const TOPK: OperatorKind = OperatorKind {
    name: "topk",
    argument: "=K",
    about: "greatest K elements, descending, or least -K, ascending, as an axis; NaN counts as greatest",
    make: Make::Parsed(|argument| {
        let k = argument.and_then(|a| a.parse::<i64>().ok()).filter(|&k| k != 0 && k.unsigned_abs() <= 4096);
        let k = k.ok_or_else(|| Error::usage("topk: say how many, from 1 to 4096, as in topk=3 or topk=-3"))?;
        Ok(Box::new(TopK { k }))
    }),
};

#[derive(Clone, Copy, Debug)]
struct TopK {
    k: i64,
}

impl TopK {
    fn n(self) -> usize {
        self.k.unsigned_abs() as usize
    }
}

impl Operator for TopK {
    fn argument(&self) -> Option<String> {
        Some(self.k.to_string())
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        Ok(input.dtype)
    }

    fn own_axis(&self, input: &Input) -> Result<Option<OwnAxis>> {
        if self.n() as u64 > input.n_reduced {
            return Err(Error::usage(format!("topk={}: only {} elements are reduced", self.k, input.n_reduced)));
        }
        Ok(Some(OwnAxis { name: "rank", coordinates: (0..self.n()).map(|i| i as f64).collect() }))
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        (self.n() * input.dtype.size()) as u64
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => if self.k > 0 {
            Box::new(Ranked::<T, true>::new(dtype, self.n(), n))
        } else {
            Box::new(Ranked::<T, false>::new(dtype, self.n(), n))
        })
    }
}

/// The best keys of each output: rank `r` of output `i` at `r * n_outputs + i`.
struct Ranked<T: Real, const GREATEST: bool> {
    dtype: DType,
    k: usize,
    n_outputs: usize,
    best: Vec<T::Key>,
}

impl<T: Real, const GREATEST: bool> Ranked<T, GREATEST> {
    fn new(dtype: DType, k: usize, n_outputs: usize) -> Self {
        let neutral = if GREATEST { T::Key::MIN } else { T::Key::MAX };
        Self { dtype, k, n_outputs, best: vec![neutral; k * n_outputs] }
    }

    /// Whether `key` belongs before `other`.
    #[inline(always)]
    fn wins(key: T::Key, other: T::Key) -> bool {
        if GREATEST { key > other } else { key < other }
    }

    /// The last among the best of output `i`.
    #[inline(always)]
    fn last(&self, i: usize) -> T::Key {
        self.best[(self.k - 1) * self.n_outputs + i]
    }

    /// Puts `key` among the best of output `i`, if it belongs there.
    fn insert(&mut self, i: usize, mut key: T::Key) {
        for rank in 0..self.k {
            let held = &mut self.best[rank * self.n_outputs + i];
            if Self::wins(key, *held) {
                std::mem::swap(held, &mut key);
            }
        }
    }

    /// As [`Self::insert`], for all elements of a row.
    fn insert_all(&mut self, i: usize, values: &[T]) {
        let mut last = self.last(i);
        for &x in values {
            if Self::wins(x.key(), last) {
                self.insert(i, x.key());
                last = self.last(i);
            }
        }
    }
}

impl<T: Real, const GREATEST: bool> Accumulator for Ranked<T, GREATEST> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        match panel.along {
            _ if panel.is_masked() => panel.each::<T>(|i, _, x| self.insert(i, x.key())),
            Along::Columns => columns::<T, GREATEST>(&mut self.best, self.n_outputs, panel),
            Along::Rows => panel.outputs().enumerate().for_each(|(row, i)| self.insert_all(i, panel.row(row))),
        }
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        for (at, &key) in later.best.iter().enumerate() {
            self.insert(at % self.n_outputs, key);
        }
        Ok(())
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        let mut values: Vec<T> = self.best.iter().map(|&k| T::from_key(k)).collect();
        for (at, value) in values.iter_mut().enumerate() {
            let (rank, i) = (at / self.n_outputs, at % self.n_outputs);
            if counts.of(i) <= rank as u64 {
                *value = nan::<T>().ok_or_else(|| Refusal::nothing(i, "greatest few"))?;
            }
        }
        Ok(Values::raw(self.dtype, &values))
    }

    fn fork(&self) -> Self {
        Self::new(self.dtype, self.k, self.n_outputs)
    }

    fn save(&self, out: &mut Vec<u8>) {
        put(out, &self.best);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        take(bytes, &mut self.best)
    }
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
