//! Headers of many files, read in parallel and kept in a few bytes per file: files that look alike share
//! one description.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::indexes::Indexes;
use super::packed::runs;
use super::{AbsentPlanes, Info, NoteKind, OpenOptions, Set, open_like};
use crate::axis::{Axis, Calibration};
use crate::error::{Error, Result};
use crate::pool::Pool;

/// Files that look alike: same axes, dtype, storage and absent planes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FileKind {
    /// What the first of them says.
    pub info: Info,
    /// Index of the first of them.
    pub first: u32,
    /// How many they are.
    pub n_files: u64,
}

/// What the headers of all files say.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Headers {
    /// The kinds of files, in order of first appearance.
    pub kinds: Vec<FileKind>,
    /// For every file its kind, or `None` if it could not be opened.
    #[serde(with = "runs")]
    pub kind_of: Vec<Option<u32>>,
    /// Axes whose coordinates in a file are not those of the first one of its kind.
    own_axes: BTreeMap<u32, Vec<Axis>>,
    /// For every file, which member of its data set it is, if it knows.
    #[serde(with = "runs")]
    pub member_of: Vec<Option<u32>>,
    /// Files that could not be opened, in order.
    #[serde(skip)]
    pub broken: Vec<(u32, Error)>,
    /// Bytes of every file; 0 of those that could not be opened.
    #[serde(with = "runs")]
    pub bytes_of: Vec<u64>,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Bytes of the largest file.
    pub largest_file_bytes: u64,
    /// The largest index of pages that one open file holds, in bytes.
    pub held_bytes: u64,
    /// The largest scratch that one read needs, in bytes.
    pub scratch_bytes: u64,
    /// Calibrations of an axis that differ from the first file's: axis, file, what it says, how many files.
    pub disagreements: Vec<Disagreement>,
    /// What the files set aside, assumed or left unused.
    pub notes: Notes,
    /// What it takes to open files again without reading their headers.
    #[serde(skip)]
    pub indexes: Indexes,
}

/// Something that was set aside, assumed or left unused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupedNote {
    /// What it is about.
    pub kind: NoteKind,
    /// What.
    pub text: String,
    /// How many files it is about; 0 if it is about all of them, or their names.
    #[serde(rename = "files")]
    pub n_files: u64,
    /// Name of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

impl GroupedNote {
    /// A note about all files, or their names.
    pub fn of_all(kind: NoteKind, text: String) -> Self {
        Self { kind, text, n_files: 0, example: None }
    }

    /// Adds `notes` to `all`, counting those with one text as one.
    pub fn merge(all: &mut Vec<Self>, notes: &[Self]) {
        for note in notes {
            match all.iter_mut().find(|known| known.text == note.text) {
                Some(known) => known.n_files += note.n_files,
                None => all.push(note.clone()),
            }
        }
    }
}

impl fmt::Display for GroupedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.n_files, &self.example) {
            (1, Some(file)) => write!(f, "{} ({file})", self.text),
            (n, Some(file)) if n > 1 => write!(f, "{} ({n} files, such as {file})", self.text),
            _ => f.write_str(&self.text),
        }
    }
}

/// Notes, each once, in order of first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    list: Vec<GroupedNote>,
    /// For every note its text without numbers.
    shapes: Vec<String>,
}

impl Notes {
    /// Different notes that are kept: notes that differ in every file would grow without bound. Further ones
    /// count with a note that differs in its numbers alone, else with those that are only counted.
    const MOST: usize = 64;
    /// What stands for notes that are only counted.
    const OTHERS: &str = "further notes, which are not listed";

    /// Adds what `file` has to say.
    pub fn add(&mut self, kind: NoteKind, text: &str, file: &Path) {
        let shape = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let mut at = self.list.iter().position(|note| note.text == text);
        // The first grave one is told in any case.
        let is_full = self.list.len() >= Self::MOST && !(kind.is_grave() && self.grave().next().is_none());
        if at.is_none() && is_full {
            let shape = shape(text);
            at = self.shapes.iter().position(|s| *s == shape);
            at = at.or_else(|| self.list.iter().position(|note| note.text == Self::OTHERS));
        }
        if let Some(note) = at.map(|at| &mut self.list[at]) {
            note.n_files += 1;
            return;
        }
        let text = if is_full { Self::OTHERS } else { text };
        self.list.push(GroupedNote { kind, text: text.to_owned(), n_files: 1, example: Some(name_of(file)) });
        self.shapes.push(shape(text));
    }

    /// Those by which pixels could be lost.
    pub fn grave(&self) -> impl Iterator<Item = &GroupedNote> {
        self.list.iter().filter(|note| note.kind.is_grave())
    }

    /// Adds those of `other` whose text is new.
    pub fn join(&mut self, other: Self) {
        for (note, shape) in other.list.into_iter().zip(other.shapes) {
            if !self.list.iter().any(|known| known.text == note.text) {
                self.list.push(note);
                self.shapes.push(shape);
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &GroupedNote> {
        self.list.iter()
    }
}

/// Files that state another calibration than the first file does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disagreement {
    /// Name of the axis.
    pub axis: String,
    /// The first file that differs.
    pub file: u32,
    /// What it says.
    pub calibration: Option<Calibration>,
    /// How many files differ.
    pub n_files: u64,
}

/// What makes files of one kind.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    axes: Vec<(String, u64)>,
    dtype: crate::dtype::DType,
    unit: Vec<u64>,
    storage: String,
    set: Option<String>,
    absent: Option<Arc<AbsentPlanes>>,
    calendar: Option<String>,
    packing: Option<(u64, u64)>,
}

impl Key {
    fn of(info: &Info) -> Self {
        Self {
            axes: info.axes.iter().map(|a| (a.name.clone(), a.length)).collect(),
            dtype: info.dtype,
            unit: info.unit.clone(),
            storage: info.storage.clone(),
            set: info.set.as_ref().map(|s| s.id.clone()),
            absent: info.absent.clone(),
            calendar: info.calendar.clone(),
            packing: info.packing.map(|(scale, offset)| (scale.to_bits(), offset.to_bits())),
        }
    }
}

/// Files whose headers are in flight at once: bounds memory, keeps every core busy.
const BATCH: usize = 2048;

impl Headers {
    /// Opens every file, reading headers only, with as many threads as the machine has processors. Files that
    /// cannot be opened are kept in [`Headers::broken`].
    pub fn read(paths: &[PathBuf], options: &OpenOptions) -> Self {
        Self::read_with(paths, options, 0, Indexes::default(), |_| {})
    }

    /// As [`Headers::read`] with `threads` threads, 0 being one for each processor; one alone is the caller's.
    /// Indexes are kept with `indexes`, which has none so far. `progress` hears the number of files done.
    pub fn read_with(
        paths: &[PathBuf],
        options: &OpenOptions,
        threads: usize,
        indexes: Indexes,
        mut progress: impl FnMut(usize),
    ) -> Self {
        let mut headers = Self { kind_of: Vec::with_capacity(paths.len()), ..Self::default() };
        let mut kinds: HashMap<Key, u32> = HashMap::new();
        let sets: Mutex<HashMap<String, Arc<Set>>> = Mutex::default();
        let indexes = Mutex::new(indexes);
        let info = |path: &PathBuf| {
            let known = || indexes.lock().unwrap_or_else(PoisonError::into_inner);
            let others = known().latest();
            let file = open_like(path, options, &others)?;
            let mut info = file.info().clone();
            let number = file.index().and_then(|index| known().number(&index));
            // Every member of a data set describes the whole: one description serves all.
            if let Some(set) = &mut info.set {
                let mut sets = sets.lock().unwrap_or_else(PoisonError::into_inner);
                *set = Arc::clone(sets.entry(set.id.clone()).or_insert_with(|| Arc::clone(set)));
            }
            Ok((info, number))
        };
        let pool = Pool::new(threads, paths.len());
        for (batch, chunk) in paths.chunks(BATCH).enumerate() {
            for (i, info) in pool.each(chunk, info).into_iter().enumerate() {
                let (info, number) = info.map_or_else(|e| (Err(e), None), |(info, number)| (Ok(info), number));
                headers.add((batch * BATCH + i) as u32, &chunk[i], info, &mut kinds);
                indexes.lock().unwrap_or_else(PoisonError::into_inner).push(number);
            }
            progress(headers.kind_of.len());
        }
        headers.indexes = indexes.into_inner().unwrap_or_else(PoisonError::into_inner);
        headers
    }

    fn add(&mut self, file: u32, path: &Path, info: Result<Info>, kinds: &mut HashMap<Key, u32>) {
        let info = match info {
            Ok(info) => info,
            Err(error) => {
                self.kind_of.push(None);
                self.bytes_of.push(0);
                self.member_of.push(None);
                self.broken.push((file, error));
                return;
            }
        };
        let member = info.member;
        self.bytes_of.push(info.file_bytes);
        self.file_bytes += info.file_bytes;
        self.largest_file_bytes = self.largest_file_bytes.max(info.file_bytes);
        self.held_bytes = self.held_bytes.max(info.held_bytes);
        self.scratch_bytes = self.scratch_bytes.max(info.scratch_bytes);
        info.notes.iter().for_each(|note| self.notes.add(note.kind, &note.text, path));
        if let Some(first) = self.kinds.first().map(|k| k.info.axes.clone()) {
            for axis in &info.axes {
                self.compare(file, &first, axis);
            }
        }
        let next = self.kinds.len() as u32;
        let kind = *kinds.entry(Key::of(&info)).or_insert(next);
        if kind == next {
            self.kinds.push(FileKind { info, first: file, n_files: 0 });
        } else {
            let known = &mut self.kinds[kind as usize].info.axes;
            // Files that begin at different places have no common one.
            let placed = known.iter_mut().zip(&info.axes).filter(|(known, _)| known.coordinates.is_none());
            placed.filter(|(known, own)| known.origin != own.origin).for_each(|(known, _)| known.origin = 0.0);
            let differs = |(own, known): &(Axis, &Axis)| own.coordinates.is_some() && own != *known;
            let own: Vec<Axis> = info.axes.into_iter().zip(&*known).filter(differs).map(|(own, _)| own).collect();
            if !own.is_empty() {
                self.own_axes.insert(file, own);
            }
        }
        self.kinds[kind as usize].n_files += 1;
        self.kind_of.push(Some(kind));
        self.member_of.push(member);
    }

    fn compare(&mut self, file: u32, first: &[Axis], axis: &Axis) {
        let Some(reference) = first.iter().find(|a| a.name == axis.name) else { return };
        let alike = match (&reference.calibration, &axis.calibration) {
            (None, None) => true,
            (Some(a), Some(b)) => a.unit == b.unit && (a.step - b.step).abs() <= 1e-6 * a.step.abs(),
            _ => false,
        };
        if alike {
            return;
        }
        match self.disagreements.iter_mut().find(|d| d.axis == axis.name) {
            Some(known) => known.n_files += 1,
            None => self.disagreements.push(Disagreement {
                axis: axis.name.clone(),
                file,
                calibration: axis.calibration.clone(),
                n_files: 1,
            }),
        }
    }

    /// What the headers of those files say that `keep` chooses; the others count as unreadable.
    #[must_use]
    pub fn only(&self, keep: impl Fn(u32) -> bool) -> Self {
        let kept = |file: usize| u32::try_from(file).is_ok_and(&keep);
        let mut n_files = vec![0; self.kinds.len()];
        let mut first = vec![None; self.kinds.len()];
        for (file, kind) in self.kind_of.iter().enumerate() {
            if let Some(kind) = kind.filter(|_| kept(file)) {
                n_files[kind as usize] += 1;
                first[kind as usize].get_or_insert(file as u32);
            }
        }
        let mut number = vec![None; self.kinds.len()];
        let mut kinds = Vec::new();
        for (i, kind) in self.kinds.iter().enumerate() {
            if let Some(first) = first[i] {
                number[i] = Some(kinds.len() as u32);
                kinds.push(FileKind { info: kind.info.clone(), first, n_files: n_files[i] });
            }
        }
        let kind_of = self.kind_of.iter().enumerate();
        let kind_of =
            kind_of.map(|(file, kind)| kind.filter(|_| kept(file)).and_then(|k| number[k as usize])).collect();
        Self {
            kinds,
            kind_of,
            own_axes: self.own_axes.clone(),
            member_of: self.member_of.clone(),
            broken: Vec::new(),
            bytes_of: self.bytes_of.clone(),
            file_bytes: self.file_bytes,
            largest_file_bytes: self.largest_file_bytes,
            held_bytes: self.held_bytes,
            scratch_bytes: self.scratch_bytes,
            disagreements: self.disagreements.clone(),
            notes: self.notes.clone(),
            indexes: self.indexes.clone(),
        }
    }

    /// What file number `file` says, as far as files of its kind are alike.
    pub fn info(&self, file: u32) -> Option<&Info> {
        let kind = self.kind_of.get(file as usize).copied().flatten()?;
        Some(&self.kinds[kind as usize].info)
    }

    /// Axis number `axis` of file number `file`, with its own coordinates.
    pub fn axis(&self, file: u32, axis: usize) -> Option<&Axis> {
        let known = self.info(file)?.axes.get(axis)?;
        let own = self.own_axes.get(&file).and_then(|own| own.iter().find(|own| own.name == known.name));
        Some(own.unwrap_or(known))
    }

    /// The kind that most files are of.
    pub fn main_kind(&self) -> Option<&FileKind> {
        // Of equally frequent kinds the first.
        self.kinds.iter().rev().max_by_key(|k| k.n_files)
    }

    /// Refuses files that could not be opened, naming the first few, and files of which pages could be lost.
    ///
    /// # Errors
    /// The first file's error, with the names of the others; `Usage` where pages are in no array that is read.
    pub fn check(&mut self, paths: &[PathBuf]) -> Result<()> {
        if self.broken.is_empty() {
            return self.check_pages();
        }
        let more: Vec<String> = self.broken[1..].iter().take(3).map(|(f, _)| name_of(&paths[*f as usize])).collect();
        let n_more = self.broken.len() - 1;
        let (_, error) = self.broken.swap_remove(0);
        if n_more == 0 {
            return Err(error);
        }
        let files = if n_more == 1 { "file" } else { "files" };
        let and = if n_more > more.len() { ", .." } else { "" };
        let tail = format!("(and {n_more} more {files} that cannot be read: {}{and})", more.join(", "));
        Err(error.and(format_args!("\n  {tail}")))
    }

    /// Refuses files of which pages could be lost.
    ///
    /// # Errors
    /// `Usage` where pages are in no array that is read.
    pub fn check_pages(&self) -> Result<()> {
        self.notes.grave().next().map_or(Ok(()), |note| Err(Error::usage(note)))
    }
}

/// Axes, shape and dtype of a file: `z y x (201, 1024, 768) uint16`.
pub fn describe(info: &Info) -> String {
    let names: Vec<&str> = info.axes.iter().map(|a| a.name.as_str()).collect();
    let lengths: Vec<String> = info.axes.iter().map(|a| a.length.to_string()).collect();
    format!("{} ({}) {}", names.join(" "), lengths.join(", "), info.dtype)
}

/// The last part of a path, for messages.
pub fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_once_with_their_files_however_many_differ() {
        const KIND: NoteKind = NoteKind::PaletteKept;
        let mut notes = Notes::default();
        let name = |i: usize| PathBuf::from(format!("raw/f{i}.tif"));
        (0..3).for_each(|i| notes.add(KIND, "palette", &name(i)));
        (0..100).for_each(|i| notes.add(KIND, &format!("{i} pages left out"), &name(i)));
        ["a", "b"].iter().for_each(|text| notes.add(KIND, text, &name(7)));
        let all: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(all[..2], ["palette (3 files, such as f0.tif)", "0 pages left out (38 files, such as f0.tif)"]);
        assert_eq!(all[2], "1 pages left out (f1.tif)");
        assert_eq!(
            all.last().map(String::as_str),
            Some("further notes, which are not listed (2 files, such as f7.tif)")
        );
        assert_eq!(notes.iter().map(|n| n.n_files).sum::<u64>(), 105);
        let mut more = Notes::default();
        ["palette", "orientation"].iter().for_each(|text| more.add(KIND, text, &name(0)));
        notes.join(more);
        assert_eq!(notes.iter().map(|n| n.n_files).sum::<u64>(), 106);
    }
}
