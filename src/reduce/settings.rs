//! What is asked of a reduction.

use std::sync::Arc;

use crate::dtype::DType;
use crate::reduce::predicate::Predicate;

/// What is to be reduced, and how.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Operators as text: `max,mean,quantile=0.1:0.9`.
    pub operators: String,
    /// Numbers of the reduced axes; all if empty.
    pub axes: Vec<usize>,
    /// Degrees of freedom taken off the number of elements in variances.
    pub ddof: u64,
    /// Weights for the mean, one for each index of the first reduced axis.
    pub weights: Option<Arc<[f64]>>,
    /// Which elements count.
    pub predicate: Predicate,
    /// Whether elements that no file covers are left out.
    pub skip_absent: bool,
    /// The element that stands for a result of no element where integers have no NaN; it is refused if there is none.
    pub empty: Option<Vec<u8>>,
    /// Whether reduced axes stay, with length one.
    pub keep_axes: bool,
    /// Numbers of the reduced axes whose parts are reduced one by one, and which parts these are.
    pub groupings: Groupings,
    /// Type of the results; that of each operator if `None`.
    pub dtype: Option<DType>,
    /// What results of 64 bits become unless a type is asked for.
    pub narrow: Option<DType>,
}

/// Numbers of axes with the parts that are reduced one by one.
pub type Groupings = Vec<(usize, Grouping)>;

/// Parts of a reduced axis that are reduced one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Elements of a part.
    pub n: u64,
    /// Elements from the beginning of one part to that of the next.
    pub stride: u64,
    /// Whether a short last part is left out.
    pub trim: bool,
}

impl Grouping {
    /// Groups of `n` neighbours; a short last one is reduced as it is, or left out.
    pub fn every(n: u64, trim: bool) -> Self {
        Self { n, stride: n, trim }
    }

    /// Every run of `n` neighbours; the result is shorter than the axis by one less.
    pub fn window(n: u64) -> Self {
        Self { n, stride: 1, trim: true }
    }
}
