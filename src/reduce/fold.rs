//! The state of a reduction between blocks: what every operator's accumulators can do.

use std::any::Any;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::panel::Panel;

/// Accumulators of one operator for the outputs of one tile.
///
/// Folds see panels in row-major order of the reduced elements of a block, blocks and merged folds in plan
/// order.
pub(super) trait Fold: Send + Sync {
    /// Takes the elements of `panel` in. `counts` says how many each output had before, when elements are
    /// masked.
    fn fold(&mut self, panel: &Panel<'_>, counts: &Counts) -> Result<()>;

    /// Takes over what `later` has folded. Both are of one operator and one tile; `counts` are the numbers
    /// of elements that went into each.
    fn merge(&mut self, later: Box<dyn Fold>, counts: (&Counts, &Counts)) -> Result<()>;

    /// Ends a pass over the tile: gives the results, or asks for another pass.
    fn finish(&mut self, counts: &Counts) -> Result<Outcome>;

    /// An empty fold for the same pass, to be merged into this one.
    fn fork(&self) -> Box<dyn Fold>;

    /// For [`taken`].
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// What the end of a pass gives.
pub(super) enum Outcome {
    /// One value, or one of each entry of the operator's own axis (outermost), per output.
    Done(Values),
    /// The tile must be read once more.
    Again,
}

/// The fold behind the trait.
///
/// # Panics
/// If it is of another type: folds are merged within one operator.
pub(super) fn taken<F: Fold + 'static>(fold: Box<dyn Fold>) -> F {
    *fold.into_any().downcast::<F>().expect("folds that are merged come from one operator")
}

/// Implements the mechanical part of [`Fold`].
macro_rules! erased {
    () => {
        fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
            self
        }
    };
}
pub(super) use erased;

/// How many elements went into each output of a tile.
#[derive(Clone)]
pub(super) enum Counts {
    /// The same number for all.
    All(u64),
    /// A number for each.
    Each(Vec<u64>),
}

impl Counts {
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
            count(&mut each[panel.at..panel.at + panel.n_outputs()], panel);
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
}

fn count(counts: &mut [u64], panel: &Panel<'_>) {
    use crate::reduce::panel::Along;
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
    pub(super) fn raw<T: crate::dtype::Element>(dtype: DType, values: &[T]) -> Self {
        Self::Raw(dtype, bytemuck::cast_slice(values).to_vec())
    }
}

/// The message for an output that no element went into and that has no value then.
pub(super) fn nothing(at: usize, what: &str) -> Error {
    Error::usage(format!(
        "{at}: no element is left to take the {what} of, and integers have no NaN to say so: \
         choose other elements, or an operator that can say nothing (count, sum, mean)"
    ))
}
