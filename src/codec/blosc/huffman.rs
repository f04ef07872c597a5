//! A writer of Zstandard's Huffman-coded literals: what of a compressed block needs no search for matches.
//!
//! A block of this kind holds a literals section in four streams and no sequences. Whether it pays is known
//! exactly before a bit is written, because the histogram of each stream and the code give its length.
//!
//! Source: RFC 8878, sections 3.1.1.3.1 (literals section) and 4.2 (Huffman coding).

use multiversion::multiversion;

use super::fse;

/// Longest code.
///
/// Source: RFC 8878, section 4.2.1: Max_Number_of_Bits is 11.
const MAX_BITS: usize = 11;
/// Fewest bytes that are coded, so that four streams are worth their table of lengths.
pub(super) const MIN_BYTES: usize = 1 << 10;
/// Most bytes that are coded in one block.
pub(super) const MAX_BYTES: usize = super::frame::BLOCK_BYTES;

/// What a block must gain, as a part of its content.
const WORTHWHILE: usize = 128;

/// Bytes of the literals section's header with 14 and with 18 bits for each length, of the table of the lengths of
/// the streams, and of the empty sequences section.
const HEADER_14_BYTES: usize = 4;
const HEADER_18_BYTES: usize = 5;
const JUMP_TABLE_BYTES: usize = 6;
const SEQUENCES_BYTES: usize = 1;

/// The coder's memory.
pub(super) struct Huffman {
    /// How often each byte is in each quarter.
    counts: [[u32; 256]; 4],
    /// Bits of each byte's code, 0 if it does not occur.
    lengths: [u8; 256],
    /// Codes, see [`Writer`].
    codes: [u64; 256],
    tree: Vec<u8>,
    stream_bytes: [usize; 4],
    scratch: Vec<u8>,
}

impl Default for Huffman {
    fn default() -> Self {
        Self {
            counts: [[0; 256]; 4],
            lengths: [0; 256],
            codes: [0; 256],
            tree: vec![],
            stream_bytes: [0; 4],
            scratch: vec![],
        }
    }
}

impl Huffman {
    /// Memory of one, with what it needs for a block.
    pub(super) const BYTES: usize = size_of::<Self>() + MAX_BYTES * 2;

    /// Bytes of the block that [`Huffman::write`] makes of `data`, of [`MIN_BYTES`] to [`MAX_BYTES`]; none if it
    /// would not be shorter than `data` by a worthwhile part.
    pub(super) fn plan(&mut self, data: &[u8]) -> Option<usize> {
        debug_assert!((MIN_BYTES..=MAX_BYTES).contains(&data.len()));
        count(quarters(data), &mut self.counts);
        let total: [u32; 256] = std::array::from_fn(|byte| self.counts.iter().map(|counts| counts[byte]).sum());
        set_lengths(&total, &mut self.lengths)?;
        self.tree.clear();
        write_tree(&self.lengths, &mut self.tree)?;
        self.stream_bytes = self.counts.map(|counts| {
            let bits: u32 = counts.iter().zip(&self.lengths).map(|(n, bits)| n * u32::from(*bits)).sum();
            // One more bit marks the end.
            bits as usize / 8 + 1
        });
        let streams: usize = self.stream_bytes.iter().sum();
        let bytes = header_bytes(data.len()) + self.tree.len() + JUMP_TABLE_BYTES + streams + SEQUENCES_BYTES;
        (bytes + data.len() / WORTHWHILE < data.len()).then_some(bytes)
    }

    /// Appends the block that holds the `data` of the latest successful plan.
    pub(super) fn write(&mut self, data: &[u8], out: &mut Vec<u8>) {
        set_codes(&self.lengths, &mut self.codes);
        let coded = self.tree.len() + JUMP_TABLE_BYTES + self.stream_bytes.iter().sum::<usize>();
        // Literals_Block_Type 2, Compressed, with Size_Format 2 or 3.
        let (wide, n_bits) = if header_bytes(data.len()) == HEADER_18_BYTES { (1, 18) } else { (0, 14) };
        let header = 2 | (2 + wide) << 2 | (data.len() as u64) << 4 | (coded as u64) << (4 + n_bits);
        out.extend_from_slice(&header.to_le_bytes()[..header_bytes(data.len())]);
        out.extend_from_slice(&self.tree);
        for bytes in &self.stream_bytes[..3] {
            out.extend_from_slice(&(*bytes as u16).to_le_bytes());
        }
        // The streams are written side by side, so each has room of its own at first.
        let rooms = self.stream_bytes.map(|bytes| bytes + Writer::SLACK_BYTES);
        self.scratch.resize(rooms.iter().sum(), 0);
        let (first, rest) = self.scratch.split_at_mut(rooms[0]);
        let (second, rest) = rest.split_at_mut(rooms[1]);
        let (third, fourth) = rest.split_at_mut(rooms[2]);
        let [a, b, c, d] = quarters(data);
        write_pair([a, b], &self.codes, [first, second]);
        write_pair([c, d], &self.codes, [third, fourth]);
        for (stream, bytes) in [first, second, third, fourth].into_iter().zip(self.stream_bytes) {
            out.extend_from_slice(&stream[..bytes]);
        }
        // Number_of_Sequences is 0.
        out.push(0);
    }
}

fn header_bytes(n: usize) -> usize {
    if n < 1 << 14 { HEADER_14_BYTES } else { HEADER_18_BYTES }
}

/// The parts of the four streams: three of equal length, and the rest.
fn quarters(data: &[u8]) -> [&[u8]; 4] {
    let each = data.len().div_ceil(4);
    let (a, rest) = data.split_at(each);
    let (b, rest) = rest.split_at(each);
    let (c, d) = rest.split_at(each);
    [a, b, c, d]
}

fn count([a, b, c, d]: [&[u8]; 4], counts: &mut [[u32; 256]; 4]) {
    *counts = [[0; 256]; 4];
    let [first, second, third, fourth] = counts;
    for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
        first[usize::from(*a)] += 1;
        second[usize::from(*b)] += 1;
        third[usize::from(*c)] += 1;
        fourth[usize::from(*d)] += 1;
    }
    // The fourth is up to three bytes shorter.
    for (part, counts) in [(a, first), (b, second), (c, third)] {
        part[d.len()..].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
}

/// Sets `lengths` to those of a complete code of at most [`MAX_BITS`] bits; none if fewer than two bytes occur.
fn set_lengths(counts: &[u32; 256], lengths: &mut [u8; 256]) -> Option<()> {
    let mut sorted = [0u32; 256];
    let mut n = 0;
    for (byte, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        sorted[n] = count << 8 | byte as u32;
        n += 1;
    }
    let sorted = &mut sorted[..n];
    sorted.sort_unstable();
    let mut depths = [0u8; 256];
    let depths = &mut depths[..n];
    tree_depths(sorted, depths)?;
    limit(depths);
    *lengths = [0; 256];
    for (leaf, depth) in sorted.iter().zip(depths) {
        lengths[(leaf & 0xff) as usize] = *depth;
    }
    Some(())
}

/// Depths of the leaves in Huffman's tree; `sorted` holds their counts above the lowest 8 bits, rising.
fn tree_depths(sorted: &[u32], depths: &mut [u8]) -> Option<()> {
    let n = sorted.len();
    if n < 2 {
        return None;
    }
    // Node n + i is the i-th join; joins come in the order of their counts, so two queues do.
    let (mut joined, mut parent) = ([0u32; 256], [0u16; 512]);
    let (mut leaf, mut join) = (0, 0);
    for made in 0..n - 1 {
        for _ in 0..2 {
            let take_leaf = leaf < n && (join == made || sorted[leaf] >> 8 <= joined[join]);
            let (count, node) = if take_leaf { (sorted[leaf] >> 8, leaf) } else { (joined[join], n + join) };
            leaf += usize::from(take_leaf);
            join += usize::from(!take_leaf);
            joined[made] += count;
            parent[node] = (n + made) as u16;
        }
    }
    let mut depth = [0u8; 512];
    for node in (0..2 * n - 2).rev() {
        depth[node] = depth[usize::from(parent[node])] + 1;
    }
    depths.copy_from_slice(&depth[..n]);
    Some(())
}

/// Shortens codes of more than [`MAX_BITS`] bits, lengthening others; `depths` belong to rising counts. The code
/// stays complete: the sum of 2^-depth stays 1.
fn limit(depths: &mut [u8]) {
    let share = |depth: u8| 1usize << (MAX_BITS - usize::from(depth));
    const WHOLE: usize = 1 << MAX_BITS;
    if depths.iter().all(|depth| usize::from(*depth) <= MAX_BITS) {
        return;
    }
    depths.iter_mut().for_each(|depth| *depth = (*depth).min(MAX_BITS as u8));
    let mut sum: usize = depths.iter().map(|depth| share(*depth)).sum();
    for depth in depths.iter_mut() {
        while sum > WHOLE && usize::from(*depth) < MAX_BITS {
            *depth += 1;
            sum -= share(*depth);
        }
    }
    // Shares are powers of two: the smallest one always fits into what is missing.
    while sum < WHOLE {
        for depth in depths.iter_mut().rev() {
            if share(*depth) <= WHOLE - sum {
                sum += share(*depth);
                *depth -= 1;
            }
        }
    }
}

/// Appends the description of the code: for each byte but the last that occurs, its weight, which is one more than
/// what its code lacks to the longest. None if it cannot be described.
///
/// Source: RFC 8878, section 4.2.1.1: direct, or compressed by FSE.
fn write_tree(lengths: &[u8; 256], out: &mut Vec<u8>) -> Option<()> {
    let last = lengths.iter().rposition(|bits| *bits > 0)?;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut weights = [0u8; 256];
    for (weight, bits) in weights.iter_mut().zip(lengths).filter(|(_, bits)| **bits > 0) {
        *weight = longest + 1 - bits;
    }
    let weights = &weights[..last];
    out.push(0);
    // Less than 128 says how many bytes of FSE follow; more, how many weights of 4 bits.
    let compressed = fse::write_weights(weights, out).filter(|bytes| *bytes < 128);
    let direct = (weights.len() <= 128).then_some(weights.len().div_ceil(2));
    match (compressed, direct) {
        (Some(bytes), direct) if direct.is_none_or(|direct| bytes < direct) => out[0] = bytes as u8,
        (_, Some(_)) => {
            out.truncate(1);
            out[0] = 127 + weights.len() as u8;
            out.extend(weights.chunks(2).map(|two| two[0] << 4 | two.get(1).unwrap_or(&0)));
        }
        _ => return None,
    }
    Some(())
}

/// Sets the codes: the longest begin at 0, in the order of the bytes, and go on with the shorter ones.
///
/// Source: RFC 8878, section 4.2.1.3.
fn set_codes(lengths: &[u8; 256], codes: &mut [u64; 256]) {
    let mut n_of = [0u64; MAX_BITS + 1];
    lengths.iter().for_each(|bits| n_of[usize::from(*bits)] += 1);
    let mut next = [0u64; MAX_BITS + 1];
    let mut code = 0;
    for bits in (1..=MAX_BITS).rev() {
        next[bits] = code;
        code = (code + n_of[bits]) >> 1;
    }
    for (entry, bits) in codes.iter_mut().zip(lengths).filter(|(_, bits)| **bits > 0) {
        let next = &mut next[usize::from(*bits)];
        *entry = *next << (64 - bits) | u64::from(*bits);
        *next += 1;
    }
}

/// Writes one stream, the last byte first; its newest bits lie at the top of a word.
///
/// An entry of the table of codes has the code in its highest bits and the number of these in its lowest 8. The
/// number is shifted into the word with the code, and out at its lower end before it can matter.
struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    word: u64,
    /// Valid bits of the word, in the lowest 8 bits.
    n_bits: u64,
}

impl<'a> Writer<'a> {
    /// Bytes behind the stream that may be overwritten.
    const SLACK_BYTES: usize = 8;
    /// Codes that fit the word, behind up to 7 bits and above the 8 bits of a number.
    const CODES: usize = 4;

    fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0, word: 0, n_bits: 0 }
    }

    #[inline(always)]
    fn push(&mut self, entry: u64) {
        self.word = self.word >> (entry & 63) | entry;
        self.n_bits = self.n_bits.wrapping_add(entry);
    }

    /// Moves whole bytes to the output.
    #[inline(always)]
    fn flush(&mut self) {
        let n_bits = self.n_bits & 0xff;
        // With no bit at all nothing is moved, so it does not matter what is written.
        let bytes = (self.word >> ((64 - n_bits) & 63)).to_le_bytes();
        self.out[self.at..self.at + 8].copy_from_slice(&bytes);
        self.at += (n_bits >> 3) as usize;
        self.n_bits = n_bits & 7;
    }

    /// The end of a stream: what is left of its bytes, and the bit that marks the end.
    fn finish(mut self, bytes: &[u8], codes: &[u64; 256]) {
        for some in bytes.rchunks(Self::CODES) {
            some.iter().rev().for_each(|byte| self.push(codes[usize::from(*byte)]));
            self.flush();
        }
        self.push(1 << 63 | 1);
        self.flush();
    }
}

/// Writes two streams side by side, so that the one is computed while the other waits.
#[multiversion(targets("x86_64+bmi1+bmi2"))]
fn write_pair(parts: [&[u8]; 2], codes: &[u64; 256], outs: [&mut [u8]; 2]) {
    const N: usize = Writer::CODES;
    let [a, b] = parts;
    let [first, second] = outs;
    let (mut first, mut second) = (Writer::new(first), Writer::new(second));
    let common = a.len().min(b.len()) / N;
    let (a_head, a_tail) = a.split_at(a.len() - common * N);
    let (b_head, b_tail) = b.split_at(b.len() - common * N);
    let fours = a_tail.as_chunks::<N>().0.iter().rev().zip(b_tail.as_chunks::<N>().0.iter().rev());
    for (a, b) in fours {
        for i in (0..N).rev() {
            first.push(codes[usize::from(a[i])]);
            second.push(codes[usize::from(b[i])]);
        }
        first.flush();
        second.flush();
    }
    first.finish(a_head, codes);
    second.finish(b_head, codes);
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frame;
    use super::*;

    /// `data` in a frame of one Huffman block, decoded by the library.
    fn there_and_back(data: &[u8]) -> Option<usize> {
        let mut huffman = Huffman::default();
        let planned = huffman.plan(data)?;
        let mut block = vec![];
        huffman.write(data, &mut block);
        assert_eq!(block.len(), planned);
        let (mut frame, mut stored) = (Frame::default(), vec![]);
        frame.compressed(data.len(), planned, |out| out.extend_from_slice(&block), &mut stored);
        frame.end(&mut stored);
        let mut decoded = vec![0; data.len()];
        let n = zstd_safe::decompress(&mut decoded[..], &stored).map_err(zstd_safe::get_error_name).unwrap();
        assert_eq!(n, data.len());
        assert!(decoded == data);
        Some(planned)
    }

    #[test]
    fn the_library_decodes_what_is_written() {
        let mut state = 1u64;
        let mut noise = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        for n in [1024, 1025, 1026, 1027, 16_383, 16_384, 65_537, 131_071, 131_072] {
            for spread in [1u32, 2, 3, 5, 8, 12] {
                for offset in [0u8, 60, 200] {
                    // Sums of coins: skewed and, from far on, never seen.
                    let data: Vec<u8> =
                        (0..n).map(|_| offset.wrapping_add((noise() & noise() & ((1 << spread) - 1)) as u8)).collect();
                    let bytes = there_and_back(&data);
                    assert!(bytes.is_some() || spread > 7, "{n} {spread} {offset}");
                }
            }
            // Counts that double: codes longer than allowed, before they are limited.
            let data: Vec<u8> = (0..n).map(|_| noise().trailing_zeros() as u8 * 7).collect();
            assert!(there_and_back(&data).is_some());
            let mut rare = vec![9; n];
            (0..200).for_each(|i| rare[i * 5] = i as u8);
            assert!(there_and_back(&rare).is_some());
        }
    }

    #[test]
    fn what_does_not_pay_is_left_alone() {
        assert_eq!(Huffman::default().plan(&[7; 5000]), None);
        let all: Vec<u8> = (0..8192u32).map(|i| i as u8).collect();
        assert_eq!(Huffman::default().plan(&all), None);
    }
}
