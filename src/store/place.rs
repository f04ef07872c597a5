//! Where an output goes: its name and the private place beside it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::bytes;
use crate::error::{Error, Result};

/// What an output is.
#[derive(Clone, Copy, Debug)]
pub enum OutputKind {
    /// One file.
    File,
    /// A folder of files; says whether a folder that stands in its place is of a kind that may be replaced.
    Folder(fn(&Path) -> bool),
}

/// Moves what the folder `from` inside `folder` holds into `folder` itself, entries called `last` at the end and in their
/// order, and removes it; files take the place of older ones. Goes on where an earlier call was stopped. Gives whether
/// there was anything.
///
/// # Errors
/// `Io`.
pub fn adopt(folder: &Path, from: &str, last: &[&str]) -> Result<bool> {
    let place = folder.join(from);
    let entries = match fs::read_dir(&place) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let failed = |e| Error::io(&place, "cannot move what was added to its place", e);
    let mut names: Vec<OsString> = entries.map_err(failed)?.into_iter().map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| last.iter().position(|l| name == *l).map_or(0, |i| i + 1));
    for name in names {
        let is_last = last.iter().any(|l| name == *l);
        if is_last {
            // What it names is there for good before it is.
            sync(folder).map_err(failed)?;
        }
        fs::rename(place.join(&name), folder.join(&name)).map_err(failed)?;
    }
    fs::remove_dir(&place).and_then(|()| sync(folder)).map_err(failed)?;
    Ok(true)
}

/// Writes a file, or replaces it at one blow.
///
/// # Errors
/// `Io`.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replaced(path, |file| file.write_all(bytes).map_err(|e| Error::io(path, "cannot write", e)))
}

/// Writes a file as `write` does, and replaces what stood there when it is whole.
///
/// # Errors
/// `Io`, and those of `write`.
pub fn replaced(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(UNFINISHED);
    let temporary = PathBuf::from(temporary);
    let failed = |e| Error::io(path, "cannot write", e);
    let written = (|| {
        let mut file = io::BufWriter::new(fs::File::create(&temporary).map_err(failed)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.sync_all().and_then(|()| fs::rename(&temporary, path)).map_err(failed)
    })();
    written.inspect_err(|_| _ = fs::remove_file(&temporary))
}

/// Whether `path` is a file of these bytes.
pub fn holds(path: &Path, bytes: &[u8]) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == bytes.len() as u64) && fs::read(path).is_ok_and(|b| b == bytes)
}

/// Whether a run has begun `output` and not ended it.
pub fn is_begun(output: &Path) -> bool {
    real_name(output).is_ok_and(|name| exists(&partial_name(&name)))
}

/// Removes the private place of an output that has its name: what says so goes last, and then the folder, if nobody has begun
/// anew in it.
///
/// # Errors
/// `Io`.
pub fn forget(output: &Path) -> Result<()> {
    let partial = partial_name(output);
    let removed = || {
        for entry in fs::read_dir(&partial)? {
            let entry = entry?;
            if entry.file_name() != PUBLISHED {
                remove_all(&entry.path())?;
            }
        }
        remove_all(&partial.join(PUBLISHED))?;
        remove_empty(&partial)
    };
    match removed() {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(&partial, "cannot remove", e)),
        _ => Ok(()),
    }
}

/// Removes a folder that nothing lies in.
pub(super) fn remove_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Err(e),
        _ => Ok(()),
    }
}

/// Gives the folder `built` the name `output`; with `overwrite` what stands there goes first.
///
/// # Errors
/// `Io`.
pub fn put_in_place(built: &Path, output: &Path, overwrite: bool) -> Result<()> {
    let failed = |e| Error::io(output, "cannot give the output its name", e);
    let mut old = built.as_os_str().to_owned();
    old.push(".old");
    let old = PathBuf::from(old);
    if overwrite && exists(output) {
        remove_all(&old).map_err(failed)?;
        fs::rename(output, &old).map_err(failed)?;
    }
    sync(built).and_then(|()| fs::rename(built, output)).map_err(failed)?;
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(parent).and_then(|()| remove_all(&old)).map_err(failed)
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// The absolute name of an output; a link stands for what it points to, which is what is to be replaced.
pub(super) fn real_name(output: &Path) -> Result<PathBuf> {
    let no_name = || Error::usage(format!("'{}' cannot be the name of an output", output.display()));
    if output.file_name().is_none() {
        return Err(no_name());
    }
    if bytes::is_remote(output) {
        return Ok(PathBuf::from(output.to_string_lossy().trim_end_matches('/')));
    }
    let mut name = std::path::absolute(output).map_err(|e| Error::io(output, "cannot find", e))?;
    if fs::symlink_metadata(&name).is_ok_and(|m| m.is_symlink()) {
        name = fs::canonicalize(&name).map_err(|e| Error::io(output, "cannot follow the link", e))?;
    }
    // `absolute` keeps a trailing slash; a path rebuilt from its parts has none.
    let name: PathBuf = name.components().collect();
    if name.file_name().is_none() { Err(no_name()) } else { Ok(name) }
}

/// A name in the current folder for what belongs to the remote output `name`, or `name` itself if it is not remote.
pub(super) fn near(name: &Path) -> PathBuf {
    if !bytes::is_remote(name) {
        return name.to_owned();
    }
    let one_part = name.to_string_lossy().replace("://", "_").replace('/', "_");
    std::path::absolute(&one_part).unwrap_or_else(|_| PathBuf::from(one_part))
}

/// The private place of an unfinished output: `.NAME.partial` beside `name`, in the current folder if that is remote.
pub(super) fn partial_name(name: &Path) -> PathBuf {
    let name = &near(name);
    let mut file_name = OsString::from(".");
    file_name.push(name.file_name().unwrap_or_default());
    file_name.push(".partial");
    name.with_file_name(file_name)
}

pub(super) fn no_parent(name: &Path) -> Error {
    let (name, parent) = (shown(name), shown(name.parent().unwrap_or(Path::new("/"))));
    Error::usage(format!("{}: there is no folder {} to put it in: create it first", name.display(), parent.display()))
}

/// `name` as seen from the current folder, if it lies there.
pub(super) fn shown(name: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    here.and_then(|here| name.strip_prefix(here).ok().map(Path::to_owned)).unwrap_or_else(|| name.to_owned())
}

pub(super) fn not_shared(name: &Path) -> Error {
    Error::usage(format!(
        "{}: a run that was not shared out is unfinished: end it with the same command without a share",
        name.display()
    ))
}

pub(super) fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Removes a file, or a folder with all it holds; what is not there is fine.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

/// Refuses keys that could lead out of the output, or look like a name that the store gives.
pub(super) fn check_key(key: &str) -> Result<()> {
    let fine =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\n']) && !part.ends_with(UNFINISHED);
    if key.split('/').all(fine) { Ok(()) } else { Err(Error::usage(format!("'{key}' cannot be a key of an output"))) }
}

/// Key of what says that an output has got its name, until all else is removed.
pub(super) const PUBLISHED: &str = "published.json";
/// Ends the temporary name of every object.
pub(super) const UNFINISHED: &str = ".unfinished";
