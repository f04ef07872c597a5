//! Shapes of chunks and shards when none are asked for. Pure arithmetic.

use crate::axis::{Axis, AxisKind};
use crate::block::size_bytes;
use crate::dtype::DType;
use crate::grid::{Grid, n_elements};

/// Files that an output has at most, when shards can keep it to that.
pub const DEFAULT_MAX_FILES: u64 = 10_000;

/// A chunk is not larger: about what a viewer fetches at once.
const MOST_CHUNK_BYTES: u64 = 2 << 20;
/// Below this, chunks take in neighbours along axes other than those of space.
const FEW_CHUNK_BYTES: u64 = 256 << 10;
/// A shard is not larger: what one file of a large microscope run holds, and what is lost with one file.
const MOST_SHARD_BYTES: u64 = 1 << 30;
/// Below this, shards take in neighbouring volumes.
const FEW_SHARD_BYTES: u64 = 128 << 20;
/// Most chunks that a shard is given unasked, so that its index stays a small read.
const MOST_CHUNKS: u64 = 1 << 16;

/// Shape of a chunk that suits an array of `axes`: cubes of (16, 256, 256) in volumes, squares of 1024 in
/// planes, less for wide elements.
///
/// `unit` is the shape of what the source stores as one piece, in the same axes: a chunk's rows and columns
/// are cut where its tiles are, if they are of a suitable size. No chunk is longer than its axis.
pub fn default_chunks(axes: &[Axis], dtype: DType, unit: &[u64]) -> Vec<u64> {
    let length = |i: usize| axes[i].length.max(1);
    // Samples that are stored together are decoded together, and once.
    let together =
        |i: usize| if axes[i].kind == AxisKind::Channel { unit.get(i).map_or(1, |&u| u.min(length(i))) } else { 1 };
    let mut chunk: Vec<u64> = (0..axes.len()).map(|i| together(i).max(1)).collect();
    let space: Vec<usize> = (0..axes.len()).filter(|&i| axes[i].kind == AxisKind::Space).collect();
    // Without axes of space the last ones take their part.
    let space = if space.is_empty() { (axes.len().saturating_sub(2)..axes.len()).collect() } else { space };
    let (deep, plane) = space.split_at(space.len().saturating_sub(2));
    let is_deep = deep.iter().any(|&i| length(i) > 1);
    for &i in plane {
        chunk[i] = fit(length(i), if is_deep { 256 } else { 1024 }, unit.get(i).copied());
    }
    if let Some(&z) = deep.last() {
        chunk[z] = fit(length(z), 16, None);
    }
    // Wide elements: fewer planes first, then smaller planes.
    while size_bytes(&chunk, dtype) > MOST_CHUNK_BYTES {
        let longest = deep.last().copied().filter(|&z| chunk[z] > 4);
        let longest = longest.or_else(|| plane.iter().copied().rev().max_by_key(|&i| chunk[i]));
        match longest {
            Some(i) if chunk[i] > 1 => chunk[i] = chunk[i].div_ceil(2),
            _ => break,
        }
    }
    // Short axes leave room for others: planes, kept square, before depth, and last anything but channels.
    let mut stretch = |axes: &mut dyn Iterator<Item = usize>, enough: u64| {
        let candidates: Vec<usize> = axes.collect();
        while size_bytes(&chunk, dtype) < enough {
            let open = candidates.iter().copied().filter(|&i| chunk[i] < length(i));
            let Some(i) = open.min_by_key(|&i| chunk[i]) else { break };
            chunk[i] = (chunk[i] * 2).min(length(i));
        }
    };
    stretch(&mut plane.iter().rev().copied(), MOST_CHUNK_BYTES / 4);
    stretch(&mut deep.iter().rev().copied(), MOST_CHUNK_BYTES / 4);
    let others = (0..axes.len()).rev().filter(|i| !space.contains(i) && axes[*i].kind != AxisKind::Channel);
    for i in others {
        stretch(&mut std::iter::once(i), FEW_CHUNK_BYTES);
    }
    chunk
}

/// A length of about `wished` that cuts `length` with little left over, on borders of `unit` where those
/// exist.
fn fit(length: u64, wished: u64, unit: Option<u64>) -> u64 {
    if length <= wished {
        return length;
    }
    match unit.filter(|&u| u < length && u >= 32) {
        Some(u) if u <= wished => return (wished / u * u).min(length),
        Some(u) if u <= 4 * wished => return u.div_ceil(u.div_ceil(wished)),
        _ => {}
    }
    // A last chunk that is mostly padding costs time: cut evenly instead, in multiples of 16.
    let count = length.div_ceil(wished);
    if count * wished * 4 > length * 5 { length.div_ceil(count).next_multiple_of(16).min(wished) } else { wished }
}

/// Shape of a shard for an array of `axes` in `chunks`: the whole of z, y and x up to 1 GiB, several such
/// volumes where they are small, and more where there would be above `max_files` files. A multiple of the
/// chunk along every axis.
pub fn default_shards(axes: &[Axis], chunks: &[u64], dtype: DType, max_files: u64) -> Vec<u64> {
    let shape = crate::axis::shape(axes);
    let counts: Vec<u64> = Grid::new(&shape, chunks).counts().iter().map(|n| (*n).max(1)).collect();
    let chunk_bytes = size_bytes(chunks, dtype).max(1);
    // In chunks from here on.
    let mut shard = vec![1u64; axes.len()];
    let grow = |shard: &mut Vec<u64>, order: &[usize], most_bytes: u64| {
        for &i in order {
            let others = n_elements(shard) / shard[i];
            let room = (most_bytes / chunk_bytes).min(MOST_CHUNKS) / others;
            if room > shard[i] {
                // As even as can be: 26 chunks with room for 20 are 2 times 13.
                let n = counts[i].div_ceil(room.min(counts[i]));
                shard[i] = counts[i].div_ceil(n).max(shard[i]);
            }
            if shard[i] < counts[i] {
                return;
            }
        }
    };
    let (space, others): (Vec<usize>, Vec<usize>) =
        (0..axes.len()).rev().partition(|&i| axes[i].kind == AxisKind::Space);
    grow(&mut shard, &space, MOST_SHARD_BYTES);
    let whole_volume = space.iter().all(|&i| shard[i] == counts[i]);
    if whole_volume {
        grow(&mut shard, &others, FEW_SHARD_BYTES);
    }
    // Too many files: let shards grow beyond what is handy.
    let order: Vec<usize> = space.iter().chain(&others).copied().collect();
    let n_files =
        |shard: &[u64]| n_elements(&counts.iter().zip(shard).map(|(n, s)| n.div_ceil(*s)).collect::<Vec<_>>());
    while n_files(&shard) > max_files.max(1) {
        let Some(&i) = order.iter().find(|&&i| shard[i] < counts[i]) else { break };
        let doubled = (shard[i] * 2).min(counts[i]);
        if n_elements(&shard) / shard[i] * doubled > super::array::MAX_CHUNKS_PER_SHARD {
            break;
        }
        shard[i] = doubled;
    }
    shard.iter().zip(chunks).map(|(n, c)| n * c).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(names: &str, shape: &[u64]) -> Vec<Axis> {
        names.chars().zip(shape).map(|(c, &n)| Axis::new(c, n)).collect()
    }

    fn chunks(names: &str, shape: &[u64], dtype: DType) -> Vec<u64> {
        default_chunks(&axes(names, shape), dtype, &[])
    }

    #[test]
    fn chunks_suit_the_axes() {
        use DType::*;
        assert_eq!(chunks("tczyx", &[199, 3, 201, 1024, 768], Uint16), [1, 1, 16, 256, 256]);
        assert_eq!(chunks("tczyx", &[199, 3, 201, 1024, 768], Float32), [1, 1, 8, 256, 256]);
        assert_eq!(chunks("tczyx", &[199, 3, 201, 1024, 768], Complex128), [1, 1, 4, 128, 256]);
        assert_eq!(chunks("tcyx", &[9, 3, 2048, 2048], Uint16), [1, 1, 1024, 1024]);
        assert_eq!(chunks("tczyx", &[9, 3, 1, 2048, 2048], Uint16), [1, 1, 1, 1024, 1024]);
        assert_eq!(chunks("yx", &[100, 130], Uint8), [100, 130]);
        assert_eq!(chunks("tzyx", &[9, 3, 2000, 2000], Uint16), [1, 3, 256, 512]);
        assert_eq!(chunks("tyx", &[10_000, 64, 64], Uint16), [32, 64, 64]);
        assert_eq!(chunks("zyx", &[5, 300, 300], Uint16), [5, 300, 300]);
        assert_eq!(chunks("zyx", &[100, 300, 300], Uint16), [16, 160, 160]);
        assert_eq!(chunks("t", &[10_000_000], Float64), [65_536]);
        assert_eq!(chunks("", &[], Float64), [0u64; 0]);
        assert_eq!(chunks("zyx", &[0, 300, 300], Uint16), [1, 300, 300]);
    }

    #[test]
    fn chunks_follow_tiles() {
        let tiled = |unit: &[u64]| default_chunks(&axes("cyx", &[3, 5000, 5000]), DType::Uint16, unit);
        assert_eq!(tiled(&[1, 512, 512]), [1, 1024, 1024]);
        assert_eq!(tiled(&[1, 240, 240]), [1, 960, 960]);
        assert_eq!(tiled(&[1, 1536, 1536]), [1, 768, 768]);
        assert_eq!(tiled(&[1, 1, 5000]), [1, 1024, 1024]);
        assert_eq!(tiled(&[3, 256, 256])[0], 3);
    }

    fn shards(names: &str, shape: &[u64], chunks: &[u64], max_files: u64) -> Vec<u64> {
        default_shards(&axes(names, shape), chunks, DType::Uint16, max_files)
    }

    #[test]
    fn shards_hold_a_volume() {
        let many = DEFAULT_MAX_FILES;
        assert_eq!(shards("tczyx", &[199, 3, 201, 1024, 768], &[1, 1, 16, 256, 256], many), [1, 1, 208, 1024, 768]);
        // 16 GiB volumes: whole planes, even in z.
        assert_eq!(shards("tzyx", &[9, 2000, 2048, 2048], &[1, 16, 256, 256], many), [1, 128, 2048, 2048]);
        // Planes of 8 MiB: fifteen of them, in one channel after the other.
        assert_eq!(shards("tcyx", &[100, 2, 2048, 2048], &[1, 1, 1024, 1024], many), [8, 2, 2048, 2048]);
        assert_eq!(shards("yx", &[10, 10], &[10, 10], many), [10, 10]);
        assert_eq!(shards("", &[], &[], many), [0u64; 0]);
        assert_eq!(shards("tyx", &[0, 10, 10], &[1, 10, 10], many), [1, 10, 10]);
    }

    #[test]
    fn shards_grow_until_the_files_are_few() {
        let shape = [100_000, 1, 201, 1024, 768];
        let shard = shards("tczyx", &shape, &[1, 1, 16, 256, 256], 1000);
        assert!(Grid::new(&shape, &shard).len() <= 1000);
        assert_eq!(shard[2..], [208, 1024, 768]);
    }
}
