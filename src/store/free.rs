//! Whether the name of an output is free.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::place::{OutputKind, PUBLISHED, exists, no_parent, partial_name, real_name, shown};
use super::remote;
use crate::bytes;
use crate::error::{Error, Result};

/// Says whether a run could start `output`, and touches nothing but what one that is over had no time to remove.
///
/// # Errors
/// `Usage` if something stands there that may not be replaced, or if there is no folder to put it in.
pub fn check_free(output: &Path, overwrite: bool, kind: OutputKind) -> Result<()> {
    let name = real_name(output)?;
    let parent = name.parent().unwrap_or(Path::new("/"));
    if !bytes::is_remote(&name)
        && let Err(e) = fs::metadata(parent)
        && e.kind() == ErrorKind::NotFound
    {
        return Err(no_parent(&name));
    }
    // What an earlier run of the same job has published is no obstacle to it, which is found out when it begins.
    if exists(&partial_name(&name).join(PUBLISHED)) {
        return Ok(());
    }
    refuse_taken(&name, overwrite, kind).inspect_err(|_| super::tidy(&name))
}

/// Refuses a name under which something stands that must stay.
pub(super) fn refuse_taken(name: &Path, overwrite: bool, kind: OutputKind) -> Result<()> {
    if bytes::is_remote(name) {
        return remote::refuse_taken(name, overwrite, kind);
    }
    let Ok(found) = fs::symlink_metadata(name) else { return Ok(()) };
    let refuse = |why: &str| Err(Error::usage(format!("{}: {why}", shown(name).display())));
    if found.is_dir() && matches!(kind, OutputKind::File) {
        return refuse("is a folder, which a file does not replace: choose another name");
    }
    if !overwrite {
        return refuse("exists already: choose another name or use --overwrite");
    }
    let empty = || fs::read_dir(name).is_ok_and(|mut entries| entries.next().is_none());
    match kind {
        OutputKind::Folder(replaceable) if found.is_dir() && !replaceable(name) && !empty() => refuse(
            "is a folder of other things, which --overwrite does not replace: remove it first or choose another name",
        ),
        _ => Ok(()),
    }
}
