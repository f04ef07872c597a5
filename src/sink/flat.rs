//! Outputs whose elements lie one behind the other in one file, behind a head: a place for every element is
//! known before the first is written.
//!
//! To a file, blocks are written where they belong, in any order and by any thread. To a stream they go as
//! they are committed, which must be from the first element to the last.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::store::Store;
use super::{Sink, Spec, Written};
use crate::block::{Block, size_bytes, walk};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{n_elements, row_major_strides};
use crate::source::Scratch;

/// Where elements go in a file.
pub(crate) struct Placement {
    /// Bytes before the first element.
    pub(crate) start: u64,
    /// Distances in bytes between neighbours along each axis.
    pub(crate) strides: Vec<u64>,
}

impl Placement {
    /// Row-major behind `start` bytes.
    pub(crate) fn row_major(start: u64, shape: &[u64], dtype: DType) -> Self {
        let size = dtype.size() as u64;
        Self { start, strides: row_major_strides(shape).iter().map(|s| s.saturating_mul(size)).collect() }
    }
}

/// An array on its way into one file or stream.
pub struct FlatSink {
    shape: Vec<u64>,
    dtype: DType,
    unit: Vec<u64>,
    placement: Placement,
    to: Destination,
    /// Elements so far.
    n_written: Mutex<u64>,
}

enum Destination {
    File(Store),
    Stream(Mutex<Box<dyn Write + Send>>),
}

/// What writing a block came to: for a stream, its elements and where they begin.
pub struct Receipt {
    n_elements: u64,
    bytes: Option<(u64, Vec<u8>)>,
}

impl FlatSink {
    /// Elements of `spec` go to `store`, behind `head`, where `placement` says.
    pub(crate) fn file(spec: &Spec, store: Store, head: &[u8], placement: Placement) -> Result<Self> {
        store.put_at(0, head)?;
        let end = placement.start.saturating_add(size_bytes(&spec.shape(), spec.dtype));
        if end > i64::MAX as u64 {
            return Err(Error::usage(format!("{}: no file can hold {end} bytes", store.name().display())));
        }
        Ok(Self::new(spec, placement, Destination::File(store)))
    }

    /// Elements of `spec` go to `stream`, behind `head`, row-major.
    pub(crate) fn stream(spec: &Spec, mut stream: Box<dyn Write + Send>, head: &[u8]) -> Result<Self> {
        stream.write_all(head).map_err(stream_error)?;
        let placement = Placement::row_major(head.len() as u64, &spec.shape(), spec.dtype);
        Ok(Self::new(spec, placement, Destination::Stream(Mutex::new(stream))))
    }

    fn new(spec: &Spec, placement: Placement, to: Destination) -> Self {
        let shape = spec.shape();
        // Whole rows; the boxes that a plan makes of them follow one another without a gap.
        let mut unit = vec![1; shape.len()];
        if let (Some(last), Some(length)) = (unit.last_mut(), shape.last()) {
            *last = (*length).max(1);
        }
        Self { dtype: spec.dtype, unit, placement, to, n_written: Mutex::new(0), shape }
    }

    /// Shape of what one file holds: the array.
    pub fn object_shape(&self) -> &[u64] {
        &self.shape
    }

    /// Writes a block's dense runs where they belong.
    fn put(&self, store: &Store, block: &Block) -> Result<()> {
        let region = block.region();
        if region.is_empty() {
            return Ok(());
        }
        let size = self.dtype.size() as u64;
        // The last axes that are dense in the file and whole in the block, and one more that is cut.
        let (mut axis, mut run) = (self.shape.len(), 1u64);
        while axis > 0 && (self.shape[axis - 1] == 1 || self.placement.strides[axis - 1] == run * size) {
            axis -= 1;
            run *= region.shape[axis];
            if region.shape[axis] != self.shape[axis] {
                break;
            }
        }
        let strides: Vec<isize> = self.placement.strides.iter().map(|&s| s as isize).collect();
        let first: u64 = region.origin.iter().zip(&self.placement.strides).map(|(o, s)| o * s).sum();
        let mut rest = block.bytes();
        let mut done = Ok(());
        walk(&region.shape[..axis], &strides, &strides, |offset, _| {
            let (now, after) = rest.split_at((run * size) as usize);
            if done.is_ok() {
                done = store.put_at((self.placement.start + first).wrapping_add_signed(offset as i64), now);
            }
            rest = after;
        });
        done
    }
}

fn stream_error(e: std::io::Error) -> Error {
    Error::io(Path::new("standard output"), "cannot write", e)
}

impl Sink for FlatSink {
    type Receipt = Receipt;

    fn unit(&self) -> &[u64] {
        &self.unit
    }

    fn write_bytes(&self, n_units: u64) -> u64 {
        match self.to {
            Destination::File(_) => 4 << 10,
            Destination::Stream(_) => size_bytes(&self.unit, self.dtype).saturating_mul(n_units) + (4 << 10),
        }
    }

    fn write(&self, block: &Block, _scratch: &mut Scratch) -> Result<Receipt> {
        let region = block.region();
        let bytes = match &self.to {
            Destination::File(store) => {
                self.put(store, block)?;
                None
            }
            Destination::Stream(_) => {
                let strides = row_major_strides(&self.shape);
                let first = region.origin.iter().zip(&strides).map(|(o, s)| o * s).sum();
                Some((first, block.bytes().to_vec()))
            }
        };
        Ok(Receipt { n_elements: region.n_elements(), bytes })
    }

    fn commit(&self, receipt: Receipt) -> Result<()> {
        let mut n_written = self.n_written.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some((first, bytes)), Destination::Stream(stream)) = (receipt.bytes, &self.to) {
            if first != *n_written {
                return Err(Error::format(format!("a block at element {first} came after {n_written} elements")));
            }
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            stream.write_all(&bytes).map_err(stream_error)?;
        }
        *n_written += receipt.n_elements;
        Ok(())
    }

    fn finish(self) -> Result<Written> {
        let n_written = self.n_written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let expected = n_elements(&self.shape);
        if n_written != expected {
            return Err(Error::format(format!("{n_written} elements were written, not {expected}")));
        }
        match self.to {
            Destination::File(store) => store.publish(),
            Destination::Stream(stream) => {
                let mut stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
                match stream.flush() {
                    Err(e) if e.kind() != ErrorKind::Unsupported => Err(stream_error(e)),
                    _ => Ok(Written { files: 0, bytes: self.placement.start + size_bytes(&self.shape, self.dtype) }),
                }
            }
        }
    }
}
