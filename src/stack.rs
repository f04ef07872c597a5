//! The array made of many files: a layout, and the files that are open at the moment.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::array::Array;
use crate::axis::Axis;
use crate::block::Target;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::grid::Region;
use crate::layout::{Layout, Part, describe};
use crate::source::headers::{Headers, name_of};
use crate::source::{Info, OpenOptions, Scratch, Source, open};

/// Open files and their page indexes that may be kept, in bytes, unless one alone is larger.
const CACHE_BYTES: u64 = 4 << 20;
/// Files that may be kept open.
const CACHE_FILES: usize = 64;

/// The array that the files of a layout make together.
pub struct Stack {
    layout: Layout,
    headers: Headers,
    paths: Vec<PathBuf>,
    options: OpenOptions,
    fill: Vec<u8>,
    cache: Mutex<Cache>,
}

/// Recently used sources, the latest last.
#[derive(Default)]
struct Cache {
    open: Vec<(u32, Arc<dyn Source>)>,
    held_bytes: u64,
}

impl Stack {
    /// The array of `layout`, whose files are `paths`; `fill` is one element's bytes in native order.
    ///
    /// # Panics
    /// If `fill` does not have the size of an element.
    pub fn new(layout: Layout, headers: Headers, paths: Vec<PathBuf>, options: OpenOptions, fill: Vec<u8>) -> Self {
        assert_eq!(fill.len(), layout.dtype().size(), "the fill value is one element");
        Self { layout, headers, paths, options, fill, cache: Mutex::default() }
    }

    /// Where the files lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What the headers of the files say.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The files, by index.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn source(&self, file: u32) -> Result<Arc<dyn Source>> {
        let lock = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cache = lock();
        if let Some(at) = cache.open.iter().position(|(f, _)| *f == file) {
            let entry = cache.open.remove(at);
            let source = Arc::clone(&entry.1);
            cache.open.push(entry);
            return Ok(source);
        }
        drop(cache);
        let path = &self.paths[file as usize];
        let source: Arc<dyn Source> = open(path, &self.options)?.into();
        self.check_unchanged(file, source.info())?;
        let mut cache = lock();
        cache.held_bytes += source.info().held_bytes;
        cache.open.push((file, Arc::clone(&source)));
        while cache.open.len() > 1 && (cache.held_bytes > CACHE_BYTES || cache.open.len() > CACHE_FILES) {
            let (_, oldest) = cache.open.remove(0);
            cache.held_bytes = cache.held_bytes.saturating_sub(oldest.info().held_bytes);
        }
        Ok(source)
    }

    /// A file that is written to while it is read must not pass.
    fn check_unchanged(&self, file: u32, now: &Info) -> Result<()> {
        let Some(then) = self.headers.info(file) else { return Ok(()) };
        if then.shape() == now.shape() && then.dtype == now.dtype {
            return Ok(());
        }
        Err(Error::Format(format!(
            "{}: is {}, but was {} when the run began: wait until it is written",
            self.paths[file as usize].display(),
            describe(now),
            describe(then)
        )))
    }

    /// Region of a file, in its own axes, for a region of the array inside its cell.
    fn inside(&self, inside: &Region, part: Part, n_axes: usize) -> Region {
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

    fn cells<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = (Region, Vec<u64>, Option<Part>)> + 'a {
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

    fn fill(&self) -> &[u8] {
        &self.fill
    }

    fn boundaries(&self, axis: usize, at: u64) -> (u64, u64) {
        self.layout.boundaries(axis, at)
    }

    fn coded(&self) -> bool {
        self.layout.coded()
    }

    fn scratch_bytes(&self) -> u64 {
        self.headers.scratch_bytes
    }

    fn held_bytes(&self, workers: usize) -> u64 {
        // The cache, and what every worker still uses while it is pushed out.
        let one = self.headers.held_bytes;
        CACHE_BYTES.min(one.saturating_mul(self.paths.len() as u64)).max(one) + one.saturating_mul(workers as u64)
    }

    fn read(&self, region: &Region, target: &mut Target<'_>, scratch: &mut Scratch) -> Result<u64> {
        let mut n_filled = 0;
        for (common, cell_origin, part) in self.cells(region) {
            let mut piece = target.part(&common.relative_to(&region.origin));
            let Some(part) = part else {
                piece.fill(&self.fill);
                n_filled += common.n_elements();
                continue;
            };
            let source = self.source(part.file)?;
            let inside = self.inside(&common.relative_to(&cell_origin), part, source.info().axes.len());
            let size = self.dtype().size() as isize;
            let strides =
                self.layout.file_axes().iter().map(|axis| axis.map_or(size, |axis| piece.strides[axis])).collect();
            let mut into = Target {
                start: piece.start,
                shape: inside.shape.clone(),
                strides,
                dtype: piece.dtype,
                bytes: piece.bytes,
            };
            n_filled += source.read(&inside, &mut into, &self.fill, scratch)?;
        }
        Ok(n_filled)
    }

    fn prefetch(&self, region: &Region) {
        for (common, cell_origin, part) in self.cells(region) {
            let Some(part) = part else { continue };
            let Ok(source) = self.source(part.file) else { continue };
            source.prefetch(&self.inside(&common.relative_to(&cell_origin), part, source.info().axes.len()));
        }
    }

    fn absent(&self, region: &Region) -> Vec<Region> {
        self.cells(region).filter(|(_, _, part)| part.is_none()).map(|(common, _, _)| common).collect()
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.paths.first().map(|p| name_of(p)).unwrap_or_default();
        write!(f, "Stack of {} files from {first}, shape {:?}", self.paths.len(), self.shape())
    }
}
