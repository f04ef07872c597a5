//! Disks for tests: one in memory that can lose power, and one that fails when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, Entry, Handle};

/// A disk in memory, which knows what of it would outlive a power cut.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Tree>>);

/// Objects by key; what is published lies under the key `/`.
type Objects = BTreeMap<String, Arc<Mutex<Bytes>>>;

#[derive(Default)]
struct Tree {
    now: Objects,
    durable: Objects,
    published_from: String,
}

#[derive(Clone, Default)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// Key of what is published, and what stands before those of its objects.
const PUBLISHED: &str = "/";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `key` is `folder` or lies below it.
fn is_under(key: &str, folder: &str) -> bool {
    key.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder.ends_with('/'))
}

/// Folder of a key.
fn parent(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Memory {
    /// What is published: bytes by key, that of an output that is one file being empty.
    pub fn published(&self) -> BTreeMap<String, Vec<u8>> {
        let tree = lock(&self.0);
        let under = tree.now.iter().filter_map(|(key, bytes)| Some((key.strip_prefix(PUBLISHED)?, bytes)));
        under.map(|(key, bytes)| (key.to_owned(), lock(bytes).now.clone())).collect()
    }

    /// Keys of what is not published.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.0).now.keys().filter(|key| !key.starts_with(PUBLISHED)).cloned().collect()
    }

    /// Loses what was not made durable: names of folders that were not synced, bytes of objects that were not.
    pub fn lose_power(&self) {
        let mut tree = lock(&self.0);
        tree.now = tree.durable.clone();
        for object in tree.now.values_mut() {
            let durable = lock(object).durable.clone();
            *object = Arc::new(Mutex::new(Bytes { now: durable.clone(), durable }));
        }
        tree.durable = tree.now.clone();
    }

    /// Loses of what was not made durable what `reached` does not say, which is asked for every name and every object: the
    /// system may have written some of it, in any order.
    pub fn lose_power_but(&self, mut reached: impl FnMut() -> bool) {
        let mut tree = lock(&self.0);
        let (now, mut left) = (tree.now.clone(), tree.durable.clone());
        let is_named = |objects: &Objects| objects.keys().any(|key| key.starts_with(PUBLISHED));
        // A folder gets its name with what it holds by then.
        if is_named(&now) && !is_named(&left) && reached() {
            move_to_published(&mut left, &tree.published_from);
            left.extend(now.get(PUBLISHED).map(|file| (PUBLISHED.to_owned(), file.clone())));
        }
        for (key, object) in now.iter().filter(|(key, _)| !key.starts_with(PUBLISHED)) {
            if !left.get(key).is_some_and(|known| Arc::ptr_eq(known, object)) && reached() {
                left.insert(key.clone(), object.clone());
            }
        }
        left.retain(|key, _| key.starts_with(PUBLISHED) || now.contains_key(key) || !reached());
        for object in left.values_mut() {
            let Bytes { now, durable } = lock(object).clone();
            let bytes = if reached() { now } else { durable };
            *object = Arc::new(Mutex::new(Bytes { now: bytes.clone(), durable: bytes }));
        }
        tree.now = left.clone();
        tree.durable = left;
    }

    /// Makes durable which of the keys that `is_of` chooses there are.
    fn sync_names(&self, is_of: impl Fn(&str) -> bool) {
        let mut tree = lock(&self.0);
        let names: Vec<_> =
            tree.now.iter().filter(|(key, _)| is_of(key)).map(|(k, o)| (k.clone(), o.clone())).collect();
        tree.durable.retain(|key, _| !is_of(key));
        tree.durable.extend(names);
    }
}

impl Disk for Memory {
    fn create(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        let object = Arc::default();
        lock(&self.0).now.insert(key.to_owned(), Arc::clone(&object));
        Ok(Box::new(object))
    }

    fn open(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(lock(&self.0).now.get(key).ok_or(ErrorKind::NotFound)?.clone()))
    }

    fn length(&self, key: &str) -> io::Result<Option<u64>> {
        Ok(lock(&self.0).now.get(key).map(|object| lock(object).now.len() as u64))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let tree = lock(&self.0);
        let below = tree.now.keys().filter(|key| !key.starts_with(PUBLISHED)).filter_map(|k| k.strip_prefix(&prefix));
        let entries = below.map(|rest| match rest.split_once('/') {
            Some((name, _)) => Entry { name: name.to_owned(), is_folder: true },
            None => Entry { name: rest.to_owned(), is_folder: false },
        });
        Ok(entries.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        if !key.is_empty() {
            lock(&self.0).now.retain(|k, _| !is_under(k, key));
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut tree = lock(&self.0);
        let object = tree.now.remove(from).ok_or(ErrorKind::NotFound)?;
        tree.now.insert(to.to_owned(), object);
        Ok(())
    }

    fn identity(&self, key: &str) -> io::Result<Option<String>> {
        let key = if key.is_empty() { PUBLISHED } else { key };
        let tree = lock(&self.0);
        let all = tree.now.iter().filter_map(|(k, object)| Some((k, k.strip_prefix(key)?, object)));
        let all = all.filter(|(k, ..)| is_under(k, key));
        let parts = all.map(|(_, rest, object)| (rest.trim_start_matches('/').to_owned(), lock(object).now.clone()));
        let parts: Vec<_> = parts.collect();
        Ok((!parts.is_empty()).then(|| format!("{:08x}", crc32c::crc32c(format!("{parts:?}").as_bytes()))))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.sync_names(|key| !key.starts_with(PUBLISHED) && parent(key) == folder);
        Ok(())
    }

    fn publish(&self, key: &str, replace: bool) -> io::Result<()> {
        let mut tree = lock(&self.0);
        if !tree.now.keys().any(|k| is_under(k, key)) {
            return Err(ErrorKind::NotFound.into());
        }
        if !replace && tree.now.keys().any(|k| k.starts_with(PUBLISHED)) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        move_to_published(&mut tree.now, key);
        tree.published_from = key.to_owned();
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        let mut tree = lock(&self.0);
        let from = tree.published_from.clone();
        // A folder goes with the names in it that are durable; that of a file is durable by this.
        move_to_published(&mut tree.durable, &from);
        let file = tree.now.get(PUBLISHED).cloned();
        tree.durable.extend(file.map(|file| (PUBLISHED.to_owned(), file)));
        Ok(())
    }
}

/// Puts what lies at `key` or below it in place of what is published.
fn move_to_published(objects: &mut Objects, key: &str) {
    objects.retain(|k, _| !k.starts_with(PUBLISHED));
    let (moved, rest) = std::mem::take(objects).into_iter().partition(|(k, _)| is_under(k, key));
    let moved: Objects = moved;
    *objects = rest;
    let to = |from: &str| format!("{PUBLISHED}{}", from[key.len()..].trim_start_matches('/'));
    objects.extend(moved.into_iter().map(|(from, object)| (to(&from), object)));
}

impl Handle for Arc<Mutex<Bytes>> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let now = &mut lock(self).now;
        let end = offset as usize + bytes.len();
        now.resize(end.max(now.len()), 0);
        now[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let now = &lock(self).now;
        let rest = now.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(bytes.len());
        bytes[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn set_length(&self, n_bytes: u64) -> io::Result<()> {
        lock(self).now.resize(n_bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut bytes = lock(self);
        bytes.durable = bytes.now.clone();
        Ok(())
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// What a disk is asked to do, for choosing what fails.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskCall {
    Create,
    Open,
    Write,
    Read,
    SetLength,
    Sync,
    Close,
    Length,
    List,
    Remove,
    Rename,
    SyncFolder,
    Publish,
    Settle,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug)]
pub enum Injected {
    /// With this error number.
    Errno(i32),
    /// With no space left, after half of what was to be written; without a write, at once.
    Short,
}

/// A disk whose operations fail, one of them or all from one on.
#[derive(Clone)]
pub struct Faulty(Arc<Plan>);

struct Plan {
    disk: Arc<dyn Disk>,
    /// Which of the operations of the chosen kinds fail, counted from 0.
    first: u64,
    last: u64,
    kinds: Vec<DiskCall>,
    fault: Injected,
    count: AtomicU64,
}

impl Faulty {
    /// Operation `number` of those of `kinds` (of all if there are none), counted from 0, fails, and, if
    /// `for_good`, all after it.
    pub fn new(disk: Arc<dyn Disk>, number: u64, for_good: bool, kinds: &[DiskCall], fault: Injected) -> Self {
        let last = if for_good { u64::MAX } else { number };
        Self(Arc::new(Plan { disk, first: number, last, kinds: kinds.to_vec(), fault, count: AtomicU64::new(0) }))
    }

    /// Whether anything has failed.
    pub fn has_failed(&self) -> bool {
        self.0.count.load(Ordering::Relaxed) > self.0.first
    }
}

impl Plan {
    fn fault(&self, operation: DiskCall) -> Option<Injected> {
        if !self.kinds.is_empty() && !self.kinds.contains(&operation) {
            return None;
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        (self.first..=self.last).contains(&number).then_some(self.fault)
    }

    fn ask(&self, operation: DiskCall) -> io::Result<()> {
        self.fault(operation).map_or(Ok(()), |fault| Err(fault.error()))
    }
}

impl Injected {
    fn error(self) -> io::Error {
        match self {
            Self::Errno(code) => io::Error::from_raw_os_error(code),
            Self::Short => ErrorKind::StorageFull.into(),
        }
    }
}

impl Disk for Faulty {
    fn create(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        self.0.ask(DiskCall::Create)?;
        Ok(Box::new(FaultyHandle { plan: self.0.clone(), handle: self.0.disk.create(key)? }))
    }

    fn open(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        self.0.ask(DiskCall::Open)?;
        Ok(Box::new(FaultyHandle { plan: self.0.clone(), handle: self.0.disk.open(key)? }))
    }

    fn length(&self, key: &str) -> io::Result<Option<u64>> {
        self.0.ask(DiskCall::Length).and_then(|()| self.0.disk.length(key))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        self.0.ask(DiskCall::List).and_then(|()| self.0.disk.list(folder))
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.0.ask(DiskCall::Remove).and_then(|()| self.0.disk.remove(key))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.ask(DiskCall::Rename).and_then(|()| self.0.disk.rename(from, to))
    }

    fn identity(&self, key: &str) -> io::Result<Option<String>> {
        self.0.ask(DiskCall::Length).and_then(|()| self.0.disk.identity(key))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.0.ask(DiskCall::SyncFolder).and_then(|()| self.0.disk.sync_folder(folder))
    }

    fn publish(&self, key: &str, replace: bool) -> io::Result<()> {
        self.0.ask(DiskCall::Publish).and_then(|()| self.0.disk.publish(key, replace))
    }

    fn settle(&self) -> io::Result<()> {
        self.0.ask(DiskCall::Settle).and_then(|()| self.0.disk.settle())
    }
}

struct FaultyHandle {
    plan: Arc<Plan>,
    handle: Box<dyn Handle>,
}

impl Handle for FaultyHandle {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.plan.fault(DiskCall::Write) {
            None => self.handle.write_at(offset, bytes),
            Some(fault) => {
                if matches!(fault, Injected::Short) {
                    self.handle.write_at(offset, &bytes[..bytes.len() / 2])?;
                }
                Err(fault.error())
            }
        }
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.plan.ask(DiskCall::Read).and_then(|()| self.handle.read_at(offset, bytes))
    }

    fn set_length(&self, n_bytes: u64) -> io::Result<()> {
        self.plan.ask(DiskCall::SetLength).and_then(|()| self.handle.set_length(n_bytes))
    }

    fn hurry(&self, offset: u64, n_bytes: u64) {
        self.handle.hurry(offset, n_bytes);
    }

    fn sync(&self) -> io::Result<()> {
        self.plan.ask(DiskCall::Sync).and_then(|()| self.handle.sync())
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.plan.ask(DiskCall::Close).and_then(|()| self.handle.close())
    }
}
