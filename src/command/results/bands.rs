//! Blocks put together before they are written.

use crate::block::{Block, size_bytes};
use crate::dtype::DType;
use crate::error::Result;
use crate::grid::{Grid, Region};

/// Puts blocks that come tile after tile together to bands: boxes that follow one another without a gap in a
/// row-major array.
pub(super) struct Bands {
    grid: Grid,
    /// The band in hand, its number, and how many of its elements have come.
    block: Block,
    number: u64,
    n_arrived: u64,
}

/// Shape of the bands that tiles of shape `tile`, which come in row-major order, fill one by one.
pub(super) fn band_shape(shape: &[u64], tile: &[u64]) -> Vec<u64> {
    let cut = tile.iter().position(|&n| n > 1).unwrap_or(tile.len());
    shape.iter().zip(tile).enumerate().map(|(i, (&length, &n))| if i > cut { length } else { n }).collect()
}

impl Bands {
    /// Bands of `band` of an array of `shape`.
    pub(super) fn new(shape: &[u64], band: &[u64], dtype: DType) -> Result<Self> {
        let cell: Vec<u64> = band.iter().map(|&n| n.max(1)).collect();
        let grid = Grid::new(shape, &cell);
        let first = if grid.is_empty() { Region::whole(shape) } else { grid.region(&grid.unravel(0)) };
        Ok(Self { grid, block: Block::new(first, dtype)?, number: 0, n_arrived: 0 })
    }

    /// Takes the block of the next tile; `full` is given each band that is complete.
    pub(super) fn add(&mut self, part: &Block, full: impl FnOnce(&Block) -> Result<()>) -> Result<()> {
        let region = part.region().relative_to(&self.block.region().origin);
        self.block.target().part(&region).paste(part.bytes());
        self.n_arrived += region.n_elements();
        if self.n_arrived < self.block.region().n_elements() {
            return Ok(());
        }
        full(&self.block)?;
        self.number += 1;
        if self.number < self.grid.len() {
            self.n_arrived = 0;
            let next = self.grid.region(&self.grid.unravel(self.number));
            let (empty, dtype) = (Region::new([0], [0]), self.block.dtype());
            let last = std::mem::replace(&mut self.block, Block::new(empty, dtype)?);
            self.block = Block::reusing(last.into_buffer(), next, dtype)?;
        }
        Ok(())
    }

    /// The last band: the array, if it is all one.
    pub(super) fn into_block(self) -> Block {
        self.block
    }
}

/// Memory of a band and of what writing it takes, in bytes.
pub(super) fn band_bytes(band: &[u64], dtype: DType) -> u64 {
    size_bytes(band, dtype).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_follow_one_another() {
        let shape = [2, 3, 5, 7];
        for tile in [[1, 1, 2, 3], [1, 2, 2, 7], [2, 1, 1, 1], [1, 1, 1, 4], [1, 1, 1, 1]] {
            let band = band_shape(&shape, &tile);
            let mut bands = Bands::new(&shape, &band, DType::Uint8).unwrap();
            let tiles = Grid::new(&shape, &tile);
            let (mut written, mut value) = (Vec::new(), 0u8);
            let mut truth = vec![0; 210];
            for index in 0..tiles.len() {
                let region = tiles.region(&tiles.unravel(index));
                let mut block = Block::new(region.clone(), DType::Uint8).unwrap();
                for element in block.bytes_mut() {
                    *element = value;
                    value = value.wrapping_add(1);
                }
                crate::block::Target::dense(&mut truth, &shape, DType::Uint8).part(&region).paste(block.bytes());
                bands
                    .add(&block, |band| {
                        written.extend_from_slice(band.bytes());
                        Ok(())
                    })
                    .unwrap();
            }
            assert_eq!(written, truth, "{tile:?}");
        }
        assert_eq!(band_shape(&shape, &[1, 1, 2, 3]), [1, 1, 2, 7]);
        assert_eq!(band_shape(&shape, &[2, 1, 1, 1]), [2, 3, 5, 7]);
    }
}
