//! Beyond the edges of an array: what stands there for filters, shifts and padding, by the rules of SciPy.

use std::str::FromStr;
use std::sync::Arc;

use super::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::{Block, Buffer, Coverage, Target, size_bytes};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};

/// What stands beyond the edges, as `scipy.ndimage` calls it; here of `a b c d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `b a | a b c d | d c`; NumPy's `symmetric`.
    #[default]
    Reflect,
    /// `a a | a b c d | d d`; NumPy's `edge`.
    Nearest,
    /// `c b | a b c d | c b`; NumPy's `reflect`.
    Mirror,
    /// `c d | a b c d | a b`.
    Wrap,
    /// A value everywhere.
    Constant,
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "reflect" => Self::Reflect,
            "nearest" => Self::Nearest,
            "mirror" => Self::Mirror,
            "wrap" => Self::Wrap,
            "constant" => Self::Constant,
            _ => return Err(Error::usage(format!("'{text}' is no mode: reflect, nearest, mirror, wrap or constant"))),
        })
    }
}

impl Mode {
    /// The index of an axis of length `n` that stands at `i`, which may lie outside; nothing if a constant does.
    fn source(self, i: i64, n: i64) -> Option<i64> {
        let inside = (0..n).contains(&i);
        match self {
            _ if inside => Some(i),
            Self::Constant => None,
            Self::Nearest => Some(i.clamp(0, n - 1)),
            Self::Wrap => Some(i.rem_euclid(n)),
            Self::Reflect => {
                let k = i.rem_euclid(2 * n);
                Some(k.min(2 * n - 1 - k))
            }
            Self::Mirror if n == 1 => Some(0),
            Self::Mirror => {
                let k = i.rem_euclid(2 * n - 2);
                Some(k.min(2 * n - 2 - k))
            }
        }
    }
}

/// Edges: what stands beyond them.
#[derive(Clone, Debug, PartialEq)]
pub struct Edges {
    /// Which rule.
    pub mode: Mode,
    /// The value of the constant: one element's bytes.
    pub value: Vec<u8>,
}

impl Edges {
    /// Of boxes that do not reach outside.
    pub fn none() -> Self {
        Self { mode: Mode::Nearest, value: Vec::new() }
    }
}

/// The box of an array of `shape` that holds all that is read for the box at `origin` of `lengths`, which may reach
/// outside; clipped, it is part of it.
pub(crate) fn inside(shape: &[u64], origin: &[i64], lengths: &[u64]) -> Region {
    let cut = (0..shape.len()).map(|k| {
        let (n, from) = (shape[k] as i64, origin[k]);
        let start = from.clamp(0, n);
        let end = (from + lengths[k] as i64).clamp(0, n);
        (start as u64, (end - start).max(0) as u64)
    });
    let (origin, shape): (Vec<u64>, Vec<u64>) = cut.unzip();
    Region { origin, shape }
}

/// The indices along each axis of an array of `shape` that stand in the box at `origin` of `lengths`; less than 0 where a
/// constant does.
pub(super) fn sources(mode: Mode, shape: &[u64], origin: &[i64], lengths: &[u64]) -> Vec<Vec<i64>> {
    let along = |k: usize| {
        let at = |d: u64| mode.source(origin[k] + d as i64, shape[k] as i64).unwrap_or(-1);
        (0..lengths[k]).map(at).collect()
    };
    (0..shape.len()).map(along).collect()
}

/// Reads the box at `origin` of `lengths`, which may reach outside the array of `shape`, into `out`, dense.
///
/// Gives what nothing covers of it, copies beyond the edges too, in coordinates of the box.
pub(crate) fn read(
    reader: &mut dyn Reader,
    (shape, dtype): (&[u64], DType),
    (origin, lengths): (&[i64], &[u64]),
    edges: &Edges,
    out: &mut [u8],
) -> Result<Coverage> {
    let sources = sources(edges.mode, shape, origin, lengths);
    let found = read_elements(reader, (shape, dtype), (origin, lengths), (&sources, edges), out)?;
    let mut coverage = Coverage::default();
    coverage.take(&found, |_| None);
    for absent in found.absent() {
        // Runs of indices along each axis at which something of it stands.
        let along = |(k, sources): (usize, &Vec<i64>)| {
            let holds = |&i: &i64| i >= 0 && (absent.origin[k]..absent.end(k)).contains(&(i as u64));
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for (d, _) in (0..).zip(sources).filter(|(_, i)| holds(i)) {
                match runs.last_mut() {
                    Some((from, n)) if *from + *n == d => *n += 1,
                    _ => runs.push((d, 1)),
                }
            }
            runs
        };
        let runs: Vec<_> = sources.iter().enumerate().map(along).collect();
        for position in crate::grid::positions(&runs.iter().map(|r| r.len() as u64).collect::<Vec<_>>()) {
            let (origin, shape): (Vec<u64>, Vec<u64>) = runs.iter().zip(&position).map(|(r, &i)| r[i as usize]).unzip();
            coverage.lacks_also(Region { origin, shape });
        }
    }
    Ok(coverage)
}

/// The same, but for coverage, which is in coordinates of the array; `sources` stand in the box.
fn read_elements(
    reader: &mut dyn Reader,
    (shape, dtype): (&[u64], DType),
    (origin, lengths): (&[i64], &[u64]),
    (sources, edges): (&[Vec<i64>], &Edges),
    out: &mut [u8],
) -> Result<Coverage> {
    let within = inside(shape, origin, lengths);
    let mut whole = Target::dense(out, lengths, dtype);
    let place: Vec<u64> = within.origin.iter().zip(origin).map(|(w, o)| (*w as i64 - o).max(0) as u64).collect();
    if edges.mode == Mode::Constant {
        if within.shape != lengths {
            whole.fill(&edges.value);
        }
        return match within.is_empty() {
            true => Ok(Coverage::default()),
            false => reader.read(&within, &mut whole.part(&Region::new(place, within.shape.clone()))),
        };
    }
    let sources: Vec<Vec<u64>> = sources.iter().map(|sources| sources.iter().map(|&i| i as u64).collect()).collect();
    let is_near = |k: usize| sources[k].iter().all(|s| (within.origin[k]..within.end(k)).contains(s));
    if !(0..shape.len()).all(is_near) {
        return read_runs(reader, &sources, &mut whole);
    }
    let part = Region::new(place.clone(), within.shape.clone());
    let coverage = reader.read(&within, &mut whole.part(&part))?;
    // Axis by axis, lines outside are copies of lines inside.
    for k in 0..shape.len() {
        let inner = n_elements(&lengths[k + 1..]) as usize * dtype.size();
        let row = lengths[k] as usize * inner;
        let outside = |d: &u64| !(place[k]..place[k] + within.shape[k]).contains(d);
        for d in (0..lengths[k]).filter(outside) {
            let from = (sources[k][d as usize] - within.origin[k] + place[k]) as usize * inner;
            let to = d as usize * inner;
            (0..out.len() / row.max(1))
                .for_each(|o| out.copy_within(o * row + from..o * row + from + inner, o * row + to));
        }
    }
    Ok(coverage)
}

/// Reads what lies far apart run by run: along every axis runs of indices that follow one another.
fn read_runs(reader: &mut dyn Reader, sources: &[Vec<u64>], whole: &mut Target<'_>) -> Result<Coverage> {
    let runs: Vec<Vec<(u64, u64, u64)>> = sources
        .iter()
        .map(|sources| {
            let mut runs: Vec<(u64, u64, u64)> = Vec::new();
            for (d, &s) in (0..).zip(sources) {
                match runs.last_mut() {
                    Some((_, first, n)) if *first + *n == s => *n += 1,
                    _ => runs.push((d, s, 1)),
                }
            }
            runs
        })
        .collect();
    let counts: Vec<u64> = runs.iter().map(|r| r.len() as u64).collect();
    let mut coverage = Coverage::default();
    for position in crate::grid::positions(&counts) {
        let chosen: Vec<(u64, u64, u64)> = runs.iter().zip(&position).map(|(r, &i)| r[i as usize]).collect();
        let shape: Vec<u64> = chosen.iter().map(|c| c.2).collect();
        let place = Region::new(chosen.iter().map(|c| c.0).collect::<Vec<_>>(), shape.clone());
        let own = Region::new(chosen.iter().map(|c| c.1).collect::<Vec<_>>(), shape);
        let found = reader.read(&own, &mut whole.part(&place))?;
        let known = coverage.absent().to_vec();
        coverage.take(&found, |absent| (!known.contains(absent)).then(|| absent.clone()));
    }
    Ok(coverage)
}

/// An array with elements put before and behind it, or taken away.
pub struct Padded {
    inner: Arc<dyn Array>,
    axes: Vec<Axis>,
    /// Elements before the first along each axis; fewer than none cut some away.
    before: Vec<i64>,
    edges: Edges,
}

impl Padded {
    /// `inner` with so many elements before and behind it along each axis.
    ///
    /// # Errors
    /// `Usage` if nothing would be left.
    pub fn new(inner: Arc<dyn Array>, room: &[(i64, i64)], edges: Edges) -> Result<Self> {
        let mut axes = inner.axes().to_vec();
        for (axis, &(before, after)) in axes.iter_mut().zip(room) {
            let length = axis.length as i64 + before + after;
            if length <= 0 || axis.length == 0 {
                return Err(Error::usage(format!("nothing of axis {} would be left", axis.name)));
            }
            if (before, after) != (0, 0) {
                let label = |labels: &[String], i: i64| labels.get(usize::try_from(i - before).ok()?).cloned();
                let numbered =
                    |labels: Vec<String>| crate::axis::numbered(&axis.name, (0..length).map(|i| label(&labels, i)));
                axis.labels = axis.labels.take().map(numbered);
                (axis.colours, axis.coordinates) = (None, None);
                axis.origin -= before as f64 * axis.calibration.as_ref().map_or(0.0, |c| c.step);
            }
            axis.length = length as u64;
        }
        Ok(Self { inner, axes, before: room.iter().map(|r| r.0).collect(), edges })
    }

    /// Where a region of the array lies in the one below.
    fn origin(&self, region: &Region) -> Vec<i64> {
        region.origin.iter().zip(&self.before).map(|(o, b)| *o as i64 - b).collect()
    }
}

impl Array for Padded {
    fn axes(&self) -> &[Axis] {
        &self.axes
    }

    fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        let (before, length) = (self.before[axis], self.inner.axes()[axis].length);
        let inner = at as i64 - before;
        let Ok(own) = u64::try_from(inner) else { return (at, at) };
        if own >= length {
            return (at, at);
        }
        let (from, to) = self.inner.grain(axis, own);
        let back = |i: u64| (i as i64 + before).clamp(0, self.axes[axis].length as i64) as u64;
        (back(from).min(at), back(to).max(at))
    }

    fn coded(&self) -> bool {
        self.inner.coded()
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        self.inner.needs(shape).saturating_add(size_bytes(shape, self.dtype()))
    }

    fn held_bytes(&self) -> u64 {
        self.inner.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let inner = Arc::clone(&self.inner).reader(scratch);
        Box::new(PaddedReader { of: self, inner, buffer: Buffer::default() })
    }
}

struct PaddedReader {
    of: Arc<Padded>,
    inner: Box<dyn Reader>,
    buffer: Buffer,
}

impl Reader for PaddedReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        super::check_read(&*self.of, region, target)?;
        let of = &self.of;
        let mut block = Block::reusing(std::mem::take(&mut self.buffer), region.clone(), of.dtype())?;
        let array = (&of.inner.shape()[..], of.dtype());
        let found = read(&mut *self.inner, array, (&of.origin(region), &region.shape), &of.edges, block.bytes_mut())?;
        target.paste(block.bytes());
        self.buffer = block.into_buffer();
        let mut coverage = Coverage::default();
        coverage.take(&found, |absent| {
            let mut own = absent.clone();
            own.origin.iter_mut().zip(&region.origin).for_each(|(own, origin)| *own += origin);
            Some(own)
        });
        Ok(coverage)
    }

    fn release(self: Box<Self>) -> Scratch {
        self.inner.release()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_scipys() {
        let line = |mode: Mode, n: i64| (-5..n + 5).map(|i| mode.source(i, n).unwrap_or(9)).collect::<Vec<_>>();
        assert_eq!(line(Mode::Reflect, 3), [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(line(Mode::Mirror, 3), [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(line(Mode::Wrap, 3), [1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(line(Mode::Nearest, 2), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(line(Mode::Mirror, 1), [0; 11]);
        assert_eq!(line(Mode::Constant, 1), [9, 9, 9, 9, 9, 0, 9, 9, 9, 9, 9]);
    }
}
