//! What an earlier run left, and which of it this one can go on with.
//!
//! A unit counts as done if a journal says so and every object it stored is there with its length, states with what was
//! recorded of them; before the output gets its name, all of them are read back. Units that share a growing object are
//! done together or not at all: where one is not, the object begins anew. What no unit that is done has stored is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use serde_json::Value;

use super::disk::read;
use super::journal::{self, Record, Stored, What};
use super::place::{OutputKind, UNFINISHED};
use super::{MANIFEST, OUTPUT, STATE, Site, Sum, Written};
use crate::error::Result;

/// A difference between the manifest of an earlier run and that of this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where: a JSON pointer, empty for the whole.
    pub key: String,
    /// What the earlier run had there.
    pub recorded: Option<Value>,
    /// What this one has.
    pub given: Option<Value>,
}

/// What can be gone on with.
#[derive(Default)]
pub(super) struct EarlierRun {
    /// Units that are done.
    pub(super) done: BTreeSet<u64>,
    /// Objects that have begun, and of which units that are done have written so much.
    pub(super) growing: BTreeMap<String, Sum>,
    /// Whole objects.
    pub(super) written: Written,
    pub(super) n_ignored_bytes: u64,
}

/// How the manifest differs from that of an earlier run, if there is one.
pub(super) fn compare(site: &Site, given: &Value) -> Result<Option<Vec<Change>>> {
    compare_with(site, MANIFEST, given)
}

/// How a document of the private place differs from what is `given`, if it is there.
pub(super) fn compare_with(site: &Site, key: &str, given: &Value) -> Result<Option<Vec<Change>>> {
    let text = match read(&*site.disk, key) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|e| site.error(key, "cannot read", e))?,
    };
    let mut changes = vec![];
    match serde_json::from_slice(&text) {
        Ok(recorded) => differ("", Some(&recorded), Some(given), &mut changes),
        Err(_) => changes.push(Change { key: String::new(), recorded: None, given: Some(given.clone()) }),
    }
    Ok(Some(changes))
}

fn differ(key: &str, recorded: Option<&Value>, given: Option<&Value>, changes: &mut Vec<Change>) {
    match (recorded, given) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for name in a.keys().chain(b.keys().filter(|name| !a.contains_key(*name))) {
                let name_in_pointer = name.replace('~', "~0").replace('/', "~1");
                differ(&format!("{key}/{name_in_pointer}"), a.get(name), b.get(name), changes);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for i in 0..a.len().max(b.len()) {
                differ(&format!("{key}/{i}"), a.get(i), b.get(i), changes);
            }
        }
        (a, b) if a == b => {}
        (a, b) => changes.push(Change { key: key.to_owned(), recorded: a.cloned(), given: b.cloned() }),
    }
}

/// Finds what is done, and removes what is not. For a share that is what it is to do itself, and nothing is removed: what
/// is not done may be in the hands of others.
pub(super) fn find(site: &Site, kind: OutputKind) -> Result<EarlierRun> {
    let (found, whole) = sift(site, kind, &BTreeSet::new()).map_err(|e| site.error("journal", "cannot read", e))?;
    if let (OutputKind::Folder(_), None) = (kind, site.share) {
        sweep(site, &found, &whole)?;
    }
    Ok(found)
}

/// Makes `units` undone, and those that cannot be without them.
pub(super) fn forget(site: &Site, kind: OutputKind, units: &BTreeSet<u64>) -> io::Result<()> {
    sift(site, kind, units).map(|_| ())
}

/// What is done without `harmed` units, and the hashes of the keys of all whole objects, in order.
fn sift(site: &Site, kind: OutputKind, harmed: &BTreeSet<u64>) -> io::Result<(EarlierRun, Vec<u64>)> {
    let (mut refused, mut broken) = (BTreeSet::new(), BTreeSet::new());
    // What is put into one file may have its place behind what was before.
    let is_harmed = |unit: &u64| match kind {
        OutputKind::File => harmed.first().is_some_and(|first| unit >= first),
        OutputKind::Folder(_) => harmed.contains(unit),
    };
    let mut is_first = true;
    // A unit that is not done takes those along that wrote the same objects, and they others.
    loop {
        let before = refused.len();
        journal::each(&*site.disk, site.share, |Record { unit, objects, .. }| {
            let mut fine = !is_harmed(&unit)
                && !refused.contains(&unit)
                && !objects.iter().any(|object| broken.contains(&object.key));
            if is_first {
                for object in &objects {
                    // States go into what this run makes.
                    let is_sound = || object.what != What::State || is_as_recorded(site, object);
                    fine = fine && is_there(site, object)? && is_sound();
                }
            }
            if !fine {
                refused.insert(unit);
                broken.extend(objects.into_iter().filter(|o| o.what == What::Piece).map(|o| o.key));
            }
            Ok(())
        })?;
        if refused.len() == before {
            break;
        }
        is_first = false;
    }
    let mut found = EarlierRun::default();
    let mut whole = vec![];
    let EarlierRun { done, growing, written, .. } = &mut found;
    let n_ignored_bytes = journal::each(&*site.disk, site.share, |Record { unit, objects, .. }| {
        if refused.contains(&unit) || !done.insert(unit) {
            return Ok(());
        }
        for object in objects {
            let end = object.end();
            match object.what {
                What::Whole => {
                    whole.push(hash(&object.key));
                    written.files += 1;
                    written.bytes += object.n_bytes;
                }
                What::Piece if object.key.is_empty() => {
                    written.files = 1;
                    written.bytes = written.bytes.max(end);
                }
                What::Piece => growing.entry(object.key).or_default().add(object.offset, object.n_bytes, object.crc),
                What::State => {}
            }
        }
        Ok(())
    })?;
    if !refused.is_empty() && site.share.is_none() {
        journal::forget(&*site.disk, site.durability, done)?;
    }
    whole.sort_unstable();
    found.growing.retain(|key, _| whole.binary_search(&hash(key)).is_err());
    found.n_ignored_bytes = n_ignored_bytes;
    Ok((found, whole))
}

/// Where an object lies that a unit stored; one that grows may not have its key yet.
fn places(Stored { key, what, .. }: &Stored) -> impl Iterator<Item = String> {
    let place = match what {
        What::State => format!("{STATE}/{key}"),
        What::Piece if key.is_empty() => OUTPUT.to_owned(),
        What::Piece | What::Whole => format!("{OUTPUT}/{key}"),
    };
    let growing = (*what == What::Piece && !key.is_empty()).then(|| format!("{place}{UNFINISHED}"));
    growing.into_iter().chain([place])
}

/// Whether an object that a unit stored is there, as long as it must be.
fn is_there(site: &Site, object: &Stored) -> io::Result<bool> {
    let end = Some(object.end());
    for place in places(object) {
        let length = site.disk.length(&place)?;
        if length == end || object.what == What::Piece && length > end {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an object that a unit stored reads as it was recorded.
pub(super) fn is_as_recorded(site: &Site, object: &Stored) -> bool {
    let Stored { offset, n_bytes, crc, runs, .. } = object;
    let opened = places(object).find_map(|place| site.disk.open(&place).ok());
    let Some(file) = opened else {
        // What was sent elsewhere is not fetched for this.
        return site.disk.is_far() && is_there(site, object).unwrap_or(false);
    };
    let (mut found, mut buffer) = (0, vec![0; 64 << 10]);
    for run in 0..runs.iter().map(|(n, _)| n).product() {
        let back =
            |(run, at): (u64, u64), (n, step): &(u64, i64)| (run / n, at.wrapping_add_signed((run % n) as i64 * step));
        let (_, mut at) = runs.iter().rev().fold((run, *offset), back);
        let end = at + n_bytes;
        while at < end {
            let piece = (end - at).min(buffer.len() as u64) as usize;
            match file.read_at(at, &mut buffer[..piece]) {
                Ok(n) if n > 0 => {
                    found = crc32c::crc32c_append(found, &buffer[..n]);
                    at += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                _ => return false,
            }
        }
    }
    found == *crc
}

/// Removes what no unit that is done has stored.
fn sweep(site: &Site, found: &EarlierRun, whole: &[u64]) -> Result<()> {
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let at = format!("{OUTPUT}{folder}");
        for entry in site.disk.list(&at).map_err(|e| site.error(&at, "cannot list", e))? {
            let key = format!("{folder}/{}", entry.name);
            if entry.is_folder {
                folders.push(key);
                continue;
            }
            let name = &key[1..];
            let begun = found.growing.contains_key(name.strip_suffix(UNFINISHED).unwrap_or(name));
            if !begun && whole.binary_search(&hash(name)).is_err() {
                let at = format!("{OUTPUT}{key}");
                site.disk.remove(&at).map_err(|e| site.error(&at, "cannot remove", e))?;
            }
        }
    }
    Ok(())
}

fn hash(key: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
