//! What the headers of many files say, kept so that a file is opened again without reading them: files that are laid
//! out alike share one index.

use std::sync::Arc;

use super::FileIndex;

/// Memory that indexes may take, in bytes, unless somebody says otherwise.
const KEPT_BYTES: u64 = 16 << 20;
/// Indexes that a new one is compared with, the latest first.
const COMPARED: usize = 8;

/// Indexes of files, as many as there is room for.
#[derive(Clone)]
pub struct Indexes {
    different: Vec<Arc<dyn FileIndex>>,
    /// For every file, which of them is its own.
    of: Vec<Option<u32>>,
    held_bytes: u64,
    /// Memory for those that are kept, and as much again for those of files that are open.
    limit_bytes: u64,
}

impl Default for Indexes {
    fn default() -> Self {
        Self { different: Vec::new(), of: Vec::new(), held_bytes: 0, limit_bytes: KEPT_BYTES / 2 }
    }
}

impl Indexes {
    /// None so far, and room for them in a process that may use `limit_bytes`.
    pub fn within(limit_bytes: Option<u64>) -> Self {
        let kept_bytes = limit_bytes.map_or(KEPT_BYTES, |bytes| (bytes / 32).clamp(KEPT_BYTES, 16 * KEPT_BYTES));
        Self { limit_bytes: kept_bytes / 2, ..Self::default() }
    }

    /// Memory for the indexes that are kept, and as much again for those of files that are open, in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Those that a file may be like.
    pub(super) fn latest(&self) -> Vec<Arc<dyn FileIndex>> {
        self.different.iter().rev().take(COMPARED).map(Arc::clone).collect()
    }

    /// Finds the number of `index`, or keeps it under a new one where there is room.
    pub(super) fn number(&mut self, index: &Arc<dyn FileIndex>) -> Option<u32> {
        let mut known = self.different.iter().enumerate().rev().take(COMPARED);
        if let Some((number, _)) = known.find(|(_, known)| known.is_like(&**index)) {
            return Some(number as u32);
        }
        let bytes = index.held_bytes();
        if self.held_bytes.saturating_add(bytes) > self.limit_bytes {
            return None;
        }
        self.held_bytes += bytes;
        self.different.push(Arc::clone(index));
        Some(self.different.len() as u32 - 1)
    }

    /// Says which index the next file has.
    pub(super) fn push(&mut self, number: Option<u32>) {
        self.of.push(number);
    }

    /// The index of file number `file`, if it is kept.
    pub fn get(&self, file: u32) -> Option<&Arc<dyn FileIndex>> {
        let number = self.of.get(file as usize).copied().flatten()?;
        self.different.get(number as usize)
    }
}

impl std::fmt::Debug for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} indexes of {} files", self.different.len(), self.of.len())
    }
}
