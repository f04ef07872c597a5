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

/// The bytes of a state, which is written to them or read from them by the same calls.
///
/// Reading fails with `Format` where they end early or make no sense.
pub(super) enum Tape<'a> {
    Write(Vec<u8>),
    Read(&'a [u8]),
}

impl Tape<'_> {
    /// Passes all of `values`; as many are read as there are.
    pub(super) fn numbers<A: Scalar>(&mut self, values: &mut [A]) -> Result<()> {
        let values: &mut [u8] = bytemuck::cast_slice_mut(values);
        match self {
            Self::Write(bytes) => {
                let from = bytes.len();
                bytes.extend_from_slice(values);
                swap(&mut bytes[from..], A::UNIT);
            }
            Self::Read(bytes) => {
                let (head, rest) = bytes.split_at_checked(values.len()).ok_or_else(cut_short)?;
                values.copy_from_slice(head);
                swap(values, A::UNIT);
                *bytes = rest;
            }
        }
        Ok(())
    }

    /// Passes one value.
    pub(super) fn number<A: Scalar>(&mut self, value: &mut A) -> Result<()> {
        self.numbers(std::slice::from_mut(value))
    }

    /// Passes all of `values`, of which the reader expects `n`; makes room for them only if they are there.
    pub(super) fn list<A: Scalar>(&mut self, values: &mut Vec<A>, n: u64) -> Result<()> {
        if let Self::Read(bytes) = self {
            let fits = n.checked_mul(size_of::<A>() as u64).is_some_and(|needed| needed <= bytes.len() as u64);
            *values = vec![A::default(); if fits { n as usize } else { return Err(cut_short()) }];
        }
        self.numbers(values)
    }

    /// Passes a flag.
    pub(super) fn flag(&mut self, flag: &mut bool) -> Result<()> {
        let mut byte = u8::from(*flag);
        self.number(&mut byte)?;
        *flag = byte == 1;
        if byte > 1 { Err(senseless()) } else { Ok(()) }
    }
}

/// Turns native bytes into little-endian ones, or back.
fn swap(bytes: &mut [u8], unit: usize) {
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(unit.max(1)).for_each(<[u8]>::reverse);
    }
}

fn cut_short() -> Error {
    Error::format("a saved state ends early")
}

/// The message for a state that no reduction saves.
pub(super) fn senseless() -> Error {
    Error::format("a saved state contradicts itself")
}
