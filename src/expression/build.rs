//! From the tree of an expression to arrays.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::functions::{self, Call};
use super::reductions::{self, Wanted};
use super::syntax::{Argument, Expression, Kind, fault};
use crate::array::calc::{Calc, Cast, Loose, Node, Operation, Tally, Term, Values, meet, named, range};
use crate::array::{Array, select};
use crate::axis::Axis;
use crate::dtype::DType;
use crate::error::{Error, Result};

/// Reductions that are computed, by what they would be typed as.
pub type Known = HashMap<String, Arc<dyn Array>>;

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
}

/// An expression as an array.
pub struct Built {
    /// The array. It can be planned for, and read when nothing is wanted any more.
    pub array: Arc<dyn Array>,
    /// What its elements came to.
    pub tally: Arc<Tally>,
    /// Reductions to be computed, which do not depend on each other.
    pub wanted: Vec<Wanted>,
    /// Parts of the tree, inner ones first: what is read for what it gives.
    pub parts: Vec<Part>,
}

/// A part of the tree of an expression that reads others.
pub struct Part {
    /// As it would be typed.
    pub text: String,
    /// The array that it is.
    pub array: Arc<dyn Array>,
}

/// A value on the way.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) node: Rc<Node>,
    pub(super) axes: Vec<Axis>,
    pub(super) loose: Loose,
}

/// Builds the array that `expression`, read from `text`, is of `inputs`; reductions that are `known` are used.
///
/// # Errors
/// `Usage`, pointing at the place in the text.
pub fn build(
    text: &str,
    expression: &Expression,
    inputs: &[(String, Arc<dyn Array>)],
    known: &Known,
    room: u64,
    output: &Output,
) -> Result<Built> {
    let mut builder = Builder {
        text,
        inputs,
        known,
        room,
        leaves: Vec::new(),
        memo: HashMap::new(),
        awaits: false,
        wanted: Vec::new(),
        parts: Vec::new(),
    };
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
            let other = Value { node: Node::number(factor, whole), axes: Vec::new(), loose: Loose::new() };
            value = builder.apply(operation, vec![value, other], &expression.span)?;
        }
    }
    if matches!(value.node.term, Term::Number(..)) || builder.leaves.is_empty() {
        return Err(fault(text, &expression.span, "is a number: an expression names an input at least once"));
    }
    let calc = builder.calc(&value, output.dtype, output.cast).map_err(|e| e.at(text))?;
    let tally = calc.tally();
    let array: Arc<dyn Array> = Arc::new(calc);
    builder.parts.push(Part { text: expression.to_string(), array: Arc::clone(&array) });
    Ok(Built { array, tally, wanted: builder.wanted, parts: builder.parts })
}

pub(super) struct Builder<'a> {
    pub(super) text: &'a str,
    inputs: &'a [(String, Arc<dyn Array>)],
    known: &'a Known,
    /// Memory that tasks may use, in bytes.
    room: u64,
    leaves: Vec<Arc<dyn Array>>,
    /// Values by what they would be typed as: what is written twice is made once.
    memo: HashMap<String, (Value, bool)>,
    /// Whether what is being made has a part that must be computed first.
    awaits: bool,
    wanted: Vec<Wanted>,
    parts: Vec<Part>,
}

impl Builder<'_> {
    pub(super) fn fault(&self, span: &Range<usize>, why: impl std::fmt::Display) -> Error {
        fault(self.text, span, why)
    }

    /// The same error, pointing at `span`, unless it points somewhere already.
    pub(super) fn pointed(&self, error: Error, span: &Range<usize>) -> Error {
        match error {
            Error::Usage(why) if !why.starts_with("expression") => self.fault(span, why),
            other => other,
        }
    }

    pub(super) fn value(&mut self, expression: &Expression) -> Result<Value> {
        let text = expression.to_string();
        if let Some((value, awaits)) = self.memo.get(&text) {
            self.awaits |= awaits;
            return Ok(value.clone());
        }
        let before = std::mem::replace(&mut self.awaits, false);
        let value = self.made(expression)?;
        self.memo.insert(text, (value.clone(), self.awaits));
        self.awaits |= before;
        Ok(value)
    }

    fn made(&mut self, expression: &Expression) -> Result<Value> {
        let span = &expression.span;
        match &expression.kind {
            Kind::Integer(n) => Ok(number(*n as f64, Some(*n))),
            Kind::Float(x) => Ok(number(*x, None)),
            Kind::Text(_) => Err(self.fault(span, "text is for arguments alone")),
            Kind::Name(name) => self.input(name, span),
            Kind::Unary("+", inner) => self.value(inner),
            Kind::Unary(operator, inner) => {
                let inner = self.value(inner)?;
                if let ("-", Term::Number(x, whole)) = (*operator, &inner.node.term) {
                    return Ok(number(-x, whole.map(|n| -n)));
                }
                if let ("~", Values::Whole { low, .. }, Some(dtype)) =
                    (*operator, inner.node.values, inner.node.values.dtype())
                {
                    // All bits of the type.
                    let bits = range(dtype).map_or(-1, |r| if low < 0 { -1 } else { r.1 });
                    return self.apply(Operation::Xor, vec![inner, number(bits as f64, Some(bits))], span);
                }
                let operation = if *operator == "~" { Operation::Not } else { Operation::Negative };
                self.apply(operation, vec![inner], span)
            }
            Kind::Binary(operator, left, right) => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                // Greater is less the other way round.
                let (name, operands) = match *operator {
                    ">" => ("<", vec![right, left]),
                    ">=" => ("<=", vec![right, left]),
                    other => (other, vec![left, right]),
                };
                let operation = named(name).ok_or_else(|| self.fault(span, "no such operator"))?.0;
                self.apply(operation, operands, span)
            }
            Kind::Select(inner, choice) => {
                let inner = self.value(inner)?;
                self.selected(inner, choice, span)
            }
            Kind::Call(name, arguments) => self.call(name, arguments, expression),
        }
    }

    fn input(&mut self, name: &str, span: &Range<usize>) -> Result<Value> {
        let found = self.inputs.iter().find(|input| input.0 == name);
        let names = || self.inputs.iter().map(|i| i.0.as_str()).collect::<Vec<_>>().join(", ");
        let (_, array) = found.ok_or_else(|| self.fault(span, format!("there is no input {name}: {}", names())))?;
        self.leaf(Arc::clone(array), Loose::new(), span)
    }

    /// The part of `inner` that `choice` selects; what its axes are called there is nobody's claim.
    pub(super) fn selected(&mut self, inner: Value, choice: &str, span: &Range<usize>) -> Result<Value> {
        let mut loose = inner.loose.clone();
        let array = self.array(&inner, span)?;
        let chosen = choice.split(',').filter_map(|part| part.split_once('='));
        loose.extend(chosen.filter(|c| !c.0.contains('@')).map(|(name, _)| name.trim().to_owned()));
        let array = select(array, choice).map_err(|error| match error {
            Error::Usage(why) => self.fault(span, why.replace("--select ", "")),
            other => other,
        })?;
        self.leaf(array, loose, span)
    }

    /// An array as a value.
    pub(super) fn leaf(&mut self, array: Arc<dyn Array>, loose: Loose, span: &Range<usize>) -> Result<Value> {
        let values = Values::of(array.dtype());
        let values =
            values.ok_or_else(|| self.fault(span, format!("is {}: expressions are of real numbers", array.dtype())))?;
        Ok(self.leaf_of(array, loose, values))
    }

    /// An array whose elements are known to be among `values`.
    pub(super) fn leaf_of(&mut self, array: Arc<dyn Array>, loose: Loose, values: Values) -> Value {
        let axes = array.axes().to_vec();
        let node = Rc::new(Node { term: Term::Leaf(self.leaves.len(), array.dtype()), values });
        self.leaves.push(array);
        Value { node, axes, loose }
    }

    /// Memory that tasks may use, in bytes.
    pub(super) fn room(&self) -> u64 {
        self.room
    }

    /// A value as an array.
    pub(super) fn array(&mut self, value: &Value, span: &Range<usize>) -> Result<Arc<dyn Array>> {
        match value.node.term {
            Term::Leaf(number, _) => Ok(Arc::clone(&self.leaves[number])),
            Term::Number(..) => Err(self.fault(span, "is a number where an array is needed")),
            Term::Apply(..) => self.array_as(value, None, span),
        }
    }

    /// A value as an array of elements of `dtype`.
    pub(super) fn array_as(
        &mut self,
        value: &Value,
        dtype: Option<DType>,
        span: &Range<usize>,
    ) -> Result<Arc<dyn Array>> {
        if let Term::Leaf(number, own) = value.node.term
            && dtype.is_none_or(|dtype| dtype == own)
        {
            return Ok(Arc::clone(&self.leaves[number]));
        }
        let calc = self.calc(value, dtype, Cast::Round).map_err(|e| self.pointed(e, span))?;
        Ok(Arc::new(calc))
    }

    fn calc(&self, value: &Value, dtype: Option<DType>, cast: Cast) -> Result<Calc> {
        Calc::new(&value.node, &self.leaves, value.axes.clone(), dtype, cast)
    }

    /// An element-wise operation.
    pub(super) fn apply(&mut self, operation: Operation, operands: Vec<Value>, span: &Range<usize>) -> Result<Value> {
        let met: Vec<(&[Axis], &Loose)> = operands.iter().map(|o| (&o.axes[..], &o.loose)).collect();
        let name = operation.name();
        let axes = meet(&met).map_err(|why| self.fault(span, format!("'{name}' {why}")))?;
        let loose = operands.iter().flat_map(|o| o.loose.iter().cloned()).collect();
        let nodes = operands.into_iter().map(|o| o.node).collect();
        let node = Node::apply(operation, nodes).map_err(|why| self.fault(span, format!("'{name}' {why}")))?;
        Ok(Value { node, axes, loose })
    }

    fn call(&mut self, name: &str, arguments: &[Argument], whole: &Expression) -> Result<Value> {
        let call = Call::new(name, arguments, whole);
        if let Some(function) = functions::find(name) {
            return (function.make)(self, &call);
        }
        if reductions::is_reduction(self, &call)? {
            return reductions::reduce(self, &call);
        }
        match (name, named(name)) {
            // Of any number of arrays.
            ("min" | "max", Some((operation, _))) => {
                let mut values = call.placed.iter().map(|e| self.value(e)).collect::<Result<Vec<_>>>()?.into_iter();
                let first = values.next().ok_or_else(|| self.fault(&whole.span, "needs two arrays"))?;
                let mut fold = |a, b| self.apply(operation, vec![a, b], &whole.span);
                values.try_fold(first, &mut fold)
            }
            (_, Some((operation, n))) if name.starts_with(char::is_alphabetic) => {
                call.expects(self, n, &[])?;
                let operands = call.placed.iter().map(|e| self.value(e)).collect::<Result<_>>()?;
                self.apply(operation, operands, &whole.span)
            }
            _ => {
                let near =
                    functions::names().into_iter().filter(|known| known.starts_with(name.get(..2).unwrap_or(name)));
                let near: Vec<String> = near.collect();
                let hint =
                    if near.is_empty() { String::new() } else { format!(": did you mean {}", near.join(" or ")) };
                Err(self.fault(
                    &(whole.span.start..whole.span.start + name.len()),
                    format!("there is no function {name}{hint}"),
                ))
            }
        }
    }

    /// Remembers a part of the tree, to be told of.
    pub(super) fn tell(&mut self, text: String, array: &Arc<dyn Array>) {
        self.parts.push(Part { text, array: Arc::clone(array) });
    }

    pub(super) fn known(&self, text: &str) -> Option<Arc<dyn Array>> {
        self.known.get(text).cloned()
    }

    /// Asks for a reduction, unless what it reduces must be computed before.
    pub(super) fn want(&mut self, wanted: Wanted) {
        if !self.awaits {
            self.wanted.push(wanted);
        }
        self.awaits = true;
    }

    pub(super) fn is_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|input| input.0 == name)
    }
}

pub(super) fn number(value: f64, whole: Option<i128>) -> Value {
    Value { node: Node::number(value, whole), axes: Vec::new(), loose: Loose::new() }
}
