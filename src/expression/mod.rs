//! Expressions: from text such as `a - mean(a, t)` to one lazy array made of others.
//!
//! [`syntax`] reads the text; [`build`](build()) turns its tree into arrays that read each other, region by region, and
//! says which reductions must be computed first. Functions are listed in one table; operators of
//! [`reduce`](crate::reduce) are functions as well. Nothing is read here.

mod build;
mod builder;
mod call;
mod folded;
mod functions;
mod reductions;
pub mod syntax;

pub use build::{Built, Output, build};
pub use builder::{Carry, Known, NamedArrays, TreePart, Wanted};
pub use functions::{abouts, names, stays_within};
pub use reductions::together;
