//! The loops for 64-bit ARM, whose processors all have NEON.
//!
//! All functions rely on what [`Kernels`]' methods have checked, as those of x86 do; every address below lies
//! within those lengths, because each loop stops before a step that would not.

use std::arch::aarch64::*;

use super::{Kernels, scalar};

static NEON: Kernels = Kernels { name: "NEON", split, join, bits, unbits };

/// The sets that this processor has.
pub(super) fn present() -> Vec<&'static Kernels> {
    if std::arch::is_aarch64_feature_detected!("neon") { vec![&NEON] } else { vec![] }
}

#[target_feature(enable = "neon")]
fn split(pairs: &[u8], even: &mut [u8], odd: &mut [u8]) {
    let done = even.len() / 16 * 16;
    for at in (0..done).step_by(16) {
        // SAFETY: at + 16 <= even.len() == odd.len() and 2 * at + 32 <= pairs.len().
        unsafe {
            let uint8x16x2_t(evens, odds) = vld2q_u8(pairs.as_ptr().add(2 * at));
            vst1q_u8(even.as_mut_ptr().add(at), evens);
            vst1q_u8(odd.as_mut_ptr().add(at), odds);
        }
    }
    scalar::split(&pairs[2 * done..], &mut even[done..], &mut odd[done..]);
}

#[target_feature(enable = "neon")]
fn join(even: &[u8], odd: &[u8], pairs: &mut [u8]) {
    let done = even.len() / 16 * 16;
    for at in (0..done).step_by(16) {
        // SAFETY: at + 16 <= even.len() == odd.len() and 2 * at + 32 <= pairs.len().
        unsafe {
            let both = uint8x16x2_t(vld1q_u8(even.as_ptr().add(at)), vld1q_u8(odd.as_ptr().add(at)));
            vst2q_u8(pairs.as_mut_ptr().add(2 * at), both);
        }
    }
    scalar::join(&even[done..], &odd[done..], &mut pairs[2 * done..]);
}

/// Transposes the two squares of 8 by 8 bits in `v`, as [`scalar`] does with one.
#[target_feature(enable = "neon")]
fn transpose(v: uint8x16_t) -> uint8x16_t {
    let x = vreinterpretq_u64_u8(v);
    let t = vandq_u64(veorq_u64(x, vshrq_n_u64::<7>(x)), vdupq_n_u64(0x00aa_00aa_00aa_00aa));
    let x = veorq_u64(veorq_u64(x, t), vshlq_n_u64::<7>(t));
    let t = vandq_u64(veorq_u64(x, vshrq_n_u64::<14>(x)), vdupq_n_u64(0x0000_cccc_0000_cccc));
    let x = veorq_u64(veorq_u64(x, t), vshlq_n_u64::<14>(t));
    let t = vandq_u64(veorq_u64(x, vshrq_n_u64::<28>(x)), vdupq_n_u64(0x0000_0000_f0f0_f0f0));
    vreinterpretq_u8_u64(veorq_u64(veorq_u64(x, t), vshlq_n_u64::<28>(t)))
}

#[target_feature(enable = "neon")]
fn bits(bytes: &[u8], planes: &mut [u8], stride: usize) {
    let done = bytes.len() / 128 * 128;
    for at in (0..done).step_by(128) {
        // SAFETY: at + 128 <= bytes.len() and i < 8.
        let mut v: [uint8x16_t; 8] =
            std::array::from_fn(|i| transpose(unsafe { vld1q_u8(bytes.as_ptr().add(at + 16 * i)) }));
        // Byte k is of plane k % 8: taking even and odd bytes apart three times sorts them.
        for _ in 0..3 {
            let even: [uint8x16_t; 4] = std::array::from_fn(|i| vuzp1q_u8(v[2 * i], v[2 * i + 1]));
            let odd: [uint8x16_t; 4] = std::array::from_fn(|i| vuzp2q_u8(v[2 * i], v[2 * i + 1]));
            v = [even[0], even[1], even[2], even[3], odd[0], odd[1], odd[2], odd[3]];
        }
        for (i, v) in v.into_iter().enumerate() {
            // SAFETY: at + 128 <= bytes.len(), so every plane has 16 bytes from at / 8 on.
            unsafe { vst1q_u8(planes.as_mut_ptr().add(i * stride + at / 8), v) };
        }
    }
    if done < bytes.len() {
        scalar::bits(&bytes[done..], &mut planes[done / 8..], stride);
    }
}

#[target_feature(enable = "neon")]
fn unbits(planes: &[u8], stride: usize, bytes: &mut [u8]) {
    let done = bytes.len() / 128 * 128;
    for at in (0..done).step_by(128) {
        // SAFETY: at + 128 <= bytes.len(), so every plane has 16 bytes from at / 8 on.
        let mut v: [uint8x16_t; 8] =
            std::array::from_fn(|i| unsafe { vld1q_u8(planes.as_ptr().add(i * stride + at / 8)) });
        for _ in 0..3 {
            let pairs: [[uint8x16_t; 2]; 4] =
                std::array::from_fn(|i| [vzip1q_u8(v[i], v[i + 4]), vzip2q_u8(v[i], v[i + 4])]);
            v = std::array::from_fn(|i| pairs[i / 2][i % 2]);
        }
        for (i, v) in v.into_iter().enumerate() {
            // SAFETY: at + 128 <= bytes.len() and i < 8.
            unsafe { vst1q_u8(bytes.as_mut_ptr().add(at + 16 * i), transpose(v)) };
        }
    }
    if done < bytes.len() {
        scalar::unbits(&planes[done / 8..], stride, &mut bytes[done..]);
    }
}
