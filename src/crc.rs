//! Checksums of bytes from those of their pieces: a CRC is a remainder modulo a polynomial, and bytes that follow multiply
//! it by a power of x.
//!
//! Source: Williams, A painless guide to CRC error detection algorithms, 1993.

/// CRCs of `WIDTH` bits by `POLYNOMIAL`, bits reversed: the coefficient of the lowest power is the highest bit.
pub struct Crc<const WIDTH: u32, const POLYNOMIAL: u64>;

/// CRC-64/NVME, by section 5.2.1 of the NVM Command Set Specification 1.0.
pub type Crc64Nvme = Crc<64, 0x9a6c_9329_ac4b_c9b5>;

/// CRC-32C, by appendix B.4 of RFC 3720.
pub type Crc32c = Crc<32, 0x82f6_3b78>;

impl<const WIDTH: u32, const POLYNOMIAL: u64> Crc<WIDTH, POLYNOMIAL> {
    /// The product of two remainders.
    pub fn product(a: u64, b: u64) -> u64 {
        let mut sum = 0;
        Self::times_powers(b, |bit, power| sum ^= if a >> bit & 1 == 1 { power } else { 0 });
        sum
    }

    /// `b` times the power of x that each bit of a remainder stands for.
    fn times_powers(mut b: u64, mut give: impl FnMut(u32, u64)) {
        for bit in (0..WIDTH).rev() {
            give(bit, b);
            b = b >> 1 ^ if b & 1 == 1 { POLYNOMIAL } else { 0 };
        }
    }

    /// What a remainder is to be multiplied by where `n_bytes` follow.
    pub fn followed_by(mut n_bytes: u64) -> u64 {
        let (mut power, mut square) = (1 << (WIDTH - 1), 1 << (WIDTH - 9));
        while n_bytes > 0 {
            if n_bytes & 1 == 1 {
                power = Self::product(power, square);
            }
            square = Self::product(square, square);
            n_bytes >>= 1;
        }
        power
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

#[cfg(test)]
mod tests {
    use super::*;

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
