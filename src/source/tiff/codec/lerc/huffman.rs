//! Huffman codes of LERC: stored code by code, decoded bit by bit.

use super::bits::{Reader, WordBits, unpack};
use super::image::Fault;

/// A tree of codes for 256 values: for each node where bit 0 and bit 1 lead, a leaf as `!value`.
pub(super) struct Codes {
    nodes: Vec<[i32; 2]>,
}

impl Codes {
    /// Reads the table of codes.
    pub(super) fn parse(reader: &mut Reader<'_>, version: i32) -> Result<Self, Fault> {
        const BAD: Fault = Fault::Damaged("bad table of Huffman codes");
        let (table_version, size, from, to) = (reader.i32()?, reader.i32()?, reader.i32()?, reader.i32()?);
        if table_version < 2 || !(1..=256).contains(&size) || from < 0 || from >= to || to - from > size {
            return Err(BAD);
        }
        let mut lengths = Vec::new();
        let count = (to - from) as usize;
        unpack(reader, version, count, &mut lengths)?;
        if lengths.len() != count {
            return Err(BAD);
        }
        let mut codes = Self { nodes: vec![[0; 2]] };
        let mut bits = WordBits::new(reader.bytes);
        for (value, &n_bits) in (from..to).zip(&lengths) {
            if n_bits > 32 {
                return Err(BAD);
            }
            if n_bits > 0 {
                let code = bits.number(n_bits)?;
                codes.insert(code, n_bits, value % size).ok_or(BAD)?;
            }
        }
        let used = bits.position.div_ceil(32) * 4;
        reader.take(used.min(reader.bytes.len()))?;
        Ok(codes)
    }

    fn insert(&mut self, code: u32, n_bits: u32, value: i32) -> Option<()> {
        let mut node = 0usize;
        for bit in (0..n_bits).rev() {
            let branch = (code >> bit & 1) as usize;
            let next = self.nodes.get(node)?[branch];
            if bit == 0 {
                // Zero is the root, to which nothing leads: the branch is free.
                if next != 0 {
                    return None;
                }
                self.nodes[node][branch] = !value;
            } else if next == 0 {
                self.nodes[node][branch] = i32::try_from(self.nodes.len()).ok()?;
                node = self.nodes.len();
                self.nodes.push([0; 2]);
            } else {
                // A negative number is a leaf: one code begins another.
                node = usize::try_from(next).ok()?;
            }
        }
        Some(())
    }

    /// The next value.
    pub(super) fn value(&self, bits: &mut WordBits<'_>) -> Result<u8, Fault> {
        let mut node = 0usize;
        loop {
            let next = self.nodes[node][bits.bit()? as usize];
            if next == 0 {
                return Err(Fault::Damaged("no such Huffman code"));
            }
            match usize::try_from(next) {
                Ok(inner) => node = inner,
                Err(_) => return Ok(!next as u8),
            }
        }
    }
}
