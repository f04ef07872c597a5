//! The files of a stack, opened when they are read from and kept at hand as far as descriptors and memory go.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::headers::Headers;
use super::headers::describe;
use super::{FileArray, Info, OpenOptions, open};
use crate::error::{Error, Result};

/// Page indexes of open files that are kept, in bytes, unless one alone is larger.
const KEPT_BYTES: u64 = 16 << 20;
/// Memory of a file that is not open: its name, its place.
const NAME_BYTES: u64 = 400;

/// Files by number.
pub struct Files {
    paths: Vec<PathBuf>,
    headers: Headers,
    options: OpenOptions,
    most_open: usize,
    kept: Mutex<Kept>,
}

/// Open files; the one used last is last.
#[derive(Default)]
struct Kept {
    open: Vec<(u32, Arc<dyn FileArray>)>,
    held_bytes: u64,
}

impl Files {
    /// The files at `paths`, of which `headers` were read before.
    pub fn new(paths: Vec<PathBuf>, headers: Headers, options: OpenOptions) -> Self {
        Self { paths, headers, options, most_open: crate::bytes::most_open(), kept: Mutex::default() }
    }

    /// What the headers say.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Their names, by number.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Memory that is held on to however many readers there are, in bytes.
    pub fn held_bytes(&self) -> u64 {
        let (one, n) = (self.headers.held_bytes, self.paths.len() as u64);
        KEPT_BYTES.min(one.saturating_mul(n)).max(one).saturating_add(n * NAME_BYTES)
    }

    /// The file numbered `file`.
    ///
    /// # Errors
    /// As opening it; `Format` if it is no longer what its headers said.
    pub fn get(&self, file: u32) -> Result<Arc<dyn FileArray>> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = lock().open.iter().find(|(number, _)| *number == file) {
            return Ok(Arc::clone(found));
        }
        let opened = open(&self.paths[file as usize], &self.options)?;
        self.check_unchanged(file, opened.info())?;
        let mut kept = lock();
        // Files are gone over again and again in the same order: of those that are not in use, the one that came
        // last is the one that is needed last.
        while kept.open.len() >= self.most_open || kept.held_bytes + opened.info().held_bytes > KEPT_BYTES {
            let Some(at) = kept.open.iter().rposition(|(_, f)| Arc::strong_count(f) == 1) else { break };
            let (_, gone) = kept.open.remove(at);
            kept.held_bytes -= gone.info().held_bytes;
        }
        kept.held_bytes += opened.info().held_bytes;
        kept.open.push((file, Arc::clone(&opened)));
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
            self.paths[file as usize].display(),
            describe(now),
            describe(then)
        )))
    }
}
