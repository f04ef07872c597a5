//! Checksums of all that an output holds, kept in it under a name that readers pass over.
//!
//! The file is text: for every object its name, length in bytes and CRC-32C, below the folder that it lies in, by key,
//! and last the CRC-32C of all lines before. About twenty bytes an object:
//!
//! ```text
//! stackctl checksums 1
//! 0/c/0/0/
//! 0 104857 1a2b3c4d
//! 1 104391 99aabb00
//! crc32c 5d1f0a77
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::Append;
use crate::error::{Error, Result};

/// Last part of the key of such a file.
pub const CHECKSUMS: &str = "stackctl.checksums";
const FIRST_LINE: &str = "stackctl checksums 1";
/// Lines are written in pieces of so many bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Longest line that is read.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// An object as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Its key in the output.
    pub key: String,
    /// Its bytes.
    pub n_bytes: u64,
    /// CRC-32C of them.
    pub crc: u32,
}

/// The objects whose keys come next, by key; no more are held than there is room for.
pub(super) struct Next {
    after: Option<String>,
    room: usize,
    held: BTreeMap<String, (u64, u32)>,
}

impl Next {
    /// Those behind `after`.
    pub(super) fn new(after: Option<String>, room: usize) -> Self {
        Self { after, room, held: BTreeMap::new() }
    }

    pub(super) fn see(&mut self, key: &str, n_bytes: u64, crc: u32) {
        if self.after.as_deref().is_some_and(|after| key <= after) {
            return;
        }
        let is_full = self.held.len() == self.room;
        if is_full && self.held.last_key_value().is_some_and(|(last, _)| key > last.as_str()) {
            return;
        }
        self.held.insert(key.to_owned(), (n_bytes, crc));
        if self.held.len() > self.room {
            self.held.pop_last();
        }
    }

    /// The objects, and whether there may be more behind them.
    pub(super) fn end(self) -> (BTreeMap<String, (u64, u32)>, bool) {
        let is_full = self.held.len() == self.room;
        (self.held, is_full)
    }
}

/// Writes such a file.
pub(super) struct Lines {
    file: Append,
    text: String,
    folder: Option<String>,
    crc: u32,
}

impl Lines {
    pub(super) fn new(file: Append) -> Self {
        Self { file, text: format!("{FIRST_LINE}\n"), folder: None, crc: 0 }
    }

    /// Adds an object.
    pub(super) fn add(&mut self, key: &str, n_bytes: u64, crc: u32) -> Result<()> {
        let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
        if self.folder.as_deref() != Some(folder) {
            self.text += &format!("{folder}/\n");
            self.folder = Some(folder.to_owned());
        }
        self.text += &format!("{name} {n_bytes} {crc:08x}\n");
        if self.text.len() < PIECE_BYTES { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, self.text.as_bytes());
        self.file.append(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }

    /// Ends the file.
    pub(super) fn end(mut self) -> Result<()> {
        self.flush()?;
        self.file.append(format!("crc32c {:08x}\n", self.crc).as_bytes())?;
        self.file.close().map(|_| ())
    }
}

/// Shows every object that the file at `path` lists, by key.
///
/// # Errors
/// `Io`; `Format` if the file is damaged, which may come after objects have been shown; what `show` returns.
pub fn each(path: &Path, mut show: impl FnMut(Sum) -> Result<()>) -> Result<()> {
    let damaged = || Error::format(format!("{}: the checksums themselves are damaged", path.display()));
    let file = File::open(path).map_err(|e| Error::io(path, "cannot open", e))?;
    let mut file = BufReader::new(file);
    let (mut line, mut crc, mut folder, mut n_lines) = (Vec::new(), 0, None, 0u64);
    loop {
        line.clear();
        let read = file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        read.map_err(|e| Error::io(path, "cannot read", e))?;
        let text = std::str::from_utf8(&line).ok().and_then(|l| l.strip_suffix('\n')).ok_or_else(damaged)?;
        if text.strip_prefix("crc32c ") == Some(&format!("{crc:08x}")) {
            let is_end = file.fill_buf().map_err(|e| Error::io(path, "cannot read", e))?.is_empty();
            return if is_end { Ok(()) } else { Err(damaged()) };
        }
        let is_first = n_lines == 0;
        n_lines += 1;
        crc = crc32c::crc32c_append(crc, &line);
        match (text.strip_suffix('/'), &folder) {
            _ if is_first && text == FIRST_LINE => {}
            _ if is_first => return Err(damaged()),
            (Some(next), _) => folder = Some(if next.is_empty() { String::new() } else { format!("{next}/") }),
            (None, Some(folder)) => show(parse(folder, text).ok_or_else(damaged)?)?,
            (None, None) => return Err(damaged()),
        }
    }
}

fn parse(folder: &str, line: &str) -> Option<Sum> {
    let mut words = line.rsplitn(3, ' ');
    let crc = u32::from_str_radix(words.next()?, 16).ok()?;
    let n_bytes = words.next()?.parse().ok()?;
    let key = format!("{folder}{}", words.next()?);
    super::check_key(&key).is_ok().then_some(Sum { key, n_bytes, crc })
}
