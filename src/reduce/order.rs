//! Order statistics: median, quantile, mode, unique. Exact for every element type.
//!
//! Columns of up to [`HOLD`] elements are held, as the block that brings them or piece by piece, and sorted.
//! Longer ones are counted: the digits of their keys go into bins, most significant first, one pass over the
//! input for each digit ([`counting`](super::counting)).

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::counting::{Digits, Distinct};
use crate::reduce::fold::{Counts, Fold, Outcome, Values, erased, nothing, taken};
use crate::reduce::network::{MOST, Network, WIDTH};
use crate::reduce::number::{Key, Real, with_real};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::{Input, Kind, Operator, OwnAxis, no_argument};

/// Longest column, in elements, that is held in memory to be sorted.
pub(super) const HOLD: u64 = 1024;

/// Reduced elements from which on digits of 16 bits cost no more memory than the elements.
const LONG: u64 = 1 << 18;

/// Middle element.
pub(super) const MEDIAN: Kind = Kind {
    name: "median",
    argument: "",
    about: "middle element, or the mean of the two middle ones",
    parse: |argument, _| no_argument("median", argument, Order { what: What::Quantiles(vec![0.5]), median: true }),
};

/// Quantiles.
pub(super) const QUANTILE: Kind = Kind {
    name: "quantile",
    argument: "=Q[:Q...]",
    about: "quantiles, interpolated linearly; several make an axis",
    parse: |argument, _| {
        let text = argument.ok_or_else(|| Error::usage("quantile: say which, as in quantile=0.1:0.9"))?;
        let quantiles = text.split(':').map(parse_quantile).collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Order { what: What::Quantiles(quantiles), median: false }))
    },
};

/// Most frequent element.
pub(super) const MODE: Kind = Kind {
    name: "mode",
    argument: "",
    about: "most frequent element, the least of several",
    parse: |argument, _| no_argument("mode", argument, Order { what: What::Mode, median: false }),
};

/// Number of distinct elements.
pub(super) const UNIQUE: Kind = Kind {
    name: "unique",
    argument: "",
    about: "number of distinct elements; all NaN are one",
    parse: |argument, _| no_argument("unique", argument, Order { what: What::Unique, median: false }),
};

fn parse_quantile(text: &str) -> Result<f64> {
    let q = text.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q));
    q.ok_or_else(|| Error::usage(format!("quantile={text}: a quantile is a number from 0 to 1, as in quantile=0.9")))
}

/// Which statistic of the ordered elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Quantiles(Vec<f64>),
    Mode,
    Unique,
}

#[derive(Clone, Debug)]
struct Order {
    what: What,
    median: bool,
}

impl Order {
    fn holds(&self, input: &Input) -> bool {
        let bins = match self.what {
            What::Quantiles(_) => HOLD,
            // Bins for every value cost 512 KiB per output; below that the elements themselves cost less.
            What::Mode | What::Unique => (512 << 10) / input.dtype.size() as u64,
        };
        let bins = if input.dtype.size() == 1 { 256 } else { bins };
        input.n_reduced <= bins
    }

    fn digit_bits(&self, input: &Input) -> u32 {
        let bits = input.dtype.size() as u32 * 8;
        match self.what {
            What::Quantiles(_) if input.n_reduced < LONG => 8,
            _ => bits.min(16),
        }
    }
}

impl Operator for Order {
    fn label(&self) -> String {
        match &self.what {
            _ if self.median => "median".to_owned(),
            What::Quantiles(q) => format!("quantile={}", q.iter().map(f64::to_string).collect::<Vec<_>>().join(":")),
            What::Mode => "mode".to_owned(),
            What::Unique => "unique".to_owned(),
        }
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        match self.what {
            _ if input.dtype.is_complex() => Err(super::no_complex(&self.label())),
            What::Unique => Ok(DType::Int64),
            What::Mode => Ok(input.dtype),
            What::Quantiles(_) if input.dtype.is_float() => Ok(input.dtype),
            What::Quantiles(_) => Ok(DType::Float64),
        }
    }

    fn own_axis(&self, _: &Input) -> Result<Option<OwnAxis>> {
        Ok(match &self.what {
            What::Quantiles(q) if q.len() > 1 => Some(OwnAxis { name: "quantile", coordinates: q.clone() }),
            _ => None,
        })
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        let size = input.dtype.size() as u64;
        let mask = u64::from(input.masked);
        if self.holds(input) {
            let results = match &self.what {
                What::Quantiles(q) => 8 * q.len() as u64,
                _ => 8,
            };
            return if input.whole && !input.masked { results } else { results + input.n_reduced * (size + mask) };
        }
        let bins = 8u64 << self.digit_bits(input);
        match &self.what {
            What::Quantiles(q) => 2 * q.len() as u64 * (bins + 32),
            _ if size <= 2 => bins,
            _ => 64 << 20,
        }
    }

    fn n_passes(&self, input: &Input) -> u32 {
        match self.what {
            _ if self.holds(input) => 1,
            What::Quantiles(_) => (input.dtype.size() as u32 * 8).div_ceil(self.digit_bits(input)),
            _ => 1,
        }
    }

    fn wants_whole(&self, input: &Input) -> bool {
        self.holds(input)
    }

    fn strategy(&self, input: &Input) -> Option<String> {
        if self.holds(input) {
            return Some(format!("holds the {} elements of each output", input.n_reduced));
        }
        Some(match (&self.what, self.n_passes(input)) {
            (What::Quantiles(_), 1) => "counts values in one pass".to_owned(),
            (What::Quantiles(_), n) => {
                format!("counts digits of {} bits in {n} passes over the input", self.digit_bits(input))
            }
            _ if input.dtype.size() <= 2 => "counts values in one pass".to_owned(),
            _ => "counts distinct values, in as many passes as they need memory for".to_owned(),
        })
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        let dtype = input.dtype;
        with_real!(dtype, T => {
            if self.holds(input) {
                Box::new(Hold::<T>::new(self.what.clone(), dtype, input.n_reduced as usize, n))
            } else if dtype.size() > 2 && !matches!(self.what, What::Quantiles(_)) {
                Box::new(Distinct::<T>::new(self.what == What::Mode, dtype, n))
            } else {
                Box::new(Digits::<T>::new(self.what.clone(), dtype, self.digit_bits(input), n))
            }
        }, else super::refused())
    }
}

/// Ranks on either side of quantile `q` of `n` elements, and the share of the upper one.
///
/// Source: method 7 of Hyndman and Fan, Sample quantiles in statistical packages, 1996: NumPy's `linear`.
pub(super) fn ranks(q: f64, n: u64) -> (u64, u64, f64) {
    let last = n.saturating_sub(1);
    let position = q * last as f64;
    let low = (position.floor() as u64).min(last);
    (low, (low + 1).min(last), position - low as f64)
}

/// The value between two neighbours, as NumPy interpolates it; between a number and an infinity lies that
/// infinity, where NumPy's differences make NaN.
pub(super) fn between(a: f64, b: f64, share: f64) -> f64 {
    if a == b || share == 0.0 {
        return a;
    }
    if !a.is_finite() || !b.is_finite() {
        return a + b;
    }
    if share == 0.5 {
        let sum = a + b;
        return if sum.is_finite() { sum / 2.0 } else { a / 2.0 + b / 2.0 };
    }
    if share < 0.5 { a + (b - a) * share } else { b - (b - a) * (1.0 - share) }
}

/// Most frequent of sorted keys, the least of several, and how many distinct ones there are.
fn runs<K: Key>(sorted: impl Iterator<Item = K>) -> (K, u64) {
    let (mut best, mut best_n, mut distinct) = (K::MIN, 0u64, 0u64);
    let mut current: Option<(K, u64)> = None;
    for k in sorted {
        let n = match current {
            Some((key, n)) if key == k => n + 1,
            _ => {
                distinct += 1;
                1
            }
        };
        current = Some((k, n));
        if n > best_n {
            (best, best_n) = (k, n);
        }
    }
    (best, distinct)
}

/// Zeros of either sign are one value.
#[inline(always)]
pub(super) fn one_zero<T: Real>(key: T::Key) -> T::Key {
    let x = T::from_key(key);
    if x == T::default() { T::default().key() } else { key }
}

/// Holds all elements of each output, and sorts them.
struct Hold<T: Real> {
    what: What,
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
    fn new(what: What, dtype: DType, n_reduced: usize, n_outputs: usize) -> Self {
        Self {
            what,
            dtype,
            n_reduced,
            n_outputs,
            held: Vec::new(),
            mask: Vec::new(),
            n_held: 0,
            network: None,
            keys: Vec::new(),
            floats: Vec::new(),
            modes: Vec::new(),
            done: false,
        }
    }

    fn prepare(&mut self) {
        let n = match &self.what {
            What::Quantiles(q) => q.len() * self.n_outputs,
            _ => self.n_outputs,
        };
        if self.floats.is_empty() {
            self.floats = vec![0.0; n];
            if self.what == What::Mode {
                self.modes = vec![T::default(); n];
            }
        }
    }

    /// Sorts columns that lie in the panel from top to bottom.
    fn sort_columns(&mut self, panel: &Panel<'_>) -> Result<()> {
        let n = panel.n_rows;
        let wanted: Vec<usize> = match &self.what {
            What::Quantiles(q) => {
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
            match &self.what {
                What::Quantiles(quantiles) => {
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
                        let (mode, distinct) = runs((0..n).map(|r| one_zero::<T>(keys[r * WIDTH + i])));
                        self.note(at + i, mode, distinct, nans[i] != 0);
                    }
                }
            }
        }
        self.keys = keys;
        self.network = Some(network);
        Ok(())
    }

    fn note(&mut self, i: usize, mode: T::Key, distinct: u64, nan: bool) {
        if self.what == What::Mode {
            self.modes[i] = T::from_key(if nan { T::Key::MAX } else { mode });
        } else {
            self.floats[i] = distinct as f64;
        }
    }

    /// Sorts one column, given as its keys.
    fn sort_one(&mut self, i: usize, keys: &mut [T::Key]) -> Result<()> {
        let n = keys.len() as u64;
        let nan = T::FLOAT && keys.contains(&T::Key::MAX);
        match &self.what {
            What::Quantiles(quantiles) => {
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
            what => {
                if n == 0 && *what == What::Mode && !T::FLOAT {
                    return Err(nothing(i, "mode"));
                }
                keys.iter_mut().for_each(|k| *k = one_zero::<T>(*k));
                keys.sort_unstable();
                let (mode, distinct) = runs(keys.iter().copied());
                self.note(i, mode, distinct, nan || n == 0);
            }
        }
        Ok(())
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

impl<T: Real> Fold for Hold<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) -> Result<()> {
        self.prepare();
        let all = panel.before == 0 && panel.first == 0 && panel.n_reduced() == self.n_reduced;
        if !all || matches!(counts, Counts::Each(_)) {
            self.keep(panel);
            return Ok(());
        }
        self.done = true;
        if panel.along == Along::Columns && panel.n_rows <= MOST {
            return self.sort_columns(panel);
        }
        let mut keys = Vec::with_capacity(self.n_reduced);
        for i in 0..panel.n_outputs() {
            keys.clear();
            match panel.along {
                Along::Columns => keys.extend((0..panel.n_rows).map(|r| panel.row::<T>(r)[i].key())),
                Along::Rows => keys.extend(panel.row::<T>(i).iter().map(|x| x.key())),
            }
            self.sort_one(panel.at + i, &mut keys)?;
        }
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later);
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

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        self.prepare();
        if !self.done {
            // A panel of what is held sorts as one that came whole.
            let (held, mask) = (std::mem::take(&mut self.held), std::mem::take(&mut self.mask));
            let n = self.n_outputs;
            if mask.is_empty() && self.n_held <= MOST && self.n_held > 0 {
                let shape = [self.n_held as u64, n as u64];
                let whole = crate::grid::Region::whole(&shape);
                let reduced = [true, false];
                let index = crate::reduce::panel::Index::new(&shape, &whole, &reduced);
                let panel = Panel::of_columns(bytemuck::cast_slice(&held), self.dtype, self.n_held, n, &index);
                self.sort_columns(&panel)?;
            } else {
                let mut keys = Vec::with_capacity(self.n_held);
                for i in 0..n {
                    keys.clear();
                    let present = |r: &usize| mask.is_empty() || mask[r * n + i] != 0;
                    keys.extend((0..self.n_held).filter(present).map(|r| held[r * n + i].key()));
                    self.sort_one(i, &mut keys)?;
                }
            }
        }
        Ok(Outcome::Done(match self.what {
            What::Quantiles(_) => Values::Float(std::mem::take(&mut self.floats)),
            What::Unique => Values::Int(self.floats.iter().map(|&n| n as i128).collect()),
            What::Mode => Values::raw(self.dtype, &self.modes),
        }))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.what.clone(), self.dtype, self.n_reduced, self.n_outputs))
    }
}
