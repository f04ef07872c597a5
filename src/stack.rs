//! The array made of many files: a layout, and the files that are at hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::array::{Array, Losses, Reader, Scratch, check_read};
use crate::axis::Axis;
use crate::block::{Coverage, Portion, Target};
use crate::bytes::Watch;
use crate::crc::{Remainders, remainder};
use crate::digest::{self, Elements};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::{Region, n_elements};
use crate::layout::{FilePart, Layout};
use crate::source::files::Files;
use crate::source::headers::{Headers, name_of};
use crate::source::{Encodings, Info, OpenOptions, Piece};

/// The array that the files of a layout make together.
pub struct Stack {
    layout: Layout,
    files: Files,
    fill: Vec<u8>,
    /// What becomes a hole because it cannot be read; if `None`, it ends the run.
    losses: Option<Losses>,
    summed: bool,
    first_file: u32,
}

impl Stack {
    /// The array of `layout`, whose files are `paths`; `fill` is one element's bytes in native order.
    ///
    /// # Panics
    /// If `fill` does not have the size of an element.
    pub fn new(layout: Layout, headers: Headers, paths: Vec<PathBuf>, options: OpenOptions, fill: Vec<u8>) -> Self {
        assert_eq!(fill.len(), layout.dtype().size(), "the fill value is one element");
        Self { layout, files: Files::new(paths, headers, options), fill, losses: None, summed: false, first_file: 0 }
    }

    /// The same, with holes where files turn out to be unreadable while they are read: these go to `losses`.
    #[must_use]
    pub fn salvaging(self, losses: Option<Losses>) -> Self {
        Self { losses, ..self }
    }

    /// The same, whose files are met by `watch` before they are read.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { files: self.files.watched(watch), ..self }
    }

    /// Where the files are, and what is known of that.
    pub fn watch(&self) -> &Watch {
        self.files.watch()
    }

    /// What could not be read so far, if such things become holes.
    pub fn losses(&self) -> Option<&Losses> {
        self.losses.as_ref()
    }

    /// Whether nothing may cover some elements: positions without a file, what cannot be read, or what a file need not store.
    pub fn may_lack(&self) -> bool {
        let stores_all = || self.files.get(0).is_ok_and(|file| file.fill().is_none());
        self.layout.n_absent_elements() > 0 || self.losses.is_some() || !stores_all()
    }

    /// The same, whose readers sum up what they read of every file: [`Coverage::portions`].
    #[must_use]
    pub fn summed(self, summed: bool) -> Self {
        Self { summed, ..self }
    }

    /// The same, whose files have numbers from `first` on in what readers sum up.
    #[must_use]
    pub fn numbered_from(self, first_file: u32) -> Self {
        Self { first_file, ..self }
    }

    /// Elements of the array in file number `file`; 0 if it is not known.
    pub fn n_elements_of(&self, file: u32) -> u64 {
        self.headers().info(file).map_or(0, |info| n_elements(&info.shape()))
    }

    /// What was just read of `file`: `inside`, in its own axes, to `into`. The runs that were summed up go to `known`.
    fn portion(&self, file: u32, inside: &Region, into: &Target<'_>, known: &mut Remainders) -> Option<Portion> {
        let shape = self.headers().info(file).filter(|_| self.summed)?.shape();
        let elements = Elements { bytes: into.bytes, start: into.start, strides: &into.strides, dtype: into.dtype };
        let sum = digest::part(&shape, inside, &elements, |start, n_bytes| {
            let found = remainder(&into.bytes[start..start + n_bytes]);
            known.add(into.bytes.len(), start, n_bytes, found);
            found
        });
        Some(Portion { file: self.first_file + file, sum, n_elements: inside.n_elements() })
    }

    /// Where the files lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the headers of the files say.
    pub fn headers(&self) -> &Headers {
        self.files.headers()
    }

    /// How the pieces of all files are encoded, for readers that know nothing of their formats.
    ///
    /// # Errors
    /// `Unsupported`, naming file and page, if they are no chunks of one grid that others decode.
    pub fn encodings(&self) -> Result<Encodings> {
        let mut found: Option<Encodings> = None;
        for (number, path) in (0..).zip(self.paths()) {
            let one = self.files.get(number)?.encodings().map_err(|e| e.at(path.display()))?;
            match &mut found {
                None => found = Some(one),
                Some(first) if first.is_like(&one) => first.is_whole &= one.is_whole,
                Some(first) => {
                    let first_path = self.paths()[0].display();
                    let text = format!("{}: {one}, but {first_path}: {first}", path.display());
                    return Err(Error::unsupported(text));
                }
            }
        }
        found.ok_or_else(|| Error::usage("there is no file"))
    }

    /// Shape of a piece of so many rows and columns in the axes of the array.
    ///
    /// # Errors
    /// As opening the first file; `Unsupported` if the axes of the array are in another order than elements lie.
    pub fn cell(&self, rows: u64, columns: u64) -> Result<Vec<u64>> {
        let own = self.files.get(0)?.cell(rows, columns);
        let mut cell = vec![1; self.layout.axes().len()];
        let mut last = None;
        for (axis, length) in self.layout.file_axes().iter().zip(own).filter_map(|(axis, n)| Some(((*axis)?, n))) {
            cell[axis] = length;
            if length > 1 && last.replace(axis).is_some_and(|before| before > axis) {
                let names: Vec<&str> = self.layout.axes().iter().map(|a| a.name.as_str()).collect();
                return Err(Error::unsupported(format!(
                    "elements of a chunk lie in another order than the axes {}: give --axes in the order of the pixels, \
                     as in --axes t,z,y,x,c",
                    names.join(",")
                )));
            }
        }
        Ok(cell)
    }

    /// Gives every stored piece: its box in the array, the number of its file, offset and length in bytes.
    ///
    /// # Errors
    /// As [`FileArray::each_piece`], and what `give` returns.
    pub fn each_piece(&self, rows: u64, give: &mut dyn FnMut(u32, Piece) -> Result<()>) -> Result<()> {
        for (common, cell, part) in self.cells(&Region::whole(&self.shape())) {
            let Some(part) = part else { continue };
            let file = self.files.get(part.file)?;
            let inside = self.inside(&common.relative_to(&cell), part, self.layout.file_axes().len());
            file.each_piece(&inside, rows, &mut |piece| {
                let mut region = Region { origin: cell.clone(), shape: vec![1; cell.len()] };
                for (i, axis) in self.layout.file_axes().iter().enumerate() {
                    if let Some(axis) = axis {
                        region.origin[*axis] += piece.region.origin[i] - inside.origin[i];
                        region.shape[*axis] = piece.region.shape[i];
                    }
                }
                give(part.file, Piece { region, ..piece })
            })?;
        }
        Ok(())
    }

    /// The files, by index.
    pub fn paths(&self) -> &[PathBuf] {
        self.files.paths()
    }

    /// The file that covers the element at `at`, and which of the file's planes, counted in the order of its axes.
    pub fn origin(&self, at: &[u64]) -> Option<(&Path, u64)> {
        let element = Region { origin: at.to_vec(), shape: vec![1; at.len()] };
        let (_, cell, part) = self.cells(&element).next()?;
        let (part, info) = (part?, self.headers().info(part?.file)?);
        let inside = self.inside(&element.relative_to(&cell), part, self.layout.file_axes().len());
        let n_leading = info.axes.iter().position(|axis| axis.name == "y").unwrap_or(0);
        let page = (0..n_leading).fold(0, |page, i| page * info.axes[i].length + inside.origin[i]);
        Some((&self.paths()[part.file as usize], page))
    }

    /// Region of a file, in its own axes, for a region of the array inside its cell.
    fn inside(&self, inside: &Region, part: FilePart, n_axes: usize) -> Region {
        let mut region = Region { origin: vec![0; n_axes], shape: vec![1; n_axes] };
        for (i, axis) in self.layout.file_axes().iter().enumerate() {
            if let Some(axis) = axis {
                region.origin[i] = inside.origin[*axis];
                region.shape[i] = inside.shape[*axis];
            }
        }
        if let Some(first) = region.origin.first_mut() {
            *first += u64::from(part.page);
        }
        region
    }

    fn cells<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = (Region, Vec<u64>, Option<FilePart>)> + 'a {
        self.layout.overlapping(region).filter_map(move |position| {
            let cell = self.layout.cell_region(&position);
            let common = cell.intersect(region)?;
            Some((common, cell.origin, self.layout.part(&position)))
        })
    }
}

impl Array for Stack {
    fn axes(&self) -> &[Axis] {
        self.layout.axes()
    }

    fn dtype(&self) -> DType {
        self.layout.dtype()
    }

    fn fill(&self) -> Option<&[u8]> {
        Some(&self.fill)
    }

    fn grain(&self, axis: usize, at: u64) -> (u64, u64) {
        self.layout.boundaries(axis, at)
    }

    fn coded(&self) -> bool {
        self.layout.coded()
    }

    fn needs(&self, _shape: &[u64]) -> u64 {
        self.headers().scratch_bytes
    }

    fn held_bytes(&self) -> u64 {
        self.files.held_bytes()
    }

    fn reader(self: Arc<Self>, scratch: Scratch) -> Box<dyn Reader> {
        Box::new(StackReader { stack: self, open: None, scratch, remainders: Remainders::default() })
    }
}

/// One worker's way to read a stack.
struct StackReader {
    stack: Arc<Stack>,
    /// The file read from last; it has the scratch memory.
    open: Option<(u32, Box<dyn Reader>)>,
    scratch: Scratch,
    /// Of what was summed up of the last region.
    remainders: Remainders,
}

impl StackReader {
    /// The reader of a file.
    fn file(&mut self, file: u32) -> Result<&mut Box<dyn Reader>> {
        let reader = match self.open.take() {
            Some((open, reader)) if open == file => reader,
            other => {
                if let Some((_, reader)) = other {
                    self.scratch = reader.release();
                }
                self.stack.files.get(file)?.reader(std::mem::take(&mut self.scratch))
            }
        };
        Ok(&mut self.open.insert((file, reader)).1)
    }
}

impl StackReader {
    /// Reads `inside` of a file; where that cannot be done and may be passed over, the stored pieces that are at fault are
    /// holes.
    fn read_part(&mut self, file: u32, inside: &Region, into: &mut Target<'_>) -> Result<Coverage> {
        let read = self.file(file).map(|reader| reader.read(inside, into));
        let (error, is_open) = match read {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => (error, true),
            Err(error) => (error, false),
        };
        let stack = Arc::clone(&self.stack);
        if let Error::Usage(_) = error {
            return Err(error);
        }
        let Some(losses) = stack.losses.as_ref().filter(|_| error.is_of_file()) else {
            return Err(error.and("; --skip-bad with --missing fill or skip passes over what cannot be read"));
        };
        let mut coverage = Coverage::default();
        let halves = stack.headers().info(file).filter(|_| is_open).and_then(|info| halves(info, inside));
        let Some(halves) = halves else {
            losses.add(error.to_string());
            into.fill(&stack.fill);
            coverage.lacks(inside.clone());
            return Ok(coverage);
        };
        for half in halves {
            let found = self.read_part(file, &half, &mut into.part(&half.relative_to(&inside.origin)))?;
            coverage.take(&found, |absent| Some(absent.clone()));
        }
        Ok(coverage)
    }
}

/// `region` cut in two between the stored pieces of a file; `None` if it lies in one.
fn halves(info: &Info, region: &Region) -> Option<[Region; 2]> {
    let cut = |axis: usize| {
        let (from, to) = (region.origin[axis], region.end(axis));
        let (before, after) = info.grain(axis, from + (to - from) / 2);
        [before, after].into_iter().find(|at| (from + 1..to).contains(at)).map(|at| (axis, at))
    };
    let (axis, at) = (0..region.rank()).find_map(cut)?;
    let (mut first, mut second) = (region.clone(), region.clone());
    first.shape[axis] = at - region.origin[axis];
    (second.origin[axis], second.shape[axis]) = (at, region.end(axis) - at);
    Some([first, second])
}

impl Reader for StackReader {
    fn read(&mut self, region: &Region, target: &mut Target<'_>) -> Result<Coverage> {
        let stack = Arc::clone(&self.stack);
        check_read(&*stack, region, target)?;
        let (file_axes, size) = (stack.layout.file_axes(), stack.dtype().size() as isize);
        let mut coverage = Coverage::default();
        self.remainders = Remainders::default();
        for (common, cell_origin, part) in stack.cells(region) {
            let mut piece = target.part(&common.relative_to(&region.origin));
            let Some(part) = part else {
                piece.fill(&stack.fill);
                coverage.lacks(common);
                continue;
            };
            let inside = stack.inside(&common.relative_to(&cell_origin), part, file_axes.len());
            let strides = file_axes.iter().map(|axis| axis.map_or(size, |axis| piece.strides[axis])).collect();
            let (start, shape, dtype) = (piece.start, inside.shape.clone(), piece.dtype);
            let mut into = Target { start, shape, strides, dtype, bytes: piece.bytes };
            let found = self.read_part(part.file, &inside, &mut into)?;
            if found.absent().is_empty() {
                let portion = stack.portion(part.file, &inside, &into, &mut self.remainders);
                portion.into_iter().for_each(|portion| coverage.read(portion));
                continue;
            }
            let own = stack.files.get(part.file).is_ok_and(|file| file.fill().is_some());
            coverage.take(&found, |absent| {
                if !own {
                    into.part(&absent.relative_to(&inside.origin)).fill(&stack.fill);
                }
                let mut outer = common.clone();
                for (i, axis) in file_axes.iter().enumerate() {
                    if let Some(axis) = axis {
                        outer.origin[*axis] += absent.origin[i] - inside.origin[i];
                        outer.shape[*axis] = absent.shape[i];
                    }
                }
                Some(outer)
            });
        }
        Ok(coverage)
    }

    fn prefetch(&mut self, region: &Region) {
        let n_axes = self.stack.layout.file_axes().len();
        for (common, cell_origin, part) in self.stack.cells(region) {
            let Some(part) = part else { continue };
            // Advice needs no scratch memory, and leaves the file that is being read alone.
            let Ok(file) = self.stack.files.get_ahead(part.file) else { continue };
            file.reader(Scratch::default()).prefetch(&self.stack.inside(
                &common.relative_to(&cell_origin),
                part,
                n_axes,
            ));
        }
    }

    fn remainders(&mut self) -> Remainders {
        std::mem::take(&mut self.remainders)
    }

    fn release(self: Box<Self>) -> Scratch {
        self.open.map_or(self.scratch, |(_, reader)| reader.release())
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.paths().first().map(|p| name_of(p)).unwrap_or_default();
        write!(f, "Stack of {} files from {first}, shape {:?}", self.paths().len(), self.shape())
    }
}
