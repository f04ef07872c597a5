//! Cuts an array into numbered tasks: boxes that are whole for the output and, where memory allows, whole
//! strips or tiles of the input. Pure arithmetic; knows no thread count, so that results do not depend on it.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::grid::{Grid, Region, n_elements};
use crate::size::Bytes;

/// One numbered piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number; tasks are admitted and merged in this order.
    pub index: u64,
    /// The box of the array that it covers.
    pub region: Region,
}

/// All tasks, in order: a grid of objects, each a grid of task boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    objects: Grid,
    task_box: Vec<u64>,
    cost: Cost,
    amplification: f64,
    /// Number of tasks before each object, where objects at the edges have fewer.
    per_object: u64,
}

/// Memory of the largest task, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// While it is worked on: its block, decoding and encoding scratch. A worker keeps this for good.
    pub work_bytes: u64,
    /// From its end until it is merged: its receipt.
    pub kept_bytes: u64,
}

impl Cost {
    /// What one task needs alone.
    pub fn alone(&self) -> u64 {
        self.work_bytes.saturating_add(self.kept_bytes)
    }
}

/// What a plan is made for.
pub struct Request<'a> {
    /// Shape of the array.
    pub shape: &'a [u64],
    /// Smallest box the output takes: a chunk.
    pub unit: &'a [u64],
    /// Box of one stored object (a multiple of `unit`): a shard, or the chunk itself. All tasks of an
    /// object follow each other.
    pub object: &'a [u64],
    /// Whether a task may cover several whole objects.
    pub across: bool,
    /// Boundaries of strips or tiles of the input along an axis: the last at or before a position, the
    /// first at or after it.
    pub boundaries: &'a dyn Fn(usize, u64) -> (u64, u64),
    /// Whether strips or tiles are decoded whole even if little of them is wanted.
    pub coded: bool,
    /// Memory of a task of a given shape.
    pub cost: &'a dyn Fn(&[u64]) -> Cost,
    /// What all tasks together may use, in bytes.
    pub limit_bytes: u64,
    /// Bytes of a block that a task should have when nothing else decides.
    pub target_bytes: u64,
    /// Bytes of an element.
    pub element_bytes: u64,
}

impl Plan {
    /// Chooses the box of a task and numbers the tasks.
    ///
    /// Boxes are grown from one unit along the fastest axes first. Among the boxes that leave room for two
    /// tasks, the one with the least read amplification wins, then the one nearest to the target size.
    ///
    /// # Errors
    /// `Limit` if even one unit does not fit, with the number that would do.
    pub fn new(request: &Request<'_>) -> Result<Self> {
        let Request { shape, unit, object, .. } = *request;
        let candidates = candidates(shape, unit, object, request.across);
        let mut best: Option<(Vec<u64>, Cost, f64)> = None;
        let mut fallback: Option<(Vec<u64>, Cost, f64)> = None;
        let target = request.target_bytes.max(1) as f64;
        let distance = |task_box: &[u64]| {
            let bytes = n_elements(task_box).saturating_mul(request.element_bytes) as f64;
            (bytes / target).ln().abs()
        };
        for task_box in candidates {
            let cost = (request.cost)(&task_box);
            if cost.alone() > request.limit_bytes {
                continue;
            }
            let amplification = amplification(request, &task_box);
            let better = |than: &Option<(Vec<u64>, Cost, f64)>| {
                than.as_ref().is_none_or(|(b, _, a)| {
                    amplification < a - 1e-9 || (amplification < a + 1e-9 && distance(&task_box) < distance(b))
                })
            };
            if cost.alone() <= request.limit_bytes / 2 {
                if better(&best) {
                    best = Some((task_box, cost, amplification));
                }
            } else if better(&fallback) {
                fallback = Some((task_box, cost, amplification));
            }
        }
        let Some((task_box, cost, amplification)) = best.or(fallback) else {
            let cost = (request.cost)(unit);
            return Err(Error::limit(format!(
                "one chunk of {unit:?} elements needs {} to read and encode, --memory leaves {} for it: use smaller \
                 --chunks or allow {} more memory",
                Bytes(cost.alone()),
                Bytes(request.limit_bytes),
                Bytes(cost.alone().saturating_sub(request.limit_bytes)),
            )));
        };
        // A box larger than an object covers whole objects; otherwise objects are cut into boxes.
        let outer: Vec<u64> = object.iter().zip(&task_box).map(|(o, b)| *o.max(b)).collect();
        let objects = Grid::new(shape, &outer);
        let per_object = Grid::new(&outer, &task_box).len();
        Ok(Self { objects, task_box, cost, amplification, per_object })
    }

    /// Number of tasks, those that fall outside the array at its edges included.
    fn n_slots(&self) -> u64 {
        self.objects.len().saturating_mul(self.per_object)
    }

    /// All tasks in order.
    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        let slots = (0..self.n_slots()).filter_map(|slot| self.region(slot));
        slots.enumerate().map(|(index, region)| Task { index: index as u64, region })
    }

    fn region(&self, slot: u64) -> Option<Region> {
        let object = self.objects.region(&self.objects.unravel(slot / self.per_object));
        let boxes = Grid::new(self.objects.cell(), &self.task_box);
        let mut region = boxes.region(&boxes.unravel(slot % self.per_object));
        for i in 0..region.rank() {
            region.shape[i] = region.shape[i].min(object.shape[i].saturating_sub(region.origin[i]));
            region.origin[i] += object.origin[i];
        }
        (!region.is_empty()).then_some(region)
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

    /// Shape of a full task.
    pub fn task_box(&self) -> &[u64] {
        &self.task_box
    }

    /// Memory of the largest task.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Bytes decoded divided by bytes needed; 1 is ideal.
    pub fn amplification(&self) -> f64 {
        self.amplification
    }
}

/// Boxes worth considering: one unit grown along the fastest axes first, by doubling, to the whole object,
/// then over whole objects to the whole array.
fn candidates(shape: &[u64], unit: &[u64], object: &[u64], across: bool) -> Vec<Vec<u64>> {
    let mut found = Vec::new();
    let clip = |b: &[u64], to: &[u64]| -> Vec<u64> { b.iter().zip(to).map(|(b, t)| *b.min(t)).collect() };
    // Inside an object: multiples of the unit.
    let mut grow = |from: Vec<u64>, step: &[u64], to: &[u64]| {
        let mut current = from;
        found.push(current.clone());
        for axis in (0..current.len()).rev() {
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

/// Bytes decoded per byte needed if the array is read in boxes of `task_box`.
fn amplification(request: &Request<'_>, task_box: &[u64]) -> f64 {
    if !request.coded {
        return 1.0;
    }
    let mut product = 1.0;
    for (axis, (&length, &step)) in request.shape.iter().zip(task_box).enumerate() {
        if length == 0 {
            continue;
        }
        // Axes are long and cut alike all along: a sample of the cuts says enough.
        let cuts = length.div_ceil(step);
        let stride = cuts.div_ceil(4096).max(1);
        let (mut decoded, mut needed) = (0u64, 0u64);
        for cut in (0..cuts).step_by(stride as usize) {
            let (start, end) = (cut * step, (cut * step + step).min(length));
            decoded += (request.boundaries)(axis, end).1.min(length) - (request.boundaries)(axis, start).0;
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

    fn plan(shape: &[u64], unit: &[u64], object: &[u64], strip: &[u64], coded: bool, limit: u64) -> Result<Plan> {
        Plan::new(&Request {
            shape,
            unit,
            object,
            across: true,
            boundaries: &by(strip.to_vec()),
            coded,
            cost: &|b| Cost { work_bytes: n_elements(b) * 2, kept_bytes: n_elements(b) },
            limit_bytes: limit,
            target_bytes: 8 << 20,
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
        let error =
            plan(&[4, 4096, 4096], &[4, 4096, 4096], &[4, 4096, 4096], &[1, 1, 4096], false, 1 << 20).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("192.0 MiB"), "{error}");
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
        }
    }
}
