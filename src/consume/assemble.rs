//! An array put together in memory: all of it, or band by band for a consumer that wants whole bands.

use std::collections::BTreeSet;

use super::{Consumer, Desk, Job, Keeper, Merger, Part, Place, Product, Remembered, Taker};
use crate::block::{Block, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Grid, Region};
use crate::plan::{Cost, Task, Wants};
use crate::store::Store;

/// Puts blocks that come in plan order together to bands: boxes that follow one another without a gap in a row-major
/// array. Each complete band goes on to the consumer behind it; without one, the last band is the product.
pub struct Assemble {
    grid: Grid,
    dtype: DType,
    behind: Option<Box<dyn Consumer>>,
    /// Whether the last band is a product even if it went on.
    keeps: bool,
}

/// Shape of the bands that tiles of shape `tile`, which come in row-major order, fill one by one.
pub fn band_shape(shape: &[u64], tile: &[u64]) -> Vec<u64> {
    let cut = tile.iter().position(|&n| n > 1).unwrap_or(tile.len());
    shape.iter().zip(tile).enumerate().map(|(i, (&length, &n))| if i > cut { length } else { n }).collect()
}

impl Assemble {
    /// Bands of shape `band` of an array of `shape`.
    pub fn new(shape: &[u64], band: &[u64], dtype: DType, behind: Option<Box<dyn Consumer>>) -> Self {
        let cell: Vec<u64> = band.iter().map(|&n| n.max(1)).collect();
        Self { grid: Grid::new(shape, &cell), dtype, behind, keeps: false }
    }

    /// The same, which gives the last band as well as passing it on, if it `keeps` it.
    #[must_use]
    pub fn keeping(mut self, keeps: bool) -> Self {
        self.keeps = keeps;
        self
    }

    /// Memory of a band and of what writing it takes, in bytes.
    pub fn band_bytes(band: &[u64], dtype: DType) -> u64 {
        size_bytes(band, dtype).saturating_mul(2)
    }

    /// The band numbered `number`, empty.
    fn band(&self, number: u64, buffer: crate::block::Buffer) -> Result<Block> {
        let region = match self.grid.is_empty() {
            true => Region::whole(self.grid.shape()),
            false => self.grid.region(&self.grid.unravel(number)),
        };
        Block::reusing(buffer, region, self.dtype)
    }
}

impl Consumer for Assemble {
    fn wants(&self) -> Wants {
        let (unit, object) = (vec![1; self.grid.shape().len()], self.grid.cell().to_vec());
        Wants { unit, object, across: false, in_order: false, folds: None }
    }

    fn cost(&self, task: &[u64], _piece: &[u64]) -> Cost {
        Cost { kept_bytes: size_bytes(task, self.dtype), ..Cost::default() }
    }

    fn held_bytes(&self) -> u64 {
        let behind = self.behind.as_ref().map_or(0, |c| c.held_bytes());
        Self::band_bytes(self.grid.cell(), self.dtype).saturating_add(behind)
    }

    fn places(&self) -> Vec<&Place> {
        self.behind.iter().flat_map(|behind| behind.places()).collect()
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        self.behind.as_mut().map_or(Ok(()), |behind| behind.begin(job))
    }

    fn store(&self) -> Option<&Store> {
        self.behind.as_ref().and_then(|behind| behind.store())
    }

    fn keep_only(&mut self, units: &BTreeSet<u64>) -> Result<()> {
        self.behind.as_mut().map_or(Ok(()), |behind| behind.keep_only(units))
    }

    fn taker<'a>(&'a self, task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Gatherer { region: task.region.clone(), dtype: self.dtype, bytes: Vec::new() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let merger = self.behind.as_ref().map(|c| c.merger());
        let remembered = Remembered::new(self.store());
        Box::new(Bands { of: self, merger, desk: Desk::default(), remembered, block: None, number: 0, n_arrived: 0 })
    }

    fn keeper(&self) -> Result<Box<dyn Merger + '_>> {
        Ok(Box::new(Keeper(Remembered::new(self.store())?)))
    }

    fn leave(&mut self) -> Result<()> {
        self.behind.as_mut().map_or(Ok(()), |behind| behind.leave())
    }

    fn announce(&mut self) -> Result<()> {
        self.behind.as_mut().map_or(Ok(()), |behind| behind.announce())
    }

    fn give_names(&mut self) -> Result<()> {
        self.behind.as_mut().map_or(Ok(()), |behind| behind.give_names())
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        self.behind.as_mut().map_or(Ok(()), |behind| behind.publish(products))
    }
}

/// A task's elements, row-major.
struct Gatherer {
    region: Region,
    dtype: DType,
    bytes: Vec<u8>,
}

impl Taker for Gatherer {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        if *block.region() == self.region {
            self.bytes = block.bytes().to_vec();
            return Ok(());
        }
        self.bytes.resize(size_bytes(&self.region.shape, self.dtype) as usize, 0);
        let mut whole = Target::dense(&mut self.bytes, &self.region.shape, self.dtype);
        whole.part(&block.region().relative_to(&self.region.origin)).paste(block.bytes());
        Ok(())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(Some(Part::Bytes { pieces: Vec::new(), bytes: std::mem::take(&mut self.bytes) }))
    }
}

/// The band in hand.
struct Bands<'a> {
    of: &'a Assemble,
    merger: Option<Box<dyn Merger + 'a>>,
    desk: Desk,
    /// What goes on later is put together from parts.
    remembered: Result<Remembered<'a>>,
    block: Option<Block>,
    number: u64,
    /// How many of its elements have come.
    n_arrived: u64,
}

impl Bands<'_> {
    fn pass_on(&mut self, band: &Block) -> Result<()> {
        let (Some(behind), Some(merger)) = (&self.of.behind, &mut self.merger) else { return Ok(()) };
        // Its unit is recorded here, with the parts.
        let task = Task { index: self.number, unit: self.number, ends_unit: false, region: band.region().clone() };
        let mut taker = behind.taker(&task)?;
        taker.take(band, &mut self.desk)?;
        match taker.end(&mut self.desk)? {
            Some(part) => merger.put(&task, part),
            None => Err(Error::format("what is put together is shown once")),
        }
    }
}

impl<'a> Bands<'a> {
    fn remembered(&mut self) -> Result<&mut Remembered<'a>> {
        self.remembered.as_mut().map_err(Error::format)
    }

    fn paste(&mut self, task: &Task, bytes: &[u8]) -> Result<()> {
        let mut block = match self.block.take() {
            Some(block) => block,
            None => self.of.band(self.number, crate::block::Buffer::default())?,
        };
        let region = task.region.relative_to(&block.region().origin);
        block.target().part(&region).paste(bytes);
        self.n_arrived += region.n_elements();
        if self.n_arrived == block.region().n_elements() {
            self.pass_on(&block)?;
            if self.number + 1 < self.of.grid.len() {
                (self.number, self.n_arrived) = (self.number + 1, 0);
                block = self.of.band(self.number, block.into_buffer())?;
            }
        }
        self.block = Some(block);
        Ok(())
    }
}

impl Merger for Bands<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let Part::Bytes { bytes, .. } = part else { return Err(Error::format("a part of another consumer")) };
        self.paste(task, &bytes)?;
        self.remembered()?.keep(task, &bytes)
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        let bytes = self.remembered()?.part(task)?;
        self.paste(task, &bytes)
    }

    fn leave_remembering(&mut self) {
        self.remembered = Remembered::new(None);
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Product>> {
        let complete = self.block.as_ref().map_or(0, |b| b.region().n_elements());
        if self.n_arrived != complete || (self.number + 1 < self.of.grid.len()) {
            return Err(Error::format("some elements never came"));
        }
        let Some(merger) = self.merger else {
            return Ok(vec![Product { values: self.block, ..Product::default() }]);
        };
        let mut products = merger.finish()?;
        products.iter_mut().take(usize::from(self.of.keeps)).for_each(|product| product.values = self.block.take());
        Ok(products)
    }
}
