//! Helpers that make objects durable and give them their keys, so that those who encode never wait for the disk
//! unless it falls far behind; and the journal, whose records follow when all they speak of is durable.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Resource, getrlimit};

use super::disk::Handle;
use super::journal::{Journal, Stored};
use super::{Durability, Site, resume};
use crate::error::{Error, Result};
use crate::profile::{self, Stage};

/// Jobs at most, and bytes, since the oldest that waits for the disk or for its record: a killed run does them once more.
const MAX_WAITING: u64 = 64;
const MAX_WAITING_BYTES: u64 = 1 << 30;

/// An open object that several may hold.
pub(super) type Open = Arc<Box<dyn Handle>>;

/// Something to do for an object.
pub(super) enum SyncJob {
    /// Make it durable and give it its key.
    Finish {
        /// The open object.
        object: Open,
        /// What it is called until then.
        temporary: String,
        /// What it will be called.
        key: String,
    },
    /// Make durable what has been written so far of an object that others go on writing.
    Sync(Open, String),
    /// Let the disk begin with so many bytes from there on.
    Hurry(Open, u64, u64),
    /// Read back what a unit has stored, and add it to those that are harmed if it is not what it was.
    Prove {
        /// The unit.
        unit: u64,
        /// What it stored.
        objects: Vec<Stored>,
        /// Units of which something has changed.
        harmed: Arc<Mutex<BTreeSet<u64>>>,
    },
}

/// The helpers of a store.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    site: Arc<Site>,
    state: Mutex<State>,
    changed: Condvar,
    journal: Mutex<Option<Journal>>,
    max_waiting: u64,
}

/// How far all has come: jobs, and the bytes that they are about.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Progress {
    n_jobs: u64,
    n_bytes: u64,
}

#[derive(Default)]
struct State {
    /// Jobs in the order they came, each with what came before it, which is its number too.
    queue: VecDeque<(Progress, SyncJob)>,
    /// Those that are not done.
    unfinished: BTreeSet<Progress>,
    taken: Progress,
    /// Records in the order they came, each with what must be done before.
    records: VecDeque<(Progress, Vec<u8>)>,
    n_recorded: u64,
    /// What had to be done before the first of the records that somebody is writing to the journal.
    recording: Option<Progress>,
    failed: Option<Error>,
    is_ending: bool,
}

impl Syncer {
    pub(super) fn new(site: Arc<Site>) -> Self {
        let n_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let max_waiting = (n_files / 8).clamp(2, MAX_WAITING);
        let (state, changed, journal) = Default::default();
        Self { shared: Arc::new(Shared { site, state, changed, journal, max_waiting }), threads: Mutex::default() }
    }

    /// Takes a job about `n_bytes` of an object; does it at once where nothing is to be made durable or no thread can be
    /// had.
    ///
    /// # Errors
    /// Of this job or an earlier one.
    pub(super) fn submit(&self, job: SyncJob, n_bytes: u64) -> Result<()> {
        let shared = &*self.shared;
        let n_helpers = shared.site.disk.n_helpers();
        let alone =
            shared.site.durability == Durability::None && !shared.site.disk.is_far() || !self.has_helpers(n_helpers);
        let mut state = shared.state();
        if matches!(job, SyncJob::Hurry(..)) && (alone || state.is_behind(shared.max_waiting)) {
            return Ok(());
        }
        while !alone && state.is_behind(shared.max_waiting) && state.failed.is_none() {
            let wait = || shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state = profile::stage(Stage::Wait, 0, wait);
        }
        state.check()?;
        let before = state.taken;
        state.taken = Progress { n_jobs: before.n_jobs + 1, n_bytes: before.n_bytes + n_bytes };
        state.unfinished.insert(before);
        if alone {
            drop(state);
            shared.work(vec![(before, job)]);
            return shared.state().check();
        }
        state.queue.push_back((before, job));
        drop(state);
        shared.changed.notify_all();
        Ok(())
    }

    /// Takes a record, to be written once all jobs so far are done and all earlier records are written.
    ///
    /// # Errors
    /// Of an earlier job.
    pub(super) fn record(&self, record: Vec<u8>) -> Result<()> {
        let mut state = self.shared.state();
        state.check()?;
        let after = state.taken;
        state.records.push_back((after, record));
        drop(state);
        self.shared.write_records();
        self.shared.state().check()
    }

    /// Does all there is to do, and ends the helpers.
    ///
    /// # Errors
    /// The first of any job.
    pub(super) fn finish(&self) -> Result<()> {
        self.shared.state().is_ending = true;
        self.shared.changed.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
        self.shared.write_records();
        self.shared.state().check()
    }

    /// Waits until all there is to do is done, and recorded.
    ///
    /// # Errors
    /// The first of any job.
    pub(super) fn settle(&self) -> Result<()> {
        let mut state = self.shared.state();
        while state.failed.is_none() && state.is_busy() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check()
    }

    /// Remembers a failure that ends the run.
    pub(super) fn fail(&self, e: &Error) {
        self.shared.state().failed.get_or_insert_with(|| again(e));
    }

    /// Records that are in the journal.
    pub(super) fn n_recorded(&self) -> u64 {
        self.shared.state().n_recorded
    }

    /// Whether there are helpers, which are started by the first object.
    fn has_helpers(&self, n: usize) -> bool {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < n {
            let shared = self.shared.clone();
            let builder = std::thread::Builder::new().name("sync".into()).stack_size(128 << 10);
            match builder.spawn(move || shared.help()) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        !threads.is_empty()
    }
}

impl State {
    fn is_busy(&self) -> bool {
        !self.unfinished.is_empty() || !self.records.is_empty() || self.recording.is_some()
    }

    /// How far all is done.
    fn done(&self) -> Progress {
        self.unfinished.first().copied().unwrap_or(self.taken)
    }

    /// Whether too much has come since the first job that is not done, or whose record is being written.
    fn is_behind(&self, max_waiting: u64) -> bool {
        let settled = self.recording.unwrap_or(self.taken).min(self.done());
        self.taken.n_jobs - settled.n_jobs >= max_waiting || self.taken.n_bytes - settled.n_bytes >= MAX_WAITING_BYTES
    }

    fn check(&self) -> Result<()> {
        self.failed.as_ref().map_or(Ok(()), |e| Err(again(e)))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the end.
    fn help(&self) {
        loop {
            let mut state = self.state();
            while state.queue.is_empty() && !state.is_ending {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.queue.is_empty() {
                return;
            }
            // A fair share of what waits: objects synced together cost the file system one commit.
            let n = state.queue.len().div_ceil(self.site.disk.n_helpers());
            let jobs = state.queue.drain(..n).collect();
            drop(state);
            self.work(jobs);
        }
    }

    /// Does some jobs, and writes the records that waited for them.
    fn work(&self, jobs: Vec<(Progress, SyncJob)>) {
        if self.site.durability != Durability::None && jobs.len() > 1 {
            for (_, job) in &jobs {
                if let SyncJob::Finish { object, .. } = job {
                    object.hurry(0, 0);
                }
            }
        }
        let mut renamed = BTreeSet::new();
        let mut done = vec![];
        let mut failed = None;
        for (before, job) in jobs {
            match self.one(job, &mut renamed) {
                Ok(()) => done.push(before),
                Err(e) => drop(failed.get_or_insert(e)),
            }
        }
        if self.site.durability == Durability::Full
            && let Err(e) = self.site.sync_folders(&renamed)
        {
            done.clear();
            failed.get_or_insert(e);
        }
        let mut state = self.state();
        // What failed stays unfinished, and no record that waits for it is written.
        state.unfinished.retain(|before| !done.contains(before));
        if let Some(e) = failed {
            state.failed.get_or_insert(e);
        }
        drop(state);
        self.changed.notify_all();
        self.write_records();
    }

    fn one(&self, job: SyncJob, renamed: &mut BTreeSet<String>) -> Result<()> {
        let site = &*self.site;
        let sync = |object: &Open| match site.durability {
            Durability::None => Ok(()),
            Durability::Data | Durability::Full => profile::stage(Stage::Sync, 0, || object.sync()),
        };
        match job {
            SyncJob::Hurry(object, offset, n_bytes) => object.hurry(offset, n_bytes),
            SyncJob::Prove { unit, objects, harmed } => {
                if !objects.iter().all(|object| resume::is_as_recorded(site, object)) {
                    harmed.lock().unwrap_or_else(PoisonError::into_inner).insert(unit);
                }
            }
            SyncJob::Sync(object, key) => sync(&object).map_err(|e| site.error(&key, "cannot write to disk", e))?,
            SyncJob::Finish { object, temporary, key } => {
                sync(&object).map_err(|e| site.error(&key, "cannot write to disk", e))?;
                // Who else still holds it makes it durable once more, and says then what went wrong.
                let closed = Arc::into_inner(object).map_or(Ok(()), |object| object.close());
                closed.map_err(|e| site.error(&key, "cannot write", e))?;
                site.check_held()?;
                site.disk.rename(&temporary, &key).map_err(|e| site.error(&key, "cannot name", e))?;
                renamed.insert(key);
            }
        }
        Ok(())
    }

    /// Writes the records whose turn has come, many at a time; one thread does it.
    fn write_records(&self) {
        let mut state = self.state();
        while state.recording.is_none() {
            let done = state.done();
            let n = state.records.partition_point(|(after, _)| *after <= done);
            let mut taken = state.records.drain(..n);
            let Some((first, mut records)) = taken.next() else { break };
            taken.for_each(|(_, record)| records.extend_from_slice(&record));
            state.recording = Some(first);
            drop(state);
            let written = self.append(&records);
            state = self.state();
            state.recording = None;
            self.changed.notify_all();
            match written {
                Ok(()) => state.n_recorded += n as u64,
                // What is torn there must stay the end of this journal.
                Err(e) => {
                    state.records.clear();
                    state.failed.get_or_insert(e);
                    break;
                }
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn append(&self, records: &[u8]) -> Result<()> {
        let (disk, durability) = (&*self.site.disk, self.site.durability);
        self.site.check_held()?;
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let appended: io::Result<()> = (|| {
            let journal = match &mut *journal {
                Some(journal) => journal,
                none => none.insert(Journal::start(disk, durability, self.site.share)?),
            };
            journal.append(records, durability)
        })();
        appended.map_err(|e| self.site.error("journal", "cannot write", e))
    }
}

/// An error once more, for whoever asks next.
fn again(e: &Error) -> Error {
    match e {
        Error::Io { path, action, source } => {
            let source = match source.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(source.kind(), source.to_string()),
            };
            Error::io(path, action, source)
        }
        other => Error::usage(other),
    }
}
