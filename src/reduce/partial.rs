//! The state of one tile of a reduction.

use std::borrow::Cow;

use crate::block::Block;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};
use crate::reduce::fold::{Counts, Fold, Refusal, Results, count};
use crate::reduce::operator::Subject;
use crate::reduce::panel::{Numbering, Patch, for_each};
use crate::reduce::reducer::{Fate, OperatorOutput, Reducer};
use crate::reduce::saved::{Tape, senseless};
use crate::reduce::store::store;
use crate::reduce::table::Labelled;

/// Version of the bytes that states are saved as.
const VERSION: u8 = 3;

/// Room that is made at once for what a state is saved as.
const MOST_FORESEEN: u64 = 64 << 20;

/// What has been folded of one tile.
pub struct Partial {
    tile: Region,
    /// What reduction and tile it is of.
    digest: u32,
    /// Its memory, about.
    state_bytes: usize,
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
    /// The state as bytes, for [`Reducer::load`]: the same on every machine, whatever its byte order.
    ///
    /// They are a byte of version, four of the reduction and tile they belong to, the number of passes, what
    /// was folded of each group, and a CRC-32C of all that.
    pub fn save(mut self) -> Vec<u8> {
        // One that grows on its way would leave copies behind.
        let mut bytes = Vec::with_capacity(self.state_bytes);
        bytes.push(VERSION);
        let mut tape = Tape::Write(bytes);
        let passed = self.pass(&mut tape);
        let (Ok(()), Tape::Write(mut bytes)) = (passed, tape) else { unreachable!("nothing is read") };
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let mut tape = opened(bytes)?;
        self.pass(&mut tape)?;
        tape.end()
    }

    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        self.pass_digest(tape)?;
        tape.number(&mut self.passes)?;
        self.cells.iter_mut().try_for_each(|cell| cell.pass(tape))
    }

    fn pass_digest(&self, tape: &mut Tape<'_>) -> Result<()> {
        let mut digest = self.digest;
        tape.number(&mut digest)?;
        if digest == self.digest { Ok(()) } else { Err(Error::format("a saved state is of another reduction or tile")) }
    }
}

/// What lies between the version and the checksum of a saved state.
fn opened(bytes: &[u8]) -> Result<Tape<'_>> {
    let whole = bytes.split_last_chunk().filter(|(body, sum)| crc32c::crc32c(body) == u32::from_le_bytes(**sum));
    let Some(([version, body @ ..], _)) = whole else {
        return Err(Error::format("a saved state is damaged or cut short"));
    };
    if *version != VERSION {
        return Err(Error::format(format!("a saved state of version {version}, not {VERSION}")));
    }
    Ok(Tape::Read(body))
}

impl Cell {
    fn pass(&mut self, tape: &mut Tape<'_>) -> Result<()> {
        let (mut before, mut counts) = (self.before, std::mem::replace(&mut self.counts, Counts::All(0)));
        self.pass_counts(&mut before, &mut counts, tape)?;
        (self.before, self.counts) = (before, counts);
        for pending in &mut self.folds {
            tape.flag(&mut pending.done)?;
            tape.piece(|tape| pending.fold.pass(tape))?;
        }
        Ok(())
    }

    fn pass_counts(&self, before: &mut u64, counts: &mut Counts, tape: &mut Tape<'_>) -> Result<()> {
        tape.number(before)?;
        tape.numbers(counts.numbers())?;
        let n_reduced = self.region.n_elements() / self.n.max(1) as u64;
        let is_sensible = *before <= n_reduced && counts.numbers().iter().all(|&n| n <= n_reduced);
        if is_sensible { Ok(()) } else { Err(senseless()) }
    }

    /// Takes over what a later state, whose `tape` goes on with this cell, has folded in the same pass.
    fn combine(&mut self, tape: &mut Tape<'_>, outputs: &[OperatorOutput], is_first: bool) -> Result<()> {
        let (mut before, mut counts) = (0, self.counts.clone());
        self.pass_counts(&mut before, &mut counts, tape)?;
        for (pending, output) in self.folds.iter_mut().zip(outputs) {
            let mut done = false;
            tape.flag(&mut done)?;
            let join = |tape: &mut Tape<'_>| {
                if pending.done { tape.skip() } else { pending.fold.join(tape, (&self.counts, &counts)) }
            };
            tape.piece(join).map_err(|e| e.at(&output.label))?;
        }
        self.before += before;
        if is_first {
            self.counts.merge(&counts);
        }
        Ok(())
    }
}

impl Reducer {
    /// An empty state for `tile`, a box of [`Reducer::frame`]. `whole`: blocks will bring all elements of
    /// their outputs.
    pub fn start(&self, tile: &Region, whole: bool) -> Partial {
        let digest = crc32c::crc32c_append(self.digest, format!("{whole} {tile:?}").as_bytes());
        let cells = self.parts(tile).map(|part| self.start_cell(&part, whole)).collect();
        let state_bytes = self.state_bytes(whole).saturating_mul(tile.n_elements()).min(MOST_FORESEEN) as usize;
        Partial { tile: tile.clone(), digest, state_bytes: state_bytes + (1 << 10), passes: 0, cells }
    }

    /// The parts of `tile` that are cells, in their order.
    fn parts(&self, tile: &Region) -> impl Iterator<Item = Region> + use<> {
        let (cells, origin) = (self.cells(&tile.shape), tile.origin.clone());
        (0..cells.len()).map(move |c| {
            let mut part = cells.region(&cells.unravel(c));
            part.origin.iter_mut().zip(&origin).for_each(|(at, from)| *at += from);
            part
        })
    }

    fn start_cell(&self, part: &Region, whole: bool) -> Cell {
        let n = n_elements(&part.shape) as usize;
        let region = self.input_of(part);
        let input = Subject { n_reduced: region.n_elements() / n.max(1) as u64, ..self.input(whole) };
        let start = |o: &Labelled| Pending { fold: o.operator.start(&input, n), done: false };
        let folds = self.operators.iter().map(start).collect();
        let counts = Counts::new(self.is_masked(), n, self.settings.empty.as_deref());
        Cell { region, n, folds, counts, before: 0 }
    }

    /// The state of `tile` that [`Partial::save`] gave as `bytes`, of a state that was [started](Reducer::start)
    /// with the same `whole` by a reducer of the same array and settings. It goes on and combines as that one
    /// would; at the beginning of a pass it is also the empty state that others of that pass are combined with.
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
    /// `Limit` if a mask of the block cannot be held in memory.
    pub fn fold(&self, partial: &mut Partial, block: &Block, absent: &[Region]) -> Result<()> {
        let absent = if self.settings.skip_absent { absent } else { &[] };
        let skipped: Vec<Region> = absent.iter().filter_map(|r| r.intersect(block.region())).collect();
        let present = if skipped.is_empty() { None } else { Some(present(block, &skipped)?) };
        for cell in &mut partial.cells {
            self.fold_cell(cell, partial.passes == 0, block, present.as_ref().map(Block::bytes));
        }
        Ok(())
    }

    fn fold_cell(&self, cell: &mut Cell, first: bool, block: &Block, present: Option<&[u8]>) {
        let Some(region) = cell.region.intersect(block.region()) else { return };
        let patch = Patch {
            bytes: block.bytes(),
            dtype: self.dtype,
            block_shape: &block.region().shape,
            part: &region.relative_to(&block.region().origin),
            reduced: &self.reduced,
            index: &Numbering::new(&self.shape, &region, &self.reduced),
            before: cell.before,
            whole: self.wants_whole(),
        };
        let tested = self.settings.predicate.is_needed(self.dtype);
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
                    all = self.settings.predicate.apply(panel, self.dtype, &mut mask);
                }
            }
            let masked = (!all).then(|| panel.masked(&mask));
            let panel = masked.as_ref().unwrap_or(panel);
            for pending in cell.folds.iter_mut().filter(|p| !p.done) {
                pending.fold.fold(panel, &cell.counts);
            }
            if let (true, Counts::Each(each, _)) = (first, &mut cell.counts) {
                count(&mut each[panel.outputs()], panel);
            }
        });
        let n_reduced = region.n_elements() / cell.n.max(1) as u64;
        cell.before += n_reduced;
        if let (true, Counts::All(n)) = (first, &mut cell.counts) {
            *n += n_reduced;
        }
    }

    /// Adds to `partial` what a state that was saved as `later` has folded of the same tile, behind it in plan order.
    ///
    /// # Errors
    /// As of [`Reducer::load`], and as the operators'.
    pub fn combine(&self, partial: &mut Partial, later: &[u8]) -> Result<()> {
        let mut tape = opened(later)?;
        partial.pass_digest(&mut tape)?;
        let mut passes = 0;
        tape.number(&mut passes)?;
        if passes != partial.passes {
            return Err(senseless());
        }
        partial.cells.iter_mut().try_for_each(|cell| cell.combine(&mut tape, &self.outputs, passes == 0))?;
        tape.end()
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
        // States go before the block comes, which may take their place in memory.
        let parts = || self.parts(&partial.tile);
        let placed = |refusal, part: &Region| self.placed(refusal, i, part);
        let finish = |(cell, part): (&mut Cell, Region)| {
            cell.folds.remove(0).fold.finish(&cell.counts).map_err(|refusal| placed(refusal, &part))
        };
        let mut values: Vec<Results> = partial.cells.iter_mut().zip(parts()).map(finish).collect::<Result<_>>()?;
        let asked = self.settings.dtype.is_some() || self.settings.narrow.is_some();
        let stored = |values, part: &Region| store(values, dtype, asked).map_err(|refusal| placed(refusal, part));
        if let ([_], Some(only)) = (&partial.cells[..], values.pop_if(|_| partial.cells.len() == 1)) {
            return Block::reusing(stored(only, &partial.tile)?, region, dtype);
        }
        let mut block = Block::new(region.clone(), dtype)?;
        for (values, part) in values.into_iter().zip(parts()) {
            let place = self.output_of(i, &part).relative_to(&region.origin);
            block.target().part(&place).paste(stored(values, &part)?.bytes());
        }
        Ok(block)
    }

    /// Why operator `i` has no result, with its label and the place of the output, which lies in `part` of a tile.
    fn placed(&self, refusal: Refusal, i: usize, part: &Region) -> Error {
        // Results with an axis of their own run through the outputs for each of its entries.
        let mut number = refusal.at as u64 % part.n_elements().max(1);
        let mut place = Vec::new();
        for a in (0..part.rank()).rev() {
            if self.fates[a] != Fate::Reduced {
                place.push(format!("{}={}", self.axes[a].name, part.origin[a] + number % part.shape[a]));
            }
            number /= part.shape[a];
        }
        place.reverse();
        let place = if place.is_empty() { Cow::from("") } else { format!(" at {}", place.join(", ")).into() };
        refusal.error.at(format_args!("{}{place}", self.outputs[i].label))
    }
}

/// Ones for the elements of `block` outside the `absent` regions, zeros within.
fn present(block: &Block, absent: &[Region]) -> Result<Block> {
    let mut mask = Block::new(block.region().clone(), DType::Bool)?;
    mask.bytes_mut().fill(1);
    for region in absent {
        mask.target().part(&region.relative_to(&block.region().origin)).fill(&[0]);
    }
    Ok(mask)
}
