//! The table of functions that are neither element-wise nor operators of `reduce`.

use super::call::Function;
use crate::reduce::OPERATORS;

mod filters;
mod shapes;

/// Tables of functions.
const TABLES: [&[Function]; 2] = [shapes::FUNCTIONS, filters::FUNCTIONS];

/// The function called `name`.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().flat_map(|table| table.iter()).find(|f| f.name == name)
}

/// Every function and what it gives, in a line.
pub fn abouts() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLES.iter().flat_map(|table| table.iter()).map(|f| (f.name, f.about))
}

/// Names of everything that can be called.
pub fn names() -> Vec<String> {
    let own = TABLES.iter().flat_map(|table| table.iter()).map(|f| f.name);
    let operations = crate::array::calc::names().filter(|name| name.starts_with(char::is_alphabetic));
    own.chain(operations).chain(OPERATORS.iter().map(|o| o.name)).map(str::to_owned).collect()
}
