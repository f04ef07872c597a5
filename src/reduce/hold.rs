//! Order statistics of columns that are held in memory: as the block that brings them, or piece by piece.

use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;
use crate::reduce::fold::{Accumulator, Counts, Refusal, Values};
use crate::reduce::network::{MOST, Network, WIDTH};
use crate::reduce::number::{Key, Real, one_zero};
use crate::reduce::panel::{Along, Index, Panel};
use crate::reduce::ranks::{Statistic, between, modes, ranks, runs};
use crate::reduce::saved::{put, put_flag, senseless, take, take_flag, take_many, take_one};

/// Holds all elements of each output, and sorts them.
pub(super) struct Hold<T: Real> {
    statistic: Statistic,
    dtype: DType,
    n_reduced: usize,
    n_outputs: usize,
    /// Element `(r, i)` of output `i` at `r * n_outputs + i`, in the order of folding.
    held: Vec<T>,
    /// As `held`: what counts; empty if everything does.
    mask: Vec<u8>,
    n_held: usize,
    network: Option<Network>,
    keys: Vec<T::Key>,
    /// Quantiles, one after the other; or numbers of distinct elements.
    floats: Vec<f64>,
    /// Modes.
    modes: Vec<T>,
    done: bool,
}

impl<T: Real> Hold<T> {
    /// For `n_outputs` outputs of `n_reduced` elements each.
    pub(super) fn new(statistic: Statistic, dtype: DType, n_reduced: usize, n_outputs: usize) -> Self {
        let (n_floats, n_modes) = match &statistic {
            Statistic::Quantiles(q) => (q.len() * n_outputs, 0),
            Statistic::Unique => (n_outputs, 0),
            Statistic::Mode => (0, n_outputs),
        };
        Self {
            statistic,
            dtype,
            n_reduced,
            n_outputs,
            held: Vec::new(),
            mask: Vec::new(),
            n_held: 0,
            network: None,
            keys: Vec::new(),
            floats: vec![0.0; n_floats],
            modes: vec![T::default(); n_modes],
            done: false,
        }
    }

    /// Sorts columns that lie in the panel from top to bottom.
    fn sort_columns(&mut self, panel: &Panel<'_>) {
        let n = panel.n_rows;
        let wanted: Vec<usize> = match &self.statistic {
            Statistic::Quantiles(q) => {
                q.iter().map(|&q| ranks(q, n as u64)).flat_map(|(a, b, _)| [a as usize, b as usize]).collect()
            }
            _ => (0..n).collect(),
        };
        let network = self.network.take().unwrap_or_else(|| Network::new(n, &wanted));
        let mut keys = std::mem::take(&mut self.keys);
        keys.resize(n * WIDTH, T::Key::MIN);
        let mut nans = [0u8; WIDTH];
        for column in (0..panel.n_columns).step_by(WIDTH) {
            network.sort::<T>(panel, column, &mut keys, &mut nans);
            let width = WIDTH.min(panel.n_columns - column);
            let at = panel.at + column;
            match &self.statistic {
                Statistic::Quantiles(quantiles) => {
                    for (q, &quantile) in quantiles.iter().enumerate() {
                        let (low, high, share) = ranks(quantile, n as u64);
                        let (low, high) = (&keys[low as usize * WIDTH..], &keys[high as usize * WIDTH..]);
                        let values = &mut self.floats[q * self.n_outputs + at..][..width];
                        for (((value, &a), &b), &nan) in values.iter_mut().zip(low).zip(high).zip(&nans) {
                            let middle = between(T::from_key(a).f64(), T::from_key(b).f64(), share);
                            *value = if nan != 0 { f64::NAN } else { middle };
                        }
                    }
                }
                _ => {
                    for i in 0..width {
                        let (mode, distinct) = runs((0..n).map(|r| one_zero(T::from_key(keys[r * WIDTH + i])).key()));
                        self.note(at + i, mode, distinct, nans[i] != 0);
                    }
                }
            }
        }
        self.keys = keys;
        self.network = Some(network);
    }

    fn note(&mut self, i: usize, mode: T::Key, distinct: u64, nan: bool) {
        if self.statistic == Statistic::Mode {
            self.modes[i] = T::from_key(if nan { T::Key::MAX } else { mode });
        } else {
            self.floats[i] = distinct as f64;
        }
    }

    /// Sorts one column, given as its keys.
    fn sort_one(&mut self, i: usize, keys: &mut [T::Key]) {
        let n = keys.len() as u64;
        let nan = T::FLOAT && keys.contains(&T::Key::MAX);
        match &self.statistic {
            Statistic::Quantiles(quantiles) => {
                for (q, &quantile) in quantiles.iter().enumerate() {
                    let value = if n == 0 || nan {
                        f64::NAN
                    } else {
                        let (low, high, share) = ranks(quantile, n);
                        let (_, &mut a, above) = keys.select_nth_unstable(low as usize);
                        let b = if high > low { above.iter().min().copied().unwrap_or(a) } else { a };
                        between(T::from_key(a).f64(), T::from_key(b).f64(), share)
                    };
                    self.floats[q * self.n_outputs + i] = value;
                }
            }
            _ => {
                keys.iter_mut().for_each(|k| *k = one_zero(T::from_key(*k)).key());
                keys.sort_unstable();
                let (mode, distinct) = runs(keys.iter().copied());
                self.note(i, mode, distinct, nan);
            }
        }
    }

    /// Sorts what is held; a panel of it sorts as one that came whole.
    fn sort_held(&mut self) {
        let (held, mask) = (std::mem::take(&mut self.held), std::mem::take(&mut self.mask));
        let n = self.n_outputs;
        if mask.is_empty() && self.n_held <= MOST && self.n_held > 0 {
            let shape = [self.n_held as u64, n as u64];
            let index = Index::new(&shape, &Region::whole(&shape), &[true, false]);
            let panel = Panel::of_columns(bytemuck::cast_slice(&held), self.dtype, self.n_held, n, &index);
            self.sort_columns(&panel);
            return;
        }
        let mut keys = Vec::with_capacity(self.n_held);
        for i in 0..n {
            keys.clear();
            let present = |r: &usize| mask.is_empty() || mask[r * n + i] != 0;
            keys.extend((0..self.n_held).filter(present).map(|r| held[r * n + i].key()));
            self.sort_one(i, &mut keys);
        }
    }

    fn keep(&mut self, panel: &Panel<'_>) {
        let n = self.n_outputs;
        let from = (panel.before + panel.first) as usize;
        let to = from + panel.n_reduced();
        if self.n_held < to {
            self.held.resize(to * n, T::default());
            if panel.is_masked() || !self.mask.is_empty() {
                self.mask.resize(self.n_held * n, 1);
                self.mask.resize(to * n, 1);
            }
            self.n_held = to;
        } else if panel.is_masked() && self.mask.is_empty() {
            self.mask.resize(self.n_held * n, 1);
        }
        for row in 0..panel.n_rows {
            let values = panel.row::<T>(row);
            match panel.along {
                Along::Columns => {
                    let at = (from + row) * n + panel.at;
                    self.held[at..at + values.len()].copy_from_slice(values);
                    if let Some(mask) = panel.mask_row(row) {
                        self.mask[at..at + values.len()].copy_from_slice(mask);
                    }
                }
                Along::Rows => {
                    for (r, &x) in values.iter().enumerate() {
                        let at = (from + r) * n + panel.at + row;
                        self.held[at] = x;
                        if let Some(mask) = panel.mask_row(row) {
                            self.mask[at] = mask[r];
                        }
                    }
                }
            }
        }
    }
}

impl<T: Real> Accumulator for Hold<T> {
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) {
        let all = panel.before == 0 && panel.first == 0 && panel.n_reduced() == self.n_reduced;
        if !all || matches!(counts, Counts::Each(_)) {
            self.keep(panel);
            return;
        }
        self.done = true;
        if panel.along == Along::Columns && panel.n_rows <= MOST {
            self.sort_columns(panel);
            return;
        }
        let mut keys = Vec::with_capacity(self.n_reduced);
        for i in 0..panel.n_outputs() {
            keys.clear();
            match panel.along {
                Along::Columns => keys.extend((0..panel.n_rows).map(|r| panel.row::<T>(r)[i].key())),
                Along::Rows => keys.extend(panel.row::<T>(i).iter().map(|x| x.key())),
            }
            self.sort_one(panel.at + i, &mut keys);
        }
    }

    fn join(&mut self, later: Self, _: (&Counts, &Counts)) -> Result<()> {
        if later.done {
            *self = later;
            return Ok(());
        }
        if !self.mask.is_empty() || !later.mask.is_empty() {
            self.mask.resize(self.n_held * self.n_outputs, 1);
            let mask = if later.mask.is_empty() { vec![1; later.held.len()] } else { later.mask };
            self.mask.extend_from_slice(&mask);
        }
        self.held.extend_from_slice(&later.held);
        self.n_held += later.n_held;
        Ok(())
    }

    fn finish(mut self, counts: &Counts) -> Result<Values, Refusal> {
        if !self.done {
            self.sort_held();
        }
        match self.statistic {
            Statistic::Quantiles(_) => Ok(Values::Float(self.floats)),
            Statistic::Unique => Ok(Values::Int(self.floats.iter().map(|&n| n as i128).collect())),
            Statistic::Mode => modes(self.dtype, counts, self.modes.iter().copied()),
        }
    }

    fn fork(&self) -> Self {
        Self::new(self.statistic.clone(), self.dtype, self.n_reduced, self.n_outputs)
    }

    fn save(&self, out: &mut Vec<u8>) {
        put_flag(out, self.done);
        if self.done {
            put(out, &self.floats);
            put(out, &self.modes);
            return;
        }
        put(out, &[self.n_held as u64]);
        put(out, &self.held);
        put_flag(out, !self.mask.is_empty());
        put(out, &self.mask);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.done = take_flag(bytes)?;
        if self.done {
            take(bytes, &mut self.floats)?;
            return take(bytes, &mut self.modes);
        }
        let n_held: u64 = take_one(bytes)?;
        if n_held > self.n_reduced as u64 {
            return Err(senseless());
        }
        let n = n_held * self.n_outputs as u64;
        self.n_held = n_held as usize;
        self.held = take_many(bytes, n)?;
        self.mask = if take_flag(bytes)? { take_many(bytes, n)? } else { Vec::new() };
        Ok(())
    }
}
