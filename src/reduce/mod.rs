//! Reductions: operators that fold blocks into partial results, and the table of them.
//!
//! A [`Reducer`] knows the array, the reduced axes and the operators. Its result is cut into tiles; the state of a tile
//! is a [`Partial`], which folds the blocks that lie over the tile, merges with what others folded of it, can be saved
//! as bytes at any time, and ends as one block for each operator. All operators see each block while it is in cache.
//!
//! An operator is one file with an [`operator::Operator`] that starts accumulators ([`fold::Fold`]), most often
//! by giving what it does with one element ([`tally::tally`]), and one line in [`OPERATORS`]. This module knows
//! no files, no threads and no plans.

mod counting;
mod exact;
mod extrema;
mod fold;
mod histogram;
mod hold;
mod kernel;
mod lines;
mod logic;
mod moments;
mod number;
mod operator;
mod order;
mod panel;
mod partial;
mod predicate;
mod projection;
mod ranks;
mod reducer;
mod reduction;
mod saved;
mod settings;
mod store;
mod sum;
mod table;
mod tally;
mod topk;
mod wide;

pub use partial::{Outcome, Partial};
pub use predicate::Predicate;
pub use projection::Projection;
pub use reducer::{OperatorOutput, Reducer};
pub use reduction::{Reduction, WriteBytes};
pub use settings::{Grouping, Groupings, Settings};
pub use table::{OPERATORS, OperatorKind, check_operators, meant, stays_within};
