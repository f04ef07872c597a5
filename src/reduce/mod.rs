//! Reductions: operators that fold blocks into partial results, and the table of them.
//!
//! A [`Reducer`] knows the array, the reduced axes and the operators. Its result is cut into tiles; the state
//! of a tile is a [`Partial`], which folds the blocks that lie over the tile, merges with what others folded
//! of it, and ends as one block for each operator. All operators see each block while it is in cache.
//!
//! An operator is one file with an [`Operator`] that starts accumulators ([`fold::Fold`]) and one line in
//! [`OPERATORS`]. This module knows no files, no threads and no plans.

mod counting;
mod extrema;
mod fold;
mod histogram;
mod logic;
mod moments;
mod network;
mod number;
mod order;
mod panel;
mod partial;
mod predicate;
mod reducer;
mod reduction;
mod store;
mod sum;
#[cfg(test)]
mod tests;
mod topk;
mod wide;

use std::fmt;
use std::sync::Arc;

pub use partial::{Finished, Partial};
pub use predicate::Predicate;
pub use reducer::{Grouping, Output, Reducer, Settings};
pub use reduction::{Reduction, WriteBytes};

use crate::dtype::DType;
use crate::error::{Error, Result};
use fold::Fold;

/// An operator as the command line knows it.
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// What may stand behind its name: `=K`, `[=BINS:LOW:HIGH]`.
    pub argument: &'static str,
    /// What it gives, in a line.
    pub about: &'static str,
    parse: Parse,
}

/// Makes an operator from what stands behind its name.
type Parse = fn(Option<&str>, &Options) -> Result<Box<dyn Operator>>;

/// Every operator.
pub const OPERATORS: &[Kind] = &[
    sum::SUM,
    sum::MEAN,
    extrema::MIN,
    extrema::MAX,
    extrema::RANGE,
    extrema::ARGMIN,
    extrema::ARGMAX,
    moments::VAR,
    moments::STD,
    sum::RMS,
    order::MEDIAN,
    order::QUANTILE,
    order::MODE,
    order::UNIQUE,
    sum::COUNT,
    logic::ANY,
    logic::ALL,
    logic::PROD,
    topk::TOPK,
    histogram::HISTOGRAM,
];

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
struct Input {
    /// Type of the elements.
    dtype: DType,
    /// Elements that go into each output, the masked ones too.
    n_reduced: u64,
    /// Whether some elements may not count.
    masked: bool,
    /// Whether each block brings all elements of its outputs.
    whole: bool,
    /// Type asked for the results.
    output: Option<DType>,
}

/// An axis that an operator adds to its results, as the slowest one.
#[derive(Clone, Debug, PartialEq)]
struct OwnAxis {
    name: &'static str,
    coordinates: Vec<f64>,
}

/// Something that can be computed of the elements that go into an output.
trait Operator: Send + Sync + fmt::Debug {
    /// The operator as it would be typed.
    fn label(&self) -> String;

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

/// Operators from text: names with their arguments, joined by commas, as in `max,mean,quantile=0.1:0.9`.
/// Values within an argument are joined by colons.
///
/// # Errors
/// `Usage` if a name is unknown, an argument is wrong, or one operator is named twice.
fn parse_operators(text: &str, options: &Options) -> Result<Vec<Box<dyn Operator>>> {
    let mut operators: Vec<Box<dyn Operator>> = Vec::new();
    for part in text.split(',') {
        let part = part.trim();
        let (name, argument) = match part.split_once('=') {
            Some((name, argument)) => (name, Some(argument)),
            None => (part, None),
        };
        let Some(kind) = OPERATORS.iter().find(|k| k.name == name) else {
            let names: Vec<_> = OPERATORS.iter().map(|k| k.name).collect();
            let hint = if name.parse::<f64>().is_ok() {
                ": several values of one operator are joined by colons, as in quantile=0.1:0.9"
            } else {
                ""
            };
            return Err(Error::usage(format!("'{name}' is not an operator{hint}: there are {}", names.join(", "))));
        };
        let operator = (kind.parse)(argument, options)?;
        if operators.iter().any(|o| o.label() == operator.label()) {
            return Err(Error::usage(format!("operator '{}' is named twice", operator.label())));
        }
        operators.push(operator);
    }
    Ok(operators)
}

fn no_argument(name: &str, argument: Option<&str>, operator: impl Operator + 'static) -> Result<Box<dyn Operator>> {
    match argument {
        None => Ok(Box::new(operator)),
        Some(a) => Err(Error::usage(format!("operator '{name}' takes no argument, but was given '{a}'"))),
    }
}

fn no_complex(operator: &str) -> Error {
    Error::usage(format!("{operator} is not defined for complex numbers: sum, mean and count are"))
}

/// Stands where an operator has refused the type before.
fn refused() -> ! {
    unreachable!("operators refuse types before they start")
}
