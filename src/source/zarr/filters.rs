//! Filters of numcodecs that store other elements than those of the array: differences, narrower types, and numbers
//! that a scale and an offset bring back.

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
    rule: Rule,
}

/// How an element comes from what is stored, apart from its type.
#[derive(Clone, Copy, Debug)]
enum Rule {
    Same,
    /// Each is added to those before it.
    Sum,
    /// It is divided by a scale and added to an offset.
    Line {
        scale: f64,
        offset: f64,
    },
}

/// Name, and keys of the types in the array and in the file.
const FILTERS: [(&str, &str, &str); 4] = [
    (DELTA, "dtype", "astype"),
    ("astype", "decode_dtype", "encode_dtype"),
    ("quantize", "dtype", "astype"),
    (LINE, "dtype", "astype"),
];
const DELTA: &str = "delta";
const LINE: &str = "fixedscaleoffset";

impl ElementFilter {
    /// Whether there is a filter that Zarr calls `name`, with or without `numcodecs.` before it.
    pub(super) fn is_known(name: &str) -> bool {
        FILTERS.iter().any(|f| f.0 == name.trim_start_matches("numcodecs."))
    }

    /// The filter called `name` with its settings; `None` if they are not understood.
    pub(super) fn new(name: &str, settings: &Configuration) -> Option<Self> {
        let (name, to, from) = *FILTERS.iter().find(|f| f.0 == name.trim_start_matches("numcodecs."))?;
        let stored = |value: &Value| value.as_str().and_then(Stored::parse);
        let to = settings.get(to).and_then(stored)?;
        // Without a type of its own, what is stored has the array's.
        let from = match settings.get(from).filter(|value| !value.is_null()) {
            Some(value) => stored(value)?,
            None => to,
        };
        let number = |key: &str| settings.get(key).and_then(Value::as_f64);
        let rule = match name {
            DELTA => Rule::Sum,
            LINE => Rule::Line { scale: number("scale")?, offset: number("offset")? },
            _ => Rule::Same,
        };
        Some(Self { name, from, to, rule })
    }

    /// Whether `name` is that of a filter for which the order of the elements matters.
    pub(super) fn is_ordered(name: &str) -> bool {
        name.trim_start_matches("numcodecs.") == DELTA
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
            match self.rule {
                Rule::Same => {}
                Rule::Sum => {
                    sum = self.to.rounded(match (sum, number) {
                        (Number::Whole(a), Number::Whole(b)) => Number::Whole(a.wrapping_add(b)),
                        (a, b) => Number::Float(a.float() + b.float()),
                    });
                    number = sum;
                }
                Rule::Line { scale, offset } => number = self.from.on_line(number, scale, offset),
            }
            self.to.write(number, &mut out);
        }
        out
    }
}

/// An element of any type.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
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
            signed if signed.is_signed() => Number::Whole(((bits << unused) as i64 >> unused).into()),
            _ => Number::Whole(bits.into()),
        }
    }

    /// A stored number divided by `scale` and added to `offset`. As NumPy does, floats are rounded to their own type
    /// after each step, scale and offset as well; whole numbers are taken as float64.
    fn on_line(self, number: Number, scale: f64, offset: f64) -> Number {
        let rounded = |x: f64| if self.dtype.is_float() { self.rounded(Number::Float(x)).float() } else { x };
        Number::Float(rounded(rounded(number.float() / rounded(scale)) + rounded(offset)))
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
            (_, Number::Float(x)) => x as i128 as u64,
        };
        let mut bytes = bits.to_le_bytes();
        let element = &mut bytes[..self.dtype.size()];
        if self.big_endian {
            element.reverse();
        }
        out.extend_from_slice(element);
    }
}
