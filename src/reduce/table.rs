//! The table of operators, and operators from text.

use crate::error::{Error, Result, nearest};
use crate::reduce::extrema::Extrema;
use crate::reduce::histogram::Histogram;
use crate::reduce::logic::{Multiplied, Truth};
use crate::reduce::moments::Moments;
use crate::reduce::operator::Operator;
use crate::reduce::order::Ordered;
use crate::reduce::settings::Settings;
use crate::reduce::sum::Sums;
use crate::reduce::topk::TopK;

/// An operator as the command line knows it.
pub struct OperatorKind {
    /// What it is called.
    pub name: &'static str,
    /// What may stand behind its name: `=K`, `[=BINS:LOW:HIGH]`.
    pub argument: &'static str,
    /// What it gives, in a line.
    pub about: &'static str,
    make: Make,
    /// Whether what it gives are elements, or lie between them.
    is_within: bool,
}

/// Makes an operator of what stands behind its name, if anything does.
type Make = fn(Option<&str>, &Settings) -> Result<Box<dyn Operator>>;

const fn kind(name: &'static str, argument: &'static str, about: &'static str, make: Make) -> OperatorKind {
    OperatorKind { name, argument, about, make, is_within: false }
}

/// A line of the table whose results are elements, or lie between them.
const fn kept_within(kind: OperatorKind) -> OperatorKind {
    OperatorKind { is_within: true, ..kind }
}

/// Every operator.
pub const OPERATORS: &[OperatorKind] = &[
    kind("sum", "", "sum; exact for integers, an error if it does not fit", |_, _| Ok(Box::new(Sums::Sum))),
    kept_within(kind("mean", "", "mean; of integers, the exact one rounded once to float64", |_, settings| {
        Ok(Box::new(settings.weights.clone().map_or(Sums::Mean, Sums::WeightedMean)))
    })),
    kept_within(kind("min", "", "least element", |_, _| Ok(Box::new(Extrema::Min)))),
    kept_within(kind("max", "", "greatest element", |_, _| Ok(Box::new(Extrema::Max)))),
    kind("range", "", "greatest minus least element", |_, _| Ok(Box::new(Extrema::Range))),
    kind(
        "argmin",
        "",
        "index of the first least element (row-major over several axes; in the whole axis, also with --every)",
        |_, _| Ok(Box::new(Extrema::ArgMin)),
    ),
    kind(
        "argmax",
        "",
        "index of the first greatest element (row-major over several axes; in the whole axis, also with --every)",
        |_, _| Ok(Box::new(Extrema::ArgMax)),
    ),
    kind("var", "", "variance, over n minus --ddof", |_, settings| {
        Ok(Box::new(Moments { root: false, ddof: settings.ddof }))
    }),
    kind("std", "", "standard deviation: root of the variance", |_, settings| {
        Ok(Box::new(Moments { root: true, ddof: settings.ddof }))
    }),
    kind("rms", "", "root of the mean square", |_, _| Ok(Box::new(Sums::Rms))),
    kept_within(kind("median", "", "middle element, or the mean of the two middle ones", |_, _| {
        Ok(Box::new(Ordered::median()))
    })),
    kept_within(kind(
        "quantile",
        "=Q[:Q...]",
        "quantiles, interpolated linearly; several make an axis",
        |argument, _| Ok(Box::new(Ordered::quantiles(argument)?)),
    )),
    kept_within(kind("mode", "", "most frequent element, the least of several", |_, _| Ok(Box::new(Ordered::mode())))),
    kind("unique", "", "number of distinct elements; all NaN are one", |_, _| Ok(Box::new(Ordered::unique()))),
    kind("count", "", "number of elements that --where, --skipna and holes leave", |_, _| Ok(Box::new(Sums::Count))),
    kind("any", "", "whether any element is not zero", |_, _| Ok(Box::new(Truth { all: false }))),
    kind("all", "", "whether no element is zero", |_, _| Ok(Box::new(Truth { all: true }))),
    kind("prod", "", "product; exact for integers, an error if it does not fit", |_, _| Ok(Box::new(Multiplied))),
    kept_within(kind(
        "topk",
        "=K",
        "greatest K elements, descending, or least -K, ascending, as an axis; NaN counts as greatest",
        |argument, _| Ok(Box::new(TopK::parse(argument)?)),
    )),
    kind(
        "histogram",
        "[=BINS:LOW:HIGH]",
        "elements in each of BINS equal bins, the last one closed; without them, of each value of 8 and 16 bits",
        |argument, _| Ok(Box::new(Histogram::parse(argument)?)),
    ),
];

/// Whether results of the operator that is typed as `label` are elements of the input, or lie between them.
pub fn stays_within(label: &str) -> bool {
    let name = label.split('=').next().unwrap_or_default();
    OPERATORS.iter().any(|kind| kind.name == name && kind.is_within)
}

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
pub(super) fn parse_operators(settings: &Settings) -> Result<Vec<Labelled>> {
    let mut operators: Vec<Labelled> = Vec::new();
    for part in settings.operators.split(',') {
        let operator = parse_operator(part.trim(), settings)?;
        if operators.iter().any(|o| o.label == operator.label) {
            return Err(Error::usage(format!("operator '{}' is named twice", operator.label)));
        }
        operators.push(operator);
    }
    Ok(operators)
}

/// Refuses `operators` that there are not.
///
/// # Errors
/// `Usage`, with what was probably meant.
pub fn check_operators(operators: &str) -> Result<()> {
    parse_operators(&Settings { operators: operators.into(), ..Settings::default() }).map(|_| ())
}

/// The operator that others call `name`, or the one of the nearest name.
pub fn meant(name: &str) -> Option<String> {
    const OTHERS: [(&str, &str); 7] = [
        ("mean", "avg average expectation"),
        ("max", "maximum amax mip"),
        ("min", "minimum amin"),
        ("std", "stdev stddev sd sigma"),
        ("var", "variance"),
        ("sum", "total add"),
        ("quantile=0.1:0.9", "percentile percentiles quantiles"),
    ];
    let lower = name.to_lowercase();
    if let Some(percent) = lower.strip_prefix('p').and_then(|n| n.parse::<f64>().ok()).filter(|p| *p <= 100.0) {
        // Of 99.9 a hundredth is not quite 0.999.
        return Some(format!("quantile={}", (percent * 1e10).round() / 1e12));
    }
    let other = OTHERS.iter().find(|(_, others)| others.split(' ').any(|other| other == lower));
    other.map(|(ours, _)| *ours).or_else(|| nearest(&lower, OPERATORS.iter().map(|k| k.name))).map(str::to_owned)
}

fn parse_operator(text: &str, settings: &Settings) -> Result<Labelled> {
    let (name, argument) = match text.split_once('=') {
        Some((name, argument)) => (name, Some(argument)),
        None => (text, None),
    };
    let Some(kind) = OPERATORS.iter().find(|k| k.name == name) else {
        let names: Vec<_> = OPERATORS.iter().map(|k| k.name).collect();
        let hint = match meant(name) {
            Some(meant) => format!(", do you mean {meant}"),
            None if name.parse::<f64>().is_ok() => {
                ": several values of one operator are joined by colons, as in quantile=0.1:0.9".to_owned()
            }
            None => String::new(),
        };
        return Err(Error::usage(format!("'{name}' is not an operator{hint}: there are {}", names.join(", "))));
    };
    if let (true, Some(argument)) = (kind.argument.is_empty(), argument) {
        return Err(Error::usage(format!("operator '{name}' takes no argument, but was given '{argument}'")));
    }
    let operator = (kind.make)(argument, settings)?;
    let label = operator.argument().map_or_else(|| name.to_owned(), |a| format!("{name}={a}"));
    Ok(Labelled { label, operator })
}
