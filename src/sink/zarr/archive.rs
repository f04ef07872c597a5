//! A Zarr in one file: a zip archive of stored entries, written from its beginning to its end.
//!
//! Entries come in the order in which chunks are merged, so that no second copy is made and the bytes do not depend on
//! threads; the directory behind them names metadata first, as `.ozx` asks for. Zip64 where counts or offsets need it.
//!
//! Source: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5; RFC 9 of OME-NGFF.

use serde_json::json;

use super::ZarrFormat;
use super::array::{ArrayWriter, Container};
use crate::error::{Error, Result};
use crate::store::{Store, Stored};

/// Largest number that fields of the plain format hold.
const MOST_32: u64 = u32::MAX as u64;
/// Memory of an entry until the directory is written, in bytes.
const ENTRY_BYTES: u64 = 96;

/// An entry that is written.
struct Entry {
    key: String,
    crc: u32,
    n_bytes: u32,
    offset: u64,
}

/// An archive on its way.
#[derive(Default)]
pub(super) struct Archive {
    entries: Vec<Entry>,
    /// Bytes written so far.
    end: u64,
    /// Entries that are recorded.
    n_recorded: usize,
    /// What was written since then.
    fresh: Vec<Stored>,
}

impl Container for Archive {
    fn take(&mut self, store: &Store, array: &ArrayWriter, number: u64, bytes: &[u8]) -> Result<()> {
        self.put(store, &array.key(&array.chunks().unravel(number)), bytes)
    }
}

impl Archive {
    /// Memory of the directory of `n` entries.
    pub(super) fn held_bytes(n: u64) -> u64 {
        n.saturating_mul(ENTRY_BYTES).saturating_mul(2)
    }

    /// Adds an entry behind the others.
    ///
    /// # Errors
    /// `Io`; `Limit` if it has 4 GiB.
    pub(super) fn put(&mut self, store: &Store, key: &str, bytes: &[u8]) -> Result<()> {
        let n_bytes = u32::try_from(bytes.len()).ok().filter(|&n| n < u32::MAX);
        let n_bytes =
            n_bytes.ok_or_else(|| Error::limit(format!("{key}: an entry of an archive has at most 4 GiB")))?;
        let entry = Entry { key: key.to_owned(), crc: libdeflater::crc32(bytes), n_bytes, offset: self.end };
        let mut head = b"PK\x03\x04".to_vec();
        head.extend(entry.common());
        head.extend((key.len() as u16).to_le_bytes());
        head.extend(0u16.to_le_bytes());
        head.extend(key.as_bytes());
        store.put_at(self.end, &head)?.add_to(&mut self.fresh);
        store.put_at(self.end + head.len() as u64, bytes)?.add_to(&mut self.fresh);
        self.end += (head.len() + bytes.len()) as u64;
        self.entries.push(entry);
        Ok(())
    }

    /// What has been written since the last call, to be recorded, and its entries.
    pub(super) fn written(&mut self) -> (Vec<Stored>, Vec<u8>) {
        let mut state = Vec::new();
        for entry in &self.entries[self.n_recorded..] {
            state.extend((entry.key.len() as u32).to_le_bytes());
            state.extend(entry.key.as_bytes());
            state.extend(entry.crc.to_le_bytes());
            state.extend(entry.n_bytes.to_le_bytes());
            state.extend(entry.offset.to_le_bytes());
        }
        self.n_recorded = self.entries.len();
        (std::mem::take(&mut self.fresh), state)
    }

    /// Takes in entries that an earlier run has recorded.
    ///
    /// # Errors
    /// `Format` if the record is damaged.
    pub(super) fn add(&mut self, mut state: &[u8]) -> Result<()> {
        while !state.is_empty() {
            let entry = Entry::load(&mut state)
                .ok_or_else(|| Error::format("entries that were kept are damaged: use --restart"))?;
            self.end = self.end.max(entry.offset + 30 + entry.key.len() as u64 + u64::from(entry.n_bytes));
            self.entries.push(entry);
        }
        self.n_recorded = self.entries.len();
        Ok(())
    }

    /// Writes the directory.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn finish(mut self, store: &Store, format: ZarrFormat) -> Result<()> {
        // Metadata first, those of the root before others.
        let is_document =
            |key: &str| key.ends_with(".json") || key.rsplit('/').next().is_some_and(|n| n.starts_with('.'));
        self.entries.sort_by_key(|e| {
            (!is_document(&e.key), e.key.matches('/').count() * usize::from(is_document(&e.key)), e.offset)
        });
        let start = self.end;
        let mut bytes = Vec::new();
        for entry in &self.entries {
            entry.list(&mut bytes);
        }
        let (n, n_bytes, end) = (self.entries.len() as u64, bytes.len() as u64, start + bytes.len() as u64);
        if n >= 0xffff || start >= MOST_32 || n_bytes >= MOST_32 {
            bytes.extend(b"PK\x06\x06");
            bytes.extend(44u64.to_le_bytes());
            bytes.extend([45u16, 45].map(u16::to_le_bytes).concat());
            bytes.extend([0u32; 2].map(u32::to_le_bytes).concat());
            bytes.extend([n, n, n_bytes, start].map(u64::to_le_bytes).concat());
            bytes.extend(b"PK\x06\x07");
            bytes.extend(0u32.to_le_bytes());
            bytes.extend(end.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
        }
        let comment = match format {
            ZarrFormat::V3 => {
                json!({"ome": {"version": "0.5", "zipFile": {"centralDirectory": {"jsonFirst": true}}}}).to_string()
            }
            ZarrFormat::V2 => String::new(),
        };
        let few = n.min(0xffff) as u16;
        bytes.extend(b"PK\x05\x06");
        bytes.extend([0, 0, few, few].map(u16::to_le_bytes).concat());
        bytes.extend([n_bytes, start].map(|n| (n.min(MOST_32) as u32).to_le_bytes()).concat());
        bytes.extend((comment.len() as u16).to_le_bytes());
        bytes.extend(comment.as_bytes());
        store.put_at(start, &bytes).map(|_| ())
    }
}

impl Entry {
    /// Fields from the version that is needed to the two lengths, which both headers have.
    fn common(&self) -> Vec<u8> {
        // Stored, names in UTF-8, and no time: the first day that the format knows.
        let mut fields = [20u16, 1 << 11, 0, 0, 0x21].map(u16::to_le_bytes).concat();
        fields.extend([self.crc, self.n_bytes, self.n_bytes].map(u32::to_le_bytes).concat());
        fields
    }

    /// The entry in the directory.
    fn list(&self, bytes: &mut Vec<u8>) {
        let is_far = self.offset >= MOST_32;
        bytes.extend(b"PK\x01\x02");
        // Made by the same version, on Unix.
        bytes.extend((3u16 << 8 | 45).to_le_bytes());
        bytes.extend(self.common());
        let extra: u16 = if is_far { 12 } else { 0 };
        bytes.extend([self.key.len() as u16, extra, 0, 0, 0].map(u16::to_le_bytes).concat());
        bytes.extend((0o100_644u32 << 16).to_le_bytes());
        bytes.extend((self.offset.min(MOST_32) as u32).to_le_bytes());
        bytes.extend(self.key.as_bytes());
        if is_far {
            bytes.extend([1u16, 8].map(u16::to_le_bytes).concat());
            bytes.extend(self.offset.to_le_bytes());
        }
    }

    fn load(state: &mut &[u8]) -> Option<Self> {
        let mut next = |n: usize| {
            let (bytes, rest) = state.split_at_checked(n)?;
            *state = rest;
            Some(bytes)
        };
        let length = u32::from_le_bytes(next(4)?.try_into().ok()?) as usize;
        let key = String::from_utf8(next(length)?.to_vec()).ok()?;
        let crc = u32::from_le_bytes(next(4)?.try_into().ok()?);
        let n_bytes = u32::from_le_bytes(next(4)?.try_into().ok()?);
        let offset = u64::from_le_bytes(next(8)?.try_into().ok()?);
        Some(Self { key, crc, n_bytes, offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_far_back_is_found() {
        let entry = Entry { key: "0/c/1".into(), crc: 1, n_bytes: 2, offset: 5 << 32 };
        let mut bytes = Vec::new();
        entry.list(&mut bytes);
        assert_eq!(bytes.len(), 46 + 5 + 12);
        assert_eq!(bytes[42..46], [0xff; 4]);
        assert_eq!(bytes[bytes.len() - 8..], (5u64 << 32).to_le_bytes());
    }
}
