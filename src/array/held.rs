//! An array that is in memory: what a reduction gave, a kernel, a small file.

use std::sync::Arc;

use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;

/// A block as an array.
pub struct Held {
    axes: Vec<Axis>,
    /// Nothing is known yet of what is planned for alone.
    block: Option<Block>,
    dtype: DType,
    held_bytes: u64,
}

impl Held {
    /// The array of `axes` whose elements are those of `block`.
    ///
    /// # Panics
    /// If the block has another shape.
    pub fn new(axes: Vec<Axis>, block: Block) -> Self {
        assert_eq!(crate::axis::shape(&axes), block.region().shape, "a held array is as large as its block");
        let (dtype, held_bytes) = (block.dtype(), block.bytes().len() as u64);
        Self { axes, dtype, block: Some(block), held_bytes }
    }

    /// An array that will be known when it is needed, in memory or (unless `is_held`) elsewhere: it is planned for, and
    /// never read.
    pub fn awaited(axes: Vec<Axis>, dtype: DType, is_held: bool) -> Self {
        let held_bytes = if is_held { size_bytes(&crate::axis::shape(&axes), dtype) } else { 0 };
        Self { axes, dtype, block: None, held_bytes }
    }
}

impl Array for Held {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, _: usize, at: u64) -> (u64, u64) {
        (at, at)
    }

    fn coded(&self) -> bool {
        false
    }

    fn needs(&self, _: &[u64]) -> u64 {
        0
    }

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(HeldReader(self, scratch))
    }
}

struct HeldReader(Arc<Held>, Scratch);

impl Reader for HeldReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.0, region, target)?;
        let not_yet = || Error::format("a reduction was to be read before it was computed");
        let block = self.0.block.as_ref().ok_or_else(not_yet)?;
        target.paste_part(block.bytes(), &block.region().shape, region);
        Ok(Coverage::default())
    }

    fn release(self: Box<Self>) -> Scratch {
        self.1
    }
}
