//! What stands in the way of a right array, in words.

use std::collections::BTreeSet;

use serde::Serialize;

use super::request::{Missing, Request};
use super::survey::{Naming, Survey};
use crate::array::Selection;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::pattern::{Fault, FaultKind};
use crate::report::count;
use crate::source::headers::{describe, name_of};
use crate::source::{Info, NoteKind, OpenOptions, open};
use crate::stack::Stack;

/// Lines of examples under a fault.
const SHOWN: usize = 10;

/// Something that stands in the way of a right array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What sort.
    pub kind: ObstacleKind,
    /// The message: a line, then examples.
    pub text: String,
}

/// Sorts of [`Obstacle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObstacleKind {
    /// Positions that no file covers.
    Holes,
    /// Positions with several files.
    Duplicates,
    /// Coordinates that disagree.
    Conflict,
    /// Names that the pattern does not match.
    Unmatched,
    /// Files that cannot be opened.
    Unreadable,
    /// Files unlike the others.
    Odd,
    /// Pages of files that nobody chose or set aside.
    LostPages,
    /// Time steps that are not even.
    Uneven,
    /// Files of odd sizes.
    Size,
    /// Frames of one value.
    EmptyFrames,
    /// Frames that are the same as an earlier one.
    RepeatedFrames,
    /// There is no array.
    NoArray,
}

impl Survey {
    /// Everything that stands in the way of the array that [`Survey::fitting`] gives.
    pub fn obstacles(&self, fitting: Option<&Result<(Stack, Vec<u32>)>>) -> Vec<Obstacle> {
        let mut found = Vec::new();
        let mut add = |kind, text| found.push(Obstacle { kind, text });
        match (fitting, &self.naming) {
            (Some(Err(reason)), _) | (None, Naming::Unknown(reason)) => {
                add(ObstacleKind::NoArray, format!("no array: {reason}"));
            }
            _ => {}
        }
        if let Naming::Names { arrangement, names, .. } = &self.naming {
            arrangement.faults(names).into_iter().for_each(|fault| add(sort(fault.kind), fault.text));
        }
        if let Some(text) = self.absent_members() {
            add(ObstacleKind::Holes, text);
        }
        let stack = fitting.and_then(|f| f.as_ref().ok());
        if let Some(text) = stack.and_then(|(stack, _)| self.absent_planes(stack.layout())) {
            add(ObstacleKind::Holes, text);
        }
        if !self.headers.broken.is_empty() {
            let n = self.headers.broken.len();
            let head = format!("{} cannot be read", count(n as u64, "file"));
            // A reason that all of them have is said once.
            let reasons: BTreeSet<String> = self.unreadable().map(|(_, reason)| reason).collect();
            let text = match reasons.first().filter(|_| n > 1 && reasons.len() == 1) {
                Some(reason) => listed(format!("{head}: {reason}"), n, self.unreadable().map(|(file, _)| file)),
                None => listed(head, n, self.unreadable().map(|(file, reason)| format!("{file}: {reason}"))),
            };
            add(ObstacleKind::Unreadable, text);
        }
        self.headers.notes.grave().for_each(|note| add(ObstacleKind::LostPages, note.to_string()));
        if let Some(text) = stack.and_then(|(stack, _)| self.emptied(stack.layout())) {
            add(ObstacleKind::Holes, text);
        }
        if let Some((_, odd)) = stack.filter(|(_, odd)| !odd.is_empty()) {
            let head = if odd.len() == 1 { "1 file is".into() } else { format!("{} files are", odd.len()) };
            let lines = odd.iter().map(|&file| format!("{}: {}", self.path(file), self.oddness(file)));
            add(ObstacleKind::Odd, listed(format!("{head} unlike the others"), odd.len(), lines));
        }
        found
    }

    /// Files that cannot be opened, and why.
    pub fn unreadable(&self) -> impl Iterator<Item = (String, String)> {
        self.headers.broken.iter().map(|(file, error)| {
            let path = self.path(*file);
            let reason = error.to_string();
            let reason = reason.strip_prefix(&format!("{path}: ")).unwrap_or(&reason).to_owned();
            (path, reason)
        })
    }

    /// In which way a file is unlike most.
    pub fn oddness(&self, file: u32) -> String {
        let main = self.headers.main_kind().map(|kind| &kind.info);
        self.headers.info(file).map_or(String::new(), |info| differs(info, main))
    }

    /// A file as it was named.
    pub fn path(&self, file: u32) -> String {
        self.paths.get(file as usize).map_or(String::new(), |p| p.display().to_string())
    }

    /// Names of members of a data set that are not there.
    pub fn members_missing(&self) -> Vec<&str> {
        let Naming::Set { set, members } = &self.naming else { return Vec::new() };
        set.files.iter().zip(members).filter(|(_, m)| m.is_none()).map(|(f, _)| f.as_str()).collect()
    }

    fn absent_members(&self) -> Option<String> {
        let absent = self.members_missing();
        let Naming::Set { set, .. } = &self.naming else { return None };
        let head = format!("{} of {} files of the data set are not there", absent.len(), set.files.len());
        (!absent.is_empty()).then(|| listed(head, absent.len(), absent.iter().map(ToString::to_string)))
    }

    /// Planes that descriptions count and no file holds, by position.
    fn absent_planes(&self, layout: &Layout) -> Option<String> {
        let empty = self.n_absent(layout);
        if empty == 0 {
            return None;
        }
        let verb = if empty == 1 { "plane that a description counts is" } else { "planes that descriptions count are" };
        let lines: Vec<(u64, String)> = self.absent_positions(layout).take(SHOWN).collect();
        let told: u64 = lines.iter().map(|l| l.0).sum();
        let mut text = format!("{empty} {verb} not there");
        lines.iter().for_each(|(_, line)| text += &format!("\n  {line}"));
        if told < empty {
            text += &format!("\n  and {} more", empty - told);
        }
        Some(text)
    }

    /// Number of planes that descriptions count and no file holds, those of members that are not there apart.
    pub fn n_absent(&self, layout: &Layout) -> u64 {
        match self.naming {
            Naming::Set { .. } if !self.members_missing().is_empty() => 0,
            Naming::Set { .. } | Naming::Places { .. } => layout.n_holes(),
            // Names say which cells are empty.
            _ => layout.n_absent_planes(),
        }
    }

    /// Runs of planes that no file holds: how many, and where, in words.
    pub fn absent_positions<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = (u64, String)> + 'a {
        let lacks = layout.lacks().map(|lack| {
            let file = name_of(&self.paths[lack.file as usize]);
            let (place, planes) = (layout.run(&lack), if lack.n_planes == 1 { "this plane" } else { "these planes" });
            (lack.n_planes, format!("{place}: the file {file} lacks {planes}"))
        });
        let is_set = matches!(self.naming, Naming::Set { .. } | Naming::Places { .. });
        let is_set = is_set && self.members_missing().is_empty();
        let cells = is_set.then(|| layout.empty_cells()).into_iter().flatten();
        let cells = cells.map(|cell| {
            let place = layout.position(&layout.cell_region(&cell).origin, None);
            let why = self
                .short_member(&cell, layout)
                .map_or("no file has this plane".to_owned(), |file| format!("the file {file} lacks this plane"));
            (1, format!("{place}: {why}"))
        });
        lacks.chain(cells)
    }

    /// The file of a data set that is there and should hold the plane at `cell`.
    fn short_member(&self, cell: &[u64], layout: &Layout) -> Option<String> {
        let Naming::Set { set, members } = &self.naming else { return None };
        let at = |name: &str| crate::axis::position(layout.axes(), name).map_or(0, |axis| cell[axis]);
        let plane = set.axes.iter().fold(0, |n, (name, length)| n * length + at(name));
        let (member, _) = (*set.planes.get(plane as usize)?)?;
        members.get(member as usize)?.map(|file| name_of(&self.paths[file as usize]))
    }

    /// Strips or tiles that have a place in a file and no bytes, lost, not left out, by the planes that they are of.
    fn emptied(&self, layout: &Layout) -> Option<String> {
        let note = self.headers.notes.iter().find(|note| note.kind == NoteKind::PiecesEmptied)?;
        let lines: Vec<String> = layout
            .emptied()
            .map(|lack| (layout.run(&lack), name_of(&self.paths[lack.file as usize])))
            .map(|(place, file)| if place.is_empty() { file } else { format!("{place}: {file}") })
            .collect();
        (!lines.is_empty()).then(|| listed(note.to_string(), lines.len(), lines.into_iter()))
    }

    /// Refuses whatever would put a wrong pixel into the array, and positions without a file unless they may be missing
    /// or are looked at later, when it is known which ones are chosen.
    ///
    /// # Errors
    /// The first of: files that cannot be read, names that do not fit, holes that are not allowed.
    pub(super) fn check(&mut self, request: &Request) -> Result<()> {
        if request.source.skip_bad && !self.headers.kinds.is_empty() {
            self.headers.check_pages()?;
        } else {
            let saved = self.n_savable();
            let way = format!("\n  --skip-bad goes on with the {} that can be read", count(saved, "page"));
            self.headers.check(&self.paths).map_err(|e| if saved > 0 { e.and(way) } else { e })?;
        }
        if let Naming::Unknown(reason) = &self.naming {
            return Err(Error::Usage(reason.to_string()));
        }
        let allowed = request.missing != Missing::Error || request.select.is_some();
        if let Some(text) = self.absent_members().filter(|_| !allowed) {
            return Err(refused(FaultKind::Missing, text));
        }
        let Naming::Names { arrangement, names, .. } = &self.naming else { return Ok(()) };
        let allowed = |kind| kind == FaultKind::Missing && allowed;
        let faults = arrangement.faults(names).into_iter().filter(|fault| !allowed(fault.kind));
        let is_short = |kind| kind == FaultKind::Missing && !arrangement.elsewhere.is_empty();
        let more = "\n  other values of --by have files there: files that are given alone, as by --include, make an array of \
                    their own positions";
        let text = |fault: Fault| with_way_out(fault.kind, fault.text) + if is_short(fault.kind) { more } else { "" };
        let faults: Vec<String> = faults.map(text).collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::Format(faults.join("\n"))) }
    }

    /// Pages that `--skip-bad` would go on with, where some cannot be read.
    fn n_savable(&self) -> u64 {
        /// Broken files that are opened once more for this number.
        const OPENED: usize = 64;
        let options = OpenOptions { skip_bad: true, ..self.options.clone() };
        let broken = self.headers.broken.iter().take(OPENED);
        let saved = broken.filter_map(|(file, _)| open(self.paths.get(*file as usize)?, &options).ok());
        let whole: u64 = self.headers.kinds.iter().map(|kind| kind.n_files * kind.info.n_planes()).sum();
        whole + saved.map(|file| file.info().n_planes()).sum::<u64>()
    }

    /// Refuses planes that a description counts and no file holds; if a part is chosen, every position in it that no
    /// file covers.
    ///
    /// # Errors
    /// `Format`, listing them; `Usage` if there is no such part.
    pub(super) fn check_covered(&self, layout: &Layout, select: Option<&str>) -> Result<()> {
        let text = match select {
            None => self.absent_planes(layout).or_else(|| self.emptied(layout)),
            Some(text) => uncovered(layout, &Selection::parse(layout.axes(), text)?),
        };
        text.map_or(Ok(()), |text| Err(refused(FaultKind::Missing, text)))
    }
}

/// Positions of `layout` that are chosen and that no file covers.
fn uncovered(layout: &Layout, choice: &Selection) -> Option<String> {
    let cells = layout.empty_cells().map(|cell| layout.cell_region(&cell)).filter(|region| choice.meets(region));
    let planes =
        layout.lacks().chain(layout.emptied()).filter(|lack| choice.meets(&lack.region)).map(|lack| layout.run(&lack));
    let lines: Vec<String> = cells.map(|region| layout.position(&region.origin, None)).chain(planes).collect();
    let head = format!("{} of what --select chooses that no file covers", count(lines.len() as u64, "position"));
    (!lines.is_empty()).then(|| listed(head, lines.len(), lines.into_iter()))
}

fn sort(kind: FaultKind) -> ObstacleKind {
    match kind {
        FaultKind::Missing => ObstacleKind::Holes,
        FaultKind::Duplicate => ObstacleKind::Duplicates,
        FaultKind::Conflict => ObstacleKind::Conflict,
        FaultKind::Unmatched => ObstacleKind::Unmatched,
    }
}

fn refused(kind: FaultKind, text: String) -> Error {
    Error::Format(with_way_out(kind, text))
}

fn with_way_out(kind: FaultKind, text: String) -> String {
    match kind {
        FaultKind::Missing => format!("{text}\n  bring them, or fill them with --missing fill"),
        FaultKind::Unmatched => format!("{text}\n  leave them out with --exclude"),
        _ => text,
    }
}

/// A line, then examples.
pub fn listed(head: String, n: usize, examples: impl Iterator<Item = String>) -> String {
    let mut text = head;
    for example in examples.take(SHOWN) {
        text.push_str(&format!("\n  {}", example.replace('\n', "\n  ")));
    }
    if n > SHOWN {
        text.push_str(&format!("\n  and {} more", n - SHOWN));
    }
    text
}

/// In which way a file is unlike the others.
fn differs(info: &Info, main: Option<&Info>) -> String {
    let Some(main) = main else { return describe(info) };
    let names = |i: &Info| i.axes.iter().map(|a| a.name.clone()).collect::<Vec<_>>();
    let mut ways = Vec::new();
    if names(info) == names(main) {
        for (a, b) in info.axes.iter().zip(&main.axes).filter(|(a, b)| a.length != b.length) {
            let short = a.name == "z" && a.length < b.length;
            let hint = if short { " (acquisition cut short?)" } else { "" };
            ways.push(format!("{} is {}, the others have {}{hint}", a.name, a.length, b.length));
        }
        if info.dtype != main.dtype {
            ways.push(format!("{}, the others are {}", info.dtype, main.dtype));
        }
    }
    if ways.is_empty() { describe(info) } else { ways.join("; ") }
}
