//! From stored samples to elements: byte and bit order, odd depths. Pure arithmetic on slices.

use super::page::Packing;
use crate::dtype::DType;

/// Turns the bits of every byte around: FillOrder 2 stores the lowest bit first.
pub(super) fn reverse_bits(bytes: &mut [u8]) {
    for b in bytes {
        *b = b.reverse_bits();
    }
}

/// Widens rows of packed samples, `bits` each and the highest bit first, to elements of `dtype` in native
/// byte order. Rows begin at whole bytes: `packed_row_bytes` and `n_row` elements each.
pub(super) fn unpack(
    packed: &[u8],
    packed_row_bytes: usize,
    elements: &mut [u8],
    n_row: usize,
    bits: u32,
    dtype: DType,
    packing: Packing,
) {
    let rows = packed.chunks_exact(packed_row_bytes).zip(elements.chunks_exact_mut(n_row * dtype.size()));
    for (packed, row) in rows {
        match (packing, dtype.size()) {
            (Packing::Unsigned, 1) if bits == 1 => {
                for (byte, out) in packed.iter().zip(row.chunks_mut(8)) {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = byte >> (7 - i) & 1;
                    }
                }
            }
            (Packing::Unsigned, 1) => widen(packed, bits, row, |v| v as u8),
            (Packing::Unsigned, 2) => widen(packed, bits, bytemuck::cast_slice_mut(row), |v| v as u16),
            (Packing::Unsigned, _) => widen(packed, bits, bytemuck::cast_slice_mut(row), |v| v),
            (_, 1) => widen(packed, bits, row, |v| sign_extend(v, bits) as u8),
            (_, 2) => widen(packed, bits, bytemuck::cast_slice_mut(row), |v| sign_extend(v, bits) as u16),
            (_, _) => widen(packed, bits, bytemuck::cast_slice_mut(row), |v| sign_extend(v, bits) as u32),
        }
    }
}

fn sign_extend(value: u32, bits: u32) -> i32 {
    let shift = 32 - bits;
    (value << shift).cast_signed() >> shift
}

fn widen<T>(packed: &[u8], bits: u32, row: &mut [T], f: impl Fn(u32) -> T) {
    let (mut held, mut n_held) = (0u64, 0);
    let mut bytes = packed.iter();
    for out in row {
        while n_held < bits {
            held = held << 8 | u64::from(*bytes.next().unwrap_or(&0));
            n_held += 8;
        }
        n_held -= bits;
        *out = f((held >> n_held) as u32 & (u32::MAX >> (32 - bits)));
    }
}

/// Widens floats of 24 bits (1 sign, 7 exponent with bias 63, 16 mantissa) to `float32`, exactly.
pub(super) fn widen_float24(packed: &[u8], floats: &mut [f32], big_endian: bool) {
    let (packed, _) = packed.as_chunks::<3>();
    for (&[a, b, c], float) in packed.iter().zip(floats) {
        let v = if big_endian { u32::from_be_bytes([0, a, b, c]) } else { u32::from_le_bytes([a, b, c, 0]) };
        let (sign, exponent, mantissa) = (v >> 23, v >> 16 & 0x7f, v & 0xffff);
        let magnitude = match exponent {
            0 => mantissa as f32 * 2f32.powi(-62 - 16),
            0x7f => f32::from_bits(0xff << 23 | mantissa << 7),
            e => f32::from_bits((e + 127 - 63) << 23 | mantissa << 7),
        };
        *float = f32::from_bits(magnitude.to_bits() | sign << 31);
    }
}

/// Converts complex integers, pairs of `int16` or `int32` in the file's byte order, to complex floats of twice
/// the size, exactly.
pub(super) fn widen_complex(packed: &[u8], elements: &mut [u8], dtype: DType, big_endian: bool) {
    if dtype == DType::Complex64 {
        let (packed, _) = packed.as_chunks::<2>();
        for (&b, out) in packed.iter().zip(bytemuck::cast_slice_mut::<u8, f32>(elements)) {
            *out = f32::from(if big_endian { i16::from_be_bytes(b) } else { i16::from_le_bytes(b) });
        }
    } else {
        let (packed, _) = packed.as_chunks::<4>();
        for (&b, out) in packed.iter().zip(bytemuck::cast_slice_mut::<u8, f64>(elements)) {
            *out = f64::from(if big_endian { i32::from_be_bytes(b) } else { i32::from_le_bytes(b) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_samples_keep_their_values() {
        let mut out = [0u16; 3];
        // 0x123, 0xabc, 0x7ff, and four bits to fill the row.
        let packed = [0x12, 0x3a, 0xbc, 0x7f, 0xf0];
        unpack(&packed, 5, bytemuck::cast_slice_mut(&mut out), 3, 12, DType::Uint16, Packing::Unsigned);
        assert_eq!(out, [0x123, 0xabc, 0x7ff]);
        let mut out = [0i16; 3];
        unpack(&packed, 5, bytemuck::cast_slice_mut(&mut out), 3, 12, DType::Int16, Packing::Signed);
        assert_eq!(out, [0x123, 0xabc - 0x1000, 0x7ff]);
        let mut out = [0u8; 10];
        unpack(&[0b1010_0110, 0b1100_0000], 2, &mut out, 10, 1, DType::Bool, Packing::Unsigned);
        assert_eq!(out, [1, 0, 1, 0, 0, 1, 1, 0, 1, 1]);
    }

    #[test]
    fn floats_of_24_bits_widen_exactly() {
        let cases = [
            (0x3f0000u32, 1.0f32),
            (0xbf0000, -1.0),
            (0x408000, 3.0),
            (0x000000, 0.0),
            (0x000001, 2f32.powi(-78)),
            (0x010000, 2f32.powi(-62)),
            (0x7f0000, f32::INFINITY),
        ];
        for (stored, value) in cases {
            let mut out = [0f32];
            widen_float24(&stored.to_be_bytes()[1..], &mut out, true);
            assert_eq!(out[0], value, "{stored:06x}");
            widen_float24(&stored.to_le_bytes()[..3], &mut out, false);
            assert_eq!(out[0], value, "{stored:06x}");
        }
        let mut out = [0f32];
        widen_float24(&[0x7f, 0, 1], &mut out, true);
        assert!(out[0].is_nan());
    }

    #[test]
    fn complex_integers_become_complex_floats() {
        let mut out = [0f32; 2];
        widen_complex(&[0xff, 0xfe, 0, 3], bytemuck::cast_slice_mut(&mut out), DType::Complex64, true);
        assert_eq!(out, [-2.0, 3.0]);
        let mut out = [0f64; 2];
        widen_complex(&[1, 0, 0, 0, 0, 0, 0, 128], bytemuck::cast_slice_mut(&mut out), DType::Complex128, false);
        assert_eq!(out, [1.0, f64::from(i32::MIN)]);
    }
}
