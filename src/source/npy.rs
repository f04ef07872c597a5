//! Small `.npy` files as input: weights of means and kernels.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// Largest file that is read: weights are one number for each index of an axis, kernels are small.
const MOST_BYTES: u64 = 64 << 20;

/// The numbers of a one-dimensional `.npy` file of any real type.
///
/// # Errors
/// `Io` if it cannot be read; `Format` if it is something else.
pub fn vector(path: &Path) -> Result<Vec<f64>, Error> {
    match numbers(path)? {
        (shape, numbers) if shape.len() == 1 => Ok(numbers),
        (shape, _) => Err(Error::format(format!("{}: has {} axes, one is needed", path.display(), shape.len()))),
    }
}

/// The shape and the numbers, row-major, of a `.npy` file of any real type.
///
/// # Errors
/// `Io` if it cannot be read; `Format` if it is something else.
pub fn numbers(path: &Path) -> Result<(Vec<u64>, Vec<f64>), Error> {
    let meta = fs::metadata(path).map_err(|e| Error::io(path, "cannot open", e))?;
    if meta.len() > MOST_BYTES {
        return Err(Error::format(format!("{}: too large for weights", path.display())));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, "cannot read", e))?;
    parse(&bytes).ok_or_else(|| {
        Error::format(format!("{}: not a .npy of real numbers in C order: numpy.save makes one", path.display()))
    })
}

fn parse(bytes: &[u8]) -> Option<(Vec<u64>, Vec<f64>)> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (length_at, length_bytes) = if rest.first()? >= &2 { (2, 4) } else { (2, 2) };
    let mut length = [0u8; 4];
    length[..length_bytes].copy_from_slice(rest.get(length_at..length_at + length_bytes)?);
    let header_end = length_at + length_bytes + u32::from_le_bytes(length) as usize;
    let header = std::str::from_utf8(rest.get(length_at + length_bytes..header_end)?).ok()?;
    let data = rest.get(header_end..)?;
    let quoted = |key: &str| {
        let after = header.split_once(&format!("'{key}':"))?.1.trim_start();
        after.strip_prefix('\'')?.split_once('\'').map(|(v, _)| v)
    };
    let descr = quoted("descr")?;
    let shape = header.split_once("'shape':")?.1.split_once('(')?.1.split_once(')')?.0;
    let lengths = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
    let shape: Vec<u64> = lengths.map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let n = usize::try_from(crate::grid::n_elements(&shape)).ok()?;
    let is_fortran = header.split_once("'fortran_order':")?.1.trim_start().starts_with("True");
    if is_fortran && shape.len() > 1 {
        return None;
    }
    let size: usize = descr.get(2..)?.parse().ok()?;
    let big = descr.starts_with('>');
    if size == 0 || size > 8 || data.len() / size < n {
        return None;
    }
    let number = |raw: &[u8]| -> Option<f64> {
        let mut native: Vec<u8> = raw.to_vec();
        if big != cfg!(target_endian = "big") && size > 1 {
            native.reverse();
        }
        macro_rules! as_f64 {
            ($t:ty) => {
                <$t>::from_ne_bytes(native.try_into().ok()?) as f64
            };
        }
        Some(match descr.get(1..)? {
            "f2" => half::f16::from_ne_bytes(native.try_into().ok()?).to_f64(),
            "f4" => f64::from(f32::from_ne_bytes(native.try_into().ok()?)),
            "f8" => f64::from_ne_bytes(native.try_into().ok()?),
            "u1" | "b1" => as_f64!(u8),
            "u2" => as_f64!(u16),
            "u4" => as_f64!(u32),
            "u8" => as_f64!(u64),
            "i1" => as_f64!(i8),
            "i2" => as_f64!(i16),
            "i4" => as_f64!(i32),
            "i8" => as_f64!(i64),
            _ => return None,
        })
    };
    let numbers: Option<Vec<f64>> = data.chunks_exact(size).take(n).map(number).collect();
    Some((shape, numbers?))
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
