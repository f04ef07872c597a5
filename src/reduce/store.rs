//! Results in the element type of the output, with a check that nothing is lost but digits.

use half::f16;

use crate::dtype::{Complex, DType};
use crate::error::{Error, Result};
use crate::reduce::fold::Values;
use crate::reduce::number::{Real, with_real};

/// Puts `values` into `out` as `dtype`. Floats become integers by rounding to the nearest, ties to even.
/// `asked`: the type was asked for, and a number that would become infinite in it does not fit.
///
/// # Errors
/// `Usage` if a value does not fit; the message begins with the value's number.
///
/// # Panics
/// If `out` is not exactly as long as the values.
pub(super) fn store(values: Values, dtype: DType, asked: bool, out: &mut [u8]) -> Result<()> {
    match values {
        Values::Raw(from, bytes) if from == dtype => out.copy_from_slice(&bytes),
        // Every value that is not negative has the same bits.
        Values::Raw(DType::Int64, bytes) if dtype == DType::Uint64 && !has_negative(&bytes) => {
            out.copy_from_slice(&bytes);
        }
        Values::Raw(from, bytes) => with_real!(from, T => {
            let values: Vec<T> = bytemuck::pod_collect_to_vec(&bytes);
            if T::FLOAT {
                return store(Values::Float(values.iter().map(|x| x.f64()).collect()), dtype, asked, out);
            }
            return store(Values::Int(values.iter().map(|x| x.i128()).collect()), dtype, asked, out);
        }, else return Err(Error::unsupported(format!("{from} results cannot be written as {dtype}")))),
        Values::Int(v) => return ints(&v, dtype, asked, out),
        Values::Float(v) => return floats(&v, dtype, asked, out),
        Values::Complex(v) => match dtype {
            DType::Complex64 => {
                let part = |(at, v): (usize, f64)| narrow(at, v, asked, dtype);
                let number =
                    |(at, &[re, im]): (usize, &[f64; 2])| Ok(Complex { re: part((at, re))?, im: part((at, im))? });
                return try_fill(out, v.iter().enumerate().map(number));
            }
            DType::Complex128 => out.copy_from_slice(bytemuck::cast_slice(&v)),
            _ => return Err(Error::usage(format!("a complex result cannot be written as {dtype}: use complex128"))),
        },
    }
    Ok(())
}

fn has_negative(bytes: &[u8]) -> bool {
    bytes.chunks_exact(8).any(|b| i64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) < 0)
}

/// Puts elements into bytes.
fn fill<T: bytemuck::Pod>(out: &mut [u8], values: impl Iterator<Item = T>) {
    out.chunks_exact_mut(size_of::<T>()).zip(values).for_each(|(slot, v)| slot.copy_from_slice(bytemuck::bytes_of(&v)));
}

fn misfit(at: usize, value: impl std::fmt::Display, dtype: DType) -> Error {
    let value = value.to_string();
    // Huge numbers in full are no help.
    let value = if value.len() > 24 { format!("of {} digits", value.len()) } else { value };
    Error::usage(format!("{at}: the result {value} does not fit {dtype}: choose a wider type with --dtype, or float64"))
}

/// Puts elements that may not fit into bytes.
fn try_fill<T: bytemuck::Pod>(out: &mut [u8], values: impl Iterator<Item = Result<T>>) -> Result<()> {
    for (slot, value) in out.chunks_exact_mut(size_of::<T>()).zip(values) {
        slot.copy_from_slice(bytemuck::bytes_of(&value?));
    }
    Ok(())
}

fn ints(values: &[i128], dtype: DType, asked: bool, out: &mut [u8]) -> Result<()> {
    let numbered = values.iter().enumerate();
    macro_rules! as_int {
        ($t:ty) => {
            try_fill(out, numbered.map(|(at, &v)| <$t>::try_from(v).map_err(|_| misfit(at, v, dtype))))
        };
    }
    match dtype {
        DType::Bool => {
            let bit = |v: i128| u8::try_from(v).ok().filter(|&b| b < 2);
            try_fill(out, numbered.map(|(at, &v)| bit(v).ok_or_else(|| misfit(at, v, dtype))))
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
            try_fill(out, numbered.map(half))
        }
        DType::Float32 => {
            fill(out, values.iter().map(|&v| v as f32));
            Ok(())
        }
        DType::Float64 => {
            fill(out, values.iter().map(|&v| v as f64));
            Ok(())
        }
        DType::Complex64 | DType::Complex128 => {
            store(Values::Complex(values.iter().map(|&v| [v as f64, 0.0]).collect()), dtype, asked, out)
        }
    }
}

fn narrow(at: usize, v: f64, asked: bool, dtype: DType) -> Result<f32> {
    let narrowed = v as f32;
    if asked && v.is_finite() && !narrowed.is_finite() { Err(misfit(at, v, dtype)) } else { Ok(narrowed) }
}

fn floats(values: &[f64], dtype: DType, asked: bool, out: &mut [u8]) -> Result<()> {
    let numbered = values.iter().enumerate();
    macro_rules! as_int {
        ($t:ty) => {
            try_fill(
                out,
                numbered.map(|(at, &v)| {
                    let rounded = v.round_ties_even();
                    // One above the greatest is a power of two, and a float; for 64 bits it is the
                    // greatest's own float.
                    let fits = rounded >= <$t>::MIN as f64 && rounded < <$t>::MAX as f64 + 1.0;
                    if fits { Ok(rounded as $t) } else { Err(misfit(at, v, dtype)) }
                }),
            )
        };
    }
    match dtype {
        DType::Bool => {
            let bit = |(at, &v): (usize, &f64)| match v {
                0.0 => Ok(0u8),
                1.0 => Ok(1),
                _ => Err(misfit(at, v, dtype)),
            };
            try_fill(out, numbered.map(bit))
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
            let half = |(at, &v): (usize, &f64)| match f16::from_f64(v) {
                h if asked && v.is_finite() && !h.is_finite() => Err(misfit(at, v, dtype)),
                h => Ok(h),
            };
            try_fill(out, numbered.map(half))
        }
        DType::Float32 => try_fill(out, numbered.map(|(at, &v)| narrow(at, v, asked, dtype))),
        DType::Float64 => {
            out.copy_from_slice(bytemuck::cast_slice(values));
            Ok(())
        }
        DType::Complex64 | DType::Complex128 => {
            store(Values::Complex(values.iter().map(|&v| [v, 0.0]).collect()), dtype, asked, out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(values: Values, dtype: DType, n: usize) -> Result<Vec<u8>> {
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
        assert_eq!(stored(Values::Raw(DType::Bool, vec![0, 1]), DType::Uint8, 2).unwrap(), [0, 1]);
    }
}
