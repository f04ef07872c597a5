//! The call of a function, and the reading of its arguments.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use super::builder::{Builder, Value};
use super::syntax::{Argument, Expression, NodeKind};
use crate::array::Array;
use crate::array::extend::{Edges, Mode};
use crate::axis::Axis;
use crate::dtype::DType;
use crate::error::Result;
use crate::unit;

/// A function.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// What it gives, in a line.
    pub(super) about: &'static str,
    /// Most arguments by place.
    pub(super) most: usize,
    pub(super) make: Make,
    /// Whether elements are those of its arguments, or lie between them.
    pub(super) is_within: bool,
}

/// What makes a value of a call.
type Make = fn(&mut Builder<'_>, &Call<'_>) -> Result<Value>;

/// A line of a table of functions.
pub(super) const fn function(name: &'static str, most: usize, about: &'static str, make: Make) -> Function {
    Function { name, about, most, make, is_within: false }
}

/// A line of a table whose elements are those of its arguments, or lie between them.
pub(super) const fn kept_within(function: Function) -> Function {
    Function { is_within: true, ..function }
}

/// Any number of arguments by place.
pub(super) const MANY: usize = usize::MAX;

/// A call of a function.
pub(super) struct Call<'a> {
    pub(super) name: &'a str,
    /// As it would be typed.
    pub(super) text: String,
    pub(super) span: Range<usize>,
    /// Arguments by their place.
    pub(super) placed: Vec<&'a Expression>,
    /// Arguments by their names, and whether they were asked for.
    given: Vec<(&'a str, &'a str, &'a Range<usize>, Cell<bool>)>,
}

impl<'a> Call<'a> {
    pub(super) fn new(name: &'a str, arguments: &'a [Argument], whole: &Expression) -> Self {
        let (mut placed, mut given) = (Vec::new(), Vec::new());
        for argument in arguments {
            match argument {
                Argument::Placed(value) => placed.push(value),
                Argument::Named(name, value, span) => {
                    given.push((name.as_str(), value.as_str(), span, Cell::new(false)))
                }
            }
        }
        Self { name, text: whole.to_string(), span: whole.span.clone(), placed, given }
    }

    /// Refuses more than `most` arguments by place, with the `example` of names, and names that are given twice.
    pub(super) fn check(&self, builder: &Builder<'_>, most: usize, example: &str) -> Result<()> {
        if let Some(argument) = self.placed.get(most) {
            let why = format!("{} takes no more than {most} by place: name it, as in {example}", self.name);
            return Err(builder.fault(&argument.span, why));
        }
        match self.given.iter().enumerate().find(|(i, g)| self.given[..*i].iter().any(|other| other.0 == g.0)) {
            Some((_, (name, _, span, _))) => Err(builder.fault(span, format!("{name} is given twice"))),
            None => Ok(()),
        }
    }

    /// Refuses names that nothing has asked for.
    pub(super) fn check_asked(&self, builder: &Builder<'_>) -> Result<()> {
        match self.given.iter().find(|g| !g.3.get()) {
            Some((name, _, span, _)) => Err(builder.fault(span, format!("{} has no argument {name}", self.name))),
            None => Ok(()),
        }
    }

    /// Refuses any other number of arguments by place, and names that are not `known`.
    pub(super) fn expects(&self, builder: &Builder<'_>, n: usize, known: &[&str]) -> Result<()> {
        if self.placed.len() != n {
            let (name, found) = (self.name, self.placed.len());
            return Err(builder.fault(&self.span, format!("{name} takes {n} arrays or numbers, found {found}")));
        }
        self.named(builder, known).map(|_| ())
    }

    /// The values of the arguments called as `known`, empty where they are not given; no other is allowed.
    pub(super) fn named(&self, builder: &Builder<'_>, known: &[&str]) -> Result<Vec<String>> {
        if let Some((name, _, span, _)) = self.given.iter().find(|g| !known.contains(&g.0)) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(builder.fault(span, format!("{} has no argument {name}: {known}", self.name)));
        }
        Ok(known.iter().map(|k| self.get(k).unwrap_or_default().to_owned()).collect())
    }

    /// The value of the argument called `name`.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.given.iter().find(|g| g.0 == name).map(|(_, value, _, asked)| {
            asked.set(true);
            *value
        })
    }

    /// Arguments whose names are axes of the array, with the axis; others must be among `known`.
    pub(super) fn by_axis(
        &self,
        builder: &Builder<'_>,
        axes: &[Axis],
        known: &[&str],
    ) -> Result<Vec<(usize, &'a str, Range<usize>)>> {
        let others = self.given.iter().filter(|g| !known.contains(&g.0));
        others
            .map(|(name, value, span, asked)| {
                asked.set(true);
                Ok((builder.axis(axes, name, span)?, *value, (*span).clone()))
            })
            .collect()
    }

    /// Whether no argument has a name.
    pub(super) fn has_none(&self) -> bool {
        self.given.is_empty()
    }

    /// The array of the first argument, as a value.
    pub(super) fn first(&self, builder: &mut Builder<'_>) -> Result<(Value, Arc<dyn Array>)> {
        let Some(first) = self.placed.first() else {
            return Err(builder.fault(&self.span, format!("{} needs an array", self.name)));
        };
        let value = builder.value(first)?;
        let array = builder.array(&value, &first.span)?;
        Ok((value, array))
    }

    /// The number that argument `i` is.
    pub(super) fn number(&self, builder: &Builder<'_>, i: usize) -> Result<Option<f64>> {
        let Some(argument) = self.placed.get(i) else { return Ok(None) };
        match &argument.kind {
            NodeKind::Integer(n) => Ok(Some(*n as f64)),
            NodeKind::Float(x) => Ok(Some(*x)),
            NodeKind::Unary("-", inner) => match &inner.kind {
                NodeKind::Integer(n) => Ok(Some(-(*n as f64))),
                NodeKind::Float(x) => Ok(Some(-x)),
                _ => Err(builder.fault(&argument.span, "a number is needed here")),
            },
            _ => Err(builder.fault(&argument.span, "a number is needed here")),
        }
    }

    /// The word that argument `i` is.
    pub(super) fn word(&self, i: usize) -> Option<&'a str> {
        match &self.placed.get(i)?.kind {
            NodeKind::Name(name) | NodeKind::Text(name) => Some(name),
            _ => None,
        }
    }

    /// What stands beyond the edges: `mode=` and `value=`.
    pub(super) fn edges(&self, builder: &Builder<'_>, dtype: DType, default: Mode) -> Result<Edges> {
        let mode = match self.get("mode") {
            Some(text) => text.parse().map_err(|e| builder.pointed(e, &self.span))?,
            None => default,
        };
        let value =
            dtype.parse_element(self.get("value").unwrap_or("0")).map_err(|e| builder.pointed(e, &self.span))?;
        Ok(Edges { mode, value })
    }
}

/// A size along `axis` in elements: a number, or one with a unit that the axis is measured in.
pub(super) fn elements(builder: &Builder<'_>, axis: &Axis, text: &str, span: &Range<usize>) -> Result<f64> {
    if let Ok(n) = text.parse::<f64>() {
        return Ok(n);
    }
    let size = unit::quantity(text).map_err(|e| builder.pointed(e, span))?;
    let name = &axis.name;
    let unknown = || {
        builder.fault(span, format!("nothing is known of the voxel size along axis {name}: give a number of elements"))
    };
    let own = axis.calibration.as_ref().ok_or_else(unknown)?;
    let units = size.unit.as_deref().zip(own.unit.as_deref());
    match units.and_then(|(asked, has)| unit::ratio(asked, has)) {
        Some(factor) => Ok(size.step * factor / own.step.abs()),
        None => {
            let unit = own.unit.as_deref().unwrap_or("no unit");
            Err(builder.fault(span, format!("axis {name} is measured in {unit}")))
        }
    }
}
