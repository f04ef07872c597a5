//! Every object of an output against the checksum that was recorded with it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Checked, DamageKind, Sample, each};
use crate::error::{Error, Result};
use crate::store::sums::{self, CHECKSUMS, Signature, Sum, checksums_of};

/// Sums that wait to be checked.
const MOST_WAITING: usize = 256;

/// Checks the objects of the output at `place` by the checksums at the key `listed`, a `sample` of them on so many
/// `threads`.
///
/// # Errors
/// `Io` if folders cannot be listed.
pub fn objects(place: &Path, listed: &str, sample: &Sample, threads: usize) -> Result<Checked> {
    let mut checked = Checked::default();
    let path = place.join(listed);
    let mut known = HashSet::new();
    let read = sums::each(&path, |sum| {
        known.insert(hash(&sum.key));
        Ok(())
    });
    if let Err(e) = read {
        // Nothing that it says can be believed.
        let kind = if matches!(e, Error::Io { .. }) { DamageKind::Unreadable } else { DamageKind::Damaged };
        checked.fault(listed, kind, e.to_string());
        return Ok(checked);
    }
    strangers(place, listed, &known, &mut checked)?;
    let (sender, receiver) = sync_channel::<Sum>(MOST_WAITING);
    let all = Mutex::new(&mut checked);
    let listing = std::thread::scope(|scope| {
        let chosen = |sum: &Sum| sample.has(hash(&sum.key));
        let list = std::thread::Builder::new().spawn_scoped(scope, move || {
            sums::each(&path, |sum| {
                if chosen(&sum) {
                    sender.send(sum).map_err(Error::format)?;
                }
                Ok(())
            })
        });
        each(
            receiver.into_iter(),
            threads,
            || (),
            |sum, ()| {
                let found = object(place, &sum);
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                all.objects += 1;
                match found {
                    Ok(n_bytes) => all.bytes += n_bytes,
                    Err((kind, text)) => all.fault(&sum.key, kind, text),
                }
            },
        );
        let list = list.map_err(|e| Error::limit(format!("no thread can be had: {e}")))?;
        list.join().map_err(|_| Error::format("the checksums cannot be read"))?
    });
    listing?;
    Ok(checked)
}

/// Reads an object of the output at `place`; says how long it is.
///
/// # Errors
/// What is wrong with it.
pub fn object(place: &Path, sum: &Sum) -> Result<u64, (DamageKind, String)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match rustix::fs::open(place.join(&sum.key), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Err((DamageKind::Missing, "is not there".to_owned())),
        Err(Errno::LOOP) => return Err((DamageKind::Damaged, "is a link, which nobody wrote".to_owned())),
        Err(e) => return Err(unreadable(e.into())),
    };
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err((DamageKind::Damaged, "is no file".to_owned()));
    }
    if about.len() != sum.n_bytes {
        return Err((DamageKind::Length, format!("has {} bytes, was written with {}", about.len(), sum.n_bytes)));
    }
    let found = sums::summed(|buffer| file.read(buffer)).map_err(unreadable)?;
    as_written(found, (sum.crc, sum.n_bytes))
}

fn unreadable(e: std::io::Error) -> (DamageKind, String) {
    (DamageKind::Unreadable, format!("cannot be read: {e}"))
}

/// Number of bytes that have the checksum that they were written with.
fn as_written((crc, n_bytes): (u32, u64), wanted: (u32, u64)) -> Result<u64, (DamageKind, String)> {
    match (crc, n_bytes) == wanted {
        true => Ok(n_bytes),
        false => Err((DamageKind::Damaged, format!("has the checksum {crc:08x}, was written with {:08x}", wanted.0))),
    }
}

/// Checks the file at `path` by the checksum that it holds, if it has one.
///
/// # Errors
/// `Io` if it cannot be opened.
pub fn file(path: &Path) -> Result<Option<Checked>> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    let mut checked = Checked { objects: 1, ..Checked::default() };
    let found = match sums::signed(&mut file).map_err(unreadable) {
        Ok(Signature::Absent) => return Ok(None),
        Ok(Signature::Of(crc, n_bytes, blank)) => file.rewind().map_err(unreadable).and_then(|()| {
            let (mut file, mut at) = (file.take(n_bytes), 0);
            let read = |buffer: &mut [u8]| {
                let n = file.read(buffer)?;
                let inside = |place: u64| (place.clamp(at, at + n as u64) - at) as usize;
                buffer[inside(blank.start)..inside(blank.end)].fill(b' ');
                at += n as u64;
                Ok(n)
            };
            as_written(sums::summed(read).map_err(unreadable)?, (crc, n_bytes))
        }),
        Ok(Signature::Damaged) => {
            let text = "its checksum is damaged, or bytes before or behind it are lost or added";
            Err((DamageKind::Length, text.to_owned()))
        }
        Err(e) => Err(e),
    };
    match found {
        Ok(n_bytes) => checked.bytes = n_bytes,
        Err((kind, text)) => checked.fault("", kind, text),
    }
    Ok(Some(checked))
}

/// Finds what nobody wrote.
fn strangers(place: &Path, listed: &str, known: &HashSet<u64>, checked: &mut Checked) -> Result<()> {
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let at = place.join(&folder);
        for entry in fs::read_dir(&at).map_err(|e| Error::io(&at, "cannot list", e))? {
            let entry = entry.map_err(|e| Error::io(&at, "cannot list", e))?;
            let key = folder.join(entry.file_name());
            let kind = entry.file_type().map_err(|e| Error::io(&entry.path(), "cannot look at", e))?;
            let name = key.to_string_lossy().into_owned();
            if kind.is_dir() {
                // Labels and other images inside are outputs of their own.
                if checksums_of(&place.join(&key)).is_none() || name == "0" {
                    folders.push(key);
                }
            } else if name != listed && !known.contains(&hash(&name)) && !is_beside(&name) {
                checked.fault(&name, DamageKind::Foreign, "is there, but was not written with the rest".to_owned());
            }
        }
    }
    Ok(())
}

/// Whether it is a list that a later one has replaced, or describes a group of outputs inside this one.
fn is_beside(name: &str) -> bool {
    name == format!("0/{CHECKSUMS}")
        || ["zarr.json", ".zgroup", ".zattrs"].iter().any(|document| name == format!("labels/{document}"))
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
