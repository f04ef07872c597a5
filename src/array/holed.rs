//! Results of which some are of no element: nothing covers these.

use std::sync::Arc;

use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::Region;

/// Results, and of how many elements each is.
pub struct Holed {
    results: Arc<dyn Array>,
    counts: Arc<dyn Array>,
}

impl Holed {
    /// `results`, of which nothing covers those that `counts` has a zero for; they may have axes before those of `counts`.
    pub fn new(results: Arc<dyn Array>, counts: Arc<dyn Array>) -> Self {
        Self { results, counts }
    }

    /// The counts for `region`.
    fn of(&self, region: &Region) -> Region {
        let n_own = region.rank() - self.counts.axes().len();
        Region::new(&region.origin[n_own..], &region.shape[n_own..])
    }
}

impl Array for Holed {
    fn axes(&self) -> &[Axis] {
        self.results.axes()
    }

    fn dtype(&self) -> DType {
        self.results.dtype()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        self.results.grain(axis, at)
    }

    fn coded(&self) -> bool {
        self.results.coded()
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let counts = self.of(&Region::whole(shape)).shape;
        size_bytes(&counts, self.counts.dtype())
            .saturating_add(self.counts.needs(&counts))
            .saturating_add(self.results.needs(shape))
    }

    fn held_bytes(&self) -> u64 {
        super::held_together([&self.results, &self.counts].into_iter())
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let results = Arc::clone(&self.results).reader(scratch);
        let counts = Arc::clone(&self.counts).reader(Scratch::default());
        Box::new(HoledReader { of: self, results, counts, buffer: Buffer::default() })
    }
}

struct HoledReader {
    of: Arc<Holed>,
    results: Box<dyn Reader>,
    counts: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reader for HoledReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        // Of results all is covered, however they are stored.
        self.results.read(region, target)?;
        let (own, dtype) = (self.of.of(region), self.of.counts.dtype());
        let counts = self.counts.block(&own, dtype, std::mem::take(&mut self.buffer))?;
        let mut lacking = Coverage::default();
        lacking.lacks_where(&own, |i| counts.bytes()[i * dtype.size()..][..dtype.size()].iter().all(|&b| b == 0));
        self.buffer = counts.into_buffer();
        let (fill, n_own) = (self.of.fill_bytes(), region.rank() - own.rank());
        let mut coverage = Coverage::default();
        for absent in lacking.absent() {
            let mut whole = region.clone();
            whole.origin[n_own..].copy_from_slice(&absent.origin);
            whole.shape[n_own..].copy_from_slice(&absent.shape);
            target.part(&whole.relative_to(&region.origin)).fill(&fill);
            coverage.lacks(whole);
        }
        Ok(coverage)
    }

    fn release(self: Box<Self>) -> Scratch {
        self.results.release()
    }
}
