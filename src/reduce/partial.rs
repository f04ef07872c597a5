//! The state of one tile of a reduction.

use std::borrow::Cow;

use crate::block::{Block, Buffer};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, positions};
use crate::reduce::fold::{Counts, Fold, Refusal, Values};
use crate::reduce::operator::Input;
use crate::reduce::panel::{Index, Patch, for_each};
use crate::reduce::reducer::{Grouping, Reducer};
use crate::reduce::saved::{put, put_flag, senseless, take_flag, take_one};
use crate::reduce::store::store;
use crate::reduce::table::Labelled;

/// Version of the bytes that states are saved as.
const VERSION: u8 = 1;

/// What has been folded of one tile.
pub struct Partial {
    tile: Region,
    /// What reduction and tile it is of.
    digest: u32,
    /// Passes that were finished.
    passes: u32,
    cells: Vec<Cell>,
}

/// Outputs of a tile that share their reduced elements: all of it, or those of one group or window.
struct Cell {
    /// Elements of the array that go into it.
    region: Region,
    /// Outputs.
    n: usize,
    /// One per operator.
    folds: Vec<Pending>,
    counts: Counts,
    /// Reduced elements that were folded in this pass, masked ones too.
    before: u64,
}

/// The state of one operator.
struct Pending {
    fold: Box<dyn Fold>,
    /// Whether it needs no further pass.
    done: bool,
}

/// The end of a pass over a tile.
pub enum Outcome {
    /// One block for each operator, in the coordinates of its output.
    Done(Vec<Block>),
    /// The tile's elements must be folded once more.
    Again(Partial),
}

impl Partial {
    /// The tile, a box of [`Reducer::frame`].
    pub fn tile(&self) -> &Region {
        &self.tile
    }

    /// The state as bytes, for [`Reducer::load`]: the same on every machine, whatever its byte order.
    ///
    /// They are a byte of version, four of the reduction and tile they belong to, the number of passes, what
    /// was folded of each group, and a CRC-32C of all that.
    pub fn save(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, &[self.digest, self.passes]);
        for cell in &self.cells {
            put(&mut out, &[cell.before]);
            cell.counts.save(&mut out);
            for pending in &cell.folds {
                put_flag(&mut out, pending.done);
                pending.fold.save(&mut out);
            }
        }
        let checksum = crc32c::crc32c(&out);
        put(&mut out, &[checksum]);
        out
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        match bytes.first() {
            Some(&VERSION) => {}
            Some(other) => return Err(Error::format(format!("a saved state of version {other}, not {VERSION}"))),
            None => return Err(Error::format("a saved state is empty")),
        }
        let (body, mut checksum) = bytes.split_at(bytes.len().saturating_sub(4).max(1));
        if take_one::<u32>(&mut checksum)? != crc32c::crc32c(body) {
            return Err(Error::format("a saved state is damaged or cut short"));
        }
        let bytes = &mut &body[1..];
        if take_one::<u32>(bytes)? != self.digest {
            return Err(Error::format("a saved state is of another reduction or tile"));
        }
        self.passes = take_one(bytes)?;
        for cell in &mut self.cells {
            cell.restore(bytes)?;
        }
        if bytes.is_empty() { Ok(()) } else { Err(senseless()) }
    }
}

impl Cell {
    /// Elements that go into each output.
    fn n_reduced(&self) -> u64 {
        self.region.n_elements() / self.n.max(1) as u64
    }

    fn restore(&mut self, bytes: &mut &[u8]) -> Result<()> {
        self.before = take_one(bytes)?;
        self.counts.restore(bytes)?;
        let n_reduced = self.n_reduced();
        if self.before > n_reduced || (0..self.n).any(|i| self.counts.of(i) > n_reduced) {
            return Err(senseless());
        }
        for pending in &mut self.folds {
            pending.done = take_flag(bytes)?;
            pending.fold.restore(bytes)?;
        }
        Ok(())
    }
}

impl Reducer {
    /// An empty state for `tile`, a box of [`Reducer::frame`]. `whole`: blocks will bring all elements of
    /// their outputs.
    pub fn start(&self, tile: &Region, whole: bool) -> Partial {
        let groups = match self.grouping {
            Some((axis, _)) => (0..tile.shape[axis]).map(|i| (axis, tile.origin[axis] + i)).collect(),
            None => vec![(0, tile.origin.first().copied().unwrap_or(0))],
        };
        let cell = |&(axis, at): &(usize, u64)| {
            let mut part = tile.clone();
            if self.grouping.is_some() {
                (part.origin[axis], part.shape[axis]) = (at, 1);
            }
            self.start_cell(&part, whole)
        };
        let mut place = vec![u8::from(whole)];
        put(&mut place, &tile.origin);
        put(&mut place, &tile.shape);
        let digest = crc32c::crc32c_append(self.digest, &place);
        Partial { tile: tile.clone(), digest, passes: 0, cells: groups.iter().map(cell).collect() }
    }

    fn start_cell(&self, part: &Region, whole: bool) -> Cell {
        let n = n_elements(&part.shape) as usize;
        let region = self.input_of(part);
        let input = Input { n_reduced: region.n_elements() / n.max(1) as u64, ..self.input(whole) };
        let start = |o: &Labelled| Pending { fold: o.operator.start(&input, n), done: false };
        let folds = self.operators.iter().map(start).collect();
        Cell { region, n, folds, counts: Counts::new(self.is_masked(), n), before: 0 }
    }

    /// An empty state that can be [combined](Reducer::combine) with `partial` in the same pass.
    pub fn fork(&self, partial: &Partial) -> Partial {
        let fork = |p: &Pending| Pending { fold: p.fold.fork(), done: p.done };
        let cell = |cell: &Cell| Cell {
            region: cell.region.clone(),
            n: cell.n,
            folds: cell.folds.iter().map(fork).collect(),
            counts: Counts::new(self.is_masked(), cell.n),
            before: 0,
        };
        Partial { tile: partial.tile.clone(), cells: partial.cells.iter().map(cell).collect(), ..*partial }
    }

    /// The state of `tile` that [`Partial::save`] gave as `bytes`, of a state that was [started](Reducer::start)
    /// with the same `whole` by a reducer of the same array and settings. It goes on, forks and combines as
    /// that one would.
    ///
    /// # Errors
    /// `Format` if the bytes are damaged, cut, of another version, or of another reduction or tile.
    pub fn load(&self, tile: &Region, whole: bool, bytes: &[u8]) -> Result<Partial> {
        let mut partial = self.start(tile, whole);
        partial.restore(bytes)?;
        Ok(partial)
    }

    /// Folds the elements of `block` that belong to the tile. The block covers the tile's kept axes; along
    /// reduced ones it may hold a part. Of the block, the `absent` regions of the array are covered by no
    /// file; they are left out if the settings say so.
    ///
    /// # Errors
    /// As the operators'.
    pub fn fold(&self, partial: &mut Partial, block: &Block, absent: &[Region]) -> Result<()> {
        let skipped: Vec<Region> = if self.skip_absent {
            absent.iter().filter_map(|r| r.intersect(block.region())).collect()
        } else {
            Vec::new()
        };
        let present = if skipped.is_empty() { None } else { Some(present(block, &skipped)) };
        for cell in &mut partial.cells {
            self.fold_cell(cell, partial.passes == 0, block, present.as_deref());
        }
        Ok(())
    }

    fn fold_cell(&self, cell: &mut Cell, first: bool, block: &Block, present: Option<&[u8]>) {
        let Some(region) = cell.region.intersect(block.region()) else { return };
        let part = region.relative_to(&block.region().origin);
        let index = Index::new(&self.shape, &region, &self.reduced);
        let patch = Patch {
            bytes: block.bytes(),
            dtype: self.dtype,
            block_shape: &block.region().shape,
            part: &part,
            reduced: &self.reduced,
            index: &index,
            before: cell.before,
            whole: self.wants_whole(),
        };
        let tested = self.predicate.is_needed(self.dtype);
        let mut mask = Vec::new();
        for_each(&patch, |panel| {
            let mut all = true;
            if tested || present.is_some() {
                mask.clear();
                mask.resize(panel.n_rows * panel.n_columns, 1);
                if let Some(present) = present {
                    for (row, mask) in mask.chunks_exact_mut(panel.n_columns).enumerate() {
                        mask.copy_from_slice(&present[panel.offset(row)..][..panel.n_columns]);
                    }
                    all = !mask.contains(&0);
                }
                if tested {
                    all = self.predicate.apply(panel, self.dtype, &mut mask);
                }
            }
            let masked;
            let panel = if all {
                panel
            } else {
                masked = panel.masked(&mask);
                &masked
            };
            for pending in cell.folds.iter_mut().filter(|p| !p.done) {
                pending.fold.fold(panel, &cell.counts);
            }
            if first {
                cell.counts.take(panel);
            }
        });
        let n_reduced = region.n_elements() / cell.n.max(1) as u64;
        cell.before += n_reduced;
        if let (Counts::All(n), true) = (&mut cell.counts, first) {
            *n += n_reduced;
        }
    }

    /// Folds one block into a state of its own.
    ///
    /// # Errors
    /// As [`Reducer::fold`].
    pub fn chunk(&self, tile: &Region, block: &Block, absent: &[Region]) -> Result<Partial> {
        let mut partial = self.start(tile, self.input_of(tile) == *block.region());
        self.fold(&mut partial, block, absent)?;
        Ok(partial)
    }

    /// Adds to `partial` what `later` has folded of the same tile, behind it in plan order.
    ///
    /// # Errors
    /// As the operators'.
    pub fn combine(&self, partial: &mut Partial, later: Partial) -> Result<()> {
        if partial.digest != later.digest || partial.passes != later.passes {
            return Err(senseless());
        }
        for (cell, later) in partial.cells.iter_mut().zip(later.cells) {
            for (i, (mine, theirs)) in cell.folds.iter_mut().zip(later.folds).enumerate() {
                if !mine.done {
                    let merged = mine.fold.merge(theirs.fold, (&cell.counts, &later.counts));
                    merged.map_err(|e| e.at(&self.outputs[i].label))?;
                }
            }
            cell.before += later.before;
            if partial.passes == 0 {
                cell.counts.merge(&later.counts);
            }
        }
        Ok(())
    }

    /// Ends a pass over a tile.
    ///
    /// # Errors
    /// `Usage` if a result does not fit its type, or an output of integers got no element; the message names
    /// the operator and the place.
    pub fn finish(&self, mut partial: Partial) -> Result<Outcome> {
        let mut again = false;
        for cell in &mut partial.cells {
            for pending in cell.folds.iter_mut().filter(|p| !p.done) {
                pending.done = !pending.fold.again(&cell.counts);
                again |= !pending.done;
            }
            cell.before = 0;
        }
        partial.passes += 1;
        if again {
            return Ok(Outcome::Again(partial));
        }
        (0..self.outputs.len()).map(|i| self.block(&mut partial, i)).collect::<Result<_>>().map(Outcome::Done)
    }

    /// The results of operator `i`, whose states are the first that are left, as a block.
    fn block(&self, partial: &mut Partial, i: usize) -> Result<Block> {
        let region = self.output_of(i, &partial.tile);
        let dtype = self.outputs[i].dtype;
        let n_cells = partial.cells.len();
        let placed = |refusal, c| self.placed(refusal, i, &partial.tile, c);
        // States go before the block comes, which may take their place in memory.
        let finish =
            |(c, cell): (usize, &mut Cell)| cell.folds.remove(0).fold.finish(&cell.counts).map_err(|r| placed(r, c));
        let values: Vec<Values> = partial.cells.iter_mut().enumerate().map(finish).collect::<Result<_>>()?;
        let mut block = Block::new(region.clone(), dtype)?;
        for (c, values) in values.into_iter().enumerate() {
            let put = |bytes: &mut [u8]| {
                store(values, dtype, self.asked.is_some() || self.narrow, bytes).map_err(|r| placed(r, c))
            };
            if n_cells == 1 {
                put(block.bytes_mut())?;
                continue;
            }
            let mut buffer = Buffer::default();
            let bytes = buffer.sized(block.bytes().len() / n_cells);
            put(bytes)?;
            // The cell is one index of the grouped axis in every output before it.
            let (axis, _) = self.grouping.unwrap_or((0, Grouping::Window { n: 1 }));
            let own = usize::from(self.n_own(i).is_some());
            let kept_before = (0..axis).filter(|&a| !self.reduced[a] || region.rank() - own == self.shape.len());
            let at = own + kept_before.count();
            let mut part = Region::whole(&region.shape);
            (part.origin[at], part.shape[at]) = (c as u64, 1);
            block.target().part(&part).paste(bytes);
        }
        Ok(block)
    }

    /// Why operator `i` has no result, with its label and the place of the output, which lies in cell `c`.
    fn placed(&self, refusal: Refusal, i: usize, tile: &Region, c: usize) -> Error {
        let mut shape = tile.shape.clone();
        let mut origin = tile.origin.clone();
        if let Some((axis, _)) = self.grouping {
            (origin[axis], shape[axis]) = (tile.origin[axis] + c as u64, 1);
        }
        // Results with an axis of their own run through the outputs for each of its entries.
        let mut number = refusal.at as u64 % n_elements(&shape).max(1);
        let mut place = Vec::new();
        for a in (0..shape.len()).rev() {
            let (at, name) = (origin[a] + number % shape[a], &self.axes[a].name);
            number /= shape[a];
            if !self.reduced[a] || self.grouping.is_some_and(|(g, _)| g == a) {
                place.push(format!("{name}={at}"));
            }
        }
        place.reverse();
        let place = if place.is_empty() { Cow::from("") } else { format!(" at {}", place.join(", ")).into() };
        refusal.error.at(format_args!("{}{place}", self.outputs[i].label))
    }
}

/// Ones for the elements of `block` outside the `absent` regions, zeros within.
fn present(block: &Block, absent: &[Region]) -> Vec<u8> {
    let shape = &block.region().shape;
    let mut mask = vec![1u8; block.region().n_elements() as usize];
    let strides = crate::grid::row_major_strides(shape);
    for region in absent {
        let region = region.relative_to(&block.region().origin);
        let Some((&run, outer)) = region.shape.split_last() else {
            mask.fill(0);
            continue;
        };
        for position in positions(outer) {
            let at: u64 =
                (0..shape.len()).map(|i| (region.origin[i] + position.get(i).copied().unwrap_or(0)) * strides[i]).sum();
            mask[at as usize..(at + run) as usize].fill(0);
        }
    }
    mask
}
