//! One reading of an array for everything that is to come of it:
//!
//! > Each Task's Block is read once, shown to every consumer, and their Parts are placed and merged in plan order.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::array::{Array, Reader, Scratch};
use crate::block::Buffer;
use crate::consume::{Consumer, Desk, Job, Merger, Part, Place, Product, Taker, differences};
use crate::error::{Error, Result};
use crate::exec::ahead::Ahead;
use crate::exec::world::World;
use crate::exec::{self, Order, Terms};
use crate::grid::Region;
use crate::plan::{Document, Plan, Share, Task};
use crate::provenance::{Account, Recalled};
use crate::report::count;
use crate::store::{Start, Store};

/// What a run came to.
pub struct Ran {
    /// What each consumer made.
    pub products: Vec<Vec<Product>>,
    /// Elements read that nothing covers, by earlier runs too.
    pub n_absent: u64,
    /// Units that an earlier run had finished.
    pub n_units_done: u64,
    /// Those of them that were done again, for what they had stored has changed since.
    pub n_units_harmed: u64,
    /// Those of them that were not read back, for the run was told to stop when all else was done.
    pub n_units_unread: u64,
}

/// Reads `array` as `plan` says and shows it to `consumers`, going on with what an earlier run of the same `job`, or
/// shares of one, have finished. `progress` hears the bytes of every task that is done.
///
/// What an earlier run has stored is read back before the outputs get their names, and done again where it has changed.
///
/// # Errors
/// The first in plan order of what reading, consumers or the disk refuse; [`Error::Stopped`] if stopped from outside.
pub fn run(
    array: &Arc<dyn Array>,
    plan: &Plan,
    consumers: &mut [Box<dyn Consumer>],
    job: &Job,
    terms: &Terms<'_>,
    mut progress: impl FnMut(u64) + Send,
) -> Result<Ran> {
    let n_units_harmed = match go_through(array, plan, consumers, job, terms, &mut progress)? {
        Went::Through(ran) => return Ok(ran),
        Went::Harmed(units) => units.len() as u64,
    };
    match go_through(array, plan, consumers, job, terms, &mut progress)? {
        Went::Through(ran) => Ok(Ran { n_units_harmed, ..ran }),
        Went::Harmed(units) => Err(Error::format(format!(
            "{}: {} that were written anew do not read as they were written: see whether the disk is in order, or choose \
             another",
            consumers.iter().flat_map(|c| c.places()).next().map_or(Path::new(""), |place| place.path()).display(),
            count(units.len() as u64, "unit")
        ))),
    }
}

/// How [`go_through`] ended.
enum Went {
    Through(Ran),
    /// These units are to be done again.
    Harmed(BTreeSet<u64>),
}

fn go_through(
    array: &Arc<dyn Array>,
    plan: &Plan,
    consumers: &mut [Box<dyn Consumer>],
    job: &Job,
    terms: &Terms<'_>,
    mut progress: impl FnMut(u64) + Send,
) -> Result<Went> {
    let done = begin(plan, consumers, job)?;
    // What one of them has not finished, none has.
    consumers.iter_mut().try_for_each(|c| c.keep_only(&done))?;
    let begun: Vec<&dyn Consumer> = consumers.iter().map(|c| &**c).collect();
    let mut mergers: Vec<Box<dyn Merger + '_>> = begun.iter().map(|c| c.merger()).collect();
    job.ledger.begin(array.dtype().size() as u64);
    if let Some(store) = begun.iter().find_map(|c| c.store()).filter(|_| !done.is_empty()) {
        let mut recalled = Recalled { units: &done, seen: BTreeSet::new() };
        store.records(|record| {
            job.losses.recall(recalled.take(record.unit, &record.account, &job.ledger)?);
            Ok(())
        })?;
    }
    let world = begun.iter().find_map(|c| c.world());
    let share = world.map_or(Share::WHOLE, |world| world.share());
    let mut work = Work { array, plan, consumers: &begun, done: &done, share, job: Some(job) };
    loop {
        work.pass(&mut mergers, terms, &mut progress)?;
        // Another pass reads the same.
        work.job = None;
        let mut again = false;
        for merger in &mut mergers {
            again |= merger.end_pass()?;
        }
        if !again {
            break;
        }
    }
    if let Some(world) = world {
        pool(&**world, job, array.dtype().size() as u64)?;
    }
    // Who puts together what others have read need not look again.
    if done.len() as u64 != plan.n_units() {
        job.inputs.check(terms.threads)?;
    }
    // Ranks and shares keep nothing that could be gone on with, or have looked at it themselves.
    let is_alone = world.is_none() && begun.iter().all(|c| c.store().is_none_or(|store| !store.is_shared()));
    let (harmed, n_units_unread) = if is_alone { read_back(&begun, &done, terms)? } else { Default::default() };
    if !harmed.is_empty() {
        drop(mergers);
        stores(&begun).try_for_each(|store| store.forget(&harmed))?;
        consumers.iter_mut().try_for_each(|c| c.leave())?;
        return Ok(Went::Harmed(harmed));
    }
    // Nothing is left that could be stopped.
    terms.stop.store(false, Ordering::Relaxed);
    let mut products: Vec<Vec<Product>> = mergers.into_iter().map(|merger| merger.finish()).collect::<Result<_>>()?;
    consumers.iter_mut().try_for_each(|consumer| consumer.announce())?;
    consumers.iter_mut().try_for_each(|consumer| consumer.give_names())?;
    consumers.iter_mut().zip(&mut products).rev().try_for_each(|(consumer, made)| consumer.publish(made))?;
    let (n_absent, n_units_done, n_units_harmed) = (job.ledger.n_absent(), done.len() as u64, 0);
    Ok(Went::Through(Ran { products, n_absent, n_units_done, n_units_harmed, n_units_unread }))
}

fn stores<'a>(consumers: &'a [&dyn Consumer]) -> impl Iterator<Item = &'a Store> {
    consumers.iter().flat_map(|c| c.places()).filter_map(Place::store)
}

/// Reads back what units that are `done` have stored. Gives those of which something has changed, and how many were not
/// read since the run was told to stop: it would be told so again and again if it had to read all first.
fn read_back(consumers: &[&dyn Consumer], done: &BTreeSet<u64>, terms: &Terms<'_>) -> Result<(BTreeSet<u64>, u64)> {
    let (mut all, mut n_unread) = (BTreeSet::new(), 0);
    for store in stores(consumers).filter(|_| !done.is_empty()) {
        let (harmed, n) = store.harmed(terms.stop)?;
        all.extend(harmed);
        n_unread = n_unread.max(n);
    }
    Ok((all, n_unread))
}

/// Tells rank 0 what all ranks have read.
fn pool(world: &dyn World, job: &Job, element_bytes: u64) -> Result<()> {
    let mut own = job.ledger.account();
    own.losses = job.losses.fresh();
    let add = |own: &mut Account, theirs: Vec<u8>| {
        own.add(&Account::from_json(&serde_json::from_slice(&theirs).map_err(Error::format)?)?);
        Ok(())
    };
    if let Some(all) = world.gather(own, |own| own.to_json().to_string().into_bytes(), add)? {
        job.ledger.begin(element_bytes);
        job.ledger.add(&all);
        job.losses.recall(all.losses);
    }
    Ok(())
}

/// Does one `share` of what [`run`] does, beside other processes that do the others, and publishes nothing: that is
/// left to [`run`] with the same `job`, which puts together what all shares have finished and does what none has.
///
/// # Errors
/// As [`run`]; `Usage` or `Unsupported` if the work cannot be shared out.
pub fn run_share(
    array: &Arc<dyn Array>,
    plan: &Plan,
    consumers: &mut [Box<dyn Consumer>],
    job: &Job,
    share: Share,
    terms: &Terms<'_>,
    progress: impl FnMut(u64) + Send,
) -> Result<Ran> {
    if share.rank >= share.n {
        return Err(Error::usage(format!("there is no share {} of {}: they are counted from 0", share.rank, share.n)));
    }
    let done = begin_share(plan, consumers, job, share)?;
    let begun: Vec<&dyn Consumer> = consumers.iter().map(|c| &**c).collect();
    let mut keepers = begun.iter().map(|c| c.keeper()).collect::<Result<Vec<_>>>()?;
    job.ledger.begin(array.dtype().size() as u64);
    // Nobody reads it once more when all shares are put together.
    let (harmed, n_units_unread) = read_back(&begun, &done, terms)?;
    let sound = &done - &harmed;
    let work = Work { array, plan, consumers: &begun, done: &sound, share, job: Some(job) };
    work.pass(&mut keepers, terms, progress)?;
    drop(keepers);
    job.inputs.check(terms.threads)?;
    terms.stop.store(false, Ordering::Relaxed);
    consumers.iter_mut().try_for_each(|c| c.leave())?;
    let (products, n_absent, n_units_done) = (Vec::new(), job.ledger.n_absent(), sound.len() as u64);
    Ok(Ran { products, n_absent, n_units_done, n_units_harmed: harmed.len() as u64, n_units_unread })
}

/// Writes `document` down for processes that will do shares of what [`run`] does, and does nothing of it. Gives the
/// number of units that earlier ones have done. `known` is for them too, and says no more than `plan` and `job` do.
///
/// # Errors
/// As [`run_share`]; `Usage` if another plan is written there, naming what differs.
pub fn write_plan(
    plan: &Plan,
    consumers: &mut [Box<dyn Consumer>],
    job: &Job,
    document: &mut Document,
    known: &serde_json::Value,
) -> Result<u64> {
    if job.start == Start::Anew {
        // Who prepares a place for shares finds it empty.
        begin(plan, consumers, &Job { manifest: Arc::default(), ..job.clone() })?;
        consumers.iter_mut().try_for_each(|c| c.leave())?;
    }
    let done = begin_share(plan, consumers, job, Share::WHOLE)?;
    let stores: Vec<&Store> = consumers.iter().filter_map(|c| c.store()).collect();
    document.outputs = stores.iter().map(|store| store.name().to_owned()).collect();
    let value = serde_json::to_value(&*document).map_err(Error::format)?;
    for store in stores {
        let mut changes = store.write_plan(&value, known)?;
        // As many shares are as many, whether they were asked for or not.
        changes.retain(|change| change.key.trim_start_matches('/') != "shares_asked");
        if !changes.is_empty() {
            return Err(Error::usage(format!(
                "{}: another plan is written there:\n{}\n  give the same command as then, or begin anew with --restart",
                store.name().display(),
                differences(&changes)
            )));
        }
    }
    consumers.iter_mut().try_for_each(|c| c.leave())?;
    Ok(done.len() as u64)
}

/// Starts what `consumers` write for one of several processes.
fn begin_share(plan: &Plan, consumers: &mut [Box<dyn Consumer>], job: &Job, share: Share) -> Result<BTreeSet<u64>> {
    if job.manifest.is_null() {
        return Err(Error::usage("what no run goes on with cannot be shared out"));
    }
    // What refuses does so before there is anything on the disk.
    consumers.iter().try_for_each(|c| c.keeper().map(drop))?;
    let done = begin(plan, consumers, &Job { share: Some(share), ..job.clone() })?;
    if consumers.iter().any(|c| c.store().is_none()) {
        return Err(Error::usage("what goes down a pipe or is printed cannot be shared out: write it to a file"));
    }
    Ok(done)
}

/// Starts what `consumers` write. Gives the units that all of them have finished before.
fn begin(plan: &Plan, consumers: &mut [Box<dyn Consumer>], job: &Job) -> Result<BTreeSet<u64>> {
    consumers.iter_mut().for_each(|c| c.follow(plan));
    conclude(consumers, job)?;
    consumers.iter_mut().enumerate().try_for_each(|(i, c)| c.begin(&job.of_output(i)))?;
    let mut done = consumers.iter().map(|c| c.done()).reduce(|a, b| &a & &b).unwrap_or_default();
    loop {
        let before = done.len();
        done = consumers.iter().fold(done, |done, consumer| consumer.complete(done));
        if done.len() == before {
            return Ok(done);
        }
    }
}

/// Does what an earlier run has left to do for several outputs of which the first has its name.
fn conclude(consumers: &[Box<dyn Consumer>], job: &Job) -> Result<()> {
    let places: Vec<&Place> = consumers.iter().flat_map(|c| c.places()).collect();
    let [first, others @ ..] = &places[..] else { return Ok(()) };
    if others.is_empty() || !first.has_name(job)? {
        return Ok(());
    }
    let mut lost = None;
    for place in others.iter().rev() {
        if !place.conclude(&job.of_output(1))? {
            lost = Some(place.path());
        }
    }
    match lost {
        None => Ok(()),
        Some(path) => Err(Error::usage(format!(
            "{}: was written and is not there, while {} is: make all of them anew with --overwrite --restart",
            path.display(),
            first.path().display()
        ))),
    }
}

/// What is to be done, and what has been.
struct Work<'a> {
    array: &'a Arc<dyn Array>,
    plan: &'a Plan,
    consumers: &'a [&'a dyn Consumer],
    done: &'a BTreeSet<u64>,
    share: Share,
    /// Where it is written down what was read, unless it was before.
    job: Option<&'a Job>,
}

impl Work<'_> {
    /// Goes over the array once.
    fn pass(
        &self,
        mergers: &mut [Box<dyn Merger + '_>],
        terms: &Terms<'_>,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<()> {
        let is_done = |unit: u64| self.done.contains(&unit);
        let except = self.job.map(|job| &*job.except);
        let is_passed_over = |unit: u64| is_done(unit) || except.is_some_and(|except| except.contains(&unit));
        let size = self.array.dtype().size() as u64;
        let bytes = move |region: &Region| region.n_elements().saturating_mul(size);
        let pieces = self.plan.share(self.share, &is_passed_over).flat_map(|task| self.plan.pieces(&task));
        let ahead = Ahead::new(pieces.map(|piece| (bytes(&piece), piece)), terms.limit_bytes);
        let pass = Pass { array: self.array, plan: self.plan, consumers: self.consumers };
        let take = |task: &Task, worker: &mut Worker| {
            ahead.begin(self.plan.pieces(task).map(|piece| bytes(&piece)).sum());
            pass.take(task, worker).inspect_err(|error| self.blame(task.unit, error))
        };
        let of_others = |unit: u64| self.consumers.iter().any(|c| c.world().is_some()) && !self.share.has(unit);
        let skipped = self.plan.tasks().filter(|task| is_done(task.unit) || of_others(task.unit)).peekable();
        let mut parts = Parts {
            work: self,
            mergers,
            skipped,
            of_unit: Account::default(),
            merged: |task: &Task| progress(bytes(&task.region)),
        };
        let run = || exec::run(self.plan.share(self.share, &is_passed_over), terms, || pass.worker(), take, &mut parts);
        ahead.beside(|| pass.asker(), run)?;
        parts.skip(u64::MAX)
    }

    /// Notes that a unit could not be done, for shares not to try it for ever.
    fn blame(&self, unit: u64, error: &Error) {
        if let Some(store) = self.consumers.iter().find_map(|c| c.store()) {
            store.note_failure(unit, error);
        }
    }

    /// Writes down what was read for a unit, to be recorded with it.
    fn write_down(&self, unit: u64, mut account: Account) {
        let Some(job) = self.job else { return };
        job.ledger.add(&account);
        let records = |c: &&&dyn Consumer| c.world().is_none();
        if let Some(store) = self.consumers.iter().filter(records).find_map(|c| c.store()) {
            account.losses = job.losses.fresh();
            store.account(unit, account.to_json());
        }
    }
}

/// The parts of tasks on their way to the mergers.
struct Parts<'a, 'm, S: Iterator<Item = Task>, F> {
    work: &'a Work<'a>,
    mergers: &'a mut [Box<dyn Merger + 'm>],
    /// Tasks of units that are done, which take their place in the order.
    skipped: Peekable<S>,
    of_unit: Account,
    /// Hears of every task.
    merged: F,
}

impl<S: Iterator<Item = Task>, F> Parts<'_, '_, S, F> {
    /// Passes over tasks that are done, up to the one whose number is `before`.
    fn skip(&mut self, before: u64) -> Result<()> {
        while let Some(task) = self.skipped.next_if(|task| task.index < before) {
            self.mergers.iter_mut().try_for_each(|merger| merger.skip(&task))?;
        }
        Ok(())
    }
}

impl<S: Iterator<Item = Task> + Send, F: FnMut(&Task) + Send> Order<(Vec<Part>, Account)> for &mut Parts<'_, '_, S, F> {
    fn place(&mut self, task: &Task, (parts, account): (Vec<Part>, Account)) -> Result<(Vec<Part>, Account)> {
        let place = |(merger, part): (&mut Box<dyn Merger + '_>, Part)| merger.place(task, part);
        let placed = self.mergers.iter_mut().zip(parts).map(place).collect::<Result<_>>()?;
        Ok((placed, account))
    }

    fn settle((parts, account): (Vec<Part>, Account)) -> Result<(Vec<Part>, Account)> {
        Ok((parts.into_iter().map(Part::settle).collect::<Result<_>>()?, account))
    }

    fn merge(&mut self, task: &Task, (parts, account): (Vec<Part>, Account)) -> Result<()> {
        self.skip(task.index)?;
        self.of_unit.add(&account);
        if task.ends_unit {
            self.work.write_down(task.unit, std::mem::take(&mut self.of_unit));
        }
        (self.merged)(task);
        self.mergers.iter_mut().zip(parts).try_for_each(|(merger, part)| merger.merge(task, part))
    }
}

/// One pass over the array.
struct Pass<'a> {
    array: &'a Arc<dyn Array>,
    plan: &'a Plan,
    consumers: &'a [&'a dyn Consumer],
}

/// What one worker keeps from task to task.
struct Worker {
    reader: Box<dyn Reader>,
    desk: Desk,
    buffer: Buffer,
}

impl Pass<'_> {
    /// What asks for a piece that will be read soon.
    fn asker(&self) -> impl FnMut(Region) {
        let mut reader = Arc::clone(self.array).reader(Scratch::default());
        move |piece| reader.prefetch(&piece)
    }

    fn worker(&self) -> Worker {
        let reader = Arc::clone(self.array).reader(Scratch::default());
        Worker { reader, desk: Desk::default(), buffer: Buffer::default() }
    }

    /// Reads the blocks of `task`, each once, and shows them to every consumer. Gives their parts, and an account of
    /// what was read.
    fn take(&self, task: &Task, worker: &mut Worker) -> Result<(Vec<Part>, Account)> {
        let mut takers: Vec<Box<dyn Taker + '_>> =
            self.consumers.iter().map(|c| c.taker(task)).collect::<Result<_>>()?;
        let mut parts: Vec<Option<Part>> = takers.iter().map(|_| None).collect();
        let mut account = None;
        // Most consumers need one look; some operators need more.
        while parts.iter().any(Option::is_none) {
            let mut look = Account::default();
            for piece in self.plan.pieces(task) {
                let block = worker.reader.block(&piece, self.array.dtype(), std::mem::take(&mut worker.buffer))?;
                look.n_absent += block.coverage.n_absent();
                block.coverage.portions().iter().for_each(|portion| look.read(portion));
                for (taker, _) in takers.iter_mut().zip(&parts).filter(|(_, part)| part.is_none()) {
                    taker.take(&block, &mut worker.desk)?;
                }
                worker.buffer = block.into_buffer();
            }
            account.get_or_insert(look);
            for (taker, part) in takers.iter_mut().zip(&mut parts).filter(|(_, part)| part.is_none()) {
                *part = taker.end(&mut worker.desk)?;
            }
        }
        Ok((parts.into_iter().flatten().collect(), account.unwrap_or_default()))
    }
}
