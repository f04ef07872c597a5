//! Results in the element type of the output, with a check that nothing is lost but digits.

use std::fmt::Display;

use bytemuck::Pod;

use crate::block::Buffer;
use crate::dtype::{Complex, DType};
use crate::reduce::fold::{Refusal, Results};
use crate::reduce::number::{Real, with_real};

/// `values` as elements of `dtype`, left where they are if they are that. Floats become integers by rounding to the
/// nearest, ties to even. `asked`: the type was asked for, and a number that would become infinite in it does not fit.
///
/// # Errors
/// `Usage` if a value does not fit.
pub(super) fn store(values: Results, dtype: DType, asked: bool) -> Result<Buffer, Refusal> {
    match values {
        Results::Raw(from, buffer) if from == dtype => Ok(buffer),
        // Every value that is not negative has the same bits.
        Results::Raw(DType::Int64, buffer) if dtype == DType::Uint64 && !has_negative(buffer.bytes()) => Ok(buffer),
        Results::Float(v) if dtype == DType::Float64 => Ok(Buffer::of(v)),
        Results::Complex(v) if dtype == DType::Complex128 => Ok(Buffer::of(v)),
        other => converted(other, dtype, asked),
    }
}

fn has_negative(bytes: &[u8]) -> bool {
    bytes.as_chunks().0.iter().any(|&bytes| i64::from_ne_bytes(bytes) < 0)
}

fn converted(values: Results, dtype: DType, asked: bool) -> Result<Buffer, Refusal> {
    match values {
        Results::Raw(from, buffer) => with_real!(from, T => {
            let values: &[T] = bytemuck::cast_slice(buffer.bytes());
            let float = || Results::Float(values.iter().map(|x| x.f64()).collect());
            let int = || Results::Int(values.iter().map(|x| x.i128()).collect());
            store(if T::FLOAT { float() } else { int() }, dtype, asked)
        }),
        Results::Complex(v) => {
            let part = |at: usize, x: f64| convert::<f32>(at, x, asked, DType::Complex64);
            let number = |(at, [re, im]): (usize, [f64; 2])| match dtype {
                DType::Complex64 => Ok(Complex { re: part(at, re)?, im: part(at, im)? }),
                _ => Err(Refusal::usage(at, format_args!("a complex result cannot be {dtype}: use complex128"))),
            };
            fill(v.into_iter().enumerate().map(number))
        }
        Results::Float(v) if dtype.is_complex() => {
            store(Results::Complex(v.iter().map(|&x| [x, 0.0]).collect()), dtype, asked)
        }
        Results::Float(v) => with_real!(dtype, T => {
            fill(v.iter().enumerate().map(|(at, &x)| convert::<T>(at, x, asked, dtype)))
        }),
        Results::Int(v) if dtype.is_complex() => {
            store(Results::Float(v.iter().map(|&n| n as f64).collect()), dtype, asked)
        }
        Results::Int(v) => with_real!(dtype, T => fill(v.iter().enumerate().map(|(at, &n)| {
            let fits = |x: &T| (dtype != DType::Bool || matches!(n, 0 | 1)) && (!T::FLOAT || x.f64().is_finite());
            T::of_int(n).filter(fits).ok_or_else(|| misfit(at, n, dtype))
        }))),
    }
}

/// Elements, or the first that is refused.
fn fill<T: Pod>(values: impl ExactSizeIterator<Item = Result<T, Refusal>>) -> Result<Buffer, Refusal> {
    let mut buffer = Buffer::default();
    let slots: &mut [T] = bytemuck::cast_slice_mut(buffer.sized(values.len() * size_of::<T>()));
    slots.iter_mut().zip(values).try_for_each(|(slot, value)| value.map(|value| *slot = value))?;
    Ok(buffer)
}

/// Value number `at` as an element of `dtype`, which is a `T`.
fn convert<T: Real>(at: usize, value: f64, asked: bool, dtype: DType) -> Result<T, Refusal> {
    let fits = |x: &T| match dtype {
        DType::Bool => value == 0.0 || value == 1.0,
        _ => !asked || x.f64().is_finite() || !value.is_finite(),
    };
    T::of_float(value).filter(fits).ok_or_else(|| misfit(at, value, dtype))
}

fn misfit(at: usize, value: impl Display, dtype: DType) -> Refusal {
    let value = value.to_string();
    // Huge numbers in full are no help.
    let value = if value.len() > 24 { format!("of {} digits", value.len()) } else { value };
    let way_out = "choose a wider type with --dtype, or float64";
    Refusal::usage(at, format_args!("the result {value} does not fit {dtype}: {way_out}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: Results, dtype: DType) -> Result<Vec<u8>, Refusal> {
        store(values, dtype, true).map(|buffer| buffer.bytes().to_vec())
    }

    #[test]
    fn nothing_is_wrapped_or_clipped() {
        assert!(stored(Results::Int(vec![1 << 63]), DType::Int64).is_err());
        assert!(stored(Results::Int(vec![-1]), DType::Uint64).is_err());
        assert!(stored(Results::Float(vec![2f64.powi(63)]), DType::Int64).is_err());
        assert!(stored(Results::Float(vec![f64::NAN]), DType::Int64).is_err());
        assert!(stored(Results::Float(vec![255.5]), DType::Uint8).is_err());
        assert!(stored(Results::Int(vec![70000]), DType::Float16).is_err());
        assert!(stored(Results::Float(vec![1e300]), DType::Float32).is_err());
        assert!(stored(Results::Complex(vec![[0.0, -1e300]]), DType::Complex64).is_err());
        assert!(stored(Results::Float(vec![f64::INFINITY]), DType::Float32).is_ok());
        assert_eq!(stored(Results::Float(vec![-2f64.powi(63)]), DType::Int64).unwrap(), i64::MIN.to_ne_bytes());
        assert_eq!(stored(Results::Float(vec![254.5, 0.5, 1.5, 255.4]), DType::Uint8).unwrap(), [254, 0, 2, 255]);
        assert_eq!(stored(Results::Float(vec![1.0, f64::MAX]), DType::Int16).unwrap_err().at, 1);
        assert_eq!(stored(Results::raw(DType::Bool, vec![0u8, 1]), DType::Uint8).unwrap(), [0, 1]);
    }
}
