//! A consumer that compares an array, and the levels below it, with the blocks that it is shown.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::DamageKind;
use crate::array::{Reader, Scratch};
use crate::block::{Block, Buffer, size_bytes};
use crate::consume::levels::{Method, halve, halved, multiple};
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
    /// Of which level; 0 is the full resolution.
    pub level: usize,
    /// Where in it.
    pub at: Vec<u64>,
    /// Its bytes in the blocks that were shown, or in what they make of the level.
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

/// Compares an array with what it is shown of another of the same shape and type, and levels with what that makes.
pub struct Compare {
    arrays: Vec<Stored>,
    /// Whether the first of them is what is shown, and compared with nothing.
    is_given: bool,
    method: Method,
    fill: Vec<u8>,
    found: Arc<Mutex<Differences>>,
}

/// An array that is compared.
struct Stored {
    array: Arc<dyn FileArray>,
    /// Elements of the level before it that one of its elements stands for, along each axis; of the full resolution.
    step: Vec<u64>,
    factor: Vec<u64>,
}

impl Compare {
    /// A comparison with `array`; what comes of it goes to `found`.
    pub fn new(array: Arc<dyn FileArray>, found: Arc<Mutex<Differences>>) -> Self {
        let (step, fill) = (vec![1; array.axes().len()], array.fill_bytes());
        let arrays = vec![Stored { array, factor: step.clone(), step }];
        Self { arrays, is_given: false, method: Method::default(), fill, found }
    }

    /// The same with its `levels`, each made of the one before by `method`, the first of an array with this fill value.
    ///
    /// # Errors
    /// `Format` if one is no level of the one before it.
    pub fn with_levels(mut self, levels: Vec<Arc<dyn FileArray>>, method: Method, fill: Vec<u8>) -> Result<Self> {
        (self.method, self.fill) = (method, fill);
        for array in levels {
            let Some(before) = self.arrays.last() else { break };
            let (shape, above) = (array.shape(), before.array.shape());
            let step: Vec<u64> = above.iter().zip(&shape).map(|(a, n)| if a == n { 1 } else { 2 }).collect();
            let is_level = above.len() == shape.len() && halved(&Region::whole(&above), &step).shape == shape;
            if !is_level || array.dtype() != before.array.dtype() {
                let (n, dtype) = (self.arrays.len(), array.dtype());
                return Err(Error::format(format!("level {n} of {shape:?} {dtype} is none of {above:?}")));
            }
            let factor = before.factor.iter().zip(&step).map(|(f, s)| f * s).collect();
            self.arrays.push(Stored { array, step, factor });
        }
        Ok(self)
    }

    /// The same of what is shown itself: only its levels are compared.
    #[must_use]
    pub fn of_levels_alone(self) -> Self {
        Self { is_given: true, ..self }
    }
}

impl Consumer for Compare {
    fn wants(&self) -> Wants {
        let (array, mut unit) = (&self.arrays[0].array, self.arrays[0].array.info().unit.clone());
        // An axis that is cut is cut where windows of every level begin.
        for (i, n) in array.shape().into_iter().enumerate() {
            if unit[i] >= n {
                continue;
            }
            unit[i] = self.arrays.iter().fold(unit[i], |unit, one| multiple(unit, one.factor[i]));
        }
        Wants { object: unit.clone(), unit, across: true, folds: None, in_order: false }
    }

    fn cost(&self, _task: &[u64], piece: &[u64]) -> Cost {
        let read = |one: &Stored| {
            let part: Vec<u64> = piece.iter().zip(&one.factor).map(|(n, f)| n.div_ceil(*f)).collect();
            size_bytes(&part, one.array.dtype()).saturating_mul(2).saturating_add(one.array.needs(&part))
        };
        Cost {
            work_bytes: self.arrays.iter().map(read).fold(0, u64::saturating_add),
            kept_bytes: 128 << 10,
            ..Cost::default()
        }
    }

    fn held_bytes(&self) -> u64 {
        self.arrays.iter().map(|one| one.array.held_bytes()).fold(1 << 20, u64::saturating_add)
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
    /// By level.
    readers: Vec<Option<Box<dyn Reader>>>,
    buffer: Buffer,
}

struct Comparing<'a> {
    of: &'a Compare,
    found: Differences,
}

impl Comparing<'_> {
    /// Compares the elements of `region` of a level with those of `block`.
    fn compare(&mut self, level: usize, block: &Block, region: &Region, kept: &mut Kept) -> Result<()> {
        let array = &self.of.arrays[level].array;
        kept.readers.resize_with(self.of.arrays.len(), || None);
        let reader = kept.readers[level].get_or_insert_with(|| Arc::clone(array).reader(Scratch::default()));
        let ours = reader.block(region, array.dtype(), std::mem::take(&mut kept.buffer))?;
        self.found.n_elements += region.n_elements();
        if ours.region() != block.region() || ours.bytes() != block.bytes() {
            self.differ(level, block, &ours);
        }
        kept.buffer = ours.into_buffer();
        Ok(())
    }

    /// Notes the elements of `ours` that differ from those of `block`, which holds its region.
    fn differ(&mut self, level: usize, block: &Block, ours: &Block) {
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
                self.found.first.push(Difference { level, at, shown: shown.to_vec(), found: found.to_vec() });
            }
        }
    }

    /// Compares a level with `block`, chunk by chunk where some cannot be read.
    fn look(&mut self, level: usize, block: &Block, kept: &mut Kept) {
        if self.compare(level, block, block.region(), kept).is_ok() {
            return;
        }
        let array = &self.of.arrays[level].array;
        let grid = Grid::new(&array.shape(), &array.info().unit);
        for position in grid.overlapping(block.region()) {
            let Some(region) = grid.region(&position).intersect(block.region()) else { continue };
            if let Err(e) = self.compare(level, block, &region, kept) {
                self.found.unreadable.insert(e.to_string());
            }
        }
    }
}

impl Taker for Comparing<'_> {
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()> {
        let (of, kept) = (self.of, desk.kept.get::<Kept>());
        let mut held: Option<Block> = None;
        for (level, one) in of.arrays.iter().enumerate() {
            if level > 0 {
                held = Some(halve(held.as_ref().unwrap_or(block), &one.step, of.method, &of.fill)?);
            }
            if level > 0 || !of.is_given {
                self.look(level, held.as_ref().unwrap_or(block), kept);
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
