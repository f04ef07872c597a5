//! The record of finished units: one file per process, which only grows, of checksummed records.
//!
//! The name of a file says of which share of a run its units are: who does one share reads no journals of others, of
//! which there may be thousands.
//!
//! A record is the lengths of its two parts and the CRC-32C of everything but itself (three little-endian
//! 32-bit numbers), then a JSON document, then the bytes that a caller keeps with the unit. The first record of
//! a file says who writes it. A file is believed up to its first record that is cut short or whose checksum
//! is wrong, and no further: what follows a wrong length cannot be found again, and a unit that is not believed
//! is only done once more, which is always right. How much was passed over is counted.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Durability;
use super::disk::{Disk, Handle};
use super::lock::Owner;
use crate::crc;
use crate::plan::Share;

/// Where the journals lie.
const FOLDER: &str = "journal";
/// Bytes before the parts of a record.
const HEAD_BYTES: usize = 12;
/// Most bytes of a part; a larger length is damage.
const MAX_PART_BYTES: u32 = 1 << 30;
/// Bytes that are asked for at a time: a damaged length is no reason to ask for a gigabyte.
const STEP_BYTES: usize = 1 << 20;

/// What an object is to the unit that stored it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A whole object of the output.
    Whole,
    /// Some bytes of an object that others write too.
    Piece,
    /// A partial state, which lies beside the output and ends with it.
    State,
}

/// Something stored, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its key; that of an output that is one file is empty.
    pub key: String,
    /// What it is.
    pub what: What,
    /// Where it begins in its object.
    pub offset: u64,
    /// Its bytes; where it lies apart, those of one run.
    pub n_bytes: u64,
    /// CRC-32C of them, of all runs one behind the other.
    pub crc: u32,
    /// How many runs there are of what lies apart and how far they are from one another, from the outermost to the
    /// innermost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<(u64, i64)>,
}

impl Stored {
    /// The end of what lies furthest back.
    pub fn end(&self) -> u64 {
        let back = |(n, step): &(u64, i64)| n.saturating_sub(1) * (*step).max(0) as u64;
        self.offset + self.runs.iter().map(back).sum::<u64>() + self.n_bytes
    }

    /// Adds it to `all`, as one with the last of them where it lies right behind.
    pub fn add_to(self, all: &mut Vec<Self>) {
        match all.last_mut() {
            Some(last)
                if last.what == What::Piece
                    && (self.what, &self.key) == (last.what, &last.key)
                    && last.runs.is_empty()
                    && self.runs.is_empty()
                    && last.end() == self.offset =>
            {
                last.crc = crc::joined(last.crc, self.crc, self.n_bytes);
                last.n_bytes += self.n_bytes;
            }
            _ => all.push(self),
        }
    }
}

/// A finished unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Its number in the plan.
    pub unit: u64,
    /// What it stored.
    pub objects: Vec<Stored>,
    /// What its caller keeps with it.
    pub state: Vec<u8>,
    /// What was read for it.
    pub account: Value,
}

/// Where a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    journal: Arc<str>,
    offset: u64,
}

/// Who wrote a journal, and how.
#[derive(Serialize, Deserialize)]
struct Head {
    owner: Owner,
    durability: Durability,
}

#[derive(Serialize, Deserialize)]
struct Unit<'a> {
    unit: u64,
    objects: std::borrow::Cow<'a, [Stored]>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    account: Value,
}

/// The journal of this process, growing.
pub(super) struct Journal {
    file: Box<dyn Handle>,
    n_bytes: u64,
}

impl Journal {
    /// Starts one, durable under its name where `durability` asks for it.
    pub(super) fn start(disk: &dyn Disk, durability: Durability, share: Option<Share>) -> io::Result<Self> {
        let owner = Owner::this();
        // No name of a process holds this sign.
        let of_share = share.map_or(String::new(), |Share { rank, n }| format!("{rank}_{n}_"));
        let id = owner.id();
        let name = |n: u32| format!("{FOLDER}/{of_share}{id}-{n}");
        // A process that goes on with its own work finds its own journal; its end may be torn.
        let mut n = 0;
        while disk.length(&name(n))?.is_some() {
            n += 1;
        }
        let mut journal = Self { file: disk.create(&name(n))?, n_bytes: 0 };
        journal.append(&frame(&Head { owner, durability }, &[])?, durability)?;
        if durability != Durability::None {
            disk.sync_folder(FOLDER)?;
            disk.sync_folder("")?;
        }
        Ok(journal)
    }

    /// Adds records, which are durable when it returns, where `durability` asks for it.
    pub(super) fn append(&mut self, records: &[u8], durability: Durability) -> io::Result<()> {
        self.file.write_at(self.n_bytes, records)?;
        self.n_bytes += records.len() as u64;
        if durability == Durability::None { Ok(()) } else { self.file.sync() }
    }
}

/// A record in bytes.
pub(super) fn encode(unit: u64, objects: &[Stored], state: &[u8], account: Value) -> io::Result<Vec<u8>> {
    frame(&Unit { unit, objects: objects.into(), account }, state)
}

fn frame(document: &impl Serialize, state: &[u8]) -> io::Result<Vec<u8>> {
    let document = serde_json::to_vec(document)?;
    let lengths = [document.len(), state.len()];
    if lengths.iter().any(|n| *n > MAX_PART_BYTES as usize) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a record may have 1 GiB: keep large states as objects",
        ));
    }
    let lengths = lengths.map(|n| (n as u32).to_le_bytes()).concat();
    let crc =
        [&document[..], state].iter().fold(crc32c::crc32c(&lengths), |crc, part| crc32c::crc32c_append(crc, part));
    Ok([&lengths[..], &crc.to_le_bytes(), &document, state].concat())
}

/// Shows every record of units of `share`, or of all; gives the bytes that were not believed.
///
/// A journal that promised nothing to the disk is not believed once its host has been started anew.
pub(super) fn each(
    disk: &dyn Disk,
    share: Option<Share>,
    mut show: impl FnMut(Record) -> io::Result<()>,
) -> io::Result<u64> {
    each_placed(disk, share, |_, record| show(record))
}

/// As [`each`], with the place of every record.
pub(super) fn each_placed(
    disk: &dyn Disk,
    share: Option<Share>,
    mut show: impl FnMut(RecordPlace, Record) -> io::Result<()>,
) -> io::Result<u64> {
    let share = share.unwrap_or(Share::WHOLE);
    let mut keys = keys(disk)?;
    keys.retain(|key| share_of(key).is_none_or(|other| other.meets(&share)));
    each_of(disk, &keys, |place, record| if share.has(record.unit) { show(place, record) } else { Ok(()) })
}

/// The share that the name of a journal tells.
fn share_of(key: &str) -> Option<Share> {
    let name = key.rsplit('/').next()?;
    let (rank, rest) = name.split_once('_')?;
    let n = rest.split_once('_')?.0;
    Some(Share { rank: rank.parse().ok()?, n: n.parse().ok().filter(|n| *n > 0)? })
}

/// The record at `place`, unless what is there cannot be believed.
pub(super) fn at(disk: &dyn Disk, place: &RecordPlace) -> io::Result<Option<Record>> {
    let mut reader = Reader { file: disk.open(&place.journal)?, at: place.offset };
    let found: Option<(Unit, _)> = reader.next()?;
    let record =
        |(Unit { unit, objects, account }, state)| Record { unit, objects: objects.into_owned(), state, account };
    Ok(found.map(record))
}

/// Keeps the records of some units only, each once: what was not believed once must not be believed later, when
/// its objects are there again in part.
pub(super) fn forget(disk: &dyn Disk, durability: Durability, keep: &BTreeSet<u64>) -> io::Result<()> {
    let old = keys(disk)?;
    let mut kept = Journal::start(disk, durability, None)?;
    let mut done = BTreeSet::new();
    each_of(disk, &old, |_, record| match keep.contains(&record.unit) && done.insert(record.unit) {
        true => {
            let Record { unit, objects, state, account } = record;
            kept.append(&encode(unit, &objects, &state, account)?, Durability::None)
        }
        false => Ok(()),
    })?;
    kept.append(&[], durability)?;
    old.iter().try_for_each(|key| disk.remove(key))?;
    if durability == Durability::None { Ok(()) } else { disk.sync_folder(FOLDER) }
}

fn keys(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let mut keys: Vec<String> = disk.list(FOLDER)?.iter().map(|entry| format!("{FOLDER}/{}", entry.name)).collect();
    keys.sort_unstable();
    Ok(keys)
}

fn each_of(
    disk: &dyn Disk,
    keys: &[String],
    mut show: impl FnMut(RecordPlace, Record) -> io::Result<()>,
) -> io::Result<u64> {
    let mut n_ignored_bytes = 0;
    for key in keys {
        let journal: Arc<str> = key.as_str().into();
        let mut reader = Reader { file: disk.open(key)?, at: 0 };
        let head: Option<(Head, _)> = reader.next()?;
        if head.is_some_and(|(head, _)| head.believed()) {
            let mut offset = reader.at;
            while let Some((Unit { unit, objects, account }, state)) = reader.next()? {
                let place = RecordPlace { journal: Arc::clone(&journal), offset };
                show(place, Record { unit, objects: objects.into_owned(), state, account })?;
                offset = reader.at;
            }
        }
        n_ignored_bytes += disk.length(key)?.unwrap_or(0).saturating_sub(reader.at);
    }
    Ok(n_ignored_bytes)
}

impl Head {
    fn believed(&self) -> bool {
        let (this, boot) = (Owner::this(), |place: &str| place.split(' ').next().unwrap_or_default().to_owned());
        self.durability != Durability::None
            || self.owner.host != this.host
            || boot(&self.owner.place) == boot(&this.place)
    }
}

/// Goes through a journal.
struct Reader {
    file: Box<dyn Handle>,
    at: u64,
}

impl Reader {
    /// The next record, unless what is there cannot be believed.
    fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<u8>)>> {
        let Some(head) = self.bytes(self.at, HEAD_BYTES)? else { return Ok(None) };
        let [document_bytes, state_bytes, crc] =
            [0, 4, 8].map(|i| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]));
        if document_bytes.max(state_bytes) > MAX_PART_BYTES {
            return Ok(None);
        }
        let (document_bytes, state_bytes) = (document_bytes as usize, state_bytes as usize);
        let Some(mut parts) = self.bytes(self.at + HEAD_BYTES as u64, document_bytes + state_bytes)? else {
            return Ok(None);
        };
        if crc32c::crc32c_append(crc32c::crc32c(&head[..8]), &parts) != crc {
            return Ok(None);
        }
        let Ok(document) = serde_json::from_slice(&parts[..document_bytes]) else { return Ok(None) };
        self.at += (HEAD_BYTES + parts.len()) as u64;
        Ok(Some((document, parts.split_off(document_bytes))))
    }

    /// So many bytes, unless the file ends before.
    fn bytes(&self, offset: u64, n_bytes: usize) -> io::Result<Option<Vec<u8>>> {
        let (mut bytes, mut end) = (vec![0; n_bytes.min(STEP_BYTES)], 0);
        while end < n_bytes {
            if end == bytes.len() {
                bytes.resize(n_bytes.min(end + STEP_BYTES), 0);
            }
            match self.file.read_at(offset + end as u64, &mut bytes[end..]) {
                Ok(0) => return Ok(None),
                Ok(n) => end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Some(bytes))
    }
}
