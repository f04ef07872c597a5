//! Several runs of one command whose outputs belong together, such as those of the values of `--by`: what an earlier
//! command had written of them is not written again.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::tell;
use crate::error::Error;
use crate::store;

/// The runs so far.
pub(super) struct Many {
    /// Whether there are several.
    is_many: bool,
    /// First output of each.
    outputs: Vec<PathBuf>,
}

impl Many {
    /// So many runs, unless they write `nothing` for good.
    pub(super) fn new(n_runs: usize, nothing: bool) -> Self {
        Self { is_many: n_runs > 1 && !nothing, outputs: Vec::new() }
    }

    /// Whether others belong to each.
    pub(super) fn is_many(&self) -> bool {
        self.is_many
    }

    /// Runs `run`, whose first output is `output`; gives nothing where an earlier command had written it.
    ///
    /// # Errors
    /// What `run` gives; [`Error::Complete`] if an earlier command had written them all.
    pub(super) fn one<T>(&mut self, output: &Path, run: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if !self.is_many {
            return run().map(Some);
        }
        if self.outputs.is_empty() && store::forget_the_rest(output)? {
            return Err(Error::Complete(format!(
                "{}: was complete already, and all that belong to it",
                output.display()
            ))
            .into());
        }
        self.outputs.push(output.to_owned());
        match run() {
            Err(e) if matches!(e.downcast_ref(), Some(Error::Complete(_))) => {
                tell(format_args!("{}: an earlier run has written it", output.display()));
                Ok(None)
            }
            ended => ended.map(Some),
        }
    }

    /// All have their names.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn finish(self) -> Result<()> {
        if self.is_many {
            store::forget_all(&self.outputs)?;
        }
        Ok(())
    }
}
