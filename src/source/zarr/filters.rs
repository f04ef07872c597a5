//! Filters of numcodecs that store other elements than those of the array: differences, and narrower types.

use half::f16;
use serde_json::Value;
use zarrs::metadata::Configuration;

use crate::dtype::DType;

/// What elements lie in as, and whether their highest byte comes first.
#[derive(Clone, Copy, Debug)]
struct Stored {
    dtype: DType,
    big_endian: bool,
}

/// From stored elements to those of the array.
#[derive(Clone, Debug)]
pub(super) struct ElementFilter {
    name: &'static str,
    from: Stored,
    to: Stored,
    /// Whether each is added to those before it.
    sums: bool,
}

/// Name, keys of the types in the array and in the file, and whether the latter are differences.
const FILTERS: [(&str, &str, &str, bool); 3] = [
    ("delta", "dtype", "astype", true),
    ("astype", "decode_dtype", "encode_dtype", false),
    ("quantize", "dtype", "astype", false),
];

impl ElementFilter {
    /// Whether there is a filter that Zarr calls `name`, with or without `numcodecs.` before it.
    pub(super) fn is_known(name: &str) -> bool {
        FILTERS.iter().any(|f| f.0 == name.trim_start_matches("numcodecs."))
    }

    /// The filter called `name` with its settings; `None` if they are not understood.
    pub(super) fn new(name: &str, settings: &Configuration) -> Option<Self> {
        let (name, to, from, sums) = *FILTERS.iter().find(|f| f.0 == name.trim_start_matches("numcodecs."))?;
        let stored = |key: &str| settings.get(key).and_then(Value::as_str).and_then(Stored::parse);
        let to = stored(to)?;
        Some(Self { name, from: stored(from).unwrap_or(to), to, sums })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes that `n_bytes` of the array's elements are stored in.
    pub(super) fn stored_bytes(&self, n_bytes: u64) -> u64 {
        n_bytes / self.to.dtype.size() as u64 * self.from.dtype.size() as u64
    }

    /// The array's elements.
    pub(super) fn decode(&self, stored: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(stored.len() / self.from.dtype.size() * self.to.dtype.size());
        let mut sum = if self.to.dtype.is_float() { Number::Float(0.0) } else { Number::Whole(0) };
        for element in stored.chunks_exact(self.from.dtype.size()) {
            let mut number = self.from.read(element);
            if self.sums {
                sum = self.to.rounded(match (sum, number) {
                    (Number::Whole(a), Number::Whole(b)) => Number::Whole(a.wrapping_add(b)),
                    (a, b) => Number::Float(a.float() + b.float()),
                });
                number = sum;
            }
            self.to.write(number, &mut out);
        }
        out
    }
}

/// An element of any type.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Float(x) => x,
        }
    }
}

impl Stored {
    /// A type as NumPy writes it: `<i4`.
    fn parse(text: &str) -> Option<Self> {
        let dtype = DType::ALL.into_iter().find(|d| d.typestr().get(1..) == text.get(1..))?;
        (!dtype.is_complex()).then_some(Self { dtype, big_endian: text.starts_with('>') })
    }

    fn read(self, element: &[u8]) -> Number {
        let mut bytes = [0; 8];
        bytes[..element.len()].copy_from_slice(element);
        if self.big_endian {
            bytes[..element.len()].reverse();
        }
        let (bits, unused) = (u64::from_le_bytes(bytes), 64 - 8 * element.len() as u32);
        match self.dtype {
            DType::Float16 => Number::Float(f16::from_bits(bits as u16).to_f64()),
            DType::Float32 => Number::Float(f32::from_bits(bits as u32).into()),
            DType::Float64 => Number::Float(f64::from_bits(bits)),
            signed if signed.is_signed() => Number::Whole((bits << unused) as i64 >> unused),
            // Whole numbers wrap alike whether they have a sign or not.
            _ => Number::Whole(bits as i64),
        }
    }

    /// What is left of a number in this type: sums of floats are rounded one by one, as NumPy does.
    fn rounded(self, number: Number) -> Number {
        match self.dtype {
            DType::Float16 => Number::Float(f16::from_f64(number.float()).to_f64()),
            DType::Float32 => Number::Float((number.float() as f32).into()),
            DType::Float64 => Number::Float(number.float()),
            _ => number,
        }
    }

    fn write(self, number: Number, out: &mut Vec<u8>) {
        let bits = match (self.dtype, number) {
            (DType::Float16, number) => f16::from_f64(number.float()).to_bits().into(),
            (DType::Float32, number) => (number.float() as f32).to_bits().into(),
            (DType::Float64, number) => number.float().to_bits(),
            (_, Number::Whole(n)) => n as u64,
            (_, Number::Float(x)) => x as i64 as u64,
        };
        let mut bytes = bits.to_le_bytes();
        let element = &mut bytes[..self.dtype.size()];
        if self.big_endian {
            element.reverse();
        }
        out.extend_from_slice(element);
    }
}
