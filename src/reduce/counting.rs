//! Order statistics of columns too long to hold: bins for the digits of keys, or for distinct values.

use std::collections::HashMap;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Outcome, Values, erased, nothing, taken};
use crate::reduce::logic::for_each_present;
use crate::reduce::number::{Key, Real};
use crate::reduce::order::{What, between, one_zero, ranks};
use crate::reduce::panel::Panel;

/// An element that is looked for: its rank among those that share the digits found so far.
#[derive(Clone, Copy)]
struct Wanted {
    rank: u64,
    prefix: u64,
}

/// Counts one digit of every key per pass, most significant first, among the keys that begin as the wanted
/// ones do. After the last digit the wanted elements are known.
pub(super) struct Digits<T> {
    what: What,
    dtype: DType,
    n_outputs: usize,
    digit_bits: u32,
    /// Bits of the keys that are settled.
    settled_bits: u32,
    /// Elements looked for, per output; none in the first pass, before their ranks are known.
    wanted: Vec<Vec<Wanted>>,
    /// Bins, per output and wanted element.
    bins: Vec<Vec<u64>>,
    nans: Vec<bool>,
    of: std::marker::PhantomData<T>,
}

impl<T: Real> Digits<T> {
    pub(super) fn new(what: What, dtype: DType, digit_bits: u32, n_outputs: usize) -> Self {
        Self {
            what,
            dtype,
            n_outputs,
            digit_bits,
            settled_bits: 0,
            wanted: vec![Vec::new(); n_outputs],
            bins: vec![vec![0; 1 << digit_bits]; n_outputs],
            nans: vec![false; n_outputs],
            of: std::marker::PhantomData,
        }
    }

    fn shift(&self) -> u32 {
        T::Key::BITS - self.settled_bits - self.digit_bits
    }

    /// The most frequent value, the least of several, and the number of distinct ones; bins are values.
    fn bin_runs(&self, i: usize) -> (T::Key, u64) {
        let (mut best, mut best_n, mut distinct, mut zeros) = (T::Key::MIN, 0u64, 0u64, 0u64);
        for (bits, &n) in self.bins[i].iter().enumerate() {
            if n == 0 {
                continue;
            }
            let key = T::Key::from_bits(bits as u64);
            let mut n = n;
            if T::from_key(key) == T::default() {
                // Negative zero comes first; both zeros are one value.
                distinct -= u64::from(zeros > 0);
                zeros += n;
                n = zeros;
            }
            distinct += 1;
            if n > best_n {
                (best, best_n) = (one_zero::<T>(key), n);
            }
        }
        (best, distinct)
    }

    /// Follows every wanted element into its bin.
    fn descend(&mut self, counts: &Counts) {
        let What::Quantiles(quantiles) = &self.what else { return };
        let digit = 1usize << self.digit_bits;
        let first = self.settled_bits == 0;
        for i in 0..self.n_outputs {
            let n = counts.of(i);
            if first && n > 0 {
                let both = quantiles.iter().flat_map(|&q| {
                    let (low, high, _) = ranks(q, n);
                    [low, high]
                });
                self.wanted[i] = both.map(|rank| Wanted { rank, prefix: 0 }).collect();
            }
            let bins = std::mem::take(&mut self.bins[i]);
            for (w, wanted) in self.wanted[i].iter_mut().enumerate() {
                let from = if first { 0 } else { w * digit };
                for (value, &n) in bins[from..from + digit].iter().enumerate() {
                    if wanted.rank < n {
                        wanted.prefix = wanted.prefix << self.digit_bits | value as u64;
                        break;
                    }
                    wanted.rank -= n;
                }
            }
        }
        self.settled_bits += self.digit_bits;
    }
}

impl<T: Real> Fold for Digits<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        let (shift, mask, settled) = (self.shift(), (1u64 << self.digit_bits) - 1, self.settled_bits);
        if settled == 0 {
            for_each_present::<T>(panel, |i, x| {
                self.nans[i] |= x.is_nan();
                self.bins[i][(x.key().bits() >> shift & mask) as usize] += 1;
            });
            return Ok(());
        }
        for_each_present::<T>(panel, |i, x| {
            let bits = x.key().bits() >> shift;
            let (prefix, digit) = (bits >> self.digit_bits, (bits & mask) as usize);
            for (w, wanted) in self.wanted[i].iter().enumerate() {
                if wanted.prefix == prefix {
                    self.bins[i][(w << self.digit_bits) + digit] += 1;
                }
            }
        });
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        for (mine, theirs) in self.bins.iter_mut().zip(&later.bins) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        self.nans.iter_mut().zip(&later.nans).for_each(|(a, b)| *a |= b);
        Ok(())
    }

    fn finish(&mut self, counts: &Counts) -> Result<Outcome> {
        match &self.what {
            What::Unique => {
                let values = (0..self.n_outputs).map(|i| i128::from(self.bin_runs(i).1)).collect();
                return Ok(Outcome::Done(Values::Int(values)));
            }
            What::Mode => {
                let mode = |i: usize| match self.bin_runs(i).0 {
                    _ if self.nans[i] || T::FLOAT && counts.of(i) == 0 => Ok(T::from_key(T::Key::MAX)),
                    _ if counts.of(i) == 0 => Err(nothing(i, "mode")),
                    mode => Ok(T::from_key(mode)),
                };
                let modes: Vec<T> = (0..self.n_outputs).map(mode).collect::<Result<_>>()?;
                return Ok(Outcome::Done(Values::raw(self.dtype, &modes)));
            }
            What::Quantiles(_) => {}
        }
        self.descend(counts);
        if self.settled_bits < T::Key::BITS {
            for (bins, wanted) in self.bins.iter_mut().zip(&self.wanted) {
                *bins = vec![0; wanted.len() << self.digit_bits];
            }
            return Ok(Outcome::Again);
        }
        let What::Quantiles(quantiles) = &self.what else { return Ok(Outcome::Again) };
        let mut values = Vec::with_capacity(quantiles.len() * self.n_outputs);
        for (q, &quantile) in quantiles.iter().enumerate() {
            for i in 0..self.n_outputs {
                let n = counts.of(i);
                if n == 0 || self.nans[i] {
                    values.push(f64::NAN);
                    continue;
                }
                let [a, b] = [0, 1].map(|k| T::from_key(T::Key::from_bits(self.wanted[i][2 * q + k].prefix)).f64());
                values.push(between(a, b, ranks(quantile, n).2));
            }
        }
        Ok(Outcome::Done(Values::Float(values)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self {
            what: self.what.clone(),
            wanted: self.wanted.clone(),
            bins: self.bins.iter().map(|b| vec![0; b.len()]).collect(),
            nans: self.nans.clone(),
            ..*self
        })
    }
}

/// Bytes of a table's entry, with the room a table leaves free.
const ENTRY_BYTES: usize = 32;

/// Memory of the tables of distinct values of one tile.
const DISTINCT_BYTES: usize = 32 << 20;

/// Counts distinct values in tables. A table that grows too large gives up its upper half, which a further
/// pass over the input counts.
pub(super) struct Distinct<T: Real> {
    mode: bool,
    dtype: DType,
    most: usize,
    outputs: Vec<Table<T>>,
}

#[derive(Clone)]
struct Table<T: Real> {
    counts: HashMap<T::Key, u64>,
    /// Least key of this pass; smaller ones were counted in earlier passes.
    from: Option<T::Key>,
    /// Greatest key of this pass.
    to: T::Key,
    best: Option<(u64, T::Key)>,
    distinct: u64,
    nan: bool,
    done: bool,
}

impl<T: Real> Table<T> {
    fn new() -> Self {
        Self { counts: HashMap::new(), from: None, to: T::Key::MAX, best: None, distinct: 0, nan: false, done: false }
    }

    fn add(&mut self, key: T::Key, n: u64, most: usize) {
        if self.done || self.from.is_some_and(|from| key < from) || key > self.to {
            return;
        }
        *self.counts.entry(key).or_default() += n;
        if self.counts.len() > most {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        let mut keys: Vec<_> = self.counts.keys().copied().collect();
        let middle = (keys.len() - 1) / 2;
        let (_, &mut middle, _) = keys.select_nth_unstable(middle);
        self.cut(middle);
    }

    fn cut(&mut self, to: T::Key) {
        self.to = self.to.min(to);
        self.counts.retain(|&k, _| k <= to);
    }

    /// Takes the counts of this pass; says whether keys are left for another.
    fn settle(&mut self) -> bool {
        self.distinct += self.counts.len() as u64;
        for (key, n) in self.counts.drain() {
            let better = |&(best_n, best): &(u64, T::Key)| n > best_n || n == best_n && key < best;
            if self.best.as_ref().is_none_or(better) {
                self.best = Some((n, key));
            }
        }
        self.done = self.to == T::Key::MAX;
        if !self.done {
            // The successor of a key below the greatest exists.
            self.from = Some(T::Key::from_bits(self.to.bits() + 1));
            self.to = T::Key::MAX;
        }
        !self.done
    }
}

impl<T: Real> Distinct<T> {
    pub(super) fn new(mode: bool, dtype: DType, n: usize) -> Self {
        let most = (DISTINCT_BYTES / ENTRY_BYTES / n.max(1)).max(16);
        Self { mode, dtype, most, outputs: vec![Table::new(); n] }
    }
}

impl<T: Real> Fold for Distinct<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        for_each_present::<T>(panel, |i, x| {
            self.outputs[i].nan |= x.is_nan();
            self.outputs[i].add(one_zero::<T>(x.key()), 1, self.most);
        });
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
        for (mine, theirs) in self.outputs.iter_mut().zip(later.outputs) {
            mine.nan |= theirs.nan;
            mine.cut(theirs.to);
            for (key, n) in theirs.counts {
                mine.add(key, n, self.most);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        let mut left = false;
        for table in &mut self.outputs {
            left |= table.settle();
        }
        if left {
            return Ok(Outcome::Again);
        }
        if !self.mode {
            return Ok(Outcome::Done(Values::Int(self.outputs.iter().map(|t| i128::from(t.distinct)).collect())));
        }
        let mode = |(i, table): (usize, &Table<T>)| match table.best {
            _ if table.nan => Ok(T::from_key(T::Key::MAX)),
            Some((_, key)) => Ok(T::from_key(key)),
            None if T::FLOAT => Ok(T::from_key(T::Key::MAX)),
            None => Err(nothing(i, "mode")),
        };
        let modes: Vec<T> = self.outputs.iter().enumerate().map(mode).collect::<Result<_>>()?;
        Ok(Outcome::Done(Values::raw(self.dtype, &modes)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        let outputs =
            self.outputs.iter().map(|t| Table { from: t.from, nan: t.nan, done: t.done, ..Table::new() }).collect();
        Box::new(Self { outputs, ..*self })
    }
}
