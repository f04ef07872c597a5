//! A part of another array, chosen by slices, labels or coordinates, and read lazily.
//!
//! Slices follow NumPy: `start:stop:step`, negative ones counted from the end, an index alone takes its axis
//! away. Nothing is copied before it is read, and only what is chosen is read; where axes are taken in steps,
//! the stored pieces that hold chosen elements, each once.

use std::sync::Arc;

use super::{Array, Reader, Scratch};
use crate::axis::{Axis, Calibration};
use crate::block::{Buffer, Coverage, Target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, positions};
use crate::unit::{self, Unit};

/// What stands for a unit where dates are meant: `t@date=2014-04`.
const DATE: &str = "date";

/// What is chosen of one axis: `start`, `start + step`, .. , `length` indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    start: u64,
    step: i64,
    length: u64,
    /// Whether the axis stays.
    kept: bool,
}

impl Slice {
    fn all(length: u64) -> Self {
        Self { start: 0, step: 1, length, kept: true }
    }

    /// Whether indices are left out between chosen ones.
    fn skips(&self) -> bool {
        self.step.unsigned_abs() != 1
    }

    fn at(&self, i: u64) -> u64 {
        self.start.wrapping_add_signed(self.step.wrapping_mul(i as i64))
    }

    /// First index of the array and one past the last that `length` indices from `i` on lie between.
    fn span(&self, i: u64, length: u64) -> (u64, u64) {
        let (a, b) = (self.at(i), self.at(i + length.max(1) - 1));
        (a.min(b), a.max(b) + 1)
    }

    /// Which of the chosen indices lie in `from..to` of the array: the first, and their number.
    fn within(&self, from: u64, to: u64) -> (u64, u64) {
        let step = self.step.unsigned_abs();
        let (first, end) = if self.step > 0 {
            (from.saturating_sub(self.start).div_ceil(step), to.saturating_sub(self.start).div_ceil(step))
        } else {
            let below = |at: u64| (self.start + 1).saturating_sub(at).div_ceil(step);
            (below(to), below(from))
        };
        let end = end.min(self.length);
        (first.min(end), end - first.min(end))
    }
}

/// A part of a selection: what is chosen of one axis.
struct Choice<'t> {
    text: &'t str,
    axis: &'t str,
    unit: Option<&'t str>,
    choice: &'t str,
}

impl<'t> Choice<'t> {
    /// Reads `t@ms=1000:2000`.
    fn read(text: &'t str) -> Result<Self> {
        let (name, choice) = text.split_once('=').ok_or_else(|| {
            Error::usage(format!(
                "--select '{text}': expected AXIS=SLICE, as in t=::4, z=10:20, c=1 or c=\"DAPI, 405\""
            ))
        })?;
        let (axis, unit) = match name.split_once('@') {
            Some((axis, unit)) => (axis.trim(), Some(unit.trim())),
            None => (name.trim(), None),
        };
        Ok(Self { text, axis, unit, choice: choice.trim() })
    }

    /// The items of a list, if it is one.
    fn list(&self) -> Option<impl Iterator<Item = &'t str>> {
        let items = self.choice.strip_prefix('[')?;
        Some(split_outside(items.strip_suffix(']').unwrap_or(items)).into_iter())
    }

    fn fault(&self, why: impl std::fmt::Display) -> Error {
        Error::usage(format!("--select '{}': {why}", self.text))
    }

    /// Number of its axis among `axes`.
    fn position(&self, axes: &[Axis]) -> Result<usize> {
        crate::axis::meant(axes, self.axis).ok_or_else(|| {
            let known: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
            self.fault(format!("there is no axis '{}': the array has {}", self.axis, known.join(",")))
        })
    }

    /// What `choice` means of `axis`.
    fn slice(&self, axis: &Axis, choice: &str) -> Result<Slice> {
        let found = match self.unit {
            Some(DATE) => by_date(axis, choice),
            Some(unit) => by_coordinate(axis, unit, choice),
            None => by_index(axis, choice),
        };
        found.map_err(|why| self.fault(why))
    }

    /// The indices of `axis` that its list names.
    fn indices(&self, axis: &Axis) -> Result<Vec<u64>> {
        let index = |item: &str| match self.slice(axis, item)? {
            // A slice of one index is one all the same.
            Slice { start, length: 1, kept, .. } if !kept || self.unit == Some(DATE) => Ok(start),
            _ => Err(self.fault(format!("'{item}' is no index"))),
        };
        self.list().into_iter().flatten().map(index).collect()
    }
}

/// The parts of a selection, each of another axis: `t@ms=1000:2000` of `c=1,t@ms=1000:2000`.
fn parts(text: &str) -> Result<Vec<Choice<'_>>> {
    let texts = split_outside(text).into_iter().filter(|part| !part.is_empty());
    let all: Vec<Choice<'_>> = texts.map(Choice::read).collect::<Result<_>>()?;
    match all.iter().enumerate().find(|(i, part)| all[..*i].iter().any(|before| before.axis == part.axis)) {
        Some((_, twice)) => Err(twice.fault(format!("axis {} is named twice", twice.axis))),
        None => Ok(all),
    }
}

/// The part of `inner` that `text` chooses as [`View::new`] says, and by lists of indices, labels or coordinates:
/// `t=[10,1,5]`.
///
/// # Errors
/// As [`View::new`].
pub fn select(inner: Arc<dyn Array>, text: &str) -> Result<Arc<dyn Array>> {
    Selection::check(text)?;
    let (lists, slices): (Vec<_>, Vec<_>) = parts(text)?.into_iter().partition(|part| part.list().is_some());
    let mut array = inner;
    for list in lists {
        let (name, axis) = (list.axis, array.axes()[list.position(array.axes())?].clone());
        let indices = list.indices(&axis)?;
        // Neighbours are read together.
        let runs =
            indices.chunk_by(|a, b| a + 1 == *b).map(|run| format!("{name}={}:{}", run[0], run[0] + run.len() as u64));
        let parts: Vec<Arc<dyn Array>> = runs
            .map(|run| Ok(Arc::new(View::new(Arc::clone(&array), &run)?) as Arc<dyn Array>))
            .collect::<Result<_>>()?;
        array = Arc::new(super::Joined::new(parts, name)?);
    }
    if slices.is_empty() {
        return Ok(array);
    }
    let slices: Vec<&str> = slices.iter().map(|part| part.text).collect();
    Ok(Arc::new(View::new(array, &slices.join(","))?))
}

/// Parts between commas that stand in no brackets and no quotes.
fn split_outside(text: &str) -> Vec<&str> {
    let (mut open, mut is_quoted) = (0i32, false);
    let parts = text.split(|c: char| {
        is_quoted ^= c == '"';
        open += if is_quoted { 0 } else { i32::from(c == '[') - i32::from(c == ']') };
        c == ',' && open == 0 && !is_quoted
    });
    parts.map(str::trim).collect()
}

/// The label that `choice` is, if it stands in quotes.
fn quoted(choice: &str) -> Option<&str> {
    choice.strip_prefix('"')?.strip_suffix('"')
}

/// What is chosen of every axis of an array.
#[derive(Clone, Debug)]
pub struct Selection(Vec<Slice>);

impl Selection {
    /// Refuses a text that is understood of no array.
    ///
    /// # Errors
    /// `Usage`, naming the part that is wrong.
    pub fn check(text: &str) -> Result<()> {
        parts(text)?.iter().try_for_each(|part| match part.unit {
            Some(DATE) => Ok(()),
            Some(unit) if unit::named(unit).is_none() => Err(part.fault(Unit::unknown(unit))),
            None if quoted(part.choice).is_some() => Ok(()),
            _ if part.list().is_some() && !(part.choice.ends_with(']') && part.choice.len() > 2) => {
                Err(part.fault("expected a list such as [10,1,5]"))
            }
            None if part.list().is_none() && part.choice.split(':').count() > 3 => {
                Err(part.fault("expected start:stop:step"))
            }
            None if part.choice.contains('~') => {
                Err(part.fault("the nearest of coordinates has a unit, as in t@s=~12.5"))
            }
            _ => Ok(()),
        })
    }

    /// What `text` chooses of other axes than `axis`, as text.
    ///
    /// # Errors
    /// `Usage` if the text is not understood.
    pub fn without(text: &str, axis: &str) -> Result<String> {
        let others = parts(text)?.into_iter().filter(|part| part.axis != axis);
        Ok(others.map(|part| part.text).collect::<Vec<_>>().join(","))
    }

    /// What `text` chooses of an array of `axes`: `c=1,t=::4,z=10:20`, `c=GFP`, `t@ms=1000:2000`; of a list, all from
    /// its least to its greatest index.
    ///
    /// # Errors
    /// `Usage` if the text is not understood, names an unknown axis, or chooses nothing.
    pub fn parse(axes: &[Axis], text: &str) -> Result<Self> {
        let mut slices: Vec<Slice> = axes.iter().map(|a| Slice::all(a.length)).collect();
        for part in parts(text)? {
            let i = part.position(axes)?;
            slices[i] = match part.list() {
                None => part.slice(&axes[i], part.choice)?,
                Some(_) => {
                    let indices = part.indices(&axes[i])?;
                    let least = indices.iter().min().copied().unwrap_or(0);
                    let length = indices.iter().max().map_or(1, |most| most - least + 1);
                    Slice { start: least, step: 1, length, kept: true }
                }
            };
        }
        Ok(Self(slices))
    }

    /// The axes of the array, which has `axes`, that are left out since one element of them is chosen: with that alone.
    pub fn single(&self, axes: &[Axis]) -> Vec<Axis> {
        self.0.iter().zip(axes).filter(|(slice, _)| !slice.kept).map(|(slice, axis)| chosen(axis, slice)).collect()
    }

    /// Indices that `text` chooses of axis number `axis` of `axes`, in their order; `None` if it says nothing of it.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn indices(axes: &[Axis], text: &str, axis: usize) -> Result<Option<Vec<u64>>> {
        for part in parts(text)? {
            if part.position(axes)? == axis {
                let own = &axes[axis];
                let slice = || part.slice(own, part.choice);
                let run = || slice().map(|slice| (0..slice.length).map(|i| slice.at(i)).collect());
                return part.list().map_or_else(run, |_| part.indices(own)).map(Some);
            }
        }
        Ok(None)
    }

    /// Axes of which `text` chooses one index, so that they are none of what is chosen.
    ///
    /// # Errors
    /// `Usage` if the text is not understood.
    pub fn removed(text: &str) -> Result<Vec<&str>> {
        let is_one = |part: &Choice<'_>| part.list().is_none() && part.unit != Some(DATE) && !part.choice.contains(':');
        Ok(parts(text)?.iter().filter(|part| is_one(part)).map(|part| part.axis).collect())
    }

    /// Whether anything of `region` is chosen.
    pub fn meets(&self, region: &Region) -> bool {
        self.0.iter().enumerate().all(|(i, slice)| slice.within(region.origin[i], region.end(i)).1 > 0)
    }
}

/// A part of an array.
pub struct View {
    inner: Arc<dyn Array>,
    slices: Vec<Slice>,
    axes: Vec<Axis>,
    /// For every axis of the view, that of the array.
    of: Vec<usize>,
}

impl View {
    /// The part of `inner` that `text` chooses, as [`Selection::parse`] reads it.
    ///
    /// # Errors
    /// As there.
    pub fn new(inner: Arc<dyn Array>, text: &str) -> Result<Self> {
        if let Some(part) = parts(text)?.iter().find(|part| part.list().is_some()) {
            return Err(part.fault("a list is no part that lies evenly"));
        }
        let Selection(slices) = Selection::parse(inner.axes(), text)?;
        let of: Vec<usize> = (0..slices.len()).filter(|&i| slices[i].kept).collect();
        let axes = of.iter().map(|&i| chosen(&inner.axes()[i], &slices[i])).collect();
        Ok(Self { inner, slices, axes, of })
    }

    /// For every axis of the array, the chosen indices of `region`: the first one's number, and how many.
    fn ranges(&self, region: &Region) -> Vec<(u64, u64)> {
        let mut ranges = vec![(0, 1); self.slices.len()];
        for (k, &i) in self.of.iter().enumerate() {
            ranges[i] = (region.origin[k], region.shape[k]);
        }
        ranges
    }

    /// Which of the chosen indices of `axis` of the array lie in one stored piece with number `at` of them:
    /// the first, and how many.
    fn piece(&self, axis: usize, at: u64) -> (u64, u64) {
        let slice = self.slices[axis];
        let inner = slice.at(at);
        slice.within(self.inner.grain(axis, inner).0, self.inner.grain(axis, inner + 1).1)
    }

    /// For every axis of the array, the most elements that one read spans for a region of `shape`: of an axis that is
    /// taken in steps, those between the first and the last chosen one of a stored piece.
    fn longest_spans(&self, shape: &[u64]) -> Vec<u64> {
        let mut spans: Vec<u64> = self.slices.iter().map(|_| 1).collect();
        for (k, &i) in self.of.iter().enumerate() {
            spans[i] = shape[k];
        }
        for (i, slice) in self.slices.iter().enumerate().filter(|(_, slice)| slice.skips()) {
            // Pieces differ at the ends alone; a sample of the others says enough.
            let sampled = (0..slice.length).step_by(slice.length.div_ceil(1024).max(1) as usize);
            let most = sampled.chain([slice.length - 1]).map(|at| self.piece(i, at).1.max(1)).max().unwrap_or(1);
            spans[i] = most.min(spans[i]).saturating_sub(1).saturating_mul(slice.step.unsigned_abs()).saturating_add(1);
        }
        spans
    }

    /// What of a box of the array is chosen, within `region` of the view.
    fn chosen_of(&self, inner: &Region, region: &Region) -> Option<Region> {
        let mut found = Region { origin: Vec::new(), shape: Vec::new() };
        for (i, slice) in self.slices.iter().enumerate() {
            let (first, count) = slice.within(inner.origin[i], inner.end(i));
            if count == 0 {
                return None;
            }
            if slice.kept {
                found.origin.push(first);
                found.shape.push(count);
            }
        }
        found.intersect(region)
    }

    /// The box of the array that spans the chosen indices of numbers `ranges`.
    fn spanned(&self, ranges: &[(u64, u64)]) -> Region {
        let spans = ranges.iter().zip(&self.slices).map(|(&(i, n), slice)| slice.span(i, n));
        let (origin, shape) = spans.map(|(from, to)| (from, to - from)).unzip::<_, _, Vec<_>, Vec<_>>();
        Region::new(origin, shape)
    }
}

impl Array for View {
    fn original(&self, at: &[u64]) -> Vec<u64> {
        let mut origin: Vec<u64> = self.slices.iter().map(|slice| slice.at(0)).collect();
        self.of.iter().zip(at).for_each(|(&i, &n)| origin[i] = self.slices[i].at(n));
        self.inner.original(&origin)
    }

    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn fill(&self) -> Option<&[u8]> {
        self.inner.fill()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        let i = self.of[axis];
        let length = self.slices[i].length;
        let (first, n) = self.piece(i, at.min(length.saturating_sub(1)));
        if at >= length {
            (first, at)
        } else if first == at {
            (at, at)
        } else {
            (first, first + n)
        }
    }

    fn coded(&self) -> bool {
        self.inner.coded()
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        let spans = self.longest_spans(shape);
        let below = self.inner.needs(&spans);
        if !self.slices.iter().any(Slice::skips) {
            return below;
        }
        // A stored piece to pick from.
        below.saturating_add(spans.iter().fold(self.dtype().size() as u64, |n, &span| n.saturating_mul(span)))
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(ViewReader { view: self, inner, buffer: Buffer::default() })
    }
}

/// One worker's way to read a part of an array.
struct ViewReader {
    view: Arc<View>,
    inner: Box<dyn Reader>,
    /// A stored piece to pick from.
    buffer: Buffer,
}

impl ViewReader {
    /// Reads every stored piece once, and picks from it.
    fn read_pieces(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let view = Arc::clone(&self.view);
        let mut coverage = Coverage::default();
        let ranges = view.ranges(region);
        let cut = |i: usize| {
            let ((mut at, n), mut pieces) = (ranges[i], Vec::new());
            let end = at + n;
            while at < end {
                let (first, n) = view.piece(i, at);
                // A piece has at least the index asked for.
                let to = (first + n).clamp(at + 1, end);
                pieces.push((at, to - at));
                at = to;
            }
            pieces
        };
        let in_steps = |i: usize| view.slices[i].skips();
        let mut pieces: Vec<Vec<(u64, u64)>> =
            (0..ranges.len()).map(|i| if in_steps(i) { cut(i) } else { vec![ranges[i]] }).collect();
        // Where one index of each piece is chosen, nothing is picked, and the other axes are read as they are.
        let picks = (0..ranges.len()).any(|i| in_steps(i) && pieces[i].iter().any(|p| p.1 > 1));
        if picks {
            (0..ranges.len()).filter(|&i| !in_steps(i)).for_each(|i| pieces[i] = cut(i));
        }
        let counts: Vec<u64> = pieces.iter().map(|p| p.len() as u64).collect();
        let size = view.dtype().size();
        for position in positions(&counts) {
            let part: Vec<(u64, u64)> = pieces.iter().zip(&position).map(|(p, &i)| p[i as usize]).collect();
            if !picks {
                let found = self.read_box(&part, &ranges, target)?;
                coverage.take(&found, |absent| view.chosen_of(absent, region));
                continue;
            }
            let inner = view.spanned(&part);
            let block = self.inner.block(&inner, view.dtype(), std::mem::take(&mut self.buffer))?;
            coverage.take(&block.coverage, |absent| view.chosen_of(absent, region));
            // From each chosen element of the piece, axis by axis, to its place.
            let strides = crate::grid::row_major_strides(&inner.shape);
            let (mut from, mut start) = (0usize, target.start);
            let mut steps = Vec::with_capacity(pieces.len());
            for (i, slice) in view.slices.iter().enumerate() {
                let (first, n) = part[i];
                let step = slice.step.unsigned_abs() * strides[i] * size as u64;
                // Backwards, the last element read is the first one wanted.
                from += if slice.step < 0 { (n - 1) * step } else { 0 } as usize;
                let mut to = 0;
                if let Some(k) = view.of.iter().position(|&of| of == i) {
                    to = target.strides[k];
                    start = start.wrapping_add_signed(to * (first - ranges[i].0) as isize);
                }
                steps.push((n, if slice.step < 0 { -(step as isize) } else { step as isize }, to));
            }
            pick(block.bytes(), from, target.bytes, start, &steps, size);
            self.buffer = block.into_buffer();
        }
        Ok(coverage)
    }

    /// Reads a box of the array straight to where its elements are wanted: along every axis those of numbers
    /// `part` of the chosen ones, which follow one another, while the target begins with those of `ranges`.
    fn read_box(&mut self, part: &[(u64, u64)], ranges: &[(u64, u64)], target: &mut Target<'_>) -> Result<Coverage> {
        let view = &self.view;
        let (mut start, mut strides) = (target.start, vec![view.dtype().size() as isize; part.len()]);
        for (k, &i) in view.of.iter().enumerate() {
            strides[i] = target.strides[k];
            start = start.wrapping_add_signed(strides[i] * (part[i].0 - ranges[i].0) as isize);
            if view.slices[i].step < 0 {
                // The first element read is the last one wanted.
                start = start.wrapping_add_signed(strides[i] * (part[i].1 as isize - 1));
                strides[i] = -strides[i];
            }
        }
        let shape = part.iter().map(|p| p.1).collect();
        let mut into = Target { bytes: &mut *target.bytes, start, shape, strides, dtype: target.dtype };
        self.inner.read(&view.spanned(part), &mut into)
    }
}

impl Reader for ViewReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        // What is outside may lie inside the array below.
        super::check_read(&*self.view, region, target)?;
        if region.is_empty() {
            return Ok(Coverage::default());
        }
        if self.view.slices.iter().any(Slice::skips) {
            return self.read_pieces(region, target);
        }
        let ranges = self.view.ranges(region);
        let found = self.read_box(&ranges, &ranges, target)?;
        let mut coverage = Coverage::default();
        coverage.take(&found, |absent| self.view.chosen_of(absent, region));
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        if !region.is_empty() && !self.view.slices.iter().any(Slice::skips) {
            self.inner.prefetch(&self.view.spanned(&self.view.ranges(region)));
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}

/// Copies elements of `size` bytes: for every axis, how many, and the distances between neighbours on both
/// sides in bytes.
fn pick(source: &[u8], from: usize, target: &mut [u8], to: usize, steps: &[(u64, isize, isize)], size: usize) {
    let Some((&(n, step, stride), inner)) = steps.split_first() else {
        target[to..to + size].copy_from_slice(&source[from..from + size]);
        return;
    };
    let at = |start: usize, step: isize, i: u64| start.wrapping_add_signed(step * i as isize);
    match inner {
        [] if (step, stride) == (size as isize, size as isize) => {
            let bytes = n as usize * size;
            target[to..to + bytes].copy_from_slice(&source[from..from + bytes]);
        }
        [] => match size {
            1 => pick_row::<1>(source, from, target, to, (n, step, stride)),
            2 => pick_row::<2>(source, from, target, to, (n, step, stride)),
            4 => pick_row::<4>(source, from, target, to, (n, step, stride)),
            8 => pick_row::<8>(source, from, target, to, (n, step, stride)),
            _ => pick_row::<16>(source, from, target, to, (n, step, stride)),
        },
        _ => (0..n).for_each(|i| pick(source, at(from, step, i), target, at(to, stride, i), inner, size)),
    }
}

fn pick_row<const SIZE: usize>(
    source: &[u8],
    mut from: usize,
    target: &mut [u8],
    mut to: usize,
    (n, step, stride): (u64, isize, isize),
) {
    for _ in 0..n {
        target[to..to + SIZE].copy_from_slice(&source[from..from + SIZE]);
        from = from.wrapping_add_signed(step);
        to = to.wrapping_add_signed(stride);
    }
}

/// What is known of an axis after slicing.
fn chosen(axis: &Axis, slice: &Slice) -> Axis {
    let indices = || (0..slice.length).map(|i| slice.at(i) as usize);
    let pick = |labels: &Vec<String>| indices().filter_map(|i| labels.get(i).cloned()).collect();
    let step = |c: &Calibration| Calibration { step: c.step * slice.step as f64, ..c.clone() };
    let mut chosen = Axis {
        length: slice.length,
        origin: axis.coordinate(slice.start),
        calibration: axis.calibration.as_ref().map(step),
        labels: axis.labels.as_ref().map(pick),
        colours: axis.colours.as_ref().map(pick),
        coordinates: axis.coordinates.as_ref().map(|c| indices().filter_map(|i| c.get(i).copied()).collect()),
        ..axis.clone()
    };
    if chosen.calibration.is_some() {
        chosen.settle();
    }
    chosen
}

/// Indices by NumPy's rules, or a label; what stands in quotes is a label.
fn by_index(axis: &Axis, text: &str) -> Result<Slice, String> {
    let length = axis.length;
    let signed = i64::try_from(length).map_err(|_| format!("axis {} is too long", axis.name))?;
    let label = quoted(text);
    if !text.contains(':') || label.is_some() {
        let by_label = || axis.labels.as_ref()?.iter().position(|l| l == label.unwrap_or(text)).map(|i| i as u64);
        let by_number = || {
            let n: i64 = text.parse().ok()?;
            u64::try_from(if n < 0 { n + signed } else { n }).ok().filter(|&n| n < length)
        };
        let start = match (by_number(), by_label()) {
            (Some(index), Some(labelled)) if index != labelled => {
                let own = axis.labels.as_ref().and_then(|l| l.get(index as usize)).map_or("", String::as_str);
                return Err(format!(
                    "'{text}' is index {index} of axis {name}, which is called '{own}', and the label of index \
                     {labelled}: say {name}={index}:{} or {name}={labelled}:{}",
                    index + 1,
                    labelled + 1,
                    name = axis.name
                ));
            }
            (index, labelled) => index.or(labelled),
        };
        let Some(start) = start else {
            let labels = axis.labels.as_ref().map_or(String::new(), |l| format!(", called {}", l.join(", ")));
            return Err(format!("axis {} has indices 0 to {}{labels}", axis.name, length.saturating_sub(1)));
        };
        return Ok(Slice { start, step: 1, length: 1, kept: false });
    }
    let parts: Vec<&str> = text.split(':').collect();
    let number = |i: usize| -> Result<Option<i64>, String> {
        match parts.get(i).map(|p| p.trim()).unwrap_or_default() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| format!("'{text}' is not an index")),
        }
    };
    if parts.len() > 3 {
        return Err("expected start:stop:step".into());
    }
    let (start, stop, step) = (number(0)?, number(1)?, number(2)?.unwrap_or(1));
    if step == 0 || step == i64::MIN {
        return Err("a step of 0 leads nowhere".into());
    }
    // As Python's slice.indices.
    let (lowest, highest) = if step > 0 { (0, signed) } else { (-1, signed - 1) };
    let bound = |n: Option<i64>, default: i64| match n {
        None => default,
        Some(n) if n < 0 => n.saturating_add(signed).max(lowest),
        Some(n) => n.min(highest),
    };
    let (start, stop) = if step > 0 {
        (bound(start, lowest), bound(stop, highest))
    } else {
        (bound(start, highest), bound(stop, lowest))
    };
    let count = if step > 0 { stop - start } else { start - stop };
    if count <= 0 {
        return Err(format!(
            "nothing of axis {} is chosen: it has indices 0 to {}",
            axis.name,
            length.saturating_sub(1)
        ));
    }
    let length = (count as u64).div_ceil(step.unsigned_abs());
    Ok(Slice { start: start as u64, step, length, kept: true })
}

/// Indices whose labels are dates from one to another, both with all that begins like them: `2014-04`,
/// `2014-04:2014-06`.
fn by_date(axis: &Axis, text: &str) -> Result<Slice, String> {
    let is_date = |label: &String| label.len() >= 10 && label.as_bytes()[4] == b'-' && label.as_bytes()[7] == b'-';
    let dates = axis.labels.as_ref().filter(|labels| labels.iter().all(is_date)).ok_or_else(|| {
        format!("the indices of axis {0} have no dates: choose by index, as in {0}=0, or by coordinate", axis.name)
    })?;
    // The times of a day hold colons too.
    let is_end =
        |at: &usize| text[at + 1..].is_empty() || text[at + 1..].split('-').next().is_some_and(|y| y.len() == 4);
    let cut = text.match_indices(':').map(|(at, _)| at).find(|at| *at == 0 || is_end(at));
    let (from, to) = cut.map_or((text, text), |at| (&text[..at], &text[at + 1..]));
    let (from, to) = (from.trim(), to.trim());
    let inside =
        |date: &String| *date.as_str() >= *from && (to.is_empty() || *date.as_str() <= *to || date.starts_with(to));
    let chosen: Vec<u64> = (0..).zip(dates).filter(|(_, date)| inside(date)).map(|(i, _)| i).collect();
    match (chosen.first(), chosen.last()) {
        (Some(&start), Some(&last)) if last - start + 1 == chosen.len() as u64 => Ok(Slice {
            start,
            step: 1,
            length: chosen.len() as u64,
            kept: cut.is_some() || dates[start as usize] != text,
        }),
        (Some(_), _) => Err(format!("the dates of axis {} are not in order: choose by index", axis.name)),
        _ => Err(format!(
            "nothing of axis {} is chosen: its dates go from {} to {}",
            axis.name,
            dates.first().map_or("", String::as_str),
            dates.last().map_or("", String::as_str)
        )),
    }
}

/// Indices whose coordinates, in `unit`, lie in `from:to`, `to` left out; or the one at a coordinate, or nearest to
/// `~` it, of two as near the later one.
fn by_coordinate(axis: &Axis, unit: &str, text: &str) -> Result<Slice, String> {
    let (known, step) = match (axis.unit(), &axis.calibration) {
        (known, Some(calibration)) => (known.unwrap_or_default(), calibration.step),
        // Wavelengths have no step.
        (Some(known), None) => (known, 1.0),
        (None, None) => {
            return Err(format!(
                "nothing is known of the coordinates of axis {}: choose by index, as in {0}=0, or name the field that \
                 holds them in the pattern, as in {{{0}@{unit}}}",
                axis.name
            ));
        }
    };
    let factor = unit::ratio(unit, known)
        .ok_or_else(|| format!("axis {} is measured in '{known}', not in '{unit}'", axis.name))?;
    let coordinate = |i: u64| axis.coordinate(i);
    let number = |text: &str, default: f64| match text.trim() {
        "" => Ok(default),
        text => text.parse::<f64>().map(|x| x * factor).map_err(|_| format!("'{text}' is not a number")),
    };
    let tolerance = step.abs() * 1e-6;
    if let Some((from, to)) = text.split_once(':') {
        let (from, to) = (number(from, f64::NEG_INFINITY)?, number(to, f64::INFINITY)?);
        let inside = |i: &u64| coordinate(*i) >= from - tolerance && coordinate(*i) < to - tolerance;
        let chosen: Vec<u64> = (0..axis.length).filter(inside).collect();
        return match (chosen.first(), chosen.last()) {
            (Some(&first), Some(&last)) if last - first + 1 == chosen.len() as u64 => {
                Ok(Slice { start: first, step: 1, length: chosen.len() as u64, kept: true })
            }
            (Some(_), _) => Err(format!("the coordinates of axis {} are not in order: choose by index", axis.name)),
            _ => Err(format!(
                "nothing of axis {} is chosen: its coordinates go from {} to {} {known}",
                axis.name,
                coordinate(0),
                coordinate(axis.length.saturating_sub(1))
            )),
        };
    }
    if let Some(text) = text.strip_prefix('~') {
        let at = number(text, f64::NAN)?;
        let distance = |i: &u64| (coordinate(*i) - at).abs();
        let nearest = (0..axis.length).rev().filter(|i| distance(i).is_finite());
        let nearest = nearest.min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let start = nearest.ok_or_else(|| format!("axis {} has no coordinate near '{text}'", axis.name))?;
        return Ok(Slice { start, step: 1, length: 1, kept: false });
    }
    let at = number(text, f64::NAN)?;
    let found = (0..axis.length).find(|&i| (coordinate(i) - at).abs() <= tolerance);
    let start = found.ok_or_else(|| {
        let all: Vec<String> = (0..axis.length.min(12)).map(|i| (coordinate(i) / factor).to_string()).collect();
        let more = if axis.length > 12 { " .." } else { "" };
        format!("axis {} has no coordinate {text} {unit}: it has {}{more}", axis.name, all.join(", "))
    })?;
    Ok(Slice { start, step: 1, length: 1, kept: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::axis::Provenance;
    use crate::block::Block;
    use crate::grid::row_major_strides;

    /// Elements that are their own numbers; `hole` is covered by nothing.
    struct Numbers {
        axes: Vec<Axis>,
        hole: Option<Region>,
    }

    impl Array for Numbers {
        fn axes(&self) -> &[Axis] {
            &self.axes
        }

        fn dtype(&self) -> DType {
            DType::Uint16
        }

        fn grain(&self, _: usize, at: u64) -> (u64, u64) {
            (at / 4 * 4, at.div_ceil(4) * 4)
        }

        fn coded(&self) -> bool {
            true
        }

        fn needs(&self, _: &[u64]) -> u64 {
            0
        }

        fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
            Box::new(NumbersReader(self, scratch))
        }
    }

    struct NumbersReader(Arc<Numbers>, Scratch);

    impl Reader for NumbersReader {
        fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
            crate::array::check_read(&*self.0, region, target)?;
            let strides = row_major_strides(&self.0.shape());
            let values: Vec<u16> = positions(&region.shape)
                .map(|p| (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum::<u64>() as u16)
                .collect();
            target.paste(bytemuck::cast_slice(&values));
            let mut coverage = Coverage::default();
            self.0.hole.iter().filter_map(|h| h.intersect(region)).for_each(|hole| coverage.lacks(hole));
            Ok(coverage)
        }

        fn release(self: Box<Self>) -> Scratch {
            self.1
        }
    }

    fn numbers(shape: &[u64]) -> Numbers {
        let axes = ["t", "z", "y", "x"].iter().zip(shape).map(|(n, &l)| Axis::new(*n, l)).collect();
        Numbers { axes, hole: None }
    }

    fn block(view: &Arc<View>, region: &Region) -> Block {
        Arc::clone(view).reader(Scratch::default()).block(region, DType::Uint16, Buffer::default()).unwrap()
    }

    fn values(view: &Arc<View>, region: &Region) -> Vec<u16> {
        block(view, region).elements::<u16>().to_vec()
    }

    #[test]
    fn every_slice_reads_what_indexing_gives() {
        let array = Arc::new(numbers(&[5, 4, 6, 7]));
        let strides = row_major_strides(&array.shape());
        let choices = ["", "0", "-1", ":", "1:4", "::2", "::-1", "3:0:-2", "-3:", ":-1", "1::3", "9:0:-1"];
        for (n, t) in choices.iter().enumerate() {
            for (m, x) in choices.iter().enumerate() {
                let (z, y) = (choices[(n + m) % choices.len()], choices[(n + 3 * m + 1) % choices.len()]);
                let parts = [("t", *t), ("z", z), ("y", y), ("x", *x)];
                let text: Vec<String> =
                    parts.iter().filter(|p| !p.1.is_empty()).map(|(a, s)| format!("{a}={s}")).collect();
                let view = Arc::new(View::new(array.clone(), &text.join(",")).unwrap());
                let shape = view.shape();
                for region in [
                    Region::whole(&shape),
                    Region::new(vec![0; shape.len()], shape.iter().map(|n| n.div_ceil(2)).collect::<Vec<_>>()),
                ] {
                    let expected: Vec<u16> = positions(&region.shape)
                        .map(|p| {
                            let mut own = p.iter();
                            let at = |s: &Slice| s.at(if s.kept { *own.next().unwrap() } else { 0 });
                            view.slices.iter().map(at).zip(&strides).map(|(i, s)| i * s).sum::<u64>() as u16
                        })
                        .collect();
                    assert_eq!(values(&view, &region), expected, "{text:?} {region}");
                }
            }
        }
    }

    #[test]
    fn slices_are_pythons() {
        let axis = Axis::new("z", 10);
        let slice = |text: &str| {
            by_index(&axis, text).map(|s| (0..s.length).map(|i| s.at(i)).collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(slice("7:2:-2"), [7, 5, 3]);
        assert_eq!(slice("-2::-4"), [8, 4, 0]);
        assert_eq!(slice("-100:3"), [0, 1, 2]);
        assert_eq!(slice("8:100"), [8, 9]);
        assert_eq!(slice("-1"), [9]);
        for bad in ["10", "-11", "3:3", "5:2", "::0", "a", "1:2:3:4", "1:b"] {
            assert!(by_index(&axis, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_and_coordinates_choose_as_well() {
        let mut array = numbers(&[5, 2, 1, 1]);
        array.axes[0].calibration =
            Some(Calibration { step: 0.5, unit: Some("second".into()), from: Provenance::Name });
        array.axes[1].labels = Some(vec!["DAPI".into(), "GFP".into()]);
        let array = Arc::new(array);
        let view = Arc::new(View::new(array.clone(), "t@ms=500:2000,z=GFP").unwrap());
        assert_eq!(view.shape(), [3, 1, 1]);
        assert_eq!(values(&view, &Region::whole(&view.shape())), [3, 5, 7]);
        let view = View::new(array.clone(), "t=::-2").unwrap();
        let reversed = &view.axes()[0];
        assert_eq!((reversed.origin, reversed.calibration.as_ref().unwrap().step), (2.0, -1.0));
        let cropped = View::new(array.clone(), "t=1:4").unwrap();
        assert_eq!(cropped.axes()[0].origin, 0.5);
        assert_eq!(View::new(Arc::new(cropped), "t@s=1:").unwrap().slices[0].start, 1);
        assert_eq!(View::new(array.clone(), "t@s=1").unwrap().slices[0].start, 2);
        for bad in ["q=1", "t", "t=1,t=2", "z=\"0\"", "t@um=1:2", "z@s=0:1", "t@s=7:9", "z=RFP", "t@s=0.7"] {
            assert!(View::new(array.clone(), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_and_the_nearest_choose_as_well() {
        let mut array = numbers(&[6, 2, 1, 1]);
        array.axes[0].calibration =
            Some(Calibration { step: 0.5, unit: Some("second".into()), from: Provenance::Name });
        array.axes[1].labels = Some(vec!["DAPI".into(), "GFP".into()]);
        let array: Arc<dyn Array> = Arc::new(array);
        let chosen = |text: &str| -> Vec<u16> {
            let part = select(Arc::clone(&array), text).unwrap();
            let region = Region::whole(&part.shape());
            let block = part.reader(Scratch::default()).block(&region, DType::Uint16, Buffer::default()).unwrap();
            block.elements::<u16>().to_vec()
        };
        assert_eq!(chosen("t=[4,0,1,1],z=0"), [8, 0, 2, 2]);
        assert_eq!(chosen("t=[-1,0],z=[GFP,DAPI]"), [11, 10, 1, 0]);
        assert_eq!(chosen("t@ms=[1000,~2100,~-7],z=1"), [5, 9, 1]);
        // As near to two, the later one; as pandas has it.
        assert_eq!(chosen("t@s=~0.75,z=0"), [4]);
        assert_eq!(chosen("t@s=~99,z=0"), [10]);
        assert_eq!(select(array.clone(), "t@s=~0.6").unwrap().shape(), [2, 1, 1]);
        assert!(Selection::parse(array.axes(), "t=[4,2]").unwrap().meets(&Region::new([3, 0, 0, 0], [1, 2, 1, 1])));
        for bad in ["t=[1,9]", "t=[1:3]", "t=[1", "t=[]", "t=[1],t=2", "t=~1", "q=[1]", "z@s=[~0]", "t@um=[1]"] {
            assert_eq!(select(array.clone(), bad).err().unwrap().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn labels_stand_in_quotes() {
        let labels = ["DAPI, 405", "1", "a:b [c=d]", "5\" gel"];
        let mut array = numbers(&[2, 4, 1, 1]);
        array.axes[1].labels = Some(labels.map(String::from).to_vec());
        let array: Arc<dyn Array> = Arc::new(array);
        let chosen = |text: &str| {
            let part = select(Arc::clone(&array), text).unwrap();
            let region = Region::whole(&part.shape());
            let block = part.reader(Scratch::default()).block(&region, DType::Uint16, Buffer::default()).unwrap();
            block.elements::<u16>().to_vec()
        };
        assert_eq!(chosen("t=1,z=\"DAPI, 405\""), [4]);
        assert_eq!(chosen("z=\"1\",t=0"), [1]);
        assert_eq!(chosen("z= \"a:b [c=d]\" ,t=:"), [2, 6]);
        assert_eq!(chosen("z=[\"a:b [c=d]\", \"DAPI, 405\",1],t=1"), [6, 4, 5]);
        assert_eq!(chosen("t=0,z=5\" gel"), [3]);
        for bad in ["z=DAPI, 405", "z=\"DAPI\"", "z=\"DAPI, 405,t=0"] {
            assert_eq!(select(array.clone(), bad).err().unwrap().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn what_is_an_index_and_the_label_of_another_is_asked_for() {
        let mut axis = Axis::new("c", 3);
        axis.labels = Some(["1", "2", "GFP"].map(String::from).to_vec());
        let said = by_index(&axis, "1").unwrap_err();
        assert!(said.contains("index 1") && said.contains("'2'") && said.contains("index 0"), "{said}");
        assert_eq!(by_index(&axis, "1:2").unwrap().start, 1);
        assert_eq!(by_index(&axis, "GFP").unwrap().start, 2);
        axis.labels = Some(["0", "1", "2"].map(String::from).to_vec());
        assert_eq!(by_index(&axis, "1").unwrap().start, 1);
    }

    #[test]
    fn holes_are_seen_through_slices() {
        let mut array = numbers(&[6, 2, 4, 4]);
        array.hole = Some(Region::new([2, 0, 0, 0], [3, 1, 4, 4]));
        let array = Arc::new(array);
        for (text, n) in [("t=::2", 2), ("t=::-1", 3), ("t=1::3", 1), ("z=1", 0), ("t=2,z=0,y=::3", 1)] {
            let view = Arc::new(View::new(array.clone(), text).unwrap());
            let region = Region::whole(&view.shape());
            let absent = block(&view, &region).coverage.n_absent();
            let plane = if text.contains('y') { 8 } else { 16 };
            assert_eq!(absent, n * plane, "{text}");
        }
    }
}
