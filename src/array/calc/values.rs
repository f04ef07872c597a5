//! What the elements of an operand can be, and in which machine type an operation is done: integers never wrap.

use crate::dtype::DType;

/// What elements can be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// True or false.
    Bool,
    /// Whole numbers from `low` to `high`.
    Whole {
        /// The least.
        low: i128,
        /// The greatest.
        high: i128,
    },
    /// `float32`.
    Single,
    /// `float64`.
    Double,
}

use Values::{Bool, Double, Single, Whole};

/// Whole numbers up to these are exact in `float32` and in `float64`.
const EXACT_IN_SINGLE: i128 = 1 << 24;
const EXACT_IN_DOUBLE: i128 = 1 << 53;

/// A machine type that operations are done in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum MachineType {
    Bool,
    I32,
    I64,
    U64,
    F32,
    F64,
}

impl MachineType {
    pub(super) fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }
}

/// Element types with their ranges, narrower ones first.
const WHOLE: [(DType, i128, i128); 8] = [
    (DType::Uint8, 0, u8::MAX as i128),
    (DType::Int8, i8::MIN as i128, i8::MAX as i128),
    (DType::Uint16, 0, u16::MAX as i128),
    (DType::Int16, i16::MIN as i128, i16::MAX as i128),
    (DType::Uint32, 0, u32::MAX as i128),
    (DType::Int32, i32::MIN as i128, i32::MAX as i128),
    (DType::Uint64, 0, u64::MAX as i128),
    (DType::Int64, i64::MIN as i128, i64::MAX as i128),
];

/// The least and the greatest value of an integer type.
pub fn range(dtype: DType) -> Option<(i128, i128)> {
    WHOLE.iter().find(|w| w.0 == dtype).map(|w| (w.1, w.2))
}

impl Values {
    /// What elements of `dtype` can be; nothing for complex numbers, which have no order.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::Bool => Some(Bool),
            DType::Float16 | DType::Float32 => Some(Single),
            DType::Float64 => Some(Double),
            DType::Complex64 | DType::Complex128 => None,
            whole => range(whole).map(|(low, high)| Whole { low, high }),
        }
    }

    /// The narrowest type that holds them all, if any does.
    pub fn dtype(self) -> Option<DType> {
        match self {
            Bool => Some(DType::Bool),
            Single => Some(DType::Float32),
            Double => Some(DType::Float64),
            Whole { low, high } => WHOLE.iter().find(|w| w.1 <= low && high <= w.2).map(|w| w.0),
        }
    }

    /// Whether each of these is, as it is, one of `to`; floats may become wider.
    pub(super) fn are_held_by(self, to: Self) -> bool {
        let within = |low, high| match to.as_numbers() {
            Single => -EXACT_IN_SINGLE <= low && high <= EXACT_IN_SINGLE,
            Double => -EXACT_IN_DOUBLE <= low && high <= EXACT_IN_DOUBLE,
            Whole { low: l, high: h } => l <= low && high <= h,
            Bool => false,
        };
        match self.as_numbers() {
            Whole { low, high } => within(low, high),
            Single => matches!(to, Single | Double),
            float => float == to,
        }
    }

    /// Truth values as the numbers 0 and 1.
    pub(super) fn as_numbers(self) -> Self {
        if self == Bool { Whole { low: 0, high: 1 } } else { self }
    }

    /// The machine type that holds them.
    pub(super) fn class(self) -> Option<MachineType> {
        let within = |(low, high): (i128, i128), (least, most): (i128, i128)| least <= low && high <= most;
        match self {
            Bool => Some(MachineType::Bool),
            Single => Some(MachineType::F32),
            Double => Some(MachineType::F64),
            Whole { low, high } if within((low, high), (i32::MIN.into(), i32::MAX.into())) => Some(MachineType::I32),
            Whole { low, high } if within((low, high), (i64::MIN.into(), i64::MAX.into())) => Some(MachineType::I64),
            Whole { low, high } if within((low, high), (0, u64::MAX.into())) => Some(MachineType::U64),
            Whole { .. } => None,
        }
    }

    /// What can be either of this or of `other`. Numbers that were typed (`is_typed`) take the type of floats beside
    /// them.
    pub(super) fn with(self, is_typed: bool, other: Self, other_is_typed: bool) -> Self {
        match (self.as_numbers(), other.as_numbers()) {
            (Whole { low, high }, Whole { low: l, high: h }) => Whole { low: low.min(l), high: high.max(h) },
            (whole @ Whole { .. }, float) => float.beside(whole, is_typed, other_is_typed),
            (float, whole @ Whole { .. }) => float.beside(whole, other_is_typed, is_typed),
            (_, Double) if !other_is_typed => Double,
            (Double, _) if !is_typed => Double,
            _ => Single,
        }
    }

    /// The float that this float and `whole` numbers become together.
    fn beside(self, whole: Self, whole_is_typed: bool, is_typed: bool) -> Self {
        match (self, whole_is_typed) {
            (float, true) => {
                if is_typed {
                    Double
                } else {
                    float
                }
            }
            (Double, false) if !is_typed => Double,
            _ => whole.float(),
        }
    }

    /// The float that these become where a result has fractions: `float32` where that holds them all.
    pub(super) fn float(self) -> Self {
        match self.as_numbers() {
            Whole { low, high } if -EXACT_IN_SINGLE <= low && high <= EXACT_IN_SINGLE => Single,
            Whole { .. } => Double,
            float => float,
        }
    }

    /// The float that these become where a result has fractions.
    #[must_use]
    pub fn with_fractions(self) -> Self {
        self.float()
    }

    /// The least and the greatest of whole numbers.
    pub fn as_whole(self) -> Option<(i128, i128)> {
        match self.as_numbers() {
            Whole { low, high } => Some((low, high)),
            _ => None,
        }
    }

    /// What is either of this or of `other`.
    #[must_use]
    pub fn holding(self, other: Self) -> Self {
        if self == other { self } else { self.with(false, other, false) }
    }

    /// In words, for messages.
    pub(super) fn words(self) -> String {
        match self {
            Whole { low, high } => format!("whole numbers from {low} to {high}"),
            other => other.dtype().map_or(String::new(), |d| d.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_hold_what_they_must() {
        let whole = |low, high| Whole { low, high };
        assert_eq!(whole(-65535, 65535).dtype(), Some(DType::Int32));
        assert_eq!(whole(0, 131_070).dtype(), Some(DType::Uint32));
        assert_eq!(whole(-1, i128::from(u64::MAX)).dtype(), None);
        assert_eq!(whole(-65535, 65535).float(), Single);
        assert_eq!(Values::of(DType::Int32).unwrap().float(), Double);
        assert_eq!(whole(0, 65535).with(false, Double, true), Single);
        assert_eq!(whole(0, 1 << 40).with(false, Double, true), Double);
        assert_eq!(whole(0, 1 << 40).with(true, Single, false), Single);
        assert_eq!(Double.with(false, Double, true), Double);
        assert_eq!(Single.with(false, Double, true), Single);
        assert_eq!(Bool.with(false, Bool, false), whole(0, 1));
        assert!(whole(0, 1 << 24).are_held_by(Single) && !whole(0, (1 << 24) + 1).are_held_by(Single));
        assert!(
            Single.are_held_by(Double)
                && !Double.are_held_by(Single)
                && !Values::of(DType::Int64).unwrap().are_held_by(Double)
        );
    }
}
