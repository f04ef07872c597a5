//! What TIFF does to the rows of a tile before they are compressed.
//!
//! Source: TIFF 6.0, section 14 (differences).

use std::borrow::Cow;

use crate::dtype::DType;

/// A predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predictor {
    /// Elements as they are.
    None,
    /// Each element less the one before it in its row.
    Differences,
}

impl Predictor {
    /// What suits elements of `dtype`. Bio-Formats reads no predictor of floats.
    pub(super) fn of(dtype: DType) -> Self {
        if dtype.is_integer() { Self::Differences } else { Self::None }
    }

    /// TIFF's number for it.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::None => 1,
            Self::Differences => 2,
        }
    }

    /// Applies it to rows of `row` elements of `size` bytes, little-endian, `samples` of them for a pixel.
    pub(super) fn apply(self, bytes: Cow<'_, [u8]>, row: usize, size: usize, samples: usize) -> Vec<u8> {
        let mut bytes = bytes.into_owned();
        if self == Self::Differences {
            bytes.chunks_exact_mut(row * size).for_each(|line| differences(line, size, samples));
        }
        bytes
    }
}

/// Takes from each element of a row the one before it, from the last on.
fn differences(line: &mut [u8], size: usize, samples: usize) {
    macro_rules! of {
        ($t:ty) => {{
            let at = |line: &[u8], i: usize| <$t>::from_le_bytes(std::array::from_fn(|k| line[i * size + k]));
            for i in (samples..line.len() / size).rev() {
                let difference = at(line, i).wrapping_sub(at(line, i - samples));
                line[i * size..(i + 1) * size].copy_from_slice(&difference.to_le_bytes());
            }
        }};
    }
    match size {
        1 => of!(u8),
        2 => of!(u16),
        4 => of!(u32),
        _ => of!(u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_begin_anew() {
        let values: Vec<u8> = [5u16, 7, 6, 1, 2, 65535].iter().flat_map(|v| v.to_le_bytes()).collect();
        let made = Predictor::Differences.apply(Cow::Borrowed(&values), 3, 2, 1);
        let expected: Vec<u8> = [5u16, 2, 65535, 1, 1, 65533].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(made, expected);
        assert_eq!(Predictor::Differences.apply(Cow::Owned(vec![1, 2, 3, 5, 7, 9]), 6, 1, 3), [1, 2, 3, 4, 5, 6]);
    }
}
