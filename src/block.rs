//! Pixels in memory: a block is a region with its elements; a target is a strided place to read into.

use std::sync::OnceLock;

use crate::crc::{Remainders, remainder};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, row_major_strides};

/// Bytes aligned for every element type, whose storage is kept when it is used again.
#[derive(Default)]
pub struct Buffer {
    words: Vec<u64>,
    len: usize,
}

impl Buffer {
    /// The bytes of `values`, which stay where they are if they are aligned as a buffer is.
    pub fn of<T: bytemuck::Pod>(values: Vec<T>) -> Self {
        let len = size_of_val(&values[..]);
        match bytemuck::allocation::try_cast_vec(values) {
            Ok(words) => Self { words, len },
            Err((_, values)) => {
                let mut buffer = Self::default();
                buffer.sized(len).copy_from_slice(bytemuck::cast_slice(&values));
                buffer
            }
        }
    }

    /// Makes it `len` bytes long and gives the bytes, whose content is unspecified.
    pub fn sized(&mut self, len: usize) -> &mut [u8] {
        let words = len.div_ceil(8);
        if self.words.len() < words {
            // Growing by copying would move old content nobody wants.
            self.words = Vec::new();
            self.words = vec![0; words];
        }
        self.len = len;
        self.bytes_mut()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }

    /// Bytes it holds on to, used or not.
    pub fn held_bytes(&self) -> usize {
        self.words.len() * 8
    }
}

/// A region of an array with its elements, row-major and dense, in native byte order.
pub struct Block {
    region: Region,
    dtype: DType,
    buffer: Buffer,
    /// Which of its elements nothing covers.
    pub coverage: Coverage,
    /// Of its bytes, once somebody has asked or told.
    remainders: OnceLock<Remainders>,
}

/// A part of a file that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// The file's number.
    pub file: u32,
    /// What the part adds to the digest of the file's array.
    pub sum: u64,
    /// Its elements.
    pub n_elements: u64,
}

/// Which elements of a region nothing covers, and hold the fill value instead: no file, a plane that a file
/// counts and lacks, a strip, tile or chunk that is not stored.
///
/// Boxes are in the coordinates of the array that was read, and share no element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    absent: Vec<Region>,
    portions: Vec<Portion>,
}

impl Coverage {
    /// Nothing covers `region` either. Joins it to the last box where it continues that, and so on.
    pub fn lacks(&mut self, mut region: Region) {
        if region.is_empty() {
            return;
        }
        while let Some(last) = self.absent.pop() {
            let mut differing =
                (0..region.rank()).filter(|&i| (last.origin[i], last.shape[i]) != (region.origin[i], region.shape[i]));
            match (differing.next(), differing.next()) {
                (Some(axis), None) if last.end(axis) == region.origin[axis] => {
                    let own = region.shape[axis];
                    region = last;
                    region.shape[axis] += own;
                }
                _ => {
                    self.absent.push(last);
                    break;
                }
            }
        }
        self.absent.push(region);
    }

    /// Nothing covers `region` either, of which parts may be known.
    pub fn lacks_also(&mut self, region: Region) {
        let mut rest = vec![region];
        for known in &self.absent {
            rest = rest.into_iter().flat_map(|part| part.without(known)).collect();
        }
        rest.into_iter().for_each(|part| self.lacks(part));
    }

    /// Nothing covers the elements of `region`, numbered row by row, of which `is_lacking` says so.
    pub fn lacks_where(&mut self, region: &Region, is_lacking: impl Fn(usize) -> bool) {
        let Some((&length, outer)) = region.shape.split_last() else {
            return if is_lacking(0) {
                self.lacks(region.clone())
            };
        };
        for (row, position) in crate::grid::positions(outer).enumerate() {
            let first = row * length as usize;
            let lacking: Vec<bool> = (first..first + length as usize).map(&is_lacking).collect();
            let mut at = 0;
            for run in lacking.chunk_by(|a, b| a == b) {
                let mut part = Region::new(position.clone(), vec![1; outer.len()]);
                part.origin.push(at);
                part.shape.push(run.len() as u64);
                part.origin.iter_mut().zip(&region.origin).for_each(|(own, origin)| *own += origin);
                at += run.len() as u64;
                if run[0] {
                    self.lacks(part);
                }
            }
        }
    }

    /// The boxes.
    pub fn absent(&self) -> &[Region] {
        &self.absent
    }

    /// Number of elements in them.
    pub fn n_absent(&self) -> u64 {
        self.absent.iter().map(Region::n_elements).sum()
    }

    /// Whether nothing covers any element of `region`.
    pub fn lacks_all(&self, region: &Region) -> bool {
        let common = self.absent.iter().filter_map(|absent| absent.intersect(region));
        !self.absent.is_empty() && common.map(|c| c.n_elements()).sum::<u64>() == region.n_elements()
    }

    /// What was read of the files that cover the rest, where a stack is to sum that up.
    pub fn portions(&self) -> &[Portion] {
        &self.portions
    }

    /// A part of a file was read.
    pub fn read(&mut self, portion: Portion) {
        self.portions.push(portion);
    }

    /// Takes in what `other` lacks, box by box as `place` says where it lies here, and what was read for it.
    pub fn take(&mut self, other: &Self, mut place: impl FnMut(&Region) -> Option<Region>) {
        self.portions.extend_from_slice(&other.portions);
        other.absent.iter().filter_map(&mut place).for_each(|region| self.lacks(region));
    }
}

impl Block {
    /// A block of `region`, its elements unspecified until they are read into [`Block::target`].
    ///
    /// # Errors
    /// `Limit` if it has more bytes than memory can address.
    pub fn new(region: Region, dtype: DType) -> Result<Self> {
        Self::reusing(Buffer::default(), region, dtype)
    }

    /// As [`Block::new`], in the storage of `buffer`.
    ///
    /// # Errors
    /// `Limit` if it has more bytes than memory can address.
    pub fn reusing(mut buffer: Buffer, region: Region, dtype: DType) -> Result<Self> {
        let bytes = size_bytes(&region.shape, dtype);
        let bytes = usize::try_from(bytes).ok().filter(|&b| b <= isize::MAX as usize);
        let bytes =
            bytes.ok_or_else(|| Error::limit(format!("a block {region} of {dtype} cannot be held in memory")))?;
        buffer.sized(bytes);
        Ok(Self::of(buffer, region, dtype))
    }

    /// A block of `region` whose elements `buffer` holds.
    pub(crate) fn of(buffer: Buffer, region: Region, dtype: DType) -> Self {
        debug_assert_eq!(buffer.bytes().len() as u64, size_bytes(&region.shape, dtype));
        Self { region, dtype, buffer, coverage: Coverage::default(), remainders: OnceLock::new() }
    }

    /// Where it lies.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its elements as bytes.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    /// Its elements as bytes, to write to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.remainders = OnceLock::new();
        self.buffer.bytes_mut()
    }

    /// What `n_bytes` from `start` on leave by [`remainder`]. Consumers that go through a block in the same runs have each
    /// computed once.
    pub fn remainder(&self, start: usize, n_bytes: usize) -> u64 {
        let known = self.remainders.get_or_init(|| Remainders::of(self.bytes(), n_bytes)).of_run(start, n_bytes);
        known.unwrap_or_else(|| remainder(&self.bytes()[start..start + n_bytes]))
    }

    /// Takes over what its reader has found out of its bytes.
    pub fn remember(&mut self, remainders: Remainders) {
        if remainders.is_whole() {
            self.remainders = OnceLock::from(remainders);
        }
    }

    /// Its elements, row-major.
    ///
    /// # Panics
    /// If `T` does not have the size of the block's elements.
    pub fn elements<T: Element>(&self) -> &[T] {
        assert_eq!(size_of::<T>(), self.dtype.size(), "the element type follows the block's dtype");
        bytemuck::cast_slice(self.bytes())
    }

    /// Its elements, row-major, to write to.
    ///
    /// # Panics
    /// If `T` does not have the size of the block's elements.
    pub fn elements_mut<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(size_of::<T>(), self.dtype.size(), "the element type follows the block's dtype");
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// Its elements as an `ndarray` view of the region's shape.
    ///
    /// # Panics
    /// If `T` does not have the size of the block's elements.
    pub fn view<T: Element>(&self) -> ndarray::ArrayViewD<'_, T> {
        // Lengths fit: the elements are in memory.
        let shape: Vec<usize> = self.region.shape.iter().map(|&n| n as usize).collect();
        ndarray::ArrayViewD::from_shape(shape, self.elements()).expect("a block is dense and as long as its shape says")
    }

    /// The whole block as a place to read into.
    pub fn target(&mut self) -> Target<'_> {
        let (shape, dtype) = (self.region.shape.clone(), self.dtype);
        Target::dense(self.bytes_mut(), &shape, dtype)
    }

    /// Gives the storage back for another block.
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }
}

/// Bytes of an array of `shape`, saturating.
pub fn size_bytes(shape: &[u64], dtype: DType) -> u64 {
    n_elements(shape).saturating_mul(dtype.size() as u64)
}

/// A strided box of elements in memory that a region is read into, row-major order of its own axes.
///
/// Strides are in bytes and may be negative; element `(i, j, ..)` begins at
/// `start + i * strides[0] + j * strides[1] + ..`.
pub struct Target<'a> {
    /// The memory that the elements lie in, among others.
    pub bytes: &'a mut [u8],
    /// Where element (0, 0, ..) begins.
    pub start: usize,
    /// Lengths of its axes.
    pub shape: Vec<u64>,
    /// Distances between neighbours along each axis, in bytes.
    pub strides: Vec<isize>,
    /// Type of the elements.
    pub dtype: DType,
}

impl<'a> Target<'a> {
    /// A dense row-major target.
    ///
    /// # Panics
    /// If `bytes` is not exactly as long as the elements.
    pub fn dense(bytes: &'a mut [u8], shape: &[u64], dtype: DType) -> Self {
        assert_eq!(bytes.len() as u64, size_bytes(shape, dtype), "a dense target is exactly as long as its elements");
        let size = dtype.size() as isize;
        let strides = row_major_strides(shape).iter().map(|&s| s as isize * size).collect();
        Self { bytes, start: 0, shape: shape.to_vec(), strides, dtype }
    }

    /// The part of it that `region` covers, in its own coordinates.
    ///
    /// # Panics
    /// If `region` reaches outside.
    pub fn part(&mut self, region: &Region) -> Target<'_> {
        assert!(Region::whole(&self.shape).contains(region), "{region} reaches outside {:?}", self.shape);
        Target {
            start: self.offset(&region.origin),
            bytes: self.bytes,
            shape: region.shape.clone(),
            strides: self.strides.clone(),
            dtype: self.dtype,
        }
    }

    /// The same elements with axes taken in another order: axis `i` of the result is axis `order[i]` of this.
    /// Axes that are left out must have length 1.
    pub fn permuted(&mut self, order: &[usize]) -> Target<'_> {
        debug_assert!((0..self.shape.len()).all(|i| order.contains(&i) || self.shape[i] == 1));
        Target {
            start: self.start,
            shape: order.iter().map(|&i| self.shape[i]).collect(),
            strides: order.iter().map(|&i| self.strides[i]).collect(),
            bytes: self.bytes,
            dtype: self.dtype,
        }
    }

    /// Where the element at `position` begins in `bytes`.
    pub fn offset(&self, position: &[u64]) -> usize {
        let by: isize = position.iter().zip(&self.strides).map(|(&p, s)| p as isize * s).sum();
        self.start.wrapping_add_signed(by)
    }

    /// Length in elements of the run along the last axes that lies densely in memory.
    pub fn dense_run(&self) -> u64 {
        self.runs().1
    }

    /// Number of leading axes that one must step along from run to run, and elements in a dense run.
    fn runs(&self) -> (usize, u64) {
        let mut run = 1u64;
        let mut outer = self.shape.len();
        while outer > 0 {
            let (length, stride) = (self.shape[outer - 1], self.strides[outer - 1]);
            if length != 1 && stride != run as isize * self.dtype.size() as isize {
                break;
            }
            run *= length;
            outer -= 1;
        }
        (outer, run)
    }

    /// Sets every element to `value` (one element's bytes, native order).
    pub fn fill(&mut self, value: &[u8]) {
        debug_assert_eq!(value.len(), self.dtype.size());
        let one_byte = value.iter().all(|&b| b == value[0]);
        self.for_each_run(|bytes| {
            if one_byte {
                bytes.fill(value[0]);
            } else {
                for element in bytes.chunks_exact_mut(value.len()) {
                    element.copy_from_slice(value);
                }
            }
        });
    }

    /// Copies a dense row-major array of the same shape into it.
    ///
    /// # Panics
    /// If `source` is shorter than its elements.
    pub fn paste(&mut self, source: &[u8]) {
        let mut rest = source;
        self.for_each_run(|bytes| {
            let (run, after) = rest.split_at(bytes.len());
            bytes.copy_from_slice(run);
            rest = after;
        });
    }

    /// Copies `region` of a dense row-major array of `shape` into it.
    ///
    /// # Panics
    /// If `source` is shorter than the array, or `region` has another shape than this.
    pub fn paste_part(&mut self, source: &[u8], shape: &[u64], region: &Region) {
        assert_eq!(region.shape, self.shape, "a part has the shape of the place it goes to");
        if region.is_empty() {
            return;
        }
        let size = self.dtype.size();
        let strides = row_major_strides(shape);
        let offset = |p: &[u64]| p.iter().zip(&strides).map(|(p, s)| p * s).sum::<u64>() as usize * size;
        let start = offset(&region.origin);
        // Runs that are dense on both sides: the last axes, up to one that is cut or strided.
        let (_, dense) = self.runs();
        let (mut axis, mut run) = (shape.len(), 1u64);
        while axis > 0 && run * region.shape[axis - 1] <= dense {
            axis -= 1;
            run *= region.shape[axis];
            if region.shape[axis] != shape[axis] {
                break;
            }
        }
        let run_bytes = run as usize * size;
        let from_strides: Vec<isize> = strides.iter().map(|&s| s as isize * size as isize).collect();
        let (bytes, to_start) = (&mut *self.bytes, self.start);
        walk(&region.shape[..axis], &from_strides, &self.strides, |from, to| {
            let (from, to) = (start.wrapping_add_signed(from), to_start.wrapping_add_signed(to));
            bytes[to..to + run_bytes].copy_from_slice(&source[from..from + run_bytes]);
        });
    }

    /// Calls `f` with each dense run of elements, in row-major order.
    pub fn for_each_run(&mut self, mut f: impl FnMut(&mut [u8])) {
        if self.shape.contains(&0) {
            return;
        }
        let (outer, run) = self.runs();
        let run_bytes = run as usize * self.dtype.size();
        let mut position = vec![0u64; outer];
        let mut at = self.start;
        loop {
            f(&mut self.bytes[at..at + run_bytes]);
            let mut axis = outer;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                position[axis] += 1;
                at = at.wrapping_add_signed(self.strides[axis]);
                if position[axis] < self.shape[axis] {
                    break;
                }
                at = at.wrapping_add_signed(-(self.strides[axis] * self.shape[axis] as isize));
                position[axis] = 0;
            }
        }
    }
}

/// Calls `f` with the offsets of every position of a box of `shape`, row-major, in two memories with
/// strides of their own.
pub(crate) fn walk(shape: &[u64], strides: &[isize], others: &[isize], mut f: impl FnMut(isize, isize)) {
    if shape.contains(&0) {
        return;
    }
    let mut position = vec![0u64; shape.len()];
    let (mut at, mut other) = (0, 0);
    loop {
        f(at, other);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            position[axis] += 1;
            at += strides[axis];
            other += others[axis];
            if position[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis] as isize;
            other -= others[axis] * shape[axis] as isize;
            position[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: &[u64]) -> Vec<u8> {
        (0..n_elements(shape)).flat_map(|i| (i as u16).to_ne_bytes()).collect()
    }

    #[test]
    fn parts_and_permutations_land_where_they_say() {
        let mut block = Block::new(Region::whole(&[2, 3, 4]), DType::Uint16).unwrap();
        block.target().fill(&7u16.to_ne_bytes());
        // Read a (4, 2) array, axes (x, t), into y = 1.
        let mut whole = block.target();
        let mut part = whole.part(&Region::new([0, 1, 0], [2, 1, 4]));
        part.permuted(&[2, 0]).paste(&counted(&[4, 2]));
        assert_eq!(block.elements::<u16>(), [7, 7, 7, 7, 0, 2, 4, 6, 7, 7, 7, 7, 7, 7, 7, 7, 1, 3, 5, 7, 7, 7, 7, 7]);
    }

    #[test]
    fn what_is_lacking_twice_counts_once() {
        let mut coverage = Coverage::default();
        for (origin, shape) in [([1, 1], [3, 3]), ([0, 2], [2, 1]), ([2, 0], [4, 6]), ([2, 0], [4, 6])] {
            coverage.lacks_also(Region::new(origin, shape));
        }
        assert_eq!(coverage.n_absent(), 9 + 1 + (24 - 6));
        let own = coverage.absent();
        assert!(own.iter().enumerate().all(|(i, one)| own[..i].iter().all(|other| one.intersect(other).is_none())));
        let (mut rows, region) = (Coverage::default(), Region::new([5, 10], [2, 4]));
        rows.lacks_where(&region, |i| [1, 2, 5, 6, 7].contains(&i));
        assert_eq!(rows.absent(), [Region::new([5, 11], [1, 2]), Region::new([6, 11], [1, 3])]);
    }

    #[test]
    fn negative_strides_walk_backwards() {
        let mut bytes = vec![0u8; 6];
        let mut target =
            Target { bytes: &mut bytes, start: 4, shape: vec![3], strides: vec![-2], dtype: DType::Uint16 };
        target.paste(&counted(&[3]));
        assert_eq!(bytemuck::cast_slice::<u8, u16>(&bytes), [2, 1, 0]);
    }

    #[test]
    fn dense_runs_join_across_axes() {
        let mut block = Block::new(Region::whole(&[3, 1, 4]), DType::Uint8).unwrap();
        let mut whole = block.target();
        assert_eq!(whole.dense_run(), 12);
        let mut n = 0;
        whole.for_each_run(|_| n += 1);
        assert_eq!(n, 1);
        assert_eq!(whole.part(&Region::new([0, 0, 1], [3, 1, 2])).dense_run(), 2);
    }

    proptest::proptest! {
        #[test]
        fn a_pasted_part_is_the_part(
            dims in proptest::collection::vec((1u64..6, 0u64..6, 1u64..6), 0..4), reversed: bool, gap: bool,
        ) {
            let shape: Vec<u64> = dims.iter().map(|d| d.0).collect();
            let origin: Vec<u64> = dims.iter().map(|d| d.1 % d.0).collect();
            let size: Vec<u64> = dims.iter().zip(&origin).map(|(d, o)| d.2.min(d.0 - o)).collect();
            let (source, region) = (counted(&shape), Region::new(origin, size));
            let strides = row_major_strides(&shape);
            let expected: Vec<u16> = crate::grid::positions(&region.shape)
                .map(|p| (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum::<u64>() as u16)
                .collect();
            // Into a place whose axes lie in another order, or with room between rows.
            let mut order: Vec<usize> = (0..shape.len()).collect();
            if reversed {
                order.reverse();
            }
            let mut place: Vec<u64> = order.iter().map(|&i| region.shape[i]).collect();
            if gap && let Some(last) = place.last_mut() {
                *last += 1;
            }
            let mut block = Block::new(Region::whole(&place), DType::Uint16).unwrap();
            let mut whole = block.target();
            let inner: Vec<u64> = order.iter().map(|&i| region.shape[i]).collect();
            let mut part = whole.part(&Region::whole(&inner));
            let mut part = part.permuted(&order);
            part.paste_part(&source, &shape, &region);
            let found: Vec<u16> = crate::grid::positions(&region.shape)
                .map(|p| part.offset(&p))
                .map(|at| u16::from_ne_bytes([part.bytes[at], part.bytes[at + 1]]))
                .collect();
            proptest::prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_view_has_the_shape_of_the_region() {
        let mut block = Block::new(Region::new([7, 0], [2, 3]), DType::Uint16).unwrap();
        block.target().paste(&counted(&[2, 3]));
        let view = block.view::<u16>();
        assert_eq!(view.shape(), [2, 3]);
        assert_eq!(view[[1, 2]], 5);
    }

    #[test]
    fn a_block_beyond_memory_is_refused() {
        assert!(Block::new(Region::whole(&[u64::MAX, 9]), DType::Uint8).is_err());
    }
}
