//! NumPy's `.npy`: arrays, and small files as weights of means and kernels.
//!
//! Source: NEP 1, a simple file format for NumPy arrays.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::cf::Form;
use super::linear::{self, Linear};
use super::{FileArray, FileIndex, Format, Info, OpenOptions};
use crate::axis::unnamed_axes;
use crate::dtype::{DType, swap_bytes, to_f64};
use crate::error::Error;

/// The format's entry in the table.
pub(super) const FORMAT: Format = Format {
    name: "NPY",
    extensions: &["npy"],
    recognise: None,
    magic: Some(|first| first.starts_with(MAGIC)),
    has_variables: false,
    open,
};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Longest header that is read.
const MOST_HEADER: usize = 1 << 20;
/// Largest file that is read: weights are one number for each index of an axis, kernels are small.
const MOST_BYTES: u64 = 64 << 20;

/// The numbers of a one-dimensional `.npy` file of any real type, which `flag` names.
///
/// # Errors
/// `Io` if it cannot be read; `Format` if it is something else.
pub fn vector(flag: &str, path: &Path) -> Result<Vec<f64>, Error> {
    match numbers(flag, path)? {
        (shape, numbers) if shape.len() == 1 => Ok(numbers),
        (shape, _) => Err(Error::format(format!("{flag} {}: has {} axes, one is needed", path.display(), shape.len()))),
    }
}

/// The shape and the numbers, row-major, of a `.npy` file of any real type, which `flag` names.
///
/// # Errors
/// `Io` if it cannot be read; `Format` if it is something else.
pub fn numbers(flag: &str, path: &Path) -> Result<(Vec<u64>, Vec<f64>), Error> {
    let meta = fs::metadata(path).map_err(|e| Error::named(flag, path, "cannot open", e))?;
    if meta.len() > MOST_BYTES {
        return Err(Error::format(format!("{flag} {}: too large for weights", path.display())));
    }
    let bytes =
        if meta.is_dir() { Vec::new() } else { fs::read(path).map_err(|e| Error::io(path, "cannot read", e))? };
    parse(&bytes).ok_or_else(|| {
        Error::format(format!("{flag} {}: not a .npy of real numbers in C order: numpy.save makes one", path.display()))
    })
}

fn open(path: &Path, options: &OpenOptions, _: &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>, Error> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    let head = NpyHeader::read(&mut file)?;
    let rank = head.shape.len();
    let axes = unnamed_axes(&head.shape, options.pages.as_deref())?;
    let size = head.dtype.size() as u64;
    let mut strides = vec![size; rank];
    let (order, slower): (Vec<usize>, fn(usize) -> usize) = if head.is_fortran {
        ((1..rank).collect(), |i| i - 1)
    } else {
        ((0..rank.saturating_sub(1)).rev().collect(), |i| i + 1)
    };
    order.into_iter().for_each(|i| strides[i] = strides[slower(i)].saturating_mul(head.shape[slower(i)]));
    let row_bytes =
        strides.iter().zip(&head.shape).filter(|(s, _)| **s == size).map(|(s, n)| s * n).max().unwrap_or(size);
    let info = Info {
        storage: format!("NPY, {} order", if head.is_fortran { "Fortran" } else { "C" }),
        scratch_bytes: linear::scratch_bytes(row_bytes),
        ..Info::of(axes, head.dtype)
    };
    let form = Form::plain(head.dtype, head.is_swapped);
    Ok(Arc::new(Linear::open(path, head.n_bytes as u64, strides, form, info)?))
}

/// What stands before the elements.
pub(super) struct NpyHeader {
    pub(super) dtype: DType,
    pub(super) is_swapped: bool,
    pub(super) is_fortran: bool,
    pub(super) shape: Vec<u64>,
    n_bytes: usize,
}

impl NpyHeader {
    /// Reads the head, and nothing behind it.
    ///
    /// # Errors
    /// `Format` if it is none.
    pub(super) fn read(from: &mut impl Read) -> Result<Self, Error> {
        let mut bytes = vec![0; 12];
        let cut_off = |_| Error::format("not a .npy: its header is cut off");
        from.read_exact(&mut bytes[..10]).map_err(cut_off)?;
        if bytes[6] != 1 {
            from.read_exact(&mut bytes[10..]).map_err(cut_off)?;
        }
        let length = Self::length(&bytes).filter(|n| *n <= MOST_HEADER);
        let length = length.ok_or_else(|| Error::format("not a .npy: it begins otherwise"))?;
        let start = if bytes[6] == 1 { 10 } else { 12 };
        bytes.resize(length.max(start), 0);
        from.read_exact(&mut bytes[start..]).map_err(cut_off)?;
        Self::parse(&bytes)
    }

    /// Bytes of the head of a file that begins with `first`.
    fn length(first: &[u8]) -> Option<usize> {
        let rest = first.strip_prefix(MAGIC)?;
        match rest.first()? {
            1 => Some(10 + usize::from(u16::from_le_bytes(rest.get(2..4)?.try_into().ok()?))),
            _ => Some(12 + u32::from_le_bytes(rest.get(2..6)?.try_into().ok()?) as usize),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = || {
            let n_bytes = Self::length(bytes)?;
            let start = if bytes[6] == 1 { 10 } else { 12 };
            Some((n_bytes, std::str::from_utf8(bytes.get(start..n_bytes)?).ok()?))
        };
        let (n_bytes, text) = text().ok_or_else(|| Error::format("not a .npy: its header is cut off"))?;
        let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let wrong = || Error::format("not a .npy: its header says no descr, fortran_order and shape");
        let descr = after("descr").ok_or_else(wrong)?;
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr);
        let dtype = descr.and_then(|descr| DType::ALL.into_iter().find(|d| Some(&d.typestr()[1..]) == descr.get(1..)));
        let dtype = dtype.ok_or_else(|| {
            Error::unsupported(
                "a .npy of something else than one number for each element: numpy.save makes one of each field",
            )
        })?;
        let swapped = if cfg!(target_endian = "little") { '>' } else { '<' };
        let lengths = after("shape").and_then(|rest| rest.split_once('(')?.1.split_once(')')).ok_or_else(wrong)?.0;
        let lengths = lengths.split(',').map(str::trim).filter(|length| !length.is_empty());
        Ok(Self {
            dtype,
            is_swapped: descr.is_some_and(|descr| descr.starts_with(swapped)),
            is_fortran: after("fortran_order").ok_or_else(wrong)?.starts_with("True"),
            shape: lengths.map(|length| length.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?,
            n_bytes,
        })
    }
}

fn parse(bytes: &[u8]) -> Option<(Vec<u64>, Vec<f64>)> {
    let NpyHeader { dtype, is_swapped, is_fortran, shape, n_bytes } = NpyHeader::parse(bytes).ok()?;
    if (is_fortran && shape.len() > 1) || dtype.is_complex() {
        return None;
    }
    let n = usize::try_from(crate::grid::n_elements(&shape)).ok()?.checked_mul(dtype.size())?;
    if n > bytes.len() {
        return None;
    }
    let mut elements = crate::block::Buffer::default();
    let out = elements.sized(n);
    out.copy_from_slice(bytes.get(n_bytes..)?.get(..n)?);
    if is_swapped {
        swap_bytes(out, dtype.size());
    }
    Some((shape, to_f64(dtype, out)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_back() {
        let header = |shape: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
            bytes.extend(
                format!("{:<69}\n", format!("{{'descr': '<i2', 'fortran_order': False, 'shape': {shape}, }}")).bytes(),
            );
            bytes
        };
        let mut bytes = header("(3,)");
        [1i16, -2, 3].iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
        assert_eq!(parse(&bytes).unwrap(), (vec![3], vec![1.0, -2.0, 3.0]));
        assert!(parse(&bytes[..bytes.len() - 1]).is_none());
        assert_eq!(parse(&[header("(3, 1)"), vec![0; 6]].concat()).unwrap().0, [3, 1]);
        for end in 0..20 {
            assert!(parse(&bytes[..end]).is_none());
        }
    }
}
