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
use crate::store::{self, Durability, OutputKind};

pub mod animation;
pub mod figures;
mod flat;
mod folding;
mod npy;
mod npz;
pub mod png;
pub mod preview;
pub mod report;
mod series;
mod table;
mod tiff;
mod whole;
pub mod zarr;

use png::PngOptions;
use zarr::{ImageOptions, ZarrFormat};

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
    /// The first output of the run, if this is another one.
    pub first: Option<PathBuf>,
    /// What must be on the disk before the output gets its name.
    pub durability: Durability,
    /// Which Zarr.
    pub format: ZarrFormat,
    /// Shape of chunks, or of tiles; a suitable one if `None`.
    pub chunks: Option<Vec<u64>>,
    /// How chunks are put into shards.
    pub shards: Sharding,
    /// How chunks, or tiles, are encoded; as suits the format if `None`.
    pub codec: Option<Codec>,
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
            first: None,
            durability: Durability::default(),
            format: ZarrFormat::V3,
            chunks: None,
            shards: Sharding::Auto,
            codec: None,
            png: PngOptions::default(),
            image: ImageOptions::default(),
        }
    }
}

impl OutputOptions {
    /// Refuses a name under which something stands that may not be replaced, and that no earlier run of the same job
    /// has left there.
    fn check_free(&self, path: &Path, kind: OutputKind) -> Result<()> {
        if self.first.as_deref().is_some_and(store::is_announced) {
            return Ok(());
        }
        store::check_free(path, self.overwrite, kind)
    }
}

impl From<&zarr::ZarrOptions> for OutputOptions {
    fn from(options: &zarr::ZarrOptions) -> Self {
        Self {
            overwrite: options.overwrite,
            first: None,
            durability: options.durability,
            format: options.format,
            chunks: Some(options.chunks.clone()),
            shards: options.shards.clone().map_or(Sharding::None, Sharding::Shape),
            codec: Some(options.codec.clone()),
            png: PngOptions::default(),
            image: options.image.clone(),
        }
    }
}

/// Makes an output of one format.
type Create = fn(&Path, &Spec, &OutputOptions) -> Result<Box<dyn Consumer>>;

/// An output format: its extensions, lower case without dot, what makes it, and what stands before the elements of one
/// file of a series, if there are series of it.
struct Entry(&'static [&'static str], Create, Option<series::HeadOf>);

/// Every output format.
const FORMATS: &[Entry] = &[
    Entry(&["zarr", "ozx", "zip"], zarr::create, None),
    Entry(&["npy"], npy::create, Some(|spec, _, _| npy::head_of(spec))),
    Entry(&["npz"], npz::create, None),
    Entry(&["raw"], npy::create_raw, Some(|_, _, _| Ok(Vec::new()))),
    Entry(&["ome.tif", "ome.tiff", "ome.btf"], tiff::create_ome, None),
    Entry(&["tif", "tiff", "btf"], tiff::create, Some(tiff::head_of)),
    Entry(&["png"], png::create, None),
    Entry(&["csv", "tsv"], table::create, None),
];

/// The output that will be called `path`, in the format that its extension names. Nothing is touched before it is
/// begun.
///
/// # Errors
/// `Usage` if there is no such format, the array does not fit it, or something stands under the name.
pub fn create(path: &Path, spec: &Spec, options: &OutputOptions) -> Result<Box<dyn Consumer>> {
    match format_of(path)? {
        Entry(_, _, Some(head)) if series::divided(path).is_some() => series::create(path, spec, options, *head),
        Entry(_, create, _) => create(path, spec, options),
    }
}

/// Whether braces in the name `path` are filled in with axes of the array: that of a series, or of pictures.
pub fn takes_fields(path: &Path) -> bool {
    format_of(path).is_ok_and(|Entry(known, _, head)| head.is_some() || known.contains(&"png"))
}

/// What gets a name where `path` is written: the folder of a series, else what is called so.
pub fn place_of(path: &Path) -> PathBuf {
    let is_series = format_of(path).is_ok_and(|Entry(_, _, head)| head.is_some());
    let folder = series::divided(path).filter(|_| is_series).map(|(folder, _)| folder);
    folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| path.to_owned())
}

/// Refuses a name whose extension names no format.
///
/// # Errors
/// `Usage`, listing those there are.
pub fn check_name(path: &Path) -> Result<()> {
    if is_stream(path) { Ok(()) } else { format_of(path).map(|_| ()) }
}

/// Whether `path` stands for standard output.
pub fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses a name as [`check_name`], and one under which something stands that may not be replaced.
///
/// # Errors
/// `Usage`, saying what stands there.
pub fn check_free(path: &Path, overwrite: bool) -> Result<()> {
    check_name(path)?;
    if is_stream(path) {
        return Ok(());
    }
    let kind = if extension(path) == "zarr" { zarr::KIND } else { OutputKind::File };
    store::check_free(path, overwrite, kind)
}

fn format_of(path: &Path) -> Result<&'static Entry> {
    let (last, both) = (extension(path), double(path));
    let by = |ending: &str| FORMATS.iter().find(|Entry(known, ..)| known.contains(&ending));
    if let Some(entry) = by(&both).or_else(|| by(&last)) {
        return Ok(entry);
    }
    if matches!(last.as_str(), "h5" | "hdf5" | "nc" | "nc4" | "ims") {
        let path = path.display();
        return Err(Error::usage(format!("{path}: HDF5 and NetCDF are read, not written: write .zarr, or .npy")));
    }
    let known: Vec<String> =
        FORMATS.iter().flat_map(|Entry(known, ..)| *known).map(|known| format!(".{known}")).collect();
    Err(Error::usage(format!(
        "{}: no output format has this extension: one of {}, or - for standard output",
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

/// The last two endings of a name, in lower case: `ome.tif`.
fn double(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let parts: Vec<&str> = name.rsplitn(3, '.').collect();
    parts.get(1).map_or(String::new(), |before| format!("{before}.{}", parts[0]))
}

/// Whether the output that is called `path` is an OME-TIFF.
pub fn is_ome_tiff(path: &Path) -> bool {
    matches!(double(path).as_str(), "ome.tif" | "ome.tiff" | "ome.btf")
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

/// A stream of `.npy`, or of the elements alone, such as standard output.
pub fn stream(to: Box<dyn Write + Send>, spec: &Spec, is_raw: bool) -> Box<dyn Consumer> {
    npy::stream(to, spec, is_raw)
}
