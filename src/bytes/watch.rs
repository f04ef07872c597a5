//! What files are at the moment: size, time of change and number of each, and of a folder those of what it holds. Each is
//! looked at once for all who want to know, and once more at the end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::archive;
use super::remote;
use crate::error::{Error, Result};
use crate::pool::Pool;

/// Files of a folder that are looked at one by one; of more the names must do, and of very many nothing.
const MOST_LOOKED_AT: u64 = 1 << 16;
const MOST_NAMED: u64 = 1 << 20;
/// Files that are named in a message.
const MOST_TOLD: usize = 5;
/// Entries that a fingerprint has at most; with more files, neighbours share one.
const MOST_ENTRIES: usize = 4096;
/// Files that are looked at together.
const BATCH: usize = 1024;

/// Inputs of a run, and what they were when it began or when its plan was made.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    paths: Arc<Vec<PathBuf>>,
    /// Of one list of files after the other; none before they were looked at.
    looks: Vec<Arc<Looks>>,
}

/// What files are to be, and what was seen of those that were looked at.
#[derive(Debug)]
struct Looks {
    /// Checksums of all that can be seen.
    sums: Vec<u64>,
    fingerprint: Map<String, Value>,
    seen: Vec<OnceLock<Seen>>,
}

/// What was seen of a file or folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Its size.
    pub bytes: Option<u64>,
    /// When it was changed last, in seconds since 1970.
    pub modified_unix_s: Option<u64>,
    /// Whether it is a folder of this machine.
    pub is_folder: bool,
    /// Checksum of its [`state`].
    sum: u32,
}

impl Watch {
    /// The files, or folders that are arrays, at `paths` as they are now.
    ///
    /// # Errors
    /// As of [`Watch::looked`].
    pub fn new(paths: Vec<PathBuf>) -> Result<Self> {
        Self::unseen(paths).looked(1)
    }

    /// Those at `paths`, without a look at them.
    pub fn unseen(paths: Vec<PathBuf>) -> Self {
        Self { paths: Arc::new(paths), looks: Vec::new() }
    }

    /// The same as they are now, looked at by `threads` threads.
    ///
    /// # Errors
    /// `Io` if one cannot be looked at; that one is not there is a state as well.
    pub fn looked(self, threads: usize) -> Result<Self> {
        let each = self.paths.len().div_ceil(MOST_ENTRIES).max(1);
        let mut looks = Looks { sums: Vec::with_capacity(self.paths.len()), fingerprint: Map::new(), seen: Vec::new() };
        let pool = Pool::new(threads, self.paths.len() / BATCH);
        let groups = self.paths.chunks(each * (BATCH / each).max(1)).flat_map(|batch| {
            let mut found = pool.each(batch, |path| look(path)).into_iter();
            batch.chunks(each).map(move |group| (group, found.by_ref().take(group.len()).collect::<Vec<_>>()))
        });
        for (group, found) in groups {
            let (mut crc, mut entry) = (0, String::new());
            for found in found {
                let (text, seen) = found?;
                crc = crc32c::crc32c_append(crc, text.as_bytes());
                looks.sums.push(crc32c::crc32c(text.as_bytes()).into());
                looks.seen.push(seen.into());
                entry = text;
            }
            let first = group[0].display();
            let (name, entry) = match group {
                [_] => (first.to_string(), entry),
                _ => (format!("{first} to {}", group[group.len() - 1].display()), format!("{crc:08x}")),
            };
            looks.fingerprint.insert(name, entry.into());
        }
        Ok(Self { looks: vec![Arc::new(looks)], ..self })
    }

    /// The same, which are to be what somebody has seen who tells their [`Watch::sums`] and [`Watch::fingerprint`]: this is
    /// found out of those that are read, by [`Watch::meet`].
    #[must_use]
    pub fn to_be(self, sums: Vec<u64>, fingerprint: Map<String, Value>) -> Self {
        let seen = self.paths.iter().map(|_| OnceLock::new()).collect();
        Self { looks: vec![Arc::new(Looks { sums, fingerprint, seen })], ..self }
    }

    /// Takes in those of `other`.
    pub fn extend(&mut self, other: &Self) {
        Arc::make_mut(&mut self.paths).extend_from_slice(&other.paths);
        self.looks.extend_from_slice(&other.looks);
    }

    /// Where they are.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Of each a checksum of all that can be seen of it.
    pub fn sums(&self) -> Vec<u64> {
        self.looks.iter().flat_map(|looks| &looks.sums).copied().collect()
    }

    /// Size, times of change of content and status, and identity of every file, by name; of many files, a checksum of these
    /// for a few neighbours together. For later runs to tell whether they have changed.
    ///
    /// # Errors
    /// As of [`Watch::looked`].
    pub fn fingerprint(&self) -> Result<Map<String, Value>> {
        let of = |watch: &Self| watch.looks.iter().flat_map(|looks| looks.fingerprint.clone()).collect();
        if self.looks.is_empty() { Ok(of(&self.clone().looked(1)?)) } else { Ok(of(self)) }
    }

    /// What was seen of the file of this number of the first list, if it was looked at.
    pub fn seen(&self, file: u32) -> Option<&Seen> {
        self.looks.first()?.seen[file as usize].get()
    }

    /// Those that were looked at, or the folders among them.
    pub fn met(&self, folders_alone: bool) -> Vec<PathBuf> {
        let is_wanted = |seen: &OnceLock<Seen>| seen.get().is_some_and(|s| s.is_folder || !folders_alone);
        self.all().filter(|(_, seen)| is_wanted(seen)).map(|(path, _)| path.clone()).collect()
    }

    /// Looks at a file before it is read, if nobody has looked at it yet.
    ///
    /// # Errors
    /// `Usage` if it is not what it is to be; `Io` if it cannot be looked at.
    pub fn meet(&self, file: u32) -> Result<()> {
        let Some(looks) = self.looks.first().filter(|_| self.seen(file).is_none()) else { return Ok(()) };
        let (path, file) = (&self.paths[file as usize], file as usize);
        let (text, seen) = look(path)?;
        if u64::from(crc32c::crc32c(text.as_bytes())) != looks.sums[file] {
            let path = path.display().to_string();
            let then = looks.fingerprint.get(&path).and_then(Value::as_str).map(|then| format!(" ({then})"));
            return Err(Error::usage(format!(
                "{path}: is not what it was when the plan was made{}, but {text}: plan anew with --restart",
                then.unwrap_or_default()
            )));
        }
        looks.seen[file].get_or_init(|| seen);
        Ok(())
    }

    /// Refuses to go on where one that was looked at is not what it was: what was read of it may be of two versions. They are
    /// looked at by `threads` threads.
    ///
    /// # Errors
    /// `Format`, naming the files.
    pub fn check(&self, threads: usize) -> Result<()> {
        let is_changed = |(path, seen): &(&PathBuf, &OnceLock<Seen>)| seen.get().is_some_and(|s| sum(path) != s.sum);
        let (pool, mut all) = (Pool::new(threads, self.paths.len() / BATCH), self.all().peekable());
        let batches = std::iter::from_fn(|| all.peek().is_some().then(|| all.by_ref().take(BATCH).collect::<Vec<_>>()));
        let mut changed = batches.flat_map(|batch| {
            let found = pool.each(&batch, is_changed);
            batch.into_iter().zip(found).filter(|(_, is_changed)| *is_changed).map(|((path, _), _)| path)
        });
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

    fn all(&self) -> impl Iterator<Item = (&PathBuf, &OnceLock<Seen>)> {
        self.paths.iter().zip(self.looks.iter().flat_map(|looks| &looks.seen))
    }
}

impl Seen {
    /// What is at `path` now.
    ///
    /// # Errors
    /// `Io` if it cannot be looked at.
    pub fn of(path: &Path) -> Result<Self> {
        look(path).map(|(_, seen)| seen)
    }
}

fn sum(path: &Path) -> u32 {
    crc32c::crc32c(state(path).as_bytes())
}

/// `123 bytes, changed 1700000000.000000001, number 42`, and what a folder holds. A remote object stays what it was when
/// it was first looked at: all reads are of that version, or fail.
fn state(path: &Path) -> String {
    seen_by(path).map_or_else(|e| e.to_string(), |(state, _)| state)
}

/// The same with the time of change of a file's status: that of its content can be set back, as some programs do that edit
/// tags; this one cannot.
fn look(path: &Path) -> Result<(String, Seen)> {
    let (state, found) = seen_by(path).map_err(|e| Error::io(path, "cannot look at", e))?;
    let sum = crc32c::crc32c(state.as_bytes());
    let Some(found) = found else {
        let (bytes, modified_unix_s) = remote::size_and_time(path).filter(|_| remote::is_remote(path)).unzip();
        return Ok((state, Seen { bytes, modified_unix_s, sum, is_folder: false }));
    };
    let is_folder = found.is_dir();
    let seen = Seen { bytes: Some(found.len()), modified_unix_s: found.mtime().try_into().ok(), is_folder, sum };
    let status = format!(", status of {}.{:09}", found.ctime(), found.ctime_nsec());
    Ok((if is_folder { state } else { state + &status }, seen))
}

fn seen_by(path: &Path) -> io::Result<(String, Option<fs::Metadata>)> {
    if remote::is_remote(path) {
        return Ok((remote::state(path)?, None));
    }
    let found = match fs::metadata(archive::file_of(path)) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(("not there".to_owned(), None));
        }
        found => found?,
    };
    if !found.is_dir() {
        return Ok((of_file(&found), Some(found)));
    }
    let mut all = Folder::default();
    all.look(path, 0)?;
    Ok((format!("{} files, {:08x}", all.n_files, all.sum), Some(found)))
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
        let watch = Watch::new(vec![file.clone(), zarr.clone()]).unwrap();
        watch.check(1).unwrap();
        let (states, time) = (watch.paths().to_vec(), fs::metadata(&file).unwrap().modified().unwrap());
        let changed = || Watch::check(&watch, 2).unwrap_err().to_string();
        // Of the same length, and with the old time.
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert!(changed().contains("a.tif: 3 bytes") && !changed().contains("b.zarr"), "{}", changed());
        let watch = Watch::new(states).unwrap();
        watch.check(1).unwrap();
        fs::write(zarr.join(".DS_Store"), "of nobody").unwrap();
        watch.check(1).unwrap();
        for change in ["0/c/0/2", "0/zarr.json", ".zarray"] {
            fs::write(zarr.join(change), "more").unwrap();
            assert!(watch.check(1).unwrap_err().to_string().contains("b.zarr"), "{change}");
            fs::remove_file(zarr.join(change)).unwrap();
            watch.check(1).unwrap();
        }
        fs::remove_file(zarr.join("0/c/0/1")).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(watch.check(1).unwrap_err().to_string().contains("a.tif: not there"));
    }
}
