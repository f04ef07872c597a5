//! The files of a stack, opened when they are read from and kept open as far as descriptors go. What their headers
//! say is kept apart from that, as far as memory goes.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::headers::Headers;
use super::headers::describe;
use super::{FileArray, Info, OpenOptions, open};
use crate::bytes::{self, Watch};
use crate::error::{Error, Result};

/// Memory of a file that is not open: its name, its place.
const NAME_BYTES: u64 = 400;

/// Files by number.
pub struct Files {
    watch: Watch,
    headers: Headers,
    options: OpenOptions,
    most_open: usize,
    kept: Mutex<Kept>,
}

/// A file that is open, or about to be: whoever comes second waits for the first.
type Slot = Arc<Mutex<Option<Arc<dyn FileArray>>>>;

/// Open files.
#[derive(Default)]
struct Kept {
    open: HashMap<u32, Slot>,
    /// Those that have been read, in the order in which they were read first.
    read: Vec<u32>,
    /// Those that were opened for what will be read soon, and nobody has read; the one opened last is last.
    awaited: VecDeque<u32>,
    /// Memory of their indexes that are not kept anyway, by number.
    own_bytes: HashMap<u32, u64>,
}

impl Files {
    /// The files at `paths`, of which `headers` were read before.
    pub fn new(paths: Vec<PathBuf>, headers: Headers, options: OpenOptions) -> Self {
        let watch = Watch::unseen(paths);
        Self { watch, headers, options, most_open: bytes::most_open(), kept: Mutex::default() }
    }

    /// The same, each of which is met by `watch` before it is opened.
    #[must_use]
    pub fn watched(self, watch: Watch) -> Self {
        Self { watch, ..self }
    }

    /// Where they are, and what is known of that.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What the headers say.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Their names, by number.
    pub fn paths(&self) -> &[PathBuf] {
        self.watch.paths()
    }

    /// Memory that is held on to however many readers there are, in bytes.
    pub fn held_bytes(&self) -> u64 {
        let (one, n) = (self.headers.held_bytes, self.paths().len() as u64);
        let indexes = one.saturating_mul(n).min(2 * self.headers.indexes.limit_bytes()).max(one);
        let fetched = if self.paths().iter().any(|path| bytes::is_remote(path)) { bytes::FETCHED_BYTES } else { 0 };
        indexes.saturating_add(n * NAME_BYTES).saturating_add(fetched)
    }

    /// The file numbered `file`, to be read.
    ///
    /// # Errors
    /// As opening it; `Format` if it is no longer what its headers said.
    pub fn get(&self, file: u32) -> Result<Arc<dyn FileArray>> {
        self.opened(file, |kept| {
            if let Some(at) = kept.awaited.iter().position(|awaited| *awaited == file) {
                kept.awaited.remove(at);
                kept.read.push(file);
            }
        })
    }

    /// The file numbered `file`, which is read soon and stays open until then, as far as descriptors go.
    #[allow(clippy::missing_errors_doc)]
    pub fn get_ahead(&self, file: u32) -> Result<Arc<dyn FileArray>> {
        self.opened(file, |kept| {
            if !kept.open.contains_key(&file) {
                kept.awaited.push_back(file);
            }
        })
    }

    fn opened(&self, file: u32, note: impl FnOnce(&mut Kept)) -> Result<Arc<dyn FileArray>> {
        let mut kept = self.kept();
        note(&mut kept);
        let slot = Arc::clone(kept.open.entry(file).or_default());
        drop(kept);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*slot {
            return Ok(Arc::clone(open));
        }
        let opened = self.open(file).inspect_err(|_| self.kept().forget(file))?;
        let is_kept = self.headers.indexes.get(file).is_some();
        let held_bytes = || opened.index().map_or(opened.info().held_bytes, |index| index.held_bytes());
        let own_bytes = if is_kept { 0 } else { held_bytes() };
        self.kept().add(file, own_bytes, self.most_open, self.headers.indexes.limit_bytes());
        Ok(Arc::clone(slot.insert(opened)))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, file: u32) -> Result<Arc<dyn FileArray>> {
        let path = &self.paths()[file as usize];
        self.watch.meet(file)?;
        if let Some(index) = self.headers.indexes.get(file) {
            return Arc::clone(index).open(path).map_err(|e| match e {
                io @ Error::Io { .. } => io,
                other => other.at(path.display()),
            });
        }
        let opened = open(path, &self.options)?;
        self.check_unchanged(file, opened.info())?;
        Ok(opened)
    }

    /// A file that is written to while it is read must not pass.
    fn check_unchanged(&self, file: u32, now: &Info) -> Result<()> {
        let Some(then) = self.headers.info(file) else { return Ok(()) };
        if then.shape() == now.shape() && then.dtype == now.dtype {
            return Ok(());
        }
        Err(Error::Format(format!(
            "{}: is {}, but was {} when the run began: wait until it is written",
            self.paths()[file as usize].display(),
            describe(now),
            describe(then)
        )))
    }
}

impl Kept {
    /// Counts a file as open, and closes others for it where there are more than `most_open` or their own indexes
    /// take more than `limit_bytes`.
    fn add(&mut self, file: u32, own_bytes: u64, most_open: usize, limit_bytes: u64) {
        if !self.awaited.contains(&file) && !self.read.contains(&file) {
            self.read.push(file);
        }
        let mut held_bytes = own_bytes + self.own_bytes.values().sum::<u64>();
        while self.read.len() + self.awaited.len() > most_open || held_bytes > limit_bytes {
            // Files are gone over again and again in the same order: of those that are not in use, the one that
            // was read last is the one that is needed last.
            let mut last_first = self.read.iter().rev().chain(self.awaited.iter().rev());
            let Some(&closed) = last_first.find(|open| self.is_idle(**open)) else { break };
            held_bytes -= self.own_bytes.get(&closed).copied().unwrap_or(0);
            self.forget(closed);
        }
        if own_bytes > 0 {
            self.own_bytes.insert(file, own_bytes);
        }
    }

    fn forget(&mut self, file: u32) {
        self.open.remove(&file);
        self.own_bytes.remove(&file);
        match self.read.iter().rposition(|read| *read == file) {
            Some(at) => _ = self.read.remove(at),
            None => self.awaited.retain(|awaited| *awaited != file),
        }
    }

    fn is_idle(&self, file: u32) -> bool {
        let idle =
            |slot: &Slot| slot.try_lock().is_ok_and(|open| open.as_ref().is_some_and(|f| Arc::strong_count(f) == 1));
        self.open.get(&file).is_some_and(idle)
    }
}
