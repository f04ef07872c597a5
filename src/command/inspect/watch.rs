//! What facilities look for: uneven time steps, files of odd sizes, empty and repeated frames.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::array::{Array, Scratch};
use crate::axis::{Calibration, Provenance};
use crate::block::Buffer;
use crate::error::{Error, Result};
use crate::exec::budget::Bytes;
use crate::grid::{Grid, Region, positions};
use crate::open::{Obstacle, ObstacleKind, Survey, listed};
use crate::pattern::FieldAxis;
use crate::report::count;
use crate::source::headers::FileKind;
use crate::stack::Stack;
use crate::unit;

/// How many times larger or smaller than most a file of odd size is.
const ODD_FACTOR: u64 = 3;
/// Where more files than one of so many are of odd sizes, sizes just vary.
const FEW: usize = 20;

/// Steps between time points of the names that differ from the median step by more than `tolerance` of it.
pub(super) fn uneven(axis: &FieldAxis, tolerance: f64) -> Option<Obstacle> {
    let is_time = axis.unit.as_deref().and_then(unit::seconds).is_some();
    let values = axis.coordinates.as_ref().filter(|values| is_time && values.len() > 2)?;
    let steps: Vec<f64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let odd: Vec<usize> = (0..steps.len()).filter(|&i| (steps[i] - median).abs() > tolerance * median.abs()).collect();
    let words = |step| unit::words(&Calibration { step, unit: axis.unit.clone(), from: Provenance::Name });
    let lines = odd.iter().map(|&i| {
        let (name, from, to) = (&axis.name, &axis.labels[i], &axis.labels[i + 1]);
        format!("{name} {from} to {to}: {}", words(steps[i]))
    });
    let head = format!(
        "{} of {} time steps differ from {} by more than {} %",
        odd.len(),
        steps.len(),
        words(median),
        tolerance * 100.0
    );
    let text = listed(head, odd.len(), lines);
    (!odd.is_empty()).then_some(Obstacle { kind: ObstacleKind::Uneven, text })
}

/// Files far smaller or larger than most that hold the same shape and type in the same way.
pub(super) fn sizes(survey: &Survey) -> Option<Obstacle> {
    let headers = &survey.headers;
    let mut odd: Vec<(usize, u64, u64)> = Vec::new();
    for (number, _) in headers.kinds.iter().enumerate().filter(|(_, kind): &(usize, &FileKind)| kind.n_files > 3) {
        let of_kind = |(_, kind): &(usize, &Option<u32>)| **kind == Some(number as u32);
        let files = headers.kind_of.iter().enumerate().filter(of_kind).map(|(file, _)| file);
        let sized: Vec<(usize, u64)> = files.map(|file| (file, headers.bytes_of[file])).collect();
        let mut sorted: Vec<u64> = sized.iter().map(|s| s.1).collect();
        sorted.sort_unstable();
        let most = sorted[sorted.len() / 2];
        let is_odd = |bytes: u64| bytes < most / ODD_FACTOR || bytes / ODD_FACTOR > most;
        let found: Vec<_> = sized.iter().filter(|s| is_odd(s.1)).map(|s| (s.0, s.1, most)).collect();
        if found.len() <= sized.len().div_ceil(FEW) {
            odd.extend(found);
        }
    }
    let lines = odd.iter().map(|&(file, bytes, most)| {
        format!("{}: {}, most have {}", survey.path(file as u32), Bytes(bytes), Bytes(most))
    });
    let head = format!("{} of a size unlike the others of the same shape", count(odd.len() as u64, "file"));
    let text = listed(head, odd.len(), lines);
    (!odd.is_empty()).then_some(Obstacle { kind: ObstacleKind::Size, text })
}

/// What one frame holds.
enum Frame {
    /// The same value everywhere.
    Empty,
    /// Something, of this checksum.
    Pixels(u64),
}

/// Frames of one value, and frames that are the same as an earlier one, after reading all pixels once.
///
/// # Errors
/// `Usage` if frames do not lie as planes of y and x at the end of the axes; else whatever reading fails with.
pub(super) fn frames(stack: &Arc<Stack>, threads: usize) -> Result<Vec<Obstacle>> {
    let n_axes = stack.axes().len();
    let last: Vec<&str> = stack.axes()[n_axes.saturating_sub(2)..].iter().map(|a| a.name.as_str()).collect();
    if last != ["y", "x"] {
        return Err(Error::usage("--pixels looks at planes of y and x: leave --axes out, or name y,x last"));
    }
    let mut frames = read(stack, threads)?;
    frames.sort_unstable_by_key(|(number, _)| *number);
    let leading = crate::axis::shape(&stack.axes()[..n_axes - 2]);
    let grid = Grid::new(&leading, &vec![1; leading.len()]);
    let place = |number: u64| {
        let at = grid.unravel(number);
        let counted = stack.axes().iter().zip(&at).filter(|(axis, _)| axis.length > 1);
        counted.map(|(axis, i)| format!("{}={i}", axis.name)).collect::<Vec<_>>().join(" ")
    };
    let mut first: HashMap<u64, u64> = HashMap::new();
    let (mut empty, mut repeated) = (Vec::new(), Vec::new());
    for (number, frame) in frames {
        match frame {
            Frame::Empty => empty.push(number),
            Frame::Pixels(sum) => match first.get(&sum) {
                Some(earlier) => repeated.push((number, *earlier)),
                None => _ = first.insert(sum, number),
            },
        }
    }
    let (n_empty, n_repeated) = (empty.len(), repeated.len());
    let lines = empty.into_iter().map(place);
    let text = listed(format!("{} of one value", count(n_empty as u64, "frame")), n_empty, lines);
    let mut found: Vec<Obstacle> =
        (n_empty > 0).then_some(Obstacle { kind: ObstacleKind::EmptyFrames, text }).into_iter().collect();
    let lines =
        repeated.into_iter().map(|(number, earlier)| format!("{} is the same as {}", place(number), place(earlier)));
    let text = listed(format!("{} the same as an earlier one", count(n_repeated as u64, "frame")), n_repeated, lines);
    found.extend((n_repeated > 0).then_some(Obstacle { kind: ObstacleKind::RepeatedFrames, text }));
    Ok(found)
}

/// What every frame holds, by its number in row-major order of the axes before y and x, in no order. Frames that files
/// do not cover whole are left out. Stored pieces of several planes are read once.
fn read(stack: &Arc<Stack>, threads: usize) -> Result<Vec<(u64, Frame)>> {
    let shape = stack.shape();
    let n_leading = shape.len() - 2;
    let mut unit = stack.layout().unit()[..n_leading].to_vec();
    unit.iter_mut().for_each(|n| *n = (*n).max(1));
    let leading = Grid::new(&shape[..n_leading], &unit);
    let numbers = Grid::new(&shape[..n_leading], &vec![1; n_leading]);
    let plane_bytes = (shape[n_leading] * shape[n_leading + 1]) as usize * stack.dtype().size();
    let (next, found) = (AtomicU64::new(0), Mutex::new(Ok(Vec::new())));
    let work = || -> Result<Vec<(u64, Frame)>> {
        let (mut reader, mut buffer) = (Arc::clone(stack).reader(Scratch::default()), Buffer::default());
        let mut own = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= leading.len() {
                return Ok(own);
            }
            let before = leading.region(&leading.unravel(piece));
            let whole =
                Region::new([&before.origin[..], &[0, 0]].concat(), [&before.shape[..], &shape[n_leading..]].concat());
            let block = reader.block(&whole, stack.dtype(), std::mem::take(&mut buffer))?;
            for (at, pixels) in positions(&before.shape).zip(block.bytes().chunks_exact(plane_bytes.max(1))) {
                let origin: Vec<u64> = at.iter().zip(&before.origin).map(|(i, o)| i + o).collect();
                let plane = Region::new(
                    [&origin[..], &[0, 0]].concat(),
                    [&vec![1; n_leading][..], &shape[n_leading..]].concat(),
                );
                if block.coverage.absent().iter().all(|absent| absent.intersect(&plane).is_none()) {
                    own.push((numbers.ravel(&origin), looked_at(pixels, stack.dtype().size())));
                }
            }
            buffer = block.into_buffer();
        }
    };
    let run = || {
        let own = work();
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match (own, &mut *found) {
            (Ok(own), Ok(all)) => all.extend(own),
            (Err(error), Ok(_)) => *found = Err(error),
            _ => {}
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            let _ = std::thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// What a plane's bytes hold, in elements of `size` bytes.
fn looked_at(pixels: &[u8], size: usize) -> Frame {
    if pixels.chunks_exact(size).all(|element| element == &pixels[..size]) {
        return Frame::Empty;
    }
    let mut sum = DefaultHasher::new();
    sum.write(pixels);
    Frame::Pixels(sum.finish())
}
