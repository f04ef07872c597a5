//! The table of functions that are neither element-wise nor operators of `reduce`.

use super::call::Function;
use super::syntax::{Argument, Expression, NodeKind};
use crate::reduce::OPERATORS;

mod filters;
mod shapes;

/// Tables of functions.
const TABLES: [&[Function]; 2] = [shapes::FUNCTIONS, filters::FUNCTIONS];

/// The function called `name`.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().flat_map(|table| table.iter()).find(|f| f.name == name)
}

/// Whether elements of an expression are those of its inputs, or lie between them.
pub fn stays_within(expression: &Expression) -> bool {
    fn is_number(expression: &Expression) -> bool {
        match &expression.kind {
            NodeKind::Integer(_) | NodeKind::Float(_) => true,
            NodeKind::Unary(_, inner) => is_number(inner),
            _ => false,
        }
    }
    let is_kept = |argument: &Argument| match argument {
        // A way to bin.
        Argument::Placed(Expression { kind: NodeKind::Name(word), .. }) if word == "sum" => false,
        Argument::Placed(expression) => is_number(expression) || stays_within(expression),
        Argument::Named(..) => true,
    };
    match &expression.kind {
        NodeKind::Name(_) => true,
        NodeKind::Unary("+", inner) | NodeKind::Select(inner, _) => stays_within(inner),
        NodeKind::Call(name, arguments) => {
            (find(name).is_some_and(|f| f.is_within) || crate::reduce::stays_within(name))
                && arguments.iter().all(is_kept)
        }
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_within_where_nothing_is_added_up() {
        let is_within = |text: &str| stays_within(&super::super::syntax::parse(text).unwrap());
        for text in
            ["a", "a[c=1]", "max(a, z)", "rank(median(a, 3), -2, y=3)", "bin(a, y=2, mean)", "quantile(a, 0.5, t)"]
        {
            assert!(is_within(text), "{text}");
        }
        for text in ["a * 2", "-a", "sum(a, z)", "max(a + 1, z)", "std(a)", "bin(a, y=2, sum)", "sobel(a, x)", "a > 3"]
        {
            assert!(!is_within(text), "{text}");
        }
    }
}
