//! Parts that are kept with their units, so that a run that goes on, or that ends what shares began, can put them
//! together.

use std::collections::{BTreeMap, VecDeque};

use super::{Merger, Part, Product};
use crate::error::{Error, Result};
use crate::plan::Task;
use crate::store::{RecordPlace, Store};

/// Parts of tasks as they are recorded: those of a unit one behind the other, each with its length in front.
pub(crate) struct Remembered<'a> {
    store: Option<&'a Store>,
    /// Of units that an earlier run has finished.
    places: BTreeMap<u64, RecordPlace>,
    /// Parts of the unit that is put together anew, those that are left.
    known: (u64, VecDeque<Vec<u8>>),
    /// Of the unit in hand.
    unit: Vec<u8>,
}

impl<'a> Remembered<'a> {
    /// What `store` remembers, and will.
    ///
    /// # Errors
    /// `Io`; `Format` if a record is damaged.
    pub(crate) fn new(store: Option<&'a Store>) -> Result<Self> {
        let places = store.map_or_else(|| Ok(BTreeMap::new()), Store::record_places)?;
        Ok(Self { store, places, known: (0, VecDeque::new()), unit: Vec::new() })
    }

    /// Keeps the part of `task`, and records its unit if it is the last of it.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn keep(&mut self, task: &Task, part: &[u8]) -> Result<()> {
        let Some(store) = self.store else { return Ok(()) };
        self.unit.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.unit.extend_from_slice(part);
        if task.ends_unit {
            store.record(task.unit, &[], &std::mem::take(&mut self.unit))?;
        }
        Ok(())
    }

    /// The part of `task`, the next one of a unit that an earlier run has finished.
    ///
    /// # Errors
    /// `Format` if it is not there.
    pub(crate) fn part(&mut self, task: &Task) -> Result<Vec<u8>> {
        if let (Some(store), Some(place)) = (self.store, self.places.remove(&task.unit)) {
            self.known = (task.unit, split(&store.record_at(&place)?.state)?);
        }
        let (unit, parts) = &mut self.known;
        let part = if *unit == task.unit { parts.pop_front() } else { None };
        part.ok_or_else(|| Error::format(format!("the journal lacks task {}: use --restart to begin anew", task.index)))
    }
}

/// Keeps the parts of a share, for the run that puts those of all shares together.
pub(crate) struct Keeper<'a>(pub(crate) Remembered<'a>);

impl Merger for Keeper<'_> {
    fn merge(&mut self, task: &Task, part: Part) -> Result<()> {
        match part {
            Part::State(bytes) | Part::Bytes { bytes, .. } => self.0.keep(task, &bytes),
            _ => Err(Error::format("a part that cannot be kept")),
        }
    }

    fn skip(&mut self, _task: &Task) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<Product>> {
        Ok(Vec::new())
    }
}

/// Parts with their lengths in front.
fn split(mut bytes: &[u8]) -> Result<VecDeque<Vec<u8>>> {
    let mut parts = VecDeque::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((part, rest)) = rest.split_at_checked(length) else {
            return Err(Error::format("a record of the journal is cut short: use --restart to begin anew"));
        };
        parts.push_back(part.to_vec());
        bytes = rest;
    }
    Ok(parts)
}
