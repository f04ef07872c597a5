//! Order statistics of columns too long to hold: bins for the digits of keys, or for distinct values.

use std::collections::HashMap;

use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Refusal, Results};
use crate::reduce::number::{Integer, Real, one_zero};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::ranks::{Answers, RankStatistic, between, ranks, runs};
use crate::reduce::saved::{Tape, senseless};

/// An element that is looked for: its rank among those that share the digits found so far.
#[derive(Clone, Copy, Default)]
struct Wanted {
    rank: u64,
    prefix: u64,
}

/// Counts one digit of every key per pass, most significant first, among the keys that begin as the wanted
/// ones do. After the last digit the wanted elements are known.
pub(super) struct Digits<T> {
    answers: Answers<T>,
    digit_bits: u32,
    /// Bits of the keys that are settled.
    settled_bits: u32,
    /// Elements looked for, per output; none in the first pass, before their ranks are known.
    wanted: Vec<Vec<Wanted>>,
    /// Bins, per output and wanted element.
    bins: Vec<Vec<u64>>,
    nans: Vec<u8>,
}

impl<T: Real> Digits<T> {
    pub(super) fn start(answers: Answers<T>, digit_bits: u32) -> Box<dyn Fold> {
        let n = answers.n_outputs;
        let (wanted, bins) = (vec![Vec::new(); n], vec![vec![0; 1 << digit_bits]; n]);
        Box::new(Self { answers, digit_bits, settled_bits: 0, wanted, bins, nans: vec![0; n] })
    }

    /// Bins of output `i` in this pass.
    fn n_bins(&self, i: usize) -> usize {
        match self.settled_bits {
            0 => 1 << self.digit_bits,
            settled if settled < T::Key::BITS => self.wanted[i].len() << self.digit_bits,
            _ => 0,
        }
    }

    /// Follows every wanted element into its bin.
    fn descend(&mut self, quantiles: &[f64], counts: &Counts) {
        let digit = 1usize << self.digit_bits;
        let first = self.settled_bits == 0;
        for (i, bins) in self.bins.iter().enumerate() {
            let n = counts.of(i);
            if first && n > 0 {
                let both = quantiles.iter().map(|&q| ranks(q, n)).flat_map(|(low, high, _)| [low, high]);
                self.wanted[i] = both.map(|rank| Wanted { rank, prefix: 0 }).collect();
            }
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
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        if self.settled_bits == T::Key::BITS {
            return;
        }
        let (shift, mask) = (T::Key::BITS - self.settled_bits - self.digit_bits, (1u64 << self.digit_bits) - 1);
        let count = |bins: &mut [u64], nan: &mut u8, x: T| {
            *nan |= u8::from(x.is_nan());
            bins[(x.key().bits() >> shift & mask) as usize] += 1;
        };
        if self.settled_bits > 0 {
            panel.each::<T>(|i, _, x| {
                let bits = x.key().bits() >> shift;
                let (prefix, digit) = (bits >> self.digit_bits, (bits & mask) as usize);
                for (w, _) in self.wanted[i].iter().enumerate().filter(|(_, wanted)| wanted.prefix == prefix) {
                    self.bins[i][(w << self.digit_bits) + digit] += 1;
                }
            });
        } else if panel.along == Along::Rows && !panel.is_masked() {
            for (row, i) in panel.outputs().enumerate() {
                let (bins, nan) = (&mut self.bins[i][..], &mut self.nans[i]);
                panel.row(row).iter().for_each(|&x| count(bins, nan, x));
            }
        } else {
            panel.each(|i, _, x| count(&mut self.bins[i], &mut self.nans[i], x));
        }
    }

    fn join(&mut self, later: &mut Tape<'_>, _: (&Counts, &Counts)) -> Result<()> {
        let n = self.bins.len();
        let (settled_bits, nans) = (self.settled_bits, self.nans.clone());
        let mine = std::mem::replace(&mut self.bins, vec![Vec::new(); n]);
        self.pass(later)?;
        let is_alike = self.bins.iter().zip(&mine).all(|(theirs, mine)| theirs.len() == mine.len());
        if self.settled_bits != settled_bits || !is_alike {
            return Err(senseless());
        }
        for (theirs, mine) in self.bins.iter_mut().zip(&mine) {
            theirs.iter_mut().zip(mine).for_each(|(a, b)| *a = a.saturating_add(*b));
        }
        self.nans.iter_mut().zip(&nans).for_each(|(a, b)| *a |= b);
        Ok(())
    }

    fn again(&mut self, counts: &Counts) -> bool {
        let RankStatistic::Quantiles(quantiles) = self.answers.statistic.clone() else { return false };
        self.descend(&quantiles, counts);
        self.bins = (0..self.bins.len()).map(|i| vec![0; self.n_bins(i)]).collect();
        self.settled_bits < T::Key::BITS
    }

    fn finish(self: Box<Self>, counts: &Counts) -> Result<Results, Refusal> {
        let Self { mut answers, wanted, bins, nans, .. } = *self;
        for (i, wanted) in wanted.iter().enumerate() {
            let RankStatistic::Quantiles(quantiles) = &answers.statistic else {
                // Bins are values.
                let counted = bins[i].iter().enumerate().filter(|(_, n)| **n > 0);
                let found = runs::<T>(counted.map(|(bits, &n)| (T::Key::from_bits(bits as u64), n)));
                answers.note(i, found, nans[i] != 0);
                continue;
            };
            for (q, &quantile) in quantiles.iter().enumerate() {
                answers.floats[q * answers.n_outputs + i] = match wanted.get(2 * q..2 * q + 2) {
                    Some([a, b]) if nans[i] == 0 => {
                        let [a, b] = [a, b].map(|w| T::from_key(T::Key::from_bits(w.prefix)).f64());
                        between(a, b, ranks(quantile, counts.of(i)).2)
                    }
                    _ => f64::NAN,
                };
            }
        }
        answers.finish(counts)
    }

    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        let (n_wanted, last) = match &self.answers.statistic {
            RankStatistic::Quantiles(q) => (2 * q.len(), T::Key::BITS),
            _ => (0, 0),
        };
        tape.number(&mut self.settled_bits)?;
        if self.settled_bits > last || !self.settled_bits.is_multiple_of(self.digit_bits) {
            return Err(senseless());
        }
        tape.numbers(&mut self.nans)?;
        for i in 0..self.wanted.len() {
            let mut known = !self.wanted[i].is_empty();
            tape.flag(&mut known)?;
            self.wanted[i].resize(if known { n_wanted } else { 0 }, Wanted::default());
            for wanted in &mut self.wanted[i] {
                tape.number(&mut wanted.rank)?;
                tape.number(&mut wanted.prefix)?;
            }
            let n_bins = self.n_bins(i) as u64;
            tape.list(&mut self.bins[i], n_bins)?;
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
    answers: Answers<T>,
    most: usize,
    outputs: Vec<Census<T>>,
}

#[derive(Clone)]
struct Census<T: Real> {
    counts: HashMap<T::Key, u64>,
    /// Least key of this pass; smaller ones were counted in earlier passes.
    from: T::Key,
    /// Greatest key of this pass.
    to: T::Key,
    /// How often the most frequent key occurs, and that key.
    best: (u64, T::Key),
    distinct: u64,
    nan: bool,
    done: bool,
}

impl<T: Real> Census<T> {
    fn new() -> Self {
        let (from, to, best) = (T::Key::MIN, T::Key::MAX, (0, T::Key::MAX));
        Self { counts: HashMap::new(), from, to, best, distinct: 0, nan: false, done: false }
    }

    fn add(&mut self, key: T::Key, n: u64, most: usize) {
        if self.done || key < self.from || key > self.to {
            return;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(n);
        if self.counts.len() > most {
            let mut keys: Vec<_> = self.counts.keys().copied().collect();
            let middle = (keys.len() - 1) / 2;
            self.cut(*keys.select_nth_unstable(middle).1);
        }
    }

    fn cut(&mut self, to: T::Key) {
        self.to = self.to.min(to);
        self.counts.retain(|&k, _| k <= to);
    }

    /// Takes the counts of this pass; says whether keys are left for another.
    fn settle(&mut self) -> bool {
        self.distinct += self.counts.len() as u64;
        for (key, n) in self.counts.drain() {
            if n > self.best.0 || n == self.best.0 && key < self.best.1 {
                self.best = (n, key);
            }
        }
        self.done = self.to == T::Key::MAX;
        if !self.done {
            // The successor of a key below the greatest exists.
            self.from = T::Key::from_bits(self.to.bits() + 1);
            self.to = T::Key::MAX;
        }
        !self.done
    }

    fn pass(&mut self, tape: &mut Tape<'_>, most: usize) -> Result<()> {
        tape.flag(&mut self.nan)?;
        tape.flag(&mut self.done)?;
        let mut n_keys = self.counts.len() as u64;
        for key in [&mut self.from, &mut self.to, &mut self.best.1] {
            tape.number(key)?;
        }
        for number in [&mut self.best.0, &mut self.distinct, &mut n_keys] {
            tape.number(number)?;
        }
        let mut counted: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        counted.sort_unstable();
        let (mut keys, mut numbers): (Vec<T::Key>, Vec<u64>) = counted.into_iter().unzip();
        tape.list(&mut keys, n_keys)?;
        tape.list(&mut numbers, n_keys)?;
        keys.into_iter().zip(numbers).for_each(|(key, n)| self.add(key, n, most));
        Ok(())
    }
}

impl<T: Real> Distinct<T> {
    pub(super) fn start(answers: Answers<T>) -> Box<dyn Fold> {
        let n = answers.n_outputs;
        let most = (DISTINCT_BYTES / ENTRY_BYTES / n.max(1)).max(16);
        Box::new(Self { answers, most, outputs: vec![Census::new(); n] })
    }
}

impl<T: Real> Fold for Distinct<T> {
    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) {
        panel.each::<T>(|i, _, x| {
            self.outputs[i].nan |= x.is_nan();
            self.outputs[i].add(one_zero(x).key(), 1, self.most);
        });
    }

    fn join(&mut self, later: &mut Tape<'_>, _: (&Counts, &Counts)) -> Result<()> {
        for mine in &mut self.outputs {
            let mut theirs = Census::<T>::new();
            theirs.pass(later, self.most)?;
            mine.nan |= theirs.nan;
            mine.cut(theirs.to);
            theirs.counts.into_iter().for_each(|(key, n)| mine.add(key, n, self.most));
        }
        Ok(())
    }

    fn again(&mut self, _: &Counts) -> bool {
        self.outputs.iter_mut().fold(false, |again, table| again | table.settle())
    }

    fn finish(mut self: Box<Self>, counts: &Counts) -> Result<Results, Refusal> {
        for (i, table) in self.outputs.iter().enumerate() {
            self.answers.note(i, (table.best.1, table.distinct), table.nan);
        }
        self.answers.finish(counts)
    }

    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|table| table.pass(tape, self.most))
    }
}
