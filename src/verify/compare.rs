//! A consumer that compares an array with the blocks that it is shown.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::DamageKind;
use crate::array::{Reader, Scratch};
use crate::block::{Block, Buffer, size_bytes};
use crate::consume::{Consumer, Desk, Merger, Part, Product, Taker};
use crate::error::{Error, Result};
use crate::grid::{Grid, Region, positions};
use crate::plan::{Cost, Task, Wants};
use crate::source::FileArray;

/// Differences that are kept; more are counted.
const MOST_KEPT: usize = 1000;

/// An element that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where.
    pub at: Vec<u64>,
    /// Its bytes in the blocks that were shown.
    pub shown: Vec<u8>,
    /// Its bytes in the array.
    pub found: Vec<u8>,
}

/// What a comparison has come to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Differences {
    /// Elements that were compared.
    pub n_elements: u64,
    /// Elements that differ.
    pub n_different: u64,
    /// The first of them in plan order.
    pub first: Vec<Difference>,
    /// Messages of chunks that cannot be read.
    pub unreadable: BTreeSet<String>,
}

impl Differences {
    fn add(&mut self, other: Self) {
        self.n_elements += other.n_elements;
        self.n_different += other.n_different;
        self.first.extend(other.first);
        self.first.truncate(MOST_KEPT);
        self.unreadable.extend(other.unreadable);
    }

    /// What a chunk that cannot be read is.
    pub const UNREADABLE: DamageKind = DamageKind::Undecodable;
}

/// Compares `array` with what it is shown of another of the same shape and type.
pub struct Compare {
    array: Arc<dyn FileArray>,
    found: Arc<Mutex<Differences>>,
}

impl Compare {
    /// A comparison with `array`; what comes of it goes to `found`.
    pub fn new(array: Arc<dyn FileArray>, found: Arc<Mutex<Differences>>) -> Self {
        Self { array, found }
    }
}

impl Consumer for Compare {
    fn wants(&self) -> Wants {
        let unit = self.array.info().unit.clone();
        Wants { object: unit.clone(), unit, across: true, folds: None, in_order: false }
    }

    fn cost(&self, _task: &[u64], piece: &[u64]) -> Cost {
        let read = size_bytes(piece, self.array.dtype()).saturating_add(self.array.needs(piece));
        Cost { work_bytes: read, kept_bytes: 128 << 10 }
    }

    fn held_bytes(&self) -> u64 {
        self.array.held_bytes().saturating_add(1 << 20)
    }

    fn taker<'a>(&'a self, _task: &Task) -> Result<Box<dyn Taker + 'a>> {
        Ok(Box::new(Comparing { of: self, found: Differences::default() }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        Box::new(Collecting { of: self })
    }
}

/// What a worker keeps from task to task.
#[derive(Default)]
struct Kept {
    reader: Option<Box<dyn Reader>>,
    buffer: Buffer,
}

struct Comparing<'a> {
    of: &'a Compare,
    found: Differences,
}

impl Comparing<'_> {
    /// Compares the elements of `region` with those of `block`.
    fn compare(&mut self, block: &Block, region: &Region, kept: &mut Kept) -> Result<()> {
        let array = &self.of.array;
        let reader = kept.reader.get_or_insert_with(|| Arc::clone(array).reader(Scratch::default()));
        let ours = reader.block(region, array.dtype(), std::mem::take(&mut kept.buffer))?;
        self.found.n_elements += region.n_elements();
        if ours.region() != block.region() || ours.bytes() != block.bytes() {
            self.differ(block, &ours);
        }
        kept.buffer = ours.into_buffer();
        Ok(())
    }

    /// Notes the elements of `ours` that differ from those of `block`, which holds its region.
    fn differ(&mut self, block: &Block, ours: &Block) {
        let (size, inside) = (ours.dtype().size(), ours.region().relative_to(&block.region().origin));
        let strides = crate::grid::row_major_strides(&block.region().shape);
        for (position, found) in positions(&ours.region().shape).zip(ours.bytes().chunks_exact(size)) {
            let at = |i: usize| (position[i] + inside.origin[i]) * strides[i];
            let start = (0..position.len()).map(at).sum::<u64>() as usize * size;
            let shown = &block.bytes()[start..start + size];
            if shown == found {
                continue;
            }
            self.found.n_different += 1;
            if self.found.first.len() < MOST_KEPT {
                let at = position.iter().zip(&ours.region().origin).map(|(p, o)| p + o).collect();
                self.found.first.push(Difference { at, shown: shown.to_vec(), found: found.to_vec() });
            }
        }
    }
}

impl Taker for Comparing<'_> {
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()> {
        let kept = desk.kept.get::<Kept>();
        if self.compare(block, block.region(), kept).is_ok() {
            return Ok(());
        }
        // Some chunk cannot be read: the others can.
        let grid = Grid::new(&self.of.array.shape(), &self.of.array.info().unit);
        for position in grid.overlapping(block.region()) {
            let Some(region) = grid.region(&position).intersect(block.region()) else { continue };
            if let Err(e) = self.compare(block, &region, kept) {
                self.found.unreadable.insert(e.to_string());
            }
        }
        Ok(())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        let found = std::mem::take(&mut self.found);
        serde_json::to_vec(&found).map(|state| Some(Part::State(state))).map_err(Error::format)
    }
}

struct Collecting<'a> {
    of: &'a Compare,
}

impl Merger for Collecting<'_> {
    fn merge(&mut self, _task: &Task, part: Part) -> Result<()> {
        let Part::State(state) = part else { return Err(Error::format("a part of another consumer")) };
        let found = serde_json::from_slice(&state).map_err(Error::format)?;
        self.of.found.lock().unwrap_or_else(PoisonError::into_inner).add(found);
        Ok(())
    }

    fn skip(&mut self, _task: &Task) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        Ok(Vec::new())
    }
}
