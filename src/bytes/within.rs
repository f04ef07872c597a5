//! Files that other files name: read only where the user has pointed to.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// Where `name` is, which metadata in `folder` name.
///
/// # Errors
/// `Usage` if it leads out of `folder`, by its parts or by links, and that is not to be `follow`ed.
pub fn within(folder: &Path, name: &str, follow: bool) -> Result<PathBuf> {
    let path = folder.join(name);
    if follow || is_plain(name) && !is_elsewhere(folder, &path) {
        return Ok(path);
    }
    let folder = folder.display();
    Err(Error::usage(format!("its metadata name '{name}', which lies outside of {folder}: --follow reads it there")))
}

fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Whether links lead from `folder` to elsewhere; what is not there leads nowhere.
fn is_elsewhere(folder: &Path, path: &Path) -> bool {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match (fs::canonicalize(folder), fs::canonicalize(path)) {
        (Ok(folder), Ok(path)) => !path.starts_with(folder),
        _ => false,
    }
}
