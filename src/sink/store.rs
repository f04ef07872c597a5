//! The one place through which bytes of an output go to disk.
//!
//! An output is built under a private name beside its own, `.NAME.partial`, and gets its name when it is
//! complete and, by policy, durable. Until then nothing stands under the name, or what stood there before.
//! A store that is dropped before removes what it built; one left behind by a killed process is found by
//! the next, told from a living one by a lock, and removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use crate::error::{Error, Result};

/// What must have reached the disk before an output gets its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Everything: a power cut after the end of the run loses nothing.
    #[default]
    Data,
    /// Nothing: the system writes when it likes.
    None,
}

/// An output under construction: a folder of files, or one file.
pub struct Store {
    name: PathBuf,
    partial: PathBuf,
    overwrite: bool,
    durability: Durability,
    /// Holds the lock that tells a living store from one left behind.
    lock: File,
    counts: Arc<Counts>,
    published: AtomicBool,
}

/// What has been written and closed.
#[derive(Default)]
struct Counts {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Store {
    /// Refuses a name under which something stands that must stay. Touches nothing.
    ///
    /// # Errors
    /// `Usage`, saying what stands there.
    pub fn check_free(output: &Path, overwrite: bool, replaceable: fn(&Path) -> bool) -> Result<()> {
        check_free(&names(output)?.0, overwrite, replaceable)
    }

    /// As [`Store::check_free`], for an output that is one file.
    ///
    /// # Errors
    /// As there; `Usage` if a folder stands under the name.
    pub fn check_free_file(output: &Path, overwrite: bool) -> Result<()> {
        let (name, _) = names(output)?;
        if fs::metadata(&name).is_ok_and(|found| found.is_dir()) {
            return Err(Error::usage(format!(
                "{}: is a folder, which a file does not replace: choose another name",
                name.display()
            )));
        }
        check_free(&name, overwrite, |_| false)
    }

    /// Starts a folder that will be called `output`.
    ///
    /// `replaceable` says whether a folder that already stands there is of a kind that may be replaced; it
    /// is asked with `overwrite` only.
    ///
    /// # Errors
    /// `Usage` if `output` exists and may not be replaced, or if another process is writing it; `Io` if
    /// the place cannot be written.
    pub fn folder(
        output: &Path,
        overwrite: bool,
        durability: Durability,
        replaceable: fn(&Path) -> bool,
    ) -> Result<Self> {
        let (name, partial) = names(output)?;
        check_free(&name, overwrite, replaceable)?;
        for _ in 0..8 {
            match fs::create_dir(&partial) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(cannot_create(&name, &partial, e)),
            }
            let lock = match File::open(&partial) {
                Ok(lock) => lock,
                // Another process removed what was left behind between the two calls.
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(&partial, "cannot open", e)),
            };
            take(&lock, &name)?;
            let empty = match fs::read_dir(&partial) {
                Ok(mut entries) => entries.next().is_none(),
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(Error::io(&partial, "cannot list", e)),
            };
            if empty && is_the_same(&lock, &partial) {
                return Ok(Self::new(name, partial, overwrite, durability, lock));
            }
            fs::remove_dir_all(&partial).map_err(|e| Error::io(&partial, "cannot remove", e))?;
        }
        Err(another_run(&name))
    }

    /// Starts one file that will be called `output`, to be written by [`Store::put_at`].
    ///
    /// # Errors
    /// `Usage` if `output` exists and may not be replaced, or if another process is writing it; `Io` if
    /// the place cannot be written.
    pub fn file(output: &Path, overwrite: bool, durability: Durability) -> Result<Self> {
        Self::check_free_file(output, overwrite)?;
        let (name, partial) = names(output)?;
        for _ in 0..8 {
            let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&partial);
            let file = opened.map_err(|e| cannot_create(&name, &partial, e))?;
            take(&file, &name)?;
            // Else another process has given it its name, or removed it, between the two calls.
            if is_the_same(&file, &partial) {
                file.set_len(0).map_err(|e| Error::io(&partial, "cannot write", e))?;
                return Ok(Self::new(name, partial, overwrite, durability, file));
            }
        }
        Err(another_run(&name))
    }

    /// Writes `bytes` at `offset` of an output that is one file; from any thread.
    ///
    /// # Errors
    /// `Io`.
    pub fn put_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.lock.write_all_at(bytes, offset).map_err(|e| Error::io(&self.partial, "cannot write", e))?;
        self.counts.files.store(1, Ordering::Relaxed);
        self.counts.bytes.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn new(name: PathBuf, partial: PathBuf, overwrite: bool, durability: Durability, lock: File) -> Self {
        Self { name, partial, overwrite, durability, lock, counts: Arc::default(), published: AtomicBool::new(false) }
    }

    /// What it will be called.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Writes one new file of a folder; `key` is its path inside, parts joined by `/`.
    ///
    /// # Errors
    /// `Io`, also if the file has been written before.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(key)?;
        file.append(bytes)?;
        file.close()
    }

    /// Starts one new file of a folder.
    ///
    /// # Errors
    /// `Io`, also if the file has been started before.
    pub fn create(&self, key: &str) -> Result<Append> {
        let path = self.partial.join(key);
        let open = || OpenOptions::new().write(true).create_new(true).open(&path);
        let file = open().or_else(|e| match (e.kind(), path.parent()) {
            (ErrorKind::NotFound, Some(parent)) => fs::create_dir_all(parent).and_then(|()| open()),
            _ => Err(e),
        });
        let file = file.map_err(|e| Error::io(&path, "cannot create", e))?;
        let eager = self.durability == Durability::Data;
        Ok(Append { counts: self.counts.clone(), path, file, n_bytes: 0, n_handed_over: 0, eager })
    }

    /// Makes what was written durable, by policy, and gives it its name. Gives the number of files and their bytes.
    ///
    /// # Errors
    /// `Io`, and `Usage` if something has appeared under the name meanwhile.
    pub fn publish(&self) -> Result<(u64, u64)> {
        if self.durability == Durability::Data {
            let is_folder = self.lock.metadata().is_ok_and(|found| found.is_dir());
            let synced = if is_folder { sync(&self.lock) } else { self.lock.sync_all() };
            synced.map_err(|e| Error::io(&self.partial, "cannot write to disk", e))?;
        }
        self.rename()?;
        self.published.store(true, Ordering::Relaxed);
        if self.durability == Durability::Data {
            let folder = self.name.parent().unwrap_or(Path::new("/"));
            // A folder that may be written to but not read cannot be opened for this.
            if let Ok(open) = File::open(folder) {
                sync_folder(&open).map_err(|e| Error::io(folder, "cannot write to disk", e))?;
            }
        }
        let (files, bytes) = (&self.counts.files, &self.counts.bytes);
        Ok((files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)))
    }

    fn rename(&self) -> Result<()> {
        let failed = |e: io::Error| Error::io(&self.name, "cannot give the output its name", e);
        let with = |flags| rustix::fs::renameat_with(CWD, &self.partial, CWD, &self.name, flags);
        match with(RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) if !self.overwrite => {
                return Err(Error::usage(format!(
                    "{}: something else has appeared under this name: choose another or use --overwrite",
                    self.name.display()
                )));
            }
            Err(rustix::io::Errno::EXIST) => {}
            // Not every file system knows the flags.
            Err(_) if !exists(&self.name) => return fs::rename(&self.partial, &self.name).map_err(failed),
            Err(e) if !self.overwrite => return Err(failed(e.into())),
            Err(_) => {}
        }
        if with(RenameFlags::EXCHANGE).is_ok() {
            return remove(&self.partial).map_err(|e| Error::io(&self.partial, "cannot remove the old output", e));
        }
        let old = sibling(&self.name, "replaced");
        fs::rename(&self.name, &old).map_err(failed)?;
        if let Err(e) = fs::rename(&self.partial, &self.name) {
            // The old output is worth more than a clean message about a second failure.
            let _ = fs::rename(&old, &self.name);
            return Err(failed(e));
        }
        remove(&old).map_err(|e| Error::io(&old, "cannot remove the old output", e))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !*self.published.get_mut() {
            // Nobody is left to tell; what remains is removed by the next run.
            let _ = remove(&self.partial);
        }
    }
}

/// A file of an output that grows at its end.
pub struct Append {
    counts: Arc<Counts>,
    path: PathBuf,
    file: File,
    n_bytes: u64,
    /// Bytes that the disk has been told to begin with.
    n_handed_over: u64,
    /// Whether it is told at all.
    eager: bool,
}

/// The disk is told to begin with this many bytes of a file at once: for less it takes longer to tell than
/// to wait.
const WRITEBACK_BYTES: u64 = 256 << 10;

impl Append {
    /// Bytes so far.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Adds `bytes` at the end.
    ///
    /// # Errors
    /// `Io`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, "cannot write", e))?;
        self.n_bytes += bytes.len() as u64;
        let waiting = self.n_bytes - self.n_handed_over;
        if self.eager && waiting >= WRITEBACK_BYTES {
            start_writeback(&self.file, self.n_handed_over, waiting);
            self.n_handed_over = self.n_bytes;
        }
        Ok(())
    }

    /// Ends the file and counts it.
    ///
    /// # Errors
    /// `Io`: network file systems say only here that they could not store it.
    pub fn close(self) -> Result<()> {
        close(self.file).map_err(|e| Error::io(&self.path, "cannot write", e))?;
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes.fetch_add(self.n_bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// Lets the disk begin with `n_bytes` from `offset` on, so that little is left to wait for at the end.
/// Promises nothing; errors come to light when the output is made durable.
fn start_writeback(file: &File, offset: u64, n_bytes: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `file` is borrowed.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), offset as i64, n_bytes as i64, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, offset, n_bytes);
}

/// Closes `file` and gives the answer, which dropping it would swallow.
fn close(file: File) -> io::Result<()> {
    // SAFETY: the descriptor is owned here, open, and not used again.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            e if e.kind() == ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        },
    }
}

/// Writes everything that waits for the file system of `file` to disk: one call, however many files.
fn sync(file: &File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(file)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    sync_folder(file)
}

/// Writes the entries of a folder to disk, where the file system has a way to.
fn sync_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        answer => answer,
    }
}

/// The name and the private name beside it.
fn names(output: &Path) -> Result<(PathBuf, PathBuf)> {
    let no_name = || Error::usage(format!("'{}' cannot be the name of an output", output.display()));
    if output.file_name().is_none() {
        return Err(no_name());
    }
    // A link stands for what it points to, which is what is to be replaced.
    let mut name = std::path::absolute(output).map_err(|e| Error::io(output, "cannot find", e))?;
    if fs::symlink_metadata(&name).is_ok_and(|m| m.is_symlink()) {
        name = fs::canonicalize(&name).map_err(|e| Error::io(output, "cannot follow the link", e))?;
    }
    // `absolute` keeps a trailing slash; a path rebuilt from its parts has none.
    let name: PathBuf = name.components().collect();
    if name.file_name().is_none() {
        return Err(no_name());
    }
    let partial = sibling(&name, "partial");
    Ok((name, partial))
}

/// `.NAME.what` beside `name`.
fn sibling(name: &Path, what: &str) -> PathBuf {
    let mut file_name = std::ffi::OsString::from(".");
    file_name.push(name.file_name().unwrap_or_default());
    file_name.push(".");
    file_name.push(what);
    name.with_file_name(file_name)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Refuses a name under which something stands that must stay.
fn check_free(name: &Path, overwrite: bool, replaceable: fn(&Path) -> bool) -> Result<()> {
    let Ok(found) = fs::symlink_metadata(name) else { return Ok(()) };
    if !overwrite {
        return Err(Error::usage(format!(
            "{}: exists already: choose another name or use --overwrite",
            name.display()
        )));
    }
    let empty = || fs::read_dir(name).is_ok_and(|mut entries| entries.next().is_none());
    if found.is_dir() && !replaceable(name) && !empty() {
        return Err(Error::usage(format!(
            "{}: is a folder of other things, which --overwrite does not replace: remove it first or choose another name",
            name.display()
        )));
    }
    Ok(())
}

fn cannot_create(name: &Path, partial: &Path, e: io::Error) -> Error {
    match (e.kind(), name.parent()) {
        (ErrorKind::NotFound, Some(parent)) => Error::usage(format!(
            "{}: there is no folder {} to put it in: create it first",
            name.display(),
            parent.display()
        )),
        _ => Error::io(partial, "cannot create", e),
    }
}

fn another_run(name: &Path) -> Error {
    Error::usage(format!("{}: another run is writing it: wait for its end or choose another name", name.display()))
}

/// Takes the lock, if the file system has locks.
fn take(lock: &File, name: &Path) -> Result<()> {
    match rustix::fs::flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(another_run(name)),
        _ => Ok(()),
    }
}

/// Whether `path` still names the open `file`.
fn is_the_same(file: &File, path: &Path) -> bool {
    match (rustix::fs::fstat(file), rustix::fs::stat(path)) {
        (Ok(a), Ok(b)) => a.st_ino == b.st_ino && a.st_dev == b.st_dev,
        _ => false,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}
