//! Quotients of integers, rounded once: to the nearest float64, ties to even.

/// An unsigned number of 256 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide {
    high: u128,
    low: u128,
}

impl Wide {
    /// The product of two numbers.
    pub(super) fn product(a: u128, b: u128) -> Self {
        const HALF: u128 = u64::MAX as u128;
        let (a1, a0, b1, b0) = (a >> 64, a & HALF, b >> 64, b & HALF);
        let (low, mid_a, mid_b, high) = (a0 * b0, a1 * b0, a0 * b1, a1 * b1);
        let mid = (low >> 64) + (mid_a & HALF) + (mid_b & HALF);
        Self { high: high + (mid_a >> 64) + (mid_b >> 64) + (mid >> 64), low: (low & HALF) | (mid << 64) }
    }

    /// The difference, if not negative.
    pub(super) fn minus(self, other: Self) -> Option<Self> {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        let high = self.high.checked_sub(other.high)?.checked_sub(u128::from(borrow))?;
        Some(Self { high, low })
    }

    fn is_zero(self) -> bool {
        self.high == 0 && self.low == 0
    }

    fn bits(self) -> u32 {
        if self.high > 0 { 256 - self.high.leading_zeros() } else { 128 - self.low.leading_zeros() }
    }

    fn shifted_left(self, by: u32) -> Self {
        match by {
            0 => self,
            1..128 => Self { high: self.high << by | self.low >> (128 - by), low: self.low << by },
            128 => Self { high: self.low, low: 0 },
            _ => Self { high: self.low << (by - 128), low: 0 },
        }
    }
}

impl From<u128> for Wide {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

/// `2^power`, for powers that a normal number has.
fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((power + 1023) as u64) << 52)
}

/// `numerator / denominator`, correctly rounded; both below 2^255.
pub(super) fn quotient(numerator: Wide, denominator: Wide) -> f64 {
    const EXACT: u128 = 1 << 53;
    if numerator <= Wide::from(EXACT) && denominator <= Wide::from(EXACT) {
        // Both are floats as they stand, and IEEE division rounds once.
        return numerator.low as f64 / denominator.low as f64;
    }
    if denominator.is_zero() {
        return if numerator.is_zero() { f64::NAN } else { f64::INFINITY };
    }
    if numerator.is_zero() {
        return 0.0;
    }
    // Long division after bringing both to 255 bits, so that the rest, doubled, keeps within 256.
    let (n_bits, d_bits) = (numerator.bits(), denominator.bits());
    debug_assert!(n_bits < 256 && d_bits < 256);
    let divisor = denominator.shifted_left(255 - d_bits);
    let mut rest = numerator.shifted_left(255 - n_bits);
    let mut exponent = n_bits as i32 - d_bits as i32;
    let mut mantissa = 0u64;
    if rest < divisor {
        rest = rest.shifted_left(1);
        exponent -= 1;
    }
    for _ in 0..64 {
        mantissa <<= 1;
        if let Some(less) = rest.minus(divisor) {
            rest = less;
            mantissa |= 1;
        }
        rest = rest.shifted_left(1);
    }
    // A sticky last bit makes the conversion to 53 bits round as the whole quotient would.
    if !rest.is_zero() {
        mantissa |= 1;
    }
    mantissa as f64 * power_of_two(exponent - 63)
}

/// `sum / count`, correctly rounded.
pub(super) fn mean(sum: i128, count: u64) -> f64 {
    let magnitude = quotient(Wide::from(sum.unsigned_abs()), Wide::from(u128::from(count)));
    if sum < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quotients_lie_nearest(n in any::<u128>(), shift in 0u32..128, d in 1u64..) {
            let n = n >> shift;
            let q = quotient(Wide::from(n), Wide::from(u128::from(d)));
            // |n - q d| must not exceed half a unit in the last place of q, times d: compared in exact
            // arithmetic with q = mantissa * 2^power.
            if n > 0 {
                let bits = q.to_bits();
                let power = (bits >> 52) as i32 - 1075;
                let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
                if power <= 0 && power > -60 {
                    let scaled = Wide::product(n, 1u128 << (1 - power) as u32);
                    let low = Wide::product(2 * mantissa - 1, u128::from(d));
                    let high = Wide::product(2 * mantissa + 1, u128::from(d));
                    prop_assert!(low <= scaled && scaled <= high);
                } else if power > 0 {
                    let scaled = Wide::product(n, 2);
                    let unit = u128::from(d);
                    let low = Wide::product(2 * mantissa - 1, unit).shifted_left(power as u32);
                    let high = Wide::product(2 * mantissa + 1, unit).shifted_left(power as u32);
                    prop_assert!(low <= scaled && scaled <= high);
                }
            }
        }

        #[test]
        fn products_are_exact(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
            let (a, b, c) = (u128::from(a), u128::from(b), u128::from(c));
            prop_assert_eq!(Wide::product(a, b), Wide::from(a * b));
            // (a 2^64)(b c) = (a b c) 2^64
            let left = Wide::product(a << 64, b);
            prop_assert_eq!(left, Wide { high: (a * b) >> 64, low: (a * b) << 64 });
            prop_assert_eq!(Wide::product(a << 64, c << 64), Wide { high: a * c, low: 0 });
        }
    }

    #[test]
    fn halves_go_to_even() {
        let even = (1u128 << 60) + (1 << 7);
        assert_eq!(mean(even as i128, 1), (1u64 << 60) as f64);
        assert_eq!(mean(even as i128 + 1, 1), ((1u64 << 60) + (1 << 8)) as f64);
        assert_eq!(mean(-7, 2), -3.5);
        assert_eq!(mean(i128::MAX, 1), 2f64.powi(127));
        assert_eq!(quotient(Wide::product(u128::MAX, 1 << 126), Wide::product(u128::MAX, 1 << 126)), 1.0);
        assert_eq!(quotient(Wide::from(1), Wide::product(1 << 127, 1 << 120)), 2f64.powi(-247));
        assert_eq!(mean(1 << 70, 3), (1u128 << 70) as f64 / 3.0);
    }
}
