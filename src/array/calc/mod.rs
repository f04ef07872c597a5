//! Element-wise operations on arrays that meet by the names of their axes, done in one pass over what is read.
//!
//! A [`Calc`] holds a whole chain of operations: `(a - b) / (c - b)` is one node that reads `a`, `b` and `c`, each once
//! for a region, and makes the results strip by strip. Axes of length one are stretched, axes that an operand lacks as
//! well.

use std::rc::Rc;
use std::sync::Arc;

use super::kernel::{Datum, Launch, OnDevice, Places, Routine};
use super::{Array, CastTally, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, row_major_strides};

mod agree;
mod kernels;
mod operation;
mod program;
mod text;
mod values;

pub use agree::{Loose, meet, together};
pub(crate) use kernels::{To, convert};
pub use operation::{Operation, named, names};
pub use program::{Cast, Node, Term};
use program::{CastCounts, Program, Registers, STRIP};
pub use values::{Values, range};

/// An array made of others by element-wise operations.
pub struct Calc {
    axes: Vec<Axis>,
    dtype: DType,
    leaves: Vec<Leaf>,
    program: Program,
    tally: Arc<CastTally>,
}

/// An array that elements are taken from.
struct Leaf {
    array: Arc<dyn Array>,
    /// For every axis of the result, that of the leaf which is as long; none where it is stretched.
    of: Vec<Option<usize>>,
    /// The leaf's axes in the order of the result's, stretched ones too; those of length one that it alone has last.
    order: Vec<usize>,
}

impl Leaf {
    fn new(array: Arc<dyn Array>, axes: &[Axis]) -> Self {
        let own = array.axes();
        let position = |axis: &Axis| crate::axis::position(own, &axis.name);
        let of = axes.iter().map(|axis| position(axis).filter(|&i| own[i].length == axis.length && axis.length > 1));
        let (of, order) = (of.collect(), axes.iter().filter_map(position).collect());
        Self { array, of, order }
    }

    /// What is read of it for `region` of the result.
    fn region(&self, region: &Region) -> Region {
        let n = self.array.axes().len();
        let mut own = Region::new(vec![0; n], vec![1; n]);
        for (k, i) in self.of.iter().enumerate() {
            if let Some(i) = *i {
                (own.origin[i], own.shape[i]) = (region.origin[k], region.shape[k]);
            }
        }
        own
    }

    /// The part of the result, within `region`, that a box of the leaf goes into.
    fn outer(&self, own: &Region, region: &Region) -> Option<Region> {
        let mut outer = region.clone();
        for (k, i) in self.of.iter().enumerate() {
            if let Some(i) = *i {
                (outer.origin[k], outer.shape[k]) = (own.origin[i], own.shape[i]);
            }
        }
        outer.intersect(region)
    }

    /// Distances in elements between neighbours along the axes of the result, in a dense block for `region` whose axes
    /// are in the order of the result: 0 where it is stretched.
    fn strides(&self, region: &Region) -> Vec<u64> {
        let lengths: Vec<u64> = (0..region.rank()).map(|k| self.of[k].map_or(1, |_| region.shape[k])).collect();
        let dense = row_major_strides(&lengths);
        (0..region.rank()).map(|k| self.of[k].map_or(0, |_| dense[k])).collect()
    }
}

impl Calc {
    /// The array whose elements `root` makes of `leaves`, as `dtype`.
    ///
    /// # Errors
    /// `Usage` if the leaves do not meet, or no type holds the values.
    pub fn new(
        root: &Rc<Node>,
        leaves: &[Arc<dyn Array>],
        axes: Vec<Axis>,
        dtype: Option<DType>,
        cast: Cast,
    ) -> Result<Self> {
        let no_type = || Error::usage("the expression has values that no type holds");
        let dtype = dtype.or(root.values.dtype()).ok_or_else(no_type)?;
        let mut program =
            Program::new(root, dtype, cast).map_err(|why| Error::usage(format!("the expression {why}")))?;
        // Those that are read, each once.
        let used = program.take_leaves();
        let leaves = used.into_iter().map(|number| Leaf::new(Arc::clone(&leaves[number]), &axes)).collect();
        Ok(Self { axes, dtype, leaves, program, tally: Arc::default() })
    }

    /// What the elements that were made so far came to.
    pub fn tally(&self) -> Arc<CastTally> {
        Arc::clone(&self.tally)
    }

    /// Whether results are the elements of its only leaf, one for one and as they are.
    fn is_copy(&self) -> bool {
        let [leaf] = &self.leaves[..] else { return false };
        leaf.array.derived().is_none()
            && self.program.is_copy(leaf.array.dtype())
            && leaf.of.iter().zip(&self.axes).all(|(of, axis)| of.is_some() || axis.length == 1)
    }

    /// Whether a leaf is made of whole lines along `axis`, so that elements of one line are best made together.
    fn folds(&self, axis: usize) -> bool {
        let longer =
            |array: &Arc<dyn Array>| array.axes().iter().any(|a| a.name == self.axes[axis].name && a.length > 1);
        self.leaves
            .iter()
            .any(|leaf| leaf.of[axis].is_none() && leaf.array.derived().is_some_and(|d| longer(d.source())))
    }

    fn count(&self, counts: CastCounts) {
        let clipped = if self.program.clips() { counts.met.outside.into() } else { 0 };
        let rounded = if self.dtype.is_float() { counts.met.rounded.into() } else { 0 };
        self.tally.add([clipped, counts.zero_divisors, counts.nan, counts.infinite, rounded]);
    }
}

impl OnDevice for Calc {
    fn compile(&self, region: &Region, routine: &mut Routine) -> Option<Datum> {
        let (mut from, mut strides) = (Vec::new(), Vec::new());
        for leaf in &self.leaves {
            let own = leaf.region(region);
            from.push(routine.inside(&leaf.array, &own));
            let dense = row_major_strides(&own.shape);
            strides.push(leaf.of.iter().map(|i| i.map_or(0, |i| dense[i])).collect::<Vec<u64>>());
        }
        // What is only brought is as well left where it is.
        if self.program.n_operations() == 0 && from.iter().all(|datum| matches!(datum, Datum::Loaded(_))) {
            return None;
        }
        let (dense, n) = (row_major_strides(&region.shape), region.n_elements());
        let is_dense = |s: &Vec<u64>| (0..s.len()).all(|k| region.shape[k] == 1 || s[k] == dense[k]);
        let is_still = |s: &Vec<u64>| (0..s.len()).all(|k| region.shape[k] == 1 || s[k] == 0);
        let places = if strides.iter().all(|s| is_dense(s) || is_still(s)) {
            let line: Vec<Vec<u64>> = strides.iter().map(|s| vec![u64::from(!is_still(s))]).collect();
            Places::new(&[n], &line)
        } else {
            Places::new(&region.shape, &strides)
        };
        let dtypes: Vec<DType> = self.leaves.iter().map(|leaf| leaf.array.dtype()).collect();
        let launch = Launch {
            text: self.program.text(&dtypes, &places),
            from,
            tables: vec![places.table()],
            range: places.range,
            n_bytes: size_bytes(&region.shape, self.dtype),
            tally: Some(Arc::clone(&self.tally)),
            ..Launch::default()
        };
        Some(routine.launch(launch, self.program.n_operations()))
    }
}

impl Array for Calc {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        if self.folds(axis) {
            return (0, self.axes[axis].length);
        }
        let leaves = self.leaves.iter().filter_map(|leaf| leaf.of[axis].map(|i| (leaf, i)));
        if !self.coded() {
            return leaves.map(|(leaf, i)| leaf.array.grain(i, at)).next().unwrap_or((at, at));
        }
        let grains = leaves.map(|(leaf, i)| super::decoded(&*leaf.array, i, at));
        grains.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((at, at))
    }

    fn coded(&self) -> bool {
        self.leaves.iter().any(|leaf| leaf.array.coded() || leaf.array.derived().is_some())
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let whole = Region::new(vec![0; shape.len()], shape);
        let leaf = |leaf: &Leaf| {
            let own = leaf.region(&whole).shape;
            let held = if self.is_copy() { 0 } else { size_bytes(&own, leaf.array.dtype()) };
            held.saturating_add(leaf.array.needs(&own))
        };
        self.leaves.iter().map(leaf).fold(self.program.register_bytes(), u64::saturating_add)
    }

    fn on_device(&self) -> Option<&dyn OnDevice> {
        Some(self)
    }

    fn held_bytes(&self) -> u64 {
        super::held_together(self.leaves.iter().map(|leaf| &leaf.array))
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let mut scratch = Some(scratch);
        let readers = self.leaves.iter().map(|leaf| Arc::clone(&leaf.array).reader(scratch.take().unwrap_or_default()));
        let readers = readers.collect();
        let (registers, buffers) = (self.program.registers(), self.leaves.iter().map(|_| Buffer::default()).collect());
        Box::new(CalcReader { of: self, readers, registers, buffers, scratch, dense: Buffer::default() })
    }
}

/// One worker's way to read an array that is made of others.
struct CalcReader {
    of: Arc<Calc>,
    readers: Vec<Box<dyn Reader>>,
    registers: Registers,
    /// What was read of each leaf.
    buffers: Vec<Buffer>,
    /// Scratch memory that no leaf has taken.
    scratch: Option<Scratch>,
    /// Results on their way to a target that is not dense.
    dense: Buffer,
}

impl CalcReader {
    /// Reads what every leaf has for `region`, axes in the order of the result. What is made of lines that were read for
    /// another leaf is made of these.
    fn read_leaves(&mut self, region: &Region) -> Result<Coverage> {
        let of = Arc::clone(&self.of);
        let mut coverage = Coverage::default();
        let derived = |leaf: &Leaf| leaf.array.derived().is_some();
        let (last, first): (Vec<usize>, Vec<usize>) = (0..of.leaves.len()).partition(|&l| derived(&of.leaves[l]));
        for number in first.into_iter().chain(last) {
            let leaf = &of.leaves[number];
            let own = leaf.region(region);
            let dtype = leaf.array.dtype();
            let ordered: Vec<u64> = leaf.order.iter().map(|&i| own.shape[i]).collect();
            let mut block = Block::reusing(std::mem::take(&mut self.buffers[number]), Region::whole(&ordered), dtype)?;
            let mut target = block.target();
            let mut strides = vec![dtype.size() as isize; own.rank()];
            leaf.order.iter().zip(&target.strides).for_each(|(&i, &stride)| strides[i] = stride);
            target = Target { shape: own.shape.clone(), strides, ..target };
            let found = match self.make_of_another(leaf, &own, region, &mut target)? {
                true => Coverage::default(),
                false => self.readers[number].read(&own, &mut target)?,
            };
            // Holes of several leaves may be the same.
            coverage.take(&found, |_| None);
            let outer = found.absent().iter().filter_map(|absent| leaf.outer(absent, region));
            outer.for_each(|outer| coverage.lacks_also(outer));
            self.buffers[number] = block.into_buffer();
        }
        Ok(coverage)
    }

    /// Reads the only leaf to where results go, and counts what they came to.
    fn copy(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let leaf = &self.of.leaves[0];
        let own = leaf.region(region);
        let mut strides = vec![target.dtype.size() as isize; own.rank()];
        leaf.of.iter().zip(&target.strides).for_each(|(i, &stride)| i.iter().for_each(|&i| strides[i] = stride));
        let Target { start, dtype, .. } = *target;
        let mut inner = Target { bytes: &mut *target.bytes, start, shape: own.shape.clone(), strides, dtype };
        let found = self.readers[0].read(&own, &mut inner)?;
        let (mut nan, mut infinite) = (0, 0);
        target.for_each_run(|run| {
            let counts = kernels::not_finite(dtype, run);
            (nan, infinite) = (nan + counts.0, infinite + counts.1);
        });
        self.of.count(CastCounts { nan, infinite, ..CastCounts::default() });
        let mut coverage = Coverage::default();
        coverage.take(&found, |absent| leaf.outer(absent, region));
        Ok(coverage)
    }

    /// Makes `own` of a leaf of lines that were read for another one, if they were.
    fn make_of_another(&mut self, leaf: &Leaf, own: &Region, region: &Region, target: &mut Target<'_>) -> Result<bool> {
        let Some(derived) = leaf.array.derived() else { return Ok(false) };
        let input = derived.input_of(own);
        let in_order = |leaf: &Leaf| leaf.order.iter().enumerate().all(|(k, &i)| k == i);
        let is_it = |other: &Leaf| {
            Arc::ptr_eq(&other.array, derived.source()) && other.region(region) == input && in_order(other)
        };
        let Some(number) = self.of.leaves.iter().position(is_it) else { return Ok(false) };
        let dtype = derived.source().dtype();
        let block = Block::of(std::mem::take(&mut self.buffers[number]), input, dtype);
        let made = derived.make(&block, own, target);
        self.buffers[number] = block.into_buffer();
        made.map(|()| true)
    }

    /// Makes the results for `region`, row-major.
    fn make(&mut self, region: &Region, out: &mut [u8]) -> Result<()> {
        let of = Arc::clone(&self.of);
        let rank = region.rank();
        let strides: Vec<Vec<u64>> = of.leaves.iter().map(|leaf| leaf.strides(region)).collect();
        // The last axes along which every leaf either goes on without a gap or stays.
        let (mut outer, mut run) = (rank, 1u64);
        let mut goes_on: Vec<Option<bool>> = vec![None; strides.len()];
        while outer > 0 {
            let k = outer - 1;
            let length = region.shape[k];
            let fits = |(strides, on): (&Vec<u64>, &Option<bool>)| {
                length == 1 || on.is_none_or(|on| if on { strides[k] == run } else { strides[k] == 0 })
            };
            if !strides.iter().zip(&goes_on).all(fits) {
                break;
            }
            if length > 1 {
                strides.iter().zip(&mut goes_on).for_each(|(s, on)| *on = Some(on.unwrap_or(s[k] > 0)));
            }
            run *= length;
            outer = k;
        }
        let size = of.dtype.size();
        let sizes: Vec<usize> = of.leaves.iter().map(|leaf| leaf.array.dtype().size()).collect();
        let mut rows = out.chunks_exact_mut((run as usize * size).max(1));
        for position in crate::grid::positions(&region.shape[..outer]) {
            let Some(row) = rows.next() else { break };
            let starts: Vec<usize> =
                strides.iter().map(|s| position.iter().zip(s).map(|(p, s)| p * s).sum::<u64>() as usize).collect();
            for (number, strip) in row.chunks_mut(STRIP * size).enumerate() {
                let (first, n) = (number * STRIP, strip.len() / size);
                let slices: Vec<&[u8]> = (0..sizes.len())
                    .map(|l| {
                        let on = goes_on[l] == Some(true);
                        let from = starts[l] + if on { first } else { 0 };
                        &self.buffers[l].bytes()[from * sizes[l]..(from + if on { n } else { 1 }) * sizes[l]]
                    })
                    .collect();
                let counts = of.program.run(&mut self.registers, &slices, strip);
                if let Some((i, value, met)) = of.program.refused(&self.registers, counts.met, n) {
                    let place = place(region, &position, (first + i) as u64, &of.axes);
                    return Err(refusal(of.dtype, value, met, &place));
                }
                of.count(counts);
            }
        }
        Ok(())
    }
}

/// Where element `number` of a run at `position` lies, in words: `t=3, y=0, x=17`.
fn place(region: &Region, position: &[u64], number: u64, axes: &[Axis]) -> String {
    let (mut rest, mut at) = (number, region.origin.clone());
    for k in (0..region.rank()).rev() {
        match position.get(k) {
            Some(p) => at[k] += p,
            None => (at[k], rest) = (at[k] + rest % region.shape[k], rest / region.shape[k]),
        }
    }
    axes.iter().zip(at).map(|(axis, i)| format!("{}={i}", axis.name)).collect::<Vec<_>>().join(", ")
}

fn refusal(dtype: DType, value: f64, met: kernels::Met, place: &str) -> Error {
    let (why, ways) = match range(dtype) {
        _ if met.outside == 0 && dtype.is_float() => {
            (format!("has more digits than {dtype} holds"), "--cast round rounds it")
        }
        _ if met.outside == 0 => ("has a fraction".to_owned(), "--cast round rounds it"),
        Some((low, high)) => (format!("is not from {low} to {high}"), "--cast clip takes the nearest value"),
        None => ("is too large".to_owned(), "--cast clip takes the nearest value"),
    };
    Error::format(format!("element {place}: {value} {why}, as {dtype} needs: {ways}, or take a wider --dtype"))
}

/// Whether the first element lies where a machine wants it, and so the others.
fn is_aligned(target: &Target<'_>) -> bool {
    target.bytes[target.start..].as_ptr().align_offset(target.dtype.size().min(8)) == 0
}

impl Reader for CalcReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        if region.is_empty() {
            return Ok(Coverage::default());
        }
        if self.of.is_copy() && is_aligned(target) {
            return self.copy(region, target);
        }
        let coverage = self.read_leaves(region)?;
        let n_bytes = n_elements(&region.shape) as usize * self.of.dtype.size();
        if is_aligned(target) && target.dense_run() == region.n_elements() {
            let start = target.start;
            self.make(region, &mut target.bytes[start..start + n_bytes])?;
            return Ok(coverage);
        }
        let mut dense = std::mem::take(&mut self.dense);
        self.make(region, dense.sized(n_bytes))?;
        target.paste(dense.bytes());
        self.dense = dense;
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        for (leaf, reader) in self.of.leaves.iter().zip(&mut self.readers) {
            reader.prefetch(&leaf.region(region));
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.readers.into_iter().next().map_or(self.scratch.unwrap_or_default(), |reader| reader.release())
    }
}
