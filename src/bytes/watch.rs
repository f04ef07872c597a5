//! What files are at the moment: size, time of change and number of each, and of a folder those of what it holds.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::remote;
use crate::error::{Error, Result};

/// Files of a folder that are looked at one by one; of more the names must do, and of very many nothing.
const MOST_LOOKED_AT: u64 = 1 << 16;
const MOST_NAMED: u64 = 1 << 20;
/// Files that are named in a message.
const MOST_TOLD: usize = 5;

/// Inputs of a run, and what they were when it began.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    paths: Arc<Vec<PathBuf>>,
    states: Arc<Vec<u32>>,
}

impl Watch {
    /// The files, or folders that are arrays, at `paths` as they are now.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let states = paths.iter().map(|path| sum(path)).collect();
        Self { paths: Arc::new(paths), states: Arc::new(states) }
    }

    /// Takes in those of `other`.
    pub fn extend(&mut self, other: &Self) {
        Arc::make_mut(&mut self.paths).extend_from_slice(&other.paths);
        Arc::make_mut(&mut self.states).extend_from_slice(&other.states);
    }

    /// Where they are.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Refuses to go on where one is not what it was: what was read of it may be of two versions.
    ///
    /// # Errors
    /// `Format`, naming the files.
    pub fn check(&self) -> Result<()> {
        let changed = self.paths.iter().zip(&*self.states).filter(|(path, state)| sum(path) != **state);
        let mut changed = changed.map(|(path, _)| path);
        let told: Vec<String> =
            changed.by_ref().take(MOST_TOLD).map(|p| format!("\n  {}: {}", p.display(), state(p))).collect();
        if told.is_empty() {
            return Ok(());
        }
        let more = match changed.count() {
            0 => String::new(),
            n => format!("\n  and {n} more"),
        };
        Err(Error::format(format!(
            "inputs have changed while they were read, and pixels may be of two versions:{}{more}\n  run it again with \
             --restart when nothing writes to them any more",
            told.concat()
        )))
    }
}

fn sum(path: &Path) -> u32 {
    crc32c::crc32c(state(path).as_bytes())
}

/// `123 bytes, changed 1700000000.000000001, number 42`, and what a folder holds. A remote object stays what it was when
/// it was first looked at: all reads are of that version, or fail.
pub fn state(path: &Path) -> String {
    described(path, of_file)
}

/// The same, with the time of change of a file's status. That of its content can be set back, as some programs do that edit
/// tags; this one cannot.
pub fn full_state(path: &Path) -> String {
    described(path, |found| format!("{}, status of {}.{:09}", of_file(found), found.ctime(), found.ctime_nsec()))
}

fn described(path: &Path, of_file: impl FnOnce(&fs::Metadata) -> String) -> String {
    if remote::is_remote(path) {
        return remote::state(path);
    }
    let Ok(found) = fs::metadata(path) else { return "not there".to_owned() };
    if !found.is_dir() {
        return of_file(&found);
    }
    let mut all = Folder::default();
    match all.look(path, 0) {
        Ok(()) => format!("{} files, {:08x}", all.n_files, all.sum),
        Err(e) => e.to_string(),
    }
}

fn of_file(found: &fs::Metadata) -> String {
    let (seconds, nanoseconds, number) = (found.mtime(), found.mtime_nsec(), found.ino());
    format!("{} bytes, changed {seconds}.{nanoseconds:09}, number {number}", found.len())
}

/// What a folder holds, whatever order it is listed in.
#[derive(Default)]
struct Folder {
    n_files: u64,
    sum: u32,
}

impl Folder {
    /// Takes in what lies in `folder`, whose path has the checksum `above`; what is hidden is of no array, but for the
    /// metadata of Zarr v2.
    fn look(&mut self, folder: &Path, above: u32) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            if name.starts_with(b".") && !name.starts_with(b".z") || self.n_files >= MOST_NAMED {
                continue;
            }
            let key = crc32c::crc32c_append(above, &[b"/", name].concat());
            if entry.file_type()?.is_dir() {
                self.look(&entry.path(), key)?;
                continue;
            }
            self.n_files += 1;
            let about = if self.n_files > MOST_LOOKED_AT { String::new() } else { of_file(&entry.metadata()?) };
            self.sum = self.sum.wrapping_add(crc32c::crc32c_append(key, about.as_bytes()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (file, zarr) = (folder.path().join("a.tif"), folder.path().join("b.zarr"));
        fs::write(&file, "one").unwrap();
        fs::create_dir_all(zarr.join("0/c/0")).unwrap();
        fs::write(zarr.join("0/c/0/1"), "chunk").unwrap();
        let watch = Watch::new(vec![file.clone(), zarr.clone()]);
        watch.check().unwrap();
        let (states, time) = (watch.paths().to_vec(), fs::metadata(&file).unwrap().modified().unwrap());
        let changed = || Watch::check(&watch).unwrap_err().to_string();
        // Of the same length, and with the old time.
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert!(changed().contains("a.tif: 3 bytes") && !changed().contains("b.zarr"), "{}", changed());
        let watch = Watch::new(states);
        watch.check().unwrap();
        fs::write(zarr.join(".DS_Store"), "of nobody").unwrap();
        watch.check().unwrap();
        for change in ["0/c/0/2", "0/zarr.json", ".zarray"] {
            fs::write(zarr.join(change), "more").unwrap();
            assert!(watch.check().unwrap_err().to_string().contains("b.zarr"), "{change}");
            fs::remove_file(zarr.join(change)).unwrap();
            watch.check().unwrap();
        }
        fs::remove_file(zarr.join("0/c/0/1")).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(watch.check().unwrap_err().to_string().contains("a.tif: not there"));
    }
}
