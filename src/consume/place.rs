//! Where an output goes: its name, and the store that builds it once it has begun.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Job, Product};
use crate::error::{Error, Result};
use crate::store::{self, Begun, Change, Durability, OutputKind, OutputTerms, Start, Store};

/// An output that has a name.
pub struct Place {
    path: PathBuf,
    kind: OutputKind,
    overwrite: bool,
    durability: Durability,
    store: Option<Store>,
}

impl Place {
    /// What will be called `path`; `overwrite` replaces what stands there, at the end.
    pub fn new(path: &Path, kind: OutputKind, overwrite: bool, durability: Durability) -> Self {
        Self { path: path.to_owned(), kind, overwrite, durability, store: None }
    }

    /// What it will be called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is built, once it has begun.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Where it is built.
    ///
    /// # Errors
    /// `Usage` if it has not begun.
    pub fn open(&self) -> Result<&Store> {
        self.store().ok_or_else(|| Error::usage(format!("{}: was never begun", self.path.display())))
    }

    /// The same, to be changed.
    pub(super) fn store_mut(&mut self) -> Option<&mut Store> {
        self.store.as_mut()
    }

    /// Starts it, or goes on with it.
    ///
    /// # Errors
    /// As [`Store::begin`]; `Usage` if an earlier run was another job.
    pub fn begin(&mut self, job: &Job) -> Result<()> {
        match Store::begin(&self.terms(job))? {
            Begun::Ready(store) => self.store = Some(store),
            Begun::Published => {
                return Err(Error::Complete(format!(
                    "{}: was complete already; what the run that wrote it had no time to remove is removed",
                    self.path.display()
                )));
            }
            Begun::Changed(changes) => {
                return Err(Error::usage(format!(
                    "{}: an earlier run is unfinished that was another job:\n{}\n  give the same command as then, or \
                     begin anew with --restart",
                    self.path.display(),
                    differences(&changes)
                )));
            }
        }
        Ok(())
    }

    fn terms(&self, job: &Job) -> OutputTerms<'_> {
        let Self { overwrite, durability, kind, .. } = *self;
        let Job { start, share, is_one_of_many, .. } = *job;
        let manifest = Arc::clone(&job.manifest);
        OutputTerms {
            overwrite,
            durability,
            manifest,
            start,
            share,
            is_one_of_many,
            ..OutputTerms::new(&self.path, kind)
        }
    }

    /// Whether an earlier run of the same job has given it its name and ended before all was cleared up.
    ///
    /// # Errors
    /// `Io`.
    pub fn has_name(&self, job: &Job) -> Result<bool> {
        Ok(job.start == Start::Resume && store::has_name(&self.terms(job))?)
    }

    /// Does what such a run has left to do for it. Says whether it stands.
    ///
    /// # Errors
    /// As [`store::conclude`].
    pub fn conclude(&self, job: &Job) -> Result<bool> {
        store::conclude(&self.terms(job))
    }

    /// Leaves it to the other shares of the run.
    ///
    /// # Errors
    /// As [`Store::leave`].
    pub fn leave(&mut self) -> Result<()> {
        self.store.take().map_or(Ok(()), Store::leave)
    }

    /// Makes it whole and durable, and writes down that it is.
    ///
    /// # Errors
    /// As [`Store::publish`].
    pub fn announce(&mut self) -> Result<()> {
        self.store.as_mut().map_or(Ok(()), Store::announce)
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// As [`Store::publish`].
    pub fn give_name(&mut self) -> Result<()> {
        self.store.as_mut().map_or(Ok(()), Store::give_name)
    }

    /// Does what is left of both and clears up; says in its product what it takes.
    ///
    /// # Errors
    /// As [`Store::publish`].
    pub fn publish(&mut self, products: &mut [Product]) -> Result<()> {
        let Some(store) = self.store.take() else { return Ok(()) };
        let written = store.publish()?;
        if let [product, ..] = products {
            (product.files, product.bytes) = (written.files, written.bytes);
        }
        Ok(())
    }
}

/// A line for each of the first few differences.
pub(crate) fn differences(changes: &[Change]) -> String {
    const SHOWN: usize = 5;
    let value = |value: &Option<serde_json::Value>| match value {
        None => "nothing".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let line = |change: &Change| {
        let key = change.key.trim_start_matches('/').replace("~1", "/").replace("~0", "~");
        format!("  {key}: was {}, is {}", value(&change.recorded), value(&change.given))
    };
    let mut lines: Vec<String> = changes.iter().take(SHOWN).map(line).collect();
    if changes.len() > SHOWN {
        lines.push(format!("  and {} more differences", changes.len() - SHOWN));
    }
    lines.join("\n")
}
