//! Checksums of all that an output holds, kept in it under a name that readers pass over.
//!
//! The file is text: for every object its name, length in bytes and CRC-32C, below the folder that it lies in, by key,
//! and last the CRC-32C of all lines before. About twenty bytes an object:
//!
//! ```text
//! stackctl checksums 1
//! 0/c/0/0/
//! 0 104857 1a2b3c4d
//! 1 104391 99aabb00
//! crc32c 5d1f0a77
//! ```
//!
//! An output that is one file ends with a line of its own instead, of the CRC-32C and the length of all before it:
//!
//! ```text
//! stackctl crc32c 1a2b3c4d 00000000000000104857
//! ```
//!
//! A document that tells how it was made ends with blanks by which its checksum is that of the rest of it: what is listed
//! depends on the output, not on the command.
//!
//! Some readers of NPY refuse bytes behind the elements: there the CRC-32C is written in the blanks that fill up the head, a
//! space for 0 and a tab for 1, behind [`MARK`]. It is that of the file with spaces in their place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use super::replaced;
use crate::crc;
use crate::error::{Error, Result};

/// Last part of the key of such a file.
pub const CHECKSUMS: &str = "stackctl.checksums";
const FIRST_LINE: &str = "stackctl checksums 1";
/// Lines are written, and files read, in pieces of so many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// The head of an NPY file of any shape.
const MOST_HEAD_BYTES: u64 = 64 << 10;
/// Longest line that is read.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// An object as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Its key in the output.
    pub key: String,
    /// Its bytes.
    pub n_bytes: u64,
    /// CRC-32C of them.
    pub crc: u32,
}

/// The objects whose keys come next, by key; no more are held than there is room for.
pub(super) struct Next {
    after: Option<String>,
    room: usize,
    held: BTreeMap<String, (u64, u32)>,
}

impl Next {
    /// Those behind `after`.
    pub(super) fn new(after: Option<String>, room: usize) -> Self {
        Self { after, room, held: BTreeMap::new() }
    }

    pub(super) fn see(&mut self, key: &str, n_bytes: u64, crc: u32) {
        if self.after.as_deref().is_some_and(|after| key <= after) {
            return;
        }
        let is_full = self.held.len() == self.room;
        if is_full && self.held.last_key_value().is_some_and(|(last, _)| key > last.as_str()) {
            return;
        }
        self.held.insert(key.to_owned(), (n_bytes, crc));
        if self.held.len() > self.room {
            self.held.pop_last();
        }
    }

    /// The objects, and whether there may be more behind them.
    pub(super) fn end(self) -> (BTreeMap<String, (u64, u32)>, bool) {
        let is_full = self.held.len() == self.room;
        (self.held, is_full)
    }
}

/// Writes such a file, by what appends to it.
pub(super) struct Lines<A> {
    append: A,
    text: String,
    folder: Option<String>,
    crc: u32,
}

impl<A: FnMut(&[u8]) -> Result<()>> Lines<A> {
    pub(super) fn new(append: A) -> Self {
        Self { append, text: format!("{FIRST_LINE}\n"), folder: None, crc: 0 }
    }

    /// Adds an object.
    pub(super) fn add(&mut self, key: &str, n_bytes: u64, crc: u32) -> Result<()> {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        if self.folder.as_deref() != Some(folder) {
            self.text += &format!("{folder}/\n");
            self.folder = Some(folder.to_owned());
        }
        self.text += &format!("{name} {n_bytes} {crc:08x}\n");
        if self.text.len() < PIECE_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, self.text.as_bytes());
        (self.append)(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }

    /// Ends the file.
    pub(super) fn end(mut self) -> Result<()> {
        self.flush()?;
        (self.append)(format!("crc32c {:08x}\n", self.crc).as_bytes())
    }
}

/// Key of such a file of the output at `place`, if there is one.
pub fn checksums_of(place: &Path) -> Option<String> {
    let keys = [CHECKSUMS.to_owned(), format!("0/{CHECKSUMS}")];
    keys.into_iter().find(|key| fs::symlink_metadata(place.join(key)).is_ok())
}

/// Writes what is listed of the output at `place` anew, whose object `key` was changed from `before` to `after`. An object
/// that was not as listed before stays so, to be told of; where nothing is listed, nothing is done.
///
/// # Errors
/// `Io`; `Format` if the list is damaged.
pub fn renew(place: &Path, key: &str, before: &[u8], after: &[u8]) -> Result<()> {
    let Some(path) = checksums_of(place).map(|listed| place.join(listed)) else { return Ok(()) };
    let of = |bytes: &[u8]| (bytes.len() as u64, crc32c::crc32c(bytes));
    replaced(&path, |file| {
        let append = |text: &[u8]| file.write_all(text).map_err(|e| Error::io(&path, "cannot write", e));
        let mut lines = Lines::new(append);
        each(&path, |sum| {
            let is_changed = sum.key == key && (sum.n_bytes, sum.crc) == of(before);
            let (n_bytes, crc) = if is_changed { of(after) } else { (sum.n_bytes, sum.crc) };
            lines.add(&sum.key, n_bytes, crc)
        })?;
        lines.end()
    })
}

/// Shows every object that the file at `path` lists, by key.
///
/// # Errors
/// `Io`; `Format` if the file is damaged, which may come after objects have been shown; what `show` returns.
pub fn each(path: &Path, mut show: impl FnMut(Sum) -> Result<()>) -> Result<()> {
    let damaged = || Error::format(format!("{}: the checksums themselves are damaged", path.display()));
    let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    let mut file = BufReader::new(file);
    let (mut line, mut crc, mut folder, mut n_lines) = (Vec::new(), 0, None, 0u64);
    loop {
        line.clear();
        let read = file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        read.map_err(|e| Error::io(path, "cannot read", e))?;
        let text = std::str::from_utf8(&line).ok().and_then(|l| l.strip_suffix('\n')).ok_or_else(damaged)?;
        if text.strip_prefix("crc32c ") == Some(&format!("{crc:08x}")) {
            let is_end = file.fill_buf().map_err(|e| Error::io(path, "cannot read", e))?.is_empty();
            return if is_end { Ok(()) } else { Err(damaged()) };
        }
        let is_first = n_lines == 0;
        n_lines += 1;
        crc = crc32c::crc32c_append(crc, &line);
        match (text.strip_suffix('/'), &folder) {
            _ if is_first && text == FIRST_LINE => {}
            _ if is_first => return Err(damaged()),
            (Some(next), _) => folder = Some(if next.is_empty() { String::new() } else { format!("{next}/") }),
            (None, Some(folder)) => show(parse(folder, text).ok_or_else(damaged)?)?,
            (None, None) => return Err(damaged()),
        }
    }
}

fn parse(folder: &str, line: &str) -> Option<Sum> {
    let mut words = line.rsplitn(3, ' ');
    let crc = u32::from_str_radix(words.next()?, 16).ok()?;
    let n_bytes = words.next()?.parse().ok()?;
    let key = format!("{folder}{}", words.next()?);
    super::check_key(&key).is_ok().then_some(Sum { key, n_bytes, crc })
}

const SIGNED: &str = "stackctl crc32c ";
/// Length of the line at the end of an output that is one file.
pub const SIGNATURE_BYTES: usize = SIGNED.len() + 8 + 1 + 20 + 1;

/// The line at the end of a file of so many bytes without it.
pub(super) fn signature(n_bytes: u64, crc: u32) -> String {
    format!("{SIGNED}{crc:08x} {n_bytes:020}\n")
}

/// Puts the line behind `bytes`.
pub fn sign(bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(signature(bytes.len() as u64, crc32c::crc32c(bytes)).as_bytes());
}

/// Begins what is written in blanks.
const MARK: u8 = 0b1010_0110;
/// Blanks that hold a checksum; a line break follows.
pub const BLANKS: usize = 8 + 32;

/// Blanks that say `crc`.
pub(super) fn blanks(crc: u32) -> [u8; BLANKS] {
    let bits = u64::from(MARK) << 32 | u64::from(crc);
    std::array::from_fn(|i| if bits >> (BLANKS - 1 - i) & 1 == 1 { b'\t' } else { b' ' })
}

/// Writes the checksum of the NPY file that is `bytes` into its head, which ends at `end`.
pub fn sign_head(bytes: &mut [u8], end: usize) {
    let crc = crc32c::crc32c(bytes);
    bytes[end - 1 - BLANKS..end - 1].copy_from_slice(&blanks(crc));
}

/// Blanks at the end of a document that are spaces or tabs as its checksum demands.
const N_FREE: usize = 64;
/// Documents of nearly the same length have the same.
const STEP_BYTES: usize = 4 << 10;

/// Adds blanks to a document by which it has the checksum `crc`, whatever it says.
///
/// Every tab in place of a space changes the checksum by what depends on its place alone. Which of these changes together
/// make the one that is lacking is found by elimination, bit by bit.
pub fn settle(document: &mut Vec<u8>, crc: u32) {
    document.resize((document.len() + N_FREE).next_multiple_of(STEP_BYTES), b' ');
    let from = document.len() - N_FREE;
    // By its highest bit: a change, and the places that make it.
    let mut changes = [(0u32, 0u64); 32];
    for i in 0..N_FREE {
        let mut blanks = [b' '; N_FREE];
        let spaces = crc32c::crc32c(&blanks);
        blanks[i] = b'\t';
        let mut change = (crc32c::crc32c(&blanks) ^ spaces, 1u64 << i);
        while let Some(bit) = change.0.checked_ilog2() {
            let known = &mut changes[bit as usize];
            if known.0 == 0 {
                *known = change;
                break;
            }
            change = (change.0 ^ known.0, change.1 ^ known.1);
        }
    }
    let lacking = crc32c::crc32c(document) ^ crc;
    let (_, tabs) = (0..32).rev().fold((lacking, 0), |(lacking, tabs), bit| match lacking >> bit & 1 {
        1 => (lacking ^ changes[bit].0, tabs ^ changes[bit].1),
        _ => (lacking, tabs),
    });
    (0..N_FREE).filter(|i| tabs >> i & 1 == 1).for_each(|i| document[from + i] = b'\t');
}

/// The checksum that a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// None.
    Absent,
    /// What has been one.
    Damaged,
    /// That of so many bytes, those of a range of them being spaces.
    Of(u32, u64, Range<u64>),
}

/// Finds the checksum of `file`.
///
/// # Errors
/// As reading.
pub fn signed(file: &mut File) -> std::io::Result<Signature> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut start = Vec::new();
    file.rewind()?;
    file.by_ref().take(MOST_HEAD_BYTES).read_to_end(&mut start)?;
    // A bit of it may be another.
    if start.iter().zip(b"\x93NUMPY").filter(|(a, b)| a == b).count() > 3 {
        let at = |i: usize| start.get(i).copied().unwrap_or(0);
        let (before, upper) = if at(6) == 1 { (10, [0, 0]) } else { (12, [at(10), at(11)]) };
        let n = u32::from_le_bytes([at(8), at(9), upper[0], upper[1]]) as usize;
        return Ok(in_head(&start, before + n, length));
    }
    file.seek(SeekFrom::Start(length.saturating_sub(2 * SIGNATURE_BYTES as u64)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let line = &end[end.len().saturating_sub(SIGNATURE_BYTES)..];
    let n_bytes = length - line.len() as u64;
    let crc = line.strip_prefix(SIGNED.as_bytes()).and_then(|rest| std::str::from_utf8(rest.get(..8)?).ok());
    let crc = crc.and_then(|crc| u32::from_str_radix(crc, 16).ok());
    if let Some(crc) = crc.filter(|crc| signature(n_bytes, *crc).as_bytes() == line) {
        return Ok(Signature::Of(crc, n_bytes, 0..0));
    }
    // Some bits of it are others, it is cut, or something was written behind it.
    let mark = SIGNED.as_bytes();
    let is_alike = |bytes: &[u8]| bytes.iter().zip(mark).filter(|(a, b)| a == b).count() > mark.len() / 2;
    let is_there = end.windows(mark.len()).any(is_alike) || (4..mark.len()).any(|n| end.ends_with(&mark[..n]));
    Ok(if is_there { Signature::Damaged } else { Signature::Absent })
}

/// The checksum in the head that ends at `end` of an NPY file of so many bytes, which begins with `start`.
fn in_head(start: &[u8], end: usize, length: u64) -> Signature {
    let place = end.saturating_sub(1 + BLANKS)..end.saturating_sub(1);
    match start.get(place.clone()) {
        Some(found) if found.iter().all(|&b| b == b' ') || found.contains(&b'}') => Signature::Absent,
        Some(found) => {
            let crc = found[8..].iter().fold(0, |crc, &b| crc << 1 | u32::from(b == b'\t'));
            let is_whole = blanks(crc) == *found && start.get(end - 1) == Some(&b'\n');
            let place = place.start as u64..place.end as u64;
            if is_whole { Signature::Of(crc, length, place) } else { Signature::Damaged }
        }
        None => Signature::Damaged,
    }
}

/// CRC-32C of a file that is written in pieces, in any order.
///
/// It is not known where pieces are written twice, or are many and small or far apart: [`summed`] reads them back.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Length and CRC-32C of what lies together, by where it begins.
    apart: BTreeMap<u64, (u64, u32)>,
    n_small: u32,
    is_lost: bool,
}

impl Pieces {
    /// Less takes longer to put together than to read.
    const SMALL_BYTES: u64 = 32 << 10;
    const MOST_SMALL: u32 = 1000;
    const MOST_APART: usize = 10_000;

    /// Takes a piece that was written at `at`.
    pub(super) fn add(&mut self, at: u64, n_bytes: u64, crc: u32) {
        if self.is_lost || n_bytes == 0 {
            return;
        }
        self.n_small += u32::from(n_bytes < Self::SMALL_BYTES);
        let before = self.apart.range(..=at).next_back().map(|(&start, &(n, crc))| (start, n, crc));
        let overlaps = before.is_some_and(|(start, n, _)| start + n > at)
            || self.apart.range(at..).next().is_some_and(|(&next, _)| next < at + n_bytes);
        let is_many = self.apart.len() >= Self::MOST_APART || self.n_small > Self::MOST_SMALL;
        if overlaps || is_many {
            *self = Self { is_lost: true, ..Self::default() };
            return;
        }
        let joined = |(n, crc): (u64, u32), (more, next): (u64, u32)| (n + more, crc::joined(crc, next, more));
        let (mut start, mut whole) = (at, (n_bytes, crc));
        if let Some((first, n, crc)) = before.filter(|(first, n, _)| first + n == at) {
            (start, whole) = (first, joined((n, crc), whole));
        }
        if let Some(behind) = self.apart.remove(&(at + n_bytes)) {
            whole = joined(whole, behind);
        }
        self.apart.insert(start, whole);
    }

    /// That of a file of `n_bytes`, all of which were seen.
    pub(super) fn whole(&self, n_bytes: u64) -> Option<u32> {
        self.apart.get(&0).filter(|(n, _)| *n == n_bytes).map(|(_, crc)| *crc)
    }
}

/// CRC-32C of what `read` gives, which fills a buffer and says how far, and how many bytes that is.
///
/// # Errors
/// As `read`.
pub fn summed(mut read: impl FnMut(&mut [u8]) -> std::io::Result<usize>) -> std::io::Result<(u32, u64)> {
    let (mut crc, mut n_bytes, mut buffer) = (0, 0, vec![0; PIECE_BYTES]);
    loop {
        match read(&mut buffer) {
            Ok(0) => return Ok((crc, n_bytes)),
            Ok(n) => {
                crc = crc32c::crc32c_append(crc, &buffer[..n]);
                n_bytes += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_checksum_that_is_asked_for() {
        for (n, crc) in [(0, 0), (17, 0), (4031, 1), (4032, 0xffff_ffff), (4033, 0x1234_5678), (70_000, 0x8000_0000)] {
            let text = vec![b'x'; n];
            let mut document = text.clone();
            settle(&mut document, crc);
            assert_eq!((crc32c::crc32c(&document), document.len() % STEP_BYTES), (crc, 0));
            assert!(document[..n] == text && document[n..].iter().all(|b| b" \t".contains(b)));
        }
    }

    #[test]
    fn what_is_changed_is_listed_anew_unless_others_changed_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CHECKSUMS);
        let list = |objects: &[(&str, &[u8])]| {
            let mut text = Vec::new();
            let mut lines = Lines::new(|more: &[u8]| {
                text.extend_from_slice(more);
                Ok(())
            });
            objects.iter().for_each(|(key, b)| lines.add(key, b.len() as u64, crc32c::crc32c(b)).unwrap());
            lines.end().unwrap();
            text
        };
        fs::write(&path, list(&[("0/c/0", b"chunk"), ("zarr.json", b"old")])).unwrap();
        renew(folder.path(), "zarr.json", b"old", b"newer").unwrap();
        let renewed = list(&[("0/c/0", b"chunk"), ("zarr.json", b"newer")]);
        assert!(fs::read(&path).unwrap() == renewed);
        renew(folder.path(), "zarr.json", b"by others", b"newest").unwrap();
        assert!(fs::read(&path).unwrap() == renewed);
        renew(&folder.path().join("none"), "zarr.json", b"a", b"b").unwrap();
    }

    #[test]
    fn pieces_in_any_order_are_the_whole() {
        let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let cuts = [0, 5, 40_000, 40_001, 500_000, 999_999, 1_000_000];
        let piece =
            |i: usize| (cuts[i] as u64, (cuts[i + 1] - cuts[i]) as u64, crc32c::crc32c(&bytes[cuts[i]..cuts[i + 1]]));
        for order in [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 2, 4, 1]] {
            let mut pieces = Pieces::default();
            for (n, i) in order.into_iter().enumerate() {
                assert_eq!(pieces.whole(1_000_000), None, "{n} of {order:?}");
                let (at, n_bytes, crc) = piece(i);
                pieces.add(at, n_bytes, crc);
            }
            assert_eq!(pieces.whole(1_000_000), Some(crc32c::crc32c(&bytes)), "{order:?}");
            // What was written twice may be other bytes.
            let (at, n_bytes, crc) = piece(3);
            pieces.add(at + 1, n_bytes - 1, crc);
            assert_eq!(pieces.whole(1_000_000), None);
        }
    }
}
