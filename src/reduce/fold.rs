//! The state of a reduction between blocks: what every operator's accumulators can do.

use crate::block::Buffer;
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::reduce::number::{Real, nan};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::saved::Tape;

/// Accumulators of one operator for the outputs of one tile.
///
/// They see panels in row-major order of the reduced elements of a block, blocks and later accumulators in plan order.
pub(super) trait Fold: Send + Sync {
    /// Takes the elements of `panel` in. `counts` says how many each output had before, when elements are masked.
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts);

    /// Takes over what later accumulators, which were started alike, have folded of the same tile and passed to `later`;
    /// `counts` are the numbers of elements that went into each.
    fn join(&mut self, later: &mut Tape<'_>, counts: (&Counts, &Counts)) -> Result<()>;

    /// Ends a pass over the tile, and forgets what only that pass needed: says whether the tile must be read once more.
    fn again(&mut self, _: &Counts) -> bool {
        false
    }

    /// The results: one value, or one of each entry of the operator's own axis (outermost), per output.
    fn finish(self: Box<Self>, counts: &Counts) -> Result<Results, Refusal>;

    /// Passes the state, which is gone when it is written; what is read was written by accumulators that were started
    /// alike.
    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()>;
}

/// How many elements went into each output of a tile.
#[derive(Clone)]
pub(super) enum Counts {
    /// The same for all.
    All(u64),
    /// One for each, and what stands for a result of no element where integers have no NaN, if anything does.
    Each(Vec<u64>, Option<Vec<u8>>),
}

impl Counts {
    /// None for any of `n` outputs; `masked`: some elements may not count. `empty` stands for a result of no element.
    pub(super) fn new(masked: bool, n: usize, empty: Option<&[u8]>) -> Self {
        if masked { Self::Each(vec![0; n], empty.map(<[u8]>::to_vec)) } else { Self::All(0) }
    }

    /// Number of elements in output `i`.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> u64 {
        match self {
            Self::All(n) => *n,
            Self::Each(each, _) => each[i],
        }
    }

    /// What stands for the result of output `i`, which has no `what`: what `of` makes of the element that does.
    pub(super) fn nothing<V>(&self, i: usize, what: &str, of: impl FnOnce(&[u8]) -> V) -> Result<V, Refusal> {
        match self {
            Self::Each(each, Some(empty)) if each[i] == 0 => Ok(of(empty)),
            _ => Err(Refusal::nothing(i, what)),
        }
    }

    /// Adds those of another fold.
    pub(super) fn merge(&mut self, other: &Self) {
        self.numbers().iter_mut().enumerate().for_each(|(i, n)| *n += other.of(i));
    }

    /// The number for all, or that of each.
    pub(super) fn numbers(&mut self) -> &mut [u64] {
        match self {
            Self::All(n) => std::slice::from_mut(n),
            Self::Each(each, _) => each,
        }
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
pub(super) enum Results {
    Int(Vec<i128>),
    Float(Vec<f64>),
    /// Real and imaginary parts.
    Complex(Vec<[f64; 2]>),
    /// Elements of a type, native byte order.
    Raw(DType, Buffer),
}

impl Results {
    /// Elements of the input's type.
    pub(super) fn raw<T: Element>(dtype: DType, values: Vec<T>) -> Self {
        Self::Raw(dtype, Buffer::of(values))
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

    /// `values` of `n` outputs, first those of all that take one element, then those of all that take a second: NaN where
    /// fewer elements went into one, or there is no `what`.
    pub(super) fn unless_few<T: Real>(
        mut values: Vec<T>,
        n: usize,
        counts: &Counts,
        what: &str,
    ) -> Result<Vec<T>, Self> {
        for (rank, values) in values.chunks_mut(n.max(1)).enumerate() {
            if matches!(counts, Counts::All(all) if *all > rank as u64) {
                continue;
            }
            for (i, value) in values.iter_mut().enumerate().filter(|(i, _)| counts.of(*i) <= rank as u64) {
                *value = match nan::<T>() {
                    Some(nan) => nan,
                    None => counts.nothing(i, what, bytemuck::pod_read_unaligned)?,
                };
            }
        }
        Ok(values)
    }

    /// No element went into value number `at`, which has no `what` then.
    fn nothing(at: usize, what: &str) -> Self {
        // Places are whole numbers whatever the elements are.
        let floats = if what.starts_with("place") { "" } else { "make floats of them with --calc 'float64(a)', " };
        Self::usage(
            at,
            format_args!(
                "no element is left to take the {what} of, and integers have no NaN to say so: \
                 {floats}choose other elements, or an operator that can say nothing (count, sum, mean)"
            ),
        )
    }
}
