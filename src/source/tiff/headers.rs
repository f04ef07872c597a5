//! Reading headers: small pieces of a file by position, in as few reads as their places allow.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::tag::{TagField, is_uint, type_size, uint};
use crate::bytes::Ranged;
use crate::error::{Error, Result};
use crate::profile::{self, Stage};

/// A part of a file in memory that grows while reads come from near one another.
struct Window {
    bytes: Vec<u8>,
    start: u64,
    len: usize,
    /// Bytes to read next time.
    ahead: usize,
    /// From the last read's place to this one's, and the end of what was asked for ahead by such steps.
    step: u64,
    asked_to: u64,
}

/// Fewest and most bytes that one read of headers asks for.
const AHEAD: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 16;
/// A read that takes longer is worth asking for ahead.
const SLOW: Duration = Duration::from_micros(500);
/// Reads that are asked for ahead where they go on by equal steps.
const STEPS: u64 = 32;

impl Window {
    fn new() -> Self {
        // The first read is of a quarter of this, but near the beginning.
        Self { bytes: Vec::new(), start: 0, len: 0, ahead: *AHEAD.end(), step: 0, asked_to: 0 }
    }

    fn get(&self, at: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.bytes[..self.len].get(from..from.checked_add(len)?)
    }

    /// Reads on from `at`; the bytes asked for must lie in the file.
    fn load(&mut self, input: &HeaderInput, at: u64, len: usize) -> Result<()> {
        // Reads that follow one another closely will go on doing so; jumps will go on too.
        let end = self.start + self.len as u64;
        let near = at >= self.start && at < end.saturating_add(self.ahead as u64 / 2);
        self.ahead = if near { self.ahead * 4 } else { self.ahead / 4 }.clamp(*AHEAD.start(), *AHEAD.end());
        let want = self.ahead.max(len);
        let want = usize::try_from(input.size - at).map_or(want, |rest| want.min(rest));
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        }
        self.len = 0;
        let begun = Instant::now();
        input.read_at(&mut self.bytes[..want], at)?;
        let step = at.wrapping_sub(self.start);
        if step == self.step && begun.elapsed() > SLOW {
            self.ask(input, at);
        }
        (self.start, self.len, self.step) = (at, want, step);
        Ok(())
    }

    /// Asks for what will be read if reads go on from `at` as they did: directories that lie between pixels come one
    /// by one, each known from the one before it, but mostly at equal distances.
    fn ask(&mut self, input: &HeaderInput, at: u64) {
        let ahead = (1..=STEPS).map_while(|i| at.checked_add(self.step.checked_mul(i)?).filter(|at| *at < input.size));
        for at in ahead.filter(|at| *at > self.asked_to).collect::<Vec<_>>() {
            input.file.advise(at, self.ahead as u64);
            self.asked_to = at;
        }
    }
}

/// First bytes of a file, which hold all headers of most files that have one page.
const HEAD_BYTES: u64 = 1 << 14;

/// A file to read by position.
#[derive(Debug)]
pub(super) struct HeaderInput {
    pub(super) file: Ranged,
    path: PathBuf,
    pub(super) size: u64,
    /// Its first bytes while headers are read, which ask for some of them several times.
    head: Vec<u8>,
    /// How many of these were asked for; more than there are if its name or other bytes were.
    n_asked: AtomicU64,
}

impl HeaderInput {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = Ranged::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
        Ok(Self { size: file.n_bytes(), file, path: path.to_owned(), head: Vec::new(), n_asked: AtomicU64::new(0) })
    }

    /// The same, whose headers will be read; [`HeaderInput::forget`] when that is done.
    pub(super) fn with_head(self) -> Result<Self> {
        let mut head = vec![0; self.size.min(HEAD_BYTES) as usize];
        self.read_at(&mut head, 0)?;
        Ok(Self { head, n_asked: AtomicU64::new(0), ..self })
    }

    /// Reads all from the file from now on. Gives the bytes that the file begins with and all that was learned of it follows
    /// from, together with its size; none if its name or other bytes were asked for.
    pub(super) fn forget(&mut self) -> Vec<u8> {
        let mut head = std::mem::take(&mut self.head);
        let n_asked = self.n_asked.load(Ordering::Relaxed);
        head.truncate(if n_asked > head.len() as u64 { 0 } else { n_asked as usize });
        head.shrink_to_fit();
        head
    }

    /// Its first bytes, at most `n`; none of a file that is far away, which is asked for more at once.
    pub(super) fn first_bytes(&self, n: usize) -> Result<Vec<u8>> {
        let n = if matches!(self.file, Ranged::Local(..)) { self.size.min(n as u64) } else { 0 };
        let mut bytes = vec![0; n as usize];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.n_asked.store(u64::MAX, Ordering::Relaxed);
        &self.path
    }

    /// What lies at `at`, if it is known.
    fn known(&self, at: u64, len: usize) -> Option<&[u8]> {
        let from = usize::try_from(at).ok()?;
        let end = from.checked_add(len)?;
        self.n_asked.fetch_max(end as u64, Ordering::Relaxed);
        self.head.get(from..end)
    }

    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        if let Some(known) = self.known(at, bytes.len()) {
            bytes.copy_from_slice(known);
            return Ok(());
        }
        let read = profile::stage(Stage::Read, bytes.len() as u64, || self.file.read_exact_at(bytes, at));
        read.map_err(|e| {
            if e.kind() == std::io::ErrorKind::UnexpectedEof {
                let end = at.saturating_add(bytes.len() as u64);
                Error::format(format!("ends before byte {end}: it had {} bytes when it was opened", self.size))
            } else {
                Error::io(&self.path, "cannot read", e)
            }
        })
    }
}

/// Reads small pieces of a file through two windows: one follows the directories, one their values.
pub(super) struct HeaderReader<'a> {
    pub(super) input: &'a HeaderInput,
    pub(super) big_endian: bool,
    directories: Window,
    values: Window,
    /// Values that many pages point to, by position and length.
    shared: HashMap<(u64, u64), Arc<[u8]>>,
    shared_bytes: u64,
    /// Bytes of values that have been looked at.
    spent_bytes: u64,
}

impl<'a> HeaderReader<'a> {
    pub(super) fn new(input: &'a HeaderInput) -> Self {
        let (directories, values) = (Window::new(), Window::new());
        let (shared, shared_bytes, spent_bytes) = (HashMap::new(), 0, 0);
        Self { input, big_endian: false, directories, values, shared, shared_bytes, spent_bytes }
    }

    /// The same for one directory, which reads little.
    pub(super) fn brief(input: &'a HeaderInput) -> Self {
        let mut brief = Self::new(input);
        (brief.directories.ahead, brief.values.ahead) = (*AHEAD.start(), *AHEAD.start());
        brief
    }

    /// Bytes of a directory.
    pub(super) fn directory(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        self.inside(at, len as u64)?;
        if let Some(known) = self.input.known(at, len) {
            return Ok(known);
        }
        if self.directories.get(at, len).is_none() {
            self.directories.load(self.input, at, len)?;
        }
        Ok(self.directories.get(at, len).unwrap_or_default())
    }

    /// Bytes of values, wherever they lie.
    pub(super) fn value(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        self.inside(at, len as u64)?;
        if let Some(known) = self.input.known(at, len) {
            return Ok(known);
        }
        if self.directories.get(at, len).is_none() && self.values.get(at, len).is_none() {
            self.values.load(self.input, at, len)?;
        }
        Ok(self.directories.get(at, len).or_else(|| self.values.get(at, len)).unwrap_or_default())
    }

    /// The bytes of `field`, kept once however many pages point to them.
    pub(super) fn shared(&mut self, field: &TagField) -> Result<Arc<[u8]>> {
        let key = (field.at, field.size_bytes());
        if let Some(known) = self.shared.get(&key) {
            return Ok(Arc::clone(known));
        }
        self.spend(key.1)?;
        let bytes: Arc<[u8]> = self.value(key.0, key.1 as usize)?.into();
        self.shared_bytes += key.1;
        self.shared.insert(key, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// Memory of what [`Headers::shared`] has given.
    pub(super) fn shared_bytes(&self) -> u64 {
        self.shared_bytes
    }

    /// Counts values that are looked at: those of all pages cannot be many times the file, unless they overlap.
    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.spent_bytes = self.spent_bytes.saturating_add(bytes);
        if self.spent_bytes > self.input.size.saturating_mul(4).saturating_add(1 << 16) {
            return Err(Error::format("the values of all fields are larger than the file and overlap"));
        }
        Ok(())
    }

    fn inside(&self, at: u64, len: u64) -> Result<()> {
        if at.checked_add(len).is_none_or(|end| end > self.input.size) {
            return Err(Error::format(format!(
                "{len} bytes at {at} lie outside the file of {} bytes",
                self.input.size
            )));
        }
        Ok(())
    }

    /// Calls `f` with the first `n` values of `field` as unsigned integers.
    pub(super) fn uints(&mut self, field: &TagField, n: u64, mut f: impl FnMut(u64)) -> Result<()> {
        let size = type_size(field.field_type);
        // Some programs write sizes as signed numbers.
        if !is_uint(field.field_type) && !matches!(field.field_type, 8 | 9 | 17) {
            return Err(Error::format(format!("tag {} has field type {}", field.tag, field.field_type)));
        }
        self.inside(field.at, field.size_bytes())?;
        self.spend(size.saturating_mul(n.min(field.count)))?;
        let big_endian = self.big_endian;
        let (mut at, mut left) = (field.at, size.saturating_mul(n.min(field.count)));
        while left > 0 {
            let step = left.min(*AHEAD.end() as u64);
            for bytes in self.value(at, step as usize)?.chunks_exact(size as usize) {
                f(uint(bytes, big_endian));
            }
            at += step;
            left -= step;
        }
        Ok(())
    }
}
