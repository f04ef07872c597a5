//! The state of a reduction between blocks: what every operator's accumulators can do.

use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::saved::{put, take, take_one};

/// Accumulators of one operator for the outputs of one tile.
///
/// They see panels in row-major order of the reduced elements of a block, blocks and later accumulators in
/// plan order.
pub(super) trait Accumulator: Send + Sync + Sized + 'static {
    /// Takes the elements of `panel` in. `counts` says how many each output had before, when elements are
    /// masked.
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts);

    /// Takes over what `later` has folded of the same tile; `counts` are the numbers of elements that went
    /// into each.
    fn join(&mut self, later: Self, counts: (&Counts, &Counts)) -> Result<()>;

    /// Ends a pass over the tile: says whether the tile must be read once more.
    fn again(&mut self, _: &Counts) -> bool {
        false
    }

    /// The results: one value, or one of each entry of the operator's own axis (outermost), per output.
    fn finish(self, counts: &Counts) -> Result<Values, Refusal>;

    /// Empty accumulators for the same pass, to be joined to these.
    fn fork(&self) -> Self;

    /// Appends the state to `out`.
    fn save(&self, out: &mut Vec<u8>);

    /// Takes a state that accumulators started alike have saved off `bytes`.
    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()>;
}

/// An [`Accumulator`] of any operator and element type, whose methods these are; it joins what another one saves.
pub(super) trait Fold: Send + Sync {
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts);
    fn merge(&mut self, later: Box<dyn Fold>, counts: (&Counts, &Counts)) -> Result<()>;
    fn again(&mut self, counts: &Counts) -> bool;
    fn finish(self: Box<Self>, counts: &Counts) -> Result<Values, Refusal>;
    fn fork(&self) -> Box<dyn Fold>;
    fn save(&self, out: &mut Vec<u8>);
    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()>;
}

impl<A: Accumulator> Fold for A {
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) {
        Accumulator::fold(self, panel, counts);
    }

    fn merge(&mut self, later: Box<dyn Fold>, counts: (&Counts, &Counts)) -> Result<()> {
        let mut bytes = Vec::new();
        later.save(&mut bytes);
        // Its memory may hold the copy.
        drop(later);
        let mut copy = Accumulator::fork(self);
        Accumulator::restore(&mut copy, &mut &bytes[..])?;
        self.join(copy, counts)
    }

    fn again(&mut self, counts: &Counts) -> bool {
        Accumulator::again(self, counts)
    }

    fn finish(self: Box<Self>, counts: &Counts) -> Result<Values, Refusal> {
        Accumulator::finish(*self, counts)
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Accumulator::fork(self))
    }

    fn save(&self, out: &mut Vec<u8>) {
        Accumulator::save(self, out);
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        Accumulator::restore(self, bytes)
    }
}

/// How many elements went into each output of a tile.
#[derive(Clone)]
pub(super) enum Counts {
    /// The same number for all.
    All(u64),
    /// A number for each.
    Each(Vec<u64>),
}

impl Counts {
    /// None for any of `n` outputs; `masked`: some elements may not count.
    pub(super) fn new(masked: bool, n: usize) -> Self {
        if masked { Self::Each(vec![0; n]) } else { Self::All(0) }
    }

    /// Number of elements in output `i`.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> u64 {
        match self {
            Self::All(n) => *n,
            Self::Each(each) => each[i],
        }
    }

    /// Adds the elements that `panel` lets through.
    pub(super) fn take(&mut self, panel: &Panel<'_>) {
        if let Self::Each(each) = self {
            count(&mut each[panel.outputs()], panel);
        }
    }

    /// Adds those of another fold.
    pub(super) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::All(a), Self::All(b)) => *a += b,
            (Self::Each(a), other) => a.iter_mut().enumerate().for_each(|(i, a)| *a += other.of(i)),
            (Self::All(_), Self::Each(_)) => unreachable!("whether elements are masked is settled beforehand"),
        }
    }

    /// Appends them to `out`.
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        match self {
            Self::All(n) => put(out, &[*n]),
            Self::Each(each) => put(out, each),
        }
    }

    /// Takes those of as many outputs off `bytes`.
    pub(super) fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        match self {
            Self::All(n) => *n = take_one(bytes)?,
            Self::Each(each) => take(bytes, each)?,
        }
        Ok(())
    }
}

/// Adds the elements of `panel` that count to the `counts` of its outputs.
pub(super) fn count(counts: &mut [u64], panel: &Panel<'_>) {
    if !panel.is_masked() {
        counts.iter_mut().for_each(|n| *n += panel.n_reduced() as u64);
        return;
    }
    for row in 0..panel.n_rows {
        let Some(mask) = panel.mask_row(row) else { continue };
        match panel.along {
            Along::Columns => counts.iter_mut().zip(mask).for_each(|(n, &m)| *n += u64::from(m)),
            Along::Rows => counts[row] += mask.iter().map(|&m| u64::from(m)).sum::<u64>(),
        }
    }
}

/// Results before they take the output's element type.
#[derive(Debug)]
pub(super) enum Values {
    /// Exact integers.
    Int(Vec<i128>),
    /// Floats.
    Float(Vec<f64>),
    /// Real and imaginary parts.
    Complex(Vec<[f64; 2]>),
    /// Elements of a type, native byte order.
    Raw(DType, Vec<u8>),
}

impl Values {
    /// Elements of the input's type.
    pub(super) fn raw<T: Element>(dtype: DType, values: &[T]) -> Self {
        Self::Raw(dtype, bytemuck::cast_slice(values).to_vec())
    }
}

/// Why an output has no result.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Number of the value.
    pub(super) at: usize,
    pub(super) error: Error,
}

impl Refusal {
    /// Value number `at` is refused for a reason that the request can change.
    pub(super) fn usage(at: usize, text: impl std::fmt::Display) -> Self {
        Self { at, error: Error::usage(text) }
    }

    /// No element went into value number `at`, which has no `what` then.
    pub(super) fn nothing(at: usize, what: &str) -> Self {
        Self::usage(
            at,
            format_args!(
                "no element is left to take the {what} of, and integers have no NaN to say so: \
                 choose other elements, or an operator that can say nothing (count, sum, mean)"
            ),
        )
    }
}
