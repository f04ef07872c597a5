//! Which pages of a file form which array.
//!
//! The plain rule is here: pages of equal shape and element type form one series, in the order of the file, and
//! series are counted by their first page. The main series is the first whose pages are images in their own
//! right: no reduced copies or masks (NewSubfileType), no preview or label of a larger one. The dialects of
//! programs that say more in descriptions and private tags go before it; a description that does not fit its
//! pages is left aside with a note. Series that follow one another and are alike are read as one.

use std::cell::Cell;
use std::sync::Arc;

use super::directory::{Directory, Tag};
use super::page::PageKind;
use crate::axis::{self, Axis};
use crate::error::{Error, Result};
use crate::source::{Note, NoteKind, OpenOptions, Set};
use crate::unit;

mod fluoview;
pub mod imagej;
mod levels;
mod lsm;
mod metamorph;
mod micromanager;
pub mod ome;
mod scale;
mod scanimage;
pub mod shaped;
mod slides;

/// A dialect: gives the series that the file's metadata describe, the main one first.
type Dialect = fn(&Context<'_>) -> Result<Option<Vec<Series>>, Unusable>;

/// Every dialect, in the order in which they are asked.
const DIALECTS: &[(&str, Dialect)] = &[
    ("tifffile's shape", shaped::read),
    ("the LSM header", lsm::read),
    ("Micro-Manager's index", micromanager::read),
    ("the OME-XML", ome::read),
    ("ImageJ's description", imagej::read),
    ("MetaMorph's stack header", metamorph::read),
    ("FluoView's header", fluoview::read),
    ("ScanImage's header", scanimage::read),
    ("the slide's description", slides::read),
];

const IMAGE_DESCRIPTION: u16 = 270;
/// Bytes of a description that are read at most.
const DESCRIPTION_BYTES: u64 = 256 << 20;
/// Images of a description that are looked at, and series that are listed.
const MOST_SERIES: usize = 256;

/// Why a dialect's metadata cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// They do not fit the pages, in words: the plain rule takes over.
    Ignore(String),
    /// Going on would give a wrong array.
    Refuse(Error),
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        match error {
            fatal @ (Error::Io { .. } | Error::Limit(_)) => Self::Refuse(fatal),
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
    /// Bytes of descriptions that have been read.
    spent_bytes: Cell<u64>,
}

impl<'a> Context<'a> {
    fn new(directory: &'a Directory, options: &'a OpenOptions) -> Result<Self, Unusable> {
        let tags = directory.tag_numbers(0)?;
        let n = tags.iter().filter(|&&t| t == IMAGE_DESCRIPTION).count();
        let mut context = Self { directory, options, tags, descriptions: Vec::new(), spent_bytes: Cell::new(0) };
        context.descriptions = context.first_descriptions(0, n.min(2))?;
        Ok(context)
    }

    /// A tag of the first page, of at most `limit_bytes`.
    fn tag(&self, tag: u16, limit_bytes: u64) -> Result<Option<Tag>> {
        if self.tags.contains(&tag) { self.directory.tag(0, tag, 0, limit_bytes) } else { Ok(None) }
    }

    /// The ImageDescriptions of a page: programs put theirs first or second.
    fn descriptions_of(&self, page: u32) -> Result<Vec<String>, Unusable> {
        self.first_descriptions(page, 2)
    }

    fn first_descriptions(&self, page: u32, n: usize) -> Result<Vec<String>, Unusable> {
        let most = self.options.limit_bytes.unwrap_or(DESCRIPTION_BYTES).min(DESCRIPTION_BYTES);
        let mut texts = Vec::new();
        for nth in 0..n {
            match self.directory.tag(page, IMAGE_DESCRIPTION, nth, most)? {
                Some(tag) => {
                    // Descriptions of all pages cannot be many times the file, unless they overlap.
                    let spent = self.spent_bytes.get().saturating_add(tag.bytes.len() as u64);
                    self.spent_bytes.set(spent);
                    if spent / 4 > self.directory.file_bytes {
                        return Err(Unusable::Ignore("descriptions overlap".to_owned()));
                    }
                    texts.push(tag.text());
                }
                None => break,
            }
        }
        Ok(texts)
    }

    /// `len` bytes at `at` of the file, if it has them and they are fewer than may be held.
    fn bytes(&self, at: u64, len: u64) -> Result<Vec<u8>, Unusable> {
        let most = self.options.limit_bytes.unwrap_or(DESCRIPTION_BYTES).min(DESCRIPTION_BYTES);
        let inside = at.checked_add(len).is_some_and(|end| end <= self.directory.file_bytes);
        let n = usize::try_from(len).ok().filter(|_| inside && len <= most);
        let n = n.ok_or_else(|| Unusable::Ignore(format!("{len} bytes at {at} lie outside the file")))?;
        let mut bytes = vec![0; n];
        self.directory.bytes_at(&mut bytes, at)?;
        Ok(bytes)
    }

    /// Whether what a file that breaks off lacks of what it describes is absent.
    fn salvages(&self) -> bool {
        self.options.skip_bad && self.directory.broken().is_some()
    }

    /// `n` planes one behind another from where `page` begins, if the file reaches so far, or breaks off and that may be.
    ///
    /// # Errors
    /// `Ignore` if something else lies where the planes after the first would be.
    fn one_behind_another(&self, page: u32, n: u64) -> Result<Option<PageList>, Unusable> {
        let directory = self.directory;
        let place = directory.contiguous_offset(page).zip(directory.kind(page).plane_bytes());
        let Some((offset, plane)) = place else { return Ok(None) };
        let ends = offset.checked_add(plane).zip(plane.checked_mul(n).and_then(|bytes| bytes.checked_add(offset)));
        let Some((first_end, end)) = ends else { return Ok(None) };
        if directory.file_bytes < if self.salvages() { first_end } else { end } {
            return Ok(None);
        }
        match self.in_the_way(page, first_end, end)? {
            None => Ok(Some(PageList::Contiguous { page, offset, n })),
            Some(what) => Err(Unusable::Ignore(format!(
                "it counts {n} planes of {plane} bytes one behind another from byte {offset} on, but {what}"
            ))),
        }
    }

    /// What lies between bytes `from` and `until` beside pixels of `page`, in words.
    fn in_the_way(&self, page: u32, from: u64, until: u64) -> Result<Option<String>, Unusable> {
        /// Pages whose directories are read, and strips and tiles that are looked at.
        const MOST: u64 = 1 << 18;
        let meets = |(at, len): &(u64, u64)| len > &0 && *at < until && at.saturating_add(*len) > from;
        let all = u64::from(self.directory.n_pages()) + self.directory.n_subs();
        if all > MOST >> 8 {
            return Ok(Some(format!("there are {all} pages")));
        }
        let (mut left, others) = (MOST, (0..all as u32).filter(|&other| other != page));
        for other in std::iter::once(page).chain(others) {
            if let Some((at, _)) = self.directory.header_ranges(other)?.into_iter().find(meets) {
                return Ok(Some(format!("tags of page {other} lie at byte {at}")));
            }
            if other == page {
                continue;
            }
            left = left.saturating_sub(1 + self.directory.kind(other).n_chunks());
            if left == 0 {
                return Ok(Some("too many strips and tiles may lie between".to_owned()));
            }
            if let Some((at, _)) = self.directory.pixel_ranges(other).find(meets) {
                return Ok(Some(format!("pixels of page {other} lie at byte {at}")));
            }
        }
        Ok(None)
    }

    /// The pages from `first` on, behind which others of `n` are absent, of a file that breaks off if that may be.
    fn broken_off(&self, first: u32, n: u64) -> Option<PageList> {
        /// Planes that are counted one by one.
        const MOST: u64 = 1 << 22;
        let there = (first..self.directory.n_pages()).map(Some).chain(std::iter::repeat(None));
        (self.salvages() && n <= MOST).then(|| PageList::of(there.take(n as usize).collect()))
    }

    /// A series of `axes`, whose last ones are those of a page, after checking that its pages are alike.
    fn series(&self, dialect: &str, mut axes: Vec<Axis>, pages: PageList) -> Result<Series, Unusable> {
        let first = pages.pages().next().ok_or_else(|| Unusable::Ignore("it names no page of the file".to_owned()))?;
        let kind = self.directory.kind(first);
        let mut last = self.directory.kind_index(first);
        for page in pages.pages() {
            if page >= self.directory.n_pages() {
                return Err(Unusable::Ignore(format!("it names page {page} of {}", self.directory.n_pages())));
            }
            let index = self.directory.kind_index(page);
            if index != last && !self.directory.kind(page).stacks_with(kind) {
                return Err(Unusable::Ignore(format!("page {page} is not like page {first}")));
            }
            last = index;
        }
        name_samples(&mut axes);
        for i in 0..axes.len() {
            if axes[..i].iter().any(|a| a.name == axes[i].name) {
                return Err(Unusable::Ignore(format!("it has two axes {}", axes[i].name)));
            }
        }
        let text = in_words(dialect, &pages, kind, &axes);
        Ok(Series { axes, pages, text, ..Series::default() })
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

    /// Adds the pages of `more` behind its own, if both are of the directories.
    fn append(&mut self, more: &Self) {
        match (&mut *self, more) {
            (Self::Range { first, n }, Self::Range { first: next, n: m }) if *first + *n == *next => *n += m,
            _ => {
                let mut all: Vec<Option<u32>> = self.planes().collect();
                all.extend(more.planes());
                *self = Self::List(all);
            }
        }
    }

    /// `len` planes from number `from` on.
    fn slice(&self, from: u64, len: u64) -> Self {
        match self {
            Self::Range { first, .. } => Self::Range { first: first + from as u32, n: len as u32 },
            Self::List(pages) => Self::List(pages[from as usize..][..len as usize].to_vec()),
            Self::Contiguous { .. } => self.clone(),
        }
    }

    /// For every plane the page, if it is there.
    pub(super) fn planes(&self) -> Box<dyn Iterator<Item = Option<u32>> + '_> {
        match self {
            Self::List(pages) => Box::new(pages.iter().copied()),
            _ => Box::new(self.pages().map(Some)),
        }
    }

    /// Pages, some of which may not be there, as the shortest list that says the same.
    pub fn of(pages: Vec<Option<u32>>) -> Self {
        if pages.iter().all(Option::is_some) {
            return Self::new(pages.into_iter().flatten().collect());
        }
        Self::List(pages)
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

impl Default for PageList {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// Pages of a file that form one array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// All axes, slowest first: those of pages, then those of [`super::page::PageKind::axes`], which may be
    /// renamed and calibrated but keep order and length.
    pub axes: Vec<Axis>,
    /// Which page each plane is.
    pub pages: PageList,
    /// How many series follow the first one and are like it; their pages are behind the first one's.
    pub n_more: u64,
    /// What such series are of one another, if the file says: images are positions.
    pub joins_along: Option<&'static str>,
    /// Pages of the same planes in lower resolutions, the highest first.
    pub levels: Vec<PageList>,
    /// What a user should know.
    pub notes: Vec<Note>,
    /// The data set over several files that the file is a member of.
    pub set: Option<Arc<Set>>,
    /// Which of the data set's files it is.
    pub member: Option<u32>,
    /// The series in words, for a list of all of them.
    pub text: String,
}

impl Series {
    /// Takes in `next` if it is like this one.
    fn joins(&mut self, directory: &Directory, next: &Self) -> bool {
        let shape = |s: &Self| s.axes.iter().map(|a| (a.name.clone(), a.length)).collect::<Vec<_>>();
        let apart = |s: &Self| s.set.is_some() || matches!(s.pages, PageList::Contiguous { .. });
        let kind = |s: &Self| s.pages.pages().next().map(|page| directory.kind(page));
        let alike = kind(self).zip(kind(next)).is_some_and(|(a, b)| a.stacks_with(b));
        if !alike || apart(self) || apart(next) || shape(self) != shape(next) {
            return false;
        }
        let both = || self.axes.iter().zip(&next.axes);
        // Where both state a step, it is one.
        let steps = |(a, b): (&Axis, &Axis)| {
            a.calibration.as_ref().zip(b.calibration.as_ref()).is_none_or(|(a, b)| unit::agree(a, b))
        };
        if !both().all(steps) {
            return false;
        }
        let renamed = both().find_map(|(a, b)| a.labels.as_ref().zip(b.labels.as_ref()).filter(|(a, b)| a != b));
        if let Some((own, other)) = renamed {
            let text = format!(
                "names of one series are not used: {} where the first has {}",
                other.join(", "),
                own.join(", ")
            );
            self.notes.push(Note::new(NoteKind::DescriptionUnused, text));
        }
        // Nor do images that lie elsewhere begin at one place.
        let apart = self.axes.iter_mut().zip(&next.axes).filter(|(own, other)| own.origin != other.origin);
        apart.for_each(|(own, _)| own.origin = 0.0);
        self.pages.append(&next.pages);
        if self.levels.len() == next.levels.len() {
            self.levels.iter_mut().zip(&next.levels).for_each(|(own, more)| own.append(more));
        }
        self.notes.extend(next.notes.iter().cloned());
        self.n_more += 1;
        true
    }

    /// Only the series number `part` of those that are joined.
    fn part(mut self, part: u64) -> Self {
        let len = self.pages.len() / (self.n_more + 1);
        for list in std::iter::once(&mut self.pages).chain(&mut self.levels) {
            *list = list.slice(len * part, len);
        }
        self.n_more = 0;
        self
    }

    /// Gives the axis along which series are joined a name that is free.
    fn name_joined(&mut self, asked: Option<&str>) {
        let n = self.n_more + 1;
        let names = asked.into_iter().chain(self.joins_along).chain(["z", "t", "p"]);
        let name = names.into_iter().find(|name| axis::position(&self.axes, name).is_none()).unwrap_or("series");
        let text = format!("{n} series that are alike are read as one along {name}, --series picks one of them");
        self.axes.insert(0, Axis::new(name, n));
        self.notes.push(Note::new(NoteKind::SeriesJoined, text));
    }
}

/// Puts series that follow one another and are alike together.
fn push_joined(all: &mut Vec<Series>, directory: &Directory, next: Series) {
    if !all.last_mut().is_some_and(|last| last.joins(directory, &next)) {
        all.push(next);
    }
}

/// Axes of pages as the user names them, slowest first, with the lengths that are given: `t,z,c=2`.
fn asked_axes(text: &str) -> Result<Vec<(String, Option<u64>)>> {
    let fault = || Error::usage(format!("--pages '{text}': expected names of axes, such as t,z,c=2"));
    let mut axes: Vec<(String, Option<u64>)> = Vec::new();
    for part in text.split(',') {
        let (name, length) = part.split_once('=').map_or((part, None), |(name, n)| (name, Some(n)));
        let length = length.map(|n| n.trim().parse().ok().filter(|&n: &u64| n > 0).ok_or_else(fault)).transpose()?;
        let name = name.trim().to_owned();
        if name.is_empty() || matches!(name.as_str(), "y" | "x") || axes.iter().any(|a| a.0 == name) {
            return Err(fault());
        }
        axes.push((name, length));
    }
    Ok(axes)
}

/// Chooses the series of a file that `options` ask for. Gives it, and all series in words, the chosen one first.
///
/// # Errors
/// `Usage` if there is no such series or level, or pages do not have the axes asked for; `Unsupported` or
/// `Format` if a page of it cannot be read.
pub fn choose(directory: &Directory, options: &OpenOptions) -> Result<(Series, Vec<String>)> {
    let asked = options.pages.as_deref().filter(|_| !options.as_pages).map(asked_axes).transpose()?;
    let asked = asked.unwrap_or_default();
    let counted = asked.len() > 1 || asked.iter().any(|a| a.1.is_some());
    let (mut described, mut notes) =
        if options.as_pages { (Vec::new(), Vec::new()) } else { dialect(directory, options)? };
    let said = described.first().map_or(Vec::new(), |s| s.axes.clone());
    if counted {
        (described, notes) = (Vec::new(), Vec::new());
    }
    let n_described = described.len();
    let shaped = by_shape(directory, options, &described);
    let mut all = Vec::new();
    described.into_iter().chain(shaped).for_each(|series| push_joined(&mut all, directory, series));
    let n: u64 = all.iter().map(|s: &Series| s.n_more + 1).sum();
    let before = |index: usize| all[..index].iter().map(|s| s.n_more + 1).sum::<u64>();
    let (index, part) = match options.series.map(|i| i as u64) {
        Some(i) if i < n => {
            let index = (0..all.len()).rfind(|&k| before(k) <= i).unwrap_or(0);
            (index, Some(i - before(index)))
        }
        Some(i) => return Err(Error::usage(format!("there is no series {i}: the file has {n}, counted from 0"))),
        None => (main(directory, &all), None),
    };
    let order = std::iter::once(index).chain((0..all.len()).filter(|&i| i != index)).take(MOST_SERIES);
    let texts = order.map(|i| match all[i].n_more {
        0 => format!("series {}: {}", before(i), all[i].text),
        more => format!("series {} to {}: {} each", before(i), before(i) + more, all[i].text),
    });
    let texts = texts.collect();
    let mut chosen = all.remove(index);
    match part {
        Some(part) => chosen = chosen.part(part),
        None if chosen.n_more > 0 => chosen.name_joined(asked.first().filter(|_| !counted).map(|a| a.0.as_str())),
        None => {}
    }
    chosen.notes.extend(notes);
    if counted {
        chosen.count_pages(directory, &asked, &said)?;
    } else if let Some((name, _)) = asked.first() {
        rename_pages(directory, name, index < n_described, &mut chosen);
    }
    let left = levels::find(directory, &mut chosen, all);
    tell_left_out(directory, options, &mut chosen, &left);
    if let Some(kind) = chosen.pages.pages().next().map(|page| directory.kind(page)) {
        scale::calibrate(&mut chosen.axes, kind);
    }
    Ok((chosen, texts))
}

/// Says what is left out: copies and the like, and pages that could be lost.
fn tell_left_out(directory: &Directory, options: &OpenOptions, chosen: &mut Series, left: &[Series]) {
    let (slight, own): (Vec<&Series>, Vec<&Series>) = left.iter().partition(|s| is_slight(directory, s, chosen));
    let count = |list: &[&Series]| list.iter().map(|s| s.pages.pages().count() as u64).sum::<u64>();
    let words = |n: u64| format!("{n} {}", if n == 1 { "page" } else { "pages" });
    if !slight.is_empty() {
        let text =
            format!("{} of copies, masks, previews or labels left out, --series picks them", words(count(&slight)));
        chosen.notes.push(Note::new(NoteKind::PagesLeftOut, text));
    }
    if own.is_empty() {
        return;
    }
    let others = if own.len() == 1 { "another series" } else { "other series" };
    let text = format!("{} of {others}", words(count(&own)));
    let note = if options.series.is_some() || options.pages.is_some() || options.as_pages {
        Note::new(NoteKind::PagesLeftOut, format!("{text} left out, --series picks another"))
    } else {
        let names: Vec<&str> = std::iter::once(&*chosen).chain(own.iter().copied()).map(|s| s.text.as_str()).collect();
        let and = if names.len() > 4 { "; .." } else { "" };
        let names = names[..names.len().min(4)].join("; ");
        Note::new(
            NoteKind::PagesLost,
            format!("{text} would be left out: choose with --series, 'inspect' lists them ({names}{and})"),
        )
    };
    chosen.notes.push(note);
}

/// Whether the pages of `series` are copies or masks, or a preview or label of those of `main`.
fn is_slight(directory: &Directory, series: &Series, main: &Series) -> bool {
    let first = |s: &Series| s.pages.pages().next().map(|page| directory.kind(page));
    let Some((kind, main)) = first(series).zip(first(main)) else { return true };
    let single = kind.dtype.size() == 1 && series.pages.len() == 1;
    // Pages of nearly one size are each their own: scans of paper, sections of a slide.
    let smaller = kind.width.saturating_mul(kind.height).saturating_mul(4) <= main.width.saturating_mul(main.height);
    // In colours, or beside colours, or at once beside tiles.
    let other = kind.samples >= 3 || main.samples >= 3 || (main.is_tiled() && !kind.is_tiled());
    kind.is_secondary() || (single && smaller && other)
}

/// The series that the first dialect finds that fits, and notes of those that do not.
fn dialect(directory: &Directory, options: &OpenOptions) -> Result<(Vec<Series>, Vec<Note>)> {
    let mut notes = Vec::new();
    let mut note = |name: &str, fault: Unusable| match fault {
        Unusable::Refuse(error) => Err(error),
        Unusable::Ignore(why) => {
            notes.push(Note::new(NoteKind::DescriptionUnused, format!("{name} is not used: {why}")));
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

impl Series {
    /// Axes before those of a page.
    fn n_leading(&self, directory: &Directory) -> usize {
        let inner = self.pages.pages().next().map_or(0, |page| directory.kind(page).axes().len());
        self.axes.len().saturating_sub(inner)
    }

    /// Gives the pages the axes that were asked for. Lengths that were not given are those of axes of the same
    /// name that the file says, and the last one follows from the number of pages.
    fn count_pages(&mut self, directory: &Directory, asked: &[(String, Option<u64>)], said: &[Axis]) -> Result<()> {
        let n = self.pages.len();
        let mut axes = asked.to_vec();
        let unknown = |axes: &[(String, Option<u64>)]| axes.iter().filter(|a| a.1.is_none()).count();
        if unknown(&axes) > 1 {
            for axis in axes.iter_mut().filter(|a| a.1.is_none()) {
                axis.1 = said.iter().find(|s| s.name == axis.0).map(|s| s.length);
            }
        }
        let known = axes.iter().filter_map(|a| a.1).try_fold(1u64, |n, length| n.checked_mul(length));
        let rest = known.filter(|&known| n.is_multiple_of(known)).map(|known| n / known);
        let fault = |why: &str| Error::usage(format!("--pages: the file has {n} pages, {why}"));
        match (unknown(&axes), rest) {
            (0 | 1, None) => return Err(fault("which are no multiple of the lengths given")),
            (0, Some(rest)) if rest != 1 => return Err(fault("more than the lengths given make")),
            (0 | 1, Some(rest)) => axes.iter_mut().filter(|a| a.1.is_none()).for_each(|a| a.1 = Some(rest)),
            _ => return Err(fault("and more than one length is not known: give them, such as t=5,z=3,c=2")),
        }
        let n_leading = self.n_leading(directory);
        let own = self.axes.split_off(n_leading);
        self.axes = axes.into_iter().map(|(name, length)| Axis::new(name, length.unwrap_or(1))).collect();
        if let Some(twice) = own.iter().find(|a| axis::position(&self.axes, &a.name).is_some()) {
            return Err(Error::usage(format!("--pages: every page has an axis {} already", twice.name)));
        }
        self.axes.extend(own);
        Ok(())
    }
}

/// Gives the only axis of pages the name that the user asked for: descriptions call time points slices. Sample
/// planes of a single page are what was asked for too: programs take three slices for colours.
fn rename_pages(directory: &Directory, name: &str, is_described: bool, series: &mut Series) {
    let n_leading = series.n_leading(directory);
    let mut long = (0..n_leading).filter(|&i| series.axes[i].length > 1);
    let planar = series.pages.pages().next().is_some_and(|page| directory.kind(page).planar);
    let only = match (long.next(), long.next()) {
        (Some(only), None) if is_described => only,
        (None, _) if planar => n_leading,
        _ => return,
    };
    let taken = series.axes.iter().enumerate().any(|(i, a)| a.name == name && i >= n_leading);
    if series.axes[only].name == name || taken {
        return;
    }
    let length = series.axes[only].length;
    let text = format!("pages are {name} as asked, not {}", series.axes[only].name);
    series.notes.push(Note::new(NoteKind::PagesRenamed, text));
    series.axes[only] = Axis::new(name, length);
    let mut index = 0;
    series.axes.retain(|a| {
        index += 1;
        index - 1 == only || index > n_leading || a.name != name
    });
}

/// Position of the main series.
fn main(directory: &Directory, all: &[Series]) -> usize {
    let size = |s: &Series| s.pages.pages().next().map_or(0, |p| directory.kind(p).width * directory.kind(p).height);
    let secondary = |s: &Series| s.pages.pages().next().is_none_or(|page| directory.kind(page).is_secondary());
    let largest = all.iter().filter(|s| !secondary(s)).max_by_key(|s| (size(s), std::cmp::Reverse(s.n_more)));
    let Some(largest) = largest else { return 0 };
    all.iter().position(|s| !is_slight(directory, s, largest)).unwrap_or(0)
}

/// Series of equally shaped pages that are not in one of `described`.
fn by_shape(directory: &Directory, options: &OpenOptions, described: &[Series]) -> Vec<Series> {
    let n_pages = directory.n_pages();
    let mut taken = vec![false; if described.is_empty() { 0 } else { n_pages as usize }];
    let levels = described.iter().flat_map(|s| &s.levels);
    for page in described.iter().map(|s| &s.pages).chain(levels).flat_map(PageList::pages) {
        if let Some(taken) = taken.get_mut(page as usize) {
            *taken = true;
        }
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
    for (page, subs) in directory.with_subs() {
        let kind = directory.kind(page);
        let subs = subs.filter(|&sub| !main_only && !directory.kind(sub).is_reduced(kind));
        for page in std::iter::once(page).filter(|&p| !taken.get(p as usize).is_some_and(|t| *t)).chain(subs) {
            pages[group_of[directory.kind_index(page)]].push(page);
        }
    }
    let groups = pages.into_iter().zip(&groups).filter(|(pages, _)| !pages.is_empty());
    let n_lost = options.n_pages.filter(|_| directory.broken().is_some()).unwrap_or(0).saturating_sub(n_pages.into());
    groups.map(|(pages, &k)| plain(pages, n_pages, n_lost, &kinds[k], options)).collect()
}

/// The series of `pages`, all of `kind`, in a file of `n_pages`, behind which `n_lost` are absent.
fn plain(pages: Vec<u32>, n_pages: u32, n_lost: u64, kind: &PageKind, options: &OpenOptions) -> Series {
    let n = pages.len() as u64 + n_lost;
    let mut axes = kind.axes();
    let mut list = PageList::new(pages);
    if n_lost > 0 {
        list = PageList::List(list.planes().chain((0..n_lost).map(|_| None)).collect());
    }
    if options.as_pages {
        // Page numbers count all pages of the file, so that a description can speak of them.
        axes.insert(0, Axis::new("page", u64::from(n_pages)));
        if n != u64::from(n_pages) {
            let mut all = vec![None; n_pages as usize];
            list.pages().for_each(|p| all[p as usize] = Some(p));
            list = PageList::List(all);
        }
    } else if n > 1 {
        let asked = options.pages.as_deref().filter(|asked| !asked.contains([',', '=']));
        // A volume in every page leaves no room for another z.
        let usual = if axis::position(&axes, "z").is_some() { "t" } else { "z" };
        axes.insert(0, Axis::new(asked.unwrap_or(usual), n));
    }
    name_samples(&mut axes);
    let text = in_words("", &list, kind, &axes);
    Series { axes, pages: list, text, ..Series::default() }
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
