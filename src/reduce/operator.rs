//! What an operator is: its name and argument, what it is told, and what it says of itself.

use std::fmt;
use std::sync::Arc;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::Fold;

/// An operator as the command line knows it.
pub struct OperatorKind {
    /// What it is called.
    pub name: &'static str,
    /// What may stand behind its name: `=K`, `[=BINS:LOW:HIGH]`.
    pub argument: &'static str,
    /// What it gives, in a line.
    pub about: &'static str,
    pub(super) make: Make,
}

impl OperatorKind {
    /// An operator that takes no argument.
    pub(super) const fn plain(
        name: &'static str,
        about: &'static str,
        make: fn(&Options) -> Box<dyn Operator>,
    ) -> Self {
        Self { name, argument: "", about, make: Make::Plain(make) }
    }
}

/// Makes an operator.
pub(super) enum Make {
    /// It takes no argument.
    Plain(fn(&Options) -> Box<dyn Operator>),
    /// From what stands behind its name, if anything does.
    Parsed(fn(Option<&str>) -> Result<Box<dyn Operator>>),
}

/// What operators are told besides their argument.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Degrees of freedom taken off the number of elements in variances.
    pub ddof: u64,
    /// Weights for the mean.
    pub weights: Option<Weights>,
}

/// A weight for each index of one reduced axis.
#[derive(Clone, Debug)]
pub struct Weights {
    /// Which of the reduced axes, counted among them.
    pub axis: usize,
    /// As many as the axis is long.
    pub values: Arc<[f64]>,
}

/// What an operator is to reduce.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
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

/// An axis that an operator adds to its results, as the slowest one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OwnAxis {
    pub(super) name: &'static str,
    pub(super) coordinates: Vec<f64>,
}

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
    fn dtype(&self, input: &Input) -> Result<DType>;

    /// The axis it adds.
    ///
    /// # Errors
    /// `Usage` if the input has too few elements for it.
    fn own_axis(&self, _: &Input) -> Result<Option<OwnAxis>> {
        Ok(None)
    }

    /// Memory of its accumulators per output, in bytes.
    fn state_bytes(&self, input: &Input) -> u64;

    /// How often it reads the input, as far as this is known beforehand.
    fn n_passes(&self, _: &Input) -> u32 {
        1
    }

    /// Whether it does better on blocks that bring all elements of their outputs.
    fn wants_whole(&self, _: &Input) -> bool {
        false
    }

    /// How it goes about it, where there is a choice.
    fn strategy(&self, _: &Input) -> Option<String> {
        None
    }

    /// Accumulators for `n` outputs of an input that [`Operator::dtype`] accepted.
    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold>;
}
