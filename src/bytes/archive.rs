//! Zip archives as folders: what lies in one is a file below the archive's path.
//!
//! Source: PKWARE's APPNOTE 6.3.10, sections 4.3 to 4.5.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Error, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::ranged::{Ranged, open};

/// Extensions of archives.
const EXTENSIONS: [&[u8]; 2] = [b".zip", b".ozx"];
/// A directory that is longer is not read.
const MOST_DIRECTORY_BYTES: u64 = 64 << 20;
/// Memory of directories that are kept, in bytes.
const KEPT_BYTES: usize = 96 << 20;
/// A packed entry that is longer is not unpacked.
const MOST_PACKED_BYTES: u64 = 32 << 20;

/// Length of the record at the end, without its comment.
const END_BYTES: u64 = 22;
/// Length of the record in front of an entry, without its name.
const LOCAL_BYTES: u64 = 30;
/// Length of an entry's record in the directory, without its name.
const ENTRY_BYTES: usize = 46;

/// The directory of an archive.
struct Directory {
    /// Path of the file that it is of, its size, number, and times of change.
    of: (PathBuf, [i64; 6]),
    bytes: Vec<u8>,
    /// Where the records of files begin, by their keys; of those with the same key the last one.
    records: Vec<u32>,
}

/// What a directory says of a file.
struct Entry {
    method: u16,
    is_secret: bool,
    crc: u32,
    n_stored: u64,
    n_bytes: u64,
    at: u64,
}

/// Directories that were read last.
static KEPT: Mutex<VecDeque<Arc<Directory>>> = Mutex::new(VecDeque::new());

/// The archive that `path` is, or that it leads into, with the key of what is meant there.
fn parts(path: &Path) -> Option<(&Path, String)> {
    let is_named = |path: &Path| {
        let bytes = path.as_os_str().as_encoded_bytes();
        EXTENSIONS.iter().any(|e| bytes.len() >= e.len() && bytes[bytes.len() - e.len()..].eq_ignore_ascii_case(e))
    };
    let archive = path.ancestors().find(|path| is_named(path) && path.is_file())?;
    let key = path.strip_prefix(archive).ok()?.to_str()?;
    Some((archive, key.to_owned()))
}

/// The directory that `path` leads into, and the key of what is meant there; nothing if it leads into no archive.
fn find(path: &Path) -> Option<io::Result<(Arc<Directory>, String)>> {
    let (archive, key) = parts(path)?;
    Some(Directory::of(archive).map(|directory| (directory, key)))
}

/// Opens what `path` means if that is in an archive.
pub(super) fn entry(path: &Path) -> Option<io::Result<Ranged>> {
    let (archive, key) = parts(path).filter(|(_, key)| !key.is_empty())?;
    Some(Directory::of(archive).and_then(|directory| directory.entry(&key)?.open(archive)))
}

/// Names in the folder that `path` means, and whether each is a folder, if that is in an archive.
pub(super) fn entries(path: &Path) -> Option<io::Result<Vec<(String, bool)>>> {
    find(path).map(|found| found.map(|(directory, key)| directory.entries(&key)))
}

/// Whether a file is at `path`, if that is in an archive.
pub(super) fn is_file(path: &Path) -> Option<bool> {
    let found = find(path).filter(|found| !found.as_ref().is_ok_and(|(_, key)| key.is_empty()))?;
    Some(found.is_ok_and(|(directory, key)| directory.entry(&key).is_ok()))
}

/// Whether `path` is an archive, or a folder in one.
pub(super) fn is_folder(path: &Path) -> bool {
    entries(path).is_some_and(|found| found.is_ok_and(|entries| !entries.is_empty()))
}

/// The file of a file system that holds what `path` means.
pub(super) fn file_of(path: &Path) -> &Path {
    parts(path).map_or(path, |(archive, _)| archive)
}

/// Whether `path` leads into an archive, or is one.
pub fn is_archive(path: &Path) -> bool {
    parts(path).is_some()
}

/// Goes through every file of the archive at `path`: gives the key of each, and whether its bytes are those that its
/// checksum is of.
///
/// # Errors
/// What the system said; what is no archive.
pub fn check(path: &Path, give: &mut dyn FnMut(&str, io::Result<bool>)) -> io::Result<()> {
    let directory = Directory::of(path)?;
    let mut bytes = vec![0; 1 << 20];
    for &record in &directory.records {
        let entry = directory.at(record)?;
        let is_sound = entry.open(path).and_then(|file| {
            let (mut crc, mut at) = (libdeflater::Crc::new(), 0);
            while at < file.n_bytes() {
                let n = (file.n_bytes() - at).min(bytes.len() as u64) as usize;
                file.read_exact_at(&mut bytes[..n], at)?;
                crc.update(&bytes[..n]);
                at += n as u64;
            }
            Ok(crc.sum() == entry.crc)
        });
        give(directory.key(record), is_sound);
    }
    Ok(())
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("is no zip archive that is whole: {what}"))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field: [u8; N] = bytes.get(at..at.checked_add(N)?)?.try_into().ok()?;
    Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

impl Directory {
    /// That of the archive at `path`, which is read unless it is at hand.
    fn of(path: &Path) -> io::Result<Arc<Self>> {
        let about = fs::metadata(path)?;
        let (size, number) = (about.size() as i64, about.ino() as i64);
        let times = [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()];
        let of = (path.to_owned(), [size, number, times[0], times[1], times[2], times[3]]);
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.iter().position(|directory| directory.of == of) {
            return Ok(Arc::clone(&kept[known]));
        }
        let directory = Arc::new(Self::read(path, of)?);
        kept.retain(|other| other.of.0 != path);
        kept.push_back(Arc::clone(&directory));
        while kept.iter().map(|d| d.bytes.len() + 4 * d.records.len()).sum::<usize>() > KEPT_BYTES && kept.len() > 1 {
            kept.pop_front();
        }
        Ok(directory)
    }

    fn read(path: &Path, of: (PathBuf, [i64; 6])) -> io::Result<Self> {
        let (file, n_bytes) = open(path)?;
        let tail_bytes = n_bytes.min(END_BYTES + u64::from(u16::MAX));
        let mut tail = vec![0; tail_bytes as usize];
        file.read_exact_at(&mut tail, n_bytes - tail_bytes)?;
        let end = tail.windows(4).rposition(|four| four == b"PK\x05\x06");
        let end = end.filter(|end| tail.len() - end >= END_BYTES as usize).ok_or_else(|| damaged("it has no end"))?;
        let field = |at| number::<4>(&tail, end + at).unwrap_or_default();
        let (mut length, mut start) = (field(12), field(16));
        if [length, start].contains(&u64::from(u32::MAX)) || number::<2>(&tail, end + 10) == Some(0xffff) {
            let locator = end.checked_sub(20).and_then(|at| tail.get(at..end)).filter(|l| l.starts_with(b"PK\x06\x07"));
            if let Some(at) = locator.and_then(|locator| number::<8>(locator, 8)) {
                let mut record = [0; 56];
                file.read_exact_at(&mut record, at)?;
                if !record.starts_with(b"PK\x06\x06") {
                    return Err(damaged("its end points to nowhere"));
                }
                (length, start) =
                    (number::<8>(&record, 40).unwrap_or_default(), number::<8>(&record, 48).unwrap_or_default());
            }
        }
        if start.checked_add(length).is_none_or(|end| end > n_bytes) {
            return Err(damaged("its directory lies behind its end"));
        }
        if length > MOST_DIRECTORY_BYTES {
            let text =
                format!("has a directory of {length} bytes, of which {MOST_DIRECTORY_BYTES} are read: unpack it");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, start)?;
        Self { of, bytes, records: Vec::new() }.listed()
    }

    /// The same with its records.
    fn listed(mut self) -> io::Result<Self> {
        let mut at = 0;
        while self.bytes[at..].starts_with(b"PK\x01\x02") {
            let length = |field| number::<2>(&self.bytes, at + field).unwrap_or_default() as usize;
            let n = ENTRY_BYTES + length(28) + length(30) + length(32);
            let name = self.bytes.get(at + ENTRY_BYTES..at + ENTRY_BYTES + length(28));
            let Some(name) = name.filter(|_| self.bytes.len() - at >= n) else {
                return Err(damaged("it is cut short"));
            };
            // Folders have entries of their own in some.
            if !name.ends_with(b"/") && std::str::from_utf8(name).is_ok() {
                self.records.push(at as u32);
            }
            at += n;
        }
        let mut records = std::mem::take(&mut self.records);
        records.sort_by(|a, b| self.key(*a).cmp(self.key(*b)));
        records.reverse();
        records.dedup_by(|a, b| self.key(*a) == self.key(*b));
        records.reverse();
        self.records = records;
        Ok(self)
    }

    fn key(&self, record: u32) -> &str {
        let at = record as usize;
        let n = number::<2>(&self.bytes, at + 28).unwrap_or_default() as usize;
        std::str::from_utf8(&self.bytes[at + ENTRY_BYTES..at + ENTRY_BYTES + n]).unwrap_or_default()
    }

    fn entry(&self, key: &str) -> io::Result<Entry> {
        let found = self.records.binary_search_by(|record| self.key(*record).cmp(key));
        self.at(self.records[found.map_err(|_| ErrorKind::NotFound)?])
    }

    fn at(&self, record: u32) -> io::Result<Entry> {
        let at = record as usize;
        let field = |offset| number::<4>(&self.bytes, at + offset).unwrap_or_default();
        let short = |offset| number::<2>(&self.bytes, at + offset).unwrap_or_default();
        let mut large = [field(24), field(20), field(42)];
        // What does not fit stands behind the name, in this order.
        let extra = at + ENTRY_BYTES + short(28) as usize;
        let (mut block, end) = (extra, extra + short(30) as usize);
        while block + 4 <= end {
            let n = number::<2>(&self.bytes, block + 2).unwrap_or_default() as usize;
            if number::<2>(&self.bytes, block) == Some(1) {
                let missing = large.iter_mut().filter(|value| **value == u64::from(u32::MAX));
                for (i, value) in missing.enumerate().filter(|(i, _)| 8 * (i + 1) <= n) {
                    *value = number::<8>(&self.bytes, block + 4 + 8 * i).unwrap_or(u64::MAX);
                }
            }
            block += 4 + n;
        }
        let [n_bytes, n_stored, offset] = large;
        let (flags, method, crc) = (short(8), short(10) as u16, field(16) as u32);
        Ok(Entry { method, is_secret: flags & 1 == 1, crc, n_stored, n_bytes, at: offset })
    }

    fn entries(&self, key: &str) -> Vec<(String, bool)> {
        let folder = if key.is_empty() { String::new() } else { format!("{}/", key.trim_end_matches('/')) };
        let first = self.records.partition_point(|record| self.key(*record) < folder.as_str());
        let inside = self.records[first..].iter().map_while(|record| self.key(*record).strip_prefix(&folder));
        let mut found: Vec<(String, bool)> = inside
            .map(|rest| rest.split_once('/').map_or((rest.to_owned(), false), |(name, _)| (name.to_owned(), true)))
            .collect();
        found.dedup();
        found
    }
}

impl Entry {
    /// Opens it in the archive at `path`.
    fn open(&self, path: &Path) -> io::Result<Ranged> {
        if self.is_secret {
            return Err(Error::new(ErrorKind::Unsupported, "is encrypted: unpack the archive with its password"));
        }
        let (file, n_all) = open(path)?;
        let mut local = [0; LOCAL_BYTES as usize];
        file.read_exact_at(&mut local, self.at)?;
        let names = number::<2>(&local, 26).zip(number::<2>(&local, 28)).map_or(0, |(name, extra)| name + extra);
        let start = self.at + LOCAL_BYTES + names;
        if !local.starts_with(b"PK\x03\x04") || start.checked_add(self.n_stored).is_none_or(|end| end > n_all) {
            return Err(damaged("an entry lies elsewhere than its directory says"));
        }
        match self.method {
            0 if self.n_stored == self.n_bytes => Ok(Ranged::Part(file, start, self.n_bytes)),
            8 => self.inflated(&file, start).map(Ranged::Whole),
            method => {
                let text = format!(
                    "is packed in an archive by method {method}, which is not read: pack it stored or deflated"
                );
                Err(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    fn inflated(&self, file: &File, start: u64) -> io::Result<Vec<u8>> {
        if self.n_bytes.max(self.n_stored) > MOST_PACKED_BYTES {
            let text =
                format!("has {} bytes packed in an archive: unpack it, or store it there as it is", self.n_bytes);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let (mut packed, mut bytes) = (vec![0; self.n_stored as usize], vec![0; self.n_bytes as usize]);
        file.read_exact_at(&mut packed, start)?;
        let n = libdeflater::Decompressor::new().deflate_decompress(&packed, &mut bytes);
        match n {
            Ok(n) if n == bytes.len() && libdeflater::crc32(&bytes) == self.crc => Ok(bytes),
            _ => Err(damaged("what is packed there is not what its checksum is of")),
        }
    }
}
