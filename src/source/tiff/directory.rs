//! The directories of a TIFF file: a bounded walk along them by positional reads, and a compact index of
//! what they say.
//!
//! Only what reading pixels needs is kept. Descriptions, software names and private tags stay in the file
//! until [`Directory::tag`] is asked for them. SubIFDs mostly hold reduced copies and are left out; those that
//! are images like their page, and not marked as copies, are kept behind all other pages.

use std::collections::HashSet;
use std::path::Path;

use super::headers::{Headers, Input};
use super::page::{Chunk, PageError, PageKind, RawPage};
pub use super::tag::Tag;
use super::tag::{Field, type_size, uint};
use crate::error::{Error, Result};

/// Position of the pixels of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// Uncompressed strips that follow one another from this offset on.
    Contiguous(u64),
    /// First of the page's entries in the table of strips and tiles.
    Table(u64),
    /// Nowhere: the page has a problem.
    Nowhere,
}

/// One page in the index.
#[derive(Clone, Copy, Debug)]
struct PageEntry {
    /// Where its directory begins.
    at: u64,
    stored: Stored,
    kind: u32,
}

/// What was wrong with a page whose directory could be walked past.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The page.
    pub page: u32,
    /// Whose turn it is, and why.
    pub text: String,
    /// Whether the page is valid but of a kind that is not handled.
    pub unsupported: bool,
}

/// The index of a TIFF file: its pages, what kind each is, and where its strips or tiles lie.
pub struct Directory {
    pub(super) input: Input,
    /// Whether the file is big-endian.
    pub big_endian: bool,
    /// Whether it is a BigTIFF.
    pub big_tiff: bool,
    kinds: Vec<PageKind>,
    pages: Vec<PageEntry>,
    /// Pages of the main chain of directories; the rest are those of SubIFDs.
    n_main: u32,
    /// For every page of a SubIFD, in order, the page that it belongs to.
    parents: Vec<u32>,
    chunks: Vec<Chunk>,
    problems: Vec<Problem>,
    /// Most bytes of one stored strip or tile.
    pub(super) largest_chunk_bytes: u64,
}

/// Problems that are kept; a file full of them is described well enough by the first.
const MOST_PROBLEMS: usize = 64;
/// Bytes of a strip or tile that may be absent: programs that leave some out cut images into small ones.
const MOST_ABSENT_BYTES: u64 = 1 << 28;
/// Entries of a directory, more than any program writes.
const MOST_FIELDS: u64 = 4096;

impl Directory {
    /// Walks along the directories of the file at `path`.
    ///
    /// # Errors
    /// `Format` if it is no TIFF file or the chain of directories is broken, runs in a circle or overlaps;
    /// `Limit` if the index needs more than `limit_bytes`; `Io` if it cannot be read.
    pub fn open(path: &Path, limit_bytes: Option<u64>) -> Result<Self> {
        let input = Input::open(path)?;
        let mut headers = Headers::new(&input);
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
        let mut walk = Walk {
            headers,
            big_tiff,
            limit_bytes,
            ifd: Vec::new(),
            kinds: Vec::new(),
            pages: Vec::new(),
            chunks: Vec::new(),
            problems: Vec::new(),
            largest_chunk_bytes: 0,
            directory_bytes: 0,
            table_bytes: 0,
            sub_ifds: Vec::new(),
            without_sub_ifds: Vec::new(),
            is_lsm: false,
        };
        walk.run(first)?;
        let n_main = walk.pages.len() as u32;
        let parents = walk.sub_pages()?;
        walk.overlaps()?;
        let Walk { mut kinds, mut pages, mut chunks, problems, largest_chunk_bytes, .. } = walk;
        kinds.shrink_to_fit();
        pages.shrink_to_fit();
        chunks.shrink_to_fit();
        Ok(Self { input, big_endian, big_tiff, kinds, pages, n_main, parents, chunks, problems, largest_chunk_bytes })
    }

    /// Number of pages, without those of SubIFDs, whose numbers follow.
    pub fn n_pages(&self) -> u32 {
        self.n_main
    }

    /// Every page, those of SubIFDs behind the page that they belong to.
    pub fn in_order(&self) -> impl Iterator<Item = u32> {
        let mut subs = self.parents.iter().zip(self.n_main..).peekable();
        (0..self.n_main).flat_map(move |page| {
            let mut own = vec![page];
            while let Some((_, sub)) = subs.next_if(|(parent, _)| **parent == page) {
                own.push(sub);
            }
            own
        })
    }

    /// Number of the kind of page `page`: pages of one kind are alike in all but the place of their pixels.
    pub fn kind_index(&self, page: u32) -> usize {
        self.pages[page as usize].kind as usize
    }

    /// Kind of page `page`.
    pub fn kind(&self, page: u32) -> &PageKind {
        &self.kinds[self.kind_index(page)]
    }

    /// Every kind of page in the file, in order of appearance.
    pub fn kinds(&self) -> &[PageKind] {
        &self.kinds
    }

    /// What is wrong with `page`, if anything.
    pub fn problem(&self, page: u32) -> Option<&Problem> {
        if self.pages[page as usize].stored != Stored::Nowhere {
            return None;
        }
        // The last one speaks for those that are not kept.
        self.problems.iter().find(|p| p.page == page).or(self.problems.last())
    }

    /// Where the pixels of `page` begin if they are uncompressed and lie in one piece.
    pub fn contiguous_offset(&self, page: u32) -> Option<u64> {
        match self.pages[page as usize].stored {
            Stored::Contiguous(offset) => Some(offset),
            Stored::Table(_) | Stored::Nowhere => None,
        }
    }

    /// Where strip or tile number `index` of `page` lies.
    ///
    /// # Panics
    /// If the page's pixels lie in one piece, or it has a problem or no such strip or tile.
    pub(super) fn chunk(&self, page: u32, index: u64) -> Chunk {
        match self.pages[page as usize].stored {
            Stored::Table(first) => self.chunks[(first + index) as usize],
            Stored::Contiguous(_) | Stored::Nowhere => unreachable!("only readable pages in pieces have a table"),
        }
    }

    /// Reads the first bytes, at most `len`, of strip or tile number `index` of `page`, whose pixels are not in
    /// one piece; none if it is absent.
    pub(super) fn chunk_head(&self, page: u32, index: u64, len: u64, bytes: &mut Vec<u8>) -> Result<()> {
        let chunk = self.chunk(page, index);
        bytes.resize(chunk.count.min(len) as usize, 0);
        self.input.read_at(bytes, chunk.offset)
    }

    /// Where the directory of `page` begins.
    pub fn page_offset(&self, page: u32) -> u64 {
        self.pages[page as usize].at
    }

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.input.size
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.input.path
    }

    /// Reads `bytes.len()` bytes at `at` of the file.
    ///
    /// # Errors
    /// `Format` if they lie outside the file; `Io` if they cannot be read.
    pub fn bytes_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.input.read_at(bytes, at)
    }

    /// Memory that the index holds.
    pub fn held_bytes(&self) -> u64 {
        held_bytes(&self.kinds, self.pages.capacity(), self.chunks.capacity())
    }

    /// Numbers of the tags of `page`, in order, as often as they come.
    ///
    /// # Errors
    /// `Io` if the directory cannot be read any more.
    pub fn tag_numbers(&self, page: u32) -> Result<Vec<u16>> {
        let mut headers = Headers::new(&self.input);
        headers.big_endian = self.big_endian;
        let mut ifd = Vec::new();
        read_ifd(&mut headers, self.big_tiff, self.pages[page as usize].at, &mut ifd)?;
        let entry = if self.big_tiff { 20 } else { 12 };
        Ok(ifd.chunks_exact(entry).map(|field| uint(&field[..2], self.big_endian) as u16).collect())
    }

    /// Value of tag number `tag` of `page`, the `nth` of that number (counted from zero), if it is there.
    ///
    /// # Errors
    /// `Format` if it lies outside the file or is larger than `limit_bytes`.
    pub fn tag(&self, page: u32, tag: u16, nth: usize, limit_bytes: u64) -> Result<Option<Tag>> {
        let mut headers = Headers::new(&self.input);
        headers.big_endian = self.big_endian;
        let mut ifd = Vec::new();
        read_ifd(&mut headers, self.big_tiff, self.pages[page as usize].at, &mut ifd)?;
        let entry = if self.big_tiff { 20 } else { 12 };
        let body_at = self.pages[page as usize].at + if self.big_tiff { 8 } else { 2 };
        let field = (0..ifd.len() / entry)
            .map(|i| field(&ifd, i, body_at, self.big_tiff, self.big_endian))
            .filter(|f| f.tag == tag)
            .nth(nth);
        let Some(field) = field else { return Ok(None) };
        let size = field.size_bytes();
        if size > limit_bytes.min(self.input.size) {
            return Err(Error::format(format!("page {page}: tag {tag} has {size} bytes")));
        }
        let bytes = headers.value(field.at, size as usize).map_err(|e| e.at(format!("page {page}, tag {tag}")))?;
        Ok(Some(Tag {
            field_type: field.field_type,
            count: field.count,
            bytes: bytes.to_vec(),
            big_endian: self.big_endian,
            at: field.at,
        }))
    }
}

fn held_bytes(kinds: &[PageKind], n_pages: usize, n_chunks: usize) -> u64 {
    (size_of_val(kinds) + n_pages * size_of::<PageEntry>() + n_chunks * size_of::<Chunk>()) as u64
}

/// Field number `index` of the directory whose fields are `ifd` and begin at `body_at`.
fn field(ifd: &[u8], index: usize, body_at: u64, big_tiff: bool, big_endian: bool) -> Field {
    let (entry, head, inline) = if big_tiff { (20, 12, 8) } else { (12, 8, 4) };
    let bytes = &ifd[index * entry..][..entry];
    let mut field = Field {
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

/// Reads the fields of the directory at `at` into `ifd`; gives the offset of the next one.
fn read_ifd(headers: &mut Headers<'_>, big_tiff: bool, at: u64, ifd: &mut Vec<u8>) -> Result<u64> {
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
    headers: Headers<'a>,
    big_tiff: bool,
    limit_bytes: Option<u64>,
    ifd: Vec<u8>,
    kinds: Vec<PageKind>,
    pages: Vec<PageEntry>,
    chunks: Vec<Chunk>,
    problems: Vec<Problem>,
    largest_chunk_bytes: u64,
    directory_bytes: u64,
    table_bytes: u64,
    /// Where SubIFDs are, with the page that they belong to.
    sub_ifds: Vec<(u32, u64)>,
    /// Kinds of pages whose SubIFDs have been found to be reduced copies.
    without_sub_ifds: Vec<u32>,
    /// Whether it is a Zeiss LSM.
    is_lsm: bool,
}

/// SubIFDs of one page that are looked at: pyramids have a dozen levels.
const MOST_SUB_IFDS: u64 = 64;
/// SubIFDs of a file that are looked at.
const MOST_FOLLOWED: usize = 1 << 20;

impl Walk<'_> {
    fn run(&mut self, first: u64) -> Result<()> {
        let size = self.headers.input.size;
        let (mut at, mut checkpoint, mut until_checkpoint) = (first, 0, 1u64);
        while at != 0 {
            let page = self.pages.len();
            // A circle leads back to a checkpoint once the checkpoints are further apart than it is long.
            if at == checkpoint {
                return Err(Error::format(format!("page {page}: the directories run in a circle through byte {at}")));
            }
            until_checkpoint -= 1;
            if until_checkpoint == 0 {
                (checkpoint, until_checkpoint) = (at, page as u64 + 1);
            }
            let next = self.page(at).map_err(|e| e.at(format!("page {page}")))?;
            // Directories that do not overlap cannot have more bytes than the file.
            self.directory_bytes += self.ifd.len() as u64 + 6;
            if self.directory_bytes > size {
                return Err(Error::format(format!("page {page}: the directories overlap or run in a circle")));
            }
            if u32::try_from(page).is_err() {
                return Err(Error::unsupported("more than 4294967296 pages"));
            }
            if let Some(limit) = self.limit_bytes.filter(|_| page.is_multiple_of(64)) {
                let held = held_bytes(&self.kinds, self.pages.len(), self.chunks.len());
                if held > limit {
                    return Err(Error::limit(format!(
                        "the index of the first {page} pages needs {held} bytes, {limit} may be held: raise --memory"
                    )));
                }
            }
            at = next;
        }
        if self.pages.is_empty() {
            return Err(Error::format("has no page"));
        }
        Ok(())
    }

    /// Indexes the SubIFDs that are images in their own right; gives the page that each belongs to.
    ///
    /// What is wrong with a SubIFD is of no concern: it is left out.
    fn sub_pages(&mut self) -> Result<Vec<u32>> {
        let mut parents = Vec::new();
        if self.sub_ifds.is_empty() {
            return Ok(parents);
        }
        let mut known: HashSet<u64> = self.pages.iter().map(|p| p.at).collect();
        let found = std::mem::take(&mut self.sub_ifds);
        for same in found.chunk_by(|a, b| a.0 == b.0) {
            let parent = same[0].0;
            let kind = self.pages[parent as usize].kind;
            if self.without_sub_ifds.contains(&kind) {
                continue;
            }
            let before = parents.len();
            for &(_, at) in same {
                let (n_pages, n_chunks, n_problems) = (self.pages.len(), self.chunks.len(), self.problems.len());
                let largest = self.largest_chunk_bytes;
                match self.page(at) {
                    Err(io @ Error::Io { .. }) => return Err(io),
                    Ok(_) => {
                        self.directory_bytes += self.ifd.len() as u64 + 6;
                        if self.directory_bytes > self.headers.input.size {
                            return Err(Error::format("the directories overlap"));
                        }
                        let own = self.pages[n_pages].kind as usize;
                        let (own, kind) = (&self.kinds[own], &self.kinds[kind as usize]);
                        let readable = self.pages[n_pages].stored != Stored::Nowhere;
                        let alike = !own.is_secondary() && own.stacks_with(kind) && readable;
                        if alike && known.insert(at) {
                            parents.push(parent);
                            continue;
                        }
                    }
                    Err(_) => {}
                }
                self.pages.truncate(n_pages);
                self.chunks.truncate(n_chunks);
                self.problems.truncate(n_problems);
                self.largest_chunk_bytes = largest;
            }
            if parents.len() == before && self.without_sub_ifds.len() < 256 {
                self.without_sub_ifds.push(kind);
            }
        }
        self.sub_ifds.clear();
        Ok(parents)
    }

    /// Refuses directories that share bytes: no program writes them, and they multiply work.
    fn overlaps(&self) -> Result<()> {
        let head = if self.big_tiff { 16 } else { 6 };
        if self.pages.is_sorted_by(|a, b| a.at + head <= b.at) {
            return Ok(());
        }
        let mut at: Vec<u64> = self.pages.iter().map(|p| p.at).collect();
        at.sort_unstable();
        match at.windows(2).find(|w| w[0] + head > w[1]) {
            Some(w) => Err(Error::format(format!("directories at {} and {} overlap", w[0], w[1]))),
            None => Ok(()),
        }
    }

    /// Indexes the page whose directory is at `at`; gives the offset of the next.
    fn page(&mut self, at: u64) -> Result<u64> {
        let next = read_ifd(&mut self.headers, self.big_tiff, at, &mut self.ifd)?;
        let body_at = at + if self.big_tiff { 8 } else { 2 };
        let n = self.ifd.len() / if self.big_tiff { 20 } else { 12 };
        let (ifd, big_tiff, big_endian) = (&self.ifd, self.big_tiff, self.headers.big_endian);
        let fields = (0..n).map(|i| field(ifd, i, body_at, big_tiff, big_endian));
        let raw = RawPage::collect(fields, &mut self.headers)?;
        self.is_lsm |= raw.is_lsm && self.pages.is_empty();
        let kind = PageKind::new(&raw);
        let mut problem = kind.problem.clone();
        let mut stored = Stored::Nowhere;
        if problem.is_none() {
            let before = self.chunks.len();
            match self.table(&raw, &kind) {
                Ok(found) => stored = found,
                Err(e) => {
                    self.chunks.truncate(before);
                    problem = Some(e);
                }
            }
        }
        if let Some(e) = problem
            && self.problems.len() <= MOST_PROBLEMS
        {
            let unsupported = matches!(e, PageError::Unsupported(_));
            let last = self.problems.len() == MOST_PROBLEMS;
            let text = if last { format!("cannot be read, like {MOST_PROBLEMS} before it") } else { e.into_text() };
            self.problems.push(Problem { page: self.pages.len() as u32, text, unsupported });
        }
        let kind = self.kind(kind);
        let page = self.pages.len() as u32;
        self.pages.push(PageEntry { at, stored, kind });
        if let Some(field) = raw.sub_ifds.as_ref().filter(|_| self.sub_ifds.len() < MOST_FOLLOWED) {
            let sub_ifds = &mut self.sub_ifds;
            let n = field.count.min(MOST_SUB_IFDS);
            // Offsets that cannot be read lead nowhere.
            if let Err(io @ Error::Io { .. }) = self.headers.uints(field, n, |at| sub_ifds.push((page, at))) {
                return Err(io);
            }
        }
        Ok(next)
    }

    /// Number of `kind`, which is kept if it is new.
    fn kind(&mut self, kind: PageKind) -> u32 {
        let last = self.pages.last().map(|p| p.kind as usize);
        let found = last.filter(|&i| self.kinds[i] == kind).or_else(|| {
            // Files with thousands of kinds are hostile: do not search them all for every page.
            self.kinds.iter().take(256).position(|k| *k == kind)
        });
        found.unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        }) as u32
    }

    /// Bytes from where chunk number `index` begins to the end of the file.
    fn left_from(&self, index: usize) -> u64 {
        self.headers.input.size.saturating_sub(self.chunks[index].offset)
    }

    /// Mends byte counts that are known to be wrong, of the chunks from `first` on.
    fn mend_counts(&mut self, kind: &PageKind, first: usize) {
        // The only strip of a page was stored, where its offset says, whatever its count.
        if let [only] = self.chunks[first..]
            && only.offset > 0
            && only.count == 0
        {
            let count = if kind.compression == 1 { kind.stored_bytes(0) } else { self.left_from(first) };
            self.chunks[first].count = count;
        }
        // Zeiss counts the bytes of strips before LZW, which noise makes longer.
        if self.is_lsm && kind.compression == 5 {
            for i in first..self.chunks.len() {
                let most = kind.stored_bytes((i - first) as u64).saturating_mul(2);
                self.chunks[i].count = self.chunks[i].count.max(most).min(self.left_from(i));
            }
        }
    }

    /// Reads where the strips or tiles of a page lie, and checks what they claim.
    fn table(&mut self, raw: &RawPage, kind: &PageKind) -> Result<Stored, PageError> {
        let size = self.headers.input.size;
        let first = self.chunks.len();
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
            self.table_bytes = self.table_bytes.saturating_add(n.saturating_mul(type_size(field.field_type)));
        }
        if self.table_bytes > size.saturating_mul(4).saturating_add(1 << 16) {
            return Err(PageError::Format(format!("tables of {name}s are larger than the file and overlap")));
        }
        let chunks = &mut self.chunks;
        let fault = |e: Error| PageError::Format(e.to_string());
        self.headers.uints(offsets, n, |offset| chunks.push(Chunk { offset, count: 0 })).map_err(fault)?;
        match counts {
            Some(counts) => {
                let mut i = first;
                self.headers
                    .uints(counts, n, |count| {
                        chunks[i].count = count;
                        i += 1;
                    })
                    .map_err(fault)?;
            }
            None if kind.compression == 1 => {
                for i in 0..n {
                    chunks[first + i as usize].count = kind.stored_bytes(i);
                }
            }
            // As if it were 0, which is mended.
            None if n == 1 => {}
            None => return Err(PageError::Format(format!("has no byte counts of its {name}s"))),
        }
        self.mend_counts(kind, first);
        let chunks = &mut self.chunks;
        let mut in_one_piece = kind.compression == 1 && !kind.is_tiled();
        let mut expected_offset = chunks[first].offset;
        for i in 0..n {
            let chunk = &mut chunks[first + i as usize];
            if chunk.offset == 0 || chunk.count == 0 {
                // Absent: the fill value stands for it. A few bytes could claim any number of pixels so.
                let bytes = kind.chunk_element_bytes();
                if bytes > MOST_ABSENT_BYTES {
                    return Err(PageError::Format(format!("{name} {i} of {bytes} bytes is not stored")));
                }
                *chunk = Chunk::ABSENT;
                in_one_piece = false;
                continue;
            }
            if kind.compression == 1 {
                let expected = kind.stored_bytes(i);
                if chunk.count < expected {
                    return Err(PageError::Format(format!(
                        "{name} {i} has {} bytes, expected {expected}",
                        chunk.count
                    )));
                }
                chunk.count = expected;
            }
            let end = chunk.offset.checked_add(chunk.count).filter(|&end| end <= size);
            if end.is_none() {
                return Err(PageError::Format(format!(
                    "{name} {i} has {} bytes at {}, but the file ends at {size}",
                    chunk.count, chunk.offset
                )));
            }
            in_one_piece &= chunk.offset == expected_offset;
            expected_offset = chunk.offset.wrapping_add(chunk.count);
            self.largest_chunk_bytes = self.largest_chunk_bytes.max(chunk.count);
        }
        if in_one_piece {
            let offset = chunks[first].offset;
            chunks.truncate(first);
            return Ok(Stored::Contiguous(offset));
        }
        Ok(Stored::Table(first as u64))
    }
}
