//! What one long way over an array has come to, kept beside an output on the way, so that a later run goes on there.
//!
//! ```text
//! .NAME.PASS.kept     CRC-32C of the rest; length of the title; title; number of steps that are done; state
//! ```
//!
//! A file is replaced at one blow; it is believed if its checksum and its title are right, and else passed over.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::this_process;
use crate::error::{Error, Result};

/// Steps between two states take so many times what keeping one takes.
const PATIENCE: u32 = 20;

/// Ends the names of what is kept.
const KEPT: &str = ".kept";

/// Where states are kept; nowhere, if there is no output.
pub struct Checkpoints {
    output: Option<PathBuf>,
    manifest: String,
    last: Instant,
    took: Duration,
    n_resumed: u64,
}

impl Checkpoints {
    /// Beside `output`, for runs with the same `manifest`.
    pub fn new(output: Option<&Path>, manifest: &Value) -> Self {
        let (last, took) = (Instant::now(), Duration::ZERO);
        Self { output: output.map(Path::to_owned), manifest: manifest.to_string(), last, took, n_resumed: 0 }
    }

    /// Whether anything is kept.
    pub fn keeps(&self) -> bool {
        self.output.is_some()
    }

    /// Steps that were not taken again.
    pub fn n_resumed(&self) -> u64 {
        self.n_resumed
    }

    /// Reads the `state` that an earlier run kept of `pass`, and gives the number of its steps that are done: none, and
    /// `state` as it was, where there is nothing to be believed.
    ///
    /// # Errors
    /// `Io`.
    pub fn recall(&mut self, pass: &str, state: &mut [&mut [u8]]) -> Result<u64> {
        let Some(path) = self.path(pass) else { return Ok(0) };
        match self.read(&path, pass, state) {
            Ok(n) => {
                self.n_resumed += n;
                Ok(n)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(0),
            Err(e) => Err(Error::io(&path, "cannot read", e)),
        }
    }

    /// Keeps the `state` after `n_done` steps of `pass`, unless that was done a moment ago and need not be at once.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep(&mut self, pass: &str, n_done: u64, state: &[&mut [u8]], at_once: bool) -> Result<()> {
        let Some(path) = self.path(pass) else { return Ok(()) };
        // It goes with the others if this process does not come to rename it.
        let temporary = self.path(&format!("{}~{pass}", this_process().replace(['.', ' '], "-"))).unwrap_or_default();
        let begun = Instant::now();
        if !at_once && begun.duration_since(self.last) < self.took * PATIENCE {
            return Ok(());
        }
        self.write(&path, &temporary, pass, n_done, state).map_err(|e| Error::io(&path, "cannot write", e))?;
        self.last = Instant::now();
        self.took = begun.elapsed();
        Ok(())
    }

    /// Removes all that is kept beside `output`, which has its name.
    ///
    /// # Errors
    /// `Io`.
    pub fn forget(output: &Path) -> Result<()> {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let own = entry.file_name();
            let pass = own.to_str().and_then(|own| own.strip_prefix(&format!(".{name}."))?.strip_suffix(KEPT));
            if pass.is_some_and(|pass| !pass.contains('.')) {
                fs::remove_file(entry.path()).map_err(|e| Error::io(&entry.path(), "cannot remove", e))?;
            }
        }
        Ok(())
    }

    /// The file of a pass, which the first word of its name names.
    fn path(&self, pass: &str) -> Option<PathBuf> {
        let output = self.output.as_ref()?;
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        Some(output.with_file_name(format!(".{name}.{}{KEPT}", pass.split(' ').next().unwrap_or_default())))
    }

    fn title(&self, pass: &str) -> String {
        format!("{pass}\n{}", self.manifest)
    }

    fn write(&self, path: &Path, temporary: &Path, pass: &str, n_done: u64, state: &[&mut [u8]]) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(temporary)?);
        let title = self.title(pass);
        let (length, n_done) = ((title.len() as u64).to_le_bytes(), n_done.to_le_bytes());
        let head: [&[u8]; 3] = [&length, title.as_bytes(), &n_done];
        let mut crc = 0;
        file.write_all(&[0; 4])?;
        for part in head.into_iter().chain(state.iter().map(|part| &**part)) {
            crc = crc32c::crc32c_append(crc, part);
            file.write_all(part)?;
        }
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&crc.to_le_bytes())?;
        file.into_inner()?.sync_data()?;
        fs::rename(temporary, path)
    }

    fn read(&self, path: &Path, pass: &str, state: &mut [&mut [u8]]) -> io::Result<u64> {
        let mut file = BufReader::new(File::open(path)?);
        let title = self.title(pass);
        let mut crc = [0; 4];
        file.read_exact(&mut crc)?;
        let (mut found, mut chunk) = (0, vec![0; 64 << 10]);
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                n => found = crc32c::crc32c_append(found, &chunk[..n]),
            }
        }
        let n_bytes = 20 + title.len() as u64 + state.iter().map(|part| part.len() as u64).sum::<u64>();
        if found != u32::from_le_bytes(crc) || file.stream_position()? != n_bytes {
            return Ok(0);
        }
        file.seek(SeekFrom::Start(4))?;
        let (mut number, mut own) = ([0; 8], vec![0; title.len()]);
        file.read_exact(&mut number)?;
        file.read_exact(&mut own)?;
        if u64::from_le_bytes(number) != title.len() as u64 || own != title.as_bytes() {
            return Ok(0);
        }
        file.read_exact(&mut number)?;
        state.iter_mut().try_for_each(|part| file.read_exact(part))?;
        Ok(u64::from_le_bytes(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_recalled_if_nothing_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("d.npy");
        let new = |version: u64| Checkpoints::new(Some(&output), &serde_json::json!({ "version": version }));
        let recalled = |of: &mut Checkpoints, pass: &str, n: usize| {
            let (mut a, mut b) = (vec![0; 3], vec![0; n]);
            (of.recall(pass, &mut [&mut a, &mut b]).unwrap(), a, b)
        };
        let nothing = (0, vec![0; 3], vec![0; 2]);
        assert_eq!(recalled(&mut new(1), "sums 4", 2), nothing);
        new(1).keep("sums 4", 7, &[&mut [1, 2, 3], &mut [4, 5]], false).unwrap();
        assert_eq!(recalled(&mut new(1), "sums 4", 2), (7, vec![1, 2, 3], vec![4, 5]));
        assert_eq!(recalled(&mut new(2), "sums 4", 2), nothing);
        assert_eq!(recalled(&mut new(1), "sums 5", 2), nothing);
        assert_eq!(recalled(&mut new(1), "means 4", 2), nothing);
        assert_eq!(recalled(&mut new(1), "sums 4", 3).0, 0);
        let path = folder.path().join(".d.npy.sums.kept");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(recalled(&mut new(1), "sums 4", 2), nothing);
        fs::write(&path, [1, 2]).unwrap();
        assert_eq!(recalled(&mut new(1), "sums 4", 2), nothing);
        fs::write(folder.path().join(".d.npy.other"), []).unwrap();
        // What a process leaves that is killed as it writes.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        new(1).keep("sums 4", 7, &[&mut [1, 2, 3], &mut [4, 5]], true).unwrap_err();
        fs::remove_dir(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        Checkpoints::forget(&output).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
