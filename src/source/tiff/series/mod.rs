//! Which pages of a file form which array.
//!
//! The plain rule is here: pages of equal shape, element type and colour meaning form one series, in the
//! order of the file, and series are counted by their first page. The main series is the first whose pages
//! are images in their own right, not reduced copies or masks (NewSubfileType); if there is none, the first.
//! The dialects of programs that say more in descriptions and private tags go before it.

use super::directory::Directory;
use super::page::PageKind;
use crate::axis::{self, Axis};
use crate::error::{Error, Result};
use crate::source::{OpenOptions, Set};

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
    pub set: Option<Set>,
    /// The series in words, for a list of all of them.
    pub text: String,
}

/// Chooses the series of a file that `options` ask for. Gives it, and all series in words, the chosen one first.
///
/// # Errors
/// `Usage` if there is no such series; `Unsupported` or `Format` if a page of it cannot be read.
pub fn choose(directory: &Directory, options: &OpenOptions) -> Result<(Series, Vec<String>)> {
    let mut all = by_shape(directory, options);
    let n = all.len();
    let index = match options.series {
        Some(index) if index < n => index,
        Some(index) => {
            return Err(Error::usage(format!("there is no series {index}: the file has {n}, counted from 0")));
        }
        None => main(directory, &all),
    };
    let chosen = all.remove(index);
    let texts = std::iter::once((index, &chosen))
        .chain((0..n).filter(|&i| i != index).zip(&all))
        .map(|(i, s)| format!("series {i}: {}", s.text));
    let texts: Vec<_> = texts.collect();
    let mut chosen = chosen;
    if !all.is_empty() {
        let left_out: u64 = all.iter().map(|s| s.pages.len()).sum();
        let pages = if left_out == 1 { "page" } else { "pages" };
        let others = if n == 2 { "another series" } else { "other series" };
        chosen.notes.push(format!("{left_out} {pages} of {others} left out, --series picks another"));
    }
    Ok((chosen, texts))
}

/// Position of the main series.
fn main(directory: &Directory, all: &[Series]) -> usize {
    let own = |s: &Series| s.pages.pages().next().is_some_and(|p| !directory.kind(p).is_secondary());
    all.iter().position(own).unwrap_or(0)
}

/// Series of equally shaped pages.
fn by_shape(directory: &Directory, options: &OpenOptions) -> Vec<Series> {
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
    for page in 0..directory.n_pages() {
        pages[group_of[directory.kind_index(page)]].push(page);
    }
    let n_pages = directory.n_pages();
    pages.into_iter().zip(&groups).map(|(pages, &k)| plain(pages, n_pages, &kinds[k], options)).collect()
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
    let shape: Vec<String> = axes.iter().map(|a| format!("{} {}", a.name, a.length)).collect();
    let pages_word = if n == 1 { "page" } else { "pages" };
    let text = format!("{n} {pages_word}, {}, {}", kind.dtype, shape.join(", "));
    Series { axes, pages: list, notes: Vec::new(), set: None, text }
}

/// Calls the axis of samples `c` where no other axis is the channels.
pub(super) fn name_samples(axes: &mut [Axis]) {
    if axis::position(axes, "c").is_none()
        && let Some(i) = axis::position(axes, "s")
    {
        axes[i].name = "c".to_owned();
    }
}
