//! Order statistics of columns too long to hold: bins for the digits of keys, or for distinct values.

use std::collections::HashMap;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Accumulator, Counts, Refusal, Values};
use crate::reduce::number::{Key, Real, one_zero};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::ranks::{Statistic, between, modes, ranks};
use crate::reduce::saved::{put, put_flag, senseless, take, take_flag, take_many, take_one};

/// An element that is looked for: its rank among those that share the digits found so far.
#[derive(Clone, Copy)]
struct Wanted {
    rank: u64,
    prefix: u64,
}

/// Counts one digit of every key per pass, most significant first, among the keys that begin as the wanted
/// ones do. After the last digit the wanted elements are known.
pub(super) struct Digits<T> {
    statistic: Statistic,
    dtype: DType,
    n_outputs: usize,
    digit_bits: u32,
    /// Bits of the keys that are settled.
    settled_bits: u32,
    /// Elements looked for, per output; none in the first pass, before their ranks are known.
    wanted: Vec<Vec<Wanted>>,
    /// Bins, per output and wanted element.
    bins: Vec<Vec<u64>>,
    nans: Vec<u8>,
    of: std::marker::PhantomData<T>,
}

impl<T: Real> Digits<T> {
    pub(super) fn new(statistic: Statistic, dtype: DType, digit_bits: u32, n_outputs: usize) -> Self {
        Self {
            statistic,
            dtype,
            n_outputs,
            digit_bits,
            settled_bits: 0,
            wanted: vec![Vec::new(); n_outputs],
            bins: vec![vec![0; 1 << digit_bits]; n_outputs],
            nans: vec![0; n_outputs],
            of: std::marker::PhantomData,
        }
    }

    fn shift(&self) -> u32 {
        T::Key::BITS - self.settled_bits - self.digit_bits
    }

    /// Bins of output `i` in this pass.
    fn n_bins(&self, i: usize) -> usize {
        match self.settled_bits {
            0 => 1 << self.digit_bits,
            settled if settled < T::Key::BITS => self.wanted[i].len() << self.digit_bits,
            _ => 0,
        }
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
                (best, best_n) = (one_zero(T::from_key(key)).key(), n);
            }
        }
        (best, distinct)
    }

    /// Follows every wanted element into its bin.
    fn descend(&mut self, counts: &Counts) {
        let Statistic::Quantiles(quantiles) = &self.statistic else { return };
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

impl<T: Real> Accumulator for Digits<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        if self.settled_bits == T::Key::BITS {
            return;
        }
        let (shift, mask, settled) = (self.shift(), (1u64 << self.digit_bits) - 1, self.settled_bits);
        if settled == 0 && panel.along == Along::Rows && !panel.is_masked() {
            for (row, i) in panel.outputs().enumerate() {
                let (bins, nan) = (&mut self.bins[i][..], &mut self.nans[i]);
                for &x in panel.row::<T>(row) {
                    *nan |= u8::from(x.is_nan());
                    bins[(x.key().bits() >> shift & mask) as usize] += 1;
                }
            }
            return;
        }
        if settled == 0 {
            panel.each::<T>(|i, _, x| {
                self.nans[i] |= u8::from(x.is_nan());
                self.bins[i][(x.key().bits() >> shift & mask) as usize] += 1;
            });
            return;
        }
        panel.each::<T>(|i, _, x| {
            let bits = x.key().bits() >> shift;
            let (prefix, digit) = (bits >> self.digit_bits, (bits & mask) as usize);
            for (w, wanted) in self.wanted[i].iter().enumerate() {
                if wanted.prefix == prefix {
                    self.bins[i][(w << self.digit_bits) + digit] += 1;
                }
            }
        });
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        if later.settled_bits != self.settled_bits {
            return Err(senseless());
        }
        for (mine, theirs) in self.bins.iter_mut().zip(&later.bins) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.saturating_add(*b));
        }
        self.nans.iter_mut().zip(&later.nans).for_each(|(a, b)| *a |= b);
        Ok(())
    }

    fn again(&mut self, counts: &Counts) -> bool {
        if !matches!(self.statistic, Statistic::Quantiles(_)) {
            return false;
        }
        self.descend(counts);
        self.bins = (0..self.n_outputs).map(|i| vec![0; self.n_bins(i)]).collect();
        self.settled_bits < T::Key::BITS
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        let quantiles = match &self.statistic {
            Statistic::Unique => {
                return Ok(Values::Int((0..self.n_outputs).map(|i| i128::from(self.bin_runs(i).1)).collect()));
            }
            Statistic::Mode => {
                let key = |i: usize| if self.nans[i] != 0 { T::Key::MAX } else { self.bin_runs(i).0 };
                return modes(self.dtype, counts, (0..self.n_outputs).map(|i| T::from_key(key(i))));
            }
            Statistic::Quantiles(quantiles) => quantiles,
        };
        let mut values = Vec::with_capacity(quantiles.len() * self.n_outputs);
        for (q, &quantile) in quantiles.iter().enumerate() {
            for i in 0..self.n_outputs {
                let n = counts.of(i);
                values.push(match self.wanted[i].get(2 * q..2 * q + 2) {
                    Some([a, b]) if self.nans[i] == 0 => {
                        let [a, b] = [a, b].map(|w| T::from_key(T::Key::from_bits(w.prefix)).f64());
                        between(a, b, ranks(quantile, n).2)
                    }
                    _ => f64::NAN,
                });
            }
        }
        Ok(Values::Float(values))
    }

    fn fork(&self) -> Self {
        Self {
            statistic: self.statistic.clone(),
            wanted: self.wanted.clone(),
            bins: self.bins.iter().map(|b| vec![0; b.len()]).collect(),
            nans: self.nans.clone(),
            ..*self
        }
    }

    fn save(&self, out: &mut Vec<u8>) {
        put(out, &[self.settled_bits]);
        put(out, &self.nans);
        for (wanted, bins) in self.wanted.iter().zip(&self.bins) {
            put_flag(out, !wanted.is_empty());
            wanted.iter().for_each(|w| put(out, &[w.rank, w.prefix]));
            put(out, bins);
        }
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        let n_wanted = match &self.statistic {
            Statistic::Quantiles(q) => 2 * q.len(),
            _ => 0,
        };
        self.settled_bits = take_one(bytes)?;
        let last = if n_wanted > 0 { T::Key::BITS } else { 0 };
        if self.settled_bits > last || !self.settled_bits.is_multiple_of(self.digit_bits) {
            return Err(senseless());
        }
        take(bytes, &mut self.nans)?;
        for i in 0..self.n_outputs {
            let n = if take_flag(bytes)? { n_wanted } else { 0 };
            let wanted = |_| Ok(Wanted { rank: take_one(bytes)?, prefix: take_one(bytes)? });
            self.wanted[i] = (0..n).map(wanted).collect::<Result<_>>()?;
            self.bins[i] = take_many(bytes, self.n_bins(i) as u64)?;
        }
        Ok(())
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
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(n);
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

    fn save(&self, out: &mut Vec<u8>) {
        [self.nan, self.done, self.from.is_some(), self.best.is_some()].iter().for_each(|&flag| put_flag(out, flag));
        let (n, best) = self.best.unwrap_or((0, T::Key::MIN));
        put(out, &[self.from.unwrap_or(T::Key::MIN), self.to, best]);
        put(out, &[n, self.distinct, self.counts.len() as u64]);
        let mut keys: Vec<_> = self.counts.keys().copied().collect();
        keys.sort_unstable();
        put(out, &keys);
        keys.iter().for_each(|key| put(out, &[self.counts[key]]));
    }

    fn restore(&mut self, bytes: &mut &[u8], most: usize) -> Result<()> {
        let [mut nan, mut done, mut later, mut some] = [false; 4];
        for flag in [&mut nan, &mut done, &mut later, &mut some] {
            *flag = take_flag(bytes)?;
        }
        let (mut keys, mut numbers) = ([T::Key::MIN; 3], [0u64; 3]);
        take(bytes, &mut keys)?;
        take(bytes, &mut numbers)?;
        let ([from, to, best], [n, distinct, n_keys]) = (keys, numbers);
        let (from, best) = (later.then_some(from), some.then_some((n, best)));
        *self = Self { from, to, best, distinct, nan, done, ..Self::new() };
        let keys: Vec<T::Key> = take_many(bytes, n_keys)?;
        for (key, n) in keys.into_iter().zip(take_many(bytes, n_keys)?) {
            self.add(key, n, most);
        }
        Ok(())
    }
}

impl<T: Real> Distinct<T> {
    pub(super) fn new(mode: bool, dtype: DType, n: usize) -> Self {
        let most = (DISTINCT_BYTES / ENTRY_BYTES / n.max(1)).max(16);
        Self { mode, dtype, most, outputs: vec![Table::new(); n] }
    }
}

impl<T: Real> Accumulator for Distinct<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        panel.each::<T>(|i, _, x| {
            self.outputs[i].nan |= x.is_nan();
            self.outputs[i].add(one_zero(x).key(), 1, self.most);
        });
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        for (mine, theirs) in self.outputs.iter_mut().zip(later.outputs) {
            mine.nan |= theirs.nan;
            mine.cut(theirs.to);
            for (key, n) in theirs.counts {
                mine.add(key, n, self.most);
            }
        }
        Ok(())
    }

    fn again(&mut self, _: &Counts) -> bool {
        self.outputs.iter_mut().fold(false, |again, table| again | table.settle())
    }

    fn finish(self, counts: &Counts) -> Result<Values, Refusal> {
        if !self.mode {
            return Ok(Values::Int(self.outputs.iter().map(|t| i128::from(t.distinct)).collect()));
        }
        let key = |table: &Table<T>| match table.best {
            Some((_, key)) if !table.nan => key,
            _ => T::Key::MAX,
        };
        modes(self.dtype, counts, self.outputs.iter().map(|table| T::from_key(key(table))))
    }

    fn fork(&self) -> Self {
        let outputs =
            self.outputs.iter().map(|t| Table { from: t.from, nan: t.nan, done: t.done, ..Table::new() }).collect();
        Self { outputs, ..*self }
    }

    fn save(&self, out: &mut Vec<u8>) {
        self.outputs.iter().for_each(|table| table.save(out));
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|table| table.restore(bytes, self.most))
    }
}
