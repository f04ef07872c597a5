//! What a program without object stores says of them: no path is remote.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// An object, of which there is none.
#[derive(Debug)]
pub struct Object(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Object {
    pub fn open(_: &Path) -> io::Result<Self> {
        no()
    }
    pub fn open_end(_: &Path, _: u64) -> io::Result<Self> {
        no()
    }
    pub fn n_bytes(&self) -> u64 {
        match self.0 {}
    }
    pub fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
        match self.0 {}
    }
    pub fn advise(&self, _: u64, _: u64) {}
}

fn no<T>() -> io::Result<T> {
    Err(io::Error::new(ErrorKind::Unsupported, "this program is built without the feature 'remote'"))
}

/// Whether `path` is a URL of an object.
pub fn is_remote(_: &Path) -> bool {
    false
}

macro_rules! none {
    ($($name:ident($($kind:ty),*) -> $result:ty;)*) => {$(
        #[allow(missing_docs, clippy::missing_errors_doc)]
        pub fn $name($(_: $kind),*) -> io::Result<$result> {
            no()
        }
    )*};
}

none! {
    read(&Path, bool) -> Vec<u8>;
    entries(&Path) -> Vec<(String, bool)>;
    below(&Path, usize) -> (Vec<(String, u64)>, bool);
    listed(&Path) -> Vec<PathBuf>;
    read_now(&Path) -> Option<Vec<u8>>;
    send(&Path, &mut File) -> ();
    remove(&Path, Vec<String>) -> ();
}

/// Says that an object will be read soon.
pub fn ask(_: &Path, _: u64) {}

/// Nothing.
pub(super) fn size_and_time(_: &Path) -> Option<(u64, u64)> {
    None
}

/// Nothing.
pub fn state(_: &Path) -> io::Result<String> {
    Ok(String::new())
}
