//! Plans that are written down: the one of an output, by its name, and what of it is done and what has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::plan::{Document, Share};
use crate::store::Look;

/// How often a unit could not be done, and why the last time.
pub(super) type Failure = (u64, String);

/// Units that could not be done, now or ever.
pub(super) fn failures(document: &Document) -> Result<BTreeMap<u64, Failure>, Error> {
    Look::at(&document.outputs[0])?.map_or_else(|| Ok(BTreeMap::new()), |look| look.failed())
}

/// What of a share of the plan is done, in all of its outputs.
pub(super) fn done(document: &Document, share: Share) -> Result<BTreeSet<u64>, Error> {
    let mut done: Option<BTreeSet<u64>> = None;
    for output in &document.outputs {
        let own = Look::at_share(output, share)?.map_or_else(|| Ok(BTreeSet::new()), |look| look.done())?;
        done = Some(done.map_or_else(|| own.clone(), |done| &done & &own));
    }
    Ok(done.unwrap_or_default())
}

/// What was written down for `output`.
///
/// # Errors
/// `Complete` if it has its name already; `Usage` if there is no plan.
pub(super) fn find(output: &Path) -> Result<Document, Error> {
    let mut is_begun = false;
    for name in standing_for(output)? {
        let Some(look) = Look::at(&name)? else { continue };
        is_begun = true;
        if let Some(document) = look.plan()? {
            return Ok(document);
        }
    }
    let shown = output.display();
    if !is_begun && standing_for(output)?.iter().any(|name| name.exists()) {
        return Err(Error::Complete(format!("{shown}: is complete, nothing is left to do")));
    }
    Err(Error::usage(match is_begun {
        true => {
            format!("{shown}: one process has begun it, without a plan, and not ended it: the same command goes on")
        }
        false => format!("{shown}: there is no plan of it: make one with stackctl plan COMMAND ... -o {shown}"),
    }))
}

/// Where {op} stands in a name.
pub(super) const OPERATOR: &str = "{op}";

/// Outputs that are there, finished or not, and have the name `output` with an operator in its place; itself if it has
/// none.
fn standing_for(output: &Path) -> Result<Vec<PathBuf>, Error> {
    if !output.to_string_lossy().contains(OPERATOR) {
        return Ok(vec![output.to_owned()]);
    }
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).map_err(|e| Error::named("", folder, "cannot list", e))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names = names.map(|name| match name.strip_prefix('.').and_then(|name| name.strip_suffix(".partial")) {
        Some(unfinished) => unfinished.to_owned(),
        None => name,
    });
    let mut paths: Vec<PathBuf> = names.map(|name| folder.join(name)).filter(|path| stands_for(output, path)).collect();
    paths.sort();
    Ok(paths)
}

/// Whether `path` is `template` with an operator in its place.
pub(super) fn stands_for(template: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (template, path) = (name(template), name(path));
    let (before, after) = template.split_once(OPERATOR).unwrap_or((&template, ""));
    path.len() >= before.len() + after.len() && path.starts_with(before) && path.ends_with(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_an_operator_stand_for_those_with_one() {
        for (template, path, stands) in [
            ("a/out_{op}.npy", "out_mean.npy", true),
            ("out_{op}.npy", "out_.npy", true),
            ("out_{op}.npy", "out.npy", false),
            ("out_{op}.npy", "b/out_max.tif", false),
            ("{op}.zarr", "max.zarr", true),
        ] {
            assert_eq!(stands_for(Path::new(template), Path::new(path)), stands, "{template} {path}");
        }
    }
}
