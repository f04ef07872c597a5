//! Fields of a directory and their values.

/// Type and raw bytes, in the file's byte order, of a tag's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// TIFF field type: 1 byte, 2 ASCII, 3 short, 4 long, 5 rational, ...
    pub field_type: u16,
    /// Number of values.
    pub count: u64,
    /// The values as they lie in the file.
    pub bytes: Vec<u8>,
    /// Whether the file is big-endian.
    pub big_endian: bool,
    /// Where the values begin in the file.
    pub at: u64,
}

impl Tag {
    /// The values as unsigned integers; empty if they are of another kind.
    pub fn uints(&self) -> Vec<u64> {
        let size = type_size(self.field_type) as usize;
        if size == 0 || !is_uint(self.field_type) {
            return Vec::new();
        }
        self.bytes.chunks_exact(size).map(|b| uint(b, self.big_endian)).collect()
    }

    /// The values as floats: rationals, floats and integers alike; empty if they are of another kind.
    pub fn floats(&self) -> Vec<f64> {
        let big = self.big_endian;
        let signed = |b: &[u8]| {
            let shift = 64 - 8 * b.len() as u32;
            ((uint(b, big) << shift) as i64 >> shift) as f64
        };
        let size = type_size(self.field_type) as usize;
        let values = self.bytes.chunks_exact(size.max(1));
        match self.field_type {
            5 => values.map(|b| uint(&b[..4], big) as f64 / uint(&b[4..], big) as f64).collect(),
            6 | 8 | 9 | 17 => values.map(signed).collect(),
            10 => values.map(|b| signed(&b[..4]) / signed(&b[4..])).collect(),
            11 => values.map(|b| f64::from(f32::from_bits(uint(b, big) as u32))).collect(),
            12 => values.map(|b| f64::from_bits(uint(b, big))).collect(),
            t if is_uint(t) => values.map(|b| uint(b, big) as f64).collect(),
            _ => Vec::new(),
        }
    }

    /// The bytes as text up to the first NUL: UTF-8 where they are, else Latin-1.
    pub fn text(&self) -> String {
        let end = self.bytes.iter().position(|&b| b == 0).unwrap_or(self.bytes.len());
        let bytes = &self.bytes[..end];
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
        }
    }
}

/// Bytes of one value of a TIFF field type; 0 for types that do not exist.
pub(super) fn type_size(field_type: u16) -> u64 {
    match field_type {
        1 | 2 | 6 | 7 => 1,
        3 | 8 => 2,
        4 | 9 | 11 | 13 => 4,
        5 | 10 | 12 | 16 | 17 | 18 => 8,
        _ => 0,
    }
}

pub(super) fn is_uint(field_type: u16) -> bool {
    matches!(field_type, 1 | 3 | 4 | 7 | 13 | 16 | 18)
}

/// An unsigned integer of at most 8 bytes.
#[inline]
pub(super) fn uint(bytes: &[u8], big_endian: bool) -> u64 {
    // The usual lengths first: a walk along many directories spends its time here.
    if let Ok(b) = <[u8; 2]>::try_from(bytes) {
        u64::from(if big_endian { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) })
    } else if let Ok(b) = <[u8; 4]>::try_from(bytes) {
        u64::from(if big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) })
    } else if let Ok(b) = <[u8; 8]>::try_from(bytes) {
        if big_endian { u64::from_be_bytes(b) } else { u64::from_le_bytes(b) }
    } else {
        let push = |n: u64, &b: &u8| n << 8 | u64::from(b);
        if big_endian { bytes.iter().fold(0, push) } else { bytes.iter().rev().fold(0, push) }
    }
}

/// One field of a directory: where its value is rather than what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TagField {
    pub(super) tag: u16,
    pub(super) field_type: u16,
    pub(super) count: u64,
    /// Position in the file of the first value, also where it lies within the directory.
    pub(super) at: u64,
}

impl TagField {
    pub(super) fn size_bytes(&self) -> u64 {
        self.count.saturating_mul(type_size(self.field_type))
    }
}
