//! Parts that are kept with their units, so that a run that goes on, or that ends what shares began, can put them
//! together.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;

use super::{Merger, Part, Product};
use crate::error::{Error, Result};
use crate::plan::Task;
use crate::store::{Record, RecordPlace, Store, Stored};

/// A part from this length on lies apart from its record.
const LARGE_BYTES: usize = 1 << 20;
/// In place of the length of such a part.
const APART: u64 = u64::MAX;

/// Parts of tasks as they are recorded: those of a unit one behind the other, each with its length in front, and large
/// ones as states beside the output.
pub(crate) struct Remembered<'a> {
    store: Option<&'a Store>,
    /// Of units that an earlier run has finished.
    places: BTreeMap<u64, RecordPlace>,
    /// Parts of the unit that is put together anew, those that are left.
    known: (u64, VecDeque<Known>),
    /// Of the unit in hand.
    unit: Vec<u8>,
    /// Those of its parts that lie apart.
    apart: Vec<Stored>,
}

/// A part that was recorded.
enum Known {
    Here(Vec<u8>),
    Apart(Stored),
}

impl<'a> Remembered<'a> {
    /// What `store` remembers, and will.
    ///
    /// # Errors
    /// `Io`; `Format` if a record is damaged.
    pub(crate) fn new(store: Option<&'a Store>) -> Result<Self> {
        let places = store.map_or_else(|| Ok(BTreeMap::new()), Store::record_places)?;
        Ok(Self { store, places, known: (0, VecDeque::new()), unit: Vec::new(), apart: Vec::new() })
    }

    /// Keeps the part of `task`, and records its unit if it is the last of it.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn keep(&mut self, task: &Task, part: &[u8]) -> Result<()> {
        let Some(store) = self.store else { return Ok(()) };
        if part.len() < LARGE_BYTES {
            self.unit.extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.unit.extend_from_slice(part);
        } else {
            self.unit.extend_from_slice(&APART.to_le_bytes());
            self.apart.push(store.keep(&format!("{}", task.index), part)?);
        }
        if task.ends_unit {
            store.record(task.unit, &take(&mut self.apart), &take(&mut self.unit))?;
        }
        Ok(())
    }

    /// The part of `task`, the next one of a unit that an earlier run has finished.
    ///
    /// # Errors
    /// `Format` if it is not there.
    pub(crate) fn part(&mut self, task: &Task) -> Result<Vec<u8>> {
        if let (Some(store), Some(place)) = (self.store, self.places.remove(&task.unit)) {
            self.known = (task.unit, split(store.record_at(&place)?)?);
        }
        let (unit, parts) = &mut self.known;
        let lacking = || Error::format(format!("the journal lacks task {}: use --restart to begin anew", task.index));
        match (parts.pop_front().filter(|_| *unit == task.unit), self.store) {
            (Some(Known::Here(part)), _) => Ok(part),
            (Some(Known::Apart(stored)), Some(store)) => {
                let part = store.kept(&stored.key)?;
                if crc32c::crc32c(&part) == stored.crc { Ok(part) } else { Err(lacking()) }
            }
            _ => Err(lacking()),
        }
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

/// The parts of a record.
fn split(Record { state, objects, .. }: Record) -> Result<VecDeque<Known>> {
    let (mut parts, mut bytes, mut apart) = (VecDeque::new(), &state[..], objects.into_iter());
    let cut_short = || Error::format("a record of the journal is cut short: use --restart to begin anew");
    while let Some((length, rest)) = bytes.split_first_chunk::<8>() {
        bytes = rest;
        let length = u64::from_le_bytes(*length);
        if length == APART {
            parts.push_back(Known::Apart(apart.next().ok_or_else(cut_short)?));
            continue;
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (part, rest) = bytes.split_at_checked(length).ok_or_else(cut_short)?;
        parts.push_back(Known::Here(part.to_vec()));
        bytes = rest;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::*;
    use crate::grid::Region;
    use crate::store::{OutputKind, OutputTerms, Start};

    #[test]
    fn large_parts_lie_apart_and_are_believed_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.npy");
        let (start, manifest) = (Start::Resume, Arc::new(serde_json::json!("job")));
        let terms = OutputTerms { start, manifest, ..OutputTerms::new(&output, OutputKind::File) };
        let open = || Store::begin(&terms).unwrap().ready().unwrap();
        let task =
            |index: u64| Task { index, unit: index / 2, ends_unit: index % 2 == 1, region: Region::new([index], [1]) };
        let parts = [vec![1; LARGE_BYTES + 1], vec![2; 5], vec![3; 7], vec![4; LARGE_BYTES]];
        let store = open();
        let mut remembered = Remembered::new(Some(&store)).unwrap();
        for (index, part) in (0..).zip(&parts) {
            remembered.keep(&task(index), part).unwrap();
        }
        drop(remembered);
        drop(store);
        let store = open();
        let mut remembered = Remembered::new(Some(&store)).unwrap();
        assert!((0..).zip(&parts).all(|(index, part)| remembered.part(&task(index)).unwrap() == *part));
        assert!(remembered.part(&task(4)).is_err());
        drop(remembered);
        drop(store);
        // A unit whose state has changed since is done once more.
        let kept = folder.path().join(".out.npy.partial/state/3");
        let mut bytes = fs::read(&kept).unwrap();
        bytes[77] ^= 1;
        fs::write(&kept, bytes).unwrap();
        assert!(open().done().iter().eq([&0]));
    }
}
