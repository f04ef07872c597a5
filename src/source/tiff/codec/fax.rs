//! CCITT facsimile: modified Huffman rows (RLE), T.4 one- and two-dimensional, T.6.
//!
//! Stored values are kept: a white run is zeros, a black one is ones, whatever the photometric tag calls
//! white. A row that breaks off or overflows is an error, where many readers guess on. The uncompressed mode
//! of the recommendations is not decoded.
//!
//! Source: ITU-T T.4 (07/2003), ITU-T T.6 (11/1988), TIFF 6.0 sections 10 and 11.

use std::sync::LazyLock;

use super::StoredPiece;
use crate::error::{Error, Result};

pub(super) fn decode(piece: &StoredPiece<'_>, stored: &[u8], decoded: &mut [u8], row_bytes: usize) -> Result<()> {
    if piece.bits != 1 || piece.samples != 1 {
        return Err(piece
            .damaged(format!("{} samples of {} bits, but a facsimile holds one of 1 bit", piece.samples, piece.bits)));
    }
    let mut fax = Fax {
        bits: Bits { bytes: stored, position: 0, reversed: piece.fill_order == 2 },
        width: piece.width,
        changes: Vec::new(),
        reference: Vec::new(),
        two_dimensional: piece.compression == 3 && piece.fax_options & 1 != 0,
    };
    for (index, row) in decoded.chunks_exact_mut(row_bytes).enumerate() {
        let read = match piece.compression {
            2 => fax.rle_row(8),
            32771 => fax.rle_row(16),
            3 => fax.t4_row(),
            _ => fax.row_2d(),
        };
        read.map_err(|fault| fault.error(piece, index))?;
        fax.paint(row);
        std::mem::swap(&mut fax.changes, &mut fax.reference);
    }
    Ok(())
}

/// Why a row cannot be read.
enum Fault {
    BadCode,
    EndOfData,
    TooLong,
    Uncompressed,
}

impl Fault {
    fn error(self, piece: &StoredPiece<'_>, row: usize) -> Error {
        let what = match self {
            Self::BadCode => "no code of the recommendation",
            Self::EndOfData => "the data end",
            Self::TooLong => "longer than the width",
            Self::Uncompressed => return piece.unsupported("uncompressed mode"),
        };
        piece.damaged(format!("row {row} of {}: {what}", piece.rows))
    }
}

/// Bits of the strip, first one first.
struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
    reversed: bool,
}

impl Bits<'_> {
    fn byte(&self, index: usize) -> u32 {
        let byte = self.bytes.get(index).copied().unwrap_or(0);
        u32::from(if self.reversed { byte.reverse_bits() } else { byte })
    }

    /// The next `n <= 16` bits, zeros behind the end.
    fn peek(&self, n: u32) -> u32 {
        let first = self.position / 8;
        let three = self.byte(first) << 16 | self.byte(first + 1) << 8 | self.byte(first + 2);
        let shift = 24 - (self.position % 8) as u32 - n;
        three >> shift & ((1 << n) - 1)
    }

    fn skip(&mut self, n: u32) {
        self.position += n as usize;
    }

    fn at_end(&self) -> bool {
        self.position >= self.bytes.len() * 8
    }

    fn ended(&self) -> bool {
        self.position > self.bytes.len() * 8
    }
}

struct Fax<'a> {
    bits: Bits<'a>,
    width: u32,
    /// Where the colour of the row in hand changes, white first; never falling, all below the width.
    changes: Vec<u32>,
    /// The same of the row above.
    reference: Vec<u32>,
    two_dimensional: bool,
}

impl Fax<'_> {
    fn rle_row(&mut self, alignment: usize) -> Result<(), Fault> {
        self.row_1d()?;
        self.bits.position = self.bits.position.next_multiple_of(alignment);
        Ok(())
    }

    /// A row of T.4: an end-of-line code before it, which some writers leave out, then the row.
    fn t4_row(&mut self) -> Result<(), Fault> {
        let mut n_ends = 0;
        // Fill makes the zeros of an end-of-line any number from eleven.
        while self.bits.peek(11) == 0 {
            while self.bits.peek(1) == 0 {
                if self.bits.at_end() {
                    return Err(Fault::EndOfData);
                }
                let zero_byte = self.bits.position.is_multiple_of(8) && self.bits.peek(8) == 0;
                self.bits.skip(if zero_byte { 8 } else { 1 });
            }
            self.bits.skip(1);
            n_ends += 1;
            // In a return to control every end-of-line has its tag bit.
            if self.two_dimensional && self.bits.peek(12) == 0b1000_0000_0000 {
                self.bits.skip(1);
            }
        }
        if n_ends >= 6 {
            return Err(Fault::EndOfData);
        }
        if self.two_dimensional {
            let one_dimensional = self.bits.peek(1) == 1;
            self.bits.skip(1);
            if !one_dimensional {
                return self.row_2d();
            }
        }
        self.row_1d()
    }

    /// A row of alternating white and black runs.
    fn row_1d(&mut self) -> Result<(), Fault> {
        self.changes.clear();
        let mut position = 0;
        let mut black = false;
        loop {
            position = self.advance(position, black)?;
            if position >= self.width {
                return Ok(());
            }
            self.change(position);
            black = !black;
        }
    }

    /// A row of T.6, relative to the one above.
    fn row_2d(&mut self) -> Result<(), Fault> {
        self.changes.clear();
        // Position of the last change, and whether it is the imaginary one before the first pixel.
        let (mut a0, mut start) = (0, true);
        let mut black = false;
        // First change of the reference row that has not been passed.
        let mut next = 0;
        while a0 < self.width {
            // b1: the first change right of a0 to the colour opposite to the one in hand.
            while next > 0 && self.reference_at(next - 1) > a0 {
                next -= 1;
            }
            while next < self.reference.len()
                && (self.reference_at(next) < a0
                    || (self.reference_at(next) == a0 && !start)
                    || (next % 2 == 1) != black)
            {
                next += 1;
            }
            let b1 = self.reference_at(next);
            let code = self.bits.peek(7);
            let (n_bits, offset) = match code {
                0b1000000.. => (1, 0),
                0b0110000.. => (3, 1),
                0b0100000.. => (3, -1),
                0b0010000.. => {
                    self.bits.skip(3);
                    for _ in 0..2 {
                        a0 = self.advance(a0, black)?;
                        self.change(a0);
                        black = !black;
                    }
                    start = false;
                    continue;
                }
                0b0001000.. => {
                    self.bits.skip(4);
                    a0 = self.reference_at(next + 1);
                    start = false;
                    self.check_end()?;
                    continue;
                }
                0b0000110.. => (6, 2),
                0b0000100.. => (6, -2),
                0b0000011 => (7, 3),
                0b0000010 => (7, -3),
                0b0000001 => return Err(Fault::Uncompressed),
                _ if self.bits.at_end() || self.bits.peek(12) == 1 => return Err(Fault::EndOfData),
                _ => return Err(Fault::BadCode),
            };
            self.bits.skip(n_bits);
            self.check_end()?;
            let a1 = b1.checked_add_signed(offset).ok_or(Fault::BadCode)?;
            if a1 < a0 {
                return Err(Fault::BadCode);
            }
            if a1 > self.width {
                return Err(Fault::TooLong);
            }
            a0 = a1;
            self.change(a0);
            black = !black;
            start = false;
        }
        Ok(())
    }

    fn reference_at(&self, index: usize) -> u32 {
        self.reference.get(index).copied().unwrap_or(self.width)
    }

    /// Notes that the colour changes at `position`. Runs of no pixels are kept: encoders that write them count
    /// them as changes when they code the next row.
    fn change(&mut self, position: u32) {
        if position < self.width {
            self.changes.push(position);
        }
    }

    fn check_end(&self) -> Result<(), Fault> {
        if self.bits.ended() { Err(Fault::EndOfData) } else { Ok(()) }
    }

    /// `position` and the run of one colour that follows.
    fn advance(&mut self, mut position: u32, black: bool) -> Result<u32, Fault> {
        let table = if black { &TABLES.black } else { &TABLES.white };
        loop {
            let Entry { n_bits, run } = table[self.bits.peek(13) as usize];
            if n_bits == 0 {
                let end = self.bits.at_end() || self.bits.peek(11) == 0;
                return Err(if end { Fault::EndOfData } else { Fault::BadCode });
            }
            self.bits.skip(u32::from(n_bits));
            self.check_end()?;
            position = position.saturating_add(u32::from(run));
            if position > self.width {
                return Err(Fault::TooLong);
            }
            if run < 64 {
                return Ok(position);
            }
        }
    }

    /// Writes the row in hand.
    fn paint(&self, row: &mut [u8]) {
        row.fill(0);
        for run in self.changes.chunks(2) {
            let (from, to) = (run[0] as usize, run.get(1).map_or(self.width, |&e| e) as usize);
            if from >= to {
                continue;
            }
            let (first, last) = (from / 8, (to - 1) / 8);
            let head = 0xff_u8 >> (from % 8);
            let foot = 0xff_u8 << (7 - (to - 1) % 8);
            if first == last {
                row[first] |= head & foot;
            } else {
                row[first] |= head;
                row[first + 1..last].fill(0xff);
                row[last] |= foot;
            }
        }
    }
}

/// A run whose code the looked-up bits begin with; no code if it has no bits.
#[derive(Clone, Copy, Default)]
struct Entry {
    n_bits: u8,
    run: u16,
}

/// Codes by the next 13 bits.
struct Tables {
    white: Vec<Entry>,
    black: Vec<Entry>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables { white: table(WHITE), black: table(BLACK) });

fn table(codes: &str) -> Vec<Entry> {
    let mut table = vec![Entry::default(); 1 << 13];
    let short = (0..64).chain((64..=1728).step_by(64)).zip(codes.split_whitespace());
    let long = (1792..=2560).step_by(64).zip(LONG.split_whitespace());
    for (run, code) in short.chain(long) {
        let n_bits = code.len();
        let value = code.bytes().fold(0, |v, bit| v << 1 | usize::from(bit == b'1'));
        let from = value << (13 - n_bits);
        table[from..from + (1 << (13 - n_bits))].fill(Entry { n_bits: n_bits as u8, run });
    }
    table
}

/// Codes of white runs of 0 to 63, then of 64, 128 ... 1728.
const WHITE: &str = "
    00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101
    101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 0011000
    00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 00101000
    00101001 00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 01010011
    01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011 00110010
    00110011 00110100
    11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101
    011010010 011010011 011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011
    010011000 010011001 010011010 011000 010011011";

/// The same of black runs.
const BLACK: &str = "
    0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111
    000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 00000101000
    00000010111 00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 000001101001
    000001101010 000001101011 000011010010 000011010011 000011010100 000011010101 000011010110 000011010111
    000001101100 000001101101 000011011010 000011011011 000001010100 000001010101 000001010110 000001010111
    000001100100 000001100101 000001010010 000001010011 000000100100 000000110111 000000111000 000000100111
    000000101000 000001011000 000001011001 000000101011 000000101100 000001011010 000001100110 000001100111
    0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 0000001101100
    0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 0000001110011
    0000001110100 0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 0000001010100
    0000001010101 0000001011010 0000001011011 0000001100100 0000001100101";

/// Codes of 1792, 1856 ... 2560 in both colours.
const LONG: &str = "
    00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110
    000000010111 000000011100 000000011101 000000011110 000000011111";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_one_code_and_no_code_begins_another() {
        for table in [&TABLES.white, &TABLES.black] {
            let mut seen: Vec<u16> = table.iter().filter(|e| e.n_bits > 0).map(|e| e.run).collect();
            seen.sort_unstable();
            let covered = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), 64 + 27 + 13);
            let expected: usize = [WHITE, BLACK]
                .iter()
                .zip([&TABLES.white, &TABLES.black])
                .filter(|(_, t)| std::ptr::eq(*t, table))
                .flat_map(|(codes, _)| codes.split_whitespace().chain(LONG.split_whitespace()))
                .map(|code| 1 << (13 - code.len()))
                .sum();
            assert_eq!(covered, expected);
        }
    }
}
