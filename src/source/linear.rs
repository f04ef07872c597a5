//! Arrays whose elements lie in a file as they are, at even distances along every axis.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cf::Form;
use super::{FileArray, Info};
use crate::array::{Reader, Scratch, check_read};
use crate::block::{Coverage, Target};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, positions};
use crate::profile::{self, Stage};

/// Bytes that are read at a time, where they pass through scratch memory: they stay in a processor's cache.
const PIECE_BYTES: u64 = 256 << 10;

/// An array in a file.
pub(super) struct Linear {
    path: PathBuf,
    file: File,
    info: Info,
    form: Form,
    /// Where the first element begins.
    start: u64,
    /// Distance of neighbours along every axis, in bytes.
    strides: Vec<u64>,
    /// The axes, that of the nearest neighbours last.
    order: Vec<usize>,
}

impl Linear {
    /// The array at `start` of the file at `path`, with elements of `form` `strides` bytes apart. Of `info`, what
    /// follows from that is put in.
    ///
    /// # Errors
    /// `Format` if the file ends before the array does; `Io` if it cannot be opened.
    pub(super) fn open(path: &Path, start: u64, strides: Vec<u64>, form: Form, info: Info) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        let file_bytes = file.metadata().map_err(|e| Error::io(path, "cannot read", e))?.len();
        let shape = info.shape();
        let size = form.stored.size() as u64;
        let last = shape
            .iter()
            .zip(&strides)
            .try_fold(start, |at, (n, stride)| at.checked_add(n.saturating_sub(1).checked_mul(*stride)?));
        let end = last.and_then(|last| last.checked_add(size)).filter(|_| n_elements(&shape) > 0);
        if n_elements(&shape) > 0 && end.is_none_or(|end| end > file_bytes) {
            return Err(Error::format(format!(
                "is cut off: it has {file_bytes} bytes, and its array ends at byte {}",
                end.map_or("2^64".to_owned(), |end| end.to_string())
            )));
        }
        let mut order: Vec<usize> = (0..shape.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(strides[i]));
        // A row; what is less takes as long to read.
        let mut unit = vec![1; shape.len()];
        if let Some(&nearest) = order.last() {
            unit[nearest] = shape[nearest].max(1);
        }
        let info = Info { dtype: form.given(), unit, coded: false, file_bytes, ..info };
        Ok(Self { path: path.to_owned(), file, info, form, start, strides, order })
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        let read = profile::stage(Stage::Read, bytes.len() as u64, || self.file.read_exact_at(bytes, at));
        read.map_err(|e| Error::io(&self.path, "cannot read", e))
    }

    /// `region`, its axes in the order of the file, in boxes that lie there in one piece of at most `most_bytes`, or
    /// of one row's part: where each begins in the file, and the box in the region.
    fn pieces(&self, region: &Region, most_bytes: u64) -> Vec<(u64, Region)> {
        let (shape, size) = (self.info.shape(), self.form.stored.size() as u64);
        let (mut axis, mut run) = (self.order.len(), size);
        while axis > 0 {
            let i = self.order[axis - 1];
            let next = run.saturating_mul(region.shape[axis - 1]);
            if (self.strides[i] != run && region.shape[axis - 1] != 1) || (next > most_bytes && run > size) {
                break;
            }
            (axis, run) = (axis - 1, next);
            if region.shape[axis] != shape[i] {
                break;
            }
        }
        // Where more of the next axis lies in one piece, as much as is allowed.
        let next = axis.checked_sub(1).filter(|&k| self.strides[self.order[k]] == run);
        let step = next.map_or(1, |_| (most_bytes / run.max(1)).max(1));
        let mut counts = region.shape[..axis].to_vec();
        if let Some(k) = next {
            counts[k] = counts[k].div_ceil(step);
        }
        let place = |position: Vec<u64>| {
            let mut part = Region::whole(&region.shape);
            for (k, &p) in position.iter().enumerate() {
                let step = if Some(k) == next { step } else { 1 };
                part.origin[k] = p * step;
                part.shape[k] = step.min(region.shape[k] - p * step);
            }
            let by = |k: usize| (region.origin[k] + part.origin[k]) * self.strides[self.order[k]];
            (self.start + (0..self.order.len()).map(by).sum::<u64>(), part)
        };
        positions(&counts).map(place).collect()
    }

    /// `region` with its axes in the order of the file.
    fn ordered(&self, region: &Region) -> Region {
        let pick = |of: &[u64]| self.order.iter().map(|&i| of[i]).collect::<Vec<_>>();
        Region { origin: pick(&region.origin), shape: pick(&region.shape) }
    }
}

impl FileArray for Linear {
    fn info(&self) -> &Info {
        &self.info
    }

    fn file_reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(LinearReader { of: self, scratch })
    }
}

/// Memory that a reader needs for rows of `row_bytes`, in bytes.
pub(super) fn scratch_bytes(row_bytes: u64) -> u64 {
    // As stored, and up to eight times as wide.
    row_bytes.max(PIECE_BYTES).saturating_mul(9)
}

/// One worker's way to read an array.
struct LinearReader {
    of: Arc<Linear>,
    scratch: Scratch,
}

impl Reader for LinearReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let of = &*self.of;
        check_read(of, region, target)?;
        if region.is_empty() {
            return Ok(Coverage::default());
        }
        let mut target = target.permuted(&of.order);
        let region = of.ordered(region);
        let size = of.form.stored.size() as u64;
        // Straight to where elements are wanted, as far as these lie there as in the file.
        let whole = n_elements(&region.shape);
        let dense = target.dense_run();
        let straight = of.form.is_plain() && dense * size >= PIECE_BYTES.min(whole * size) && dense > 1;
        let most_bytes = if straight { dense * size } else { PIECE_BYTES };
        for (at, part) in of.pieces(&region, most_bytes) {
            let n = n_elements(&part.shape) as usize;
            let mut place = target.part(&part);
            let is_aligned =
                |start: usize, bytes: &[u8]| (bytes.as_ptr() as usize + start).is_multiple_of(size as usize);
            if straight && place.dense_run() == n as u64 && is_aligned(place.start, place.bytes) {
                let bytes = &mut place.bytes[place.start..place.start + n * size as usize];
                of.read_at(bytes, at)?;
                profile::stage(Stage::Decode, 0, || of.form.settle(bytes));
                continue;
            }
            let Scratch { stored, decoded, .. } = &mut self.scratch;
            let stored = stored.sized(n * size as usize);
            of.read_at(stored, at)?;
            let place_error = |e: Error| e.at(of.path.display());
            profile::stage(Stage::Decode, stored.len() as u64, || {
                of.form.settle(stored);
                let given = of.form.given().size();
                if place.dense_run() == n as u64 && (place.bytes.as_ptr() as usize + place.start).is_multiple_of(given)
                {
                    let out = &mut place.bytes[place.start..place.start + n * given];
                    return of.form.give(stored, out).map_err(place_error);
                }
                let out = decoded.sized(n * given);
                of.form.give(stored, out).map_err(place_error)?;
                place.paste(out);
                Ok(())
            })?;
        }
        Ok(Coverage::default())
    }

    fn prefetch(&mut self, region: &Region) {
        let size = self.of.form.stored.size() as u64;
        for (at, part) in self.of.pieces(&self.of.ordered(region), 8 << 20).iter().take(256) {
            crate::bytes::advise(&self.of.file, *at, n_elements(&part.shape) * size);
        }
    }

    fn release(self: Box<Self>) -> Scratch {
        self.scratch
    }
}
