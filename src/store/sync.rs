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

/// Objects at most that are open and wait for the disk.
const MAX_WAITING: u64 = 64;

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
    max_waiting: usize,
}

#[derive(Default)]
struct State {
    /// Jobs in the order they came, by number.
    queue: VecDeque<(u64, SyncJob)>,
    /// Numbers of jobs that are not done.
    unfinished: BTreeSet<u64>,
    n_jobs: u64,
    /// Records in the order they came, each with the number of jobs that must be done before.
    records: VecDeque<(u64, Vec<u8>)>,
    n_recorded: u64,
    /// Whether somebody writes the journal.
    is_recording: bool,
    failed: Option<Error>,
    is_ending: bool,
}

impl Syncer {
    pub(super) fn new(site: Arc<Site>) -> Self {
        let n_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let max_waiting = (n_files / 8).clamp(2, MAX_WAITING) as usize;
        let (state, changed, journal) = Default::default();
        Self { shared: Arc::new(Shared { site, state, changed, journal, max_waiting }), threads: Mutex::default() }
    }

    /// Takes a job; does it at once where nothing is to be made durable or no thread can be had.
    ///
    /// # Errors
    /// Of this job or an earlier one.
    pub(super) fn submit(&self, job: SyncJob) -> Result<()> {
        let shared = &*self.shared;
        let n_helpers = shared.site.disk.n_helpers();
        let alone =
            shared.site.durability == Durability::None && !shared.site.disk.is_far() || !self.has_helpers(n_helpers);
        let mut state = shared.state();
        if matches!(job, SyncJob::Hurry(..)) && (alone || state.unfinished.len() >= shared.max_waiting) {
            return Ok(());
        }
        while !alone && state.unfinished.len() >= shared.max_waiting && state.failed.is_none() {
            let wait = || shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state = profile::stage(Stage::Wait, 0, wait);
        }
        state.check()?;
        let number = state.n_jobs;
        state.n_jobs += 1;
        state.unfinished.insert(number);
        if alone {
            drop(state);
            shared.work(vec![(number, job)]);
            return shared.state().check();
        }
        state.queue.push_back((number, job));
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
        let after = state.n_jobs;
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
        !self.unfinished.is_empty() || !self.records.is_empty() || self.is_recording
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
    fn work(&self, jobs: Vec<(u64, SyncJob)>) {
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
        for (number, job) in jobs {
            match self.one(job, &mut renamed) {
                Ok(()) => done.push(number),
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
        state.unfinished.retain(|number| !done.contains(number));
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
        while !state.is_recording {
            let reached = state.unfinished.first().copied().unwrap_or(state.n_jobs);
            let n = state.records.iter().take_while(|(after, _)| *after <= reached).count();
            if n == 0 {
                break;
            }
            let mut taken = state.records.drain(..n).map(|(_, record)| record);
            let mut records = taken.next().unwrap_or_default();
            taken.for_each(|record| records.extend_from_slice(&record));
            state.is_recording = true;
            drop(state);
            let written = self.append(&records);
            state = self.state();
            state.is_recording = false;
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
