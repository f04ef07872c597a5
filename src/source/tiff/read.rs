//! Reading a region: which strips or tiles it needs, and how their bytes reach the caller's memory.
//!
//! Inside this module every page has five axes: sample plane, depth, y, x, sample. Uncompressed samples in
//! native order go from the file straight to where they belong, neighbouring runs in one read; everything
//! else passes through the worker's scratch memory.

use super::codec::StoredPiece;
use super::directory::Directory;
use super::gather::{Gather, Run};
use super::inflate::Decoders;
use super::page::{Chunk, Packing, PageKind};
use super::{predict, samples};
use crate::array::Scratch;
use crate::block::Target;
use crate::dtype::{DType, swap_bytes};
use crate::error::{Error, Result};
use crate::profile::{self, Stage};

/// Lengths or positions along sample plane, depth, y, x, sample.
pub(super) type Five = [u64; 5];

/// Where the elements of a box go: element (0, 0, 0, 0, 0) begins at `start` of the target's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoxPlace {
    pub(super) start: usize,
    pub(super) strides: [isize; 5],
}

impl BoxPlace {
    fn at(&self, position: Five) -> usize {
        let by: isize = position.iter().zip(self.strides).map(|(&p, s)| p as isize * s).sum();
        self.start.wrapping_add_signed(by)
    }

    fn moved(&self, position: Five) -> Self {
        Self { start: self.at(position), strides: self.strides }
    }
}

/// Bytes of file that are read and thrown away rather than read around.
const GAP_BYTES: u64 = 1 << 12;
/// Runs in the target shorter than this are cheaper to copy than to read each into its place.
const SHORT_RUN_BYTES: u64 = 128;
/// Bytes of scratch that uncompressed samples pass through at a time.
pub(super) const PASS_BYTES: u64 = 1 << 19;

/// One worker's read of one region, gathering neighbouring runs.
pub(super) struct PageReader<'a> {
    pub(super) directory: &'a Directory,
    /// The caller's memory.
    pub(super) bytes: &'a mut [u8],
    dtype: DType,
    /// Value of what is not stored, one element's bytes.
    fill: &'a [u8],
    pub(super) scratch: &'a mut Scratch,
    /// Where in what was asked for nothing is stored, and how much there.
    pub(super) absent: Vec<(Five, Five)>,
    pending: Gather,
}

/// One strip or tile.
struct ChunkBox {
    index: u64,
    chunk: Chunk,
    /// Lengths of what is stored.
    shape: Five,
    /// What is wanted of it.
    origin: Five,
    wanted: Five,
}

impl<'a> PageReader<'a> {
    /// Elements go into `bytes`, which holds `dtype`; what is not stored becomes `fill`.
    pub(super) fn new(
        directory: &'a Directory,
        bytes: &'a mut [u8],
        dtype: DType,
        fill: &'a [u8],
        scratch: &'a mut Scratch,
    ) -> Self {
        Self { directory, bytes, dtype, fill, scratch, absent: Vec::new(), pending: Gather::default() }
    }

    /// Sets a box of elements, which lies at `at` of what was asked for, to the fill value.
    pub(super) fn fill(&mut self, at: Five, shape: Five, place: BoxPlace) {
        let (start, strides) = (place.start, place.strides.to_vec());
        Target { bytes: &mut *self.bytes, start, shape: shape.to_vec(), strides, dtype: self.dtype }.fill(self.fill);
        self.absent.push((at, shape));
    }

    /// Reads the box at `origin` of `page`'s pixels to `place`. Its pixels lie where the directory says, or
    /// in one piece at `offset`.
    pub(super) fn page(
        &mut self,
        page: u32,
        offset: Option<u64>,
        origin: Five,
        shape: Five,
        place: BoxPlace,
    ) -> Result<()> {
        let directory = self.directory;
        let kind = directory.kind(page);
        let boxes = ChunkBoxes::new(directory, page, offset, origin, shape);
        for (chunk, to) in boxes {
            let place = place.moved(to);
            if chunk.chunk == Chunk::ABSENT {
                self.fill(to, chunk.wanted, place);
            } else if kind.is_plain() {
                self.plain(kind, &chunk, place)?;
            } else {
                self.coded(kind, &chunk, place)
                    .map_err(|e| e.at(format!("page {page}, {} {}", kind.chunk_name(), chunk.index)))?;
            }
        }
        Ok(())
    }

    /// Uncompressed elements: as few reads as possible, straight into place where they lie in runs.
    fn plain(&mut self, kind: &PageKind, c: &ChunkBox, place: BoxPlace) -> Result<()> {
        let size = kind.dtype.size() as u64;
        let swap = swap_size(kind, self.directory.big_endian);
        let [_, _, _, stored_width, stored_samples] = c.shape;
        let pixel = stored_samples * size;
        let row = stored_width * pixel;
        let wanted = c.wanted[3] * pixel;
        let whole_pixels = c.wanted[4] == stored_samples;
        let dense_pixels = whole_pixels && (stored_samples == 1 || place.strides[4] == size as isize);
        let dense_row = dense_pixels && (c.wanted[3] == 1 || place.strides[3] == pixel as isize);
        let gap = row - wanted;
        for d in 0..c.wanted[1] {
            let first = ((c.origin[1] + d) * c.shape[2] + c.origin[2]) * row + c.origin[3] * pixel;
            let at = c.chunk.offset + first;
            let place = place.moved([0, d, 0, 0, 0]);
            let dense_rows = dense_row && gap == 0 && (c.wanted[2] == 1 || place.strides[2] == row as isize);
            if dense_rows {
                let run = Run { at, len: c.wanted[2] * row, to: place.start, swap };
                self.pending.add(run, &self.directory.input, self.bytes)?;
            } else if dense_row && wanted >= SHORT_RUN_BYTES {
                for y in 0..c.wanted[2] {
                    let to = place.at([0, 0, y, 0, 0]);
                    let run = Run { at: at + y * row, len: wanted, to, swap };
                    self.pending.add(run, &self.directory.input, self.bytes)?;
                }
            } else {
                self.pass(c, at, swap, size as usize, place)?;
            }
        }
        Ok(())
    }

    /// Rows through scratch memory, for a target whose elements are not in runs worth a read each.
    fn pass(&mut self, c: &ChunkBox, at: u64, swap: usize, size: usize, place: BoxPlace) -> Result<()> {
        let pixel = c.shape[4] * size as u64;
        let row = c.shape[3] * pixel;
        let span = c.wanted[3] * pixel;
        let gap = row - span;
        let mut y = 0;
        while y < c.wanted[2] {
            let rows = if gap > GAP_BYTES { 1 } else { (PASS_BYTES / row).clamp(1, c.wanted[2] - y) };
            let len = (rows - 1) * row + span;
            let stored = self.scratch.stored.sized(len as usize);
            self.directory.bytes_at(stored, at + y * row)?;
            if swap > 1 {
                // Rows begin at multiples of the element size.
                let whole = stored.len() / swap * swap;
                swap_bytes(&mut stored[..whole], swap);
            }
            let strides = [0, 0, row as usize, pixel as usize, size];
            let start = c.origin[4] as usize * size;
            let shape = [1, 1, rows, c.wanted[3], c.wanted[4]];
            let place = place.moved([0, 0, y, 0, 0]);
            copy(&stored[start..], strides, self.bytes, place, shape, size);
            y += rows;
        }
        Ok(())
    }

    /// A strip or tile that must be decoded, widened or put in order.
    fn coded(&mut self, kind: &PageKind, c: &ChunkBox, place: BoxPlace) -> Result<()> {
        let size = kind.dtype.size();
        let mut c = ChunkBox { ..*c };
        if kind.compression == 1 {
            // Rows lie at known places: take only the ones that are wanted, some at a time.
            let row_bytes = kind.row_bytes();
            let [_, depth, height, ..] = c.wanted;
            let first = (c.origin[1] * c.shape[2] + c.origin[2]) * row_bytes;
            let plane = c.shape[2] * row_bytes;
            let offset = c.chunk.offset + first;
            let rows = (PASS_BYTES / row_bytes).clamp(1, height);
            (c.origin[1], c.origin[2]) = (0, 0);
            for d in 0..depth {
                for y in (0..height).step_by(rows as usize) {
                    let rows = rows.min(height - y);
                    c.shape = [1, 1, rows, c.shape[3], c.shape[4]];
                    (c.wanted[1], c.wanted[2]) = (1, rows);
                    c.chunk = Chunk { offset: offset + d * plane + y * row_bytes, count: rows * row_bytes };
                    self.decode(kind, &c, place.moved([0, d, y, 0, 0]), size)?;
                }
            }
            return Ok(());
        }
        self.decode(kind, &c, place, size)
    }

    fn decode(&mut self, kind: &PageKind, c: &ChunkBox, place: BoxPlace, size: usize) -> Result<()> {
        let row_samples = c.shape[3] * c.shape[4];
        let n_rows = c.shape[1] * c.shape[2];
        let row_bytes = row_samples as usize * size;
        let n_bytes = n_rows as usize * row_bytes;
        let packed_row_bytes = kind.row_bytes() as usize;
        let packed_bytes = n_rows as usize * packed_row_bytes;
        let most = kind.codec().most_decoded_bytes(c.chunk.count);
        if packed_bytes as u64 > most {
            return Err(Error::format(format!(
                "{} bytes of {} cannot hold the {packed_bytes} expected",
                c.chunk.count,
                kind.codec().name
            )));
        }
        let Scratch { stored, decoded, extra, kept, .. } = &mut *self.scratch;
        let directory = self.directory;
        // Straight into the target where it holds the whole piece densely.
        let whole = c.wanted == c.shape && place.strides_are_dense(c.shape, size);
        let direct = whole && aligned(&self.bytes[place.start..], size);
        let elements =
            if direct { &mut self.bytes[place.start..place.start + n_bytes] } else { decoded.sized(n_bytes) };

        let native = kind.packing == Packing::Native;
        if native {
            unpack_bytes(directory, kind, c, elements, stored, kept.get())?;
        } else {
            let packed = extra.sized(packed_bytes);
            unpack_bytes(directory, kind, c, packed, stored, kept.get())?;
            match kind.packing {
                Packing::Float24 => {
                    samples::widen_float24(packed, bytemuck::cast_slice_mut(elements), directory.big_endian);
                }
                Packing::ComplexInteger => samples::widen_complex(packed, elements, kind.dtype, directory.big_endian),
                packing => {
                    let (n, bits) = (row_samples as usize, u32::from(kind.bits));
                    samples::unpack(packed, packed_row_bytes, elements, n, bits, kind.dtype, packing);
                }
            }
        }
        if native && !kind.image_codec() {
            let samples_per_pixel = c.shape[4] as usize;
            if kind.predictor == 3 {
                let row = extra.sized(row_bytes);
                predict::undo_float_differences(elements, row_bytes, size, samples_per_pixel, row);
            } else {
                swap_bytes(elements, swap_size(kind, directory.big_endian));
                if kind.predictor == 2 {
                    predict::undo_differences(elements, row_bytes, size, samples_per_pixel);
                }
            }
        }
        if native && kind.codec().is_swapped() {
            swap_bytes(elements, swap_size(kind, directory.big_endian));
        }
        if !direct {
            let pixel = c.shape[4] as usize * size;
            let plane = c.shape[2] as usize * row_bytes;
            let strides = [0, plane, row_bytes, pixel, size];
            let start: usize = c.origin.iter().zip(strides).map(|(&o, s)| o as usize * s).sum();
            copy(&decoded.bytes()[start..], strides, self.bytes, place, c.wanted, size);
        }
        Ok(())
    }

    /// Reads what is pending.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.pending.flush(&self.directory.input, self.bytes)
    }
}

/// Reads and decompresses the bytes of a strip or tile: packed samples, predictor and byte order as stored
/// unless the codec works on images.
fn unpack_bytes(
    directory: &Directory,
    kind: &PageKind,
    c: &ChunkBox,
    out: &mut [u8],
    stored: &mut crate::block::Buffer,
    decoders: &mut Decoders,
) -> Result<()> {
    if kind.compression == 1 {
        directory.bytes_at(out, c.chunk.offset)?;
        if kind.fill_order == 2 {
            samples::reverse_bits(out);
        }
        return Ok(());
    }
    let stored = stored.sized(c.chunk.count as usize);
    directory.bytes_at(stored, c.chunk.offset)?;
    if kind.fill_order == 2 && !kind.image_codec() {
        samples::reverse_bits(stored);
    }
    let rows = u32::try_from(c.shape[1] * c.shape[2]).map_err(|_| Error::format("has too many rows"))?;
    let (piece, whole) = (piece(directory, kind, rows), kind.stored_bytes(0) as usize);
    let decode = || kind.codec().decode(&piece, stored, out, whole, decoders);
    let n = profile::stage(Stage::Decode, whole as u64, decode)?;
    // Rows below the image need not be stored.
    let inside = if c.shape[1] == 1 { (kind.rows_inside(c.index) * kind.row_bytes()) as usize } else { out.len() };
    if n < inside.min(out.len()) {
        return Err(Error::format(format!("decodes to {n} bytes, expected {}", out.len())));
    }
    if n < out.len() {
        out[n..].fill(0);
    }
    Ok(())
}

/// What a codec must know of a strip or tile of `rows` rows.
pub(super) fn piece<'a>(directory: &Directory, kind: &'a PageKind, rows: u32) -> StoredPiece<'a> {
    StoredPiece {
        compression: kind.compression,
        width: kind.chunk[2] as u32,
        rows,
        samples: kind.chunk_samples() as u16,
        bits: kind.bits,
        sample_format: kind.sample_format,
        photometric: kind.photometric,
        big_endian: directory.big_endian,
        fill_order: kind.fill_order,
        jpeg_tables: kind.jpeg_tables.as_deref(),
        ycbcr_subsampling: kind.subsampling,
        fax_options: kind.fax_options,
        lerc_parameters: &kind.lerc,
    }
}

/// Bytes of the unit to be swapped; 1 if nothing is to be.
fn swap_size(kind: &PageKind, big_endian: bool) -> usize {
    if big_endian == cfg!(target_endian = "big") { 1 } else { kind.dtype.swap_size() }
}

fn aligned(bytes: &[u8], size: usize) -> bool {
    (bytes.as_ptr() as usize).is_multiple_of(size.min(8))
}

impl BoxPlace {
    fn strides_are_dense(&self, shape: Five, size: usize) -> bool {
        let mut expected = size as isize;
        for i in (0..5).rev() {
            if shape[i] != 1 && self.strides[i] != expected {
                return false;
            }
            expected *= shape[i] as isize;
        }
        true
    }
}

/// Calls `f` with the position of the first element of every row (y) of a box.
fn for_each_row(shape: Five, mut f: impl FnMut(Five)) {
    for p in 0..shape[0] {
        for d in 0..shape[1] {
            for y in 0..shape[2] {
                f([p, d, y, 0, 0]);
            }
        }
    }
}

/// Copies a box of elements of `size` bytes from `source` with its own strides to `place` in `target`.
fn copy(source: &[u8], strides: [usize; 5], target: &mut [u8], place: BoxPlace, shape: Five, size: usize) {
    let dense_pixel = shape[4] == 1 || (strides[4] == size && place.strides[4] == size as isize);
    let pixel = shape[4] as usize * size;
    let dense_row = dense_pixel && (shape[3] == 1 || (strides[3] == pixel && place.strides[3] == pixel as isize));
    for_each_row(shape, |position| {
        let from: usize = position.iter().zip(strides).map(|(&p, s)| p as usize * s).sum();
        let to = place.at(position);
        if dense_row {
            let len = shape[3] as usize * pixel;
            target[to..to + len].copy_from_slice(&source[from..from + len]);
            return;
        }
        for s in 0..shape[4] as usize {
            let from = from + s * strides[4];
            let to = to.wrapping_add_signed(s as isize * place.strides[4]);
            let n = shape[3] as usize;
            match size {
                1 => copy_elements::<1>(&source[from..], strides[3], target, to, place.strides[3], n),
                2 => copy_elements::<2>(&source[from..], strides[3], target, to, place.strides[3], n),
                4 => copy_elements::<4>(&source[from..], strides[3], target, to, place.strides[3], n),
                8 => copy_elements::<8>(&source[from..], strides[3], target, to, place.strides[3], n),
                _ => copy_elements::<16>(&source[from..], strides[3], target, to, place.strides[3], n),
            }
        }
    });
}

fn copy_elements<const N: usize>(
    source: &[u8],
    step: usize,
    target: &mut [u8],
    start: usize,
    target_step: isize,
    n: usize,
) {
    let mut to = start;
    for i in 0..n {
        target[to..to + N].copy_from_slice(&source[i * step..i * step + N]);
        to = to.wrapping_add_signed(target_step);
    }
}

/// The strips or tiles that a box of a page needs, in the order of the file's tables, each with the position
/// within the box of the first element it gives.
struct ChunkBoxes<'a> {
    directory: &'a Directory,
    page: u32,
    kind: &'a PageKind,
    /// Where the page begins if it lies in one piece.
    whole: Option<u64>,
    origin: Five,
    shape: Five,
    first: [u64; 4],
    next: [u64; 4],
    end: [u64; 4],
    cell: [u64; 4],
    done: bool,
}

impl<'a> ChunkBoxes<'a> {
    fn new(directory: &'a Directory, page: u32, offset: Option<u64>, origin: Five, shape: Five) -> Self {
        let kind = directory.kind(page);
        let whole = offset.or_else(|| directory.contiguous_offset(page));
        let [d, mut h, w] = kind.chunk;
        if whole.is_some() {
            h = kind.height;
        }
        let cell = [1, d, h, w];
        let first = std::array::from_fn(|i| origin[i] / cell[i]);
        let end = std::array::from_fn(|i| (origin[i] + shape[i]).div_ceil(cell[i]));
        let done = shape.contains(&0);
        Self { directory, page, kind, whole, origin, shape, first, next: first, end, cell, done }
    }
}

impl Iterator for ChunkBoxes<'_> {
    type Item = (ChunkBox, Five);

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let cell = self.next;
        let [p, d, h, w] = cell;
        let (chunk, index) = match self.whole {
            Some(offset) => {
                let plane = self.kind.height * self.kind.row_bytes();
                let offset = offset + (p * self.kind.depth + d) * plane;
                (Chunk { offset, count: plane }, (p * self.kind.depth + d) * self.kind.grid()[1])
            }
            None => {
                let [gd, gh, gw] = self.kind.grid();
                let index = ((p * gd + d) * gh + h) * gw + w;
                (self.directory.chunk(self.page, index), index)
            }
        };
        let samples = self.kind.chunk_samples();
        let mut stored = [1, self.cell[1], self.cell[2], self.cell[3], samples];
        if !self.kind.is_tiled() {
            // The last strip has the rows that are left.
            stored[2] = stored[2].min(self.kind.height - h * self.cell[2]);
        }
        let (mut from, mut wanted, mut to) = ([0; 5], [0; 5], [0; 5]);
        for i in 0..4 {
            let begin = (cell[i] * self.cell[i]).max(self.origin[i]);
            let end = ((cell[i] + 1) * self.cell[i]).min(self.origin[i] + self.shape[i]);
            from[i] = begin - cell[i] * self.cell[i];
            to[i] = begin - self.origin[i];
            wanted[i] = end - begin;
        }
        (from[4], wanted[4]) = (self.origin[4], self.shape[4]);
        self.done = true;
        for i in (0..4).rev() {
            self.next[i] += 1;
            if self.next[i] < self.end[i] {
                self.done = false;
                break;
            }
            self.next[i] = self.first[i];
        }
        Some((ChunkBox { index, chunk, shape: stored, origin: from, wanted }, to))
    }
}

/// Calls `f` with the parts of the file, as offset and length, that a box of a page needs.
pub(super) fn for_each_range(
    directory: &Directory,
    page: u32,
    offset: Option<u64>,
    origin: Five,
    shape: Five,
    mut f: impl FnMut(u64, u64),
) {
    for (c, _) in ChunkBoxes::new(directory, page, offset, origin, shape) {
        if c.chunk == Chunk::ABSENT {
            continue;
        }
        if directory.kind(page).compression == 1 {
            let row = directory.kind(page).row_bytes();
            let first = (c.origin[1] * c.shape[2] + c.origin[2]) * row;
            f(c.chunk.offset + first, ((c.wanted[1] - 1) * c.shape[2] + c.wanted[2]) * row);
        } else {
            f(c.chunk.offset, c.chunk.count);
        }
    }
}
