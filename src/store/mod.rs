//! The one door to the disk: every byte of an output goes through a [`Store`], which alone writes, remembers and
//! publishes.
//!
//! An output is built in a private place beside its name, `.NAME.partial`, and gets its name when it is
//! complete and, by policy, durable. Until then nothing stands under the name, or what stood there before.
//! Units that are finished are recorded in a journal there; where a run ends early with units recorded the place
//! stays, and the next run with the same manifest goes on with it. One run at a time has the place.
//!
//! ```text
//! .NAME.partial/output      what will be called NAME: a folder of objects, or one file
//!               journal/    finished units, one file per process that worked on it
//!               failed/     units that could not be done, a note for each time
//!               state/      partial states, kept until the end
//!               manifest.json   what must be the same for a run to go on
//!               shared      if shares of a run write here
//!               plan.json   what they have in common, if a plan was made first
//!               known.json  what was found out for it: headers of inputs
//!               published.json  that the output has got its name, and by which manifest
//!               lock.N      who has it
//! ```
//!
//! The shares of one run have the place together: each finishes units of its own and writes a journal of its own, and
//! leaves; a run that has the place alone goes on with all that they have finished, and publishes.
//!
//! Each object is written under a temporary name, which ends in `.unfinished`, and renamed when its write, sync
//! and close have succeeded. What units write, the order in which they do and what a manifest holds is no
//! matter of the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::crc;
use crate::error::{Error, Result};
use crate::plan::Share;
use crate::profile::{self, Stage};

mod checkpoints;
pub mod disk;
mod free;
mod journal;
mod lock;
mod place;
mod published;
mod remote;
mod resume;
pub mod sums;
mod sync;
pub mod testing;

pub use checkpoints::Checkpoints;
use disk::{Disk, Handle, Local};
pub use free::check_free;
pub use journal::{Record, RecordPlace, Stored, What};
use lock::{HeldLock, Lock, Owner, Refused};
pub use lock::{Patience, common, scratch};
pub use place::{OutputKind, adopt, forget, holds, is_begun, put_in_place, replace, replaced};
use place::{PUBLISHED, UNFINISHED, check_key};
pub use published::{conclude, forget_all, forget_the_rest, has_name, is_announced};
pub use resume::Change;
use resume::EarlierRun;
use sums::Pieces;
use sync::{Open, SyncJob, Syncer};

/// Key of what will get the output's name.
const OUTPUT: &str = "output";
/// Key of the folder of partial states.
const STATE: &str = "state";
/// Key of the folder of what is said of units that failed.
const FAILED: &str = "failed";
/// Key of what must be the same for a run to go on.
const MANIFEST: &str = "manifest.json";
/// Key of what shares have in common.
const PLAN: &str = "plan.json";
/// Key of what was found out for the plan and need not be again.
const KNOWN: &str = "known.json";
/// Key of what says that the place is that of shares.
const SHARED: &str = "shared";
/// The disk is told to begin with this many bytes of a growing object at once: for less it takes longer to
/// tell than to wait.
const HURRY_BYTES: u64 = 256 << 10;
/// Objects whose checksums are sorted in memory at once.
const MOST_SORTED: usize = 1 << 15;

/// What must have reached the disk before a unit is recorded and an output gets its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Nothing: the system writes when it likes, and a power cut can leave an output with holes.
    None,
    /// All bytes, and at the end all names: a power cut leaves a whole output or none, loses nothing after
    /// the end of the run, and before it at most units whose names were on the way.
    #[default]
    Data,
    /// Names as well before a unit is recorded: a power cut loses no recorded unit.
    Full,
}

/// What a finished output takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Files of the output.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a run does with what an earlier one left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Removes it and begins anew.
    #[default]
    Anew,
    /// Goes on with it if the manifest is the same.
    Resume,
}

/// How an output is begun.
#[derive(Clone, Debug)]
pub struct OutputTerms<'a> {
    /// What it will be called.
    pub output: &'a Path,
    /// What it is.
    pub kind: OutputKind,
    /// Whether something that stands under the name is replaced, at the end.
    pub overwrite: bool,
    /// What must have reached the disk.
    pub durability: Durability,
    /// What to do with what an earlier run left.
    pub start: Start,
    /// What must be the same for a later run to go on with this one; with `Null` none does.
    pub manifest: Arc<Value>,
    /// When a holder of the lock is taken for dead.
    pub patience: Patience,
    /// Which units this does, if it does one of the shares of a run.
    pub share: Option<Share>,
    /// Whether other outputs belong to it that other runs write: what tells that it has got its name stays until
    /// [`forget_all`].
    pub is_one_of_many: bool,
}

impl<'a> OutputTerms<'a> {
    /// Anew, nothing replaced, with the default durability.
    pub fn new(output: &'a Path, kind: OutputKind) -> Self {
        Self {
            output,
            kind,
            overwrite: false,
            durability: Durability::default(),
            start: Start::Anew,
            manifest: Arc::default(),
            patience: Patience::default(),
            share: None,
            is_one_of_many: false,
        }
    }

    /// How its lock is held, as durable as all it stores.
    fn patience(&self) -> Patience {
        Patience { is_durable: self.durability != Durability::None, ..self.patience }
    }
}

/// What came of [`Store::begin`].
pub enum Begun {
    /// The output is under construction; units that an earlier run finished are [`Store::done`].
    Ready(Store),
    /// An earlier run was made with another manifest, and was left as it is.
    Changed(Vec<Change>),
    /// An earlier run with the same manifest has published the output; what it had left is removed now.
    Published,
}

impl Begun {
    /// The store, where no earlier run can be in the way.
    ///
    /// # Errors
    /// `Usage` that names what has changed.
    pub fn ready(self) -> Result<Store> {
        match self {
            Self::Ready(store) => Ok(store),
            Self::Published => Err(Error::Complete("was complete already".to_owned())),
            Self::Changed(changes) => {
                let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
                Err(Error::usage(format!("other settings than when it was begun: {}", keys.join(", "))))
            }
        }
    }
}

/// A name of this process that no other has, on this machine or others.
pub fn this_process() -> String {
    Owner::this().id()
}

/// What is found of an output that is not finished by one who only looks.
pub struct Look {
    site: Arc<Site>,
}

impl Look {
    /// At `output`; `None` if nothing of it is unfinished, which may have its name already.
    ///
    /// # Errors
    /// `Io`; `Usage` for a name that no output can have.
    pub fn at(output: &Path) -> Result<Option<Self>> {
        Self::at_share(output, Share::WHOLE)
    }

    /// The same, for the units of one share.
    ///
    /// # Errors
    /// As [`Look::at`].
    pub fn at_share(output: &Path, share: Share) -> Result<Option<Self>> {
        let name = place::real_name(output)?;
        let partial = place::partial_name(&name);
        let local = match Local::open(&partial, &name) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            local => local.map_err(|e| Error::io(&partial, "cannot open", e))?,
        };
        let disk = remote::disk(local, &name);
        let site = Site::new(name, partial, disk, None, Durability::None, Some(share));
        // It has its name, and what is left is being removed.
        Ok(if site.published()?.is_some() { None } else { Some(Self { site }) })
    }

    /// What its shares have in common, as [`Store::write_plan`] wrote it.
    ///
    /// # Errors
    /// `Io`, and `Format` if it is damaged.
    pub fn plan<T: serde::de::DeserializeOwned>(&self) -> Result<Option<T>> {
        self.document(PLAN)
    }

    /// What was known when the plan was made and need not be found out again.
    ///
    /// # Errors
    /// As [`Look::plan`].
    pub fn known(&self) -> Result<Option<Value>> {
        self.document(KNOWN)
    }

    fn document<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match disk::read(&*self.site.disk, key) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.site.error(key, "cannot read", e)),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| {
                Error::format(format!("{}: {e}: plan anew with --restart", self.site.partial.join(key).display()))
            }),
        }
    }

    /// Waits until nobody writes here. Of a process that was killed on another machine that is not known before it has
    /// given no sign of life for a minute.
    ///
    /// # Errors
    /// `Usage` if somebody does for longer; `Io`.
    pub fn wait(&self) -> Result<()> {
        let (begun, patience) = (Instant::now(), Patience::default());
        loop {
            match claim(&self.site.name, &self.site.partial, false, patience) {
                Ok((_, held)) => {
                    held.release(true);
                    return Ok(());
                }
                Err(Error::Usage(_)) if begun.elapsed() < patience.stale + patience.beat => {}
                Err(refused) => return Err(refused),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Units that have failed, how often, and what was said the last time.
    ///
    /// # Errors
    /// `Io`.
    pub fn failed(&self) -> Result<BTreeMap<u64, (u64, String)>> {
        let entries = self.site.disk.list(FAILED).map_err(|e| self.site.error(FAILED, "cannot list", e))?;
        let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        let mut failed: BTreeMap<u64, (u64, String)> = BTreeMap::new();
        for name in names {
            let Some(unit) = name.split('_').next().and_then(|unit| unit.parse().ok()) else { continue };
            let text = disk::read(&*self.site.disk, &format!("{FAILED}/{name}")).unwrap_or_default();
            let (n, last) = failed.entry(unit).or_default();
            (*n, *last) = (*n + 1, String::from_utf8_lossy(&text).into_owned());
        }
        Ok(failed)
    }

    /// Units that are done: recorded, and with all that they stored.
    ///
    /// # Errors
    /// `Io`.
    pub fn done(&self) -> Result<BTreeSet<u64>> {
        Ok(resume::find(&self.site, OutputKind::File)?.done)
    }
}

/// An output under construction: a folder of objects, or one file.
pub struct Store {
    site: Arc<Site>,
    syncer: Arc<Syncer>,
    held: Option<HeldLock>,
    overwrite: bool,
    manifest: Arc<Value>,
    found: Box<EarlierRun>,
    /// The output, if it is one file.
    file: Option<Open>,
    /// What was written of it.
    pieces: Mutex<Pieces>,
    growing: Mutex<Growing>,
    /// Whether other shares of the run write here too.
    is_share: bool,
    /// Whole objects that no record speaks of: length and checksum by key.
    loose: Arc<Mutex<Loose>>,
    /// What was read for units that are not recorded yet.
    accounts: Box<Mutex<BTreeMap<u64, Value>>>,
    /// What the output takes, once it is whole.
    written: Option<Written>,
    keeps_record: bool,
    is_over: bool,
}

type Loose = BTreeMap<String, (u64, u32)>;

/// Objects that grow, by key.
type Growing = HashMap<String, Weak<Box<dyn Handle>>>;

/// What all parts of a store need.
struct Site {
    name: PathBuf,
    partial: PathBuf,
    disk: Arc<dyn Disk>,
    durability: Durability,
    /// Whose records are of interest, if not all of them are.
    share: Option<Share>,
    lock: Option<Arc<Lock>>,
    /// Sets temporary names apart from those of other processes.
    id: String,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Site {
    fn new(
        name: PathBuf,
        partial: PathBuf,
        disk: Arc<dyn Disk>,
        held: Option<&HeldLock>,
        durability: Durability,
        share: Option<Share>,
    ) -> Arc<Self> {
        let lock = held.map(|held| held.lock().clone());
        let (files, bytes) = Default::default();
        Arc::new(Self { name, partial, disk, durability, share, lock, id: Owner::this().id(), files, bytes })
    }

    /// Makes the place ready for shares. The manifest, by which they know that it is, comes last.
    fn prepare(&self, terms: &OutputTerms) -> Result<()> {
        self.clear()?;
        let mut keys = vec![SHARED];
        if let OutputKind::File = terms.kind {
            keys.push(OUTPUT);
        }
        for key in keys {
            let made = self.disk.create(key).and_then(|object| object.close());
            made.map_err(|e| self.error(key, "cannot create", e))?;
        }
        self.write(MANIFEST, &terms.manifest)
    }

    fn error(&self, key: &str, action: &'static str, e: io::Error) -> Error {
        Error::io(&self.partial.join(key), action, e)
    }

    /// Refuses to go on where another run has taken over.
    fn check_held(&self) -> Result<()> {
        if self.lock.as_ref().is_none_or(|lock| lock.holds()) {
            return Ok(());
        }
        let name = self.name.display();
        Err(Error::usage(format!(
            "{name}: another run has taken it over, for this one gave no sign of life: let that one go on"
        )))
    }

    /// Makes the names of objects durable, and those of the folders above them.
    fn sync_folders(&self, keys: &BTreeSet<String>) -> Result<()> {
        let above = |key: &str| key.match_indices('/').map(|(i, _)| key[..i].to_owned()).collect::<Vec<_>>();
        let mut folders: BTreeSet<String> = keys.iter().flat_map(|key| above(key)).collect();
        folders.insert(String::new());
        // From below: a name is worth nothing without what it names.
        folders.iter().rev().try_for_each(|folder| self.sync_folder(folder))
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        self.disk.sync_folder(folder).map_err(|e| self.error(folder, "cannot write to disk", e))
    }

    /// Removes all that earlier runs left, but the locks: what would let a run go on first, and last what says that
    /// nothing is left to do.
    fn clear(&self) -> Result<()> {
        self.empty()?;
        self.remove(PUBLISHED)
    }

    /// Removes all but the locks and what says that nothing is left to do.
    fn empty(&self) -> Result<()> {
        let mut entries = self.disk.list("").map_err(|e| self.error("", "cannot list", e))?;
        entries.retain(|entry| !entry.name.starts_with("lock.") && entry.name != PUBLISHED);
        entries.sort_by_key(|entry| match entry.name.as_str() {
            MANIFEST => 0,
            "journal" => 1,
            _ => 2,
        });
        entries.iter().try_for_each(|entry| self.remove(&entry.name))
    }

    fn remove(&self, key: &str) -> Result<()> {
        self.disk.remove(key).map_err(|e| self.error(key, "cannot remove", e))
    }

    /// Writes a document of the private place, whole or not at all.
    fn write(&self, key: &str, document: &impl Serialize) -> Result<()> {
        let temporary = format!("{key}.{}{UNFINISHED}", self.id);
        let written: io::Result<()> = (|| {
            let file = self.disk.create(&temporary)?;
            file.write_at(0, &serde_json::to_vec_pretty(document)?)?;
            if self.durability != Durability::None {
                file.sync()?;
            }
            file.close()?;
            self.disk.rename(&temporary, key)
        })();
        written.map_err(|e| self.error(key, "cannot write", e))
    }

    /// Gives what is built its name, durable by policy.
    fn give_name(&self, overwrite: bool) -> Result<()> {
        self.disk.publish(OUTPUT, overwrite).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => Error::usage(format!(
                "{}: something else has appeared under this name: choose another or use --overwrite",
                self.name.display()
            )),
            _ => Error::io(&self.name, "cannot give the output its name", e),
        })?;
        match self.durability {
            Durability::None => Ok(()),
            _ => self.disk.settle().map_err(|e| stands(&self.name, Error::io(&self.name, "", e))),
        }
    }

    /// Counts the files of a folder with all below, and makes their names durable if asked to.
    fn settle_folder(&self, folder: &str) -> Result<u64> {
        let mut n_files = 0;
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = self.disk.list(&folder).map_err(|e| self.error(&folder, "cannot list", e))?;
            if self.durability != Durability::None && !entries.is_empty() {
                self.sync_folder(&folder)?;
            }
            for entry in entries {
                match entry.is_folder {
                    true => folders.push(format!("{folder}/{}", entry.name)),
                    false => n_files += 1,
                }
            }
        }
        Ok(n_files)
    }
}

impl Store {
    /// Begins an output anew: a folder of objects that will be called `output`.
    ///
    /// `replaceable` says whether a folder that already stands there is of a kind that may be replaced; it
    /// is asked with `overwrite` only.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub fn folder(
        output: &Path,
        overwrite: bool,
        durability: Durability,
        replaceable: fn(&Path) -> bool,
    ) -> Result<Self> {
        Self::begin(&OutputTerms {
            overwrite,
            durability,
            ..OutputTerms::new(output, OutputKind::Folder(replaceable))
        })?
        .ready()
    }

    /// Begins an output anew: one file that will be called `output`, to be written by [`Store::put_at`].
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub fn file(output: &Path, overwrite: bool, durability: Durability) -> Result<Self> {
        Self::begin(&OutputTerms { overwrite, durability, ..OutputTerms::new(output, OutputKind::File) })?.ready()
    }

    /// Begins an output, or goes on with it.
    ///
    /// # Errors
    /// `Usage` if something stands there that may not be replaced, or if another run is writing it; `Io` if the
    /// place cannot be written.
    pub fn begin(terms: &OutputTerms) -> Result<Begun> {
        let name = place::real_name(terms.output)?;
        let partial = place::partial_name(&name);
        if terms.share.is_some() {
            free::refuse_taken(&name, terms.overwrite, terms.kind)?;
            return Self::join(name, partial, terms);
        }
        if !place::exists(&partial.join(PUBLISHED)) {
            free::refuse_taken(&name, terms.overwrite, terms.kind).inspect_err(|_| tidy(&name))?;
        }
        let (local, held) = claim(&name, &partial, false, terms.patience())?;
        local.put_back().map_err(|e| Error::io(&name, "cannot put the old output back", e))?;
        let disk = remote::disk(local, &name);
        Self::start(name, partial, disk, Some(held), terms)
    }

    /// Begins a share of a run, in the place that the first of them has prepared.
    fn join(name: PathBuf, partial: PathBuf, terms: &OutputTerms) -> Result<Begun> {
        let begun = Instant::now();
        loop {
            let refused = match Self::join_once(&name, &partial, terms) {
                Ok(Some(begun)) => return Ok(begun),
                Ok(None) => continue,
                Err(refused) => refused,
            };
            // Of those that find nothing, one prepares the place: it has it alone, but not for long.
            if !matches!(refused, Error::Usage(_)) || begun.elapsed() > PREPARED_AFTER {
                return Err(refused);
            }
            std::thread::sleep(Duration::from_millis(5 + u64::from(std::process::id() % 40)));
        }
    }

    /// Joins the other shares, or prepares the place, where nobody else has it alone.
    fn join_once(name: &Path, partial: &Path, terms: &OutputTerms) -> Result<Option<Begun>> {
        let claimed = |is_share| {
            let (local, held) = claim(name, partial, is_share, terms.patience())?;
            let (name, partial, disk) = (name.to_owned(), partial.to_owned(), remote::disk(local, name));
            Ok((Site::new(name, partial, disk, Some(&held), terms.durability, terms.share), held))
        };
        let (site, held) = claimed(true)?;
        if let Some(changes) = resume::compare(&site, &terms.manifest)? {
            let length = site.disk.length(SHARED).map_err(|e| site.error(SHARED, "cannot read", e))?;
            if changes.is_empty() && length.is_some() {
                let found = resume::find(&site, terms.kind)?;
                return Self::with(site, Some(held), found, terms).map(Some);
            }
            held.release(true);
            return if changes.is_empty() { Err(place::not_shared(name)) } else { Ok(Some(Begun::Changed(changes))) };
        }
        held.release(true);
        let (site, held) = claimed(false)?;
        if resume::compare(&site, &terms.manifest)?.is_none() {
            site.prepare(terms)?;
        }
        held.release(true);
        Ok(None)
    }

    /// Begins an output on any disk, without a lock.
    ///
    /// # Errors
    /// `Io`.
    pub fn on(disk: Arc<dyn Disk>, terms: &OutputTerms) -> Result<Begun> {
        let name = place::real_name(terms.output)?;
        let partial = place::partial_name(&name);
        Self::start(name, partial, disk, None, terms)
    }

    fn start(
        name: PathBuf,
        partial: PathBuf,
        disk: Arc<dyn Disk>,
        held: Option<HeldLock>,
        terms: &OutputTerms,
    ) -> Result<Begun> {
        let site = Site::new(name, partial, disk, held.as_ref(), terms.durability, None);
        if let Some(manifest) = site.published()? {
            let is_the_same = terms.start == Start::Resume && !manifest.is_null() && manifest == terms.manifest;
            if is_the_same && terms.is_one_of_many {
                site.empty()?
            } else {
                site.clear()?
            };
            if is_the_same {
                held.into_iter().for_each(|held| held.release(false));
                site.disk.remove("").map_err(|e| site.error("", "cannot remove", e))?;
                return Ok(Begun::Published);
            }
        } else if site.has_nothing_left()? {
            site.clear()?;
        }
        if held.is_some()
            && let Err(e) = free::refuse_taken(&site.name, terms.overwrite, terms.kind)
        {
            held.into_iter().for_each(|held| held.release(false));
            let _ = site.disk.remove("");
            return Err(e);
        }
        let earlier = match terms.start {
            Start::Resume if !terms.manifest.is_null() => resume::compare(&site, &terms.manifest)?,
            _ => None,
        };
        let found = match earlier {
            Some(changes) if !changes.is_empty() => {
                if let Some(held) = held {
                    held.release(true);
                }
                return Ok(Begun::Changed(changes));
            }
            Some(_) => resume::find(&site, terms.kind)?,
            None => {
                site.clear()?;
                if !terms.manifest.is_null() {
                    site.write(MANIFEST, &terms.manifest)?;
                }
                EarlierRun::default()
            }
        };
        Self::with(site, held, found, terms)
    }

    fn with(site: Arc<Site>, held: Option<HeldLock>, found: EarlierRun, terms: &OutputTerms) -> Result<Begun> {
        let file = match terms.kind {
            OutputKind::Folder(_) => None,
            OutputKind::File if found.done.is_empty() && terms.share.is_none() => Some(site.disk.create(OUTPUT)),
            OutputKind::File => Some(site.disk.open(OUTPUT)),
        };
        let file = file.transpose().map_err(|e| site.error(OUTPUT, "cannot create", e))?.map(Arc::new);
        site.files.store(found.written.files, Ordering::Relaxed);
        site.bytes.store(found.written.bytes, Ordering::Relaxed);
        let syncer = Arc::new(Syncer::new(site.clone()));
        let (overwrite, manifest, found) = (terms.overwrite, Arc::clone(&terms.manifest), Box::new(found));
        let (growing, loose, accounts, pieces) = Default::default();
        let (is_share, keeps_record, is_over, written) = (terms.share.is_some(), terms.is_one_of_many, false, None);
        Ok(Begun::Ready(Self {
            site,
            syncer,
            held,
            overwrite,
            manifest,
            found,
            file,
            pieces,
            growing,
            is_share,
            loose,
            accounts,
            written,
            keeps_record,
            is_over,
        }))
    }

    /// Whether shares of a run have written here, whose parts are yet to be put together.
    pub fn is_shared(&self) -> bool {
        self.is_share || self.site.disk.length(SHARED).is_ok_and(|length| length.is_some())
    }

    /// What it will be called.
    pub fn name(&self) -> &Path {
        &self.site.name
    }

    /// Units that earlier runs have finished.
    pub fn done(&self) -> &BTreeSet<u64> {
        &self.found.done
    }

    /// Writes down what the shares of a run have in common, for [`Look::plan`] and [`Look::known`]. Gives what differs if something else is
    /// written there, and leaves that.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_plan(&self, plan: &Value, known: &Value) -> Result<Vec<Change>> {
        match resume::compare_with(&self.site, PLAN, plan)? {
            Some(changes) => Ok(changes),
            // Who finds the plan finds both.
            None => self.site.write(KNOWN, known).and_then(|()| self.site.write(PLAN, plan)).map(|()| Vec::new()),
        }
    }

    /// Notes that `unit` of a share could not be done, for [`Look::failed`], and why; what writing the output said is no
    /// fault of a unit.
    pub fn note_failure(&self, unit: u64, error: &Error) {
        let is_of_output = |path: &Path| path.starts_with(&self.site.partial) || path.starts_with(&self.site.name);
        let is_of_unit = match error {
            // Inputs that are not those of the plan are a fault of none.
            Error::Stopped(_) | Error::Usage(_) => false,
            Error::Io { path, .. } => !is_of_output(path),
            _ => true,
        };
        if !self.is_share || !is_of_unit {
            return;
        }
        let time = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
        let key = format!("{FAILED}/{unit}_{time:032}_{}", self.site.id);
        // Where not even that can be written the error itself is told all the same.
        let _ = self.site.disk.create(&key).and_then(|file| {
            file.write_at(0, error.to_string().as_bytes())?;
            file.close()
        });
    }

    /// Forgets what earlier runs have finished but for `units`, and removes it.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep_only(&mut self, units: &BTreeSet<u64>) -> Result<()> {
        // What others have finished is theirs.
        if self.is_share || self.found.done.is_subset(units) {
            return Ok(());
        }
        let kept: BTreeSet<u64> = self.found.done.intersection(units).copied().collect();
        let forgotten = journal::forget(&*self.site.disk, self.site.durability, &kept);
        forgotten.map_err(|e| self.site.error("journal", "cannot write", e))?;
        *self.found = resume::find(&self.site, self.kind())?;
        self.site.files.store(self.found.written.files, Ordering::Relaxed);
        self.site.bytes.store(self.found.written.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Reads back what units of earlier runs have stored, and gives those of which something is not what it was, and how
    /// many were not looked at since `stop` was set. [`Store::forget`] makes them undone.
    ///
    /// # Errors
    /// `Io` if the journal cannot be read, or of an earlier object.
    pub fn harmed(&self, stop: &AtomicBool) -> Result<(BTreeSet<u64>, u64)> {
        let (harmed, mut n_unread) = (Arc::<Mutex<BTreeSet<u64>>>::default(), 0);
        self.records(|Record { unit, objects, .. }| {
            if objects.is_empty() || !self.done().contains(&unit) {
                return Ok(());
            }
            if stop.load(Ordering::Relaxed) {
                n_unread += 1;
                return Ok(());
            }
            self.syncer.submit(SyncJob::Prove { unit, objects, harmed: Arc::clone(&harmed) }, 0)
        })?;
        self.syncer.settle()?;
        let harmed = std::mem::take(&mut *harmed.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((harmed, n_unread))
    }

    /// Forgets that `units` are finished, and others that cannot be without them. The store is good for no more than to
    /// be [left](Store::leave).
    ///
    /// # Errors
    /// `Io`.
    pub fn forget(&self, units: &BTreeSet<u64>) -> Result<()> {
        self.syncer.settle()?;
        let forgotten = resume::forget(&self.site, self.kind(), units);
        forgotten.map_err(|e| self.site.error("journal", "cannot write", e))
    }

    fn kind(&self) -> OutputKind {
        if self.file.is_some() { OutputKind::File } else { OutputKind::Folder(|_| true) }
    }

    /// Whether nothing is there yet that a later run could go on with.
    pub fn is_in_vain(&self) -> bool {
        !self.is_shared() && self.found.done.is_empty() && self.syncer.n_recorded() == 0
    }

    /// Where what is done stays for the next run, if `error` is one of writing it and there is anything.
    pub fn kept_after(&self, error: &Error) -> Option<&Path> {
        let partial = &*self.site.partial;
        let is_of_output = matches!(error, Error::Io { path, .. } if path.starts_with(partial));
        (is_of_output && !self.is_in_vain()).then_some(partial)
    }

    /// Bytes of journals that could not be believed; their units are done again.
    pub fn n_ignored_bytes(&self) -> u64 {
        self.found.n_ignored_bytes
    }

    /// Shows the records of [`Store::done`] and those that this run has written, in no order; some perhaps twice.
    ///
    /// # Errors
    /// `Io`, and what `show` returns.
    pub fn records(&self, mut show: impl FnMut(Record) -> Result<()>) -> Result<()> {
        self.placed_records(|_, record| show(record))
    }

    /// As [`Store::records`], with the place of each.
    fn placed_records(&self, mut show: impl FnMut(RecordPlace, Record) -> Result<()>) -> Result<()> {
        let mut shown = Ok(());
        let each = journal::each_placed(&*self.site.disk, self.site.share, |place, record| {
            if shown.is_ok() {
                shown = show(place, record);
            }
            Ok(())
        });
        each.map_err(|e| self.site.error("journal", "cannot read", e))?;
        shown
    }

    /// Where the records of [`Store::done`] are, by unit.
    ///
    /// # Errors
    /// `Io`.
    pub fn record_places(&self) -> Result<BTreeMap<u64, RecordPlace>> {
        let mut places = BTreeMap::new();
        if !self.done().is_empty() {
            self.placed_records(|place, record| {
                if self.done().contains(&record.unit) {
                    places.entry(record.unit).or_insert(place);
                }
                Ok(())
            })?;
        }
        Ok(places)
    }

    /// The record at `place`.
    ///
    /// # Errors
    /// `Io`, and `Format` if it cannot be believed any more.
    pub fn record_at(&self, place: &RecordPlace) -> Result<Record> {
        let record = journal::at(&*self.site.disk, place).map_err(|e| self.site.error("journal", "cannot read", e))?;
        record.ok_or_else(|| Error::format("a record of the journal has changed: use --restart to begin anew"))
    }

    /// Writes one object of a folder; `key` is its path inside, parts joined by `/`.
    ///
    /// It is whole when it gets its key, which helpers give it. Each key is written once.
    ///
    /// # Errors
    /// `Io`, of this object or an earlier one; `Usage` for a key that leads elsewhere.
    pub fn put(&self, key: &str, bytes: &[u8]) -> Result<Stored> {
        let stored = self.put_under(OUTPUT, key, bytes, What::Whole)?;
        self.site.count(1, stored.n_bytes);
        loose(&self.loose).insert(stored.key.clone(), (stored.n_bytes, stored.crc));
        Ok(stored)
    }

    /// Keeps a partial state beside the output until it is published.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn keep(&self, key: &str, bytes: &[u8]) -> Result<Stored> {
        self.put_under(STATE, key, bytes, What::State)
    }

    /// A partial state that was kept, by this run or, with a unit that is done, by an earlier one.
    ///
    /// # Errors
    /// `Io`, and of an earlier object.
    pub fn kept(&self, key: &str) -> Result<Vec<u8>> {
        check_key(key)?;
        let key = format!("{STATE}/{key}");
        self.syncer.settle()?;
        disk::read(&*self.site.disk, &key).map_err(|e| self.site.error(&key, "cannot read", e))
    }

    fn put_under(&self, root: &str, key: &str, bytes: &[u8], what: What) -> Result<Stored> {
        check_key(key)?;
        self.site.check_held()?;
        let at = format!("{root}/{key}");
        let temporary = format!("{at}.{}{UNFINISHED}", self.site.id);
        let object = self.site.disk.create(&temporary).map_err(|e| self.failed(&at, "cannot create", e))?;
        let written = profile::stage(Stage::Write, bytes.len() as u64, || object.write_at(0, bytes));
        written.map_err(|e| self.failed(&at, "cannot write", e))?;
        self.syncer.submit(SyncJob::Finish { object: Arc::new(object), temporary, key: at }, bytes.len() as u64)?;
        let (n_bytes, crc) = (bytes.len() as u64, crc32c::crc32c(bytes));
        Ok(Stored { key: key.to_owned(), what, offset: 0, n_bytes, crc, runs: Vec::new() })
    }

    /// Starts an object of a folder that grows, or goes on with one that recorded units have begun.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn create(&self, key: &str) -> Result<Append> {
        check_key(key)?;
        let at = format!("{OUTPUT}/{key}");
        // Where others may do the same unit, each has an object of its own.
        let own = if self.is_share { format!(".{}", self.site.id) } else { String::new() };
        let temporary = format!("{at}{own}{UNFINISHED}");
        let disk = &*self.site.disk;
        let sum = self.found.growing.get(key).filter(|_| !self.is_share).cloned().unwrap_or_default();
        let opened = match sum.end {
            0 => disk.create(&temporary),
            end => (|| {
                // It may have got its key before the unit that ended it was recorded.
                if disk.length(&temporary)?.is_none() {
                    disk.rename(&at, &temporary)?;
                }
                let object = disk.open(&temporary)?;
                object.set_length(end)?;
                Ok(object)
            })(),
        };
        let object = Arc::new(opened.map_err(|e| self.failed(&at, "cannot create", e))?);
        let mut growing = self.growing();
        growing.retain(|_, object| object.strong_count() > 0);
        growing.insert(key.to_owned(), Arc::downgrade(&object));
        drop(growing);
        Ok(Append {
            site: self.site.clone(),
            syncer: self.syncer.clone(),
            key: key.to_owned(),
            temporary,
            object,
            end: AtomicU64::new(sum.end),
            n_hurried_bytes: AtomicU64::new(sum.end),
            sum: Mutex::new(sum),
            loose: self.loose.clone(),
        })
    }

    /// Writes an object at `key` that lists every other with its checksum, those of earlier runs too: the last object of
    /// an output. [`sums::each`] reads it. What stood before is listed in the file `before`.
    ///
    /// # Errors
    /// `Io`, of this object or an earlier one; `Format` if what an earlier run recorded cannot be read.
    pub fn seal(&self, key: &str, before: Option<&Path>) -> Result<()> {
        self.syncer.settle()?;
        let file = self.create(key)?;
        let mut lines = sums::Lines::new(|text: &[u8]| file.append(text).map(drop));
        let (mut last, mut more) = (None, true);
        while more {
            let mut next = sums::Next::new(last, MOST_SORTED);
            if let Some(before) = before {
                sums::each(before, |sum| {
                    next.see(&sum.key, sum.n_bytes, sum.crc);
                    Ok(())
                })?;
            }
            loose(&self.loose).iter().for_each(|(key, (n_bytes, crc))| next.see(key, *n_bytes, *crc));
            self.records(|record| {
                let whole = record.objects.iter().filter(|object| object.what == What::Whole);
                whole.for_each(|object| next.see(&object.key, object.n_bytes, object.crc));
                Ok(())
            })?;
            let (objects, is_full) = next.end();
            objects.iter().try_for_each(|(key, (n_bytes, crc))| lines.add(key, *n_bytes, *crc))?;
            more = is_full;
            last = objects.into_keys().next_back();
        }
        lines.end()?;
        file.close().map(drop)
    }

    /// Writes `bytes` at `offset` of an output that is one file; from any thread.
    ///
    /// # Errors
    /// `Io`.
    ///
    /// # Panics
    /// If the output is a folder.
    pub fn put_at(&self, offset: u64, bytes: &[u8]) -> Result<Stored> {
        let file = self.file.as_ref().expect("only an output that is one file is written at offsets");
        self.site.check_held()?;
        let written = profile::stage(Stage::Write, bytes.len() as u64, || file.write_at(offset, bytes));
        written.map_err(|e| self.failed(OUTPUT, "cannot write", e))?;
        let n_bytes = bytes.len() as u64;
        self.site.files.store(1, Ordering::Relaxed);
        self.site.bytes.fetch_max(offset + n_bytes, Ordering::Relaxed);
        let crc = crc32c::crc32c(bytes);
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).add(offset, n_bytes, crc);
        Ok(Stored { key: String::new(), what: What::Piece, offset, n_bytes, crc, runs: Vec::new() })
    }

    /// Reads what stands at `offset` of an output that is one file.
    ///
    /// # Errors
    /// `Io`.
    ///
    /// # Panics
    /// As [`Store::put_at`].
    pub fn get_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let file = self.file.as_ref().expect("only an output that is one file is read at offsets");
        let mut n_read = 0;
        while n_read < bytes.len() {
            let read = match file.read_at(offset + n_read as u64, &mut bytes[n_read..]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                read => read,
            };
            n_read += read.map_err(|e| self.failed(OUTPUT, "cannot read back", e))?;
        }
        Ok(())
    }

    /// Cuts an output that is one file: units that stored what lay behind are done no more.
    ///
    /// # Errors
    /// `Io`.
    ///
    /// # Panics
    /// As [`Store::put_at`].
    pub fn cut(&self, n_bytes: u64) -> Result<()> {
        let file = self.file.as_ref().expect("only an output that is one file is cut");
        file.set_length(n_bytes).map_err(|e| self.failed(OUTPUT, "cannot write", e))?;
        self.site.bytes.store(n_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the checksum of an output that is one file where [`sums::signed`] finds it, as the last that is written: behind
    /// it, or if it is NPY into the head that ends at `head`.
    ///
    /// # Errors
    /// `Io`.
    ///
    /// # Panics
    /// As [`Store::put_at`].
    pub fn sign(&self, head: Option<u64>) -> Result<()> {
        let file = self.file.as_ref().expect("only an output that is one file is signed");
        let n_bytes = self.site.bytes.load(Ordering::Relaxed);
        let known = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).whole(n_bytes);
        let crc = known.map_or_else(|| self.read_back(file, n_bytes), Ok)?;
        match head {
            Some(end) => self.put_at(end - 1 - sums::BLANKS as u64, &sums::blanks(crc)),
            None => self.put_at(n_bytes, sums::signature(n_bytes, crc).as_bytes()),
        }
        .map(|_| ())
    }

    /// CRC-32C of all `n_bytes` of the output, for earlier runs wrote some of it, or in pieces too small.
    fn read_back(&self, file: &Open, n_bytes: u64) -> Result<u32> {
        let mut at = 0;
        let read = sums::summed(|buffer| {
            let piece = (n_bytes - at).min(buffer.len() as u64) as usize;
            let n = file.read_at(at, &mut buffer[..piece])?;
            at += n as u64;
            Ok(n)
        });
        let whole = |(crc, n)| if n == n_bytes { Ok(crc) } else { Err(ErrorKind::UnexpectedEof.into()) };
        read.and_then(whole).map_err(|e| self.failed(OUTPUT, "cannot read back", e))
    }

    /// Says what was read for a unit that is to be recorded next.
    pub fn account(&self, unit: u64, account: Value) {
        self.accounts().insert(unit, account);
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<u64, Value>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a unit is finished: `objects` is all that it stored, `state` what its caller keeps with it.
    ///
    /// The record is written when all that was stored before is durable, by policy, and after those of earlier
    /// calls: what the journal holds is a beginning of what was recorded.
    ///
    /// # Errors
    /// `Io`, also of anything stored before.
    pub fn record(&self, unit: u64, objects: &[Stored], state: &[u8]) -> Result<()> {
        if self.site.durability != Durability::None {
            let mut pieces = BTreeMap::<&str, u64>::new();
            for piece in objects.iter().filter(|object| object.what == What::Piece) {
                let n_runs = piece.runs.iter().map(|(n, _)| n).product::<u64>();
                *pieces.entry(&piece.key).or_default() += n_runs * piece.n_bytes;
            }
            for (key, n_bytes) in pieces {
                let open = self.growing().get(key).and_then(Weak::upgrade).or_else(|| self.file.clone());
                if let Some(open) = open {
                    self.syncer.submit(SyncJob::Sync(open, format!("{OUTPUT}/{key}")), n_bytes)?;
                }
            }
        }
        let account = self.accounts().remove(&unit).unwrap_or_default();
        let record = journal::encode(unit, objects, state, account);
        self.syncer.record(record.map_err(|e| self.failed("journal", "cannot write", e))?)?;
        let mut loose = loose(&self.loose);
        objects.iter().for_each(|object| _ = loose.remove(&object.key));
        Ok(())
    }

    /// Makes what was written durable, by policy, and gives it its name.
    ///
    /// # Errors
    /// `Io`, `Format` if objects are missing by now, and `Usage` if something has appeared under the name.
    pub fn publish(mut self) -> Result<Written> {
        self.announce()?;
        self.give_name()?;
        self.remove().map_err(|e| stands(&self.site.name, e))?;
        Ok(self.written.unwrap_or_default())
    }

    /// Makes what was written durable, by policy, and writes down that it is whole: all that is left to do is to give it
    /// its name.
    ///
    /// # Errors
    /// As [`Store::publish`].
    pub fn announce(&mut self) -> Result<()> {
        if self.written.is_some() {
            return Ok(());
        }
        let site = self.site.clone();
        self.syncer.finish()?;
        let written = Written { files: site.files.load(Ordering::Relaxed), bytes: site.bytes.load(Ordering::Relaxed) };
        match self.file.take().and_then(Arc::into_inner) {
            Some(file) => {
                let synced = if site.durability == Durability::None { Ok(()) } else { file.sync() };
                synced.map_err(|e| site.error(OUTPUT, "cannot write to disk", e))?;
                file.close().map_err(|e| site.error(OUTPUT, "cannot write", e))?;
            }
            None => self.check_count(written.files)?,
        }
        site.check_held()?;
        site.announce(&self.manifest)?;
        self.written = Some(written);
        Ok(())
    }

    /// Gives what was announced its name; what is private is removed by [`Store::publish`].
    ///
    /// # Errors
    /// As [`Store::publish`].
    pub fn give_name(&mut self) -> Result<()> {
        if !self.is_over {
            self.site.check_held()?;
            self.site.give_name(self.overwrite)?;
            self.is_over = true;
        }
        Ok(())
    }

    /// Objects that somebody has removed or added meanwhile must not go unnoticed.
    fn check_count(&self, n_written: u64) -> Result<()> {
        let n_found = self.site.settle_folder(OUTPUT)?;
        if n_found == n_written {
            return Ok(());
        }
        let (name, place) = (self.site.name.display(), self.site.partial.display());
        Err(Error::format(format!(
            "{name}: {n_written} files were written, {n_found} are there: something else has removed or added some in \
             {place}: run it again"
        )))
    }

    /// Ends a share: what it has recorded is durable, by policy, and stays for the run that publishes.
    ///
    /// # Errors
    /// `Io`.
    pub fn leave(mut self) -> Result<()> {
        let finished = self.syncer.finish();
        self.is_over = true;
        if let Some(held) = self.held.take() {
            held.release(true);
        }
        finished
    }

    /// Ends the run and removes what it built, recorded or not.
    ///
    /// # Errors
    /// `Io`.
    pub fn abandon(mut self) -> Result<()> {
        self.is_over = true;
        let _ = self.syncer.finish();
        self.remove()
    }

    /// Removes the private place, the lock last.
    fn remove(&mut self) -> Result<()> {
        if let Some(lock) = &self.site.lock
            && !lock.holds()
        {
            return Ok(());
        }
        self.file = None;
        let cleared = if self.is_over && self.keeps_record { self.site.empty() } else { self.site.clear() };
        if let Some(held) = self.held.take() {
            held.release(cleared.is_err());
        }
        cleared?;
        self.site.disk.remove("").map_err(|e| self.site.error("", "cannot remove", e))
    }

    fn failed(&self, key: &str, action: &'static str, e: io::Error) -> Error {
        let e = self.site.error(key, action, e);
        self.syncer.fail(&e);
        e
    }

    fn growing(&self) -> MutexGuard<'_, Growing> {
        self.growing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn loose(loose: &Mutex<Loose>) -> MutexGuard<'_, Loose> {
    loose.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.is_over {
            // Where it has its name and others beside it have not, the next run must know.
            self.held.take().into_iter().for_each(|held| held.release(true));
            return;
        }
        // Nobody is left to tell; what remains is found by the next run.
        let _ = self.syncer.finish();
        if self.is_in_vain() {
            let _ = self.remove();
        } else if let Some(held) = self.held.take() {
            held.release(true);
        }
    }
}

impl Site {
    fn count(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// An object of an output that grows: at its end, or at offsets that are given out in order.
pub struct Append {
    site: Arc<Site>,
    syncer: Arc<Syncer>,
    key: String,
    temporary: String,
    object: Open,
    /// Bytes given out.
    end: AtomicU64,
    n_hurried_bytes: AtomicU64,
    sum: Mutex<Sum>,
    loose: Arc<Mutex<Loose>>,
}

/// Checksum of an object from its beginning to `end`, and of pieces behind that came before their turn.
#[derive(Clone, Debug, Default)]
struct Sum {
    end: u64,
    crc: u32,
    later: BTreeMap<u64, (u64, u32)>,
}

impl Sum {
    fn add(&mut self, offset: u64, n_bytes: u64, crc: u32) {
        if n_bytes > 0 {
            self.later.insert(offset, (n_bytes, crc));
        }
        while let Some((n_bytes, crc)) = self.later.remove(&self.end) {
            self.crc = crc::joined(self.crc, crc, n_bytes);
            self.end += n_bytes;
        }
    }
}

impl Append {
    /// Bytes given out so far.
    pub fn n_bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Gives out the place of the next `n_bytes`, to be written by [`Append::write_at`].
    pub fn reserve(&self, n_bytes: u64) -> u64 {
        self.end.fetch_add(n_bytes, Ordering::Relaxed)
    }

    /// Writes `bytes` where [`Append::reserve`] said; from any thread.
    ///
    /// # Errors
    /// `Io`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<Stored> {
        self.site.check_held()?;
        let written = profile::stage(Stage::Write, bytes.len() as u64, || self.object.write_at(offset, bytes));
        written.map_err(|e| {
            let e = self.site.error(&format!("{OUTPUT}/{}", self.key), "cannot write", e);
            self.syncer.fail(&e);
            e
        })?;
        let (n_bytes, crc) = (bytes.len() as u64, crc32c::crc32c(bytes));
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(offset, n_bytes, crc);
        let hurried = self.n_hurried_bytes.load(Ordering::Relaxed);
        let waiting = sum.end.saturating_sub(hurried);
        if waiting >= HURRY_BYTES {
            self.n_hurried_bytes.store(sum.end, Ordering::Relaxed);
        }
        drop(sum);
        if waiting >= HURRY_BYTES {
            self.syncer.submit(SyncJob::Hurry(self.object.clone(), hurried, waiting), 0)?;
        }
        Ok(Stored { key: self.key.clone(), what: What::Piece, offset, n_bytes, crc, runs: Vec::new() })
    }

    /// Adds `bytes` at the end.
    ///
    /// # Errors
    /// `Io`.
    pub fn append(&self, bytes: &[u8]) -> Result<Stored> {
        self.write_at(self.reserve(bytes.len() as u64), bytes)
    }

    /// Ends the object and counts it.
    ///
    /// # Errors
    /// `Io`, of this object or an earlier one; `Format` if a place was given out and never written.
    pub fn close(self) -> Result<Stored> {
        let sum = self.sum.into_inner().unwrap_or_else(PoisonError::into_inner);
        let n_bytes = self.end.into_inner();
        if sum.end != n_bytes || !sum.later.is_empty() {
            return Err(Error::format(format!("'{}': byte {} of {n_bytes} was never written", self.key, sum.end)));
        }
        let key = format!("{OUTPUT}/{}", self.key);
        self.syncer.submit(SyncJob::Finish { object: self.object, temporary: self.temporary, key }, n_bytes)?;
        self.site.count(1, n_bytes);
        loose(&self.loose).insert(self.key.clone(), (n_bytes, sum.crc));
        Ok(Stored { key: self.key, what: What::Whole, offset: 0, n_bytes, crc: sum.crc, runs: Vec::new() })
    }
}

/// An error after the output at `name` has got its name.
fn stands(name: &Path, e: Error) -> Error {
    match e {
        Error::Io { source, .. } => {
            Error::io(name, "the output is complete and in place, but the disk is not done with it", source)
        }
        other => other,
    }
}

/// After so long, who has the place alone does more than to prepare it for shares.
const PREPARED_AFTER: Duration = Duration::from_secs(5);

/// Takes the private place of `name` for this run, or for this share of one.
fn claim(name: &Path, partial: &Path, is_share: bool, patience: Patience) -> Result<(Local, HeldLock)> {
    for _ in 0..8 {
        match std::fs::create_dir(partial) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(place::no_parent(name)),
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(Error::io(partial, "cannot create", e)),
            _ => {}
        }
        let local = match Local::open(partial, name) {
            Ok(local) => local,
            // Another process removed what was left behind between the two calls.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOTDIR | Errno::LOOP)) => {
                return Err(Error::usage(format!(
                    "{}: is in the way of an unfinished output, but is no folder: remove it",
                    partial.display()
                )));
            }
            Err(e) => return Err(Error::io(partial, "cannot open", e)),
        };
        let folder = local.folder().try_clone().map_err(|e| Error::io(partial, "cannot open", e))?;
        match HeldLock::take(folder, is_share, patience) {
            // Else another process has removed it, or has put another in its place.
            Ok(held) if is_the_same(&local, partial) => return Ok((local, held)),
            Ok(held) => held.release(false),
            Err(Refused::Gone) => {}
            Err(Refused::Held(who)) => {
                return Err(Error::usage(format!(
                    "{}: another run is writing it ({who}): wait for its end, stop it or choose another name",
                    name.display()
                )));
            }
            Err(Refused::Io(e)) => {
                // What is not empty is another's.
                let _ = local.remove("");
                return Err(Error::io(partial, "cannot lock", e));
            }
        }
    }
    Err(Error::usage(format!("{}: another run is writing it: wait for its end or choose another name", name.display())))
}

/// Removes the private place of `name`, which stands, where nothing is in it but the locks of runs that are no more: one
/// was killed when that was all it had left to remove.
fn tidy(name: &Path) {
    let partial = place::partial_name(name);
    let Ok(mut entries) = std::fs::read_dir(&partial) else { return };
    let is_lock = |entry: io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"lock."))
    };
    if entries.all(is_lock)
        && let Ok((local, held)) = claim(name, &partial, false, Patience::default())
    {
        held.release(false);
        // What is not empty by now is another's.
        let _ = local.remove("");
    }
}

/// Whether `path` still names the open folder.
fn is_the_same(local: &Local, path: &Path) -> bool {
    match (rustix::fs::fstat(local.folder()), rustix::fs::stat(path)) {
        (Ok(a), Ok(b)) => a.st_ino == b.st_ino && a.st_dev == b.st_dev,
        _ => false,
    }
}
