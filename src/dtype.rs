//! Element types and the one dispatch over them.
//!
//! This file alone lists the element types; everything else goes through [`with_dtype!`], [`with_class!`] or
//! the [`Element`] trait. Names are NumPy's.

use std::fmt;
use std::str::FromStr;

use half::f16;

use crate::error::Error;

/// Type of an array element, named as NumPy names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Float32,
    Float64,
    /// Two `float32`, real part first.
    Complex64,
    /// Two `float64`, real part first.
    Complex128,
}

/// A complex number as two floats, laid out as NumPy's `complex64` and `complex128`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Complex<T> {
    /// Real part.
    pub re: T,
    /// Imaginary part.
    pub im: T,
}

// SAFETY: two floats of one type without padding; every bit pattern is valid.
unsafe impl bytemuck::Zeroable for Complex<f32> {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Complex<f32> {}
// SAFETY: as above.
unsafe impl bytemuck::Zeroable for Complex<f64> {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Complex<f64> {}

/// A type that array elements can have in memory, in native byte order.
pub trait Element: bytemuck::Pod + PartialEq + Default + fmt::Debug + Send + Sync {}

impl<T: bytemuck::Pod + PartialEq + Default + fmt::Debug + Send + Sync> Element for T {}

/// Runs `$int` with `$I` standing for the Rust type of an integer `$dtype` (`bool` runs as `u8`), `$float` with
/// `$F` for that of a real float, `$complex` with `$C` for that of each part of a complex number.
#[macro_export]
macro_rules! with_class {
    ($dtype:expr, int $I:ident => $int:expr, float $F:ident => $float:expr, complex $C:ident => $complex:expr) => {{
        use $crate::dtype::DType;
        macro_rules! arm {
            ($T:ident, $t:ty, $body:expr) => {{
                #[allow(dead_code)]
                type $T = $t;
                $body
            }};
        }
        match $dtype {
            DType::Bool | DType::Uint8 => arm!($I, u8, $int),
            DType::Uint16 => arm!($I, u16, $int),
            DType::Uint32 => arm!($I, u32, $int),
            DType::Uint64 => arm!($I, u64, $int),
            DType::Int8 => arm!($I, i8, $int),
            DType::Int16 => arm!($I, i16, $int),
            DType::Int32 => arm!($I, i32, $int),
            DType::Int64 => arm!($I, i64, $int),
            DType::Float16 => arm!($F, half::f16, $float),
            DType::Float32 => arm!($F, f32, $float),
            DType::Float64 => arm!($F, f64, $float),
            DType::Complex64 => arm!($C, f32, $complex),
            DType::Complex128 => arm!($C, f64, $complex),
        }
    }};
}

/// Runs `$body` with `$T` standing for the Rust type of `$dtype`; `bool` runs as `u8`.
#[macro_export]
macro_rules! with_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        $crate::with_class!($dtype, int $T => $body, float $T => $body, complex Part => {
            type $T = $crate::dtype::Complex<Part>;
            $body
        })
    };
}

impl DType {
    /// Every element type.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::Complex64,
        Self::Complex128,
    ];

    /// NumPy's name, such as `uint16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
        }
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        with_dtype!(self, T => size_of::<T>())
    }

    /// NumPy's array-protocol string, such as `<u2`; also the dtype of Zarr v2 metadata.
    pub fn typestr(self) -> String {
        let kind = match self {
            Self::Bool => 'b',
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => 'u',
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => 'i',
            Self::Float16 | Self::Float32 | Self::Float64 => 'f',
            Self::Complex64 | Self::Complex128 => 'c',
        };
        let size = self.size();
        let order = if size == 1 { '|' } else { '<' };
        format!("{order}{kind}{size}")
    }

    /// Bytes of the unit that byte order applies to: half an element for complex numbers.
    pub fn swap_size(self) -> usize {
        if self.is_complex() { self.size() / 2 } else { self.size() }
    }

    /// Whether elements are integers (`bool` is not).
    pub fn is_integer(self) -> bool {
        self.is_unsigned() || self.is_signed()
    }

    /// Whether elements are unsigned integers.
    pub fn is_unsigned(self) -> bool {
        matches!(self, Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64)
    }

    /// Whether elements are signed integers.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64)
    }

    /// Whether elements are real floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }

    /// Whether elements are complex.
    pub fn is_complex(self) -> bool {
        matches!(self, Self::Complex64 | Self::Complex128)
    }

    /// Bytes, in native order, of one element of this type with the value `text` names.
    ///
    /// `nan`, `inf` and `-inf` are understood for floats, `true` and `false` for booleans; a complex number
    /// takes its real part from the text.
    ///
    /// # Errors
    /// `Usage` if the value is not one this type can hold exactly.
    pub fn parse_element(self, text: &str) -> Result<Vec<u8>, Error> {
        let no =
            |expected: &str| Error::usage(format!("'{text}' is not a value that {self} can hold: expected {expected}"));
        macro_rules! whole {
            ($t:ty) => {{
                let expected = || format!("a whole number from {} to {}", <$t>::MIN, <$t>::MAX);
                text.parse::<$t>().map_err(|_| no(&expected()))?.to_ne_bytes().to_vec()
            }};
        }
        // A number so large that it would become infinite does not fit.
        let is_infinite = text.to_ascii_lowercase().contains("inf");
        let fits = |finite: bool| if finite || is_infinite { Ok(()) } else { Err(no("a smaller number")) };
        macro_rules! real {
            ($t:ty) => {{
                let value = text.parse::<$t>().map_err(|_| no("a number"))?;
                fits(!value.is_infinite())?;
                value
            }};
        }
        Ok(match self {
            Self::Bool => match text {
                "0" | "false" => vec![0],
                "1" | "true" => vec![1],
                _ => return Err(no("0, 1, false or true")),
            },
            Self::Uint8 => whole!(u8),
            Self::Uint16 => whole!(u16),
            Self::Uint32 => whole!(u32),
            Self::Uint64 => whole!(u64),
            Self::Int8 => whole!(i8),
            Self::Int16 => whole!(i16),
            Self::Int32 => whole!(i32),
            Self::Int64 => whole!(i64),
            Self::Float16 => {
                let value = f16::from_f64(real!(f64));
                fits(!value.is_infinite())?;
                value.to_ne_bytes().to_vec()
            }
            Self::Float32 => real!(f32).to_ne_bytes().to_vec(),
            Self::Float64 => real!(f64).to_ne_bytes().to_vec(),
            Self::Complex64 => [real!(f32).to_ne_bytes(), [0; 4]].concat(),
            Self::Complex128 => [real!(f64).to_ne_bytes(), [0; 8]].concat(),
        })
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|d| d.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|d| d.name()).collect();
            Error::usage(format!("'{text}' is not an element type: one of {}", names.join(", ")))
        })
    }
}

impl<'de> serde::Deserialize<'de> for DType {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for DType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Turns the bytes of every unit of `size` bytes around.
///
/// # Panics
/// If `bytes` are not aligned for such units.
pub fn swap_bytes(bytes: &mut [u8], size: usize) {
    match size {
        2 => swap_u16(bytemuck::cast_slice_mut(bytes)),
        4 => swap_u32(bytemuck::cast_slice_mut(bytes)),
        8 => swap_u64(bytemuck::cast_slice_mut(bytes)),
        _ => {}
    }
}

macro_rules! swap {
    ($name:ident, $t:ty) => {
        #[multiversion::multiversion(targets("x86_64+avx2", "x86_64+ssse3"))]
        fn $name(values: &mut [$t]) {
            for v in values {
                *v = v.swap_bytes();
            }
        }
    };
}
swap!(swap_u16, u16);
swap!(swap_u32, u32);
swap!(swap_u64, u64);

/// The numbers that `bytes`, aligned elements of `dtype` in native order, are; of complex ones the real parts.
///
/// # Panics
/// If `bytes` are not aligned, or no whole elements.
pub fn to_f64(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    with_class!(dtype,
        int T => bytemuck::cast_slice::<u8, T>(bytes).iter().map(|&n| n as f64).collect(),
        float T => bytemuck::cast_slice::<u8, T>(bytes).iter().map(|&n| real(n)).collect(),
        complex T => bytemuck::cast_slice::<u8, T>(bytes).iter().step_by(2).map(|&n| real(n)).collect())
}

fn real(number: impl Into<f64>) -> f64 {
    number.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_numpys() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse::<DType>().unwrap(), dtype);
        }
        assert_eq!(DType::Uint16.typestr(), "<u2");
        assert_eq!(DType::Bool.typestr(), "|b1");
        assert_eq!(DType::Complex128.typestr(), "<c16");
        assert_eq!(DType::Complex128.swap_size(), 8);
        assert!("uint24".parse::<DType>().is_err());
    }

    #[test]
    fn fill_values_are_exact_or_refused() {
        assert_eq!(DType::Uint16.parse_element("513").unwrap(), [1, 2]);
        assert!(DType::Uint8.parse_element("256").is_err());
        assert!(DType::Uint8.parse_element("1.5").is_err());
        assert_eq!(DType::Float32.parse_element("nan").unwrap().len(), 4);
        // The least number of 32 bits, as it is often written.
        assert_eq!(DType::Float32.parse_element("-3.40282347e+38").unwrap(), f32::MIN.to_ne_bytes());
        for (dtype, text) in [(DType::Float16, "70000"), (DType::Float32, "1e39"), (DType::Float64, "-1e999")] {
            assert!(dtype.parse_element(text).is_err(), "{dtype} {text}");
            assert!(dtype.parse_element("-Inf").is_ok(), "{dtype}");
        }
        assert_eq!(DType::Complex64.parse_element("1").unwrap(), [0, 0, 128, 63, 0, 0, 0, 0]);
    }
}
