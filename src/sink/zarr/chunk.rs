//! From a block to the bytes of one chunk: cut out, padded to full size, little-endian.

use std::borrow::Cow;

use crate::block::{Block, Buffer, Target};
use crate::grid::{Region, row_major_strides};

/// The bytes of the chunk of shape `cell` whose elements within the array are `region`.
///
/// They are borrowed from `block` where they lie there as they are wanted, and else gathered in `buffer`,
/// elements outside `region` holding `fill`.
///
/// # Panics
/// If `block` does not cover `region`.
pub(crate) fn gather<'a>(
    block: &'a Block,
    region: &Region,
    cell: &[u64],
    fill: &[u8],
    buffer: &'a mut Buffer,
) -> Cow<'a, [u8]> {
    let dtype = block.dtype();
    let size = dtype.size();
    let from = region.relative_to(&block.region().origin);
    let strides = row_major_strides(&block.region().shape);
    let offset = |p: &[u64]| p.iter().zip(&strides).map(|(&p, &s)| p * s).sum::<u64>() as usize * size;
    let start = offset(&from.origin);
    let n_bytes = crate::block::size_bytes(cell, dtype) as usize;
    let little = cfg!(target_endian = "little") || dtype.swap_size() == 1;
    if little && region.shape == cell && lies_densely(cell, &block.region().shape) {
        return Cow::Borrowed(&block.bytes()[start..start + n_bytes]);
    }
    let bytes = buffer.sized(n_bytes);
    let mut target = Target::dense(bytes, cell, dtype);
    if region.shape != cell {
        target.fill(fill);
    }
    let mut part = target.part(&Region::whole(&region.shape));
    part.paste_part(block.bytes(), &block.region().shape, &from);
    if !little {
        for unit in buffer.bytes_mut().chunks_exact_mut(dtype.swap_size()) {
            unit.reverse();
        }
    }
    Cow::Borrowed(buffer.bytes())
}

/// Whether a box of `cell` in a row-major array of `shape` is one run of memory: at most one axis is cut,
/// and all axes before it have length 1 in the box.
fn lies_densely(cell: &[u64], shape: &[u64]) -> bool {
    let whole = (0..cell.len()).rev().take_while(|&i| cell[i] == shape[i]).count();
    let cut = cell.len() - whole;
    cut == 0 || cell[..cut - 1].iter().all(|&n| n == 1)
}

/// Whether `bytes` is `value` again and again, bit for bit.
pub(crate) fn holds_only(bytes: &[u8], value: &[u8]) -> bool {
    bytes.len() >= value.len()
        && bytes[..value.len()] == *value
        && bytes[value.len()..] == bytes[..bytes.len() - value.len()]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dtype::DType;
    use crate::grid::{Grid, positions};

    proptest! {
        #[test]
        fn a_chunk_holds_its_elements_and_fill(
            dims in prop::collection::vec((1u64..9, 1u64..5), 0..4),
        ) {
            let (shape, cell): (Vec<_>, Vec<_>) = dims.into_iter().unzip();
            let mut block = Block::new(Region::whole(&shape), DType::Uint16).unwrap();
            for (i, e) in block.elements_mut::<u16>().iter_mut().enumerate() {
                *e = i as u16;
            }
            let (grid, strides) = (Grid::new(&shape, &cell), row_major_strides(&shape));
            for at in positions(grid.counts()) {
                let region = grid.region(&at);
                let mut buffer = Buffer::default();
                let chunk = gather(&block, &region, &cell, &999u16.to_ne_bytes(), &mut buffer);
                let mut bytes = chunk.chunks_exact(2);
                for p in positions(&cell) {
                    let inside = (0..p.len()).all(|i| p[i] < region.shape[i]);
                    let index: u64 = (0..p.len()).map(|i| (p[i] + region.origin[i]) * strides[i]).sum();
                    let expected = if inside { index as u16 } else { 999 };
                    prop_assert_eq!(bytes.next().unwrap(), expected.to_le_bytes());
                }
                prop_assert!(bytes.next().is_none());
            }
        }
    }

    #[test]
    fn only_fill_is_meant_bit_for_bit() {
        assert!(holds_only(&[1, 2, 1, 2, 1, 2], &[1, 2]));
        assert!(!holds_only(&[1, 2, 1, 2, 1, 3], &[1, 2]));
        let zeros = [0f32, -0.0].map(f32::to_le_bytes).concat();
        assert!(!holds_only(&zeros, &[0; 4]));
    }
}
