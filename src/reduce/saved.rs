//! States as bytes: little-endian numbers one behind the other, whose lengths the reader knows or finds.

use half::f16;

use crate::error::{Error, Result};

/// A number, or a few of one type, that states are made of.
pub(super) trait Scalar: bytemuck::Pod + Default + Send + Sync {
    /// Bytes of the unit that byte order applies to.
    const UNIT: usize = size_of::<Self>();
}

impl Scalar for () {}
impl Scalar for i128 {}
impl Scalar for u128 {}
impl Scalar for f16 {}
impl Scalar for f32 {}
impl Scalar for f64 {}
impl Scalar for [f64; 2] {
    const UNIT: usize = size_of::<f64>();
}

/// Turns native bytes into little-endian ones, or back.
fn swap(bytes: &mut [u8], unit: usize) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(unit.max(1)).for_each(<[u8]>::reverse);
    }
}

/// Appends `values` to `out`.
pub(super) fn put<A: Scalar>(out: &mut Vec<u8>, values: &[A]) {
    let from = out.len();
    out.extend_from_slice(bytemuck::cast_slice(values));
    swap(&mut out[from..], A::UNIT);
}

/// Takes `values.len()` values off `bytes`.
///
/// # Errors
/// `Format` if there are fewer.
pub(super) fn take<A: Scalar>(bytes: &mut &[u8], values: &mut [A]) -> Result<()> {
    let (head, rest) = bytes.split_at_checked(size_of_val(values)).ok_or_else(cut_short)?;
    let values = bytemuck::cast_slice_mut(values);
    values.copy_from_slice(head);
    swap(values, A::UNIT);
    *bytes = rest;
    Ok(())
}

/// Takes one value off `bytes`.
///
/// # Errors
/// `Format` if there is none.
pub(super) fn take_one<A: Scalar>(bytes: &mut &[u8]) -> Result<A> {
    let mut value = [A::default()];
    take(bytes, &mut value)?;
    Ok(value[0])
}

/// Takes `n` values off `bytes`; makes room for them only if they are there.
///
/// # Errors
/// `Format` if there are fewer.
pub(super) fn take_many<A: Scalar>(bytes: &mut &[u8], n: u64) -> Result<Vec<A>> {
    let fits = n.checked_mul(size_of::<A>() as u64).is_some_and(|needed| needed <= bytes.len() as u64);
    let mut values = vec![A::default(); if fits { n as usize } else { return Err(cut_short()) }];
    take(bytes, &mut values)?;
    Ok(values)
}

/// Appends a flag to `out`.
pub(super) fn put_flag(out: &mut Vec<u8>, flag: bool) {
    out.push(u8::from(flag));
}

/// Takes a flag off `bytes`.
///
/// # Errors
/// `Format` if there is none.
pub(super) fn take_flag(bytes: &mut &[u8]) -> Result<bool> {
    match take_one::<u8>(bytes)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(senseless()),
    }
}

fn cut_short() -> Error {
    Error::format("a saved state ends early")
}

/// The message for a state that no reduction saves.
pub(super) fn senseless() -> Error {
    Error::format("a saved state contradicts itself")
}
