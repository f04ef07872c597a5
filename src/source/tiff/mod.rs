//! TIFF files, classic and BigTIFF: samples as they are stored.
//!
//! Nothing is applied to them: palette indices stay indices, white-is-zero is not inverted, orientation is
//! not followed; the notes say where that matters. JPEG's YCbCr alone comes out as RGB.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use super::{AbsentPlanes, Encodings, FileArray, FileIndex, Format, Info, Note, NoteKind, OpenOptions, Piece};
use crate::array::{Array, Reader, Scratch, check_read};
use crate::block::{Coverage, Target};
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements, positions};

pub mod codec;
pub mod directory;
mod gather;
mod headers;
mod inflate;
pub mod page;
mod pieces;
mod predict;
mod read;
mod samples;
pub mod series;
mod steps;
mod tag;

use directory::{Directory, PageIndex};
use headers::HeaderInput;
use page::PageKind;
use read::{BoxPlace, Five, PageReader};
use series::{PageList, Series};

/// TIFF, classic and BigTIFF.
pub const FORMAT: Format =
    Format { name: "TIFF", extensions: EXTENSIONS, recognise: None, magic: None, has_variables: false, open };

/// Extensions of TIFF files, among them those of slide scanners and microscopes.
const EXTENSIONS: &[&str] =
    &["tif", "tiff", "btf", "tf8", "tf2", "stk", "lsm", "flex", "svs", "ndpi", "scn", "bif", "qptiff"];

fn open(path: &Path, options: &OpenOptions, others: &[Arc<dyn FileIndex>]) -> Result<Arc<dyn FileArray>> {
    let input = HeaderInput::open(path)?;
    let others: Vec<Arc<Index>> = others
        .iter()
        .filter_map(|other| Arc::downcast(Arc::clone(other) as _).ok())
        .filter(|other: &Arc<Index>| !other.head.is_empty())
        .collect();
    if let Some(longest) = others.iter().map(|other| other.head.len()).max() {
        let first = input.first_bytes(longest)?;
        if let Some(index) = others.into_iter().find(|other| other.is_said_by(&first, input.size)) {
            return Ok(Arc::new(Tiff { directory: Directory::known(input, Arc::clone(&index.pages)), index }));
        }
    }
    Ok(Arc::new(Tiff::of(Directory::of(input.with_head()?, options)?, options)?))
}

/// An open TIFF file.
pub struct Tiff {
    directory: Directory,
    index: Arc<Index>,
}

/// What the headers of a TIFF file say. Knows no open file: [`Tiff::reopen`] makes a source of it again.
#[derive(Debug)]
pub struct Index {
    pages: Arc<PageIndex>,
    series: Series,
    info: Info,
    /// For each axis of a page, in order, which of sample plane, depth, y, x, sample it is.
    inner: Vec<usize>,
    /// Value that the file itself gives to absent tiles (GDAL_NODATA).
    absent: Option<Vec<u8>>,
    /// What the file begins with, if all else follows from that and its size.
    head: Vec<u8>,
}

impl Index {
    /// Whether the headers of another file of `size`, which begins with `bytes`, say the same.
    fn is_said_by(&self, bytes: &[u8], size: u64) -> bool {
        self.pages.file_bytes == size && bytes.starts_with(&self.head)
    }
}

impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        // The head may say other things, such as when the file was written.
        let Self { pages, series, info, inner, absent, head: _ } = other;
        (&self.pages, &self.series, &self.info, &self.inner, &self.absent) == (pages, series, info, inner, absent)
    }
}

impl Tiff {
    /// Opens the file at `path`, reading headers only.
    ///
    /// # Errors
    /// `Format` if the file contradicts itself, `Unsupported` if the chosen series cannot be decoded, `Usage`
    /// if there is no such series, `Limit` if the index of pages is larger than may be held, `Io` if the file
    /// cannot be read.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::of(Directory::open(path, options)?, options)
    }

    fn of(mut directory: Directory, options: &OpenOptions) -> Result<Self> {
        let (mut series, texts) = series::choose(&directory, options)?;
        let levels = series.level_shapes(&directory);
        match options.level.unwrap_or(0) {
            0 => {}
            level if level < levels.len() => series.at_level(&directory, level),
            level => {
                let n = levels.len().max(1);
                return Err(Error::usage(format!("there is no level {level}: the image has {n}, counted from 0")));
            }
        }
        if options.skip_bad {
            skip_bad(&directory, &mut series);
        }
        let Some(first) = series.pages.pages().next() else {
            return Err(Error::format("the series has no page"));
        };
        check(&directory, &series)?;
        let kind = directory.kind(first);
        let inner = inner_axes(kind);
        if series.axes.len() < inner.len() {
            return Err(Error::format("the description names fewer axes than a page has"));
        }
        let n_leading = series.axes.len() - inner.len();
        let lengths = series.axes[n_leading..].iter().map(|a| a.length);
        if !lengths.eq(kind.axes().iter().map(|a| a.length))
            || n_elements(&crate::axis::shape(&series.axes[..n_leading])) != series.pages.len()
        {
            return Err(Error::format("the description does not fit the pages"));
        }
        let absent = absent_value(&directory, first)?;
        if let Some((text, _)) = &absent {
            series.notes.push(Note::new(NoteKind::NoData, format!("{text} stands for no data: such pixels are kept")));
        }
        let absent = absent.and_then(|(_, value)| value);
        if let Some(text) = unscaled(&directory, first)? {
            series.notes.push(Note::new(NoteKind::OffsetNotApplied, text));
        }
        let info = Info { levels, ..describe(&directory, kind, &series, &inner, texts) };
        let pages = Arc::clone(directory.index());
        let mut head = directory.input.forget();
        if head.len() > MOST_HEAD_BYTES {
            head = Vec::new();
        }
        Ok(Self { directory, index: Arc::new(Index { pages, series, info, inner, absent, head }) })
    }

    /// Opens the file at `path`, whose headers have been read before, once more.
    ///
    /// # Errors
    /// `Format` if its size has changed, `Io` if it cannot be opened.
    pub fn reopen(index: Arc<Index>, path: &Path) -> Result<Self> {
        Ok(Self { directory: Directory::reopen(Arc::clone(&index.pages), path)?, index })
    }

    /// What the headers say, to be kept when the file is closed.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// The index of the file's pages.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Page and, for pages whose directories are not to be followed, offset of plane number `index`.
    fn plane(&self, index: u64) -> Option<(u32, Option<u64>)> {
        match &self.index.series.pages {
            PageList::Range { first, .. } => Some((first + index as u32, None)),
            PageList::List(pages) => pages[index as usize].map(|p| (p, None)),
            PageList::Contiguous { page, offset, .. } => {
                let kind = self.directory.kind(*page);
                let plane = kind.n_planes() * kind.depth * kind.height * kind.row_bytes();
                let at = offset + index * plane;
                (at + plane <= self.directory.file_bytes).then_some((*page, Some(at)))
            }
        }
    }

    /// Box of a page that the last axes of `region` are.
    fn inner_box(&self, region: &Region) -> (Five, Five) {
        let n_leading = region.rank() - self.index.inner.len();
        let (mut origin, mut shape) = ([0; 5], [1; 5]);
        for (i, &axis) in self.index.inner.iter().enumerate() {
            origin[axis] = region.origin[n_leading + i];
            shape[axis] = region.shape[n_leading + i];
        }
        (origin, shape)
    }

    /// The box of the array that lies at `at` of a read of the plane at `position` of `region`'s leading axes.
    fn outer_box(&self, region: &Region, position: &[u64], at: Five, shape: Five) -> Region {
        let n_leading = position.len();
        let leading = (0..n_leading).map(|i| (region.origin[i] + position[i], 1));
        let inner = self.index.inner.iter().enumerate().map(|(i, &a)| (region.origin[n_leading + i] + at[a], shape[a]));
        let (origin, shape) = leading.chain(inner).unzip::<_, _, Vec<_>, Vec<_>>();
        Region::new(origin, shape)
    }

    /// Number of the plane at `position` of `region`'s leading axes.
    fn plane_index(&self, region: &Region, position: &[u64]) -> u64 {
        position.iter().enumerate().fold(0, |n, (i, p)| n * self.index.info.axes[i].length + region.origin[i] + p)
    }
}

impl FileArray for Tiff {
    fn info(&self) -> &Info {
        &self.index.info
    }

    fn index(&self) -> Option<Arc<dyn FileIndex>> {
        Some(Arc::clone(&self.index) as Arc<dyn FileIndex>)
    }

    fn encodings(&self) -> Result<Encodings> {
        Self::encodings(self)
    }

    fn cell(&self, rows: u64, columns: u64) -> Vec<u64> {
        Self::cell(self, rows, columns)
    }

    fn each_piece(&self, region: &Region, rows: u64, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        Self::each_piece(self, region, rows, give)
    }

    fn absent_value(&self) -> Option<&[u8]> {
        self.index.absent.as_deref()
    }

    fn file_reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        let fill = self.fill_bytes();
        Box::new(TiffReader { tiff: self, fill, scratch })
    }
}

/// Memory of an index beside the numbers of its pages: names, words, calibrations.
const WORDS_BYTES: u64 = 1 << 10;
/// Bytes at the beginning of a file that are kept to know others by.
const MOST_HEAD_BYTES: usize = 4 << 10;

impl FileIndex for Index {
    fn held_bytes(&self) -> u64 {
        self.info.held_bytes + WORDS_BYTES + self.head.len() as u64
    }

    fn is_like(&self, other: &dyn FileIndex) -> bool {
        (other as &dyn Any).downcast_ref::<Self>().is_some_and(|other| std::ptr::eq(self, other) || self == other)
    }

    fn open(self: Arc<Self>, path: &Path) -> Result<Arc<dyn FileArray>> {
        Ok(Arc::new(Tiff::reopen(self, path)?))
    }
}

/// One worker's way to read a file.
struct TiffReader {
    tiff: Arc<Tiff>,
    /// Value of what is not stored, one element's bytes.
    fill: Vec<u8>,
    scratch: Scratch,
}

impl Reader for TiffReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let tiff = &*self.tiff;
        check_read(tiff, region, target)?;
        let mut coverage = Coverage::default();
        if region.is_empty() {
            return Ok(coverage);
        }
        let n_leading = region.rank() - tiff.index.inner.len();
        let (origin, shape) = tiff.inner_box(region);
        let mut strides = [0; 5];
        for (i, &axis) in tiff.index.inner.iter().enumerate() {
            strides[axis] = target.strides[n_leading + i];
        }
        let (start, leading) = (target.start, target.strides[..n_leading].to_vec());
        let mut pages = PageReader::new(&tiff.directory, target.bytes, target.dtype, &self.fill, &mut self.scratch);
        for position in positions(&region.shape[..n_leading]) {
            let by: isize = position.iter().zip(&leading).map(|(&p, s)| p as isize * s).sum();
            let place = BoxPlace { start: start.wrapping_add_signed(by), strides };
            let result = match tiff.plane(tiff.plane_index(region, &position)) {
                Some((page, offset)) => pages.page(page, offset, origin, shape, place),
                None => {
                    pages.fill([0; 5], shape, place);
                    Ok(())
                }
            };
            result.map_err(|e| tiff.named(e))?;
            for (at, shape) in pages.absent.drain(..) {
                coverage.lacks(tiff.outer_box(region, &position, at, shape));
            }
        }
        pages.flush().map_err(|e| tiff.named(e))?;
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        let tiff = &*self.tiff;
        let whole = Region::whole(&tiff.index.info.shape());
        if region.rank() != whole.rank() || !whole.contains(region) || region.is_empty() {
            return;
        }
        let (origin, shape) = tiff.inner_box(region);
        let n_leading = region.rank() - tiff.index.inner.len();
        let file = &tiff.directory.input.file;
        let mut pending = (0u64, 0u64);
        let advise = |(at, len): (u64, u64)| file.advise(at, len);
        for position in positions(&region.shape[..n_leading]) {
            let Some((page, offset)) = tiff.plane(tiff.plane_index(region, &position)) else { continue };
            read::for_each_range(&tiff.directory, page, offset, origin, shape, |at, len| {
                // What lies near together comes in one piece.
                let end = pending.0 + pending.1;
                if pending.1 > 0 && at >= end && at - end < 1 << 16 {
                    pending.1 = at + len - pending.0;
                } else {
                    advise(pending);
                    pending = (at, len);
                }
            });
        }
        advise(pending);
    }

    fn release(self: Box<Self>) -> Scratch {
        self.scratch
    }
}

impl Tiff {
    /// The error with the file's name in front.
    fn named(&self, e: Error) -> Error {
        e.at(self.directory.path().display())
    }
}

/// The value that the file gives to what it does not store, as written, and as one element's bytes if it is one.
fn absent_value(directory: &Directory, page: u32) -> Result<Option<(String, Option<Vec<u8>>)>> {
    const GDAL_NODATA: u16 = 42113;
    let Some(tag) = directory.tag(page, GDAL_NODATA, 0, 64)? else { return Ok(None) };
    let text = tag.text().trim().to_owned();
    let value = directory.kind(page).dtype.parse_element(&text).ok();
    Ok(Some((text, value)))
}

/// That values stand for others by a scale and an offset in GDAL's metadata, if any are there and can be held.
fn unscaled(directory: &Directory, page: u32) -> Result<Option<String>> {
    const GDAL_METADATA: u16 = 42112;
    let tag = match directory.tag(page, GDAL_METADATA, 0, 1 << 16) {
        Err(fatal @ Error::Io { .. }) => return Err(fatal),
        found => found.ok().flatten(),
    };
    let text = tag.map_or_else(String::new, |tag| tag.text());
    let value = |role: &str| {
        let item = text.split("<Item").find(|item| item.split('>').next().is_some_and(|head| head.contains(role)))?;
        item.split_once('>')?.1.split_once('<')?.0.trim().parse::<f64>().ok()
    };
    let (scale, offset) = (value("role=\"scale\"").unwrap_or(1.0), value("role=\"offset\"").unwrap_or(0.0));
    let text = format!("values are kept as stored: GDAL's scale {scale} and offset {offset} are not applied");
    Ok((scale != 1.0 || offset != 0.0).then_some(text))
}

/// Leaves out pages that cannot be read.
fn skip_bad(directory: &Directory, series: &mut Series) {
    let contiguous = matches!(series.pages, PageList::Contiguous { .. });
    let bad = |page: &u32| !contiguous && directory.problem(*page).is_some();
    let first = series.pages.pages().find(bad).and_then(|page| directory.problem(page));
    let n = series.pages.pages().filter(bad).count();
    if let Some(first) = first {
        let text = format!("{n} of the pages cannot be read and are left out: page {}: {}", first.page, first.text);
        series.notes.push(Note::new(NoteKind::PlanesAbsent, text));
        series.pages = PageList::of(series.pages.planes().map(|page| page.filter(|page| !bad(page))).collect());
    }
    if let Some(why) = directory.broken() {
        series.notes.push(Note::new(NoteKind::BrokenOff, format!("the file breaks off: {why}")));
    }
}

/// Bytes of a first strip or tile that are looked at for the kind of its compression.
const HEAD_BYTES: u64 = 1 << 16;

/// Refuses a series of which a page cannot be read.
fn check(directory: &Directory, series: &Series) -> Result<()> {
    let contiguous = matches!(series.pages, PageList::Contiguous { .. });
    let mut seen = vec![false; directory.kinds().len()];
    for page in series.pages.pages() {
        let kind = directory.kind(page);
        if let Some(problem) = directory.problem(page).filter(|_| !contiguous || kind.problem.is_some()) {
            let text = format!("page {page}: {}", problem.text);
            return Err(if problem.unsupported { Error::Unsupported(text) } else { Error::Format(text) });
        }
        if std::mem::replace(&mut seen[directory.kind_index(page)], true) {
            continue;
        }
        if !kind.codec().is_handled() {
            let name = kind.codec().name;
            return Err(Error::unsupported(format!("page {page}: compression {} ({name})", kind.compression)));
        }
        if kind.image_codec() {
            let mut head = Vec::new();
            directory.chunk_head(page, 0, HEAD_BYTES, &mut head)?;
            if !head.is_empty() {
                let piece = read::piece(directory, kind, 1);
                kind.codec().refuse(&piece, &head).map_err(|e| e.at(format!("page {page}")))?;
            }
        }
    }
    Ok(())
}

/// For each axis of [`PageKind::axes`], which of sample plane, depth, y, x, sample it is.
fn inner_axes(kind: &PageKind) -> Vec<usize> {
    let planes = (kind.planar && kind.samples > 1).then_some(0);
    let depth = (kind.depth > 1).then_some(1);
    let samples = (!kind.planar && kind.samples > 1).then_some(4);
    planes.into_iter().chain(depth).chain([2, 3]).chain(samples).collect()
}

/// What the headers say.
fn describe(directory: &Directory, kind: &PageKind, series: &Series, inner: &[usize], texts: Vec<String>) -> Info {
    let n_leading = series.axes.len() - inner.len();
    // Of pages that are stored in several ways, those that must be decoded whole count.
    let coded = kinds(directory, series).into_iter().find(|kind| kind.compression != 1);
    let stored = coded.unwrap_or(kind);
    let five = [1, stored.chunk[0], stored.chunk[1], stored.chunk[2], u64::from(kind.samples)];
    let mut unit = vec![1; n_leading];
    unit.extend(inner.iter().map(|&i| five[i]));
    for (unit, axis) in unit.iter_mut().zip(&series.axes) {
        *unit = (*unit).min(axis.length);
    }
    let absent = absent_planes(directory, series, n_leading);
    let is_whole = |page: u32| directory.emptied().binary_search_by_key(&page, |(page, _)| *page).is_err();
    let emptied = (!directory.emptied().is_empty())
        .then(|| {
            AbsentPlanes::new(n_leading, series.pages.planes().map(|page| page.is_none_or(is_whole))).map(Arc::new)
        })
        .flatten();
    let runs = [&absent, &emptied].into_iter().flatten();
    let absent_bytes: u64 = runs.map(|absent| size_of_val(&absent.runs[..]) as u64).sum();
    let held_bytes = directory.held_bytes() + series_bytes(series) + absent_bytes;
    Info {
        axes: series.axes.clone(),
        dtype: kind.dtype,
        unit,
        coded: coded.is_some(),
        storage: stored.storage(),
        scratch_bytes: scratch_bytes(directory, series),
        held_bytes,
        file_bytes: directory.file_bytes,
        notes: notes(directory, series),
        series: if texts.len() > 1 { texts } else { Vec::new() },
        levels: Vec::new(),
        set: series.set.clone(),
        absent,
        emptied,
        calendar: None,
        packing: None,
        member: series.member,
    }
}

/// The planes that the series counts and the file lacks.
fn absent_planes(directory: &Directory, series: &Series, n_leading: usize) -> Option<Arc<AbsentPlanes>> {
    let absent = match &series.pages {
        PageList::Range { .. } => None,
        PageList::List(pages) => AbsentPlanes::new(n_leading, pages.iter().map(Option::is_some)),
        PageList::Contiguous { page, offset, n } => {
            let left = directory.file_bytes.saturating_sub(*offset);
            let there = left.checked_div(directory.kind(*page).plane_bytes()?).map_or(*n, |there| there.min(*n));
            (there < *n).then(|| AbsentPlanes { n_axes: n_leading, runs: std::iter::once(there..*n).collect() })
        }
    };
    absent.map(Arc::new)
}

/// Memory of the lists of pages and of the data set that `series` holds.
fn series_bytes(series: &Series) -> u64 {
    let lists = std::iter::once(&series.pages).chain(&series.levels);
    let lists = lists.map(|list| if let PageList::List(pages) = list { size_of_val(&pages[..]) } else { 0 });
    let set = series.set.as_ref().map_or(0, |set| {
        size_of_val(&set.planes[..]) + set.files.iter().map(|name| size_of::<String>() + name.len()).sum::<usize>()
    });
    (lists.sum::<usize>() + set) as u64
}

/// Memory that one read takes at most beside its target.
fn scratch_bytes(directory: &Directory, series: &Series) -> u64 {
    let mut most = 0;
    for kind in kinds(directory, series) {
        let elements = kind.chunk_element_bytes();
        let packed = kind.chunk[0] * kind.chunk[1] * kind.row_bytes();
        let bytes = if kind.compression == 1 {
            // Some rows at a time: as stored, as elements, and room for the predictor or to skip into.
            let rows = (read::PASS_BYTES / kind.row_bytes()).max(1);
            let row = kind.chunk[2] * kind.chunk_samples() * kind.dtype.size() as u64;
            rows * kind.row_bytes() + if kind.is_plain() { 1 << 17 } else { (rows + 1) * row }
        } else {
            let stored = directory.largest_chunk_bytes;
            // Libraries for images hold rows or whole images of their own.
            stored + elements + packed + (kind.codec().scratch_bytes)(elements)
        };
        most = most.max(bytes);
    }
    most
}

/// What a user should know of how the samples are kept, and of what is not there.
fn notes(directory: &Directory, series: &Series) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    let mut note = |kind, text: String| {
        if !notes.iter().any(|n| n.kind == kind) {
            notes.push(Note::new(kind, text));
        }
    };
    for kind in kinds(directory, series) {
        let kept = |what: &str| format!("{what}: samples are kept as stored");
        match kind.photometric {
            0 => note(NoteKind::WhiteIsZeroKept, format!("{}, not inverted", kept("white is zero"))),
            3 => note(NoteKind::PaletteKept, "palette: indices are kept, colours are not applied".to_owned()),
            6 if !matches!(kind.compression, 6 | 7) => note(NoteKind::ColoursKept, kept("YCbCr")),
            5 => note(NoteKind::ColoursKept, kept("separated inks (CMYK)")),
            8..=10 => note(NoteKind::ColoursKept, kept("L*a*b*")),
            _ => {}
        }
        if kind.orientation != 1 {
            let text = format!("orientation {}: kept as stored, neither turned nor mirrored", kind.orientation);
            note(NoteKind::OrientationKept, text);
        }
        if kind.packing != page::Packing::Native {
            note(NoteKind::Widened, format!("{} bits a sample, widened to {}", kind.bits, kind.dtype));
        }
    }
    match directory.emptied().iter().map(|(_, n)| u64::from(*n)).sum() {
        0 => {}
        1 => {
            note(NoteKind::PiecesEmptied, "1 strip or tile has a place but no bytes, or bytes but no place".to_owned())
        }
        n => note(
            NoteKind::PiecesEmptied,
            format!("{n} strips or tiles have a place but no bytes, or bytes but no place"),
        ),
    }
    notes.extend(series.notes.iter().cloned());
    notes
}

/// The kinds of the pages of `series`, each once.
fn kinds<'a>(directory: &'a Directory, series: &Series) -> Vec<&'a PageKind> {
    let mut seen = vec![false; directory.kinds().len()];
    series.pages.pages().for_each(|page| seen[directory.kind_index(page)] = true);
    directory.kinds().iter().zip(seen).filter(|(_, seen)| *seen).map(|(kind, _)| kind).collect()
}
