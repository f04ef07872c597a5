//! Little-endian fields and the bit packing of LERC.

use super::image::Fault;

/// Bytes still to be read.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(Fault::Damaged("ends too early"))?;
        self.bytes = tail;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn f64(&mut self) -> Result<f64, Fault> {
        Ok(f64::from_le_bytes(self.array()?))
    }
}

/// Bits of 32-bit little-endian words, highest first; zeros behind the end.
pub(super) struct WordBits<'a> {
    bytes: &'a [u8],
    pub(super) position: usize,
}

impl<'a> WordBits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next bit, or an error behind the end.
    pub(super) fn bit(&mut self) -> Result<u32, Fault> {
        let word = self.position / 32 * 4;
        if word >= self.bytes.len() {
            return Err(Fault::Damaged("ends too early"));
        }
        let in_word = 31 - self.position % 32;
        let byte = self.bytes.get(word + in_word / 8).copied().unwrap_or(0);
        self.position += 1;
        Ok(u32::from(byte >> (in_word % 8) & 1))
    }

    /// The next `n <= 32` bits as a number.
    pub(super) fn number(&mut self, n: u32) -> Result<u32, Fault> {
        (0..n).try_fold(0, |value, _| Ok(value << 1 | self.bit()?))
    }
}

/// Reads a bit-packed list of at most `max` numbers into `list`.
pub(super) fn unpack(reader: &mut Reader<'_>, version: i32, max: usize, list: &mut Vec<u32>) -> Result<(), Fault> {
    let head = reader.u8()?;
    let n_bits = u32::from(head & 31);
    let count = match head >> 6 {
        0 => reader.u32()?,
        1 => u32::from(u16::from_le_bytes(reader.array()?)),
        2 => u32::from(reader.u8()?),
        _ => return Err(Fault::Damaged("count of packed numbers of no known width")),
    } as usize;
    if count > max {
        return Err(Fault::Damaged("more packed numbers than pixels"));
    }
    list.clear();
    if head & 32 == 0 {
        return plain(reader, version, count, n_bits, list);
    }
    // A table of the values that occur, zero left out, then indices into it.
    let n_values = usize::from(reader.u8()?);
    if n_bits == 0 || n_values == 0 {
        return Err(Fault::Damaged("empty table of values"));
    }
    let mut table = vec![0];
    plain(reader, version, n_values - 1, n_bits, &mut table)?;
    let index_bits = usize::BITS - (n_values - 1).leading_zeros();
    plain(reader, version, count, index_bits, list)?;
    for value in list {
        *value = *table.get(*value as usize).ok_or(Fault::Damaged("index outside its table of values"))?;
    }
    Ok(())
}

/// Appends `count` numbers of `n_bits` each.
fn plain(reader: &mut Reader<'_>, version: i32, count: usize, n_bits: u32, list: &mut Vec<u32>) -> Result<(), Fault> {
    if n_bits == 0 {
        list.resize(list.len() + count, 0);
        return Ok(());
    }
    let total = count.checked_mul(n_bits as usize).ok_or(Fault::Damaged("too many packed numbers"))?;
    let bytes = reader.take(total.div_ceil(8))?;
    list.reserve(count);
    if version >= 3 {
        let (mut store, mut in_store) = (0u64, 0);
        let mut rest = bytes.iter();
        for _ in 0..count {
            while in_store < n_bits {
                store |= u64::from(rest.next().copied().unwrap_or(0)) << in_store;
                in_store += 8;
            }
            list.push((store & ((1 << n_bits) - 1)) as u32);
            store >>= n_bits;
            in_store -= n_bits;
        }
        return Ok(());
    }
    // Words with the first number on top; the last word is cut to the bytes that are in use, its top ones.
    let whole = bytes.len() / 4 * 4;
    let mut words = bytes[..whole].to_vec();
    if whole < bytes.len() {
        words.resize(words.len() + 4 - (bytes.len() - whole), 0);
        words.extend_from_slice(&bytes[whole..]);
    }
    let mut bits = WordBits::new(&words);
    for _ in 0..count {
        list.push(bits.number(n_bits)?);
    }
    Ok(())
}
