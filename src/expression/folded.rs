//! A reduction as an array: a region is made of the whole lines that go into it.

use std::sync::Arc;

use crate::array::kernel::{Datum, OnDevice, Routine};
use crate::array::{Array, Derived, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};
use crate::reduce::{Outcome, Reducer};

/// Bytes of a block that is folded.
const BLOCK_BYTES: u64 = 4 << 20;

/// What one operator makes of another array, axes kept.
pub(super) struct Folded {
    inner: Arc<dyn Array>,
    reducer: Reducer,
    axes: Vec<Axis>,
    dtype: DType,
}

impl Folded {
    /// What the only operator of `reducer`, which keeps its axes, gives of `inner`.
    pub(super) fn new(inner: Arc<dyn Array>, reducer: Reducer) -> Self {
        let output = &reducer.outputs()[0];
        let (axes, dtype) = (output.axes.clone(), output.dtype);
        Self { inner, reducer, axes, dtype }
    }

    /// Axes that the operator adds in front.
    fn n_own(&self) -> usize {
        self.axes.len() - self.inner.axes().len()
    }

    /// The box of the reducer's frame for a region of the result.
    fn tile(&self, region: &Region) -> Region {
        let n = self.n_own();
        Region::new(&region.origin[n..], &region.shape[n..])
    }

    /// Boxes that go into `tile`, in order: as many whole steps along the first axis as a block holds.
    fn pieces(&self, tile: &Region) -> Vec<Region> {
        let input = self.reducer.input_of(tile);
        let step = size_bytes(&input.shape, self.inner.dtype()) / input.shape.first().copied().unwrap_or(1).max(1);
        let n = (BLOCK_BYTES / step.max(1)).max(1);
        // Only what is folded can be cut.
        if self.reducer.wants_whole() || self.reducer.reduced().first() != Some(&true) || n >= input.shape[0] {
            return vec![input];
        }
        let cut = |from: u64| {
            let mut piece = input.clone();
            (piece.origin[0], piece.shape[0]) = (input.origin[0] + from, n.min(input.shape[0] - from));
            piece
        };
        (0..input.shape[0]).step_by(n as usize).map(cut).collect()
    }

    fn paste(&self, blocks: &[Block], region: &Region, target: &mut Target<'_>) -> Result<()> {
        let [block] = blocks else { return Err(Error::format("one operator gives one result")) };
        let part = region.relative_to(&block.region().origin);
        target.paste_part(block.bytes(), &block.region().shape, &part);
        Ok(())
    }
}

impl Array for Folded {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        match axis.checked_sub(self.n_own()) {
            Some(i) if !self.reducer.reduced()[i] => self.inner.grain(i, at),
            _ => (at, at),
        }
    }

    fn coded(&self) -> bool {
        self.inner.coded()
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let tile = self.tile(&Region::whole(shape));
        let whole = self.reducer.wants_whole();
        let piece = self.pieces(&tile).first().map_or(vec![], |p| p.shape.clone());
        let states = self
            .reducer
            .state_bytes(whole)
            .saturating_add(self.reducer.result_bytes())
            .saturating_mul(n_elements(&tile.shape));
        size_bytes(&piece, self.inner.dtype())
            .saturating_add(self.inner.needs(&piece))
            .saturating_add(states)
            .saturating_add(1 << 20)
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(FoldedReader { of: self, inner, buffer: Buffer::default() })
    }

    fn derived(&self) -> Option<&dyn Derived> {
        Some(self)
    }

    fn on_device(&self) -> Option<&dyn OnDevice> {
        Some(self)
    }
}

impl OnDevice for Folded {
    fn compile(&self, region: &Region, routine: &mut Routine) -> Option<Datum> {
        let tile = self.tile(region);
        let source = routine.inside(&self.inner, &self.reducer.input_of(&tile));
        self.reducer.launch(0, source, &tile, routine)
    }
}

impl Derived for Folded {
    fn source(&self) -> &Arc<dyn Array> {
        &self.inner
    }

    fn input_of(&self, region: &Region) -> Region {
        self.reducer.input_of(&self.tile(region))
    }

    fn make(&self, block: &Block, region: &Region, target: &mut Target<'_>) -> Result<()> {
        let mut partial = self.reducer.start(&self.tile(region), self.reducer.wants_whole());
        loop {
            self.reducer.fold(&mut partial, block, block.coverage.absent())?;
            match self.reducer.finish(partial)? {
                Outcome::Done(blocks) => return self.paste(&blocks, region, target),
                Outcome::Again(next) => partial = next,
            }
        }
    }
}

struct FoldedReader {
    of: Arc<Folded>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reader for FoldedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let of = Arc::clone(&self.of);
        let tile = of.tile(region);
        let pieces = of.pieces(&tile);
        let whole = of.reducer.wants_whole();
        let mut partial = of.reducer.start(&tile, whole && pieces.len() == 1);
        loop {
            for piece in &pieces {
                let block = self.inner.block(piece, of.inner.dtype(), std::mem::take(&mut self.buffer))?;
                of.reducer.fold(&mut partial, &block, block.coverage.absent())?;
                self.buffer = block.into_buffer();
            }
            match of.reducer.finish(partial)? {
                // What is made of others covers all.
                Outcome::Done(blocks) => return of.paste(&blocks, region, target).map(|()| Coverage::default()),
                Outcome::Again(next) => partial = next,
            }
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}
