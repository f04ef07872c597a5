//! any, all, and the product.

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Fold, Refusal, Results};
use crate::reduce::number::{Real, with_real};
use crate::reduce::operator::{Operator, Subject};
use crate::reduce::tally::{ANY_ORDER, IN_TURN, tallied, tally};

/// Whether any element is not zero, or none is zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    pub(super) all: bool,
}

impl Operator for Truth {
    fn dtype(&self, _: &Subject) -> Result<DType> {
        Ok(DType::Bool)
    }

    fn state_bytes(&self, _: &Subject) -> u64 {
        1
    }

    fn in_any_order(&self, _: &Subject) -> bool {
        true
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        with_real!(input.dtype, T => if self.all { truth::<T, true>(n) } else { truth::<T, false>(n) })
    }
}

/// Whether an element was seen that settles the matter: a zero for `all`, anything else for `any`.
fn truth<T: Real, const ALL: bool>(n: usize) -> Box<dyn Fold> {
    let step = |(settled, ()), x: T, _, _| (settled | u8::from((x == T::default()) == ALL), ());
    tallied(n, tally(ANY_ORDER, (0, ()), step, |(a, ()), (b, ())| (a | b, ())), |states, _| {
        Ok(Results::raw(DType::Bool, states.map(|settled, ()| u8::from((settled != 0) != ALL))))
    })
}

/// The product of elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Multiplied;

impl Operator for Multiplied {
    fn dtype(&self, input: &Subject) -> Result<DType> {
        Ok(match input.dtype {
            d if d.is_float() => d,
            d if d.is_unsigned() => DType::Uint64,
            _ => DType::Int64,
        })
    }

    fn state_bytes(&self, input: &Subject) -> u64 {
        if in_floats(input) { 8 } else { 17 }
    }

    fn start(&self, input: &Subject, n: usize) -> Box<dyn Fold> {
        with_real!(input.dtype, T => if in_floats(input) { float_product::<T>(n) } else { product::<T>(n) })
    }
}

/// Floats multiply as floats, and so does what is wanted as floats.
fn in_floats(input: &Subject) -> bool {
    input.dtype.is_float() || input.output.is_some_and(DType::is_float)
}

/// Exact products, with whether they have outgrown 128 bits, which a later zero still makes zero.
fn product<T: Real>(n: usize) -> Box<dyn Fold> {
    let times = |(a, a_beyond): (i128, u8), (b, b_beyond): (i128, u8)| match a.checked_mul(b) {
        Some(0) => (0, 0),
        Some(product) => (product, a_beyond | b_beyond),
        None => (1, 1),
    };
    let product = tally(IN_TURN, (1, 0), move |product, x: T, _, _| times(product, (x.i128(), 0)), times);
    tallied(n, product, |states, _| {
        let value = |(i, (product, beyond))| match beyond {
            0 => Ok(product),
            _ => Err(Refusal::usage(i, "the product exceeds 128 bits: use --dtype float64")),
        };
        Ok(Results::Int(states.iter().enumerate().map(value).collect::<Result<_, _>>()?))
    })
}

/// Products of floats, or in floats.
fn float_product<T: Real>(n: usize) -> Box<dyn Fold> {
    let times = |(a, ()): (f64, ()), (b, ()): (f64, ())| (a * b, ());
    let product = tally(IN_TURN, (1.0, ()), move |product, x: T, _, _| times(product, (x.f64(), ())), times);
    tallied(n, product, |states, _| Ok(Results::Float(states.a.clone())))
}
