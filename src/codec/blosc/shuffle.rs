//! The rearrangements before compression, as Blosc 1 defines them.
//!
//! *Byte shuffle*: of `n` elements of `size` bytes, all first bytes, then all second bytes, and so on.
//! *Bit shuffle*: every such byte plane is cut further into eight bit planes, the lowest bit first; bit `i` of
//! byte `k` of a plane belongs to element `8 k + i`. Bytes behind the last whole element stay where they are;
//! a block whose number of elements is no multiple of 8 is not bit-shuffled at all.
//!
//! Source: README_CHUNK_FORMAT.rst and `blosc_internal_bitshuffle` of c-blosc 1.21.

use super::Shuffle;
use super::kernels::Kernels;

/// Bytes that are rearranged at a time: with what is made of them they fit a core's first cache.
const TILE_BYTES: usize = 8 << 10;

/// A rearranger with its memory.
pub(super) struct Shuffler {
    kernels: &'static Kernels,
    scratch: Vec<u8>,
}

impl Default for Shuffler {
    fn default() -> Self {
        Self::with(Kernels::best())
    }
}

impl Shuffler {
    /// One that uses `kernels`.
    pub(super) fn with(kernels: &'static Kernels) -> Self {
        Self { kernels, scratch: vec![] }
    }

    /// The most memory that one keeps for elements of `size` bytes.
    pub(super) fn scratch_bytes(size: usize) -> usize {
        2 * tile_elements(size) * size
    }

    /// Rearranges `block`, elements of `size` bytes, into `out` of the same length.
    pub(super) fn forward(&mut self, shuffle: Shuffle, size: usize, block: &[u8], out: &mut [u8]) {
        let Some(n) = elements(shuffle, size, block.len()) else { return out.copy_from_slice(block) };
        let kernels = self.kernels;
        self.scratch.resize(Self::scratch_bytes(size), 0);
        let (whole, rest) = block.split_at(n * size);
        let (planes, end) = out.split_at_mut(n * size);
        end.copy_from_slice(rest);
        for (tile_index, tile) in whole.chunks(tile_elements(size) * size).enumerate() {
            let first = tile_index * tile_elements(size);
            let mut emit = |plane: usize, bytes: &[u8]| match shuffle {
                Shuffle::Bit => kernels.bits(bytes, &mut planes[plane * n + first / 8..], n / 8),
                _ => planes[plane * n + first..][..bytes.len()].copy_from_slice(bytes),
            };
            spread(kernels, tile, size, &mut self.scratch, (0, 1), &mut emit);
        }
    }

    /// Puts the elements of `size` bytes in `block` back in order, into `out` of the same length.
    pub(super) fn backward(&mut self, shuffle: Shuffle, size: usize, block: &[u8], out: &mut [u8]) {
        let Some(n) = elements(shuffle, size, block.len()) else { return out.copy_from_slice(block) };
        let kernels = self.kernels;
        self.scratch.resize(Self::scratch_bytes(size), 0);
        let (planes, rest) = block.split_at(n * size);
        let (whole, end) = out.split_at_mut(n * size);
        end.copy_from_slice(rest);
        for (tile_index, tile) in whole.chunks_mut(tile_elements(size) * size).enumerate() {
            let first = tile_index * tile_elements(size);
            let mut fetch = |plane: usize, bytes: &mut [u8]| match shuffle {
                Shuffle::Bit => kernels.unbits(&planes[plane * n + first / 8..], n / 8, bytes),
                _ => bytes.copy_from_slice(&planes[plane * n + first..][..bytes.len()]),
            };
            collect(kernels, tile, size, &mut self.scratch, (0, 1), &mut fetch);
        }
    }
}

/// Elements of `size` bytes that are rearranged in a block of `n_bytes`; none if it stays as it is.
fn elements(shuffle: Shuffle, size: usize, n_bytes: usize) -> Option<usize> {
    let n = n_bytes / size;
    let moves = match shuffle {
        Shuffle::None => false,
        Shuffle::Byte => size > 1,
        Shuffle::Bit => n.is_multiple_of(8),
    };
    (moves && n > 0).then_some(n)
}

/// Elements of a tile: a multiple of 512, for the widest kernels.
fn tile_elements(size: usize) -> usize {
    (TILE_BYTES / size).next_multiple_of(512)
}

/// Hands the byte planes of `tile` to `emit` with their numbers: `first`, `first + step` and so on.
fn spread(
    kernels: &Kernels,
    tile: &[u8],
    size: usize,
    scratch: &mut [u8],
    (first, step): (usize, usize),
    emit: &mut dyn FnMut(usize, &[u8]),
) {
    if size == 1 {
        emit(first, tile);
    } else if size.is_multiple_of(2) {
        let (even, scratch) = scratch.split_at_mut(tile.len() / 2);
        let (odd, scratch) = scratch.split_at_mut(tile.len() / 2);
        kernels.split(tile, even, odd);
        spread(kernels, even, size / 2, scratch, (first, 2 * step), emit);
        spread(kernels, odd, size / 2, scratch, (first + step, 2 * step), emit);
    } else {
        let plane = &mut scratch[..tile.len() / size];
        for byte in 0..size {
            plane.iter_mut().zip(tile[byte..].iter().step_by(size)).for_each(|(to, from)| *to = *from);
            emit(first + byte * step, plane);
        }
    }
}

/// Fills `tile` from its byte planes, which `fetch` gives by number: the inverse of [`spread`].
fn collect(
    kernels: &Kernels,
    tile: &mut [u8],
    size: usize,
    scratch: &mut [u8],
    (first, step): (usize, usize),
    fetch: &mut dyn FnMut(usize, &mut [u8]),
) {
    if size == 1 {
        fetch(first, tile);
    } else if size.is_multiple_of(2) {
        let (even, scratch) = scratch.split_at_mut(tile.len() / 2);
        let (odd, scratch) = scratch.split_at_mut(tile.len() / 2);
        collect(kernels, even, size / 2, scratch, (first, 2 * step), fetch);
        collect(kernels, odd, size / 2, scratch, (first + step, 2 * step), fetch);
        kernels.join(even, odd, tile);
    } else {
        let plane = &mut scratch[..tile.len() / size];
        for byte in 0..size {
            fetch(first + byte * step, plane);
            tile[byte..].iter_mut().step_by(size).zip(plane.iter()).for_each(|(to, from)| *to = *from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the specification says, one bit at a time.
    fn by_definition(shuffle: Shuffle, size: usize, block: &[u8]) -> Vec<u8> {
        let Some(n) = elements(shuffle, size, block.len()) else { return block.to_vec() };
        let mut out = vec![0; block.len()];
        out[n * size..].copy_from_slice(&block[n * size..]);
        for element in 0..n {
            for byte in 0..size {
                let value = block[element * size + byte];
                if shuffle == Shuffle::Byte {
                    out[byte * n + element] = value;
                    continue;
                }
                for bit in 0..8 {
                    out[(byte * 8 + bit) * (n / 8) + element / 8] |= (value >> bit & 1) << (element % 8);
                }
            }
        }
        out
    }

    #[test]
    fn every_set_of_instructions_does_what_the_definition_says() {
        let noise: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        let sets: Vec<_> = Kernels::all().collect();
        println!("{sets:?}");
        for size in [1, 2, 3, 4, 6, 7, 8, 12, 16, 17, 32, 255] {
            for n in [0, 1, 7, 8, 16, 24, 64, 72, 520, 1024, 4104, 9000] {
                for more in [0, size / 2] {
                    let block = &noise[..(n * size + more).min(noise.len())];
                    for shuffle in [Shuffle::None, Shuffle::Byte, Shuffle::Bit] {
                        let expected = by_definition(shuffle, size, block);
                        for kernels in &sets {
                            let mut shuffler = Shuffler::with(kernels);
                            let mut there = vec![0xa5; block.len()];
                            shuffler.forward(shuffle, size, block, &mut there);
                            assert!(there == expected, "{kernels:?} {shuffle:?} {size} {n} {more}");
                            let mut back = vec![0xa5; block.len()];
                            shuffler.backward(shuffle, size, &there, &mut back);
                            assert!(back == block, "{kernels:?} {shuffle:?} {size} {n} {more}: back");
                        }
                    }
                }
            }
        }
    }
}
