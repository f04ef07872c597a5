//! The lazy array: what can be read region by region, whether it is a pile of files, a selection of
//! another array, or one file.

use crate::axis::Axis;
use crate::block::{Block, Buffer, Target};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;
use crate::source::Scratch;

/// An n-dimensional array that is read region by region, from any thread.
pub trait Array: Send + Sync {
    /// Its axes, slowest first.
    fn axes(&self) -> &[Axis];

    /// Type of its elements.
    fn dtype(&self) -> DType;

    /// Value of elements that nothing covers: one element's bytes, native order.
    fn fill(&self) -> &[u8];

    /// Where stored pieces (strips, tiles, chunks) begin along `axis`: the last boundary at or before `at`
    /// and the first at or after it.
    fn boundaries(&self, axis: usize, at: u64) -> (u64, u64);

    /// Whether stored pieces are decoded whole even if little of them is wanted.
    fn coded(&self) -> bool;

    /// Memory that one read needs beside its target, in bytes.
    fn scratch_bytes(&self) -> u64;

    /// Memory that the array holds on to while `workers` read from it, in bytes.
    fn held_bytes(&self, workers: usize) -> u64;

    /// Reads `region` into `target`, which has the region's shape and the array's dtype. Elements that
    /// nothing covers become the fill value.
    ///
    /// Returns the number of elements that were filled.
    ///
    /// # Errors
    /// `Format` if a file contradicts its headers or the layout; `Io` if it cannot be read.
    fn read(&self, region: &Region, target: &mut Target<'_>, scratch: &mut Scratch) -> Result<u64>;

    /// Tells the system that `region` will be read soon.
    fn prefetch(&self, _region: &Region) {}

    /// Boxes within `region` that nothing covers: positions without a file.
    fn absent(&self, _region: &Region) -> Vec<Region> {
        Vec::new()
    }

    /// Lengths of all axes.
    fn shape(&self) -> Vec<u64> {
        crate::axis::shape(self.axes())
    }

    /// Reads `region` into a block that takes over `buffer`.
    ///
    /// # Errors
    /// As [`Array::read`]; `Limit` if the block cannot be held.
    fn block(&self, region: &Region, buffer: Buffer, scratch: &mut Scratch) -> Result<Block> {
        let mut block = Block::reusing(buffer, region.clone(), self.dtype())?;
        let n_filled = self.read(region, &mut block.target(), scratch)?;
        block.n_filled = n_filled;
        Ok(block)
    }
}
