//! A place of objects as the place of an output, which nothing is renamed in.
//!
//! The private place of such an output lies in the current folder, with its journal, its locks, objects that grow and
//! all metadata. Every other object is sent under its name when it gets its key; metadata are sent at the end, that of
//! the whole output last: with it the output stands. So a run goes on only where it was begun, or from any machine that
//! sees that folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{self, Disk, Entry, Handle, Local};
use super::place::{self, UNFINISHED};
use super::{OUTPUT, OutputKind};
use crate::bytes;
use crate::error::{Error, Result};

/// Documents by one of which an output stands.
const MARKS: [&str; 3] = ["zarr.json", ".zgroup", ".zarray"];
/// Documents that are sent at the end.
const METADATA: [&str; 5] = ["zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata"];

/// What keeps the objects of the output `name`, whose private place is `local`.
pub(super) fn disk(local: Local, name: &Path) -> Arc<dyn Disk> {
    if !bytes::is_remote(name) {
        return Arc::new(local);
    }
    let (partial, name, sent) = (place::partial_name(name), name.to_owned(), Mutex::default());
    Arc::new(Remote { local, partial, name, sent })
}

/// Whether an output, remote or not, has its name.
pub(super) fn stands(name: &Path) -> bool {
    if bytes::is_remote(name) { mark(name).is_ok_and(|mark| mark.is_some()) } else { place::exists(name) }
}

/// The document by which an output stands, as it is now.
fn mark(name: &Path) -> io::Result<Option<Vec<u8>>> {
    MARKS.iter().find_map(|mark| bytes::read_now(&name.join(mark)).transpose()).transpose()
}

/// Refuses a name under which something stands that must stay.
pub(super) fn refuse_taken(name: &Path, overwrite: bool, kind: OutputKind) -> Result<()> {
    let refuse = |why: &str| Err(Error::usage(format!("{}: {why}", name.display())));
    let failed = |e| Error::io(name, "cannot look at", e);
    if matches!(kind, OutputKind::File) {
        return refuse("only Zarr is written there: write a file here and copy it");
    }
    if mark(name).map_err(failed)?.is_some() {
        return if overwrite { Ok(()) } else { refuse("exists already: choose another name or use --overwrite") };
    }
    if place::exists(&place::partial_name(name)) || bytes::below(name, 1).map_err(failed)?.0.is_empty() {
        return Ok(());
    }
    refuse(
        "objects lie there that are no whole Zarr: go on in the folder where they were begun, remove them or choose \
         another name",
    )
}

/// The private place, and the objects that were sent, with their bytes, once they have been listed.
struct Remote {
    local: Local,
    partial: PathBuf,
    name: PathBuf,
    sent: Mutex<Option<BTreeMap<String, u64>>>,
}

/// The key inside the output, if it is one of the output.
fn inside(key: &str) -> Option<&str> {
    key.strip_prefix(OUTPUT).and_then(|rest| if rest.is_empty() { Some("") } else { rest.strip_prefix('/') })
}

fn is_metadata(key: &str) -> bool {
    METADATA.contains(&key.rsplit('/').next().unwrap_or_default())
}

impl Remote {
    /// Does something with what was sent.
    fn sent<T>(&self, what: impl FnOnce(&mut BTreeMap<String, u64>) -> io::Result<T>) -> io::Result<T> {
        let mut sent: MutexGuard<'_, _> = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = &mut *sent {
            return what(sent);
        }
        let (listed, _) = bytes::below(&self.name, usize::MAX - 1)?;
        what(sent.insert(listed.into_iter().collect()))
    }

    /// Removes an output that is replaced, what it stands by first: it cannot stand beside the new one.
    fn remove_old(&self) -> io::Result<()> {
        self.sent(|sent| {
            if !MARKS.iter().any(|mark| sent.contains_key(*mark)) {
                return Ok(());
            }
            let keys = std::mem::take(sent).into_keys();
            let (marks, rest): (Vec<_>, Vec<_>) = keys.partition(|key| MARKS.contains(&key.as_str()));
            bytes::remove(&self.name, marks)?;
            bytes::remove(&self.name, rest)
        })
    }

    /// Sends the file at `key` of the private place, and removes it there.
    fn send(&self, from: &str, key: &str) -> io::Result<()> {
        let path = self.partial.join(from);
        let mut file = File::open(&path)?;
        bytes::send(&self.name.join(key), &mut file)?;
        let n_bytes = file.metadata()?.len();
        self.sent(|sent| Ok(_ = sent.insert(key.to_owned(), n_bytes)))
    }

    /// Brings an object back that is to be gone on with.
    fn bring_back(&self, key: &str, to: &str) -> io::Result<()> {
        let bytes = bytes::read_now(&self.name.join(key))?.ok_or(ErrorKind::NotFound)?;
        let object = self.local.create(to)?;
        object.write_at(0, &bytes)?;
        object.close()?;
        bytes::remove(&self.name, vec![key.to_owned()])?;
        self.sent(|sent| Ok(_ = sent.remove(key)))
    }

    /// Files of the output in the private place: metadata, each with those of what it describes before it.
    fn metadata(&self) -> io::Result<Vec<String>> {
        let (mut found, mut folders) = (vec![], vec![OUTPUT.to_owned()]);
        while let Some(folder) = folders.pop() {
            for Entry { name, is_folder } in self.local.list(&folder)? {
                let key = format!("{folder}/{name}");
                if is_folder { folders.push(key) } else { found.push(key) }
            }
        }
        let depth = |key: &String| key.matches('/').count();
        found.sort_by_key(|key| (std::cmp::Reverse(depth(key)), MARKS.iter().any(|mark| key.ends_with(mark))));
        Ok(found)
    }
}

impl Disk for Remote {
    fn create(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        if inside(key).is_some() {
            self.remove_old()?;
        }
        self.local.create(key)
    }

    fn open(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        self.local.open(key)
    }

    fn length(&self, key: &str) -> io::Result<Option<u64>> {
        match (self.local.length(key)?, inside(key)) {
            (None, Some(key)) => self.sent(|sent| Ok(sent.get(key).copied())),
            (length, _) => Ok(length),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let mut entries: BTreeSet<Entry> = self.local.list(folder)?.into_iter().collect();
        if let Some(folder) = inside(folder) {
            let before = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            self.sent(|sent| {
                let below = sent.range(before.clone()..).map_while(|(key, _)| key.strip_prefix(&before));
                entries.extend(below.map(|rest| match rest.split_once('/') {
                    Some((name, _)) => Entry { name: name.to_owned(), is_folder: true },
                    None => Entry { name: rest.to_owned(), is_folder: false },
                }));
                Ok(())
            })?;
        }
        Ok(entries.into_iter().collect())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        // What stands has been published, and only what made it is removed.
        if let Some(key) = inside(key)
            && (!key.is_empty() || mark(&self.name)?.is_none())
        {
            let below = format!("{key}/");
            let is_meant = |sent: &String| key.is_empty() || sent == key || sent.starts_with(&below);
            self.sent(|sent| {
                let meant: Vec<String> = sent.keys().filter(|sent| is_meant(sent)).cloned().collect();
                sent.retain(|sent, _| !is_meant(sent));
                if meant.is_empty() { Ok(()) } else { bytes::remove(&self.name, meant) }
            })?;
        }
        self.local.remove(key)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match (inside(from), inside(to)) {
            (_, Some(key)) if !is_metadata(key) && !to.ends_with(UNFINISHED) => {
                self.send(from, key)?;
                self.local.remove(from)
            }
            (Some(key), Some(_)) if self.local.length(from)?.is_none() => self.bring_back(key, to),
            _ => self.local.rename(from, to),
        }
    }

    fn identity(&self, key: &str) -> io::Result<Option<String>> {
        let document = match key {
            "" => mark(&self.name)?,
            OUTPUT => MARKS.iter().find_map(|mark| disk::read(&self.local, &format!("{OUTPUT}/{mark}")).ok()),
            other => return self.local.identity(other),
        };
        Ok(document.map(|document| format!("{:08x}", crc32c::crc32c(&document))))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        match self.local.sync_folder(folder) {
            Err(e) if e.kind() == ErrorKind::NotFound && inside(folder).is_some() => Ok(()),
            answer => answer,
        }
    }

    fn publish(&self, _: &str, replace: bool) -> io::Result<()> {
        if !replace && mark(&self.name)?.is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let metadata = self.metadata()?;
        metadata.iter().try_for_each(|from| self.send(from, inside(from).unwrap_or_default()))
    }

    fn settle(&self) -> io::Result<()> {
        Ok(())
    }

    fn n_helpers(&self) -> usize {
        32
    }

    fn is_far(&self) -> bool {
        true
    }
}
