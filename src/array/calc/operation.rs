//! The element-wise operations: the table of their names, and what each gives for what it gets.

use super::values::Values::{self, Bool, Double, Single, Whole};

/// What is done with one element of each operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
    Minimum,
    Maximum,
    Hypot,
    Less,
    LessEqual,
    Equal,
    NotEqual,
    And,
    Or,
    Xor,
    Not,
    Negative,
    Absolute,
    SquareRoot,
    Exponential,
    Logarithm,
    Logarithm2,
    Logarithm10,
    Floor,
    Ceil,
    Round,
    Sign,
    IsNan,
    Where,
    ToSingle,
    ToDouble,
    Excess,
}

use Operation::*;

/// An operand as the rules see it: its values, and whether it is a number that was typed.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// What its elements can be.
    pub values: Values,
    /// Whether it is a number of the expression.
    pub is_typed: bool,
}

/// Values that operands are turned into, and values of the result.
pub(super) type Typing = Result<(Values, Values), String>;

type Rule = fn(&[Operand]) -> Typing;

/// Functions and operators by name, with the number of their operands and the rule of their types.
pub(super) const OPERATIONS: &[(&str, Operation, usize, Rule)] = &[
    ("+", Add, 2, |o| whole_or_float(o, |a, b| Some((a.0 + b.0, a.1 + b.1)))),
    ("-", Subtract, 2, |o| whole_or_float(o, |a, b| Some((a.0 - b.1, a.1 - b.0)))),
    ("*", Multiply, 2, |o| whole_or_float(o, |a, b| corners(a, b, i128::checked_mul))),
    ("/", Divide, 2, |o| floats(o)),
    ("//", FloorDivide, 2, |o| whole_or_float(o, floor_range)),
    ("%", Remainder, 2, |o| whole_or_float(o, remainder_range)),
    ("**", Power, 2, power),
    ("min", Minimum, 2, |o| whole_or_float(o, |a, b| Some((a.0.min(b.0), a.1.min(b.1))))),
    ("max", Maximum, 2, |o| whole_or_float(o, |a, b| Some((a.0.max(b.0), a.1.max(b.1))))),
    ("hypot", Hypot, 2, |o| floats(o)),
    ("<", Less, 2, comparison),
    ("<=", LessEqual, 2, comparison),
    ("==", Equal, 2, comparison),
    ("!=", NotEqual, 2, comparison),
    ("&", And, 2, bits),
    ("|", Or, 2, bits),
    ("^", Xor, 2, bits),
    ("~", Not, 1, bits),
    ("neg", Negative, 1, |o| whole_or_float(o, |a, _| Some((-a.1, -a.0)))),
    ("abs", Absolute, 1, |o| whole_or_float(o, |a, _| Some((a.0.max(-a.1).max(0), a.1.max(-a.0))))),
    ("sqrt", SquareRoot, 1, |o| floats(o)),
    ("exp", Exponential, 1, |o| floats(o)),
    ("log", Logarithm, 1, |o| floats(o)),
    ("log2", Logarithm2, 1, |o| floats(o)),
    ("log10", Logarithm10, 1, |o| floats(o)),
    ("floor", Floor, 1, |o| whole_or_float(o, |a, _| Some(a))),
    ("ceil", Ceil, 1, |o| whole_or_float(o, |a, _| Some(a))),
    ("round", Round, 1, |o| whole_or_float(o, |a, _| Some(a))),
    ("sign", Sign, 1, |o| whole_or_float(o, |a, _| Some((a.0.signum(), a.1.signum())))),
    ("isnan", IsNan, 1, |o| Ok((o[0].values.float(), Bool))),
    ("where", Where, 3, choice),
    ("excess", Excess, 2, |o| whole_or_float(o, |a, b| Some((0, (a.1 - b.0).max(0))))),
    ("float32", ToSingle, 1, |_| Ok((Single, Single))),
    ("float64", ToDouble, 1, |_| Ok((Double, Double))),
];

/// The operation called `name` and the number of its operands.
pub fn named(name: &str) -> Option<(Operation, usize)> {
    OPERATIONS.iter().find(|o| o.0 == name).map(|o| (o.1, o.2))
}

/// Names of all operations.
pub fn names() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|o| o.0)
}

impl Operation {
    /// What it is called.
    pub fn name(self) -> &'static str {
        OPERATIONS.iter().find(|o| o.1 == self).map_or("", |o| o.0)
    }

    /// What operands are turned into, and what comes out.
    pub(super) fn typing(self, operands: &[Operand]) -> Typing {
        OPERATIONS.iter().find(|o| o.1 == self).map_or(Err("is unknown".into()), |o| (o.3)(operands))
    }
}

/// What all operands can be together.
fn together(operands: &[Operand]) -> Values {
    let all = operands.iter().copied().reduce(|a, b| Operand {
        values: a.values.with(a.is_typed, b.values, b.is_typed),
        is_typed: a.is_typed && b.is_typed,
    });
    let all = all.map_or(Double, |a| a.values.as_numbers());
    // Numbers alone are as wide as can be.
    if all == Single && operands.iter().all(|o| o.is_typed) { Double } else { all }
}

type Range = (i128, i128);

/// Whole numbers stay whole, in a type that holds operands and result.
fn whole_or_float(operands: &[Operand], range: fn(Range, Range) -> Option<Range>) -> Typing {
    let all = together(operands);
    let Whole { low, high } = all else { return Ok((all, all)) };
    let of = |i: usize| match operands.get(i).map(|o| o.values.as_numbers()) {
        Some(Whole { low, high }) => (low, high),
        _ => (0, 0),
    };
    let too_wide = || format!("has values that no integer type holds, of {}: use float64(..)", all.words());
    let (least, most) = range(of(0), of(1)).ok_or_else(too_wide)?;
    let result = Whole { low: least, high: most };
    let work = Whole { low: low.min(least), high: high.max(most) };
    work.class().and(result.dtype()).ok_or_else(too_wide)?;
    Ok((work, result))
}

fn floats(operands: &[Operand]) -> Typing {
    let parts: Vec<Operand> =
        operands.iter().map(|o| if o.is_typed { *o } else { Operand { values: o.values.float(), ..*o } }).collect();
    let all = match together(&parts) {
        // Numbers alone.
        Whole { .. } => Double,
        float => float,
    };
    Ok((all, all))
}

fn corners(a: Range, b: Range, f: fn(i128, i128) -> Option<i128>) -> Option<Range> {
    let all = [f(a.0, b.0)?, f(a.0, b.1)?, f(a.1, b.0)?, f(a.1, b.1)?];
    Some((*all.iter().min()?, *all.iter().max()?))
}

fn magnitude(a: Range) -> i128 {
    a.1.max(-a.0)
}

/// Division by zero gives 0.
fn floor_range(a: Range, b: Range) -> Option<Range> {
    match (a.0 >= 0, b.0 >= 0) {
        (true, true) => Some((if b.0 > 0 { a.0 / b.1 } else { 0 }, a.1 / b.0.max(1))),
        (false, true) => Some((a.0.div_euclid(b.0.max(1)), (a.1 / b.0.max(1)).max(0))),
        _ => Some((-magnitude(a) - 1, magnitude(a))),
    }
}

fn remainder_range(_: Range, b: Range) -> Option<Range> {
    Some(((b.0 + 1).min(0), (b.1 - 1).max(0)))
}

fn power(operands: &[Operand]) -> Typing {
    let [base, exponent] = operands else { return Err("needs a base and an exponent".into()) };
    match (base.values.as_numbers(), exponent.values.as_numbers()) {
        (Whole { .. }, Whole { low, .. }) if low >= 0 => whole_or_float(operands, |a, e| {
            let most = u32::try_from(e.1).ok()?;
            let top = magnitude(a).checked_pow(most)?;
            Some((if a.0 < 0 { -top } else { 0 }, top.max(1)))
        }),
        _ => floats(operands),
    }
}

/// Operands of comparisons meet in a type that holds both exactly.
fn comparison(operands: &[Operand]) -> Typing {
    let all = together(operands);
    match all.class() {
        Some(_) => Ok((all, Bool)),
        None => Err(format!("compares {}, which no integer type holds: use float64(..)", all.words())),
    }
}

fn bits(operands: &[Operand]) -> Typing {
    if operands.iter().all(|o| o.values == Bool) {
        return Ok((Bool, Bool));
    }
    let all = together(operands);
    let dtype = match all {
        Whole { .. } => all.dtype(),
        _ => return Err("is for truth values and whole numbers: compare first, as in (a > 0) & (b > 0)".into()),
    };
    let all = dtype.and_then(Values::of).ok_or("has values that no integer type holds")?;
    Ok((all, all))
}

/// `where(c, a, b)`: the types of `a` and `b`.
fn choice(operands: &[Operand]) -> Typing {
    let chosen = operands.get(1..).unwrap_or_default();
    if chosen.iter().all(|o| o.values == Bool) {
        return Ok((Bool, Bool));
    }
    let all = together(chosen);
    all.dtype().and(all.class()).ok_or("chooses from values that no integer type holds: use float64(..)")?;
    Ok((all, all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;

    fn of(operation: Operation, dtypes: &[DType]) -> Option<DType> {
        let operand = |d: &DType| Operand { values: Values::of(*d).unwrap(), is_typed: false };
        operation.typing(&dtypes.iter().map(operand).collect::<Vec<_>>()).ok().and_then(|t| t.1.dtype())
    }

    #[test]
    fn results_hold_every_value() {
        use DType::*;
        for (operation, dtypes, expected) in [
            (Subtract, &[Uint16, Uint16][..], Some(Int32)),
            (Add, &[Uint8, Uint8], Some(Uint16)),
            (Multiply, &[Uint16, Uint16], Some(Uint32)),
            (Multiply, &[Int32, Int32], Some(Int64)),
            (Add, &[Uint64, Uint64], None),
            (Subtract, &[Uint64, Int64], None),
            (Divide, &[Uint16, Uint16], Some(Float32)),
            (Divide, &[Int32, Uint8], Some(Float64)),
            (Add, &[Float32, Uint16], Some(Float32)),
            (Add, &[Float32, Int32], Some(Float64)),
            (Absolute, &[Int8], Some(Uint8)),
            (Negative, &[Uint8], Some(Int16)),
            (FloorDivide, &[Int8, Int8], Some(Int16)),
            (Remainder, &[Int16, Uint8], Some(Uint8)),
            (Not, &[Uint16], Some(Uint16)),
            (And, &[Uint16, Int8], Some(Int32)),
            (Less, &[Uint8, Float32], Some(Bool)),
            (SquareRoot, &[Uint16], Some(Float32)),
            (Add, &[Bool, Bool], Some(Uint8)),
        ] {
            assert_eq!(of(operation, dtypes), expected, "{operation:?} {dtypes:?}");
        }
    }
}
