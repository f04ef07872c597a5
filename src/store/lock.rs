//! Who may write an unfinished output: one run at a time, or the shares of one, on any file system and from any host.
//!
//! The lock is a file `lock.N` in the private place that says who holds it and whose time of change the
//! holder renews. Whoever finds holder N dead creates `lock.N+1`, which succeeds for one taker only; a number
//! comes once while the place stands, so that a slow taker never ends a lock younger than the one it judged.
//! A share has a file of its own, `lock.share.WHO`, and keeps away while a holder lives; who takes the lock keeps away
//! while a share lives. Each puts its file there before it looks for the other's.
//! `flock` is taken as well, but proves something only where it is refused: file systems answer with success
//! that locks nothing, or have no locks at all.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::{Errno, retry_on_intr};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::report::duration;

/// How a holder shows that it lives, and when it is taken for dead by those who cannot see its process.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From one sign of life to the next.
    pub beat: Duration,
    /// Without one for as long: dead.
    pub stale: Duration,
    /// Whether it stays known after a loss of power, when it is dead at once.
    pub is_durable: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self { beat: Duration::from_secs(5), stale: Duration::from_secs(60), is_durable: false }
    }
}

/// A process, as the lock names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// Name of its host, for people.
    pub(super) host: String,
    /// Boot of the kernel and namespace in which its number means something.
    pub(super) place: String,
    /// Its number there.
    pub(super) pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub(super) start: u64,
    /// When it took the lock, in seconds since 1970.
    pub(super) since_s: u64,
    /// Whether it has let go.
    pub(super) free: bool,
}

impl Owner {
    /// This process.
    pub(super) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id");
        let pid = std::process::id();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            host: Some(read("/proc/sys/kernel/hostname")).filter(|h| !h.is_empty()).unwrap_or("unknown".into()),
            place: if boot.is_empty() { boot } else { format!("{boot} {}", namespace.display()) },
            pid,
            start: started(pid).and_then(|(_, start)| start).unwrap_or(0),
            since_s: since.as_secs(),
            free: false,
        }
    }

    /// What tells it apart from other processes, in the name of a file.
    pub(super) fn id(&self) -> String {
        let host: String = self.host.chars().filter(|c| c.is_alphanumeric() || "-.".contains(*c)).collect();
        format!("{host}-{}-{}", self.pid, self.start)
    }

    /// What tells it apart from other processes of its host and namespace, behind what tells these apart.
    fn token(&self) -> String {
        let namespace = self.place.split(' ').nth(1).unwrap_or_default();
        let place = crc32c::crc32c(format!("{} {namespace}", self.host).as_bytes());
        format!("{place:08x}-{}-{}", self.pid, self.start)
    }

    /// Whether the process with this token was of this host and namespace, and is no more.
    fn is_token_of_dead(&self, token: &str) -> bool {
        let parts: Vec<&str> = token.split('-').collect();
        let own = self.token();
        let [place, pid, start] = parts[..] else { return false };
        let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else { return false };
        own.starts_with(place) && Self { pid, start, ..self.clone() }.lives() == Some(false)
    }

    /// Whether its process is there, if that can be seen from here.
    fn lives(&self) -> Option<bool> {
        if self.place.is_empty() || self.place != Self::this().place {
            return None;
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        if rustix::process::test_kill_process(pid) == Err(Errno::SRCH) {
            return Some(false);
        }
        // Where processes of others are hidden, there being one of this number must do.
        Some(started(self.pid).is_none_or(|(state, start)| !matches!(state, 'Z' | 'X') && start == Some(self.start)))
    }
}

/// A name beside `output` for what this process computes on the way to it. What processes that are no more have left
/// under such names is removed.
pub fn scratch(output: &Path) -> PathBuf {
    let output = &super::place::near(output);
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let (before, this) = (format!(".{name}."), Owner::this());
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let token = name.to_str().and_then(|name| name.strip_prefix(&before)?.strip_suffix(SCRATCH));
        if token.is_some_and(|token| this.is_token_of_dead(token)) {
            // Another may be at it.
            let _ = super::place::remove_all(&entry.path());
        }
    }
    output.with_file_name(format!("{before}{}{SCRATCH}", this.token()))
}

/// A name beside `output` for what all processes compute on the way to it that do the same `job`.
pub fn common(output: &Path, job: &serde_json::Value) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.{:08x}{SCRATCH}", crc32c::crc32c(job.to_string().as_bytes())))
}

/// Ends the names of what is computed on the way.
const SCRATCH: &str = ".reduced";

/// State of a process and when it started, from `/proc/PID/stat`.
fn started(pid: u32) -> Option<(char, Option<u64>)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in brackets, may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.nth(18).and_then(|field| field.parse().ok())))
}

/// Why the lock cannot be had.
#[derive(Debug)]
pub(super) enum Refused {
    /// Somebody has it.
    Held(String),
    /// The place itself has gone, or others were quicker again and again.
    Gone,
    /// The system said no.
    Io(io::Error),
}

impl From<Errno> for Refused {
    fn from(e: Errno) -> Self {
        if e == Errno::NOENT { Self::Gone } else { Self::Io(e.into()) }
    }
}

impl From<io::Error> for Refused {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::NotFound { Self::Gone } else { Self::Io(e) }
    }
}

/// A lock that is held.
pub(super) struct Lock {
    folder: OwnedFd,
    name: String,
    /// What it would be called if another had taken over.
    next: Option<String>,
    file: File,
    patience: Patience,
    /// Last sign of life, in milliseconds since boot.
    last_ms: AtomicU64,
    lost: AtomicBool,
    /// Set when no more signs of life are wanted.
    done: Mutex<bool>,
    ended: Condvar,
}

/// A held lock and the thread that shows it.
pub(super) struct HeldLock {
    lock: Arc<Lock>,
    thread: Option<JoinHandle<()>>,
}

impl HeldLock {
    /// Takes the lock of `folder`, alone or with the other shares of a run.
    pub(super) fn take(folder: OwnedFd, is_share: bool, patience: Patience) -> Result<Self, Refused> {
        let lock = if is_share { Lock::share(folder, patience) } else { Lock::take(folder, patience) };
        let lock = Arc::new(lock?);
        let beating = lock.clone();
        let thread = std::thread::Builder::new().name("lock".into()).stack_size(64 << 10);
        // Without a thread signs of life come with every object that is written.
        let thread = thread.spawn(move || beating.beat_until_done()).ok();
        Ok(Self { lock, thread })
    }

    pub(super) fn lock(&self) -> &Arc<Lock> {
        &self.lock
    }

    /// Lets go; the place stays for another run if it is to be `kept`, else the lock goes with it.
    pub(super) fn release(mut self, kept: bool) {
        self.end();
        if self.lock.holds() {
            self.lock.let_go(kept);
        }
    }

    fn end(&mut self) {
        *self.lock.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.lock.ended.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.end();
    }
}

impl Lock {
    fn take(folder: OwnedFd, patience: Patience) -> Result<Self, Refused> {
        for _ in 0..16 {
            let judged = numbers(&folder)?;
            let claim = Claim::new(&folder, patience)?;
            for &number in &judged {
                judge(&folder, &name(number), &claim, patience)?;
            }
            let number = judged.last().map_or(0, |last| last + 1);
            if !claim.turn_into(&name(number))? {
                continue;
            }
            // One that was not there before: a number from before the place was emptied is worth nothing.
            if numbers(&folder)?.iter().any(|n| *n != number && !judged.contains(n)) {
                remove(&folder, &name(number));
                continue;
            }
            for share in shares(&folder)? {
                if let Err(refused) = judge(&folder, &share, &claim, patience) {
                    remove(&folder, &name(number));
                    return Err(refused);
                }
                remove(&folder, &share);
            }
            judged.into_iter().for_each(|old| remove(&folder, &name(old)));
            drop(claim);
            return Self::held(folder, name(number), Some(name(number + 1)), patience);
        }
        Err(Refused::Gone)
    }

    /// Takes a share of the lock.
    fn share(folder: OwnedFd, patience: Patience) -> Result<Self, Refused> {
        let claim = Claim::new(&folder, patience)?;
        let share = format!("{SHARE}{}", claim.name);
        if !claim.turn_into(&share)? {
            return Err(Refused::Gone);
        }
        for number in numbers(&folder)? {
            if let Err(refused) = judge(&folder, &name(number), &claim, patience) {
                remove(&folder, &share);
                return Err(refused);
            }
            remove(&folder, &name(number));
        }
        drop(claim);
        Self::held(folder, share, None, patience)
    }

    /// The lock `name`, which is there and ours.
    fn held(folder: OwnedFd, name: String, next: Option<String>, patience: Patience) -> Result<Self, Refused> {
        let file = open(&folder, &name, OFlags::RDWR)?;
        let _ = rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive);
        let (done, ended) = Default::default();
        let (last_ms, lost) = (AtomicU64::new(now_ms()), AtomicBool::new(false));
        Ok(Self { folder, name, next, file, patience, last_ms, lost, done, ended })
    }

    fn beat_until_done(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            let waited = self.ended.wait_timeout(done, self.patience.beat);
            done = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*done && !self.beat() {
                return;
            }
        }
    }

    /// Gives a sign of life; says whether the lock is still ours.
    fn beat(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = rustix::fs::futimens(&self.file, &Timestamps { last_access: now, last_modification: now });
        let next = self.next.as_ref().map_or(Err(Errno::NOENT), |next| self.stat(next));
        let same = match (rustix::fs::fstat(&self.file), self.stat(&self.name), next) {
            (Ok(ours), Ok(there), next) => ours.st_ino == there.st_ino && next.is_err_and(|e| e == Errno::NOENT),
            // Only a clear answer counts.
            (_, Err(e), _) => e != Errno::NOENT,
            (Err(_), ..) => true,
        };
        if same {
            self.last_ms.store(now_ms(), Ordering::Relaxed);
        } else {
            self.lost.store(true, Ordering::Relaxed);
        }
        same
    }

    fn stat(&self, name: &str) -> Result<rustix::fs::Stat, Errno> {
        rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether this run still has the lock: a process that was stopped for long may have been taken for dead.
    pub(super) fn holds(&self) -> bool {
        let silent = Duration::from_millis(now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)));
        !self.lost.load(Ordering::Relaxed) && (silent < self.patience.stale / 2 || self.beat())
    }

    fn let_go(&self, kept: bool) {
        if kept && self.next.is_some() {
            let free = Owner { free: true, ..Owner::this() };
            let text = serde_json::to_vec(&free).unwrap_or_default();
            // Nobody is left to tell; the next run sees a dead process instead.
            let _ = self.file.set_len(0).and_then(|()| std::os::unix::fs::FileExt::write_all_at(&self.file, &text, 0));
        } else {
            remove(&self.folder, &self.name);
        }
    }
}

/// Our name, written in full before it becomes the lock.
struct Claim<'a> {
    folder: &'a OwnedFd,
    name: String,
    file: File,
    text: Vec<u8>,
}

impl<'a> Claim<'a> {
    fn new(folder: &'a OwnedFd, patience: Patience) -> Result<Self, Refused> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let owner = Owner::this();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("claim.{}.{}.{}.{count}", owner.host.replace('/', "_"), owner.pid, owner.start);
        let text = serde_json::to_vec(&owner).unwrap_or_default();
        let mut file = open(folder, &name, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)?;
        let claim = Self { folder, name, file: file.try_clone()?, text };
        file.write_all(&claim.text)?;
        if patience.is_durable {
            // Where it cannot be, it is waited for as one on another host is.
            let _ = file.sync_data();
        }
        Ok(claim)
    }

    /// Makes it the lock of this name, unless there is one.
    fn turn_into(&self, name: &str) -> Result<bool, Refused> {
        match rustix::fs::linkat(self.folder, &self.name, self.folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(Errno::NOENT) => Err(Refused::Gone),
            // No links here.
            Err(_) => match open(self.folder, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
                Ok(mut file) => Ok(file.write_all(&self.text).map(|()| true)?),
                Err(Errno::EXIST) => Ok(false),
                Err(e) => Err(e.into()),
            },
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        remove(self.folder, &self.name);
    }
}

/// Refuses a lock whose holder may be alive.
fn judge(folder: &OwnedFd, name: &str, claim: &Claim, patience: Patience) -> Result<(), Refused> {
    let mut file = match open(folder, name, OFlags::RDONLY) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let mut text = vec![];
    file.read_to_end(&mut text)?;
    let owner: Option<Owner> = serde_json::from_slice(&text).ok();
    if owner.as_ref().is_some_and(|owner| owner.free) {
        return Ok(());
    }
    // Both times are of the clock of the file system, which hosts may not share.
    let age = claim.file.metadata()?.modified()?.duration_since(file.metadata()?.modified()?).unwrap_or_default();
    let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    let lives = match owner.as_ref().and_then(Owner::lives) {
        Some(lives) => lives,
        None => age <= patience.stale,
    };
    if !locked && !lives {
        return Ok(());
    }
    let Some(owner) = owner else {
        return Err(Refused::Held(format!("it will be taken for dead in {} if nothing moves", words(patience.stale))));
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let held = words(Duration::from_secs(now.as_secs().saturating_sub(owner.since_s)));
    let far = owner.lives().is_none();
    let silent = format!(", silent for {}, taken for dead after {}", words(age), words(patience.stale));
    let silent = if far { silent } else { String::new() };
    Err(Refused::Held(format!("process {} on {}, for {held}{silent}", owner.pid, owner.host)))
}

fn words(time: Duration) -> String {
    duration(time.as_secs_f64())
}

fn name(number: u64) -> String {
    format!("lock.{number}")
}

/// Before the name of a share.
const SHARE: &str = "lock.share.";

/// Numbers of the locks in a folder, in order.
fn numbers(folder: &OwnedFd) -> Result<Vec<u64>, Refused> {
    let mut found: Vec<u64> =
        names(folder)?.iter().filter_map(|name| name.strip_prefix("lock.")?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

/// Names of the shares in a folder.
fn shares(folder: &OwnedFd) -> Result<Vec<String>, Refused> {
    Ok(names(folder)?.into_iter().filter(|name| name.starts_with(SHARE)).collect())
}

fn names(folder: &OwnedFd) -> Result<Vec<String>, Refused> {
    Dir::read_from(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// Removes a file that may be gone.
fn remove(folder: &OwnedFd, name: &str) {
    let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
}

fn open(folder: &OwnedFd, name: &str, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    retry_on_intr(|| rustix::fs::openat(folder, name, flags, mode)).map(File::from)
}

/// Milliseconds since boot, those asleep included.
fn now_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_have_left_on_the_way_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("o.zarr");
        let own = scratch(&output);
        let token = Owner::this().token();
        let dead = Owner { pid: u32::MAX >> 1, ..Owner::this() }.token();
        let stranger = Owner { host: "elsewhere".into(), ..Owner::this() }.token();
        let place = |token: &str| folder.path().join(format!(".o.zarr.{token}.reduced"));
        assert_eq!(own, place(&token));
        let others = [place(&stranger), place("1-2"), folder.path().join(".p.zarr.1-2-3.reduced"), own.clone()];
        for path in others.iter().chain([&place(&dead)]) {
            std::fs::create_dir_all(path.join("0")).unwrap();
        }
        assert_eq!(scratch(&output), own);
        assert!(!place(&dead).exists() && others.iter().all(|path| path.exists()));
    }
}
