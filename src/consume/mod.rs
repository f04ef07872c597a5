//! Consumers: what wants the blocks of an array. Outputs, levels, projections, statistics and reductions are all
//! of this kind, and any number of them see each block of one reading.
//!
//! On any worker a [`Consumer`] gives a [`Taker`] for each task, which is shown the task's blocks and makes a
//! [`Part`] of them; its one [`Merger`] gives parts their places and puts them together in plan order, so that what
//! comes of it does not depend on threads. This module names no format.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::array::{Array, Kept, Losses};
use crate::block::{Block, Buffer, size_bytes};
use crate::bytes::Watch;
use crate::error::Result;
use crate::exec::world::World;
use crate::plan::{Cost, Plan, PlanRequest, Share, Task, Wants, gcd};
use crate::provenance::Ledger;
use crate::store::{Append, Start, Store, Stored};

mod assemble;
pub mod levels;
mod place;
pub mod planes;
mod remembered;
pub mod statistics;

pub use assemble::{Assemble, band_shape};
pub use place::Place;
pub(crate) use place::differences;
pub(crate) use remembered::{Keeper, Remembered};

/// Something that wants the blocks of an array.
pub trait Consumer: Send + Sync {
    /// Where tasks may begin and end.
    fn wants(&self) -> Wants;

    /// Memory of a task of shape `task` that comes in blocks of up to `piece`, beside the block.
    fn cost(&self, task: &[u64], piece: &[u64]) -> Cost;

    /// Memory that stays in use from the beginning to the end, in bytes.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// Hears how the array is cut, before it begins.
    fn follow(&mut self, _plan: &Plan) {}

    /// Where it writes, if it writes by itself.
    fn place(&self) -> Option<&Place> {
        None
    }

    /// The same, to begin and to end there.
    fn place_mut(&mut self) -> Option<&mut Place> {
        None
    }

    /// All places that it writes to, those of consumers behind it too.
    fn places(&self) -> Vec<&Place> {
        self.place().into_iter().collect()
    }

    /// Starts what it writes, or goes on with it; before this, nothing outside the process is touched.
    ///
    /// # Errors
    /// `Usage` if something stands under the output's name, or an earlier run was another job; `Io` if the place
    /// cannot be written.
    fn begin(&mut self, job: &Job) -> Result<()> {
        self.place_mut().map_or(Ok(()), |place| place.begin(job))
    }

    /// Where it writes and remembers, once it has begun.
    fn store(&self) -> Option<&Store> {
        self.place().and_then(Place::store)
    }

    /// The ranks that do it together, if it is not done by one process: each is shown its share, and hears of the tasks of
    /// others when their turn comes.
    fn world(&self) -> Option<&Arc<dyn World>> {
        None
    }

    /// Units that an earlier run has finished: none where nothing is remembered.
    fn done(&self) -> BTreeSet<u64> {
        self.store().map_or_else(BTreeSet::new, |store| store.done().clone())
    }

    /// Those of the `done` units that need not be shown again: all, unless what it makes of one takes others too.
    fn complete(&self, done: BTreeSet<u64>) -> BTreeSet<u64> {
        done
    }

    /// Forgets what an earlier run has finished but for `units`, which those beside it have finished too.
    ///
    /// # Errors
    /// `Io`.
    fn keep_only(&mut self, units: &BTreeSet<u64>) -> Result<()> {
        self.place_mut().and_then(Place::store_mut).map_or(Ok(()), |store| store.keep_only(units))
    }

    /// What takes the blocks of `task`; on any worker.
    ///
    /// # Errors
    /// As the consumer's.
    fn taker<'a>(&'a self, task: &Task) -> Result<Box<dyn Taker + 'a>>;

    /// What puts the parts together.
    fn merger(&self) -> Box<dyn Merger + '_>;

    /// What takes the parts of one share of a run: nothing that several shares write is put together before all are
    /// done.
    ///
    /// # Errors
    /// `Usage` or `Unsupported` where the work cannot be shared out; `Io`.
    fn keeper(&self) -> Result<Box<dyn Merger + '_>> {
        Ok(self.merger())
    }

    /// Ends a share: what it has recorded is durable, by policy, and stays for the run that puts all together.
    ///
    /// # Errors
    /// `Io`.
    fn leave(&mut self) -> Result<()> {
        self.place_mut().map_or(Ok(()), Place::leave)
    }

    /// Makes what its merger completed durable, and writes down that it is whole. Comes when every consumer's merger has
    /// finished.
    ///
    /// # Errors
    /// `Io` if the output cannot be written.
    fn announce(&mut self) -> Result<()> {
        self.place_mut().map_or(Ok(()), Place::announce)
    }

    /// Gives its outputs their names. Comes when every consumer has announced its own.
    ///
    /// # Errors
    /// `Io`; `Usage` if something has appeared under a name.
    fn give_names(&mut self) -> Result<()> {
        self.place_mut().map_or(Ok(()), Place::give_name)
    }

    /// Does what is left of both, clears up from the last output to the first, and says in its `products` what they take.
    /// Comes when every output has its name, or there is one alone.
    ///
    /// # Errors
    /// `Io` if the output cannot be written; `Usage` if something has appeared under the name.
    fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        self.place_mut().map_or(Ok(()), |place| place.publish(products))
    }
}

/// Takes the blocks of one task, in order.
pub trait Taker {
    /// Takes a block.
    ///
    /// # Errors
    /// `Io` if the output cannot be written; what an operator refuses.
    fn take(&mut self, block: &Block, desk: &mut Desk) -> Result<()>;

    /// What came of the blocks; `None` if they must be shown once more.
    ///
    /// # Errors
    /// As [`Taker::take`].
    fn end(&mut self, desk: &mut Desk) -> Result<Option<Part>>;
}

/// What a run must have in common with an earlier one to go on with it.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Settings, inputs and plan; with `Null` no run goes on with another.
    pub manifest: Arc<serde_json::Value>,
    /// What becomes of what an earlier run left.
    pub start: Start,
    /// Which share of a run it is, beside others.
    pub share: Option<Share>,
    /// Units that are left out for now, though they are not done.
    pub except: Arc<BTreeSet<u64>>,
    /// What of the array cannot be read, which is known when all of it is read.
    pub losses: Losses,
    /// What is read, by this run and those before it.
    pub ledger: Ledger,
    /// What is read, which must stay what it is to the end.
    pub inputs: Watch,
    /// Whether other runs write outputs that belong to those of this one.
    pub is_one_of_many: bool,
}

impl Job {
    /// The same for output number `i` of those of a run: that the run is one of many is known by the first.
    pub fn of_output(&self, i: usize) -> Self {
        Self { is_one_of_many: self.is_one_of_many && i == 0, ..self.clone() }
    }
}

/// What a consumer made of one task.
pub enum Part {
    /// Objects, or pieces of them, that are stored already.
    Stored(Vec<Stored>),
    /// Pieces of one stored object, one behind the other: the number and the length of each.
    Bytes {
        /// Of each piece, in order.
        pieces: Vec<(u64, u64)>,
        /// All pieces.
        bytes: Vec<u8>,
    },
    /// A state that can be saved, and folded in order with those of other tasks.
    State(Vec<u8>),
    /// One of each consumer behind this one.
    Many(Vec<Part>),
    /// Bytes that have their place in an object, and are to be written there.
    Placed {
        /// The object.
        object: Arc<Append>,
        /// Their place, which it gave out.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether they are its last.
        ends: bool,
    },
    /// An object, all bytes of which are written.
    Ended(Arc<Append>),
}

impl Part {
    /// The same, written where it has its place; on any worker.
    ///
    /// # Errors
    /// `Io`.
    pub fn settle(self) -> Result<Self> {
        match self {
            Self::Placed { object, offset, bytes, ends } => {
                object.write_at(offset, &bytes)?;
                Ok(if ends { Self::Ended(object) } else { Self::Stored(Vec::new()) })
            }
            Self::Many(parts) => parts.into_iter().map(Self::settle).collect::<Result<_>>().map(Self::Many),
            part => Ok(part),
        }
    }
}

/// Puts parts together, one at a time, in plan order.
pub trait Merger: Send {
    /// Gives the next part its place where it is to be written, if it has one; before it is merged, in plan order too.
    ///
    /// # Errors
    /// As [`Merger::merge`].
    fn place(&mut self, _task: &Task, part: Part) -> Result<Part> {
        Ok(part)
    }

    /// Takes the next part, which has been [settled](Part::settle) where it has its place.
    ///
    /// # Errors
    /// `Io` if the output cannot be written; what an operator refuses.
    fn merge(&mut self, task: &Task, part: Part) -> Result<()>;

    /// Places, settles and merges the next part.
    ///
    /// # Errors
    /// As [`Merger::merge`].
    fn put(&mut self, task: &Task, part: Part) -> Result<()> {
        let placed = self.place(task, part)?;
        self.merge(task, placed.settle()?)
    }

    /// Passes over the next task, which belongs to a unit that an earlier run has finished.
    ///
    /// # Errors
    /// `Io` or `Format` if what that run remembered cannot be read.
    fn skip(&mut self, task: &Task) -> Result<()>;

    /// Leaves it to whoever shows it its blocks to remember the units that they are of.
    fn leave_remembering(&mut self) {}

    /// Ends a pass over the array; whether there must be another one.
    ///
    /// # Errors
    /// As [`Merger::merge`].
    fn end_pass(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Completes what it makes: all that is left to do is to give it its name.
    ///
    /// # Errors
    /// `Io` if the output cannot be written; `Format` if something never came.
    fn finish(self: Box<Self>) -> Result<Vec<Product>>;
}

/// What a finished consumer made.
#[derive(Default)]
pub struct Product {
    /// Where it stands; nowhere if it went down a pipe or is to be printed.
    pub path: Option<PathBuf>,
    /// Files of it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of a picture: the values that became black and white.
    pub window: Option<(f64, f64)>,
    /// The array, where it was put together in memory.
    pub values: Option<Block>,
}

impl Product {
    /// Something that will stand at `path`.
    pub fn at(path: &Path) -> Self {
        Self { path: Some(path.to_owned()), ..Self::default() }
    }
}

/// Memory of one worker that consumers use again and again.
#[derive(Default)]
pub struct Desk {
    /// A chunk before it is encoded.
    pub chunk: Buffer,
    /// A chunk after it was encoded.
    pub encoded: Vec<u8>,
    /// Encoder states.
    pub kept: Kept,
}

/// What a worker uses beside its block and what consumers make of it: stack, codec states, what the allocator keeps.
const WORKER_BYTES: u64 = 3 << 20;

/// The plan of reading `array` once for all `consumers`, which together with their tasks may use `limit_bytes`.
///
/// # Errors
/// If not even the smallest task fits: the memory that would do, in bytes.
///
/// # Panics
/// If there is no consumer.
pub fn plan(array: &dyn Array, consumers: &[&dyn Consumer], limit_bytes: u64) -> Result<Plan, u64> {
    let wants = consumers.iter().map(|c| c.wants()).reduce(together).expect("a run has a consumer");
    let dtype = array.dtype();
    let cost = |task: &[u64], piece: &[u64]| {
        let reading = size_bytes(piece, dtype).saturating_add(array.needs(piece));
        let own = Cost { work_bytes: reading.saturating_add(WORKER_BYTES), ..Cost::default() };
        consumers.iter().map(|c| c.cost(task, piece)).fold(own, |sum, cost| sum + cost)
    };
    let held_bytes = consumers.iter().fold(0u64, |sum, c| sum.saturating_add(c.held_bytes()));
    let plan = Plan::new(&PlanRequest {
        shape: &array.shape(),
        wants: &wants,
        grain: &|axis, at| array.grain(axis, at),
        coded: array.coded(),
        cost: &cost,
        limit_bytes: limit_bytes.saturating_sub(held_bytes),
        element_bytes: dtype.size() as u64,
    });
    plan.map_err(|task_bytes| task_bytes.saturating_add(held_bytes))
}

/// Boxes that suit both.
fn together(a: Wants, b: Wants) -> Wants {
    let multiple = |a: &[u64], b: &[u64]| a.iter().zip(b).map(|(a, b)| a / gcd(*a, *b) * b).collect::<Vec<u64>>();
    Wants {
        unit: multiple(&a.unit, &b.unit),
        object: multiple(&a.object, &b.object),
        across: a.across && b.across,
        in_order: a.in_order || b.in_order,
        // Folding beside what is stored goes by what is stored.
        folds: a.folds.filter(|f| Some(f) == b.folds.as_ref()),
    }
}
