//! any, all, and the product.

use std::marker::PhantomData;

use crate::dtype::DType;
use crate::error::Result;
use crate::reduce::fold::{Counts, Fold, Refusal, Values};
use crate::reduce::number::{Real, with_real};
use crate::reduce::operator::{Input, Operator, OperatorKind};
use crate::reduce::tally::{Columns, Tallied, Total, tally};

/// Whether any element is not zero.
pub(super) const ANY: OperatorKind =
    OperatorKind::plain("any", "whether any element is not zero", |_| Box::new(Truth { all: false }));

/// Whether no element is zero.
pub(super) const ALL: OperatorKind =
    OperatorKind::plain("all", "whether no element is zero", |_| Box::new(Truth { all: true }));

/// Product of elements.
pub(super) const PROD: OperatorKind =
    OperatorKind::plain("prod", "product; exact for integers, an error if it does not fit", |_| Box::new(Product));

#[derive(Clone, Copy, Debug)]
struct Truth {
    all: bool,
}

impl Operator for Truth {
    fn dtype(&self, _: &Input) -> Result<DType> {
        Ok(DType::Bool)
    }

    fn state_bytes(&self, _: &Input) -> u64 {
        1
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        with_real!(input.dtype, T => if self.all {
            Box::new(Tallied::new(Settled::<T, true>(PhantomData), n))
        } else {
            Box::new(Tallied::new(Settled::<T, false>(PhantomData), n))
        })
    }
}

/// Whether an element was seen that settles the matter: a zero for `all`, anything else for `any`.
#[derive(Clone)]
struct Settled<T, const ALL: bool>(PhantomData<T>);

tally! {
    impl[T: Real, const ALL: bool] Settled<T, ALL>, of T, in (u8, ()), ANY_ORDER;
    empty: (0, ());
    step: |(settled, ()), x| (settled | u8::from((x == T::default()) == ALL), ());
    join: |(settled, ()), (later, ())| (settled | later, ());
}

impl<T: Real, const ALL: bool> Total for Settled<T, ALL> {
    fn total(&self, states: &Columns<u8, ()>, _: &Counts) -> Result<Values, Refusal> {
        Ok(Values::Raw(DType::Bool, states.a.iter().map(|&s| u8::from((s != 0) != ALL)).collect()))
    }
}

#[derive(Clone, Copy, Debug)]
struct Product;

impl Operator for Product {
    fn dtype(&self, input: &Input) -> Result<DType> {
        Ok(match input.dtype {
            d if d.is_float() => d,
            d if d.is_unsigned() => DType::Uint64,
            _ => DType::Int64,
        })
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        if in_floats(input) { 8 } else { 17 }
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        with_real!(input.dtype, T => if in_floats(input) {
            Box::new(Tallied::new(FloatProduct::<T>(PhantomData), n))
        } else {
            Box::new(Tallied::new(IntProduct::<T>(PhantomData), n))
        })
    }
}

/// Floats multiply as floats, and so does what is wanted as floats.
fn in_floats(input: &Input) -> bool {
    input.dtype.is_float() || input.output.is_some_and(DType::is_float)
}

/// Exact products, with whether they have outgrown 128 bits, which a later zero still makes zero.
#[derive(Clone)]
struct IntProduct<T>(PhantomData<T>);

tally! {
    impl[T: Real] IntProduct<T>, of T, in (i128, u8);
    empty: (1, 0);
    step: |product, x| times(product, (x.i128(), 0));
    join: |product, later| times(product, later);
}

#[inline(always)]
fn times((a, a_beyond): (i128, u8), (b, b_beyond): (i128, u8)) -> (i128, u8) {
    match a.checked_mul(b) {
        Some(0) => (0, 0),
        Some(product) => (product, a_beyond | b_beyond),
        None => (1, 1),
    }
}

impl<T: Real> Total for IntProduct<T> {
    fn total(&self, states: &Columns<i128, u8>, _: &Counts) -> Result<Values, Refusal> {
        let value = |(i, (product, beyond))| match beyond {
            0 => Ok(product),
            _ => Err(Refusal::usage(i, "the product exceeds 128 bits: use --dtype float64")),
        };
        Ok(Values::Int(states.iter().enumerate().map(value).collect::<Result<_, _>>()?))
    }
}

/// Products of floats, or in floats.
#[derive(Clone)]
struct FloatProduct<T>(PhantomData<T>);

tally! {
    impl[T: Real] FloatProduct<T>, of T, in (f64, ());
    empty: (1.0, ());
    step: |(product, ()), x| (product * x.f64(), ());
    join: |(product, ()), (later, ())| (product * later, ());
}

impl<T: Real> Total for FloatProduct<T> {
    fn total(&self, states: &Columns<f64, ()>, _: &Counts) -> Result<Values, Refusal> {
        Ok(Values::Float(states.a.clone()))
    }
}
