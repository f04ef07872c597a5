//! Which of an array's chunks are stored, by the names of its files: no chunk is opened.

use std::path::Path;

use super::chain::StoredArray;
use crate::bytes;
use crate::error::{Error, Result};
use crate::grid::Grid;

/// Files that are looked at: listing more of them would take minutes.
const MOST_FILES: u64 = 1 << 20;
/// Remote objects that are listed, a thousand by one request.
const MOST_OBJECTS: usize = 20_000;
/// Positions that are kept.
const MOST_KEPT: usize = 256;

/// What lies in the folder of an array.
#[derive(Default)]
pub(super) struct Census {
    /// Objects, chunks or shards, that are stored.
    pub(super) n_stored: u64,
    /// Where the first of them are.
    pub(super) positions: Vec<Vec<u64>>,
    /// Files whose names are those of chunks that the array does not have: how many, and one of them.
    pub(super) unused: (u64, String),
    /// Whether all files were looked at.
    pub(super) is_whole: bool,
}

impl Census {
    /// Counts the objects of an array that is cut into those of `grid`.
    ///
    /// # Errors
    /// `Format` if chunks are absent and files lie there that are named as those of another separator; `Io` if the folder
    /// cannot be listed.
    pub(super) fn take(stored: &StoredArray, folder: &Path, grid: &Grid) -> Result<Self> {
        let (mut census, mut misnamed) = (Self::default(), None);
        let mut see = |key: String| {
            let Some(position) = position(&key, grid.counts().len()) else { return };
            let is_inside = position.iter().zip(grid.counts()).all(|(p, n)| p < n);
            if is_inside && stored.file(&position) == folder.join(&key) {
                census.n_stored += 1;
                if census.positions.len() <= MOST_KEPT {
                    census.positions.push(position);
                }
                return;
            }
            if is_inside {
                misnamed.get_or_insert((key.clone(), stored.file(&position)));
            }
            census.unused.0 += 1;
            census.unused.1 = key;
        };
        census.is_whole = match bytes::is_remote(folder) {
            true => each_object(folder, &mut see)?,
            false => each_file(folder, &mut see)?,
        };
        match misnamed.filter(|_| census.is_whole && census.n_stored < grid.len()) {
            Some((key, named)) => {
                let named = named.strip_prefix(folder).unwrap_or(&named).display().to_string();
                Err(Error::format(format!(
                    "holds chunks such as {key}, which by its metadata is called {named}: mend the separator of chunks there"
                )))
            }
            None => Ok(census),
        }
    }
}

/// Shows the key of every file of an array's folder that may be a chunk; says whether these are all.
fn each_file(folder: &Path, see: &mut dyn FnMut(String)) -> Result<bool> {
    let mut n_files = 0;
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((path, inside)) = open.pop() {
        for (name, is_folder) in bytes::entries(&path).map_err(|e| Error::io(&path, "cannot list", e))? {
            if !is_part(&name, &inside) {
                continue;
            }
            n_files += 1;
            if n_files > MOST_FILES {
                return Ok(false);
            }
            let key = format!("{inside}{name}");
            if is_folder {
                open.push((path.join(name), key + "/"));
            } else {
                see(key);
            }
        }
    }
    Ok(true)
}

/// The same of remote objects, where they can be listed in few requests.
fn each_object(folder: &Path, see: &mut dyn FnMut(String)) -> Result<bool> {
    match bytes::below(folder, MOST_OBJECTS) {
        Ok((keys, is_whole)) => {
            let is_chunk = |key: &String| is_part(key.split('/').next().unwrap_or_default(), "");
            keys.into_iter().map(|(key, _)| key).filter(is_chunk).for_each(see);
            Ok(is_whole)
        }
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => Ok(false),
        Err(e) => Err(Error::io(folder, "cannot list", e)),
    }
}

/// Whether a name is one of chunks; metadata are hidden, or have no number for a name.
fn is_part(name: &str, inside: &str) -> bool {
    name == "c" && inside.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || name.starts_with("c.")
}

/// The numbers in `c/0/1/2`, `0.1.2` and the like, if they are as many as there are axes.
fn position(key: &str, rank: usize) -> Option<Vec<u64>> {
    let numbers = key.strip_prefix("c").map_or(key, |rest| rest.trim_start_matches(['/', '.']));
    let numbers: Option<Vec<u64>> = numbers.split(['/', '.']).map(|n| n.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() == rank)
}
