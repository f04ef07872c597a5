//! What the store needs of a place that keeps bytes, and the local file system as such a place.
//!
//! Keys are paths inside one output under construction, parts joined by `/`. A disk knows nothing of units,
//! journals, temporary names or what a run wants; it does what it is told and says how that went.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::place::{exists, remove_all};

/// A place for the objects of one output.
pub trait Disk: Send + Sync {
    /// Starts an object, empty, in place of what stood there; makes the folders above it.
    ///
    /// # Errors
    /// What the system said; so for all others.
    fn create(&self, key: &str) -> io::Result<Box<dyn Handle>>;

    /// Opens an object to read it or go on with it.
    ///
    /// # Errors
    /// `NotFound` if it is not there.
    fn open(&self, key: &str) -> io::Result<Box<dyn Handle>>;

    /// Bytes of the object at `key`, if there is one.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn length(&self, key: &str) -> io::Result<Option<u64>>;

    /// Names in a folder; none if it is not there. The empty key is the whole place.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn list(&self, folder: &str) -> io::Result<Vec<Entry>>;

    /// Removes an object, or a folder with all it holds; what is not there is fine. The empty key is the whole
    /// place, which goes only if it is empty.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn remove(&self, key: &str) -> io::Result<()>;

    /// Gives an object another key, in place of what stood there; at every moment one of both is seen whole.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// What tells the object or folder at `key` from all others, whatever it is called; with the empty key, what has the
    /// name that users see.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn identity(&self, key: &str) -> io::Result<Option<String>>;

    /// Makes durable which names a folder holds.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Gives what lies at `key` the name that users see, at once; if `replace`, in place of what stands there.
    ///
    /// # Errors
    /// `AlreadyExists` if something stands there and `replace` is not set.
    fn publish(&self, key: &str, replace: bool) -> io::Result<()>;

    /// Makes the name given by [`Disk::publish`] durable.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn settle(&self) -> io::Result<()>;

    /// Helpers that are worth having: enough for file systems whose answers take long.
    fn n_helpers(&self) -> usize {
        4
    }

    /// Whether an object is sent elsewhere when it gets its key.
    fn is_far(&self) -> bool {
        false
    }
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its last part.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// An open object; any number of threads write it at once.
pub trait Handle: Send + Sync {
    /// Writes all of `bytes`.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads up to `bytes.len()` bytes; 0 at the end.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;

    /// Cuts or fills it up with zeros.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn set_length(&self, n_bytes: u64) -> io::Result<()>;

    /// Lets the disk begin with what was written there, so that little is left for [`Handle::sync`]. Promises
    /// nothing.
    fn hurry(&self, _offset: u64, _n_bytes: u64) {}

    /// Makes its bytes and its length durable.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn sync(&self) -> io::Result<()>;

    /// Ends it and gives the answer: network file systems say only here that they could not store it.
    #[allow(missing_docs, clippy::missing_errors_doc)]
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// All bytes of the object at `key`.
///
/// # Errors
/// `NotFound` if it is not there.
pub fn read(disk: &dyn Disk, key: &str) -> io::Result<Vec<u8>> {
    let object = disk.open(key)?;
    let (mut bytes, mut piece) = (vec![], vec![0; 64 << 10]);
    loop {
        match object.read_at(bytes.len() as u64, &mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// A folder of a local or mounted file system, which will give one of its objects a name outside.
///
/// It holds the folder open: where another takes its place, it goes on in the old one.
pub struct Local {
    folder: OwnedFd,
    path: PathBuf,
    name: PathBuf,
}

/// Where the old output waits while the new one gets its name, if names cannot be exchanged.
const REPLACED: &str = "replaced";

impl Local {
    /// The folder at `path`, which must be one and no link; [`Disk::publish`] gives the name `name`.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or what else the system said.
    pub fn open(path: &Path, name: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(Self { folder, path: path.to_owned(), name: name.to_owned() })
    }

    /// The open folder.
    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Puts back an old output whose place was never taken: the process ended between two calls.
    pub(super) fn put_back(&self) -> io::Result<()> {
        let old = self.path.join(REPLACED);
        if exists(&old) && !exists(&self.name) { fs::rename(old, &self.name) } else { Ok(()) }
    }

    /// Opens `key`, making the folders above it where that fails without them.
    fn open_new(&self, key: &str) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || retry_on_intr(|| rustix::fs::openat(&self.folder, key, flags, Mode::from_raw_mode(0o666)));
        match (open(), key.rsplit_once('/')) {
            (Err(Errno::NOENT), Some((parent, _))) => {
                self.make_folders(parent)?;
                Ok(open()?)
            }
            (opened, _) => Ok(opened?),
        }
    }

    fn make_folders(&self, key: &str) -> io::Result<()> {
        let make = || rustix::fs::mkdirat(&self.folder, key, Mode::from_raw_mode(0o777));
        match (make(), key.rsplit_once('/')) {
            (Ok(()) | Err(Errno::EXIST), _) => Ok(()),
            (Err(Errno::NOENT), Some((parent, _))) => {
                self.make_folders(parent)?;
                match make() {
                    Err(e) if e != Errno::EXIST => Err(e.into()),
                    _ => Ok(()),
                }
            }
            (Err(e), _) => Err(e.into()),
        }
    }

    fn open_folder(&self, folder: &str) -> io::Result<OwnedFd> {
        let key = if folder.is_empty() { "." } else { folder };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(retry_on_intr(|| rustix::fs::openat(&self.folder, key, flags, Mode::empty()))?)
    }
}

impl Disk for Local {
    fn create(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(File::from(self.open_new(key)?)))
    }

    fn open(&self, key: &str) -> io::Result<Box<dyn Handle>> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry_on_intr(|| rustix::fs::openat(&self.folder, key, flags, Mode::empty()))?;
        Ok(Box::new(File::from(file)))
    }

    fn length(&self, key: &str) -> io::Result<Option<u64>> {
        match rustix::fs::statat(&self.folder, key, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode).is_file() => Ok(Some(found.st_size as u64)),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Entry>> {
        let mut open = match self.open_folder(folder) {
            Ok(open) => Dir::new(open)?,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(e),
        };
        let mut entries = vec![];
        while let Some(entry) = open.read() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let mut kind = entry.file_type();
            // Not every file system says what a name is while it lists.
            if kind == FileType::Unknown {
                let found = rustix::fs::statat(open.fd()?, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                kind = FileType::from_raw_mode(found.st_mode);
            }
            entries.push(Entry { name, is_folder: kind == FileType::Directory });
        }
        Ok(entries)
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        if key.is_empty() {
            return match rustix::fs::rmdir(&self.path) {
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                Err(e) => Err(e.into()),
            };
        }
        match rustix::fs::unlinkat(&self.folder, key, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => remove_all(&self.path.join(key)),
            Err(e) => Err(e.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    fn identity(&self, key: &str) -> io::Result<Option<String>> {
        let found = match key {
            "" => rustix::fs::lstat(&self.name),
            key => rustix::fs::statat(&self.folder, key, AtFlags::SYMLINK_NOFOLLOW),
        };
        match found {
            Ok(found) => Ok(Some(found.st_ino.to_string())),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        sync(&File::from(self.open_folder(folder)?))
    }

    fn publish(&self, key: &str, replace: bool) -> io::Result<()> {
        let with = |flags| rustix::fs::renameat_with(&self.folder, key, CWD, &self.name, flags);
        match with(RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) if !replace => return Err(Errno::EXIST.into()),
            Err(Errno::EXIST) => {}
            // Not every file system knows the flags.
            Err(_) if !exists(&self.name) => return Ok(rustix::fs::renameat(&self.folder, key, CWD, &self.name)?),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !replace => return Err(Errno::EXIST.into()),
            Err(e) if !replace => return Err(e.into()),
            Err(_) => {}
        }
        if with(RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
        rustix::fs::renameat(CWD, &self.name, &self.folder, REPLACED)?;
        rustix::fs::renameat(&self.folder, key, CWD, &self.name).map_err(|e| {
            // The old output is worth more than a clean message about a second failure.
            let _ = rustix::fs::renameat(&self.folder, REPLACED, CWD, &self.name);
            e.into()
        })
    }

    fn settle(&self) -> io::Result<()> {
        // A folder that may be written to but not read cannot be opened for this.
        File::open(self.name.parent().unwrap_or(Path::new("/"))).map_or(Ok(()), |folder| sync(&folder))
    }
}

/// Makes the entries of a folder durable, where the file system has a way to.
fn sync(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        answer => answer,
    }
}

impl Handle for File {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn set_length(&self, n_bytes: u64) -> io::Result<()> {
        self.set_len(n_bytes)
    }

    #[cfg(target_os = "linux")]
    fn hurry(&self, offset: u64, n_bytes: u64) {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open for as long as `self` is borrowed; no memory is handed over.
        unsafe {
            libc::sync_file_range(self.as_raw_fd(), offset as i64, n_bytes as i64, libc::SYNC_FILE_RANGE_WRITE);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        // SAFETY: the descriptor is owned here, open, and not used again.
        match unsafe { libc::close(self.into_raw_fd()) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                e if e.kind() == ErrorKind::Interrupted => Ok(()),
                e => Err(e),
            },
        }
    }
}
