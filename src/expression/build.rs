//! From an expression to the array that it is.

use std::sync::Arc;

use super::builder::{Builder, Carry, Known, NamedArrays, TreePart, Value, Wanted, number};
use super::call::{Call, MANY};
use super::syntax::{Argument, Expression, fault};
use super::{functions, reductions};
use crate::array::calc::{Cast, Operation, Term, Values, named};
use crate::array::{Array, CastTally};
use crate::dtype::DType;
use crate::error::{Error, Result, nearest};
use crate::reduce::meant;

/// What becomes of the values of an expression.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Output {
    /// Type of the elements; the one that holds every value if `None`.
    pub dtype: Option<DType>,
    /// What becomes of values that the type does not hold.
    pub cast: Cast,
    /// Values are multiplied by this first.
    pub scale: Option<f64>,
    /// This is added then.
    pub offset: Option<f64>,
    /// What elements of 64 bits become unless a type is asked for.
    pub narrow: Option<DType>,
    /// Whether elements that nothing covers are left out of what is made of several.
    pub skip_absent: bool,
}

/// An expression as an array.
pub struct Built {
    /// The array. It can be planned for, and read when nothing is wanted any more.
    pub array: Arc<dyn Array>,
    /// What its elements came to.
    pub tally: Arc<CastTally>,
    /// The type that holds every value.
    pub natural: Option<DType>,
    /// Reductions to be computed, which do not depend on each other.
    pub wanted: Vec<Wanted>,
    /// Parts of the tree, inner ones first: what is read for what it gives.
    pub parts: Vec<TreePart>,
}

/// Builds the array that `expression`, read from `text`, is of `inputs`; reductions that are `known` are used. What is
/// made of arrays goes through `carry`, which may have it made elsewhere.
///
/// # Errors
/// `Usage`, pointing at the place in the text.
pub fn build(
    text: &str,
    expression: &Expression,
    (inputs, carry): (NamedArrays<'_>, Carry<'_>),
    known: &Known,
    room: u64,
    output: &Output,
) -> Result<Built> {
    let mut builder = Builder::new(text, call, (inputs, carry), known, room, output.skip_absent);
    for (name, array) in inputs {
        if let Some(other) = inputs.iter().find(|i| crate::axis::position(i.1.axes(), name).is_some()) {
            return Err(Error::usage(format!(
                "input {name} is called as an axis of input {}: give it another name",
                other.0
            )));
        }
        if Values::of(array.dtype()).is_none() {
            return Err(Error::unsupported(format!(
                "input {name} is {}: expressions are of real numbers",
                array.dtype()
            )));
        }
    }
    let mut value = builder.value(expression)?;
    for (factor, operation) in [(output.scale, Operation::Multiply), (output.offset, Operation::Add)] {
        if let Some(factor) = factor {
            let whole = (factor.fract() == 0.0 && factor.abs() < 1e15).then_some(factor as i128);
            value = builder.apply(operation, vec![value, number(factor, whole)], &expression.span)?;
        }
    }
    if matches!(value.node.term, Term::Number(..)) || builder.leaves.is_empty() {
        return Err(fault(text, &expression.span, "is a number: an expression names an input at least once"));
    }
    let natural = value.node.values.dtype();
    let narrowed = natural.filter(|dtype| dtype.size() == 8).and(output.narrow);
    let calc = builder.calc(&value, output.dtype.or(narrowed), output.cast).map_err(|e| e.at(text))?;
    let tally = calc.tally();
    let array = carry(Arc::new(calc));
    builder.parts.push(TreePart { text: expression.to_string(), array: Arc::clone(&array) });
    Ok(Built { array, tally, natural, wanted: builder.wanted, parts: builder.parts })
}

/// What the function `name` makes of its arguments.
fn call(builder: &mut Builder<'_>, name: &str, arguments: &[Argument], whole: &Expression) -> Result<Value> {
    let call = Call::new(name, arguments, whole);
    let function = functions::find(name);
    let example = function.and_then(|f| f.about.split_once(": ")).map_or("z=1um, y=3, x=3", |about| about.1);
    call.check(builder, function.map_or(MANY, |f| f.most), example)?;
    if let Some(function) = function {
        let made = (function.make)(builder, &call)?;
        return call.check_asked(builder).map(|()| made);
    }
    if reductions::is_reduction(builder, &call)? {
        return reductions::reduce(builder, &call);
    }
    match (name, named(name)) {
        // Of any number of arrays.
        ("min" | "max", Some((operation, _))) => {
            call.named(builder, &[])?;
            let mut values = call.placed.iter().map(|e| builder.value(e)).collect::<Result<Vec<_>>>()?.into_iter();
            let first = values.next().ok_or_else(|| builder.fault(&whole.span, "needs two arrays"))?;
            let mut fold = |a, b| builder.apply(operation, vec![a, b], &whole.span);
            values.try_fold(first, &mut fold)
        }
        (_, Some((operation, n))) if name.starts_with(char::is_alphabetic) => {
            call.expects(builder, n, &[])?;
            let operands = call.placed.iter().map(|e| builder.value(e)).collect::<Result<_>>()?;
            builder.apply(operation, operands, &whole.span)
        }
        _ => {
            let names = functions::names();
            let near = names.iter().filter(|known| known.starts_with(name.get(..2).unwrap_or(name)));
            let near = near.map(String::as_str).collect::<Vec<_>>().join(" or ");
            let own = nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
            let hint = match (name.parse::<DType>(), own.or_else(|| meant(name))) {
                (Ok(dtype), _) if !dtype.is_float() => format!("do you mean whole(a, {name})"),
                (_, Some(meant)) => format!("do you mean {meant}"),
                _ if !near.is_empty() => format!("do you mean {near}"),
                _ => "man 7 stackctl-calc lists them".to_owned(),
            };
            Err(builder.fault(
                &(whole.span.start..whole.span.start + name.len()),
                format!("there is no function {name}: {hint}"),
            ))
        }
    }
}
