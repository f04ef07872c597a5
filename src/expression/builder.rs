//! What turns the tree of an expression into arrays, part by part: inputs, choices and element-wise operations. What
//! functions make of arrays is theirs.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::syntax::{Argument, Expression, NodeKind, fault};
use crate::array::calc::{Calc, Cast, Loose, Node, Operation, Term, Values, meet, named, range, together};
use crate::array::{Array, Selection, select};
use crate::axis::Axis;
use crate::block::Block;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::Settings;

/// Reductions that are computed, by what they would be typed as.
pub type Known = HashMap<String, Arc<dyn Array>>;

/// Arrays by their names.
pub type NamedArrays<'a> = &'a [(String, Arc<dyn Array>)];

/// What has an array made elsewhere, if it can be.
pub type Carry<'a> = &'a dyn Fn(Arc<dyn Array>) -> Arc<dyn Array>;

/// A part of the tree of an expression that reads others.
pub struct TreePart {
    /// As it would be typed.
    pub text: String,
    /// The array that it is.
    pub array: Arc<dyn Array>,
}

/// A reduction that must be computed.
pub struct Wanted {
    /// The reduction as it would be typed.
    pub text: String,
    /// What is reduced, as it would be typed.
    pub of: String,
    /// What is reduced.
    pub array: Arc<dyn Array>,
    /// How: one operator, axes kept with length one.
    pub settings: Settings,
    /// Axes of the result.
    pub axes: Vec<Axis>,
    /// The number that is made of the result, if it is one.
    pub then: Option<fn(&Block) -> f64>,
}

/// A value on the way.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) node: Rc<Node>,
    pub(super) axes: Vec<Axis>,
    pub(super) loose: Loose,
}

/// What makes a value of a call: the name, its arguments and the whole.
type Maker = fn(&mut Builder<'_>, &str, &[Argument], &Expression) -> Result<Value>;

/// What an expression is built with.
pub(super) struct Builder<'a> {
    pub(super) text: &'a str,
    /// What a call of a function comes to.
    call: Maker,
    inputs: NamedArrays<'a>,
    carry: Carry<'a>,
    known: &'a Known,
    /// Memory that tasks may use, in bytes.
    room: u64,
    /// Whether elements that nothing covers are left out of what is made of several.
    pub(super) skips: bool,
    pub(super) leaves: Vec<Arc<dyn Array>>,
    /// Values by what they would be typed as: what is written twice is made once.
    memo: HashMap<String, (Value, bool)>,
    /// Whether what is being made has a part that must be computed first.
    awaits: bool,
    pub(super) wanted: Vec<Wanted>,
    pub(super) parts: Vec<TreePart>,
}

impl<'a> Builder<'a> {
    /// What builds arrays of `inputs` with reductions that are `known`, in `room` bytes.
    pub(super) fn new(
        text: &'a str,
        call: Maker,
        (inputs, carry): (NamedArrays<'a>, Carry<'a>),
        known: &'a Known,
        room: u64,
        skips: bool,
    ) -> Self {
        Self {
            text,
            call,
            inputs,
            carry,
            known,
            room,
            skips,
            leaves: Vec::new(),
            memo: HashMap::new(),
            awaits: false,
            wanted: Vec::new(),
            parts: Vec::new(),
        }
    }

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
            NodeKind::Integer(n) => Ok(number(*n as f64, Some(*n))),
            NodeKind::Float(x) => Ok(number(*x, None)),
            NodeKind::Text(_) => Err(self.fault(span, "text is for arguments alone")),
            NodeKind::Name(name) => self.input(name, span),
            NodeKind::Unary("+", inner) => self.value(inner),
            NodeKind::Unary(operator, inner) => {
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
            NodeKind::Binary(operator, left, right) => {
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
            NodeKind::Select(inner, choice) => {
                let inner = self.value(inner)?;
                self.selected(inner, choice, span)
            }
            NodeKind::Call(name, arguments) => (self.call)(self, name, arguments, expression),
        }
    }

    fn input(&mut self, name: &str, span: &Range<usize>) -> Result<Value> {
        let found = self.inputs.iter().find(|input| input.0 == name);
        let names = || self.inputs.iter().map(|i| i.0.as_str()).collect::<Vec<_>>().join(", ");
        let (_, array) = found.ok_or_else(|| self.fault(span, format!("there is no input {name}, but {}", names())))?;
        self.leaf(Arc::clone(array), Loose::new(), span)
    }

    /// The part of `inner` that `choice` selects; what its axes are called there is nobody's claim.
    pub(super) fn selected(&mut self, inner: Value, choice: &str, span: &Range<usize>) -> Result<Value> {
        let mut loose = inner.loose.clone();
        let array = self.array(&inner, span)?;
        let chosen = choice.split(',').filter_map(|part| part.split_once('='));
        loose.extend(chosen.filter(|c| !c.0.contains('@')).map(|(name, _)| (name.trim().to_owned(), None)));
        // What is wrong is said below.
        let single = Selection::parse(array.axes(), choice).map(|chosen| chosen.single(array.axes()));
        let label = |axis: Axis| Some((axis.name, axis.labels?.pop()));
        loose.extend(single.unwrap_or_default().into_iter().filter_map(label));
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
        self.leaves.push((self.carry)(array));
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
        Ok((self.carry)(Arc::new(calc)))
    }

    pub(super) fn calc(&self, value: &Value, dtype: Option<DType>, cast: Cast) -> Result<Calc> {
        Calc::new(&value.node, &self.leaves, value.axes.clone(), dtype, cast)
    }

    /// An element-wise operation.
    pub(super) fn apply(&mut self, operation: Operation, operands: Vec<Value>, span: &Range<usize>) -> Result<Value> {
        let met: Vec<(&[Axis], &Loose)> = operands.iter().map(|o| (&o.axes[..], &o.loose)).collect();
        let name = operation.name();
        let axes = meet(&met).map_err(|why| self.fault(span, format!("'{name}' {why}")))?;
        let loose = together(operands.iter().map(|o| &o.loose));
        let nodes = operands.into_iter().map(|o| o.node).collect();
        let node = Node::apply(operation, nodes).map_err(|why| self.fault(span, format!("'{name}' {why}")))?;
        Ok(Value { node, axes, loose })
    }

    /// Number of the axis called `name`.
    pub(super) fn axis(&self, axes: &[Axis], name: &str, span: &std::ops::Range<usize>) -> Result<usize> {
        let known = || axes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
        let position = crate::axis::meant(axes, name);
        position.ok_or_else(|| self.fault(span, format!("there is no axis {name}: the array has {}", known())))
    }

    /// Remembers a part of the tree, to be told of.
    pub(super) fn tell(&mut self, text: String, array: &Arc<dyn Array>) {
        self.parts.push(TreePart { text, array: Arc::clone(array) });
    }

    pub(super) fn known(&self, text: &str) -> Option<Arc<dyn Array>> {
        self.known.get(text).cloned()
    }

    /// Asks for reductions of one array, unless what they reduce must be computed before.
    pub(super) fn want(&mut self, wanted: impl IntoIterator<Item = Wanted>) {
        for one in wanted.into_iter().filter(|_| !self.awaits) {
            if self.wanted.iter().all(|other| other.text != one.text) {
                self.wanted.push(one);
            }
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
