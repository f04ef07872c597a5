//! The encoder for Zstandard behind a shuffle: looks at every plane of a block by itself and spends time only where
//! it pays.
//!
//! A bit plane, or byte plane, of a picture is either the same byte throughout, or noise that nothing shortens, or
//! bytes of uneven frequency without repetitions, or structured. These become a repeated byte, raw bytes,
//! Huffman codes, and what Zstandard's fastest search gives. Whole frames follow one another in the one stream of
//! a block, which every decoder of Zstandard takes as their concatenation (RFC 8878, section 3).
//!
//! What is chosen depends on nothing but the bytes: the same chunk gives the same container anywhere.

use zstd_safe::{CCtx, CParameter};

use super::container::{self, ContainerWriter, Header, MIN_BYTES};
use super::frame::Frame;
use super::huffman::{self, Huffman};
use super::shuffle::Shuffler;
use super::{Blosc, Compressor, Shuffle};
use crate::error::{Error, Result};

/// Levels of Blosc that this encoder takes; from the next on the search is worth more than the time.
pub(super) const LEVELS: std::ops::RangeInclusive<u8> = 1..=3;

/// Memory of an encoder, used again for every chunk.
#[derive(Default)]
pub(super) struct PlanesEncoder {
    shuffler: Shuffler,
    shuffled: Vec<u8>,
    plane: PlaneEncoder,
}

impl PlanesEncoder {
    /// Memory that one takes at most besides its block: for a shuffled tile, for codes, for a search and what it finds.
    pub(super) fn bytes() -> u64 {
        let piece = huffman::MAX_BYTES;
        let fixed =
            Shuffler::scratch_bytes(super::MAX_ELEMENT_BYTES) + Huffman::BYTES + zstd_safe::compress_bound(piece);
        fixed as u64 + crate::codec::zstd_context_bytes(1, piece as u64)
    }

    /// Appends a container holding `chunk` to `out`.
    ///
    /// # Errors
    /// `Limit` without memory for a compressor.
    pub(super) fn encode(
        &mut self,
        blosc: &Blosc,
        chunk: &[u8],
        element_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let header = Header {
            format: container::format(Compressor::Zstd),
            shuffle: blosc.shuffle,
            stored: false,
            split: false,
            element_bytes,
            n_bytes: chunk.len(),
            block_bytes: block_bytes(blosc, chunk.len(), element_bytes),
        };
        let mut builder = ContainerWriter::begin(header, out);
        if chunk.len() >= MIN_BYTES && self.blocks(blosc.shuffle, chunk, &mut builder)? {
            builder.end();
        } else {
            builder.end_stored(chunk);
        }
        Ok(())
    }

    /// Appends the blocks of `chunk`; false if they need more bytes than the chunk.
    fn blocks(&mut self, shuffle: Shuffle, chunk: &[u8], builder: &mut ContainerWriter) -> Result<bool> {
        let Header { element_bytes, block_bytes, .. } = builder.header;
        for block in chunk.chunks(block_bytes) {
            builder.begin_block();
            self.shuffled.resize(block.len(), 0);
            self.shuffler.forward(shuffle, element_bytes, block, &mut self.shuffled);
            let plane_bytes = plane_bytes(shuffle, element_bytes, block.len());
            let planes = self.shuffled.chunks(plane_bytes);
            if !builder.stream(&self.shuffled, |out, most| self.plane.encode(planes, shuffle, most, out))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Bytes of a block at most.
pub(super) fn block_target(blosc: &Blosc) -> usize {
    match (blosc.block_bytes, blosc.shuffle) {
        // Longer byte planes are less of one kind; shorter bit planes cost more than they hold.
        (0, Shuffle::Byte) => 128 << 10,
        (0, _) => 512 << 10,
        (bytes, _) => (bytes as usize).clamp(MIN_BYTES, container::MAX_BLOCK_BYTES),
    }
}

/// Bytes of a block of a chunk of `n_bytes`.
///
/// Blocks are of equal length and whole groups of eight elements, so that what is left behind the last one, and
/// cannot be bit-shuffled, is a few elements.
fn block_bytes(blosc: &Blosc, n_bytes: usize, element_bytes: usize) -> usize {
    let group = 8 * element_bytes;
    let groups = n_bytes / group;
    if groups == 0 {
        return n_bytes;
    }
    let n_blocks = groups.div_ceil((block_target(blosc) / group).max(1));
    groups / n_blocks * group
}

/// Shortest plane that is looked at by itself.
const MIN_PLANE_BYTES: usize = 1 << 10;

/// Bytes of a plane of a shuffled block; planes too short to be looked at one by one count as one, and long ones are
/// cut.
fn plane_bytes(shuffle: Shuffle, element_bytes: usize, block_bytes: usize) -> usize {
    let elements = block_bytes / element_bytes;
    let plane = match shuffle {
        Shuffle::Bit if elements.is_multiple_of(8) => elements / 8,
        Shuffle::Byte => elements,
        _ => block_bytes,
    };
    let piece = if plane < MIN_PLANE_BYTES { block_bytes } else { plane };
    piece.clamp(1, huffman::MAX_BYTES)
}

/// What becomes of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Repeated(u8),
    Raw,
    Huffman,
    Search,
}

/// Encodes the planes of a block.
#[derive(Default)]
struct PlaneEncoder {
    huffman: Box<Huffman>,
    search: Option<CCtx<'static>>,
    min_match: u32,
    /// What the latest search gave.
    found: Vec<u8>,
}

impl PlaneEncoder {
    /// Appends frames of `planes`; false if they need more than `most` bytes.
    fn encode<'a>(
        &mut self,
        planes: impl Iterator<Item = &'a [u8]>,
        shuffle: Shuffle,
        most: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let end = out.len() + most;
        // A frame made here holds as many planes as come; one of the library's holds one.
        let mut frame = Frame::default();
        for plane in planes {
            let (choice, bytes) = self.choose(plane, shuffle)?;
            if out.len() + bytes + Frame::OVERHEAD_BYTES > end {
                return Ok(false);
            }
            match choice {
                Choice::Repeated(byte) => frame.repeated(byte, plane.len(), out),
                Choice::Raw => frame.raw(plane, out),
                Choice::Huffman => frame.compressed(plane.len(), bytes, |out| self.huffman.write(plane, out), out),
                Choice::Search => {
                    frame.end(out);
                    out.extend_from_slice(&self.found);
                }
            }
        }
        frame.end(out);
        Ok(true)
    }

    /// What becomes of `plane`, and in how many bytes; codes and matches are ready to be written.
    fn choose(&mut self, plane: &[u8], shuffle: Shuffle) -> Result<(Choice, usize)> {
        let choice = guess(plane);
        let bytes = match choice {
            Choice::Repeated(_) => Some(1),
            Choice::Raw => None,
            Choice::Huffman => self.huffman.plan(plane),
            Choice::Search => Some(self.search(plane, shuffle)?).filter(|bytes| *bytes < plane.len()),
        };
        Ok(bytes.map_or((Choice::Raw, plane.len()), |bytes| (choice, bytes)))
    }

    /// Makes a frame of `plane` by the library's fastest search and returns its length.
    fn search(&mut self, plane: &[u8], shuffle: Shuffle) -> Result<usize> {
        let failed = |code| Error::unsupported(format!("zstd: {}", zstd_safe::get_error_name(code)));
        let context = match &mut self.search {
            Some(context) => context,
            none => none.insert(CCtx::try_create().ok_or_else(|| Error::limit("zstd: no memory for a compressor"))?),
        };
        // Short matches among the bytes of noise cost more than they save.
        let min_match = if shuffle == Shuffle::Byte { 7 } else { 6 };
        if self.min_match != min_match {
            context.set_parameter(CParameter::CompressionLevel(1)).map_err(failed)?;
            context.set_parameter(CParameter::MinMatch(min_match)).map_err(failed)?;
            self.min_match = min_match;
        }
        self.found.clear();
        self.found.reserve(zstd_safe::compress_bound(plane.len()));
        context.compress2(&mut self.found, plane).map_err(failed)
    }
}

/// Below this evenness codes gain less than one part in a hundred.
const NOISE: f64 = 1.2;
/// Above this one there are bytes that need less than the whole bit that a code has at least.
const SPARSE: f64 = 200.0;
/// With more repetitions than chance has, that is so from here on.
const SPARSE_RUNS: (f64, f64) = (140.0, 1.12);

/// What will do for `plane`, from a sample of it.
fn guess(plane: &[u8]) -> Choice {
    let [first, rest @ ..] = plane else { return Choice::Raw };
    if *rest == plane[..rest.len()] {
        return Choice::Repeated(*first);
    }
    if plane.len() < huffman::MIN_BYTES {
        return Choice::Search;
    }
    let sample = Sample::of(plane);
    match sample.evenness() {
        evenness if evenness < NOISE => Choice::Raw,
        evenness if evenness > SPARSE => Choice::Search,
        evenness if evenness > SPARSE_RUNS.0 && sample.repetition() > SPARSE_RUNS.1 => Choice::Search,
        _ => Choice::Huffman,
    }
}

/// How often each byte, and each byte twice in a row, is in four parts of a plane.
struct Sample {
    n: f64,
    /// Sum of the squares of the bytes' counts.
    squares: f64,
    repeated: f64,
}

impl Sample {
    const PARTS: usize = 4;
    const PART_BYTES: usize = 512;

    fn of(plane: &[u8]) -> Self {
        let mut counts = [[0u32; 256]; 4];
        let mut repeated = 0;
        let mut n = 0;
        for part in plane.chunks(plane.len().div_ceil(Self::PARTS)) {
            let part = &part[..part.len().min(Self::PART_BYTES)];
            n += part.len() / 4 * 4;
            for four in part.as_chunks::<4>().0 {
                counts.iter_mut().zip(four).for_each(|(counts, byte)| counts[usize::from(*byte)] += 1);
            }
            repeated += part.iter().zip(&part[1..]).filter(|(a, b)| a == b).count();
        }
        let [a, b, c, d] = &counts;
        let squares: u64 = (0..256).map(|byte| u64::from(a[byte] + b[byte] + c[byte] + d[byte]).pow(2)).sum();
        Self { n: n as f64, squares: squares as f64, repeated: repeated as f64 }
    }

    /// 1 if all bytes are equally frequent, up to 256 if there is only one: 256 times the chance that two are equal.
    fn evenness(&self) -> f64 {
        (self.squares - self.n) * 256.0 / (self.n * self.n)
    }

    /// 1 if a byte follows itself as often as chance has it, more if more often.
    fn repetition(&self) -> f64 {
        self.repeated * self.n / self.squares
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Kernels;
    use super::*;

    /// Elements of two bytes whose planes are of every kind: constant, noise, uneven, sparse.
    fn picture(n: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        let mut element = |i: usize| {
            let spot = if i % 5000 < 9 { 2000 } else { 0 };
            (100 + noise().count_ones() + spot) as u16
        };
        (0..n).flat_map(|i| element(i).to_le_bytes()).collect()
    }

    #[test]
    fn planes_are_of_every_kind_and_told_apart() {
        let block = picture(1 << 18);
        let mut planes = vec![0; block.len()];
        Shuffler::default().forward(Shuffle::Bit, 2, &block, &mut planes);
        let choices: Vec<_> = planes.chunks(1 << 15).map(guess).collect();
        for kind in [Choice::Repeated(0), Choice::Raw, Choice::Huffman, Choice::Search] {
            assert!(choices.contains(&kind), "{kind:?}: {choices:?}");
        }
    }

    #[test]
    fn every_set_of_instructions_gives_the_same_bytes_in_the_memory_stated() {
        for n in [1000, 300_000, 700_001] {
            let chunk = picture(n);
            for blosc in [Blosc::DEFAULT, Blosc::SMALLER, Blosc { block_bytes: 5000, ..Blosc::DEFAULT }] {
                let containers: Vec<_> = Kernels::all()
                    .map(|kernels| {
                        let mut encoder =
                            PlanesEncoder { shuffler: Shuffler::with(kernels), ..PlanesEncoder::default() };
                        let mut out = vec![];
                        encoder.encode(&blosc, &chunk, 2, &mut out).unwrap();
                        let search = encoder.plane.search.as_ref().map_or(0, |context| context.sizeof());
                        let used =
                            encoder.shuffled.capacity() + encoder.plane.found.capacity() + search + Huffman::BYTES;
                        assert!(used as u64 <= blosc.context_bytes(chunk.len() as u64), "{blosc} {n}: {used}");
                        out
                    })
                    .collect();
                assert!(containers.iter().all(|container| *container == containers[0]), "{blosc} {n}");
                assert!(containers[0].len() < chunk.len() * 3 / 4);
            }
        }
    }
}
