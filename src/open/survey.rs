//! What the named files are, found out from names and headers alone.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::places;
use super::request::{Names, Request};
use crate::array::Selection;
use crate::axis::{Axis, position};
use crate::bytes::within;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::pattern::{self, Arrangement, FieldAxis, InferOptions, Inferred, Pattern, Preset};
use crate::report::count;
use crate::source::headers::{FileKind, GroupedNote, Headers, name_of};
use crate::source::indexes::Indexes;
use crate::source::{Info, NoteKind, OpenOptions, Set, has_axes, scan};
use crate::stack::Stack;
use crate::unit;

impl Request {
    /// What names and headers say of each array: of one, or with [`Request::by`] of one for each value.
    /// `progress` hears how many files of how many are read.
    ///
    /// # Errors
    /// As [`Request::open`], but for what stands in the way of an array: the survey tells of it.
    pub fn survey(&self, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Survey>> {
        let found = self.known.as_ref().map_or_else(|| scan::scan(&self.inputs), |known| known.found(&self.inputs))?;
        if let Some(field) = &self.by {
            return self.divided(&found.paths, field, progress);
        }
        let mut survey = Survey::new(found.paths, self, progress);
        survey.n_left_out = found.n_left_out;
        let reading = NameRule::new(&self.names);
        let by_set = survey.set().is_some_and(|set| survey.paths.len() > 1 || !set.elsewhere);
        let places = reading.pattern.is_none().then(|| places::arranged(&survey.headers)).flatten();
        let survey = match reading.pattern {
            None if by_set => survey.by_set(self, progress)?,
            None if survey.paths.len() == 1 && !self.names_only => survey,
            None if let Some((axes, cells)) = places => Survey { naming: Naming::Places { axes, cells }, ..survey },
            _ => survey.by_names(&reading, &pattern::Group::default())?,
        };
        Ok(vec![survey])
    }

    /// One array after the other: files divided by the values of fields, on one grid.
    fn divided(&self, paths: &[PathBuf], fields: &str, progress: &mut dyn FnMut(usize, usize)) -> Result<Vec<Survey>> {
        let mut reading = NameRule::new(&self.names);
        let texts = texts(paths);
        if let (None, [_]) = (&reading.pattern, paths) {
            let (first, alone) =
                (fields.split(',').next().unwrap_or_default().trim(), "files by their names, and there is one");
            return Err(Error::usage(format!(
                "--by {fields} divides {alone}: --select {first}=0 takes one of an axis"
            )));
        }
        if reading.pattern.is_none() {
            reading.take(pattern::infer(&texts, &reading.infer)?, &texts)?;
        }
        let by: Vec<&str> = fields.split(',').map(str::trim).collect();
        // What every array has stays an axis of one place, with its name and coordinate.
        let dropped = by.iter().filter(|field| !matches!(**field, "t" | "c" | "z" | "y" | "x"));
        reading.infer.arrange.drop.extend(dropped.map(|field| (*field).to_owned()));
        let Some(pattern) = &reading.pattern else { return Ok(Vec::new()) };
        let split = pattern::split(pattern, &texts, &by, &reading.infer.arrange.drop)?;
        if let Some(first) = split.unmatched.first() {
            let n = count(split.unmatched.len() as u64, "name");
            let first = &texts[*first as usize];
            let what =
                format!("{n} cannot be divided by '{fields}', since '{pattern}' does not match, such as {first}");
            return Err(Error::Format(format!("{what}\n  leave them out with --exclude")));
        }
        let survey = |group: pattern::Group| {
            let paths = group.names.iter().map(|i| paths[*i as usize].clone()).collect();
            let survey = Survey::new(paths, self, progress).by_names(&reading, &group)?;
            Ok(Survey { value: Some(group.value), ..survey })
        };
        split.groups.into_iter().map(survey).collect()
    }
}

/// What names and headers say of one array.
#[derive(Debug)]
pub struct Survey {
    /// The values of the fields of [`Request::by`], joined by commas.
    pub value: Option<String>,
    /// The files.
    pub paths: Vec<PathBuf>,
    /// Files that globs left out.
    pub n_left_out: u64,
    /// What their headers say.
    pub headers: Headers,
    /// How they find their places.
    pub naming: Naming,
    /// How they are understood.
    pub(super) options: OpenOptions,
}

/// How files find their places.
#[derive(Debug)]
pub enum Naming {
    /// One file, which is the array.
    Single,
    /// The files describe themselves.
    Set {
        /// What they say.
        set: Arc<Set>,
        /// For every member of the set, the file, if it is there.
        members: Vec<Option<u32>>,
    },
    /// By the coordinates in them.
    Places {
        /// Axes along which they lie.
        axes: Vec<FieldAxis>,
        /// Row-major number of a cell over `axes` and the file in it, sorted by cell.
        cells: Vec<(u64, u32)>,
    },
    /// By their names, but nobody knows how; the reason.
    Unknown(Error),
    /// By their names.
    Names {
        /// How names are read.
        pattern: Box<Pattern>,
        /// Where they lie.
        arrangement: Box<Arrangement>,
        /// The names.
        names: Vec<String>,
        /// Why this pattern, if nobody gave it.
        why: Vec<String>,
        /// Who gave it.
        from: Origin,
    },
}

/// Who gave the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request.
    Given,
    /// A preset of this name, given or found to fit.
    Preset(String),
    /// It was found in the names.
    Inferred,
}

/// How names were read where nobody had said it: by this, a part of them is read alike.
#[derive(Clone, Debug)]
pub struct Found {
    /// The pattern.
    pub pattern: String,
    /// Whether it is a regular expression.
    pub is_regex: bool,
    /// The order of its tiles.
    pub layout: Option<String>,
}

/// A pattern as it is settled.
struct NameRule {
    pattern: Option<Pattern>,
    from: Origin,
    why: Vec<String>,
    infer: InferOptions,
}

impl NameRule {
    fn new(names: &Names) -> Self {
        let from = names.preset.clone().map_or(Origin::Given, Origin::Preset);
        Self { pattern: names.pattern.clone(), from, why: Vec::new(), infer: names.infer.clone() }
    }

    /// Reads all names by a pattern found in them.
    fn take(&mut self, found: Inferred, names: &[String]) -> Result<()> {
        if let Some(name) = &found.preset {
            let preset = preset(name, &self.infer.presets);
            let layout = preset.map_or(Ok(None), Preset::layout)?;
            self.infer.arrange.layout.extend(layout);
        }
        self.from = found.preset.map_or(Origin::Inferred, Origin::Preset);
        self.pattern = Some(found.pattern.concise(names));
        self.why = found.why;
        Ok(())
    }
}

/// The preset called `name`; the user's `own` come first.
pub fn preset<'p>(name: &str, own: &'p [Preset]) -> Option<&'p Preset> {
    own.iter().chain(pattern::presets()).find(|p| p.name == name)
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|p| p.to_string_lossy().into_owned()).collect()
}

impl Survey {
    fn new(paths: Vec<PathBuf>, request: &Request, progress: &mut dyn FnMut(usize, usize)) -> Self {
        let readers = readers(request, paths.len());
        // All readers together half of what there is.
        let limit_bytes = request.limit_bytes.map(|bytes| bytes / 2 / readers as u64);
        let options = OpenOptions { limit_bytes, ..request.source.clone() };
        let mut survey =
            Self { value: None, paths, n_left_out: 0, headers: Headers::default(), naming: Naming::Single, options };
        if !request.names_only {
            survey.read_headers(request, progress);
        }
        survey
    }

    fn read_headers(&mut self, request: &Request, progress: &mut dyn FnMut(usize, usize)) {
        let of = self.paths.len();
        let mut read = |options: &OpenOptions| {
            if let Some(headers) = request.known.as_ref().and_then(|known| known.find(&self.paths, options)) {
                return headers;
            }
            let (indexes, readers) = (Indexes::within(request.limit_bytes), readers(request, of));
            let headers = Headers::read_with(&self.paths, options, readers, indexes, |done| progress(done, of));
            request.known.iter().for_each(|known| known.keep(&self.paths, options, &headers));
            headers
        };
        self.headers = read(&self.options);
        // Files that break off lack what others like them have.
        let (cut, whole): (Vec<&FileKind>, _) = self.headers.kinds.iter().partition(|kind| kind.info.breaks_off());
        let most = whole.into_iter().max_by_key(|kind| kind.n_files);
        if let Some(most) = most.filter(|_| !cut.is_empty()) {
            self.options.n_pages = Some(most.info.n_planes());
            self.headers = read(&self.options);
        }
    }

    /// The data set that every readable file says it belongs to.
    fn set(&self) -> Option<&Arc<Set>> {
        let first = self.headers.kinds.first()?.info.set.as_ref()?;
        let alike = |kind: &FileKind| kind.info.set.as_ref().is_some_and(|s| s.id == first.id);
        self.headers.kinds.iter().all(alike).then_some(first)
    }

    fn by_set(mut self, request: &Request, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        let (Some(set), Some(kind)) = (self.set().cloned(), self.headers.kinds.first()) else { return Ok(self) };
        let folder = self.paths[kind.first as usize].parent().map(PathBuf::from).unwrap_or_default();
        let known_paths: HashSet<&PathBuf> = self.paths.iter().collect();
        let (mut paths, mut members) = (Vec::new(), Vec::new());
        for (member, name) in (0..).zip(&set.files) {
            // Files that know who they are may have any name.
            let known = self.headers.member_of.iter().position(|m| *m == Some(member));
            let mut named = Some(folder.join(name)).filter(|path| known_paths.contains(path) || path.exists());
            // What the user named is no secret.
            if named.as_ref().is_some_and(|path| !known_paths.contains(path)) {
                let at = self.paths[kind.first as usize].display();
                named = Some(within(&folder, name, request.source.follow).map_err(|e| e.at(at))?);
            }
            let path = named.or_else(|| known.map(|file| self.paths[file].clone()));
            members.push(path.as_ref().map(|_| paths.len() as u32));
            paths.extend(path);
        }
        self.paths = paths;
        self.options.as_pages = true;
        let notes = std::mem::take(&mut self.headers.notes);
        self.read_headers(request, progress);
        let own = std::mem::replace(&mut self.headers.notes, notes);
        self.headers.notes.join(own);
        self.naming = Naming::Set { set, members };
        Ok(self)
    }

    /// A pattern that was given must match; one that cannot be found is a fault to be told of. The files may be those of
    /// `group`, which is on one grid with others.
    fn by_names(mut self, reading: &NameRule, group: &pattern::Group) -> Result<Self> {
        let names = texts(&self.paths);
        self.naming = match &reading.pattern {
            Some(pattern) => {
                let mut options = reading.infer.arrange.clone();
                options.elsewhere.extend_from_slice(&group.elsewhere);
                let mut arrangement = pattern::arrange(pattern, &names, &options)?;
                arrangement.notes.extend_from_slice(&group.notes);
                let (pattern, why) = (Box::new(pattern.clone()), reading.why.clone());
                Naming::Names { pattern, arrangement: Box::new(arrangement), names, why, from: reading.from.clone() }
            }
            None => match pattern::infer(&names, &reading.infer) {
                Ok(found) => Naming::Names {
                    pattern: Box::new(found.pattern.concise(&names)),
                    arrangement: Box::new(found.arrangement),
                    names,
                    why: found.why,
                    from: found.preset.map_or(Origin::Inferred, Origin::Preset),
                },
                Err(reason) => Naming::Unknown(reason),
            },
        };
        if let (Naming::Names { arrangement, .. }, true) = (&mut self.naming, self.options.skip_bad) {
            // Files that cannot be read leave holes.
            let headers = &self.headers;
            arrangement.keep(|file| headers.broken.binary_search_by_key(&file, |b| b.0).is_err());
        }
        Ok(self)
    }

    /// How names fall on a grid, if they do.
    pub fn arrangement(&self) -> Option<&Arrangement> {
        match &self.naming {
            Naming::Names { arrangement, .. } => Some(arrangement),
            _ => None,
        }
    }

    /// Row-major numbers of cells and the files in them, by names or coordinates.
    pub(super) fn cells(&self) -> &[(u64, u32)] {
        match &self.naming {
            Naming::Names { arrangement, .. } => &arrangement.cells,
            Naming::Places { cells, .. } => cells,
            _ => &[(0, 0)],
        }
    }

    /// The pattern by which names are read.
    pub fn pattern(&self) -> Option<String> {
        match &self.naming {
            Naming::Names { pattern, .. } => Some(pattern.to_string()),
            _ => None,
        }
    }

    /// How names are read, if `request` did not say it.
    pub fn found(&self, request: &Request) -> Option<Found> {
        let Naming::Names { pattern, from, .. } = &self.naming else { return None };
        let layout = match from {
            Origin::Preset(name) => preset(name, &request.names.infer.presets).and_then(|own| own.layout.clone()),
            _ => None,
        };
        let found = Found { pattern: pattern.to_string(), is_regex: pattern.is_regex(), layout };
        request.names.pattern.is_none().then_some(found)
    }

    /// Where the files of `cells` lie.
    pub(super) fn layout(&self, cells: &[(u64, u32)], headers: &Headers, request: &Request) -> Result<Layout> {
        let mut options = request.layout.clone();
        let removed = request.select.as_deref().map(Selection::removed).transpose()?;
        options.chosen.extend(removed.into_iter().flatten().map(str::to_owned));
        if let (Naming::Single, [path], [kind], None, true) =
            (&self.naming, &self.paths[..], &headers.kinds[..], &options.axes, request.stored_order)
            && has_axes(path)
        {
            options.axes = Some(kind.info.axes.iter().map(|a| a.name.clone()).collect());
        }
        let mut layout = match &self.naming {
            Naming::Unknown(reason) => Err(Error::Usage(reason.to_string())),
            Naming::Single => Layout::arranged(&[], cells, headers, &self.paths, &options),
            Naming::Places { axes, .. } => Layout::arranged(axes, cells, headers, &self.paths, &options),
            Naming::Set { set, members } => Layout::of_set(set, members, headers, &self.paths, &options),
            Naming::Names { arrangement, .. } => {
                Layout::arranged(&arrangement.axes, cells, headers, &self.paths, &options)
            }
        }?;
        for (name, labels) in &request.labels {
            label(layout.axes_mut(), name, labels, request.select.as_deref())?;
        }
        Ok(layout)
    }

    /// The array as it would be without the files that stand in its way: of files at one position the first
    /// is taken; unreadable ones, those whose names do not match, and those unlike most are left out.
    ///
    /// Gives the array, and the readable files at its positions that it leaves out because they are
    /// unlike most.
    ///
    /// # Errors
    /// Why there is no array even so.
    pub fn fitting(&self, request: &Request) -> Result<(Stack, Vec<u32>)> {
        let by_names = self.arrangement().is_some();
        let mut cells: Vec<(u64, u32)> = match &self.naming {
            Naming::Names { .. } | Naming::Places { .. } => self.cells().to_vec(),
            _ => (0..self.paths.len() as u32).map(|file| (0, file)).collect(),
        };
        if by_names {
            cells.dedup_by_key(|c| c.0);
        }
        cells.retain(|c| self.headers.info(c.1).is_some());
        let mut placed = vec![false; self.paths.len()];
        cells.iter().for_each(|c| placed[c.1 as usize] = true);
        let mut headers = self.headers.only(|file| placed[file as usize]);
        let mut odd = Vec::new();
        let layout = match self.layout(&cells, &headers, request) {
            Err(Error::Format(_)) if headers.kinds.len() > 1 && by_names => {
                let main = headers.main_kind().map(|k| k.info.clone());
                let alike =
                    |info: &Info| main.as_ref().is_some_and(|m| m.shape() == info.shape() && m.dtype == info.dtype);
                cells.retain(|c| {
                    let fits = headers.info(c.1).is_some_and(alike);
                    if !fits {
                        odd.push(c.1);
                        placed[c.1 as usize] = false;
                    }
                    fits
                });
                headers = headers.only(|file| placed[file as usize]);
                self.layout(&cells, &headers, request)?
            }
            other => other?,
        };
        let fill = fill(request, &layout)?;
        Ok((Stack::new(layout, headers, self.paths.clone(), self.options.clone(), fill), odd))
    }

    /// What was set aside, assumed or left unused: by names, files, and the `layout` if there is one.
    pub fn notes(&self, layout: Option<&Layout>) -> Vec<GroupedNote> {
        let of_name = |text: &String| GroupedNote::of_all(NoteKind::Names, text.clone());
        let mut notes: Vec<GroupedNote> =
            self.arrangement().into_iter().flat_map(|a| a.notes.iter().map(of_name)).collect();
        if self.options.skip_bad {
            let left_out = self.unreadable().map(|(file, reason)| GroupedNote {
                kind: NoteKind::FileLeftOut,
                text: format!("left out, it cannot be read: {reason}"),
                n_files: 1,
                example: Some(file),
            });
            notes.extend(left_out);
        }
        notes.extend(self.headers.notes.iter().cloned());
        notes.extend(layout.into_iter().flat_map(|layout| layout.notes().iter().cloned()));
        notes
    }

    /// Calibrations that some files state otherwise than the array has them.
    pub(super) fn disagreements(&self, layout: &Layout) -> Vec<GroupedNote> {
        let differs = self.headers.disagreements.iter().filter_map(|d| {
            let axis = layout.axes().iter().find(|a| a.name == d.axis)?;
            let taken = axis.calibration.as_ref().map_or("no step".into(), unit::words);
            let says = d.calibration.as_ref().map_or("not given".into(), unit::words);
            let example = self.paths.get(d.file as usize).map(|p| name_of(p));
            Some(GroupedNote {
                kind: NoteKind::StepsDiffer,
                text: format!("axis {}: {taken} is taken, but files say {says}", d.axis),
                n_files: d.n_files,
                example,
            })
        });
        differs.collect()
    }
}

/// Threads that read headers of files, unless one is to do all: they wait for storage more than they compute.
const READERS: usize = 16;
const READERS_OF_REMOTE: usize = 64;

/// Threads that read headers of `n_files` files.
fn readers(request: &Request, n_files: usize) -> usize {
    let threads = match request.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let waiting = if request.inputs.is_remote() { READERS_OF_REMOTE } else { READERS };
    if threads == 1 { 1 } else { threads.max(waiting).min(n_files).max(1) }
}

/// Calls the elements of the axis `name` by `labels`: all, or else those that `select` chooses.
fn label(axes: &mut [Axis], name: &str, labels: &[String], select: Option<&str>) -> Result<()> {
    let fault = |why: String| Error::usage(format!("--channel-names {}: {why}", labels.join(",")));
    let at = position(axes, name).ok_or_else(|| {
        let known: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).collect();
        fault(format!("there is no axis {name}: the axes are {}", known.join(", ")))
    })?;
    let (n, n_labels) = (axes[at].length, labels.len());
    if n == n_labels as u64 {
        axes[at].labels = Some(labels.to_vec());
        return Ok(());
    }
    let chosen = select.map(|text| Selection::indices(axes, text, at)).transpose()?.flatten();
    match chosen {
        Some(chosen) if chosen.len() == n_labels => {
            let mut all = axes[at].labels.take().unwrap_or_else(|| (0..n).map(|i| i.to_string()).collect());
            chosen.iter().zip(labels).for_each(|(i, label)| all[*i as usize].clone_from(label));
            axes[at].labels = Some(all);
            Ok(())
        }
        chosen => {
            let of = chosen.map_or_else(String::new, |chosen| format!(", of which {} are chosen", chosen.len()));
            Err(fault(format!("axis {name} has {n} elements{of}, and names for {n_labels} are given")))
        }
    }
}

/// The fill value: one element's bytes.
pub(super) fn fill(request: &Request, layout: &Layout) -> Result<Vec<u8>> {
    let dtype = layout.dtype();
    match &request.fill {
        Some(text) => dtype.parse_element(text).map_err(|e| e.at("--fill-value")),
        None => Ok(vec![0; dtype.size()]),
    }
}
