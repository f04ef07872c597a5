//! Cuts an array once into numbered tasks that suit everything that is to come of it. Pure arithmetic: knows the
//! array's pieces, what consumers want, and `--memory`; no threads, no machine, no chance, so that results,
//! resumed runs and shares of other processes stand on the same tasks.
//!
//! The array is cut into **objects** (what is stored, or folded, as one), these into **tasks**, and a task is read
//! in **pieces**, one block each. Consecutive objects make a **unit**, which is remembered as a whole; where few objects
//! are folded by many tasks, each task does.

use std::ops::Range;

use serde::Serialize;

use crate::grid::{Grid, Region, n_elements};

mod document;
mod folding;

pub use document::{Document, Remaining, list};

/// One numbered piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number; tasks are admitted and merged in this order.
    pub index: u64,
    /// The unit that it belongs to.
    pub unit: u64,
    /// Whether it is the last of its unit.
    pub ends_unit: bool,
    /// The box of the array that it covers.
    pub region: Region,
}

/// Which units of a plan a process does: every `n`th from number `rank` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Its number, below `n`.
    pub rank: u64,
    /// How many shares there are.
    pub n: u64,
}

impl Share {
    /// All units.
    pub const WHOLE: Self = Self { rank: 0, n: 1 };

    /// Whether `unit` is one of it.
    pub fn has(&self, unit: u64) -> bool {
        unit % self.n == self.rank
    }

    /// Whether a unit can be one of both.
    pub fn meets(&self, other: &Self) -> bool {
        let common = gcd(self.n, other.n);
        self.rank % common == other.rank % common
    }
}

/// All tasks, in order: a grid of objects, each a grid of task boxes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    objects: Grid,
    task_box: Vec<u64>,
    piece: Vec<u64>,
    /// Elements beyond the end of a task that it reads too.
    reach: Vec<u64>,
    cost: Cost,
    amplification: f64,
    /// Task boxes of a full object, those outside the array at its edges included.
    per_object: u64,
    /// Objects that are remembered together.
    per_unit: u64,
    /// Whether each task is a unit instead.
    by_task: bool,
}

/// Memory of the largest task, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// While it is worked on: its block, decoding and encoding scratch. A worker keeps this for good.
    pub work_bytes: u64,
    /// From its end until it is merged: its parts.
    pub kept_bytes: u64,
    /// While parts are merged, which is done once at a time.
    pub merge_bytes: u64,
}

impl Cost {
    /// What one task needs alone.
    pub fn alone(&self) -> u64 {
        self.work_bytes.saturating_add(self.kept_bytes).saturating_add(self.merge_bytes)
    }
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            work_bytes: self.work_bytes.saturating_add(other.work_bytes),
            kept_bytes: self.kept_bytes.saturating_add(other.kept_bytes),
            merge_bytes: self.merge_bytes.saturating_add(other.merge_bytes),
        }
    }
}

/// What a consumer wants of the cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Wants {
    /// Smallest box that it takes: a chunk.
    pub unit: Vec<u64>,
    /// Box of one stored object (a multiple of `unit`): a shard, or the chunk itself. All tasks of an object follow
    /// each other.
    pub object: Vec<u64>,
    /// Whether a task may cover several whole objects.
    pub across: bool,
    /// Whether tasks must follow one another as elements do.
    pub in_order: bool,
    /// Set if it folds axes and cares for nothing else.
    pub folds: Option<Folds>,
}

impl Wants {
    /// Of a consumer that takes any boxes of an array of so many axes.
    pub fn any(n_axes: usize) -> Self {
        let ones = vec![1; n_axes];
        Self { unit: ones.clone(), object: ones, across: true, in_order: false, folds: None }
    }
}

/// What a reduction says of the axes that it folds.
#[derive(Clone, Debug, PartialEq)]
pub struct Folds {
    /// Which axes are folded.
    pub axes: Vec<bool>,
    /// The folded axes whose parts are folded one by one.
    pub groups: Vec<Groups>,
    /// Whether it does better on blocks that bring all elements of their outputs.
    pub whole: bool,
    /// Memory of its state per output, in bytes.
    pub state_bytes: u64,
}

/// Parts of an axis that are folded one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Which axis.
    pub axis: usize,
    /// Elements from the beginning of one group to that of the next.
    pub stride: u64,
    /// Elements of a group.
    pub span: u64,
}

/// What a plan is made for.
pub struct PlanRequest<'a> {
    /// Shape of the array.
    pub shape: &'a [u64],
    /// What the consumers want, together.
    pub wants: &'a Wants,
    /// Boundaries of strips or tiles of the input along an axis: the last at or before a position, the first at or
    /// after it.
    pub grain: &'a dyn Fn(usize, u64) -> (u64, u64),
    /// Whether strips or tiles are decoded whole even if little of them is wanted.
    pub coded: bool,
    /// Memory of a task of a shape that is read in pieces of another.
    pub cost: &'a dyn Fn(&[u64], &[u64]) -> Cost,
    /// What all tasks together may use, in bytes.
    pub limit_bytes: u64,
    /// Bytes of an element.
    pub element_bytes: u64,
}

/// Bytes of a block that a task has when nothing else decides, and of a unit whose objects are smaller: enough for large
/// reads, little enough that every core has one and the block stays in the last cache. Small arrays have smaller tasks,
/// so that there are some.
const TARGET_BYTES: std::ops::RangeInclusive<u64> = 512 << 10..=8 << 20;
/// Tasks that an array should have.
const ENOUGH_TASKS: u64 = 64;
/// Fewer tasks, or fewer that fit into memory together, leave processors without one ...
const FEW_TASKS: u64 = 8;
/// ... which is worth so much more decoding.
const WORTH: f64 = 1.5;

/// Bytes of a block that a task should have.
fn target_bytes(request: &PlanRequest<'_>) -> u64 {
    let bytes = n_elements(request.shape).saturating_mul(request.element_bytes);
    (bytes / ENOUGH_TASKS).clamp(*TARGET_BYTES.start(), *TARGET_BYTES.end())
}

/// A way to cut.
struct Candidate {
    object: Vec<u64>,
    task_box: Vec<u64>,
    piece: Vec<u64>,
}

impl Plan {
    /// Chooses the boxes and numbers the tasks.
    ///
    /// # Errors
    /// If not even the smallest task fits: the memory that would do, in bytes.
    pub fn new(request: &PlanRequest<'_>) -> Result<Self, u64> {
        match &request.wants.folds {
            None => Self::whole_boxes(request),
            Some(folds) => folding::plan(request, folds),
        }
    }

    /// Boxes that are whole for what is stored.
    ///
    /// They are grown from one unit along the fastest axes first. Among the boxes that leave room for two tasks, the
    /// one with the least read amplification wins, unless many tasks can be had for little more; then the one nearest to
    /// the target size.
    fn whole_boxes(request: &PlanRequest<'_>) -> Result<Self, u64> {
        let Wants { unit, object, across, .. } = request.wants;
        let distance = |task_box: &[u64]| {
            let bytes = n_elements(task_box).saturating_mul(request.element_bytes) as f64;
            (bytes / target_bytes(request) as f64).ln().abs()
        };
        let decoding = |task_box: &[u64]| {
            if request.coded { amplification(request.shape, request.grain, task_box) } else { 1.0 }
        };
        let is_large = n_elements(request.shape).saturating_mul(request.element_bytes) > *TARGET_BYTES.end();
        let worth = |task_box: &[u64], needed: u64| {
            let n_tasks = Grid::new(request.shape, task_box).len().min(request.limit_bytes / needed.max(1));
            if is_large && n_tasks < FEW_TASKS { WORTH } else { 1.0 }
        };
        // With room for two tasks, and with room for one.
        let mut found: [Option<(Vec<u64>, f64)>; 2] = [None, None];
        for task_box in orders(request).iter().flat_map(|order| boxes(request.shape, unit, object, *across, order)) {
            let needed = (request.cost)(&task_box, &task_box).alone();
            if needed > request.limit_bytes {
                continue;
            }
            let amplification = decoding(&task_box) * worth(&task_box, needed);
            let slot = &mut found[usize::from(needed > request.limit_bytes / 2)];
            let better = slot.as_ref().is_none_or(|(b, a)| {
                amplification < a - 1e-9 || (amplification < a + 1e-9 && distance(&task_box) < distance(b))
            });
            if better {
                *slot = Some((task_box, amplification));
            }
        }
        let Some((task_box, _)) = found.into_iter().flatten().next() else {
            return Err((request.cost)(unit, unit).alone());
        };
        let amplification = decoding(&task_box);
        // A box larger than an object covers whole objects; otherwise objects are cut into boxes.
        let object = object.iter().zip(&task_box).map(|(o, b)| *o.max(b)).collect();
        let candidate = Candidate { object, piece: task_box.clone(), task_box };
        Ok(Self::of(request, candidate, vec![0; request.shape.len()], amplification))
    }

    /// The plan that cuts as `candidate` says; tasks read `reach` elements beyond their ends.
    fn of(request: &PlanRequest<'_>, candidate: Candidate, reach: Vec<u64>, amplification: f64) -> Self {
        let Candidate { object, task_box, piece } = candidate;
        let domain: Vec<u64> = request.shape.iter().zip(&reach).map(|(s, r)| s.saturating_sub(*r)).collect();
        let cost = (request.cost)(&task_box, &piece);
        let per_object = Grid::new(&object, &task_box).len();
        let object_bytes = n_elements(&object).saturating_mul(request.element_bytes).max(1);
        let objects = Grid::new(&domain, &object);
        Self {
            objects,
            task_box,
            piece,
            reach,
            cost,
            amplification,
            per_object,
            per_unit: (target_bytes(request) / object_bytes).max(1),
            by_task: request.wants.folds.is_some() && per_object > 1,
        }
    }

    /// All tasks in order.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        self.share(Share::WHOLE, &|_| false)
    }

    /// The tasks of the units of `share` that are not yet `done`.
    pub fn share<'a>(
        &'a self,
        share: Share,
        done: &'a (dyn Fn(u64) -> bool + Sync),
    ) -> impl Iterator<Item = Task> + 'a {
        let units = (share.rank..self.n_units()).step_by(share.n.max(1) as usize).filter(move |unit| !done(*unit));
        units.flat_map(move |unit| {
            let objects = self.objects_of(unit);
            let last = objects.end - 1;
            objects.flat_map(move |number| {
                let (object, before, boxes) = self.object(number);
                let own = if self.by_task { unit - before..unit - before + 1 } else { 0..boxes.len() };
                let ends = own.end - 1;
                own.map(move |i| {
                    let mut region = boxes.region(&boxes.unravel(i));
                    region.origin.iter_mut().zip(&object.origin).for_each(|(a, b)| *a += b);
                    Task { index: before + i, unit, ends_unit: number == last && i == ends, region }
                })
            })
        })
    }

    /// Numbers of the objects that are worked on for `unit`.
    fn objects_of(&self, unit: u64) -> Range<u64> {
        if self.by_task {
            // They are few.
            let begins = |number: &u64| self.tasks_before(&self.objects.unravel(*number)) <= unit;
            let number = (0..self.objects.len()).rev().find(begins).unwrap_or(0);
            return number..number + 1;
        }
        unit * self.per_unit..((unit + 1) * self.per_unit).min(self.objects.len())
    }

    /// An object, the number of tasks before it, and the boxes that cut it.
    fn object(&self, number: u64) -> (Region, u64, Grid) {
        let position = self.objects.unravel(number);
        let region = self.objects.region(&position);
        let boxes = Grid::new(&region.shape, &self.task_box);
        (region, self.tasks_before(&position), boxes)
    }

    /// Number of tasks of the objects before the one at `position`, row-major: objects at the far edges have fewer.
    fn tasks_before(&self, position: &[u64]) -> u64 {
        let (shape, object) = (self.objects.shape(), self.objects.cell());
        // Tasks along axis `i` of the objects before number `n`.
        let along = |i: usize, n: u64| {
            let elements = (n * object[i]).min(shape[i]);
            elements / object[i] * object[i].div_ceil(self.task_box[i])
                + (elements % object[i]).div_ceil(self.task_box[i])
        };
        let counts = self.objects.counts();
        let (mut before, mut of_this) = (0, 1);
        for i in 0..position.len() {
            let behind: u64 = (i + 1..position.len()).map(|k| along(k, counts[k])).product();
            before += of_this * along(i, position[i]) * behind;
            of_this *= along(i, position[i] + 1) - along(i, position[i]);
        }
        before
    }

    /// The boxes that `task` reads, one after the other.
    pub fn pieces(&self, task: &Task) -> impl Iterator<Item = Region> + use<> {
        let region = self.read_by(&task.region);
        let cell: Vec<u64> = self.piece.iter().zip(&region.shape).map(|(p, s)| (*p).min(*s).max(1)).collect();
        let grid = Grid::new(&region.shape, &cell);
        (0..grid.len()).map(move |i| {
            let mut piece = grid.region(&grid.unravel(i));
            piece.origin.iter_mut().zip(&region.origin).for_each(|(a, b)| *a += b);
            piece
        })
    }

    /// What a task of `region` reads.
    fn read_by(&self, region: &Region) -> Region {
        let shape = region.shape.iter().zip(&self.reach).map(|(s, r)| s + r).collect::<Vec<_>>();
        Region::new(region.origin.clone(), shape)
    }

    /// Number of tasks.
    pub fn len(&self) -> u64 {
        // Along each axis: full objects have full counts, the last one fewer.
        let per_axis = |i: usize| {
            let (shape, object, task) = (self.objects.shape()[i], self.objects.cell()[i], self.task_box[i]);
            shape / object * object.div_ceil(task) + (shape % object).div_ceil(task)
        };
        (0..self.task_box.len()).map(per_axis).product()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of units.
    pub fn n_units(&self) -> u64 {
        if self.by_task { self.len() } else { self.objects.len().div_ceil(self.per_unit) }
    }

    /// Objects that are remembered together.
    pub fn per_unit(&self) -> u64 {
        self.per_unit
    }

    /// Shape of a full task.
    pub fn task_box(&self) -> &[u64] {
        &self.task_box
    }

    /// Shape of the largest box that is read at once.
    pub fn piece(&self) -> &[u64] {
        &self.piece
    }

    /// The objects, in order.
    pub fn objects(&self) -> &Grid {
        &self.objects
    }

    /// Whether objects are worked on by several tasks.
    pub fn is_split(&self) -> bool {
        self.per_object > 1
    }

    /// Memory of the largest task.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Bytes decoded divided by bytes needed; 1 is ideal.
    pub fn amplification(&self) -> f64 {
        self.amplification
    }

    /// What a run that goes on must have in common with the one before: the same cut, in 16 hexadecimal digits.
    pub fn digest(&self) -> String {
        let mut text = Vec::new();
        for lengths in [self.objects.shape(), self.objects.cell(), &self.task_box, &self.piece, &self.reach] {
            lengths.iter().for_each(|n| text.extend(n.to_le_bytes()));
            text.push(b';');
        }
        text.extend(if self.by_task { 0 } else { self.per_unit }.to_le_bytes());
        let (front, back) = text.split_at(text.len() / 2);
        format!("{:08x}{:08x}", crc32c::crc32c(&text), crc32c::crc32c_append(crc32c::crc32c(back), front))
    }
}

/// Greatest common divisor.
pub(crate) fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Orders in which boxes are grown: the fastest axes first, or before them those along which stored pieces are as long
/// as the array.
fn orders(request: &PlanRequest<'_>) -> Vec<Vec<usize>> {
    let fastest: Vec<usize> = (0..request.shape.len()).rev().collect();
    let is_whole =
        |i: &usize| request.coded && request.shape[*i] > 1 && (request.grain)(*i, 1) == (0, request.shape[*i]);
    let (whole, others): (Vec<usize>, Vec<usize>) = fastest.iter().copied().partition(is_whole);
    let first = [whole, others].concat();
    if first == fastest || request.wants.in_order { vec![fastest] } else { vec![fastest, first] }
}

/// Boxes worth considering: one unit grown along axes in `order`, by doubling, to the whole object,
/// then over whole objects to the whole array.
fn boxes(shape: &[u64], unit: &[u64], object: &[u64], across: bool, order: &[usize]) -> Vec<Vec<u64>> {
    let mut found = Vec::new();
    let clip = |b: &[u64], to: &[u64]| -> Vec<u64> { b.iter().zip(to).map(|(b, t)| *b.min(t)).collect() };
    // Inside an object: multiples of the unit.
    let mut grow = |from: Vec<u64>, step: &[u64], to: &[u64]| {
        let mut current = from;
        found.push(current.clone());
        for &axis in order {
            let mut n = current[axis] / step[axis].max(1);
            while current[axis] < to[axis] {
                n = (n * 2).max(1);
                current[axis] = (n.saturating_mul(step[axis])).min(to[axis]);
                found.push(current.clone());
            }
        }
        current
    };
    let whole_object = grow(unit.to_vec(), unit, object);
    debug_assert_eq!(whole_object, object);
    // Over objects: multiples of the object, as far as the array (rounded up to whole objects) goes.
    let to: Vec<u64> = shape.iter().zip(object).map(|(s, o)| s.div_ceil(*o).max(1) * o).collect();
    if across {
        grow(object.to_vec(), object, &to);
    }
    found.iter_mut().for_each(|b| {
        let limit: Vec<u64> = shape.iter().zip(unit).map(|(s, u)| s.div_ceil(*u).max(1) * u).collect();
        *b = clip(b, &limit);
    });
    found.dedup();
    found
}

/// Bytes decoded per byte needed if an array of `shape`, whose pieces end as `grain` says, is read in boxes of `task_box`.
pub fn amplification(shape: &[u64], grain: &dyn Fn(usize, u64) -> (u64, u64), task_box: &[u64]) -> f64 {
    let mut product = 1.0;
    for (axis, (&length, &step)) in shape.iter().zip(task_box).enumerate() {
        if length == 0 {
            continue;
        }
        // Axes are long and cut alike all along: a sample of the cuts says enough.
        let cuts = length.div_ceil(step);
        let stride = cuts.div_ceil(4096).max(1);
        let (mut decoded, mut needed) = (0u64, 0u64);
        for cut in (0..cuts).step_by(stride as usize) {
            let (start, end) = (cut * step, (cut * step + step).min(length));
            decoded += grain(axis, end).1.min(length) - grain(axis, start).0;
            needed += end - start;
        }
        product *= decoded as f64 / needed as f64;
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by(unit: Vec<u64>) -> impl Fn(usize, u64) -> (u64, u64) {
        move |axis, at| (at / unit[axis] * unit[axis], at.div_ceil(unit[axis]) * unit[axis])
    }

    fn plan(shape: &[u64], unit: &[u64], object: &[u64], strip: &[u64], coded: bool, limit: u64) -> Result<Plan, u64> {
        Plan::new(&PlanRequest {
            shape,
            wants: &Wants { unit: unit.to_vec(), object: object.to_vec(), across: true, in_order: false, folds: None },
            grain: &by(strip.to_vec()),
            coded,
            cost: &|b, _| Cost { work_bytes: n_elements(b) * 2, kept_bytes: n_elements(b), ..Cost::default() },
            limit_bytes: limit,
            element_bytes: 2,
        })
    }

    #[test]
    fn the_reference_job_reads_whole_slabs() {
        let plan = plan(
            &[199, 3, 201, 1024, 768],
            &[1, 1, 16, 256, 256],
            &[1, 1, 208, 1024, 768],
            &[1, 1, 1, 10, 768],
            false,
            1 << 28,
        )
        .unwrap();
        assert_eq!(plan.amplification(), 1.0);
        assert_eq!(plan.task_box()[..2], [1, 1]);
        assert_eq!(plan.task_box()[4], 768);
        assert_eq!(plan.tasks().count() as u64, plan.len());
    }

    #[test]
    fn coded_strips_are_decoded_once_where_memory_allows() {
        let shape = [1, 1, 64, 1000, 768];
        let roomy =
            plan(&shape, &[1, 1, 16, 256, 256], &[1, 1, 16, 256, 256], &[1, 1, 1, 1000, 768], true, 1 << 28).unwrap();
        assert_eq!(roomy.amplification(), 1.0);
        assert_eq!(roomy.task_box(), [1, 1, 16, 1024, 768]);
        let tight =
            plan(&shape, &[1, 1, 16, 256, 256], &[1, 1, 16, 256, 256], &[1, 1, 1, 1000, 768], true, 8 << 20).unwrap();
        assert!(tight.amplification() > 2.0);
        assert!(tight.cost().alone() <= 8 << 20);
    }

    #[test]
    fn what_cannot_fit_is_refused_with_a_number() {
        let whole = [4, 4096, 4096];
        let needed = plan(&whole, &whole, &whole, &[1, 1, 4096], false, 1 << 20).unwrap_err();
        assert_eq!(needed, 192 << 20);
        assert!(plan(&whole, &whole, &whole, &[1, 1, 4096], false, needed).is_ok());
    }

    proptest! {
        #[test]
        fn tasks_cover_the_array_exactly_once_object_by_object(
            dims in prop::collection::vec((1u64..20, 1u64..5, 1u64..4), 1..4),
            limit in 40u64..2000,
        ) {
            let shape: Vec<_> = dims.iter().map(|d| d.0).collect();
            let unit: Vec<_> = dims.iter().map(|d| d.1).collect();
            let object: Vec<_> = dims.iter().map(|d| d.1 * d.2).collect();
            let Ok(plan) = plan(&shape, &unit, &object, &unit, true, limit) else { return Ok(()) };
            let mut seen = vec![0u8; n_elements(&shape) as usize];
            let strides = crate::grid::row_major_strides(&shape);
            let mut open: Option<(Vec<u64>, u64)> = None;
            let mut closed = std::collections::HashSet::new();
            for (i, task) in plan.tasks().enumerate() {
                prop_assert_eq!(task.index, i as u64);
                for p in crate::grid::positions(&task.region.shape) {
                    let at: u64 = (0..p.len()).map(|i| (p[i] + task.region.origin[i]) * strides[i]).sum();
                    seen[at as usize] += 1;
                }
                // Whole units, and either inside one object or made of whole objects.
                let objects: Vec<_> = Grid::new(&shape, &object).overlapping(&task.region).collect();
                for axis in 0..shape.len() {
                    prop_assert_eq!(task.region.origin[axis] % unit[axis], 0);
                    prop_assert!(task.region.end(axis) % unit[axis] == 0 || task.region.end(axis) == shape[axis]);
                }
                if objects.len() > 1 {
                    for o in &objects {
                        prop_assert!(task.region.contains(&Grid::new(&shape, &object).region(o)));
                    }
                } else {
                    let object = objects[0].clone();
                    if open.as_ref().is_none_or(|o| o.0 != object) {
                        prop_assert!(closed.insert(object.clone()), "an object is worked on in one go");
                        open = Some((object, 0));
                    }
                }
            }
            prop_assert_eq!(plan.tasks().count() as u64, plan.len());
            prop_assert!(seen.iter().all(|&n| n == 1));
            // Shares are the same tasks, and units end with their last one.
            let mut shared: Vec<Task> = (0..3).flat_map(|rank| plan.share(Share { rank, n: 3 }, &|_| false)).collect();
            shared.sort_by_key(|t| t.index);
            let tasks: Vec<Task> = plan.tasks().collect();
            prop_assert_eq!(&shared, &tasks);
            for pair in tasks.windows(2) {
                prop_assert_eq!(pair[0].ends_unit, pair[0].unit != pair[1].unit);
            }
            prop_assert_eq!(tasks.last().map(|t| (t.unit + 1, t.ends_unit)), Some((plan.n_units(), true)));
        }
    }
}
