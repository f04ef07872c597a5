//! A reduction beside other consumers of the same reading, which decide how the array is cut.
//!
//! Tasks do not go by what is reduced here: what each of them folds is merged in plan order, and goes on to the output
//! when all elements have come. Objects that lie behind one another along a reduced axis make a group; until all of
//! it is there nothing of it is finished, and a run that goes on does all of it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::block::Block;
use crate::consume::{Consumer, Desk, Job, Merger, Part, Place, Product, Taker};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};
use crate::plan::{Cost, Plan, Task, Wants};
use crate::reduce::partial::{Outcome, Partial};
use crate::reduce::reducer::Reducer;
use crate::reduce::reduction::{GROUP_BYTES, PANEL_BYTES};

/// A reduction, and where each operator's result goes.
pub struct Projection {
    reducer: Arc<Reducer>,
    outputs: Vec<Box<dyn Consumer>>,
    /// Elements of the frame that have begun and not ended, at most.
    n_open: u64,
    /// The plan, once it is known.
    plan: Option<Plan>,
}

impl Projection {
    /// The reduction by `reducer`, one of `outputs` for each operator, beside what is stored in boxes of `object`.
    ///
    /// # Errors
    /// `Usage` if an operator reads the array more than once.
    pub fn new(reducer: Arc<Reducer>, outputs: Vec<Box<dyn Consumer>>, object: &[u64]) -> Result<Self> {
        if reducer.n_passes() > 1 {
            let labels: Vec<&str> = reducer.outputs().iter().map(|o| o.label.as_str()).collect();
            return Err(Error::usage(format!(
                "{} of {} must read the array {} times: use stackctl reduce",
                labels.join(","),
                reducer.dtype(),
                reducer.n_passes()
            )));
        }
        let (frame, cut) = (reducer.frame(), reducer.first_cut(object));
        // From the first reduced axis that objects cut, all of them are open at once.
        let open = |i: usize| if cut.is_some_and(|cut| i >= cut) { frame[i] } else { frame[i].min(object[i]) };
        let n_open = n_elements(&(0..frame.len()).map(open).collect::<Vec<_>>());
        Ok(Self { reducer, outputs, n_open, plan: None })
    }

    /// The box of the frame that `region` of the array folds to.
    fn tile(&self, region: &Region) -> Region {
        let reduced = self.reducer.reduced();
        let along = |i: usize| if reduced[i] { (0, 1) } else { (region.origin[i], region.shape[i]) };
        let (origin, shape): (Vec<u64>, Vec<u64>) = (0..reduced.len()).map(along).unzip();
        Region::new(origin, shape)
    }

    /// Memory of what is folded to `n` outputs.
    fn state_bytes(&self, n: u64) -> u64 {
        let own = GROUP_BYTES * self.reducer.outputs().len() as u64;
        self.reducer.state_bytes(false).saturating_mul(n).saturating_add(own)
    }

    /// Consecutive objects of a group.
    fn per_group(&self, plan: &Plan) -> u64 {
        let counts = plan.objects().counts();
        let cut = self.reducer.first_cut(plan.objects().cell());
        cut.map_or(1, |cut| n_elements(&counts[cut..]).max(1))
    }

    /// Number of objects from the first to the one whose group ends with `task`, if one does.
    fn n_complete(&self, task: &Task) -> Option<u64> {
        let plan = self.plan.as_ref()?;
        let objects = plan.objects();
        let position: Vec<u64> = task.region.origin.iter().zip(objects.cell()).map(|(o, c)| o / c).collect();
        let object = objects.region(&position);
        let ends = (0..position.len()).all(|i| task.region.end(i) == object.end(i));
        let n = objects.ravel(&position) + 1;
        (ends && n.is_multiple_of(self.per_group(plan))).then_some(n)
    }
}

impl Consumer for Projection {
    fn wants(&self) -> Wants {
        Wants::any(self.reducer.reduced().len())
    }

    fn cost(&self, task: &[u64], piece: &[u64]) -> Cost {
        let n_tile = self.tile(&Region::whole(task)).n_elements();
        let state_bytes = self.state_bytes(n_tile);
        let folding = n_elements(piece).saturating_mul(self.reducer.fold_bytes());
        let work_bytes = [folding, PANEL_BYTES, state_bytes].into_iter().fold(0, u64::saturating_add);
        let merge_bytes = self.reducer.result_bytes().saturating_mul(n_tile);
        Cost { work_bytes, kept_bytes: state_bytes, merge_bytes }
    }

    fn held_bytes(&self) -> u64 {
        self.outputs.iter().map(|output| output.held_bytes()).fold(self.state_bytes(self.n_open), u64::saturating_add)
    }

    fn follow(&mut self, plan: &Plan) {
        self.plan = Some(plan.clone());
    }

    fn places(&self) -> Vec<&Place> {
        self.outputs.iter().flat_map(|output| output.places()).collect()
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        self.outputs.iter_mut().enumerate().try_for_each(|(i, output)| output.begin(&job.of_output(i)))
    }

    fn done(&self) -> BTreeSet<u64> {
        self.outputs.iter().map(|output| output.done()).reduce(|a, b| &a & &b).unwrap_or_default()
    }

    /// Units all of whose groups are done.
    fn complete(&self, mut done: BTreeSet<u64>) -> BTreeSet<u64> {
        let Some(plan) = &self.plan else { return BTreeSet::new() };
        let (per_group, per_unit, n_objects) = (self.per_group(plan), plan.per_unit(), plan.objects().len());
        let groups = |unit: u64| {
            let end = ((unit + 1) * per_unit).min(n_objects);
            unit * per_unit / per_group..=(end - 1) / per_group
        };
        let lacking = (0..plan.n_units()).filter(|unit| !done.contains(unit));
        let torn: BTreeSet<u64> = lacking.flat_map(groups).collect();
        done.retain(|&unit| groups(unit).all(|group| !torn.contains(&group)));
        done
    }

    fn keep_only(&mut self, units: &BTreeSet<u64>) -> Result<()> {
        self.outputs.iter_mut().try_for_each(|output| output.keep_only(units))
    }

    fn taker<'a>(&'a self, task: &Task) -> Result<Box<dyn Taker + 'a>> {
        let partial = self.reducer.start(&self.tile(&task.region), false);
        Ok(Box::new(Folder { reducer: &self.reducer, partial: Some(partial) }))
    }

    fn merger(&self) -> Box<dyn Merger + '_> {
        let outputs = self.outputs.iter().map(|output| output.merger()).collect();
        Box::new(Totals { of: self, outputs, desk: Desk::default(), open: BTreeMap::new(), n_recorded: 0 })
    }

    fn keeper(&self) -> Result<Box<dyn Merger + '_>> {
        Err(Error::unsupported(
            "projections beside an output are not shared out: leave --mip out, and reduce the output",
        ))
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
    reducer: &'a Reducer,
    /// Until it has ended.
    partial: Option<Partial>,
}

impl Taker for Folder<'_> {
    fn take(&mut self, block: &Block, _desk: &mut Desk) -> Result<()> {
        let Some(partial) = &mut self.partial else { return Ok(()) };
        self.reducer.fold(partial, block, block.coverage.absent())
    }

    fn end(&mut self, _desk: &mut Desk) -> Result<Option<Part>> {
        Ok(self.partial.take().map(|partial| Part::State(partial.save())))
    }
}

/// Merges what tasks have folded, and passes results on as they are complete.
struct Totals<'a> {
    of: &'a Projection,
    outputs: Vec<Box<dyn Merger + 'a>>,
    desk: Desk,
    /// By where they lie in the frame: what has been folded, and of how many elements.
    open: BTreeMap<Vec<u64>, (Option<Partial>, u64)>,
    n_recorded: u64,
}

impl Totals<'_> {
    /// Counts the elements of `task`; gives its tile, and what was folded of it before if this was the last of it.
    fn count(&mut self, task: &Task, part: Option<&[u8]>) -> Result<(Region, Option<Option<Partial>>)> {
        let reducer = &self.of.reducer;
        let tile = self.of.tile(&task.region);
        let (total, n) = self.open.entry(tile.origin.clone()).or_default();
        match (total.as_mut(), part) {
            (Some(total), Some(part)) => reducer.combine(total, part)?,
            (None, Some(part)) => *total = Some(reducer.load(&tile, false, part)?),
            (_, None) => *total = None,
        }
        *n += task.region.n_elements();
        let is_complete = *n >= reducer.input_of(&tile).n_elements();
        let complete = is_complete.then(|| self.open.remove(&tile.origin)).flatten().map(|(total, _)| total);
        Ok((tile, complete))
    }

    /// Units that end with `task`, from the first that is not recorded.
    fn units(&self, task: &Task) -> std::ops::Range<u64> {
        let Some(plan) = &self.of.plan else { return 0..0 };
        let n_complete = self.of.n_complete(task).unwrap_or(0);
        let all = n_complete == plan.objects().len();
        let end = if all { plan.n_units() } else { n_complete / plan.per_unit() };
        self.n_recorded..end.max(self.n_recorded)
    }

    /// Shows the results of `tile`, which `task` has completed, to their outputs.
    fn show(&mut self, tile: &Region, task: &Task, blocks: &[Block]) -> Result<()> {
        let units = self.units(task);
        for (i, (output, merger)) in self.of.outputs.iter().zip(&mut self.outputs).enumerate() {
            let (ends_unit, unit) = (!units.is_empty(), units.end.saturating_sub(1));
            let task = Task { region: self.of.reducer.output_of(i, tile), ends_unit, unit, ..task.clone() };
            let mut taker = output.taker(&task)?;
            taker.take(&blocks[i], &mut self.desk)?;
            let part = taker.end(&mut self.desk)?.ok_or_else(|| Error::format("results are shown once"))?;
            merger.put(&task, part)?;
            if let Some(store) = output.store() {
                (units.start..unit).try_for_each(|unit| store.record(unit, &[], &[]))?;
            }
        }
        self.n_recorded = units.end;
        Ok(())
    }
}

impl Merger for Totals<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        let Part::State(state) = part else { return Err(Error::format("a part of another consumer")) };
        let (tile, complete) = self.count(task, Some(&state))?;
        let Some(partial) = complete.flatten() else { return Ok(()) };
        match self.of.reducer.finish(partial)? {
            Outcome::Done(blocks) => self.show(&tile, task, &blocks),
            Outcome::Again(_) => Err(Error::usage("a projection must read the array twice: use stackctl reduce")),
        }
    }

    fn skip(&mut self, task: &Task) -> Result<()> {
        let (tile, complete) = self.count(task, None)?;
        if complete.is_none() {
            return Ok(());
        }
        self.n_recorded = self.units(task).end;
        let region = |i: usize| self.of.reducer.output_of(i, &tile);
        let mut passing = self.outputs.iter_mut().enumerate();
        passing.try_for_each(|(i, output)| output.skip(&Task { region: region(i), ..task.clone() }))
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        let products = self.outputs.into_iter().map(|output| output.finish());
        products.collect::<Result<Vec<_>>>().map(|all| all.into_iter().flatten().collect())
    }
}
