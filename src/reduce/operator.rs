//! What an operator is: what it is told of its input, and what it says of itself.

use std::fmt;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::Fold;
use crate::reduce::lines::KernelLines;

/// What an operator is to reduce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// Type of the elements.
    pub(super) dtype: DType,
    /// Elements that go into each output, the masked ones too.
    pub(super) n_reduced: u64,
    /// Whether some elements may not count.
    pub(super) masked: bool,
    /// Whether each block brings all elements of its outputs.
    pub(super) whole: bool,
    /// Type asked for the results.
    pub(super) output: Option<DType>,
}

/// An axis that an operator adds to its results, as the slowest one: its name and coordinates.
pub(super) type OwnAxis = (&'static str, Vec<f64>);

/// Something that can be computed of the elements that go into an output.
pub(super) trait Operator: Send + Sync + fmt::Debug {
    /// Its argument, as short as it can be typed.
    fn argument(&self) -> Option<String> {
        None
    }

    /// Whether it is defined for complex numbers.
    fn takes_complex(&self) -> bool {
        false
    }

    /// Type of its results if nothing else is asked for: NumPy's.
    ///
    /// # Errors
    /// `Usage` if it is not defined for the input's type.
    fn dtype(&self, input: &Subject) -> Result<DType>;

    /// The axis it adds.
    ///
    /// # Errors
    /// `Usage` if the input has too few elements for it.
    fn own_axis(&self, _: &Subject) -> Result<Option<OwnAxis>> {
        Ok(None)
    }

    /// Memory of its accumulators per output, in bytes.
    fn state_bytes(&self, input: &Subject) -> u64;

    /// How often it reads the input, as far as this is known beforehand.
    fn n_passes(&self, _: &Subject) -> u32 {
        1
    }

    /// Whether it does better on blocks that bring all elements of their outputs.
    fn wants_whole(&self, _: &Subject) -> bool {
        false
    }

    /// Whether states may be joined in any order, to the same bits in the end.
    fn in_any_order(&self, _: &Subject) -> bool {
        false
    }

    /// How it goes about it, where there is a choice.
    fn strategy(&self, _: &Subject) -> Option<String> {
        None
    }

    /// What a device does for it, if it can.
    fn lines(&self, _: &Subject) -> Option<KernelLines> {
        None
    }

    /// Accumulators for `n` outputs of an input that [`Operator::dtype`] accepted.
    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold>;
}
