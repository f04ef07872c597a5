//! The state of one tile of a reduction.

use std::borrow::Cow;

use crate::block::{Block, Buffer};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, positions};
use crate::reduce::fold::{Counts, Fold, Outcome, Values};
use crate::reduce::panel::{Cut, Index, for_each};
use crate::reduce::reducer::{Grouping, Reducer};
use crate::reduce::store::store;

/// What has been folded of one tile.
pub struct Partial {
    tile: Region,
    cells: Vec<Cell>,
}

/// Outputs of a tile that share their reduced elements: all of it, or those of one group or window.
struct Cell {
    /// Elements of the array that go into it.
    region: Region,
    /// Outputs.
    n: usize,
    /// One per operator; none once its results are there.
    folds: Vec<Option<Box<dyn Fold>>>,
    results: Vec<Option<Values>>,
    counts: Counts,
    /// Reduced elements that were folded, masked ones too.
    before: u64,
    /// Passes that were finished.
    passes: u32,
}

/// The end of a pass over a tile.
pub enum Finished {
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
        Partial { tile: tile.clone(), cells: groups.iter().map(cell).collect() }
    }

    fn start_cell(&self, part: &Region, whole: bool) -> Cell {
        let n = n_elements(&part.shape) as usize;
        let region = self.input_of(part);
        let n_reduced = region.n_elements() / n.max(1) as u64;
        let input = crate::reduce::Input { n_reduced, ..self.input(whole) };
        let folds = self.operators.iter().map(|o| Some(o.start(&input, n))).collect();
        let counts = if self.is_masked() { Counts::Each(vec![0; n]) } else { Counts::All(0) };
        let results = self.operators.iter().map(|_| None).collect();
        Cell { region, n, folds, results, counts, before: 0, passes: 0 }
    }

    /// An empty state that can be [combined](Reducer::combine) with `partial` in the same pass.
    pub fn fork(&self, partial: &Partial) -> Partial {
        let cell = |cell: &Cell| Cell {
            region: cell.region.clone(),
            n: cell.n,
            folds: cell.folds.iter().map(|f| f.as_ref().map(|f| f.fork())).collect(),
            results: cell.results.iter().map(|_| None).collect(),
            counts: if self.is_masked() { Counts::Each(vec![0; cell.n]) } else { Counts::All(0) },
            before: 0,
            passes: cell.passes,
        };
        Partial { tile: partial.tile.clone(), cells: partial.cells.iter().map(cell).collect() }
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
            self.fold_cell(cell, block, present.as_deref())?;
        }
        Ok(())
    }

    fn fold_cell(&self, cell: &mut Cell, block: &Block, present: Option<&[u8]>) -> Result<()> {
        let Some(region) = cell.region.intersect(block.region()) else { return Ok(()) };
        let part = region.relative_to(&block.region().origin);
        let index = Index::new(&self.shape, &region, &self.reduced);
        let cut = Cut {
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
        for_each(&cut, |panel| {
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
            for fold in cell.folds.iter_mut().flatten() {
                fold.fold(panel, &cell.counts)?;
            }
            if cell.passes == 0 {
                cell.counts.take(panel);
            }
            Ok(())
        })?;
        let n_reduced = region.n_elements() / cell.n.max(1) as u64;
        cell.before += n_reduced;
        if let (Counts::All(n), 0) = (&mut cell.counts, cell.passes) {
            *n += n_reduced;
        }
        Ok(())
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
        debug_assert_eq!(partial.tile, later.tile);
        for (cell, later) in partial.cells.iter_mut().zip(later.cells) {
            for (fold, other) in cell.folds.iter_mut().zip(later.folds) {
                if let (Some(fold), Some(other)) = (fold, other) {
                    fold.merge(other, (&cell.counts, &later.counts))?;
                }
            }
            cell.before += later.before;
            if cell.passes == 0 {
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
    pub fn finish(&self, mut partial: Partial) -> Result<Finished> {
        let mut again = false;
        for (c, cell) in partial.cells.iter_mut().enumerate() {
            for (i, slot) in cell.folds.iter_mut().enumerate() {
                let Some(fold) = slot else { continue };
                match fold.finish(&cell.counts).map_err(|e| self.placed(e, i, &partial.tile, c))? {
                    Outcome::Done(values) => {
                        cell.results[i] = Some(values);
                        *slot = None;
                    }
                    Outcome::Again => again = true,
                }
            }
            cell.before = 0;
            cell.passes += 1;
        }
        if again {
            return Ok(Finished::Again(partial));
        }
        (0..self.outputs.len()).map(|i| self.block(&mut partial, i)).collect::<Result<_>>().map(Finished::Done)
    }

    /// The results of operator `i` as a block.
    fn block(&self, partial: &mut Partial, i: usize) -> Result<Block> {
        let region = self.output_of(i, &partial.tile);
        let dtype = self.outputs[i].dtype;
        let mut block = Block::new(region.clone(), dtype)?;
        let n_cells = partial.cells.len();
        for c in 0..n_cells {
            let Some(values) = partial.cells[c].results[i].take() else { continue };
            let placed = |e| self.placed(e, i, &partial.tile, c);
            if n_cells == 1 {
                store(values, dtype, self.asked.is_some(), block.bytes_mut()).map_err(placed)?;
                continue;
            }
            let mut buffer = Buffer::default();
            let bytes = buffer.sized(block.bytes().len() / n_cells);
            store(values, dtype, self.asked.is_some(), bytes).map_err(placed)?;
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

    /// Puts the operator and the place in front of an error that begins with the number of an output in
    /// cell `c`.
    fn placed(&self, error: Error, i: usize, tile: &Region, c: usize) -> Error {
        let label = &self.outputs[i].label;
        let Error::Usage(text) = &error else { return error.at(label) };
        let Some((number, rest)) = text.split_once(": ") else { return error.at(label) };
        let Ok(number) = number.parse::<u64>() else { return error.at(label) };
        let mut shape = tile.shape.clone();
        let mut origin = tile.origin.clone();
        if let Some((axis, _)) = self.grouping {
            (origin[axis], shape[axis]) = (tile.origin[axis] + c as u64, 1);
        }
        // Results with an axis of their own run through the outputs for each of its entries.
        let mut number = number % n_elements(&shape).max(1);
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
        Error::Usage(format!("{label}{place}: {rest}"))
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
