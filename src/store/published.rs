//! What is written down of an output that gets its name, so that a later run of the same job knows what is left to do.
//!
//! Of several outputs of one run each is announced before the first gets its name, and each has its name before the
//! first announcement is removed; that of the first output is removed last. So where the first has its name and its
//! announcement stands, all others are whole, and need their names at most.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::disk::{self, Local};
use super::place::{self, PUBLISHED};
use super::{Durability, MANIFEST, OUTPUT, OutputTerms, Site, claim, remote};
use crate::error::{Error, Result};

/// An output that has got its name, or is about to.
#[derive(Serialize, Deserialize)]
struct Published {
    identity: String,
    manifest: Arc<Value>,
    /// Names of all outputs that belong together, once all have theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    all: Vec<PathBuf>,
}

impl Site {
    /// Writes down that what is built here is about to get the name: it is whole.
    pub(super) fn announce(&self, manifest: &Arc<Value>) -> Result<()> {
        let identity = self.disk.identity(OUTPUT).map_err(|e| self.error(OUTPUT, "cannot look at", e))?;
        let identity = identity.unwrap_or_default();
        self.write(PUBLISHED, &Published { identity, manifest: Arc::clone(manifest), all: Vec::new() })?;
        if self.durability == Durability::None { Ok(()) } else { self.sync_folder("") }
    }

    fn announced(&self) -> Result<Option<Published>> {
        match disk::read(&*self.disk, PUBLISHED) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            text => Ok(serde_json::from_slice(&text.map_err(|e| self.error(PUBLISHED, "cannot read", e))?).ok()),
        }
    }

    fn is_at(&self, published: &Published, key: &str) -> Result<bool> {
        let identity = self.disk.identity(key).map_err(|e| Error::io(&self.name, "cannot look at", e))?;
        Ok(identity.as_ref() == Some(&published.identity))
    }

    /// The manifest by which what has the output's name was published from here, if it was and this run was not told of
    /// its end.
    pub(super) fn published(&self) -> Result<Option<Arc<Value>>> {
        let Some(published) = self.announced()? else { return Ok(None) };
        Ok(self.is_at(&published, "")?.then_some(published.manifest))
    }

    /// Whether what was built here got its name and then another, or was removed.
    pub(super) fn has_nothing_left(&self) -> Result<bool> {
        let error = |e| self.error("", "cannot look at", e);
        Ok(self.has(PUBLISHED)? && self.disk.identity(OUTPUT).map_err(error)?.is_none())
    }

    fn has(&self, key: &str) -> Result<bool> {
        Ok(self.disk.length(key).map_err(|e| self.error("", "cannot look at", e))?.is_some())
    }
}

/// Whether a run with the manifest of `terms` has given the output its name and ended before all was cleared up.
///
/// # Errors
/// `Io`.
pub fn has_name(terms: &OutputTerms) -> Result<bool> {
    let name = place::real_name(terms.output)?;
    let partial = place::partial_name(&name);
    let Ok(local) = Local::open(&partial, &name) else { return Ok(false) };
    let disk = remote::disk(local, &name);
    let site = Site::new(name, partial, disk, None, terms.durability, None);
    Ok(site.published()?.is_some_and(|manifest| !manifest.is_null() && manifest == terms.manifest))
}

/// Does what is left to do for an output that a run with the manifest of `terms` has announced: gives it its name, and
/// removes its private place. Says whether the output stands.
///
/// # Errors
/// `Usage` if another run has the place; `Io`.
pub fn conclude(terms: &OutputTerms) -> Result<bool> {
    let name = place::real_name(terms.output)?;
    let partial = place::partial_name(&name);
    if !place::exists(&partial) {
        return Ok(remote::stands(&name));
    }
    let (local, held) = claim(&name, &partial, false, terms.patience())?;
    let disk = remote::disk(local, &name);
    let site = Site::new(name, partial, disk, Some(&held), terms.durability, None);
    let stands = match &site.announced()? {
        // All had their names, and an earlier run was clearing up. Who begins anew writes a manifest first.
        None => !site.has(MANIFEST)? && remote::stands(&site.name),
        Some(announced) if announced.manifest != terms.manifest => false,
        Some(announced) if site.is_at(announced, "")? => true,
        Some(announced) if site.is_at(announced, OUTPUT)? => {
            site.give_name(terms.overwrite)?;
            true
        }
        Some(_) => false,
    };
    if stands && !terms.is_one_of_many {
        site.clear()?;
    }
    held.release(!stands);
    site.disk.remove("").map_err(|e| site.error("", "cannot remove", e))?;
    Ok(stands)
}

/// Removes what tells that each of `outputs`, which belong together, has got its name: all have.
///
/// # Errors
/// `Io`.
pub fn forget_all(outputs: &[PathBuf]) -> Result<()> {
    let names = outputs.iter().map(|output| place::real_name(output)).collect::<Result<Vec<_>>>()?;
    let Some((path, published)) = names.first().and_then(|first| read(first)) else { return Ok(()) };
    let text = serde_json::to_vec_pretty(&Published { all: names, ..published }).map_err(Error::format)?;
    place::replace(&path, &text)?;
    forget_the_rest(&outputs[0]).map(drop)
}

/// Goes on with [`forget_all`] where a process that had begun it with `first` has ended early. Says whether there was one.
///
/// # Errors
/// `Io`.
pub fn forget_the_rest(first: &Path) -> Result<bool> {
    let all = read(&place::real_name(first)?).map_or_else(Vec::new, |(_, published)| published.all);
    // The first tells of all others, and goes last.
    for name in all.iter().rev() {
        if is_announced(name) {
            place::forget(name)?;
        } else {
            // What a process leaves that ends between its last object and the folder.
            let partial = place::partial_name(name);
            place::remove_empty(&partial).map_err(|e| Error::io(&partial, "cannot remove", e))?;
        }
    }
    Ok(!all.is_empty())
}

fn read(name: &Path) -> Option<(PathBuf, Published)> {
    let path = place::partial_name(name).join(PUBLISHED);
    let published = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    Some((path, published))
}

/// Whether an output was announced and what tells it stands.
pub fn is_announced(output: &Path) -> bool {
    place::real_name(output).is_ok_and(|name| place::exists(&place::partial_name(&name).join(PUBLISHED)))
}
