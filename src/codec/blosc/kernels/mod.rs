//! The four inner loops of shuffling, for each set of instructions: taking even and odd bytes apart and
//! together, and transposing bits. Every set gives the same bytes; [`Kernels::best`] is chosen at run time.

#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::sync::LazyLock;

/// The loops for one set of instructions.
///
/// A value is only handed out by [`Kernels::all`] and [`Kernels::best`], after the processor was asked
/// whether it has the instructions: that is what makes the calls below sound.
#[allow(clippy::type_complexity)]
pub(super) struct Kernels {
    name: &'static str,
    split: unsafe fn(&[u8], &mut [u8], &mut [u8]),
    join: unsafe fn(&[u8], &[u8], &mut [u8]),
    bits: unsafe fn(&[u8], &mut [u8], usize),
    unbits: unsafe fn(&[u8], usize, &mut [u8]),
}

/// Prints the name of the set.
impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Kernels {
    /// Every set that this processor has, the plainest first.
    pub(super) fn all() -> impl Iterator<Item = &'static Self> {
        let mut sets = vec![&scalar::KERNELS];
        #[cfg(target_arch = "x86_64")]
        sets.extend(x86::present());
        #[cfg(target_arch = "aarch64")]
        sets.extend(neon::present());
        sets.into_iter()
    }

    /// The fastest set that this processor has.
    pub(super) fn best() -> &'static Self {
        static BEST: LazyLock<&Kernels> = LazyLock::new(|| Kernels::all().last().unwrap_or(&scalar::KERNELS));
        &BEST
    }

    /// Copies the bytes of `pairs` alternately to `even` and `odd`, each of half its length.
    pub(super) fn split(&self, pairs: &[u8], even: &mut [u8], odd: &mut [u8]) {
        assert!(even.len() == odd.len() && pairs.len() == 2 * even.len());
        // SAFETY: the processor has the instructions (see the type), and the lengths are as asked for.
        unsafe { (self.split)(pairs, even, odd) }
    }

    /// Fills `pairs` alternately from `even` and `odd`: the inverse of [`Kernels::split`].
    pub(super) fn join(&self, even: &[u8], odd: &[u8], pairs: &mut [u8]) {
        assert!(even.len() == odd.len() && pairs.len() == 2 * even.len());
        // SAFETY: the processor has the instructions (see the type), and the lengths are as asked for.
        unsafe { (self.join)(even, odd, pairs) }
    }

    /// Cuts `bytes`, a multiple of 8 in number, into eight bit planes, which begin `stride` bytes apart in
    /// `planes`.
    pub(super) fn bits(&self, bytes: &[u8], planes: &mut [u8], stride: usize) {
        assert!(bytes.len().is_multiple_of(8) && holds(planes.len(), stride, bytes.len()));
        // SAFETY: the processor has the instructions (see the type), and the lengths are as asked for.
        unsafe { (self.bits)(bytes, planes, stride) }
    }

    /// Puts `bytes` together from eight bit planes: the inverse of [`Kernels::bits`].
    pub(super) fn unbits(&self, planes: &[u8], stride: usize, bytes: &mut [u8]) {
        assert!(bytes.len().is_multiple_of(8) && holds(planes.len(), stride, bytes.len()));
        // SAFETY: the processor has the instructions (see the type), and the lengths are as asked for.
        unsafe { (self.unbits)(planes, stride, bytes) }
    }
}

/// Whether eight planes of `n_bytes / 8` bytes, `stride` apart, lie within `room` bytes.
fn holds(room: usize, stride: usize, n_bytes: usize) -> bool {
    stride.checked_mul(7).and_then(|n| n.checked_add(n_bytes / 8)).is_some_and(|end| end <= room)
}
