//! The directories of a TIFF file: a bounded walk along them by positional reads, and a compact index of
//! what they say.
//!
//! Only what reading pixels needs is kept. Descriptions, software names and private tags stay in the file
//! until [`Directory::tag`] is asked for them. Pages of SubIFDs, mostly reduced copies, are kept behind all
//! others.

use std::collections::HashSet;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::headers::{HeaderInput, HeaderReader};
use super::page::{Chunk, PageError, PageKind, RawPage};
use super::steps::Steps;
pub use super::tag::Tag;
use super::tag::{TagField, uint};
use crate::error::{Error, Result};
use crate::source::OpenOptions;

/// How the pixels of a page are stored, from its base on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// Uncompressed strips that follow one another.
    Contiguous,
    /// Nowhere: the page has a problem.
    Nowhere,
    /// In pieces, the first of which has this number in the table of strips and tiles.
    Table(u64),
}

impl Stored {
    fn number(self) -> u64 {
        match self {
            Self::Contiguous => 0,
            Self::Nowhere => 1,
            Self::Table(first) => first + 2,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            0 => Self::Contiguous,
            1 => Self::Nowhere,
            n => Self::Table(n - 2),
        }
    }
}

/// Where strips and tiles lie from the base of their page on. Of their byte counts is kept what the distance to the next one has more: nothing
/// or always the same in most files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chunks {
    offsets: Steps,
    gaps: Steps,
    last_count: u64,
}

impl Chunks {
    fn push(&mut self, chunk: Chunk) {
        if let Some(last) = self.offsets.len().checked_sub(1) {
            let distance = chunk.offset.wrapping_sub(self.offsets.get(last));
            self.gaps.push(distance.wrapping_sub(self.last_count));
        }
        self.offsets.push(chunk.offset);
        self.last_count = chunk.count;
    }

    fn get(&self, index: u64) -> Chunk {
        let offset = self.offsets.get(index);
        let count = if index + 1 < self.offsets.len() {
            self.offsets.get(index + 1).wrapping_sub(offset).wrapping_sub(self.gaps.get(index))
        } else {
            self.last_count
        };
        Chunk { offset, count }
    }
}

/// What was wrong with a page whose directory could be walked past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The page.
    pub page: u32,
    /// Whose turn it is, and why.
    pub text: String,
    /// Whether the page is valid but of a kind that is not handled.
    pub unsupported: bool,
}

/// A TIFF file that is open, and the index of its pages.
pub struct Directory {
    pub(super) input: HeaderInput,
    index: Arc<PageIndex>,
    /// Fields of the first page, if there are no more than [`KEPT_FIELDS`], once somebody has asked for one.
    first: OnceLock<Vec<TagField>>,
}

/// The pages of a TIFF file: what kind each is, and where its strips or tiles lie. Knows no open file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PageIndex {
    /// Whether the file is big-endian.
    pub big_endian: bool,
    /// Whether it is a BigTIFF.
    pub big_tiff: bool,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    kinds: Vec<PageKind>,
    /// For every page, where its directory begins, its kind, and where and how its pixels are stored.
    at: Steps,
    kind_of: Steps,
    base: Steps,
    stored: Steps,
    /// Pages of the main chain of directories; the rest are those of SubIFDs.
    n_main: u32,
    /// For every page of a SubIFD, in order, the page that it belongs to.
    parents: Steps,
    chunks: Chunks,
    problems: Vec<Problem>,
    /// Why the chain of directories goes no further, where that was allowed.
    broken: Option<String>,
    /// Pages with strips or tiles that have a place but no bytes, or bytes but no place, and how many.
    emptied: Vec<(u32, u32)>,
    /// Most bytes of one stored strip or tile.
    pub(super) largest_chunk_bytes: u64,
    /// Memory that the JPEG tables of all kinds take.
    table_bytes: u64,
}

/// Problems that are kept; a file full of them is described well enough by the first.
const MOST_PROBLEMS: usize = 64;
/// Bytes of a strip or tile that may be absent: programs that leave some out cut images into small ones.
const MOST_ABSENT_BYTES: u64 = 1 << 28;
/// Fields that are kept of the first page, which is asked most.
const KEPT_FIELDS: usize = 64;
/// Entries of a directory, more than any program writes.
const MOST_FIELDS: u64 = 4096;

impl Deref for Directory {
    type Target = PageIndex;

    fn deref(&self) -> &PageIndex {
        &self.index
    }
}

impl Directory {
    /// Walks along the directories of the file at `path`.
    ///
    /// # Errors
    /// `Format` if it is no TIFF file or the chain of directories is broken, runs in a circle or overlaps;
    /// `Limit` if the index needs more than `options.limit_bytes`; `Io` if it cannot be read.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::of(HeaderInput::open(path)?.with_head()?, options)
    }

    /// The first page of the file at `path` alone.
    pub(super) fn first_page(path: &Path, options: &OpenOptions) -> Result<Self> {
        Self::walked(HeaderInput::open(path)?.with_head()?, options, true)
    }

    /// The same of a file that is open.
    pub(super) fn of(input: HeaderInput, options: &OpenOptions) -> Result<Self> {
        Self::walked(input, options, false)
    }

    fn walked(input: HeaderInput, options: &OpenOptions, first_only: bool) -> Result<Self> {
        let mut headers = HeaderReader::new(&input);
        let n_head = headers.input.size.min(16) as usize;
        if n_head < 8 {
            return Err(Error::format(format!("is not a TIFF file: it has {n_head} bytes")));
        }
        let head = headers.directory(0, n_head)?;
        let big_endian = match &head[..2] {
            b"II" => false,
            b"MM" => true,
            _ => return Err(Error::format("is not a TIFF file: it does not begin with II or MM")),
        };
        let (big_tiff, first) = match uint(&head[2..4], big_endian) {
            42 => (false, uint(&head[4..8], big_endian)),
            43 if n_head == 16 && uint(&head[4..6], big_endian) == 8 => (true, uint(&head[8..16], big_endian)),
            43 => return Err(Error::format("has a broken BigTIFF header")),
            other => return Err(Error::format(format!("is not a TIFF file: its version is {other}, not 42 or 43"))),
        };
        headers.big_endian = big_endian;
        let index = PageIndex { big_endian, big_tiff, file_bytes: input.size, ..PageIndex::default() };
        let mut walk = Walk {
            headers,
            limit_bytes: options.limit_bytes.unwrap_or(u64::MAX),
            skip_bad: options.skip_bad,
            first_only,
            index,
            ifd: Vec::new(),
            table: Vec::new(),
            last_table: Vec::new(),
            last_first: 0,
            directory_bytes: 0,
            sub_ifds: Vec::new(),
            is_lsm: false,
        };
        walk.run(first)?;
        if !first_only {
            walk.sub_pages()?;
            walk.overlaps()?;
        }
        let mut index = walk.index;
        index.kinds.shrink_to_fit();
        let steps = [&mut index.at, &mut index.kind_of, &mut index.base, &mut index.stored, &mut index.parents];
        let chunks = [&mut index.chunks.offsets, &mut index.chunks.gaps];
        steps.into_iter().chain(chunks).for_each(Steps::shrink);
        Ok(Self { input, index: Arc::new(index), first: OnceLock::new() })
    }

    /// The file at `path` again, whose pages are known from before.
    ///
    /// # Errors
    /// `Format` if it has another size by now; `Io` if it cannot be opened.
    pub fn reopen(index: Arc<PageIndex>, path: &Path) -> Result<Self> {
        let input = HeaderInput::open(path)?;
        if input.size != index.file_bytes {
            let then = index.file_bytes;
            return Err(Error::format(format!(
                "has {} bytes, but had {then} before: wait until it is written",
                input.size
            )));
        }
        Ok(Self::known(input, index))
    }

    /// That of an open file, whose pages are known.
    pub(super) fn known(input: HeaderInput, index: Arc<PageIndex>) -> Self {
        Self { input, index, first: OnceLock::new() }
    }

    /// What is known of the pages.
    pub fn index(&self) -> &Arc<PageIndex> {
        &self.index
    }

    /// Reads the first bytes, at most `len`, of strip or tile number `index` of `page`, whose pixels are not in
    /// one piece; none if it is absent.
    pub(super) fn chunk_head(&self, page: u32, index: u64, len: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let chunk = self.chunk(page, index);
        bytes.resize(chunk.count.min(len) as usize, 0);
        self.input.read_at(bytes, chunk.offset)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.input.path()
    }

    /// Reads `bytes.len()` bytes at `at` of the file.
    ///
    /// # Errors
    /// `Format` if they lie outside the file; `Io` if they cannot be read.
    pub fn bytes_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.input.read_at(bytes, at)
    }

    /// The fields of `page`, in order.
    fn fields(&self, page: u32) -> Result<Vec<TagField>> {
        if let Some(known) = self.first.get().filter(|_| page == 0) {
            return Ok(known.clone());
        }
        let mut headers = HeaderReader::brief(&self.input);
        headers.big_endian = self.big_endian;
        let (mut ifd, at) = (Vec::new(), self.page_offset(page));
        read_ifd(&mut headers, self.big_tiff, at, &mut ifd)?;
        let found: Vec<TagField> = fields(&ifd, at, self.big_tiff, self.big_endian).collect();
        if page == 0 && found.len() <= KEPT_FIELDS {
            self.first.get_or_init(|| found.clone());
        }
        Ok(found)
    }

    /// Where the directory of `page` and the values it points to lie, as offsets and lengths.
    pub(super) fn header_ranges(&self, page: u32) -> Result<Vec<(u64, u64)>> {
        let fields = self.fields(page)?;
        let (entry, rest, inline) = if self.big_tiff { (20, 16, 8) } else { (12, 6, 4) };
        let own = (self.page_offset(page), fields.len() as u64 * entry + rest);
        let values = fields.iter().map(|f| (f.at, f.size_bytes())).filter(|value| value.1 > inline);
        // What the file does not hold is nowhere.
        let values = values.filter(|(at, len)| at.checked_add(*len).is_some_and(|end| end <= self.file_bytes));
        Ok(std::iter::once(own).chain(values).collect())
    }

    /// Numbers of the tags of `page`, in order, as often as they come.
    ///
    /// # Errors
    /// `Io` if the directory cannot be read any more.
    pub fn tag_numbers(&self, page: u32) -> Result<Vec<u16>> {
        Ok(self.fields(page)?.iter().map(|f| f.tag).collect())
    }

    /// Value of tag number `tag` of `page`, the `nth` of that number (counted from zero), if it is there.
    ///
    /// # Errors
    /// `Format` if it lies outside the file; `Limit` if it is larger than `limit_bytes`.
    pub fn tag(&self, page: u32, tag: u16, nth: usize, limit_bytes: u64) -> Result<Option<Tag>> {
        let Some(field) = self.fields(page)?.into_iter().filter(|f| f.tag == tag).nth(nth) else { return Ok(None) };
        let size = field.size_bytes();
        if size > self.file_bytes {
            return Err(Error::format(format!("page {page}: tag {tag} has {size} bytes")));
        }
        if size > limit_bytes {
            let text = format!("page {page}: tag {tag} has {size} bytes, {limit_bytes} may be held: raise --memory");
            return Err(Error::limit(text));
        }
        let mut bytes = vec![0; size as usize];
        self.bytes_at(&mut bytes, field.at).map_err(|e| e.at(format!("page {page}, tag {tag}")))?;
        let (field_type, count, big_endian, at) = (field.field_type, field.count, self.big_endian, field.at);
        Ok(Some(Tag { field_type, count, bytes, big_endian, at }))
    }
}

impl PageIndex {
    /// Number of pages, without those of SubIFDs, whose numbers follow.
    pub fn n_pages(&self) -> u32 {
        self.n_main
    }

    /// Number of pages of SubIFDs.
    pub fn n_subs(&self) -> u64 {
        self.parents.len()
    }

    /// Every page of the main chain with the numbers of the pages of its SubIFDs.
    pub fn with_subs(&self) -> impl Iterator<Item = (u32, Range<u32>)> {
        let mut parents = self.parents.iter().peekable();
        let mut next = self.n_main;
        (0..self.n_main).map(move |page| {
            let first = next;
            while parents.next_if_eq(&u64::from(page)).is_some() {
                next += 1;
            }
            (page, first..next)
        })
    }

    /// Number of the kind of page `page`: pages of one kind are alike in all but the place of their pixels.
    pub fn kind_index(&self, page: u32) -> usize {
        self.kind_of.get(page.into()) as usize
    }

    /// Kind of page `page`.
    pub fn kind(&self, page: u32) -> &PageKind {
        &self.kinds[self.kind_index(page)]
    }

    /// Every kind of page in the file, in order of appearance.
    pub fn kinds(&self) -> &[PageKind] {
        &self.kinds
    }

    fn stored(&self, page: u32) -> Stored {
        Stored::of(self.stored.get(page.into()))
    }

    /// What is wrong with `page`, if anything.
    pub fn problem(&self, page: u32) -> Option<&Problem> {
        if self.stored(page) != Stored::Nowhere {
            return None;
        }
        // The last one speaks for those that are not kept.
        self.problems.iter().find(|p| p.page == page).or(self.problems.last())
    }

    /// Why the chain of directories goes no further, where that was allowed.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Pages with strips or tiles that have a place in the file but no bytes, or bytes but no place, in order, and how
    /// many they have.
    pub fn emptied(&self) -> &[(u32, u32)] {
        &self.emptied
    }

    /// Where the pixels of `page` begin if they are uncompressed and lie in one piece.
    pub fn contiguous_offset(&self, page: u32) -> Option<u64> {
        (self.stored(page) == Stored::Contiguous).then(|| self.base.get(page.into()))
    }

    /// Where strip or tile number `index` of `page` lies.
    ///
    /// # Panics
    /// If the page's pixels lie in one piece, or it has a problem or no such strip or tile.
    pub(super) fn chunk(&self, page: u32, index: u64) -> Chunk {
        match self.stored(page) {
            Stored::Table(first) => match self.chunks.get(first + index) {
                Chunk { count: 0, .. } => Chunk::ABSENT,
                Chunk { offset, count } => Chunk { offset: self.base.get(page.into()).wrapping_add(offset), count },
            },
            Stored::Contiguous | Stored::Nowhere => unreachable!("only readable pages in pieces have a table"),
        }
    }

    /// Where the pixels of `page` lie, as offsets and lengths.
    pub(super) fn pixel_ranges(&self, page: u32) -> impl Iterator<Item = (u64, u64)> {
        let whole = self.contiguous_offset(page).map(|at| (at, self.kind(page).plane_bytes().unwrap_or(0)));
        let in_table = matches!(self.stored(page), Stored::Table(_));
        let n = if in_table { self.kind(page).n_chunks() } else { 0 };
        let pieces = (0..n).map(move |i| self.chunk(page, i)).filter(|c| *c != Chunk::ABSENT);
        whole.into_iter().chain(pieces.map(|chunk| (chunk.offset, chunk.count)))
    }

    /// Where the directory of `page` begins.
    pub fn page_offset(&self, page: u32) -> u64 {
        self.at.get(page.into())
    }

    /// Memory that the index holds.
    pub fn held_bytes(&self) -> u64 {
        let pages = [&self.at, &self.kind_of, &self.base, &self.stored, &self.parents];
        let steps = pages.into_iter().chain([&self.chunks.offsets, &self.chunks.gaps]);
        let kinds = self.kinds.capacity() * size_of::<PageKind>();
        steps.map(Steps::held_bytes).sum::<u64>() + (kinds + size_of_val(&self.emptied[..])) as u64 + self.table_bytes
    }
}

/// Field number `index` of the directory whose fields are `ifd` and begin at `body_at`.
fn field(ifd: &[u8], index: usize, body_at: u64, big_tiff: bool, big_endian: bool) -> TagField {
    let (entry, head, inline) = if big_tiff { (20, 12, 8) } else { (12, 8, 4) };
    let bytes = &ifd[index * entry..][..entry];
    let mut field = TagField {
        tag: uint(&bytes[..2], big_endian) as u16,
        field_type: uint(&bytes[2..4], big_endian) as u16,
        count: uint(&bytes[4..head], big_endian),
        at: body_at + (index * entry + head) as u64,
    };
    if field.size_bytes() > inline {
        field.at = uint(&bytes[head..], big_endian);
    }
    field
}

/// The fields of the directory at `at`, whose bytes are `ifd`.
fn fields(ifd: &[u8], at: u64, big_tiff: bool, big_endian: bool) -> impl Iterator<Item = TagField> + Clone {
    let (entry, head) = if big_tiff { (20, 8) } else { (12, 2) };
    (0..ifd.len() / entry).map(move |i| field(ifd, i, at + head, big_tiff, big_endian))
}

/// Reads the fields of the directory at `at` into `ifd`; gives the offset of the next one.
fn read_ifd(headers: &mut HeaderReader<'_>, big_tiff: bool, at: u64, ifd: &mut Vec<u8>) -> Result<u64> {
    let big_endian = headers.big_endian;
    let (head, entry, tail) = if big_tiff { (8, 20, 8) } else { (2, 12, 4) };
    let n = uint(headers.directory(at, head)?, big_endian);
    if n > MOST_FIELDS {
        return Err(Error::format(format!("directory at {at} claims {n} fields")));
    }
    let len = n as usize * entry;
    // Some writers leave the last four bytes out at the very end of a file.
    let end = at + (head + len) as u64;
    let tail = if end == headers.input.size { 0 } else { tail };
    let bytes = headers.directory(at, head + len + tail)?;
    ifd.clear();
    ifd.extend_from_slice(&bytes[head..head + len]);
    Ok(uint(&bytes[head + len..], big_endian))
}

/// The walk and what it has found.
struct Walk<'a> {
    headers: HeaderReader<'a>,
    limit_bytes: u64,
    skip_bad: bool,
    /// Whether the other pages are of no concern.
    first_only: bool,
    index: PageIndex,
    ifd: Vec<u8>,
    /// Strips and tiles of the page at hand.
    table: Vec<Chunk>,
    /// Those of the last page that has some, from its base on.
    last_table: Vec<Chunk>,
    /// Where they begin in the index.
    last_first: u64,
    directory_bytes: u64,
    /// Where SubIFDs are, with the page that they belong to.
    sub_ifds: Vec<(u32, u64)>,
    /// Whether it is a Zeiss LSM.
    is_lsm: bool,
}

/// A page whose directory has been read; its strips and tiles are in [`Walk::table`].
struct Found {
    at: u64,
    next: u64,
    kind: PageKind,
    /// Where its pixels are: at an offset, in a table, or what is wrong with it.
    stored: Result<Option<u64>, PageError>,
    sub_ifds: Option<TagField>,
}

/// SubIFDs of one page that are looked at: pyramids have a dozen levels.
const MOST_SUB_IFDS: u64 = 64;
/// SubIFDs of a file that are looked at.
const MOST_FOLLOWED: usize = 1 << 20;

impl Walk<'_> {
    fn run(&mut self, first: u64) -> Result<()> {
        let (mut at, mut checkpoint, mut until_checkpoint) = (first, 0, 1u64);
        while at != 0 {
            let page = self.index.at.len();
            // A circle leads back to a checkpoint once the checkpoints are further apart than it is long.
            if at == checkpoint {
                return Err(Error::format(format!("page {page}: the directories run in a circle through byte {at}")));
            }
            until_checkpoint -= 1;
            if until_checkpoint == 0 {
                (checkpoint, until_checkpoint) = (at, page + 1);
            }
            let found = match self.page(at) {
                Ok(found) => found,
                Err(io @ (Error::Io { .. } | Error::Limit(_))) => return Err(io),
                Err(e) if page == 0 => return Err(e.at("page 0")),
                Err(e) if self.skip_bad => {
                    self.index.broken = Some(e.at(format!("page {page}")).to_string());
                    break;
                }
                Err(e) => return Err(Error::format(e.at(format!("page {page}")))),
            };
            self.count_bytes().map_err(|e| e.at(format!("page {page}")))?;
            at = if self.first_only { 0 } else { found.next };
            self.add(found)?;
            if u32::try_from(page).is_err() {
                return Err(Error::unsupported("more than 4294967296 pages"));
            }
            if page.is_multiple_of(64) {
                self.check_limit(0)?;
            }
        }
        self.index.n_main = self.index.at.len() as u32;
        if self.index.n_main == 0 {
            return Err(Error::format("has no page"));
        }
        Ok(())
    }

    /// Refuses an index that is too large with `more_bytes`.
    fn check_limit(&self, more_bytes: u64) -> Result<()> {
        let subs = (self.sub_ifds.capacity() * size_of::<(u32, u64)>()) as u64;
        let held = self.index.held_bytes().saturating_add(more_bytes).saturating_add(subs);
        if held <= self.limit_bytes {
            return Ok(());
        }
        let (n, limit) = (self.index.at.len(), self.limit_bytes);
        Err(Error::limit(format!(
            "the index of the first {n} pages needs {held} bytes, {limit} may be held: raise --memory"
        )))
    }

    /// Indexes the SubIFDs that can be read.
    ///
    /// What is wrong with a SubIFD is of no concern: it is left out.
    fn sub_pages(&mut self) -> Result<()> {
        if self.sub_ifds.is_empty() {
            return Ok(());
        }
        let mut known: HashSet<u64> = self.index.at.iter().collect();
        for (parent, at) in std::mem::take(&mut self.sub_ifds) {
            let found = self.page(at);
            self.count_bytes()?;
            match found {
                Ok(found) if found.stored.is_ok() && known.insert(at) => {
                    self.add(found)?;
                    self.index.parents.push(parent.into());
                }
                Err(fatal @ (Error::Io { .. } | Error::Limit(_))) => return Err(fatal),
                Ok(_) | Err(_) => {}
            }
        }
        self.check_limit(0)
    }

    /// Counts the directory at hand. Directories that do not overlap cannot have more bytes than the file.
    fn count_bytes(&mut self) -> Result<()> {
        self.directory_bytes += self.ifd.len() as u64 + 6;
        if self.directory_bytes > self.headers.input.size {
            return Err(Error::format("the directories overlap or run in a circle"));
        }
        Ok(())
    }

    /// Refuses directories that share bytes: no program writes them, and they multiply work.
    fn overlaps(&self) -> Result<()> {
        let head = if self.index.big_tiff { 16 } else { 6 };
        if self.index.at.iter().is_sorted_by(|a, b| a + head <= *b) {
            return Ok(());
        }
        let mut at: Vec<u64> = self.index.at.iter().collect();
        at.sort_unstable();
        match at.windows(2).find(|w| w[0] + head > w[1]) {
            Some(w) => Err(Error::format(format!("directories at {} and {} overlap", w[0], w[1]))),
            None => Ok(()),
        }
    }

    /// Reads the page whose directory is at `at`.
    fn page(&mut self, at: u64) -> Result<Found> {
        let (big_tiff, big_endian) = (self.index.big_tiff, self.index.big_endian);
        let next = read_ifd(&mut self.headers, big_tiff, at, &mut self.ifd)?;
        let raw = RawPage::collect(fields(&self.ifd, at, big_tiff, big_endian), &mut self.headers)?;
        self.is_lsm |= raw.is_lsm && self.index.at.len() == 0;
        let kind = PageKind::new(&raw);
        self.table.clear();
        let stored = match kind.problem.clone() {
            Some(problem) => Err(problem),
            None => {
                self.check_limit(
                    kind.n_chunks().min(self.headers.input.size).saturating_mul(size_of::<Chunk>() as u64),
                )?;
                self.read_table(&raw, &kind)
            }
        };
        Ok(Found { at, next, kind, stored, sub_ifds: raw.sub_ifds })
    }

    /// Adds what was found to the index.
    fn add(&mut self, found: Found) -> Result<()> {
        let index = &mut self.index;
        let page = index.at.len() as u32;
        let most = self.table.iter().map(|chunk| chunk.count).max().unwrap_or(0);
        index.largest_chunk_bytes = index.largest_chunk_bytes.max(most);
        let mut base = found.stored.as_ref().map_or(0, |offset| offset.unwrap_or(0));
        let stored = match found.stored {
            Ok(Some(_)) => Stored::Contiguous,
            Ok(None) => {
                let present = self.table.iter_mut().filter(|chunk| **chunk != Chunk::ABSENT);
                present.enumerate().for_each(|(i, chunk)| {
                    base = if i == 0 { chunk.offset } else { base };
                    chunk.offset = chunk.offset.wrapping_sub(base);
                });
                // Pages that are laid out alike share the table of the first of them.
                if self.table != self.last_table {
                    self.last_first = index.chunks.offsets.len();
                    self.table.iter().for_each(|&chunk| index.chunks.push(chunk));
                    std::mem::swap(&mut self.table, &mut self.last_table);
                }
                Stored::Table(self.last_first)
            }
            Err(problem) => {
                if index.problems.len() <= MOST_PROBLEMS {
                    let unsupported = matches!(problem, PageError::Unsupported(_));
                    let text = if index.problems.len() < MOST_PROBLEMS {
                        problem.into_text()
                    } else {
                        format!("cannot be read, like {MOST_PROBLEMS} before it")
                    };
                    index.problems.push(Problem { page, text, unsupported });
                }
                Stored::Nowhere
            }
        };
        index.at.push(found.at);
        index.base.push(base);
        index.stored.push(stored.number());
        index.table_bytes = self.headers.shared_bytes();
        // Files with thousands of kinds are hostile: do not search them all for every page.
        let last = page.checked_sub(1).map(|p| index.kind_of.get(p.into()) as usize);
        let last = last.filter(|&i| index.kinds[i] == found.kind);
        let kind = last.or_else(|| index.kinds.iter().take(256).position(|k| *k == found.kind));
        let kind = kind.unwrap_or_else(|| {
            index.kinds.push(found.kind);
            index.kinds.len() - 1
        });
        index.kind_of.push(kind as u64);
        if let Some(field) = found.sub_ifds.as_ref().filter(|_| self.sub_ifds.len() < MOST_FOLLOWED) {
            let sub_ifds = &mut self.sub_ifds;
            let n = field.count.min(MOST_SUB_IFDS);
            // Offsets that cannot be read lead nowhere.
            if let Err(io @ Error::Io { .. }) = self.headers.uints(field, n, |at| sub_ifds.push((page, at))) {
                return Err(io);
            }
        }
        Ok(())
    }

    /// Bytes from where chunk number `index` begins to the end of the file.
    fn left_from(&self, index: usize) -> u64 {
        self.headers.input.size.saturating_sub(self.table[index].offset)
    }

    /// Mends byte counts that are known to be wrong.
    fn mend_counts(&mut self, kind: &PageKind) {
        // The only strip of a page was stored, where its offset says, whatever its count.
        if let [only] = self.table[..]
            && only.offset > 0
            && only.count == 0
        {
            self.table[0].count = if kind.compression == 1 { kind.stored_bytes(0) } else { self.left_from(0) };
        }
        // Zeiss counts the bytes of strips before LZW, which noise makes longer.
        if self.is_lsm && kind.compression == 5 {
            for i in 0..self.table.len() {
                if self.table[i] == Chunk::ABSENT {
                    continue;
                }
                let most = kind.stored_bytes(i as u64).saturating_mul(2);
                self.table[i].count = self.table[i].count.max(most).min(self.left_from(i));
            }
        }
    }

    /// Reads where the strips or tiles of a page lie, and checks what they claim. Gives the offset of all of them
    /// if they lie in one piece.
    fn read_table(&mut self, raw: &RawPage, kind: &PageKind) -> Result<Option<u64>, PageError> {
        let size = self.headers.input.size;
        let n = kind.n_chunks();
        let name = kind.chunk_name();
        let (Some(offsets), counts) = (&raw.offsets, &raw.counts) else {
            return Err(PageError::Format(format!("has no offsets of its {name}s")));
        };
        for field in std::iter::once(offsets).chain(counts) {
            if field.count < n {
                return Err(PageError::Format(format!(
                    "has {} entries in tag {} for {n} {name}s",
                    field.count, field.tag
                )));
            }
        }
        let table = &mut self.table;
        let fault = |e: Error| PageError::Format(e.to_string());
        self.headers.uints(offsets, n, |offset| table.push(Chunk { offset, count: 0 })).map_err(fault)?;
        match counts {
            Some(counts) => {
                let mut chunks = table.iter_mut();
                let put = |count| chunks.next().into_iter().for_each(|chunk| chunk.count = count);
                self.headers.uints(counts, n, put).map_err(fault)?;
            }
            None if kind.compression == 1 => {
                table.iter_mut().zip(0..).for_each(|(chunk, i)| chunk.count = kind.stored_bytes(i));
            }
            // As if it were 0, which is mended.
            None if n == 1 => {}
            None => return Err(PageError::Format(format!("has no byte counts of its {name}s"))),
        }
        self.mend_counts(kind);
        let mut n_emptied = 0;
        let mut in_one_piece = kind.compression == 1 && !kind.is_tiled();
        let mut expected_offset = self.table.first().map_or(0, |chunk| chunk.offset);
        for (chunk, i) in self.table.iter_mut().zip(0..) {
            if chunk.offset == 0 || chunk.count == 0 {
                // Absent: the fill value stands for it. A few bytes could claim any number of pixels so.
                let bytes = kind.chunk_element_bytes();
                if bytes > MOST_ABSENT_BYTES {
                    return Err(PageError::Format(format!("{name} {i} of {bytes} bytes is not stored")));
                }
                // Where both are 0 it was left out on purpose; one alone was lost.
                n_emptied += u32::from(*chunk != Chunk::ABSENT);
                *chunk = Chunk::ABSENT;
                in_one_piece = false;
                continue;
            }
            if kind.compression == 1 {
                let expected = kind.stored_bytes(i);
                // Rows below the image need not be stored.
                let least = if kind.chunk[0] == 1 { kind.rows_inside(i) * kind.row_bytes() } else { expected };
                if chunk.count < least {
                    let count = chunk.count;
                    return Err(PageError::Format(format!("{name} {i} has {count} bytes, expected {expected}")));
                }
                chunk.count = chunk.count.min(expected);
            }
            let Chunk { offset, count } = *chunk;
            if offset.checked_add(count).is_none_or(|end| end > size) {
                return Err(PageError::Format(format!(
                    "{name} {i} has {count} bytes at {offset}, but the file ends at {size}"
                )));
            }
            in_one_piece &= offset == expected_offset;
            expected_offset = offset.wrapping_add(count);
        }
        if n_emptied > 0 {
            self.index.emptied.push((self.index.at.len() as u32, n_emptied));
        }
        Ok(self.table.first().filter(|_| in_one_piece).map(|chunk| chunk.offset))
    }
}
