//! Which pages of a file form which array.
//!
//! The plain rule is here: pages of equal shape, element type and colour meaning form one series, in the
//! order of the file, and series are counted by their first page. The main series is the first whose pages
//! are images in their own right, not reduced copies or masks (NewSubfileType); if there is none, the first.
//! The dialects of programs that say more in descriptions and private tags go before it; a description that
//! does not fit its pages is left aside with a note.

use std::sync::Arc;

use super::directory::{Directory, Tag};
use super::page::PageKind;
use crate::axis::{self, Axis};
use crate::error::{Error, Result};
use crate::source::{OpenOptions, Set};

pub mod imagej;
mod lsm;
mod metamorph;
mod micromanager;
pub mod ome;
pub mod shaped;
mod units;

/// A dialect: gives the series that the file's metadata describe, the main one first.
type Dialect = fn(&Context<'_>) -> Result<Option<Vec<Series>>, Fault>;

/// Every dialect, in the order in which they are asked.
const DIALECTS: &[(&str, Dialect)] = &[
    ("tifffile's shape", shaped::read),
    ("the LSM header", lsm::read),
    ("Micro-Manager's index", micromanager::read),
    ("the OME-XML", ome::read),
    ("ImageJ's description", imagej::read),
    ("MetaMorph's stack header", metamorph::read),
];

const IMAGE_DESCRIPTION: u16 = 270;
/// Bytes of a description that are read at most.
const DESCRIPTION_BYTES: u64 = 256 << 20;
/// Series of a file that are told apart by dialects.
const MOST_SERIES: usize = 256;

/// Why a dialect's metadata cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    /// They do not fit the pages, in words: the plain rule takes over.
    Ignore(String),
    /// Going on would give a wrong array.
    Refuse(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            io @ Error::Io { .. } => Self::Refuse(io),
            other => Self::Ignore(other.to_string()),
        }
    }
}

/// What a dialect works with.
pub(super) struct Context<'a> {
    directory: &'a Directory,
    options: &'a OpenOptions,
    /// Numbers of the first page's tags: most files have none that a dialect asks for.
    tags: Vec<u16>,
    /// Descriptions of the first page.
    descriptions: Vec<String>,
}

impl<'a> Context<'a> {
    fn new(directory: &'a Directory, options: &'a OpenOptions) -> Result<Self, Fault> {
        let tags = directory.tag_numbers(0)?;
        let n = tags.iter().filter(|&&t| t == IMAGE_DESCRIPTION).count();
        let mut context = Self { directory, options, tags, descriptions: Vec::new() };
        context.descriptions = context.first_descriptions(0, n.min(2))?;
        Ok(context)
    }

    /// A tag of the first page, of at most `limit_bytes`.
    fn tag(&self, tag: u16, limit_bytes: u64) -> Result<Option<Tag>> {
        if self.tags.contains(&tag) { self.directory.tag(0, tag, 0, limit_bytes) } else { Ok(None) }
    }

    /// The ImageDescriptions of a page: programs put theirs first or second.
    fn descriptions_of(&self, page: u32) -> Result<Vec<String>, Fault> {
        self.first_descriptions(page, 2)
    }

    fn first_descriptions(&self, page: u32, n: usize) -> Result<Vec<String>, Fault> {
        let most = self.options.limit_bytes.unwrap_or(DESCRIPTION_BYTES).min(DESCRIPTION_BYTES);
        let mut texts = Vec::new();
        for nth in 0..n {
            match self.directory.tag(page, IMAGE_DESCRIPTION, nth, most)? {
                Some(tag) => texts.push(tag.text()),
                None => break,
            }
        }
        Ok(texts)
    }

    /// `len` bytes at `at` of the file, if it has them and they are fewer than may be held.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, Fault> {
        let most = self.options.limit_bytes.unwrap_or(DESCRIPTION_BYTES).min(DESCRIPTION_BYTES);
        let inside = at.checked_add(len).is_some_and(|end| end <= self.directory.file_bytes());
        let n = usize::try_from(len).ok().filter(|_| inside && len <= most);
        let n = n.ok_or_else(|| Fault::Ignore(format!("{len} bytes at {at} lie outside the file")))?;
        let mut bytes = vec![0; n];
        self.directory.bytes_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// A series of `axes`, whose last ones are those of a page, after checking that its pages are alike.
    fn series(&self, dialect: &str, mut axes: Vec<Axis>, pages: PageList) -> Result<Series, Fault> {
        let first = pages.pages().next().ok_or_else(|| Fault::Ignore("it names no page of the file".to_owned()))?;
        let kind = self.directory.kind(first);
        let mut last = self.directory.kind_index(first);
        for page in pages.pages() {
            if page >= self.directory.n_pages() {
                return Err(Fault::Ignore(format!("it names page {page} of {}", self.directory.n_pages())));
            }
            let index = self.directory.kind_index(page);
            if index != last && !self.directory.kind(page).stacks_with(kind) {
                return Err(Fault::Ignore(format!("page {page} is not like page {first}")));
            }
            last = index;
        }
        name_samples(&mut axes);
        for i in 0..axes.len() {
            if axes[..i].iter().any(|a| a.name == axes[i].name) {
                return Err(Fault::Ignore(format!("it has two axes {}", axes[i].name)));
            }
        }
        let text = in_words(dialect, &pages, kind, &axes);
        Ok(Series { axes, pages, notes: Vec::new(), set: None, text })
    }
}

/// Which pages hold the planes of a series, in row-major order of its leading axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageList {
    /// Pages that follow one another.
    Range {
        /// The first page.
        first: u32,
        /// Number of pages.
        n: u32,
    },
    /// One page, or none, for every plane.
    List(Vec<Option<u32>>),
    /// Uncompressed planes that follow one another from an offset on, whatever the directories say; each is
    /// laid out as the first page's pixels are.
    Contiguous {
        /// Page whose kind all planes have.
        page: u32,
        /// Where the first plane begins.
        offset: u64,
        /// Number of planes.
        n: u64,
    },
}

impl PageList {
    /// Number of planes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Range { n, .. } => u64::from(*n),
            Self::List(pages) => pages.len() as u64,
            Self::Contiguous { n, .. } => *n,
        }
    }

    /// Whether there is no plane.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every page that is there.
    pub fn pages(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Self::Range { first, n } => Box::new(*first..first.saturating_add(*n)),
            Self::List(pages) => Box::new(pages.iter().flatten().copied()),
            Self::Contiguous { page, .. } => Box::new(std::iter::once(*page)),
        }
    }

    /// Page numbers as the shortest list that says the same.
    pub fn new(pages: Vec<u32>) -> Self {
        let first = pages.first().copied().unwrap_or(0);
        let n = pages.len() as u32;
        if pages.iter().zip(first..).all(|(&a, b)| a == b) {
            return Self::Range { first, n };
        }
        Self::List(pages.into_iter().map(Some).collect())
    }
}

/// Pages of a file that form one array.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// All axes, slowest first: those of pages, then those of [`super::page::PageKind::axes`], which may be
    /// renamed and calibrated but keep order and length.
    pub axes: Vec<Axis>,
    /// Which page each plane is.
    pub pages: PageList,
    /// What a user should know.
    pub notes: Vec<String>,
    /// The data set over several files that the file is a member of.
    pub set: Option<Arc<Set>>,
    /// The series in words, for a list of all of them.
    pub text: String,
}

/// Chooses the series of a file that `options` ask for. Gives it, and all series in words, the chosen one first.
///
/// # Errors
/// `Usage` if there is no such series; `Unsupported` or `Format` if a page of it cannot be read.
pub fn choose(directory: &Directory, options: &OpenOptions) -> Result<(Series, Vec<String>)> {
    let (mut all, notes) = if options.as_pages { (Vec::new(), Vec::new()) } else { dialect(directory, options)? };
    let described = !all.is_empty();
    all.extend(by_shape(directory, options, &all));
    let n = all.len();
    let index = match options.series {
        Some(index) if index < n => index,
        Some(index) => {
            return Err(Error::usage(format!("there is no series {index}: the file has {n}, counted from 0")));
        }
        None if described => 0,
        None => main(directory, &all),
    };
    let chosen = all.remove(index);
    let texts = std::iter::once((index, &chosen))
        .chain((0..n).filter(|&i| i != index).zip(&all))
        .map(|(i, s)| format!("series {i}: {}", s.text));
    let texts: Vec<_> = texts.collect();
    let mut chosen = chosen;
    chosen.notes.extend(notes);
    if described {
        rename_pages(directory, options, &mut chosen);
    }
    if !all.is_empty() {
        let left_out: u64 = all.iter().map(|s| s.pages.len()).sum();
        let pages = if left_out == 1 { "page" } else { "pages" };
        let others = if n == 2 { "another series" } else { "other series" };
        chosen.notes.push(format!("{left_out} {pages} of {others} left out, --series picks another"));
    }
    Ok((chosen, texts))
}

/// The series that the first dialect finds that fits, and notes of those that do not.
fn dialect(directory: &Directory, options: &OpenOptions) -> Result<(Vec<Series>, Vec<String>)> {
    let mut notes = Vec::new();
    let mut note = |name: &str, fault: Fault| match fault {
        Fault::Refuse(error) => Err(error),
        Fault::Ignore(why) => {
            notes.push(format!("{name} is not used: {why}"));
            Ok(())
        }
    };
    match Context::new(directory, options) {
        Err(fault) => note("the description", fault)?,
        Ok(context) => {
            for (name, read) in DIALECTS {
                match read(&context) {
                    Ok(Some(series)) if !series.is_empty() => return Ok((series, notes)),
                    Ok(_) => {}
                    Err(fault) => note(name, fault)?,
                }
            }
        }
    }
    Ok((Vec::new(), notes))
}

/// Gives the only axis of pages the name that the user asked for: descriptions call time points slices.
fn rename_pages(directory: &Directory, options: &OpenOptions, series: &mut Series) {
    let Some(name) = &options.pages else { return };
    let Some(first) = series.pages.pages().next() else { return };
    let n_leading = series.axes.len().saturating_sub(directory.kind(first).axes().len());
    let mut long = (0..n_leading).filter(|&i| series.axes[i].length > 1);
    let (Some(only), None) = (long.next(), long.next()) else { return };
    let taken = series.axes.iter().enumerate().any(|(i, a)| a.name == *name && i >= n_leading);
    if series.axes[only].name == *name || taken {
        return;
    }
    let length = series.axes[only].length;
    series.notes.push(format!("pages are {name} as asked, not {} as the file says", series.axes[only].name));
    series.axes[only] = Axis::new(name.clone(), length);
    let mut index = 0;
    series.axes.retain(|a| {
        index += 1;
        index - 1 == only || index > n_leading || a.name != *name
    });
}

/// Position of the main series.
fn main(directory: &Directory, all: &[Series]) -> usize {
    let own = |s: &Series| s.pages.pages().next().is_some_and(|p| !directory.kind(p).is_secondary());
    all.iter().position(own).unwrap_or(0)
}

/// Series of equally shaped pages that are not in one of `described`.
fn by_shape(directory: &Directory, options: &OpenOptions, described: &[Series]) -> Vec<Series> {
    let n_pages = directory.n_pages();
    let mut taken = vec![false; if described.is_empty() { 0 } else { n_pages as usize }];
    for page in described.iter().flat_map(|s| s.pages.pages()) {
        taken[page as usize] = true;
    }
    // Kinds first: a file has few, and many pages.
    let kinds = directory.kinds();
    let mut groups: Vec<usize> = Vec::new();
    let group_of: Vec<usize> = (0..kinds.len())
        .map(|k| {
            // Searching thousands of groups for each of thousands of kinds would take a hostile file's time.
            let found = groups.iter().take(256).position(|&first| kinds[first].stacks_with(&kinds[k]));
            found.unwrap_or_else(|| {
                groups.push(k);
                groups.len() - 1
            })
        })
        .collect();
    let mut pages = vec![Vec::new(); groups.len()];
    // Descriptions, and who asks for pages as they are, count those of the main chain alone.
    let main_only = options.as_pages || !described.is_empty();
    for page in directory.in_order().filter(|&p| !(main_only && p >= n_pages)) {
        if taken.get(page as usize).is_some_and(|t| *t) {
            continue;
        }
        pages[group_of[directory.kind_index(page)]].push(page);
    }
    let groups = pages.into_iter().zip(&groups).filter(|(pages, _)| !pages.is_empty());
    groups.map(|(pages, &k)| plain(pages, n_pages, &kinds[k], options)).collect()
}

/// The series of `pages`, all of `kind`, in a file of `n_pages`.
fn plain(pages: Vec<u32>, n_pages: u32, kind: &PageKind, options: &OpenOptions) -> Series {
    let n = pages.len() as u64;
    let mut axes = kind.axes();
    let mut list = PageList::new(pages);
    if options.as_pages {
        // Page numbers count all pages of the file, so that a description can speak of them.
        axes.insert(0, Axis::new("page", u64::from(n_pages)));
        if n != u64::from(n_pages) {
            let mut all = vec![None; n_pages as usize];
            list.pages().for_each(|p| all[p as usize] = Some(p));
            list = PageList::List(all);
        }
    } else if n > 1 {
        let name = options.pages.clone().unwrap_or_else(|| {
            // A volume in every page leaves no room for another z.
            if axis::position(&axes, "z").is_some() { "t" } else { "z" }.to_owned()
        });
        axes.insert(0, Axis::new(name, n));
    }
    name_samples(&mut axes);
    let text = in_words("", &list, kind, &axes);
    Series { axes, pages: list, notes: Vec::new(), set: None, text }
}

/// A series in words: `ImageJ, 6 pages, uint8, z 3, c 2, y 64, x 64`.
fn in_words(dialect: &str, pages: &PageList, kind: &PageKind, axes: &[Axis]) -> String {
    let shape: Vec<String> = axes.iter().map(|a| format!("{} {}", a.name, a.length)).collect();
    let comma = if dialect.is_empty() { "" } else { ", " };
    let (n, word) = match pages {
        PageList::Range { n, .. } => (u64::from(*n), "page"),
        PageList::List(list) => (list.iter().flatten().count() as u64, "page"),
        PageList::Contiguous { n, .. } => (*n, "plane"),
    };
    let plural = if n == 1 { "" } else { "s" };
    format!("{dialect}{comma}{n} {word}{plural}, {}, {}", kind.dtype, shape.join(", "))
}

/// Calls the axis of samples `c` where no other axis is the channels.
pub(super) fn name_samples(axes: &mut [Axis]) {
    if axis::position(axes, "c").is_none()
        && let Some(i) = axis::position(axes, "s")
    {
        axes[i].name = "c".to_owned();
    }
}
