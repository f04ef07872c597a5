//! Input formats: what a file says of its array, and reading a region of it.
//!
//! A format is one module with a [`FileArray`] and one line in [`FORMATS`]: a file is an [`Array`] too. Formats
//! know nothing of patterns, layouts or outputs.

use std::any::Any;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::array::{Array, Reader, Scratch};
use crate::axis::Axis;
use crate::block::size_bytes;
use crate::bytes;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;

mod cf;
pub mod files;
mod foreign;
#[cfg(feature = "hdf5")]
mod hdf5;
pub mod headers;
pub mod indexes;
pub mod known;
mod linear;
mod netcdf;
pub mod npy;
mod packed;
mod reader;
pub mod scan;
pub mod tiff;
pub mod zarr;

/// What a file's headers say of the array in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// Axes of the array in the file, slowest first. Axes of pages have their real names (`t c z y x`,
    /// `s` for samples that are not channels); the last two of an image are `y`, `x` or, for samples
    /// stored pixel by pixel, `y`, `x`, `c`.
    pub axes: Vec<Axis>,
    /// Type of the elements, after widening (10 bits become `uint16`).
    pub dtype: DType,
    /// Shape of the box, in `axes`, that is stored, and for coded data decoded, as one piece: a strip or a
    /// tile of one page. Boxes lie on a grid that begins at zero.
    pub unit: Vec<u64>,
    /// Whether a piece must be decoded whole even if little of it is wanted.
    pub coded: bool,
    /// Storage in words: `uncompressed, strips of 10 rows`, `LZW with predictor 2, tiles of 256x256`.
    pub storage: String,
    /// Memory that a reader needs beside its target, in bytes.
    pub scratch_bytes: u64,
    /// Memory that the open file holds on to (its index of pages), in bytes.
    pub held_bytes: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// What was set aside, assumed or left as it is.
    pub notes: Vec<Note>,
    /// Every series of the file, in words, when there is more than one; the chosen one comes first.
    pub series: Vec<String>,
    /// Shapes, in `axes`, of the levels of a multiscale image, the full resolution first; none if there is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<Vec<u64>>,
    /// The data set over several files that this file says it is a member of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Arc<Set>>,
    /// Planes that the description counts and the file lacks, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<Arc<AbsentPlanes>>,
    /// Planes of which strips or tiles have a place in the file and no bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emptied: Option<Arc<AbsentPlanes>>,
    /// The calendar of its dates, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<String>,
    /// Scale and offset by which its values are packed, where they stay so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packing: Option<(f64, f64)>,
    /// Which of the data set's files it is, by its identity, whatever its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<u32>,
}

/// Planes of an array that a description counts and a file lacks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AbsentPlanes {
    /// Number of leading axes of [`Info::axes`] that the planes are counted over.
    pub n_axes: usize,
    /// Row-major numbers of the planes over those axes, in order, as runs that do not touch.
    pub runs: Vec<Range<u64>>,
}

impl AbsentPlanes {
    /// The planes that `is_there` gives `false` for, counted over `n_axes` leading axes; `None` if none is absent.
    pub fn new(n_axes: usize, is_there: impl Iterator<Item = bool>) -> Option<Self> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for plane in (0..).zip(is_there).filter(|(_, there)| !there).map(|(plane, _)| plane) {
            match runs.last_mut().filter(|run| run.end == plane) {
                Some(run) => run.end += 1,
                None => runs.push(plane..plane + 1),
            }
        }
        (!runs.is_empty()).then_some(Self { n_axes, runs })
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// Whether plane number `plane` is one of them.
    pub fn contains(&self, plane: u64) -> bool {
        let after = self.runs.partition_point(|run| run.start <= plane);
        self.runs[..after].last().is_some_and(|run| run.contains(&plane))
    }
}

impl Info {
    /// What is known of an array of `axes` in one piece; the rest is to be put in.
    pub(crate) fn of(axes: Vec<Axis>, dtype: DType) -> Self {
        Self {
            unit: crate::axis::shape(&axes),
            axes,
            dtype,
            coded: false,
            storage: String::new(),
            scratch_bytes: 0,
            held_bytes: 4 << 10,
            file_bytes: 0,
            notes: Vec::new(),
            series: Vec::new(),
            levels: Vec::new(),
            set: None,
            absent: None,
            emptied: None,
            member: None,
            calendar: None,
            packing: None,
        }
    }

    /// Whether the file breaks off, so that there may have been more planes.
    pub fn breaks_off(&self) -> bool {
        self.notes.iter().any(|note| note.kind == NoteKind::BrokenOff)
    }

    /// Number of planes of y and x that the file holds.
    pub fn n_planes(&self) -> u64 {
        let all: u64 = self.axes.iter().take_while(|a| a.name != "y").map(|a| a.length).product();
        all - self.absent.as_ref().map_or(0, |absent| absent.count().min(all))
    }

    /// Lengths of all axes.
    pub fn shape(&self) -> Vec<u64> {
        crate::axis::shape(&self.axes)
    }

    /// The boundaries of stored pieces around `at` of `axis`, as [`Array::grain`] gives them.
    pub fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        let (unit, end) = (self.unit[axis].max(1), self.axes[axis].length);
        ((at / unit * unit).min(end), (at.div_ceil(unit) * unit).min(end))
    }
}

/// Something that a reader set aside, assumed or left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// What a user should know, in words.
    pub text: String,
}

impl Note {
    /// A note of `kind`.
    pub fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// Pages that nobody asked to leave out and that are no known copy, mask, label or level of those that are
    /// read.
    PagesLost,
    /// Pages left out as asked, or because they are copies, masks, labels or levels.
    PagesLeftOut,
    /// Planes that a description counts and the file does not have.
    PlanesAbsent,
    /// A description that is not used.
    DescriptionUnused,
    /// Axes that are named otherwise than the file names them.
    PagesRenamed,
    /// Several series that are read as one.
    SeriesJoined,
    /// The file is a member of a data set over several files.
    SetMember,
    /// Indices into a palette are kept.
    PaletteKept,
    /// White is zero, and is kept so.
    WhiteIsZeroKept,
    /// Colours other than red, green and blue are kept as stored.
    ColoursKept,
    /// The image is neither turned nor mirrored.
    OrientationKept,
    /// Samples have become wider elements.
    Widened,
    /// A value that stands for no data is kept.
    NoData,
    /// A calibration of values is not applied.
    OffsetNotApplied,
    /// The file breaks off: there may have been more pages.
    BrokenOff,
    /// Strips or tiles that have a place in the file and no bytes.
    PiecesEmptied,
    /// Chunks that are not stored.
    ChunksAbsent,
    /// Stored chunks that are none of the array's.
    ChunksUnused,
    /// A file that cannot be read, which is passed over as asked.
    FileLeftOut,
    /// What was assumed of names.
    Names,
    /// Axes that the user's order leaves out.
    AxesLeftOut,
    /// Files or names that say otherwise what a step is.
    StepsDiffer,
    /// Places along an axis of the output that no one step says.
    Uneven,
    /// The output is no OME-Zarr image.
    NoImage,
    /// Labels of the image that are not copied with it.
    LabelsLeft,
}

impl NoteKind {
    /// Whether pixels could be lost: a run is refused unless it says which pages it wants.
    pub fn is_grave(self) -> bool {
        self == Self::PagesLost
    }

    /// Whether it only repeats what names or files say of themselves.
    pub fn is_plain(self) -> bool {
        matches!(self, Self::Names | Self::SetMember)
    }
}

/// A data set whose planes are spread over several files, as OME-XML describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Identity of the set: equal in every member.
    pub id: String,
    /// Names and lengths of the axes of planes, slowest first, without y and x.
    pub axes: Vec<(String, u64)>,
    /// For every plane in row-major order of `axes`: which member file (index into `files`) and which of
    /// its pages; `None` where the description names none.
    pub planes: Vec<Option<(u32, u32)>>,
    /// Names of the member files, relative to the file that says so.
    pub files: Vec<String>,
    /// All axes of the whole, those of a page included, with what is known of them.
    pub described: Vec<Axis>,
    /// Whether another file says so, to which this one refers: given alone, it stands for itself.
    pub elsewhere: bool,
}

/// How a file is to be understood, where it leaves a choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// Which series, counted from zero; the main one if `None`.
    pub series: Option<usize>,
    /// Which variable of a file that holds several; the only one if `None`.
    pub variable: Option<String>,
    /// The command that reads files, instead of the formats.
    pub reader: Option<String>,
    /// Whether packed values are unpacked, and how.
    pub unpack: Option<Unpack>,
    /// Axis that the pages of a file are when nothing in the file says so; `z` if `None`.
    pub pages: Option<String>,
    /// Which level of a multiscale image, counted from zero; full resolution if `None`.
    pub level: Option<usize>,
    /// Read what metadata name outside of their folder.
    pub follow: bool,
    /// Read what can be read of a file that is not whole: pages that cannot be read are absent.
    pub skip_bad: bool,
    /// With `skip_bad`, pages that a file should have whose chain of pages breaks off: those behind are absent.
    pub n_pages: Option<u64>,
    /// Ignore descriptions: the array is (page, y, x), pages as they follow one another. Members of a
    /// [`Set`] are read so.
    pub as_pages: bool,
    /// Largest index of pages that may be held in memory, in bytes; no limit but the file's size if `None`.
    pub limit_bytes: Option<u64>,
}

/// How packed values become those that they stand for: by scale_factor, add_offset and _FillValue of their own file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Unpack {
    /// What missing values become; if `None`, they are refused.
    pub hole: Option<f64>,
}

/// An open file that holds an array: what its headers say makes it an [`Array`].
pub trait FileArray: Array + 'static {
    /// What its headers say.
    fn info(&self) -> &Info;

    /// One element's bytes of what is not stored, if that can be.
    fn absent_value(&self) -> Option<&[u8]> {
        None
    }

    /// Memory that a reader needs for regions of `shape` beside its target, in bytes.
    fn scratch_bytes(&self, _shape: &[u64]) -> u64 {
        self.info().scratch_bytes
    }

    /// What reads it for one worker.
    fn file_reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader>;

    /// What it takes to open it again without reading headers, where its format knows how.
    fn index(&self) -> Option<Arc<dyn FileIndex>> {
        None
    }

    /// How its pieces are encoded, for readers that know nothing of its format.
    ///
    /// # Errors
    /// `Unsupported`, naming the page, if they are no chunks of a grid that others decode.
    fn encodings(&self) -> Result<Encodings> {
        Err(Error::unsupported("only the strips and tiles of TIFF files are chunks for others"))
    }

    /// Shape of a piece of so many rows and columns, in its axes.
    fn cell(&self, _rows: u64, _columns: u64) -> Vec<u64> {
        self.info().unit.clone()
    }

    /// Gives the pieces of `region`, in rows of `rows` where they are not coded.
    ///
    /// # Errors
    /// As [`FileArray::encodings`], and what `give` returns.
    fn each_piece(&self, _region: &Region, _rows: u64, _give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        self.encodings().map(|_| ())
    }
}

impl<F: FileArray> Array for F {
    fn axes(&self) -> &[Axis] {
        &self.info().axes
    }

    fn dtype(&self) -> DType {
        self.info().dtype
    }

    fn fill(&self) -> Option<&[u8]> {
        self.absent_value()
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        self.info().grain(axis, at)
    }

    fn coded(&self) -> bool {
        self.info().coded
    }

    fn needs(&self, shape: &[u64]) -> u64 {
        self.scratch_bytes(shape)
    }

    fn held_bytes(&self) -> u64 {
        self.info().held_bytes
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        self.file_reader(scratch)
    }
}

/// A stored piece of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its box in the axes of the file, clipped to it.
    pub region: Region,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub n_bytes: u64,
}

/// What undoes a piece, in the words of numcodecs and imagecodecs.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    /// The compressor.
    pub codec: Option<&'static str>,
    /// What was done to rows before.
    pub predictor: Option<&'static str>,
    /// Byte order of the elements.
    pub big_endian: bool,
}

/// How all pieces of a file are encoded and cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Encodings {
    /// What undoes them.
    pub encoding: Encoding,
    /// Whether every page lies in one piece, as it is.
    pub is_whole: bool,
    /// Whether they are tiles.
    pub is_tiled: bool,
    /// Rows of a strip or tile.
    pub rows: u64,
    /// Columns of it.
    pub columns: u64,
}

impl Encodings {
    /// Whether `other` differs in nothing but where pieces lie.
    pub fn is_like(&self, other: &Self) -> bool {
        Self { is_whole: self.is_whole, ..other.clone() } == *self
    }
}

impl std::fmt::Display for Encodings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { encoding, is_tiled, rows, columns, .. } = self;
        let codec = encoding.codec.unwrap_or("uncompressed").trim_start_matches("imagecodecs_");
        let predictor = if encoding.predictor.is_some() { " with predictor" } else { "" };
        let order = if encoding.big_endian { ", big-endian" } else { "" };
        let kind = if *is_tiled { format!("tiles of {rows} x {columns}") } else { format!("strips of {rows} rows") };
        write!(f, "{codec}{predictor}, {kind}{order}")
    }
}

/// What the headers of a file say, without the file.
pub trait FileIndex: Any + Send + Sync {
    /// Memory that it holds, in bytes.
    fn held_bytes(&self) -> u64;

    /// Whether it says of its file what `other` says.
    fn is_like(&self, other: &dyn FileIndex) -> bool;

    /// Opens the file at `path`, whose headers are these.
    ///
    /// # Errors
    /// `Format` if its size has changed, `Io` if it cannot be opened.
    fn open(self: Arc<Self>, path: &Path) -> Result<Arc<dyn FileArray>>;
}

/// Opens a file, reading headers only, which may be like others that were opened before with the same options.
pub type Open = fn(&Path, &OpenOptions, &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>>;

/// An input format.
pub struct Format {
    /// Name for messages.
    pub name: &'static str,
    /// File name extensions, lower case without dot, that directories are searched for.
    pub extensions: &'static [&'static str],
    /// Whether a folder is a file of this format, for formats that are folders.
    pub recognise: Option<fn(&Path) -> bool>,
    /// Whether a file that begins with these bytes, as many as there are of the first 16, is of this format, where its
    /// extension does not say.
    pub magic: Option<fn(&[u8]) -> bool>,
    /// Whether a file has arrays by name, of which `--variable` chooses.
    pub has_variables: bool,
    /// Opens a file.
    pub open: Open,
}

/// Every input format.
pub const FORMATS: &[Format] = &[
    tiff::FORMAT,
    zarr::FORMAT,
    npy::FORMAT,
    netcdf::FORMAT,
    #[cfg(feature = "hdf5")]
    hdf5::FORMAT,
];

/// Whether `path` is a folder that one of the formats reads as a file.
pub fn is_foldered_file(path: &Path) -> bool {
    FORMATS.iter().filter_map(|f| f.recognise).any(|recognise| recognise(path))
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Whether a file is named as those of the first format, whose pages are planes.
pub fn is_image(path: &Path) -> bool {
    FORMATS[0].extensions.contains(&extension(path).as_str())
}

/// Whether `path` is named as one of a format whose arrays have axes of their own, in an order of their own.
pub fn has_axes(path: &Path) -> bool {
    is_foldered_file(path) || FORMATS[1..].iter().any(|format| format.extensions.contains(&extension(path).as_str()))
}

/// The format that the first bytes of the file at `path` are of.
fn by_first_bytes(path: &Path) -> Option<&'static Format> {
    use std::io::Read;
    let mut first = Vec::new();
    std::fs::File::open(path).ok()?.take(16).read_to_end(&mut first).ok()?;
    FORMATS.iter().find(|format| format.magic.is_some_and(|is| is(&first)))
}

/// Opens `path`: a folder by what is in it, a TIFF by its extension, any other file by its first bytes, else by its
/// extension; what nothing knows is tried as the first format.
///
/// # Errors
/// As the format's `open`.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn FileArray>> {
    open_like(path, options, &[])
}

/// The same of a file that may be like others, whose indexes are known: one that begins like one of them need not be looked
/// through.
fn open_like(path: &Path, options: &OpenOptions, others: &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>> {
    if let Some(command) = &options.reader {
        return reader::open(path, command, options.pages.as_deref()).map_err(|e| e.at(path.display()));
    }
    let is_remote = bytes::is_remote(path);
    // Of many images few are something else than their names say, and these are looked at below.
    let is_likely = !others.is_empty() && !is_remote && options.variable.is_none() && is_image(path);
    if is_likely && let Ok(array) = (FORMATS[0].open)(path, options, others) {
        return of_possible_size(array, path);
    }
    // Opening a pipe would wait for somebody who writes into it.
    let found = std::fs::metadata(path).ok();
    let is_archive = bytes::is_archive(path);
    let is_file = found.as_ref().is_some_and(|found| found.is_file()) && !is_archive;
    if found.is_some_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(
            Error::Format("is a pipe, a socket or a device: expected a file or a folder".into()).at(path.display())
        );
    }
    let extension = extension(path);
    let by_content = || FORMATS.iter().find(|f| !is_file && f.recognise.is_some_and(|recognise| recognise(path)));
    let by_extension = || FORMATS.iter().find(|f| f.extensions.contains(&extension.as_str()));
    let sure = || by_extension().filter(|format| format.magic.is_none());
    // What is far away is asked no more than it takes.
    let first = if is_remote { sure().or_else(by_content) } else { by_content().or_else(sure) };
    let format = first.or_else(|| by_first_bytes(path)).or_else(by_extension).unwrap_or(&FORMATS[0]);
    if let Some(name) = options.variable.as_deref().filter(|_| !format.has_variables) {
        let why = format!("--variable {name}: a file of {} holds one array: leave it out", format.name);
        return Err(Error::usage(why).at(path.display()));
    }
    if (is_remote || is_archive) && format.magic.is_some() {
        let text =
            format!("{}: {} is not read from there, TIFF and Zarr are: copy it first", path.display(), format.name);
        return Err(Error::Unsupported(text));
    }
    if is_archive && first.is_none() && !is_image(path) {
        return Err(of_archive(path).at(path.display()));
    }
    let array = (format.open)(path, options, others).map_err(|e| match (e, foreign::known(path)) {
        (io @ Error::Io { .. }, _) => io,
        (_, Some(what)) => Error::unsupported(what).at(path.display()),
        (other, None) => other.at(path.display()),
    })?;
    of_possible_size(array, path)
}

/// What there is in an archive in which nothing is found.
fn of_archive(path: &Path) -> Error {
    let entries = match bytes::entries(path) {
        Ok(entries) => entries,
        Err(e) => return Error::format(e),
    };
    let names: Vec<&str> = entries.iter().take(4).map(|(name, _)| name.as_str()).collect();
    let more = if entries.len() > names.len() { ", .." } else { "" };
    let (names, place) = (names.join(", "), path.display());
    let first = entries.first().map_or("NAME", |(name, _)| name);
    Error::usage(format!("has no Zarr at its root, but {names}{more}: name what is meant in it, as in {place}/{first}"))
}

fn of_possible_size(array: Arc<dyn FileArray>, path: &Path) -> Result<Arc<dyn FileArray>> {
    if size_bytes(&array.shape(), array.dtype()) > i64::MAX as u64 {
        let what = format!("an array of {:?} {} is larger than any disk", array.shape(), array.dtype());
        return Err(Error::unsupported(what).at(path.display()));
    }
    Ok(array)
}
