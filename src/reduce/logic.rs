//! any, all, and the product.

use multiversion::multiversion;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::reduce::fold::{Counts, Fold, Outcome, Values, erased, taken};
use crate::reduce::number::{Integer, Real, with_class, with_real};
use crate::reduce::panel::{Along, Panel};
use crate::reduce::{Input, Kind, Operator, no_argument};

/// Whether any element is not zero.
pub(super) const ANY: Kind = Kind {
    name: "any",
    argument: "",
    about: "whether any element is not zero",
    parse: |argument, _| no_argument("any", argument, Truth { all: false }),
};

/// Whether no element is zero.
pub(super) const ALL: Kind = Kind {
    name: "all",
    argument: "",
    about: "whether no element is zero",
    parse: |argument, _| no_argument("all", argument, Truth { all: true }),
};

/// Product of elements.
pub(super) const PROD: Kind = Kind {
    name: "prod",
    argument: "",
    about: "product; exact for integers, an error if it does not fit",
    parse: |argument, _| no_argument("prod", argument, Product),
};

#[derive(Clone, Copy, Debug)]
struct Truth {
    all: bool,
}

impl Operator for Truth {
    fn label(&self) -> String {
        if self.all { "all" } else { "any" }.to_owned()
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        if input.dtype.is_complex() { Err(super::no_complex(&self.label())) } else { Ok(DType::Bool) }
    }

    fn state_bytes(&self, _: &Input) -> u64 {
        1
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        with_real!(input.dtype, T => if self.all {
            Box::new(Flags::<T, true>::new(n))
        } else {
            Box::new(Flags::<T, false>::new(n))
        }, else super::refused())
    }
}

/// Whether an element was seen that settles the matter: a zero for `all`, anything else for `any`.
struct Flags<T, const ALL: bool> {
    settled: Vec<u8>,
    of: std::marker::PhantomData<T>,
}

impl<T, const ALL: bool> Flags<T, ALL> {
    fn new(n: usize) -> Self {
        Self { settled: vec![0; n], of: std::marker::PhantomData }
    }
}

impl<T: Real, const ALL: bool> Fold for Flags<T, ALL> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        settle::<T, ALL>(&mut self.settled[panel.at..panel.at + panel.n_outputs()], panel);
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        self.settled.iter_mut().zip(taken::<Self>(later).settled).for_each(|(a, b)| *a |= b);
        Ok(())
    }

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        let values = self.settled.iter().map(|&s| s ^ u8::from(ALL)).collect();
        Ok(Outcome::Done(Values::Raw(DType::Bool, values)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.settled.len()))
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn settle<T: Real, const ALL: bool>(settled: &mut [u8], panel: &Panel<'_>) {
    for row in 0..panel.n_rows {
        let values = panel.row::<T>(row);
        let mask = panel.mask_row(row);
        let settles = |x: T| u8::from((x == T::default()) == ALL);
        match (panel.along, mask) {
            (Along::Columns, None) => settled.iter_mut().zip(values).for_each(|(s, &x)| *s |= settles(x)),
            (Along::Columns, Some(mask)) => {
                settled.iter_mut().zip(values).zip(mask).for_each(|((s, &x), &m)| *s |= settles(x) & m);
            }
            (Along::Rows, None) => settled[row] |= values.iter().fold(0, |s, &x| s | settles(x)),
            (Along::Rows, Some(mask)) => {
                settled[row] |= values.iter().zip(mask).fold(0, |s, (&x, &m)| s | settles(x) & m);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Product;

impl Operator for Product {
    fn label(&self) -> String {
        "prod".to_owned()
    }

    fn dtype(&self, input: &Input) -> Result<DType> {
        match input.dtype {
            d if d.is_complex() => Err(super::no_complex("prod")),
            d if d.is_float() => Ok(d),
            d if d.is_unsigned() => Ok(DType::Uint64),
            _ => Ok(DType::Int64),
        }
    }

    fn state_bytes(&self, input: &Input) -> u64 {
        if self.in_floats(input) { 8 } else { 32 }
    }

    fn start(&self, input: &Input, n: usize) -> Box<dyn Fold> {
        if self.in_floats(input) {
            return with_real!(input.dtype, T => Box::new(FloatProduct::<T>::new(n)), else super::refused());
        }
        with_class!(
            input.dtype,
            int T => Box::new(IntProduct::<T>::new(n)),
            float F => Box::new(FloatProduct::<F>::new(n)),
            else super::refused()
        )
    }
}

impl Product {
    /// Floats multiply as floats, and so does what is wanted as floats.
    fn in_floats(self, input: &Input) -> bool {
        input.dtype.is_float() || input.output.is_some_and(DType::is_float)
    }
}

/// Exact products; `None` has outgrown 128 bits, which a later zero still makes zero.
struct IntProduct<T> {
    products: Vec<Option<i128>>,
    of: std::marker::PhantomData<T>,
}

impl<T> IntProduct<T> {
    fn new(n: usize) -> Self {
        Self { products: vec![Some(1); n], of: std::marker::PhantomData }
    }
}

fn times(a: Option<i128>, b: Option<i128>) -> Option<i128> {
    match (a, b) {
        (Some(0), _) | (_, Some(0)) => Some(0),
        (Some(a), Some(b)) => a.checked_mul(b),
        _ => None,
    }
}

impl<T: Integer> Fold for IntProduct<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        for_each_present::<T>(panel, |i, x| self.products[i] = times(self.products[i], Some(x.i128())));
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        let later = taken::<Self>(later).products;
        self.products.iter_mut().zip(later).for_each(|(a, b)| *a = times(*a, b));
        Ok(())
    }

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        let too_large = || Error::usage("a product exceeds 128 bits: use --dtype float64");
        let values = self.products.iter().map(|p| p.ok_or_else(too_large)).collect::<Result<_>>()?;
        Ok(Outcome::Done(Values::Int(values)))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.products.len()))
    }
}

/// Calls `f` with the output and value of each element that counts, in order.
pub(super) fn for_each_present<T: Real>(panel: &Panel<'_>, mut f: impl FnMut(usize, T)) {
    for row in 0..panel.n_rows {
        let mask = panel.mask_row(row);
        for (column, &x) in panel.row::<T>(row).iter().enumerate() {
            if mask.is_none_or(|m| m[column] != 0) {
                f(panel.at + if panel.along == Along::Columns { column } else { row }, x);
            }
        }
    }
}

struct FloatProduct<T> {
    products: Vec<f64>,
    of: std::marker::PhantomData<T>,
}

impl<T> FloatProduct<T> {
    fn new(n: usize) -> Self {
        Self { products: vec![1.0; n], of: std::marker::PhantomData }
    }
}

impl<T: Real> Fold for FloatProduct<T> {
    erased!();

    fn fold(&mut self, panel: &Panel<'_>, _: &Counts) -> Result<()> {
        for_each_present::<T>(panel, |i, x| self.products[i] *= x.f64());
        Ok(())
    }

    fn merge(&mut self, later: Box<dyn Fold>, _: (&Counts, &Counts)) -> Result<()> {
        self.products.iter_mut().zip(taken::<Self>(later).products).for_each(|(a, b)| *a *= b);
        Ok(())
    }

    fn finish(&mut self, _: &Counts) -> Result<Outcome> {
        Ok(Outcome::Done(Values::Float(std::mem::take(&mut self.products))))
    }

    fn fork(&self) -> Box<dyn Fold> {
        Box::new(Self::new(self.products.len()))
    }
}
