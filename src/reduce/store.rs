//! Results in the element type of the output, with a check that nothing is lost but digits.

use half::f16;

use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::reduce::fold::Values;
use crate::reduce::number::{Real, with_real};

/// The bytes of `values` as `dtype`. Floats become integers by rounding to the nearest, ties to even.
///
/// # Errors
/// `Usage` if a value does not fit; the message begins with the value's number.
pub(super) fn stored(values: Values, dtype: DType) -> Result<Vec<u8>> {
    match values {
        Values::Raw(from, bytes) if from == dtype => Ok(bytes),
        Values::Raw(from, bytes) => with_real!(from, T => {
            let values: Vec<T> = bytemuck::pod_collect_to_vec(&bytes);
            if T::FLOAT {
                stored(Values::Float(values.iter().map(|x| x.f64()).collect()), dtype)
            } else {
                stored(Values::Int(values.iter().map(|x| x.i128()).collect()), dtype)
            }
        }, else Err(Error::unsupported(format!("{from} results cannot be written as {dtype}")))),
        Values::Int(v) => ints(&v, dtype),
        Values::Float(v) => floats(&v, dtype),
        Values::Complex(v) => match dtype {
            DType::Complex64 => {
                let pairs = v.iter().map(|&[re, im]| Complex { re: re as f32, im: im as f32 });
                Ok(bytemuck::cast_slice(&pairs.collect::<Vec<_>>()).to_vec())
            }
            DType::Complex128 => Ok(bytemuck::cast_slice(&v).to_vec()),
            _ => Err(Error::usage(format!("a complex result cannot be written as {dtype}: use complex128"))),
        },
    }
}

fn misfit(at: usize, value: impl std::fmt::Display, dtype: DType) -> Error {
    Error::usage(format!("{at}: the result {value} does not fit {dtype}: choose a wider type with --dtype, or float64"))
}

fn ints(values: &[i128], dtype: DType) -> Result<Vec<u8>> {
    macro_rules! as_int {
        ($t:ty) => {{
            let mut out = Vec::<$t>::with_capacity(values.len());
            for (at, &v) in values.iter().enumerate() {
                out.push(<$t>::try_from(v).map_err(|_| misfit(at, v, dtype))?);
            }
            Ok(bytemuck::cast_slice(&out).to_vec())
        }};
    }
    match dtype {
        DType::Bool => {
            let bit =
                |(at, &v): (usize, &i128)| u8::try_from(v).ok().filter(|&b| b < 2).ok_or_else(|| misfit(at, v, dtype));
            values.iter().enumerate().map(bit).collect()
        }
        DType::Uint8 => as_int!(u8),
        DType::Uint16 => as_int!(u16),
        DType::Uint32 => as_int!(u32),
        DType::Uint64 => as_int!(u64),
        DType::Int8 => as_int!(i8),
        DType::Int16 => as_int!(i16),
        DType::Int32 => as_int!(i32),
        DType::Int64 => as_int!(i64),
        DType::Float16 => {
            let half = |(at, &v): (usize, &i128)| match f16::from_f64(v as f64) {
                h if h.is_finite() => Ok(h),
                _ => Err(misfit(at, v, dtype)),
            };
            Ok(bytemuck::cast_slice(&values.iter().enumerate().map(half).collect::<Result<Vec<_>>>()?).to_vec())
        }
        DType::Float32 => Ok(bytemuck::cast_slice(&values.iter().map(|&v| v as f32).collect::<Vec<_>>()).to_vec()),
        DType::Float64 => Ok(bytemuck::cast_slice(&values.iter().map(|&v| v as f64).collect::<Vec<_>>()).to_vec()),
        DType::Complex64 | DType::Complex128 => {
            stored(Values::Complex(values.iter().map(|&v| [v as f64, 0.0]).collect()), dtype)
        }
    }
}

fn floats(values: &[f64], dtype: DType) -> Result<Vec<u8>> {
    macro_rules! as_int {
        ($t:ty) => {{
            let mut out = Vec::<$t>::with_capacity(values.len());
            for (at, &v) in values.iter().enumerate() {
                let rounded = v.round_ties_even();
                // One above the greatest is a power of two, and a float; for 64 bits it is the greatest's own float.
                if !(rounded >= <$t>::MIN as f64 && rounded < <$t>::MAX as f64 + 1.0) {
                    return Err(misfit(at, v, dtype));
                }
                out.push(rounded as $t);
            }
            Ok(bytemuck::cast_slice(&out).to_vec())
        }};
    }
    match dtype {
        DType::Bool => {
            let bit = |(at, &v): (usize, &f64)| match v {
                0.0 => Ok(0),
                1.0 => Ok(1),
                _ => Err(misfit(at, v, dtype)),
            };
            values.iter().enumerate().map(bit).collect()
        }
        DType::Uint8 => as_int!(u8),
        DType::Uint16 => as_int!(u16),
        DType::Uint32 => as_int!(u32),
        DType::Uint64 => as_int!(u64),
        DType::Int8 => as_int!(i8),
        DType::Int16 => as_int!(i16),
        DType::Int32 => as_int!(i32),
        DType::Int64 => as_int!(i64),
        DType::Float16 => {
            Ok(bytemuck::cast_slice(&values.iter().map(|&v| f16::from_f64(v)).collect::<Vec<_>>()).to_vec())
        }
        DType::Float32 => Ok(bytemuck::cast_slice(&values.iter().map(|&v| v as f32).collect::<Vec<_>>()).to_vec()),
        DType::Float64 => Ok(bytemuck::cast_slice(values).to_vec()),
        DType::Complex64 | DType::Complex128 => {
            stored(Values::Complex(values.iter().map(|&v| [v, 0.0]).collect()), dtype)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wrapped_or_clipped() {
        assert!(stored(Values::Int(vec![1 << 63]), DType::Int64).is_err());
        assert!(stored(Values::Int(vec![-1]), DType::Uint64).is_err());
        assert!(stored(Values::Float(vec![2f64.powi(63)]), DType::Int64).is_err());
        assert!(stored(Values::Float(vec![f64::NAN]), DType::Int64).is_err());
        assert!(stored(Values::Float(vec![255.5]), DType::Uint8).is_err());
        assert!(stored(Values::Int(vec![70000]), DType::Float16).is_err());
        assert_eq!(stored(Values::Float(vec![-2f64.powi(63)]), DType::Int64).unwrap(), i64::MIN.to_ne_bytes());
        assert_eq!(stored(Values::Float(vec![254.5, 0.5, 1.5, 255.4]), DType::Uint8).unwrap(), [254, 0, 2, 255]);
        assert_eq!(stored(Values::Raw(DType::Bool, vec![0, 1]), DType::Uint8).unwrap(), [0, 1]);
    }
}
