//! Order statistics of columns that are held in memory: as the block that brings them, or piece by piece.

use std::mem::take;

use multiversion::multiversion;

use crate::error::Result;
use crate::grid::Region;
use crate::network::{MOST, Network, WIDTH};
use crate::reduce::fold::{Counts, Fold, Refusal, Results};
use crate::reduce::number::{Integer, Real};
use crate::reduce::panel::{Along, Numbering, Panel};
use crate::reduce::ranks::{Answers, RankStatistic, between, ranks, runs};
use crate::reduce::saved::{Tape, senseless};

/// Holds all elements of each output, and sorts them.
pub(super) struct Hold<T: Real> {
    answers: Answers<T>,
    n_reduced: usize,
    /// Element `(r, i)` of output `i` at `r * n_outputs + i`, in the order of folding.
    held: Vec<T>,
    /// As `held`: what counts; empty if everything does.
    mask: Vec<u8>,
    n_held: usize,
    network: Option<Network>,
    keys: Vec<T::Key>,
    done: bool,
}

impl<T: Real> Hold<T> {
    /// For outputs of `n_reduced` elements each.
    pub(super) fn start(answers: Answers<T>, n_reduced: usize) -> Box<dyn Fold> {
        let (held, mask, n_held, network, keys) = (Vec::new(), Vec::new(), 0, None, Vec::new());
        Box::new(Self { answers, n_reduced, held, mask, n_held, network, keys, done: false })
    }

    /// Sorts the elements of a panel that has all of its outputs.
    fn sort(&mut self, panel: &Panel<'_>) {
        if panel.along == Along::Columns && (1..=MOST).contains(&panel.n_rows) && !panel.is_masked() {
            return self.sort_columns(panel);
        }
        let mut keys = Vec::with_capacity(panel.n_reduced());
        for i in 0..panel.n_outputs() {
            keys.clear();
            match panel.along {
                Along::Rows if !panel.is_masked() => keys.extend(panel.row::<T>(i).iter().map(|x| x.key())),
                _ => keys.extend(panel.output::<T>(i).map(T::key)),
            }
            self.sort_one(panel.at + i, &mut keys);
        }
    }

    /// Sorts columns that lie in the panel from top to bottom.
    fn sort_columns(&mut self, panel: &Panel<'_>) {
        let n = panel.n_rows;
        let wanted = || match &self.answers.statistic {
            RankStatistic::Quantiles(q) => {
                q.iter().map(|&q| ranks(q, n as u64)).flat_map(|(a, b, _)| [a as usize, b as usize]).collect()
            }
            _ => (0..n).collect::<Vec<_>>(),
        };
        let network = self.network.take().unwrap_or_else(|| Network::new(n, &wanted()));
        let keys = &mut self.keys;
        keys.resize(n * WIDTH, T::Key::MIN);
        let mut nans = [0u8; WIDTH];
        let answers = &mut self.answers;
        for column in (0..panel.n_columns).step_by(WIDTH) {
            let width = WIDTH.min(panel.n_columns - column);
            load::<T>(panel, column, keys, &mut nans[..width]);
            network.exchange(keys);
            let at = panel.at + column;
            let RankStatistic::Quantiles(quantiles) = &answers.statistic else {
                for (i, &nan) in nans[..width].iter().enumerate() {
                    let sorted = keys.iter().skip(i).step_by(WIDTH).map(|&key| (key, 1));
                    answers.note(at + i, runs::<T>(sorted), nan != 0);
                }
                continue;
            };
            for (q, &quantile) in quantiles.iter().enumerate() {
                let (low, high, share) = ranks(quantile, n as u64);
                let (low, high) = (&keys[low as usize * WIDTH..], &keys[high as usize * WIDTH..]);
                let values = &mut answers.floats[q * answers.n_outputs + at..][..width];
                for (((value, &a), &b), &nan) in values.iter_mut().zip(low).zip(high).zip(&nans) {
                    let middle = between(T::from_key(a).f64(), T::from_key(b).f64(), share);
                    *value = if nan != 0 { f64::NAN } else { middle };
                }
            }
        }
        self.network = Some(network);
    }

    /// Sorts the elements of output `i`, given as their keys.
    fn sort_one(&mut self, i: usize, keys: &mut [T::Key]) {
        let (n, answers) = (keys.len() as u64, &mut self.answers);
        let nan = T::FLOAT && keys.contains(&T::Key::MAX);
        let RankStatistic::Quantiles(quantiles) = &answers.statistic else {
            keys.sort_unstable();
            return answers.note(i, runs::<T>(keys.iter().map(|&key| (key, 1))), nan);
        };
        for (q, &quantile) in quantiles.iter().enumerate() {
            let value = &mut answers.floats[q * answers.n_outputs + i];
            if n == 0 || nan {
                *value = f64::NAN;
                continue;
            }
            let (low, high, share) = ranks(quantile, n);
            let (_, &mut a, above) = keys.select_nth_unstable(low as usize);
            let b = if high > low { above.iter().min().copied().unwrap_or(a) } else { a };
            *value = between(T::from_key(a).f64(), T::from_key(b).f64(), share);
        }
    }

    fn keep(&mut self, panel: &Panel<'_>) {
        let n = self.answers.n_outputs;
        let from = (panel.before + panel.first) as usize;
        self.n_held = self.n_held.max(from + panel.n_reduced());
        self.held.resize(self.n_held * n, T::default());
        if panel.is_masked() || !self.mask.is_empty() {
            self.mask.resize(self.n_held * n, 1);
        }
        for row in 0..panel.n_rows {
            let (values, mask) = (panel.row::<T>(row), panel.mask_row(row));
            // From where on, and how far apart.
            let (at, step) = match panel.along {
                Along::Columns => ((from + row) * n + panel.at, 1),
                Along::Rows => (from * n + panel.at + row, n),
            };
            place(&mut self.held[at..], step, values);
            if let Some(mask) = mask {
                place(&mut self.mask[at..], step, mask);
            }
        }
    }
}

/// Puts `values` into `to`, `step` apart.
fn place<A: Copy>(to: &mut [A], step: usize, values: &[A]) {
    if step == 1 {
        return to[..values.len()].copy_from_slice(values);
    }
    to.iter_mut().step_by(step).zip(values).for_each(|(to, &value)| *to = value);
}

/// Keys of columns of `panel` from `column` on, row by row, [`WIDTH`] to a row; `nans` tells which columns hold a NaN.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn load<T: Real>(panel: &Panel<'_>, column: usize, keys: &mut [T::Key], nans: &mut [u8]) {
    nans.fill(0);
    for (row, keys) in keys.chunks_exact_mut(WIDTH).enumerate() {
        let values = &panel.row::<T>(row)[column..column + nans.len()];
        keys.iter_mut().zip(values).for_each(|(k, &x)| *k = x.key());
        if T::FLOAT {
            nans.iter_mut().zip(values).for_each(|(nan, &x)| *nan |= u8::from(x.is_nan()));
        }
    }
}

impl<T: Real> Fold for Hold<T> {
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) {
        let all = panel.before == 0 && panel.first == 0 && panel.n_reduced() == self.n_reduced;
        if !all || matches!(counts, Counts::Each(..)) {
            return self.keep(panel);
        }
        self.done = true;
        self.sort(panel);
    }

    fn join(&mut self, later: &mut Tape<'_>, _: (&Counts, &Counts)) -> Result<()> {
        let (mut held, mut mask) = (take(&mut self.held), take(&mut self.mask));
        let n_held = take(&mut self.n_held);
        self.pass(later)?;
        if !mask.is_empty() || !self.mask.is_empty() {
            mask.resize(held.len(), 1);
            self.mask.resize(self.held.len(), 1);
            mask.append(&mut self.mask);
        }
        held.append(&mut self.held);
        (self.held, self.mask) = (held, mask);
        self.n_held += n_held;
        Ok(())
    }

    fn finish(mut self: Box<Self>, counts: &Counts) -> Result<Results, Refusal> {
        if !self.done {
            // What is held sorts as a panel that came whole.
            let (held, mask) = (take(&mut self.held), take(&mut self.mask));
            let shape = (self.n_held, self.answers.n_outputs);
            let lengths = [shape.0 as u64, shape.1 as u64];
            let index = Numbering::new(&lengths, &Region::whole(&lengths), &[true, false]);
            let panel = Panel::of_columns(bytemuck::cast_slice(&held), self.answers.dtype, shape, &index);
            self.sort(&if mask.is_empty() { panel } else { panel.masked(&mask) });
        }
        self.answers.finish(counts)
    }

    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        tape.flag(&mut self.done)?;
        if self.done {
            tape.numbers(&mut self.answers.floats)?;
            return tape.numbers(&mut self.answers.modes);
        }
        let mut n_held = self.n_held as u64;
        tape.number(&mut n_held)?;
        if n_held > self.n_reduced as u64 {
            return Err(senseless());
        }
        self.n_held = n_held as usize;
        let n = n_held * self.answers.n_outputs as u64;
        tape.list(&mut self.held, n)?;
        let mut masked = !self.mask.is_empty();
        tape.flag(&mut masked)?;
        tape.list(&mut self.mask, if masked { n } else { 0 })
    }
}
