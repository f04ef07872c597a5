//! A digest of an array's elements that does not depend on how they come: CRC-64/NVME of all elements, row-major and
//! little-endian, put together of boxes in any order.
//!
//! A CRC is linear: the bytes of a box add to it what they would add if all others were zero, which is their own
//! remainder, moved by the number of bytes that follow. What boxes add is joined by exclusive or.

use crate::block::{Block, size_bytes};
use crate::crc::{Crc64Nvme, Move, remainder};
use crate::dtype::DType;
use crate::grid::{Region, n_elements, row_major_strides};

/// Elements that lie apart are collected in runs of so many bytes.
const GATHERED_BYTES: u64 = 16 << 10;

/// Planes from this length on are runs of their own.
const PLANE_BYTES: u64 = 4 << 10;

/// Elements of a region that lie somewhere in memory.
pub struct Elements<'a> {
    /// Where they lie, in native byte order.
    pub bytes: &'a [u8],
    /// Where the first of them begins.
    pub start: usize,
    /// Distances in bytes between neighbours along each axis.
    pub strides: &'a [isize],
    /// Their type.
    pub dtype: DType,
}

/// What `elements` of `region` add to the digest of an array of `shape`; `remainder_of` gives what a run leaves that
/// lies in their memory so, from where, so many bytes.
pub fn part(
    shape: &[u64],
    region: &Region,
    elements: &Elements<'_>,
    mut remainder_of: impl FnMut(usize, usize) -> u64,
) -> u64 {
    if region.is_empty() {
        return 0;
    }
    let size = elements.dtype.size() as u64;
    let strides: Vec<u64> = row_major_strides(shape).iter().map(|s| s.saturating_mul(size)).collect();
    let (axis, is_dense) = run(shape, region, elements);
    let (outer, inner) = region.shape.split_at(axis);
    let run_bytes = n_elements(inner) * size;
    // From the end of a run to the end of the next one, by the axis that goes on.
    let back: Vec<u64> = (0..axis).map(|i| (i + 1..axis).map(|j| (outer[j] - 1) * strides[j]).sum()).collect();
    let moves: Vec<Move> =
        (0..axis).map(|i| Crc64Nvme::past(if outer[i] > 1 { strides[i] - back[i] } else { 0 })).collect();
    let (mut at, mut gathered, mut sum) = (vec![0; axis], Vec::new(), 0);
    loop {
        let start = at.iter().zip(elements.strides).map(|(n, s)| *n as isize * s).sum::<isize>();
        let start = elements.start.wrapping_add_signed(start);
        sum ^= match is_dense {
            true => remainder_of(start, run_bytes as usize),
            false => {
                gathered.clear();
                gather(&mut gathered, inner, start, &elements.strides[axis..], elements);
                remainder(&gathered)
            }
        };
        let Some(next) = (0..axis).rev().find(|&i| at[i] + 1 < outer[i]) else { break };
        at[next] += 1;
        at[next + 1..].fill(0);
        sum = moves[next].of(sum);
    }
    let last: u64 = (0..axis).map(|i| (region.end(i) - 1) * strides[i]).sum();
    let first: u64 = (axis..shape.len()).map(|i| region.origin[i] * strides[i]).sum();
    let end = last + first + run_bytes;
    Crc64Nvme::product(sum, Crc64Nvme::followed_by(n_elements(shape) * size - end))
}

/// What a block adds to the digest of an array of `shape`.
pub fn of_block(shape: &[u64], block: &Block) -> u64 {
    of_inside(shape, block.region(), block, 0)
}

/// What plane number `i` of a block, which the last two axes span, adds to the digest of the whole plane of an array of
/// `shape`.
pub fn of_plane(shape: &[u64], block: &Block, i: usize) -> u64 {
    let (n_outer, region) = (shape.len() - 2, block.region());
    let part = Region::new(&region.origin[n_outer..], &region.shape[n_outer..]);
    let start = i * size_bytes(&part.shape, block.dtype()) as usize;
    of_inside(&shape[n_outer..], &part, block, start)
}

/// What `region` of an array of `shape` adds to its digest, whose elements lie in `block` from `start` on.
fn of_inside(shape: &[u64], region: &Region, block: &Block, start: usize) -> u64 {
    let (bytes, dtype) = (block.bytes(), block.dtype());
    let strides: Vec<isize> =
        row_major_strides(&region.shape).iter().map(|s| *s as isize * dtype.size() as isize).collect();
    let elements = Elements { bytes, start, strides: &strides, dtype };
    part(shape, region, &elements, |start, n_bytes| block.remainder(start, n_bytes))
}

/// From which axis on a region's elements follow one another in the array, and whether they do in memory too: in runs
/// that end with planes if these are long enough, as others look at planes too. Those that lie apart in memory are to be
/// gathered, not too many at once.
fn run(shape: &[u64], region: &Region, elements: &Elements<'_>) -> (usize, bool) {
    let size = elements.dtype.size() as u64;
    let along = |dense: bool| {
        let (mut axis, mut bytes) = (shape.len(), size);
        while axis > 0 {
            let n = region.shape[axis - 1];
            let fits = if dense {
                let is_plane = axis + 2 == shape.len() && bytes >= PLANE_BYTES;
                n == 1 || !is_plane && elements.strides[axis - 1] == bytes as isize
            } else {
                bytes * n <= GATHERED_BYTES
            };
            if !fits {
                break;
            }
            (axis, bytes) = (axis - 1, bytes * n);
            if n != shape[axis] {
                break;
            }
        }
        (axis, bytes)
    };
    let swapped = cfg!(target_endian = "big") && elements.dtype.swap_size() > 1;
    match along(true) {
        (axis, bytes) if !swapped && (bytes >= 256 || bytes >= along(false).1) => (axis, true),
        _ => (along(false).0, false),
    }
}

/// Adds elements to `out`, row-major and little-endian.
fn gather(out: &mut Vec<u8>, shape: &[u64], start: usize, strides: &[isize], elements: &Elements<'_>) {
    match (shape.split_first(), strides.split_first()) {
        (Some((n, shape)), Some((stride, strides))) => {
            (0..*n as isize).for_each(|i| gather(out, shape, start.wrapping_add_signed(i * stride), strides, elements))
        }
        _ => {
            let (first, size) = (out.len(), elements.dtype.size());
            out.extend_from_slice(&elements.bytes[start..start + size]);
            if cfg!(target_endian = "big") {
                out[first..].chunks_exact_mut(elements.dtype.swap_size()).for_each(<[u8]>::reverse);
            }
        }
    }
}

/// The digest of `n_bytes` whose parts add up to `sum`: that of a sum of zero, with the sum added.
pub fn whole(sum: u64, n_bytes: u64) -> u64 {
    !(sum ^ Crc64Nvme::product(u64::MAX, Crc64Nvme::followed_by(n_bytes)))
}

/// As it is written: 16 hexadecimal digits.
pub fn text(digest: u64) -> String {
    format!("{digest:016x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grid::{Grid, positions};

    fn elements<'a>(bytes: &'a [u8], start: usize, strides: &'a [isize]) -> Elements<'a> {
        Elements { bytes, start, strides, dtype: DType::Uint16 }
    }

    /// The check value of the catalogue of parametrised CRC algorithms.
    #[test]
    fn digits_have_the_known_digest() {
        let bytes = b"123456789";
        let digits = Elements { bytes, start: 0, strides: &[1], dtype: DType::Uint8 };
        assert_eq!(whole(part(&[9], &Region::whole(&[9]), &digits, |_, _| remainder(bytes)), 9), 0xae8b_1486_0a79_9888);
        assert_eq!(whole(0, 0), 0);
    }

    proptest! {
        #[test]
        fn any_cutting_has_the_digest_of_the_whole(
            dims in prop::collection::vec((1u64..7, 1u64..7), 1..5), seed: u64, reversed: bool,
        ) {
            let (shape, cell): (Vec<u64>, Vec<u64>) = dims.into_iter().unzip();
            let n = n_elements(&shape) as usize;
            let bytes: Vec<u8> = (0..2 * n as u64).map(|i| (i.wrapping_mul(seed | 1) >> 7) as u8).collect();
            let strides: Vec<isize> = row_major_strides(&shape).iter().map(|s| 2 * *s as isize).collect();
            let expected = crc_fast::crc64_nvme(&bytes);
            // The last axis may lie slowest in memory.
            let mut placed = strides.clone();
            let mut memory = bytes.clone();
            if reversed {
                let mut order: Vec<u64> = shape.clone();
                order.rotate_right(1);
                placed = row_major_strides(&order).iter().map(|s| 2 * *s as isize).collect();
                placed.rotate_left(1);
                for p in positions(&shape) {
                    let at = |s: &[isize]| p.iter().zip(s).map(|(p, s)| *p as isize * s).sum::<isize>() as usize;
                    let (from, to) = (at(&strides), at(&placed));
                    memory[to..to + 2].copy_from_slice(&bytes[from..from + 2]);
                }
            }
            let grid = Grid::new(&shape, &cell);
            let sum = (0..grid.len()).rev().fold(0, |sum, i| {
                let region = grid.region(&grid.unravel(i));
                let start: isize = region.origin.iter().zip(&placed).map(|(o, s)| *o as isize * s).sum();
                let elements = elements(&memory, start as usize, &placed);
                sum ^ part(&shape, &region, &elements, |at, n| remainder(&memory[at..at + n]))
            });
            prop_assert_eq!(whole(sum, 2 * n as u64), expected);
        }
    }
}
