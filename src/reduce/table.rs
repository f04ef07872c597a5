//! The table of operators, and operators from text.

use crate::error::{Error, Result};
use crate::reduce::operator::{Make, Operator, OperatorKind, Options};
use crate::reduce::{extrema, histogram, logic, moments, order, sum, topk};

/// Every operator.
pub const OPERATORS: &[OperatorKind] = &[
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

/// An operator with its name and argument as they would be typed.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) label: String,
    pub(super) operator: Box<dyn Operator>,
}

/// Operators from text: names with their arguments, joined by commas, as in `max,mean,quantile=0.1:0.9`.
/// Values within an argument are joined by colons.
///
/// # Errors
/// `Usage` if a name is unknown, an argument is wrong, or one operator is named twice.
pub(super) fn parse_operators(text: &str, options: &Options) -> Result<Vec<Labelled>> {
    let mut operators: Vec<Labelled> = Vec::new();
    for part in text.split(',') {
        let operator = parse_operator(part.trim(), options)?;
        if operators.iter().any(|o| o.label == operator.label) {
            return Err(Error::usage(format!("operator '{}' is named twice", operator.label)));
        }
        operators.push(operator);
    }
    Ok(operators)
}

fn parse_operator(text: &str, options: &Options) -> Result<Labelled> {
    let (name, argument) = match text.split_once('=') {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
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
    let operator = match (&kind.make, argument) {
        (Make::Plain(make), None) => make(options),
        (Make::Plain(_), Some(a)) => {
            return Err(Error::usage(format!("operator '{name}' takes no argument, but was given '{a}'")));
        }
        (Make::Parsed(make), argument) => make(argument)?,
    };
    let label = operator.argument().map_or_else(|| name.to_owned(), |a| format!("{name}={a}"));
    Ok(Labelled { label, operator })
}
