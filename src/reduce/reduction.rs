//! A reduction as a consumer: it folds the blocks of an array, and shows what comes of them to consumers of its own.
//!
//! The plan cuts the result into tiles. A task that has all elements of its tile makes the tile's results on its
//! worker; where a tile is shared out among tasks, their states are merged in plan order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::array::kernel::Elsewhere;
use crate::block::Block;
use crate::consume::{Consumer, Desk, Job, Keeper, Merger, Part, Place, Product, Remembered, Taker};
use crate::error::{Error, Result};
use crate::exec::world::World;
use crate::grid::{Grid, Region, n_elements};
use crate::plan::{Cost, Folds, Groups, Plan, Task, Wants};
use crate::profile::{self, Stage};
use crate::reduce::partial::{Outcome, Partial};
use crate::reduce::reducer::{Fate, OperatorOutput, Reducer};
use crate::reduce::saved::senseless;
use crate::reduce::settings::Grouping;
use crate::store::Store;

/// Memory that the state of a group takes per operator, whatever its outputs.
pub(super) const GROUP_BYTES: u64 = 1 << 10;
/// Masks and tables of panels, bounded by their size.
pub(super) const PANEL_BYTES: u64 = 1 << 20;
/// Tiles that a reduction in several passes may have open, where tiles are shared out.
const OPEN_TILES: u64 = 16;

/// Memory of writing the results of so many elements of a tile, in bytes.
pub type WriteBytes = Box<dyn Fn(u64) -> u64 + Send + Sync>;

/// A reduction, and where each operator's result goes.
pub struct Reduction {
    reducer: Arc<Reducer>,
    write_bytes: WriteBytes,
    elsewhere: Option<Arc<dyn Elsewhere>>,
    /// Consumers of the results, one for each operator; none before the plan is known.
    outputs: Vec<Box<dyn Consumer>>,
    /// Tiles of the frame.
    tiles: Grid,
    /// Whether blocks bring all elements of their outputs.
    whole: bool,
    /// Whether tiles are shared out among tasks.
    split: bool,
    /// Whether the tasks are shared out among processes.
    shared: bool,
    /// Ranks that fold together, the first of which has the results.
    world: Option<Arc<dyn World>>,
    /// Saved states of tiles that need another pass.
    between: Mutex<BTreeMap<u64, Arc<[u8]>>>,
}

impl Reduction {
    /// The reduction by `reducer`; its results need `write_bytes` to be written.
    pub fn new(reducer: Arc<Reducer>, write_bytes: WriteBytes) -> Self {
        let tiles = Grid::new(&reducer.frame(), &reducer.frame());
        let (outputs, between) = (Vec::new(), Mutex::default());
        Self {
            reducer,
            write_bytes,
            elsewhere: None,
            outputs,
            tiles,
            whole: false,
            split: false,
            shared: false,
            world: None,
            between,
        }
    }

    /// The same reduction, with results of whole tiles made `elsewhere`, if that is given.
    #[must_use]
    pub fn made(mut self, elsewhere: Option<Arc<dyn Elsewhere>>) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// Shape of a tile of the frame when tasks go as `plan` says.
    pub fn tile(&self, plan: &Plan) -> Vec<u64> {
        self.tile_shape(plan.objects().cell())
    }

    /// The same reduction, which goes as `plan` says and shows its results to `outputs`, one for each operator.
    #[must_use]
    pub fn fitted(mut self, plan: &Plan, outputs: Vec<Box<dyn Consumer>>) -> Self {
        let tile = self.tile(plan);
        self.whole = plan.piece() == self.reducer.input_of(&Region::whole(&tile)).shape;
        self.split = plan.is_split();
        self.tiles = Grid::new(&self.reducer.frame(), &tile);
        self.outputs = outputs;
        self
    }

    /// The same, folded by all ranks of `world`; what comes of it is shown to the outputs of rank 0 alone.
    #[must_use]
    pub fn among(mut self, world: Arc<dyn World>) -> Self {
        if world.rank() > 0 {
            self.outputs.clear();
        }
        self.world = Some(world);
        self
    }

    /// Lengths of the frame that a box of `shape` of the array makes.
    fn tile_shape(&self, shape: &[u64]) -> Vec<u64> {
        shape.iter().zip(&self.reducer.fates).map(|(n, fate)| n.div_ceil(fate.stride())).collect()
    }

    /// Number of the tile that `task` works on, and its box of the frame.
    fn tile_of(&self, task: &Task) -> (u64, Region) {
        let strides = self.reducer.fates.iter().map(|fate| fate.stride());
        let corners = task.region.origin.iter().zip(strides).zip(self.tiles.cell());
        let position: Vec<u64> = corners.map(|((at, stride), cell)| at / stride / cell).collect();
        (self.tiles.ravel(&position), self.tiles.region(&position))
    }

    /// The task of consumer number `output` that `tile` makes.
    fn task_of(&self, output: usize, tile: &Region, task: &Task) -> Task {
        let ends_unit = task.ends_unit && !self.remembers();
        Task { region: self.reducer.output_of(output, tile), ends_unit, ..task.clone() }
    }

    /// Whether units are recorded here, with states of tiles that are shared out or with results of other processes,
    /// which may write what several tiles make.
    fn remembers(&self) -> bool {
        self.split || self.shared || self.world.is_some()
    }

    /// States of one pass say nothing in another, and those of other ranks are not here.
    fn forgets(&self) -> bool {
        self.world.is_some() || self.split && self.reducer.n_passes() > 1
    }

    /// The results of `tile` that were kept as `bytes`.
    fn results(&self, tile: &Region, mut bytes: &[u8]) -> Result<Vec<Block>> {
        let outputs = self.reducer.outputs().iter().enumerate();
        let one = |(i, output): (usize, &OperatorOutput)| {
            let mut block = Block::new(self.reducer.output_of(i, tile), output.dtype)?;
            let (own, rest) = bytes.split_at_checked(block.bytes().len()).ok_or_else(senseless)?;
            block.bytes_mut().copy_from_slice(own);
            bytes = rest;
            Ok(block)
        };
        outputs.map(one).collect()
    }

    fn between(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<[u8]>>> {
        self.between.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A state of tile `number` that nothing was folded into in this pass.
    fn empty(&self, number: u64, tile: &Region) -> Result<Partial> {
        let found = self.between().get(&number).cloned();
        match found {
            Some(found) => self.reducer.load(tile, self.whole, &found),
            None => Ok(self.reducer.start(tile, self.whole)),
        }
    }

    /// Whether ranks join what each has folded of a tile, along a tree; else rank 0 has the states of all tasks in order.
    fn joins(&self) -> bool {
        self.world.is_some() && self.split && self.reducer.in_any_order()
    }

    /// Ends a pass over `tile`, together with the other ranks that have folded of it: results are at rank 0.
    fn end(&self, total: Partial, tile: &Region) -> Result<Outcome> {
        let Some(world) = &self.world else { return self.reducer.finish(total) };
        let all = if self.joins() {
            world.gather(total, Partial::save, |own, bytes| self.reducer.combine(own, &bytes))?
        } else {
            Some(total).filter(|_| world.rank() == 0)
        };
        let (done, next) = match all.map(|all| self.reducer.finish(all)).transpose()? {
            Some(Outcome::Again(next)) => (Vec::new(), next.save()),
            Some(Outcome::Done(blocks)) => (blocks, Vec::new()),
            None => Default::default(),
        };
        match world.spread(next)? {
            next if next.is_empty() => Ok(Outcome::Done(done)),
            next => self.reducer.load(tile, self.whole, &next).map(Outcome::Again),
        }
    }

    /// Shows the results of `tile` to their consumers.
    fn show(&self, blocks: &[Block], tile: &Region, task: &Task, desk: &mut Desk) -> Result<Vec<Part>> {
        let shown = self.outputs.iter().zip(blocks).enumerate().map(|(i, (output, block))| {
            let mut taker = output.taker(&self.task_of(i, tile, task))?;
            taker.take(block, desk)?;
            taker.end(desk)?.ok_or_else(|| Error::format("results are shown once"))
        });
        shown.collect()
    }
}

impl Consumer for Reduction {
    fn wants(&self) -> Wants {
        let reducer = &self.reducer;
        let group = |(axis, fate): (usize, &Fate)| match *fate {
            Fate::Grouped(Grouping { n, stride, .. }) => Some(Groups { axis, stride, span: n }),
            _ => None,
        };
        let groups = reducer.fates.iter().enumerate().filter_map(group).collect();
        let whole = reducer.wants_whole();
        let ones = vec![1; reducer.reduced().len()];
        let state_bytes = reducer.state_bytes(whole).saturating_add(reducer.result_bytes());
        let folds = Folds { axes: reducer.reduced().to_vec(), groups, whole, state_bytes };
        Wants { unit: ones.clone(), object: ones, across: true, in_order: false, folds: Some(folds) }
    }

    fn cost(&self, task: &[u64], piece: &[u64]) -> Cost {
        let reducer = &self.reducer;
        let tile = self.tile_shape(task);
        // A tile that is shared out has states to be merged.
        let split =
            (0..task.len()).any(|i| reducer.reduced()[i] && task[i] < reducer.fates[i].stride().min(reducer.shape[i]));
        let whole = !split && piece == reducer.input_of(&Region::whole(&tile)).shape;
        let n_tile = n_elements(&tile);
        let n_groups = reducer.cells(&tile).len();
        let group_bytes = n_groups.saturating_mul(GROUP_BYTES * reducer.outputs().len() as u64);
        let state_bytes = reducer.state_bytes(whole).saturating_mul(n_tile).saturating_add(group_bytes);
        let fold_bytes = n_elements(piece).saturating_mul(reducer.fold_bytes()).saturating_add(PANEL_BYTES);
        let write_bytes = (self.write_bytes)(n_tile);
        let end_bytes = reducer.result_bytes().saturating_mul(n_tile).saturating_add(write_bytes);
        let work_bytes = state_bytes.saturating_add(fold_bytes);
        if !split {
            let work_bytes = work_bytes.saturating_add(end_bytes);
            return Cost { work_bytes, kept_bytes: write_bytes, ..Cost::default() };
        }
        // Where there are several passes, tiles wait between them.
        let n_open = if reducer.n_passes() > 1 { OPEN_TILES } else { 1 };
        let merge_bytes = state_bytes.saturating_mul(n_open).saturating_add(end_bytes);
        Cost { work_bytes, kept_bytes: state_bytes, merge_bytes }
    }

    fn held_bytes(&self) -> u64 {
        // Coordinates of bins and the like, and what is made of them for the output.
        let coordinates = self.reducer.outputs().iter().flat_map(|o| &o.axes).filter_map(|a| a.coordinates.as_ref());
        let coordinates_bytes = coordinates.map(|c| 4 * size_of_val(&c[..]) as u64);
        let outputs = self.outputs.iter().map(|output| output.held_bytes());
        outputs.chain(coordinates_bytes).fold(0, u64::saturating_add)
    }

    fn places(&self) -> Vec<&Place> {
        self.outputs.iter().flat_map(|output| output.places()).collect()
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        self.outputs.iter_mut().enumerate().try_for_each(|(i, output)| output.begin(&job.of_output(i)))?;
        self.shared = self.store().is_some_and(Store::is_shared);
        Ok(())
    }

    fn store(&self) -> Option<&Store> {
        self.outputs.first().and_then(|output| output.store())
    }

    fn world(&self) -> Option<&Arc<dyn World>> {
        self.world.as_ref()
    }

    fn done(&self) -> BTreeSet<u64> {
        if self.forgets() {
            return BTreeSet::new();
        }
        // What is remembered here is kept with the first output.
        let remembering = if self.remembers() { 1 } else { self.outputs.len() };
        let each = self.outputs.iter().take(remembering).map(|output| output.done());
        each.reduce(|a, b| &a & &b).unwrap_or_default()
    }

    fn keep_only(&mut self, units: &BTreeSet<u64>) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.keep_only(units))
    }

    fn taker<'a>(&'a self, task: &Task) -> Result<Box<dyn Taker + 'a>> {
        let (number, tile) = self.tile_of(task);
        let partial = self.empty(number, &tile)?;
        Ok(Box::new(Folder { of: self, tile, task: task.clone(), partial: Some(partial), made: None }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let mut outputs: Vec<_> = self.outputs.iter().map(|output| output.merger()).collect();
        if self.remembers() {
            outputs.iter_mut().for_each(|output| output.leave_remembering());
        }
        let remembered = Remembered::new(self.store().filter(|_| self.remembers() && !self.forgets()));
        let (desk, ready) = (Desk::default(), BTreeMap::new());
        Box::new(Totals { of: self, outputs, desk, remembered, total: None, ready, next: 0 })
    }

    fn keeper(&self) -> Result<Box<dyn Merger + '_>> {
        if self.forgets() {
            return Err(Error::unsupported(
                "an operator goes over the array several times, and between them over the states of all shares: give more \
                 --memory, so that a task has all it needs, run it as a whole, or let the ranks of an MPI do it together: --mpi",
            ));
        }
        Ok(Box::new(Keeper(Remembered::new(self.store())?)))
    }

    fn leave(&mut self) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.leave())
    }

    fn announce(&mut self) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.announce())
    }

    fn give_names(&mut self) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.give_names())
    }

    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        // Every output makes one.
        let mut each = self.outputs.iter_mut().zip(products.chunks_mut(1)).rev();
        each.try_for_each(|(output, product)| output.publish(product))
    }
}

/// Folds the blocks of one task.
struct Folder<'a> {
    of: &'a Reduction,
    tile: Region,
    task: Task,
    partial: Option<Partial>,
    /// Results that were made elsewhere.
    made: Option<Vec<Block>>,
}

impl Taker for Folder<'_> {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        let of = self.of;
        if let Some(elsewhere) = of.elsewhere.as_deref() {
            let is_all =
                of.whole && block.coverage.absent().is_empty() && *block.region() == of.reducer.input_of(&self.tile);
            self.made = if is_all { of.reducer.made(elsewhere, block, &self.tile)? } else { None };
            if self.made.is_some() {
                return Ok(());
            }
            elsewhere.leave();
        }
        let fold = || of.reducer.fold(partial, block, block.coverage.absent());
        profile::stage(Stage::Fold, block.bytes().len() as u64, fold)
    }

    fn end(&mut self, desk: &mut Desk) -> Result<Option<Part>> {
        let Some(partial) = self.partial.take() else { return Ok(Some(Part::Stored(Vec::new()))) };
        if self.of.split {
            return Ok(Some(Part::State(partial.save())));
        }
        let outcome = self.made.take().map_or_else(|| self.of.reducer.finish(partial), |made| Ok(Outcome::Done(made)));
        match outcome? {
            Outcome::Done(blocks) if self.of.shared || self.of.world.is_some() => {
                let results: Vec<&[u8]> = blocks.iter().map(Block::bytes).collect();
                Ok(Some(Part::State(results.concat())))
            }
            Outcome::Done(blocks) => {
                self.of.show(&blocks, &self.tile, &self.task, desk).map(|parts| Some(Part::Many(parts)))
            }
            Outcome::Again(next) => {
                self.partial = Some(next);
                Ok(None)
            }
        }
    }
}

/// Merges the states of tiles that are shared out, and passes results on in the order of the tiles.
struct Totals<'a> {
    of: &'a Reduction,
    outputs: Vec<Box<dyn Merger + 'a>>,
    desk: Desk,
    remembered: Result<Remembered<'a>>,
    /// The tile in hand, what was folded of it in this pass, and how many elements that were.
    total: Option<(u64, Partial, u64)>,
    /// Results that wait for an earlier tile, with their task.
    ready: BTreeMap<u64, (Task, Vec<Block>)>,
    /// Number of the tile whose results go on next.
    next: u64,
}

impl<'a> Totals<'a> {
    fn remembered(&mut self) -> Result<&mut Remembered<'a>> {
        self.remembered.as_mut().map_err(Error::format)
    }

    /// Adds the state of a task to its tile, or passes on the results that were kept of it: `own`, if this rank has done it.
    fn add(&mut self, task: &Task, own: Option<&[u8]>) -> Result<()> {
        let reducer = &self.of.reducer;
        let (number, tile) = self.of.tile_of(task);
        if self.of.split && (number < self.next || self.ready.contains_key(&number)) {
            return Ok(());
        }
        let received = self.exchange(task, own)?;
        let state = own.or(received.as_deref());
        if !self.of.split {
            let Some(state) = state.filter(|_| !self.outputs.is_empty()) else { return Ok(()) };
            let parts = self.of.show(&self.of.results(&tile, state)?, &tile, task, &mut self.desk)?;
            return self.pass_on(&tile, task, parts);
        }
        let (mut total, before) = match self.total.take() {
            Some((open, total, before)) if open == number => (total, before),
            _ => (self.of.empty(number, &tile)?, 0),
        };
        if let Some(state) = state {
            reducer.combine(&mut total, state)?;
        }
        let n_folded = before + task.region.n_elements();
        if n_folded < reducer.input_of(&tile).n_elements() {
            self.total = Some((number, total, n_folded));
            return Ok(());
        }
        match self.of.end(total, &tile)? {
            Outcome::Done(blocks) => {
                self.of.between().remove(&number);
                self.ready.insert(number, (task.clone(), blocks));
            }
            Outcome::Again(next) => {
                self.of.between().insert(number, next.save().into());
            }
        }
        self.pass_on_ready()
    }

    /// Passes the state of a task from the rank that has done it to rank 0, where nothing is joined before; gives what came.
    fn exchange(&self, task: &Task, own: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let Some(world) = self.of.world.as_ref().filter(|_| !self.of.joins()) else { return Ok(None) };
        match own {
            None if world.rank() == 0 => world.receive(task.unit % world.size()).map(Some),
            Some(state) if world.rank() > 0 => world.send(0, state).map(|()| None),
            _ => Ok(None),
        }
    }

    /// Shows results to their consumers as far as none before them is missing.
    fn pass_on_ready(&mut self) -> Result<()> {
        while let Some((task, blocks)) = self.ready.remove(&self.next) {
            let (_, tile) = self.of.tile_of(&task);
            let parts = self.of.show(&blocks, &tile, &task, &mut self.desk)?;
            self.pass_on(&tile, &task, parts)?;
            self.next += 1;
        }
        Ok(())
    }

    fn pass_on(&mut self, tile: &Region, task: &Task, parts: Vec<Part>) -> Result<()> {
        self.forward(tile, task, parts, |output, task, part| output.put(task, part)).map(drop)
    }

    /// Does the same with the part of each output.
    fn forward<T>(
        &mut self,
        tile: &Region,
        task: &Task,
        parts: Vec<Part>,
        each: impl Fn(&mut dyn Merger, &Task, Part) -> Result<T>,
    ) -> Result<Vec<T>> {
        let forwarding = self.outputs.iter_mut().zip(parts).enumerate();
        forwarding.map(|(i, (output, part))| each(&mut **output, &self.of.task_of(i, tile, task), part)).collect()
    }
}

impl Merger for Totals<'_> {
    fn place(&mut self, task: &Task, part: Part) -> Result<Part> {
        let Part::Many(parts) = part else { return Ok(part) };
        let (_, tile) = self.of.tile_of(task);
        self.forward(&tile, task, parts, |output, task, part| output.place(task, part)).map(Part::Many)
    }

    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        match part {
            Part::State(state) => {
                self.add(task, Some(&state))?;
                self.remembered()?.keep(task, &state)
            }
            Part::Many(parts) => {
                let (_, tile) = self.of.tile_of(task);
                self.forward(&tile, task, parts, |output, task, part| output.merge(task, part)).map(drop)
            }
            _ => Err(Error::format("a part of another consumer")),
        }
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        if self.of.world.is_some() {
            return self.add(task, None);
        }
        if self.of.remembers() {
            let state = self.remembered()?.part(task)?;
            return self.add(task, Some(&state));
        }
        let (_, tile) = self.of.tile_of(task);
        let passing = self.outputs.iter_mut().enumerate();
        passing.into_iter().try_for_each(|(i, output)| output.skip(&self.of.task_of(i, &tile, task)))
    }

    fn end_pass(&mut self) -> Result<bool> {
        Ok(!self.of.between().is_empty())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let products = self.outputs.into_iter().map(|output| output.finish());
        products.collect::<Result<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
    }
}
