//! Output formats: consumers that write.
//!
//! A format is one module and one line in [`FORMATS`]. Its consumer encodes blocks in any order and on any thread,
//! and what depends on order is put together in plan order, so that its bytes do not depend on the number of threads.
//! The output is visible under its name only once it is whole.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::axis::Axis;
use crate::codec::Codec;
use crate::consume::{Consumer, Place};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::store::{self, Durability, Kind};

pub mod animation;
pub mod figures;
mod flat;
mod npy;
pub mod png;
pub mod preview;
mod table;
mod tiff;
mod whole;
pub mod zarr;

use png::PngOptions;
use zarr::{Format, ImageOptions};

/// The array that a sink is to hold.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its axes, slowest first.
    pub axes: Vec<Axis>,
    /// Type of its elements.
    pub dtype: DType,
    /// Value of elements never stored: one element's bytes, native order.
    pub fill: Vec<u8>,
    /// What is to be known of the array's origin: command line, version, pattern, inputs.
    pub provenance: serde_json::Value,
}

impl Spec {
    /// What holds `array` as it is.
    pub fn of(array: &dyn crate::array::Array) -> Self {
        let (axes, dtype, fill) = (array.axes().to_vec(), array.dtype(), array.fill_bytes());
        Self { axes, dtype, fill, provenance: serde_json::Value::Null }
    }

    /// Lengths of all axes.
    pub fn shape(&self) -> Vec<u64> {
        crate::axis::shape(&self.axes)
    }
}

/// How outputs are written, whatever their format.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// Whether an older output of this name is replaced, at the end.
    pub overwrite: bool,
    /// What must be on the disk before the output gets its name.
    pub durability: Durability,
    /// Which Zarr.
    pub format: Format,
    /// Shape of Zarr's chunks; a suitable one if `None`.
    pub chunks: Option<Vec<u64>>,
    /// How chunks are put into shards.
    pub shards: Sharding,
    /// How Zarr's chunks are encoded.
    pub codec: Codec,
    /// How values become grey levels of a PNG.
    pub png: PngOptions,
    /// What a Zarr holds beside the array.
    pub image: ImageOptions,
}

/// How chunks are put into shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sharding {
    /// As suits the array; none in Zarr v2.
    #[default]
    Auto,
    /// Every chunk is a file.
    None,
    /// Of this shape.
    Shape(Vec<u64>),
}

impl FromStr for Sharding {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(known) = [Self::Auto, Self::None].into_iter().find(|known| known.to_string() == text) {
            return Ok(known);
        }
        let lengths: Result<Vec<u64>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        let no = |_| Error::usage(format!("'{text}' is not a shape: auto, none, or lengths such as 1,1,64,512,512"));
        lengths.map(Self::Shape).map_err(no)
    }
}

impl fmt::Display for Sharding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Shape(shape) => f.write_str(&shape.iter().map(u64::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl Default for OutputOptions {
    fn default() -> Self {
        Self {
            overwrite: false,
            durability: Durability::default(),
            format: Format::V3,
            chunks: None,
            shards: Sharding::Auto,
            codec: Codec::DEFAULT,
            png: PngOptions::default(),
            image: ImageOptions::default(),
        }
    }
}

impl From<&zarr::ZarrOptions> for OutputOptions {
    fn from(options: &zarr::ZarrOptions) -> Self {
        Self {
            overwrite: options.overwrite,
            durability: options.durability,
            format: options.format,
            chunks: Some(options.chunks.clone()),
            shards: options.shards.clone().map_or(Sharding::None, Sharding::Shape),
            codec: options.codec.clone(),
            png: PngOptions::default(),
            image: options.image.clone(),
        }
    }
}

/// Makes an output of one format.
type Create = fn(&Path, &Spec, &OutputOptions) -> Result<Box<dyn Consumer>>;

/// Every output format by its extensions, lower case without dot.
const FORMATS: &[(&[&str], Create)] = &[
    (&["zarr", "ozx", "zip"], zarr::create),
    (&["npy"], npy::create),
    (&["tif", "tiff", "btf"], tiff::create),
    (&["png"], png::create),
    (&["csv", "tsv"], table::create),
];

/// The output that will be called `path`, in the format that its extension names. Nothing is touched before it is
/// begun.
///
/// # Errors
/// `Usage` if there is no such format, the array does not fit it, or something stands under the name.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    format_of(path)?(path, spec, options)
}

/// Refuses a name whose extension names no format.
///
/// # Errors
/// `Usage`, listing those there are.
pub fn check_name(path: &Path) -> Result<()> {
    format_of(path).map(|_| ())
}

/// Refuses a name as [`check_name`], and one under which something stands that may not be replaced.
///
/// # Errors
/// `Usage`, saying what stands there.
pub fn check_free(path: &Path, overwrite: bool) -> Result<()> {
    check_name(path)?;
    let kind = if extension(path) == "zarr" { zarr::KIND } else { Kind::File };
    store::check_free(path, overwrite, kind)
}

fn format_of(path: &Path) -> Result<Create> {
    let extension = extension(path);
    if let Some((_, create)) = FORMATS.iter().find(|(known, _)| known.contains(&extension.as_str())) {
        return Ok(*create);
    }
    let known: Vec<String> = FORMATS.iter().flat_map(|(known, _)| *known).map(|known| format!(".{known}")).collect();
    Err(Error::usage(format!(
        "{}: no output format has this extension: one of {}, or - for .npy on standard output",
        path.display(),
        known.join(" ")
    )))
}

/// The ending of a name, in lower case; `data.zarr/` is `data.zarr`, and what lies inside a Zarr is one too.
pub fn extension(path: &Path) -> String {
    let name: PathBuf = path.components().collect();
    let ending = |path: &Path| path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_inside = |path: &Path| path.ancestors().skip(1).any(|above| ending(above) == "zarr");
    match ending(&name) {
        none if none.is_empty() && is_inside(&name) => "zarr".into(),
        own => own,
    }
}

/// Whether the output that is called `path` is a Zarr, in a folder or in an archive.
pub fn is_zarr(path: &Path) -> bool {
    matches!(extension(path).as_str(), "zarr" | "ozx" | "zip")
}

/// `tally` with what earlier runs have recorded at `place`, each unit once.
fn remembered<T>(place: &Place, mut tally: T, mut add: impl FnMut(&mut T, &[u8]) -> Result<()>) -> Result<T> {
    let Some(store) = place.store().filter(|store| !store.done().is_empty()) else { return Ok(tally) };
    // A record may be shown twice.
    let mut seen = std::collections::BTreeSet::new();
    store.records(|record| match store.done().contains(&record.unit) && seen.insert(record.unit) {
        true => add(&mut tally, &record.state),
        false => Ok(()),
    })?;
    Ok(tally)
}

/// A whole array as `.npy`: `elements` are of `dtype`, row-major.
pub fn npy_bytes(shape: &[u64], dtype: DType, elements: &[u8]) -> Vec<u8> {
    npy::whole(shape, dtype, elements)
}

/// A stream of `.npy`, such as standard output.
pub fn stream(to: Box<dyn Write + Send>, spec: &Spec) -> Box<dyn Consumer> {
    npy::stream(to, spec)
}
