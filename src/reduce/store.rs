//! Results in the element type of the output, with a check that nothing is lost but digits.

use std::fmt::Display;

use bytemuck::Pod;

use crate::dtype::{Complex, DType};
use crate::reduce::fold::{Refusal, Values};
use crate::reduce::number::{Real, with_real};

/// Puts `values` into `out` as `dtype`. Floats become integers by rounding to the nearest, ties to even.
/// `asked`: the type was asked for, and a number that would become infinite in it does not fit.
///
/// # Errors
/// `Usage` if a value does not fit.
///
/// # Panics
/// If `out` is not exactly as long as the values.
pub(super) fn store(values: Values, dtype: DType, asked: bool, out: &mut [u8]) -> Result<(), Refusal> {
    match values {
        Values::Raw(from, bytes) if from == dtype => out.copy_from_slice(&bytes),
        // Every value that is not negative has the same bits.
        Values::Raw(DType::Int64, bytes) if dtype == DType::Uint64 && !has_negative(&bytes) => {
            out.copy_from_slice(&bytes);
        }
        Values::Raw(from, bytes) => with_real!(from, T => {
            let values: Vec<T> = bytemuck::pod_collect_to_vec(&bytes);
            let values = if T::FLOAT {
                Values::Float(values.iter().map(|x| x.f64()).collect())
            } else {
                Values::Int(values.iter().map(|x| x.i128()).collect())
            };
            return store(values, dtype, asked, out);
        }),
        Values::Float(v) if dtype == DType::Float64 => out.copy_from_slice(bytemuck::cast_slice(&v)),
        Values::Complex(v) if dtype == DType::Complex128 => out.copy_from_slice(bytemuck::cast_slice(&v)),
        Values::Complex(v) => {
            let part = |at: usize, x: f64| convert::<f32>(at, x, asked, DType::Complex64);
            let number = |(at, [re, im]): (usize, [f64; 2])| match dtype {
                DType::Complex64 => Ok(Complex { re: part(at, re)?, im: part(at, im)? }),
                _ => Err(Refusal::usage(at, format_args!("a complex result cannot be {dtype}: use complex128"))),
            };
            return fill(out, v.into_iter().enumerate().map(number));
        }
        Values::Int(v) if dtype.is_complex() => {
            return store(Values::Complex(v.iter().map(|&n| [n as f64, 0.0]).collect()), dtype, asked, out);
        }
        Values::Float(v) if dtype.is_complex() => {
            return store(Values::Complex(v.iter().map(|&x| [x, 0.0]).collect()), dtype, asked, out);
        }
        Values::Int(v) => {
            return with_real!(dtype, T => fill(out, v.iter().enumerate().map(|(at, &n)| {
                let fits = |x: &T| (dtype != DType::Bool || matches!(n, 0 | 1)) && (!T::FLOAT || x.f64().is_finite());
                T::of_int(n).filter(fits).ok_or_else(|| misfit(at, n, dtype))
            })));
        }
        Values::Float(v) => {
            return with_real!(dtype, T => {
                fill(out, v.iter().enumerate().map(|(at, &x)| convert::<T>(at, x, asked, dtype)))
            });
        }
    }
    Ok(())
}

fn has_negative(bytes: &[u8]) -> bool {
    bytes.chunks_exact(8).any(|b| i64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) < 0)
}

/// Puts elements, or the first that is refused, into bytes.
fn fill<T: Pod>(out: &mut [u8], values: impl Iterator<Item = Result<T, Refusal>>) -> Result<(), Refusal> {
    for (slot, value) in out.chunks_exact_mut(size_of::<T>()).zip(values) {
        slot.copy_from_slice(bytemuck::bytes_of(&value?));
    }
    Ok(())
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

    fn stored(values: Values, dtype: DType, n: usize) -> Result<Vec<u8>, Refusal> {
        let mut out = vec![0; n * dtype.size()];
        store(values, dtype, true, &mut out).map(|()| out)
    }

    #[test]
    fn nothing_is_wrapped_or_clipped() {
        assert!(stored(Values::Int(vec![1 << 63]), DType::Int64, 1).is_err());
        assert!(stored(Values::Int(vec![-1]), DType::Uint64, 1).is_err());
        assert!(stored(Values::Float(vec![2f64.powi(63)]), DType::Int64, 1).is_err());
        assert!(stored(Values::Float(vec![f64::NAN]), DType::Int64, 1).is_err());
        assert!(stored(Values::Float(vec![255.5]), DType::Uint8, 1).is_err());
        assert!(stored(Values::Int(vec![70000]), DType::Float16, 1).is_err());
        assert!(stored(Values::Float(vec![1e300]), DType::Float32, 1).is_err());
        assert!(stored(Values::Complex(vec![[0.0, -1e300]]), DType::Complex64, 1).is_err());
        assert!(stored(Values::Float(vec![f64::INFINITY]), DType::Float32, 1).is_ok());
        assert_eq!(stored(Values::Float(vec![-2f64.powi(63)]), DType::Int64, 1).unwrap(), i64::MIN.to_ne_bytes());
        assert_eq!(stored(Values::Float(vec![254.5, 0.5, 1.5, 255.4]), DType::Uint8, 4).unwrap(), [254, 0, 2, 255]);
        assert_eq!(stored(Values::Float(vec![1.0, f64::MAX]), DType::Int16, 2).unwrap_err().at, 1);
        assert_eq!(stored(Values::Raw(DType::Bool, vec![0, 1]), DType::Uint8, 2).unwrap(), [0, 1]);
    }
}
