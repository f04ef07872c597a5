//! A file to be read by position, and what lies in a folder, wherever they are: in a file system, in a store of objects
//! or on a web server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::archive;
use super::remote::{self, Object, is_remote};

/// An open file.
#[derive(Debug)]
pub enum Ranged {
    /// Of a file system, and its size in bytes when it was opened.
    Local(File, u64),
    /// Of an archive, from where on, and its size in bytes.
    Part(File, u64, u64),
    /// An object.
    Remote(Object),
    /// All bytes of one.
    Whole(Vec<u8>),
}

impl Ranged {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// What the system or the server said; so for all others.
    pub fn open(path: &Path) -> io::Result<Self> {
        if is_remote(path) {
            return Object::open(path).map(Self::Remote);
        }
        archive::entry(path).unwrap_or_else(|| open(path).map(|(file, n_bytes)| Self::Local(file, n_bytes)))
    }

    /// Opens a file of which the last `n_bytes` are read first.
    #[allow(clippy::missing_errors_doc)]
    pub fn open_end(path: &Path, n_bytes: u64) -> io::Result<Self> {
        if is_remote(path) { Object::open_end(path, n_bytes).map(Self::Remote) } else { Self::open(path) }
    }

    /// Opens a file of which all is read at once.
    #[allow(clippy::missing_errors_doc)]
    pub fn open_whole(path: &Path) -> io::Result<Self> {
        if is_remote(path) { remote::read(path, false).map(Self::Whole) } else { Self::open(path) }
    }

    /// Its size in bytes when it was opened.
    pub fn n_bytes(&self) -> u64 {
        match self {
            Self::Local(_, n_bytes) | Self::Part(_, _, n_bytes) => *n_bytes,
            Self::Remote(object) => object.n_bytes(),
            Self::Whole(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `bytes` with what lies at `at`.
    #[allow(clippy::missing_errors_doc)]
    pub fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Self::Local(file, _) => file.read_exact_at(bytes, at),
            Self::Part(_, _, n) if at.checked_add(bytes.len() as u64).is_none_or(|end| end > *n) => {
                Err(ErrorKind::UnexpectedEof.into())
            }
            Self::Part(file, start, _) => file.read_exact_at(bytes, start + at),
            Self::Remote(object) => object.read_exact_at(bytes, at),
            Self::Whole(all) => {
                let part = all.get(at as usize..).and_then(|part| part.get(..bytes.len()));
                bytes.copy_from_slice(part.ok_or(ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// Says that `n_bytes` at `at` will be read soon. Promises nothing.
    pub fn advise(&self, at: u64, n_bytes: u64) {
        match self {
            Self::Local(file, _) => super::advise(file, at, n_bytes),
            Self::Part(file, start, _) => super::advise(file, start + at, n_bytes),
            Self::Remote(object) => object.advise(at, n_bytes),
            Self::Whole(_) => {}
        }
    }
}

/// All bytes of the file at `path`, which is small and may be asked for again.
#[allow(clippy::missing_errors_doc)]
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    if is_remote(path) {
        return remote::read(path, true);
    }
    if let Some(entry) = archive::entry(path) {
        let entry = entry?;
        let mut bytes = vec![0; entry.n_bytes() as usize];
        entry.read_exact_at(&mut bytes, 0)?;
        return Ok(bytes);
    }
    let mut bytes = Vec::new();
    open(path)?.0.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file of a file system and gives its size. What is none is refused: a pipe would be waited for, a device may have
/// no end.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "is a folder, a pipe, a socket or a device"));
    }
    Ok((file, about.len()))
}

/// Whether a file is at `path`, as far as that can be told: what may be one is.
pub fn is_file(path: &Path) -> bool {
    if is_remote(path) {
        return !read(path).is_err_and(|e| e.kind() == ErrorKind::NotFound);
    }
    archive::is_file(path).unwrap_or_else(|| path.is_file())
}

/// Whether `path` may be a folder: one of objects is what their names begin with.
pub fn is_folder(path: &Path) -> bool {
    is_remote(path) || path.is_dir() || archive::is_folder(path)
}

/// Names in the folder at `path`, and whether each is a folder, links followed.
#[allow(clippy::missing_errors_doc)]
pub fn entries(path: &Path) -> io::Result<Vec<(String, bool)>> {
    if is_remote(path) {
        return remote::entries(path);
    }
    if let Some(entries) = archive::entries(path) {
        return entries;
    }
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        Ok((entry.file_name().to_string_lossy().into_owned(), is_folder))
    };
    fs::read_dir(path)?.map(entry).collect()
}
