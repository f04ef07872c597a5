//! What inputs are at the moment, so that a later run can tell whether they have changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value};

use crate::bytes;
use crate::provenance::Input;

/// Entries that a fingerprint has at most; with more files, neighbours share one.
const MOST_ENTRIES: usize = 4096;

/// Size, times of change of content and status, and identity of every file, by name; of many files, a checksum of these
/// for a few neighbours together.
pub fn fingerprint(paths: &[PathBuf]) -> Value {
    let each = paths.len().div_ceil(MOST_ENTRIES).max(1);
    let entry = |group: &[PathBuf]| match group {
        [one] => (one.display().to_string(), bytes::full_state(one)),
        _ => {
            let crc = group.iter().fold(0, |crc, path| crc32c::crc32c_append(crc, bytes::full_state(path).as_bytes()));
            let last = group.last().map_or(String::new(), |path| path.display().to_string());
            (format!("{} to {last}", group[0].display()), format!("{crc:08x}"))
        }
    };
    let entries = paths.chunks(each).map(entry).map(|(name, state)| (name, Value::String(state)));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// Size and time of change of a file.
pub fn state(path: &Path) -> Input {
    if bytes::is_remote(path) {
        let (n_bytes, changed) = bytes::size_and_time(path).unzip();
        return Input { bytes: n_bytes, modified_unix_s: changed, ..Input::default() };
    }
    let found = fs::metadata(path).ok();
    let modified = found.as_ref().and_then(|found| found.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    Input { bytes: found.map(|found| found.len()), modified_unix_s: modified.map(|m| m.as_secs()), ..Input::default() }
}
