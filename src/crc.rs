//! Checksums of bytes from those of their pieces: a CRC is a remainder modulo a polynomial, and bytes that follow multiply
//! it by a power of x.
//!
//! Source: Williams, A painless guide to CRC error detection algorithms, 1993.

use crc_fast::{CrcAlgorithm, Digest};

/// CRCs of `WIDTH` bits by `POLYNOMIAL`, bits reversed: the coefficient of the lowest power is the highest bit.
pub struct Crc<const WIDTH: u32, const POLYNOMIAL: u64>;

/// CRC-64/NVME, by section 5.2.1 of the NVM Command Set Specification 1.0.
pub type Crc64Nvme = Crc<64, 0x9a6c_9329_ac4b_c9b5>;

/// CRC-32C, by appendix B.4 of RFC 3720.
pub type Crc32c = Crc<32, 0x82f6_3b78>;

impl<const WIDTH: u32, const POLYNOMIAL: u64> Crc<WIDTH, POLYNOMIAL> {
    /// What 1, 2, 4, 8 bytes and so on that follow multiply by.
    const SQUARES: [u64; 64] = {
        let (mut squares, mut i) = ([1 << (WIDTH - 9); 64], 1);
        while i < 64 {
            squares[i] = Self::product(squares[i - 1], squares[i - 1]);
            i += 1;
        }
        squares
    };

    /// `b` times x.
    const fn times_x(b: u64) -> u64 {
        b >> 1 ^ if b & 1 == 1 { POLYNOMIAL } else { 0 }
    }

    /// The product of two remainders.
    pub const fn product(a: u64, mut b: u64) -> u64 {
        let (mut sum, mut bit) = (0, WIDTH);
        while bit > 0 {
            bit -= 1;
            sum ^= if a >> bit & 1 == 1 { b } else { 0 };
            b = Self::times_x(b);
        }
        sum
    }

    /// `b` times the power of x that each bit of a remainder stands for.
    fn times_powers(mut b: u64, mut give: impl FnMut(u32, u64)) {
        for bit in (0..WIDTH).rev() {
            give(bit, b);
            b = Self::times_x(b);
        }
    }

    /// What a remainder is to be multiplied by where `n_bytes` follow.
    pub fn followed_by(n_bytes: u64) -> u64 {
        let squares = Self::SQUARES.iter().enumerate().filter(|(i, _)| n_bytes >> i & 1 == 1);
        squares.fold(1 << (WIDTH - 1), |power, (_, square)| Self::product(power, *square))
    }

    /// What multiplies by [`Crc::followed_by`] `n_bytes` again and again.
    pub fn past(n_bytes: u64) -> Move {
        let mut table = [[0; 16]; 16];
        Self::times_powers(Self::followed_by(n_bytes), |bit, power| {
            let (row, bit) = (&mut table[bit as usize / 4], bit % 4);
            (0..16).filter(|value| value >> bit & 1 == 1).for_each(|value| row[value] ^= power);
        });
        Move(table)
    }
}

/// Multiplies by one number, four bits at a time.
pub struct Move([[u64; 16]; 16]);

impl Move {
    /// The product with `remainder`.
    pub fn of(&self, remainder: u64) -> u64 {
        (0..16).fold(0, |sum, i| sum ^ self.0[i][(remainder >> (4 * i) & 15) as usize])
    }
}

/// The CRC-32C of all, where `before` is that of what comes first, and `after` that of the `n_bytes` behind it.
pub fn joined(before: u32, after: u32, n_bytes: u64) -> u32 {
    // Below 2^32, as every remainder of so many bits.
    Crc32c::product(before.into(), Crc32c::followed_by(n_bytes)) as u32 ^ after
}

/// What `bytes` leave by the polynomial of CRC-64/NVME, from nothing.
pub fn remainder(bytes: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Nvme, 0);
    digest.update(bytes);
    !digest.finalize()
}

/// What the runs of one length that a memory is made of leave: whoever asks again need not go through them again.
#[derive(Clone, Debug, Default)]
pub struct Remainders {
    run_bytes: usize,
    of_runs: Vec<u64>,
    n_known: usize,
}

impl Remainders {
    /// Shorter runs are not worth their remainder's place.
    const LEAST_BYTES: usize = 512;

    /// Those of `memory`, if it is to be known in runs of so many bytes.
    pub fn of(memory: &[u8], run_bytes: usize) -> Self {
        let mut found = Self::default();
        if run_bytes >= Self::LEAST_BYTES && memory.len().is_multiple_of(run_bytes) {
            memory.chunks_exact(run_bytes).enumerate().for_each(|(i, run)| {
                found.add(memory.len(), i * run_bytes, run_bytes, remainder(run));
            });
        }
        found
    }

    /// Takes note of what a run leaves, of each once, which lies in a memory of `n_bytes` from `start` on.
    pub fn add(&mut self, n_bytes: usize, start: usize, run_bytes: usize, remainder: u64) {
        if self.n_known == 0 && run_bytes >= Self::LEAST_BYTES && n_bytes.is_multiple_of(run_bytes) {
            *self = Self { run_bytes, of_runs: vec![0; n_bytes / run_bytes], n_known: 0 };
        }
        match self.of_runs.get_mut(start / run_bytes.max(1)) {
            Some(of_run) if run_bytes == self.run_bytes && start.is_multiple_of(run_bytes) => {
                *of_run = remainder;
                self.n_known += 1;
            }
            // Of another length: nothing is known that way.
            _ => *self = Self { run_bytes: 0, of_runs: Vec::new(), n_known: 1 },
        }
    }

    /// Whether every run is known.
    pub fn is_whole(&self) -> bool {
        self.n_known > 0 && self.n_known == self.of_runs.len()
    }

    /// What a run leaves, if all are known and this is one of them.
    pub fn of_run(&self, start: usize, run_bytes: usize) -> Option<u64> {
        let is_run = self.is_whole() && run_bytes == self.run_bytes && start.is_multiple_of(run_bytes);
        is_run.then(|| self.of_runs.get(start / run_bytes).copied())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_known_if_all_are_of_one_length() {
        let memory: Vec<u8> = (0..4096u32).map(|i| ((i * i) >> 5) as u8).collect();
        let known = Remainders::of(&memory, 1024);
        assert_eq!(known.of_run(2048, 1024), Some(remainder(&memory[2048..3072])));
        let others = [(1024, 512), (512, 1024), (4096, 1024), (0, 0), (0, 4096)];
        assert!(Remainders::default().of_run(0, 0).is_none());
        assert!(others.iter().all(|&(start, n)| known.of_run(start, n).is_none()));
        assert!(Remainders::of(&memory, 1000).of_run(0, 1000).is_none());
        let mut some = Remainders::default();
        some.add(4096, 0, 2048, 5);
        assert!(some.of_run(0, 2048).is_none(), "the other run is not known");
        some.add(4096, 2048, 1024, 6);
        some.add(4096, 2048, 2048, 7);
        assert!(some.of_run(0, 2048).is_none(), "the memory is not made of such runs alone");
    }

    #[test]
    fn pieces_have_the_checksum_of_all() {
        let bytes: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for cut in [0, 1, 2, 255, 4096, 69_999, 70_000] {
            let (head, tail) = bytes.split_at(cut);
            let (before, after) = (crc32c::crc32c(head), crc32c::crc32c(tail));
            assert_eq!(joined(before, after, tail.len() as u64), crc32c::crc32c(&bytes), "{cut}");
            let moved = Crc32c::past(tail.len() as u64).of(before.into()) as u32;
            assert_eq!(moved ^ after, crc32c::crc32c(&bytes), "{cut}");
        }
    }
}
