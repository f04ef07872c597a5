//! NumPy's `.npy`, to a file or a stream, and its elements without what stands before them: row-major, in native byte
//! order.
//!
//! Source: NEP 1, a simple file format for NumPy arrays.

use std::io::Write;
use std::path::Path;

use super::flat::{FlatSink, Placement};
use super::{OutputOptions, Spec};
use crate::consume::Consumer;
use crate::dtype::DType;
use crate::error::Result;
use crate::store::{Store, sums};

/// The head is filled up to a multiple of this, so that elements are aligned.
const ALIGNMENT: usize = 64;

/// The file that will be called `path`.
///
/// # Errors
/// `Usage` if something stands under the name.
pub(super) fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    behind(head(&spec.shape(), spec.dtype), path, spec, options)
}

/// The file of elements alone that will be called `path`.
///
/// # Errors
/// `Usage` if something stands under the name.
pub(super) fn create_raw(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    behind(Vec::new(), path, spec, options)
}

fn behind(head: Vec<u8>, path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let placement = Placement::row_major(head.len() as u64, &spec.shape(), spec.dtype);
    let write = Box::new(move |store: &Store| store.put_at(0, &head).map(|_| ()));
    Ok(Box::new(FlatSink::file(path, spec, options, write, placement)?.npy()))
}

/// A stream, such as standard output.
pub(super) fn stream(to: Box<dyn Write + Send>, spec: &Spec, is_raw: bool) -> Box<dyn Consumer> {
    let head = if is_raw { Vec::new() } else { head(&spec.shape(), spec.dtype) };
    Box::new(FlatSink::stream(spec, to, head))
}

/// A whole array, with its checksum.
pub(super) fn whole(shape: &[u64], dtype: DType, elements: &[u8]) -> Vec<u8> {
    let mut bytes = head(shape, dtype);
    let end = bytes.len();
    bytes.extend_from_slice(elements);
    sums::sign_head(&mut bytes, end);
    bytes
}

/// What stands before the elements of an array of `spec`.
pub(super) fn head_of(spec: &Spec) -> Result<Vec<u8>> {
    Ok(head(&spec.shape(), spec.dtype))
}

/// Everything before the elements.
fn head(shape: &[u64], dtype: DType) -> Vec<u8> {
    let mut typestr = dtype.typestr();
    if cfg!(target_endian = "big") {
        typestr = typestr.replace('<', ">");
    }
    let lengths: Vec<String> = shape.iter().map(u64::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let shape = lengths.join(", ");
    let mut text = format!("{{'descr': '{typestr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    // Version 1 counts the text in 16 bits, version 2 in 32.
    let version = if text.len() + sums::BLANKS + ALIGNMENT < usize::from(u16::MAX) { 1u8 } else { 2 };
    let before = if version == 1 { 10 } else { 12 };
    let padding = ALIGNMENT - (before + text.len() + sums::BLANKS + 1) % ALIGNMENT;
    text.push_str(&" ".repeat(sums::BLANKS + padding % ALIGNMENT));
    text.push('\n');
    let mut head = b"\x93NUMPY".to_vec();
    head.extend([version, 0]);
    if version == 1 {
        head.extend((text.len() as u16).to_le_bytes());
    } else {
        head.extend((text.len() as u32).to_le_bytes());
    }
    head.extend(text.as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_numpys() {
        let head = head(&[3], DType::Uint16);
        assert_eq!(head.len() % ALIGNMENT, 0);
        let text = String::from_utf8_lossy(&head[10..]);
        assert!(text.starts_with("{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }"), "{text}");
        assert!(text.ends_with(" \n"));
    }
}
