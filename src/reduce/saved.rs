//! States as bytes: little-endian numbers one behind the other, whose lengths the reader knows or finds.

use std::marker::PhantomData;

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

impl<'a> Tape<'a> {
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

    /// Passes all of `values`, which are given back once they are written.
    pub(super) fn all<A: Scalar>(&mut self, values: &mut Vec<A>) -> Result<()> {
        self.numbers(values)?;
        if let Self::Write(_) = self {
            *values = Vec::new();
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
        self.all(values)
    }

    /// The next `n` numbers of what is read, where they lie.
    pub(super) fn next<A: Scalar>(&mut self, n: usize) -> Result<SavedNumbers<'a, A>> {
        let bytes = self.taken((n as u64).saturating_mul(size_of::<A>() as u64))?;
        Ok(SavedNumbers { bytes, of: PhantomData })
    }

    fn taken(&mut self, n_bytes: u64) -> Result<&'a [u8]> {
        let Self::Read(bytes) = self else { unreachable!("what is written is not read") };
        let n_bytes = usize::try_from(n_bytes).unwrap_or(usize::MAX);
        let (head, rest) = bytes.split_at_checked(n_bytes).ok_or_else(cut_short)?;
        *bytes = rest;
        Ok(head)
    }

    /// Passes what `pass` does with its length in front, for readers who pass over it.
    pub(super) fn piece(&mut self, pass: impl FnOnce(&mut Tape<'_>) -> Result<()>) -> Result<()> {
        let mut n_bytes = 0u64;
        self.number(&mut n_bytes)?;
        let from = match self {
            Self::Read(_) => {
                let mut piece = Tape::Read(self.taken(n_bytes)?);
                pass(&mut piece)?;
                return piece.end();
            }
            Self::Write(bytes) => bytes.len(),
        };
        pass(self)?;
        if let Self::Write(bytes) = self {
            let n_bytes = (bytes.len() - from) as u64;
            bytes[from - 8..from].copy_from_slice(&n_bytes.to_le_bytes());
        }
        Ok(())
    }

    /// Passes over what is left to be read.
    pub(super) fn skip(&mut self) -> Result<()> {
        *self = Self::Read(&[]);
        Ok(())
    }

    /// Refuses what goes on where it should have ended.
    pub(super) fn end(&self) -> Result<()> {
        if matches!(self, Self::Read([])) { Ok(()) } else { Err(senseless()) }
    }

    /// Passes a flag.
    pub(super) fn flag(&mut self, flag: &mut bool) -> Result<()> {
        let mut byte = u8::from(*flag);
        self.number(&mut byte)?;
        *flag = byte == 1;
        if byte > 1 { Err(senseless()) } else { Ok(()) }
    }
}

/// Numbers as they were saved.
pub(super) struct SavedNumbers<'a, A> {
    bytes: &'a [u8],
    of: PhantomData<A>,
}

impl<A: Scalar> SavedNumbers<'_, A> {
    /// Number `i`.
    #[inline(always)]
    pub(super) fn of(&self, i: usize) -> A {
        let size = size_of::<A>();
        let mut number: A = bytemuck::pod_read_unaligned(&self.bytes[i * size..(i + 1) * size]);
        swap(bytemuck::bytes_of_mut(&mut number), A::UNIT);
        number
    }
}

/// Turns native bytes into little-endian ones, or back.
#[inline(always)]
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
