//! BloscLZ, the LZ77 format that Blosc has of its own.
//!
//! A stream is a row of instructions. A byte below 32 says how many bytes, one less, follow as they are. Any other
//! is a match: its three highest bits hold the length less 2, where 7 means that more is added by the bytes that
//! follow, up to the first that is not 255; its five lowest bits and one more byte hold the distance less 1; if
//! these are all ones, two more bytes hold what the distance exceeds 8192 by. The first instruction is of the
//! first kind whatever its three highest bits say.
//!
//! Source: `blosclz_decompress` of c-blosc 1.21, which is the only description there is.

/// Distances less 1 from here on take two more bytes.
const FAR: usize = (31 << 8) + 255;
/// Greatest distance less 1.
const FARTHEST: usize = FAR + u16::MAX as usize;
/// Most bytes that one instruction copies as they are.
const MAX_LITERALS: usize = 32;
/// Lengths from here on take more bytes.
const LONG: usize = 9;

/// Decompresses `stream` to the start of `out` and returns the number of bytes; none if it is damaged.
pub(super) fn decompress(mut stream: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut n = 0;
    let mut control = next(&mut stream)? & 31;
    loop {
        if control < MAX_LITERALS {
            let literals = stream.split_off(..=control)?;
            out.get_mut(n..n + literals.len())?.copy_from_slice(literals);
            n += literals.len();
        } else {
            let (length, distance) = read_match(control, &mut stream)?;
            repeat(out, n, length, distance)?;
            n += length;
        }
        if stream.is_empty() {
            return Some(n);
        }
        control = next(&mut stream)?;
    }
}

fn next(stream: &mut &[u8]) -> Option<usize> {
    stream.split_off_first().map(|byte| usize::from(*byte))
}

/// Length and distance of the match that begins with `control`.
fn read_match(control: usize, stream: &mut &[u8]) -> Option<(usize, usize)> {
    let mut length = (control >> 5) + 2;
    if length == LONG {
        loop {
            let more = next(stream)?;
            length += more;
            if more < 255 {
                break;
            }
        }
    }
    let mut distance = (control & 31) << 8 | next(stream)?;
    if distance == FAR {
        distance += next(stream)? << 8 | next(stream)?;
    }
    Some((length, distance + 1))
}

/// Writes the `length` bytes that follow `distance` bytes before `at` once more, at `at`; both may overlap.
fn repeat(out: &mut [u8], at: usize, length: usize, distance: usize) -> Option<()> {
    let from = at.checked_sub(distance)?;
    out.get(at..at.checked_add(length)?)?;
    let mut done = 0;
    while done < length {
        // What is there already repeats itself, so each turn copies twice as much.
        let part = (length - done).min(distance + done);
        out.copy_within(from..from + part, at + done);
        done += part;
    }
    Some(())
}

const HASH_BITS: u32 = 13;
/// Bytes that a match has at least here.
const MIN_MATCH: usize = 4;
/// Bytes at the end that are always copied as they are; other decoders need a few.
const TAIL_BYTES: usize = 12;

/// Compresses `data` to the start of `out` and returns the number of bytes; none if they do not fit.
///
/// Takes the latest place with the same four bytes. This is not the search of c-blosc, whose bytes differ.
pub(super) fn compress(data: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut latest = vec![0u32; 1 << HASH_BITS];
    let mut writer = Writer { out, n: 0 };
    let four = |at: usize| data.get(at..).and_then(<[u8]>::first_chunk).map(|four| u32::from_le_bytes(*four));
    let limit = data.len().saturating_sub(TAIL_BYTES);
    // The first instruction copies bytes as they are.
    let (mut at, mut literals) = (1, 0);
    while at < limit {
        let here = four(at)?;
        let place = &mut latest[(here.wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize];
        let from = std::mem::replace(place, at as u32) as usize;
        if from == 0 || at - from - 1 > FARTHEST || four(from)? != here {
            at += 1;
            continue;
        }
        let same = data[from + MIN_MATCH..].iter().zip(&data[at + MIN_MATCH..limit.max(at + MIN_MATCH)]);
        let length = MIN_MATCH + same.take_while(|(a, b)| a == b).count();
        writer.literals(&data[literals..at])?;
        writer.repeat(length, at - from - 1)?;
        at += length;
        literals = at;
    }
    writer.literals(&data[literals..])?;
    Some(writer.n)
}

struct Writer<'a> {
    out: &'a mut [u8],
    n: usize,
}

impl Writer<'_> {
    fn push(&mut self, byte: usize) -> Option<()> {
        *self.out.get_mut(self.n)? = byte as u8;
        self.n += 1;
        Some(())
    }

    fn literals(&mut self, bytes: &[u8]) -> Option<()> {
        for some in bytes.chunks(MAX_LITERALS) {
            self.push(some.len() - 1)?;
            self.out.get_mut(self.n..self.n + some.len())?.copy_from_slice(some);
            self.n += some.len();
        }
        Some(())
    }

    /// A match of `length` at `distance`, which is one less than it is.
    fn repeat(&mut self, length: usize, distance: usize) -> Option<()> {
        let near = distance.min(FAR);
        self.push((length.min(LONG) - 2) << 5 | near >> 8)?;
        if let Some(more) = length.checked_sub(LONG) {
            (0..more / 255).try_for_each(|_| self.push(255))?;
            self.push(more % 255)?;
        }
        self.push(near & 255)?;
        if near == FAR {
            self.push((distance - FAR) >> 8)?;
            self.push((distance - FAR) & 255)?;
        }
        Some(())
    }
}
