//! Uncompressed TIFF that ImageJ opens with the right axes.
//!
//! All directories stand before the planes, which follow one another without gaps, so that every element
//! has its place before the first is written. Planes lie as ImageJ wants them, channels fastest, then z,
//! then t; axes that ImageJ has no word for make a plain stack of pages in the array's order, with its
//! shape noted as tifffile does. BigTIFF where 4 GiB do not suffice.
//!
//! Source: TIFF 6.0; BigTIFF as libtiff documents it; the ImageDescription of ImageJ 1.54.

use std::path::Path;

use super::flat::{FlatSink, Placement};
use super::{OutputOptions, Spec};
use crate::axis::Axis;
use crate::block::size_bytes;
use crate::consume::Consumer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::n_elements;
use crate::sink::zarr::shown;
use crate::store::Store;

mod describe;
mod directory;
mod ome;
mod tile;
mod xml;

use directory::{DirectoryTemplate, TagValue};

/// Bytes of directories that are gathered before they are written.
const BATCH_BYTES: usize = 1 << 20;

/// The file that will be called `path`.
///
/// # Errors
/// `Usage` if the array has no element or a plane is too large for TIFF, or something stands under the name.
pub(super) fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    let planes = Planes::new(&spec.axes, spec.dtype).map_err(|e| e.at(path.display()))?;
    let strides = planes.strides.clone();
    let head = Head::new(planes, spec, &[], options);
    let placement = Placement { start: head.start(), strides };
    let write = move |store: &Store| head.write(&mut |at, bytes| store.put_at(at, bytes).map(|_| ()));
    Ok(Box::new(FlatSink::file(path, spec, options, Box::new(write), placement)?))
}

/// What stands before the elements of an array of `spec`, which follow it row-major, in one of the files along `named`.
///
/// # Errors
/// As [`create`].
pub(super) fn head_of(spec: &Spec, named: &[Axis], options: &OutputOptions) -> Result<Vec<u8>> {
    let mut planes = Planes::new(&spec.axes, spec.dtype)?;
    if planes.strides != Placement::row_major(0, &spec.shape(), spec.dtype).strides {
        planes.hyperstack = None;
    }
    let head = Head::new(planes, spec, named, options);
    let mut bytes = Vec::new();
    head.write(&mut |_, more| {
        bytes.extend_from_slice(more);
        Ok(())
    })?;
    bytes.resize(head.start() as usize, 0);
    Ok(bytes)
}

/// Everything before the planes.
struct Head {
    planes: Planes,
    big: bool,
    template: DirectoryTemplate,
    /// What all directories point to.
    shared: Vec<u8>,
}

impl Head {
    fn new(planes: Planes, spec: &Spec, named: &[Axis], options: &OutputOptions) -> Self {
        let data_bytes = size_bytes(&spec.shape(), spec.dtype);
        let shown = || shown(&spec.axes, spec.dtype, &options.image);
        let block = planes.hyperstack.and_then(|lengths| describe::imagej_block(&spec.axes, lengths, &shown()));
        let block_bytes = block.as_ref().map_or(0, |(sizes, bytes)| 4 * sizes.len() + bytes.len()) as u64;
        // What stands before the planes depends on the format only by less than this.
        let most_before = planes.n_pages.saturating_mul(512).saturating_add(64 << 10).saturating_add(block_bytes);
        let big = data_bytes.saturating_add(most_before) > u64::from(u32::MAX);
        let (template, shared) = planes.template(spec, named, block, big);
        Self { planes, big, template, shared }
    }

    /// Where the directory of a page lies.
    fn offset_of(&self, page: u64) -> u64 {
        let header_bytes = if self.big { 16 } else { 8 };
        let first = header_bytes + (self.shared.len() as u64).next_multiple_of(16);
        // Page 0 has the description, so its directory is longer.
        let [first_bytes, other_bytes] = [true, false].map(|is_first| self.template.n_bytes(is_first));
        if page == 0 { first } else { first + first_bytes + (page - 1) * other_bytes }
    }

    /// Where the first plane begins.
    fn start(&self) -> u64 {
        self.offset_of(self.planes.n_pages).next_multiple_of(16)
    }

    /// Gives all of it to `put`, piece by piece, each with its offset.
    fn write(&self, put: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let Planes { n_pages, plane_bytes, .. } = self.planes;
        let mut head = directory::header(self.big, self.offset_of(0));
        head.extend(&self.shared);
        let mut written = 0u64;
        for page in 0..n_pages {
            head.resize((self.offset_of(page) - written) as usize, 0);
            let next = if page + 1 < n_pages { self.offset_of(page + 1) } else { 0 };
            self.template.write(page == 0, self.start() + page * plane_bytes, next, &mut head);
            if head.len() >= BATCH_BYTES {
                put(written, &head)?;
                written += head.len() as u64;
                head.clear();
            }
        }
        put(written, &head)
    }
}

/// The OME-TIFF that will be called `path`.
///
/// # Errors
/// As [`create`], and `Usage` if OME has no place for what there is.
pub(super) fn create_ome(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    ome::create(path, spec, options)
}

/// Whether pixels of `samples` are red, green and blue.
fn is_colour(samples: u64, dtype: DType) -> bool {
    matches!(samples, 3 | 4) && matches!(dtype, DType::Uint8 | DType::Uint16)
}

/// TIFF's number for a kind of numbers.
fn sample_format(dtype: DType) -> u16 {
    match dtype {
        _ if dtype.is_complex() => 6,
        _ if dtype.is_float() => 3,
        _ if dtype.is_signed() => 2,
        _ => 1,
    }
}

/// How an array is laid out as pages.
struct Planes {
    n_pages: u64,
    height: u64,
    width: u64,
    /// Values of a pixel: channels that are stored pixel by pixel.
    samples: u64,
    plane_bytes: u64,
    /// Distances in the file between neighbours along each axis, in bytes.
    strides: Vec<u64>,
    /// Lengths of t, z and c if they are all there is beside the plane.
    hyperstack: Option<[u64; 3]>,
}

impl Planes {
    fn new(axes: &[Axis], dtype: DType) -> Result<Self> {
        let shape = crate::axis::shape(axes);
        if shape.contains(&0) {
            return Err(Error::usage(format!("an array of shape {shape:?} has no element for a TIFF file to hold")));
        }
        let names: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
        let (n_samples_axes, is_image) = match names.as_slice() {
            [.., "y", "x", "c" | "s"] => (1, true),
            [.., "y", "x"] => (0, true),
            _ => (0, false),
        };
        let n_plane_axes = (2 + n_samples_axes).min(axes.len());
        let (pages, plane) = axes.split_at(axes.len() - n_plane_axes);
        let length = |i: usize| plane.get(i).map_or(1, |a| a.length);
        let (height, width, samples) = match plane.len() {
            0 => (1, 1, 1),
            1 => (1, length(0), 1),
            _ => (length(0), length(1), length(2)),
        };
        if height.max(width) > u64::from(u32::MAX) || samples > u64::from(u16::MAX) {
            return Err(Error::usage(format!(
                "a plane of {height} x {width} x {samples} is too large for TIFF: write .zarr or .npy"
            )));
        }
        let plane_bytes = n_elements(&[height, width, samples]).saturating_mul(dtype.size() as u64);
        // ImageJ has no signed bytes, 64-bit integers, halves or complex numbers, and knows three axes of pages.
        let unknown = [DType::Int8, DType::Uint64, DType::Int64, DType::Float16];
        let known = !dtype.is_complex() && !unknown.contains(&dtype);
        let colour = samples == 1 || is_colour(samples, dtype);
        let place = |axis: &Axis| ["t", "z", "c"].iter().position(|n| *n == axis.name);
        let mut hyperstack = (known && colour && is_image).then_some([1u64; 3]);
        for axis in pages {
            match (place(axis), &mut hyperstack) {
                (Some(i), Some(lengths)) if lengths[i] == 1 => lengths[i] = axis.length,
                _ => hyperstack = None,
            }
        }
        let mut strides = Placement::row_major(0, &shape, dtype).strides;
        if let Some([_, z, c]) = hyperstack {
            let in_planes = [z.saturating_mul(c), c, 1];
            for (stride, axis) in strides.iter_mut().zip(pages) {
                *stride = place(axis).map_or(0, |i| in_planes[i]).saturating_mul(plane_bytes);
            }
        }
        let n_pages = n_elements(&crate::axis::shape(pages));
        Ok(Self { n_pages, height, width, samples, plane_bytes, strides, hyperstack })
    }

    /// The directory that every page has, and the bytes that all of them point to, which follow the header.
    fn template(
        &self,
        spec: &Spec,
        named: &[Axis],
        block: Option<(Vec<u32>, Vec<u8>)>,
        big: bool,
    ) -> (DirectoryTemplate, Vec<u8>) {
        let dtype = spec.dtype;
        let bits = 8 * dtype.size() as u16;
        let samples = self.samples as u16;
        let is_colour = is_colour(self.samples, dtype);
        let n_extra = usize::from(samples) - if is_colour { 3 } else { 1 };
        let text = match self.hyperstack {
            Some(lengths) => describe::imagej(&[named, &spec.axes].concat(), lengths, self.n_pages),
            None => describe::shaped(&spec.axes),
        };
        let software = concat!("stackctl ", env!("CARGO_PKG_VERSION"));
        let resolution = describe::resolution(&spec.axes, self.hyperstack.is_some());
        let mut directory = DirectoryTemplate::new(big);
        directory.add(256, TagValue::Long(self.width as u32));
        directory.add(257, TagValue::Long(self.height as u32));
        directory.add(258, TagValue::Shorts(vec![bits; usize::from(samples)]));
        directory.add(259, TagValue::Shorts(vec![1]));
        directory.add(262, TagValue::Shorts(vec![if is_colour { 2 } else { 1 }]));
        directory.add_to_first(270, TagValue::Text(text));
        directory.add(273, TagValue::PlaneOffset);
        directory.add(277, TagValue::Shorts(vec![samples]));
        directory.add(278, TagValue::Long(self.height as u32));
        directory.add(279, TagValue::Size(self.plane_bytes));
        if let Some(resolution) = &resolution {
            directory.add(282, TagValue::Rational(resolution.x));
            directory.add(283, TagValue::Rational(resolution.y));
        }
        directory.add(284, TagValue::Shorts(vec![1]));
        if let Some(resolution) = &resolution {
            directory.add(296, TagValue::Shorts(vec![resolution.unit]));
        }
        directory.add_to_first(305, TagValue::Text(software.into()));
        if n_extra > 0 {
            directory.add(338, TagValue::Shorts(vec![0; n_extra]));
        }
        directory.add(339, TagValue::Shorts(vec![sample_format(dtype); usize::from(samples)]));
        if let Some((sizes, bytes)) = block {
            directory.add_to_first(50838, TagValue::Longs(sizes));
            directory.add_to_first(50839, TagValue::Bytes(bytes));
        }
        let shared = directory.place(if big { 16 } else { 8 });
        (directory, shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planes(names: &[&str], shape: &[u64], dtype: DType) -> Planes {
        let axes: Vec<Axis> = names.iter().zip(shape).map(|(n, &l)| Axis::new(*n, l)).collect();
        Planes::new(&axes, dtype).unwrap()
    }

    #[test]
    fn planes_lie_as_imagej_wants_them() {
        let p = planes(&["t", "c", "z", "y", "x"], &[2, 3, 4, 5, 6], DType::Uint16);
        assert_eq!((p.n_pages, p.height, p.width, p.hyperstack), (24, 5, 6, Some([2, 4, 3])));
        assert_eq!(p.strides, [12 * 60, 60, 3 * 60, 12, 2]);
        let p = planes(&["p", "y", "x"], &[3, 5, 6], DType::Uint8);
        assert_eq!((p.n_pages, p.hyperstack, p.strides), (3, None, vec![30, 6, 1]));
        let p = planes(&["t", "y", "x", "c"], &[2, 5, 6, 3], DType::Uint8);
        assert_eq!((p.n_pages, p.samples, p.hyperstack), (2, 3, Some([2, 1, 1])));
        assert_eq!(planes(&["t"], &[7], DType::Float64).width, 7);
        assert_eq!(planes(&[], &[], DType::Float64).n_pages, 1);
        assert!(Planes::new(&[Axis::new("y", 0), Axis::new("x", 3)], DType::Uint8).is_err());
        assert!(Planes::new(&[Axis::new("y", 1), Axis::new("x", 1 << 32)], DType::Uint8).is_err());
    }
}
