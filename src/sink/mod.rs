//! Output formats: blocks go in, one array comes out.
//!
//! A sink encodes blocks in any order and on any thread ([`Sink::write`]), and takes the results in plan
//! order ([`Sink::commit`]), so that its bytes do not depend on the number of threads. The output is
//! visible under its name only after [`Sink::finish`].

use serde::Serialize;

use crate::axis::Axis;
use crate::block::Block;
use crate::dtype::DType;
use crate::error::Result;
use crate::source::Scratch;

pub mod flat;
pub mod npy;
pub mod output;
pub mod png;
pub mod store;
pub mod tiff;
pub mod zarr;

/// The array that a sink is to hold.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its axes, slowest first.
    pub axes: Vec<Axis>,
    /// Type of its elements.
    pub dtype: DType,
    /// Value of elements never stored: one element's bytes, native order.
    pub fill: Vec<u8>,
    /// What is to be known of the array's origin: command line, version, pattern, inputs.
    pub provenance: serde_json::Value,
}

impl Spec {
    /// Lengths of all axes.
    pub fn shape(&self) -> Vec<u64> {
        crate::axis::shape(&self.axes)
    }
}

/// What a finished sink wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Files of the output.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// An output under construction.
pub trait Sink: Sync {
    /// What [`Sink::write`] hands to [`Sink::commit`]: encoded bytes, or a note of what was stored.
    type Receipt: Send;

    /// Shape of the boxes that a block must consist of, whole but at the far edges of the array.
    fn unit(&self) -> &[u64];

    /// Memory that one call of [`Sink::write`] needs for a block of `n_units` units, receipt included, in
    /// bytes.
    fn write_bytes(&self, n_units: u64) -> u64;

    /// Encodes `block`; on any thread.
    ///
    /// # Errors
    /// `Io` if the output cannot be written.
    fn write(&self, block: &Block, scratch: &mut Scratch) -> Result<Self::Receipt>;

    /// Takes the next receipt in plan order.
    ///
    /// # Errors
    /// `Io` if the output cannot be written.
    fn commit(&self, receipt: Self::Receipt) -> Result<()>;

    /// Completes the output, makes it durable and gives it its name.
    ///
    /// # Errors
    /// `Io` if the output cannot be written.
    fn finish(self) -> Result<Written>;
}
