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

    fn leading_zeros(self) -> u32 {
        if self.high > 0 { self.high.leading_zeros() } else { 128 + self.low.leading_zeros() }
    }

    /// Fewer than 256 bits further left.
    fn shifted_left(self, by: u32) -> Self {
        match by {
            0 => self,
            1..128 => Self { high: self.high << by | self.low >> (128 - by), low: self.low << by },
            _ => Self { high: self.low << (by - 128), low: 0 },
        }
    }

    /// The quotient, digit by digit of 64 bits, and whether anything remains.
    fn divided(self, by: u64) -> (Self, bool) {
        let mut rest = 0u128;
        let digit = |digit: u128| {
            let part = rest << 64 | digit & u128::from(u64::MAX);
            rest = part % u128::from(by);
            part / u128::from(by)
        };
        let [a, b, c, d] = [self.high >> 64, self.high, self.low >> 64, self.low].map(digit);
        (Self { high: a << 64 | b, low: c << 64 | d }, rest > 0)
    }
}

impl From<u128> for Wide {
    fn from(low: u128) -> Self {
        Self { high: 0, low }
    }
}

/// `numerator / (a b)`, correctly rounded.
pub(super) fn quotient(numerator: Wide, (a, b): (u64, u64)) -> f64 {
    const EXACT: u128 = 1 << 53;
    let denominator = u128::from(a) * u128::from(b);
    if numerator <= Wide::from(EXACT) && denominator <= EXACT {
        // Both are floats as they stand, and IEEE division rounds once.
        return numerator.low as f64 / denominator as f64;
    }
    if denominator == 0 || numerator == Wide::from(0) {
        return if denominator == 0 { f64::INFINITY } else { 0.0 };
    }
    // At least 127 bits of the quotient; a sticky last one makes the conversion to 53 round as all of them would.
    let up = numerator.leading_zeros();
    let (quotient, some) = numerator.shifted_left(up).divided(a);
    let (quotient, more) = quotient.divided(b);
    let further = quotient.leading_zeros();
    let quotient = quotient.shifted_left(further);
    let sticky = u128::from(some || more || quotient.low > 0);
    (quotient.high | sticky) as f64 * 2f64.powi(128 - (up + further) as i32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quotients_lie_nearest(n in any::<u128>(), shift in 0u32..128, a in 1u64.., b in 1u64..) {
            let (n, a) = (n >> shift, a >> (shift % 64) | 1);
            let bits = quotient(Wide::product(n, a.into()), (a, b)).to_bits();
            // |n - q b| must not exceed half a unit in the last place of q, times b: compared in exact
            // arithmetic with q = mantissa * 2^power.
            let (power, mantissa) = ((bits >> 52) as i32 - 1076, u128::from(bits & ((1 << 52) - 1) | 1 << 52));
            if power > -60 && n > 0 {
                let scaled = Wide::product(n, 1 << 0.max(-power));
                let [low, high] = [2 * mantissa - 1, 2 * mantissa + 1]
                    .map(|edge| Wide::product(edge, b.into()).shifted_left(0.max(power) as u32));
                prop_assert!(low <= scaled && scaled <= high);
            }
        }
    }

    #[test]
    fn halves_go_to_even() {
        let even = (1u128 << 60) + (1 << 7);
        let mean = |sum: u128, n: u64| quotient(Wide::from(sum), (n, 1));
        assert_eq!(mean(even, 1), (1u64 << 60) as f64);
        assert_eq!(mean(even + 1, 1), ((1u64 << 60) + (1 << 8)) as f64);
        assert_eq!(mean(7, 2), 3.5);
        assert_eq!(mean(i128::MAX as u128, 1), 2f64.powi(127));
        assert_eq!(quotient(Wide::product(u128::MAX, u64::MAX.into()), (u64::MAX, 1)), 2f64.powi(128));
        assert_eq!(quotient(Wide::from(1), (1 << 63, 1 << 63)), 2f64.powi(-126));
        assert_eq!(mean(1 << 70, 3), (1u128 << 70) as f64 / 3.0);
        let (a, b) = (u128::from(u64::MAX), 1 << 60 | 12345);
        assert_eq!(Wide::product(a << 64, b << 64), Wide { high: a * b, low: 0 });
    }
}
