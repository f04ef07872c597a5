//! What elements that are made come to: how many were clipped, divided by zero, NaN or infinite.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the elements that were made so far came to.
#[derive(Debug, Default)]
pub struct CastTally {
    /// Values outside the type, which became its limits.
    pub clipped: AtomicU64,
    /// Whole numbers divided by zero, which gave 0.
    pub zero_divisors: AtomicU64,
    /// Results that are NaN.
    pub nan: AtomicU64,
    /// Results that are infinite.
    pub infinite: AtomicU64,
    /// Whole numbers with more digits than the float that they became.
    pub rounded: AtomicU64,
}

impl CastTally {
    /// Adds so many elements: clipped, divided by zero, NaN, infinite, rounded.
    pub fn add(&self, counts: [u64; 5]) {
        let all = [&self.clipped, &self.zero_divisors, &self.nan, &self.infinite, &self.rounded];
        for (to, n) in all.into_iter().zip(counts).filter(|(_, n)| *n > 0) {
            to.fetch_add(n, Ordering::Relaxed);
        }
    }
}
