//! What the kernels need to know of an element type: its order, its values, its sums.

use half::f16;

use crate::dtype::Element;
use crate::reduce::saved::Scalar;

/// A real element type: integers, floats, and booleans as `u8`.
pub(super) trait Real: Element + Scalar + PartialOrd {
    /// The integer that orders it.
    type Key: Integer;
    /// Whether it has a NaN.
    const FLOAT: bool;

    /// Its key; every NaN is the greatest key.
    fn key(self) -> Self::Key;

    /// The element of a key of either kind.
    fn from_key(key: Self::Key) -> Self;

    /// As `float64`; exact but for 64-bit integers.
    fn f64(self) -> f64;

    /// As an integer; of use for integer types only.
    fn i128(self) -> i128;

    /// The element nearest to `x`, ties to even; none if an integer's range ends before.
    fn of_float(x: f64) -> Option<Self>;

    /// The element nearest to `n`, ties to even; none if an integer's range ends before.
    fn of_int(n: i128) -> Option<Self>;

    /// The difference, rounded once.
    fn minus(self, other: Self) -> f64;

    /// Whether it is NaN.
    #[inline(always)]
    fn is_nan(self) -> bool {
        false
    }

    /// Its key; every NaN is the least key.
    #[inline(always)]
    fn key_nan_least(self) -> Self::Key {
        if self.is_nan() { Self::Key::MIN } else { self.key() }
    }
}

// The bits of a float, read as a signed integer, are in order once those of negative numbers have all but
// the sign turned over. The all-ones pattern that stays free at either end stands for NaN.
macro_rules! real_float {
    ($($t:ty, $i:ty, $u:ty, $nan:expr, $f64:expr, $of_float:expr, $of_int:expr);*) => {$(
        impl Real for $t {
            type Key = $i;
            const FLOAT: bool = true;

            #[inline(always)]
            fn key(self) -> $i {
                let bits = self.to_bits() as $i;
                if $nan(self) { <$i>::MAX } else { bits ^ (((bits >> (<$i>::BITS - 1)) as $u) >> 1) as $i }
            }

            fn from_key(key: $i) -> Self {
                if key == <$i>::MAX || key == <$i>::MIN {
                    return <$t>::NAN;
                }
                Self::from_bits((key ^ (((key >> (<$i>::BITS - 1)) as $u) >> 1) as $i) as $u)
            }

            #[inline(always)]
            fn f64(self) -> f64 {
                $f64(self)
            }

            fn i128(self) -> i128 {
                0
            }

            fn of_float(x: f64) -> Option<Self> {
                Some($of_float(x))
            }

            fn of_int(n: i128) -> Option<Self> {
                Some($of_int(n))
            }

            #[inline(always)]
            fn minus(self, other: Self) -> f64 {
                Real::f64(self) - Real::f64(other)
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                $nan(self)
            }
        }
    )*};
}

/// `float16` to `float64` by integer arithmetic, which vectorises without the F16C extension.
#[inline(always)]
fn f64_from_f16(x: f16) -> f64 {
    let bits = u32::from(x.to_bits());
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
    // Scaling by 2^112 moves the exponent's bias from 15 to 127, and makes subnormals normal.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let finite = if magnitude >= 0x7c00 { f32::from_bits(0x7f80_0000 | (magnitude & 0x3ff) << 13) } else { scaled };
    f64::from(f32::from_bits(finite.to_bits() | sign))
}

real_float!(
    f16, i16, u16, |x: f16| (x.to_bits() & 0x7fff) > 0x7c00, f64_from_f16, f16::from_f64, |n| f16::from_f64(n as f64);
    f32, i32, u32, |x: f32| x.is_nan(), f64::from, |x| x as f32, |n| n as f32;
    f64, i64, u64, |x: f64| x.is_nan(), |x: f64| x, |x| x, |n| n as f64
);

/// The type's NaN, if it has one.
pub(super) fn nan<T: Real>() -> Option<T> {
    T::FLOAT.then(|| T::from_key(T::Key::MAX))
}

/// The element, or positive zero for a zero of either sign.
#[inline(always)]
pub(super) fn one_zero<T: Real>(x: T) -> T {
    // -0 is the one value that equals the default without having its bits.
    if x == T::default() { T::default() } else { x }
}

/// An integer type: the elements of arrays, and the keys that order them.
pub(super) trait Integer: Real<Key = Self> + Into<Self::Narrow> + Ord + std::hash::Hash {
    /// Holds sums of up to [`Integer::SPILL`] elements.
    type Narrow: Scalar + Into<i128> + std::ops::Add<Output = Self::Narrow>;
    /// Holds sums of squares of up to [`Integer::SPILL`] elements.
    type Square: Scalar + Into<u128> + std::ops::Add<Output = Self::Square>;
    /// Elements that a sum can take before it must be carried to a wider one.
    const SPILL: u64;
    const MIN: Self;
    const MAX: Self;
    const BITS: u32;
    /// Largest magnitude of an element.
    const LARGEST: u128;

    /// The element's square, to be added up.
    fn square(self) -> Self::Square;

    /// An unsigned number of as many bits in the same order.
    fn bits(self) -> u64;

    /// Inverse of [`Integer::bits`].
    fn from_bits(bits: u64) -> Self;

    /// What every other one wins over or equals.
    fn neutral<const GREATEST: bool>() -> Self {
        if GREATEST { Self::MIN } else { Self::MAX }
    }

    /// Whether it is the greater, or the lesser one.
    #[inline(always)]
    fn wins<const GREATEST: bool>(self, other: Self) -> bool {
        if GREATEST { self > other } else { self < other }
    }

    /// The greater, or the lesser one.
    #[inline(always)]
    fn better<const GREATEST: bool>(self, other: Self) -> Self {
        if GREATEST { self.max(other) } else { self.min(other) }
    }
}

macro_rules! integers {
    ($($t:ty, $u:ty, $narrow:ty, $square:ty, $product:ty, $spill:expr);*) => {$(
        impl Scalar for $t {}

        impl Real for $t {
            type Key = Self;
            const FLOAT: bool = false;

            #[inline(always)]
            fn key(self) -> Self {
                self
            }

            #[inline(always)]
            fn from_key(key: Self) -> Self {
                key
            }

            #[inline(always)]
            fn f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn i128(self) -> i128 {
                i128::from(self)
            }

            fn of_float(x: f64) -> Option<Self> {
                let rounded = x.round_ties_even();
                // One above the greatest is a power of two, and a float; for 64 bits it is the greatest's own float.
                (rounded >= <$t>::MIN as f64 && rounded < <$t>::MAX as f64 + 1.0).then_some(rounded as $t)
            }

            fn of_int(n: i128) -> Option<Self> {
                Self::try_from(n).ok()
            }

            #[inline(always)]
            fn minus(self, other: Self) -> f64 {
                (i128::from(self) - i128::from(other)) as f64
            }
        }

        impl Integer for $t {
            type Narrow = $narrow;
            type Square = $square;
            const SPILL: u64 = $spill;
            const MIN: Self = <$t>::MIN;
            const MAX: Self = <$t>::MAX;
            const BITS: u32 = <$t>::BITS;
            const LARGEST: u128 = <$t>::MAX as u128 + (<$t>::MIN != 0) as u128;

            #[inline(always)]
            fn square(self) -> $square {
                let x = <$product>::from(self);
                x.wrapping_mul(x) as $square
            }

            #[inline(always)]
            fn bits(self) -> u64 {
                // Turns the sign over, where there is one.
                u64::from(self as $u ^ <$t>::MIN as $u)
            }

            fn from_bits(bits: u64) -> Self {
                (bits as $u ^ <$t>::MIN as $u) as Self
            }
        }
    )*};
}

// For each integer: its unsigned sibling; what holds sums, sums of squares, and one square; and how many
// elements a sum takes: half of the room of the sum divided by the largest element, so that one more panel
// fits. Sums of squares of 64-bit integers fit nothing here; such variances are taken in float64.
integers!(
    u8, u8, u32, u32, u32, 1 << 15;
    u16, u16, u32, u64, u32, 1 << 15;
    u32, u32, u64, u128, u64, 1 << 31;
    u64, u64, i128, u128, u128, 1 << 61;
    i8, u8, i32, u32, i32, 1 << 15;
    i16, u16, i32, u64, i32, 1 << 15;
    i32, u32, i64, u128, i64, 1 << 31;
    i64, u64, i128, u128, i128, 1 << 61
);

/// Runs `$body` with `$T` standing for the Rust type of a real `$dtype`.
macro_rules! with_real {
    ($dtype:expr, $T:ident => $body:expr) => {
        $crate::with_class!($dtype, int $T => $body, float $T => $body, complex $T => {
            unreachable!("operators refuse complex numbers before they start")
        })
    };
}

pub(super) use with_real;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_floats_and_come_back() {
        let values = [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 0.0, 5e-324, 2.0, f64::INFINITY];
        for pair in values.windows(2) {
            assert!(pair[0].key() < pair[1].key(), "{pair:?}");
        }
        for v in values {
            assert_eq!(f64::from_key(v.key()).to_bits(), v.to_bits());
            assert_eq!(i64::from_bits(v.key().bits()), v.key());
        }
        assert_eq!((-f64::NAN).key(), i64::MAX);
        assert!(f64::from_key((-f64::NAN).key_nan_least()).is_nan());
        assert!(f32::NEG_INFINITY.key() > f32::NAN.key_nan_least());
    }

    #[test]
    fn every_half_is_what_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            let (ours, theirs) = (Real::f64(x), x.to_f64());
            assert!(ours == theirs || ours.is_nan() && theirs.is_nan(), "{bits:#x}: {ours} {theirs}");
            assert_eq!(Real::is_nan(x), x.is_nan());
        }
    }
}
