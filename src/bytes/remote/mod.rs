//! Objects of stores and files of web servers, by their URLs: read in ranges, many at once, listed and sent.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

mod fetched;
mod spot;

pub(super) use fetched::{Object, read, state};
use fetched::{known, remember};
use spot::Spot;

/// Whether `path` is a URL of an object, not a path of a file system.
pub fn is_remote(path: &Path) -> bool {
    spot::parts(path).is_some()
}

/// Says that all of the object at `path`, of about `n_bytes`, will be read soon.
pub fn ask(path: &Path, n_bytes: u64) {
    fetched::ask(path, n_bytes);
}

/// Keys of up to `most` objects below `path` with their bytes, and whether these are all.
///
/// # Errors
/// What the server said; so for all others. `Unsupported` if it does not list.
pub fn below(path: &Path, most: usize) -> io::Result<(Vec<(String, u64)>, bool)> {
    let (objects, is_whole) = Spot::of(path)?.below(most)?;
    Ok((objects.into_iter().map(|(key, known)| (key, known.n_bytes)).collect(), is_whole))
}

/// Paths of all objects below `path`. What is known of each is remembered for when it is opened.
#[allow(clippy::missing_errors_doc)]
pub fn listed(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (objects, _) = Spot::of(path)?.below(usize::MAX - 1)?;
    let remembered = objects.into_iter().map(|(key, known)| {
        let path = path.join(key);
        remember(path.clone(), known);
        path
    });
    Ok(remembered.collect())
}

pub(super) fn entries(path: &Path) -> io::Result<Vec<(String, bool)>> {
    Spot::of(path)?.entries()
}

/// Size of the object at `path` in bytes, and when it was changed, in seconds since 1970.
pub(super) fn size_and_time(path: &Path) -> Option<(u64, u64)> {
    known(path).ok().map(|known| (known.n_bytes, known.changed))
}

/// The object at `path` as it is now, if there is one.
#[allow(clippy::missing_errors_doc)]
pub fn read_now(path: &Path) -> io::Result<Option<Vec<u8>>> {
    fetched::forget(path);
    match read(path, false) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}

/// Puts the bytes of `file` at `path`; they are seen when all are there.
#[allow(clippy::missing_errors_doc)]
pub fn send(path: &Path, file: &mut File) -> io::Result<()> {
    fetched::forget(path);
    Spot::of(path)?.send(file)
}

/// Removes the objects with these `keys` below `path`; what is not there is fine.
#[allow(clippy::missing_errors_doc)]
pub fn remove(path: &Path, keys: Vec<String>) -> io::Result<()> {
    Spot::of(path)?.remove(keys)
}
